"""Compositions against counting by hand; the test of groups against enumeration and under the null."""

from __future__ import annotations

from itertools import combinations, permutations

import anndata
import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from scmods import stats
from scmods._checks import MissingKeyError, NumericalWarning
from scmods.scyan.composition import centred_log_ratio, composition_test
from scmods.scyan.ratios import cell_type_ratios, mean_intensities, posterior_counts


def samples(n=8, n_pops=5, shift=0.0, seed=0, cells=500):
    """Counts of `n` samples, overdispersed; the first population is exp(shift) times as frequent in the second half."""
    rng = np.random.default_rng(seed)
    log = rng.normal(size=n_pops) + 0.15 * rng.normal(size=(n, n_pops))
    log[n // 2 :, 0] += shift
    share = np.exp(log) / np.exp(log).sum(axis=1, keepdims=True)
    counts = np.array([rng.multinomial(cells, s) for s in share])
    index = [f"s{i}" for i in range(n)]
    return pd.DataFrame(counts, index=index, columns=[f"P{i}" for i in range(n_pops)])


def groups(n=8):
    return pd.Series(["before"] * (n // 2) + ["treated"] * (n - n // 2), index=[f"s{i}" for i in range(n)])


@settings(max_examples=15)
@given(factor=st.floats(1e-3, 1e3), seed=st.integers(0, 99))
def test_log_ratios_know_no_size_and_sum_to_zero(factor, seed):
    counts = np.random.default_rng(seed).gamma(1.0, 50.0, (4, 6)) + 1e-3
    y = centred_log_ratio(counts, pseudocount=0)
    np.testing.assert_allclose(y.sum(axis=1), 0, atol=1e-10)
    np.testing.assert_allclose(centred_log_ratio(counts * factor, pseudocount=0), y, atol=1e-9)
    np.testing.assert_allclose(y[:, 0] - y[:, 1], np.log(counts[:, 0] / counts[:, 1]), atol=1e-9)
    order = np.random.default_rng(seed).permutation(6)
    np.testing.assert_allclose(centred_log_ratio(counts[:, order], pseudocount=0), y[:, order], atol=1e-12)


def test_p_values_are_exact_where_all_arrangements_can_be_counted():
    counts = samples(shift=1.0)
    found = composition_test(counts, groups())
    y = centred_log_ratio(counts)
    gap = lambda second: abs(y[list(second)].mean(0) - np.delete(y, list(second), axis=0).mean(0))  # noqa: E731
    every = np.array([gap(second) for second in combinations(range(8), 4)])
    observed = gap((4, 5, 6, 7))
    np.testing.assert_allclose(found["p"], (every >= observed - 1e-12).mean(axis=0))
    assert found["p"].min() == pytest.approx(2 / 70)
    np.testing.assert_allclose(found["q"], stats.benjamini_hochberg(found["p"].to_numpy()))
    np.testing.assert_allclose(found["effect"], y[4:].mean(axis=0) - y[:4].mean(axis=0))
    share = counts.to_numpy() / counts.to_numpy().sum(axis=1, keepdims=True)
    np.testing.assert_allclose(found["share treated"], share[4:].mean(axis=0))


def test_drawn_arrangements_come_to_the_same():
    counts = samples(n=10, shift=0.3, seed=4)
    exact = composition_test(counts, groups(10))
    drawn = composition_test(counts, groups(10), n_perms=200, seed=1)
    np.testing.assert_allclose(drawn["p"], exact["p"], atol=0.12)
    pd.testing.assert_frame_equal(drawn, composition_test(counts, groups(10), n_perms=200, seed=1))
    assert not drawn["p"].equals(composition_test(counts, groups(10), n_perms=200, seed=2)["p"])
    assert drawn["p"].min() >= 1 / 201


def test_p_values_under_the_null_are_no_smaller_than_they_say():
    p = np.concatenate([composition_test(samples(seed=s), groups())["p"] for s in range(60)])
    for level in (0.05, 0.1, 0.2, 0.5):
        assert (p <= level).mean() < level + 0.06
    assert 0.42 < p.mean() < 0.6


def test_a_population_that_grows_is_found_and_which_one():
    hits = 0
    for seed in range(10):
        found = composition_test(samples(shift=2.0, seed=seed), groups())
        hits += found["effect"].abs().idxmax() == "P0" and found.loc["P0", "p"] <= 2 / 70 + 1e-9
        assert found.loc["P0", "effect"] == pytest.approx(2.0 * 4 / 5, abs=0.5)  # less its part of the mean
    assert hits == 10


def test_order_of_samples_and_names_of_groups_do_not_matter():
    counts = samples(shift=0.5)
    one = composition_test(counts, groups())
    order = np.random.default_rng(0).permutation(8)
    pd.testing.assert_frame_equal(composition_test(counts.iloc[order], groups()), one)
    swapped = groups().map({"before": "z", "treated": "a"})
    other = composition_test(counts, swapped)
    np.testing.assert_allclose(other["effect"], -one["effect"])
    np.testing.assert_allclose(other["p"], one["p"])


def test_patients_measured_twice_are_compared_with_themselves():
    rng = np.random.default_rng(3)
    patient = rng.normal(size=(6, 4))
    log = np.concatenate([patient, patient + [0.5, 0, 0, 0]]) + 0.03 * rng.normal(size=(12, 4))
    counts = pd.DataFrame(1e4 * np.exp(log), index=[f"s{i}" for i in range(12)], columns=list("ABCD"))
    state, who = groups(12), pd.Series(list("uvwxyz") * 2, index=counts.index)
    paired, apart = composition_test(counts, state, blocks=who), composition_test(counts, state)
    assert paired.loc["A", "p"] == pytest.approx(2 / 2**6)
    assert apart.loc["A", "p"] > 0.2
    np.testing.assert_allclose(paired["effect"], apart["effect"])
    # all 64 exchanges of a treated and an untreated sample of the same patient
    d = centred_log_ratio(counts)[6:, 0] - centred_log_ratio(counts)[:6, 0]
    signs = np.array(np.meshgrid(*[[-1, 1]] * 6)).reshape(6, -1).T
    assert paired.loc["A", "p"] == pytest.approx((abs(signs @ d) >= abs(d.sum()) - 1e-9).mean())


def test_three_groups_are_ordered_as_an_analysis_of_variance_does():
    from scipy.stats import f_oneway

    counts, code = samples(n=6, n_pops=3, seed=2), np.array([0, 0, 1, 1, 2, 2])
    found = composition_test(counts, code)
    y = centred_log_ratio(counts)[:, 0]
    f = lambda c: f_oneway(*(y[np.asarray(c) == g] for g in range(3))).statistic  # noqa: E731
    every = np.array([f(c) for c in set(permutations(code))])
    assert len(every) == 90
    assert found["p"].iloc[0] == pytest.approx((every >= f(code) * (1 - 1e-9)).mean())


def test_refusals_of_the_test():
    counts, g = samples(), groups()
    with pytest.raises(ValueError, match=r"`groups` has no entry for the samples \['s0'\]"):
        composition_test(counts, g.drop("s0"))
    with pytest.raises(ValueError, match="`groups` has 3 entries, but `counts` has 8 samples"):
        composition_test(counts, ["a", "b", "c"])
    with pytest.raises(ValueError, match="`groups` has 1 missing entries"):
        composition_test(counts, [None, *"abababa"])
    with pytest.raises(ValueError, match="All samples are of the group 'a', but at least two"):
        composition_test(counts, ["a"] * 8)
    with pytest.raises(ValueError, match="No block has samples of two groups"):
        composition_test(counts, g, blocks=g)
    with pytest.raises(ValueError, match=r"The samples \['s1'\] have no cells"):
        composition_test(counts.mul([1, 0, 1, 1, 1, 1, 1, 1], axis=0), g)
    with pytest.raises(ValueError, match="counts are not negative"):
        composition_test(-counts, g)
    with pytest.raises(ValueError, match="has no logarithm"):
        centred_log_ratio([[0.0, 1.0]], pseudocount=0)
    with pytest.warns(NumericalWarning, match="arranged in 6 ways, so no p-value is below 0.17"):
        composition_test(samples(n=4), groups(4))


# --- shares


def labelled():
    rng = np.random.default_rng(7)
    index = pd.MultiIndex.from_tuples(
        [("CD4/CD8", "T"), ("18", "T"), ("B (naïve)", "B")], names=["population", "level 1"]
    )
    table = pd.DataFrame(np.eye(3) * 2 - 1, index=index, columns=["CD4", "CD8", "CD19"])
    obs = pd.DataFrame(
        {
            "sample": rng.choice(["s1", "s2", "s3"], 400),
            "state": rng.choice(["a", "b"], 400),
            "scyan_pop": pd.Categorical(rng.choice(["CD4/CD8", "18", "B (naïve)", None], 400)),
        },
        index=[f"c{i}" for i in range(400)],
    )
    x = rng.normal(size=(400, 3))
    return anndata.AnnData(x, obs=obs, var=pd.DataFrame(index=["CD4", "CD8", "CD19"])), table


def test_ratios_among_all_cells_and_among_those_of_the_parent():
    adata, table = labelled()
    found = cell_type_ratios(adata, "sample")
    np.testing.assert_allclose(found.sum(axis=1), 1)
    own = adata.obs[adata.obs["sample"] == "s2"]
    assert found.loc["s2", "18"] == pytest.approx((own["scyan_pop"] == "18").mean())
    assert found.loc["s2", "unclassified"] == pytest.approx(own["scyan_pop"].isna().mean())
    among = cell_type_ratios(adata, "sample", among="level 1", table=table)
    assert list(among.columns) == ["CD4/CD8", "18", "B (naïve)"]
    is_t = own["scyan_pop"].isin(["CD4/CD8", "18"])
    assert among.loc["s2", "18"] == pytest.approx((own["scyan_pop"] == "18").sum() / is_t.sum())
    np.testing.assert_allclose(among["CD4/CD8"] + among["18"], 1)
    np.testing.assert_allclose(among["B (naïve)"], 1)
    pd.testing.assert_frame_equal(cell_type_ratios(adata, "sample", among=1, table=table), among)
    two = cell_type_ratios(adata, ["sample", "state"])
    assert two.index.names == ["sample", "state"]
    own = adata.obs[(adata.obs["sample"] == "s1") & (adata.obs["state"] == "b")]
    assert two.loc[("s1", "b"), "18"] == pytest.approx((own["scyan_pop"] == "18").mean())
    no_t = adata[~adata.obs["scyan_pop"].isin(["CD4/CD8", "18"])].copy()
    assert cell_type_ratios(no_t, "sample", among=1, table=table)[["CD4/CD8", "18"]].isna().all(axis=None)


def test_expected_counts_are_sums_of_posteriors():
    rng = np.random.default_rng(8)
    proba = pd.DataFrame(rng.dirichlet(np.ones(4), 50), columns=[*"TBN", "unclassified"])
    sample = rng.choice(["s1", "s2"], 50)
    found = posterior_counts(proba, sample)
    np.testing.assert_allclose(found.sum(axis=1), [(sample == "s1").sum(), (sample == "s2").sum()])
    assert found.loc["s2", "N"] == pytest.approx(proba["N"][sample == "s2"].sum())
    sure = pd.get_dummies(pd.Series(list("TBTB"))).astype(float)
    assert posterior_counts(sure, [1, 1, 2, 2]).loc["1"].to_dict() == {"B": 1.0, "T": 1.0}


def test_mean_intensities_by_hand():
    adata, _ = labelled()
    adata.layers["raw"] = adata.X * 3
    found = mean_intensities(adata, ["scyan_pop", "sample"], var_names=["CD19", "CD4"], layer="raw")
    assert list(found.columns) == ["CD19", "CD4"]
    own = (adata.obs["scyan_pop"] == "18") & (adata.obs["sample"] == "s3")
    np.testing.assert_allclose(found.loc[("18", "s3")], 3 * adata.X[own.to_numpy()][:, [2, 0]].mean(axis=0))
    assert list(mean_intensities(adata, "state").columns) == ["CD4", "CD8", "CD19"]
    assert len(mean_intensities(adata, "scyan_pop")) == 3


def test_refusals_of_shares():
    adata, table = labelled()
    with pytest.raises(MissingKeyError, match="obs\\['patient'\\].*does not exist"):
        cell_type_ratios(adata, "patient")
    with pytest.raises(MissingKeyError, match="obs\\['label'\\].*model.predict"):
        cell_type_ratios(adata, "sample", label_key="label")
    with pytest.raises(ValueError, match="needs the table, which knows the parents"):
        cell_type_ratios(adata, "sample", among="level 1")
    with pytest.raises(MissingKeyError, match=r"no level 'level 2'. Available: \['level 1'\]"):
        cell_type_ratios(adata, "sample", among="level 2", table=table)
    with pytest.raises(ValueError, match=r"labels that the table does not know: \['18'\]"):
        cell_type_ratios(adata, "sample", table=table.iloc[[0, 2]])
    with pytest.raises(ValueError, match="`groupby` is empty"):
        mean_intensities(adata, [])
    adata.obs.loc["c0", "sample"] = None
    with pytest.raises(ValueError, match="has 1 missing entries of 400"):
        cell_type_ratios(adata, "sample")
    proba = pd.DataFrame({"T": [0.5, 1.0]}, index=["x", "y"])
    with pytest.raises(ValueError, match="`samples` has 1 entries, but `proba` has 2 cells"):
        posterior_counts(proba, ["a"])
    with pytest.raises(ValueError, match="different indices"):
        posterior_counts(proba, pd.Series(["a", "b"], index=["y", "x"]))
    with pytest.raises(ValueError, match="`samples` has 1 missing entries"):
        posterior_counts(proba, ["a", None])
    with pytest.raises(ValueError, match=r"`proba` holds 1 values that are NaN.*\['y'\]"):
        posterior_counts(pd.DataFrame({"T": [0.5, np.nan]}, index=["x", "y"]), ["a", "b"])
