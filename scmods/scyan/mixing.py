"""How well batches mix after a correction, and what is left of their shift: measured, without a model."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from scmods import _checks

if TYPE_CHECKING:
    import pandas as pd

__all__ = ["marker_shift", "mixing_index", "population_shift"]


def _cells(values: Any) -> np.ndarray:
    x = _checks.numeric("`values`", values)
    if x.ndim != 2:
        _checks.fail(f"`values` has shape {x.shape}, but must be cells x markers.")
    _checks.finite("`values`", x)
    return x


def _groups(what: str, labels: Any, n: int, least: int) -> tuple[np.ndarray, list[str]]:
    """Number of the group of each cell, -1 where missing, and the names."""
    import pandas as pd

    if np.ndim(labels) != 1 or len(labels) != n:
        _checks.fail(
            f"{what} has shape {np.shape(labels)}, but there are {n} cells, each of which needs one."
        )
    code, names = pd.factorize(pd.Series(labels).reset_index(drop=True), sort=True)
    if len(names) < least:
        _checks.fail(
            f"{what} holds {_checks.listing(names)}, but at least {least} different ones are needed."
        )
    return code, [str(v) for v in names]


def mixing_index(
    values: Any,
    batch: Any,
    *,
    n_neighbors: int = 30,
    labels: Any = None,
    max_cells: int = 20_000,
    seed: int = 0,
) -> float:
    r"""Effective number of batches in the neighbourhood of a cell: 2 for two batches that mix perfectly, 1 for none.

    .. math:: \frac{1}{n} \sum_i \frac{1}{\sum_b p_{ib}^2}

    where p is the share of batch b among the nearest neighbours of cell i, every batch weighted to the same total so
    that unequal sizes do not count as separation.

    Parameters
    ----------
    values
        Cells x markers: scaled intensities, corrected ones, or latent cells.
    batch
        Batch of every cell; none may be missing.
    n_neighbors
        Size of a neighbourhood, Euclidean, the cell itself left out.
    labels
        Populations: neighbours are then sought within the population of a cell, so that batches with different
        compositions are not called separate. Cells without a label, of populations with one batch, or with no more
        than `n_neighbors` cells are left out.
    max_cells
        With more cells a random subset of this size is used.
    seed
        Seed of the subset.

    Returns
    -------
    Mean over the cells, in [1, number of batches]. A neighbourhood is a sample: perfectly mixed batches come to about
    2 - 2 / n_neighbors for two batches, not to 2.

    Raises
    ------
    TypeError, ValueError
        Values that are not finite, a batch missing, fewer than two batches, too few cells for a neighbourhood.

    Notes
    -----
    Simpson's index inverted (Simpson, Nature 163, 1949), as in the local index of Korsunsky et al., Nature Methods 16,
    2019, with equal instead of Gaussian weights of the neighbours.

    Examples
    --------
    >>> x = np.random.default_rng(0).normal(size=(400, 3))
    >>> bool(mixing_index(x, ["a", "b"] * 200) > 1.9)
    True
    """
    x = _cells(values)
    code, names = _groups("`batch`", batch, len(x), 2)
    if (code < 0).any():
        _checks.fail(f"`batch` has {int((code < 0).sum())} missing entries. Every cell needs a batch.")
    _checks.integer("max_cells", max_cells, 10)
    _checks.integer("seed", seed, 0)
    k = _checks.integer("n_neighbors", n_neighbors, 2, max(2, len(x) - 1), f"There are {len(x)} cells.")
    group = np.zeros(len(x), dtype=int) if labels is None else _groups("`labels`", labels, len(x), 1)[0]
    if len(x) > max_cells:
        rows = np.random.default_rng(seed).choice(len(x), max_cells, replace=False)
        x, code, group = x[rows], code[rows], group[rows]
    parts = [_simpson(x[at], code[at], len(names), k) for at in _members(group, code, k)]
    if not parts:
        _checks.fail(
            f"No population has cells of two batches and more than n_neighbors={k} cells.",
            "Write a smaller `n_neighbors`, or leave `labels` out.",
        )
    return float(np.concatenate(parts).mean())


def _members(group: np.ndarray, code: np.ndarray, k: int) -> list[np.ndarray]:
    found = [np.flatnonzero(group == g) for g in np.unique(group[group >= 0])]
    return [at for at in found if len(at) > k and len(np.unique(code[at])) > 1]


def _simpson(x: np.ndarray, code: np.ndarray, n_batches: int, k: int) -> np.ndarray:
    from scmods.graph import knn

    near = code[knn(x, k, metric="euclidean")[0]]
    counts = np.stack([(near == b).sum(axis=1) for b in range(n_batches)], axis=1)
    size = np.bincount(code, minlength=n_batches)
    share = counts / np.maximum(size, 1)
    share /= share.sum(axis=1, keepdims=True)
    return 1 / np.square(share).sum(axis=1)


def population_shift(
    values: Any, batch: Any, labels: Any, *, markers: Sequence[str] | None = None, min_cells: int = 10
) -> pd.DataFrame:
    """Largest difference between the means of a marker in any two batches, population by population.

    Parameters
    ----------
    values
        Cells x markers.
    batch
        Batch of every cell.
    labels
        Population of every cell; cells without one are left out.
    markers
        Names of the columns; numbers by default.
    min_cells
        A batch counts for a population if it has so many cells of it.

    Returns
    -------
    DataFrame, populations x markers, not negative; NaN for populations with fewer than two such batches. With two
    batches it is the absolute difference of the two means.

    Raises
    ------
    TypeError, ValueError
        Values that are not finite, fewer than two batches, no population with cells in two batches.

    Examples
    --------
    >>> x = np.array([[0.0], [0.0], [1.5], [1.5]])
    >>> population_shift(x, ["a", "a", "b", "b"], ["T"] * 4, markers=["CD3"], min_cells=2)
       CD3
    T  1.5
    """
    import pandas as pd

    x = _cells(values)
    b, batches = _groups("`batch`", batch, len(x), 2)
    p, names = _groups("`labels`", labels, len(x), 1)
    _checks.integer("min_cells", min_cells)
    columns = list(range(x.shape[1])) if markers is None else [str(m) for m in markers]
    if len(columns) != x.shape[1]:
        _checks.fail(f"`markers` has {len(columns)} names, but `values` has {x.shape[1]} columns.")
    keep = (p >= 0) & (b >= 0)
    at = p[keep] * len(batches) + b[keep]
    n = np.bincount(at, minlength=len(names) * len(batches))
    total = np.zeros((len(n), x.shape[1]))
    np.add.at(total, at, x[keep])
    enough = n >= min_cells
    mean = np.where(enough[:, None], total / np.maximum(n, 1)[:, None], np.nan)
    mean = mean.reshape(len(names), len(batches), -1)
    pairs = enough.reshape(len(names), len(batches)).sum(axis=1) >= 2
    if not pairs.any():
        _checks.fail(f"No population has {min_cells} cells in two batches.", "Write a smaller `min_cells`.")
    out = np.full((len(names), x.shape[1]), np.nan)
    out[pairs] = np.nanmax(mean[pairs], axis=1) - np.nanmin(mean[pairs], axis=1)
    return pd.DataFrame(out, index=pd.Index(names), columns=columns)


def marker_shift(values: Any, batch: Any, labels: Any, *, min_cells: int = 10) -> float:
    """Mean of `population_shift` over populations and markers: what is left of a batch effect.

    Parameters
    ----------
    values, batch, labels, min_cells
        As in `population_shift`.

    Returns
    -------
    A number in units of `values`. It is not 0 for batches without an effect, as means of few cells differ by chance.

    Raises
    ------
    TypeError, ValueError
        As in `population_shift`.

    Examples
    --------
    >>> marker_shift([[0.0], [0.0], [1.5], [1.5]], ["a", "a", "b", "b"], ["T"] * 4, min_cells=2)
    1.5
    """
    return float(np.nanmean(population_shift(values, batch, labels, min_cells=min_cells).to_numpy()))
