"""What is stored of a fitted model: losses, spectrum, gene modules, predictions."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from scmods import _checks, _figures
from scmods.bmlp import plots_common as common
from scmods.bmlp.keys import Keys

if TYPE_CHECKING:
    from anndata import AnnData
    from plotly.graph_objects import Figure

__all__ = ["plot_loss", "plot_modules", "plot_prediction", "plot_spectrum"]

FIT = "Run `bmlp.fit(adata)` first."
RAISES, LOWERS = _figures.CATEGORICAL[5], _figures.CATEGORICAL[0]  # vermilion and blue


def _info(adata: AnnData, key_added: str) -> Mapping[str, Any]:
    _checks.key(adata, "uns", Keys(key_added).info, FIT)
    return adata.uns[Keys(key_added).info]


def _curve(what: str, values: Any) -> np.ndarray:
    array = _checks.numeric(what, values)
    if array.ndim != 1 or len(array) == 0:
        _checks.fail(
            f"{what} has shape {array.shape}, but must be one number per epoch.",
            "Pass what training returned: bmlp.plot_loss(model.history).",
        )
    _checks.finite(what, array)
    return array


def plot_loss(
    history_or_train_losses: Any,
    val_losses: Sequence[float] | None = None,
    *,
    baseline: float | None = None,
    title: str = "Loss while training",
) -> Figure:
    """Training and validation loss of every epoch, the best epoch marked.

    Parameters
    ----------
    history_or_train_losses
        What training returned (it has ``train_losses``, ``val_losses`` and ``best_epoch``), or training losses.
    val_losses
        Validation losses, when training losses were given; the best epoch is then that of the smallest.
    baseline
        Loss of predicting the mean, drawn as a line: a model above it has learnt nothing that generalises.
    title
        Title of the figure.

    Returns
    -------
    Figure; epochs are counted from 0, the loss axis is logarithmic when the losses span more than a factor of 20.

    Raises
    ------
    ValueError, TypeError
        Empty or non-finite losses, text, or as many validation losses as there are not epochs.

    Examples
    --------
    >>> from scmods import bmlp
    >>> fig = bmlp.plot_loss([2.0, 1.0, 0.5], [2.0, 0.9, 1.1])
    >>> fig.layout.title.text
    'Loss while training'
    """
    import plotly.graph_objects as go

    best = None
    if hasattr(history_or_train_losses, "train_losses"):
        history = history_or_train_losses
        train, val_losses = history.train_losses, history.val_losses
        best = int(history.best_epoch)
    else:
        train = history_or_train_losses
    curves = {"training": _curve("The training losses", train)}
    if val_losses is not None and len(val_losses):
        curves["validation"] = _curve("`val_losses`", val_losses)
        if len(curves["validation"]) != len(curves["training"]):
            _checks.fail(
                f"There are {len(curves['training'])} training and {len(curves['validation'])} validation losses.",
                "Expected one of each per epoch. Pass both as training returned them.",
            )
        best = int(np.argmin(curves["validation"])) if best is None else best
    all_values = np.concatenate(list(curves.values()))
    log = all_values.min() > 0 and all_values.max() > 20 * all_values.min()
    fig = _figures.figure(
        title=title, alt=f"{common.sentence(title)} {_loss_told(curves, best, baseline)}", x="Epoch, counted from 0",
        y="Mean loss per cell" + (" (log scale)" if log else ""),
    )  # fmt: skip
    for i, (name, values) in enumerate(curves.items()):
        keep = _figures.thin(len(values), _figures.MAX_POINTS // 2)
        text = f"{name}, epoch " + "%{x}: %{y:.4g}<extra></extra>"
        fig.add_trace(
            go.Scatter(x=keep.astype(np.float32), y=values[keep].astype(np.float32), mode="lines", name=name,
                       hovertemplate=text, line={"color": _figures.CATEGORICAL[i], "dash": ("solid", "dash")[i]},
                       showlegend=True)
        )  # fmt: skip
    if "validation" in curves:
        style = {"size": 12, "symbol": "star", "color": _figures.CATEGORICAL[5]}
        fig.add_trace(
            go.Scatter(
                x=[best], y=[curves["validation"][best]], mode="markers", name="best epoch", marker=style
            )
        )
    if baseline is not None:
        level = _checks.number("baseline", baseline)
        ends, line = [0, max(1, len(curves["training"]) - 1)], {"color": common.GREY, "dash": "dot"}
        fig.add_trace(go.Scatter(x=ends, y=[level] * 2, mode="lines", name="predicting the mean", line=line))
    if log:
        fig.update_yaxes(type="log")
    return common.legend_on_top(fig)


def _loss_told(curves: Mapping[str, np.ndarray], best: int | None, baseline: float | None) -> str:
    train, val = curves["training"], curves.get("validation")
    n = common.number
    told = f"Over {len(train)} epochs the training loss goes from {n(train[0])} to {n(train[-1])}"
    last = train[-1]
    if val is not None:
        last = val[best]
        told += f", the validation loss from {n(val[0])} to {n(val[-1])}; it is {n(last)} in the best epoch, {best}"
    if baseline is None:
        return told + "."
    side = "below" if last < baseline else "not below"
    return f"{told}. That is {side} the {n(baseline)} of predicting the mean."


def plot_spectrum(adata: AnnData, *, output: int = 0, key_added: str = "bmlp") -> Figure:
    """Eigenvalues of the kept modes of an output and, below, what each contributes on held-out cells.

    Parameters
    ----------
    adata
        Annotated data after `fit`.
    output
        Number of the output, from 0.
    key_added
        Prefix given to `fit`.

    Returns
    -------
    Figure with two panels over the number of the mode (0 has the largest eigenvalue in size). Cells far out along a
    mode are raised where its eigenvalue is positive, lowered where negative. A contribution below 0 means that
    the evaluated cells are predicted better without the mode.

    Raises
    ------
    MissingKeyError, ValueError, TypeError
        If there is no fit, or no such output.

    Examples
    --------
    >>> from scmods import bmlp
    >>> adata = bmlp.planted(120, 40, n_module=5)
    >>> bmlp.split(adata)
    >>> model = bmlp.fit(adata, target="targets")
    >>> fig = bmlp.plot_spectrum(adata, output=0)
    >>> fig.layout.title.text
    'Modes of output 0'
    """
    import plotly.graph_objects as go

    info = _info(adata, key_added)
    (o,) = common.chosen(output, len(info["eigenvalues"]), "output")
    values, gain = (np.asarray(info[k][o], dtype=np.float64) for k in ("eigenvalues", "contribution"))
    cells = "test cells" if info["evaluated_on"] == "test" else "left-out cells"
    best = int(np.argmax(gain))
    n = common.number
    fig = _figures.figure(
        title=f"Modes of output {o}",
        alt=f"Two bar charts over the {len(values)} modes of output {o}. Eigenvalues: {(values > 0).sum()} positive, "
        f"{(values < 0).sum()} negative, from {n(values.min())} to {n(values.max())}. Contribution on {cells}: largest "
        f"for mode {best} ({n(gain[best])} of the variance), below 0 for {(gain < 0).sum()} of {len(gain)}.",
        height=520, showlegend=False,
    )  # fmt: skip
    fig.set_subplots(2, 1, shared_xaxes=True, vertical_spacing=0.08)
    x = np.arange(len(values))
    for row, bars in ((1, values), (2, gain)):
        style = {"color": np.where(bars > 0, RAISES, LOWERS).tolist()}
        text = "mode %{x}: %{y:.3g}<extra></extra>"
        fig.add_trace(
            go.Bar(x=x, y=bars.astype(np.float32), marker=style, hovertemplate=text), row=row, col=1
        )
    fig.update_yaxes(title={"text": "Eigenvalue (unit of the output)"}, row=1, col=1)
    fig.update_yaxes(title={"text": f"Contribution, {cells}<br>(share of variance)"}, row=2, col=1)
    fig.update_yaxes(zeroline=True)
    fig.update_xaxes(dtick=1 if len(x) <= 20 else None, zeroline=False)
    fig.update_xaxes(title={"text": "Mode, by size of its eigenvalue"}, row=2, col=1)
    return fig


def plot_modules(
    adata: AnnData, *, output: int = 0, mode: int | None = None, n_genes: int = 15, key_added: str = "bmlp"
) -> Figure:
    """Genes at both ends of a mode, with the stability of each beside it.

    Parameters
    ----------
    adata
        Annotated data after `fit`.
    output
        Number of the output, from 0.
    mode
        Number of the mode; by default the one that contributes most on held-out cells.
    n_genes
        Genes per end; fewer where fewer have that sign.
    key_added
        Prefix given to `fit`.

    Returns
    -------
    Figure with a bar per gene: loadings of a vector of unit norm, whose overall sign is arbitrary. After
    `module_stability` a second panel shows the share of subsamples in which the gene is in the module; it was made
    for the default mode and is left out for others.

    Raises
    ------
    MissingKeyError, ValueError, TypeError
        If there is no fit, or no such output or mode.

    Examples
    --------
    >>> from scmods import bmlp
    >>> adata = bmlp.planted(120, 40, n_module=5)
    >>> bmlp.split(adata)
    >>> model = bmlp.fit(adata, target="targets")
    >>> fig = bmlp.plot_modules(adata, output=0, n_genes=3)
    >>> len(fig.data[0].y)
    6
    """
    import plotly.graph_objects as go

    info, keys = _info(adata, key_added), Keys(key_added)
    _checks.key(adata, "varm", keys.modes, FIT)
    (o,) = common.chosen(output, len(info["eigenvalues"]), "output")
    best = int(np.argmax(info["contribution"][o]))
    k = best if mode is None else common.chosen(mode, len(info["eigenvalues"][o]), "mode")[0]
    _checks.integer("n_genes", n_genes)
    loading = np.asarray(adata.varm[keys.modes])[:, k, o]
    order = np.argsort(-loading, kind="stable")
    top = [g for g in order[:n_genes] if loading[g] > 0]
    bottom = [g for g in order[-n_genes:] if loading[g] < 0]
    genes = np.array(top + bottom, dtype=int)
    stable = (
        np.asarray(adata.varm[keys.stability])[genes, o]
        if keys.stability in adata.varm and k == best
        else None
    )
    names = [str(g) for g in adata.var_names[genes]]
    value = common.number(info["eigenvalues"][o][k])
    fig = _figures.figure(
        title=f"Output {o}, mode {k}, eigenvalue {value}",
        alt=_modules_told(o, k, value, names, len(top), stable), height=130 + 20 * len(genes), showlegend=False,
    )  # fmt: skip
    fig.set_subplots(1, 1 if stable is None else 2, shared_yaxes=True, horizontal_spacing=0.03,
                     column_widths=None if stable is None else [0.75, 0.25])  # fmt: skip
    # numbers as positions, so that two genes of one name keep two bars
    y, text = np.arange(len(genes)), "%{customdata}: %{x:.3g}<extra></extra>"
    style = {"color": np.where(loading[genes] > 0, RAISES, LOWERS).tolist()}
    bars = go.Bar(x=loading[genes].astype(np.float32), y=y, orientation="h", marker=style, customdata=names,
                  hovertemplate=text)  # fmt: skip
    fig.add_trace(bars, row=1, col=1)
    ticks = [common.wrapped(name, 200) for name in names]
    fig.update_yaxes(tickvals=y.tolist(), ticktext=ticks, range=[len(genes) - 0.4, -0.6], zeroline=False)
    fig.update_yaxes(automargin=True, title={"text": "Gene"}, row=1, col=1)
    fig.update_xaxes(title={"text": "Loading (unit norm)"}, zeroline=True, row=1, col=1)
    if stable is not None:
        dots = go.Scatter(x=stable.astype(np.float32), y=y, mode="markers", customdata=names, hovertemplate=text,
                          marker={"size": 8, "color": _figures.CATEGORICAL[2]})  # fmt: skip
        fig.add_trace(dots, row=1, col=2)
        title = {"text": "Stability<br>(share of subsamples)"}
        fig.update_xaxes(title=title, range=[-0.08, 1.08], zeroline=False, row=1, col=2)
    return fig


def _modules_told(
    output: int, mode: int, value: str, names: list[str], n_top: int, stable: np.ndarray | None
) -> str:
    ends = [f"{word} end {common.listed(part[:3])}" for word, part in
            (("positive", names[:n_top]), ("negative", names[n_top:][::-1])) if part]  # fmt: skip
    told = (
        f"Bar chart of the loadings of {len(names)} genes in mode {mode} of output {output}, eigenvalue {value}. "
        f"Largest at the {common.listed(ends)}."
    )
    if stable is None:
        return told
    return f"{told} Dots: stability from {stable.min():.0%} to {stable.max():.0%} of subsamples, " + (
        f"median {np.median(stable):.0%}."
    )


def plot_prediction(
    adata: AnnData, *, outputs: int | Sequence[int] | None = None, key_added: str = "bmlp", ncols: int = 3
) -> Figure:
    """Observed against predicted values of the held-out cells, R² above.

    Parameters
    ----------
    adata
        Annotated data after `fit`.
    outputs
        Numbers of the outputs, from 0; all by default.
    key_added
        Prefix given to `fit`.
    ncols
        Panels per row.

    Returns
    -------
    Figure with one panel per output, one point per test cell (at most 5,000 in all) and the line of equality. After a
    fit on all cells there are no test cells: the points are then fitted cells, which title and alt text say, and
    R² is that of leave-one-out.

    Raises
    ------
    MissingKeyError, ValueError, TypeError
        If the fit or one of its columns is missing, or an output does not exist.

    Examples
    --------
    >>> from scmods import bmlp
    >>> adata = bmlp.planted(120, 40, n_module=5)
    >>> bmlp.split(adata)
    >>> model = bmlp.fit(adata, target="targets")
    >>> fig = bmlp.plot_prediction(adata, outputs=0)
    >>> fig.layout.title.text
    'Observed and predicted targets, test cells'
    """
    import plotly.graph_objects as go

    keys, fix = Keys(key_added), "Run `bmlp.fit(adata)` first."
    _checks.key(adata, "uns", keys.info, fix)
    _checks.key(adata, "obsm", keys.prediction, fix)
    info = adata.uns[keys.info]
    _checks.key(adata, "obsm", info["target"], "It is what the model was fitted to; put it back.")
    truth = np.asarray(adata.obsm[info["target"]], dtype=np.float64).reshape(adata.n_obs, -1)
    guess = np.asarray(adata.obsm[keys.prediction], dtype=np.float64)
    which = common.chosen(outputs, guess.shape[1])
    _checks.integer("ncols", ncols)
    held_out = info["evaluated_on"] == "test"
    rows = np.arange(adata.n_obs)
    if held_out:
        _checks.key(adata, "obs", info["split_key"], "Run `bmlp.split(adata)` and `bmlp.fit(adata)` again.")
        rows = np.flatnonzero(adata.obs[info["split_key"]].astype(str) == "test")
    keep = rows[_figures.thin(len(rows), _figures.MAX_POINTS // len(which))]
    kind = "test cells" if held_out else "cells that were used to fit"
    r2 = [f"{'' if held_out else 'leave-one-out '}R² = {info['r2'][o]:.2f}" for o in which]
    told = "; ".join(f"output {o}, {r}" for o, r in zip(which, r2, strict=True))
    n_rows = common.grid(len(which), ncols)[0]
    fig = _figures.figure(
        title=f"Observed and predicted {info['target']}, {kind}",
        alt=f"Scatter of observed against predicted {info['target']} for {len(rows)} {kind}, with the line of "
        f"equality: {told}.{common.drawn(len(rows), len(keep))}",
        height=90 + 290 * n_rows, showlegend=False,
    )  # fmt: skip
    titles = [f"Output {o}, {r}" for o, r in zip(which, r2, strict=True)]
    axes = (f"Predicted ({info['target']})", f"Observed ({info['target']})")
    for o, (row, col) in zip(which, common.panels(fig, len(which), ncols, titles, *axes), strict=True):
        x, y = (a[keep, o].astype(np.float32) for a in (guess, truth))
        ends = np.array([min(x.min(), y.min()), max(x.max(), y.max())], np.float32)
        line = {"color": common.GREY, "dash": "dash", "width": 1.5}
        fig.add_trace(go.Scatter(x=ends, y=ends, mode="lines", line=line, hoverinfo="skip"), row=row, col=col)
        style = common.marker(len(keep), color=_figures.CATEGORICAL[0], opacity=0.7)
        text = "Predicted %{x:.3g}<br>observed %{y:.3g}<extra></extra>"
        dots = go.Scatter(x=x, y=y, mode="markers", marker=style, hovertemplate=text)
        fig.add_trace(dots, row=row, col=col)
    return fig
