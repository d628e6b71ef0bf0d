"""What is around every cell, by type: is there a sender within a radius, or how many, weighted by distance."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from scmods import _arrays, _checks

if TYPE_CHECKING:
    from anndata import AnnData

__all__ = ["coordinates", "expression", "labelled", "sections", "surroundings", "train_mask"]

TAIL = 4.0  # an exponential is followed to this many lengths, where it is 0.02


def labelled(adata: AnnData, cluster_key: str) -> tuple[np.ndarray, list[str]]:
    """Code of every cell and the names of the types, in alphabetical order."""
    label = _checks.labels(adata, cluster_key).astype(str)
    types, codes = np.unique(label, return_inverse=True)
    return codes, [str(t) for t in types]


def coordinates(adata: AnnData, spatial_key: str) -> np.ndarray:
    """Positions as float64; refuse missing, not finite or one-dimensional ones."""
    _checks.key(adata, "obsm", spatial_key, "Name the slot of the positions: spatial_key='...'.")
    coords = _checks.numeric(f"`adata.obsm[{spatial_key!r}]`", adata.obsm[spatial_key])
    if coords.ndim != 2 or coords.shape[1] not in (2, 3):
        _checks.fail(
            f"`adata.obsm[{spatial_key!r}]` has shape {coords.shape}, but must be cells x 2 or cells x 3."
        )
    _checks.finite(f"`adata.obsm[{spatial_key!r}]`", coords, list(adata.obs_names))
    return coords


def sections(adata: AnnData, library_key: str | None) -> list[np.ndarray]:
    """Positions of the cells of every section; one section without a key."""
    if library_key is None:
        return [np.arange(adata.n_obs)]
    _checks.key(adata, "obs", library_key, "Name the column of tissue sections, or None for one section.")
    label = adata.obs[library_key].astype(str).to_numpy()
    return [np.flatnonzero(label == name) for name in np.unique(label)]


def expression(adata: AnnData, layer: str | None) -> np.ndarray:
    """Dense float64 expression without NaN."""
    x = _arrays.dense(_arrays.matrix(adata, layer))
    _checks.finite("`adata.X`" if layer is None else f"`adata.layers[{layer!r}]`", x, list(adata.obs_names))
    return x


def train_mask(adata: AnnData, train: Any) -> np.ndarray:
    """(cells,) bool of the cells to fit on; all by default."""
    if train is None:
        return np.ones(adata.n_obs, dtype=bool)
    mask = np.asarray(train)
    if mask.dtype != bool or mask.shape != (adata.n_obs,):
        _checks.fail(
            f"`train` has shape {mask.shape} and type {mask.dtype}, but must be ({adata.n_obs},) bool.",
            "All cells but a strip: `~amici.strip(adata)`.",
        )
    return mask


def surroundings(
    coords: np.ndarray,
    codes: np.ndarray,
    parts: list[np.ndarray],
    n_types: int,
    grid: np.ndarray,
    shape: str,
) -> np.ndarray:
    """(cells, types, grid): 1 where a cell of the type is within the radius, or the sum of exp(-d / length)."""
    out = np.zeros((len(coords), n_types, len(grid)))
    for part in parts:
        for t in range(n_types):
            senders = part[codes[part] == t]
            if len(senders):
                values = _indicators if shape == "indicator" else _sums
                out[part, t] = values(coords[part], coords[senders], grid)
    # a cell is no sender to its own type
    out[np.arange(len(coords)), codes] = 0.0
    return out


def _indicators(cells: np.ndarray, senders: np.ndarray, grid: np.ndarray) -> np.ndarray:
    from scipy.spatial import cKDTree

    nearest, _ = cKDTree(senders).query(cells)
    return (nearest[:, None] <= grid).astype(np.float64)


def _sums(cells: np.ndarray, senders: np.ndarray, grid: np.ndarray) -> np.ndarray:
    from scipy.spatial import cKDTree

    near = cKDTree(cells).sparse_distance_matrix(
        cKDTree(senders), TAIL * float(grid.max()), output_type="ndarray"
    )
    sums = [
        np.bincount(near["i"], np.where(near["v"] <= TAIL * one, np.exp(-near["v"] / one), 0.0), len(cells))
        for one in grid
    ]
    return np.stack(sums, axis=1)
