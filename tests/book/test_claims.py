"""Claims, tables and results that a notebook hands over; the key of a run."""

from __future__ import annotations

import math
from pathlib import Path

import anndata as ad
import numpy as np
import pandas as pd
import pytest

from scmods._book import claims, notebook_file
from scmods._book.claims import ClaimError, claim, drop_values, harvest, save_result, save_table
from scmods._book.content_key import HOME, content_key, file_hash, imported_files, registry_rows, versions


@pytest.fixture
def published(monkeypatch: pytest.MonkeyPatch) -> list[tuple[dict, dict]]:
    shown: list[tuple[dict, dict]] = []
    monkeypatch.setattr(claims, "_publish", lambda data, metadata: shown.append((data, metadata)))
    return shown


@pytest.mark.parametrize(
    ("value", "low", "high", "text"),
    [
        (0.93, 0.9, None, "score: within [0.9, ...]"),
        (0.93, None, 1.0, "score: within [..., 1]"),
        (0.9, 0.9, 0.9, "score: within [0.9, 0.9]"),
        (np.float32(3), 1, 5, "score: within [1, 5]"),
        (np.array(3), None, None, "score: within [..., ...]"),
    ],
)
def test_text_holds_the_bounds_and_metadata_the_value(published: list, value, low, high, text) -> None:
    claim("score", value, low=low, high=high)
    ((data, metadata),) = published
    assert data == {"text/plain": text}
    assert metadata["claim"] == {
        "name": "score",
        "value": pytest.approx(float(value)),
        "low": low,
        "high": high,
    }


@pytest.mark.parametrize(
    ("value", "low", "high", "text"),
    [
        (0.89, 0.9, None, r"score: 0.89 is outside \[0.9, \.\.\.\]"),
        (2, None, 1, r"score: 2 is outside \[\.\.\., 1\]"),
        (math.nan, None, None, r"score: nan is outside"),
        (math.inf, 0, None, r"score: inf is outside"),
    ],
)
def test_outside_the_bounds_raises_and_stores_nothing(published: list, value, low, high, text) -> None:
    with pytest.raises(ClaimError, match=text):
        claim("score", value, low=low, high=high)
    assert not published
    assert issubclass(ClaimError, AssertionError)


def test_nonsense_claims_are_refused() -> None:
    with pytest.raises(ValueError, match="low=2 above high=1. Swap"):
        claim("score", 1, low=2, high=1)
    with pytest.raises(ValueError, match="name of a claim is empty"):
        claim(" ", 1)
    with pytest.raises(ValueError, match="`bound` is nan"):
        claim("score", 1, low=math.nan)


def test_on_own_data_a_value_outside_is_told_and_stored(published: list, monkeypatch) -> None:
    monkeypatch.setenv("SCMODS_CLAIMS", "tell")
    claim("score", 0.5, low=0.9)
    claim("ratio", math.nan, high=1)
    claim("share", 0.2, high=1)
    (first, one), (_, two), (third, _) = published
    assert first == {"text/plain": "NOT HELD on these data: score: 0.5 is outside [0.9, ...]"}
    assert third == {"text/plain": "share: within [..., 1]"}
    assert one["claim"] == {"name": "score", "value": 0.5, "low": 0.9, "high": None}
    assert two["claim"]["value"] is None, "JSON has no NaN"
    assert [c["name"] for c in claims.not_held([m["claim"] for _, m in published])] == ["score", "ratio"]


def test_outside_a_notebook_a_claim_prints(capsys: pytest.CaptureFixture[str]) -> None:
    claim("score", 0.93, low=0.9)
    assert capsys.readouterr().out == "score: within [0.9, ...]\n"


def test_harvest_finds_claims_in_order(tmp_path: Path) -> None:
    stored = [{"name": n, "value": 1.0, "low": None, "high": 2.0} for n in "ba"]
    cells = [{"cell_type": "markdown", "source": ""}]
    cells += [{"outputs": [{"metadata": {"claim": s}}, {"output_type": "stream"}]} for s in stored]
    path = tmp_path / "n.ipynb"
    notebook_file.write_if_changed(path, {"cells": cells})
    assert harvest(path) == stored
    assert harvest({"cells": cells[:1]}) == []


def test_values_are_dropped_from_sources_and_nothing_else(tmp_path: Path) -> None:
    stored = {"name": "a", "value": 1.0, "low": None, "high": 2.0}
    cells = [{"source": "x", "outputs": [{"metadata": {"claim": stored}, "data": {"text/plain": "a"}}]}]
    path = tmp_path / "n.ipynb"
    notebook_file.write_if_changed(path, {"cells": cells})
    assert drop_values(path)
    assert harvest(path) == [{"name": "a", "low": None, "high": 2.0}]
    assert not drop_values(path)


def test_tables_are_shown_short_and_saved_whole(published: list, tmp_path: Path, monkeypatch) -> None:
    table = pd.DataFrame({"gene": [f"g{i} <x>" for i in range(30)], "score": np.arange(30) / 7})
    save_table("top_genes", table)
    assert not list(tmp_path.iterdir())
    monkeypatch.setenv("SCMODS_RUN_DIR", str(tmp_path))
    save_table("top_genes", table, show=False)
    ((data, _),) = published
    assert "<caption>top genes (first 12 of 30 rows)</caption>" in data["text/html"]
    assert "g11 &lt;x&gt;" in data["text/html"]
    assert "g12" not in data["text/html"]
    pd.testing.assert_frame_equal(pd.read_csv(tmp_path / "tables" / "top_genes.csv"), table)
    assert [p.name for p in (tmp_path / "tables").iterdir()] == ["top_genes.csv"]


def test_row_labels_of_a_table_are_kept(tmp_path: Path, monkeypatch, published: list) -> None:
    monkeypatch.setenv("SCMODS_RUN_DIR", str(tmp_path))
    save_table("t", pd.DataFrame({"a": [1, 2]}, index=["CD4/CD8", "18"]))
    assert (tmp_path / "tables" / "t.csv").read_text().splitlines()[1] == "CD4/CD8,1"


def test_unusable_tables_and_results_are_refused() -> None:
    with pytest.raises(ValueError, match=r"'a/b' is not a file name everywhere.*save_table\('a_b', table\)"):
        save_table("a/b", pd.DataFrame())
    with pytest.raises(TypeError, match="`table` is a list, but must be a pandas DataFrame"):
        save_table("a", [1])
    with pytest.raises(TypeError, match="`adata` is a list, but must be an AnnData"):
        save_result([1])


def test_result_is_written_only_in_a_run_with_a_folder(tmp_path: Path, monkeypatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("SCMODS_RUN_DIR", raising=False)
    adata = ad.AnnData(np.eye(3, dtype=np.float32))
    save_result(adata)
    assert not list(tmp_path.iterdir())
    monkeypatch.setenv("SCMODS_RUN_DIR", str(tmp_path))
    save_result(adata)
    assert [p.name for p in tmp_path.iterdir()] == ["result.h5ad"]
    assert (ad.read_h5ad(tmp_path / "result.h5ad").X == adata.X).all()


def test_rows_with_levels_become_columns_of_the_file_alone(tmp_path: Path, monkeypatch) -> None:
    monkeypatch.setenv("SCMODS_RUN_DIR", str(tmp_path))
    adata = ad.AnnData(np.eye(3, dtype=np.float32))
    index = pd.MultiIndex.from_arrays([["CD4/CD8", "B"], ["T", "B"]], names=["population", "level 1"])
    adata.uns["table"] = pd.DataFrame({"CD3": [1.0, -1.0]}, index=index)
    adata.uns["flat"] = pd.DataFrame({"a": [1]}, index=["x"])
    save_result(adata)
    assert adata.uns["table"].index.equals(index)
    found = ad.read_h5ad(tmp_path / "result.h5ad").uns
    assert found["table"].index.tolist() == ["CD4/CD8", "B"]
    assert found["table"]["level 1"].tolist() == ["T", "B"]
    assert found["flat"].index.tolist() == ["x"]


# ---- the key ----------------------------------------------------------------------------------------------


def code_notebook(*code: str, prose: str = "words") -> dict:
    cells = [{"cell_type": "markdown", "source": prose, "metadata": {}}]
    first = {"cell_type": "code", "source": 'dataset: str = "toy"  # x', "metadata": {"tags": ["parameters"]}}
    cells += [first] + [{"cell_type": "code", "source": c, "metadata": {}} for c in code]
    return {"nbformat": 4, "cells": cells, "metadata": {}}


def test_key_changes_with_what_matters_and_only_with_that(tmp_path: Path) -> None:
    (tmp_path / "mod_a.py").write_text("X = 1\n")
    (tmp_path / "mod_b.py").write_text("X = 1\n")
    (tmp_path / "data.csv").write_text("1\n")
    registry = tmp_path / "registry.csv"
    registry.write_text("key,sha256,dataset\nf.rda,abc,toy\ng.rda,def,other\n")
    base = code_notebook("import mod_a")

    def key(notebook: dict = base, given: dict | None = None) -> str:
        return content_key(notebook, given or {}, root=tmp_path, registry=registry)

    first = key()
    assert len(first) == 24
    assert key(code_notebook("import mod_a", prose="other words")) == first
    assert key(given={"dataset": "toy"}) == first
    assert key(given={"dataset": "none"}) != first
    assert key(code_notebook("import mod_a  # x")) != first
    (tmp_path / "mod_b.py").write_text("X = 2\n")
    assert key() == first
    registry.write_text("key,sha256,dataset\nf.rda,abc,toy\ng.rda,XXX,other\n")
    assert key() == first
    registry.write_text("key,sha256,dataset\nf.rda,XXX,toy\n")
    assert key() != first
    with_file = key(given={"dataset": "data.csv"})
    (tmp_path / "data.csv").write_text("2\n")
    assert key(given={"dataset": "data.csv"}) != with_file
    before = key()
    (tmp_path / "mod_a.py").write_text("X = 2\n")
    assert key() != before


@pytest.fixture
def package(tmp_path: Path) -> Path:
    files = {
        "pack/__init__.py": "_NAMES = {'claim': 'pack.deep.claims'}\ndef __getattr__(name): ...\n",
        "pack/deep/__init__.py": "",
        "pack/deep/claims.py": "",
        "pack/one.py": "def f():\n    from .two import g\n    return g\n",
        "pack/two.py": "from importlib import import_module\nimport_module('pack.three')\n",
        "pack/three.py": "",
        "pack/never.py": "",
        "pack/lazy/__init__.py": "def __getattr__(name): ...\n",
        "pack/lazy/inside.py": "from ..deep import claims\n",
    }
    for name, text in files.items():
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text(text)
    return tmp_path


@pytest.mark.parametrize(
    ("source", "names"),
    [
        ("import pack", "__init__"),
        ("import numpy", ""),
        ("from pack import one", "__init__ one two three"),
        ("import pack.two", "__init__ two three"),
        ("%matplotlib inline\nimport pack as p\np.three.x", "__init__ three"),
        ("from pack import claim", "__init__ deep/__init__ deep/claims"),
        ("import pack\npack.claim(1)", "__init__ deep/__init__ deep/claims"),
        ("import pack.lazy", "__init__ lazy/__init__ lazy/inside deep/__init__ deep/claims"),
    ],
)
def test_imports_are_followed(package: Path, source: str, names: str) -> None:
    found = {
        p.relative_to(package / "pack").with_suffix("").as_posix() for p in imported_files(source, [package])
    }
    assert found == set(names.split())


def test_the_lazy_names_of_this_package_are_followed() -> None:
    found = {p.relative_to(HOME).as_posix() for p in imported_files("from scmods import claim", [HOME])}
    assert found == {
        "scmods/__init__.py",
        "scmods/_book/__init__.py",
        "scmods/_book/claims.py",
        "scmods/_checks.py",
    }


def test_registry_rows_by_name_and_by_column(tmp_path: Path) -> None:
    path = tmp_path / "r.csv"
    path.write_text(
        "key,sha256,dataset\nset_counts.rda,a,\nset.h5ad,b,\nsettle.csv,c,\nx.rda,d,set\ny.rda,e,no\n"
    )
    assert [r["sha256"] for r in registry_rows(["set"], path)] == ["a", "b", "d"]
    assert registry_rows(["set"], tmp_path / "absent.csv") == []


def test_versions_and_hashes(tmp_path: Path) -> None:
    assert versions()["numpy"] == np.__version__
    (tmp_path / "f").write_bytes(b"abc")
    assert file_hash(tmp_path / "f") == "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"


def test_a_claim_without_bounds_is_reported_and_not_counted() -> None:
    from scmods._book.claims import n_held

    one = {"name": "a", "value": 1.0}
    assert (
        n_held(
            [
                one | {"low": None, "high": None},
                one | {"low": 0, "high": None},
                one | {"low": None, "high": 2},
            ]
        )
        == 2
    )
    assert n_held([]) == 0
