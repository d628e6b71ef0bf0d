"""Length scales in closed form, against a lone neighbour, with intervals that cover."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from scmods._checks import MissingKeyError
from scmods.amici._example import example_outputs
from scmods.amici.contributions import sender_contributions
from scmods.amici.heads import HeadOutputs
from scmods.amici.scales import carrying_head, counterfactual_attention, length_scales, sender_lengths

PAIR = {"receiver": "naïve", "sender": "CD4/CD8"}


def known_scales(length: np.ndarray, n: int = 90) -> HeadOutputs:
    """Outputs whose senders reach a lone attention of one half exactly at the given lengths."""
    outputs = example_outputs(n)
    coefficient = np.full_like(outputs.tables.coefficient, 0.2)
    logit = 0.2 * length[:, None, None] + outputs.empty_logit
    score = np.broadcast_to(logit, outputs.tables.score.shape)
    return replace(outputs, tables=replace(outputs.tables, score=score, coefficient=coefficient))


def test_a_lone_neighbour_against_the_empty_slot() -> None:
    outputs = replace(example_outputs(), unit=2.5)
    distances = np.array([0.0, 3.0, 12.0])
    a = counterfactual_attention(outputs, distances, **PAIR, head=1)
    r = outputs.type_names.index("naïve")
    links = (outputs.types == r)[:, None] & (outputs.neighbor_types == 0)
    senders = np.unique(outputs.rows[links])
    assert len(a) == len(senders)
    for row, j in zip(a, senders, strict=True):
        for value, d in zip(row, distances, strict=True):
            logits = np.array(
                [outputs.tables.score[j, r, 1] - outputs.tables.coefficient[j, r, 1] * d / 2.5, 1.0]
            )
            assert value == pytest.approx(np.exp(logits[0]) / np.exp(logits).sum())


@given(st.floats(0.01, 0.99), st.floats(0.2, 20), st.integers(0, 50))
def test_length_is_where_attention_meets_the_threshold(threshold: float, unit: float, seed: int) -> None:
    outputs = replace(example_outputs(15, seed=seed), unit=unit)
    lengths = sender_lengths(outputs, **PAIR, head=0, threshold=threshold)
    a = np.diag(counterfactual_attention(outputs, lengths, **PAIR, head=0))
    np.testing.assert_allclose(a[lengths > 0], threshold, rtol=1e-9)
    assert (a[lengths == 0] <= threshold + 1e-12).all()


def test_distance_that_does_not_count_reaches_without_end() -> None:
    outputs = example_outputs(60)
    tables = replace(outputs.tables, coefficient=np.zeros_like(outputs.tables.coefficient))
    outputs = replace(outputs, tables=tables)
    lengths = sender_lengths(outputs, **PAIR, head=0, threshold=0.1)
    assert set(np.unique(lengths)) <= {0.0, np.inf}
    row = length_scales(outputs, [("naïve", "CD4/CD8")], head=0, n_boot=50, threshold=0.1).iloc[0]
    assert row["median"] == np.inf
    assert row["high"] == np.inf


def test_planted_lengths_come_back_with_an_interval_that_covers() -> None:
    covered = 0
    for seed in range(20):
        length = np.random.default_rng(seed).lognormal(2.5, 0.4, 90)
        row = length_scales(known_scales(length), [("naïve", "CD4/CD8")], n_boot=200, seed=seed).iloc[0]
        assert row["low"] <= row["median"] <= row["high"]
        covered += row["low"] <= np.exp(2.5) <= row["high"]
    assert covered >= 16
    outputs = known_scales(length)
    senders = np.unique(outputs.rows[(outputs.types == 2)[:, None] & (outputs.neighbor_types == 0)])
    assert row["median"] == pytest.approx(np.quantile(length[senders], 0.5, method="inverted_cdf"))
    assert row["n_senders"] == len(senders)


def test_a_reach_that_nobody_is_in_is_0() -> None:
    outputs = known_scales(np.full(90, 1e-3))
    row = length_scales(outputs, [("naïve", "CD4/CD8")], n_boot=20).iloc[0]
    assert row["exposed"] == 0
    assert (row[["median", "low", "high"]] == 0).all()
    far = length_scales(known_scales(np.full(90, 1e4)), [("naïve", "CD4/CD8")], n_boot=20).iloc[0]
    own = outputs.types == 2
    assert far["exposed"] == pytest.approx((outputs.neighbor_types[own] == 0).any(axis=1).mean())


def test_the_carrying_head_varies_most() -> None:
    for seed in range(6):
        outputs = example_outputs(n_heads=3, seed=seed)
        own = outputs.types == 2
        added = [sender_contributions(outputs, heads=[h])[own, 0] for h in range(3)]
        sums = np.array([one.var(axis=0).sum() for one in added])
        assert carrying_head(outputs, "naïve", "CD4/CD8") == sums.argmax()


def test_a_table_and_a_list_are_the_same_pairs() -> None:
    outputs = example_outputs(60)
    table = pd.DataFrame({"sender": ["CD4/CD8", "naïve"], "receiver": ["naïve", "L2/3 IT"], "pvalue": 0.01})
    pairs = [("naïve", "CD4/CD8"), ("L2/3 IT", "naïve")]
    assert length_scales(outputs, table, n_boot=20).equals(length_scales(outputs, pairs, n_boot=20))
    assert length_scales(outputs, table.iloc[:0]).shape == (0, 8)


def test_a_pair_that_never_meets_is_nan() -> None:
    outputs = example_outputs(30)
    row = length_scales(outputs.subset(outputs.types != 2), [("naïve", "CD4/CD8")], head=0).iloc[0]
    assert np.isnan(row["median"])
    assert row["n_senders"] == 0


def test_refusals() -> None:
    outputs = example_outputs()
    with pytest.raises(ValueError, match="`receiver` is 'naive'.*Did you mean 'naïve'"):
        length_scales(outputs, [("naive", "CD4/CD8")])
    with pytest.raises(ValueError, match=r"must hold \(receiver, sender\).*pairs=\[\('T', 'Mono'\)\]"):
        length_scales(outputs, ["naïve", "CD4/CD8"])
    with pytest.raises(MissingKeyError, match=r"`pairs` lacks the columns \['sender'\]"):
        length_scales(outputs, pd.DataFrame({"receiver": ["naïve"]}))
    with pytest.raises(ValueError, match="both 'naïve', but cells of one type are never neighbours"):
        sender_lengths(outputs, receiver="naïve", sender="naïve", head=0)
    with pytest.raises(ValueError, match="`head` is 2.*The model has 2 heads"):
        sender_lengths(outputs, **PAIR, head=2)
    with pytest.raises(ValueError, match="`threshold` is 1,"):
        sender_lengths(outputs, **PAIR, head=0, threshold=1)
    with pytest.raises(ValueError, match="`distances` has shape .*at least 0"):
        counterfactual_attention(outputs, [-1.0], **PAIR, head=0)
