"""The cross-fitted test: its statistic by plain loops, its calibration, and what it finds."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from anndata import AnnData

from scmods._checks import NumericalWarning
from scmods.amici import crossfit
from scmods.amici._example import example_outputs
from scmods.amici._pair_test import compare_receiver, receiver_folds
from scmods.amici.crossfit import CrossFit, cross_fit
from scmods.amici.folds import sender_markers, stripes
from scmods.amici.heads import HeadOutputs
from scmods.amici.simulate import semisynthetic

SENDERS = [0, 1]


def receivers(n: int = 60, *, seed: int = 0, n_genes: int = 5) -> HeadOutputs:
    outputs = example_outputs(n, seed=seed, n_genes=n_genes)
    return outputs.subset(outputs.types == 2)


def added(outputs: HeadOutputs, sender: int) -> np.ndarray:
    """Prediction with the neighbours of a type as the only ones, minus that without any, (cells, genes)."""
    u = outputs.query.copy()
    for i in range(len(outputs)):
        for h in range(outputs.n_heads):
            places = [
                (j, row)
                for j, row in enumerate(outputs.rows[i])
                if row >= 0 and outputs.tables.types[row] == sender
            ]
            total = outputs.attention[i, h, -1] + sum(outputs.attention[i, h, j] for j, _ in places)
            for j, row in places:
                moved = outputs.readout.head_out[:, h] @ outputs.tables.value[row, h]
                u[i] += outputs.attention[i, h, j] / total * moved
    nobody = outputs.readout.decode(outputs.types, outputs.query)
    return outputs.readout.decode(outputs.types, u) - nobody


def beyond(x: np.ndarray, other: np.ndarray) -> np.ndarray:
    """Columns without their part along the two leading axes of another array."""
    axes = np.linalg.svd(other - other.mean(axis=0), full_matrices=False)[0][:, :2]
    x = x - x.mean(axis=0)
    return x - axes @ (axes.T @ x)


@pytest.mark.parametrize("n_genes", [3, 5, 40])
def test_statistic_and_gain_are_those_of_the_definition(n_genes: int) -> None:
    one, two = receivers(n_genes=n_genes), receivers(seed=5, n_genes=n_genes)
    two = replace(two, read=one.read)
    keep = np.random.default_rng(1).random((2, n_genes)) < 0.7
    keep[:, 0] = True
    fold = receiver_folds([one, two], np.zeros((20, 2)), SENDERS, keep)
    y = one.observed
    each = [(added(one, s) + added(two, s)) / 2 for s in SENDERS]
    for s in SENDERS:
        d, rest = (beyond(x, each[1 - s])[:, keep[s]] for x in (each[s], y))
        assert fold.pairs[s].observed == pytest.approx((d * rest).sum())
        # the same for any other order of the cells, and for distances between rows
        order = np.random.default_rng(s).permutation(20)
        pair = fold.pairs[s]
        assert (pair.a[order] * pair.b).sum() == pytest.approx((d[order] * rest).sum())
        np.testing.assert_allclose((pair.a**2).sum(), (d**2).sum())
        assert fold.gain[s] == pytest.approx((rest**2).sum() - ((rest - d) ** 2).sum())
    assert fold.variance == pytest.approx(20 * y.var(axis=0).sum())
    assert list(fold.exposed) == [int((one.neighbor_types == s).any(axis=1).sum()) for s in SENDERS]


def test_a_type_that_lives_where_the_sender_lives_drops_out() -> None:
    outputs = receivers(300, seed=3)
    y = added(outputs, 1) + 0.1 * np.random.default_rng(0).normal(size=(100, 5))
    values = np.zeros((300, 5))
    values[outputs.cells] = y
    keep = np.ones((2, 5), dtype=bool)
    fold = receiver_folds(
        [replace(outputs, read=lambda rows: values[rows])], np.zeros((100, 2)), SENDERS, keep
    )
    result = compare_receiver([fold], n_permutations=199, null="free", rng=np.random.default_rng(2))
    assert result.pvalue[1] == 1 / 200
    assert result.z[0] < result.z[1] / 3


def test_pvalues_are_uniform_when_expression_is_noise() -> None:
    keep, low = np.ones((2, 5), dtype=bool), []
    for seed in range(100):
        rng = np.random.default_rng(seed)
        folds = []
        for part in range(2):
            noise = rng.normal(size=(60, 5))
            one = replace(receivers(seed=2 * seed + part), read=lambda rows, noise=noise: noise[rows])
            folds.append(receiver_folds([one], np.zeros((20, 2)), SENDERS, keep))
        result = compare_receiver(folds, n_permutations=99, null="free", rng=rng)
        low.append(result.pvalue)
    low = np.array(low)
    assert low.min() >= 0.01
    assert (low <= 0.05).mean() == pytest.approx(0.05, abs=0.035)
    assert low.mean() == pytest.approx(0.5, abs=0.07)


@pytest.mark.parametrize("null", ["free", "mirror", "toroidal"])
def test_a_planted_response_passes_and_its_mirror_image_does_not(null: str) -> None:
    keep = np.ones((2, 5), dtype=bool)
    coords = np.random.default_rng(0).uniform(0, 50, (40, 2))
    outputs = receivers(120)
    noise = np.random.default_rng(1).normal(size=(120, 5))
    for sign in (1, -1):
        y = noise.copy()
        y[outputs.cells] += sign * 2 * added(outputs, 1)
        fold = receiver_folds([replace(outputs, read=lambda rows, y=y: y[rows])], coords, SENDERS, keep)
        result = compare_receiver([fold], n_permutations=199, null=null, rng=np.random.default_rng(2))
        assert (result.pvalue[1] == 1 / 200) if sign > 0 else (result.pvalue[1] > 0.9)
        assert (result.z[1] > 3) if sign > 0 else (result.z[1] < -3)
        assert (result.share[1] > 0.1) if sign > 0 else (result.share[1] < 0)


def test_small_folds_are_left_out() -> None:
    keep, rng = np.ones((2, 5), dtype=bool), np.random.default_rng(0)
    big, small = receivers(60), receivers(60, seed=1).subset(np.arange(7))
    folds = [receiver_folds([one], np.zeros((len(one), 2)), SENDERS, keep) for one in (big, small)]
    both = compare_receiver(folds, n_permutations=19, null="free", rng=rng)
    alone = compare_receiver(folds[:1], n_permutations=19, null="free", rng=rng)
    np.testing.assert_array_equal(both.statistic, alone.statistic)
    assert both.n_cells == 20
    assert compare_receiver(folds[1:], n_permutations=19, null="free", rng=rng) is None


@pytest.fixture(scope="module")
def tissue() -> AnnData:
    """T cells near Mono are far off in the genes that respond, so that a short fit is enough."""
    adata = semisynthetic(500, 30, reach=(18, 18), seed=1)
    cells = (adata.obs["receives"] & (adata.obs["cell_type"] == "T")).to_numpy()
    adata.X[np.ix_(cells, adata.varm["responds"]["T"].to_numpy())] += 4
    return adata


@pytest.fixture(scope="module")
def fitted(tissue: AnnData) -> CrossFit:
    sizes = {"n_neighbors": 8, "n_heads": 2, "cell_width": 32}
    return cross_fit(tissue, n_folds=2, max_epochs=18, n_permutations=399, lr=3e-3, **sizes)


def test_cells_are_judged_by_a_model_that_never_saw_them(tissue: AnnData, fitted: CrossFit) -> None:
    np.testing.assert_array_equal(fitted.folds, stripes(tissue, 2))
    for f, model in enumerate(fitted.models):
        np.testing.assert_array_equal(model.held_out, fitted.folds == f)
        np.testing.assert_array_equal(fitted.outputs(f).cells, np.flatnonzero(fitted.folds == f))


def test_a_strong_planted_pair_comes_first(fitted: CrossFit) -> None:
    table = fitted.table
    assert len(table) == 12
    best = table.sort_values("z").iloc[-1]
    assert (best["receiver"], best["sender"]) == ("T", "Mono")
    passed = fitted.passed(by="pvalue_family")
    assert ("T", "Mono") in {*zip(passed["receiver"], passed["sender"], strict=True)}
    assert best["pvalue"] == 1 / 400
    assert best["share"] > 0.03
    assert fitted.matrix("z").loc["Mono", "T"] == best["z"]
    assert np.isnan(fitted.matrix().loc["T", "T"])
    tested = table["pvalue"].notna().to_numpy()
    # Holm by its definition: step down until the first that fails
    p = np.sort(table["pvalue"][tested])
    for alpha in (0.01, 0.04, 0.2, 0.7):
        fails = np.flatnonzero(p > alpha / np.arange(len(p), 0, -1))
        called = fails[0] if len(fails) else len(p)
        assert len(fitted.passed(alpha, by="pvalue_family", improving=False)) == called
    everyone, helpful = fitted.passed(1.0, improving=False), fitted.passed(1.0)
    assert (everyone["share"] <= 0).any(), "some sender must do harm for this test to say anything"
    assert set(helpful.index) < set(everyone.index)
    assert (helpful["share"] > 0).all()
    assert len(helpful) == (everyone["share"] > 0).sum()
    assert (table["n_cells"] >= table["n_exposed"]).all()
    # p and z belong to the null that is kept
    above = (fitted.null[tested] >= table["statistic"].to_numpy()[tested, None]).sum(axis=1)
    np.testing.assert_allclose(table["pvalue"][tested], (above + 1) / 400)


def test_testing_again_needs_no_fit(
    tissue: AnnData, fitted: CrossFit, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(crossfit.AMICI, "fit", None)
    with pytest.warns(NumericalWarning, match="`n_permutations` is 99.*12 pairs.*n_permutations=240"):
        again = fitted.retest(without_markers=True, n_permutations=99)
    keep = ~sender_markers(tissue)
    types = fitted.types
    for row in again.table.itertuples():
        assert row.n_genes == keep[types.index(row.receiver), types.index(row.sender)].sum()
    assert again.settings["n_permutations"] == 99
    assert fitted.retest(n_permutations=None).settings["n_permutations"] == 2000
    assert fitted.retest().table.equals(fitted.table)
    assert not fitted.retest(seed=1).table.equals(fitted.table)


def test_markers_are_what_the_sender_has_more_of(tissue: AnnData) -> None:
    x, label = np.asarray(tissue.X, dtype=float), tissue.obs["cell_type"].to_numpy()
    more = x[label == "Mono"].mean(axis=0) - x[label == "T"].mean(axis=0)
    np.testing.assert_array_equal(sender_markers(tissue, fold=0.4)[3, 2], more > 0.4)
    assert not sender_markers(tissue)[np.arange(4), np.arange(4)].any()


def test_stripes_hold_equal_numbers_in_order_and_by_section(tissue: AnnData) -> None:
    folds, x = stripes(tissue, 4), tissue.obsm["spatial"][:, 0]
    assert list(np.bincount(folds)) == [125] * 4
    assert all(x[folds == f].max() <= x[folds == f + 1].min() for f in range(3))
    two = tissue.copy()
    two.obs["slide"] = np.where(np.arange(500) < 300, "a", "b")
    by_slide = stripes(two, 3, library_key="slide")
    assert list(np.bincount(by_slide[:300])) == [100] * 3
    assert list(np.bincount(by_slide[300:])) == [67, 67, 66]


def test_refusals(tissue: AnnData, fitted: CrossFit) -> None:
    with pytest.raises(TypeError, match=r"`held_out` is set by `cross_fit` itself.*adata\[~mask\]"):
        cross_fit(tissue, held_out=np.zeros(500, dtype=bool))
    with pytest.raises(ValueError, match="`n_permutations` is 9, but must be at least 19"):
        cross_fit(tissue, n_permutations=9)
    with pytest.raises(ValueError, match="`null` is 'torus'.*"):
        cross_fit(tissue, null="torus")
    with pytest.raises(ValueError, match="`option` is 'max_epochs'"):
        fitted.retest(max_epochs=3)
    with pytest.raises(ValueError, match="`by` is 'holm'"):
        fitted.passed(by="holm")
    with pytest.raises(ValueError, match="`value` is 'zz'"):
        fitted.matrix("zz")
    with pytest.raises(ValueError, match="`n_folds` is 1"):
        stripes(tissue, 1)
    with pytest.raises(ValueError, match="A section has 2 cells, fewer than n_folds=3"):
        stripes(tissue[:2])
    with pytest.raises(ValueError, match="`fold` is 3, but must be at least 0 and at most 1"):
        fitted.outputs(3)
    with pytest.raises(ValueError, match="`fold` is -1"):
        sender_markers(tissue, fold=-1)
