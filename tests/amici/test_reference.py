"""The plain forms against the fast ones: attention, single heads, the training objective, the whole computation."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from scmods.amici import reference
from scmods.amici._trainee import Trainee
from scmods.amici.explained import ExplainedVariance
from scmods.amici.model import AMICI
from scmods.amici.simulate import semisynthetic


@pytest.fixture(scope="module")
def model() -> AMICI:
    adata = semisynthetic(300, 30, seed=2)
    return AMICI(adata, n_neighbors=4, n_heads=3, head_size=4, cell_width=16).fit(max_epochs=3, patience=None)


@pytest.fixture(scope="module")
def inputs(model) -> tuple[torch.Tensor, ...]:
    cells = model._cells
    x = torch.from_numpy(cells.read(np.arange(len(cells)), np.float32))
    near, far = torch.from_numpy(cells.neighbors), torch.from_numpy(cells.distances).float()
    return x, torch.from_numpy(cells.codes), near, far


@torch.no_grad()
def test_one_forward_for_all_heads_equals_switching_heads_off(model, inputs):
    out = model.heads()
    for keep in ([0], [1], [2], [0, 2], [], None):
        plain = reference.predict_pairs(model.network, *inputs, keep=keep)
        np.testing.assert_allclose(out.predict(keep), plain, atol=1e-5)
    found = reference.attend_pairs(model.network, *inputs)
    np.testing.assert_allclose(out.attention, found.attention, atol=1e-5)


def test_whole_computation_equals_one_forward_per_head_and_type(model, inputs):
    plain = reference.compute_reference(model.network, *inputs, 100, batch_size=50)
    fast = ExplainedVariance.compute(model, cells="all", run_permutation_test=False)
    gene = fast.explained_variance_df["expl_var_head_gene"].to_numpy().reshape(3, 4, 30)
    np.testing.assert_allclose(gene, plain["gene"], atol=1e-5)
    np.testing.assert_allclose(fast.summary()["expl_var_head"], plain["total"].ravel(), atol=1e-5)
    tail = ExplainedVariance.from_predictions(
        np.stack([model.predict(heads=[h]) for h in range(3)]), inputs[0].numpy(),
        [model.types[t] for t in model.labels], method="pearson3",
    ).summary()["p_value_head"].to_numpy().reshape(4, 3, order="F")  # fmt: skip
    order = [list(dict.fromkeys(model.labels.tolist())).index(t) for t in range(4)]
    expected = tail.reshape(12, order="F").reshape(3, 4)[:, order]
    np.testing.assert_allclose(plain["p"], expected, atol=0.2)
    assert plain["p_adj"].shape == (3, 4)
    none = reference.compute_reference(model.network, *inputs, 0)
    assert (none["p"] == 1).all()


def test_training_objective_and_gradients_equal_those_of_pairs_embedded_anew(model, inputs):
    x, types, near, far = inputs
    network = model.network
    trainee = Trainee(network, x, types, near, far, model.recipe)
    trainee.epoch = 50
    cells = torch.arange(40, 90)
    network.eval()
    parts = trainee.parts(cells)
    weights = model.recipe.entropy_at(50), model.recipe.value_weight
    fast = parts.reconstruction + weights[0] * parts.entropy + weights[1] * parts.value
    plain = reference.loss_pairs(
        network,
        x,
        cells,
        types[cells],
        near[cells],
        far[cells],
        entropy_weight=weights[0],
        value_weight=weights[1],
    )
    torch.testing.assert_close(fast, plain, rtol=1e-5, atol=1e-5)
    ours = torch.autograd.grad(fast, list(network.parameters()))
    theirs = torch.autograd.grad(plain, list(network.parameters()))
    for a, b in zip(ours, theirs, strict=True):
        torch.testing.assert_close(a, b, rtol=1e-3, atol=1e-5)


@torch.no_grad()
def test_hidden_neighbours_get_no_attention(model, inputs):
    seen = torch.rand(inputs[2].shape, generator=torch.Generator().manual_seed(0)) > 0.5
    found = reference.attend_pairs(model.network, *inputs, seen=seen)
    assert (found.attention[..., :-1].permute(0, 2, 1)[~seen] == 0).all()
    torch.testing.assert_close(found.attention.sum(-1), torch.ones(300, 3))
