"""Maps and attention: what is drawn is what was given."""

from __future__ import annotations

import subprocess
import sys
from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest
from anndata import AnnData

from scmods import _checks
from scmods.amici import plots
from scmods.amici._example import example_outputs
from scmods.amici.attention_maps import attention_by_distance
from scmods.amici.heads import HeadOutputs

TYPES = ["CD4/CD8", "18", "A<b>"]


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


def test_every_figure_is_labelled_told_and_light(check, drawn_in):
    cells, big = make_cells(3000), example_outputs(300, n_neighbors=20, n_heads=4)
    figures = {
        "plot_tissue": plots.plot_tissue(cells),
        "plot_tissue value": plots.plot_tissue(cells, "amount"),
        "plot_tissue sections": plots.plot_tissue(cells, "Sox9", library_key="half"),
        "plot_attention": plots.plot_attention(big, 5, adata=cells),
        "plot_attention_distance": plots.plot_attention_distance(attention_by_distance(big, bins=40)),
    }
    check(figures, drawn_in("tissue", "attention"), most=30)


def test_plots_do_not_load_heavy_packages():
    heavy = ("torch", "plotly", "pandas", "anndata", "scipy")
    code = f"import sys, scmods.amici.plots; print([m for m in {heavy!r} if m in sys.modules])"
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert run.stdout.strip() == "[]"


# the tissue


def test_groups_are_drawn_where_their_cells_are(adata, alt):
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
def test_values_are_those_of_the_column_or_gene(adata, color, layer, alt):
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


def test_only_the_window_and_only_cells_with_a_value_are_drawn(adata, alt):
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


def test_many_cells_are_thinned_and_the_figure_says_so(alt):
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
def test_lines_are_as_wide_as_the_attention(adata, outputs, head, alt):
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


def test_bars_of_every_head_add_up_to_one(adata, outputs, alt):
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


def test_a_row_of_a_subset_is_the_cell_that_it_stands_for(adata, outputs, alt):
    part = outputs.subset(np.array([20, 7]))
    one, same = plots.plot_attention(part, 1, adata=adata), plots.plot_attention(outputs, 7, adata=adata)
    assert one.layout.title.text == f"Attention of cell 7, {own_type(outputs, 7)}"
    assert alt(one) == alt(same)


def test_a_model_brings_its_own_positions(outputs, adata, alt):
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


def test_a_cell_without_neighbours_attends_to_nobody(adata, outputs, alt):
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
def test_attention_over_distance_is_the_mean_over_pairs(outputs, receiver, alt):
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
