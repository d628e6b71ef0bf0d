"""Every benchmark of the chapters in turn: ratios (`rows`) and peak memory (`memory`) in benchmarks/results.json.

    python benchmarks/all.py                     # all chapters, about 20 minutes on a free core
    python benchmarks/all.py --only bmlp scyan   # these anew; the rows of the others keep their date
    python benchmarks/all.py --quick             # tiny sizes, to see that all of it runs; nothing is stored

Each benchmark runs as a process of its own with one thread. A ratio is CPU seconds of the plain reference over ours,
both measured in turn in that process. Rows below their bar are stored as such. Exit status 1 if there is one, 2 if a
benchmark stopped or if the stored rows come from another machine or other versions.
"""

from __future__ import annotations

import argparse
import datetime
import json
import os
import platform
import subprocess
import sys
import tempfile
from importlib import metadata
from pathlib import Path
from typing import Any

import psutil
from _measure import write_json
from _rows import Row, common

HERE = Path(__file__).resolve().parent
RESULTS = HERE / "results.json"
PACKAGES = ("anndata", "gudhi", "numba", "numpy", "scikit-learn", "scipy", "scmods", "torch")
KINDS = ("rows", "memory")
# chapter -> file -> options of the stored run, options of --quick
JOBS: dict[str, dict[str, tuple[str, str]]] = {
    "bmlp": {
        "bmlp.py": ("", "--genes 60 --hidden 4 --outputs 2 --big 100"),
        "bmlp_primal.py": ("--sizes 1000 3000 100000", "--sizes 120 --comps 15"),
        "graph.py": ("--sizes 3000 100000", "--sizes 300 --variants thick"),
    },
    "hopfield": {"hopfield.py": ("", "--cells 4 --genes 20 --baseline 2 --memory 10")},
    "smoother": {
        "smoother_priors.py": ("", "--spots 60 --big 100"),
        "smoother_losses.py": ("--sizes 5000", "--sizes 100 --big 100 --repeats 2"),
        "smoother_models.py": ("--only large adam --seeds 1", "--only adam --sides 6 --seeds 1 --epochs 5"),
    },
    "scyan": {"scyan.py": ("--memory 1000000", "--cells 64 --repeats 1 --memory")},
    "amici": {"amici.py": ("--cells 100000", "--small --repeats 1 --cells 100")},
}


class Stop(Exception):
    """What went wrong, in one line."""


def processor() -> str:
    """Model name of the processor; the platform's word for it where that is all there is."""
    if sys.platform == "linux":
        for line in Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines():
            if line.startswith("model name"):
                return line.split(":", 1)[1].strip()
    if sys.platform == "darwin":
        call = ["sysctl", "-n", "machdep.cpu.brand_string"]
        return subprocess.run(call, capture_output=True, text=True, check=True).stdout.strip()
    return platform.processor() or platform.machine()


def machine() -> str:
    """Processor, cores, memory and system; no name of the computer."""
    memory = psutil.virtual_memory().total / 2**30
    cores = os.cpu_count()
    return f"{processor()}, one of {cores} cores used, {memory:.0f} GiB of memory, {platform.system()}"


def versions() -> dict[str, str]:
    """Versions of Python and of what the times depend on."""
    return {"python": platform.python_version()} | {name: metadata.version(name) for name in PACKAGES}


def run(benchmark: str, options: str, date: str, *, bars: bool) -> list[Row]:
    """Rows of one benchmark, which runs as a process of its own."""
    with tempfile.TemporaryDirectory() as folder:
        out = Path(folder) / "rows.json"
        command = [sys.executable, str(HERE / benchmark), *options.split(), "--json", str(out)]
        threads = {name: "1" for name in ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS")}
        print(f"== {benchmark} {options}".rstrip(), flush=True)
        status = subprocess.run(command, env=os.environ | threads, check=False).returncode
        if not out.is_file():  # a missed bar ends with status 1, too, but after the rows were written
            msg = f"{benchmark} ended with status {status} and without rows; what it said stands above."
            raise Stop(msg)
        return common(benchmark, json.loads(out.read_text(encoding="utf-8")), date, bars=bars)


def stored(path: Path, head: dict[str, Any], chapters: list[str]) -> list[Row]:
    """Rows of the other chapters in the file; refuses to mix machines or versions."""
    if not path.is_file():
        return []
    old = json.loads(path.read_text(encoding="utf-8"))
    keep = [row for kind in KINDS for row in old[kind] if row["chapter"] not in chapters]
    changed = [name for name in ("machine", "versions") if old[name] != head[name]]
    if keep and changed:
        there, here = ({name: of[name] for name in changed} for of in (old, head))
        msg = f"The rows in {path.name} were measured with {there}, this is {here}. Run all chapters: leave out --only."
        raise Stop(msg)
    return keep


def merged(rows: list[Row], new: list[Row]) -> list[Row]:
    """All rows, chapters in the order of the book; those of `new` replace what their chapters had."""
    fresh = {row["chapter"] for row in new}
    both = [row for row in rows if row["chapter"] not in fresh] + new
    return sorted(both, key=lambda row: list(JOBS).index(row["chapter"]))  # stable: the order within stays


def split(rows: list[Row]) -> dict[str, list[Row]]:
    """The two lists of the file: rows with a ratio, and rows of memory."""
    return {kind: [row for row in rows if (row["ratio"] is None) == (kind == "memory")] for kind in KINDS}


def line(row: Row) -> str:
    """One row as text."""
    value = f"{row['ratio']:.1f} x" if row["ratio"] is not None else f"{row['peak_gb']:.2f} GB"
    mark = "  BELOW THE BAR" if row["missed"] else ""
    return f"{row['chapter']:<9} {value:>10}  {row['what']}, {row['size']}; {row['against']}{mark}"


def measure(chapters: list[str], path: Path | None, *, quick: bool) -> list[Row]:
    """Run the chapters and, if `path` is given, store the rows of each as soon as it is done."""
    today = datetime.datetime.now(datetime.UTC).date().isoformat()
    head = {"machine": machine(), "date": today, "versions": versions()}
    rows = stored(path, head, chapters) if path else []
    done: list[Row] = []
    for chapter in chapters:
        new = [
            row
            for benchmark, options in JOBS[chapter].items()
            for row in run(benchmark, options[quick], today, bars=not quick)
        ]
        rows, done = merged(rows, new), done + new
        if path:
            write_json(path, head | split(rows))
    return done


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--only", nargs="+", choices=list(JOBS), default=list(JOBS), metavar="CHAPTER")
    parser.add_argument("--quick", action="store_true", help="tiny sizes and no bars; prints, stores nothing")
    parser.add_argument(
        "-o", "--output", type=Path, help="file of the rows (default: results.json beside this file)"
    )
    options = parser.parse_args()
    path = options.output or (None if options.quick else RESULTS)
    try:
        rows = measure([c for c in JOBS if c in options.only], path, quick=options.quick)
    except Stop as stop:
        print(f"all.py: {stop}", file=sys.stderr)
        sys.exit(2)
    print("\n" + "\n".join(map(line, rows)))
    if any(row["missed"] for row in rows):
        sys.exit(1)


if __name__ == "__main__":
    main()
