"""Attention: one cell and its neighbours, and attention over distance."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from scmods import _checks, _figures
from scmods.amici import plots_common as common

if TYPE_CHECKING:
    import pandas as pd
    from plotly.graph_objects import Figure

    from scmods.amici.heads import HeadOutputs
    from scmods.amici.model import AMICI

__all__ = ["plot_attention", "plot_attention_distance"]

EMPTY = "empty slot"
UNSEEN = "not seen"
WIDEST = 12.0  # pixels of a line that gets all the attention
DISTANCE = "Pass `amici.attention_by_distance(outputs)`."


def plot_attention(
    outputs: HeadOutputs | AMICI,
    cell: int,
    *,
    adata: Any = None,
    spatial_key: str = "spatial",
    head: int | None = None,
    title: str | None = None,
) -> Figure:
    """To whom one cell attends: a map of its neighbours, and a bar for every head.

    Parameters
    ----------
    outputs
        From `AMICI.heads`, or a fitted model.
    cell
        Row of `outputs`, as in `neighbor_table`; of a model, position of the cell.
    adata
        Cells that the neighbours are looked up in, or (cells, 2) positions. A model brings its own.
    spatial_key
        Key of ``obsm`` with the positions.
    head
        Head whose attention is the width of the lines; None takes the largest over heads. Bars show all heads.
    title
        Title of the figure.

    Returns
    -------
    Figure: on the left the cell as a star, its neighbours in the colours of their types, lines as wide as the
    attention; on the right the attention of each head, summed over the neighbours of each type, and the empty slot in
    grey. Every bar adds up to 1.

    Raises
    ------
    TypeError, ValueError
        No positions, a row or head out of range.

    Examples
    --------
    >>> from scmods.amici._example import example_outputs
    >>> fig = plot_attention(example_outputs(), 3, adata=np.random.default_rng(0).normal(size=(30, 2)))
    >>> bool(np.isclose(sum(bar.x[0] for bar in fig.data if bar.type == "bar"), 1))
    True
    """
    if not hasattr(outputs, "attention"):
        model, other = outputs, hasattr(adata, "obsm")
        last = (adata.n_obs if other else len(model.labels)) - 1
        _checks.integer("cell", cell, 0, last, "Positions of cells.")
        adata = model._own().tissue.coords if adata is None else adata
        outputs, cell = model.heads(adata if other else None, cells=[cell]), 0
    _checks.integer("cell", cell, 0, len(outputs) - 1, "Rows of `outputs`, not positions in the AnnData.")
    if head is not None:
        outputs.check_heads([head])
    xy = common.positions(adata, spatial_key)
    one = outputs.subset(np.array([cell]))
    if len(xy) <= max(one.neighbors.max(), one.cells.max()):
        _checks.fail(
            f"There are {len(xy)} positions, but `outputs` names cell {max(one.neighbors.max(), one.cells.max())}.",
            common.PLACES,
        )
    names = [*one.type_names, UNSEEN]
    own, position = one.type_names[one.types[0]], int(one.cells[0])
    through = "" if head is None else f", through head {head}"
    title = title or f"Attention of cell {position}, {_figures.escaped(own)}{through}"
    fig = _figures.figure(title=title, alt="", height=460, barmode="stack")
    fig.set_subplots(1, 2, column_widths=[0.6, 0.4], horizontal_spacing=0.14)
    told = _map(fig, one, xy, names, head)
    told += _bars(fig, one, names)
    fig.update_layout(meta={"alt": f"{_figures.plain(title)}. {told}"})
    return _figures.legend_on_top(fig, 1 + sum(len(n) + 6 for n in names) // 90)


def _map(fig: Figure, one: HeadOutputs, xy: np.ndarray, names: list[str], head: int | None) -> str:
    import plotly.graph_objects as go

    there = one.neighbors[0] >= 0
    near, kinds = one.neighbors[0][there], one.neighbor_types[0][there]
    per_head = one.attention[0][:, :-1][:, there]
    weight = per_head[head] if head is not None else per_head.max(axis=0)
    here = xy[one.cells[0]]
    tone = common.tones(names)
    for j, k, w in zip(near, kinds, weight, strict=True):
        fig.add_trace(
            go.Scatter(x=_figures.small([here[0], xy[j, 0]]), y=_figures.small([here[1], xy[j, 1]]), mode="lines",
                       line={"width": float(f"{WIDEST * w:.4g}"), "color": tone[names[k]]}, name=f"to {j}",
                       opacity=0.7, showlegend=False, hoverinfo="skip"), row=1, col=1
        )  # fmt: skip
    for k in np.unique(kinds):
        rows = kinds == k
        text = [f"cell {j}, attention {w:.3f}" for j, w in zip(near[rows], weight[rows], strict=True)]
        fig.add_trace(
            go.Scatter(x=_figures.small(xy[near[rows], 0]), y=_figures.small(xy[near[rows], 1]), mode="markers",
                       text=text, name=_figures.escaped(names[k]), legendgroup=names[k], showlegend=False,
                       marker={"size": 10, "color": tone[names[k]], "line": {"width": 1, "color": _figures.GREY}},
                       hovertemplate="%{text}<extra>%{fullData.name}</extra>"), row=1, col=1
        )  # fmt: skip
    mine = names[one.types[0]]
    fig.add_trace(
        go.Scatter(x=_figures.small(here[:1]), y=_figures.small(here[1:]), mode="markers", showlegend=False,
                   name=_figures.escaped(mine), hovertemplate="the cell<extra>%{fullData.name}</extra>",
                   marker={"size": 17, "symbol": "star", "color": tone[mine],
                           "line": {"width": 1, "color": _figures.GREY}}), row=1, col=1
    )  # fmt: skip
    quiet = {"showgrid": False, "zeroline": False}
    fig.update_xaxes(title={"text": "Position 1"}, **quiet, row=1, col=1)
    fig.update_yaxes(title={"text": "Position 2"}, scaleanchor="x", **quiet, row=1, col=1)
    if not len(near):
        return "It has no neighbours. "
    best, how = int(weight.argmax()), "over all heads" if head is None else f"through head {head}"
    far = one.distances[0][there][best]
    return (
        f"Map of its {len(near)} neighbours, lines as wide as the attention; most, {_figures.number(weight[best])}, "
        f"{how}, goes to a cell of type {names[kinds[best]]} at distance {_figures.number(far)}. "
    )


def _bars(fig: Figure, one: HeadOutputs, names: list[str]) -> str:
    import plotly.graph_objects as go

    attention, kinds = one.attention[0], one.neighbor_types[0]
    tone, heads = common.tones(names), np.arange(one.n_heads, dtype=np.uint8)
    # a place without a neighbour has no attention
    parts = {n: attention[:, :-1][:, (kinds == t) & (one.neighbors[0] >= 0)].sum(axis=1)
             for t, n in zip([*range(len(one.type_names)), -1], names, strict=True)}  # fmt: skip
    parts = {n: v for n, v in parts.items() if v.any()} | {EMPTY: attention[:, -1]}
    for name, part in parts.items():
        fig.add_trace(
            go.Bar(x=_figures.small(part), y=heads, orientation="h", name=_figures.escaped(name), legendgroup=name,
                   marker={"color": tone.get(name, "#BFBFBF"), "line": {"width": 0.5, "color": _figures.GREY},
                           "pattern": {"shape": "/" if name == EMPTY else ""}},
                   hovertemplate="head %{y}: %{x:.3f}<extra>%{fullData.name}</extra>"), row=1, col=2
        )  # fmt: skip
    fig.update_xaxes(title={"text": "Attention"}, range=[0, 1], row=1, col=2)
    common.name_places(fig, "y", [f"head {h}" for h in range(one.n_heads)], row=1, col=2)
    told = ", ".join(f"head {h} {_figures.number(a)}" for h, a in enumerate(attention[:, -1]))
    return f"Bars of {one.n_heads} heads; the empty slot gets: {told}."


def plot_attention_distance(
    table: pd.DataFrame,
    *,
    receiver: str | None = None,
    heads: Iterable[int] | None = None,
    senders: Sequence[str] | None = None,
    label: str = "Mean attention",
    ncols: int = 2,
    title: str | None = None,
) -> Figure:
    """Mean attention on neighbours over their distance, a line per sender type and a panel per head.

    Parameters
    ----------
    table
        From `attention_by_distance`.
    receiver
        Type of the cells that attend; None for all, every pair of cells counting once.
    heads
        Which heads; None for all.
    senders
        Types to draw; None for all.
    label
        Title of the axis: other weights than attention have another meaning, see `neighbor_weights`.
    ncols
        Panels per row.
    title
        Title of the figure.

    Returns
    -------
    Figure; a point is the middle of a bin of distances.

    Raises
    ------
    MissingKeyError, TypeError, ValueError
        Not such a table; unknown types or heads.

    Examples
    --------
    >>> from scmods.amici._example import example_outputs
    >>> from scmods.amici.attention_maps import attention_by_distance
    >>> len(plot_attention_distance(attention_by_distance(example_outputs(), bins=3), heads=[0]).data)
    3
    """
    import plotly.graph_objects as go

    _figures.require(table, ["receiver", "sender", "head", "low", "high", "total", "n_pairs"], DISTANCE)
    _checks.integer("ncols", ncols)
    if receiver is not None:
        _checks.one_of("receiver", receiver, list(dict.fromkeys(table["receiver"])))
        table = table[table["receiver"] == receiver]
    every = list(dict.fromkeys(table["sender"]))
    names = every if senders is None else list(senders)
    for name in names:
        _checks.one_of("senders", name, every)
    known = sorted(set(table["head"]))
    wanted = known if heads is None else list(heads)
    for h in wanted:
        _checks.one_of("heads", h, known)
    sums = table.groupby(["sender", "head", "low", "high"])[["total", "n_pairs"]].sum().reset_index()
    whose = f" of {_figures.escaped(receiver)}" if receiver else ""
    title = title or f"Attention{whose} over distance"
    rows = -(-len(wanted) // ncols)
    fig = _figures.figure(title=title, alt="", height=140 + 230 * rows)
    where = _figures.panels(fig, len(wanted), ncols, titles=[f"Head {h}" for h in wanted], x="Distance", y=label,
                            shared_yaxes="all", vertical_spacing=70 / (140 + 230 * rows))  # fmt: skip
    tone, told, named = common.tones(every), [], set()
    for h, (row, col) in zip(wanted, where, strict=True):
        peaks = {}
        for i, name in enumerate(names):
            part = sums[(sums["sender"] == name) & (sums["head"] == h)].sort_values("low")
            if not len(part):
                continue
            mean = _figures.column(part, "total") / _figures.column(part, "n_pairs")
            middle = (_figures.column(part, "low") + _figures.column(part, "high")) / 2
            keep = _figures.some_rows(len(mean), max(2, _figures.MAX_POINTS // (len(names) * len(wanted))))
            fig.add_trace(
                go.Scatter(x=_figures.small(middle[keep]), y=_figures.small(mean[keep]), mode="lines+markers",
                           name=_figures.escaped(name), legendgroup=name, showlegend=name not in named,
                           line={"color": tone[name], "width": 2, "dash": common.DASHES[i // 12 % 5]},
                           marker={"size": 5},
                           hovertemplate="%{y:.3g} at %{x:.3g}<extra>%{fullData.name}</extra>"), row=row, col=col
            )  # fmt: skip
            named.add(name)
            peaks[name] = (mean.max(), middle[mean.argmax()])
        if peaks:
            best = max(peaks, key=lambda n: peaks[n][0])
            high, at = map(_figures.number, peaks[best])
            told.append(f"head {h}: most {high} on {best} at distance {at}")
    alt = f"{_figures.plain(title)}: lines of {len(names)} sender types in {len(wanted)} heads. {'; '.join(told)}."
    fig.update_layout(meta={"alt": alt})
    return _figures.legend_on_top(fig, 1 + sum(len(n) + 6 for n in names) // 90, above=18)
