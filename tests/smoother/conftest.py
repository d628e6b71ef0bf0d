"""A small tissue whose spots, genes and types have awkward names, and one call for every function that reads it."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace

import anndata
import numpy as np
import pandas as pd
import pytest

from scmods import smoother

SIDE, GENES = 6, 30
SPOTS = SIDE * SIDE
TYPES = ["CD4/CD8", "18", "T cell (naïve)"]


def make(*, graph: bool = True) -> anndata.AnnData:
    """36 spots of a square lattice, whole numbers in X, three regions, spots measured and not."""
    rng = np.random.default_rng(0)
    xy = np.stack(np.meshgrid(np.arange(SIDE), np.arange(SIDE)), -1).reshape(-1, 2).astype(float)
    waves = np.stack([np.sin(xy[:, 0] / 2), np.cos(xy[:, 1] / 3), np.sin(xy.sum(axis=1) / 4)], axis=1)
    adata = anndata.AnnData(rng.poisson((waves + 1.2) @ profiles().to_numpy().T).astype(np.float32))
    adata.obs_names = [f"spot/{i}" for i in range(SPOTS)]
    adata.var_names = list(profiles().index)
    adata.obsm["spatial"] = xy
    region = np.array(TYPES)[xy[:, 0].astype(int) // 2]
    adata.obs["region"] = pd.Categorical(region, categories=["nobody", *TYPES])
    adata.obs["measured"] = np.arange(SPOTS) % 5 != 2
    if graph:
        smoother.spatial_weights(adata, n_neighbors=4)
    return adata


def profiles() -> pd.DataFrame:
    """Genes x types."""
    values = np.random.default_rng(1).gamma(1.0, 4.0, (GENES, len(TYPES)))
    return pd.DataFrame(values, index=[f"gene/{i}" for i in range(GENES)], columns=TYPES)


def weights(adata):
    options = {"cluster_key": "region", "boundary": 0.5, "expression": True}
    smoother.spatial_weights(adata, n_neighbors=4, **options)
    return adata.obsp["spatial_connectivities"].toarray()


def deconvolve(adata, **options):
    smoother.deconvolve(adata, profiles(), **{"smoothing": 0.1, **options})
    return adata.obsm["smoother_abundances"]


def dwls(adata):
    return deconvolve(adata, weights="dwls")


def log_normal(adata):
    return deconvolve(adata, model="log_normal", tol=1e-11)


def impute(adata):
    smoother.impute(adata, "measured")
    return np.hstack([adata.layers["smoother_imputed"], adata.obs[["smoother_uncertainty"]]])


def denoise(adata):
    smoother.denoise(adata, smoothing=0.3)
    return np.hstack([adata.layers["smoother_denoised"], adata.obs[["smoother_uncertainty"]]])


def spatial_pca(adata):
    smoother.spatial_pca(adata, n_comps=3, smoothing=0.05)
    return adata.obsm["X_smoother_pca"]


def association(adata):
    table = smoother.spatial_association(adata, ["gene/1", "gene/2"], "gene/3", n_perms=99)
    return table["statistic"].to_numpy()


def tune(adata):
    grid = (0.0, 0.1, 1.0, 10.0, 100.0)
    return smoother.tune_smoothing(adata, grid=grid, n_splits=1).curve["score"].to_numpy()


def tune_types(adata):
    grid = (0.0, 0.1, 10.0, 1000.0)
    return smoother.tune_smoothing(adata, profiles(), grid=grid, n_splits=1).curve["score"].to_numpy()


def cell_means(adata):
    return smoother.reference_profiles(adata, "region").to_numpy()


@pytest.fixture(scope="module")
def ref() -> dict[str, np.ndarray]:
    """Frozen values of graphs and priors."""
    with np.load(Path(__file__).parents[1] / "data" / "smoother_graph.npz") as file:
        return dict(file)


@pytest.fixture
def cases() -> SimpleNamespace:
    """Everything above by name."""
    return SimpleNamespace(**{k: v for k, v in globals().items() if not k.startswith("_")})
