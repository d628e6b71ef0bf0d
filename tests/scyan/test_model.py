"""`Scyan`: known truth, forms of the cells, batches, samples, files, seeds, and the original's recipe."""

from __future__ import annotations

import pickle
import random
import sys
import warnings
from pathlib import Path

import anndata
import numpy as np
import pandas as pd
import pytest
import torch
from anndata import AnnData
from scipy import sparse

from scmods import _checks, io
from scmods.scyan import fitting, labelling
from scmods.scyan import model as model_module
from scmods.scyan.baselines import nearest_row
from scmods.scyan.evaluation import annotation_scores
from scmods.scyan.mixing import marker_shift
from scmods.scyan.model import Scyan
from scmods.scyan.simulate import UNLISTED, cytometry
from scmods.scyan.transform import asinh_transform, scale
from scmods.training import batches

NAMES = ["CD4/CD8", "18", "T cell (naïve)", "B", "NK", "pDC"]
COARSE = ["T", "other", "T", "other", "other", "other"]


def rename(adata: AnnData) -> AnnData:
    """Labels as people write them, and a coarser level."""
    table = adata.uns["table"]
    old = dict(zip(table.index, NAMES, strict=True))
    adata.obs["cell_type"] = pd.Categorical([old.get(c, c) for c in adata.obs["cell_type"]])
    table.index = pd.MultiIndex.from_arrays([NAMES, COARSE], names=["population", "lineage"])
    return adata


@pytest.fixture(scope="module")
def known() -> AnnData:
    """1,500 cells in two batches with gains, 6 populations x 10 markers, 3 % of cells of no row; read-only."""
    adata = cytometry(1500, 6, 10, n_batches=2, rare=0.0, unlisted=0.03, separation=1.6, seed=3)
    rng = np.random.default_rng(0)
    adata.obs["site"] = pd.Categorical(np.array(["x", "y"])[rng.integers(2, size=adata.n_obs)])
    adata.obs["age"] = 60 + 10 * rng.normal(size=adata.n_obs)
    return rename(adata)


@pytest.fixture(scope="module")
def fitted(known: AnnData) -> Scyan:
    """Trained on them, with batches and two more covariates."""
    return make(known.copy()).fit()


def make(adata: AnnData, **settings: object) -> Scyan:
    usual = {
        "batch_key": "batch", "categorical_covariates": ["site"], "continuous_covariates": ["age"], "lint": False
    }  # fmt: skip
    return Scyan(adata, **{**usual, **settings})


def quick(adata: AnnData, **settings: object) -> Scyan:
    return make(adata, **settings).fit(max_epochs=1)


# --- known truth


def test_labels_beat_the_nearest_row(known: AnnData, fitted: Scyan) -> None:
    listed = (known.obs["cell_type"] != UNLISTED).to_numpy()
    truth = known.obs["cell_type"].astype(str)[listed]
    found = fitted.predict(key_added=None, threshold=1.0)[listed]
    ours = annotation_scores(truth, found)
    plain = annotation_scores(truth, nearest_row(known).labels[listed])
    assert ours["macro_f1"] > 0.85
    assert ours["macro_f1"] > plain["macro_f1"] + 0.1
    assert ours["accuracy"] > plain["accuracy"] + 0.1


def test_cells_of_no_row_are_left_out(known: AnnData, fitted: Scyan) -> None:
    outside = (known.obs["cell_type"] == UNLISTED).to_numpy()
    found = fitted.predict(key_added=None)
    assert found[outside].isna().mean() > 0.7
    assert found[~outside].isna().mean() < 0.06
    odds = fitted.log_odds_unlisted()
    above = (odds[outside][:, None] > odds[~outside]).mean()  # area under the curve
    assert above > 0.95
    assert 0.01 < fitted.contamination.cells < 0.1


def test_the_probability_of_no_row_is_calibrated_in_the_large(known: AnnData, fitted: Scyan) -> None:
    share = fitted.predict_proba()["unclassified"].mean()
    assert share == pytest.approx((known.obs["cell_type"] == UNLISTED).mean(), abs=0.03)


def test_probabilities_are_the_joint_density(fitted: Scyan) -> None:
    found = fitted.predict_proba()
    assert list(found.columns) == [*NAMES, "unclassified"]
    assert (found.to_numpy() >= 0).all()
    np.testing.assert_allclose(found.sum(axis=1), 1.0, atol=1e-12)
    joint = fitted.joint_log_prob()
    softmax = np.exp(joint - np.logaddexp.reduce(joint, axis=1, keepdims=True))
    np.testing.assert_allclose(found[NAMES].div(1 - found["unclassified"], axis=0), softmax, atol=1e-9)
    odds = np.log(found["unclassified"]) - np.log1p(-found["unclassified"])
    sure = np.abs(fitted.log_odds_unlisted()) < 20
    np.testing.assert_allclose(odds[sure], fitted.log_odds_unlisted()[sure], atol=1e-5)


def test_latent_cells_lie_where_the_table_says(known: AnnData, fitted: Scyan) -> None:
    u, rho = fitted.latent(), fitted.table.to_numpy()
    code = pd.Categorical(known.obs["cell_type"], NAMES).codes
    side = [np.sign(u[code == p].mean(axis=0)) for p in range(6)]
    agree = np.array(side)[~np.isnan(rho)] == np.sign(rho[~np.isnan(rho)])
    assert agree.mean() > 0.95


# --- what is written


def test_labels_survive_a_file(known: AnnData, fitted: Scyan, tmp_path: Path) -> None:
    adata = known.copy()
    found = fitted.predict(adata)
    written = ["scyan_pop", "scyan_pop_probability", "scyan_pop_unknown", "scyan_pop_lineage"]
    assert [c for c in adata.obs if c not in known.obs] == written
    del adata.uns["table"], adata.uns["truth"]
    adata.write_h5ad(tmp_path / "cells.h5ad")
    again = anndata.read_h5ad(tmp_path / "cells.h5ad").obs
    assert list(again["scyan_pop"].cat.categories) == NAMES
    np.testing.assert_array_equal(again["scyan_pop"].cat.codes, found.cat.codes)
    np.testing.assert_array_equal(again["scyan_pop"].isna(), adata.obs["scyan_pop_unknown"] > 0.5)
    level = dict(zip(NAMES, COARSE, strict=True))
    assert [level.get(p) for p in found.dropna()] == again["scyan_pop_lineage"].dropna().tolist()
    assert again["scyan_pop_lineage"].isna().sum() == found.isna().sum()
    top = fitted.predict_proba()[NAMES].max(axis=1) / (1 - fitted.predict_proba()["unclassified"])
    np.testing.assert_allclose(again["scyan_pop_probability"], top, atol=1e-9)


def test_nothing_is_written_on_request(known: AnnData, fitted: Scyan) -> None:
    adata = known.copy()
    fitted.predict(adata, key_added=None)
    pd.testing.assert_frame_equal(adata.obs, known.obs)
    fitted.predict(adata, key_added="mine", add_levels=False)
    assert [c for c in adata.obs if c not in known.obs] == ["mine", "mine_probability", "mine_unknown"]


def test_thresholds_leave_out_more_and_more(fitted: Scyan) -> None:
    missing = [fitted.predict(key_added=None, threshold=t).isna() for t in (0.0, 0.2, 0.5, 1.0)]
    for more, fewer in zip(missing, missing[1:], strict=False):
        assert (fewer <= more).all()
    assert missing[-1].sum() == 0
    joint, log_pi = fitted.joint_log_prob(), fitted.module.log_pi.detach().double().numpy()
    density = joint.max(axis=1) - log_pi[joint.argmax(axis=1)]
    low = fitted.predict(key_added=None, threshold=1.0, log_prob_th=-15.0)
    np.testing.assert_array_equal(low.isna(), density < -15.0)
    assert 0 < low.isna().sum() < len(low)


# --- the same cells in other forms


@pytest.mark.parametrize("form", ["csr", "csc", "float64", "layer", "view", "markers", "backed"])
def test_forms_of_the_cells_do_not_matter(known: AnnData, fitted: Scyan, form: str, tmp_path: Path) -> None:
    truth, adata = fitted.predict_proba(), known.copy()
    if form in ("csr", "csc"):
        adata.X = getattr(sparse, f"{form}_matrix")(adata.X)
    elif form == "float64":
        adata.X = adata.X.astype(np.float64)
    elif form == "layer":
        other = make(known.copy())
        other.adata.layers["values"], other.adata.X = other.adata.X.copy(), 1e6 + other.adata.X
        other.layer, other.module, other.history = "values", fitted.module, fitted.history
        other.contamination = fitted.contamination
        np.testing.assert_array_equal(other.predict_proba(), truth)
        return
    elif form == "view":
        order = np.random.default_rng(0).permutation(len(truth))
        adata, truth = adata[order][::2], truth.iloc[order][::2]
        assert adata.is_view
    elif form == "markers":
        more = AnnData(np.zeros((len(truth), 2), np.float32), adata.obs, pd.DataFrame(index=["DNA", "Event"]))
        adata = anndata.concat([more, adata[:, ::-1]], axis=1, merge="first")
    elif form == "backed":
        del adata.uns["table"], adata.uns["truth"]
        adata.write_h5ad(tmp_path / "cells.h5ad")
        adata = anndata.read_h5ad(tmp_path / "cells.h5ad", backed="r")
    found = fitted.predict_proba(adata)
    assert list(found.index) == list(truth.index)
    np.testing.assert_allclose(found, truth, atol=1e-12)


def test_integers_are_numbers(known: AnnData) -> None:
    adata = known.copy()
    adata.X = np.rint(2 * adata.X).astype(np.int32)
    other = adata.copy()
    other.X = other.X.astype(np.float32)
    np.testing.assert_array_equal(quick(adata).predict_proba(), quick(other).predict_proba())


def test_labels_written_to_a_view_make_it_a_copy(known: AnnData, fitted: Scyan) -> None:
    view = known[:100]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # anndata may say so
        found = fitted.predict(view)
    np.testing.assert_array_equal(view.obs["scyan_pop"].cat.codes, found.cat.codes)
    assert "scyan_pop" not in known.obs


def test_blocks_of_cells_do_not_matter(
    known: AnnData, fitted: Scyan, monkeypatch: pytest.MonkeyPatch
) -> None:
    proba, back = fitted.predict_proba(), fitted.batch_effect_correction()
    for module in (fitting, labelling, model_module):
        monkeypatch.setattr(module, "BLOCK", 97)
    np.testing.assert_allclose(fitted.predict_proba(), proba, atol=1e-9)
    np.testing.assert_allclose(fitted.batch_effect_correction(), back, atol=1e-9)


def test_the_fit_edits_neither_cells_nor_table(known: AnnData) -> None:
    adata, table = known.copy(), known.uns["table"].copy()
    quick(adata, table=table)
    pd.testing.assert_frame_equal(adata.obs, known.obs)
    np.testing.assert_array_equal(adata.X, known.X)
    pd.testing.assert_frame_equal(table, known.uns["table"])


def test_original_labels_all_cells_on_request(known: AnnData) -> None:
    model = Scyan.original(known.copy(), batch_key="batch", lint=False).fit(max_epochs=1)
    assert model.predict(key_added=None).isna().any()
    assert not model.predict(key_added=None, threshold=1.0).isna().any()
    assert model.predict(key_added=None, threshold=1.0, log_prob_th=-50).isna().any()


# --- batches


def test_correction_leaves_the_cells_of_the_reference(known: AnnData, fitted: Scyan) -> None:
    for name in fitted.batches:
        back, here = fitted.batch_effect_correction(name), (known.obs["batch"] == name).to_numpy()
        np.testing.assert_allclose(back[here], known.X[here], atol=1e-6)
        assert np.abs(back[~here] - known.X[~here]).max() > 0.1
    default = fitted.batch_effect_correction()
    np.testing.assert_array_equal(default, fitted.batch_effect_correction(fitted.batches[0]))


def test_correction_changes_the_batch_and_no_other_covariate(known: AnnData) -> None:
    model = quick(
        known.copy(), zero_last=False, cov_scale=3.0
    )  # random nets, so that every covariate matters
    moved = known.copy()
    moved.X = model.batch_effect_correction("batch 2")
    moved.obs["batch"] = pd.Categorical(["batch 2"] * moved.n_obs)
    np.testing.assert_allclose(model.latent(moved), model.latent(), atol=1e-4)
    for name, value in (("site", ["x"] * moved.n_obs), ("age", 0.0)):
        other = moved.copy()
        other.obs[name] = value
        assert np.abs(model.latent(other) - model.latent()).max() > 0.05


def test_correction_brings_the_batches_together(known: AnnData, fitted: Scyan) -> None:
    code = known.obs["cell_type"].astype(str)
    before = marker_shift(known.X, known.obs["batch"], code)
    after = marker_shift(fitted.batch_effect_correction(), known.obs["batch"], code)
    assert after < 0.6 * before


def test_correction_of_other_cells(known: AnnData, fitted: Scyan) -> None:
    some = known[known.obs["batch"] == "batch 2"][:50].copy()
    at = known.obs_names.get_indexer(some.obs_names)
    found = fitted.batch_effect_correction("batch 1", adata=some)
    np.testing.assert_allclose(found, fitted.batch_effect_correction("batch 1")[at], atol=1e-12)


def test_batches_of_another_composition_are_named(known: AnnData) -> None:
    common = known.obs["cell_type"].value_counts().index[0]
    adata = known[(known.obs["batch"] == "batch 1") | (known.obs["cell_type"] != common)].copy()
    model = make(adata).fit(max_epochs=10)
    text = rf"1 populations are common in one batch and ten times rarer in another: \['{common}'\]"
    with pytest.warns(_checks.NumericalWarning, match=text):
        model.batch_effect_correction()


def test_batches_without_an_affine_start(known: AnnData) -> None:
    model = quick(known.copy(), align=False)
    np.testing.assert_array_equal(model.module.slope, np.ones((2, 10)))
    assert np.isfinite(model.batch_effect_correction()).all()


# --- samples


def as_cells(model: Scyan, x: np.ndarray, like: AnnData) -> AnnData:
    return AnnData(
        x, like.obs.reset_index(drop=True).astype({"age": float}), pd.DataFrame(index=model.markers)
    )


@pytest.mark.filterwarnings("ignore:Transforming to str index")
def test_samples_carry_their_population_and_their_batch(known: AnnData, fitted: Scyan) -> None:
    one = known[:1].copy()
    z = np.repeat(np.arange(6), 300)
    x, names = fitted.sample(1800, z=z, like=one, return_z=True)
    assert x.shape == (1800, 10)
    assert x.dtype == np.float64
    assert list(names) == [NAMES[i] for i in z]
    obs = pd.concat([one.obs] * 1800, ignore_index=True).set_index(pd.RangeIndex(1800).astype(str))
    u = fitted.latent(AnnData(x, obs, pd.DataFrame(index=fitted.markers)))
    rho = fitted.table.to_numpy()
    for p in range(6):
        row = ~np.isnan(rho[p])
        np.testing.assert_allclose(u[z == p][:, row].mean(axis=0), rho[p, row], atol=5 * 0.3 / np.sqrt(300))
        np.testing.assert_allclose(u[z == p][:, row].std(axis=0), 0.3, atol=0.07)


def test_samples_follow_the_weights(fitted: Scyan) -> None:
    _, names = fitted.sample(4000, return_z=True)
    share = pd.Series(names).value_counts(normalize=True).reindex(NAMES).fillna(0)
    np.testing.assert_allclose(share, fitted.module.pi.detach(), atol=0.03)


def test_samples_depend_on_the_seed_alone(fitted: Scyan) -> None:
    np.testing.assert_array_equal(fitted.sample(20, seed=4), fitted.sample(20, seed=4))
    assert np.abs(fitted.sample(20, seed=4) - fitted.sample(20, seed=5)).max() > 0.1
    assert fitted.sample(0).shape == (0, 10)
    np.testing.assert_array_equal(fitted.sample(9, z="18"), fitted.sample(9, z=1))


# --- files


@pytest.fixture(scope="module")
def stored(fitted: Scyan, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return fitted.save(tmp_path_factory.mktemp("model") / "model.safetensors")


def test_a_stored_model_gives_the_same_bits(known: AnnData, fitted: Scyan, stored: Path) -> None:
    again = Scyan.load(stored, known.copy())
    np.testing.assert_array_equal(again.predict_proba(), fitted.predict_proba())
    pd.testing.assert_series_equal(again.predict(), fitted.predict())
    pd.testing.assert_frame_equal(again.table, fitted.table)
    assert again.names == NAMES
    assert again.table.index.names == ["population", "lineage"]
    assert (again.settings, again.encoding, again.contamination) == (
        fitted.settings, fitted.encoding, fitted.contamination,
    )  # fmt: skip
    assert list(again.history) == list(fitted.history)
    np.testing.assert_array_equal(again.sample(5, like=known), fitted.sample(5, like=known))
    np.testing.assert_array_equal(again.batch_effect_correction(), fitted.batch_effect_correction())


def test_a_stored_model_reads_other_cells(known: AnnData, fitted: Scyan, stored: Path) -> None:
    again, other = Scyan.load(stored), known[::7, ::-1].copy()
    other.X = sparse.csr_matrix(other.X.astype(np.float64))
    np.testing.assert_allclose(again.predict_proba(other), fitted.predict_proba()[::7], atol=1e-12)
    with pytest.raises(ValueError, match=r"loaded without cells. Pass some: `model.predict\(adata\)`"):
        again.predict()
    with pytest.raises(ValueError, match="loaded without cells"):
        again.sample(3)


def test_a_stored_model_holds_no_cells_and_no_pickle(fitted: Scyan, stored: Path) -> None:
    arrays, _ = io.load_state(stored)
    assert max(max(a.shape, default=0) for a in arrays.values()) < 100
    with pytest.raises(pickle.UnpicklingError):
        pickle.loads(stored.read_bytes())
    with pytest.raises(ValueError, match="another.safetensors' holds None, not a model"):
        Scyan.load(io.save_state(stored.with_name("another.safetensors"), {"a": np.zeros(1)}, {}))
    with pytest.raises(FileNotFoundError, match="Did you mean 'model.safetensors'"):
        Scyan.load(stored.with_name("modell.safetensors"))


def test_a_stored_model_can_be_trained_on(known: AnnData, fitted: Scyan, stored: Path) -> None:
    one, two = Scyan.load(stored, known.copy()), Scyan.load(stored, known.copy())
    one.fit(max_epochs=1)
    two.fit(max_epochs=1)
    np.testing.assert_array_equal(one.joint_log_prob(), two.joint_log_prob())
    assert np.abs(one.joint_log_prob() - fitted.joint_log_prob()).max() > 1e-3


def test_settings_of_numpy_are_stored_too(known: AnnData, tmp_path: Path) -> None:
    model = quick(known.copy(), prior_std=np.float32(0.3), hidden_size=np.int64(8), seed=np.int32(1))
    assert Scyan.load(model.save(tmp_path / "m.safetensors")).settings == model.settings


def test_a_file_with_a_setting_that_is_gone_is_read(fitted: Scyan, stored: Path) -> None:
    arrays, meta = io.load_state(stored, tensors=True)
    assert "drop_last" not in meta["settings"]
    old = meta | {"settings": meta["settings"] | {"drop_last": False}}
    again = Scyan.load(io.save_state(stored.with_name("old.safetensors"), arrays, old), fitted.adata)
    assert again.settings == fitted.settings
    np.testing.assert_array_equal(again.predict_proba(), fitted.predict_proba())
    newer = io.load_state(again.save(stored.with_name("newer.safetensors")))[1]
    assert newer == meta


def test_the_transform_travels_with_the_model(tmp_path: Path) -> None:
    raw = cytometry(400, 4, 6, rare=0.0, unlisted=0.0, raw=True, seed=1)
    new, adata = raw[:60].copy(), raw.copy()
    asinh_transform(adata)
    scale(adata)
    model = Scyan(adata, lint=False).fit(max_epochs=1)
    again = Scyan.load(model.save(tmp_path / "m.safetensors"))
    again.apply_transform(new)
    np.testing.assert_array_equal(new.X, adata.X[:60])
    np.testing.assert_allclose(again.predict_proba(new), model.predict_proba()[:60], atol=1e-12)
    with pytest.raises(ValueError, match="transformed"):
        again.apply_transform(new)
    del adata.uns["scyan_transform"]
    with pytest.raises(ValueError, match="no record of a transform. Transform them with"):
        Scyan(adata, lint=False).apply_transform(new)


# --- seeds


def test_same_seed_same_labels_other_seed_others(known: AnnData) -> None:
    one, two, three = (quick(known.copy(), seed=s) for s in (0, 0, 1))
    np.testing.assert_array_equal(one.joint_log_prob(), two.joint_log_prob())
    pd.testing.assert_series_equal(one.predict(), two.predict())
    assert np.abs(one.joint_log_prob() - three.joint_log_prob()).max() > 1e-3


def test_global_generators_are_left_alone(known: AnnData) -> None:
    def states() -> tuple[bytes, str]:
        return torch.get_rng_state().numpy().tobytes(), str(np.random.get_state())

    before = states()
    model = quick(known.copy())
    model.predict()
    model.sample(5)
    model.batch_effect_correction()
    assert states() == before
    # beartype, which these tests run under, draws from Python's generator itself
    ours = [m for name, m in sys.modules.items() if name.startswith("scmods.scyan")]
    assert not [m for m in ours if random in vars(m).values()]


def test_a_second_fit_goes_on(known: AnnData) -> None:
    model = quick(known.copy())
    first = model.history.train_losses[-1]
    model.fit(max_epochs=3)
    assert model.history.train_losses[-1] < first
    assert len(model.history.train_losses) == 3


def test_at_most_so_many_cells_are_trained_on(known: AnnData) -> None:
    model = make(known.copy(), max_cells=200, batch_size=64)
    (x, c, number), size = model._training_tensors()
    assert (len(x), len(c), len(number), size) == (200, 200, 200, 64)
    assert model.module.n_cells == 200
    rows = {tuple(r) for r in np.asarray(known.X, np.float32)}
    assert {tuple(r) for r in x.numpy()} <= rows
    assert len(model.fit(max_epochs=1).predict()) == known.n_obs


def test_small_data_take_small_steps(known: AnnData) -> None:
    assert make(known.copy())._training_tensors()[1] == 512
    assert make(known[:300].copy())._training_tensors()[1] == 32
    assert make(known[:300].copy(), batch_size=1000)._training_tensors()[1] == 300


def test_training_stops_when_it_gains_too_little(known: AnnData) -> None:
    model = make(known.copy()).fit(max_epochs=50, min_delta=1e6, patience=2)
    assert len(model.history.train_losses) == 3


# --- the original's recipe


class Watch:
    """What `loss` was called with, step by step."""

    def __init__(self, model: Scyan) -> None:
        self.steps: list[tuple[bool, int]] = []
        real = model.module.loss

        def loss(batch: tuple[torch.Tensor, ...]) -> torch.Tensor:
            self.steps.append((model.module.tempered, len(batch[0])))
            return real(batch)

        model.module.loss = loss


@pytest.fixture
def original(known: AnnData) -> tuple[Scyan, Watch]:
    model = Scyan.original(known.copy(), batch_key="batch", batch_size=400, lint=False)
    return model, Watch(model)


def test_original_tempers_two_epochs_of_three_and_drops_the_last_batch(original: tuple[Scyan, Watch]) -> None:
    model, watch = original
    model.fit(max_epochs=7, min_delta=0.0)
    assert {n for _, n in watch.steps} == {400}
    by_epoch = [t for t, _ in watch.steps[::3]]
    assert len(watch.steps) == 7 * 3
    assert by_epoch == [False, True, True, False, True, True, False]
    assert not model.module.tempered


def test_original_has_its_settings(original: tuple[Scyan, Watch]) -> None:
    model, _ = original
    wanted = {
        "hidden_size": 16, "n_hidden_layers": 6, "n_layers": 7, "prior_std": 0.3, "lr": 5e-4, "temperature": 0.5,
        "modulo_temp": 3, "max_cells": 200_000, "background": 0.0, "penalty": 0.0, "cov_scale": 100.0,
        "log_prob_th": -50.0,
    }  # fmt: skip
    assert {k: model.settings[k] for k in wanted} == wanted
    assert model.settings["fit"] == {"min_delta": 1.0, "patience": 4, "drop_last": True}
    assert model.module.prior.nan_density == "plateau"
    assert model.module.pi_logit.requires_grad
    x = torch.randn(5, 10, generator=torch.Generator().manual_seed(0))
    assert torch.equal(model.module.aligned(x), x)
    assert (model.module(x, torch.zeros(2))[0] - x).abs().max() > 1e-3, "its flow starts as a random map"


def test_original_leaves_out_cells_below_its_threshold(known: AnnData) -> None:
    model = Scyan.original(known.copy(), batch_key="batch", lint=False).fit(max_epochs=1)
    joint, log_pi = model.joint_log_prob(), model.module.log_pi.detach().double().numpy()
    density = joint.max(axis=1) - log_pi[joint.argmax(axis=1)]
    np.testing.assert_array_equal(model.predict().isna(), density < -50)
    assert 0 < (density < -50).sum() < len(density), "the example must have both"
    np.testing.assert_array_equal(model.predict(log_prob_th=-20).isna(), density < -20)
    assert (model.predict_proba()["unclassified"] == 0).all()


def test_original_trains_its_weights_by_gradient_in_untempered_epochs(known: AnnData) -> None:
    model = Scyan.original(known.copy(), batch_key="batch", lint=False)
    states = []
    model.module.register_forward_hook(lambda *_: states.append(model.module.pi.detach().clone()))
    model.fit(max_epochs=3, patience=9)
    assert not torch.allclose(states[0], states[1], atol=1e-4), "the first epoch is not tempered"
    # Adam's momentum still moves logits that get no gradient; without it they stay
    assert model.module.pi_logit.grad is None or bool((model.module.pi_logit.grad == 0).all())


def test_training_is_a_plain_loop(known: AnnData) -> None:
    settings = {"batch_size": 300, "running_weights": False, "seed": 5}
    model, plain = make(known.copy(), **settings), make(known.copy(), **settings)
    model.fit(max_epochs=2)
    tensors, size = plain._training_tensors()
    optimizer = torch.optim.Adam(plain.module.parameters(), lr=2e-3)
    for epoch in range(2):
        for batch in batches(tensors, size, seed=5, epoch=epoch):
            optimizer.zero_grad()
            plain.module.loss(batch).backward()
            optimizer.step()
    for found, truth in zip(model.module.parameters(), plain.module.parameters(), strict=True):
        torch.testing.assert_close(found, truth, rtol=1e-5, atol=1e-6)
