"""Cells and spots with a place: two spot arrays and one imaging data set."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from scmods.datasets import _clean, _rdata, _registry

if TYPE_CHECKING:
    from anndata import AnnData

__all__ = ["dlpfc_151673", "mob", "osmfish"]


def mob() -> AnnData:
    """Olfactory bulb of the mouse, spatial transcriptomics: 260 spots x 15,928 genes, counts.

    Returns
    -------
    - ``X`` and ``layers["counts"]``: float32 CSR, whole numbers, not normalised.
    - ``obs["layer"]``: five layers of the tissue; 2 of the 262 spots have none and are left out.
    - ``obsm["spatial"]``: position on the array, in steps of about one spot distance (200 micrometres).

    Examples
    --------
    >>> from scmods import datasets
    >>> datasets.mob().shape  # doctest: +SKIP
    (260, 15928)
    """
    import anndata

    data = _rdata.read(_registry.fetch("mob_st.rda"))
    one = _rdata.table(data["counts"])
    layers = data["annot"]
    keep = [i for i, spot in enumerate(one.columns) if spot in layers.index]
    adata = anndata.AnnData(_rdata.counts(one)[keep])
    adata.obs_names, adata.var_names = one.columns[keep], one.rows
    adata.obs["layer"] = _clean.labels(layers.loc[adata.obs_names])
    adata.layers["counts"] = adata.X.copy()
    adata.obsm["spatial"] = data["pos"].loc[adata.obs_names, ["x", "y"]].to_numpy(dtype=np.float64)
    return _clean.finish(adata, "mob", "X holds counts, not logged; spots without a layer are left out.")


def dlpfc_151673() -> AnnData:
    """Human prefrontal cortex, Visium section 151673: places and layers of 3,611 spots, WITHOUT expression.

    Returns
    -------
    - ``X``: 3,611 x 0; the expression file is too large for a course.
    - ``obs["layer"]``: six cortical layers and white matter; the 28 spots without one are left out.
    - ``obsm["spatial"]``: column and row of the full-resolution image, in pixels; a hexagonal grid.

    Examples
    --------
    >>> from scmods import datasets
    >>> datasets.dlpfc_151673().shape  # doctest: +SKIP
    (3611, 0)
    """
    import anndata
    import pandas as pd
    from scipy import sparse

    place = pd.read_csv(_registry.fetch("dlpfc_151673_coords.txt"), sep=" ")
    layer = pd.read_csv(_registry.fetch("dlpfc_151673_layers.txt"), sep=" ")
    # a suffix such as ".8" was appended where sections were joined
    layer.index = layer.index.str.split(".").str[0]
    place = place.loc[layer.index]
    adata = anndata.AnnData(sparse.csr_matrix((len(place), 0), dtype=np.float32))
    adata.obs_names = place.index
    adata.obs["layer"] = _clean.labels(layer["layer"])
    adata.obsm["spatial"] = place[["pxl_col_in_fullres", "pxl_row_in_fullres"]].to_numpy(dtype=np.float64)
    return _clean.finish(
        adata, "dlpfc_151673", "Places and layers only; there is no expression in these files."
    )


def osmfish(*, valid_only: bool = True) -> AnnData:
    """Somatosensory cortex of the mouse, osmFISH: 33 genes in 4,839 valid of 6,471 segmented cells.

    Parameters
    ----------
    valid_only
        Leave out the cells that the authors excluded (their cell type is "Excluded").

    Returns
    -------
    - ``X`` and ``layers["counts"]``: float32 CSR, molecules per cell.
    - ``obs["cell_type"]``: 31 types; ``obs["region"]``, ``obs["valid"]``; ``obs["size_um2"]``: area.
    - ``obsm["spatial"]``: position in MICROMETRES; the file has pixels, converted by its own ratio of areas.
    - ``var["fluorophore"]``, ``var["hybridization"]``.

    Examples
    --------
    >>> from scmods import datasets
    >>> datasets.osmfish().shape  # doctest: +SKIP
    (4839, 33)
    """
    import anndata
    import h5py
    from scipy import sparse

    with h5py.File(_registry.fetch("osmfish_cortex.loom"), "r") as file:
        cells = {name: values[:] for name, values in file["col_attrs"].items()}
        genes = {name: values[:] for name, values in file["row_attrs"].items()}
        counts = sparse.csr_matrix(file["matrix"][:].T, dtype=np.float32)
    adata = anndata.AnnData(counts)
    adata.obs_names, adata.var_names = cells["CellID"].astype(str), genes["Gene"].astype(str)
    adata.obs["cell_type"] = _clean.labels(cells["ClusterName"].astype(str))
    adata.obs["region"] = _clean.labels(cells["Region"].astype(str))
    adata.obs["valid"] = cells["Valid"].astype(bool)
    adata.obs["size_um2"] = cells["size_um2"]
    adata.var["fluorophore"] = _clean.labels(genes["Fluorophore"].astype(str))
    adata.var["hybridization"] = genes["Hybridization"].astype(np.int64)
    micrometres = np.sqrt(np.median(cells["size_um2"] / cells["size_pix"]))
    adata.obsm["spatial"] = np.column_stack([cells["X"], cells["Y"]]) * micrometres
    if valid_only:
        adata = adata[adata.obs["valid"].to_numpy()].copy()
        adata.obs["cell_type"] = adata.obs["cell_type"].cat.remove_unused_categories()
        adata.obs["region"] = adata.obs["region"].cat.remove_unused_categories()
    adata.layers["counts"] = adata.X.copy()
    return _clean.finish(adata, "osmfish", "X holds molecules per cell; positions are in micrometres.")
