"""Figures of enrichment tables: the heat map of adjusted p, and how often random lists look enriched."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from scmods import _checks, _figures
from scmods.bmlp import plots_common as common

if TYPE_CHECKING:
    import pandas as pd
    from plotly.graph_objects import Figure

__all__ = ["plot_enrichment", "plot_random_lists"]

TABLES = "Pass both tables of the helper: bmlp.plot_enrichment(*bmlp.heatmap_table(result))."
NULL = "Pass the table of `bmlp.random_list_null(adata.var_names, 'hallmark', list_size=50)`."


def plot_enrichment(
    values: pd.DataFrame,
    significant: pd.DataFrame,
    *,
    title: str = "Gene sets in the modules",
    label: str = "-log10 adjusted p",
) -> Figure:
    """Heat map of gene sets and modules; significant cells carry a dot.

    Parameters
    ----------
    values
        Modules x terms, first table of `heatmap_table`: -log10 of a p-value; NaN where a set was not tested.
    significant
        Modules x terms, second table of `heatmap_table`: true or false.
    title, label
        Title of the figure and of the colour bar; change `label` when the values are not adjusted p.

    Returns
    -------
    Figure with one row per term, its full name broken over lines, and one column per module. Colours run from 0,
    dark, to the largest value, bright. NaN leaves a gap, it is not drawn as 0.

    Raises
    ------
    TypeError, ValueError
        If an argument is no table, is empty, or if the two differ in rows or columns.

    Examples
    --------
    >>> import pandas as pd
    >>> from scmods import bmlp
    >>> values = pd.DataFrame({"set 1": [3.0, 0.5], "set 2": [0.0, 1.0]}, index=["module 1", "module 2"])
    >>> fig = bmlp.plot_enrichment(values, values > 2)
    >>> fig.data[0].z.shape
    (2, 2)
    """
    import plotly.graph_objects as go

    for name, table in (("values", values), ("significant", significant)):
        common.require(table, [], TABLES, name)
    same = list(values.index) == list(significant.index) and list(values.columns) == list(significant.columns)
    if not same or values.shape[1] == 0:
        _checks.fail(
            f"`values` is {values.shape[0]} x {values.shape[1]} and `significant` {significant.shape[0]} x "
            f"{significant.shape[1]}, but both must hold the same modules and terms, at least one of each.",
            TABLES,
        )
    z = _checks.numeric("`values`", values).T
    marks = np.asarray(significant, dtype=bool).T
    terms, modules = (
        [common.wrapped(t) for t in values.columns],
        [common.wrapped(m, 16) for m in values.index],
    )
    top = float(np.nanmax(z, initial=0.0)) or 1.0
    n_lines = sum(max(1.6, 1 + t.count("<br>")) for t in terms)
    bottom = max(m.count("<br>") for m in modules)
    fig = _figures.figure(
        title=title, alt=f"{common.sentence(title)} {_heatmap_told(values, z, marks, label)}", x="Module", y="Gene set",
        height=int(170 + 18 * n_lines + 16 * bottom), showlegend=True,
    )  # fmt: skip
    x, y = np.arange(len(modules)), np.arange(len(terms))
    names = [[f"{m}<br>{t}" for m in modules] for t in terms]
    fig.add_trace(
        go.Heatmap(
            z=z.astype(np.float32), x=x, y=y, colorscale=_figures.SEQUENTIAL, zmin=0.0, zmax=top, xgap=1, ygap=1,
            colorbar={"title": {"text": label, "side": "right"}, "thickness": 14}, customdata=names,
            hovertemplate="%{customdata}<br>" + label + " %{z:.2f}<extra></extra>", hoverongaps=False,
        )
    )  # fmt: skip
    rows, cols = np.nonzero(marks)
    # white with a dark edge stands out on every colour of the scale
    dot = {"size": 9, "color": "#FFFFFF", "line": {"color": "#000000", "width": 1.5}}
    fig.add_trace(
        go.Scatter(x=cols, y=rows, mode="markers", marker=dot, name="significant", hoverinfo="skip")
    )
    common.legend_on_top(fig)
    fig.update_xaxes(
        tickvals=x.tolist(), ticktext=modules, range=[-0.5, len(x) - 0.5], showgrid=False, automargin=True
    )
    fig.update_yaxes(
        tickvals=y.tolist(), ticktext=terms, range=[len(y) - 0.5, -0.5], showgrid=False, automargin=True
    )
    return fig


def _heatmap_told(values: pd.DataFrame, z: np.ndarray, marks: np.ndarray, label: str) -> str:
    told = (
        f"Heat map of {label} for {z.shape[0]} gene sets and {z.shape[1]} modules; brighter is stronger. Pairs with a "
        f"dot, which are significant: {int(marks.sum())}."
    )
    if np.isnan(z).any():
        told += f" Pairs that were not tested are left empty: {int(np.isnan(z).sum())}."
    if np.isnan(z).all():
        return told
    row, col = np.unravel_index(np.nanargmax(z), z.shape)
    return f"{told} Strongest: {values.columns[row]} in {values.index[col]} ({common.number(z[row, col])})."


def plot_random_lists(
    result: pd.DataFrame, *, title: str = "Random gene lists with a significant set"
) -> Figure:
    """How often a blind draw of genes looks enriched, for each background and way of counting tests.

    Parameters
    ----------
    result
        Table of `random_list_null`.
    title
        Title of the figure.

    Returns
    -------
    Figure with one bar per row, its exact 95 % interval, and the nominal rate as dotted line: bars above it
    report more false discoveries than promised.

    Raises
    ------
    MissingKeyError, TypeError, ValueError
        If `result` is not such a table.

    Examples
    --------
    >>> from scmods import bmlp
    >>> genes = [f"G{i}" for i in range(60)]
    >>> table = bmlp.random_list_null(genes, {"set": genes[:10]}, list_size=8, n_lists=50)
    >>> fig = bmlp.plot_random_lists(table)
    >>> fig.layout.title.text
    'Random gene lists with a significant set'
    """
    needed = ["background", "counted", "n_background", "n_lists", "share", "low", "high", "alpha"]
    common.require(result, needed, NULL, "result")
    words = {"measured": "measured genes", "nominal": "genes of a genome"}
    backgrounds = list(dict.fromkeys(zip(result["background"], result["n_background"], strict=True)))
    ticks = [f"{words.get(b, b)}<br>({n:,})" for b, n in backgrounds]
    groups = {str(c): result[result["counted"] == c].set_index(["background", "n_background"]).reindex(backgrounds)
              for c in dict.fromkeys(result["counted"])}  # fmt: skip
    alpha, n_lists = float(result["alpha"].iloc[0]), int(result["n_lists"].iloc[0])
    told = "; ".join(
        f"{r.share:.1%} against {words.get(r.background, r.background)}, counting {r.counted}"
        for r in result.itertuples()
    )
    fig = _figures.figure(
        title=title, x="Background", y="Share of lists with a hit",
        alt=f"{common.sentence(title)} Bar chart of the share of {n_lists} random lists with at least "
        f"one significant set, nominal rate "
        f"{alpha:.0%}: {told}.",
    )  # fmt: skip
    shares = {f"counting {name}": table["share"].to_numpy() for name, table in groups.items()}
    centres, width = common.add_bars(fig, shares, ticks, "share of lists")
    for trace, table in zip(list(fig.data), groups.values(), strict=True):
        up, down = table["high"] - table["share"], table["share"] - table["low"]
        trace.error_y = {"type": "data", "symmetric": False, "array": up.to_numpy(), "arrayminus": down.to_numpy(),
                         "color": common.GREY}  # fmt: skip
    ends = np.array([[(centres.min() + centres.max()) / 2]])
    common.add_chance(
        fig, ends, float(np.ptp(centres) + width), np.array([alpha]), f"nominal rate, {alpha:g}"
    )
    fig.update_yaxes(rangemode="tozero", tickformat=".0%")
    return common.legend_on_top(fig)
