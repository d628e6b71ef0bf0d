"""Values and labels on the tissue, and fields drawn from a prior."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from scmods import _checks, _figures
from scmods.smoother import plots_spots as maps

if TYPE_CHECKING:
    from anndata import AnnData
    from plotly.graph_objects import Figure

__all__ = ["plot_prior_samples", "plot_tissue"]

NO_LABEL = "no label"


def plot_tissue(
    data: AnnData | np.ndarray,
    color: str | Sequence[str] | Mapping[str, Any] | np.ndarray,
    *,
    spatial_key: str = "spatial",
    layer: str | None = None,
    label: str = "Value",
    diverging: bool | None = None,
    shared_scale: bool = True,
    quantile: float = 0.99,
    ncols: int = 3,
    y_down: bool = False,
    title: str | None = None,
) -> Figure:
    """Numbers or labels of the spots where the spots are, one or several maps.

    Parameters
    ----------
    data
        Annotated data with coordinates, or an array (spots, 2 or 3) of them; a third coordinate is not drawn.
    color
        What to draw. With annotated data a name or a list of names, each a column of ``obs`` or a gene. Else values:
        an array (spots,) or (spots, maps), a table, or a mapping from the title of a map to (spots,) values. Numbers
        are drawn on a scale, text, booleans and categoricals as groups; NaN as a grey ring.
    spatial_key
        Key of the coordinates in ``obsm``.
    layer
        Layer that holds the genes; None for ``X``.
    label
        Title of the scale, with the unit.
    diverging
        Scale symmetric about 0, blue below and red above; by default where the values have both signs.
    shared_scale
        One scale for all maps. ``False``: colours are relative to the scale of each map, written above it.
    quantile
        Scales end at this quantile.
    ncols
        Maps per row.
    y_down
        The second coordinate grows downwards, as the pixels of an image.
    title
        Title of the figure.

    Returns
    -------
    Figure with all spots as tiles (squares, hexagons, or circles where they lie on no lattice); an even part where
    there are more than 4,000, or several large maps. Several maps round values to about 1/250 of the scale.

    Raises
    ------
    MissingKeyError, TypeError, ValueError
        If a name does not exist, lengths differ, or numbers and labels are mixed.

    Examples
    --------
    >>> xy = np.array([[0, 0], [1, 0], [0, 1], [1, 1]])
    >>> fig = plot_tissue(xy, np.array([0.0, 1.0, 2.0, 3.0]), label="Counts")
    >>> fig.data[0].marker.symbol
    'square'
    """
    _checks.number("quantile", quantile, 0.5, 1.0)
    _checks.integer("ncols", ncols)
    spots, _ = maps.read_spots(data, spatial_key, y_down=y_down)
    given = _named(data, color, layer, label)
    are_labels = [_is_label(v) for v in given.values()]
    if any(are_labels) != all(are_labels):
        _checks.fail(
            f"`color` mixes labels and numbers: {_checks.listing(given)}.",
            "Draw them in figures of their own.",
        )
    if all(are_labels):
        return _of_groups(spots, given, ncols, title)
    values = {k: maps.of_spots(f"The map {k!r}" if k else "`color`", v, spots.n) for k, v in given.items()}
    return _of_numbers(spots, values, label, diverging, quantile, ncols, title, shared=shared_scale)


def plot_prior_samples(
    samples: Any,
    xy: AnnData | np.ndarray,
    *,
    spatial_key: str = "spatial",
    shared_scale: bool = False,
    ncols: int = 3,
    y_down: bool = False,
    title: str = "Fields drawn from the prior",
) -> Figure:
    """Random fields of one or several priors on the tissue: what a prior believes before it sees data.

    Parameters
    ----------
    samples
        Fields: an array (spots,) or (spots, samples) as `sample` returns it, a table, or a mapping from a title, such
        as the name of the prior, to (spots,) values.
    xy
        Coordinates (spots, 2), or annotated data that hold them.
    spatial_key
        Key of the coordinates in ``obsm``.
    shared_scale
        One scale for all fields; by default each has its own, written above it, because priors differ in variance.
    ncols
        Maps per row.
    y_down
        The second coordinate grows downwards.
    title
        Title of the figure.

    Returns
    -------
    Figure with one map per field, symmetric about 0.

    Raises
    ------
    MissingKeyError, TypeError, ValueError
        As `plot_tissue`.

    Examples
    --------
    >>> import numpy as np
    >>> from scmods import smoother
    >>> xy = np.array([[0, 0], [1, 0], [0, 1], [1, 1]])
    >>> fig = smoother.plot_prior_samples({"rho 0.9": [0.5, 0.4, -0.2, -0.3]}, xy)
    >>> len(fig.data)
    1
    """
    if not isinstance(samples, Mapping) and not hasattr(samples, "columns"):
        array = _checks.numeric("`samples`", samples)
        many = array if array.ndim == 2 else array[:, None]
        samples = {f"sample {i + 1}": one for i, one in enumerate(many.T)}
    return plot_tissue(xy, samples, spatial_key=spatial_key, label="Value", diverging=True, shared_scale=shared_scale,
                       ncols=ncols, y_down=y_down, title=title)  # fmt: skip


def _is_label(values: Any) -> bool:
    return hasattr(values, "cat") or np.asarray(values).dtype.kind not in "iuf"


def _named(data: Any, color: Any, layer: str | None, label: str) -> dict[str, Any]:
    """Title of every map and what it shows."""
    if isinstance(color, Mapping) or hasattr(color, "columns"):
        found = {str(k): color[k] for k in color}
    elif isinstance(color, str) or (
        isinstance(color, list | tuple) and all(isinstance(c, str) for c in color)
    ):
        names = [color] if isinstance(color, str) else list(color)
        if not hasattr(data, "obs"):
            _checks.fail(
                f"`color` is {color!r}, but without annotated data there is nothing to look names up in.",
                "Pass values: color=np.array([...]).",
                kind=TypeError,
            )
        found = {name: _figures.looked_up(data, name, layer) for name in names}
    else:
        array = color if hasattr(color, "cat") else np.asarray(color)
        several = not hasattr(color, "cat") and array.ndim == 2
        found = {f"{label} {i + 1}": one for i, one in enumerate(array.T)} if several else {label: array}
    if not found:
        _checks.fail("`color` is empty; there is nothing to draw.", "Name a column of `adata.obs` or a gene.")
    return found


def _of_numbers(
    spots: maps.Spots, values: dict[str, np.ndarray], label: str, diverging: bool | None, quantile: float,  # noqa: FBT001
    ncols: int, title: str | None, *, shared: bool,
) -> Figure:  # fmt: skip
    told = "; ".join(f"{k}, {span(v)}" for k, v in values.items())
    titles = [_figures.escaped(k) for k in values] if len(values) > 1 else [""]
    if not shared and len(values) > 1:
        values, titles, diverging, label = relative(values, diverging, quantile)
    scale = maps.scale_of(
        list(values.values()), label, diverging=diverging, quantile=quantile, exact=len(values) == 1
    )
    title = title or (f"{next(iter(values))} on the tissue" if len(values) == 1 else "Values on the tissue")
    fig = _figures.figure(title=title, alt="", coloraxis=scale.axis())
    size = 4 if scale.unit is None else 1
    where, keep, style = maps.map_panels(fig, spots, len(values), ncols, titles=titles, value_bytes=size)
    for (name, array), (row, col) in zip(values.items(), where, strict=True):
        maps.add_map(fig, spots, array, scale, keep, style, name, row=row, col=col)
    how = "blue below 0, red above 0" if scale.diverging else "dark is low, bright is high"
    kind = "Map" if len(values) == 1 else f"{len(values)} maps"
    alt = f"{title}. {kind} of {spots.n} spots, {how}: {told}.{maps.drawn(spots, keep)}"
    return fig.update_layout(meta={"alt": alt})


def relative(
    values: Mapping[str, np.ndarray], diverging: bool | None, quantile: float  # noqa: FBT001
) -> tuple[dict[str, np.ndarray], list[str], bool, str]:  # fmt: skip
    """Values divided by the scale of their map, the titles that name the scales, whether they diverge, a label."""
    if diverging is None:
        diverging = any(np.nanmin(v) < 0 < np.nanmax(v) for v in values.values())
    out, titles = {}, []
    for name, array in values.items():
        own = maps.scale_of([array], "", diverging=diverging, quantile=quantile, exact=True)
        low = 0.0 if diverging else own.low
        out[name] = (array - low) / (own.high - low)
        high = _figures.number(own.high)
        text = f"scale ±{high}" if diverging else f"{_figures.number(own.low)} to {high}"
        titles.append(f"{_figures.escaped(name)}<br>{text}")
    return out, titles, diverging, "Value / scale of its map"


def span(values: np.ndarray) -> str:
    """Range and missing values of a map, for the alt text."""
    low, high = _figures.number(np.nanmin(values)), _figures.number(np.nanmax(values))
    lost = int((~np.isfinite(values)).sum())
    return f"from {low} to {high}" + (f", {lost} spots without a value" if lost else "")


def in_groups(values: Any, n: int, name: str) -> tuple[list[str], np.ndarray]:
    """Names of the groups in their own order, and the group of every spot."""
    import pandas as pd

    column = pd.Series(values)
    if len(column) != n:
        _checks.fail(
            f"{name} has {len(column)} labels, but there are {n} spots.",
            "Give one label for each spot, in the order of the spots.",
        )
    labels = np.where(column.isna(), NO_LABEL, column.astype(str)).astype(str)
    names = [str(c) for c in column.cat.categories] if hasattr(column, "cat") else sorted(set(labels))
    there = set(labels)
    return [c for c in dict.fromkeys([*names, NO_LABEL]) if c in there], labels


def _of_groups(spots: maps.Spots, given: dict[str, Any], ncols: int, title: str | None) -> Figure:
    found = {k: in_groups(v, spots.n, f"The map {k!r}") for k, v in given.items()}
    names = list(dict.fromkeys(c for part, _ in found.values() for c in part))
    title = title or (f"{next(iter(found))} on the tissue" if len(found) == 1 else "Labels on the tissue")
    fig = _figures.figure(title=title, alt="")
    titles = [_figures.escaped(k) for k in found] if len(found) > 1 else [""]
    where, keep, style = maps.map_panels(fig, spots, len(found), ncols, titles=titles, value_bytes=0)
    shown: set[str] = set()
    told = []
    for (name, (_, labels)), (row, col) in zip(found.items(), where, strict=True):
        maps.add_groups(fig, spots, labels, names, keep, style, shown=shown, row=row, col=col)
        share = {c: float(np.mean(labels == c)) for c in names}
        most = sorted(share, key=share.get, reverse=True)[:4]
        told.append(f"{name}: " + ", ".join(f"{c} {share[c]:.0%}" for c in most))
    alt = (
        f"{title}. {len(found)} maps of {spots.n} spots in {len(names)} groups; largest: {'; '.join(told)}."
        f"{maps.drawn(spots, keep)}"
    )
    fig.update_layout(meta={"alt": alt if len(found) > 1 else alt.replace("1 maps", "Map")})
    return _figures.legend_on_top(
        fig, 1 + sum(len(c) + 6 for c in names) // 90, above=18 if len(found) > 1 else 0
    )
