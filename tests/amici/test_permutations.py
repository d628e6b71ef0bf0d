"""Permutation draws: reference counts, all orders, the two routes, and the level of the test."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from scmods.amici import permutations
from scmods.amici.calibration import family_calibration
from scmods.amici.pearson import permutation_variance
from scmods.amici.permutations import (
    Pair,
    all_orders,
    gathered,
    mapped_statistics,
    order_blocks,
    permutation_draws,
)
from scmods.amici.reference import count_by_gathering


def centred(x: np.ndarray) -> np.ndarray:
    x = np.asarray(x, dtype=np.float64)
    return x - x.mean(axis=0)


def make_pairs(n: int = 12, heads: int = 3, r: int = 2, seed: int = 0) -> list[Pair]:
    rng = np.random.default_rng(seed)
    b = centred(rng.normal(size=(n, r)))
    return [Pair(centred(rng.normal(size=(n, r))), b) for _ in range(heads)]


@pytest.mark.parametrize("route", ["gram", "gather"])
def test_counts_and_p_equal_the_reference(ref, route):
    orders = ref["permutations"].astype(np.int32)
    for t in range(3):
        pairs = [Pair(centred(ref["predictions"][h, t]), centred(ref["targets"][t])) for h in range(3)]
        null = gathered(pairs, mapped_statistics(pairs, orders, route=route))
        np.testing.assert_allclose(null.observed, ref["stat"][:, t], rtol=1e-9, atol=1e-12)
        np.testing.assert_array_equal(null.count, ref["count"][:, t])
        np.testing.assert_allclose(null.pvalue, ref["p_add_one"][:, t], rtol=1e-12)


def test_all_orders_of_six_cells_give_the_exact_p(ref):
    pair = Pair(centred(ref["tiny_prediction"]), centred(ref["tiny_target"]))
    null = permutation_draws([pair], 720, np.random.default_rng(0))
    assert null.exact
    assert null.draws.shape == (1, 720)
    assert null.pvalue[0] == pytest.approx(ref["tiny_p_exact"], rel=1e-12)
    mse = ((ref["tiny_prediction"].astype(float)[all_orders(6)] - ref["tiny_target"]) ** 2).mean(axis=(1, 2))
    np.testing.assert_allclose(np.sort(mse), ref["tiny_all_mse"], rtol=1e-6)
    fewer = permutation_draws([pair], 719, np.random.default_rng(0))
    assert not fewer.exact
    assert fewer.draws.shape == (1, 719)


@given(st.integers(0, 1000), st.integers(2, 30), st.integers(1, 6), st.integers(1, 9))
def test_routes_agree_with_the_definition(seed, n, r, n_maps):
    rng = np.random.default_rng(seed)
    pairs = make_pairs(n, 2, r, seed)
    maps = rng.integers(0, n, (n_maps, n))
    direct = np.array([[np.vdot(p.a[m], p.b) for m in maps] for p in pairs])
    for route in ("gram", "gather", "auto"):
        np.testing.assert_allclose(mapped_statistics(pairs, maps, route=route), direct, atol=1e-10)


def test_small_blocks_change_nothing(monkeypatch):
    pairs, maps = make_pairs(20), np.random.default_rng(0).integers(0, 20, (15, 20))
    whole = mapped_statistics(pairs, maps)
    monkeypatch.setattr(permutations, "GRAM", 50)
    monkeypatch.setattr(permutations, "GATHER", 100)
    for route in ("gram", "gather"):
        np.testing.assert_allclose(mapped_statistics(pairs, maps, route=route), whole, rtol=1e-12, atol=1e-12)


def test_order_of_squared_errors_is_that_of_the_statistic():
    rng = np.random.default_rng(1)
    p, y = rng.normal(size=(2, 30, 5))
    orders = next(order_blocks(30, 50, rng))
    mse = ((p[orders] - y) ** 2).mean(axis=(1, 2))
    found = mapped_statistics([Pair(centred(p), centred(y))], orders)[0]
    np.testing.assert_array_equal(np.argsort(mse), np.argsort(-found))


def test_normalised_statistic_is_the_covariance_at_the_original_spread():
    pair, maps = make_pairs(15, 1)[0], np.random.default_rng(2).integers(0, 15, (6, 15))
    found = mapped_statistics([pair], maps, normalise=True)[0]
    for value, m in zip(found, maps, strict=True):
        moved = centred(pair.a[m])
        expected = np.vdot(moved, pair.b) * np.linalg.norm(pair.a) / np.linalg.norm(moved)
        assert value == pytest.approx(expected, rel=1e-9)
    orders = all_orders(4)
    few = make_pairs(4, 1)
    plain = mapped_statistics(few, orders)
    np.testing.assert_allclose(mapped_statistics(few, orders, normalise=True), plain, rtol=1e-9)


def test_a_map_onto_one_cell_is_no_evidence():
    pair = make_pairs(5, 1)[0]
    maps = np.zeros((1, 5), dtype=int)
    np.testing.assert_allclose(mapped_statistics([pair], maps, normalise=True), 0.0, atol=1e-12)
    dead = Pair(np.zeros((5, 2)), pair.b)
    assert (mapped_statistics([dead], maps, normalise=True) == 0).all()


@pytest.mark.parametrize("n", [7, 600])
def test_orders_are_permutations_and_seeded(n):
    one = np.concatenate(list(order_blocks(n, 5, np.random.default_rng(3))))
    np.testing.assert_array_equal(np.sort(one, axis=1), np.tile(np.arange(n), (5, 1)))
    two = np.concatenate(list(order_blocks(n, 5, np.random.default_rng(3))))
    np.testing.assert_array_equal(one, two)
    assert len(np.unique(one, axis=0)) == 5


def test_orders_within_blocks_stay_there():
    blocks = np.array([0, 1, 0, 1, 1, 2])
    orders = next(order_blocks(6, 40, np.random.default_rng(4), blocks))
    np.testing.assert_array_equal(blocks[orders], np.tile(blocks, (40, 1)))
    np.testing.assert_array_equal(np.sort(orders, axis=1), np.tile(np.arange(6), (40, 1)))
    assert len(np.unique(orders, axis=0)) == 12


def test_orders_come_in_blocks_of_bounded_memory(monkeypatch):
    monkeypatch.setattr(permutations, "ENTRIES", 35)
    parts = list(order_blocks(10, 8, np.random.default_rng(0)))
    assert [len(p) for p in parts] == [3, 3, 2]


def test_every_order_is_equally_likely():
    orders = np.concatenate(list(order_blocks(3, 6000, np.random.default_rng(5))))
    counts = np.unique(orders, axis=0, return_counts=True)[1]
    assert len(counts) == 6
    assert ((counts - 1000) ** 2 / 1000).sum() < 20.5  # chi-square with 5 degrees of freedom, p = 0.001


def test_constant_prediction_has_p_one():
    pairs = [Pair(np.zeros((9, 1)), make_pairs(9, 1, 1)[0].b)]
    null = permutation_draws(pairs, 99, np.random.default_rng(0))
    assert null.pvalue[0] == 1.0
    assert null.max_pvalue(np.zeros(1))[0] == 1.0


def test_best_of_all_heads_is_adjusted_for_their_number():
    pairs = make_pairs(40, 5)
    null = permutation_draws(pairs, 400, np.random.default_rng(6))
    sd = np.sqrt([permutation_variance(p.a, p.b) for p in pairs])
    p, adjusted = null.pvalue, null.max_pvalue(sd)
    assert (adjusted >= p).all()
    assert (adjusted <= 5 * p + 1e-12).all()
    order = np.argsort(-null.observed / sd)
    assert (np.diff(adjusted[order]) >= 0).all()
    single = permutation_draws(pairs[:1], 400, np.random.default_rng(6))
    np.testing.assert_allclose(single.max_pvalue(sd[:1]), single.pvalue)


def test_exact_adjusted_p_counts_the_observed_order_once():
    pairs = make_pairs(5, 2)
    null = permutation_draws(pairs, 120, np.random.default_rng(0))
    sd = np.sqrt([permutation_variance(p.a, p.b) for p in pairs])
    top = (null.draws / sd[:, None]).max(axis=0)
    expected = [(top >= o / s - 1e-9).mean() for o, s in zip(null.observed, sd, strict=True)]
    np.testing.assert_allclose(null.max_pvalue(sd), expected)


def test_plain_reference_counts_the_same_on_average():
    rng = np.random.default_rng(7)
    y = rng.normal(size=(25, 4))
    p = 0.15 * y + rng.normal(size=(25, 4))
    plain = count_by_gathering(p, y, 2000, np.random.default_rng(0)) / 2000
    null = permutation_draws([Pair(centred(p), centred(y))], 2000, np.random.default_rng(1))
    assert null.count[0] / 2000 == pytest.approx(plain, abs=0.05)


def test_plus_one_keeps_the_level_of_families_and_the_published_p_does_not():
    table = family_calibration(400, n_heads=4, n_types=2, n_cells=20, n_permutations=160, seed=1).set_index(
        "p"
    )
    plus, plain = table.loc["(count + 1) / (orders + 1)"], table.loc["count / orders"]
    assert plus["zero"] == 0
    assert plain["zero"] > 0
    assert 0.02 <= plus["called"] <= 0.085
    assert plain["called"] > plus["called"]


def test_refusals():
    with pytest.raises(ValueError, match="`route` is 'fast'"):
        mapped_statistics(make_pairs(), np.zeros((1, 12), dtype=int), route="fast")
    with pytest.raises(ValueError, match="`n` is 9, but must be at least 1 and at most 8"):
        all_orders(9)
