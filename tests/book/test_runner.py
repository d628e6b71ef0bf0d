"""The matrix runner on tiny notebooks: results, cache, failures, limits, death of the starter."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import psutil
import pytest
import yaml

from scmods._book import execute, matrix, notebook_file

PARAMETERS = 'dataset: str = "toy"  # name of the data\nk: int = 3  # how many'


def cell(source: str, *tags: str, kind: str = "code") -> dict:
    made = {"cell_type": kind, "id": f"c{abs(hash(source)) % 10**8}", "metadata": {"tags": list(tags)}}
    return made | {"source": source} | ({"outputs": [], "execution_count": None} if kind == "code" else {})


def notebook(*code: str, title: str = "Tiny chapter", prose: str = "Some words.") -> dict:
    cells = [cell(f"(tiny)=\n# {title}\n\n{prose}", kind="markdown"), cell(PARAMETERS, "parameters")]
    spec = {"name": "python3", "display_name": "Python 3", "language": "python"}
    cells += [cell(c) for c in code]
    return {"cells": cells, "metadata": {"kernelspec": spec}, "nbformat": 4, "nbformat_minor": 5}


def write(path: Path, content: dict) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(content), encoding="utf-8")


def project(root: Path, notebooks: dict[str, dict], *runs: dict) -> Path:
    for name, content in notebooks.items():
        write(root / "notebooks" / f"{name}.ipynb", content)
    text = yaml.safe_dump({"defaults": {"timeout": 60}, "runs": list(runs)})
    (root / "notebooks" / "runs.yml").write_text(text, encoding="utf-8")
    return root


def call(root: Path, *args: str) -> int:
    return matrix.main(["--root", str(root), *args])


def page(root: Path, name: str) -> dict:
    return notebook_file.read(root / "book" / "runs" / f"{name}.ipynb")


def text_of(content: dict) -> str:
    outputs = [o for c in content["cells"] for o in c.get("outputs", [])]
    parts = [o.get("text", "") or o.get("data", {}).get("text/plain", "") for o in outputs]
    return "\n".join("".join(p) for p in parts)


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A project with two notebooks, one of them with two runs, executed once."""
    root = tmp_path_factory.mktemp("project")
    (root / "helper_a.py").write_text("def twice(x):\n    from helper_b import two\n    return two() * x\n")
    (root / "helper_b.py").write_text("def two():\n    return 2\n")
    first = notebook(
        "from helper_a import twice\nfrom scmods import claim",
        'print(dataset, twice(k))\nclaim("k", k, low=1)',
    )
    second = notebook(
        'import sys, os\nprint("second", os.environ["OMP_NUM_THREADS"])', title="Second chapter"
    )
    runs = [
        {"id": "first", "notebook": "first.ipynb"},
        {"id": "first-five", "notebook": "first.ipynb", "parameters": {"k": 5}, "label": "five"},
        {"id": "second", "notebook": "second.ipynb"},
    ]
    project(root, {"first": first, "second": second}, *runs)
    assert call(root, "--jobs", "2") == 0
    return root


def test_pages_hold_the_outputs_of_their_own_parameters(built: Path) -> None:
    assert "toy 6" in text_of(page(built, "first"))
    assert "toy 10" in text_of(page(built, "first-five"))
    assert not list((built / ".cache" / "runs").glob("*.part"))


def test_run_pages_have_their_own_title_label_and_box(built: Path) -> None:
    first, five = page(built, "first")["cells"], page(built, "first-five")["cells"]
    assert first[0]["source"].startswith("(tiny)=\n# Tiny chapter\n")
    assert five[0]["source"].startswith("(tiny-first-five)=\n# Tiny chapter: five\n")
    assert "python -m scmods run first -p k=5 -o results" in five[1]["source"]
    assert "Claims checked: 1." in five[1]["source"]
    assert "injected-parameters" in five[3]["metadata"]["tags"]
    assert "k = 5" in five[3]["source"]


def test_status_lists_every_run_with_its_claims_and_versions(built: Path) -> None:
    status = (built / "book" / "status.md").read_text(encoding="utf-8")
    assert "3 of 3 runs have results; 2 claims held" in status
    assert "{doc}`first-five <runs/first-five>` | k | 5 | [1, ...]" in status
    assert "| anndata | 0" in status


def test_records_hold_cost_and_claims(built: Path) -> None:
    records = [json.loads(p.read_text()) for p in (built / ".cache" / "runs").glob("*.json")]
    five = next(r for r in records if r["id"] == "first-five")
    assert five["claims"] == [{"name": "k", "value": 5.0, "low": 1.0, "high": None}]
    assert five["peak_mb"] > 20
    assert five["cpu_seconds"] > 0
    assert five["seconds"] > 0


def test_second_call_executes_nothing(built: Path, capsys: pytest.CaptureFixture[str]) -> None:
    before = (built / "book" / "runs" / "first.ipynb").stat().st_mtime_ns
    assert call(built) == 0
    assert "0 executed" in capsys.readouterr().out
    assert (built / "book" / "runs" / "first.ipynb").stat().st_mtime_ns == before


def test_prose_edit_renews_the_page_without_executing(
    built: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = built / "notebooks" / "second.ipynb"
    path.write_text(path.read_text().replace("Some words.", "Other words."))
    assert call(built) == 0
    assert "0 executed" in capsys.readouterr().out
    new = page(built, "second")
    assert "Other words." in new["cells"][0]["source"]
    assert "second" in text_of(new)


def test_module_edit_executes_only_what_imports_it(built: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (built / "helper_b.py").write_text("def two():\n    return 20\n")
    assert call(built, "--only", "second") == 0
    assert "1 cached; 0 executed" in capsys.readouterr().out.replace("done", "cached")
    assert call(built) == 0
    assert "executing 2 of 3 runs: first, first-five" in capsys.readouterr().out
    assert "toy 60" in text_of(page(built, "first"))


def test_only_names_the_chapters_there_are(built: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert call(built, "--only", "secnd") == 1
    assert "Did you mean 'second'? There are: first, first-five, second" in capsys.readouterr().err


@pytest.fixture(scope="module")
def broken(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, str, int]:
    """A project where one run is good and the others fail, each in its own way."""
    root = tmp_path_factory.mktemp("broken")
    sources = {
        "good": notebook('print("fine")'),
        "error": notebook("x = 1", 'raise RuntimeError("deliberate")'),
        "claim": notebook("from scmods import claim", 'claim("score", 0.1, low=0.5)'),
        "slow": notebook("import time", "time.sleep(60)"),
        "long": notebook("import time", "time.sleep(1.5)", "time.sleep(60)"),
        "killed": notebook("import os", "os.kill(os.getpid(), 9)"),
        "memory": notebook("import time", "x = bytearray(400 * 2**20)\ntime.sleep(30)"),
    }
    limits = {"slow": {"timeout": 2}, "long": {"run_timeout": 5}, "memory": {"memory_mb": 250}}
    runs = [{"id": n, "notebook": f"{n}.ipynb", **limits.get(n, {})} for n in sources]
    project(root, sources, *runs)
    done = subprocess.run(
        [sys.executable, "-m", "scmods._book.matrix", "--root", str(root), "--jobs", "3"],
        capture_output=True,
        text=True,
        timeout=200,
        check=False,
    )
    return root, done.stdout + done.stderr, done.returncode


def test_failures_leave_the_good_run_and_status_one(broken: tuple[Path, str, int]) -> None:
    root, output, code = broken
    assert code == 1
    assert "fine" in text_of(page(root, "good"))
    assert "7 runs: 1 done, 6 failed" in output


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("error", "Code cell 3 of 3: RuntimeError: deliberate"),
        ("claim", "Code cell 3 of 3: ClaimError: score: 0.1 is outside [0.5, ...]"),
        ("slow", "Code cell 3 of 3: CellTimeout: the cell ran longer than its limit of 2 s (timeout)"),
        ("long", "RunTimeout: the notebook ran longer than its limit of 5 s (run_timeout)"),
        ("killed", "Code cell 3 of 3: KernelKilled: the kernel was killed"),
        ("memory", "Code cell 3 of 3: MemoryLimit: the notebook used more than its limit of 250 MB"),
    ],
)
def test_each_failure_names_cell_and_cause(broken: tuple[Path, str, int], name: str, text: str) -> None:
    root, output, _ = broken
    line = next(row for row in output.splitlines() if row.startswith(f"failed   {name} "))
    assert text in line
    assert f"== FAILED: run {name}, notebooks/{name}.ipynb, parameters: defaults" in output
    assert "No results on this page" in page(root, name)["cells"][1]["source"]
    assert text_of(page(root, name)) == ""


def test_the_failed_notebook_is_kept_under_another_name(broken: tuple[Path, str, int]) -> None:
    root, output, _ = broken
    shown = output.split("== FAILED: run error")[1].split("open ")[1].split(";")[0]
    assert shown.endswith(".failed.ipynb")
    assert "deliberate" in (root / shown).read_text()
    assert '| raise RuntimeError("deliberate")' in output
    assert not [
        p
        for p in (root / ".cache" / "runs").glob("*.ipynb")
        if "fine" not in p.read_text() and "failed" not in p.name
    ]


def test_a_failed_run_is_tried_again(
    broken: tuple[Path, str, int], capsys: pytest.CaptureFixture[str]
) -> None:
    root = broken[0]
    assert call(root, "--only", "error") == 1
    assert "executing 1 of 1 runs: error" in capsys.readouterr().out
    status = (root / "book" / "status.md").read_text()
    assert "failed: Code cell 3 of 3: RuntimeError: deliberate" in status
    assert "1 of 7 runs have results" in status


def test_docs_executes_nothing_and_says_so(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    project(tmp_path, {"one": notebook("print(1)")}, {"id": "one", "notebook": "one.ipynb"})
    assert call(tmp_path, "--docs") == 0
    assert "0 executed" in capsys.readouterr().out
    assert "It has not been run" in page(tmp_path, "one")["cells"][1]["source"]
    assert "0 of 1 runs have results" in (tmp_path / "book" / "status.md").read_text()
    assert (tmp_path / "book" / "participant" / "one.ipynb").is_file()


@pytest.mark.parametrize(
    ("parameters", "text"),
    [
        (
            {"datset": "toy"},
            "Run 'one' of notebooks/runs.yml: one.ipynb has no parameter 'datset'. Did you mean 'dataset'?",
        ),
        ({"k": "many"}, "Parameter `k` is 'many', but must be int"),
    ],
)
def test_wrong_parameters_stop_the_matrix_before_any_run(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], parameters: dict, text: str
) -> None:
    run = {"id": "one", "notebook": "one.ipynb", "parameters": parameters}
    project(tmp_path, {"one": notebook("print(1)")}, run)
    assert call(tmp_path) == 1
    assert text in capsys.readouterr().err


@pytest.mark.parametrize(
    ("runs", "text"),
    [
        ([{"id": "one"}], "every run needs `id` and `notebook`"),
        (
            [{"id": "one", "notebook": "one", "memory": 3}],
            "unknown field 'memory'. Did you mean 'memory_mb'?",
        ),
        ([{"id": "one", "notebook": "two"}], "does not exist"),
        (
            [{"id": "one", "notebook": "one"}, {"id": "two", "notebook": "one"}],
            "runs 'one' and 'two' are the same",
        ),
        ([], "lists no run"),
    ],
)
def test_a_malformed_matrix_says_what_is_wrong(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], runs: list[dict], text: str
) -> None:
    project(tmp_path, {"one": notebook("print(1)")}, *runs)
    assert call(tmp_path) == 1
    assert text in capsys.readouterr().err


def test_no_matrix_says_where_to_run_from(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert call(tmp_path) == 1
    assert "runs.yml does not exist. Run from the root of the project" in capsys.readouterr().err


def test_missing_data_leave_the_page_out_or_fail(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    runs = [{"id": "one", "notebook": "one", "data": ["no_such_set"], "label": "x"}]
    project(tmp_path, {"one": notebook("print(1)")}, *runs)
    assert call(tmp_path) == 0
    out = capsys.readouterr().out
    assert "1 left out" in out
    assert "'no_such_set' is not" in out
    left = (tmp_path / "book" / "runs" / "one.md").read_text()
    assert left.startswith("# Tiny chapter\n")
    assert "'no_such_set' is not" in left
    assert "left out: The data set 'no_such_set'" in (tmp_path / "book" / "status.md").read_text()
    assert call(tmp_path, "--require-data") == 1
    assert "DataUnavailable: The data set 'no_such_set'" in capsys.readouterr().out
    assert not (tmp_path / "book" / "runs" / "one.md").exists()


@pytest.mark.skipif(os.name == "nt", reason="sends a POSIX signal")
def test_killed_starter_keeps_finished_runs_and_leaves_no_orphan(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    sources = {"quick": notebook('print("kept")'), "endless": notebook("import time", "time.sleep(300)")}
    runs = [{"id": n, "notebook": n, "weight": 2 if n == "quick" else 1, "timeout": 400} for n in sources]
    project(tmp_path, sources, *runs)
    call_args = [sys.executable, "-m", "scmods._book.matrix", "--root", str(tmp_path), "--jobs", "1"]
    with subprocess.Popen(call_args, stdout=subprocess.PIPE, text=True) as starter:
        deadline = time.monotonic() + 60
        started = False
        while time.monotonic() < deadline and not started:
            records = list((tmp_path / ".cache" / "runs").glob("*.json"))
            parts = list((tmp_path / ".cache" / "runs").glob("*.part"))
            members = psutil.Process(starter.pid).children(recursive=True)
            started = bool(records) and bool(parts) and len(members) >= 2
            time.sleep(0.2)
        assert started
        os.kill(starter.pid, signal.SIGKILL)
    _, alive = psutil.wait_procs(members, timeout=8)
    assert not [p for p in alive if p.status() != psutil.STATUS_ZOMBIE]
    write(tmp_path / "notebooks" / "endless.ipynb", notebook('print("now quick")'))
    assert call(tmp_path) == 0
    assert "executing 1 of 2 runs: endless" in capsys.readouterr().out
    assert not list((tmp_path / ".cache" / "runs").glob("*.part"))


def hear_ctrl_c() -> None:
    """A suite that runs in the background has it ignored, and would hand that down."""
    signal.signal(signal.SIGINT, signal.SIG_DFL)


@pytest.mark.skipif(os.name == "nt", reason="sends a POSIX signal")
def test_ctrl_c_ends_the_matrix_without_a_failed_run(tmp_path: Path) -> None:
    sources = {"endless": notebook("import time", "time.sleep(300)")}
    project(tmp_path, sources, {"id": "endless", "notebook": "endless"})
    call_args = [sys.executable, "-m", "scmods._book.matrix", "--root", str(tmp_path)]
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True}
    with subprocess.Popen(call_args, **pipes, preexec_fn=hear_ctrl_c) as starter:
        deadline = time.monotonic() + 60
        while time.monotonic() < deadline and not list((tmp_path / ".cache" / "runs").glob("*.part")):
            time.sleep(0.2)
        os.kill(starter.pid, signal.SIGINT)
        _, err = starter.communicate(timeout=30)
    assert starter.returncode == 130
    assert "finished runs are kept" in err
    assert "Traceback" not in err
    assert not list((tmp_path / ".cache" / "runs").glob("*.json"))
    assert (
        "<runs/endless>`, not run: It has not been run yet" in (tmp_path / "book" / "status.md").read_text()
    )


def test_left_out_pages_name_no_folder_of_this_machine(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("SCMODS_DATA", str(tmp_path / "data"))
    text = f"save it as {tmp_path / 'data'}/x.rda or in {Path.home() / 'y'}"
    assert matrix._without_home(text) == f"save it as SCMODS_DATA/x.rda or in {Path('~') / 'y'}"


def test_real_data_are_found_by_their_files(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    from scmods.datasets import _registry

    monkeypatch.setenv("SCMODS_DATA", str(tmp_path))
    monkeypatch.setattr(_registry, "_default_folder", lambda: tmp_path)
    assert "hallmark_v7.0.gmt is missing" in matrix.missing_data(["hallmark"], fetch=False)
    (tmp_path / "hallmark_v7.0.gmt").write_text("corrupt")
    assert matrix.missing_data(["hallmark"], fetch=False) == ""
    assert "is not the file it should be" in matrix.missing_data(["hallmark"], fetch=True)


def test_a_kernel_that_dies_at_its_start_is_started_again() -> None:
    tries: list[int] = []

    def start() -> None:
        tries.append(1)
        if len(tries) < 3:
            msg = "Kernel died before replying to kernel_info"
            raise RuntimeError(msg)

    execute._patiently(start)
    assert len(tries) == 3
    tries.clear()
    with pytest.raises(RuntimeError, match="before replying"):
        execute._patiently(start, attempts=2)

    def other() -> None:
        tries.append(1)
        msg = "something else"
        raise RuntimeError(msg)

    tries.clear()
    with pytest.raises(RuntimeError, match="something else"):
        execute._patiently(other)
    assert len(tries) == 1
