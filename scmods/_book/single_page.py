"""One run as one HTML file that opens without network: text, folded code, figures, claims, versions."""

from __future__ import annotations

import datetime
import html
import re
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from scmods._book import notebook_file
from scmods._book.claims import harvest, holds
from scmods._book.figure_html import PLOTLY_MIME, STATIC, figure_html, mathjax_dir, plotly_script
from scmods._book.myst_html import harmless, highlight, number_equations, to_html

__all__ = ["PAGE", "Html", "met", "number", "render", "style", "table"]

ANSI = re.compile(r"\x1b\[[0-9;?]*[a-zA-Z]")
IMAGES = ("image/svg+xml", "image/png", "image/jpeg", "image/gif")
MATH_CONFIG = (
    "window.MathJax={tex:{inlineMath:[['\\\\(','\\\\)']]},svg:{fontCache:'global'},"
    "options:{enableMenu:false,ignoreHtmlClass:'highlight|output-text'}};"
)
PAGE = """<!DOCTYPE html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>{title}</title>
<style>{style}</style>
</head>
<body>
<main>
{body}
</main>
{scripts}
</body>
</html>
"""


def _text(value: Any) -> str:
    """Notebook strings may be stored as lists of lines."""
    return "".join(value) if isinstance(value, list) else str(value)


def _rich(data: Mapping[str, Any], folder: Path) -> str:
    """The richest form of an output that a page without network can show."""
    if PLOTLY_MIME in data:
        return figure_html(data[PLOTLY_MIME])
    for kind in IMAGES:
        if kind in data:
            content = _text(data[kind])
            if kind == "image/svg+xml":
                return f'<div class="output-image">{harmless(content)}</div>'
            return f'<img src="data:{kind};base64,{content.strip()}" alt="Picture made by the code above">'
    if "text/html" in data:
        table = harmless(_text(data["text/html"])).replace("<th></th>", "<td></td>")
        return f'<div class="output-html">{table}</div>'
    if "text/markdown" in data:
        return to_html(_text(data["text/markdown"]), folder)
    if "text/latex" in data:
        return f'<div class="math">\\[{html.escape(_text(data["text/latex"]).strip().strip("$"))}\\]</div>'
    return _plain(_text(data["text/plain"])) if "text/plain" in data else ""


def _plain(text: str, kind: str = "") -> str:
    text = ANSI.sub("", text).rstrip()
    return f'<pre class="output-text{kind}" tabindex="0">{html.escape(text)}</pre>' if text else ""


def _output(output: Mapping[str, Any], folder: Path) -> str:
    kind = output["output_type"]
    if kind == "stream":
        return _plain(_text(output["text"]), " stderr" if output.get("name") == "stderr" else "")
    if kind == "error":
        return _plain("\n".join(output.get("traceback") or [output.get("evalue", "")]), " failed")
    return _rich(output.get("data", {}), folder)


def _code_cell(cell: Mapping[str, Any], folder: Path) -> str:
    labels = set(notebook_file.tags(dict(cell)))
    source = _text(cell["source"]).strip()
    parts = []
    if source and "remove-input" not in labels:
        name = "Parameters" if labels & {"parameters", "injected-parameters"} else "Code"
        parts.append(f'<details class="code"><summary>{name}</summary>{highlight(source)}</details>')
    if "remove-output" not in labels:
        parts += [_output(o, folder) for o in cell.get("outputs", [])]
    return "\n".join(p for p in parts if p)


def _balance(parts: Iterable[str]) -> str:
    """Close boxes that a notebook opened and never closed: they must not swallow the tables at the end."""
    text = "\n".join(parts)
    for tag in ("details", "div"):
        missing = len(re.findall(rf"<{tag}\b", text)) - len(re.findall(rf"</{tag}>", text))
        text += f"</{tag}>" * max(0, missing)
    return text


def _body(notebook: Mapping[str, Any], folder: Path) -> str:
    cells = [c for c in notebook["cells"] if "remove-cell" not in notebook_file.tags(dict(c))]
    prose = [_text(c["source"]) if c["cell_type"] == "markdown" else "" for c in cells]
    parts = []
    for cell, text in zip(cells, number_equations(prose), strict=True):
        if cell["cell_type"] == "markdown":
            parts.append(to_html(text, folder))
        elif cell["cell_type"] == "code":
            parts.append(_code_cell(cell, folder))
    return _balance(parts)


class Html(str):
    """A text that is HTML already, which a table does not escape."""

    __slots__ = ()


def number(value: Any) -> str:
    """A value as a table shows it; None is an open bound."""
    if value is None:
        return "open"
    return f"{value:.4g}" if isinstance(value, int | float) and not isinstance(value, bool) else str(value)


def table(caption: str, head: list[str], rows: Iterable[Iterable[Any]]) -> str:
    """A table as HTML that scrolls on its own, every text escaped; nothing where there are no rows."""
    cells = "".join(f'<th scope="col">{html.escape(h)}</th>' for h in head)
    body = "".join("<tr>" + "".join(f"<td>{_shown(v)}</td>" for v in row) + "</tr>" for row in rows)
    if not body:
        return ""
    return (
        f'<div class="scroll" tabindex="0"><table><caption>{html.escape(caption)}</caption>'
        f"<thead><tr>{cells}</tr></thead><tbody>{body}</tbody></table></div>"
    )


def _shown(value: Any) -> str:
    return value if isinstance(value, Html) else html.escape(str(value))


def measured(claim: Mapping[str, Any]) -> str:
    """Value of a claim; one that is not finite is stored as None."""
    return "no finite number" if claim.get("value") is None else number(claim["value"])


def met(claim: Mapping[str, Any]) -> str:
    """Whether a claim holds: yes, no, or "no bound" for a value that is only told."""
    if not holds(claim):
        return "no"
    return "no bound" if claim.get("low") is None and claim.get("high") is None else "yes"


def _facts(info: Mapping[str, Any], claims: list[dict[str, Any]]) -> str:
    """The section at the end: what was claimed, with what it was run, what it took, how to cite it."""
    rows = [[c["name"], measured(c), *(number(c.get(k)) for k in ("low", "high")), met(c)] for c in claims]
    parameters = info.get("parameters") or info.get("params") or {}
    took = [
        ("command", info.get("command")),
        ("seconds", number(info["seconds"]) if info.get("seconds") is not None else None),
        ("peak memory", f"{number(info['peak_mb'])} MiB" if info.get("peak_mb") is not None else None),
        ("date", info.get("date") or datetime.date.today().isoformat()),
    ]
    versions = dict(info.get("versions") or {})
    parts = [
        '<h2 id="this-run">This run</h2>',
        table("Claims, checked during the run", ["claim", "value", "at least", "at most", "met"], rows),
        table("Parameters", ["name", "value"], ((k, repr(v)) for k, v in parameters.items())),
        table("What it took", ["what", "value"], ((k, v) for k, v in took if v)),
        table("Versions", ["package", "version"], versions.items()),
        "<h2>How to cite</h2>",
        *(f"<p>{html.escape(str(line))}</p>" for line in _citations(info)),
    ]
    return "\n".join(p for p in parts if p)


def _citations(info: Mapping[str, Any]) -> list[str]:
    """What is told to be cited, one text or several; without any, the book and where to look for the rest."""
    from scmods import __version__

    told = info.get("cite")
    if told:
        return [told] if isinstance(told, str) else list(told)
    chapter = info.get("chapter")
    what = f", chapter {chapter}" if chapter else ""
    return [
        f"The scmods authors. scmods: a book that runs, version {__version__}{what}. Cite also the method "
        "and the data: they are named in the references of the chapter, and those of a data set of this "
        'book in adata.uns after datasets.load("name").'
    ]


def style() -> str:
    """Colours and fonts of a page of its own, light and dark."""
    from pygments.formatters import HtmlFormatter

    light = HtmlFormatter(style="a11y-high-contrast-light").get_style_defs(".highlight")
    dark = HtmlFormatter(style="a11y-high-contrast-dark").get_style_defs(".highlight")
    css = (STATIC / "report.css").read_text(encoding="utf-8")
    return f"{light}\n@media screen and (prefers-color-scheme: dark) {{\n{dark}\n}}\n{css}"


def _script(text: str) -> str:
    return "<script>" + re.sub(r"</(script)", r"<\\/\1", text, flags=re.I) + "</script>"


def _scripts(body: str) -> str:
    """Plotly and MathJax as part of the page, each only where the page needs it."""
    parts = []
    if 'class="fig-plotly"' in body:
        parts += [
            plotly_script().read_text(encoding="utf-8"),
            (STATIC / "figures.js").read_text(encoding="utf-8"),
        ]
    if 'class="math"' in body:
        parts += [MATH_CONFIG, (mathjax_dir() / "tex-svg-full.js").read_text(encoding="utf-8")]
    return "\n".join(_script(p) for p in parts)


def render(executed_notebook: Path, out_html: Path, *, info: dict[str, Any]) -> Path:
    """Write a run as one self-contained HTML page.

    Parameters
    ----------
    executed_notebook
        The ``.ipynb`` with its outputs.
    out_html
        File to write; it appears under this name only when it is complete.
    info
        What is known about the run; every key may be missing: ``title``, ``chapter``, ``parameters``,
        ``versions``, ``command``, ``seconds``, ``peak_mb`` (MiB), ``date``, ``cite`` (one text or several),
        ``claims`` (else read from the outputs).

    Returns
    -------
    `out_html`.

    Notes
    -----
    Nothing is loaded from anywhere: plotly (5 MB) is in the page when it has a figure, MathJax (2 MB) when it
    has a formula. Scripts and frames in the outputs are left out.
    """
    executed_notebook, out_html = Path(executed_notebook), Path(out_html)
    notebook = notebook_file.read(executed_notebook)
    claims = info.get("claims")
    body = _body(notebook, executed_notebook.parent)
    body += _facts(info, harvest(notebook) if claims is None else list(claims))
    title = str(info.get("title") or notebook_file.title(notebook) or executed_notebook.stem)
    if "<h1" not in body:
        body = f"<h1>{html.escape(title)}</h1>\n{body}"
    page = PAGE.format(title=html.escape(title), style=style(), body=body, scripts=_scripts(body))
    notebook_file.write_text(out_html, page)
    return out_html
