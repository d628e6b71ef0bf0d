"""Smoothed-aggregation multigrid for graph Laplacians: an approximate inverse for the eigensolver.

Neighbourhoods of far-apart cells are merged into one cell of a coarser graph, again and again, until a dense
factorisation is cheap. Low frequencies, on which products with the matrix make no progress, are high ones on
some coarser level.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy import linalg, sparse

from scmods.graph._solvers import NullSpace

__all__ = ["Hierarchy", "hierarchy"]

COARSEST = 1000  # cells of the coarsest graph, factorised densely
SWEEPS = 2  # degree of the smoothing polynomial before and after every coarse correction
SHIFT = 1e-10  # of the largest diagonal entry, added before the dense factorisation
LOW = 0.1  # the smoother damps the eigenvalues of D^-1 L in [LOW, 1] times the largest


def _spread(lap: sparse.csr_array, value: np.ndarray) -> np.ndarray:
    """Largest value among every cell and its neighbours (the diagonal is stored, so no row is empty)."""
    return np.maximum.reduceat(value[lap.indices], lap.indptr[:-1])


def aggregates(lap: sparse.csr_array, rng: np.random.Generator) -> tuple[np.ndarray, int]:
    """Aggregate of every cell: the neighbourhoods of cells that are at least three edges apart.

    The centres are a maximal set with no two within two edges, drawn by random priorities (Luby).
    """
    n = lap.shape[0]
    priority = rng.permutation(n).astype(np.int64) + 1
    center = np.zeros(n, dtype=bool)
    while (priority > 0).any():
        new = (priority > 0) & (_spread(lap, _spread(lap, priority)) == priority)
        center |= new
        priority[_spread(lap, _spread(lap, new.astype(np.int8))) > 0] = 0
    own = np.where(center, np.cumsum(center), 0)
    for _ in range(2):  # the centre's neighbours first, then theirs
        own = np.where(own > 0, own, _spread(lap, own))
    return own - 1, int(center.sum())


@dataclass
class _Level:
    lap: sparse.csr_array
    inverse_diagonal: np.ndarray
    top: float  # bound of the largest eigenvalue of D^-1 L
    prolong: sparse.csr_array
    restrict: sparse.csr_array


class Hierarchy:
    """Approximate inverse of a Laplacian on the complement of its null space: one symmetric V-cycle."""

    def __init__(self, levels: list[_Level], coarsest: sparse.csr_array, null: NullSpace) -> None:
        self.levels, self.null = levels, null
        matrix = coarsest.toarray()
        # lifts the null vectors just enough for a factorisation; they are removed on either side of a solve
        matrix[np.diag_indices_from(matrix)] += SHIFT * matrix.diagonal().max()
        self.factor = linalg.cho_factor(matrix, overwrite_a=True, check_finite=False)

    def _direct(self, b: np.ndarray) -> np.ndarray:
        return self.null.remove(linalg.cho_solve(self.factor, self.null.remove(b), check_finite=False))

    def _smooth(self, level: _Level, x: np.ndarray | None, b: np.ndarray) -> np.ndarray:
        """Chebyshev iteration for L x = b with the diagonal as preconditioner."""
        high, low = level.top, LOW * level.top
        middle, half = (high + low) / 2, (high - low) / 2
        scale = level.inverse_diagonal[:, None]
        r = b if x is None else b - level.lap @ x
        step = scale * r / middle
        x = step if x is None else x + step
        rho = half / middle
        for _ in range(SWEEPS - 1):
            r = r - level.lap @ step
            following = 1 / (2 * middle / half - rho)
            step = following * rho * step + (2 * following / half) * (scale * r)
            x = x + step
            rho = following
        return x

    def solve(self, b: np.ndarray, depth: int = 0) -> np.ndarray:
        """Approximate solution of L x = b for every column of b."""
        if depth == len(self.levels):
            return self._direct(b)
        level = self.levels[depth]
        x = self._smooth(level, None, b)
        x += level.prolong @ self.solve(level.restrict @ (b - level.lap @ x), depth + 1)
        return self._smooth(level, x, b)

    def start(self, width: int, rng: np.random.Generator) -> np.ndarray:
        """Low vectors of the coarsest graph, by inverse iteration, brought up to all cells."""
        x = rng.standard_normal((len(self.null.unit), width))
        for _ in range(10 if len(x) > 3 * width else 0):
            x = linalg.qr(self._direct(x), mode="economic")[0]
        for level in reversed(self.levels):
            x = level.prolong @ x
        return x


def _top(lap: sparse.csr_array, inverse: np.ndarray) -> float:
    """Largest absolute row sum of D^-1 L, which bounds its eigenvalues."""
    return float((np.abs(lap).sum(axis=1) * inverse).max())


def _small(lap: sparse.csr_array) -> bool:
    """Whether a dense factorisation is the cheaper way on."""
    n = lap.shape[0]
    return n <= COARSEST or (n <= 5 * COARSEST and lap.nnz > n**2 // 10)


def hierarchy(lap: sparse.csr_array, null: NullSpace, rng: np.random.Generator) -> Hierarchy | None:
    """Levels down to a small graph; None when the graph does not coarsen."""
    levels: list[_Level] = []
    while not _small(lap):
        n = lap.shape[0]
        own, count = aggregates(lap, rng)
        if count > 0.6 * n:
            return None
        norms = np.sqrt(np.bincount(own, weights=null.unit**2, minlength=count))
        tentative = sparse.csr_array((null.unit / norms[own], own, np.arange(n + 1)), shape=(n, count))
        inverse = 1 / lap.diagonal()
        top = _top(lap, inverse)
        prolong = (tentative - sparse.diags_array((4 / 3 / top) * inverse) @ (lap @ tentative)).tocsr()
        restrict = prolong.T.tocsr()
        levels.append(_Level(lap, inverse, top, prolong, restrict))
        lap = (restrict @ lap @ prolong).tocsr()
        lap.sort_indices()
        labels = np.empty(count, dtype=np.int64)
        labels[own] = null.labels  # an aggregate never reaches into another component
        null = NullSpace(norms, labels, null.count)
    return Hierarchy(levels, lap, null)
