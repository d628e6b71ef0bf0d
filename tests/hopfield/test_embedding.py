"""Maps of cells and velocities projected on them."""

from __future__ import annotations

import numpy as np
import pytest
from anndata import AnnData

from scmods import MissingKeyError, hopfield


def moving(direction):
    """Cells on a grid of two genes that all move in one direction."""
    a, b = np.meshgrid(np.linspace(1, 5, 20), np.linspace(1, 5, 20))
    x = np.column_stack([a.ravel(), b.ravel()])
    v = np.tile(np.asarray(direction, dtype=float), (len(x), 1))
    return AnnData(x, layers={"Ms": x, "velocity": v}, obsm={"X_map": x.copy()})


@pytest.mark.parametrize("direction", [(1, 0), (0, -1), (1, 1), (-2, 1)])
def test_arrows_point_where_the_cells_move(direction):
    arrows = hopfield.embed_velocity(moving(direction), basis="X_map", n_neighbors=8, n_grid=6)
    inside = arrows[(arrows["x"].between(2, 4)) & (arrows["y"].between(2, 4))]
    mean = inside[["u", "v"]].mean().to_numpy()
    cosine = mean @ direction / np.linalg.norm(mean) / np.linalg.norm(direction)
    assert cosine > 0.99
    assert len(inside) >= 4


def test_no_velocity_gives_no_arrows():
    arrows = hopfield.embed_velocity(moving((0, 0)), basis="X_map", n_neighbors=8, n_grid=6)
    np.testing.assert_allclose(arrows[["u", "v"]].to_numpy(), 0, atol=1e-12)


def test_genes_without_velocity_are_left_out():
    adata = moving((1, 0))
    extra = AnnData(np.column_stack([adata.X, np.ones(400)]))
    extra.layers["Ms"] = extra.X.copy()
    extra.layers["velocity"] = np.column_stack([adata.layers["velocity"], np.full(400, np.nan)])
    extra.obsm["X_map"] = adata.obsm["X_map"]
    with_nan = hopfield.embed_velocity(extra, basis="X_map", n_neighbors=8)
    plain = hopfield.embed_velocity(adata, basis="X_map", n_neighbors=8)
    np.testing.assert_allclose(with_nan.to_numpy(), plain.to_numpy(), atol=1e-9)


def test_embed_writes_two_components_and_missing_slots_are_named():
    adata = moving((1, 0))
    hopfield.embed(adata, key_added="X_new")
    assert adata.obsm["X_new"].shape == (400, 2)
    with pytest.raises(MissingKeyError, match="obsm\\['X_umap'\\].*hopfield.embed"):
        hopfield.embed_velocity(adata, basis="X_umap")
    with pytest.raises(ValueError, match="There is 1 gene, but a map needs two"):
        hopfield.embed(adata[:, :1].copy())
    adata.obsm["X_flat"] = np.ones((400, 1))
    with pytest.raises(ValueError, match="a map needs two columns"):
        hopfield.embed_velocity(adata, basis="X_flat")
