"""Baselines, nulls, stability and comparisons: right on data whose answer is known, silent on noise."""

import numpy as np
import pytest

from scmods import bmlp, stats
from scmods.bmlp import Config, Keys


def cells(n=240, seed=0, genes=40):
    adata = bmlp.planted(n, genes, n_module=6, seed=seed)
    bmlp.split(adata, seed=seed)
    return adata


def quick(**changes):
    return {"n_epochs": 8, "d_hidden": 8} | changes


def test_baselines_table_and_order_of_models():
    models = ("mean", "ridge", "kNN", "closed form", "closed form, rank 4", "bilinear")
    config = Config.repaired(40, 3, **quick())
    table = bmlp.baselines(cells(), target="targets", models=models, seeds=(0, 1), config=config)
    assert table.columns.tolist() == ["model", "seed", "output", "r2"]
    assert len(table) == len(models) * 2 * 3
    assert np.isfinite(table["r2"]).all()
    mean = table.groupby(["model", "output"])["r2"].mean().unstack()
    assert (table.loc[table["model"] == "mean", "r2"].abs() < 0.2).all()
    assert (
        table.loc[table["model"] == "mean", "r2"] <= 1e-12
    ).all()  # no constant beats the mean of the test cells
    for o in (0, 1):  # a square and a product hold nothing that is linear
        assert mean.loc["closed form", o] > max(mean.loc["ridge", o], 0) + 0.2
        assert mean.loc["ridge", o] < 0.15


def test_baselines_are_reproducible_and_leave_the_cells_alone():
    adata = cells(90)
    before = adata.obs["bmlp_split"].tolist()
    options = {"target": "targets", "models": ("closed form", "MLP"), "seeds": (3,)}
    first, second = bmlp.baselines(adata, **options), bmlp.baselines(adata, **options)
    assert first.equals(second)
    assert adata.obs["bmlp_split"].tolist() == before


def test_test_cells_cannot_reach_the_fit():
    adata, other = cells(120), cells(120)
    test = (adata.obs["bmlp_split"] == "test").to_numpy()
    other.X[test] += 3.0
    other.obsm["targets"][test] = 0.0
    models = [bmlp.fit(a, target="targets") for a in (adata, other)]
    np.testing.assert_array_equal(models[0].intercept, models[1].intercept)
    np.testing.assert_array_equal(models[0].core, models[1].core)


def test_rank_curve_finds_the_planted_rank():
    adata = cells(400)
    table = bmlp.rank_curve(adata, target="targets", ranks=(0, 1, 2, 4))
    assert table.columns.tolist() == ["output", "rank", "r2", "r2_val"]
    curve = table.pivot(index="output", columns="rank", values="r2")
    assert curve.loc[0, 0] < 0.15
    assert curve.loc[0, 1] > 0.5  # a square is one mode
    assert curve.loc[1, 2] > curve.loc[1, 1] + 0.1  # a product is two
    assert curve.loc[1, 4] < curve.loc[1, 2] + 0.1
    assert curve.loc[2, 0] > 0.3  # the mixed target has a linear part


def test_permuted_targets_are_not_predicted():
    adata = cells(400)
    table = bmlp.permuted_null(adata, target="targets", n_perms=9)
    assert (table["null_r2_mean"] <= 0.02).all()
    assert (table["null_r2_max"] >= table["null_r2_mean"]).all()
    assert (table["p_value"] == 0.1).all()  # never below 1 / (n_perms + 1)
    assert table.loc[:1, "p_interaction"].eq(0.1).all()
    assert (table.loc[:1, "gain"] > 0.3).all()
    assert table.equals(bmlp.permuted_null(adata, target="targets", n_perms=9))


def test_null_r2_equals_the_fit():
    adata = cells(150)
    table = bmlp.permuted_null(adata, target="targets", n_perms=1)
    bmlp.fit(adata, target="targets")
    np.testing.assert_allclose(table["r2"], adata.uns["bmlp"]["r2"], atol=1e-8)


def test_noise_targets_get_large_p_values():
    p = []
    for seed in range(4):
        adata = cells(120, seed=seed)
        adata.obsm["noise"] = np.random.default_rng(seed).normal(size=(120, 2))
        p.extend(bmlp.permuted_null(adata, target="noise", n_perms=9, seed=seed)["p_value"])
    assert 0.1 <= min(p)
    assert np.mean(p) > 0.25


def test_seed_stability_tells_trained_from_untrained():
    adata = cells(300)
    options = {"target": "targets", "seeds": (0, 1, 2), "n_genes": 6}
    trained = bmlp.seed_stability(adata, **options, n_epochs=40, d_hidden=8, lr=1e-2)
    untrained = bmlp.seed_stability(adata, **options, recipe="untrained")
    chance = stats.chance_jaccard(6, 6, 40)
    for table in (trained, untrained):
        assert table["output"].tolist() == [0, 1, 2]
        np.testing.assert_allclose(table["chance"], chance)
        assert table["jaccard"].between(0, 1).all()
    assert trained.loc[0, "jaccard"] > 0.7
    assert untrained["jaccard"].mean() < 0.35
    assert trained.loc[0, "r2"] > 0.2
    assert (untrained["r2"] < 0.05).all()


def test_module_stability_writes_shares():
    adata = cells(300)
    model = bmlp.fit(adata, target="targets")
    table = bmlp.module_stability(adata, model, n_subsamples=4, n_genes=6)
    share = adata.varm[Keys().stability]
    assert share.shape == (40, 3)
    assert share.min() >= 0
    assert share.max() <= 1 + 1e-12
    np.testing.assert_allclose(share.sum(axis=0), 6)  # every subsample lists six genes
    np.testing.assert_allclose(4 * share, np.rint(4 * share), atol=1e-9)
    planted = adata.uns["truth"]["module"] == 1
    np.testing.assert_allclose(share[planted, 0], 1.0)
    assert table["jaccard"].between(0, 1).all()
    assert table["cosine"].between(0, 1 + 1e-9).all()
    assert table.loc[0, "jaccard"] == 1.0
    modules = bmlp.modules(adata, n_genes=5)
    row = modules.iloc[0]
    assert row["stability"] == share[adata.var_names.get_loc(row["gene"]), row["output"]]
    again = bmlp.module_stability(adata, model, n_subsamples=4, n_genes=6)
    np.testing.assert_allclose(again["jaccard"], table["jaccard"])


def test_correlations_equal_numpy_and_are_zero_for_constants():
    adata = cells(60)
    adata.X[:, 5] = 3.0
    adata.obsm["t"] = np.c_[adata.obsm["targets"], np.full(60, 2.0)]
    found = bmlp.correlations(adata, target="t")
    x = np.asarray(adata.X, dtype=np.float64)
    for j in range(40):
        for o in range(3):
            expected = 0.0 if j == 5 else np.corrcoef(x[:, j], adata.obsm["t"][:, o])[0, 1]
            assert found[j, o] == pytest.approx(expected, abs=1e-9)
    np.testing.assert_array_equal(found[:, 3], 0.0)


def test_comparison_with_correlation_is_by_absolute_size():
    adata = cells(400)
    bmlp.fit(adata, target="targets")
    table = bmlp.compare_with_correlation(adata, n_genes=6)
    assert table.columns.tolist() == ["output", "mode", "linear", "untrained", "chance"]
    found = np.abs(bmlp.correlations(adata, target="targets"))
    for o in range(3):
        best = set(adata.var_names[np.argsort(-found[:, o], kind="stable")[:6]])
        for part in ("mode", "linear"):
            genes = set(bmlp.top_genes(adata, o, n_genes=6, part=part))
            assert table.loc[o, part] == pytest.approx(len(best & genes) / len(best | genes))
    assert table.loc[2, "linear"] == 1.0  # what is linear, correlation finds as well
    np.testing.assert_allclose(table["chance"], stats.chance_jaccard(6, 6, 40))


def test_precision_counts_planted_genes():
    adata = cells(300)
    bmlp.fit(adata, target="targets")
    table = bmlp.planted_precision(adata).set_index("target")
    module = adata.uns["truth"]["module"]
    top = np.argsort(-np.abs(adata.varm["bmlp_modes"][:, 0, 0]), kind="stable")[:6]
    assert table.loc["square", "model"] == pytest.approx((module[top] == 1).mean())
    np.testing.assert_allclose(table["chance"], [6 / 40, 12 / 40, 12 / 40, 6 / 40, 6 / 40])
    adata.uns["truth"]["module"] = np.roll(module, 7)  # a wrong truth is not confirmed
    wrong = bmlp.planted_precision(adata).set_index("target")
    assert wrong.loc["square", "model"] < table.loc["square", "model"]


def test_leakage_compares_on_the_same_targets():
    t = np.linspace(0, 1, 200)
    x = 3 * np.exp(-((t[:, None] - np.linspace(0, 1, 12)) ** 2) / 0.05)
    import anndata

    adata = anndata.AnnData(x + 0.05 * np.abs(np.random.default_rng(0).normal(size=x.shape)))
    bmlp.frequencies(adata, n_comps=3)
    bmlp.split(adata)
    bmlp.fit(adata)
    table = bmlp.leakage(adata)
    np.testing.assert_allclose(table["transductive"], adata.uns["bmlp"]["r2"], atol=1e-7)
    assert (table["inductive"] > 0.8).all()
    assert table["inductive"].mean() <= table["transductive"].mean() + 0.02
