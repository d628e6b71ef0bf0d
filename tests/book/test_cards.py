"""Cards of the landing page: what they show of a run, and what they say when there is none."""

from __future__ import annotations

import base64
import json
import struct
from pathlib import Path

import pytest

from scmods._book import cards, notebook_file
from scmods._book.figure_html import PLOTLY_MIME, alt_text
from scmods._book.run_pages import FACTS, RunPage, read_run_pages

ROOT = Path(__file__).resolve().parents[2]
CHAPTERS = ("bmlp", "hopfield", "smoother", "scyan", "amici")
KEPT = {"chapter": "toy", "main": True, "label": "two cells", "title": "Toy", "state": "done", "reason": ""}
KEPT |= {"data": [], "seconds": 12.3, "cpu_seconds": 9.0, "peak_mb": 345, "date": "2026-01-01", "commit": "x"}
FIGURE = {
    "data": [
        {
            "type": "scatter",
            "mode": "markers",
            "x": [0, 1],
            "text": ["a", "b"],
            "customdata": [[1], [2]],
            "marker": {"size": 9, "colorbar": {"title": {"text": "c"}}, "showscale": True},
            "y": {"dtype": "f8", "bdata": base64.b64encode(struct.pack("<2d", 0.5, 2.0)).decode()},
        }
    ],
    "layout": {
        "meta": {"alt": "Two cells"},
        "title": {"text": "T"},
        "xaxis": {"range": [0, 1]},
        "height": 600,
    },
}


def code(output: dict | None, *tags: str) -> dict:
    outputs = (
        []
        if output is None
        else [{"output_type": "display_data", "metadata": {}, "data": {PLOTLY_MIME: output}}]
    )
    return {"cell_type": "code", "metadata": {"tags": list(tags)}, "source": "", "outputs": outputs}


def write(folder: Path, name: str, facts: dict, *cells: dict) -> None:
    box = {"cell_type": "markdown", "metadata": {FACTS: facts}, "source": ""}
    book = {"cells": [box, *cells], "metadata": {}, "nbformat": 4, "nbformat_minor": 5}
    (folder / f"{name}.ipynb").write_text(json.dumps(book), encoding="utf-8")


def test_the_figure_is_the_last_output_of_the_tagged_cell():
    other = {"data": [], "layout": {}}
    assert cards.tagged_figure([code(other), code(FIGURE, "card"), code(other)]) == FIGURE
    assert cards.tagged_figure([code(FIGURE)]) is None


def test_a_card_figure_keeps_marks_and_alt_text_only():
    bare = cards.card_figure(FIGURE)
    trace, layout = bare["data"][0], bare["layout"]
    assert alt_text(bare) == "Two cells"
    assert {"text", "customdata"} & set(trace) == set()
    assert trace["marker"] == {"size": 3, "showscale": False}
    assert struct.unpack("<2f", base64.b64decode(trace["y"]["bdata"])) == (0.5, 2.0)
    assert trace["y"]["dtype"] == "f4"
    assert layout["xaxis"] == {"range": [0, 1], "visible": False}
    assert layout["height"] == cards.HEIGHT
    assert "title" not in layout
    assert FIGURE["layout"]["height"] == 600  # the page's own figure is untouched


def test_pages_of_a_chapter_come_with_the_main_page_first(tmp_path):
    write(tmp_path, "toy-b", KEPT | {"main": False})
    write(tmp_path, "toy", KEPT, code(FIGURE, "card"))
    write(tmp_path, "toys", KEPT | {"chapter": "toys"})
    pages = read_run_pages(tmp_path, "toy")
    assert [page.id for page in pages] == ["toy", "toy-b"]
    assert cards.cost(pages[0]) == "12 s, 345 MB, two cells"


def test_a_page_without_result_says_so():
    page = RunPage("toy", Path("toy.ipynb"), KEPT | {"state": "not run"})
    assert "No result here yet" in cards.Cards._last_line(page, [page], None)
    assert "No result here yet" in cards.Cards._last_line(None, [], None)
    page = RunPage("toy", Path("toy.ipynb"), KEPT)
    assert "no cell is tagged" in cards.Cards._last_line(page, [page], None)


def test_gigabytes_are_written_as_such():
    assert cards._memory(999) == "999 MB"
    assert cards._memory(1340) == "1.3 GB"


@pytest.mark.parametrize("chapter", CHAPTERS)
def test_every_chapter_has_exactly_one_cell_for_its_card(chapter):
    notebook = notebook_file.read(ROOT / "notebooks" / f"{chapter}.ipynb")
    tagged = [cell for cell in notebook["cells"] if "card" in notebook_file.tags(cell)]
    assert len(tagged) == 1
    assert "plot" in tagged[0]["source"]


def test_the_landing_page_has_a_card_for_every_chapter():
    text = (ROOT / "book" / "intro.md").read_text(encoding="utf-8")
    block = text.split("```{scmods-cards}\n")[1].split("```")[0]
    assert tuple(line.partition(":")[0] for line in block.splitlines()) == CHAPTERS


@pytest.mark.parametrize("chapter", CHAPTERS)
def test_card_figures_of_finished_runs_are_light(chapter):
    pages = [p for p in read_run_pages(ROOT / "book" / "runs", chapter) if p.facts["main"] and p.done]
    if not pages:
        pytest.skip("the chapter has not been run here")
    figure = cards._figure_node(pages[0])
    assert figure is not None
    assert len(figure.astext().encode()) <= cards.MAX_CARD_BYTES
