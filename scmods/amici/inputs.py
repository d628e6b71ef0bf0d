"""What the chapter reads from an AnnData, every value checked once before anything is computed."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from scmods import _arrays, _checks

if TYPE_CHECKING:
    from anndata import AnnData

__all__ = ["Tissue", "coordinates", "expression", "read_tissue", "sections", "type_labels"]

SECTION_NAMES = ("library_id", "library", "sample_id", "sample", "section_id", "section", "slide_id", "slide")
OVERLAP = 0.1  # share of the smaller frame from which two sections count as lying on each other
LARGE = 4e9  # bytes of a dense matrix that is worth a word


@dataclass(frozen=True)
class Tissue:
    """Positions, labels and sections of cells.

    Attributes
    ----------
    coords
        (cells, 2 or 3) float64.
    labels
        (cells,) type of each cell, as text.
    sections
        (cells,) codes of the sections, all 0 where there is one.
    section_names
        Their names; ``[""]`` where there is one.
    radius
        (cells,) radius of each cell, or None.
    """

    coords: np.ndarray
    labels: np.ndarray
    sections: np.ndarray
    section_names: list[str]
    radius: np.ndarray | None


def _not_empty(adata: AnnData, *, genes: bool = False) -> None:
    if adata.n_obs == 0 or (genes and adata.n_vars == 0):
        _checks.fail(
            f"`adata` has {adata.n_obs} cells and {adata.n_vars} genes; at least one of each is needed.",
            "Look at the filter that made it.",
        )


def type_labels(adata: AnnData, cluster_key: str) -> np.ndarray:
    """``obs[cluster_key]`` as text; refuses a missing column, missing labels and a single type.

    Parameters
    ----------
    adata
        Cells.
    cluster_key
        Column of ``obs``; integers and mixed labels become text.
    """
    _checks.key(adata, "obs", cluster_key, "Name the column of cell types: cluster_key='...'.")
    _not_empty(adata)
    if adata.obs[cluster_key].nunique() == 1:
        _checks.fail(
            f"`adata.obs[{cluster_key!r}]` holds one type, {adata.obs[cluster_key].iloc[0]!r}.",
            "The model needs at least two types: neighbours are cells of another type.",
        )
    return _checks.labels(adata, cluster_key)


def coordinates(adata: AnnData, spatial_key: str) -> np.ndarray:
    """``obsm[spatial_key]`` as cells x 2 or 3 float64; a table is taken too.

    Parameters
    ----------
    adata
        Cells.
    spatial_key
        Key of ``obsm``.
    """
    _checks.key(adata, "obsm", spatial_key, "Name the slot of positions: spatial_key='...'.")
    _not_empty(adata)
    what = f"`adata.obsm[{spatial_key!r}]`"
    coords = _checks.numeric(what, adata.obsm[spatial_key])
    if coords.ndim != 2 or coords.shape[1] not in (2, 3):
        _checks.fail(f"{what} has shape {coords.shape}, but must be cells x 2 (or x 3).")
    bad = ~np.isfinite(coords).all(axis=1)
    if bad.any():
        _checks.fail(
            f"{what} holds NaN or infinite positions for {int(bad.sum())} cells;",
            f"first: {_checks.listing(np.asarray(adata.obs_names)[bad], 3)}.",
            "Every cell needs a position. Drop these cells: `adata = adata[keep].copy()`.",
        )
    return coords


def radii(adata: AnnData, radius_key: str | None) -> np.ndarray | None:
    """``obs[radius_key]`` as float64, or None; refuses negative values and NaN.

    Parameters
    ----------
    adata
        Cells.
    radius_key
        Column of ``obs``, in the unit of the positions; None takes cells as points.
    """
    if radius_key is None:
        return None
    _checks.key(adata, "obs", radius_key, "Use radius_key=None to take cells as points.")
    what = f"`adata.obs[{radius_key!r}]`"
    radius = _checks.numeric(what, adata.obs[radius_key].to_numpy())
    bad = ~(radius >= 0) | ~np.isfinite(radius)
    if bad.any():
        _checks.fail(
            f"{what} holds {int(bad.sum())} radii that are negative, NaN or infinite;",
            f"first: {radius[bad][0]:g} in cell {adata.obs_names[bad.argmax()]!r}.",
            "Radii must be at least 0, in the unit of the positions.",
        )
    return radius


def _boxes_overlap(coords: np.ndarray, codes: np.ndarray) -> bool:
    found = np.unique(codes)
    low = np.stack([coords[codes == c].min(axis=0) for c in found])
    high = np.stack([coords[codes == c].max(axis=0) for c in found])
    side = np.minimum(high[:, None], high[None]) - np.maximum(low[:, None], low[None])
    shared = np.clip(side, 0, None).prod(axis=-1)
    area = np.maximum((high - low).prod(axis=1), np.finfo(float).tiny)
    share = shared / np.minimum(area[:, None], area[None])
    return bool((share[~np.eye(len(found), dtype=bool)] > OVERLAP).any())


def _warn_of_stacked_sections(adata: AnnData, coords: np.ndarray) -> None:
    """Warn of cells on one spot, and of columns that name sections lying on each other."""
    _, inverse, counts = np.unique(coords, axis=0, return_inverse=True, return_counts=True)
    twice = np.flatnonzero(counts[inverse.ravel()] > 1)
    if len(twice):
        names = _checks.listing(np.asarray(adata.obs_names)[twice], 3)
        _checks.warn(
            f"{len(twice)} cells share their position with another cell; first: {names}. "
            "If several sections lie in one frame, name their column: library_key='...'.",
            level=6,
        )
    for name in (c for c in SECTION_NAMES if c in adata.obs):
        column = adata.obs[name].astype("category").cat
        if 1 < len(column.categories) <= 200 and _boxes_overlap(coords, column.codes.to_numpy()):
            _checks.warn(
                f"The {len(column.categories)} classes of `adata.obs[{name!r}]` lie on each other. If they are "
                f"sections, neighbours must not cross them: library_key={name!r}.",
                level=6,
            )
            return


def sections(
    adata: AnnData, library_key: str | None, coords: np.ndarray | None = None
) -> tuple[np.ndarray, list[str]]:
    """Code of every cell's section, and the names; one section where there is no key.

    Parameters
    ----------
    adata
        Cells.
    library_key
        Column of ``obs``, or None.
    coords
        Positions, to warn of sections that lie on each other while no key is given.
    """
    if library_key is None:
        if coords is not None:
            _warn_of_stacked_sections(adata, coords)
        return np.zeros(adata.n_obs, dtype=np.int64), [""]
    _checks.key(
        adata, "obs", library_key, "Name the column of sections, or library_key=None for one section."
    )
    column = adata.obs[library_key]
    if column.isna().any():
        _checks.fail(
            f"`adata.obs[{library_key!r}]` has {int(column.isna().sum())} missing sections of {len(column)}.",
            f"Keep the cells that have one: `adata = adata[adata.obs[{library_key!r}].notna()].copy()`.",
        )
    names, codes = np.unique(column.astype(str).to_numpy(dtype=str), return_inverse=True)
    return codes.astype(np.int64), [str(n) for n in names]


def read_tissue(
    adata: AnnData,
    *,
    cluster_key: str,
    spatial_key: str,
    library_key: str | None,
    radius_key: str | None,
) -> Tissue:
    """Read and check labels, positions, sections and radii.

    Parameters
    ----------
    adata
        Cells.
    cluster_key, spatial_key, library_key, radius_key
        As in `scmods.amici.spatial_neighbors`.
    """
    labels, coords = type_labels(adata, cluster_key), coordinates(adata, spatial_key)
    codes, names = sections(adata, library_key, coords)
    return Tissue(coords, labels, codes, names, radii(adata, radius_key))


def expression(adata: AnnData, layer: str | None) -> Any:
    """The matrix to model, not copied; refuses NaN with cell and gene, warns of counts and of great size.

    Parameters
    ----------
    adata
        Cells.
    layer
        Name of a layer, or None for ``X``.
    """
    _not_empty(adata, genes=True)
    _checks.unique_names("adata.var_names", adata.var_names)
    _checks.unique_names("adata.obs_names", adata.obs_names)
    matrix, what = (
        _arrays.matrix(adata, layer),
        "`adata.X`" if layer is None else f"`adata.layers[{layer!r}]`",
    )
    n_bad, first, whole, low, high = 0, None, True, 0.0, 0.0
    for part, block in _arrays.blocks(matrix, dtype=np.float32):
        bad = ~np.isfinite(block)
        if bad.any():
            n_bad += int(bad.sum())
            row, column = np.argwhere(bad)[0]
            first = first or (adata.obs_names[part.start + row], adata.var_names[column])
            continue
        whole = whole and bool((block == np.rint(block)).all())
        low, high = min(low, float(block.min(initial=0))), max(high, float(block.max(initial=0)))
    if first is not None:
        _checks.fail(
            f"{what} holds {n_bad} values that are NaN or infinite; first: cell {first[0]!r}, gene {first[1]!r}.",
            "Drop those cells or genes, or fill the values, before the call.",
        )
    if whole and low >= 0 and high > 1:
        _checks.warn(
            f"{what} looks like counts: whole numbers up to {high:g}. The model expects logarithms: call "
            "`scanpy.pp.normalize_total(adata)` and `scanpy.pp.log1p(adata)`, or name a layer, layer='...'.",
            level=6,
        )
    size = 4.0 * matrix.shape[0] * matrix.shape[1]
    if size > LARGE:
        _checks.warn(
            f"Training holds the {matrix.shape[0]} x {matrix.shape[1]} matrix in dense form, {size / 1e9:.1f} GB. "
            "Keep fewer genes to save memory.",
            _checks.PerformanceWarning,
            level=6,
        )
    return matrix
