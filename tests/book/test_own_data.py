"""A chapter on own data: the run folder, refusals, failures, Ctrl-C, what a run tells."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import anndata as ad
import numpy as np
import pandas as pd
import pytest
import scipy.sparse as sp

from scmods._book import notebook_file, own_data, progress
from scmods._book.citing import citations
from scmods._book.own_data import OwnDataError, chapters, find_chapter, run_chapter
from scmods._book.params import ParameterError

PARAMETERS = 'dataset: str = "toy"  # data\ncluster_key: str = "cluster"  # labels\nk: int = 3  # how many'
GOOD = """\
import os, json
from pathlib import Path
folder = Path(os.environ["SCMODS_RUN_DIR"])
(folder / "tables").mkdir()
(folder / "tables" / "numbers.csv").write_text("a,b\\n1,2\\n")
print(dataset, k, Path(dataset).is_absolute())
import sys; print("to the log", file=sys.__stderr__)
from scmods import claim
claim("k", k, low=1)"""


def write_notebook(root: Path, name: str, *code: str) -> Path:
    path = root / "notebooks" / f"{name}.ipynb"
    path.parent.mkdir(parents=True, exist_ok=True)
    made = [{"cell_type": "markdown", "id": "title", "metadata": {}, "source": f"# Chapter {name}"}]
    for number, source in enumerate([PARAMETERS, *code]):
        tags = ["parameters"] if number == 0 else []
        cell = {"cell_type": "code", "id": f"c{number}", "metadata": {"tags": tags}, "source": source}
        made.append(cell | {"outputs": [], "execution_count": None})
    spec = {"kernelspec": {"name": "python3", "display_name": "Python 3", "language": "python"}}
    path.write_text(json.dumps({"cells": made, "metadata": spec, "nbformat": 4, "nbformat_minor": 5}))
    return path


def h5ad(path: Path, **changes: object) -> Path:
    generator = np.random.default_rng(0)
    counts = sp.csr_matrix(generator.poisson(1.0, (30, 8)).astype(np.float32))
    obs = pd.DataFrame({"my label": pd.Categorical(list("abc") * 10), "n": np.arange(30)})
    obs.index = [f"cell{i}" for i in range(30)]
    adata = ad.AnnData(counts, obs=obs, var=pd.DataFrame(index=[f"g{i}" for i in range(8)]))
    for name, value in changes.items():
        setattr(adata, name, value)
    adata.write_h5ad(path)
    return path


@pytest.fixture
def in_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    return tmp_path


def test_a_claim_that_does_not_hold_stops_no_run_on_own_data(in_folder: Path, capsys) -> None:
    code = 'from scmods import claim\nclaim("k", k, low=4)\nclaim("odd", float("nan"))'
    write_notebook(in_folder, "tiny", code)
    h5ad(in_folder / "mine.h5ad")
    assert run_chapter("tiny", {"dataset": "mine.h5ad", "k": "3"}, out=Path("results"), root=in_folder) == 0
    out = capsys.readouterr().out
    assert "On these data the following does not hold" in out
    assert "k: 3, expected [4, ...]" in out
    assert "odd: no finite number" in out
    (folder,) = (in_folder / "results").iterdir()
    assert "<td>3</td><td>4</td><td>open</td><td>no</td>" in (folder / "report.html").read_text()


def test_a_run_leaves_one_complete_folder(in_folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    write_notebook(in_folder, "tiny", GOOD)
    h5ad(in_folder / "my cells.h5ad")
    given = {"dataset": "my cells.h5ad", "k": "5"}
    assert run_chapter("tiny", given, out=Path("results"), root=in_folder) == 0
    (folder,) = (in_folder / "results").iterdir()
    assert folder.name.startswith("tiny-my_cells-")
    names = {p.relative_to(folder).as_posix() for p in folder.rglob("*") if p.is_file()}
    wanted = {"notebook.ipynb", "report.html", "tables/numbers.csv", "params.json", "versions.txt", "log.txt"}
    assert wanted <= names
    assert not [n for n in names if n.endswith(".part")]
    facts_of = json.loads((folder / "params.json").read_text())
    assert facts_of["parameters"]["k"] == 5
    assert facts_of["parameters"]["dataset"] == str(in_folder / "my cells.h5ad")
    assert facts_of["given"] == ["dataset", "k"]
    assert len(facts_of["files"]["dataset"]["sha256"]) == 64
    assert f"numpy=={np.__version__}" in (folder / "versions.txt").read_text()
    assert "to the log" in (folder / "log.txt").read_text()
    assert "5 True" in (folder / "notebook.ipynb").read_text()
    assert "within [1, ...]" in (folder / "report.html").read_text(encoding="utf-8")
    out = capsys.readouterr().out
    assert f"open {folder / 'report.html'}" in out


def test_a_failed_run_says_so_in_its_name_and_last_lines(in_folder: Path, capsys) -> None:
    write_notebook(in_folder, "tiny", "x = 1", 'raise KeyError("no labels")')
    h5ad(in_folder / "a.h5ad")
    assert run_chapter("tiny", {"dataset": "a.h5ad"}, out=Path("r"), root=in_folder) == 1
    (folder,) = (in_folder / "r").iterdir()
    assert folder.name.endswith(".failed")
    assert (folder / "notebook.failed.ipynb").is_file()
    assert not (folder / "notebook.ipynb").exists()
    assert not (folder / "report.html").exists()
    lines = capsys.readouterr().out.splitlines()
    assert lines[-3].startswith("FAILED in code cell 3 of 3: KeyError: 'no labels'")
    assert lines[-2].startswith("What to do: ")
    assert "python -m scmods check" in lines[-2]
    assert str(folder) in lines[-1]


@pytest.mark.parametrize(
    ("error", "advice"),
    [
        ({"kind": "memory", "name": "MemoryLimit"}, "give more with --memory-mb, or use fewer cells"),
        ({"kind": "timeout", "name": "CellTimeout"}, "give more time with --timeout, or use fewer cells"),
        ({"kind": "killed", "name": "KernelKilled"}, "close other programs or use fewer cells"),
        ({"kind": "error", "name": "ClaimError"}, "is outside its bounds on these data. More cells or"),
        ({"kind": "error", "name": "ValueError"}, 'check the file: python -m scmods check "my cells.csv"'),
    ],
)
def test_the_last_lines_of_a_failure_say_what_to_do(error: dict, advice: str) -> None:
    whole = {"cell": 3, "cells": 9, "source": "x = 1", "message": "no", **error}
    lines = own_data._advice(whole, {"dataset": "my cells.csv"}, Path("r"))
    assert lines[-3] == f"FAILED in code cell 3 of 9: {error['name']}: no"
    assert lines[-2].startswith("What to do: ")
    assert advice in lines[-2]


def hear_ctrl_c() -> None:
    """A suite that runs in the background has it ignored, and would hand that down."""
    signal.signal(signal.SIGINT, signal.SIG_DFL)


@pytest.mark.skipif(os.name == "nt", reason="sends a POSIX signal")
def test_ctrl_c_leaves_a_usable_folder(in_folder: Path) -> None:
    path = write_notebook(in_folder, "tiny", 'print("first part")', "import time\ntime.sleep(100)")
    call = [sys.executable, "-m", "scmods", "run", str(path), "-o", "r"]
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True}
    with subprocess.Popen(call, **pipes, preexec_fn=hear_ctrl_c) as process:
        deadline = time.monotonic() + 60
        finished = False
        while time.monotonic() < deadline and not finished:
            finished = any("first part\\n" in p.read_text() for p in (in_folder / "r").rglob("*.part"))
            time.sleep(0.2)
        assert finished
        os.kill(process.pid, signal.SIGINT)
        out, _ = process.communicate(timeout=30)
    assert process.returncode == 130
    (folder,) = (in_folder / "r").iterdir()
    assert folder.name.endswith(".failed")
    assert "first part\\n" in (folder / "notebook.failed.ipynb").read_text()
    assert "STOPPED. What was finished is in" in out
    assert json.loads((folder / "params.json").read_text())["ok"] is False


def test_a_broken_report_leaves_a_failed_folder(in_folder: Path, monkeypatch) -> None:
    def broken(*_: object) -> None:
        raise OSError("no space left")

    write_notebook(in_folder, "tiny", "x = 1")
    monkeypatch.setattr(own_data.execute, "run", lambda *_, **__: {"ok": True, "error": None})
    monkeypatch.setattr(own_data, "_report", broken)
    with pytest.raises(OSError, match="no space left"):
        run_chapter("tiny", {}, out=Path("r"), root=in_folder)
    assert [p.name.rpartition(".")[2] for p in (in_folder / "r").iterdir()] == ["failed"]


@pytest.mark.parametrize(
    ("chapter", "given", "kind", "text"),
    [
        (
            "tiny",
            {"datset": "a"},
            ParameterError,
            "tiny.ipynb has no parameter 'datset'. Did you mean 'dataset'",
        ),
        ("tiny", {"k": "x"}, ParameterError, "`k` is 'x', but must be int"),
        ("tinny", {}, OwnDataError, "no chapter 'tinny'. Did you mean 'tiny'\\? There are: tiny"),
        (
            "tiny",
            {"dataset": "b.h5ad"},
            OwnDataError,
            "b.h5ad does not exist.*Files of this kind there: a.h5ad",
        ),
        (
            "tiny",
            {"dataset": "pbmc86k"},
            OwnDataError,
            "neither a file nor a data set. Did you mean 'pbmc68k'",
        ),
        ("tiny", {"dataset": "x/b.h5ad"}, OwnDataError, "There is no .h5ad file there"),
    ],
)
def test_wrong_calls_end_before_anything_is_made(in_folder: Path, chapter, given, kind, text) -> None:
    write_notebook(in_folder, "tiny", "x = 1")
    (in_folder / "a.h5ad").write_bytes(b"")
    with pytest.raises(kind, match=text):
        run_chapter(chapter, given, out=Path("r"), root=in_folder)
    assert not (in_folder / "r").exists()


def test_without_the_repository_the_message_says_what_to_do(in_folder: Path) -> None:
    with pytest.raises(OwnDataError, match="no notebooks in .* clone it"):
        chapters(in_folder)
    path = write_notebook(in_folder, "tiny", "x = 1")
    assert find_chapter("notebooks/tiny.ipynb", in_folder) == path.resolve()
    assert find_chapter("tiny", in_folder) == path


def test_a_missing_table_ends_the_call_before_anything_is_made(in_folder: Path) -> None:
    write_notebook(in_folder, "tiny", "x = 1")
    h5ad(in_folder / "a.h5ad")
    (in_folder / "table.csv").write_text("a")
    given = {"dataset": "a.h5ad", "cluster_key": "tabel.csv"}
    with pytest.raises(
        OwnDataError, match="tabel.csv does not exist.*there: table.csv. Did you mean 'table.csv'"
    ):
        run_chapter("tiny", given, out=Path("r"), root=in_folder)
    assert not (in_folder / "r").exists()


# ---- what a run tells --------------------------------------------------------------------------------


def test_progress_names_cell_section_time_and_memory(monkeypatch) -> None:
    cells = [("markdown", "# T"), ("code", "a"), ("markdown", "text\n\n## Second part\n"), ("code", "b")]
    book = {"cells": [{"cell_type": kind, "source": source, "metadata": {}} for kind, source in cells]}
    assert progress.headings(book) == ["", "Second part"]
    lines: list[str] = []
    with progress.Progress(book, lines.append) as shown:
        shown.show({"cell": 2, "cells": 2, "seconds": 3.2, "mb": 80})
        shown.show({"cell": 2, "cells": 2, "seconds": 3.3, "mb": 80})
    assert lines == ["  cell  2 of 2     3 s     80 MB  Second part"], "at most one line a second"


def test_a_long_cell_says_that_it_still_runs(monkeypatch) -> None:
    monkeypatch.setattr(progress, "QUIET", 0.0)
    book = {"cells": [{"cell_type": "code", "source": "a", "metadata": {}}]}
    heard = threading.Event()
    lines: list[str] = []

    def say(line: str) -> None:
        lines.append(line)
        if "still" in line:
            heard.set()

    with progress.Progress(book, say) as shown:
        shown.show({"cell": 1, "cells": 1, "seconds": 0.0, "mb": 5})
        assert heard.wait(30)


def test_params_hold_how_the_run_ended(in_folder: Path, capsys) -> None:
    write_notebook(in_folder, "tiny", 'raise KeyError("my_labels")')
    assert run_chapter("tiny", {"cluster_key": "my_labels"}, out=Path("r"), root=in_folder) == 1
    (folder,) = (in_folder / "r").iterdir()
    told = json.loads((folder / "params.json").read_text())
    assert told["ok"] is False
    assert told["seconds"] > 0
    assert told["error"] == "code cell 2: KeyError: 'my_labels'"
    assert "In this run `cluster_key` is 'my_labels'." in capsys.readouterr().out


def test_the_report_says_how_to_cite_method_and_data(tmp_path: Path) -> None:
    references = {"cell_type": "markdown", "source": "## References\n\nFrom {cite:t}`su2023smoother`."}
    lines = citations({"cells": [references]}, chapter="smoother", dataset="mob", folder=tmp_path)
    assert lines[0].startswith("The scmods authors. scmods: a book that runs, version ")
    assert lines[1].startswith("Method: Su et al., 2023. Smoother: ")
    assert lines[1].endswith(". Genome Biology 24. doi:10.1186/s13059-023-03138-x.")
    assert lines[2].startswith("Data mob: ")
    assert "(licence: GPL-3.0)" in lines[2]
    own = citations({"cells": []}, chapter="x", dataset="/a/my.h5ad", folder=tmp_path)
    assert own[1:] == ["Data my.h5ad: your own file; cite where it comes from."]
    adata = ad.AnnData(np.ones((2, 2)), uns={"source": {"citation": "Me 2020"}})
    adata.write_h5ad(tmp_path / "result.h5ad")
    assert (
        citations({"cells": []}, chapter="x", dataset="/a/my.h5ad", folder=tmp_path)[1]
        == "Data my.h5ad: Me 2020."
    )


@pytest.mark.parametrize("chapter", ["amici", "bmlp", "hopfield", "scyan", "smoother"])
def test_every_chapter_has_a_paper_to_cite(chapter: str, tmp_path: Path) -> None:
    notebook = notebook_file.read(chapters()[chapter])
    lines = citations(notebook, chapter=chapter, dataset="", folder=tmp_path)
    assert len(lines) == 2
    assert re.match(r"Method: .+, 20\d\d\. .+ (doi:|https://)", lines[1])
    assert not re.search(r"[{}\\]", lines[1])


def test_the_notebooks_of_a_workshop_lie_beside_the_package(tmp_path: Path) -> None:
    write_notebook(tmp_path, "tiny", GOOD)
    (tmp_path / "package").mkdir()
    assert own_data.notebook_folder(tmp_path / "package") == tmp_path / "notebooks"
    assert list(chapters(tmp_path / "package")) == ["tiny"]
    with pytest.raises(OwnDataError, match="'odd' is neither a file nor a data set"):
        own_data.plan("tiny", {"dataset": "odd"}, tmp_path / "package")
    with pytest.raises(OwnDataError, match=r"is a folder. Read it .* adata.write_h5ad\('my.h5ad'\)"):
        own_data.plan("tiny", {"dataset": str(tmp_path / "package")}, tmp_path)


def test_a_shell_cannot_switch_claims_off(monkeypatch: pytest.MonkeyPatch) -> None:
    from scmods._book import execute

    monkeypatch.setenv("SCMODS_CLAIMS", "tell")
    job = execute.Job("a.ipynb", "b.ipynb", {}, ".", "log")
    assert "SCMODS_CLAIMS" not in execute._environment(job)
    job.environment = {"SCMODS_CLAIMS": "tell"}
    assert execute._environment(job)["SCMODS_CLAIMS"] == "tell"
