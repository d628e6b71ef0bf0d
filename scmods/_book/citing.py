"""How to cite a run: the book, the paper of the method, the data."""

from __future__ import annotations

import re
from pathlib import Path
from typing import TYPE_CHECKING, Any

from scmods._book.content_key import HOME

if TYPE_CHECKING:
    from pybtex.database import Entry

__all__ = ["citations", "method_key"]


def method_key(notebook: dict[str, Any]) -> str:
    """Key of the paper of the method: the first that the references of the chapter name, or an empty string."""
    for cell in notebook["cells"]:
        if cell["cell_type"] == "markdown" and "## References" in cell["source"]:
            found = re.search(r"\{cite(?::\w+)?\}`([^`,]+)", cell["source"].split("## References")[1])
            return found.group(1).strip() if found else ""
    return ""


def _line(entry: Entry) -> str:
    """One entry of the bibliography as a sentence of plain text."""
    from pybtex.richtext import Text

    authors = [" ".join(map(str, p.rich_last_names)) for p in entry.persons.get("author", [])]
    who = authors[0] + " et al." if len(authors) > 2 else " and ".join(authors)
    fields = {name: str(Text.from_latex(text)) for name, text in entry.fields.items()}
    where = next(
        (fields[n] for n in ("journal", "booktitle", "publisher", "howpublished") if fields.get(n)), ""
    )
    number = f" {fields['volume']}" if fields.get("volume") else ""
    at = f"doi:{fields['doi']}" if fields.get("doi") else fields.get("url", "")
    words = [f"{who}, {fields.get('year', '')}".strip(", "), fields.get("title", ""), where + number, at]
    return "Method: " + ". ".join(w for w in words if w) + "."


def _method(notebook: dict[str, Any], root: Path) -> str:
    from pybtex.database import parse_file

    key, path = method_key(notebook), root / "book" / "references.bib"
    if not key or not path.is_file():
        return ""
    entries = parse_file(str(path), "bibtex").entries
    return _line(entries[key]) if key in entries else ""


def _data(dataset: str, folder: Path) -> str:
    """The citation of a data set of the book, or what a file of the reader says about itself."""
    from scmods import datasets

    rows = datasets.table().set_index("name")
    if dataset in rows.index:
        return f"Data {dataset}: {rows.loc[dataset, 'citation']} (licence: {rows.loc[dataset, 'licence']})."
    result = folder / "result.h5ad"
    if result.is_file():
        import h5py

        with h5py.File(result, "r") as file:
            told = file.get("uns/source/citation")
            if told is not None:
                return f"Data {Path(dataset).name}: {told.asstr()[()]}."
    return f"Data {Path(dataset).name}: your own file; cite where it comes from." if dataset else ""


def citations(
    notebook: dict[str, Any], *, chapter: str, dataset: str, folder: Path, root: Path = HOME
) -> list[str]:
    """Lines for the end of a report.

    Parameters
    ----------
    notebook
        The notebook as JSON.
    chapter
        Its name.
    dataset
        Name of a data set, or path of a file.
    folder
        Folder of the run, whose result may say where the data are from.
    root
        Folder of the project, with the bibliography.
    """
    from scmods import __version__

    book = f"The scmods authors. scmods: a book that runs, version {__version__}, chapter {chapter}."
    return [line for line in (book, _method(notebook, root), _data(dataset, folder)) if line]
