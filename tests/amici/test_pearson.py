"""Moments of the permutation distribution: against all orders, against reference values, and their tail."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from scmods.amici import pearson
from scmods.amici.pearson import (
    Moments,
    column_moments,
    pearson_tail,
    permutation_moments,
    permutation_variance,
)
from scmods.amici.permutations import Pair, all_orders, mapped_statistics


def centred(x: np.ndarray) -> np.ndarray:
    x = np.asarray(x, dtype=np.float64)
    return x - x.mean(axis=0)


def test_moments_and_tail_equal_the_reference(ref):
    for h in range(3):
        for t in range(3):
            a, b = centred(ref["predictions"][h, t]), centred(ref["targets"][t])
            moments = permutation_moments(a, b)
            assert moments.variance == pytest.approx(ref["perm_var"][h, t], rel=1e-9)
            assert moments.third == pytest.approx(ref["perm_third_moment"][h, t], rel=1e-9)
            p = pearson_tail(np.vdot(a, b), moments, 40)
            assert p == pytest.approx(ref["p_pearson3"][h, t], rel=1e-6)


@given(st.integers(0, 10_000), st.integers(3, 6), st.integers(1, 4))
def test_moments_equal_those_over_all_orders(seed, n, r):
    rng = np.random.default_rng(seed)
    pair = Pair(centred(rng.exponential(size=(n, r))), centred(rng.exponential(size=(n, r))))
    values = mapped_statistics([pair], all_orders(n))[0]
    moments = permutation_moments(pair.a, pair.b)
    scale = values.std()
    assert values.mean() == pytest.approx(0, abs=1e-12 * max(scale, 1))
    assert moments.variance == pytest.approx((values**2).mean(), rel=1e-9)
    assert moments.third == pytest.approx((values**3).mean(), rel=1e-8, abs=1e-9 * scale**3)


@pytest.mark.parametrize(("n", "r"), [(400, 2), (30, 9)])
def test_both_ways_to_the_third_moment_agree(n, r):
    rng = np.random.default_rng(0)
    a, b = centred(rng.exponential(size=(n, r))), centred(rng.exponential(size=(n, r)))
    by_tensor = np.vdot(pearson._third_by_tensor(a), pearson._third_by_tensor(b))
    assert by_tensor == pytest.approx(pearson._third_by_products(a, b), rel=1e-9)
    assert permutation_moments(a, b).third == pytest.approx(by_tensor * n / ((n - 1) * (n - 2)), rel=1e-9)


def test_small_blocks_of_the_sums_change_nothing(monkeypatch):
    rng = np.random.default_rng(1)
    a, b = centred(rng.exponential(size=(50, 3))), centred(rng.exponential(size=(50, 3)))
    whole = pearson._third_by_products(a, b), pearson._third_by_tensor(a)
    monkeypatch.setattr(pearson, "GRAM_ROWS", 100)
    assert pearson._third_by_products(a, b) == pytest.approx(whole[0], rel=1e-12)
    np.testing.assert_allclose(pearson._third_by_tensor(a), whole[1], rtol=1e-12, atol=1e-12)


def test_columns_are_single_genes():
    rng = np.random.default_rng(2)
    a, b = centred(rng.exponential(size=(20, 4))), centred(rng.exponential(size=(20, 4)))
    blocks = np.arange(20) % 2
    for codes in (None, blocks):
        x, y = (np.stack([v[:, [g]] for g in range(4)]) for v in (a, b))
        if codes is not None:
            for c in (0, 1):
                a[codes == c] = centred(a[codes == c])
                b[codes == c] = centred(b[codes == c])
            x, y = a.T[:, :, None], b.T[:, :, None]
        single = [permutation_moments(x[g], y[g], codes) for g in range(4)]
        together = column_moments(a, b, codes)
        np.testing.assert_allclose(together.variance, [m.variance for m in single], rtol=1e-9)
        np.testing.assert_allclose(together.third, [m.third for m in single], rtol=1e-9)


def test_cumulants_of_blocks_add_up():
    rng = np.random.default_rng(3)
    blocks = np.array([0, 0, 0, 1, 1, 1])
    a, b = rng.exponential(size=(2, 6, 2))
    for v in (a, b):
        v[:3], v[3:] = centred(v[:3]), centred(v[3:])
    orders = all_orders(3)
    joint = np.array([np.concatenate([x, 3 + y]) for x in orders for y in orders])
    values = mapped_statistics([Pair(a, b)], joint)[0]
    moments = permutation_moments(a, b, blocks)
    assert moments.variance == pytest.approx((values**2).mean(), rel=1e-9)
    assert moments.third == pytest.approx((values**3).mean(), rel=1e-9)
    assert permutation_variance(a, b, blocks) == pytest.approx(moments.variance, rel=1e-12)


def test_too_few_cells_have_no_moments():
    one = np.zeros((1, 2))
    assert permutation_moments(one, one) == (0, 0)
    two = np.array([[-1.0], [1.0]])
    assert permutation_moments(two, two) == (4.0, 0.0)
    assert column_moments(two, two).third.tolist() == [0.0]


@pytest.mark.parametrize("skew", [0.7, -0.7, 2.5, 1e-3, 0.0])
def test_tail_is_that_of_a_shifted_gamma(skew):
    sd = 3.0
    z = np.linspace(-2.5, 4, 14)
    p = pearson_tail(sd * z, Moments(np.array(sd**2), np.array(skew * sd**3)), 400)
    np.testing.assert_allclose(
        p, np.maximum(stats.pearson3.sf(z, skew), pearson.smallest_pvalue(400)), rtol=1e-6
    )


def test_no_p_is_zero_and_no_variance_gives_one():
    moments = Moments(np.array([1.0, 1.0, 0.0]), np.array([0.0, -1.9, 0.0]))
    p = pearson_tail(np.array([60.0, 60.0, 0.0]), moments, 5)
    np.testing.assert_allclose(p, [1 / 120, 1 / 120, 1.0])
    assert pearson_tail(np.array(1e3), Moments(np.array(1.0), np.array(0.0)), 10_000) > 0


def test_tail_is_close_to_permutations_for_sparse_predictions():
    rng = np.random.default_rng(4)
    a = centred(rng.exponential(size=(200, 3)) * (rng.uniform(size=(200, 3)) < 0.1))
    b = centred(rng.exponential(size=(200, 3)))
    values = mapped_statistics([Pair(a, b)], rng.permuted(np.tile(np.arange(200), (20_000, 1)), axis=1))[0]
    at = np.quantile(values, [0.5, 0.95, 0.99])
    p = pearson_tail(at, permutation_moments(a, b), 200)
    np.testing.assert_allclose(p, [0.5, 0.05, 0.01], rtol=0.15)
