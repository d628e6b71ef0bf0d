"""The couplings: reference values, inverses, log-determinants by autograd, the masked form, another library."""

from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from scmods.scyan import reference
from scmods.scyan.flow import CouplingLayer, RealNVP, third

DATA = np.load(Path(__file__).parents[1] / "data" / "scyan_small.npz")
REFERENCE = {k: torch.tensor(v) for k, v in DATA.items()}
F64 = torch.float64


def close(found, truth, tol=1e-9):
    torch.testing.assert_close(found, truth, rtol=tol, atol=tol)


def reference_flow():
    flow = reference.RealNVPReference(8, 4, 6, 1, 2, cov_scale=float(REFERENCE["cov_scale"])).double()
    with torch.no_grad():
        for j, layer in enumerate(flow.layers):
            for name, net in (("s", layer.scale), ("t", layer.shift)):
                for i, linear in enumerate(net.maps):
                    linear.weight.copy_(REFERENCE[f"layer{j}_{name}_W{i}"])
                    linear.bias.copy_(REFERENCE[f"layer{j}_{name}_b{i}"])
    return flow


def random_flow(seed, markers=5, covariates=2, n_layers=4, spread=1.0):
    g = torch.Generator().manual_seed(seed)
    flow = RealNVP(
        markers + covariates, 6, markers, 1, n_layers, zero_last=False, cov_scale=1.0, generator=g
    ).double()
    with torch.no_grad():
        for p in flow.parameters():
            p.mul_(spread)
    x = torch.randn(4, markers, generator=g, dtype=F64)
    return flow, x, torch.randn(4, covariates, generator=g, dtype=F64)


@pytest.mark.parametrize("make", [reference_flow, lambda: reference_flow().regroup()])
def test_every_reference_value(make):
    flow, x, c = make(), REFERENCE["x"], REFERENCE["cov"]
    y, logdet = flow(x, c)
    close(y, REFERENCE["y"])
    close(logdet, REFERENCE["logdet_autograd"])
    close(flow.inverse(REFERENCE["inverse_in"], c), REFERENCE["inverse_out"])
    for j in range(2):
        assert torch.equal(third(6, j).long(), REFERENCE[f"mask_{j}"])


def test_float32_keeps_its_digits():
    flow = reference_flow().regroup().float()
    y, logdet = flow(REFERENCE["x"].float(), REFERENCE["cov"].float())
    assert y.dtype == logdet.dtype == torch.float32
    torch.testing.assert_close(y.double(), REFERENCE["y"], rtol=2e-5, atol=2e-6)


@settings(max_examples=12)
@given(seed=st.integers(0, 10**6), markers=st.integers(1, 8), covariates=st.integers(0, 3))
def test_regrouped_equals_masked(seed, markers, covariates):
    g = torch.Generator().manual_seed(seed)
    slow = reference.RealNVPReference(markers + covariates, 5, markers, 1, 4, generator=g).double()
    fast = slow.regroup()
    x = torch.randn(3, markers, generator=g, dtype=F64)
    c = torch.randn(3, covariates, generator=g, dtype=F64)
    (y, logdet), (y_fast, logdet_fast) = slow(x, c), fast(x, c)
    close(y_fast, y, 1e-12)
    close(logdet_fast, logdet, 1e-12)
    close(fast.inverse(x, c), slow.inverse(x, c), 1e-12)
    grads = [torch.autograd.grad(f(x, c)[0].square().sum(), f.layers[0].shift.maps[1].weight)[0]
             for f in (slow, fast)]  # fmt: skip
    close(grads[1], grads[0], 1e-9)


@settings(max_examples=12)
@given(seed=st.integers(0, 10**6), markers=st.integers(1, 7), spread=st.sampled_from([0.5, 1.0, 2.5]))
def test_inverse_undoes_forward(seed, markers, spread):
    flow, x, c = random_flow(seed, markers, 2, 7, spread)
    u, _ = flow(x, c)
    close(flow.inverse(u, c), x, 1e-8)
    close(flow(flow.inverse(x, c), c)[0], x, 1e-8)


@pytest.mark.parametrize("markers", [1, 2, 5, 9])
@pytest.mark.parametrize("covariates", [0, 2])
def test_without_gradients_the_nets_run_side_by_side_to_the_same_end(markers, covariates):
    flow, x, c = random_flow(3, markers, covariates, 5)
    u, logdet = flow(x, c)
    with torch.no_grad():
        close(flow(x, c)[0], u.detach(), 1e-13)
        close(flow(x, c)[1], logdet.detach(), 1e-13)
        close(flow.inverse(u, c), x, 1e-11)


@settings(max_examples=8)
@given(seed=st.integers(0, 10**6), markers=st.integers(1, 6))
def test_log_determinant_is_that_of_the_autograd_jacobian(seed, markers):
    flow, x, c = random_flow(seed, markers)
    for i in range(len(x)):
        jacobian = torch.autograd.functional.jacobian(lambda v, i=i: flow(v[None], c[i : i + 1])[0][0], x[i])
        sign, logdet = torch.linalg.slogdet(jacobian)
        assert sign == 1
        close(flow(x, c)[1][i], logdet, 1e-11)


@pytest.mark.parametrize("mask", [[1, 0, 1, 1, 0], [0, 0, 0, 0, 0], [1, 1, 1, 1, 1], [0, 1, 0, 0, 0]])
def test_a_coupling_with_any_mask(mask):
    mask = torch.tensor(mask, dtype=torch.bool)
    layer = CouplingLayer(7, 6, 5, mask, 2, cov_scale=1.0).double()
    x, c = random_flow(1)[1:]
    y, logdet = layer(x, c)
    assert torch.equal(y[:, mask], x[:, mask])
    assert mask.all() or not torch.isclose(y[:, ~mask], x[:, ~mask]).any()
    close(layer.inverse(y, c), x, 1e-12)
    jacobian = torch.autograd.functional.jacobian(lambda v: layer(v[None], c[:1])[0][0], x[0])
    close(logdet[0], torch.linalg.slogdet(jacobian)[1], 1e-12)


def test_the_stack_is_its_layers_one_after_the_other():
    flow, x, c = random_flow(5, 7, 1, 5)
    y, total = x, 0
    for layer in flow.layers:
        y, logdet = layer(y, c)
        total = total + logdet
    u, logdet = flow(x, c)
    close(u, y, 1e-12)
    close(logdet, total, 1e-12)


def test_each_marker_moves_in_its_own_layers():
    flow, x, c = random_flow(0, 7, 0, 2)
    u, _ = flow(x, c)
    kept = torch.arange(7) % 3 == 2  # two layers move the first two groups
    assert torch.equal(u[:, kept], x[:, kept])
    assert (u[:, ~kept] != x[:, ~kept]).all()


def test_agrees_with_zuko():
    zuko = pytest.importorskip("zuko")
    flow, x, c = random_flow(2, 6, 1, 3)
    bound = abs(np.log(1e-3))  # zuko squashes the scale softly; its argument undoes that
    u, logdet = x, torch.zeros(len(x), dtype=F64)
    for layer in flow.layers:
        mask = torch.ones(6, dtype=torch.bool)
        mask[layer.moved] = False
        order = torch.argsort(torch.arange(6)[mask] % 3, stable=True)

        def meta(kept, layer=layer, order=order):
            s, t = (v.T for v in layer.coefficients(torch.cat([kept[:, order], c], 1).T))
            affine = zuko.transforms.MonotonicAffineTransform(t, s / (1 - s.abs() / bound))
            return zuko.transforms.DependentTransform(affine, 1)

        transform = zuko.transforms.CouplingTransform(meta, mask)
        logdet = logdet + transform.log_abs_det_jacobian(u, transform(u))
        close(transform.inv(transform(u)), u, 1e-11)
        u = transform(u)
    close(flow(x, c)[0], u, 1e-11)
    close(flow(x, c)[1], logdet, 1e-11)


def test_starts_as_the_identity_and_can_learn_from_there():
    flow = RealNVP(7, 8, 6, 1, 3).double()
    x, c = REFERENCE["x"], torch.ones(10, 1, dtype=F64)
    u, logdet = flow(x, c)
    assert torch.equal(u, x)
    assert not logdet.any()
    (u.square().sum() + logdet.sum()).backward()
    assert all(layer.shift.maps[-1].weight.grad.abs().max() > 0 for layer in flow.layers)


def test_covariates_enter_with_their_factor():
    flows = [RealNVP(5, 4, 3, 1, 3, zero_last=False, cov_scale=a).double() for a in (1.0, 100.0)]
    x, c = REFERENCE["x"][:, :3], REFERENCE["cov"]
    close(flows[0](x, 100 * c)[0], flows[1](x, c)[0])
    assert not torch.allclose(flows[0](x, c)[0], flows[1](x, c)[0])


def test_computes_in_the_precision_of_the_input():
    flow, x, c = random_flow(4)
    truth = flow.float().double()(x, c)[0]
    assert torch.equal(flow.float()(x, c)[0], truth)
    assert flow(x.float(), c)[0].dtype == torch.float32


def test_no_cells():
    flow, x, c = random_flow(0)
    u, logdet = flow(x[:0], c[:0])
    assert u.shape == (0, 5)
    assert logdet.shape == (0,)
    assert flow.inverse(u, c[:0]).shape == (0, 5)


def test_initial_weights_are_a_function_of_the_generator():
    before = torch.get_rng_state()
    one, two, other = (
        RealNVP(5, 8, 5, 1, 3, zero_last=False, generator=torch.Generator().manual_seed(s)) for s in (1, 1, 2)
    )
    assert torch.equal(torch.get_rng_state(), before)
    for a, b, c in zip(one.parameters(), two.parameters(), other.parameters(), strict=True):
        assert torch.equal(a, b)
        assert not torch.equal(a, c)
    assert one.layers[0].scale.maps[0].weight.abs().max() <= 5**-0.5


def test_sizes_that_do_not_fit():
    with pytest.raises(ValueError, match="mask of 3 markers, output_size 4, input_size 5 do not fit"):
        CouplingLayer(5, 4, 4, torch.ones(3, dtype=torch.bool), 1)
    with pytest.raises(ValueError, match="input_size 3 do not fit"):
        RealNVP(3, 4, 4, 1, 3)
