"""Check a built site without a browser: links, remote loads, weight, text alternatives, leftovers, search.

``python -m scmods._book.site_check _build/html`` lists what is wrong and ends with status 1.
"""

from __future__ import annotations

import argparse
import json
import re
import sys
from dataclasses import dataclass, field
from html.parser import HTMLParser
from pathlib import Path
from urllib.parse import unquote, urlsplit

from scmods._book.search_check import load_index, search_problems

__all__ = ["MAX_PAGE_BYTES", "Page", "check", "main", "missing_terms", "read_page"]

MAX_PAGE_BYTES = 300_000
VOID = frozenset("area base br col embed hr img input link meta param source track wbr".split())
LOADING_TAGS = {
    "script": ("src",), "img": ("src", "srcset"), "iframe": ("src",), "source": ("src", "srcset"),
    "video": ("src", "poster"), "audio": ("src",), "track": ("src",), "embed": ("src",), "object": ("data",),
    "image": ("href", "xlink:href"), "use": ("href", "xlink:href"), "input": ("src",),
}  # fmt: skip
LINK_ONLY = {
    "canonical",
    "next",
    "prev",
    "index",
    "search",
    "author",
    "license",
    "alternate",
    "help",
    "top",
    "up",
}
CSS_LOAD = re.compile(r"""@import\s+(?:url\()?\s*["']?([^"')\s;]+)|url\(\s*["']?([^"')]+?)["']?\s*\)""", re.I)
SCRIPT_LOAD = re.compile(
    r"""(?:\bimport\s*\(?|\bfrom|\.src\s*=|\bfetch\s*\(|importScripts\s*\()\s*["'`](https?://[^"'`]+)"""
)
ROLES = (
    "ref|doc|numref|eq|term|cite(?::\\w+)?|func|class|meth|mod|attr|data|exc|py:\\w+|footcite|download|math|abbr|"
    "glue(?::\\w+)?|index|any|kbd|sub|sup"
)
LEFTOVER = re.compile(
    rf"\{{(?:{ROLES})\}}|`{{3,}}\s*\{{[\w:-]+\}}|:{{3,}}\s*\{{[\w:-]+\}}|^\([\w-]+\)=\s*$", re.M
)
CODE_TAGS = ("pre", "code", "script", "style", "textarea")


@dataclass
class Page:
    """What one HTML page holds that the checks need."""

    ids: set[str] = field(default_factory=set)
    links: list[str] = field(default_factory=list)
    loads: list[str] = field(default_factory=list)
    problems: list[str] = field(default_factory=list)
    n_figures: int = 0


class _Reader(HTMLParser):
    def __init__(self) -> None:
        super().__init__(convert_charrefs=True)
        self.page = Page()
        self.open: list[tuple[str, str]] = []  # tag, class
        self.script: list[str] | None = None
        self.figure_json = False
        self.output_depth: int | None = None
        self.output_full = False

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        a = {k: v or "" for k, v in attrs}
        names = a.get("class", "")
        if tag not in VOID:
            self.open.append((tag, names))
        self._collect(tag, a)
        self._judge(tag, a, names.split())
        if self.output_depth is not None and tag in (
            "img",
            "svg",
            "script",
            "table",
            "iframe",
            "video",
            "canvas",
        ):
            self.output_full = True
        if "cell_output" in names.split() and self.output_depth is None:
            self.output_depth, self.output_full = len(self.open), False
        if tag in ("script", "style"):
            self.script = []
            self.figure_json = a.get("type") == "application/json" and self._inside("fig-plotly")

    def _collect(self, tag: str, a: dict[str, str]) -> None:
        self.page.ids.update(a[k] for k in ("id", "name") if a.get(k))
        if tag == "a" and a.get("href"):
            self.page.links.append(a["href"])
        for name in LOADING_TAGS.get(tag, ()):
            if a.get(name):
                several = name == "srcset"
                parts = [p.split()[0] for p in a[name].split(",") if p.strip()] if several else [a[name]]
                self.page.loads += parts
        if tag == "link" and a.get("href") and not set(a.get("rel", "").split()) <= LINK_ONLY:
            self.page.loads.append(a["href"])
        self.page.loads += [m[1] or m[2] for m in CSS_LOAD.finditer(a.get("style", ""))]

    def _judge(self, tag: str, a: dict[str, str], names: list[str]) -> None:
        if tag == "img" and not a.get("alt", "").strip():
            self.page.problems.append(f"image without alt text: {a.get('src', '')[:60]}")
        if "fig-plotly" in names:
            self.page.n_figures += 1
            if a.get("role") != "img" or not a.get("aria-label", "").strip():
                self.page.problems.append(
                    f"figure {self.page.n_figures} without alt text (role and aria-label)"
                )
        if "traceback" in names:
            self.page.problems.append("error output (traceback) on the page")

    def _inside(self, name: str) -> bool:
        return any(name in names.split() for _, names in self.open)

    def handle_endtag(self, tag: str) -> None:
        if tag in ("script", "style") and self.script is not None:
            self._end_script(tag, "".join(self.script))
            self.script = None
        depth = next((i for i in range(len(self.open) - 1, -1, -1) if self.open[i][0] == tag), None)
        if depth is None:
            return
        del self.open[depth:]
        if self.output_depth is not None and len(self.open) < self.output_depth:
            if not self.output_full:
                self.page.problems.append("empty output of a code cell")
            self.output_depth = None

    def _end_script(self, tag: str, text: str) -> None:
        if tag == "style":
            self.page.loads += [m[1] or m[2] for m in CSS_LOAD.finditer(text)]
        elif self.figure_json:
            try:
                data = json.loads(text).get("data")
            except (json.JSONDecodeError, AttributeError):
                self.page.problems.append(f"figure {self.page.n_figures} holds no valid JSON")
            else:
                if not data:
                    self.page.problems.append(f"figure {self.page.n_figures} is empty (no traces)")
            self.figure_json = False
        else:
            self.page.loads += SCRIPT_LOAD.findall(text)

    def handle_data(self, data: str) -> None:
        if self.script is not None:
            self.script.append(data)
            return
        if data.strip() and self.output_depth is not None:
            self.output_full = True
        if "Traceback (most recent call last)" in data:
            self.page.problems.append("error output (traceback) on the page")
        if not self.open or any(tag in CODE_TAGS for tag, _ in self.open) or self._inside("math"):
            return
        for found in LEFTOVER.findall(data):
            self.page.problems.append(f"MyST that was not rendered: {found.strip()[:40]}")


def read_page(path: Path) -> Page:
    """Parse one page and note what is wrong with it alone (links need the other pages)."""
    reader = _Reader()
    reader.feed(path.read_text(encoding="utf-8"))
    reader.close()
    return reader.page


def _target_problem(path: Path, link: str, pages: dict[Path, Page]) -> str | None:
    url = urlsplit(link)
    if url.scheme or url.netloc or link.startswith(("#!", "//")):
        return None
    target = (path.parent / unquote(url.path)).resolve() if url.path else path
    if target.is_dir():
        target = target / "index.html"
    if not target.exists():
        return f"no file for {link[:100]}"
    if url.fragment and target in pages and unquote(url.fragment) not in pages[target].ids:
        return f"no anchor for {link[:100]}"
    return None


def _is_remote(load: str) -> bool:
    return load.strip().lower().startswith(("http://", "https://", "//", "ftp:", "ws:", "wss:"))


def _page_problems(path: Path, page: Page, pages: dict[Path, Page], max_bytes: int) -> list[str]:
    out = list(page.problems)
    size = path.stat().st_size
    if size > max_bytes:
        out.append(f"{size / 1000:.0f} KB of HTML, more than {max_bytes / 1000:.0f} KB: thin the figures")
    for load in page.loads:
        if _is_remote(load):
            out.append(f"loads from the network: {load[:100]}")
    for link in [*page.links, *(load for load in page.loads if not load.startswith("data:"))]:
        problem = _target_problem(path, link, pages)
        if problem:
            out.append(problem)
    return list(dict.fromkeys(out))


def _css_problems(root: Path) -> list[str]:
    out = []
    for path in sorted(root.rglob("*.css")):
        text = re.sub(r"/\*.*?\*/", "", path.read_text(encoding="utf-8", errors="replace"), flags=re.S)
        loads = (m[1] or m[2] for m in CSS_LOAD.finditer(text))
        name = path.relative_to(root).as_posix()
        out += [f"{name}: loads from the network: {load[:100]}" for load in loads if _is_remote(load)]
    return out


def site_pages(root: Path) -> dict[Path, Page]:
    """All pages of the site by resolved path; files below ``_static`` and ``_sources`` are not pages."""
    paths = [p for p in sorted(root.rglob("*.html")) if not p.relative_to(root).parts[0].startswith("_")]
    return {p.resolve(): read_page(p) for p in paths}


def missing_terms(root: Path, terms: list[str]) -> list[str]:
    """The words of `terms` that the site's search would not find (its index holds stems)."""
    from sphinx.search.en import SearchEnglish

    index = load_index(root)
    stem = SearchEnglish({}).stem
    known = set(index["terms"]) | set(index["titleterms"])
    return [t for t in terms if stem(t.lower()) not in known and t.lower() not in known]


def check(
    root: Path, *, max_bytes: int = MAX_PAGE_BYTES, terms: list[str] | None = None
) -> tuple[list[str], str]:
    """All problems of the site below `root`, each "page: what", and one line on what was checked."""
    root = Path(root).resolve()
    pages = site_pages(root) if root.is_dir() else {}
    if not pages:
        return [f"{root}: no pages. Build the site first: python tasks.py book"], "0 pages"
    problems = []
    for path, page in pages.items():
        name = path.relative_to(root).as_posix()
        problems += [f"{name}: {p}" for p in _page_problems(path, page, pages, max_bytes)]
    problems += _css_problems(root)
    if terms:
        problems += [f"searchindex.js: the search does not find {t!r}" for t in missing_terms(root, terms)]
    links = sum(len(p.links) for p in pages.values())
    loads = sum(len(p.loads) for p in pages.values())
    figures = sum(p.n_figures for p in pages.values())
    largest = max(p.stat().st_size for p in pages) / 1000
    summary = (
        f"{len(pages)} pages, {links} links, {loads} loads, {figures} figures; largest page {largest:.0f} KB"
    )
    return problems, summary


def main(argv: list[str] | None = None) -> int:
    """Command line; 0 when nothing is wrong."""
    parser = argparse.ArgumentParser(prog="python -m scmods._book.site_check", description=__doc__)
    parser.add_argument("site", type=Path, help="folder of the built site, for instance _build/html")
    parser.add_argument("--max-kb", type=float, default=MAX_PAGE_BYTES / 1000, help="largest HTML of a page")
    parser.add_argument("--terms", nargs="*", default=[], help="words that the search must find")
    args = parser.parse_args(argv)
    problems, summary = check(args.site, max_bytes=int(args.max_kb * 1000), terms=args.terms)
    unfound, looked_up = search_problems(args.site)
    problems, summary = problems + unfound, summary + looked_up
    for problem in problems:
        print(problem)
    print(f"site check: {summary}; {len(problems)} problems")
    return 1 if problems else 0


if __name__ == "__main__":
    sys.exit(main())
