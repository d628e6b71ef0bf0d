"""The graph of the spots on the tissue."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from scmods import _checks, _figures
from scmods.smoother import plots_spots as maps
from scmods.smoother.plots_tissue import in_groups

if TYPE_CHECKING:
    from anndata import AnnData
    from plotly.graph_objects import Figure
    from scipy import sparse

__all__ = ["plot_graph"]

MOST_EDGES = 1800
FIX = "Run `smoother.spatial_weights(adata)` first, or name the weights: weights='...'."
# three classes by the share of the largest weight, wide to narrow
CLASSES = (
    (2 / 3, 2.2, "weight above 2/3 of the largest"),
    (1 / 3, 1.3, "weight 1/3 to 2/3"),
    (0.0, 0.7, "weight below 1/3"),
)


def plot_graph(
    adata: AnnData,
    *,
    weights: str = "spatial_connectivities",
    full: str | None = None,
    groupby: str | None = None,
    spatial_key: str = "spatial",
    y_down: bool = False,
    title: str = "Graph of the spots",
) -> Figure:
    """Edges of the spatial graph, wide where they weigh much, over the spots.

    Parameters
    ----------
    adata
        Annotated data after `spatial_weights`.
    weights
        Key of the weights in ``obsp``. An edge weighs the larger of its two directions; diagonal entries are marked
        as spots without neighbours.
    full
        Key of weights before they were scaled or cut; edges that are in these and no more in `weights` are dotted.
    groupby
        Column of ``obs`` that colours the spots; None for grey.
    spatial_key
        Key of the coordinates in ``obsm``.
    y_down
        The second coordinate grows downwards.
    title
        Title of the figure.

    Returns
    -------
    Figure with all edges, or, where there are more than 1,800, a cut-out with as many: around the middle of the cut
    edges, otherwise of the tissue. For another part hand over that part, ``adata[near].copy()``.

    Raises
    ------
    MissingKeyError, ValueError
        If the weights, the coordinates or the column do not exist, or the weights are negative.

    Examples
    --------
    >>> from scmods import smoother
    >>> adata = smoother.tissue(6, 6)
    >>> smoother.spatial_weights(adata, n_neighbors=4)
    >>> fig = smoother.plot_graph(adata)
    >>> fig.layout.title.text
    'Graph of the spots'
    """
    _, xy = maps.read_spots(adata, spatial_key, y_down=y_down)
    pairs, weight, alone = _edges(adata, weights)
    cut, n_before = np.empty((0, 2), dtype=np.int64), 0
    if full is not None:
        before, _, _ = _edges(adata, full)
        cut, n_before = _without(before, pairs, len(xy)), len(before)
    names, labels = (
        in_groups(_column(adata, groupby), len(xy), "`groupby`")
        if groupby
        else (["spot"], np.full(len(xy), "spot"))
    )
    part = _cutout(xy, pairs, cut)
    spots, _ = maps.read_spots(xy[part], spatial_key, y_down=y_down)
    inside = np.isin(np.arange(len(xy)), part)
    within = inside[pairs].all(axis=1)
    fig = _figures.figure(title=title, alt="")
    _, keep, style = maps.map_panels(fig, spots, 1, 1, titles=[""], value_bytes=0)
    _add_edges(fig, spots.steps(xy), pairs[within], weight[within], cut[inside[cut].all(axis=1)])
    style |= {"symbol": "circle", "size": round(max(2.5, 0.38 * style["size"]), 2)}
    shown = set() if groupby else {"spot"}
    maps.add_groups(fig, spots, labels[part], names, keep, style, shown=shown, row=1, col=1)
    if groupby is None:
        fig.data[-1].marker.color = _figures.GREY
    _add_alone(fig, spots, np.flatnonzero(np.isin(part, alone)), style["size"])
    alt = f"{title}: {len(pairs)} edges between {len(xy)} spots, {2 * len(pairs) / len(xy):.2f} per spot"
    alt += f", {len(alone)} spots without neighbours" if len(alone) else ", every spot has a neighbour"
    if full is not None:
        alt += f"; {len(cut)} of the {n_before} edges of {full} are cut"
    drawn = f" The {len(part)} spots in the middle are drawn." if len(part) < len(xy) else ""
    fig.update_layout(meta={"alt": f"{alt}.{drawn}"}, showlegend=True, legend={"itemsizing": "trace"})
    return _figures.legend_on_top(fig, 1 + (24 + sum(len(c) + 6 for c in names)) // 90)


def _cutout(xy: np.ndarray, pairs: np.ndarray, cut: np.ndarray) -> np.ndarray:
    """All spots, or those around the middle, of the cut edges if there are any, that the limit of edges allows."""
    edges = np.concatenate([pairs, cut])
    if len(edges) <= MOST_EDGES:
        return np.arange(len(xy))
    middle = np.median(xy[cut].mean(axis=1) if len(cut) else xy, axis=0)
    # start at an edge that is there, so that a ring of cut edges does not lead into its empty centre
    places = xy[cut].mean(axis=1) if len(cut) else xy
    start = places[((places - middle) ** 2).sum(axis=1).argmin()]
    rank = np.argsort(np.argsort(((xy - start) ** 2).sum(axis=1), kind="stable"))
    last = np.sort(rank[edges].max(axis=1))[MOST_EDGES]
    return np.flatnonzero(rank < last)


def _column(adata: AnnData, name: str) -> object:
    _checks.key(adata, "obs", name, "Name the column of labels: groupby='...'.")
    return adata.obs[name]


def _edges(adata: AnnData, name: str) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Pairs i < j, the larger weight of both directions, and the spots that have no neighbour."""
    from scipy import sparse

    _checks.key(adata, "obsp", name, FIX)
    w: sparse.csr_array = sparse.csr_array(adata.obsp[name]).astype(np.float64)
    if w.nnz and not w.data.min() >= 0:
        _checks.fail(
            f"`adata.obsp[{name!r}]` holds {int((~(w.data >= 0)).sum())} weights that are negative or NaN.",
            "Expected weights of at least 0, as `smoother.spatial_weights(adata)` makes them.",
        )
    both = w.maximum(w.T).tocoo()
    there = both.data > 0
    i, j, weight = both.row[there], both.col[there], both.data[there]
    alone = np.setdiff1d(np.arange(w.shape[0]), i[i != j])
    up = i < j
    return np.stack([i[up], j[up]], axis=1), weight[up], alone


def _without(before: np.ndarray, after: np.ndarray, n: int) -> np.ndarray:
    """Pairs that are no more there."""
    gone = ~np.isin(
        before[:, 0].astype(np.int64) * n + before[:, 1], after[:, 0].astype(np.int64) * n + after[:, 1]
    )
    return before[gone]


def trails(pairs: np.ndarray) -> np.ndarray:
    """The edges as few lines that go over each edge once: spots in order, -1 between two lines.

    A line of k edges needs k + 1 points, where single edges would need 3 k.
    """
    open_: dict[int, list[int]] = {}
    for e, (i, j) in enumerate(pairs.tolist()):
        open_.setdefault(i, []).append(e)
        open_.setdefault(j, []).append(e)
    used = np.zeros(len(pairs), dtype=bool)
    out: list[int] = []
    # lines that begin at spots with an odd number of edges leave fewer pieces
    for start in sorted(open_, key=lambda s: (len(open_[s]) % 2 == 0, s)):
        while True:
            line = _walk(start, pairs, open_, used)
            if len(line) < 2:
                break
            out += [*line, -1]
    return np.array(out[:-1], dtype=np.int64)


def _walk(at: int, pairs: np.ndarray, open_: dict[int, list[int]], used: np.ndarray) -> list[int]:
    line = [at]
    while True:
        mine = open_[at]
        while mine and used[mine[-1]]:
            mine.pop()
        if not mine:
            return line
        edge = mine.pop()
        used[edge] = True
        i, j = pairs[edge]
        at = int(j if at == i else i)
        line.append(at)


def _add_edges(fig: Figure, at: np.ndarray, pairs: np.ndarray, weight: np.ndarray, cut: np.ndarray) -> None:
    import plotly.graph_objects as go

    share = weight / weight.max() if len(weight) else weight
    level = np.digitize(-share, [-c[0] for c in CLASSES[:-1]])
    single = len(np.unique(level)) <= 1
    lines = [(pairs[level == k], 1.4 if single else width, "edge" if single else name, "solid", _figures.GREY)
             for k, (_, width, name) in enumerate(CLASSES)]  # fmt: skip
    for some, width, name, dash, tone in [*lines, (cut, 1.6, "cut edge", "dot", _figures.color(5))]:
        if len(some):
            path = trails(some)
            xy = np.where(path[:, None] < 0, np.float32(np.nan), at[path])
            fig.add_trace(
                go.Scatter(x=_figures.small(xy[:, 0]), y=_figures.small(xy[:, 1]), mode="lines", hoverinfo="skip",
                           name=name, line={"color": tone, "width": width, "dash": dash})
            )  # fmt: skip


def _add_alone(fig: Figure, spots: maps.Spots, alone: np.ndarray, size: float) -> None:
    import plotly.graph_objects as go

    if len(alone):
        ring = {"symbol": "circle-open", "size": 2.2 * size, "color": _figures.color(5), "line": {"width": 2}}
        fig.add_trace(
            go.Scatter(x=spots.x[alone], y=spots.y[alone], mode="markers", name="no neighbour", marker=ring,
                       hovertemplate="no neighbour<extra></extra>")
        )  # fmt: skip
