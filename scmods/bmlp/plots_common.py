"""Pieces that the figures of the chapter share: points of a map, tables that are checked, groups of bars."""

from __future__ import annotations

import html
import textwrap
from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from scmods import _checks, _figures
from scmods.bmlp.keys import FreqKeys

if TYPE_CHECKING:
    import pandas as pd
    from anndata import AnnData
    from plotly.graph_objects import Figure

__all__ = [
    "add_bars",
    "add_chance",
    "chosen",
    "color_axis",
    "column",
    "drawn",
    "grid",
    "legend_on_top",
    "listed",
    "marker",
    "number",
    "panels",
    "places",
    "points",
    "require",
    "sentence",
    "wrapped",
]

GREY = "#8C8C8C"  # visible on a light and on a dark page
AXES = {"X_umap": "UMAP", "X_pca": "PC", "X_tsne": "t-SNE", "X_diffmap": "DC", "spatial": "Position"}


def number(value: float) -> str:
    """Three significant digits without exponent where possible, or "no value" for NaN."""
    return "no value" if not np.isfinite(value) else f"{value:.3g}"


def listed(parts: Iterable[object]) -> str:
    """``a, b and c``."""
    items = [str(p) for p in parts]
    return items[0] if len(items) == 1 else ", ".join(items[:-1]) + " and " + items[-1]


def wrapped(text: object, width: int = 40) -> str:
    """The whole text, broken over lines for plotly; nothing is cut, and ``<`` stays a character."""
    lines = textwrap.wrap(str(text), width, break_on_hyphens=False) or [""]
    return "<br>".join(html.escape(line, quote=False) for line in lines)


def sentence(text: str) -> str:
    """The text with a full stop, unless it ends in a mark already."""
    return text if text.endswith((".", "?", "!")) else f"{text}."


def drawn(n: int, shown: int) -> str:
    """Sentence for the alt text when only some of `n` points are drawn."""
    return "" if shown == n else f" A random {shown} of them are drawn."


def require(table: Any, needed: Sequence[str], fix: str, argument: str = "table") -> None:
    """Refuse what is not a table, lacks one of the columns `needed`, or has no rows; `fix` makes the right one."""
    if not hasattr(table, "columns"):
        with_columns = f" with the columns {_checks.listing(needed)}" if needed else ""
        kind = type(table).__name__
        _checks.fail(f"`{argument}` is a {kind}, but must be a table{with_columns}.", fix, kind=TypeError)
    for name in needed:
        if name not in table.columns:
            _checks.fail(
                f"`{argument}` has no column {name!r}. Available: {_checks.listing(table.columns)}.",
                fix,
                kind=_checks.MissingKeyError,
            )
    if len(table) == 0:
        _checks.fail(f"`{argument}` has no rows; there is nothing to draw.", fix)


def column(table: pd.DataFrame, name: str) -> np.ndarray:
    """One column of a table as float64."""
    return _checks.numeric(f"Column {name!r}", table[name])


def chosen(outputs: int | Sequence[int] | None, total: int, argument: str = "outputs") -> list[int]:
    """Numbers of outputs: all by default, otherwise those given, each checked against `total`."""
    if outputs is None:
        return list(range(total))
    given = [outputs] if np.ndim(outputs) == 0 else list(outputs)
    if not given:
        _checks.fail(f"`{argument}` is empty; there is nothing to draw.", f"Write {argument}=[0].")
    why = f"There are {total}, counted from 0."
    return [_checks.integer(argument, o, 0, total - 1, why) for o in given]


def points(adata: AnnData, basis: str | None, key_added: str = "freq") -> tuple[np.ndarray, list[str]]:
    """Positions of all cells, (cells, 2) float32, and the titles of the two axes.

    Without `basis`: UMAP if it is stored, else principal components, else the first two frequencies.
    """
    own = FreqKeys(key_added).vectors
    name = basis or next((k for k in ("X_umap", "X_pca") if k in adata.obsm), own)
    fix = "Run `bmlp.frequencies(adata)` first." if basis is None else "Name a key of `adata.obsm`."
    _checks.key(adata, "obsm", name, fix)
    what = f"`adata.obsm[{name!r}]`"
    xy = _checks.numeric(what, adata.obsm[name])
    if xy.ndim != 2 or xy.shape[1] < 2:
        _checks.fail(
            f"{what} has shape {xy.shape}, but a map needs at least two columns.",
            "Name another basis, such as basis='X_pca'.",
        )
    _checks.finite(what, xy[:, :2], adata.obs_names)
    if name == own:
        return xy[:, :2].astype(np.float32), ["Frequency 0", "Frequency 1"]
    word = AXES.get(name, name.removeprefix("X_"))
    return xy[:, :2].astype(np.float32), [f"{word} 1", f"{word} 2"]


def marker(n: int, **more: Any) -> dict[str, Any]:
    """Style of one of `n` points: smaller where there are many, with a thin edge that shows pale colours."""
    size = float(np.clip(11 - 2 * np.log10(max(n, 1)), 3.5, 8))
    return {"size": size, "line": {"width": 0.4, "color": GREY}} | more


def color_axis(limit: float, title: str, low: float | None = None) -> dict[str, Any]:
    """Colours from -limit to limit with grey at 0, or from `low` to `limit` in one direction."""
    scale = _figures.SEQUENTIAL if low is not None else [list(stop) for stop in _figures.DIVERGING]
    middle = {} if low is not None else {"cmid": 0.0}
    return {
        "colorscale": scale, "cmin": -limit if low is None else low, "cmax": limit, **middle,
        "colorbar": {"title": {"text": title, "side": "right"}, "thickness": 14},
    }  # fmt: skip


def grid(n: int, ncols: int) -> tuple[int, int, list[tuple[int, int]]]:
    """Rows, columns and the places, counted from 1, of `n` panels."""
    cols = min(n, ncols)
    return -(-n // cols), cols, [(i // cols + 1, i % cols + 1) for i in range(n)]


def panels(fig: Figure, n: int, ncols: int, titles: Sequence[str], x: str, y: str) -> list[tuple[int, int]]:
    """Divide `fig` into panels; axis titles stand at the left and below the last panel of every column."""
    rows, cols, where = grid(n, ncols)
    fig.set_subplots(rows, cols, subplot_titles=list(titles), horizontal_spacing=0.07,
                     vertical_spacing=min(0.16, 0.3 / rows))  # fmt: skip
    fig.update_annotations(font={"size": 13})
    fig.update_xaxes(zeroline=False, title={"text": ""})
    fig.update_yaxes(zeroline=False, title={"text": ""})
    for i, (row, col) in enumerate(where):
        if i + cols >= n:
            fig.update_xaxes(title={"text": x}, row=row, col=col)
        if col == 1:
            fig.update_yaxes(title={"text": y}, row=row, col=col)
    return where


def legend_on_top(fig: Figure) -> Figure:
    """Put the legend between title and drawing, so that narrow pages keep their width for the drawing."""
    fig.update_layout(
        legend={"orientation": "h", "x": 0, "y": 1.02, "yanchor": "bottom"},
        margin={"t": 100},
        title={"y": 0.97, "yref": "container", "yanchor": "top"},
    )
    return fig


def places(n_places: int, n_groups: int) -> tuple[np.ndarray, float]:
    """Centres, (groups, places), of grouped bars around 0, 1, 2, ..., and their width."""
    width = 0.8 / n_groups
    shift = (np.arange(n_groups) - (n_groups - 1) / 2) * width
    return np.arange(n_places) + shift[:, None], width


def add_bars(
    fig: Figure, heights: Mapping[str, np.ndarray], ticks: Sequence[str], label: str
) -> tuple[np.ndarray, float]:
    """Draw one group of bars per name; returns the centres of the bars and their width."""
    import plotly.graph_objects as go

    centres, width = places(len(ticks), len(heights))
    for i, (name, values) in enumerate(heights.items()):
        color = _figures.CATEGORICAL[i % len(_figures.CATEGORICAL)]
        fig.add_trace(
            go.Bar(
                x=centres[i].astype(np.float32), y=np.asarray(values, np.float32), width=0.92 * width,
                name=wrapped(name), customdata=list(ticks), marker={"color": color},
                hovertemplate="%{customdata}<br>" + f"{label} " + "%{y:.3f}<extra>%{fullData.name}</extra>",
            )
        )  # fmt: skip
    fig.update_xaxes(tickvals=list(range(len(ticks))), ticktext=list(ticks))
    return centres, width


def add_chance(fig: Figure, centres: np.ndarray, width: float, chance: np.ndarray, name: str) -> None:
    """Draw a dashed line at the chance level across each bar."""
    import plotly.graph_objects as go

    centres, chance = np.ravel(centres), np.ravel(chance)
    gap = np.full(len(chance), np.nan)
    fig.add_trace(
        go.Scatter(
            x=np.stack([centres - width / 2, centres + width / 2, gap], 1).ravel().astype(np.float32),
            y=np.stack([chance, chance, gap], 1).ravel().astype(np.float32),
            mode="lines", name=name, line={"color": _figures.CATEGORICAL[5], "width": 2, "dash": "dot"},
            hovertemplate=name + " %{y:.3f}<extra></extra>",
        )
    )  # fmt: skip
