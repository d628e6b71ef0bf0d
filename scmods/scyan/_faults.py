"""What can be wrong with a table of knowledge, one function per group of faults."""

from __future__ import annotations

import re
from collections import Counter
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import numpy as np

from scmods import _checks

if TYPE_CHECKING:
    import pandas as pd

__all__ = ["Faults", "find_faults", "population_names"]

SEVERITIES = ("error", "warning", "note")
COLUMNS = ("severity", "fault", "population", "marker", "text", "advice")
SPARSE = 0.9  # share of unknown entries above which a row says next to nothing
BETWEEN = 0.15  # share of in-between values among the known entries that is unusual
UNBALANCED = 3  # known entries that one of two siblings has more than the other


def population_names(table: pd.DataFrame) -> list[str]:
    """Names of the populations: the index, or its first level.

    Parameters
    ----------
    table
        Populations x markers.
    """
    index = table.index
    return [str(n) for n in (index.get_level_values(0) if index.nlevels > 1 else index)]


@dataclass
class Faults:
    """A growing list of faults.

    Attributes
    ----------
    rows
        One tuple per fault, in the order of `COLUMNS`.
    """

    rows: list[tuple[str, ...]] = field(default_factory=list)

    def add(
        self, severity: str, fault: str, text: str, advice: str, population: str = "", marker: str = ""
    ) -> None:
        """Add one fault.

        Parameters
        ----------
        severity, fault, text, advice, population, marker
            See `scmods.scyan.table.lint_table`.
        """
        self.rows.append((severity, fault, population, marker, text, advice))

    def frame(self) -> pd.DataFrame:
        """All faults, the worst first."""
        import pandas as pd

        ordered = sorted(self.rows, key=lambda r: SEVERITIES.index(r[0]))
        return pd.DataFrame(ordered, columns=list(COLUMNS))


def _bare(name: str) -> str:
    return re.sub(r"[^a-z0-9]", "", name.lower())


def _marker_names(table: pd.DataFrame, var_names: list[str] | None, faults: Faults) -> None:
    markers = [str(c) for c in table.columns]
    for name, n in Counter(markers).items():
        if n > 1:
            text = f"The marker {name!r} is listed {n} times."
            faults.add("error", "duplicated_marker", text, "Keep one of the columns.", marker=name)
    if var_names is None:
        return
    have, by_bare = set(var_names), {_bare(v): v for v in var_names}
    for name in dict.fromkeys(markers):
        if name in have:
            continue
        same = by_bare.get(_bare(name))
        if same is not None:
            text = f"The marker {name!r} is written {same!r} in the data."
            advice = f"`table = table.rename(columns={{{name!r}: {same!r}}})`."
            faults.add("error", "wrong_case", text, advice, marker=name)
        else:
            text = f"The marker {name!r} is not in the data. {_checks.nearest(name, var_names)}".strip()
            advice = f"Drop it, `table = table.drop(columns={name!r})`, or rename it."
            faults.add("error", "missing_marker", text, advice, marker=name)


def _row_names(table: pd.DataFrame, faults: Faults) -> None:
    index = table.index.get_level_values(0) if table.index.nlevels > 1 else table.index
    missing = np.asarray(index.isna()) | np.array([not str(n).strip() for n in index], dtype=bool)
    for i in np.flatnonzero(missing):
        text = f"Row {i + 1} has no population name."
        faults.add(
            "error", "empty_population", text, "Give it a name, or drop it: `table[table.index.notna()]`."
        )
    named = [str(n) for n, m in zip(index, missing, strict=True) if not m]
    for name, n in Counter(named).items():
        if n > 1:
            text = f"The population {name!r} is listed {n} times."
            faults.add(
                "error", "duplicated_population", text, "Rename or drop one of the rows.", population=name
            )


def _to_numbers(table: pd.DataFrame, faults: Faults) -> np.ndarray:
    """The entries as float64, NaN for what is no number (reported)."""
    import pandas as pd

    names, out = population_names(table), np.full(table.shape, np.nan)
    for j, marker in enumerate(table.columns):
        column = table.iloc[:, j]
        numbers = pd.to_numeric(column, errors="coerce").to_numpy(dtype=np.float64, na_value=np.nan)
        for i in np.flatnonzero(np.isnan(numbers) & column.notna().to_numpy()):
            text = f"The entry of {names[i]!r} and {str(marker)!r} is {column.iloc[i]!r}, which is no number."
            advice = "Read words such as + and - with `read_table(table, coding='symbols')`."
            faults.add("error", "text", text, advice, names[i], str(marker))
        out[:, j] = numbers
    return out


def _values(values: np.ndarray, names: list[str], markers: list[str], faults: Faults) -> None:
    for i, j in np.argwhere(np.isinf(values)):
        text = f"The entry of {names[i]!r} and {markers[j]!r} is infinite."
        faults.add("error", "infinite", text, "Leave it empty where nothing is known.", names[i], markers[j])
    with np.errstate(invalid="ignore"):
        outside = np.isfinite(values) & (np.abs(values) > 1)
    for i, j in np.argwhere(outside):
        text = f"The entry of {names[i]!r} and {markers[j]!r} is {values[i, j]:g}, outside [-1, 1]."
        advice = "Write -1 for negative, 1 for positive, values between for low and mid."
        faults.add("error", "out_of_range", text, advice, names[i], markers[j])
    known = values[np.isfinite(values)]
    if len(known) and np.isin(known, (0, 1)).all() and (known == 0).any():
        text = "All known entries are 0 or 1, which looks like 0/1 coding; negative is -1 here."
        faults.add("error", "binary_coding", text, "`table = read_table(table, coding='binary')`.")
        return
    between = np.abs(known) < 1
    if len(known) and between.mean() > BETWEEN:
        text = f"{int(between.sum())} of {len(known)} known entries lie between -1 and 1."
        faults.add(
            "warning", "in_between", text, "Leave uncertain entries empty; a mid value excludes both signs."
        )


def _rows(values: np.ndarray, names: list[str], faults: Faults) -> None:
    unknown = np.isnan(values).mean(axis=1)
    for i in np.flatnonzero(unknown > SPARSE):
        if unknown[i] == 1:
            text = f"The row {names[i]!r} has no known entry, so it attracts every cell that fits nowhere."
            faults.add(
                "warning", "empty_row", text, "Drop it: cells that fit nowhere are unclassified.", names[i]
            )
        else:
            text = f"The row {names[i]!r} is {unknown[i]:.0%} unknown."
            faults.add("warning", "sparse_row", text, "Add markers that set it apart.", names[i])


def _columns(values: np.ndarray, markers: list[str], faults: Faults) -> None:
    known, positive, negative = (
        (~np.isnan(values)).any(axis=0),
        (values > 0).any(axis=0),
        (values < 0).any(axis=0),
    )
    for j, marker in enumerate(markers):
        if not known[j]:
            text = f"The marker {marker!r} has no known entry."
            faults.add("warning", "empty_marker", text, f"`table.drop(columns={marker!r})`.", marker=marker)
        elif not (positive[j] and negative[j]):
            have, lack = ("positive", "negative") if positive[j] else ("negative", "positive")
            have = have if positive[j] or negative[j] else "in-between"
            text = (
                f"The marker {marker!r} has {have} entries, but no {lack} one, so its scale is not anchored."
            )
            faults.add(
                "warning", "one_sided_marker", text, f"Add a population that is {lack}.", marker=marker
            )


def _pairs(values: np.ndarray, names: list[str], faults: Faults) -> None:
    known = ~np.isnan(values)
    n_known = known.sum(axis=1)
    for p in range(len(values)):
        for q in range(p + 1, len(values)):
            pair = f"{names[p]!r} and {names[q]!r}"
            both = f"{names[p]}, {names[q]}"
            if np.array_equal(values[p], values[q], equal_nan=True):
                faults.add("error", "identical_rows", f"The rows {pair} are identical.", "Merge them.", both)
                continue
            if not n_known[p] or not n_known[q]:
                continue  # an empty row is told of by itself
            with np.errstate(invalid="ignore"):
                apart = int((np.abs(values[p] - values[q]) > 0.5).sum())
            if apart == 0:
                text = f"No marker that both know separates the rows {pair}."
                faults.add(
                    "warning", "overlapping_rows", text, "Fill in a marker in which they differ.", both
                )
            elif apart == 1:
                text = f"One marker alone separates the rows {pair}."
                faults.add("note", "single_marker", text, "A second one makes the labels robust.", both)
            if apart <= 2 and abs(n_known[p] - n_known[q]) >= UNBALANCED:
                more, less = (p, q) if n_known[p] > n_known[q] else (q, p)
                text = (
                    f"{names[more]!r} knows {n_known[more]} markers, its sibling {names[less]!r} only {n_known[less]};"
                    " blurred cells go to the one that knows less."
                )
                faults.add(
                    "warning", "unbalanced_siblings", text, "Fill in or empty the same markers in both.", both
                )


def find_faults(table: pd.DataFrame, var_names: list[str] | None) -> Faults:
    """All faults of a table, see `scmods.scyan.table.lint_table`.

    Parameters
    ----------
    table
        Populations x markers.
    var_names
        Names of the markers in the data, or None.
    """
    faults = Faults()
    if not len(table):
        faults.add("error", "no_populations", "The table has no rows.", "Give at least two populations.")
    if not table.shape[1]:
        faults.add(
            "error", "no_markers", "The table has no columns.", "Give at least one marker per population."
        )
    if not table.size:
        return faults
    names, markers = population_names(table), [str(c) for c in table.columns]
    _marker_names(table, var_names, faults)
    _row_names(table, faults)
    values = _to_numbers(table, faults)
    _values(values, names, markers, faults)
    _rows(values, names, faults)
    _columns(values, markers, faults)
    _pairs(values, names, faults)
    return faults
