"""The strongest edges as a network, laid out on two circles."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from scmods import _checks, _figures
from scmods.hopfield import plots_common as common

if TYPE_CHECKING:
    import pandas as pd
    from plotly.graph_objects import Figure

__all__ = ["plot_network"]

INNER, OUTER = 0.55, 1.0  # radius of the regulators and of the genes that only receive
BEND = 0.12  # an edge and its opposite bend to different sides
WIDTHS = (1.0, 2.2, 4.0)
PIXELS = 205  # of one unit at the full width of a page
ORANGE = _figures.CATEGORICAL[1]


def plot_network(
    edges: pd.DataFrame,
    *,
    n_edges: int = 40,
    cluster: str | None = None,
    weight: str | None = None,
    title: str | None = None,
) -> Figure:
    """The strongest edges: regulators on an inner circle, genes that only receive on an outer one.

    Parameters
    ----------
    edges
        Table of edges: ``regulator``, ``target`` and ``effect`` or ``weight``; signs matter.
    n_edges
        Number of edges, the largest in size.
    cluster
        Keep the edges of this cluster (column ``cluster``).
    weight
        Column with the signed strength; by default ``"effect"``, else ``"weight"``.
    title
        Title of the figure.

    Returns
    -------
    Figure: vermilion arrows for positive, blue bars (⊣) for negative edges, wider where larger, in three widths. A
    gene that acts on itself has a ring in the colour of the sign beside its name. The layout depends on the table
    alone.

    Raises
    ------
    MissingKeyError, TypeError, ValueError
        If the table lacks a column, has no rows or no edge that is not 0, or several clusters without `cluster`.

    Examples
    --------
    >>> from scmods import hopfield
    >>> field = hopfield.true_field(hopfield.toggle(2, 3))
    >>> fig = hopfield.plot_network(hopfield.edge_table(field))
    >>> len(fig.data) > 0
    True
    """
    _checks.integer("n_edges", n_edges)
    fix = "Pass a table of edges: columns 'regulator', 'target' and 'effect' or 'weight'."
    columns = getattr(edges, "columns", ())
    weight = weight or ("effect" if "effect" in columns else "weight")
    common.require(edges, ["regulator", "target", weight], fix, "edges")
    edges = common.one_cluster(edges, cluster, "edges")
    size = common.column(edges, weight)
    order = np.argsort(-np.abs(np.nan_to_num(size)), kind="stable")[:n_edges]
    order = order[np.nan_to_num(size[order]) != 0]
    if not len(order):
        _checks.fail(f"Column {weight!r} of `edges` is 0 everywhere; there is nothing to draw.", "Fit again.")
    source, target = (edges[c].astype(str).to_numpy()[order] for c in ("regulator", "target"))
    size = size[order]
    place = _layout(source, target)
    title = title or (
        f"The {len(order)} strongest edges" + (f" in {common.escaped(cluster)}" if cluster else "")
    )
    fig = _figures.figure(
        title=title, alt=_told(common.plain(title), source, target, size, weight), height=640
    )
    _add_edges(fig, place, source, target, size)
    _add_nodes(
        fig, place, set(source), dict(zip(target[source == target], size[source == target], strict=True))
    )
    blank = {
        "showticklabels": False,
        "showline": False,
        "ticks": "",
        "showgrid": False,
        "zeroline": False,
        "range": [-1.22, 1.22],
    }
    fig.update_xaxes(**blank)
    fig.update_yaxes(**blank, scaleanchor="x")
    return common.legend_on_top(fig)


def _layout(source: np.ndarray, target: np.ndarray) -> dict[str, np.ndarray]:
    """Positions: regulators in order of first use, receivers as near to their regulators as the even steps allow."""
    inner = list(dict.fromkeys(source))
    outer = [g for g in dict.fromkeys(target) if g not in set(inner)]
    turn = 2 * np.pi / len(inner)
    place = {g: np.array([np.sin(i * turn), np.cos(i * turn)]) for i, g in enumerate(inner)}
    wish = [np.sum([place[s] for s, t in zip(source, target, strict=True) if t == g], axis=0) for g in outer]
    # a gene between opposite regulators has no direction of its own; arctan2(0, 0) puts it at the top
    angle = np.array([np.arctan2(*np.round(w, 9)) for w in wish])
    order = np.argsort(angle, kind="stable")
    if len(outer):
        even = 2 * np.pi * np.arange(len(outer)) / len(outer)
        # turn the evenly spaced circle as a whole towards the wishes
        shift = np.angle(np.exp(1j * (angle[order] - even)).sum())
        for a, g in zip(even + shift, (outer[i] for i in order), strict=True):
            place[g] = OUTER * np.array([np.sin(a), np.cos(a)])
    radius = INNER if outer else OUTER
    radius = 0.0 if len(inner) == 1 and outer else radius
    return {g: p * (radius if g in set(inner) else 1.0) for g, p in place.items()}


def _reach(direction: np.ndarray, label: str) -> float:
    """Distance from the middle of a node to the end of what is drawn there, towards `direction` of length 1."""
    if not label:
        return 0.045
    half = np.array([3.7 * len(label) + 5, 10]) / PIXELS
    return float((half / np.maximum(np.abs(direction), 1e-9)).min()) + 0.015


def _curve(start: np.ndarray, end: np.ndarray, labels: tuple[str, str], n: int = 9) -> np.ndarray:
    """(n, 2) points of an arc that bends to the right, from the edge of one node to the edge of the other."""
    along = end - start
    length = np.linalg.norm(along) or 1.0
    middle = (start + end) / 2 + BEND * np.array([along[1], -along[0]])
    out, back = (middle - start), (middle - end)
    start = start + out / (np.linalg.norm(out) or 1.0) * min(_reach(out / length * 2, labels[0]), length / 3)
    end = end + back / (np.linalg.norm(back) or 1.0) * min(_reach(back / length * 2, labels[1]), length / 3)
    t = np.linspace(0, 1, n)[:, None]
    return (1 - t) ** 2 * start + 2 * t * (1 - t) * middle + t**2 * end


def _add_edges(
    fig: Figure, place: dict[str, np.ndarray], source: np.ndarray, target: np.ndarray, size: np.ndarray
) -> None:
    import plotly.graph_objects as go

    between = source != target
    share = np.abs(size) / np.abs(size).max()
    bins = np.digitize(share, [1 / 3, 2 / 3])
    texts, middles, regulators = [], [], set(source)
    for sign, tone, word in ((1, common.POSITIVE, "raises"), (-1, common.NEGATIVE, "lowers")):
        kind = between & (np.sign(size) == sign)
        for b in np.unique(bins[kind])[::-1]:
            paths, heads = [], []
            for i in np.flatnonzero(kind & (bins == b)):
                labels = source[i], target[i] if target[i] in regulators else ""
                path = _curve(place[source[i]], place[target[i]], labels)
                paths.append(np.vstack([path, [[np.nan, np.nan]]]))
                heads += [0] * (len(path) - 1) + [8 + 2 * b, 0]
                texts.append(f"{common.escaped(source[i])} {word} {common.escaped(target[i])}: {size[i]:.3g}")
                middles.append(path[len(path) // 2])
            xy = common.small(np.vstack(paths))
            head = {"symbol": "arrow", "line": {"width": 0}} if sign > 0 else {
                "symbol": "line-ew", "line": {"width": 1.5 + b, "color": tone}}  # fmt: skip
            fig.add_trace(
                go.Scatter(x=xy[:, 0], y=xy[:, 1], mode="lines+markers", hoverinfo="skip",
                           line={"color": tone, "width": WIDTHS[b]}, name=f"regulator {word} target", legendgroup=word,
                           showlegend=bool(b == bins[kind].max()), opacity=0.8,
                           marker={"size": np.array(heads, np.uint8), "color": tone, "angleref": "previous",
                                   "opacity": 1, **head})
            )  # fmt: skip
    if middles:
        xy = common.small(middles)
        fig.add_trace(
            go.Scatter(x=xy[:, 0], y=xy[:, 1], mode="markers", text=texts, showlegend=False, name="edges",
                       hovertemplate="%{text}<extra></extra>", marker={"size": 12, "opacity": 0})
        )  # fmt: skip


def _add_nodes(
    fig: Figure, place: dict[str, np.ndarray], regulators: set[str], loops: dict[str, float]
) -> None:
    import plotly.graph_objects as go

    for sign, tone, word in ((1, common.POSITIVE, "raises"), (-1, common.NEGATIVE, "lowers")):
        own = [g for g, v in loops.items() if np.sign(v) == sign]
        if own:
            xy = common.small([_beside(place[g], g) for g in own])
            fig.add_trace(
                go.Scatter(x=xy[:, 0], y=xy[:, 1], mode="markers", name=f"{word} itself",
                           text=[f"{common.escaped(g)} {word} itself: {loops[g]:.3g}" for g in own],
                           hovertemplate="%{text}<extra></extra>",
                           marker={"size": 15, "symbol": "circle-open", "color": tone, "line": {"width": 3}})
            )  # fmt: skip
    for name, tone in (("regulator", ORANGE), ("target only", common.GREY)):
        genes = [g for g in place if (g in regulators) == (name == "regulator")]
        if not genes:
            continue
        xy = common.small([place[g] for g in genes])
        style = {"mode": "markers"}
        if name != "regulator":
            style = {"mode": "markers+text", "text": [f"\u00a0{common.escaped(g)}\u00a0" for g in genes],
                     "textposition": [_side(p) for p in xy], "textfont": {"size": 11}, "cliponaxis": False}  # fmt: skip
        fig.add_trace(
            go.Scatter(x=xy[:, 0], y=xy[:, 1], name=name, hoverinfo="skip", **style,
                       marker={"size": 9, "color": tone, "symbol": "square", "line": {"width": 0}})
        )  # fmt: skip
    for g in sorted(regulators):
        # a box of its own colour, so that edges do not run through the name on a light or a dark page
        fig.add_annotation(x=float(place[g][0]), y=float(place[g][1]), text=common.escaped(g, 200), showarrow=False,
                           bgcolor=ORANGE, borderpad=2, font={"size": 12, "color": "#000000"})  # fmt: skip


def _beside(p: np.ndarray, label: str) -> np.ndarray:
    """Place of the ring of a gene that acts on itself: outwards of its name."""
    length = np.linalg.norm(p)
    out = p / length if length else np.array([0.0, 1.0])
    return p + out * (_reach(out, label) + 0.015)


def _side(p: np.ndarray) -> str:
    """Where the label stands: outwards."""
    angle = np.arctan2(p[0], p[1])
    upright = "top" if np.cos(angle) > 0.3 else "bottom" if np.cos(angle) < -0.3 else "middle"
    across = "right" if np.sin(angle) > 0.12 else "left" if np.sin(angle) < -0.12 else "center"
    return f"{upright} {across}" if (upright, across) != ("middle", "center") else "top center"


def _told(title: str, source: np.ndarray, target: np.ndarray, size: np.ndarray, weight: str) -> str:
    sign = "raises" if size[0] > 0 else "lowers"
    out, counts = np.unique(source, return_counts=True)
    loops = int((source == target).sum())
    return (
        f"{title}: network of {len(set(source) | set(target))} genes, {len(out)} of them regulators; "
        f"{(size > 0).sum()} positive and {(size < 0).sum()} negative edges, {loops} of a gene on itself. The largest "
        f"{weight}: {source[0]} {sign} {target[0]} ({common.number(size[0])}). Most edges start at "
        f"{out[counts.argmax()]} ({counts.max()})."
    )
