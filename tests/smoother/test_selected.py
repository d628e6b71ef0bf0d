"""Selected inverse, decay, samples and posterior variances against dense linear algebra."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import sparse

from scmods.smoother.factor import factorize
from scmods.smoother.priors import Sma, precision
from scmods.smoother.selected import (
    corr_decay,
    covariance_columns,
    marginal_variance,
    neighbour_correlations,
    neighbour_covariances,
    posterior_variance,
    sample,
    selected_inverse,
)
from scmods.smoother.weights import knn_weights


def random_precision(seed: int) -> np.ndarray:
    """Sparse symmetric positive definite matrix of random size, pattern, signs and scale."""
    rng = np.random.default_rng(seed)
    n = int(rng.integers(1, 41))
    a = np.triu(rng.normal(size=(n, n)) * (rng.uniform(size=(n, n)) < rng.uniform(0, 0.3)), 1)
    a = a + a.T
    return (a + np.diag(np.abs(a).sum(axis=1) + rng.uniform(0.01, 2, n))) * 10.0 ** rng.integers(-3, 4)


def lattice_precision(rho: float = 0.99, side: int = 9) -> tuple[np.ndarray, sparse.csr_array]:
    x = np.argwhere(np.ones((side, side))).astype(float)
    return x, precision(knn_weights(x, 4), "icar", rho)


# ---------------------------------------------------------------- selected inverse


@given(st.integers(0, 10**6))
def test_selected_inverse_is_the_dense_inverse_on_the_pattern(seed):
    q = random_precision(seed)
    dense, on = np.linalg.inv(q), q != 0
    got = selected_inverse(q)
    np.testing.assert_array_equal(got.toarray() != 0, on)
    np.testing.assert_allclose(got.toarray()[on], dense[on], rtol=1e-8, atol=1e-12 * np.abs(dense).max())
    np.testing.assert_allclose(marginal_variance(q), dense.diagonal(), rtol=1e-9)


@given(st.integers(0, 10**6))
def test_factor_solves_and_log_determinant(seed):
    q = random_precision(seed)
    f, b = factorize(q), np.random.default_rng(seed).normal(size=(len(q), 3))
    np.testing.assert_allclose(q @ f.solve(b), b, atol=1e-8)
    np.testing.assert_allclose(f.solve(b[:, 0]), f.solve(b)[:, 0], rtol=1e-12)
    np.testing.assert_allclose(f.log_determinant(), np.linalg.slogdet(q)[1], rtol=1e-9, atol=1e-9)
    half = f.unwhiten(np.eye(len(q)))
    np.testing.assert_allclose(
        half @ half.T, np.linalg.inv(q), rtol=1e-7, atol=1e-10 * np.abs(half).max() ** 2
    )


def test_cancellation_inside_the_factor_is_no_hole_in_the_pattern():
    # eliminating spot 0 cancels the entry between 1 and 2, yet its inverse entry is needed and not zero
    q = np.array([[1.0, 0.5, 0.5, 0.0], [0.5, 2.0, 0.25, 0.3], [0.5, 0.25, 2.0, 0.3], [0.0, 0.3, 0.3, 2.0]])
    on = q != 0
    np.testing.assert_allclose(selected_inverse(q).toarray()[on], np.linalg.inv(q)[on], rtol=1e-12)


def test_permuting_the_spots_permutes_the_variances():
    _, q = lattice_precision()
    order = np.random.default_rng(0).permutation(81)
    np.testing.assert_allclose(marginal_variance(q[order][:, order]), marginal_variance(q)[order], rtol=1e-10)


def test_reference_variance(ref):
    np.testing.assert_allclose(marginal_variance(ref["A_Q_icar"]), ref["A_var_icar"], rtol=0, atol=1e-9)


# ---------------------------------------------------------------- columns, neighbours, decay


@given(st.integers(0, 10**6))
def test_listed_covariances_are_those_of_the_dense_inverse(seed):
    q, rng = random_precision(seed), np.random.default_rng(seed)
    dense, n = np.linalg.inv(q), len(q)
    listed = rng.integers(0, n, (n, 3))
    rows = np.arange(n)[:, None]
    tol = {"rtol": 1e-8, "atol": 1e-11 * np.abs(dense).max()}
    np.testing.assert_allclose(neighbour_covariances(q, listed), dense[rows, listed], **tol)
    some = rng.integers(0, n, 11)  # repeats, more than one block of columns
    np.testing.assert_allclose(
        neighbour_covariances(q, np.tile(listed[:1], (11, 1)), spots=some),
        dense[some[:, None], listed[0]],
        **tol,
    )
    sd = np.sqrt(dense.diagonal())
    np.testing.assert_allclose(
        neighbour_correlations(q, listed), (dense / np.outer(sd, sd))[rows, listed], rtol=1e-7, atol=1e-9
    )
    np.testing.assert_allclose(covariance_columns(q, some[:4]), dense[:, some[:4]], **tol)


def test_decay_reference(ref):
    table, variance = corr_decay(ref["B_Q_icar"], ref["B_coords"], 0, 6, return_var=True)
    assert list(table.columns) == ["Q10", "Q25", "Q50", "Q75", "Q90", "k"]
    np.testing.assert_allclose(table.iloc[:, :5], ref["B_decay_quantiles"], rtol=0, atol=1e-9)
    np.testing.assert_allclose(variance.iloc[0], ref["B_var_quantiles"], rtol=0, atol=1e-9)
    assert table["k"].tolist() == list(range(7))
    later = corr_decay(ref["B_Q_icar"], ref["B_coords"], 3, 5)
    np.testing.assert_allclose(later, table.iloc[3:6], rtol=1e-12)


def test_decay_of_some_spots_and_of_the_moving_average():
    x, q = lattice_precision()
    some = np.array([40, 3, 80])
    dense = np.linalg.inv(q.toarray())
    sd = np.sqrt(dense.diagonal())
    d2 = ((x[:, None] - x[None]) ** 2).sum(axis=2)
    ranked = np.lexsort((np.broadcast_to(np.arange(81), d2.shape), d2), axis=1)[some, :21]
    expected = (dense / np.outer(sd, sd))[some[:, None], ranked]
    got = corr_decay(q, x, 0, 20, spots=some)
    np.testing.assert_allclose(
        got.iloc[:, :5], np.quantile(expected, [0.1, 0.25, 0.5, 0.75, 0.9], axis=0).T, atol=1e-9
    )
    a = Sma(knn_weights(x, 4), 0.15)
    table, variance = corr_decay(a, x, 0, 30, return_var=True)
    dense = a.covariance().toarray()
    np.testing.assert_allclose(variance.iloc[0], np.quantile(dense.diagonal(), [0.1, 0.25, 0.5, 0.75, 0.9]))
    assert (table["Q90"].iloc[25:] == 0).all()  # nothing beyond two steps
    np.testing.assert_allclose(covariance_columns(a, some), dense[:, some])
    assert neighbour_correlations(a, ranked, spots=some)[0, 0] == pytest.approx(1.0)


# ---------------------------------------------------------------- samples and posteriors


def test_samples_have_the_covariance_of_the_prior():
    x, q = lattice_precision(0.95, 4)
    for prior, covariance in (
        (q, np.linalg.inv(q.toarray())),
        (a := Sma(knn_weights(x, 4), 0.15), a.covariance().toarray()),
    ):
        draws = sample(prior, 40_000, seed=3)
        # the standard error of an entry is below (c_ii c_jj 2 / 40,000)^(1/2)
        error = np.abs(draws @ draws.T / 40_000 - covariance) / np.sqrt(
            np.outer(covariance.diagonal(), covariance.diagonal())
        )
        assert error.max() < 5 * np.sqrt(2 / 40_000)
    np.testing.assert_array_equal(sample(q, 2, seed=5), sample(q, 2, generator=np.random.default_rng(5)))
    assert not np.array_equal(sample(q, 2, seed=5), sample(q, 2, seed=6))


def test_posterior_variance_is_dense_and_never_larger():
    _, q = lattice_precision()
    h = np.where(np.arange(81) % 3 == 0, 4.0, 0.0)
    got = posterior_variance(q, h)
    np.testing.assert_allclose(got, np.linalg.inv(q.toarray() + np.diag(h)).diagonal(), rtol=1e-9)
    assert (got <= marginal_variance(q)).all()
    np.testing.assert_allclose(posterior_variance(factorize(q), h), got, rtol=1e-12)
    _, improper = lattice_precision(1.0)  # proper once something is observed
    assert np.isfinite(posterior_variance(improper, h)).all()


# ---------------------------------------------------------------- refusals


@pytest.mark.parametrize("side", [5, 10, 12, 20, 30])
def test_improper_priors_have_no_covariance_at_any_size(side):
    x, q = lattice_precision(1.0, side)
    for call in (marginal_variance, sample, lambda m: corr_decay(m, x, 0, 3)):
        with pytest.raises(
            ValueError, match=rf"singular \(improper\).*component of {side**2} of {side**2}.*rho=0.99"
        ):
            call(q)


def test_which_component_lacks_an_observation():
    q = sparse.block_diag([np.array([[1.0, -1.0], [-1.0, 1.0]])] * 2).tocsr()
    text = r"component of 2 of 4 spots \(first: \['2', '3'\]; 2 components\).*posterior_variance"
    with pytest.raises(ValueError, match=text):
        posterior_variance(q, np.array([1.0, 0, 0, 0]))
    with pytest.raises(ValueError, match=r"`noise_precision` has shape \(3,\), but must be \(4,\)"):
        posterior_variance(q, np.ones(3))
    with pytest.raises(
        ValueError, match=r"2 values that are negative, NaN or infinite; first spots: \['1', '2'\]"
    ):
        posterior_variance(q, np.array([1.0, -1.0, np.nan, 0.0]))


def test_bad_matrices():
    with pytest.raises(ValueError, match=r"is indefinite: the pivot of spot \d is -.*rho_range"):
        factorize(np.array([[1.0, 2.0], [2.0, 1.0]]))
    with pytest.raises(ValueError, match=r"not symmetric: entries \((0, 1|1, 0)\).* differ by 0.5"):
        factorize(np.array([[1.0, 0.5], [0.0, 1.0]]))
    with pytest.raises(ValueError, match="must be square"):
        factorize(np.ones((2, 3)))
    with pytest.raises(ValueError, match="NaN or infinite"):
        factorize(np.array([[np.nan, 0.0], [0.0, 1.0]]))
    with pytest.raises(
        ValueError, match=r"`b` has shape \(3, 2\), but must be \(2,\) or \(2, columns\).*x.T"
    ):
        factorize(np.eye(2)).solve(np.ones((3, 2)))


def test_bad_neighbours_and_ranks():
    x, q = lattice_precision(0.9, 4)
    with pytest.raises(ValueError, match="`neighbours` holds indices from 0 to 16, but there are 16 spots"):
        neighbour_covariances(q, np.full((16, 2), 16) * [0, 1])
    with pytest.raises(TypeError, match="`spots` has type float64"):
        covariance_columns(q, np.ones(2))
    with pytest.raises(ValueError, match=r"`neighbours` has shape \(16,\) .*spots x neighbours"):
        neighbour_covariances(q, np.arange(16))
    with pytest.raises(ValueError, match="`coords` has 15 rows, but the precision matrix has 16 spots"):
        corr_decay(q, x[:15])
    with pytest.raises(ValueError, match="`max_k` is 50, .*at most 15.*the largest max_k is 15"):
        corr_decay(q, x)
    with pytest.raises(ValueError, match="`min_k` is 4, .*at most 3"):
        corr_decay(q, x, 4, 3)
    with pytest.raises(ValueError, match="`n_samples` is 0"):
        sample(q, 0)
