"""Spatial graphs: frozen values, laws, composition, sections and files."""

from __future__ import annotations

import warnings

import anndata
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import sparse

from scmods import graph
from scmods._checks import MissingKeyError, NumericalWarning
from scmods.smoother import coords as places
from scmods.smoother.weights import (
    SpatialWeightMatrix,
    distance_weights,
    knn_weights,
    scale_by_expression,
    scale_by_labels,
    scale_by_similarity,
    spatial_weights,
)


def hexagons(side: int) -> np.ndarray:
    row, column = np.divmod(np.arange(side * side), side)
    return np.c_[column + 0.5 * (row % 2), row * np.sqrt(3) / 2]


def squares(side: int) -> np.ndarray:
    return np.argwhere(np.ones((side, side))).astype(float)


def scatter(n: int = 60, seed: int = 0, dims: int = 2) -> np.ndarray:
    return np.random.default_rng(seed).uniform(size=(n, dims))


def same(a: sparse.sparray, b: np.ndarray | sparse.sparray, tol: float = 1e-12) -> None:
    b = b.toarray() if sparse.issparse(b) else b
    np.testing.assert_allclose(a.toarray(), b, rtol=0, atol=tol)


# ---------------------------------------------------------------- frozen values


def test_lattice(ref):
    w = knn_weights(ref["A_coords"], int(ref["A_k"]))
    same(w, ref["A_W"])
    same(knn_weights(ref["A_coords"], int(ref["A_k"]), mutual=False), ref["A_W_directed"])
    same(scale_by_labels(w, ref["A_ids"], boundary=float(ref["A_bc"])), ref["A_W_ident"])
    same(scale_by_expression(w, ref["A_expr"].T, reduce="none"), ref["A_W_expr"], 1e-9)


def test_irregular_points(ref):
    same(knn_weights(ref["B_coords"], int(ref["B_k"])), ref["B_W"])
    band = {"radius": float(ref["B_radius"]), "bandwidth": float(ref["B_bw"]), "scale_coords": False}
    same(distance_weights(ref["B_coords"], **band), ref["B_W_dist"], 1e-9)
    same(distance_weights(ref["B_coords"], **band, row_scale=True), ref["B_W_dist_rowscaled"], 1e-9)


def test_isolated_point(ref):
    with pytest.warns(NumericalWarning, match=r"1 of 23 spots have no neighbour; first: \['22'\]"):
        w = knn_weights(ref["E_coords_isolated"], int(ref["B_k"]))
    same(w, ref["E_W"])


def test_neighbour_order(ref):
    index, _ = places.nearest(ref["B_coords"], 6)
    np.testing.assert_array_equal(index, ref["B_neighbour_order"][:, 1:])


# ---------------------------------------------------------------- neighbours


@pytest.mark.parametrize("lattice", [squares(12), hexagons(12), 1e4 + 60.0 * hexagons(9), scatter(90, 3, 3)])
@pytest.mark.parametrize("k", [1, 4, 6, 11, 50])
def test_neighbours_are_those_of_all_pairs(lattice, k):
    index, distance = places.nearest(lattice, k)
    x = lattice - lattice.mean(axis=0)
    d2 = ((x[:, None] - x[None]) ** 2).sum(axis=2)
    np.fill_diagonal(d2, np.inf)
    steps = np.round(d2 / (1e-12 * (x**2).sum(axis=1).max()))
    order = np.lexsort((np.broadcast_to(np.arange(len(x)), d2.shape), steps), axis=1)[:, :k]
    np.testing.assert_array_equal(index, order)
    np.testing.assert_allclose(distance, np.sqrt(np.take_along_axis(d2, order, 1)), rtol=1e-12)
    np.testing.assert_array_equal(index, graph.knn(lattice, k, metric="euclidean")[0])


def test_lattice_degrees():
    # edges at the rim see further: the mutual rule keeps accidental ties at the corners
    inner = (squares(30) > 2).all(axis=1) & (squares(30) < 27).all(axis=1)
    rook = knn_weights(squares(30), 4)
    assert set(rook.sum(axis=1)[inner]) == {4.0}
    assert rook.sum() == 4 * 30 * 29 + 2  # the rook graph and one tie at a corner
    assert set(knn_weights(squares(30), 8).sum(axis=1)[inner]) == {8.0}
    assert set(knn_weights(hexagons(30), 6).sum(axis=1)[inner]) == {6.0}


def test_coincident_spots_are_neighbours_and_reported():
    x = np.vstack([np.zeros((3, 2)), squares(4) + 1.0])
    with pytest.warns(
        NumericalWarning, match=r"3 spots share their position .*\['0', '1', '2'\].*library_key"
    ):
        w = knn_weights(x, 4)
    assert not w.diagonal()[:3].any()
    assert w[[0, 0, 1], [1, 2, 2]].tolist() == [1.0, 1.0, 1.0]


def test_very_many_spots_are_ranked_alike(monkeypatch):
    expected = places.nearest(hexagons(12), 20)[0]
    monkeypatch.setattr(places, "PACKED", 10)
    np.testing.assert_array_equal(places.nearest(hexagons(12), 20)[0], expected)


# ---------------------------------------------------------------- laws


@given(st.integers(0, 10**6), st.floats(0, 6.28), st.floats(-1e3, 1e3), st.floats(0.01, 100))
def test_knn_ignores_rigid_motion_scale_and_order(seed, angle, shift, scale):
    x = scatter(40, seed)
    turn = np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]])
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", NumericalWarning)  # isolated spots are not the subject
        w = knn_weights(x, 4)
        moved = knn_weights(scale * (x @ turn) + shift * scale, 4)
        order = np.random.default_rng(seed).permutation(40)
        shuffled = knn_weights(x[order], 4)
    same(moved, w)
    same(shuffled, w[order][:, order])


@given(st.integers(0, 10**6), st.floats(0, 6.28))
def test_distance_band_ignores_rigid_motion(seed, angle):
    x = scatter(30, seed)
    turn = np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]])
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", NumericalWarning)
        a = distance_weights(x, 0.3, bandwidth=0.2, scale_coords=False)
        b = distance_weights(x @ turn + 5.0, 0.3, bandwidth=0.2, scale_coords=False)
    same(a, b, 1e-9)


def test_scaled_coordinates_make_the_kernel_free_of_units():
    x = scatter(40)
    a = distance_weights(x, 0.4)
    same(distance_weights(65.0 * x, 65.0 * 0.4), a, 1e-9)
    extent = np.ptp(x, axis=0).max()
    i, j = np.argwhere(a.toarray() > 0)[0]
    d = np.linalg.norm(x[i] - x[j]) / extent
    np.testing.assert_allclose(a[i, j], np.exp(-(d**2) / 0.02), rtol=1e-12)


@pytest.mark.parametrize("metric", ["euclidean", "manhattan", "chebyshev"])
def test_distance_band_is_that_of_all_pairs(metric):
    from scipy.spatial.distance import cdist

    x = scatter(50, 2)
    d = cdist(x, x, {"manhattan": "cityblock"}.get(metric, metric))
    expected = np.where((d <= 0.3) & ~np.eye(50, dtype=bool), np.exp(-(d**2) / 0.08), 0.0)
    same(distance_weights(x, 0.3, bandwidth=0.2, scale_coords=False, dist_metric=metric), expected)


def test_scalings_commute_and_multiply():
    x, rng = hexagons(7), np.random.default_rng(1)
    w = knn_weights(x, 6)
    expression = rng.normal(size=(49, 30)) + 2.0 * x[:, :1]
    labels = np.where(x[:, 0] < 3, "CD4/CD8", "18")
    similarity = rng.uniform(0.1, 1, (49, 49))
    similarity = similarity + similarity.T
    steps = [
        lambda v: scale_by_expression(v, expression, n_comps=5),
        lambda v: scale_by_labels(v, labels, boundary=0.5),
        lambda v: scale_by_similarity(v, similarity),
    ]
    forth, back = w, w
    for step in steps:
        forth = step(forth)
    for step in reversed(steps):
        back = step(back)
    same(forth, back)
    same(forth, (steps[0](w).toarray() * steps[1](w).toarray() * steps[2](w).toarray()))


def test_cut_spots_commute_too():
    w = knn_weights(np.c_[np.arange(5.0), np.zeros(5)], 2)
    cut = ["a", "b", "b", "a", "a"]
    expression = np.array([[1.0, 0], [1, 1], [1, 1], [-1, -1], [-1, -1.5]])
    with pytest.warns(NumericalWarning, match="1 of 5 spots have no neighbour"):
        a = scale_by_expression(scale_by_labels(w, cut), expression, reduce="none")
    with pytest.warns(NumericalWarning, match="1 of 5 spots have no neighbour"):
        b = scale_by_labels(scale_by_expression(w, expression, reduce="none"), cut)
    same(a, b)
    assert a[0, 0] == 1.0


def test_a_boundary_never_raises_a_weight():
    w = distance_weights(squares(5), 1.5, bandwidth=0.3)
    scaled = scale_by_labels(w, np.arange(25) % 2, boundary=0.5)
    assert (scaled.toarray() <= w.toarray()).all()
    across = (np.arange(25)[:, None] + np.arange(25)) % 2 == 1
    np.testing.assert_allclose(scaled.toarray()[across], 0.5 * w.toarray()[across])


def test_expression_similarity_is_the_cosine_of_exact_scores():
    rng = np.random.default_rng(3)
    x, expression = squares(6), rng.poisson(3.0, (36, 12))  # whole numbers are fine
    expression[:, 4] = 7  # a constant gene drops out
    w = knn_weights(x, 4)
    keep = np.arange(12) != 4
    z = expression[:, keep] - expression[:, keep].mean(axis=0)
    z = z / expression[:, keep].std(axis=0, ddof=1)
    u, s, _ = np.linalg.svd(z, full_matrices=False)
    score = u[:, :3] * s[:3]
    unit = score / np.linalg.norm(score, axis=1, keepdims=True)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", NumericalWarning)
        got = scale_by_expression(w, expression, reduce="PCA", n_comps=3)
        sparse_too = scale_by_expression(w, sparse.csr_matrix(expression), n_comps=3)
    expected = w.toarray() * np.maximum(unit @ unit.T, 0.0)
    off = ~np.eye(36, dtype=bool)
    np.testing.assert_allclose(got.toarray()[off], expected[off], atol=1e-9)
    same(sparse_too, got, 1e-12)
    # fewer spots and genes than components: cut, not refused
    tiny = scale_by_expression(np.ones((4, 4)) - np.eye(4), rng.normal(size=(4, 2)), dist_metric="euclidean")
    assert (tiny.data > 0).all()


def test_euclidean_similarity():
    z = np.array([[1.0, 0.0], [0.8, 0.1], [0.0, -2.0]])
    got = scale_by_expression(np.ones((3, 3)) - np.eye(3), z, dist_metric="euclidean", reduce="none")
    d2 = ((z[0] - z[1]) ** 2).sum() / 4.0
    np.testing.assert_allclose(got[0, 1], np.exp(-d2 / 0.02), rtol=1e-12)


def test_nothing_touches_the_global_generators():
    import torch

    np.random.seed(5)
    torch.manual_seed(5)
    before, torch_before = np.random.get_state()[1].copy(), torch.get_rng_state()
    scale_by_expression(
        knn_weights(squares(5), 4), np.random.default_rng(0).normal(size=(25, 40)) + 3, reduce="none"
    )
    np.testing.assert_array_equal(np.random.get_state()[1], before)
    assert torch.equal(torch.get_rng_state(), torch_before)


def test_sections_are_separate_graphs():
    rng = np.random.default_rng(4)
    x = np.vstack([hexagons(5), 3.0 * scatter(30, 1), scatter(20, 2)])
    name = np.repeat(["b", "a", "c"], [25, 30, 20])
    order = rng.permutation(75)
    x, name = x[order], name[order]
    makers = [
        lambda p, **s: knn_weights(p, 4, **s),
        lambda p, **s: knn_weights(p, 4, mutual=False, **s),
        lambda p, **s: distance_weights(p, 1.2, bandwidth=0.3, **s),
    ]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", NumericalWarning)
        for make in makers:
            together = make(x, library=name).toarray()
            for section in "abc":
                own = np.flatnonzero(name == section)
                np.testing.assert_allclose(together[np.ix_(own, own)], make(x[own]).toarray(), atol=1e-12)
                assert not together[np.ix_(own, name != section)].any()


def test_row_scaled_rows_sum_to_one():
    for w in (knn_weights(squares(5), 4, row_scale=True), distance_weights(squares(5), 1.5, row_scale=True)):
        np.testing.assert_allclose(w.sum(axis=1), 1.0)


# ---------------------------------------------------------------- the class


def test_class_follows_the_functions(ref):
    w = SpatialWeightMatrix()
    assert repr(w) == "SpatialWeightMatrix(empty)"
    w.calc_weights_knn(ref["A_coords"], k=4)
    w.scale_by_identity(ref["A_ids"], boundary_connectivity=0.25)
    same(w.swm, ref["A_W"])
    same(w.swm_scaled, ref["A_W_ident"])
    w.scale_by_expr(ref["A_expr"], reduce="none")
    same(w.swm_scaled, ref["A_W_ident"] * ref["A_W_expr"], 1e-9)
    assert [s["source"] for s in w.config["scaling"]] == ["identity", "expression"]
    assert w.config["weight"]["k"] == 4
    w.calc_weights_knn(ref["A_coords"], 4, symmetric=False)
    same(w.swm_scaled, ref["A_W_directed"])
    assert w.config["scaling"] == []
    w.calc_weights_dist(ref["B_coords"], radius_cutoff=0.35, scale_coords=False)
    same(w.swm, ref["B_W_dist_rowscaled"], 1e-9)
    same(SpatialWeightMatrix(ref["A_W"]).swm_scaled, ref["A_W"])


def test_class_caches_until_the_weights_change(ref):
    w = SpatialWeightMatrix()
    w.calc_weights_knn(ref["A_coords"], k=4)
    first = w.get_inv_cov("icar", 0.99)  # the original returns an empty dictionary here
    same(first, ref["A_Q_icar"], 1e-9)
    assert w.get_inv_cov("icar", 0.99) is first
    assert w.get_inv_cov("icar", 0.99, cached=False) is not first
    np.testing.assert_allclose(w.get_inv_cov("icar", 0.99, return_sparse=False), ref["A_Q_icar"], atol=1e-9)
    w.scale_by_expr(ref["A_expr"], reduce="none")
    same(w.get_inv_cov("icar", 0.99), ref["A_Q_icar_expr"], 1e-9)
    same(SpatialWeightMatrix(ref["A_W"]).get_inv_cov("sma", 0.15), ref["A_Q_sma"], 1e-9)


def test_components_and_isolated_spots(ref):
    w = SpatialWeightMatrix(ref["E_W"])
    assert (w.n_components, w.isolated.tolist()) == (2, [22])
    assert w.components.tolist() == [0] * 22 + [1]
    assert "23 spots" in repr(w)
    assert "2 components, 1 isolated" in repr(w)
    assert w.rho_range("icar")[1] == 1.0


# ---------------------------------------------------------------- AnnData


@pytest.mark.filterwarnings("ignore:Setting element:anndata.ImplicitModificationWarning")
def test_anndata_slots_survive_a_file(tiny, tmp_path):
    spatial_weights(tiny, n_neighbors=5, cluster_key="cell_type", boundary=0.25)
    tiny.write_h5ad(tmp_path / "a.h5ad")
    back = anndata.read_h5ad(tmp_path / "a.h5ad")
    w = scale_by_labels(knn_weights(tiny.obsm["spatial"], 5), tiny.obs["cell_type"].to_numpy(), boundary=0.25)
    same(sparse.csr_array(back.obsp["spatial_connectivities"]), w)
    d = sparse.csr_array(back.obsp["spatial_distances"])
    assert d.nnz == w.nnz
    i, j = (int(c[0]) for c in d.coords) if hasattr(d, "coords") else (int(c[0]) for c in d.nonzero())
    np.testing.assert_allclose(d[i, j], np.linalg.norm(tiny.obsm["spatial"][i] - tiny.obsm["spatial"][j]))
    info = back.uns["spatial_neighbors"]
    assert info["connectivities_key"] == "spatial_connectivities"
    assert info["distances_key"] == "spatial_distances"
    assert info["params"]["n_neighbors"] == 5
    assert info["params"]["boundary"] == 0.25
    assert info["params"]["n_components"] == graph.components(w)[0]


def test_anndata_options(tiny_as):
    adata = tiny_as("csr")
    with pytest.warns(NumericalWarning, match="spots have no neighbour"):
        copied = spatial_weights(adata, radius=0.3, expression=True, layer="counts", key_added="s", copy=True)
    assert "s_connectivities" not in adata.obsp
    w = distance_weights(adata.obsm["spatial"], 0.3)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", NumericalWarning)
        same(
            sparse.csr_array(copied.obsp["s_connectivities"]), scale_by_expression(w, adata.layers["counts"])
        )
    spatial_weights(adata, library_key="cell_type", row_scale=True)
    w = sparse.csr_array(adata.obsp["spatial_connectivities"])
    np.testing.assert_allclose(w.sum(axis=1), 1.0)
    assert adata.uns["spatial_neighbors"]["params"]["library_key"] == "cell_type"
    assert graph.components(w)[0] >= 3


def test_forgotten_sections(tiny_as):
    adata = tiny_as("dense")
    adata.obs["library_id"] = np.repeat(["s1", "s2"], 30)
    with pytest.warns(NumericalWarning, match="'library_id'.* has 2 values.* library_key='library_id'"):
        spatial_weights(adata)
    adata.uns["spatial"] = {"s1": {}, "s2": {}}
    with pytest.raises(ValueError, match=r"lists 2 sections, .*\['library_id'\].*library_key='library_id'"):
        spatial_weights(adata)
    spatial_weights(adata, library_key="library_id")
    with pytest.raises(MissingKeyError, match="does not exist.*section of every spot"):
        spatial_weights(adata, library_key="sections")
    with pytest.raises(MissingKeyError, match="'xy'.*does not exist"):
        spatial_weights(adata, spatial_key="xy", library_key="library_id")
    with pytest.raises(ValueError, match="only read with expression=True"):
        spatial_weights(adata, layer="counts", library_key="library_id")
