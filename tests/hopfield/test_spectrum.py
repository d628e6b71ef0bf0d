"""Eigenvalues by exact division and the lifted vectors, against dense decompositions and the reference values."""

from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from scmods._checks import NumericalWarning
from scmods.hopfield import core, reference, spectrum, vectors
from scmods.hopfield.field import ClusterField

F64 = torch.float64
REFERENCE = dict(np.load(Path(__file__).parents[1] / "data" / "hopfield_small.npz"))


def sparse_field(seed, genes=12, regs=8, density=0.25):
    g = torch.Generator().manual_seed(seed)

    def uniform(low, high, *shape):
        return low + (high - low) * torch.rand(*shape, generator=g, dtype=F64)

    chosen = torch.randperm(genes, generator=g)[:regs]
    w = torch.randn(genes, regs, generator=g, dtype=F64) * (uniform(0, 1, genes, regs) < density)
    field = ClusterField(w, chosen, *(uniform(*r, genes) for r in ((0.1, 2), (-1, 1), (0.3, 3), (1.0, 5))))
    return field, uniform(0.05, 4, 4, genes)


def matched(found, truth):
    """Largest distance of two spectra under the best assignment."""
    from scipy.optimize import linear_sum_assignment

    cost = np.abs(np.asarray(found)[:, None] - np.asarray(truth)[None, :])
    return cost[linear_sum_assignment(cost)].max()


def reference_spectra():
    regs = torch.as_tensor(np.flatnonzero((REFERENCE["W"] != 0).any((0, 1))))
    for cell, c in enumerate(REFERENCE["cluster"]):
        t = {k: torch.as_tensor(REFERENCE[k]) for k in ("W", "gamma", "bias", "threshold", "exponent", "X")}
        field = ClusterField(
            t["W"][c][:, regs], regs, t["gamma"][c], t["bias"][c], t["threshold"], t["exponent"]
        )
        yield cell, field, field.slope(t["X"][cell : cell + 1])


def test_every_reference_value():
    for cell, field, slope in reference_spectra():
        values, norm = spectrum.eigenvalues(spectrum.Blocks.of(field), slope)
        found = spectrum.summary(values, norm)
        np.testing.assert_allclose(values[0].numpy(), REFERENCE["eigenvalues"][cell], rtol=0, atol=1e-10)
        leading = REFERENCE["leading"][cell]
        np.testing.assert_allclose(found.real[0], leading.real, rtol=0, atol=1e-10)
        np.testing.assert_allclose(found.imag[0], abs(leading.imag), rtol=0, atol=1e-10)
        assert found.positive[0] == REFERENCE["positive_evals"][cell]
        assert found.negative[0] == REFERENCE["negative_evals"][cell]
        np.testing.assert_allclose(
            vectors.decompose(field, slope).norm[0], np.linalg.norm(REFERENCE["J"][cell]), rtol=1e-12
        )


@settings(max_examples=12)
@given(
    seed=st.integers(0, 10**6), density=st.sampled_from([0.0, 0.1, 0.2, 0.4, 1.0]), regs=st.integers(0, 12)
)
def test_equals_dense_decomposition(seed, density, regs):
    field, x = sparse_field(seed, regs=regs, density=density)
    slope = field.slope(x)
    values, norm = spectrum.eigenvalues(spectrum.Blocks.of(field), slope)
    for found, matrix, size in zip(values, field.jacobian(x), norm, strict=True):
        # dense eigenvalues of a defective matrix are good to a root of eps only; the characteristic one is exact
        assert matched(found, np.linalg.eigvals(matrix.numpy())) < 1e-6 * max(1.0, float(size))
    torch.testing.assert_close(
        values.real.sum(1), core.trace(slope, field.w, field.regs, field.gamma), rtol=1e-11, atol=1e-11
    )
    assert (values.imag.sum(1).abs() < 1e-12).all()


def test_equals_the_per_cell_reference():
    field, x = sparse_field(1, regs=12, density=1.0)
    args = (core.square(field.w, field.regs), field.gamma, field.threshold, field.exponent)
    values, _ = spectrum.eigenvalues(spectrum.Blocks.of(field), field.slope(x))
    for found, truth in zip(values, reference.eigenvalues_reference(x, *args), strict=True):
        assert matched(found, truth) < 1e-11


def test_division_finds_loops_and_chains():
    # 0 <-> 1 <-> 2 a loop, 3 -> 4 a chain, 5 acts on itself, 6 <-> 7 a loop; 8 and 9 regulate nothing
    edges = [(1, 0), (0, 1), (2, 1), (0, 2), (4, 3), (3, 0), (5, 5), (6, 7), (7, 6), (8, 6), (9, 4)]
    w = torch.zeros(10, 8, dtype=F64)
    for target, regulator in edges:
        w[target, regulator] = 1.5
    one = torch.ones(10, dtype=F64)
    blocks = spectrum.Blocks.of(ClusterField(w, torch.arange(8), one, one, one, one))
    assert blocks.single.tolist() == [3, 4, 5]
    assert [g.tolist() for g in blocks.groups] == [[[6, 7]], [[0, 1, 2]]]
    assert blocks.others.tolist() == [8, 9]
    assert repr(blocks) == "Blocks(3 single, loops of sizes [2, 3], 2 genes that do not regulate)"
    slope = torch.full((2, 8), 0.3, dtype=F64)
    values, _ = spectrum.eigenvalues(blocks, slope)
    truth = np.linalg.eigvals(core.jacobian(slope, w, torch.arange(8), one)[0].numpy())
    assert matched(values[0], truth) < 1e-12


@settings(max_examples=12)
@given(seed=st.integers(0, 10**6))
def test_permuting_genes_changes_nothing(seed):
    field, x = sparse_field(seed)
    g = torch.Generator().manual_seed(seed)
    genes, columns = torch.randperm(12, generator=g), torch.randperm(8, generator=g)
    back = genes.argsort()
    moved = ClusterField(
        field.w[genes][:, columns], back[field.regs[columns]], *(v[genes] for v in field[2:])
    )
    values, norm = spectrum.eigenvalues(spectrum.Blocks.of(field), field.slope(x))
    again, norm_again = spectrum.eigenvalues(spectrum.Blocks.of(moved), moved.slope(x[:, genes]))
    torch.testing.assert_close(norm, norm_again)
    for one, other in zip(values, again, strict=True):
        assert matched(one, other) < 1e-7


def test_order_is_real_then_imaginary_part_and_ignores_the_last_digits():
    jitter = 1e-13
    values = torch.tensor(
        [[1 - 2j, 1 + jitter + 1j, 1 - jitter + 2j, 3, 1 - 1j, -1, 1]], dtype=torch.complex128
    )
    for seed in range(5):
        mixed = values[:, torch.randperm(7, generator=torch.Generator().manual_seed(seed))]
        found = mixed.gather(1, spectrum.order(mixed, torch.tensor([5.0], dtype=F64)))[0]
        assert found.imag.tolist() == [0, 2, 1, 0, -1, -2, 0]
        assert found.real.tolist() == pytest.approx([3, 1, 1, 1, 1, 1, -1])
    apart = torch.tensor([[1 + 1j, 1.1, 1 - 1j]], dtype=torch.complex128)
    assert spectrum.order(apart, torch.tensor([1.0], dtype=F64)).tolist() == [[1, 0, 2]]


def test_counts_leave_out_what_is_zero_to_rounding():
    values = torch.tensor([[1.0, 1e-17, -1e-17, -1.0, -2.0]], dtype=torch.complex128)
    found = spectrum.summary(values, torch.tensor([3.0], dtype=F64))
    assert (found.positive.item(), found.negative.item()) == (1, 2)


@settings(max_examples=12)
@given(seed=st.integers(0, 10**6), regs=st.integers(0, 12))
def test_vectors_solve_the_eigenvalue_equation_of_the_whole_jacobian(seed, regs):
    field, x = sparse_field(seed, regs=regs, density=0.6)
    slope = field.slope(x)
    pairs = vectors.decompose(field, slope)
    values, found = vectors.all_values(field, pairs)[0], vectors.leading_vectors(field, slope, pairs)
    residual = field.jacobian(x).to(found.dtype) @ found - found * values[:, None]
    assert residual.abs().max() < 1e-12 * pairs.norm.max()
    torch.testing.assert_close(found.norm(dim=1), torch.ones(4, 12, dtype=F64))
    top = found.gather(1, found.abs().argmax(1, keepdim=True))
    assert (top.imag.abs() < 1e-12).all()
    assert (top.real > 0).all()
    torch.testing.assert_close(vectors.leading_vectors(field, slope, pairs, 3), found[:, :, :3])


@settings(max_examples=12)
@given(seed=st.integers(0, 10**6))
def test_packing_loses_nothing(seed):
    field, x = sparse_field(seed, density=1.0)
    pairs = vectors.decompose(field, field.slope(x))
    packed = vectors.pack(pairs)
    assert packed.dtype == F64
    assert packed.shape == pairs.vectors.shape
    torch.testing.assert_close(vectors.unpack(pairs.values, packed), pairs.vectors, rtol=0, atol=1e-15)


def test_packing_tells_equal_pairs_apart():
    # two copies of one oscillator: the same conjugate pair twice
    half = torch.tensor([[0.0, -1.0], [1.0, 0.0]], dtype=F64)
    w = torch.block_diag(half, half)
    one = torch.ones(4, dtype=F64)
    field = ClusterField(w, torch.arange(4), one, one, one, one)
    pairs = vectors.decompose(field, torch.ones(2, 4, dtype=F64))
    torch.testing.assert_close(vectors.unpack(pairs.values, vectors.pack(pairs)), pairs.vectors)


def test_a_value_that_meets_a_degradation_rate_leans_to_the_unit_vector():
    # regulator 0 has -1 as eigenvalue, as has gene 1, which it acts on: a defective pair
    one = torch.ones(2, dtype=F64)
    field = ClusterField(torch.tensor([[0.0], [2.0]], dtype=F64), torch.tensor([0]), one, one, one, one)
    slope = torch.ones(1, 1, dtype=F64)
    found = vectors.leading_vectors(field, slope, vectors.decompose(field, slope))
    torch.testing.assert_close(found.abs()[0], torch.tensor([[0.0, 0.0], [1.0, 1.0]], dtype=F64))
    pair = vectors.leading_pair(field, slope)
    assert pair.condition.item() > 1e10


@settings(max_examples=12)
@given(seed=st.integers(0, 10**6), slow=st.booleans())
def test_leading_pair_is_right_left_and_as_sensitive_as_it_says(seed, slow):
    field, x = sparse_field(seed, density=0.7)
    if slow:  # a gene that does not regulate decays most slowly, so it leads
        rest = torch.tensor([i for i in range(12) if i not in field.regs.tolist()])
        field = field._replace(gamma=field.gamma.index_fill(0, field.regs, 9.0).index_fill(0, rest[:1], 0.01))
    slope = field.slope(x)
    found, jacobian = vectors.leading_pair(field, slope), field.jacobian(x).to(torch.complex128)
    values, norm = spectrum.eigenvalues(spectrum.Blocks.of(field), slope)
    torch.testing.assert_close(found.value.real, values[:, 0].real, rtol=1e-8, atol=1e-8)
    right = (jacobian @ found.right[:, :, None])[..., 0] - found.value[:, None] * found.right
    left = (found.left.conj()[:, None, :] @ jacobian)[:, 0] - found.value[:, None] * found.left.conj()
    good = found.condition < 1e6
    assert right.abs().max() < 1e-12 * norm.max()
    assert left[good].abs().max() < 1e-9 * norm.max()
    assert (found.condition >= 1 - 1e-12).all()


def test_condition_bounds_the_effect_of_a_small_change():
    field, x = sparse_field(2, regs=12, density=1.0)
    slope = field.slope(x)
    found = vectors.leading_pair(field, slope)
    h = 1e-6
    worst = torch.einsum("ci,cj->cij", found.left, found.right.conj()) * h
    for cell, matrix in enumerate(field.jacobian(x)):
        moved = torch.linalg.eigvals(matrix + worst[cell])
        nearest = moved[(moved - found.value[cell]).abs().argmin()]
        step = (nearest - found.value[cell]).abs() / h
        assert step.item() == pytest.approx(found.condition[cell].item(), rel=1e-3)


@pytest.mark.parametrize("bad", [torch.nan, torch.inf])
def test_nothing_but_finite_numbers_is_decomposed(bad):
    field, x = sparse_field(0, density=1.0)
    slope = field.slope(x)
    slope[1, 2] = bad
    blocks = spectrum.Blocks.of(field)
    for call in (
        lambda: spectrum.eigenvalues(blocks, slope),
        lambda: vectors.decompose(field, slope),
        lambda: vectors.leading_pair(field, slope),
        lambda: spectrum.leading_only(field, slope),
    ):
        with pytest.raises(ValueError, match="NaN or infinite, so its eigenvalues are not defined"):
            call()
    huge = field._replace(w=field.w * 1e200)
    with pytest.raises(ValueError, match="A Jacobian holds"):
        spectrum.eigenvalues(spectrum.Blocks.of(huge), field.slope(x) * 1e200)


def test_leading_only_agrees_with_the_full_decomposition():
    field, x = sparse_field(4, genes=40, regs=30, density=1.0)
    slope = field.slope(x)
    truth = spectrum.eigenvalues(spectrum.Blocks.of(field), slope)[0][:, 0]
    torch.testing.assert_close(spectrum.leading_only(field, slope), truth, rtol=1e-7, atol=1e-7)
    # a gene that does not regulate leads
    rest = spectrum.Blocks.of(field).others
    slow = field._replace(gamma=field.gamma + 50).gamma.index_fill(0, rest[:1], 0.01)
    slow = field._replace(gamma=slow)
    assert (spectrum.leading_only(slow, slope) == -0.01).all()


def test_leading_only_says_where_it_failed():
    field, x = sparse_field(4, genes=40, regs=30, density=1.0)
    slope = field.slope(x)
    truth = spectrum.eigenvalues(spectrum.Blocks.of(field), slope)[0][:, 0]
    with pytest.warns(NumericalWarning, match="failed for 4 of 4 cells"):
        found = spectrum.leading_only(field, slope, tol=-1.0)
    torch.testing.assert_close(found, truth, rtol=1e-9, atol=1e-9)
    with pytest.raises(ValueError, match="`n_candidates` is 0"):
        spectrum.leading_only(field, slope, n_candidates=0)
