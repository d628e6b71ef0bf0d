"""Precision and recall of scores of pairs, receivers and genes, where the truth is known."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import numpy as np

from scmods import _checks, _figures
from scmods.amici import plots_common as common

if TYPE_CHECKING:
    import pandas as pd
    from anndata import AnnData
    from plotly.graph_objects import Figure

__all__ = ["plot_recovery", "recovery_curves"]

CURVES = 'Pass `amici.recovery_curves(adata, model.neighbors, {"attention": scores})`.'
COLUMNS = ("scorer", "task", "recall", "precision")


def recovery_curves(
    adata: AnnData,
    neighbors: Any,
    scores: Mapping[str, Any],
    *,
    genes: Mapping[str, pd.DataFrame] | None = None,
    cells: Any = None,
) -> pd.DataFrame:
    """Precision and recall of several ways to score pairs, as `plot_recovery` draws them.

    Parameters
    ----------
    adata
        What `semisynthetic` returned.
    neighbors
        (cells, k) positions of cells, -1 where there is none.
    scores
        By name, such as attention, contribution, minus the distance: (cells, k) each, as for `pair_recovery`.
    genes
        By name: tables as for `gene_recovery`.
    cells
        (cells,) bool: those to count; None for all.

    Returns
    -------
    Columns ``scorer``, ``task``, ``recall``, ``precision``, ``area`` (average precision), ``base`` (share that is
    real). Tasks: ``"senders"``, ``"receivers"``, and ``"genes, sender -> receiver"`` for every planted pair. Long
    curves keep 200 points.

    Raises
    ------
    MissingKeyError, TypeError, ValueError
        As `pair_recovery` and `gene_recovery`.

    Examples
    --------
    >>> from scmods.amici.recovery import true_pairs
    >>> from scmods.amici.simulate import semisynthetic
    >>> adata = semisynthetic(100, 30)
    >>> near = (np.arange(100)[:, None] + np.array([1, 2])) % 100
    >>> sorted(set(recovery_curves(adata, near, {"truth": true_pairs(adata, near)})["task"]))
    ['receivers', 'senders']
    """
    import pandas as pd

    from scmods.amici import recovery

    if not isinstance(scores, Mapping) or not scores:
        _checks.fail(
            "`scores` must be a mapping from a name to (cells, k) scores, with at least one.",
            'Write scores={"attention": outputs.pair_scores("attention")}.',
            kind=TypeError,
        )
    near, parts = np.asarray(neighbors), []
    for name, given in scores.items():
        values = np.asarray(given, dtype=np.float64)
        # refuses what does not fit together
        recovery.pair_recovery(adata, near, values, cells=cells)
        keep = np.ones(len(near), dtype=bool) if cells is None else np.asarray(cells)
        there = (near >= 0) & keep[:, None]
        best = np.where(near >= 0, values, -np.inf).max(axis=1, initial=-np.inf)
        truth, receives = recovery.true_pairs(adata, near), adata.obs["receives"].to_numpy(dtype=bool)
        parts.append(_curve(str(name), "senders", values[there], truth[there]))
        parts.append(_curve(str(name), "receivers", best[keep], receives[keep]))
    for name, table in (genes or {}).items():
        recovery.gene_recovery(adata, table)
        truth = adata.varm["responds"]
        for r, s in adata.uns["interactions"][["receiver", "sender"]].itertuples(index=False):
            one = table[(table["receiver"] == r) & (table["sender"] == s)]
            real = truth[r].to_numpy()[truth.index.get_indexer(one["gene"])]
            parts.append(_curve(str(name), f"genes, {s} -> {r}", one["score"], real))
    return pd.concat(parts, ignore_index=True)


def _curve(scorer: str, task: str, scores: Any, truth: np.ndarray) -> pd.DataFrame:
    import pandas as pd

    from scmods.amici.recovery import average_precision, recovery_curve

    recall, precision = recovery_curve(scores, truth)
    keep = _even(recall, precision, 200)
    return pd.DataFrame(
        {"scorer": scorer, "task": task, "recall": recall[keep], "precision": precision[keep],
         "area": average_precision(scores, truth), "base": float(np.mean(truth))}
    )  # fmt: skip


def _even(recall: np.ndarray, precision: np.ndarray, most: int) -> np.ndarray:
    """Rows at equal steps along the curve, both ends kept."""
    if len(recall) <= most:
        return np.arange(len(recall))
    along = np.r_[0.0, np.abs(np.diff(recall)) + np.abs(np.diff(precision))].cumsum()
    inner = np.searchsorted(along, np.linspace(0, along[-1], most - 1)).clip(0, len(recall) - 1)
    return np.union1d(inner, [0, len(recall) - 1])


def plot_recovery(
    curves: pd.DataFrame,
    *,
    ncols: int = 2,
    title: str = "Recovery of what was planted",
) -> Figure:
    """Precision over recall of several scorers, a panel per task.

    Parameters
    ----------
    curves
        From `recovery_curves`; or columns ``scorer``, ``task``, ``recall`` (ascending), ``precision``, and where there
        are ``area`` and ``base``. Without ``area`` the area under the steps is told.
    ncols
        Panels per row.
    title
        Title of the figure.

    Returns
    -------
    Figure; the dotted line is the share of what is real, which random scores reach. Average precisions stand in the
    legend, in the order of the panels.

    Raises
    ------
    MissingKeyError, TypeError, ValueError
        Not such a table; values outside [0, 1].

    Examples
    --------
    >>> import pandas as pd
    >>> table = pd.DataFrame({"scorer": "a", "task": "senders", "recall": [0.5, 1.0], "precision": [1.0, 0.5]})
    >>> plot_recovery(table).data[0].name
    'a (0.75)'
    """
    _figures.require(curves, COLUMNS, CURVES, "curves")
    _checks.integer("ncols", ncols)
    for column in ("recall", "precision"):
        v = _figures.column(curves, column)
        if not ((v >= 0) & (v <= 1)).all():
            _checks.fail(f"Column {column!r} of `curves` leaves [0, 1].", CURVES)
    tasks = list(dict.fromkeys(curves["task"].astype(str)))
    names = list(dict.fromkeys(curves["scorer"].astype(str)))
    parts = {(str(s), str(t)): p for (s, t), p in curves.groupby(["scorer", "task"], sort=False)}
    areas = {key: _area(part) for key, part in parts.items()}
    rows = -(-len(tasks) // ncols)
    fig = _figures.figure(title=title, alt="", height=170 + 270 * rows)
    titles = [_figures.escaped(t[:1].upper() + t[1:], 60) for t in tasks]
    where = _figures.panels(fig, len(tasks), ncols, titles=titles, x="Recall", y="Precision",
                            vertical_spacing=80 / (170 + 270 * rows))  # fmt: skip
    fig.update_xaxes(range=[-0.02, 1.02])
    fig.update_yaxes(range=[-0.02, 1.04])
    named: set[str] = set()
    for i, name in enumerate(names):
        label = f"{_figures.escaped(name)} ({_listed_areas(areas, name, tasks)})"
        for task, (row, col) in zip(tasks, where, strict=True):
            if (name, task) in parts:
                most = max(10, _figures.MAX_POINTS // len(parts))
                _add_curve(fig, parts[name, task], label, i, most, first=name not in named, row=row, col=col)
                named.add(name)
    for task, (row, col) in zip(tasks, where, strict=True):
        bases = [float(p["base"].iloc[0]) for (_, t), p in parts.items() if t == task and "base" in p.columns]
        if bases:
            fig.add_hline(
                y=bases[0], line={"color": _figures.GREY, "dash": "dot", "width": 1.5}, row=row, col=col
            )
    told = []
    for task in tasks:
        one = {n: areas[n, task] for n in names if (n, task) in areas}
        told.append(f"{task}: " + ", ".join(f"{n} {_figures.number(a)}" for n, a in one.items()))
    alt = f"{_figures.plain(title)}: precision over recall of {len(names)} scorers. Average precision"
    fig.update_layout(meta={"alt": f"{alt}: {'; '.join(told)}."})
    return _figures.legend_on_top(fig, 1 + len(names) // 3, above=18)


def _area(part: pd.DataFrame) -> float:
    if "area" in part.columns:
        return float(part["area"].iloc[0])
    return float(
        (np.diff(_figures.column(part, "recall"), prepend=0.0) * _figures.column(part, "precision")).sum()
    )


def _listed_areas(areas: Mapping[tuple[str, str], float], name: str, tasks: list[str]) -> str:
    return " / ".join(f"{areas[name, t]:.2f}" if (name, t) in areas else "–" for t in tasks)


def _add_curve(
    fig: Figure, part: pd.DataFrame, label: str, i: int, most: int, *, first: bool, **place: int
) -> None:
    import plotly.graph_objects as go

    recall, precision = _figures.column(part, "recall"), _figures.column(part, "precision")
    keep = _even(recall, precision, most)
    # the first step begins at recall 0
    recall, precision = np.r_[0.0, recall[keep]], np.r_[precision[0], precision[keep]]
    # precision does not run in straight lines between its points: steps, as in average precision
    line = {"color": _figures.color(i), "dash": common.DASHES[i % 5], "width": 2, "shape": "vh"}
    fig.add_trace(
        go.Scatter(x=_figures.small(recall), y=_figures.small(precision), mode="lines", name=label,
                   legendgroup=str(i), showlegend=first, line=line,
                   hovertemplate="(%{x:.3f}, %{y:.3f})<extra>%{fullData.name}</extra>"), **place
    )  # fmt: skip
