"""Nulls that keep smoothness: exact invariants, enumeration, and the rate of false rejections."""

from __future__ import annotations

import anndata
import numpy as np
import pandas as pd
import pytest

from scmods._checks import MissingKeyError
from scmods.smoother import _spectral
from scmods.smoother._grid import lattice_of
from scmods.smoother.graphs import knn_weights
from scmods.smoother.nulls import field_test, spatial_association, spectral_basis
from scmods.smoother.simulate import smooth_fields, tissue
from scmods.smoother.weights import spatial_weights


def grid(side: int) -> np.ndarray:
    return np.stack(np.meshgrid(np.arange(side), np.arange(side)), -1).reshape(-1, 2).astype(float)


def hexagonal(rows: int, cols: int) -> np.ndarray:
    row, col = (a.ravel() for a in np.mgrid[:rows, :cols])
    return np.column_stack([col + 0.5 * (row % 2), row * np.sqrt(3) / 2])


def laplacian(w) -> np.ndarray:
    w = w.toarray() - np.diag(w.diagonal())
    return np.diag(w.sum(axis=1)) - w


def test_rejects_as_often_as_it_says() -> None:
    """400 pairs of independent smooth fields, correlation and label; the permutation of spots fails by far."""
    basis = spectral_basis(knn_weights(grid(20), 4))
    fields = smooth_fields(20, 20, 800, length=3.0, generator=np.random.default_rng(1))
    rate = {}
    for null, pairs in (("spectral", 400), ("permutation", 60)):
        p = []
        for i in range(pairs):
            label = np.array(["low", "middle", "high"])[np.digitize(fields[:, 400 + i], [-0.5, 0.5])]
            for y in (fields[:, 400 + i], label):
                how = {"null": null, "basis": basis, "n_perms": 99, "seed": i}
                p.append(field_test(fields[:, i], y, **how).pvalue[0])
        rate[null] = np.mean(np.array(p).reshape(-1, 2) <= 0.05, axis=0)
    assert (rate["spectral"] >= 0.03).all()
    assert (rate["spectral"] <= 0.07).all()
    assert (rate["permutation"] > 0.4).all()


def test_finds_what_is_there() -> None:
    basis = spectral_basis(knn_weights(grid(20), 4))
    a, b = smooth_fields(20, 20, 2, length=3.0, generator=np.random.default_rng(3)).T
    noise = np.random.default_rng(0).normal(size=400)
    result = field_test(a, a + 0.5 * b + noise, basis=basis)
    assert result.pvalue[0] < 0.01
    assert result.statistic[0] == pytest.approx(np.corrcoef(a, a + 0.5 * b + noise)[0, 1])


@pytest.mark.parametrize("n_comps", [None, 6])
def test_basis(n_comps: int | None) -> None:
    lap = laplacian(w := knn_weights(grid(5), 4))
    basis = spectral_basis(w, n_comps)
    np.testing.assert_allclose(basis.T @ basis, np.eye(basis.shape[1]), atol=1e-10)
    np.testing.assert_allclose(basis.sum(axis=0), 0, atol=1e-10)
    values = np.diag(basis.T @ lap @ basis)
    np.testing.assert_allclose(lap @ basis, basis * values, atol=1e-9)
    np.testing.assert_allclose(values, np.linalg.eigvalsh(lap)[1 : len(values) + 1], atol=1e-9)


def test_basis_of_components_and_of_many_spots(monkeypatch: pytest.MonkeyPatch) -> None:
    coords = np.concatenate([grid(4), 50 + grid(4)])
    lap = laplacian(w := knn_weights(coords, 4))
    for _ in range(2):
        basis = spectral_basis(w, 5)
        values = np.diag(basis.T @ lap @ basis)
        np.testing.assert_allclose(values, np.linalg.eigvalsh(lap)[1:6], atol=1e-8)
        np.testing.assert_allclose(basis.sum(axis=0), 0, atol=1e-8)
        monkeypatch.setattr(_spectral, "DENSE", 10)


def test_signs_keep_roughness(monkeypatch: pytest.MonkeyPatch) -> None:
    w = knn_weights(grid(5), 4)
    basis, x = spectral_basis(w), np.random.default_rng(0).normal(size=25)
    centred = x - x.mean()
    seen = field_test(x, np.eye(25)[3], basis=basis, n_perms=50).null[:, 0]
    # the correlations with 25 single spots are the surrogate itself
    every = np.stack(
        [field_test(x, np.eye(25)[i], basis=basis, n_perms=50, seed=0).null[:, 0] for i in range(25)], 1
    )
    np.testing.assert_allclose(every[:, 3], seen)
    norm = np.linalg.norm(np.eye(25)[0] - 1 / 25)
    surrogate = every * norm
    surrogate -= surrogate.mean(axis=1, keepdims=True)
    lap = laplacian(w)
    expected = centred @ lap @ centred / (centred @ centred)
    rough = np.einsum("bi,ij,bj->b", surrogate, lap, surrogate) / (surrogate**2).sum(axis=1)
    np.testing.assert_allclose(rough, expected, atol=1e-9)
    assert np.abs(surrogate - centred / np.linalg.norm(centred)).max(axis=1).min() > 0.1


@pytest.mark.parametrize("label", [False, True])
@pytest.mark.parametrize("stagger", [False, True])
def test_shifts_equal_enumeration(label: bool, stagger: bool) -> None:
    rng = np.random.default_rng(0)
    coords = (
        hexagonal(4, 5) if stagger else np.array([[c, r] for r in range(4) for c in range(5)], dtype=float)
    )
    shuffled = rng.permutation(20)
    lattice = lattice_of(coords[shuffled])
    assert lattice.staggered == stagger
    x, y = rng.normal(size=(2, 20))
    classes = np.where(y > 0.4, "b", "a")
    found = field_test(x, classes if label else y, null="toroidal", lattice=lattice)
    expected = []
    folded = np.empty(20)
    folded[shuffled] = x
    for dr in range(0, 4, 2 if stagger else 1):
        for dc in range(5):
            moved = np.roll(folded.reshape(4, 5), (dr, dc), (0, 1)).ravel()[shuffled]
            means = sum((classes == k).sum() * (moved[classes == k].mean() - x.mean()) ** 2 for k in "ab")
            expected.append(means / (20 * x.var()) if label else np.corrcoef(moved, y)[0, 1])
    np.testing.assert_allclose(found.statistic[0], expected[0], atol=1e-12)
    np.testing.assert_allclose(np.sort(found.null[:, 0]), np.sort(expected[1:]), atol=1e-12)
    size = np.abs(expected)
    assert found.pvalue[0] == pytest.approx((size >= size[0] - 1e-12).mean())


def test_incomplete_basis_keeps_size() -> None:
    w, rng = knn_weights(grid(12), 4), np.random.default_rng(0)
    x, y = rng.normal(size=(2, 144))
    full = field_test(x, y, basis=spectral_basis(w), n_perms=2000).null.std()
    part = field_test(x, y, basis=spectral_basis(w, 40), n_perms=2000).null.std()
    assert part == pytest.approx(full, rel=0.1)
    assert part == pytest.approx(1 / np.sqrt(143), rel=0.1)


def test_table() -> None:
    adata = tissue(12, 12, seed=1)
    spatial_weights(adata, n_neighbors=4)
    share = adata.obsm["truth"]
    adata.obs["share"] = share[:, 1]
    adata.obs["noise"] = np.random.default_rng(2).normal(size=144)
    for null in ("spectral", "toroidal"):
        table = spatial_association(
            adata, ["share", "noise", adata.var_names[0]], "zone", null=null, n_perms=199
        )
        assert table["kind"].tolist() == ["label"] * 3
        assert table["pvalue"][0] < 0.05 < table["pvalue"][1]
        assert (table["pvalue_adj"] >= table["pvalue"]).all()
    adata.obs["nullable"] = pd.array(share[:, 1], dtype="Float64")
    pair = spatial_association(adata, "noise", "nullable", n_perms=19)
    assert pair["statistic"][0] == pytest.approx(np.corrcoef(adata.obs["noise"], share[:, 1])[0, 1])
    one = spatial_association(adata, "share", adata.var_names[0], n_perms=19)
    assert one["kind"][0] == "correlation"


def test_refusals() -> None:
    x, y = np.random.default_rng(0).normal(size=(2, 25))
    basis = spectral_basis(knn_weights(grid(5), 4))
    with pytest.raises(ValueError, match=r"`y` has shape \(3,\), but `x` has 25 spots"):
        field_test(x, y[:3], basis=basis)
    with pytest.raises(ValueError, match="1 fields of `x` are constant"):
        field_test(np.ones(25), y, basis=basis)
    with pytest.raises(ValueError, match=r"holds one class, \['a'\]"):
        field_test(x, ["a"] * 25, basis=basis)
    with pytest.raises(ValueError, match="needs eigenvectors"):
        field_test(x, y)
    with pytest.raises(ValueError, match="needs a lattice"):
        field_test(x, y, null="toroidal")
    with pytest.raises(ValueError, match=r"`basis` has shape \(4, 2\)"):
        field_test(x, y, basis=np.zeros((4, 2)))
    with pytest.raises(ValueError, match="`n_perms` is 5"):
        field_test(x, y, basis=basis, n_perms=5)
    with pytest.raises(ValueError, match="`null` is 'moran'"):
        field_test(x, y, null="moran")
    with pytest.raises(ValueError, match=r"`x` has shape \(2, 2, 2\)"):
        field_test(np.zeros((2, 2, 2)), y)
    with pytest.raises(ValueError, match="make no complete lattice"):
        lattice_of(grid(5)[:-1])
    with pytest.raises(ValueError, match="5 rows cannot be wrapped"):
        lattice_of(hexagonal(5, 4))
    with pytest.raises(ValueError, match="not aligned"):
        lattice_of(np.array([[0, 0], [1, 0], [2, 0], [0, 1], [0.5, 1], [2, 1]]))
    with pytest.raises(ValueError, match="has 3 axes"):
        lattice_of(np.zeros((8, 3)))
    with pytest.raises(MissingKeyError, match="no gene and no column.*Did you mean 'zone'"):
        spatial_association(anndata.AnnData(x[:, None], obs={"zone": ["a"] * 25}), ["zones"], "zone")
