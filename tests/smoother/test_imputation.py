"""Imputation and denoising: reference values, dense algebra, variances, refusals."""

from __future__ import annotations

from pathlib import Path

import anndata
import numpy as np
import pytest
from scipy import sparse

from scmods._checks import MissingKeyError
from scmods.smoother.baselines import impute_reference
from scmods.smoother.graphs import knn_weights
from scmods.smoother.imputation import denoise, impute, solve_denoise, solve_impute
from scmods.smoother.priors import precision
from scmods.smoother.simulate import layered
from scmods.smoother.weights import spatial_weights

FILE = Path(__file__).parents[1] / "data" / "smoother_models.npz"


def field(side: int = 7, genes: int = 4, seed: int = 0) -> anndata.AnnData:
    coords = np.stack(np.meshgrid(np.arange(side), np.arange(side)), -1).reshape(-1, 2).astype(float)
    rng = np.random.default_rng(seed)
    wave = np.column_stack([np.sin(coords @ rng.normal(0, 0.4, 2)) for _ in range(genes)])
    adata = anndata.AnnData(3 + wave + rng.normal(0, 0.2, wave.shape))
    adata.obsm["spatial"] = coords
    adata.obs["measured"] = rng.uniform(size=len(coords)) > 0.25
    spatial_weights(adata, n_neighbors=4)
    return adata


def test_reference_values() -> None:
    v = np.load(FILE)
    y, observed = v["A_beta"].T, np.arange(25) < int(v["D_n_obs"])
    np.testing.assert_allclose(solve_impute(y, v["A_Q_icar"], observed), v["D_impute_missing"], atol=1e-9)
    smooth = solve_denoise(y, v["A_Q_icar"], observed, smoothing=float(v["D_denoise_lambda"]))
    np.testing.assert_allclose(smooth, v["D_denoise"], atol=1e-9)


@pytest.mark.parametrize("kind", [np.asarray, sparse.csr_matrix])
def test_impute_is_the_conditional_mean(kind: type) -> None:
    adata = field()
    q = precision(adata.obsp["spatial_connectivities"], "icar", 0.99).toarray()
    seen = adata.obs["measured"].to_numpy()
    covariance, y = np.linalg.inv(q), adata.X.copy()
    mean = y[seen].mean(axis=0)
    gain = covariance[np.ix_(~seen, seen)] @ np.linalg.inv(covariance[np.ix_(seen, seen)])
    rest = covariance[np.ix_(~seen, ~seen)] - gain @ covariance[np.ix_(seen, ~seen)]
    adata.X = kind(y)
    impute(adata, "measured")
    out = adata.layers["smoother_imputed"]
    np.testing.assert_array_equal(out[seen], y[seen])
    np.testing.assert_allclose(out[~seen], mean + gain @ (y[seen] - mean), atol=1e-10)
    np.testing.assert_allclose(adata.obs["smoother_uncertainty"][~seen], np.sqrt(np.diag(rest)), atol=1e-10)
    assert (adata.obs["smoother_uncertainty"][seen] == 0).all()
    # the scale is the maximum likelihood under the marginal of what was observed
    inverse = np.linalg.inv(covariance[np.ix_(seen, seen)])
    squares = np.einsum("ig,ij,jg->g", y[seen] - mean, inverse, y[seen] - mean)
    np.testing.assert_allclose(adata.var["smoother_scale"], np.sqrt(squares / seen.sum()), atol=1e-10)


def test_denoise_is_the_posterior() -> None:
    adata = field(seed=1)
    q = precision(adata.obsp["spatial_connectivities"], "icar", 0.99).toarray()
    seen = adata.obs["measured"].to_numpy()
    share = 0.7 * seen.mean()
    posterior = np.linalg.inv(np.diag(seen.astype(float)) + share * q)
    mean = adata.X[seen].mean(axis=0)
    denoise(adata, smoothing=0.7, observed="measured")
    expected = mean + posterior[:, seen] @ (adata.X[seen] - mean)
    np.testing.assert_allclose(adata.layers["smoother_denoised"], expected, atol=1e-10)
    np.testing.assert_allclose(adata.obs["smoother_uncertainty"], np.sqrt(np.diag(posterior)), atol=1e-10)
    # maximum likelihood of the noise: covariance of the data is noise^2 (I + K), K = Q^-1 / share
    marginal = np.eye(seen.sum()) + np.linalg.inv(q)[np.ix_(seen, seen)] / share
    y = adata.X[seen] - mean
    squares = np.einsum("ig,ij,jg->g", y, np.linalg.inv(marginal), y)
    np.testing.assert_allclose(adata.var["smoother_scale"], np.sqrt(squares / seen.sum()), atol=1e-10)


def test_denoise_minimises_its_objective() -> None:
    adata = field(seed=2)
    q = precision(adata.obsp["spatial_connectivities"], "icar", 1.0)
    seen = adata.obs["measured"].to_numpy()

    def value(z: np.ndarray) -> float:
        return ((z - adata.X)[seen] ** 2).sum() / seen.sum() + 0.4 * (z * (q @ z)).sum() / len(seen)

    best = solve_denoise(adata.X, q, seen, smoothing=0.4)
    rng = np.random.default_rng(0)
    assert all(value(best + 1e-3 * rng.normal(size=best.shape)) > value(best) for _ in range(10))


def test_constant_field_is_filled_with_the_constant() -> None:
    adata = field()
    adata.X = np.full(adata.shape, 2.5)
    for rho in (1.0, 0.9):
        impute(adata, "measured", rho=rho)
        np.testing.assert_allclose(adata.layers["smoother_imputed"], 2.5, atol=1e-12)


def test_descent_is_not_better() -> None:
    adata = field()
    q = precision(adata.obsp["spatial_connectivities"], "icar", 0.99)
    seen = adata.obs["measured"].to_numpy()
    slow = impute_reference(adata.X, q, seen, epochs=600, lr=0.02)
    full = adata.X.copy()
    full[~seen] = solve_impute(adata.X, q, seen)
    assert (full * (q @ full)).mean() <= slow.objective + 1e-12
    np.testing.assert_allclose(slow.values, full[~seen], atol=0.05)


def test_hidden_spots_come_closer_than_the_mean() -> None:
    coords = np.stack(np.meshgrid(np.arange(16), np.arange(16)), -1).reshape(-1, 2).astype(float)
    adata = layered(coords, np.where(coords[:, 0] < 8, "left", "right"), noise=0.3, seed=1)
    spatial_weights(adata, n_neighbors=4)
    seen = np.random.default_rng(0).uniform(size=256) > 0.2
    impute(adata, seen)
    x = adata.X[~seen]
    error = np.sqrt(((adata.layers["smoother_imputed"][~seen] - x) ** 2).mean())
    assert error < 0.75 * np.sqrt(((adata.X[seen].mean(axis=0) - x) ** 2).mean())


def test_copy_and_slots(tmp_path: Path) -> None:
    adata = field()
    out = impute(adata, "measured", copy=True, key_added="mine")
    assert "mine_imputed" not in adata.layers
    assert out.uns["mine_imputation"]["task"] == "impute"
    assert impute(adata, np.ones(49, dtype=bool), variance=False) is None
    np.testing.assert_array_equal(adata.layers["smoother_imputed"], adata.X)
    assert "smoother_scale" not in adata.var
    denoise(out, smoothing=0.1)
    out.write_h5ad(tmp_path / "a.h5ad")
    assert anndata.read_h5ad(tmp_path / "a.h5ad").uns["smoother_imputation"]["smoothing"] == 0.1


def test_single_values_are_filled_gene_by_gene() -> None:
    adata = field()
    spots = adata.obs["measured"].to_numpy()
    mask = np.repeat(spots[:, None], 4, axis=1)
    mask[:, 3] = np.random.default_rng(5).uniform(size=49) > 0.3
    mask[:, 1] = True
    single = impute(adata, mask, copy=True)
    for gene, seen in enumerate(mask.T):
        alone = impute(adata, seen, copy=True)
        for slot in ("imputed", "uncertainty"):
            name = f"smoother_{slot}"
            expected = alone.layers[name][:, gene] if slot == "imputed" else alone.obs[name]
            np.testing.assert_allclose(single.layers[name][:, gene], expected, atol=1e-12)
        assert single.var["smoother_scale"].iloc[gene] == pytest.approx(
            alone.var["smoother_scale"].iloc[gene]
        )
    with pytest.raises(ValueError, match=r"1 genes have no observed value; first: \['2'\]"):
        impute(adata, mask & (np.arange(4) != 2))
    with pytest.raises(
        ValueError, match=r"`observed` has shape \(49, 3\) and type bool, but must be \(49, 4\)"
    ):
        impute(adata, mask[:, :3])


def test_component_without_observation() -> None:
    coords = np.concatenate([np.arange(5.0), 100 + np.arange(3.0)])[:, None] * [1.0, 0.0]
    w = knn_weights(coords, 1, mutual=False)
    q = precision((w + w.T) / 2, "icar", 1.0)
    seen = np.arange(8) == 0
    with pytest.raises(
        ValueError, match=r"components of the graph have no observed spot.*3 spots: \['5', '6', '7'\]"
    ):
        solve_impute(np.ones((8, 1)), q, np.arange(8) < 5)
    with pytest.raises(ValueError, match="rho=0.99"):
        solve_denoise(np.ones((8, 1)), q, seen, smoothing=1.0)
    proper = precision((w + w.T) / 2, "icar", 0.9)
    np.testing.assert_allclose(solve_impute(np.ones((8, 1)), proper, np.arange(8) < 5), 0, atol=1e-12)


def test_refusals() -> None:
    adata = field()
    with pytest.raises(ValueError, match=r"`observed` has shape \(3,\) and type bool"):
        impute(adata, np.ones(3, dtype=bool))
    with pytest.raises(ValueError, match="type float64, but must be .* bool"):
        impute(adata, np.ones(49))
    with pytest.raises(ValueError, match="False for every spot"):
        impute(adata, np.zeros(49, dtype=bool))
    with pytest.raises(MissingKeyError, match="Did you mean 'measured'"):
        impute(adata, "measure")
    with pytest.raises(ValueError, match=r"smoothing=0 leaves \d+ missing spots"):
        denoise(adata, smoothing=0.0, observed="measured")
    with pytest.raises(ValueError, match="`smoothing` is -2"):
        denoise(adata, smoothing=-2)
    del adata.obsp["spatial_connectivities"]
    with pytest.raises(MissingKeyError, match="spatial_weights"):
        impute(adata, "measured")
