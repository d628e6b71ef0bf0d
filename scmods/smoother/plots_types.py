"""Proportions of cell types: maps beside the truth, and estimates against it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from scmods import _checks, _figures
from scmods.smoother import plots_spots as maps
from scmods.smoother.keys import Keys

if TYPE_CHECKING:
    import pandas as pd
    from anndata import AnnData
    from plotly.graph_objects import Figure

__all__ = ["plot_proportion_scatter", "plot_proportions"]

FIX = "Run `smoother.deconvolve(adata, profiles)` first."


def plot_proportions(
    adata: AnnData,
    *,
    truth: str | np.ndarray | pd.DataFrame | None = None,
    types: Sequence[str] | None = None,
    estimate: str | np.ndarray | pd.DataFrame | None = None,
    key_added: str = "smoother",
    spatial_key: str = "spatial",
    ncols: int | None = None,
    y_down: bool = False,
    title: str = "Proportions of cell types",
) -> Figure:
    """Maps of the proportions, each type with the truth beside it where that is known.

    Parameters
    ----------
    adata
        Annotated data after `deconvolve`.
    truth
        True proportions: key of ``obsm``, table, or array (spots, types). Columns of a table, and of a key whose
        types stand in ``uns``, are matched by name.
    types
        Types to draw, by default all.
    estimate
        Proportions to draw instead of the stored ones: key of ``obsm``, table, or array with columns in the order
        of the stored types.
    key_added
        Prefix given to `deconvolve`.
    spatial_key
        Key of the coordinates in ``obsm``.
    ncols
        Maps per row, by default 3, with truth 4: two pairs.
    y_down
        The second coordinate grows downwards.
    title
        Title of the figure.

    Returns
    -------
    Figure with whole percents on one scale, from 0 to the largest value shown.

    Raises
    ------
    MissingKeyError, TypeError, ValueError
        If proportions, truth or a type do not exist, or shapes differ.

    Examples
    --------
    >>> from scmods import smoother
    >>> adata = smoother.tissue(6, 6)
    >>> smoother.spatial_weights(adata, n_neighbors=4)
    >>> smoother.deconvolve(adata, smoother.reference(adata), smoothing=0.1)
    >>> fig = smoother.plot_proportions(adata, truth="truth")
    >>> fig.layout.title.text
    'Proportions of cell types'
    """
    spots, _ = maps.read_spots(adata, spatial_key, y_down=y_down)
    shares, true = _both(adata, estimate, truth, types, key_added)
    shown: dict[str, np.ndarray] = {}
    for name in shares:
        if true is not None:
            shown[f"{name}, truth"] = true[name]
        shown[name if true is None else f"{name}, estimate"] = shares[name]
    high = max(float(np.nanmax(v)) for v in shown.values()) or 1.0
    scale = maps.Scale(0.0, high, 0.01, diverging=False, label="Share of the spot")
    fig = _figures.figure(title=title, alt="", coloraxis=scale.axis())
    ncols = _checks.integer("ncols", ncols or (3 if true is None else 4))
    titles = [_figures.escaped(name, 20) for name in shown]
    where, keep, style = maps.map_panels(fig, spots, len(shown), ncols, titles=titles, value_bytes=1)
    for (name, array), (row, col) in zip(shown.items(), where, strict=True):
        maps.add_map(fig, spots, array, scale, keep, style, name, row=row, col=col)
    told = "; ".join(_told(name, shares[name], None if true is None else true[name]) for name in shares)
    alt = f"{title}. {len(shown)} maps of {spots.n} spots, dark is low, bright is high: {told}."
    return fig.update_layout(meta={"alt": alt + maps.drawn(spots, keep)})


def plot_proportion_scatter(
    adata: AnnData,
    *,
    truth: str | np.ndarray | pd.DataFrame = "truth",
    types: Sequence[str] | None = None,
    estimate: str | np.ndarray | pd.DataFrame | None = None,
    key_added: str = "smoother",
    ncols: int = 3,
    title: str = "Estimated against true proportions",
) -> Figure:
    """Estimate against truth, one panel per type, with its error.

    Parameters
    ----------
    adata
        Annotated data after `deconvolve`.
    truth, types, estimate, key_added
        As for `plot_proportions`.
    ncols
        Panels per row.
    title
        Title of the figure.

    Returns
    -------
    Figure with a dashed line where both are equal. Above each panel the root mean squared error (RMSE) and the
    correlation r over all spots; 1,000 points in all panels together.

    Raises
    ------
    MissingKeyError, TypeError, ValueError
        As for `plot_proportions`.

    Examples
    --------
    >>> from scmods import smoother
    >>> adata = smoother.tissue(6, 6)
    >>> smoother.spatial_weights(adata, n_neighbors=4)
    >>> smoother.deconvolve(adata, smoother.reference(adata), smoothing=0.1)
    >>> fig = smoother.plot_proportion_scatter(adata)
    >>> fig.layout.title.text
    'Estimated against true proportions'
    """
    _checks.integer("ncols", ncols)
    shares, true = _both(adata, estimate, truth, types, key_added)
    n, names = adata.n_obs, list(shares)
    keep = _figures.thin(n, _figures.MAX_POINTS // len(names))
    errors = {t: _rmse(shares[t], true[t]) for t in names}
    pooled = float(np.sqrt(np.nanmean([e**2 for e in errors.values()])))
    rows = -(-len(names) // ncols)
    fig = _figures.figure(title=title, alt="", height=110 + 250 * rows, showlegend=False)
    titles = [f"{_figures.escaped(t, 30)}<br>{_score(shares[t], true[t])}" for t in names]
    where = _figures.panels(fig, len(names), ncols, titles=titles, x="True share", y="Estimate",
                            horizontal_spacing=0.06, vertical_spacing=min(0.3, 100 / (250 * rows)))  # fmt: skip
    for i, (name, (row, col)) in enumerate(zip(names, where, strict=True)):
        _add_points(fig, true[name][keep], shares[name][keep], i, row=row, col=col)
    told = "; ".join(_told(name, shares[name], true[name]) for name in names)
    alt = f"{title}: scatter of {n} spots for {len(names)} types, RMSE over all {_figures.number(pooled)}. {told}."
    fig.update_layout(meta={"alt": alt + _figures.drawn(n, len(keep), "spots")}, margin={"t": 95})
    return fig


def _rmse(a: np.ndarray, b: np.ndarray) -> float:
    return float(np.sqrt(np.nanmean((a - b) ** 2)))


def _correlation(a: np.ndarray, b: np.ndarray) -> float:
    there = np.isfinite(a) & np.isfinite(b)
    a, b = a[there] - a[there].mean(), b[there] - b[there].mean()
    size = np.sqrt((a @ a) * (b @ b))
    return float(a @ b / size) if size > 0 else float("nan")


def _score(a: np.ndarray, b: np.ndarray) -> str:
    return f"RMSE {_figures.number(_rmse(a, b))}, r = {_correlation(a, b):.2f}".replace("nan", "no value")


def _told(name: str, share: np.ndarray, true: np.ndarray | None) -> str:
    text = f"{name}, mean {np.nanmean(share):.1%}"
    return text if true is None else f"{text}, truth {np.nanmean(true):.1%}, {_score(share, true)}"


def _add_points(fig: Figure, x: np.ndarray, y: np.ndarray, i: int, **place: int) -> None:
    import plotly.graph_objects as go

    fig.add_trace(
        go.Scatter(x=_figures.small(x), y=_figures.small(y), mode="markers", hovertemplate="%{y:.2f}, truth %{x:.2f}"
                   "<extra></extra>", marker={"size": 4.5, "opacity": 0.6, "color": _figures.color(i)}), **place
    )  # fmt: skip
    top = float(np.nanmax([np.nanmax(x), np.nanmax(y), 0.05]))
    line = {"color": _figures.GREY, "dash": "dash", "width": 1.5}
    fig.add_trace(go.Scatter(x=[0, top], y=[0, top], mode="lines", line=line, hoverinfo="skip"), **place)
    fig.update_xaxes(range=[-0.04 * top, 1.04 * top], nticks=5, **place)
    fig.update_yaxes(range=[-0.04 * top, 1.04 * top], nticks=5, **place)


def _both(
    adata: AnnData, estimate: Any, truth: Any, types: Sequence[str] | None, key_added: str
) -> tuple[dict[str, np.ndarray], dict[str, np.ndarray] | None]:
    """Estimate and truth by type, in the order of the types asked for."""
    k = Keys(key_added)
    stored = adata.uns[k.deconvolution].get("types") if k.deconvolution in adata.uns else None
    if estimate is None:
        _checks.key(adata, "obsm", k.proportions, FIX)
    shares = _table(adata, k.proportions if estimate is None else estimate, stored, "estimate")
    names = _asked(types, shares)
    if truth is None:
        return {t: shares[t] for t in names}, None
    true = _table(adata, truth, list(shares), "truth")
    lost = [t for t in names if t not in true]
    if lost:
        _checks.fail(
            f"`truth` has no column for the types {_checks.listing(lost)}. Available: {_checks.listing(true)}.",
            "Name the columns of both alike, or choose types=[...].",
            kind=_checks.MissingKeyError,
        )
    return {t: shares[t] for t in names}, {t: true[t] for t in names}


def _asked(types: Sequence[str] | None, have: dict[str, np.ndarray]) -> list[str]:
    if types is None:
        return list(have)
    names = [types] if isinstance(types, str) else [str(t) for t in types]
    if not names:
        _checks.fail("`types` is empty; there is nothing to draw.", f"Available: {_checks.listing(have)}.")
    for t in names:
        if t not in have:
            _checks.fail(f"`types` names {t!r}, which was not estimated. Available: {_checks.listing(have)}.",
                         _checks.nearest(t, have), kind=_checks.MissingKeyError)  # fmt: skip
    return names


def _table(adata: AnnData, given: Any, types: Any, argument: str) -> dict[str, np.ndarray]:
    """Columns by type; an array has the order of `types`, unless ``uns`` says otherwise."""
    values, what = given, f"`{argument}`"
    if isinstance(given, str):
        _checks.key(adata, "obsm", given, f"Name a key of `adata.obsm`: {argument}='...'.")
        values, what = adata.obsm[given], f"`adata.obsm[{given!r}]`"
        beside = adata.uns.get(given)
        types = beside["types"] if isinstance(beside, dict) and "types" in beside else types
    if hasattr(values, "columns"):
        types = [str(c) for c in values.columns]
        values = values.to_numpy()
    array = _checks.numeric(what, values)
    n_types = "types" if types is None else len(types)
    if array.ndim != 2 or len(array) != adata.n_obs or (types is not None and array.shape[1] != len(types)):
        _checks.fail(
            f"{what} has shape {array.shape}, but must be ({adata.n_obs} spots, {n_types}).",
            "Pass a table with one column for each type.",
        )
    names = [str(t) for t in types] if types is not None else [f"type {i + 1}" for i in range(array.shape[1])]
    return dict(zip(names, array.T, strict=True))
