"""The quadratic model without training: reference values, n separate fits, dual against explicit form."""

from pathlib import Path

import numpy as np
import pytest
import torch

from scmods.bmlp import closed_form as cf

REFERENCE = {
    k: torch.tensor(v) for k, v in np.load(Path(__file__).parents[1] / "data" / "bmlp_layer.npz").items()
}


def data(n=25, genes=6, outputs=2, seed=0):
    g = torch.Generator().manual_seed(seed)
    x = torch.randn(n, genes, generator=g, dtype=torch.float64)
    y = torch.stack([x[:, 0] * x[:, 1] + x[:, 2], x[:, 3] ** 2 - 0.5 * x[:, 4]][:outputs], dim=1)
    return x, y + 0.3 * torch.randn(n, outputs, generator=g, dtype=torch.float64)


def plain(x, y, c, ridge):
    """Kernel ridge with the textbook formula."""
    k = (c + x @ x.T / x.shape[1]) ** 2
    return torch.linalg.solve(k + ridge * torch.eye(len(x), dtype=x.dtype), y)


def test_matches_reference():
    x, y = REFERENCE["cells"], REFERENCE["frequencies"]
    model = cf.fit_quadratic(
        x, y, offsets=(float(REFERENCE["kernel_c"]),), ridges=(float(REFERENCE["kernel_ridge"]),), refit=False
    )
    near = {"rtol": 0, "atol": 1e-9}
    torch.testing.assert_close(model.intercept, REFERENCE["kernel_intercept"], **near)
    torch.testing.assert_close(model.linear, REFERENCE["kernel_linear"], **near)
    for o in range(5):
        found = model.interaction_matrix(torch.eye(5, dtype=torch.float64)[o])
        torch.testing.assert_close(found, REFERENCE["kernel_interaction"][o], **near)
    torch.testing.assert_close(
        model.predict(REFERENCE["new_cells"]), REFERENCE["new_cell_prediction"], **near
    )


@pytest.mark.parametrize("n", [4, 25])  # fewer and more cells than genes
def test_modes_rebuild_the_interaction_matrix(n):
    x, y = data(n)
    model = cf.fit_quadratic(x, y, offsets=(1.0,), ridges=(0.1,))
    values, vectors = model.eigenmodes()
    for o in range(2):
        b = model.interaction_matrix(torch.eye(2, dtype=torch.float64)[o])
        torch.testing.assert_close(vectors[o] @ torch.diag(values[o]) @ vectors[o].T, b)
    assert (values.abs().diff(dim=1) <= 1e-12).all()
    assert model.eigenmodes(2)[1].shape == (2, 6, 2)


def test_leave_one_out_parts_equal_separate_fits():
    x, y = data()
    c, ridge = 0.5, 0.2
    model = cf.fit_quadratic(x, y, offsets=(c,), ridges=(ridge,), refit=False)
    mean, inner = y.mean(0), x @ x.T / 6
    values, vectors = torch.linalg.eigh((c + inner) ** 2)
    dual = plain(x, y - mean, c, ridge)
    strength = torch.tensor([ridge, ridge], dtype=torch.float64)
    parts = cf.loo_parts(values, vectors, inner, c, strength, dual)
    for i in range(len(x)):
        keep = torch.arange(len(x)) != i
        a = plain(x[keep], (y - mean)[keep], c, ridge)  # the mean stays that of all cells, as documented
        s = x[i] @ x[keep].T / 6
        expected = torch.stack([a.sum(0), 2 * c * s @ a, s**2 @ a])
        torch.testing.assert_close(parts[:, i], expected)
        torch.testing.assert_close(model.loo[i], mean + (c + s) ** 2 @ a)


def test_refit_is_least_squares_on_the_parts_and_helps_out_of_sample():
    x, y = data(60, seed=1)
    raw = cf.fit_quadratic(x, y, offsets=(1.0,), ridges=(1.0,), refit=False)
    model = cf.fit_quadratic(x, y, offsets=(1.0,), ridges=(1.0,))
    linear, quadratic = raw.parts(x)
    expected = model.intercept + model.scalars[:, 1] * linear + model.scalars[:, 2] * quadratic
    torch.testing.assert_close(model.predict(x), expected)
    assert (model.scalars[:, 2] > 1).all()  # ridge 1 shrinks the interactions; the refit undoes it
    new_x, new_y = data(400, seed=2)
    error = [((m.predict(new_x) - new_y) ** 2).mean() for m in (raw, model)]
    assert error[1] < 0.95 * error[0]


def test_choice_is_by_leave_one_out_error():
    x, y = data(40)
    cs, ridges = (0.1, 1.0), (1e-3, 1e-1, 10.0)
    model = cf.fit_quadratic(x, y, offsets=cs, ridges=ridges, refit=False)
    one = {
        (c, r): ((cf.fit_quadratic(x, y, offsets=(c,), ridges=(r,), refit=False).loo - y) ** 2).mean(0)
        for c in cs
        for r in ridges
    }
    best = {c: torch.stack([one[c, r] for r in ridges]).amin(0) for c in cs}
    means = {c: float((best[c] / y.var(0, correction=0)).mean()) for c in cs}
    c = min(means, key=means.get)
    assert model.offset.tolist() == [c, c]
    torch.testing.assert_close(((model.loo - y) ** 2).mean(0), best[c])


def test_offset_is_chosen_on_a_subset_above_the_limit(monkeypatch):
    x, y = data(60)
    small = cf.fit_quadratic(x[::3], y[::3], offsets=(0.1, 1.0, 10.0))
    monkeypatch.setattr(cf, "OFFSET_CELLS", 20)
    y = y - y.mean(0) + y[::3].mean(0)  # the subset is centred with all cells
    assert cf.fit_quadratic(x, y, offsets=(0.1, 1.0, 10.0)).offset[0] == small.offset[0]


def test_gene_shares_sum_to_the_interaction_part():
    x, y = data()
    model = cf.fit_quadratic(x, y)
    torch.testing.assert_close(model.gene_shares(x, 1).sum(1), model.parts(x)[1][:, 1])


def test_least_squares_residuals_equal_separate_fits():
    g = torch.Generator().manual_seed(0)
    f, y = (torch.randn(12, k, generator=g, dtype=torch.float64) for k in (3, 1))
    _, residual = cf.least_squares(f, y[:, 0])
    for i in range(12):
        keep = torch.arange(12) != i
        w = torch.linalg.lstsq(f[keep], y[keep]).solution[:, 0]
        torch.testing.assert_close(residual[i], y[i, 0] - f[i] @ w)


def test_low_rank_refit_keeps_the_span_and_predicts_new_cells():
    x, y = data(120)
    model = cf.fit_quadratic(x, y)
    new_x, new_y = data(80, seed=3)
    small, loo = cf.refit_low_rank(model, new_x, new_y, 2)
    assert torch.linalg.matrix_rank(small.interaction_matrix(torch.tensor([1.0, 0.0], dtype=x.dtype))) == 2
    test_x, test_y = data(300, seed=4)
    r2 = 1 - ((small.predict(test_x) - test_y) ** 2).mean(0) / test_y.var(0)
    assert (r2 > 0.7).all(), r2
    assert loo.shape == new_y.shape
    zero, _ = cf.refit_low_rank(model, new_x, new_y, 0)
    torch.testing.assert_close(zero.parts(test_x)[1], torch.zeros_like(test_y))
