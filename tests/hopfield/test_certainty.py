"""Intervals, halves and negative controls: against simulation, by counting, and at their extremes."""

import anndata
import numpy as np
import pandas as pd
import pytest
import torch

from scmods.hopfield import certainty, infer

GENES = [f"g{i}" for i in range(8)]
LABELS = ["CD4/CD8", "T cell (naïve)"]


def hill(x):
    return x**2 / (1 + x**2)


def weights():
    """(targets, regulators) on g0 to g3; half of the edges do not exist."""
    w = np.random.default_rng(3).normal(size=(8, 4)) * 2
    return w * (np.random.default_rng(4).random((8, 4)) < 0.5)


def cells(n=300, noise=1.0, seed=0, signal=1.0):
    """One field for two clusters, independent cells."""
    rng = np.random.default_rng(seed)
    x = rng.gamma(2.0, 0.6, size=(n, 8))
    v = signal * (hill(x[:, :4]) @ weights().T + 1) - x + noise * rng.normal(size=(n, 8))
    adata = anndata.AnnData(np.zeros((n, 8)), layers={"Ms": x, "velocity": v})
    adata.obs_names, adata.var_names = [f"c{i}" for i in range(n)], GENES
    adata.obs["cell_type"] = pd.Categorical(np.array(LABELS)[np.arange(n) % 2])
    adata.var["gamma"], adata.var["hopfield_threshold"], adata.var["hopfield_exponent"] = 1.0, 1.0, 2.0
    adata.var["transcription_factor"] = [True] * 4 + [False] * 4
    return adata


ALL = {"cluster_key": None}


@pytest.mark.parametrize("method", ["bootstrap", "halves"])
def test_intervals_cover_the_truth_at_about_their_level(method):
    covered = {0.8: [], 0.95: []}
    for seed in range(5):
        adata = cells(seed=seed)
        for level, hits in covered.items():
            table = certainty.edge_intervals(
                adata, method=method, level=level, n_resamples=40, fit_method="least_squares", **ALL
            )
            # the truth in the same unit: effect / weight is sd(phi) / sd(target)
            unit = (table["effect"] / table["weight"]).to_numpy()
            wanted = unit * [
                weights()[GENES.index(t), GENES.index(r)]
                for t, r in zip(table["target"], table["regulator"], strict=True)
            ]
            hits.extend((table["low"] <= wanted) & (wanted <= table["high"]))
    # 160 edges, not independent within a target: three standard errors are about 0.09 and 0.05
    assert abs(np.mean(covered[0.8]) - 0.8) < 0.09
    assert abs(np.mean(covered[0.95]) - 0.95) < 0.05
    assert len(covered[0.8]) == 160


def test_strong_edges_are_stable_and_absent_ones_rarely():
    table = certainty.edge_intervals(cells(n=600), n_resamples=40, fit_method="least_squares", **ALL)
    true = np.array(
        [
            weights()[GENES.index(t), GENES.index(r)]
            for t, r in zip(table["target"], table["regulator"], strict=True)
        ]
    )
    strong = np.abs(true) > 1
    assert strong.sum() >= 5
    assert table["stable"][strong].all()
    assert table["stable"][true == 0].mean() < 0.2
    assert (np.sign(table["effect"][strong]) == np.sign(true[strong])).all()
    assert (table["sign_stability"][strong] == 1).all()
    assert list(table.columns) == [
        "cluster",
        "regulator",
        "target",
        "effect",
        "weight",
        "low",
        "high",
        "sign_stability",
        "stable",
    ]


def test_resamples_are_refits_of_repeated_cells(monkeypatch):
    adata = cells(n=60)
    drawn = []
    original = certainty._bootstrap
    monkeypatch.setattr(certainty, "_bootstrap", lambda *a: drawn.append(original(*a)) or drawn[-1])
    table = certainty.edge_intervals(adata, n_resamples=5, ridge=0.3, **ALL)
    again = []
    for weight in drawn[0]:
        assert int(weight.sum()) == 60
        rows = np.repeat(np.arange(60), weight.numpy().astype(int))
        layers = {k: adata.layers[k][rows] for k in ("Ms", "velocity")}
        copy = anndata.AnnData(np.zeros((60, 8)), var=adata.var, layers=layers)
        field = infer.fit(copy, ridge=0.3, **ALL)
        effects = infer.effects(field, copy, **ALL)
        again.append(effects.set_index(["regulator", "target"])["effect"])
    sd = pd.concat(again, axis=1).std(axis=1)
    found = table.set_index(["regulator", "target"])
    half = (found["high"] - found["low"]) / 2 / 1.959963984540054
    np.testing.assert_allclose(half.loc[sd.index], sd, rtol=1e-6)
    signs = pd.concat(again, axis=1).loc[found.index]
    same = (np.sign(signs).to_numpy() == np.sign(found["effect"].to_numpy())[:, None]).mean(axis=1)
    np.testing.assert_allclose(found["sign_stability"], same)


def test_same_seed_same_table_and_other_seed_another():
    adata = cells(n=80)
    one, two, three = (certainty.edge_intervals(adata, n_resamples=6, seed=s) for s in (0, 0, 1))
    pd.testing.assert_frame_equal(one, two)
    assert (one["low"] != three["low"]).any()
    np.testing.assert_array_equal(one["effect"], three["effect"])
    assert sorted(set(one["cluster"])) == LABELS
    assert len(one) == 2 * 8 * 4


def test_forbidden_edges_are_not_in_the_table():
    edges = [("g0", "g1"), ("g2", "g5")]
    table = certainty.edge_intervals(cells(n=80), n_resamples=4, edges=edges, **ALL)
    assert set(zip(table["regulator"], table["target"], strict=True)) == set(edges)


@pytest.mark.parametrize("draw", [certainty._bootstrap, certainty._halves])
def test_draws_have_the_right_size_and_mean(draw):
    weight = draw(7, 4000, torch.Generator().manual_seed(0))
    total, mean = (7, 1.0) if draw is certainty._bootstrap else (4, 4 / 7)
    assert (weight.sum(1) == total).all()
    assert float((weight.mean(0) - mean).abs().max()) < 0.07
    if draw is certainty._halves:
        assert set(weight.unique().tolist()) == {0.0, 1.0}


def test_halves_agree_without_noise_and_do_not_without_signal():
    clean = certainty.split_half(cells(noise=0.0), method="least_squares")
    assert clean["correlation"].min() > 1 - 1e-9
    assert clean["correlation_effect"].min() > 0.99
    assert clean["n_cells"].tolist() == [150] * 6
    # with gamma x taken off, nothing is left but noise
    empty = certainty.split_half(cells(signal=0.0), n_splits=8, method="least_squares")
    assert abs(empty["correlation"].mean()) < 0.2
    assert abs(empty["same_sign"].mean() - 0.5) < 0.1
    noisy = certainty.split_half(cells(noise=1.0), method="least_squares")
    assert 0.5 < noisy["correlation"].mean() < 0.99


def test_split_is_two_fits_on_disjoint_cells(monkeypatch):
    adata = cells(n=41)
    drawn = []
    original = certainty._halves
    monkeypatch.setattr(certainty, "_halves", lambda *a: drawn.append(original(*a)) or drawn[-1])
    found = certainty.split_half(adata, n_splits=2, ridge=0.2, **ALL)
    for split, weight in enumerate(drawn[0].numpy().astype(bool)):
        a, b = (
            infer.fit(adata[rows].copy(), ridge=0.2, **ALL).cluster("all").w.flatten()
            for rows in (weight, ~weight)
        )
        assert found["correlation"][split] == pytest.approx(np.corrcoef(a, b)[0, 1])


@pytest.mark.parametrize("what", ["regulators", "velocity"])
def test_mixed_cells_give_nothing_but_chance(what):
    truth = np.zeros((8, 8))
    truth[:, :4] = weights()
    adata = cells(n=400, noise=0.3)
    table = certainty.null_fit(adata, what=what, n_shuffles=6, truth=truth, method="least_squares", **ALL)
    assert table["fit"].tolist() == ["data", *(f"shuffle {i}" for i in range(6))]
    data, null = table.iloc[0], table.iloc[1:]
    assert data["r2"] > 0.8
    assert data["tf_auroc"] > 0.9
    assert (null["tf_auroc"] < data["tf_auroc"]).all()
    x, v = adata.layers["Ms"], adata.layers["velocity"]
    if what == "regulators":  # what degradation alone explains is left
        alone = 1 - (v + x).var(axis=0).sum() / v.var(axis=0).sum()
        np.testing.assert_allclose(null["r2"], alone, atol=0.03)
        assert alone < data["r2"] - 0.1
        assert abs(null["tf_auroc"].mean() - 0.5) < 0.15
    else:  # degradation then points the wrong way
        assert (null["r2"] < 0).all()


def test_shuffled_fit_of_noise_has_no_adjusted_r2():
    adata = cells(n=60, signal=0.0)
    adata.var["gamma"] = 1e-9
    table = certainty.null_fit(adata, n_shuffles=20, method="least_squares", regulators=GENES, **ALL)
    null = table.iloc[1:]
    assert null["r2"].mean() > 0.05  # what least squares finds in nothing
    assert abs(null["r2_adjusted"].mean()) < 0.03


@pytest.mark.parametrize(
    ("call", "options", "kind", "text"),
    [
        (certainty.edge_intervals, {"method": "jackknife"}, ValueError, "`method` is 'jackknife'"),
        (certainty.edge_intervals, {"level": 1.0}, ValueError, "`level` is 1"),
        (
            certainty.edge_intervals,
            {"n_resamples": 1},
            ValueError,
            "`n_resamples` is 1, but must be at least 2",
        ),
        (certainty.split_half, {"riddge": 1.0}, TypeError, "no option 'riddge'.*Did you mean 'ridge'"),
        (certainty.split_half, {"n_splits": 0}, ValueError, "`n_splits` is 0"),
        (certainty.null_fit, {"what": "cells"}, ValueError, "`what` is 'cells'"),
        (certainty.null_fit, {"velocity_layer": "x"}, KeyError, r"layers\['x'\]` does not exist"),
    ],
)
def test_refuses_unknown_options(call, options, kind, text):
    with pytest.raises(kind, match=text):
        call(cells(n=40), **options)


@pytest.mark.parametrize(
    "call", [certainty.split_half, lambda a: certainty.edge_intervals(a, method="halves")]
)
def test_refuses_clusters_too_small_to_halve(call):
    adata = cells(n=40)
    adata.obs["cell_type"] = ["tiny"] * 3 + ["big"] * 37
    with pytest.raises(ValueError, match="Clusters too small to be halved: 'tiny': 3 cells"):
        call(adata)


@pytest.mark.data
def test_halves_agree_on_real_cells(data_folder):
    """Half of the cells of a cluster tell much of what the other half tells (bar: 0.4)."""
    from scmods import datasets, hopfield

    adata = datasets.load("pancreas")
    hopfield.select_genes(adata, n_genes=100)
    hopfield.moments(adata)
    hopfield.velocity(adata)
    adata.var["hopfield_used"] &= adata.var["gamma"] > 0
    hopfield.fit_hill(adata)
    largest = adata.obs["clusters"].value_counts().index[:4]
    adata = adata[adata.obs["clusters"].isin(largest)].copy()
    found = certainty.split_half(adata, cluster_key="clusters", ridge=0.3)
    assert len(found) == 12
    assert found["correlation"].mean() >= 0.4
