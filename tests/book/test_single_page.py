"""A run as one HTML file: complete, offline, escaped, with the tables at the end."""

from __future__ import annotations

import json
import re

import pytest

pytest.importorskip("myst_parser")

from scmods._book.figure_html import PLOTLY_MIME
from scmods._book.myst_html import harmless, number_equations, to_html
from scmods._book.single_page import render
from scmods._book.site_check import read_page

FIGURE = {"data": [{"type": "scatter", "y": [1, 2]}], "layout": {"meta": {"alt": "Two points"}}}
CLAIM = {"claim": {"name": "R2", "value": 0.912345, "low": 0.8, "high": None}}


def markdown(text, *tags):
    return {"cell_type": "markdown", "id": "m", "metadata": {"tags": list(tags)}, "source": text}


def code(source, *outputs, tags=()):
    cell = {"cell_type": "code", "id": "c", "metadata": {"tags": list(tags)}, "source": source}
    return cell | {"execution_count": 1, "outputs": list(outputs)}


def shown(metadata=None, **data):
    return {"output_type": "display_data", "metadata": metadata or {}, "data": data}


def page(folder, *cells, **info):
    source = folder / "run.ipynb"
    kernel = {"kernelspec": {"name": "python3", "display_name": "Python 3", "language": "python"}}
    book = {"cells": list(cells), "metadata": kernel, "nbformat": 4, "nbformat_minor": 5}
    source.write_text(json.dumps(book), encoding="utf-8")
    return render(source, folder / "out.html", info=info).read_text(encoding="utf-8")


def without_scripts(text):
    return re.sub(r"<(script|style)\b.*?</\1>", "", text, flags=re.S)


def test_nothing_is_loaded_and_no_fault_is_on_the_page(tmp_path):
    cells = [
        markdown(
            "# Title\n\n$x^2$ and <script src='https://x.org/a.js'></script>![far](https://x.org/a.png)"
        ),
        code("draw()", shown(**{PLOTLY_MIME: FIGURE})),
        code("t", shown(**{"text/html": "<img src='https://x.org/b.png' alt='b'><b onclick='x()'>3</b>"})),
    ]
    text = page(tmp_path, *cells)
    # plotly itself holds the address of map icons, which our figures do not use; judge what surrounds it
    (tmp_path / "rest.html").write_text(
        re.sub(r"<script>.*?</script>", "", text, flags=re.S), encoding="utf-8"
    )
    found = read_page(tmp_path / "rest.html")
    assert found.loads == []
    assert found.problems == []
    assert found.n_figures == 1
    assert "onclick" not in without_scripts(text)
    assert "x.org" not in without_scripts(text)


def test_scripts_are_in_the_page_once_and_only_when_needed(tmp_path):
    plain = page(tmp_path, markdown("# Title\n\nText."))
    assert len(plain) < 40_000
    assert "<script" not in plain
    both = page(tmp_path, markdown("# T\n\n$x$ $y$"), code("f", *[shown(**{PLOTLY_MIME: FIGURE})] * 3))
    assert both.count("plotly.js v") <= 2
    assert 4e6 < len(both) < 9e6
    assert both.count("window.MathJax={") == 1


def test_no_inlined_script_ends_early(tmp_path):
    text = page(tmp_path, markdown("# T\n\n$x$"), code("f", shown(**{PLOTLY_MIME: FIGURE})))
    assert text.count("<script>") == 4
    assert len(re.findall(r"</script", text)) == 5  # the four, and the JSON of the figure


def test_tables_at_the_end(tmp_path):
    text = page(
        tmp_path,
        code("claim()", shown(CLAIM, **{"text/plain": "R2: within [0.8, ...]"})),
        chapter="bmlp", title="A <title>", parameters={"dataset": "my.h5ad", "seed": 3},
        versions={"torch": "2.13.0"}, seconds=12.345, peak_mb=512, command="python -m scmods run bmlp",
    )  # fmt: skip
    assert "<tr><td>R2</td><td>0.9123</td><td>0.8</td><td>open</td><td>yes</td></tr>" in text
    assert "<tr><td>dataset</td><td>&#x27;my.h5ad&#x27;</td></tr>" in text
    assert "<tr><td>torch</td><td>2.13.0</td></tr>" in text
    assert "<tr><td>seconds</td><td>12.35</td></tr>" in text
    assert "<tr><td>peak memory</td><td>512 MiB</td></tr>" in text
    assert "python -m scmods run bmlp" in text
    assert "How to cite" in text
    assert "<title>A &lt;title&gt;</title>" in text


@pytest.mark.parametrize(("value", "met"), [(0.5, "no"), (0.9, "yes"), (float("nan"), "no"), (None, "no")])
def test_a_missed_claim_is_called_so(tmp_path, value, met):
    text = page(tmp_path, markdown("# T"), claims=[{"name": "c", "value": value, "low": 0.8, "high": 1.0}])
    assert f"<td>1</td><td>{met}</td></tr>" in text


def test_outputs_of_every_kind(tmp_path):
    stream = {"output_type": "stream", "name": "stdout", "text": ["a <b>\n", "\x1b[31mred\x1b[0m"]}
    error = {"output_type": "error", "ename": "E", "evalue": "v", "traceback": ["\x1b[0;31mline", "E: v"]}
    text = page(
        tmp_path,
        code(
            "x",
            stream,
            error,
            shown(**{"image/png": "AAAA", "text/plain": "p"}),
            shown(**{"text/plain": "1 < 2"}),
        ),
        code("hidden()", tags=["remove-cell"]),
        code("quiet()", shown(**{"text/plain": "seen"}), tags=["remove-input"]),
        code("silent()", shown(**{"text/plain": "unseen"}), tags=["remove-output"]),
    )
    body = without_scripts(text)
    assert "a &lt;b&gt;\nred</pre>" in body
    assert "failed" in body
    assert 'src="data:image/png;base64,AAAA"' in body
    assert "1 &lt; 2" in body
    assert "hidden" not in body
    assert "quiet" not in body
    assert "seen" in body
    assert "unseen" not in body


def test_code_is_folded_and_parameters_are_named(tmp_path):
    text = page(tmp_path, code("seed: int = 0", tags=["parameters"]), code("go()"))
    assert "<summary>Parameters</summary>" in text
    assert "<summary>Code</summary>" in text
    assert "<details open" not in text


def test_a_box_left_open_does_not_swallow_the_tables(tmp_path):
    text = page(tmp_path, markdown("```{solution-start} ex\n:class: dropdown\n```"), parameters={"a": 1})
    body = without_scripts(text)
    assert body.index("</details>") < body.index("This run")


def test_an_existing_file_is_replaced_whole(tmp_path):
    (tmp_path / "out.html").write_text("old")
    assert "old" not in without_scripts(page(tmp_path, markdown("# New")))
    assert sorted(p.name for p in tmp_path.iterdir()) == ["out.html", "run.ipynb"]


@pytest.mark.parametrize(
    ("source", "expected"),
    [
        ("```{note}\nText *a*.\n```", '<p class="box-title">Note</p><p>Text <em>a</em>.</p>'),
        (
            ":::{admonition} Goals\n:class: tip\n- one\n:::",
            '<p class="box-title">Goals</p><ul>\n<li>one</li>',
        ),
        ("```{exercise-start} Third\n:label: e\n```", '<p class="box-title">Exercise: Third</p>'),
        ("```{solution-end}\n```", "</details>"),
        ("(label)=\n# Head", "<h1>Head</h1>"),
        ("A {term}`mode <modes>` of {func}`~scmods.bmlp.fit`", "A mode of <code>scmods.bmlp.fit</code>"),
        ("{cite:p}`paul2015,wolf2018scanpy`", "[Paul 2015; Wolf 2018]"),
        ("$a < b$", '<span class="math">\\(a &lt; b\\)</span>'),
        ("$$\na\n$$", '<div class="math">\\[a\\]</div>'),
        ("```{math}\n:label: eq-a\nb\n```", '<div class="math">\\[b\\]</div>'),
        ("```{mermaid}\nkept\n```", "<p>kept</p>"),
        ("| a |\n|---|\n| 1 |", "<td>1</td>"),
    ],
)
def test_markdown(source, expected):
    assert expected in to_html(source)


def test_local_pictures_become_part_of_the_page(tmp_path):
    (tmp_path / "a.png").write_bytes(b"abc")
    assert 'src="data:image/png;base64,YWJj" alt="A"' in to_html("![A](a.png)", tmp_path)
    assert "[B]" in to_html("![B](gone.png)", tmp_path)


def test_equations_are_numbered_over_cells():
    first, second = number_equations(
        ["$$\na\n$$ (eq-a)\n", "$$\nb\n$$ (eq-b)\n\nBy {eq}`eq-b` and {eq}`eq-a`."]
    )
    assert "\\tag{1}" in first
    assert "\\tag{2}" in second
    assert "By (2) and (1)." in second


@pytest.mark.parametrize(
    "text",
    [
        "<script>x</script>",
        "<SCRIPT src=a>x</SCRIPT>",
        '<img src="https://x.org/a">',
        "<img src=//x.org/a>",
        '<iframe src="a"></iframe>',
        '<link rel="stylesheet" href="https://x.org">',
        "<style>@import url(https://x.org/a.css);</style>",
    ],
)
def test_harmless_removes_what_loads_or_runs(text):
    left = harmless(f"<p>kept</p>{text}<p>too</p>")
    assert "x.org" not in left
    assert "<script" not in left.lower()
    assert "<iframe" not in left
    assert "<p>kept</p>" in left
    assert "<p>too</p>" in left
