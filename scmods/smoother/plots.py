"""Figures of the chapter: they draw what is stored or handed over, and compute nothing new.

Every function returns a plotly figure with axis titles and an alt text made from the data; none shows or saves it.
"""

from __future__ import annotations

from scmods.smoother.plots_controls import plot_losses, plot_null, plot_tuning
from scmods.smoother.plots_graph import plot_graph
from scmods.smoother.plots_layers import plot_embedding_layers
from scmods.smoother.plots_priors import plot_decay, plot_ratio
from scmods.smoother.plots_tissue import plot_prior_samples, plot_tissue
from scmods.smoother.plots_topology import plot_field_with_bars, plot_persistence
from scmods.smoother.plots_types import plot_proportion_scatter, plot_proportions

__all__ = [
    "plot_decay",
    "plot_embedding_layers",
    "plot_field_with_bars",
    "plot_graph",
    "plot_losses",
    "plot_null",
    "plot_persistence",
    "plot_prior_samples",
    "plot_proportion_scatter",
    "plot_proportions",
    "plot_ratio",
    "plot_tissue",
    "plot_tuning",
]
