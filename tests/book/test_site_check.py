"""Every fault that the site check must find, one at a time, in a site of two good pages."""

from __future__ import annotations

import pytest

from scmods._book import site_check

GOOD = '<html><head><title>t</title></head><body>{}<h1 id="top">T</h1><p>Text.</p></body></html>'
FIGURE = (
    '<div class="fig-plotly" role="img" aria-label="{}"><script type="application/json">{}</script></div>'
)


@pytest.fixture
def site(tmp_path):
    (tmp_path / "_static").mkdir()
    (tmp_path / "_static" / "a.css").write_text(
        "b { background: url(p.png) } /* @import url(https://x.org/c.css) */"
    )
    (tmp_path / "_static" / "p.png").write_text("x")
    links = (
        '<a href="b.html#top">b</a><a href="https://example.org/x">out</a><img src="_static/p.png" alt="p">'
    )
    (tmp_path / "index.html").write_text(GOOD.format(links), encoding="utf-8")
    (tmp_path / "b.html").write_text(GOOD.format('<a href="#top">up</a>'), encoding="utf-8")
    return tmp_path


def test_a_good_site_passes(site, capsys):
    assert site_check.main([str(site)]) == 0
    assert "2 pages, 3 links" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("fault", "message"),
    [
        ('<a href="nowhere.html">x</a>', "no file for nowhere.html"),
        ('<a href="b.html#nowhere">x</a>', "no anchor for b.html#nowhere"),
        ('<img src="_static/gone.png" alt="x">', "no file for _static/gone.png"),
        ('<script src="https://cdn.example.org/a.js"></script>', "loads from the network: https://cdn"),
        ('<script src="//cdn.example.org/a.js"></script>', "loads from the network: //cdn"),
        ('<link rel="stylesheet" href="https://fonts.example.org/f.css">', "loads from the network"),
        ('<img srcset="https://x.org/a.png 2x" alt="a">', "loads from the network"),
        ('<p style="background: url(https://x.org/a.png)">x</p>', "loads from the network"),
        ('<style>@import "https://x.org/a.css";</style>', "loads from the network: https://x.org/a.css"),
        ('<script>import x from "https://x.org/a.js"</script>', "loads from the network: https://x.org/a.js"),
        ('<iframe src="http://x.org"></iframe>', "loads from the network"),
        ('<img src="_static/p.png">', "image without alt text"),
        (FIGURE.format("", '{"data":[{}]}'), "figure 1 without alt text"),
        (FIGURE.format("x", '{"data":[]}'), "figure 1 is empty"),
        (FIGURE.format("x", '{"data":'), "figure 1 holds no valid JSON"),
        ("<p>see {ref}<code>x</code></p>", "MyST that was not rendered: {ref}"),
        ("<p>```{note} x</p>", "MyST that was not rendered"),
        ("<pre>Traceback (most recent call last):\n  x</pre>", "error output"),
        ('<div class="output traceback">x</div>', "error output"),
        ('<div class="cell_output"><div class="output"></div></div>', "empty output of a code cell"),
    ],
)
def test_fault_is_found_once_and_named_with_its_page(site, capsys, fault, message):
    (site / "b.html").write_text(GOOD.format(fault), encoding="utf-8")
    assert site_check.main([str(site)]) == 1
    lines = [x for x in capsys.readouterr().out.splitlines() if x.startswith("b.html")]
    assert len(lines) == 1
    assert message in lines[0]


@pytest.mark.parametrize(
    "fine",
    [
        "<pre>{ref}`x` and ```{note}</pre>",
        r'<span class="math">\mathbb{R}</span>',
        '<div class="cell_output"><div class="output">3</div></div>',
        '<div class="cell_output">' + FIGURE.format("x", '{"data":[{"y":[1]}]}') + "</div>",
        '<link rel="canonical" href="https://example.org/">',
        '<img src="data:image/png;base64,AA" alt="x">',
        '<a href="mailto:a@example.org">x</a>',
    ],
)
def test_what_looks_like_a_fault_and_is_none(site, fine):
    (site / "b.html").write_text(GOOD.format(fine), encoding="utf-8")
    assert site_check.check(site)[0] == []


def test_a_heavy_page(site):
    (site / "b.html").write_text(GOOD.format("x" * 300_001), encoding="utf-8")
    assert site_check.check(site)[0] == ["b.html: 300 KB of HTML, more than 300 KB: thin the figures"]


def test_a_style_sheet_that_loads_from_the_network(site):
    (site / "_static" / "a.css").write_text("@font-face { src: url('https://x.org/f.woff2') }")
    assert site_check.check(site)[0] == ["_static/a.css: loads from the network: https://x.org/f.woff2"]


@pytest.mark.parametrize("make", [True, False])
def test_no_pages_is_a_fault(tmp_path, make):
    folder = tmp_path / "html"
    if make:
        folder.mkdir()
    problems, _ = site_check.check(folder)
    assert len(problems) == 1
    assert "no pages. Build the site first" in problems[0]
