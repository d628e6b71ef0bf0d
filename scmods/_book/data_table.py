"""Directive ``scmods-data-table``: the tables of the page on data, made from the registry at build time."""

from __future__ import annotations

import csv
import math
import re
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

from docutils import nodes
from docutils.parsers.rst import Directive

if TYPE_CHECKING:
    from sphinx.application import Sphinx

__all__ = ["DataTable", "connect", "page_link", "readable_bytes", "registry_file", "simple_table"]

# column of the registry -> heading and relative width
SET_COLUMNS = {
    "name": ("data set", 20),
    "content": ("what it holds, and what to cite", 50),
    "used by": ("chapter", 12),
    "bytes": ("size", 10),
    "licence": ("licence", 12),
}
FILE_COLUMNS = {
    "key": ("file", 40),
    "bytes": ("size", 12),
    "licence": ("licence", 18),
    "sha256": ("SHA-256 (first 12)", 20),
}


def registry_file() -> Path:
    """The list of data files that ships with the package."""
    import scmods

    return Path(scmods.__file__).parent / "datasets" / "registry.csv"


def readable_bytes(value: object) -> str:
    """``1.2 MB`` for 1234567; a dash for nothing."""
    try:
        size = float(str(value))
    except ValueError:
        return "–"
    if math.isnan(size) or size <= 0:
        return "–"
    for unit in ("B", "KB", "MB"):
        if size < 1000:
            return f"{size:.0f} B" if unit == "B" else f"{size:.1f} {unit}"
        size /= 1000
    return f"{size:.1f} GB"


def _set_rows() -> list[dict[str, Any]]:
    from scmods import datasets

    table = datasets.table().reset_index(drop=False)
    table.columns = [str(c).replace("_", " ").replace("license", "licence") for c in table.columns]
    return table.to_dict("records")


def _file_rows() -> list[dict[str, Any]]:
    with registry_file().open(encoding="utf-8", newline="") as handle:
        return [
            {k.replace("license", "licence"): v for k, v in row.items()} for row in csv.DictReader(handle)
        ]


def _cell(column: str, row: dict[str, Any]) -> list[nodes.Node]:
    value = row.get(column, "")
    if column == "bytes":
        return [nodes.paragraph(text="no file" if row.get("embedded") else readable_bytes(value))]
    if column == "sha256":
        return [nodes.paragraph("", "", nodes.literal(text=str(value)[:12]))]
    if column == "key" and str(row.get("url", "")).startswith("http"):
        return [nodes.paragraph("", "", nodes.reference("", str(value), refuri=row["url"], internal=False))]
    if column in ("name", "key"):
        return [nodes.paragraph("", "", nodes.literal(text=str(value)))]
    if column == "content" and row.get("citation"):
        return [nodes.paragraph(text=str(value)), _with_dois(str(row["citation"]))]
    items = value if isinstance(value, list | tuple | set) else [value]
    return [nodes.paragraph(text=", ".join(str(v) for v in items))]


def _with_dois(text: str) -> nodes.paragraph:
    """The text with every ``doi:10...`` as a link."""
    cell = nodes.paragraph()
    for part in re.split(r"(doi:10\.[^\s,;]+)", text):
        if part.startswith("doi:"):
            cell += nodes.reference("", part, refuri="https://doi.org/" + part[4:], internal=False)
        else:
            cell += nodes.Text(part)
    return cell


def build_table(rows: list[dict[str, Any]], columns: dict[str, tuple[str, int]]) -> nodes.table:
    """A docutils table with a header row; columns that no row has are left out."""
    keep = [c for c in columns if any(c in row for row in rows)]
    heads: list[list[nodes.Node]] = [[nodes.paragraph(text=columns[c][0])] for c in keep]
    cells = [[_cell(c, row) for c in keep] for row in rows]
    return simple_table(heads, cells, [columns[c][1] for c in keep])


def simple_table(
    heads: list[list[nodes.Node]], rows: list[list[list[nodes.Node]]], widths: list[int], *classes: str
) -> nodes.table:
    """A docutils table of ready cells, with relative widths."""
    group = nodes.tgroup(cols=len(widths))
    group += [nodes.colspec(colwidth=width) for width in widths]
    head, body = nodes.thead(), nodes.tbody()
    head += _row(heads)
    body += [_row(row) for row in rows]
    group += [head, body]
    return nodes.table("", group, classes=["table", "colwidths-given", *classes])


def page_link(docname: str, page: str, text: str) -> nodes.Node:
    """Link to a page of the book (a name that starts with a slash), resolved by Sphinx."""
    from sphinx import addnodes

    found = {"refdomain": "std", "reftype": "doc", "reftarget": page, "refexplicit": True, "refwarn": True}
    return addnodes.pending_xref("", nodes.inline("", text), refdoc=docname, **found)


def _row(cells: list[list[nodes.Node]]) -> nodes.row:
    row = nodes.row()
    for cell in cells:
        row += nodes.entry("", *cell)
    return row


class DataTable(Directive):
    """``sets`` (one row per data set) or ``files`` (one row per file, linked to its public source)."""

    required_arguments = 1
    option_spec: ClassVar[dict[str, Any]] = {}

    def run(self) -> list[nodes.Node]:
        """Nodes of the table; an unknown argument is an error that names the two choices."""
        kind = self.arguments[0]
        if kind not in ("sets", "files"):
            msg = f"scmods-data-table takes 'sets' or 'files', not {kind!r}"
            raise self.error(msg)
        env = self.state.document.settings.env
        env.note_dependency(str(registry_file()))
        if kind == "sets":
            return [build_table(_set_rows(), SET_COLUMNS)]
        return [build_table(_file_rows(), FILE_COLUMNS)]


def connect(app: Sphinx) -> None:
    """Register the directive."""
    app.add_directive("scmods-data-table", DataTable)
