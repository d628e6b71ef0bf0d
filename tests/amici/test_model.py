"""`AMICI` from set-up to file: what it sees and does not see, restarts, other cells."""

from __future__ import annotations

import warnings

import numpy as np
import pytest
import torch
from anndata import AnnData
from scipy import sparse

from scmods._checks import NumericalWarning
from scmods.amici import _fit
from scmods.amici._trainee import Trainee
from scmods.amici.model import AMICI, strip
from scmods.amici.network import AttentionNetwork
from scmods.amici.recipe import PRESETS, make_recipe


@pytest.fixture(scope="module")
def fitted(make) -> AMICI:
    return make(held_out=np.arange(10)).fit(max_epochs=2, restarts=2)


# --- what is learned, and from what


def planted(n: int = 300) -> AnnData:
    """Cells of type A carry gene 0 where a cell of type B is within 8."""
    rng = np.random.default_rng(0)
    adata = AnnData(rng.normal(0, 0.1, (n, 6)).astype(np.float32))
    kind = rng.integers(3, size=n)
    adata.obs["cell_type"] = np.array(["A", "B", "C"])[kind]
    adata.obsm["spatial"] = rng.uniform(0, 200, (n, 2))
    gap = np.linalg.norm(adata.obsm["spatial"][:, None] - adata.obsm["spatial"][None], axis=-1)
    adata.obs["hit"] = (kind == 0) & ((gap < 8) & (kind == 1)).any(axis=1)
    adata.X[np.arange(n), 3 + kind] += 2
    adata.X[adata.obs["hit"], 0] += 4
    return adata


def test_a_planted_interaction_is_found(make):
    adata = planted()
    model = make(adata, n_neighbors=6, seed=1, batch_size=64, eps=1e-4, lr=1e-2, entropy_weight=0.0)
    model.fit(max_epochs=30)
    out = model.heads()
    a = out.types == 0
    effect = out.predict()[:, 0]
    hit = adata.obs["hit"].to_numpy()
    assert effect[a & hit].mean() - effect[a & ~hit].mean() > 2
    scores, near = out.pair_scores(), (out.distances < 8) & (out.neighbor_types == 1)
    assert scores[a][near[a]].mean() > 3 * scores[a][~near[a]].mean()


def test_held_out_cells_change_nothing_that_is_learned(tissue, make):
    """Neither as receivers nor as neighbours, nor in the means of the types."""
    adata, mask = tissue(), np.arange(90) % 7 == 0
    other = adata.copy()
    other.X[mask] = 7.5
    a, b = (make(x, held_out=mask).fit(max_epochs=2) for x in (adata, other))
    for name, weight in a.network.state_dict().items():
        assert torch.equal(weight, b.network.state_dict()[name]), name
    assert np.abs(a.predict() - b.predict()).max() > 0
    third = adata.copy()
    third.X[~mask] += 0.1
    assert not torch.equal(a.network.head_out, make(third, held_out=mask).fit(max_epochs=2).network.head_out)


def test_a_cells_own_expression_is_never_an_input(fitted, tissue):
    adata = tissue()
    adata.X[20] = 9.0
    before, after = fitted.predict(), fitted.predict(adata)
    assert np.array_equal(before[20], after[20])
    changed = np.abs(before - after).max(axis=1) > 0
    np.testing.assert_array_equal(changed, (fitted.neighbors == 20).any(axis=1))


def test_type_means_are_those_of_the_training_cells(tissue, make, types):
    adata, mask = tissue(), np.arange(90) % 5 == 0
    means = make(adata, held_out=mask).fit(max_epochs=1).heads().readout.type_means
    for t, name in enumerate(sorted(types)):
        rows = ~mask & (adata.obs["cell_type"] == name).to_numpy()
        np.testing.assert_allclose(means[t], adata.X[rows].mean(axis=0), rtol=1e-5)


def test_the_same_seed_gives_the_same_model_and_another_another(make):
    a, b, c = (make(seed=s).fit(max_epochs=2) for s in (3, 3, 4))
    np.testing.assert_array_equal(a.predict(), b.predict())
    assert np.abs(a.predict() - c.predict()).max() > 1e-6
    first = a.fit(max_epochs=2).predict()  # again, anew
    np.testing.assert_array_equal(first, b.predict())


def test_restarts_are_ranked_by_reconstruction_of_the_same_cells(fitted):
    losses = [run.reconstruction for run in fitted.runs]
    assert losses == sorted(losses)
    assert losses[0] != losses[1]
    assert fitted.network is fitted.runs[0].network
    assert fitted.history.val_losses[fitted.history.best_epoch] == losses[0]
    data = _fit.training_cells(fitted._cells, fitted.held_out, 3)
    _, rows = _fit.split(80, 0.1, fitted.seed)
    for run in fitted.runs:
        trainee = Trainee(run.network, data.x, data.types, data.neighbors, data.distances, fitted.recipe)
        again = trainee.eval().reconstruction((rows,)).item()
        assert again == pytest.approx(run.reconstruction, rel=1e-5)


def test_pair_scores_are_the_mean_over_restarts(fitted):
    each = [fitted.heads(restart=i).pair_scores() for i in range(2)]
    np.testing.assert_allclose(fitted.pair_scores(), (each[0] + each[1]) / 2)
    with pytest.raises(ValueError, match="`restart` is 2, but must be at least 0 and at most 1"):
        fitted.heads(restart=2)


def test_evaluation_is_the_same_at_every_call_even_in_training_mode(fitted):
    first = fitted.predict()
    fitted.network.train()
    np.testing.assert_array_equal(first, fitted.predict())
    fitted.network.eval()


def test_the_weight_of_the_entropy_is_ramped_up():
    recipe = make_recipe("small", {"entropy_weight": 0.5, "entropy_start": 10, "entropy_stop": 30})
    assert [recipe.entropy_at(e) for e in (0, 9)] == [0, 0]
    assert recipe.entropy_at(10) == pytest.approx(1e-6)
    assert recipe.entropy_at(20) == pytest.approx(0.25, rel=1e-4)
    assert recipe.entropy_at(30) == recipe.entropy_at(500) == 0.5


def test_loss_has_its_penalties_and_eps_acts_as_in_adam(make):
    """A factor on the gradients is Adam with another eps: one step equals torch's with eps itself."""
    data = _fit.training_cells(make()._cells, np.zeros(90, dtype=bool), 3)
    recipe = make_recipe("small", {"eps": 0.01, "entropy_weight": 0.3, "value_weight": 0.2, "drop": 0.0})
    rows = torch.arange(90)
    steps = []
    for eps in (1e-8, 0.01):
        network = AttentionNetwork(data.type_means, n_heads=2, head_size=3, drop=0.0)
        trainee = Trainee(network, data.x, data.types, data.neighbors, data.distances, recipe)
        trainee.epoch = 40
        parts = trainee.parts(rows)
        plain = parts.reconstruction + 0.3 * parts.entropy + 0.2 * parts.value
        loss = trainee.loss((rows,)) if eps == 1e-8 else plain
        torch.testing.assert_close(loss, plain)
        decay = 0.1 * (trainee.shrink if eps == 1e-8 else 1.0)
        optimizer = torch.optim.Adam(network.parameters(), lr=0.05, eps=eps, weight_decay=decay)
        loss.backward()
        optimizer.step()
        steps.append({k: v.clone() for k, v in network.state_dict().items()})
    for name, weight in steps[0].items():
        torch.testing.assert_close(weight, steps[1][name], rtol=1e-4, atol=1e-6)


# --- other cells, forms and files


def test_sparse_reordered_and_richer_cells_give_the_same(fitted, tissue, make):
    adata = tissue()
    sparse_one = adata.copy()
    sparse_one.X = sparse.csr_matrix(adata.X)
    other = adata[:, ::-1].copy()
    for one in (sparse_one, other):
        np.testing.assert_allclose(fitted.predict(one), fitted.predict(), atol=1e-12)
    a, b = (make(x).fit(max_epochs=1) for x in (adata, sparse_one))
    np.testing.assert_array_equal(a.predict(), b.predict())


def test_a_layer_is_modelled_when_named(tissue, make):
    adata = tissue()
    adata.layers["log"], adata.X = adata.X.copy(), adata.X * 3
    np.testing.assert_array_equal(
        make(adata, layer="log").fit(max_epochs=1).predict(), make(tissue()).fit(max_epochs=1).predict()
    )


def test_a_file_gives_the_model_back(fitted, tmp_path, tissue):
    path = fitted.save(tmp_path / "model.safetensors")
    again, adata = AMICI.load(path), tissue()
    np.testing.assert_array_equal(again.predict(adata), fitted.predict())
    assert (again.genes, again.types, again.unit, again.recipe) == (
        fitted.genes, fitted.types, fitted.unit, fitted.recipe,
    )  # fmt: skip
    assert [r.history.val_losses for r in again.runs] == [r.history.val_losses for r in fitted.runs]
    with pytest.raises(ValueError, match=r"loaded without cells.*AMICI.load\(path, adata\)"):
        again.heads()
    bound = AMICI.load(path, adata)
    np.testing.assert_array_equal(bound.held_out, fitted.held_out)
    np.testing.assert_array_equal(bound.pair_scores(), fitted.pair_scores())
    assert AMICI.load(path, tissue(50)).held_out.all()


def test_only_files_of_a_model_are_read(tmp_path):
    from scmods.io import save_state

    save_state(tmp_path / "x.safetensors", {"a": np.zeros(2)}, {"kind": "field"})
    with pytest.raises(ValueError, match=r"holds 'field', not a model"):
        AMICI.load(tmp_path / "x.safetensors")


def test_a_type_not_seen_is_named_and_can_be_left_out(fitted, tissue):
    adata = tissue()
    adata.obs["cell_type"] = np.where(np.arange(90) < 4, "NK", adata.obs["cell_type"])
    with pytest.raises(
        ValueError, match=r"4 cells are of types that the model has not seen: \['NK'\].*exclude"
    ):
        fitted.heads(adata)
    out = fitted.heads(adata, unseen="exclude")
    np.testing.assert_array_equal(out.cells, np.arange(4, 90))
    assert (np.isin(out.neighbors, np.arange(4))).any()
    assert (out.neighbor_types[out.neighbors < 4] == -1).all()


def test_sections_keep_their_cells_to_themselves(tissue, make):
    adata = tissue()
    adata.obs["slice"] = np.where(np.arange(90) % 2, "odd", "even")
    near = make(adata, library_key="slice").neighbors
    assert (near % 2 == np.arange(90)[:, None] % 2).all()


def test_pixels_set_the_unit(tissue, make):
    adata = tissue()
    micrometres = make(adata).fit(max_epochs=1)
    adata.obsm["spatial"] = adata.obsm["spatial"] * 16
    with pytest.warns(NumericalWarning, match="may be pixels. Set unit="):
        pixels = make(adata)
    assert 5 < np.median(pixels.distances[:, 0]) / pixels.unit < 50
    assert make(adata, unit=16).unit == 16
    same = make(adata, unit=16).fit(max_epochs=1)
    np.testing.assert_allclose(same.predict(), micrometres.predict(), atol=1e-4)


def test_touching_cells_do_not_upset_the_unit(tissue, make):
    adata = tissue()
    adata.obs["radius"] = 50.0
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        model = make(adata, radius_key="radius")
    assert model.unit == 1
    assert (model.distances == 0).mean() > 0.5


def test_presets_have_the_published_sizes(tissue):
    adata = tissue()
    network = AMICI(adata, n_neighbors=5, preset="original", batch_size=128).fit(max_epochs=1).network
    assert (network.n_heads, network.head_size) == (8, 16)
    assert network.kv_block.last.weight.shape == (8 * 256, 256)
    assert network.query_block.last.weight.shape == (8 * 64, 32)
    assert PRESETS["original"].eps == 0.01
    assert "10 genes, 3 types, 4 heads, not fitted" in repr(AMICI(adata, n_neighbors=5))


def test_mixed_labels_and_three_dimensions_are_taken(tissue, make, types):
    adata = tissue()
    adata.obs["kind"] = adata.obs["cell_type"].map({"CD4/CD8": 18, "L2/3 IT": "L2/3 IT", types[2]: 2.5})
    adata.obsm["spatial"] = np.random.default_rng(0).uniform(0, 60, (90, 3))
    model = make(adata, cluster_key="kind").fit(max_epochs=1)
    assert model.types == ["18", "2.5", "L2/3 IT"]
    assert np.isfinite(model.predict()).all()


def test_the_recipe_says_how_long_unless_fit_is_told(monkeypatch, make):
    asked = {}
    monkeypatch.setattr("scmods.amici.model.train_networks", lambda *_, **given: asked.update(given) or [])
    make(max_epochs=7).fit()
    assert (asked["max_epochs"], asked["patience"]) == (7, PRESETS["small"].patience)
    make(preset="original").fit(patience=3)
    assert (asked["max_epochs"], asked["patience"]) == (400, 3)


# --- the strip


def test_a_strip_is_a_share_of_the_width(tissue):
    adata = tissue(400)
    x = adata.obsm["spatial"][:, 0]
    mask = strip(adata, low=0.2, high=0.5)
    share = (x - x.min()) / np.ptp(x)
    np.testing.assert_array_equal(mask, (share >= 0.2) & (share <= 0.5))
    with pytest.raises(ValueError, match="low must be below high"):
        strip(adata, low=0.6)
    with pytest.raises(ValueError, match=r"holds 400 of 400 cells"):
        strip(adata, low=0, high=1)
