"""Figures that set scores beside the truth and beside controls: recovery curves, observed against shuffled."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

import numpy as np

from scmods import _checks, _figures
from scmods.hopfield import plots_common as common

if TYPE_CHECKING:
    import pandas as pd
    from plotly.graph_objects import Figure

__all__ = ["plot_null", "plot_recovery"]

KINDS = {
    "roc": ("False positive rate", "True positive rate", "ROC"),
    "pr": ("Recall", "Precision", "Precision and recall"),
}
DASHES = ("solid", "dash", "dot", "dashdot", "longdash")
CHANCE = "chance"
METRICS = {
    "r2_adjusted": "Adjusted R² of the velocity",
    "tf_auroc": "AUROC among regulators",
    "tf_auprc": "AUPRC among regulators",
}


def plot_recovery(
    curves: pd.DataFrame | Mapping[str, pd.DataFrame], *, title: str = "Recovery of the true edges"
) -> Figure:
    """ROC and precision-recall curves of several ways to score edges, areas in the legend.

    Parameters
    ----------
    curves
        Tables of `recovery_curve` by name of the scorer, or one table of all with a column ``scorer``: ``curve``
        (``"roc"`` or ``"pr"``), ``x``, ``y`` (false positive rate and true positive rate, or recall and precision; x
        ascending within a curve). A scorer named ``"chance"`` is drawn as a dotted grey line. A column ``area``,
        where given, is shown in place of the area under the points, which is close but not exact.
    title
        Title of the figure.

    Returns
    -------
    Figure with one panel per kind. Without a scorer ``"chance"``: the diagonal for ROC, and for precision the share
    of true edges among all pairs, which is the precision at recall 1.

    Raises
    ------
    MissingKeyError, TypeError, ValueError
        If `curves` is not such a table or holds another kind.

    Examples
    --------
    >>> import numpy as np
    >>> from scmods import hopfield
    >>> truth = np.array([[0, 0, 1], [-1, 0, 0], [0, 0, 0]])
    >>> fig = hopfield.plot_recovery({"mine": hopfield.recovery_curve(2.0 * truth, truth)})
    >>> fig.layout.title.text
    'Recovery of the true edges'
    """
    curves = _stacked(curves)
    kinds = [k for k in KINDS if (curves["curve"] == k).any()]
    names = [s for s in dict.fromkeys(curves["scorer"].astype(str)) if s != CHANCE]
    parts = {
        (str(s), k): part.sort_values("x", kind="stable")
        for (s, k), part in curves.groupby(["scorer", "curve"])
    }
    areas = {key: _area(part, key[1]) for key, part in parts.items()}
    fig = _figures.figure(title=title, alt="", height=470)
    titles = [KINDS[k][2] for k in kinds]
    where = common.panels(
        fig, len(kinds), 2, titles=titles, x=[KINDS[k][0] for k in kinds], horizontal_spacing=0.13
    )
    for kind, (row, col) in zip(kinds, where, strict=True):
        fig.update_yaxes(title={"text": KINDS[kind][1], "standoff": 4}, range=[-0.02, 1.02], row=row, col=col)
        fig.update_xaxes(range=[-0.02, 1.02], row=row, col=col)
        _add_chance(fig, parts, kind, first=kind == kinds[0], row=row, col=col)
        for i, name in enumerate(names):
            if (name, kind) in parts:
                size = " / ".join(f"{areas[name, k]:.2f}" for k in kinds if (name, k) in areas)
                first = next(k for k in kinds if (name, k) in parts)
                # precision jumps from point to point, see `_area`
                how = {
                    "first": kind == first,
                    "shape": "vh" if kind == "pr" else "linear",
                    "row": row,
                    "col": col,
                }
                most = _figures.MAX_POINTS // (len(names) * len(kinds))
                _add_curve(fig, parts[name, kind], f"{common.escaped(name)} ({size})", i, most, **how)
    told = "; ".join(
        f"{n} " + ", ".join(f"{areas[n, k]:.3f} ({KINDS[k][2]})" for k in kinds if (n, k) in areas)
        for n in names
    )
    fig.update_layout(meta={"alt": f"{title}: curves of {len(names)} scorers. Areas: {told}."})
    return common.legend_on_top(fig, 1 + len(names) // 3, above=18)


def _stacked(curves: pd.DataFrame | Mapping[str, pd.DataFrame]) -> pd.DataFrame:
    """One table of all scorers, looked at."""
    import pandas as pd

    fix = "Pass {'ridge': hopfield.recovery.recovery_curve(score, truth), ...}."
    if isinstance(curves, Mapping):
        if not curves:
            _checks.fail("`curves` is empty; there is nothing to draw.", fix)
        for name, table in curves.items():
            common.require(table, ["curve", "x", "y"], fix, f"curves[{name!r}]")
        curves = pd.concat([t.assign(scorer=str(name)) for name, t in curves.items()], ignore_index=True)
    common.require(curves, ["scorer", "curve", "x", "y"], fix, "curves")
    for kind in curves["curve"].unique():
        _checks.one_of("curve", kind, tuple(KINDS))
    return curves


def _area(part: pd.DataFrame, kind: str) -> float:
    if "area" in part.columns:
        return float(part["area"].iloc[0])
    x, y = common.column(part, "x"), common.column(part, "y")
    # precision does not run in straight lines between its points: steps, as in average precision
    heights = y if kind == "pr" else (y + np.r_[y[:1], y[:-1]]) / 2
    return float((np.diff(x, prepend=0.0) * heights).sum())


def _add_chance(fig: Figure, parts: dict, kind: str, *, first: bool, **place: int) -> None:
    import plotly.graph_objects as go

    if (CHANCE, kind) in parts:
        x, y = (common.column(parts[CHANCE, kind], c) for c in "xy")
        keep = common.some_rows(len(x), 20)
        x, y = x[keep], y[keep]
    elif kind == "roc":
        x = y = np.array([0.0, 1.0])
    else:
        ends = [common.column(p, "y")[-1] for (_, k), p in parts.items() if k == kind]
        x, y = np.array([0.0, 1.0]), np.full(2, min(ends))
    line = {"color": common.GREY, "dash": "dot", "width": 1.5}
    fig.add_trace(
        go.Scatter(x=common.small(x), y=common.small(y), mode="lines", name=CHANCE, legendgroup=CHANCE, line=line,
                   showlegend=first, hoverinfo="skip"), **place
    )  # fmt: skip


def _add_curve(
    fig: Figure, part: pd.DataFrame, name: str, i: int, most: int, *, first: bool, shape: str, **place: int
) -> None:
    import plotly.graph_objects as go

    xy = np.stack([common.column(part, "x"), common.column(part, "y")], axis=1)
    along = np.r_[0.0, np.abs(np.diff(xy, axis=0)).sum(axis=1)].cumsum()
    keep = np.unique(np.searchsorted(along, np.linspace(0, along[-1], most)).clip(0, len(xy) - 1))
    xy = common.small(xy[np.union1d(keep, [0, len(xy) - 1])])
    line = {"color": common.color(i), "dash": DASHES[i % len(DASHES)], "width": 2, "shape": shape}
    fig.add_trace(
        go.Scatter(x=xy[:, 0], y=xy[:, 1], mode="lines", name=name, legendgroup=name, line=line, showlegend=first,
                   hovertemplate="(%{x:.3f}, %{y:.3f})<extra>%{fullData.name}</extra>"), **place
    )  # fmt: skip


def plot_null(
    table: pd.DataFrame | Mapping[str, pd.DataFrame],
    *,
    keys: Sequence[str] | None = None,
    title: str = "Observed against shuffled data",
) -> Figure:
    """What the data give beside what fits to shuffled data give.

    Parameters
    ----------
    table
        Table of `null_fit`, or several by what was shuffled, such as ``{"shuffled regulators": ...}``: ``fit``
        (``"data"``, then one name per shuffle) and the scores; rows of several clusters are averaged per fit.
    keys
        Columns to show, one panel each; by default ``r2_adjusted``, ``tf_auroc`` and ``tf_auprc`` where they are.
    title
        Title of the figure.

    Returns
    -------
    Figure with a row for the data and one per kind of shuffle, a point per fit, and a line at the score of the data.

    Raises
    ------
    MissingKeyError, TypeError, ValueError
        If a table is not such a table, has no row ``"data"`` or no shuffle.

    Examples
    --------
    >>> from scmods import hopfield
    >>> adata = hopfield.toggle(5, 8)
    >>> fig = hopfield.plot_null(hopfield.null_fit(adata, n_shuffles=2), keys=["r2"])
    >>> fig.layout.title.text
    'Observed against shuffled data'
    """
    tables = dict(table) if isinstance(table, Mapping) else {"shuffled": table}
    fix = "Pass the table of `hopfield.certainty.null_fit(adata)`."
    if not tables:
        _checks.fail("`table` is empty; there is nothing to draw.", fix)
    for name, one in tables.items():
        common.require(one, ["fit", *(keys or ())], fix, f"table[{name!r}]")
        if not 0 < (one["fit"] == "data").sum() < len(one):
            _checks.fail(f"`table[{name!r}]` must hold rows of the fit 'data' and of shuffles.", fix)
    first = next(iter(tables.values()))
    keys = [k for k in METRICS if k in first.columns] if keys is None else list(keys)
    if not keys:
        _checks.fail(
            f"`table` has none of the columns {_checks.listing(METRICS)}.", fix, kind=_checks.MissingKeyError
        )
    names = ["data", *map(str, tables)]
    fig = _figures.figure(title=title, alt="", height=150 + 46 * len(names), showlegend=False)
    where = common.panels(fig, len(keys), len(keys), titles=[""] * len(keys), x=[METRICS.get(k, k) for k in keys],
                          shared_yaxes=True, horizontal_spacing=0.05)  # fmt: skip
    told = []
    for key, (row, col) in zip(keys, where, strict=True):
        values = {"data": _per_fit(first, key, data=True)}
        values |= {str(n): _per_fit(one, key, data=False) for n, one in tables.items()}
        told.append(f"{METRICS.get(key, key)}: " + ", ".join(f"{n} {_span(v)}" for n, v in values.items()))
        _add_runs(fig, values, names, row=row, col=col)
    common.gene_axis(fig, names)
    return fig.update_layout(meta={"alt": f"{common.plain(title)}, a point per fit. {'; '.join(told)}."})


def _per_fit(table: pd.DataFrame, key: str, *, data: bool) -> np.ndarray:
    """Mean over the clusters, one value per fit; the fit to the data or those to shuffles."""
    part = table[(table["fit"] == "data") == data]
    return part.assign(value=common.column(part, key)).groupby("fit", sort=False)["value"].mean().to_numpy()


def _span(values: np.ndarray) -> str:
    low, high = common.number(np.nanmin(values)), common.number(np.nanmax(values))
    return low if len(values) == 1 else f"{low} to {high} in {len(values)} fits"


def _add_runs(fig: Figure, values: dict[str, np.ndarray], names: list[str], **place: int) -> None:
    import plotly.graph_objects as go

    for i, name in enumerate(names):
        x = values[name][common.some_rows(len(values[name]), 200)]
        # a fixed pattern instead of random steps: the figure depends on the table alone
        y = i + 0.12 * (np.arange(len(x)) % 5 - 2) / 2 * (len(x) > 1)
        tone = common.color(0) if i == 0 else common.color(1 + (i - 1) % 11)
        fig.add_trace(
            go.Scatter(x=common.small(x), y=common.small(y), mode="markers", name=common.escaped(name),
                       marker={"size": 9, "color": tone, "opacity": 0.75, "symbol": "diamond" if i == 0 else "circle"},
                       hovertemplate="%{x:.3g}<extra>%{fullData.name}</extra>"), **place
        )  # fmt: skip
    line = {"dash": "dot", "width": 1.5, "color": common.color(0)}
    fig.add_vline(x=float(values[names[0]].mean()), line=line, **place)
