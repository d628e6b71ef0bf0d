"""Pieces that the figures of the chapter share: tables that are checked, groups of cells, boxes, arrows, maps."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from scmods import _checks, _figures
from scmods._figures import (
    AXES,
    GREY,
    color,
    color_axis,
    column,
    drawn,
    escaped,
    groups,
    legend_on_top,
    limit,
    listed,
    marker,
    number,
    panels,
    plain,
    require,
    small,
    some_rows,
)

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

POSITIVE, NEGATIVE = _figures.CATEGORICAL[5], _figures.CATEGORICAL[0]  # vermilion and blue


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


def obs_values(adata: AnnData, name: str, fix: str) -> np.ndarray:
    """A numeric column of ``obs``, checked to be there and finite."""
    _checks.key(adata, "obs", name, fix)
    what = f"`adata.obs[{name!r}]`"
    values = _checks.numeric(what, adata.obs[name])
    _checks.finite(what, values, adata.obs_names)
    return values


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
