"""A table of signs with siblings, and what an expert would know of it."""

from __future__ import annotations

import numpy as np

from scmods import _checks

__all__ = ["hide_entries", "true_signs"]

TRIES = 500


def true_signs(n_pops: int, n_markers: int, positive: float, generator: np.random.Generator) -> np.ndarray:
    """Signs of all populations; rows 2k and 2k + 1 are siblings, equal but for two markers.

    Parameters
    ----------
    n_pops, n_markers
        Sizes.
    positive
        Probability of a positive sign in the first of two siblings.
    generator
        Source of the random numbers.

    Returns
    -------
    (populations, markers) of -1.0 and 1.0; all rows differ, every marker has both signs.
    """
    tries = (_signs(n_pops, n_markers, positive, generator) for _ in range(TRIES))
    found = next((s for s in tries if _usable(s)), None)
    if found is None:
        _checks.fail(
            f"No table of {n_pops} populations x {n_markers} markers was found with distinct rows and both signs of",
            f"every marker, at {positive:.0%} positive.",
            "Use more populations, fewer markers or positive=0.5.",
        )
    return found


def _signs(n_pops: int, n_markers: int, positive: float, generator: np.random.Generator) -> np.ndarray:
    signs = np.where(generator.random((n_pops, n_markers)) < positive, 1.0, -1.0)
    for p in range(1, n_pops, 2):
        signs[p] = signs[p - 1]
        signs[p, generator.choice(n_markers, 2, replace=False)] *= -1
    return signs


def _usable(signs: np.ndarray) -> bool:
    return len(np.unique(signs, axis=0)) == len(signs) and bool((np.abs(signs.mean(axis=0)) < 1).all())


def hide_entries(signs: np.ndarray, unknown: float, generator: np.random.Generator) -> np.ndarray:
    """Turn entries into NaN at random, as long as every pair of rows and both signs of every marker stay known.

    Parameters
    ----------
    signs
        (populations, markers) of -1.0 and 1.0.
    unknown
        Share of entries to hide; fewer are hidden where no more can be.
    generator
        Source of the random numbers.

    Returns
    -------
    A copy with NaN: every pair of rows still differs in a marker that both know, every marker keeps a known entry of
    each sign.
    """
    table, left = signs.copy(), round(unknown * signs.size)
    for cell in generator.permutation(signs.size):
        if left == 0:
            break
        p, m = divmod(int(cell), signs.shape[1])
        kept, table[p, m] = table[p, m], np.nan
        apart = (table[p] * table < 0).any(axis=1)  # NaN compares as false
        apart[p] = True
        if apart.all() and (table[:, m] == 1).any() and (table[:, m] == -1).any():
            left -= 1
        else:
            table[p, m] = kept
    return table
