"""A chapter rehearsed: its participant copy run whole, its states kept, every section run alone from them.

Results are kept under ``.cache/class`` by the content of what made them.
"""

from __future__ import annotations

import hashlib
import json
import os
import shutil
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from scmods._book import execute, notebook_file
from scmods._book.claims import harvest
from scmods._book.content_key import content_key, file_hash
from scmods._book.params import parameters
from scmods._book.participant import participant
from scmods._book.same_claims import differences
from scmods._book.sections import MADE_AGAIN, Start, head_and_sections, opening, sources, starts
from scmods._book.state_store import largest

__all__ = ["Chapter", "ClassroomError", "make", "prepare"]

LIMIT = 5 * 2**20  # bytes of one file of states
RUN_TIMEOUT = 2400.0  # seconds for one chapter from top to bottom, and again for its sections alone
MEMORY_MB = 4000.0
RECORD = """
__import__("scmods._book.state_store", fromlist=["write_state"]).write_state(
    {path!r}, {section!r}, {{name: globals()[name] for name in {names!r} if name in globals()}})
"""
HERE = Path(__file__).resolve().parent
MAKERS = (
    "state_*.py",
    "sections.py",
    "needs.py",
    "alone.py",
    "examples.py",
    "rehearsal.py",
    "participant.py",
    "params.py",
    "notebook_file.py",
    "execute.py",
    "same_claims.py",
)


class ClassroomError(ValueError):
    """A chapter cannot be handed out; the text says which section, cell and why."""


@dataclass
class Chapter:
    """One notebook on its way to participants.

    Attributes
    ----------
    name
        Name of the notebook without ending.
    copied
        JSON of the participant copy.
    starts
        What a start at each section takes.
    folder
        Cached results: ``<name>.h5``, example files, ``record.json``.
    """

    name: str
    copied: dict[str, Any]
    starts: list[Start]
    folder: Path

    @property
    def record(self) -> dict[str, Any] | None:
        """What was measured when the cached results were made, or None where there are none."""
        path = self.folder / "record.json"
        return json.loads(path.read_text(encoding="utf-8")) if path.is_file() else None


def _key(copied: dict[str, Any], found: Sequence[Start], root: Path) -> str:
    """Key of the results of a chapter: that of its run, what its states hold, and the code that makes them."""
    makers = sorted({p for pattern in MAKERS for p in HERE.glob(pattern)})
    parts = [content_key(copied, {}, root=root), *(file_hash(p) for p in makers)]
    parts += [json.dumps([s.section.slug, s.definitions, s.names, s.again]) for s in found]
    return hashlib.sha256("\n".join(parts).encode()).hexdigest()[:24]


def prepare(path: Path, root: Path) -> Chapter:
    """The chapter of a notebook: copy, starts and place of its results; nothing is run."""
    source = notebook_file.read(path)
    copied, found = participant(source), starts(source, MADE_AGAIN.get(path.stem, ()))
    folder = root / ".cache" / "class" / _key(copied, found, root)
    return Chapter(path.stem, copied, found, folder)


# ---- the two runs -------------------------------------------------------------------------------------


def _code_cell(name: str, source: str) -> dict[str, Any]:
    cell = {"cell_type": "code", "id": name, "metadata": {}, "source": source}
    return cell | {"execution_count": None, "outputs": []}


def recording(chapter: Chapter) -> dict[str, Any]:
    """The participant copy with a cell before every section that writes its state."""
    head, parts = head_and_sections(chapter.copied)
    wanted = {s.section.number: s for s in chapter.starts if s.names}
    cells = list(head)
    for part in parts:
        if part.number in wanted:
            names = wanted[part.number].names
            text = RECORD.format(path=f"{chapter.name}.h5", section=part.slug, names=names).strip()
            cells.append(_code_cell(f"state-{part.number}", text))
        cells += part.cells
    return {**chapter.copied, "cells": cells}


def trial(chapter: Chapter) -> dict[str, Any]:
    """A notebook with one cell per section that runs this section alone."""
    head, parts = head_and_sections(chapter.copied)
    example = f'"{chapter.name}", "{parameters(chapter.copied)["dataset"].default}", "."'
    text = "from scmods._book.alone import run_alone\nfrom scmods._book.examples import write_example\n\n"
    cells = [_code_cell("example", f"{text}_ = write_example({example})")]
    for start in chapter.starts:
        own = parts[start.section.number - 1]
        code = [*sources(opening(start, head, chapter.name)), *own.code]
        call = f"_ = run_alone({start.section.slug!r}, {code!r})"
        cells.append(_code_cell(f"section-{own.number}", call))
    return {**chapter.copied, "cells": cells}


def _execute(
    chapter: Chapter, notebook: dict[str, Any], what: str, folder: Path, threads: int
) -> dict[str, Any]:
    """Run a notebook in the folder of the results; the error says chapter, section, cell and cause."""
    source, output = folder / f"{what}.ipynb", folder / f"{what}.out.ipynb"
    notebook_file.write_if_changed(source, notebook)
    log = folder / f"{what}.log"
    job = execute.Job(
        notebook=str(source), output=str(output), parameters={}, cwd=str(folder), log=str(log),
        run_timeout=RUN_TIMEOUT, memory_mb=MEMORY_MB, threads=threads,
    )  # fmt: skip
    result = execute.run(job)
    if not result["ok"]:
        error = result["error"]
        told = [
            f"{chapter.name}, {_place(notebook, error['cell'], what)}: {error['name']}: {error['message']}"
        ]
        told += [f"   | {line}" for line in error["source"].splitlines()[:12] if what != "alone"]
        raise ClassroomError("\n".join([*told, *(f"   {line}" for line in error["traceback"])]))
    return result


def _place(notebook: dict[str, Any], number: int | None, what: str) -> str:
    """Section and cell of the code cell with this number."""
    cells = notebook_file.code(notebook)
    if number is None or not 1 <= number <= len(cells):
        return "before the first cell"
    name = cells[number - 1]["id"]
    if what == "alone":
        return "the example file" if name == "example" else f"section {name.removeprefix('section-')} alone"
    for part in head_and_sections(notebook)[1]:
        ids = [c["id"] for c in part.cells if c["cell_type"] == "code"]
        if name in ids:
            return f"section {part.number} ({part.title}), code cell {ids.index(name) + 1}"
    return f"code cell {number}, before the first section"


def make(chapter: Chapter, threads: int) -> dict[str, Any]:
    """Run a chapter whole, then section by section, and keep states, example and record under its key."""
    part = chapter.folder.with_name(f"{chapter.folder.name}.{os.getpid()}.part")
    shutil.rmtree(part, ignore_errors=True)
    part.mkdir(parents=True)
    whole = _execute(chapter, recording(chapter), "whole", part, threads)
    states = part / f"{chapter.name}.h5"
    size = states.stat().st_size
    if size > LIMIT:
        lines = [f"    {place}: {n / 2**20:.2f} MB" for place, n in largest(states, 8)]
        told = (
            f"{chapter.name}: the states take {size / 2**20:.2f} MB, but may take {LIMIT / 2**20:g}. Largest:"
        )
        raise ClassroomError("\n".join([told, *lines]))
    alone = _execute(chapter, trial(chapter), "alone", part, threads)
    claims = [harvest(part / f"{what}.out.ipynb") for what in ("whole", "alone")]
    if told := differences({chapter.name: claims[0]}, {chapter.name: claims[1]}, rtol=1e-6):
        lines = ["the sections alone give other claims than the whole:", *told]
        raise ClassroomError(f"{chapter.name}: " + "\n    ".join(lines))
    record = {"bytes": size, "claims": len(claims[0]), "sections": len(chapter.starts)}
    record |= {"whole": whole["cpu_seconds"], "alone": alone["cpu_seconds"]}
    notebook_file.write_text(part / "record.json", json.dumps(record, indent=1))
    for file in part.glob("*.ipynb"):
        file.unlink()
    shutil.rmtree(chapter.folder, ignore_errors=True)
    os.replace(part, chapter.folder)
    return record
