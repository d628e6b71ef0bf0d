"""Losses of a field against reference values, densities, and each other."""

import itertools
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import entropy

from scmods.smoother import losses
from scmods.smoother.priors import precision

REFERENCE = dict(np.load(Path(__file__).parents[1] / "data" / "smoother_losses.npz"))
A_W = REFERENCE["A_W"]
seeds = st.integers(0, 10_000)


def tensor(name):
    return torch.tensor(REFERENCE[name])


def close(found, expected, atol=1e-9):
    found, expected = (torch.as_tensor(v, dtype=torch.float64) for v in (found, expected))
    torch.testing.assert_close(found, expected, rtol=0, atol=atol)


def dense_precision(prior):
    rho = float(REFERENCE[f"A_rho_{prior}"])
    return torch.tensor(precision(A_W, prior, rho).toarray())


def random_graph(seed, n=9):
    rng = np.random.default_rng(seed)
    w = np.triu(rng.random((n, n)) * (rng.random((n, n)) < 0.5), 1)
    w[np.arange(n - 1), np.arange(1, n)] += 0.3  # a chain keeps it in one piece
    return w + w.T


def field(seed, groups=3, spots=9):
    return torch.tensor(np.random.default_rng(seed).normal(size=(groups, spots)))


def proportions(seed, groups=3, spots=9):
    return field(seed, groups, spots).softmax(0)


BETA = tensor("A_beta")


@pytest.mark.parametrize("prior", ["icar", "car", "sar", "isar", "sma"])
def test_quadratic_matches_reference(prior):
    q = dense_precision(prior)
    for loss, matrix in ((losses.quadratic_loss, q), (losses.sparse_quadratic_loss, q.to_sparse())):
        close(loss(BETA, matrix, 1.0), REFERENCE[f"A_quad_{prior}_norm"])
        close(loss(BETA, matrix, 1.0, False), REFERENCE[f"A_quad_{prior}_raw"])


def test_quadratic_with_scales_and_one_matrix_per_group_matches_reference():
    scales = tensor("A_scales")
    many = torch.stack([dense_precision(p) for p in ("icar", "car", "isar")])
    blocks = torch.block_diag(*many).to_sparse()
    close(losses.quadratic_loss(BETA, many[0], scales), REFERENCE["A_quad_icar_scaled_norm"])
    for normalize, name in ((True, "norm"), (False, "raw")):
        expected = REFERENCE[f"A_quad_multi_scaled_{name}"]
        close(losses.quadratic_loss(BETA, many, scales, normalize), expected)
        close(losses.sparse_quadratic_loss(BETA, blocks, scales, normalize), expected)
    # a plain number serves all groups, with many matrices too
    close(losses.quadratic_loss(BETA, many, 2.0), 2 * losses.quadratic_loss(BETA, many, torch.ones(1)))


def test_gradient_matches_reference_and_is_twice_the_precision_times_the_field():
    x = BETA.clone().requires_grad_()
    q, scales = dense_precision("icar"), tensor("A_scales")
    losses.sparse_quadratic_loss(x, q.to_sparse(), scales).backward()
    close(x.grad, REFERENCE["A_quad_grad_icar_scaled_norm"])
    close(x.grad, 2 * scales[:, None] * (BETA @ q) / BETA.numel(), atol=1e-14)


@settings(max_examples=12)
@given(seeds, st.floats(0.05, 0.98))
def test_quadratic_loss_is_a_gaussian_log_density(seed, rho):
    q = torch.tensor(precision(random_graph(seed), "icar", rho).toarray())
    x, y = field(seed, 1), field(seed + 1, 1)
    normal = torch.distributions.MultivariateNormal(torch.zeros(9, dtype=torch.float64), precision_matrix=q)
    by_density = -2 * (normal.log_prob(x[0]) - normal.log_prob(y[0]))
    by_loss = losses.sparse_quadratic_loss(x, q.to_sparse(), 1.0, False) - losses.sparse_quadratic_loss(
        y, q.to_sparse(), 1.0, False
    )
    torch.testing.assert_close(by_loss, by_density, rtol=1e-9, atol=1e-9)


@settings(max_examples=12)
@given(seeds)
def test_icar_is_the_sum_of_squared_differences_and_ignores_a_constant(seed):
    w = random_graph(seed)
    q = torch.tensor(precision(w, "icar", 1).toarray()).to_sparse()
    x = field(seed, 1)
    by_edges = sum(w[i, j] * float(x[0, i] - x[0, j]) ** 2 for i, j in itertools.combinations(range(9), 2))
    close(losses.sparse_quadratic_loss(x, q, 1.0, False), by_edges)
    close(losses.sparse_quadratic_loss(x + 1000.0, q, 1.0, False), by_edges, atol=1e-6)


@pytest.mark.parametrize("symmetric", [True, False])
@pytest.mark.parametrize("groups", [1, 3])
def test_quadratic_derivatives_of_both_orders(groups, symmetric):
    g = torch.Generator().manual_seed(3)
    q = torch.randn(5, 5, generator=g, dtype=torch.float64)
    q = q + q.T if symmetric else q
    blocks = torch.block_diag(*[(k + 1) * q for k in range(3)]).to_sparse()
    x = torch.randn(groups, 5, generator=g, dtype=torch.float64, requires_grad=True)
    c = torch.rand(groups, generator=g, dtype=torch.float64, requires_grad=True)
    cases = [(losses.quadratic_loss, q), (losses.sparse_quadratic_loss, q.to_sparse())]
    for loss, matrix in cases if groups == 1 else [*cases, (losses.sparse_quadratic_loss, blocks)]:
        assert torch.autograd.gradcheck(lambda x, c, f=loss, m=matrix: f(x, m, c), (x, c))
        assert torch.autograd.gradgradcheck(lambda x, c, f=loss, m=matrix: f(x, m, c), (x, c))


def test_quadratic_refuses_shapes_that_do_not_belong_together():
    x, q = torch.zeros(2, 4), torch.eye(4)
    for loss, matrix in ((losses.quadratic_loss, q), (losses.sparse_quadratic_loss, q.to_sparse())):
        with pytest.raises(ValueError, match=r"shape \(3,\), but must be one number or one per group, 2"):
            loss(x, matrix, torch.ones(3))
        with pytest.raises(ValueError, match=r"beta has shape \(3, 5\)"):
            loss(torch.zeros(3, 5), matrix, 1.0)
        with pytest.raises(ValueError, match=r"beta has shape \(4,\)"):
            loss(torch.zeros(4), matrix, 1.0)
    with pytest.raises(ValueError, match=r"It looks transposed: pass beta.T"):
        losses.quadratic_loss(torch.zeros(4, 3), q, 1.0)
    with pytest.raises(ValueError, match="3 precision matrices for 1 groups"):
        losses.quadratic_loss(torch.zeros(1, 4), torch.stack([q] * 3), 1.0)
    with pytest.raises(ValueError, match=r"inv_cov has shape \(4, 5\)"):
        losses.quadratic_loss(x, torch.zeros(4, 5), 1.0)
    with pytest.raises(ValueError, match=r"must be square"):
        losses.sparse_quadratic_loss(x, torch.zeros(4, 5).to_sparse(), 1.0)


def test_kl_matches_reference_in_every_form_of_weights():
    p, w = tensor("A_p"), tensor("A_W")
    close(losses.kl_loss(p), REFERENCE["A_kl"])
    close(losses.kl_loss_scipy(REFERENCE["A_p"]), REFERENCE["A_kl"])
    for weights in (w, w.to_sparse(), w.to_sparse_csr()):
        close(losses.kl_loss(p, weights), REFERENCE["A_kl_weighted"])
    close(losses.kl_loss(p, tensor("A_W_expr")), REFERENCE["A_kl_weighted_expr"])
    close(losses.kl_logits_loss(BETA), REFERENCE["A_kl_from_logits"])
    close(losses.kl_logits_loss(BETA, w), REFERENCE["A_kl_from_logits_weighted"])


def test_kl_of_arrays_normalises_columns_and_takes_sparse_weights():
    from scipy import sparse

    p = REFERENCE["A_p"] * np.linspace(0.1, 5, 25)
    mean_over_edges = losses.kl_loss_scipy(p, A_W)
    close(mean_over_edges, REFERENCE["A_kl_weighted"])
    close(losses.kl_loss_scipy(p, sparse.coo_array(A_W)), mean_over_edges)
    # the original divides by all pairs
    close(mean_over_edges * (A_W != 0).sum() / 25**2, REFERENCE["A_kl_weighted_over_n2"])


@settings(max_examples=12)
@given(seeds)
def test_kl_equals_scipy_pair_by_pair(seed):
    p = proportions(seed)
    pairs = entropy(p.numpy()[:, :, None], p.numpy()[:, None, :], axis=0)
    w = np.random.default_rng(seed).random((9, 9)) * (np.random.default_rng(seed + 1).random((9, 9)) < 0.4)
    w[0, 1] = 1.0
    close(losses.kl_loss(p), pairs.mean(), atol=1e-12)
    close(losses.kl_loss(p, torch.tensor(w)), (w * pairs).sum() / (w != 0).sum(), atol=1e-12)


@settings(max_examples=12)
@given(seeds)
def test_kl_invariants(seed):
    p, logits = proportions(seed), field(seed)
    w = torch.tensor(random_graph(seed))
    order = torch.randperm(9, generator=torch.Generator().manual_seed(seed))
    value = losses.kl_loss(p, w)
    assert value > 0
    close(losses.kl_loss(p[[2, 0, 1]], w), value, atol=1e-12)
    close(losses.kl_loss(p[:, order], w[order][:, order]), value, atol=1e-12)
    # a group cut into two equal halves has the same divergences
    halves = torch.cat([p[:1] / 2, p[:1] / 2, p[1:]])
    close(losses.kl_loss(halves, w), value, atol=1e-12)
    close(losses.kl_loss(p[:, :1].expand(3, 9), w), 0.0, atol=1e-12)
    close(losses.kl_logits_loss(logits, w), value, atol=1e-12)
    close(losses.kl_logits_loss(logits + torch.arange(9.0, dtype=torch.float64), w), value, atol=1e-12)


def test_kl_derivatives_of_both_orders():
    p, logits, w = proportions(1, 2, 4), field(2, 2, 4), torch.tensor(random_graph(0, 4))
    asymmetric = torch.triu(w)
    for weights in (None, w, asymmetric.to_sparse()):
        for loss, x in ((losses.kl_loss, p), (losses.kl_logits_loss, logits)):
            x = x.clone().requires_grad_()
            assert torch.autograd.gradcheck(lambda x, f=loss, m=weights: f(x, m), x)
            assert torch.autograd.gradgradcheck(lambda x, f=loss, m=weights: f(x, m), x)


def test_kl_gradients_stay_moderate_where_proportions_are_zero():
    p = torch.eye(3, dtype=torch.float64).requires_grad_()
    losses.kl_loss(p).backward()
    assert p.grad.abs().max() < 100
    # logits of thousands: exact zeros after the softmax
    x = (1e4 * torch.eye(3, dtype=torch.float64)).requires_grad_()
    losses.kl_logits_loss(x).backward()
    assert torch.isfinite(x.grad).all()


def test_kl_refuses_what_are_no_proportions():
    p = proportions(0)
    with pytest.raises(ValueError, match=r"Column 4 of p sums to 5, but every column"):
        losses.kl_loss(torch.cat([p[:, :4], 5 * p[:, 4:]], dim=1))
    bad = p.clone()
    bad[1, 3] = -0.25
    with pytest.raises(ValueError, match=r"p\[1, 3\] is -0.25"):
        losses.kl_loss(bad)
    bad[1, 3] = torch.nan
    with pytest.raises(ValueError, match=r"p\[1, 3\] is nan"):
        losses.kl_loss(bad)
    with pytest.raises(ValueError, match=r"p has shape \(9,\)"):
        losses.kl_loss(p[0])
    with pytest.raises(ValueError, match=r"Column 2 of p is all zero"):
        losses.kl_loss_scipy(p * (torch.arange(9) != 2))
    with pytest.raises(ValueError, match=r"p has shape \(2,\)"):
        losses.kl_loss_scipy([0.5, 0.5])
    with pytest.raises(ValueError, match=r"weights has shape \(4, 4\), but must be \(spots, spots\) with 9"):
        losses.kl_loss(p, torch.ones(4, 4))
    with pytest.raises(ValueError, match="no entry other than 0"):
        losses.kl_loss(p, torch.zeros(9, 9))


def test_expectation_is_the_mean_over_all_720_permutations():
    rng = np.random.default_rng(5)
    q = torch.tensor(rng.normal(size=(6, 6)))
    x = torch.tensor(rng.normal(size=6))
    forms = [x[list(o)] @ q @ x[list(o)] for o in itertools.permutations(range(6))]
    for matrix in (q, q.to_sparse()):
        a, b = losses.permutation_expectation(matrix)
        close((a - b) * (x**2).sum() + b * x.sum() ** 2, torch.stack(forms).mean(), atol=1e-12)
    with pytest.raises(ValueError, match="inv_cov has 1 spot"):
        losses.permutation_expectation(torch.ones(1, 1))


def test_expectation_and_geary_match_reference():
    a, b = losses.permutation_expectation(dense_precision("icar"))
    close(a, REFERENCE["A_perm_a"])
    close(b, REFERENCE["A_perm_b"])
    close(losses.geary_c(BETA, tensor("A_W"))[0], REFERENCE["A_geary_c_beta0"])


@settings(max_examples=12)
@given(seeds)
def test_geary_is_the_ratio_of_the_icar_form_to_its_expectation(seed):
    w, x = random_graph(seed), field(seed)
    q = torch.tensor(precision(w, "icar", 1).toarray())
    a, b = losses.permutation_expectation(q)
    expected = ((x @ q) * x).sum(1) / ((a - b) * (x**2).sum(1) + b * x.sum(1) ** 2)
    for weights in (torch.tensor(w), torch.tensor(w + np.diag(np.arange(9.0))).to_sparse()):
        close(losses.geary_c(x, weights), expected, atol=1e-9)
        close(losses.geary_c(3 * x + 7, weights), expected, atol=1e-9)
    assert torch.isnan(losses.geary_c(torch.ones(1, 9, dtype=torch.float64), torch.tensor(w))).all()


def test_geary_derivative():
    x, w = field(0, 2, 5).requires_grad_(), torch.tensor(random_graph(0, 5))
    assert torch.autograd.gradcheck(lambda x: losses.geary_c(x, w), x)
    with pytest.raises(
        ValueError, match=r"beta has shape \(2, 5\), but must be \(groups, spots\) with 9 spots"
    ):
        losses.geary_c(x, torch.ones(9, 9))
