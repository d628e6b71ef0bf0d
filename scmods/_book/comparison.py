"""Runs side by side: one page and one table of what each claimed, with which parameters, at what cost."""

from __future__ import annotations

import csv
import html
import io
import json
import os
import re
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import quote

from scmods._book import notebook_file
from scmods._book.claims import bounds, harvest
from scmods._book.single_page import PAGE, Html, measured, met, number, style, table

if TYPE_CHECKING:
    from scmods._book.sweep import Row

__all__ = ["write_comparison"]

STATES = {0: "done", 1: "failed", 130: "stopped"}
FACTS = ("name", "chapter", "state", "seconds", "peak_mb")
FIXED = ("run", "chapter", "state", "seconds", "peak_mb", "claim", "value", "low", "high", "met")


def _facts(row: Row) -> dict[str, Any]:
    """What a run left in its folder: state, cost, claims, error."""
    facts: dict[str, Any] = {
        "name": row.name,
        "chapter": row.planned.chapter,
        "state": "not run",
        "claims": [],
    }
    if row.outcome is None:
        return facts
    folder = row.outcome.folder
    facts["state"] = STATES.get(row.outcome.status, "failed")
    told = json.loads((folder / "params.json").read_text(encoding="utf-8"))
    facts |= {name: told.get(name) for name in ("seconds", "peak_mb", "error")}
    for name in ("notebook.ipynb", "notebook.failed.ipynb"):
        if (folder / name).is_file():
            facts["claims"] = _named(harvest(folder / name))
            facts["file"] = f"{folder.name}/{'report.html' if name == 'notebook.ipynb' else name}"
    facts["claims"] += _broken(str(facts.get("error") or ""))
    return facts


def _broken(error: str) -> list[dict[str, Any]]:
    """The claim whose value stopped a run: it is stored nowhere but in the message."""
    found = re.search(r"ClaimError: (.+): (\S+) is outside \[(\S+), (\S+)\]$", error)
    if not found:
        return []
    name, value, low, high = found.groups()
    low, high = (None if bound == "..." else float(bound) for bound in (low, high))
    return [{"name": name, "value": float(value), "low": low, "high": high}]


def _named(claims: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Claims whose names are told apart where one is made several times."""
    seen: dict[str, int] = {}
    made = []
    for claim in claims:
        count = seen[claim["name"]] = seen.get(claim["name"], 0) + 1
        made.append(claim | {"name": claim["name"] if count == 1 else f"{claim['name']} ({count})"})
    return made


def _differing(rows: Iterable[Row]) -> list[str]:
    """Parameters that are not the same in all runs of a chapter."""
    found: dict[str, None] = {}
    seen: dict[tuple[str, str], Any] = {}
    for row in rows:
        for name, value in row.planned.values.items():
            if seen.setdefault((row.planned.chapter, name), value) != value:
                found[name] = None
    return list(found)


def _short(value: Any) -> str:
    """A path by its last part, anything else as it is."""
    text = str(value)
    return Path(text).name if os.path.isabs(text) else text or "(empty)"


def _link(facts: Mapping[str, Any]) -> Html:
    if "file" not in facts:
        return Html("")
    words = "report" if facts["state"] == "done" else "notebook up to the fault"
    return Html(
        f'<a href="{quote(facts["file"])}">{words}<span class="of"> of {html.escape(facts["name"])}</span></a>'
    )


def _runs(rows: list[Row], told: list[dict[str, Any]]) -> str:
    names = _differing(rows)
    head = ["run", "chapter", *names, "state", "seconds", "peak memory, MiB", "look"]
    lines = []
    for row, facts in zip(rows, told, strict=True):
        values = [_short(row.planned.values[n]) if n in row.planned.values else "" for n in names]
        cost = [number(facts[k]) if facts.get(k) is not None else "" for k in ("seconds", "peak_mb")]
        lines.append([row.name, row.planned.chapter, *values, facts["state"], *cost, _link(facts)])
    return table("Runs, with the parameters in which they differ", head, lines)


def _cell(claim: Mapping[str, Any] | None) -> Html:
    """Value, bounds and whether they hold, in words."""
    if claim is None:
        return Html('<span class="bounds">not claimed</span>')
    words = {"yes": "met", "no": "NOT met"}.get(met(claim), "")
    told = f"{words}: {bounds(claim)}" if words else "no bound"
    return Html(f'{html.escape(measured(claim))}<br><span class="bounds">{html.escape(told)}</span>')


def _claims(chapter: str, told: list[dict[str, Any]]) -> str:
    """Claims down, runs across."""
    own = [facts for facts in told if facts["chapter"] == chapter]
    names = list(dict.fromkeys(claim["name"] for facts in own for claim in facts["claims"]))
    by_run = [{claim["name"]: claim for claim in facts["claims"]} for facts in own]
    lines = [[name, *(_cell(claims.get(name)) for claims in by_run)] for name in names]
    return table(
        f"Claims of {chapter}: value, bounds, whether they hold", ["claim", *(f["name"] for f in own)], lines
    )


def _faults(told: list[dict[str, Any]]) -> str:
    lines = [[facts["name"], facts["error"]] for facts in told if facts.get("error")]
    return table("What stopped the failed runs", ["run", "fault"], lines)


def _write_csv(rows: list[Row], told: list[dict[str, Any]], path: Path) -> None:
    """One line for each claim of each run; a run without claims has one line."""
    names = _differing(rows)
    buffer = io.StringIO()
    writer = csv.writer(buffer, lineterminator="\n")
    writer.writerow([*FIXED, *names])
    for row, facts in zip(rows, told, strict=True):
        of_run = [
            facts[k] if facts.get(k) is not None else ""
            for k in ("name", "chapter", "state", "seconds", "peak_mb")
        ]
        values = [row.planned.values.get(n, "") for n in names]
        for claim in facts["claims"] or [None]:
            of_claim = ["", "", "", "", ""]
            if claim is not None:
                numbers = ["" if claim.get(k) is None else claim[k] for k in ("value", "low", "high")]
                of_claim = [claim["name"], *numbers, met(claim)]
            writer.writerow([*of_run, *of_claim, *values])
    notebook_file.write_text(path, buffer.getvalue())


def write_comparison(rows: list[Row], out: Path, *, title: str) -> Path:
    """Write ``comparison.html`` and ``comparison.csv``.

    Parameters
    ----------
    rows
        Runs, finished or not.
    out
        Folder of their folders.
    title
        Name of the sweep.

    Returns
    -------
    Path of the page, which opens without network; its links are relative.
    """
    told = [_facts(row) for row in rows]
    done = sum(facts["state"] == "done" for facts in told)
    chapters = list(dict.fromkeys(facts["chapter"] for facts in told))
    parts = [
        f"<h1>{html.escape(title)}: {len(rows)} runs compared</h1>",
        f"<p>{done} of {len(rows)} are done. A claim is a number that the run checked against bounds; "
        "the same table as text is in comparison.csv.</p>",
        _runs(rows, told),
        _faults(told),
        *(_claims(chapter, told) for chapter in chapters),
    ]
    more = "main { max-width: 80rem; } .bounds { font-size: 0.875em; opacity: 0.85; } .of { font-size: 0.875em; }"
    page = PAGE.format(
        title=html.escape(f"{title}: runs compared"),
        style=f"{style()}\n{more}",
        body="\n".join(parts),
        scripts="",
    )
    _write_csv(rows, told, out / "comparison.csv")
    notebook_file.write_text(out / "comparison.html", page)
    return out / "comparison.html"
