"""What a notebook asserts and what it hands over: claims, tables, the resulting AnnData."""

from __future__ import annotations

import html
import json
import math
import os
import re
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from scmods import _checks

if TYPE_CHECKING:
    import pandas as pd
    from anndata import AnnData

__all__ = [
    "ClaimError",
    "bounds",
    "claim",
    "drop_values",
    "harvest",
    "holds",
    "not_held",
    "save_result",
    "save_table",
]

ROWS_SHOWN = 12
TELL = "SCMODS_CLAIMS"  # set to "tell": a value outside its bounds is told and stored, and the run goes on


class ClaimError(AssertionError):
    """A claimed value is outside its bounds, or is no finite number."""


def _publish(data: dict[str, str], metadata: dict[str, Any]) -> None:
    """Show the richest form in a notebook, the plain text elsewhere."""
    ipython = sys.modules.get("IPython")
    if ipython is not None and ipython.get_ipython() is not None:
        from IPython.display import publish_display_data

        publish_display_data(data, metadata)
    else:
        print(data["text/plain"])


def bounds(claim: Mapping[str, Any]) -> str:
    """Bounds of a claim as they are shown, such as ``[0.9, ...]``."""
    low, high = ("..." if claim.get(side) is None else f"{claim[side]:g}" for side in ("low", "high"))
    return f"[{low}, {high}]"


def claim(name: str, value: float, low: float | None = None, high: float | None = None) -> None:
    """State that `value` lies in ``[low, high]``: print it, store it, stop the notebook where it does not.

    A run on a reader's own file is not stopped: the bounds were set for the data of the book, so there a value
    outside them is printed as such and stored (environment variable ``SCMODS_CLAIMS=tell``).

    The printed text holds the bounds but no digit of the value, so that a second run on another machine
    compares equal; the value itself goes into the metadata of the output, where the status page reads it.

    Parameters
    ----------
    name
        What is claimed, as a reader would say it.
    value
        One finite number (a one-element tensor or array will do), in any unit.
    low, high
        Bounds, both inclusive; ``None`` leaves that side open.

    Raises
    ------
    ClaimError
        If `value` is outside the bounds, NaN or infinite.
    ValueError
        If `low` is larger than `high` or `name` is empty.

    Examples
    --------
    >>> claim("area under the curve", 0.93, low=0.9)
    area under the curve: within [0.9, ...]
    """
    if not name.strip():
        _checks.fail("The name of a claim is empty.", "Write claim('held-out R2', value, low=0.8).")
    number = float(value)
    low, high = (None if b is None else _checks.number("bound", float(b)) for b in (low, high))
    if low is not None and high is not None and low > high:
        _checks.fail(f"The claim {name!r} has low={low:g} above high={high:g}.", "Swap the two bounds.")
    inside = math.isfinite(number) and (low is None or number >= low) and (high is None or number <= high)
    where = bounds({"low": low, "high": high})
    told = f"{name}: within {where}" if inside else f"{name}: {number:g} is outside {where}"
    if not inside and os.environ.get(TELL) != "tell":
        raise ClaimError(told)
    # a notebook is JSON, which has no NaN and no infinity
    stored = {"name": name, "value": number if math.isfinite(number) else None, "low": low, "high": high}
    _publish({"text/plain": told if inside else f"NOT HELD on these data: {told}"}, {"claim": stored})


def harvest(notebook: str | Path | dict[str, Any]) -> list[dict[str, Any]]:
    """Claims stored in the outputs of an executed notebook, in order.

    Parameters
    ----------
    notebook
        Path of the executed notebook, or its JSON.

    Returns
    -------
    One dict per claim with ``name``, ``value``, ``low``, ``high`` (open bounds are ``None``).
    """
    if not isinstance(notebook, dict):
        notebook = json.loads(Path(notebook).read_text(encoding="utf-8"))
    found = []
    for cell in notebook["cells"]:
        for output in cell.get("outputs", []):
            stored = output.get("metadata", {}).get("claim")
            if stored is not None:
                found.append(dict(stored))
    return found


def drop_values(path: str | Path) -> bool:
    """Remove the values of claims from the outputs of a source notebook, so that its diffs stay clean.

    Bounds and names stay. Returns whether the file was changed. ``python -m scmods._book.claims FILE...``
    calls this for each file.
    """
    text = Path(path).read_text(encoding="utf-8")
    notebook = json.loads(text)
    for cell in notebook["cells"]:
        for output in cell.get("outputs", []):
            output.get("metadata", {}).get("claim", {}).pop("value", None)
    made = json.dumps(notebook, indent=1, ensure_ascii=False, sort_keys=True) + "\n"
    if json.loads(text) == notebook:
        return False
    part = Path(f"{path}.{os.getpid()}.part")
    part.write_text(made, encoding="utf-8", newline="\n")
    os.replace(part, path)
    return True


def not_held(claims: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Claims whose value is outside their bounds or is no finite number: only runs on own files hold any."""
    return [c for c in claims if not holds(c)]


def holds(claim: Mapping[str, Any]) -> bool:
    """Whether the value of a claim is a finite number within its bounds."""
    value, low, high = (claim.get(part) for part in ("value", "low", "high"))
    return (
        value is not None
        and value == value
        and (low is None or value >= low)
        and (high is None or value <= high)
    )


def n_held(claims: list[dict[str, Any]]) -> int:
    """Number of the claims that hold and have a bound: one without any is a reported value and holds nothing."""
    return sum(holds(c) and (c["low"] is not None or c["high"] is not None) for c in claims)


def _run_folder() -> Path | None:
    folder = os.environ.get("SCMODS_RUN_DIR", "")
    return Path(folder) if folder else None


def _table_html(table: pd.DataFrame, caption: str) -> str:
    body = table.head(ROWS_SHOWN).to_html(border=0, float_format=lambda v: f"{v:.4g}")
    return re.sub(r"(<table[^>]*>)", rf"\1<caption>{html.escape(caption)}</caption>", body, count=1)


def save_table(name: str, table: pd.DataFrame, *, show: bool = True) -> None:
    """Show a table and, in a run with its own folder, write it whole to ``tables/<name>.csv``.

    Parameters
    ----------
    name
        Letters, digits, ``_`` and ``-``; becomes the file name and, with spaces, the caption.
    table
        Table to show; at most 12 rows are shown, with the number of all rows. The file holds every row.
    show
        Whether to show it; the file is written either way.

    Raises
    ------
    TypeError
        If `table` is not a DataFrame.
    ValueError
        If `name` could not be a file name on every system.
    """
    if not re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9_-]*", name):
        _checks.fail(
            f"The table name {name!r} is not a file name everywhere.",
            "Expected letters, digits, '_' and '-'.",
            f"Write save_table({re.sub('[^A-Za-z0-9]+', '_', name).strip('_') or 'modules'!r}, table).",
        )
    if not hasattr(table, "to_html"):
        _checks.fail(
            f"`table` is a {type(table).__name__}, but must be a pandas DataFrame.",
            "Write save_table(name, pandas.DataFrame(values)).",
            kind=TypeError,
        )
    if show:
        more = f" (first {ROWS_SHOWN} of {len(table)} rows)" if len(table) > ROWS_SHOWN else ""
        caption = name.replace("_", " ") + more
        text = f"{caption}\n{table.head(ROWS_SHOWN).to_string(float_format=lambda v: f'{v:.4g}')}"
        _publish({"text/plain": text, "text/html": _table_html(table, caption)}, {})
    folder = _run_folder()
    if folder is not None:
        target = folder / "tables" / f"{name}.csv"
        target.parent.mkdir(parents=True, exist_ok=True)
        part = target.with_suffix(".part")
        table.to_csv(part, index=type(table.index).__name__ != "RangeIndex")
        os.replace(part, target)


def save_result(adata: AnnData) -> None:
    """Write `adata` to ``result.h5ad`` in a run with its own folder; elsewhere do nothing.

    Parameters
    ----------
    adata
        The AnnData with everything the chapter added; must survive ``write_h5ad``. Tables in ``uns`` whose rows have
        several levels, which such a file cannot hold, are written with the further levels as columns.

    Raises
    ------
    TypeError
        If `adata` cannot be written as h5ad at all.
    """
    if not hasattr(adata, "write_h5ad"):
        _checks.fail(
            f"`adata` is a {type(adata).__name__}, but must be an AnnData.",
            "Write save_result(adata).",
            kind=TypeError,
        )
    folder = _run_folder()
    if folder is None:
        return
    part = folder / "result.h5ad.part"
    kept = {key: value for key, value in adata.uns.items() if _levels(value) > 1}
    try:
        for key, value in kept.items():
            adata.uns[key] = value.reset_index(level=list(range(1, _levels(value))))
        adata.write_h5ad(part)
    finally:
        adata.uns.update(kept)
    os.replace(part, folder / "result.h5ad")


def _levels(value: Any) -> int:
    """Levels of the rows of a table; 0 for anything else."""
    return value.index.nlevels if hasattr(value, "reset_index") and hasattr(value, "columns") else 0


if __name__ == "__main__":
    for name in sys.argv[1:]:
        drop_values(name)
