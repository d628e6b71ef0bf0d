"""Dissociated cells: three single-cell RNA data sets."""

from __future__ import annotations

import warnings
from typing import TYPE_CHECKING

import numpy as np

from scmods.datasets import _clean, _rdata, _registry

if TYPE_CHECKING:
    from anndata import AnnData
    from scipy import sparse

__all__ = ["pancreas", "paul15_240", "pbmc68k"]


def pbmc68k() -> AnnData:
    """Blood cells: 700 cells x 765 genes, logged, always at hand because scanpy brings the file.

    Returns
    -------
    - ``X``: float32 CSR, ``log(1 + 10000 count / total)``, stored with three decimals.
    - ``layers["counts"]``: float32 CSR, whole numbers. The file has no counts; they are rebuilt from `X` and
      the total of each cell, ``obs["n_counts"]``, and rounded: none is further than 0.09 from a whole number.
    - ``obs["cell_type"]``: ten sorted populations, the same as ``obs["bulk_labels"]``.
    - ``obs["n_counts"]``, ``obs["n_genes"]``, ``obs["percent_mito"]``: of the cells before genes were
      dropped; ``obs["phase"]``, ``obs["louvain"]``: as computed by scanpy's authors.
    - ``obsm["X_pca"]``, ``obsm["X_umap"]``: as stored in the file.

    Examples
    --------
    >>> from scmods import datasets
    >>> datasets.pbmc68k().shape
    (700, 765)
    """
    import anndata
    import scanpy

    with warnings.catch_warnings():
        # the file was written long ago, and anndata says so
        warnings.simplefilter("ignore")
        bundled = scanpy.datasets.pbmc68k_reduced()
    # `.X` of the file holds z-scores; the logged values are in `.raw`
    adata = anndata.AnnData(
        bundled.raw.X.astype(np.float32), obs=bundled.obs.copy(), var=bundled.raw.var[[]].copy()
    )
    adata.obs["cell_type"] = _clean.labels(adata.obs["bulk_labels"])
    adata.layers["counts"] = _rebuilt_counts(adata.X, bundled.obs["n_counts"].to_numpy(dtype=np.float64))
    for name in ("X_pca", "X_umap"):
        adata.obsm[name] = np.asarray(bundled.obsm[name], dtype=np.float32)
    adata.obs_names.name = adata.var_names.name = None
    adata.uns["source"] = {
        "dataset": "pbmc68k",
        "citation": "Zheng et al., Nature Communications 8, 2017, doi:10.1038/ncomms14049; subset: scanpy",
        "licence": "CC-BY-4.0 (10x Genomics); file: BSD-3-Clause (scanpy)",
        "url": "https://scanpy.readthedocs.io/en/stable/generated/scanpy.datasets.pbmc68k_reduced.html",
        "note": "X is log(1 + 10000 count / total); layers['counts'] is rebuilt from it by rounding.",
    }
    return adata


def _rebuilt_counts(logged: sparse.csr_matrix, totals: np.ndarray) -> sparse.csr_matrix:
    counts = logged.astype(np.float64)
    counts.data = np.rint(np.expm1(counts.data) * np.repeat(totals, np.diff(counts.indptr)) / 1e4)
    return counts.astype(np.float32)


def paul15_240() -> AnnData:
    """Myeloid progenitors of the mouse: 2,660 cells x 240 genes, counts.

    Returns
    -------
    - ``X`` and ``layers["counts"]``: float32 CSR, whole numbers (unique molecules), not normalised.
    - ``obs["cell_type"]``: seven labels.

    Examples
    --------
    >>> from scmods import datasets
    >>> datasets.paul15_240().shape  # doctest: +SKIP
    (2660, 240)
    """
    import anndata

    one = _rdata.read(_registry.fetch("paul15_240_counts.rda"))
    kinds = _rdata.read(_registry.fetch("paul15_240_celltype.rda"))
    adata = anndata.AnnData(_rdata.counts(one))
    adata.obs_names, adata.var_names = one.columns, one.rows
    adata.obs["cell_type"] = _clean.labels(kinds)
    adata.layers["counts"] = adata.X.copy()
    return _clean.finish(
        adata, "paul15_240", "240 genes chosen along the trajectory; X holds counts, not logged."
    )


def pancreas() -> AnnData:
    """Endocrine development in the mouse pancreas at day 15.5: 739 cells x 7,192 genes, counts.

    Returns
    -------
    - ``X`` and ``layers["spliced"]``: spliced counts, float32 CSR, not normalised.
    - ``layers["unspliced"]``: unspliced counts, the same kind.
    - ``obs["cell_type"]`` and ``obs["clusters"]``: eight labels, from ductal to the endocrine types.
    - ``obsm["X_pca"]``: 50 principal components as published, float32.

    Examples
    --------
    >>> from scmods import datasets
    >>> datasets.pancreas().shape  # doctest: +SKIP
    (739, 7192)
    """
    import anndata

    data = _rdata.read(_registry.fetch("pancreas_velocity.rda"))
    spliced, unspliced, pcs = (_rdata.table(data[name]) for name in ("spliced", "unspliced", "pcs"))
    adata = anndata.AnnData(_rdata.counts(spliced))
    adata.obs_names, adata.var_names = spliced.columns, spliced.rows
    adata.layers["spliced"] = adata.X.copy()
    adata.layers["unspliced"] = _rdata.counts(unspliced)
    clusters = data["clusters"].loc[spliced.columns]
    for name in ("clusters", "cell_type"):
        # the order of the file is the order of development
        adata.obs[name] = clusters.to_numpy()
        adata.obs[name] = adata.obs[name].astype("category").cat.set_categories(clusters.cat.categories)
    adata.obsm["X_pca"] = pcs.values.astype(np.float32)
    return _clean.finish(
        adata, "pancreas", "X holds spliced counts, not logged; a subset of the published cells."
    )
