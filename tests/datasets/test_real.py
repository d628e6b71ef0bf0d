"""Every loader on the real files: clean slots, known sizes, a round trip through a file."""

from __future__ import annotations

from functools import cache

import anndata
import numpy as np
import pandas as pd
import pytest
from scipy import sparse
from scipy.spatial import cKDTree

from scmods import datasets

SHAPES = {
    "pbmc68k": (700, 765),
    "paul15_240": (2660, 240),
    "pancreas": (739, 7192),
    "aml_short": (280, 32),
    "debarcoding": (20000, 6),
    "mob": (260, 15928),
    "dlpfc_151673": (3611, 0),
    "osmfish": (4839, 33),
    "dyngen_bifurcating": (500, 124),
    "dyngen_binary_tree": (500, 125),
    "dyngen_cycle": (500, 110),
    "dyngen_linear": (500, 110),
}
COUNTS = ("paul15_240", "pancreas", "mob", "osmfish", "dyngen_linear")


def on_disk(name):
    return pytest.param(name, marks=[] if name == "pbmc68k" else pytest.mark.data)


@pytest.fixture(scope="module")
def loaded():
    return cache(datasets.load)


def mean_by(adata, gene, column):
    return (
        pd.Series(adata[:, gene].X.toarray().ravel()).groupby(adata.obs[column].astype(str).to_numpy()).mean()
    )


def test_every_real_data_set_is_tested():
    assert set(SHAPES) == set(datasets._REAL)


@pytest.mark.parametrize("name", [on_disk(n) for n in SHAPES])
def test_clean_and_written_and_read_back(name, loaded, tmp_path):
    adata = loaded(name)
    assert adata.shape == SHAPES[name]
    assert adata.X.dtype == np.float32
    assert adata.obs_names.is_unique
    assert adata.var_names.is_unique
    assert all(isinstance(n, str) for n in [*adata.obs_names, *adata.var_names])
    for column in adata.obs.select_dtypes(exclude=["number", "bool"]):
        labels = adata.obs[column]
        assert isinstance(labels.dtype, pd.CategoricalDtype), column
        assert not labels.isna().any()
        assert (labels.value_counts() > 0).all(), "categories without a cell"
    assert set(adata.uns["source"]) == {"citation", "licence", "url", "dataset", "note"}
    adata.write_h5ad(tmp_path / "x.h5ad")
    back = anndata.read_h5ad(tmp_path / "x.h5ad")
    assert back.uns["source"] == adata.uns["source"]
    pd.testing.assert_frame_equal(back.obs, adata.obs)
    difference = abs(back.X - adata.X)
    assert difference.sum() == 0


@pytest.mark.parametrize("name", [on_disk(n) for n in COUNTS])
def test_counts_are_whole_and_in_the_named_layers(name, loaded):
    adata = loaded(name)
    for matrix in [adata.X, *adata.layers.values()]:
        assert sparse.issparse(matrix)
        assert matrix.format == "csr"
        assert matrix.data.min() >= 0
        assert np.array_equal(matrix.data, np.rint(matrix.data))
    first = next(iter(adata.layers.values()))
    assert abs(first - adata.X).sum() == 0


def test_pbmc68k_counts_give_back_the_logged_values(loaded):
    adata = loaded("pbmc68k")
    totals = adata.obs["n_counts"].to_numpy(dtype=float)
    again = np.log1p(adata.layers["counts"].toarray() / totals[:, None] * 1e4)
    assert np.abs(again - adata.X.toarray()).max() < 6e-4, "X has three decimals"
    raw = np.expm1(adata.X.toarray().astype(float)) * totals[:, None] / 1e4
    assert np.abs(raw - np.rint(raw)).max() < 0.09, "rounding would be ambiguous"
    assert adata.obs["cell_type"].astype(str).equals(adata.obs["bulk_labels"].astype(str))
    assert adata.obs["cell_type"].nunique() == 10


@pytest.mark.data
def test_paul15_labels_fit_the_counts(loaded):
    adata = loaded("paul15_240")
    assert adata.obs["cell_type"].value_counts()["Erythrocyte"] == 1095
    for gene, kind in [("Car1", "Erythrocyte"), ("Elane", "Neutrophils")]:
        assert mean_by(adata, gene, "cell_type").idxmax() == kind, "labels and cells are in the same order"


@pytest.mark.data
def test_pancreas_labels_fit_the_counts(loaded):
    adata = loaded("pancreas")
    assert adata.obs["clusters"].value_counts()["Ductal"] == 181
    assert adata.obs["clusters"].tolist() == adata.obs["cell_type"].tolist()
    for gene, kind in [("Ins2", "Beta"), ("Gcg", "Alpha"), ("Ghrl", "Epsilon"), ("Sox9", "Ductal")]:
        assert mean_by(adata, gene, "clusters").idxmax() == kind
    assert adata.obsm["X_pca"].shape == (739, 50)
    assert adata.layers["unspliced"].sum() < adata.layers["spliced"].sum()


@pytest.mark.data
def test_marker_tables(loaded):
    aml = loaded("aml_short")
    table = aml.uns["table"]
    assert sorted(table.index) == sorted(aml.obs["cell_type"].cat.categories)
    assert set(table.columns) <= set(aml.var_names)
    assert set(np.unique(table.to_numpy()[~np.isnan(table.to_numpy())])) == {-1, 1}
    codes = loaded("debarcoding").uns["table"]
    assert codes.columns.tolist() == loaded("debarcoding").var_names.tolist()
    assert ((codes == 1).sum(axis=1) == 3).all()
    assert loaded("debarcoding").var["channel"].iloc[0] == "(Pd102)Di"


@pytest.mark.data
def test_places(loaded):
    osmfish = loaded("osmfish")
    assert osmfish.obs["cell_type"].nunique() == 31
    area = osmfish.obs["size_um2"].median()
    near = cKDTree(osmfish.obsm["spatial"]).query(osmfish.obsm["spatial"], 2)[0][:, 1]
    assert 0.5 < np.median(near) / np.sqrt(area) < 2, "a cell is about as wide as the way to its neighbour"
    assert datasets.load("osmfish", valid_only=False).n_obs == 6471
    spots = loaded("mob")
    near = cKDTree(spots.obsm["spatial"]).query(spots.obsm["spatial"], 5)[1][:, 1:]
    layers = spots.obs["layer"].astype(str).to_numpy()
    assert (layers[:, None] == layers[near]).mean() > 0.4, (
        "chance is 0.22: places and layers are in the same order"
    )
    share = spots[:, "Fabp7"].X.toarray().ravel() / np.asarray(spots.X.sum(axis=1)).ravel()
    share -= share.mean()
    assert (share[:, None] * share[near]).mean() > 0.5 * share.var(), (
        "places and counts are in the same order"
    )
    assert mean_by(spots, "Fabp7", "layer").idxmax() == "5: Olfactory Nerve Layer"
    cortex = loaded("dlpfc_151673")
    assert cortex.obs["layer"].value_counts()["L3"] == 989


@pytest.mark.data
def test_circuits_know_the_truth(loaded):
    adata = loaded("dyngen_linear")
    truth = adata.varp["true_interactions"]
    assert set(np.unique(truth)) == {-1, 0, 1}
    acting = set(adata.var_names[(truth != 0).any(axis=0)])
    assert "Target1" not in acting, "columns are regulators"
    assert set(adata.var_names[adata.var["transcription_factor"]]) <= acting
    assert adata.obs["simulation"].nunique() > 10


@pytest.mark.data
def test_gene_sets():
    assert len(datasets.gene_sets("hallmark")) == 50
    assert "JUNB" in datasets.gene_sets("hallmark")["HALLMARK_TNFA_SIGNALING_VIA_NFKB"]
    assert len(datasets.gene_sets("go_bp_2021")) == 6036
