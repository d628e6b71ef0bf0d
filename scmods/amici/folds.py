"""How the tissue is cut for cross-fitting, and which genes could be spill-over."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from scmods import _checks
from scmods.amici import _surroundings, inputs

if TYPE_CHECKING:
    from anndata import AnnData

__all__ = ["sender_markers", "stripes"]

FOLD = 0.25  # how much higher, on the logged scale, a gene of the sender must be to be its marker


def stripes(
    adata: AnnData, n_folds: int = 3, *, spatial_key: str = "spatial", library_key: str | None = None
) -> np.ndarray:
    """Cut the tissue into vertical stripes with equal numbers of cells.

    Parameters
    ----------
    adata
        Cells.
    n_folds
        Stripes, at least 2.
    spatial_key
        Key of ``obsm`` with the positions.
    library_key
        Column of ``obs`` with the section; every section is cut into stripes of its own. None for one section.

    Returns
    -------
    (cells,) number of the stripe, from the left.

    Raises
    ------
    MissingKeyError, ValueError
        Missing slots; fewer cells in a section than stripes.

    Examples
    --------
    >>> from scmods.amici.simulate import semisynthetic
    >>> np.bincount(stripes(semisynthetic(100, 30)))
    array([34, 33, 33])
    """
    _checks.integer("n_folds", n_folds, 2)
    x = inputs.coordinates(adata, spatial_key)[:, 0]
    out = np.empty(adata.n_obs, dtype=np.intp)
    for section in _surroundings.section_cells(adata, library_key):
        if len(section) < n_folds:
            _checks.fail(
                f"A section has {len(section)} cells, fewer than n_folds={n_folds}.",
                "Drop it, or use fewer folds.",
            )
        rank = np.argsort(np.argsort(x[section], kind="stable"), kind="stable")
        out[section] = rank * n_folds // len(section)
    return out


def sender_markers(
    adata: AnnData, *, cluster_key: str = "cell_type", layer: str | None = None, fold: float = FOLD
) -> np.ndarray:
    """Genes that would rise in a receiver if molecules of the sender ended up in it.

    Parameters
    ----------
    adata
        Cells.
    cluster_key
        Column of ``obs`` with the types.
    layer
        Logged matrix, None for ``X``.
    fold
        A marker's mean in the sender type exceeds that in the receiver type by more than this, in units of the matrix.

    Returns
    -------
    (receiver types, sender types, genes) bool, types in alphabetical order.

    Raises
    ------
    MissingKeyError, ValueError
        Missing slots, a fold below 0.

    Examples
    --------
    >>> from scmods.amici.simulate import semisynthetic
    >>> sender_markers(semisynthetic(100, 30)).shape
    (4, 4, 30)
    """
    _checks.number("fold", fold, 0.0)
    codes, types = _surroundings.labelled(adata, cluster_key)
    x = _surroundings.dense_expression(adata, layer)
    means = np.stack([x[codes == t].mean(axis=0) for t in range(len(types))])
    return means[None] - means[:, None] > fold
