"""What is around every cell, by type: is there a sender within a radius, or how many, weighted by distance."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from scmods import _arrays, _checks
from scmods.amici import inputs

if TYPE_CHECKING:
    from anndata import AnnData

__all__ = ["dense_expression", "labelled", "section_cells", "surroundings", "train_mask"]

TAIL = 4.0  # an exponential is followed to this many lengths, where it is 0.02


def labelled(adata: AnnData, cluster_key: str) -> tuple[np.ndarray, list[str]]:
    """Code of every cell and the names of the types, in alphabetical order."""
    types, codes = np.unique(inputs.type_labels(adata, cluster_key).astype(str), return_inverse=True)
    return codes, [str(t) for t in types]


def section_cells(adata: AnnData, library_key: str | None) -> list[np.ndarray]:
    """Positions of the cells of every section; one section without a key."""
    codes, names = inputs.sections(adata, library_key)
    return [np.flatnonzero(codes == c) for c in range(len(names))]


def dense_expression(adata: AnnData, layer: str | None) -> np.ndarray:
    """Dense float64 expression without NaN."""
    return _arrays.dense(inputs.expression(adata, layer))


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
