"""Wiring and cells of the random circuits of `scmods.hopfield.random_circuit`."""

from __future__ import annotations

import numpy as np
import torch

from scmods.hopfield.dynamics import simulate
from scmods.hopfield.field import Field

__all__ = ["cells_of", "random_field", "scaled"]

POINTS = 20  # cells per trajectory
REDRAWN = 0.2  # share of the edges in which a cluster differs from the first
# with degradation 1, threshold 1, exponent 4, production 0.9: a saddle at (1, 1), stable at (1.8, 0.2) and (0.2, 1.8)
SWITCH = ((1.0, -0.8), (-0.8, 1.0))


def _wiring(rng: np.random.Generator, n_vars: int, n_regs: int, density: float) -> np.ndarray:
    """(genes, regs) signed edges; every gene but the switch of the first two has at least one regulator."""
    w = rng.uniform(1.0, 3.0, (n_vars, n_regs)) * rng.choice([1.0, 1.0, -1.0], (n_vars, n_regs))
    there = rng.uniform(size=w.shape) < density
    there[np.arange(n_vars), rng.integers(0, n_regs, n_vars)] = True
    w = w * there
    w[:2] = 0
    w[:2, :2] = SWITCH
    return w


def _redrawn(rng: np.random.Generator, w: np.ndarray) -> np.ndarray:
    """The circuit of another cluster: some edges removed, as many others added; the switch stays."""
    out = w.copy()
    there = np.argwhere(w[2:] != 0) + [2, 0]
    absent = np.argwhere(w[2:] == 0) + [2, 0]
    many = min(int(round(REDRAWN * len(there))), len(absent))
    lost = there[rng.permutation(len(there))[:many]]
    new = absent[rng.permutation(len(absent))[:many]]
    out[tuple(new.T)] = w[tuple(lost.T)]
    out[tuple(lost.T)] = 0
    return out


def random_field(
    rng: np.random.Generator, n_vars: int, n_regs: int, density: float, n_clusters: int
) -> Field:
    """A random circuit around a switch of its first two genes, in units of the switch's threshold.

    Parameters
    ----------
    rng
        Source of randomness.
    n_vars, n_regs
        Genes, the first of which regulate.
    density
        Chance that a regulator acts on a gene.
    n_clusters
        Clusters, each with its own edges.
    """
    first = _wiring(rng, n_vars, n_regs, density)
    w = np.stack([first, *(_redrawn(rng, first) for _ in range(n_clusters - 1))])
    gamma = rng.uniform(0.7, 1.5, n_vars)
    gamma[:2] = 1.0
    # repression at its strongest still leaves `base` to be produced, so that unspliced stays positive
    base = rng.uniform(0.2, 0.6, n_vars)
    bias = base - np.minimum(w, 0).sum(axis=2)
    bias[:, :2] = 0.9
    reach = (bias[0] + np.maximum(w[0], 0).sum(axis=1)) / gamma
    threshold = reach * rng.uniform(0.35, 0.65, n_vars)
    exponent = rng.uniform(2.0, 4.0, n_vars)
    threshold[:2], exponent[:2] = 1.0, 4.0
    names = [f"tf_{i}" for i in range(n_regs)] + [f"gene_{i}" for i in range(n_vars - n_regs)]
    return Field(
        tuple(names),
        tuple(f"type {c}" for c in range(n_clusters)),
        torch.arange(n_regs),
        torch.as_tensor(w),
        torch.as_tensor(np.tile(gamma, (n_clusters, 1))),
        torch.as_tensor(bias),
        torch.as_tensor(threshold),
        torch.as_tensor(exponent),
    )


def scaled(field: Field, factor: float) -> Field:
    """The same field with expression measured in another unit.

    Parameters
    ----------
    field
        The field.
    factor
        New unit per old unit: the expression of every state is multiplied by it.
    """
    return Field(
        field.genes, field.clusters, field.regulators, field.interactions * factor, field.degradation,
        field.bias * factor, field.threshold * factor, field.exponent,
    )  # fmt: skip


def cells_of(
    rng: np.random.Generator, field: Field, cluster: str, many: int
) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """Cells that leave the undecided state of the switch.

    Parameters
    ----------
    rng
        Source of randomness.
    field
        The field.
    cluster
        Whose field.
    many
        Number of cells.

    Returns
    -------
    Expression (cells, genes), trajectory, time, and fate (0: the first gene wins) of every cell.
    """
    f = field.cluster(cluster)
    n_traj, per_point, t_end = max(2, -(-many // POINTS)), 5, 6.0
    top = ((f.w.clamp_min(0).sum(1) + f.bias) / f.gamma).numpy()
    start = top * rng.uniform(size=(n_traj, len(top)))
    start[:, :2] = rng.uniform(0.6, 1.4, (n_traj, 1)) + rng.normal(0, 0.15, (n_traj, 2))
    steps = per_point * (POINTS - 1)
    times, path = simulate(field, np.maximum(start, 0), cluster=cluster, t_end=t_end, n_steps=steps)
    x = path[::per_point].transpose(0, 1).reshape(-1, len(top)).numpy()
    fate = (path[-1, :, 0] < path[-1, :, 1]).long().numpy()
    keep = np.sort(rng.permutation(len(x))[:many])
    time = np.tile(times[::per_point].numpy(), n_traj)
    return x[keep], keep // POINTS, time[keep], fate[keep // POINTS]
