"""The command line: exit status, refusals before anything heavy is imported, overview and set-up check."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest

import scmods.__main__ as cli
from scmods import datasets
from scmods._book import overview, own_data, setup_check
from scmods._book.params import parameters

HEAVY = ("torch", "scanpy", "anndata", "pandas", "papermill", "plotly", "lightning")
NOTEBOOK = """{"cells": [
 {"cell_type": "markdown", "metadata": {}, "id": "a", "source": ["# Tiny chapter\\n", "words"]},
 {"cell_type": "code", "metadata": {"tags": ["parameters"]}, "id": "b", "outputs": [],
  "execution_count": null,
  "source": ["dataset: str = \\"toy\\"  # name of the data\\n", "k: int = 3  # how many"]}],
 "metadata": {}, "nbformat": 4, "nbformat_minor": 5}"""


@pytest.fixture
def notebook(tmp_path: Path) -> Path:
    path = tmp_path / "notebooks" / "tiny.ipynb"
    path.parent.mkdir()
    path.write_text(NOTEBOOK, encoding="utf-8")
    return path


@pytest.mark.parametrize(
    ("arguments", "text"),
    [
        (["-p", "datset=x"], "error: tiny.ipynb has no parameter 'datset'. Did you mean 'dataset'?"),
        (["-p", "k", "many"], "error: Parameter `k` is 'many', but must be int"),
        (["-p", "k"], "error: `-p k` is not understood at 'k'"),
        (["-p", "dataset=none.h5ad"], "error: Parameter `dataset`: the file none.h5ad does not exist"),
    ],
)
def test_wrong_runs_end_with_status_two(notebook: Path, capsys, arguments: list[str], text: str) -> None:
    assert cli.main(["run", str(notebook), *arguments, "-o", str(notebook.parent / "r")]) == 2
    assert text in capsys.readouterr().err
    assert not (notebook.parent / "r").exists()


def test_a_misspelt_parameter_is_refused_without_heavy_imports(notebook: Path) -> None:
    code = (
        "import sys, scmods.__main__ as m\n"
        f"status = m.main(['run', {str(notebook)!r}, '-p', 'kk=3'])\n"
        f"heavy = set({HEAVY!r}) & set(sys.modules)\n"
        "print(status, sorted(heavy))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "2 []"
    assert "Did you mean 'k'?" in done.stderr


def test_the_runner_imports_nothing_heavy() -> None:
    code = f"import sys, scmods._book.matrix\nprint(sorted(set({HEAVY!r}) & set(sys.modules)))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_both_forms_of_parameters_reach_the_run(notebook: Path, monkeypatch) -> None:
    seen: dict = {}
    monkeypatch.setattr(own_data, "run_chapter", lambda name, given, **more: seen.update(given, **more) or 0)
    assert cli.main(["run", "tiny", "-p", "dataset=x", "-p", "k", "5", "--timeout", "9"]) == 0
    assert seen == {"dataset": "x", "k": "5", "out": Path("results"), "timeout": 9.0, "memory_mb": None}


def test_overview_lists_parameters_and_data(notebook: Path) -> None:
    text = overview.overview(root=notebook.parent.parent)
    assert "tiny: Tiny chapter" in text
    assert re.search(r"-p k=3 +int +how many", text)
    paul = next(line for line in text.splitlines() if line.strip().startswith("paul15_240 "))
    assert " MB " in paul
    assert "at hand" in paul or "to download" in paul
    assert "MIT" in paul
    for name in datasets.names():
        assert f"\n    {name} " in text


@pytest.mark.parametrize("chapter", ["amici", "bmlp", "hopfield", "scyan", "smoother"])
def test_one_chapter_is_listed_alone(chapter: str, capsys) -> None:
    assert cli.main(["list", chapter]) == 0
    out = capsys.readouterr().out
    assert [line for line in out.splitlines() if re.match(r"  \w+: ", line)][0].startswith(f"  {chapter}: ")
    known = parameters(own_data.chapters()[chapter])
    for p in known.values():
        line = next(line for line in out.splitlines() if line.strip().startswith(f"-p {p.name}="))
        assert f"={p.default}" in line.replace('"', "")
    assert len([line for line in out.splitlines() if line.strip().startswith("-p ")]) == len(known)
    assert max(map(len, out.splitlines())) <= 104
    table = datasets.table().set_index("name")
    for name in table.index[table["used_by"] == chapter]:
        assert f"\n    {name} " in out
    other = "mob" if chapter != "smoother" else "osmfish"
    assert f"\n    {other} " not in out


def test_a_misspelt_chapter_is_not_listed(capsys) -> None:
    assert cli.main(["list", "amigi"]) == 2
    assert "no chapter 'amigi'. Did you mean 'amici'?" in capsys.readouterr().err


def test_setup_check_is_short_and_ends_with_a_code(capsys, monkeypatch) -> None:
    good = tuple(lambda: (True, "fine", "") for _ in range(9))
    monkeypatch.setattr(setup_check, "CHECKS", good)
    assert setup_check.check_setup() == 0
    lines = capsys.readouterr().out.splitlines()
    assert len(lines) <= 20
    assert lines[-1].startswith("code for your teacher: OK-3")
    assert "-1FF-" in lines[-1]


def test_setup_check_names_the_fix_of_each_failure(capsys, monkeypatch) -> None:
    monkeypatch.setattr(setup_check, "NEEDED", ("numpy", "no-such-package"))
    monkeypatch.setattr(setup_check, "CHECKS", (setup_check._installed, setup_check._python))
    assert setup_check.check_setup() == 1
    out = capsys.readouterr().out
    assert "NO  packages: 5 of 6 installed\n    fix: missing no-such-package: pip install" in out
    assert "code for your teacher: NO-" in out


@pytest.mark.parametrize(
    ("name", "value", "check", "fix"),
    [
        ("MODULES", ("no_such_module",), "_imports", "No module named 'no_such_module'"),
        ("MEMORY_GB", 1e9, "_memory", "close programs until"),
        ("DISK_GB", 1e9, "_disk", "free 1e+09 GB"),
        ("_pins", lambda: {"numpy": "0.1"}, "_tested", "instead of 0.1"),
        ("_writable", lambda _: False, "_write", "is read-only"),
        ("HOME", Path("nowhere"), "_notebooks", "clone it"),
    ],
)
def test_each_check_can_fail(monkeypatch, name: str, value: object, check: str, fix: str) -> None:
    monkeypatch.setattr(setup_check, name, value)
    ok, _, advice = getattr(setup_check, check)()
    assert not ok
    assert fix in advice


def test_a_data_folder_that_does_not_exist_is_named(monkeypatch) -> None:
    monkeypatch.setenv("SCMODS_DATA", "/no/such/folder")
    assert setup_check._data()[::2] == (False, "SCMODS_DATA=/no/such/folder is no folder: correct it")


def test_unknown_commands_end_with_status_two() -> None:
    with pytest.raises(SystemExit) as stop:
        cli.main(["rum"])
    assert stop.value.code == 2


def test_the_command_quotes_names_with_spaces(tmp_path):
    import json

    from scmods._book.inspect_file import FileFacts, _command

    cell = {"cell_type": "code", "metadata": {"tags": ["parameters"]}, "outputs": [], "execution_count": None}
    source = 'dataset: str = "x"  # data\ncluster_key: str = "cell_type"  # labels\n'
    path = tmp_path / "one.ipynb"
    path.write_text(
        json.dumps(
            {
                "cells": [cell | {"id": "a", "source": source}],
                "metadata": {},
                "nbformat": 4,
                "nbformat_minor": 5,
            }
        )
    )

    told = _command(
        "one", path, tmp_path / "my file.h5ad", FileFacts(9, 4, {"X": "log"}, {"cell type": 3}, [])
    )
    assert '-p "cluster_key=cell type"' in told
    assert f'-p "dataset={tmp_path}' in told
