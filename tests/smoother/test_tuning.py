"""Choice of the strength: thinning, curves, near the best strength of a simulation, warnings."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import sparse

from scmods._checks import NumericalWarning
from scmods.smoother._profiles import on_one_scale
from scmods.smoother._thinning import thin_counts
from scmods.smoother.deconvolution import nnls
from scmods.smoother.priors import precision
from scmods.smoother.simulate import reference, smooth_fields, tissue
from scmods.smoother.tuning import GRID, tune_denoising, tune_smoothing
from scmods.smoother.weights import spatial_weights


def small(depth: float = 0.3, seed: int = 0):
    adata = tissue(16, 16, depth=depth, seed=seed)
    spatial_weights(adata, n_neighbors=4)
    return adata


@pytest.mark.parametrize("kind", [np.asarray, sparse.csr_matrix])
def test_halves_are_independent_and_complete(kind: type) -> None:
    counts = np.random.default_rng(0).poisson(4.0, (200, 100)).astype(float)
    given = kind(counts.copy())
    parts = thin_counts(given, np.random.default_rng(1))
    one, two = (p.toarray() if sparse.issparse(p) else p for p in parts)
    np.testing.assert_array_equal(one + two, counts)
    assert one.min() >= 0
    assert one.mean() == pytest.approx(2, rel=0.02)
    # halves of a fixed count are opposed, halves of Poisson counts are not correlated at all
    assert abs(np.corrcoef(one.ravel(), two.ravel())[0, 1]) < 0.02
    np.testing.assert_array_equal(given.toarray() if sparse.issparse(given) else given, counts)


def test_fraction() -> None:
    one, _ = thin_counts(np.full((100, 100), 10.0), np.random.default_rng(0), fraction=0.8)
    assert one.mean() == pytest.approx(8, rel=0.01)


@pytest.mark.parametrize(("depth", "seed"), [(1.0, 0), (0.1, 1)])
def test_recommended_is_close_to_the_best(depth: float, seed: int) -> None:
    adata = small(depth, seed)
    profiles = reference(adata)
    tuned = tune_smoothing(adata, profiles)
    q = precision(adata.obsp["spatial_connectivities"], "icar", 0.99)
    r = np.log1p(on_one_scale(adata.X, profiles.to_numpy()))
    y = sparse.csr_array(adata.X.log1p(), dtype=float)
    error = {
        s: np.sqrt(((nnls(y, r, q, smoothing=s, tol=1e-5).proportions - adata.obsm["truth"]) ** 2).mean())
        for s in GRID
    }
    assert error[tuned.recommended] < 0.95 * error[0.0]
    assert error[tuned.recommended] < 1.06 * min(error.values())


def test_curve() -> None:
    adata = small()
    tuned = tune_smoothing(adata, reference(adata), grid=(3.0, 0.1), n_splits=1)
    table = tuned.curve
    assert table["smoothing"].tolist() == [0.0, 0.1, 3.0]
    assert table["gain"][0] == 0
    assert table["gain"].max() > 0.05
    assert table["score"].idxmin() == table.index[table["smoothing"] == tuned.recommended][0]
    again = tune_smoothing(adata, reference(adata), grid=(3.0, 0.1), n_splits=1)
    assert table.equals(again.curve)
    other = tune_smoothing(adata, reference(adata), grid=(3.0, 0.1), n_splits=1, seed=1)
    assert not table.equals(other.curve)


def test_no_structure_no_smoothing() -> None:
    counts = np.random.default_rng(0).poisson(np.random.default_rng(1).gamma(1, 60, (100, 8))).astype(float)
    adata = tissue(10, 10)
    spatial_weights(adata, n_neighbors=4)
    q = precision(adata.obsp["spatial_connectivities"], "icar", 0.99)
    assert tune_denoising(counts, q, log=True).recommended <= 0.01


def test_denoising_finds_the_smooth_rate() -> None:
    from scmods.smoother.imputation import solve_denoise

    adata = tissue(14, 14)
    spatial_weights(adata, n_neighbors=4)
    q = precision(adata.obsp["spatial_connectivities"], "icar", 0.99)
    fields = smooth_fields(14, 14, 20, length=4.0, generator=np.random.default_rng(0))
    rate = 3 * np.exp(0.5 * fields)
    counts = np.random.default_rng(1).poisson(rate).astype(float)
    tuned = tune_denoising(counts, q, log=False)
    seen = np.ones(196, dtype=bool)
    error = {s: ((solve_denoise(counts, q, seen, smoothing=s) - rate) ** 2).mean() for s in GRID[1:]}
    assert error[tuned.recommended] < 1.1 * min(error.values())
    assert error[tuned.recommended] < 0.5 * ((counts - rate) ** 2).mean()


def test_warns_of_too_much() -> None:
    adata = small(1.0)
    with pytest.warns(NumericalWarning, match=r"smoothing=10 over-smooths: .* Use smoothing="):
        tuned = tune_smoothing(adata, reference(adata), given=10.0, grid=(0, 0.1, 0.3), n_splits=1)
    assert tuned.oversmooths(10.0)
    assert not tuned.oversmooths(tuned.recommended)
    assert not tuned.oversmooths(0.0)


def test_warns_at_the_end_of_the_grid() -> None:
    adata = small(0.05)
    with pytest.warns(NumericalWarning, match="largest strength of the grid, 0.003, scores best"):
        tune_smoothing(adata, reference(adata), grid=(0, 0.003), n_splits=1)


def test_refusals() -> None:
    adata = small()
    with pytest.raises(ValueError, match="`grid` is .* two finite strengths"):
        tune_smoothing(adata, reference(adata), grid=(0.0,))
    with pytest.raises(ValueError, match="none negative"):
        tune_smoothing(adata, reference(adata), grid=(-1.0, 1.0))
    with pytest.raises(ValueError, match="no whole numbers, such as 0.5.*layer='counts'"):
        thin_counts(np.array([[0.5, 1.0]]), np.random.default_rng(0))
    with pytest.raises(ValueError, match="`fraction` is 1"):
        thin_counts(np.ones((1, 1)), np.random.default_rng(0), fraction=1.0)
    with pytest.raises(ValueError, match="`n_splits` is 0"):
        tune_smoothing(adata, reference(adata), n_splits=0)
