"""Parts of tables, rows divided, and posteriors of coarser levels."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from scmods._checks import MissingKeyError
from scmods.scyan.hierarchy import finest_label, level_proba
from scmods.scyan.subtables import split_population, subtable
from scmods.scyan.table import check_table

NAN = np.nan


def flat():
    return pd.DataFrame(
        {
            "CD3": [1.0, 1, -1, -1],
            "CD4": [1.0, -1, NAN, -1],
            "CD19": [-1.0, -1, 1, -1],
            "CD56": [NAN, NAN, NAN, 1],
        },
        index=["CD4/CD8", "18", "B (naïve)", "NK"],
    )


def deep():
    table = flat()
    table.index = pd.MultiIndex.from_tuples(
        [
            ("CD4/CD8", "T", "lymphocyte"),
            ("18", "T", "lymphocyte"),
            ("B (naïve)", "B", "lymphocyte"),
            ("NK", NAN, "ILC"),
        ],
        names=["population", "level 1", "level 2"],
    )
    return table


def test_a_part_keeps_the_markers_that_separate():
    part = subtable(flat(), ["18", "CD4/CD8"])
    pd.testing.assert_frame_equal(part, flat().loc[["CD4/CD8", "18"], ["CD4"]])
    known = subtable(flat(), ["18", "CD4/CD8"], markers="known")
    assert list(known.columns) == ["CD3", "CD4", "CD19"]
    assert subtable(flat(), "NK", markers="all").shape == (1, 4)
    assert list(subtable(flat(), ["NK", "18"], markers=["CD19", "CD3"]).columns) == ["CD3", "CD19"]
    part.iloc[0, 0] = 7
    assert flat().iloc[0, 1] == 1
    # every pair that the table separates, the part separates
    for names in (["CD4/CD8", "NK"], ["18", "B (naïve)", "NK"]):
        check_table(subtable(flat(), names), warn=False)


def test_a_part_by_a_coarser_level():
    assert list(subtable(deep(), "T", level="level 1").index.get_level_values(0)) == ["CD4/CD8", "18"]
    assert len(subtable(deep(), "lymphocyte", level=2)) == 3
    # a population without a parent stands for itself
    assert subtable(deep(), "NK", level="level 1", markers="all").shape == (1, 4)


def test_a_row_is_divided_where_it_was():
    rows = {"naive": {"CD45RA": 1}, "memory": {"CD45RA": -1, "CD56": -1}}
    out = split_population(flat(), "18", rows)
    assert list(out.index) == ["CD4/CD8", "naive", "memory", "B (naïve)", "NK"]
    assert list(out.columns) == [*flat().columns, "CD45RA"]
    assert out["CD45RA"].tolist()[1:3] == [1, -1]
    assert out["CD45RA"].isna().tolist() == [True, False, False, True, True]
    assert (
        out.loc["naive", ["CD3", "CD4", "CD19"]].tolist() == flat().loc["18", ["CD3", "CD4", "CD19"]].tolist()
    )
    assert out.loc["memory", "CD56"] == -1
    untouched = [n for n in flat().index if n != "18"]
    pd.testing.assert_frame_equal(out.loc[untouched, flat().columns], flat().loc[untouched])
    assert (out.dtypes == np.float64).all()
    check_table(out, warn=False)
    kept = split_population(flat(), "NK", {"NK dim": {"CD56": NAN, "CD4": -0.5}}, keep=True)
    assert list(kept.index[-2:]) == ["NK", "NK dim"]
    assert kept.loc["NK dim"].isna().tolist() == [False, False, False, True]
    with_same_name = split_population(flat(), "NK", {"NK": {"CD3": -0.5}})
    assert with_same_name.loc["NK", "CD3"] == -0.5


def test_levels_go_with_a_divided_row():
    out = split_population(deep(), "18", {"a": {"CD56": 1}, "b": {"CD56": -1}})
    assert out.index.names == deep().index.names
    assert [tuple(v) for v in out.index[1:3]] == [("a", "T", "lymphocyte"), ("b", "T", "lymphocyte")]
    assert len(subtable(out, "T", level="level 1")) == 3


@settings(max_examples=12)
@given(seed=st.integers(0, 200))
def test_posteriors_of_a_level_are_sums_over_its_children(seed):
    p = np.random.default_rng(seed).dirichlet(np.full(5, 0.3), 4)
    proba = pd.DataFrame(p, columns=[*flat().index, "unclassified"])
    shuffled = proba[["unclassified", "NK", "18", "CD4/CD8", "B (naïve)"]]
    one = level_proba(shuffled, deep(), "level 1")
    assert list(one.columns) == ["T", "B", "NK", "unclassified"]
    np.testing.assert_allclose(one["T"], p[:, 0] + p[:, 1])
    np.testing.assert_allclose(one.sum(axis=1), 1)
    two = level_proba(proba, deep(), 2)
    np.testing.assert_allclose(two["lymphocyte"], one["T"] + one["B"])
    np.testing.assert_allclose(level_proba(shuffled, deep(), 0), proba)
    # the finest level that is sure; no finer one is, and the label has the posterior told
    found = finest_label(proba, deep(), threshold=0.7)
    levels = [level_proba(proba, deep(), k).drop(columns="unclassified") for k in range(3)]
    for i, row in found.iterrows():
        sure = [k for k in range(3) if levels[k].loc[i].max() > 0.7]
        if not sure:
            assert row["label"] is NAN or pd.isna(row["label"])
            assert np.isnan(row["level"])
            assert row["probability"] == pytest.approx(levels[2].loc[i].max())
        else:
            assert row["level"] == sure[0]
            assert row["label"] == levels[sure[0]].loc[i].idxmax()
            assert row["probability"] == pytest.approx(levels[sure[0]].loc[i].max())


def test_a_higher_threshold_never_makes_a_label_finer():
    p = np.random.default_rng(0).dirichlet(np.full(4, 0.3), 300)
    proba = pd.DataFrame(p, columns=list(flat().index))
    levels = [finest_label(proba, deep(), threshold=t)["level"].fillna(3) for t in (0.5, 0.7, 0.9, 0.99)]
    for low, high in zip(levels, levels[1:], strict=False):
        assert (high >= low).all()
        assert (high > low).any()
    single = finest_label(proba, flat())
    assert (single["label"].isna() == (p.max(axis=1) <= 0.9)).all()


PROBA = pd.DataFrame(np.full((2, 4), 0.25), columns=list(flat().index))


@pytest.mark.parametrize(
    ("call", "kind", "text"),
    [
        (lambda: subtable(flat(), ["nk"]), MissingKeyError, r"no \['nk'\].*Did you mean 'NK'"),
        (lambda: subtable(flat(), []), MissingKeyError, "`populations` is empty"),
        (lambda: subtable(flat(), "T", level="level 1"), MissingKeyError, "It has one level only"),
        (lambda: subtable(deep(), "T", level=3), ValueError, "`level` is 3"),
        (lambda: subtable(flat(), "NK"), ValueError, r"No marker is separating among \['NK'\]"),
        (lambda: subtable(flat(), "NK", markers=["CD5"]), MissingKeyError, r"no markers \['CD5'\]"),
        (lambda: subtable(flat(), "NK", markers="some"), ValueError, "`markers` is 'some'"),
        (lambda: split_population(flat(), "NKT", {"a": {}}), MissingKeyError, "no 'NKT'.*Did you mean 'NK'"),
        (lambda: split_population(flat(), "NK", {"18": {}}), ValueError, r"has rows \['18'\] already"),
        (lambda: split_population(flat(), "NK", {"a": {"CD3": 3}}), ValueError, r"rows\['a'\]\['CD3'\]` is 3"),
        (lambda: split_population(flat(), "NK", {"a": {"CD3": "+"}}), TypeError, "must be a number"),
        (lambda: split_population(flat(), "NK", {"a": {}, "b": {}}), ValueError, r"\['b'\] say the same"),
        (lambda: split_population(flat(), "NK", {"a": {}}, keep=True), ValueError, r"\['a'\] say the same"),
        (lambda: split_population(flat(), "NK", ["a", "b"]), TypeError, "must name every new row and its entries"),
        (lambda: level_proba(PROBA.drop(columns="18"), flat(), 0), ValueError, r"missing \['18'\]"),
        (lambda: level_proba(PROBA.assign(x=0.0), flat(), 0), ValueError, r"unknown \['x'\]"),
        (lambda: level_proba(PROBA * 3, flat(), 0), ValueError, "holds no probabilities"),
        (lambda: finest_label(PROBA, flat(), threshold=1.0), ValueError, "no posterior is larger"),
        (lambda: finest_label(PROBA, flat(), threshold=0.3), ValueError, "`threshold` is 0.3"),
    ],
)  # fmt: skip
def test_refusals(call, kind, text):
    with pytest.raises(kind, match=text):
        call()
