"""Locally optimal block iteration, preconditioned by multigrid, that looks for what it may have missed.

Every step searches the span of the current vectors, the preconditioned residuals and the last step (Knyazev,
SIAM J. Sci. Comput. 23, 517, 2001); bases are kept orthonormal, which keeps the small problems well posed.
"""

from __future__ import annotations

import numpy as np

from scmods.graph._multigrid import Hierarchy, hierarchy
from scmods.graph._solvers import Problem, orthonormal

__all__ = ["multigrid"]

STEPS = 150  # with a working preconditioner 15 to 50 are needed
PROBES = 8  # steps in which fresh random vectors look for a missed pair


def _against(bases: tuple[np.ndarray, ...], w: np.ndarray) -> np.ndarray:
    """Orthonormal basis of what `w` adds to the orthonormal `bases`; dependent directions are dropped."""
    for _ in range(2):  # the second pass removes what rounding has left of the first
        for basis in bases:
            w = w - basis @ (basis.T @ w)
        norms = np.linalg.norm(w, axis=0)
        w = w[:, norms > 0] / norms[norms > 0]
        if not w.shape[1]:
            return w
        values, turn = np.linalg.eigh(w.T @ w)
        keep = values > 1e-10 * values[-1]
        w = w @ (turn[:, keep] / np.sqrt(values[keep]))
    return w


def _last_step(y: np.ndarray, width: int) -> np.ndarray:
    """Coefficients, orthonormal and orthogonal to `y`, of what the new vectors have outside the old ones."""
    z = y.copy()
    z[:width] = 0
    return _against((y,), z)


class _Block:
    """Ritz vectors `x`, last step `p` and their images; one `step` improves the columns asked for."""

    def __init__(self, problem: Problem, levels: Hierarchy, x: np.ndarray) -> None:
        self.problem, self.levels = problem, levels
        self.products = 0
        self.restart(x)

    def restart(self, x: np.ndarray) -> None:
        """Begin from the span of `x` with exact images and no last step."""
        self.x = orthonormal(self.problem.null.remove(x))
        self.lx = self.problem.lap @ self.x
        self.p = self.lp = np.empty((len(x), 0))
        self._ritz(self.x, self.lx, x.shape[1])

    def _ritz(self, s: np.ndarray, ls: np.ndarray, width: int) -> np.ndarray:
        small = s.T @ ls
        values, y = np.linalg.eigh((small + small.T) / 2)
        y = y[:, :width]
        self.values, self.x, self.lx = values[:width], s @ y, ls @ y
        return y

    def residuals(self) -> tuple[np.ndarray, np.ndarray]:
        """Residual vectors and their norms."""
        r = self.lx - self.x * self.values
        return r, np.linalg.norm(r, axis=0)

    def step(self, r: np.ndarray) -> None:
        """Search the span of x, the preconditioned residuals `r` and the last step."""
        problem, width = self.problem, self.x.shape[1]
        w = problem.null.remove(self.levels.solve(r))
        w = _against((self.x, self.p), w)
        self.products += r.shape[1]
        s = np.hstack([self.x, self.p, w])
        ls = np.hstack([self.lx, self.lp, problem.lap @ w])
        del w
        y = self._ritz(s, ls, width)
        z = _last_step(y, width)
        self.p, self.lp = s @ z, ls @ z

    def solve(self, steps: int) -> bool:
        """Iterate until the wanted columns meet their limits; the guard columns ride along."""
        m = self.problem.m
        for _ in range(steps):
            r, norms = self.residuals()
            todo = norms > self.problem.limits(self.values)
            if not todo[:m].any():
                return True
            todo[m:] = True
            self.step(r[:, todo])
        return False

    def probe(self) -> bool:
        """Replace the guard columns by random ones and let them sink; whether all wanted values stand."""
        problem, m = self.problem, self.problem.m
        before = self.values[:m].copy()
        fresh = problem.rng.standard_normal((len(self.x), self.x.shape[1] - m))
        fresh = self.levels.solve(problem.null.remove(fresh))
        self.restart(np.hstack([self.x[:, :m], fresh]))
        for _ in range(PROBES):
            r, _ = self.residuals()
            self.step(r[:, m:])
        return bool((self.values[:m] >= before * (1 - 1e-6)).all())


def multigrid(problem: Problem) -> tuple[np.ndarray | None, int]:
    """Lowest vectors by LOBPCG with a V-cycle; None when the graph is too small or does not coarsen.

    A block method can settle on a wrong pair when its start holds nothing of the right one. So after
    convergence the guard columns are replaced by random ones: a missed vector attracts them and its value
    appears below the others.
    """
    lap, null, m = problem.lap, problem.null, problem.m
    width = m + max(3, m // 4)
    levels = hierarchy(lap, null, problem.rng) if 3 * width <= lap.shape[0] - null.count else None
    if levels is None:
        return None, 0
    start = levels.start(width, problem.rng)
    block = _Block(problem, levels, levels.solve(null.remove(start)))
    for _ in range(4):
        if not block.solve(STEPS) or block.probe():
            break
    block.solve(STEPS)
    return block.x[:, :m], block.products
