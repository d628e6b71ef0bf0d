"""The browser check: what it counts, with a browser; what it says without one."""

from __future__ import annotations

import json
import shutil

import pytest

from scmods._book import browser_check
from scmods._book.figure_html import STATIC, figure_html, plotly_script
from scmods._book.page_weight import share_arrays

FIGURE = {
    "data": [{"type": "scatter", "mode": "lines+markers", "y": [1, 3, 2], "name": "a"}],
    "layout": {"meta": {"alt": "Three points"}},
}
PAGE = (
    '<!DOCTYPE html><html lang="en"{}><head><title>t</title><script defer src="plotly.min.js"></script>'
    '<script defer src="figures.js"></script></head><body>{}</body></html>'
)


def no_browser() -> bool:
    try:
        return browser_check.find_browser() is None
    except FileNotFoundError:
        return True


needs_browser = pytest.mark.skipif(no_browser(), reason="no Chromium-like browser")


@pytest.fixture
def site(tmp_path):
    shutil.copy(plotly_script(), tmp_path / "plotly.min.js")
    shutil.copy(STATIC / "figures.js", tmp_path)
    return tmp_path


def write(site, body, name="index.html", root=""):
    path = site / name
    path.write_text(PAGE.format(root, body), encoding="utf-8")
    return path


def test_without_a_browser_it_says_so_and_only_fails_when_told_to(site, monkeypatch, capsys):
    write(site, "x")
    monkeypatch.setattr(browser_check, "find_browser", lambda: None)
    assert browser_check.main([str(site)]) == 0
    assert "skipped: no browser found" in capsys.readouterr().out
    assert browser_check.main([str(site), "--require"]) == 1


def test_a_named_browser_that_does_not_exist_is_an_error(monkeypatch):
    monkeypatch.setenv("SCMODS_BROWSER", "no-such-browser-here")
    with pytest.raises(FileNotFoundError, match="SCMODS_BROWSER is 'no-such-browser-here'"):
        browser_check.find_browser()


def test_an_empty_site_is_a_fault(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(browser_check, "find_browser", lambda: "browser")
    assert browser_check.main([str(tmp_path)]) == 1
    assert "no pages" in capsys.readouterr().out


@pytest.mark.browser
@needs_browser
def test_every_figure_is_drawn_folded_ones_too(site, capsys):
    write(site, figure_html(FIGURE) + f"<details><summary>s</summary>{figure_html(FIGURE)}</details>")
    assert browser_check.main([str(site), "--require"]) == 0
    assert "2 of 2 figures drawn" in capsys.readouterr().out


@pytest.mark.browser
@needs_browser
def test_figures_that_share_arrays_are_drawn_and_cards_have_no_buttons(site):
    long = {
        "data": [FIGURE["data"][0] | {"y": list(range(100)), "x": list(range(100))}],
        "layout": FIGURE["layout"],
    }
    still = figure_html(long).replace("<div ", "<div data-static ", 1)
    body = share_arrays(figure_html(long) + still)
    assert 'id="fig-arrays"' in body
    path = write(site, body)
    text, errors = browser_check.dump(browser_check.find_browser(), path)
    assert errors == []
    assert text.count("data-drawn=") == 2
    normal, card = text.split("data-static", 1)
    assert 'class="modebar-btn' in normal
    assert 'class="modebar-btn' not in card
    assert text.count('class="point"') == 200


@pytest.mark.browser
@needs_browser
def test_figures_far_below_wait_until_they_are_seen(site):
    path = write(site, figure_html(FIGURE) + '<div style="height:9000px"></div>' + figure_html(FIGURE))
    text, errors = browser_check.dump(browser_check.find_browser(), path, query="")
    assert text.count("data-drawn=") == 1
    assert errors == []


@pytest.mark.browser
@needs_browser
@pytest.mark.parametrize(("theme", "colour"), [("dark", "rgb(206, 214, 221)"), ("light", "rgb(34, 40, 50)")])
def test_text_of_a_figure_follows_the_theme(site, theme, colour):
    path = write(site, figure_html(FIGURE), root=f' data-theme="{theme}"')
    text, _ = browser_check.dump(browser_check.find_browser(), path)
    assert f"fill: {colour}" in text


@pytest.mark.browser
@needs_browser
def test_a_figure_is_drawn_again_when_the_theme_changes(site):
    switch = "<script>setTimeout(() => { document.documentElement.dataset.theme = 'dark' }, 2500)</script>"
    path = write(site, figure_html(FIGURE) + switch, root=' data-theme="light"')
    text, _ = browser_check.dump(browser_check.find_browser(), path)
    assert "fill: rgb(206, 214, 221)" in text
    assert "fill: rgb(34, 40, 50)" not in text


@pytest.mark.browser
@needs_browser
@pytest.mark.parametrize(
    ("body", "message"),
    [
        (figure_html(FIGURE).replace('{"data"', "{broken"), "0 of 1 figures drawn"),
        ('<span class="math">\\(x\\)</span>', "0 of 1 formulas typeset"),
        ("<script>nothing_here()</script>", "console: Uncaught ReferenceError"),
    ],
)
def test_what_does_not_work_is_named_with_its_page(site, capsys, body, message):
    write(site, body, name="broken.html")
    assert browser_check.main([str(site)]) == 1
    assert f"broken.html: {message}" in capsys.readouterr().out


@pytest.mark.browser
@needs_browser
def test_report_of_a_run_draws_without_network(tmp_path):
    from scmods._book.single_page import render

    pytest.importorskip("myst_parser")
    output = {
        "output_type": "display_data",
        "metadata": {},
        "data": {"application/vnd.plotly.v1+json": FIGURE},
    }
    cells = [
        {
            "cell_type": "markdown",
            "id": "a",
            "metadata": {},
            "source": "# T\n\n$\\boldsymbol{x}^2$\n\n$$\ny\n$$ (e)",
        },
        {
            "cell_type": "code",
            "id": "b",
            "metadata": {},
            "source": "f()",
            "execution_count": 1,
            "outputs": [output],
        },
    ]
    book = {"cells": cells, "metadata": {}, "nbformat": 4, "nbformat_minor": 5}
    (tmp_path / "run.ipynb").write_text(json.dumps(book), encoding="utf-8")
    page = render(tmp_path / "run.ipynb", tmp_path / "report.html", info={})
    result = browser_check.check_page(browser_check.find_browser(), page, "report")
    assert (result.problems, result.drawn, result.typeset) == ([], 1, 2)
