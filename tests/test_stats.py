"""Statistics against closed forms, scipy and simulation."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
import torch
from scipy import stats as scipy_stats

from scmods import stats


def test_permutation_pvalue_by_hand():
    null = np.array([1.0, 2.0, 3.0])
    assert stats.permutation_pvalue(5.0, null) == 0.25
    assert stats.permutation_pvalue(3.0, null) == 0.5, "a tie counts"
    assert stats.permutation_pvalue(0.0, null) == 1.0
    assert stats.permutation_pvalue(0.0, null, alternative="less") == 0.25
    assert stats.permutation_pvalue(5.0, null, alternative="two-sided") == 0.5
    assert stats.permutation_pvalue(2.0, null, alternative="two-sided") == 1.0
    assert stats.permutation_pvalue(np.array([5.0, 0.0]), np.stack([null, null], 1)).tolist() == [0.25, 1.0]
    assert stats.permutation_pvalue(torch.tensor(5.0), torch.tensor(null)) == 0.25


def test_permutation_pvalue_keeps_its_level():
    rng = np.random.default_rng(0)
    draws = rng.normal(size=(20, 4000))
    p = stats.permutation_pvalue(draws[0], draws[1:])
    assert p.min() == pytest.approx(1 / 20)
    for level in (0.05, 0.1, 0.5):
        assert (p <= level).mean() == pytest.approx(level, abs=0.02)


def test_permutation_pvalue_refuses():
    with pytest.raises(ValueError, match="`null` holds no permutation"):
        stats.permutation_pvalue(1.0, [])
    with pytest.raises(ValueError, match=r"`null` has shape \(3, 2\).*permutations must come first"):
        stats.permutation_pvalue(1.0, np.ones((3, 2)))
    with pytest.raises(ValueError, match="`null` holds 1 of 2 values that are NaN"):
        stats.permutation_pvalue(1.0, [1.0, np.nan])
    with pytest.raises(ValueError, match="`observed` holds 1 of 1 values"):
        stats.permutation_pvalue(np.nan, [1.0])
    with pytest.raises(ValueError, match="`alternative` is 'bigger'"):
        stats.permutation_pvalue(1.0, [1.0], alternative="bigger")
    with pytest.raises(TypeError, match="must be numeric"):
        stats.permutation_pvalue("a", [1.0])


def test_benjamini_hochberg_equals_scipy():
    p = np.random.default_rng(0).uniform(size=(5, 7)) ** 2
    p[0, :3] = p[0, 0]
    for axis in (0, 1, -1, None):
        expected = scipy_stats.false_discovery_control(p, axis=axis).reshape(p.shape)
        np.testing.assert_allclose(stats.benjamini_hochberg(p, axis), expected, rtol=1e-14)
    assert stats.benjamini_hochberg([]).shape == (0,)
    assert stats.benjamini_hochberg([0.01, 0.02, 0.03]).tolist() == pytest.approx([0.03, 0.03, 0.03])


def test_benjamini_hochberg_refuses():
    with pytest.raises(ValueError, match="NaN or infinite"):
        stats.benjamini_hochberg([0.1, np.nan])
    with pytest.raises(ValueError, match=r"values in \[0.1, 1.5\], but p-values lie in"):
        stats.benjamini_hochberg([0.1, 1.5])


def test_bootstrap_interval_of_a_mean():
    values = np.random.default_rng(1).normal(3.0, 2.0, size=400)
    low, high = stats.bootstrap_interval(values, seed=0, n_boot=2000)
    half = 1.96 * values.std() / 20
    assert low == pytest.approx(values.mean() - half, abs=0.03)
    assert high == pytest.approx(values.mean() + half, abs=0.03)
    assert (low, high) == stats.bootstrap_interval(values, seed=0, n_boot=2000)
    assert (low, high) != stats.bootstrap_interval(values, seed=1, n_boot=2000)
    narrow = stats.bootstrap_interval(values, seed=0, n_boot=2000, level=0.5)
    assert low < narrow[0] < narrow[1] < high
    columns = stats.bootstrap_interval(np.stack([values, values + 1], 1), np.median, seed=0)
    np.testing.assert_allclose(columns[0][1], columns[0][0] + 1)


def test_bootstrap_interval_leaves_the_global_generator():
    before = str(np.random.get_state())
    stats.bootstrap_interval([1.0, 2.0], seed=0, n_boot=10)
    assert str(np.random.get_state()) == before


def test_bootstrap_interval_refuses():
    with pytest.raises(ValueError, match="has 1 row"):
        stats.bootstrap_interval([1.0], seed=0)
    with pytest.raises(ValueError, match="`n_boot` is 5"):
        stats.bootstrap_interval([1.0, 2.0], seed=0, n_boot=5)
    with pytest.raises(ValueError, match="`level` is 1"):
        stats.bootstrap_interval([1.0, 2.0], seed=0, level=1.0)
    with pytest.raises(ValueError, match="NaN"):
        stats.bootstrap_interval([1.0, np.nan], seed=0)


def test_r2_and_explained_variance():
    rng = np.random.default_rng(2)
    y = rng.normal(size=(50, 3)) + 5
    noisy = y + rng.normal(size=y.shape)
    from sklearn import metrics

    np.testing.assert_allclose(stats.r2(y, noisy), metrics.r2_score(y, noisy, multioutput="raw_values"))
    expected = metrics.explained_variance_score(y, noisy, multioutput="raw_values")
    np.testing.assert_allclose(stats.explained_variance(y, noisy), expected)
    mean = np.broadcast_to(y.mean(axis=0), y.shape)
    np.testing.assert_allclose(stats.r2(y, mean), 0, atol=1e-12)
    assert stats.r2(y[:, 0], y[:, 0] + 1) < 1 - 0.5
    assert stats.explained_variance(y[:, 0], y[:, 0] + 1) == pytest.approx(1.0)
    assert (stats.explained_variance(y, noisy) >= stats.r2(y, noisy)).all()
    assert isinstance(stats.r2(torch.tensor([1.0, 2.0]), torch.tensor([1.0, 2.0])), float)


def test_r2_against_the_training_mean():
    y = np.array([1.0, 2.0, 3.0])
    assert stats.r2(y, np.full(3, 7.0), baseline=7.0) == 0.0
    assert stats.r2(y, y + 0.5, baseline=7.0) > stats.r2(y, y + 0.5), "the test mean is the harder rival"


def test_r2_of_a_constant_column():
    assert stats.r2([2.0, 2.0], [2.0, 2.0]) == 1.0
    assert stats.r2([2.0, 2.0], [2.0, 3.0]) == -np.inf
    assert stats.r2([0.1] * 7, [0.1] * 7) == 1.0, "rounding of the mean is no variance"
    assert stats.explained_variance([0.1] * 7, [0.7] * 7) == 1.0


def test_r2_refuses():
    with pytest.raises(ValueError, match=r"`y` has shape \(2,\) and `prediction` \(3,\)"):
        stats.r2([1.0, 2.0], [1.0, 2.0, 3.0])
    with pytest.raises(ValueError, match="at least one cell"):
        stats.explained_variance([], [])
    with pytest.raises(ValueError, match="`prediction` holds 1 of 2 values"):
        stats.r2([1.0, 2.0], [1.0, np.nan])


def test_jaccard():
    assert stats.jaccard("a b c".split(), "b c d".split()) == 0.5
    assert stats.jaccard([], []) == 1.0
    assert stats.jaccard(["a"], []) == 0.0
    with pytest.raises(TypeError, match="`a` is the text 'abc'"):
        stats.jaccard("abc", ["a"])


def test_chance_values_equal_the_mean_over_all_subsets():
    pairs = [(set(b), {0, 1, 2}) for b in itertools.combinations(range(6), 2)]
    overlap = np.mean([len(a & b) for a, b in pairs])
    index = np.mean([stats.jaccard(a, b) for a, b in pairs])
    assert stats.expected_overlap(2, 3, 6) == pytest.approx(overlap)
    assert stats.chance_jaccard(2, 3, 6) == pytest.approx(index)
    assert stats.chance_jaccard(5, 5, 6) == pytest.approx(np.mean([1.0] + 5 * [4 / 6]))
    with pytest.raises(ValueError, match="`n_a` is 7, but must be at least 0 and at most 6"):
        stats.expected_overlap(7, 2, 6)
    with pytest.raises(ValueError, match="both 0"):
        stats.chance_jaccard(0, 0, 6)


def test_hypergeometric_pvalue():
    p = stats.hypergeometric_pvalue([0, 1, 2], 2, 3, 6)
    counts = [len({0, 1, 2} & set(b)) for b in itertools.combinations(range(6), 2)]
    np.testing.assert_allclose(p, [np.mean(np.array(counts) >= k) for k in (0, 1, 2)])
    fisher = scipy_stats.fisher_exact([[8, 12], [42, 700]], alternative="greater").pvalue
    assert stats.hypergeometric_pvalue(8, 20, 50, 762) == pytest.approx(fisher, rel=1e-9)
    with pytest.raises(ValueError, match="Subsets of 3 and 4 out of 10 cannot share 5"):
        stats.hypergeometric_pvalue(5, 3, 4, 10)
    with pytest.raises(ValueError, match="cannot share 0"):
        stats.hypergeometric_pvalue(0, 6, 6, 10)
    with pytest.raises(ValueError, match="`overlap` holds 1.5, no count"):
        stats.hypergeometric_pvalue(1.5, 3, 4, 10)
