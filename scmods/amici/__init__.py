"""Attention between neighbouring cells, and what each head explains, tested so that it can be believed (AMICI).

A cell's expression is predicted from its type and from its neighbours of other types; heads of attention say which
neighbours count, over which distance and for which genes, and held-out cells say whether that is true.

The method is AMICI, Hong et al., bioRxiv 2025, doi:10.1101/2025.09.22.677860. Its software is licensed CC BY-NC-ND and
its authors announce a US provisional patent application; this package is written from the equations alone. Differences
are told in the chapter.
"""

from importlib import import_module
from typing import Any

_NAMES = {
    "ablation_table": "ablation",
    "all_orders": "permutations",
    "AMICI": "model",
    "AMICIExplainedVarianceModule": "explained",
    "attention_by_distance": "attention_maps",
    "attention_hubs": "attention_maps",
    "AttentionNetwork": "network",
    "average_precision": "recovery",
    "calibration_summary": "calibration",
    "carrying_head": "scales",
    "check_input": "setup",
    "check_unit": "neighbors",
    "Contributions": "contributions",
    "counterfactual_attention": "scales",
    "cross_fit": "crossfit",
    "CrossFit": "crossfit",
    "explained_variance_barplot": "plots",
    "explained_variance_heatmaps": "plots",
    "explained_variance_table": "explained",
    "ExplainedVariance": "explained",
    "family_calibration": "calibration",
    "field_calibration": "calibration",
    "frozen_contributions": "contributions",
    "gene_recovery": "recovery",
    "HeadOutputs": "heads",
    "Heads": "network",
    "Hubs": "attention_maps",
    "indicator_regression": "baselines",
    "IndicatorRegression": "baselines",
    "inflation": "spatial_nulls",
    "interaction_matrix": "ablation",
    "Keys": "keys",
    "length_scales": "scales",
    "log_normalized": "setup",
    "merge_types": "setup",
    "minus_distance": "baselines",
    "Moments": "pearson",
    "neighbor_table": "contributions",
    "neighbor_weights": "attention_maps",
    "NeighborTables": "heads",
    "null_calibration": "calibration",
    "null_histogram": "plots",
    "NullDraws": "permutations",
    "pair_recovery": "recovery",
    "pearson_tail": "pearson",
    "permutation_draws": "permutations",
    "permutation_moments": "pearson",
    "permutation_variance": "pearson",
    "plot_ablation_genes": "plots",
    "plot_attention": "plots",
    "plot_attention_distance": "plots",
    "plot_calibration": "plots",
    "plot_contributions": "plots",
    "plot_crossfit": "plots",
    "plot_false_calls": "plots",
    "plot_interactions": "plots",
    "plot_length_scales": "plots",
    "plot_network": "plots",
    "plot_null": "plots",
    "plot_recovery": "plots",
    "plot_tissue": "plots",
    "plot_training": "plots",
    "Readout": "heads",
    "Recipe": "recipe",
    "recovery_curve": "recovery",
    "recovery_curves": "plots",
    "recovery_table": "study",
    "semisynthetic": "simulate",
    "sender_contributions": "contributions",
    "sender_lengths": "scales",
    "sender_markers": "folds",
    "shift_maps": "spatial_nulls",
    "single_head_prediction": "study",
    "smooth_fields": "spatial_nulls",
    "spatial_neighbors": "neighbors",
    "square_blocks": "spatial_nulls",
    "strip": "held_out",
    "stripes": "folds",
    "Tables": "network",
    "true_pairs": "recovery",
    "type_means": "baselines",
}
_MODULES = (
    "ablation",
    "attention_maps",
    "baselines",
    "calibration",
    "contributions",
    "crossfit",
    "explained",
    "folds",
    "heads",
    "held_out",
    "keys",
    "model",
    "neighbors",
    "network",
    "pearson",
    "permutations",
    "plots",
    "recipe",
    "recovery",
    "scales",
    "setup",
    "simulate",
    "spatial_nulls",
    "study",
)

__all__ = sorted([*_MODULES, *_NAMES])


def __getattr__(name: str) -> Any:
    if name in _NAMES:
        return getattr(import_module(f"scmods.amici.{_NAMES[name]}"), name)
    if name in _MODULES:
        return import_module(f"scmods.amici.{name}")
    msg = f"module 'scmods.amici' has no attribute {name!r}. Available: {', '.join(__all__)}"
    raise AttributeError(msg)


def __dir__() -> list[str]:
    return sorted(__all__)
