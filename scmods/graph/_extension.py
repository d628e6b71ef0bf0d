"""Frequencies of new cells from those of the cells in the graph."""

from __future__ import annotations

import numpy as np
from scipy import sparse

from scmods import _checks
from scmods.graph._neighbors import TIE, knn, knn_query, paired

__all__ = ["extend", "extension_weights"]

BLOCK = 2**22  # entries of one block of similarities, 32 MiB


def extension_weights(
    reference: np.ndarray,
    new: np.ndarray,
    n_neighbors: int,
    *,
    metric: str = "cosine",
    reach: np.ndarray | None = None,
) -> sparse.csr_array:
    """Edges that new cells would have in the union graph of the reference cells.

    A new cell is joined to its k nearest reference cells and to every reference cell that would take it as a
    neighbour, that is, whose k-th neighbour is farther away than the new cell. New cells are not joined to
    each other.

    Parameters
    ----------
    reference, new, metric
        As for :func:`knn_query`.
    n_neighbors
        The k with which the graph was built.
    reach
        Distance of every reference cell to its k-th neighbour, ``knn(reference, k)[1][:, -1]``; computed when
        missing.

    Returns
    -------
    new cells x reference cells, CSR of ones.

    Notes
    -----
    Time O(new x reference x coordinates) in blocks of 32 MiB. A distance equal to the reach is a tie and no
    edge.

    Examples
    --------
    >>> import numpy as np
    >>> from scmods import graph
    >>> reference, new = np.array([[0.0], [1.0], [5.0]]), np.array([[0.9]])
    >>> graph.extension_weights(reference, new, 1, metric="euclidean").toarray().tolist()
    [[1.0, 1.0, 0.0]]
    """
    near, _ = knn_query(reference, new, n_neighbors, metric=metric)
    if reach is None:
        reach = knn(reference, n_neighbors, metric=metric)[1][:, -1]
    rows, queries = paired(reference, new, metric)
    if np.shape(reach) != (len(rows),):
        _checks.fail(
            f"`reach` has shape {np.shape(reach)}, but must hold one distance for each of the {len(rows)}",
            "reference cells.",
            "Pass knn(reference, n_neighbors)[1][:, -1].",
        )
    squares = np.einsum("ij,ij->i", rows, rows)
    limit = (2 * reach if metric == "cosine" else reach**2) - TIE * squares.max()
    size = max(1, BLOCK // len(rows))
    parts = []
    for start in range(0, len(queries), size):
        q = queries[start : start + size]
        d2 = np.einsum("ij,ij->i", q, q)[:, None] - 2 * (q @ rows.T) + squares
        edge = d2 < limit
        np.put_along_axis(edge, near[start : start + size], values=True, axis=1)
        parts.append(sparse.csr_array(edge, dtype=np.float64))
    return sparse.vstack(parts, format="csr")


def extend(
    frequencies: np.ndarray,
    values: np.ndarray,
    weights: sparse.sparray,
    *,
    degrees: np.ndarray | None = None,
    fallback: str | None = None,
) -> np.ndarray:
    r"""Frequencies of new cells, from the eigenvalue equation at the new cell.

    .. math:: u(x) = \frac{\sum_j w_{xj} u_j}{d_x - \lambda}, \qquad d_x = \sum_j w_{xj}

    and for the symmetric Laplacian (when `degrees` are given)
    :math:`u(x) = \sum_j w_{xj} u_j / (\sqrt{d_x d_j} (1 - \lambda))`.

    Parameters
    ----------
    frequencies
        Eigenvectors of the graph, cells x frequencies.
    values
        Their eigenvalues.
    weights
        Edges of the new cells, new cells x cells, from :func:`extension_weights`.
    degrees
        Degrees of the cells in the graph; only for eigenvectors of the symmetric Laplacian.
    fallback
        What to do where the denominator is not positive (a local, high frequency at a cell with few edges):
        ``None`` refuses, ``"mean"`` uses the weighted mean of the neighbours, lambda left out, for those
        entries only.

    Returns
    -------
    new cells x frequencies; the scale is that of `frequencies`.

    Raises
    ------
    ValueError
        Shapes that do not fit, a new cell without edges, or a denominator that is not positive.

    Examples
    --------
    On a chain of three cells, a new one is joined to the first:

    >>> import numpy as np
    >>> from scipy import sparse
    >>> from scmods import graph
    >>> chain = sparse.csr_array([[0.0, 1.0, 0.0], [1.0, 0.0, 1.0], [0.0, 1.0, 0.0]])
    >>> found = graph.eigenpairs(graph.laplacian(chain), 1)
    >>> new = graph.extend(found.vectors, 0.5 * found.values, sparse.csr_array([[1.0, 0.0, 0.0]]))
    >>> bool(np.allclose(new, 2 * found.vectors[:1]))
    True
    """
    _checks.one_of("fallback", fallback, (None, "mean"))
    f, lam = _checks.numeric("`frequencies`", frequencies), _checks.numeric("`values`", values)
    if f.ndim != 2 or lam.shape != f.shape[1:] or weights.shape[1] != len(f):
        _checks.fail(
            f"`frequencies` {f.shape}, `values` {lam.shape} and `weights` {weights.shape} do not fit",
            "together:",
            "expected cells x frequencies, one value per frequency, new cells x cells.",
            "Make the weights with extension_weights(reference, new, n_neighbors) for the same cells.",
        )
    own = np.asarray(weights.sum(axis=1)).ravel()
    if (own == 0).any():
        first = _checks.listing(np.flatnonzero(own == 0), 3)
        _checks.fail(
            f"{int((own == 0).sum())} new cells have no edge to the graph; first: {first}.",
            "Make the weights with extension_weights, which gives every cell its nearest neighbours.",
        )
    if degrees is None:
        total, below = weights @ f, own[:, None] - lam
    else:
        root = np.sqrt(np.asarray(degrees, dtype=np.float64))[:, None]
        total, below = weights @ (f / root) * np.sqrt(own)[:, None], own[:, None] * (1 - lam)
    bad = below <= 1e-12 * own[:, None]
    if bad.any() and fallback is None:
        cell, frequency = np.argwhere(bad)[0]
        _checks.fail(
            f"{int(bad.any(axis=1).sum())} new cells have too few edges for the eigenvalue:",
            f"new cell {cell} has degree {own[cell]:g}, frequency {frequency} has eigenvalue",
            f"{lam[frequency]:g},",
            "and the extension divides by their difference. Keep fewer frequencies, take more neighbours,",
            "or write extend(..., fallback='mean').",
        )
    return total / np.where(bad, own[:, None], below)
