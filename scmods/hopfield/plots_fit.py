"""Figures of the fit: Hill curves, interactions, reconstructed velocity."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from scmods import _arrays, _checks, _figures
from scmods.hopfield import plots_common as common
from scmods.hopfield.keys import Keys

if TYPE_CHECKING:
    import pandas as pd
    from anndata import AnnData
    from plotly.graph_objects import Figure

    from scmods.hopfield.field import Field

__all__ = ["plot_hill", "plot_interactions", "plot_velocity"]

MOST_GENES = 6


def plot_hill(
    table: pd.DataFrame, *, genes: Sequence[str] | None = None, ncols: int = 3, title: str = "Hill functions"
) -> Figure:
    """Hill function of each gene over the distribution of its expression, the threshold marked.

    Parameters
    ----------
    table
        Table of `hill_table`: ``gene``, ``expression``, ``share`` (of the expressing cells that are not above it),
        ``fitted`` (the Hill function there); ``threshold`` and ``exponent`` are shown where they are given.
    genes
        Genes to draw; by default the first six of the table.
    ncols
        Panels per row.
    title
        Title of the figure.

    Returns
    -------
    Figure with one panel per gene: points for the distribution, a line for the function, a dotted line at the
    threshold, where the function is one half. The axis ends at the 98 % quantile of the points or at twice the
    threshold, whichever is larger.

    Raises
    ------
    MissingKeyError, TypeError, ValueError
        If `table` is not such a table, or a gene is not in it.

    Examples
    --------
    >>> from scmods import hopfield
    >>> adata = hopfield.toggle(5, 8)
    >>> hopfield.fit_hill(adata)
    >>> fig = hopfield.plot_hill(hopfield.hill_table(adata, ["A", "B"]))
    >>> fig.layout.title.text
    'Hill functions'
    """
    common.require(
        table, ["gene", "expression", "share", "fitted"], "Pass `hopfield.hill.hill_table(adata, genes)`."
    )
    _checks.integer("ncols", ncols)
    names = list(dict.fromkeys(table["gene"].astype(str)))
    for gene in genes or ():
        if gene not in names:
            _checks.fail(
                f"`table` has no gene {gene!r}. Available: {_checks.listing(names)}.",
                _checks.nearest(gene, names),
                kind=_checks.MissingKeyError,
            )
    which = list(genes or names[:MOST_GENES])
    rows = -(-len(which) // ncols)
    fig = _figures.figure(title=title, alt="", height=110 + 230 * rows)
    parts = {g: table[table["gene"].astype(str) == g].sort_values("expression") for g in which}
    titles = [common.escaped(g) + _parameters(p) for g, p in parts.items()]
    where = common.panels(fig, len(which), ncols, titles=titles, x="Expression", y="Share of cells")
    told = []
    for j, ((gene, part), (row, col)) in enumerate(zip(parts.items(), where, strict=True)):
        gap = np.abs(common.column(part, "share") - common.column(part, "fitted")).max()
        told.append(f"{gene} {common.number(gap)}")
        _one_hill(fig, part, min(150, 600 // len(which)), j == 0, row=row, col=col)
    alt = (
        f"{title} of {len(which)} genes over the empirical distribution of their expression. Largest distance of curve "
        f"and distribution: {', '.join(told)}."
    )
    fig.update_yaxes(range=[-0.04, 1.04])
    fig.update_layout(meta={"alt": alt})
    return common.legend_on_top(fig, 1, above=36)


def _parameters(part: pd.DataFrame) -> str:
    names = {"threshold": "k", "exponent": "n"}
    have = [f"{names[c]} = {common.number(part[c].iloc[0])}" for c in names if c in part.columns]
    return "<br>" + ", ".join(have) if have else ""


def _one_hill(fig: Figure, part: pd.DataFrame, most: int, first: bool, **place: Any) -> None:  # noqa: FBT001
    import plotly.graph_objects as go

    keep = common.some_rows(len(part), most)
    x, share, fitted = (common.small(common.column(part, c)[keep]) for c in ("expression", "share", "fitted"))
    # the last cells of a long tail would leave the curve no room
    end = max(
        float(np.quantile(x, 0.98)), 2 * float(part["threshold"].iloc[0]) if "threshold" in part else 0.0
    )
    fig.update_xaxes(range=[-0.02 * end, end], **place)
    told = "of the expressing cells at or below %{x:.3g}<extra></extra>"
    for y, name, style, text in (
        (share, "cells", {"mode": "markers", "marker": {"size": 5, "color": common.GREY}}, "%{y:.2f} " + told),
        (fitted, "Hill function", {"mode": "lines", "line": {"color": common.POSITIVE, "width": 2}},
         "Hill function %{y:.2f} at %{x:.3g}<extra></extra>"),
    ):  # fmt: skip
        trace = go.Scatter(
            x=x, y=y, name=name, legendgroup=name, hovertemplate=text, showlegend=first, **style
        )
        fig.add_trace(trace, **place)
    if "threshold" in part.columns:
        k = float(part["threshold"].iloc[0])
        dotted = {"color": common.NEGATIVE, "dash": "dot", "width": 1.5}
        fig.add_trace(go.Scatter(x=[k, k], y=[0.0, 1.0], mode="lines", name="threshold", line=dotted,
                                 legendgroup="threshold", hoverinfo="skip", showlegend=first), **place)  # fmt: skip


def plot_interactions(
    field: Field,
    cluster: str,
    *,
    n_genes: int = 30,
    var_names: Sequence[str] | None = None,
    effects: pd.DataFrame | None = None,
    quantile: float = 0.98,
    title: str | None = None,
) -> Figure:
    """Signed heat map of the interactions of one cluster.

    Parameters
    ----------
    field
        What `fit` returned.
    cluster
        Name of the cluster.
    n_genes
        At most as many targets and as many regulators: those with the largest sums of absolute values.
    var_names
        Targets to show, in this order, in place of the strongest.
    effects
        Table of `effects`, whose column ``effect`` is shown in place of the raw weights. Raw weights have the scale
        of their target, so a few targets may fill the picture.
    quantile
        Colours end at this quantile of the absolute values that are not 0.
    title
        Title of the figure.

    Returns
    -------
    Figure; red: the regulator raises the target, blue: it lowers it. Regulators stand in order of their strength,
    targets beside those of the same strongest regulator.

    Raises
    ------
    MissingKeyError, ValueError, TypeError
        Unknown cluster or gene; effects of another field.

    Examples
    --------
    >>> from scmods import hopfield
    >>> field = hopfield.true_field(hopfield.toggle(2, 3))
    >>> fig = hopfield.plot_interactions(field, "toggle")
    >>> fig.data[0].z.shape
    (2, 2)
    """
    import plotly.graph_objects as go

    _checks.integer("n_genes", n_genes)
    _checks.number("quantile", quantile, 0.5, 1.0)
    table = field.matrix(cluster)
    what = "Interaction (unit of the velocity)"
    if effects is not None:
        table, what = _like(effects, table, cluster), "Standardised effect"
    for name in var_names or ():
        field.gene(name)
    w = table.to_numpy()
    size = np.abs(w)
    at = np.array([field.gene(g) for g in var_names], dtype=int) if var_names else None
    rows = np.sort(np.argsort(-size.sum(1), kind="stable")[:n_genes]) if at is None else at
    cols = np.argsort(-size[rows].sum(0), kind="stable")[:n_genes]
    if at is None:
        best = size[np.ix_(rows, cols)].argmax(1)
        rows = rows[np.lexsort((-size[rows, cols[best]], best))]
    shown = w[np.ix_(rows, cols)]
    y, x = (list(map(str, a)) for a in (table.index[rows], table.columns[cols]))
    top = common.limit(shown[shown != 0], quantile) if shown.any() else 1.0
    title = title or f"Interactions in {common.escaped(cluster)}"
    fig = _figures.figure(
        title=title, alt=_interactions_told(cluster, w, shown, y, x), x="Regulator", y="Target",
        height=max(300, 190 + 17 * len(y)), coloraxis=common.color_axis(top, what),
    )  # fmt: skip
    # positions instead of names, so that two names that look alike keep two rows
    fig.add_trace(
        go.Heatmap(z=common.small(shown), coloraxis="coloraxis", xgap=1, ygap=1,
                   hovertemplate="regulator %{x}, target %{y}: %{z:.3g}<extra></extra>")
    )  # fmt: skip
    ticks = [common.escaped(g, 60) for g in x], [common.escaped(g, 60) for g in y]
    fig.update_xaxes(
        tickvals=list(range(len(x))), ticktext=ticks[0], tickangle=-60, automargin=True, showgrid=False
    )
    fig.update_yaxes(
        tickvals=list(range(len(y))), ticktext=ticks[1], range=[len(y) - 0.5, -0.5], automargin=True
    )
    return fig.update_yaxes(showgrid=False, title={"standoff": 8})


def _like(effects: Any, table: pd.DataFrame, cluster: str) -> pd.DataFrame:
    """The effects of one cluster as a matrix in the order of the field; pairs that are not listed are 0."""
    fix = "Pass `hopfield.edge_effects.effects(field, adata)`."
    common.require(effects, ["cluster", "regulator", "target", "effect"], fix, "effects")
    part = common.one_cluster(effects, cluster, "effects")
    wide = part.pivot(index="target", columns="regulator", values="effect")
    for names, have in ((wide.index, table.index), (wide.columns, table.columns)):
        unknown = names.difference(have)
        if len(unknown):
            _checks.fail(f"`effects` names {unknown[0]!r}, which the field does not.", fix)
    return wide.reindex(index=table.index, columns=table.columns).fillna(0.0)


def _interactions_told(cluster: str, w: np.ndarray, shown: np.ndarray, y: list[str], x: list[str]) -> str:
    at = np.unravel_index(np.abs(shown).argmax(), shown.shape)
    sign = "raises" if shown[at] > 0 else "lowers"
    return (
        f"Heat map of the interactions in {cluster}: {shown.shape[0]} of {w.shape[0]} targets, the rows, by "
        f"{shown.shape[1]} of {w.shape[1]} regulators, the columns; red is positive, blue negative. Shown are "
        f"{(shown > 0).sum()} positive, {(shown < 0).sum()} negative and {(shown == 0).sum()} absent interactions. "
        f"The largest in size: {x[at[1]]} {sign} {y[at[0]]} ({common.number(shown[at])})."
    )


def plot_velocity(
    adata: AnnData,
    *,
    groupby: str | None = None,
    velocity_layer: str = "velocity",
    key_added: str = "hopfield",
    standardise: bool = True,
    title: str = "Observed and reconstructed velocity",
) -> Figure:
    """Observed against reconstructed velocity, R² of every group in the legend.

    Parameters
    ----------
    adata
        Annotated data after `reconstruct_velocity`.
    groupby
        Column of ``obs`` with the groups, usually the clusters of the fit; None for all cells together.
    velocity_layer
        Layer with the observed velocity.
    key_added
        Prefix given to `reconstruct_velocity`.
    standardise
        Divide both velocities of a gene by the standard deviation of the observed one, so that R² is not that of the
        few genes with the largest counts; genes of constant velocity are left out. ``False``: unit of the layer.
    title
        Title of the figure.

    Returns
    -------
    Figure with 600 points, each one gene in one cell, and the line of equality. R² is one minus the squared
    residuals over the squared deviations of the observed velocity from the mean of its gene in the group, summed over
    cells and genes: the ``r2_pooled`` of `reconstruct_velocity` for the clusters of the fit. The axes end at the
    99.5 % quantile of the points.

    Raises
    ------
    MissingKeyError, ValueError
        If a layer or the column of groups does not exist, or no gene is modelled.

    Examples
    --------
    >>> from scmods import hopfield
    >>> adata = hopfield.toggle(5, 8)
    >>> field = hopfield.fit(adata)
    >>> table = hopfield.reconstruct_velocity(adata)
    >>> fig = hopfield.plot_velocity(adata)
    >>> fig.layout.title.text
    'Observed and reconstructed velocity'
    """
    import plotly.graph_objects as go

    seen, made = _velocities(adata, velocity_layer, key_added)
    if standardise:
        scale = seen.std(axis=0)
        seen, made = (a[:, scale > 0] / scale[scale > 0] for a in (seen, made))
    names, of = common.groups(adata, groupby)
    fig = _figures.figure(title=title, alt="")
    told, edges = [], []
    for i, name in enumerate(names):
        a, b = seen[of == name], made[of == name]
        spread = ((a - a.mean(axis=0)) ** 2).sum()
        r2 = 1 - ((a - b) ** 2).sum() / spread if spread > 0 else np.nan
        told.append(f"{name} {r2:.2f}" if np.isfinite(r2) else f"{name} no value")
        keep = _figures.thin(a.size, max(1, _figures.MAX_POINTS // len(names)))
        x, y = common.small(a.ravel()[keep]), common.small(b.ravel()[keep])
        edges.append(np.quantile(np.abs(np.r_[x, y]), 0.995))
        fig.add_trace(
            go.Scatter(x=x, y=y, mode="markers", name=f"{common.escaped(name)}, R² = {told[-1].rsplit(' ', 1)[-1]}",
                       marker={"size": 5, "opacity": 0.6, "color": common.color(i)}, showlegend=True,
                       hovertemplate="observed %{x:.3g}<br>reconstructed %{y:.3g}<extra></extra>")
        )  # fmt: skip
    end = float(max(edges)) * 1.05 or 1.0
    line = {"color": common.GREY, "dash": "dash", "width": 1.5}
    fig.add_trace(
        go.Scatter(x=[-end, end], y=[-end, end], mode="lines", line=line, name="equal", hoverinfo="skip")
    )
    unit = "standard deviations of the gene" if standardise else "unit of the layer"
    fig.update_xaxes(title={"text": f"Observed velocity ({unit})"}, range=[-end, end])
    fig.update_yaxes(title={"text": f"Reconstructed velocity ({unit})"}, range=[-end, end])
    alt = (
        f"{title}: scatter of {seen.shape[1]} genes in {adata.n_obs} cells with the line of equality, at most "
        f"{_figures.MAX_POINTS} points drawn. R² by group: {', '.join(told)}."
    )
    fig.update_layout(meta={"alt": alt}, height=520)
    return common.legend_on_top(fig, 1 + len(names) // 3)


def _velocities(adata: AnnData, velocity_layer: str, key_added: str) -> tuple[np.ndarray, np.ndarray]:
    """Observed and reconstructed velocity, (cells, modelled genes) each."""
    made = Keys(key_added).reconstructed
    added = "" if key_added == "hopfield" else f", key_added={key_added!r}"
    _checks.key(adata, "layers", made, f"Run `hopfield.reconstruct_velocity(adata{added})` first.")
    _checks.key(adata, "layers", velocity_layer, "Run `hopfield.velocity(adata)` first.")
    first = _arrays.read_rows(adata.layers[made], slice(0, 1))[0]
    genes = np.flatnonzero(np.isfinite(first))
    if not len(genes):
        _checks.fail(
            f"`adata.layers[{made!r}]` has no finite gene.",
            f"Run `hopfield.reconstruct_velocity(adata{added})` again.",
        )
    pair = tuple(_arrays.dense(adata.layers[k])[:, genes] for k in (velocity_layer, made))
    for name, values in zip((velocity_layer, made), pair, strict=True):
        _checks.finite(f"`adata.layers[{name!r}]` of the modelled genes", values, adata.obs_names)
    return pair
