"""Figures of what the Jacobians and the energies say about groups of cells."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

import numpy as np

from scmods import _checks, _figures
from scmods.hopfield import plots_common as common
from scmods.hopfield.keys import Keys

if TYPE_CHECKING:
    from anndata import AnnData
    from plotly.graph_objects import Figure

__all__ = ["plot_eigenvalues", "plot_energies", "plot_stability"]

SYMBOLS = ("circle", "diamond", "square", "triangle-up")
STATS = "Run `hopfield.compute_jacobian_stats(adata)` first."
NORMALITY = "Run `hopfield.nonnormality(adata)` first."
ROTATION = "Run `hopfield.compute_rotational_part(adata)` first."
READ = {
    Keys.leading_real: ("Leading real part (1 / time)", STATS),
    Keys.leading_imag: ("Leading imaginary part (1 / time)", STATS),
    Keys.positive: ("Eigenvalues with positive real part", STATS),
    Keys.negative: ("Eigenvalues with negative real part", STATS),
    Keys.trace: ("Trace, the divergence (1 / time)", STATS),
    Keys.rotational: ("Rotational part, Frobenius norm (1 / time)", ROTATION),
    Keys().rotational_fraction: ("Rotational fraction of the Jacobian", NORMALITY),
    Keys().reactivity: ("Reactivity (1 / time)", NORMALITY),
    Keys().departure: ("Departure from normality (1 / time)", NORMALITY),
    Keys().r2: (
        "Share of the velocity that is reproduced",
        "Run `hopfield.reconstruct_velocity(adata)` first.",
    ),
}


def read_label(name: str) -> tuple[str, str]:
    """Axis title of a column of ``obs`` and the call that writes it."""
    return READ.get(name, (name, "Name a numeric column of `adata.obs`."))


def plot_eigenvalues(
    adata: AnnData, *, groupby: str | None = None, only_varying: bool = False, title: str | None = None
) -> Figure:
    """Eigenvalues of the Jacobians in the complex plane, the imaginary axis marked.

    Parameters
    ----------
    adata
        Annotated data after `compute_jacobians`.
    groupby
        Column of ``obs`` whose groups have their own colour; None for one colour.
    only_varying
        Leave out the eigenvalues that are the same in all cells of a group (to 1e-5 of the largest), such as minus
        the degradation rates of the genes that regulate nothing. A group of one cell keeps all.
    title
        Title of the figure.

    Returns
    -------
    Figure with, per group, the leading eigenvalue (largest real part) of cells as strong points and a sample of the
    others as pale ones, 600 points in all. Right of the dashed line a small deviation grows.

    Raises
    ------
    MissingKeyError, ValueError
        If there are no eigenvalues, some are not finite, or the column of groups does not exist.

    Examples
    --------
    >>> from scmods import hopfield
    >>> adata = hopfield.toggle(5, 8)
    >>> field = hopfield.fit(adata)
    >>> hopfield.compute_jacobians(adata)
    >>> fig = hopfield.plot_eigenvalues(adata)
    >>> len(fig.data)
    2
    """
    _checks.key(adata, "obsm", Keys.eigenvalues, "Run `hopfield.compute_jacobians(adata)` first.")
    values = np.asarray(adata.obsm[Keys.eigenvalues])
    _checks.finite(f"`adata.obsm[{Keys.eigenvalues!r}]`", values, adata.obs_names)
    names, labels = common.groups(adata, groupby)
    title = title or "Eigenvalues of the Jacobians"
    fig = _figures.figure(title=title, alt="", x="Real part (1 / time)", y="Imaginary part (1 / time)")
    told = []
    for i, name in enumerate(names):
        rows = np.flatnonzero(labels == name)
        lead = values[rows, values[rows].real.argmax(axis=1)]
        share = np.mean(lead.real > 0)
        told.append(
            f"{name}, median leading real part {common.number(np.median(lead.real))}, above 0 in {share:.0%}"
        )
        budget = max(2, _figures.MAX_POINTS // (2 * len(names)))
        _add_eigenvalues(fig, values[rows], lead, name, i, budget, only_varying)
    reach = [
        np.concatenate([t.x for t in fig.data]).min(),
        max(0.0, *(t.x.max() for t in fig.data if len(t.x))),
    ]
    pad = 0.04 * (reach[1] - reach[0]) or 1.0
    fig.update_xaxes(range=[float(reach[0] - pad), float(reach[1] + pad)])
    fig.add_vline(x=0, line={"dash": "dash", "width": 1.5, "color": common.GREY})
    what = "the eigenvalues that differ between cells" if only_varying else "eigenvalues"
    alt = (
        f"{title}: scatter in the complex plane of {what} of {adata.n_obs} cells with {values.shape[1]} eigenvalues "
        f"each, a dashed line on the imaginary axis; at most {_figures.MAX_POINTS} points are drawn. By group: "
        f"{'; '.join(told)} of the cells."
    )
    fig.update_layout(meta={"alt": alt})
    return common.legend_on_top(fig, 1 + len(names) // 5)


def _add_eigenvalues(
    fig: Figure, values: np.ndarray, lead: np.ndarray, name: str, i: int, budget: int, only_varying: bool  # noqa: FBT001
) -> None:  # fmt: skip
    import plotly.graph_objects as go

    # the leading ones would be lost in a sample of all: one of many hundreds per cell
    rows = _figures.thin(len(values), budget)
    rest = np.delete(
        values[rows].ravel(), np.arange(len(rows)) * values.shape[1] + values[rows].real.argmax(1)
    )
    if only_varying and len(values) > 1:
        rest = rest[~_shared(rest, values)]
    rest = rest[_figures.thin(len(rest), budget)]
    style = {"color": common.color(i), "symbol": SYMBOLS[i // 12 % 4]}
    text = "%{x:.3g} + %{y:.3g} i<extra>" + common.escaped(name) + "</extra>"
    for z, opacity, size, shown in ((rest, 0.35, 3.5, False), (lead[rows], 0.9, 6, True)):
        fig.add_trace(
            go.Scatter(x=common.small(z.real), y=common.small(z.imag), mode="markers", name=common.escaped(name),
                       legendgroup=str(i), showlegend=shown, hovertemplate=text,
                       marker={"size": size, "opacity": opacity, **style})
        )  # fmt: skip


def _shared(some: np.ndarray, values: np.ndarray) -> np.ndarray:
    """Which of `some` eigenvalues occur in every cell; a few cells decide, equal rates of decay are common to all."""
    near = 1e-5 * np.abs(values).max()
    shared = np.ones(len(some), dtype=bool)
    for row in values[_figures.thin(len(values), 20, seed=1)]:
        left = np.flatnonzero(shared)
        # ordered by real part, so that only neighbours have to be compared
        order = np.sort(row[np.abs(row.imag) <= near].real)
        if not len(order):
            return np.zeros(len(some), dtype=bool)
        at = np.searchsorted(order, some[left].real).clip(1, max(1, len(order) - 1))
        gap = np.minimum(
            np.abs(order[at - 1] - some[left].real), np.abs(order[at % len(order)] - some[left].real)
        )
        shared[left] = (gap <= near) & (np.abs(some[left].imag) <= near)
    return shared


def plot_stability(
    adata: AnnData,
    *,
    groupby: str | None,
    keys: Sequence[str] = (Keys.leading_real, Keys.positive, Keys.rotational, Keys.trace),
    title: str | None = None,
) -> Figure:
    """Boxes per group of what was read off the Jacobians: leading real part, unstable directions, rotation, trace.

    Parameters
    ----------
    adata
        Annotated data after `compute_jacobian_stats` and `compute_rotational_part`.
    groupby
        Column of ``obs`` with the groups; None for one box of all cells.
    keys
        Columns of ``obs`` to show, one panel each; any numeric column.
    title
        Title of the figure.

    Returns
    -------
    Figure with one panel per column and one lying box per group: median, quartiles, and whiskers from the 5 % to the
    95 % quantile. The number of cells stands behind the name of the group.

    Raises
    ------
    MissingKeyError, ValueError, TypeError
        If a column does not exist, holds text or values that are not finite.

    Examples
    --------
    >>> from scmods import hopfield
    >>> adata = hopfield.toggle(5, 8)
    >>> field = hopfield.fit(adata)
    >>> hopfield.compute_jacobians(adata)
    >>> fig = hopfield.plot_stability(adata, groupby="cell_type", keys=["jacobian_eig1_real"])
    >>> len(fig.data)
    1
    """
    labels = {name: read_label(name)[0] for name in keys}
    values = {name: common.obs_values(adata, name, read_label(name)[1]) for name in keys}
    return _boxes(adata, values, labels, groupby, title or "Stability by group")


def plot_energies(
    adata: AnnData,
    *,
    groupby: str | None = None,
    time: str | None = None,
    key_added: str = "hopfield",
    title: str | None = None,
) -> Figure:
    """Total energy and its three parts by group, or against a time.

    Parameters
    ----------
    adata
        Annotated data after `energies`.
    groupby
        Column of ``obs`` with the groups; None for all cells together.
    time
        Numeric column of ``obs``, such as pseudotime; cells are then points over it instead of boxes.
    key_added
        Prefix given to `energies`.
    title
        Title of the figure.

    Returns
    -------
    Figure with four panels: total, interactions, degradation, constant production. Every panel has its own scale.
    With `time`, 600 points in all panels together.

    Raises
    ------
    MissingKeyError, ValueError, TypeError
        If there are no energies or a column does not exist, or values are not finite.

    Examples
    --------
    >>> from scmods import hopfield
    >>> adata = hopfield.toggle(5, 8)
    >>> field = hopfield.fit(adata)
    >>> hopfield.energies(adata)
    >>> fig = hopfield.plot_energies(adata, time="time")
    >>> len(fig.data)
    4
    """
    k = Keys(key_added)
    labels = {k.energy: "Total", k.energy_interaction: "Interactions", k.energy_degradation: "Degradation",
              k.energy_bias: "Constant production"}  # fmt: skip
    added = "" if key_added == "hopfield" else f", key_added={key_added!r}"
    fix = f"Run `hopfield.energies(adata{added})` first."
    values = {name: common.obs_values(adata, name, fix) for name in labels}
    if time is None:
        return _boxes(adata, values, labels, groupby, title or "Energy and its parts", unit="Energy")
    at = common.obs_values(adata, time, "Name a numeric column of `adata.obs`: time='...'.")
    return _against(adata, at, values, labels, groupby, title or f"Energy over {time}", time)


def _boxes(
    adata: AnnData, values: Mapping[str, np.ndarray], labels: Mapping[str, str], groupby: str | None, title: str,
    unit: str = "",
) -> Figure:  # fmt: skip
    if not values:
        _checks.fail("`keys` is empty; there is nothing to draw.", f"Write keys=[{Keys.leading_real!r}].")
    names, of = common.groups(adata, groupby)
    counts = {n: int((of == n).sum()) for n in names}
    rows = -(-len(values) // 2)
    fig = _figures.figure(title=title, alt="", height=100 + rows * (95 + 24 * len(names)), showlegend=False)
    titles = list(labels.values()) if unit else [""] * len(values)
    x = unit or list(labels.values())
    where = common.panels(fig, len(values), 2, titles=titles, x=x, shared_yaxes=True,
                          horizontal_spacing=0.05, vertical_spacing=min(0.24, 0.36 / rows))  # fmt: skip
    ticks = [f"{common.escaped(n, 24)} ({counts[n]})" for n in names]
    told = []
    for (name, array), (row, col) in zip(values.items(), where, strict=True):
        medians = common.boxes(fig, {n: array[of == n] for n in names}, ticks, row=row, col=col)
        fig.update_xaxes(zeroline=bool(array.min() <= 0 <= array.max()), row=row, col=col)
        fig.update_yaxes(showgrid=False, row=row, col=col)
        high, low = max(medians, key=medians.get), min(medians, key=medians.get)
        ends = f"{high} ({common.number(medians[high])})"
        ends += "" if high == low else f", lowest in {low} ({common.number(medians[low])})"
        told.append(f"{labels[name]} has its highest median in {ends}")
    fig.update_yaxes(title={"text": groupby or "", "standoff": 8}, col=1)
    alt = (
        f"{title}. Boxes of {len(values)} quantities for {len(names)} groups of {adata.n_obs} cells, whiskers from the "
        f"5% to the 95% quantile. {'; '.join(told)}."
    )
    return fig.update_layout(meta={"alt": alt})


def _against(
    adata: AnnData, at: np.ndarray, values: Mapping[str, np.ndarray], labels: Mapping[str, str],
    groupby: str | None, title: str, time: str,
) -> Figure:  # fmt: skip
    import plotly.graph_objects as go

    names, of = common.groups(adata, groupby)
    keep = _figures.thin(adata.n_obs, _figures.MAX_POINTS // len(values))
    fig = _figures.figure(title=title, alt="", height=620)
    where = common.panels(fig, len(values), 2, titles=list(labels.values()), x=time, y="Energy")
    told = []
    for j, ((name, array), (row, col)) in enumerate(zip(values.items(), where, strict=True)):
        for i, group in enumerate(names):
            rows = keep[of[keep] == group]
            fig.add_trace(
                go.Scatter(x=common.small(at[rows]), y=common.small(array[rows]), mode="markers",
                           name=common.escaped(group), legendgroup=str(i), showlegend=j == 0 and len(names) > 1,
                           marker={"size": 5, "opacity": 0.75, "color": common.color(i),
                                   "symbol": SYMBOLS[i // 12 % 4]},
                           hovertemplate=f"{labels[name]} " + "%{y:.4g} at %{x:.3g}<extra>%{fullData.name}</extra>"),
                row=row, col=col,
            )  # fmt: skip
        early, late = (
            np.median(array[part]) for part in (at <= np.quantile(at, 0.2), at >= np.quantile(at, 0.8))
        )
        told.append(
            f"{labels[name]} median {common.number(early)} in the first and {common.number(late)} in the last fifth"
        )
    alt = (
        f"{title}: scatter of the energy of {adata.n_obs} cells over {time}, four panels. {'; '.join(told)}."
    )
    fig.update_layout(meta={"alt": alt + common.drawn(adata.n_obs, len(keep), "cells")})
    return common.legend_on_top(fig, 1 + len(names) // 5, above=18)
