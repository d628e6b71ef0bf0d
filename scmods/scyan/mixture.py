"""Two Gaussians per marker: where negative and positive cells lie, for all markers at once."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from scmods import _checks

__all__ = ["TwoComponents", "two_components"]

STEPS = 200
TOLERANCE = 1e-3  # gain of the mean log-likelihood at which the iteration stops, as is usual for mixtures
LEAST_SD = 0.05  # times the sd of the marker; a component cannot shrink onto a spike of equal values
LEAST_WEIGHT = 1e-3


@dataclass(frozen=True)
class TwoComponents:
    """A mixture of two Gaussians for every marker; row 0 is the lower component.

    Attributes
    ----------
    weight, mean, std
        (2, markers).

    Examples
    --------
    >>> import numpy as np
    >>> from scmods import scyan
    >>> x = np.concatenate([np.linspace(-1.1, -0.9, 50), np.linspace(0.8, 1.2, 50)])[:, None]
    >>> found = scyan.two_components(x)
    >>> found.mean.shape, found.weight.ravel().round(3).tolist()
    ((2, 1), [0.5, 0.5])
    """

    weight: np.ndarray
    mean: np.ndarray
    std: np.ndarray

    def log_density(self, x: np.ndarray) -> np.ndarray:
        """Log of weight times density, (2, cells, markers).

        Parameters
        ----------
        x
            (cells, markers).
        """
        z = (x - self.mean[:, None]) / self.std[:, None]
        return np.log(self.weight / self.std)[:, None] - 0.5 * z**2 - 0.5 * np.log(2 * np.pi)

    def positive(self, x: np.ndarray) -> np.ndarray:
        """Probability of the upper component, (cells, markers).

        Values below the lower mean count as that mean and values above the upper mean as that one: the wider of two
        components would otherwise claim both tails.

        Parameters
        ----------
        x
            (cells, markers).
        """
        low, high = self.log_density(np.clip(x, self.mean[0], self.mean[1]))
        return 1 / (1 + np.exp(np.clip(low - high, -700, 700)))

    def thresholds(self) -> np.ndarray:
        """Where the two components are equally probable between their means, (markers,); by bisection."""
        low, high = self.mean.copy()
        for _ in range(60):
            middle = 0.5 * (low + high)
            up = self.positive(middle[None])[0] > 0.5
            high, low = np.where(up, middle, high), np.where(up, low, middle)
        return 0.5 * (low + high)


def _best_split(x: np.ndarray) -> np.ndarray:
    """(markers,) index of the split of sorted columns that leaves the least variance within two groups."""
    n = len(x)
    total, before = x.sum(axis=0), np.cumsum(x, axis=0)[:-1]
    left = np.arange(1, n)[:, None]
    between = before**2 / left + (total - before) ** 2 / (n - left)
    return between.argmax(axis=0) + 1


def _start(x: np.ndarray, least: np.ndarray) -> TwoComponents:
    ordered = np.sort(x, axis=0)
    split = _best_split(ordered)
    upper = np.arange(len(x))[:, None] >= split
    parts = np.stack([~upper, upper]).astype(float)
    return _update(ordered, parts, least)


def _update(x: np.ndarray, share: np.ndarray, least: np.ndarray) -> TwoComponents:
    mass = np.maximum(share.sum(axis=1), LEAST_WEIGHT * len(x))
    mean = np.einsum("knm,nm->km", share, x) / mass
    square = np.einsum("knm,nm->km", share, x**2) / mass - mean**2
    std = np.sqrt(np.maximum(square, least**2))
    return TwoComponents(mass / mass.sum(axis=0), mean, std)


def _where(choose: np.ndarray, a: TwoComponents, b: TwoComponents) -> TwoComponents:
    return TwoComponents(
        np.where(choose, a.weight, b.weight), np.where(choose, a.mean, b.mean), np.where(choose, a.std, b.std)
    )


def two_components(
    x: np.ndarray, *, refine: bool = True, max_cells: int = 5000, seed: int = 0
) -> TwoComponents:
    """Fit two Gaussians to every column, from the split in two groups that leaves the least variance within them.

    Parameters
    ----------
    x
        (cells, markers), finite, no constant column.
    refine
        Improve the split by expectation maximisation. False keeps one Gaussian for each side of it, which is better
        where many cells share a value such as 0: a component of the mixture shrinks onto them.
    max_cells
        With more cells a random subset of this size is used.
    seed
        Seed of the subset.

    Returns
    -------
    The mixtures; component 0 has the lower mean.

    Raises
    ------
    ValueError
        If there are fewer than 4 cells, or `max_cells` is below 4.

    Notes
    -----
    The start is the exact two-means solution (sorted prefix sums), so nothing is random but the subset. A component
    keeps a weight of at least 0.001 and a standard deviation of at least 0.05 of that of the marker. Time
    O(steps cells markers), at most 200 steps.

    Each marker stops by itself, when its mean log-likelihood gains less than 0.001. Labels can depend much on where it
    stops, if many cells share a value: on the data set ``aml_short`` the macro-F1 of `marker_mixture` is .85 with this
    rule, .72 at full convergence and .94 with ``refine=False``.

    Examples
    --------
    >>> x = np.concatenate([np.linspace(-1.1, -0.9, 50), np.linspace(0.8, 1.2, 50)])[:, None]
    >>> two_components(x).mean.ravel().round(3).tolist()
    [-1.0, 1.0]
    """
    _checks.integer("max_cells", max_cells, 4)
    if len(x) < 4:
        _checks.fail(f"`x` has {len(x)} cells, but two components need at least 4.")
    if len(x) > max_cells:
        x = x[np.sort(np.random.default_rng(seed).choice(len(x), max_cells, replace=False))]
    # about the mean, where differences of squares lose nothing
    offset, spread = x.mean(axis=0), x.std(axis=0)
    x, least = x - offset, LEAST_SD * spread
    fitted, before = _start(x, least), np.full(x.shape[1], -np.inf)
    moving = np.ones(x.shape[1], dtype=bool)
    for _ in range(STEPS if refine else 0):
        log = fitted.log_density(x)
        top = log.max(axis=0)
        each = top + np.log(np.exp(log - top).sum(axis=0))
        moving &= each.mean(axis=0) - before >= TOLERANCE
        if not moving.any():
            break
        # a marker that has converged stays as it is while others go on
        fitted = _where(moving, _update(x, np.exp(log - each), least), fitted)
        before = each.mean(axis=0)
    order = fitted.mean.argsort(axis=0)
    weight, mean, std = (
        np.take_along_axis(a, order, axis=0) for a in (fitted.weight, fitted.mean, fitted.std)
    )
    return TwoComponents(weight, mean + offset, std)
