"""The trilinear layer against its dense tensor, and its power method against planted truth."""

from itertools import permutations

import pytest
import torch

from scmods.bmlp import trilinear as tri


def layer(seed=0, genes=6, hidden=4, outputs=2):
    g = torch.Generator().manual_seed(seed)
    shapes = [(hidden, genes)] * 3 + [(outputs, hidden)]
    return tuple(torch.randn(s, generator=g, dtype=torch.float64) for s in shapes)


def vectors(n, genes, seed=1):
    return torch.randn(n, genes, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


@pytest.mark.parametrize("seed", range(3))
def test_layer_and_contraction_equal_the_dense_tensor(seed):
    weights, x = layer(seed), vectors(5, 6)
    for o in range(2):
        dense = tri.tensor_reference(weights, o)
        torch.testing.assert_close(tri.contract(x, weights, o), torch.einsum("ijk,nj,nk->ni", dense, x, x))
        whole = torch.einsum("ijk,ni,nj,nk->n", dense, x, x, x)
        torch.testing.assert_close(tri.trilinear(x, *weights)[:, o], whole)
        torch.testing.assert_close(tri.value(x, weights, o), whole)
        torch.testing.assert_close((tri.contract(x, weights, o) * x).sum(1), whole)


def test_dense_tensor_is_symmetric():
    dense = tri.tensor_reference(layer(), 1)
    for order in permutations(range(3)):
        torch.testing.assert_close(dense.permute(order), dense)


def test_contraction_is_a_third_of_the_gradient():
    weights, v = layer(2), vectors(1, 6)[0].requires_grad_()
    (gradient,) = torch.autograd.grad(tri.value(v, weights, 0), v)
    torch.testing.assert_close(tri.contract(v.detach(), weights, 0), gradient / 3)


def test_order_of_the_three_maps_does_not_matter():
    weights, x = layer(), vectors(4, 6)
    expected, (size, vector) = tri.trilinear(x, *weights), tri.power_iteration(weights, 0)
    for order in permutations(range(3)):
        other = (*(weights[k] for k in order), weights[3])
        torch.testing.assert_close(tri.trilinear(x, *other), expected)
        torch.testing.assert_close(tri.contract(x, other, 0), tri.contract(x, weights, 0))
        found = tri.power_iteration(other, 0)
        torch.testing.assert_close(found[0], size, rtol=1e-9, atol=0)
        torch.testing.assert_close(found[1], vector, rtol=0, atol=1e-8)


@pytest.mark.parametrize("output", [0, 1])
def test_power_method_ends_at_the_largest_value_on_the_sphere(output):
    weights = layer(5, genes=3, hidden=3)
    size, vector = tri.power_iteration(weights, output)
    torch.testing.assert_close(tri.contract(vector, weights, output), size * vector, rtol=0, atol=1e-10)
    torch.testing.assert_close(vector.norm(), torch.ones((), dtype=torch.float64))
    sphere = torch.nn.functional.normalize(
        vectors(20_000, 3), dim=1
    )  # two angles: the grid leaves little out
    best = tri.value(sphere, weights, output).abs().max()
    assert best <= size.abs() * (1 + 1e-9)
    assert size.abs() < 1.01 * best
    assert vector[vector.abs().argmax()] > 0


def test_planted_modules_are_recovered_with_the_sign_of_their_effect():
    genes = 40
    planted = torch.zeros(2, genes, dtype=torch.float64)
    planted[0, 3:8] = torch.tensor([1.0, -0.5, 0.8, 0.6, -0.7], dtype=torch.float64)
    planted[1, 20:24] = 1.0
    planted = torch.nn.functional.normalize(planted, dim=1)
    w_p = torch.tensor([[5.0, 2.0], [1.0, -4.0]], dtype=torch.float64)
    noise = [0.01 * vectors(2, genes, seed) for seed in (7, 8, 9)]
    weights = (*(planted + n for n in noise), w_p)
    for output, (which, size) in enumerate([(0, 5.0), (1, -4.0)]):
        found, vector = tri.power_iteration(weights, output)
        assert abs(float(vector @ planted[which])) > 0.995
        assert found == pytest.approx(size, rel=0.1)
        assert vector[vector.abs().argmax()] > 0


def test_exact_rank_one_tensor_is_recovered_to_rounding():
    v = torch.nn.functional.normalize(vectors(1, 9), dim=1)
    weights = (2 * v, -v, 3 * v, torch.ones(1, 1, dtype=torch.float64))
    size, vector = tri.power_iteration(weights, 0)
    rebuilt = size * torch.einsum("i,j,k->ijk", vector, vector, vector)
    torch.testing.assert_close(rebuilt, tri.tensor_reference(weights, 0))


def test_many_genes_work_without_the_tensor():  # 5,000³ numbers would take 1,000 GB
    weights = layer(3, genes=5000, hidden=8, outputs=1)
    size, vector = tri.power_iteration(weights, 0, n_starts=4)
    image = tri.contract(vector, weights, 0)
    assert (image - size * vector).norm() < 1e-9 * abs(size)


def test_more_starts_are_never_worse_and_seed_decides_alone():
    weights = layer(11, genes=30, hidden=10)
    before = torch.random.get_rng_state()
    few, many = (tri.power_iteration(weights, 0, n_starts=n)[0].abs() for n in (1, 20))
    assert many >= few * (1 - 1e-9)
    again = tri.power_iteration(weights, 0, n_starts=20)
    torch.testing.assert_close(again[0].abs(), many, rtol=0, atol=0)
    assert torch.equal(before, torch.random.get_rng_state())


def test_no_step_goes_down():
    weights, v = layer(4), torch.nn.functional.normalize(vectors(6, 6), dim=1)
    last = tri.value(v, weights, 0)
    for n in (1, 2, 5, 20, 100):
        height, ends = tri._climb(v, weights, 0, n)
        assert (height >= last - 1e-12).all()
        torch.testing.assert_close(tri.value(ends, weights, 0), height)
        last = height


def test_zero_layer_has_value_zero():
    weights = (*layer()[:3], torch.zeros(1, 4, dtype=torch.float64))
    size, vector = tri.power_iteration(weights, 0)
    assert size == 0
    assert torch.isfinite(vector).all()
