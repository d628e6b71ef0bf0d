"""Pieces that the figures of the chapter share: heat maps, histograms as lines, groups of cells."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from scmods import _checks, _figures

if TYPE_CHECKING:
    import pandas as pd
    from plotly.graph_objects import Figure

__all__ = [
    "AGAINST",
    "BATCHES",
    "DASHES",
    "FOR",
    "SYMBOLS",
    "UNCLASSIFIED",
    "chosen",
    "columns",
    "group_style",
    "grouped",
    "heat",
    "histogram",
    "line",
    "matrix",
    "ranges",
    "thin_groups",
    "values",
]

FOR, AGAINST = _figures.CATEGORICAL[5], _figures.CATEGORICAL[0]  # vermilion and blue
SYMBOLS = ("circle", "diamond", "square", "triangle-up")
DASHES = ("solid", "dash", "dot", "dashdot", "longdash")
UNCLASSIFIED = "unclassified"
BATCHES = "Pass one label per cell, for instance adata.obs['batch']."
LEAST = 4  # points that a group keeps in a thinned figure


def matrix(table: Any, argument: str, fix: str) -> pd.DataFrame:
    """A table of numbers, looked at: not empty, no text; its names become text.

    Parameters
    ----------
    table
        What was handed over.
    argument
        Its name in the messages.
    fix
        The call that makes the right one.
    """
    import pandas as pd

    _figures.require(table, (), fix, argument)
    if not table.shape[1]:
        _checks.fail(f"`{argument}` has no columns; there is nothing to draw.", fix)
    array = _checks.numeric(f"`{argument}`", table.to_numpy())
    index = table.index.get_level_values(0) if table.index.nlevels > 1 else table.index
    return pd.DataFrame(array, index=[str(i) for i in index], columns=[str(c) for c in table.columns])


def values(what: str, given: Any, n: int | None = None) -> np.ndarray:
    """One number per item as float64, finite.

    Parameters
    ----------
    what
        Name in the messages, with backticks.
    given
        The numbers.
    n
        How many there must be.
    """
    array = _checks.numeric(what, given)
    if array.ndim != 1 or len(array) == 0 or (n is not None and len(array) != n):
        wanted = "one number per item" if n is None else f"{n} numbers, one per item"
        _checks.fail(f"{what} has shape {array.shape}, but must be {wanted}.")
    _checks.finite(what, array)
    return array


def chosen(asked: Sequence[str] | str | None, have: Sequence[str], argument: str) -> list[str]:
    """The names asked for, all by default; refuses what does not exist and an empty list.

    Parameters
    ----------
    asked
        Names, one name, or None.
    have
        All names.
    argument
        Its name in the messages.
    """
    if asked is None:
        return [str(h) for h in have]
    names = [asked] if isinstance(asked, str) else [str(a) for a in asked]
    if not names:
        _checks.fail(
            f"`{argument}` is empty; there is nothing to draw.", f"Available: {_checks.listing(have)}."
        )
    known = {str(h) for h in have}
    for name in names:
        if name not in known:
            _checks.fail(
                f"`{argument}` names {name!r}, which does not exist. Available: {_checks.listing(have)}.",
                _checks.nearest(name, have),
                kind=_checks.MissingKeyError,
            )
    return names


def grouped(
    labels: Any, n: int, argument: str, fix: str = "", names: Sequence[object] | None = None
) -> tuple[list[str], np.ndarray]:
    """Names of the groups in their own order, cells without a label last, and the group of every cell.

    Parameters
    ----------
    labels
        One label per cell: a categorical Series, a list, an array; NaN for none.
    n
        Number of cells.
    argument
        Its name in the messages.
    fix
        What to do where the length is wrong.
    names
        Names of the cells: a Series of labels must have the same, in the same order.
    """
    import pandas as pd

    series = labels if isinstance(labels, pd.Series) else pd.Series(labels)
    if len(series) != n:
        _checks.fail(f"`{argument}` has {len(series)} labels, but there are {n} cells.", fix or BATCHES)
    named = isinstance(labels, pd.Series) and not isinstance(labels.index, pd.RangeIndex)
    if named and names is not None and list(map(str, labels.index)) != list(map(str, names)):
        _checks.fail(
            f"The index of `{argument}` is not that of the cells; the first label is that of {labels.index[0]!r}, the",
            f"first cell {names[0]!r}.",
            f"Order them: `{argument}.loc[adata.obs_names]`.",
        )
    missing = series.isna().to_numpy()
    of = np.where(missing, UNCLASSIFIED, series.astype(str).to_numpy()).astype(str)
    groups = [str(c) for c in series.cat.categories] if hasattr(series, "cat") else sorted(set(of))
    there = set(of)
    groups = [g for g in groups if g in there and g != UNCLASSIFIED]
    return groups + ([UNCLASSIFIED] if UNCLASSIFIED in there else []), of


def group_style(name: str, i: int) -> dict[str, Any]:
    """Colour and symbol of the i-th group; grey crosses for cells without a label."""
    if name == UNCLASSIFIED:
        return {"color": _figures.GREY, "symbol": "x"}
    return {"color": _figures.color(i), "symbol": SYMBOLS[i // len(_figures.CATEGORICAL) % len(SYMBOLS)]}


def thin_groups(of: np.ndarray, most: int = _figures.MAX_POINTS) -> np.ndarray:
    """Sorted indices of at most `most` cells: a random sample, in which no group falls below four of its cells."""
    if len(of) <= most:
        return np.arange(len(of))
    _, code, counts = np.unique(of, return_inverse=True, return_counts=True)
    floor = min(LEAST, max(1, most // len(counts)))
    rank = np.random.default_rng(0).permutation(len(of))
    order = np.lexsort((rank, code))
    place = np.empty(len(of), dtype=np.intp)
    place[order] = np.arange(len(of)) - np.repeat(np.cumsum(counts) - counts, counts)
    kept = place < floor
    rest = np.flatnonzero(~kept)
    more = rest[np.argsort(rank[rest])[: max(0, most - int(kept.sum()))]]
    return np.sort(np.concatenate([np.flatnonzero(kept), more]))[:most]


def heat(
    fig: Figure, table: pd.DataFrame, hover: str, *, text: np.ndarray | None = None, **place: int
) -> None:
    """Draw a table as coloured places, NaN left open; the colours are those of the layout's ``coloraxis``.

    Parameters
    ----------
    fig
        The figure.
    table
        Rows x columns.
    hover
        Template; ``%{z}`` is the value, ``%{text}`` an entry of `text`.
    text
        Written into the places, the same shape.
    place
        Row and column of the panel.
    """
    import plotly.graph_objects as go

    more = {} if text is None else {"text": text, "texttemplate": "%{text}"}
    fig.add_trace(
        go.Heatmap(z=_figures.small(table.to_numpy()), coloraxis="coloraxis", xgap=1, ygap=1, hoverongaps=False,
                   hovertemplate=hover + "<extra></extra>", **more), **place
    )  # fmt: skip
    _figures.name_places(fig, "x", list(table.columns), **place)
    _figures.name_places(fig, "y", list(table.index), **place)


def ranges(arrays: Sequence[np.ndarray] | Mapping[str, np.ndarray], n_bins: int) -> np.ndarray:
    """Edges of `n_bins` equal bins from the lowest to the highest value of all arrays.

    Parameters
    ----------
    arrays
        Values.
    n_bins
        Number of bins.
    """
    every = list(arrays.values()) if isinstance(arrays, Mapping) else list(arrays)
    low, high = min(a.min() for a in every), max(a.max() for a in every)
    return (
        np.linspace(low, high, n_bins + 1) if high > low else np.linspace(low - 0.5, high + 0.5, n_bins + 1)
    )


def histogram(x: np.ndarray, edges: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Density of values as steps: the places of the corners and the heights, for a line of shape "hv".

    Parameters
    ----------
    x
        Values.
    edges
        Edges of equal bins.
    """
    counts, _ = np.histogram(x, edges)
    height = counts / (counts.sum() * np.diff(edges))
    return _figures.small(np.r_[edges[0], edges]), _figures.small(np.r_[0.0, height, 0.0])


def line(fig: Figure, x: np.ndarray, y: np.ndarray, name: str, tone: str, **more: Any) -> None:
    """Draw one line in a panel.

    Parameters
    ----------
    fig
        The figure.
    x, y
        Its points.
    name, tone
        Its name, shared by all lines of the legend entry, and its colour.
    more
        ``row`` and ``col`` of the panel; ``dash`` and ``shape`` of the line; anything else goes to the trace.
    """
    import plotly.graph_objects as go

    place = {"row": more.pop("row"), "col": more.pop("col")}
    style = {
        "color": tone,
        "width": 1.8,
        "dash": more.pop("dash", "solid"),
        "shape": more.pop("shape", "linear"),
    }
    fig.add_trace(
        go.Scatter(x=_figures.small(x), y=_figures.small(y), mode="lines", name=name, legendgroup=name, line=style,
                   hovertemplate="%{y:.3g} at %{x:.3g}<extra>%{fullData.name}</extra>", **more), **place
    )  # fmt: skip


def columns(given: Any, markers: Sequence[str] | None, argument: str) -> tuple[np.ndarray, list[str]]:
    """(cells, markers) values and the names of the columns.

    Parameters
    ----------
    given
        An array, or a table.
    markers
        Names of the columns of an array; of a table they name the columns in its order.
    argument
        Name in the messages.
    """
    if hasattr(given, "columns"):
        markers = [str(c) for c in given.columns] if markers is None else [str(m) for m in markers]
    array = _checks.numeric(f"`{argument}`", given.to_numpy() if hasattr(given, "to_numpy") else given)
    if markers is None:
        _checks.fail(f"`{argument}` is an array, so its columns need names.", "Write markers=model.markers.")
    markers = [str(m) for m in markers]
    if array.ndim != 2 or len(array) == 0 or array.shape[1] != len(markers):
        _checks.fail(
            f"`{argument}` has shape {array.shape}, but must be (cells, {len(markers)} markers).",
            "Pass the values before and after `model.batch_effect_correction()`, and markers=model.markers.",
        )
    _checks.finite(f"`{argument}`", array)
    return array, markers
