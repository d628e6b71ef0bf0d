"""Set-up check: does everything work here? One line per thing, and what mends it where it does not.

This file works alone, without the package: it needs Python and nothing else, and becomes ``check_setup.py`` of the
workshop. ``python check_setup.py --decode CODE`` tells a teacher what the code of a participant says.
"""

from __future__ import annotations

import importlib.metadata
import importlib.util
import os
import re
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:  # an old Python must still get as far as being told so
    from collections.abc import Callable

    Answer = tuple[bool, str, str]

__all__ = ["check_setup", "decode", "main"]

HERE = Path(__file__).resolve().parent
HOME = HERE.parent.parent if HERE.name == "_book" else HERE
NEEDED = (
    "numpy", "scipy", "pandas", "torch", "anndata", "scanpy", "scikit-learn", "plotly", "gseapy", "lightning",
    "pooch", "rdata", "safetensors", "h5py", "jaxtyping", "numba", "networkx",
)  # fmt: skip
TO_RUN = ("papermill", "ipykernel", "psutil", "pyyaml")
MODULES = ("numpy", "torch", "anndata", "plotly.graph_objects", "papermill", "ipykernel", "scmods")
MEMORY_GB, DISK_GB = 2.0, 1.0
IMPORT_SECONDS = 25.0
UNPACK = "unpack scmods-workshop.zip and put this file into its folder"


# ---- where things lie ---------------------------------------------------------------------------------


def _constraints() -> Path | None:
    """The list of tested versions: of the repository, or of the folder of the workshop."""
    paths = [home / "constraints.txt" for home in (HOME, HOME / "package")]
    return next((path for path in paths if path.is_file()), None)


def _install() -> str:
    """The command that installs what is missing, as seen from here."""
    found = _constraints()
    if found is None:
        return f'{UNPACK}, then there: pip install -c package/constraints.txt -e "package[book]"'
    folder = found.parent
    if folder == Path.cwd():
        return 'pip install -c constraints.txt -e ".[book]"'
    home = folder.relative_to(Path.cwd()) if folder.is_relative_to(Path.cwd()) else folder
    return f'pip install -c "{home.as_posix()}/constraints.txt" -e "{home.as_posix()}[book]"'


def _version(name: str) -> str | None:
    try:
        return importlib.metadata.version(name).split("+")[0]
    except importlib.metadata.PackageNotFoundError:
        return None


def _missing() -> list[str]:
    return [name for name in (*NEEDED, *TO_RUN) if _version(name) is None]


def _some(words: list[str]) -> str:
    """At most five of the words, and how many more there are."""
    return ", ".join(words[:5]) + (f" and {len(words) - 5} more" if len(words) > 5 else "")


# ---- the checks ---------------------------------------------------------------------------------------


def _python() -> Answer:
    fine = sys.version_info >= (3, 11)
    version = ".".join(map(str, sys.version_info[:3]))
    return fine, f"Python {version}", "install Python 3.11 or newer and make the environment anew"


def _installed() -> Answer:
    missing, total = _missing(), len(NEEDED) + len(TO_RUN)
    return (
        not missing,
        f"packages: {total - len(missing)} of {total} installed",
        f"missing {_some(missing)}: {_install()}",
    )


def _pins() -> dict[str, str]:
    path = _constraints()
    lines = path.read_text(encoding="utf-8").splitlines() if path else []
    found = (re.match(r"([A-Za-z0-9._-]+)==([^\s;]+)", line) for line in lines)
    return {re.sub(r"[-_.]+", "-", m[1]).lower(): m[2] for m in found if m}


def _tested() -> Answer:
    """Whether the versions are those of the tested set; another version is a failure with its name."""
    pins = _pins()
    if not pins:
        return True, "versions: no constraints.txt here to compare with", ""
    have = {name: _version(name) for name in (*NEEDED, *TO_RUN)}
    other = [
        f"{n} {v} instead of {pins[n]}" for n, v in have.items() if v is not None and v != pins.get(n, v)
    ]
    return not other, "versions: those of constraints.txt", f"{_some(other)}: {_install()}"


def _imports() -> Answer:
    """Import in a process of its own: one that hangs or crashes must not take the check along."""
    if _missing():
        return False, "imports: not tried, as packages are missing", _install()
    code = "import importlib, sys\nfor name in sys.argv[1:]:\n    print(name, flush=True)\n"
    call = [sys.executable, "-c", f"{code}    importlib.import_module(name)", *MODULES]
    env = {**os.environ, "PYTHONPATH": os.pathsep.join(p for p in sys.path if p)}
    try:
        made = subprocess.run(
            call, capture_output=True, text=True, timeout=IMPORT_SECONDS, env=env, check=False
        )
    except subprocess.TimeoutExpired:
        text = f"imports: not done after {IMPORT_SECONDS:g} s"
        return False, text, "check again: the first time is the slowest; close other programs"
    tried = made.stdout.split()
    if made.returncode:
        last = (made.stderr.strip().splitlines() or [f"it ended with status {made.returncode}"])[-1]
        return False, f"imports: {tried[-1] if tried else 'python'} fails", f"{last[:120]}: {_install()}"
    return True, f"imports: {', '.join(MODULES)}", ""


def _memory() -> Answer:
    if importlib.util.find_spec("psutil") is None:
        return False, "memory: not measured", f"psutil is missing: {_install()}"
    import psutil

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
    fix = f"SCMODS_DATA={named} is no folder: correct it"
    return Path(named).is_dir(), "data: the folder of SCMODS_DATA exists", fix


def _notebooks() -> Answer:
    # in the folder of the workshop the notebooks lie beside the package, in the repository inside its folder
    folder = HOME.parent if HOME.name == "package" and not (HOME / "notebooks").is_dir() else HOME
    found = sorted(p.stem for p in (folder / "notebooks").glob("*.ipynb"))
    fix = f"{UNPACK}; with the repository, clone it and install with `pip install -e .`"
    return bool(found), f"chapters: {', '.join(found) or 'none here'}", fix


CHECKS: tuple[Callable[[], Answer], ...] = (
    _python, _installed, _tested, _imports, _memory, _disk, _write, _data, _notebooks,
)  # fmt: skip
NAMES = ("Python", "packages", "versions", "imports", "memory", "disk", "writing", "data folder", "chapters")


# ---- the code for the teacher -------------------------------------------------------------------------


def _guard(word: str) -> str:
    """Two digits that change with every wrong letter and every two swapped neighbours."""
    return f"{sum(ord(letter) * (i + 1) for i, letter in enumerate(word)) % 97:02d}"


def _code(answers: list[bool]) -> str:
    bits = int("".join("1" if ok else "0" for ok in answers), 2)
    word = f"{sys.version_info[0]}{sys.version_info[1]}-{bits:03X}"
    return f"{'OK' if all(answers) else 'NO'}-{word}-{_guard(word)}"


def decode(code: str) -> list[str]:
    """What a participant's code says, line by line.

    Parameters
    ----------
    code
        The code, such as ``OK-311-1FF-79``; small letters and spaces around it do no harm.

    Raises
    ------
    ValueError
        If it is no such code, or was typed wrongly.
    """
    found = re.match(r"(OK|NO)-(\d)(\d+)-([0-9A-F]{3})-(\d\d)$", code.strip().upper())
    if found is None:
        msg = (
            f"{code!r} is no code of the set-up check. Expected something like OK-311-1FF-79, its last line."
        )
        raise ValueError(msg)
    outcome, major, minor, digits, guard = found.groups()
    bits = f"{int(digits, 16):0{len(NAMES)}b}"
    fine = "0" not in bits
    if guard != _guard(f"{major}{minor}-{digits}") or len(bits) > len(NAMES) or fine != (outcome == "OK"):
        msg = f"{code!r} was typed wrongly: its last two digits do not belong to the rest. Ask for it again."
        raise ValueError(msg)
    lines = [f"{'ok ' if bit == '1' else 'NO '} {name}" for bit, name in zip(bits, NAMES, strict=True)]
    return [f"Python {major}.{minor}", *lines]


def check_setup() -> int:
    """Print one line per check and a code to send to the teacher; 0 when everything works, else 1.

    The code reads ``OK-311-1FF-79``: the outcome, the Python version, the checks in the order printed as bits
    of a hexadecimal number (1 = good), and two digits that catch typing errors; see :func:`decode`.
    """
    answers = []
    for check in CHECKS:
        ok, text, fix = check()
        answers.append(ok)
        print(f"{'ok ' if ok else 'NO '} {text}" + ("" if ok else f"\n    fix: {fix}"), flush=True)
    print(f"code for your teacher: {_code(answers)}")
    return 0 if all(answers) else 1


def main(arguments: list[str]) -> int:
    """Check, or decode a code with ``--decode CODE``; 0 when all is well, 1 otherwise, 2 for a wrong call."""
    if not arguments:
        return check_setup()
    if len(arguments) != 2 or arguments[0] != "--decode":
        print("usage: check_setup.py [--decode CODE]", file=sys.stderr)
        return 2
    try:
        print("\n".join(decode(arguments[1])))
    except ValueError as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
