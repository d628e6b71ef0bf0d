"""Explained variance: reference values, the low-rank route against whole predictions, the API, and bad input."""

from __future__ import annotations

import json
import warnings
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from scmods._checks import MissingKeyError, NumericalWarning
from scmods.amici import _explained_cells, _type_tests
from scmods.amici._example import example_outputs
from scmods.amici._explained_options import min_n_permutations
from scmods.amici._type_tests import Field, head_fields
from scmods.amici.explained import AMICIExplainedVarianceModule, ExplainedVariance, explained_variance_table
from scmods.amici.heads import check_heads

REFERENCE = Path(__file__).parent.parent / "data" / "amici_statistics.npz"
NAMES = ["L2/3 IT", "CD4/CD8", "18"]


@pytest.fixture(scope="module")
def ref() -> dict[str, np.ndarray]:
    with np.load(REFERENCE) as file:
        return {k: file[k] for k in file}


@pytest.fixture(scope="module")
def arrays(ref) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Predictions (heads, cells, genes), targets and labels of the reference."""
    return ref["predictions"].reshape(3, 120, 8), ref["targets"].reshape(120, 8), np.repeat(NAMES, 40)


class Model:
    """What `compute` needs of a fitted model, around fixed outputs."""

    def __init__(self, n: int = 90, seed: int = 0, **sizes) -> None:
        self.outputs = example_outputs(n, seed=seed, **sizes)
        self.types, self.genes = self.outputs.type_names, self.outputs.genes
        self.held_out = np.arange(n) % 3 != 1 if n > 3 else np.ones(n, dtype=bool)
        self.held_out = np.arange(n) < 2 * n // 3
        self.labels = self.outputs.types
        self.asked: list[int] = []

    @property
    def recipe(self):
        return type("Recipe", (), {"n_heads": self.outputs.n_heads})

    def heads(self, adata=None, cells=None):
        out = self.outputs if cells is None else self.outputs.subset(cells)
        self.asked.append(len(out))
        return out


@pytest.fixture
def model() -> Model:
    return Model()


@pytest.fixture
def result(arrays) -> ExplainedVariance:
    return ExplainedVariance.from_predictions(*arrays, seed=1)


def grid(result: ExplainedVariance, column: str) -> np.ndarray:
    """(heads, types) of a column."""
    table = result.summary()
    heads = table["head"].nunique()
    return table[column].to_numpy().reshape(heads, -1)


# --- numbers


def test_explained_variance_equals_the_reference(ref, result):
    gene = result.explained_variance_df["expl_var_head_gene"].to_numpy().reshape(3, 3, 8)
    np.testing.assert_allclose(gene, ref["ev_gene"], rtol=1e-9, atol=1e-12)
    np.testing.assert_allclose(grid(result, "expl_var_head"), ref["ev_aggregate"], rtol=1e-9)
    assert (gene[:, 1, 7] == 0).all()  # a gene without variance


def test_closed_form_p_equals_the_reference_and_is_adjusted_by_position(ref, arrays):
    found = ExplainedVariance.from_predictions(*arrays, method="pearson3")
    np.testing.assert_allclose(grid(found, "p_value_head"), ref["p_pearson3"], rtol=1e-6)
    assert found.n_permutations is None
    assert np.isnan(grid(found, "p_value_max_head")).all()
    from scmods.stats import benjamini_hochberg

    expected = benjamini_hochberg(ref["p_pearson3"].ravel()).reshape(3, 3)
    np.testing.assert_allclose(grid(found, "p_value_adj_head"), expected, rtol=1e-6)


def test_adjustment_equals_the_reference(ref):
    from scmods.amici._explained_table import adjusted

    np.testing.assert_allclose(adjusted(ref["p_add_one"]), ref["bh_p_add_one"], rtol=1e-12)
    with_gap = np.append(ref["p_add_one"].ravel(), np.nan)
    np.testing.assert_allclose(adjusted(with_gap)[:-1], ref["bh_p_add_one"].ravel(), rtol=1e-12)
    assert np.isnan(adjusted(np.array([np.nan]))).all()


def test_permutation_p_is_near_the_reference_and_never_zero(ref, result):
    p = grid(result, "p_value_head")
    np.testing.assert_allclose(p, ref["p_pearson3"], atol=0.04)
    assert p.min() == pytest.approx(1 / (result.n_permutations + 1))
    assert result.n_permutations == 10 * min_n_permutations(3, 3, 0.05) == 1800


def test_tiny_types_are_enumerated(ref):
    with pytest.warns(NumericalWarning, match="Negative explained variance"):
        found = ExplainedVariance.from_predictions(
            ref["tiny_prediction"], ref["tiny_target"], n_permutations=5000
        )
    assert grid(found, "p_value_head")[0, 0] == pytest.approx(ref["tiny_p_exact"], rel=1e-12)
    assert found.null["all"].exact


def test_constant_prediction_explains_nothing_with_p_one(ref, arrays):
    p, y, labels = arrays
    p = p.copy()
    p[0] = 7.0
    found = ExplainedVariance.from_predictions(p, y, labels)
    for name, value in (("expl_var_head", 0), ("r2_head", 0), ("p_value_head", 1), ("p_value_max_head", 1)):
        np.testing.assert_array_equal(grid(found, name)[0], value)
    assert (found.explained_variance_df.query("head == 0")["p_value_gene"] == 1).all()


def test_a_prediction_that_varies_little_is_still_tested_exactly():
    rng = np.random.default_rng(0)
    y = rng.normal(size=(60, 3))
    p = 1.0 + 1e-7 * y
    assert explained_variance_table(p, y, n_permutations=999)["p_value_head"][0] == 1 / 1000


def test_r2_has_no_scale_and_slope_gives_it_back():
    rng = np.random.default_rng(1)
    y = rng.normal(size=(200, 4))
    p = y + rng.normal(size=(200, 4))
    with pytest.warns(
        NumericalWarning, match="Negative explained variance although the test calls it: .*head 1"
    ):
        found = ExplainedVariance.from_predictions(np.stack([p / 2, 3 * p]), y, n_permutations=399)
    table = found.summary()
    assert table["expl_var_head"][0] > 0 > table["expl_var_head"][1]
    assert table["r2_head"][0] == pytest.approx(table["r2_head"][1])
    assert table["p_value_head"].tolist() == [1 / 400, 1 / 400]
    best = ExplainedVariance.from_predictions(3 * p * table["slope_head"][1], y, n_permutations=399).summary()
    assert best["expl_var_head"][0] == pytest.approx(best["r2_head"][0])
    np.testing.assert_allclose(table["slope_head"][0] / table["slope_head"][1], 6.0)


def test_scaled_statistic_hears_many_quiet_genes():
    rng = np.random.default_rng(2)
    y = rng.normal(size=(100, 20))
    p = 0.1 * y + 0.2 * rng.normal(size=y.shape)
    y[:, 0] *= 100
    p[:, 0] = 10 * rng.normal(size=100)
    plain, scaled = (
        ExplainedVariance.from_predictions(p, y, method="pearson3", scaled=s).summary() for s in (False, True)
    )
    assert scaled["p_value_head"][0] < 1e-4 < plain["p_value_head"][0]
    assert scaled["expl_var_head"][0] == plain["expl_var_head"][0]
    # the same as scaling the data
    sd = y.std(axis=0, ddof=1)
    by_hand = ExplainedVariance.from_predictions(p / sd, y / sd, method="pearson3").summary()
    assert scaled["p_value_head"][0] == pytest.approx(by_hand["p_value_head"][0], rel=1e-9)


def test_gene_p_is_that_of_the_gene_alone(arrays):
    p, y, labels = arrays
    whole = explained_variance_table(p, y, labels, method="pearson3")
    for gene in (0, 3, 7):
        alone = explained_variance_table(
            p[:, :, [gene]], y[:, [gene]], labels, method="pearson3", genes=[str(gene)]
        )
        rows = whole[whole["gene"] == str(gene)].reset_index(drop=True)
        there = alone["p_value_head"].notna()
        np.testing.assert_allclose(rows["p_value_gene"][there], alone["p_value_head"][there], rtol=1e-9)
        assert (rows["p_value_gene"][~there] == 1).all()  # type without variance in this gene


def test_gene_p_is_adjusted_within_head_and_type(result):
    from scmods.stats import benjamini_hochberg

    for _, rows in result.explained_variance_df.groupby(["head", "ct_name"]):
        np.testing.assert_allclose(rows["p_value_adj_gene"], benjamini_hochberg(rows["p_value_gene"]))


# --- the low-rank route


def test_low_rank_fields_are_the_predictions_of_single_heads(model):
    out = model.outputs
    for kind in range(3):
        part = out.subset(np.flatnonzero(out.types == kind))
        for head, found in enumerate(head_fields(part, range(out.n_heads))):
            assert found.loadings.shape == (5, out.z.shape[2] + 1)
            constant = out.readout.type_means[kind] + out.readout.gene_out @ out.readout.norm_bias
            np.testing.assert_allclose(
                found.coordinates @ found.loadings.T + constant, part.predict([head]), atol=1e-12
            )


@pytest.mark.parametrize("options", [{}, {"scaled": True}, {"method": "pearson3"}])
@pytest.mark.parametrize("n_genes", [2, 40])
def test_low_rank_route_equals_whole_predictions(options, n_genes):
    model = Model(n_genes=n_genes)
    out = model.outputs
    fast = ExplainedVariance.compute(model, n_permutations=200, seed=5, **options)
    rows = np.flatnonzero(model.held_out)
    whole = np.stack([out.predict([h])[rows] for h in range(2)])
    labels = [out.type_names[t] for t in out.types[rows]]
    slow = ExplainedVariance.from_predictions(
        whole, out.observed[rows], labels, genes=out.genes, n_permutations=200, seed=5, **options
    )
    pd.testing.assert_frame_equal(
        fast.explained_variance_df, slow.explained_variance_df, rtol=1e-8, atol=1e-9
    )


def test_arrays_of_low_rank_are_recognised_and_full_ones_are_not():
    rng = np.random.default_rng(3)
    low = rng.normal(size=(150, 9)) @ rng.normal(size=(9, 140))
    inner, basis = _type_tests._thin(low)
    assert basis.shape == (140, 9)
    np.testing.assert_allclose(inner @ basis.T, low, atol=1e-10)
    assert _type_tests._thin(low + 1e-6 * rng.normal(size=low.shape)) is None
    y = rng.normal(size=low.shape)
    pair, y = _type_tests._pair(Field(low - low.mean(0)), y - y.mean(0), None), y - y.mean(0)
    assert pair.observed == pytest.approx(np.vdot(low - low.mean(0), y), rel=1e-9)


def test_blocks_of_genes_change_nothing(monkeypatch, model):
    whole = ExplainedVariance.compute(model, method="pearson3").explained_variance_df
    monkeypatch.setattr(_type_tests, "BLOCK", 20)
    pd.testing.assert_frame_equal(
        ExplainedVariance.compute(model, method="pearson3").explained_variance_df, whole
    )


def test_a_forward_per_type_gives_the_same(monkeypatch, model):
    whole = ExplainedVariance.compute(model, method="pearson3").explained_variance_df
    assert model.asked == [60]
    monkeypatch.setattr(_explained_cells, "AT_ONCE", 10)
    parts = ExplainedVariance.compute(model, method="pearson3").explained_variance_df
    assert model.asked == [60, 20, 20, 20]
    pd.testing.assert_frame_equal(parts, whole, rtol=1e-12)


@settings(max_examples=15)
@given(st.integers(0, 10_000))
def test_explained_variance_is_that_of_the_definition(seed):
    rng = np.random.default_rng(seed)
    p, y = rng.normal(size=(2, 12, 4)) * rng.uniform(0.1, 3, 4)
    table = explained_variance_table(p, y, run_permutation_test=False)
    left, total = (y - p).var(axis=0, ddof=1), y.var(axis=0, ddof=1)
    np.testing.assert_allclose(table["expl_var_head_gene"], 1 - left / total, rtol=1e-9, atol=1e-12)
    assert table["expl_var_head"][0] == pytest.approx(1 - left.sum() / total.sum(), rel=1e-9, abs=1e-12)
    assert table["r2_head"][0] >= table["expl_var_head"][0] - 1e-12


# --- nulls


def test_spatial_nulls_are_seeded_and_not_the_free_one(arrays):
    coords = np.random.default_rng(4).uniform(size=(120, 2)) * 100
    found = {}
    for null in ("free", "block", "mirror", "toroidal"):
        one, two = (
            ExplainedVariance.from_predictions(*arrays, coords=coords, null=null, n_permutations=199, seed=9)
            for _ in range(2)
        )
        pd.testing.assert_frame_equal(one.explained_variance_df, two.explained_variance_df)
        found[null] = grid(one, "p_value_head")
        assert (found[null] >= 1 / 200).all()
    assert len({tuple(p.ravel()) for p in found.values()}) == 4
    strong = found["free"] < 0.01
    assert all((p[strong] < 0.1).all() for p in found.values())


def test_blocks_take_out_what_differs_between_them():
    rng = np.random.default_rng(5)
    coords = rng.uniform(size=(200, 2)) * 100
    layer = (coords[:, :1] > 50).astype(float)
    p, y = layer + 0.1 * rng.normal(size=(200, 3)), layer + rng.normal(size=(200, 3))
    with pytest.warns(NumericalWarning, match=r"smooth over the tissue in \['all'\].*null=\"mirror\""):
        free = explained_variance_table(p, y, coords=coords, n_permutations=399)
    sections = (coords[:, 0] > 50).astype(int)
    for method in ("permutation", "pearson3"):
        block = explained_variance_table(
            p,
            y,
            coords=coords,
            sections=sections,
            null="block",
            block_size=1000.0,
            n_permutations=399,
            method=method,
        )
        assert free["p_value_head"][0] == 1 / 400
        assert block["p_value_head"][0] > 0.05
        assert block["p_value_gene"].min() > 0.01


def test_gene_p_of_shifts_is_counted(arrays):
    p, y, _ = arrays
    coords = np.random.default_rng(6).uniform(size=(120, 2))
    table = explained_variance_table(y[None] + 0 * p[:1], y, coords=coords, null="mirror", n_permutations=99)
    assert table["p_value_gene"].min() == 1 / 100
    assert ((table["p_value_gene"] * 100).round(9) % 1 == 0).all()


# --- cells of a model


def test_held_out_cells_are_the_default(model):
    found = ExplainedVariance.compute(model, n_permutations=200)
    assert found.compute_kwargs["cells"] == "held_out"
    assert found.summary()["n_cells"].tolist() == [20] * 6
    with pytest.warns(NumericalWarning, match="cells='train': the model was fitted to these cells"):
        train = ExplainedVariance.compute(model, n_permutations=200, cells="train")
    assert train.summary()["n_cells"].tolist() == [10] * 6
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        ExplainedVariance.compute(model, run_permutation_test=False, cells="all")
    given_cells = ExplainedVariance.compute(model, n_permutations=200, cells=np.arange(30))
    assert given_cells.compute_kwargs["cells"] == "given"


def test_no_held_out_cells_is_refused(model):
    model.held_out[:] = False
    with pytest.raises(ValueError, match=r"fitted to all its cells.*held_out=amici.strip\(adata\)"):
        ExplainedVariance.compute(model)
    model.held_out[:] = True
    with pytest.raises(ValueError, match="None of these cells was trained on"):
        ExplainedVariance.compute(model, cells="train")
    assert (
        ExplainedVariance.compute(model, n_permutations=200, cells="all").compute_kwargs["cells"]
        == "held_out"
    )


def test_heads_and_types_can_be_chosen(model):
    whole = ExplainedVariance.compute(model, method="pearson3").explained_variance_df
    some = ExplainedVariance.compute(model, method="pearson3", heads=[1], types=["L2/3 IT"])
    rows = whole[(whole["head"] == 1) & (whole["ct_name"] == "L2/3 IT")].reset_index(drop=True)
    columns = ["head", "ct_name", "gene", "expl_var_head_gene", "p_value_head", "p_value_gene"]
    pd.testing.assert_frame_equal(some.explained_variance_df[columns], rows[columns])
    assert some.compute_kwargs["n_tests"] == 1
    with pytest.raises(ValueError, match="`types` is 'L2', but must be one of"):
        ExplainedVariance.compute(model, types=["L2"])
    with pytest.raises(TypeError, match=r"Write types=\['CD4/CD8'\]"):
        ExplainedVariance.compute(model, types="CD4/CD8")
    with pytest.raises(ValueError, match="`heads` is 2, but must be at least 0 and at most 1"):
        ExplainedVariance.compute(model, heads=[2])
    with pytest.raises(ValueError, match="`heads`"):
        check_heads([5], 2)


def test_spatial_null_without_positions_is_refused(model, arrays):
    with pytest.raises(ValueError, match="no positions of its cells"):
        ExplainedVariance.compute(model, null="mirror")
    with pytest.raises(ValueError, match="A spatial null needs positions: coords="):
        ExplainedVariance.from_predictions(*arrays, null="block")


# --- few cells, bad values


def test_types_with_few_cells_or_no_variance_are_listed_with_a_reason():
    rng = np.random.default_rng(7)
    y = rng.normal(size=(30, 3))
    y[20:25] = 1.0
    labels = ["a"] * 20 + ["flat"] * 5 + ["two"] * 2 + ["three"] * 3
    found = ExplainedVariance.from_predictions(rng.normal(size=(2, 30, 3)), y, labels)
    assert found.skipped == {
        "flat": "no gene varies between the cells tested",
        "two": "2 of the cells tested, at least 3 are needed",
    }
    table = found.summary()
    for name in ("flat", "two"):
        rows = table[table["ct_name"] == name]
        assert rows[["expl_var_head", "r2_head", "p_value_head", "p_value_adj_head"]].isna().all(axis=None)
        assert (rows["reason"] == found.skipped[name]).all()
        with pytest.raises(ValueError, match=f"No head explains '{name}'"):
            found.compute_max_explained_variance_head(name)
    assert table[~table["ct_name"].isin(found.skipped)]["p_value_head"].notna().all()
    # the p of three cells are those of six orders
    p = table[table["ct_name"] == "three"]["p_value_head"].to_numpy()
    np.testing.assert_allclose(p * 6, np.round(p * 6))


def test_empty_type_of_a_model_is_listed(model):
    model.held_out &= model.labels != 0
    found = ExplainedVariance.compute(model, method="pearson3")
    assert found.skipped == {"CD4/CD8": "0 of the cells tested, at least 3 are needed"}
    assert found.compute_max_explained_variance_head("L2/3 IT") in (0, 1)


@pytest.mark.parametrize("bad", [np.nan, np.inf])
def test_values_that_are_not_finite_are_refused(arrays, bad):
    p, y, labels = (a.copy() for a in arrays)
    y[3, 2] = bad
    with pytest.raises(ValueError, match="`targets` holds 1 values that are NaN or infinite"):
        ExplainedVariance.from_predictions(p, y, labels)
    with pytest.raises(ValueError, match="`predictions` holds 1 values"):
        ExplainedVariance.from_predictions(np.where(np.arange(8) == 2, y, p[0])[None], arrays[1], labels)


def test_nan_of_a_model_is_refused(model):
    observed = model.outputs.observed.copy()
    observed[0, 0] = np.nan
    object.__setattr__(model.outputs, "read", lambda rows: observed[rows])
    with pytest.raises(ValueError, match="The expression of type 'CD4/CD8' holds 1 values"):
        ExplainedVariance.compute(model)


def test_shapes_and_names_are_checked(arrays):
    p, y, labels = arrays
    with pytest.raises(ValueError, match=r"`predictions` has shape \(3, 120, 8\) and `targets` \(119, 8\)"):
        ExplainedVariance.from_predictions(p, y[1:], labels)
    with pytest.raises(ValueError, match=r"`labels` has shape \(119,\), but there are 120 cells"):
        ExplainedVariance.from_predictions(p, y, labels[1:])
    with pytest.raises(ValueError, match="`genes` has 1 duplicated names"):
        ExplainedVariance.from_predictions(p, y, labels, genes=list("abcdefga"))
    with pytest.raises(ValueError, match="`genes` has 2 names, but `targets` 8 columns"):
        ExplainedVariance.from_predictions(p, y, labels, genes=["a", "b"])
    with pytest.raises(TypeError, match="`genes` is the text"):
        ExplainedVariance.from_predictions(p, y, labels, genes="abcdefgh")
    with pytest.raises(TypeError, match="`targets` has type"):
        ExplainedVariance.from_predictions(p, y.astype(str), labels)
    with pytest.raises(ValueError, match=r"`coords` has shape \(120,\), but must be cells x 2"):
        ExplainedVariance.from_predictions(p, y, labels, coords=np.zeros(120))


def test_duplicate_genes_of_a_model_are_refused(model):
    model.genes[1] = model.genes[0]
    with pytest.raises(ValueError, match="The list of genes has 1 duplicated names: \\['gene0'\\]"):
        ExplainedVariance.compute(model)


@pytest.mark.parametrize("alpha", [0.0, 1.0, -1, 2])
def test_alpha_is_checked(arrays, alpha):
    with pytest.raises(ValueError, match="`alpha` is .*, but must lie between 0 and 1"):
        ExplainedVariance.from_predictions(*arrays, alpha=alpha)


def test_number_of_orders_is_checked(arrays):
    with pytest.raises(
        ValueError, match="`n_permutations` is 0, but must be at least 1. 9 tests at alpha=0.05 need"
    ):
        ExplainedVariance.from_predictions(*arrays, n_permutations=0)
    with pytest.warns(
        NumericalWarning, match="none of the 9 tests can survive .* n_permutations=180; 1800 is"
    ):
        found = ExplainedVariance.from_predictions(*arrays, n_permutations=100)
    assert found.n_permutations == 100
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        ExplainedVariance.from_predictions(*arrays, n_permutations=179)
    with pytest.raises(TypeError, match="`n_permutations` is 9.5 of type float"):
        ExplainedVariance.from_predictions(*arrays, n_permutations=9.5)


def test_options_are_checked(arrays, model):
    with pytest.raises(ValueError, match="`method` is 'normal', but must be one of"):
        ExplainedVariance.from_predictions(*arrays, method="normal")
    with pytest.raises(ValueError, match="`null` is 'torodal'.*Did you mean 'toroidal'"):
        ExplainedVariance.from_predictions(*arrays, null="torodal")
    with pytest.raises(ValueError, match="has no closed form for null='mirror'"):
        ExplainedVariance.from_predictions(*arrays, method="pearson3", null="mirror")
    with pytest.raises(ValueError, match="`seed` is -1"):
        ExplainedVariance.compute(model, seed=-1)
    with pytest.raises(ValueError, match="`cells` is 'test', but must be one of"):
        ExplainedVariance.compute(model, cells="test")


# --- the object


def test_columns_and_order_of_rows(result):
    table = result.explained_variance_df
    assert list(table.columns) == [
        "head", "ct_name", "gene", "n_cells", "expl_var_head_gene", "expl_var_head", "r2_head", "slope_head",
        "p_value_head", "p_value_adj_head", "p_value_max_head", "p_value_gene", "p_value_adj_gene",
    ]  # fmt: skip
    assert table["head"].tolist() == np.repeat([0, 1, 2], 24).tolist()
    assert table["ct_name"].unique().tolist() == NAMES
    assert AMICIExplainedVarianceModule is ExplainedVariance


def test_without_tests_there_are_no_p(arrays):
    found = ExplainedVariance.from_predictions(*arrays, run_permutation_test=False)
    assert not [c for c in found.explained_variance_df if c.startswith("p_")]
    assert found.n_permutations is None
    assert "n_genes" not in found.summary()
    without = ExplainedVariance.from_predictions(*arrays, per_gene=False)
    assert not [c for c in without.explained_variance_df if c.endswith("_gene") and c.startswith("p_")]


def test_summary_has_a_row_per_head_and_type(result):
    table, rows = result.summary(), result.explained_variance_df
    assert len(table) == 9
    for _, one in table.iterrows():
        part = rows[(rows["head"] == one["head"]) & (rows["ct_name"] == one["ct_name"])]
        assert one["best_gene"] == part["gene"].iloc[part["expl_var_head_gene"].to_numpy().argmax()]
        assert one["n_genes"] == (part["p_value_adj_gene"] <= 0.05).sum()


def test_best_head_by_aggregate_and_by_gene(result):
    total, gene = grid(result, "expl_var_head"), grid(result, "expl_var_best_gene")
    for t, name in enumerate(NAMES):
        assert result.compute_max_explained_variance_head(name) == total[:, t].argmax()
        assert result.compute_max_explained_variance_head(name, by="max_gene") == gene[:, t].argmax()
    with pytest.raises(ValueError, match="`cell_type` is 'L2', but must be one of"):
        result.compute_max_explained_variance_head("L2")
    with pytest.raises(ValueError, match="`by` is 'mean'"):
        result.compute_max_explained_variance_head("18", by="mean")


def test_best_head_is_a_head_number_not_a_position(model):
    found = ExplainedVariance.compute(model, method="pearson3", heads=[1])
    assert found.compute_max_explained_variance_head("CD4/CD8") == 1


def test_heads_share_their_orders_and_types_do_not(arrays):
    p, y, labels = arrays
    twice = ExplainedVariance.from_predictions(np.stack([p[0], p[0]]), y, labels, seed=3)
    for null in twice.null.values():
        np.testing.assert_array_equal(null.draws[0], null.draws[1])
    same = ExplainedVariance.from_predictions(
        np.tile(p[0, :40], (2, 1)), np.tile(y[:40], (2, 1)), ["a"] * 40 + ["b"] * 40
    )
    assert not np.array_equal(same.null["a"].draws, same.null["b"].draws)


def test_file_round_trip(tmp_path, arrays):
    p, y, labels = arrays
    labels = labels.copy()
    labels[:2], labels[2:40] = "NA", "L2/3 #IT, naïve"
    genes = ["NA", "18", "nan", 'a"b', "#x", "c,d", "e", "f"]
    found = ExplainedVariance.from_predictions(p, y, labels, genes=genes, seed=2)
    path = found.save(tmp_path / "ev.csv")
    back = ExplainedVariance.load(path)
    pd.testing.assert_frame_equal(back.explained_variance_df, found.explained_variance_df)
    assert back.compute_kwargs == found.compute_kwargs
    assert back.skipped == found.skipped == {"NA": "2 of the cells tested, at least 3 are needed"}
    assert back.n_permutations == found.n_permutations
    pd.testing.assert_frame_equal(back.summary(), found.summary())
    assert len(pd.read_csv(path, skiprows=1)) == len(found.explained_variance_df)
    assert json.dumps(found.compute_kwargs)
    assert sorted(f.name for f in tmp_path.iterdir()) == ["ev.csv"]


def test_other_files_are_refused(tmp_path, result):
    (tmp_path / "other.csv").write_text("a,b\n1,2\n", encoding="utf-8")
    with pytest.raises(ValueError, match="was not written by `ExplainedVariance.save`"):
        ExplainedVariance.load(tmp_path / "other.csv")
    with pytest.raises(FileNotFoundError, match="does not exist.*Did you mean 'other.csv'"):
        ExplainedVariance.load(tmp_path / "othr.csv")
    with pytest.raises(FileNotFoundError, match="The folder"):
        result.save(tmp_path / "no" / "ev.csv")


# --- with the real model


@pytest.fixture(scope="module")
def fitted():
    from scmods.amici.model import AMICI, strip
    from scmods.amici.simulate import semisynthetic

    adata = semisynthetic(500, 30, seed=1)
    model = AMICI(adata, n_neighbors=5, held_out=strip(adata, low=0.3, high=0.7), cell_width=16, cell_size=8)
    return adata, model.fit(max_epochs=2, patience=None)


@pytest.mark.filterwarnings("ignore:Predictions and genes are smooth")
def test_compute_on_a_fitted_model(fitted):
    adata, model = fitted
    found = ExplainedVariance.compute(model, n_permutations=400)
    assert found.summary()["n_cells"].sum() == 4 * model.held_out.sum()
    out = model.heads(cells=model.held_out)
    name = model.types[2]
    mask = out.types == 2
    p, y = out.predict([3])[mask], out.observed[mask]
    table = found.summary()
    row = table[(table["head"] == 3) & (table["ct_name"] == name)].iloc[0]
    assert row["expl_var_head"] == pytest.approx(
        1 - (p - y).var(0, ddof=1).sum() / y.var(0, ddof=1).sum(), abs=1e-9
    )
    # the same cells handed over again are known by their names; others count as never seen
    again = ExplainedVariance.compute(model, adata, n_permutations=400)
    pd.testing.assert_frame_equal(again.explained_variance_df, found.explained_variance_df)
    assert again.adata is adata
    others = adata.copy()
    others.obs_names = [f"new{i}" for i in range(adata.n_obs)]
    assert (
        ExplainedVariance.compute(model, others, method="pearson3").summary()["n_cells"].sum()
        == 4 * adata.n_obs
    )


def test_cells_of_a_new_type_are_left_out_on_request(fitted):
    adata, model = fitted
    others = adata.copy()
    others.obs_names = [f"new{i}" for i in range(adata.n_obs)]
    others.obs["cell_type"] = others.obs["cell_type"].astype(str)
    others.obs.iloc[:25, others.obs.columns.get_loc("cell_type")] = "NK"
    with pytest.raises(ValueError, match=r"25 cells are of types that the model has not seen: \['NK'\]"):
        ExplainedVariance.compute(model, others, run_permutation_test=False)
    found = ExplainedVariance.compute(model, others, run_permutation_test=False, unseen="exclude")
    assert found.summary()["n_cells"].sum() == 4 * (adata.n_obs - 25)


def test_spatial_nulls_find_the_positions_of_a_fitted_model(fitted):
    adata, model = fitted
    for null in ("block", "mirror"):
        own, given_adata = (
            ExplainedVariance.compute(model, a, null=null, n_permutations=400, per_gene=False)
            for a in (None, adata)
        )
        pd.testing.assert_frame_equal(own.explained_variance_df, given_adata.explained_variance_df)


def test_untrained_model_is_refused(fitted):
    from scmods.amici.model import AMICI

    adata, _ = fitted
    with pytest.raises(RuntimeError, match="The model is not fitted"):
        ExplainedVariance.compute(AMICI(adata, n_neighbors=5, held_out=[0, 1]))


def test_histogram_needs_draws(result, tmp_path):
    from scmods.amici.plots_explained import null_histogram

    with pytest.raises(MissingKeyError, match="There are no draws for the type '18'"):
        null_histogram(ExplainedVariance.load(result.save(tmp_path / "a.csv")), "18", 0)
