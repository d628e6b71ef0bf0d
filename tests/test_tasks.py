"""tasks.py decides well without making an environment: states, command lines, messages, exit statuses."""

from __future__ import annotations

import importlib.util
import os
import subprocess
import sys
import time
from pathlib import Path
from types import ModuleType

import pytest

FILE = Path(__file__).resolve().parents[1] / "tasks.py"


@pytest.fixture
def tasks(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    """A fresh copy of the module whose project is an empty folder with two lists."""
    spec = importlib.util.spec_from_file_location("tasks_under_test", FILE)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    env = tmp_path / ".venv"
    monkeypatch.setattr(module, "ROOT", tmp_path)
    monkeypatch.setattr(module, "ENV", env)
    monkeypatch.setattr(module, "ENV_PYTHON", env / "bin" / "python")
    monkeypatch.setattr(module, "INSTALLED", env / "installed")
    monkeypatch.setattr(module, "INSTALLING", tmp_path / ".venv.part")
    monkeypatch.setattr(module, "SITE", tmp_path / "_build" / "html")
    (tmp_path / "pyproject.toml").write_text("[project]\n", encoding="utf-8")
    (tmp_path / "constraints.txt").write_text("torch==2.13.0\n", encoding="utf-8")
    return module


def make_env(tasks: ModuleType) -> None:
    """An environment as `create` leaves it, without the minutes."""
    record = tasks.ENV / "lib" / "python3.11" / "site-packages" / "pip-1.dist-info" / "RECORD"
    record.parent.mkdir(parents=True)
    record.write_text("", encoding="utf-8")
    tasks.ENV_PYTHON.parent.mkdir(parents=True)
    tasks.ENV_PYTHON.write_text("", encoding="utf-8")


def record_calls(tasks: ModuleType, monkeypatch: pytest.MonkeyPatch, status: int = 0) -> list[list[str]]:
    """Replace `call` by a list of the commands."""
    seen: list[list[str]] = []

    def call(command: list[str], advice: str, **kwargs: object) -> None:
        seen.append(command)
        if status:
            raise tasks.Stop(status, advice)

    monkeypatch.setattr(tasks, "call", call)
    return seen


def test_state_follows_the_lists(tasks: ModuleType) -> None:
    want = tasks.fingerprint(gpu=False)
    assert tasks.state(want) == "create"
    make_env(tasks)
    assert tasks.state(want) == "install"
    tasks.INSTALLED.write_text(want, encoding="utf-8")
    assert tasks.state(want) == "ready"
    (tasks.ROOT / "constraints.txt").write_text("torch==2.13.1\n", encoding="utf-8")
    assert tasks.state(tasks.fingerprint(gpu=False)) == "install"


def test_an_environment_without_pip_or_with_a_marker_is_made_again(tasks: ModuleType) -> None:
    make_env(tasks)
    want = tasks.fingerprint(gpu=False)
    tasks.INSTALLED.write_text(want, encoding="utf-8")
    tasks.INSTALLING.touch()
    assert tasks.state(want) == "create"
    tasks.INSTALLING.unlink()
    assert tasks.state(want) == "ready"
    next(tasks.ENV.rglob("RECORD")).unlink()
    assert tasks.state(want) == "create"


def test_line_ends_do_not_change_the_fingerprint(tasks: ModuleType) -> None:
    before = tasks.fingerprint(gpu=False)
    (tasks.ROOT / "constraints.txt").write_bytes(b"torch==2.13.0\r\n")
    (tasks.ROOT / "pyproject.toml").write_bytes(b"[project]\r\n")
    assert tasks.fingerprint(gpu=False) == before
    assert tasks.fingerprint(gpu=True) != before


def test_a_moved_project_is_installed_again(
    tasks: ModuleType, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    before = tasks.fingerprint(gpu=False)
    moved = tmp_path / "moved"
    moved.mkdir()
    for name in tasks.LISTS:
        (moved / name).write_bytes((tmp_path / name).read_bytes())
    monkeypatch.setattr(tasks, "ROOT", moved)
    assert tasks.fingerprint(gpu=False) != before


def test_install_is_one_pip_call_and_leaves_its_mark(
    tasks: ModuleType, monkeypatch: pytest.MonkeyPatch
) -> None:
    make_env(tasks)
    seen = record_calls(tasks, monkeypatch)
    options = tasks.parse(["test", "--torch-index", "https://wheels.example/cpu"])
    assert tasks.environment(options) == str(tasks.ENV_PYTHON)
    assert len(seen) == 1
    assert seen[0][1:4] == ["-m", "pip", "install"]
    assert seen[0][-4:] == ["-c", "constraints.txt", "-e", ".[book,test]"]
    assert "--extra-index-url" in seen[0]
    assert not tasks.INSTALLING.exists()
    tasks.environment(options)
    assert len(seen) == 1, "nothing changed, so nothing is installed"


def test_torch_index_may_be_a_folder_or_absent(tasks: ModuleType, tmp_path: Path) -> None:
    folder = tasks.pip_command(str(tmp_path))
    assert folder[folder.index("--find-links") + 1] == str(tmp_path)
    assert not {"--find-links", "--extra-index-url"} & set(tasks.pip_command(""))


def test_gpu_replaces_torch_and_is_remembered(tasks: ModuleType, monkeypatch: pytest.MonkeyPatch) -> None:
    make_env(tasks)
    seen = record_calls(tasks, monkeypatch)
    tasks.environment(tasks.parse(["test", "--gpu", "--torch-index", "https://wheels.example/cpu"]))
    assert seen[0][2:4] == ["pip", "uninstall"]
    assert "--extra-index-url" not in seen[1]
    assert tasks.recorded_gpu()
    assert tasks.environment(tasks.parse(["test"])) == str(tasks.ENV_PYTHON)
    assert len(seen) == 2, "a later call without --gpu keeps the environment"


def test_failed_pip_is_tried_again_and_a_kill_starts_afresh(
    tasks: ModuleType, monkeypatch: pytest.MonkeyPatch
) -> None:
    make_env(tasks)
    record_calls(tasks, monkeypatch, status=1)
    options, want = tasks.parse(["test"]), tasks.fingerprint(gpu=False)
    with pytest.raises(tasks.Stop, match="pip could not install the packages"):
        tasks.environment(options)
    assert tasks.state(want) == "install"

    def interrupted(command: list[str], advice: str, **kwargs: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(tasks, "call", interrupted)
    with pytest.raises(KeyboardInterrupt):
        tasks.environment(options)
    assert tasks.state(want) == "create"
    tasks.wait_for_other()  # returns at once: the marker says that nobody is at work


def test_waits_for_another_installation(
    tasks: ModuleType, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    make_env(tasks)
    tasks.INSTALLING.touch()
    monkeypatch.setattr(time, "sleep", lambda seconds: tasks.INSTALLING.unlink())
    tasks.wait_for_other()
    assert "another call is installing" in capsys.readouterr().out


def test_a_failing_venv_says_what_to_do(tasks: ModuleType, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*args: object, **kwargs: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(tasks.venv, "create", full)
    with pytest.raises(tasks.Stop, match=r"could not be made: .*No space left.* Delete \.venv"):
        tasks.environment(tasks.parse(["test"]))
    assert not tasks.INSTALLING.exists()


def test_missing_ensurepip_names_the_system_package(
    tasks: ModuleType, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tasks.importlib.util, "find_spec", lambda name: None)
    with pytest.raises(tasks.Stop, match=r"install the system package python3\.\d+-venv"):
        tasks.create()


def test_old_python_is_refused_with_a_way_out(tasks: ModuleType) -> None:
    tasks.check_python((3, 11), None)
    with pytest.raises(
        tasks.Stop, match=r"needs Python 3\.11 or newer, this is 3\.9\. A newer one .*python3\.12 tasks"
    ):
        tasks.check_python((3, 9), "python3.12")
    with pytest.raises(tasks.Stop, match=r"Install one .*python3\.11-venv"):
        tasks.check_python((3, 10), None)


def test_test_command_is_one_pytest_call(tasks: ModuleType) -> None:
    plain = tasks.test_command("py", 1)
    assert plain == ["py", "-m", "pytest", "-q", "tests"]
    (tasks.ROOT / "notebooks").mkdir()
    (tasks.ROOT / "notebooks" / "a.ipynb").write_text("{}", encoding="utf-8")
    (tasks.ROOT / "notebooks" / "nbval.cfg").write_text("", encoding="utf-8")
    full = tasks.test_command("py", 3)
    assert full[full.index("-n") + 1] == "3"
    assert full[full.index("--dist") + 1] == "loadfile"
    assert {"notebooks", "--nbval-lax", "--nbval-current-env"} <= set(full)
    assert full[full.index("--nbval-sanitize-with") + 1] == "notebooks/nbval.cfg"


def test_no_tests_is_an_error_of_its_own(tasks: ModuleType, monkeypatch: pytest.MonkeyPatch) -> None:
    record_calls(tasks, monkeypatch, status=5)
    with pytest.raises(tasks.Stop, match="pytest found no tests") as error:
        tasks.test("py", tasks.parse(["test"]))
    assert error.value.status == 5


@pytest.mark.parametrize(
    ("arguments", "want", "refuse"),
    [
        (["book", "--only", "bmlp", "--require-data"], ["--only", "bmlp", "--require-data"], "--docs"),
        (["docs", "--jobs", "2"], ["--jobs", "2", "--docs"], "--only"),
    ],
)
def test_matrix_command(tasks: ModuleType, arguments: list[str], want: list[str], refuse: str) -> None:
    command = tasks.matrix_command("py", tasks.parse(arguments))
    assert command[1:3] == ["-m", "scmods._book.matrix"]
    assert set(want) <= set(command)
    assert refuse not in command


def test_classroom_command(tasks: ModuleType) -> None:
    (tasks.ROOT / "notebooks").mkdir()
    (tasks.ROOT / "notebooks" / "bmlp.ipynb").write_text("{}", encoding="utf-8")
    command = tasks.classroom_command("py", tasks.parse(["book", "--only", "bmlp", "--jobs", "3"]))
    assert command[1:5] == ["-m", "scmods._book.classroom", "--jobs", "3"]
    assert command[-2:] == ["--only", "bmlp"]
    assert "--docs" in tasks.classroom_command("py", tasks.parse(["docs"]))
    page = tasks.classroom_command("py", tasks.parse(["book", "--only", "bmlp-paul15"]))
    assert page[-2:] == ["--only", "bmlp"]
    assert "--only" not in tasks.classroom_command("py", tasks.parse(["book"]))


def test_book_builds_from_nothing_then_checks(
    tasks: ModuleType, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    old = tasks.SITE / "old.html"
    old.parent.mkdir(parents=True)
    old.write_text("", encoding="utf-8")
    seen = record_calls(tasks, monkeypatch)
    tasks.book("py", tasks.parse(["book"]))
    assert not old.exists()
    assert [command[2].split(".")[-1] for command in (seen[0], seen[1], seen[3], seen[4])] == [
        "matrix", "classroom", "site_check", "browser_check",
    ]  # fmt: skip
    build = seen[2]
    assert {"-W", "-n", "--keep-going", "--all"} <= set(build)
    assert build[build.index("--path-output") + 1] == str(tasks.ROOT)
    assert "index.html" in capsys.readouterr().out


def test_lint_goes_on_after_a_failure(tasks: ModuleType, monkeypatch: pytest.MonkeyPatch) -> None:
    seen = record_calls(tasks, monkeypatch, status=3)
    with pytest.raises(
        tasks.Stop, match=r"Checks failed: ruff check \., ruff format --check \., lint-imports"
    ) as error:
        tasks.lint("py", tasks.parse(["lint"]))
    assert len(seen) == 3
    assert error.value.status == 3


def test_call_returns_the_status_of_the_step(tasks: ModuleType) -> None:
    tasks.call([sys.executable, "-c", "import os; assert os.environ['PYTHONUTF8'] == '1'"], "")
    with pytest.raises(tasks.Stop, match="do this") as error:
        tasks.call([sys.executable, "-c", "raise SystemExit(7)"], "do this")
    assert error.value.status == 7


@pytest.mark.skipif(os.name == "nt", reason="signals are a POSIX matter")
def test_a_killed_step_counts_as_shells_do(tasks: ModuleType) -> None:
    with pytest.raises(tasks.Stop) as error:
        tasks.call([sys.executable, "-c", "import os; os.kill(os.getpid(), 9)"], "")
    assert error.value.status == 137


def test_silent_step_gives_signs_of_life(
    tasks: ModuleType, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(tasks, "HEARTBEAT", 0.05)
    tasks.call([sys.executable, "-c", "import time; time.sleep(0.5)"], "", heartbeat="still installing")
    assert "still installing, " in capsys.readouterr().out


def test_cores_are_shared_between_jobs(tasks: ModuleType, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tasks, "cores", lambda: 8)
    monkeypatch.delenv("OMP_NUM_THREADS", raising=False)
    assert tasks.child_environment(4)["OMP_NUM_THREADS"] == "2"
    assert tasks.child_environment(16)["OMP_NUM_THREADS"] == "1"
    monkeypatch.setenv("OMP_NUM_THREADS", "3")
    assert tasks.child_environment(4)["OMP_NUM_THREADS"] == "3"


@pytest.mark.parametrize(
    ("arguments", "text"),
    [
        (["bok"], "invalid choice: 'bok'"),
        ([], "required: command"),
        (["book", "--jobs", "0"], "'0' is not a whole number of at least 1"),
        (["book", "--jobs", "two"], "'two' is not a whole number of at least 1"),
        (["book", "--chapter", "bmlp"], "unrecognized arguments: --chapter"),
    ],
)
def test_bad_command_lines(arguments: list[str], text: str) -> None:
    run = subprocess.run([sys.executable, FILE, *arguments], capture_output=True, text=True, check=False)
    assert run.returncode == 2
    assert text in run.stderr
