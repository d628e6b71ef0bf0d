"""Coordinates for maps of cells, and velocities projected on them."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from scmods import _arrays, _checks, graph

if TYPE_CHECKING:
    import pandas as pd
    from anndata import AnnData

__all__ = ["embed", "embed_velocity"]


def embed(adata: AnnData, *, layer: str | None = "Ms", key_added: str = "X_pca") -> None:
    """Two principal components of log expression, for maps of cells that bring no coordinates.

    Parameters
    ----------
    adata
        Cells.
    layer
        Expression, not logged, not negative; None for ``X``.
    key_added
        Name of the coordinates.

    Returns
    -------
    Nothing. Written: ``obsm[key_added]``, (cells, 2) float64.

    Examples
    --------
    >>> from scmods import hopfield
    >>> adata = hopfield.toggle(5, 8)
    >>> hopfield.embed(adata)
    >>> adata.obsm["X_pca"].shape
    (40, 2)
    """
    x = _arrays.dense(_arrays.matrix(adata, layer))
    if x.shape[1] < 2:
        _checks.fail(f"There is {x.shape[1]} gene, but a map needs two.", "Pass data with more genes.")
    adata.obsm[key_added] = graph.pca(np.log1p(x), 2, scale=False).scores


def _plane(adata: AnnData, basis: str) -> np.ndarray:
    _checks.key(adata, "obsm", basis, "Make coordinates first: `hopfield.embed(adata)`.")
    xy = _checks.numeric(f"`adata.obsm[{basis!r}]`", adata.obsm[basis])
    if xy.ndim != 2 or xy.shape[1] < 2:
        _checks.fail(f"`adata.obsm[{basis!r}]` has shape {xy.shape}, but a map needs two columns.")
    _checks.finite(f"`adata.obsm[{basis!r}]`", xy[:, :2], adata.obs_names)
    return xy[:, :2]


def embed_velocity(
    adata: AnnData,
    *,
    basis: str = "X_pca",
    spliced_layer: str = "Ms",
    velocity_layer: str = "velocity",
    n_neighbors: int = 30,
    n_grid: int = 20,
) -> pd.DataFrame:
    r"""Velocity on a grid over an embedding: where the neighbours lie that each cell moves towards.

    A neighbour j of cell i gets the weight :math:`\exp(4\cos(v_i, x_j - x_i))`, normalised over the neighbours of i;
    the arrow of the cell is the weighted mean of the unit vectors to its neighbours in the embedding minus their plain
    mean. Arrows of cells are averaged on a grid by a Gaussian of the width of a cell of the grid.

    Parameters
    ----------
    adata
        Cells.
    basis
        Key of ``obsm``; its first two columns are used.
    spliced_layer, velocity_layer
        Expression and velocity; genes without a velocity (NaN) are left out.
    n_neighbors
        Neighbours in expression.
    n_grid
        Arrows along each axis; places without cells get none.

    Returns
    -------
    Columns ``x``, ``y`` (place) and ``u``, ``v`` (direction, in units of the embedding).

    Notes
    -----
    O(cells * neighbours * genes), in blocks of cells. An arrow on a map is a summary for the eye: it depends on the
    neighbours and on the embedding, and has lost the unit of the velocity. No quantity of the chapter is read from it.

    Examples
    --------
    >>> from scmods import hopfield
    >>> adata = hopfield.toggle(5, 8)
    >>> hopfield.embed(adata)
    >>> list(hopfield.embed_velocity(adata, n_neighbors=5, n_grid=5).columns)
    ['x', 'y', 'u', 'v']
    """
    import pandas as pd

    xy = _plane(adata, basis)
    _checks.key(adata, "layers", velocity_layer, "Compute it first: `hopfield.velocity(adata)`.")
    x = _arrays.dense(_arrays.matrix(adata, spliced_layer))
    v = _arrays.dense(_arrays.matrix(adata, velocity_layer))
    known = np.isfinite(v).all(axis=0)
    k = _checks.integer("n_neighbors", n_neighbors, 1, adata.n_obs - 1)
    scores, loadings, _ = graph.pca(x[:, known], min(30, known.sum(), adata.n_obs - 1), scale=False)
    neighbours, _ = graph.knn(scores, k, metric="euclidean")
    arrows = _arrows(scores, v[:, known] @ loadings, xy, neighbours)
    place, direction = _on_grid(xy, arrows, _checks.integer("n_grid", n_grid, 2))
    return pd.DataFrame(np.hstack([place, direction]), columns=["x", "y", "u", "v"])


def _unit(a: np.ndarray) -> np.ndarray:
    length = np.linalg.norm(a, axis=-1, keepdims=True)
    return a / np.where(length > 0, length, 1.0)


def _arrows(scores: np.ndarray, v: np.ndarray, xy: np.ndarray, neighbours: np.ndarray) -> np.ndarray:
    out = np.empty_like(xy)
    size = max(1, 2**22 // (neighbours.shape[1] * scores.shape[1]))
    for start in range(0, len(xy), size):
        part = slice(start, start + size)
        step = _unit(scores[neighbours[part]] - scores[part, None])
        cosine = np.einsum("ckd,cd->ck", step, _unit(v[part]))
        weight = np.exp(4 * cosine)
        weight /= weight.sum(axis=1, keepdims=True)
        seen = _unit(xy[neighbours[part]] - xy[part, None])
        out[part] = ((weight - 1 / neighbours.shape[1])[:, :, None] * seen).sum(axis=1)
    return out


def _on_grid(xy: np.ndarray, arrows: np.ndarray, n_grid: int) -> tuple[np.ndarray, np.ndarray]:
    low, high = xy.min(axis=0), xy.max(axis=0)
    width = np.where(high > low, (high - low) / (n_grid - 1), 1.0)
    axes = [low[i] + width[i] * np.arange(n_grid) for i in (0, 1)]
    # the Gaussian is a product of one per axis, so sums over cells are two small matrix products
    near = [np.exp(-0.5 * ((axes[i][:, None] - xy[:, i]) / width[i]) ** 2) for i in (0, 1)]
    mass = near[0] @ near[1].T
    mean = np.stack([(near[0] * arrows[:, i]) @ near[1].T for i in (0, 1)], axis=-1)
    keep = mass > 0.5
    place = np.stack(np.meshgrid(*axes, indexing="ij"), axis=-1)
    return place[keep], mean[keep] / mass[keep][:, None]
