"""Contributions add up exactly; wrong entries of a table are found."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from scipy.stats import norm

from scmods._checks import MissingKeyError
from scmods.scyan import _readout
from scmods.scyan.denials import contradictions
from scmods.scyan.explaining import explain, population_evidence
from scmods.scyan.model import Scyan
from scmods.scyan.simulate import cytometry


def second(joint):
    order = np.argsort(-joint, axis=1)
    return order[:, 0], order[:, 1]


def parts(found, model):
    return found[[*model.markers, "weights"]].to_numpy().sum(axis=1)


def test_markers_and_weights_add_up_to_the_difference_of_the_joint_log_probabilities(model):
    found, joint = explain(model), model.joint_log_prob()
    best, runner = second(joint)
    at = np.arange(len(joint))
    np.testing.assert_allclose(parts(found, model), joint[at, best] - joint[at, runner], atol=1e-9, rtol=0)
    np.testing.assert_allclose(found["difference"], joint[at, best] - joint[at, runner], atol=1e-9, rtol=0)
    names = np.array(model.names)
    assert (found["chosen"].astype(str) == names[best]).all()
    assert (found["rival"].astype(str) == names[runner]).all()
    assert (found["difference"] >= 0).all()
    # the log-ratio of the posteriors, too
    proba = model.predict_proba().to_numpy()
    there = proba[at, runner] > 1e-200
    odds = np.log(proba[at, best][there]) - np.log(proba[at, runner][there])
    np.testing.assert_allclose(parts(found, model)[there], odds, atol=1e-9, rtol=1e-12)


def test_against_a_named_population(model):
    joint, at = model.joint_log_prob(), np.arange(len(model.adata))
    best = joint.argmax(axis=1)
    found = explain(model, against="P02")
    np.testing.assert_allclose(parts(found, model), joint[at, best] - joint[:, 1], atol=1e-9, rtol=0)
    own = found["chosen"] == "P02"
    assert own.any()
    assert (found.loc[own, [*model.markers, "weights"]] == 0).all(axis=None)


def test_against_belonging_to_no_row(model):
    found = explain(model, against="unclassified")
    np.testing.assert_allclose(parts(found, model), -model.log_odds_unlisted(), atol=1e-9, rtol=0)
    np.testing.assert_allclose(found["difference"], -model.log_odds_unlisted(), atol=1e-9, rtol=0)
    assert (found["rival"] == "unclassified").all()
    assert (found["difference"] < 0).any()
    assert (found["chosen"].astype(str) == np.array(model.names)[model.joint_log_prob().argmax(axis=1)]).all()
    # the terms by hand: an entry that may be wrong, against a standard normal
    u, rate = model.latent(), model.contamination.entries
    for i in range(0, 1200, 97):
        for m, marker in enumerate(model.markers):
            mode = model.table.loc[found["chosen"].iloc[i], marker]
            flat = (norm.cdf((u[i, m] + 1) / 0.3) - norm.cdf((u[i, m] - 1) / 0.3)) / 2
            own = flat if np.isnan(mode) else (1 - rate) * norm.pdf(u[i, m], mode, 0.3) + rate * flat
            assert found[marker].iloc[i] == pytest.approx(np.log(own) - norm.logpdf(u[i, m]), abs=1e-6)
    # no marker can cost much more than the logarithm of the rate
    inside = np.abs(u) < 1
    assert found[model.markers].to_numpy()[inside].min() > np.log(rate) - 1


def test_a_contribution_by_hand(plain):
    found = explain(plain, cells=[7]).iloc[0]
    u, table = plain.latent()[7], plain.table
    for m, marker in enumerate(plain.markers):
        terms = []
        for name in (found["chosen"], found["rival"]):
            mode = table.loc[name, marker]
            if np.isnan(mode):
                low, high = norm.cdf((u[m] + 1) / 0.3), norm.cdf((u[m] - 1) / 0.3)
                terms.append(np.log((low - high) / 2))
            else:
                terms.append(norm.logpdf(u[m], mode, 0.3))
        assert found[marker] == pytest.approx(terms[0] - terms[1], abs=1e-9)


def test_cells_by_name_position_and_mask_are_the_same(ready):
    names = ready.adata.obs_names
    mask = np.zeros(len(names), dtype=bool)
    mask[[5, 40]] = True
    whole = explain(ready).iloc[[5, 40]]
    for cells in ([5, 40], list(names[[5, 40]]), mask, pd.Series(mask, index=names)):
        pd.testing.assert_frame_equal(explain(ready, cells=cells), whole)
    one = explain(ready, ready.adata[[40]].copy())
    assert one.index[0] == names[40]
    pd.testing.assert_frame_equal(one, whole.iloc[[1]])


def test_blocks_do_not_change_the_result(ready, monkeypatch):
    whole = explain(ready)
    monkeypatch.setattr(_readout, "BLOCK", 77)
    pd.testing.assert_frame_equal(explain(ready), whole)


def test_evidence_of_populations_is_the_mean_of_their_cells(ready):
    proba = ready.predict_proba()
    label = proba.columns.to_numpy()[proba.to_numpy().argmax(axis=1)]
    found, each = population_evidence(ready), explain(ready)
    assert list(found.index) == ready.names
    for name in ready.names:
        own = each[label == name]
        assert found.loc[name, "cells"] == len(own)
        columns = ["difference", *ready.markers, "weights"]
        np.testing.assert_allclose(found.loc[name, columns].astype(float), own[columns].mean(), atol=1e-9)
        assert found.loc[name, "rival"] == own["rival"].value_counts().index[0]


def test_evidence_of_given_labels_names_the_separating_markers(plain):
    data = plain.adata.copy()
    data.obs["label"] = (
        data.obs["cell_type"].astype(object).where(data.obs["cell_type"] != "unlisted", "unclassified")
    )
    data.obs.loc[data.obs["label"] == "P06", "label"] = None
    found = population_evidence(plain, data, label_key="label")
    assert found.loc["P06", "cells"] == 0
    assert found.loc["P06", ["rival", *plain.markers]].isna().all()
    assert found["cells"].sum() == data.obs["label"].isin(plain.names).sum()
    against = population_evidence(plain, data, label_key="label", against="P04")
    for name in ("P01", "P02", "P03"):
        here, there = plain.table.loc[name], plain.table.loc["P04"]
        # where two rows say the same, no marker can speak for one of them
        same = (here == there) | (here.isna() & there.isna())
        assert (against.loc[name, plain.markers][same].astype(float).abs() < 1e-9).all()


def test_a_flipped_entry_of_a_table_is_found(make_ready):
    data = cytometry(2000, 8, 12, rare=0.0, separation=1.5)
    table = data.uns["table"]
    assert len(contradictions(make_ready(data, table))) == 0
    flips = list(zip(*np.nonzero(table.notna().to_numpy()), strict=True))[::6]
    listed = clear = first = 0
    for p, m in flips:
        wrong = table.copy()
        wrong.iloc[p, m] *= -1
        found = contradictions(make_ready(data, wrong))
        hit = (found["population"] == table.index[p]) & (found["marker"] == table.columns[m])
        listed += bool(hit.any() and found.loc[hit, "entry"].iloc[0] == wrong.iloc[p, m])
        if len(found) and found["separated"].iloc[0] and found["border"].iloc[0] == "rows":
            clear += 1
            first += bool(hit.iloc[0])
    assert listed >= 0.9 * len(flips)
    assert clear >= 0.6 * len(flips)
    assert first >= 0.6 * clear  # the flipped one leads, where other rows and markers can judge


def test_shares_of_denying_cells_by_hand(plain):
    found = contradictions(plain, share=0.0, certainty=0.9, min_cells=1)
    u, x, rho = plain.latent(), plain.adata.X.astype(float), plain.table.to_numpy()

    def sure(without):
        total = []
        for q in range(len(rho)):
            each = norm.logpdf(u, rho[q], 0.3)
            unknown = np.log(((norm.cdf((u + 1) / 0.3) - norm.cdf((u - 1) / 0.3)) / 2).clip(1e-300))
            each = np.where(np.isnan(rho[q]), unknown, each)
            total.append(
                np.log(0.98) + _readout.log_weights(plain)[q] + np.delete(each, without, axis=1).sum(axis=1)
            )
        total.append(np.log(0.02) + np.delete(norm.logpdf(u), without, axis=1).sum(axis=1))
        proba = np.exp(np.array(total) - np.max(total, axis=0))
        return proba / proba.sum(axis=0) >= 0.9

    checked = 0
    for _, row in found[found["border"] == "rows"].iloc[::5].iterrows():
        m, p = plain.markers.index(row["marker"]), plain.names.index(row["population"])
        members = sure([m]) | sure([])
        level = [np.median(x[own, m]) if own.any() else np.nan for own in members[:-1]]
        sides = [np.nanmedian([v for q, v in enumerate(level) if q != p and rho[q, m] == s]) for s in (-1, 1)]
        above = x[members[p], m] > np.mean(sides)
        assert row["cells"] == members[p].sum()
        assert row["latent"] == pytest.approx(u[members[p], m].mean())
        assert row["wrong"] == pytest.approx(1 - above.mean() if rho[p, m] > 0 else above.mean())
        checked += 1
    assert checked >= 4


def test_batches_with_other_gains_are_judged_each_by_itself(make_ready):
    data = cytometry(2000, 8, 12, rare=0.0, separation=1.5)
    model = make_ready(data, data.uns["table"])
    whole = contradictions(model, share=0.0).set_index(["population", "marker"])["wrong"]
    number = np.arange(data.n_obs) % 2
    data.layers["moved"] = data.X * np.where(number, 0.6, 1.0)[:, None] + 4.0 * number[:, None]
    model.layer = "moved"
    blind, told = [], []
    for codes, out in ((0 * number, blind), (number, told)):
        model.encoding.numbers = lambda _, codes=codes: codes
        out.append(contradictions(model, share=0.0).set_index(["population", "marker"])["wrong"])
    assert blind[0].mean() > 0.2
    # the same but for chance in means and deviations
    np.testing.assert_allclose(told[0].reindex(whole.index, fill_value=0), whole, atol=0.15)


@pytest.mark.filterwarnings("ignore:The table has")
def test_a_flow_that_fits_a_wrong_entry_does_not_hide_it():
    data = cytometry(1500, 8, 12, rare=0.0, separation=1.2, seed=11)
    data.uns["table"].loc["P01", "M05"] *= -1
    row = contradictions(Scyan(data).fit(max_epochs=12)).iloc[0]
    assert (row["population"], row["marker"], row["separated"]) == ("P01", "M05", True)
    assert row["wrong"] > 0.9
    assert row["latent"] * row["entry"] > 0.5  # bent to where the table wants them


def test_a_marker_that_two_rows_alone_differ_in_is_called_so(cells, make_ready):
    table = cells.uns["table"].iloc[:2].copy()
    table.iloc[1] = table.iloc[0]
    m = int(np.flatnonzero(table.iloc[0].notna())[0])
    table.iloc[1, m] *= -1
    found = contradictions(make_ready(cells, table), share=0.0, min_cells=1, certainty=0.5)
    assert (found["border"] == "mixture").all()  # there is no third row
    own = found["marker"] == table.columns[m]
    assert not found.loc[own, "separated"].any()
    assert found.loc[~own, "separated"].all()


@pytest.mark.parametrize(
    ("options", "kind", "text"),
    [
        ({"against": "P9"}, ValueError, "`against` is 'P9', but must be one of"),
        ({"cells": ["nobody"]}, MissingKeyError, "names 1 cells that do not exist: \\['nobody'\\]"),
        ({"cells": [5000]}, ValueError, r"holds \['5000'\], but positions lie in \[0, 1199\]"),
        ({"cells": [-1]}, ValueError, "positions lie in"),
        ({"cells": [True, False]}, ValueError, r"mask of shape \(2,\), but there are 1200 cells"),
        ({"cells": []}, ValueError, "holds no cell"),
        ({"cells": [1.5]}, TypeError, "must hold names, whole numbers, or True and False"),
    ],
)
def test_refusals_of_explain(ready, options, kind, text):
    with pytest.raises(kind, match=text):
        explain(ready, **options)


def test_a_model_from_a_file_explains_the_same(trained, tmp_path):
    back = Scyan.load(trained.save(tmp_path / "model.safetensors"))
    with pytest.raises(ValueError, match="The model holds no cells, and `adata` is None"):
        explain(back)
    pd.testing.assert_frame_equal(explain(back, trained.adata), explain(trained))


def test_refusals_about_the_model(cells, make_ready, ready):
    with pytest.raises(ValueError, match="but the model knows none"):
        explain(make_ready(cells, cells.uns["table"], background=0.0), against="unclassified")
    with pytest.raises(ValueError, match="one population, 'P01', so no cell has a runner-up"):
        explain(make_ready(cells, cells.uns["table"].iloc[:1]))
    lost = make_ready(cells, cells.uns["table"])
    lost.adata = None
    with pytest.raises(ValueError, match="The model holds no cells"):
        explain(lost)
    with pytest.raises(ValueError, match="`adata` has no cells. Look at the filter"):
        explain(ready, cells[:0])
    odd = make_ready(cells, cells.uns["table"])
    odd.markers = ["weights", *odd.markers[1:]]
    with pytest.raises(ValueError, match="have the names of columns of the result"):
        explain(odd)
    data = cells.copy()
    data.obs["label"] = "P01 "
    with pytest.raises(
        ValueError, match=r"labels that the table does not know: \['P01 '\].*Did you mean 'P01'"
    ):
        population_evidence(ready, data, label_key="label")
    with pytest.raises(MissingKeyError, match="obs\\['nothing'\\].*model.predict"):
        population_evidence(ready, data, label_key="nothing")
    data.obs["label"] = "unclassified"
    with pytest.raises(ValueError, match="None of 1200 cells has a population"):
        population_evidence(ready, data, label_key="label")
