"""Cells are read in chunks: results do not depend on them, and what is said of the cells is said of all of them."""

from __future__ import annotations

import warnings
from pathlib import Path

import anndata
import numpy as np
import pandas as pd
import pytest
from anndata import AnnData
from scipy import sparse

from scmods import _checks
from scmods.scyan import _chunks
from scmods.scyan.model import Scyan
from scmods.scyan.simulate import cytometry

FEW = 97  # divides neither the cells nor their half


@pytest.fixture(scope="module")
def cells() -> AnnData:
    """500 cells in two batches with a measurement; read-only."""
    adata = cytometry(500, 5, 8, n_batches=2, rare=0.0, unlisted=0.03, separation=1.6, seed=1)
    adata.obs["age"] = 60 + 10 * np.random.default_rng(0).normal(size=500)
    return adata


@pytest.fixture(scope="module")
def model(cells: AnnData) -> Scyan:
    """Trained for a moment; its nets start at random, so that every covariate matters."""
    settings = {"batch_key": "batch", "continuous_covariates": ["age"], "lint": False, "zero_last": False}
    return Scyan(cells.copy(), **settings).fit(max_epochs=2)


def answers(model: Scyan, adata: AnnData | None = None) -> dict[str, np.ndarray]:
    """Everything that the model says of cells."""
    return {
        "latent": model.latent(adata),
        "aligned": model.latent(adata, flow=False),
        "joint": model.joint_log_prob(adata),
        "joint before the flow": model.joint_log_prob(adata, flow=False),
        "odds": model.log_odds_unlisted(adata),
        "proba": model.predict_proba(adata).to_numpy(),
        "codes": model.predict(adata, key_added=None).cat.codes.to_numpy(),
        "codes of the original": model.predict(adata, key_added=None, log_prob_th=-12).cat.codes.to_numpy(),
        "corrected": model.batch_effect_correction("batch 2", adata=adata),
    }


@pytest.fixture(scope="module")
def whole(model: Scyan, cells: AnnData) -> dict[str, np.ndarray]:
    """The answers for all cells at once."""
    assert cells.n_obs < _chunks.CHUNK
    return answers(model)


@pytest.fixture
def small_chunks(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(_chunks, "CHUNK", FEW)


@pytest.mark.usefixtures("small_chunks")
@pytest.mark.parametrize(
    "form", ["own", "dense", "csr", "csc", "layer", "view", "backed", "backed csr", "backed view"]
)
def test_chunks_do_not_matter(
    model: Scyan, cells: AnnData, whole: dict[str, np.ndarray], form: str, tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    adata, rows = cells.copy(), np.arange(cells.n_obs)
    if form.endswith(("csr", "csc")):
        adata.X = getattr(sparse, f"{form[-3:]}_matrix")(adata.X)
    if form == "layer":
        adata.layers["values"], adata.X = adata.X.copy(), adata.X + 1e6
        monkeypatch.setattr(model, "layer", "values")
    if form.startswith("backed"):
        del adata.uns["table"], adata.uns["truth"]
        adata.write_h5ad(tmp_path / "cells.h5ad")
        adata = anndata.read_h5ad(tmp_path / "cells.h5ad", backed="r")
    if form.endswith("view"):
        rows = np.arange(3, 500, 2)  # more than two chunks
        adata = adata[rows]
        assert adata.is_view
    for name, found in answers(model, None if form == "own" else adata).items():
        np.testing.assert_allclose(found, whole[name][rows], rtol=0, atol=1e-12, err_msg=name)


@pytest.mark.usefixtures("small_chunks")
def test_what_is_written_is_that_of_all_cells(model: Scyan, cells: AnnData) -> None:
    adata = cells.copy()
    labels = model.predict(adata)
    proba = model.predict_proba(adata)
    assert list(labels.index) == list(adata.obs_names)
    np.testing.assert_allclose(adata.obs["scyan_pop_unknown"], proba["unclassified"], atol=1e-12)
    # of the unclassified little more than rounding is left
    listed = proba.drop(columns="unclassified")[labels.notna()]
    found = adata.obs["scyan_pop_probability"][labels.notna()]
    assert 100 < len(listed) < 500
    np.testing.assert_allclose(found, listed.max(axis=1) / listed.sum(axis=1), atol=1e-9)
    assert (labels.dropna() == listed.idxmax(axis=1)).all()


@pytest.mark.usefixtures("small_chunks")
def test_no_more_than_a_chunk_is_read_at_once(
    model: Scyan, cells: AnnData, monkeypatch: pytest.MonkeyPatch
) -> None:
    read, real = [], Scyan._read

    def watched(self: Scyan, adata: AnnData, **more: bool) -> tuple:
        read.append(adata.n_obs)
        return real(self, adata, **more)

    monkeypatch.setattr(Scyan, "_read", watched)
    for ask in (model.latent, model.log_odds_unlisted, model.predict_proba, model.predict):
        read.clear()
        ask(cells.copy())
        assert read == [FEW] * 5 + [500 - 5 * FEW]


@pytest.mark.usefixtures("small_chunks")
def test_faults_of_all_chunks_come_together(model: Scyan, cells: AnnData) -> None:
    adata = cells.copy()
    first, second = model.markers[:2]
    adata.X[[3, 490], adata.var_names.get_loc(first)] = np.nan
    adata.X[200, adata.var_names.get_loc(second)] = np.inf
    text = rf"3 values that are NaN or infinite: \['{first} \(2\)', '{second} \(1\)'\]"
    with pytest.raises(ValueError, match=text):
        model.predict(adata)
    adata = cells.copy()
    adata.X[[2, 499], 0] = 300.0, -500.0
    with pytest.raises(ValueError, match="The largest value is 500, marker"):
        model.predict_proba(adata)
    adata = cells.copy()
    adata.obs["batch"] = adata.obs["batch"].astype(object)
    adata.obs.iloc[[5, 450], adata.obs.columns.get_loc("batch")] = None
    with pytest.raises(ValueError, match=r"obs\['batch'\]` is missing for 2 of 500 cells"):
        model.latent(adata)
    adata.obs["batch"] = np.where(np.arange(500) < 400, "batch 1", np.where(np.arange(500) < 450, "d", "c"))
    with pytest.raises(ValueError, match=r"did not have: \['c', 'd'\]"):
        model.batch_effect_correction(adata=adata)
    adata = cells.copy()
    adata.obs.iloc[[0, 499], adata.obs.columns.get_loc("age")] = np.nan
    with pytest.raises(ValueError, match=r"obs\['age'\]` is NaN or infinite for 2 of 500 cells"):
        model.log_odds_unlisted(adata)
    assert "scyan_pop" not in adata.obs


@pytest.mark.usefixtures("small_chunks")
def test_the_scale_is_that_of_all_cells(model: Scyan, cells: AnnData) -> None:
    by_first = cells[np.argsort(cells[:, model.markers[0]].X.ravel())].copy()
    tight = by_first[:FEW, model.markers[0]].X.std()
    assert tight < 0.2, "a chunk alone would look unscaled"
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        model.latent(by_first)
    by_first.X[:, by_first.var_names.get_loc(model.markers[0])] *= 20
    std = by_first[:, model.markers[0]].X.astype(np.float64).std()
    with pytest.warns(_checks.NumericalWarning, match="Standard deviations far from 1") as caught:
        model.latent(by_first)
    assert len(caught) == 1
    assert f"['{model.markers[0]} ({std:.3g})']" in str(caught[0].message)


def test_a_chunk_of_all_cells_is_the_object_itself(cells: AnnData) -> None:
    (rows, part), = _chunks.chunks(cells)  # fmt: skip
    assert part is cells
    assert rows == slice(0, 500)
    assert list(_chunks.chunks(cells[:0])) == []


@pytest.mark.usefixtures("small_chunks")
def test_chunks_are_all_cells_in_order(cells: AnnData) -> None:
    names = [pd.Index(part.obs_names) for _, part in _chunks.chunks(cells)]
    assert [len(n) for n in names] == [FEW] * 5 + [15]
    assert list(names[0].append(names[1:])) == list(cells.obs_names)
