"""Simulated tissues: the answer that comes with them is the one they were made of."""

from __future__ import annotations

from pathlib import Path

import anndata
import numpy as np
import pytest
from scipy import sparse

from scmods._checks import MissingKeyError
from scmods.smoother.graphs import knn_weights
from scmods.smoother.simulate import layered, reference, smooth_fields, tissue


def test_fields_have_the_covariance() -> None:
    fields = smooth_fields(6, 5, 20_000, length=2.0, generator=np.random.default_rng(0))
    row, col = (a.ravel() for a in np.mgrid[:6, :5])
    d2 = (row[:, None] - row) ** 2 + (col[:, None] - col) ** 2
    np.testing.assert_allclose(fields @ fields.T / 20_000, np.exp(-d2 / 8), atol=0.05)


@pytest.mark.parametrize("lattice", ["square", "hex"])
def test_lattices_have_unit_steps(lattice: str) -> None:
    adata = tissue(6, 7, lattice=lattice)
    distance = np.linalg.norm(adata.obsm["spatial"][:, None] - adata.obsm["spatial"][None], axis=-1)
    inner = (adata.obs["row"].between(1, 4) & adata.obs["column"].between(1, 5)).to_numpy()
    near = np.isclose(distance, 1).sum(axis=1)[inner]
    assert (near == (4 if lattice == "square" else 6)).all()
    assert distance[distance > 0].min() > 0.99


def test_truth_is_what_was_drawn() -> None:
    adata = tissue(20, 20, seed=2)
    truth, expected = adata.obsm["truth"], adata.uns["truth"]["expected"]
    np.testing.assert_allclose(truth.sum(axis=1), 1)
    np.testing.assert_allclose(expected.sum(axis=1), 1)
    np.testing.assert_allclose(truth * adata.obs["n_cells"].to_numpy()[:, None] % 1, 0, atol=1e-9)
    # multinomial: the standardised differences have variance (types - 1) / types on average
    z = (truth - expected) * np.sqrt(adata.obs["n_cells"].to_numpy()[:, None] / np.maximum(expected, 1e-9))
    assert (z[expected > 0.02] ** 2).mean() == pytest.approx(5 / 6, abs=0.1)


def test_counts_depth_and_profiles() -> None:
    one, tenth = tissue(seed=4), tissue(seed=4, depth=0.1)
    assert one.n_vars == 145
    totals = np.asarray(one.X.sum(axis=1)).ravel()
    assert totals.mean() == pytest.approx(210, rel=0.1)
    assert np.asarray(tenth.X.sum(axis=1)).mean() == pytest.approx(21, rel=0.1)
    np.testing.assert_array_equal(one.obsm["truth"], tenth.obsm["truth"])
    assert (one.X.data == np.rint(one.X.data)).all()
    # profiles regressed from the counts and the true shares belong to the types of the reference
    found = np.linalg.lstsq(one.obsm["truth"], one.X.toarray(), rcond=None)[0].T
    a, b = (np.log1p(np.maximum(p, 0)) for p in (found, reference(one).to_numpy()))
    a, b = (p - p.mean(axis=1, keepdims=True) for p in (a, b))
    fit = np.corrcoef(a.T, b.T)[:6, 6:]
    np.testing.assert_array_equal(fit.argmax(axis=1), range(6))
    assert np.diag(fit).min() > 0.5


def test_boundaries_are_sharp() -> None:
    jump = {}
    for sharp in (False, True):
        adata = tissue(boundaries=sharp, seed=1, length=8)
        w = knn_weights(adata.obsm["spatial"], 4).tocoo()
        zone, p = adata.obs["zone"].to_numpy(), adata.uns["truth"]["expected"]
        step = np.abs(p[w.row] - p[w.col]).sum(axis=1)
        across = zone[w.row] != zone[w.col]
        jump[sharp] = step[across].mean() / step[~across].mean()
    assert jump[True] > 3 * jump[False]
    assert jump[True] > 5


def test_halves_do_not_overlap() -> None:
    from scmods.smoother._blood import halves

    codes = np.repeat([0, 1, 2], [10, 7, 4])
    half = halves(np.random.default_rng(0), codes)
    assert np.bincount(codes[half]).tolist() == [5, 3, 2]
    assert np.bincount(codes[~half]).tolist() == [5, 4, 2]


def test_seed_and_storage(tmp_path: Path) -> None:
    one, two, other = tissue(5, 6, seed=7), tissue(5, 6, seed=7), tissue(5, 6, seed=8)
    assert (one.X != two.X).nnz == 0
    assert (one.X != other.X).nnz > 0
    assert sparse.issparse(one.layers["counts"])
    one.write_h5ad(tmp_path / "a.h5ad")
    back = anndata.read_h5ad(tmp_path / "a.h5ad")
    np.testing.assert_array_equal(reference(back).to_numpy(), reference(one).to_numpy())
    assert list(reference(back).columns) == list(one.uns["truth"]["types"])


def test_layered_means_and_noise() -> None:
    coords = np.stack(np.meshgrid(np.arange(20), np.arange(20)), -1).reshape(-1, 2)
    layers = np.where(coords[:, 0] < 5, "WM", np.where(coords[:, 0] < 12, "L1", "L2/3"))
    adata = layered(coords, layers, noise=0.5, seed=0)
    profiles, names = reference(adata), list(adata.uns["truth"]["types"])
    assert names == ["L1", "L2/3", "WM"]
    np.testing.assert_array_equal(adata.obsm["truth"].argmax(axis=1), [names.index(x) for x in layers])
    rest = adata.X - adata.obsm["truth"] @ profiles.to_numpy().T
    assert rest.std() == pytest.approx(0.5, rel=0.02)
    assert np.abs(rest.mean(axis=0)).max() < 0.15


def test_refusals() -> None:
    with pytest.raises(ValueError, match="`n_types` is 11, but must be at least 2 and at most 10"):
        tissue(4, 4, n_types=11)
    with pytest.raises(ValueError, match="`lattice` is 'hexagon'"):
        tissue(4, 4, lattice="hexagon")
    with pytest.raises(ValueError, match="`depth` is 0"):
        tissue(4, 4, depth=0.0)
    with pytest.raises(TypeError, match="`n_zones` is 1.5"):
        tissue(4, 4, n_zones=1.5)
    with pytest.raises(ValueError, match="`layers` has 2 values, but there are 3 spots"):
        layered(np.eye(3)[:, :2], ["a", "b"])
    with pytest.raises(ValueError, match="`layers` is missing for 1 of 3 spots"):
        layered(np.eye(3)[:, :2], ["a", None, "b"])
    adata = tissue(4, 4)
    with pytest.raises(ValueError, match="has 10 genes, but its profiles have 145"):
        reference(adata[:, :10].copy())
    del adata.uns["truth"]
    with pytest.raises(MissingKeyError, match="truth"):
        reference(adata)
