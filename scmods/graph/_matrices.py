"""Adjacency, Laplacian and connected components of a neighbour graph."""

from __future__ import annotations

import numpy as np
from scipy import sparse
from scipy.sparse.csgraph import connected_components

from scmods import _checks
from scmods.graph._neighbors import knn

__all__ = ["adjacency", "components", "joining_k", "laplacian"]


def _gaussian(indices: np.ndarray, distances: np.ndarray | None) -> np.ndarray:
    """Self-tuning weights: each cell's length scale is the distance to its last neighbour."""
    if distances is None or np.shape(distances) != indices.shape:
        _checks.fail(
            f"weights='gaussian' needs the distances of all {indices.shape[0]} x {indices.shape[1]}",
            "neighbours.",
            "Pass both results of the search: adjacency(indices, distances=distances, weights='gaussian').",
        )
    reach = np.asarray(distances, dtype=np.float64)[:, -1]
    if (reach <= 0).any():
        _checks.fail(
            f"{int((reach <= 0).sum())} cells have distance 0 to their last neighbour, so they give no",
            "length scale;",
            f"first: {_checks.listing(np.flatnonzero(reach <= 0), 3)}.",
            "Remove duplicated cells, take more neighbours, or use weights=None.",
        )
    return np.exp(-(distances**2) / (reach[:, None] * reach[indices]))


def adjacency(
    indices: np.ndarray,
    n: int | None = None,
    *,
    mode: str = "union",
    weights: str | None = None,
    distances: np.ndarray | None = None,
) -> sparse.csr_array:
    """Sparse adjacency matrix of neighbour lists.

    Parameters
    ----------
    indices
        Neighbour lists as :func:`knn` returns them, cells x neighbours.
    n
        Number of cells; the number of rows of `indices` by default.
    mode
        ``"union"``: edge when one of two cells lists the other. ``"mutual"``: when both do. ``"directed"``:
        row i holds the cells that i lists (not symmetric).
    weights
        ``None`` for ones, or ``"gaussian"``: exp(-d_ij^2 / (s_i s_j)) with s_i the distance of cell i to its
        last neighbour, which needs `distances`.
    distances
        Distances as :func:`knn` returns them; only used for weights.

    Returns
    -------
    n x n CSR, float64, sorted indices, zero diagonal; symmetric unless directed.

    Raises
    ------
    ValueError
        Unknown mode or weights, indices outside the cells, a cell that lists itself, missing distances.

    Examples
    --------
    >>> import numpy as np
    >>> adjacency(np.array([[1], [0], [1]])).toarray().tolist()
    [[0.0, 1.0, 0.0], [1.0, 0.0, 1.0], [0.0, 1.0, 0.0]]
    """
    _checks.one_of("mode", mode, ("union", "mutual", "directed"))
    _checks.one_of("weights", weights, (None, "gaussian"))
    indices = np.asarray(indices)
    if indices.ndim != 2 or not indices.size:
        _checks.fail(
            f"`indices` has shape {indices.shape}, but must be cells x neighbours.",
            "Pass the indices of scmods.graph.knn(x, n_neighbors).",
        )
    rows, k = indices.shape
    n = rows if n is None else n
    low, high = indices.min(), indices.max()
    if rows != n or low < 0 or high >= n:
        _checks.fail(
            f"`indices` has {rows} rows with entries in [{low}, {high}],",
            f"but must have one row for each of the {n} cells with entries in [0, {n - 1}].",
            "Pass the indices of scmods.graph.knn(x, n_neighbors).",
        )
    own = (indices == np.arange(n)[:, None]).any(axis=1)
    if own.any():
        _checks.fail(
            f"{int(own.sum())} cells list themselves as a neighbour; first:",
            f"{_checks.listing(np.flatnonzero(own), 3)}.",
            "Call knn with exclude_self=True.",
        )
    data = np.ones(n * k) if weights is None else _gaussian(indices, distances).ravel()
    small = np.int32 if n * k < 2**30 else np.int64
    pointer = np.arange(0, n * k + 1, k, dtype=small)
    directed = sparse.csr_array((data, indices.astype(small).ravel(), pointer), shape=(n, n))
    directed.sort_indices()
    if mode != "directed":
        other = directed.T.tocsr()
        directed = directed.maximum(other) if mode == "union" else directed.minimum(other)
        directed.eliminate_zeros()
        directed.sort_indices()
    return directed


def _square(what: str, matrix: sparse.sparray) -> sparse.csr_array:
    """The matrix as CSR with sorted indices; refuse dense, rectangular, asymmetric and non-finite ones."""
    if not sparse.issparse(matrix) or matrix.shape[0] != matrix.shape[1]:
        _checks.fail(
            f"{what} is a {type(matrix).__name__} of shape {np.shape(matrix)}, but must be a square scipy",
            "sparse matrix.",
            "Make it with scmods.graph.adjacency(indices).",
            kind=TypeError if not sparse.issparse(matrix) else ValueError,
        )
    matrix = sparse.csr_array(matrix, dtype=np.float64)
    if not matrix.has_sorted_indices:
        matrix = matrix.sorted_indices()
    _checks.finite(what, matrix.data)
    other = matrix.T.tocsr()
    same = np.array_equal(matrix.indptr, other.indptr) and np.array_equal(matrix.indices, other.indices)
    if not same or np.abs(matrix.data - other.data).max(initial=0.0) > 1e-12 * np.abs(matrix.data).max(
        initial=0.0
    ):
        _checks.fail(
            f"{what} is not symmetric.",
            "Use mode='union' or mode='mutual' in scmods.graph.adjacency.",
        )
    return matrix


def laplacian(adjacency: sparse.sparray, *, kind: str = "combinatorial") -> sparse.csr_array:
    """Laplacian of a symmetric graph.

    Parameters
    ----------
    adjacency
        Symmetric sparse matrix of non-negative weights with zero diagonal.
    kind
        ``"combinatorial"``: D - A with D the diagonal of degrees (row sums). ``"symmetric"``: I - D^(-1/2) A
        D^(-1/2), eigenvalues in [0, 2].

    Returns
    -------
    CSR of the same shape, float64.

    Raises
    ------
    ValueError
        Asymmetric, negative or self weights; for ``"symmetric"`` a cell without neighbour (its degree 0
        cannot be divided by).

    Examples
    --------
    >>> from scipy import sparse
    >>> from scmods import graph
    >>> chain = sparse.csr_array([[0.0, 1.0, 0.0], [1.0, 0.0, 1.0], [0.0, 1.0, 0.0]])
    >>> graph.laplacian(chain).toarray().tolist()
    [[1.0, -1.0, 0.0], [-1.0, 2.0, -1.0], [0.0, -1.0, 1.0]]
    """
    _checks.one_of("kind", kind, ("combinatorial", "symmetric"))
    a = _square("The adjacency", adjacency)
    if a.data.min(initial=0.0) < 0 or a.diagonal().any():
        _checks.fail(
            f"The adjacency has {int((a.data < 0).sum())} negative weights and",
            f"{int((a.diagonal() != 0).sum())}",
            "self edges, but must have none. Make it with scmods.graph.adjacency(indices).",
        )
    degrees = a.sum(axis=1)
    if kind == "combinatorial":
        return (sparse.diags_array(degrees) - a).tocsr()
    isolated = np.flatnonzero(degrees == 0)
    if len(isolated):
        _checks.fail(
            f"{len(isolated)} cells have no neighbour; first: {_checks.listing(isolated, 3)}.",
            "The symmetric Laplacian divides by degrees. Use mode='union', drop these cells,",
            "or use kind='combinatorial'.",
        )
    root = sparse.diags_array(1 / np.sqrt(degrees))
    return (sparse.eye_array(len(degrees)) - root @ a @ root).tocsr()


def components(adjacency: sparse.sparray) -> tuple[int, np.ndarray]:
    """Number of connected components and the component of every cell.

    Parameters
    ----------
    adjacency
        Sparse graph; directed edges count in both directions. A Laplacian works too.

    Returns
    -------
    count
        Number of components, which is the number of zero eigenvalues of the Laplacian.
    labels
        One integer per cell, int64; component 0 is the largest, ties in order of the first cell.

    Examples
    --------
    >>> from scipy import sparse
    >>> from scmods import graph
    >>> count, labels = graph.components(sparse.csr_array([[0, 0, 1], [0, 0, 0], [1, 0, 0]]))
    >>> count, labels.tolist()
    (2, [0, 1, 0])
    """
    count, raw = connected_components(sparse.csr_array(adjacency), directed=False)
    sizes = np.bincount(raw, minlength=count)
    first = np.full(count, len(raw))
    np.minimum.at(first, raw, np.arange(len(raw)))
    order = np.lexsort((first, -sizes))
    rank = np.empty(count, dtype=np.int64)
    rank[order] = np.arange(count)
    return int(count), rank[raw]


def joining_k(
    x: np.ndarray, *, metric: str = "cosine", mode: str = "union", most: int = 200, max_cells: int = 20_000
) -> int | None:
    """Smallest number of neighbours whose graph is connected, for the text of an error.

    Parameters
    ----------
    x, metric
        As for :func:`knn`.
    mode
        ``"union"`` or ``"mutual"``.
    most
        Largest number of neighbours tried.
    max_cells
        Above this number of cells nothing is searched, so that an error text costs seconds at most.

    Returns
    -------
    The number, or ``None`` when even `most` neighbours leave the graph disconnected or there are too many
    cells.

    Notes
    -----
    Neighbour lists are nested, so one search with `most` neighbours and a bisection answer the question.

    Examples
    --------
    Two pairs of cells, far apart, need their second neighbours:

    >>> import numpy as np
    >>> from scmods import graph
    >>> graph.joining_k(np.array([[0.0], [1.0], [5.0], [6.0]]), metric="euclidean")
    2
    """
    _checks.one_of("mode", mode, ("union", "mutual"))
    high = min(_checks.integer("most", most), len(x) - 1)
    if len(x) > max_cells:
        return None
    indices, _ = knn(x, high, metric=metric)

    def connected(k: int) -> bool:
        return components(adjacency(indices[:, :k], mode=mode))[0] == 1

    if not connected(high):
        return None
    low = 0
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (low, middle) if connected(middle) else (middle, high)
    return high
