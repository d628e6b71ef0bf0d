"""Latent cells of two markers on the density that the table promises."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from scmods import _checks, _figures
from scmods.scyan import plots_common as common
from scmods.scyan.plots_table import READ, log_densities

if TYPE_CHECKING:
    import pandas as pd
    from plotly.graph_objects import Figure

__all__ = ["plot_latent"]

GRID = 45
CONTINUUM = 5.0  # as in the prior: modes of continuum markers are drawn together by this factor
STEP = 1000  # steps of a decade of the share outside
MOST_DECADES = 4


def plot_latent(
    model_or_u: Any,
    table: pd.DataFrame | None = None,
    x: str = "",
    y: str = "",
    labels: Any = None,
    *,
    prior_std: float | None = None,
    pi: Mapping[str, float] | Sequence[float] | None = None,
    continuum_markers: Sequence[str] | None = None,
    title: str | None = None,
) -> Figure:
    """Latent cells of two markers, coloured by label, and contours of the density they are meant to have.

    Parameters
    ----------
    model_or_u
        A trained `Scyan`, or latent cells, (cells, markers of the table).
    table
        Populations x markers; by default that of the model, with what was filled in after training.
    x, y
        Two markers; by default the first two of the table.
    labels
        One label per cell, NaN for unclassified; None for one colour.
    prior_std
        Width of the prior; by default that of the model, or 0.3.
    pi
        Weights of the rows; by default those of the model, or equal ones.
    continuum_markers
        Markers whose modes are a fifth of the entries; by default those of the model, or none.
    title
        Title of the figure.

    Returns
    -------
    Figure with 600 points and three grey lines, within which 50, 95 and 99.5 % of the prior of both markers lie:
    the sum over the rows of weight times density, normal around a known entry, uniform plus normal for an unknown one
    (or the plateau, where the model uses it). The axes end at 3, or where 99 % of the cells end.

    Raises
    ------
    MissingKeyError, TypeError, ValueError
        If there is no table, a marker is not in it, or shapes differ.

    Examples
    --------
    >>> import pandas as pd
    >>> table = pd.DataFrame({"CD3": [1.0, -1.0], "CD19": [-1.0, 1.0]}, index=["T", "B"])
    >>> fig = plot_latent(np.array([[0.9, -1.1], [-1.0, 0.8]]), table, "CD3", "CD19", ["T", "B"])
    >>> [t.name for t in fig.data]
    ['prior', 'B', 'T']
    """
    given = _inputs(model_or_u, table, prior_std, pi, continuum_markers)
    pair, places = _plane(list(given.table.columns), x, y)
    u = given.u[:, places]
    groups, of = [_figures.EVERY], np.full(len(u), _figures.EVERY)
    if labels is not None:
        groups, of = common.grouped(labels, len(u), "labels", "Pass `model.predict()`.", given.cells)
    modes = given.table.to_numpy()[:, places] / [CONTINUUM if m in given.continuum else 1.0 for m in pair]
    end = float(max(3.0, np.quantile(np.abs(u), 0.99)))
    first, second = (_figures.escaped(m) for m in pair)
    title = title or f"Latent {first} and {second}"
    fig = _figures.figure(title=title, alt="", x=f"{first}, latent", y=f"{second}, latent", height=520)
    axis = np.linspace(-end, end, GRID)
    _add_contours(fig, axis, _density(axis, modes, given))
    keep = common.thin_groups(of)
    _add_cells(fig, u, groups, of, keep, legend=labels is not None)
    fig.update_xaxes(range=[-end, end])
    fig.update_yaxes(range=[-end, end])
    alt = f"{_figures.plain(title)}: {_told(u, modes, given.sigma)}{_medians(u, of, groups)}"
    outside = float((np.abs(u).max(axis=1) > end).mean())
    alt += f" {outside:.1%} of the cells lie outside the axes." if outside else ""
    fig.update_layout(meta={"alt": alt + _figures.drawn(len(u), len(keep), "cells")})
    return _figures.legend_on_top(fig, 1 + len(groups) // 6)


def _plane(names: list[str], x: str, y: str) -> tuple[list[str], list[int]]:
    """Two different markers and their places."""
    pair = common.chosen([x or names[0], y or names[min(1, len(names) - 1)]], names, "x, y")
    if pair[0] == pair[1]:
        _checks.fail(f"`x` and `y` are both {pair[0]!r}, but a plane needs two markers.", "Write y='...'.")
    return pair, [names.index(m) for m in pair]


def _add_cells(
    fig: Figure, u: np.ndarray, groups: list[str], of: np.ndarray, keep: np.ndarray, *, legend: bool
) -> None:
    import plotly.graph_objects as go

    edge = {"size": 6, "opacity": 0.75, "line": {"width": 0.4, "color": _figures.GREY}}
    for i, name in enumerate(groups):
        rows = keep[of[keep] == name]
        fig.add_trace(
            go.Scatter(x=_figures.small(u[rows, 0]), y=_figures.small(u[rows, 1]), mode="markers",
                       marker=common.group_style(name, i) | edge, name=_figures.escaped(name), showlegend=legend,
                       hovertemplate="(%{x:.2f}, %{y:.2f})<extra>%{fullData.name}</extra>")
        )  # fmt: skip


def _told(u: np.ndarray, modes: np.ndarray, sigma: float) -> str:
    known = int(np.isfinite(modes).all(axis=1).sum())
    return (
        f"scatter of {len(u)} latent cells over lines that hold 50, 95 and 99.5 % of the prior, standard deviation "
        f"{sigma:g}; {known} of {len(modes)} populations know both markers. "
    )


def _medians(u: np.ndarray, of: np.ndarray, groups: list[str]) -> str:
    centers = ((g, np.median(u[of == g], axis=0)) for g in groups)
    return " ".join(f"{g}: median ({_figures.number(a)}, {_figures.number(b)})." for g, (a, b) in centers)


@dataclass(frozen=True)
class _Latent:
    """What is drawn: latent cells, the table, and how it becomes a density."""

    u: np.ndarray
    table: pd.DataFrame
    sigma: float
    weights: np.ndarray
    kind: str = "exact"
    continuum: frozenset[str] = frozenset()
    cells: Any = None


def _inputs(
    given: Any, table: Any, prior_std: float | None, pi: Any, continuum: Sequence[str] | None
) -> _Latent:
    """Latent cells and prior, from a model or from arrays."""
    kind, cells = "exact", None
    if hasattr(given, "latent"):
        model, prior = given, given.module.prior
        # the prior knows what was filled in after training, the table does not
        filled = type(model.table)(np.asarray(prior.rho), model.table.index, model.table.columns)
        table = filled if table is None else table
        prior_std = float(prior.prior_std) if prior_std is None else prior_std
        pi = np.exp(np.asarray(model.module.log_pi.detach().cpu(), dtype=np.float64)) if pi is None else pi
        continuum = model.settings["continuum_markers"] if continuum is None else continuum
        kind, cells, given = prior.nan_density, model.adata.obs_names, model.latent()
    if table is None:
        _checks.fail("`table` is missing: latent cells alone do not say what the table says.", READ)
    table = common.matrix(table, "table", READ)
    u = _checks.numeric("The latent cells", given)
    if u.ndim != 2 or len(u) == 0 or u.shape[1] != table.shape[1]:
        _checks.fail(
            f"The latent cells have shape {u.shape}, but must be (cells, {table.shape[1]} markers of the table).",
            "Pass the model, or `model.latent()`.",
        )
    _checks.finite("The latent cells", u)
    sigma = _checks.number("prior_std", 0.3 if prior_std is None else prior_std, 1e-3, 0.999)
    squeezed = (
        frozenset(common.chosen(list(continuum), list(table.columns), "continuum_markers"))
        if continuum
        else ()
    )
    return _Latent(u, table, sigma, _weights(pi, table), kind, frozenset(squeezed), cells)


def _weights(pi: Any, table: pd.DataFrame) -> np.ndarray:
    """Weights of the rows, which sum to 1; those with names are matched by them."""
    if hasattr(pi, "items"):
        named = {str(k): v for k, v in pi.items()}
        pi = [named[n] for n in common.chosen(list(table.index), list(named), "pi")]
    weights = np.ones(len(table)) if pi is None else common.values("`pi`", pi, len(table))
    if weights.min() < 0 or weights.sum() <= 0:
        _checks.fail("`pi` must hold weights that are not negative, not all 0.")
    return weights / weights.sum()


def _density(axis: np.ndarray, modes: np.ndarray, given: _Latent) -> np.ndarray:
    """(y, x) density of two markers: one product of the two marginals of every row."""
    sigma = given.sigma
    normal = np.exp(-0.5 * ((axis - np.nan_to_num(modes)[:, :, None]) / sigma) ** 2) / (
        sigma * np.sqrt(2 * np.pi)
    )
    unknown = np.exp(log_densities(axis, sigma)[given.kind])
    each = np.where(np.isnan(modes)[:, :, None], unknown, normal)
    return (each[:, 1] * given.weights[:, None]).T @ each[:, 0]


def higher_share(density: np.ndarray) -> np.ndarray:
    """Share of the whole that lies where the density is higher, for every place of a grid.

    Parameters
    ----------
    density
        Values on an even grid, of any shape.
    """
    flat = density.ravel()
    order = np.argsort(-flat, kind="stable")
    out = np.empty(len(flat))
    total = np.cumsum(flat[order])
    out[order] = (total - flat[order]) / total[-1]
    return out.reshape(density.shape)


def _add_contours(fig: Figure, axis: np.ndarray, density: np.ndarray) -> None:
    """Lines within which 50, 95 and 99.5 % lie: even steps of the logarithm of the share outside."""
    import plotly.graph_objects as go

    outside = np.maximum(1 - higher_share(density), 10.0**-MOST_DECADES)
    # whole thousandths of a decade: half the size of single precision
    z = np.round(-STEP * np.log10(outside)).astype(np.uint16)
    first = STEP * np.log10(2)
    fig.add_trace(
        go.Contour(x=_figures.small(axis), y=_figures.small(axis), z=z, showscale=False, name="prior",
                   colorscale=[[0, _figures.GREY], [1, _figures.GREY]], line={"width": 1.5}, hoverinfo="skip",
                   contours={"coloring": "lines", "start": first, "end": first + 2 * STEP, "size": STEP},
                   showlegend=False)
    )  # fmt: skip
