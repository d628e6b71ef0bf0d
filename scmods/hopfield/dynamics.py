"""What the field does in time: trajectories, fixed points, phase portraits."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor

from scmods import _arrays, _checks
from scmods.hopfield.equilibria import fixed_points, one_cluster, reach, upper_bound
from scmods.hopfield.field import ClusterField, Field

__all__ = ["fixed_points", "phase_portrait", "simulate", "slice_field"]

LONGEST = 1.0  # step times degradation; Euler's method swings from 1 on and explodes from 2 on


def _states(field: Field, name: str, x: Any) -> Tensor:
    """(cells, genes) float64 expression, looked at."""
    values = torch.as_tensor(_arrays.to_numpy(x)).double()
    values = values[None] if values.ndim == 1 else values
    if values.ndim != 2 or values.shape[1] != len(field.genes):
        _checks.fail(
            f"`{name}` has shape {tuple(values.shape)}, but must be (cells, {len(field.genes)}):",
            f"one column per gene of the field, {_checks.listing(field.genes)}.",
        )
    if not torch.isfinite(values).all() or (values < 0).any():
        _checks.fail(f"`{name}` must be finite and not negative; its lowest value is {values.min():.4g}.")
    return values


def simulate(
    field: Field,
    x0: Any,
    *,
    cluster: str | None = None,
    t_end: float = 10.0,
    n_steps: int = 200,
    method: str = "rk4",
    fixed: Mapping[str, float] | None = None,
    upper: Any = None,
) -> tuple[Tensor, Tensor]:
    """Follow the field of one cluster from many states at once.

    Parameters
    ----------
    field
        The field.
    x0
        (cells, genes) states to start from, genes in the order of ``field.genes``; one state may be a vector.
    cluster
        Whose field; may be left out where there is only one.
    t_end
        Last time, in the time unit of the velocity; negative times are refused.
    n_steps
        Number of equal steps.
    method
        ``"rk4"`` (error of fourth order in the step) or ``"euler"`` (first order).
    fixed
        Expression held constant, by gene: ``{"Gata1": 0.0}`` is a knock-out, a large value an over-expression.
    upper
        Largest expression, one number or one per gene; none by default.

    Returns
    -------
    times
        (n_steps + 1,) float64.
    path
        (n_steps + 1, cells, genes) float64; expression is kept in [0, `upper`] after every step.

    Raises
    ------
    ValueError, MissingKeyError
        Shapes, negative states, unknown clusters and genes.

    Warns
    -----
    NumericalWarning
        Where a step is longer than the fastest gene needs to decay.

    Notes
    -----
    Memory 8 (n_steps + 1) cells * genes bytes. Nothing adapts the step: halve it and compare where in doubt.

    Examples
    --------
    >>> from scmods.hopfield.circuits import toggle, true_field
    >>> field = true_field(toggle(2, 3))
    >>> times, path = simulate(field, [[2.0, 1.0]], t_end=5.0, n_steps=100)
    >>> [round(v, 2) for v in path[-1, 0].tolist()]  # the gene that was ahead has won
    [2.98, 0.02]
    """
    _checks.one_of("method", method, ("rk4", "euler"))
    step = _checks.number("t_end", t_end, 0.0) / _checks.integer("n_steps", n_steps)
    f, x, top = one_cluster(field, cluster), _states(field, "x0", x0), upper_bound(field, upper)
    held = {field.gene(name): _checks.number(f"fixed[{name!r}]", v, 0.0) for name, v in (fixed or {}).items()}
    _long_steps(field, f, step, n_steps)
    at, free = list(held), torch.ones(len(field.genes), dtype=torch.float64)
    free[at] = 0
    x = torch.minimum(x, top)
    x[:, at] = torch.tensor(list(held.values()), dtype=torch.float64)
    path = [x]
    for _ in range(n_steps):
        change = _rk4(f, x, step, free) if method == "rk4" else step * f.velocity(x) * free
        x = torch.where(free > 0, torch.minimum((x + change).clamp_min(0), top), x)
        path.append(x)
    return torch.linspace(0, t_end, n_steps + 1, dtype=torch.float64), torch.stack(path)


def _long_steps(field: Field, f: ClusterField, step: float, n_steps: int) -> None:
    """Warn where decay alone makes a method of fixed step swing."""
    fastest = int(f.gamma.argmax())
    turns = step * float(f.gamma[fastest])
    if turns > LONGEST:
        _checks.warn(
            f"Steps of {step:.3g} are too long: gene {field.genes[fastest]!r} decays at rate "
            f"{float(f.gamma[fastest]):.3g}. "
            f"Take more: n_steps={int(np.ceil(n_steps * turns / 0.1))}."
        )


def _rk4(f: ClusterField, x: Tensor, h: float, free: Tensor) -> Tensor:
    def slope(at: Tensor) -> Tensor:
        return f.velocity(at.clamp_min(0)) * free

    a = slope(x)
    b = slope(x + h / 2 * a)
    c = slope(x + h / 2 * b)
    d = slope(x + h * c)
    return h / 6 * (a + 2 * b + 2 * c + d)


def slice_field(
    field: Field,
    cluster: str | None,
    genes: Sequence[str],
    held: Mapping[str, float] | None = None,
) -> Field:
    """The field of a few genes while all other regulators are held at given expression.

    Parameters
    ----------
    field
        The field.
    cluster
        Whose field; may be left out where there is only one.
    genes
        Genes to keep, in this order.
    held
        Expression of the other regulators, by gene. Needed for those that act on `genes`; others are ignored.

    Returns
    -------
    A field of one cluster on `genes`; what the held regulators contribute is part of its bias.

    Examples
    --------
    >>> from scmods import hopfield
    >>> field = hopfield.true_field(hopfield.repressilator(2, 3))
    >>> part = hopfield.slice_field(field, None, field.genes[:2], held={field.genes[2]: 1.0})
    >>> part.interactions.shape, part.bias.tolist()
    (torch.Size([1, 2, 2]), [[5.0, 10.0]])
    """
    f = one_cluster(field, cluster)
    at = [field.gene(g) for g in genes]
    _checks.unique_names("genes", list(genes))
    columns = [c for c, r in enumerate(f.regs.tolist()) if r in at]
    outside = [c for c, r in enumerate(f.regs.tolist()) if r not in at]
    given = {field.gene(g): _checks.number(f"held[{g!r}]", v, 0.0) for g, v in (held or {}).items()}
    acting = [c for c in outside if bool((f.w[at, c] != 0).any())]
    missing = [field.genes[int(f.regs[c])] for c in acting if int(f.regs[c]) not in given]
    if missing:
        _checks.fail(
            f"Regulators outside the slice act on {_checks.listing(genes)}: {_checks.listing(missing, 5)}.",
            f"Hold them at a value: held={{{missing[0]!r}: 1.0, ...}}.",
        )
    state = torch.zeros(1, len(field.genes), dtype=torch.float64)
    state[0, list(given)] = torch.tensor(list(given.values()), dtype=torch.float64)
    constant = f.bias[at] + f.w[at][:, acting] @ f.activation(state)[0, acting]
    return Field(
        tuple(field.genes[i] for i in at),
        (field.clusters[0] if cluster is None else str(cluster),),
        torch.tensor([at.index(int(f.regs[c])) for c in columns], dtype=torch.int64),
        f.w[at][:, columns][None],
        f.gamma[at][None],
        constant[None],
        f.threshold[at],
        f.exponent[at],
    )


def phase_portrait(
    field: Field,
    cluster: str | None = None,
    genes: tuple[str, str] | None = None,
    *,
    held: Mapping[str, float] | None = None,
    bounds: Any = None,
    n_grid: int = 25,
    n_trajectories: int = 12,
    t_end: float | None = None,
    seed: int = 0,
) -> dict[str, Any]:
    """Everything a picture of the plane of two genes needs.

    Parameters
    ----------
    field
        The field.
    cluster
        Whose field; may be left out where there is only one.
    genes
        The horizontal and the vertical gene; the two genes of a field of two by default.
    held
        Expression of the other regulators, by gene; needed for those that act on one of the two.
    bounds
        Upper ends of the two axes, one number or two; largest production over degradation by default.
    n_grid
        Values per axis.
    n_trajectories
        Trajectories from random states of the plane.
    t_end
        Their last time; 20 over the smaller degradation rate by default.
    seed
        Seed of their starts and of the search for fixed points.

    Returns
    -------
    ``genes``
        The two names.
    ``x``, ``y``
        (n_grid,) values of the axes.
    ``dx``, ``dy``
        (n_grid, n_grid) velocity of the two genes, row: `y`, column: `x`. The contour 0 of each is its nullcline.
    ``fixed_points``
        Table of `fixed_points` of the slice.
    ``trajectories``
        Table with columns ``trajectory``, ``time``, ``x``, ``y``.

    Raises
    ------
    ValueError, MissingKeyError
        Not two genes, regulators without a held value, unknown names.

    Examples
    --------
    >>> from scmods import hopfield
    >>> field = hopfield.true_field(hopfield.toggle(2, 3))
    >>> portrait = hopfield.phase_portrait(field, n_grid=5, n_trajectories=2)
    >>> portrait["genes"], portrait["dx"].shape
    (('A', 'B'), (5, 5))
    """
    import pandas as pd

    genes = tuple(field.genes) if genes is None else tuple(genes)
    if len(genes) != 2:
        _checks.fail(
            f"A plane has two genes, but {len(genes)} are given: {_checks.listing(genes)}.",
            f"Write genes=({field.genes[0]!r}, {field.genes[-1]!r}).",
        )
    plane = slice_field(field, cluster, genes, held)
    f = plane.cluster(plane.clusters[0])
    top = reach(plane, f, bounds)
    n = _checks.integer("n_grid", n_grid, 2)
    x, y = (torch.linspace(0, float(t), n, dtype=torch.float64) for t in top)
    states = torch.stack(torch.meshgrid(x, y, indexing="xy"), dim=-1).reshape(-1, 2)
    v = f.velocity(states).reshape(n, n, 2).numpy()
    generator = torch.Generator().manual_seed(_checks.integer("seed", seed, 0))
    many = _checks.integer("n_trajectories", n_trajectories, 0)
    first = top * torch.rand(many, 2, generator=generator, dtype=torch.float64)
    end = 20 / float(f.gamma.clamp_min(1e-6).min()) if t_end is None else _checks.number("t_end", t_end, 0.0)
    times, path = simulate(plane, first, t_end=end, n_steps=max(200, int(10 * end * float(f.gamma.max()))))
    table = pd.DataFrame(
        {
            "trajectory": np.repeat(np.arange(many), len(times)),
            "time": np.tile(times.numpy(), many),
            "x": path[:, :, 0].T.reshape(-1).numpy(),
            "y": path[:, :, 1].T.reshape(-1).numpy(),
        }
    )
    return {
        "genes": genes,
        "x": x.numpy(),
        "y": y.numpy(),
        "dx": v[..., 0],
        "dy": v[..., 1],
        "fixed_points": fixed_points(plane, bounds=top, seed=seed),
        "trajectories": table,
    }
