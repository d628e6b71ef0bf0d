"""A chapter on the reader's own data: one command, one folder with everything the run gave."""

from __future__ import annotations

import difflib
import sys
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from scmods._book import execute, notebook_file
from scmods._book.claims import TELL, bounds, harvest, not_held
from scmods._book.content_key import HOME, versions
from scmods._book.limits import LIMITS, check_values
from scmods._book.params import parameters, resolve
from scmods._book.progress import Progress
from scmods._book.run_folder import OwnDataError, close, new_folder, rescue, write_end, write_facts
from scmods._book.single_page import measured

__all__ = ["Outcome", "OwnDataError", "Plan", "chapters", "find_chapter", "plan", "run_chapter", "run_plan"]

ENDINGS = (".h5ad", ".fcs", ".csv", ".gmt")


def notebook_folder(root: Path = HOME) -> Path:
    """Where the notebooks lie: in the project, or beside the package in the folder of a workshop."""
    inside, beside = root / "notebooks", root.parent / "notebooks"
    return beside if root.name == "package" and not inside.is_dir() and beside.is_dir() else inside


def chapters(root: Path = HOME) -> dict[str, Path]:
    """Chapters of the project: name -> notebook.

    Raises
    ------
    OwnDataError
        If the notebooks are not beside the package, as in an installation without the repository.
    """
    folder = notebook_folder(root)
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

    if Path(name).is_dir():
        msg = f"Parameter `dataset`: {name} is a folder. Read it (a .zarr with anndata.read_zarr), then write a file: "
        msg += "adata.write_h5ad('my.h5ad')."
        raise OwnDataError(msg)
    if not Path(name).is_file() and name not in datasets.names():
        close = difflib.get_close_matches(name, datasets.names(), 1)
        hint = f" Did you mean {close[0]!r}?" if close else ""
        msg = f"Parameter `dataset`: {name!r} is neither a file nor a data set.{hint} "
        msg += f"There are: {', '.join(datasets.names())}, and any path to an .h5ad file."
        raise OwnDataError(msg)


def _say(text: str) -> None:
    print(text, flush=True)


def _report(folder: Path, planned: Plan, line: str, result: Mapping[str, Any]) -> None:
    from scmods._book.citing import citations
    from scmods._book.single_page import render

    notebook = notebook_file.read(planned.notebook)
    info = {"chapter": planned.chapter, "title": notebook_file.title(notebook), "command": line, **result}
    info |= {"parameters": planned.values, "versions": versions()}
    dataset = str(planned.values.get("dataset", ""))
    info["cite"] = citations(notebook, chapter=planned.chapter, dataset=dataset, folder=folder)
    render(folder / "notebook.ipynb", folder / "report.html", info=info)


def _culprits(message: str, values: Mapping[str, Any]) -> str:
    """The parameters whose value the message quotes: it may name only the slot where the value was looked for."""
    quoted = [
        f"`{name}` is {value!r}"
        for name, value in values.items()
        if isinstance(value, str) and value and repr(value) in message and f"`{name}`" not in message
    ]
    return f"In this run {' and '.join(quoted)}." if quoted else ""


def _advice(error: dict[str, Any], values: Mapping[str, Any], folder: Path) -> list[str]:
    """The last lines of a failed run: what happened, where, what to do."""
    place = f" in code cell {error['cell']} of {error['cells']}" if error.get("cell") else ""
    lines = [f"   | {line}" for line in error["source"].splitlines()[:8]]
    lines += [f"FAILED{place}: {error['name']}: {str(error['message']).strip()}"]
    lines += [told for told in [_culprits(str(error["message"]), values)] if told]
    dataset = values.get("dataset", "")
    if error["kind"] == "memory":
        lines.append("What to do: give more with --memory-mb, or use fewer cells.")
    elif error["kind"] == "timeout":
        lines.append("What to do: give more time with --timeout, or use fewer cells.")
    elif error["kind"] == "killed":
        lines.append("What to do: close other programs or use fewer cells; most often memory was short.")
    elif error["name"] == "ClaimError":
        text = "What to do: this number is checked in every run, and is outside its bounds on these data. "
        lines.append(
            text + "More cells or other parameters may bring it back; what was computed before is kept."
        )
    elif str(dataset).lower().endswith((".h5ad", ".fcs", ".csv")):
        lines.append(
            f'What to do: the message above names the fix; check the file: python -m scmods check "{dataset}"'
        )
    else:
        lines.append("What to do: the message above names the fix; check the set-up: python -m scmods check")
    return [*lines, f"Everything so far is in {folder}: notebook.failed.ipynb, log.txt, params.json"]


@dataclass(frozen=True)
class Plan:
    """A run whose chapter, names, types, limits, files and keys are checked.

    Attributes
    ----------
    chapter, notebook
        Name and source.
    given, values
        Parameters that were given, and all with their defaults; paths are absolute.
    """

    chapter: str
    notebook: Path
    given: dict[str, Any]
    values: dict[str, Any]


@dataclass(frozen=True)
class Outcome:
    """Exit status (0 done, 1 failed, 130 stopped) and folder of a run."""

    status: int
    folder: Path


def plan(chapter: str, given: Mapping[str, Any], root: Path = HOME) -> Plan:
    """Check a call without starting anything.

    Parameters
    ----------
    chapter
        Name such as ``"bmlp"``, or path of a notebook.
    given
        Parameters as text or values.
    root
        Folder of the project.

    Raises
    ------
    OwnDataError, ParameterError, NotebookError
        With the name of the parameter, what is allowed, the nearest names and what there is.
    """
    from scmods._book.file_keys import check_keys

    notebook = find_chapter(chapter, root)
    known = parameters(notebook)
    made = _absolute(resolve(notebook, given))
    check_values(notebook.stem, known, made)
    if notebook.parent == notebook_folder(root).resolve() and "dataset" in made:
        _known_data(str(made["dataset"]))
    values = {name: made.get(name, p.default) for name, p in known.items()}
    dataset = Path(str(values.get("dataset", "")))
    if dataset.is_file():
        # a notebook of the reader's own may have defaults that it never uses
        check_keys(notebook.stem, dataset, values if notebook.stem in LIMITS else made)
    return Plan(notebook.stem, notebook, made, values)


def folder_name(planned: Plan) -> str:
    """Chapter, data and time, as a name that every system allows."""
    stem = Path(str(planned.values.get("dataset", ""))).stem
    stem = "".join(c if c.isalnum() or c in "-_" else "_" for c in stem) or "data"
    return f"{planned.chapter}-{stem}-{time.strftime('%Y%m%d-%H%M%S')}"


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
        Parameters as text or values; refused when unknown, of the wrong type or outside their limits, and when the
        file lacks a key that they name, before anything starts.
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
    planned = plan(chapter, given, root)
    return run_plan(planned, out=out, timeout=timeout, memory_mb=memory_mb).status


def run_plan(
    planned: Plan,
    *,
    out: Path,
    name: str = "",
    timeout: float | None = None,
    memory_mb: float | None = None,
) -> Outcome:
    """Run what :func:`plan` has checked; see :func:`run_chapter`.

    Parameters
    ----------
    planned
        The run.
    out
        Folder that takes the run folder.
    name
        Name of the run folder; by default chapter, data and time.
    timeout, memory_mb
        Limits.
    """
    final, running = new_folder(out.expanduser().resolve(), name or folder_name(planned))
    line = " ".join(["python -m scmods", *sys.argv[1:]])
    write_facts(running, planned, line)
    job = execute.Job(
        notebook=str(planned.notebook),
        output=str(running / "notebook.ipynb"),
        parameters=dict(planned.given),
        cwd=str(running),
        log=str(running / "log.txt"),
        timeout=timeout,
        memory_mb=memory_mb,
        run_dir=str(running),
        environment=_environment(planned.values),
    )
    _say(f"running {planned.chapter} in {running}")
    try:
        with Progress(notebook_file.read(planned.notebook), _say) as progress:
            result = execute.run(job, progress=progress.show)
        if result["ok"]:
            _report(running, planned, line, result)
        write_end(running, result)
    except KeyboardInterrupt:
        execute.stop_all()
        rescue(running)
        write_end(running, {"ok": False})
        failed = close(running, final, ok=False)
        _say(
            f"STOPPED. What was finished is in {failed}: notebook.failed.ipynb, tables, log.txt, params.json"
        )
        return Outcome(130, failed)
    except BaseException:
        rescue(running)
        close(running, final, ok=False)
        raise
    return _end(result, planned.values, running, final)


def _environment(values: Mapping[str, Any]) -> dict[str, str]:
    """The bounds of claims were set for the data of the book: on a reader's own file they stop nothing."""
    return {TELL: "tell"} if Path(str(values.get("dataset", ""))).is_file() else {}


def _outside(folder: Path) -> list[str]:
    """What a run on own data claimed in vain, one line each."""
    broken = not_held(harvest(folder / "notebook.ipynb"))
    told = [f"  {c['name']}: {measured(c)}, expected {bounds(c)}" for c in broken]
    head = "On these data the following does not hold; the bounds are those of the book's own data:"
    return [head, *told] if told else []


def _end(result: dict[str, Any], values: Mapping[str, Any], running: Path, final: Path) -> Outcome:
    rescue(running)
    folder = close(running, final, ok=result["ok"])
    if result["ok"]:
        _say(f"done in {result['seconds']:.0f} s, at most {result['peak_mb']} MB: {folder}")
        for text in _outside(folder):
            _say(text)
        _say(f"open {folder / 'report.html'}")
        return Outcome(0, folder)
    for text in _advice(result["error"], values, folder):
        _say(text)
    return Outcome(1, folder)
