"""The classroom: every section of a chapter tried alone, states within their limit, a zip of equal bytes."""

from __future__ import annotations

import io
import json
import os
import zipfile
from pathlib import Path

import pytest

from scmods._book import classroom, handout, rehearsal
from scmods._book.rehearsal import ClassroomError, make, prepare, recording, trial
from scmods._book.state_store import read_state, sections

HEAD = "from scmods import claim\n\n\ndef twice(x):\n    return 2 * x"


def cell(kind: str, name: str, source: str, *tags: str) -> dict:
    made = {"cell_type": kind, "id": name, "metadata": {"tags": list(tags)}, "source": source}
    return made | ({"outputs": [], "execution_count": None} if kind == "code" else {})


def notebook(third: str = "claim('total', twice(sum(values)), low=6)") -> dict:
    cells = [
        cell("markdown", "m0", "# A chapter"),
        cell("code", "p", 'dataset: str = "toy"  # set\nseed: int = 3  # seed', "parameters"),
        cell("code", "h", HEAD),
        cell("markdown", "m1", "## Values"),
        cell("code", "a", "values = [1, seed]\nunused = lambda: 0"),
        cell("markdown", "m2", "## Sums"),
        cell("code", "b", "values.append(twice(values[-1]))"),
        cell("markdown", "m3", "## Claims"),
        cell("code", "c", third),
        cell("markdown", "m4", "## Exercises\nSay it."),
        cell("code", "s", "answer = 'the secret answer'; values", "solution"),
    ]
    return {"cells": cells, "nbformat": 4, "nbformat_minor": 5, "metadata": {}}


@pytest.fixture
def root(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A project of one small chapter, whose example file is a line of text."""
    example = "from pathlib import Path\n\n\ndef write_example(chapter, dataset, folder):\n"
    example += "    Path(folder, f'{chapter}.csv').write_text(dataset)\n"
    (tmp_path / "notebooks").mkdir()
    (tmp_path / "notebooks" / "demo.ipynb").write_text(json.dumps(notebook()), encoding="utf-8")
    (tmp_path / "scmods" / "_book").mkdir(parents=True)
    check = Path(handout.__file__).with_name("setup_check.py").read_text(encoding="utf-8")
    (tmp_path / "scmods" / "_book" / "setup_check.py").write_text(check, encoding="utf-8")
    (tmp_path / "toy_example.py").write_text(example, encoding="utf-8")
    real = rehearsal.trial

    def own_example(chapter: rehearsal.Chapter) -> dict:
        made = real(chapter)
        text = made["cells"][0]["source"].replace("scmods._book.examples", "toy_example")
        made["cells"][0]["source"] = f"import sys\nsys.path.insert(0, {str(tmp_path)!r})\n{text}"
        return made

    monkeypatch.setattr(rehearsal, "trial", own_example)
    return tmp_path


def archive(root: Path) -> zipfile.ZipFile:
    content = (root / "book" / "participant" / "scmods-workshop.zip").read_bytes()
    return zipfile.ZipFile(io.BytesIO(content))


def test_a_chapter_is_tried_kept_and_packed(root: Path, capsys: pytest.CaptureFixture[str]) -> None:
    call = ["--root", str(root), "--jobs", "1"]
    (root / ".cache" / "class" / "abc.999999999.part").mkdir(parents=True)
    assert classroom.main(call) == 0
    out = capsys.readouterr().out
    assert "made     demo       4 sections run alone, 1 equal claims" in out
    (states,) = (root / ".cache" / "class").glob("*/demo.h5")
    assert sections(states) == ["02_sums", "03_claims", "04_exercises"]
    assert read_state(states, "03_claims") == {"values": [1, 3, 6]}
    assert not list(root.glob(".cache/class/*.part"))
    with archive(root) as packed:
        names = {n.removeprefix("scmods-workshop/") for n in packed.namelist()}
        texts = {n: packed.read(n).decode() for n in packed.namelist() if not n.endswith(".h5")}
        assert {i.date_time for i in packed.infolist()} == {handout.DATE}
        assert packed.namelist() == sorted(packed.namelist())
    assert names == {
        "README.txt", "check_setup.py", "notebooks/demo.ipynb", "data/demo.csv", "start_at/demo.h5",
        "start_at/demo_02_sums.ipynb", "start_at/demo_03_claims.ipynb", "start_at/demo_04_exercises.ipynb",
        "package/scmods/_book/setup_check.py",
    }  # fmt: skip
    assert not any("the secret answer" in text for text in texts.values())
    assert not any(str(root) in text for text in texts.values())
    assert (
        "Late, or a section did not work?\n    Open the notebook in start_at/"
        in texts["scmods-workshop/README.txt"]
    )
    before = (root / "book" / "participant" / "scmods-workshop.zip").read_bytes()
    os.utime(root / "scmods" / "_book" / "setup_check.py", (0, 0))
    assert classroom.main([*call, "--docs"]) == 0
    assert "cached   demo " in capsys.readouterr().out
    assert (root / "book" / "participant" / "scmods-workshop.zip").read_bytes() == before


def test_docs_runs_nothing(root: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert classroom.main(["--root", str(root), "--docs"]) == 0
    assert "demo       no states at hand" in capsys.readouterr().out
    with archive(root) as packed:
        assert not [n for n in packed.namelist() if "/start_at/" in n]
        assert "packed without" in packed.read("scmods-workshop/README.txt").decode()
    assert (root / "book" / "participant" / "check_setup.py").is_file()


def test_a_wrong_chapter_is_told(root: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert classroom.main(["--root", str(root), "--only", "dmo"]) == 1
    assert "--only dmo: no such chapter. " in capsys.readouterr().err


def test_a_failing_cell_is_named(root: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (root / "notebooks" / "demo.ipynb").write_text(json.dumps(notebook("1 / 0")), encoding="utf-8")
    assert classroom.main(["--root", str(root)]) == 1
    out = capsys.readouterr().out
    assert (
        "== FAILED: demo, section 3 (Claims), code cell 1: ZeroDivisionError: division by zero\n   | 1 / 0"
        in out
    )
    with archive(root) as packed:
        assert "scmods-workshop/notebooks/demo.ipynb" in packed.namelist()


def fake(results: list[dict]):
    """A stand-in for running a notebook that gives these results, one after the other."""

    def run(job, **_):
        Path(job.output).write_text(json.dumps({"cells": []}), encoding="utf-8")
        if job.notebook.endswith("whole.ipynb"):
            Path(job.cwd, "demo.h5").write_bytes(b"")
        return results.pop(0)

    return run


GOOD = {"ok": True, "error": None, "cpu_seconds": 1.0}


def test_a_section_that_fails_alone_is_named(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    chapter = prepare(root / "notebooks" / "demo.ipynb", root)
    error = {
        "cell": 3,
        "name": "NameError",
        "message": "name 'x' is not defined",
        "source": "",
        "traceback": [],
    }
    error["traceback"] = ["<02_sums, code cell 4> in <module>"]
    monkeypatch.setattr(rehearsal.execute, "run", fake([GOOD, {"ok": False, "error": error}]))
    with pytest.raises(
        ClassroomError, match=r"demo, section 2 alone: NameError: .*\n   <02_sums, code cell 4>"
    ):
        make(chapter, 1)


def test_too_large_states_are_refused_with_the_largest(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    chapter = prepare(root / "notebooks" / "demo.ipynb", root)
    monkeypatch.setattr(rehearsal.execute, "run", fake([GOOD]))
    monkeypatch.setattr(rehearsal, "LIMIT", -1)
    monkeypatch.setattr(rehearsal, "largest", lambda path, n: [("02_sums: values", 2**21)])
    with pytest.raises(
        ClassroomError, match=r"the states take 0.00 MB, but may take .*\n    02_sums: values: 2.00 MB"
    ):
        make(chapter, 1)


def test_other_claims_alone_are_refused(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    chapter = prepare(root / "notebooks" / "demo.ipynb", root)
    monkeypatch.setattr(rehearsal.execute, "run", fake([GOOD, GOOD]))
    claims = [[{"name": "a", "value": v, "low": None, "high": None}] for v in (1.0, 1.1)]
    monkeypatch.setattr(rehearsal, "harvest", lambda path: claims.pop(0))
    with pytest.raises(
        ClassroomError,
        match=r"give other claims than the whole:\n    demo: claim 'a': 1.0, in the second 1.1",
    ):
        make(chapter, 1)
    assert chapter.record is None


def test_the_notebooks_of_the_two_runs(root: Path) -> None:
    chapter = prepare(root / "notebooks" / "demo.ipynb", root)
    written = [c["source"] for c in recording(chapter)["cells"] if c["id"].startswith("state-")]
    assert len(written) == 3
    assert all("'unused'" not in text for text in written), "only what later sections need is stored"
    tried = trial(chapter)["cells"]
    assert [c["id"] for c in tried] == ["example", "section-1", "section-2", "section-3", "section-4"]
    key = chapter.folder
    changed = notebook()
    changed["cells"][3]["source"] = "## Values\nMore words."
    (root / "notebooks" / "demo.ipynb").write_text(json.dumps(changed), encoding="utf-8")
    assert prepare(root / "notebooks" / "demo.ipynb", root).folder == key, "prose changes no result"
    changed["cells"][4]["source"] += "\nmore = 1"
    (root / "notebooks" / "demo.ipynb").write_text(json.dumps(changed), encoding="utf-8")
    assert prepare(root / "notebooks" / "demo.ipynb", root).folder != key
