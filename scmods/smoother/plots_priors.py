"""What a prior and a loss believe: decay of the correlation, the ratio of the contrastive loss."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import numpy as np

from scmods import _checks, _figures

if TYPE_CHECKING:
    import pandas as pd
    from plotly.graph_objects import Figure

__all__ = ["plot_decay", "plot_ratio"]

QUANTILES = ("Q10", "Q25", "Q50", "Q75", "Q90")
DECAY = "Pass the table of `smoother.corr_decay(q, coords)`, or {'icar 0.99': table, ...}."
RATIO = "Pass a table with the columns 'ratio' and 'loss', and 'field' where there are several fields."
DASHES = ("solid", "dash", "dot", "dashdot", "longdash")


def plot_decay(
    tables: pd.DataFrame | Mapping[str, pd.DataFrame],
    *,
    ncols: int = 3,
    title: str = "Decay of the correlation under the prior",
) -> Figure:
    """How the correlation of two spots falls with the rank of the neighbour, one panel per prior.

    Parameters
    ----------
    tables
        Table of `corr_decay` with the columns ``k``, ``Q10``, ``Q25``, ``Q50``, ``Q75``, ``Q90``, or several of them
        by name.
    ncols
        Panels per row.
    title
        Title of the figure.

    Returns
    -------
    Figure with the median over the spots as a line, the middle half of the spots as a dark band and the middle 80 % as
    a pale one. All panels have the same axes.

    Raises
    ------
    MissingKeyError, TypeError, ValueError
        If a table is not such a table or there is none.

    Examples
    --------
    >>> import pandas as pd
    >>> table = pd.DataFrame({"k": [0, 1], "Q10": [1, 0.2], "Q25": [1, 0.3], "Q50": [1, 0.4],
    ...                       "Q75": [1, 0.5], "Q90": [1, 0.6]})
    >>> plot_decay({"icar 0.9": table}).layout.yaxis.title.text
    'Correlation'
    """
    named = _by_name(tables, "tables", DECAY)
    for name, table in named.items():
        _figures.require(table, ["k", *QUANTILES], DECAY, f"tables[{name!r}]" if name else "tables")
    _checks.integer("ncols", ncols)
    rows = -(-len(named) // ncols)
    fig = _figures.figure(title=title, alt="", height=150 + 230 * rows)
    titles = [_figures.escaped(n) for n in named]
    where = _figures.panels(fig, len(named), ncols, titles=titles, x="Rank of the neighbour", y="Correlation",
                            shared_yaxes=True, shared_xaxes=False, horizontal_spacing=0.04)  # fmt: skip
    told = []
    for i, ((name, table), (row, col)) in enumerate(zip(named.items(), where, strict=True)):
        table = table.sort_values("k", kind="stable")
        _add_bands(fig, table, i, first=i == 0, row=row, col=col)
        told.append((f"{name}: " if name else "") + _reach(table))
    low = min(float(_figures.column(t, "Q10").min()) for t in named.values())
    fig.update_yaxes(range=[min(-0.03, 1.1 * low), 1.03])
    alt = f"{title}: quantiles over spots against the rank of the neighbour, {len(named)} panels. {'; '.join(told)}."
    fig.update_layout(meta={"alt": alt.replace("1 panels", "1 panel")})
    return _figures.legend_on_top(fig, above=18)


def _by_name(tables: Any, argument: str, fix: str) -> dict[str, Any]:
    named = {str(k): v for k, v in tables.items()} if isinstance(tables, Mapping) else {"": tables}
    if not named:
        _checks.fail(f"`{argument}` is empty; there is nothing to draw.", fix)
    return named


def _reach(table: pd.DataFrame) -> str:
    k, middle = _figures.column(table, "k"), _figures.column(table, "Q50")
    near = middle[np.argmin(np.abs(k - 1))]
    below = k[middle < 0.1]
    fall = (
        f"falls below 0.1 at rank {below[0]:.0f}"
        if len(below)
        else f"is {middle[-1]:.2f} at rank {k[-1]:.0f}"
    )
    return f"median {near:.2f} for the nearest neighbour, {fall}"


def _add_bands(fig: Figure, table: pd.DataFrame, i: int, *, first: bool, **place: int) -> None:
    import plotly.graph_objects as go

    tone = _figures.color(i)
    rgb = ",".join(str(int(tone[j : j + 2], 16)) for j in (1, 3, 5))
    table = table.iloc[_figures.some_rows(len(table), 80)]
    k = _figures.column(table, "k")
    around = _figures.small(np.r_[k, k[::-1]])
    for low, high, name, alpha in (
        ("Q10", "Q90", "80 % of the spots", 0.22),
        ("Q25", "Q75", "50 % of the spots", 0.38),
    ):
        y = np.r_[_figures.column(table, low), _figures.column(table, high)[::-1]]
        fig.add_trace(
            go.Scatter(x=around, y=_figures.small(y), fill="toself", fillcolor=f"rgba({rgb},{alpha})", mode="lines",
                       line={"width": 0}, name=name, legendgroup=name, showlegend=first, hoverinfo="skip"), **place
        )  # fmt: skip
    fig.add_trace(
        go.Scatter(x=_figures.small(k), y=_figures.small(_figures.column(table, "Q50")), mode="lines",
                   line={"color": tone, "width": 2.2}, name="median", legendgroup="median", showlegend=first,
                   hovertemplate="rank %{x:.0f}: %{y:.3f}<extra></extra>"), **place
    )  # fmt: skip


def _crossing(x: np.ndarray, y: np.ndarray) -> str:
    """Where a falling line passes 0, between two points in a straight line."""
    after = int(np.argmax(y < 0))
    if not (y < 0).any():
        return "stays at or above 0"
    if after == 0:
        return "is below 0 from the smallest ratio on"
    at = np.interp(0.0, y[[after, after - 1]], x[[after, after - 1]])
    return f"falls below 0 at a ratio of {at:.3g}"


def plot_ratio(
    table: pd.DataFrame,
    *,
    max_ratio: float | None = None,
    title: str = "Contrastive loss against its ratio",
) -> Figure:
    """Where the contrastive loss turns negative, and from which ratio on it has no lower bound.

    Parameters
    ----------
    table
        Columns ``ratio`` (weight of the negative term) and ``loss``; ``field`` (name) where there are several fields;
        ``geary`` (Geary's C of the field) where known: for icar with rho 1 the loss is 0 where the ratio equals it.
    max_ratio
        Largest ratio with a loss that is bounded below, `ContrastiveSpatialLoss.max_ratio`; beyond it the figure is
        shaded.
    title
        Title of the figure.

    Returns
    -------
    Figure with a line per field, a line at 0, and a diamond at Geary's C.

    Raises
    ------
    MissingKeyError, TypeError, ValueError
        If `table` is not such a table, or `max_ratio` is not a number.

    Examples
    --------
    >>> import pandas as pd
    >>> from scmods import smoother
    >>> table = pd.DataFrame({"field": "wave", "ratio": [0.0, 0.5, 1.0], "loss": [0.4, 0.0, -0.4]})
    >>> fig = smoother.plot_ratio(table)
    >>> fig.layout.title.text
    'Contrastive loss against its ratio'
    """
    import plotly.graph_objects as go

    _figures.require(table, ["ratio", "loss"], RATIO)
    fields = table["field"].astype(str) if "field" in table.columns else np.full(len(table), "field")
    fig = _figures.figure(title=title, alt="", x="Ratio of the negative to the positive term", y="Loss")
    told = []
    for i, name in enumerate(dict.fromkeys(fields)):
        part = table[np.asarray(fields == name)].sort_values("ratio", kind="stable")
        ratio, loss = _figures.column(part, "ratio"), _figures.column(part, "loss")
        keep = _figures.some_rows(len(part), 150)
        line = {"color": _figures.color(i), "width": 2.2, "dash": DASHES[i % len(DASHES)]}
        fig.add_trace(
            go.Scatter(x=_figures.small(ratio[keep]), y=_figures.small(loss[keep]), mode="lines", line=line,
                       name=_figures.escaped(name),
                       hovertemplate="ratio %{x:.3g}: %{y:.3g}<extra>%{fullData.name}</extra>")
        )  # fmt: skip
        text = f"{name} {_crossing(ratio, loss)}"
        if "geary" in part.columns:
            geary = float(_figures.column(part, "geary")[0])
            text += f" (Geary's C {_figures.number(geary)})"
            if ratio[0] <= geary <= ratio[-1]:
                _add_geary(fig, geary, float(np.interp(geary, ratio, loss)), i)
        told.append(text)
    fig.add_hline(y=0, line={"color": _figures.GREY, "dash": "dash", "width": 1.5})
    bound = ""
    if max_ratio is not None:
        top, last = _checks.number("max_ratio", max_ratio, 0.0), float(_figures.column(table, "ratio").max())
        bound = f" Beyond the ratio {_figures.number(top)} the loss has no lower bound."
        if top < last:
            fig.add_vrect(x0=top, x1=last, fillcolor=_figures.color(5), opacity=0.13, line={"width": 0}, layer="below",
                          label={"text": "no lower bound", "textposition": "top right"})  # fmt: skip
            fig.add_vline(x=top, line={"color": _figures.color(5), "dash": "dot", "width": 1.5})
    fig.update_layout(meta={"alt": f"{title}: {'; '.join(told)}.{bound}"}, showlegend=True)
    return _figures.legend_on_top(fig, 1 + len(told) // 5)


def _add_geary(fig: Figure, x: float, y: float, i: int) -> None:
    import plotly.graph_objects as go

    known = any(t.name == "Geary's C" for t in fig.data)
    edge = {"width": 1.5, "color": _figures.GREY}
    fig.add_trace(
        go.Scatter(x=[x], y=[y], mode="markers", name="Geary's C", legendgroup="geary", legendrank=2000,
                   marker={"symbol": "diamond", "size": 11, "color": _figures.color(i), "line": edge},
                   showlegend=not known, hovertemplate="Geary's C %{x:.4g}<extra></extra>")
    )  # fmt: skip
