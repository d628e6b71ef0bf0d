"""Files as strangers bring them run through every chapter, with the parameters that the check of the file proposes."""

from __future__ import annotations

import importlib.util
import json
import shlex
from pathlib import Path

import anndata as ad
import numpy as np
import pandas as pd
import pytest

from scmods import amici, bmlp, datasets, hopfield, scyan, smoother
from scmods._book.claims import harvest, not_held
from scmods._book.inspect_file import check_file, facts
from scmods._book.own_data import run_chapter
from scmods._book.params import assignments

_SPEC = importlib.util.spec_from_file_location("strangers", Path(__file__).with_name("strangers.py"))
strangers = importlib.util.module_from_spec(_SPEC)
_SPEC.loader.exec_module(strangers)
KEYS = {
    "bmlp": "Zell Typ",
    "hopfield": "my clusters",
    "smoother": "Région",
    "amici": "Subclass",
    "scyan": "manual gate",
    "scyan-csv": "manual gate",
}
PROPOSED = {
    "bmlp": {"cluster_key": "Zell Typ", "n_genes": "22"},
    "hopfield": {
        "cluster_key": "my clusters",
        "spliced_layer": "mature",
        "unspliced_layer": "Nascent",
        "regulators": "is TF",
    },
    "smoother": {"spatial_key": "centroids", "label_key": "Région", "layer": "UMIs"},
    "amici": {"cluster_key": "Subclass", "spatial_key": "xy_um"},
    "scyan": {"table": "markers.csv", "transform": "asinh", "label_key": "manual gate"},
    "scyan-csv": {"table": "markers.csv", "transform": "asinh", "label_key": "manual gate"},
    "scyan-fcs": {"table": "markers.csv", "transform": "asinh", "label_key": ""},
}


def proposed(chapter: str, path: Path, capsys: pytest.CaptureFixture[str]) -> dict[str, str]:
    """What a reader copies from the output of the check: the command of the chapter, as a shell would read it."""
    assert check_file(path) == 0
    lines = capsys.readouterr().out.replace("\\\n", " ").splitlines()
    (command,) = [line for line in lines if f"scmods run {chapter} " in line]
    words = shlex.split(command)
    assert words[:5] == ["python", "-m", "scmods", "run", chapter]
    assert set(words[5::2]) == {"-p"}
    return assignments([[word] for word in words[6::2]])


@pytest.mark.parametrize("name", strangers.STRANGERS)
def test_a_stranger_runs_by_the_parameters_that_the_check_proposes(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    chapter, make, quick = strangers.STRANGERS[name]
    monkeypatch.chdir(tmp_path)
    path = make(tmp_path)
    given = proposed(chapter, path, capsys)
    expected = PROPOSED[name] | {"dataset": str(path)}
    if "table" in expected:
        expected["table"] = str(tmp_path / "markers.csv")
    assert given == expected
    given |= {key: str(value) for key, value in quick.items()}
    status = run_chapter(chapter, given, out=tmp_path / "results")
    told = capsys.readouterr().out
    assert status == 0, told[-3000:]
    (folder,) = (tmp_path / "results").iterdir()
    assert not folder.name.endswith((".failed", ".running"))
    complete(folder, given)
    broken = {claim["name"] for claim in not_held(harvest(folder / "notebook.ipynb"))}
    assert broken <= MAY_FAIL.get(name, set()), "on these data only what depends on them may fail"
    if name in KEYS:
        unharmed(folder / "result.h5ad", path, KEYS[name])


# a share of few lists of few genes, in forty cells: the bound is for the data of the book
MAY_FAIL = {"bmlp": {"share of random lists with a hit"}}


def complete(folder: Path, given: dict[str, str]) -> None:
    """Everything that the page on own data promises is there, and nothing half-written."""
    names = {p.name for p in folder.iterdir()}
    assert {"report.html", "notebook.ipynb", "result.h5ad", "params.json", "versions.txt", "log.txt"} <= names
    assert not list(folder.rglob("*.part"))
    tables = list((folder / "tables").glob("*.csv"))
    assert tables
    assert all(len(pd.read_csv(table).columns) for table in tables)
    told = json.loads((folder / "params.json").read_text(encoding="utf-8"))
    assert told["ok"] is True
    assert set(told["given"]) == set(given)
    assert told["files"]["dataset"]["path"] == given["dataset"]
    page = (folder / "report.html").read_text(encoding="utf-8")
    for text in (
        "Claims, checked during the run",
        "<h2>How to cite</h2>",
        "Method: ",
        "peak memory",
        "Versions",
    ):
        assert text in page


def unharmed(result: Path, path: Path, key: str) -> None:
    """The labels of the result are those of the file, cell by cell."""
    before = scyan.read_csv(path) if path.suffix == ".csv" else ad.read_h5ad(path)
    after = ad.read_h5ad(result)
    assert after.n_obs > 50
    old = before.obs[key].astype(str).reindex(after.obs_names)
    assert (after.obs[key].astype(str) == old).all()
    assert old.nunique() >= 2


@pytest.mark.parametrize("name", ["bmlp", "hopfield", "smoother", "amici", "scyan"])
def test_strangers_are_what_they_say(name: str, tmp_path: Path) -> None:
    _, make, _ = strangers.STRANGERS[name]
    adata = ad.read_h5ad(make(tmp_path))
    counts = adata.layers.get("UMIs", adata.X)
    assert counts.dtype.kind == "i"
    assert hasattr(counts, "tocsr")
    labels = adata.obs[KEYS[name]]
    assert strangers.UNUSED in labels.cat.categories
    assert strangers.UNUSED not in set(labels)
    assert not labels.is_monotonic_increasing if labels.cat.ordered else labels.cat.codes.diff().min() < 0


@pytest.mark.parametrize(
    ("name", "look"),
    [
        ("bmlp", lambda a: bmlp.check_input(a, cluster_key="Zell Typ", n_genes=20)),
        (
            "hopfield",
            lambda a: hopfield.check_input(
                a,
                cluster_key="my clusters",
                spliced_layer="mature",
                unspliced_layer="Nascent",
                n_neighbors=10,
            ),
        ),
        (
            "smoother",
            lambda a: smoother.check_input(a, spatial_key="centroids", label_key="Région", layer="UMIs"),
        ),
        (
            "amici",
            lambda a: amici.check_input(a, cluster_key="Subclass", spatial_key="xy_um", n_neighbors=10),
        ),
        (
            "scyan",
            lambda a: scyan.check_input(
                scyan.prepare(a, Path(a.filename).parent / "markers.csv", transform="asinh"),
                label_key="manual gate",
            ),
        ),
    ],
)
@pytest.mark.filterwarnings("ignore")
def test_a_file_left_on_disk_passes_the_checks_of_its_chapter(name: str, look, tmp_path: Path) -> None:
    _, make, _ = strangers.STRANGERS[name]
    path = make(tmp_path)
    loaded = datasets.load(path)
    table = look(datasets.load(path, backed=True)) if name != "scyan" else None
    on_disk = datasets.load(path, backed=True)
    assert on_disk.isbacked
    table = look(on_disk)
    assert str(loaded.n_obs) in set(table["found"])


def test_a_large_file_is_looked_at_without_loading_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = strangers.smoother(tmp_path)

    def refuse(*_: object, **__: object) -> None:
        raise MemoryError

    monkeypatch.setattr(ad, "read_h5ad", refuse)
    assert facts(path).cells == 134


def test_coding_of_a_table_beside_the_file_is_recognised(tmp_path: Path) -> None:
    path = strangers.scyan_h5ad(tmp_path)
    table = pd.read_csv(tmp_path / "markers.csv", index_col=0)
    assert facts(path).coding == "signed"
    table.replace({-1.0: "-", 1.0: "+"}).to_csv(tmp_path / "markers.csv")
    assert facts(path).coding == "symbols"
    (table.fillna(0.0) > 0).astype(int).to_csv(tmp_path / "markers.csv")
    assert facts(path).coding == "binary"
    (tmp_path / "markers.csv").write_bytes(b"\xff\xfe\x00")
    assert facts(path).table_file == ""
    np.testing.assert_equal(facts(path).guess("table file"), "table.csv")
