"""One run of one notebook in a process of its own, under limits of time and memory.

The process holds the reading end of a pipe to whoever started it. When the starter ends, however it ends, the
pipe closes, and the process takes its kernel with it: nothing is left running.
"""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from scmods._book.claims import TELL

__all__ = ["Job", "run", "stop_all"]

TICK = 0.2
THREADS = (
    "OMP_NUM_THREADS",
    "MKL_NUM_THREADS",
    "OPENBLAS_NUM_THREADS",
    "NUMBA_NUM_THREADS",
    "VECLIB_MAXIMUM_THREADS",
)
LINES = 15

_alive: set[subprocess.Popen[bytes]] = set()


@dataclass
class Job:
    """What to run and within which limits.

    Attributes
    ----------
    notebook, output
        Source, and the executed notebook; a failed run is written beside it as ``<stem>.failed.ipynb``.
    parameters
        Checked parameters, injected after the parameters cell.
    cwd
        Working folder of the kernel.
    log
        File that takes what the kernel writes to its standard error.
    timeout, run_timeout
        Seconds for one cell and for the whole notebook; ``None`` for no limit.
    memory_mb
        Resident memory of the kernel and its children, in MiB; ``None`` for no limit.
    threads
        Threads for numerical libraries; ``None`` leaves their choice.
    run_dir
        Folder for tables and results, handed to the notebook as ``SCMODS_RUN_DIR``; empty for none.
    environment
        Further variables of the environment, such as ``SCMODS_CLAIMS``, which is never taken from the shell.
    """

    notebook: str
    output: str
    parameters: dict[str, Any]
    cwd: str
    log: str
    timeout: float | None = None
    run_timeout: float | None = None
    memory_mb: float | None = None
    threads: int | None = None
    run_dir: str = ""
    environment: dict[str, str] = field(default_factory=dict)


# ---- the side that starts -----------------------------------------------------------------------------


def _environment(job: Job) -> dict[str, str]:
    """Environment of the run: paths made absolute, threads bounded, no settings of the user's own shell."""
    env = {k: v for k, v in os.environ.items() if k not in ("SCMODS_RUN_DIR", TELL)} | job.environment
    home = str(Path(__file__).resolve().parents[2])
    env["PYTHONPATH"] = os.pathsep.join([home, *filter(None, [env.get("PYTHONPATH")])])
    env["PYTHONHASHSEED"] = "0"
    env["PYDEVD_DISABLE_FILE_VALIDATION"] = "1"
    env["JUPYTER_PREFER_ENV_PATH"] = "1"
    if job.run_dir:
        env["SCMODS_RUN_DIR"] = str(Path(job.run_dir).resolve())
    if env.get("SCMODS_DATA"):
        env["SCMODS_DATA"] = str(Path(env["SCMODS_DATA"]).resolve())
    if job.threads:
        env.update(dict.fromkeys(THREADS, str(job.threads)))
    return env


def _own_group() -> dict[str, Any]:
    """Keep Ctrl-C away from the worker: its starter decides how a run ends."""
    if sys.platform == "win32":
        return {"creationflags": subprocess.CREATE_NEW_PROCESS_GROUP}
    return {"start_new_session": True}


def run(job: Job, *, progress: Callable[[dict[str, Any]], None] | None = None) -> dict[str, Any]:
    """Run one job and wait for it.

    Parameters
    ----------
    job
        What to run. Paths are best absolute.
    progress
        Called with ``{"cell", "cells", "seconds", "mb"}`` whenever a cell starts, from the calling thread.

    Returns
    -------
    ``ok``; ``seconds`` (wall) and ``cpu_seconds`` of the kernel; ``peak_mb``; ``path`` of the file written;
    and ``error``: None, or ``kind`` (error, timeout, memory, killed, worker), ``cell`` (number among the code
    cells), ``source``, ``name``, ``message`` and ``traceback`` (last lines).
    """
    result: dict[str, Any] | None = None
    with open(job.log, "ab") as log:
        worker = subprocess.Popen(
            [sys.executable, "-m", "scmods._book.execute"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=log,
            cwd=job.cwd,
            env=_environment(job),
            **_own_group(),
        )
    _alive.add(worker)
    try:
        worker.stdin.write(json.dumps(asdict(job)).encode() + b"\n")
        worker.stdin.flush()
        for line in worker.stdout:
            event = json.loads(line)
            result = event.get("result", result)
            if progress is not None and "cell" in event:
                progress(event)
        status = worker.wait()
    finally:
        # the worker ends with its pipe, and its kernel with it: nobody may touch their files before
        worker.stdin.close()
        _end(worker)
        _alive.discard(worker)
        worker.stdout.close()
    return result or _lost(job, status)


def _lost(job: Job, status: int) -> dict[str, Any]:
    """Result of a worker that ended without giving one."""
    tail = Path(job.log).read_text(encoding="utf-8", errors="replace").splitlines()[-LINES:]
    error = {"kind": "worker", "cell": None, "cells": None, "source": "", "name": "WorkerEnded"}
    error |= {"message": f"the process of the run ended with status {status}", "traceback": tail}
    return {"ok": False, "seconds": 0.0, "cpu_seconds": 0.0, "peak_mb": 0, "path": "", "error": error}


def _end(worker: subprocess.Popen[bytes]) -> None:
    """Wait for a worker whose pipe is closed; kill one that does not end."""
    try:
        worker.wait(10)
    except subprocess.TimeoutExpired:
        worker.kill()
        worker.wait()


def stop_all() -> None:
    """End every run that this process started: their pipes close, and they end with their kernels."""
    for worker in list(_alive):
        if worker.stdin is not None and not worker.stdin.closed:
            worker.stdin.close()
    for worker in list(_alive):
        _end(worker)


# ---- the side that runs -------------------------------------------------------------------------------


def _children() -> list[Any]:
    import psutil

    return psutil.Process().children(recursive=True)


def _kill_children() -> None:
    import psutil

    for child in _children():
        try:
            child.kill()
        except psutil.Error:
            continue


def _end_with_starter(folder: str) -> None:
    """Wait until the starter's pipe closes, then end at once with everything started here."""
    while os.read(0, 4096):
        pass
    _kill_children()
    shutil.rmtree(folder, ignore_errors=True)
    os._exit(1)


class _Watch(threading.Thread):
    """Follow memory, processor time and the time limit; kill the kernel above a limit and say which."""

    def __init__(self, job: Job) -> None:
        super().__init__(daemon=True)
        self.job = job
        self.start_time = time.monotonic()
        self.peak = 0
        self.cpu: dict[int, float] = {}
        self.reason = ""
        self.done = threading.Event()

    def run(self) -> None:
        while not self.done.wait(TICK):
            self.look()

    def look(self) -> None:
        """One look at the children; a process that has just ended is passed over."""
        import psutil

        resident = 0
        for child in _children():
            try:
                with child.oneshot():
                    resident += child.memory_info().rss
                    times = child.cpu_times()
                self.cpu[child.pid] = times.user + times.system
            except psutil.Error:
                continue
        self.peak = max(self.peak, resident)
        seconds = time.monotonic() - self.start_time
        if self.job.memory_mb and resident > self.job.memory_mb * 2**20 and not self.reason:
            self.reason = "memory"
        elif self.job.run_timeout and seconds > self.job.run_timeout and not self.reason:
            self.reason = "run_timeout"
        if self.reason:
            _kill_children()


class _Cells:
    """Which code cell runs, for progress and for the report of a failure."""

    def __init__(self, watch: _Watch, send: Callable[[dict[str, Any]], None], total: int) -> None:
        self.watch, self.send, self.total = watch, send, total
        self.number = 0
        self.source = ""

    def start(self, cell: Any, cell_index: int) -> None:
        """Hook: a cell begins (prose cells come by too)."""
        injected = "injected-parameters" in cell.metadata.get("tags", [])
        if cell.cell_type != "code" or injected:
            return
        self.number += 1
        self.source = cell.source
        seconds = round(time.monotonic() - self.watch.start_time, 1)
        megabytes = round(self.watch.peak / 2**20)
        self.send({"cell": self.number, "cells": self.total, "seconds": seconds, "mb": megabytes})


def _plain(lines: list[str]) -> list[str]:
    text = re.sub(r"\x1b\[[0-9;]*m", "", "\n".join(lines))
    return text.splitlines()[-LINES:]


def _failure(error: BaseException, job: Job, watch: _Watch, cells: _Cells) -> dict[str, Any]:
    """What went wrong, in words that name the limit or the exception of the cell."""
    report = {"cell": cells.number or None, "cells": cells.total, "source": cells.source, "traceback": []}
    name = type(error).__name__
    if watch.reason == "memory":
        text = f"the notebook used more than its limit of {job.memory_mb:g} MB (memory_mb) in this cell"
        return report | {"kind": "memory", "name": "MemoryLimit", "message": text}
    if watch.reason == "run_timeout":
        text = f"the notebook ran longer than its limit of {job.run_timeout:g} s (run_timeout) in this cell"
        return report | {"kind": "timeout", "name": "RunTimeout", "message": text}
    if name == "PapermillExecutionError":
        fields = {"source": error.source, "traceback": _plain(error.traceback)}
        return report | fields | {"kind": "error", "name": error.ename, "message": str(error.evalue)}
    if name == "CellTimeoutError":
        text = f"the cell ran longer than its limit of {job.timeout:g} s (timeout)"
        return report | {"kind": "timeout", "name": "CellTimeout", "message": text}
    if name == "DeadKernelError":
        text = "the kernel was killed: by the system when memory is short, by another program, or by a crash"
        return report | {"kind": "killed", "name": "KernelKilled", "message": text}
    return report | {"kind": "worker", "name": name, "message": str(error)[:2000]}


def _papermill(job: Job, part: str, cells: _Cells) -> None:
    import papermill

    papermill.execute_notebook(
        job.notebook,
        part,
        job.parameters,
        progress_bar=False,
        kernel_name="python3",
        cwd=job.cwd,
        execution_timeout=job.timeout,
        start_timeout=120,
        extra_arguments=["--log-level=40"],
        on_cell_start=cells.start,
    )


def _patiently(start: Callable[[], None], attempts: int = 3) -> None:
    """Start again when the kernel died at its start: another program may have taken its port in between."""
    for left in reversed(range(attempts)):
        try:
            start()
        except RuntimeError as error:
            if not left or "before replying to kernel_info" not in str(error):
                raise
        else:
            return


def _execute(job: Job, send: Callable[[dict[str, Any]], None]) -> dict[str, Any]:
    """Run the notebook here; its file gets the final name only when every cell went well."""
    import logging
    import warnings

    from nbclient.exceptions import CellTimeoutError, DeadKernelError
    from papermill.exceptions import PapermillException

    from scmods._book import notebook_file

    warnings.filterwarnings("ignore")
    logging.disable(logging.WARNING)
    total = len(notebook_file.code(notebook_file.read(job.notebook)))
    watch = _Watch(job)
    cells = _Cells(watch, send, total)
    part = f"{job.output}.{os.getpid()}.part"
    result: dict[str, Any] = {"ok": True, "error": None, "path": job.output}
    watch.start()
    try:
        _patiently(lambda: _papermill(job, part, cells))
    except (PapermillException, CellTimeoutError, DeadKernelError, RuntimeError, OSError) as error:
        failed = str(Path(job.output).with_suffix(".failed.ipynb"))
        result = {"ok": False, "error": _failure(error, job, watch, cells), "path": failed}
    watch.done.set()
    _kill_children()
    if os.path.exists(part):
        os.replace(part, result["path"])
    result["seconds"] = round(time.monotonic() - watch.start_time, 2)
    result["cpu_seconds"] = round(sum(watch.cpu.values()), 2)
    result["peak_mb"] = round(watch.peak / 2**20)
    return result


def _read_job() -> Job:
    line = b""
    while not line.endswith(b"\n"):
        block = os.read(0, 65536)
        if not block:
            os._exit(1)
        line += block
    return Job(**json.loads(line))


def main() -> int:
    """Worker: read one job from standard input, run it, write events and the result as JSON lines."""
    # The kernel inherits descriptor 1; what it or a library writes there belongs in the log.
    pipe = os.fdopen(os.dup(1), "w", encoding="utf-8")
    os.dup2(2, 1)
    job = _read_job()
    # An IPython folder of its own: the user's start-up files and history stay out of the run.
    folder = tempfile.mkdtemp(prefix="scmods-ipython-")
    os.environ["IPYTHONDIR"] = folder
    threading.Thread(target=_end_with_starter, args=(folder,), daemon=True).start()

    def send(event: dict[str, Any]) -> None:
        pipe.write(json.dumps(event) + "\n")
        pipe.flush()

    result = _execute(job, send)
    shutil.rmtree(folder, ignore_errors=True)
    send({"result": result})
    return 0


if __name__ == "__main__":
    status = main()
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(status)
