"""How far senders are heard: lengths of single sender cells with the interval of their median."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from scmods import _checks, _figures
from scmods.amici import plots_common as common

if TYPE_CHECKING:
    import pandas as pd
    from plotly.graph_objects import Figure

    from scmods.amici.heads import HeadOutputs

__all__ = ["plot_length_scales"]

LENGTHS = "Pass `amici.length_scales(outputs, test.passed())`."


def plot_length_scales(
    table: pd.DataFrame,
    outputs: HeadOutputs | None = None,
    *,
    threshold: float = 0.5,
    truth: pd.DataFrame | None = None,
    label: str = "Length scale (units of the positions)",
    title: str = "How far senders are heard",
) -> Figure:
    """Length scale of every pair with its interval, and behind it the lengths of the single sender cells.

    Parameters
    ----------
    table
        From `length_scales`.
    outputs
        What `table` was made from: a dot for every sender cell. None draws the intervals alone.
    threshold
        That of `length_scales`.
    truth
        Table with ``receiver``, ``sender`` and ``reach``, as ``uns["interactions"]`` of `semisynthetic`: diamonds.
    label
        Title of the axis.
    title
        Title of the figure.

    Returns
    -------
    Figure with a row per pair; infinite lengths, where distance does not count, are named in the row and not drawn.

    Raises
    ------
    MissingKeyError, TypeError, ValueError
        Not such tables.

    Examples
    --------
    >>> from scmods.amici._example import example_outputs
    >>> from scmods.amici.scales import length_scales
    >>> outputs = example_outputs()
    >>> table = length_scales(outputs, [("naïve", "CD4/CD8"), ("naïve", "L2/3 IT")], n_boot=20)
    >>> len(plot_length_scales(table).data)
    2
    """
    import plotly.graph_objects as go

    _figures.require(table, ["receiver", "sender", "head", "median", "low", "high"], LENGTHS)
    if truth is not None:
        _figures.require(truth, ["receiver", "sender", "reach"], 'Pass adata.uns["interactions"].', "truth")
    number = _figures.number
    fig = _figures.figure(
        title=title, alt="", x=label, y="", height=150 + 62 * len(table), showlegend=truth is not None
    )
    rows, told = [], []
    for i, one in enumerate(table.itertuples(index=False)):
        tone, name = _figures.color(i), f"{one.sender} to {one.receiver}"
        endless = 0
        if outputs is not None:
            endless = _dots(fig, outputs, one, threshold, i, len(table))
        median, low, high = (_finite(v) for v in (one.median, one.low, one.high))
        fig.add_trace(
            go.Scatter(x=_figures.small([low, median, high]), y=_figures.small([i, i, i]), mode="lines+markers",
                       name=_figures.escaped(name), showlegend=False, line={"color": tone, "width": 4},
                       marker={"size": [10, 9, 10], "symbol": ["line-ns", "circle", "line-ns"], "color": tone,
                               "line": {"width": 3, "color": tone}},
                       hovertemplate="%{x:.3g}<extra>%{fullData.name}</extra>")
        )  # fmt: skip
        reach = _reach(truth, one)
        planted = ", true " + number(reach) if reach is not None else ""
        rows.append(f"{name}, head {one.head}" + (f" ({endless} endless)" if endless else ""))
        told.append(f"{name} {_said(one.median)} ({_said(one.low)} to {_said(one.high)}){planted}")
    if truth is not None:
        _diamonds(fig, table, truth)
    common.name_places(fig, "y", rows)
    fig.update_xaxes(rangemode="tozero")
    alt = f"{_figures.plain(title)}: a row for each of {len(table)} pairs, median and interval. {'; '.join(told)}."
    fig.update_layout(meta={"alt": alt})
    return _figures.legend_on_top(fig) if truth is not None else fig


def _finite(value: float) -> float:
    return float(value) if np.isfinite(value) else np.nan


def _said(value: float) -> str:
    return "endless" if np.isposinf(value) else _figures.number(value)


def _reach(truth: pd.DataFrame | None, one: object) -> float | None:
    if truth is None:
        return None
    rows = truth[(truth["receiver"] == one.receiver) & (truth["sender"] == one.sender)]
    return float(rows["reach"].iloc[0]) if len(rows) else None


def _dots(fig: Figure, outputs: HeadOutputs, one: object, threshold: float, i: int, n: int) -> int:
    """Draw the lengths of the sender cells of a pair, and return how many are infinite."""
    import plotly.graph_objects as go

    from scmods.amici.scales import sender_lengths

    lengths = sender_lengths(
        outputs, receiver=one.receiver, sender=one.sender, head=int(one.head), threshold=threshold
    )
    finite = np.sort(lengths[np.isfinite(lengths)])
    x = finite[_figures.some_rows(len(finite), max(2, _figures.MAX_POINTS // n))]
    # a fixed pattern instead of random steps: the figure depends on the numbers alone
    y = i + 0.28 * ((np.arange(len(x)) * 0.618) % 1 - 0.5) * 2
    fig.add_trace(
        go.Scatter(x=_figures.small(x), y=_figures.small(y), mode="markers", showlegend=False, name="sender cells",
                   marker={"size": 4, "color": _figures.color(i), "opacity": 0.35},
                   hovertemplate="one sender: %{x:.3g}<extra></extra>")
    )  # fmt: skip
    return len(lengths) - len(finite)


def _diamonds(fig: Figure, table: pd.DataFrame, truth: pd.DataFrame) -> None:
    import plotly.graph_objects as go

    reaches = [_reach(truth, one) for one in table.itertuples(index=False)]
    at = [i for i, r in enumerate(reaches) if r is not None]
    if not at:
        _checks.fail("`truth` holds none of the pairs of `table`.", 'Pass adata.uns["interactions"].')
    fig.add_trace(
        go.Scatter(x=_figures.small([reaches[i] for i in at]), y=_figures.small(at), mode="markers", name="true reach",
                   showlegend=True, hovertemplate="true reach %{x:.3g}<extra></extra>",
                   marker={"size": 15, "symbol": "diamond-open", "color": _figures.GREY, "line": {"width": 3}})
    )  # fmt: skip
