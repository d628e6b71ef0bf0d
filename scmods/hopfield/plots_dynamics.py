"""Figures of what the field does in time: the plane of two genes, time courses."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from scmods import _checks, _figures
from scmods.hopfield import plots_common as common

if TYPE_CHECKING:
    from plotly.graph_objects import Figure

__all__ = ["plot_phase_portrait", "plot_trajectory"]

KINDS = {
    "stable": "circle", "stable spiral": "hexagon", "saddle": "x", "unstable": "diamond", "unstable spiral": "star",
}  # fmt: skip
MOST_ARROWS = 13  # per axis


def plot_phase_portrait(portrait: Mapping[str, Any], *, title: str | None = None) -> Figure:
    """Plane of two genes: arrows of the velocity, nullclines, trajectories, fixed points.

    Parameters
    ----------
    portrait
        What `phase_portrait` returned: ``genes``, ``x``, ``y``, ``dx``, ``dy``, ``fixed_points``, ``trajectories``.
    title
        Title of the figure.

    Returns
    -------
    Figure. On the nullcline of a gene its velocity is 0; the curves cross in the fixed points, whose symbol shows the
    kind and whose colour the leading real part, blue where a small deviation dies out, red where it grows. Arrows
    have the direction of the velocity, their length grows with the fourth root of the speed.

    Raises
    ------
    MissingKeyError, TypeError
        If `portrait` is not what `phase_portrait` returns.

    Examples
    --------
    >>> from scmods import hopfield
    >>> field = hopfield.true_field(hopfield.toggle(2, 3))
    >>> fig = hopfield.plot_phase_portrait(hopfield.phase_portrait(field, n_grid=5, n_trajectories=2))
    >>> fig.layout.xaxis.title.text
    'Expression of A'
    """
    _portrait(portrait)
    a, b = map(str, portrait["genes"])
    x, y, dx, dy = (np.asarray(portrait[k], dtype=np.float64) for k in ("x", "y", "dx", "dy"))
    points = portrait["fixed_points"]
    # a table without rows has no numeric columns
    lead = common.column(points, "leading_real") if len(points) else np.zeros(0)
    title = title or f"Phase portrait of {common.escaped(a)} and {common.escaped(b)}"
    fig = _figures.figure(
        title=title, alt=_portrait_told(a, b, points, lead, portrait["trajectories"]),
        x=f"Expression of {common.escaped(a)}", y=f"Expression of {common.escaped(b)}", height=560,
        coloraxis=common.color_axis(common.limit(lead) if len(lead) else 1.0, "Leading real part (1 / time)"),
    )  # fmt: skip
    fig.add_trace(_flow(x, y, dx, dy))
    _add_trajectories(fig, portrait["trajectories"])
    for gene, rate, i in ((a, dx, 2), (b, dy, 3)):
        _add_nullcline(fig, x, y, rate, f"nullcline of {common.escaped(gene)}", i)
    _add_fixed_points(fig, points, lead, a, b)
    edge = 0.03 * x[-1], 0.03 * y[-1]
    fig.update_xaxes(range=[x[0] - edge[0], x[-1] + edge[0]], showgrid=False)
    fig.update_yaxes(range=[y[0] - edge[1], y[-1] + edge[1]], showgrid=False)
    return common.legend_on_top(fig, 2)


def _portrait(portrait: Any) -> None:
    needed = ("genes", "x", "y", "dx", "dy", "fixed_points", "trajectories")
    fix = "Pass `hopfield.phase_portrait(field)`."
    if not isinstance(portrait, Mapping):
        _checks.fail(f"`portrait` is a {type(portrait).__name__}, but must be a dict.", fix, kind=TypeError)
    missing = [k for k in needed if k not in portrait]
    if missing:
        _checks.fail(
            f"`portrait` has no {missing[0]!r}. Available: {_checks.listing(portrait)}.",
            fix,
            kind=_checks.MissingKeyError,
        )


def _portrait_told(a: str, b: str, points: Any, lead: np.ndarray, trajectories: Any) -> str:
    n = common.number
    told = "; ".join(
        f"{kind} at {a} {n(p)}, {b} {n(q)}, leading real part {n(v)}"
        for kind, p, q, v in zip(points["kind"], points[a], points[b], lead, strict=True)
    )
    return (
        f"Plane of the expression of {a} and {b} with arrows of the velocity, two nullclines and "
        f"{trajectories['trajectory'].nunique()} trajectories. {len(points)} fixed points"
        + (f": {told}." if told else ".")
    )


def _flow(x: np.ndarray, y: np.ndarray, dx: np.ndarray, dy: np.ndarray) -> Any:
    """Arrows on a coarser grid, in units of its steps so that both axes count alike."""
    cols, rows = common.some_rows(len(x), MOST_ARROWS), common.some_rows(len(y), MOST_ARROWS)
    step = np.array([np.ptp(x) / max(1, len(cols) - 1), np.ptp(y) / max(1, len(rows) - 1)])
    start = np.stack(np.meshgrid(x[cols], y[rows]), axis=-1).reshape(-1, 2)
    flow = np.stack([dx, dy], axis=-1)[np.ix_(rows, cols)].reshape(-1, 2) / step
    speed = np.linalg.norm(flow, axis=1, keepdims=True)
    length = 0.75 * (speed / (speed.max() or 1.0)) ** 0.25
    arrow = flow / np.where(speed > 0, speed, 1) * length * step
    return common.arrows(
        start - arrow / 2, start + arrow / 2, tone="#A6A6A6", size=6, width=1.0, name="velocity"
    )


def _add_trajectories(fig: Figure, table: Any, n_points: int = 40) -> None:
    import plotly.graph_objects as go

    paths = []
    for _, part in list(table.groupby("trajectory", sort=False))[:20]:
        xy = np.stack([common.column(part, "x"), common.column(part, "y")], axis=1)
        # equal steps along the path: equal steps in time would put most points where nothing moves
        steps = np.r_[
            0.0, np.linalg.norm(np.diff(xy, axis=0) / np.maximum(np.ptp(xy, axis=0), 1e-12), axis=1)
        ]
        along = steps.cumsum()
        keep = np.unique(np.searchsorted(along, np.linspace(0, along[-1], n_points)).clip(0, len(xy) - 1))
        paths += [xy[np.union1d(keep, [0])], np.full((1, 2), np.nan)]
    if paths:
        xy = common.small(np.vstack(paths))
        fig.add_trace(
            go.Scatter(x=xy[:, 0], y=xy[:, 1], mode="lines", name="trajectories", opacity=0.8,
                       line={"color": _figures.CATEGORICAL[4], "width": 1.4}, hoverinfo="skip")
        )  # fmt: skip


def _add_nullcline(fig: Figure, x: np.ndarray, y: np.ndarray, rate: np.ndarray, name: str, i: int) -> None:
    import plotly.graph_objects as go

    # two bytes per value: the curve of 0 moves by less than a pixel
    z = np.round(rate / (np.abs(rate).max() or 1.0) * 32767).astype(np.int16)
    fig.add_trace(
        go.Contour(x=common.small(x), y=common.small(y), z=z, name=name, showlegend=True,
                   contours={"start": 0, "end": 0, "size": 1, "coloring": "none"}, showscale=False, hoverinfo="skip",
                   line={"color": common.color(i), "width": 2.5, "dash": ("solid", "dash")[i % 2]})
    )  # fmt: skip


def _add_fixed_points(fig: Figure, points: Any, lead: np.ndarray, a: str, b: str) -> None:
    import plotly.graph_objects as go

    kinds = points["kind"].astype(str).to_numpy()
    for kind in dict.fromkeys(kinds):
        rows = kinds == kind
        fig.add_trace(
            go.Scatter(
                x=common.small(points[a][rows]), y=common.small(points[b][rows]), mode="markers", name=kind,
                marker={"size": 14, "symbol": KINDS.get(kind, "square"), "color": common.small(lead[rows]),
                        "coloraxis": "coloraxis", "line": {"width": 1.5, "color": "#555555"}},
                hovertemplate=kind + " at (%{x:.3g}, %{y:.3g})<br>leading real part %{marker.color:.3g}<extra></extra>",
            )
        )  # fmt: skip


def plot_trajectory(
    times: Any,
    path: Any,
    *,
    genes: Sequence[str],
    var_names: Sequence[str] | None = None,
    title: str = "Simulated expression",
) -> Figure:
    """Time courses of a simulation, ``plot_trajectory(*hopfield.simulate(field, x0), genes=field.genes)``.

    Parameters
    ----------
    times
        (times,) as `simulate` returned them.
    path
        (times, cells, genes) expression as `simulate` returned it; (times, genes) for one start.
    genes
        Names of the genes of `path`.
    var_names
        Genes to draw; by default those that change most, up to six.
    title
        Title of the figure.

    Returns
    -------
    Figure with one colour per gene and one line per start, the first eight starts at most.

    Raises
    ------
    ValueError, MissingKeyError
        Shapes that do not belong together, unknown genes, values that are not finite.

    Examples
    --------
    >>> from scmods import hopfield
    >>> field = hopfield.true_field(hopfield.toggle(2, 3))
    >>> fig = hopfield.plot_trajectory(*hopfield.simulate(field, [[2.0, 1.0]]), genes=field.genes)
    >>> [trace.name for trace in fig.data]
    ['A', 'B']
    """
    import plotly.graph_objects as go

    t, x = np.asarray(times, dtype=np.float64), np.asarray(path, dtype=np.float64)
    x = x[:, None] if x.ndim == 2 else x
    names = [str(g) for g in genes]
    if x.ndim != 3 or len(x) != len(t) or x.shape[2] != len(names):
        _checks.fail(
            f"`path` has shape {x.shape}, but must be ({len(t)}, cells, {len(names)}): times, starts, genes.",
            "Write hopfield.plot_trajectory(*hopfield.simulate(field, x0), genes=field.genes).",
        )
    _checks.finite("`path`", x)
    change = np.ptp(x, axis=0).max(axis=0)
    which = (
        [names[i] for i in np.sort(np.argsort(-change, kind="stable")[:6])]
        if var_names is None
        else var_names
    )
    for gene in which:
        if gene not in names:
            _checks.fail(
                f"{gene!r} is not among the {len(names)} genes of `path`.",
                _checks.nearest(gene, names),
                kind=_checks.MissingKeyError,
            )
    starts = min(8, x.shape[1])
    keep = common.some_rows(len(t), max(20, 1500 // (starts * max(1, len(which)))))
    told = []
    fig = _figures.figure(title=title, alt="", x="Time", y="Expression")
    for i, gene in enumerate(which):
        lines = x[keep, :starts, names.index(gene)]
        told.append(f"{gene} from {common.number(lines[0].mean())} to {common.number(lines[-1].mean())}")
        gap = np.full((1, starts), np.nan)
        xs = np.tile(np.r_[t[keep], np.nan], starts)
        fig.add_trace(
            go.Scatter(x=common.small(xs), y=common.small(np.vstack([lines, gap]).T.ravel()), mode="lines",
                       name=common.escaped(gene), line={"color": common.color(i), "width": 1.8}, showlegend=True,
                       hovertemplate=f"{common.escaped(gene)} " + "%{y:.3g} at time %{x:.3g}<extra></extra>")
        )  # fmt: skip
    alt = (
        f"{title}: expression of {len(which)} of {len(names)} genes over time for {starts} of {x.shape[1]} starts. "
        f"Means over the starts at the first and last time: {', '.join(told)}."
    )
    fig.update_layout(meta={"alt": alt})
    return common.legend_on_top(fig)
