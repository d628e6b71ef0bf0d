"""Lints of the chapters: what a page needs before it is worth running.

What a lesson needs is in test_lessons.py, what any prose needs in test_prose.py.

Each lint returns the faults of one notebook as sentences; `sound` is a notebook without any, and the second
half of this file breaks it in one place at a time, so that every lint is known to find what it is for.
"""

from __future__ import annotations

import ast
import copy
import re
from collections.abc import Callable
from pathlib import Path

import pytest
import yaml

from scmods._book import notebook_file
from scmods._book.notebook_file import tags
from scmods._book.params import ParameterError, parameters
from scmods._book.run_list import read_runs

ROOT = Path(__file__).resolve().parents[1]
NOTEBOOKS = sorted((ROOT / "notebooks").glob("*.ipynb"))
CHECKED = {"nbval-check-output", "keep_output"}
QUIET = {"hide-input", "remove-cell", "solution", "parameters"}
WIDTH = 72


def of_kind(notebook: dict, kind: str) -> list[dict]:
    return [c for c in notebook["cells"] if c["cell_type"] == kind]


def prose(notebook: dict) -> str:
    return "\n\n".join(c["source"] for c in of_kind(notebook, "markdown"))


def start(cell: dict) -> str:
    return repr(cell["source"].strip().splitlines()[0] if cell["source"].strip() else "")


def parsed(cell: dict) -> ast.Module:
    return ast.parse(re.sub(r"^\s*[%!].*$", "", cell["source"], flags=re.M))


# ---- the lints ------------------------------------------------------------------------------------


def lint_parameters(notebook: dict) -> list[str]:
    marked = [i for i, c in enumerate(notebook["cells"]) if "parameters" in tags(c)]
    if len(marked) != 1 or marked[0] == 0:
        return ["exactly one cell, behind the title, must carry the tag `parameters`"]
    try:
        found = parameters(notebook)
    except ParameterError as error:
        return [str(error)]
    faults = [f"parameter `{p.name}` has no comment saying what it is" for p in found.values() if not p.help]
    return faults + [f"there is no parameter `{name}`" for name in ("dataset", "seed") if name not in found]


def lint_kernel(notebook: dict) -> list[str]:
    name = notebook["metadata"].get("kernelspec", {}).get("name")
    return [] if name == "python3" else [f"the kernel is {name!r}, but must be 'python3'"]


def lint_outputs(notebook: dict) -> list[str]:
    faults, kept = [], 0
    for cell in of_kind(notebook, "code"):
        marked = CHECKED & set(tags(cell))
        if marked and marked != CHECKED:
            faults.append(f"cell {start(cell)} needs both tags, {' and '.join(sorted(CHECKED))}")
        if marked and (not cell["outputs"] or cell["execution_count"] is None):
            faults.append(f"cell {start(cell)} is compared, but has no stored output with an execution count")
        if not marked and (cell["outputs"] or cell["execution_count"] is not None):
            faults.append(
                f"cell {start(cell)} has an output that must be stripped: nbstripout --keep-id --keep-count"
            )
        kept += bool(marked and cell["outputs"])
        if any("value" in o.get("metadata", {}).get("claim", {}) for o in cell["outputs"]):
            faults.append(f"cell {start(cell)} stores a claimed value: python -m scmods._book.claims FILE")
    return faults if kept else [*faults, "no cell has an output that nbval could compare"]


def lint_independence(notebook: dict) -> list[str]:
    """Names that only solutions define must not be used later: the participants' copy would stop there."""
    public, secret, faults = set(), set(), []
    for cell in of_kind(notebook, "code"):
        names = [n for n in ast.walk(parsed(cell)) if isinstance(n, ast.Name)]
        stored = {n.id for n in names if isinstance(n.ctx, ast.Store)}
        if "solution" in tags(cell):
            secret |= stored - public
        elif "remove-cell" not in tags(cell):
            used = sorted({n.id for n in names if isinstance(n.ctx, ast.Load)} & secret - stored)
            faults += [f"cell {start(cell)} uses `{name}`, which only a solution defines" for name in used]
            public |= stored
            secret -= stored
    return faults


def lint_width(notebook: dict) -> list[str]:
    lines = [
        line
        for c in of_kind(notebook, "code")
        if "remove-cell" not in tags(c)
        for line in c["source"].splitlines()
    ]
    return [
        f"code line of {len(line)} characters, at most {WIDTH}: {line}" for line in lines if len(line) > WIDTH
    ]


def lint_paths(notebook: dict) -> list[str]:
    pattern = r"(?<![\w.:/])/(?:home|work|tmp|Users|mnt|data|root|opt|scratch)/|\b[A-Z]:\\\\?\w"
    return [f"absolute path in cell {start(c)}" for c in notebook["cells"] if re.search(pattern, c["source"])]


def lint_prose(notebook: dict) -> list[str]:
    faults, before = [], None
    for cell in notebook["cells"]:
        quiet = bool(QUIET & set(tags(cell)))
        if cell["cell_type"] == "code" and before is not None and not quiet:
            faults.append(f"no prose between the code cells {start(before)} and {start(cell)}")
        if not quiet or cell["cell_type"] == "markdown":
            before = cell if cell["cell_type"] == "code" else None
    return faults


def lint_claims(notebook: dict) -> list[str]:
    calls = [n for c in of_kind(notebook, "code") for n in ast.walk(parsed(c)) if isinstance(n, ast.Call)]
    found = any(getattr(n.func, "id", getattr(n.func, "attr", "")) == "claim" for n in calls)
    return [] if found else ["nothing is claimed: claim('held-out R2', value, low=0.8)"]


def lint_title(notebook: dict) -> list[str]:
    first = notebook["cells"][0]
    heads = re.findall(r"^# .+$", prose(notebook), flags=re.M)
    good = first["cell_type"] == "markdown" and re.match(r"(?:\([^)]+\)=\s*\n)?# \S", first["source"])
    return [] if good and len(heads) == 1 else ["the first cell must hold the one title of level 1"]


LINTS: list[Callable[[dict], list[str]]] = [
    lint_parameters,
    lint_kernel,
    lint_outputs,
    lint_independence,
    lint_width,
    lint_paths,
    lint_prose,
    lint_claims,
    lint_title,
]


# ---- the chapters ---------------------------------------------------------------------------------


@pytest.mark.parametrize("lint", LINTS, ids=lambda f: f.__name__)
@pytest.mark.parametrize("path", NOTEBOOKS or [None], ids=lambda p: p.stem if p else "none")
def test_chapter(path: Path | None, lint: Callable[[dict], list[str]]) -> None:
    if path is None:
        pytest.skip("there is no notebook yet")
    faults = lint(notebook_file.read(path))
    assert not faults, f"{path.name}:\n" + "\n".join(faults)


def test_titles_of_chapters_differ() -> None:
    titles = [notebook_file.title(notebook_file.read(p)) for p in NOTEBOOKS]
    assert len(set(titles)) == len(titles)


@pytest.mark.skipif(not NOTEBOOKS, reason="there is no notebook yet")
def test_every_chapter_is_in_the_matrix_and_every_page_in_the_contents() -> None:
    runs = read_runs(ROOT)
    assert {r.chapter for r in runs} == {p.stem for p in NOTEBOOKS}
    listed = re.findall(r"file: (runs/\S+)", (ROOT / "book" / "_toc.yml").read_text(encoding="utf-8"))
    assert sorted(listed) == sorted(f"runs/{r.id}" for r in runs)


def test_the_comparison_settings_are_readable() -> None:
    import configparser

    settings = configparser.ConfigParser(interpolation=None)
    settings.read(ROOT / "notebooks" / "nbval.cfg", encoding="utf-8")
    text = "took 3.5 s and 120 MB at 0x7f00aa11bb on 2026-01-02"
    for name in settings.sections():
        text = re.sub(settings[name]["regex"], settings[name]["replace"], text)
    assert text == "took DURATION and SIZE at ADDRESS on DATE"
    assert yaml.safe_load((ROOT / "notebooks" / "runs.yml").read_text(encoding="utf-8"))["runs"]


# ---- every lint finds what it is for ----------------------------------------------------------------


def md(source: str, *names: str) -> dict:
    return {"cell_type": "markdown", "metadata": {"tags": list(names)}, "source": source}


def code(source: str, *names: str, text: str = "") -> dict:
    output = [{"output_type": "display_data", "data": {"text/plain": text}, "metadata": {}}] if text else []
    cell = {"cell_type": "code", "metadata": {"tags": list(names)}, "source": source}
    return cell | {"outputs": output, "execution_count": 1 if text else None}


def exercise(name: str) -> list[dict]:
    return [
        md(f"```{{exercise-start}} Task\n:label: {name}\n```\nDo it.\n```{{exercise-end}}\n```"),
        md(f"```{{solution-start}} {name}\n:class: dropdown\n```", "solution"),
        code(f"answer_{name[-1]} = 'of {name}'", "solution"),
        md("```{solution-end}\n```", "solution"),
    ]


def sound() -> dict:
    cells = [
        md("(top)=\n# Title"),
        code('dataset: str = "toy"  # data\nseed: int = 0  # start', "parameters"),
        code("from scmods import claim", "hide-input"),
        md("First, see `0.5` and $x = 0.3$, or https://x.org/1.5."),
        code("x = seed + 1"),
        md("Then."),
        code('claim("x", x, low=1)', *CHECKED, text="x: within [1, ...]"),
        *[c for name in ("ex-a", "ex-b", "ex-c") for c in exercise(name)],
        md("## Key points"),
    ]
    return {
        "cells": cells,
        "metadata": {"kernelspec": {"name": "python3"}},
        "nbformat": 4,
        "nbformat_minor": 5,
    }


@pytest.mark.parametrize("lint", LINTS, ids=lambda f: f.__name__)
def test_a_sound_notebook_has_no_fault(lint: Callable[[dict], list[str]]) -> None:
    assert lint(sound()) == []


def replace(where: int, source: str) -> Callable[[dict], object]:
    return lambda n: n["cells"][where].update(source=source)


def append(*cells: dict) -> Callable[[dict], object]:
    return lambda n: n["cells"].extend(copy.deepcopy(cells))


@pytest.mark.parametrize(
    ("lint", "breakage", "text"),
    [
        (lint_parameters, lambda n: n["cells"].pop(1), "exactly one cell"),
        (lint_parameters, replace(1, "seed: int = 0  # x"), "there is no parameter `dataset`"),
        (lint_parameters, replace(1, 'dataset: str = "a"\nseed: int = 0  # x'), "`dataset` has no comment"),
        (lint_parameters, replace(1, "seed = 0"), "is no parameter"),
        (lint_kernel, lambda n: n["metadata"].clear(), "the kernel is None"),
        (lint_outputs, lambda n: n["cells"].pop(6), "no cell has an output that nbval could compare"),
        (lint_outputs, append(code("x", text="1")), "must be stripped"),
        (lint_outputs, append(code("x", "keep_output", text="1")), "needs both tags"),
        (lint_outputs, append(code("x", *CHECKED)), "has no stored output"),
        (
            lint_outputs,
            lambda n: n["cells"][6]["outputs"][0]["metadata"].update(claim={"value": 1}),
            "stores a claimed value",
        ),
        (lint_independence, append(code("y = answer_a")), "uses `answer_a`, which only a solution defines"),
        (lint_width, append(code("x" * 73)), "code line of 73 characters"),
        (lint_paths, append(code('read("/ho' + 'me/me/x")')), "absolute path"),
        (lint_paths, append(code('read("C:\\\\data")')), "absolute path"),
        (
            lint_prose,
            append(code("a = 1"), code("b = 1")),
            "no prose between the code cells 'a = 1' and 'b = 1'",
        ),
        (lint_claims, lambda n: n["cells"].pop(6), "nothing is claimed"),
        (lint_title, append(md("# Another")), "the one title"),
        (lint_title, lambda n: n["cells"].pop(0), "the one title"),
    ],
)
def test_each_lint_finds_its_fault(lint: Callable, breakage: Callable, text: str) -> None:
    notebook = sound()
    breakage(notebook)
    assert any(text in fault for fault in lint(notebook)), lint(notebook)
