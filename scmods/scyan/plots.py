"""Figures of the chapter: they draw what is stored or handed over, and train nothing.

Every function returns a plotly figure with axis titles and an alt text made from the data; none shows or saves it.
"""

from __future__ import annotations

from scmods.scyan.plots_barcodes import plot_barcodes, plot_signals
from scmods.scyan.plots_batches import plot_correction, plot_correction_map
from scmods.scyan.plots_cells import plot_labels, plot_probabilities
from scmods.scyan.plots_evidence import plot_calibration, plot_confusion, plot_rare
from scmods.scyan.plots_explain import plot_contributions
from scmods.scyan.plots_latent import plot_latent
from scmods.scyan.plots_markers import plot_markers, plot_transform
from scmods.scyan.plots_runs import plot_scores, plot_training
from scmods.scyan.plots_table import plot_densities, plot_distances, plot_table, plot_weights

__all__ = [
    "plot_barcodes",
    "plot_calibration",
    "plot_confusion",
    "plot_contributions",
    "plot_correction",
    "plot_correction_map",
    "plot_densities",
    "plot_distances",
    "plot_labels",
    "plot_latent",
    "plot_markers",
    "plot_probabilities",
    "plot_rare",
    "plot_scores",
    "plot_signals",
    "plot_table",
    "plot_training",
    "plot_transform",
    "plot_weights",
]
