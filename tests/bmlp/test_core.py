"""The bilinear layer against its equations, its dense oracle and the reference values."""

from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from scmods.bmlp import core
from scmods.linalg import fix_signs, low_rank_eigh, principal_angles

REFERENCE = {
    k: torch.tensor(v) for k, v in np.load(Path(__file__).parents[1] / "data" / "bmlp_layer.npz").items()
}
LAYER = (REFERENCE["w_l"], REFERENCE["w_r"], REFERENCE["w_p"])


def weights(seed, genes=9, hidden=3, outputs=2):
    g = torch.Generator().manual_seed(seed)
    shapes = ((hidden, genes), (hidden, genes), (outputs, hidden))
    return tuple(torch.randn(s, generator=g, dtype=torch.float64) for s in shapes)


def test_layer_and_interaction_match_reference():
    torch.testing.assert_close(
        core.bilinear(REFERENCE["inputs"], *LAYER), REFERENCE["outputs"], rtol=0, atol=1e-9
    )
    for o in range(3):
        found = core.interaction_matrix(*LAYER[:2], LAYER[2][o])
        torch.testing.assert_close(found, REFERENCE["interaction"][o], rtol=0, atol=1e-9)


def test_modes_match_reference():
    values, vectors = core.eigenmodes(*LAYER)
    torch.testing.assert_close(values, REFERENCE["eigenvalues"], rtol=0, atol=1e-9)
    # four positive and three negative values here: only vectors of well separated values are determined
    big = REFERENCE["eigenvalues"].abs() > 1e-6
    for o in range(3):
        torch.testing.assert_close(
            vectors[o][:, big[o]], REFERENCE["eigenvectors"][o][:, big[o]], rtol=0, atol=1e-9
        )


@given(st.integers(0, 10_000), st.integers(1, 6), st.integers(2, 14))
def test_quadratic_form_equals_layer(seed, hidden, genes):
    w_l, w_r, w_p = weights(seed, genes, hidden)
    x = torch.randn(5, genes, generator=torch.Generator().manual_seed(seed + 1), dtype=torch.float64)
    out = core.bilinear(x, w_l, w_r, w_p)
    for o in range(2):
        b = core.interaction_matrix(w_l, w_r, w_p[o])
        torch.testing.assert_close(b, b.T)
        torch.testing.assert_close(((x @ b) * x).sum(1), out[:, o])
    torch.testing.assert_close(core.bilinear(-x, w_l, w_r, w_p), out)
    torch.testing.assert_close(core.bilinear(2 * x, w_l, w_r, w_p), 4 * out)


@pytest.mark.parametrize(("genes", "hidden"), [(30, 4), (7, 4), (8, 4), (3, 10)])
def test_low_rank_modes_equal_dense(genes, hidden):
    w = weights(3, genes, hidden)
    values, vectors = core.eigenmodes(*w)
    dense, _ = core.eigenmodes_reference(*w)
    k = min(genes, 2 * hidden)
    rebuilt = vectors @ torch.diag_embed(values) @ vectors.mT
    for o in range(2):
        b = core.interaction_matrix(*w[:2], w[2][o])
        torch.testing.assert_close(rebuilt[o], b, rtol=0, atol=1e-10 * float(b.abs().max()) + 1e-12)
        nonzero = dense[o][dense[o].abs().argsort(descending=True)[:k]].sort(descending=True).values
        torch.testing.assert_close(values[o], nonzero, rtol=1e-8, atol=1e-10)
    torch.testing.assert_close(vectors.mT @ vectors, torch.eye(k, dtype=torch.float64).expand(2, k, k))


def test_generic_layer_has_as_many_positive_as_negative_values():
    values, _ = core.eigenmodes(*weights(1, genes=40, hidden=16))
    assert (values > 1e-9).sum(1).tolist() == [16, 16]
    assert (values < -1e-9).sum(1).tolist() == [16, 16]


def test_interaction_ignores_the_gauge():
    w_l, w_r, w_p = weights(2)
    scale = torch.tensor([2.0, -0.5, 3.0], dtype=torch.float64)
    other = (w_r * scale[:, None], w_l, w_p / scale)
    for o in range(2):
        torch.testing.assert_close(
            core.interaction_matrix(*other[:2], other[2][o]), core.interaction_matrix(w_l, w_r, w_p[o])
        )
    torch.testing.assert_close(
        core.interaction_cosine((w_l, w_r, w_p), other), torch.ones(2, dtype=torch.float64)
    )


def test_interaction_cosine_equals_dense():
    a, b = weights(4), weights(5, hidden=6)
    found = core.interaction_cosine(a, b)
    for o in range(2):
        x, y = (core.interaction_matrix(*w[:2], w[2][o]) for w in (a, b))
        torch.testing.assert_close(found[o], (x * y).sum() / x.norm() / y.norm())


def test_gene_shares_sum_to_the_output():
    w_l, w_r, w_p = weights(6)
    x = torch.randn(4, 9, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    shares = core.gene_shares(x, w_l, w_r, w_p[1])
    torch.testing.assert_close(shares.sum(1), core.bilinear(x, w_l, w_r, w_p)[:, 1])
    b = core.interaction_matrix(w_l, w_r, w_p[1])
    torch.testing.assert_close(shares, x * (x @ b))


def test_constant_feature_splits_into_affine_and_quadratic():
    model = core.BilinearMLP(9, 4, 2, constant=0.7, zero_head=False).double()
    x = torch.randn(6, 9, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    intercept, linear = model.affine()
    total = intercept + x @ linear.T + core.bilinear(x, *model.weights())
    torch.testing.assert_close(model(x).detach(), total)


def test_zero_head_starts_at_zero_and_generator_decides_the_rest():
    before = torch.random.get_rng_state()
    x = torch.ones(2, 5)
    assert core.BilinearMLP(5, 3, 2)(x).abs().max() == 0
    a, b, c = (
        core.BilinearMLP(5, 3, 2, zero_head=False, generator=torch.Generator().manual_seed(s))
        for s in (1, 1, 2)
    )
    assert torch.equal(a.left.weight, b.left.weight)
    assert not torch.equal(a.left.weight, c.left.weight)
    assert torch.equal(before, torch.random.get_rng_state())


def test_without_constant_the_layer_is_even():
    model = core.BilinearMLP(5, 3, 2, constant=0.0, zero_head=False)
    x = torch.randn(3, 5, generator=torch.Generator().manual_seed(1))
    torch.testing.assert_close(model(x), model(-x))
    assert model.affine()[1].abs().max() == 0


def test_unit_rows_keeps_zero_rows():
    x = torch.tensor([[3.0, 4.0], [0.0, 0.0]])
    torch.testing.assert_close(core.unit_rows(x), torch.tensor([[0.6, 0.8], [0.0, 0.0]]))


def test_fix_signs_takes_the_first_of_ties_and_accepts_zero():
    v = torch.tensor([[-0.5, 0.0], [0.5, 0.0], [0.1, 0.0]], dtype=torch.float64)
    assert fix_signs(v)[:, 0].tolist() == [0.5, -0.5, -0.1]
    assert fix_signs(v)[:, 1].tolist() == [0.0, 0.0, 0.0]
    assert fix_signs(v[:0]).shape == (0, 2)


def test_low_rank_eigh_with_dependent_columns():
    f = torch.randn(12, 3, generator=torch.Generator().manual_seed(2), dtype=torch.float64)
    f = torch.cat([f, f[:, :1]], dim=1)
    c = torch.diag(torch.tensor([1.0, -2.0, 3.0, 0.5], dtype=torch.float64))[None]
    values, vectors = low_rank_eigh(f, c)
    torch.testing.assert_close(vectors[0] @ torch.diag(values[0]) @ vectors[0].T, f @ c[0] @ f.T)


def test_principal_angles_see_shared_directions():
    e = torch.eye(5, dtype=torch.float64)
    torch.testing.assert_close(
        principal_angles(e[:, :2], e[:, 1:3]), torch.tensor([1.0, 0.0], dtype=torch.float64)
    )
