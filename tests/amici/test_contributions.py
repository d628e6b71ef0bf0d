"""The parts add up to the prediction, and each is what a plain loop says."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from scmods._checks import MissingKeyError
from scmods.amici._example import example_outputs
from scmods.amici.contributions import (
    frozen_contributions,
    head_norms,
    neighbor_table,
    sender_contributions,
)


@given(st.integers(1, 4), st.integers(2, 4), st.integers(1, 6), st.integers(0, 99))
def test_parts_add_up_to_the_prediction(heads: int, size: int, neighbors: int, seed: int) -> None:
    outputs = example_outputs(20, n_heads=heads, size=size, n_neighbors=neighbors, seed=seed)
    parts = frozen_contributions(outputs)
    np.testing.assert_allclose(parts.prediction, outputs.predict(), atol=1e-11)
    np.testing.assert_allclose(
        parts.base + sender_contributions(outputs).sum(axis=1), outputs.predict(), atol=1e-11
    )


def test_one_part_is_what_a_plain_loop_says() -> None:
    outputs = example_outputs(12)
    parts, readout = frozen_contributions(outputs), outputs.readout
    for i, j, h, g in [(3, 0, 0, 1), (5, 2, 1, 4), (8, 3, 1, 0)]:
        u = outputs.query[i] + sum(readout.head_out[:, k] @ outputs.z[i, k] for k in range(2))
        sigma = np.sqrt(((u - u.mean()) ** 2).mean() + readout.norm_eps)
        moved = (
            readout.head_out[:, h] @ outputs.tables.value[outputs.rows[i, j], h] * outputs.attention[i, h, j]
        )
        expected = readout.gene_out[g] @ (readout.norm_weight * (moved - moved.mean())) / sigma
        assert parts.values[i, j, h, g] == pytest.approx(expected, abs=1e-12)


def test_a_place_without_a_neighbour_adds_nothing() -> None:
    outputs = example_outputs()
    empty = outputs.neighbors < 0
    assert empty.any()
    assert (frozen_contributions(outputs).values[empty] == 0).all()
    assert (head_norms(outputs)[empty] == 0).all()
    # whatever attention a foreign object holds there
    odd = replace(outputs, attention=np.ones_like(outputs.attention))
    assert (frozen_contributions(odd).values[empty] == 0).all()


def test_sender_contributions_are_sums_over_neighbours_of_the_type() -> None:
    outputs = example_outputs(seed=2)
    parts = frozen_contributions(outputs, heads=[1], genes=["gene3", "gene0"])
    sums = sender_contributions(outputs, heads=[1], genes=["gene3", "gene0"])
    for t in range(3):
        of = (outputs.neighbor_types == t)[..., None]
        np.testing.assert_allclose(sums[:, t], (parts.values[:, :, 0] * of).sum(axis=1), atol=1e-12)
    # neighbours are of other types
    np.testing.assert_array_equal(sums[np.arange(30), outputs.types], 0)
    np.testing.assert_allclose(parts.values, frozen_contributions(outputs).values[:, :, [1]][..., [3, 0]])


def test_blocks_do_not_matter(monkeypatch: pytest.MonkeyPatch) -> None:
    outputs = example_outputs(40)
    whole = sender_contributions(outputs)
    monkeypatch.setattr("scmods.amici.contributions.BLOCK", 64)
    np.testing.assert_allclose(sender_contributions(outputs), whole, atol=1e-13)


def test_norms_without_a_gene_axis_are_norms_over_genes() -> None:
    outputs = example_outputs(n_genes=9, seed=1)
    values = frozen_contributions(outputs).values
    np.testing.assert_allclose(head_norms(outputs), np.linalg.norm(values, axis=3), atol=1e-11)
    np.testing.assert_allclose(
        outputs.pair_scores("contribution"), np.linalg.norm(values.sum(axis=2), axis=2), atol=1e-11
    )


def test_table_of_one_gene_in_one_cell() -> None:
    outputs = example_outputs()
    table = neighbor_table(outputs, 7, "gene2")  # lacks its last neighbour
    assert len(table) == 3 * 2
    assert (np.diff(np.abs(table["contribution"])) <= 0).all()
    assert table["contribution"].sum() + table.attrs["base"] == pytest.approx(table.attrs["prediction"])
    assert table.attrs["prediction"] == pytest.approx(outputs.predict()[7, 2])
    assert table.attrs["observed"] == outputs.observed[7, 2]
    top = table.iloc[0]
    place = list(outputs.neighbors[7]).index(top["neighbor"])
    assert top["distance"] == outputs.distances[7, place]
    assert top["attention"] == outputs.attention[7, top["head"], place]
    assert top["sender"] == outputs.type_names[outputs.types[top["neighbor"]]]


def test_refusals(monkeypatch: pytest.MonkeyPatch) -> None:
    outputs = example_outputs()
    with pytest.raises(MissingKeyError, match="The model has no gene 'gene7'.*Did you mean 'gene"):
        frozen_contributions(outputs, genes=["gene1", "gene7"])
    with pytest.raises(TypeError, match=r"`genes` is the text 'gene1'.*genes=\['gene1'\]"):
        sender_contributions(outputs, genes="gene1")
    with pytest.raises(ValueError, match="`heads` is 5"):
        frozen_contributions(outputs, heads=[5])
    with pytest.raises(ValueError, match="`cell` is 30.*Rows of `outputs`"):
        neighbor_table(outputs, 30, "gene1")
    monkeypatch.setattr("scmods.amici.contributions.LARGEST", 1000)
    with pytest.raises(
        ValueError, match="30 cells x 4 neighbours x 2 heads x 5 genes take.*sender_contributions"
    ):
        frozen_contributions(outputs)
