"""MyST Markdown of a notebook as plain HTML, for the one-file report: no Sphinx, no links between pages."""

from __future__ import annotations

import base64
import html
import mimetypes
import re
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from markdown_it import MarkdownIt

__all__ = ["harmless", "highlight", "number_equations", "to_html"]

BOXES = {
    "note", "tip", "hint", "warning", "important", "caution", "attention", "danger", "error", "seealso",
    "admonition", "dropdown", "exercise", "solution", "topic", "epigraph",
}  # fmt: skip
CODE_ROLES = {"func", "class", "meth", "mod", "attr", "data", "obj", "exc", "code", "samp"}
OPTION = re.compile(r"^:([\w-]+):\s*(.*)$")
LABEL = re.compile(r"^\([^()\s]+\)=[ \t]*$", re.M)
ACTIVE = re.compile(
    r"<(script|iframe|object|embed)\b.*?(?:</\1\s*>|/>|$)|<(?:link|base|meta)\b[^>]*>", re.I | re.S
)
REMOTE = re.compile(r"""\s(?:src|srcset|poster|data)\s*=\s*(["']?)\s*(?:https?:)?//[^"'\s>]*\1""", re.I)
CSS_REMOTE = re.compile(r"""@import[^;]*;?|url\(\s*["']?\s*(?:https?:)?//[^)]*\)""", re.I)
HANDLER = re.compile(r"""\son\w+\s*=\s*("[^"]*"|'[^']*')""", re.I)


def harmless(text: str) -> str:
    """HTML without scripts, frames and event handlers, and without anything loaded from the network."""
    return HANDLER.sub("", CSS_REMOTE.sub("", REMOTE.sub("", ACTIVE.sub("", text))))


def highlight(source: str, language: str = "python") -> str:
    """Code as HTML with classes of Pygments; plain text for an unknown language."""
    from pygments import highlight as paint
    from pygments.formatters import HtmlFormatter
    from pygments.lexers import TextLexer, get_lexer_by_name
    from pygments.util import ClassNotFound

    try:
        lexer = get_lexer_by_name({"ipython3": "python", "": "text"}.get(language, language))
    except ClassNotFound:
        lexer = TextLexer()
    return paint(source, lexer, HtmlFormatter(cssclass="highlight"))


def _split_options(body: str) -> tuple[dict[str, str], str]:
    options, lines = {}, body.splitlines()
    while lines and (match := OPTION.match(lines[0])):
        options[match[1]] = match[2]
        lines = lines[1:]
    return options, "\n".join(lines)


def _math(text: str, *, display: bool) -> str:
    text = html.escape(text.strip())
    return f'<div class="math">\\[{text}\\]</div>' if display else f'<span class="math">\\({text}\\)</span>'


def _image(source: str, alt: str, folder: Path | None) -> str:
    """A picture as part of the page; only its text where the file is remote or absent."""
    path = folder / source if folder and not re.match(r"[a-z]+:|//", source) else None
    if source.startswith("data:image/"):
        return f'<img src="{html.escape(source)}" alt="{html.escape(alt)}">'
    if path is None or not path.is_file():
        return f'<span class="no-image">[{html.escape(alt or source)}]</span>'
    kind = mimetypes.guess_type(path.name)[0] or "image/png"
    data = base64.b64encode(path.read_bytes()).decode()
    return f'<img src="data:{kind};base64,{data}" alt="{html.escape(alt)}">'


def _directive(name: str, argument: str, body: str, folder: Path | None) -> str:
    options, body = _split_options(body)
    title = html.escape(argument)
    if name in ("exercise-start", "admonition-start"):
        return f'<div class="box exercise"><p class="box-title">Exercise{": " if title else ""}{title}</p>'
    if name == "solution-start":
        return '<details class="box solution"><summary>Solution</summary>'
    if name in ("exercise-end", "admonition-end"):
        return "</div>"
    if name == "solution-end":
        return "</details>"
    if name == "math":
        return _math(body or argument, display=True)
    if name in ("code", "code-block", "code-cell", "sourcecode"):
        return highlight(body, argument or "text")
    if name in ("image", "figure"):
        return _image(argument, options.get("alt", ""), folder) + to_html(body, folder)
    if name in ("dropdown", "solution"):
        head = title if name == "dropdown" else "Solution"
        inside = to_html(body, folder)
        return f'<details class="box {name}"><summary>{head or "More"}</summary>{inside}</details>'
    if name in BOXES:
        words = {"admonition": title, "exercise": f"Exercise{': ' if title else ''}{title}"}
        head = words.get(name, name.capitalize() if name != "seealso" else "See also")
        lead = to_html(argument, folder) if argument and name not in words else ""
        return f'<div class="box {name}"><p class="box-title">{head}</p>{lead}{to_html(body, folder)}</div>'
    return to_html(body, folder)  # an unknown directive: its content is what matters


def _fence(tokens: Sequence[Any], index: int, options: Any, env: Any, *, folder: Path | None) -> str:
    token = tokens[index]
    match = re.match(r"\{([\w:-]+)\}\s*(.*)", token.info.strip(), re.S)
    if match:
        return _directive(match[1], match[2].strip(), token.content.rstrip("\n"), folder)
    return highlight(token.content, token.info.strip().split(" ")[0])


def _author_year(key: str) -> str:
    """``Paul 2015`` for the citation key ``paul2015`` or ``paul2015mouse``."""
    match = re.match(r"([A-Za-z]+?)(\d{4})", key.strip())
    return f"{match[1].capitalize()} {match[2]}" if match else key.strip()


def _role(tokens: Sequence[Any], index: int, options: Any, env: Any) -> str:
    token = tokens[index]
    name, text = token.meta["name"].split(":")[-1], token.content
    if token.meta["name"].split(":")[0] == "cite":
        return "[" + html.escape("; ".join(_author_year(key) for key in text.split(","))) + "]"
    if name == "math":
        return _math(text, display=False)
    if name == "eq":
        return f"({html.escape(text)})"
    shown = re.sub(r"\s*<[^<>]+>$", "", text).lstrip("~!")
    if name in CODE_ROLES:
        return f"<code>{html.escape(shown)}</code>"
    if name in ("sub", "sup", "kbd"):
        return f"<{name}>{html.escape(shown)}</{name}>"
    return html.escape(shown)


def _picture(tokens: Sequence[Any], index: int, options: Any, env: Any, *, folder: Path | None) -> str:
    token = tokens[index]
    return _image(str(token.attrs.get("src", "")), token.content, folder)


def _raw(tokens: Sequence[Any], index: int, options: Any, env: Any) -> str:
    return harmless(tokens[index].content)


def _parser(folder: Path | None) -> MarkdownIt:
    from markdown_it import MarkdownIt
    from mdit_py_plugins.amsmath import amsmath_plugin
    from mdit_py_plugins.colon_fence import colon_fence_plugin
    from mdit_py_plugins.deflist import deflist_plugin
    from mdit_py_plugins.dollarmath import dollarmath_plugin
    from mdit_py_plugins.myst_role import myst_role_plugin

    md = MarkdownIt("commonmark").enable(["table", "strikethrough"])
    md.use(dollarmath_plugin, double_inline=True).use(amsmath_plugin)
    md.use(colon_fence_plugin).use(deflist_plugin).use(myst_role_plugin)
    rules: dict[str, Any] = md.renderer.rules
    rules["fence"] = rules["colon_fence"] = partial(_fence, folder=folder)
    rules["myst_role"] = _role
    rules["image"] = partial(_picture, folder=folder)
    rules["html_block"] = rules["html_inline"] = _raw
    for name in ("math_inline", "math_inline_double", "math_block", "math_block_label", "amsmath"):
        rules[name] = partial(_math_token, display=name != "math_inline")
    return md


def _math_token(tokens: Sequence[Any], index: int, options: Any, env: Any, *, display: bool) -> str:
    return _math(tokens[index].content, display=display)


def number_equations(texts: list[str]) -> list[str]:
    """Cells with labelled equations numbered in order, and references replaced by the number."""
    labels = re.compile(r"^\$\$[ \t]*\(([^()\s]+)\)[ \t]*$|^(:label:)[ \t]*(eq[\w:-]*)[ \t]*$", re.M)
    numbers: dict[str, int] = {}
    for text in texts:
        for match in labels.finditer(text):
            numbers.setdefault(match[1] or match[3], len(numbers) + 1)

    def tagged(match: re.Match[str]) -> str:
        return f"\\tag{{{numbers[match[1]]}}}\n$$" if match[1] else match[0]

    def referred(match: re.Match[str]) -> str:
        return f"({numbers.get(match[1], match[1])})"

    return [re.sub(r"\{eq\}`([^`]+)`", referred, labels.sub(tagged, text)) for text in texts]


def to_html(text: str, folder: Path | None = None) -> str:
    """HTML of one Markdown cell.

    Parameters
    ----------
    text
        MyST Markdown. Boxes, exercises, folded solutions, code, formulas, roles and pictures become plain
        HTML; references to other pages become their text, since there are no other pages.
    folder
        Where local pictures are looked up; they become part of the page.
    """
    return _parser(folder).render(LABEL.sub("", text))
