"""Directive ``scmods-cards``: one card per method with a figure of its own run, for the landing page.

Each line of the directive is ``chapter: question``. The figure is the last output of the cell tagged ``card``
in the executed main page; what it cost stands beside it. Without a result the card says so.
"""

from __future__ import annotations

import base64
import copy
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

from docutils import nodes
from docutils.parsers.rst import Directive

from scmods._book import notebook_file
from scmods._book.data_table import page_link
from scmods._book.figure_html import PLOTLY_MIME, figure_html
from scmods._book.run_pages import RunPage, read_run_pages

if TYPE_CHECKING:
    from sphinx.application import Sphinx

__all__ = ["MAX_CARD_BYTES", "Cards", "card_figure", "connect", "tagged_figure"]

MAX_CARD_BYTES = 24_000  # five of them keep the landing page light
HEIGHT = 150
# what only pointing at a mark would show; a card is a picture
HOVER = ("customdata", "hovertemplate", "hovertext", "hoverinfo", "ids", "legendgroup", "legendgrouptitle")
FRAME = ("title", "annotations", "updatemenus", "sliders", "legend", "images", "hovermode", "meta", "font")


def tagged_figure(cells: list[dict[str, Any]]) -> dict[str, Any] | None:
    """The last plotly figure of the cell tagged ``card``, or None."""
    found = None
    for cell in cells:
        if cell["cell_type"] == "code" and "card" in notebook_file.tags(cell):
            for output in cell.get("outputs", []):
                found = output.get("data", {}).get(PLOTLY_MIME, found)
    return found


def _single(value: Any) -> Any:
    """Plotly's binary arrays in single precision: a small picture shows no more."""
    if isinstance(value, dict) and value.get("dtype") == "f8" and "bdata" in value:
        import numpy as np

        numbers = np.frombuffer(base64.b64decode(value["bdata"]), "<f8").astype("<f4")
        return {**value, "dtype": "f4", "bdata": base64.b64encode(numbers.tobytes()).decode()}
    if isinstance(value, dict):
        return {k: _single(v) for k, v in value.items()}
    return [_single(v) for v in value] if isinstance(value, list) else value


def _bare_trace(trace: dict[str, Any]) -> dict[str, Any]:
    out = {k: v for k, v in trace.items() if k not in HOVER} | {"showlegend": False}
    if "text" not in str(out.get("mode", "")) and out.get("type", "scatter") == "scatter":
        out.pop("text", None)
    if "colorscale" in out or out.get("type") in ("heatmap", "contour"):
        out["showscale"] = False
    marker = out.get("marker")
    if isinstance(marker, dict):
        out["marker"] = {k: v for k, v in marker.items() if k != "colorbar"} | {"showscale": False}
        if isinstance(marker.get("size"), int | float):
            out["marker"]["size"] = min(marker["size"], 3)
    return out


def card_figure(content: dict[str, Any]) -> dict[str, Any]:
    """A figure reduced to its marks: no hover texts, legend, colour bar, title or axes, of a fixed small height.

    Parameters
    ----------
    content
        Plotly's JSON of the full figure; it is not modified.
    """
    full = copy.deepcopy(content)
    layout = {k: v for k, v in full.get("layout", {}).items() if k not in FRAME and k != "template"}
    for name in [k for k in layout if k[:5] in ("xaxis", "yaxis")]:
        layout[name] = {**layout[name], "visible": False}
    for name in [k for k in layout if k.startswith("coloraxis")]:
        layout[name] = {**layout[name], "showscale": False}
    if not any(k.startswith("xaxis") for k in layout):
        layout |= {"xaxis": {"visible": False}, "yaxis": {"visible": False}}
    layout |= {"height": HEIGHT, "showlegend": False, "margin": {"l": 2, "r": 2, "t": 2, "b": 2}}
    layout.pop("width", None)
    layout["meta"] = (content.get("layout") or {}).get("meta")
    return _single({"data": [_bare_trace(trace) for trace in full.get("data", [])], "layout": layout})


def _figure_node(page: RunPage) -> nodes.raw | None:
    found = tagged_figure(page.cells)
    if found is None:
        return None
    text = figure_html(card_figure(found)).replace("<div ", "<div data-static ", 1)
    return nodes.raw("", text, format="html")


def _memory(megabytes: float) -> str:
    return f"{megabytes / 1000:.1f} GB" if megabytes >= 1000 else f"{megabytes:.0f} MB"


def cost(page: RunPage) -> str:
    """Time, memory and data of a run in one line."""
    kept = page.facts
    return f"{kept['seconds']:.0f} s, {_memory(kept['peak_mb'])}, {kept['label']}"


class Cards(Directive):
    """A list of cards; each line of the content is ``chapter: question``."""

    has_content = True
    option_spec: ClassVar[dict[str, Any]] = {}

    def run(self) -> list[nodes.Node]:
        """Nodes of the list."""
        env = self.state.document.settings.env
        folder = Path(env.srcdir) / "runs"
        out = nodes.bullet_list(classes=["scmods-cards"])
        for line in self.content:
            chapter, colon, question = line.partition(":")
            if not colon or not question.strip():
                msg = f"scmods-cards takes lines `chapter: question`, not {line!r}"
                raise self.error(msg)
            out += self._card(env, folder, chapter.strip(), question.strip())
        return [out]

    def _card(self, env: Any, folder: Path, chapter: str, question: str) -> nodes.list_item:
        env.note_dependency(str(folder / f"{chapter}.ipynb"))
        pages = read_run_pages(folder, chapter)
        main = pages[0] if pages and pages[0].facts["main"] else None
        card = nodes.list_item(classes=["scmods-card"])
        link = page_link(env.docname, f"/runs/{chapter}", chapter)
        card += nodes.paragraph("", "", link, classes=["scmods-card-name"])
        card += nodes.paragraph("", question, classes=["scmods-card-question"])
        figure = _figure_node(main) if main is not None and main.done else None
        if figure is not None:
            size = len(figure.astext().encode())
            if size > MAX_CARD_BYTES:
                msg = f"the figure of the card {chapter} has {size / 1000:.0f} KB, more than "
                msg += f"{MAX_CARD_BYTES / 1000:.0f} KB: tag a smaller one in notebooks/{chapter}.ipynb"
                self.state.document.reporter.warning(msg, line=self.lineno)
            card += figure
        card += nodes.paragraph("", self._last_line(main, pages, figure), classes=["scmods-card-cost"])
        return card

    @staticmethod
    def _last_line(main: RunPage | None, pages: list[RunPage], figure: Any) -> str:
        if main is None or not main.done:
            return "No result here yet: python tasks.py book makes it."
        further = len(pages) - 1
        more = f" (+{further} data set{'s' * (further > 1)})" if further else ""
        return cost(main) + more + ("" if figure is not None else "; no cell is tagged as its card")


def connect(app: Sphinx) -> None:
    """Register the directive."""
    app.add_directive("scmods-cards", Cards)
