"""Maps, attention, pairs of types and lengths: what is drawn is what was given."""

from __future__ import annotations

import json
import subprocess
import sys
from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest
from anndata import AnnData
from plotly.utils import PlotlyJSONEncoder

from scmods import _checks
from scmods.amici import plots
from scmods.amici._example import example_outputs
from scmods.amici.ablation import ablation_table, interaction_matrix
from scmods.amici.attention_maps import attention_by_distance
from scmods.amici.heads import HeadOutputs
from scmods.amici.plots_pairs import WIDTHS
from scmods.amici.scales import length_scales, sender_lengths

TYPES = ["CD4/CD8", "18", "A<b>"]
PAIRS = [("naïve", "CD4/CD8"), ("L2/3 IT", "naïve")]


def make_cells(n: int = 60) -> AnnData:
    rng = np.random.default_rng(0)
    adata = AnnData(rng.poisson(2.0, size=(n, 2)).astype(np.float32))
    adata.var_names = ["Sox9", "A<b>"]
    adata.layers["log"] = np.log1p(adata.X)
    adata.obsm["spatial"] = rng.uniform(0, 100, (n, 2))
    adata.obs["cell_type"] = pd.Categorical(np.array(TYPES)[np.arange(n) % 3], TYPES[::-1])
    adata.obs["amount"] = np.linspace(-1, 3, n)
    adata.obs["half"] = pd.Categorical(np.where(np.arange(n) < n // 2, "one", "two"))
    return adata


@pytest.fixture
def adata() -> AnnData:
    return make_cells()


@pytest.fixture(scope="module")
def outputs() -> HeadOutputs:
    return example_outputs(60)


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


def alt(fig) -> str:
    return fig.layout.meta["alt"]


def kilobytes(fig) -> float:
    return len(json.dumps(fig.to_plotly_json(), cls=PlotlyJSONEncoder)) / 1000


def ticks(fig, axis: str = "yaxis") -> list[str]:
    return list(fig.layout[axis].ticktext)


def every(n: int) -> dict:
    """One figure of each function of this file for `n` cells."""
    cells, big = make_cells(n), example_outputs(min(n, 300), n_neighbors=20, n_heads=4)
    pairs = length_scales(big, PAIRS, n_boot=20)
    table = attention_by_distance(big, bins=40)
    return {
        "plot_tissue": plots.plot_tissue(cells),
        "plot_tissue value": plots.plot_tissue(cells, "amount"),
        "plot_tissue sections": plots.plot_tissue(cells, "Sox9", library_key="half"),
        "plot_attention": plots.plot_attention(big, 5, adata=cells),
        "plot_attention_distance": plots.plot_attention_distance(table),
        "plot_interactions": plots.plot_interactions(ablation_table(big)),
        "plot_crossfit": plots.plot_crossfit(pair_test()),
        "plot_network": plots.plot_network(pair_test()),
        "plot_length_scales": plots.plot_length_scales(pairs, big),
    }


def test_every_figure_is_labelled_told_and_light():
    figures = every(3000)
    ours = ("plots_tissue", "plots_attention", "plots_pairs", "plots_lengths")
    wanted = [n for n in plots.__all__ if getattr(plots, n).__module__.rsplit(".", 1)[-1] in ours]
    assert sorted({n.split(" ")[0] for n in figures}) == wanted
    assert len({alt(f) for f in figures.values()}) == len(figures)
    for name, fig in figures.items():
        axes = [v.get("title", {}).get("text") for k, v in fig.to_dict()["layout"].items() if "axis" in k]
        assert fig.layout.title.text, name
        assert len(alt(fig)) > 60, name
        assert alt(fig).endswith("."), name
        assert any(axes) or name == "plot_network", name
        assert kilobytes(fig) < 30, name
        assert sum(len(t.x) for t in fig.data if t.x is not None) <= 700, name
        for trace in fig.data:
            for values in (trace.x, trace.y, getattr(trace, "z", None)):
                assert not (isinstance(values, np.ndarray) and values.dtype == np.float64), name


def test_plots_do_not_load_heavy_packages():
    heavy = ("torch", "plotly", "pandas", "anndata", "scipy")
    code = f"import sys, scmods.amici.plots; print([m for m in {heavy!r} if m in sys.modules])"
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert run.stdout.strip() == "[]"


# the tissue


def test_groups_are_drawn_where_their_cells_are(adata):
    fig = plots.plot_tissue(adata, palette={"18": "#123456"})
    assert [t.name for t in fig.data] == ["A&lt;b&gt;", "18", "CD4/CD8"]
    for trace, name in zip(fig.data, TYPES[::-1], strict=True):
        mine = adata.obsm["spatial"][(adata.obs["cell_type"] == name).to_numpy()]
        np.testing.assert_allclose(np.c_[trace.x, trace.y], mine, rtol=1e-6)
    assert fig.data[1].marker.color == "#123456"
    assert "map of 60 cells; 3 groups" in alt(fig)
    assert "CD4/CD8 33%" in alt(fig)
    assert fig.layout.yaxis.scaleanchor == "x"


@pytest.mark.parametrize(("color", "layer"), [("amount", None), ("Sox9", None), ("Sox9", "log")])
def test_values_are_those_of_the_column_or_gene(adata, color, layer):
    fig = plots.plot_tissue(adata, color, layer=layer)
    stored = (
        adata.obs["amount"]
        if color == "amount"
        else (adata.X if layer is None else adata.layers["log"])[:, 0]
    )
    given = {tuple(p): v for p, v in zip(adata.obsm["spatial"].astype(np.float32), stored, strict=True)}
    trace = fig.data[0]
    assert len(trace.x) == 60
    for x, y, v in zip(trace.x, trace.y, trace.marker.color, strict=True):
        assert v == pytest.approx(given[x, y], rel=1e-6)
    axis = fig.layout.coloraxis
    assert (axis.cmin == -axis.cmax) == (color == "amount")
    assert f"to {max(stored):.3g}" in alt(fig)


def test_only_the_window_and_only_cells_with_a_value_are_drawn(adata):
    values = adata.obs["amount"].to_numpy().copy()
    values[::2] = np.nan
    fig = plots.plot_tissue(adata, values, window=(20, 80, 0, 50))
    x, y = adata.obsm["spatial"].T
    inside = (x >= 20) & (x <= 80) & (y <= 50) & np.isfinite(values)
    np.testing.assert_allclose(np.sort(fig.data[0].x), np.sort(x[inside]), rtol=1e-6)
    assert f"map of {inside.sum()} cells in the window" in alt(fig)


def test_sections_have_panels_and_one_legend(adata):
    fig = plots.plot_tissue(adata, library_key="half", y_down=True)
    assert [a.text for a in fig.layout.annotations] == ["one", "two"]
    assert [t.showlegend for t in fig.data] == [True, False] * 3
    for trace in fig.data:
        half = "one" if trace.xaxis == "x" else "two"
        mine = adata.obsm["spatial"][
            ((adata.obs["half"] == half) & (adata.obs["cell_type"] == trace.legendgroup))
        ]
        np.testing.assert_allclose(trace.x, mine[:, 0], rtol=1e-6)
    assert fig.layout.yaxis2.scaleanchor == "x2"
    assert fig.layout.yaxis2.autorange == "reversed"


def test_many_cells_are_thinned_and_the_figure_says_so():
    cells = make_cells(2000)
    fig = plots.plot_tissue(cells)
    assert sum(len(t.x) for t in fig.data) == 600
    assert "A random 600 of the 2000 cells are drawn" in alt(fig)
    assert sum(len(t.x) for t in plots.plot_tissue(cells, most=5000).data) == 2000


@pytest.mark.parametrize(
    ("options", "error", "text"),
    [
        ({"color": "amuont"}, _checks.MissingKeyError, "neither a column.*Did you mean 'amount'"),
        ({"color": np.ones(5)}, ValueError, r"shape \(5,\), but must be one value for each of the 60"),
        ({"spatial_key": "xy"}, _checks.MissingKeyError, "Name the positions"),
        ({"window": (200, 300, 0, 1)}, ValueError, "No cell with a value.*Positions go from"),
        ({"window": (1, 0, 0, 1)}, ValueError, r"must be \(left, right, bottom, top\)"),
        ({"color": np.full(60, np.nan)}, ValueError, "No cell with a value"),
        ({"library_key": "amount"}, ValueError, "60 sections, but at most 6"),
        ({"color": "Sox9", "layer": "raw"}, _checks.MissingKeyError, "Name a layer"),
        ({"most": 0}, ValueError, "`most` is 0"),
    ],
)
def test_tissue_refuses(adata, options, error, text):
    with pytest.raises(error, match=text):
        plots.plot_tissue(adata, **options)


# attention


@pytest.mark.parametrize("head", [None, 1])
def test_lines_are_as_wide_as_the_attention(adata, outputs, head):
    cell = 7  # lacks its last neighbour
    fig = plots.plot_attention(outputs, cell, adata=adata, head=head)
    xy = adata.obsm["spatial"]
    near = outputs.neighbors[cell][outputs.neighbors[cell] >= 0]
    assert len(near) == 3
    weight = outputs.attention[cell, :, :3]
    weight = weight.max(axis=0) if head is None else weight[head]
    lines = [t for t in fig.data if t.type == "scatter" and t.mode == "lines"]
    assert [t.name for t in lines] == [f"to {j}" for j in near]
    for line, j, w in zip(lines, near, weight, strict=True):
        np.testing.assert_allclose(line.x, [xy[cell, 0], xy[j, 0]], rtol=1e-6)
        np.testing.assert_allclose(line.y, [xy[cell, 1], xy[j, 1]], rtol=1e-6)
        assert line.line.width == pytest.approx(12 * w, rel=1e-3)
    star = next(t for t in fig.data if t.marker.symbol == "star")
    np.testing.assert_allclose([star.x[0], star.y[0]], xy[cell], rtol=1e-6)
    assert f"most, {weight.max():.3g}" in alt(fig)


def test_bars_of_every_head_add_up_to_one(adata, outputs):
    fig = plots.plot_attention(outputs, 7, adata=adata)
    bars = {t.legendgroup: t.x for t in fig.data if t.type == "bar"}
    np.testing.assert_allclose(sum(bars.values()), 1.0, rtol=1e-6)
    np.testing.assert_allclose(bars["empty slot"], outputs.attention[7, :, -1], rtol=1e-6)
    kinds = outputs.neighbor_types[7]
    for t, name in enumerate(outputs.type_names):
        if name in bars:
            mine = outputs.attention[7, :, :-1][:, kinds == t].sum(axis=1)
            np.testing.assert_allclose(bars[name], mine, rtol=1e-6)
    assert own_type(outputs, 7) not in bars
    assert f"head 0 {outputs.attention[7, 0, -1]:.3g}" in alt(fig)


def own_type(outputs: HeadOutputs, cell: int) -> str:
    return outputs.type_names[outputs.types[cell]]


def test_a_row_of_a_subset_is_the_cell_that_it_stands_for(adata, outputs):
    part = outputs.subset(np.array([20, 7]))
    one, same = plots.plot_attention(part, 1, adata=adata), plots.plot_attention(outputs, 7, adata=adata)
    assert one.layout.title.text == f"Attention of cell 7, {own_type(outputs, 7)}"
    assert alt(one) == alt(same)


def test_a_model_brings_its_own_positions(outputs, adata):
    xy = adata.obsm["spatial"]
    model = SimpleNamespace(
        labels=outputs.types,
        heads=lambda adata, cells: outputs.subset(np.array(cells)),
        _own=lambda: SimpleNamespace(tissue=SimpleNamespace(coords=xy)),
    )
    told = alt(plots.plot_attention(outputs, 7, adata=xy))
    assert alt(plots.plot_attention(model, 7)) == alt(plots.plot_attention(model, 7, adata=xy)) == told
    with pytest.raises(ValueError, match="`cell` is 60.*Positions of cells"):
        plots.plot_attention(model, 60)


def test_a_cell_without_neighbours_attends_to_nobody(adata, outputs):
    lonely = replace(
        outputs, neighbors=np.full_like(outputs.neighbors, -1), rows=np.full_like(outputs.rows, -1)
    )
    fig = plots.plot_attention(lonely, 0, adata=adata)
    assert not [t for t in fig.data if t.type == "scatter" and t.mode == "lines"]
    assert "It has no neighbours." in alt(fig)


def test_a_neighbour_of_an_unknown_type_is_called_not_seen(adata, outputs):
    tables = replace(outputs.tables, types=np.full_like(outputs.tables.types, -1))
    fig = plots.plot_attention(replace(outputs, tables=tables), 7, adata=adata)
    bars = {t.name: t.x for t in fig.data if t.type == "bar"}
    assert list(bars) == ["not seen", "empty slot"]
    np.testing.assert_allclose(bars["not seen"], outputs.attention[7, :, :3].sum(axis=1), rtol=1e-6)


def test_attention_refuses(adata, outputs):
    with pytest.raises(TypeError, match=r"positions of the cells are needed.*adata=adata"):
        plots.plot_attention(outputs, 0)
    with pytest.raises(ValueError, match="Rows of `outputs`"):
        plots.plot_attention(outputs, 60, adata=adata)
    with pytest.raises(ValueError, match="The model has 2 heads"):
        plots.plot_attention(outputs, 0, adata=adata, head=2)
    with pytest.raises(ValueError, match="There are 3 positions, but `outputs` names cell"):
        plots.plot_attention(outputs, 0, adata=np.zeros((3, 2)))


@pytest.mark.parametrize("receiver", [None, "naïve"])
def test_attention_over_distance_is_the_mean_over_pairs(outputs, receiver):
    edges = np.array([0.0, 5.0, 10.0, 100.0])
    fig = plots.plot_attention_distance(attention_by_distance(outputs, bins=edges), receiver=receiver)
    assert [a.text for a in fig.layout.annotations] == ["Head 0", "Head 1"]
    own = np.ones(60, dtype=bool) if receiver is None else outputs.types == outputs.type_names.index(receiver)
    checked = 0
    for trace in fig.data:
        h, s = int(trace.xaxis == "x2"), outputs.type_names.index(trace.name)
        for x, y in zip(trace.x, trace.y, strict=True):
            b = np.searchsorted(edges, x) - 1
            d = outputs.distances
            inside = own[:, None] & (outputs.neighbor_types == s) & (d >= edges[b]) & (d < edges[b + 1])
            assert y == pytest.approx(outputs.attention[:, h, :-1][inside].mean(), rel=1e-5)
            checked += 1
    assert checked > 8
    assert sum(bool(t.showlegend) for t in fig.data) == len({t.name for t in fig.data})
    assert "head 1: most" in alt(fig)


@pytest.mark.parametrize(
    ("options", "text"),
    [
        ({"receiver": "naive"}, "`receiver` is 'naive'"),
        ({"heads": [2]}, "`heads` is 2"),
        ({"senders": ["x"]}, "`senders` is 'x'"),
    ],
)
def test_attention_over_distance_refuses(outputs, options, text):
    table = attention_by_distance(outputs, bins=3)
    with pytest.raises(ValueError, match=text):
        plots.plot_attention_distance(table, **options)
    with pytest.raises(ValueError, match=r"no rows.*attention_by_distance"):
        plots.plot_attention_distance(table[:0])


# pairs of types


@pytest.mark.parametrize("value", ["n_genes", "ablation", "share"])
def test_interactions_are_those_of_the_matrix(ablation, value):
    matrix = interaction_matrix(ablation, value=value, alpha=0.9)
    order = ["naïve", "CD4/CD8", "L2/3 IT"]
    fig = plots.plot_interactions(ablation, value=value, alpha=0.9, types=order)
    wanted = matrix.loc[order, order].to_numpy().copy()
    np.fill_diagonal(wanted, np.nan)
    np.testing.assert_allclose(fig.data[0].z, wanted, rtol=1e-6)
    assert ticks(fig) == ticks(fig, "xaxis") == order
    assert (fig.layout.xaxis.title.text, fig.layout.yaxis.title.text) == ("Receiver", "Sender")
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


def test_crossfit_puts_senders_in_rows_and_marks_what_passes():
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


def test_network_has_an_arrow_for_each_pair_that_passes():
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


def test_network_of_an_ablation_and_of_nothing(ablation):
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


def test_lengths_are_those_of_the_sender_cells(outputs, lengths):
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


def test_endless_lengths_are_told_and_not_drawn(outputs, lengths):
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
