"""The folder of a run: its name while it runs and after, what is written beside the notebook."""

from __future__ import annotations

import json
import os
import time
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from scmods._book import notebook_file
from scmods._book.content_key import HOME, content_key, file_hash, versions

if TYPE_CHECKING:
    from scmods._book.own_data import Plan

__all__ = ["OwnDataError", "close", "new_folder", "rescue", "run_key", "write_end", "write_facts"]

PATIENCE = 10.0  # seconds that another program may keep a file of the folder open


class OwnDataError(ValueError):
    """The command cannot be run as given; the text says how to give it."""


def new_folder(out: Path, name: str) -> tuple[Path, Path]:
    """An unused folder for the run, and the working name it has until the run ends."""
    for counter in range(1, 1000):
        final = out / (name if counter == 1 else f"{name}-{counter}")
        running = final.with_name(final.name + ".running")
        if final.exists() or final.with_name(final.name + ".failed").exists():
            continue
        try:
            running.mkdir(parents=True)
        except FileExistsError:
            continue
        return final, running
    msg = f"No free folder name in {out}. Give another with -o FOLDER."
    raise OwnDataError(msg)


def run_key(planned: Plan) -> str:
    """Key of all that decides what a run gives: notebook, parameters, files, package and versions."""
    return content_key(notebook_file.read(planned.notebook), planned.given, root=HOME)


def write_facts(folder: Path, planned: Plan, line: str) -> None:
    """``params.json`` and ``versions.txt``: what runs, on what, with what."""
    files = {}
    for name, value in planned.values.items():
        if isinstance(value, str) and value and Path(value).is_file():
            files[name] = {"path": value, "bytes": Path(value).stat().st_size, "sha256": file_hash(value)}
    facts = {
        "chapter": planned.chapter,
        "parameters": planned.values,
        "given": sorted(planned.given),
        "key": run_key(planned),
        "files": files,
        "command": line,
        "started": time.strftime("%Y-%m-%dT%H:%M:%S%z"),
    }
    _write_json(folder / "params.json", facts)
    lines = "".join(f"{name}=={version}\n" for name, version in versions().items())
    notebook_file.write_text(folder / "versions.txt", lines)


def _write_json(path: Path, facts: Mapping[str, Any]) -> None:
    notebook_file.write_text(path, json.dumps(facts, indent=1, ensure_ascii=False) + "\n")


def write_end(folder: Path, result: Mapping[str, Any]) -> None:
    """Add to ``params.json`` how the run ended and what it took."""
    path = folder / "params.json"
    facts = json.loads(path.read_text(encoding="utf-8"))
    facts |= {name: result.get(name) for name in ("ok", "seconds", "cpu_seconds", "peak_mb")}
    error = result.get("error")
    if error:
        facts["error"] = f"code cell {error.get('cell')}: {error['name']}: {str(error['message']).strip()}"
    _write_json(path, facts)


def rescue(folder: Path) -> None:
    """Name the unfinished notebook of a stopped run as what it is."""
    for part in folder.glob("notebook.ipynb.*.part"):
        os.replace(part, folder / "notebook.failed.ipynb")


def close(running: Path, final: Path, *, ok: bool) -> Path:
    """Give the folder of an ended run its last name, without unfinished files."""
    target = final if ok else final.with_name(final.name + ".failed")
    for part in running.rglob("*.part"):
        part.unlink(missing_ok=True)
    end = time.monotonic() + PATIENCE
    while True:
        try:
            os.replace(running, target)
        except PermissionError:  # Windows, while a virus scanner or an ending kernel still holds a file
            if time.monotonic() > end:
                raise
            time.sleep(0.2)
        else:
            return target
