"""New cells, comparison of two results, and principal components."""

import numpy as np
import pytest
from scipy import sparse

from scmods import _arrays, graph

RNG = np.random.default_rng(0)
X = RNG.standard_normal((120, 4))
NEW = RNG.standard_normal((30, 4))


def frequencies(x, k=8, kind="combinatorial", m=4):
    net = graph.adjacency(graph.knn(x, k, metric="euclidean")[0])
    return net, graph.eigenpairs(graph.laplacian(net, kind=kind), m)


@pytest.mark.parametrize("metric", ["cosine", "euclidean"])
def test_weights_are_near_and_reverse_neighbors(metric):
    k = 5
    weights = graph.extension_weights(X, NEW, k, metric=metric).toarray()
    for i, cell in enumerate(NEW):
        both = np.vstack([X, cell])
        lists, _ = graph.knn(both, k, metric=metric)
        expected = np.zeros(len(X))
        expected[lists[-1]] = 1
        expected[(lists[:-1] == len(X)).any(axis=1)] = 1
        np.testing.assert_array_equal(weights[i], expected)
    reach = graph.knn(X, k, metric=metric)[1][:, -1]
    given = graph.extension_weights(X, NEW, k, metric=metric, reach=reach)
    np.testing.assert_array_equal(given.toarray(), weights)


@pytest.mark.parametrize("kind", ["combinatorial", "symmetric"])
def test_extension_of_a_graph_cell_is_its_own_value(kind):
    """A cell's own row of the graph must give its own entry back: the eigenvalue equation solved for it."""
    net, pairs = frequencies(X, kind=kind)
    degrees = net.sum(axis=1) if kind == "symmetric" else None
    got = graph.extend(pairs.vectors, pairs.values, net, degrees=degrees)
    np.testing.assert_allclose(got, pairs.vectors, atol=1e-9)


def test_extension_predicts_held_out_cells_better_than_the_mean_of_neighbors():
    angle = RNG.uniform(0, 2 * np.pi, 600)
    ring = np.c_[np.cos(angle), np.sin(angle)] + 0.1 * RNG.standard_normal((600, 2))
    train = np.arange(600) % 4 > 0
    _, full = frequencies(ring)
    weights = graph.extension_weights(ring[train], ring[~train], 8, metric="euclidean")
    got = graph.extend(full.vectors[train], full.values, weights)
    near, _ = graph.knn_query(ring[train], ring[~train], 8, metric="euclidean")
    mean = full.vectors[train][near].mean(axis=1)
    error, plain = (np.linalg.norm(v - full.vectors[~train], axis=0) for v in (got, mean))
    assert (error < 0.2 * np.linalg.norm(full.vectors[~train], axis=0)).all()
    assert error.sum() < plain.sum()


def test_fallback_acts_only_where_the_denominator_is_not_positive():
    weights = sparse.csr_array(np.array([[1.0, 1.0, 0.0], [0.0, 0.0, 1.0]]))
    u, lam = np.array([[1.0, 2.0], [3.0, 4.0], [5.0, 6.0]]), np.array([0.5, 1.5])
    got = graph.extend(u, lam, weights, fallback="mean")
    np.testing.assert_allclose(got, [[4 / 1.5, 6 / 0.5], [5 / 0.5, 6.0]])


def test_align_undoes_a_rotation():
    b = RNG.standard_normal((60, 3))
    turn = np.linalg.qr(RNG.standard_normal((3, 3)))[0]
    aligned, rotation = graph.align(b @ turn.T, b)
    np.testing.assert_allclose(aligned, b, atol=1e-12)
    np.testing.assert_allclose(rotation, turn, atol=1e-12)


def test_canonical_correlations_ignore_mixing_and_see_differences():
    a = RNG.standard_normal((80, 3))
    mixed = a @ RNG.standard_normal((3, 3)) + 7
    np.testing.assert_allclose(graph.canonical_correlations(a, mixed), 1, atol=1e-10)
    assert graph.canonical_correlations(a, mixed, center=False).min() < 0.999
    one = graph.canonical_correlations(a[:, :1], a[:, :1] + RNG.standard_normal((80, 1)))
    assert one.shape == (1,)
    left = np.r_[np.ones(4), -np.ones(4)][:, None]
    right = np.r_[np.ones(2), -np.ones(2), np.ones(2), -np.ones(2)][:, None]
    np.testing.assert_allclose(graph.canonical_correlations(left, right), 0, atol=1e-12)
    twice = np.hstack([a[:, :1], a[:, :1]])
    assert graph.canonical_correlations(twice, a).shape == (1,)


def svd(z, m):
    z = z - z.mean(axis=0)
    u, s, v = np.linalg.svd(z, full_matrices=False)
    return np.abs(u * s)[:, :m], np.abs(v[:m].T), s[:m] ** 2 / (len(z) - 1)


@pytest.mark.parametrize("shape", [(90, 12), (25, 60)], ids=["genes", "cells"])
@pytest.mark.parametrize(
    "options", [{}, {"scale": False}, {"clip": 1.2}], ids=["scaled", "centred", "clipped"]
)
@pytest.mark.parametrize("kind", [np.asarray, sparse.csr_array], ids=["dense", "sparse"])
def test_pca_against_svd(shape, options, kind, monkeypatch):
    monkeypatch.setattr(_arrays, "BLOCK_BYTES", 4000)  # several blocks
    x = RNG.poisson(2.0, shape) * np.linspace(1, 3, shape[1])
    x[:, 4] = 3.0  # a constant gene
    std = x.std(axis=0, ddof=1)
    z = (x - x.mean(axis=0)) / np.where(std > 0, std, 1)
    if not options.get("scale", True):
        z = x - x.mean(axis=0)
    if "clip" in options:
        z = np.clip(z, -1.2, 1.2)
    result = graph.pca(kind(x), 5, **options)
    for got, expected in zip(result, svd(z, 5), strict=True):
        np.testing.assert_allclose(np.abs(got), expected, atol=1e-9)
    scores, loadings, variance = result
    np.testing.assert_allclose(scores, (z - z.mean(axis=0)) @ loadings, atol=1e-10)
    np.testing.assert_allclose(scores.var(axis=0, ddof=1), variance, rtol=1e-10)
    assert (loadings[np.abs(loadings).argmax(axis=0), np.arange(5)] > 0).all()
    np.testing.assert_allclose(loadings[4], 0, atol=1e-12)


def test_pca_of_rows_with_moments_of_others():
    x = RNG.standard_normal((60, 8)) * 3 + 1
    rows = np.array([50, 3, 17, 40, 8, 22, 31, 5, 44, 12, 58])
    moments = _arrays.moments(x, np.arange(30))
    z = (x - x[:30].mean(axis=0)) / x[:30].std(axis=0, ddof=1)
    scores, _, variance = graph.pca(x, 3, rows=rows, moments=moments)
    expected, _, spread = svd(z[rows], 3)
    np.testing.assert_allclose(np.abs(scores), expected, atol=1e-10)
    np.testing.assert_allclose(variance, spread, rtol=1e-10)


def test_pca_warns_before_a_large_gram_matrix(monkeypatch):
    from scmods import PerformanceWarning
    from scmods.graph import _pca

    monkeypatch.setattr(_pca, "GRAM_BYTES", 100)
    with pytest.warns(PerformanceWarning, match=r"Gram matrix of 8 x 8 values takes .*highly_variable_genes"):
        graph.pca(RNG.standard_normal((20, 8)), 2)


W = graph.extension_weights(X, NEW, 5)
F, LAM = RNG.standard_normal((120, 2)), np.array([0.1, 0.2])


@pytest.mark.parametrize(
    ("call", "match"),
    [
        (lambda: graph.extend(F[:50], LAM, W), r"`frequencies` \(50, 2\).*do not fit.*extension_weights"),
        (lambda: graph.extend(F, LAM, W * 0), r"30 new cells have no edge to the graph; first: \['0'"),
        (
            lambda: graph.extend(F, np.array([0.1, 99.0]), W),
            r"30 new cells have too few edges.*new cell 0 has degree .*eigenvalue 99.*fallback='mean'",
        ),
        (lambda: graph.extend(F, LAM, W, fallback="zero"), r"`fallback` is 'zero'"),
        (
            lambda: graph.extension_weights(X, NEW, 5, reach=np.ones(3)),
            r"`reach` has shape \(3,\).*120 reference",
        ),
        (
            lambda: graph.extension_weights(X, NEW[:, :3], 5),
            r"`new` has 3 coordinates, but `reference` has 4",
        ),
        (lambda: graph.extension_weights(X, NEW * 0, 5), r"`new` has 30 all-zero rows"),
        (lambda: graph.align(F, F[:, :1]), r"`a` has 2 columns and `b` has 1.*canonical_correlations"),
        (lambda: graph.align(F, F[:9]), r"`a` has shape \(120, 2\) and `b` has shape \(9, 2\).*same cells"),
        (lambda: graph.canonical_correlations(F, F * np.nan), r"`b` holds 240 values that are NaN"),
        (lambda: graph.pca(X, 5), r"`n_comps` is 5, .*at most 4\. There are 120 cells and 4 genes"),
        (lambda: graph.pca(X, 2, scale=False, clip=3), r"clip=3 is a bound on z-scores, but scale=False"),
        (lambda: graph.pca(X, 2, clip=-1), r"`clip` is -1, but must be a finite number"),
        (lambda: graph.pca(np.where(X > 2, np.nan, X), 2), r"NaN or infinite"),
    ],
)
def test_refusals(call, match):
    with pytest.raises(ValueError, match=match):
        call()
