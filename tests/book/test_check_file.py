"""What the check of a file says: kinds of numbers, guesses, gaps."""

from __future__ import annotations

import json
import re
from pathlib import Path

import anndata as ad
import numpy as np
import pandas as pd
import pytest
import scipy.sparse as sp

from scmods._book import inspect_file
from scmods._book.file_keys import names_in
from scmods._book.inspect_file import FileFacts, facts, kind_of, report
from scmods._book.own_data import OwnDataError
from scmods._book.roles import candidates, places

PARAMETERS = 'dataset: str = "toy"  # data\ncluster_key: str = "cluster"  # labels\nk: int = 3  # how many'


def write_notebook(root: Path, name: str, *code: str) -> Path:
    path = root / "notebooks" / f"{name}.ipynb"
    path.parent.mkdir(parents=True, exist_ok=True)
    made = [{"cell_type": "markdown", "id": "title", "metadata": {}, "source": f"# Chapter {name}"}]
    for number, source in enumerate([PARAMETERS, *code]):
        tags = ["parameters"] if number == 0 else []
        cell = {"cell_type": "code", "id": f"c{number}", "metadata": {"tags": tags}, "source": source}
        made.append(cell | {"outputs": [], "execution_count": None})
    spec = {"kernelspec": {"name": "python3", "display_name": "Python 3", "language": "python"}}
    path.write_text(json.dumps({"cells": made, "metadata": spec, "nbformat": 4, "nbformat_minor": 5}))
    return path


def h5ad(path: Path, **changes: object) -> Path:
    generator = np.random.default_rng(0)
    counts = sp.csr_matrix(generator.poisson(1.0, (30, 8)).astype(np.float32))
    obs = pd.DataFrame({"my label": pd.Categorical(list("abc") * 10), "n": np.arange(30)})
    obs.index = [f"cell{i}" for i in range(30)]
    adata = ad.AnnData(counts, obs=obs, var=pd.DataFrame(index=[f"g{i}" for i in range(8)]))
    for name, value in changes.items():
        setattr(adata, name, value)
    adata.write_h5ad(path)
    return path


# ---- what a file allows ------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("values", "kind"),
    [
        ([0, 1, 7], "counts"),
        ([0, 1.5, 3.2], "log"),
        ([0, 1.5, 300.2], "normalised"),
        ([-1.0, 0.5], "scaled"),
        ([1, np.nan], "NaN"),
        ([0, 0], "empty"),
        ([], "empty"),
    ],
)
def test_kinds_of_numbers(values: list[float], kind: str) -> None:
    assert kind_of(np.array(values, dtype=float)) == kind


def test_facts_of_a_stranger_file(tmp_path: Path) -> None:
    path = h5ad(tmp_path / "s.h5ad")
    adata = ad.read_h5ad(path)
    adata.layers["Spliced"] = np.log1p(adata.X.toarray())
    adata.obsm["X_spatial"] = np.zeros((30, 2))
    adata.obsm["X_pca"] = np.zeros((30, 2))
    adata.var_names = [f"ENSG0000000000{i}" for i in range(8)]
    adata.obs["Leiden"] = pd.Categorical([None, *list("xy") * 14, "x"])
    adata.write_h5ad(path)
    found = facts(path)
    assert (found.cells, found.genes) == (30, 8)
    assert found.matrices == {"X": "counts", "Spliced": "log"}
    assert found.labels == {"my label": 3, "Leiden": 2}
    assert found.missing_labels == ["Leiden"]
    assert found.spatial == ["X_spatial"]
    assert found.ensembl
    assert found.guess("labels") == "Leiden"
    assert found.guess("spliced") == "Spliced"
    assert found.guess("unspliced") == ""
    assert found.guess("expression") == "X"


@pytest.mark.parametrize(
    ("chapter", "changes", "text"),
    [
        ("bmlp", {"labels": {}}, "no labels: sc.pp.neighbors"),
        ("amici", {"spatial": []}, "no spatial: adata.obsm['spatial'] ="),
        (
            "amici",
            {"matrices": {"X": "NaN", "raw": "NaN"}},
            "no expression: NaN in X; adata = adata[np.isfin",
        ),
        (
            "amici",
            {"matrices": {"X": "empty", "raw": "NaN"}},
            "no expression: NaN in layers['raw']; adata = a",
        ),
        ("amici", {"labels": {"library_id": 2}}, "no types: sc.pp.neighbors(adata); sc.tl.leiden(adata)"),
        ("amici", {"missing_labels": ["type"]}, "adata = adata[adata.obs['type'].notna()].copy()"),
        ("smoother", {"spatial": []}, "no spatial: adata.obsm['spatial'] ="),
        (
            "smoother",
            {"matrices": {"X": "empty"}},
            "no expression: the file holds only zeros; write it again",
        ),
        ("smoother", {"missing_labels": ["type"]}, "adata = adata[adata.obs['type'].notna()].copy()"),
        ("hopfield", {}, "no unspliced: count it from the reads"),
        (
            "hopfield",
            {"matrices": {"X": "log", "spliced": "scaled", "unspliced": "counts"}},
            "unusable spliced: adata.layers['spliced'] holds negative numbers; take the values from before",
        ),
        (
            "hopfield",
            {"matrices": {"X": "log", "spliced": "counts", "unspliced": "empty"}},
            "unusable unspliced: adata.layers['unspliced'] holds only zeros",
        ),
        (
            "hopfield",
            {"matrices": {"spliced": "NaN", "Mu": "log"}},
            "adata.layers['spliced'] holds NaN; drop",
        ),
        ("hopfield", {"matrices": {"Ms": "normalised"}}, "no unspliced: count it from the reads"),
        ("hopfield", {"matrices": {"unspliced": "counts"}}, "no spliced: count it from the reads"),
        (
            "hopfield",
            {"matrices": {"spliced": "counts", "unspliced": "counts"}, "missing_labels": ["type"]},
            "adata = adata[adata.obs['type'].notna()].copy()",
        ),
        ("scyan", {"matrices": {"X": "NaN"}}, "no expression: NaN in X; adata = adata[np.isfinite"),
        (
            "scyan",
            {},
            "no table: write table.csv: populations x markers, 1 positive, -1 negative, else empty",
        ),
        ("scyan", {"table": ["T"], "doubled_genes": True}, "adata.var_names_make_unique()"),
        ("bmlp", {"doubled_genes": True}, "adata.var_names_make_unique()"),
        ("bmlp", {"doubled_cells": True}, "adata.obs_names_make_unique()"),
        ("bmlp", {"missing_labels": ["type"]}, "adata = adata[adata.obs['type'].notna()].copy()"),
    ],
)
def test_each_gap_comes_with_the_line_that_mends_it(tmp_path: Path, chapter, changes, text) -> None:
    notebook = write_notebook(tmp_path, chapter, "x = 1")
    base = {"cells": 9, "genes": 4, "matrices": {"X": "log"}, "labels": {"type": 3}, "spatial": ["spatial"]}
    lines, usable = report(Path("my.h5ad"), FileFacts(**base | changes), {chapter: notebook})
    assert f"{chapter:<10}  not yet" in lines
    assert any(text in line for line in lines)
    assert not usable


@pytest.mark.parametrize("layer", ["", "raw"], ids=["X", "layer"])
@pytest.mark.parametrize("form", [np.asarray, sp.csr_matrix, sp.csr_array])
def test_the_line_for_nan_keeps_the_finite_cells(tmp_path: Path, capsys, form, layer: str) -> None:
    values = np.arange(24.0).reshape(6, 4)
    values[2, 1], values[4, 0] = np.nan, np.inf
    path, zeros = tmp_path / "s.h5ad", np.zeros((6, 4))
    adata = ad.AnnData(zeros if layer else form(values), layers={layer: form(values)} if layer else {})
    adata.obs["type"] = pd.Categorical(list("aabbab"))
    adata.write_h5ad(path)
    inspect_file.check_file(path)
    (line,) = set(re.findall(r"NaN in .*?;\s+(adata = .*)", capsys.readouterr().out))
    told = {"adata": ad.read_h5ad(path), "np": np}
    exec(line, told)
    assert list(told["adata"].obs_names) == ["0", "1", "3", "5"]


def test_a_file_of_a_cytometer_is_inspected(tmp_path: Path) -> None:
    from scmods import scyan

    adata = scyan.cytometry(60, 3, 4, rare=0.0, raw=True)
    found = facts(scyan.write_fcs(adata, tmp_path / "sample.fcs") or tmp_path / "sample.fcs")
    assert (found.cells, found.genes) == adata.shape
    assert found.matrices == {"X": "counts"}
    assert found.guess("transform") == "asinh"
    both = {name: write_notebook(tmp_path, name, "x = 1") for name in ("bmlp", "scyan")}
    lines, _ = report(tmp_path / "sample.fcs", found, both)
    assert not [line for line in lines if "bmlp" in line], "it reads no such file"
    assert any(line.startswith("scyan     ") for line in lines)
    (tmp_path / "no.fcs").write_bytes(b"FCS9.9")
    with pytest.raises(OwnDataError, match="no.fcs"):
        facts(tmp_path / "no.fcs")


def test_a_table_in_the_file_is_found(tmp_path: Path) -> None:
    path = h5ad(tmp_path / "s.h5ad")
    assert facts(path).table == []
    assert facts(path).guess("table") == ""
    adata = ad.read_h5ad(path)
    adata.X = 300.0 * adata.X
    adata.uns["table"] = pd.DataFrame({"g0": [1.0, -1.0]}, index=["CD4/CD8", "b"])
    adata.write_h5ad(path)
    found = facts(path)
    assert found.table == ["CD4/CD8", "b"]
    assert found.populations == "my label", "some of its values are rows of the table"
    assert found.largest == {"X": 300.0 * 5}
    assert found.guess("transform") == "asinh"
    adata.uns["table"] = "a text"
    adata.write_h5ad(path)
    assert facts(path).table == []


@pytest.mark.parametrize(
    ("content", "text"),
    [
        (None, "does not exist"),
        (b"text", "is not an .h5ad file. Read it with the scanpy reader"),
        (b"", "is empty. Copy it again."),
    ],
)
def test_unreadable_files_are_named(tmp_path: Path, capsys, content, text) -> None:
    path = tmp_path / "x.h5ad"
    if content is not None:
        path.write_bytes(content)
    assert inspect_file.check_file(path) == 2
    assert text in capsys.readouterr().err


@pytest.mark.parametrize("share", [0.05, 0.5, 0.99])
def test_a_file_that_is_cut_short_is_named(tmp_path: Path, share: float) -> None:
    path = h5ad(tmp_path / "x.h5ad")
    path.write_bytes(path.read_bytes()[: int(share * path.stat().st_size)])
    for read in (facts, names_in):
        with pytest.raises(
            OwnDataError, match=r"x.h5ad is cut short or damaged. Copy it again. What HDF5 says"
        ):
            read(path)


def test_damage_that_only_reading_shows_is_named(tmp_path: Path) -> None:
    import h5py

    path = h5ad(tmp_path / "x.h5ad")
    with h5py.File(path, "r+") as file:
        del file["X"]
        made = file.create_dataset(
            "X", data=np.arange(240.0).reshape(30, 8), chunks=(30, 8), compression="gzip"
        )
        start, size = (one := made.id.get_chunk_info(0)).byte_offset, one.size
    content = bytearray(path.read_bytes())
    content[start : start + size] = bytes(size)
    path.write_bytes(content)
    with pytest.raises(OwnDataError, match="x.h5ad is cut short or damaged. Copy it again"):
        facts(path)


def test_no_run_starts_on_an_empty_file(tmp_path: Path) -> None:
    path = tmp_path / "x.h5ad"
    path.write_bytes(b"")
    with pytest.raises(OwnDataError, match="x.h5ad is empty. Copy it again"):
        names_in(path)
    path.write_bytes(b"text")
    with pytest.raises(OwnDataError, match="x.h5ad is not an .h5ad file. Read it with the scanpy reader"):
        names_in(path)


@pytest.mark.parametrize(
    ("name", "how"),
    [
        ("results.zarr", r"adata = anndata.read_zarr\('results.zarr'\)"),
        ("matrices", "the scanpy reader of its format"),
    ],
)
def test_a_folder_is_told_to_be_one(tmp_path: Path, name: str, how: str) -> None:
    (tmp_path / name).mkdir()
    text = rf"{name} is a folder, not a file. Read it with {how}, then adata.write_h5ad\('my.h5ad'\)"
    with pytest.raises(OwnDataError, match=text):
        facts(tmp_path / name)


def test_an_hdf5_file_without_anndata_is_named(tmp_path: Path) -> None:
    import h5py

    with h5py.File(tmp_path / "x.h5", "w") as file:
        file["a"] = [1]
    with pytest.raises(OwnDataError, match="holds no AnnData: `obs` or `var` is missing"):
        facts(tmp_path / "x.h5")


# ---- what the check prints ---------------------------------------------------------------------------


def test_the_check_prints_two_tables_of_a_hundred_columns(tmp_path: Path, capsys) -> None:
    path = h5ad(tmp_path / ("a long name of a file " * 3 + ".h5ad"))
    adata = ad.read_h5ad(path)
    adata.obs["leiden"] = pd.Categorical(list("xyz") * 10)
    adata.obs["Donor ID"] = pd.Categorical(["d1", "d2"] * 15)
    adata.obs["x_centroid"] = adata.obs["y_centroid"] = np.arange(30.0)
    adata.layers["nascent"] = adata.X.copy()
    adata.write_h5ad(path)
    assert inspect_file.check_file(path) == 0
    out = capsys.readouterr().out
    assert max(map(len, out.replace(str(path), "x").splitlines())) <= 100
    assert re.search(r"^what +best guess +others$", out, re.M)
    assert re.search(r"^cell labels +leiden \(3 classes\) +my label, Donor ID$", out, re.M)
    assert re.search(r"^batch +Donor ID \(2 classes\)$", out, re.M)
    assert re.search(r"^unspliced counts +nascent \(counts\)$", out, re.M)
    assert re.search(r"^positions +none found$", out, re.M)
    assert re.search(r"^raw counts +X \(counts\)$", out, re.M)
    assert re.search(r"^chapter +state$", out, re.M)
    assert re.search(r"^bmlp +runs$", out, re.M)
    assert re.search(r"^amici +not yet$", out, re.M)
    assert "adata.obsm['spatial'] = adata.obs[['x_centroid', 'y_centroid']].to_numpy()" in out
    assert out.index("what ") < out.index("chapter ")


@pytest.mark.parametrize(
    ("role", "labels", "names"),
    [
        ("labels", {"batch": 2, "Zelltyp": 5, "leiden": 3}, ["leiden", "Zelltyp", "batch"]),
        ("types", {"batch": 2, "Zelltyp": 5, "leiden": 3}, ["leiden", "Zelltyp"]),
        ("batch", {"Zelltyp": 5, "Sample.ID": 3, "my batches": 2}, ["Sample.ID", "my batches"]),
        ("sections", {"Slide": 5, "FOV": 3, "kind": 2}, ["Slide", "FOV"]),
    ],
)
def test_candidates_come_best_first(role: str, labels: dict, names: list[str]) -> None:
    assert candidates(FileFacts(9, 4, {"X": "log"}, labels, []), role) == names


def test_layers_are_told_apart_by_name_and_by_kind() -> None:
    matrices = {"X": "scaled", "exonic": "counts", "Introns": "counts", "lognorm": "log", "UMI": "counts"}
    found = FileFacts(9, 4, matrices, {}, [], flags=["highly_variable", "is TF"])
    assert candidates(found, "spliced") == ["exonic"]
    assert candidates(found, "unspliced") == ["Introns"]
    assert candidates(found, "counts") == ["UMI"]
    assert candidates(found, "logged") == ["lognorm", "UMI"]
    assert candidates(found, "regulators") == ["is TF"]
    assert places(["X_umap", "X_spatial", "centroids", "pca"]) == ["X_spatial", "centroids"]


def test_a_table_of_cells_is_checked(tmp_path: Path, capsys) -> None:
    path = tmp_path / "cells.csv"
    path.write_text("CD3;CD19;gate\n" + "\n".join(f"{i * 90};{400 - i};{'ab'[i % 2]}" for i in range(9)))
    assert inspect_file.check_file(path) == 1, "it has no table yet"
    assert "no table: write table.csv" in capsys.readouterr().out
    (tmp_path / "signs.csv").write_text("population,CD3,CD19\na,1,-1\nb,-1,\n")
    assert inspect_file.check_file(path) == 0
    out = re.sub(r" \\\n +", " ", capsys.readouterr().out)
    assert f"-p dataset={path}" in out
    assert f"-p table={tmp_path / 'signs.csv'} -p transform=asinh -p label_key=gate" in out
    assert "bmlp" not in out
    path.write_text("only,text\na,b\n")
    assert inspect_file.check_file(path) == 2
    assert "cannot be read as cells x markers" in capsys.readouterr().err
