"""Counts split in two independent parts."""

from __future__ import annotations

from typing import Any

import numpy as np
from scipy import sparse

from scmods import _checks

__all__ = ["refuse_no_counts", "thin_counts"]


def thin_counts(counts: Any, generator: np.random.Generator, *, fraction: float = 0.5) -> tuple[Any, Any]:
    """Split counts in two: every molecule falls into the first part with the same probability.

    Parameters
    ----------
    counts
        Whole numbers, dense or scipy sparse.
    generator
        Source of the random numbers.
    fraction
        The probability, in (0, 1).

    Returns
    -------
    Two matrices of the kind and shape of `counts`, float64, whose sum is `counts`. For Poisson counts they are
    independent.

    Raises
    ------
    ValueError
        Values that are negative or no whole numbers.

    Examples
    --------
    >>> a, b = thin_counts(np.array([[4.0, 0.0]]), np.random.default_rng(0))
    >>> (a + b).tolist()
    [[4.0, 0.0]]
    """
    data = counts.data if sparse.issparse(counts) else np.asarray(counts)
    refuse_no_counts(data)
    _checks.number("fraction", fraction, 1e-6, 1 - 1e-6)
    first = generator.binomial(data.astype(np.int64), fraction).astype(np.float64)
    if not sparse.issparse(counts):
        return first, data - first
    rest = counts.copy().astype(np.float64)
    one = rest.copy()
    one.data, rest.data = first, data - first
    return one, rest


def refuse_no_counts(data: np.ndarray) -> None:
    """Refuse what no molecule could have given, and a matrix without any."""
    data = np.asarray(data)
    if not data.any():
        _checks.fail(
            "There is not a single count, so nothing can be split in two.",
            "Name the layer that has them, layer='counts'.",
        )
    bad = (data < 0) | (data != np.rint(data))
    if bad.any():
        _checks.fail(
            f"{int(bad.sum())} of {data.size} values are negative or no whole numbers, such as {data[bad].flat[0]:g};",
            "only counts of molecules can be split in two.",
            "Name the layer that has them, layer='counts', or give a number: smoothing=0.1.",
        )
