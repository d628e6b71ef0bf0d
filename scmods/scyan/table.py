"""The table of knowledge, populations x markers: read it, find its faults before training, measure its rows."""

from __future__ import annotations

import math
import os
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from scmods import _checks
from scmods.scyan._faults import find_faults, population_names

if TYPE_CHECKING:
    import pandas as pd

__all__ = ["SYMBOLS", "check_table", "evidence", "lint_table", "population_distances", "read_table"]

SYMBOLS: dict[str, float] = {
    "+": 1.0,
    "pos": 1.0,
    "positive": 1.0,
    "high": 1.0,
    "hi": 1.0,
    "-": -1.0,
    "−": -1.0,
    "–": -1.0,
    "neg": -1.0,
    "negative": -1.0,
    "mid": 0.0,
    "int": 0.0,
    "low": -0.5,
    "lo": -0.5,
    "dim": -0.5,
    "": np.nan,
    "?": np.nan,
    "na": np.nan,
    "nan": np.nan,
}
CODINGS = ("signed", "symbols", "binary")


def _load(source: Any) -> pd.DataFrame:
    import pandas as pd

    if isinstance(source, pd.DataFrame):
        return source.copy()
    if not isinstance(source, str | os.PathLike):
        _checks.fail(
            f"`source` is of type {type(source).__name__}, but must be a DataFrame or the path of a CSV file.",
            "Write `read_table('table.csv')`.",
            kind=TypeError,
        )
    path = Path(source)
    if not path.is_file():
        here = sorted(p.name for p in path.parent.glob("*.csv")) if path.parent.is_dir() else []
        _checks.fail(
            f"The file '{path}' does not exist. Its folder has {_checks.listing(here)}.",
            _checks.nearest(path.name, here),
            kind=FileNotFoundError,
        )
    # as text: "NA" of a marker is no population name, and the pandas list of missing words would eat one
    with path.open(encoding="utf-8-sig") as file:
        head = file.readline()
    separator = max(",;\t", key=head.count)
    frame = pd.read_csv(path, sep=separator, dtype=str, keep_default_na=False, encoding="utf-8-sig")
    return frame.set_index(frame.columns[0])


def _with_levels(frame: pd.DataFrame) -> pd.DataFrame:
    """Columns whose name contains "level" become levels of the index, the population itself first."""
    levels = [c for c in frame.columns if "level" in str(c).lower()]
    return frame.set_index(levels, append=True) if levels else frame


def _number(value: Any, symbols: Mapping[str, float] | None) -> float | None:
    """The value as a number; None where it has no meaning."""
    if value is None or value != value:
        return np.nan
    if isinstance(value, str):
        word = value.strip().lower()
        if symbols is not None and word in symbols:
            return float(symbols[word])
        if word in ("", "na", "nan"):
            return np.nan
        value = word.replace("−", "-")
    try:
        return float(value)
    except (TypeError, ValueError):
        return None


def _refuse_words(frame: pd.DataFrame, bad: np.ndarray, coding: str) -> None:
    rows, columns = np.nonzero(bad)
    names = population_names(frame)
    cells = [
        f"{names[i]}, {frame.columns[j]}: {frame.iat[i, j]!r}" for i, j in zip(rows, columns, strict=True)
    ]
    words = {str(frame.iat[i, j]).strip().lower() for i, j in zip(rows, columns, strict=True)}
    if coding != "symbols" and words <= set(SYMBOLS):
        advice = (
            "These are symbols: `read_table(table, coding='symbols')` reads +, -, low (-0.5) and mid (0)."
        )
    else:
        advice = "Correct them, or give them a meaning: `read_table(table, coding='symbols', symbols={...})`."
    _checks.fail(
        f"The table has {len(cells)} entries that are no number: {_checks.listing(cells, 5)}.",
        "Expected numbers in [-1, 1], or nothing where nothing is known.",
        advice,
    )


def read_table(
    source: Any, *, coding: str = "signed", symbols: Mapping[str, float] | None = None
) -> pd.DataFrame:
    """Read a table of populations x markers.

    Parameters
    ----------
    source
        A DataFrame with one row per population, or the path of a CSV file whose first column names the populations
        (comma, semicolon or tab; UTF-8). Columns whose name contains "level" name coarser populations.
    coding
        ``"signed"``: numbers, -1 negative, 1 positive, values between for low and mid, empty where unknown.
        ``"symbols"``: words such as ``+``, ``-``, ``mid`` (0), ``low`` (-0.5), see `SYMBOLS`; numbers stay.
        ``"binary"``: 0 becomes -1, as in a key of barcodes.
    symbols
        Words and their values, lower case, in addition to `SYMBOLS`; only with ``coding="symbols"``.

    Returns
    -------
    A new DataFrame of float64, NaN where unknown. With levels the index has several; the population is the first.

    Raises
    ------
    FileNotFoundError, TypeError, ValueError
        No such file; neither table nor path; entries that have no meaning (all of them are named), entries other than
        0 and 1 with ``coding="binary"``.

    Examples
    --------
    >>> import pandas as pd
    >>> words = pd.DataFrame({"CD3": ["+", "-"], "CD19": ["-", ""]}, index=["T", "other"])
    >>> read_table(words, coding="symbols")
           CD3  CD19
    T      1.0  -1.0
    other -1.0   NaN
    """
    import pandas as pd

    _checks.one_of("coding", coding, CODINGS)
    if symbols is not None and coding != "symbols":
        _checks.fail(f"`symbols` is given, but coding={coding!r} reads no words. Write coding='symbols'.")
    frame = _with_levels(_load(source))
    words = {**SYMBOLS, **{str(k).strip().lower(): v for k, v in (symbols or {}).items()}}
    given = words if coding == "symbols" else None
    read = [[_number(v, given) for v in row] for row in frame.itertuples(index=False, name=None)]
    bad = np.array([[v is None for v in row] for row in read], dtype=bool).reshape(frame.shape)
    if bad.any():
        _refuse_words(frame, bad, coding)
    values = np.array(read, dtype=np.float64).reshape(frame.shape)
    if coding == "binary":
        values = _from_binary(values, frame)
    return pd.DataFrame(values, index=frame.index, columns=[str(c).strip() for c in frame.columns])


def _from_binary(values: np.ndarray, frame: pd.DataFrame) -> np.ndarray:
    other = ~(np.isnan(values) | (values == 0) | (values == 1))
    if other.any():
        i, j = np.argwhere(other)[0]
        _checks.fail(
            f"coding='binary' expects 0 and 1, but {int(other.sum())} entries are others; first:",
            f"{population_names(frame)[i]}, {frame.columns[j]}: {values[i, j]:g}.",
            "For -1 and 1 write `read_table(table, coding='signed')`.",
        )
    return 2 * values - 1


def lint_table(table: pd.DataFrame, var_names: Iterable[str] | None = None) -> pd.DataFrame:
    """Find every fault of a table before anything is trained.

    Parameters
    ----------
    table
        Populations x markers, as `read_table` returns it; unread words are reported, too.
    var_names
        Names of the markers in the data; without them no name is looked up.

    Returns
    -------
    DataFrame, one row per fault, the worst first: ``severity`` ("error": training is refused; "warning": labels
    suffer; "note"), ``fault`` (a fixed word), ``population``, ``marker`` (empty where it concerns the whole),
    ``text`` (what is wrong) and ``advice``. Empty for a table without a fault.

    Notes
    -----
    Faults of severity "error": ``no_populations``, ``no_markers``, ``missing_marker``, ``wrong_case``,
    ``duplicated_marker``, ``duplicated_population``, ``empty_population``, ``text``, ``infinite``, ``out_of_range``,
    ``binary_coding``, ``identical_rows``. "warning": ``empty_row``, ``sparse_row`` (more than 90 % unknown),
    ``overlapping_rows`` (no marker separates them), ``empty_marker``, ``one_sided_marker``, ``in_between`` (more than
    15 % of the known entries). "note": ``single_marker`` (one marker
    alone separates two rows), ``unbalanced_siblings`` (of two rows that at most two markers separate, one knows at
    least three more). Time O(populations^2 markers).

    Examples
    --------
    >>> import pandas as pd
    >>> table = pd.DataFrame({"CD3": [1.0, -1.0], "HLADR": [-1.0, 1.0]}, index=["T", "B"])
    >>> lint_table(table, ["CD3", "HLA-DR"])[["severity", "fault", "marker"]].values.tolist()
    [['error', 'wrong_case', 'HLADR']]
    """
    import pandas as pd

    if not isinstance(table, pd.DataFrame):
        _checks.fail(
            f"`table` is of type {type(table).__name__}, but must be a DataFrame, populations x markers.",
            "Write `table = read_table('table.csv')`.",
            kind=TypeError,
        )
    names = None if var_names is None else [str(v) for v in var_names]
    return find_faults(table, names).frame()


def check_table(
    table: pd.DataFrame, var_names: Iterable[str] | None = None, *, warn: bool = True
) -> pd.DataFrame:
    """The table as float64, after all faults were reported together.

    Parameters
    ----------
    table
        Populations x markers.
    var_names
        Names of the markers in the data.
    warn
        Warn about weak spots.

    Returns
    -------
    A copy of the table, float64.

    Raises
    ------
    ValueError
        If there is any fault of severity "error"; the text names all of them.

    Warns
    -----
    NumericalWarning
        One warning that names all faults of severity "warning".

    Examples
    --------
    >>> import pandas as pd
    >>> from scmods import scyan
    >>> table = pd.DataFrame({"CD3": [1, -1], "CD19": [-1, 1]}, index=["T", "B"])
    >>> scyan.check_table(table, ["CD3", "CD19", "CD4"]).loc["T", "CD3"].item()
    1.0
    """
    faults = lint_table(table, var_names)
    errors, warned = (faults[faults["severity"] == s] for s in ("error", "warning"))
    if len(errors):
        _checks.fail(
            f"The table has {len(errors)} faults:",
            " ".join(
                f"({i + 1}) {t} {a}"
                for i, (t, a) in enumerate(zip(errors["text"], errors["advice"], strict=True))
            ),
            "`lint_table(table, adata.var_names)` lists them as a table.",
        )
    if warn and len(warned):
        shown = " ".join(f"({i + 1}) {t}" for i, t in enumerate(warned["text"][:6]))
        more = f" And {len(warned) - 6} more." if len(warned) > 6 else ""
        _checks.warn(
            f"The table has {len(warned)} weak spots: {shown}{more} `lint_table(table)` lists them with advice."
        )
    import pandas as pd

    return table.apply(pd.to_numeric).astype(np.float64)


def population_distances(table: pd.DataFrame, *, normalize: bool = False) -> pd.DataFrame:
    r"""How far apart the rows are on the markers that both know.

    .. math:: d_{pq} = \tfrac{1}{2} \sum_{m \text{ known to both}} |\rho_{pm} - \rho_{qm}|

    Parameters
    ----------
    table
        Populations x markers, float, NaN where unknown.
    normalize
        Divide by the number of markers that both rows know; NaN where there is none.

    Returns
    -------
    DataFrame, populations x populations, symmetric: in a table of -1 and 1, the number of separating markers.

    Examples
    --------
    >>> import pandas as pd
    >>> table = pd.DataFrame({"a": [1.0, -1.0], "b": [1.0, float("nan")]}, index=["x", "y"])
    >>> population_distances(table).loc["x", "y"]
    np.float64(1.0)
    """
    import pandas as pd

    values = table.to_numpy(dtype=np.float64)
    apart = np.abs(values[:, None] - values[None]) / 2
    distance = np.nansum(apart, axis=2)
    if normalize:
        both = (~np.isnan(apart)).sum(axis=2)
        distance = np.where(both > 0, distance / np.maximum(both, 1), np.nan)
    names = population_names(table)
    return pd.DataFrame(distance, index=names, columns=names)


def _entry_worth(prior_std: float) -> float:
    """Log-density of a known entry at its mode, less that of an unknown entry at the same place (nats)."""
    upper, lower = (0.5 * (1 + math.erf(z / prior_std / math.sqrt(2))) for z in (0.0, -2.0))
    return float(-np.log(prior_std * np.sqrt(2 * np.pi)) - np.log((upper - lower) / 2))


def evidence(table: pd.DataFrame, *, prior_std: float = 0.3) -> pd.DataFrame:
    """Sum of the evidence that every row can collect, and the row nearest to it.

    A cell that sits exactly on a known entry gains the logarithm of the ratio of the two densities, known against
    unknown: 1.67 nats at the default width. A row that knows more can win more, and lose more.

    Parameters
    ----------
    table
        Populations x markers, float, NaN where unknown.
    prior_std
        Width of the prior around a known entry.

    Returns
    -------
    DataFrame, one row per population: ``known``, ``positive``, ``negative``, ``between`` (numbers of entries),
    ``evidence`` (nats, known x worth of an entry), ``nearest`` (the population with the fewest separating markers,
    among these the one that shares most), ``separating`` (sum of half differences to it).

    Raises
    ------
    ValueError
        If `prior_std` is not positive.

    Examples
    --------
    >>> import pandas as pd
    >>> table = pd.DataFrame({"a": [1.0, -1.0], "b": [1.0, float("nan")]}, index=["x", "y"])
    >>> evidence(table)["evidence"].round(2).tolist()
    [3.34, 1.67]
    """
    import pandas as pd

    _checks.number("prior_std", prior_std, 1e-6)
    values = table.to_numpy(dtype=np.float64)
    known = ~np.isnan(values)
    out = pd.DataFrame(index=population_names(table))
    out["known"] = known.sum(axis=1)
    out["positive"], out["negative"] = (values == 1).sum(axis=1), (values == -1).sum(axis=1)
    out["between"] = out["known"] - out["positive"] - out["negative"]
    out["evidence"] = out["known"] * _entry_worth(prior_std)
    distance = population_distances(table).to_numpy(copy=True)
    if len(values) > 1:
        shared = known.astype(float) @ known.T.astype(float)
        order = distance - shared / (shared.max() + 1)
        np.fill_diagonal(order, np.inf)
        at = order.argmin(axis=1)
        out["nearest"] = np.asarray(population_names(table), dtype=object)[at]
        out["separating"] = distance[np.arange(len(at)), at]
    return out
