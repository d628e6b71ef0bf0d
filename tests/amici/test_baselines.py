"""The rivals find what is trivial, find nothing in nothing, and fall behind where the page says so."""

from __future__ import annotations

import numpy as np
import pytest
from anndata import AnnData, concat
from scipy.spatial import cKDTree

from scmods._checks import MissingKeyError
from scmods.amici.baselines import indicator_regression, minus_distance, type_means
from scmods.amici.recovery import gene_recovery, pair_recovery
from scmods.amici.simulate import semisynthetic
from scmods.stats import explained_variance


def nearest_others(adata: AnnData, k: int = 20) -> tuple[np.ndarray, np.ndarray]:
    """The k nearest cells of other types."""
    coords, codes = adata.obsm["spatial"], adata.obs["cell_type"].cat.codes.to_numpy()
    near, distance = np.empty((adata.n_obs, k), dtype=int), np.empty((adata.n_obs, k))
    for t in np.unique(codes):
        other, own = np.flatnonzero(codes != t), np.flatnonzero(codes == t)
        distance[own], position = cKDTree(coords[other]).query(coords[own], k)
        near[own] = other[position]
    return near, distance


@pytest.mark.parametrize("seed", [0, 1])
def test_a_hard_radius_is_trivial_for_the_regression(seed: int) -> None:
    adata = semisynthetic(seed=seed)
    near, distance = nearest_others(adata)
    strip = np.abs(adata.obsm["spatial"][:, 0] / adata.obsm["spatial"][:, 0].max() - 0.5) < 0.05
    fit = indicator_regression(adata, train=~strip)
    found = fit.table[["receiver", "sender", "reach"]].to_numpy().tolist()
    assert found == [["DC", "B", 20.0], ["T", "Mono", 10.0]]
    recovered = pair_recovery(adata, near, fit.pair_scores(near))
    assert recovered["sender"] == 1
    assert recovered["receiver"] == 1
    assert gene_recovery(adata, fit.gene_scores())["mean"] > 0.99
    # nearness alone is a poor guess, and chance a worse one
    by_distance = pair_recovery(adata, near, minus_distance(distance))
    assert by_distance["sender"] == pytest.approx(0.137, abs=0.02)
    assert by_distance["sender_base"] == pytest.approx(0.034, abs=0.004)
    # what it says about cells it never saw is right as well
    own = strip & (adata.obs["cell_type"] == "T").to_numpy()
    y = np.asarray(adata.X, dtype=float)[own]
    share = 1 - (y - fit.prediction[own]).var(axis=0).sum() / y.var(axis=0).sum()
    assert share == pytest.approx(0.12, abs=0.04)


@pytest.mark.parametrize("shape", ["indicator", "exponential"])
def test_null_gives_no_term_and_the_type_means(shape: str) -> None:
    for seed in range(3):
        adata = semisynthetic(1000, 60, mode="null", seed=seed)
        fit = indicator_regression(adata, shape=shape, grid=(10.0, 20.0))
        assert len(fit.table) == 0
        np.testing.assert_array_equal(fit.prediction, type_means(adata))
        assert (fit.gene_scores()["score"] == 0).all()
        assert (fit.pair_scores(np.ones((1000, 2), dtype=int)) == 0).all()


def test_graded_range_and_competence_defeat_the_indicator() -> None:
    adata = semisynthetic(mode="graded", seed=1)
    near, _ = nearest_others(adata)
    fit = indicator_regression(adata)
    found = set(zip(fit.table["receiver"], fit.table["sender"], strict=True))
    assert found >= {("DC", "B"), ("T", "Mono")}
    assert pair_recovery(adata, near, fit.pair_scores(near))["sender"] < 0.45


def test_spill_over_makes_the_regression_call_pairs_that_do_not_interact() -> None:
    calls = []
    for seed in range(3):
        adata = semisynthetic(2000, 100, mode="null", spill=0.1, seed=seed)
        calls.append(len(indicator_regression(adata, grid=(5.0, 10.0)).table))
    assert sum(calls) >= 3


def test_prediction_and_errors_are_least_squares() -> None:
    adata = semisynthetic(600, 40, seed=1)
    fit = indicator_regression(adata, grid=(10.0,), shape="indicator")
    row = list(fit.table["receiver"]).index("T")
    own = (adata.obs["cell_type"] == "T").to_numpy()
    d = np.linalg.norm(adata.obsm["spatial"][own][:, None] - adata.obsm["spatial"], axis=2)
    near = (d[:, (adata.obs["cell_type"] == "Mono").to_numpy()] <= 10).any(axis=1)
    assert fit.table["sender"][row] == "Mono"
    assert (fit.table["receiver"] == "T").sum() == 1
    y = np.asarray(adata.X, dtype=float)[own]
    shift = y[near].mean(axis=0) - y[~near].mean(axis=0)
    np.testing.assert_allclose(fit.effects[row], shift, atol=1e-10)
    pooled = (y[near].var(axis=0) * near.sum() + y[~near].var(axis=0) * (~near).sum()) / (len(y) - 2)
    np.testing.assert_allclose(fit.errors[row] ** 2, pooled * (1 / near.sum() + 1 / (~near).sum()), rtol=1e-9)
    gain = (1 - explained_variance(y, fit.prediction[own])) @ y.var(axis=0) / y.var(axis=0).sum()
    assert fit.table["gain"][row] == pytest.approx(1 - gain)


def test_cells_of_another_section_are_not_near() -> None:
    one, two = semisynthetic(700, 60, seed=1), semisynthetic(700, 60, mode="null", seed=2)
    both = concat([one, two], index_unique="-", label="section", keys=["one", "two"])
    grid = (10.0, 20.0)
    apart = both.copy()
    apart.obsm["spatial"] = both.obsm["spatial"] + 1e4 * (both.obs["section"] == "two").to_numpy()[:, None]
    keyed = indicator_regression(both, library_key="section", grid=grid)
    assert keyed.table.equals(indicator_regression(apart, grid=grid).table)
    assert not keyed.table.equals(indicator_regression(both, grid=grid).table)


def test_forms_of_the_matrix_and_order_of_the_cells(tiny: AnnData) -> None:
    tiny = tiny.copy()
    tiny.obsm["spatial"] = 30 * tiny.obsm["spatial"]
    fit = indicator_regression(tiny, grid=(5.0,), n_perms=59, alpha=1.0)
    assert fit.types == ["18", "CD4/CD8", "T cell (naïve)"]
    order = np.random.default_rng(1).permutation(60)
    np.testing.assert_allclose(type_means(tiny[order]), type_means(tiny)[order])
    assert set(fit.gene_scores()["receiver"]) == set(fit.types)


def test_refusals(tiny: AnnData) -> None:
    with pytest.raises(ValueError, match=r"`grid` is \(0,\), but must be radii above 0"):
        indicator_regression(tiny, grid=(0,))
    with pytest.raises(ValueError, match="`n_perms` is 10, but must be at least 59"):
        indicator_regression(tiny, n_perms=10)
    with pytest.raises(ValueError, match="`shape` is 'cone'"):
        indicator_regression(tiny, shape="cone")
    with pytest.raises(MissingKeyError, match="'place'.*spatial_key"):
        indicator_regression(tiny, spatial_key="place")
    with pytest.raises(MissingKeyError, match="'slide'.*column of sections"):
        indicator_regression(tiny, library_key="slide")
    with pytest.raises(ValueError, match=r"`train` has shape \(2,\).*amici.strip"):
        type_means(tiny, train=[True, False])
    first = tiny.obs["cell_type"] != "18"
    with pytest.raises(ValueError, match="Type '18' has 20 cells, but none of them is in `train`"):
        type_means(tiny, train=first.to_numpy())
    tiny = tiny.copy()
    tiny.obsm["line"] = np.zeros((60, 1))
    with pytest.raises(ValueError, match=r"shape \(60, 1\), but must be cells x 2"):
        indicator_regression(tiny, spatial_key="line")
    fit = indicator_regression(tiny, grid=(1.0,))
    with pytest.raises(ValueError, match="`neighbors` has shape"):
        fit.pair_scores(np.zeros((3, 2)))
    tiny.X = tiny.X.toarray() if hasattr(tiny.X, "toarray") else np.array(tiny.X)
    tiny.X[3, 2] = np.nan
    with pytest.raises(
        ValueError, match="`adata.X` holds 1 values that are NaN.*first: cell 'cell3', gene 'gene2'"
    ):
        type_means(tiny)
