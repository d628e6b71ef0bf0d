"""Forward choice of regression terms against the best of all terms under permutation."""

from __future__ import annotations

import numpy as np

from scmods.stats import permutation_pvalue

__all__ = ["choose_terms", "least_squares"]


def least_squares(terms: np.ndarray, y: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Coefficients with the intercept first, and their standard errors; (terms + 1, genes) each."""
    design = np.column_stack([np.ones(len(terms)), terms])
    inverse = np.linalg.inv(design.T @ design)
    coefficients = inverse @ design.T @ y
    noise = ((y - design @ coefficients) ** 2).sum(axis=0) / max(len(y) - design.shape[1], 1)
    return coefficients, np.sqrt(np.diag(inverse)[:, None] * noise)


def choose_terms(
    y: np.ndarray, around: np.ndarray, own: int, level: float, n_perms: int, rng: np.random.Generator
) -> list[tuple[int, int, float, float]]:
    """Terms of one receiver type: sender, position in the grid, share of the variance, p-value."""
    n, n_types, n_grid = around.shape
    z = around.reshape(n, -1) - around.reshape(n, -1).mean(axis=0)
    y = y - y.mean(axis=0)
    total, open_types, chosen = (y**2).sum(), [t for t in range(n_types) if t != own], []
    while open_types and total > 0:
        columns = np.concatenate([np.arange(t * n_grid, (t + 1) * n_grid) for t in open_types])
        norms = np.linalg.norm(z[:, columns], axis=0)
        # what the terms chosen so far leave of a term may be rounding alone
        alive = norms > 1e-6 * np.sqrt(n)
        if not alive.any():
            break
        columns, unit = columns[alive], z[:, columns[alive]] / norms[alive]
        gains = ((unit.T @ y) ** 2).sum(axis=1)
        null = [((unit.T @ y[rng.permutation(n)]) ** 2).sum(axis=1).max() for _ in range(n_perms)]
        p = permutation_pvalue(gains.max(), np.array(null))
        if p > level:
            break
        best = int(gains.argmax())
        sender, r = divmod(int(columns[best]), n_grid)
        chosen.append((sender, r, float(gains[best] / total), p))
        open_types.remove(sender)
        axis = unit[:, best]
        y, z = y - np.outer(axis, axis @ y), z - np.outer(axis, axis @ z)
    return chosen
