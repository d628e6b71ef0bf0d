"""Tables made from a table: some of its populations, or one of them divided."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from scmods import _checks
from scmods.scyan._faults import population_names

if TYPE_CHECKING:
    import pandas as pd

__all__ = ["split_population", "subtable"]

MARKERS = ("separating", "known", "all")


def level_values(table: pd.DataFrame, level: int | str) -> list[str]:
    """What every row is called at one level; a level that is missing takes the name of the next finer one.

    Parameters
    ----------
    table
        Populations x markers; the levels of its index are the finest first.
    level
        Name or number of the level.

    Raises
    ------
    MissingKeyError
        If there is no such level.
    """
    index, number = table.index, level
    names = [str(n) for n in index.names]
    if isinstance(level, str):
        if level not in names or index.nlevels == 1:
            _checks.fail(
                f"The table has no level {level!r}.",
                f"Available: {_checks.listing(names[1:])}."
                if index.nlevels > 1
                else "It has one level only.",
                "A column whose name contains 'level' becomes one: `read_table('table.csv')`.",
                kind=_checks.MissingKeyError,
            )
        number = names.index(level)
    number = _checks.integer(
        "level", number, 0, index.nlevels - 1, "Level 0 holds the populations themselves."
    )
    values = population_names(table)
    for k in range(1, number + 1):
        coarse = index.get_level_values(k)
        values = [
            old if new is None or new != new or not str(new) else str(new)
            for old, new in zip(values, coarse, strict=True)
        ]
    return values


def subtable(
    table: pd.DataFrame,
    populations: Sequence[str] | str,
    *,
    level: int | str = 0,
    markers: str | Sequence[str] = "separating",
) -> pd.DataFrame:
    """The part of a table that tells some populations from each other, to annotate their cells once more.

    Parameters
    ----------
    table
        Populations x markers.
    populations
        Names of the rows to keep, or of what they belong to at `level`.
    level
        Level of the index where the names are looked up: 0 for the populations themselves.
    markers
        ``"separating"``: those with two different known entries among the rows; ``"known"``: those with a known entry;
        ``"all"``; or their names.

    Returns
    -------
    A new DataFrame, rows and columns in the order of the table.

    Raises
    ------
    MissingKeyError
        If there is no such population, level or marker.
    ValueError
        If no marker is left.

    Examples
    --------
    >>> import pandas as pd
    >>> table = pd.DataFrame({"CD3": [1.0, 1, -1], "CD4": [1.0, -1, -1]}, index=["CD4 T", "CD8 T", "B"])
    >>> subtable(table, ["CD4 T", "CD8 T"])
           CD4
    CD4 T  1.0
    CD8 T -1.0
    """
    wanted = [populations] if isinstance(populations, str) else [str(p) for p in populations]
    values = level_values(table, level)
    unknown = [p for p in wanted if p not in values]
    if unknown or not wanted:
        _checks.fail(
            f"The table has no {_checks.listing(unknown)}." if unknown else "`populations` is empty.",
            f"Available: {_checks.listing(dict.fromkeys(values))}.",
            _checks.nearest(unknown[0], values) if unknown else "",
            kind=_checks.MissingKeyError,
        )
    part = table.loc[np.isin(values, wanted)]
    columns = _columns(part, markers)
    if not columns.any():
        _checks.fail(
            f"No marker is {markers} among {_checks.listing(population_names(part))}.",
            "Add one that tells them apart, or write markers='all'.",
        )
    return part.loc[:, columns].copy()


def _columns(part: pd.DataFrame, markers: str | Sequence[str]) -> np.ndarray:
    if not isinstance(markers, str):
        unknown = [m for m in markers if m not in part.columns]
        if unknown:
            _checks.fail(
                f"The table has no markers {_checks.listing(unknown)}. Available: {_checks.listing(part.columns)}.",
                _checks.nearest(unknown[0], part.columns),
                kind=_checks.MissingKeyError,
            )
        return part.columns.isin(list(markers))
    _checks.one_of("markers", markers, MARKERS)
    if markers == "all":
        return np.ones(part.shape[1], dtype=bool)
    return (part.nunique() > (1 if markers == "separating" else 0)).to_numpy()


def split_population(
    table: pd.DataFrame,
    population: str,
    rows: Mapping[str, Mapping[str, float]],
    *,
    keep: bool = False,
) -> pd.DataFrame:
    """Replace a row of a table by several that say more.

    Parameters
    ----------
    table
        Populations x markers.
    population
        Row to divide.
    rows
        For every new row, by name, the entries in which it differs from the old one: numbers in [-1, 1], NaN for
        unknown. A marker that the table lacks becomes a new column, unknown for all other rows.
    keep
        Keep the old row, too.

    Returns
    -------
    A new DataFrame, float64, the new rows where the old one was; further levels of the index are those of the old row.

    Raises
    ------
    MissingKeyError
        If there is no such population.
    TypeError, ValueError
        Names that the table has, entries outside [-1, 1], two rows (the old one included, if it is kept) that say the
        same.

    Examples
    --------
    >>> import pandas as pd
    >>> table = pd.DataFrame({"CD3": [1.0, -1.0]}, index=["T", "B"])
    >>> split_population(table, "T", {"CD4 T": {"CD4": 1}, "CD8 T": {"CD4": -1}})
           CD3  CD4
    CD4 T  1.0  1.0
    CD8 T  1.0 -1.0
    B     -1.0  NaN
    """
    import pandas as pd

    names = population_names(table)
    if population not in names:
        _checks.fail(
            f"The table has no {population!r}. Available: {_checks.listing(names)}.",
            _checks.nearest(population, names),
            kind=_checks.MissingKeyError,
        )
    at = names.index(population)
    _check_rows(rows, [n for n in names if keep or n != population])
    columns = [*table.columns, *dict.fromkeys(m for r in rows.values() for m in r if m not in table.columns)]
    old = table.iloc[[at]].reindex(columns=columns).astype(np.float64)
    label = old.index[0]
    made = []
    for name, entries in rows.items():
        row = old.copy()
        new = (name, *label[1:]) if table.index.nlevels > 1 else name
        row.index = (
            pd.MultiIndex.from_tuples([new], names=table.index.names)
            if table.index.nlevels > 1
            else pd.Index([new], name=table.index.name)
        )
        for marker, value in entries.items():
            row[marker] = float(value)
        made.append(row)
    new = pd.concat([*([old] if keep else []), *made])
    twice = new.duplicated()
    if twice.any():
        _checks.fail(
            f"The rows {_checks.listing(population_names(new[twice.to_numpy()]))} say the same as another one.",
            "Give each an entry of its own, for instance {'CD4 T': {'CD4': 1}, 'CD8 T': {'CD4': -1}}.",
        )
    before, after = (part.reindex(columns=columns) for part in (table.iloc[:at], table.iloc[at + 1 :]))
    return pd.concat([p for p in (before, new, after) if len(p)]).astype(np.float64)


def _check_rows(rows: Any, taken: Sequence[str]) -> None:
    if not isinstance(rows, Mapping) or not rows or not all(isinstance(r, Mapping) for r in rows.values()):
        _checks.fail(
            "`rows` must name every new row and its entries.",
            "Write rows={'CD4 T': {'CD4': 1}, 'CD8 T': {'CD4': -1}}.",
            kind=TypeError,
        )
    again = [str(n) for n in rows if str(n) in taken]
    if again:
        _checks.fail(f"The table has rows {_checks.listing(again)} already. Choose other names.")
    for name, entries in rows.items():
        for marker, value in entries.items():
            if value == value:  # NaN is allowed
                _checks.number(f"rows[{name!r}][{marker!r}]", value, -1.0, 1.0)
