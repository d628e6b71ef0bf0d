"""The whole project in one file and no dependency: install, test, check and build the book.

    python tasks.py book     run every notebook, check the results, build the site in _build/html
    python tasks.py test     run the tests, then every notebook against its committed outputs
    python tasks.py docs     build the site from the results at hand, without running a notebook
    python tasks.py lint     style, import contracts, stripped notebooks

The first call makes the environment .venv beside this file (a few minutes); later calls reuse it as long
as pyproject.toml and constraints.txt stay the same.
"""

from __future__ import annotations

import argparse
import contextlib
import glob
import hashlib
import importlib.util
import os
import shutil
import subprocess
import sys
import threading
import time
import venv
from collections.abc import Iterator
from pathlib import Path

ROOT = Path(__file__).resolve().parent
ENV = ROOT / ".venv"
ENV_PYTHON = ENV / ("Scripts/python.exe" if os.name == "nt" else "bin/python")
INSTALLED = ENV / "scmods-installed"  # holds the fingerprint of what was installed
INSTALLING = ROOT / ".venv.part"  # exists only while the environment is being made or changed
LISTS = ("pyproject.toml", "constraints.txt")
SITE = ROOT / "_build" / "html"
HEARTBEAT = 20.0  # seconds between two signs of life of a silent step
LINT_IMPORTS = "import sys; from importlinter.cli import lint_imports_command as main; sys.exit(main())"
JUPYTER_BOOK = "import sys; from jupyter_book.cli.main import main; sys.exit(main())"


class Stop(Exception):
    """A step failed: exit status and the line that says what to do."""

    def __init__(self, status: int, advice: str) -> None:
        super().__init__(advice)
        self.status = status


def say(text: str) -> None:
    """Print one line at once, so that it stands before what the next step prints."""
    print(f"[tasks] {text}", flush=True)


# ---- the environment


def check_python(version: tuple[int, ...], found: str | None) -> None:
    """Refuse a Python that is too old, naming a newer one when it is already there."""
    if version >= (3, 11):
        return
    have = ".".join(map(str, version[:2]))
    again = " ".join(["tasks.py", *sys.argv[1:]])
    how = (
        f"A newer one is installed; call `{found} {again}`."
        if found
        else "Install one and call this file with it (Linux: the packages python3.11 and python3.11-venv; "
        "macOS and Windows: the installer of the Python site; or a conda environment, see README.md)."
    )
    raise Stop(2, f"scmods needs Python 3.11 or newer, this is {have}. {how}")


def newer_python() -> str | None:
    """Name of a Python of at least 3.11 on the search path."""
    names = ("python3.11", "python3.12", "python3.13")
    return next((name for name in names if shutil.which(name)), None)


def fingerprint(*, gpu: bool) -> str:
    """Hash of all that decides what pip installs; of the folder too, as the install points into it."""
    digest = hashlib.sha256()
    for name in LISTS:
        digest.update((ROOT / name).read_bytes().replace(b"\r\n", b"\n"))
    digest.update(os.fsencode(str(ROOT)))
    return digest.hexdigest() + (" gpu" if gpu else " cpu")


def has_pip() -> bool:
    """Whether pip was put into the environment completely (its record is written last)."""
    record = "site-packages/pip-*.dist-info/RECORD"
    return any(ENV.glob(f"lib/python*/{record}")) or any(ENV.glob(f"Lib/{record}"))


def state(want: str) -> str:
    """What is to be done with the environment: "ready", "install" or "create"."""
    if not ENV_PYTHON.exists() or INSTALLING.exists() or not has_pip():
        return "create"
    have = INSTALLED.read_text(encoding="utf-8") if INSTALLED.exists() else ""
    return "ready" if have == want else "install"


def recorded_gpu() -> bool:
    """Whether the environment was made with --gpu; a later call without the option keeps it."""
    return INSTALLED.exists() and INSTALLED.read_text(encoding="utf-8").endswith(" gpu")


def create() -> None:
    """Make an empty environment, replacing whatever is there."""
    if importlib.util.find_spec("ensurepip") is None:
        package = "python{}.{}-venv".format(*sys.version_info)
        raise Stop(
            2, f"This Python comes without pip: install the system package {package}, then call again."
        )
    say("making the environment .venv")
    try:
        venv.create(ENV, with_pip=True, clear=ENV.exists())
    except (OSError, subprocess.CalledProcessError) as error:
        raise Stop(1, f"The environment could not be made: {error}. Delete .venv and call again.") from error


def wait_for_other() -> None:
    """Wait while another call installs: its marker is touched with every sign of life."""
    told = False
    while INSTALLING.exists() and time.time() - INSTALLING.stat().st_mtime < 3 * HEARTBEAT:
        if not told:
            say("another call is installing, or was killed within the last minute: waiting for it")
        told = True
        time.sleep(1)


def pip_command(torch_index: str) -> list[str]:
    """The one pip call; `torch_index` is a folder of wheels or the address of an index, or empty."""
    out = [str(ENV_PYTHON), "-m", "pip", "install", "-qq", "--disable-pip-version-check", "--no-input"]
    if torch_index:
        out += ["--find-links" if Path(torch_index).is_dir() else "--extra-index-url", torch_index]
    return [*out, "-c", "constraints.txt", "-e", ".[book,test]"]


def install(torch_index: str, *, gpu: bool) -> None:
    """Bring the environment to the pinned versions by one pip call."""
    if sys.platform == "linux" and not torch_index and not gpu:
        say("note: pip may choose the GPU build of torch (several GB); README.md, --torch-index avoids it")
    if gpu and not recorded_gpu():
        remove = [str(ENV_PYTHON), "-m", "pip", "uninstall", "-qq", "--yes", "torch"]
        call(remove, "pip could not remove the CPU build of torch.")
    say("installing the pinned packages (about 200; 2-10 minutes the first time)")
    advice = "pip could not install the packages: its message stands above. Call again once it is mended."
    call(pip_command("" if gpu else torch_index), advice, heartbeat="still installing")


@contextlib.contextmanager
def marked() -> Iterator[None]:
    """Keep the marker while the environment changes; only a kill or an interruption leaves it behind."""
    INSTALLING.touch()
    try:
        yield
    except Stop:
        INSTALLING.unlink()  # pip ended by itself and undid its changes, so the next call may simply go on
        raise
    except BaseException:
        os.utime(INSTALLING, (0, 0))  # stopped half-way: nobody needs to wait for us
        raise
    INSTALLING.unlink()


def environment(options: argparse.Namespace) -> str:
    """Path of the Python to use, its packages installed."""
    if options.here:
        return sys.executable
    wait_for_other()
    gpu = options.gpu or recorded_gpu()
    want = fingerprint(gpu=gpu)
    todo = state(want)
    if todo == "ready":
        return str(ENV_PYTHON)
    if INSTALLING.exists():
        say("the last installation was interrupted: starting again from an empty .venv")
    start = time.monotonic()
    with marked():
        if todo == "create":
            create()
        install(options.torch_index, gpu=gpu)
        INSTALLED.write_text(want, encoding="utf-8")
    say(f"environment ready after {time.monotonic() - start:.0f} s")
    return str(ENV_PYTHON)


# ---- running a step


def cores() -> int:
    """Number of cores this process may use."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def child_environment(jobs: int) -> dict[str, str]:
    """Environment of every step: UTF-8 everywhere, the cores shared between the jobs."""
    out = {
        name: value for name, value in os.environ.items() if name != "SCMODS_CLAIMS"
    }  # here every claim must hold
    out["PYTHONUTF8"] = "1"
    threads = str(max(1, cores() // jobs))
    for name in ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS", "NUMBA_NUM_THREADS"):
        out.setdefault(name, threads)
    return out


def beat(text: str, done: threading.Event, every: float) -> None:
    """Print `text` with the seconds gone, until `done` is set."""
    start = time.monotonic()
    while not done.wait(every):
        if INSTALLING.exists():
            INSTALLING.touch()
        say(f"{text}, {time.monotonic() - start:.0f} s")


def call(command: list[str], advice: str, *, jobs: int = 1, heartbeat: str = "") -> None:
    """Run one step in the project folder; `Stop` with its exit status and the advice when it fails."""
    done = threading.Event()
    if heartbeat:
        threading.Thread(target=beat, args=(heartbeat, done, HEARTBEAT), daemon=True).start()
    try:
        status = subprocess.run(command, cwd=ROOT, env=child_environment(jobs), check=False).returncode
    finally:
        done.set()
    if status:
        # a step ended by a signal has a negative number; shells count it from 128
        raise Stop(status if status > 0 else 128 - status, advice)


# ---- the commands


def notebooks() -> list[Path]:
    """The source notebooks."""
    return sorted((ROOT / "notebooks").glob("*.ipynb"))


def test_command(python: str, jobs: int) -> list[str]:
    """Unit tests and notebooks in one pytest call, so that one closing line counts both."""
    out = [python, "-m", "pytest", "-q", "tests"]
    if jobs > 1:  # a notebook is one kernel: its cells must stay on one worker
        out += ["-n", str(jobs), "--dist", "loadfile"]
    if notebooks():
        # deliberately broken notebooks among the tests are no chapters
        broken = os.path.join(glob.escape(str(ROOT / "tests")), "*.ipynb")
        out += ["notebooks", "--nbval-lax", "--nbval-current-env", "--nbval-cell-timeout", "600"]
        out += ["--ignore-glob", broken]
        if (ROOT / "notebooks" / "nbval.cfg").exists():
            out += ["--nbval-sanitize-with", "notebooks/nbval.cfg"]
    return out


def test(python: str, options: argparse.Namespace) -> None:
    """Run the tests."""
    say(f"testing with {options.jobs} processes")
    if not notebooks():
        say("note: notebooks/ holds no notebook, so only the package is tested")
    try:
        call(test_command(python, options.jobs), "Tests failed: the list stands above.", jobs=options.jobs)
    except Stop as stop:
        if stop.status == 5:
            raise Stop(5, "pytest found no tests. Is tests/ complete? Try a fresh clone.") from None
        raise


def lint_commands(python: str) -> list[tuple[str, list[str]]]:
    """Name and command of every style check."""
    ruff = [python, "-m", "ruff"]
    out = [
        ("ruff check .", [*ruff, "check", "."]),
        ("ruff format --check .", [*ruff, "format", "--check", "."]),
        ("lint-imports", [python, "-c", LINT_IMPORTS, "--no-logo"]),
    ]
    if notebooks():
        names = [str(path.relative_to(ROOT)) for path in notebooks()]
        # nbval needs the counts of kept outputs
        strip = [python, "-m", "nbstripout", "--verify", "--keep-id", "--keep-count", *names]
        out.append(("nbstripout --verify", strip))
    return out


def lint(python: str, options: argparse.Namespace) -> None:
    """Run every style check, also after one has failed."""
    failed = []
    for name, command in lint_commands(python):
        say(name)
        try:
            call(command, name)
        except Stop as stop:
            failed.append(stop)
    if failed:
        mend = f"Mend what can be mended by itself with `{python} -m pre_commit run --all-files`."
        raise Stop(failed[0].status, f"Checks failed: {', '.join(map(str, failed))}. {mend}")
    say("all checks passed")


def matrix_command(python: str, options: argparse.Namespace) -> list[str]:
    """The call that executes the notebooks, or only lays out their pages for `docs`."""
    out = [python, "-m", "scmods._book.matrix", "--jobs", str(options.jobs), "--root", str(ROOT)]
    if options.only:
        out += ["--only", options.only]
    if options.require_data:
        out += ["--require-data"]
    return [*out, "--docs"] if options.command == "docs" else out


def classroom_command(python: str, options: argparse.Namespace) -> list[str]:
    """The call that tries and packs what participants of a workshop get; `docs` packs what is at hand."""
    out = [python, "-m", "scmods._book.classroom", "--jobs", str(options.jobs), "--root", str(ROOT)]
    for path in notebooks():
        # a page such as bmlp-paul15 is one more run of the chapter bmlp
        if options.only == path.stem or options.only.startswith(f"{path.stem}-"):
            out += ["--only", path.stem]
    return [*out, "--docs"] if options.command == "docs" else out


def build_command(python: str) -> list[str]:
    """The Jupyter Book call: strict, and with an absolute output folder, as a relative one is misread."""
    flags = ["--config", "_config.yml", "--path-output", str(ROOT), "-W", "-n", "--keep-going", "--all"]
    return [python, "-c", JUPYTER_BOOK, "build", "book", *flags]


def clean() -> None:
    """Delete the last site: only a build from nothing shows every warning."""
    folder = ROOT / "_build"
    if folder.exists():
        shutil.rmtree(folder)


def book(python: str, options: argparse.Namespace) -> None:
    """Run the notebooks (not for `docs`), build the site from nothing and check it."""
    docs = options.command == "docs"
    say("laying out the pages" if docs else f"running the notebooks, {options.jobs} at a time")
    advice = "Not every notebook ran: the report above names run, cell and cause. Finished runs are kept."
    call(matrix_command(python, options), advice, jobs=options.jobs)
    say("packing the workshop" if docs else "running the participants' notebooks, whole and by section")
    advice = "Not every participant notebook runs: the report above names chapter, section, cell and cause."
    call(classroom_command(python, options), advice, jobs=options.jobs)
    say("building the site")
    clean()
    call(build_command(python), "The site has warnings or errors: see above. Each one is an error here.")
    say("checking links, weights and remote loads")
    call([python, "-m", "scmods._book.site_check", str(SITE)], "The site check failed: see above.")
    say("checking the pages in a browser, network off")
    browser = [python, "-m", "scmods._book.browser_check", str(SITE), "--jobs", str(options.jobs)]
    call(browser, "The browser check failed: see above.")
    say(f"done. Open {(SITE / 'index.html').as_uri()}")


COMMANDS = {"book": book, "docs": book, "test": test, "lint": lint}


def positive(text: str) -> int:
    """A whole number of at least one."""
    if not text.isdecimal() or int(text) < 1:
        raise argparse.ArgumentTypeError(f"{text!r} is not a whole number of at least 1")
    return int(text)


def parse(arguments: list[str]) -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(
        prog="python tasks.py", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    add = parser.add_argument
    index = os.environ.get("SCMODS_TORCH_INDEX", "")
    add("command", choices=COMMANDS, help="what to do")
    add("--jobs", type=positive, default=min(4, cores()), metavar="N", help="processes at a time")
    add("--only", default="", metavar="CHAPTER", help="run the notebooks of one chapter, for instance bmlp")
    add("--require-data", action="store_true", help="fail when a data set cannot be had")
    add("--gpu", action="store_true", help="install the torch that pip chooses by itself; it may use a GPU")
    where = "extra index, or folder of wheels, with the CPU build of torch (or set SCMODS_TORCH_INDEX)"
    add("--torch-index", default=index, metavar="URL", help=where)
    add("--here", action="store_true", help="use the Python that runs this file and install nothing")
    return parser.parse_args(arguments)


def main(arguments: list[str]) -> int:
    """Run one command; the exit status is that of the step that failed."""
    start = time.monotonic()
    try:
        check_python(sys.version_info[:2], newer_python())
        options = parse(arguments)
        COMMANDS[options.command](environment(options), options)
    except Stop as stop:
        say(f"FAILED after {time.monotonic() - start:.0f} s (exit status {stop.status}). {stop}")
        return stop.status
    except KeyboardInterrupt:
        say("interrupted; call again to go on")
        return 130
    if options.command != "test":  # there the last line is pytest's own
        say(f"{options.command} finished in {time.monotonic() - start:.0f} s")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
