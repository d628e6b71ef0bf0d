"""The problem that the eigensolvers share, and three of them: dense, shift-invert, Chebyshev filter."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy import linalg, sparse

__all__ = ["NullSpace", "Problem", "chebyshev", "dense", "orthonormal", "shift_invert", "thin"]

FILL_PER_CELL = 300  # envelope entries per cell up to which a factorisation beats products
FILL = 1e8  # and in all: a factor of at most about 1 GB
ROUNDING = 1e-14  # residual, relative to the norm of the matrix, that double precision can promise


class NullSpace:
    """Orthonormal null vectors, one per component, applied without an n x components array."""

    def __init__(self, root: np.ndarray, labels: np.ndarray, count: int) -> None:
        norms = np.sqrt(np.bincount(labels, weights=root**2, minlength=count))
        # an isolated cell under the symmetric Laplacian would have root 0; it is refused before
        self.unit = root / norms[labels]
        self.labels, self.count = labels, count
        n = len(root)
        self.basis = (
            sparse.csr_array((self.unit, labels, np.arange(n + 1)), shape=(n, count)) if count > 1 else None
        )

    def remove(self, x: np.ndarray) -> np.ndarray:
        """Subtract from the columns of `x`, in place, what lies in the null space."""
        if self.basis is None:
            x -= self.unit[:, None] * (self.unit @ x)
        else:
            x -= self.basis @ (self.basis.T @ x)
        return x


@dataclass
class Problem:
    """What a solver needs: matrix, null space, number of pairs, tolerance and its own random numbers."""

    lap: sparse.csr_array
    null: NullSpace
    m: int
    tol: float
    cap: float  # largest residual in absolute terms
    rng: np.random.Generator

    def __post_init__(self) -> None:
        degree = self.lap.diagonal()
        # Gershgorin: no eigenvalue exceeds twice the largest diagonal entry
        self.bound = 2 * float(degree.max())

    def limits(self, values: np.ndarray) -> np.ndarray:
        """Largest residual accepted for every value; the last wanted one only serves the gap."""
        out = np.maximum(np.minimum(self.tol * values, self.cap), ROUNDING * self.bound)
        out[self.m - 1 :] *= 1e3
        return out

    def ritz(self, basis: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Rayleigh-Ritz in the span of orthonormal columns: values, vectors, residuals."""
        image = self.lap @ basis
        small = basis.T @ image
        values, turn = linalg.eigh((small + small.T) / 2)
        vectors, image = basis @ turn, image @ turn
        return values, vectors, np.linalg.norm(image - vectors * values, axis=0)

    def checked(self, vectors: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Final values, vectors and residuals of a solver's vectors, null space removed."""
        return self.ritz(orthonormal(self.null.remove(np.array(vectors))))


def orthonormal(x: np.ndarray) -> np.ndarray:
    """Orthonormal basis of the columns (QR)."""
    return linalg.qr(x, mode="economic", overwrite_a=True, check_finite=False)[0]


def dense(problem: Problem) -> tuple[np.ndarray, int]:
    """Full decomposition with the null vectors lifted above the spectrum."""
    matrix = problem.lap.toarray()
    null = problem.null
    basis = null.unit[:, None] if null.basis is None else null.basis.toarray()
    matrix += 2 * problem.bound * (basis @ basis.T)
    return linalg.eigh(matrix, subset_by_index=[0, problem.m - 1], overwrite_a=True)[1], 0


def thin(lap: sparse.csr_array) -> bool:
    """Whether a factorisation stays small: the envelope of the matrix bounds the fill from above.

    The matrix must be in Cuthill-McKee order, which makes the envelope of a trajectory-like graph narrow.
    """
    n = lap.shape[0]
    envelope = float((np.arange(n) - lap.indices[lap.indptr[:-1]]).sum())
    return envelope <= min(FILL_PER_CELL * n, FILL)


def shift_invert(problem: Problem) -> tuple[np.ndarray, int]:
    """Block Krylov space of the inverse of L + shift, restarted with its best vectors."""
    lap, null, m = problem.lap, problem.null, problem.m
    n = lap.shape[0]
    width = min(m + 3, n - null.count)
    from scipy.sparse.linalg import splu

    # far below the wanted eigenvalues, far above rounding; its null vectors are removed from every solve
    shift = 1e-9 * problem.bound
    factor = splu(
        (lap + shift * sparse.eye_array(n)).tocsc(),
        permc_spec="MMD_AT_PLUS_A",
        diag_pivot_thresh=0.0,
        options={"SymmetricMode": True},
    )
    x = orthonormal(null.remove(problem.rng.standard_normal((n, width))))
    solves = 0
    for _ in range(20):
        basis = x
        for _ in range(6):
            if basis.shape[1] + width > n - null.count:
                break
            x = null.remove(factor.solve(x))
            solves += width
            for _ in range(2):  # once is not enough when the solve has amplified what is there already
                x -= basis @ (basis.T @ x)
                x = orthonormal(null.remove(x))
            basis = np.hstack([basis, x])
        values, vectors, residuals = problem.ritz(basis)
        x = np.ascontiguousarray(vectors[:, :width])
        if (residuals[:m] <= 1e-2 * problem.limits(values[:m])).all():
            break
    return x[:, :m], solves


def chebyshev_filter(lap: sparse.csr_array, x: np.ndarray, degree: int, cut: float, top: float) -> np.ndarray:
    """Polynomial of the matrix that is small on [cut, top] and grows fast below it, scaled to 1 at 0."""
    half, middle = (top - cut) / 2, (top + cut) / 2
    sigma = first = -half / middle
    y = (lap @ x - middle * x) * (sigma / half)
    for _ in range(degree - 1):
        following = 1 / (2 / first - sigma)
        z = lap @ y
        z -= middle * y
        z *= 2 * following / half
        z -= (sigma * following) * x
        x, y, sigma = y, z, following
    return y


def chebyshev(problem: Problem) -> tuple[np.ndarray, int]:
    """Subspace iteration with a Chebyshev filter whose cut follows the largest Ritz value of the block."""
    lap, null, m = problem.lap, problem.null, problem.m
    n = lap.shape[0]
    width = min(m + max(3, m // 4), n - null.count)
    x = orthonormal(null.remove(problem.rng.standard_normal((n, width))))
    cut, products = problem.bound / 4, 0
    for _ in range(60):
        degree = int(np.clip(8 * np.sqrt(problem.bound / cut), 10, 2000))
        x = chebyshev_filter(lap, x, degree, cut, problem.bound)
        values, x, residuals = problem.ritz(orthonormal(null.remove(x)))
        products += width * (degree + 1)
        if (residuals[:m] <= problem.limits(values[:m])).all():
            break
        cut = min(values[-1], problem.bound / 2)
    return x[:, :m], products
