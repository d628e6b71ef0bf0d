"""How far the cells support each edge: resamples, halves, and fits of cells that were mixed up.

Resamples are weights of the cells, so each costs one set of sums and one small decomposition.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor

from scmods import _checks
from scmods.hopfield.edge_effects import long_table, standardised
from scmods.hopfield.fit_input import FitInput, read_fit_input
from scmods.hopfield.gram_sums import FieldSums, Solution, total
from scmods.hopfield.infer import make_field, r2_velocity
from scmods.hopfield.recipes import Recipe, make_recipe
from scmods.hopfield.recovery import edge_recovery

if TYPE_CHECKING:
    import pandas as pd
    from anndata import AnnData

__all__ = ["edge_intervals", "null_fit", "split_half"]

READ = {
    "cluster_key": "cell_type", "spliced_layer": "Ms", "velocity_layer": "velocity", "degradation_key": "gamma",
    "regulators": None, "edges": None, "genes": None, "key_added": "hopfield",
}  # fmt: skip
SOLVE = (
    "method", "hard_mask", "ridge", "scaffold_regularization", "bias_regularization", "bias_penalty", "refit_gamma",
    "gamma_min", "pooled", "edge_weights",
)  # fmt: skip


def _read(adata: AnnData, options: dict[str, Any]) -> tuple[FitInput, Recipe]:
    known = (*READ, *SOLVE)
    for name in options:
        if name not in known:
            _checks.fail(
                f"There is no option {name!r} of a fit. Options: {_checks.listing(known, 20)}.",
                _checks.nearest(name, known),
                kind=TypeError,
            )
    data = read_fit_input(adata, **{k: options.get(k, default) for k, default in READ.items()})
    return data, make_recipe(data, **{k: v for k, v in options.items() if k in SOLVE})


def _bootstrap(n: int, count: int, generator: torch.Generator) -> Tensor:
    """(count, n) how often each of n cells is drawn, n draws with replacement."""
    drawn = torch.randint(n, (count, n), generator=generator)
    weights = torch.zeros(count, n, dtype=torch.float64)
    return weights.scatter_add_(1, drawn, torch.ones(count, n, dtype=torch.float64))


def _halves(n: int, count: int, generator: torch.Generator) -> Tensor:
    """(count, n) 1 for the cells of a random half."""
    order = torch.rand(count, n, generator=generator).argsort(1)
    return (order < (n + 1) // 2).to(torch.float64)


def _check_halves(data: FitInput) -> None:
    small = [f"{c!r}: {len(r)}" for c, r in zip(data.clusters, data.rows, strict=True) if len(r) < 4]
    if small:
        _checks.fail(
            f"Clusters too small to be halved: {', '.join(small)} cells; at least 4 are needed.",
            "Merge them, or treat all cells as one: cluster_key=None.",
        )


def _rates(data: FitInput, found: Solution) -> Tensor:
    return data.gamma if found.gamma is None else found.gamma


def edge_intervals(
    adata: AnnData,
    *,
    n_resamples: int = 50,
    method: str = "bootstrap",
    level: float = 0.95,
    seed: int = 0,
    **fit_options: Any,
) -> pd.DataFrame:
    r"""Interval and stability of sign of every edge, from refits on resampled cells.

    Parameters
    ----------
    adata
        As for `fit`.
    n_resamples
        Refits.
    method
        ``"bootstrap"``: cells drawn with replacement; ``"halves"``: random halves of the cells, whose spread around
        the full fit is that of independent samples of the whole size.
    level
        Coverage aimed at, in (0, 1).
    seed
        Of the resamples.
    fit_options
        As for `fit`; the recipe of the fit itself goes by ``fit_method=`` because `method` is taken here.

    Returns
    -------
    One row per possible edge, largest effects of each cluster first: ``cluster``, ``regulator``, ``target``,
    ``effect`` (standardised, of all cells), ``weight``, ``low``, ``high`` (effect :math:`\pm z` standard deviations
    of the resamples), ``sign_stability`` (share of resamples with the sign of the effect), ``stable`` (that share is
    at least `level` and the interval excludes 0). Edges forbidden by a mask are left out.

    Notes
    -----
    The penalty chosen on all cells is kept. Intervals are about what the fit estimates: a ridge shrinks effects, and
    the interval shrinks with them. Cells are taken as independent; layers smoothed over neighbours are not, so
    intervals on them are too narrow: count edges that are not stable rather than trust those that are.

    Raises
    ------
    ValueError, TypeError, MissingKeyError
        As `fit`; for an unknown option; for clusters too small to halve.

    Examples
    --------
    >>> from scmods import hopfield
    >>> adata = hopfield.toggle(5, 8)
    >>> table = hopfield.edge_intervals(adata, n_resamples=3)
    >>> len(table), list(table.columns[:4])
    (4, ['cluster', 'regulator', 'target', 'effect'])
    """
    from scipy import stats

    _checks.one_of("method", method, ("bootstrap", "halves"))
    count = _checks.integer("n_resamples", n_resamples, 2)
    level = _checks.number("level", level, 1e-6, 1 - 1e-6, "Write level=0.95.")
    data, recipe = _read(adata, _renamed(fit_options))
    if method == "halves":
        _check_halves(data)
    sums = [data.sums(rows) for rows in data.rows]
    found = recipe.solve_all(sums, data.gamma)
    effect = _effects(data, sums, found)
    draw = _bootstrap if method == "bootstrap" else _halves
    again = torch.stack(list(_refits(data, recipe, draw, count, seed, [s.penalty for s in found])))
    half = float(stats.norm.ppf(0.5 + level / 2)) * again.std(0)
    sign = (again.sign() == effect.sign()).to(torch.float64).mean(0)
    field = make_field(data, found)
    values = {
        "effect": effect, "weight": field.interactions, "low": effect - half, "high": effect + half,
        "sign_stability": sign,
    }  # fmt: skip
    table = long_table(field, {k: v.numpy() for k, v in values.items()}, zeros=True)
    table["stable"] = (table["sign_stability"] >= level) & (table["low"] * table["high"] > 0)
    return _possible(table, data, recipe)


def _renamed(options: dict[str, Any]) -> dict[str, Any]:
    if "fit_method" not in options:
        return options
    return {**{k: v for k, v in options.items() if k != "fit_method"}, "method": options["fit_method"]}


def _possible(table: pd.DataFrame, data: FitInput, recipe: Recipe) -> pd.DataFrame:
    """Rows of the table that the mask of the recipe permits."""
    removed = torch.zeros(len(data.genes), len(data.regs), dtype=torch.bool)
    if recipe.allowed is not None:
        removed |= ~recipe.allowed
    if recipe.weights is not None:
        removed |= torch.isinf(recipe.weights)
    if not removed.any():
        return table
    names = [data.genes[i] for i in data.regs.tolist()]
    gone = {(data.genes[i], names[j]) for i, j in torch.nonzero(removed).tolist()}
    keep = [pair not in gone for pair in zip(table["target"], table["regulator"], strict=True)]
    return table[keep].reset_index(drop=True)


def _effects(data: FitInput, sums: list[FieldSums], found: list[Solution]) -> Tensor:
    """(clusters, genes, regs) standardised effects."""
    return torch.stack([standardised(f.w, s, _rates(data, f)) for s, f in zip(sums, found, strict=True)])


def _refits(
    data: FitInput,
    recipe: Recipe,
    draw: Callable[[int, int, torch.Generator], Tensor],
    count: int,
    seed: int,
    penalties: list[Tensor],
) -> Iterator[Tensor]:
    """Effects of every resample; all clusters are resampled at once, since pooling joins them."""
    generator = torch.Generator().manual_seed(seed)
    drawn = [data.weighted_sums(rows, draw(len(rows), count, generator)) for rows in data.rows]
    for sums in map(list, zip(*drawn, strict=True)):
        yield _effects(data, sums, recipe.solve_all(sums, data.gamma, penalties))


def _correlation(a: Tensor, b: Tensor) -> float:
    a, b = (v.flatten() - v.mean() for v in (a, b))
    norm = float(a.norm() * b.norm())
    return float(a @ b) / norm if norm > 0 else float("nan")


def split_half(adata: AnnData, *, n_splits: int = 3, seed: int = 0, **fit_options: Any) -> pd.DataFrame:
    """Agreement of two fits on random halves of the cells of every cluster.

    Parameters
    ----------
    adata
        As for `fit`.
    n_splits
        Random splits.
    seed
        Of the splits.
    fit_options
        As for `fit`. With ``ridge="gcv"`` each half chooses its own penalty.

    Returns
    -------
    Columns ``split``, ``cluster``, ``n_cells`` (of the whole cluster), ``correlation`` of the weights of the two
    halves over all possible edges (targets x regulators), ``correlation_effect`` of the standardised effects, and
    ``same_sign``, the share of edges with equal sign.

    Notes
    -----
    1 for data without noise; around 0 when nothing is learned that the other half confirms. Where the layers were
    smoothed over neighbours before the split, the halves share counts and agree more than new cells would.

    Raises
    ------
    ValueError, TypeError, MissingKeyError
        As `fit`; for an unknown option; for clusters of fewer than 4 cells.

    Examples
    --------
    >>> from scmods import hopfield
    >>> adata = hopfield.toggle(5, 8)
    >>> table = hopfield.split_half(adata, n_splits=2)
    >>> table["split"].tolist(), "correlation" in table
    ([0, 1], True)
    """
    import pandas as pd

    count = _checks.integer("n_splits", n_splits, 1)
    data, recipe = _read(adata, fit_options)
    _check_halves(data)
    generator = torch.Generator().manual_seed(seed)
    first = [_halves(len(rows), count, generator) for rows in data.rows]
    sides = [
        [data.weighted_sums(rows, w if side else 1 - w) for rows, w in zip(data.rows, first, strict=True)]
        for side in (True, False)
    ]
    rows = []
    for split in range(count):
        sums = [[cluster[split] for cluster in side] for side in sides]
        found = [recipe.solve_all(s, data.gamma) for s in sums]
        effect = [_effects(data, s, f) for s, f in zip(sums, found, strict=True)]
        for c, name in enumerate(data.clusters):
            a, b = found[0][c].w, found[1][c].w
            possible = (a != 0) | (b != 0)
            rows.append(
                {
                    "split": split,
                    "cluster": name,
                    "n_cells": len(data.rows[c]),
                    "correlation": _correlation(a[possible], b[possible]),
                    "correlation_effect": _correlation(effect[0][c][possible], effect[1][c][possible]),
                    "same_sign": float((a.sign() == b.sign())[possible].to(torch.float64).mean()),
                }
            )
    return pd.DataFrame(rows)


def _permuted(data: FitInput, rows: np.ndarray, what: str, generator: torch.Generator | None) -> FieldSums:
    """Sums of a cluster whose activations or velocities come from other cells of it; None leaves them."""
    if generator is None:
        return data.sums(rows)
    order = rows[torch.randperm(len(rows), generator=generator).numpy()]
    parts = []
    for part, (phi, v, x) in data.blocks(rows):
        other_phi, other_v, _ = data.block(order[part])
        parts.append(FieldSums.of(other_phi, v, x) if what == "regulators" else FieldSums.of(phi, other_v, x))
    return total(parts)


def null_fit(
    adata: AnnData,
    *,
    what: str = "regulators",
    n_shuffles: int = 5,
    seed: int = 0,
    truth: Any = None,
    **fit_options: Any,
) -> pd.DataFrame:
    r"""Fits of cells whose regulators or velocities were exchanged within their cluster: the negative control.

    Parameters
    ----------
    adata
        As for `fit`.
    what
        ``"regulators"``: the activations of a cell are those of another cell of its cluster, so no edge is left;
        ``"velocity"``: the velocities are.
    n_shuffles
        Shuffled fits.
    seed
        Of the shuffles.
    truth
        True interactions, for the columns of `edge_recovery`: a table by name, or a square array on the modelled
        genes; row: target, column: regulator.
    fit_options
        As for `fit`.

    Returns
    -------
    Columns ``fit`` (``"data"``, then ``"shuffle 0"``, ...), ``cluster``, ``r2`` of the velocity, ``r2_adjusted`` for
    the degrees of freedom, and with `truth` the ``auroc``, ``auprc``, ``tf_auroc``, ``tf_auprc`` of the standardised
    effects, where ``tf_`` counts pairs from the regulators (0.5 by chance).

    Notes
    -----
    Degradation is given, not fitted, and part of the velocity: with shuffled regulators the adjusted r2 is what
    :math:`-\gamma x` explains alone, ``1 - var(v + gamma x) / var(v)``, which may be far from 0 on either side. The
    distance of the data from the shuffles is what the interactions add.

    Raises
    ------
    ValueError, TypeError, MissingKeyError
        As `fit`; for an unknown option.

    Examples
    --------
    >>> from scmods import hopfield
    >>> adata = hopfield.toggle(5, 8)
    >>> hopfield.null_fit(adata, n_shuffles=2)["fit"].tolist()
    ['data', 'shuffle 0', 'shuffle 1']
    """
    import pandas as pd

    _checks.one_of("what", what, ("regulators", "velocity"))
    count = _checks.integer("n_shuffles", n_shuffles, 1)
    data, recipe = _read(adata, fit_options)
    generator = torch.Generator().manual_seed(seed)
    rows = []
    for shuffle in range(-1, count):
        mixer = None if shuffle < 0 else generator
        sums = [_permuted(data, r, what, mixer) for r in data.rows]
        found = recipe.solve_all(sums, data.gamma)
        effect = _effects(data, sums, found)
        for c, name in enumerate(data.clusters):
            r2 = r2_velocity(sums[c], found[c])[0]
            rest = found[c].residual_variance
            adjusted = 1 - float(rest.sum() / (sums[c].v_v.sum() * sums[c].n / (sums[c].n - 1)))
            row = {"fit": "data" if shuffle < 0 else f"shuffle {shuffle}", "cluster": name, "r2": r2}
            rows.append({**row, "r2_adjusted": adjusted, **_recovered(data, effect[c], truth)})
    return pd.DataFrame(rows)


def _recovered(data: FitInput, effect: Tensor, truth: Any) -> dict[str, float]:
    import pandas as pd

    if truth is None:
        return {}
    names = [data.genes[i] for i in data.regs.tolist()]
    if not isinstance(truth, pd.DataFrame):
        truth = pd.DataFrame(np.asarray(truth), index=data.genes, columns=data.genes)
    table = pd.DataFrame(effect.numpy(), index=data.genes, columns=names)
    row = edge_recovery(table, truth, regulators=names).loc["score"]
    return {k: float(row[k]) for k in ("auroc", "auprc", "tf_auroc", "tf_auprc")}
