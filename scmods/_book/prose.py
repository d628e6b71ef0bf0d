"""Prose of Markdown: text without code and mathematics, words of the glossary, minutes of a lesson."""

from __future__ import annotations

import re
from typing import Any

__all__ = ["glossary", "linked_terms", "minutes", "used_terms", "words"]

FENCE = re.compile(r"^\s*(`{3,}|:{3,})\s*(?:\{([\w-]+)\})?\s*(.*)$")
NOT_PROSE = ("code", "code-block", "code-cell", "math", "bibliography")
TITLED = ("admonition", "exercise", "exercise-start", "tab-item", "card", "grid-item-card", "dropdown")
ROLE = re.compile(r"\{([\w:-]+)\}`([^`]*)`")
DROPPED = (
    r"\$\$.*?\$\$|\$[^$\n]+\$|`[^`\n]*`|<!--.*?-->|https?://\S+|\bdoi:\S+|\b10\.\d{4,}/\S+"
    r"|(?<=\])\([^)]*\)|^\([^()\s]+\)=[ \t]*$|^[ \t]*:[\w-]+:[^\n]*$"
)
TIME = re.compile(r"^\*\*Time\*\* (\d+) minutes taught, (\d+) minutes of exercises$", re.M)


def _unfenced(text: str) -> str:
    """Lines outside of fences of code and mathematics; of other directives the text and the title stay."""
    kept: list[str] = []
    open_: list[tuple[str, bool]] = []  # marks, whether it holds no prose
    for line in text.splitlines():
        fence = FENCE.match(line)
        closes = fence is not None and not fence[2] and not fence[3].strip() and open_
        if closes and open_[-1][0] == fence[1]:
            open_.pop()
        elif open_ and open_[-1][1]:
            continue
        elif fence is None:
            kept.append(line)
        else:
            open_.append((fence[1], not fence[2] or fence[2] in NOT_PROSE))
            kept += [fence[3]] if fence[2] in TITLED else []
    return "\n".join(kept)


def _shown(role: re.Match[str]) -> str:
    """What a reader sees of a role: its text, a term, or nothing where the build writes the words."""
    text = re.match(r"(.*?)\s*<[^>]*>$", role[2], flags=re.S)
    if text:
        return text[1]
    return role[2] if role[1] == "term" else ""


def words(text: str) -> str:
    """Markdown without code, mathematics, addresses and options; roles become the text that is shown."""
    text = ROLE.sub(_shown, _unfenced(text))
    return re.sub(DROPPED, "", text, flags=re.M | re.S)


def linked_terms(text: str) -> list[str]:
    """Words of the glossary that the text links, in order; spelling as in the link."""
    found = (m[2] for m in ROLE.finditer(_unfenced(text)) if m[1] == "term")
    return [re.sub(r"\s+", " ", re.sub(r".*<([^>]*)>$", r"\1", text, flags=re.S)) for text in found]


def glossary(text: str) -> dict[str, str]:
    """Words and definitions of the first ``{glossary}`` block of a page, in its order."""
    block = re.search(r"^```\{glossary\}\n(.*?)^```$", text, flags=re.M | re.S)
    found: dict[str, str] = {}
    name = ""
    for line in block[1].splitlines() if block else []:
        if line.strip() and not line[0].isspace():
            name = line.strip()
            found[name] = ""
        elif name:
            found[name] = f"{found[name]} {line.strip()}".strip()
    return found


def _pattern(term: str) -> re.Pattern[str]:
    """The word alone, singular or plural, over line breaks; abbreviations keep their capitals."""
    stem = re.escape(term).replace(r"\ ", r"\s+")
    ends = f"(?:{stem}(?:s|es)?|{stem[:-1]}ies)" if term.endswith("y") else f"{stem}(?:s|es)?"
    shouted = sum(letter.isupper() for letter in term) > 1
    return re.compile(rf"(?<![\w-]){ends}(?![\w-])", 0 if shouted else re.I)


def used_terms(text: str, terms: list[str]) -> list[str]:
    """Words of the glossary that occur in the prose; of two that overlap only the longer one counts."""
    rest, found = words(text), []
    for term in sorted(terms, key=len, reverse=True):
        rest, count = _pattern(term).subn(" | ", rest)
        found += [term] if count else []
    return sorted(found, key=str.casefold)


def minutes(notebook: dict[str, Any]) -> tuple[int, int] | None:
    """Minutes taught and minutes of exercises that a lesson states, or None."""
    for cell in notebook["cells"]:
        stated = TIME.search(cell["source"]) if cell["cell_type"] == "markdown" else None
        if stated:
            return int(stated[1]), int(stated[2])
    return None
