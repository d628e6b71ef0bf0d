"""Figures of what the fit says about edges and regulators: losses, intervals, agreement of halves."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from scmods import _checks, _figures
from scmods.hopfield import plots_common as common

if TYPE_CHECKING:
    import pandas as pd
    from plotly.graph_objects import Figure

__all__ = ["plot_intervals", "plot_knock_outs", "plot_split_half"]

HALVES = {
    "correlation": "Correlation of the interactions",
    "correlation_effect": "Correlation of the standardised effects",
    "same_sign": "Share of edges of equal sign",
}
SYMBOLS = ("circle", "diamond", "square", "triangle-up", "x", "cross")


def plot_knock_outs(
    table: pd.DataFrame, *, n_genes: int = 20, cluster: str | None = None, title: str | None = None
) -> Figure:
    """Regulators (or targets) by the size of the first-order response to a loss.

    Parameters
    ----------
    table
        Table of `knock_out_ranking`: ``regulator`` or ``target``, ``size``, and ``cluster``.
    n_genes
        Number of genes, those with the largest mean over the clusters.
    cluster
        Only this cluster.
    title
        Title of the figure.

    Returns
    -------
    Figure with a lying bar per gene, the mean over the clusters, and a point per cluster.

    Raises
    ------
    MissingKeyError, TypeError, ValueError
        If `table` is not such a table or has no such cluster.

    Examples
    --------
    >>> from scmods import hopfield
    >>> adata = hopfield.toggle(5, 8)
    >>> field = hopfield.fit(adata)
    >>> fig = hopfield.plot_knock_outs(hopfield.knock_out_ranking(adata))
    >>> len(fig.data) > 0
    True
    """
    import plotly.graph_objects as go

    _checks.integer("n_genes", n_genes)
    by = "target" if "target" in getattr(table, "columns", ()) else "regulator"
    common.require(table, [by, "size", "cluster"], "Pass the table of `hopfield.knock_out_ranking(adata)`.")
    table = table.assign(**{by: table[by].astype(str), "cluster": table["cluster"].astype(str)})
    clusters = list(dict.fromkeys(table["cluster"]))
    if cluster is not None:
        table = common.one_cluster(table, cluster)
    many = table["cluster"].nunique() > 1
    mean = table.groupby(by, sort=False)["size"].mean().sort_values(ascending=False, kind="stable")[:n_genes]
    title = title or (
        f"Response to the loss of each {by}" if by == "regulator" else "Response of each target to losses"
    )
    title += f", {common.escaped(cluster)}" if cluster is not None else ""
    top = common.listed(f"{g} ({common.number(v)})" for g, v in mean[:3].items())
    fig = _figures.figure(
        title=title, x="Length of the response (unit of the velocity)", y=by.capitalize(),
        alt=f"{common.plain(title)}: bars of {len(mean)} of {table[by].nunique()} {by}s"
        + (f", mean over {table['cluster'].nunique()} clusters" if many else "") + f". Largest: {top}.",
        height=170 + 20 * len(mean),
    )  # fmt: skip
    y = np.arange(len(mean), dtype=np.float32)
    fig.add_trace(
        go.Bar(x=common.small(mean), y=y, orientation="h", marker={"color": common.GREY, "opacity": 0.5},
               name="mean over the clusters", customdata=[common.escaped(g) for g in mean.index], showlegend=many,
               hovertemplate="%{customdata}: %{x:.3g}<extra></extra>")
    )  # fmt: skip
    for name, part in table.groupby("cluster", sort=False) if many else ():
        i, sizes = clusters.index(name), part.groupby(by)["size"].mean().reindex(mean.index)
        fig.add_trace(
            go.Scatter(x=common.small(sizes), y=y, mode="markers", name=common.escaped(name), showlegend=True,
                       marker={"size": 7, "color": common.color(i), "symbol": SYMBOLS[i // 12 % len(SYMBOLS)]},
                       hovertemplate="%{x:.3g}<extra>%{fullData.name}</extra>")
        )  # fmt: skip
    return common.legend_on_top(common.gene_axis(fig, mean.index), 1 + len(clusters) // 4)


def plot_intervals(
    table: pd.DataFrame, *, n_edges: int = 30, cluster: str | None = None, title: str | None = None
) -> Figure:
    """The strongest edges with their intervals, sorted by value.

    Parameters
    ----------
    table
        Table of `edge_intervals`: ``regulator``, ``target``, ``low``, ``high`` and ``effect`` or ``weight``.
    n_edges
        Number of edges, the largest in size.
    cluster
        Only this cluster; needed where the table holds several.
    title
        Title of the figure.

    Returns
    -------
    Figure with a point and its interval per edge, "regulator → target". Filled points: the interval leaves 0 out.

    Raises
    ------
    MissingKeyError, TypeError, ValueError
        If `table` is not such a table, has no such cluster, or several and none is named.

    Examples
    --------
    >>> from scmods import hopfield
    >>> adata = hopfield.toggle(5, 8)
    >>> fig = hopfield.plot_intervals(hopfield.edge_intervals(adata, n_resamples=3))
    >>> len(fig.data) > 0
    True
    """
    import plotly.graph_objects as go

    _checks.integer("n_edges", n_edges)
    value = "effect" if "effect" in getattr(table, "columns", ()) else "weight"
    fix = "Pass the table of `hopfield.edge_intervals(adata)`."
    common.require(table, ["regulator", "target", value, "low", "high"], fix)
    table = common.one_cluster(table, cluster)
    part = table.loc[table[value].abs().sort_values(ascending=False, kind="stable").index[:n_edges]]
    part = part.sort_values(value, ascending=False, kind="stable")
    v, low, high = (common.column(part, c) for c in (value, "low", "high"))
    names = [f"{r} → {t}" for r, t in zip(part["regulator"], part["target"], strict=True)]
    sure = (low > 0) | (high < 0)
    title = title or (
        "Edges with intervals" + (f", {common.escaped(cluster)}" if cluster is not None else "")
    )
    unit = "Standardised effect" if value == "effect" else "Weight (unit of the velocity)"
    fig = _figures.figure(
        title=title, x=unit, y="Regulator → target", height=170 + 20 * len(part),
        alt=f"{common.plain(title)}: {len(part)} of {len(table)} edges, regulator to target, with intervals. "
        f"{int(sure.sum())} of them leave out 0. Highest: {_interval(names, v, low, high, 0)}; lowest: "
        f"{_interval(names, v, low, high, -1)}.",
    )  # fmt: skip
    for kind, name, symbol, tone in (
        (sure, "interval without 0", "circle", common.NEGATIVE),
        (~sure, "interval with 0", "circle-open", common.GREY),
    ):
        y = np.flatnonzero(kind)
        if len(y):
            bars = {"type": "data", "symmetric": False, "array": common.small((high - v)[y]),
                    "arrayminus": common.small((v - low)[y]), "color": tone, "thickness": 1.5}  # fmt: skip
            fig.add_trace(
                go.Scatter(x=common.small(v[y]), y=common.small(y), mode="markers", name=name, error_x=bars,
                           showlegend=True, marker={"size": 8, "symbol": symbol, "color": tone},
                           hovertemplate="%{x:.3g}<extra></extra>")
            )  # fmt: skip
    fig.add_vline(x=0, line={"dash": "dash", "width": 1.5, "color": common.GREY})
    return common.legend_on_top(common.gene_axis(fig, names))


def _interval(names: list[str], v: np.ndarray, low: np.ndarray, high: np.ndarray, i: int) -> str:
    return f"{names[i]} {common.number(v[i])} ({common.number(low[i])} to {common.number(high[i])})"


def plot_split_half(
    table: pd.DataFrame,
    *,
    value: str = "correlation",
    baseline: float | None = None,
    title: str = "Agreement of two halves of the cells",
) -> Figure:
    """Correlation of the interactions fitted on two halves of the cells, by cluster.

    Parameters
    ----------
    table
        Table of `split_half`: ``cluster`` and `value`, one row per split; with a column ``method``, where tables of
        several fits are stacked, every method has its own colour.
    value
        Column to show: ``"correlation"`` of the weights, ``"correlation_effect"`` or ``"same_sign"``.
    baseline
        A correlation to compare with, drawn as a dashed line.
    title
        Title of the figure.

    Returns
    -------
    Figure with a point per split, in a row per cluster, and a bar at the mean.

    Raises
    ------
    MissingKeyError, TypeError, ValueError
        If `table` is not such a table.

    Examples
    --------
    >>> from scmods import hopfield
    >>> adata = hopfield.toggle(5, 8)
    >>> fig = hopfield.plot_split_half(hopfield.split_half(adata, n_splits=2))
    >>> fig.layout.title.text
    'Agreement of two halves of the cells'
    """
    import plotly.graph_objects as go

    common.require(table, ["cluster", value], "Pass the table of `hopfield.split_half(adata)`.")
    clusters = list(dict.fromkeys(table["cluster"].astype(str)))
    column = (
        table["method"].astype(str) if "method" in table.columns else table["cluster"].map(lambda _: "fit")
    )
    methods = list(dict.fromkeys(column))
    values = {
        (c, m): common.column(table[(table["cluster"].astype(str) == c) & (column == m)], value)
        for c in clusters
        for m in methods
    }
    means = {m: np.nanmean(common.column(table[column == m], value)) for m in methods}
    told = ", ".join(f"{m} {v:.2f}" for m, v in means.items())
    low, high = (f(table.groupby(table["cluster"].astype(str))[value].mean()) for f in (min, max))
    fig = _figures.figure(
        title=title, x=HALVES.get(value, value), y="Cluster", height=170 + 34 * len(clusters),
        alt=f"{title}: points for {len(table)} splits of {len(clusters)} clusters. Mean "
        f"{HALVES.get(value, value).lower()}: {told}; means of the clusters from {low:.2f} to {high:.2f}."
        + ("" if baseline is None else f" The dashed line is at {common.number(baseline)}."),
    )  # fmt: skip
    shift = (np.arange(len(methods)) - (len(methods) - 1) / 2) * 0.6 / len(methods)
    for j, m in enumerate(methods):
        x = np.concatenate([values[c, m] for c in clusters])
        y = np.concatenate([np.full(len(values[c, m]), i + shift[j]) for i, c in enumerate(clusters)])
        style = {"color": common.color(j), "symbol": SYMBOLS[j % len(SYMBOLS)]}
        fig.add_trace(
            go.Scatter(x=common.small(x), y=common.small(y), mode="markers",
                       name=f"{common.escaped(m)}, mean {means[m]:.2f}", showlegend=True,
                       marker={"size": 8, "opacity": 0.6, **style},
                       hovertemplate="%{x:.3f}<extra>%{fullData.name}</extra>")
        )  # fmt: skip
        have = np.array([i for i, c in enumerate(clusters) if np.isfinite(values[c, m]).any()], dtype=int)
        bars = common.small([np.nanmean(values[clusters[i], m]) for i in have])
        fig.add_trace(
            go.Scatter(x=bars, y=common.small(have + shift[j]), mode="markers", showlegend=False, name="mean",
                       hovertemplate="mean %{x:.3f}<extra></extra>",
                       marker={"symbol": "line-ns", "size": 18, "line": {"width": 3, "color": common.color(j)}})
        )  # fmt: skip
    if baseline is not None:
        ends = np.r_[common.column(table, value), _checks.number("baseline", baseline)]
        pad = 0.05 * (np.nanmax(ends) - np.nanmin(ends)) or 0.05
        fig.update_xaxes(range=[np.nanmin(ends) - pad, np.nanmax(ends) + pad])
        fig.add_vline(x=baseline, line={"dash": "dash", "color": common.GREY})
    return common.legend_on_top(common.gene_axis(fig, clusters), 1 + len(methods) // 3)
