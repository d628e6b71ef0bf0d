"""Losses of training."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from scmods import _checks, _figures
from scmods.amici import plots_common as common

if TYPE_CHECKING:
    from plotly.graph_objects import Figure

__all__ = ["plot_training"]

HISTORY = "Train first, `model.fit()`, and pass `model.history` or the model."
PARTS = (
    ("train_losses", "objective, training", "solid"),
    ("val_losses", "reconstruction, validation", "dash"),
)


def plot_training(history: Any, *, title: str = "Loss while training") -> Figure:
    """Loss of every epoch, and the epoch whose weights are kept.

    Parameters
    ----------
    history
        ``model.history``, a fitted model (a line per restart, the best first), or several histories by name.
    title
        Title of the figure.

    Returns
    -------
    Figure: solid lines for the objective of the training cells, which contains the penalties; dashed ones for the
    reconstruction of the validation cells, which alone decides; a star at the kept epoch.

    Raises
    ------
    TypeError, ValueError
        Losses are missing, text or not finite.

    Examples
    --------
    >>> from scmods.training import History
    >>> fig = plot_training(History([3.0, 2.0], [2.5, 2.6], 0, 1.0))
    >>> fig.data[1].y.tolist(), fig.data[2].x.tolist()
    ([2.5, 2.5999999046325684], [0.0])
    """
    runs = _runs(history)
    fig = _figures.figure(title=title, alt="", x="Epoch, counted from 0", y="Loss per cell")
    most, told = max(2, _figures.MAX_POINTS // (2 * len(runs))), []
    for i, (name, run) in enumerate(runs.items()):
        said = []
        for attribute, part, dash in PARTS:
            losses = getattr(run, attribute)
            if attribute == "val_losses" and not len(losses):
                continue
            y = common.values(f"The losses ({part})", losses)
            label = f"{_figures.escaped(name)}: {part}" if name else part
            _line(fig, y, label, i, dash, most)
            said.append(f"{part} from {_figures.number(y[0])} to {_figures.number(y[-1])} in {len(y)} epochs")
        best = run.best_epoch
        if 0 <= best < len(y):
            _star(fig, best, y[best], i)
            said[-1] += f", {_figures.number(y[best])} in epoch {best}, whose weights are kept"
        told.append((f"{name}: " if name else "") + ", ".join(said))
    fig.update_layout(meta={"alt": f"{_figures.plain(title)}: lines over the epochs. {'; '.join(told)}."})
    return _figures.legend_on_top(fig, len(runs))


def _runs(history: Any) -> dict[str, Any]:
    if hasattr(history, "runs"):
        trained = list(history.runs)
        several = len(trained) > 1
        runs = {f"network {i}" if several else "": run.history for i, run in enumerate(trained)}
    else:
        runs = {str(k): v for k, v in history.items()} if isinstance(history, Mapping) else {"": history}
    if not runs:
        _checks.fail("`history` is empty; there is nothing to draw.", HISTORY)
    for run in runs.values():
        if not all(hasattr(run, a) for a in ("train_losses", "val_losses", "best_epoch")):
            _checks.fail(
                f"`history` holds a {type(run).__name__}, but must be a History.", HISTORY, kind=TypeError
            )
    return runs


def _line(fig: Figure, y: Any, label: str, i: int, dash: str, most: int) -> None:
    import plotly.graph_objects as go

    keep = _figures.some_rows(len(y), most)
    fig.add_trace(
        go.Scatter(x=_figures.small(keep), y=_figures.small(y[keep]), mode="lines", name=label, showlegend=True,
                   line={"color": _figures.color(i), "dash": dash, "width": 2},
                   hovertemplate="epoch %{x}: %{y:.4g}<extra>%{fullData.name}</extra>")
    )  # fmt: skip


def _star(fig: Figure, epoch: int, loss: float, i: int) -> None:
    import plotly.graph_objects as go

    fig.add_trace(
        go.Scatter(x=_figures.small([epoch]), y=_figures.small([loss]), mode="markers", showlegend=False, name="kept",
                   marker={"size": 12, "symbol": "star", "color": _figures.color(i)},
                   hovertemplate="kept, epoch %{x}<extra></extra>")
    )  # fmt: skip
