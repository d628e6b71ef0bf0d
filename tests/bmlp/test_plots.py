"""Figures: what is drawn is what is stored, labelled, and told to those who cannot see it. No pixels are compared."""

from __future__ import annotations

import subprocess
import sys
from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest
from anndata import AnnData

from scmods import _checks, _figures, bmlp
from scmods.bmlp import plots

N, GENES, OUTPUTS, MODES = 80, 12, 3, 4
LONG = "Negative Regulation Of Transmembrane Receptor Protein Serine/Threonine Kinase Signaling Pathway (GO:0090101)"


def cells(n: int = N) -> AnnData:
    """Cells with every slot that the figures read, written by hand."""
    rng = np.random.default_rng(0)
    adata = AnnData(rng.normal(size=(n, GENES)).astype(np.float32))
    adata.obs["kind"] = pd.Categorical(np.array(["B", "T <1>", "NK"])[np.arange(n) % 3], ["T <1>", "B", "NK"])
    adata.obsm["X_umap"] = rng.normal(size=(n, 2))
    adata.obsm["X_pca"] = rng.normal(size=(n, 4))
    adata.obsm["X_freq"] = rng.normal(size=(n, OUTPUTS)) / np.sqrt(n) + [0.1, 0.0, -0.1]
    adata.uns["freq_vals"] = np.array([0.0123, 0.25, 0.5])
    adata.obs["bmlp_split"] = np.array(["train", "test", "val", "train"])[np.arange(n) % 4]
    adata.obsm["bmlp_prediction"] = 0.9 * adata.obsm["X_freq"]
    vectors = rng.normal(size=(GENES, MODES, OUTPUTS))
    adata.varm["bmlp_modes"] = vectors / np.linalg.norm(vectors, axis=0)
    adata.uns["bmlp"] = {
        "target": "X_freq",
        "split_key": "bmlp_split",
        "evaluated_on": "test",
        "r2": np.array([0.91, 0.52, -0.13]),
        "eigenvalues": np.array([[3.0, -2.0, 1.0, -0.5]] * OUTPUTS),
        "contribution": np.array([[0.1, 0.4, -0.2, 0.0]] * OUTPUTS),
    }
    return adata


@pytest.fixture
def adata() -> AnnData:
    return cells()


@pytest.fixture
def scores() -> pd.DataFrame:
    return score_table()


def score_table() -> pd.DataFrame:
    rows = [
        (m, s, o, r + 0.02 * s - 0.1 * o)
        for m, r in (("mean", 0.0), ("closed form", 0.9), ("original", -5.0))
        for s in (0, 1)
        for o in (0, 1)
    ]
    return pd.DataFrame(rows, columns=["model", "seed", "output", "r2"])


RANKS = pd.DataFrame(
    {
        "output": np.repeat([0, 1], 3),
        "rank": [0, 2, 8] * 2,
        "r2": [0.1, 0.6, 0.5, 0.2, 0.3, 0.4],
        "r2_val": [0.2, 0.5, 0.4, 0.1, 0.2, 0.3],
    }
)
NULL = pd.DataFrame(
    {
        "output": [0, 1],
        "r2": [0.8, 0.1],
        "null_r2_mean": [-0.02, -0.01],
        "null_r2_max": [0.01, 0.2],
        "p_value": [0.0476, 0.52],
    }
)
COMPARISON = pd.DataFrame(
    {"output": [0, 1], "mode": [0.3, 0.2], "linear": [0.6, 0.7], "untrained": [0.04, 0.05], "chance": 0.03}
)
STABILITY = pd.DataFrame({"output": [0, 1], "jaccard": [0.8, 0.7], "chance": 0.1})
WORSE = pd.DataFrame({"output": [0, 1], "jaccard": [0.12, 0.11], "chance": 0.15})
PRECISION = pd.DataFrame(
    {
        "target": ["square", "product, top mode"],
        "model": [1.0, 0.95],
        "correlation": [0.05, 0.2],
        "chance": 0.04,
    }
)
VALUES = pd.DataFrame(
    [[3.0, 0.2, np.nan], [0.5, 8.5, 0.0]], ["positive", "negative"], [LONG, "Short term", "A < B"]
)
MARKS = VALUES > 1
RANDOM = pd.DataFrame(
    {
        "background": ["measured", "measured", "nominal", "nominal"],
        "counted": ["all terms", "terms with a hit"] * 2,
        "n_background": [500, 500, 20000, 20000],
        "n_lists": 200,
        "share": [0.02, 0.06, 0.9, 0.95],
        "low": [0.01, 0.03, 0.85, 0.9],
        "high": [0.05, 0.1, 0.94, 0.98],
        "alpha": 0.05,
    }
)


def every(adata: AnnData, scores: pd.DataFrame) -> dict:
    """One figure of each function, and of its important variants."""
    return {
        "plot_cells": plots.plot_cells(adata, np.linspace(-1, 3, N), title="Score", label="score (z)"),
        "plot_clusters": plots.plot_clusters(adata, cluster_key="kind"),
        "plot_comparison": plots.plot_comparison(COMPARISON),
        "plot_enrichment": plots.plot_enrichment(VALUES, MARKS),
        "plot_freq_scatter": plots.plot_freq_scatter(adata, 1),
        "plot_frequencies": plots.plot_frequencies(adata),
        "plot_loss": plots.plot_loss([3.0, 2.0, 1.0], [3.0, 1.5, 2.0], baseline=1.8),
        "plot_modules": plots.plot_modules(adata),
        "plot_null": plots.plot_null(NULL),
        "plot_precision": plots.plot_precision(PRECISION),
        "plot_prediction": plots.plot_prediction(adata),
        "plot_random_lists": plots.plot_random_lists(RANDOM),
        "plot_rank_curve": plots.plot_rank_curve(RANKS),
        "plot_scores": plots.plot_scores(scores),
        "plot_spectrum": plots.plot_spectrum(adata),
        "plot_stability": plots.plot_stability({"repaired": STABILITY, "original": WORSE}),
    }


def alt(fig) -> str:
    return fig.layout.meta["alt"]


def axis_titles(fig, axis: str) -> list[str]:
    layout = fig.to_dict()["layout"]
    return [v.get("title", {}).get("text", "") for k, v in layout.items() if k.startswith(axis)]


def n_points(fig) -> int:
    return sum(len(t.x) for t in drawn_as(fig, "markers"))


def drawn_as(fig, mode: str) -> list:
    return [t for t in fig.data if t.type == "scatter" and t.mode == mode]


# laws of all figures


@pytest.fixture(scope="module")
def figures() -> dict:
    """Drawn once; to be looked at only."""
    return every(cells(), score_table())


def test_every_name_is_drawn_and_exported(figures):
    assert sorted(figures) == sorted(plots.__all__)
    assert all(getattr(bmlp, name) is getattr(plots, name) for name in plots.__all__)


def test_every_figure_has_title_axis_titles_and_its_own_alt_text(figures):
    texts = [alt(f) for f in figures.values()]
    assert len(set(texts)) == len(texts)
    for name, fig in figures.items():
        assert fig.layout.title.text, name
        assert len(alt(fig)) > 60, name
        assert alt(fig).rstrip().endswith("."), name
        assert any(axis_titles(fig, "xaxis")), name
        assert any(axis_titles(fig, "yaxis")), name


def test_figures_are_svg_and_their_arrays_are_small(figures):
    for name, fig in figures.items():
        for trace in fig.data:
            assert trace.type in ("scatter", "bar", "heatmap"), name
            for values in (trace.x, trace.y, getattr(trace, "z", None)):
                assert not (isinstance(values, np.ndarray) and values.dtype == np.float64), name


def test_the_alt_text_follows_the_data(adata):
    before = alt(plots.plot_freq_scatter(adata, 1))
    assert "80 cells" in before
    assert "0.25" in alt(plots.plot_frequencies(adata))
    adata.obsm["X_freq"][0, 1] = 7.77
    after = alt(plots.plot_freq_scatter(adata, 1))
    assert "to 7.77" in after
    assert before != after


def test_plots_do_not_load_torch_or_lightning():
    heavy = ("torch", "lightning", "plotly", "scmods.bmlp.tools", "scmods.bmlp.core", "scmods.training")
    code = f"import sys, scmods.bmlp.plots; print([m for m in {heavy!r} if m in sys.modules])"
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert run.stdout.strip() == "[]"


# maps of cells


def test_frequencies_draw_one_point_per_cell_and_panel_with_symmetric_colours(adata):
    fig = plots.plot_frequencies(adata, outputs=[0, 2])
    assert [len(t.x) for t in fig.data] == [N, N]
    axis = fig.layout.coloraxis
    assert (axis.cmin, axis.cmid, axis.cmax) == (-1.0, 0.0, 1.0)
    assert axis.colorscale[2] == (0.5, _figures.DIVERGING[2][1])
    for trace, o in zip(fig.data, (0, 2), strict=True):
        raw = adata.obsm["X_freq"][:, o]
        np.testing.assert_allclose(trace.marker.color, raw / np.abs(raw).max(), rtol=1e-5)
        np.testing.assert_allclose(trace.customdata, raw, rtol=1e-5)
    assert [a.text for a in fig.layout.annotations] == ["Frequency 0, λ = 0.0123", "Frequency 2, λ = 0.5"]


def test_single_scatter_has_lambda_in_the_title_and_a_range_around_zero(adata):
    fig = plots.plot_freq_scatter(adata, 2)
    most = np.abs(adata.obsm["X_freq"][:, 2]).max()
    assert fig.layout.title.text == "Frequency 2, λ = 0.5"
    assert (fig.layout.coloraxis.cmin, fig.layout.coloraxis.cmax) == pytest.approx((-most, most))


def test_basis_is_umap_then_components_then_the_frequencies_themselves(adata):
    def axes():
        fig = plots.plot_freq_scatter(adata)
        return fig.layout.xaxis.title.text, fig.layout.yaxis.title.text

    assert axes() == ("UMAP 1", "UMAP 2")
    del adata.obsm["X_umap"]
    assert axes() == ("PC 1", "PC 2")
    del adata.obsm["X_pca"]
    assert axes() == ("Frequency 0", "Frequency 1")
    np.testing.assert_allclose(
        plots.plot_freq_scatter(adata).data[0].y, adata.obsm["X_freq"][:, 1], rtol=1e-5
    )


def test_many_cells_are_thinned_in_all_panels_together_and_the_text_says_so():
    many = cells(6000)
    for fig in (plots.plot_freq_scatter(many), plots.plot_clusters(many, cluster_key="kind")):
        assert n_points(fig) == _figures.MAX_POINTS
        assert f"A random {_figures.MAX_POINTS} of them are drawn" in alt(fig)
    small = plots.plot_frequencies(many)
    assert _figures.MAX_POINTS - 3 <= n_points(small) <= _figures.MAX_POINTS
    np.testing.assert_array_equal(small.data[0].x, plots.plot_frequencies(many).data[0].x)


def test_classes_keep_their_order_their_counts_and_every_cell(adata):
    fig = plots.plot_clusters(adata, cluster_key="kind")
    assert [t.name for t in fig.data] == ["T &lt;1&gt; (27)", "B (27)", "NK (26)"]
    assert n_points(fig) == N
    assert "T <1> (27)" in alt(fig)


def test_many_classes_stay_apart_by_colour_and_symbol(adata):
    adata.obs["fine"] = [f"a rather long name of a class, number {i % 40}" for i in range(N)]
    fig = plots.plot_clusters(adata, cluster_key="fine")
    assert len({(t.marker.color, t.marker.symbol) for t in fig.data}) == 40
    assert all("<br>" in t.name for t in fig.data)
    adata.obs["finest"] = [str(i) if i % 2 else None for i in range(N)]
    fig = plots.plot_clusters(adata, cluster_key="finest")
    assert [t.name for t in fig.data][-1] == "no label (40)"
    adata.obs["each"] = [str(i) for i in range(N)]
    fig = plots.plot_clusters(adata, cluster_key="each")
    assert len(fig.data) == 48
    assert fig.data[-1].name == "33 smaller classes (33)"


def test_values_per_cell_may_diverge_or_not_and_end_at_a_quantile(adata):
    values = np.r_[np.full(N - 1, 0.5), 100.0]
    scale = plots.plot_cells(adata, values, title="t", label="l").layout.coloraxis
    assert (scale.cmin, scale.cmax) == (-100.0, 100.0)
    fig = plots.plot_cells(adata, values, title="t", label="l", quantile=0.9)
    assert fig.layout.coloraxis.cmax == pytest.approx(0.5)
    assert "90% quantile" in alt(fig)
    scale = plots.plot_cells(adata, values, title="t", label="l", diverging=False).layout.coloraxis
    assert (scale.cmin, scale.cmax, scale.cmid) == (0.5, 100.0, None)
    flat = plots.plot_cells(adata, np.zeros(N), title="t", label="l").layout.coloraxis
    assert (flat.cmin, flat.cmax) == (-1.0, 1.0)


# models


def test_prediction_shows_the_test_cells_alone(adata):
    fig = plots.plot_prediction(adata, outputs=1)
    rows = (adata.obs["bmlp_split"] == "test").to_numpy()
    (dots,) = drawn_as(fig, "markers")
    np.testing.assert_allclose(dots.y, adata.obsm["X_freq"][rows, 1], rtol=1e-5)
    np.testing.assert_allclose(dots.x, adata.obsm["bmlp_prediction"][rows, 1], rtol=1e-5)
    assert fig.layout.annotations[0].text == "Output 1, R² = 0.52"
    assert "20 test cells" in alt(fig)


def test_prediction_without_test_cells_says_that_the_cells_were_fitted(adata):
    adata.uns["bmlp"] |= {"evaluated_on": "leave-one-out", "split_key": ""}
    fig = plots.plot_prediction(adata)
    assert n_points(fig) == 3 * N
    assert "used to fit" in fig.layout.title.text
    assert "leave-one-out R² = 0.91" in fig.layout.annotations[0].text


def test_loss_marks_the_best_epoch_and_compares_with_the_mean():
    fig = plots.plot_loss([3.0, 2.0, 1.0], [3.0, 1.5, 2.0], baseline=1.4)
    star = next(t for t in fig.data if t.name == "best epoch")
    assert (star.x[0], star.y[0]) == (1, 1.5)
    assert "not below the 1.4" in alt(fig)
    assert "is below the 1.6" in alt(plots.plot_loss([3.0, 2.0], [3.0, 1.5], baseline=1.6))
    history = SimpleNamespace(train_losses=[3.0, 1.0], val_losses=[2.0, 1.0], best_epoch=0)
    star = next(t for t in plots.plot_loss(history).data if t.name == "best epoch")
    assert star.x[0] == 0
    assert len(plots.plot_loss([2.0, 1.0]).data) == 1


def test_loss_over_decades_has_a_log_axis_and_long_runs_are_thinned():
    assert plots.plot_loss([100.0, 1.0]).layout.yaxis.type == "log"
    assert plots.plot_loss([2.0, 1.0]).layout.yaxis.type is None
    assert len(plots.plot_loss(np.linspace(2, 1, 9000)).data[0].x) == _figures.MAX_POINTS // 2


def test_spectrum_colours_by_sign_and_shows_contributions(adata):
    values, gain = plots.plot_spectrum(adata, output=2).data
    np.testing.assert_array_equal(values.y, [3.0, -2.0, 1.0, -0.5])
    assert (
        values.marker.color[0] == values.marker.color[2] != values.marker.color[1] == values.marker.color[3]
    )
    np.testing.assert_allclose(gain.y, [0.1, 0.4, -0.2, 0.0], rtol=1e-6)
    text = alt(plots.plot_spectrum(adata, output=2))
    assert "2 positive, 2 negative" in text
    assert "largest for mode 1 (0.4 of the variance)" in text


def test_modules_show_both_ends_of_the_mode_that_contributes_most(adata):
    loading = adata.varm["bmlp_modes"][:, 1, 0]
    fig = plots.plot_modules(adata, n_genes=2)
    order = np.argsort(-loading)
    wanted = list(adata.var_names[order[[0, 1, -2, -1]]])
    assert list(fig.data[0].customdata) == wanted == list(fig.layout.yaxis.ticktext)
    np.testing.assert_allclose(fig.data[0].x, loading[order[[0, 1, -2, -1]]], rtol=1e-6)
    assert "mode 1, eigenvalue -2" in fig.layout.title.text
    assert len(fig.data) == 1
    everything = plots.plot_modules(adata, n_genes=GENES).data[0]
    assert len(everything.x) == GENES  # an end holds no gene of the other sign


def test_stability_stands_beside_the_genes_of_the_mode_it_was_made_for(adata):
    adata.varm["bmlp_stability"] = np.linspace(0, 1, GENES)[:, None] * np.ones(OUTPUTS)
    bars, dots = plots.plot_modules(adata, n_genes=2).data
    place = [list(adata.var_names).index(g) for g in bars.customdata]
    np.testing.assert_allclose(dots.x, np.linspace(0, 1, GENES)[place], rtol=1e-6)
    np.testing.assert_array_equal(dots.y, bars.y)
    assert len(plots.plot_modules(adata, mode=0).data) == 1


# evidence


def test_scores_are_means_with_a_dot_per_seed_and_cut_bars_tell_their_value(scores):
    fig = plots.plot_scores(scores)
    bar = next(t for t in fig.data if t.type == "bar")
    np.testing.assert_allclose(bar.y, [-0.04, 0.86, -5.04], rtol=1e-5)
    assert n_points(fig) == 6
    (text,) = drawn_as(fig, "text")
    assert list(text.text) == ["-0.04", "0.86", "-5.04"]
    assert fig.layout.yaxis.range[0] == -1.0
    assert alt(fig).index("closed form 0.86") < alt(fig).index("original -5.0")
    bars = [t for t in plots.plot_scores(scores, by_output=True).data if t.type == "bar"]
    assert [t.name for t in bars] == ["output 0", "output 1"]
    np.testing.assert_allclose([t.y[1] for t in bars], [0.91, 0.81], rtol=1e-5)


def test_rank_curve_rings_what_the_val_cells_choose():
    fig = plots.plot_rank_curve(RANKS)
    ring = next(t for t in fig.data if t.name == "chosen on val cells")
    np.testing.assert_allclose(ring.y, [0.6, 0.4], rtol=1e-6)
    np.testing.assert_array_equal(ring.x, [1, 2])
    assert list(fig.layout.xaxis.ticktext) == ["0", "2", "8"]


def test_null_shows_mean_maximum_and_p():
    fig = plots.plot_null(NULL)
    null, seen = fig.data
    np.testing.assert_allclose(np.asarray(null.y) + null.error_y.array, [0.01, 0.2], rtol=1e-5)
    np.testing.assert_allclose(seen.y, [0.8, 0.1], rtol=1e-6)
    assert list(fig.layout.xaxis.ticktext) == ["Output 0<br>p = 0.048", "Output 1<br>p = 0.52"]


@pytest.mark.parametrize(
    ("draw", "table", "heights", "levels"),
    [
        (plots.plot_comparison, COMPARISON, [[0.3, 0.2], [0.6, 0.7], [0.04, 0.05]], {0.03}),
        (plots.plot_precision, PRECISION, [[1.0, 0.95], [0.05, 0.2]], {0.04}),
        (
            plots.plot_stability,
            {"repaired": STABILITY, "original": WORSE},
            [[0.8, 0.7], [0.12, 0.11]],
            {0.1, 0.15},
        ),
        (plots.plot_stability, STABILITY, [[0.8, 0.7]], {0.1}),
    ],
)
def test_grouped_bars_hold_the_table_and_do_not_overlap(draw, table, heights, levels):
    fig = draw(table)
    bars = [t for t in fig.data if t.type == "bar"]
    np.testing.assert_allclose([t.y for t in bars], heights, rtol=1e-6)
    centres = np.sort(np.concatenate([t.x for t in bars]))
    assert np.diff(centres).min() >= bars[0].width
    (chance,) = drawn_as(fig, "lines")
    assert {round(float(v), 3) for v in chance.y if np.isfinite(v)} == levels


def test_each_table_of_stability_has_its_own_chance_line():
    fig = plots.plot_stability({"repaired": STABILITY, "original": WORSE})
    (chance,) = drawn_as(fig, "lines")
    y, x = np.reshape(chance.y, (4, 3))[:, 0], np.reshape(chance.x, (4, 3))[:, :2].mean(axis=1)
    np.testing.assert_allclose(y, [0.1, 0.1, 0.15, 0.15], rtol=1e-6)
    np.testing.assert_allclose(x, np.concatenate([fig.data[0].x, fig.data[1].x]), atol=1e-6)


# enrichment


def test_heat_map_keeps_whole_names_values_and_gaps():
    fig = plots.plot_enrichment(VALUES, MARKS)
    heat, dots = fig.data
    names = [t.replace("<br>", " ") for t in fig.layout.yaxis.ticktext]
    assert names == [LONG, "Short term", "A &lt; B"]
    assert "<br>" in fig.layout.yaxis.ticktext[0]
    np.testing.assert_allclose(heat.z, VALUES.to_numpy().T, rtol=1e-6)
    assert (heat.zmin, heat.zmax) == (0.0, 8.5)
    assert set(zip(dots.x, dots.y, strict=True)) == {(0, 0), (1, 1)}
    assert heat.colorbar.title.text == "-log10 adjusted p"
    text = alt(fig)
    assert "brighter is stronger" in text
    assert "significant: 2." in text
    assert "left empty: 1." in text
    assert "Strongest: Short term in negative (8.5)" in text


def test_heat_map_grows_with_the_number_of_terms():
    one = VALUES.iloc[:, :1]
    many = pd.DataFrame(np.ones((2, 40)), VALUES.index, [f"term {i}" for i in range(40)])
    heights = [plots.plot_enrichment(v, v > 1).layout.height for v in (one, VALUES, many)]
    assert heights == sorted(heights)
    assert heights[2] - heights[1] > 500


def test_the_colour_scale_is_bright_at_the_strong_end():
    from plotly.colors import get_colorscale

    scale = [stop[1] for stop in get_colorscale(_figures.SEQUENTIAL)]
    light = [sum(int(c[i : i + 2], 16) for i in (1, 3, 5)) for c in (scale[0], scale[-1])]
    assert light[0] < light[1]


def test_random_lists_show_shares_intervals_and_the_nominal_rate():
    fig = plots.plot_random_lists(RANDOM)
    bars = [t for t in fig.data if t.type == "bar"]
    np.testing.assert_allclose([t.y for t in bars], [[0.02, 0.9], [0.06, 0.95]], rtol=1e-6)
    np.testing.assert_allclose(bars[0].error_y.array, [0.03, 0.04], atol=1e-12)
    np.testing.assert_allclose(bars[0].error_y.arrayminus, [0.01, 0.05], atol=1e-12)
    (line,) = drawn_as(fig, "lines")
    np.testing.assert_allclose(line.y[:2], 0.05, rtol=1e-6)
    assert line.x[0] < min(t.x.min() for t in bars)
    assert line.x[1] > max(t.x.max() for t in bars)
    assert "nominal rate 5%" in alt(fig)
    assert "90.0% against genes of a genome" in alt(fig)


# refusals


@pytest.mark.parametrize(
    ("call", "error", "text"),
    [
        (lambda a: plots.plot_frequencies(a, key_added="fine"),
         KeyError, r"Run `bmlp.frequencies\(adata, key_added='fine'\)` first"),
        (lambda a: plots.plot_freq_scatter(a, 3),
         ValueError, "`freq_idx` is 3, but must be at least 0 and at most 2. There are 3"),
        (lambda a: plots.plot_freq_scatter(a, 1.5), TypeError, "`freq_idx` is 1.5 of type float"),
        (lambda a: plots.plot_frequencies(a, outputs=[]), ValueError, "`outputs` is empty"),
        (lambda a: plots.plot_frequencies(a, basis="X_umpa"), KeyError, "Did you mean 'X_umap'"),
        (lambda a: plots.plot_clusters(a, cluster_key="knd"), KeyError, "Did you mean 'kind'"),
        (lambda a: plots.plot_prediction(a, key_added="other"), KeyError, r"Run `bmlp.fit\(adata\)` first"),
        (lambda a: plots.plot_spectrum(a, key_added="other"), KeyError, r"Run `bmlp.fit\(adata\)` first"),
        (lambda a: plots.plot_spectrum(a, output=3), ValueError, "`output` is 3"),
        (lambda a: plots.plot_modules(a, mode=9), ValueError, "`mode` is 9, but must be at least 0 and at most 3"),
        (lambda a: plots.plot_modules(a, n_genes=0), ValueError, "`n_genes` is 0"),
        (lambda a: plots.plot_cells(a, np.ones(3), title="t", label="l"),
         ValueError, "one number for each of the 80 cells"),
        (lambda a: plots.plot_cells(a, ["a"] * N, title="t", label="l"), TypeError, "must be numeric"),
        (lambda a: plots.plot_cells(a, np.full(N, np.nan), title="t", label="l"), ValueError, "NaN or infinite"),
        (lambda a: plots.plot_cells(a, pd.Series(np.ones(N)), title="t", label="l"), ValueError, "values.reindex"),
        (lambda a: plots.plot_loss([]), ValueError, "must be one number per epoch"),
        (lambda a: plots.plot_loss([1.0, np.nan]), ValueError, "NaN or infinite"),
        (lambda a: plots.plot_loss([1.0, 2.0], [1.0]), ValueError, "2 training and 1 validation losses"),
        (lambda a: plots.plot_scores(RANKS), KeyError, "no column 'model'. Available: .*bmlp.baselines"),
        (lambda a: plots.plot_scores([1.0]), TypeError, "`table` is a list, but must be a table with the columns"),
        (lambda a: plots.plot_null(NULL.iloc[:0]), ValueError, "`table` has no rows"),
        (lambda a: plots.plot_rank_curve(NULL), KeyError, "bmlp.rank_curve"),
        (lambda a: plots.plot_comparison(NULL), KeyError, "bmlp.compare_with_correlation"),
        (lambda a: plots.plot_precision(NULL), KeyError, "bmlp.planted_precision"),
        (lambda a: plots.plot_stability({}), ValueError, "holds no tables"),
        (lambda a: plots.plot_stability({"a": STABILITY, "b": STABILITY[:1]}),
         ValueError, r"table\['b'\]` holds the outputs \['0'\]"),
        (lambda a: plots.plot_enrichment(VALUES, MARKS.T),
         ValueError, r"values` is 2 x 3 and `significant` 3 x 2.*heatmap_table"),
        (lambda a: plots.plot_enrichment(VALUES.to_numpy(), MARKS),
         TypeError, "`values` is a ndarray, but must be a table"),
        (lambda a: plots.plot_random_lists(NULL), KeyError, "bmlp.random_list_null"),
    ],
)  # fmt: skip
def test_refusals_say_what_to_run(adata, call, error, text):
    with pytest.raises(error, match=text):
        call(adata)


def test_a_map_without_any_basis_asks_for_the_frequencies(adata):
    for key in list(adata.obsm):
        del adata.obsm[key]
    with pytest.raises(_checks.MissingKeyError, match=r"X_freq.*Run `bmlp.frequencies\(adata\)` first"):
        plots.plot_clusters(adata, cluster_key="kind")


def test_a_basis_of_one_column_is_refused(adata):
    adata.obsm["X_one"] = np.ones((N, 1))
    with pytest.raises(ValueError, match="a map needs at least two columns"):
        plots.plot_freq_scatter(adata, basis="X_one")


def test_a_prediction_without_its_target_is_refused(adata):
    del adata.obsm["X_freq"]
    with pytest.raises(_checks.MissingKeyError, match="what the model was fitted to"):
        plots.plot_prediction(adata)
