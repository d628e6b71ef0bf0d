"""The mathematics of the field: reference values, autograd, finite differences, limits and cancellations."""

from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from scmods.hopfield import core, reference
from scmods.hopfield.field import ClusterField

REFERENCE = {
    k: torch.tensor(v)
    for k, v in np.load(Path(__file__).parents[1] / "data" / "hopfield_small.npz").items()
    if v.dtype.kind in "fic"
}
F64 = torch.float64


def cluster_field(c):
    w = REFERENCE["W"][c]
    regs = torch.nonzero((REFERENCE["W"] != 0).any(0).any(0))[:, 0]
    rest = (REFERENCE[k] for k in ("threshold", "exponent"))
    return ClusterField(w[:, regs], regs, REFERENCE["gamma"][c], REFERENCE["bias"][c], *rest)


def random_field(seed, genes=7, regs=4):
    g = torch.Generator().manual_seed(seed)

    def uniform(low, high, *shape):
        return low + (high - low) * torch.rand(*shape, generator=g, dtype=F64)

    chosen = torch.randperm(genes, generator=g)[:regs]
    w = torch.randn(genes, regs, generator=g, dtype=F64)
    return (
        ClusterField(w, chosen, *(uniform(*r, genes) for r in ((0.1, 2), (-1, 1), (0.3, 3), (1.0, 5)))),
        uniform(0.05, 4, 3, genes),
    )


def square_reference(field):
    """The arguments of the per-cell functions."""
    return core.square(field.w, field.regs), field.gamma, field.threshold, field.exponent


def test_every_reference_value():
    for cell, c in enumerate(REFERENCE["cluster"].tolist()):
        field, x = cluster_field(c), REFERENCE["X"][cell : cell + 1]
        slope, own = field.slope(x), (field.w, field.regs)
        i, j = REFERENCE["pairs"].T
        found = {
            "velocity": field.velocity(x),
            "J": field.jacobian(x),
            "trace": core.trace(slope, *own, field.gamma),
            "rotational": core.rotation(slope, *own),
            "elements": core.elements(
                core.activation_derivative(x[:, j], field.threshold[j], field.exponent[j]),
                REFERENCE["W"][c][i, j], field.gamma[i], i == j,
            ),
        }  # fmt: skip
        for name, value in found.items():
            torch.testing.assert_close(value[0], REFERENCE[name][cell], rtol=0, atol=1e-10, msg=name)


def autograd_jacobians(field, x):
    return torch.func.vmap(torch.func.jacrev(lambda one: field.velocity(one[None])[0]))(x)


@settings(max_examples=8)
@given(seed=st.integers(0, 10**6), genes=st.integers(2, 8))
def test_equals_the_autograd_jacobian(seed, genes):
    field, x = random_field(seed, genes, max(1, genes // 2))
    truth = autograd_jacobians(field, x)
    torch.testing.assert_close(field.jacobian(x), truth, rtol=1e-11, atol=1e-11)


def test_the_row_scaled_matrix_is_not_the_autograd_jacobian():
    field, x = random_field(3, 6, 6)
    full = torch.empty_like(x)
    full[:, field.regs] = field.slope(x)
    w = core.square(field.w, field.regs)
    rows = w * full[:, :, None] - torch.diag(field.gamma)
    columns = w * full[:, None, :] - torch.diag(field.gamma)
    truth = autograd_jacobians(field, x)
    torch.testing.assert_close(columns, truth, rtol=1e-11, atol=1e-11)
    with pytest.raises(AssertionError):
        torch.testing.assert_close(rows, truth, rtol=1e-11, atol=1e-11)
    # the slip cannot be seen in the eigenvalues
    for one, other in zip(rows, columns, strict=True):
        coefficients = [np.poly(np.linalg.eigvals(m.numpy())) for m in (one, other)]
        np.testing.assert_allclose(*coefficients, rtol=1e-9)


def test_equals_finite_differences_of_the_velocity():
    field, x = random_field(5)
    step = 1e-5
    for j in range(x.shape[1]):
        h = torch.zeros_like(x)
        h[:, j] = step
        difference = (field.velocity(x + h) - field.velocity(x - h)) / (2 * step)
        torch.testing.assert_close(field.jacobian(x)[:, :, j], difference, rtol=0, atol=1e-7)


@settings(max_examples=15)
@given(seed=st.integers(0, 10**6))
def test_closed_forms_equal_the_whole_jacobian(seed):
    field, x = random_field(seed, 8, 5)
    x[0, :3] = 0
    slope, own, args = field.slope(x), (field.w, field.regs), square_reference(field)
    jacobian = torch.stack([reference.jacobian_reference(one, *args) for one in x])
    close = {"rtol": 1e-11, "atol": 1e-12}
    torch.testing.assert_close(field.jacobian(x), jacobian, **close)
    torch.testing.assert_close(core.frobenius(slope, *own, field.gamma), jacobian.norm(dim=(1, 2)), **close)
    torch.testing.assert_close(core.rotation(slope, *own), reference.rotation_reference(x, *args), **close)
    torch.testing.assert_close(
        core.trace(slope, *own, field.gamma), reference.trace_reference(x, *args), **close
    )


@pytest.mark.parametrize(("n", "slope"), [(2.0, 0.0), (1.001, 0.0), (1.0, 0.5), (0.5, torch.inf)])
def test_slope_at_zero_is_the_one_sided_limit(n, slope):
    found = core.activation_derivative(
        *(torch.full(s, v, dtype=F64) for s, v in (((1, 1), 0.0), ((1,), 2.0), ((1,), n)))
    )
    assert found.item() == slope


@pytest.mark.parametrize(("n", "order"), [(1.0, 1.0), (2.0, 1e-12), (0.5, 3.0e5)])
def test_slope_close_to_zero_tends_to_the_limit(n, order):
    x = torch.tensor([[1e-12]], dtype=F64)
    found = core.activation_derivative(x, torch.tensor([2.0], dtype=F64), torch.tensor([n], dtype=F64))
    truth = {1.0: 0.5, 2.0: 2e-12 / 4, 0.5: 0.5 * 1e6 / 2**0.5}[n]
    assert found.item() == pytest.approx(truth, rel=1e-5)


def test_slope_keeps_its_digits_where_the_activation_is_one():
    x, k, n = (
        torch.tensor(v, dtype=F64) for v in ([[30.0, 1e200, 1e-200]], [2.0, 1.0, 1.0], [8.0, 4.0, 4.0])
    )
    found = core.activation_derivative(x, k, n)[0]
    exact = 8 * 30.0**7 * 2.0**8 / (30.0**8 + 2.0**8) ** 2
    assert found[0].item() == pytest.approx(exact, rel=1e-14) == pytest.approx(1.04e-10, rel=1e-2)
    assert torch.isfinite(found).all()
    assert (core.activation(x, k, n)[0] == torch.tensor([1.0, 1.0, 0.0], dtype=F64))[1:].all()


def exact_rotation(w, slope):
    """In rational arithmetic of enough digits: the antisymmetric part entry by entry."""
    a = (w[None] * slope[:, None, :] - (w[None] * slope[:, None, :]).mT) / 2
    return a.norm(dim=(1, 2))


def test_rotation_is_zero_if_and_only_if_the_jacobian_is_symmetric():
    g = torch.Generator().manual_seed(0)
    w = torch.randn(6, 6, generator=g, dtype=F64)
    equal = torch.full((2, 6), 0.7, dtype=F64)
    regs = torch.arange(6)
    assert core.rotation(equal, w + w.T, regs).max() < 1e-15
    assert core.rotation(equal, w, regs).min() > 0.1
    unequal = equal.clone()
    unequal[:, 0] = 0.8
    assert core.rotation(unequal, w + w.T, regs).min() > 0.01
    # a gene that does not regulate makes the Jacobian unsymmetric too
    more = torch.cat([w + w.T, torch.ones(1, 6, dtype=F64)])
    torch.testing.assert_close(core.rotation(equal, more, regs), torch.full((2,), 0.7 * 3**0.5, dtype=F64))


@pytest.mark.parametrize("spread", [0.0, 1e-10, 1e-6])
def test_rotation_keeps_its_digits_where_the_jacobian_is_nearly_symmetric(spread):
    g = torch.Generator().manual_seed(1)
    w = torch.randn(30, 30, generator=g, dtype=F64)
    w = w + w.T + 1e-10 * torch.randn(30, 30, generator=g, dtype=F64)
    slope = 0.5 + spread * torch.randn(4, 30, generator=g, dtype=F64)
    truth = exact_rotation(w, slope)
    torch.testing.assert_close(core.rotation(slope, w, torch.arange(30)), truth, rtol=1e-5, atol=0)
    # the short form has lost it
    c = w.square().sum(0)
    short = ((slope.square() @ c - ((slope @ (w * w.T)) * slope).sum(1)) / 2).clamp_min(0).sqrt()
    if spread < 1e-6:
        assert ((short - truth).abs() / truth).max() > 0.1


def test_rotation_does_not_depend_on_the_unit_of_expression():
    field, x = random_field(7)
    slope = field.slope(x)
    scaled = field._replace(threshold=field.threshold * 1e5)
    found = core.rotation(scaled.slope(x * 1e5), field.w, field.regs)
    torch.testing.assert_close(found * 1e5, core.rotation(slope, field.w, field.regs), rtol=1e-10, atol=0)


def test_trace_and_elements_of_a_gene_without_column():
    field, x = random_field(9)
    outside = [i for i in range(7) if i not in field.regs.tolist()]
    diagonal = field.jacobian(x).diagonal(dim1=1, dim2=2)
    assert (diagonal[:, outside] == -field.gamma[outside]).all()
    zero = torch.zeros(3, 1, dtype=F64)
    same, other = (core.elements(zero, zero[0], field.gamma[:1], torch.tensor([s])) for s in (True, False))
    assert (same == -field.gamma[0]).all()
    assert (other == 0).all()
