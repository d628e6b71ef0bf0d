"""Precision matrices: frozen values, the laws of each prior, the valid range, and every refusal."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import sparse

from scmods._checks import NumericalWarning
from scmods.smoother.priors import Sma, precision, rho_range, standardize, symmetrize
from scmods.smoother.selected import marginal_variance
from scmods.smoother.weights import SpatialWeightMatrix, knn_weights, scale_by_labels

PROPER = ["icar", "car", "sar", "isar"]


def grid(rows: int, columns: int) -> np.ndarray:
    return np.argwhere(np.ones((rows, columns))).astype(float)


def random_weights(seed: int, n: int = 14, share: float = 0.3) -> np.ndarray:
    """Symmetric, weighted, every spot with an edge; often in several components."""
    rng = np.random.default_rng(seed)
    w = np.triu(rng.uniform(0.2, 2.0, (n, n)) * (rng.uniform(size=(n, n)) < share), 1)
    w = w + w.T
    for i in np.flatnonzero(w.sum(axis=1) == 0):
        w[i, i] = 1.0
    return w


def smallest(q: sparse.sparray) -> float:
    return np.linalg.eigvalsh(q.toarray())[0]


# ---------------------------------------------------------------- frozen values


@pytest.mark.parametrize("prior", [*PROPER, "sma"])
def test_reference(ref, prior):
    q = precision(ref["A_W"], prior, float(ref[f"A_rho_{prior}"]))
    np.testing.assert_allclose(q.toarray(), ref[f"A_Q_{prior}"], rtol=0, atol=1e-9)


def test_reference_standardised(ref):
    rho = float(ref["A_rho_icar"])
    q = precision(ref["A_W"], "icar", rho, standardize=True)
    np.testing.assert_allclose(q.toarray(), ref["A_Qstd_icar"], rtol=0, atol=1e-9)
    np.testing.assert_allclose(standardize(precision(ref["A_W"], "icar", rho)).toarray(), q.toarray())
    np.testing.assert_allclose(np.linalg.inv(q.toarray()), ref["A_corr_icar"], atol=1e-9)


def test_reference_improper(ref):
    np.testing.assert_allclose(precision(ref["A_W"], "icar", 1).toarray(), ref["A_Q_icar_rho1"], atol=1e-9)
    q = precision(ref["A_W"], "icar", 1, standardize=True)
    np.testing.assert_allclose(q.toarray(), ref["A_Q_icar_rho1_normlap"], rtol=0, atol=1e-9)


def test_reference_isolated_spot(ref):
    icar, car = precision(ref["E_W"], "icar", 0.95), precision(ref["E_W"], "car", 0.1)
    np.testing.assert_allclose(icar.toarray(), ref["E_Q_icar_rho95"], atol=1e-9)
    np.testing.assert_allclose(car.toarray(), ref["E_Q_car_rho01"], atol=1e-9)
    expected = {"icar": 0.9, "car": 0.9, "sar": 0.81, "isar": 0.81, "sma": 1 / 1.21}
    for prior, value in expected.items():
        np.testing.assert_allclose(precision(ref["E_W"], prior, 0.1)[22, 22], value, rtol=1e-12)


# ---------------------------------------------------------------- laws


@given(st.integers(0, 10**6))
def test_a_constant_on_every_component_costs_nothing_under_icar(seed):
    w = SpatialWeightMatrix(random_weights(seed, share=0.15))
    levels = np.random.default_rng(seed).normal(size=w.n_components)
    q = precision(w, "icar", 1)
    field = levels[w.components]
    assert abs(field @ (q @ field)) < 1e-10
    assert np.linalg.matrix_rank(q.toarray(), tol=1e-9) == 14 - w.n_components


@given(st.integers(0, 10**6), st.floats(-0.99, 1.0))
def test_icar_is_the_sum_over_edges(seed, rho):
    w, x = random_weights(seed), np.random.default_rng(seed + 1).normal(size=14)
    edges = 0.5 * (w * (x[:, None] - x) ** 2).sum()
    expected = rho * edges + (1 - rho) * (w.sum(axis=1) * x**2).sum()
    np.testing.assert_allclose(x @ (precision(w, "icar", rho) @ x), expected, rtol=1e-9, atol=1e-9)


@given(st.integers(0, 10**6), st.sampled_from(["icar", "car"]), st.sampled_from([0, 1]))
def test_positive_definite_exactly_inside_the_range(seed, prior, end):
    w = random_weights(seed)
    limit = rho_range(w, prior)[end]
    if not np.isfinite(limit):
        assert smallest(precision(w, prior, (-1) ** (end + 1) * 1e3)) > 0
        return
    assert smallest(precision(w, prior, limit * (1 - 1e-7))) > 0
    with pytest.raises(ValueError, match="is outside the range of prior="):
        precision(w, prior, limit * (1 + 1e-7))
    scale = np.diag(w.sum(axis=1)) if prior == "icar" else np.eye(14)
    assert np.linalg.eigvalsh(scale - limit * (1 + 1e-7) * w)[0] < 0


@pytest.mark.parametrize("prior", ["icar", "car", "isar", "sar", "sma"])
def test_range_by_lanczos_is_that_of_all_eigenvalues(prior):
    w = knn_weights(np.random.default_rng(0).uniform(size=(900, 2)), 8)  # above the size that is done densely
    dense = w.toarray()
    if prior in ("icar", "isar"):
        dense = dense / np.sqrt(np.outer(dense.sum(axis=1), dense.sum(axis=1)))
    values = np.linalg.eigvalsh(dense)
    expected = 1 / values[[0, -1]]
    np.testing.assert_allclose(
        rho_range(w, prior), -expected[::-1] if prior == "sma" else expected, rtol=1e-8
    )


def test_range_of_the_rook_lattice_and_of_a_directed_graph():
    line = np.diag(np.ones(9), 1)
    path = line + line.T
    rook = np.kron(path, np.eye(10)) + np.kron(np.eye(10), path)
    np.testing.assert_allclose(rho_range(rook, "car")[1], 1 / (4 * np.cos(np.pi / 11)), rtol=1e-10)
    assert rho_range(line, "sar") == (-np.inf, np.inf)  # no cycle, no eigenvalue
    for n in (100, 500):
        w = knn_weights(np.random.default_rng(1).uniform(size=(n, 2)), 5, mutual=False)
        np.testing.assert_allclose(rho_range(w, "sar"), (-0.2, 0.2), rtol=1e-8)  # every row sums to 5


@pytest.mark.parametrize("prior", [*PROPER, "sma"])
def test_standardised_covariance_has_a_unit_diagonal(ref, prior):
    rho = float(ref[f"A_rho_{prior}"])
    for w in (ref["A_W"], random_weights(3, 25)):
        q, scaled = (precision(w, prior, min(rho, 0.1), standardize=s) for s in (False, True))
        covariance = np.linalg.inv(scaled.toarray())
        np.testing.assert_allclose(covariance.diagonal(), 1.0, rtol=1e-9)
        sd = np.sqrt(np.linalg.inv(q.toarray()).diagonal())
        np.testing.assert_allclose(covariance, np.linalg.inv(q.toarray()) / np.outer(sd, sd), atol=1e-9)
        assert scaled.nnz == q.nnz


@pytest.mark.parametrize("prior", PROPER)
def test_sparse_symmetric_and_blocks_of_sections(prior):
    x = np.vstack([grid(4, 5), grid(3, 4)])
    name = np.repeat([0, 1], [20, 12])
    whole = precision(knn_weights(x, 3, library=name), prior, 0.15, standardize=True)
    assert (abs(whole - whole.T)).max() == 0
    for s in (0, 1):
        own = precision(knn_weights(x[name == s], 3), prior, 0.15, standardize=True)
        np.testing.assert_allclose(whole[name == s][:, name == s].toarray(), own.toarray(), atol=1e-12)
    assert not whole[name == 0][:, name == 1].nnz


def test_improper_standardised_follows_the_rule_and_not_rounding():
    # factorising these Laplacians in float32 or float64 succeeds or fails by chance
    for n in range(5, 13):
        w = knn_weights(grid(n, n), 4)
        for prior in ("icar", "isar"):
            q = precision(w, prior, 1, standardize=True).toarray()
            np.testing.assert_allclose(q.diagonal(), 1.0, rtol=1e-12)
            plain = precision(w, prior, 1).toarray()
            d = 1 / np.sqrt(plain.diagonal())
            np.testing.assert_allclose(q, d[:, None] * plain * d, atol=1e-12)
            assert np.linalg.eigvalsh(q)[0] > -1e-10


def test_improper_isolated_spot_costs_nothing(ref):
    q = precision(ref["E_W"], "icar", 1, standardize=True)
    assert q[22, 22] == 0
    assert np.isfinite(q.data).all()


# ---------------------------------------------------------------- moving average


def test_sma_is_its_dense_form(ref):
    a = Sma(ref["A_W"], 0.15)
    np.testing.assert_allclose(a.precision(), ref["A_Q_sma"], atol=1e-9)
    np.testing.assert_allclose(a.quadratic(ref["A_beta"].T).sum(), ref["A_quad_sma_raw"], atol=1e-9)
    dense = np.eye(25) + 0.15 * ref["A_W"]
    x = ref["A_beta"].T
    np.testing.assert_allclose(a.solve(x), np.linalg.solve(dense, x), atol=1e-12)
    np.testing.assert_allclose(a.solve_transpose(x[:, 0]), np.linalg.solve(dense.T, x[:, 0]), atol=1e-12)
    np.testing.assert_allclose(a.apply(a.solve(x)), x, atol=1e-12)
    np.testing.assert_allclose(a.covariance().toarray(), dense @ dense.T, atol=1e-12)
    np.testing.assert_allclose(marginal_variance(a), (dense @ dense.T).diagonal(), atol=1e-12)


def test_sma_of_a_directed_graph():
    w = knn_weights(np.random.default_rng(2).uniform(size=(30, 2)), 3, mutual=False)
    x = np.random.default_rng(3).normal(size=(30, 2))
    for scaled in (False, True):
        a = Sma(w, 0.2, standardize=scaled)
        covariance = a.covariance().toarray()
        np.testing.assert_allclose(
            a.quadratic(x), np.einsum("ig,ig->g", x, np.linalg.solve(covariance, x)), rtol=1e-9
        )
        np.testing.assert_allclose(a.solve_transpose(a.solve(x)), a.precision() @ x, atol=1e-9)
    np.testing.assert_allclose(covariance.diagonal(), 1.0, rtol=1e-12)


def test_sma_refusals():
    path = np.diag(np.ones(2), 1) + np.diag(np.ones(2), -1)
    with (
        pytest.warns(NumericalWarning, match=r"rho=0.7071.* is outside \(-0.7071, 0.7071\)"),
        pytest.raises(ValueError, match="I [+] rho W is singular at rho=0.7071.*rho_range"),
    ):
        Sma(path, 1 / np.sqrt(2))
    with pytest.warns(NumericalWarning, match="rho=3 is outside"):
        Sma(path, 3.0)
    with pytest.raises(
        ValueError, match=r"`x` has shape \(2, 3\), but must be \(3,\) or \(3, columns\).*Transpose"
    ):
        Sma(path, 0.1).solve(np.ones((2, 3)))
    big = sparse.eye_array(5001)
    with pytest.raises(ValueError, match="5001 x 5001 values take 0.2 GB.*Use the sparse factor"):
        precision(big, "sma", 0.1)


# ---------------------------------------------------------------- refusals


def test_rho_outside_the_range_names_the_range():
    w = knn_weights(grid(10, 10), 4)
    with pytest.raises(
        ValueError, match=r"rho=1 is outside the range of prior='car' on this graph: \(-0.2\d+, 0.2\d+\)"
    ):
        precision(w, "car", 1)
    with pytest.raises(
        ValueError, match=r"rho=1.5 .*'icar'.*, 1\) \(rho=1 is allowed, but improper.*no minimum"
    ):
        precision(w, "icar", 1.5)
    with pytest.raises(ValueError, match=r"rho=-1.2 .*'isar'.*can be singular"):
        precision(w, "isar", -1.2)
    with pytest.warns(
        NumericalWarning, match=r"rho=1 is outside \(-0.2\d+, 0.2\d+\), the range of prior='sar'"
    ):
        precision(w, "sar", 1)
    with pytest.raises(ValueError, match="`rho` is nan, but must be a finite number"):
        precision(w, "icar", np.nan)
    with pytest.raises(TypeError, match="`rho` is '1'"):
        precision(w, "icar", "1")


def test_asymmetric_weights_are_refused_and_can_be_symmetrised():
    x = np.random.default_rng(0).uniform(size=(30, 2))
    w = knn_weights(x, 4, mutual=False)
    for bad in (w, knn_weights(x, 10, row_scale=True)):
        for prior in ("icar", "car"):
            with pytest.raises(
                ValueError, match=r"needs symmetric weights, but entries \(\d+, \d+\) = .*symmetrize"
            ):
                precision(bad, prior, 0.1)
        assert precision(bad, "isar", 0.9).shape == (30, 30)
    even = symmetrize(w)
    np.testing.assert_allclose(even.toarray(), (w.toarray() + w.toarray().T) / 2)
    assert smallest(precision(even, "icar", 0.9)) > 0


def test_bad_weights():
    w = np.array([[0.0, -0.5, 1.0], [-0.5, 0.0, 1.0], [1.0, 1.0, 0.0]])
    for prior in [*PROPER, "sma"]:
        with pytest.raises(ValueError, match=r"2 negative entries; first: \(0, 1\) = -0.5, \(1, 0\) = -0.5"):
            precision(w, prior, 0.1)
    with pytest.raises(ValueError, match=r"shape \(2, 3\), but must be square"):
        precision(np.ones((2, 3)), "car", 0.1)
    with pytest.raises(ValueError, match=r"1 values that are NaN or infinite; first rows: \['1'\]"):
        precision(np.array([[0.0, 1.0], [np.nan, 0.0]]), "car", 0.1)
    with pytest.raises(ValueError, match=r"1 spots have no weight at all; first: \['2'\].*knn_weights"):
        precision(np.array([[0.0, 1, 0], [1, 0, 0], [0, 0, 0]]), "icar", 0.5)
    with pytest.raises(ValueError, match="`prior` is 'ICAR', but must be one of.*Did you mean 'icar'"):
        precision(np.eye(2), "ICAR", 0.5)


def test_accepts_every_form_of_the_weights(ref):
    w = ref["A_W"]
    expected = precision(w, "icar", 0.9).toarray()
    for form in (
        sparse.csr_matrix(w),
        sparse.coo_array(w),
        SpatialWeightMatrix(w),
        w.astype(np.float32),
        w.astype(int),
    ):
        np.testing.assert_allclose(precision(form, "icar", 0.9).toarray(), expected, atol=1e-12)


def test_boundaries_cut_the_correlation():
    x = grid(6, 6)
    w = knn_weights(x, 4)
    side = x[:, 0] < 3
    joint = np.linalg.inv(precision(w, "icar", 0.99).toarray())
    cut = np.linalg.inv(precision(scale_by_labels(w, side), "icar", 0.99).toarray())
    half = np.linalg.inv(precision(scale_by_labels(w, side, boundary=0.1), "icar", 0.99).toarray())
    across = np.ix_(side, ~side)
    assert np.abs(cut[across]).max() == 0
    assert (half[across] < joint[across]).all()
    assert (half[across] > 0).all()
