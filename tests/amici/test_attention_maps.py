"""Maps of attention against plain loops, and hubs that were planted."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from scmods.amici._example import example_outputs
from scmods.amici.attention_maps import attention_by_distance, attention_hubs, neighbor_weights
from scmods.amici.heads import HeadOutputs


def test_weights_are_what_they_are_called() -> None:
    outputs = example_outputs()
    there = outputs.rows >= 0
    attention = neighbor_weights(outputs)
    np.testing.assert_allclose(attention.sum(axis=1), 1 - outputs.attention[:, :, -1], atol=1e-12)
    value = neighbor_weights(outputs, "value")
    for i, j in [(0, 0), (4, 2)]:
        norm = np.linalg.norm(outputs.tables.value[outputs.rows[i, j]], axis=1)
        np.testing.assert_allclose(value[i, j], outputs.attention[i, :, j] * norm)
    for by in ("attention", "value", "contribution"):
        assert (neighbor_weights(outputs, by)[~there] == 0).all()


def test_bins_hold_every_pair_once_and_their_means() -> None:
    outputs = example_outputs(60)
    table = attention_by_distance(outputs, bins=7)
    weight, far = neighbor_weights(outputs), outputs.distances
    for h in range(2):
        one = table[table["head"] == h]
        assert one["n_pairs"].sum() == (outputs.rows >= 0).sum()
        assert one["total"].sum() == pytest.approx(weight[..., h].sum())
    for row in table.sample(8, random_state=0).itertuples():
        last = row.high == table["high"].max()
        inside = (far >= row.low) & ((far <= row.high) if last else (far < row.high))
        inside &= (outputs.types == outputs.type_names.index(row.receiver))[:, None]
        inside &= outputs.neighbor_types == outputs.type_names.index(row.sender)
        assert row.n_pairs == inside.sum()
        assert row.weight == pytest.approx(weight[..., row.head][inside].mean())


def test_edges_leave_out_what_is_beyond() -> None:
    outputs = example_outputs(60)
    table = attention_by_distance(outputs, bins=[2.0, 6.0, 9.0], by="contribution")
    far = outputs.distances
    assert table.loc[table["head"] == 0, "n_pairs"].sum() == ((far >= 2) & (far <= 9)).sum()
    assert set(table["low"]) <= {2.0, 6.0}


def two_hubs() -> tuple[HeadOutputs, np.ndarray]:
    """Receivers of one type of which half listen to one sender type only and half to another."""
    outputs = example_outputs(300, n_neighbors=12)
    group = np.random.default_rng(0).integers(0, 2, 300)
    listens = outputs.neighbor_types == group[:, None]
    attention = np.where(listens[:, None], outputs.attention[..., :-1] + 0.5, 0.0)
    return replace(outputs, attention=np.concatenate([attention, outputs.attention[..., -1:]], axis=2)), group


def test_planted_hubs_are_found() -> None:
    outputs, group = two_hubs()
    own = outputs.types == 2  # both sender types are foreign to it
    hubs = attention_hubs(outputs.subset(own), by="attention", quantile=0.5)
    assert len(hubs.composition) == 2
    assert max(hubs.silhouette, key=hubs.silhouette.get) == 2
    listens = hubs.labels >= 0
    first = int(hubs.composition["CD4/CD8"].argmax())
    assert ((hubs.labels == first) == (group[own] == 0))[listens].all()
    assert (hubs.composition.to_numpy().max(axis=1) > 0.99).all()
    np.testing.assert_allclose(hubs.composition.sum(axis=1), 1)
    assert np.bincount(hubs.labels[listens])[0] >= np.bincount(hubs.labels[listens])[1]


def test_cells_that_listen_to_nobody_have_no_hub() -> None:
    outputs, _ = two_hubs()
    attention = outputs.attention.copy()
    attention[::3, :, :-1] = 0
    hubs = attention_hubs(replace(outputs, attention=attention), by="attention", quantile=0.0, n_hubs=2)
    assert (hubs.labels[::3] == -1).all()
    assert (hubs.labels >= 0).sum() > 100


def test_same_seed_same_hubs() -> None:
    outputs = example_outputs(200, n_neighbors=8)
    a, b = (attention_hubs(outputs, quantile=0.7, n_hubs=(2, 3), seed=3) for _ in range(2))
    np.testing.assert_array_equal(a.labels, b.labels)
    assert a.silhouette == b.silhouette
    assert set(a.silhouette) == {2, 3}


def test_refusals() -> None:
    outputs = example_outputs()
    with pytest.raises(ValueError, match="`by` is 'values'.*Did you mean 'value'"):
        neighbor_weights(outputs, "values")
    with pytest.raises(ValueError, match=r"`bins` is \[3, 2\].*bins=\[0, 10, 20, 40\]"):
        attention_by_distance(outputs, bins=[3, 2])
    with pytest.raises(ValueError, match="`bins` is 0"):
        attention_by_distance(outputs, bins=0)
    with pytest.raises(ValueError, match="`quantile` is 1"):
        attention_hubs(outputs, quantile=1.0)
    with pytest.raises(ValueError, match="different mixes of senders exist.*Write n_hubs="):
        attention_hubs(outputs, n_hubs=29)
    with pytest.raises(ValueError, match="`n_hubs` is 1"):
        attention_hubs(outputs, n_hubs=1)
