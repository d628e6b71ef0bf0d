"""What every marker says for a label: bars that add up for one cell, a heat map for populations or several cells."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from scmods import _checks, _figures
from scmods.scyan import plots_common as common

if TYPE_CHECKING:
    import pandas as pd
    from plotly.graph_objects import Figure

__all__ = ["plot_contributions"]

FIX = "Pass `scyan.explain(model, cells=...)` or `scyan.population_evidence(model)`."
EXTRA = ("chosen", "rival", "difference", "cells")
WEIGHTS = "weights"
MOST_ROWS = 40
ROUNDING = 1e-6


def plot_contributions(
    contributions: pd.DataFrame | pd.Series,
    *,
    cell: Any = None,
    n_markers: int | None = None,
    title: str | None = None,
) -> Figure:
    """What the markers say for the label of a cell, against its rival; or the same for populations as a heat map.

    Parameters
    ----------
    contributions
        Table of `explain` (``chosen``, ``rival``, ``difference``, a column per marker, ``weights``), one row of it, or
        table of `population_evidence`.
    cell
        Name of a row: draw this cell. A table of one row, or a Series, needs none.
    n_markers
        Bars of the markers that say most, the others in one bar; by default all up to 25. For a heat map the columns
        with the largest sizes.
    title
        Title of the figure.

    Returns
    -------
    Figure. For one cell: bars in nats from the largest to the smallest, each beginning where the one before ends, and
    the sum as a last bar; vermilion speaks for the label, blue for the rival. Otherwise a heat map of at most 40 rows,
    the rival behind the name of the row; the colours end at the 98 % quantile of the sizes.

    Raises
    ------
    MissingKeyError, TypeError, ValueError
        If it is no such table, the cell does not exist, values of the cell are not finite, or the parts do not add up
        to ``difference``.

    Examples
    --------
    >>> import pandas as pd
    >>> row = {"chosen": "T", "rival": "B", "difference": 2.5, "CD3": 3.0, "CD19": -1.0, "weights": 0.5}
    >>> fig = plot_contributions(pd.DataFrame([row], index=["cell7"]))
    >>> list(fig.data[0].base), list(fig.layout.yaxis.ticktext)
    ([0.0, 3.0, 2.0, 0.0], ['CD3', 'CD19', 'weight of the populations', 'sum'])
    """
    if hasattr(contributions, "to_frame"):
        contributions = contributions.to_frame().T
    _figures.require(contributions, ["rival", "difference"], FIX, "contributions")
    if n_markers is not None:
        _checks.integer("n_markers", n_markers)
    if cell is not None:
        contributions = contributions.loc[[_row(contributions, cell)]]
    if len(contributions) == 1 and "chosen" in contributions.columns:
        return _waterfall(contributions.iloc[0], 25 if n_markers is None else n_markers, title)
    return _heat_map(contributions, n_markers, title)


def _row(table: pd.DataFrame, cell: Any) -> Any:
    if cell not in table.index:
        _checks.fail(
            f"`contributions` has no row {cell!r}. Available: {_checks.listing(table.index)}.",
            _checks.nearest(str(cell), table.index),
            kind=_checks.MissingKeyError,
        )
    return cell


def _parts(table: pd.DataFrame) -> list[str]:
    """Columns of markers."""
    return [c for c in table.columns if c not in EXTRA and c != WEIGHTS]


def _waterfall(row: pd.Series, most: int, title: str | None) -> Figure:
    import plotly.graph_objects as go

    chosen, rival, cell = str(row["chosen"]), str(row["rival"]), str(row.name)
    markers = _parts(row.to_frame().T)
    nats = common.values("The contributions of the cell", row[markers].astype(float).to_numpy())
    order = np.argsort(-np.abs(nats), kind="stable")
    names, sizes = [markers[j] for j in order[:most]], nats[order[:most]].tolist()
    if len(order) > most:
        names.append(f"{len(order) - most} other markers")
        sizes.append(float(nats[order[most:]].sum()))
    if WEIGHTS in row.index:
        names.append("weight of the populations")
        sizes.append(float(row[WEIGHTS]))
    total = float(row["difference"])
    if abs(sum(sizes) - total) > ROUNDING * max(1.0, np.abs(nats).sum()) + 1e-3 * abs(total):
        _checks.fail(
            f"The contributions of {cell!r} add up to {sum(sizes):.4g}, but `difference` is {total:.4g}.", FIX
        )
    ends = np.cumsum(sizes)
    base = np.r_[0.0, ends[:-1], 0.0]
    sizes = np.r_[sizes, total]
    tones = [common.FOR if s >= 0 else common.AGAINST for s in sizes[:-1]] + [_figures.GREY]
    between = "Why {} and not {}" if total > 0 else "{} against {}"
    title = title or between.format(_figures.escaped(chosen), _figures.escaped(rival))
    fig = _figures.figure(title=title, alt="", x="Log-probability difference (nats)", y="",
                          height=max(320, 130 + 24 * len(sizes)), showlegend=False)  # fmt: skip
    fig.add_trace(
        go.Bar(x=_figures.small(sizes), base=[float(f"{b:.6g}") for b in base], y=np.arange(len(sizes), dtype=np.uint8),
               orientation="h", marker={"color": tones}, width=0.7, text=[f"{s:+.2f}" for s in sizes],
               textposition="auto", cliponaxis=False, hovertemplate="%{text} nats<extra></extra>")
    )  # fmt: skip
    _figures.name_places(fig, "y", [*names, "sum"])
    fig.add_vline(x=0, line={"color": _figures.GREY, "width": 1})
    told = ", ".join(f"{n} {s:+.2f}" for n, s in zip(names[:3], sizes[:3], strict=False))
    alt = (
        f"Bars of what {len(markers)} markers of the cell {cell} say for {chosen} (above 0) or for {rival} (below 0), "
        f"in nats; each bar begins where the one before ends. The largest: {told}. The sum is {total:+.2f}."
    )
    return fig.update_layout(meta={"alt": alt})


def _heat_map(table: pd.DataFrame, n_markers: int | None, title: str | None) -> Figure:
    import pandas as pd

    kept = table.iloc[:MOST_ROWS]
    columns = [*_parts(table), *([WEIGHTS] if WEIGHTS in table.columns else [])]
    if not columns:
        _checks.fail("`contributions` has no column of a marker; there is nothing to draw.", FIX)
    nats = _checks.numeric("`contributions`", kept[columns].astype(float))
    if n_markers is not None:
        size = np.nan_to_num(np.abs(nats)).mean(axis=0)
        best = np.sort(np.argsort(-size, kind="stable")[:n_markers])
        columns, nats = [columns[j] for j in best], nats[:, best]
    by_cell = "chosen" in table.columns
    names = [str(n) for n in kept.index]
    if by_cell:
        names = [f"{n}: {c}" for n, c in zip(names, kept["chosen"].astype(str), strict=True)]
    rivals = [None if r is None or r != r else str(r) for r in kept["rival"]]
    labels = [n if r is None else f"{n} against {r}" for n, r in zip(names, rivals, strict=True)]
    top = _figures.limit(nats, 0.98) if np.isfinite(nats).any() else 1.0
    title = title or (
        "What the markers say for the label of cells" if by_cell else "Markers that carry a population"
    )
    fig = _figures.figure(
        title=title, alt="", x="Marker", y="Cell" if by_cell else "Population",
        height=max(340, 190 + 20 * len(kept)), coloraxis=_figures.color_axis(top, "Nats for the label"),
    )  # fmt: skip
    shown = pd.DataFrame(nats, index=labels, columns=[str(c) for c in columns])
    common.heat(fig, shown, "%{y}, %{x}: %{z:.2f} nats")
    told = []
    for name, row in zip(labels[:6], nats[:6], strict=True):
        if np.isfinite(row).any():
            j = int(np.nanargmax(row))
            told.append(f"{name}: most by {columns[j]} ({row[j]:+.2f})")
    what = "cells" if by_cell else "populations"
    alt = (
        f"{_figures.plain(title)}: heat map of the contributions of {len(columns)} markers to {len(kept)} of "
        f"{len(table)} {what}, in nats; red speaks for the label, blue for the rival. {'; '.join(told)}."
    )
    return fig.update_layout(meta={"alt": alt})
