"""The table of recovery beside its rivals, and the slow way to one head beside the fast one."""

from __future__ import annotations

import numpy as np
import pytest
from anndata import AnnData

from scmods._checks import MissingKeyError
from scmods.amici.model import AMICI
from scmods.amici.simulate import semisynthetic
from scmods.amici.study import KINDS, RIVALS, recovery_table, single_head_prediction


@pytest.fixture(scope="module")
def adata() -> AnnData:
    return semisynthetic(500, 40, seed=2)


@pytest.fixture(scope="module")
def model(adata, sizes) -> AMICI:
    return AMICI(adata, **{**sizes, "n_neighbors": 8}).fit(max_epochs=2, restarts=2)


@pytest.fixture(scope="module")
def found(model, adata) -> tuple:
    return recovery_table(model, adata)


# --- rivals


def test_the_rows_are_scores_between_zero_and_one(model, found):
    table, scores = found
    assert list(table.index) == [*KINDS, *RIVALS, "chance"]
    assert list(table.columns) == ["sender", "receiver", "gene"]
    assert list(scores) == [*KINDS, *RIVALS]
    assert all(s.shape == model.neighbors.shape for s in scores.values())
    known = table.drop(columns="gene")
    assert ((known > 0) & (known <= 1)).all(axis=None)


def test_chance_is_the_share_of_what_is_true(adata, found):
    table, _ = found
    shares = [adata.varm["responds"][r].mean() for r in adata.uns["interactions"]["receiver"]]
    assert table.loc["chance", "gene"] == pytest.approx(np.mean(shares))
    assert np.isnan(table.loc["minus distance", "gene"])  # distance ranks no gene
    assert (table.loc[list(KINDS), "gene"] == table.loc["attention", "gene"]).all()


def test_a_hard_radius_is_trivial_for_the_rule(found):
    """With a step at a radius the rule is told the truth; few epochs of a small model are not."""
    table, _ = found
    assert table.loc["indicator regression", "sender"] > 0.9
    assert table.loc["indicator regression", "sender"] > table.loc["attention", "sender"]
    assert table.loc["indicator regression", "gene"] > 0.8


def test_scores_are_those_of_the_model(model, adata, found):
    _, scores = found
    for kind in KINDS:
        np.testing.assert_array_equal(scores[kind], model.pair_scores(adata, by=kind))


def test_a_tissue_without_truth_is_refused(model, adata):
    bare = adata.copy()
    del bare.uns["interactions"]
    with pytest.raises(MissingKeyError, match=r"uns\['interactions'\].*amici.semisynthetic\(\)"):
        recovery_table(model, bare)
    null = semisynthetic(500, 40, mode="null", seed=2)
    with pytest.raises(ValueError, match="no true pair"):
        recovery_table(model, null)
    with pytest.raises(ValueError, match="`shape` is 'cone'"):
        recovery_table(model, adata, shape="cone")


# --- the slow way


@pytest.mark.parametrize("head", [0, 1])
def test_one_head_the_slow_way_is_the_fast_one(model, head):
    cells = np.array([3, 40, 41, 499])
    slow = single_head_prediction(model, cells, head)
    fast = model.heads(cells=cells).predict([head])
    np.testing.assert_allclose(slow, fast, rtol=1e-10, atol=1e-12)
    assert np.ptp(slow - single_head_prediction(model, cells, 1 - head)) > 1e-6


def test_a_head_that_is_not_there_is_refused(model):
    with pytest.raises(ValueError, match="`head` is 2, but must be at least 0 and at most 1"):
        single_head_prediction(model, [0], 2)
    with pytest.raises(TypeError, match="`head` is 0.5"):
        single_head_prediction(model, [0], 0.5)
