"""Copies for participants: solutions out, MyST turned into Markdown that any Jupyter shows."""

from __future__ import annotations

import copy
import hashlib
import re
from typing import Any

from scmods._book.notebook_file import tags

__all__ = ["leaks", "participant", "plain"]

BLANK = "# your code here"
CODE_ROLES = ("func", "class", "meth", "mod", "attr", "data", "obj", "exc")
ROLE = re.compile(r"\{(?:py:)?([\w:-]+)\}`~?([^`<]+?)(?:\s*<[^`>]+>)?`")
OPTION = re.compile(r"^:(?:label|class|name|width|align|nonumber|hidden|open|alt|height|scale):.*$\n?", re.M)


def plain(text: str) -> str:
    """Markdown without MyST marks: labels, directives, options and roles.

    The title of an exercise or admonition becomes a bold line, a reference becomes its text.
    """
    text = re.sub(r"^\([^()\s]+\)=\s*\n", "", text, flags=re.M)
    text = _unfence(text)
    text = OPTION.sub("", text)
    text = re.sub(r"^\$\$ *\([^()\s]+\) *$", "$$", text, flags=re.M)
    text = ROLE.sub(lambda m: f"`{m[2].strip()}`" if m[1] in CODE_ROLES else m[2].strip(), text)
    text = re.sub(r"\]\(#[^)]*\)", "]", text)
    return re.sub(r"\n{3,}", "\n\n", text).strip()


def _heading(directive: str, words: str) -> list[str]:
    """Bold line that stands for the title of a directive, or nothing."""
    if directive.startswith("exercise") and directive != "exercise-end":
        return [f"**Exercise. {words}**"]
    return [f"**{words}**", ""] if directive == "admonition" and words else []


def _unfence(text: str) -> str:
    """Drop lines that open or close a directive; fences of code stay."""
    kept: list[str] = []
    fences: list[tuple[str, bool, str | None]] = []  # marks, whether it is code, line that closes it
    for line in text.splitlines():
        fence = re.match(r"^\s*(`{3,}|:{3,})\s*(?:\{([\w-]+)\})?\s*(.*)$", line)
        if fence is None or (fences and fences[-1][1] and fence[1] != fences[-1][0]):
            kept.append(line)
            continue
        marks, directive, words = fence[1], fence[2], fence[3].strip()
        if not directive and not words and fences:
            end = fences.pop()[2]
            kept += [] if end is None else [end]
        elif directive == "math":
            fences.append((marks, False, "$$"))
            kept.append("$$")
        elif directive and directive != "code-block":
            fences.append((marks, False, None))
            kept += _heading(directive, words)
        else:
            fences.append((marks, True, marks))
            kept.append(marks + words)
    return "\n".join(kept)


def _blank(cell: dict[str, Any]) -> dict[str, Any]:
    name = hashlib.sha256(cell["source"].encode()).hexdigest()[:8]
    return {
        "cell_type": "code",
        "execution_count": None,
        "id": name,
        "metadata": {},
        "outputs": [],
        "source": BLANK,
    }


def participant(notebook: dict[str, Any]) -> dict[str, Any]:
    """The notebook as participants get it.

    Parameters
    ----------
    notebook
        JSON of the source notebook, from :func:`scmods._book.notebook_file.read`; it is not changed.

    Returns
    -------
    A copy without outputs, without cells tagged ``solution`` (one empty code cell stands for each group of
    them) or ``remove-cell``, and with plain Markdown.
    """
    cells: list[dict[str, Any]] = []
    for original in notebook["cells"]:
        cell = copy.deepcopy(original)
        if "solution" in tags(cell):
            if cell["cell_type"] == "code" and (not cells or cells[-1]["source"] != BLANK):
                cells.append(_blank(cell))
            continue
        if "remove-cell" in tags(cell):
            continue
        if cell["cell_type"] == "markdown":
            cell["source"] = plain(cell["source"])
            if not cell["source"]:
                continue
        else:
            cell["outputs"], cell["execution_count"] = [], None
        cells.append(cell)
    return {**copy.deepcopy(notebook), "cells": cells}


def leaks(source: dict[str, Any], copied: dict[str, Any]) -> list[str]:
    """Lines of solutions that a participant copy gives away, and marks of solutions in cells without the tag.

    Only lines of at least 12 characters count, and not those that also stand outside the solutions.
    """
    found = [
        f"a cell without the tag `solution` holds a solution: {cell['source'].splitlines()[0]!r}"
        for cell in source["cells"]
        if "{solution" in cell["source"] and "solution" not in tags(cell)
    ]
    public, secret = set(), {}
    for cell in source["cells"]:
        lines = [line.strip() for line in cell["source"].splitlines()]
        if "solution" in tags(cell):
            secret |= dict.fromkeys(line for line in lines if len(line) >= 12)
        else:
            public |= set(lines)
    shown = {line.strip() for cell in copied["cells"] for line in cell["source"].splitlines()}
    return found + [line for line in secret if line in shown and line not in public]
