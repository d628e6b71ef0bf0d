"""The command that the check of a file proposes: its parameters, and that it can be copied."""

from __future__ import annotations

import json
import re
import shlex
from pathlib import Path

import pytest

from scmods._book import inspect_file
from scmods._book.inspect_file import FileFacts, report

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


@pytest.mark.parametrize(
    ("pair", "word"),
    [
        ("a=b", "a=b"),
        ("k=a b", '"k=a b"'),
        ("k=L2/3", "k=L2/3"),
        ("k=a;b", '"k=a;b"'),
        ("k=Région", '"k=Région"'),
        ("k=$x", "'k=$x'"),
        ('k="x"', "'k=\"x\"'"),
    ],
)
def test_words_of_the_command_survive_a_shell(monkeypatch, pair: str, word: str) -> None:
    monkeypatch.setattr(inspect_file.os, "name", "posix")
    assert inspect_file._quoted(pair) == word
    assert shlex.split(word) == [pair]


@pytest.mark.parametrize(
    ("pair", "word"),
    [
        ("a=C:\\my\\x.h5ad", "a=C:\\my\\x.h5ad"),
        ("k=a b", '"k=a b"'),
        ("k=a&b", '"k=a&b"'),
        ("k=$x", '"k=$x"'),
        ("a=C:\\my data\\", '"a=C:\\my data\\\\"'),
        ('k=a "x"', '"k=a \\"x\\""'),
    ],
)
def test_words_of_the_command_survive_windows(monkeypatch, pair: str, word: str) -> None:
    with monkeypatch.context() as patch:
        patch.setattr(inspect_file.os, "name", "nt")
        made = inspect_file._quoted(pair)
    assert made == word


def test_a_long_command_goes_on_in_the_next_line(monkeypatch) -> None:
    command = "    python -m scmods run bmlp " + " ".join(f"-p name{i}={'v' * 20}" for i in range(6))
    monkeypatch.setattr(inspect_file.os, "name", "posix")
    lines = inspect_file._narrow(command)
    assert len(lines) == 3
    assert max(map(len, lines)) <= 100
    assert shlex.split("\n".join(lines).replace("\\\n", " ")) == shlex.split(command)
    monkeypatch.setattr(inspect_file.os, "name", "nt")
    assert inspect_file._narrow(command) == [command]


def test_few_genes_ask_for_short_modules(tmp_path: Path) -> None:
    notebook = write_notebook(tmp_path, "bmlp", "x = 1")
    content = json.loads(notebook.read_text())
    content["cells"][1]["source"] = 'dataset: str = "toy"  # data\nn_genes: int = 50  # of a module'
    notebook.write_text(json.dumps(content))
    for genes, words in ((100, ""), (99, " -p n_genes=24"), (2, " -p n_genes=1")):
        lines, _ = report(
            Path("my.h5ad"), FileFacts(9, genes, {"X": "log"}, {"type": 3}, []), {"bmlp": notebook}
        )
        assert lines[-1] == "    python -m scmods run bmlp -p dataset=my.h5ad" + words
