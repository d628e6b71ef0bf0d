"""Figures of how good labels are: confusion, rare populations, calibration."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import numpy as np

from scmods import _checks, _figures
from scmods.scyan import plots_common as common

if TYPE_CHECKING:
    import pandas as pd
    from plotly.graph_objects import Figure

__all__ = ["plot_calibration", "plot_confusion", "plot_rare"]

CONFUSION = "Pass `scyan.confusion_table(truth, labels)`."
CURVE = "Pass `scyan.recall_curve(proba[name], truth == name)`."
OVER = {"threshold": "Threshold of the probability", "called": "Cells called (logarithmic)"}
CALIBRATION = "Pass `scyan.calibration_table(probability, correct)`."
WRITTEN = 24


def plot_confusion(confusion: pd.DataFrame, *, title: str = "True populations and labels") -> Figure:
    """Where the cells of every true population go.

    Parameters
    ----------
    confusion
        What `confusion_table` returned: true populations (rows) x labels (columns), counts or shares of the row.
    title
        Title of the figure.

    Returns
    -------
    Figure with the share of every row as a heat map, in percent; up to 24 rows the percents are written where they are
    at least 1. Rows without cells stay open. The pointer shows the counts.

    Raises
    ------
    TypeError, ValueError
        If it is no such table, or holds negative numbers.

    Examples
    --------
    >>> import pandas as pd
    >>> counts = pd.DataFrame([[9, 1], [0, 4]], index=["T", "B"], columns=["T", "B"])
    >>> plot_confusion(counts).data[0].z.tolist()
    [[90.0, 10.0], [0.0, 100.0]]
    """
    table = common.matrix(confusion, "confusion", CONFUSION)
    array = np.nan_to_num(table.to_numpy())
    if array.min() < 0:
        _checks.fail(f"`confusion` holds {array.min():g}, but a number of cells is not negative.", CONFUSION)
    total = array.sum(axis=1, keepdims=True)
    share = np.where(total > 0, 100 * array / np.where(total > 0, total, 1), np.nan)
    counted = bool((array == np.round(array)).all())
    fig = _figures.figure(
        title=title, alt="", x="Label", y="True population", height=max(380, 190 + 22 * len(table)),
        coloraxis=_figures.color_axis(100.0, "Share of the row (%)", low=0.0),
    )  # fmt: skip
    text = None
    if len(table) <= WRITTEN:
        text = np.array([["" if not v >= 1 else f"{v:.0f}" for v in row] for row in share])
    hover = "%{z:.1f} % of %{y} labelled %{x}"
    common.heat(fig, type(table)(share, table.index, table.columns), hover, text=text)
    if counted:
        fig.data[0].update(
            customdata=array.astype(np.int32), hovertemplate=hover + ", %{customdata} cells<extra></extra>"
        )
    both = [n for n in table.index if n in set(table.columns)]
    recall = {n: float(share[list(table.index).index(n), list(table.columns).index(n)]) for n in both}
    recall = {n: r for n, r in recall.items() if np.isfinite(r)}
    told = ""
    if recall:
        worst = min(recall, key=recall.get)
        mean = float(np.mean(list(recall.values())))
        told = f" On average {mean:.1f} % get their own label, least in {worst} ({recall[worst]:.1f} %)."
    alt = (
        f"{_figures.plain(title)}: heat map of {len(table)} true populations by {table.shape[1]} labels, in percent of "
        f"the row.{told}"
    )
    return fig.update_layout(meta={"alt": alt})


def _several(given: Any, needed: list[str], fix: str, argument: str) -> dict[str, pd.DataFrame]:
    """Tables by name, looked at; one table has no name."""
    tables = dict(given) if isinstance(given, Mapping) else {"": given}
    if not tables:
        _checks.fail(f"`{argument}` is empty; there is nothing to draw.", fix)
    for name, one in tables.items():
        _figures.require(one, needed, fix, f"{argument}[{name!r}]" if name != "" else argument)
    return {str(name): one for name, one in tables.items()}


def _along(xy: np.ndarray, most: int) -> np.ndarray:
    """Rows of a curve at even steps of its length, every axis over its range; both ends and the extremes kept."""
    if len(xy) <= most:
        return np.arange(len(xy))
    scaled = xy / np.where(np.ptp(xy, axis=0) > 0, np.ptp(xy, axis=0), 1.0)
    length = np.r_[0.0, np.abs(np.diff(scaled, axis=0)).sum(axis=1)].cumsum()
    keep = np.searchsorted(length, np.linspace(0, length[-1], most)).clip(0, len(xy) - 1)
    return np.unique(np.r_[0, keep, len(xy) - 1])


def plot_rare(
    recall_curve: pd.DataFrame | Mapping[str, pd.DataFrame],
    *,
    over: str = "threshold",
    threshold: float | None = 0.5,
    title: str = "Recall and precision of a rare population",
) -> Figure:
    """Recall and precision of one population over all thresholds of its probability, with their intervals.

    Parameters
    ----------
    recall_curve
        What `recall_curve` returned: ``threshold``, ``recall``, ``precision``, and where given
        ``recall_low``, ``recall_high``, ``precision_low``, ``precision_high``; or several by name, a panel each.
    over
        Axis: ``"threshold"``, or ``"called"`` for the number of cells called (logarithmic), which shows more where
        most of the probabilities are near 1.
    threshold
        Place of a dotted line, whose recall and precision stand in the alt text; None for no line.
    title
        Title of the figure.

    Returns
    -------
    Figure with steps for recall (blue) and precision (orange), the intervals as bands.

    Raises
    ------
    MissingKeyError, TypeError, ValueError
        If it is no such table.

    Examples
    --------
    >>> import pandas as pd
    >>> curve = pd.DataFrame({"threshold": [0.9, 0.4], "recall": [0.5, 1.0], "precision": [1.0, 0.8]})
    >>> plot_rare(curve).data[0].y.tolist()
    [1.0, 0.5]
    """
    _checks.one_of("over", over, tuple(OVER))
    needed = ["threshold", "recall", "precision", *([over] if over != "threshold" else [])]
    curves = _several(recall_curve, needed, CURVE, "recall_curve")
    if threshold is not None:
        _checks.number("threshold", threshold)
    n = len(curves)
    fig = _figures.figure(title=title, alt="", height=430 if n <= 2 else 110 + 300 * -(-n // 2))
    titles = [_figures.escaped(name) for name in curves]
    where = _figures.panels(fig, n, 2, titles=titles, x=OVER[over], y="Share", shared_yaxes=True,
                            horizontal_spacing=0.06)  # fmt: skip
    told = []
    for j, ((name, table), (row, col)) in enumerate(zip(curves.items(), where, strict=True)):
        table = table.sort_values("threshold", kind="stable")
        for i, what in enumerate(("recall", "precision")):
            _add_band(fig, table, over, what, i, 120 // n, first=j == 0, row=row, col=col)
        fig.update_yaxes(range=[-0.02, 1.02], row=row, col=col)
        if over == "called":
            fig.update_xaxes(type="log", dtick=1, row=row, col=col)
        if threshold is not None:
            at = threshold if over == "threshold" else _called(table, threshold)
            if at is not None:
                line = {"dash": "dot", "width": 1.5, "color": _figures.GREY}
                fig.add_vline(x=at, line=line, row=row, col=col)
            told.append((f"{name}: " if name else "") + _at(table, threshold))
    alt = f"{_figures.plain(title)}: recall and precision over the threshold, with intervals as bands."
    if told:
        alt += f" At a threshold of {threshold:g}: {'; '.join(told)}."
    fig.update_layout(meta={"alt": alt})
    return _figures.legend_on_top(fig, above=18 if any(titles) else 0)


def _at(table: pd.DataFrame, threshold: float) -> str:
    """Recall and precision of the cells with at least this probability; the table ascends."""
    above = table[_figures.column(table, "threshold") >= threshold]
    if not len(above):
        return "no cell is called"
    parts = []
    for what in ("recall", "precision"):
        text = f"{what} {_figures.number(float(above[what].iloc[0]))}"
        if {f"{what}_low", f"{what}_high"} <= set(table.columns):
            low, high = (_figures.number(float(above[f"{what}_{e}"].iloc[0])) for e in ("low", "high"))
            text += f" (interval {low} to {high})"
        parts.append(text)
    return ", ".join(parts)


def _called(table: pd.DataFrame, threshold: float) -> float | None:
    """Cells with at least this probability; None for none."""
    above = table[_figures.column(table, "threshold") >= threshold]
    return float(above["called"].iloc[0]) if len(above) else None


def _add_band(
    fig: Figure, table: pd.DataFrame, over: str, what: str, i: int, most: int, *, first: bool, **place: int
) -> None:
    import plotly.graph_objects as go

    x, y = _figures.column(table, over), _figures.column(table, what)
    keep = _along(np.stack([np.log(x) if over == "called" else x, y], axis=1), most)
    tone = _figures.color(i)
    # the cells called at t are those of the next score above it, so the steps rise before they run
    fig.add_trace(
        go.Scatter(x=_figures.small(x[keep]), y=_figures.small(y[keep]), mode="lines", name=what, legendgroup=what,
                   line={"color": tone, "width": 2, "shape": "vh" if over == "threshold" else "linear",
                         "dash": common.DASHES[i]}, showlegend=first,
                   hovertemplate=what + " %{y:.3f} at %{x:.3f}<extra></extra>"), **place
    )  # fmt: skip
    if {f"{what}_low", f"{what}_high"} <= set(table.columns):
        low, high = (_figures.column(table, f"{what}_{e}")[keep] for e in ("low", "high"))
        fig.add_trace(
            go.Scatter(x=_figures.small(np.r_[x[keep], x[keep][::-1]]), y=_figures.small(np.r_[high, low[::-1]]),
                       fill="toself", fillcolor=tone, opacity=0.22, line={"width": 0}, mode="lines", legendgroup=what,
                       name=f"{what}, interval", showlegend=False, hoverinfo="skip"), **place
        )  # fmt: skip


def plot_calibration(
    calibration_table: pd.DataFrame | Mapping[str, pd.DataFrame],
    *,
    title: str = "Are the probabilities right?",
) -> Figure:
    """How often it was so, against the probability given.

    Parameters
    ----------
    calibration_table
        What `calibration_table` returned: ``probability``, ``observed``, and where given
        ``observed_low``, ``observed_high``, ``cells``; or several by name. Empty bins are left out.
    title
        Title of the figure.

    Returns
    -------
    Figure with a point per bin, its interval, and the dashed line on which a calibrated model lies; larger points
    hold more cells.

    Raises
    ------
    MissingKeyError, TypeError, ValueError
        If it is no such table, or all bins are empty.

    Examples
    --------
    >>> import pandas as pd
    >>> bins = pd.DataFrame({"probability": [0.2, None, 0.9], "observed": [0.25, None, 0.8], "cells": [4, 0, 10]})
    >>> plot_calibration(bins).data[1].x.round(2).tolist()
    [0.20000000298023224, 0.8999999761581421]
    """
    import plotly.graph_objects as go

    tables = _several(calibration_table, ["probability", "observed"], CALIBRATION, "calibration_table")
    fig = _figures.figure(
        title=title, alt="", x="Probability given", y="Share of the cells where it was so", height=470
    )
    line = {"color": _figures.GREY, "dash": "dash", "width": 1.5}
    fig.add_trace(
        go.Scatter(x=[0, 1], y=[0, 1], mode="lines", line=line, name="calibrated", hoverinfo="skip")
    )
    told = []
    for i, (name, table) in enumerate(tables.items()):
        p, seen = _figures.column(table, "probability"), _figures.column(table, "observed")
        there = np.isfinite(p) & np.isfinite(seen)
        if not there.any():
            _checks.fail("All bins of `calibration_table` are empty; there is nothing to draw.", CALIBRATION)
        cells = _figures.column(table, "cells")[there] if "cells" in table.columns else np.ones(there.sum())
        size = 6 + 10 * np.sqrt(cells / cells.max())
        bars = None
        if {"observed_low", "observed_high"} <= set(table.columns):
            low, high = (_figures.column(table, f"observed_{e}")[there] for e in ("low", "high"))
            bars = {"type": "data", "array": _figures.small(high - seen[there]), "symmetric": False,
                    "arrayminus": _figures.small(seen[there] - low), "width": 3, "thickness": 1.5}  # fmt: skip
        style = {"size": _figures.small(size), "color": _figures.color(i), "symbol": common.SYMBOLS[i % 4]}
        fig.add_trace(
            go.Scatter(x=_figures.small(p[there]), y=_figures.small(seen[there]), mode="markers+lines", marker=style,
                       error_y=bars, name=_figures.escaped(name or "model"), customdata=cells.astype(np.int32),
                       line={"width": 1.2, "color": _figures.color(i), "dash": common.DASHES[i % 5]},
                       hovertemplate="given %{x:.3f}, observed %{y:.3f}, %{customdata} cells<extra></extra>")
        )  # fmt: skip
        error = float(np.average(np.abs(p[there] - seen[there]), weights=cells))
        told.append(
            (f"{name}: " if name else "") + f"mean distance from it {error:.3f} in {there.sum()} bins"
        )
    fig.update_xaxes(range=[-0.03, 1.03])
    fig.update_yaxes(range=[-0.03, 1.03])
    alt = (
        f"{_figures.plain(title)} Observed share against given probability, with the line of equality. "
        f"{'; '.join(told)}."
    )
    fig.update_layout(meta={"alt": alt})
    return _figures.legend_on_top(fig, 1 + len(tables) // 5)
