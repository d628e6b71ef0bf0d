"""Covariates as numbers: levels by size, measurements standardised, new cells read as the training cells were."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from anndata import AnnData

from scmods import _checks
from scmods.scyan.covariates import Encoding

LEVELS = ["CD4/CD8", "18", "T cell (naïve)"]


def make(n: int = 12) -> AnnData:
    rng = np.random.default_rng(0)
    obs = pd.DataFrame(
        {
            "batch": pd.Categorical(np.array(["b", "a", "a"])[np.arange(n) % 3]),
            "site": np.array(LEVELS, dtype=object)[np.arange(n) // 4 % 3],
            "age": 60 + 10 * rng.normal(size=n),
        },
        index=[f"cell{i}" for i in range(n)],
    )
    return AnnData(np.zeros((n, 1), dtype=np.float32), obs=obs)


def learn(adata: AnnData) -> Encoding:
    return Encoding.learn(adata, "batch", ["site"], ["age"])


def test_columns_are_batches_then_categories_then_measurements() -> None:
    adata = make()
    found, encoding = learn(adata).columns(adata), learn(adata)
    assert encoding.batches == ("a", "b"), "the largest comes first"
    assert encoding.n_columns == found.shape[1] == 6
    np.testing.assert_array_equal(found[:, :2], np.array([[0, 1], [1, 0], [1, 0]] * 4))
    sites = encoding.categorical["site"]
    np.testing.assert_array_equal(found[:, 2:5].argmax(1), [sites.index(s) for s in adata.obs["site"]])
    np.testing.assert_array_equal(found[:, :5].sum(1), 2.0)
    age = adata.obs["age"].to_numpy()
    np.testing.assert_allclose(found[:, 5], (age - age.mean()) / age.std(), rtol=1e-12)


def test_new_cells_keep_the_scale_of_the_training_cells() -> None:
    adata = make()
    encoding, new = learn(adata), make(3)
    new.obs["age"] = [60.0, 70.0, 80.0]
    mean, std = adata.obs["age"].mean(), adata.obs["age"].std(ddof=0)
    np.testing.assert_allclose(encoding.columns(new)[:, 5], (np.array([60.0, 70, 80]) - mean) / std)
    np.testing.assert_array_equal(encoding.numbers(new), [1, 0, 0])


def test_unit_and_offset_of_a_measurement_do_not_matter() -> None:
    adata, other = make(), make()
    other.obs["age"] = 365.25 * other.obs["age"] + 7
    np.testing.assert_allclose(learn(adata).columns(adata), learn(other).columns(other), atol=1e-12)


def test_nothing_given_is_no_column() -> None:
    encoding = Encoding.learn(make(), None, [], [])
    assert encoding.n_columns == 0
    assert encoding.columns(make()).shape == (12, 0)
    np.testing.assert_array_equal(encoding.numbers(make()), 0)


def test_learning_changes_no_cell_and_no_list() -> None:
    adata, names = make(), ["site"]
    before = adata.obs.copy()
    Encoding.learn(adata, "batch", names, ["age"]).columns(adata)
    assert names == ["site"]
    pd.testing.assert_frame_equal(adata.obs, before)


def test_comes_back_from_plain_values() -> None:
    encoding = learn(make())
    again = Encoding.from_meta(encoding.to_meta())
    assert again == encoding
    np.testing.assert_array_equal(again.columns(make()), encoding.columns(make()))


@pytest.mark.parametrize(("batch", "number"), [(None, 0), ("a", 0), ("b", 1)])
def test_batches_by_name(batch: str | None, number: int) -> None:
    assert learn(make()).batch_number(batch) == number


def _set(column: str, value: object, rows: slice = slice(None)) -> object:
    def change(adata: AnnData) -> None:
        values = adata.obs[column].astype(object).to_numpy(copy=True)
        values[rows] = value
        adata.obs[column] = values if column != "age" else values.astype(float)

    return change


@pytest.mark.parametrize(
    ("change", "kind", "text"),
    [
        (_set("batch", np.nan, slice(2)), ValueError, r"obs\['batch'\]` is missing for 2 of 12 cells. Keep"),
        (_set("site", None, slice(3)), ValueError, r"obs\['site'\]` is missing for 3 of 12"),
        (_set("batch", "a"), ValueError, r"obs\['batch'\]` has one level only, 'a'"),
        (_set("site", "18"), ValueError, r"obs\['site'\]` has one level only, '18'.* Leave it out"),
        (_set("age", np.nan, slice(1)), ValueError, r"obs\['age'\]` is NaN or infinite for 1 of 12 cells"),
        (_set("age", np.inf, slice(4)), ValueError, r"obs\['age'\]` is NaN or infinite for 4 of 12 cells"),
        (_set("age", 0.1), ValueError, r"obs\['age'\]` is 0.1 in every cell. Leave it out"),
        (lambda a: a.obs.rename(columns={"age": "Age"}, inplace=True), _checks.MissingKeyError, "Did you mean 'Age'"),
        (lambda a: a.obs.drop(columns="batch", inplace=True), _checks.MissingKeyError, r"obs\['batch'\]` does not"),
    ],
)  # fmt: skip
def test_refuses_columns_that_say_nothing(change: object, kind: type[Exception], text: str) -> None:
    adata = make()
    change(adata)
    with pytest.raises(kind, match=text):
        learn(adata)


def test_refuses_text_for_a_list_and_names_twice() -> None:
    with pytest.raises(TypeError, match=r"`categorical_covariates` is the text 'site'.*\['site'\]"):
        Encoding.learn(make(), None, "site", [])
    with pytest.raises(TypeError, match="`continuous_covariates` is the text 'age'"):
        Encoding.learn(make(), None, [], "age")
    with pytest.raises(TypeError, match=r"obs\['site'\]` has type object, but must be numeric"):
        Encoding.learn(make(), None, [], ["site"])
    with pytest.raises(ValueError, match=r"covariates has 1 duplicated names: \['batch'\]"):
        Encoding.learn(make(), "batch", ["batch"], [])


def test_refuses_levels_it_has_not_seen() -> None:
    adata = make()
    encoding = learn(adata)
    adata.obs["site"] = ["elsewhere", *adata.obs["site"][1:]]
    with pytest.raises(
        ValueError, match=r"obs\['site'\]` has levels .* \['elsewhere'\]. Known levels: \['18', 'CD4"
    ):
        encoding.columns(adata)
    with pytest.raises(
        ValueError, match=r"no batch 'A' in `obs\['batch'\]`. Batches: \['a', 'b'\]. Did you mean 'a'"
    ):
        encoding.batch_number("A")
    with pytest.raises(ValueError, match="made without batches.*batch_key='batch'"):
        Encoding.learn(make(), None, [], []).batch_number(None)
