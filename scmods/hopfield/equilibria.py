"""Where the field comes to rest: all fixed points of a cluster, and what kind each is."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor

from scmods import _arrays, _checks
from scmods.hopfield.field import ClusterField, Field
from scmods.hopfield.spectrum import Blocks, eigenvalues, summary

if TYPE_CHECKING:
    import pandas as pd

__all__ = ["fixed_points"]

MAX_NEWTON = 100
SAME = 1e-6  # fixed points closer than this share of the range are one


def one_cluster(field: Field, cluster: str | None) -> ClusterField:
    """The field of `cluster`, which may be left out where there is only one."""
    if cluster is None:
        if len(field.clusters) > 1:
            _checks.fail(
                f"`cluster` is None, but the field has {len(field.clusters)} clusters:",
                f"{_checks.listing(field.clusters)}. Name one: cluster={field.clusters[0]!r}.",
            )
        return field.cluster(field.clusters[0])
    return field.cluster(cluster)


def upper_bound(field: Field, upper: Any) -> Tensor:
    """(genes,) largest expression allowed; infinite where None."""
    if upper is None:
        return torch.full((len(field.genes),), torch.inf, dtype=torch.float64)
    values = torch.as_tensor(_arrays.to_numpy(np.asarray(upper))).double()
    if values.ndim > 1 or (values.ndim == 1 and len(values) != len(field.genes)) or not (values > 0).all():
        _checks.fail(
            f"The upper bound must be one positive number, or one per gene ({len(field.genes)}),",
            f"but has shape {tuple(values.shape)} and lowest value {values.min():.4g}.",
        )
    return values.expand(len(field.genes)).clone()


def reach(field: Field, f: ClusterField, bounds: Any) -> Tensor:
    """(genes,) expression that no trajectory leaves: largest production over degradation."""
    if bounds is not None:
        return upper_bound(field, bounds)
    if not (f.gamma > 0).all():
        name = field.genes[int(f.gamma.argmin())]
        _checks.fail(
            f"Gene {name!r} does not decay, so its expression has no upper bound.",
            "Say where to look: bounds=adata.layers['Ms'].max(0).",
        )
    return ((f.w.clamp_min(0).sum(1) + f.bias) / f.gamma).clamp_min(1e-12)


def _block(f: ClusterField) -> ClusterField:
    """The field of the regulators alone, which nothing else acts on."""
    r = f.regs
    regs = torch.arange(len(r))
    return ClusterField(f.w[r], regs, f.gamma[r], f.bias[r], f.threshold[r], f.exponent[r])


def _settle(f: ClusterField, x: Tensor, rounds: int = 60) -> Tensor:
    """Damped iteration towards production over degradation: brings starts near the attractors."""
    decay = f.gamma.clamp_min(1e-12)
    for _ in range(rounds):
        x = x + 0.3 * ((f.activation(x) @ f.w.T + f.bias) / decay - x)
        x = x.clamp_min(0)
    return x


def _newton(f: ClusterField, x: Tensor, top: Tensor, tol: float) -> Tensor:
    """Damped Newton on all starts at once; those that converged, in [0, 2 top]."""
    size = (f.w.abs().sum(1) + f.bias.abs() + f.gamma * top).clamp_min(1e-300)
    done, left = [], x
    for _ in range(MAX_NEWTON):
        v = f.velocity(left)
        error = (v / size).norm(dim=1)
        done.append(left[error <= tol])
        left, v, error = left[error > tol], v[error > tol], error[error > tol]
        if not len(left):
            break
        move, info = torch.linalg.solve_ex(f.jacobian(left), -v[..., None])
        usable = (info == 0) & torch.isfinite(move[..., 0]).all(1)
        left = _descent(f, left, torch.where(usable[:, None], move[..., 0], v), error, size, 2 * top)
    return torch.cat(done)


def _descent(f: ClusterField, x: Tensor, move: Tensor, error: Tensor, size: Tensor, top: Tensor) -> Tensor:
    """Every state moved by the longest of the halved steps that lowers its error; states that none lowers drop out."""
    best, waiting, share = x, torch.ones(len(x), dtype=torch.bool), 1.0
    for _ in range(12):
        tried = torch.minimum((x + share * move).clamp_min(0), top)
        better = waiting & ((f.velocity(tried) / size).norm(dim=1) < error * (1 - 1e-4 * share))
        best = torch.where(better[:, None], tried, best)
        waiting, share = waiting & ~better, share / 2
        if not waiting.any():
            break
    return best[~waiting]


def _distinct(x: Tensor, top: Tensor) -> Tensor:
    """One of each group of states closer than `SAME`, by their first gene."""
    kept: list[Tensor] = []
    for row in x:
        if all(float(((row - other) / top).abs().max()) > SAME for other in kept):
            kept.append(row)
    if not kept:
        return x
    return torch.stack(sorted(kept, key=lambda row: [round(v, 9) for v in row.tolist()]))


def _kind(lead: complex, n_unstable: int, n_regs: int, size: float) -> str:
    """Name of a fixed point from the eigenvalues of its Jacobian."""
    if abs(lead.imag) > 1e-9 * size:
        return "unstable spiral" if lead.real > 0 else "stable spiral"
    if lead.real <= 0:
        return "stable"
    return "unstable" if n_unstable == n_regs else "saddle"


def fixed_points(
    field: Field,
    cluster: str | None = None,
    *,
    starts: int = 200,
    bounds: Any = None,
    tol: float = 1e-10,
    seed: int = 0,
) -> pd.DataFrame:
    """States at which the field of a cluster vanishes, found by Newton's method from many starts.

    Only the regulators have to be searched: every other gene follows as production over degradation.

    Parameters
    ----------
    field
        The field.
    cluster
        Whose field; may be left out where there is only one.
    starts
        Random states to start from; the same number again is first brought near an attractor.
    bounds
        Starts are uniform in [0, bounds], one number or one per gene; largest production over degradation by
        default.
    tol
        Length of the velocity, over the size of its terms, below which a state counts as fixed.
    seed
        Seed of the starts.

    Returns
    -------
    One row per fixed point: ``kind``, ``leading_real``, ``leading_imag`` (1 / time; the eigenvalue of the Jacobian
    with the largest real part), ``n_unstable`` (eigenvalues with positive real part), then one column per gene.
    ``kind`` is ``"stable"``, ``"saddle"`` (a real leading eigenvalue above 0, others below), ``"unstable"`` (all
    eigenvalues of the regulators above 0), or, where the leading eigenvalue is complex, ``"stable spiral"`` or
    ``"unstable spiral"``.

    Raises
    ------
    ValueError, MissingKeyError
        Unknown cluster, genes without decay and no `bounds`.

    Notes
    -----
    A search, not a proof: with more regulators more starts are needed, and points may stay unseen. States with
    negative expression are not returned, nor states that are at rest only because expression cannot fall below 0.
    Genes that do not regulate count in ``n_unstable`` only through their decay, so never.

    Examples
    --------
    >>> from scmods.hopfield.circuits import toggle, true_field
    >>> list(fixed_points(true_field(toggle(2, 3, a=3, b=2.4, bias=2.7)))["kind"])
    ['stable', 'saddle', 'stable']
    """
    import pandas as pd

    f = one_cluster(field, cluster)
    n_starts, at = _checks.integer("starts", starts), f.regs
    generator = torch.Generator().manual_seed(_checks.integer("seed", seed, 0))
    tol = _checks.number("tol", tol, 1e-15, 1e-2)
    top, block = reach(field, f, bounds)[at], _block(f)
    first = top * torch.rand(n_starts, len(at), generator=generator, dtype=torch.float64)
    inner = _distinct(_newton(block, torch.cat([first, _settle(block, first)]), top, tol), top)
    x = torch.zeros(len(inner), len(field.genes), dtype=torch.float64)
    x[:, at] = inner
    others = torch.ones(len(field.genes), dtype=torch.bool)
    others[at] = False
    x[:, others] = ((f.activation(x) @ f.w.T + f.bias) / f.gamma)[:, others]
    possible = (torch.isfinite(x) & (x >= 0)).all(1)
    x = x[possible]
    values, norm = eigenvalues(Blocks.of(f), f.slope(x))
    found = summary(values, norm)
    rows = [
        (
            _kind(complex(values[i, 0]), int(n), len(at), float(norm[i])),
            float(values[i, 0].real),
            float(w),
            int(n),
        )
        for i, (w, n) in enumerate(zip(found.imag, found.positive, strict=True))
    ]
    table = pd.DataFrame(rows, columns=["kind", "leading_real", "leading_imag", "n_unstable"])
    return pd.concat([table, pd.DataFrame(x.numpy(), columns=list(field.genes))], axis=1)
