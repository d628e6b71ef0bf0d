"""What a page asks before the model: values, labels, and everything that can be refused before anything slow."""

from __future__ import annotations

import warnings

import numpy as np
import pandas as pd
import pytest
from anndata import AnnData
from scipy import sparse

from scmods._checks import MissingKeyError, NumericalWarning
from scmods.amici.setup import check_input, log_normalized, merge_types

TYPES = np.array(["L2/3 IT", "CD4/CD8", "T cell (naïve)"])


def tissue(n: int = 90, genes: int = 5) -> AnnData:
    rng = np.random.default_rng(0)
    adata = AnnData(rng.random((n, genes), dtype=np.float32))
    adata.obs_names, adata.var_names = [f"c{i}" for i in range(n)], [f"g{i}" for i in range(genes)]
    adata.obs["cell_type"] = TYPES[rng.integers(3, size=n)]
    adata.obsm["spatial"] = rng.uniform(0, 95, (n, 2))
    return adata


# --- values


@pytest.mark.parametrize("form", [np.asarray, sparse.csr_matrix, sparse.csc_matrix])
def test_counts_are_scaled_to_the_median_total_and_logged(form):
    counts = np.array([[1, 3], [4, 4], [0, 0], [10, 10]], dtype=np.float32)
    out = log_normalized(AnnData(form(counts)))
    assert out.X.dtype == np.float32
    expected = np.log1p([[2, 6], [4, 4], [0, 0], [4, 4]])  # totals 4, 8, 20: the median is 8
    np.testing.assert_allclose(out.X, expected, rtol=1e-6)


def test_logged_values_stay_and_the_argument_is_not_changed():
    adata = tissue()
    adata.layers["other"] = adata.X + np.float32(0.5)
    before = adata.X.copy()
    np.testing.assert_array_equal(log_normalized(adata).X, before)
    np.testing.assert_array_equal(log_normalized(adata, "other").X, adata.layers["other"])
    np.testing.assert_array_equal(adata.X, before)


def test_negative_whole_numbers_are_not_taken_for_counts():
    adata = AnnData(np.array([[-1, 2], [0, 3]], dtype=np.float32))
    np.testing.assert_array_equal(log_normalized(adata).X, adata.X)


def test_a_backed_matrix_is_read(tmp_path):
    import anndata

    adata = tissue()
    adata.write_h5ad(tmp_path / "cells.h5ad")
    backed = anndata.read_h5ad(tmp_path / "cells.h5ad", backed="r")
    np.testing.assert_array_equal(log_normalized(backed).X, adata.X)
    backed.file.close()


def test_types_are_merged_in_a_column_and_missing_labels_stay_missing():
    adata = tissue()
    adata.obs["kind"] = pd.Series(
        (["Inhibitory Vip", "nan", None] * adata.n_obs)[: adata.n_obs], index=adata.obs_names
    )
    merged = merge_types(adata, "Neuron = inhib; Absent = nan", cluster_key="kind")
    assert merged[:3].tolist()[:2] == ["Neuron", "Absent"]
    assert merged.isna().sum() == adata.obs["kind"].isna().sum() > 0
    with pytest.raises(KeyError, match="kinds"):
        merge_types(adata, "", cluster_key="kinds")


def test_values_that_cannot_be_normalised_are_refused():
    with pytest.raises(ValueError, match="has no count at all, so there is nothing to normalise"):
        log_normalized(AnnData(np.zeros((3, 2), dtype=np.float32)))
    adata = tissue()
    adata.X[4, 2] = np.nan
    with pytest.raises(ValueError, match="The matrix holds 1 values that are NaN or infinite.*'c4'"):
        log_normalized(adata)
    with pytest.raises(MissingKeyError, match=r"layers\['counts'\]"):
        log_normalized(tissue(), "counts")


# --- labels


def test_labels_join_the_first_rule_that_they_contain():
    labels = pd.Series(["Inhibitory Vip", "pyramidal L2/3", "Vip-like IT", "Microglia"], index=list("abcd"))
    out = merge_types(labels, "Inhibitory = vip, inhib ; Excitatory = it, pyra")
    assert out.tolist() == ["Inhibitory", "Excitatory", "Inhibitory", "Microglia"]
    assert list(out.index) == list("abcd")
    assert isinstance(out.dtype, pd.CategoricalDtype)


@pytest.mark.parametrize("rules", ["", " ; "])
def test_without_rules_labels_stay(rules):
    out = merge_types(pd.Categorical(["18", "naïve", "18"]), rules)
    assert out.tolist() == ["18", "naïve", "18"]


@pytest.mark.parametrize("rule", ["Broad", "Broad = ", " = part", "Broad = , "])
def test_a_rule_without_a_part_is_refused(rule):
    with pytest.raises(ValueError, match="is not of the form 'Broad = part, other part'"):
        merge_types(["a"], rule)


def test_a_rule_that_meets_nothing_lists_the_labels():
    with pytest.raises(ValueError, match=r"The rule 'X = zz' meets no label. Labels: \['B', 'a'\]"):
        merge_types(["a", "b"], "B = b; X = zz")
    with pytest.raises(ValueError, match="'Second = b' meets no label"):
        merge_types(["a", "b"], "First = b; Second = b")


# --- everything at once


def grid() -> AnnData:
    """Cells on a square grid of step 8, types as on a chessboard."""
    x, y = np.meshgrid(np.arange(6), np.arange(4), indexing="ij")
    adata = AnnData(np.full((24, 3), 0.5, dtype=np.float32))
    adata.obs["cell_type"] = np.where((x + y).ravel() % 2, "L2/3 IT", "CD4/CD8")
    adata.obsm["spatial"] = np.column_stack([x.ravel(), y.ravel()]) * 8.0
    return adata


def test_the_facts_of_a_grid_are_known():
    adata = grid()
    before = adata.copy()
    found = check_input(adata, n_neighbors=5)["found"]
    assert found.to_dict() == {
        "cells": "24",
        "genes": "3",
        "types": "2",
        "smallest type": "CD4/CD8, 12 cells",
        "sections": "1",
        "extent": "40 x 24",
        "nearest cell of another type": "8 (median)",
        "unit of length": "1",
        "truth known": "no",
    }
    assert list(adata.obsm) == list(before.obsm)
    assert list(adata.uns) == []


def test_truth_and_sections_are_seen():
    adata = grid()
    adata.uns["interactions"] = pd.DataFrame()
    adata.obs["slide"] = np.where(adata.obsm["spatial"][:, 0] < 20, "a", "b")
    found = check_input(adata, library_key="slide", n_neighbors=3)["found"]
    assert (found["truth known"], found["sections"]) == ("yes", "2")


def test_positions_in_pixels_set_the_unit_and_say_so():
    adata = grid()
    adata.obsm["spatial"] *= 15.385
    with pytest.warns(NumericalWarning, match="expected 5 to 50: the positions may be pixels. Set unit="):
        found = check_input(adata, n_neighbors=5)["found"]
    assert 5 <= 8 * 15.385 / float(found["unit of length"]) <= 50


def test_counts_are_warned_of():
    adata = grid()
    adata.X = np.arange(72, dtype=np.float32).reshape(24, 3)
    with pytest.warns(NumericalWarning, match="looks like counts: whole numbers up to 71"):
        check_input(adata, n_neighbors=5)


def _nan_in_x(a: AnnData) -> None:
    a.X[3, 1] = np.nan


def _nan_in_layer(a: AnnData) -> None:
    a.layers["log"] = np.full(a.shape, np.inf, dtype=np.float32)


def _nan_position(a: AnnData) -> None:
    a.obsm["spatial"][2, 1] = np.inf


def _one_type(a: AnnData) -> None:
    a.obs["cell_type"] = "T"


def _no_label(a: AnnData) -> None:
    a.obs["cell_type"] = a.obs["cell_type"].where(np.arange(a.n_obs) > 1)


def _same_genes(a: AnnData) -> None:
    a.var_names = ["g0", "g0", "g1"]


def _same_cells(a: AnnData) -> None:
    a.obs_names = ["c0", "c0", *[f"c{i}" for i in range(22)]][: a.n_obs]


@pytest.mark.parametrize(
    ("spoil", "options", "kind", "text"),
    [
        (None, {"cluster_key": "kind"}, MissingKeyError, r"obs\['kind'\].*Available: \['cell_type'\]"),
        (None, {"spatial_key": "place"}, MissingKeyError, r"obsm\['place'\].*Available: \['spatial'\]"),
        (None, {"library_key": "slide"}, MissingKeyError, r"obs\['slide'\].*column of sections"),
        (None, {"layer": "lgo"}, MissingKeyError, r"layers\['lgo'\]"),
        (None, {"n_neighbors": 13}, ValueError, "have 12 cells of other types.*n_neighbors=12"),
        (None, {"n_neighbors": 0}, ValueError, "`n_neighbors` is 0, but must be at least 1"),
        (None, {"n_neighbors": 2.5}, TypeError, "`n_neighbors` is 2.5"),
        (_nan_in_x, {}, ValueError, r"X` holds 1 values that are NaN.*first: cell '3', gene '1'"),
        (_nan_in_layer, {"layer": "log"}, ValueError, r"layers\['log'\]` holds 72 values"),
        (_nan_position, {}, ValueError, r"positions for 1 cells; first: \['2'\]"),
        (_one_type, {}, ValueError, "needs at least two types: neighbours are cells of another type"),
        (_no_label, {}, ValueError, "2 missing labels of 24"),
        (_same_genes, {}, ValueError, r"adata.var_names has 1 duplicated names: \['g0'\]"),
        (_same_cells, {}, ValueError, r"adata.obs_names has \d+ duplicated names: \['c0'"),
    ],
)
def test_what_the_data_cannot_serve_is_refused(spoil, options, kind, text):
    adata = grid()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        if spoil is not None:
            spoil(adata)
        with pytest.raises(kind, match=text):
            check_input(adata, **{"n_neighbors": 5, **options})


@pytest.mark.parametrize(
    "labels", [np.arange(24) % 2, [1, "a"] * 12, ["A/B", "CON: x"] * 12], ids=["numbers", "mixed", "signs"]
)
def test_unusual_labels_become_text(labels):
    adata = grid()
    adata.obs["cell_type"] = pd.Series(list(labels), index=adata.obs_names, dtype=object)
    assert check_input(adata, n_neighbors=3)["found"]["types"] == "2"


def test_three_dimensions_and_tables_of_positions_are_taken():
    adata = grid()
    flat = adata.obsm["spatial"]
    adata.obsm["table"] = pd.DataFrame(flat, index=adata.obs_names, columns=["x", "y"])
    adata.obsm["deep"] = np.column_stack([flat, np.zeros(24)])
    assert check_input(adata, spatial_key="table", n_neighbors=3)["found"]["extent"] == "40 x 24"
    assert check_input(adata, spatial_key="deep", n_neighbors=3)["found"]["extent"] == "40 x 24 x 0"
