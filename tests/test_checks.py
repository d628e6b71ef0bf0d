"""Checks of user input: what passes, what is refused, and that every message says what to do."""

import math
import warnings

import numpy as np
import pandas as pd
import pytest
from anndata import AnnData

import scmods
from scmods import _checks


def labelled(values):
    adata = AnnData(np.ones((len(values), 2), dtype=np.float32))
    adata.obs["type"] = values
    return adata


def test_missing_key_error_prints_its_text_and_is_a_key_error():
    with pytest.raises(KeyError) as caught:
        _checks.fail("No 'a' here.", "Write b.", kind=_checks.MissingKeyError)
    assert str(caught.value) == "No 'a' here. Write b."
    assert str(_checks.MissingKeyError()) == ""
    assert scmods.MissingKeyError is _checks.MissingKeyError


def test_fail_drops_empty_parts_and_takes_the_kind():
    with pytest.raises(ValueError, match="^one two$"):
        _checks.fail("one", "", "two")
    with pytest.raises(TypeError, match="^one$"):
        _checks.fail("one", kind=TypeError)


def test_warn_points_at_the_caller():
    def method():
        _checks.warn("careful")

    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        method()
    assert caught[0].filename == __file__
    assert caught[0].category is _checks.NumericalWarning
    assert issubclass(_checks.NumericalWarning, UserWarning)
    with pytest.warns(_checks.PerformanceWarning, match="slow"):
        _checks.warn("slow", _checks.PerformanceWarning)


def test_listing_shortens():
    assert _checks.listing(["a", "b"]) == "['a', 'b']"
    assert _checks.listing(range(5), 2) == "['0', '1', ... 3 more]"
    assert _checks.listing([]) == "[]"


def test_nearest_ignores_case_and_may_find_nothing():
    assert _checks.nearest("x_PCA", ["X_pca", "X_umap"]) == "Did you mean 'X_pca'?"
    assert _checks.nearest("zzz", ["X_pca"]) == ""
    assert _checks.nearest("18", [18, 19]) == "Did you mean '18'?"


@pytest.mark.parametrize("slot", ["obs", "obsm", "layers", "uns", "varm", "obsp"])
def test_key_names_what_exists_the_nearest_and_the_fix(slot):
    adata = AnnData(np.ones((2, 2), dtype=np.float32))
    getattr(adata, slot)["spliced"] = {"obs": [1, 2], "uns": {}}.get(slot, np.ones((2, 2)))
    _checks.key(adata, slot, "spliced")
    text = (
        rf"`adata\.{slot}\['splised'\]` does not exist\. Available: \['spliced'\]\. "
        r"Did you mean 'spliced'\? Call `make\(\)`\."
    )
    with pytest.raises(_checks.MissingKeyError, match=text):
        _checks.key(adata, slot, "splised", "Call `make()`.")


def test_one_of():
    _checks.one_of("mode", "union", ("union", "mutual"))
    with pytest.raises(
        ValueError,
        match=r"`mode` is 'mutul', but must be one of \['union', 'mutual'\]\. Did you mean 'mutual'",
    ):
        _checks.one_of("mode", "mutul", ("union", "mutual"))


@pytest.mark.parametrize("value", [["union"], {"a": 1}, np.array(["union", "mutual"]), None, 3])
def test_one_of_refuses_any_type_with_the_same_text(value):
    with pytest.raises(ValueError, match="`mode` is .*but must be one of"):
        _checks.one_of("mode", value, ("union", "mutual"))


@pytest.mark.parametrize("value", [3, np.int64(3), np.uint8(3)])
def test_integer_accepts_whole_numbers(value):
    out = _checks.integer("k", value, 1, 3)
    assert out == 3
    assert type(out) is int


@pytest.mark.parametrize("value", [True, np.True_, 3.0, "3", None, [3], math.nan])
def test_integer_refuses_other_types_and_names_them(value):
    with pytest.raises(
        TypeError, match=rf"`k` is .* of type {type(value).__name__}.*whole number\. Write k=4\."
    ):
        _checks.integer("k", value, 1, 4)


@pytest.mark.parametrize(
    ("value", "high", "text"),
    [
        (0, None, "`k` is 0, but must be at least 1. Why."),
        (9, 5, "`k` is 9, but must be at least 1 and at most 5. Why."),
    ],
)
def test_integer_refuses_values_outside(value, high, text):
    with pytest.raises(ValueError) as caught:
        _checks.integer("k", value, 1, high, "Why.")
    assert str(caught.value) == text


@pytest.mark.parametrize("value", [0.5, 1, np.float32(0.5), np.int64(0)])
def test_number_accepts_real_numbers(value):
    out = _checks.number("lr", value, 0.0, 1.0)
    assert out == value
    assert type(out) is float


@pytest.mark.parametrize("value", [True, "0.5", None, [0.5], 1j])
def test_number_refuses_other_types(value):
    with pytest.raises(TypeError, match=rf"`lr` is .* of type {type(value).__name__}, but must be a number"):
        _checks.number("lr", value)


@pytest.mark.parametrize("value", [math.nan, math.inf, -0.1, 1.1])
def test_number_refuses_values_outside(value):
    with pytest.raises(ValueError, match=r"`lr` is .*, but must be a finite number in \[0, 1\]\. Why\."):
        _checks.number("lr", value, 0.0, 1.0, "Why.")


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
def test_finite_counts_values_and_names_rows(bad):
    x = np.zeros((5, 3))
    _checks.finite("x", x)
    x[1], x[3, 0] = bad, bad
    with pytest.raises(ValueError, match=r"x holds 4 values .* in 2 rows; first rows: \['c1', 'c3'\]\."):
        _checks.finite("x", x, [f"c{i}" for i in range(5)])
    with pytest.raises(ValueError, match=r"first rows: \['1', '3'\]\. .*Drop those rows, `adata = "):
        _checks.finite("x", x)


def test_finite_takes_vectors_and_empty_arrays():
    _checks.finite("x", np.zeros((0, 3)))
    with pytest.raises(ValueError, match=r"x holds 1 values .* in 1 rows; first rows: \['1'\]"):
        _checks.finite("x", np.array([0.0, np.nan]))


def test_positive_rows():
    _checks.positive_rows("x", np.ones(3))
    with pytest.raises(
        ValueError, match=r"x has 2 all-zero rows; first: \['a', 'c'\]\. .*metric='euclidean'"
    ):
        _checks.positive_rows("x", np.array([0.0, 1.0, 0.0]), ["a", "b", "c"])


@pytest.mark.parametrize("axis", ["obs", "var"])
def test_unique_names(axis):
    _checks.unique_names(f"adata.{axis}_names", ["a", "b"])
    with pytest.raises(
        ValueError,
        match=rf"{axis}_names has 1 duplicated names: \['a'\]\. .*adata\.{axis}_names_make_unique\(\)",
    ):
        _checks.unique_names(f"adata.{axis}_names", ["a", "b", "a", "a"])


def test_labels_are_strings_whatever_the_column_holds():
    assert _checks.labels(labelled(pd.Categorical([18, 7, 18])), "type").tolist() == ["18", "7", "18"]
    assert _checks.labels(labelled(["T cell (naïve)", "CD4/CD8"]), "type").tolist()[0] == "T cell (naïve)"
    assert _checks.labels(labelled([True, False]), "type").tolist() == ["True", "False"]


@pytest.mark.parametrize(
    ("values", "smallest", "text"),
    [
        (["a", None, "b", np.nan], 1, r"has 2 missing labels of 4\. .*adata\.obs\['type'\]\.notna\(\)"),
        (["a", "a"], 1, r"holds one class, \['a'\], but at least two"),
        (["a", "a", "b"], 2, r"has classes with fewer than 2 cells: 'b': 1\. Merge them"),
    ],
)
def test_labels_refuses(values, smallest, text):
    with pytest.raises(ValueError, match=rf"`adata\.obs\['type'\]` {text}"):
        _checks.labels(labelled(values), "type", smallest)


def test_labels_ignores_unused_categories_and_refuses_a_missing_column():
    used = labelled(pd.Categorical(["a", "b", "a", "b"], ["a", "b", "never"]))
    assert set(_checks.labels(used, "type", 2)) == {"a", "b"}
    with pytest.raises(_checks.MissingKeyError, match=r"Did you mean 'type'\?"):
        _checks.labels(used, "typ")


def test_numeric_takes_every_real_type_and_refuses_others():
    for dtype in (bool, np.uint8, np.int64, np.float16, np.float32):
        assert _checks.numeric("x", np.ones(2, dtype)).dtype == np.float64
    for bad in (np.array(["1"]), np.array([1, None]), np.array([1j])):
        with pytest.raises(TypeError, match=r"x has type .*, but must be numeric\. Convert it first"):
            _checks.numeric("x", bad)
