"""Scores against counting by hand, sklearn and statsmodels' formulas; laws of shares and intervals."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import binomtest
from sklearn import metrics

from scmods.scyan.detection import calibration_error, calibration_table, flag_recall, recall_curve
from scmods.scyan.evaluation import annotation_scores, confusion_table, population_scores, wilson_interval
from scmods.scyan.mixing import marker_shift, mixing_index, population_shift

NAMES = ["T", "B", "NK"]


def draw(n=300, seed=0):
    rng = np.random.default_rng(seed)
    truth = rng.choice([*NAMES, "debris"], n, p=[0.5, 0.3, 0.1, 0.1])
    labels = np.where(rng.random(n) < 0.7, truth, rng.choice(NAMES, n)).astype(object)
    labels[labels == "debris"] = "unclassified"
    labels[rng.random(n) < 0.1] = None
    return truth, labels


def test_scores_are_those_of_sklearn_on_cells_of_the_table():
    truth, labels = draw()
    keep = truth != "debris"
    t = truth[keep]
    found = np.array(["none" if v in (None, "unclassified") else v for v in labels[keep]])
    scores = annotation_scores(truth, labels, populations=NAMES)
    assert scores["macro_f1"] == pytest.approx(metrics.f1_score(t, found, labels=NAMES, average="macro"))
    assert scores["kappa"] == pytest.approx(metrics.cohen_kappa_score(t, found))
    assert scores["balanced_accuracy"] == pytest.approx(np.mean([(found[t == p] == p).mean() for p in NAMES]))
    assert scores["accuracy"] == pytest.approx((t == found).mean())
    assert scores["unclassified"] == pytest.approx((found == "none").mean())
    assert scores["cells"] == keep.sum()


def test_perfect_labels_and_cells_of_no_row():
    truth, _ = draw()
    scores = annotation_scores(truth, truth, populations=NAMES)
    assert scores[["macro_f1", "kappa", "accuracy", "balanced_accuracy"]].tolist() == [1.0] * 4
    # what is called among cells of no row does not count here
    other = np.where(truth == "debris", "T", truth)
    assert annotation_scores(truth, other, populations=NAMES).equals(scores)
    # nor does a population without any cell
    assert annotation_scores(truth, truth, populations=[*NAMES, "ghost"])["macro_f1"] == 1
    other[truth == "NK"] = "ghost"
    assert annotation_scores(truth, other, populations=[*NAMES, "ghost"])["macro_f1"] == pytest.approx(0.5)
    assert annotation_scores(["T", "T"], ["T", "T"])["kappa"] == 1


def test_scores_of_populations_and_the_confusion_table_fit_together():
    truth, labels = draw()
    each = population_scores(truth, labels, populations=NAMES)
    counts = confusion_table(truth, labels, populations=NAMES)
    assert list(counts.index) == [*NAMES, "not in the table"]
    assert list(counts.columns) == [*NAMES, "unclassified"]
    assert counts.to_numpy().sum() == len(truth)
    hits = np.diag(counts.loc[NAMES, NAMES])
    np.testing.assert_array_equal(each["cells"], counts.loc[NAMES].sum(axis=1))
    np.testing.assert_array_equal(each["called"], counts[NAMES].sum())
    np.testing.assert_allclose(each["recall"], hits / each["cells"])
    np.testing.assert_allclose(each["precision"], hits / each["called"])
    np.testing.assert_allclose(each["f1"], 2 / (1 / each["recall"] + 1 / each["precision"]))
    shares = confusion_table(truth, labels, populations=NAMES, normalize=True)
    np.testing.assert_allclose(shares.sum(axis=1), 1)
    clean = confusion_table(["T", "B"], ["T", "B"], populations=["T", "B", "ghost"], normalize=True)
    assert list(clean.columns) == ["T", "B", "ghost"]
    assert clean.loc["ghost"].isna().all()
    empty = population_scores(["T"], ["T"], populations=["T", "ghost"]).loc["ghost"]
    assert empty[["recall", "precision", "f1", "recall_low"]].isna().all()


def test_categories_and_their_order_do_not_matter():
    truth, labels = draw()
    index = [f"c{i}" for i in range(len(truth))]
    a = annotation_scores(truth, labels, populations=NAMES)
    b = annotation_scores(
        pd.Series(pd.Categorical(truth), index=index),
        pd.Series(pd.Categorical(labels, categories=["unclassified", "B", "NK", "T"]), index=index),
        populations=NAMES[::-1],
    )
    pd.testing.assert_series_equal(a, b)


@given(n=st.integers(1, 400), data=st.data(), level=st.sampled_from([0.5, 0.9, 0.95, 0.99]))
def test_wilson_is_that_of_scipy(n, data, level):
    hits = data.draw(st.integers(0, n))
    low, high = wilson_interval(hits, n, level=level)
    own = binomtest(hits, n).proportion_ci(level, method="wilson")
    assert (low, high) == pytest.approx((own.low, own.high), abs=1e-12)
    assert 0 <= low <= hits / n <= high <= 1
    other = wilson_interval(n - hits, n, level=level)
    assert (1 - other[1], 1 - other[0]) == pytest.approx((low, high), abs=1e-12)


def test_wilson_of_nothing_and_refusals():
    assert np.isnan(wilson_interval(0, 0)).all()
    with pytest.raises(ValueError, match="`hits` is 3, but must be at least 0 and at most 2. There cannot"):
        wilson_interval(3, 2)
    with pytest.raises(ValueError, match="`level` is 1,"):
        wilson_interval(1, 2, level=1.0)


@pytest.mark.parametrize("rate", [0.0, 0.03, 0.2, 1.0])
def test_flags_keep_to_their_rate_and_no_lower_threshold_does(rate):
    rng = np.random.default_rng(1)
    absent = rng.random(500) < 0.1
    score = np.round(rng.normal(size=500) + 2 * absent, 2)  # with ties
    found = flag_recall(score, absent, false_flags=rate)
    own = score[~absent]
    assert found["false_flags"] == (own > found["threshold"]).mean() <= rate
    assert found["recall"] == (score[absent] > found["threshold"]).mean()
    below = score[score < found["threshold"]]
    if len(below):
        assert (own > below.max()).mean() > rate
    assert (found["low"], found["high"]) == wilson_interval(
        int(round(found["recall"] * absent.sum())), int(absent.sum())
    )
    assert found["auc"] == metrics.roc_auc_score(absent, score)
    assert found["cells"] == absent.sum()


def test_flags_by_hand():
    score, absent = [0.9, 0.8, 0.7, 0.6, 0.5, 0.4], np.array([1, 0, 1, 0, 0, 0], bool)
    assert flag_recall(score, absent, false_flags=0.24)[["recall", "threshold"]].tolist() == [0.5, 0.8]
    assert flag_recall(score, absent, false_flags=0.25)[["recall", "threshold"]].tolist() == [1.0, 0.6]


def test_the_recall_curve_is_that_of_sklearn():
    rng = np.random.default_rng(2)
    member = rng.random(400) < 0.05
    score = np.round(rng.beta(1, 3, 400) + 0.3 * member, 2)
    curve = recall_curve(score, member)
    precision, recall, threshold = metrics.precision_recall_curve(member, score)
    own = curve.iloc[::-1].reset_index(drop=True)
    at = np.searchsorted(threshold, own["threshold"])
    np.testing.assert_allclose(own["recall"], recall[at])
    np.testing.assert_allclose(own["precision"], precision[at])
    assert curve["recall"].is_monotonic_increasing
    assert curve["threshold"].is_monotonic_decreasing
    assert curve["recall"].iloc[-1] == 1
    assert curve["called"].iloc[-1] == 400
    row = curve.iloc[3]
    assert (row["recall_low"], row["recall_high"]) == wilson_interval(int(row["hits"]), int(member.sum()))
    assert (row["precision_low"], row["precision_high"]) == wilson_interval(
        int(row["hits"]), int(row["called"])
    )


def test_calibration_bins_by_hand_and_in_sum():
    rng = np.random.default_rng(3)
    p = np.r_[rng.random(5000), 1.0, 0.0]
    correct = rng.random(len(p)) < p
    table = calibration_table(p, correct, n_bins=20)
    assert table["cells"].sum() == len(p)
    assert (table["observed"] * table["cells"]).sum() == pytest.approx(correct.sum())
    assert (table["probability"] * table["cells"]).sum() == pytest.approx(p.sum())
    assert ((table["probability"] >= table["low"]) & (table["probability"] <= table["high"])).all()
    inside = (p >= 0.3) & (p < 0.35)
    assert table.loc[6, "cells"] == inside.sum()
    assert table.loc[6, "observed"] == pytest.approx(correct[inside].mean())
    ends = table.loc[6, ["observed_low", "observed_high"]].tolist()
    assert ends == list(wilson_interval(int(correct[inside].sum()), int(inside.sum())))
    # calibrated but for chance; overconfident by construction
    assert calibration_error(p, correct, n_bins=20) < 0.04
    sure = np.where(p > 0.5, 1.0, 0.0)
    assert calibration_error(sure, correct) == pytest.approx(0.25, abs=0.02)
    gap = (table["probability"] - table["observed"]).abs()
    assert calibration_error(p, correct, n_bins=20) == pytest.approx((gap * table["cells"]).sum() / len(p))
    empty = calibration_table([0.05, 0.95], np.array([False, True]))
    assert empty["observed"].isna().sum() == 8
    assert calibration_error([0.05, 0.95], np.array([False, True])) == pytest.approx(0.05)


def test_mixing_is_one_apart_and_nearly_two_mixed():
    rng = np.random.default_rng(4)
    x, batch = rng.normal(size=(600, 3)), np.repeat(["a", "b"], 300)
    assert mixing_index(x + 50 * (batch == "a")[:, None], batch) == 1
    assert mixing_index(x, batch) == pytest.approx(2 - 2 / 30, abs=0.03)
    assert mixing_index(x, np.tile(["a", "b", "c"], 200)) > 2.7
    assert 1.1 < mixing_index(x + (batch == "a")[:, None], batch) < 1.8
    # rows of another order, another scale of all, another name of the batches: the same
    order = rng.permutation(600)
    assert mixing_index(x[order] * 7, batch[order]) == pytest.approx(mixing_index(x, batch), abs=1e-12)
    assert mixing_index(x, batch == "a") == mixing_index(x, batch)


def test_mixing_by_hand():
    x = np.array([[0.0], [1.0], [2.1], [10.0], [11.0], [12.1]])
    batch = list("abaabb")
    near = [[1, 2], [0, 2], [1, 0], [4, 5], [3, 5], [4, 3]]
    share = [np.mean([batch[j] == "a" for j in n]) for n in near]
    assert mixing_index(x, batch, n_neighbors=2) == pytest.approx(
        np.mean([1 / (p**2 + (1 - p) ** 2) for p in share])
    )


def test_sizes_of_batches_and_their_composition_do_not_count_as_separation():
    rng = np.random.default_rng(5)
    x = rng.normal(size=(2000, 2))
    batch = np.where(rng.random(2000) < 0.15, "small", "large")
    assert mixing_index(x, batch) > 1.7
    batch = np.where(rng.random(2000) < 0.4, "small", "large")
    pop = rng.random(2000) < np.where(batch == "small", 0.8, 0.2)
    apart = x + 100 * pop[:, None]
    assert mixing_index(apart, batch) < mixing_index(apart, batch, labels=pop) - 0.1
    assert mixing_index(apart, batch, labels=pop) > 1.6
    few = mixing_index(apart, batch, labels=pop, max_cells=800, seed=1)
    assert few == mixing_index(apart, batch, labels=pop, max_cells=800, seed=1) > 1.5


def test_shift_is_that_of_the_simulation():
    rng = np.random.default_rng(6)
    n = 4000
    pop, batch = rng.choice(["T", "B"], n), rng.choice(["a", "b"], n)
    x = 0.1 * rng.normal(size=(n, 3)) + np.where(pop == "T", 5.0, 0.0)[:, None]
    shift = np.array([[0.0, 0.3, -0.6], [0.3, 0.0, 0.0]])  # T, B
    x[batch == "b"] += np.where((pop == "T")[:, None], shift[0], shift[1])[batch == "b"]
    found = population_shift(x, batch, pop, markers=["m1", "m2", "m3"])
    np.testing.assert_allclose(found.loc[["T", "B"]], np.abs(shift), atol=0.02)
    assert marker_shift(x, batch, pop) == pytest.approx(0.2, abs=0.02)
    assert marker_shift(x, batch, pop) == pytest.approx(found.to_numpy().mean())
    # the composition of the batches does not matter
    drop = (batch == "b") & (pop == "T") & (rng.random(n) < 0.8)
    assert marker_shift(x[~drop], batch[~drop], pop[~drop]) == pytest.approx(0.2, abs=0.02)
    # cells without a label and populations of one batch are left out
    pop = pop.astype(object)
    pop[:50] = None
    pop[(batch == "a") & (np.arange(n) > 3900)] = "only a"
    found = population_shift(x, batch, pop)
    assert found.loc["only a"].isna().all()
    assert found.drop("only a").notna().all(axis=None)


TWO = {"truth": ["T", "B"], "labels": ["T", "B"]}


@pytest.mark.parametrize(
    ("call", "kind", "text"),
    [
        (lambda: annotation_scores("T", ["T"]), TypeError, "`truth` must be one label per cell"),
        (lambda: annotation_scores(["T"], ["T", "B"]), ValueError, "`truth` has 1 cells, but `labels` has 2"),
        (lambda: annotation_scores(**TWO, populations=["NK"]), ValueError, "No true label is one of the popul"),
        (lambda: annotation_scores(pd.Series(["T"], ["x"]), pd.Series(["T"], ["y"])), ValueError, "different indic"),
        (lambda: annotation_scores(**TWO, populations=["T", "T"]), ValueError, "1 duplicated names"),
        (lambda: confusion_table(["T"], ["B"], populations=["T"]), ValueError, r"holds \['B'\], none of the"),
        (lambda: flag_recall([0.1, np.nan], [True, False]), ValueError, "`score` holds 1 values that are NaN"),
        (lambda: flag_recall([0.1, 0.2], [1, 0]), TypeError, "must hold True or False for each of 2 cells"),
        (lambda: flag_recall([0.1, 0.2], [True, True]), ValueError, "there must be cells of both kinds"),
        (lambda: flag_recall([0.1, 0.2], [True, False], false_flags=3), ValueError, "`false_flags` is 3"),
        (lambda: recall_curve([0.1], [False]), ValueError, "`member` marks no cell"),
        (lambda: recall_curve([[0.1]], [True]), ValueError, "must hold one number per cell"),
        (lambda: calibration_table([1.2], [True]), ValueError, r"must lie in \[0, 1\]"),
        (lambda: calibration_table([0.2], [True], n_bins=0), ValueError, "`n_bins` is 0"),
        (lambda: mixing_index(np.zeros((9, 2)), ["a"] * 9, n_neighbors=3), ValueError, "at least 2 different ones"),
        (lambda: mixing_index(np.zeros(9), ["a"] * 9), ValueError, "must be cells x markers"),
        (lambda: mixing_index(np.zeros((3, 2)), ["a", "b", None], n_neighbors=2), ValueError, "1 missing entries"),
        (lambda: mixing_index(np.zeros((3, 2)), ["a", "b", "a"]), ValueError, "`n_neighbors` is 30.*are 3 cells"),
        (lambda: mixing_index(np.eye(4), list("abab"), n_neighbors=3, labels=list("ttbb")), ValueError, "No pop"),
        (lambda: marker_shift(np.eye(4), list("abab"), list("ttbb")), ValueError, "No population has 10 cells in two"),
        (lambda: population_shift(np.eye(2), list("ab"), list("tt"), markers=["x"]), ValueError, "has 1 names"),
        (lambda: marker_shift(np.eye(2), list("ab"), ["t"]), ValueError, "there are 2 cells, each of which needs one"),
    ],
)  # fmt: skip
def test_refusals(call, kind, text):
    with pytest.raises(kind, match=text):
        call()
