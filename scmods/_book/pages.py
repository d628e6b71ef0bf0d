"""Pages of the book: cached outputs put into the current prose of a notebook."""

from __future__ import annotations

import copy
import re
from pathlib import Path
from typing import Any

from scmods._book import notebook_file
from scmods._book.run_list import Run
from scmods._book.run_pages import FACTS, facts

__all__ = ["command", "placeholder", "page", "shown", "write_page"]

DEFINITIONS = (
    r"^\(([^()\s]+)\)=\s*$",
    r"^\s*:(?:label|name):\s+(\S+)",
    r"^\$\$\s*\(([^()\s]+)\)\s*$",
    r"\\label\{([^}]+)\}",
)
REFERENCES = r"\{(?:ref|eq|numref|prf:ref)\}`"


def shown(value: Any) -> str:
    """A parameter value as one writes it on a command line."""
    if isinstance(value, bool):
        return str(value).lower()
    return ",".join(map(str, value)) if isinstance(value, list | tuple) else str(value)


def command(run: Run) -> str:
    """The command that makes this run on the reader's machine."""
    values = [(k, shown(v)) for k, v in run.parameters.items()]
    given = "".join(f' -p "{k}={v}"' if re.search(r"\s", v) else f" -p {k}={v}" for k, v in values)
    return f"python -m scmods run {run.chapter}{given} -o results"


def _labels(notebook: dict[str, Any]) -> set[str]:
    """Labels that the prose of the notebook defines."""
    prose = "\n".join(c["source"] for c in notebook["cells"] if c["cell_type"] == "markdown")
    return {label for pattern in DEFINITIONS for label in re.findall(pattern, prose, flags=re.M)}


def _suffixed(text: str, labels: set[str], suffix: str) -> str:
    """The prose with `suffix` behind every label of the notebook, where defined and where referred to."""
    for label in sorted(labels, key=len, reverse=True):
        name = re.escape(label)
        for pattern in (
            rf"^(\({name})(\)=\s*$)",
            rf"^(\s*:(?:label|name):\s+{name})(\s*$)",
            rf"^(\$\$\s*\({name})(\)\s*$)",
            rf"(\\label\{{{name})(\}})",
            rf"(\\(?:eq)?ref\{{{name})(\}})",
            rf"(\{{(?:solution|solution-start)\}}\s+{name})(\s*$)",
            rf"({REFERENCES}{name})(`)",
            rf"({REFERENCES}[^`<]*<{name})(>`)",
            rf"(\]\(#?{name})(\))",
        ):
            text = re.sub(pattern, rf"\g<1>{suffix}\g<2>", text, flags=re.M)
    return text


def _rename(notebook: dict[str, Any], run: Run) -> None:
    """Make labels and title of a further run its own."""
    labels = _labels(notebook)
    titled = False
    for cell in notebook["cells"]:
        if cell["cell_type"] != "markdown":
            continue
        cell["source"] = _suffixed(cell["source"], labels, f"-{run.id}")
        if not titled:
            cell["source"], count = re.subn(
                r"^# (.+)$", lambda m: f"# {m[1].strip()}: {run.label}", cell["source"], count=1, flags=re.M
            )
            titled = bool(count)


def _measured(run: Run) -> str:
    record = run.record
    if run.state != "done":
        reason = run.reason or "It has not been run on this machine."
        return f"**No results on this page.** {reason}"
    text = f"This run took {record['seconds']:.0f} s ({record['cpu_seconds']:.0f} s of processor time) "
    text += f"and at most {record['peak_mb']} MB of memory. Claims checked: {len(record['claims'])}. "
    return text + f"Executed {record['date']}, version {record['commit']}."


def _box(run: Run) -> dict[str, Any]:
    """Cell with the commands and files that make this page, and what it costs."""
    kind, title = ("warning", "Not executed") if run.state != "done" else ("tip", "Run this page")
    lines = [
        f"````{{admonition}} {title}",
        f":class: {kind} run-this-page",
        "",
        _measured(run),
        "",
        "```{code-block} shell",
        command(run),
        "```",
        "",
        f"On your own data: `-p dataset=my.h5ad`. Source notebook: {{download}}`{run.notebook} "
        f"<../../notebooks/{run.notebook}>`; for a class, without solutions: {{download}}`participant copy "
        f"<../participant/{run.notebook}>`.",
        "",
        f"```{{scmods-launch}} {run.notebook}",
        "```",
        "````",
    ]
    kept = {FACTS: facts(run)}  # for the cards and tables of evidence
    return {"cell_type": "markdown", "id": "run-this-page", "metadata": kept, "source": "\n".join(lines)}


def _fill(notebook: dict[str, Any], done: dict[str, Any]) -> None:
    """Outputs of the executed notebook into the current one; both have the same code, by their key."""
    theirs, ours = notebook_file.code(done), notebook_file.code(notebook)
    for cell, result in zip(ours, theirs, strict=True):
        cell["outputs"], cell["execution_count"] = result["outputs"], result["execution_count"]
    injected = next((c for c in done["cells"] if "injected-parameters" in notebook_file.tags(c)), None)
    if injected is not None:
        place = next(i for i, c in enumerate(notebook["cells"]) if "parameters" in notebook_file.tags(c))
        notebook["cells"].insert(place + 1, copy.deepcopy(injected) | {"id": "injected-parameters"})


def page(run: Run, done: dict[str, Any] | None) -> dict[str, Any]:
    """The page of a run as a notebook.

    Parameters
    ----------
    run
        The run; its ``source`` gives the prose.
    done
        The executed notebook, or None for a page of prose without any output.
    """
    notebook = copy.deepcopy(run.source)
    for cell in notebook_file.code(notebook):
        cell["outputs"], cell["execution_count"] = [], None
    if done is not None:
        _fill(notebook, done)
    if not run.main:
        _rename(notebook, run)
    for cell in notebook["cells"]:
        for name in ("papermill", "execution"):
            cell["metadata"].pop(name, None)
    for name in ("papermill", "widgets"):
        notebook["metadata"].pop(name, None)
    notebook["cells"].insert(1 if notebook["cells"] else 0, _box(run))
    return notebook


def placeholder(run: Run) -> str:
    """Page of a run that was left out: why, and how to get it."""
    lines = [
        f"# {run.title}",
        "",
        "````{admonition} This page was left out",
        ":class: warning",
        "",
        run.reason,
        "````",
        "",
        f"The page shows the chapter `{run.chapter}` with these parameters:",
        "",
        *[f"- `{name}`: `{shown(value)}`" for name, value in run.parameters.items()],
        "",
        "With the data at hand, the next build of the book makes the page. The run alone:",
        "",
        "```shell",
        command(run),
        "```",
        "",
    ]
    return "\n".join(lines)


def write_page(run: Run, folder: Path, done: dict[str, Any] | None) -> bool:
    """Write the page of a run into `folder`; a stale page of the other kind goes."""
    notebook, text = folder / f"{run.id}.ipynb", folder / f"{run.id}.md"
    stale = notebook if run.state == "left out" else text
    stale.unlink(missing_ok=True)
    if run.state == "left out":
        return notebook_file.write_if_changed(text, placeholder(run))
    return notebook_file.write_if_changed(notebook, page(run, done))
