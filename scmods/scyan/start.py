"""Where training starts: an affine map per marker and batch that puts negative cells on -1 and positive ones on 1."""

from __future__ import annotations

import numpy as np

from scmods import _checks
from scmods.scyan.mixture import TwoComponents, two_components

__all__ = ["affine_start"]

APART = 1.0  # least distance of the two means, in standard deviations of the marker
FEW = 50  # cells of a batch below which its own mixture says nothing


def _means(x: np.ndarray, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Means of the two groups; of the plain split where the mixture has put both into one place."""
    fitted, split = (two_components(x, refine=r, seed=seed) for r in (True, False))
    apart = fitted.mean[1] - fitted.mean[0] >= APART * x.std(axis=0)
    chosen: TwoComponents = fitted
    low, high = np.where(apart, chosen.mean, split.mean)
    return low, high


def affine_start(
    x: np.ndarray, batch: np.ndarray, *, continuum: np.ndarray | None = None, seed: int = 0
) -> tuple[np.ndarray, np.ndarray]:
    r"""Slope and shift per batch and marker.

    .. math:: a = \frac{2}{m_+ - m_-}, \qquad d = -1 - a\, m_-

    with the means of a mixture of two Gaussians per marker.

    Parameters
    ----------
    x
        (cells, markers), finite, no constant marker.
    batch
        Number of the batch of every cell, from 0.
    continuum
        True for markers without two clear modes: they are standardised instead.
    seed
        Of the cells that the mixtures are fitted to, 5,000 at most in each batch.

    Returns
    -------
    Slopes and shifts, (batches, markers).

    Warns
    -----
    NumericalWarning
        If a batch has fewer than 50 cells, or a marker is constant in it: it gets the map of all cells.

    Examples
    --------
    >>> import numpy as np
    >>> from scmods import scyan
    >>> x = np.concatenate([np.linspace(0.9, 1.1, 50), np.linspace(2.9, 3.1, 50)])[:, None]  # modes 1 and 3
    >>> slope, shift = scyan.affine_start(x, np.zeros(100, dtype=int))
    >>> slope.round(1).tolist(), shift.round(1).tolist()
    ([[1.0]], [[-2.0]])
    """
    n_batches, out = int(batch.max()) + 1, []
    low, high = _means(x, seed)
    few = []
    for b in range(n_batches):
        mine = x[batch == b] if n_batches > 1 else x
        if n_batches > 1 and (len(mine) < FEW or (mine.min(axis=0) == mine.max(axis=0)).any()):
            few.append(b)
            pair, spread = (low, high), (x.mean(axis=0), x.std(axis=0))
        else:
            pair = _means(mine, seed) if n_batches > 1 else (low, high)
            spread = (mine.mean(axis=0), mine.std(axis=0))
        a = 2 / (pair[1] - pair[0])
        d = -1 - a * pair[0]
        if continuum is not None:
            a, d = np.where(continuum, 1 / spread[1], a), np.where(continuum, -spread[0] / spread[1], d)
        out.append((a, d))
    if few:
        _checks.warn(
            f"{len(few)} of {n_batches} batches have fewer than {FEW} cells or a constant marker; they start with the"
            " map of all cells. Merge small batches, or drop them."
        )
    return np.stack([a for a, _ in out]), np.stack([d for _, d in out])
