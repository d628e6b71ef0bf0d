"""A chapter on own data: the run folder, refusals, failures, Ctrl-C; and what a file allows."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
import time
from pathlib import Path

import anndata as ad
import numpy as np
import pandas as pd
import pytest
import scipy.sparse as sp

from scmods._book import inspect_file, own_data
from scmods._book.inspect_file import FileFacts, facts, kind_of, report
from scmods._book.own_data import OwnDataError, chapters, find_chapter, run_chapter
from scmods._book.params import ParameterError

PARAMETERS = 'dataset: str = "toy"  # data\ncluster_key: str = "cluster"  # labels\nk: int = 3  # how many'
GOOD = """\
import os, json
from pathlib import Path
folder = Path(os.environ["SCMODS_RUN_DIR"])
(folder / "tables").mkdir()
(folder / "tables" / "numbers.csv").write_text("a,b\\n1,2\\n")
print(dataset, k, Path(dataset).is_absolute())
import sys; print("to the log", file=sys.__stderr__)
from scmods import claim
claim("k", k, low=1)"""


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


@pytest.fixture
def in_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    return tmp_path


def test_a_run_leaves_one_complete_folder(in_folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    write_notebook(in_folder, "tiny", GOOD)
    h5ad(in_folder / "my cells.h5ad")
    given = {"dataset": "my cells.h5ad", "k": "5"}
    assert run_chapter("tiny", given, out=Path("results"), root=in_folder) == 0
    (folder,) = (in_folder / "results").iterdir()
    assert folder.name.startswith("tiny-my_cells-")
    names = {p.relative_to(folder).as_posix() for p in folder.rglob("*") if p.is_file()}
    wanted = {"notebook.ipynb", "report.html", "tables/numbers.csv", "params.json", "versions.txt", "log.txt"}
    assert wanted <= names
    assert not [n for n in names if n.endswith(".part")]
    facts_of = json.loads((folder / "params.json").read_text())
    assert facts_of["parameters"]["k"] == 5
    assert facts_of["parameters"]["dataset"] == str(in_folder / "my cells.h5ad")
    assert facts_of["given"] == ["dataset", "k"]
    assert len(facts_of["files"]["dataset"]["sha256"]) == 64
    assert f"numpy=={np.__version__}" in (folder / "versions.txt").read_text()
    assert "to the log" in (folder / "log.txt").read_text()
    assert "5 True" in (folder / "notebook.ipynb").read_text()
    assert "within [1, ...]" in (folder / "report.html").read_text(encoding="utf-8")
    out = capsys.readouterr().out
    assert f"open {folder / 'report.html'}" in out


def test_a_failed_run_says_so_in_its_name_and_last_lines(in_folder: Path, capsys) -> None:
    write_notebook(in_folder, "tiny", "x = 1", 'raise KeyError("no labels")')
    h5ad(in_folder / "a.h5ad")
    assert run_chapter("tiny", {"dataset": "a.h5ad"}, out=Path("r"), root=in_folder) == 1
    (folder,) = (in_folder / "r").iterdir()
    assert folder.name.endswith(".failed")
    assert (folder / "notebook.failed.ipynb").is_file()
    assert not (folder / "notebook.ipynb").exists()
    assert not (folder / "report.html").exists()
    lines = capsys.readouterr().out.splitlines()
    assert lines[-3].startswith("FAILED in code cell 3 of 3: KeyError: 'no labels'")
    assert lines[-2].startswith("What to do: ")
    assert "python -m scmods check" in lines[-2]
    assert str(folder) in lines[-1]


def hear_ctrl_c() -> None:
    """A suite that runs in the background has it ignored, and would hand that down."""
    signal.signal(signal.SIGINT, signal.SIG_DFL)


@pytest.mark.skipif(os.name == "nt", reason="sends a POSIX signal")
def test_ctrl_c_leaves_a_usable_folder(in_folder: Path) -> None:
    path = write_notebook(in_folder, "tiny", 'print("first part")', "import time\ntime.sleep(100)")
    call = [sys.executable, "-m", "scmods", "run", str(path), "-o", "r"]
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True}
    with subprocess.Popen(call, **pipes, preexec_fn=hear_ctrl_c) as process:
        deadline = time.monotonic() + 60
        finished = False
        while time.monotonic() < deadline and not finished:
            finished = any("first part\\n" in p.read_text() for p in (in_folder / "r").rglob("*.part"))
            time.sleep(0.2)
        assert finished
        os.kill(process.pid, signal.SIGINT)
        out, _ = process.communicate(timeout=30)
    assert process.returncode == 130
    (folder,) = (in_folder / "r").iterdir()
    assert folder.name.endswith(".failed")
    assert "first part\\n" in (folder / "notebook.failed.ipynb").read_text()
    assert "STOPPED. What was finished is in" in out


def test_a_broken_report_leaves_a_failed_folder(in_folder: Path, monkeypatch) -> None:
    def broken(*_: object) -> None:
        raise OSError("no space left")

    write_notebook(in_folder, "tiny", "x = 1")
    monkeypatch.setattr(own_data.execute, "run", lambda *_, **__: {"ok": True, "error": None})
    monkeypatch.setattr(own_data, "_report", broken)
    with pytest.raises(OSError, match="no space left"):
        run_chapter("tiny", {}, out=Path("r"), root=in_folder)
    assert [p.name.rpartition(".")[2] for p in (in_folder / "r").iterdir()] == ["failed"]


@pytest.mark.parametrize(
    ("chapter", "given", "kind", "text"),
    [
        (
            "tiny",
            {"datset": "a"},
            ParameterError,
            "tiny.ipynb has no parameter 'datset'. Did you mean 'dataset'",
        ),
        ("tiny", {"k": "x"}, ParameterError, "`k` is 'x', but must be int"),
        ("tinny", {}, OwnDataError, "no chapter 'tinny'. Did you mean 'tiny'\\? There are: tiny"),
        (
            "tiny",
            {"dataset": "b.h5ad"},
            OwnDataError,
            "b.h5ad does not exist.*Files of this kind there: a.h5ad",
        ),
        (
            "tiny",
            {"dataset": "pbmc86k"},
            OwnDataError,
            "neither a file nor a data set. Did you mean 'pbmc68k'",
        ),
        ("tiny", {"dataset": "x/b.h5ad"}, OwnDataError, "There is no .h5ad file there"),
    ],
)
def test_wrong_calls_end_before_anything_is_made(in_folder: Path, chapter, given, kind, text) -> None:
    write_notebook(in_folder, "tiny", "x = 1")
    (in_folder / "a.h5ad").write_bytes(b"")
    with pytest.raises(kind, match=text):
        run_chapter(chapter, given, out=Path("r"), root=in_folder)
    assert not (in_folder / "r").exists()


def test_without_the_repository_the_message_says_what_to_do(in_folder: Path) -> None:
    with pytest.raises(OwnDataError, match="no notebooks in .* clone it"):
        chapters(in_folder)
    path = write_notebook(in_folder, "tiny", "x = 1")
    assert find_chapter("notebooks/tiny.ipynb", in_folder) == path.resolve()
    assert find_chapter("tiny", in_folder) == path


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
        ("amici", {"matrices": {"X": "NaN"}}, "no expression: adata.X holds no usable numbers"),
        ("amici", {"labels": {"library_id": 2}}, "no types: sc.pp.neighbors(adata); sc.tl.leiden(adata)"),
        ("amici", {"missing_labels": ["type"]}, "adata = adata[adata.obs['type'].notna()].copy()"),
        ("smoother", {"spatial": []}, "no spatial: adata.obsm['spatial'] ="),
        ("smoother", {"matrices": {"X": "empty"}}, "no expression: adata.X holds no usable numbers"),
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
        ("scyan", {"matrices": {"X": "NaN"}}, "no expression: adata.X holds no usable numbers"),
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


def test_a_good_file_gives_the_command_with_its_keys(tmp_path: Path) -> None:
    notebook = write_notebook(tmp_path, "bmlp", "x = 1")
    found = FileFacts(9, 4, {"X": "log"}, {"cell_type": 3}, [])
    lines, usable = report(Path("my.h5ad"), found, {"bmlp": notebook})
    assert usable
    assert lines[-2:] == [
        "bmlp        runs",
        "    python -m scmods run bmlp -p dataset=my.h5ad -p cluster_key=cell_type",
    ]


def test_a_file_with_both_kinds_of_transcripts_gives_the_command_of_hopfield(tmp_path: Path) -> None:
    notebook = write_notebook(tmp_path, "hopfield", "x = 1")
    matrices = {"X": "scaled", "Spliced": "counts", "Unspliced": "counts"}
    found = FileFacts(9, 4, matrices, {"cell_type": 3}, [])
    lines, usable = report(Path("my.h5ad"), found, {"hopfield": notebook})
    assert usable
    assert lines[-2:] == [
        "hopfield    runs",
        "    python -m scmods run hopfield -p dataset=my.h5ad -p cluster_key=cell_type",
    ]
    source = (
        PARAMETERS
        + '\nspliced_layer: str = "spliced"  # counts\nunspliced_layer: str = "unspliced"  # counts'
    )
    content = json.loads(notebook.read_text())
    content["cells"][1]["source"] = source
    notebook.write_text(json.dumps(content))
    assert report(Path("my.h5ad"), found, {"hopfield": notebook})[0][-1] == (
        "    python -m scmods run hopfield -p dataset=my.h5ad -p cluster_key=cell_type"
        " -p spliced_layer=Spliced -p unspliced_layer=Unspliced"
    )


@pytest.mark.parametrize(
    ("matrices", "labels", "given"),
    [
        (
            {"Ms": "normalised", "Mu": "normalised", "velocity": "scaled"},
            {},
            "spliced_layer=Ms velocity_layer=velocity",
        ),
        (
            {"spliced": "counts", "Ms": "normalised", "velocity": "NaN"},
            {"kind": 2},
            "cluster_key=kind spliced_layer=Ms velocity_layer=velocity",
        ),
        ({"spliced": "counts", "unspliced": "counts", "Ms": "log", "velocity": "NaN"}, {}, ""),
    ],
    ids=["scvelo", "no unspliced", "all"],
)
def test_a_velocity_of_another_tool_serves_where_counts_are_gone(
    tmp_path: Path, matrices, labels, given
) -> None:
    source = 'dataset: str = "toy"  # data\ncluster_key: str = ""  # labels\nspliced_layer: str = "spliced"  # counts\n'
    source += 'velocity_layer: str = ""  # computed elsewhere'
    notebook = write_notebook(tmp_path, "hopfield", "x = 1")
    content = json.loads(notebook.read_text())
    content["cells"][1]["source"] = source
    notebook.write_text(json.dumps(content))
    lines, usable = report(Path("my.h5ad"), FileFacts(9, 4, matrices, labels, []), {"hopfield": notebook})
    assert usable
    words = ["dataset=my.h5ad", *given.split()]
    assert lines[-1] == "    python -m scmods run hopfield " + " ".join(f"-p {w}" for w in words)


@pytest.mark.parametrize(
    ("matrices", "labels", "given"),
    [
        ({"X": "counts"}, {}, ""),
        ({"X": "log", "Counts": "counts"}, {"cell_type": 3}, "label_key=cell_type layer=Counts"),
        ({"X": "log", "spliced": "counts"}, {"Slide": 2}, "library_key=Slide"),
        (
            {"X": "counts", "counts": "counts"},
            {"leiden": 3, "library_id": 2},
            "label_key=leiden library_key=library_id",
        ),
    ],
    ids=["plain", "layer", "section", "both"],
)
def test_a_tissue_gives_the_command_of_smoother(tmp_path: Path, matrices, labels, given) -> None:
    source = 'dataset: str = "toy"  # data\nspatial_key: str = "spatial"  # positions\nlabel_key: str = ""  # regions\n'
    source += 'library_key: str = ""  # sections\nlayer: str = ""  # counts'
    notebook = write_notebook(tmp_path, "smoother", "x = 1")
    content = json.loads(notebook.read_text())
    content["cells"][1]["source"] = source
    notebook.write_text(json.dumps(content))
    found = FileFacts(9, 4, matrices, labels, ["spatial"])
    lines, usable = report(Path("my.h5ad"), found, {"smoother": notebook})
    assert usable
    words = ["dataset=my.h5ad", *given.split()]
    assert lines[-1] == "    python -m scmods run smoother " + " ".join(f"-p {w}" for w in words)


@pytest.mark.parametrize(
    ("changes", "given"),
    [
        ({}, ""),
        ({"labels": {"Slide": 2, "kind": 4}}, "cluster_key=kind library_key=Slide"),
        ({"matrices": {"X": "scaled", "log1p": "log", "counts": "counts"}}, "layer=log1p"),
        ({"matrices": {"X": "scaled", "raw": "counts"}}, "layer=raw"),
        ({"matrices": {"X": "counts", "log1p": "log"}}, ""),
        ({"spatial": ["xy"]}, "spatial_key=xy"),
    ],
    ids=["plain", "sections", "logged layer", "counts", "counts in X", "positions"],
)
def test_cells_of_a_tissue_give_the_command_of_amici(tmp_path: Path, changes, given) -> None:
    source = 'dataset: str = "toy"  # data\ncluster_key: str = "cell_type"  # types\n'
    source += 'spatial_key: str = "spatial"  # positions\nlibrary_key: str = ""  # sections\nlayer: str = ""  # values'
    notebook = write_notebook(tmp_path, "amici", "x = 1")
    content = json.loads(notebook.read_text())
    content["cells"][1]["source"] = source
    notebook.write_text(json.dumps(content))
    base = {
        "cells": 9,
        "genes": 4,
        "matrices": {"X": "log"},
        "labels": {"cell_type": 3},
        "spatial": ["spatial"],
    }
    lines, usable = report(Path("my.h5ad"), FileFacts(**base | changes), {"amici": notebook})
    assert usable
    words = ["dataset=my.h5ad", *given.split()]
    assert lines[-1] == "    python -m scmods run amici " + " ".join(f"-p {w}" for w in words)


@pytest.mark.parametrize(
    ("changes", "given"),
    [
        ({"matrices": {"X": "scaled"}, "largest": {"X": 9.0}}, ""),
        ({"matrices": {"X": "counts"}, "largest": {"X": 900.0}}, "transform=asinh"),
        ({"matrices": {"X": "scaled"}, "largest": {"X": 2e5}}, "transform=logicle"),
        ({"matrices": {"X": "empty", "values": "scaled"}, "largest": {"values": 9.0}}, "layer=values"),
        ({"labels": {"leiden": 3, "Batch": 2}}, "batch_key=Batch"),
        ({"labels": {"gate": 3}, "populations": "gate"}, "label_key=gate"),
        ({"labels": {"cell_type": 3}, "populations": "cell_type"}, "label_key=cell_type"),
    ],
    ids=["ready", "mass", "flow", "layer", "batch", "truth", "own name"],
)
def test_cells_with_a_table_give_the_command_of_scyan(tmp_path: Path, changes, given) -> None:
    source = 'dataset: str = "toy"  # data\nlabel_key: str = ""  # truth\nbatch_key: str = ""  # batches\n'
    source += 'layer: str = ""  # values\ntransform: str = "none"  # of raw intensities'
    notebook = write_notebook(tmp_path, "scyan", "x = 1")
    content = json.loads(notebook.read_text())
    content["cells"][1]["source"] = source
    notebook.write_text(json.dumps(content))
    base = {
        "cells": 9,
        "genes": 4,
        "matrices": {"X": "scaled"},
        "labels": {},
        "spatial": [],
        "table": ["T", "B"],
    }
    lines, usable = report(Path("my.h5ad"), FileFacts(**base | changes), {"scyan": notebook})
    assert usable
    assert any(re.fullmatch(r"marker table +uns\['table'\] \(2 populations\)", line) for line in lines)
    words = ["dataset=my.h5ad", *given.split()]
    assert lines[-1] == "    python -m scmods run scyan " + " ".join(f"-p {w}" for w in words)


def test_a_table_is_asked_for_and_labels_of_other_data_are_switched_off(tmp_path: Path) -> None:
    notebook = write_notebook(tmp_path, "scyan", "x = 1")
    content = json.loads(notebook.read_text())
    content["cells"][1]["source"] = (
        'dataset: str = "toy"  # data\ntable: str = ""  # CSV\nlabel_key: str = "cell_type"  # truth'
    )
    notebook.write_text(json.dumps(content))
    found = FileFacts(9, 4, {"X": "scaled"}, {"leiden": 3}, [])
    lines, usable = report(Path("my.h5ad"), found, {"scyan": notebook})
    assert not usable
    assert lines[-1] == "    python -m scmods run scyan -p dataset=my.h5ad -p table=table.csv -p label_key="
    found.labels["cell_type"], found.table, found.populations = 3, ["T"], "cell_type"
    assert report(Path("my.h5ad"), found, {"scyan": notebook})[0][-1].endswith("-p dataset=my.h5ad")


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


def test_a_missing_table_ends_the_call_before_anything_is_made(in_folder: Path) -> None:
    write_notebook(in_folder, "tiny", "x = 1")
    h5ad(in_folder / "a.h5ad")
    (in_folder / "table.csv").write_text("a")
    given = {"dataset": "a.h5ad", "cluster_key": "tabel.csv"}
    with pytest.raises(
        OwnDataError, match="tabel.csv does not exist.*there: table.csv. Did you mean 'table.csv'"
    ):
        run_chapter("tiny", given, out=Path("r"), root=in_folder)
    assert not (in_folder / "r").exists()


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
    [(None, "does not exist"), (b"text", "is not an .h5ad file. Read it with the scanpy reader")],
)
def test_unreadable_files_are_named(tmp_path: Path, capsys, content, text) -> None:
    path = tmp_path / "x.h5ad"
    if content is not None:
        path.write_bytes(content)
    assert inspect_file.check_file(path) == 2
    assert text in capsys.readouterr().err


def test_an_hdf5_file_without_anndata_is_named(tmp_path: Path) -> None:
    import h5py

    with h5py.File(tmp_path / "x.h5", "w") as file:
        file["a"] = [1]
    with pytest.raises(OwnDataError, match="holds no AnnData: `obs` or `var` is missing"):
        facts(tmp_path / "x.h5")
