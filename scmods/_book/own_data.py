"""A chapter on the reader's own data: one command, one folder with everything the run gave."""

from __future__ import annotations

import difflib
import json
import os
import sys
import threading
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from scmods._book import execute, notebook_file
from scmods._book.content_key import HOME, file_hash, versions
from scmods._book.params import parameters, resolve

__all__ = ["OwnDataError", "chapters", "find_chapter", "run_chapter"]

ENDINGS = (".h5ad", ".fcs", ".csv")


class OwnDataError(ValueError):
    """The command cannot be run as given; the text says how to give it."""


def chapters(root: Path = HOME) -> dict[str, Path]:
    """Chapters of the project: name -> notebook.

    Raises
    ------
    OwnDataError
        If the notebooks are not beside the package, as in an installation without the repository.
    """
    folder = root / "notebooks"
    found = {p.stem: p for p in sorted(folder.glob("*.ipynb"))}
    if not found:
        msg = f"There are no notebooks in {folder}. They are part of the repository, not of the package: "
        msg += "clone it, install it with `pip install -e .`, and run the command again."
        raise OwnDataError(msg)
    return found


def find_chapter(name: str, root: Path = HOME) -> Path:
    """Notebook of a chapter, given its name or a path to a notebook."""
    if name.endswith(".ipynb") and Path(name).is_file():
        return Path(name).resolve()
    known = chapters(root)
    if name.removesuffix(".ipynb") not in known:
        close = difflib.get_close_matches(name, known, 1)
        hint = f" Did you mean {close[0]!r}?" if close else ""
        msg = f"There is no chapter {name!r}.{hint} There are: {', '.join(known)}."
        raise OwnDataError(msg)
    return known[name.removesuffix(".ipynb")]


def _absolute(values: dict[str, Any]) -> dict[str, Any]:
    """Paths among the values made absolute, as the notebook runs in another folder; refuse absent ones."""
    made = dict(values)
    for name, value in values.items():
        if not isinstance(value, str) or not value:
            continue
        path = Path(value).expanduser()
        if path.is_file():
            made[name] = str(path.resolve())
        elif value.lower().endswith(ENDINGS):
            kind = path.suffix.lower()
            here = path.parent.iterdir() if path.parent.is_dir() else ()
            beside = sorted(p.name for p in here if p.suffix.lower() == kind)[:8]
            close = difflib.get_close_matches(path.name, beside, 1)
            hint = f" Did you mean {close[0]!r}?" if close else ""
            have = (
                f"Files of this kind there: {', '.join(beside)}."
                if beside
                else f"There is no {kind} file there."
            )
            msg = f"Parameter `{name}`: the file {value} does not exist in {Path.cwd()}. {have}{hint}"
            raise OwnDataError(msg)
    return made


def _known_data(name: str) -> None:
    """Refuse a data set that is neither a file nor a name that the loaders know."""
    from scmods import datasets

    if not Path(name).is_file() and name not in datasets.names():
        close = difflib.get_close_matches(name, datasets.names(), 1)
        hint = f" Did you mean {close[0]!r}?" if close else ""
        msg = f"Parameter `dataset`: {name!r} is neither a file nor a data set.{hint} "
        msg += f"There are: {', '.join(datasets.names())}, and any path to an .h5ad file."
        raise OwnDataError(msg)


def _new_folder(out: Path, chapter: str, dataset: str) -> tuple[Path, Path]:
    """An unused folder for the run, and the working name it has until the run ends."""
    stem = "".join(c if c.isalnum() or c in "-_" else "_" for c in Path(dataset).stem) or "data"
    name = f"{chapter}-{stem}-{time.strftime('%Y%m%d-%H%M%S')}"
    for counter in range(1, 1000):
        final = out / (name if counter == 1 else f"{name}-{counter}")
        running = final.with_name(final.name + ".running")
        if final.exists() or final.with_name(final.name + ".failed").exists():
            continue
        try:
            running.mkdir(parents=True)
        except FileExistsError:
            continue
        return final, running
    msg = f"No free folder name in {out}. Give another with -o FOLDER."
    raise OwnDataError(msg)


class _Progress:
    """At most one line a second: the cell that runs, the time, the memory."""

    def __init__(self) -> None:
        self.last = -1.0
        self.latest: dict[str, Any] = {}
        self.done = threading.Event()

    def show(self, event: dict[str, Any]) -> None:
        """A cell has started."""
        self.latest = event
        now = time.monotonic()
        if now - self.last >= 1.0:
            self.last = now
            _say(f"  cell {event['cell']} of {event['cells']}  {event['seconds']:.0f} s  {event['mb']} MB")


def _say(text: str) -> None:
    print(text, flush=True)


def _write_facts(
    folder: Path, chapter: str, values: Mapping[str, Any], given: Mapping[str, Any], line: str
) -> None:
    """``params.json`` and ``versions.txt``: what ran, on what, with what."""
    files = {}
    for name, value in values.items():
        if isinstance(value, str) and value and Path(value).is_file():
            files[name] = {"path": value, "bytes": Path(value).stat().st_size, "sha256": file_hash(value)}
    facts = {
        "chapter": chapter,
        "parameters": dict(values),
        "given": sorted(given),
        "files": files,
        "command": line,
        "started": time.strftime("%Y-%m-%dT%H:%M:%S%z"),
    }
    notebook_file.write_text(folder / "params.json", json.dumps(facts, indent=1, ensure_ascii=False) + "\n")
    lines = "".join(f"{name}=={version}\n" for name, version in versions().items())
    notebook_file.write_text(folder / "versions.txt", lines)


def _rescue(folder: Path) -> None:
    """Name the unfinished notebook of a stopped run as what it is."""
    for part in folder.glob("notebook.ipynb.*.part"):
        os.replace(part, folder / "notebook.failed.ipynb")


def _close(running: Path, final: Path, *, ok: bool) -> Path:
    target = final if ok else final.with_name(final.name + ".failed")
    for part in running.rglob("*.part"):
        part.unlink(missing_ok=True)
    os.replace(running, target)
    return target


def _report(folder: Path, info: dict[str, Any]) -> None:
    from scmods._book.single_page import render

    render(folder / "notebook.ipynb", folder / "report.html", info=info)


def _advice(error: dict[str, Any], values: Mapping[str, Any], folder: Path) -> list[str]:
    """The last lines of a failed run: what happened, where, what to do."""
    place = f" in code cell {error['cell']} of {error['cells']}" if error.get("cell") else ""
    lines = [f"   | {line}" for line in error["source"].splitlines()[:8]]
    lines += [f"FAILED{place}: {error['name']}: {str(error['message']).strip()}"]
    dataset = values.get("dataset", "")
    if error["kind"] == "memory":
        lines.append("What to do: give more with --memory-mb, or use fewer cells.")
    elif error["kind"] == "timeout":
        lines.append("What to do: give more time with --timeout, or use fewer cells.")
    elif error["kind"] == "killed":
        lines.append("What to do: close other programs or use fewer cells; most often memory was short.")
    elif str(dataset).lower().endswith((".h5ad", ".fcs")):
        lines.append(
            f"What to do: the message above names the fix; check the file: python -m scmods check {dataset}"
        )
    else:
        lines.append("What to do: the message above names the fix; check the set-up: python -m scmods check")
    return [*lines, f"Everything so far is in {folder}: notebook.failed.ipynb, log.txt, params.json"]


def run_chapter(
    chapter: str,
    given: Mapping[str, Any],
    *,
    out: Path,
    root: Path = HOME,
    timeout: float | None = None,
    memory_mb: float | None = None,
) -> int:
    """Run a chapter and keep everything it gives in one folder below `out`.

    The folder holds ``notebook.ipynb``, ``report.html``, ``tables/*.csv``, ``result.h5ad``, ``params.json``,
    ``versions.txt`` and ``log.txt``. Its name ends in ``.running`` during the run, and in ``.failed`` after a
    failure or Ctrl-C.

    Parameters
    ----------
    chapter
        Name such as ``"bmlp"``, or path of a notebook.
    given
        Parameters as text or values; refused when unknown or of the wrong type, before anything starts.
    out
        Folder that takes the run folder; made when absent.
    root
        Folder of the project.
    timeout
        Most seconds for one cell; None for no limit.
    memory_mb
        Most memory in MiB; None for no limit.

    Returns
    -------
    Exit status: 0 done, 1 failed, 130 stopped by Ctrl-C.

    Raises
    ------
    OwnDataError, ParameterError, NotebookError
        If the call cannot be run as given.
    """
    notebook = find_chapter(chapter, root)
    known = parameters(notebook)
    given = _absolute(resolve(notebook, given))
    if notebook.parent == root / "notebooks" and "dataset" in given:
        _known_data(str(given["dataset"]))
    values = {name: given.get(name, p.default) for name, p in known.items()}
    final, running = _new_folder(out.expanduser().resolve(), notebook.stem, str(values.get("dataset", "")))
    line = " ".join(["python -m scmods", *sys.argv[1:]])
    _write_facts(running, notebook.stem, values, given, line)
    job = execute.Job(
        notebook=str(notebook),
        output=str(running / "notebook.ipynb"),
        parameters=dict(given),
        cwd=str(running),
        log=str(running / "log.txt"),
        timeout=timeout,
        memory_mb=memory_mb,
        run_dir=str(running),
    )
    _say(f"running {notebook.stem} in {running}")
    try:
        result = execute.run(job, progress=_Progress().show)
        if result["ok"]:
            info = {"chapter": notebook.stem, "title": notebook_file.title(notebook_file.read(notebook))}
            _report(running, info | {"parameters": values, "versions": versions(), "command": line} | result)
    except KeyboardInterrupt:
        execute.stop_all()
        _rescue(running)
        failed = _close(running, final, ok=False)
        _say(
            f"STOPPED. What was finished is in {failed}: notebook.failed.ipynb, tables, log.txt, params.json"
        )
        return 130
    except BaseException:
        _rescue(running)
        _close(running, final, ok=False)
        raise
    return _end(result, values, running, final)


def _end(result: dict[str, Any], values: Mapping[str, Any], running: Path, final: Path) -> int:
    _rescue(running)
    folder = _close(running, final, ok=result["ok"])
    if result["ok"]:
        _say(f"done in {result['seconds']:.0f} s, at most {result['peak_mb']} MB: {folder}")
        _say(f"open {folder / 'report.html'}")
        return 0
    for text in _advice(result["error"], values, folder):
        _say(text)
    return 1
