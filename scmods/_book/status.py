"""The status page: every run of the matrix, what it cost, and every claim with its bounds."""

from __future__ import annotations

from collections.abc import Sequence

from scmods._book.claims import bounds, n_held
from scmods._book.pages import shown
from scmods._book.run_list import Run

__all__ = ["status_page"]


def _cell(text: str) -> str:
    """Text that cannot end a table cell or open a role."""
    return " ".join(text.split()).replace("|", "\\|")


def _values(run: Run) -> str:
    return ", ".join(f"`{k}={_cell(shown(v))}`" for k, v in run.parameters.items()) or "defaults"


def _link(run: Run, text: str = "") -> str:
    """Link to the page, by its short name unless a text is given: tables must stay narrow."""
    return f"{{doc}}`{_cell(text or run.id)} <runs/{run.id}>`"


def _run_rows(runs: Sequence[Run]) -> list[str]:
    """What each run cost; its parameters stand apart, so that the table fits a telephone."""
    lines = ["| page | seconds | CPU s | peak MB | claims held |", "|---|---:|---:|---:|---:|"]
    for run in runs:
        r = run.record
        if run.state == "done":
            cost = f"{r['seconds']:.0f} | {r['cpu_seconds']:.0f} | {r['peak_mb']} | {n_held(r['claims'])}"
            lines.append(f"| {_link(run)} | {cost} |")
        else:
            lines.append(f"| {_link(run)} | | | | {run.state} |")
    done = [run.record for run in runs if run.state == "done"]
    if done:
        seconds, cpu = (sum(r[name] for r in done) for name in ("seconds", "cpu_seconds"))
        held = sum(n_held(r["claims"]) for r in done)
        most = max(r["peak_mb"] for r in done)
        lines.append(f"| **all** | {seconds:.0f} | {cpu:.0f} | ≤ {most} | {held} |")
    return lines


def _settings(runs: Sequence[Run]) -> list[str]:
    """Data, parameters, date and version of every run, one entry each."""
    lines = []
    for run in runs:
        data = ", ".join(f"`{name}`" for name in run.data) or "comes with the software"
        when = (
            f" Executed {run.record['date']}, version {run.record['commit']}." if run.state == "done" else ""
        )
        lines.append(f"- {_link(run)}. Data: {data}. Parameters: {_values(run)}.{when}")
    return lines


def _claim_rows(runs: Sequence[Run]) -> list[str]:
    """One folded table per chapter."""
    lines = []
    for chapter in dict.fromkeys(run.chapter for run in runs):
        rows = [
            f"| {_link(run)} | {_cell(claim['name'])} | {claim['value']:.4g} | {bounds(claim)} |"
            for run in runs
            if run.chapter == chapter and run.state == "done"
            for claim in run.record.get("claims", [])
        ]
        if rows:
            lines += [f"::::{{dropdown}} {chapter}: {len(rows)} values", ":animate: fade-in", ""]
            lines += ["| page | claim | value | bounds |", "|---|---|---:|---|", *rows, "::::", ""]
    return lines or ["No claim was checked yet."]


def _missing(runs: Sequence[Run]) -> list[str]:
    lines = []
    for run in runs:
        if run.state != "done":
            reason = run.reason or "It has not been run yet. Run `python tasks.py book`."
            lines.append(f"- {_link(run, run.title)}, {run.state}: {' '.join(reason.split())}")
    return lines or ["None: every run of the matrix has its page."]


def _versions(runs: Sequence[Run]) -> list[str]:
    """One line per package; where runs differ, every version with the pages that used it."""
    found: dict[str, dict[str, list[str]]] = {}
    for run in runs:
        for name, version in run.record.get("versions", {}).items() if run.state == "done" else []:
            found.setdefault(name, {}).setdefault(version, []).append(run.id)
    lines = ["| package | version |", "|---|---|"]
    for name, by_version in found.items():
        if len(by_version) == 1:
            lines.append(f"| {name} | {next(iter(by_version))} |")
        else:
            each = "; ".join(f"{version} ({', '.join(ids)})" for version, ids in by_version.items())
            lines.append(f"| {name} | {each} |")
    return lines if found else ["Nothing has been run yet."]


def status_page(runs: Sequence[Run]) -> str:
    """MyST text of ``book/status.md`` from the records of all runs.

    Parameters
    ----------
    runs
        Every run of the matrix with its state and record, not only those of the last call.
    """
    done = sum(r.state == "done" for r in runs)
    claims = sum(n_held(r.record.get("claims", [])) for r in runs if r.state == "done")
    seconds = sum(r.record.get("cpu_seconds", 0) for r in runs if r.state == "done")
    parts = [
        "# Execution status",
        "",
        f"{done} of {len(runs)} runs have results; {claims} claims held; {seconds:.0f} s of processor time.",
        "Every number below was measured by the run itself.",
        "",
        "## Without results",
        "",
        *_missing(runs),
        "",
        "## What each run cost",
        "",
        "Seconds by the clock, seconds of processor time, and the most memory that the notebook held.",
        "",
        *_run_rows(runs),
        "",
        "## Claims",
        "",
        "A run whose claim is outside its bounds stops there and has no page. A value without bounds is only reported.",
        "",
        *_claim_rows(runs),
        "## Data and parameters",
        "",
        *_settings(runs),
        "",
        "## Versions",
        "",
        *_versions(runs),
        "",
    ]
    return "\n".join(parts)
