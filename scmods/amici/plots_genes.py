"""Genes: what moved one gene in one cell, and which genes of a receiver answer to a sender."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING

import numpy as np

from scmods import _checks, _figures
from scmods.amici import plots_common as common

if TYPE_CHECKING:
    import pandas as pd
    from plotly.graph_objects import Figure

__all__ = ["plot_ablation_genes", "plot_contributions"]

PARTS = 'Pass `amici.neighbor_table(outputs, cell, "gene")` whole.'
ABLATION = "Pass `amici.ablation_table(outputs)`."
BY = ("pair", "neighbor", "sender", "head")
ROUNDING = 1e-6
SEEN = 0.005  # share of all movement below which a part has no bar of its own


def plot_contributions(
    table: pd.DataFrame,
    *,
    by: str = "neighbor",
    n_parts: int = 12,
    gene: str | None = None,
    title: str | None = None,
) -> Figure:
    """What moved a gene in a cell, as bars that add up from the prediction without neighbours to the full one.

    Parameters
    ----------
    table
        From `neighbor_table`; its ``attrs`` are needed.
    by
        What a bar is: ``"neighbor"``, summed over heads; ``"head"``; ``"sender"``, the type; or ``"pair"``, a neighbour
        through one head.
    n_parts
        Bars, the largest; the others share one, as do all below 0.5 % of the movement.
    gene
        Name of the gene, for the title.
    title
        Title of the figure.

    Returns
    -------
    Figure: the first bar is the prediction without neighbours, each next one begins where the one before ends,
    vermilion upwards and blue downwards, the last is the prediction; a line marks what was measured.

    Raises
    ------
    MissingKeyError, TypeError, ValueError
        Not such a table; rows are missing, so that the parts do not add up.

    Examples
    --------
    >>> from scmods.amici._example import example_outputs
    >>> from scmods.amici.contributions import neighbor_table
    >>> bars = plot_contributions(neighbor_table(example_outputs(), 0, "gene2"), by="head").data[0]
    >>> bool(np.isclose(bars.x[:-1].sum(), bars.x[-1]))
    True
    """
    import plotly.graph_objects as go

    _checks.one_of("by", by, BY)
    _checks.integer("n_parts", n_parts)
    _figures.require(table, ["neighbor", "sender", "head", "contribution"], PARTS)
    base, prediction, observed = _ends(table)
    names, sizes = _parts(table, by)
    size = np.abs(table["contribution"].to_numpy()).sum() + abs(base)
    if abs(base + sizes.sum() - prediction) > ROUNDING * max(1.0, size):
        _checks.fail(
            f"The parts add up to {base + sizes.sum():.6g}, but the prediction is {prediction:.6g}.", PARTS
        )
    order = np.argsort(-np.abs(sizes), kind="stable")
    # a bar that nobody can see is no bar
    n_parts = max(1, min(n_parts, int((np.abs(sizes) >= SEEN * np.abs(sizes).sum()).sum())))
    rows, heights = [names[i] for i in order[:n_parts]], sizes[order[:n_parts]].tolist()
    if len(order) > n_parts:
        rows.append(f"{len(order) - n_parts} others")
        heights.append(float(sizes[order[n_parts:]].sum()))
    steps = np.r_[base, heights]
    starts = np.r_[0.0, np.cumsum(steps)[:-1], 0.0]
    lengths = np.r_[steps, prediction]
    colors = [_figures.GREY, *(common.HIGHER if h >= 0 else common.LOWER for h in heights), _figures.GREY]
    what = f"What moved {_figures.escaped(gene)} in this cell" if gene else "What moved the gene in this cell"
    title = title or what
    fig = _figures.figure(
        title=title, alt="", x="Expression", height=max(320, 130 + 26 * len(lengths)), showlegend=False
    )
    fig.add_trace(
        go.Bar(x=_figures.small(lengths), base=[float(f"{s:.6g}") for s in starts], orientation="h",
               y=np.arange(len(lengths), dtype=np.uint8), width=0.7, marker={"color": colors},
               text=[f"{v:.3g}" if i in (0, len(heights) + 1) else f"{v:+.2g}" for i, v in enumerate(lengths)],
               textposition="auto", cliponaxis=False, hovertemplate="%{text}<extra></extra>")
    )  # fmt: skip
    common.name_places(fig, "y", ["without neighbours", *rows, "prediction"])
    fig.add_vline(
        x=observed,
        line={"color": _figures.color(2), "width": 2, "dash": "dash"},
        annotation_text="measured",
        annotation_position="top",
    )
    number = _figures.number
    told = ", ".join(f"{n} {h:+.2g}" for n, h in zip(rows[:3], heights[:3], strict=False))
    alt = (
        f"{_figures.plain(title)}: bars that add up, by {by}. Without neighbours {number(base)}; the largest: {told}; "
        f"prediction {number(prediction)}, measured {number(observed)}."
    )
    return fig.update_layout(meta={"alt": alt})


def _ends(table: pd.DataFrame) -> tuple[float, float, float]:
    missing = [k for k in ("base", "prediction", "observed") if k not in table.attrs]
    if missing:
        _checks.fail(f"`table.attrs` lacks {_checks.listing(missing)}.", PARTS, kind=_checks.MissingKeyError)
    return tuple(float(table.attrs[k]) for k in ("base", "prediction", "observed"))


def _parts(table: pd.DataFrame, by: str) -> tuple[list[str], np.ndarray]:
    columns = {"pair": ["neighbor", "sender", "head"], "neighbor": ["neighbor", "sender"]}.get(by, [by])
    sums = (
        table.assign(part=_figures.column(table, "contribution"))
        .groupby(columns, sort=True)["part"]
        .sum()
        .reset_index()
    )
    if by == "head":
        names = [f"head {h}" for h in sums["head"]]
    elif by == "sender":
        names = [str(s) for s in sums["sender"]]
    else:
        names = [f"{s}, cell {j}" for s, j in zip(sums["sender"], sums["neighbor"], strict=True)]
    if by == "pair":
        names = [f"{n}, head {h}" for n, h in zip(names, sums["head"], strict=True)]
    return names, sums["part"].to_numpy()


def plot_ablation_genes(
    table: pd.DataFrame,
    *,
    receiver: str | None = None,
    sender: str | None = None,
    alpha: float = 0.05,
    n_labels: int = 8,
    truth: Iterable[str] | None = None,
    title: str | None = None,
) -> Figure:
    """Genes of a receiver by what the sender adds to them and how surely.

    Parameters
    ----------
    table
        From `ablation_table`.
    receiver, sender
        Names of the types; not needed where the table holds one pair.
    alpha
        Genes with an adjusted p-value of at most this are coloured.
    n_labels
        Genes to name, those with the largest score.
    truth
        Names of the genes that truly respond: they get a ring.
    title
        Title of the figure.

    Returns
    -------
    Figure: difference of the prediction with and without the sender across, z upwards; vermilion for genes that the
    sender raises, blue for those that it lowers, grey for the others. The genes with the largest scores are all drawn.

    Raises
    ------
    MissingKeyError, TypeError, ValueError
        Not such a table; unknown types; a receiver with too few cells; no gene of `truth` in the table.

    Examples
    --------
    >>> from scmods.amici._example import example_outputs
    >>> from scmods.amici.ablation import ablation_table
    >>> fig = plot_ablation_genes(ablation_table(example_outputs()), receiver="naïve", sender="CD4/CD8")
    >>> sum(len(trace.x) for trace in fig.data)
    5
    """
    _figures.require(
        table, ["receiver", "sender", "gene", "diff", "z_value", "pvalue_adj", "score"], ABLATION
    )
    _checks.number("alpha", alpha, 0.0, 1.0)
    _checks.integer("n_labels", n_labels, 0)
    table = common.one_pair(table, receiver, sender, ABLATION)
    receiver, sender = str(table["receiver"].iloc[0]), str(table["sender"].iloc[0])
    diff, z, p, score = (_figures.column(table, c) for c in ("diff", "z_value", "pvalue_adj", "score"))
    if not np.isfinite(z).all():
        _checks.fail(
            f"Receiver {receiver!r} had too few cells for an ablation; there is nothing to draw.", ABLATION
        )
    genes = table["gene"].astype(str).to_numpy()
    called = p <= alpha
    order = np.argsort(-score, kind="stable")
    real = _real(genes, truth)
    # what matters is drawn, a sample of the rest
    first = np.zeros(len(genes), dtype=bool)
    first[order[: _figures.MAX_POINTS // 3]] = True
    rest = np.flatnonzero(~first)
    keep = np.sort(np.r_[np.flatnonzero(first), rest[_figures.thin(len(rest), 2 * _figures.MAX_POINTS // 3)]])
    title = title or f"{_figures.escaped(receiver)} without {_figures.escaped(sender)}"
    fig = _figures.figure(title=title, alt="", x="Difference that the sender makes", y="z")
    kinds = {
        "raised": (called & (diff > 0), common.HIGHER, "circle"),
        "lowered": (called & (diff <= 0), common.LOWER, "diamond"),
        f"adjusted p above {alpha:g}": (~called, _figures.GREY, "circle"),
    }
    labelled = set(order[:n_labels][score[order[:n_labels]] > 0].tolist())
    for name, (which, tone, symbol) in kinds.items():
        rows = keep[which[keep]]
        if len(rows):
            _points(fig, rows, diff, z, p, genes, labelled, name=name, tone=tone, symbol=symbol)
    if truth is not None:
        _rings(fig, np.flatnonzero(real), diff, z)
    fig.add_vline(x=0, line={"color": _figures.GREY, "width": 1})
    top = ", ".join(genes[order[:5]][score[order[:5]] > 0]) or "none"
    hits = f" {int((called & (diff > 0) & real).sum())} of {int(real.sum())} genes that truly respond are raised." if (
        truth is not None) else ""  # fmt: skip
    alt = (
        f"{_figures.plain(title)}: scatter of {len(genes)} genes, difference across and z upwards; "
        f"{int((called & (diff > 0)).sum())} raised and {int((called & (diff <= 0)).sum())} lowered with an adjusted p "
        f"of at most {alpha:g}. First by score: {top}.{hits}{_figures.drawn(len(genes), len(keep), 'genes')}"
    )
    fig.update_layout(meta={"alt": alt})
    return _figures.legend_on_top(fig)


def _real(genes: np.ndarray, truth: Iterable[str] | None) -> np.ndarray:
    if truth is None:
        return np.zeros(len(genes), dtype=bool)
    if isinstance(truth, str):
        _checks.fail(
            "`truth` is a text, but must be a list of genes.", f"Write truth=[{truth!r}].", kind=TypeError
        )
    real = np.isin(genes, [str(t) for t in truth])
    if not real.any():
        _checks.fail(f"`truth` names none of the genes of `table`: {_checks.listing(genes, 4)}.")
    return real


def _points(
    fig: Figure, rows: np.ndarray, diff: np.ndarray, z: np.ndarray, p: np.ndarray, genes: np.ndarray,
    labelled: set[int], *, name: str, tone: str, symbol: str,
) -> None:  # fmt: skip
    import plotly.graph_objects as go

    text = [_figures.escaped(genes[i]) if i in labelled else "" for i in rows]
    hover = [f"{_figures.escaped(genes[i])}, adjusted p {p[i]:.2g}" for i in rows]
    fig.add_trace(
        go.Scatter(x=_figures.small(diff[rows]), y=_figures.small(z[rows]), mode="markers+text", name=name, text=text,
                   hovertext=hover, textposition=_sides(diff[rows]), textfont={"size": 11}, cliponaxis=False,
                   marker=_figures.marker(len(genes), color=tone, symbol=symbol),
                   hovertemplate="%{hovertext}<br>difference %{x:.3g}, z %{y:.3g}<extra></extra>")
    )  # fmt: skip


def _sides(x: np.ndarray) -> list[str]:
    """Labels above and below by turns from left to right, so that fewer cover each other."""
    rank = np.argsort(np.argsort(x, kind="stable"), kind="stable")
    return ["bottom center" if r % 2 else "top center" for r in rank]


def _rings(fig: Figure, rows: np.ndarray, diff: np.ndarray, z: np.ndarray) -> None:
    import plotly.graph_objects as go

    rows = rows[_figures.some_rows(len(rows), _figures.MAX_POINTS // 3)]
    fig.add_trace(
        go.Scatter(x=_figures.small(diff[rows]), y=_figures.small(z[rows]), mode="markers", name="truly responds",
                   hoverinfo="skip", marker={"size": 13, "symbol": "circle-open", "color": _figures.color(2),
                                             "line": {"width": 2}})
    )  # fmt: skip
