"""What lies in the zip for participants, and that it is packed the same way each time."""

from __future__ import annotations

import io
import zipfile
from pathlib import Path

import pytest

from scmods._book import handout
from scmods._book.content_key import HOME
from scmods._book.examples import write_example
from scmods._book.handout import Handout, members, packed


def test_the_package_is_whole_and_free_of_rubbish(tmp_path: Path) -> None:
    names = set(members([], HOME))
    assert {"README.txt", "check_setup.py", "package/pyproject.toml", "package/constraints.txt"} <= names
    assert {"package/README.md", "package/LICENSE", "package/scmods/datasets/registry.csv"} <= names
    modules = {f"package/{p.relative_to(HOME).as_posix()}" for p in (HOME / "scmods").rglob("*.py")}
    assert modules <= names
    assert any(name.startswith("package/scmods/_book/static/") for name in names)
    assert not [n for n in names if n.endswith((".pyc", ".part")) or "__pycache__" in n]
    assert not [n for n in names if n.startswith("package/notebooks")], "the sources hold the solutions"


def test_equal_files_give_equal_bytes_in_any_order() -> None:
    files = {"b.txt": b"2", "a.txt": b"1"}
    content = packed(files)
    assert content == packed(dict(reversed(files.items())))
    assert content != packed(files | {"a.txt": b"3"})
    with zipfile.ZipFile(io.BytesIO(content)) as archive:
        assert archive.namelist() == ["scmods-workshop/a.txt", "scmods-workshop/b.txt"]


def test_line_ends_of_another_system_change_nothing(tmp_path: Path) -> None:
    (tmp_path / "scmods" / "_book").mkdir(parents=True)
    for name in ("scmods/_book/setup_check.py", "README.md"):
        (tmp_path / name).write_bytes(b"one\r\ntwo\r\n")
    found = members([], tmp_path)
    assert found["check_setup.py"] == found["package/README.md"] == b"one\ntwo\n"


def test_files_go_where_the_readme_says(tmp_path: Path) -> None:
    for name in ("a.h5", "a.h5ad", "a_table.csv"):
        (tmp_path / name).write_bytes(b"x")
    one = Handout("a", {"cells": []}, {"02_x": {"cells": []}}, sorted(tmp_path.iterdir()))
    names = {n for n in members([one], HOME) if not n.startswith("package/")}
    assert names == {
        "README.txt", "check_setup.py", "notebooks/a.ipynb", "start_at/a_02_x.ipynb", "start_at/a.h5",
        "data/a.h5ad", "data/a_table.csv",
    }  # fmt: skip
    for folder in ("notebooks/", "start_at/", "data/", "package/", "check_setup.py"):
        assert f"    {folder}" in handout.README


@pytest.mark.parametrize("chapter", ["scyan"])
def test_an_example_can_be_read_again(tmp_path: Path, chapter: str) -> None:
    from scmods import datasets, scyan

    files = write_example(chapter, "cytometry", tmp_path)
    assert [p.name for p in files] == ["scyan.h5ad", "scyan_table.csv"]
    cells = datasets.load(str(files[0]))
    assert "table" not in cells.uns
    made = scyan.prepare(cells, str(files[1]))
    assert made.uns["table"].equals(scyan.prepare(datasets.load("cytometry")).uns["table"])
    again = write_example(chapter, "cytometry", tmp_path / ".." / tmp_path.name)
    assert [p.read_bytes() for p in again] == [p.read_bytes() for p in files], "the same bytes each time"
    assert len(list(tmp_path.iterdir())) == 2
