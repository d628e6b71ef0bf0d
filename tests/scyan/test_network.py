"""The trained network: its loss is a density, its weights follow the cells, the original's loss is a special case."""

from __future__ import annotations

import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from scmods.scyan.module import ScyanModule
from scmods.scyan.network import AnnotationNetwork

F64, NAN = torch.float64, torch.nan
RHO = torch.tensor([[-1.0, 1, 1, NAN], [1, -1, NAN, 1], [1, NAN, -1, -1]])
SLOPE = torch.tensor([[1.0, 2.0, 0.5, 1.5], [0.7, 1.1, 3.0, 0.4]])
SHIFT = torch.tensor([[0.0, -1.0, 0.3, 2.0], [0.5, 0.1, -0.2, 1.0]])


def make(rho: torch.Tensor = RHO, **settings: object) -> AnnotationNetwork:
    settings = {
        "zero_last": False,
        "slope": SLOPE,
        "shift": SHIFT,
        "cov_scale": 1.0,
        "n_cells": 40,
        **settings,
    }
    flags = torch.zeros(rho.shape[1], dtype=torch.bool)
    temperature = settings.pop("temperature", None)
    return AnnotationNetwork(rho, 2, flags, 6, 1, 4, 0.3, temperature, **settings).double()


def cells(n: int = 12, n_markers: int = 4) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(0)
    number = torch.arange(n) % 2
    return torch.randn(n, n_markers, generator=generator, dtype=F64), torch.eye(2, dtype=F64)[number], number


def close(found: torch.Tensor, truth: torch.Tensor, tol: float = 1e-10) -> None:
    torch.testing.assert_close(found, truth, rtol=tol, atol=tol)


NETWORK = make()


@given(st.integers(0, 10_000))
def test_the_affine_map_is_undone(seed: int) -> None:
    generator = torch.Generator().manual_seed(seed)
    x, number = torch.randn(6, 4, generator=generator, dtype=F64), torch.randint(2, (6,), generator=generator)
    network = NETWORK
    v = network.aligned(x, number)
    close(v, SLOPE.double()[number] * x + SHIFT.double()[number])
    close(network.unaligned(v, number), x)
    close(network.unaligned(network.aligned(x)), x)
    assert torch.equal(network.aligned(x), network.aligned(x, torch.zeros(6, dtype=torch.long)))


def test_the_jacobian_of_the_affine_map_is_counted() -> None:
    network, (x, covariates, number) = make(penalty=0.0, running=False), cells(6)

    def latent(one: torch.Tensor, i: int) -> torch.Tensor:
        return network(network.aligned(one[None], number[i : i + 1]), covariates[i : i + 1])[0][0]

    total = []
    for i in range(len(x)):
        jacobian = torch.autograd.functional.jacobian(lambda one, i=i: latent(one, i), x[i])
        u = latent(x[i], i)[None]
        rows = (network.prior.log_prob(u) + network.log_pi).logsumexp(1) + math.log(0.98)
        outside = network.log_background(u) + math.log(0.02)
        total.append(torch.logaddexp(rows, outside)[0] + torch.linalg.slogdet(jacobian)[1])
    close(network.loss((x, covariates, number)), -torch.stack(total).mean(), 1e-8)


@pytest.mark.parametrize("background", [0.0, 0.3])
def test_the_density_of_cells_integrates_to_one(background: float) -> None:
    rho = torch.tensor([[-1.0, 1.0], [1.0, NAN]])
    network = make(rho, slope=SLOPE[:, :2], shift=SHIFT[:, :2], background=background, penalty=0.0).eval()
    batch = torch.tensor([[0.0, 1.0]], dtype=F64)

    def log_density(x: torch.Tensor) -> torch.Tensor:
        v = network.aligned(x, torch.ones(len(x), dtype=torch.long))
        joint, logdet, u = network.compute_probabilities(v, batch)
        p = joint.logsumexp(1).exp() * (1 - background) + background * network.log_background(u).exp()
        return p.log() + logdet + SLOPE[1, :2].double().log().sum()

    axis = torch.linspace(-14, 14, 701, dtype=F64)
    grid = torch.cartesian_prod(axis, axis)
    with torch.no_grad():
        total = sum(float(log_density(part).exp().sum()) for part in grid.split(50_000))
        for one in torch.tensor([[0.0, 0.0], [1.0, -0.5]], dtype=F64):
            close(
                -network.loss((one[None], batch, torch.ones(1, dtype=torch.long))), log_density(one[None])[0]
            )
    assert total * float(axis[1] - axis[0]) ** 2 == pytest.approx(1.0, abs=2e-3)


def test_a_constant_on_all_logits_changes_nothing() -> None:
    network, batch = make(running=False), cells()
    with torch.no_grad():
        network.pi_logit.copy_(torch.tensor([0.01, 0.0, -0.02]))
        before = network.loss(batch), network.joint_log_prob(batch[0], batch[1])
        network.pi_logit.add_(0.7)
        close(network.loss(batch), before[0])
        close(network.joint_log_prob(batch[0], batch[1]), before[1])
        network.pi_logit[0] += 0.01
        assert (network.loss(batch) - before[0]).abs() > 1e-3


def test_the_penalty_is_the_mean_squared_displacement() -> None:
    batch = x, covariates, number = cells()
    network = make(penalty=0.0).eval()
    v = network.aligned(x, number)
    moved = (network(v, covariates)[0] - v).square().sum(1).mean()
    plain = network.loss(batch)
    network.penalty = 0.7
    close(network.loss(batch), plain + 0.7 * moved)
    assert moved > 0.01
    start = [make(zero_last=True, penalty=p).eval().loss(batch).item() for p in (9.0, 0.0)]
    assert start[0] == pytest.approx(start[1]), "the flow starts as the identity"


@pytest.mark.parametrize("tempered", [False, True])
def test_without_additions_the_loss_is_that_of_the_original(tempered: bool) -> None:
    settings = {"zero_last": False, "seed": 3, "cov_scale": 100.0}
    flags = torch.zeros(4, dtype=torch.bool)
    plain = ScyanModule(RHO, 2, flags, 6, 1, 4, 0.3, 0.5, **settings).double()
    network = AnnotationNetwork(
        RHO, 2, flags, 6, 1, 4, 0.3, 0.5, background=0.0, penalty=0.0, running=False, **settings
    ).double()
    x, covariates, _ = cells()
    with torch.no_grad():
        for module in (plain, network):
            module.pi_logit.copy_(torch.tensor([0.01, 0.0, -0.02]))
    network.tempered = tempered
    close(network.loss((x, covariates, torch.zeros(12, dtype=torch.long))), plain.kl(x, covariates, tempered))
    assert network.pi_logit.requires_grad


def test_weights_follow_the_mean_posterior() -> None:
    network, (x, covariates, number) = make(n_cells=240).train(), cells()
    assert not network.pi_logit.requires_grad
    weights = torch.full((3,), 1 / 3, dtype=F64)
    for _ in range(3):
        with torch.no_grad():
            v = network.aligned(x, number)
            mean = network.posterior(v, covariates).mean(0)
        weights = weights + 12 / 240 * (mean - weights)
        network.loss((x, covariates, number))
        close(network.pi, weights, 1e-6)
    assert float(network.pi.sum()) == pytest.approx(1.0)
    assert (weights - 1 / 3).abs().max() > 0.01


def test_one_batch_of_cells_moves_the_weights_by_a_tenth_at_most() -> None:
    network, batch = make(n_cells=1).train(), cells()
    with torch.no_grad():
        mean = network.posterior(network.aligned(batch[0], batch[2]), batch[1]).mean(0)
    network.loss(batch)
    close(network.pi, (1 - 0.1) / 3 + 0.1 * mean, 1e-6)


@pytest.mark.parametrize("still", ["eval", "tempered", "gradient"])
def test_weights_stay_where_they_should(still: str) -> None:
    network = make(temperature=0.5, running=still != "gradient").train()
    network.tempered = still == "tempered"
    if still == "eval":
        network.eval()
    network.loss(cells()).backward()
    close(network.pi, torch.full((3,), 1 / 3, dtype=F64))


def test_cells_keep_their_precision() -> None:
    network = make().float()
    for dtype in (torch.float32, F64):
        x = cells()[0].to(dtype)
        assert (
            network.aligned(x).dtype == network.unaligned(x).dtype == network.log_background(x).dtype == dtype
        )


def test_background_is_a_standard_normal() -> None:
    x = cells()[0]
    truth = torch.distributions.MultivariateNormal(torch.zeros(4, dtype=F64), torch.eye(4, dtype=F64))
    close(make().log_background(x), truth.log_prob(x))


@pytest.mark.parametrize(
    ("change", "kind", "text"),
    [
        ({"background": 1.0}, ValueError, "`background` is 1, but must be at least 0 and below 1"),
        ({"background": -0.1}, ValueError, "`background` is -0.1"),
        ({"background": NAN}, ValueError, "`background` is nan"),
        ({"background": "much"}, TypeError, "`background` is 'much' of type str"),
        ({"penalty": -1.0}, ValueError, "`penalty` is -1"),
        ({"penalty": math.inf}, ValueError, "`penalty` is inf"),
        ({"n_cells": 0}, ValueError, "`n_cells` is 0"),
    ],
)
def test_refuses_settings_out_of_range(change: dict, kind: type[Exception], text: str) -> None:
    with pytest.raises(kind, match=text):
        make(**change)
