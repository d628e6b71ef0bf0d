"""The page "How to add a method" cannot rot: its blocks are applied to a copy of the project and checked there."""

from __future__ import annotations

import importlib.util
import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path
from typing import NamedTuple

import pytest

from scmods._book import notebook_file

ROOT = Path(__file__).resolve().parents[1]
PAGE = ROOT / "book" / "add_a_method.md"
BLOCK = re.compile(r"^(`{3,})\{code-block\} (\w+)\n:caption: ([^\n]+)\n\n(.*?)^\1$", re.M | re.S)
CELL = re.compile(r"^# %%(?P<kind> \[markdown\])?(?: tags=(?P<tags>\[.*\]))?$", re.M)
CHECKED = "nbval-check-output"


class Block(NamedTuple):
    """One captioned block of the page."""

    language: str
    path: str
    change: bool
    text: str


def blocks() -> list[Block]:
    found = BLOCK.findall(PAGE.read_text(encoding="utf-8"))
    return [
        Block(language, caption.removeprefix("change "), caption.startswith("change "), text)
        for _, language, caption, text in found
    ]


def changed(text: str, change: str) -> str:
    """The text with every part of a change applied; each part must fit in exactly one place."""
    for part in re.split(r"^@@\n", change, flags=re.M):
        lines = part.strip("\n").splitlines()
        old = [line[1:] for line in lines if line[:1] != "+"]
        new = [line[1:] for line in lines if line[:1] != "-"]
        tail = old[0].startswith("...")
        before = old[0][3:] + "\n" if tail else "\n" + "\n".join(old) + "\n"
        after = new[0][3:] + "\n" if tail else "\n" + "\n".join(new) + "\n"
        places = len(re.findall(f"(?={re.escape(before)})", text))  # they may overlap in a line break
        if places != 1:
            msg = f"{places} places instead of one for:\n{part}"
            raise ValueError(msg)
        text = text.replace(before, after)
    return text


def notebook(listing: str) -> dict:
    """The notebook that a listing with `# %%` stands for, as Jupyter would store it."""
    marks, cells = list(CELL.finditer(listing)), []
    for number, (mark, end) in enumerate(zip(marks, [*marks[1:], None], strict=True)):
        source = listing[mark.end() : end.start() if end else None].strip("\n")
        cell = {"id": f"cell-{number}", "metadata": {"tags": json.loads(mark["tags"] or "[]")}}
        if mark["kind"]:
            source = re.sub(r"^# ?", "", source, flags=re.M)
            cells.append(cell | {"cell_type": "markdown", "source": source})
        else:
            cells.append(
                cell | {"cell_type": "code", "source": source, "outputs": [], "execution_count": None}
            )
    kernel = {"name": "python3", "display_name": "Python 3", "language": "python"}
    return {"cells": cells, "metadata": {"kernelspec": kernel}, "nbformat": 4, "nbformat_minor": 5}


def with_claims(made: dict, printed: str) -> dict:
    """The notebook with the claims that were printed as the stored output of the cell that makes them."""
    for cell in made["cells"]:
        if CHECKED in cell["metadata"]["tags"]:
            lines = re.findall(r"^.+: within \[.*\]$", printed, flags=re.M)
            cell["execution_count"] = 1
            cell["outputs"] = [
                {
                    "output_type": "display_data",
                    "data": {"text/plain": line},
                    "metadata": {"claim": {"name": line}},
                }
                for line in lines
            ]
    return made


def code_of(made: dict) -> str:
    return "\n".join(c["source"] for c in made["cells"] if c["cell_type"] == "code")


class Copy(NamedTuple):
    """The copied project, and what the code of its notebook printed."""

    root: Path
    printed: str

    def run(self, *command: str, check: bool = True) -> str:
        return run(self.root, *command, check=check)


def run(root: Path, *command: str, check: bool = True) -> str:
    env = os.environ | {"PYTHONPATH": str(root), "OMP_NUM_THREADS": "1", "PYTHONDONTWRITEBYTECODE": "1"}
    for name in ("SCMODS_RUN_DIR", "PYTEST_ADDOPTS", "PYTEST_XDIST_WORKER"):
        env.pop(name, None)
    call = [sys.executable, *command]
    done = subprocess.run(call, cwd=root, env=env, capture_output=True, text=True, check=False)
    assert not check or done.returncode == 0, done.stdout[-6000:] + done.stderr[-3000:]
    return done.stdout


@pytest.fixture(scope="module")
def copy(tmp_path_factory: pytest.TempPathFactory) -> Copy:
    """The project with the page applied: package, lists, notebooks and their tests."""
    root = tmp_path_factory.mktemp("project")
    skip = shutil.ignore_patterns("__pycache__", "*.pyc", ".ipynb_checkpoints", "runs", "participant")
    for folder in ("scmods", "notebooks", "book"):
        shutil.copytree(ROOT / folder, root / folder, ignore=skip)
    (root / "tests").mkdir()
    for name in (
        "pyproject.toml",
        "tests/conftest.py",
        "tests/test_api.py",
        "tests/test_notebooks.py",
        "tests/test_workshop.py",
    ):
        shutil.copy(ROOT / name, root / name)
    made = {}
    for block in blocks():
        path = root / block.path
        if block.change:
            notebook_file.write_text(path, changed(path.read_text(encoding="utf-8"), block.text))
        elif path.suffix == ".ipynb":
            made = notebook(block.text)
        else:
            notebook_file.write_text(path, block.text)
    printed = run(root, "-W", "error", "-c", code_of(made))
    notebook_file.write_if_changed(root / "notebooks" / "echo.ipynb", with_claims(made, printed))
    return Copy(root, printed)


def test_every_block_is_a_file_or_a_change_of_one() -> None:
    found = blocks()
    assert len(found) == PAGE.read_text(encoding="utf-8").count("{code-block}")
    files = [b.path for b in found if not b.change]
    assert len(files) == len(set(files)) > 8
    assert not [path for path in files if (ROOT / path).exists()], "the name of the example is taken"
    assert all((ROOT / b.path).is_file() and b.language == "diff" for b in found if b.change)


def test_the_copy_is_what_is_tested(copy: Copy) -> None:
    assert (
        Path(copy.run("-c", "import scmods.echo as m; print(m.__file__)").strip()).parents[2]
        == copy.root.resolve()
    )


def test_the_tests_of_the_page_pass(copy: Copy) -> None:
    out = copy.run("-m", "pytest", "-q", "-p", "no:cacheprovider", "-W", "error", "tests/echo")
    assert re.search(r"\b1[0-9] passed", out), out


def test_rules_of_the_package_and_lints_of_the_notebook_hold(copy: Copy) -> None:
    which = "echo or import_each_other or contents or every_promised_name"
    files = ("tests/test_api.py", "tests/test_notebooks.py")
    out = copy.run("-m", "pytest", "-v", "-p", "no:cacheprovider", "-k", which, *files)
    for name in ("test_chapter[echo-lint_claims]", "documented_with_its_parameters[echo]"):
        assert name in out
    assert "failed" not in out


def test_the_page_of_the_teacher_may_wait(copy: Copy) -> None:
    out = copy.run("-m", "pytest", "-q", "-rs", "-p", "no:cacheprovider", "tests/test_workshop.py")
    assert "echo has no lesson: book/workshop.md has no '### echo'" in out
    assert re.search(r"\d+ passed, 1 skipped", out), out


def test_contracts_hold_and_guard_the_new_files(copy: Copy) -> None:
    """One look at a copy with one fault: that one is found, and every other contract is kept."""
    path = copy.root / "scmods" / "echo" / "core.py"
    text = path.read_text(encoding="utf-8")
    try:
        notebook_file.write_text(path, text + "\n\nimport pandas\n")
        code = "import sys; from importlinter.cli import lint_imports; sys.exit(lint_imports(no_cache=True))"
        out = copy.run("-c", code, check=False)
    finally:
        notebook_file.write_text(path, text)
    assert re.findall(r"^(.+) BROKEN$", out, flags=re.M) == ["Core mathematics is torch alone"]
    assert "Figures of the echo compute nothing new KEPT" in out


def test_the_notebook_is_a_sound_lesson(copy: Copy) -> None:
    spec = importlib.util.spec_from_file_location("lessons_of_the_book", ROOT / "tests" / "test_lessons.py")
    lessons = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = lessons  # a dataclass looks its module up
    spec.loader.exec_module(lessons)
    made = notebook_file.read(copy.root / "notebooks" / "echo.ipynb")
    assert [fault for lint in lessons.LINTS for fault in lint(made)] == []
    lessons.TERMS = list(lessons.glossary((copy.root / "book" / "glossary.md").read_text(encoding="utf-8")))
    assert lessons.lint_terms(made, "echo") == []


@pytest.mark.parametrize("command", [["check"], ["format", "--check"]], ids=" ".join)
def test_style(copy: Copy, command: list[str]) -> None:
    files = [b.path for b in blocks() if b.path.endswith(".py")]
    copy.run("-m", "ruff", *command, "--no-cache", *files)


def test_docstring_examples_run(copy: Copy) -> None:
    code = "import doctest, importlib, sys\n"
    code += "for m in ('core', 'keys', 'tools', 'plots', 'simulate'):\n"
    code += "    r = doctest.testmod(importlib.import_module('scmods.echo.' + m))\n"
    code += "    print(m, r.attempted > 0, r.failed)\n"
    shown = copy.run("-c", code).split("\n")[:-1]
    assert [line.split()[1:] for line in shown] == [["True", "0"]] * 5, shown


def test_the_notebook_claims_what_the_page_says(copy: Copy) -> None:
    assert copy.printed.splitlines()[-5:] == [
        "largest echo: within [..., 1]",
        "largest distance from the truth: within [..., 0.15]",
        "alike: True",
        "alike: True",
        "minus one fourth: True",
    ]


def test_a_change_that_does_not_fit_is_refused() -> None:
    assert changed("a\nb\nc\n", " b\n+new\n") == "a\nb\nnew\nc\n"
    assert changed("a\nlong, end\n", "-...end\n+...next, end\n") == "a\nlong, next, end\n"
    assert changed("a\nb\nc\n", "-a\n+A\n".replace("a", "b")) == "a\nA\nc\n"
    for text in ("a\nc\n", "a\nb\nb\nc\n"):
        with pytest.raises(ValueError, match="places instead of one"):
            changed(text, " b\n+new\n")
