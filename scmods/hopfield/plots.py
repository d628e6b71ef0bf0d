"""Figures of the chapter: they draw what is stored or handed over, and compute nothing new.

Every function returns a plotly figure with axis titles and an alt text made from the data; none shows or saves it.
"""

from __future__ import annotations

from scmods.hopfield.plots_cells import plot_eigenvalues, plot_energies, plot_stability
from scmods.hopfield.plots_dynamics import plot_phase_portrait, plot_trajectory
from scmods.hopfield.plots_evidence import plot_intervals, plot_knock_outs, plot_split_half
from scmods.hopfield.plots_fit import plot_hill, plot_interactions, plot_velocity
from scmods.hopfield.plots_maps import plot_elements, plot_embedding_velocity, plot_stability_map
from scmods.hopfield.plots_network import plot_network
from scmods.hopfield.plots_recovery import plot_null, plot_recovery

__all__ = [
    "plot_eigenvalues",
    "plot_elements",
    "plot_embedding_velocity",
    "plot_energies",
    "plot_hill",
    "plot_interactions",
    "plot_intervals",
    "plot_knock_outs",
    "plot_network",
    "plot_null",
    "plot_phase_portrait",
    "plot_recovery",
    "plot_split_half",
    "plot_stability",
    "plot_stability_map",
    "plot_trajectory",
    "plot_velocity",
]
