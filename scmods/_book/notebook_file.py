"""Notebooks as plain JSON: read, write whole or not at all, look at cells.

Plain JSON instead of a notebook library, because a misspelt parameter must be refused within a second.
"""

from __future__ import annotations

import json
import os
import sys
from pathlib import Path
from typing import Any

__all__ = ["NotebookError", "code", "printable", "read", "tags", "title", "write_if_changed", "write_text"]


class NotebookError(ValueError):
    """A notebook that cannot be used, with the reason."""


def read(path: str | Path) -> dict[str, Any]:
    """The notebook at `path` with every source and text joined to one string.

    Raises
    ------
    NotebookError
        If the file is absent, is not JSON, or is older than notebook format 4.
    """
    path = Path(path)
    if not path.is_file():
        msg = f"The notebook {path} does not exist."
        raise NotebookError(msg)
    try:
        notebook = json.loads(path.read_text(encoding="utf-8"))
    except json.JSONDecodeError as error:
        msg = f"{path} is not a notebook: {error}."
        raise NotebookError(msg) from error
    if not isinstance(notebook, dict) or notebook.get("nbformat") != 4:
        msg = f"{path} is not a notebook of format 4. Open and save it in Jupyter first."
        raise NotebookError(msg)
    for cell in notebook["cells"]:
        cell["source"] = "".join(cell["source"])
    return notebook


def tags(cell: dict[str, Any]) -> list[str]:
    """Tags of a cell, empty where it has none."""
    return list(cell.get("metadata", {}).get("tags", []))


def code(notebook: dict[str, Any]) -> list[dict[str, Any]]:
    """The code cells that the author wrote, in order; a cell injected by a run is left out."""
    cells = (c for c in notebook["cells"] if c["cell_type"] == "code")
    return [c for c in cells if "injected-parameters" not in tags(c)]


def title(notebook: dict[str, Any]) -> str:
    """Text of the first level-one heading, or an empty string."""
    for cell in notebook["cells"]:
        if cell["cell_type"] == "markdown":
            for line in cell["source"].splitlines():
                if line.startswith("# "):
                    return line[2:].strip()
    return ""


def printable() -> None:
    """Let a terminal that lacks a letter show a question mark instead of ending the program."""
    for stream in (sys.stdout, sys.stderr):
        if hasattr(stream, "reconfigure"):
            stream.reconfigure(errors="replace")


def write_text(path: Path, text: str) -> None:
    """Write `text` under a temporary name, then rename: the file is whole or absent."""
    path.parent.mkdir(parents=True, exist_ok=True)
    part = path.with_name(f"{path.name}.{os.getpid()}.part")
    part.write_text(text, encoding="utf-8", newline="\n")
    os.replace(part, path)


def write_if_changed(path: Path, content: str | dict[str, Any]) -> bool:
    """Write a text or a notebook unless the file already holds it; say whether it was written.

    An unchanged file keeps its date, so that a preview builds only what changed.
    """
    text = content
    if isinstance(content, dict):
        text = json.dumps(content, indent=1, ensure_ascii=False, sort_keys=True) + "\n"
    if path.is_file() and path.read_text(encoding="utf-8") == text:
        return False
    write_text(path, str(text))
    return True
