"""Directive ``scmods-ratios``: what the methods cost against the plain way, from ``benchmarks/results.json``."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

from docutils import nodes
from docutils.parsers.rst import Directive

from scmods._book.data_table import simple_table

if TYPE_CHECKING:
    from sphinx.application import Sphinx

__all__ = ["Ratios", "connect", "read_results"]

HEADS = {"what": 30, "size": 20, "against": 22, "ratio": 14, "cost": 18, "difference": 14}
FIELDS = {"chapter", "what", "size", "against", "ratio", "bar", "difference", "unit", "benchmark", "seconds"}
ABSENT = "The measurements are not part of this copy. python benchmarks/all.py makes them, in some minutes."


def read_results(path: Path) -> dict[str, Any] | None:
    """The measurements, or None when the file is absent.

    Raises
    ------
    ValueError
        If the file is not JSON of the form that ``benchmarks/all.py`` writes.
    """
    if not path.is_file():
        return None
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
        wrong = [row for row in found["rows"] if not set(row) >= FIELDS]
        head = {name: found[name] for name in ("machine", "date", "versions")}
    except (json.JSONDecodeError, KeyError, TypeError) as error:
        msg = f"{path.name} is not what benchmarks/all.py writes ({error!r}). Call it again."
        raise ValueError(msg) from error
    if wrong:
        missing = sorted(FIELDS - set(wrong[0]))
        msg = f"{path.name}: the row {wrong[0].get('what')!r} lacks {', '.join(missing)}. Call benchmarks/all.py again."
        raise ValueError(msg)
    return {**head, "rows": found["rows"]}


def _number(value: float) -> str:
    return f"{value:,.0f}" if abs(value) >= 100 else f"{value:.3g}"


def _small(text: str) -> nodes.paragraph:
    return nodes.paragraph("", text, classes=["scmods-bounds"])


def _row(row: dict[str, Any]) -> list[list[nodes.Node]]:
    ours, plain = row["seconds"]
    ratio: list[nodes.Node] = [nodes.paragraph(text=f"{_number(row['ratio'])}×")]
    if row["bar"] is not None:
        ratio.append(_small(f"aim: {_number(row['bar'])}×"))
    difference = "–" if row["difference"] is None else f"{row['difference']:.1g}"
    return [
        [nodes.paragraph(text=row["what"]), _small(row["benchmark"])],
        [nodes.paragraph(text=row["size"])],
        [nodes.paragraph(text=row["against"])],
        ratio,
        [nodes.paragraph(text=f"{_number(ours)} against {_number(plain)} {row['unit']}")],
        [nodes.paragraph(text=difference)],
    ]


def caption(results: dict[str, Any]) -> str:
    """When, where and with which versions the table was measured."""
    versions = ", ".join(f"{name} {version}" for name, version in results["versions"].items())
    return f"Measured on {results['date']} on {results['machine']}; {versions}."


class Ratios(Directive):
    """``scmods-ratios CHAPTER``: one row per measurement of the chapter."""

    required_arguments = 1
    option_spec: ClassVar[dict[str, Any]] = {}

    def run(self) -> list[nodes.Node]:
        """Nodes of the table, or a sentence that says how to make it."""
        env, chapter = self.state.document.settings.env, self.arguments[0]
        path = Path(env.srcdir).parent / "benchmarks" / "results.json"
        env.note_dependency(str(path))
        try:
            results = read_results(path)
        except ValueError as error:
            msg = f"scmods-ratios: {error}"
            raise self.error(msg) from error
        if results is None:
            return [nodes.paragraph(text=ABSENT)]
        rows = [_row(row) for row in results["rows"] if row["chapter"] == chapter]
        if not rows:
            return [nodes.paragraph(text="Nothing was measured for this chapter.")]
        heads: list[list[nodes.Node]] = [[nodes.paragraph(text=name)] for name in HEADS]
        table = simple_table(heads, rows, list(HEADS.values()))
        return [table, nodes.paragraph("", caption(results), classes=["scmods-caption"])]


def connect(app: Sphinx) -> None:
    """Register the directive."""
    app.add_directive("scmods-ratios", Ratios)
