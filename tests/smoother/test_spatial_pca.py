"""Spatial PCA: reference projector, the objective itself, the contrastive identity, all three ways of computing."""

from __future__ import annotations

from importlib import import_module
from pathlib import Path

import anndata
import numpy as np
import pytest
from scipy import sparse

from scmods._checks import MissingKeyError, NumericalWarning
from scmods.smoother.components import effective_smoothing, solve_spatial_pca, spatial_pca
from scmods.smoother.graphs import knn_weights
from scmods.smoother.priors import precision
from scmods.smoother.simulate import smooth_fields
from scmods.smoother.weights import spatial_weights

FILE = Path(__file__).parents[1] / "data" / "smoother_models.npz"


def data(genes: int = 9, seed: int = 0) -> tuple[np.ndarray, sparse.csr_array]:
    coords = np.stack(np.meshgrid(np.arange(6), np.arange(6)), -1).reshape(-1, 2).astype(float)
    rng = np.random.default_rng(seed)
    fields = smooth_fields(6, 6, 3, length=2.0, generator=rng)
    y = fields @ rng.normal(size=(3, genes)) + rng.normal(0, 0.7, (36, genes)) + 2.0
    return y, precision(knn_weights(coords, 4), "icar", 0.99)


def test_reference_projector() -> None:
    v = np.load(FILE)
    found = solve_spatial_pca(v["A_st_exp"].T, v["A_Q_icar"], n_comps=2, smoothing=float(v["D_pca_lambda"]))
    np.testing.assert_allclose(found.loadings @ found.loadings.T, v["D_pca_projector"], atol=1e-9)
    # the reference objective is divided by spots and components
    assert -found.eigenvalues.sum() / 2 == pytest.approx(float(v["D_pca_obj"]), abs=1e-9)


def test_without_smoothing_it_is_pca() -> None:
    y, q = data()
    found = solve_spatial_pca(y, q, n_comps=3, smoothing=0.0)
    u, s, vt = np.linalg.svd(y - y.mean(axis=0), full_matrices=False)
    np.testing.assert_allclose(np.abs(found.scores), np.abs(u[:, :3] * s[:3]), atol=1e-9)
    np.testing.assert_allclose(found.variance, s[:3] ** 2 / 36, atol=1e-10)
    np.testing.assert_allclose(np.abs(found.loadings), np.abs(vt[:3].T), atol=1e-9)


def test_no_orthonormal_basis_is_better() -> None:
    y, q = data()
    centred = y - y.mean(axis=0)

    def loss(u: np.ndarray) -> float:
        h = centred @ u
        return -(h**2).sum() + 0.2 * (h * (q @ h)).sum()

    best = solve_spatial_pca(y, q, n_comps=3, smoothing=0.2).loadings
    np.testing.assert_allclose(best.T @ best, np.eye(3), atol=1e-12)
    rng = np.random.default_rng(0)
    for size in (0.01, 0.1, 1.0):
        for _ in range(20):
            other = np.linalg.qr(best + size * rng.normal(size=best.shape))[0]
            assert loss(other) >= loss(best) - 1e-9


def test_contrast_is_only_another_strength() -> None:
    y, q = data()
    centred, strength, ratio = y - y.mean(axis=0), 0.4, 0.7
    n, dense = 36, q.toarray()
    # expected precision over permutations, from its definition
    diagonal = np.trace(dense) / n
    off = (dense.sum() - np.trace(dense)) / (n * (n - 1))
    expected = (diagonal - off) * np.eye(n) + off
    u = np.linalg.eigh(centred.T @ (np.eye(n) - strength * (dense - ratio * expected)) @ centred)[1][:, -3:]
    found = solve_spatial_pca(y, q, n_comps=3, smoothing=strength, contrast=ratio)
    np.testing.assert_allclose(found.loadings @ found.loadings.T, u @ u.T, atol=1e-10)
    assert found.smoothing == pytest.approx(effective_smoothing(q, strength, ratio))
    assert effective_smoothing(q, 1e9, ratio) == pytest.approx(1 / (ratio * (diagonal - off)))


def test_more_smoothing_less_roughness() -> None:
    y, q = data()
    ratio = [(f := solve_spatial_pca(y, q, n_comps=2, smoothing=s)).roughness.sum() / f.variance.sum()
             for s in (0.0, 0.1, 0.2)]  # fmt: skip
    assert ratio[0] > ratio[1] > ratio[2]


@pytest.mark.parametrize("genes", [9, 60])
@pytest.mark.parametrize("kind", [np.asarray, sparse.csr_array])
def test_all_ways_agree(genes: int, kind: type, monkeypatch: pytest.MonkeyPatch) -> None:
    y, q = data(genes)
    y[y < 1] = 0
    dense = solve_spatial_pca(y, q, n_comps=3, smoothing=0.1)
    for limit in (genes - 1, 10):  # spots x spots when there are more genes than spots, then Lanczos
        # by name: the package may give the function of the same name
        module = import_module("scmods.smoother.components")
        monkeypatch.setattr(module, "DENSE", limit if genes > 36 or limit == 10 else 8)
        other = solve_spatial_pca(kind(y), q, n_comps=3, smoothing=0.1)
        np.testing.assert_allclose(other.loadings, dense.loadings, atol=1e-7)
        np.testing.assert_allclose(other.scores, dense.scores, atol=1e-6)
        np.testing.assert_allclose(other.eigenvalues, dense.eigenvalues, atol=1e-8)


def test_signs_are_fixed() -> None:
    y, q = data()
    found = solve_spatial_pca(y, q, n_comps=3, smoothing=0.1).loadings
    assert (found[np.abs(found).argmax(axis=0), range(3)] > 0).all()
    flipped = solve_spatial_pca(-y, q, n_comps=3, smoothing=0.1).loadings
    np.testing.assert_allclose(found, flipped, atol=1e-10)


def test_slots(tmp_path: Path) -> None:
    y, _ = data()
    adata = anndata.AnnData(sparse.csr_matrix(y))
    adata.obsm["spatial"] = np.stack(np.meshgrid(np.arange(6), np.arange(6)), -1).reshape(-1, 2).astype(float)
    adata.var["highly_variable"] = np.arange(9) < 7
    spatial_weights(adata, n_neighbors=4)
    spatial_pca(adata, n_comps=2, smoothing=0.1, use_highly_variable=True)
    assert adata.obsm["X_smoother_pca"].shape == (36, 2)
    assert (adata.varm["smoother_PCs"][7:] == 0).all()
    centred = y[:, :7] - y[:, :7].mean(axis=0)
    np.testing.assert_allclose(
        centred @ adata.varm["smoother_PCs"][:7], adata.obsm["X_smoother_pca"], atol=1e-10
    )
    scaled = spatial_pca(adata, n_comps=2, smoothing=0.1, scale=True, contrast=0.5, copy=True)
    assert scaled.uns["smoother_pca"]["effective_smoothing"] < 0.1
    z = (y - y.mean(axis=0)) / y.std(axis=0, ddof=1)
    np.testing.assert_allclose(z @ scaled.varm["smoother_PCs"], scaled.obsm["X_smoother_pca"], atol=1e-10)
    scaled.write_h5ad(tmp_path / "a.h5ad")
    assert anndata.read_h5ad(tmp_path / "a.h5ad").uns["smoother_pca"]["contrast"] == 0.5


def test_refusals() -> None:
    y, q = data()
    with pytest.raises(ValueError, match="`n_comps` is 10, but must be at least 1 and at most 9"):
        solve_spatial_pca(y, q, n_comps=10, smoothing=0.1)
    with pytest.raises(ValueError, match="must have a row per spot"):
        solve_spatial_pca(y.T, q, n_comps=2, smoothing=0.1)
    with pytest.raises(ValueError, match="`contrast` is -1"):
        solve_spatial_pca(y, q, n_comps=2, smoothing=0.1, contrast=-1)
    with pytest.warns(NumericalWarning, match="rougher than they are strong at a strength of 5"):
        solve_spatial_pca(y, q, n_comps=5, smoothing=5.0)
    adata = anndata.AnnData(y)
    with pytest.raises(MissingKeyError, match="highly_variable_genes"):
        spatial_pca(adata, use_highly_variable=True)
    with pytest.raises(MissingKeyError, match="spatial_weights"):
        spatial_pca(adata, n_comps=2)
    adata.X[3, 3] = np.inf
    with pytest.raises(ValueError, match="NaN or infinite"):
        spatial_pca(adata, n_comps=2)
