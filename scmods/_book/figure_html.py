"""From plotly's notebook JSON to a piece of HTML that ``figures.js`` draws without network.

Shared by the book (`scmods._book.sphinx`) and by the one-file report (`scmods._book.single_page`).
"""

from __future__ import annotations

import html
import importlib.util
import json
from pathlib import Path
from typing import Any

from scmods._figures import CATEGORICAL

__all__ = [
    "DEFAULT_HEIGHT",
    "PLOTLY_MIME",
    "STATIC",
    "alt_text",
    "figure_html",
    "mathjax_dir",
    "plotly_script",
]

PLOTLY_MIME = "application/vnd.plotly.v1+json"
DEFAULT_HEIGHT = 450
STATIC = Path(__file__).parent / "static"


def alt_text(content: dict[str, Any]) -> str:
    """``layout.meta.alt`` of a figure, stripped; empty when the author gave none."""
    meta = (content.get("layout") or {}).get("meta")
    alt = meta.get("alt") if isinstance(meta, dict) else None
    return str(alt).strip() if alt else ""


def title_text(content: dict[str, Any]) -> str:
    """The title of a figure without markup, or ``"Figure"``."""
    title = (content.get("layout") or {}).get("title") or ""
    text = title.get("text") if isinstance(title, dict) else title
    return str(text or "").replace("<br>", " ").strip() or "Figure"


def figure_html(content: dict[str, Any]) -> str:
    """One ``div`` that holds the figure as JSON, its text alternative, and room for the drawing.

    Parameters
    ----------
    content
        Plotly's own JSON, ``{"data": [...], "layout": {...}}``. The template is left out (7 KB that the house
        colours replace); nothing else is changed, and `content` itself is not modified.

    Notes
    -----
    ``<`` is written as an escape inside the JSON, so that no text in a figure can end the script element or
    open a comment in it.
    """
    layout = {k: v for k, v in (content.get("layout") or {}).items() if k != "template"}
    layout.setdefault("colorway", list(CATEGORICAL))
    spec = json.dumps({"data": content.get("data") or [], "layout": layout}, separators=(",", ":"))
    spec = spec.replace("<", "\\u003c").replace("\u2028", "\\u2028").replace("\u2029", "\\u2029")
    alt = html.escape(alt_text(content) or title_text(content), quote=True)
    height = layout.get("height")
    height = int(height) if isinstance(height, int | float) and height > 0 else DEFAULT_HEIGHT
    return (
        f'<div class="fig-plotly" role="img" aria-label="{alt}" style="min-height:{height}px">'
        f'<script type="application/json">{spec}</script>'
        f'<noscript><p class="fig-alt">{alt}</p></noscript></div>'
    )


def plotly_script() -> Path:
    """``plotly.min.js`` of the installed plotly, so that script and figures have the same version."""
    found = importlib.util.find_spec("plotly")
    path = Path(found.origin).parent / "package_data" / "plotly.min.js" if found and found.origin else None
    if path is None or not path.is_file():
        msg = "plotly.min.js was not found beside the installed plotly. Install it: pip install -e '.[book]'"
        raise FileNotFoundError(msg)
    return path


def mathjax_dir() -> Path:
    """Folder of the MathJax files inside the package ``sphinx-mathjax-offline``."""
    found = importlib.util.find_spec("sphinx-mathjax-offline")
    places = list(found.submodule_search_locations or []) if found else []
    path = Path(places[0]) / "static" / "mathjax" if places else None
    if path is None or not path.is_dir():
        msg = "MathJax was not found (package sphinx-mathjax-offline). Install it: pip install -e '.[book]'"
        raise FileNotFoundError(msg)
    return path
