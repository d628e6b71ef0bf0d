"""Figures of single markers: their two groups of cells, and what the transform makes of them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

from scmods import _checks, _figures
from scmods.scyan import plots_common as common
from scmods.scyan.mixture import TwoComponents, two_components
from scmods.scyan.values import marker_values

if TYPE_CHECKING:
    from anndata import AnnData
    from plotly.graph_objects import Figure

__all__ = ["plot_markers", "plot_transform"]

MOST_MARKERS = 9
LEAST_CELLS = 4  # two components need as many
CURVE = 40


def plot_markers(
    adata: AnnData,
    markers: Sequence[str] | str | None = None,
    *,
    groupby: str | None = None,
    layer: str | None = None,
    refine: bool = True,
    n_bins: int = 30,
    ncols: int = 3,
    title: str = "Markers and their two components",
) -> Figure:
    """Histogram of each marker with the two Gaussians that `two_components` finds in it.

    Parameters
    ----------
    adata
        Cells.
    markers
        Markers to draw; by default the first nine of ``uns["table"]``, or of the data where there is no table.
    groupby
        Column of ``obs``, for instance the batch. Every group then has its own histogram, and its own mixture drawn
        as one dashed line. Groups of fewer than four cells, or with one value, get no mixture.
    layer
        Layer to read; None for ``X``.
    refine
        Passed on to `two_components`: improve the best split by expectation maximisation.
    n_bins
        Bins of a histogram.
    ncols
        Panels per row.
    title
        Title of the figure.

    Returns
    -------
    Figure with one panel per marker. Without `groupby`: the histogram as a grey line, the lower component in blue, the
    upper one in vermilion, each times its weight, and a dotted line where both are equally probable.

    Raises
    ------
    MissingKeyError, TypeError, ValueError
        If a marker, the layer or the column does not exist, or values are not finite or constant.

    Examples
    --------
    >>> from scmods.scyan.simulate import cytometry
    >>> fig = plot_markers(cytometry(300, 6, 8), ["M01", "M02"])
    >>> [a.text for a in fig.layout.annotations]
    ['M01', 'M02']
    """
    _checks.integer("ncols", ncols)
    _checks.integer("n_bins", n_bins, 5, 200)
    if markers is None:
        table = adata.uns.get("table")
        have = adata.var_names if table is None else table.columns
        markers = [str(m) for m in have][:MOST_MARKERS]
    names = common.chosen(markers, list(adata.var_names), "markers")
    x = marker_values(adata, names, layer=layer, transformed=False)
    groups, of = _figures.groups(adata, groupby)
    rows = -(-len(names) // ncols)
    fig = _figures.figure(title=title, alt="", height=120 + 190 * rows)
    where = _figures.panels(fig, len(names), ncols, titles=[_figures.escaped(n, 24) for n in names],
                            x="Intensity" if layer is None else _figures.escaped(layer), y="Density")  # fmt: skip
    told = _one_group(fig, x, names, where, n_bins, refine=refine)\
        if groupby is None else _by_group(fig, x, names, where, n_bins, groups, of, refine=refine)  # fmt: skip
    alt = f"{_figures.plain(title)}: histograms of {len(names)} markers in {adata.n_obs} cells. {told}"
    fig.update_layout(meta={"alt": alt})
    return _figures.legend_on_top(fig, 1 + (len(groups) // 5 if groupby else 0), above=18)


def _one_group(
    fig: Figure, x: np.ndarray, names: list[str], where: list[tuple[int, int]], n_bins: int, *, refine: bool
) -> str:
    found = two_components(x, refine=refine)
    cut = found.thresholds()
    told = []
    for j, (name, (row, col)) in enumerate(zip(names, where, strict=True)):
        edges = common.ranges([x[:, j]], n_bins)
        place = {"row": row, "col": col, "showlegend": j == 0}
        common.line(fig, *common.histogram(x[:, j], edges), "cells", _figures.GREY, shape="hv", **place)
        at = np.linspace(edges[0], edges[-1], CURVE)
        for k, (word, tone) in enumerate((("negative", common.AGAINST), ("positive", common.FOR))):
            common.line(fig, at, _component(found, at, k, j), word, tone, **place)
        fig.add_vline(
            x=float(cut[j]), line={"color": _figures.GREY, "dash": "dot", "width": 1.5}, row=row, col=col
        )
        told.append(
            f"{name} {_figures.number(found.mean[0, j])} and {_figures.number(found.mean[1, j])}, "
            f"{found.weight[1, j]:.0%} positive"
        )
    return f"Means of the two components: {'; '.join(told)}."


def _component(found: TwoComponents, at: np.ndarray, k: int, j: int) -> np.ndarray:
    """Weight times density of component k of marker j."""
    z = (at - found.mean[k, j]) / found.std[k, j]
    return found.weight[k, j] / found.std[k, j] / np.sqrt(2 * np.pi) * np.exp(-0.5 * z**2)


def _by_group(
    fig: Figure, x: np.ndarray, names: list[str], where: list[tuple[int, int]], n_bins: int, groups: list[str],
    of: np.ndarray, *, refine: bool,
) -> str:  # fmt: skip
    fitted = {}
    for g in groups:
        part = x[of == g]
        ready = len(part) >= LEAST_CELLS and bool((np.ptp(part, axis=0) > 0).all())
        fitted[g] = two_components(part, refine=refine) if ready else None
    told = []
    for j, (name, (row, col)) in enumerate(zip(names, where, strict=True)):
        edges = common.ranges([x[:, j]], n_bins)
        at = np.linspace(edges[0], edges[-1], CURVE)
        for i, g in enumerate(groups):
            place = {"row": row, "col": col}
            steps = common.histogram(x[of == g, j], edges)
            common.line(
                fig, *steps, _figures.escaped(g), _figures.color(i), shape="hv", showlegend=j == 0, **place
            )
            if fitted[g] is not None:
                both = _component(fitted[g], at, 0, j) + _component(fitted[g], at, 1, j)
                common.line(
                    fig,
                    at,
                    both,
                    _figures.escaped(g),
                    _figures.color(i),
                    dash="dash",
                    showlegend=False,
                    **place,
                )
        medians = [float(np.median(x[of == g, j])) for g in groups]
        told.append(f"{name} {_figures.number(min(medians))} to {_figures.number(max(medians))}")
    return f"Lines for {len(groups)} groups; their medians span: {'; '.join(told)}."


def plot_transform(
    adata: AnnData,
    markers: Sequence[str] | str,
    *,
    layer: str | None = None,
    n_bins: int = 30,
    title: str = "From intensities to the scale of the table",
) -> Figure:
    """Raw intensities of markers, what the transform makes of them, and the curve between both.

    Parameters
    ----------
    adata
        Transformed cells.
    markers
        One marker, or a few: a row of panels each.
    layer
        Layer with the raw intensities; None computes them from what was recorded in ``uns``.
    n_bins
        Bins of a histogram.
    title
        Title of the figure.

    Returns
    -------
    Figure with three panels per marker: histogram of the raw values up to their 99.5 % quantile, transformed against
    raw values of a sample of the cells, histogram of the transformed values.

    Raises
    ------
    MissingKeyError, TypeError, ValueError
        If a marker or the layer does not exist, or no transform was recorded.

    Examples
    --------
    >>> from scmods.scyan.simulate import cytometry
    >>> fig = plot_transform(cytometry(300, 6, 8), "M01", layer="counts")
    >>> len(fig.data)
    3
    """
    import plotly.graph_objects as go

    from scmods.scyan.transform import inverse_transform

    _checks.integer("n_bins", n_bins, 5, 200)
    names = common.chosen(markers, list(adata.var_names), "markers")
    y = marker_values(adata, names, transformed=False)
    if layer is None:
        raw = inverse_transform(adata, y, markers=names)
    else:
        raw = marker_values(adata, names, layer=layer, transformed=False)
    fig = _figures.figure(title=title, alt="", height=110 + 210 * len(names), showlegend=False)
    titles = [t for n in names for t in (f"{_figures.escaped(n, 20)}, raw", "", "transformed")]
    where = _figures.panels(
        fig, 3 * len(names), 3, titles=titles, x=["Raw", "Raw", "Transformed"] * len(names)
    )
    keep = _figures.thin(adata.n_obs, _figures.MAX_POINTS // len(names))
    told = []
    for j, name in enumerate(names):
        left, middle, right = ({"row": r, "col": c} for r, c in where[3 * j : 3 * j + 3])
        end = float(np.quantile(raw[:, j], 0.995))
        shown = raw[raw[:, j] <= end, j]
        common.line(
            fig,
            *common.histogram(shown, common.ranges([shown], n_bins)),
            "raw",
            _figures.GREY,
            shape="hv",
            **left,
        )
        order = keep[np.argsort(raw[keep, j], kind="stable")]
        order = order[raw[order, j] <= end]
        fig.add_trace(
            go.Scatter(x=_figures.small(raw[order, j]), y=_figures.small(y[order, j]), mode="markers", name="cells",
                       marker={"size": 4, "color": _figures.color(0), "opacity": 0.6},
                       hovertemplate="%{x:.4g} becomes %{y:.3g}<extra></extra>"), **middle
        )  # fmt: skip
        steps = common.histogram(y[:, j], common.ranges([y[:, j]], n_bins))
        common.line(fig, *steps, "transformed", _figures.color(2), shape="hv", **right)
        for place, text in ((left, "Density"), (middle, "Transformed"), (right, "Density")):
            fig.update_yaxes(title={"text": text, "standoff": 4}, **place)
        told.append(
            f"{name}: raw median {_figures.number(np.median(raw[:, j]))} and largest value "
            f"{_figures.number(raw[:, j].max())}, transformed {_figures.number(np.median(y[:, j]))} and "
            f"{_figures.number(y[:, j].max())}"
        )
    alt = (
        f"{_figures.plain(title)}: histograms of raw and transformed values and the curve between them, in "
        f"{adata.n_obs} cells. {'; '.join(told)}.{_figures.drawn(adata.n_obs, len(keep), 'cells')}"
    )
    return fig.update_layout(meta={"alt": alt})
