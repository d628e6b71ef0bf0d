"""Maps of spots and types: what is drawn is what is stored, where it is, and told to those who cannot see it."""

from __future__ import annotations

import json
import subprocess
import sys

import numpy as np
import pandas as pd
import pytest
from anndata import AnnData
from plotly.utils import PlotlyJSONEncoder
from scipy import sparse
from scipy.spatial import cKDTree

from scmods import _checks
from scmods.smoother import plots
from scmods.smoother.plots_graph import trails
from scmods.smoother.plots_spots import nice, read_spots

ROWS, COLS, TYPES = 9, 12, 3
N = ROWS * COLS
LABELS = ["CD4/CD8", "18", "A<b>"]


def lattice(rows: int = ROWS, cols: int = COLS, *, hexagonal: bool = False) -> np.ndarray:
    y, x = (a.ravel().astype(float) for a in np.mgrid[:rows, :cols])
    return np.column_stack([x + 0.5 * (y % 2), y * np.sqrt(3) / 2] if hexagonal else [x, y])


def rook(xy: np.ndarray) -> sparse.csr_matrix:
    pairs = cKDTree(xy).query_pairs(1.0 + 1e-6, p=1, output_type="ndarray")
    i, j = pairs[np.isclose(np.abs(xy[pairs[:, 0]] - xy[pairs[:, 1]]).sum(-1), 1.0)].T
    half = sparse.csr_matrix((np.ones(len(i)), (i, j)), shape=(len(xy), len(xy)))
    return half + half.T


def make_spots(xy: np.ndarray | None = None) -> AnnData:
    """Spots with every slot that the figures read, written by hand."""
    xy = lattice() if xy is None else xy
    n, rng = len(xy), np.random.default_rng(0)
    adata = AnnData(rng.poisson(3.0, size=(n, 2)).astype(np.float32))
    adata.var_names = ["Sox9", "A<b>"]
    adata.layers["log"] = np.log1p(adata.X)
    adata.obsm["spatial"] = xy
    adata.obs["layer"] = pd.Categorical(np.array(LABELS)[np.arange(n) % 3], LABELS)
    adata.obs["amount"] = np.linspace(-1, 3, n)
    adata.obsm["truth"] = rng.dirichlet(np.ones(TYPES), n)
    adata.uns["truth"] = {"types": np.array(LABELS, dtype=object)}
    mixed = 0.8 * adata.obsm["truth"] + 0.2 * rng.dirichlet(np.ones(TYPES), n)
    adata.obsm["smoother_proportions"] = mixed[:, ::-1]
    adata.uns["smoother_deconvolution"] = {"types": np.array(LABELS[::-1], dtype=object)}
    adata.obsm["X_smoother_pca"] = rng.normal(size=(n, 3)) + [0, 5, 0]
    return adata


@pytest.fixture
def adata() -> AnnData:
    out = make_spots()
    out.obsp["spatial_connectivities"] = rook(out.obsm["spatial"])
    return out


def every(adata: AnnData) -> dict:
    """One figure of each function in this file, and of its important variants."""
    rng = np.random.default_rng(1)
    samples = rng.normal(size=(adata.n_obs, 2))
    out = {
        "plot_tissue": plots.plot_tissue(adata, "amount"),
        "plot_tissue labels": plots.plot_tissue(adata, "layer"),
        "plot_tissue genes": plots.plot_tissue(adata, ["Sox9", "A<b>"], layer="log"),
        "plot_prior_samples": plots.plot_prior_samples(samples, adata.obsm["spatial"]),
        "plot_proportions": plots.plot_proportions(adata, truth="truth"),
        "plot_proportion_scatter": plots.plot_proportion_scatter(adata),
        "plot_embedding_layers": plots.plot_embedding_layers(adata, groupby="layer"),
    }
    if "spatial_connectivities" in adata.obsp:
        out["plot_graph"] = plots.plot_graph(adata, groupby="layer")
    return out


def alt(fig) -> str:
    return fig.layout.meta["alt"]


def kilobytes(fig) -> float:
    return len(json.dumps(fig.to_plotly_json(), cls=PlotlyJSONEncoder)) / 1000


def titles(fig) -> list[str]:
    return [a.text for a in fig.layout.annotations]


def test_every_figure_has_title_axis_titles_and_its_own_alt_text(adata):
    figures = every(adata)
    ours = ("graph", "layers", "tissue", "types")
    wanted = [n for n in plots.__all__ if getattr(plots, n).__module__.rsplit("_", 1)[-1] in ours]
    assert sorted({name.split(" ")[0] for name in figures}) == wanted
    assert len({alt(f) for f in figures.values()}) == len(figures)
    for name, fig in figures.items():
        layout = fig.to_dict()["layout"]
        axes = [v.get("title", {}).get("text") for k, v in layout.items() if k[1:].startswith("axis")]
        assert fig.layout.title.text, name
        assert len(alt(fig)) > 60, name
        assert alt(fig).endswith("."), name
        assert len([a for a in axes if a]) >= 2, name


def test_figures_of_thousands_of_spots_stay_light():
    rng = np.random.default_rng(0)
    slide = make_spots(1000 * rng.random((3611, 2)))
    for name, fig in every(slide).items():
        assert kilobytes(fig) < 65, name
    square = make_spots(lattice(30, 30))
    square.obsp["spatial_connectivities"] = rook(square.obsm["spatial"])
    for name, fig in every(square).items():
        assert kilobytes(fig) < (40 if name == "plot_proportions" else 26), name


def test_plots_do_not_load_heavy_packages():
    heavy = ("torch", "plotly", "pandas", "anndata", "numba")
    code = f"import sys, scmods.smoother.plots; print([m for m in {heavy!r} if m in sys.modules])"
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert run.stdout.strip() == "[]"


# positions and scales


def turned(xy: np.ndarray, degrees: float) -> np.ndarray:
    a = np.deg2rad(degrees)
    return xy @ np.array([[np.cos(a), np.sin(a)], [-np.sin(a), np.cos(a)]])


@pytest.mark.parametrize(
    ("xy", "symbol"),
    [
        (lattice(), "square"),
        (turned(lattice(), 45), "diamond"),
        (turned(lattice(), 20), "circle"),
        (137 * lattice(hexagonal=True), "hexagon"),
        (turned(lattice(hexagonal=True), 30), "hexagon2"),
        (np.random.default_rng(0).random((200, 2)), "circle"),
        (np.array([[0.0, 0.0]]), "circle"),
    ],
)
def test_mark_tiles_the_lattice_of_the_data(xy, symbol):
    assert read_spots(xy, "spatial", y_down=False)[0].symbol == symbol


@pytest.mark.parametrize(
    "xy", [lattice(), lattice(hexagonal=True) * 90 + 7, np.random.default_rng(0).random((50, 2))]
)
def test_whole_steps_are_the_positions(xy):
    spots, _ = read_spots(xy, "spatial", y_down=False)
    back = np.column_stack([spots.x, spots.y]) * spots.step + spots.low
    assert np.abs(back - xy).max() < 1e-4 * np.ptp(xy)
    np.testing.assert_allclose(spots.steps(xy), np.column_stack([spots.x, spots.y]), atol=0.51)


def test_one_length_is_as_long_on_both_axes_and_y_may_point_down():
    xy = lattice(hexagonal=True)
    fig = plots.plot_tissue(xy, xy[:, 0], y_down=True)
    trace = fig.data[0]
    assert fig.layout.yaxis.scaleanchor == "x"
    far = np.array([trace.x, trace.y * fig.layout.yaxis.scaleratio], dtype=float)
    ratio = far.max(axis=1) / np.ptp(xy, axis=0)
    assert ratio[0] == pytest.approx(ratio[1], rel=1e-4)
    low, high = fig.layout.yaxis.range
    assert low > high
    low, high = plots.plot_tissue(xy, xy[:, 0]).layout.yaxis.range
    assert low < high


def test_one_map_shows_the_values_and_several_round_them_to_a_named_unit(adata):
    fig = plots.plot_tissue(adata, "amount", quantile=1.0)
    np.testing.assert_allclose(fig.data[0].marker.color, adata.obs["amount"], rtol=1e-6)
    axis = fig.layout.coloraxis
    assert (axis.cmin, axis.cmid, axis.cmax) == (-3, 0, 3)
    two = plots.plot_tissue(adata, {"a": adata.obs["amount"].to_numpy(), "b": 2 * np.arange(N)}, quantile=1.0)
    unit = nice(2 * 2 * (N - 1) / 250)
    for trace, values in zip(two.data, (adata.obs["amount"], 2 * np.arange(N)), strict=True):
        np.testing.assert_allclose(trace.marker.color * unit, values, atol=unit / 2 + 1e-9)
        assert trace.marker.color.dtype.itemsize == 1
        assert f"× {unit:g}" in trace.hovertemplate
    ticks = two.layout.coloraxis.colorbar
    shown = [float(t.replace("\u2212", "-")) for t in ticks.ticktext]
    np.testing.assert_allclose(np.array(ticks.tickvals) * unit, shown)


def test_own_scales_are_written_above_their_maps(adata):
    fig = plots.plot_prior_samples(
        {"icar 0.9": adata.obs["amount"], "10 <b>": 10 * adata.obs["amount"]}, adata
    )
    high = np.quantile(np.abs(adata.obs["amount"]), 0.99)
    assert titles(fig) == [f"icar 0.9<br>scale ±{high:.3g}", f"10 &lt;b&gt;<br>scale ±{10 * high:.3g}"]
    np.testing.assert_array_equal(fig.data[0].marker.color, fig.data[1].marker.color)
    assert "10 <b>, from -10 to 30" in alt(fig)
    shared = plots.plot_prior_samples(np.ones((N, 2)) * [1, 2], adata, shared_scale=True)
    assert (shared.data[1].marker.color == 2 * shared.data[0].marker.color).all()
    assert titles(shared) == ["sample 1", "sample 2"]


def test_spots_without_a_value_are_rings(adata):
    values = np.arange(N, dtype=float)
    values[[3, 5]] = np.nan
    fig = plots.plot_tissue(adata, values, label="Counts")
    there, lost = fig.data
    assert len(there.x) == N - 2
    np.testing.assert_array_equal(lost.x, adata.obsm["spatial"][[3, 5], 0])
    assert lost.marker.symbol == "circle-open"
    assert "2 spots without a value" in alt(fig)


def test_labels_keep_order_and_colour_in_all_maps(adata):
    guess = adata.obs["layer"].astype(object).to_numpy()
    guess[:5] = np.nan
    fig = plots.plot_tissue(adata, {"manual": adata.obs["layer"], "fit": pd.Series(guess)})
    first = [t for t in fig.data if t.xaxis == "x"]
    assert [t.name for t in first] == ["CD4/CD8", "18", "A&lt;b&gt;"]
    tone = {t.name: t.marker.color for t in first}
    second = {t.name: t for t in fig.data if t.xaxis == "x2"}
    assert all(second[k].marker.color == v for k, v in tone.items())
    assert len(second["no label"].x) == 5
    assert [t.name for t in fig.data if t.showlegend] == ["CD4/CD8", "18", "A&lt;b&gt;", "no label"]
    np.testing.assert_array_equal(first[1].x, adata.obsm["spatial"][1::3, 0])


def test_thinned_spots_cover_the_tissue_evenly():
    xy = lattice(80, 80)
    fig = plots.plot_tissue(xy, {str(i): xy[:, 0] for i in range(6)})
    x, y = fig.data[0].x, fig.data[0].y
    assert f"{len(x)} of the 6400 spots are drawn, evenly spread" in alt(fig)
    counts = np.histogram2d(x, y, bins=4)[0]
    assert counts.min() > 0.6 * counts.mean()
    assert (
        fig.data[0].marker.size
        > plots.plot_tissue(xy, {"a": xy[:, 0], "b": xy[:, 0], "c": xy[:, 1]}).data[0].marker.size / 2
    )


# graph


def test_trails_go_over_every_edge_once():
    rng = np.random.default_rng(0)
    pairs = np.argwhere(np.triu(rng.random((20, 20)) < 0.3, 1))
    path = trails(pairs)
    steps = np.stack([path[:-1], path[1:]], axis=1)
    steps = np.sort(steps[(steps >= 0).all(axis=1)], axis=1)
    np.testing.assert_array_equal(steps[np.lexsort(steps.T[::-1])], pairs)
    assert len(path) < 2 * len(pairs)


def test_graph_draws_edges_by_weight_and_the_cut_ones(adata):
    w = adata.obsp["spatial_connectivities"].tolil()
    adata.obsp["full"] = adata.obsp["spatial_connectivities"].copy()
    w[0, 1] = w[1, 0] = w[0, COLS] = w[COLS, 0] = 0
    w[0, 0] = 1
    w[1, 2] = w[2, 1] = 0.5
    adata.obsp["spatial_connectivities"] = w.tocsr()
    fig = plots.plot_graph(adata, full="full", groupby="layer")
    by_name = {t.name: t for t in fig.data}
    half = by_name["weight 1/3 to 2/3"]
    assert sorted(zip(half.x, half.y, strict=True)) == [(1.0, 0.0), (2.0, 0.0)]
    assert by_name["cut edge"].line.dash == "dot"
    assert (0.0, 1.0) in set(zip(by_name["cut edge"].x, by_name["cut edge"].y, strict=True))
    assert (by_name["no neighbour"].x[0], by_name["no neighbour"].y[0]) == (0, 0)
    total = ROWS * (COLS - 1) + COLS * (ROWS - 1)
    assert f"{total - 2} edges between {N} spots" in alt(fig)
    assert f"2 of the {total} edges of full are cut" in alt(fig)
    plain = plots.plot_graph(adata, weights="full")
    assert [t.name for t in plain.data] == ["edge", "spot"]


def test_large_graph_is_a_cutout_around_the_cut_edges():
    adata = make_spots(lattice(50, 50))
    adata.obsp["full"] = rook(adata.obsm["spatial"])
    side = np.array(["left", "right"])[(adata.obsm["spatial"][:, 0] > 39).astype(int)]
    edges = adata.obsp["full"].tocoo()
    edges.data = edges.data * (side[edges.row] == side[edges.col])
    adata.obsp["spatial_connectivities"] = edges.tocsr()
    adata.obsp["spatial_connectivities"].eliminate_zeros()
    fig = plots.plot_graph(adata, full="full")
    spots = next(t for t in fig.data if t.name == "spot")
    assert 800 < len(spots.x) < 1000
    assert f"The {len(spots.x)} spots in the middle are drawn" in alt(fig)
    cut = next(t for t in fig.data if t.name == "cut edge")
    assert np.nanmax(cut.x) - np.nanmin(cut.x) == 1
    assert kilobytes(fig) < 30


# proportions


def test_proportions_are_matched_to_the_truth_by_name(adata):
    fig = plots.plot_proportions(adata, truth="truth", types=["18"])
    truth, guess = fig.data
    np.testing.assert_allclose(truth.marker.color, 100 * adata.obsm["truth"][:, 1], atol=0.51)
    np.testing.assert_allclose(guess.marker.color, 100 * adata.obsm["smoother_proportions"][:, 1], atol=0.51)
    whole = plots.plot_proportions(adata, truth="truth")
    assert titles(whole)[:2] == ["A&lt;b&gt;, truth", "A&lt;b&gt;, estimate"]
    np.testing.assert_allclose(whole.data[0].marker.color, 100 * adata.obsm["truth"][:, 2], atol=0.51)
    table = pd.DataFrame(adata.obsm["truth"], columns=LABELS, index=adata.obs_names)
    named = plots.plot_proportions(adata, truth=table)
    np.testing.assert_array_equal(named.data[0].marker.color, whole.data[0].marker.color)
    alone = plots.plot_proportions(adata)
    assert len(alone.data) == TYPES
    assert alone.layout.coloraxis.cmin == 0


def test_scatter_names_error_and_correlation(adata):
    fig = plots.plot_proportion_scatter(adata, types=["CD4/CD8"])
    true, guess = adata.obsm["truth"][:, 0], adata.obsm["smoother_proportions"][:, 2]
    rmse, r = np.sqrt(np.mean((true - guess) ** 2)), np.corrcoef(true, guess)[0, 1]
    assert titles(fig) == [f"CD4/CD8<br>RMSE {rmse:.3g}, r = {r:.2f}"]
    np.testing.assert_allclose(fig.data[0].x, true, rtol=1e-6)
    np.testing.assert_allclose(fig.data[0].y, guess, rtol=1e-6)
    assert f"RMSE over all {rmse:.3g}" in alt(fig)
    perfect = plots.plot_proportion_scatter(adata, estimate=adata.obsm["truth"][:, ::-1])
    assert "RMSE over all 0." in alt(perfect)


# layers


def test_embedding_tells_the_share_between_layers(adata):
    code = adata.obs["layer"].cat.codes.to_numpy().astype(float)
    adata.obsm["X_pca"] = np.column_stack([code, np.tile([1.0, -1.0], N)[:N], code])
    fig = plots.plot_embedding_layers(adata, groupby="layer", basis="X_pca", components=(0, 1))
    values, table = adata.obsm["X_pca"][:, 1], adata.obs["layer"]
    between = pd.Series(values).groupby(table.to_numpy()).transform("mean").var(ddof=0) / values.var()
    assert f"component 1 100%; component 2 {between:.0%}" in alt(fig)
    points = [t for t in fig.data if t.xaxis == "x3"]
    assert [t.name for t in points] == ["CD4/CD8", "18", "A&lt;b&gt;"]
    np.testing.assert_allclose(points[1].x, 1.0)
    assert fig.layout.xaxis3.title.text == "component 1"


# refusals


@pytest.mark.parametrize(
    ("call", "error", "text"),
    [
        (lambda a: plots.plot_tissue(a, "amunt"), KeyError, "neither a column.*Did you mean 'amount'"),
        (lambda a: plots.plot_tissue(a, "Sox9", layer="lg"), KeyError, "Did you mean 'log'"),
        (lambda a: plots.plot_tissue(a, ["amount", "layer"]), ValueError, "mixes labels and numbers"),
        (lambda a: plots.plot_tissue(a, []), ValueError, "`color` is empty"),
        (lambda a: plots.plot_tissue(a.obsm["spatial"], "amount"), TypeError, "nothing to look names up in"),
        (lambda a: plots.plot_tissue(a, np.ones(5)), ValueError, r"shape \(5,\), but there are 108 spots"),
        (lambda a: plots.plot_tissue(a, np.full(N, np.nan)), ValueError, "no finite value"),
        (lambda a: plots.plot_tissue(a, np.array(["a", "b"])), ValueError, "2 labels, but there are 108 spots"),
        (lambda a: plots.plot_tissue(a, "amount", spatial_key="spat"), KeyError, "Did you mean 'spatial'"),
        (lambda a: plots.plot_tissue(a.obsm["spatial"].T, np.ones(2)), ValueError, r"Transpose it: `coords.T`"),
        (lambda a: plots.plot_tissue(a, "amount", quantile=0), ValueError, "`quantile` is 0"),
        (lambda a: plots.plot_prior_samples([["a"]], a), TypeError, "`samples` has type.*must be numeric"),
        (lambda a: plots.plot_graph(a, weights="spatial"), KeyError, r"Run `smoother.spatial_weights\(adata\)`"),
        (lambda a: plots.plot_graph(a, groupby="layers"), KeyError, "Did you mean 'layer'"),
        (lambda a: plots.plot_proportions(a, key_added="b"), KeyError, r"Run `smoother.deconvolve\(adata, profiles\)`"),
        (lambda a: plots.plot_proportions(a, types=["18 "]), KeyError, "was not estimated.*Did you mean '18'"),
        (lambda a: plots.plot_proportions(a, types=[]), ValueError, "`types` is empty"),
        (lambda a: plots.plot_proportions(a, truth=np.ones((N, 2))), ValueError,
         r"`truth` has shape \(108, 2\), but must be \(108 spots, 3\)"),
        (lambda a: plots.plot_proportions(a, truth=pd.DataFrame({"18": np.ones(N)})), KeyError, "has no column"),
        (lambda a: plots.plot_proportion_scatter(a, truth="true"), KeyError, "Did you mean 'truth'"),
        (lambda a: plots.plot_embedding_layers(a, groupby="layer", components=(0,)), ValueError, "2 to 5 components"),
        (lambda a: plots.plot_embedding_layers(a, groupby="layer", components=(0, 3)), ValueError, "has 3 components"),
        (lambda a: plots.plot_embedding_layers(a, groupby="x"), KeyError, "Name the column of layers"),
        (lambda a: plots.plot_embedding_layers(a, groupby="layer", basis="X_pc"), KeyError, "Name a key of"),
    ],
)  # fmt: skip
def test_refusals_say_what_to_do(adata, call, error, text):
    with pytest.raises(error, match=text):
        call(adata)


def test_missing_scores_and_bad_weights_are_refused(adata):
    adata.obsp["spatial_connectivities"].data[:2] = -1
    with pytest.raises(ValueError, match="2 weights that are negative or NaN"):
        plots.plot_graph(adata)
    adata.obsm["X_smoother_pca"][3, 1] = np.inf
    with pytest.raises(ValueError, match="1 values that are NaN or infinite"):
        plots.plot_embedding_layers(adata, groupby="layer")
    del adata.obsm["X_smoother_pca"]
    with pytest.raises(_checks.MissingKeyError, match=r"Run `smoother.spatial_pca\(adata\)` first"):
        plots.plot_embedding_layers(adata, groupby="layer")


def test_scales_of_constant_and_tiny_values():
    xy = lattice()
    for values in (np.zeros(N), np.full(N, 7.0), 1e-9 * np.arange(N)):
        axis = plots.plot_tissue(xy, {"a": values, "b": values}).layout.coloraxis
        assert axis.cmax > axis.cmin
    assert [nice(v) for v in (0.9, 1.0, 1.1, 2.3, 70)] == [1, 1, 2, 5, 100]
    assert plots.plot_tissue(xy, np.arange(N) > 3).data[0].name == "False"
