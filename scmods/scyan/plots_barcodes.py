"""Figures of debarcoding: how scores tell singlets, doublets and debris apart, and the signal of every code."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from scmods import _checks, _figures
from scmods.scyan import plots_common as common

if TYPE_CHECKING:
    import pandas as pd
    from plotly.graph_objects import Figure

__all__ = ["plot_barcodes", "plot_signals"]

SINGLE = ("singlet", "dimmed")
KIND = "Pass adata.obs['kind'] of `scyan.labelled_barcodes(adata)`."


def plot_barcodes(
    score: Any,
    kind: Any,
    *,
    threshold: float | Mapping[str, float] | None = None,
    singlets: Sequence[str] = SINGLE,
    n_bins: int = 30,
    title: str = "Singlets, doublets and debris",
) -> Figure:
    """Histograms of a score by the kind of the event, with the area under the curve against the singlets.

    Parameters
    ----------
    score
        One number per event, larger where the event is a singlet: the gap of `debarcode`, the probability of being
        none of the unclassified. Or several by name, a panel each.
    kind
        Kind of every event, such as "singlet", "dimmed", "doublet", "debris".
    threshold
        Place of a dotted line, or one per name: events with at least this score are kept.
    singlets
        Kinds that count as singlets; at least one must occur.
    n_bins
        Bins of a histogram.
    title
        Title of the figure.

    Returns
    -------
    Figure with one panel per score and a line per kind, each of area 1; empty bins lie at half of the lowest
    density. The alt text tells the area under the curve (AUC) of every other kind against the singlets and, with a
    threshold, the share kept of each kind.

    Raises
    ------
    TypeError, ValueError
        If lengths differ, scores are not finite, or no event is a singlet.

    Examples
    --------
    >>> fig = plot_barcodes([0.9, 0.8, 0.1, 0.85], ["singlet", "singlet", "doublet", "doublet"])
    >>> "doublet 0.750" in fig.layout.meta["alt"]
    True
    """
    _checks.integer("n_bins", n_bins, 5, 200)
    several = dict(score) if isinstance(score, Mapping) else {"": score}
    if not several:
        _checks.fail("`score` is empty; there is nothing to draw.", "Pass one number per event.")
    read = {str(n): common.values(f"`score[{n!r}]`" if n != "" else "`score`", v) for n, v in several.items()}
    n = len(next(iter(read.values())))
    kinds, of = common.grouped(kind, n, "kind", KIND)
    own = np.isin(of, list(singlets))
    if not own.any():
        _checks.fail(f"No event is of the kinds {_checks.listing(singlets)}. There are {_checks.listing(kinds)}.",
                     "Name them: singlets=['...'].")  # fmt: skip
    cols = min(2, len(read))
    fig = _figures.figure(title=title, alt="", height=120 + 300 * -(-len(read) // cols))
    where = _figures.panels(fig, len(read), cols, titles=[_figures.escaped(m) for m in read],
                            x="Score (larger is more like one cell)", y="Density (logarithmic)")  # fmt: skip
    told = []
    for i, ((name, values), (row, col)) in enumerate(zip(read.items(), where, strict=True)):
        if len(values) != n:
            _checks.fail(f"`score[{name!r}]` has {len(values)} events, but there are {n}.", KIND)
        edges = common.ranges([values], n_bins)
        steps = {one: common.histogram(values[of == one], edges) for one in kinds}
        # a logarithmic axis has no 0: empty bins lie at half of the lowest density
        floor = min(height[height > 0].min() for _, height in steps.values()) / 2
        for k, (one, (x, height)) in enumerate(steps.items()):
            how = {"shape": "hv", "dash": common.DASHES[k % len(common.DASHES)], "showlegend": i == 0}
            height = np.maximum(height, floor)
            common.line(fig, x, height, _figures.escaped(one), _figures.color(k), **how, row=row, col=col)
        fig.update_yaxes(type="log", dtick=1, row=row, col=col)
        text = ", ".join(f"{k} {auc(values[own], values[of == k]):.3f}" for k in kinds if k not in singlets)
        text = f"AUC against the singlets: {text}" if text else "all events are singlets"
        cut = threshold.get(name) if isinstance(threshold, Mapping) else threshold
        if cut is not None:
            at = _checks.number("threshold", cut)
            fig.add_vline(x=at, line={"color": _figures.GREY, "dash": "dot", "width": 1.5}, row=row, col=col)
            text += "; kept: " + ", ".join(f"{k} {np.mean(values[of == k] >= at):.1%}" for k in kinds)
        told.append(f"{name}: {text}" if name else text)
    alt = f"{_figures.plain(title)}: histograms of {n} events of {len(kinds)} kinds. {'. '.join(told)}."
    fig.update_layout(meta={"alt": alt})
    return _figures.legend_on_top(fig, above=18 if "" not in read else 0)


def auc(larger: np.ndarray, smaller: np.ndarray) -> float:
    """Probability that a random one of `larger` exceeds a random one of `smaller`, ties counting one half.

    Parameters
    ----------
    larger, smaller
        Scores.
    """
    from scipy.stats import rankdata

    rank = rankdata(np.r_[larger, smaller])[: len(larger)]
    return float((rank.mean() - (len(larger) + 1) / 2) / len(smaller))


def plot_signals(
    values: Any,
    labels: Any,
    table: pd.DataFrame,
    *,
    markers: Sequence[str] | None = None,
    title: str = "Median of every marker by label",
) -> Figure:
    """Medians of the cells of every label beside what the table says: codes by channel, or populations by marker.

    Parameters
    ----------
    values
        (cells, markers) array or table: scaled intensities, latent cells, or the signal of barcodes.
    labels
        One label per cell, NaN for unclassified.
    table
        Populations x markers; its known positive entries are marked with a plus, negative ones with a minus.
    markers
        Names of the columns of an array; by default those of `table`.
    title
        Title of the figure.

    Returns
    -------
    Figure with a heat map of labels (in the order of the table, unclassified last) by the markers of the table; labels
    without cells stay open. Blue is low and red is high, grey the middle between both ends.

    Raises
    ------
    MissingKeyError, TypeError, ValueError
        If shapes differ, or a marker or a label is not in the table.

    Examples
    --------
    >>> import pandas as pd
    >>> table = pd.DataFrame({"a": [1.0, -1.0], "b": [-1.0, 1.0]}, index=["x", "y"])
    >>> plot_signals(np.array([[2.0, 0.0], [1.0, 3.0]]), ["x", "y"], table).data[0].z.tolist()
    [[2.0, 0.0], [1.0, 3.0]]
    """
    from scmods.scyan.plots_table import READ

    rho = common.matrix(table, "table", READ)
    known = list(rho.columns) if markers is None and not hasattr(values, "columns") else markers
    x, have = common.columns(values, known, "values")
    at = [have.index(m) for m in common.chosen(list(rho.columns), have, "table")]
    found, of = common.grouped(labels, len(x), "labels", "Pass `model.predict()`.")
    names = [*rho.index, *([common.UNCLASSIFIED] if common.UNCLASSIFIED in found else [])]
    common.chosen([f for f in found if f != common.UNCLASSIFIED] or None, names, "labels")
    medians = np.full((len(names), len(at)), np.nan)
    for i, name in enumerate(names):
        if (of == name).any():
            medians[i] = np.median(x[of == name][:, at], axis=0)
    low, high = float(np.nanmin(medians)), float(np.nanmax(medians))
    axis = _figures.color_axis(1.0, "Median") | {"cmin": low, "cmax": high if high > low else low + 1}
    axis.pop("cmid")
    fig = _figures.figure(title=title, alt="", x="Marker", y="Label", height=max(340, 170 + 20 * len(names)),
                          coloraxis=axis)  # fmt: skip
    signs = np.vstack([rho.to_numpy(), np.full((len(names) - len(rho), rho.shape[1]), np.nan)])
    text = np.where(signs > 0, "+", np.where(signs < 0, "−", ""))
    shown = type(rho)(medians, index=names, columns=rho.columns)
    common.heat(fig, shown, "%{y}, %{x}: median %{z:.3g}, table %{text}", text=text)
    sides = [medians[(signs * side > 0) & np.isfinite(medians)] for side in (1, -1)]
    told = " and ".join(
        f"{_figures.number(np.mean(s))} where it says {word}"
        for s, word in zip(sides, ("positive", "negative"), strict=True) if len(s)
    )  # fmt: skip
    told = f" The medians are on average {told}." if told else ""
    alt = f"{_figures.plain(title)}: heat map of {len(names)} labels by {len(at)} markers, with the signs of the table."
    return fig.update_layout(meta={"alt": alt + told})
