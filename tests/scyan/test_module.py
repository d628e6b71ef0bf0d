"""The model on tensors: reference values, laws of its weights, every way to ask for a sample, training."""

from pathlib import Path

import numpy as np
import pytest
import torch

from scmods import training
from scmods.scyan import reference
from scmods.scyan.module import ScyanModule

DATA = np.load(Path(__file__).parents[1] / "data" / "scyan_small.npz")
REFERENCE = {k: torch.tensor(v) for k, v in DATA.items()}
F64, NAN = torch.float64, torch.nan
NAMES = ["CD4/CD8", "18", "T cell (naïve)", "B", "NK"]
X, COV = REFERENCE["x"], REFERENCE["cov"]


def close(found, truth, tol=1e-9):
    torch.testing.assert_close(found, truth, rtol=tol, atol=tol)


def make(n_covariates=2, rho=None, temperature=0.5, **settings):
    rho = REFERENCE["rho"] if rho is None else rho
    continuum = torch.zeros(rho.shape[1], dtype=torch.bool)
    settings = {"zero_last": False, "names": NAMES, **settings}
    return ScyanModule(rho, n_covariates, continuum, 4, 1, 2, 0.3, temperature, **settings)


def reference_module(density):
    module = make(nan_density=density).double()
    flow = reference.RealNVPReference(8, 4, 6, 1, 2).double()
    with torch.no_grad():
        for j, layer in enumerate(flow.layers):
            for name, net in (("s", layer.scale), ("t", layer.shift)):
                for i, linear in enumerate(net.maps):
                    linear.weight.copy_(REFERENCE[f"layer{j}_{name}_W{i}"])
                    linear.bias.copy_(REFERENCE[f"layer{j}_{name}_b{i}"])
        module.pi_logit.copy_(REFERENCE["pi_logit"])
    module.real_nvp = flow.regroup()
    return module


def test_every_reference_value():
    module = reference_module("plateau")
    joint, logdet, u = module.compute_probabilities(X, COV)
    close(u, REFERENCE["y"])
    close(logdet, REFERENCE["logdet_autograd"])
    close(joint, REFERENCE["joint_logp_plateau"])
    close(module.joint_log_prob(X, COV), REFERENCE["joint_logp_plateau"])
    close(module.posterior(X, COV), REFERENCE["posterior_plateau"])
    close(module.posterior(X, COV, batch_size=3), REFERENCE["posterior_plateau"])
    close(module.log_pi, REFERENCE["log_pi"])
    close(module.log_pi_temperature(-0.5), REFERENCE["log_pi_tempered"])
    close(module.kl(X, COV, use_temp=False), REFERENCE["loss_plain"])
    close(module.kl(X, COV, use_temp=True), REFERENCE["loss_tempered"])
    exact = reference_module("exact")
    close(exact.joint_log_prob(X, COV), REFERENCE["joint_logp_exact"])
    close(exact.kl(X, COV, use_temp=False), REFERENCE["loss_plain_exact"])


def test_gradient_of_the_weights():
    module = reference_module("plateau")
    module.kl(X, COV, use_temp=False).backward()
    close(module.pi_logit.grad / module.pi_logit_ratio, REFERENCE["grad_loss_wrt_scaled_logit"])
    posterior = module.posterior(X, COV)
    close(module.pi_logit.grad / 100, module.pi.detach() - posterior.mean(0))
    module.zero_grad()
    module.kl(X, COV, use_temp=True).backward()
    assert module.pi_logit.grad is None


def test_the_methods_of_the_page_and_their_shapes():
    module = make()
    u, covariates, logdet = module(X, COV)
    assert covariates is COV
    assert u.shape == X.shape
    assert logdet.shape == (10,)
    close(module.inverse(u, COV), X)
    assert u.requires_grad
    assert not module.inverse(u, COV).requires_grad
    assert module.pi.shape == module.log_pi.shape == (5,)
    assert isinstance(module.prior_z, torch.distributions.Categorical)
    close(module.prior_z.probs, module.pi, 1e-6)
    assert module.kl(X, COV, use_temp=True).shape == ()
    assert [module.n_pops, module.n_markers, module.n_covariates] == [5, 6, 2]
    assert module.hparams["prior_std"] == 0.3
    assert set(module.state_dict()) == {"pi_logit"} | {f"real_nvp.{k}" for k in module.real_nvp.state_dict()}


def test_posterior_rows_sum_to_one_and_are_the_softmax():
    module = make()
    posterior = module.posterior(X, COV, batch_size=4)
    close(posterior.sum(1), torch.ones(10, dtype=F64), 1e-12)
    close(posterior, torch.softmax(module.compute_probabilities(X, COV)[0].detach(), 1), 1e-12)


def test_a_constant_on_all_logits_changes_nothing():
    module = make().double()
    with torch.no_grad():
        module.pi_logit.copy_(REFERENCE["pi_logit"])
    before = [
        module.joint_log_prob(X, COV),
        module.log_pi_temperature(-0.5),
        module.kl(X, COV, use_temp=True),
    ]
    sample = module.sample(5, COV[0], generator=torch.Generator().manual_seed(1))
    with torch.no_grad():
        module.pi_logit.add_(0.37)
    after = [module.joint_log_prob(X, COV), module.log_pi_temperature(-0.5), module.kl(X, COV, use_temp=True)]
    for a, b in zip(after, before, strict=True):
        close(a, b, 1e-11)
    close(module.sample(5, COV[0], generator=torch.Generator().manual_seed(1)), sample)


def test_permuting_populations_permutes_columns():
    order = torch.tensor([3, 0, 4, 2, 1])
    one, two = make(), make(rho=REFERENCE["rho"][order])
    with torch.no_grad():
        one.pi_logit.copy_(REFERENCE["pi_logit"])
        two.pi_logit.copy_(REFERENCE["pi_logit"][order])
    close(two.posterior(X, COV), one.posterior(X, COV)[:, order], 1e-7)
    close(two.kl(X, COV, use_temp=True), one.kl(X, COV, use_temp=True), 1e-7)


def test_temperature_favours_small_populations():
    module = make().double()
    with torch.no_grad():
        module.pi_logit.copy_(REFERENCE["pi_logit"])
    tempered = module.log_pi_temperature(-0.5)
    close(tempered, torch.log_softmax(-2 * module.log_pi.detach(), 0))
    assert tempered.argmax() == module.log_pi.argmin()
    assert not tempered.requires_grad
    off = make(temperature=None).double()
    close(off.kl(X, COV, use_temp=True), off.kl(X, COV, use_temp=False), 0)


def test_two_modules_of_one_table():
    rho = REFERENCE["rho"].clone()
    one, two = make(rho=rho), make(rho=rho)
    assert torch.equal(rho.isnan(), REFERENCE["rho"].isnan())
    assert torch.equal(one.posterior(X, COV), two.posterior(X, COV))


def test_precision_follows_the_cells():
    module = make()
    assert module.posterior(X.float(), COV).dtype == torch.float32
    found = module.posterior(X, COV.float())
    assert found.dtype == F64
    assert torch.equal(found, module.double().posterior(X, COV))
    whole = torch.ones(2, 6, dtype=torch.int64)
    assert module.float().posterior(whole, COV[:2]).dtype == torch.float32


@pytest.mark.parametrize(
    "z",
    [2, np.int64(2), torch.tensor(2), "T cell (naïve)", [2, 2, 2], (2, 2, 2), np.array([2, 2, 2], np.int8),
     torch.tensor([2, 2, 2], dtype=torch.int32), ["T cell (naïve)"] * 3, np.array(["T cell (naïve)"] * 3),
     [torch.tensor(2), np.int64(2), 2]],
)  # fmt: skip
def test_every_way_to_name_a_population(z):
    module = make()
    x, found = module.sample(3, COV[0], z=z, return_z=True, generator=torch.Generator().manual_seed(4))
    assert found.dtype == torch.int64
    assert found.tolist() == [2, 2, 2]
    truth = module.sample(3, COV[:1], z=2, generator=torch.Generator().manual_seed(4))
    assert torch.equal(x, truth)


@pytest.mark.parametrize(
    ("z", "kind", "text"),
    [
        (1.9, TypeError, "`z` holds 1.9 of type float, but must hold whole numbers from 0 to 4"),
        (torch.tensor(1.9), TypeError, "`z` holds 1.89"),
        (NAN, TypeError, "`z` holds nan of type float"),
        (True, TypeError, "`z` holds True of type bool"),
        (np.bool_(True), TypeError, "`z` holds True of type bool"),
        (torch.tensor([0.0, 1.0, NAN]), TypeError, "`z` holds 0.0 of type float"),
        ([0, 1.5, 2], TypeError, "`z` holds 1.5 of type float"),
        ([True, False, True], TypeError, "`z` holds True"),
        (object(), TypeError, "of type object, but must hold whole numbers"),
        (-1, ValueError, "`z` holds -1, but must hold whole numbers from 0 to 4"),
        (5, ValueError, "`z` holds 5, but must hold whole numbers from 0 to 4"),
        (torch.tensor([0, 7, 1]), ValueError, "`z` holds 7"),
        ([0, 1], ValueError, "`z` has 2 entries, but 3 cells are asked for. .*n_samples=2"),
        (
            torch.zeros(3, 1, dtype=torch.int64),
            ValueError,
            r"`z` has shape \(3, 1\), but must have one entry per cell",
        ),
        ("T cell (naive)", ValueError, r"not in the table. Available: .*Did you mean 'T cell \(naïve\)'\?"),
        (["B", "NK", "??"], ValueError, r"names the population '\?\?', which is not in the table"),
    ],
)
def test_refuses_what_names_no_population(z, kind, text):
    with pytest.raises(kind, match=text):
        make().sample(3, COV[0], z=z)


def test_refuses_names_where_there_are_none():
    with pytest.raises(ValueError, match="`z` is 'B', but this module has no names of populations"):
        make(names=None).sample(3, COV[0], z="B")
    with pytest.raises(ValueError, match="`names` has 2 entries, but `rho` has 5 populations"):
        make(names=["a", "b"])


def test_no_samples():
    module = make()
    for z in (None, 2, [], "B", torch.zeros(0, dtype=torch.int64), np.array([])):
        x, found = module.sample(0, COV[0], z=z, return_z=True)
        assert x.shape == (0, 6)
        assert found.shape == (0,)
        assert found.dtype == torch.int64
    assert module.sample(0, COV[:0]).shape == (0, 6)
    assert module.posterior(X[:0], COV[:0]).shape == (0, 5)
    assert module(X[:0], COV[:0])[2].shape == (0,)


def test_samples_come_from_their_covariates_and_populations():
    module = make(rho=torch.tensor([[-1.0, 1.0, -1.0], [1.0, -1.0, 1.0]]), names=None, cov_scale=1.0)
    c = torch.tensor([[1.0, 0.0]]).expand(50, 2)
    x, z = module.sample(50, c, return_z=True)
    assert 10 < int(z.sum()) < 40
    assert torch.equal(module.posterior(x, c).argmax(1), z)
    u, _, _ = module(x, c)
    assert float((u.detach() - module.prior.rho[z].float()).square().mean()) == pytest.approx(0.09, rel=0.3)
    assert not torch.equal(module.sample(50, c), x)  # the next draw is another one


def test_populations_are_drawn_by_weight():
    module = make().double()
    with torch.no_grad():
        module.pi_logit.copy_(REFERENCE["pi_logit"])
    _, z = module.sample(20000, COV[0], return_z=True)
    counts = torch.bincount(z, minlength=5).double()
    expected = 20000 * module.pi.detach()
    assert (
        float(((counts - expected).square() / expected).sum()) < 18.5
    )  # 0.1 % quantile of chi-square, 4 degrees


def test_the_same_seed_gives_the_same_and_touches_nothing_global():
    before = torch.get_rng_state()
    one, two, other = make(seed=3), make(seed=3), make(seed=4)
    assert torch.equal(one.sample(4, COV[0]), two.sample(4, COV[0]))
    assert torch.equal(one.posterior(X, COV), two.posterior(X, COV))
    assert not torch.equal(one.posterior(X, COV), other.posterior(X, COV))
    assert torch.equal(torch.get_rng_state(), before)


@pytest.mark.parametrize("call", ["forward", "inverse", "compute_probabilities", "posterior", "sample"])
def test_covariates_of_another_shape(call):
    def ask(covariates, module):
        return getattr(module, call)(10 if call == "sample" else X, covariates)

    module = make()
    for wrong in (COV[:, :1], COV[:4], COV[None], torch.ones(3, dtype=F64)):
        with pytest.raises(
            ValueError, match=r"`covariates` has shape \(.*must have shape \(10, 2\).*or \(2,\)"
        ):
            ask(wrong, module)
    with pytest.raises(ValueError, match="`covariates` is None, but the module was made for 2 covariates"):
        ask(None, module)
    with pytest.raises(ValueError, match=r"must have shape \(10, 0\)"):
        ask(COV, make(0))
    ask(None, make(0))


def test_one_row_of_covariates_serves_all_cells():
    module = make()
    truth = module.posterior(X, COV[:1].expand(10, 2))
    assert torch.equal(module.posterior(X, COV[0]), truth)
    assert torch.equal(module.posterior(X, COV[:1]), truth)


@pytest.mark.parametrize("call", ["forward", "inverse", "posterior"])
def test_cells_of_another_shape(call):
    name = "u" if call == "inverse" else "x"
    for wrong in (X[:, :4], X[0]):
        with pytest.raises(ValueError, match=rf"`{name}` has shape \(.*but must have shape \(cells, 6\)"):
            getattr(make(), call)(wrong, COV)


def test_refuses_settings_out_of_range():
    rho, none = REFERENCE["rho"], torch.zeros(6, dtype=torch.bool)
    for temperature in (0, -0.5):
        with pytest.raises(
            ValueError, match="`temperature` is .*, but must be above 0. Use temperature=None"
        ):
            make(temperature=temperature)
    with pytest.raises(ValueError, match="`T` is 0, but the weights are raised to the power 1 / T"):
        make().log_pi_temperature(0)
    with pytest.raises(ValueError, match="`prior_std` is 0.0, but must be above 0"):
        ScyanModule(rho, 0, none, 4, 1, 2, 0.0, 0.5)
    for wrong in (rho[0], rho[:0], rho[:, :0]):
        with pytest.raises(ValueError, match=r"`rho` has shape \(.*must have shape \(populations, markers\)"):
            ScyanModule(wrong, 0, none, 4, 1, 2, 0.3, 0.5)
    with pytest.raises(ValueError, match="`n_layers` is 0, but must be at least 1"):
        ScyanModule(rho, 0, none, 4, 1, 0, 0.3, 0.5)
    with pytest.raises(TypeError, match="`hidden_size` is 2.5 of type float"):
        ScyanModule(rho, 0, none, 2.5, 1, 2, 0.3, 0.5)
    with pytest.raises(ValueError, match="`n_samples` is -1, but must be at least 0"):
        make().sample(-1, COV[0])


def test_learns_to_undo_a_shift():
    rho = torch.tensor([[-1.0, 1.0, -1.0], [1.0, -1.0, NAN]])
    none = torch.zeros(3, dtype=torch.bool)
    truth = ScyanModule(rho, 0, none, 4, 0, 3, 0.3, None)
    x, z = truth.sample(400, None, return_z=True)
    x = 1.5 * x + 0.8
    module = ScyanModule(rho, 0, none, 16, 0, 3, 0.3, None)
    start = float(module.loss((x,)).detach())
    plan = training.TrainingPlan(max_epochs=15, lr=5e-3, batch_size=64, optimizer="adam", schedule="constant")
    history = training.train(module, (x,), plan=plan)
    assert history.train_losses[-1] < start / 3
    assert (module.posterior(x, None).argmax(1) == z).float().mean() > 0.97
    module.tempered = True
    assert float(module.loss((x,)).detach()) == float(module.kl(x, None, use_temp=True).detach())
