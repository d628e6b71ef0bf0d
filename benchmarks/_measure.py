"""What every benchmark does the same way: two functions timed in turn, peak memory, a result written whole."""

from __future__ import annotations

import json
import os
import sys
import time
from collections.abc import Callable
from pathlib import Path

Call = Callable[[], object]


def seconds(function: Call, repeats: int = 1) -> tuple[float, object]:
    """Best CPU seconds of several calls, and the last result."""
    best, out = float("inf"), None
    for _ in range(repeats):
        start = time.process_time()
        out = function()
        best = min(best, time.process_time() - start)
    return best, out


def in_turn(fast: Call, plain: Call, turns: int, calls: int = 1) -> tuple[float, float, object, object]:
    """Best CPU seconds of `fast` and `plain`, and their last results.

    In turn, so that both meet the same load of the machine: in each turn `fast` is called `calls` times and `plain`
    once, after one call of `fast` that does not count (it compiles and warms caches).
    """
    best = [float("inf")] * 2
    last: list[object] = [None, None]
    fast()
    for _ in range(turns):
        for side, (function, repeats) in enumerate(((fast, calls), (plain, 1))):
            spent, last[side] = seconds(function, repeats)
            best[side] = min(best[side], spent)
    return *best, *last


def peak_gigabytes() -> float:
    """Highest resident memory of this process so far; a child starts with the peak of its parent."""
    try:
        import resource
    except ImportError:  # Windows
        import psutil

        return psutil.Process().memory_info().peak_wset / 1e9
    unit = 1 if sys.platform == "darwin" else 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit / 1e9


def write_json(path: Path, content: object) -> None:
    """Write under a temporary name, then rename: the file is whole or absent."""
    part = path.with_name(f"{path.name}.{os.getpid()}.part")
    part.write_text(json.dumps(content, indent=1, default=float) + "\n", encoding="utf-8", newline="\n")
    os.replace(part, path)
