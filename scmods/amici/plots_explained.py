"""Figures of explained variance: bars per head and type, genes by heads, the statistic among its reorderings."""

from __future__ import annotations

import importlib.util
import os
import re
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from scmods import _checks, _figures

if TYPE_CHECKING:
    import pandas as pd
    from plotly.graph_objects import Figure

    from scmods.amici.explained import ExplainedVariance

__all__ = ["explained_variance_barplot", "explained_variance_heatmaps", "null_histogram"]

STARS = ((0.001, "***"), (0.01, "**"), (0.05, "*"))
BAR_FILE, HEAT_FILE = "expl_variance_barplot_per_head", "expl_variance_heatmap_"
HEIGHTS = ("max_gene", "aggregate")


def stars(p: float) -> str:
    """``*``, ``**``, ``***`` for at most 0.05, 0.01, 0.001; empty otherwise, for NaN too.

    Parameters
    ----------
    p
        p-value, adjusted or not.
    """
    return next((mark for level, mark in STARS if p <= level), "")


def safe_names(names: Sequence[str]) -> list[str]:
    """Parts of file names, all different: what is not a letter, digit, ``.`` or ``-`` becomes ``_``.

    Parameters
    ----------
    names
        Such as ``"L2/3 IT"``.
    """
    out: list[str] = []
    for name in names:
        plain = re.sub(r"[^\w.-]+", "_", str(name)).strip(".") or "_"
        free, n = plain, 2
        while free.lower() in (o.lower() for o in out):
            free, n = f"{plain}_{n}", n + 1
        out.append(free)
    return out


def write_figure(
    fig: Figure, name: str, folder: str | os.PathLike[str], formats: Sequence[str]
) -> list[Path]:
    """Write a figure as ``folder/name.format``; the folder is made.

    Parameters
    ----------
    fig
        The figure.
    name
        File name without ending.
    folder
        Where to.
    formats
        ``"png"``, ``"svg"``, which need the package kaleido, or ``"html"``, which needs nothing.
    """
    if {"png", "svg"} & set(formats) and importlib.util.find_spec("kaleido") is None:
        _checks.fail(
            "Plotly writes png and svg through the package 'kaleido', which is not installed.",
            "Install it, `pip install kaleido`, or write a page instead: save_html=True.",
            kind=ImportError,
        )
    folder, paths = Path(folder), []
    if formats:
        folder.mkdir(parents=True, exist_ok=True)
    for kind in formats:
        path = folder / f"{name}.{kind}"
        temporary = path.with_name(f".{os.getpid()}.{path.name}")
        (fig.write_html if kind == "html" else fig.write_image)(temporary)
        os.replace(temporary, path)
        paths.append(path)
    return paths


def _types(result: ExplainedVariance, wanted: Sequence[str] | None) -> list[str]:
    there = list(dict.fromkeys(result.explained_variance_df["ct_name"]))
    if wanted is None:
        return [t for t in there if t not in result.skipped]
    if isinstance(wanted, str):
        _checks.fail(
            f"`cell_type_sub` is the text {wanted!r}, but must be a list of types.",
            f"Write cell_type_sub=[{wanted!r}].",
            kind=TypeError,
        )
    for name in wanted:
        _checks.one_of("cell_type_sub", name, there)
    return list(wanted)


def _finish(
    fig: Figure, name: str, formats: dict[str, bool], save_dir: str | os.PathLike[str],
    log: Callable[..., Any] | None, *, show: bool,
) -> Figure:  # fmt: skip
    write_figure(fig, name, save_dir, [kind for kind, wanted in formats.items() if wanted])
    if log is not None:
        log({name: fig})
    if show:
        fig.show()
    return fig


def _heights(result: ExplainedVariance, by: str) -> pd.DataFrame:
    _checks.one_of("by", by, HEIGHTS)
    table = result.summary()
    table["height"] = table["expl_var_best_gene" if by == "max_gene" else "expl_var_head"]
    p = "p_value_adj_head"
    table["stars"] = [stars(x) for x in table[p]] if p in table else ""
    return table


def explained_variance_barplot(
    result: ExplainedVariance,
    palette: dict[str, str] | None = None,
    cell_type_sub: Sequence[str] | None = None,
    log: Callable[..., Any] | None = None,
    show: bool = False,  # noqa: FBT001, FBT002
    save_png: bool = False,  # noqa: FBT001, FBT002
    save_svg: bool = False,  # noqa: FBT001, FBT002
    save_dir: str | os.PathLike[str] = "./figures",
    *,
    save_html: bool = False,
    by: str = "max_gene",
) -> Figure:
    """Explained variance of every head, a bar per type.

    Parameters
    ----------
    result
        Of `ExplainedVariance.compute`.
    palette
        Colour of each type.
    cell_type_sub
        Types to draw; None for all that have a value.
    log
        Called with ``{name: figure}``, for instance a logger of experiments.
    show
        Open the figure.
    save_png, save_svg, save_html
        Write ``expl_variance_barplot_per_head`` with that ending; png and svg need the package kaleido.
    save_dir
        Folder, made when it is not there.
    by
        Height: ``"max_gene"``, the best gene as in the original, or ``"aggregate"``, all genes.

    Returns
    -------
    Figure; one, two or three stars mark an adjusted p of head and type of at most 0.05, 0.01 or 0.001.

    Raises
    ------
    ValueError, TypeError, ImportError
        Unknown types; png or svg without kaleido.

    Examples
    --------
    >>> import numpy as np
    >>> from scmods import amici
    >>> rng = np.random.default_rng(1)
    >>> observed = rng.normal(size=(60, 4))
    >>> result = amici.ExplainedVariance.from_predictions(np.stack([observed / 2, -observed / 2]), observed)
    >>> amici.explained_variance_barplot(result).layout.yaxis.title.text
    'Explained variance'
    """
    import plotly.graph_objects as go

    table, names = _heights(result, by), _types(result, cell_type_sub)
    what = "best gene" if by == "max_gene" else "all genes"
    title = f"Explained variance of each head alone, {what}"
    fig = _figures.figure(title=title, alt="", x="Head", y="Explained variance", barmode="group")
    told = []
    for i, name in enumerate(names):
        rows = table[table["ct_name"] == name]
        height = _figures.column(rows, "height")
        fig.add_trace(
            go.Bar(
                x=[str(h) for h in rows["head"]], y=height, name=_figures.escaped(name), text=rows["stars"],
                textposition="outside", cliponaxis=False,
                marker={"color": (palette or {}).get(name, _figures.color(i))},
                customdata=rows["best_gene"], hovertemplate="head %{x}: %{y:.3f}, %{customdata}",
            )
        )  # fmt: skip
        if np.isfinite(height).any():
            best = int(np.nanargmax(height))
            told.append(f"{name}: head {rows['head'].iloc[best]} with {_figures.number(height[best])}")
    fig.update_xaxes(type="category")
    alt = f"{title}. Best heads: {'; '.join(told) or 'none'}."
    fig.update_layout(meta={"alt": alt + f" {_called(table, names)}"})
    formats = {"png": save_png, "svg": save_svg, "html": save_html}
    return _finish(_figures.legend_on_top(fig), BAR_FILE, formats, save_dir, log, show=show)


def _called(table: pd.DataFrame, names: list[str]) -> str:
    if "p_value_adj_head" not in table:
        return "Not tested."
    rows = table[table["ct_name"].isin(names)]
    n = int((rows["stars"] != "").sum())
    return f"{n} of {int(rows['p_value_adj_head'].notna().sum())} have an adjusted p of at most 0.05."


def explained_variance_heatmaps(
    result: ExplainedVariance,
    cell_type_sub: Sequence[str] | None = None,
    n_top_genes: int = 20,
    log: Callable[..., Any] | None = None,
    show: bool = False,  # noqa: FBT001, FBT002
    save_png: bool = False,  # noqa: FBT001, FBT002
    save_svg: bool = False,  # noqa: FBT001, FBT002
    save_dir: str | os.PathLike[str] = "./figures",
    *,
    save_html: bool = False,
    rank_by: str = "mean",
) -> dict[str, Figure]:
    """Explained variance of genes by heads, a figure per type.

    Parameters
    ----------
    result
        Of `ExplainedVariance.compute`.
    cell_type_sub
        Types to draw; None for all that have a value.
    n_top_genes
        Genes to draw.
    log, show, save_png, save_svg, save_html, save_dir
        As in `explained_variance_barplot`; files ``expl_variance_heatmap_{type}``, a type such as ``"L2/3 IT"``
        written ``L2_3_IT``.
    rank_by
        Order of the genes: ``"mean"`` over heads as in the original, or ``"max"``.

    Returns
    -------
    Figures by type. Stars mark the adjusted p of a gene within head and type.

    Raises
    ------
    ValueError, TypeError, ImportError
        Unknown types; png or svg without kaleido.

    Examples
    --------
    >>> import numpy as np
    >>> from scmods import amici
    >>> rng = np.random.default_rng(1)
    >>> observed = rng.normal(size=(60, 4))
    >>> result = amici.ExplainedVariance.from_predictions(np.stack([observed / 2, -observed / 2]), observed)
    >>> len(amici.explained_variance_heatmaps(result))
    1
    """
    _checks.one_of("rank_by", rank_by, ("mean", "max"))
    _checks.integer("n_top_genes", n_top_genes)
    formats = {"png": save_png, "svg": save_svg, "html": save_html}
    names = _types(result, cell_type_sub)
    figures = {}
    for name, file in zip(names, safe_names(names), strict=True):
        fig = _heatmap(result.explained_variance_df, name, n_top_genes, rank_by)
        figures[name] = _finish(fig, HEAT_FILE + file, formats, save_dir, log, show=show)
    return figures


def _heatmap(table: pd.DataFrame, name: str, n_top: int, rank_by: str) -> Figure:
    import plotly.graph_objects as go

    rows = table[table["ct_name"] == name]
    wide = rows.pivot_table(
        index="gene", columns="head", values="expl_var_head_gene", sort=False, dropna=False
    )
    score = (wide.mean(axis=1) if rank_by == "mean" else wide.max(axis=1)).to_numpy()
    order = np.argsort(-score, kind="stable")[:n_top]
    values, genes = wide.to_numpy()[order], wide.index.to_numpy()[order]
    marks = np.full(values.shape, "", dtype=object)
    if "p_value_adj_gene" in rows:
        p = rows.pivot_table(
            index="gene", columns="head", values="p_value_adj_gene", sort=False, dropna=False
        )
        marks = np.vectorize(stars, otypes=[object])(p.to_numpy()[order])
    title = f"Explained variance per gene: {_figures.escaped(name, 60)}"
    fig = _figures.figure(
        title=title, alt="", x="Head", y="Gene", height=140 + 20 * len(genes),
        coloraxis=_figures.color_axis(_figures.limit(values), "Explained variance"),
    )  # fmt: skip
    labels = [_figures.escaped(g) for g in genes]
    fig.add_trace(
        go.Heatmap(
            z=_figures.small(values), x=[str(h) for h in wide.columns], y=labels, coloraxis="coloraxis",
            text=marks, texttemplate="%{text}", hovertemplate="%{y}, head %{x}: %{z:.3f}<extra></extra>",
        )
    )  # fmt: skip
    fig.update_xaxes(type="category")
    fig.update_yaxes(type="category", autorange="reversed", automargin=True)
    top, head = np.unravel_index(np.nanargmax(values), values.shape)
    alt = (
        f"Heat map of explained variance in {name}: {len(genes)} genes by {values.shape[1]} heads, largest "
        f"{_figures.number(values[top, head])} for {genes[top]} through head {wide.columns[head]}."
    )
    fig.update_layout(meta={"alt": alt})
    return fig


def null_histogram(
    result: ExplainedVariance, cell_type: str, head: int, *, bins: int = 40, title: str | None = None
) -> Figure:
    """The statistic of one head as observed, among the values it takes when cells are reordered.

    Parameters
    ----------
    result
        Of `ExplainedVariance.compute` with permutations; not one that was loaded, which has no draws.
    cell_type
        Name of the type.
    head
        Number of the head.
    bins
        Bars.
    title
        Title of the figure.

    Returns
    -------
    Figure; the axis is the summed covariance, prediction with observation.

    Raises
    ------
    MissingKeyError, ValueError
        No draws for this type; an unknown head.

    Examples
    --------
    >>> import numpy as np
    >>> from scmods import amici
    >>> rng = np.random.default_rng(1)
    >>> observed = rng.normal(size=(60, 4))
    >>> result = amici.ExplainedVariance.from_predictions(np.stack([observed / 2, -observed / 2]), observed)
    >>> name = result.summary()["ct_name"].iloc[0]
    >>> len(amici.null_histogram(result, name, 0).data) > 0
    True
    """
    import plotly.graph_objects as go

    if cell_type not in result.null:
        _checks.fail(
            f"There are no draws for the type {cell_type!r}. Available: {_checks.listing(result.null)}.",
            'Compute with method="permutation"; a file does not keep them.',
            kind=_checks.MissingKeyError,
        )
    heads = result.compute_kwargs["heads"]
    _checks.one_of("head", head, heads)
    null, i = result.null[cell_type], heads.index(head)
    table = result.summary()
    row = table[(table["ct_name"] == cell_type) & (table["head"] == head)].iloc[0]
    scale = max(int(row["n_cells"]) - 1, 1)
    draws, observed = null.draws[i] / scale, null.observed[i] / scale
    title = title or f"Head {head} in {_figures.escaped(cell_type, 40)}: observed against reordered cells"
    fig = _figures.figure(title=title, alt="", x="Covariance, summed over genes", y="Orders")
    count, edges = np.histogram(draws, bins=_checks.integer("bins", bins, 2))
    fig.add_trace(
        go.Bar(
            x=_figures.small((edges[1:] + edges[:-1]) / 2), y=count, width=float(edges[1] - edges[0]),
            marker={"color": _figures.GREY}, name="reordered", showlegend=False,
        )
    )  # fmt: skip
    p = _figures.number(row["p_value_head"])
    line = {"color": _figures.color(5), "width": 2}
    fig.add_vline(x=float(observed), line=line, annotation_text=f"observed, p = {p}")
    alt = (
        f"Histogram of {len(draws)} reorderings for head {head} in {cell_type}: from "
        f"{_figures.number(draws.min())} to {_figures.number(draws.max())}; "
        f"observed {_figures.number(observed)}, p {p}."
    )
    fig.update_layout(meta={"alt": alt})
    return fig
