"""What there is: chapters with their parameters, data sets with size, licence and place."""

from __future__ import annotations

from pathlib import Path

from scmods._book import notebook_file
from scmods._book.content_key import HOME
from scmods._book.own_data import chapters
from scmods._book.params import parameters

__all__ = ["overview"]


def _chapter(name: str, path: Path) -> list[str]:
    notebook = notebook_file.read(path)
    lines = [f"{name}: {notebook_file.title(notebook)}"]
    for p in parameters(notebook, path.name).values():
        lines.append(f"    -p {p.name}={p.default}  ({p.type}) {p.help}")
    return lines


def _size(size: float) -> str:
    return f"{size / 1e6:.2f} MB" if size else "embedded"


def _data_sets() -> list[str]:
    from scmods import datasets

    lines = []
    for row in datasets.table().to_dict("records"):
        hand = "at hand" if row["at_hand"] else "to be downloaded"
        lines.append(f"    {row['name']}  {_size(row['bytes'])}  {row['licence']}  {hand}  {row['content']}")
    return lines


def overview(root: Path = HOME) -> str:
    """Text of ``python -m scmods list``.

    Raises
    ------
    OwnDataError
        If the notebooks are not beside the package.
    """
    lines = ["Chapters"]
    for name, path in chapters(root).items():
        lines += ["  " + line for line in _chapter(name, path)]
    lines += ["", "Data sets, for -p dataset=NAME; a path to an .h5ad file works as well"]
    return "\n".join([*lines, *_data_sets()])
