"""Bilinear regression of graph frequencies on expression, and what its weights say about genes (ScBMLP).

Cells are described by a few smooth coordinates of their neighbour graph, coarse to fine: the lowest eigenvectors
of the graph Laplacian. A model that is exactly quadratic in the genes predicts them, so that the effect of every
pair of genes can be read off one matrix per coordinate; the eigenvectors of that matrix are the gene modules.

The layer is that of Pearce et al., ICLR 2025, arXiv 2410.08417. The application to cell graphs is that of the
public repository kmaherx/ScBMLP, which has no paper. Differences from it are told in the chapter.
"""

from importlib import import_module
from typing import Any

_NAMES = {
    "BilinearMLP": "core",
    "Config": "estimators",
    "FreqKeys": "keys",
    "Keys": "keys",
    "QuadraticModel": "closed_form",
    "ScBMLPClassifier": "estimators",
    "ScBMLPRegressor": "estimators",
    "baselines": "evaluate",
    "check_input": "checks",
    "compare_with_correlation": "versus",
    "correlations": "versus",
    "enrich": "enrichment",
    "enrich_gseapy": "enrichment",
    "enrich_online": "enrichment",
    "extract_gene_modules": "original",
    "fit": "tools",
    "fit_table": "checks",
    "fit_quadratic": "closed_form",
    "fit_quadratic_pcs": "primal",
    "frequency_table": "checks",
    "frequencies": "frequency",
    "gene_pairs": "shares",
    "gene_shares": "shares",
    "get_classification_datasets": "original",
    "get_freqs": "original",
    "get_regression_datasets": "original",
    "heatmap_table": "enrichment",
    "inductive_frequencies": "frequency",
    "largest_component": "frequency",
    "leakage": "evaluate",
    "markers": "checks",
    "mean_loss": "checks",
    "match_genes": "enrichment",
    "module_lists": "checks",
    "module_stability": "stability",
    "modules": "tools",
    "myeloid_dev_freq": "original",
    "myeloid_dev_type": "original",
    "permuted_null": "evaluate",
    "planted": "simulate",
    "planted_precision": "recovery",
    "planted_study": "recovery",
    "plot_cells": "plots",
    "plot_clusters": "plots",
    "plot_comparison": "plots",
    "plot_enrichment": "plots",
    "plot_frequencies": "plots",
    "plot_freq_scatter": "plots",
    "plot_loss": "plots",
    "plot_modules": "plots",
    "plot_null": "plots",
    "plot_precision": "plots",
    "plot_prediction": "plots",
    "plot_random_lists": "plots",
    "plot_rank_curve": "plots",
    "plot_scores": "plots",
    "plot_spectrum": "plots",
    "plot_stability": "plots",
    "preprocess": "frequency",
    "random_list_null": "enrichment",
    "rank_curve": "evaluate",
    "refit_low_rank": "closed_form",
    "seed_stability": "stability",
    "split": "frequency",
    "testable": "checks",
    "top_genes": "tools",
    "z_scores": "checks",
}

_MODULES = ("closed_form", "core", "trilinear")

__all__ = [*_MODULES, *_NAMES]


def __getattr__(name: str) -> Any:
    if name in _NAMES:
        return getattr(import_module(f"scmods.bmlp.{_NAMES[name]}"), name)
    if name in _MODULES:
        return import_module(f"scmods.bmlp.{name}")
    msg = f"module 'scmods.bmlp' has no attribute {name!r}. Available: {', '.join(__all__)}"
    raise AttributeError(msg)


def __dir__() -> list[str]:
    return sorted(__all__)
