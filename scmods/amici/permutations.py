r"""The summed covariance of prediction and observation under thousands of reorderings of cells.

A prediction of rank r enters by its coordinates a (cells, r), an observation by its products b with the same
orthonormal basis, so that :math:`T(\pi) = \sum_i a_{\pi(i)} \cdot b_i` has no axis of genes. Sums of squares do not
change under permutation, so ordering by T is ordering by squared error, smallest error first. Either the products of
all cells are made once and gathered, or the rows are gathered and multiplied. Orders are drawn once
and serve all heads.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from scmods import _checks

__all__ = ["NullDraws", "Pair", "all_orders", "mapped_statistics", "order_blocks", "permutation_draws"]

ENTRIES = 2**24  # of the largest set of orders held at once
GRAM = 2**18  # products at a time, 2 MB: they must stay in the cache while they are gathered
ROW_BY_ROW = 500  # cells from which orders are drawn one by one
GATHER = 2**20  # entries of gathered rows
MOST_EXACT = 8  # cells up to which all orders can be tried at all
ROUTES = ("auto", "gram", "gather")


@dataclass(frozen=True)
class Pair:
    """Prediction and observation of one head in the same r coordinates.

    Attributes
    ----------
    a
        (cells, r) predictions, columns of mean zero; distances between rows are those between predictions.
    b
        (cells, r) observations, columns of mean zero.
    """

    a: np.ndarray
    b: np.ndarray

    @property
    def observed(self) -> float:
        """The statistic in the order as observed: (cells - 1) times the sum over genes of the covariances."""
        return float(np.vdot(self.a, self.b))

    @property
    def rounding(self) -> float:
        """Difference below which two values of the statistic are the same number."""
        return 1e-13 * float(np.linalg.norm(self.a) * np.linalg.norm(self.b))


@dataclass(frozen=True)
class NullDraws:
    """The statistic of several heads, as observed and reordered.

    Attributes
    ----------
    observed
        (heads,).
    draws
        (heads, orders).
    rounding
        (heads,) difference that does not count.
    exact
        All orders were tried, the observed one among them, instead of a sample.

    Examples
    --------
    >>> import numpy as np
    >>> from scmods import amici
    >>> draws = amici.NullDraws(np.array([2.0]), np.array([[0.0, 1.0, 3.0]]), np.zeros(1))
    >>> draws.count.tolist(), draws.pvalue.tolist()
    ([1], [0.5])
    """

    observed: np.ndarray
    draws: np.ndarray
    rounding: np.ndarray
    exact: bool = False

    @property
    def count(self) -> np.ndarray:
        """(heads,) orders that reach the observed statistic; ties count."""
        return (self.draws >= (self.observed - self.rounding)[:, None]).sum(axis=1)

    @property
    def pvalue(self) -> np.ndarray:
        """(heads,) one-sided p: (count + 1) / (orders + 1), or count / orders when all were tried; never 0."""
        n = self.draws.shape[1]
        return self.count / n if self.exact else (self.count + 1) / (n + 1)

    def max_pvalue(self, sd: np.ndarray) -> np.ndarray:
        """(heads,) p adjusted for the best of all heads: how often the largest of them reaches this one.

        Parameters
        ----------
        sd
            (heads,) standard deviations of the statistic, so that heads compare; a head with 0 gets p = 1.
        """
        live = sd > 0
        scale = np.where(live, sd, 1.0)
        top = np.where(live[:, None], self.draws / scale[:, None], -np.inf).max(axis=0)
        count = (top >= ((self.observed - self.rounding) / scale)[:, None]).sum(axis=1)
        n = len(top)
        p = count / n if self.exact else (count + 1) / (n + 1)
        return np.where(live, p, 1.0)


def all_orders(n: int) -> np.ndarray:
    """Every order of `n` cells, (n!, n), the given one first.

    Parameters
    ----------
    n
        At most 8 cells.

    Examples
    --------
    >>> from scmods import amici
    >>> amici.all_orders(2).tolist()
    [[0, 1], [1, 0]]
    """
    _checks.integer("n", n, 1, MOST_EXACT, "There are too many orders of more cells.")
    return np.array(list(itertools.permutations(range(n))), dtype=np.int32)


def _shuffled(members: np.ndarray, n_orders: int, rng: np.random.Generator) -> np.ndarray:
    if len(members) < ROW_BY_ROW:
        return rng.permuted(np.broadcast_to(members, (n_orders, len(members))), axis=1)
    # one row at a time stays in the cache
    return np.stack([rng.permutation(members) for _ in range(n_orders)])


def order_blocks(
    n: int, n_orders: int, rng: np.random.Generator, blocks: np.ndarray | None = None
) -> Iterator[np.ndarray]:
    """Random orders of `n` cells, (at most so many that memory stays at 64 MB, n) at a time.

    Parameters
    ----------
    n
        Cells.
    n_orders
        Orders in all.
    rng
        Local generator.
    blocks
        (n,) codes; cells only change places within their block. None lets all change places.

    Yields
    ------
    (orders, n) int32; entry i is the cell whose prediction goes to cell i.
    """
    groups = [np.arange(n)] if blocks is None else [np.flatnonzero(blocks == c) for c in np.unique(blocks)]
    size = max(1, ENTRIES // max(n, 1))
    for start in range(0, n_orders, size):
        out = np.empty((min(size, n_orders - start), n), dtype=np.int32)
        for members in groups:
            out[:, members] = _shuffled(members.astype(np.int32), len(out), rng)
        yield out


def mapped_statistics(
    pairs: Sequence[Pair], maps: np.ndarray, *, route: str = "auto", normalise: bool = False
) -> np.ndarray:
    r"""T(pi) = sum_i a[pi(i)] . b[i] of every pair for every map.

    Parameters
    ----------
    pairs
        Of the same cells.
    maps
        (maps, cells) positions; permutations, or any map, which may name a cell twice.
    route
        ``"gram"``: all products once, then one gather, O(n^2 r + maps n); ``"gather"``: O(maps n r);
        ``"auto"``: gram unless there are more than three times as many cells as maps. The same numbers to rounding.
    normalise
        Divide by the spread of the mapped predictions and multiply by the original one; for maps that are not
        permutations.

    Returns
    -------
    (pairs, maps).
    """
    _checks.one_of("route", route, ROUTES)
    if route == "auto":
        route = "gram" if maps.shape[1] <= 3 * len(maps) else "gather"
    out = _by_gram(pairs, maps) if route == "gram" else _by_gather(pairs, maps)
    if normalise:
        counts = _counts(maps)
        out *= np.stack([_spread(pair.a, counts) for pair in pairs])
    return out


def _by_gram(pairs: Sequence[Pair], maps: np.ndarray) -> np.ndarray:
    n_maps, n = maps.shape
    out = np.zeros((len(pairs), n_maps))
    turned, size = np.ascontiguousarray(maps.T), max(1, GRAM // n)
    for start in range(0, n, size):
        part = slice(start, min(start + size, n))
        at = turned[part] + (np.arange(part.stop - start) * n)[:, None]
        for total, pair in zip(out, pairs, strict=True):
            total += (pair.b[part] @ pair.a.T).ravel().take(at).sum(axis=0)
    return out


def _by_gather(pairs: Sequence[Pair], maps: np.ndarray) -> np.ndarray:
    n_maps, n = maps.shape
    out = np.empty((len(pairs), n_maps))
    for total, pair in zip(out, pairs, strict=True):
        flat, size = pair.b.ravel(), max(1, GATHER // max(1, pair.a.size))
        for start in range(0, n_maps, size):
            some = maps[start : start + size]
            total[start : start + size] = pair.a.take(some.ravel(), axis=0).reshape(len(some), -1) @ flat
    return out


def _counts(maps: np.ndarray) -> np.ndarray:
    n_maps, n = maps.shape
    flat = maps + (np.arange(n_maps) * n)[:, None]
    return np.bincount(flat.ravel(), minlength=n_maps * n).reshape(n_maps, n).astype(np.float64)


def _spread(a: np.ndarray, counts: np.ndarray) -> np.ndarray:
    """Norm of the predictions over the norm of the mapped, centred ones; 1 where a map has put all on one cell."""
    squares = np.einsum("nr,nr->n", a, a)
    left = counts @ squares - ((counts @ a) ** 2).sum(axis=1) / len(a)
    total = squares.sum()
    return np.sqrt(total / np.where(left > 1e-12 * total, left, total)) if total > 0 else np.ones(len(counts))


def permutation_draws(
    pairs: Sequence[Pair], n_orders: int, rng: np.random.Generator, blocks: np.ndarray | None = None
) -> NullDraws:
    """The statistic under orders drawn once for all pairs; all orders instead, when they are not more.

    Parameters
    ----------
    pairs
        One per head.
    n_orders
        Random orders.
    rng
        Local generator.
    blocks
        Codes of the cells; None lets all change places.

    Examples
    --------
    >>> a = np.array([[-1.0], [0.0], [1.0]])
    >>> permutation_draws([Pair(a, a)], 99, np.random.default_rng(0)).pvalue.round(3)  # 1 of 6 orders
    array([0.167])
    """
    n = len(pairs[0].a)
    exact = blocks is None and n <= MOST_EXACT and math.factorial(n) <= n_orders
    sets = [all_orders(n)] if exact else order_blocks(n, n_orders, rng, blocks)
    draws = np.concatenate([mapped_statistics(pairs, orders) for orders in sets], axis=1)
    return gathered(pairs, draws, exact=exact)


def gathered(pairs: Sequence[Pair], draws: np.ndarray, *, exact: bool = False) -> NullDraws:
    """Draws beside the observed statistics.

    Parameters
    ----------
    pairs
        One per head.
    draws
        (heads, orders).
    exact
        They are all orders.
    """
    observed = np.array([pair.observed for pair in pairs])
    return NullDraws(observed, draws, np.array([pair.rounding for pair in pairs]), exact)
