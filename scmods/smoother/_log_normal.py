"""Deconvolution with squared differences of logarithms: the amounts stay inside the logarithm."""

from __future__ import annotations

from typing import Any

import numpy as np
from scipy import sparse

from scmods import _checks
from scmods.smoother import _nnls

__all__ = ["log_normal", "log_normal_objective"]

BLOCK = 2**22


def log_normal_objective(
    x: np.ndarray, v: np.ndarray, counts: Any, profiles: np.ndarray, q: sparse.csr_array, smoothing: float
) -> tuple[float, np.ndarray, np.ndarray]:
    """Value and gradients of mean (log(1 + X R^T + v) - log(1 + Y))^2 + smoothing tr(X^T Q X) / (types spots).

    Parameters
    ----------
    x, v
        X, (spots, types), and the bias, (spots,); both at least 0.
    counts, profiles, q, smoothing
        As in `log_normal`.

    Returns
    -------
    Value, gradient in `x`, gradient in `v`.
    """
    n, genes, types = len(x), len(profiles), profiles.shape[1]
    value, dx, dv = 0.0, np.empty_like(x), np.empty_like(v)
    step = max(1, BLOCK // genes)
    for start in range(0, n, step):
        part = slice(start, start + step)
        y = counts[part].toarray() if sparse.issparse(counts) else counts[part]
        mixture = 1 + x[part] @ profiles.T + v[part, None]
        difference = np.log(mixture) - np.log1p(y)
        value += float(np.einsum("ij,ij->", difference, difference)) / (n * genes)
        slope = 2 * difference / mixture / (n * genes)
        dx[part], dv[part] = slope @ profiles, slope.sum(axis=1)
    product = q @ x
    value += smoothing * float(np.einsum("ij,ij->", x, product)) / (n * types)
    return value, dx + 2 * smoothing * product / (n * types), dv


def log_normal(
    counts: Any,
    profiles: np.ndarray,
    q: sparse.csr_array,
    *,
    smoothing: float,
    bias: bool = True,
    tol: float = 1e-8,
    max_iter: int = 20_000,
) -> Any:
    """Abundances by squared differences of log(1 + .) of counts and mixture, with a spatial prior.

    Parameters
    ----------
    counts
        (spots, genes), at least 0, dense or scipy sparse.
    profiles
        (genes, types) on the scale of the counts.
    q
        Precision, spots x spots, CSR.
    smoothing
        Strength of the prior, at least 0.
    bias
        An offset of at least 0 per spot inside the logarithm.
    tol
        Largest projected gradient at the end, not below 1e-6.
    max_iter
        Most steps, at most 3,000.

    Returns
    -------
    See `NnlsFit`; gap and distance are infinite, because the problem is not convex: a stationary point, no certificate.

    Warns
    -----
    NumericalWarning
        Not converged.

    Notes
    -----
    Bounded quasi-Newton descent (L-BFGS-B) from the solution of the linear model. Amounts and bias stay at 0 or above,
    so that the logarithm never sees a negative mixture.
    """
    from scipy.optimize import minimize

    from scmods.smoother.deconvolution import NnlsFit

    _checks.number("smoothing", smoothing, 0.0, why="0 is no smoothing.")
    n, types = counts.shape[0], profiles.shape[1]
    kappa = smoothing / types
    g = _nnls.gram(counts, profiles, bias=False)
    first, _, _ = _nnls.minimise(g, q, kappa, start=None, tol=1e-4, max_iter=500)
    scale = max(float(first.max()), 1e-8)
    begin = np.concatenate([(first / scale).ravel(), np.zeros(n if bias else 0)])

    def pack(z: np.ndarray) -> tuple[float, np.ndarray]:
        x, v = scale * z[: n * types].reshape(n, types), scale * z[n * types :] if bias else np.zeros(n)
        value, dx, dv = log_normal_objective(x, v, counts, profiles, q, smoothing)
        # times the number of spots, so that the tolerance means the same for any number of them
        return n * value, n * scale * np.concatenate([dx.ravel(), dv if bias else []])

    limits = {
        "maxiter": min(max_iter, 3000),
        "maxfun": 10**9,
        "maxls": 40,
        "ftol": 1e-12,
        "gtol": max(tol, 1e-6),
    }
    found = minimize(
        pack, begin, jac=True, method="L-BFGS-B", bounds=[(0, None)] * len(begin), options=limits
    )
    x = scale * found.x[: n * types].reshape(n, types)
    v = scale * found.x[n * types :] if bias else np.zeros(n)
    residual = float(np.abs(found.x - np.maximum(0.0, found.x - found.jac)).max())
    if not found.success:
        _checks.warn(
            f"The log-normal model stopped after {found.nit} steps with a residual of {residual:.2g}. "
            "Raise max_iter, or use model='nnls', which is convex.",
            level=4,
        )
    return NnlsFit(x, v, float(found.fun) / n, np.inf, np.inf, residual, int(found.nit), bool(found.success))
