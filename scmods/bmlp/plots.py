"""Figures of the chapter: they draw what is stored or handed over, and compute nothing new.

Every function returns a plotly figure with axis titles and an alt text made from the data; none shows or saves it.
"""

from __future__ import annotations

from scmods.bmlp.plots_cells import plot_cells, plot_clusters, plot_freq_scatter, plot_frequencies
from scmods.bmlp.plots_enrichment import plot_enrichment, plot_random_lists
from scmods.bmlp.plots_evidence import (
    plot_comparison,
    plot_null,
    plot_precision,
    plot_rank_curve,
    plot_scores,
    plot_stability,
)
from scmods.bmlp.plots_model import plot_loss, plot_modules, plot_prediction, plot_spectrum

__all__ = [
    "plot_cells",
    "plot_clusters",
    "plot_comparison",
    "plot_enrichment",
    "plot_freq_scatter",
    "plot_frequencies",
    "plot_loss",
    "plot_modules",
    "plot_null",
    "plot_precision",
    "plot_prediction",
    "plot_random_lists",
    "plot_rank_curve",
    "plot_scores",
    "plot_spectrum",
    "plot_stability",
]
