"""Recovery of known edges by the chapter's recipe, halves that share nothing, and tables of published numbers."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

from scmods import MissingKeyError, NumericalWarning, hopfield
from scmods.hopfield import study


@pytest.fixture(scope="module")
def circuit():
    adata = hopfield.random_circuit(600, 40, n_regulators=8, n_clusters=1, seed=0)
    hopfield.moments(adata, n_neighbors=10)
    hopfield.velocity(adata)
    hopfield.fit_hill(adata)
    return adata


def names_of(adata):
    return list(adata.var_names[adata.var["transcription_factor"]])


def fitted(adata, **options):
    return hopfield.fit(adata.copy(), regulators=names_of(adata), ridge=0.3, **options)


def test_effects_find_edges_that_the_mask_does_not(circuit):
    weights = hopfield.penalty_factors(circuit, regulators=names_of(circuit))
    field = fitted(circuit, edge_weights=weights)
    scores = hopfield.edge_scores(circuit, field, cluster_key="cell_type")
    table, curves = hopfield.recovery_study(scores, hopfield.true_edges(circuit), names_of(circuit))
    assert table.loc["effects of the field", "tf_auroc"] > 0.75
    assert table.loc["regulators alone", "tf_auroc"] == 0.5
    assert table.loc["perfect within regulators", "tf_auroc"] == 1
    assert table.loc["effects of the field", "tf_auroc"] > table.loc["the original's objective", "tf_auroc"]
    assert set(curves["scorer"]) == set(scores)


def test_evidence_improves_the_edges(circuit):
    truth, regs = hopfield.true_edges(circuit), names_of(circuit)
    found = {}
    for name, weights in (("with", hopfield.penalty_factors(circuit, regulators=regs)), ("without", None)):
        field = fitted(circuit, edge_weights=weights)
        score = study._matrix(hopfield.effects(field, circuit, zeros=True), "effect")
        found[name] = hopfield.edge_recovery(score, truth, regulators=regs).loc["score", "tf_auroc"]
    assert found["with"] > found["without"] + 0.03


def test_shuffled_truth_is_found_by_chance_only(circuit):
    truth = hopfield.true_edges(circuit)
    order = np.random.default_rng(0).permutation(len(truth))
    mixed = pd.DataFrame(truth.to_numpy()[order], truth.index, truth.columns)
    field = fitted(circuit)
    score = study._matrix(hopfield.effects(field, circuit, zeros=True), "effect")
    found = hopfield.edge_recovery(score, mixed, regulators=names_of(circuit)).loc["score", "tf_auroc"]
    assert 0.35 < found < 0.65


def test_penalty_factors_are_one_for_average_evidence_and_bounded(circuit):
    regs = names_of(circuit)
    factors = hopfield.penalty_factors(circuit, regulators=regs, largest=50.0)
    size = hopfield.association(circuit, regulators=regs).abs()
    expected = (size.mean(axis=1).to_numpy()[:, None] / size.to_numpy()).clip(max=50.0)
    np.testing.assert_allclose(factors.to_numpy(), expected, rtol=1e-12)
    assert (hopfield.penalty_factors(circuit, regulators=regs, power=0.0) == 1).all(axis=None)
    with pytest.raises(ValueError, match="`largest` is 0.5"):
        hopfield.penalty_factors(circuit, regulators=regs, largest=0.5)


def test_halves_that_share_nothing_agree_less_than_halves_smoothed_together(circuit):
    options = {"regulators": names_of(circuit), "ridge": 0.3, "cluster_key": "cell_type"}
    together = hopfield.split_half(circuit, n_splits=1, **options)["correlation"].mean()
    apart = hopfield.independent_halves(circuit, circuit, n_neighbors=10, n_splits=1, **options)
    assert 0.2 < apart["correlation"].mean() < together
    again = hopfield.independent_halves(circuit, circuit, n_neighbors=10, n_splits=1, **options)
    pd.testing.assert_frame_equal(apart, again)


def test_halves_divide_every_cluster_and_share_no_cell():
    labels = np.array(["a"] * 7 + ["b"] * 4)
    for first, second in study._halves(labels, 3, 0):
        assert not set(first) & set(second)
        assert len(first) + len(second) == 11
        assert sum(labels[first] == "a") == 4
        assert sum(labels[first] == "b") == 2


def test_true_edges_are_refused_where_there_is_no_truth(circuit):
    other = circuit.copy()
    del other.varp["true_interactions"]
    with pytest.raises(MissingKeyError, match="true_interactions.*does not exist"):
        hopfield.true_edges(other)


def test_published_numbers_are_the_quoted_ones():
    table = hopfield.published()
    assert len(table) == 24
    linear = hopfield.published("dyngen_linear").set_index("known")
    assert linear.loc["regulators", ["auroc", "auprc"]].tolist() == [0.836, 0.056]
    assert hopfield.published("random_circuit").empty
    assert hopfield.published_agreement("pancreas") == 0.017
    assert hopfield.published_agreement("random_circuit") is None


@pytest.mark.data
def test_bars_of_the_chapter_on_two_circuits_not_used_for_choosing(data_folder):
    with pytest.warns(NumericalWarning, match="has not converged"):
        found = hopfield.circuit_study(["dyngen_linear", "dyngen_binary_tree"], n_neighbors=10)
    mean = found.groupby("score").mean(numeric_only=True)
    assert mean.loc["effects of the field", "tf_auroc"] >= 0.82
    assert mean.loc["effects of the field", "auprc"] >= 0.20
    assert (found["score"] == "published").sum() == 2
