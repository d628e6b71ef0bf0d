"""One bad input, every function that reads cells and a table: each refuses it by name. And odd input that is sound."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import anndata
import numpy as np
import pandas as pd
import pytest
from anndata import AnnData
from scipy import sparse

from scmods import scyan
from scmods._checks import MissingKeyError

NAN = np.nan
CALLS: dict[str, Callable[[AnnData], object]] = {
    "Scyan": lambda a: scyan.Scyan(a, lint=False),
    "nearest_row": lambda a: scyan.nearest_row(a).labels,
    "marker_mixture": lambda a: scyan.marker_mixture(a).labels,
    "threshold_gating": lambda a: scyan.threshold_gating(a).labels,
    "check_input": lambda a: scyan.check_input(a, n_cells=2),
    "prepare": lambda a: scyan.prepare(a, transform="asinh") if a.uns.get("raw") else scyan.prepare(a),
}
LABELS = [c for c in CALLS if c not in ("Scyan", "check_input", "prepare")]
VALUES = [c for c in CALLS if c != "prepare"]  # without a transform it looks at the table only


def make(n: int = 90) -> AnnData:
    """Three populations of separate cells; labels as people write them."""
    rng = np.random.default_rng(1)
    table = pd.DataFrame(
        [[1.0, -1.0, -1.0, 1.0], [-1.0, 1.0, -1.0, NAN], [-1.0, -1.0, 1.0, -1.0]],
        index=["CD4/CD8", "18", "T cell (naïve)"], columns=["CD3", "CD19", "HLA-DR", "CD45RA"],
    )  # fmt: skip
    sign = np.where(table.isna(), 1.0, table)[np.arange(n) % 3]
    adata = AnnData(
        (sign + 0.2 * rng.normal(size=sign.shape)).astype(np.float32),
        pd.DataFrame({"truth": table.index[np.arange(n) % 3]}, index=[f"cell{i}" for i in range(n)]),
        pd.DataFrame(index=table.columns),
    )
    adata.uns["table"] = table
    return adata


def edit(**changes: Callable[[pd.DataFrame], pd.DataFrame]) -> Callable[[AnnData], AnnData]:
    def apply(adata: AnnData) -> AnnData:
        adata.uns["table"] = changes["table"](adata.uns["table"].astype(object))
        return adata

    return apply


def fill(column: int, value: float, n: int | None = None) -> Callable[[AnnData], AnnData]:
    def apply(adata: AnnData) -> AnnData:
        adata.X[:n, column] = value
        return adata

    return apply


def without_table(adata: AnnData) -> AnnData:
    del adata.uns["table"]
    return adata


def doubled(adata: AnnData) -> AnnData:
    table = adata.uns["table"]
    adata = adata[:, [0, 1, 2, 3, 0]].copy()
    adata.uns["table"] = table
    return adata


def words(table: pd.DataFrame) -> pd.DataFrame:
    return table.replace({1.0: "+", -1.0: "-"})


TABLES = {
    "no table": (without_table, MissingKeyError, r"uns\['table'\]` does not exist"),
    "missing marker": (edit(table=lambda t: t.rename(columns={"CD3": "CD3e"})), ValueError, "'CD3e'.*'CD3'"),
    "other case": (edit(table=lambda t: t.rename(columns={"HLA-DR": "hla-dr"})), ValueError, "'hla-dr'.*'HLA-DR'"),
    "row twice": (edit(table=lambda t: t.rename(index={"18": "CD4/CD8"})), ValueError, "'CD4/CD8'"),
    "empty name": (edit(table=lambda t: t.rename(index={"18": " "})), ValueError, "Row 2 has no population name"),
    "identical rows": (edit(table=lambda t: t.iloc[[0, 0, 2]].set_index(t.index)), ValueError, "CD4/CD8.*18"),
    "out of range": (edit(table=lambda t: t * 3), ValueError, r"\[-1, 1\]"),
    "0 and 1": (edit(table=lambda t: (t.astype(float) + 1) / 2), ValueError, "coding='binary'"),
    "infinite": (edit(table=lambda t: t.astype(float).replace({1.0: np.inf})), ValueError, "infinite"),
    "no rows": (edit(table=lambda t: t.iloc[:0]), ValueError, "has no rows"),
    "no columns": (edit(table=lambda t: t.iloc[:, :0]), ValueError, "has no columns"),
}  # fmt: skip
CELLS = {
    "NaN": (fill(1, NAN, 3), ValueError, r"3 values that are NaN or infinite: \['CD19 \(3\)'\]"),
    "infinite": (fill(0, np.inf, 2), ValueError, r"2 values that are NaN or infinite: \['CD3 \(2\)'\]"),
    "constant": (fill(2, 0.5), ValueError, r"same value in every cell: \['HLA-DR'\]"),
    "raw": (fill(3, 4000.0, 5), ValueError, r"largest value is 4000, marker 'CD45RA'.*asinh_transform.*logicle"),
    "no cells": (lambda a: a[:0].copy(), ValueError, "has 0 cells"),
    "doubled names": (doubled, ValueError, r"adata.var_names has 1 duplicated names: \['CD3'\]"),
    "no X": (lambda a: AnnData(None, a.obs, a.var, a.uns), MissingKeyError, "`adata.X` is empty"),
}  # fmt: skip


@pytest.mark.parametrize("bad", TABLES)
@pytest.mark.parametrize("call", CALLS)
def test_bad_tables_are_refused_by_name(call: str, bad: str) -> None:
    change, kind, text = TABLES[bad]
    with pytest.raises(kind, match=text):
        CALLS[call](change(make()))


@pytest.mark.filterwarnings("ignore:Variable names are not unique")
@pytest.mark.parametrize("bad", CELLS)
@pytest.mark.parametrize("call", VALUES)
def test_bad_cells_are_refused_by_name(call: str, bad: str) -> None:
    change, kind, text = CELLS[bad]
    with pytest.raises(kind, match=text):
        CALLS[call](change(make()))


@pytest.mark.parametrize("call", VALUES)
def test_words_in_a_table_are_refused_with_the_call_that_reads_them(call: str) -> None:
    with pytest.raises(ValueError, match=r"(?s)'\+'.*coding='symbols'"):
        CALLS[call](edit(table=words)(make()))
    adata = make()
    adata.uns["table"] = scyan.read_table(words(adata.uns["table"].astype(object)), coding="symbols")
    pd.testing.assert_frame_equal(adata.uns["table"], make().uns["table"])


@pytest.mark.parametrize("form", ["csr", "csc", "int32", "float16", "float64", "view", "backed", "markers"])
@pytest.mark.parametrize("call", LABELS)
def test_odd_but_sound_cells_get_the_same_labels(call: str, form: str, tmp_path: Path) -> None:
    adata = make()
    if form == "int32":
        adata.X = np.rint(4 * adata.X)
    elif form == "float16":
        adata.X = adata.X.astype(np.float16).astype(np.float32)
    truth = CALLS[call](adata)
    if form in ("csr", "csc"):
        adata.X = getattr(sparse, f"{form}_matrix")(adata.X)
    elif form in ("int32", "float16", "float64"):
        adata.X = adata.X.astype(form)
    elif form == "view":
        adata = anndata.concat([adata, adata[:1]], index_unique="-", uns_merge="same")[: adata.n_obs]
        assert adata.is_view
    elif form == "markers":
        more = AnnData(np.zeros((len(truth), 1), np.float32), adata.obs, pd.DataFrame(index=["Time"]))
        table = adata.uns["table"]
        adata = anndata.concat([more, adata[:, ::-1]], axis=1, merge="first")
        adata.uns["table"] = table
    else:
        adata.write_h5ad(tmp_path / "a.h5ad")
        adata = anndata.read_h5ad(tmp_path / "a.h5ad", backed="r")
    np.testing.assert_array_equal(CALLS[call](adata).to_numpy(), truth.to_numpy())
    assert set(truth.cat.categories) == {"CD4/CD8", "18", "T cell (naïve)"}


@pytest.mark.parametrize("call", LABELS)
def test_order_of_cells_rows_and_markers_does_not_matter(call: str) -> None:
    adata, truth = make(), CALLS[call](make())
    other = adata[::-1, [2, 0, 3, 1]].copy()
    other.uns["table"] = adata.uns["table"].iloc[[2, 0, 1], [3, 1, 0, 2]]
    found = CALLS[call](other)
    assert list(found.index) == list(truth.index[::-1])
    assert found.astype(str).tolist() == truth[::-1].astype(str).tolist()


def test_labels_are_right_where_populations_are_apart() -> None:
    adata = make()
    for call in ("nearest_row", "marker_mixture"):
        assert (CALLS[call](adata).astype(str) == adata.obs["truth"]).all()
    model = scyan.Scyan(adata, lint=False).fit(max_epochs=2)
    assert (model.predict(key_added=None, threshold=1.0).astype(str) == adata.obs["truth"]).all()
