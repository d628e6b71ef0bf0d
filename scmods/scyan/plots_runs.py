"""Figures of runs: the loss while training, scores of several methods and seeds."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import numpy as np

from scmods import _checks, _figures
from scmods.scyan import plots_common as common

if TYPE_CHECKING:
    import pandas as pd
    from plotly.graph_objects import Figure

__all__ = ["plot_scores", "plot_training"]

HISTORY = "Pass `model.history`."
SCORES = "Pass a table with the columns 'method', 'seed' and 'macro_f1', one row per run."


def plot_training(history: Any, *, title: str = "Loss while training") -> Figure:
    """Loss of every epoch, the kept epoch marked.

    Parameters
    ----------
    history
        ``history`` of a trained model (``train_losses``, ``val_losses``, ``best_epoch``), losses alone, or several by
        name, for instance one per seed.
    title
        Title of the figure.

    Returns
    -------
    Figure with a line per run (a dashed one for validation) and a star at the epoch whose weights are kept. Losses are
    log-densities with a changed sign, so they may be negative and their differences count, not their ratios.

    Raises
    ------
    TypeError, ValueError
        If losses are missing, text or not finite.

    Examples
    --------
    >>> plot_training([3.0, 2.0, 1.5]).data[0].y.tolist()
    [3.0, 2.0, 1.5]
    """
    import plotly.graph_objects as go

    runs = dict(history) if isinstance(history, Mapping) else {"": history}
    if not runs or any(h is None for h in runs.values()):
        _checks.fail("`history` is empty; there is nothing to draw.", HISTORY, "Train first: `model.fit()`.")
    fig = _figures.figure(title=title, alt="", x="Epoch, counted from 0", y="Mean loss per cell (nats)")
    most, told = _figures.MAX_POINTS // (2 * len(runs)), []
    for i, (name, run) in enumerate(runs.items()):
        run_told = []
        for part, dash in (("training", "solid"), ("validation", "dash")):
            losses = getattr(
                run, "train_losses" if part == "training" else "val_losses", run if dash == "solid" else ()
            )
            if part == "validation" and not len(losses):
                continue
            y = common.values(f"The {part} losses", losses)
            keep = _figures.some_rows(len(y), max(2, most))
            label = f"{_figures.escaped(name)}, {part}" if name != "" else part
            fig.add_trace(
                go.Scatter(x=_figures.small(keep), y=_figures.small(y[keep]), mode="lines", name=label,
                           line={"color": _figures.color(i), "dash": dash, "width": 2}, showlegend=True,
                           hovertemplate="epoch %{x}: %{y:.4g}<extra>" + label + "</extra>")
            )  # fmt: skip
            run_told.append(
                f"{part} from {_figures.number(y[0])} to {_figures.number(y[-1])} in {len(y)} epochs"
            )
            best = getattr(run, "best_epoch", None)
            if best is not None and 0 <= best < len(y):
                star = {"size": 11, "symbol": "star", "color": _figures.color(i), "line": {"width": 0.5}}
                fig.add_trace(
                    go.Scatter(x=_figures.small([best]), y=_figures.small([y[best]]), mode="markers", marker=star,
                               name=f"{label}, kept", showlegend=False, hovertemplate="kept, epoch %{x}<extra></extra>")
                )  # fmt: skip
                run_told[-1] += f", {_figures.number(y[best])} in epoch {best}, whose weights are kept"
        told.append((f"{name}: " if name != "" else "") + ", ".join(run_told))
    fig.update_layout(meta={"alt": f"{_figures.plain(title)}: lines over the epochs. {'; '.join(told)}."})
    return _figures.legend_on_top(fig, 1 + len(runs) // 5)


def plot_scores(
    table: pd.DataFrame,
    *,
    value: str = "macro_f1",
    by: str | None = None,
    label: str | None = None,
    title: str = "Methods on the same cells",
) -> Figure:
    """Score of every method and seed as a dot, the mean as a bar.

    Parameters
    ----------
    table
        One row per run: ``method``, the column `value`, and ``seed`` where there is one. Methods keep their order.
    value
        Column of the score.
    by
        Column that divides the figure in panels, such as the data set.
    label
        Title of the axis; by default "Macro-F1" or the name of the column.
    title
        Title of the figure.

    Returns
    -------
    Figure with a row per method; dots of one seed share a height, so that runs can be compared seed by seed.

    Raises
    ------
    MissingKeyError, TypeError, ValueError
        If it is no such table, or scores are not finite.

    Examples
    --------
    >>> import pandas as pd
    >>> runs = pd.DataFrame({"method": ["A", "A", "B"], "seed": [0, 1, 0], "macro_f1": [0.8, 0.9, 0.7]})
    >>> plot_scores(runs).layout.meta["alt"].split("Means: ")[1]
    'A 0.85 (0.8 to 0.9 in 2 runs), B 0.7.'
    """
    _figures.require(table, ["method", value, *([by] if by else [])], SCORES)
    score = common.values(f"Column {value!r}", table[value])
    method = table["method"].astype(str).to_numpy()
    names = list(dict.fromkeys(method))
    panel = table[by].astype(str).to_numpy() if by else np.full(len(table), "")
    panels = list(dict.fromkeys(panel))
    seed = table["seed"].astype(str).to_numpy() if "seed" in table.columns else np.full(len(table), "")
    seeds = list(dict.fromkeys(seed))
    label = label or ("Macro-F1" if value == "macro_f1" else _figures.escaped(value))
    fig = _figures.figure(title=title, alt="", height=160 + 44 * len(names), showlegend=False)
    where = _figures.panels(fig, len(panels), len(panels), titles=[_figures.escaped(p) for p in panels], x=label,
                            shared_yaxes=True, horizontal_spacing=0.04)  # fmt: skip
    told = []
    for p, (row, col) in zip(panels, where, strict=True):
        parts = []
        for i, name in enumerate(names):
            rows = np.flatnonzero((method == name) & (panel == p))
            if len(rows):
                _add_dots(
                    fig,
                    score[rows],
                    [seeds.index(seed[r]) for r in rows],
                    len(seeds),
                    i,
                    name,
                    row=row,
                    col=col,
                )
                parts.append(f"{name} {_figures.number(score[rows].mean())}" + _span(score[rows]))
        told.append((f"{p}: " if by else "") + ", ".join(parts))
        _figures.name_places(fig, "y", names, row=row, col=col)
        fig.update_yaxes(range=[len(names) - 0.4, -0.6], row=row, col=col)
    alt = (
        f"{_figures.plain(title)}: {_figures.plain(label)} of {len(names)} methods, a dot per run. "
        f"Means: {'; '.join(told)}."
    )
    return fig.update_layout(meta={"alt": alt}, margin={"t": 80 if by else 60})


def _span(values: np.ndarray) -> str:
    if len(values) == 1:
        return ""
    return f" ({_figures.number(values.min())} to {_figures.number(values.max())} in {len(values)} runs)"


def _add_dots(
    fig: Figure, x: np.ndarray, seed: list[int], n_seeds: int, i: int, name: str, **place: int
) -> None:
    import plotly.graph_objects as go

    y = i + 0.4 * ((np.array(seed) + 0.5) / n_seeds - 0.5)
    fig.add_trace(
        go.Scatter(x=_figures.small(x), y=_figures.small(y), mode="markers", name=_figures.escaped(name),
                   marker={"size": 9, "color": _figures.color(i), "opacity": 0.8},
                   hovertemplate="%{x:.3f}<extra>%{fullData.name}</extra>"), **place
    )  # fmt: skip
    mean = float(x.mean())
    fig.add_trace(
        go.Scatter(x=_figures.small([mean, mean]), y=_figures.small([i - 0.3, i + 0.3]), mode="lines", name="mean",
                   line={"color": _figures.color(i), "width": 3}, hovertemplate="mean %{x:.3f}<extra></extra>"), **place
    )  # fmt: skip
