"""The latent density: reference values, integrals, the sampler, the table left alone, the broadcast form."""

from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import integrate, stats

from scmods.scyan import reference
from scmods.scyan.prior import PriorDistribution, log_uniform_normal, log_uniform_plateau

DATA = np.load(Path(__file__).parents[1] / "data" / "scyan_small.npz")
REFERENCE = {k: torch.tensor(v) for k, v in DATA.items()}
F64, NAN = torch.float64, torch.nan
DENSITIES = [("exact", "integral"), ("plateau", "plateau")]
NONE = torch.zeros(6, dtype=torch.bool)


def close(found, truth, tol=1e-9):
    torch.testing.assert_close(found, truth, rtol=tol, atol=tol)


def make(density="exact", *, continuum=NONE, sigma=0.3, rho=None):
    rho = REFERENCE["rho"] if rho is None else rho
    return PriorDistribution(rho, continuum[: rho.shape[1]], sigma, rho.shape[1], nan_density=density)


def random_prior(seed, density, pops=4, markers=6, values=(-1.0, 0.0, 0.5, 1.0)):
    g = torch.Generator().manual_seed(seed)
    rho = torch.tensor(values, dtype=F64)[torch.randint(len(values), (pops, markers), generator=g)]
    rho[torch.rand(pops, markers, generator=g) < 0.4] = NAN
    continuum = torch.rand(markers, generator=g) < 0.3
    sigma = 0.1 + 0.8 * float(torch.rand(1, generator=g))
    u = 2 * torch.randn(5, markers, generator=g, dtype=F64)
    return PriorDistribution(rho, continuum, sigma, markers, nan_density=density), rho, continuum, u


@pytest.mark.parametrize(("density", "name"), DENSITIES)
def test_every_reference_value(density, name):
    u, sigma = REFERENCE["u"], float(REFERENCE["sigma"])
    close(make(density, sigma=sigma).log_prob(u), REFERENCE[f"logp_{name}"])
    continuum = make(density, continuum=REFERENCE["is_continuum"], sigma=sigma)
    close(continuum.log_prob(u), REFERENCE[f"logp_{name}_continuum"])
    function = log_uniform_normal if density == "exact" else log_uniform_plateau
    close(function(u, sigma), REFERENCE[f"nan_marginal_{name}"])


@settings(max_examples=20)
@given(seed=st.integers(0, 10**6), density=st.sampled_from(["exact", "plateau"]), many=st.booleans())
def test_product_equals_broadcast(seed, density, many):
    values = tuple(np.linspace(-1, 1, 11)) if many else (-1.0, 0.0, 0.5, 1.0)
    prior, rho, continuum, u = random_prior(seed, density, values=values)
    truth = reference.log_prob_reference(u, rho, continuum, prior.prior_std, nan_density=density)
    close(prior.log_prob(u), truth, 1e-10)
    close(prior.log_prob_per_marker(u).sum(2), truth, 1e-10)


def test_published_steps_give_the_plateau():
    u, rho = REFERENCE["u"], REFERENCE["rho"]
    close(reference.log_prob_published(u, rho, 0.3), REFERENCE["logp_plateau"])


@pytest.mark.parametrize("values", [(-1.0, 1.0), (1.0,)])
def test_tables_without_nan_and_rows_of_nan(values):
    prior, rho, continuum, u = random_prior(0, "exact", values=values)
    known = rho.nan_to_num(1.0)
    found = PriorDistribution(known, continuum, 0.3, 6).log_prob(u)
    modes = known / torch.where(continuum, 5.0, 1.0)
    normal = torch.distributions.Normal(modes, torch.tensor(0.3, dtype=F64))
    close(found, normal.log_prob(u[:, None, :]).sum(2), 1e-11)
    nothing = PriorDistribution(torch.full((2, 6), NAN), continuum, 0.3, 6).log_prob(u)
    close(nothing, log_uniform_normal(u, 0.3).sum(1, keepdim=True).expand(-1, 2), 1e-11)


@pytest.mark.parametrize("density", ["exact", "plateau"])
@pytest.mark.parametrize("sigma", [0.05, 0.3, 0.9])
def test_every_marker_integrates_to_one(density, sigma):
    rho = torch.tensor([[-1.0, 0.5, 1.0, NAN]], dtype=F64)
    prior = make(density, continuum=torch.tensor([False, False, True, False]), sigma=sigma, rho=rho)
    # Gauss's rule between the modes and the ends of the plateau, where the densities are smooth
    ends = np.sort([-1 - 12 * sigma, -1, -1 + sigma, 0, 0.2, 0.5, 1 - sigma, 1, 1 + 12 * sigma])
    nodes, weights = np.polynomial.legendre.leggauss(100)
    half = np.diff(ends)[:, None] / 2
    u = torch.from_numpy((ends[:-1, None] + half * (1 + nodes)).ravel())
    density = prior.log_prob_per_marker(u[:, None].expand(-1, 4).contiguous())[:, 0].exp().numpy()
    np.testing.assert_allclose((half * weights).ravel() @ density, 1, rtol=0, atol=1e-8)


@pytest.mark.parametrize("sigma", [0.1, 0.3, 2.0])
def test_the_exact_marginal_is_the_convolution(sigma):
    for u in (0.0, 0.4, -1.0, 1.7, -3.0):
        truth = integrate.quad(lambda e, u=u: stats.norm.pdf(u - e, scale=sigma) / 2, -1, 1, points=[np.clip(u, -1, 1)],
                               epsabs=0)[0]  # fmt: skip
        found = float(log_uniform_normal(torch.tensor(u, dtype=F64), sigma))
        assert found == pytest.approx(np.log(truth), abs=1e-9)


@pytest.mark.parametrize("sigma", [0.05, 0.3, 3.0])
def test_the_exact_marginal_far_out(sigma):
    u = torch.cat(
        [torch.linspace(-1 - 60 * sigma, 1 + 60 * sigma, 301, dtype=F64), torch.tensor([0.0], dtype=F64)]
    )
    ends = [(end - u.abs().numpy()) / sigma for end in (1, -1)]
    a, b = (stats.norm.logcdf(z) for z in ends)
    truth = torch.tensor(a + np.log1p(-np.exp(b - a)) - np.log(2))
    close(log_uniform_normal(u, sigma), truth, 1e-11)
    single = log_uniform_normal(u.float(), sigma)
    assert single.dtype == torch.float32
    torch.testing.assert_close(single.double(), truth, rtol=3e-6, atol=1e-6)


@pytest.mark.parametrize("sigma", [0.05, 0.3, 2.0])
def test_the_slope_of_the_exact_marginal(sigma):
    u = torch.linspace(-6, 6, 25, dtype=F64, requires_grad=True)
    assert torch.autograd.gradcheck(lambda v: log_uniform_normal(v, sigma), (u,))
    far = torch.tensor([-1e3, -3.0, 0.0, 1.2, 1e3], requires_grad=True)
    (slope,) = torch.autograd.grad(log_uniform_normal(far, sigma).sum(), far)
    exact = far.detach().double().requires_grad_()
    (truth,) = torch.autograd.grad(log_uniform_normal(exact, sigma).sum(), exact)
    torch.testing.assert_close(slope.double(), truth, rtol=1e-5, atol=1e-6)
    assert float(truth[-1]) == pytest.approx(-999 / sigma**2, rel=1e-4)


def cumulative(prior, column, at):
    """Distribution function of one marker, by summing the density on a fine grid."""
    grid = torch.linspace(-4, 4, 40001, dtype=F64)
    u = torch.zeros(len(grid), prior.n_markers, dtype=F64)
    u[:, column] = grid
    density = prior.log_prob_per_marker(u)[:, 0, column].exp().numpy()
    total = integrate.cumulative_trapezoid(density, grid.numpy(), initial=0)
    return np.interp(at, grid.numpy(), total)


@pytest.mark.parametrize("density", ["exact", "plateau"])
def test_samples_follow_the_density(density):
    rho = torch.tensor([[-1.0, 1.0, NAN, 0.5]], dtype=F64)
    prior = make(density, continuum=torch.tensor([False, True, False, False]), rho=rho)
    u = prior.sample(
        torch.zeros(4000, dtype=torch.int64), generator=torch.Generator().manual_seed(5), dtype=F64
    )
    for m in range(4):
        assert stats.kstest(u[:, m].numpy(), lambda at, m=m: cumulative(prior, m, at)).pvalue > 0.01
    assert abs(float(u[:, 1].mean()) - 0.2) < 0.02  # the continuum marker, around the mode of the density
    correlation = np.corrcoef(u.numpy().T) - np.eye(4)
    assert np.abs(correlation).max() < 0.06


def test_the_two_densities_are_told_apart_by_the_sampler_test():
    rho = torch.tensor([[NAN]])
    u = make("exact", rho=rho).sample(torch.zeros(80000, dtype=torch.int64), dtype=F64)[:, 0]
    assert stats.kstest(u.numpy(), lambda at: cumulative(make("plateau", rho=rho), 0, at)).pvalue < 1e-4
    assert float((u.abs() > 1.3).double().mean()) == pytest.approx(0.0253, abs=0.002)


def test_samples_take_the_row_of_their_population():
    rho = torch.tensor([[-1.0, 1.0], [1.0, -1.0]])
    z = torch.tensor([0, 1, 1, 0])
    u = make(sigma=0.01, rho=rho).sample(z)
    torch.testing.assert_close(u, rho[z], rtol=0, atol=0.1)
    assert make(rho=rho).sample(z[:0]).shape == (0, 2)


def test_permuting_populations_permutes_columns():
    order = torch.tensor([3, 0, 4, 2, 1])
    found = make(rho=REFERENCE["rho"][order]).log_prob(REFERENCE["u"])
    close(found, make().log_prob(REFERENCE["u"])[:, order], 1e-12)


def test_permuting_markers_changes_nothing():
    order = torch.tensor([5, 3, 0, 1, 2, 4])
    close(
        make(rho=REFERENCE["rho"][:, order]).log_prob(REFERENCE["u"][:, order]),
        make().log_prob(REFERENCE["u"]),
    )


def test_the_table_given_is_not_edited_nor_shared():
    rho = REFERENCE["rho"].clone()
    prior = make(rho=rho, continuum=REFERENCE["is_continuum"])
    assert torch.equal(rho.isnan(), REFERENCE["rho"].isnan())
    truth = prior.log_prob(REFERENCE["u"])
    rho.fill_(0.0)
    prior.rho.fill_(0.0)
    assert torch.equal(prior.log_prob(REFERENCE["u"]), truth)
    torch.testing.assert_close(prior.rho, REFERENCE["rho"], equal_nan=True)


@pytest.mark.parametrize("density", ["exact", "plateau"])
def test_precision_follows_the_cells(density):
    prior = make(density, continuum=REFERENCE["is_continuum"])
    u = REFERENCE["u"]
    truth = prior.log_prob(u)
    assert torch.equal(prior.float().log_prob(u), truth)  # no constant is rounded
    single = prior.log_prob(u.float())
    assert single.dtype == prior.difference_to_modes(u.float()).dtype == torch.float32
    torch.testing.assert_close(single.double(), truth, rtol=2e-5, atol=1e-4)
    assert prior.sample(torch.tensor([0]), dtype=F64).dtype == F64


def test_the_standard_deviation_can_be_set():
    prior = make(sigma=0.5)
    prior.prior_std = 0.3
    close(prior.log_prob(REFERENCE["u"]), REFERENCE["logp_integral"])
    assert prior.prior_std == 0.3
    wide = make(sigma=1.5).log_prob(REFERENCE["u"])
    assert wide.isfinite().all()


def test_differences_to_the_modes():
    rho, u = torch.tensor([[-1.0, NAN, 1.0]], dtype=F64), torch.tensor([[0.5, -1.5, 0.5]], dtype=F64)
    continuum = torch.tensor([False, False, True])
    close(
        make(rho=rho, continuum=continuum).difference_to_modes(u)[0, 0],
        torch.tensor([1.5, 0.5, 0.3], dtype=F64),
    )
    plateau = make("plateau", rho=rho, continuum=continuum).difference_to_modes(u)[0, 0]
    close(plateau, torch.tensor([1.5, 0.8, 0.3], dtype=F64))


def test_filling_the_table():
    g = torch.Generator().manual_seed(0)
    rho, continuum = REFERENCE["rho"], REFERENCE["is_continuum"]
    means = torch.rand(rho.shape, generator=g, dtype=F64) * 2 - 1
    prior = make(continuum=continuum)
    prior.fill_rho(means)
    modes = torch.where(rho.isnan(), means, rho / torch.where(continuum, 5.0, 1.0))
    normal = torch.distributions.Normal(modes, torch.tensor(0.3, dtype=F64))
    close(prior.log_prob(REFERENCE["u"]), normal.log_prob(REFERENCE["u"][:, None, :]).sum(2))
    close(prior.rho[~rho.isnan()], rho[~rho.isnan()])
    assert not prior.rho.isnan().any()
    untouched = make()
    untouched.fill_rho(torch.full(rho.shape, NAN))
    close(untouched.log_prob(REFERENCE["u"]), REFERENCE["logp_integral"])


@pytest.mark.parametrize("density", ["exact", "plateau"])
@pytest.mark.parametrize("sigma", [0.0, -0.3, NAN, float("inf")])
def test_refuses_a_standard_deviation_that_gives_no_density(density, sigma):
    with pytest.raises(ValueError, match=r"`prior_std` is .*, but must be above 0 and below"):
        make(density, sigma=sigma)


def test_refuses_what_does_not_fit():
    rho = REFERENCE["rho"]
    with pytest.raises(ValueError, match=r"`rho` has shape \(5, 6\).*n_markers = 7"):
        PriorDistribution(rho, NONE, 0.3, 7)
    with pytest.raises(ValueError, match="`is_continuum_marker` 5 entries"):
        PriorDistribution(rho, NONE[:5], 0.3, 6)
    with pytest.raises(ValueError, match="`rho` holds infinite entries"):
        make(rho=rho / 0)
    with pytest.raises(
        ValueError, match=r"`nan_density` is 'flat', but must be one of \['exact', 'plateau'\]"
    ):
        make("flat")
    with pytest.raises(
        ValueError, match=r"`means` has shape \(5,\), but must have that of the table, \(5, 6\)"
    ):
        make().fill_rho(torch.zeros(5))


def test_refuses_a_plateau_of_negative_width():
    with pytest.raises(
        ValueError, match="`prior_std` is 1.2, but must be above 0 and below 1 for the plateau density"
    ):
        make("plateau", sigma=1.2)
