"""Eigenpairs: dense truth on thin and thick trees, null spaces, degeneracy, missed vectors and refusals."""

import importlib.util
from pathlib import Path

import numpy as np
import pytest
from scipy import sparse

from scmods import graph
from scmods.graph import _eigen, _lobpcg, _multigrid, _signs

SPEC = importlib.util.spec_from_file_location("trees", Path(__file__).parents[1] / "benchmarks" / "trees.py")
TREES = importlib.util.module_from_spec(SPEC)
SPEC.loader.exec_module(TREES)
ITERATIVE = ("multigrid", "shift_invert", "chebyshev")


def net(x, k=10, mode="union"):
    return graph.adjacency(graph.knn(x, k, metric="euclidean")[0], mode=mode)


def truth(lap, count, m):
    """Non-zero eigenpairs by the plain dense way."""
    values, vectors = np.linalg.eigh(lap.toarray())
    assert np.abs(values[:count]).max() < 1e-10
    return values[count : count + m], vectors[:, count : count + m]


def path(n):
    """Adjacency and exact eigenvalues of a path: 2 - 2 cos(pi j / n)."""
    a = sparse.diags_array([np.ones(n - 1), np.ones(n - 1)], offsets=[-1, 1]).tocsr()
    return a, 2 - 2 * np.cos(np.pi * np.arange(1, n) / n)


@pytest.fixture(scope="module", params=[0.05, 0.6], ids=["thin", "thick"])
def tree(request):
    lap = graph.laplacian(net(TREES.tree(1500, 10, request.param)[0]))
    return lap, *truth(lap, 1, 6)


@pytest.mark.parametrize("method", ["dense", *ITERATIVE])
def test_trees_against_dense(tree, method):
    lap, values, vectors = tree
    pairs = graph.eigenpairs(lap, 5, method=method)
    np.testing.assert_allclose(pairs.values, values[:5], rtol=1e-9)
    np.testing.assert_allclose(pairs.next_value, values[5], rtol=1e-5)
    np.testing.assert_allclose(pairs.gaps, np.diff(values), rtol=1e-4, atol=1e-6)
    cosines = graph.canonical_correlations(pairs.vectors, vectors[:, :5], center=False)
    np.testing.assert_allclose(cosines, 1, atol=1e-9)
    assert pairs.residuals.max() <= 1e-5
    # reported residuals are those of the returned vectors
    again = np.linalg.norm(lap @ pairs.vectors - pairs.vectors * pairs.values, axis=0)
    np.testing.assert_allclose(pairs.residuals, again, rtol=1e-3, atol=1e-12)
    np.testing.assert_allclose(pairs.vectors.T @ pairs.vectors, np.eye(5), atol=1e-10)
    np.testing.assert_allclose(pairs.vectors.sum(axis=0), 0, atol=1e-8)


@pytest.mark.parametrize("method", ["multigrid", "shift_invert"])
def test_thin_tree_of_3000(method):
    """Where Lanczos on the flipped matrix returned a wrong fifth vector without an error."""
    lap = graph.laplacian(net(TREES.tree(3000, 10, 0.05)[0]))
    pairs = graph.eigenpairs(lap, 5, method=method)
    # certificate by inertia: eigenvalues counted below a point just under, and just above, the fifth
    for shift, below in ((pairs.values[4] * 0.999, 4), (pairs.values[4] * 1.001, 5)):
        factor = sparse.linalg.splu(
            (lap - shift * sparse.eye_array(3000)).tocsc(),
            permc_spec="MMD_AT_PLUS_A",
            diag_pivot_thresh=0.0,
            options={"SymmetricMode": True},
        )
        assert (factor.perm_r == factor.perm_c).all()
        assert (factor.U.diagonal() < 0).sum() == pairs.n_components + below
    assert (pairs.residuals <= 1e-6 * pairs.values).all()


@pytest.mark.parametrize("method", ITERATIVE)
def test_path_against_its_closed_form(method):
    a, values = path(1200)
    pairs = graph.eigenpairs(graph.laplacian(a), 4, method=method)
    np.testing.assert_allclose(pairs.values, values[:4], rtol=1e-9)
    # the vectors are cosines; a plane wave is carried by two thirds of the cells
    wave = np.cos(np.pi * (np.arange(1200) + 0.5) / 1200)
    assert abs(pairs.vectors[:, 0] @ wave) / np.linalg.norm(wave) == pytest.approx(1, abs=1e-9)
    np.testing.assert_allclose(graph.participation_ratio(pairs.vectors), 2 / 3, rtol=1e-4)


@pytest.mark.parametrize("method", ITERATIVE)
def test_multiple_eigenvalues_are_all_found(method):
    """Three equal components: every eigenvalue three times, which a single-vector method cannot see."""
    a, values = path(400)
    lap = graph.laplacian(sparse.block_diag([a, a, a], format="csr"))
    pairs = graph.eigenpairs(lap, 6, method=method)
    np.testing.assert_allclose(pairs.values, np.repeat(values[:2], 3), rtol=1e-8)
    assert pairs.n_components == 3


@pytest.mark.parametrize("method", ["dense", *ITERATIVE])
@pytest.mark.parametrize("kind", ["combinatorial", "symmetric"])
def test_three_blobs_drop_all_three_zeros(method, kind):
    rng = np.random.default_rng(0)
    x = np.vstack([rng.standard_normal((size, 2)) + 50 * i for i, size in enumerate((500, 400, 300))])
    lap = graph.laplacian(net(x), kind=kind)
    pairs = graph.eigenpairs(lap, 4, method=method)
    values, _ = truth(lap, 3, 4)
    assert pairs.n_components == 3
    assert np.bincount(pairs.labels).tolist() == [500, 400, 300]
    assert pairs.values[0] > 1e-4
    np.testing.assert_allclose(pairs.values, values, rtol=1e-8)


@pytest.mark.parametrize("method", ["dense", *ITERATIVE])
def test_isolated_cells_are_zero(method):
    a, values = path(60)
    lap = graph.laplacian(sparse.block_diag([[[0.0]], a, [[0.0]]], format="csr"))
    pairs = graph.eigenpairs(lap, 3, method=method)
    assert pairs.n_components == 3
    np.testing.assert_allclose(pairs.values, values[:3], rtol=1e-8)
    assert not pairs.vectors[[0, -1]].any()


def test_weighted_symmetric_laplacian_needs_the_graph():
    x = np.random.default_rng(1).standard_normal((80, 3))
    index, distance = graph.knn(x, 6, metric="euclidean")
    a = graph.adjacency(index, weights="gaussian", distances=distance)
    lap = graph.laplacian(a, kind="symmetric")
    pairs = graph.eigenpairs(lap, 3, adjacency=a)
    np.testing.assert_allclose(pairs.values, truth(lap, 1, 3)[0], rtol=1e-9)
    with pytest.raises(ValueError, match=r"not a Laplacian.*adjacency=adjacency"):
        graph.eigenpairs(lap, 3)


def test_permuting_cells_permutes_vectors():
    rng = np.random.default_rng(2)
    x, order = TREES.tree(1200, 4, 0.3)[0], rng.permutation(1200)
    one, two = (graph.eigenpairs(graph.laplacian(net(v)), 3) for v in (x, x[order]))
    assert one.method == two.method == "multigrid"
    np.testing.assert_allclose(two.values, one.values, rtol=1e-9)
    np.testing.assert_allclose(two.vectors, one.vectors[order], atol=1e-6)


def test_repeatable_and_independent_of_the_global_generator():
    lap = graph.laplacian(net(TREES.tree(1200, 4, 0.3)[0]))
    state = np.random.get_state()[1].copy()
    one = graph.eigenpairs(lap, 3)
    np.testing.assert_array_equal(np.random.get_state()[1], state)
    np.random.seed(5)
    np.testing.assert_array_equal(graph.eigenpairs(lap, 3).vectors, one.vectors)
    np.testing.assert_allclose(graph.eigenpairs(lap, 3, seed=1).vectors, one.vectors, atol=1e-6)


@pytest.mark.parametrize("missing", [0, 2, 4])
def test_a_start_without_one_vector_is_noticed(tree, missing, monkeypatch):
    """Started from exact vectors of all pairs but one, the iteration has converged, on the wrong set."""
    lap, _, _ = tree
    inner, _ = _eigen._reordered(lap)
    values, vectors = truth(inner, 1, 10)
    wrong = np.delete(vectors, missing, axis=1)
    monkeypatch.setattr(_multigrid.Hierarchy, "start", lambda self, width, rng: wrong[:, :width])
    solve = _multigrid.Hierarchy.solve
    first = []

    def exact_once(self, b, depth=0):
        if depth == 0 and not first:
            first.append(1)
            return b
        return solve(self, b, depth)

    monkeypatch.setattr(_multigrid.Hierarchy, "solve", exact_once)
    pairs = graph.eigenpairs(lap, 5, method="multigrid")
    np.testing.assert_allclose(pairs.values, values[:5], rtol=1e-8)
    # without the probe it is missed: the test would notice a probe that does nothing
    first.clear()
    monkeypatch.setattr(_lobpcg._Block, "probe", lambda self: True)
    blind = graph.eigenpairs(lap, 5, method="multigrid")
    assert abs(blind.values - values[:5]).max() > 1e-6


def test_a_loose_result_is_dropped_and_the_next_method_tried(tree, monkeypatch):
    lap, values, vectors = tree
    loose = vectors + 1e-2 * np.random.default_rng(0).standard_normal(vectors.shape) / np.sqrt(len(vectors))
    monkeypatch.setitem(_eigen.SOLVERS, "multigrid", lambda problem: (loose, 0))
    pairs = graph.eigenpairs(lap, 5)
    assert pairs.method in {"shift_invert", "chebyshev"}
    np.testing.assert_allclose(pairs.values, values[:5], rtol=1e-9)
    with pytest.raises(RuntimeError, match=r"No solver reached a residual of 1e-05.*multigrid: .*tol=1e-4"):
        graph.eigenpairs(lap, 5, method="multigrid")


def test_signs_follow_the_rule_and_ties_the_first_entry():
    v = np.array([[0.5, -0.7, -0.5], [-0.6, 0.1, 0.5 * (1 + 1e-13)]])
    expected = np.array([[-0.5, 0.7, 0.5], [0.6, -0.1, -0.5]])
    np.testing.assert_allclose(_signs.fix_signs(v), expected, rtol=1e-12)


def test_participation_of_one_cell_and_of_all():
    v = np.zeros((50, 2))
    v[3, 0] = -4.0
    v[:, 1] = 2.0
    np.testing.assert_allclose(graph.participation_ratio(v), [1 / 50, 1])


A, _ = path(30)
LAP = graph.laplacian(A)


@pytest.mark.parametrize(
    ("call", "kind", "match"),
    [
        (
            lambda: graph.eigenpairs(LAP, 29),
            ValueError,
            r"`n_comps` is 29, .*at most 28\. The graph has 30 cells",
        ),
        (lambda: graph.eigenpairs(LAP, 0), ValueError, r"`n_comps` is 0, but must be at least 1"),
        (lambda: graph.eigenpairs(LAP, True), TypeError, r"`n_comps` is True of type bool"),
        (
            lambda: graph.eigenpairs(LAP, 3, method="arpack"),
            ValueError,
            r"`method` is 'arpack'.*'shift_invert'",
        ),
        (lambda: graph.eigenpairs(LAP, 3, tol=1.0), ValueError, r"`tol` is 1, .*\[1e-14, 0\.01\]"),
        (lambda: graph.eigenpairs(A, 3), ValueError, r"not a Laplacian: neither the constant"),
        (lambda: graph.eigenpairs(LAP.toarray(), 3), TypeError, r"The Laplacian is a ndarray"),
        (
            lambda: graph.eigenpairs(graph.laplacian(sparse.block_diag([A[:2, :2]] * 3, format="csr")), 3),
            ValueError,
            r"`n_comps` is 3, .*6 cells in 3 components of sizes \['2', '2', '2'\]",
        ),
        (
            lambda: graph.eigenpairs(graph.laplacian(A[:2, :2]), 1),
            ValueError,
            r"too few edges for a single frequency\. The graph has 2 cells in 1 components",
        ),
    ],
)
def test_refusals(call, kind, match):
    with pytest.raises(kind, match=match):
        call()
