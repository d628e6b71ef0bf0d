"""Wrong parameters stop before anything slow: by the command, or by the checks cell of the notebook.

Every message has the name of the parameter or of the slot, the value, the nearest name where one is near, and what is
there. No time is measured: what must not run before the error is what is tested.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import anndata as ad
import numpy as np
import pandas as pd
import pytest

from scmods._book import execute, limits, notebook_file
from scmods._book.own_data import OwnDataError, chapters, plan, run_chapter
from scmods._book.params import ParameterError, parameters, resolve

MARKERS = [f"CD{i}" for i in range(1, 13)]
CHAPTERS = ("amici", "bmlp", "hopfield", "scyan", "smoother")


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with one file that every chapter can read, and the table of its markers."""
    made = tmp_path_factory.mktemp("wrong")
    rng = np.random.default_rng(0)
    counts = rng.poisson(2.0, (60, 12)).astype(np.float32)
    adata = ad.AnnData(counts, layers={"counts": counts, "spliced": counts, "unspliced": counts})
    adata.obs_names = [f"cell{i}" for i in range(60)]
    adata.var_names = MARKERS
    adata.obs["cell_type"] = pd.Categorical(np.array(["T", "B", "NK"])[np.arange(60) % 3])
    adata.obs["batch"] = pd.Categorical(np.array(["one", "two"])[np.arange(60) % 2])
    adata.obsm["spatial"] = rng.uniform(0, 100, (60, 2))
    adata.obsm["X_pca"] = rng.normal(size=(60, 3))
    signs = np.where(rng.random((3, 12)) < 0.5, -1.0, 1.0)
    table = pd.DataFrame(signs, index=["T", "B", "NK"], columns=MARKERS)
    adata.uns["table"] = table
    adata.write_h5ad(made / "cells.h5ad")
    table.to_csv(made / "table.csv")
    return made


# what the command refuses: chapter, parameters besides the data set, and what the message must hold
COMMAND = [
    # misspelt names
    (
        "amici",
        {"n_neigbors": "5"},
        "amici.ipynb has no parameter 'n_neigbors'",
        "'n_neighbors'",
        "It takes: dataset",
    ),
    (
        "bmlp",
        {"cluster_keys": "x"},
        "bmlp.ipynb has no parameter 'cluster_keys'",
        "'cluster_key'",
        "It takes: data",
    ),
    (
        "hopfield",
        {"spliced_leyer": "x"},
        "has no parameter 'spliced_leyer'",
        "'spliced_layer'",
        "It takes: dataset",
    ),
    (
        "scyan",
        {"tabel": "x.csv"},
        "scyan.ipynb has no parameter 'tabel'",
        "Did you mean 'table'?",
        "It takes: data",
    ),
    (
        "smoother",
        {"n_gene": "5"},
        "smoother.ipynb has no parameter 'n_gene'",
        "'n_genes'",
        "It takes: dataset",
    ),
    # wrong types
    ("amici", {"restarts": "two"}, "Parameter `restarts` is 'two'", "must be int", "for instance 10"),
    ("amici", {"harder": "perhaps"}, "Parameter `harder` is 'perhaps'", "must be bool", "true or false"),
    ("bmlp", {"n_comps": "2.5"}, "Parameter `n_comps` is '2.5'", "must be int", "for instance 10"),
    ("hopfield", {"evidence": "2"}, "Parameter `evidence` is '2'", "must be bool", "true or false"),
    ("scyan", {"penalty": "strong"}, "Parameter `penalty` is 'strong'", "must be float", "for instance 0.5"),
    ("scyan", {"original": "yes"}, "Parameter `original` is 'yes'", "must be bool", "true or false"),
    ("smoother", {"rho": "high"}, "Parameter `rho` is 'high'", "must be float", "for instance 0.5"),
    # wrong choices
    (
        "bmlp",
        {"gene_sets": "halmark"},
        "Parameter `gene_sets` is 'halmark'",
        "'hallmark'",
        "markers, hallmark, go_bp",
    ),
    ("bmlp", {"device": "gpu"}, "Parameter `device` is 'gpu'", "cpu, cuda, mps, auto", "-p device=cpu"),
    (
        "hopfield",
        {"device": "cdua"},
        "Parameter `device` is 'cdua'",
        "Did you mean 'cuda'?",
        "cpu, cuda, mps",
    ),
    (
        "hopfield",
        {"circuits": "dyngen_cicle"},
        "`circuits` is 'dyngen_cicle'",
        "'dyngen_cycle'",
        "dyngen_linear",
    ),
    (
        "scyan",
        {"transform": "arcsinh"},
        "Parameter `transform` is 'arcsinh'",
        "'asinh'",
        "none, asinh, logicle",
    ),
    ("scyan", {"coding": "symbol"}, "Parameter `coding` is 'symbol'", "'symbols'", "signed, symbols, binary"),
    (
        "smoother",
        {"prior": "icra"},
        "Parameter `prior` is 'icra'",
        "Did you mean 'icar'?",
        "icar, car, sar, isar",
    ),
    # numbers out of range
    ("amici", {"n_folds": "1"}, "Parameter `n_folds` is 1", "must be at least 2", "-p n_folds=3"),
    ("bmlp", {"n_seeds": "1"}, "Parameter `n_seeds` is 1", "must be at least 2", "-p n_seeds=2"),
    ("bmlp", {"seed": "-1"}, "Parameter `seed` is -1", "from 0 to", "-p seed=0"),
    ("hopfield", {"ridge": "-0.1"}, "Parameter `ridge` is -0.1", "must be at least 0", "-p ridge=0.3"),
    (
        "scyan",
        {"background": "2"},
        "Parameter `background` is 2.0",
        "must be from 0 to 1",
        "-p background=0.02",
    ),
    ("smoother", {"rho": "1.5"}, "Parameter `rho` is 1.5", "must be from -1 to 1", "-p rho=0.99"),
    ("smoother", {"rho": "nan"}, "Parameter `rho` is nan", "must be from -1 to 1", "-p rho=0.99"),
    # columns, layers and positions that the file does not have
    (
        "amici",
        {"cluster_key": "cel_type"},
        "`cluster_key` is 'cel_type'",
        "'cell_type'",
        "['cell_type', 'batch']",
    ),
    (
        "amici",
        {"library_key": "slide"},
        "`library_key` is 'slide'",
        "-p library_key= if",
        "['cell_type', 'batch']",
    ),
    ("amici", {"spatial_key": "spacial"}, "`spatial_key` is 'spacial'", "'spatial'?", "['X_pca', 'spatial']"),
    ("amici", {"layer": "count"}, "`layer` is 'count'", "'counts'?", "['counts', 'spliced', 'unspliced']"),
    (
        "bmlp",
        {"cluster_key": ""},
        "`cluster_key` is ''",
        "must be a name, not empty",
        "-p cluster_key=cell_type",
    ),
    (
        "bmlp",
        {"layer": "lognorm"},
        "`layer` is 'lognorm'",
        "-p layer= if",
        "['counts', 'spliced', 'unspliced']",
    ),
    ("bmlp", {"target": "X_pcs"}, "`target` is 'X_pcs'", "'X_pca'?", "['X_pca', 'spatial']"),
    (
        "hopfield",
        {"cluster_key": "celltype"},
        "`cluster_key` is 'celltype'",
        "'cell_type'?",
        "['cell_type', 'batch']",
    ),
    ("hopfield", {"spliced_layer": "splice"}, "`spliced_layer` is 'splice'", "'spliced'?", "'unspliced'"),
    (
        "hopfield",
        {"unspliced_layer": "intron"},
        "`unspliced_layer` is 'intron'",
        "python -m scmods check",
        "'spliced'",
    ),
    (
        "scyan",
        {"label_key": "cell_typ"},
        "`label_key` is 'cell_typ'",
        "'cell_type'?",
        "['cell_type', 'batch']",
    ),
    ("scyan", {"batch_key": "batches"}, "`batch_key` is 'batches'", "'batch'?", "['cell_type', 'batch']"),
    ("scyan", {"layer": "raw"}, "`layer` is 'raw'", "-p layer= if", "['counts', 'spliced', 'unspliced']"),
    (
        "smoother",
        {"label_key": "zone"},
        "`label_key` is 'zone'",
        "-p label_key= if",
        "['cell_type', 'batch']",
    ),
    (
        "smoother",
        {"spatial_key": "pos", "label_key": ""},
        "`spatial_key` is 'pos'",
        "check",
        "['X_pca', 'spatial']",
    ),
    # data sets and files
    ("amici", {"dataset": "semisyntetic"}, "`dataset`: 'semisyntetic'", "'semisynthetic'?", "osmfish"),
    ("bmlp", {"dataset": "pmbc68k"}, "`dataset`: 'pmbc68k'", "'pbmc68k'?", "paul15_240"),
    (
        "hopfield",
        {"dataset": "cell.h5ad"},
        "`dataset`: the file cell.h5ad does not exist",
        "'cells.h5ad'?",
        "there: c",
    ),
    (
        "scyan",
        {"table": "tables.csv"},
        "`table`: the file tables.csv does not exist",
        "'table.csv'?",
        "there: table",
    ),
    ("scyan", {"table": "mine"}, "`table` is 'mine'", "a file that exists, or empty", "Working folder"),
    ("smoother", {"dataset": "tissues"}, "`dataset`: 'tissues'", "'tissue'?", "dlpfc_151673"),
]

# what the checks cell refuses, since it depends on the data
NOTEBOOK = [
    ("amici", {"spatial_key": "spacial"}, "`adata.obsm['spacial']`", "'spatial'", "'X_pca'"),
    ("amici", {"library_key": "batches"}, "`adata.obs['batches']`", "'batch'", "'cell_type'"),
    ("amici", {"n_neighbors": 59}, "n_neighbors", "59", ""),
    ("amici", {"merge": "Lymph: T, B"}, "'Lymph: T, B'", "of the form 'Broad = part", ""),
    ("amici", {"merge": "Lymph = mono"}, "'Lymph = mono'", "meets no label", "['B', 'NK', 'T']"),
    ("bmlp", {"cluster_key": "cel_type"}, "`adata.obs['cel_type']`", "'cell_type'", "'batch'"),
    ("bmlp", {"n_neighbors": 60, "n_genes": 5}, "`n_neighbors` is 60", "at most 59", ""),
    ("bmlp", {"n_genes": 50}, "`n_genes` is 50", "at most 6", "must fit into the genes"),
    ("bmlp", {"target": "X_pcs", "n_genes": 5}, "`adata.obsm['X_pcs']`", "'X_pca'", "'spatial'"),
    ("hopfield", {"regulators": "CD1, CD33"}, "1 of 2 regulators", "['CD33']", "Did you mean 'CD3'?"),
    ("hopfield", {"n_neighbors": 60}, "`n_neighbors` is 60", "at most 59", ""),
    ("hopfield", {"spliced_layer": "splice"}, "`adata.layers['splice']`", "'spliced'", "'unspliced'"),
    ("scyan", {"label_key": "cell_typ"}, "cell_typ", "'cell_type'", "batch"),
    ("scyan", {"label_key": "batch"}, "adata.obs['batch']", "is a population of the table", "['one', 'two']"),
    ("scyan", {"table": "typo.csv"}, "'CD8a'", "'CD8'", "table.drop(columns='CD8a')"),
    (
        "smoother",
        {"label_key": "", "spatial_key": "spacial"},
        "`adata.obsm['spacial']`",
        "'spatial'",
        "'X_pca'",
    ),
    ("smoother", {"label_key": "", "n_neighbors": 60}, "`n_neighbors` is 60", "at most 59", ""),
    ("smoother", {"label_key": "celltype"}, "`adata.obs['celltype']`", "'cell_type'", "'batch'"),
]


def cases(rows: list[tuple]) -> list[Any]:
    return [pytest.param(*row[:2], row[2:], id=f"{row[0]}-{next(iter(row[1].items()))[0]}") for row in rows]


@pytest.mark.parametrize(("chapter", "given", "texts"), cases(COMMAND))
def test_the_command_refuses(chapter: str, given, texts, folder: Path, monkeypatch, tmp_path: Path) -> None:
    def started(*_: object, **__: object) -> None:
        pytest.fail("a kernel was started")

    monkeypatch.chdir(folder)
    monkeypatch.setattr(execute, "run", started)
    with pytest.raises((ParameterError, OwnDataError)) as refusal:
        run_chapter(chapter, {"dataset": "cells.h5ad"} | given, out=tmp_path / "r")
    for text in texts:
        assert text in str(refusal.value)
    assert not (tmp_path / "r").exists()


def first_error(chapter: str, given: dict[str, Any]) -> tuple[str, Exception | None]:
    """Run the code cells as papermill would, up to the checks; the cell and the error that stopped it."""
    notebook = notebook_file.read(chapters()[chapter])
    names: dict[str, Any] = {"__name__": "__main__"}
    for cell in notebook_file.code(notebook):
        source = cell["source"]
        try:
            exec(compile(source, f"{chapter} cell", "exec"), names)
        except (ValueError, TypeError, KeyError, OSError) as error:
            return source, error
        if "parameters" in notebook_file.tags(cell):
            names.update(resolve(notebook, given))
        if "check_input(" in source:
            return source, None
    pytest.fail(f"{chapter} has no cell of checks")


@pytest.mark.parametrize(("chapter", "given", "texts"), cases(NOTEBOOK))
@pytest.mark.filterwarnings("ignore")
def test_the_checks_of_the_notebook_refuse(chapter: str, given, texts, folder: Path, monkeypatch) -> None:
    monkeypatch.chdir(folder)
    table = pd.read_csv("table.csv", index_col=0).rename(columns={"CD8": "CD8a"})
    table.to_csv("typo.csv")
    source, error = first_error(chapter, {"dataset": str(folder / "cells.h5ad")} | given)
    assert error is not None, "the checks let it through"
    assert ".fit(" not in source
    for text in texts:
        assert text in str(error)


@pytest.mark.parametrize("chapter", CHAPTERS)
def test_a_chapter_has_eight_cases_and_they_are_of_many_kinds(chapter: str) -> None:
    assert len([c for c in COMMAND if c[0] == chapter]) >= 8
    assert len([c for c in NOTEBOOK if c[0] == chapter]) >= 3
    assert chapter in chapters()


@pytest.mark.parametrize("chapter", CHAPTERS)
def test_every_number_has_limits_and_every_default_keeps_them(chapter: str) -> None:
    known = parameters(chapters()[chapter])
    numbers = {p.name for p in known.values() if p.type in ("int", "float")} - {"seed"}
    assert numbers <= set(limits.LIMITS[chapter])
    assert set(limits.LIMITS[chapter]) <= set(known)
    limits.check_values(chapter, known, {p.name: p.default for p in known.values()})


def test_runs_of_the_book_keep_the_limits() -> None:
    from scmods._book.content_key import HOME
    from scmods._book.run_list import read_runs

    for run in read_runs(HOME):
        notebook = chapters()[run.notebook.removesuffix(".ipynb")]
        limits.check_values(notebook.stem, parameters(notebook), resolve(notebook, run.parameters))


def test_limits_are_told_in_words() -> None:
    assert limits.in_words("amici", "n_folds") == "at least 2"
    assert limits.in_words("smoother", "prior") == "one of icar, car, sar, isar"
    assert limits.in_words("scyan", "background") == "from 0 to 1"
    assert limits.in_words("scyan", "table") == limits.in_words("amici", "seed") == ""


def test_what_the_limits_leave_free_passes(folder: Path, monkeypatch) -> None:
    monkeypatch.chdir(folder)
    (folder / "own.gmt").write_text("set\tx\tCD1\tCD2\n")
    data = {"dataset": "cells.h5ad"}
    assert plan("bmlp", data | {"gene_sets": "own.gmt", "device": "cuda:1"}).given["device"] == "cuda:1"
    assert plan("hopfield", data | {"circuits": "toggle, dyngen_cycle", "velocity_layer": "spliced"}).values
    assert plan("scyan", data | {"table": "table.csv"}).given["table"] == str(folder / "table.csv")
    with pytest.raises(OwnDataError, match=r"the file other.gmt does not exist.*own.gmt"):
        plan("bmlp", data | {"gene_sets": "other.gmt"})
