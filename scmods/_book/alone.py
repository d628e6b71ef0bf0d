"""Run one section of a notebook by itself: a fresh namespace, what stands for the sections before, its cells."""

from __future__ import annotations

import linecache
from collections.abc import Sequence
from typing import Any

__all__ = ["run_alone"]


def run_alone(section: str, sources: Sequence[str]) -> dict[str, Any]:
    """Execute code cells one after another in a namespace of their own and return it.

    Meant for a kernel that runs all sections of a chapter: the namespace is fresh for each, the process is not.
    Modules stay imported, which saves seconds a section. That hides nothing as long as modules keep no state but
    caches: the package has no global random state and changes no setting of a library.

    Parameters
    ----------
    section
        Name for tracebacks; a line of the second cell reads ``<03_the-idea, code cell 2>``.
    sources
        Code cells; an error of one of them is passed on as it is.
    """
    namespace: dict[str, Any] = {"__name__": "__main__", "display": _display}
    for number, source in enumerate(sources, start=1):
        place = f"<{section}, code cell {number}>"
        linecache.cache[place] = (len(source), None, source.splitlines(keepends=True), place)
        exec(compile(source, place, "exec"), namespace)
    return namespace


def _display(*values: Any) -> None:
    """Stand-in for IPython's: the figures of a section on trial are made but not shown."""
