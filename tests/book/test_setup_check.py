"""The set-up check: short, alone in an empty folder, each failure with its fix, a code that survives typing."""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from scmods._book import setup_check

FILE = Path(setup_check.__file__)


def run(folder: Path, *flags: str, arguments: tuple[str, ...] = ()) -> subprocess.CompletedProcess[str]:
    call = [sys.executable, *flags, "check_setup.py", *arguments]
    return subprocess.run(call, cwd=folder, capture_output=True, text=True, check=False)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    shutil.copy(FILE, tmp_path / "check_setup.py")
    return tmp_path


def test_alone_in_an_empty_folder_with_nothing_installed(folder: Path) -> None:
    made = run(folder, "-I", "-S")
    lines = made.stdout.splitlines()
    assert made.returncode == 1
    assert made.stderr == ""
    assert len(lines) <= 20
    for line, after in zip(lines, [*lines[1:], ""], strict=True):
        assert line.startswith(("ok ", "NO ", "    fix: ", "code for your teacher: NO-"))
        assert line.startswith("NO ") == after.startswith("    fix: ")
    assert "NO  packages: 0 of 21 installed" in lines
    assert "unpack scmods-workshop.zip" in made.stdout
    told = setup_check.decode(lines[-1].rpartition(" ")[2])
    assert told[1:5] == ["ok  Python", "NO  packages", "ok  versions", "NO  imports"]
    assert [p.name for p in folder.iterdir()] == ["check_setup.py"], "it leaves nothing behind"


def test_beside_the_constraints_of_the_zip(folder: Path) -> None:
    (folder / "package").mkdir()
    (folder / "package" / "constraints.txt").write_text("numpy==0.0.1\n", encoding="utf-8")
    (folder / "notebooks").mkdir()
    (folder / "notebooks" / "one.ipynb").write_text("{}", encoding="utf-8")
    bare = run(folder, "-I", "-S").stdout
    assert "gseapy" not in bare.splitlines()[2], "five names are enough"
    assert 'pip install -c "package/constraints.txt" -e "package[book]"' in bare
    assert "ok  chapters: one" in bare


def test_all_bad_is_still_short(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    bad = tuple((lambda: (False, "bad", "mend it")) for _ in setup_check.CHECKS)
    monkeypatch.setattr(setup_check, "CHECKS", bad)
    assert setup_check.check_setup() == 1
    assert len(capsys.readouterr().out.splitlines()) <= 20


def test_everything_installed_is_fine(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(setup_check, "MODULES", ("numpy", "scmods"))  # the others take their time
    for check in (setup_check._installed, setup_check._imports, setup_check._notebooks):
        ok, text, _ = check()
        assert ok, text


def test_versions_are_those_of_the_constraints(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(setup_check, "_pins", lambda: {"numpy": "0.0.1"})
    ok, _, fix = setup_check._tested()
    assert not ok
    assert re.match(r"numpy \S+ instead of 0\.0\.1: pip install", fix)


def test_an_import_that_hangs_or_fails_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(setup_check, "IMPORT_SECONDS", 0.001)
    ok, text, fix = setup_check._imports()
    assert (ok, text) == (False, "imports: not done after 0.001 s")
    assert fix.startswith("check again")
    monkeypatch.setattr(setup_check, "IMPORT_SECONDS", 60.0)
    monkeypatch.setattr(setup_check, "MODULES", ("json", "no_such_module"))
    ok, text, fix = setup_check._imports()
    assert (ok, text) == (False, "imports: no_such_module fails")
    assert "No module named 'no_such_module': pip install" in fix


def test_codes_come_back() -> None:
    for answers in ([True] * 9, [False] * 9, [True] * 8 + [False], [False, True] * 4 + [True]):
        code = setup_check._code(answers)
        told = setup_check.decode(f" {code.lower()} ")
        assert told[0] == f"Python {sys.version_info[0]}.{sys.version_info[1]}"
        assert [line.startswith("ok") for line in told[1:]] == answers


def test_every_single_typing_error_is_caught() -> None:
    code = setup_check._code([True] * 8 + [False])
    letters = "0123456789ABCDEFONK-"
    for i, right in enumerate(code):
        for wrong in letters:
            if wrong != right:
                with pytest.raises(ValueError, match=r"typed wrongly|no code of the set-up check"):
                    setup_check.decode(code[:i] + wrong + code[i + 1 :])
    for i in range(len(code) - 1):
        swapped = code[:i] + code[i + 1] + code[i] + code[i + 2 :]
        if swapped != code:
            with pytest.raises(ValueError, match=r"typed wrongly|no code of the set-up check"):
                setup_check.decode(swapped)


def test_the_example_of_the_text_is_a_code() -> None:
    example = re.search(r"``(OK-[\w-]+)``", setup_check.decode.__doc__ or "")
    assert example is not None
    assert setup_check.decode(example[1])[1:] == [f"ok  {name}" for name in setup_check.NAMES]


def test_a_teacher_decodes_with_the_single_file(folder: Path) -> None:
    code = setup_check._code([True] * 9)
    made = run(folder, "-I", "-S", arguments=("--decode", code))
    assert made.returncode == 0
    assert len(made.stdout.splitlines()) == 10
    wrong = run(folder, "-I", "-S", arguments=("--decode", "hello"))
    assert wrong.returncode == 1
    assert "'hello' is no code of the set-up check" in wrong.stderr
    assert run(folder, "-I", "-S", arguments=("--help",)).returncode == 2


def test_everything_that_the_package_needs_is_looked_for() -> None:
    import tomllib

    project = tomllib.loads((setup_check.HOME / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    wanted = {re.split(r"[<>=\[]", name)[0] for name in project["dependencies"]}
    assert set(setup_check.NEEDED) == wanted
