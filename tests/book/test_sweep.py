"""A list of runs: read, refused as a whole, run one after another, gone on with, compared."""

from __future__ import annotations

import csv
import json
from pathlib import Path

import pytest

import scmods.__main__ as cli
from scmods._book import content_key, own_data, run_folder, sweep
from scmods._book.own_data import Outcome, OwnDataError
from scmods._book.site_check import read_page

SOURCE = 'dataset: str = "toy"  # data\nk: int = 3  # how many\nmode: str = "a"  # how'
CODE = """\
from scmods import claim
claim("half of k", k / 2, low=1)
claim("k", k)
if mode == "fails":
    raise KeyError("no mode")"""


def write_notebook(root: Path, name: str) -> Path:
    path = root / "notebooks" / f"{name}.ipynb"
    path.parent.mkdir(parents=True, exist_ok=True)
    cells = [{"cell_type": "markdown", "id": "t", "metadata": {}, "source": f"# Chapter {name}"}]
    for number, (source, tags) in enumerate(((SOURCE, ["parameters"]), (CODE, []))):
        cell = {"cell_type": "code", "id": f"c{number}", "metadata": {"tags": tags}, "source": source}
        cells.append(cell | {"outputs": [], "execution_count": None})
    spec = {"kernelspec": {"name": "python3", "display_name": "Python 3", "language": "python"}}
    path.write_text(json.dumps({"cells": cells, "metadata": spec, "nbformat": 4, "nbformat_minor": 5}))
    return path


@pytest.fixture
def root(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A project with two small chapters; data sets are not looked up."""
    write_notebook(tmp_path, "tiny")
    write_notebook(tmp_path, "other")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(own_data, "_known_data", lambda _: None)
    return tmp_path


def runs(path: Path, text: str) -> Path:
    path.write_text(text, encoding="utf-8")
    return path


def pretend(monkeypatch: pytest.MonkeyPatch, *, fails: str = "") -> list[str]:
    """Replace the run by its folder with an executed notebook; say which ran."""
    done: list[str] = []

    def run_plan(planned, *, out, name, timeout, memory_mb):
        ok = planned.values["mode"] != fails
        final, running = run_folder.new_folder(out, name)
        run_folder.write_facts(running, planned, "python -m scmods sweep")
        error = None if ok else {"cell": 2, "name": "KeyError", "message": "<no mode>"}
        run_folder.write_end(running, {"ok": ok, "seconds": 1.5, "peak_mb": 90, "error": error})
        k = planned.values["k"]
        claims = [{"name": "half of k", "value": k / 2, "low": 1, "high": None}]
        claims += [{"name": "k", "value": k, "low": None, "high": None}] * 2
        outputs = [{"output_type": "display_data", "data": {}, "metadata": {"claim": c}} for c in claims]
        book = {"cells": [{"cell_type": "code", "source": "", "outputs": outputs}], "nbformat": 4}
        (running / ("notebook.ipynb" if ok else "notebook.failed.ipynb")).write_text(json.dumps(book))
        done.append(name)
        return Outcome(0 if ok else 1, run_folder.close(running, final, ok=ok))

    monkeypatch.setattr(sweep, "run_plan", run_plan)
    return done


CSV = "chapter,name,k,mode\ntiny,low,2,\ntiny,,1,''\nother,,7,b\n"
YAML = """\
defaults: {chapter: tiny, parameters: {mode: b}}
runs:
  - {name: low, parameters: {k: 2}}
  - {parameters: {k: 1, mode: ""}}
  - {chapter: other, parameters: {k: 7}}
"""


def test_a_table_and_a_yaml_file_say_the_same(root: Path) -> None:
    table = sweep.read_rows(runs(root / "r.csv", CSV), root)
    assert [row.name for row in table] == ["low", "tiny-toy", "other-toy"]
    assert [row.planned.values["mode"] for row in table] == ["a", "", "b"]
    assert [row.planned.given.get("k") for row in table] == [2, 1, 7]
    listed = sweep.read_rows(runs(root / "r.yml", YAML), root)
    assert [(r.name, r.planned.chapter, r.planned.values["k"]) for r in listed] == [
        (r.name, r.planned.chapter, r.planned.values["k"]) for r in table
    ]
    assert [row.planned.values["mode"] for row in listed] == ["b", "", "b"]
    bare = sweep.read_rows(
        runs(root / "b.yaml", "- {chapter: tiny}\n- {chapter: tiny, parameters: {k: 5}}"), root
    )
    assert [row.name for row in bare] == ["tiny-toy", "tiny-toy-2"]
    semicolons = sweep.read_rows(runs(root / "s.csv", CSV.replace(",", ";")), root)
    assert [row.planned.values for row in semicolons] == [row.planned.values for row in table]


def test_paths_are_found_beside_the_file_of_runs(root: Path) -> None:
    (root / "lists").mkdir()
    (root / "lists" / "mine.csv").write_text("a,b\n1,2\n")
    (row,) = sweep.read_rows(runs(root / "lists" / "r.csv", "chapter,dataset\ntiny,mine.csv\n"), root)
    assert row.planned.values["dataset"] == str(root / "lists" / "mine.csv")
    assert row.name == "tiny-mine"


@pytest.mark.parametrize(
    ("name", "text", "message"),
    [
        (
            "r.csv",
            "chapter,kk\ntiny,3\n",
            "column 'kk' is no parameter of its chapters. Did you mean 'k'. There are: d",
        ),
        ("r.csv", "chaptr,k\ntiny,3\n", "no column `chapter`. Did you mean 'chaptr'.* It has: chaptr, k"),
        ("r.csv", "chapter,k\ntiny,3,4\n", "line 2: more fields than columns. Quote a value"),
        ("r.csv", "chapter,k\n", "It lists no run"),
        ("r.csv", "chapter,k\ntinny,3\n", "no chapter 'tinny'. Did you mean 'tiny'"),
        ("r.csv", "chapter,k\n,3\n", "run 1: the chapter is missing"),
        (
            "r.csv",
            "chapter,k\ntiny,x\ntiny,3\ntiny,y\n",
            "2 of 3 runs cannot start; nothing was run.\n.*run 1.*\n.*run 3",
        ),
        ("r.csv", "chapter,k\ntiny,3\ntiny,3\n", "run 1 and r.csv, run 2 are the same. Remove"),
        ("r.csv", "chapter,name,k\ntiny,a,3\ntiny,a,4\n", "are both called 'a'. Remove or rename one"),
        (
            "r.csv",
            "chapter,dataset\ntiny,no.h5ad\n",
            "run 1: Parameter `dataset`: the file no.h5ad does not exist",
        ),
        ("r.yml", "a: [", "is not YAML"),
        ("r.yml", "3", "holds no list of runs. Write a list of"),
        ("r.yml", "runs: [3]", "run 1: 3 is no run. Write a list"),
        ("r.yml", "- {chapter: tiny, parametrs: {}}", "unknown field 'parametrs'. Did you mean 'parameters'"),
        ("r.yml", "default: {}\nruns: []", "unknown field 'default'. Did you mean 'defaults'"),
        ("r.yml", "defaults: [1]\nruns: []", "defaults: .* must be a mapping"),
        (
            "r.yml",
            "- {chapter: tiny, parameters: {kk: 3}}",
            "run 1: tiny.ipynb has no parameter 'kk'. Did you mean 'k'",
        ),
        ("r.txt", "", "its name must end in .csv, .yml or .yaml"),
    ],
)
def test_a_wrong_list_is_refused_before_anything_runs(root: Path, monkeypatch, name, text, message) -> None:
    done = pretend(monkeypatch)
    with pytest.raises(OwnDataError, match=f"(?s){message}"):
        sweep.sweep(runs(root / name, text), out=root / "out", root=root)
    assert done == []
    assert not (root / "out").exists()


@pytest.mark.parametrize("encoding", ["latin-1", "utf-16"])
@pytest.mark.parametrize(
    ("name", "text", "how"),
    [
        ("r.csv", "chapter,mode\ntiny,Région\n", "Save it as 'CSV UTF-8'"),
        ("r.yml", "- {chapter: tiny, name: Région}", "Save it as UTF-8"),
    ],
)
def test_a_list_in_another_encoding_is_refused(root: Path, encoding, name, text, how) -> None:
    (root / name).write_text(text, encoding=encoding)
    with pytest.raises(OwnDataError, match=f"{name} is not UTF-8. {how}"):
        sweep.read_rows(root / name, root)


def test_an_absent_list_is_named(root: Path, capsys) -> None:
    runs(root / "mine.csv", CSV)
    assert cli.main(["sweep", "mien.csv"]) == 2
    assert "mien.csv does not exist in" in (err := capsys.readouterr().err)
    assert "Did you mean 'mine.csv'?" in err


def test_a_failed_run_does_not_stop_the_others_and_runs_again(root: Path, monkeypatch, capsys) -> None:
    text = "chapter,name,k,mode\ntiny,first,2,bad\ntiny,second,1,\n"
    done = pretend(monkeypatch, fails="bad")
    out = root / "out"
    assert sweep.sweep(runs(root / "r.csv", text), out=out, root=root) == 1
    assert done == ["first", "second"]
    told = capsys.readouterr().out
    assert "2 runs: 0 done before, 2 to run" in told
    assert "failed: first. Mend the cause; the same command runs only these again." in told
    pretend_again = pretend(monkeypatch)
    assert sweep.sweep(root / "r.csv", out=out, root=root) == 0
    assert pretend_again == ["first"]
    assert "2 runs: 1 done before, 1 to run" in capsys.readouterr().out
    assert sweep.sweep(root / "r.csv", out=out, root=root) == 0
    assert pretend_again == ["first"], "everything was there"
    runs(root / "r.csv", text.replace("second,1", "second,9"))
    assert sweep.sweep(root / "r.csv", out=out, root=root) == 0
    assert pretend_again == ["first", "second"], "another parameter is another run"


def test_a_changed_file_is_another_run(root: Path, monkeypatch) -> None:
    (root / "mine.csv").write_text("a,b\n1,2\n")
    done = pretend(monkeypatch)
    path = runs(root / "r.csv", "chapter,dataset\ntiny,mine.csv\n")
    for _ in range(2):
        assert sweep.sweep(path, out=root / "out", root=root) == 0
    assert len(done) == 1
    (root / "mine.csv").write_text("a,b\n1,3\n")
    assert sweep.sweep(path, out=root / "out", root=root) == 0
    assert len(done) == 2


def test_another_version_or_notebook_is_another_run_and_a_cut_record_is_none(root: Path, monkeypatch) -> None:
    done = pretend(monkeypatch)
    path = runs(root / "r.csv", "chapter,name\ntiny,one\n")
    assert sweep.sweep(path, out=root / "out", root=root) == 0
    own = content_key.versions()
    monkeypatch.setattr(content_key, "versions", lambda: own | {"torch": "0.1"})
    assert sweep.sweep(path, out=root / "out", root=root) == 0
    assert done == ["one", "one"], "made with another torch"
    notebook = root / "notebooks" / "tiny.ipynb"
    notebook.write_text(
        notebook.read_text(encoding="utf-8").replace("half of k", "half of it"), encoding="utf-8"
    )
    assert sweep.sweep(path, out=root / "out", root=root) == 0
    assert len(done) == 3, "made with another notebook"
    for facts in (root / "out").glob("one*/params.json"):
        facts.write_text(facts.read_text(encoding="utf-8")[:40], encoding="utf-8")
    assert sweep.sweep(path, out=root / "out", root=root) == 0
    assert len(done) == 4, "what was cut short is no result"


def test_ctrl_c_ends_the_sweep_with_a_comparison(root: Path, monkeypatch, capsys) -> None:
    pretend(monkeypatch)
    honest = sweep.run_plan

    def stopped(planned, **how):
        return Outcome(130, honest(planned, **how).folder)

    monkeypatch.setattr(sweep, "run_plan", stopped)
    assert sweep.sweep(runs(root / "r.csv", CSV), out=root / "out", root=root) == 130
    assert "The same command goes on where this one stopped." in capsys.readouterr().out
    rows = list(csv.DictReader((root / "out" / "comparison.csv").read_text().splitlines()))
    assert {row["state"] for row in rows} == {"stopped", "not run"}


def test_the_comparison_holds_claims_parameters_cost_and_links(root: Path, monkeypatch) -> None:
    pretend(monkeypatch, fails="b")
    assert sweep.sweep(runs(root / "my runs.csv", CSV), out=root / "out", root=root) == 1
    page = (root / "out" / "comparison.html").read_text(encoding="utf-8")
    assert "<h1>my runs: 3 runs compared</h1>" in page
    assert "prefers-color-scheme: dark" in page
    assert "Claims of tiny" in page
    assert "Claims of other" in page
    assert '1<br><span class="bounds">met: [1, ...]</span>' in page
    assert '0.5<br><span class="bounds">NOT met: [1, ...]</span>' in page
    assert "<td>k (2)</td>" in page, "a claim made twice is told apart"
    assert "&lt;no mode&gt;" in page
    assert '<th scope="col">k</th><th scope="col">mode</th>' in page
    assert "dataset</th>" not in page, "it is the same in all"
    assert 'href="tiny-toy/report.html"' in page
    assert 'href="other-toy.failed/notebook.failed.ipynb"' in page
    found = read_page(root / "out" / "comparison.html")
    assert found.loads == []
    assert found.problems == []
    rows = list(csv.DictReader((root / "out" / "comparison.csv").read_text().splitlines()))
    first = rows[0]
    assert first["run"] == "low"
    assert (first["claim"], first["value"], first["low"], first["high"], first["met"]) == (
        "half of k",
        "1.0",
        "1",
        "",
        "yes",
    )
    assert rows[1]["met"] == "no bound"
    assert (first["k"], first["mode"], first["seconds"], first["state"]) == ("2", "a", "1.5", "done")
    assert {row["state"] for row in rows if row["chapter"] == "other"} == {"failed"}


def test_a_sweep_runs_through_kernels(root: Path) -> None:
    text = "chapter,name,k,mode\ntiny,good,4,\ntiny,bad,1,\n"
    assert sweep.sweep(runs(root / "r.csv", text), out=root / "out", root=root) == 1
    assert {p.name for p in (root / "out").iterdir()} == {
        "good",
        "bad.failed",
        "comparison.html",
        "comparison.csv",
    }
    rows = list(csv.DictReader((root / "out" / "comparison.csv").read_text().splitlines()))
    assert [(row["run"], row["claim"], row["value"]) for row in rows] == [
        ("good", "half of k", "2.0"),
        ("good", "k", "4.0"),
        ("bad", "half of k", "0.5"),
    ]
    assert [row["met"] for row in rows] == ["yes", "no bound", "no"]
    assert "ClaimError: half of k: 0.5 is outside [1, ...]" in (root / "out" / "comparison.html").read_text()
    assert (root / "out" / "good" / "report.html").is_file()


def test_the_command_line_passes_everything_on(monkeypatch, tmp_path: Path) -> None:
    seen: dict = {}
    monkeypatch.setattr(sweep, "sweep", lambda path, **more: seen.update(path=path, **more) or 1)
    assert cli.main(["sweep", "r.yml", "-o", "there", "--timeout", "9", "--memory-mb", "99"]) == 1
    assert seen == {"path": Path("r.yml"), "out": Path("there"), "timeout": 9.0, "memory_mb": 99.0}
