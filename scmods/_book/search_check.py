"""Check that the search of a built site finds every public name of the package and every term of the glossary."""

from __future__ import annotations

import json
import re
from functools import cache
from pathlib import Path
from typing import Any

__all__ = [
    "METHODS",
    "glossary_terms",
    "load_index",
    "missing_names",
    "public_names",
    "search_problems",
    "unfound_terms",
]

METHODS = ("bmlp", "hopfield", "smoother", "scyan", "amici", "graph", "datasets")
GLOSSARY = re.compile(r'<dt id="term-[^"]*">(.*?)(?:<a class="headerlink"|</dt>)', re.DOTALL)


def load_index(site: Path) -> dict[str, Any]:
    """The search index of a site; it is a script that holds one JSON object."""
    text = (site / "searchindex.js").read_text(encoding="utf-8")
    return json.loads(text[text.index("{") : text.rindex("}") + 1])


def public_names() -> list[str]:
    """Full names of everything that ``scmods`` and its packages offer, modules left out.

    The packages import on first use; their tables ``_NAMES`` and ``_MODULES`` are read, nothing is imported.
    """
    import importlib

    found = []
    for package in ("scmods", *(f"scmods.{name}" for name in METHODS)):
        module = importlib.import_module(package)
        modules = set(getattr(module, "_MODULES", ()))
        found += [f"{package}.{n}" for n in module.__all__ if n not in modules and not n.startswith("__")]
    return found


def _documented(index: dict[str, Any]) -> set[str]:
    """Full names of all objects in the index."""
    names = set()
    for prefix, entries in index["objects"].items():
        # an entry is [document, type, priority, anchor, name]
        names |= {f"{prefix}.{entry[4]}".strip(".") for entry in entries}
    return names


def missing_names(index: dict[str, Any], names: list[str]) -> list[str]:
    """Those of `names` that the search would not offer as an object.

    An object documented under the module that defines it, below the same package, counts.
    """
    known = _documented(index)
    below = {(".".join(name.split(".")[:2]), name.rsplit(".", 1)[-1]) for name in known}
    pairs = [(name, (".".join(name.split(".")[:-1]), name.rsplit(".", 1)[-1])) for name in names]
    return [name for name, pair in pairs if name not in known and pair not in below]


def glossary_terms(site: Path) -> list[str]:
    """Terms of the built glossary, as a reader sees them."""
    page = site / "glossary.html"
    if not page.is_file():
        return []
    found = GLOSSARY.findall(page.read_text(encoding="utf-8"))
    return [_plain(term) for term in found]


def _plain(text: str) -> str:
    import html

    return html.unescape(re.sub(r"<[^>]+>", "", text)).strip()


@cache
def _stemmer() -> Any:
    from sphinx.search.en import SearchEnglish

    return SearchEnglish({})


def _words(term: str) -> list[str]:
    """Words of a term as the search box would look them up: short ones and stop words are no words to it."""
    language = _stemmer()
    return [w for w in language.split(term.lower()) if len(w) > 2 and w not in language.stopwords]


def unfound_terms(index: dict[str, Any], terms: list[str]) -> list[str]:
    """Terms of which a word is in no page of the index and no object bears the term."""
    known = set(index["terms"]) | set(index["titleterms"])
    entries = {entry.lower() for entry in index.get("indexentries", {})}
    stem = _stemmer().stem
    out = []
    for term in terms:
        if term.lower() in entries:
            continue
        words = _words(term)
        if not words or any(stem(word) not in known and word not in known for word in words):
            out.append(term)
    return out


def search_problems(site: Path) -> tuple[list[str], str]:
    """What the search of the site does not find, and one line on what was looked up.

    A folder without a page of the API or a glossary is not the book, and nothing is asked of its search.
    """
    if not (site / "api").is_dir() and not (site / "glossary.html").is_file():
        return [], ""
    if not (site / "searchindex.js").is_file():
        return ["searchindex.js: missing, so the search finds nothing. Build the site from nothing."], ""
    index, names, terms = load_index(site), public_names(), glossary_terms(site)
    how = "add it to its page under book/api"
    problems = [f"searchindex.js: the search does not find {n}: {how}" for n in missing_names(index, names)]
    how = "its words are on no page"
    problems += [
        f"searchindex.js: the search does not find the term {t!r}: {how}" for t in unfound_terms(index, terms)
    ]
    return problems, f"; search: {len(names)} names, {len(terms)} terms"
