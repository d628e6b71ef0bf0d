"""Figures of the chapter: they draw what is stored or handed over, and train nothing.

Every function returns a plotly figure with axis titles and an alt text made from the data; none shows or saves it,
except those of explained variance when asked to.
"""

from __future__ import annotations

from scmods.amici.plots_attention import plot_attention, plot_attention_distance
from scmods.amici.plots_evidence import plot_calibration, plot_false_calls, plot_null
from scmods.amici.plots_explained import (
    explained_variance_barplot,
    explained_variance_heatmaps,
    null_histogram,
)
from scmods.amici.plots_genes import plot_ablation_genes, plot_contributions
from scmods.amici.plots_lengths import plot_length_scales
from scmods.amici.plots_pairs import plot_crossfit, plot_interactions, plot_network
from scmods.amici.plots_recovery import plot_recovery, recovery_curves
from scmods.amici.plots_tissue import plot_tissue
from scmods.amici.plots_training import plot_training

__all__ = [
    "explained_variance_barplot",
    "explained_variance_heatmaps",
    "null_histogram",
    "plot_ablation_genes",
    "plot_attention",
    "plot_attention_distance",
    "plot_calibration",
    "plot_contributions",
    "plot_crossfit",
    "plot_false_calls",
    "plot_interactions",
    "plot_length_scales",
    "plot_network",
    "plot_null",
    "plot_recovery",
    "plot_tissue",
    "plot_training",
    "recovery_curves",
]
