"""The run matrix: ``notebooks/runs.yml`` read and checked, one :class:`Run` per page."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from scmods import _checks
from scmods._book import notebook_file
from scmods._book.content_key import content_key
from scmods._book.params import ParameterError, resolve

__all__ = ["Run", "RunListError", "read_runs"]

LIMITS = {"timeout": 300, "run_timeout": 900, "memory_mb": 4000, "weight": 1}
FIELDS = ("id", "notebook", "parameters", "label", "data", *LIMITS)


class RunListError(ValueError):
    """The run matrix does not say what to run."""


@dataclass
class Run:
    """One page of the book that a notebook makes with one set of parameters.

    ``state`` goes from "not run" to "done", "failed" or "left out"; ``record`` holds what was measured.
    """

    id: str
    notebook: str
    parameters: dict[str, Any]
    label: str
    data: list[str]
    timeout: float
    run_timeout: float
    memory_mb: float
    weight: float
    main: bool
    source: dict[str, Any]
    key: str
    state: str = "not run"
    reason: str = ""
    record: dict[str, Any] = field(default_factory=dict)

    @property
    def chapter(self) -> str:
        """Name of the notebook without its ending."""
        return Path(self.notebook).stem

    @property
    def title(self) -> str:
        """Title of the page: that of the notebook, and for further runs the label."""
        name = notebook_file.title(self.source) or self.chapter
        return name if self.main else f"{name}: {self.label}"


def _entry(entry: Any, defaults: dict[str, Any], place: str) -> dict[str, Any]:
    """One entry with defaults filled in; refuse fields that do not exist and those that must."""
    if not isinstance(entry, dict) or "id" not in entry or "notebook" not in entry:
        msg = f"{place}: every run needs `id` and `notebook`, but one is {entry!r}."
        raise RunListError(msg)
    for name in entry:
        if name not in FIELDS:
            hint = _checks.nearest(name, FIELDS)
            msg = f"{place}: run {entry['id']!r} has the unknown field {name!r}. {hint} "
            msg += f"It takes: {', '.join(FIELDS)}."
            raise RunListError(msg)
    return {**LIMITS, "parameters": {}, "label": entry["id"], "data": [], **defaults, **entry}


def _make(entry: dict[str, Any], root: Path, *, main: bool) -> Run:
    notebook = f"{Path(entry['notebook']).stem}.ipynb"
    source = notebook_file.read(root / "notebooks" / notebook)
    try:
        given = resolve(source, entry["parameters"] or {}, notebook)
    except ParameterError as error:
        msg = f"Run {entry['id']!r} of notebooks/runs.yml: {error}"
        raise ParameterError(msg) from error
    key = content_key(source, given, root=root, data=entry["data"])
    fields = {name: entry[name] for name in ("id", "label", "data", *LIMITS)}
    return Run(notebook=notebook, parameters=given, main=main, source=source, key=key, **fields)


def read_runs(root: Path) -> list[Run]:
    """Runs of the project at `root`, in the order of the file; the first of a notebook is its main page.

    Raises
    ------
    RunListError
        If the file is absent or malformed, or two runs share an id or are the same run.
    ParameterError
        If a run sets a parameter that its notebook does not have, or to a value of the wrong type.
    NotebookError
        If a notebook does not exist.
    """
    import yaml

    path = root / "notebooks" / "runs.yml"
    if not path.is_file():
        msg = f"{path} does not exist. Run from the root of the project, or give it: --root FOLDER."
        raise RunListError(msg)
    try:
        content = yaml.safe_load(path.read_text(encoding="utf-8")) or {}
    except yaml.YAMLError as error:
        msg = f"{path} is not YAML: {error}"
        raise RunListError(msg) from error
    runs: list[Run] = []
    for raw in content.get("runs") or []:
        entry = _entry(raw, content.get("defaults") or {}, "notebooks/runs.yml")
        main = Path(entry["notebook"]).stem not in {r.chapter for r in runs}
        run = _make(entry, root, main=main)
        for other in runs:
            if other.id == run.id or other.key == run.key:
                msg = (
                    f"notebooks/runs.yml: runs {other.id!r} and {run.id!r} are the same. Remove one of them."
                )
                raise RunListError(msg)
        runs.append(run)
    if not runs:
        msg = "notebooks/runs.yml lists no run. Add one: `- {id: bmlp, notebook: bmlp.ipynb}`."
        raise RunListError(msg)
    return runs
