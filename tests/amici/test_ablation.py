"""Ablation against a plain loop, its statistics against textbook ones, its calibration on noise."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from scipy import stats

from scmods._checks import MissingKeyError
from scmods.amici._example import example_outputs
from scmods.amici.ablation import ablation_table, interaction_matrix
from scmods.amici.heads import HeadOutputs


def silenced(outputs: HeadOutputs, sender: int, heads: list[int]) -> np.ndarray:
    """Prediction with the attention on a sender type set to 0, cell by cell."""
    rows = []
    for i in range(len(outputs)):
        u = outputs.query[i].copy()
        for h in range(outputs.n_heads):
            for j, row in enumerate(outputs.rows[i]):
                if row >= 0 and not (h in heads and outputs.tables.types[row] == sender):
                    moved = outputs.readout.head_out[:, h] @ outputs.tables.value[row, h]
                    u += outputs.attention[i, h, j] * moved
        rows.append(u)
    return outputs.readout.decode(outputs.types, np.array(rows))


@pytest.mark.parametrize("heads", [None, [1]])
def test_every_number_is_that_of_a_plain_loop(heads: list[int] | None) -> None:
    outputs = example_outputs()
    table = ablation_table(outputs, heads=heads)
    assert len(table) == 3 * 2 * 5
    for (receiver, sender), one in table.groupby(["receiver", "sender"]):
        r, s = outputs.type_names.index(receiver), outputs.type_names.index(sender)
        own = outputs.types == r
        without = silenced(outputs, s, [0, 1] if heads is None else heads)[own]
        full, y = outputs.predict()[own], outputs.observed[own]
        np.testing.assert_allclose(one["diff"], (full - without).mean(axis=0), atol=1e-11)
        loss = ((without - y) ** 2 - (full - y) ** 2).mean(axis=0)
        np.testing.assert_allclose(one["ablation"], loss, atol=1e-11)
        gain = np.var(without - y, axis=0, ddof=1) - np.var(full - y, axis=0, ddof=1)
        np.testing.assert_allclose(one["gain"], gain, atol=1e-11)
        for g in range(5):
            # z is the t of a regression of one on the other
            fit = stats.linregress(np.abs(full - without)[:, g], y[:, g])
            assert one["z_value"].iloc[g] == pytest.approx(fit.slope / fit.stderr, rel=1e-8)
        np.testing.assert_allclose(one["pvalue"], stats.norm.sf(one["z_value"]))
        np.testing.assert_allclose(one["pvalue_adj"], stats.false_discovery_control(one["pvalue"]))
        np.testing.assert_allclose(one["gene_variance"], y.var(axis=0, ddof=1))
        assert (one["score"] == np.where(one["diff"] > 0, one["z_value"], 0)).all()
        assert (one["n_cells"] == own.sum()).all()


def test_pvalues_are_uniform_when_expression_is_noise() -> None:
    outputs = example_outputs(600, n_genes=60, seed=3)
    noise = np.random.default_rng(0).normal(size=(600, 60))
    p = ablation_table(replace(outputs, read=lambda rows: noise[rows]))["pvalue"]
    assert (p <= 0.05).mean() == pytest.approx(0.05, abs=0.035)


def test_a_sender_that_moves_nothing_loses_nothing() -> None:
    outputs = example_outputs(60)
    value = outputs.tables.value.copy()
    value[outputs.tables.types == 1] = 0
    quiet = replace(outputs, tables=replace(outputs.tables, value=value))
    z = np.einsum("nhk,nkhs->nhs", quiet.attention[..., :-1] * (quiet.rows >= 0)[:, None], value[quiet.rows])
    table = ablation_table(replace(quiet, z=z))
    one = table[table["sender"] == "L2/3 IT"]
    assert np.abs(one[["ablation", "diff", "z_value", "score"]]).to_numpy().max() < 1e-10
    np.testing.assert_allclose(one["pvalue"], 0.5)
    assert np.abs(table.loc[table["sender"] == "naïve", "diff"]).min() > 1e-6


def test_matrix_counts_genes_that_are_raised() -> None:
    table = ablation_table(example_outputs(300, n_genes=8, seed=4))
    table["pvalue_adj"] = np.linspace(0, 0.1, len(table))
    counts = interaction_matrix(table)
    for (sender, receiver), one in table.groupby(["sender", "receiver"]):
        assert counts.loc[sender, receiver] == ((one["pvalue_adj"] <= 0.05) & (one["diff"] > 0)).sum()
        share = interaction_matrix(table, value="share").loc[sender, receiver]
        assert share == pytest.approx(one["gain"].sum() / one["gene_variance"].sum())
        total = interaction_matrix(table, value="ablation").loc[sender, receiver]
        assert total == pytest.approx(one["ablation"].sum())
    assert (np.diag(counts) == 0).all()
    assert list(counts.columns) == ["CD4/CD8", "L2/3 IT", "naïve"]


def test_a_type_with_two_cells_is_nan_not_zero() -> None:
    outputs = example_outputs(60)
    keep = (outputs.types != 2) | (np.arange(60) < 6)
    table = ablation_table(outputs.subset(keep))
    few = table[table["receiver"] == "naïve"]
    assert (few["n_cells"] == 2).all()
    assert few["pvalue"].isna().all()
    assert table.loc[table["receiver"] != "naïve", "pvalue"].notna().all()
    for value in ("n_genes", "ablation", "share"):
        matrix = interaction_matrix(table, value=value)
        assert matrix["naïve"].drop("naïve").isna().all()
        assert matrix.loc["naïve", ["CD4/CD8", "L2/3 IT"]].notna().all()


def test_a_constant_gene_has_no_evidence() -> None:
    outputs = example_outputs(60)
    y = outputs.observed
    y[:, 2] = 1.7
    table = ablation_table(replace(outputs, read=lambda rows: y[rows]))
    flat = table[table["gene"] == "gene2"]
    assert (flat["z_value"] == 0).all()
    assert (flat["pvalue"] == 0.5).all()


def test_refusals() -> None:
    outputs = example_outputs()
    with pytest.raises(ValueError, match="`receivers` is 'naive', but must be one of.*Did you mean 'naïve'"):
        ablation_table(outputs, receivers=["naive"])
    with pytest.raises(TypeError, match=r"`senders` is the text 'naïve'.*senders=\['naïve'\]"):
        ablation_table(outputs, senders="naïve")
    with pytest.raises(ValueError, match="leave no pair of different types"):
        ablation_table(outputs, receivers=["naïve"], senders=["naïve"])
    table = ablation_table(outputs)
    with pytest.raises(ValueError, match="`value` is 'genes'"):
        interaction_matrix(table, value="genes")
    with pytest.raises(MissingKeyError, match=r"lacks the columns \['diff'\].*amici.ablation_table"):
        interaction_matrix(table.drop(columns="diff"))
    with pytest.raises(ValueError, match="`alpha` is 2"):
        interaction_matrix(table, alpha=2)
