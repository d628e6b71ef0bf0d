"""Directive ``scmods-evidence``: claims of the runs that set a method against the original or a baseline.

``book/evidence.yml`` says which claims and what each compares; values and bounds come from the runs.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

from docutils import nodes
from docutils.parsers.rst import Directive

from scmods._book.data_table import page_link, simple_table
from scmods._book.run_pages import RunPage, read_run_pages

if TYPE_CHECKING:
    from sphinx.application import Sphinx

__all__ = ["Evidence", "bounds_text", "connect", "read_list"]

EMPTY = "No run of this chapter has results in this build. python tasks.py book makes them, and this table."


def read_list(path: Path, chapter: str) -> list[dict[str, str]]:
    """Entries ``{claim, compares}`` of a chapter.

    Raises
    ------
    ValueError
        If the file has no such chapter or an entry lacks a field.
    """
    import yaml

    content = yaml.safe_load(path.read_text(encoding="utf-8")) or {}
    if chapter not in content:
        msg = f"{path.name} lists no chapter {chapter!r}, but {', '.join(content) or 'nothing'}. Add `{chapter}:`."
        raise ValueError(msg)
    for entry in content[chapter]:
        if not isinstance(entry, dict) or set(entry) != {"claim", "compares"}:
            msg = f"{path.name}, {chapter}: every entry needs `claim` and `compares`, but one is {entry!r}."
            raise ValueError(msg)
    return content[chapter]


def bounds_text(claim: dict[str, Any]) -> str:
    """The bounds of a claim in words and signs."""
    low, high = claim["low"], claim["high"]
    if low is None and high is None:
        return "no bound"
    if low is not None and high is not None:
        return f"= {low:g}" if low == high else f"{low:.3g} to {high:.3g}"
    return f"≤ {high:.3g}" if low is None else f"≥ {low:.3g}"


def _value(page: RunPage, name: str) -> list[nodes.Node]:
    found = next((c for c in page.claims if c["name"] == name), None)
    if found is None:
        return [nodes.paragraph(text="–")]
    value = nodes.paragraph(text=f"{found['value']:.3g}")
    return [value, nodes.paragraph("", bounds_text(found), classes=["scmods-bounds"])]


def _compared(entry: dict[str, str]) -> list[nodes.Node]:
    name = nodes.paragraph("", entry["claim"], classes=["scmods-bounds"])
    return [nodes.paragraph(text=entry["compares"]), name]


def _rows(entries: list[dict[str, str]], pages: list[RunPage]) -> list[list[list[nodes.Node]]]:
    """One row per claim that at least one page made."""
    made = {claim["name"] for page in pages for claim in page.claims}
    kept = [entry for entry in entries if entry["claim"] in made]
    return [[_compared(entry), *[_value(page, entry["claim"]) for page in pages]] for entry in kept]


class Evidence(Directive):
    """``scmods-evidence CHAPTER``: a row per claim, a column per page that has results."""

    required_arguments = 1
    option_spec: ClassVar[dict[str, Any]] = {}

    def run(self) -> list[nodes.Node]:
        """Nodes of the table, or a sentence when no run has results."""
        env, chapter = self.state.document.settings.env, self.arguments[0]
        path = Path(env.srcdir) / "evidence.yml"
        env.note_dependency(str(path))
        try:
            entries = read_list(path, chapter)
        except (OSError, ValueError) as error:
            msg = f"scmods-evidence: {error}"
            raise self.error(msg) from error
        pages = [page for page in read_run_pages(Path(env.srcdir) / "runs", chapter) if page.done]
        for page in pages:
            env.note_dependency(str(page.path))
        rows = _rows(entries, pages)
        if not rows:
            return [nodes.paragraph(text=EMPTY)]
        heads = [[nodes.paragraph(text="what is compared")]]
        heads += [[nodes.paragraph("", "", page_link(env.docname, f"/runs/{p.id}", p.id))] for p in pages]
        return [simple_table(heads, rows, [40, *[15] * len(pages)], "scmods-narrow")]


def connect(app: Sphinx) -> None:
    """Register the directive."""
    app.add_directive("scmods-evidence", Evidence)
