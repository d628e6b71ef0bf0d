"""What a page does before the model: transform or leave, refuse early, say what was found."""

from __future__ import annotations

from pathlib import Path

import anndata
import numpy as np
import pandas as pd
import pytest
from anndata import AnnData

from scmods import scyan
from scmods._checks import MissingKeyError


@pytest.fixture(scope="module")
def raw() -> AnnData:
    return scyan.cytometry(400, 4, 6, n_batches=2, rare=0.0, unlisted=0.05, raw=True, seed=1)


def test_raw_cells_are_transformed_and_the_given_ones_left(raw: AnnData, tmp_path: Path) -> None:
    before = raw.X.copy()
    ready = scyan.prepare(raw, transform="asinh", cofactor=5.0)
    np.testing.assert_array_equal(raw.X, before)
    assert "scyan_transform" not in raw.uns
    other = raw.copy()
    scyan.asinh_transform(other, cofactor=5.0)
    scyan.scale(other)
    np.testing.assert_array_equal(ready.X, other.X)
    np.testing.assert_allclose(scyan.inverse_transform(ready), before, atol=0.05, rtol=1e-3)
    assert scyan.prepare(raw, transform="logicle").uns["scyan_transform"]["method"] == "logicle"
    again = scyan.prepare(ready)
    np.testing.assert_array_equal(again.X, ready.X)
    with pytest.raises(ValueError, match="transformed"):
        scyan.prepare(ready, transform="asinh")


def test_markers_that_the_table_lacks_stay_out_of_a_transform(raw: AnnData) -> None:
    adata = raw.copy()
    table = adata.uns["table"].drop(columns="M02")
    assert list(scyan.prepare(adata, table, transform="asinh").var_names) == [
        "M01",
        "M03",
        "M04",
        "M05",
        "M06",
    ]
    adata.X[:, 1] = np.nan  # of no concern
    assert np.isfinite(scyan.prepare(adata, table, transform="asinh").X).all()


def test_the_table_may_be_a_file_a_frame_or_in_the_cells(raw: AnnData, tmp_path: Path) -> None:
    table = raw.uns["table"]
    table.to_csv(tmp_path / "table.csv")
    ((table + 1) / 2).fillna(0).to_csv(tmp_path / "key.csv")
    for given in (None, "", table, tmp_path / "table.csv", str(tmp_path / "table.csv")):
        found = scyan.prepare(raw, given).uns["table"]
        np.testing.assert_array_equal(found, table)
        assert list(found.index) == list(table.index)
    key = scyan.prepare(raw, tmp_path / "key.csv", coding="binary").uns["table"]
    np.testing.assert_array_equal(key, table.fillna(-1))


def test_levels_of_a_table_come_back_from_columns(raw: AnnData, tmp_path: Path) -> None:
    table = raw.uns["table"].copy()
    table.insert(0, "level 1", ["T", "T", "other", "other"])
    table.to_csv(tmp_path / "table.csv")
    adata = raw.copy()
    adata.uns["table"] = table  # as a file of a run holds it
    for found in (scyan.prepare(raw, tmp_path / "table.csv"), scyan.prepare(adata)):
        known = found.uns["table"]
        assert known.index.nlevels == 2
        assert known.index.names[1] == "level 1"
        np.testing.assert_array_equal(known, raw.uns["table"])


def test_a_layer_is_read_and_backed_cells_are_loaded(raw: AnnData, tmp_path: Path) -> None:
    adata = raw.copy()
    adata.X = np.zeros_like(adata.X)
    found = scyan.prepare(adata, transform="asinh", layer="counts")
    np.testing.assert_array_equal(found.X, scyan.prepare(raw, transform="asinh").X)
    del adata.uns["truth"]
    adata.X = raw.X
    adata.write_h5ad(tmp_path / "a.h5ad")
    backed = anndata.read_h5ad(tmp_path / "a.h5ad", backed="r")
    for transform in ("none", "asinh"):
        here = scyan.prepare(backed, transform=transform)
        assert not here.isbacked
        np.testing.assert_array_equal(here.X, scyan.prepare(raw, transform=transform).X)


def test_below_zero_counts_as_zero_for_asinh(raw: AnnData) -> None:
    adata, other = raw.copy(), raw.copy()
    adata.X[:5, 0], other.X[:5, 0] = -3.0, 0.0
    np.testing.assert_array_equal(*(scyan.prepare(a, transform="asinh").X for a in (adata, other)))


def test_what_was_found_is_told(raw: AnnData) -> None:
    adata = scyan.prepare(raw, transform="asinh")
    facts = scyan.check_input(adata, label_key="cell_type", batch_key="batch")["found"]
    assert facts["cells"] == "400"
    assert facts["markers in the table"] == "6 of 6"
    assert facts["populations"] == "4"
    assert facts["batches"] == "2"
    assert facts["transform recorded"] == "asinh, scaled"
    assert facts["true labels"] == "4 of 4 populations; not in the table: ['unlisted']"
    known = int(adata.uns["table"].notna().to_numpy().sum())
    assert facts["entries known"] == f"{known} of 24"
    bare = scyan.check_input(adata)["found"]
    assert (bare["batches"], bare["true labels"]) == ("not given", "not given")


@pytest.mark.parametrize(
    ("given", "kind", "text"),
    [
        ({"transform": "log"}, ValueError, r"`transform` is 'log', but must be one of \['none', 'asinh', 'logicle'\]"),
        ({"table": "tabel.csv"}, FileNotFoundError, "'tabel.csv' does not exist"),
        ({"coding": "words"}, ValueError, "`coding` is 'words'"),
        ({"transform": "asinh", "layer": "count"}, MissingKeyError, "Did you mean 'counts'"),
        ({"transform": "asinh", "cofactor": 0.0}, ValueError, "`cofactor` is 0"),
        ({"table": pd.DataFrame({"M1": [1.0, -1.0]}, index=["a", "b"])}, ValueError, "'M1'"),
    ],
)  # fmt: skip
def test_prepare_refuses(raw: AnnData, given: dict, kind: type[Exception], text: str) -> None:
    with pytest.raises(kind, match=text):
        scyan.prepare(raw, **given)


def test_prepare_refuses_cells_that_have_no_place_on_a_scale(raw: AnnData) -> None:
    adata = raw.copy()
    adata.X[:4, 2] = np.nan
    with pytest.raises(ValueError, match=r"4 values that are NaN or infinite: \['M03 \(4\)'\]"):
        scyan.prepare(adata, transform="asinh")
    adata.X[:, 2] = 7.0
    with pytest.raises(ValueError, match=r"same value in every cell: \['M03'\]"):
        scyan.prepare(adata, transform="logicle")
    del adata.uns["table"]
    with pytest.raises(MissingKeyError, match="Give a file: table='table.csv'"):
        scyan.prepare(adata)


@pytest.mark.parametrize(
    ("given", "kind", "text"),
    [
        ({"label_key": "celltype"}, MissingKeyError, "Did you mean 'cell_type'"),
        (
            {"label_key": "batch"},
            ValueError,
            "No label of `adata.obs\\['batch'\\]` is a population.*Labels:.*P01",
        ),
        ({"batch_key": "Batch"}, MissingKeyError, "Did you mean 'batch'"),
        ({"layer": "scaled"}, MissingKeyError, r"layers\['scaled'\]` does not exist"),
        ({"n_cells": 1000}, ValueError, "has 400 cells, but at least 1000"),
    ],
)
def test_check_input_refuses(raw: AnnData, given: dict, kind: type[Exception], text: str) -> None:
    adata = scyan.prepare(raw, transform="asinh")
    with pytest.raises(kind, match=text):
        scyan.check_input(adata, **given)
    with pytest.raises(ValueError, match="like raw intensities"):
        scyan.check_input(raw)
    adata.obs_names = ["cell"] * adata.n_obs
    with pytest.raises(ValueError, match="duplicated names"):
        scyan.check_input(adata)
