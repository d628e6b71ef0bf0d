"""Batches before and after correction: histograms of the markers, and a map of the cells."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from scmods import _checks, _figures
from scmods.scyan import plots_common as common

if TYPE_CHECKING:
    from plotly.graph_objects import Figure

__all__ = ["plot_correction", "plot_correction_map"]

MOST_SHIFTED = 4


def scores_told(score: Mapping[str, Sequence[float]] | Sequence[float] | None) -> str:
    """Subtitle of scores before and after: "mixing index 1.4 before, 1.8 after"."""
    if score is None:
        return ""
    score = score if isinstance(score, Mapping) else {"mixing index": score}
    parts = []
    for name, pair in score.items():
        one, two = common.values(f"`score[{name!r}]`", pair, 2)
        parts.append(
            f"{_figures.escaped(name, 60)} {_figures.number(one)} before, {_figures.number(two)} after"
        )
    return "; ".join(parts)


def plot_correction(
    before: Any,
    after: Any,
    batch: Any,
    markers: Sequence[str] | None = None,
    *,
    show: Sequence[str] | str | None = None,
    score: Mapping[str, Sequence[float]] | Sequence[float] | None = None,
    n_bins: int = 30,
    title: str = "Batches before and after correction",
) -> Figure:
    """Histograms of markers by batch, before the correction and after it.

    Parameters
    ----------
    before, after
        (cells, markers) arrays or tables with the same columns.
    batch
        One label per cell.
    markers
        Names of the columns of arrays.
    show
        Markers to draw; by default the four whose batch means lie furthest apart before, in standard deviations.
    score
        What was measured before and after, for the subtitle: a pair, called mixing index, or
        ``{"mixing index": (1.4, 1.8), ...}``.
    n_bins
        Bins of a histogram.
    title
        Title of the figure.

    Returns
    -------
    Figure with two rows of panels, before above after, a line per batch; the two panels of a marker have one scale.

    Raises
    ------
    MissingKeyError, TypeError, ValueError
        If shapes differ, values are not finite, or a marker does not exist.

    Examples
    --------
    >>> x = np.linspace(0, 1, 20)[:, None] + np.repeat([0, 1], 10)[:, None]
    >>> fig = plot_correction(x, x % 1, ["a"] * 10 + ["b"] * 10, ["CD3"], score=(1.2, 1.9))
    >>> fig.layout.title.subtitle.text
    'mixing index 1.2 before, 1.9 after'
    """
    _checks.integer("n_bins", n_bins, 5, 200)
    first, markers = common.columns(before, markers, "before")
    second, _ = common.columns(after, markers, "after")
    if first.shape != second.shape:
        _checks.fail(
            f"`before` has {len(first)} cells and `after` {len(second)}; they must be the same cells."
        )
    groups, of = common.grouped(batch, len(first), "batch", names=getattr(before, "index", None))
    gaps = _gaps(first, of, groups)
    default = [markers[j] for j in np.argsort(-gaps, kind="stable")[:MOST_SHIFTED]]
    names = default if show is None else common.chosen(show, markers, "show")
    fig = _figures.figure(title=title, alt="", height=500)
    n = len(names)
    where = _figures.panels(fig, 2 * n, n, titles=[_figures.escaped(m, 20) for m in names] + [""] * n, x="Intensity",
                            y="Density", horizontal_spacing=0.3 / (n + 3), vertical_spacing=0.09)  # fmt: skip
    for i, marker in enumerate(names):
        j = markers.index(marker)
        edges = common.ranges([first[:, j], second[:, j]], n_bins)
        for (row, col), array in zip((where[i], where[n + i]), (first, second), strict=True):
            for k, g in enumerate(groups):
                steps = common.histogram(array[of == g, j], edges)
                dash = common.DASHES[k // len(_figures.CATEGORICAL) % len(common.DASHES)]
                common.line(fig, *steps, _figures.escaped(g), _figures.color(k), shape="hv", dash=dash,
                      showlegend=i == 0 and array is first, row=row, col=col)  # fmt: skip
            fig.update_xaxes(range=[float(edges[0]), float(edges[-1])], row=row, col=col)
    for row, word in enumerate(("before", "after"), start=1):
        fig.update_yaxes(title={"text": f"Density, {word}", "standoff": 4}, row=row, col=1)
    later = _gaps(second, of, groups)
    told = "; ".join(
        f"{m} {_figures.number(gaps[markers.index(m)])} before, {_figures.number(later[markers.index(m)])} after"
        for m in names
    )
    subtitle = scores_told(score)
    alt = (
        f"{_figures.plain(title)}{': ' + _figures.plain(subtitle) if subtitle else ''}. Histograms of {n} markers for "
        f"{len(groups)} batches of together {len(first)} cells. Largest distance of two batch means in standard "
        f"deviations of the marker: {told}."
    )
    fig.update_layout(meta={"alt": alt})
    _figures.legend_on_top(fig, 1 + len(groups) // 6, above=18)
    return with_subtitle(fig, subtitle)


def with_subtitle(fig: Figure, text: str) -> Figure:
    """Put a second, smaller line below the title, and make room for it."""
    if text:
        fig.update_layout(title={"subtitle": {"text": text, "font": {"size": 12}}},
                          margin={"t": fig.layout.margin.t + 18}, height=fig.layout.height + 18)  # fmt: skip
    return fig


def _gaps(x: np.ndarray, of: np.ndarray, groups: Sequence[str]) -> np.ndarray:
    """(markers,) largest distance of two batch means in standard deviations of the marker within batches."""
    means = np.stack([x[of == g].mean(axis=0) for g in groups])
    inside = np.sqrt(np.mean([x[of == g].var(axis=0) for g in groups], axis=0))
    return np.ptp(means, axis=0) / np.where(inside > 0, inside, 1.0)


def plot_correction_map(
    before: Any,
    after: Any,
    batch: Any,
    markers: Sequence[str] | None = None,
    *,
    score: Mapping[str, Sequence[float]] | Sequence[float] | None = None,
    title: str = "Batches on a map before and after correction",
) -> Figure:
    """Cells on their first two principal components, before the correction and after it, coloured by batch.

    Parameters
    ----------
    before, after
        (cells, markers) arrays or tables with the same columns.
    batch
        One label per cell.
    markers
        Names of the columns of arrays.
    score
        What was measured before and after, for the subtitle; as for `plot_correction`.
    title
        Title of the figure.

    Returns
    -------
    Figure with two panels of the same 300 cells. The components are those of the values before; the values after are
    projected on them, so that both panels have the same axes.

    Raises
    ------
    TypeError, ValueError
        If shapes differ or values are not finite.

    Examples
    --------
    >>> x = np.random.default_rng(0).normal(size=(20, 3))
    >>> fig = plot_correction_map(x, x, ["a", "b"] * 10, ["CD3", "CD4", "CD8"])
    >>> bool((fig.data[0].x == fig.data[2].x).all())
    True
    """
    import plotly.graph_objects as go

    from scmods import graph

    first, markers = common.columns(before, markers, "before")
    second, _ = common.columns(after, markers, "after")
    if first.shape != second.shape:
        _checks.fail(
            f"`before` has {len(first)} cells and `after` {len(second)}; they must be the same cells."
        )
    if len(markers) < 2 or len(first) < 3:
        _checks.fail(f"A map needs two markers and three cells, but `before` has shape {first.shape}.",
                     "Draw histograms: `plot_correction(before, after, batch, markers)`.")  # fmt: skip
    groups, of = common.grouped(batch, len(first), "batch", names=getattr(before, "index", None))
    loadings = graph.pca(first, 2, scale=False).loadings
    keep = common.thin_groups(of, _figures.MAX_POINTS // 2)
    fig = _figures.figure(title=title, alt="", height=470)
    where = _figures.panels(fig, 2, 2, titles=["before", "after"], x="PC 1", y="PC 2", shared_yaxes=True,
                            horizontal_spacing=0.04)  # fmt: skip
    spread = []
    for (row, col), array in zip(where, (first, second), strict=True):
        xy = (array - first.mean(axis=0)) @ loadings
        spread.append(np.ptp([xy[of == g].mean(axis=0) for g in groups], axis=0).max())
        for i, g in enumerate(groups):
            rows = keep[of[keep] == g]
            style = _figures.marker(len(keep)) | common.group_style(g, i) | {"opacity": 0.7}
            fig.add_trace(
                go.Scatter(x=_figures.small(xy[rows, 0]), y=_figures.small(xy[rows, 1]), mode="markers", marker=style,
                           name=_figures.escaped(g), legendgroup=g, showlegend=col == 1,
                           hovertemplate="%{fullData.name}<extra></extra>"), row=row, col=col
            )  # fmt: skip
    fig.update_xaxes(matches="x")
    subtitle = scores_told(score)
    alt = (
        f"{_figures.plain(title)}{': ' + _figures.plain(subtitle) if subtitle else ''}. Scatter of {len(first)} cells "
        f"of {len(groups)} batches on two principal components, before and after. Largest distance of batch means "
        f"along a component: {_figures.number(spread[0])} before, {_figures.number(spread[1])} after."
    )
    fig.update_layout(meta={"alt": alt + _figures.drawn(len(first), len(keep), "cells")})
    _figures.legend_on_top(fig, 1 + len(groups) // 6, above=18)
    return with_subtitle(fig, subtitle)
