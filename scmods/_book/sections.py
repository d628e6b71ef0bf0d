"""Sections of a notebook: what each one needs from before, and the notebook that starts at one of them."""

from __future__ import annotations

import ast
import copy
import re
import unicodedata
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any

from scmods._book import notebook_file
from scmods._book.needs import bindings, loads

__all__ = ["Section", "Start", "head_and_sections", "start_notebook", "starts"]

HEADING = re.compile(r"^## +(.+?) *$")
# Values that are too large for the file of states and made again within a second: chapter -> names. The statement
# that made the value is repeated after the others have come from the file.
MADE_AGAIN = {"amici": ("whole",)}
LETTERS = 40  # most letters of the part of a file name that stands for a title


@dataclass(frozen=True)
class Section:
    """One section: everything from a heading of level two to the next.

    Attributes
    ----------
    number, title
        Counted from 1; the heading without marks.
    cells
        Cells of the notebook; the heading starts the first.
    """

    number: int
    title: str
    cells: list[dict[str, Any]]

    @property
    def slug(self) -> str:
        """Name for files: number and plain words of the title."""
        plain = unicodedata.normalize("NFKD", self.title).encode("ascii", "ignore").decode()
        words = re.sub(r"[^a-z0-9]+", "-", plain.lower()).strip("-")
        short = words if len(words) <= LETTERS else words[: LETTERS + 1].rpartition("-")[0]
        return f"{self.number:02d}_{short}"

    @property
    def code(self) -> list[str]:
        """Sources of its code cells."""
        return sources(self.cells)


@dataclass(frozen=True)
class Start:
    """What the start at a section takes: definitions, names whose values come from a file, statements to repeat."""

    section: Section
    definitions: list[str] = field(default_factory=list)
    names: list[str] = field(default_factory=list)
    again: list[str] = field(default_factory=list)


def sources(cells: Iterable[dict[str, Any]]) -> list[str]:
    """Sources of the code cells, without lines that only IPython understands."""
    code = (c["source"] for c in cells if c["cell_type"] == "code")
    return [re.sub(r"^\s*[%!].*$", "", text, flags=re.M) for text in code]


def _pieces(cell: dict[str, Any]) -> list[dict[str, Any]]:
    """A prose cell cut before every heading of level two; fences of code are no headings."""
    parts: list[list[str]] = [[]]
    fence = ""
    for line in cell["source"].splitlines():
        marks = re.match(r"\s*(`{3,}|:{3,}|~{3,})", line)
        if marks and not fence:
            fence = marks[1]
        elif marks and line.strip() == fence:
            fence = ""
        if not fence and HEADING.match(line) and any(parts[-1]):
            # the label of a heading stands above it and goes along
            label = [parts[-1].pop()] if re.fullmatch(r"\([^()\s]+\)=\s*", parts[-1][-1]) else []
            parts.append(label)
        parts[-1].append(line)
    texts = ["\n".join(p).strip("\n") for p in parts]
    made = [{**copy.deepcopy(cell), "source": text} for text in texts if text.strip()]
    for i, piece in enumerate(made[1:], start=2):
        piece["id"] = f"{piece['id']}-{i}"
    return made


def _title(cell: dict[str, Any]) -> str:
    if cell["cell_type"] != "markdown":
        return ""
    lines = cell["source"].splitlines()
    first = next((line for line in lines if line.strip() and not line.startswith("(")), "")
    found = HEADING.match(first)
    return found[1].replace("`", "") if found else ""


def head_and_sections(notebook: dict[str, Any]) -> tuple[list[dict[str, Any]], list[Section]]:
    """Cells before the first heading of level two, and the sections.

    Parameters
    ----------
    notebook
        JSON of the notebook; it is not changed. A prose cell with several headings is cut before each.
    """
    head: list[dict[str, Any]] = []
    found: list[Section] = []
    for cell in notebook["cells"]:
        for piece in _pieces(cell) if cell["cell_type"] == "markdown" else [copy.deepcopy(cell)]:
            if title := _title(piece):
                found.append(Section(len(found) + 1, title, [piece]))
            elif found:
                found[-1].cells.append(piece)
            else:
                head.append(piece)
    return head, found


def starts(source: dict[str, Any], again: Iterable[str] = ()) -> list[Start]:
    """What a start at each section with code takes, from the first section to the last.

    Parameters
    ----------
    source
        JSON of the source notebook, with its solutions: whoever starts at the exercises needs what they use.
    again
        Names that no file holds: the statement that gave them their value is repeated.

    Notes
    -----
    A name is taken from the file when code from the section on may read it before it certainly writes it. What was
    imported or defined before is repeated as code. Names of the parameters cell are neither, unless a section
    gave them another value: their cell is repeated.
    """
    head, parts = head_and_sections(source)
    known: dict[str, str] = {}  # name -> code that makes it, or nothing where it holds a value
    repeat: dict[str, str] = {}
    made = []
    for place, part in enumerate(parts):
        if any(text.strip() for text in part.code):
            made.append(_start(parts[place:], known, repeat))
        for cell in part.cells:
            if cell["cell_type"] == "code" and "solution" not in notebook_file.tags(cell):
                text = sources([cell])[0]
                known.update(bindings(text))
                repeat.update(_assignments(text, set(again)))
    return made


def _assignments(source: str, names: set[str]) -> dict[str, str]:
    """Statements ``name = ...`` of a source that make these names: name -> statement."""
    plain = [n for n in ast.parse(source).body if isinstance(n, ast.Assign) and len(n.targets) == 1]
    named = {n.targets[0].id: n for n in plain if isinstance(n.targets[0], ast.Name)}
    return {name: ast.unparse(node) for name, node in named.items() if name in names}


def _start(rest: Sequence[Section], known: dict[str, str], repeat: dict[str, str]) -> Start:
    cells = [c for part in rest for c in part.cells if c["cell_type"] == "code"]
    wanted = loads((sources([c])[0], "solution" not in notebook_file.tags(c)) for c in cells)
    definitions: list[str] = []
    names: set[str] = set()
    again: list[str] = []
    todo = sorted(wanted)
    while todo:
        name = todo.pop(0)
        code = known.get(name)
        if code and code not in definitions:
            definitions.append(code)
            todo += sorted(loads([(code, True)]) - {name})
        elif name in repeat and code == "":
            if repeat[name] not in again:
                again.append(repeat[name])
                todo += sorted(loads([(repeat[name], True)]) - {name})
        elif code == "":
            names.add(name)
    order = [code for code in dict.fromkeys(known.values()) if code in definitions]
    return Start(rest[0], order, sorted(names), again)


def _cell(kind: str, name: str, source: str) -> dict[str, Any]:
    made = {"cell_type": kind, "id": name, "metadata": {}, "source": source}
    return made if kind == "markdown" else made | {"execution_count": None, "outputs": []}


def opening(start: Start, head: Sequence[dict[str, Any]], chapter: str) -> list[dict[str, Any]]:
    """Code cells that stand for everything before a section: parameters, set-up, definitions, the state."""
    cells = [copy.deepcopy(c) for c in head if c["cell_type"] == "code"]
    if start.definitions:
        imports = [
            d for d in start.definitions if isinstance(ast.parse(d).body[0], ast.Import | ast.ImportFrom)
        ]
        others = [d for d in start.definitions if d not in imports]
        blocks = ["\n".join(imports), *others]
        cells.append(_cell("code", "start-definitions", "\n\n\n".join(b for b in blocks if b)))
    if start.names:
        text = "# what the sections before have made\nfrom scmods._book.state_store import restore\n"
        text += f'restore(globals(), "{chapter}.h5", "{start.section.slug}")'
        text = "\n".join([text, *start.again])
        cells.append(_cell("code", "start-state", text))
    return cells


def start_notebook(copied: dict[str, Any], start: Start, chapter: str) -> dict[str, Any]:
    """The notebook that starts at a section and goes on to the end.

    Parameters
    ----------
    copied
        JSON of the participant copy.
    start
        The start, of :func:`starts`.
    chapter
        Name of the chapter; its states are in ``<chapter>.h5`` beside the notebook.
    """
    head, parts = head_and_sections(copied)
    title = notebook_file.title(copied) or chapter
    told = f"# {title}\n\n**Starts at “{start.section.title}”.** Everything before was computed with the parameters "
    told += f"as they stand below and comes from the file `{chapter}.h5` beside this notebook. Another value of a "
    told += f"parameter changes only what is computed here; for the whole chapter open `notebooks/{chapter}.ipynb`."
    cells = [_cell("markdown", "start-note", told), *opening(start, head, chapter)]
    rest = parts[start.section.number - 1 :]
    return {**copy.deepcopy(copied), "cells": [*cells, *(c for part in rest for c in part.cells)]}
