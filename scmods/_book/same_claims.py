"""Compare the claims of two folders of runs: ``python -m scmods._book.same_claims FOLDER_A FOLDER_B``.

A folder is a ``.cache/runs`` of two builds. Runs are compared by their content key; the same key must give the
same names, values and bounds in the same order.
"""

from __future__ import annotations

import argparse
import json
import math
import sys
from collections.abc import Mapping, Sequence
from itertools import zip_longest
from pathlib import Path
from typing import Any

__all__ = ["differences", "main", "read_claims"]

Claims = Mapping[str, Sequence[Mapping[str, Any]]]


def read_claims(folder: str | Path) -> dict[str, list[dict[str, Any]]]:
    """Claims of the finished runs of a folder: content key -> claims in order.

    Raises
    ------
    ValueError
        If the folder does not exist or holds no finished run.
    """
    folder = Path(folder)
    found: dict[str, list[dict[str, Any]]] = {}
    for path in sorted(folder.glob("*.json")):
        if not path.name.endswith(".failed.json"):
            record = json.loads(path.read_text(encoding="utf-8"))
            found[record["key"]] = record["claims"]
    if not found:
        msg = f"{folder} holds no finished run. Give two folders like .cache/runs, each of a build."
        raise ValueError(msg)
    return found


def _equal(one: float, other: float, rtol: float) -> bool:
    return one == other or math.isclose(one, other, rel_tol=rtol, abs_tol=rtol * 1e-3)


def _told(one: Mapping[str, Any] | None, other: Mapping[str, Any] | None, rtol: float) -> str:
    """How two claims at the same place differ, or an empty string."""
    if one is None or other is None:
        name = (one or other or {})["name"]
        return f"claim {name!r} is only in the {'first' if other is None else 'second'}"
    if one["name"] != other["name"]:
        return f"claim {one['name']!r} stands where the second has {other['name']!r}"
    for what in ("low", "high"):
        if one[what] != other[what]:
            return f"claim {one['name']!r}: {what} is {one[what]}, in the second {other[what]}"
    if not _equal(one["value"], other["value"], rtol):
        return f"claim {one['name']!r}: {one['value']!r}, in the second {other['value']!r}"
    return ""


def differences(first: Claims, second: Claims, *, rtol: float = 0.0) -> list[str]:
    """Lines on every claim that is not the same in both; runs of one side only are left out.

    Parameters
    ----------
    first, second
        Key of a run -> its claims.
    rtol
        Relative difference of two values that still counts as the same; differences below a thousandth of it
        count as the same in absolute terms, too.
    """
    lines = []
    for key in sorted(set(first) & set(second)):
        told = (_told(a, b, rtol) for a, b in zip_longest(first[key], second[key]))
        lines += [f"{key}: {line}" for line in told if line]
    return lines


def main(argv: Sequence[str] | None = None) -> int:
    """Compare two folders; 0 when all shared runs have equal claims, 1 when some differ, 2 for a wrong call."""
    parser = argparse.ArgumentParser(prog="python -m scmods._book.same_claims", description=__doc__)
    parser.add_argument("first", type=Path, help="folder of the runs of one build")
    parser.add_argument("second", type=Path, help="folder of the runs of another build")
    parser.add_argument("--rtol", type=float, default=0.0, help="relative difference that counts as none")
    args = parser.parse_args(argv)
    try:
        first, second = read_claims(args.first), read_claims(args.second)
    except ValueError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    shared = set(first) & set(second)
    if not shared:
        print("error: the two folders share no content key: code, data or versions differ.", file=sys.stderr)
        return 2
    lines = differences(first, second, rtol=args.rtol)
    for line in lines:
        print(line)
    count = sum(len(first[key]) for key in shared)
    only = [len(set(a) - shared) for a in (first, second)]
    print(
        f"{len(shared)} runs with {count} claims compared, {len(lines)} differ; only in one: {only[0]} + {only[1]}"
    )
    return 1 if lines else 0


if __name__ == "__main__":
    sys.exit(main())
