"""Files as strangers bring them: other names than any default, awkward labels, views, integer counts.

Each function writes one file into a folder and returns its path. The numbers come from the simulators of the package,
so that the chapters have something to find; the truth is left out.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import anndata as ad
import numpy as np
import pandas as pd
import scipy.sparse as sp

from scmods import datasets, scyan

LABELS = ("L2/3 IT", "18", "T cell (naïve)", "CD4/CD8", "β, other; rest")
UNUSED = "seen in no cell"


def ensembl(n: int) -> list[str]:
    """Names of genes as an archive writes them, version included."""
    return [f"ENSMUSG{17_000_000 + 31 * i:011d}.{1 + i % 7}" for i in range(n)]


def integers(values: np.ndarray, rng: np.random.Generator) -> sp.csr_matrix:
    """Sparse whole numbers around the values; every cell has at least one."""
    drawn = rng.poisson(np.clip(np.asarray(values, dtype=float), 0.0, None))
    drawn[:, 0] += 1
    return sp.csr_matrix(drawn.astype(np.int32))


def category(codes: np.ndarray, names: tuple[str, ...] = LABELS) -> pd.Categorical:
    """Awkward labels, and one category that no cell has."""
    return pd.Categorical.from_codes(
        codes % len(names), [UNUSED, *names][: len(names) + 1]
    ).rename_categories([*names, UNUSED])


def write_view(adata: ad.AnnData, path: Path, rng: np.random.Generator) -> Path:
    """Write an unsorted part of the cells, still a view, with its unused category."""
    with ad.settings.override(remove_unused_categories=False):
        part = adata[rng.permutation(adata.n_obs)[: adata.n_obs - 10]]
        if not part.is_view:
            msg = "a stranger is written from a view"
            raise RuntimeError(msg)
        part.write_h5ad(path)
    return path


def bmlp(folder: Path, seed: int = 0) -> Path:
    """Counts of cells along a few programs; Ensembl names; the labels are called something else."""
    rng = np.random.default_rng(seed)
    weights = rng.dirichlet(np.full(len(LABELS), 0.6), 120)  # mixtures, so that the graph hangs together
    kind = weights.argmax(axis=1)
    means = weights @ rng.gamma(0.8, 2.0, (len(LABELS), 90))
    level = rng.lognormal(0.0, 0.3, (len(kind), 1))
    adata = ad.AnnData(
        integers(means * level, rng),
        obs=pd.DataFrame(
            {"Zell Typ": category(kind), "Donor": np.where(rng.random(len(kind)) < 0.5, "d/1", "2")},
            index=[f"AAAC-{i}-1" for i in range(len(kind))],
        ),
        var=pd.DataFrame({"symbol": [f"Gene{i}" for i in range(90)]}, index=ensembl(90)),
    )
    adata.obs["n_counts"] = np.asarray(adata.X.sum(axis=1)).ravel()
    return write_view(adata, folder / "cells of bmlp.h5ad", rng)


def hopfield(folder: Path, seed: int = 0) -> Path:
    """Both kinds of transcripts under other layer names; the labels are digits and words."""
    rng = np.random.default_rng(seed)
    made = datasets.load("random_circuit", n_obs=300, n_vars=24, n_regulators=8, seed=seed)
    layers = {
        "mature": integers(made.layers["spliced"], rng),
        "Nascent": integers(made.layers["unspliced"], rng),
    }
    adata = ad.AnnData(layers["mature"] + layers["Nascent"], layers=layers)
    adata.obs_names = [f"{i}_x" for i in range(adata.n_obs)]
    adata.obs["my clusters"] = category(made.obs["cell_type"].cat.codes.to_numpy(), ("18", "L2/3 IT"))
    adata.var_names = ensembl(adata.n_vars)
    adata.var["is TF"] = made.var["transcription_factor"].to_numpy()
    return write_view(adata, folder / "velocity.h5ad", rng)


def smoother(folder: Path, seed: int = 0) -> Path:
    """Spots with positions under another name, counts in a layer and logged values in X."""
    rng = np.random.default_rng(seed)
    made = datasets.load("tissue", n_rows=12, n_cols=12, seed=seed)
    counts = sp.csr_matrix(made.X.astype(np.int32))
    adata = ad.AnnData(counts.astype(np.float32).log1p(), layers={"UMIs": counts})
    adata.obs_names = [f"spot {i}" for i in range(adata.n_obs)]
    adata.var_names = ensembl(adata.n_vars)
    adata.obs["Région"] = category(pd.Categorical(made.obs["zone"]).codes)
    adata.obsm["centroids"] = 55.0 * np.asarray(made.obsm["spatial"], dtype=float)
    return write_view(adata, folder / "spots.h5ad", rng)


def amici(folder: Path, seed: int = 0) -> Path:
    """Single cells in micrometres with integer counts and a column of types of its own name."""
    rng = np.random.default_rng(seed)
    made = datasets.load("semisynthetic", n_cells=700, n_genes=30, seed=seed)
    adata = ad.AnnData(integers(np.expm1(made.X), rng))
    adata.obs_names = [f"cell/{i}" for i in range(adata.n_obs)]
    adata.var_names = ensembl(adata.n_vars)
    adata.obs["Subclass"] = category(made.obs["cell_type"].cat.codes.to_numpy(), LABELS[:4])
    adata.obsm["xy_um"] = np.asarray(made.obsm["spatial"], dtype=float)
    return write_view(adata, folder / "merfish.h5ad", rng)


def _intensities(seed: int, n_cells: int) -> tuple[ad.AnnData, pd.DataFrame]:
    """Raw intensities with the names that an instrument gives, and the table of their markers."""
    made = datasets.load("cytometry", n_cells=n_cells, n_pops=5, n_markers=8, rare=0.0, raw=True, seed=seed)
    markers = [f"CD{3 + i} ({140 + i}Di)" for i in range(made.n_vars)]
    rows = dict(zip(made.uns["table"].index, LABELS, strict=True))
    table = made.uns["table"].rename(index=rows).set_axis(markers, axis=1)
    adata = ad.AnnData(np.asarray(made.X))
    adata.var_names = markers
    adata.obs_names = [f"event {i}" for i in range(adata.n_obs)]
    names = made.obs["cell_type"].astype(str).map(rows).fillna("not gated")
    adata.obs["manual gate"] = pd.Categorical(names, categories=[*LABELS, "not gated", UNUSED])
    return adata, table


def scyan_h5ad(folder: Path, seed: int = 0) -> Path:
    """Raw intensities as sparse whole numbers, with the table in a file beside them."""
    rng = np.random.default_rng(seed)
    adata, table = _intensities(seed, 610)
    adata.X = sp.csr_matrix(np.asarray(adata.X).round().astype(np.int32))
    table.to_csv(folder / "markers.csv")
    return write_view(adata, folder / "cytof.h5ad", rng)


def scyan_csv(folder: Path, seed: int = 0) -> Path:
    """The same as text, with a column of gates."""
    adata, table = _intensities(seed, 600)
    table.to_csv(folder / "markers.csv")
    return scyan.write_csv(adata, folder / "export cells.csv")


def scyan_fcs(folder: Path, seed: int = 0) -> Path:
    """The same as a file of the instrument: no labels."""
    adata, table = _intensities(seed, 600)
    table.to_csv(folder / "markers.csv")
    return scyan.write_fcs(adata, folder / "sample.fcs")


# chapter, how the file is made, and what makes the run quick
STRANGERS: dict[str, tuple[str, Callable[[Path], Path], dict[str, object]]] = {
    "bmlp": ("bmlp", bmlp, {"original_epochs": 3, "n_perms": 5, "planted_cells": 400}),
    "hopfield": ("hopfield", hopfield, {"n_resamples": 3, "n_splits": 1}),
    "smoother": ("smoother", smoother, {"n_genes": 20, "n_pairs": 60, "epochs": 60, "n_seeds": 1}),
    "amici": (
        "amici",
        amici,
        {"max_epochs": 5, "restarts": 1, "n_perms": 120, "null_data": 0, "n_pairs": 0, "n_neighbors": 10},
    ),
    "scyan": ("scyan", scyan_h5ad, {"original": False, "min_delta": 0.5}),
    "scyan-csv": ("scyan", scyan_csv, {"original": False, "min_delta": 0.5}),
    "scyan-fcs": ("scyan", scyan_fcs, {"original": False, "min_delta": 0.5}),
}
