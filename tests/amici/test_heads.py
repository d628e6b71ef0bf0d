"""What is read off one forward pass: against networks run again with heads or neighbours switched off."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch
from anndata import AnnData

from scmods.amici._forward import double
from scmods.amici.heads import HeadOutputs
from scmods.amici.model import AMICI

TYPES = np.array(["L2/3 IT", "CD4/CD8", "T cell (naïve)"])


def small(n: int = 80, seed: int = 0, **options) -> AMICI:
    rng = np.random.default_rng(seed)
    adata = AnnData(rng.random((n, 12), dtype=np.float32))
    adata.obs["cell_type"] = TYPES[rng.integers(3, size=n)]
    adata.obsm["spatial"] = rng.uniform(0, 90, (n, 2))
    sizes = {"label_size": 5, "query_size": 6, "cell_size": 7, "cell_width": 9, "kv_size": 8, "head_size": 3}
    return AMICI(adata, n_neighbors=6, **{"n_heads": 3, **sizes, **options}).fit(max_epochs=3)


@pytest.fixture(scope="module")
def model() -> AMICI:
    return small()


@pytest.fixture(scope="module")
def out(model) -> HeadOutputs:
    return model.heads()


@pytest.fixture(scope="module")
def alone(model) -> tuple:
    """The network in double precision, and every cell in a pass of its own with all its neighbours embedded anew."""
    net, cells = double(model.network), []
    for i in range(len(model.labels)):
        x = torch.from_numpy(model.heads(cells=[i]).read(model.neighbors[i]))
        tables, kind = net.tables(x), torch.tensor([model.labels[i]])
        near = torch.arange(len(x))[None]
        cells.append(
            (kind, net.attend(kind, near, torch.from_numpy(model.distances[[i]]), tables), tables.value)
        )
    return net, cells


def by_hook(alone: tuple, keep: list[int]) -> np.ndarray:
    """Prediction cell by cell, attention multiplied by 0 after the softmax."""
    net, cells = alone
    rows = []
    for kind, heads, value in cells:
        attention = heads.attention[0, :, :-1].clone()
        attention[[h for h in range(net.n_heads) if h not in keep]] = 0
        z = torch.einsum("hk,khs->hs", attention, value)
        u = heads.query + torch.einsum("hs,ehs->e", z, net.head_out)
        rows.append(net.decode(kind, u)[0].detach().numpy())
    return np.stack(rows)


@pytest.mark.parametrize("keep", [[0, 1, 2], [1], [0, 2], []])
def test_predictions_with_some_heads_equal_a_hook(model, out, alone, keep):
    np.testing.assert_allclose(out.predict(keep), by_hook(alone, keep), atol=1e-10)
    np.testing.assert_array_equal(out.predict(keep), model.predict(heads=keep))


def test_all_heads_is_the_default_and_none_is_not_the_type_mean(out):
    np.testing.assert_array_equal(out.predict(), out.predict([0, 1, 2]))
    assert np.abs(out.predict([]) - out.readout.type_means[out.types]).max() > 1e-3


def test_attention_and_z_belong_to_the_tables(out):
    assert out.attention.shape == (80, 3, 7)
    np.testing.assert_allclose(out.attention.sum(-1), 1, rtol=1e-12)
    z = np.einsum("nhk,nkhs->nhs", out.attention[..., :-1], out.tables.value[out.rows])
    np.testing.assert_allclose(out.z, z, atol=1e-12)
    np.testing.assert_array_equal(out.tables.cells[out.rows], out.neighbors)
    logit = out.tables.score[out.rows, out.types[:, None]] - (
        out.tables.coefficient[out.rows, out.types[:, None]] * out.distances[..., None] / out.unit
    )
    ratio = np.log(out.attention[..., :-1] / out.attention[..., -1:]).transpose(0, 2, 1)
    np.testing.assert_allclose(ratio, logit - out.empty_logit, atol=1e-8)
    assert (out.neighbor_types != out.types[:, None]).all()
    assert (out.tables.coefficient >= 0).all()


def test_observed_are_the_cells_asked_for(model, out):
    part = model.heads(cells=[7, 3])
    np.testing.assert_array_equal(part.observed, out.observed[[7, 3]])
    assert part.observed.dtype == np.float64


def test_blocks_and_subsets_change_nothing(model, out):
    for other in (model.heads(batch_size=7), model.heads(cells=np.arange(80)), out.subset(np.arange(80))):
        for name in ("attention", "z", "query", "rows", "neighbors"):
            np.testing.assert_allclose(getattr(other, name), getattr(out, name), atol=1e-12)
    part = model.heads(cells=out.types == 1)
    np.testing.assert_allclose(part.predict(), out.subset(out.types == 1).predict(), atol=1e-12)


def test_contributions_with_the_norm_frozen_add_up(out):
    """Contributions of heads are linear in z, and with the query they give the full prediction."""
    readout, sigma = out.readout, out.sigma()
    parts = np.einsum("ghs,nhs->nhg", readout.linear(), out.z) / sigma[:, None, None]
    centred = out.query - out.query.mean(1, keepdims=True)
    base = (centred / sigma[:, None] * readout.norm_weight + readout.norm_bias) @ readout.gene_out.T
    total = readout.type_means[out.types] + base + parts.sum(1)
    np.testing.assert_allclose(total, out.predict(), atol=1e-10)


def test_contribution_scores_are_norms_over_genes(out):
    moved = out.attention[:, :, :-1].transpose(0, 2, 1)[..., None] * out.tables.value[out.rows]
    genes = np.einsum("ghs,nkhs->nkg", out.readout.linear(), moved) / out.sigma()[:, None, None]
    np.testing.assert_allclose(out.pair_scores("contribution"), np.linalg.norm(genes, axis=-1), atol=1e-10)


def test_attention_scores_are_the_largest_over_heads(out):
    np.testing.assert_array_equal(out.pair_scores("attention"), out.attention[:, :, :-1].max(1))


def test_alone_is_one_neighbour_here_against_the_same_one_out_of_reach(model, out):
    scores, near = out.pair_scores("alone"), out.distances
    net = double(model.network)
    tables = net.tables(torch.from_numpy(out.read(np.arange(80))))
    kinds, far = torch.from_numpy(out.types), np.maximum(2 * near.max(axis=1, keepdims=True), 50.0)
    for j in (0, 4):
        only, predicted = torch.from_numpy(np.where(np.arange(6) == j, out.neighbors, -1)), []
        for distance in (near, np.broadcast_to(far, near.shape)):
            heads = net.attend(kinds, only, torch.tensor(distance), tables)
            predicted.append(net.decode(kinds, heads.query + net.outputs(heads.z).sum(1)).detach().numpy())
        change = np.linalg.norm(predicted[0] - predicted[1], axis=1)
        np.testing.assert_allclose(scores[:, j], change, atol=1e-10)


def test_what_does_not_depend_on_distance_does_not_count_alone(out):
    still = replace(out, tables=replace(out.tables, coefficient=np.zeros_like(out.tables.coefficient)))
    assert np.abs(still.pair_scores("alone")).max() == 0
    assert still.pair_scores("contribution").min() > 0


def test_places_without_a_neighbour_score_nothing(model):
    rng = np.random.default_rng(5)
    adata = AnnData(rng.random((40, 12), dtype=np.float32))
    adata.obs["cell_type"], adata.obsm["spatial"] = TYPES[np.arange(40) % 3], rng.uniform(0, 60, (40, 2))
    adata.obs["slice"] = np.where(np.arange(40) < 6, "a", "b")
    sizes = {"n_heads": 2, "head_size": 3, "cell_width": 9}
    with pytest.warns(UserWarning, match="6 cells have fewer than 10"):
        other = AMICI(adata, n_neighbors=10, library_key="slice", **sizes).fit(max_epochs=1, validation=0.3)
    got = other.heads()
    gone = got.neighbors < 0
    assert gone.any()
    assert (got.attention[:, :, :-1].transpose(0, 2, 1)[gone] == 0).all()
    assert (got.neighbor_types[gone] == -1).all()
    for by in ("alone", "contribution", "attention"):
        scores = got.pair_scores(by)
        assert (scores[gone] == 0).all()
        assert (scores[~gone] > 0).all()


# --- bad input


@pytest.mark.parametrize("heads", [[3], [-1], [0, 5]])
def test_heads_out_of_range_are_refused(out, heads):
    with pytest.raises(ValueError, match=r"`heads` is .* at least 0 and at most 2. The model has 3 heads"):
        out.predict(heads)


def test_one_number_is_not_a_list_of_heads(out):
    with pytest.raises(TypeError, match=r"must be a list of heads. Write heads=\[1\]"):
        out.predict(1)


def test_unknown_scores_are_refused(out):
    with pytest.raises(
        ValueError, match="`by` is 'magic', but must be one of .*alone.*contribution.*attention"
    ):
        out.pair_scores("magic")
