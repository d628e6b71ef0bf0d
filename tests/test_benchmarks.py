"""The stored ratios and the benchmarks behind them: form and honesty of the rows, never a time."""

from __future__ import annotations

import contextlib
import importlib.util
import json
import math
import platform
import re
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from types import ModuleType

import pytest
import torch

ROOT = Path(__file__).resolve().parents[1]
FOLDER = ROOT / "benchmarks"
CHAPTERS = ["bmlp", "hopfield", "smoother", "scyan", "amici"]
TEXTS = ("chapter", "what", "size", "against", "unit", "benchmark", "date")
FILES = [
    "bmlp", "bmlp_primal", "graph", "hopfield", "smoother_priors", "smoother_losses", "smoother_models", "scyan",
    "amici",
]  # fmt: skip


@pytest.fixture
def load(monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[[str], ModuleType]]:
    """A benchmark as a module; its one thread and its neighbours on the path are taken back."""
    monkeypatch.syspath_prepend(FOLDER)
    threads = torch.get_num_threads()

    def get(name: str) -> ModuleType:
        spec = importlib.util.spec_from_file_location(f"benchmark_{name}", FOLDER / f"{name}.py")
        module = importlib.util.module_from_spec(spec)
        spec.loader.exec_module(module)
        return module

    yield get
    torch.set_num_threads(threads)


def results() -> dict:
    return json.loads((FOLDER / "results.json").read_text(encoding="utf-8"))


def every_row() -> list[dict]:
    return results()["rows"] + results()["memory"]


def private(text: str) -> list[str]:
    """Paths, addresses and the name of this computer in a text."""
    found = re.findall(r"(?:^|[\s\"'(])(?:~?/\w[^\s\"]*|[A-Za-z]:\\[^\s\"]*|\w+://[^\s\"]*)", text)
    node = platform.node()
    return found + ([node] if node not in ("", "localhost") and node in text else [])


# ---- the stored file


def test_stored_head() -> None:
    found = results()
    assert set(found) == {"machine", "date", "versions", "rows", "memory"}
    assert re.fullmatch(r"\d{4}-\d\d-\d\d", found["date"])
    assert {"python", "numpy", "torch"} <= set(found["versions"])
    assert " of " in found["machine"]
    assert "memory" in found["machine"]


@pytest.mark.parametrize("chapter", CHAPTERS)
def test_stored_rows_of_a_chapter(chapter: str) -> None:
    rows = [row for row in every_row() if row["chapter"] == chapter]
    assert len([row for row in results()["rows"] if row["chapter"] == chapter and row["ratio"] > 0]) >= 3
    for row in rows:
        assert all(isinstance(row[name], str) and row[name] for name in TEXTS), row
        assert (ROOT / row["benchmark"]).is_file()
        assert row["date"] <= results()["date"]
        assert all(s > 0 for s in row["seconds"])
        if row["ratio"] is None:
            assert 0 < row["peak_gb"]
            assert row["unit"] == "GB"
        else:
            assert row["ratio"] == pytest.approx(row["seconds"][1] / row["seconds"][0])
            assert 0 <= row["difference"] <= row["tolerance"], row


def test_stored_rows_say_honestly_what_they_miss(load: Callable[[str], ModuleType]) -> None:
    load("all")
    falls_short = sys.modules["_rows"].falls_short
    for row in every_row():
        assert row["missed"] == falls_short(row), row


def test_stored_rows_differ_from_each_other() -> None:
    keys = [(r["chapter"], r["what"], r["size"], r["against"]) for r in every_row()]
    assert len(set(keys)) == len(keys)


def test_stored_file_is_free_of_paths_and_names() -> None:
    assert private((FOLDER / "results.json").read_text(encoding="utf-8")) == []


@pytest.mark.parametrize(
    "text", ["at /tmp/x", '"~/data"', r"C:\data", "see https://a.b", f"on {platform.node()}"]
)
def test_paths_and_names_would_be_found(text: str) -> None:
    assert private(text) or text == "on localhost"


# ---- the benchmarks


@pytest.mark.parametrize("name", [*FILES, "all"])
def test_help(name: str, load, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setattr(sys, "argv", [name, "--help"])
    with pytest.raises(SystemExit, match="^0$"):
        load(name).main()
    out = capsys.readouterr().out
    assert ("--quick" if name == "all" else "--json") in out


def shortcuts(name: str, module: ModuleType) -> str:
    """Make a benchmark stay in this process and small; returns its options."""
    if name in ("graph", "bmlp_primal"):
        module.child = module.one
    if name == "scyan":
        loader = module.loader
        module.loader = lambda cells, repeats: loader(500, 1)
    return {
        "hopfield": "--cells 4 --genes 20 --baseline 2 --memory",
        "amici": "--small --repeats 1 --only compute permutation training",
    }.get(name, "")


@pytest.mark.parametrize("name", FILES)
def test_smallest_run(name: str, load, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    every, module, out = load("all"), load(name), tmp_path / "raw.json"
    (quick,) = (
        options[1] for jobs in every.JOBS.values() for f, options in jobs.items() if f == f"{name}.py"
    )
    options = shortcuts(name, module) or quick
    monkeypatch.setattr(sys, "argv", [name, *options.split(), "--json", str(out)])
    # at these sizes the file itself may say that it is below its bars
    with contextlib.suppress(SystemExit):
        module.main()
    raw = json.loads(out.read_text(encoding="utf-8"))
    rows = every.common(f"{name}.py", raw, "2026-01-31", bars=False)
    compared = [row for row in rows if row["ratio"] is not None]
    assert compared
    assert all(0 <= row["difference"] <= row["tolerance"] for row in compared), compared
    assert not any(row["missed"] for row in rows)
    assert [f.name for f in tmp_path.iterdir()] == ["raw.json"]


def test_functions_are_timed_in_turn(load: Callable[[str], ModuleType]) -> None:
    load("all")
    order: list[str] = []

    def ours() -> str:
        order.append("ours")
        return "a"

    def plain() -> str:
        order.append("plain")
        sum(range(100_000))
        return "b"

    fast, slow, a, b = sys.modules["_measure"].in_turn(ours, plain, 2, calls=2)
    assert order == ["ours"] + 2 * ["ours", "ours", "plain"]
    assert (a, b) == ("a", "b")
    assert 0 <= fast < math.inf
    assert 0 < slow < math.inf


# ---- from what a benchmark writes to rows

COMPARISON = {"fast_s": 0.5, "plain_s": 5.0, "ratio": 9.0, "bar": 4.0, "difference": 1e-9}
MADE_UP = {
    "bmlp": (
        {
            "rows": [
                {"genes": 3451, "hidden": 128, "outputs": 5, "low_rank_s": 0.5, "dense_s": 5.0, "bar": 4.0}
                | {"difference": 1e-9}
            ],
            "big": {"genes": 20000, "hidden": 128, "outputs": 5, "low_rank_s": 2.0, "process_peak_gb": 0.7},
        },
        "3,451 genes x 128 units, 5 outputs",
        0.7,
    ),
    "bmlp_primal": (
        {
            "genes": 1000,
            "rows": [
                {"cells": 3000, "comps": 50, "grid_s": 0.5, "dual_s": 5.0, "loo_difference": 1e-9},
                {"cells": 9000, "comps": 50, "grid_s": 0.5, "single_s": 1.5, "peak_gb": 0.7},
            ],
        },
        "3,000 cells x 50 components, 1,000 genes",
        0.7,
    ),
    "graph": (
        {
            "pairs": 5,
            "rows": [
                {"cells": 3000, "variant": "thin", "eigen_s": 0.5, "dense_s": 5.0, "subspace_cosine": 1.0}
                | {"value_difference": 1e-9},
                {"cells": 9000, "variant": "thin", "eigen_s": 2.0, "peak_gb": 0.7},
            ],
        },
        "3,000 cells",
        0.7,
    ),
    "hopfield": (
        {
            "rows": [
                {"what": "rotation", "cells": 500, "genes": 200, "regulators": 20, "fast_s": 0.5, "per_cell_s": 5.0}
                | {"bar": 4.0, "difference": 1e-9}
            ],
            "memory": [{"cells": 9000, "genes": 200, "all_jacobians_gb": 32.0, "added_gb": 0.2, "s": 2.0}],
        },
        "500 cells x 200 genes, 20 regulators",
        0.2,
    ),
    "smoother_priors": (
        {
            "rows": [{"part": "decay", "spots": 1000, "fast_s": 0.5, "dense_s": 5.0, "bar": 4.0, "difference": 1e-12}],
            "big": {"spots": 9000, "standardisation_s": 0.5, "decay_s": 1.5, "peak_gb": 0.7},
        },
        "1,000 spots",
        0.7,
    ),
    "smoother_losses": (
        {
            "rows": [{"case": "contrastive, 10 groups", "spots": 1000, "ms": 500.0, "plain_ms": 5000.0, "bar": 4.0}
                     | {"difference": 0.04, "sd": 0.01}],
            "big": {"spots": 9000, "groups": 6, "ms": 2000.0, "peak_gb": 0.7},
        },
        "1,000 spots, 10 groups",
        0.7,
    ),
    "smoother_models": (
        {
            "adam": [{"spots": 900, "seed": 0, "smoothing": 0.1, "epochs": 1000, "exact_s": 0.5, "adam_s": 5.0}
                     | {"exact": 1.0, "adam": 1.25, "bar": 4.0}],
            "large": [{"task": "impute", "spots": 9000, "cpu_s": 2.0, "peak_gb": 0.7}],
        },
        "900 spots, strength 0.1, tissue 1",
        0.7,
    ),
    "scyan": (
        {
            "rows": [{"what": "annotation", "size": "30 x 20", "density": "exact", "cells": 8192} | COMPARISON],
            "memory": [{"call": "predict", "cells": 9000, "added_gb": 0.2, "s": 2.0}],
        },
        "8,192 cells x 20 markers, 30 populations",
        0.2,
    ),
    "amici": (
        {
            "rows": [{"what": "compute", "size": "600 cells"} | COMPARISON],
            "memory": [
                {"cells": 9000, "neighbours_s": 0.5, "prediction_s": 0.5, "explained_s": 1.0, "explained_gb": 0.7}
            ],
        },
        "600 cells",
        0.7,
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", FILES)
def test_made_up_rows(name: str, load: Callable[[str], ModuleType]) -> None:
    raw, size, peak = MADE_UP[name]
    one, two = load("all").common(f"{name}.py", raw, "2026-01-31")
    assert one["chapter"] == two["chapter"] in name.replace("graph", "bmlp")
    assert one["size"] == size
    assert one["seconds"] == [0.5, 5.0]
    assert one["ratio"] == 10.0
    assert one["unit"] == "CPU s"
    assert 0 <= one["difference"] <= one["tolerance"]
    assert one["bar"] in (None, 4.0)
    assert (two["ratio"], two["bar"], two["difference"]) == (None, None, None)
    assert two["peak_gb"] == peak
    assert two["seconds"] == [2.0]
    assert two["unit"] == "GB"
    assert "9,000" in two["size"] or "20,000" in two["size"]
    for row in (one, two):
        assert row["benchmark"] == f"benchmarks/{name}.py"
        assert row["date"] == "2026-01-31"
        assert row["missed"] is False
        assert all(row[text] for text in TEXTS)


@pytest.mark.parametrize(
    ("change", "missed"),
    [({}, False), ({"bar": 11.0}, True), ({"difference": 0.1}, True), ({"difference": math.nan}, True)],
)
def test_a_row_below_its_bar_is_marked(change: dict, missed: bool, load) -> None:
    raw = {"rows": [MADE_UP["amici"][0]["rows"][0] | change], "memory": []}
    (row,) = load("all").common("amici.py", raw, "2026-01-31")
    assert row["missed"] is missed


def test_too_much_memory_is_marked_and_small_sizes_have_no_bars(load) -> None:
    raw = {"rows": [COMPARISON | {"what": "compute", "size": "", "bar": 99.0}]}
    raw["memory"] = [MADE_UP["amici"][0]["memory"][0] | {"explained_gb": 4.5}]
    every = load("all")
    assert [row["missed"] for row in every.common("amici.py", raw, "")] == [True, True]
    assert [row["missed"] for row in every.common("amici.py", raw, "", bars=False)] == [False, False]
    raw["rows"][0]["difference"] = 0.1
    assert every.common("amici.py", raw, "", bars=False)[0]["missed"]


# ---- the command


def made_up(every: ModuleType, ratio: float = 10.0) -> Callable:
    """A stand-in of `run`: one row for each benchmark."""

    def run(benchmark: str, options: str, date: str, *, bars: bool) -> list[dict]:
        raw = MADE_UP[benchmark.removesuffix(".py")][0]
        row = every.common(benchmark, raw, date)[0]
        return [row | {"ratio": ratio, "missed": ratio < (row["bar"] or 0)}]

    return run


def test_rows_are_merged_by_chapter(load, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    every, path = load("all"), tmp_path / "results.json"
    monkeypatch.setattr(every, "run", made_up(every))
    every.measure(["hopfield", "amici"], path, quick=False)
    old = json.loads(path.read_text(encoding="utf-8"))
    for row in old["rows"]:
        row["date"] = "2020-01-31"
    path.write_text(json.dumps(old), encoding="utf-8")
    monkeypatch.setattr(every, "run", made_up(every, 20.0))
    every.measure(["bmlp", "hopfield"], path, quick=False)
    new = json.loads(path.read_text(encoding="utf-8"))
    assert [r["chapter"] for r in new["rows"]] == ["bmlp"] * 3 + ["hopfield", "amici"]
    assert [r["ratio"] for r in new["rows"]] == [20.0] * 4 + [10.0]
    assert [r["date"] == "2020-01-31" for r in new["rows"]] == [False] * 4 + [True]
    assert set(new) == {"machine", "date", "versions", "rows", "memory"}
    assert not private(json.dumps(new))


def test_machines_and_versions_are_not_mixed(load, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    every, path = load("all"), tmp_path / "results.json"
    monkeypatch.setattr(every, "run", made_up(every))
    every.measure(["hopfield", "amici"], path, quick=False)
    before = path.read_bytes()
    monkeypatch.setattr(every, "machine", lambda: "another")
    with pytest.raises(
        every.Stop, match="this is {'machine': 'another'}. Run all chapters: leave out --only"
    ):
        every.measure(["hopfield"], path, quick=False)
    assert path.read_bytes() == before
    every.measure(["hopfield", "amici"], path, quick=False)
    assert json.loads(path.read_text(encoding="utf-8"))["machine"] == "another"


def test_a_missed_bar_is_stored_and_ends_with_status_1(load, tmp_path: Path, monkeypatch, capsys) -> None:
    every, path = load("all"), tmp_path / "results.json"
    monkeypatch.setattr(every, "run", made_up(every, 2.0))
    monkeypatch.setattr(sys, "argv", ["all.py", "--only", "amici", "-o", str(path)])
    with pytest.raises(SystemExit, match="^1$"):
        every.main()
    assert json.loads(path.read_text(encoding="utf-8"))["rows"][0]["missed"] is True
    assert "2.0 x  explained variance, whole table, 600 cells; one pass per head and type  BELOW THE BAR" in (
        capsys.readouterr().out
    )


def test_one_chapter_through_the_command(load, tmp_path: Path, monkeypatch, capfd) -> None:
    every, path = load("all"), tmp_path / "results.json"
    monkeypatch.setattr(sys, "argv", ["all.py", "--quick", "--only", "hopfield", "-o", str(path)])
    every.main()
    found = json.loads(path.read_text(encoding="utf-8"))
    assert [row["ratio"] > 0 for row in found["rows"]] == [True] * 3
    assert [row["ratio"] for row in found["memory"]] == [None]
    assert {row["bar"] for row in found["rows"]} == {None}
    assert "== hopfield.py --cells 4" in capfd.readouterr().out


def test_a_benchmark_that_stops_is_named(load, tmp_path: Path, monkeypatch, capfd) -> None:
    every, path = load("all"), tmp_path / "results.json"
    (tmp_path / "hopfield.py").write_text("raise SystemExit(7)", encoding="utf-8")
    monkeypatch.setattr(every, "HERE", tmp_path)
    monkeypatch.setattr(sys, "argv", ["all.py", "--only", "hopfield", "-o", str(path)])
    with pytest.raises(SystemExit, match="^2$"):
        every.main()
    assert "hopfield.py ended with status 7 and without rows" in capfd.readouterr().err
    assert not path.exists()
