"""Sender by receiver: what silencing a sender costs, the test of every pair, and both as a network."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from scmods import _checks, _figures
from scmods.amici import plots_common as common
from scmods.amici.plots_explained import stars

if TYPE_CHECKING:
    import pandas as pd
    from plotly.graph_objects import Figure

    from scmods.amici.crossfit import CrossFit

__all__ = ["plot_crossfit", "plot_interactions", "plot_network"]

ABLATION = "Pass `amici.ablation_table(outputs)` or `amici.interaction_matrix(table)`."
TEST = "Pass `amici.cross_fit(adata)` or its `.table`."
VALUES = {
    "n_genes": "Genes raised",
    "ablation": "Squared error saved",
    "share": "Share of variance saved",
    "z": "z",
    "statistic": "Statistic",
}
WIDTHS = (1.0, 7.0)
BEND = 0.16  # an edge and its opposite bend to different sides
ROOM = 0.14  # radius around a node that arrows leave free


def plot_interactions(
    table: pd.DataFrame,
    *,
    value: str | None = None,
    alpha: float = 0.05,
    types: Sequence[str] | None = None,
    title: str | None = None,
) -> Figure:
    """What receivers lose when they no longer listen to a sender type, as a matrix.

    Parameters
    ----------
    table
        From `ablation_table`, or the matrix of `interaction_matrix`: senders (rows) x receivers (columns).
    value
        As in `interaction_matrix`, by default ``"n_genes"``; of a matrix its name for the scale.
    alpha
        Largest adjusted p-value of a gene that counts.
    types
        Order of the types; None keeps that of the matrix.
    title
        Title of the figure.

    Returns
    -------
    Figure: a row per sender, a column per receiver, the diagonal open, for cells of one type are never neighbours.

    Raises
    ------
    MissingKeyError, TypeError, ValueError
        Not such a table, a matrix that is not square, unknown types.

    Examples
    --------
    >>> from scmods.amici._example import example_outputs
    >>> from scmods.amici.ablation import ablation_table
    >>> plot_interactions(ablation_table(example_outputs())).data[0].z.shape
    (3, 3)
    """
    matrix, label = _matrix(table, value, alpha)
    matrix = _ordered(matrix, types)
    z = matrix.to_numpy(dtype=np.float64)
    title = title or f"Interactions: {label[0].lower()}{label[1:]}"
    fig = _square(title, matrix, _scale(z, label))
    common.heat(fig, matrix, label + ": %{z:.4g}", _written(z))
    return fig.update_layout(meta={"alt": f"{_figures.plain(title)}. {_told(matrix, label)}"})


def plot_crossfit(
    test: CrossFit | pd.DataFrame,
    *,
    value: str = "z",
    by: str = "pvalue_adj",
    types: Sequence[str] | None = None,
    title: str = "Cross-fitted test of every pair",
) -> Figure:
    """The test of every sender and receiver, on cells the model never saw, as a matrix with stars.

    Parameters
    ----------
    test
        What `cross_fit` returned, or its ``table``.
    value
        Column that is coloured, as ``"z"`` or ``"share"``.
    by
        p-value that the stars mark: ``"pvalue_adj"``, ``"pvalue_family"`` or ``"pvalue"``; one star for at most 0.05,
        two 0.01, three 0.001.
    types
        Order of the types; None for that of the test.
    title
        Title of the figure.

    Returns
    -------
    Figure: a row per sender, a column per receiver; pairs that were not tested are open.

    Raises
    ------
    MissingKeyError, TypeError, ValueError
        Not such a table; a column that does not exist; a pair listed twice.

    Examples
    --------
    >>> import pandas as pd
    >>> rows = {"receiver": ["T", "B"], "sender": ["B", "T"], "z": [9.0, 0.3], "pvalue_adj": [0.001, 0.7]}
    >>> plot_crossfit(pd.DataFrame(rows)).data[0].text.tolist()
    [['', '9***'], ['0.3', '']]
    """
    table = getattr(test, "table", test)
    _figures.require(table, ["receiver", "sender", value, by], TEST, "test")
    order = types if types is not None else getattr(test, "types", None)
    matrix, p = (_ordered(_pivot(table, column), order) for column in (value, by))
    label = VALUES.get(value, value)
    z, p = matrix.to_numpy(), p.to_numpy()
    fig = _square(title, matrix, _scale(z, label))
    text = [
        ["" if np.isnan(v) else f"{v:.2g}{stars(q)}" for v, q in zip(*rows, strict=True)]
        for rows in zip(z, p, strict=True)
    ]
    common.heat(fig, matrix, label + ": %{z:.4g}", np.array(text))
    rows = table[_checks.numeric(f"Column {by!r}", table[by]) <= 0.05]
    passed = [f"{s} to {r}" for s, r in zip(rows["sender"], rows["receiver"], strict=True)]
    n = int(np.isfinite(p).sum())
    called = f"{len(passed)} of {n} tested pairs have {by} of at most 0.05" + (
        f": {_figures.listed(passed[:8])}." if passed else "."
    )
    alt = f"{_figures.plain(title)}. {_told(matrix, label)} {called}"
    return fig.update_layout(meta={"alt": alt})


def plot_network(
    table: CrossFit | pd.DataFrame,
    *,
    value: str | None = None,
    alpha: float = 0.05,
    by: str = "pvalue_adj",
    smallest: float = 0.0,
    n_edges: int = 40,
    title: str | None = None,
) -> Figure:
    """Who acts on whom: types on a circle, arrows from sender to receiver as wide as the interaction.

    Parameters
    ----------
    table
        What `cross_fit` returned or its ``table``: pairs that pass are drawn. Or an ablation, as for
        `plot_interactions`.
    value
        What the width shows: by default ``"z"`` of a test, ``"n_genes"`` of an ablation.
    alpha
        Largest p-value `by` of a pair of a test that is drawn; of an ablation as in `interaction_matrix`.
    by
        p-value of the test, as in `plot_crossfit`.
    smallest
        Only pairs with a value above this are drawn.
    n_edges
        At most so many, the largest.
    title
        Title of the figure.

    Returns
    -------
    Figure; an arrow has the colour of its sender. With no pair to draw the types stand alone, which is a result.

    Raises
    ------
    MissingKeyError, TypeError, ValueError
        As `plot_crossfit` and `plot_interactions`.

    Examples
    --------
    >>> import pandas as pd
    >>> rows = {"receiver": ["T", "B"], "sender": ["B", "T"], "z": [9.0, 0.3], "pvalue_adj": [0.001, 0.7]}
    >>> plot_network(pd.DataFrame(rows)).layout.meta["alt"].split("arrows. ")[1]
    'The widest: B to T, 9.'
    """
    _checks.integer("n_edges", n_edges)
    _checks.number("smallest", smallest)
    matrix, label = _drawable(table, value, alpha, by)
    names = list(matrix.index)
    strength = matrix.to_numpy(dtype=np.float64)
    sender, receiver = np.nonzero(np.nan_to_num(strength, nan=-np.inf) > smallest)
    size = strength[sender, receiver]
    order = np.argsort(-size, kind="stable")[:n_edges]
    sender, receiver, size = sender[order], receiver[order], size[order]
    turn = 2 * np.pi * np.arange(len(names)) / len(names)
    place = np.stack([np.sin(turn), np.cos(turn)], axis=1)
    title = title or f"Who acts on whom, width: {label[0].lower()}{label[1:]}"
    fig = _figures.figure(title=title, alt="", height=520, showlegend=False)
    _arrows(fig, place, names, sender, receiver, size, label)
    _nodes(fig, place, names)
    fig.update_xaxes(visible=False, range=[-1.5, 1.5])
    fig.update_yaxes(visible=False, range=[-1.3, 1.3], scaleanchor="x")
    widest = f"The widest: {names[sender[0]]} to {names[receiver[0]]}, {_figures.number(size[0])}." if len(size) else (
        "No pair is drawn.")  # fmt: skip
    alt = f"{_figures.plain(title)}: network of {len(names)} types with {len(size)} arrows. {widest}"
    return fig.update_layout(meta={"alt": alt})


def _matrix(table: Any, value: str | None, alpha: float) -> tuple[pd.DataFrame, str]:
    """Senders x receivers with NaN on the diagonal, and what its entries are."""
    _figures.require(table, (), ABLATION)
    if "receiver" in table.columns and "sender" in table.columns:
        from scmods.amici.ablation import interaction_matrix

        value = value or "n_genes"
        table = interaction_matrix(table, alpha=alpha, value=value)
    matrix = table.astype(np.float64).copy()
    names = [str(c) for c in matrix.columns]
    matrix.index, matrix.columns = [str(i) for i in matrix.index], names
    if sorted(matrix.index) != sorted(names) or len(set(names)) < len(names):
        _checks.fail(
            f"The matrix has rows {_checks.listing(matrix.index)} and columns {_checks.listing(names)},",
            "but must have every type once in both.", ABLATION,
        )  # fmt: skip
    return _open(matrix.reindex(index=names)), VALUES.get(value or "", value or "Interaction")


def _open(matrix: pd.DataFrame) -> pd.DataFrame:
    """The same with an open diagonal: cells of one type are never neighbours."""
    z = matrix.to_numpy(dtype=np.float64).copy()
    np.fill_diagonal(z, np.nan)
    return matrix.__class__(z, index=matrix.index, columns=matrix.columns)


def _pivot(table: pd.DataFrame, column: str) -> pd.DataFrame:
    twice = table.duplicated(["receiver", "sender"])
    if twice.any():
        row = table[twice].iloc[0]
        _checks.fail(
            f"`test` holds sender {row['sender']!r} and receiver {row['receiver']!r} more than once.", TEST
        )
    wide = table.assign(entry=_checks.numeric(f"Column {column!r}", table[column])).pivot(
        index="sender", columns="receiver", values="entry"
    )
    names = sorted({*map(str, table["sender"]), *map(str, table["receiver"])})
    return _open(wide.reindex(index=names, columns=names))


def _ordered(matrix: pd.DataFrame, types: Sequence[str] | None) -> pd.DataFrame:
    if types is None:
        return matrix
    for name in types:
        _checks.one_of("types", name, list(matrix.index))
    return matrix.reindex(index=list(types), columns=list(types))


def _drawable(table: Any, value: str | None, alpha: float, by: str) -> tuple[pd.DataFrame, str]:
    """The matrix of what may be drawn as arrows: pairs that pass a test, or the ablation."""
    tested = getattr(table, "table", table)
    columns = getattr(tested, "columns", ())
    if "gene" in columns or not {"receiver", "sender"} <= set(columns):
        return _matrix(tested, value, alpha)
    value = value or "z"
    _figures.require(tested, ["receiver", "sender", value, by], TEST)
    _checks.number("alpha", alpha, 0.0, 1.0)
    matrix, p = _pivot(tested, value), _pivot(tested, by)
    return matrix.where(p <= alpha), VALUES.get(value, value)


def _scale(z: np.ndarray, label: str) -> dict[str, Any]:
    if (z[np.isfinite(z)] < 0).any():
        return _figures.color_axis(_figures.limit(z), label)
    return _figures.color_axis(_figures.limit(z), label, 0.0)


def _written(z: np.ndarray) -> np.ndarray:
    """Numbers as text, all with as many decimals as the largest needs for three digits."""
    top = _figures.limit(z) if np.isfinite(z).any() else 1.0
    whole = (z[np.isfinite(z)] % 1 == 0).all()
    decimals = 0 if whole else int(np.clip(2 - np.floor(np.log10(top)), 0, 9))
    # adding 0 turns -0 into 0
    return np.array(
        [["" if np.isnan(v) else f"{round(v, decimals) + 0.0:.{decimals}f}" for v in row] for row in z]
    )


def _square(title: str, matrix: pd.DataFrame, scale: dict[str, Any]) -> Figure:
    return _figures.figure(
        title=title, alt="", x="Receiver", y="Sender", height=200 + 44 * len(matrix), coloraxis=scale
    )


def _told(matrix: pd.DataFrame, label: str) -> str:
    z = matrix.to_numpy(dtype=np.float64)
    start = f"Matrix of {len(matrix)} sender types by {len(matrix)} receiver types, {label}"
    if not np.isfinite(z).any():
        return f"{start}; no pair has a value."
    s, r = np.unravel_index(np.nanargmax(z), z.shape)
    return f"{start}; largest {_figures.number(z[s, r])}, {matrix.index[s]} on {matrix.columns[r]}."


def _arrows(
    fig: Figure, place: np.ndarray, names: list[str], sender: np.ndarray, receiver: np.ndarray, size: np.ndarray,
    label: str,
) -> None:  # fmt: skip
    import plotly.graph_objects as go

    width = WIDTHS[0] + (WIDTHS[1] - WIDTHS[0]) * (size / size.max() if len(size) else size)
    paths = [_arc(place[s], place[r]) for s, r in zip(sender, receiver, strict=True)]
    # the widest is drawn first, so that it hides nothing
    for s, r, v, w, path in zip(sender, receiver, size, width, paths, strict=True):
        fig.add_trace(
            go.Scatter(x=_figures.small(path[:, 0]), y=_figures.small(path[:, 1]), mode="lines", opacity=0.85,
                       name=f"{_figures.escaped(names[s])} to {_figures.escaped(names[r])}",
                       line={"color": _figures.color(s), "width": float(f"{w:.4g}")},
                       text=[f"{label} {v:.4g}"] * len(path), hovertemplate="%{text}<extra>%{fullData.name}</extra>")
        )  # fmt: skip
    if paths:
        tips = np.stack([path[-1] for path in paths])
        along = np.stack([path[-1] - path[-2] for path in paths])
        fig.add_trace(
            go.Scatter(x=_figures.small(tips[:, 0]), y=_figures.small(tips[:, 1]), mode="markers", name="heads",
                       hoverinfo="skip", marker={
                           "symbol": "triangle-up", "angle": _figures.small(np.degrees(np.arctan2(*along.T))),
                           "size": _figures.small(10 + 2 * width), "color": [_figures.color(s) for s in sender],
                           "opacity": 1, "line": {"width": 0}})
        )  # fmt: skip


def _arc(start: np.ndarray, end: np.ndarray, n: int = 11) -> np.ndarray:
    """(n, 2) points of an arc that bends to one side, free of the nodes at both ends."""
    along = end - start
    middle = (start + end) / 2 + BEND * np.array([along[1], -along[0]])
    points = []
    for node in (start, end):
        away = middle - node
        points.append(node + away / np.linalg.norm(away) * ROOM)
    t = np.linspace(0, 1, n)[:, None]
    return (1 - t) ** 2 * points[0] + 2 * t * (1 - t) * middle + t**2 * points[1]


def _nodes(fig: Figure, place: np.ndarray, names: list[str]) -> None:
    import plotly.graph_objects as go

    tones = [_figures.color(i) for i in range(len(names))]
    fig.add_trace(
        go.Scatter(x=_figures.small(place[:, 0]), y=_figures.small(place[:, 1]), mode="markers", name="types",
                   marker={"size": 20, "color": tones, "line": {"width": 1, "color": _figures.GREY}},
                   text=[_figures.escaped(n) for n in names], hovertemplate="%{text}<extra></extra>")
    )  # fmt: skip
    for (x, y), name in zip(place * 1.14, names, strict=True):
        across = "left" if x > 0.15 else "right" if x < -0.15 else "center"
        upright = "bottom" if y > 0.5 else "top" if y < -0.5 else "middle"
        fig.add_annotation(x=float(x), y=float(y), text=_figures.escaped(name, 22), showarrow=False, xanchor=across,
                           yanchor=upright, font={"size": 13})  # fmt: skip
