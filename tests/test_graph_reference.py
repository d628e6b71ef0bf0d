"""The graph functions against the frozen 30-cell example and against dense linear algebra."""

from pathlib import Path

import numpy as np
import pytest

from scmods import graph

FILE = Path(__file__).parent / "data" / "bmlp_graph.npz"


@pytest.fixture(scope="module")
def ref():
    with np.load(FILE) as z:
        return dict(z)


@pytest.fixture(scope="module")
def net(ref):
    return graph.adjacency(graph.knn(ref["cells"], int(ref["k"]))[0])


def test_neighbors(ref):
    indices, distances = graph.knn(ref["cells"], int(ref["k"]))
    assert [set(i) for i in indices] == [set(i) for i in ref["knn_indices"]]
    assert (np.diff(distances, axis=1) >= 0).all()


def test_adjacency_and_components(ref, net):
    np.testing.assert_array_equal(net.toarray(), ref["adjacency"])
    assert graph.components(net)[0] == ref["n_components"] == 1


@pytest.mark.parametrize(
    ("kind", "key"),
    [("combinatorial", "laplacian_eigenvalues"), ("symmetric", "normalized_laplacian_eigenvalues")],
)
@pytest.mark.parametrize("method", ["dense", "shift_invert", "chebyshev", "multigrid"])
def test_spectrum(ref, net, kind, key, method):
    lap = graph.laplacian(net, kind=kind)
    np.testing.assert_allclose(np.linalg.eigvalsh(lap.toarray()), ref[key], rtol=0, atol=1e-9)
    pairs = graph.eigenpairs(lap, 5, method=method, tol=1e-10)
    assert pairs.method == method
    np.testing.assert_allclose(pairs.values, ref[key][1:6], rtol=0, atol=1e-9)
    np.testing.assert_allclose(pairs.next_value, ref[key][6], rtol=0, atol=1e-9)


@pytest.mark.parametrize("method", ["dense", "shift_invert", "chebyshev", "multigrid"])
def test_frequencies(ref, net, method):
    pairs = graph.eigenpairs(graph.laplacian(net), 5, method=method, tol=1e-10)
    np.testing.assert_allclose(pairs.values, ref["frequency_values"], rtol=0, atol=1e-9)
    np.testing.assert_allclose(pairs.vectors, ref["frequencies"], rtol=0, atol=1e-9)
    assert pairs.residuals.max() <= 1e-9


def test_new_cells(ref):
    weights = graph.extension_weights(ref["cells"], ref["new_cells"], int(ref["k"]))
    np.testing.assert_array_equal(weights.toarray(), ref["new_cell_weights"])
    got = graph.extend(ref["frequencies"], ref["frequency_values"], weights)
    np.testing.assert_allclose(got, ref["new_cell_frequencies"], rtol=0, atol=1e-9)
