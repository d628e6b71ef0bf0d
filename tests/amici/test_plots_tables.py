"""Genes and recovery: what is drawn is what was given."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from anndata import AnnData
from scipy import sparse

from scmods import _checks
from scmods.amici import plots
from scmods.amici._example import example_outputs
from scmods.amici.ablation import ablation_table
from scmods.amici.contributions import neighbor_table
from scmods.amici.heads import HeadOutputs
from scmods.amici.recovery import average_precision, gene_recovery, pair_recovery, recovery_curve, true_pairs


@pytest.fixture(scope="module")
def parts(outputs: HeadOutputs) -> pd.DataFrame:
    return neighbor_table(outputs, 3, "gene2")


def genes(n: int = 40) -> pd.DataFrame:
    """As `ablation_table` for one pair: the first five raised, the next lowered."""
    rng = np.random.default_rng(0)
    diff = rng.normal(size=n) / 10
    diff[:6] = [1, 0.9, 0.8, 0.7, 0.6, -0.9]
    z = np.where(np.arange(n) < 6, 9 - np.arange(n), rng.normal(size=n))
    p = np.where(np.arange(n) < 6, 1e-4, 0.4)
    out = pd.DataFrame({"gene": [f"g<{i}>" for i in range(n)], "diff": diff, "z_value": z, "pvalue_adj": p})
    return out.assign(score=np.where(diff > 0, z, 0), receiver="T", sender="Mono")


def curves() -> pd.DataFrame:
    rng = np.random.default_rng(0)
    truth, rows = rng.random(3000) < 0.1, []
    for scorer, noise in (("attention", 1.0), ("minus <distance>", 4.0)):
        for task in ("senders", "receivers"):
            score = truth + noise * rng.normal(size=3000)
            recall, precision = recovery_curve(score, truth)
            rows.append(pd.DataFrame({"scorer": scorer, "task": task, "recall": recall, "precision": precision,
                                      "area": average_precision(score, truth), "base": truth.mean()}))  # fmt: skip
    return pd.concat(rows, ignore_index=True)


def test_every_figure_is_labelled_told_and_light(check, drawn_in):
    big = neighbor_table(example_outputs(100, n_neighbors=20, n_heads=8), 5, "gene0")
    figures = {
        "plot_contributions": plots.plot_contributions(big, by="pair", n_parts=30),
        "plot_ablation_genes": plots.plot_ablation_genes(genes(5000)),
        "plot_recovery": plots.plot_recovery(curves()),
    }
    check(figures, drawn_in("genes", "recovery") - {"recovery_curves"}, most=50)


# genes


@pytest.mark.parametrize("by", ["pair", "neighbor", "sender", "head"])
def test_contributions_begin_where_the_one_before_ends(parts, by, alt):
    fig = plots.plot_contributions(parts, by=by, n_parts=100)
    bars, attrs = fig.data[0], parts.attrs
    sizes, starts = np.asarray(bars.x, dtype=float), np.asarray(bars.base)
    assert sizes[0] == pytest.approx(attrs["base"], rel=1e-5)
    assert sizes[-1] == pytest.approx(attrs["prediction"], rel=1e-5)
    assert sizes[:-1].sum() == pytest.approx(attrs["prediction"], abs=1e-5)
    np.testing.assert_allclose(starts[1:-1], np.cumsum(sizes[:-2]), atol=1e-5)
    assert starts[0] == starts[-1] == 0
    columns = {"pair": ["neighbor", "head"], "neighbor": ["neighbor"]}.get(by, [by])
    wanted = parts.groupby(columns)["contribution"].sum().to_numpy()
    seen = wanted[np.abs(wanted) >= 0.005 * np.abs(wanted).sum()]
    drawn = sizes[1 : 1 + len(seen)]
    np.testing.assert_allclose(drawn, seen[np.argsort(-np.abs(seen))], atol=1e-6)
    assert [c == bars.marker.color[1] for c in bars.marker.color[1:-1]] == list(
        (sizes > 0)[1:-1] == (sizes[1] > 0)
    )
    assert fig.layout.shapes[0].x0 == attrs["observed"]
    assert f"measured {attrs['observed']:.3g}." in alt(fig)


def test_small_parts_share_a_bar_and_names_say_who(parts, ticks):
    fig = plots.plot_contributions(parts, by="pair", n_parts=2, gene="A<b>")
    top = parts.iloc[0]
    assert ticks(fig)[0] == "without neighbours"
    assert ticks(fig)[1] == f"{top['sender']}, cell {top['neighbor']}, head {top['head']}"
    assert ticks(fig)[3:] == [f"{len(parts) - 2} others", "prediction"]
    assert fig.data[0].x[3] == pytest.approx(parts["contribution"][2:].sum(), abs=1e-6)
    assert fig.layout.title.text == "What moved A&lt;b&gt; in this cell"


def test_contributions_refuse_what_does_not_add_up(parts):
    with pytest.raises(ValueError, match=r"add up to .*neighbor_table"):
        plots.plot_contributions(parts[1:])
    lost = parts.copy()
    lost.attrs = {"base": 1.0}
    with pytest.raises(_checks.MissingKeyError, match=r"lacks \['prediction', 'observed'\]"):
        plots.plot_contributions(lost)
    with pytest.raises(ValueError, match="`by` is 'cell'"):
        plots.plot_contributions(parts, by="cell")
    with pytest.raises(ValueError, match="no rows"):
        plots.plot_contributions(parts[:0])


def test_genes_are_drawn_at_difference_and_z_in_their_colour(alt):
    table = genes()
    fig = plots.plot_ablation_genes(table, truth=["g<0>", "g<7>"], n_labels=3)
    drawn = {t.name: np.c_[t.x, t.y] for t in fig.data}
    xy = table[["diff", "z_value"]].to_numpy()
    np.testing.assert_allclose(drawn["raised"], xy[:5], rtol=1e-6)
    np.testing.assert_allclose(drawn["lowered"], xy[5:6], rtol=1e-6)
    np.testing.assert_allclose(drawn["adjusted p above 0.05"], xy[6:], rtol=1e-6)
    np.testing.assert_allclose(drawn["truly responds"], xy[[0, 7]], rtol=1e-6)
    assert [t for t in fig.data[0].text if t] == ["g&lt;0&gt;", "g&lt;1&gt;", "g&lt;2&gt;"]
    assert "5 raised and 1 lowered" in alt(fig)
    assert "1 of 2 genes that truly respond are raised" in alt(fig)


def test_the_best_genes_survive_thinning(alt):
    table = genes(5000)
    fig = plots.plot_ablation_genes(table)
    assert sum(len(t.x) for t in fig.data) == 600
    np.testing.assert_allclose(fig.data[0].x, table["diff"][:5], rtol=1e-6)
    assert "A random 600 of the 5000 genes are drawn" in alt(fig)


def test_a_pair_of_the_ablation_is_chosen(outputs):
    table = ablation_table(outputs)
    fig = plots.plot_ablation_genes(table, receiver="naïve", sender="CD4/CD8")
    mine = table[(table["receiver"] == "naïve") & (table["sender"] == "CD4/CD8")]
    np.testing.assert_allclose(
        np.sort(np.concatenate([t.x for t in fig.data])), np.sort(mine["diff"]), rtol=1e-6
    )
    assert fig.layout.title.text == "naïve without CD4/CD8"


@pytest.mark.parametrize(
    ("table", "options", "error", "text"),
    [
        (genes()[:0], {}, ValueError, "no rows"),
        (genes().drop(columns="diff"), {}, _checks.MissingKeyError, r"no column 'diff'.*ablation_table"),
        (pd.concat([genes(), genes().assign(sender="B")]), {}, ValueError, "2 values of 'sender'.*sender='Mono'"),
        (genes(), {"receiver": "x"}, ValueError, "`receiver` is 'x'"),
        (genes().assign(z_value=np.nan), {}, ValueError, "'T' had too few cells"),
        (genes(), {"truth": "g<0>"}, TypeError, "must be a list of genes"),
        (genes(), {"truth": ["q"]}, ValueError, "names none of the genes"),
        (pd.concat([genes(), genes().assign(sender="B", receiver="DC")]), {"receiver": "T", "sender": "B"},
         ValueError, "`sender` is 'B'"),
    ],
)  # fmt: skip
def test_genes_refuse(table, options, error, text):
    with pytest.raises(error, match=text):
        plots.plot_ablation_genes(table, **options)


# recovery


def test_curves_are_drawn_from_recall_0_with_their_areas(alt):
    table = curves()
    table = table[table["task"] == "senders"].groupby("scorer").head(60)
    fig = plots.plot_recovery(table)
    for trace, (name, part) in zip(fig.data, table.groupby("scorer", sort=False), strict=True):
        np.testing.assert_allclose(trace.x, np.r_[0, part["recall"]], rtol=1e-6)
        np.testing.assert_allclose(trace.y, np.r_[part["precision"].iloc[0], part["precision"]], rtol=1e-6)
        assert trace.line.shape == "vh"
        assert trace.name.endswith(f"({part['area'].iloc[0]:.2f})")
        assert f"{name} {part['area'].iloc[0]:.3g}" in alt(fig)
    assert fig.layout.shapes[0].y0 == table["base"].iloc[0]


def test_a_long_curve_keeps_its_shape():
    table = curves()
    table = table[table["task"] == "senders"]
    for trace, (_, part) in zip(
        plots.plot_recovery(table).data, table.groupby("scorer", sort=False), strict=True
    ):
        assert len(trace.x) <= 302
        area = (np.diff(trace.x) * trace.y[1:]).sum()
        assert area == pytest.approx(part["area"].iloc[0], abs=0.02)


def test_a_scorer_without_a_task_has_a_dash_in_its_place():
    table = curves()
    table = table[~((table["scorer"] == "attention") & (table["task"] == "senders"))]
    fig = plots.plot_recovery(table)
    names = {t.name for t in fig.data}
    area = table.loc[table["scorer"] == "attention", "area"].iloc[0]
    assert f"attention (– / {area:.2f})" in {n for n in names} or f"attention ({area:.2f} / –)" in names
    assert sum(bool(t.showlegend) for t in fig.data) == 2


def with_truth(n: int = 300) -> AnnData:
    """As `semisynthetic`: every seventh cell listens to the one after it, two pairs of types, 40 genes."""
    adata = AnnData(np.zeros((n, 40), dtype=np.float32))
    listens = np.arange(0, n - 1, 7)
    ones = np.ones(len(listens))
    adata.obsp["sends"] = sparse.csr_matrix((ones, (listens, listens + 1)), shape=(n, n))
    adata.obs["receives"] = np.isin(np.arange(n), listens)
    responds = {"T": np.arange(40) < 9, "DC": np.arange(40) % 5 == 0}
    adata.varm["responds"] = pd.DataFrame(responds, index=adata.var_names)
    adata.uns["interactions"] = pd.DataFrame({"receiver": ["T", "DC"], "sender": ["Mono", "B"]})
    return adata


def test_recovery_curves_agree_with_the_average_precision():
    adata = with_truth()
    near = (np.arange(300)[:, None] + np.array([1, 5, 9, 20])) % 300
    near[::10, -1] = -1
    scores = np.random.default_rng(0).random(near.shape) + true_pairs(adata, near) / 2
    truth = adata.varm["responds"]
    tables = [
        pd.DataFrame(
            {"receiver": r, "sender": s, "gene": truth.index, "score": truth[r] + np.arange(40) / 50}
        )
        for r, s in adata.uns["interactions"][["receiver", "sender"]].itertuples(index=False)
    ]
    table = pd.concat(tables)
    cells = np.arange(300) % 3 > 0
    found = plots.recovery_curves(adata, near, {"mine": scores}, genes={"t": table}, cells=cells)
    areas = found.groupby("task")["area"].first()
    wanted = pair_recovery(adata, near, scores, cells=cells)
    assert (areas["senders"], areas["receivers"]) == pytest.approx((wanted["sender"], wanted["receiver"]))
    bases = found.groupby("task")["base"].first()
    assert (bases["senders"], bases["receivers"]) == pytest.approx(
        (wanted["sender_base"], wanted["receiver_base"])
    )
    for pair, value in gene_recovery(adata, table).items():
        if pair != "mean":
            assert areas[f"genes, {pair}"] == pytest.approx(value)
    assert (found.groupby(["scorer", "task"]).size() <= 200).all()
    assert len(plots.plot_recovery(found).data) == 4


@pytest.mark.parametrize(
    ("call", "error", "text"),
    [
        (lambda t: plots.plot_recovery(t[:0]), ValueError, "no rows"),
        (lambda t: plots.plot_recovery(t.drop(columns="task")), _checks.MissingKeyError, "no column 'task'"),
        (
            lambda t: plots.plot_recovery(t.assign(recall=2.0)),
            ValueError,
            r"'recall' of `curves` leaves \[0, 1\]",
        ),
        (lambda t: plots.recovery_curves(None, None, {}), TypeError, "mapping from a name"),
    ],
)
def test_recovery_refuses(call, error, text):
    with pytest.raises(error, match=text):
        call(curves())
