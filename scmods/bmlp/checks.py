"""What a page does before and around the model: check the parameters, list marker genes, name modules."""

from __future__ import annotations

import warnings
from typing import TYPE_CHECKING

import numpy as np

from scmods import _arrays, _checks, datasets
from scmods.bmlp.frequency import detect

if TYPE_CHECKING:
    import pandas as pd
    from anndata import AnnData

__all__ = ["check_input", "markers", "module_lists"]

GENE_SETS = ("markers", "hallmark", "go_bp_2021")


def check_input(
    adata: AnnData,
    *,
    cluster_key: str,
    layer: str = "",
    target: str = "",
    n_comps: int = 5,
    n_neighbors: int = 10,
    n_genes: int = 50,
    gene_sets: str = "markers",
) -> pd.DataFrame:
    """Refuse parameters that the data cannot serve, all before anything slow; say what was found.

    Parameters
    ----------
    cluster_key
        Column of labels; every label needs three cells.
    layer
        Matrix to read; empty for ``adata.X``.
    target
        Key of ``obsm`` to predict; empty for graph frequencies.
    n_comps, n_neighbors
        Of the graph.
    n_genes
        Genes of a module.
    gene_sets
        ``"markers"`` (marker genes of the labels), a collection of the registry, or a path to a .gmt file.

    Returns
    -------
    Table with one row per fact: cells, genes, labels, smallest label, kind of values, target.

    Raises
    ------
    MissingKeyError, ValueError, TypeError, FileNotFoundError
        With the value, what was expected, what exists and what to do.
    """
    import pandas as pd

    _checks.unique_names("adata.var_names", adata.var_names)
    _checks.unique_names("adata.obs_names", adata.obs_names)
    labels = _checks.labels(adata, cluster_key, 3)
    kind, found = detect(adata, layer or None)
    if kind == "counts":
        totals = np.asarray(_arrays.matrix(adata, layer or None)[:].sum(axis=1)).ravel()
        _checks.positive_rows("The matrix", totals, adata.obs_names)
    _checks.integer("n_neighbors", n_neighbors, 1, adata.n_obs - 1)
    _checks.integer("n_comps", n_comps, 1, adata.n_obs - 2)
    _checks.integer(
        "n_genes", n_genes, 1, adata.n_vars // 2, why="Two ends of a mode must fit into the genes."
    )
    if target:
        _checks.key(adata, "obsm", target, "Leave target empty to predict the graph frequencies.")
        _checks.finite(
            f"adata.obsm[{target!r}]", _checks.numeric(f"adata.obsm[{target!r}]", adata.obsm[target])
        )
    if gene_sets not in GENE_SETS and not gene_sets.endswith(".gmt"):
        _checks.one_of("gene_sets", gene_sets, (*GENE_SETS, "path to a .gmt file"))
    if gene_sets != "markers":
        datasets.gene_sets(gene_sets)
    names, sizes = np.unique(labels.astype(str), return_counts=True)
    facts = {
        "cells": adata.n_obs,
        "genes": adata.n_vars,
        "constant genes": found.n_constant,
        "labels": len(names),
        "smallest label": f"{names[sizes.argmin()]}: {sizes.min()} cells",
        "values": {"counts": "counts", "log": "logged", "scaled": "scaled (negative values)"}[kind],
        "to predict": target or "graph frequencies",
    }
    return pd.DataFrame({"found": [str(v) for v in facts.values()]}, index=pd.Index(facts, name="fact"))


def markers(
    adata: AnnData, cluster_key: str, *, layer: str | None = None, n_genes: int = 25
) -> dict[str, list[str]]:
    """Marker genes of every label, by scanpy's t-test of its cells against all others: gene sets without a file.

    Parameters
    ----------
    cluster_key
        Column of labels.
    layer
        Logged values, ``adata.X`` by default.
    n_genes
        Genes per label, those with the largest positive scores.

    Returns
    -------
    Label -> gene names. The sets come from the same cells as the modules: a hit names the cell type that a
    module marks; its p-value is no evidence from other data.
    """
    import scanpy

    _checks.labels(adata, cluster_key, 2)
    x = _arrays.matrix(adata, layer)
    x = x[:] if not hasattr(x, "copy") else x
    work = type(adata)(x, obs=adata.obs[[cluster_key]].copy(), var=adata.var[[]].copy())
    work.obs[cluster_key] = work.obs[cluster_key].astype(str).astype("category")
    with warnings.catch_warnings():
        # scanpy warns of values that may not be logged and of 0/0 in constant genes; scores are all we take
        warnings.simplefilter("ignore")
        scanpy.tl.rank_genes_groups(work, cluster_key, method="t-test", n_genes=min(n_genes, work.n_vars))
    table = work.uns["rank_genes_groups"]
    out = {}
    for label in table["names"].dtype.names:
        up = table["scores"][label] > 0
        out[label] = [str(g) for g in table["names"][label][up]]
    return {label: genes for label, genes in out.items() if genes}


def module_lists(table: pd.DataFrame) -> dict[str, list[str]]:
    """The table of `modules` as lists by name, ready for `enrich`: ``"output 0, mode 2, positive end"``."""
    out: dict[str, list[str]] = {}
    for row in table.itertuples():
        out.setdefault(f"output {row.output}, mode {row.mode}, {row.end} end", []).append(str(row.gene))
    return out
