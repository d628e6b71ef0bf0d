"""Bytes that a reader never sees, taken out of the pages: marks of plain tokens, arrays stored twice, indentation."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from sphinx.application import Sphinx

__all__ = ["connect", "plain_tokens", "share_arrays", "squeezed"]

LISTINGS = re.compile(r'<div class="highlight"><pre>.*?</pre>', re.DOTALL)
# names, punctuation, spaces and modules: both themes draw them in the colour of plain text
PLAIN = re.compile(r'<span class="(?:[npw]|nn)">([^<]*)</span>')
MARKED = re.compile(r'<span class="(\w+)">([^<]*)</span>')
FIGURES = re.compile(r'(<script type="application/json">)(.*?)(</script>)', re.DOTALL)
# white space counts in these; the rest of a page shows a line break and its indentation as one space
KEPT = re.compile(r"(<(pre|script|style|textarea)\b.*?</\2>)", re.DOTALL)
MIN_SHARED = 60  # bytes below which a reference would not be shorter


def plain_tokens(body: str) -> str:
    """The page with less markup in its listings, and the same colours.

    Marks of tokens that are drawn as plain text go; the others become ``<i class=...>``, which is a third
    shorter than what Pygments writes (``figures.css`` keeps it upright).
    """

    def plain(block: re.Match[str]) -> str:
        return MARKED.sub(r"<i class=\1>\2</i>", PLAIN.sub(r"\1", block.group()))

    return LISTINGS.sub(plain, body)


def _arrays(value: Any, seen: dict[str, int]) -> None:
    """Count every array of a figure by its JSON text."""
    if _is_array(value):
        text = _text(value)
        seen[text] = seen.get(text, 0) + 1
    elif isinstance(value, dict):
        for item in value.values():
            _arrays(item, seen)
    elif isinstance(value, list):
        for item in value:
            _arrays(item, seen)


def _is_array(value: Any) -> bool:
    if isinstance(value, dict):
        return "bdata" in value
    return isinstance(value, list) and bool(value) and not any(isinstance(v, dict) for v in value)


def _text(value: Any) -> str:
    return json.dumps(value, separators=(",", ":"), sort_keys=True)


def _with_references(value: Any, places: dict[str, int]) -> Any:
    if _is_array(value):
        place = places.get(_text(value))
        return value if place is None else {"shared-array": place}
    if isinstance(value, dict):
        return {k: _with_references(v, places) for k, v in value.items()}
    return [_with_references(v, places) for v in value] if isinstance(value, list) else value


def _escaped(text: str) -> str:
    return text.replace("<", "\\u003c").replace("\u2028", "\\u2028").replace("\u2029", "\\u2029")


def share_arrays(body: str) -> str:
    """The page with arrays that occur more than once in its figures stored once, in a pool at its end.

    Maps of the same cells hold the same coordinates. ``figures.js`` puts the arrays back before drawing. A
    figure whose text is not JSON is left as it is, for the site check to find.
    """
    seen: dict[str, int] = {}
    figures: dict[str, Any] = {}
    for _, text, _ in FIGURES.findall(body):
        try:
            figures[text] = json.loads(text)
        except json.JSONDecodeError:
            continue
        _arrays(figures[text], seen)
    pool = [text for text, count in seen.items() if count > 1 and len(text) > MIN_SHARED]
    if not pool:
        return body
    places = {text: place for place, text in enumerate(pool)}

    def shorter(match: re.Match[str]) -> str:
        if match[2] not in figures:
            return match[0]
        return match[1] + _escaped(_text(_with_references(figures[match[2]], places))) + match[3]

    stored = _escaped("[" + ",".join(pool) + "]")
    return FIGURES.sub(shorter, body) + f'<script type="application/json" id="fig-arrays">{stored}</script>'


def squeezed(page: str) -> str:
    """The page without indentation and empty lines; listings, scripts and styles stay as they are."""
    parts = KEPT.split(page)
    # split gives text, kept, its tag, text, ...
    for i in range(0, len(parts), 3):
        parts[i] = re.sub(r"[ \t]*\n\s*", "\n", parts[i])
    return "".join(part for i, part in enumerate(parts) if i % 3 != 2)


def _light_body(app: Sphinx, page: str, template: str, context: dict[str, Any], doctree: Any) -> None:
    if "body" in context:
        context["body"] = share_arrays(plain_tokens(context["body"]))


def _squeeze_pages(app: Sphinx, exception: Exception | None) -> None:
    if exception is not None or app.builder.format != "html":
        return
    from scmods._book.notebook_file import write_if_changed

    for path in sorted(Path(app.outdir).rglob("*.html")):
        if not path.relative_to(app.outdir).parts[0].startswith("_"):
            write_if_changed(path, squeezed(path.read_text(encoding="utf-8")))


def connect(app: Sphinx) -> None:
    """Register the hooks."""
    app.connect("html-page-context", _light_body, priority=999)
    app.connect("build-finished", _squeeze_pages)
