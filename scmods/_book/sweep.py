"""Several runs from one file: all checked first, one after another, compared on one page."""

from __future__ import annotations

import csv
import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from scmods import _checks
from scmods._book.content_key import HOME
from scmods._book.notebook_file import NotebookError
from scmods._book.own_data import Outcome, OwnDataError, Plan, find_chapter, plan, run_plan
from scmods._book.params import ParameterError, parameters
from scmods._book.run_folder import run_key

__all__ = ["Row", "find_done", "read_rows", "sweep"]

FIELDS = ("chapter", "name", "parameters")
EMPTY = ("''", '""')  # written where a parameter is to be empty, since an empty field means its default


@dataclass
class Row:
    """One run of the file: where it stands, what it is called, what was planned and what came of it."""

    place: str
    name: str
    planned: Plan
    outcome: Outcome | None = None
    earlier: bool = False


def _text(path: Path, how: str) -> str:
    try:
        return path.read_bytes().decode("utf-8-sig")
    except UnicodeDecodeError as error:
        msg = f"{path} is not UTF-8. {how}"
        raise OwnDataError(msg) from error


def _read_csv(path: Path, root: Path) -> list[dict[str, Any]]:
    """Rows of a table of runs; every column but chapter and name is a parameter."""
    text = _text(path, "Save it as 'CSV UTF-8'.")
    head = text.split("\n", 1)[0]
    reader = csv.DictReader(text.splitlines(), delimiter=max(",;\t", key=head.count))
    rows = []
    for line in reader:
        fields = {str(k).strip(): (v or "").strip() for k, v in line.items() if k is not None}
        if None in line or not any(fields.values()):
            if None in line:
                msg = f"{path}, line {reader.line_num}: more fields than columns. Quote a value with a comma."
                raise OwnDataError(msg)
            continue
        given = {k: v for k, v in fields.items() if k not in FIELDS and v != ""}
        given = {k: "" if v in EMPTY else v for k, v in given.items()}
        rows.append(
            {"chapter": fields.get("chapter", ""), "name": fields.get("name", ""), "parameters": given}
        )
    _columns(path, [str(c).strip() for c in reader.fieldnames or ()], rows, root)
    return rows


def _columns(path: Path, columns: list[str], rows: list[dict[str, Any]], root: Path) -> None:
    """Refuse a column that is a parameter of none of the chapters."""
    if "chapter" not in columns:
        msg = f"{path} has no column `chapter`. {_checks.nearest('chapter', columns)} It has: {', '.join(columns)}."
        raise OwnDataError(msg)
    called = dict.fromkeys(r["chapter"] for r in rows if r["chapter"])
    known = [n for chapter in called for n in parameters(find_chapter(chapter, root))]
    if not known:  # what is wrong with the rows is told for each
        return
    for column in columns:
        if column not in (*known, "chapter", "name"):
            parts = [f"{path}: the column {column!r} is no parameter of its chapters."]
            parts += [_checks.nearest(column, known), f"There are: {', '.join(dict.fromkeys(known))}."]
            raise OwnDataError(" ".join(p for p in parts if p))


def _read_yaml(path: Path, _: Path) -> list[dict[str, Any]]:
    """Runs of a YAML file: a list, or a mapping with `runs` and `defaults`."""
    import yaml

    try:
        content = yaml.safe_load(_text(path, "Save it as UTF-8."))
    except yaml.YAMLError as error:
        msg = f"{path} is not YAML: {error}"
        raise OwnDataError(msg) from error
    content = {"runs": content} if isinstance(content, list) else content
    shape = "Write a list of `- {chapter: bmlp, name: mine, parameters: {dataset: my.h5ad}}`."
    if not isinstance(content, dict) or not isinstance(content.get("runs"), list):
        msg = f"{path} holds no list of runs. {shape}"
        raise OwnDataError(msg)
    _fields(f"{path}", content, ("runs", "defaults"))
    shared = content.get("defaults") or {}
    _fields(f"{path}, defaults", shared, FIELDS)
    rows = []
    for number, entry in enumerate(content["runs"], 1):
        if not isinstance(entry, dict) or not isinstance(entry.get("parameters") or {}, dict):
            msg = f"{path}, run {number}: {entry!r} is no run. {shape}"
            raise OwnDataError(msg)
        _fields(f"{path}, run {number}", entry, FIELDS)
        given = {**(shared.get("parameters") or {}), **(entry.get("parameters") or {})}
        rows.append({"chapter": "", "name": "", **shared, **entry, "parameters": given})
    return rows


def _fields(place: str, have: Mapping[str, Any], allowed: tuple[str, ...]) -> None:
    if not isinstance(have, Mapping):
        msg = f"{place}: {have!r} must be a mapping of {', '.join(allowed)}."
        raise OwnDataError(msg)
    for name in have:
        if name not in allowed:
            parts = [f"{place}: unknown field {name!r}.", _checks.nearest(str(name), allowed)]
            raise OwnDataError(" ".join([*filter(None, parts), f"It takes: {', '.join(allowed)}."]))


def _beside(value: Any, folder: Path) -> Any:
    """A path that is right as seen from the file of runs, though not from the working folder."""
    if (
        isinstance(value, str)
        and value
        and not Path(value).expanduser().is_file()
        and (folder / value).is_file()
    ):
        return str(folder / value)
    return value


def _plan(place: str, row: Mapping[str, Any], folder: Path, root: Path) -> Row:
    if not row["chapter"]:
        msg = f"{place}: the chapter is missing. See `python -m scmods list`."
        raise OwnDataError(msg)
    given = {str(k): _beside(v, folder) for k, v in row["parameters"].items()}
    try:
        planned = plan(str(row["chapter"]), given, root)
    except (ParameterError, OwnDataError, NotebookError) as error:
        msg = f"{place}: {error}"
        raise OwnDataError(msg) from error
    name = str(row["name"]) or f"{planned.chapter}-{Path(str(planned.values.get('dataset', 'data'))).stem}"
    return Row(place, "".join(c if c.isalnum() or c in "-_" else "_" for c in name), planned)


def read_rows(path: Path, root: Path = HOME) -> list[Row]:
    """Read and check every run of a file; all that is wrong is told at once.

    Parameters
    ----------
    path
        A .csv file, one run a row, with a column ``chapter``, perhaps ``name``, and one for each parameter; or a .yml
        file with a list of runs, perhaps below ``runs`` beside ``defaults``.
    root
        Folder of the project.

    Raises
    ------
    OwnDataError
        If the file is no such file, or a run of it cannot be started as given.
    """
    if not path.is_file():
        here = sorted(p.name for p in path.parent.glob("*") if p.suffix.lower() in (".csv", ".yml", ".yaml"))
        msg = f"The file {path} does not exist in {Path.cwd()}. {_checks.nearest(path.name, here)}"
        raise OwnDataError(msg.strip())
    readers = {".csv": _read_csv, ".yml": _read_yaml, ".yaml": _read_yaml}
    if path.suffix.lower() not in readers:
        msg = f"{path} is no list of runs: its name must end in .csv, .yml or .yaml."
        raise OwnDataError(msg)
    entries = readers[path.suffix.lower()](path, root)
    rows, wrong = [], []
    for number, entry in enumerate(entries, 1):
        try:
            rows.append(_plan(f"{path.name}, run {number}", entry, path.parent, root))
        except OwnDataError as error:
            wrong.append(str(error))
    if wrong or not entries:
        told = "\n".join(wrong) or "It lists no run."
        msg = f"{path}: {len(wrong)} of {len(entries)} runs cannot start; nothing was run.\n{told}"
        raise OwnDataError(msg)
    _distinct(path, rows, [str(e["name"]) for e in entries])
    return rows


def _distinct(path: Path, rows: list[Row], given: list[str]) -> None:
    """Refuse two runs that are the same or are called the same; number the names that were made here."""
    seen: dict[str, int] = {}
    for i, row in enumerate(rows):
        for other in rows[:i]:
            same = other.planned.chapter == row.planned.chapter and other.planned.values == row.planned.values
            if same or (given[i] and other.name == row.name):
                what = "are the same" if same else f"are both called {row.name!r}"
                msg = f"{path}: {other.place} and {row.place} {what}. Remove or rename one."
                raise OwnDataError(msg)
        seen[row.name] = seen.get(row.name, 0) + 1
        if seen[row.name] > 1:
            row.name = f"{row.name}-{seen[row.name]}"


def find_done(out: Path, row: Row) -> Path | None:
    """Folder of a finished run of the same notebook, parameters, files, package and versions, or None."""
    pattern = re.compile(rf"{re.escape(row.name)}(-\d+)?")
    folders = [p for p in out.glob(f"{row.name}*") if p.is_dir() and pattern.fullmatch(p.name)]
    key = run_key(row.planned) if folders else ""
    for folder in sorted(folders, reverse=True):
        told = _told(folder / "params.json")
        if told.get("ok") and told.get("key") == key:
            return folder
    return None


def _told(path: Path) -> dict[str, Any]:
    """What a run wrote about itself; nothing where it was cut short."""
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}


def sweep(
    path: Path,
    *,
    out: Path,
    root: Path = HOME,
    timeout: float | None = None,
    memory_mb: float | None = None,
) -> int:
    """Run what a file lists and compare: ``comparison.html`` and ``comparison.csv`` in `out`.

    Parameters
    ----------
    path
        See :func:`read_rows`.
    out
        Folder for the run folders and the comparison. What it already holds of this file is not run again.
    root
        Folder of the project.
    timeout, memory_mb
        Limits of each run.

    Returns
    -------
    Exit status: 0 all done, 1 a run failed, 130 stopped by Ctrl-C.

    Raises
    ------
    OwnDataError
        If a run of the file cannot be started as given.
    """
    from scmods._book.comparison import write_comparison

    rows = read_rows(path, root)
    out = out.expanduser().resolve()
    for row in rows:
        folder = find_done(out, row)
        if folder is not None:
            row.outcome, row.earlier = Outcome(0, folder), True
    waiting = [row for row in rows if not row.earlier]
    print(f"{len(rows)} runs: {len(rows) - len(waiting)} done before, {len(waiting)} to run", flush=True)
    for number, row in enumerate(waiting, 1):
        print(f"[{number} of {len(waiting)}] {row.name}", flush=True)
        row.outcome = run_plan(row.planned, out=out, name=row.name, timeout=timeout, memory_mb=memory_mb)
        write_comparison(rows, out, title=path.stem)
        if row.outcome.status == 130:
            print("The same command goes on where this one stopped.", flush=True)
            return 130
    page = write_comparison(rows, out, title=path.stem)
    failed = [row.name for row in rows if row.outcome is None or row.outcome.status]
    if failed:
        print(f"failed: {', '.join(failed)}. Mend the cause; the same command runs only these again.")
    print(f"open {page}", flush=True)
    return 1 if failed else 0
