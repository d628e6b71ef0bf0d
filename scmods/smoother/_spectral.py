"""Eigenvectors of the graph of spots, the basis of fields from smooth to rough."""

from __future__ import annotations

from typing import Any

import numpy as np
from scipy import sparse

from scmods import _checks
from scmods.smoother.factor import square

__all__ = ["spectral_basis"]

DENSE = 3000  # spots up to which all eigenvectors are computed
SOME = 400  # eigenvectors beyond that


def spectral_basis(w: Any, n_comps: int | None = None) -> np.ndarray:
    """Eigenvectors of the graph Laplacian, smoothest first, without the constant.

    Parameters
    ----------
    w
        Weights, spots x spots, symmetrised here; the diagonal is ignored.
    n_comps
        Number of vectors; None for all, up to 3,000 spots, and 400 beyond.

    Returns
    -------
    (spots, comps), orthonormal and orthogonal to the constant.

    Raises
    ------
    ValueError
        A matrix that is not square; more vectors than spots - 1.

    Notes
    -----
    All: O(spots^3) once, about 10 s for 3,000. Compute it once and pass it to every test.

    Examples
    --------
    >>> spectral_basis(np.array([[0.0, 1.0], [1.0, 0.0]])).round(3).ravel().tolist()
    [0.707, -0.707]
    """
    w = square("The weight matrix", getattr(w, "swm_scaled", w))
    n = w.shape[0]
    w = (w + w.T) / 2
    w = (w - sparse.diags_array(w.diagonal())).tocsr()
    lap = sparse.diags_array(w.sum(axis=1)) - w
    wanted = n_comps if n_comps is not None else (n - 1 if n <= DENSE else SOME)
    _checks.integer("n_comps", wanted, 1, n - 1, f"There are {n} spots.")
    if n <= DENSE:
        # the constant gets an eigenvalue above all others, so that it comes last whatever else is 0
        dense = lap.toarray() + (4.0 * float(lap.diagonal().max(initial=1.0)) + 1.0) / n
        vectors = np.linalg.eigh(dense)[1][:, : n - 1][:, :wanted]
    else:
        vectors = _smoothest(lap.tocsc(), wanted)
    largest = np.abs(vectors).argmax(axis=0)
    return vectors * np.where(vectors[largest, np.arange(vectors.shape[1])] < 0, -1.0, 1.0)


def _smoothest(lap: sparse.csc_array, k: int) -> np.ndarray:
    from scipy.sparse.linalg import eigsh

    n = lap.shape[0]
    shift = 1e-6 * float(lap.diagonal().max())
    start = np.random.default_rng(0).normal(size=n)
    vectors = eigsh(lap, k=k + 1, sigma=-shift, which="LM", v0=start)[1]
    # take the constant out of the space, whatever the zero eigenvectors of several components are
    vectors = vectors - vectors.mean(axis=0)
    u, size, _ = np.linalg.svd(vectors, full_matrices=False)
    return u[:, :k] if size[-1] > 0.5 else _ordered(lap, u[:, :k])


def _ordered(lap: sparse.csc_array, u: np.ndarray) -> np.ndarray:
    values, turn = np.linalg.eigh(u.T @ (lap @ u))
    return u @ turn[:, np.argsort(values)]
