r"""The permutation distribution of a summed covariance without permutations: three exact moments and a tail.

The statistic is :math:`T(\pi) = \sum_i a_{\pi(i)} \cdot b_i` for centred rows a and b. Over all n! orders it has

.. math::
    E\,T = 0, \quad E\,T^2 = \frac{1}{n-1} \sum_{ij} (a_i \cdot b_j)^2, \quad
    E\,T^3 = \frac{n}{(n-1)(n-2)} \sum_{ij} (a_i \cdot b_j)^3 .

A Pearson III variable (a shifted gamma) with these moments gives the tail. Derived from the sums over pairs and
triples of distinct indices; arithmetic alone, numpy float64.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

__all__ = ["Moments", "column_moments", "pearson_tail", "permutation_moments", "permutation_variance"]

GRAM_ROWS = 2**21  # entries of the largest block of products
FLAT = 1e-7  # skewness below which the gamma is a normal: the tail differs by less than that


class Moments(NamedTuple):
    """Moments of the statistic over all orders.

    Attributes
    ----------
    variance
        Second moment; the mean is 0.
    third
        Third moment.

    Examples
    --------
    >>> import numpy as np
    >>> from scmods import amici
    >>> a = np.array([[-1.0], [0.0], [1.0]])
    >>> moments = amici.permutation_moments(a, a)
    >>> moments.variance.item(), moments.third.item()
    (2.0, 0.0)
    """

    variance: np.ndarray
    third: np.ndarray


def _third_by_products(a: np.ndarray, b: np.ndarray) -> float:
    total, size = 0.0, max(1, GRAM_ROWS // len(b))
    for start in range(0, len(a), size):
        gram = a[start : start + size] @ b.T
        total += float(np.vdot(gram * gram, gram))
    return total


def _third_by_tensor(a: np.ndarray) -> np.ndarray:
    r = a.shape[1]
    total, size = np.zeros((r * r, r)), max(1, GRAM_ROWS // (r * r))
    for start in range(0, len(a), size):
        part = a[start : start + size]
        total += (part[:, :, None] * part[:, None, :]).reshape(len(part), -1).T @ part
    return total


def permutation_variance(a: np.ndarray, b: np.ndarray, blocks: np.ndarray | None = None) -> float:
    """The second of the `permutation_moments` alone, O(n r^2).

    Parameters
    ----------
    a, b, blocks
        As there.

    Examples
    --------
    >>> import numpy as np
    >>> from scmods import amici
    >>> a = np.array([[-1.0], [0.0], [1.0]])
    >>> amici.permutation_variance(a, a)
    2.0
    """
    if blocks is not None:
        return sum(permutation_variance(a[blocks == c], b[blocks == c]) for c in np.unique(blocks))
    return float(np.vdot(a.T @ a, b.T @ b)) / (len(a) - 1) if len(a) > 1 else 0.0


def permutation_moments(a: np.ndarray, b: np.ndarray, blocks: np.ndarray | None = None) -> Moments:
    """Variance and third moment of sum_i a[pi(i)] . b[i] over all orders pi.

    Parameters
    ----------
    a, b
        (cells, r), every column of mean zero; with `blocks`, of mean zero within each block.
    blocks
        (cells,) codes: only orders within blocks count. Their cumulants add up. None takes all orders.

    Returns
    -------
    Two numbers. With one cell they are 0, with two the third moment is.

    Notes
    -----
    Cost O(n r^3) or O(n^2 r), whichever is less, and 16 MB.

    Examples
    --------
    >>> a = np.array([[-1.0], [0.0], [1.0]])
    >>> permutation_moments(a, a).variance.item()
    2.0
    """
    if blocks is not None:
        parts = [permutation_moments(a[blocks == c], b[blocks == c]) for c in np.unique(blocks)]
        return Moments(*(np.sum(m, axis=0) for m in zip(*parts, strict=True)))
    n, r = a.shape
    variance = permutation_variance(a, b)
    if n < 3:
        return Moments(np.float64(variance), np.float64(0.0))
    by_tensor = 2 * r**3 < n * r
    cubes = np.vdot(_third_by_tensor(a), _third_by_tensor(b)) if by_tensor else _third_by_products(a, b)
    return Moments(np.float64(variance), np.float64(cubes * n / ((n - 1) * (n - 2))))


def column_moments(a: np.ndarray, b: np.ndarray, blocks: np.ndarray | None = None) -> Moments:
    """The same for every column alone: sum_i a[pi(i), g] b[i, g].

    Parameters
    ----------
    a, b
        (cells, genes), columns of mean zero, within blocks if there are any.
    blocks
        As in `permutation_moments`.

    Returns
    -------
    Two arrays of one number per gene.
    """
    if blocks is not None:
        parts = [column_moments(a[blocks == c], b[blocks == c]) for c in np.unique(blocks)]
        return Moments(*(np.sum(m, axis=0) for m in zip(*parts, strict=True)))
    n = len(a)
    sums = [np.einsum("ng,ng->g", x, x) for x in (a, b)]
    cubes = [np.einsum("ng,ng,ng->g", x, x, x) for x in (a, b)]
    return Moments(
        sums[0] * sums[1] / max(n - 1, 1),
        cubes[0] * cubes[1] * n / ((n - 1) * (n - 2)) if n > 2 else 0 * sums[0],
    )


def smallest_pvalue(n: int) -> float:
    """1 / n!, below which no order of n cells can go, or the smallest float.

    Parameters
    ----------
    n
        Number of cells.
    """
    from scipy.special import gammaln

    return float(np.exp(max(-gammaln(n + 1.0), np.log(np.finfo(float).tiny))))


def pearson_tail(observed: np.ndarray, moments: Moments, n: int) -> np.ndarray:
    """Probability that a Pearson III variable of mean 0 with these moments is at least `observed`.

    Parameters
    ----------
    observed
        Values of the statistic.
    moments
        Of the same shape.
    n
        Number of cells; no p is below 1 / n!.

    Returns
    -------
    p-values in (0, 1]; 1 where the variance is 0.

    Notes
    -----
    Against 400,000 permutations at p = 0.05, 0.001 and 0.0001, the ratio is 0.99, 1.25 and 1.71 for sparse attention
    with 200 cells, and 0.86, 2.1 and 11.7 for very sparse attention with 40: too large where it is wrong. A normal
    tail gives 0 there.

    Examples
    --------
    >>> pearson_tail(np.array(1.645), Moments(np.array(1.0), np.array(0.0)), 100).round(3).item()
    0.05
    """
    from scipy.special import gammainc, gammaincc, ndtr

    observed = np.asarray(observed, dtype=np.float64)
    variance, third = (np.broadcast_to(np.asarray(m, dtype=np.float64), observed.shape) for m in moments)
    sd = np.sqrt(variance)
    safe = np.where(sd > 0, sd, 1.0)
    z, skew = observed / safe, third / safe**3
    curved = np.abs(skew) > FLAT
    shape = 4.0 / np.where(curved, skew, 1.0) ** 2
    # the gamma variable at the observation; a negative skew mirrors it
    at = np.maximum(shape + np.sign(skew) * z * np.sqrt(shape), 0.0)
    gamma = np.where(skew > 0, gammaincc(shape, at), gammainc(shape, at))
    p = np.where(sd > 0, np.where(curved, gamma, ndtr(-z)), 1.0)
    return np.clip(p, smallest_pvalue(n), 1.0)
