"""Figures of cells: maps of their labels, and the probabilities of some of them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from scmods import _checks, _figures
from scmods.scyan import plots_common as common

if TYPE_CHECKING:
    import pandas as pd
    from anndata import AnnData
    from plotly.graph_objects import Figure

__all__ = ["plot_labels", "plot_probabilities"]

PREDICT = "Pass `model.predict_proba()`."
LABELS = "Pass labels such as `model.predict()`, or the name of a column of `adata.obs`."
MOST_CELLS = 80


def plot_labels(
    embedding: Any,
    labels: Any,
    *,
    basis: str | None = None,
    markers: Sequence[str] | None = None,
    ncols: int = 2,
    title: str = "Labels of the cells",
) -> Figure:
    """Cells on a map of two dimensions, coloured by label; several sets of labels side by side.

    Parameters
    ----------
    embedding
        Cells (AnnData), or positions (cells, 2).
    labels
        One label per cell, or the name of a column of ``obs``; NaN for unclassified. A dictionary
        ``{"truth": "cell_type", "model": model.predict()}`` gives one panel each, in the same colours.
    basis
        Key of ``obsm`` with the positions. By default the first two principal components of the markers, computed
        for the figure.
    markers
        Markers of the principal components; by default those of ``uns["table"]``, or all.
    ncols
        Panels per row.
    title
        Title of the figure.

    Returns
    -------
    Figure with 600 points in all panels together: a random sample, but at least four cells of every label. Grey
    crosses have no label.

    Raises
    ------
    MissingKeyError, TypeError, ValueError
        If positions, markers or labels do not exist or do not fit.

    Examples
    --------
    >>> fig = plot_labels(np.array([[0.0, 1.0], [2.0, 3.0]]), ["T", float("nan")])
    >>> [t.name for t in fig.data]
    ['T', 'unclassified']
    """
    import plotly.graph_objects as go

    _checks.integer("ncols", ncols)
    xy, axes, adata = _positions(embedding, basis, markers)
    several = dict(labels) if isinstance(labels, Mapping) else {"": labels}
    if not several:
        _checks.fail("`labels` is empty; there is nothing to draw.", LABELS)
    read = {str(name): _read_labels(adata, given, len(xy)) for name, given in several.items()}
    names = list(dict.fromkeys(n for found, _ in read.values() for n in found if n != common.UNCLASSIFIED))
    names += [common.UNCLASSIFIED] if any(common.UNCLASSIFIED in f for f, _ in read.values()) else []
    rows = -(-len(read) // ncols)
    fig = _figures.figure(title=title, alt="", x=axes[0], y=axes[1], height=120 + 380 * rows)
    where: list[tuple[int, int] | None] = [None]
    if len(read) > 1:
        titles = [_figures.escaped(n) for n in read]
        where = _figures.panels(fig, len(read), ncols, titles=titles, x=axes[0], y=axes[1])  # type: ignore[assignment]
    told, seen = [], set()
    for (panel, (_, of)), at in zip(read.items(), where, strict=True):
        keep = common.thin_groups(of, _figures.MAX_POINTS // len(read))
        for i, name in enumerate(names):
            rows_of = keep[of[keep] == name]
            if not len(rows_of):
                continue
            place = {} if at is None else {"row": at[0], "col": at[1]}
            style = _figures.marker(len(keep)) | common.group_style(name, i) | {"opacity": 0.8}
            fig.add_trace(
                go.Scatter(x=_figures.small(xy[rows_of, 0]), y=_figures.small(xy[rows_of, 1]), mode="markers",
                           name=_figures.escaped(name), legendgroup=name, showlegend=name not in seen, marker=style,
                           hovertemplate="%{fullData.name}<extra></extra>"), **place
            )  # fmt: skip
            seen.add(name)
        counts = {n: int((of == n).sum()) for n in names if (of == n).any()}
        most = max(counts, key=counts.get)
        text = f"{len(counts)} labels, most often {most} ({counts[most]} cells)"
        if counts.get(common.UNCLASSIFIED):
            text += f", {counts[common.UNCLASSIFIED] / len(of):.1%} unclassified"
        told.append(f"{panel}: {text}" if panel else text)
    shown = min(len(xy), _figures.MAX_POINTS // len(read))
    alt = (
        f"{_figures.plain(title)}: map of {len(xy)} cells on {_figures.listed(axes)}. {'; '.join(told)}."
        f"{_figures.drawn(len(xy), shown, 'cells')}"
    )
    fig.update_layout(meta={"alt": alt})
    return _figures.legend_on_top(fig, 1 + len(names) // 6, above=18 if len(read) > 1 else 0)


def _read_labels(adata: AnnData | None, given: Any, n: int) -> tuple[list[str], np.ndarray]:
    if isinstance(given, str):
        if adata is None:
            _checks.fail(
                f"`labels` is {given!r}, the name of a column, but `embedding` is no AnnData.", LABELS
            )
        _checks.key(adata, "obs", given, LABELS)
        given = adata.obs[given]
    names = None if adata is None else adata.obs_names
    return common.grouped(given, n, "labels", LABELS, names)


def _positions(
    embedding: Any, basis: str | None, markers: Sequence[str] | None
) -> tuple[np.ndarray, list[str], AnnData | None]:
    """(cells, 2) positions, titles of the axes, and the cells where they were given."""
    if not hasattr(embedding, "obsm"):
        xy, what, adata, word = embedding, "`embedding`", None, "Position"
    elif basis is not None:
        _checks.key(embedding, "obsm", basis, "Leave out `basis` for principal components of the markers.")
        xy, what, adata = embedding.obsm[basis], f"`adata.obsm[{basis!r}]`", embedding
        word = _figures.AXES.get(basis, basis.removeprefix("X_"))
    else:
        xy, what, adata, word = _components(embedding, markers), "The components", embedding, "PC"
    xy = _checks.numeric(what, xy.to_numpy() if hasattr(xy, "to_numpy") else xy)
    if xy.ndim != 2 or xy.shape[1] < 2 or not len(xy):
        _checks.fail(
            f"{what} has shape {xy.shape}, but a map needs cells and at least two columns.",
            "Pass the AnnData, or name a key of `adata.obsm`: basis='X_umap'.",
        )
    _checks.finite(what, xy[:, :2])
    return xy[:, :2], [f"{word} 1", f"{word} 2"], adata


def _components(adata: AnnData, markers: Sequence[str] | None) -> np.ndarray:
    from scmods import graph
    from scmods.scyan.values import marker_values

    if markers is None:
        table = adata.uns.get("table")
        markers = list(adata.var_names) if table is None else [str(c) for c in table.columns]
    return graph.pca(marker_values(adata, markers, transformed=False, smallest=3), 2, scale=False).scores


def plot_probabilities(
    proba: pd.DataFrame,
    *,
    truth: Any = None,
    n_cells: int = 60,
    seed: int = 0,
    title: str = "Probabilities of some cells",
) -> Figure:
    """Probabilities of a sample of cells as a heat map, the cells ordered by their most probable population.

    Parameters
    ----------
    proba
        Cells x populations, rows that sum to 1; the table of `predict_proba`.
    truth
        True label of every cell: marked with a ring where it is one of the columns.
    n_cells
        Cells to draw, at most 80: a random sample in which no population falls below four of its cells.
    seed
        Changes the sample.
    title
        Title of the figure.

    Returns
    -------
    Figure with a row per population and a column per cell; within a population the surest cell stands first.

    Raises
    ------
    TypeError, ValueError
        If it is no such table, rows do not sum to 1, or lengths differ.

    Examples
    --------
    >>> import pandas as pd
    >>> proba = pd.DataFrame([[0.1, 0.9], [0.8, 0.2]], index=["c1", "c2"], columns=["T", "B"])
    >>> plot_probabilities(proba).data[0].z.round(2).tolist()
    [[0.800000011920929, 0.10000000149011612], [0.20000000298023224, 0.8999999761581421]]
    """
    import plotly.graph_objects as go

    table = common.matrix(proba, "proba", PREDICT)
    _checks.integer("n_cells", n_cells, 1, MOST_CELLS)
    p = table.to_numpy()
    _checks.finite("`proba`", p, list(table.index))
    if p.min() < -1e-6 or np.abs(p.sum(axis=1) - 1).max() > 1e-3:
        _checks.fail(
            f"The rows of `proba` sum to {p.sum(axis=1).min():.4g} to {p.sum(axis=1).max():.4g}, but must sum to 1.",
            PREDICT,
        )
    best = p.argmax(axis=1)
    shuffled = np.random.default_rng(_checks.integer("seed", seed, 0)).permutation(len(p))
    keep = shuffled[common.thin_groups(best[shuffled], n_cells)]
    keep = keep[np.lexsort((keep, -p[keep, best[keep]], best[keep]))]
    shown = type(table)(p[keep].T, index=table.columns, columns=table.index[keep])
    fig = _figures.figure(
        title=title, alt="", x="Cell", y="Population", height=max(340, 150 + 20 * len(shown)),
        coloraxis=_figures.color_axis(1.0, "Probability", low=0.0),
    )  # fmt: skip
    fig.add_trace(
        go.Heatmap(z=_figures.small(shown.to_numpy()), coloraxis="coloraxis",
                   hovertemplate="cell %{x}, population %{y}: %{z:.3f}<extra></extra>")
    )  # fmt: skip
    _figures.name_places(fig, "y", list(shown.index))
    _figures.name_places(fig, "x", list(shown.columns))
    fig.update_xaxes(showticklabels=False, ticks="")
    told = ""
    if truth is not None:
        _, of = common.grouped(truth, len(p), "truth", "Pass one label per cell.", proba.index)
        told = _add_rings(fig, of[keep], shown)
    top = p.max(axis=1)
    alt = (
        f"{_figures.plain(title)}: heat map of {len(keep)} cells, the columns, by {p.shape[1]} populations, the rows. "
        f"Of all {len(p)} cells {np.mean(top > 0.9):.0%} have a probability above 0.9 for one population, the median "
        f"of the largest is {np.median(top):.3f}.{told}"
    )
    fig.update_layout(meta={"alt": alt})
    return _figures.legend_on_top(fig) if told else fig


def _add_rings(fig: Figure, of: np.ndarray, shown: pd.DataFrame) -> str:
    """Ring the true population of the cells drawn, and return the sentence for the alt text."""
    import plotly.graph_objects as go

    place = {name: i for i, name in enumerate(shown.index)}
    x = [j for j, name in enumerate(of) if name in place]
    if not x:
        return " No true label is among the populations."
    y = [place[of[j]] for j in x]
    style = {"size": 6, "symbol": "circle-open", "color": common.FOR, "line": {"width": 1.5}}
    fig.add_trace(
        go.Scatter(x=np.array(x, np.uint8), y=np.array(y, np.uint16), mode="markers", marker=style, name="truth",
                   hoverinfo="skip", showlegend=True)
    )  # fmt: skip
    agree = np.mean(shown.to_numpy()[:, x].argmax(axis=0) == np.array(y))
    return (
        f" The truth is ringed; it is the most probable population of {agree:.0%} of the cells that have one."
    )
