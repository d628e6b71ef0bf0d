"""What there is: chapters with their parameters, data sets with size, licence and place."""

from __future__ import annotations

import textwrap
from pathlib import Path

from scmods._book import notebook_file
from scmods._book.content_key import HOME
from scmods._book.limits import in_words
from scmods._book.own_data import chapters, find_chapter
from scmods._book.params import Parameter, parameters

__all__ = ["overview"]

WIDTH = 100


def _parameter(chapter: str, p: Parameter) -> list[str]:
    """``-p name=default``, type and meaning, in columns; what is allowed where that is more than the type."""
    allowed = in_words(chapter, p.name)
    help_text = p.help + (f" ({allowed})" if allowed else "")
    default = f'"{p.default}"' if " " in str(p.default) else str(p.default)
    call = f"    -p {p.name}={default}"
    gap = " " * 42
    words = textwrap.wrap(f"{p.type:<5}  {help_text}", WIDTH - len(gap), subsequent_indent=" " * 7)
    if len(call) >= len(gap):
        return [call, *(gap + w for w in words)]
    return [call.ljust(len(gap)) + words[0], *(gap + w for w in words[1:])]


def _chapter(name: str, path: Path) -> list[str]:
    notebook = notebook_file.read(path)
    lines = [f"{name}: {notebook_file.title(notebook)}"]
    for p in parameters(notebook, path.name).values():
        lines += _parameter(name, p)
    return lines


def _size(size: float) -> str:
    return f"{size / 1e6:.2f} MB" if size else "embedded"


def _data_sets(chapter: str) -> list[str]:
    """Name, size, place and licence of each data set, and below what it is; of all chapters or of one."""
    from scmods import datasets

    table = datasets.table()
    if chapter:
        table = table[[chapter in str(used).replace(",", " ").split() for used in table["used_by"]]]
    rows = [
        (
            str(row["name"]),
            _size(row["bytes"]),
            "at hand" if row["at_hand"] else "to download",
            str(row["licence"]),
        )
        for row in table.to_dict("records")
    ]
    widths = [max((len(row[i]) for row in rows), default=0) for i in range(3)]
    lines = []
    for row, content in zip(rows, table["content"], strict=True):
        cells = [c.ljust(w) for c, w in zip(row, widths, strict=False)]
        lines.append("    " + "  ".join([*cells, row[3]]))
        lines += textwrap.wrap(str(content), WIDTH, initial_indent=" " * 8, subsequent_indent=" " * 8)
    return lines


def overview(chapter: str = "", root: Path = HOME) -> str:
    """Text of ``python -m scmods list``.

    Parameters
    ----------
    chapter
        Only this chapter and its data sets; empty for all.
    root
        Folder of the project.

    Raises
    ------
    OwnDataError
        If there is no such chapter, or the notebooks are not beside the package.
    """
    shown = chapters(root)
    if chapter:
        path = find_chapter(chapter, root)
        shown = {path.stem: path}
    lines = ["Chapters"]
    for name, path in shown.items():
        lines += ["  " + line for line in _chapter(name, path)]
        lines.append("")
    lines.append("Data sets, for -p dataset=NAME; a path to a file of your own works as well")
    return "\n".join([*lines, *_data_sets(Path(chapter).stem if chapter else "")])
