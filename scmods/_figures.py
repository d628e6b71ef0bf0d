"""One look for every figure: colours that a colour-blind reader can tell apart, sizes, alt text, shared pieces.

Plotly is imported inside the functions, so that importing a method does not load it.
"""

from __future__ import annotations

import html
import textwrap
from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from scmods import _checks

if TYPE_CHECKING:
    import pandas as pd
    from anndata import AnnData
    from plotly.graph_objects import Figure

__all__ = [
    "AXES",
    "CATEGORICAL",
    "DIVERGING",
    "GREY",
    "MAX_POINTS",
    "SEQUENTIAL",
    "color",
    "color_axis",
    "column",
    "drawn",
    "escaped",
    "figure",
    "groups",
    "legend_on_top",
    "limit",
    "listed",
    "looked_up",
    "marker",
    "name_places",
    "number",
    "panels",
    "plain",
    "require",
    "small",
    "some_rows",
    "thin",
]

# Okabe-Ito order, black replaced by a grey that is visible on both backgrounds, then lighter tints for many classes
CATEGORICAL = (
    "#0072B2", "#E69F00", "#009E73", "#CC79A7", "#56B4E9", "#D55E00", "#8C8C8C", "#B8A800",
    "#7A5195", "#5F9EA0", "#A0522D", "#6B8E23",
)  # fmt: skip
DIVERGING = (
    (0.0, "#2166AC"), (0.25, "#92C5DE"), (0.5, "#E6E6E6"), (0.75, "#F4A582"), (1.0, "#B2182B"),
)  # fmt: skip
SEQUENTIAL = "Cividis"
GREY = "#8C8C8C"  # visible on a light and on a dark page
MAX_POINTS = 600  # keeps a page with all its maps below 300 KB; `thin` draws a reproducible sample
AXES = {"X_umap": "UMAP", "X_pca": "PC", "X_tsne": "t-SNE", "X_diffmap": "DC", "spatial": "Position"}
EVERY = "all cells"


def figure(*, title: str, alt: str, x: str = "", y: str = "", height: int = 450, **layout: Any) -> Figure:
    """An empty figure with the house layout.

    Parameters
    ----------
    title, x, y
        Title and axis titles, with units where there are any.
    alt
        What a reader who cannot see the figure should know; becomes the label of the figure in the book.
    height
        Pixels.
    layout
        Passed on to plotly's ``Layout``.
    """
    import plotly.graph_objects as go

    return go.Figure(
        layout={
            "title": {"text": title, "font": {"size": 16}},
            "meta": {"alt": alt},
            "xaxis": {"title": {"text": x}, "zeroline": False},
            "yaxis": {"title": {"text": y}, "zeroline": False},
            "height": height,
            "margin": {"l": 60, "r": 20, "t": 60, "b": 50},
            "colorway": list(CATEGORICAL),
            "legend": {"itemsizing": "constant"},
            "template": "none",
            **layout,
        }
    )


def thin(n: int, most: int = MAX_POINTS, seed: int = 0) -> np.ndarray:
    """Sorted indices of at most `most` of `n` points, the same for the same `seed`."""
    if n <= most:
        return np.arange(n)
    return np.sort(np.random.default_rng(seed).choice(n, most, replace=False))


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
    whole = f"of the {n} {what}" if what else "of them"
    return "" if shown >= n else f" A random {shown} {whole} are drawn."


def small(values: Any) -> np.ndarray:
    """Single precision, which halves what a page weighs."""
    return np.asarray(values, dtype=np.float32)


def color(i: int) -> str:
    """Colour of the i-th group; they repeat after twelve."""
    return CATEGORICAL[i % len(CATEGORICAL)]


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
                _checks.nearest(name, table.columns),
                fix,
                kind=_checks.MissingKeyError,
            )
    if len(table) == 0:
        _checks.fail(f"`{argument}` has no rows; there is nothing to draw.", fix)


def column(table: pd.DataFrame, name: str) -> np.ndarray:
    """One column of a table as float64."""
    return _checks.numeric(f"Column {name!r}", table[name])


def some_rows(n: int, most: int) -> np.ndarray:
    """At most `most` of `n` rows at equal steps, both ends kept: for curves, where a random sample would wander."""
    return np.arange(n) if n <= most else np.unique(np.linspace(0, n - 1, most).round().astype(int))


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


def looked_up(adata: AnnData, name: str, layer: str | None = None) -> Any:
    """What the argument `color` names: a column of ``obs`` as it is, or a gene of ``X`` or of `layer` as an array."""
    if name in adata.obs:
        return adata.obs[name]
    if name not in adata.var_names:
        have = [*map(str, adata.obs.columns), *map(str, adata.var_names)]
        _checks.fail(
            f"`color` names {name!r}, which is neither a column of `adata.obs` nor a gene.",
            f"Available: {_checks.listing(have)}.",
            _checks.nearest(name, have),
            kind=_checks.MissingKeyError,
        )
    if layer is not None:
        _checks.key(adata, "layers", layer, "Name a layer: layer='...'.")
    values = (adata.X if layer is None else adata.layers[layer])[:, adata.var_names.get_loc(name)]
    return np.asarray(values.toarray() if hasattr(values, "toarray") else values).ravel()


def limit(values: np.ndarray, quantile: float = 1.0) -> float:
    """Largest size to colour; never 0, so that a constant map has a valid scale."""
    size = np.abs(values[np.isfinite(values)])
    return float(np.quantile(size, quantile)) or float(size.max()) or 1.0


def color_axis(high: float, title: str, low: float | None = None) -> dict[str, Any]:
    """Colours from -high to high with grey at 0, or from `low` to `high` in one direction."""
    scale = SEQUENTIAL if low is not None else [list(stop) for stop in DIVERGING]
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


def name_places(
    fig: Figure, axis: str, names: Sequence[object], *, width: int = 60, angle: int = -50, **place: int
) -> Figure:
    """Name the places 0, 1, 2, ... of an axis ("x", or "y" with the first at the top); equal names keep two places.

    Lines of a name are at most `width` letters long; those of "x" are turned by `angle`. `place` is the row and column
    of the panel.
    """
    ticks = {"tickvals": list(range(len(names))), "ticktext": [escaped(n, width) for n in names],
             "automargin": True, "showgrid": False}  # fmt: skip
    if axis == "x":
        return fig.update_xaxes(tickangle=angle, range=[-0.5, len(names) - 0.5], **ticks, **place)
    return fig.update_yaxes(range=[len(names) - 0.5, -0.5], title={"standoff": 8}, **ticks, **place)


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
