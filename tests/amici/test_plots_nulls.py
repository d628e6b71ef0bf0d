"""Nulls and training: what is drawn is what was given."""

from __future__ import annotations

from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest

from scmods import _checks
from scmods.amici import plots
from scmods.training import History


def crossfit(n_draws: int = 400) -> SimpleNamespace:
    rng = np.random.default_rng(0)
    table = pd.DataFrame({"receiver": ["T", "T", "B"], "sender": ["B", "DC", "T"]})
    table["statistic"], table["pvalue_adj"] = [30.0, np.nan, 1.0], [0.004, np.nan, 0.7]
    null = rng.normal(size=(3, n_draws)) * [[2.0], [np.nan], [5.0]] + [[1.0], [0.0], [0.0]]
    return SimpleNamespace(table=table, null=null)


def pvalues(n: int = 300) -> pd.DataFrame:
    p = np.linspace(0.001, 0.999, n)
    both = pd.DataFrame({"p_value_head": np.r_[p, p**3], "cells": np.repeat(["held_out", "train"], n)})
    both.loc[5, "p_value_head"] = np.nan
    return both


def fields() -> pd.DataFrame:
    return pd.DataFrame(
        {"wavelength": [40.0, 0.0], "n_pairs": 100, "free": [0.25, 0.05], "toroidal": [0.06, 0.04]}
    )


def test_every_figure_is_labelled_told_and_light(check, drawn_in):
    history = History(list(np.linspace(3, 1, 2000)), list(np.linspace(3, 2, 2000)), 1990, 1.0)
    figures = {
        "plot_null": plots.plot_null(crossfit()),
        "plot_calibration": plots.plot_calibration(pvalues(5000)),
        "plot_false_calls": plots.plot_false_calls(fields()),
        "plot_training": plots.plot_training({"seed 0": history, "seed 1": history}),
    }
    check(figures, drawn_in("evidence", "training"), most=20)


# nulls


def test_null_shows_quantiles_of_the_draws_and_the_statistic(alt, ticks):
    test = crossfit()
    fig = plots.plot_null(test)
    assert ticks(fig) == ["B to T", "T to B"]
    thin, thick, passed, others = fig.data
    for i, row in enumerate((0, 2)):
        draws = test.null[row]
        scaled = (draws - draws.mean()) / draws.std()
        ends = slice(3 * i, 3 * i + 2)
        np.testing.assert_allclose(thin.x[ends], np.quantile(scaled, [0.025, 0.975]), rtol=1e-5)
        np.testing.assert_allclose(thick.x[ends], np.quantile(scaled, [0.25, 0.75]), rtol=1e-5)
        z = (test.table["statistic"][row] - draws.mean()) / draws.std()
        mark = passed if row == 0 else others
        assert (mark.x[0], mark.y[0]) == (pytest.approx(z, rel=1e-6), i)
    assert "2 tested pairs, 400 draws each. 1 have pvalue_adj of at most 0.05" in alt(fig)


def test_calibration_sorts_p_against_their_ranks(alt):
    table = pvalues()
    fig = plots.plot_calibration(table)
    assert [t.name.split(":")[0] for t in fig.data] == ["what they claim", "held_out", "train"]
    for trace, (_, part) in zip(fig.data[1:], table.groupby("cells"), strict=True):
        p = np.sort(part["p_value_head"].dropna())
        np.testing.assert_allclose(trace.y, p, rtol=1e-6)
        np.testing.assert_allclose(trace.x, (np.arange(len(p)) + 0.5) / len(p), rtol=1e-6)
        assert f"{(p <= 0.05).mean():.1%} of {len(p)}" in alt(fig)


def test_false_calls_are_shares_over_wavelength(alt):
    fig = plots.plot_false_calls(fields())
    assert fig.data[0].x.tolist() == [0, 40]
    np.testing.assert_allclose(fig.data[0].y, [0.05, 0.25], rtol=1e-6)
    np.testing.assert_allclose(
        fig.data[0].error_y.array, 2 * np.sqrt([0.05 * 0.95 / 100, 0.25 * 0.75 / 100]), rtol=1e-6
    )
    assert "free from 0.05 to 0.25; toroidal from 0.04 to 0.06; 0.05 is claimed" in alt(fig)
    assert [t.name for t in plots.plot_false_calls(fields(), nulls=["toroidal"]).data] == ["toroidal"]


@pytest.mark.parametrize(
    ("call", "error", "text"),
    [
        (lambda: plots.plot_null(crossfit().table), TypeError, r"must be a CrossFit.*cross_fit\(adata\)"),
        (lambda: plots.plot_null(SimpleNamespace(table=crossfit().table, null=np.full((3, 5), np.nan))), ValueError,
         "No pair of `test` was tested"),
        (lambda: plots.plot_null(crossfit(), by="p"), _checks.MissingKeyError, "no column 'p'"),
        (lambda: plots.plot_calibration({}), ValueError, "`pvalues` is empty"),
        (lambda: plots.plot_calibration([0.5]), TypeError, "must be a table or a mapping"),
        (lambda: plots.plot_calibration({"a": [0.5, 1.5]}), ValueError, "goes from 0.5 to 1.5"),
        (lambda: plots.plot_calibration({"a": [np.nan]}), ValueError, "no p-value that is not NaN"),
        (lambda: plots.plot_calibration(pvalues(), by="x"), _checks.MissingKeyError, "no column 'x'"),
        (lambda: plots.plot_false_calls(fields(), nulls=["x"]), ValueError, "`nulls` is 'x'"),
        (lambda: plots.plot_false_calls(fields()[["wavelength", "n_pairs"]]), ValueError, "no column of a null"),
        (lambda: plots.plot_false_calls(fields().assign(free=2.0)), ValueError, r"'free' of `table` leaves \[0, 1\]"),
    ],
)  # fmt: skip
def test_nulls_refuse(call, error, text):
    with pytest.raises(error, match=text):
        call()


# training


def test_losses_and_the_kept_epoch_are_drawn(alt):
    history = History([3.0, 2.0, 1.5], [2.5, 2.25, 2.75], 1, 1.0)
    fig = plots.plot_training(history)
    assert [t.y.tolist() for t in fig.data] == [[3.0, 2.0, 1.5], [2.5, 2.25, 2.75], [2.25]]
    assert fig.data[2].x.tolist() == [1.0]
    assert "2.25 in epoch 1, whose weights are kept" in alt(fig)
    model = SimpleNamespace(runs=[SimpleNamespace(history=history), SimpleNamespace(history=history)])
    assert [t.name for t in plots.plot_training(model).data][:2] == [
        "network 0: objective, training",
        "network 0: reconstruction, validation",
    ]
    alone = plots.plot_training(History([3.0, 2.0], [], 1, 1.0))
    assert [t.y.tolist() for t in alone.data] == [[3.0, 2.0], [2.0]]


@pytest.mark.parametrize(
    ("history", "error", "text"),
    [
        ({}, ValueError, r"empty.*model.fit\(\)"),
        (SimpleNamespace(runs=[]), ValueError, "empty"),
        ([1.0, 2.0], TypeError, "holds a list, but must be a History"),
        (History([], [], 0, 1.0), ValueError, r"shape \(0,\)"),
        (History([1.0, np.nan], [], 0, 1.0), ValueError, "NaN or infinite"),
    ],
)
def test_training_refuses(history, error, text):
    with pytest.raises(error, match=text):
        plots.plot_training(history)
