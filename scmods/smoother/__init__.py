"""Spatial priors as losses, exact where they can be: graphs, priors, losses, and models that use them (Smoother).

Neighbouring spots of a tissue resemble each other. A Gaussian random field says so as a precision matrix on the graph
of the spots, and its negative logarithm is a loss that any model can add: deconvolution, imputation, embedding.

The method is Smoother, Su et al., Genome Biology 24, 2023, doi:10.1186/s13059-023-03138-x. Differences from its
package are told in the chapter.
"""

from importlib import import_module
from typing import Any

_NAMES = {
    "ContrastiveSpatialLoss": "contrastive",
    "FieldTest": "nulls",
    "Keys": "keys",
    "NnlsFit": "deconvolution",
    "Sma": "priors",
    "SpatialLoss": "spatial_loss",
    "SpatialWeightMatrix": "weights",
    "TopLoss": "top_loss",
    "Tuning": "tuning",
    "check_input": "setup",
    "corr_decay": "selected",
    "deconvolve": "deconvolution",
    "deconvolve_reference": "baselines",
    "denoise": "imputation",
    "distance_weights": "weights",
    "effective_smoothing": "components",
    "field_test": "nulls",
    "geary_c": "losses",
    "hidden_spots": "study",
    "impute": "imputation",
    "impute_reference": "baselines",
    "isolated_spots": "weights",
    "kl_logits_loss": "losses",
    "kl_loss": "losses",
    "kl_loss_scipy": "losses",
    "knn_weights": "weights",
    "Lattice": "nulls",
    "lattice_of": "nulls",
    "layered": "simulate",
    "lognorm": "study",
    "marginal_variance": "selected",
    "neighbour_correlations": "selected",
    "nnls": "deconvolution",
    "null_study": "study",
    "permutation_expectation": "losses",
    "persistence": "topology",
    "plot_decay": "plots",
    "plot_embedding_layers": "plots",
    "plot_field_with_bars": "plots",
    "plot_graph": "plots",
    "plot_losses": "plots",
    "plot_null": "plots",
    "plot_persistence": "plots",
    "plot_prior_samples": "plots",
    "plot_proportion_scatter": "plots",
    "plot_proportions": "plots",
    "plot_ratio": "plots",
    "plot_tissue": "plots",
    "plot_tuning": "plots",
    "posterior_variance": "selected",
    "precision": "priors",
    "proportions": "deconvolution",
    "quadratic_loss": "losses",
    "reference": "simulate",
    "reference_profiles": "deconvolution",
    "rho_range": "priors",
    "rmse": "setup",
    "row_scaled": "weights",
    "sample": "selected",
    "scale_by_expression": "weights",
    "scale_by_labels": "weights",
    "scale_by_similarity": "weights",
    "selected_inverse": "selected",
    "smooth_fields": "simulate",
    "solve_denoise": "imputation",
    "solve_impute": "imputation",
    "solve_spatial_pca": "components",
    "sparse_quadratic_loss": "losses",
    "spatial_association": "nulls",
    "spatial_pca": "components",
    "spatial_weights": "weights",
    "spectral_basis": "nulls",
    "standardize": "priors",
    "symmetrize": "weights",
    "thin_counts": "tuning",
    "tissue": "simulate",
    "tissue_study": "study",
    "top_genes": "setup",
    "triangulate": "topology",
    "tune_deconvolution": "tuning",
    "tune_denoising": "tuning",
    "tune_smoothing": "tuning",
}
_MODULES = (
    "baselines",
    "components",
    "contrastive",
    "deconvolution",
    "factor",
    "graphs",
    "imputation",
    "keys",
    "losses",
    "nulls",
    "plots",
    "priors",
    "selected",
    "setup",
    "simulate",
    "spatial_loss",
    "study",
    "top_loss",
    "topology",
    "tuning",
    "weights",
)

__all__ = sorted([*_MODULES, *_NAMES])


def __getattr__(name: str) -> Any:
    if name in _NAMES:
        return getattr(import_module(f"scmods.smoother.{_NAMES[name]}"), name)
    if name in _MODULES:
        return import_module(f"scmods.smoother.{name}")
    msg = f"module 'scmods.smoother' has no attribute {name!r}. Available: {', '.join(__all__)}"
    raise AttributeError(msg)


def __dir__() -> list[str]:
    return sorted(__all__)
