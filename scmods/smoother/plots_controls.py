"""Strength of the smoothing, calibration of tests, and gradient descent beside the exact optimum."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from scmods import _checks, _figures
from scmods.smoother.plots_priors import DASHES

if TYPE_CHECKING:
    import pandas as pd
    from plotly.graph_objects import Figure

__all__ = ["plot_losses", "plot_null", "plot_tuning"]

TUNING = "Pass what `smoother.tune_smoothing(adata, ...)` returned, or its table `.curve`."
NULL = (
    "Pass {'permutation': p_values, 'spectral': p_values}, or tables of `smoother.spatial_association(...)`."
)
LOSSES = "Pass {'learning rate 0.01': objective_per_epoch, ...}."
SYMBOLS = ("circle", "diamond", "square", "triangle-up")


def plot_tuning(
    tuning: Any,
    *,
    recommended: float | None = None,
    truth: Sequence[float] | None = None,
    truth_label: str = "RMSE of the proportions",
    title: str = "Score on left-out molecules against the strength",
) -> Figure:
    """Score against the strength of the smoothing, with the recommended strength and where it is too much.

    Parameters
    ----------
    tuning
        What `tune_smoothing` returned, or its table: ``smoothing``, ``score``; ``gain``, ``se`` (drawn as bars of one
        standard error) and ``oversmoothed`` where there.
    recommended
        Strength to mark; by default that of `tuning`, or the one with the smallest score.
    truth
        An error against the truth for every strength, in the order of the table; drawn in a panel below, to see
        whether both agree.
    truth_label
        Title of its axis.
    title
        Title of the figure.

    Returns
    -------
    Figure with a logarithmic axis of strengths, on which 0 stands one place left of the smallest. Strengths that
    smooth too much are crosses on a shaded ground.

    Raises
    ------
    MissingKeyError, TypeError, ValueError
        If `tuning` is not such a table, or lengths differ.

    Examples
    --------
    >>> import pandas as pd
    >>> from scmods import smoother
    >>> tuning = smoother.Tuning(pd.DataFrame({"smoothing": [0.0, 0.1, 1.0], "score": [0.5, 0.3, 0.4]}), 0.1)
    >>> fig = smoother.plot_tuning(tuning)
    >>> fig.layout.title.text
    'Score on left-out molecules against the strength'
    """
    table = getattr(tuning, "curve", tuning)
    _figures.require(table, ["smoothing", "score"], TUNING, "tuning")
    order = np.argsort(_figures.column(table, "smoothing"), kind="stable")
    table = table.iloc[order]
    grid, score = _figures.column(table, "smoothing"), _figures.column(table, "score")
    best = (
        float(grid[score.argmin()])
        if recommended is None
        else _checks.number("recommended", recommended, 0.0)
    )
    best = float(tuning.recommended) if recommended is None and hasattr(tuning, "recommended") else best
    over = (
        np.asarray(table["oversmoothed"], dtype=bool)
        if "oversmoothed" in table.columns
        else np.zeros(len(grid), bool)
    )
    panels = {"Score (lower is better)": score}
    if truth is not None:
        values = _checks.numeric("`truth`", truth)
        if values.shape != grid.shape:
            _checks.fail(
                f"`truth` has shape {values.shape}, but there are {len(grid)} strengths.",
                "Give one value for each row of the table.",
            )
        panels[truth_label] = values[order]
    fig = _figures.figure(title=title, alt="", height=430 if truth is None else 620)
    _figures.panels(fig, len(panels), 1, titles=[""] * len(panels), x="Strength of the smoothing", shared_xaxes=True,
                    vertical_spacing=0.07)  # fmt: skip
    at, mark = positions(grid, best)
    errors = _figures.column(table, "se") * score[0] if "se" in table.columns else None
    told = []
    for row, (label, values) in enumerate(panels.items(), start=1):
        _add_curve(fig, at, values, over, errors if row == 1 else None, grid, row)
        fig.update_yaxes(title={"text": label}, row=row, col=1)
        fig.add_vline(x=mark, line={"color": _figures.color(2), "dash": "dash", "width": 2}, row=row, col=1)
        told.append(f"{label} is smallest, {_figures.number(values.min())}, at {grid[values.argmin()]:g}; "
                    f"{_figures.number(values[0])} at {grid[0]:g}")  # fmt: skip
    _shade(fig, at, over, len(panels))
    _add_mark(fig, mark, float(np.interp(mark, at, score)), best)
    fig.update_xaxes(tickvals=at.tolist(), ticktext=[f"{g:g}" for g in grid], zeroline=False)
    alt = f"{title}: {len(grid)} strengths, {best:g} is recommended. {'; '.join(told)}."
    alt += f" Too strong from {grid[over][0]:g} on." if over.any() else ""
    fig.update_layout(meta={"alt": alt})
    return _figures.legend_on_top(fig)


def positions(grid: np.ndarray, value: float) -> tuple[np.ndarray, float]:
    """Places of the strengths and of one more value on a logarithmic axis with a place for 0."""
    positive = grid[grid > 0]
    logs = np.log10(positive) if len(positive) else np.zeros(1)
    zero = logs[0] - (np.median(np.diff(logs)) if len(logs) > 1 else 1.0)
    at = np.where(grid > 0, np.log10(np.where(grid > 0, grid, 1.0)), zero)
    return at, float(max(np.log10(value), zero)) if value > 0 else float(zero)


def _add_curve(
    fig: Figure, at: np.ndarray, values: np.ndarray, over: np.ndarray, errors: np.ndarray | None, grid: np.ndarray,
    row: int,
) -> None:  # fmt: skip
    import plotly.graph_objects as go

    bars = None
    if errors is not None and np.isfinite(errors).any():
        bars = {"array": _figures.small(errors), "color": _figures.GREY, "thickness": 1.2, "width": 3}
    where = {"row": row, "col": 1}
    line = {"color": _figures.color(0), "width": 2}
    text = [f"{g:g}" for g in grid]
    fig.add_trace(
        go.Scatter(x=_figures.small(at), y=_figures.small(values), mode="lines", line=line, error_y=bars,
                   showlegend=False, text=text, hovertemplate="strength %{text}: %{y:.4g}<extra></extra>"), **where
    )  # fmt: skip
    for part, name, symbol, tone in ((~over, "strength tried", "circle", 0), (over, "too strong", "x", 5)):
        if part.any():
            fig.add_trace(
                go.Scatter(x=_figures.small(at[part]), y=_figures.small(values[part]), mode="markers", name=name,
                           legendgroup=name, showlegend=row == 1, hoverinfo="skip",
                           marker={"symbol": symbol, "size": 9, "color": _figures.color(tone)}), **where
            )  # fmt: skip


def _shade(fig: Figure, at: np.ndarray, over: np.ndarray, n_panels: int) -> None:
    if over.any():
        first = int(np.flatnonzero(over)[0])
        left = (at[first] + at[max(first - 1, 0)]) / 2
        for row in range(1, n_panels + 1):
            fig.add_vrect(x0=float(left), x1=float(at[-1] + 0.2), fillcolor=_figures.color(5), opacity=0.12,
                          line={"width": 0}, layer="below", row=row, col=1)  # fmt: skip


def _add_mark(fig: Figure, x: float, y: float, best: float) -> None:
    import plotly.graph_objects as go

    star = {
        "symbol": "star",
        "size": 15,
        "color": _figures.color(2),
        "line": {"width": 1, "color": _figures.GREY},
    }
    fig.add_trace(
        go.Scatter(x=[x], y=[y], mode="markers", marker=star, name=f"recommended, {best:g}",
                   hovertemplate="recommended<extra></extra>"), row=1, col=1
    )  # fmt: skip


def plot_null(
    table: pd.DataFrame | Mapping[str, Any],
    *,
    level: float = 0.05,
    title: str = "Calibration of p-values under the null",
) -> Figure:
    """Observed p-values of pairs that are not related, against those a calibrated test would give.

    Parameters
    ----------
    table
        By the name of the test p-values, results of `field_test` or tables of `spatial_association`; or one such table,
        with the columns ``null`` (the name of the test) and ``pvalue``. NaN are left out.
    level
        Level whose rate of false alarms stands in the legend.
    title
        Title of the figure.

    Returns
    -------
    Figure on logarithmic axes: sorted p-values against uniform quantiles, and a dashed diagonal. A line below it gives
    p-values that are too small, hence discoveries that are none.

    Raises
    ------
    MissingKeyError, TypeError, ValueError
        If `table` is not such a table, or holds values outside 0 to 1.

    Examples
    --------
    >>> from scmods import smoother
    >>> fig = smoother.plot_null({"spectral": [0.1, 0.5, 0.9]})
    >>> fig.layout.title.text
    'Calibration of p-values under the null'
    """
    import plotly.graph_objects as go

    _checks.number("level", level, 0.0, 1.0)
    if not isinstance(table, Mapping):
        _figures.require(table, ["null", "pvalue"], NULL)
        table = {str(n): part for n, part in table.groupby("null", sort=False, observed=True)}
    if not table:
        _checks.fail("`table` is empty; there is nothing to draw.", NULL)
    fig = _figures.figure(
        title=title, alt="", x="Expected p-value (uniform)", y="Observed p-value", height=480
    )
    told, least, first = [], 1.0, 1.0
    for i, (name, values) in enumerate(table.items()):
        p = _p_values(name, values)
        expected = (np.arange(len(p)) + 0.5) / len(p)
        rate = float(np.mean(p <= level))
        # steps of the logarithm: the small ones matter
        keep = np.unique(
            np.searchsorted(expected, np.geomspace(expected[0], expected[-1], 150)).clip(0, len(p) - 1)
        )
        floor = max(float(p[p > 0].min(initial=1.0)), 1e-12)
        least, first = min(least, floor), min(first, float(expected[0]))
        line = {"color": _figures.color(i), "width": 2, "dash": DASHES[i % len(DASHES)]}
        fig.add_trace(
            go.Scatter(x=_figures.small(expected[keep]), y=_figures.small(np.maximum(p[keep], floor)), line=line,
                       mode="lines+markers", marker={"size": 5, "symbol": SYMBOLS[i % 4]},
                       name=f"{_figures.escaped(name)}: {rate:.1%} at or below {level:g}",
                       hovertemplate=f"observed %{{y:.3g}}, expected %{{x:.3g}}<extra>{_figures.escaped(name)}</extra>")
        )  # fmt: skip
        told.append(f"{name} {rate:.1%} of {len(p)}")
    line = {"color": _figures.GREY, "dash": "dash", "width": 1.5}
    fig.add_trace(
        go.Scatter(x=[first, 1], y=[first, 1], mode="lines", line=line, name="calibrated", hoverinfo="skip")
    )
    fig.update_xaxes(type="log", range=[float(np.log10(first)) - 0.1, 0.1], dtick=1)
    low = float(np.log10(min(least, first)))
    fig.update_yaxes(
        type="log", exponentformat="power", range=[1.04 * low, -0.04 * low], dtick=max(1, round(-low / 6))
    )
    alt = (
        f"{title}: quantiles of observed against uniform p-values. At or below {level:g}: {'; '.join(told)}."
    )
    fig.update_layout(meta={"alt": alt})
    return _figures.legend_on_top(fig, len(told))


def _p_values(name: object, values: Any) -> np.ndarray:
    p = _checks.numeric(f"The p-values of {str(name)!r}", getattr(values, "pvalue", values)).ravel()
    p = np.sort(p[np.isfinite(p)])
    if not len(p):
        _checks.fail(f"The p-values of {str(name)!r} hold no number; there is nothing to draw.", NULL)
    if p[0] < 0 or p[-1] > 1:
        _checks.fail(
            f"The p-values of {str(name)!r} lie in [{p[0]:g}, {p[-1]:g}], but must lie in [0, 1].", NULL
        )
    return p


def plot_losses(
    curves: Mapping[str, Sequence[float]] | Sequence[float],
    optimum: float,
    *,
    title: str = "Gradient descent against the exact optimum",
) -> Figure:
    """How far the objective of an optimiser is above the exact optimum, epoch by epoch.

    Parameters
    ----------
    curves
        Objective after every epoch, one run or several by name. It is the best one so far that is drawn.
    optimum
        Objective of the exact solution of the same problem.
    title
        Title of the figure.

    Returns
    -------
    Figure with logarithmic axes: percent above the optimum against epochs. What lies within 1e-8 of the optimum is
    drawn there.

    Raises
    ------
    TypeError, ValueError
        If a curve is empty or not finite, or falls below `optimum`: then the two are not the same problem.

    Examples
    --------
    >>> from scmods import smoother
    >>> fig = smoother.plot_losses({"Adam": [4.0, 2.0, 1.1]}, optimum=1.0)
    >>> fig.data[0].name
    'Adam: 10 %'
    """
    import plotly.graph_objects as go

    best = _checks.number("optimum", optimum)
    runs = dict(curves) if isinstance(curves, Mapping) else {"run": curves}
    if not runs:
        _checks.fail("`curves` is empty; there is nothing to draw.", LOSSES)
    scale = abs(best) or 1.0
    fig = _figures.figure(title=title, alt="", x="Epoch", y="Above the exact optimum (%)")
    told = []
    for i, (name, values) in enumerate(runs.items()):
        loss = _curve(name, values, best, scale)
        excess = np.maximum(100 * (np.minimum.accumulate(loss) - best) / scale, 1e-6)
        keep = np.unique(np.geomspace(1, len(loss), 120).round().astype(int)) - 1
        line = {"color": _figures.color(i), "width": 2, "dash": DASHES[i % len(DASHES)]}
        fig.add_trace(
            go.Scatter(x=(keep + 1).astype(np.float32), y=_figures.small(excess[keep]), mode="lines", line=line,
                       name=f"{_figures.escaped(name)}: {_figures.number(excess[-1])} %",
                       hovertemplate="epoch %{x:.0f}: %{y:.3g} %<extra>" + _figures.escaped(name) + "</extra>")
        )  # fmt: skip
        told.append(f"{name} ends {_figures.number(excess[-1])} % above it after {len(loss)} epochs")
    fig.update_xaxes(type="log", dtick=1)
    fig.update_yaxes(type="log", exponentformat="power")
    alt = f"{title}: lines on logarithmic axes, exact optimum {_figures.number(best)}. {'; '.join(told)}."
    fig.update_layout(meta={"alt": alt}, showlegend=True)
    return _figures.legend_on_top(fig, 1 + len(told) // 4)


def _curve(name: object, values: Any, best: float, scale: float) -> np.ndarray:
    loss = _checks.numeric(f"The curve {str(name)!r}", values).ravel()
    if not len(loss):
        _checks.fail(f"The curve {str(name)!r} is empty; there is nothing to draw.", LOSSES)
    _checks.finite(f"The curve {str(name)!r}", loss)
    if loss.min() < best - 1e-6 * scale:
        _checks.fail(
            f"The curve {str(name)!r} reaches {loss.min():.9g}, below the optimum {best:.9g}.",
            "Both must be values of the same objective, with the same weights and divisors.",
        )
    return loss
