"""A velocity field of Hopfield type fitted per cluster, and what its Jacobians say about every cell (scHopfield).

Expression, velocity and degradation go in; one signed matrix per cluster comes out, such that
``W phi(x) - gamma x + I`` reproduces the velocity. The field is explicit, so every cell gets a Jacobian: stability,
rotation, the direct effect of one gene on another, energies, knock-outs.

The model is that of the public repository Bernaljp/scHopfield, which has no paper yet. Differences from it are told
in the chapter.
"""

from importlib import import_module
from typing import Any

_NAMES = {
    "ClusterField": "field",
    "Field": "field",
    "Keys": "keys",
    "compute_jacobian_elements": "jacobians",
    "compute_jacobian_stats": "jacobians",
    "compute_jacobians": "jacobians",
    "compute_rotational_part": "jacobians",
    "edge_intervals": "certainty",
    "edge_recovery": "recovery",
    "edge_sensitivity": "sensitivity",
    "elasticities": "sensitivity",
    "energies": "energy",
    "fit": "infer",
    "fit_hill": "hill",
    "fixed_points": "dynamics",
    "from_original": "original",
    "knock_out_ranking": "reading",
    "knock_outs": "reading",
    "load_jacobians": "stream",
    "moments": "velocities",
    "nonnormality": "reading",
    "phase_portrait": "dynamics",
    "plot_eigenvalues": "plots",
    "plot_elements": "plots",
    "plot_energies": "plots",
    "plot_hill": "plots",
    "plot_interactions": "plots",
    "plot_network": "plots",
    "plot_phase_portrait": "plots",
    "plot_recovery": "plots",
    "plot_stability": "plots",
    "plot_stability_map": "plots",
    "plot_velocity": "plots",
    "pseudotime_velocity": "velocities",
    "random_circuit": "circuits",
    "reconstruct_velocity": "reading",
    "repressilator": "circuits",
    "save_jacobians": "stream",
    "select_genes": "velocities",
    "simulate": "dynamics",
    "split_half": "certainty",
    "steady_state_response": "sensitivity",
    "toggle": "circuits",
    "velocity": "velocities",
}
_MODULES = (
    "certainty",
    "checks",
    "circuits",
    "core",
    "dynamics",
    "energy",
    "field",
    "gram",
    "hill",
    "hill_curves",
    "infer",
    "jacobians",
    "keys",
    "masks",
    "original",
    "plots",
    "reading",
    "recovery",
    "reference",
    "sensitivity",
    "spectrum",
    "stream",
    "velocities",
)

__all__ = sorted([*_MODULES, *_NAMES])


def __getattr__(name: str) -> Any:
    if name in _NAMES:
        return getattr(import_module(f"scmods.hopfield.{_NAMES[name]}"), name)
    if name in _MODULES:
        return import_module(f"scmods.hopfield.{name}")
    msg = f"module 'scmods.hopfield' has no attribute {name!r}. Available: {', '.join(__all__)}"
    raise AttributeError(msg)


def __dir__() -> list[str]:
    return sorted(__all__)
