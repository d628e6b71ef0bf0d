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
    "association": "edge_effects",
    "check_input": "setup",
    "circuit_study": "study",
    "compute_jacobian_elements": "jacobians",
    "compute_jacobian_stats": "jacobians",
    "compute_jacobians": "jacobians",
    "compute_rotational_part": "jacobians",
    "edge_intervals": "certainty",
    "edge_recovery": "recovery",
    "edge_scores": "study",
    "edge_sensitivity": "sensitivity",
    "edge_table": "edge_effects",
    "effects": "edge_effects",
    "elasticities": "sensitivity",
    "embed": "embedding",
    "embed_velocity": "embedding",
    "energies": "energy",
    "energy_parts": "energy",
    "energy_rate": "energy",
    "fit": "infer",
    "fit_hill": "hill",
    "fixed_points": "dynamics",
    "from_original": "original",
    "hill_table": "hill",
    "independent_halves": "study",
    "knock_out_ranking": "reading",
    "knock_outs": "reading",
    "leading_period": "reading",
    "load_jacobians": "stream",
    "mask_scores": "recovery",
    "moments": "velocities",
    "nonnormality": "reading",
    "null_fit": "certainty",
    "open_jacobians": "stream",
    "penalty_factors": "evidence",
    "phase_portrait": "dynamics",
    "plot_eigenvalues": "plots",
    "plot_elements": "plots",
    "plot_embedding_velocity": "plots",
    "plot_energies": "plots",
    "plot_hill": "plots",
    "plot_interactions": "plots",
    "plot_intervals": "plots",
    "plot_knock_outs": "plots",
    "plot_network": "plots",
    "plot_null": "plots",
    "plot_phase_portrait": "plots",
    "plot_recovery": "plots",
    "plot_split_half": "plots",
    "plot_stability": "plots",
    "plot_stability_map": "plots",
    "plot_trajectory": "plots",
    "plot_velocity": "plots",
    "pseudotime_velocity": "velocities",
    "published": "_published",
    "published_agreement": "_published",
    "random_circuit": "circuits",
    "read": "checks",
    "reconstruct_velocity": "reading",
    "recovery_curve": "recovery",
    "recovery_study": "study",
    "regulator_names": "setup",
    "repressilator": "circuits",
    "save_jacobians": "stream",
    "select_genes": "velocities",
    "simulate": "dynamics",
    "slice_field": "dynamics",
    "split_half": "certainty",
    "steady_state_response": "sensitivity",
    "toggle": "circuits",
    "true_edges": "study",
    "true_field": "circuits",
    "velocity": "velocities",
}
_MODULES = (
    "certainty",
    "checks",
    "choice",
    "circuits",
    "core",
    "dynamics",
    "edge_effects",
    "embedding",
    "energy",
    "evidence",
    "field",
    "gram",
    "gram_sums",
    "hill",
    "hill_curves",
    "infer",
    "jacobians",
    "keys",
    "masks",
    "original",
    "penalised",
    "plots",
    "reading",
    "recovery",
    "reference",
    "sensitivity",
    "setup",
    "smoothing",
    "spectrum",
    "stream",
    "study",
    "vectors",
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
