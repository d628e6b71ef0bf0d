"""The pages of ``book/runs`` as the site sees them: which run a page shows, what it cost, its outputs and claims.

The runner writes the facts of a run into the metadata of the page's first box; cards and tables of evidence
read them here, so that no directive needs the cache or the data.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from scmods._book import notebook_file
from scmods._book.claims import harvest

__all__ = ["FACTS", "RunPage", "facts", "read_run_pages"]

FACTS = "scmods-run"  # key of the facts in the metadata of the box cell
COSTS = ("seconds", "cpu_seconds", "peak_mb", "date", "commit")


@dataclass
class RunPage:
    """One page of executed results; ``facts`` is empty where the run has none."""

    id: str
    path: Path
    facts: dict[str, Any] = field(default_factory=dict)
    claims: list[dict[str, Any]] = field(default_factory=list)
    cells: list[dict[str, Any]] = field(default_factory=list)

    @property
    def done(self) -> bool:
        """Whether the page shows results."""
        return self.facts.get("state") == "done"


def facts(run: Any) -> dict[str, Any]:
    """What a page keeps of its run: chapter, state, data and cost."""
    out = {"chapter": run.chapter, "main": run.main, "label": run.label, "title": run.title}
    out |= {"state": run.state, "reason": run.reason, "data": list(run.data)}
    return out | {name: run.record[name] for name in COSTS if name in run.record and run.state == "done"}


def _read(path: Path) -> RunPage | None:
    notebook = notebook_file.read(path)
    kept = next((c["metadata"][FACTS] for c in notebook["cells"] if FACTS in c.get("metadata", {})), None)
    if kept is None:
        return None
    claims = harvest(notebook) if kept["state"] == "done" else []
    return RunPage(path.stem, path, kept, claims, notebook["cells"])


def read_run_pages(folder: Path, chapter: str) -> list[RunPage]:
    """Pages of a chapter that are notebooks, the main page first.

    Pages that were left out are plain text and are not among them.
    """
    pages = [_read(path) for path in sorted(folder.glob(f"{chapter}*.ipynb"))]
    own = [page for page in pages if page is not None and page.facts["chapter"] == chapter]
    return sorted(own, key=lambda page: not page.facts["main"])
