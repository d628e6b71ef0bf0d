"""Non-negative least squares of all spots at once with a spatial prior: solver and its certificate.

With A = R^T R / genes, B = Y R / genes (genes centred when a bias per spot is free) and kappa = smoothing / types the
half objective times the number of spots is h(X) = tr(X A X^T) / 2 - <B, X> + kappa tr(X^T Q X) / 2. Nothing here
depends on the number of genes.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from scipy import sparse

__all__ = ["Certificate", "Gram", "certificate", "gram", "minimise"]

BLOCK = 2**20  # products of spots x types x types formed together
EVERY = 10  # iterations between two looks at the residual


@dataclass(frozen=True)
class Gram:
    """Everything the solver needs of data and reference.

    Attributes
    ----------
    a
        (types, types), or (spots, types, types) with weights.
    b
        (spots, types).
    total
        Squared norm of the (centred, weighted) data, divided by genes.
    low, high
        Smallest and largest eigenvalue of `a`: numbers, or (spots, 1).
    """

    a: np.ndarray
    b: np.ndarray
    total: float
    low: Any
    high: Any

    def product(self, x: np.ndarray) -> np.ndarray:
        """X A, spot by spot."""
        if self.a.ndim == 2:
            return x @ self.a
        return np.matmul(x[:, None, :], self.a)[:, 0]


def gram(y: Any, profiles: np.ndarray, weights: np.ndarray | None = None, *, bias: bool = True) -> Gram:
    """Normal equations of (spots, genes) data, sparse or dense, on (genes, types) profiles."""
    genes = len(profiles)
    if weights is not None:
        return _weighted(y, profiles, weights, bias=bias)
    r = profiles - profiles.mean(axis=0) if bias else profiles
    squares = float(y.multiply(y).sum() if sparse.issparse(y) else np.einsum("ij,ij->", y, y))
    if bias:
        mean = np.asarray(y.sum(axis=1)).ravel() / genes
        squares -= genes * float(mean @ mean)
    a = r.T @ r / genes
    ends = np.linalg.eigvalsh(a)
    # r is centred, so that y need not be: a sparse y stays sparse
    return Gram(a, np.asarray(y @ r) / genes, squares / genes, max(float(ends[0]), 0.0), float(ends[-1]))


def _weighted(y: Any, profiles: np.ndarray, weights: np.ndarray, *, bias: bool) -> Gram:
    n, types = y.shape[0], profiles.shape[1]
    a, b, total = np.empty((n, types, types)), np.empty((n, types)), 0.0
    step = max(1, BLOCK // (len(profiles) * types))
    for start in range(0, n, step):
        part = slice(start, start + step)
        w = np.asarray(weights[part])
        block = y[part].toarray() if sparse.issparse(y) else y[part]
        r = np.broadcast_to(profiles, (len(w), *profiles.shape))
        if bias:
            share = w / w.sum(axis=1, keepdims=True)
            r = profiles - (share @ profiles)[:, None, :]
            block = block - (share * block).sum(axis=1, keepdims=True)
        weighted = r * w[:, :, None]
        a[part] = np.matmul(weighted.transpose(0, 2, 1), r) / len(profiles)
        b[part] = np.einsum("ngt,ng->nt", weighted, block) / len(profiles)
        total += float((w * block**2).sum()) / len(profiles)
    ends = np.linalg.eigvalsh(a)
    return Gram(a, b, total, np.maximum(ends[:, :1], 0.0), ends[:, -1:])


@dataclass(frozen=True)
class Certificate:
    """How far a point is from the optimum at most.

    Attributes
    ----------
    objective
        Value at the point, divided by spots.
    gap
        Bound on the distance to the smallest value, same unit.
    distance
        Bound on the Frobenius distance of the abundances to the optimal ones.
    residual
        Largest step of a projected gradient, relative to the largest abundance.
    """

    objective: float
    gap: float
    distance: float
    residual: float


def _gershgorin(q: sparse.csr_array) -> tuple[np.ndarray, float]:
    """Row sums of absolute values, a diagonal above Q, and a lower bound of its smallest eigenvalue."""
    rows = np.asarray(abs(q).sum(axis=1)).ravel()
    return rows, max(0.0, float((2 * q.diagonal() - rows).min()))


def _gradient(g: Gram, q: sparse.csr_array, kappa: float, x: np.ndarray) -> np.ndarray:
    out = g.product(x) - g.b
    return out + kappa * (q @ x) if kappa else out


def certificate(g: Gram, q: sparse.csr_array, kappa: float, x: np.ndarray) -> Certificate:
    r"""Bound on the gap at any feasible point, from strong convexity.

    h is strongly convex with modulus m, the smallest eigenvalue of A plus that of kappa Q. So the optimum is not
    below :math:`h(x) + \min_{z \ge 0} \langle \nabla h(x), z - x\rangle + m \lVert z - x\rVert^2 / 2`, and that
    minimum is elementwise.
    """
    rows, smallest = _gershgorin(q)
    slope = _gradient(g, q, kappa, x)
    m = g.low + kappa * smallest
    with np.errstate(divide="ignore", invalid="ignore"):
        z = np.maximum(0.0, x - slope / m)
        bound = -(slope * (z - x) + m * (z - x) ** 2 / 2)
    bound = float(np.where(np.isfinite(bound), bound, np.inf).sum())
    # <slope - B, x> = x^T A x + kappa x^T Q x
    half = 0.5 * float(np.einsum("ij,ij->", slope - g.b, x))
    least = float(np.min(m))
    step = _residual(x, slope, _steps(g, rows, kappa))
    distance = float(np.sqrt(2 * bound / least)) if least > 0 else np.inf
    return Certificate((2 * half + g.total) / len(x), 2 * bound / len(x), distance, step)


def _steps(g: Gram, rows: np.ndarray, kappa: float) -> np.ndarray:
    return 1 / (np.asarray(g.high) + kappa * rows[:, None])


def _residual(x: np.ndarray, slope: np.ndarray, step: np.ndarray) -> float:
    moved = np.abs(x - np.maximum(0.0, x - step * slope)).max(initial=0.0)
    return float(moved / max(np.abs(x).max(initial=0.0), 1e-300))


def minimise(
    g: Gram, q: sparse.csr_array, kappa: float, *, start: np.ndarray | None, tol: float, max_iter: int
) -> tuple[np.ndarray, int, bool]:
    """Accelerated projected gradient with restart (O'Donoghue and Candes 2015): X, iterations, whether `tol` was met.

    The metric is diagonal: A is below its largest eigenvalue and Q below the diagonal of its absolute row sums, so
    spots with few neighbours take longer steps.
    """
    step = _steps(g, _gershgorin(q)[0], kappa)
    x = np.maximum(0.0, g.b * step) if start is None else np.maximum(0.0, start)
    ahead, t = x, 1.0
    for iteration in range(1, max_iter + 1):
        new = np.maximum(0.0, ahead - step * _gradient(g, q, kappa, ahead))
        if np.einsum("ij,ij->", (ahead - new) / step, new - x) > 0:  # the momentum points uphill
            ahead, t = x, 1.0
            new = np.maximum(0.0, x - step * _gradient(g, q, kappa, x))
        following = (1 + np.sqrt(1 + 4 * t * t)) / 2
        ahead = new + ((t - 1) / following) * (new - x)
        x, t = new, following
        if iteration % EVERY == 0 and _residual(x, _gradient(g, q, kappa, x), step) <= tol:
            return x, iteration, True
    return x, max_iter, False
