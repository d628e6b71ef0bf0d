"""Entries of the inverse of a precision matrix without the dense inverse: variances, covariances, correlations.

The Takahashi recursion gives the entries of the inverse on the pattern of the sparse factor; single entries outside
it come from solves along the paths of the elimination tree. All of it is exact.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from scipy import sparse

from scmods import _checks
from scmods.smoother.factor import Factor, as_factor, factorize, square
from scmods.smoother.sma import Sma

__all__ = [
    "check_indices",
    "covariance_columns",
    "marginal_variance",
    "neighbour_correlations",
    "neighbour_covariances",
    "posterior_variance",
    "selected_inverse",
]


def selected_inverse(q: Any) -> sparse.csr_array:
    """Entries of the inverse on the pattern of the matrix.

    Parameters
    ----------
    q
        Symmetric positive definite precision matrix, spots x spots, or its `Factor`.

    Returns
    -------
    CSR with the pattern of `q` and its whole diagonal; every stored entry equals that of the dense inverse.

    Raises
    ------
    ValueError
        As for :func:`factorize`.

    Notes
    -----
    Takahashi, Fagan and Chen (1973): Z = D^-1 L^-1 + (I - L^T) Z read from the last column to the first.
    Cost and memory are those of the factorisation; no dense row or column is formed.

    Examples
    --------
    >>> import numpy as np
    >>> q = np.array([[2.0, -1.0, 0.0], [-1.0, 2.0, -1.0], [0.0, -1.0, 2.0]])
    >>> selected_inverse(q).toarray().round(2).tolist()
    [[0.75, 0.5, 0.0], [0.5, 1.0, 0.5], [0.0, 0.5, 0.75]]
    """
    from scmods.smoother import _kernels_selected as kernels

    f = as_factor(q)
    zd, zx = kernels.takahashi(f.lp, f.li, f.lx, f.d)
    coo = f.matrix.tocoo()
    rows, columns = (f.rank[c] for c in coo.coords)
    values = kernels.gather(f.lp, f.li, zx, zd, rows, columns)
    return sparse.csr_array((values, f.matrix.indices.copy(), f.matrix.indptr.copy()), shape=f.matrix.shape)


def marginal_variance(q: Any) -> np.ndarray:
    """Prior variance of every spot, the diagonal of the inverse.

    Parameters
    ----------
    q
        Precision matrix, its `Factor`, or an `Sma` factor.

    Returns
    -------
    (spots,) float64, positive.

    Raises
    ------
    ValueError
        As for :func:`factorize`.

    Examples
    --------
    >>> import numpy as np
    >>> marginal_variance(np.array([[2.0, -1.0], [-1.0, 2.0]])).round(3).tolist()
    [0.667, 0.667]
    """
    if isinstance(q, Sma):
        return q.variance()
    from scmods.smoother import _kernels_selected as kernels

    f = as_factor(q)
    return kernels.takahashi(f.lp, f.li, f.lx, f.d)[0][f.rank]


def posterior_variance(q: Any, noise_precision: np.ndarray) -> np.ndarray:
    """Variance of every spot after observing some of them with independent normal noise.

    Parameters
    ----------
    q
        Prior precision, spots x spots; it may be improper when every component is observed.
    noise_precision
        (spots,) 1 / variance of the noise, 0 where nothing was observed.

    Returns
    -------
    (spots,) float64: the diagonal of (Q + diag(noise_precision))^-1.

    Raises
    ------
    ValueError
        Wrong length, negative or missing precisions; an improper component without observation (size and spots named).

    Examples
    --------
    >>> import numpy as np
    >>> posterior_variance(np.array([[1.0, -1.0], [-1.0, 1.0]]), np.array([1.0, 0.0])).round(3).tolist()
    [1.0, 2.0]
    """
    matrix = q.matrix if isinstance(q, Factor) else square("The precision matrix", q)
    h = _checks.numeric("`noise_precision`", noise_precision)
    if h.shape != (matrix.shape[0],):
        _checks.fail(
            f"`noise_precision` has shape {h.shape}, but must be ({matrix.shape[0]},): one number for each spot.",
            "Give 0 to the spots without observation.",
        )
    bad = ~(np.isfinite(h) & (h >= 0))
    if bad.any():
        _checks.fail(
            f"`noise_precision` has {int(bad.sum())} values that are negative, NaN or infinite;",
            f"first spots: {_checks.listing(np.flatnonzero(bad), 3)}.",
            "Expected 1 / noise variance, 0 where nothing was observed.",
        )
    return marginal_variance(factorize(matrix + sparse.diags_array(h)))


def covariance_columns(q: Any, spots: np.ndarray) -> np.ndarray:
    """Covariance of all spots with a few of them.

    Parameters
    ----------
    q
        Precision matrix, its `Factor`, or an `Sma` factor.
    spots
        Indices of the spots whose columns are wanted.

    Returns
    -------
    spots x len(`spots`), float64, dense: ask for few columns.

    Raises
    ------
    ValueError
        Indices outside the range; as for :func:`factorize`.
    """
    n = q.n if isinstance(q, Sma | Factor) else q.shape[0]
    index = check_indices("spots", spots, n)
    if isinstance(q, Sma):
        return q.covariance()[:, index].toarray()
    unit = np.zeros((n, len(index)))
    unit[index, np.arange(len(index))] = 1.0
    return as_factor(q).solve(unit)


def check_indices(what: str, values: Any, n: int) -> np.ndarray:
    """The indices as an array; refuses other types and values outside 0 ... n - 1.

    Parameters
    ----------
    what
        Name for the messages.
    values
        Whole numbers.
    n
        Number of spots.
    """
    index = np.asarray(values)
    if index.dtype.kind not in "iu":
        _checks.fail(f"`{what}` has type {index.dtype}, but must hold whole numbers.", kind=TypeError)
    if index.size and (index.min() < 0 or index.max() >= n):
        _checks.fail(
            f"`{what}` holds indices from {index.min()} to {index.max()}, but there are {n} spots:",
            f"expected 0 to {n - 1}.",
        )
    return index


def neighbour_covariances(q: Any, neighbours: np.ndarray, *, spots: np.ndarray | None = None) -> np.ndarray:
    """Covariance of spots with listed other spots.

    Parameters
    ----------
    q
        Precision matrix, its `Factor`, or an `Sma` factor.
    neighbours
        rows x columns indices of spots.
    spots
        (rows,) the spot that each row belongs to; by default row i belongs to spot i.

    Returns
    -------
    Array of the shape of `neighbours`: entry (r, c) is the covariance of spots[r] with neighbours[r, c].

    Raises
    ------
    ValueError
        Indices outside the range, rows that do not fit; as for :func:`factorize`.

    Notes
    -----
    The column of a spot is solved for on the union of the paths to the root of the elimination tree, from the spot and
    from its listed neighbours. For graphs in the plane that is a few hundred nodes instead of all spots.
    """
    n = q.n if isinstance(q, Sma | Factor) else q.shape[0]
    index = check_indices("neighbours", neighbours, n)
    own = np.arange(len(index)) if spots is None else check_indices("spots", spots, n)
    if index.ndim != 2 or len(index) != len(own) or len(own) > n and spots is None:
        _checks.fail(
            f"`neighbours` has shape {index.shape} for {len(own)} spots, but must be spots x neighbours.",
            "Pass the indices of scmods.graph.knn(coords, n_neighbors, metric='euclidean').",
        )
    if isinstance(q, Sma):
        rows = np.repeat(own, index.shape[1])
        return np.asarray(q.covariance()[rows, index.ravel()]).reshape(index.shape)
    from scmods.smoother import _kernels_selected as kernels

    f = as_factor(q)
    # rows that share a walk should share most of their path
    near = np.argsort(kernels.preorder(f.parent)[f.rank[own]], kind="stable")
    out = np.empty(index.shape)
    out[near] = kernels.paths(
        f.parent, f.lp, f.li, f.lx, f.d, f.rank[own[near]].astype(np.int64), f.rank[index[near]]
    )
    return out


def neighbour_correlations(q: Any, neighbours: np.ndarray, *, spots: np.ndarray | None = None) -> np.ndarray:
    """Correlation of spots with listed other spots.

    Parameters
    ----------
    q, neighbours, spots
        As for :func:`neighbour_covariances`.

    Returns
    -------
    Array of the shape of `neighbours`, in [-1, 1].

    Examples
    --------
    >>> import numpy as np
    >>> from scmods import smoother
    >>> q = np.array([[1.0, -0.5], [-0.5, 1.0]])
    >>> smoother.neighbour_correlations(q, np.array([[1], [0]])).round(6).tolist()
    [[0.5], [0.5]]
    """
    f = q if isinstance(q, Sma) else as_factor(q)
    sd = np.sqrt(marginal_variance(f))
    own = np.arange(len(neighbours)) if spots is None else np.asarray(spots)
    return neighbour_covariances(f, neighbours, spots=spots) / (sd[own][:, None] * sd[np.asarray(neighbours)])
