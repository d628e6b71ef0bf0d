"""Cells of no row: the robust density against its definition, the two shares recovered, the odds by Bayes' rule."""

from __future__ import annotations

import math

import pytest
import torch
from torch.distributions import Normal

from scmods.scyan import unlisted
from scmods.scyan.network import AnnotationNetwork
from scmods.scyan.prior import PriorDistribution, log_uniform_normal
from scmods.scyan.unlisted import Contamination, estimate_contamination, log_odds_unlisted

NAN = torch.nan
RHO = torch.tensor(
    [[-1.0, 1, 1, NAN, -1, 1, -1, NAN], [1, -1, NAN, 1, -1, 0.5, NAN, -1], [1, 1, -1, -1, 1, NAN, 1, 1]],
    dtype=torch.float64,
)
FLAGS = torch.tensor([False, False, True, False, False, False, False, True])


def make(background: float = 0.02, **settings: object) -> AnnotationNetwork:
    flags = torch.zeros(8, dtype=torch.bool)
    return AnnotationNetwork(RHO, 0, flags, 4, 0, 2, 0.3, None, background=background, **settings).double()


def cells(n: int, seed: int = 0) -> torch.Tensor:
    return 1.5 * torch.randn(n, 8, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


@pytest.mark.parametrize("share", [1e-4, 0.05, 0.9])
@pytest.mark.parametrize("density", ["exact", "plateau"])
@pytest.mark.parametrize("filled", [False, True])  # many levels take another way
def test_robust_density_is_its_definition(share: float, density: str, filled: bool) -> None:
    prior = PriorDistribution(RHO, FLAGS, 0.3, 8, nan_density=density)
    modes = torch.where(FLAGS, RHO / 5, RHO)
    if filled:
        means = torch.linspace(-0.9, 0.8, 24, dtype=torch.float64).reshape(3, 8)
        prior.fill_rho(means)
        modes = torch.where(modes.isnan(), means, modes)
    u = cells(20)[:, None, :]
    unknown = prior._log_unknown(u)
    known = torch.logaddexp(
        Normal(modes.nan_to_num(), 0.3).log_prob(u) + math.log1p(-share), unknown + math.log(share)
    )
    truth = torch.where(modes.isnan(), unknown, known).sum(2)
    torch.testing.assert_close(prior.log_prob_robust(u[:, 0], share), truth, rtol=1e-12, atol=1e-12)


def test_robust_density_without_contradictions_is_the_density() -> None:
    prior, u = PriorDistribution(RHO, FLAGS, 0.3, 8), cells(9)
    assert torch.equal(prior.log_prob_robust(u, 0.0), prior.log_prob(u))
    torch.testing.assert_close(prior.log_prob_robust(u, 1e-300), prior.log_prob(u), rtol=1e-12, atol=1e-12)


def test_one_contradiction_costs_a_bounded_sum() -> None:
    prior = PriorDistribution(RHO, torch.zeros(8, dtype=torch.bool), 0.3, 8)
    u = RHO[:1].nan_to_num()
    wrong = u.clone()
    wrong[0, 0] = 1.0
    plain = (prior.log_prob(u) - prior.log_prob(wrong))[0, 0]
    robust = (prior.log_prob_robust(u, 0.02) - prior.log_prob_robust(wrong, 0.02))[0, 0]
    assert plain == pytest.approx(2 / 0.3**2)
    top = Normal(0.0, 0.3).log_prob(torch.tensor(0.0)) + math.log(0.98)
    bottom = log_uniform_normal(torch.tensor(1.0), 0.3) + math.log(0.02)
    assert 0 < robust <= float(top - bottom) + 0.1


@pytest.mark.parametrize("share", [-0.1, 1.0, 2.0, NAN])
def test_robust_density_refuses_shares_out_of_range(share: float) -> None:
    with pytest.raises(ValueError, match=r"`contamination` is .*at least 0 and below 1"):
        PriorDistribution(RHO, FLAGS, 0.3, 8).log_prob_robust(cells(2), share)


def test_odds_are_bayes_rule() -> None:
    network, u = make(), cells(30)
    with torch.no_grad():
        network.pi_logit.copy_(torch.tensor([0.0, 0.02, -0.01]))
    shares = Contamination(0.03, 0.1)
    odds = log_odds_unlisted(network, u, shares).detach()
    outside = 0.1 * Normal(0.0, 1.0).log_prob(u).sum(1).exp()
    listed = 0.9 * (network.prior.log_prob_robust(u, 0.03).exp() * network.pi.detach()).sum(1)
    torch.testing.assert_close(odds.exp(), outside / listed, rtol=1e-9, atol=0)
    far = log_odds_unlisted(network, u, Contamination(0.03, 0.0))
    assert torch.equal(far, torch.full_like(far, -math.inf))


def drawn(n: int, entries: float, outside: float, seed: int = 0) -> torch.Tensor:
    """Cells of the model itself: a share of the known entries drawn as if unknown, a share of the cells of no row."""
    network, generator = make(), torch.Generator().manual_seed(seed)
    z = torch.randint(3, (n,), generator=generator)
    u = network.prior.sample(z, generator=generator, dtype=torch.float64)
    options = {"generator": generator, "dtype": torch.float64}
    other = 2 * torch.rand(u.shape, **options) - 1 + 0.3 * torch.randn(u.shape, **options)
    u = torch.where(torch.rand(u.shape, **options) < entries, other, u)
    no_row = torch.rand(n, **options) < outside
    return torch.where(no_row[:, None], torch.randn(u.shape, **options), u)


@pytest.mark.parametrize(("entries", "outside"), [(0.02, 0.05), (0.1, 0.15)])
def test_recovers_the_shares_that_cells_were_drawn_with(entries: float, outside: float) -> None:
    found = estimate_contamination(make(), drawn(4000, entries, outside))
    assert found.entries == pytest.approx(entries, abs=0.2 * entries)
    assert found.cells == pytest.approx(outside, abs=0.2 * outside)


def test_a_known_share_stays_and_the_other_is_fitted() -> None:
    found = estimate_contamination(make(), drawn(3000, 0.05, 0.1), entries=0.05)
    assert found.entries == 0.05
    assert found.cells == pytest.approx(0.1, abs=0.02)
    assert estimate_contamination(make(), drawn(500, 0.0, 0.1), entries=0.0).entries == 0.0


def test_no_background_no_outsider() -> None:
    assert estimate_contamination(make(0.0), drawn(100, 0.1, 0.2)) == Contamination(0.0, 0.0)


def test_a_subset_is_drawn_by_the_seed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(unlisted, "MOST_CELLS", 500)
    u = drawn(1000, 0.03, 0.1)
    first, second, other = (estimate_contamination(make(), u, seed=s) for s in (0, 0, 1))
    assert first == second
    assert first != other
    assert first.cells == pytest.approx(other.cells, abs=0.05)
