"""Pairs of types and lengths: what is drawn is what was given."""

from __future__ import annotations

from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest

from scmods import _checks
from scmods.amici import plots
from scmods.amici._example import example_outputs
from scmods.amici.ablation import ablation_table, interaction_matrix
from scmods.amici.heads import HeadOutputs
from scmods.amici.plots_pairs import WIDTHS
from scmods.amici.scales import length_scales, sender_lengths

TYPES = ["CD4/CD8", "18", "A<b>"]
PAIRS = [("naïve", "CD4/CD8"), ("L2/3 IT", "naïve")]


@pytest.fixture(scope="module")
def ablation(outputs: HeadOutputs) -> pd.DataFrame:
    return ablation_table(outputs)


@pytest.fixture(scope="module")
def lengths(outputs: HeadOutputs) -> pd.DataFrame:
    return length_scales(outputs, PAIRS, n_boot=50)


def pair_test() -> pd.DataFrame:
    """As the table of `cross_fit`: one pair that passes, one that was not tested."""
    rows = [(r, s) for r in TYPES for s in TYPES if r != s]
    out = pd.DataFrame(rows, columns=["receiver", "sender"])
    out["z"] = [0.5, 8.25, -1.0, 4.0, np.nan, 0.25]
    out["statistic"] = out["z"] * 3
    out["pvalue"] = [0.3, 0.0001, 0.8, 0.004, np.nan, 0.4]
    out["pvalue_adj"] = [0.5, 0.0005, 0.8, 0.01, np.nan, 0.5]
    out["pvalue_family"] = [0.9, 0.0006, 0.9, 0.06, np.nan, 0.9]
    return out


def test_every_figure_is_labelled_told_and_light(check, drawn_in):
    big = example_outputs(300, n_neighbors=20, n_heads=4)
    figures = {
        "plot_interactions": plots.plot_interactions(ablation_table(big)),
        "plot_crossfit": plots.plot_crossfit(pair_test()),
        "plot_network": plots.plot_network(pair_test()),
        "plot_length_scales": plots.plot_length_scales(length_scales(big, PAIRS, n_boot=20), big),
    }
    check(figures, drawn_in("pairs", "lengths"), most=20)


# pairs of types


@pytest.mark.parametrize("value", ["n_genes", "ablation", "share"])
def test_interactions_are_those_of_the_matrix(ablation, value, alt, ticks):
    matrix = interaction_matrix(ablation, value=value, alpha=0.9)
    order = ["naïve", "CD4/CD8", "L2/3 IT"]
    fig = plots.plot_interactions(ablation, value=value, alpha=0.9, types=order)
    wanted = matrix.loc[order, order].to_numpy().copy()
    np.fill_diagonal(wanted, np.nan)
    np.testing.assert_allclose(fig.data[0].z, wanted, rtol=1e-6)
    assert ticks(fig) == ticks(fig, "xaxis") == order
    assert (fig.layout.xaxis.title.text, fig.layout.yaxis.title.text) == ("Receiver", "Sender")
    assert fig.layout.xaxis.tickangle == -40
    s, r = np.unravel_index(np.nanargmax(wanted), (3, 3))
    assert f"largest {wanted[s, r]:.3g}, {order[s]} on {order[r]}." in alt(fig)
    same = plots.plot_interactions(matrix, types=order)
    np.testing.assert_array_equal(same.data[0].z, fig.data[0].z)


def test_numbers_in_the_matrix_have_the_decimals_of_the_largest():
    matrix = pd.DataFrame([[0, 0.1874, -0.0002], [0.0219, 0, np.nan], [0.1, 0.2, 0]], columns=list("abc"))
    fig = plots.plot_interactions(matrix.set_axis(list("abc")))
    text = np.asarray(fig.data[0].text).tolist()
    assert text == [["", "0.187", "0.000"], ["0.022", "", ""], ["0.100", "0.200", ""]]
    whole = plots.plot_interactions(pd.DataFrame([[0, 15], [3, 0]], index=["a", "b"], columns=["a", "b"]))
    assert np.asarray(whole.data[0].text).tolist() == [["", "15"], ["3", ""]]


def test_crossfit_puts_senders_in_rows_and_marks_what_passes(alt, ticks):
    table = pair_test()
    fig = plots.plot_crossfit(table, types=TYPES)
    z, text = fig.data[0].z, np.asarray(fig.data[0].text)
    for row in table.itertuples():
        at = TYPES.index(row.sender), TYPES.index(row.receiver)
        assert z[at] == pytest.approx(row.z, nan_ok=True)
        assert text[at].count("*") == {0.0005: 3, 0.01: 2}.get(row.pvalue_adj, 0)
    assert np.isnan(np.diag(z)).all()
    first, second = (f"{s} to {r}" for r, s in table[["receiver", "sender"]].to_numpy()[[1, 3]])
    assert alt(fig).endswith(f"2 of 5 tested pairs have pvalue_adj of at most 0.05: {first} and {second}.")
    strict = plots.plot_crossfit(SimpleNamespace(table=table, types=TYPES), by="pvalue_family")
    assert sum(t.count("*") for t in np.asarray(strict.data[0].text).ravel()) == 3
    assert ticks(strict)[0] == "CD4/CD8"


def test_network_has_an_arrow_for_each_pair_that_passes(alt):
    table = pair_test()
    fig = plots.plot_network(table)
    names = sorted(TYPES)
    place = dict(zip(names, np.c_[fig.data[-1].x, fig.data[-1].y], strict=True))
    *arrows, heads, _ = fig.data
    passed = table[table["pvalue_adj"] <= 0.05].sort_values("z", ascending=False)
    assert len(arrows) == 2
    for arrow, row in zip(arrows, passed.itertuples(), strict=True):
        ends = np.c_[arrow.x, arrow.y][[0, -1]]
        for end, name in zip(ends, (row.sender, row.receiver), strict=True):
            away = {n: np.linalg.norm(end - p) for n, p in place.items()}
            assert min(away, key=away.get) == name
        width = WIDTHS[0] + (WIDTHS[1] - WIDTHS[0]) * row.z / passed["z"].max()
        assert arrow.line.width == pytest.approx(width, rel=1e-3)
        assert f"z {row.z:.4g}" in arrow.text[0]
    for i, (s, r) in enumerate(passed[["sender", "receiver"]].to_numpy()):
        ahead = np.array([np.sin(a := np.radians(heads.marker.angle[i])), np.cos(a)])
        assert ahead @ (place[r] - place[s]) > 0
        assert (heads.x[i], heads.y[i]) == (arrows[i].x[-1], arrows[i].y[-1])
    top = passed.iloc[0]
    assert f"3 types with 2 arrows. The widest: {top['sender']} to {top['receiver']}, 8.25." in alt(fig)
    assert {a.text for a in fig.layout.annotations} == {"CD4/CD8", "18", "A&lt;b&gt;"}


def test_network_of_an_ablation_and_of_nothing(ablation, alt):
    matrix = interaction_matrix(ablation, value="share")
    fig = plots.plot_network(ablation, value="share")
    assert len(fig.data) - 2 == (matrix.to_numpy() > 0).sum()
    edge = matrix.stack().idxmax()
    assert f"The widest: {edge[0]} to {edge[1]}" in alt(fig)
    assert len(plots.plot_network(ablation, value="share", n_edges=1).data) == 3
    assert alt(plots.plot_network(pair_test(), alpha=0.0)).endswith("No pair is drawn.")
    assert len(plots.plot_network(pair_test(), smallest=5).data) == 3


def test_two_opposite_arrows_bend_to_different_sides():
    table = pd.DataFrame({"receiver": ["a", "b"], "sender": ["b", "a"], "z": [1.0, 2.0], "pvalue_adj": 0.001})
    middles = [t.x[len(t.x) // 2] for t in plots.plot_network(table).data[:2]]
    assert abs(middles[0] - middles[1]) > 0.2


@pytest.mark.parametrize(
    ("call", "error", "text"),
    [
        (lambda t: plots.plot_crossfit(t[:0]), ValueError, r"no rows.*cross_fit\(adata\)"),
        (lambda t: plots.plot_crossfit(t, value="zz"), _checks.MissingKeyError, "no column 'zz'"),
        (lambda t: plots.plot_crossfit(pd.concat([t, t])), ValueError, "more than once"),
        (lambda t: plots.plot_crossfit(t, types=["B"]), ValueError, "`types` is 'B'"),
        (lambda t: plots.plot_network(t, by="p"), _checks.MissingKeyError, "no column 'p'"),
        (lambda t: plots.plot_network(t, n_edges=0), ValueError, "`n_edges` is 0"),
        (lambda t: plots.plot_interactions(t), _checks.MissingKeyError, "lacks the columns"),
        (lambda t: plots.plot_interactions([1]), TypeError, "must be a table"),
        (lambda t: plots.plot_interactions(pd.DataFrame([[1.0, 2.0]], index=["a"], columns=["a", "b"])), ValueError,
         "every type once in both"),
    ],
)  # fmt: skip
def test_pairs_refuse(call, error, text):
    with pytest.raises(error, match=text):
        call(pair_test())


# lengths


def test_lengths_are_those_of_the_sender_cells(outputs, lengths, alt, ticks):
    truth = pd.DataFrame({"receiver": ["naïve"], "sender": ["CD4/CD8"], "reach": [12.5]})
    fig = plots.plot_length_scales(lengths, outputs, truth=truth)
    for i, row in enumerate(lengths.itertuples()):
        dots, bar = fig.data[2 * i : 2 * i + 2]
        given = sender_lengths(outputs, receiver=row.receiver, sender=row.sender, head=row.head)
        np.testing.assert_allclose(dots.x, np.sort(given), rtol=1e-6)
        assert (np.abs(dots.y - i) < 0.5).all()
        np.testing.assert_allclose(bar.x, [row.low, row.median, row.high], rtol=1e-6)
        assert f"{row.sender} to {row.receiver} {row.median:.3g}" in alt(fig)
        assert ticks(fig)[i] == f"{row.sender} to {row.receiver}, head {row.head}"
    assert (fig.data[-1].x.tolist(), fig.data[-1].y.tolist()) == ([12.5], [0])
    assert "true 12.5" in alt(fig)
    assert len(plots.plot_length_scales(lengths).data) == 2


def test_endless_lengths_are_told_and_not_drawn(outputs, lengths, alt, ticks):
    tables = replace(outputs.tables, coefficient=np.zeros_like(outputs.tables.coefficient))
    fig = plots.plot_length_scales(lengths.assign(high=np.inf), replace(outputs, tables=tables))
    for trace in fig.data:
        assert not np.isinf(trace.x).any()
    assert "endless)" in alt(fig)
    assert "endless)" in ticks(fig)[0]


def test_lengths_refuse(lengths):
    with pytest.raises(ValueError, match=r"no rows.*length_scales"):
        plots.plot_length_scales(lengths[:0])
    truth = pd.DataFrame({"receiver": ["x"], "sender": ["y"], "reach": [1.0]})
    with pytest.raises(ValueError, match="none of the pairs"):
        plots.plot_length_scales(lengths, truth=truth)
    with pytest.raises(_checks.MissingKeyError, match="`truth` has no column 'reach'"):
        plots.plot_length_scales(lengths, truth=truth.drop(columns="reach"))
