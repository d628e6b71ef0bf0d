"""Small statistics, with the details that are easy to get wrong: the +1, ties, the right mean, chance."""

from __future__ import annotations

from collections.abc import Callable, Collection, Hashable
from typing import Any

import numpy as np

from scmods import _checks

__all__ = [
    "benjamini_hochberg",
    "bootstrap_interval",
    "chance_jaccard",
    "expected_overlap",
    "explained_variance",
    "hypergeometric_pvalue",
    "jaccard",
    "permutation_pvalue",
    "r2",
]


def _array(what: str, values: Any) -> np.ndarray:
    """Finite float64 copy of an array, list or tensor."""
    array = _checks.numeric(what, values.detach().cpu().numpy() if hasattr(values, "detach") else values)
    if not np.isfinite(array).all():
        _checks.fail(
            f"{what} holds {int((~np.isfinite(array)).sum())} of {array.size} values",
            "that are NaN or infinite. Expected finite numbers.",
            "Drop them with `x[np.isfinite(x)]`, and say how many were dropped.",
        )
    return array


def permutation_pvalue(observed: Any, null: Any, *, alternative: str = "greater") -> Any:
    r"""p-value of an observed statistic among its values under permutation, never zero.

    .. math:: p = \frac{1 + \#\{b : T_b \ge T\}}{1 + B}

    Parameters
    ----------
    observed
        The statistic, a number or an array.
    null
        Its values under B permutations along the first axis: shape (B,) + shape of `observed`.
    alternative
        ``"greater"``, ``"less"``, or ``"two-sided"``: twice the smaller of both, at most 1.

    Returns
    -------
    float, or array of the shape of `observed`; at least 1 / (B + 1).

    Raises
    ------
    ValueError
        If shapes do not fit, there is no permutation, or a value is NaN.

    Notes
    -----
    The observed order is itself one of the permutations, hence the +1 (Phipson and Smyth, Statistical
    Applications in Genetics and Molecular Biology 9, 2010). Ties count against the observation.

    Examples
    --------
    >>> from scmods import stats
    >>> stats.permutation_pvalue(3.0, [1.0, 2.0, 0.5])
    0.25
    """
    _checks.one_of("alternative", alternative, ("greater", "less", "two-sided"))
    value, draws = _array("`observed`", observed), _array("`null`", null)
    if draws.ndim != value.ndim + 1 or draws.shape[1:] != value.shape:
        _checks.fail(
            f"`null` has shape {draws.shape} and `observed` {value.shape},",
            f"but the permutations must come first: {('B', *value.shape)}.",
        )
    if not len(draws):
        _checks.fail("`null` holds no permutation. Expected at least one; 199 give a smallest p of 0.005.")
    above = (1 + (draws >= value).sum(axis=0)) / (1 + len(draws))
    below = (1 + (draws <= value).sum(axis=0)) / (1 + len(draws))
    both = np.minimum(1.0, 2 * np.minimum(above, below))
    p = {"greater": above, "less": below, "two-sided": both}[alternative]
    return float(p) if value.ndim == 0 else p


def benjamini_hochberg(p: Any, axis: int | None = None) -> np.ndarray:
    r"""Adjusted p-values that control the false discovery rate.

    .. math:: q_{(i)} = \min_{j \ge i} \min(1, m\, p_{(j)} / j)

    Parameters
    ----------
    p
        p-values in [0, 1].
    axis
        Adjust along this axis, each slice being one family; None takes all values as one family.

    Returns
    -------
    Array of the shape of `p`; reject where it is at most the wanted rate.

    Raises
    ------
    ValueError
        If a value is NaN or outside [0, 1].

    References
    ----------
    Benjamini and Hochberg, Journal of the Royal Statistical Society B 57, 1995.

    Examples
    --------
    >>> from scmods import stats
    >>> stats.benjamini_hochberg([0.5, 0.0625, 0.125, 1.0]).tolist()
    [0.6666666666666666, 0.25, 0.25, 1.0]
    """
    p = _array("`p`", p)
    if p.size and (p.min() < 0 or p.max() > 1):
        _checks.fail(f"`p` holds values in [{p.min():g}, {p.max():g}], but p-values lie in [0, 1].")
    if axis is None:
        return benjamini_hochberg(p.ravel(), axis=0).reshape(p.shape)
    p = np.moveaxis(p, axis, -1)
    m = p.shape[-1]
    order = np.argsort(p, axis=-1)
    ranked = np.take_along_axis(p, order, -1) * m / np.arange(1, m + 1)
    ranked = np.minimum.accumulate(ranked[..., ::-1], axis=-1)[..., ::-1]
    out = np.empty_like(p)
    np.put_along_axis(out, order, np.minimum(ranked, 1.0), -1)
    return np.moveaxis(out, -1, axis)


def bootstrap_interval(
    values: Any,
    statistic: Callable[..., Any] = np.mean,
    *,
    seed: int,
    n_boot: int = 1000,
    level: float = 0.95,
) -> tuple[Any, Any]:
    """Percentile interval of a statistic, cells (the first axis) being drawn with replacement.

    Parameters
    ----------
    values
        One row per independent unit: cells, or better samples; dependent rows make it too narrow.
    statistic
        Function of the drawn rows and ``axis=0``, as ``np.mean`` or ``np.median``.
    seed
        Seed of a local generator.
    n_boot
        Draws.
    level
        Coverage aimed at, in (0, 1).

    Returns
    -------
    Lower and upper end; floats, or arrays with one entry per column.

    Raises
    ------
    ValueError
        If there are fewer than two rows, or a value is NaN.

    Examples
    --------
    >>> from scmods import stats
    >>> low, high = stats.bootstrap_interval([1.0, 2.0, 3.0, 4.0], seed=0)
    >>> 1 <= low < 2.5 < high <= 4
    True
    """
    values = np.atleast_1d(_array("`values`", values))
    _checks.integer("seed", seed, 0)
    _checks.integer("n_boot", n_boot, 10, why="Few draws give no stable tails; 1000 is usual.")
    _checks.number("level", level, 1e-6, 1 - 1e-6)
    if len(values) < 2:
        _checks.fail(f"`values` has {len(values)} row, but at least two are needed to draw from.")
    rng = np.random.default_rng(seed)
    draws = [statistic(values[rng.integers(0, len(values), len(values))], axis=0) for _ in range(n_boot)]
    tail = (1 - level) / 2
    low, high = np.quantile(np.asarray(draws), [tail, 1 - tail], axis=0)
    return (float(low), float(high)) if np.ndim(low) == 0 else (low, high)


def r2(y: Any, prediction: Any, *, baseline: Any = None) -> Any:
    r"""Explained share of the squared deviation, per column; 0 for the mean, negative when worse than it.

    .. math:: R^2 = 1 - \sum_i (y_i - \hat y_i)^2 \,/\, \sum_i (y_i - b)^2

    Parameters
    ----------
    y, prediction
        Cells first; the same shape.
    baseline
        The constant prediction `b` to compare with, one number per column. None takes the mean of `y` ITSELF:
        of the test cells, when `y` are test cells, a slightly better guess than could be made, hence a strict
        rival. Pass the mean of the training cells to ask what the model adds to what was known.

    Returns
    -------
    float for one axis, else one number per column. A column of `y` equal to the baseline everywhere gives 1
    where the prediction is exact and -inf otherwise.

    Raises
    ------
    ValueError
        If shapes differ, there are no cells, or a value is NaN.

    Examples
    --------
    >>> from scmods import stats
    >>> stats.r2([1.0, 2.0, 3.0], [1.0, 2.0, 2.0]), stats.r2([1.0, 2.0, 3.0], [2.0, 2.0, 2.0])
    (0.5, 0.0)
    """
    y, prediction = _pair(y, prediction)
    base = y.mean(axis=0) if baseline is None else _array("`baseline`", baseline)
    return _share(y, ((y - prediction) ** 2).mean(axis=0), ((y - base) ** 2).mean(axis=0))


def explained_variance(y: Any, prediction: Any) -> Any:
    r"""Explained share of the variance, per column; unlike `r2` it forgives a constant offset.

    .. math:: 1 - \operatorname{Var}(y - \hat y) / \operatorname{Var}(y)

    Parameters
    ----------
    y, prediction
        Cells first; the same shape.

    Returns
    -------
    float for one axis, else one number per column; at most 1, and never below `r2` on the same cells.

    Raises
    ------
    ValueError
        If shapes differ, there are no cells, or a value is NaN.

    Examples
    --------
    >>> from scmods import stats
    >>> stats.explained_variance([1.0, 2.0, 3.0], [11.0, 12.0, 13.0])
    1.0
    """
    y, prediction = _pair(y, prediction)
    return _share(y, (y - prediction).var(axis=0), y.var(axis=0))


def _pair(y: Any, prediction: Any) -> tuple[np.ndarray, np.ndarray]:
    y, prediction = _array("`y`", y), _array("`prediction`", prediction)
    if y.shape != prediction.shape:
        _checks.fail(
            f"`y` has shape {y.shape} and `prediction` {prediction.shape}, but they must be the same."
        )
    if y.ndim == 0 or not len(y):
        _checks.fail(f"`y` has shape {y.shape}. Expected at least one cell.")
    return y, prediction


def _share(y: np.ndarray, left: np.ndarray, total: np.ndarray) -> Any:
    # the mean of a constant column is off by rounding, which must not count as variance
    tiny = (1e-12 * np.abs(y).max(axis=0)) ** 2
    left, total = np.where(left > tiny, left, 0.0), np.where(total > tiny, total, 0.0)
    with np.errstate(divide="ignore", invalid="ignore"):
        share = np.where(total > 0, 1 - left / total, np.where(left > 0, -np.inf, 1.0))
    return float(share) if share.ndim == 0 else share


def jaccard(a: Collection[Hashable], b: Collection[Hashable]) -> float:
    """Size of the intersection over size of the union of two sets; 1 for two empty ones.

    Parameters
    ----------
    a, b
        Names; order and repetition do not count. A text is refused, because it would be a set of letters.

    Examples
    --------
    >>> from scmods import stats
    >>> stats.jaccard({"A", "B", "C"}, {"B", "C", "D"})
    0.5
    """
    for what, one in (("a", a), ("b", b)):
        if isinstance(one, str):
            _checks.fail(f"`{what}` is the text {one!r}, but must be a list of names.", kind=TypeError)
    first, second = set(a), set(b)
    return len(first & second) / len(first | second) if first | second else 1.0


def expected_overlap(n_a: int, n_b: int, total: int) -> float:
    """Expected size of the intersection of two random subsets: ``n_a * n_b / total``.

    Parameters
    ----------
    n_a, n_b
        Sizes of the subsets.
    total
        Number of things to choose from.

    Examples
    --------
    >>> from scmods import stats
    >>> stats.expected_overlap(50, 50, 1000)
    2.5
    """
    total = _checks.integer("total", total)
    return _checks.integer("n_a", n_a, 0, total) * _checks.integer("n_b", n_b, 0, total) / total


def chance_jaccard(n_a: int, n_b: int, total: int) -> float:
    """Expected Jaccard index of two random subsets, exact: the mean over the hypergeometric overlap.

    Parameters
    ----------
    n_a, n_b
        Sizes of the subsets, not both 0.
    total
        Number of things to choose from.

    Examples
    --------
    >>> from scmods import stats
    >>> round(stats.chance_jaccard(50, 50, 1000), 4)
    0.0259
    """
    from scipy.stats import hypergeom

    expected_overlap(n_a, n_b, total)
    if n_a + n_b == 0:
        _checks.fail("`n_a` and `n_b` are both 0, so there is nothing to compare.")
    overlap = np.arange(max(0, n_a + n_b - total), min(n_a, n_b) + 1)
    return float((hypergeom.pmf(overlap, total, n_a, n_b) * overlap / (n_a + n_b - overlap)).sum())


def hypergeometric_pvalue(overlap: Any, n_a: Any, n_b: Any, total: Any) -> Any:
    """Probability that two random subsets share at least `overlap` things; all arguments broadcast.

    Parameters
    ----------
    overlap
        Things shared.
    n_a, n_b
        Sizes of the two subsets.
    total
        Number of things to choose from: the genes that were MEASURED, not those of the genome.

    Returns
    -------
    float, or array of the broadcast shape.

    Raises
    ------
    ValueError
        If numbers are not whole, or the overlap is impossible.

    Examples
    --------
    All three of three, drawn from six, belong to a set of three:

    >>> from scmods import stats
    >>> round(stats.hypergeometric_pvalue(3, 3, 3, 6), 6)
    0.05
    """
    from scipy.stats import hypergeom

    given = {"overlap": overlap, "n_a": n_a, "n_b": n_b, "total": total}
    arrays = np.broadcast_arrays(*(_array(f"`{name}`", value) for name, value in given.items()))
    for name, array in zip(given, arrays, strict=True):
        if (array != np.rint(array)).any() or (array < 0).any():
            _checks.fail(
                f"`{name}` holds {array[(array != np.rint(array)) | (array < 0)].flat[0]:g}, no count."
            )
    shared, first, second, whole = arrays
    possible = (first <= whole) & (second <= whole) & (shared <= np.minimum(first, second))
    possible &= shared >= first + second - whole
    if not possible.all():
        s, a, b, n = (int(x[~possible].flat[0]) for x in arrays)
        _checks.fail(
            f"Subsets of {a} and {b} out of {n} cannot share {s}. Check that all lists use the same genes."
        )
    p = hypergeom.sf(shared - 1, whole, first, second)
    return float(p) if np.ndim(p) == 0 else p
