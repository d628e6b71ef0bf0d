"""Shared fixtures: small AnnData in three forms, the real data folder, reproducible random tests."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

# before torch or numpy start their threads; the workers of pytest-xdist share the cores
os.environ.setdefault("OMP_NUM_THREADS", "1")

import numpy as np
import pytest
from hypothesis import settings

from scmods._book.browser_check import find_browser

if TYPE_CHECKING:
    from anndata import AnnData

settings.register_profile("scmods", derandomize=True, deadline=None, max_examples=50, database=None)
settings.load_profile("scmods")


def real_data() -> Path | None:
    """The folder named by SCMODS_DATA, if it is there."""
    folder = os.environ.get("SCMODS_DATA", "")
    return Path(folder) if folder and Path(folder).is_dir() else None


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Skip, with the reason, what this machine cannot run."""
    no_data = pytest.mark.skip(reason="SCMODS_DATA names no folder with the real data sets")
    no_browser = pytest.mark.skip(reason="no headless Chromium is installed")
    for item in items:
        if item.get_closest_marker("data") and real_data() is None:
            item.add_marker(no_data)
        if item.get_closest_marker("browser") and not find_browser():
            item.add_marker(no_browser)


@pytest.fixture
def data_folder() -> Path:
    """Folder of the real data files; the test is skipped where SCMODS_DATA is not set."""
    folder = real_data()
    if folder is None:
        pytest.skip("SCMODS_DATA names no folder with the real data sets")
    return folder


def make_tiny(form: str = "dense") -> AnnData:
    """60 cells x 20 genes, three groups: log counts, counts, positions and PCs; always the same values.

    `form` is "dense", "csr" or "view" (rows of a larger, shuffled object).
    """
    from anndata import AnnData
    from scipy import sparse

    rng = np.random.default_rng(0)
    group = np.repeat([0, 1, 2], 20)
    rate = 0.5 + 3.0 * (np.arange(20)[None, :] % 3 == group[:, None])
    counts = rng.poisson(rate).astype(np.float32)
    counts[:, 0] += 1.0  # no empty cell
    x = np.log1p(counts)
    if form == "csr":
        x, counts = sparse.csr_matrix(x), sparse.csr_matrix(counts)
    adata = AnnData(x, layers={"counts": counts})
    adata.obs_names = [f"cell{i}" for i in range(60)]
    adata.var_names = [f"gene{i}" for i in range(20)]
    adata.obs["cell_type"] = np.array(["CD4/CD8", "18", "T cell (naïve)"], dtype=object)[group]
    adata.obs["cell_type"] = adata.obs["cell_type"].astype("category")
    adata.obsm["spatial"] = rng.uniform(size=(60, 2))
    adata.obsm["X_pca"] = rng.normal(size=(60, 5)) + 4.0 * group[:, None]
    if form != "view":
        return adata
    order = rng.permutation(60)
    return adata[order].copy()[np.argsort(order)]


@pytest.fixture(params=["dense", "csr", "view"])
def tiny(request: pytest.FixtureRequest) -> AnnData:
    """The small AnnData in each of its three forms; the values are equal, so results must be."""
    return make_tiny(request.param)


@pytest.fixture
def tiny_as() -> Callable[[str], AnnData]:
    """Factory of the small AnnData, for tests that compare forms: ``tiny_as("csr")``."""
    return make_tiny
