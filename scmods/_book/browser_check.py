"""Open every page of a built site in a headless browser with the network off, and count what was drawn.

``python -m scmods._book.browser_check _build/html`` needs a Chromium, Chrome or Edge; without one it says so
and ends with status 0 (1 with ``--require``). ``SCMODS_BROWSER`` names a program with an unusual name.
"""

from __future__ import annotations

import argparse
import os
import re
import shutil
import subprocess
import sys
import tempfile
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from html.parser import HTMLParser
from pathlib import Path

__all__ = ["BrowserResult", "check_page", "dump", "find_browser", "main", "screenshot"]

NAMES = (
    "chromium", "chromium-browser", "google-chrome", "google-chrome-stable", "chrome", "msedge",
    "microsoft-edge", "microsoft-edge-stable",
)  # fmt: skip
PLACES = (
    "/Applications/Google Chrome.app/Contents/MacOS/Google Chrome",
    "/Applications/Chromium.app/Contents/MacOS/Chromium",
    "/Applications/Microsoft Edge.app/Contents/MacOS/Microsoft Edge",
    r"C:\Program Files\Google\Chrome\Application\chrome.exe",
    r"C:\Program Files (x86)\Google\Chrome\Application\chrome.exe",
    r"C:\Program Files (x86)\Microsoft\Edge\Application\msedge.exe",
)
FLAGS = (
    "--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--hide-scrollbars",
    "--disable-background-networking", "--disable-component-update", "--disable-sync", "--disable-extensions",
    "--host-resolver-rules=MAP * ~NOTFOUND", "--enable-logging=stderr", "--virtual-time-budget=8000",
)  # fmt: skip
CONSOLE = re.compile(r'CONSOLE[^"]*"(.*?)", source:', re.S)
ERROR = re.compile(
    r"Uncaught|ReferenceError|TypeError|SyntaxError|ERR_|Refused to|Failed to load|MathJax.*error", re.I
)
PAGE_SECONDS = 120


@dataclass
class BrowserResult:
    """Counts of one page as the browser left it."""

    name: str
    figures: int = 0
    drawn: int = 0
    maths: int = 0
    typeset: int = 0
    problems: list[str] = field(default_factory=list)


class _Drawn(HTMLParser):
    """Counts figures with a drawing and formulas with a box in a page after its scripts have run."""

    def __init__(self) -> None:
        super().__init__()
        self.figures, self.drawn, self.maths, self.boxes, self.errors = [], 0, 0, 0, 0
        self.depth = 0
        self.figure_depth: int | None = None

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        a = {k: v or "" for k, v in attrs}
        names = a.get("class", "").split()
        if tag == "div":
            self.depth += 1
        if "fig-plotly" in names:
            self.figures.append(a)
            self.figure_depth = self.depth
            self.drawn_here = False
        elif self.figure_depth and "main-svg" in names and not self.drawn_here:
            self.drawn += "data-drawn" in self.figures[-1]
            self.drawn_here = True
        if "math" in names and tag in ("span", "div"):
            self.maths += 1
        if tag == "mjx-container":
            self.boxes += 1
        if tag == "mjx-merror" or a.get("data-mjx-error"):
            self.errors += 1

    def handle_endtag(self, tag: str) -> None:
        if tag == "div":
            self.depth -= 1
            if self.figure_depth and self.depth < self.figure_depth:
                self.figure_depth = None


def find_browser() -> str | None:
    """Path of a Chromium-like browser (``SCMODS_BROWSER``, usual names, usual places), or None."""
    wanted = os.environ.get("SCMODS_BROWSER")
    if wanted:
        found = shutil.which(wanted)
        if found is None:
            msg = (
                f"SCMODS_BROWSER is {wanted!r}, but there is no such program. Unset it, or name another one."
            )
            raise FileNotFoundError(msg)
        return found
    candidates = (shutil.which(name) for name in (*NAMES, *PLACES))
    return next((c for c in candidates if c), None)


def _call(browser: str, page: Path, query: str, *flags: str) -> subprocess.CompletedProcess[str]:
    with tempfile.TemporaryDirectory(prefix="scmods-browser-", ignore_cleanup_errors=True) as profile:
        command = [browser, *FLAGS, f"--user-data-dir={profile}", *flags, page.resolve().as_uri() + query]
        return subprocess.run(
            command, capture_output=True, text=True, encoding="utf-8", errors="replace", timeout=PAGE_SECONDS
        )


def dump(browser: str, page: Path, query: str = "?open=all") -> tuple[str, list[str]]:
    """The page after its scripts have run, and the errors of its console.

    With ``?open=all`` every figure is drawn at once; without, only those near the 1280 x 1600 window. (One as
    tall as the page would draw all of them too, at six times the cost, since it is painted in software.)
    """
    done = _call(browser, page, query, "--window-size=1280,1600", "--dump-dom")
    errors = [m.strip() for m in CONSOLE.findall(done.stderr) if ERROR.search(m)]
    return done.stdout, errors


def screenshot(browser: str, page: Path, target: Path, *, dark: bool, height: int = 3000) -> Path:
    """A picture of the page (1360 pixels wide) in one of the two colour schemes."""
    scheme = f"--blink-settings=preferredColorScheme={0 if dark else 1}"
    size = f"--window-size=1360,{height}"
    _call(browser, page, "", scheme, size, f"--screenshot={target.resolve()}")
    if not target.is_file():
        msg = f"{browser} wrote no picture of {page}"
        raise OSError(msg)
    return target


def check_page(browser: str, page: Path, name: str) -> BrowserResult:
    """Figures and formulas of one page, folded parts opened, with every fault found."""
    result = BrowserResult(name)
    try:
        text, errors = dump(browser, page)
    except subprocess.TimeoutExpired:
        result.problems.append(f"the browser did not finish within {PAGE_SECONDS} s")
        return result
    if "</html>" not in text:
        result.problems.append("the browser returned no page")
        return result
    seen = _Drawn()
    seen.feed(text)
    result.figures, result.drawn = len(seen.figures), seen.drawn
    result.maths, result.typeset = seen.maths, seen.boxes
    if result.drawn < result.figures:
        why = next((a["data-failed"] for a in seen.figures if a.get("data-failed")), "")
        result.problems.append(f"{result.drawn} of {result.figures} figures drawn {why}".strip())
    if result.typeset < result.maths:
        result.problems.append(f"{result.typeset} of {result.maths} formulas typeset")
    if seen.errors:
        result.problems.append(f"{seen.errors} formulas with an error")
    result.problems += [f"console: {e[:150]}" for e in dict.fromkeys(errors)]
    return result


def _pages(site: Path) -> list[Path]:
    return [p for p in sorted(site.rglob("*.html")) if not p.relative_to(site).parts[0].startswith("_")]


def _take_screenshots(browser: str, site: Path, folder: Path, height: int) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    for page in _pages(site):
        stem = "-".join(page.relative_to(site).with_suffix("").parts)
        for dark in (False, True):
            target = folder / f"{stem}-{'dark' if dark else 'light'}.png"
            screenshot(browser, page, target, dark=dark, height=height)
            print(target, flush=True)


def _report(results: list[BrowserResult]) -> int:
    faults = [f"{r.name}: {p}" for r in results for p in r.problems]
    for fault in faults:
        print(fault)
    print(
        f"browser check, network off: {len(results)} pages, {sum(r.drawn for r in results)} of "
        f"{sum(r.figures for r in results)} figures drawn, {sum(r.maths for r in results)} formulas typeset; "
        f"{len(faults)} problems"
    )
    return 1 if faults else 0


def main(argv: list[str] | None = None) -> int:
    """Command line; 0 when every figure and formula of every page was drawn, or when there is no browser."""
    parser = argparse.ArgumentParser(prog="python -m scmods._book.browser_check", description=__doc__)
    parser.add_argument("site", type=Path, help="folder of the built site, for instance _build/html")
    parser.add_argument("--jobs", type=int, default=2, help="pages at a time")
    parser.add_argument("--require", action="store_true", help="fail when no browser is installed")
    parser.add_argument("--screenshots", type=Path, metavar="DIR", help="also take pictures, light and dark")
    parser.add_argument("--height", type=int, default=3000, help="pixels of a picture")
    args = parser.parse_args(argv)
    browser = find_browser()
    if browser is None:
        print("browser check skipped: no browser found. Install Chromium, or name one in SCMODS_BROWSER.")
        return 1 if args.require else 0
    site = args.site.resolve()
    pages = _pages(site) if site.is_dir() else []
    if not pages:
        print(f"browser check: no pages in {site}. Build the site first: python tasks.py book")
        return 1
    with ThreadPoolExecutor(max(1, args.jobs)) as pool:
        results = list(pool.map(lambda p: check_page(browser, p, p.relative_to(site).as_posix()), pages))
    if args.screenshots:
        _take_screenshots(browser, site, args.screenshots, args.height)
    return _report(results)


if __name__ == "__main__":
    sys.exit(main())
