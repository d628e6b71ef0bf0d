"""What a page does before and around the model: check the parameters, list marker genes, name modules."""

from __future__ import annotations

import warnings
from typing import TYPE_CHECKING

import numpy as np

from scmods import _arrays, _checks, datasets
from scmods.bmlp.frequency import detect, parts
from scmods.bmlp.gene_names import match_genes, read_gene_sets
from scmods.bmlp.keys import FreqKeys, Keys

if TYPE_CHECKING:
    import pandas as pd
    from anndata import AnnData

    from scmods.bmlp.closed_form import QuadraticModel

__all__ = [
    "check_input",
    "fit_table",
    "frequency_table",
    "markers",
    "mean_loss",
    "module_lists",
    "testable",
    "z_scores",
]

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
    adata
        Annotated data; ``X`` or `layer`, the names of cells and genes, ``obs[cluster_key]`` and ``obsm[target]`` are
        read. Nothing is written.
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

    Examples
    --------
    >>> from scmods import bmlp
    >>> adata = bmlp.planted(120, 40, n_module=5)
    >>> bmlp.check_input(adata, cluster_key="cell_type", target="targets", n_genes=10).loc["cells", "found"]
    '120'
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
    """Marker genes of every label, by the F-test of its cells against all others: gene sets without a file.

    Parameters
    ----------
    adata
        Annotated data; ``X`` or `layer`, ``obs[cluster_key]`` and ``var_names`` are read.
    cluster_key
        Column of labels.
    layer
        Logged values, ``adata.X`` by default.
    n_genes
        Genes per label, those with the largest F among the genes that are higher in the label.

    Returns
    -------
    Label -> gene names. The sets come from the same cells as the modules: a hit names the cell type that a
    module marks; its p-value is no evidence from other data.

    Examples
    --------
    >>> from scmods import bmlp
    >>> adata = bmlp.planted(120, 40, n_module=5)
    >>> sets = bmlp.markers(adata, "cell_type", n_genes=3)
    >>> len(sets), {len(genes) for genes in sets.values()}
    (4, {3})
    """
    from sklearn.feature_selection import f_classif

    labels = _checks.labels(adata, cluster_key, 2).astype(str)
    x = _arrays.dense(_arrays.matrix(adata, layer), dtype=np.float32)
    out = {}
    for label in np.unique(labels):
        inside = labels == label
        with warnings.catch_warnings():
            # 0/0 in constant genes, whose score then counts as 0
            warnings.simplefilter("ignore")
            score = np.nan_to_num(f_classif(x, inside)[0], nan=0.0)
        score = score * np.sign(x[inside].mean(axis=0) - x[~inside].mean(axis=0))
        top = np.argsort(-score, kind="stable")[:n_genes]
        out[str(label)] = [str(g) for g in adata.var_names[top[score[top] > 0]]]
    return {label: genes for label, genes in out.items() if genes}


def module_lists(table: pd.DataFrame) -> dict[str, list[str]]:
    """The table of `modules` as lists by name, ready for `enrich`.

    Parameters
    ----------
    table
        Table of `modules`; its columns ``output``, ``mode``, ``end`` and ``gene`` are read.

    Returns
    -------
    Gene names in the order of the table, by name: ``"output 0, mode 2, positive end"``.

    Examples
    --------
    >>> from scmods import bmlp
    >>> adata = bmlp.planted(120, 40, n_module=5)
    >>> bmlp.split(adata)
    >>> model = bmlp.fit(adata, target="targets")
    >>> lists = bmlp.module_lists(bmlp.modules(adata, n_genes=3))
    >>> len(lists), next(iter(lists))
    (6, 'output 0, mode 0, positive end')
    """
    out: dict[str, list[str]] = {}
    for row in table.itertuples():
        out.setdefault(f"output {row.output}, mode {row.mode}, {row.end} end", []).append(str(row.gene))
    return out


def testable(
    modules: dict[str, list[str]],
    gene_sets: dict[str, list[str]] | str,
    *,
    background: list[str],
    least: int = 3,  # noqa: PT028  (no test, in spite of its name)
) -> tuple[dict[str, list[str]], dict[str, int]]:
    """Divide modules into those with enough genes in any gene set to be tested, and the others.

    Parameters
    ----------
    modules
        Name -> genes, in the spelling of `background`.
    gene_sets
        Dictionary, name of a collection, or path of a .gmt file.
    background
        The measured genes.
    least
        Genes of a module that must occur in at least one set.

    Returns
    -------
    The modules that can be tested, and for the others the number of their genes that occur in a set.

    Examples
    --------
    >>> from scmods import bmlp
    >>> modules = {"good": ["A", "B", "C"], "poor": ["D", "E", "F"]}
    >>> bmlp.testable(modules, {"set": ["A", "B", "C", "D"]}, background=list("ABCDEFG"))
    ({'good': ['A', 'B', 'C']}, {'poor': 1})
    """
    match = match_genes(background, read_gene_sets(gene_sets))
    spelled = dict(zip(match.measured, match.names, strict=True))
    known = {name: sum(spelled[g] in match.found for g in genes) for name, genes in modules.items()}
    kept = {name: genes for name, genes in modules.items() if known[name] >= least}
    return kept, {name: n for name, n in known.items() if n < least}


def frequency_table(adata: AnnData, *, key_added: str = "freq") -> pd.DataFrame:
    """What to look at before trusting a frequency.

    Parameters
    ----------
    adata
        Annotated data after `frequencies`; ``uns["freq"]`` and ``uns["freq_vals"]`` are read.
    key_added
        Prefix given to `frequencies`.

    Returns
    -------
    One row per frequency: ``eigenvalue``, ``gap`` to the next one, ``participation`` (share of the cells that
    carry the vector), ``residual`` of the eigenvalue equation.

    Raises
    ------
    MissingKeyError
        `frequencies` was not run under this prefix.

    Examples
    --------
    >>> from scmods import bmlp
    >>> adata = bmlp.planted(120, 40, n_module=5)
    >>> bmlp.frequencies(adata, n_comps=2)
    >>> list(bmlp.frequency_table(adata).columns)
    ['eigenvalue', 'gap', 'participation', 'residual']
    """
    import pandas as pd

    keys = FreqKeys(key_added)
    _checks.key(adata, "uns", keys.info, "Run `bmlp.frequencies(adata)` first.")
    info = adata.uns[keys.info]
    table = pd.DataFrame(
        {
            "eigenvalue": adata.uns[keys.values],
            "gap": info["gaps"],
            "participation": info["participation"],
            "residual": info["residuals"],
        }
    )
    return table.rename_axis("frequency")


def fit_table(adata: AnnData, model: QuadraticModel, *, key_added: str = "bmlp") -> pd.DataFrame:
    """What leave-one-out chose for every output of the closed form, and what that explains.

    Parameters
    ----------
    adata
        Annotated data after `fit` in closed form; ``uns["bmlp"]`` is read.
    model
        Closed-form model that `fit` returned.
    key_added
        Prefix given to `fit`.

    Returns
    -------
    One row per output: ``c``, ``ridge``, the refit's factors of the ``linear`` part and of the ``interactions``
    (above 1: ridge had shrunk them), ``r2`` and ``r2_linear`` on the evaluated cells.

    Raises
    ------
    MissingKeyError
        `fit` was not run under this prefix.

    Examples
    --------
    >>> from scmods import bmlp
    >>> adata = bmlp.planted(120, 40, n_module=5)
    >>> bmlp.split(adata)
    >>> model = bmlp.fit(adata, target="targets")
    >>> list(bmlp.fit_table(adata, model).columns)
    ['c', 'ridge', 'linear', 'interactions', 'r2', 'r2_linear']
    """
    import pandas as pd

    _checks.key(adata, "uns", Keys(key_added).info, "Run `bmlp.fit(adata)` first.")
    info = adata.uns[Keys(key_added).info]
    columns = {"c": model.offset, "ridge": model.ridge}
    columns |= {"linear": model.scalars[:, 1], "interactions": model.scalars[:, 2]}
    table = pd.DataFrame({name: values.numpy() for name, values in columns.items()})
    return table.assign(r2=info["r2"], r2_linear=info["r2_linear"]).rename_axis("output")


def mean_loss(adata: AnnData, target: str, loss: str = "mse", *, split_key: str = "bmlp_split") -> float:
    """Validation loss of always saying the mean of the training cells: the line a model has to get under.

    Parameters
    ----------
    adata
        Annotated data; ``obsm[target]`` and ``obs[split_key]`` are read.
    target
        Key of ``obsm``: (cells, outputs).
    loss
        ``"mse"``, mean squared error, or ``"l1"``, mean absolute error.
    split_key
        Column of `split`.

    Returns
    -------
    Mean over validation cells and outputs, in the unit of the target; squared for ``"mse"``.

    Raises
    ------
    MissingKeyError, ValueError
        No such target or split, or an unknown loss.

    Examples
    --------
    >>> from scmods import bmlp
    >>> adata = bmlp.planted(120, 40, n_module=5)
    >>> bmlp.split(adata)
    >>> bmlp.mean_loss(adata, "targets") > 0
    True
    """
    _checks.one_of("loss", loss, ("mse", "l1"))
    _checks.key(adata, "obsm", target, "Run `bmlp.frequencies(adata)` first.")
    rows, y = parts(adata, split_key), np.asarray(adata.obsm[target], dtype=np.float64)
    error = y[rows["val"]] - y[rows["train"]].mean(axis=0)
    return float((error**2).mean() if loss == "mse" else np.abs(error).mean())


def z_scores(adata: AnnData, *, key_added: str = "bmlp") -> np.ndarray:
    """The cells as the model of `fit` sees them: (cells, genes) float64, dense.

    Parameters
    ----------
    adata
        Annotated data after `fit`; ``uns["bmlp"]``, ``var["bmlp_mean"]``, ``var["bmlp_std"]`` and the matrix that was
        fitted are read.
    key_added
        Prefix given to `fit`, which stored means, standard deviations, layer and clipping.

    Returns
    -------
    Array in the order of the cells; a gene that is constant among the fitted cells is only centred.

    Raises
    ------
    MissingKeyError
        `fit` was not run under this prefix.

    Examples
    --------
    >>> from scmods import bmlp
    >>> adata = bmlp.planted(120, 40, n_module=5)
    >>> bmlp.split(adata)
    >>> model = bmlp.fit(adata, target="targets")
    >>> bmlp.z_scores(adata).shape
    (120, 40)
    """
    keys = Keys(key_added)
    _checks.key(adata, "uns", keys.info, "Run `bmlp.fit(adata)` first.")
    info = adata.uns[keys.info]
    mean, std = adata.var[keys.mean].to_numpy(), adata.var[keys.std].to_numpy()
    block = (_arrays.dense(_arrays.matrix(adata, info["layer"] or None)) - mean) / np.where(std > 0, std, 1.0)
    return np.clip(block, -info["clip"], info["clip"]) if info["clip"] else block
