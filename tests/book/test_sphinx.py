"""The Sphinx side: a small book built as the real one is, and each fault that must stop a build."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

pytest.importorskip("jupyter_book")

from pygments.formatters import HtmlFormatter

from scmods._book import api_names, data_table, page_weight
from scmods._book.figure_html import PLOTLY_MIME, alt_text, figure_html
from scmods._book.site_check import check, missing_terms

ROOT = Path(__file__).resolve().parents[2]
ALT = 'Cells on a line, "quoted" & <b>marked</b>'


def figure(alt: str | None = ALT, name: str = "</script><script>alert(1)</script>") -> dict:
    layout = {"title": {"text": "A line"}, "height": 300, "template": {"layout": {"font": {"size": 99}}}}
    if alt is not None:
        layout["meta"] = {"alt": alt}
    return {"data": [{"type": "scatter", "x": [0, 1], "y": [1, 2], "name": name}], "layout": layout}


def notebook(path: Path, content: dict) -> None:
    output = {"output_type": "display_data", "metadata": {}, "data": {PLOTLY_MIME: content}}
    title = {
        "cell_type": "markdown",
        "id": "a",
        "metadata": {},
        "source": "# Run\n\nA {term}`cell` and $x^2$.",
    }
    code = {"cell_type": "code", "id": "b", "metadata": {}, "source": "draw()"}
    code |= {"execution_count": 1, "outputs": [output]}
    kernel = {"kernelspec": {"name": "python3", "display_name": "Python 3", "language": "python"}}
    book = {"cells": [title, code], "metadata": kernel, "nbformat": 4, "nbformat_minor": 5}
    path.write_text(json.dumps(book), encoding="utf-8")


def make_book(folder: Path, content: dict) -> Path:
    """Two pages, a glossary, a formula and a figure, with the configuration of the real book."""
    (folder / "book").mkdir(parents=True)
    shutil.copy(ROOT / "_config.yml", folder)
    shutil.copytree(ROOT / "book" / "_inv", folder / "book" / "_inv")
    (folder / "book" / "references.bib").write_text("@misc{a2020, author={A, B}, title={T}, year={2020}}\n")
    (folder / "book" / "_toc.yml").write_text("format: jb-book\nroot: intro\nchapters:\n  - file: run\n")
    (folder / "book" / "intro.md").write_text(
        "# Start\n\nSee {doc}`run`, {cite:t}`a2020`, {func}`scmods.claim` and {class}`torch.Tensor`.\n\n"
        "```{glossary}\ncell\n  A row of the eigentable.\n```\n\n"
        "```{scmods-data-table} files\n```\n\n"
        "```{eval-rst}\n.. py:module:: scmods\n\n.. autofunction:: scmods.claim\n"
        ".. autoexception:: scmods._book.claims.ClaimError\n```\n\n```{bibliography}\n```\n"
    )
    notebook(folder / "book" / "run.ipynb", content)
    return folder


def build(folder: Path) -> subprocess.CompletedProcess[str]:
    code = "from jupyter_book.cli.main import main; main()"
    flags = [
        "build",
        "book",
        "--config",
        "_config.yml",
        "--path-output",
        str(folder),
        "-W",
        "-n",
        "--keep-going",
    ]
    return subprocess.run(
        [sys.executable, "-c", code, *flags],
        cwd=folder,
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )


@pytest.fixture(scope="module")
def site(tmp_path_factory) -> Path:
    folder = make_book(tmp_path_factory.mktemp("mini"), figure())
    done = build(folder)
    assert done.returncode == 0, done.stdout + done.stderr
    return folder / "_build" / "html"


def test_the_small_book_passes_the_site_check(site):
    problems, summary = check(site, terms=["eigentable"])
    assert problems == []
    assert "1 figures" in summary


def test_only_the_page_with_a_figure_loads_plotly_and_only_once(site):
    assert "plotly.min.js" not in (site / "intro.html").read_text(encoding="utf-8")
    page = (site / "run.html").read_text(encoding="utf-8")
    assert len(re.findall(r'<script[^>]*src="[^"]*plotly\.min\.js', page)) == 1
    assert len(list(site.rglob("plotly*.js"))) == 1
    assert re.search(r'<script[^>]*defer[^>]*src="[^"]*plotly\.min\.js', page)


def test_mathjax_is_local_and_thebe_is_gone(site):
    page = (site / "run.html").read_text(encoding="utf-8")
    assert re.search(r'src="_static/mathjax/tex-chtml\.js', page)
    assert (site / "_static/mathjax/output/chtml/fonts/woff-v2").is_dir()
    assert "thebe" not in page.lower()
    assert "cdn." not in page


def test_footer_says_when_and_with_what_the_site_was_built(site):
    page = (site / "intro.html").read_text(encoding="utf-8")
    assert re.search(
        r"Built \d{4}-\d\d-\d\d with scmods [\d.]+, (commit [0-9a-f]{10}|not a git checkout)", page
    )


def test_names_of_other_projects_are_linked_without_network(site):
    page = (site / "intro.html").read_text(encoding="utf-8")
    assert 'href="https://docs.pytorch.org/docs/stable/tensors.html#torch.Tensor"' in page


def test_data_table_is_made_from_the_registry(site):
    page = (site / "intro.html").read_text(encoding="utf-8")
    for line in data_table.registry_file().read_text(encoding="utf-8").splitlines()[1:]:
        assert line.split(",")[0] in page


def test_search_reports_words_it_does_not_know(site):
    assert missing_terms(site, ["eigentable", "nowhereword"]) == ["nowhereword"]


def test_figure_without_alt_text_stops_the_build_and_names_the_page(tmp_path):
    done = build(make_book(tmp_path, figure(alt=None)))
    assert done.returncode != 0
    text = done.stdout + done.stderr
    assert re.search(r"run\.ipynb.*figure without alt text", text)
    assert "layout.meta.alt" in text


def test_figure_html_escapes_text_and_json():
    text = figure_html(figure())
    assert text.count("<script") == 1
    assert text.count("</script>") == 1
    assert 'aria-label="Cells on a line, &quot;quoted&quot; &amp; &lt;b&gt;marked&lt;/b&gt;"' in text
    spec = json.loads(re.search(r'json">(.*?)</script>', text, re.S)[1])
    assert spec["data"][0]["name"] == "</script><script>alert(1)</script>"
    assert "template" not in spec["layout"]
    assert "min-height:300px" in text


def test_figure_html_leaves_its_input_alone():
    content = figure()
    figure_html(content)
    assert content == figure()


@pytest.mark.parametrize("layout", [None, {}, {"meta": "x"}, {"meta": {"alt": " "}}])
def test_no_alt_text_is_the_empty_string(layout):
    assert alt_text({"layout": layout}) == ""


def test_prose_under_returns_is_not_taken_for_a_type():
    text = "Sum.\n\nReturns\n-------\nOne number per cell, same unit;\nzero if empty.\n\n"
    text += "Raises\n------\nValueError\n    If so.\n"
    fixed = api_names.prose_returns(text)
    assert "Returns\n-------\n:\n    One number per cell, same unit;\n    zero if empty.\n" in fixed
    assert fixed.endswith("Raises\n------\nValueError\n    If so.\n")


def test_typed_returns_are_left_alone():
    text = "Sum.\n\nReturns\n-------\nfloat\n    The sum.\n"
    assert api_names.prose_returns(text) == text


@pytest.mark.parametrize(
    ("short", "full"),
    [
        ("np.ndarray", "numpy.ndarray"),
        ("AnnData", "anndata.AnnData"),
        ("scipy.sparse._base.sparray", "scipy.sparse.sparray"),
        ("Frobnicator", None),
    ],
)
def test_short_and_private_names(short, full):
    assert api_names.full_name(short) == full


def test_every_alias_is_in_the_inventories():
    names = {
        row[1] for _, rows in api_names.read_names(ROOT / "book/_inv/names.txt").values() for row in rows
    }
    assert set(api_names.ALIASES.values()) - names == set()


@pytest.mark.parametrize(
    ("size", "text"),
    [(0, "–"), ("", "–"), (999, "999 B"), (1234567, "1.2 MB"), ("4200", "4.2 KB"), (3e9, "3.0 GB")],
)
def test_readable_bytes(size, text):
    assert data_table.readable_bytes(size) == text


def test_every_page_of_the_book_is_in_the_table_of_contents_once():
    listed = re.findall(r"(?:file|root): (\S+)", (ROOT / "book/_toc.yml").read_text(encoding="utf-8"))
    assert len(listed) == len(set(listed))
    written = {p.relative_to(ROOT / "book").with_suffix("").as_posix() for p in (ROOT / "book").rglob("*.md")}
    written = {p for p in written if not p.startswith(("runs/", "participant/", "_build/"))}
    assert written - {"status"} == {p for p in listed if not p.startswith("runs/")} - {"status"}


def test_marks_of_plain_tokens_are_dropped_in_listings_only():
    listing = (
        '<div class="highlight"><pre><span></span><span class="n">x</span><span class="w"> </span>'
        '<span class="o">=</span> <span class="p">(</span><span class="mi">1</span><span class="p">)</span></pre></div>'
    )
    signature = '<span class="n"><span class="pre">x</span></span><span class="p">,</span>'
    out = page_weight.plain_tokens(signature + listing + signature)
    assert out.startswith(signature)
    assert out.endswith(signature)
    assert "<pre><span></span>x <i class=o>=</i> (<i class=mi>1</i>)</pre>" in out


def test_dropped_tokens_have_the_colour_of_text_in_both_themes():
    # what is dropped is drawn like its surroundings; should a theme colour one of them, it must be kept
    for style in ("a11y-high-contrast-light", "a11y-high-contrast-dark"):
        css = HtmlFormatter(style=style).get_style_defs(".highlight")
        base = re.search(r"\.highlight \{[^}]*?color: (#\w+)", css).group(1)
        for token in ("n", "p", "w", "nn"):
            found = re.search(rf"\.highlight \.{token} \{{ color: (#\w+) \}}", css)
            assert found is None or found.group(1) == base
