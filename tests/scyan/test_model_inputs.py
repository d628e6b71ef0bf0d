"""What `Scyan` refuses, and what it says: table, cells, covariates, settings, questions to the trained model."""

from __future__ import annotations

import math
import warnings
from collections.abc import Callable

import numpy as np
import pandas as pd
import pytest
import torch
from anndata import AnnData

from scmods._checks import MissingKeyError, NumericalWarning
from scmods.scyan.model import Scyan

NAN = np.nan


def make(n: int = 120) -> AnnData:
    """Two populations of separate cells, in two batches, and everything that a model may ask for."""
    rng = np.random.default_rng(0)
    sign = np.array([[1.0, -1, -1, 1], [-1, 1, 1, 1]])[np.arange(n) // 2 % 2]
    x = (sign + 0.2 * rng.normal(size=sign.shape)).astype(np.float32)
    x[:, 3] = np.where(rng.random(n) < 0.5, 1, -1) + 0.2 * rng.normal(size=n)
    obs = pd.DataFrame(
        {"batch": pd.Categorical(np.array(["a", "b"])[np.arange(n) % 2]), "age": rng.normal(60, 10, n)},
        index=[f"cell{i}" for i in range(n)],
    )
    adata = AnnData(x, obs, pd.DataFrame(index=["CD3", "CD19", "HLA-DR", "CD45RA"]))
    adata.uns["table"] = pd.DataFrame(
        [[1.0, -1.0, -1.0, NAN], [-1.0, 1.0, 1.0, NAN]], index=["CD4/CD8", "T cell (naïve)"], columns=adata.var_names
    )  # fmt: skip
    return adata


@pytest.fixture(scope="module")
def trained() -> Scyan:
    adata = make()
    return Scyan(adata, batch_key="batch", continuous_covariates=["age"], lint=False).fit(max_epochs=2)


def table(change: Callable[[pd.DataFrame], object]) -> Callable[[AnnData], None]:
    """Replace the table by what `change` returns, or by what it did to it."""

    def apply(adata: AnnData) -> None:
        known = adata.uns["table"].astype(object)
        changed = change(known)
        adata.uns["table"] = known if changed is None else changed

    return apply


def put(row: int, column: int, value: object) -> Callable[[AnnData], None]:
    return table(lambda t: t.iloc.__setitem__((row, column), value))


def fill(column: int, value: object, rows: slice = slice(None)) -> Callable[[AnnData], None]:
    def apply(adata: AnnData) -> None:
        adata.X[rows, column] = value

    return apply


@pytest.mark.parametrize(
    ("change", "kind", "text"),
    [
        # the table
        (lambda a: a.uns.clear(), MissingKeyError, r"uns\['table'\]` does not exist.*read_table"),
        (table(lambda t: t.to_numpy()), TypeError, "`table` is of type ndarray, but must be a DataFrame"),
        (table(lambda t: t.rename(columns={"CD3": "CD3e"})), ValueError, r"'CD3e'.*'CD3'"),
        (table(lambda t: t.rename(columns={"HLA-DR": "HLADR"})), ValueError, r"'HLADR'.*'HLA-DR'"),
        (table(lambda t: t.rename(index={"T cell (naïve)": "CD4/CD8"})), ValueError, "'CD4/CD8'"),
        (table(lambda t: t.rename(index={"CD4/CD8": ""})), ValueError, "Row 1 has no population name"),
        (table(lambda t: t.rename(index={"CD4/CD8": NAN})), ValueError, "Row 1 has no population name"),
        (table(lambda t: pd.DataFrame(np.vstack([t.iloc[0], t.iloc[0]]), t.index, t.columns)), ValueError,
         r"CD4/CD8.*T cell \(naïve\)"),
        (put(0, 1, "+"), ValueError, r"'\+'.*coding='symbols'"),
        (put(0, 0, 3.0), ValueError, r"3.*\[-1, 1\]"),
        (put(0, 0, np.inf), ValueError, "infinite"),
        (table(lambda t: (t + 1) / 2), ValueError, "0/1 coding|0 and 1|coding='binary'"),
        (table(lambda t: t.iloc[:0]), ValueError, "The table has no rows"),
        (table(lambda t: t[[]]), ValueError, "The table has no columns"),
        # the cells
        (lambda a: setattr(a, "X", 300 * np.abs(a.X)), ValueError, "like raw intensities.*asinh_transform.*logicle"),
        (fill(1, NAN, slice(3)), ValueError, r"3 values that are NaN or infinite: \['CD19 \(3\)'\]"),
        (fill(0, np.inf, slice(2)), ValueError, r"2 values that are NaN or infinite: \['CD3 \(2\)'\]"),
        (fill(2, 0.5), ValueError, r"1 markers have the same value in every cell: \['HLA-DR'\]"),
        (lambda a: setattr(a, "var_names", ["CD3", "CD3", "HLA-DR", "CD19"]), ValueError, "duplicated|missing|not in"),
        (lambda a: setattr(a, "X", None), MissingKeyError, "`adata.X` is empty"),
    ],
)  # fmt: skip
def test_refuses_table_and_cells(change: Callable, kind: type[Exception], text: str) -> None:
    adata = make()
    change(adata)
    with pytest.raises(kind, match=text):
        Scyan(adata, lint=False)


def test_all_faults_of_a_table_come_together() -> None:
    adata = make()
    adata.uns["table"] = adata.uns["table"].rename(columns={"CD3": "CD33x", "HLA-DR": "hla-dr"})
    adata.uns["table"].iloc[0, 1] = 7.0
    with pytest.raises(ValueError, match=r"(?s)has 3 faults:.*\(1\).*\(2\).*\(3\)"):
        Scyan(adata)


@pytest.mark.parametrize(
    ("n", "text"), [(0, "has 0 cells, but at least 2"), (1, "has 1 cells, but at least 2")]
)
def test_refuses_fewer_cells_than_populations(n: int, text: str) -> None:
    with pytest.raises(ValueError, match=text):
        Scyan(make()[:n].copy(), lint=False)


def test_a_table_of_one_row_still_needs_markers_that_vary() -> None:
    adata = make()
    adata.uns["table"] = adata.uns["table"].iloc[:1]
    adata.X[:, 0] = 1.0
    with pytest.raises(ValueError, match=r"same value in every cell: \['CD3'\]"):
        Scyan(adata, lint=False)


def test_weak_spots_of_a_table_warn_once() -> None:
    adata = make()
    with pytest.warns(NumericalWarning, match=r"weak spots \(.*empty_marker.*lint_table") as caught:
        Scyan(adata)
    assert len([w for w in caught if "weak spots" in str(w.message)]) == 1
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        Scyan(adata, lint=False)


def test_a_row_without_knowledge_warns() -> None:
    adata = make()
    adata.uns["table"].loc["rest"] = NAN
    with pytest.warns(NumericalWarning, match="empty_row"):
        Scyan(adata)


def test_unscaled_markers_warn() -> None:
    adata = make()
    adata.X[:, 0] *= 9
    with pytest.warns(NumericalWarning, match=r"Standard deviations far from 1: \['CD3 \(\d.*scyan.scale"):
        Scyan(adata, lint=False)


@pytest.mark.parametrize(
    ("settings", "kind", "text"),
    [
        ({"batch_key": "Batch"}, MissingKeyError, "obs\\['Batch'\\]` does not exist.*Did you mean 'batch'"),
        ({"continuous_covariates": "age"}, TypeError, r"Write continuous_covariates=\['age'\]"),
        ({"categorical_covariates": "batch"}, TypeError, r"Write categorical_covariates=\['batch'\]"),
        ({"continuous_covariates": ["batch"]}, TypeError, r"obs\['batch'\]` has type .*, but must be numeric"),
        ({"batch_key": "batch", "categorical_covariates": ["batch"]}, ValueError, "1 duplicated names"),
        ({"continuum_markers": ["CD03"]}, ValueError, r"`continuum_markers` has \['CD03'\].*Did you mean 'CD3'"),
        ({"continuum_markers": "CD3"}, TypeError, r"Write continuum_markers=\['CD3'\]"),
        ({"layer": "scaled"}, MissingKeyError, r"layers\['scaled'\]` does not exist"),
        ({"prior_std": 0.0}, ValueError, "`prior_std` is 0"),
        ({"prior_std": -0.3}, ValueError, "`prior_std` is -0.3"),
        ({"prior_std": 1.2, "nan_density": "plateau"}, ValueError, "`prior_std` is 1.2.* below 1"),
        ({"prior_std": "wide"}, TypeError, "`prior_std` is 'wide' of type str"),
        ({"temperature": 0.0}, ValueError, "`temperature` is 0, but must be above 0. Use temperature=None"),
        ({"temperature": -1.0}, ValueError, "`temperature` is -1"),
        ({"modulo_temp": 0}, ValueError, "`modulo_temp` is 0"),
        ({"background": 1.0}, ValueError, "`background` is 1"),
        ({"contamination": 1.0}, ValueError, "`contamination` is 1, but must be at least 0 and below 1, or None"),
        ({"contamination": -0.1}, ValueError, "`contamination` is -0.1"),
        ({"penalty": -1}, ValueError, "`penalty` is -1"),
        ({"lr": -1e-3}, ValueError, "`lr` is -0.001"),
        ({"lr": NAN}, ValueError, "`lr` is nan"),
        ({"hidden_size": 0}, ValueError, "`hidden_size` is 0"),
        ({"hidden_size": 8.5}, TypeError, "`hidden_size` is 8.5 of type float"),
        ({"n_hidden_layers": -1}, ValueError, "`n_hidden_layers` is -1"),
        ({"n_layers": 0}, ValueError, "`n_layers` is 0"),
        ({"batch_size": 0}, ValueError, "`batch_size` is 0"),
        ({"max_cells": 0}, ValueError, "`max_cells` is 0"),
        ({"seed": -1}, ValueError, "`seed` is -1"),
        ({"seed": True}, TypeError, "`seed` is True of type bool"),
        ({"nan_density": "flat"}, ValueError, r"`nan_density` is 'flat', but must be one of \['exact', 'plateau'\]"),
        ({"cov_scale": math.inf}, ValueError, "`cov_scale` is inf"),
    ],
)  # fmt: skip
def test_refuses_settings(settings: dict, kind: type[Exception], text: str) -> None:
    with pytest.raises(kind, match=text):
        Scyan(make(), lint=False, **settings)


@pytest.mark.parametrize(
    ("settings", "kind", "text"),
    [
        ({"max_epochs": 0}, ValueError, "`max_epochs` is 0"),
        ({"patience": 0}, ValueError, "`patience` is 0"),
        ({"min_delta": -1.0}, ValueError, "`min_delta` is -1"),
    ],
)
def test_refuses_ways_to_train(settings: dict, kind: type[Exception], text: str) -> None:
    with pytest.raises(kind, match=text):
        Scyan(make(), lint=False).fit(**settings)


@pytest.mark.parametrize(
    "ask", ["latent", "joint_log_prob", "log_odds_unlisted", "predict_proba", "predict", "sample", "save"]
)
def test_an_untrained_model_says_so(ask: str, tmp_path: object) -> None:
    given = {"sample": (3,), "save": (tmp_path / "m.safetensors",)}.get(ask, ())
    with pytest.raises(RuntimeError, match=r"not trained. Call `model.fit\(\)` first"):
        getattr(Scyan(make(), lint=False), ask)(*given)
    with pytest.raises(RuntimeError, match="not trained"):
        Scyan(make(), batch_key="batch", lint=False).batch_effect_correction()


def test_a_loss_that_is_not_finite_names_the_marker_and_undoes_the_steps() -> None:
    adata = make()
    adata.X[7, 2] = 90.0
    with pytest.warns(NumericalWarning, match="HLA-DR"):
        model = Scyan(adata, lint=False, lr=1e30)
    before = {k: v.clone() for k, v in model.module.state_dict().items()}
    text = r"became (nan|inf) in epoch \d.* weights are those from before.* 90, marker 'HLA-DR'.*lr=1e\+29"
    with pytest.raises(FloatingPointError, match=text), pytest.warns(NumericalWarning):
        model.fit()
    for name, value in model.module.state_dict().items():
        assert torch.equal(value, before[name]), name
    with pytest.raises(RuntimeError, match="not trained"):
        model.predict()


def change_obs(column: str, value: object) -> Callable[[AnnData], AnnData]:
    def apply(adata: AnnData) -> AnnData:
        adata.obs[column] = value
        return adata

    return apply


@pytest.mark.parametrize(
    ("change", "kind", "text"),
    [
        (change_obs("batch", "c"), ValueError, r"obs\['batch'\]` has levels .* \['c'\]. Known levels: \['a', 'b'\]"),
        (change_obs("batch", NAN), ValueError, r"obs\['batch'\]` is missing for 120 of 120 cells"),
        (change_obs("age", NAN), ValueError, r"obs\['age'\]` is NaN or infinite for 120 of 120"),
        (lambda a: AnnData(a.X, var=a.var), MissingKeyError, r"obs\['(batch|age)'\]` does not exist"),
        (lambda a: a[:, :3].copy(), MissingKeyError, r"1 markers are not in `adata.var_names`: \['CD45RA'\]"),
        (lambda a: a[:0].copy(), ValueError, "has 0 cells, but at least 1"),
        (lambda a: AnnData(1000 * a.X, a.obs, a.var), ValueError, "look like raw intensities"),
        (lambda a: AnnData(np.where(a.X > 1, NAN, a.X), a.obs, a.var), ValueError, "NaN or infinite"),
    ],
)  # fmt: skip
def test_refuses_other_cells(
    trained: Scyan, change: Callable[[AnnData], AnnData], kind: type[Exception], text: str
) -> None:
    adata = change(make())
    for ask in (trained.predict, trained.predict_proba, trained.latent):
        with pytest.raises(kind, match=text):
            ask(adata)
    assert "scyan_pop" not in adata.obs


def test_cells_of_one_kind_can_be_labelled(trained: Scyan) -> None:
    one = make()[:1].copy()
    assert len(trained.predict(one)) == 1
    assert trained.latent(one).shape == (1, 4)


@pytest.mark.parametrize(
    ("given", "kind", "text"),
    [
        ({"threshold": 1.5}, ValueError, r"`threshold` is 1.5, but must be a finite number in \[0, 1\]"),
        ({"threshold": -0.1}, ValueError, "`threshold` is -0.1"),
        ({"threshold": "all"}, TypeError, "`threshold` is 'all' of type str"),
        ({"log_prob_th": NAN}, ValueError, "`log_prob_th` is nan"),
    ],
)
def test_refuses_thresholds(trained: Scyan, given: dict, kind: type[Exception], text: str) -> None:
    with pytest.raises(kind, match=text):
        trained.predict(**given)


def test_refuses_batches_that_are_not_there(trained: Scyan) -> None:
    with pytest.raises(
        ValueError, match=r"no batch 'A' in `obs\['batch'\]`. Batches: \['a', 'b'\]. Did you mean 'a'"
    ):
        trained.batch_effect_correction("A")
    with pytest.raises(ValueError, match=r"made without batches.*batch_key='batch'"):
        Scyan(make(), lint=False).fit(max_epochs=1).batch_effect_correction()
    adata = make()
    adata.obs["batch"] = "a"
    with pytest.raises(ValueError, match="one level only, 'a'"):
        Scyan(adata, batch_key="batch", lint=False)


@pytest.mark.parametrize(
    ("given", "kind", "text"),
    [
        ({"z": 1.9}, TypeError, r"`z` holds 1.9 of type float, but must hold whole numbers from 0 to 1"),
        ({"z": True}, TypeError, "`z` holds True of type bool"),
        ({"z": -1}, ValueError, "`z` holds -1, but must hold whole numbers from 0 to 1"),
        ({"z": 2}, ValueError, "`z` holds 2"),
        ({"z": NAN}, TypeError, "`z` holds nan of type float"),
        ({"z": [0, 1]}, ValueError, "`z` has 2 entries, but 3 cells are asked for"),
        ({"z": np.zeros((3, 1), int)}, ValueError, r"`z` has shape \(3, 1\)"),
        ({"z": "T cell (naive)"}, ValueError, "not in the table.*Did you mean 'T cell \\(naïve\\)'"),
        ({"seed": 1.5}, TypeError, "`seed` is 1.5"),
        ({"like": make()[:0].copy()}, ValueError, "`like` has no cells"),
        ({"like": change_obs("batch", "c")(make())}, ValueError, "has levels that the training cells did not have"),
    ],
)  # fmt: skip
def test_refuses_samples(trained: Scyan, given: dict, kind: type[Exception], text: str) -> None:
    with pytest.raises(kind, match=text):
        trained.sample(3, **given)


@pytest.mark.parametrize(("n", "kind"), [(-1, ValueError), (2.5, TypeError)])
def test_refuses_numbers_of_samples(trained: Scyan, n: object, kind: type[Exception]) -> None:
    with pytest.raises(kind, match=f"`n_samples` is {n}"):
        trained.sample(n)


@pytest.mark.parametrize(
    "z", [None, 0, np.int64(1), "CD4/CD8", [0, 1, 1], np.array([0, 1, 1]), ["CD4/CD8"] * 3]
)
def test_populations_may_be_asked_for_in_many_ways(trained: Scyan, z: object) -> None:
    x, names = trained.sample(3, z=z, return_z=True)
    assert x.shape == (3, 4)
    assert set(names) <= set(trained.names)
    if isinstance(z, list | np.ndarray) and not isinstance(z[0], str):
        assert list(names) == ["CD4/CD8", "T cell (naïve)", "T cell (naïve)"]


def test_one_batch_can_be_sampled(trained: Scyan) -> None:
    adata = make()
    only = [trained.sample(200, z=0, like=adata[adata.obs["batch"] == b]) for b in ("a", "b")]
    assert all(np.isfinite(x).all() for x in only)
    assert np.abs(only[0].mean(axis=0) - only[1].mean(axis=0)).max() > 1e-4


def test_refuses_files_it_cannot_write(trained: Scyan, tmp_path: object) -> None:
    with pytest.raises(FileNotFoundError):
        trained.save(tmp_path / "no folder" / "model.safetensors")
