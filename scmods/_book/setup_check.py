"""Set-up check: one line per thing that must work, each failure with its fix. Standard library only."""

from __future__ import annotations

import importlib
import importlib.metadata
import os
import re
import shutil
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path

__all__ = ["check_setup"]

HOME = Path(__file__).resolve().parents[2]
NEEDED = (
    "numpy",
    "scipy",
    "pandas",
    "torch",
    "anndata",
    "scanpy",
    "scikit-learn",
    "plotly",
    "gseapy",
    "pooch",
)
TO_RUN = ("papermill", "ipykernel", "psutil", "pyyaml")
MODULES = ("numpy", "torch", "anndata", "plotly.graph_objects", "papermill", "ipykernel")
MEMORY_GB, DISK_GB = 2.0, 1.0
INSTALL = "pip install -c constraints.txt -e .[book]"

Answer = tuple[bool, str, str]


def _python() -> Answer:
    version = ".".join(map(str, sys.version_info[:3]))
    return (
        sys.version_info >= (3, 11),
        f"Python {version}",
        "install Python 3.11 or newer and make the environment anew",
    )


def _pins() -> dict[str, str]:
    path = HOME / "constraints.txt"
    lines = path.read_text(encoding="utf-8").splitlines() if path.is_file() else []
    found = (re.match(r"([A-Za-z0-9._-]+)==([^\s;]+)", line) for line in lines)
    return {re.sub(r"[-_.]+", "-", m[1]).lower(): m[2] for m in found if m}


def _installed() -> Answer:
    missing = []
    for name in (*NEEDED, *TO_RUN):
        try:
            importlib.metadata.version(name)
        except importlib.metadata.PackageNotFoundError:
            missing.append(name)
    total = len(NEEDED) + len(TO_RUN)
    return (
        not missing,
        f"packages: {total - len(missing)} of {total} installed",
        f"missing {', '.join(missing)}: {INSTALL}",
    )


def _tested() -> Answer:
    """Whether the versions are those of the tested set; another version is a failure with its name."""
    pins, other = _pins(), []
    for name in (*NEEDED, *TO_RUN):
        try:
            version = importlib.metadata.version(name).split("+")[0]
        except importlib.metadata.PackageNotFoundError:
            continue
        if pins.get(name, version) != version:
            other.append(f"{name} {version} instead of {pins[name]}")
    if not pins:
        return True, "versions: no constraints.txt here to compare with", ""
    return not other, "versions: those of constraints.txt", f"{'; '.join(other)}: {INSTALL}"


def _imports() -> Answer:
    for name in MODULES:
        try:
            importlib.import_module(name)
        except (ImportError, OSError) as error:
            return False, f"imports: {name} fails", f"{str(error).splitlines()[0]}. {INSTALL}"
    return True, f"imports: {', '.join(MODULES)}", ""


def _memory() -> Answer:
    try:
        import psutil
    except ImportError:
        return False, "memory: not measured", f"psutil is missing: {INSTALL}"
    free = psutil.virtual_memory().available / 1e9
    return free >= MEMORY_GB, f"memory: {free:.1f} GB free", f"close programs until {MEMORY_GB:g} GB are free"


def _disk() -> Answer:
    free = shutil.disk_usage(Path.cwd()).free / 1e9
    return (
        free >= DISK_GB,
        f"disk: {free:.1f} GB free here",
        f"free {DISK_GB:g} GB, or work in another folder",
    )


def _writable(folder: Path) -> bool:
    try:
        with tempfile.TemporaryFile(dir=folder):
            return True
    except OSError:
        return False


def _write() -> Answer:
    here = Path.cwd()
    return (
        _writable(here),
        "results can be written here",
        f"{here} is read-only: change folder, or give one with -o",
    )


def _data() -> Answer:
    named = os.environ.get("SCMODS_DATA", "")
    if not named:
        return True, "data: embedded sets, others in the user's cache folder", ""
    return (
        Path(named).is_dir(),
        "data: the folder of SCMODS_DATA exists",
        f"SCMODS_DATA={named} is no folder: correct it",
    )


def _notebooks() -> Answer:
    found = sorted(p.stem for p in (HOME / "notebooks").glob("*.ipynb"))
    fix = "notebooks are part of the repository: clone it and install with `pip install -e .`"
    return bool(found), f"chapters: {', '.join(found) or 'none'}", fix


def _code(answers: list[bool]) -> str:
    """Short code of the outcome: Python version, one bit per check as hexadecimal, a guard."""
    bits = int("".join("1" if ok else "0" for ok in answers), 2)
    word = f"{sys.version_info[0]}{sys.version_info[1]}-{bits:03X}"
    guard = sum(ord(c) * (i + 1) for i, c in enumerate(word)) % 97
    return f"{'OK' if all(answers) else 'NO'}-{word}-{guard:02d}"


CHECKS: tuple[Callable[[], Answer], ...] = (
    _python,
    _installed,
    _tested,
    _imports,
    _memory,
    _disk,
    _write,
    _data,
    _notebooks,
)


def check_setup() -> int:
    """Print one line per check and a code to send to the teacher; 0 when everything works, else 1.

    The code reads ``OK-311-1FF-12``: the outcome, the Python version, the checks in the order printed as bits
    of a hexadecimal number (1 = good), and two digits that catch typing errors.
    """
    answers = []
    for check in CHECKS:
        ok, text, fix = check()
        answers.append(ok)
        print(f"{'ok ' if ok else 'NO '} {text}" + ("" if ok else f"\n    fix: {fix}"), flush=True)
    print(f"code for your teacher: {_code(answers)}")
    return 0 if all(answers) else 1
