"""Maps: types or values of the cells on the tissue, and to whom one cell attends."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from scmods import _checks, _figures
from scmods.amici import plots_common as common

if TYPE_CHECKING:
    from anndata import AnnData
    from plotly.graph_objects import Figure

__all__ = ["plot_tissue"]

MOST_PANELS = 6


def plot_tissue(
    adata: AnnData,
    color: Any = "cell_type",
    *,
    spatial_key: str = "spatial",
    library_key: str | None = None,
    layer: str | None = None,
    window: Sequence[float] | None = None,
    palette: Mapping[str, str] | None = None,
    label: str | None = None,
    most: int = _figures.MAX_POINTS,
    y_down: bool = False,
    title: str | None = None,
) -> Figure:
    """Cells where they are, in the colour of their type or of a value.

    Parameters
    ----------
    adata
        Cells with positions.
    color
        Column of ``obs``, name of a gene, or one value or label per cell. Numbers are drawn on a scale, symmetric about
        0 where they have both signs; text, booleans and categoricals as groups. Cells without a value are left out.
    spatial_key
        Key of ``obsm`` with the positions.
    library_key
        Column of ``obs`` with the section: a panel each, up to six.
    layer
        Layer that holds the genes; None for ``X``.
    window
        (left, right, bottom, top) of the part to draw; None for all.
    palette
        Colour of each group.
    label
        What is drawn, for title and scale.
    most
        Cells to draw; of more a random sample.
    y_down
        The second coordinate grows downwards, as the pixels of an image.
    title
        Title of the figure.

    Returns
    -------
    Figure, same scale across and upwards.

    Raises
    ------
    MissingKeyError, TypeError, ValueError
        Unknown names, other lengths, no cell in the window.

    Examples
    --------
    >>> from scmods.amici.simulate import semisynthetic
    >>> fig = plot_tissue(semisynthetic(100, 30))
    >>> sorted(trace.name for trace in fig.data)
    ['B', 'DC', 'Mono', 'T']
    """
    xy = common.positions(adata, spatial_key)
    given = _given(adata, color, layer)
    label = label or (color if isinstance(color, str) else "value")
    groups = _groups(given) if _is_label(given) else None
    shown = _shown(given, groups, xy, window)
    places, sections = _sections(adata, library_key, shown)
    keep = shown[_figures.thin(len(shown), _checks.integer("most", most))]
    title = title or (
        f"Cells by {_figures.escaped(label)}" if groups else f"{_figures.escaped(label)} on the tissue"
    )
    fig = _figures.figure(title=title, alt="", height=_height(xy[shown], len(sections)))
    where = _figures.panels(fig, len(sections), 2, titles=[_figures.escaped(s) for s in sections]
                            if library_key else [""], x="Position 1", y="Position 2")  # fmt: skip
    if groups:
        told = _draw_groups(fig, xy, groups, keep, places, where, palette, len(shown), shown)
    else:
        told = _draw_values(fig, xy, _checks.numeric("`color`", given), keep, places, where, label, shown)
    if y_down:
        fig.update_yaxes(autorange="reversed")
    part = f" in the window {', '.join(f'{e:g}' for e in window)}" if window is not None else ""
    alt = f"{_figures.plain(title)}: map of {len(shown)} cells{part}; {told}."
    fig.update_layout(meta={"alt": alt + _figures.drawn(len(shown), len(keep), "cells")})
    common.bare(fig)
    lines = 1 + sum(len(n) + 6 for n in groups[0]) // 90 if groups else 0
    return _figures.legend_on_top(fig, lines, above=18 if library_key else 0) if groups else fig


def _given(adata: AnnData, color: Any, layer: str | None) -> Any:
    if isinstance(color, str):
        return _figures.looked_up(adata, color, layer)
    column = color if hasattr(color, "cat") else np.asarray(color)
    if column.ndim != 1 or len(column) != adata.n_obs:
        _checks.fail(
            f"`color` has shape {column.shape}, but must be one value for each of the {adata.n_obs} cells."
        )
    return column


def _is_label(given: Any) -> bool:
    return hasattr(given, "cat") or np.asarray(given).dtype.kind not in "iuf"


def _groups(given: Any) -> tuple[list[str], np.ndarray]:
    """Names in their own order and the group of every cell; the empty name for cells without a label."""
    import pandas as pd

    column = pd.Series(given)
    of = np.where(column.isna(), "", column.astype(str)).astype(str)
    names = [str(c) for c in column.cat.categories] if hasattr(column, "cat") else sorted(set(of))
    there = set(of)
    return [n for n in names if n in there and n != ""], of


def _shown(given: Any, groups: Any, xy: np.ndarray, window: Sequence[float] | None) -> np.ndarray:
    inside = groups[1] != "" if groups else np.isfinite(_checks.numeric("`color`", given))
    if window is not None:
        edges = common.values("`window`", list(window))
        if len(edges) != 4 or edges[0] >= edges[1] or edges[2] >= edges[3]:
            _checks.fail(
                f"`window` is {window!r}, but must be (left, right, bottom, top).", "Write (0, 100, 0, 50)."
            )
        inside = inside & ((xy >= edges[[0, 2]]) & (xy <= edges[[1, 3]])).all(axis=1)
    if not inside.any():
        low, high = xy.min(axis=0), xy.max(axis=0)
        _checks.fail(
            "No cell with a value is in the part to draw.",
            f"Positions go from {low.round(1).tolist()} to {high.round(1).tolist()}.",
        )
    return np.flatnonzero(inside)


def _height(xy: np.ndarray, n_panels: int) -> int:
    """Pixels that leave little room above and below the panels on a page of usual width."""
    cols, rows = min(2, n_panels), -(-n_panels // 2)
    wide, high = np.maximum(np.ptp(xy, axis=0), 1e-9)
    return int(150 + rows * (40 + np.clip(620 / cols * high / wide, 140, 440)))


def _sections(adata: AnnData, library_key: str | None, shown: np.ndarray) -> tuple[np.ndarray, list[str]]:
    """Number of the panel of every cell, and the names of the panels."""
    if library_key is None:
        return np.zeros(adata.n_obs, dtype=np.intp), [""]
    names, of = _figures.groups(adata, library_key)
    there = [n for n in names if (of[shown] == n).any()]
    if len(there) > MOST_PANELS:
        _checks.fail(
            f"`adata.obs[{library_key!r}]` has {len(there)} sections, but at most {MOST_PANELS} are drawn.",
            f"Choose some: adata[adata.obs[{library_key!r}].isin({there[:2]})].",
        )
    return np.array([there.index(o) if o in there else -1 for o in of]), there


def _draw_groups(
    fig: Figure, xy: np.ndarray, groups: tuple[list[str], np.ndarray], keep: np.ndarray, places: np.ndarray,
    where: list[tuple[int, int]], palette: Mapping[str, str] | None, n: int, shown: np.ndarray,
) -> str:  # fmt: skip
    import plotly.graph_objects as go

    names, of = groups
    tones = common.tones(names, palette)
    there = [name for name in names if (of[shown] == name).any()]
    for name in there:
        first = True
        for panel, (row, col) in enumerate(where):
            rows = keep[(of[keep] == name) & (places[keep] == panel)]
            if len(rows):
                fig.add_trace(
                    go.Scatter(x=_figures.small(xy[rows, 0]), y=_figures.small(xy[rows, 1]), mode="markers",
                               name=_figures.escaped(name), legendgroup=name, showlegend=first,
                               marker=_figures.marker(len(keep), color=tones[name]),
                               hovertemplate="%{fullData.name}<extra></extra>"), row=row, col=col
                )  # fmt: skip
                first = False
    share = {name: float((of[shown] == name).sum()) / n for name in there}
    largest = sorted(share, key=share.get, reverse=True)[:6]
    return f"{len(there)} groups, the largest: " + ", ".join(f"{c} {share[c]:.0%}" for c in largest)


def _draw_values(
    fig: Figure, xy: np.ndarray, values: np.ndarray, keep: np.ndarray, places: np.ndarray,
    where: list[tuple[int, int]], label: str, shown: np.ndarray,
) -> str:  # fmt: skip
    import plotly.graph_objects as go

    low, high = values[shown].min(), values[shown].max()
    signed = low < 0 < high
    top = _figures.limit(values[shown], 0.99) if signed else float(high if high > low else low + 1)
    fig.update_layout(
        coloraxis=_figures.color_axis(top, _figures.escaped(label), None if signed else float(low))
    )
    # high values last, on top of the others
    order = keep[np.argsort(np.abs(values[keep]) if signed else values[keep], kind="stable")]
    for panel, (row, col) in enumerate(where):
        rows = order[places[order] == panel]
        tone = {"color": _figures.small(values[rows]), "coloraxis": "coloraxis"}
        fig.add_trace(
            go.Scatter(x=_figures.small(xy[rows, 0]), y=_figures.small(xy[rows, 1]), mode="markers", showlegend=False,
                       marker=_figures.marker(len(keep), **tone), name="cells",
                       hovertemplate="%{marker.color:.3g}<extra></extra>"), row=row, col=col
        )  # fmt: skip
    how = "blue below 0, red above 0" if signed else "dark is low, bright is high"
    return f"{how}, from {_figures.number(low)} to {_figures.number(high)}"
