"""Tables of evidence and of ratios: every named claim exists, and what an odd or absent file says."""

from __future__ import annotations

import ast
import json
import re
from pathlib import Path

import pytest

from scmods._book import evidence, notebook_file, ratios
from scmods._book.run_pages import RunPage

ROOT = Path(__file__).resolve().parents[2]
LIST = ROOT / "book" / "evidence.yml"
CHAPTERS = ("bmlp", "hopfield", "smoother", "scyan", "amici")
ROW = {
    "chapter": "bmlp",
    "what": "spectrum",
    "size": "10 x 10",
    "against": "dense",
    "ratio": 217.0,
    "bar": 50.0,
}
ROW |= {"difference": 7e-16, "unit": "CPU s", "benchmark": "benchmarks/bmlp.py", "seconds": [0.02, 4.34]}
RESULTS = {"machine": "a machine", "date": "2026-01-01", "versions": {"torch": "2.0"}, "rows": [ROW]}


def claim_patterns(chapter: str) -> list[str]:
    """A pattern for the name of every ``claim(`` call of a notebook; the parts of an f-string may be anything."""
    patterns = []
    for cell in notebook_file.code(notebook_file.read(ROOT / "notebooks" / f"{chapter}.ipynb")):
        for node in ast.walk(ast.parse(re.sub(r"^\s*[%!].*$", "", cell["source"], flags=re.M))):
            if isinstance(node, ast.Call) and ast.unparse(node.func) == "claim":
                name = node.args[0]
                parts = name.values if isinstance(name, ast.JoinedStr) else [name]
                texts = [re.escape(p.value) if isinstance(p, ast.Constant) else ".+" for p in parts]
                patterns.append("".join(texts))
    return patterns


@pytest.mark.parametrize("chapter", CHAPTERS)
def test_every_listed_claim_is_made_by_the_notebook(chapter):
    patterns = claim_patterns(chapter)
    names = [entry["claim"] for entry in evidence.read_list(LIST, chapter)]
    assert len(names) == len(set(names))
    assert [n for n in names if not any(re.fullmatch(p, n) for p in patterns)] == []


def test_the_page_has_both_tables_for_every_chapter():
    text = (ROOT / "book" / "compared.md").read_text(encoding="utf-8")
    for chapter in CHAPTERS:
        assert f"```{{scmods-evidence}} {chapter}\n" in text
        assert f"```{{scmods-ratios}} {chapter}\n" in text


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("bmlp:\n  - {claim: a, compares: b}\n", "lists no chapter 'scyan', but bmlp"),
        ("scyan:\n  - {claim: a}\n", r"needs `claim` and `compares`, but one is \{'claim': 'a'\}"),
    ],
)
def test_an_odd_list_is_refused(tmp_path, content, message):
    (tmp_path / "evidence.yml").write_text(content, encoding="utf-8")
    with pytest.raises(ValueError, match=message):
        evidence.read_list(tmp_path / "evidence.yml", "scyan")


@pytest.mark.parametrize(
    ("low", "high", "text"),
    [
        (None, None, "no bound"),
        (0.5, None, "≥ 0.5"),
        (None, 1e-10, "≤ 1e-10"),
        (2.0, 2.0, "= 2"),
        (0.03, 0.07, "0.03 to 0.07"),
    ],
)
def test_bounds_are_written_as_one_reads_them(low, high, text):
    assert evidence.bounds_text({"low": low, "high": high}) == text


def test_a_row_holds_each_page_and_claims_that_nobody_made_are_left_out():
    claim = {"name": "a", "value": 0.12345, "low": 0.1, "high": None}
    pages = [RunPage("x", Path("x"), claims=[claim]), RunPage("y", Path("y"))]
    entries = [{"claim": "a", "compares": "A"}, {"claim": "b", "compares": "B"}]
    rows = evidence._rows(entries, pages)
    texts = [[" | ".join(node.astext() for node in cell) for cell in row] for row in rows]
    assert texts == [["A | a", "0.123 | ≥ 0.1", "–"]]


def test_measurements_are_read_and_shown(tmp_path):
    path = tmp_path / "results.json"
    path.write_text(json.dumps(RESULTS), encoding="utf-8")
    found = ratios.read_results(path)
    assert ratios.caption(found) == "Measured on 2026-01-01 on a machine; torch 2.0."
    cells = [" | ".join(n.astext() for n in cell) for cell in ratios._row(found["rows"][0])]
    assert cells == [
        "spectrum | benchmarks/bmlp.py", "10 x 10", "dense", "217× | aim: 50×", "0.02 against 4.34 CPU s", "7e-16",
    ]  # fmt: skip


def test_rows_without_aim_and_difference():
    cells = ratios._row(ROW | {"bar": None, "difference": None})
    assert [len(cell) for cell in cells] == [2, 1, 1, 1, 1, 1]
    assert cells[-1][0].astext() == "–"


def test_absent_measurements_are_no_fault(tmp_path):
    assert ratios.read_results(tmp_path / "results.json") is None


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("{", "is not what benchmarks/all.py writes"),
        ('{"rows": []}', "is not what benchmarks/all.py writes.*machine"),
        (json.dumps(RESULTS | {"rows": [{"what": "w"}]}), "row 'w' lacks against, bar, benchmark, chapter"),
    ],
)
def test_odd_measurements_are_refused(tmp_path, content, message):
    (tmp_path / "results.json").write_text(content, encoding="utf-8")
    with pytest.raises(ValueError, match=message):
        ratios.read_results(tmp_path / "results.json")


def test_measurements_of_this_copy_can_be_read():
    results = ratios.read_results(ROOT / "benchmarks" / "results.json")
    for row in results["rows"] if results else []:
        assert row["chapter"] in (*CHAPTERS, "graph")
        assert (ROOT / row["benchmark"]).is_file()
