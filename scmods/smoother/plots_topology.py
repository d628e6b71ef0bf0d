"""Persistence bars of a field: which the prior allows, which the loss counts, and where they are."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from scmods import _checks, _figures
from scmods.smoother import plots_spots as maps

if TYPE_CHECKING:
    import pandas as pd
    from anndata import AnnData
    from plotly.graph_objects import Figure

__all__ = ["plot_field_with_bars", "plot_persistence"]

FIX = "Pass the table of `smoother.persistence(field, smoother.triangulate(coords))`."
MOST_BARS = 40
WORDS = {0: ("component", "Components"), 1: ("hole", "Holes")}
ALLOWED, COUNTED = ("allowed", 0), ("in the loss", 5)


def plot_persistence(
    bars: pd.DataFrame,
    *,
    components: int | None = None,
    holes: int | None = None,
    title: str = "Persistence of components and holes",
) -> Figure:
    """Bars of a field from the value of birth down to that of death, longest first.

    Parameters
    ----------
    bars
        Table of `persistence`: ``dimension`` (0 components, 1 holes), ``birth``, ``death``.
    components
        How many components are expected. The one that holds the highest value never ends and is not among the bars,
        unless the table lists it with death minus infinity; so this number less one of the longest bars is allowed.
        By default none is marked.
    holes
        How many holes are expected; as many of the longest bars are allowed.
    title
        Title of the figure.

    Returns
    -------
    Figure with a panel per dimension that has bars; the 40 longest are drawn. Allowed bars are blue, wide and have
    round ends, those that the topological loss counts are vermilion.

    Raises
    ------
    MissingKeyError, TypeError, ValueError
        If `bars` is not such a table, or a number is not at least 1 (components) or 0 (holes).

    Examples
    --------
    >>> import numpy as np
    >>> from scmods import smoother
    >>> xy = np.array([[0, 0], [1, 0], [2, 0], [0, 1], [1, 1], [2, 1]])
    >>> field = np.array([3.0, 1.0, 2.0, 0.0, 0.0, 0.0])
    >>> bars = smoother.persistence(field, smoother.triangulate(xy))
    >>> fig = smoother.plot_persistence(bars, components=1)
    >>> fig.layout.title.text
    'Persistence of components and holes'
    """
    parts = _parts(bars, components, holes)
    fig = _figures.figure(title=title, alt="", height=470)
    where = _figures.panels(fig, len(parts), 2, titles=[WORDS[d][1] for d in parts], x="Value of the field", y="Bar",
                            horizontal_spacing=0.08)  # fmt: skip
    shown: set[str] = set()
    for (birth, death, free), (row, col) in zip(parts.values(), where, strict=True):
        _add_bars(fig, birth, death, free, shown, row=row, col=col)
    marked = components is not None or holes is not None
    alt = f"{title}: {'; '.join(_told(d, *part, marked=marked) for d, part in parts.items())}."
    fig.update_layout(meta={"alt": alt}, showlegend=marked)
    return _figures.legend_on_top(fig, above=18)


def plot_field_with_bars(
    field: np.ndarray,
    xy: AnnData | np.ndarray,
    bars: pd.DataFrame,
    *,
    components: int | None = None,
    label: str = "Value",
    spatial_key: str = "spatial",
    y_down: bool = False,
    title: str = "Peaks of the field",
) -> Figure:
    """A field on the tissue with the spots where its components begin, and their bars beside it.

    Parameters
    ----------
    field
        One value per spot.
    xy
        Coordinates (spots, 2), or annotated data that hold them.
    bars
        Table of `persistence` for this field, with ``birth_spot``.
    components
        How many components are expected, as for `plot_persistence`.
    label
        What the values are.
    spatial_key
        Key of the coordinates in ``obsm``.
    y_down
        The second coordinate grows downwards.
    title
        Title of the figure.

    Returns
    -------
    Figure with a map and the bars of dimension 0. The highest spot is a star; the peaks of the 40 longest bars are
    triangles, filled where they are allowed.

    Raises
    ------
    MissingKeyError, TypeError, ValueError
        If `bars` is not such a table or of another field, or lengths differ.

    Examples
    --------
    >>> import numpy as np
    >>> from scmods import smoother
    >>> xy = np.array([[0, 0], [1, 0], [2, 0], [0, 1], [1, 1], [2, 1]])
    >>> field = np.array([3.0, 1.0, 2.0, 0.0, 0.0, 0.0])
    >>> bars = smoother.persistence(field, smoother.triangulate(xy))
    >>> fig = smoother.plot_field_with_bars(field, xy, bars)
    >>> fig.layout.title.text
    'Peaks of the field'
    """
    spots, _ = maps.read_spots(xy, spatial_key, y_down=y_down)
    values = maps.of_spots("`field`", field, spots.n)
    _figures.require(bars, ["birth_spot"], FIX, "bars")
    at = _checks.numeric("Column 'birth_spot'", bars["birth_spot"]).astype(int)
    if at.min() < 0 or at.max() >= spots.n:
        _checks.fail(
            f"`bars` names spots from {at.min()} to {at.max()}, but there are {spots.n}.",
            "Pass the bars of this field on these spots.",
        )
    part = _parts(bars[_checks.numeric("Column 'dimension'", bars["dimension"]) == 0], components, None)[0]
    peaks = at[_order(bars, 0)]
    scale = maps.scale_of([values], label, diverging=False, quantile=1.0, exact=True)
    axis = scale.axis()
    axis["colorbar"] |= {"x": 0.5, "xanchor": "left"}
    fig = _figures.figure(title=title, alt="", coloraxis=axis)
    where, keep, style = maps.map_panels(fig, spots, 1, 2, titles=["", ""], extra=1)
    fig.update_xaxes(domain=[0, 0.48], row=1, col=1)
    fig.update_xaxes(domain=[0.68, 1], title={"text": label}, row=1, col=2)
    maps.add_map(fig, spots, values, scale, keep, style, label, row=1, col=1)
    _add_peaks(fig, spots, peaks, part[2], int(np.nanargmax(values)))
    shown: set[str] = set()
    _add_bars(fig, *part, shown, row=1, col=2)
    fig.update_yaxes(title={"text": "Bar"}, row=1, col=2)
    told = _told(0, *part, marked=components is not None)
    alt = f"{title}: map of {spots.n} spots, highest {_figures.number(np.nanmax(values))}, and {told}."
    fig.update_layout(meta={"alt": alt + maps.drawn(spots, keep)}, showlegend=True,
                      height=max(430, fig.layout.height))  # fmt: skip
    return _figures.legend_on_top(fig, 2)


def _order(bars: pd.DataFrame, dimension: int) -> np.ndarray:
    """Rows of one dimension, longest bar first."""
    birth, death = _figures.column(bars, "birth"), _figures.column(bars, "death")
    rows = np.flatnonzero(_figures.column(bars, "dimension") == dimension)
    return rows[np.argsort(-(birth - death)[rows], kind="stable")]


def _parts(
    bars: Any, components: int | None, holes: int | None
) -> dict[int, tuple[np.ndarray, np.ndarray, np.ndarray]]:
    """Birth, death and whether a bar is allowed, by dimension, longest first."""
    _figures.require(bars, ["dimension", "birth", "death"], FIX, "bars")
    expected = {
        0: None if components is None else _checks.integer("components", components, 1),
        1: None if holes is None else _checks.integer("holes", holes, 0),
    }
    out = {}
    for dimension, number in expected.items():
        rows = _order(bars, dimension)
        birth, death = _figures.column(bars, "birth")[rows], _figures.column(bars, "death")[rows]
        if not (birth >= death).all():
            _checks.fail("`bars` holds bars whose death is above their birth; bars run downwards.", FIX)
        if len(rows):
            # the component of the highest value is expected, and has no bar or an endless one
            endless = int(np.isneginf(death).sum())
            allowed = 0 if number is None else max(number - (dimension == 0 and endless == 0), endless)
            out[dimension] = (
                birth,
                death,
                (np.arange(len(rows)) < allowed if number is not None else np.ones(len(rows), bool)),
            )
    if not out:
        _checks.fail("`bars` holds no bars of dimension 0 or 1.", FIX)
    return out


def _add_bars(
    fig: Figure, birth: np.ndarray, death: np.ndarray, free: np.ndarray, shown: set[str], **place: int
) -> None:
    import plotly.graph_objects as go

    birth, death, free = birth[:MOST_BARS], death[:MOST_BARS], free[:MOST_BARS]
    ends = death[np.isfinite(death)]
    low = float(min(ends.min(initial=np.inf), birth.min()))
    death = np.where(np.isfinite(death), death, low - 0.05 * (birth.max() - low))
    y = np.arange(len(birth)) + 1.0
    for rows, (name, tone), width, mode in (
        (free, ALLOWED, 5, "lines+markers"),
        (~free, COUNTED, 2.5, "lines"),
    ):
        if rows.any():
            gap = np.full(rows.sum(), np.nan)
            fig.add_trace(
                go.Scatter(x=_figures.small(np.stack([birth[rows], death[rows], gap], 1).ravel()),
                           y=_figures.small(np.stack([y[rows], y[rows], gap], 1).ravel()), mode=mode,
                           line={"color": _figures.color(tone), "width": width}, name=f"bar, {name}", legendgroup=name,
                           marker={"size": 1.6 * width}, showlegend=name not in shown,
                           hovertemplate="%{x:.3g}<extra></extra>"), **place
            )  # fmt: skip
            shown.add(name)
    pad = 0.05 * (float(birth.max()) - float(death.min()) or 1.0)
    fig.update_xaxes(range=[float(death.min()) - pad, float(birth.max()) + pad], **place)
    fig.update_yaxes(range=[len(birth) + 0.8, 0.2], showgrid=False, nticks=6, **place)


def _add_peaks(fig: Figure, spots: maps.Spots, peaks: np.ndarray, free: np.ndarray, top: int) -> None:
    import plotly.graph_objects as go

    peaks, free = peaks[:MOST_BARS], free[:MOST_BARS]
    away = peaks != top
    marks = (
        (np.array([top]), "highest spot", "star", 15, "#FFFFFF"),
        (peaks[free & away], "peak, allowed", "triangle-up", 11, "#FFFFFF"),
        (peaks[~free & away], "peak, in the loss", "triangle-up-open", 9, _figures.color(COUNTED[1])),
    )
    for rows, name, symbol, size, tone in marks:
        if len(rows):
            edge = {"width": 1.5, "color": "#222222" if tone == "#FFFFFF" else tone}
            fig.add_trace(
                go.Scatter(x=spots.x[rows], y=spots.y[rows], mode="markers", name=name,
                           marker={"symbol": symbol, "size": size, "color": tone, "line": edge},
                           hovertemplate=f"{name}<extra></extra>"), row=1, col=1
            )  # fmt: skip


def _told(dimension: int, birth: np.ndarray, death: np.ndarray, free: np.ndarray, *, marked: bool) -> str:
    word, n = WORDS[dimension][0], len(birth)
    length = np.where(np.isfinite(death), birth - np.where(np.isfinite(death), death, 0), np.inf)
    text = f"{n} bars of {word}s, the longest "
    text += _figures.listed("endless" if np.isinf(v) else _figures.number(v) for v in length[:3])
    if marked:
        rest = _figures.number(length[~free].sum())
        text += f"; {int(free.sum())} allowed, the other {int((~free).sum())} sum to {rest}"
    return text + ("" if n <= MOST_BARS else f" ({MOST_BARS} drawn)")
