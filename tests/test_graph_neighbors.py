"""Neighbours, adjacency, Laplacian and components: laws, brute-force truth and every refusal."""

import numpy as np
import pytest
from scipy import sparse

from scmods import graph
from scmods.graph import _neighbors


def brute(x, k, metric, queries=None):
    """Neighbour lists the plain way: full table, stable sort, self out by index."""
    q = x if queries is None else queries
    if metric == "cosine":
        x, q = (v / np.linalg.norm(v, axis=1)[:, None] for v in (x, q))
    table = ((q[:, None] - x[None]) ** 2).sum(axis=2)
    if queries is None:
        np.fill_diagonal(table, np.inf)
    index = np.argsort(table.round(11), axis=1, kind="stable")[:, :k]
    near = np.take_along_axis(table, index, 1)
    return index, near / 2 if metric == "cosine" else np.sqrt(near)


@pytest.mark.parametrize("metric", ["cosine", "euclidean"])
@pytest.mark.parametrize("shape", [(60, 3), (1200, 4), (200, 90)], ids=["small", "tree", "wide"])
def test_knn_is_exact(metric, shape):
    x = np.random.default_rng(1).standard_normal(shape) + 0.3
    index, distance = graph.knn(x, 7, metric=metric)
    expected, far = brute(x, 7, metric)
    np.testing.assert_array_equal(index, expected)
    np.testing.assert_allclose(distance, far, rtol=1e-9, atol=1e-12)


@pytest.mark.parametrize("metric", ["cosine", "euclidean"])
def test_query_is_exact_and_in_blocks(metric):
    rng = np.random.default_rng(2)
    x, new = rng.standard_normal((150, 5)), rng.standard_normal((40, 5))
    index, distance = graph.knn_query(x, new, 6, metric=metric)
    expected, far = brute(x, 6, metric, new)
    np.testing.assert_array_equal(index, expected)
    np.testing.assert_allclose(distance, far, rtol=1e-9, atol=1e-12)
    np.testing.assert_array_equal(graph.knn_query(x, new, 6, metric=metric, block=7)[0], index)


@pytest.mark.parametrize("dims", [2, 20], ids=["tree", "products"])
def test_duplicates_never_list_themselves_and_ties_go_to_the_lower_index(dims):
    rng = np.random.default_rng(3)
    x = rng.standard_normal((1100, dims))
    x[40:70] = x[40]  # more copies than candidates, so the second look is needed
    index, distance = graph.knn(x, 4, metric="euclidean")
    assert not (index == np.arange(len(x))[:, None]).any()
    assert index[40].tolist() == [41, 42, 43, 44]
    assert index[69].tolist() == [40, 41, 42, 43]
    assert (distance[40:70] == 0).all()


def test_lattice_ties_are_settled_by_index():
    x = np.stack(np.meshgrid(np.arange(6.0), np.arange(6.0), indexing="ij"), axis=-1).reshape(-1, 2)
    index, _ = graph.knn(x, 3, metric="euclidean")
    np.testing.assert_array_equal(index, brute(x, 3, "euclidean")[0])
    assert index[7].tolist() == [1, 6, 8]  # four neighbours at distance 1; the last, 13, is left out


def test_ties_far_from_the_origin_and_tiny_scales():
    x = np.random.default_rng(4).standard_normal((80, 3))
    index, distance = graph.knn(x, 5, metric="euclidean")
    shifted, same = graph.knn(x + 1e4, 5, metric="euclidean")
    np.testing.assert_array_equal(shifted, index)
    np.testing.assert_allclose(same, distance, rtol=1e-9)
    np.testing.assert_array_equal(graph.knn(x * 1e-9, 5, metric="euclidean")[0], index)


def test_self_is_listed_only_on_request():
    x = np.random.default_rng(5).standard_normal((30, 3))
    index, distance = graph.knn(x, 30, exclude_self=False)
    assert (index[:, 0] == np.arange(30)).all()
    assert (distance[:, 0] == 0).all()
    assert (np.sort(index, axis=1) == np.arange(30)).all()


def test_permuting_cells_permutes_neighbors():
    rng = np.random.default_rng(6)
    x, order = rng.standard_normal((90, 4)), rng.permutation(90)
    index, _ = graph.knn(x, 5)
    np.testing.assert_array_equal(order[graph.knn(x[order], 5)[0]], index[order])


def test_identical_cells_only():
    index, distance = graph.knn(np.ones((8, 3)), 3, metric="euclidean")
    assert index[0].tolist() == [1, 2, 3]
    assert index[7].tolist() == [0, 1, 2]
    assert not distance.any()


@pytest.mark.parametrize("mode", ["union", "mutual", "directed"])
def test_adjacency_modes(mode):
    index, _ = graph.knn(np.random.default_rng(7).standard_normal((50, 3)), 4)
    listed = np.zeros((50, 50))
    np.put_along_axis(listed, index, 1.0, axis=1)
    expected = {
        "union": np.maximum(listed, listed.T),
        "mutual": np.minimum(listed, listed.T),
        "directed": listed,
    }
    net = graph.adjacency(index, mode=mode)
    np.testing.assert_array_equal(net.toarray(), expected[mode])
    assert net.nnz == expected[mode].sum()
    assert net.dtype == np.float64


def test_gaussian_weights():
    index, distance = graph.knn(np.random.default_rng(8).standard_normal((40, 3)), 5, metric="euclidean")
    net = graph.adjacency(index, weights="gaussian", distances=distance).toarray()
    np.testing.assert_allclose(net, net.T, rtol=1e-12)
    j = index[3, 1]
    assert net[3, j] == pytest.approx(np.exp(-(distance[3, 1] ** 2) / (distance[3, -1] * distance[j, -1])))
    assert ((net > 0) == (graph.adjacency(index).toarray() > 0)).all()


@pytest.mark.parametrize("kind", ["combinatorial", "symmetric"])
def test_laplacian_against_its_definition(kind):
    index, distance = graph.knn(np.random.default_rng(9).standard_normal((40, 3)), 5, metric="euclidean")
    net = graph.adjacency(index, weights="gaussian", distances=distance)
    a = net.toarray()
    d = a.sum(axis=1)
    expected = np.diag(d) - a
    if kind == "symmetric":
        expected /= np.sqrt(d[:, None] * d)
    lap = graph.laplacian(net, kind=kind)
    np.testing.assert_allclose(lap.toarray(), expected, atol=1e-14)
    values = np.linalg.eigvalsh(lap.toarray())
    assert values[0] > -1e-12
    assert values[-1] <= (2 if kind == "symmetric" else 2 * d.max()) + 1e-12
    null = np.ones(40) if kind == "combinatorial" else np.sqrt(d)
    np.testing.assert_allclose(lap @ null, 0, atol=1e-12)


def test_components_are_numbered_by_size():
    blocks = [np.ones((s, s)) - np.eye(s) for s in (2, 5, 3)]
    count, labels = graph.components(sparse.block_diag(blocks, format="csr"))
    assert count == 3
    assert labels.tolist() == [2, 2, 0, 0, 0, 0, 0, 1, 1, 1]


@pytest.mark.parametrize("mode", ["union", "mutual"])
def test_joining_k_is_the_smallest(mode):
    rng = np.random.default_rng(10)
    x = np.vstack([rng.standard_normal((30, 2)), rng.standard_normal((12, 2)) + 9])
    k = graph.joining_k(x, metric="euclidean", mode=mode)
    assert k is not None
    for n_neighbors, connected in ((k, True), (k - 1, False)):
        index, _ = graph.knn(x, n_neighbors, metric="euclidean")
        assert (graph.components(graph.adjacency(index, mode=mode))[0] == 1) is connected
    assert graph.joining_k(x, metric="euclidean", mode=mode, most=k - 1) is None
    assert graph.joining_k(x, metric="euclidean", mode=mode, max_cells=41) is None


X = np.random.default_rng(0).standard_normal((12, 3))
NET = graph.adjacency(graph.knn(X, 3)[0])


def _with(array, where, value):
    array = array.copy()
    array[where] = value
    return array


@pytest.mark.parametrize(
    ("call", "kind", "match"),
    [
        (
            lambda: graph.knn(X, 12),
            ValueError,
            r"`n_neighbors` is 12, .* at most 11\. There are 12 cells: pass",
        ),
        (lambda: graph.knn(X, 2.5), TypeError, r"`n_neighbors` is 2\.5 of type float.*whole number"),
        (lambda: graph.knn(_with(X, (4, 1), np.nan), 3), ValueError, r"1 values that are NaN.*\['4'\]"),
        (
            lambda: graph.knn(_with(X, 2, 0.0), 3),
            ValueError,
            r"1 all-zero rows; first: \['2'\].*metric='euclidean'",
        ),
        (
            lambda: graph.knn(X, 3, metric="cosin"),
            ValueError,
            r"`metric` is 'cosin'.*Did you mean 'cosine'\?",
        ),
        (lambda: graph.knn(sparse.csr_array(X), 3), TypeError, r"is a sparse matrix.*scmods\.graph\.pca"),
        (lambda: graph.knn(X[0], 3), ValueError, r"has 1 axes, but must have two"),
        (
            lambda: graph.knn_query(X, X[:, :2], 3),
            ValueError,
            r"`new` has 2 coordinates, but `reference` has 3",
        ),
        (lambda: graph.knn_query(X, X, 13), ValueError, r"at most 12\. There are 12 reference cells"),
        (lambda: graph.adjacency(np.full((3, 1), 7)), ValueError, r"entries in \[7, 7\].*\[0, 2\]"),
        (
            lambda: graph.adjacency(np.array([[0], [0]])),
            ValueError,
            r"1 cells list themselves.*exclude_self=True",
        ),
        (lambda: graph.adjacency(np.array([[1], [0]]), mode="both"), ValueError, r"`mode` is 'both'"),
        (lambda: graph.adjacency(np.array([[1], [0]]), weights="heat"), ValueError, r"`weights` is 'heat'"),
        (
            lambda: graph.adjacency(np.array([[1], [0]]), weights="gaussian"),
            ValueError,
            r"needs the distances",
        ),
        (
            lambda: graph.adjacency(np.array([[1], [0]]), weights="gaussian", distances=np.zeros((2, 1))),
            ValueError,
            r"2 cells have distance 0 to their last neighbour",
        ),
        (lambda: graph.laplacian(NET.toarray()), TypeError, r"a ndarray of shape .* square scipy sparse"),
        (lambda: graph.laplacian(NET[:5]), ValueError, r"shape \(5, 12\), but must be a square"),
        (
            lambda: graph.laplacian(graph.adjacency(graph.knn(X, 3)[0], mode="directed")),
            ValueError,
            r"The adjacency is not symmetric\. Use mode='union'",
        ),
        (lambda: graph.laplacian(-NET), ValueError, r"negative weights"),
        (lambda: graph.laplacian(NET + sparse.eye_array(12)), ValueError, r"12 self edges"),
        (lambda: graph.laplacian(NET, kind="random_walk"), ValueError, r"`kind` is 'random_walk'"),
        (
            lambda: graph.laplacian(sparse.block_diag([NET, [[0.0]]], format="csr"), kind="symmetric"),
            ValueError,
            r"1 cells have no neighbour; first: \['12'\].*kind='combinatorial'",
        ),
        (lambda: graph.joining_k(X, mode="directed"), ValueError, r"`mode` is 'directed'"),
    ],
)
def test_refusals(call, kind, match):
    with pytest.raises(kind, match=match):
        call()


def test_second_look_is_rare_without_ties(monkeypatch):
    calls = []
    full = _neighbors._full_row
    monkeypatch.setattr(_neighbors, "_full_row", lambda *a: calls.append(1) or full(*a))
    graph.knn(np.random.default_rng(11).standard_normal((500, 12)), 10)
    assert not calls
