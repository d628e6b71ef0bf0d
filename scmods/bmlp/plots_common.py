"""Pieces that the figures of the chapter share: points of a map, tables that are checked, groups of bars."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

import numpy as np

from scmods import _checks, _figures
from scmods._figures import AXES, GREY, color_axis, column, listed, marker, number, require
from scmods.bmlp.keys import FreqKeys

if TYPE_CHECKING:
    from anndata import AnnData
    from plotly.graph_objects import Figure

__all__ = [
    "GREY",
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


def wrapped(text: object, width: int = 40) -> str:
    """The whole text, broken over lines for plotly; nothing is cut, and ``<`` stays a character."""
    return _figures.escaped(text, width)


def sentence(text: str) -> str:
    """The text with a full stop, unless it ends in a mark already."""
    return text if text.endswith((".", "?", "!")) else f"{text}."


def drawn(n: int, shown: int) -> str:
    """Sentence for the alt text when only some of `n` points are drawn."""
    return _figures.drawn(n, shown, what="")


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


def grid(n: int, ncols: int) -> tuple[int, int, list[tuple[int, int]]]:
    """Rows, columns and the places, counted from 1, of `n` panels."""
    cols = min(n, ncols)
    return -(-n // cols), cols, [(i // cols + 1, i % cols + 1) for i in range(n)]


def panels(fig: Figure, n: int, ncols: int, titles: Sequence[str], x: str, y: str) -> list[tuple[int, int]]:
    """Divide `fig` into panels; axis titles stand at the left and below the last panel of every column."""
    gap = min(0.16, 0.3 / grid(n, ncols)[0])
    return _figures.panels(
        fig, n, ncols, titles=titles, x=x, y=y, horizontal_spacing=0.07, vertical_spacing=gap
    )


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
