"""Precision matrices of spatial priors, sparse and validated."""

from __future__ import annotations

from typing import Any

import numpy as np
from scipy import sparse

from scmods.smoother.inverse import marginal_variance
from scmods.smoother.rho import PRIORS, check_rho, check_weights, is_improper, rho_range, symmetrize
from scmods.smoother.sma import Sma

__all__ = [
    "PRIORS",
    "Sma",
    "check_rho",
    "check_weights",
    "is_improper",
    "precision",
    "rho_range",
    "standardize",
    "symmetrize",
]


def standardize(q: sparse.csr_array, variance: np.ndarray | None = None) -> sparse.csr_array:
    """Rescale a precision matrix so that its covariance becomes a correlation matrix.

    Parameters
    ----------
    q
        Positive definite precision matrix, spots x spots, CSR.
    variance
        (spots,) prior variances when they are known; otherwise the diagonal of the inverse is computed.

    Returns
    -------
    S Q S with S = diag(Q^-1)^(1/2), the pattern of `q`.

    Raises
    ------
    ValueError
        As for :func:`scmods.smoother.factor.factorize`.

    Examples
    --------
    >>> import numpy as np
    >>> from scmods import smoother
    >>> q = smoother.standardize(smoother.precision(np.array([[0.0, 1.0], [1.0, 0.0]]), "icar", 0.5))
    >>> smoother.marginal_variance(q).round(6).tolist()
    [1.0, 1.0]
    """
    scale = np.sqrt(marginal_variance(q) if variance is None else variance)
    return _rescaled(q, scale)


def _rescaled(q: sparse.csr_array, scale: np.ndarray) -> sparse.csr_array:
    rows = np.repeat(np.arange(q.shape[0]), np.diff(q.indptr))
    # one product of both scales, so that the result is as symmetric as the matrix
    data = q.data * (scale[rows] * scale[q.indices])
    return sparse.csr_array((data, q.indices, q.indptr), shape=q.shape)


def _normalised_laplacian(q: sparse.csr_array) -> sparse.csr_array:
    diagonal = q.diagonal()
    # an isolated spot costs nothing under an improper prior: its row is zero and stays zero
    return _rescaled(q, 1 / np.sqrt(np.where(diagonal > 0, diagonal, 1.0)))


def precision(w: Any, prior: str, rho: float = 0.99, *, standardize: bool = False) -> sparse.csr_array:
    r"""Precision matrix of a spatial prior.

    ====== ============================================== ==========================
    prior  precision                                      rho
    ====== ============================================== ==========================
    icar   :math:`D - \rho W`, D the sums of the weights  below 1; 1 is improper
    car    :math:`I - \rho W`                             below 1 / largest eigenvalue
    sar    :math:`(I - \rho W)^\top (I - \rho W)`         below 1 / largest eigenvalue
    isar   sar with weights scaled to row sums of 1       below 1; 1 is improper
    sma    :math:`[(I + \rho W)(I + \rho W)^\top]^{-1}`   below -1 / smallest eigenvalue
    ====== ============================================== ==========================

    Parameters
    ----------
    w
        Weights, spots x spots: scipy sparse, dense numpy, or a `SpatialWeightMatrix`. Not negative; symmetric
        for icar and car.
    prior
        Name of the prior.
    rho
        Autocorrelation. Below 1, icar pulls towards 0 by (1 - rho) times the sum of the weights of a spot.
    standardize
        Scale the covariance to a correlation matrix, by the exact diagonal of the sparse inverse. The improper
        priors have none: they become diag(Q)^-1/2 Q diag(Q)^-1/2, the normalised Laplacian for icar.

    Returns
    -------
    CSR, float64. sma gives a matrix without zeros, for at most 5,000 spots; beyond, use :class:`Sma`.

    Raises
    ------
    ValueError
        Bad weights, or `rho` outside the range of this graph (named in the text).

    Warns
    -----
    NumericalWarning
        sar or sma with `rho` outside `rho_range`.

    Notes
    -----
    A constant field costs 0 under icar with rho = 1, on every connected component. Spots without neighbour carry
    W_ii = 1, hence Q_ii = 1 - rho (icar, car), (1 - rho)^2 (sar, isar), 1 / (1 + rho)^2 (sma).

    Examples
    --------
    >>> import numpy as np
    >>> precision(np.array([[0.0, 1.0], [1.0, 0.0]]), "icar", 0.5).toarray().tolist()
    [[1.0, -0.5], [-0.5, 1.0]]
    """
    if prior == "sma":
        return sparse.csr_array(Sma(w, rho, standardize=standardize).precision())
    matrix = check_weights(w, prior)
    rho = check_rho(matrix, prior, rho)
    if prior == "icar":
        q = sparse.diags_array(matrix.sum(axis=1)) - rho * matrix
    elif prior == "car":
        q = sparse.eye_array(matrix.shape[0]) - rho * matrix
    else:
        if prior == "isar":
            matrix = sparse.diags_array(1 / matrix.sum(axis=1)) @ matrix
        half = sparse.eye_array(matrix.shape[0]) - rho * matrix
        q = half.T @ half
        q = (q + q.T) / 2  # the two halves of a product differ by rounding
    q = sparse.csr_array(q)
    q.eliminate_zeros()
    q.sort_indices()
    if not standardize:
        return q
    if is_improper(prior, rho):
        return _normalised_laplacian(q)
    return _rescaled(q, np.sqrt(marginal_variance(q)))
