"""Run the matrix of notebooks and write the pages: ``python -m scmods._book.matrix``.

A run is executed when no result with its key is cached; finished results are kept under ``.cache/runs``
whatever ends this program, so a second call does only the rest.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import threading
import time
from collections.abc import Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from pathlib import Path
from typing import Any

from scmods import _checks
from scmods._book import execute, notebook_file
from scmods._book.claims import harvest, n_held
from scmods._book.content_key import registry_rows, versions
from scmods._book.pages import shown, write_page
from scmods._book.params import ParameterError
from scmods._book.participant import participant
from scmods._book.run_list import Run, RunListError, read_runs
from scmods._book.status import status_page

__all__ = ["main"]

EVERY = 10.0


class Matrix:
    """The folders of a project and what is known about its runs.

    Parameters
    ----------
    root
        Folder of the project; pages go to ``book/runs``, results to ``.cache/runs``.
    """

    def __init__(self, root: Path) -> None:
        self.root = root
        self.cache = root / ".cache" / "runs"
        self.pages = root / "book" / "runs"
        self.runs = read_runs(root)
        self.progress: dict[str, dict[str, Any]] = {}
        self.lock = threading.Lock()
        self.version = ""
        self.stopping = False

    def select(self, names: Sequence[str]) -> list[Run]:
        """Runs whose id or chapter is named; all when nothing is named."""
        known = [r.id for r in self.runs] + [r.chapter for r in self.runs]
        for name in names:
            if name not in known:
                parts = [f"--only {name}: no such chapter or run.", _checks.nearest(name, known)]
                raise RunListError(" ".join([*parts, f"There are: {', '.join(dict.fromkeys(known))}."]))
        return [r for r in self.runs if not names or r.id in names or r.chapter in names]

    def sweep(self) -> None:
        """Remove unfinished files whose process is gone."""
        import psutil

        for part in self.cache.glob("*.part"):
            number = part.suffixes[-2].lstrip(".") if len(part.suffixes) > 1 else ""
            if not number.isdigit() or not psutil.pid_exists(int(number)):
                part.unlink(missing_ok=True)

    def recall(self, run: Run) -> None:
        """Take state and record from the cache: done, failed, or still not run."""
        record = self.cache / f"{run.key}.json"
        failed = self.cache / f"{run.key}.failed.json"
        if record.is_file() and (self.cache / f"{run.key}.ipynb").is_file():
            run.state, run.record = "done", json.loads(record.read_text(encoding="utf-8"))
        elif failed.is_file():
            run.state, run.record = "failed", json.loads(failed.read_text(encoding="utf-8"))
            run.reason = _one_line(run.record["error"])

    def execute(self, run: Run, threads: int) -> None:
        """Execute one run and keep what it gave."""
        job = execute.Job(
            notebook=str(self.root / "notebooks" / run.notebook),
            output=str(self.cache / f"{run.key}.ipynb"),
            parameters=run.parameters,
            cwd=str(self.root),
            log=str(self.cache / f"{run.key}.log"),
            timeout=run.timeout,
            run_timeout=run.run_timeout,
            memory_mb=run.memory_mb,
            threads=threads,
        )
        result = execute.run(job, progress=lambda event: self.progress.__setitem__(run.id, event))
        if not self.stopping:
            self.keep(run, result)

    def keep(self, run: Run, result: dict[str, Any]) -> None:
        """Write the record of a finished run, whole, under its key."""
        record = {k: getattr(run, k) for k in ("id", "notebook", "parameters", "key")} | result
        record |= {
            "date": time.strftime("%Y-%m-%d", time.gmtime()),
            "commit": self.version,
            "versions": versions(),
        }
        failed = self.cache / f"{run.key}.failed.json"
        if result["ok"]:
            run.state, run.reason = "done", ""
            record["claims"] = harvest(self.cache / f"{run.key}.ipynb")
            notebook_file.write_text(self.cache / f"{run.key}.json", json.dumps(record, indent=1))
            failed.unlink(missing_ok=True)
            (self.cache / f"{run.key}.failed.ipynb").unlink(missing_ok=True)
        else:
            run.state, run.reason = "failed", _one_line(result["error"])
            notebook_file.write_text(failed, json.dumps(record, indent=1))
            (self.cache / f"{run.key}.json").unlink(missing_ok=True)
        run.record = record

    def publish(self, run: Run) -> None:
        """Write the page of a run from its state."""
        done = notebook_file.read(self.cache / f"{run.key}.ipynb") if run.state == "done" else None
        write_page(run, self.pages, done)

    def finish(self) -> None:
        """Write what covers all runs: participant copies and the status page."""
        for run in self.runs:
            if run.main:
                copied = participant(run.source)
                notebook_file.write_if_changed(self.root / "book" / "participant" / run.notebook, copied)
        notebook_file.write_if_changed(self.root / "book" / "status.md", status_page(self.runs))


def _commit(root: Path) -> str:
    """Short commit of the project, with ``-dirty`` after changes; a word where there is no git."""
    call = ["git", "-C", str(root), "describe", "--always", "--dirty", "--exclude", "*"]
    try:
        return subprocess.run(call, capture_output=True, text=True, check=True).stdout.strip() or "unknown"
    except (OSError, subprocess.CalledProcessError):
        return "unknown"


def _one_line(error: dict[str, Any]) -> str:
    where = f"Code cell {error['cell']} of {error['cells']}: " if error.get("cell") else ""
    lines = str(error["message"]).strip().splitlines()
    return f"{where}{error['name']}: {lines[-1] if lines else ''}"


def _say(text: str) -> None:
    print(text, flush=True)


# ---- data ---------------------------------------------------------------------------------------------


def missing_data(names: Sequence[str], *, fetch: bool) -> str:
    """Why the named data sets cannot be had, or an empty string.

    Parameters
    ----------
    names
        Data sets of the registry, or keys of its files.
    fetch
        Whether to download what is not at hand.
    """
    if not names:
        return ""
    from scmods.datasets import _registry

    for name in names:
        rows = registry_rows([name])
        if not rows:
            return f"The data set {name!r} is not in the registry. `python -m scmods list` shows the names."
        for row in rows:
            try:
                if fetch:
                    _registry.fetch(row["key"])
            except _registry.DataUnavailableError as error:
                return f"The data set {name!r} is not at hand. {error}"
            if _registry.locate(_registry.entries()[row["key"]]) is None:
                return (
                    f"The data set {name!r} is not at hand: {row['key']} is missing. "
                    "Set SCMODS_DATA to the folder that holds it, or build the book once with a network."
                )
    return ""


# ---- the call -----------------------------------------------------------------------------------------


def _plan(matrix: Matrix, chosen: Sequence[Run], args: argparse.Namespace) -> list[Run]:
    """Runs to execute; the others get their state from the cache or from their missing data."""
    todo, offline = [], False
    for run in matrix.runs:
        matrix.recall(run)
        if run.state == "done" and not (args.force and run in chosen):
            continue
        wanted = run in chosen and not args.docs
        reason = _without_home(missing_data(run.data, fetch=wanted and not offline))
        if reason and wanted and args.require_data:
            run.state, run.reason, run.record = "failed", reason, _refused(reason)
        elif reason:
            offline = offline or wanted
            run.state, run.reason = "left out", reason
        elif wanted:
            todo.append(run)
    return sorted(todo, key=lambda r: -r.weight)


def _without_home(text: str) -> str:
    """The text without the folders of this machine: it goes onto a page."""
    data = os.environ.get("SCMODS_DATA", "")
    for folder, name in ((data and str(Path(data).resolve()), "SCMODS_DATA"), (str(Path.home()), "~")):
        text = text.replace(folder, name) if len(folder) > 1 else text
    return text


def _refused(reason: str) -> dict[str, Any]:
    """Result of a run that was not started because its data are required and missing."""
    error = {"kind": "data", "cell": None, "cells": None, "source": "", "name": "DataUnavailable"}
    error |= {"message": reason, "traceback": []}
    return {"ok": False, "seconds": 0.0, "cpu_seconds": 0.0, "peak_mb": 0, "path": "", "error": error}


def _progress_line(matrix: Matrix, running: Sequence[Run]) -> str:
    parts = []
    for run in running:
        event = matrix.progress.get(run.id)
        if event:
            parts.append(f"{run.id} cell {event['cell']}/{event['cells']}")
    return ", ".join(parts)


def _execute_all(matrix: Matrix, todo: Sequence[Run], jobs: int) -> None:
    """Execute runs side by side; print one line when one ends and one every ten seconds between."""
    jobs = max(1, min(jobs, len(todo)))
    threads = max(1, (os.cpu_count() or 1) // jobs)
    with ThreadPoolExecutor(jobs) as pool:
        futures: dict[Future[None], Run] = {pool.submit(matrix.execute, r, threads): r for r in todo}
        open_runs, before = set(futures), ""
        try:
            while open_runs:
                ended, open_runs = wait(open_runs, timeout=EVERY, return_when=FIRST_COMPLETED)
                for future in ended:
                    future.result()
                    matrix.publish(futures[future])
                    _say(_result_line(futures[future]))
                line = _progress_line(matrix, [futures[f] for f in open_runs])
                if not ended and line != before:
                    _say(f"running  {line}")
                    before = line
        except BaseException:
            for future in open_runs:
                future.cancel()
            matrix.stopping = True
            execute.stop_all()
            raise


def _result_line(run: Run, word: str = "ran") -> str:
    if run.state == "done":
        claims = f"{n_held(run.record['claims'])} claims held"
        return (
            f"{word:8s} {run.id:20s} {run.record['seconds']:7.1f} s {run.record['peak_mb']:6d} MB  {claims}"
        )
    return f"{run.state:8s} {run.id:20s} {' '.join(run.reason.split())}"


def _report(run: Run, root: Path) -> str:
    """What a failed run says at the end: where, what, and which file to open."""
    error = run.record["error"]
    given = ", ".join(f"{k}={shown(v)}" for k, v in run.parameters.items()) or "defaults"
    place = f", code cell {error['cell']} of {error['cells']}" if error["cell"] else ""
    lines = [f"== FAILED: run {run.id}, notebooks/{run.notebook}, parameters: {given}{place}"]
    lines += [f"   | {line}" for line in error["source"].splitlines()[:12]]
    lines += [f"   {line}" for line in error["traceback"]]
    if not error["traceback"] or error["kind"] != "error":
        lines.append(f"   {error['name']}: {error['message']}")
    if run.record["path"]:
        lines.append(f"   open {os.path.relpath(run.record['path'], root)}; log: .cache/runs/{run.key}.log")
    return "\n".join(lines)


def _arguments(argv: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m scmods._book.matrix", description=__doc__)
    parser.add_argument("--jobs", type=int, default=min(2, os.cpu_count() or 1), help="runs side by side")
    parser.add_argument(
        "--only", action="append", default=[], metavar="CHAPTER", help="chapter or run id; repeatable"
    )
    parser.add_argument("--require-data", action="store_true", help="a missing data set is a failure")
    parser.add_argument("--force", action="store_true", help="execute although a result is cached")
    parser.add_argument(
        "--docs", action="store_true", help="execute nothing; pages from cached results or prose alone"
    )
    parser.add_argument("--root", type=Path, default=Path(), help="folder of the project")
    return parser.parse_args(argv)


def _run(args: argparse.Namespace) -> int:
    started = time.monotonic()
    matrix = Matrix(args.root.resolve())
    matrix.cache.mkdir(parents=True, exist_ok=True)
    matrix.sweep()
    chosen = matrix.select(args.only)
    todo = _plan(matrix, chosen, args)
    for run in matrix.runs:
        if run not in todo:
            matrix.publish(run)
            if run in chosen:
                _say(_result_line(run, "cached"))
    if todo:
        matrix.version = _commit(matrix.root)
        _say(f"executing {len(todo)} of {len(chosen)} runs: {', '.join(r.id for r in todo)}")
        try:
            _execute_all(matrix, todo, args.jobs)
        finally:
            matrix.finish()
    matrix.finish()
    failed = [r for r in chosen if r.state == "failed" and not args.docs]
    for run in failed:
        _say("\n" + _report(run, matrix.root))
    states = [r.state for r in chosen]
    counts = ", ".join(f"{states.count(s)} {s}" for s in dict.fromkeys(states))
    _say(f"{len(chosen)} runs: {counts}; {len(todo)} executed in {time.monotonic() - started:.1f} s")
    return 1 if failed else 0


def main(argv: Sequence[str] | None = None) -> int:
    """Run the matrix; 0 when no chosen run failed, 1 otherwise, 130 after Ctrl-C."""
    args = _arguments(argv)
    notebook_file.printable()
    try:
        return _run(args)
    except (ParameterError, RunListError, notebook_file.NotebookError) as error:
        print(f"error: {error}", file=sys.stderr, flush=True)
        return 1
    except KeyboardInterrupt:
        print("stopped; finished runs are kept, the same command does the rest", file=sys.stderr, flush=True)
        return 130


if __name__ == "__main__":
    sys.exit(main())
