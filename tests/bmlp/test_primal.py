"""The primal form of the quadratic model is the dual form, number by number."""

import pytest
import torch

from scmods.bmlp import closed_form as cf
from scmods.bmlp import primal


def data(n, genes=12, comps=None, seed=0):
    """Scores, orthonormal loadings, targets with linear and product terms; x = scores @ loadings.T."""
    g = torch.Generator().manual_seed(seed)
    comps = comps or genes
    loadings, _ = torch.linalg.qr(torch.randn(genes, comps, generator=g, dtype=torch.float64))
    scores = 2 * torch.randn(n, comps, generator=g, dtype=torch.float64)
    x = scores @ loadings.T
    y = torch.stack([x[:, 0] * x[:, 1] + x[:, 2], 0.1 * x[:, 3], x[:, 4] ** 2], dim=1)
    return scores, loadings, x, y + 0.5 * torch.randn(n, 3, generator=g, dtype=torch.float64)


def close(a, b):
    torch.testing.assert_close(a, b, rtol=1e-10, atol=1e-10 * float(b.abs().max()))


@pytest.mark.parametrize("refit", [True, False])
@pytest.mark.parametrize(("n", "genes", "comps"), [(30, 12, 12), (150, 12, 12), (140, 9, 5)])
def test_primal_equals_dual(n, genes, comps, refit):
    # 12 components make p = 91 features: fewer and more cells than that; then fewer components than genes
    scores, loadings, x, y = data(n, genes, comps)
    dual = cf.fit_quadratic(x, y, refit=refit)
    found = primal.fit_quadratic_pcs(scores, y, loadings, n_genes=genes, refit=refit, block=37)
    assert torch.equal(found.offset, dual.offset)
    assert torch.equal(found.ridge, dual.ridge)
    for name in ("intercept", "linear", "loo", "scalars"):
        close(getattr(found, name), getattr(dual, name))
    for direction in torch.eye(3, dtype=x.dtype):
        close(found.interaction_matrix(direction), dual.interaction_matrix(direction))
    close(found.core, found.core.mT)
    close(found.predict(x), dual.predict(x))
    close(found.gene_shares(x, 2), dual.gene_shares(x, 2))
    close(found.gene_shares(x, 2).sum(1), found.parts(x)[1][:, 2])
    values = dual.eigenmodes(3)[0]
    close(found.eigenmodes(3)[0], values)


def test_outputs_choose_their_own_ridge_and_share_the_offset():
    scores, loadings, x, y = data(150)
    found = primal.fit_quadratic_pcs(scores, y, loadings, n_genes=12)
    dual = cf.fit_quadratic(x, y)
    assert len(found.ridge.unique()) > 1  # else the case would not cover the choice per output
    assert len(found.offset.unique()) == 1
    torch.testing.assert_close(found.ridge, dual.ridge)
    torch.testing.assert_close(found.offset, dual.offset)


@pytest.mark.parametrize("offset", [0.1, 1.0, 3.0])
def test_features_give_the_kernel(offset):
    scores, *_ = data(10, 7)
    phi = primal.quadratic_features(scores, 7, offset)
    close(phi @ phi.T, (offset + scores @ scores.T / 7) ** 2)
    close(phi, primal.quadratic_features(scores, 7) * primal.offset_scale(offset, 7))


def test_leave_one_out_equals_separate_fits():
    scores, loadings, x, y = data(40, 5)
    one = {"n_genes": 5, "offsets": (0.5,), "ridges": (0.2,), "refit": False}
    found = primal.fit_quadratic_pcs(scores, y, loadings, **one)
    mean = y.mean(0)
    for i in (0, 17, 39):
        keep = torch.arange(40) != i
        phi = primal.quadratic_features(scores, 5, 0.5)
        normal = phi[keep].T @ phi[keep] + 0.2 * torch.eye(phi.shape[1], dtype=x.dtype)
        # the mean stays that of all cells, as in the dual form
        weights = torch.linalg.solve(normal, phi[keep].T @ (y - mean)[keep])
        close(found.loo[i], mean + phi[i] @ weights)


def test_result_does_not_depend_on_the_block():
    scores, loadings, _, y = data(60, 6)
    whole = primal.fit_quadratic_pcs(scores, y, loadings, n_genes=6)
    blocks = primal.fit_quadratic_pcs(scores, y, loadings, n_genes=6, block=7)
    close(blocks.loo, whole.loo)
    close(blocks.core, whole.core)


def test_single_precision_in_and_out_with_double_sums():
    scores, loadings, x, y = data(150, 6)
    exact = primal.fit_quadratic_pcs(scores, y, loadings, n_genes=6)
    found = primal.fit_quadratic_pcs(scores.float(), y.float(), loadings.float(), n_genes=6)
    assert {t.dtype for t in vars(found).values()} == {torch.float32}
    torch.testing.assert_close(found.predict(x.float()), exact.predict(x).float(), rtol=1e-4, atol=1e-4)
    assert torch.equal(found.ridge, exact.ridge.float())


def test_features_are_made_in_blocks_only(monkeypatch):
    seen = []
    make = primal.quadratic_features

    def counted(scores, *args):
        seen.append(len(scores))
        return make(scores, *args)

    monkeypatch.setattr(primal, "quadratic_features", counted)
    scores, loadings, _, y = data(100, 5)
    primal.fit_quadratic_pcs(scores, y, loadings, n_genes=5, block=32)
    assert max(seen) == 32
