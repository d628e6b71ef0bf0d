"""Exact nearest neighbours of cells.

A fast search proposes a few more candidates than asked for; distances of the candidates are then recomputed
by plain subtraction, so that a duplicate has distance exactly 0 and ties are broken by index and not by
rounding.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from scmods import _checks

__all__ = ["knn", "knn_query"]

TIE = 1e-12  # squared distances closer than this, relative to the largest squared norm, are tied
SPARE = 4  # candidates beyond those asked for, so that most ties are settled without a second look
TREE_DIMS = 10  # a kd-tree beats matrix products up to about this many coordinates
METRICS = ("cosine", "euclidean")

Search = Callable[[np.ndarray, int], np.ndarray]


def _count(what: str, x: np.ndarray) -> int:
    """Number of cells of a coordinate array; refuse sparse matrices and other numbers of axes."""
    if hasattr(x, "toarray"):
        _checks.fail(
            f"{what} is a sparse matrix, but must be a numpy array of coordinates.",
            "Reduce it first, `scores, _, _ = scmods.graph.pca(x, 30)`, or pass x.toarray().",
            kind=TypeError,
        )
    if np.ndim(x) != 2:
        _checks.fail(
            f"{what} has {np.ndim(x)} axes, but must have two: cells x coordinates.",
            "Pass a numpy array such as adata.obsm['X_pca'].",
        )
    return len(x)


def points(what: str, x: np.ndarray, metric: str, *, center: np.ndarray | None = None) -> np.ndarray:
    """Float64 rows whose half squared Euclidean distance (cosine) or distance (euclidean) is the metric.

    Euclidean rows are shifted by `center`, which leaves distances alone and keeps their rounding small.
    """
    _checks.one_of("metric", metric, METRICS)
    out = _checks.numeric(what, x)
    _checks.finite(what, out)
    if metric == "euclidean":
        return out - (out.mean(axis=0) if center is None else center)
    norms = np.linalg.norm(out, axis=1)
    _checks.positive_rows(what, norms)
    out /= norms[:, None]
    return out


def _searcher(reference: np.ndarray) -> Search:
    """Function (rows, count) -> indices of the `count` nearest reference rows, ties in any order."""
    if reference.shape[1] <= TREE_DIMS and len(reference) > 1000:
        from scipy.spatial import cKDTree

        tree = cKDTree(reference)
        return lambda rows, count: tree.query(rows, k=count)[1].reshape(len(rows), count)
    from sklearn.neighbors import NearestNeighbors

    brute = NearestNeighbors(algorithm="brute").fit(reference)
    return lambda rows, count: brute.kneighbors(rows, count, return_distance=False)


def squared(rows: np.ndarray, reference: np.ndarray, candidates: np.ndarray) -> np.ndarray:
    """Squared distances of every row to its candidates, by subtraction: exact zeros for duplicates."""
    out = np.empty(candidates.shape)
    for j in range(candidates.shape[1]):  # one column at a time: no rows x candidates x coordinates array
        difference = rows - reference[candidates[:, j]]
        out[:, j] = np.einsum("ij,ij->i", difference, difference)
    return out


def _ranked(d2: np.ndarray, index: np.ndarray, tie: float, k: int) -> tuple[np.ndarray, np.ndarray]:
    """The k nearest in order of (distance in steps of the tie width, index); infinite distances come last."""
    order = np.lexsort((index, np.round(d2 / tie)), axis=1)[:, :k]
    return np.take_along_axis(index, order, 1), np.take_along_axis(d2, order, 1)


def _full_row(row: np.ndarray, reference: np.ndarray, own: int, tie: float, k: int) -> tuple[np.ndarray, ...]:
    """Neighbours of one row among all reference rows: the slow and certain way, for many-fold ties."""
    d2 = np.einsum("ij,ij->i", reference - row, reference - row)
    if own >= 0:
        d2[own] = np.inf
    near = np.flatnonzero(d2 <= np.partition(d2, k - 1)[k - 1] + 2 * tie)
    return _ranked(d2[None, near], near[None], tie, k)


def _block(
    rows: np.ndarray, own: np.ndarray | None, reference: np.ndarray, search: Search, k: int, tie: float
) -> tuple[np.ndarray, np.ndarray]:
    """Neighbours of a block of rows; `own` is each row's index in the reference, or None."""
    extra = SPARE + (own is not None)
    count = min(len(reference), k + extra)
    candidates = search(rows, count).astype(np.int64)
    d2 = squared(rows, reference, candidates)
    farthest = d2.max(axis=1)
    if own is not None:
        d2[candidates == own[:, None]] = np.inf
    index, best = _ranked(d2, candidates, tie, k)
    # every cell closer than the farthest candidate is a candidate, so only a tie with that one is unsettled
    unsettled = np.flatnonzero((best[:, -1] + 2 * tie >= farthest) & (count < len(reference)))
    for i in unsettled:
        index[i], best[i] = _full_row(rows[i], reference, -1 if own is None else own[i], tie, k)
    return index, best


def _neighbors(
    rows: np.ndarray, reference: np.ndarray, k: int, metric: str, block: int | None, *, same: bool
) -> tuple[np.ndarray, np.ndarray]:
    tie = TIE * max(float(np.einsum("ij,ij->i", reference, reference).max()), np.finfo(float).tiny / TIE)
    size = block or max(64, min(len(rows), 2**22 // max(1, rows.shape[1])))
    search = _searcher(reference)
    index = np.empty((len(rows), k), dtype=np.int64)
    distance = np.empty((len(rows), k))
    for start in range(0, len(rows), size):
        part = slice(start, min(start + size, len(rows)))
        own = np.arange(part.start, part.stop) if same else None
        index[part], distance[part] = _block(rows[part], own, reference, search, k, tie)
    if metric == "cosine":
        distance /= 2
    else:
        np.sqrt(distance, out=distance)
    return index, distance


def knn(
    x: np.ndarray,
    n_neighbors: int,
    *,
    metric: str = "cosine",
    block: int | None = None,
    exclude_self: bool = True,
) -> tuple[np.ndarray, np.ndarray]:
    """Exact nearest neighbours of every cell.

    Parameters
    ----------
    x
        Coordinates, cells x coordinates, finite; for instance principal components or z-scored genes.
    n_neighbors
        Neighbours per cell, at most cells - 1 (cells, when the cell itself may be listed).
    metric
        ``"cosine"`` (1 - cosine of the angle at the origin) or ``"euclidean"``.
    block
        Cells per block of the search; by default a block of coordinates takes 32 MiB.
    exclude_self
        Leave the cell itself out, by its index: of two identical cells each lists the other and none lists
        itself.

    Returns
    -------
    indices
        cells x neighbours, int64, nearest first.
    distances
        cells x neighbours, float64, same order; exactly 0 between identical rows.

    Raises
    ------
    ValueError
        NaN or infinite coordinates, an all-zero row under cosine, too many neighbours.

    Notes
    -----
    Squared distances that round to the same multiple of 1e-12 of the largest squared norm are tied, and ties
    go to the lower index. Up to 10 coordinates and above 1,000 cells a kd-tree is searched (about n log n),
    otherwise blocked matrix products (n^2 x coordinates operations, memory of one block); both are exact.
    Cosine neighbours are the Euclidean neighbours of the rows scaled to unit length.

    Examples
    --------
    >>> import numpy as np
    >>> knn(np.array([[1.0, 0.0], [1.0, 0.1], [0.0, 1.0]]), 1)[0].ravel().tolist()
    [1, 0, 1]
    """
    n = _count("The array `x`", x)
    most = n - 1 if exclude_self else n
    why = f"There are {n} cells: pass n_neighbors={max(1, min(15, most))} or fewer."
    k = _checks.integer("n_neighbors", n_neighbors, 1, most, why)
    rows = points("The array `x`", x, metric)
    return _neighbors(rows, rows, k, metric, block, same=exclude_self)


def knn_query(
    reference: np.ndarray,
    new: np.ndarray,
    n_neighbors: int,
    *,
    metric: str = "cosine",
    block: int | None = None,
) -> tuple[np.ndarray, np.ndarray]:
    """Exact nearest reference cells of new cells.

    Parameters
    ----------
    reference
        Coordinates of the cells to search, cells x coordinates.
    new
        Coordinates of the new cells in the same space, new cells x coordinates.
    n_neighbors, metric, block
        As for :func:`knn`; at most as many neighbours as reference cells.

    Returns
    -------
    indices, distances
        new cells x neighbours, nearest first; indices count rows of `reference`.

    Raises
    ------
    ValueError
        As for :func:`knn`, and when the two arrays have different numbers of coordinates.

    Examples
    --------
    >>> import numpy as np
    >>> from scmods import graph
    >>> reference, new = np.array([[0.0], [1.0], [5.0]]), np.array([[0.75]])
    >>> indices, distances = graph.knn_query(reference, new, 2, metric="euclidean")
    >>> indices.tolist(), distances.tolist()
    ([[1, 0]], [[0.25, 0.75]])
    """
    n = _count("The array `reference`", reference)
    k = _checks.integer("n_neighbors", n_neighbors, 1, n, f"There are {n} reference cells.")
    rows, queries = paired(reference, new, metric)
    return _neighbors(queries, rows, k, metric, block, same=False)


def paired(reference: np.ndarray, new: np.ndarray, metric: str) -> tuple[np.ndarray, np.ndarray]:
    """Both sets of cells as `points` makes them, shifted alike; refuse different numbers of coordinates."""
    for what, x in (("The array `reference`", reference), ("The array `new`", new)):
        _count(what, x)
    if new.shape[1] != reference.shape[1]:
        _checks.fail(
            f"`new` has {new.shape[1]} coordinates, but `reference` has {reference.shape[1]}.",
            "Project both with the same loadings before the call.",
        )
    rows = points("The array `reference`", reference, metric)
    center = np.asarray(reference, dtype=np.float64).mean(axis=0)
    return rows, points("The array `new`", new, metric, center=center)
