"""Studies of the chapter, and the checks and small helpers of its page."""

from __future__ import annotations

import numpy as np
import pytest

from scmods import MissingKeyError, NumericalWarning, smoother


def test_the_chosen_strength_lowers_the_error_of_every_tissue():
    with pytest.warns(NumericalWarning, match="No type was found"):
        found = smoother.tissue_study([0, 1], depths=(0.1,), n_rows=20, n_cols=20)
    assert (found["chosen"] < 0.95 * found["none"]).all()
    assert (found["smoothing"] > 0).all()


def test_tests_of_unrelated_fields_are_calibrated_only_when_smoothness_is_kept():
    found = smoother.null_study(300, size=20, length=3.0, n_perms=99, seed=1)
    alarms = (found["pvalue"] <= 0.05).groupby(found["null"]).mean()
    assert 0.02 <= alarms["spectral"] <= 0.10
    assert alarms["permutation"] > 0.4
    assert found["pvalue"].min() >= 1 / 100


def smooth_values(noise):
    rng = np.random.default_rng(0)
    grid = np.stack(np.divmod(np.arange(400), 20), axis=1).astype(float)
    fields = smoother.smooth_fields(20, 20, 30, length=4.0, generator=rng)
    q = smoother.precision(smoother.knn_weights(grid, 4), "icar", 0.99)
    return fields + rng.normal(scale=noise, size=fields.shape), q


def test_smooth_values_are_filled_and_noise_is_not():
    clear, q = smooth_values(0.05)
    table, observed = smoother.hidden_spots(clear, q, epochs=0)
    assert table.loc["exact imputation", "below_mean"] > 0.6
    assert (~observed).sum() == 80
    noise, q = smooth_values(5.0)
    table, _ = smoother.hidden_spots(noise, q, epochs=0)
    assert table.loc["exact imputation", "below_mean"] < 0.02
    assert table.loc["denoising", "rmse"] < table.loc["exact imputation", "rmse"]


def test_the_original_recipe_stands_in_the_table_when_it_is_run():
    y, q = smooth_values(0.5)
    table, _ = smoother.hidden_spots(y, q, epochs=5)
    assert list(table.index)[-1] == "original's recipe"
    assert smoother.hidden_spots(y, q, epochs=0)[0].shape == (3, 2)
    with pytest.raises(ValueError, match="`share` is 1"):
        smoother.hidden_spots(y, q, share=1.0)


def test_counts_are_logged_and_other_values_are_left_alone():
    adata = smoother.tissue(8, 8)
    logged = smoother.lognorm(adata)
    x = adata.X.toarray()
    total = x.sum(axis=1, keepdims=True)
    np.testing.assert_allclose(np.expm1(logged), x / total * np.median(total), rtol=1e-6)
    adata.layers["logged"] = logged - 1.0
    np.testing.assert_array_equal(smoother.lognorm(adata, "logged"), logged - 1.0)
    empty = adata.copy()
    empty.X = empty.X * 0
    with pytest.raises(ValueError, match="has no count at all"):
        smoother.lognorm(empty)


def test_top_genes_are_those_that_vary_most():
    adata = smoother.tissue(8, 8)
    names = smoother.top_genes(adata, 10)
    variance = smoother.lognorm(adata).var(axis=0)
    assert set(names) == set(adata.var_names[np.argsort(-variance)[:10]])
    assert names == [n for n in adata.var_names if n in names]
    assert len(smoother.top_genes(adata, 10_000)) == adata.n_vars


def test_rmse_refuses_other_shapes():
    with pytest.raises(ValueError, match="has shape \\(2,\\), but `truth` has shape \\(3,\\)"):
        smoother.rmse([1, 2], [1, 2, 3])


def test_facts_of_a_tissue():
    adata = smoother.tissue(8, 8)
    facts = smoother.check_input(adata, label_key="zone")["found"]
    assert facts["values"] == "counts"
    assert facts["truth known"] == "yes"
    assert facts["sections"] == "1"
    assert facts["extent"] == "7 x 7"


def test_parameters_that_the_data_cannot_serve():
    adata = smoother.tissue(8, 8)
    with pytest.raises(MissingKeyError, match="obsm\\['xy'\\].*does not exist.*'spatial'"):
        smoother.check_input(adata, spatial_key="xy")
    with pytest.raises(MissingKeyError, match="obs\\['slide'\\].*does not exist"):
        smoother.check_input(adata, library_key="slide")
    with pytest.raises(ValueError, match="`n_neighbors` is 64"):
        smoother.check_input(adata, n_neighbors=64)
    adata.obs["region"] = adata.obs["zone"].astype(object)
    adata.obs.loc[adata.obs_names[:2], "region"] = np.nan
    with pytest.raises(ValueError, match="missing for 2 of 64 spots"):
        smoother.check_input(adata, label_key="region")
    adata.obsm["spatial"][3, 0] = np.nan
    with pytest.raises(ValueError, match="NaN"):
        smoother.check_input(adata)


def test_what_a_test_of_genes_and_columns_cannot_mean_is_refused():
    adata = smoother.tissue(8, 8)
    smoother.spatial_weights(adata, n_neighbors=4)
    gene = adata.var_names[0]
    adata.obs[gene] = 1.0
    with pytest.raises(ValueError, match="is a gene and a column of `obs`"):
        smoother.spatial_association(adata, [gene], "zone")
    del adata.obs[gene]
    adata.var_names = [gene, gene, *adata.var_names[2:]]
    with pytest.raises(ValueError, match="duplicated names.*var_names_make_unique"):
        smoother.spatial_association(adata, [gene], "zone")


def test_no_counts_and_no_numbers_are_refused():
    adata = smoother.tissue(8, 8)
    smoother.spatial_weights(adata, n_neighbors=4)
    profiles = smoother.reference(adata)
    empty = adata.copy()
    empty.X = empty.X * 0
    with pytest.raises(ValueError, match="not a single count"):
        smoother.tune_smoothing(empty, profiles)
    adata.layers["holes"] = adata.X.toarray().astype(float)
    adata.layers["holes"][2, 3] = np.nan
    for call in (smoother.lognorm, lambda a, layer: smoother.top_genes(a, 5, layer)):
        with pytest.raises(ValueError, match="1 values that are NaN or infinite"):
            call(adata, "holes")


def test_repeated_names_of_a_reference_get_advice_that_can_be_followed():
    adata = smoother.tissue(8, 8)
    smoother.spatial_weights(adata, n_neighbors=4)
    profiles = smoother.reference(adata)
    profiles.columns = [profiles.columns[0], profiles.columns[0], *profiles.columns[2:]]
    with pytest.raises(ValueError, match="reference.columns has 1 duplicated.*Rename or drop"):
        smoother.deconvolve(adata, profiles)
