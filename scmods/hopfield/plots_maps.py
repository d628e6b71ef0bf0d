"""Maps of the cells: stability, single elements of the Jacobian, the velocity on an embedding."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from scmods import _checks, _figures
from scmods.hopfield import plots_common as common
from scmods.hopfield.keys import Keys
from scmods.hopfield.plots_cells import SYMBOLS, read_label

if TYPE_CHECKING:
    import pandas as pd
    from anndata import AnnData
    from plotly.graph_objects import Figure

__all__ = ["plot_elements", "plot_embedding_velocity", "plot_stability_map"]

ELEMENT = re.compile("jacobian_df_(.+)_dx_(.+)", re.DOTALL)
MOST_ELEMENTS = 6


def plot_stability_map(
    adata: AnnData,
    *,
    basis: str | None = None,
    color: str = Keys.leading_real,
    diverging: bool | None = None,
    quantile: float = 0.98,
    title: str | None = None,
) -> Figure:
    """Any number per cell on an embedding, by default the leading real part.

    Parameters
    ----------
    adata
        Annotated data after `compute_jacobian_stats`.
    basis
        Key of ``obsm`` whose first two columns place the cells; by default UMAP, else principal components.
    color
        Numeric column of ``obs``.
    diverging
        Scale symmetric about 0, blue below and red above; by default where the values have both signs, and for the
        leading real part always. ``False``: from the lowest to the highest value.
    quantile
        Colours end at this quantile, so that a few extreme cells do not leave the others pale.
    title
        Title of the figure.

    Returns
    -------
    Figure with one point per cell, at most 1,000.

    Raises
    ------
    MissingKeyError, ValueError, TypeError
        If the column or the embedding does not exist, or values are not finite.

    Examples
    --------
    >>> from scmods import hopfield
    >>> adata = hopfield.toggle(5, 8)
    >>> field = hopfield.fit(adata)
    >>> hopfield.compute_jacobians(adata)
    >>> hopfield.embed(adata)
    >>> fig = hopfield.plot_stability_map(adata, basis="X_pca")
    >>> len(fig.data[0].x)
    40
    """
    _checks.number("quantile", quantile, 0.5, 1.0)
    label, fix = read_label(color)
    values = common.obs_values(adata, color, fix)
    xy, axes = common.map_points(adata, basis)
    if diverging is None:
        diverging = color == Keys.leading_real or bool(values.min() < 0 < values.max())
    if diverging:
        scale, how = common.color_axis(common.limit(values, quantile), label), "blue below 0, red above 0"
    else:
        low, high = np.quantile(values, [1 - quantile, quantile])
        scale = common.color_axis(float(high if high > low else low + 1), label, float(low))
        how = "dark is low, bright is high"
    keep = _figures.thin(adata.n_obs)
    title = title or re.split(r",| \(", label)[0] + " on the embedding"
    alt = (
        f"{title}. Scatter of {adata.n_obs} cells over {common.listed(axes)}; colour is {label}, {_told(values)}; "
        f"{how}, colours end at the {quantile:.0%} quantile.{common.drawn(adata.n_obs, len(keep), 'cells')}"
    )
    fig = _figures.figure(title=title, alt=alt, x=axes[0], y=axes[1], coloraxis=scale)
    _map(fig, xy[keep], values[keep], label)
    return _bare(fig)


def plot_elements(
    adata: AnnData,
    pairs: Sequence[tuple[str, str]] | None = None,
    *,
    basis: str | None = None,
    ncols: int = 3,
    shared_scale: bool = False,
    quantile: float = 0.98,
    title: str = "Elements of the Jacobian",
) -> Figure:
    """Maps of single elements: how the rate of a target answers to a regulator, cell by cell.

    Parameters
    ----------
    adata
        Annotated data after `compute_jacobian_elements`.
    pairs
        Pairs (target, regulator) in the order in which `compute_jacobian_elements` takes them; by default all that
        are stored, up to six.
    basis
        As for `plot_stability_map`.
    ncols
        Panels per row.
    shared_scale
        One scale for all panels. Otherwise colours are relative to the scale of each panel, written above it.
    quantile
        Colours end at this quantile of the absolute values.
    title
        Title of the figure.

    Returns
    -------
    Figure with a panel per pair, symmetric about 0: red where the regulator raises the rate of the target, blue where
    it lowers it. 600 points in all panels together.

    Raises
    ------
    MissingKeyError, ValueError, TypeError
        If no element or not this one is stored, a pair is not a pair, or there are more than 12.

    Examples
    --------
    >>> from scmods import hopfield
    >>> adata = hopfield.toggle(5, 8)
    >>> field = hopfield.fit(adata)
    >>> hopfield.embed(adata)
    >>> hopfield.compute_jacobian_elements(adata, [("A", "B")])
    >>> fig = hopfield.plot_elements(adata, [("A", "B")], basis="X_pca")
    >>> fig.layout.title.text
    'Elements of the Jacobian'
    """
    _checks.number("quantile", quantile, 0.5, 1.0)
    _checks.integer("ncols", ncols)
    columns = _stored(adata) if pairs is None else _asked(adata, pairs)
    values = {p: common.obs_values(adata, name, "") for p, name in columns.items()}
    xy, axes = common.map_points(adata, basis)
    keep = _figures.thin(adata.n_obs, _figures.MAX_POINTS // len(values))
    limits = {p: common.limit(v, quantile) for p, v in values.items()}
    top = max(limits.values())
    bar = "Element (1 / time)" if shared_scale else "Element / scale of its panel"
    told = "; ".join(f"target {i}, regulator {j}, {_told(v)}" for (i, j), v in values.items())
    alt = (
        f"{title}. Maps of {len(values)} elements, each for {adata.n_obs} cells over {common.listed(axes)}, blue below "
        f"0, red above 0: {told}.{common.drawn(adata.n_obs, len(keep), 'cells')}"
    )
    rows = -(-len(values) // ncols)
    scale = common.color_axis(top if shared_scale else 1.0, bar)
    fig = _figures.figure(title=title, alt=alt, height=110 + 270 * rows, coloraxis=scale)
    titles = [
        f"{common.escaped(f'target {i}, regulator {j}')}"
        + ("" if shared_scale else f"<br>scale ±{common.number(limits[i, j])}")
        for i, j in values
    ]
    where = common.panels(
        fig, len(values), ncols, titles=titles, x=axes[0], y=axes[1], horizontal_spacing=0.05
    )
    for (pair, array), (row, col) in zip(values.items(), where, strict=True):
        part = array[keep] if shared_scale else array[keep] / limits[pair]
        _map(fig, xy[keep], part, common.escaped("d{} / d{}".format(*pair)), row=row, col=col)
    fig.update_layout(margin={"t": 90})
    return _bare(fig)


def _stored(adata: AnnData) -> dict[tuple[str, str], str]:
    found = [(m.groups(), c) for c in map(str, adata.obs.columns) if (m := ELEMENT.fullmatch(c))]
    if not found:
        _checks.fail(
            "`adata.obs` holds no elements of Jacobians, columns 'jacobian_df_<target>_dx_<regulator>'.",
            "Run `hopfield.compute_jacobian_elements(adata, [(target, regulator)])` first.",
            kind=_checks.MissingKeyError,
        )
    return dict(found[:MOST_ELEMENTS])


def _asked(adata: AnnData, pairs: Sequence[tuple[str, str]]) -> dict[tuple[str, str], str]:
    if isinstance(pairs, str) or not 1 <= len(pairs) <= 12:
        _checks.fail(
            f"`pairs` is {pairs!r}, but must hold 1 to 12 pairs.",
            "Write pairs=[('target', 'regulator')].",
        )
    columns = {}
    for pair in pairs:
        if isinstance(pair, str) or len(pair) != 2:
            _checks.fail(
                f"{pair!r} is not a pair (target, regulator).", "Write pairs=[('target', 'regulator')]."
            )
        i, j = map(str, pair)
        name = f"jacobian_df_{i}_dx_{j}"
        _checks.key(
            adata, "obs", name, f"Run `hopfield.compute_jacobian_elements(adata, [({i!r}, {j!r})])` first."
        )
        columns[i, j] = name
    return columns


def _told(values: np.ndarray) -> str:
    low, high = common.number(values.min()), common.number(values.max())
    return f"from {low} to {high}, above 0 in {np.mean(values > 0):.0%} of the cells"


def _map(fig: Figure, xy: np.ndarray, values: np.ndarray, label: str, **place: Any) -> None:
    import plotly.graph_objects as go

    fig.add_trace(
        go.Scatter(
            x=xy[:, 0], y=xy[:, 1], mode="markers", showlegend=False,
            marker=common.marker(len(xy), color=common.small(values), coloraxis="coloraxis"),
            hovertemplate=f"{label}: " + "%{marker.color:.3g}<extra></extra>",
        ),
        **place,
    )  # fmt: skip


def _bare(fig: Figure) -> Figure:
    """Positions on an embedding have no unit: no numbers, no grid."""
    fig.update_xaxes(showticklabels=False, showgrid=False)
    return fig.update_yaxes(showticklabels=False, showgrid=False)


def plot_embedding_velocity(
    adata: AnnData,
    projected: pd.DataFrame,
    *,
    basis: str | None = None,
    groupby: str | None = None,
    title: str = "Velocity on the embedding",
) -> Figure:
    """Arrows of the velocity, projected on an embedding, over the cells.

    Parameters
    ----------
    adata
        Annotated data with the embedding.
    projected
        Table ``x``, ``y`` (position of each arrow) and ``u``, ``v`` (its direction, in the unit of the embedding).
    basis
        As for `plot_stability_map`; the one that `projected` was made for.
    groupby
        Column of ``obs`` that colours the cells; None for grey.
    title
        Title of the figure.

    Returns
    -------
    Figure with at most 600 cells and 300 arrows. The longest arrow is as long as the distance of two neighbouring
    places of the grid, the others in proportion.

    Raises
    ------
    MissingKeyError, TypeError, ValueError
        If `projected` is not such a table, or the embedding does not exist.

    Examples
    --------
    >>> from scmods import hopfield
    >>> adata = hopfield.toggle(5, 8)
    >>> hopfield.embed(adata)
    >>> projected = hopfield.embed_velocity(adata, n_neighbors=5, n_grid=5)
    >>> fig = hopfield.plot_embedding_velocity(adata, projected, basis="X_pca")
    >>> fig.layout.title.text
    'Velocity on the embedding'
    """
    import plotly.graph_objects as go

    fix = "Pass positions and directions: columns 'x', 'y', 'u', 'v'."
    common.require(projected, ["x", "y", "u", "v"], fix, "projected")
    field = np.stack([common.column(projected, c) for c in "xyuv"], axis=1)
    field = field[np.isfinite(field).all(axis=1)]
    field = field[_figures.thin(len(field), 300)]
    xy, axes = common.map_points(adata, basis)
    names, of = common.groups(adata, groupby)
    keep = _figures.thin(adata.n_obs, _figures.MAX_POINTS)
    alt = (
        f"{title}. {len(field)} arrows over {adata.n_obs} cells in the plane of {common.listed(axes)}"
        + ("" if groupby is None else f", cells coloured by the {len(names)} groups of {groupby}")
        + f". {_direction(field)}{common.drawn(adata.n_obs, len(keep), 'cells')}"
    )
    fig = _figures.figure(title=title, alt=alt, x=axes[0], y=axes[1], height=520)
    for i, name in enumerate(names):
        rows = keep[of[keep] == name]
        tone = common.GREY if groupby is None else common.color(i)
        style = common.marker(
            len(keep), color=tone, symbol=SYMBOLS[i // 12 % 4], opacity=0.45, line={"width": 0}
        )
        fig.add_trace(
            go.Scatter(x=xy[rows, 0], y=xy[rows, 1], mode="markers", name=common.escaped(name), marker=style,
                       hovertemplate="%{fullData.name}<extra></extra>", showlegend=groupby is not None)
        )  # fmt: skip
    if len(field):
        start, step = field[:, :2], field[:, 2:]
        longest = np.linalg.norm(step, axis=1).max() or 1.0
        gap = np.sqrt(np.prod(np.ptp(xy, axis=0)) / len(field))
        fig.add_trace(common.arrows(start, start + step * gap / longest, tone="#777777", width=1.6))
    return _bare(common.legend_on_top(fig, 1 + len(names) // 5))


def _direction(field: np.ndarray) -> str:
    if not len(field):
        return "No arrow is finite."
    u, v = field[:, 2:].mean(axis=0)
    across, up = "right" if u > 0 else "left", "up" if v > 0 else "down"
    return f"On average they point {across} and {up} ({common.number(u)}, {common.number(v)})."
