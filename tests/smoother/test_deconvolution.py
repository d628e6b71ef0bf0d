"""Deconvolution: reference values, certificate, another solver, the face on AnnData, every refusal."""

from __future__ import annotations

from pathlib import Path

import anndata
import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import sparse
from scipy.optimize import nnls as one_spot

from scmods._checks import MissingKeyError, NumericalWarning
from scmods.smoother import _nnls
from scmods.smoother._log_normal import log_normal_objective
from scmods.smoother._profiles import dwls_weights, reference_profiles
from scmods.smoother.baselines import deconvolve_reference
from scmods.smoother.deconvolution import deconvolve, nnls, proportions
from scmods.smoother.graphs import knn_weights
from scmods.smoother.priors import precision
from scmods.smoother.simulate import reference, tissue
from scmods.smoother.weights import spatial_weights

FILE = Path(__file__).parents[1] / "data" / "smoother_models.npz"


@pytest.fixture(scope="module")
def given_values() -> dict[str, np.ndarray]:
    return dict(np.load(FILE))


@pytest.fixture
def spots() -> anndata.AnnData:
    adata = tissue(8, 8, seed=3)
    spatial_weights(adata, n_neighbors=4)
    return adata


def lattice_precision(side: int = 4, rho: float = 0.99) -> sparse.csr_array:
    coords = np.stack(np.meshgrid(np.arange(side), np.arange(side)), -1).reshape(-1, 2).astype(float)
    return precision(knn_weights(coords, 4), "icar", rho)


def problem(seed: int, n: int = 16, genes: int = 12, types: int = 3) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(seed)
    r = rng.gamma(1.0, 1.0, (genes, types))
    return rng.gamma(1.0, 1.0, (n, types)) @ r.T + rng.normal(0, 0.5, (n, genes)), r


def objective(x: np.ndarray, y: np.ndarray, r: np.ndarray, q: sparse.csr_array, smoothing: float) -> float:
    rest = y - x @ r.T
    rest = rest - rest.mean(axis=1, keepdims=True)
    return float((rest**2).mean() + smoothing * (x * (q @ x)).sum() / x.size)


def test_reference_values(given_values: dict[str, np.ndarray]) -> None:
    v = given_values
    fit = nnls(v["A_st_exp"].T, v["A_ref_exp"], v["A_Q_icar"], smoothing=float(v["D_nnls_lambda"]), tol=1e-12)
    np.testing.assert_allclose(fit.abundances.T, v["D_nnls_X"], atol=1e-9)
    assert fit.objective == pytest.approx(float(v["D_nnls_obj"]), abs=1e-12)
    assert int((fit.abundances == 0).sum()) == 10


@given(st.integers(0, 10_000), st.sampled_from([0.0, 0.01, 1.0]), st.sampled_from([1, 5, 40]))
def test_certificate_never_lies(seed: int, smoothing: float, steps: int) -> None:
    y, r = problem(seed)
    q, g = lattice_precision(), _nnls.gram(y, r)
    best, _, _ = _nnls.minimise(g, q, smoothing / 3, start=None, tol=1e-13, max_iter=50_000)
    rough, _, _ = _nnls.minimise(g, q, smoothing / 3, start=None, tol=0.0, max_iter=steps)
    found = _nnls.certificate(g, q, smoothing / 3, rough)
    lowest = objective(best, y, r, q, smoothing)
    assert found.objective == pytest.approx(objective(rough, y, r, q, smoothing), rel=1e-9)
    assert found.objective - found.gap <= lowest + 1e-10
    assert np.linalg.norm(rough - best) <= found.distance + 1e-8


def test_without_smoothing_equals_one_spot_at_a_time() -> None:
    y, r = problem(1)
    fit = nnls(y, r, lattice_precision(), smoothing=0.0, tol=1e-12)
    for i in range(len(y)):
        # a free bias of either sign is two columns of a non-negative problem
        both = np.column_stack([r, np.ones(len(r)), -np.ones(len(r))])
        x, _ = one_spot(both, y[i], maxiter=1000)
        np.testing.assert_allclose(fit.abundances[i], x[:3], atol=1e-7)
        assert fit.bias[i] == pytest.approx(x[3] - x[4], abs=1e-7)


def test_optimality_with_weights_and_smoothing() -> None:
    y, r = problem(2)
    q, smoothing = lattice_precision(), 0.3
    w = np.random.default_rng(0).uniform(0.5, 3, y.shape)
    fit = nnls(y, r, q, smoothing=smoothing, weights=w, tol=1e-12)
    rest = y - fit.abundances @ r.T - fit.bias[:, None]
    # derivative in the bias is 0; in the abundances 0 where positive, not negative where 0
    np.testing.assert_allclose((w * rest).sum(axis=1), 0, atol=1e-8)
    slope = -(w * rest) @ r / len(r) + smoothing / 3 * (q @ fit.abundances)
    assert np.abs(slope[fit.abundances > 0]).max() < 1e-9
    assert slope.min() > -1e-9
    assert fit.gap < 1e-12


def test_equal_weights_change_nothing() -> None:
    y, r = problem(3)
    q = lattice_precision()
    plain = nnls(y, r, q, smoothing=0.1, tol=1e-12)
    weighted = nnls(y, r, q, smoothing=0.1, weights=np.ones_like(y), tol=1e-12)
    np.testing.assert_allclose(plain.abundances, weighted.abundances, atol=1e-9)
    np.testing.assert_allclose(plain.bias, weighted.bias, atol=1e-9)
    assert plain.objective == pytest.approx(weighted.objective)


def test_without_bias_the_mean_of_genes_counts() -> None:
    y, r = problem(4)
    fit = nnls(y + 7.0, r, lattice_precision(), smoothing=0.1, tol=1e-12)
    same = nnls(y, r, lattice_precision(), smoothing=0.1, tol=1e-12)
    np.testing.assert_allclose(fit.abundances, same.abundances, atol=1e-8)
    free = nnls(y + 7.0, r, lattice_precision(), smoothing=0.1, bias=False)
    assert np.all(free.bias == 0)
    assert np.abs(free.abundances - same.abundances).max() > 0.5


def test_sparse_equals_dense() -> None:
    y, r = problem(5)
    y = np.maximum(y, 0)
    y[y < 1] = 0
    for w in (None, dwls_weights(y)):
        one = nnls(y, r, lattice_precision(), smoothing=0.1, weights=w)
        two = nnls(sparse.csr_array(y), r, lattice_precision(), smoothing=0.1, weights=w)
        np.testing.assert_allclose(one.abundances, two.abundances, atol=1e-10)
        np.testing.assert_allclose(one.bias, two.bias, atol=1e-10)


def test_descent_does_not_beat_the_optimum() -> None:
    y, r = problem(6)
    q = lattice_precision()
    slow = deconvolve_reference(y, r, q, smoothing=0.1, epochs=300, lr=0.05)
    fast = nnls(y, r, q, smoothing=0.1)
    assert fast.objective <= slow.objective + fast.gap
    assert slow.objective < 1.2 * fast.objective  # the same objective, nearly minimised


def test_stops_early_with_a_warning() -> None:
    y, r = problem(7)
    with pytest.warns(NumericalWarning, match=r"3 steps left a residual of .* within .* of the optimum"):
        fit = nnls(y, r, lattice_precision(), smoothing=0.1, max_iter=3)
    assert not fit.converged


def test_gradient_of_the_log_normal_objective() -> None:
    rng = np.random.default_rng(0)
    counts, r = rng.poisson(3.0, (16, 7)).astype(float), rng.gamma(1.0, 1.0, (7, 2))
    x, v, q = rng.uniform(0.5, 2, (16, 2)), rng.uniform(0, 1, 16), lattice_precision()
    value, dx, dv = log_normal_objective(x, v, counts, r, q, 0.3)
    expected = ((np.log(1 + x @ r.T + v[:, None]) - np.log1p(counts)) ** 2).mean() + 0.3 * (
        x * (q @ x)
    ).mean()
    assert value == pytest.approx(expected)
    for array, slope, at in ((x, dx, (3, 1)), (v, dv, (5,))):
        array[at] += 1e-6
        up = log_normal_objective(x, v, counts, r, q, 0.3)[0]
        array[at] -= 2e-6
        down = log_normal_objective(x, v, counts, r, q, 0.3)[0]
        array[at] += 1e-6
        assert (up - down) / 2e-6 == pytest.approx(slope[at], rel=1e-6)


def test_dwls_weights() -> None:
    w = dwls_weights(sparse.csr_array(np.array([[0.0, 0.5, 4.0]])))
    np.testing.assert_allclose(w, [[8.0, 8.0, 1.0]])


def test_rows_of_zeros_stay_zero() -> None:
    np.testing.assert_array_equal(proportions(np.array([[2.0, 2.0], [0.0, 0.0]])), [[0.5, 0.5], [0, 0]])


@pytest.mark.parametrize("model", ["nnls", "log_normal"])
def test_prior_helps_and_slots(spots: anndata.AnnData, model: str, tmp_path: Path) -> None:
    before = {slot: set(getattr(spots, slot)) for slot in ("obs", "obsm", "uns")}
    free = deconvolve(spots, reference(spots), smoothing=0.0, model=model, copy=True)
    deconvolve(spots, reference(spots), smoothing=0.1 if model == "nnls" else 0.03, model=model)
    error = [np.sqrt(((a.obsm["smoother_proportions"] - a.obsm["truth"]) ** 2).mean()) for a in (free, spots)]
    assert error[1] < 0.95 * error[0]
    assert error[1] < 0.16
    new = {slot: set(getattr(spots, slot)) - old for slot, old in before.items()}
    assert new["obsm"] == {"smoother_abundances", "smoother_proportions"}
    assert new["obs"] == {"smoother_bias"}
    assert new["uns"] == {"smoother_deconvolution"}
    np.testing.assert_allclose(spots.obsm["smoother_proportions"].sum(axis=1), 1)
    spots.write_h5ad(tmp_path / "a.h5ad")
    back = anndata.read_h5ad(tmp_path / "a.h5ad")
    assert list(back.uns["smoother_deconvolution"]["types"]) == list(spots.uns["truth"]["types"])


def test_dwls_on_the_face(spots: anndata.AnnData) -> None:
    deconvolve(spots, reference(spots), smoothing=0.1, weights="dwls")
    named = spots.obsm["smoother_abundances"]
    w = dwls_weights(np.log1p(spots.X.toarray()))
    deconvolve(spots, reference(spots), smoothing=0.1, weights=w)
    np.testing.assert_allclose(spots.obsm["smoother_abundances"], named, atol=1e-6)
    deconvolve(spots, reference(spots), smoothing=0.1)
    assert np.abs(spots.obsm["smoother_abundances"] - named).max() > 0.01
    with pytest.raises(ValueError, match="`weights` is 'wls'.*Did you mean 'dwls'"):
        deconvolve(spots, reference(spots), smoothing=0.1, weights="wls")
    with pytest.raises(ValueError, match="takes no weights"):
        deconvolve(spots, reference(spots), smoothing=0.1, weights="dwls", model="log_normal")


def test_auto_writes_its_curve(spots: anndata.AnnData, tmp_path: Path) -> None:
    deconvolve(spots, reference(spots))
    info = spots.uns["smoother_deconvolution"]
    assert info["smoothing"] in info["curve"]["smoothing"].to_numpy()
    assert info["smoothing"] > 0
    assert info["gap"] < 1e-9
    spots.write_h5ad(tmp_path / "a.h5ad")


def test_order_of_genes_and_extra_genes_do_not_matter(spots: anndata.AnnData) -> None:
    table = reference(spots)
    one = deconvolve(spots, table, smoothing=0.1, copy=True)
    table.loc["not measured"] = 5.0
    two = deconvolve(spots, table.sample(frac=1, random_state=0), smoothing=0.1, copy=True)
    np.testing.assert_allclose(one.obsm["smoother_abundances"], two.obsm["smoother_abundances"], atol=1e-7)


def test_empty_spots_are_kept_and_filled(spots: anndata.AnnData) -> None:
    x = spots.X.toarray()
    x[5] = 0
    spots.X = x
    with pytest.warns(NumericalWarning, match=r"No type was found in 1 spots; first: \['spot_5'\]"):
        deconvolve(spots, reference(spots), smoothing=0.0)
    assert spots.obsm["smoother_proportions"][5].sum() == 0
    deconvolve(spots, reference(spots), smoothing=0.1)
    assert spots.obsm["smoother_proportions"][5].sum() == pytest.approx(1)
    assert spots.uns["smoother_deconvolution"]["empty_spots"] == 0


def test_profiles_of_cells() -> None:
    cells = anndata.AnnData(sparse.csr_matrix(np.array([[1.0, 0], [3, 2], [0, 5]])))
    cells.obs["type"] = ["CD4/CD8", "CD4/CD8", "18"]
    table = reference_profiles(cells, "type")
    assert list(table.columns) == ["18", "CD4/CD8"]
    np.testing.assert_allclose(table.to_numpy(), [[0, 2], [5, 1]])


def test_refusals_of_tables(spots: anndata.AnnData) -> None:
    table = reference(spots)
    with pytest.raises(TypeError, match="`reference` is a ndarray, but must be a DataFrame"):
        deconvolve(spots, table.to_numpy(), smoothing=0.1)
    with pytest.raises(ValueError, match=r"share 0 genes.*same case"):
        deconvolve(spots, table.set_axis(table.index.str.lower() + "x"), smoothing=0.1)
    with pytest.raises(ValueError, match="It looks transposed: pass reference.T"):
        deconvolve(spots, table.T, smoothing=0.1)
    twin = table.assign(twin=2 * table.iloc[:, 0])
    with pytest.raises(ValueError, match="is a combination of those of the other types"):
        deconvolve(spots, twin, smoothing=0.1)
    with pytest.raises(ValueError, match=r"profiles of \['none'\] are zero in all"):
        deconvolve(spots, table.assign(none=0.0), smoothing=0.1)
    with pytest.raises(ValueError, match="reference holds negative values"):
        deconvolve(spots, table - 1.0, smoothing=0.1)
    more = pd.concat([table, table.set_axis([f"other{i}" for i in range(len(table))]), table.set_axis(
        [f"third{i}" for i in range(len(table))])])  # fmt: skip
    with pytest.warns(NumericalWarning, match="Only 145 of the 435 genes"):
        deconvolve(spots, more, smoothing=0.1)


def test_refusals_of_spots(spots: anndata.AnnData) -> None:
    table = reference(spots)
    with pytest.raises(MissingKeyError, match=r"spatial_connectivities.*spatial_weights\(adata\)"):
        deconvolve(tissue(4, 4), table)
    with pytest.raises(ValueError, match="sma' has a dense precision matrix"):
        deconvolve(spots, table, prior="sma", rho=0.1)
    with pytest.raises(ValueError, match="`smoothing` is 'more', but must be one of"):
        deconvolve(spots, table, smoothing="more")
    spots.layers["log"] = np.log1p(spots.X.toarray())
    with pytest.raises(ValueError, match="only counts of molecules can be split"):
        deconvolve(spots, table, layer="log")
    spots.layers["log"][3, 2] = np.nan
    with pytest.raises(ValueError, match=r"layers\['log'\].*spot_3"):
        deconvolve(spots, table, layer="log", smoothing=0.1)
    spots.layers["centred"] = spots.X.toarray() - 1
    with pytest.raises(ValueError, match="matrix of the spots holds negative values, down to -1"):
        deconvolve(spots, table, layer="centred", smoothing=0.1)


def test_refusals_of_arrays() -> None:
    y, r = problem(8)
    q = lattice_precision()
    with pytest.raises(ValueError, match=r"`y` has shape \(12, 16\).*transposed: pass y.T"):
        nnls(y.T, r, q, smoothing=0.1)
    with pytest.raises(ValueError, match="precision matrix has shape .9, 9., but `y` has 16 spots"):
        nnls(y, r, lattice_precision(3), smoothing=0.1)
    with pytest.raises(ValueError, match="`smoothing` is -1"):
        nnls(y, r, q, smoothing=-1)
    with pytest.raises(ValueError, match=r"`start` has shape \(3,\), but must be \(16, 3\)"):
        nnls(y, r, q, smoothing=0.1, start=np.zeros(3))
    with pytest.raises(ValueError, match="`weights` must be positive"):
        nnls(y, r, q, smoothing=0.1, weights=np.zeros_like(y))
    with pytest.raises(ValueError, match=r"`profiles` has shape \(12,\)"):
        nnls(y, r[:, 0], q, smoothing=0.1)
