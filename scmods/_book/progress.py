"""Lines that a person can follow while a notebook runs: which cell, in which section, how long, how much memory."""

from __future__ import annotations

import threading
import time
from typing import Any

from scmods._book import notebook_file

__all__ = ["Progress", "headings"]

QUIET = 30.0  # seconds after which a long cell says that it still runs


def headings(notebook: dict[str, Any]) -> list[str]:
    """Heading above each code cell of the author, level two or three."""
    found, latest = [], ""
    for cell in notebook["cells"]:
        if cell["cell_type"] == "markdown":
            titles = [
                line.lstrip("#").strip() for line in cell["source"].splitlines() if line.startswith("## ")
            ]
            latest = titles[-1] if titles else latest
        elif cell["cell_type"] == "code" and "injected-parameters" not in notebook_file.tags(cell):
            found.append(latest)
    return found


class Progress:
    """At most one line a second, and one every half minute in a long cell.

    Parameters
    ----------
    notebook
        The notebook that runs, as JSON.
    say
        Takes each line.
    """

    def __init__(self, notebook: dict[str, Any], say: Any) -> None:
        self.headings = headings(notebook)
        self.say = say
        self.last = -1.0
        self.begun = time.monotonic()
        self.latest: dict[str, Any] = {}
        self.ended = threading.Event()

    def __enter__(self) -> Progress:
        threading.Thread(target=self._wait, daemon=True).start()
        return self

    def __exit__(self, *_: object) -> None:
        self.ended.set()

    def show(self, event: dict[str, Any]) -> None:
        """A cell has started."""
        self.latest = event
        if time.monotonic() - self.last >= 1.0:
            self._line(event["seconds"])

    def _line(self, seconds: float, more: str = "") -> None:
        self.last = time.monotonic()
        number = self.latest["cell"]
        section = self.headings[number - 1] if number <= len(self.headings) else ""
        place = f"cell {number:>2} of {self.latest['cells']}"
        self.say(f"  {place}  {seconds:>4.0f} s  {self.latest['mb']:>5} MB  {more}{section}".rstrip())

    def _wait(self) -> None:
        """Say that a long cell still runs."""
        while not self.ended.wait(1.0):
            if self.latest and time.monotonic() - self.last >= QUIET:
                self._line(time.monotonic() - self.begun, "still: ")
