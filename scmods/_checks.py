"""Every check of user input and every error text, in one place.

A message has four parts: what is wrong, with the value; what was expected; what exists; what to do, as a call to copy.
Nothing here imports torch, anndata or scanpy, so that a check costs nothing.
"""

from __future__ import annotations

import difflib
import math
import numbers
import warnings
from collections.abc import Hashable, Iterable, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from anndata import AnnData

__all__ = [
    "MissingKeyError",
    "NumericalWarning",
    "PerformanceWarning",
    "fail",
    "finite",
    "integer",
    "key",
    "labels",
    "listing",
    "nearest",
    "number",
    "one_of",
    "positive_rows",
    "unique_names",
    "warn",
]


class MissingKeyError(KeyError):
    """A slot of an AnnData, a data set or a name that does not exist.

    ``KeyError`` prints its text as a quoted repr; this one prints it as written.

    Examples
    --------
    >>> import scmods
    >>> try:
    ...     scmods.datasets.load("plantd")
    ... except scmods.MissingKeyError as error:
    ...     "Did you mean 'planted'?" in str(error)
    True
    """

    def __str__(self) -> str:
        return str(self.args[0]) if self.args else ""


class NumericalWarning(UserWarning):
    """The numbers are usable with care: not converged, nearly degenerate, disconnected.

    Examples
    --------
    Make them errors, so that none is overlooked:

    >>> import warnings, scmods
    >>> warnings.simplefilter("error", scmods.NumericalWarning)
    """


class PerformanceWarning(UserWarning):
    """The call works but needs much more memory or time than another one named in the text.

    Examples
    --------
    Silence them, once their advice is known:

    >>> import warnings, scmods
    >>> warnings.simplefilter("ignore", scmods.PerformanceWarning)
    """


def warn(text: str, category: type[Warning] = NumericalWarning, *, level: int = 3) -> None:
    """Warn so that the line shown is the caller's."""
    warnings.warn(text, category, stacklevel=level)


def fail(*parts: str, kind: type[Exception] = ValueError) -> None:
    """Raise `kind` with the parts of the message joined by one space (empty parts are dropped)."""
    raise kind(" ".join(p for p in parts if p))


def listing(values: Iterable[object], most: int = 8) -> str:
    """``['a', 'b', ...]`` with at most `most` entries and the number left out."""
    items = [str(v) for v in values]
    more = f", ... {len(items) - most} more" if len(items) > most else ""
    return "[" + ", ".join(repr(v) for v in items[:most]) + more + "]"


def nearest(word: str, words: Iterable[object]) -> str:
    """The sentence "Did you mean ...?", or an empty string when nothing is close."""
    by_lower = {str(w).lower(): str(w) for w in words}
    close = difflib.get_close_matches(str(word).lower(), by_lower, 1, 0.6)
    return f"Did you mean {by_lower[close[0]]!r}?" if close else ""


def key(adata: AnnData, slot: str, name: str, fix: str = "") -> None:
    """Refuse a `name` that is not in ``adata.<slot>``; `fix` is the call that would make it."""
    have = list(getattr(adata, slot).keys())
    if name not in have:
        fail(
            f"`adata.{slot}[{name!r}]` does not exist.",
            f"Available: {listing(have)}.",
            nearest(name, have),
            fix,
            kind=MissingKeyError,
        )


def one_of(argument: str, value: object, choices: Sequence[object]) -> None:
    """Refuse a value outside the `choices`."""
    # an array compares element by element, so that `in` would fail in its own words
    if not isinstance(value, Hashable) or value not in choices:
        fail(
            f"`{argument}` is {value!r}, but must be one of {listing(choices, 20)}.",
            nearest(str(value), choices),
        )


def integer(argument: str, value: object, low: int = 1, high: int | None = None, why: str = "") -> int:
    """The value as ``int``; refuse other types (``True`` too) and values outside ``[low, high]``."""
    if isinstance(value, bool | np.bool_) or not isinstance(value, numbers.Integral):
        fail(
            f"`{argument}` is {value!r} of type {type(value).__name__}, but must be a whole number.",
            f"Write {argument}={max(low, 10 if high is None else min(10, high))}.",
            kind=TypeError,
        )
    if value < low or (high is not None and value > high):
        top = "" if high is None else f" and at most {high}"
        fail(f"`{argument}` is {value}, but must be at least {low}{top}.", why)
    return int(value)


def number(
    argument: str, value: object, low: float = -math.inf, high: float = math.inf, why: str = ""
) -> float:
    """The value as ``float``; refuse other types, NaN, infinity and values outside ``[low, high]``."""
    if isinstance(value, bool | np.bool_) or not isinstance(value, numbers.Real):
        fail(
            f"`{argument}` is {value!r} of type {type(value).__name__}, but must be a number.",
            why,
            kind=TypeError,
        )
    if not math.isfinite(value) or not low <= value <= high:
        fail(f"`{argument}` is {value:g}, but must be a finite number in [{low:g}, {high:g}].", why)
    return float(value)


def _first(names: Sequence[str] | None, where: np.ndarray) -> str:
    index = np.flatnonzero(where)
    return listing(index if names is None else np.asarray(names, dtype=object)[index], 3)


def finite(what: str, array: np.ndarray, rows: Sequence[str] | None = None) -> None:
    """Refuse NaN and infinity in a dense array, naming the first rows that hold one."""
    bad = ~np.isfinite(array)
    if bad.any():
        where = bad.reshape(len(bad), -1).any(axis=1)
        fail(
            f"{what} holds {int(bad.sum())} values that are NaN or infinite, in {int(where.sum())} rows;",
            f"first rows: {_first(rows, where)}.",
            "Expected finite numbers. Drop those rows, `adata = adata[keep].copy()`, or fill them before the call.",
        )


def positive_rows(what: str, norms: np.ndarray, rows: Sequence[str] | None = None) -> None:
    """Refuse rows of norm zero: they have no direction, hence no cosine."""
    bad = np.asarray(norms) == 0
    if bad.any():
        fail(
            f"{what} has {int(bad.sum())} all-zero rows; first: {_first(rows, bad)}.",
            "A zero row has no direction, so the cosine to it is undefined.",
            "Filter them, `scanpy.pp.filter_cells(adata, min_counts=1)`, or use metric='euclidean'.",
        )


def unique_names(what: str, names: Sequence[str]) -> None:
    """Refuse names that occur twice."""
    seen, again = set(), []
    for name in map(str, names):
        if name in seen and name not in again:
            again.append(name)
        seen.add(name)
    if again:
        slot = what.split(".")[-1]
        advice = (
            f"Call `adata.{slot}_make_unique()` first."
            if slot in ("var_names", "obs_names")
            else "Rename or drop the repeated ones."
        )
        fail(f"{what} has {len(again)} duplicated names: {listing(again, 3)}. Names must be unique.", advice)


def labels(adata: AnnData, name: str, smallest: int = 1) -> np.ndarray:
    """``obs[name]`` as strings; refuse a missing column, missing labels, one class, and classes below `smallest`."""
    key(adata, "obs", name, "Name the column of cell labels.")
    column = adata.obs[name]
    missing = int(column.isna().sum())
    if missing:
        fail(
            f"`adata.obs[{name!r}]` has {missing} missing labels of {len(column)}. Every cell needs one.",
            f"Keep the labelled cells: `adata = adata[adata.obs[{name!r}].notna()].copy()`.",
        )
    values = column.astype(str).to_numpy(dtype=object)
    found, counts = np.unique(values.astype(str), return_counts=True)
    if len(found) < 2:
        fail(f"`adata.obs[{name!r}]` holds one class, {listing(found)}, but at least two are needed.")
    small = counts < smallest
    if small.any():
        table = ", ".join(f"{str(f)!r}: {c}" for f, c in zip(found[small], counts[small], strict=True))
        fail(
            f"`adata.obs[{name!r}]` has classes with fewer than {smallest} cells: {table}.",
            "Merge them into another class or drop their cells before the call.",
        )
    return values


def numeric(what: str, values: Any) -> np.ndarray:
    """The values as a dense float64 array; refuse text, objects and complex numbers."""
    array = values.toarray() if hasattr(values, "toarray") else np.asarray(values)
    if array.dtype.kind not in "biuf":
        fail(
            f"{what} has type {array.dtype}, but must be numeric.",
            "Convert it first, for instance with `pandas.to_numeric`.",
            kind=TypeError,
        )
    return array.astype(np.float64)
