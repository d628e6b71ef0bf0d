"""Names, paths and gene sets: what is accepted, what is refused and how."""

from __future__ import annotations

import subprocess
import sys
import types

import anndata
import h5py
import numpy as np
import pytest

from scmods import MissingKeyError, datasets
from scmods.datasets import _registry


@pytest.fixture
def saved(tmp_path):
    adata = anndata.AnnData(np.arange(6, dtype=np.float32).reshape(3, 2))
    adata.write_h5ad(tmp_path / "mine.h5ad")
    return tmp_path / "mine.h5ad"


@pytest.fixture
def simulator(monkeypatch):
    module = types.ModuleType("a_simulator")

    def planted(n_obs=5, *, seed=0):
        adata = anndata.AnnData(np.full((n_obs, 2), seed, dtype=np.float32))
        adata.uns["truth"] = {"seed": seed}
        return adata

    module.planted = planted
    monkeypatch.setitem(sys.modules, "a_simulator", module)
    monkeypatch.setitem(datasets._SIMULATORS, "planted", "a_simulator:planted")


def test_unknown_name_gets_the_nearest_and_the_list():
    with pytest.raises(
        MissingKeyError, match="no data set named 'pancrea'.*'osmfish'.*Did you mean 'pancreas'"
    ):
        datasets.load("pancrea")
    with pytest.raises(MissingKeyError, match="no data set named 'pbmc'"):
        datasets.available("pbmc")


def test_simulator_takes_its_own_options(simulator):
    adata = datasets.load("planted", n_obs=7, seed=3)
    assert adata.shape == (7, 2)
    assert adata.uns["truth"] == {"seed": 3}
    assert datasets.planted(n_obs=2).n_obs == 2
    with pytest.raises(TypeError, match="'planted' takes no option 'n_cells'. Available.*'n_obs'"):
        datasets.load("planted", n_cells=7)


def test_path(saved):
    for name in (str(saved), saved):
        assert datasets.load(name).X.tolist() == [[0, 1], [2, 3], [4, 5]]
    with pytest.raises(TypeError, match="takes no option 'seed'"):
        datasets.load(saved, seed=1)


def test_path_backed(saved):
    adata = datasets.load(saved, backed=True)
    assert adata.isbacked
    assert adata.X[1].tolist() == [2, 3]
    adata.file.close()
    with pytest.raises(ValueError, match="`backed` is for files"):
        datasets.load("pbmc68k", backed=True)


def test_missing_path_names_what_is_there(saved):
    with pytest.raises(
        FileNotFoundError, match="does not exist .*Its folder has .*mine.h5ad.*Did you mean 'mine.h5ad'"
    ):
        datasets.load(saved.with_name("min.h5ad"))
    with pytest.raises(FileNotFoundError, match="has no .h5ad file"):
        datasets.load("nowhere/x.h5ad")


def test_other_kinds_of_file(tmp_path, saved):
    loom = tmp_path / "x.loom"
    loom.write_bytes(b"x")
    with pytest.raises(
        ValueError, match=r"is no .h5ad file \(its name ends in '.loom'\). Read it with.*read_loom"
    ):
        datasets.load(loom)
    text = tmp_path / "text.h5ad"
    text.write_text("hello")
    with pytest.raises(ValueError, match=r"is no HDF5 file \(5 bytes\)"):
        datasets.load(text)
    other = tmp_path / "other.h5ad"
    with h5py.File(other, "w") as file:
        file["x"] = 1
    with pytest.raises(ValueError, match=r"holds no AnnData: \['obs', 'var'\] missing. It has \['x'\]"):
        datasets.load(other)
    cut = tmp_path / "cut.h5ad"
    cut.write_bytes(saved.read_bytes()[:1500])
    with pytest.raises(ValueError, match="is damaged and cannot be opened"):
        datasets.load(cut)


def test_available_downloads_nothing(tmp_path, monkeypatch, saved):
    monkeypatch.setenv("SCMODS_DATA", str(tmp_path))
    monkeypatch.setattr(_registry, "_default_folder", lambda: tmp_path / "none")
    assert datasets.available("pbmc68k")
    assert datasets.available("planted")
    assert datasets.available(saved)
    assert not datasets.available(saved.with_name("other.h5ad"))
    assert not datasets.available("paul15_240")
    (tmp_path / "paul15_240_counts.rda").write_bytes(b"")
    assert not datasets.available("paul15_240"), "one of two files is missing"
    (tmp_path / "paul15_240_celltype.rda").write_bytes(b"")
    assert datasets.available("paul15_240")


def test_table_has_every_name_once(tmp_path, monkeypatch):
    monkeypatch.setenv("SCMODS_DATA", str(tmp_path))
    monkeypatch.setattr(_registry, "_default_folder", lambda: tmp_path)
    table = datasets.table()
    assert sorted(table["name"]) == sorted([*datasets.names(), "hallmark", "go_bp_2021"])
    assert table.set_index("name").loc["paul15_240", "files"] == 2
    assert set(table.loc[table["embedded"], "name"]) == {"pbmc68k", *datasets._SIMULATORS}
    assert table["at_hand"].equals(table["embedded"])
    assert (table["licence"].str.len() > 0).all()
    made = table.set_index("name").loc[["semisynthetic", "tissue", "planted"]]
    assert list(made["used_by"]) == ["amici", "smoother", "bmlp"]
    assert list(made["licence"].str.contains("CC-BY")) == [True, True, False]
    assert made["citation"].str.contains("Zheng").sum() == 2


def test_a_simulated_tissue_of_cells_by_name():
    from scmods import amici

    adata = datasets.load("semisynthetic", n_cells=200, n_genes=40, seed=3)
    np.testing.assert_array_equal(adata.X, amici.semisynthetic(200, 40, seed=3).X)
    assert adata.uns["truth"]["mode"] == "transplant"
    assert {"dataset", "licence", "citation"} <= set(adata.uns["source"])
    with pytest.raises(TypeError, match="'semisynthetic' takes no option 'n_obs'. Available.*'n_cells'"):
        datasets.load("semisynthetic", n_obs=7)


def test_gene_sets_from_a_file(tmp_path):
    path = tmp_path / "my.gmt"
    path.write_text("first\tabout\tA\tB\tA\t\n\nsecond\t\tC\n", encoding="utf-8")
    assert datasets.gene_sets(path) == {"first": ["A", "B"], "second": ["C"]}
    path.write_text("first\tabout\tA\nfirst\tabout\tB\n")
    with pytest.raises(ValueError, match=r"two sets named 'first' \(the second in line 2\)"):
        datasets.gene_sets(path)
    path.write_text("gene,set\nA,first\n")
    with pytest.raises(ValueError, match="Line 1 of .* is no gene set: 'gene,set'"):
        datasets.gene_sets(path)
    path.write_text("\n")
    with pytest.raises(ValueError, match="holds no gene set"):
        datasets.gene_sets(path)
    with pytest.raises(FileNotFoundError, match="none.gmt' does not exist"):
        datasets.gene_sets(tmp_path / "none.gmt")
    with pytest.raises(MissingKeyError, match="no gene sets named 'halmark'.*Did you mean 'hallmark'"):
        datasets.gene_sets("halmark")


def test_unknown_attribute():
    with pytest.raises(AttributeError, match="has no attribute 'pancrea'"):
        _ = datasets.pancrea


def test_import_is_light():
    heavy = "{'torch', 'scanpy', 'anndata', 'pandas', 'pooch', 'rdata', 'h5py', 'scmods.bmlp'}"
    code = f"import sys, scmods.datasets as d; d.names(); print({heavy} & set(sys.modules))"
    out = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert out.stdout.strip() == "set()"
