"""Pieces that the figures of the chapter share: tables that are checked, groups of cells, boxes, arrows, maps."""

from __future__ import annotations

import html
import textwrap
from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from scmods import _checks, _figures

if TYPE_CHECKING:
    import pandas as pd
    from anndata import AnnData
    from plotly.graph_objects import Figure

__all__ = [
    "GREY",
    "NEGATIVE",
    "POSITIVE",
    "arrows",
    "boxes",
    "color",
    "color_axis",
    "column",
    "drawn",
    "escaped",
    "gene_axis",
    "groups",
    "legend_on_top",
    "limit",
    "listed",
    "map_points",
    "marker",
    "number",
    "one_cluster",
    "obs_values",
    "panels",
    "plain",
    "quartiles",
    "require",
    "small",
    "some_rows",
]

GREY = "#8C8C8C"  # visible on a light and on a dark page
POSITIVE, NEGATIVE = _figures.CATEGORICAL[5], _figures.CATEGORICAL[0]  # vermilion and blue
AXES = {"X_umap": "UMAP", "X_pca": "PC", "X_tsne": "t-SNE", "X_diffmap": "DC", "spatial": "Position"}
EVERY = "all cells"


def number(value: float) -> str:
    """Three significant digits, or "no value" for NaN."""
    return "no value" if not np.isfinite(value) else f"{value:.3g}"


def listed(parts: Iterable[object]) -> str:
    """``a, b and c``."""
    items = [str(p) for p in parts]
    return items[0] if len(items) == 1 else ", ".join(items[:-1]) + " and " + items[-1]


def escaped(text: object, width: int = 30) -> str:
    """The whole text, broken over lines; plotly reads markup, so ``<`` must be written as a character."""
    lines = textwrap.wrap(str(text), width, break_on_hyphens=False) or [""]
    return "<br>".join(html.escape(line, quote=False) for line in lines)


def plain(title: str) -> str:
    """A title without markup, for the alt text."""
    return html.unescape(title.replace("<br>", " "))


def drawn(n: int, shown: int, what: str = "points") -> str:
    """Sentence for the alt text when only some of `n` points are drawn."""
    return "" if shown >= n else f" A random {shown} of the {n} {what} are drawn."


def small(values: Any) -> np.ndarray:
    """Single precision, which halves what a page weighs."""
    return np.asarray(values, dtype=np.float32)


def color(i: int) -> str:
    """Colour of the i-th group; they repeat after twelve."""
    return _figures.CATEGORICAL[i % len(_figures.CATEGORICAL)]


def require(table: Any, needed: Sequence[str], fix: str, argument: str = "table") -> None:
    """Refuse what is not a table, lacks one of the columns `needed`, or has no rows; `fix` makes the right one."""
    if not hasattr(table, "columns"):
        _checks.fail(
            f"`{argument}` is a {type(table).__name__}, but must be a table with the columns",
            f"{_checks.listing(needed)}.",
            fix,
            kind=TypeError,
        )
    for name in needed:
        if name not in table.columns:
            _checks.fail(
                f"`{argument}` has no column {name!r}. Available: {_checks.listing(table.columns)}.",
                _checks.nearest(name, table.columns),
                fix,
                kind=_checks.MissingKeyError,
            )
    if len(table) == 0:
        _checks.fail(f"`{argument}` has no rows; there is nothing to draw.", fix)


def column(table: pd.DataFrame, name: str) -> np.ndarray:
    """One column of a table as float64."""
    return _checks.numeric(f"Column {name!r}", table[name])


def one_cluster(table: pd.DataFrame, cluster: str | None, argument: str = "table") -> pd.DataFrame:
    """The rows of one cluster; it must be named where the table holds several."""
    if "cluster" not in table.columns and cluster is None:
        return table
    require(table, ["cluster"], "Leave out `cluster`.", argument)
    labels = table["cluster"].astype(str)
    names = list(dict.fromkeys(labels))
    if cluster is None and len(names) > 1:
        _checks.fail(
            f"`{argument}` holds {len(names)} clusters: {_checks.listing(names)}.",
            f"Choose one: cluster={names[0]!r}.",
        )
    if cluster is not None and str(cluster) not in names:
        _checks.fail(
            f"`{argument}` has no cluster {str(cluster)!r}. Available: {_checks.listing(names)}.",
            _checks.nearest(str(cluster), names),
            kind=_checks.MissingKeyError,
        )
    return table[labels == (names[0] if cluster is None else str(cluster))]


def gene_axis(fig: Figure, names: Sequence[object]) -> Figure:
    """Name the places 0, 1, 2, ... of the vertical axis, the first at the top; two equal names keep two places."""
    ticks = [escaped(n, 60) for n in names]
    return fig.update_yaxes(
        tickvals=list(range(len(ticks))), ticktext=ticks, range=[len(ticks) - 0.4, -0.6], automargin=True,
        showgrid=False, title={"standoff": 8},
    )  # fmt: skip


def some_rows(n: int, most: int) -> np.ndarray:
    """At most `most` of `n` rows at equal steps, both ends kept: for curves, where a random sample would wander."""
    return np.arange(n) if n <= most else np.unique(np.linspace(0, n - 1, most).round().astype(int))


def obs_values(adata: AnnData, name: str, fix: str) -> np.ndarray:
    """A numeric column of ``obs``, checked to be there and finite."""
    _checks.key(adata, "obs", name, fix)
    what = f"`adata.obs[{name!r}]`"
    values = _checks.numeric(what, adata.obs[name])
    _checks.finite(what, values, adata.obs_names)
    return values


def groups(adata: AnnData, groupby: str | None) -> tuple[list[str], np.ndarray]:
    """Names of the groups in their own order, and the group of every cell; one group without `groupby`."""
    if groupby is None:
        return [EVERY], np.full(adata.n_obs, EVERY)
    _checks.key(adata, "obs", groupby, "Name the column of cell labels: groupby='...'.")
    labels = adata.obs[groupby]
    values = np.where(labels.isna(), "no label", labels.astype(str)).astype(str)
    names = [str(c) for c in labels.cat.categories] if hasattr(labels, "cat") else sorted(set(values))
    there = set(values)
    return [n for n in dict.fromkeys([*names, "no label"]) if n in there], values


def map_points(adata: AnnData, basis: str | None) -> tuple[np.ndarray, list[str]]:
    """Positions of all cells, (cells, 2), and the titles of the two axes; UMAP before PCA unless named."""
    name = basis or next((k for k in ("X_umap", "X_pca") if k in adata.obsm), "X_umap")
    fix = "Run `scanpy.tl.umap(adata)` first, or name a key of `adata.obsm`: basis='X_pca'."
    _checks.key(adata, "obsm", name, fix)
    what = f"`adata.obsm[{name!r}]`"
    xy = _checks.numeric(what, adata.obsm[name])
    if xy.ndim != 2 or xy.shape[1] < 2:
        _checks.fail(
            f"{what} has shape {xy.shape}, but a map needs at least two columns.",
            "Name another basis: basis='X_pca'.",
        )
    _checks.finite(what, xy[:, :2], adata.obs_names)
    word = AXES.get(name, name.removeprefix("X_"))
    return small(xy[:, :2]), [f"{word} 1", f"{word} 2"]


def limit(values: np.ndarray, quantile: float = 1.0) -> float:
    """Largest size to colour; never 0, so that a constant map has a valid scale."""
    size = np.abs(values[np.isfinite(values)])
    return float(np.quantile(size, quantile)) or float(size.max()) or 1.0


def color_axis(high: float, title: str, low: float | None = None) -> dict[str, Any]:
    """Colours from -high to high with grey at 0, or from `low` to `high` in one direction."""
    scale = _figures.SEQUENTIAL if low is not None else [list(stop) for stop in _figures.DIVERGING]
    middle = {} if low is not None else {"cmid": 0.0}
    return {
        "colorscale": scale, "cmin": -high if low is None else low, "cmax": high, **middle,
        "colorbar": {"title": {"text": title, "side": "right"}, "thickness": 14},
    }  # fmt: skip


def marker(n: int, **more: Any) -> dict[str, Any]:
    """Style of one of `n` points: smaller where there are many, with a thin edge that shows pale colours."""
    size = float(np.clip(11 - 2 * np.log10(max(n, 1)), 3.5, 8))
    return {"size": size, "line": {"width": 0.4, "color": GREY}} | more


def panels(
    fig: Figure,
    n: int,
    ncols: int,
    *,
    titles: Sequence[str],
    x: str | Sequence[str] = "",
    y: str = "",
    **more: Any,
) -> list[tuple[int, int]]:
    """Divide `fig` and return the place of each panel; one `x` stands below the columns, several below each panel."""
    cols = min(n, ncols)
    rows = -(-n // cols)
    more = {"horizontal_spacing": 0.09, "vertical_spacing": min(0.2, 0.4 / rows)} | more
    fig.set_subplots(rows, cols, subplot_titles=list(titles), **more)
    fig.update_annotations(font={"size": 13})
    fig.update_xaxes(zeroline=False, title={"text": ""})
    fig.update_yaxes(zeroline=False, title={"text": ""})
    places = [(i // cols + 1, i % cols + 1) for i in range(n)]
    for i, (row, col) in enumerate(places):
        if not isinstance(x, str):
            fig.update_xaxes(title={"text": x[i], "standoff": 4}, row=row, col=col)
        elif i + cols >= n:
            fig.update_xaxes(title={"text": x}, row=row, col=col)
        if col == 1:
            fig.update_yaxes(title={"text": y}, row=row, col=col)
    return places


def legend_on_top(fig: Figure, lines: int = 1, above: int = 0) -> Figure:
    """Put the legend between title and drawing, so that narrow pages keep their width for the drawing.

    `lines` is the room for the legend, `above` the pixels that titles of panels take below it.
    """
    top, height = 60 + 20 * lines + above, fig.layout.height or 450
    y = 1 + (above + 6) / max(50, height - top - fig.layout.margin.b)
    fig.update_layout(
        legend={"orientation": "h", "x": 0, "y": y, "yanchor": "bottom"},
        margin={"t": top},
        title={"y": 1 - 14 / height, "yref": "container", "yanchor": "top"},
    )
    return fig


def quartiles(values: np.ndarray) -> np.ndarray:
    """5 %, 25 %, 50 %, 75 % and 95 % quantile."""
    return np.quantile(values, [0.05, 0.25, 0.5, 0.75, 0.95])


def boxes(
    fig: Figure, values: Mapping[str, np.ndarray], names: Sequence[str], *, row: int, col: int
) -> dict[str, float]:
    """Draw one lying box per group from its quantiles, and return the medians; `names` label the groups, top down."""
    import plotly.graph_objects as go

    found = np.array([quartiles(some) for some in values.values()])
    groups = list(values)
    # one colour per group as in the other figures; many groups share one trace, which weighs less
    parts = [[i] for i in range(len(groups))] if len(groups) <= 12 else [list(range(len(groups)))]
    for part in parts:
        stats = dict(zip(("lowerfence", "q1", "median", "q3", "upperfence"), found[part].T, strict=True))
        fig.add_trace(
            go.Box(y=part, orientation="h", showlegend=False, width=0.6, marker={"color": color(part[0])},
                   name=escaped(groups[part[0]]) if len(part) == 1 else "", line={"width": 1.5},
                   **{k: [float(f"{v:.6g}") for v in values] for k, values in stats.items()}),
            row=row, col=col,
        )  # fmt: skip
    ticks = {"tickvals": list(range(len(values))), "ticktext": list(names)}
    fig.update_yaxes(range=[len(values) - 0.4, -0.6], automargin=True, row=row, col=col, **ticks)
    return dict(zip(groups, found[:, 2].tolist(), strict=True))


def arrows(start: np.ndarray, end: np.ndarray, *, size: int = 8, **style: Any) -> Any:
    """One trace of straight arrows from `start` to `end`, (arrows, 2) each."""
    import plotly.graph_objects as go

    # start, end, gap; the head is a marker that plotly turns into the direction of the line before it
    path = np.full((len(start), 3, 2), np.nan, dtype=np.float32)
    path[:, 0], path[:, 1] = start, end
    heads = np.tile(np.array([0, size, 0], dtype=np.uint8), len(start))
    style = {"mode": "lines+markers", "hoverinfo": "skip", "showlegend": False} | style
    tone = style.pop("tone", GREY)
    return go.Scatter(
        x=path[:, :, 0].ravel(), y=path[:, :, 1].ravel(), line={"color": tone, "width": style.pop("width", 1.2)},
        marker={"symbol": "arrow", "angleref": "previous", "size": heads, "color": tone, "opacity": 1,
                "line": {"width": 0}},
        **style,
    )  # fmt: skip
