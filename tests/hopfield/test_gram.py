"""The solvers against the definition, sklearn, and the conditions of optimality."""

import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from scmods._checks import NumericalWarning
from scmods.hopfield import gram, penalised

TOGGLE = torch.tensor([[5.0, -4.0], [-4.0, 5.0]], dtype=torch.float64)
RING = torch.tensor([[0.0, 0.0, -10.0], [-10.0, 0.0, 0.0], [0.0, -10.0, 0.0]], dtype=torch.float64)


def close(a, b, tol=1e-9):
    a, b = (torch.as_tensor(v, dtype=torch.float64) for v in (a, b))
    torch.testing.assert_close(a, b, atol=tol, rtol=tol)


def problem(n=80, t=5, g=4, seed=0, noise=1.0):
    """Columns of very different size and mean, targets too."""
    make = torch.Generator().manual_seed(seed)
    draw = lambda *shape: torch.randn(*shape, generator=make, dtype=torch.float64)  # noqa: E731
    phi = draw(n, t) * torch.logspace(-1, 1, t, dtype=torch.float64) + 3
    y = (phi @ draw(t, g) + noise * draw(n, g) + 2) * torch.logspace(0, 1, g, dtype=torch.float64)
    return phi, y, draw(n, g).abs()


def hill(x):
    return x**4 / (1 + x**4)


@pytest.mark.parametrize(("truth", "gamma", "bias"), [(TOGGLE, 3.0, 4.0), (RING, 1.0, 10.0)])
def test_least_squares_finds_the_circuit_and_its_signs(truth, gamma, bias):
    rng = np.random.default_rng(0)
    x = torch.as_tensor(rng.uniform(0.01, 3, (2000, len(truth))))
    v = hill(x) @ truth.T - gamma * x + bias
    sums = gram.FieldSums.of(hill(x), v, x)
    rate = torch.full((len(truth),), gamma, dtype=torch.float64)
    found = gram.least_squares(sums.targets(rate))
    assert float((found.w - truth).abs().max()) <= 1e-5
    assert float((found.bias - bias).abs().max()) <= 1e-5
    edges = truth != 0
    assert (found.w[edges].sign() == truth[edges].sign()).all()
    close(found.df, torch.full((len(truth),), len(truth) + 1.0))
    # and with the degradation unknown
    both = gram.refit_degradation(sums, gram.least_squares)
    close(both.gamma, rate, 1e-5)
    close(both.w, truth, 1e-4)


def test_least_squares_is_lstsq():
    phi, y, _ = problem()
    design = torch.cat([phi, torch.ones(80, 1, dtype=torch.float64)], 1)
    wanted = torch.linalg.lstsq(design, y).solution
    found = gram.least_squares(gram.GramSums.of(phi, y))
    close(found.w, wanted[:-1].T)
    close(found.bias, wanted[-1])
    rss = (y - design @ wanted).square().sum(0)
    close(found.mean_square, rss / 80)
    close(found.residual_variance, rss / (80 - 6))


def test_least_squares_refuses_too_few_cells_and_tells_of_collinear_regulators():
    phi, y, _ = problem(n=6)
    with pytest.raises(ValueError, match=r"6 cells for 5 regulators.*method='ridge'"):
        gram.least_squares(gram.GramSums.of(phi, y))
    phi, y, _ = problem()
    twice = torch.cat([phi, 2 * phi[:, :1]], 1)
    with pytest.warns(NumericalWarning, match="of 4 targets are linearly dependent"):
        found = gram.least_squares(gram.GramSums.of(twice, y))
    wanted = gram.least_squares(gram.GramSums.of(phi, y))
    close(found.w[:, 0] + 2 * found.w[:, 5], wanted.w[:, 0], 1e-7)
    close(found.w[:, 1:5], wanted.w[:, 1:], 1e-7)
    close(found.mean_square, wanted.mean_square, 1e-7)


@settings(max_examples=20)
@given(st.integers(0, 10**6), st.lists(st.integers(1, 60), min_size=1, max_size=4))
def test_blocks_of_cells_merge_exactly(seed, cuts):
    phi, y, x = problem(seed=seed)
    edges = sorted({0, 80, *(min(c, 79) for c in cuts)})
    parts = [gram.FieldSums.of(phi[a:b], y[a:b], x[a:b]) for a, b in zip(edges, edges[1:], strict=False)]
    whole, merged = gram.FieldSums.of(phi, y, x), gram.total(parts)
    for name in whole.__dataclass_fields__:
        close(getattr(merged, name), getattr(whole, name), 1e-9)


def test_weights_of_cells_are_repeats_and_empty_blocks_are_nothing():
    phi, y, x = problem(n=20)
    weight = torch.arange(20) % 3
    rows = torch.arange(20).repeat_interleave(weight)
    weighted = gram.FieldSums.of(phi, y, x, weight.double())
    empty = gram.FieldSums.of(phi, y, x, torch.zeros(20, dtype=torch.float64))
    repeated = gram.FieldSums.of(phi[rows], y[rows], x[rows])
    for found in (weighted, weighted.merge(empty), empty.merge(weighted)):
        for name in found.__dataclass_fields__:
            close(getattr(found, name), getattr(repeated, name))


def test_order_of_cells_and_origin_of_the_design_change_nothing():
    phi, y, _ = problem()
    order = torch.randperm(80, generator=torch.Generator().manual_seed(0))
    a = gram.ridge(gram.GramSums.of(phi, y))
    b = gram.ridge(gram.GramSums.of(phi[order] + 50, y[order]))
    close(a.w, b.w, 1e-8)
    close(a.bias - 50 * a.w.sum(1), b.bias, 1e-6)


@pytest.mark.parametrize("penalty", [0.01, 1.0, 30.0])
def test_ridge_is_that_of_sklearn(penalty):
    from sklearn.linear_model import Ridge

    phi, y, _ = problem()
    sd = phi.std(0, correction=0)
    found = gram.ridge(gram.GramSums.of(phi, y), penalty)
    wanted = Ridge(alpha=80 * penalty).fit((phi / sd).numpy(), y.numpy())
    close(found.w * sd, wanted.coef_, 1e-8)
    close(found.bias, wanted.intercept_, 1e-8)


def test_degrees_of_freedom_and_choice_of_penalty_are_those_of_the_hat_matrix():
    phi, y, _ = problem(noise=8.0)
    z = (phi - phi.mean(0)) / phi.std(0, correction=0)

    def hat(lam):
        ones = torch.full((80, 80), 1 / 80, dtype=torch.float64)
        return ones + z @ torch.linalg.solve(z.T @ z + 80 * lam * torch.eye(5, dtype=torch.float64), z.T)

    sums = gram.GramSums.of(phi, y)
    close(gram.ridge(sums, 0.3).df, hat(0.3).trace().expand(4))
    scores = torch.stack(
        [80 * (y - hat(lam) @ y).square().sum(0) / (80 - hat(lam).trace()) ** 2 for lam in gram.GRID]
    )
    each = gram.ridge(sums, per_target=True)
    close(each.penalty, gram.GRID[scores.argmin(0)])
    assert len(each.penalty.unique()) > 1
    one = gram.ridge(sums)
    close(one.penalty, gram.GRID[(scores / y.var(0, correction=0)).sum(1).argmin()].expand(4))
    for i in range(4):  # each with its own penalty is four separate fits
        close(each.w[i], gram.ridge(sums, float(each.penalty[i])).w[i])
    close(gram.ridge(sums, weights=torch.ones(4, 5, dtype=torch.float64)).penalty, one.penalty)


def separate(phi, y, allowed, solve):
    w = torch.zeros(y.shape[1], phi.shape[1], dtype=torch.float64)
    bias = torch.zeros(y.shape[1], dtype=torch.float64)
    for i, own in enumerate(allowed):
        found = solve(gram.GramSums.of(phi[:, own], y[:, i : i + 1]))
        w[i, own], bias[i] = found.w[0], found.bias[0]
    return w, bias


def test_an_infinite_weight_is_a_regression_without_the_edge(monkeypatch):
    phi, y, _ = problem()
    allowed = torch.tensor([[1, 1, 0, 0, 1], [0, 1, 1, 1, 1], [1, 1, 1, 1, 1], [0, 0, 0, 1, 0]]).bool()
    sums = gram.GramSums.of(phi, y)
    weights = torch.where(allowed, 1.0, math.inf).double()
    monkeypatch.setattr(gram, "CHUNK", 50)  # blocks of two targets
    for found, solve in (
        (gram.ridge(sums, 0.5, weights=weights), lambda s: gram.ridge(s, 0.5)),
        (gram.ridge(sums, per_target=True, weights=weights), gram.ridge),
        (gram.least_squares(sums, allowed=allowed), gram.least_squares),
    ):
        w, bias = separate(phi, y, allowed, solve)
        close(found.w, w, 1e-8)
        close(found.bias, bias, 1e-8)
        assert (found.w[~allowed] == 0).all()
    close(gram.ridge(sums, 1e-9, weights=weights).df, 1.0 + allowed.sum(1), 1e-6)
    with pytest.raises(ValueError, match="6 cells for 5 regulators"):
        gram.least_squares(gram.GramSums.of(phi[:6], y[:6]), allowed=allowed)


def test_weights_scale_the_penalty_of_each_edge():
    phi, y, _ = problem()
    sums = gram.GramSums.of(phi, y)
    p = torch.rand(4, 5, generator=torch.Generator().manual_seed(1), dtype=torch.float64) + 0.2
    found = gram.ridge(sums, 0.4, weights=p)
    # stationarity of the objective in the units of the data
    error = y - phi @ found.w.T - found.bias
    slope = -error.T @ (phi - phi.mean(0)) / 80 + 0.4 * p * phi.var(0, correction=0) * found.w
    assert float(slope.abs().max()) < 1e-9
    close(gram.ridge(sums, 0.4, weights=torch.full((4, 5), 2.0).double()).w, gram.ridge(sums, 0.8).w)


def test_constant_regulators_and_targets_get_no_weight():
    phi, y, _ = problem()
    phi[:, 2], y[:, 1] = 0.1, 7.3
    for found in (gram.ridge(gram.GramSums.of(phi, y)), gram.least_squares(gram.GramSums.of(phi, y))):
        assert (found.w[:, 2] == 0).all()
        assert (found.w[1] == 0).all()
        close(found.bias[1], 7.3)
        assert torch.isfinite(found.w).all()


def test_deviation_from_given_weights_is_a_fit_of_what_they_leave():
    phi, v, x = problem()
    prior, gamma = (
        torch.randn(4, 5, generator=torch.Generator().manual_seed(3), dtype=torch.float64),
        torch.rand(4),
    )
    direct = gram.FieldSums.of(phi, v - phi @ prior.T, x).targets(gamma.double())
    shifted = gram.FieldSums.of(phi, v, x).minus(prior).targets(gamma.double())
    for name in direct.__dataclass_fields__:
        close(getattr(direct, name), getattr(shifted, name), 1e-8)


def test_refitted_degradation_is_the_minimum():
    phi, v, x = problem()
    v = v - 0.7 * x
    sums = gram.FieldSums.of(phi, v, x)
    solve = lambda s: gram.ridge(s, 0.2)  # noqa: E731
    found = gram.refit_degradation(sums, solve, 0.01)

    def value(gamma):
        own = solve(sums.targets(gamma))
        return own.mean_square + 0.2 * (own.w.square() * phi.var(0, correction=0)).sum(1)

    best = value(found.gamma)
    free = found.gamma > 0.01
    assert free.any()
    for step in (-1e-3, 1e-3):
        assert (value(found.gamma + step)[free] > best[free]).all()
    assert (value(found.gamma + 1e-3)[~free] > best[~free]).all()
    close(found.w, solve(sums.targets(found.gamma)).w)
    close(found.mean_square, solve(sums.targets(found.gamma)).mean_square)


def scaffold(g=4, t=5):
    return torch.rand(g, t, generator=torch.Generator().manual_seed(5)) > 0.3


@pytest.mark.parametrize("bias_penalty", ["l1", "l2", "elastic"])
@pytest.mark.parametrize("strength", [0.5, 20.0, 400.0])
def test_penalised_fit_meets_the_conditions_of_optimality(strength, bias_penalty):
    phi, y, _ = problem()
    mask = scaffold()
    found = penalised.penalised(
        gram.GramSums.of(phi, y), mask, scaffold=strength, bias_regularization=3.0, bias_penalty=bias_penalty
    )
    # from the definition, by autograd on the cells
    w, bias = found.w.clone().requires_grad_(), found.bias.clone().requires_grad_()
    (100 * (y - phi @ w.T - bias).square().mean()).backward()
    norm = (found.w * mask).norm()
    group = strength * found.w / norm if norm > 0 else torch.zeros_like(found.w)
    on, off = mask & (found.w != 0), mask & (found.w == 0)
    size = float(w.grad.abs().max()) + strength
    assert float(w.grad[~mask].abs().max()) < 1e-5 * size
    if on.any():
        assert float((w.grad + strength * found.w.sign() + group)[on].abs().max()) < 1e-5 * size
        assert (w.grad[off].abs() <= strength * (1 + 1e-5)).all()
    else:  # the whole group is zero: what is left of the gradient fits in the ball of the norm
        assert float((w.grad[mask].abs() - strength).clamp_min(0).norm()) <= strength * (1 + 1e-6)
    share = {"l1": (3, 0), "l2": (0, 3), "elastic": (1.5, 1.5)}[bias_penalty]
    slope = bias.grad + share[0] * bias.detach().sign() + 2 * share[1] * bias.detach()
    zero = bias.detach() == 0
    assert (slope[~zero].abs() < 1e-5 * size).all()
    assert (bias.grad[zero].abs() <= share[0] * (1 + 1e-6)).all()


def test_strong_penalty_empties_the_group_and_weak_one_does_not():
    phi, y, _ = problem()
    sums, mask = gram.GramSums.of(phi, y), scaffold()
    counts = [
        int((penalised.penalised(sums, mask, scaffold=s).w[mask] != 0).sum()) for s in (0.1, 300.0, 1e5)
    ]
    assert counts[0] > counts[1] > counts[2] == 0


def test_without_penalty_the_fit_is_least_squares():
    phi, y, _ = problem()
    sums = gram.GramSums.of(phi, y)
    found = penalised.penalised(sums, torch.zeros(4, 5).bool(), bias_regularization=0.0)
    close(found.w, gram.least_squares(sums).w, 1e-6)


def test_prox_minimises_its_definition():
    make = torch.Generator().manual_seed(0)
    w, mask = torch.randn(4, 5, generator=make, dtype=torch.float64), scaffold()

    def value(u, step):
        m = u * mask
        return float((u - w).square().sum() / 2 + step * (m.abs().sum() + m.norm()))

    for step in (0.1, 0.6, 3.0):
        best = penalised.prox(w, step, mask)
        for _ in range(200):
            other = best + 0.05 * torch.randn(4, 5, generator=make, dtype=torch.float64)
            assert value(other, step) > value(best, step)
    close(best[~mask], w[~mask])


def test_objective_is_its_definition_and_adam_never_gets_below():
    phi, y, _ = problem()
    mask, sums = scaffold(), gram.GramSums.of(phi, y)
    best = penalised.penalised(sums, mask, scaffold=5.0)
    at_best = penalised.objective(sums, best.w, best.bias, mask, scaffold=5.0)
    make = torch.Generator().manual_seed(2)
    w = torch.randn(4, 5, generator=make, dtype=torch.float64).requires_grad_()
    bias = torch.rand(4, generator=make, dtype=torch.float64).requires_grad_()
    adam = torch.optim.Adam([w, bias], lr=0.1)
    for step in range(100):
        m = w * mask
        loss = (
            100 * (y - phi @ w.T - bias).square().mean() + 5 * (m.abs().sum() + m.norm()) + bias.abs().sum()
        )
        assert float(loss.detach()) > at_best
        if step % 20 == 0:
            close(
                penalised.objective(sums, w.detach(), bias.detach(), mask, scaffold=5.0), loss.detach(), 1e-8
            )
        adam.zero_grad()
        loss.backward()
        adam.step()


def test_forbidden_edges_stay_zero_and_too_few_steps_are_told():
    phi, y, _ = problem()
    sums, mask = gram.GramSums.of(phi, y), scaffold()
    allowed = torch.rand(4, 5, generator=torch.Generator().manual_seed(8)) > 0.4
    found = penalised.penalised(sums, mask, allowed=allowed)
    assert (found.w[~allowed] == 0).all()
    assert (found.w[allowed & ~mask] != 0).all()
    with pytest.warns(NumericalWarning, match=r"stopped after 3 steps.*Raise max_iter"):
        penalised.penalised(sums, mask, scaffold=20.0, max_iter=3, tol=1e-300)


def test_degradation_and_weights_together_are_the_minimum():
    phi, v, x = problem()
    v = v - torch.tensor([0.7, -2.0, 3.0, 0.1]) * x
    sums, mask, start = gram.FieldSums.of(phi, v, x), scaffold(), torch.ones(4, dtype=torch.float64)
    both = penalised.penalised_with_degradation(sums, start, mask, scaffold=5.0)
    # the closed form of the rate, from the cells
    rest = phi @ both.w.T + both.bias - v
    best = (x * rest).mean(0) / x.square().mean(0)
    assert (best < 0.01).any()
    assert (best > 0.01).any()
    close(both.gamma, best.clamp_min(0.01), 1e-5)
    # and the weights at that rate
    again = penalised.penalised(sums.targets(both.gamma), mask, scaffold=5.0)
    close(both.w, again.w, 1e-4)
    close(both.mean_square, again.mean_square, 1e-4)
