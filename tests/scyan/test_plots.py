"""Figures of cells and markers: what is drawn is what was given, labelled, told, light."""

from __future__ import annotations

import json
import subprocess
import sys
from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest
import torch
from anndata import AnnData
from plotly.utils import PlotlyJSONEncoder

from scmods import _checks, _figures
from scmods.scyan import plots
from scmods.scyan.mixture import two_components
from scmods.scyan.plots_common import thin_groups
from scmods.scyan.plots_latent import higher_share
from scmods.scyan.prior import PriorDistribution
from scmods.scyan.simulate import cytometry

MARKERS = ["CD3", "CD<b>", "HLA-DR"]
POPS = ["CD4/CD8", "18", "T cell (naïve)"]
OURS = ("barcodes", "batches", "cells", "latent", "markers")


def make_table() -> pd.DataFrame:
    rho = [[1.0, -1.0, np.nan], [-1.0, 1.0, 1.0], [np.nan, 0.5, -1.0]]
    return pd.DataFrame(rho, index=POPS, columns=MARKERS)


def make_cells(n: int = 90) -> AnnData:
    """Two clear groups in every marker, two batches a little apart."""
    rng = np.random.default_rng(0)
    group = np.arange(n) % 3
    x = np.array([[1, -1, 0], [-1, 1, 1], [1, 0.5, -1]])[group] + 0.2 * rng.normal(size=(n, 3))
    batch = np.arange(n) % 2
    x += 0.5 * batch[:, None] * [1, 0, 0]
    adata = AnnData(x.astype(np.float32), var=pd.DataFrame(index=MARKERS))
    adata.obs_names = [f"cell{i}" for i in range(n)]
    adata.obs["cell_type"] = pd.Categorical(np.array(POPS)[group], POPS)
    adata.obs["batch"] = np.array(["b1", "b2"])[batch]
    adata.obsm["X_umap"] = rng.normal(size=(n, 2))
    adata.uns["table"] = make_table()
    return adata


@pytest.fixture
def adata() -> AnnData:
    return make_cells()


def make_model(adata: AnnData) -> SimpleNamespace:
    """What the figures read from a trained model."""
    rho = torch.tensor(make_table().to_numpy())
    prior = PriorDistribution(rho, torch.zeros(3, dtype=bool), 0.25, 3)
    log_pi = torch.tensor([0.5, 0.3, 0.2], dtype=torch.float64, requires_grad=True).log()
    return SimpleNamespace(
        latent=lambda: adata.X.astype(np.float64), table=make_table(), adata=adata,
        module=SimpleNamespace(prior=prior, log_pi=log_pi), settings={"continuum_markers": []},
    )  # fmt: skip


def probabilities(adata: AnnData) -> pd.DataFrame:
    rng = np.random.default_rng(1)
    code = adata.obs["cell_type"].cat.codes.to_numpy()
    p = rng.random((adata.n_obs, 4)) + 5 * np.eye(4)[code]
    return pd.DataFrame(p / p.sum(axis=1, keepdims=True), adata.obs_names, [*POPS, "unclassified"])


def every(adata: AnnData) -> dict:
    """One figure of each function of these files."""
    x = adata.X.astype(np.float64)
    labels = adata.obs["cell_type"]
    after = x - 0.5 * (adata.obs["batch"] == "b2").to_numpy()[:, None] * [1, 0, 0]
    batch = adata.obs["batch"]
    kind = np.array(["singlet", "doublet", "debris"])[labels.cat.codes]
    counted = adata.copy()
    counted.layers["counts"] = np.sinh(x + 2)
    return {
        "plot_barcodes": plots.plot_barcodes({"gap": x[:, 0], "model": x[:, 1]}, kind, threshold=0.3),
        "plot_correction": plots.plot_correction(x, after, batch, MARKERS, score=(1.2, 1.9)),
        "plot_correction_map": plots.plot_correction_map(x, after, batch, MARKERS),
        "plot_labels": plots.plot_labels(
            adata, {"truth": "cell_type", "model": labels.where(labels != "18")}
        ),
        "plot_latent": plots.plot_latent(make_model(adata), labels=labels),
        "plot_markers": plots.plot_markers(adata),
        "plot_probabilities": plots.plot_probabilities(probabilities(adata), truth=labels),
        "plot_signals": plots.plot_signals(x, labels, make_table()),
        "plot_transform": plots.plot_transform(counted, MARKERS[:2], layer="counts"),
    }


def alt(fig) -> str:
    return fig.layout.meta["alt"]


def names_of(fig) -> list[str]:
    return [t.name for t in fig.data]


def kilobytes(fig) -> float:
    return len(json.dumps(fig.to_plotly_json(), cls=PlotlyJSONEncoder)) / 1000


# laws of all figures


def test_every_figure_has_titles_and_its_own_alt_text(adata):
    figures = every(adata)
    wanted = [n for n in plots.__all__ if getattr(plots, n).__module__.rsplit("_", 1)[-1] in OURS]
    assert sorted(figures) == wanted
    assert len({alt(f) for f in figures.values()}) == len(figures)
    for name, fig in figures.items():
        axes = {k: v.get("title", {}).get("text") for k, v in fig.to_dict()["layout"].items() if "axis" in k}
        assert fig.layout.title.text, name
        assert len(alt(fig)) > 60, name
        assert alt(fig).endswith("."), name
        assert any(v for k, v in axes.items() if k.startswith("x")), name
        assert any(v for k, v in axes.items() if k.startswith("y")), name


def test_no_figure_of_many_cells_is_heavy_and_no_array_is_wide():
    for name, fig in every(make_cells(5000)).items():
        assert kilobytes(fig) < 25, name
        drawn = [len(t.x) for t in fig.data if t.type == "scatter" and t.mode == "markers"]
        assert sum(drawn) <= _figures.MAX_POINTS, name
        for trace in fig.data:
            for values in (trace.x, trace.y, getattr(trace, "z", None)):
                assert not (isinstance(values, np.ndarray) and values.dtype == np.float64), name


def test_plots_do_not_load_torch():
    heavy = ("torch", "plotly", "pandas", "anndata", "scmods.scyan.prior", "scmods.training")
    code = f"import sys, scmods.scyan.plots; print([m for m in {heavy!r} if m in sys.modules])"
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert run.stdout.strip() == "[]"


def test_thinning_keeps_some_of_every_group_and_is_a_sample():
    of = np.array(["a"] * 5000 + ["b"] * 3 + ["c"] * 50)
    keep = thin_groups(of, 600)
    assert len(keep) == 600
    assert (np.diff(keep) > 0).all()
    assert (of[keep] == "b").sum() == 3
    assert 4 <= (of[keep] == "c").sum() < 25
    np.testing.assert_array_equal(keep, thin_groups(of, 600))
    assert len(thin_groups(np.arange(2000), 600)) == 600
    np.testing.assert_array_equal(thin_groups(of[:10]), np.arange(10))


# markers


def test_markers_show_histogram_components_and_threshold(adata):
    fig = plots.plot_markers(adata, ["HLA-DR", "CD3"], n_bins=20, refine=False)
    assert [a.text for a in fig.layout.annotations] == ["HLA-DR", "CD3"]
    x = adata[:, ["HLA-DR", "CD3"]].X.astype(np.float64)
    found = two_components(x, refine=False)
    cells, low, high = fig.data[:3]
    assert (cells.name, low.name, high.name) == ("cells", "negative", "positive")
    counts, edges = np.histogram(x[:, 0], 20)
    np.testing.assert_allclose(cells.x, np.r_[edges[0], edges], rtol=1e-6)
    np.testing.assert_allclose(cells.y[1:-1], counts / counts.sum() / (edges[1] - edges[0]), rtol=1e-5)
    # the line of one component has its weight as area and its mean as centre
    for k, trace in enumerate((low, high)):
        at = found.mean[k, 0]
        peak = found.weight[k, 0] / found.std[k, 0] / np.sqrt(2 * np.pi)
        z = (trace.x.astype(float) - at) / found.std[k, 0]
        np.testing.assert_allclose(trace.y, peak * np.exp(-(z**2) / 2), rtol=1e-3, atol=1e-6)
    np.testing.assert_allclose([s.x0 for s in fig.layout.shapes], found.thresholds(), rtol=1e-6)
    assert f"CD3 {found.mean[0, 1]:.3g} and {found.mean[1, 1]:.3g}" in alt(fig)


def test_markers_by_group_have_one_mixture_each(adata):
    adata.obs["batch"] = np.where(np.arange(90) < 2, "tiny", adata.obs["batch"])
    fig = plots.plot_markers(adata, "CD3", groupby="batch")
    solid = [t for t in fig.data if t.line.dash == "solid"]
    dashed = [t for t in fig.data if t.line.dash == "dash"]
    assert [t.name for t in solid] == ["b1", "b2", "tiny"]
    assert [t.name for t in dashed] == ["b1", "b2"]
    part = adata[(adata.obs["batch"] == "b2").to_numpy(), ["CD3"]].X.astype(np.float64)
    line = dashed[1]
    area = np.sum((line.y[1:] + line.y[:-1]) / 2 * np.diff(line.x))
    assert 0.9 < area < 1.01
    assert line.x[np.argmax(line.y)] == pytest.approx(two_components(part).mean[1, 0], abs=0.1)
    medians = adata.to_df()["CD3"].groupby(adata.obs["batch"]).median()
    assert f"CD3 {medians.min():.3g} to {medians.max():.3g}" in alt(fig)


def test_default_markers_are_those_of_the_table(adata):
    adata.uns["table"] = make_table()[["HLA-DR"]]
    assert [a.text for a in plots.plot_markers(adata).layout.annotations] == ["HLA-DR"]
    del adata.uns["table"]
    assert [a.text for a in plots.plot_markers(adata).layout.annotations] == ["CD3", "CD&lt;b&gt;", "HLA-DR"]


def test_transform_pairs_raw_and_transformed_values():
    adata = cytometry(400, 6, 8, seed=3)
    given, computed = (plots.plot_transform(adata, "M02", layer=layer) for layer in ("counts", None))
    raw, y = adata[:, "M02"].layers["counts"].ravel(), adata[:, "M02"].X.ravel()
    points = given.data[1]
    np.testing.assert_array_equal(np.argsort(points.x, kind="stable"), np.arange(len(points.x)))
    for a, b in zip(points.x[::20], points.y[::20], strict=True):
        assert np.isclose(y[np.isclose(raw, a)], b).any()
    np.testing.assert_allclose(computed.data[1].x, points.x, atol=1e-2)
    assert points.x.max() <= np.quantile(raw, 0.995)
    assert f"largest value {raw.max():.3g}" in alt(given)


# correction


def test_correction_draws_the_most_shifted_markers_on_one_scale(adata):
    x = adata.X.astype(np.float64)
    after = x - 0.5 * (np.arange(90) % 2)[:, None] * [1, 0, 0]
    fig = plots.plot_correction(
        x,
        after,
        adata.obs["batch"],
        MARKERS,
        show="CD3",
        score={"mixing index": (1.25, 1.875), "shift": [0.3, 0.05]},
    )
    assert (
        fig.layout.title.subtitle.text == "mixing index 1.25 before, 1.88 after; shift 0.3 before, 0.05 after"
    )
    assert names_of(fig) == ["b1", "b2"] * 2
    edges = np.histogram_bin_edges(np.r_[x[:, 0], after[:, 0]], 30)
    second = np.histogram(x[1::2, 0], edges)[0] / 45 / (edges[1] - edges[0])
    np.testing.assert_allclose(fig.data[1].y[1:-1], second, rtol=1e-5)
    third = np.histogram(after[1::2, 0], edges)[0] / 45 / (edges[1] - edges[0])
    np.testing.assert_allclose(fig.data[3].y[1:-1], third, rtol=1e-5)
    assert fig.layout.xaxis.range == fig.layout.xaxis2.range
    default = plots.plot_correction(pd.DataFrame(x, columns=MARKERS), after, adata.obs["batch"].to_numpy())
    assert default.layout.annotations[0].text == "CD3"
    assert default.layout.title.subtitle.text is None


def test_correction_map_projects_both_on_the_components_before(adata):
    x = adata.X.astype(np.float64)
    fig = plots.plot_correction_map(x, x + 1, adata.obs["batch"], MARKERS)
    centred = x - x.mean(axis=0)
    _, _, v = np.linalg.svd(centred, full_matrices=False)
    before = np.column_stack([fig.data[0].x, fig.data[0].y])
    np.testing.assert_allclose(np.abs(before), np.abs(centred[::2] @ v[:2].T), atol=1e-5)
    moved = np.column_stack([fig.data[2].x, fig.data[2].y]) - before
    np.testing.assert_allclose(np.abs(moved[0]), np.abs(np.ones(3) @ v[:2].T), atol=1e-5)
    assert np.ptp(moved, axis=0).max() < 1e-5


# cells


def test_labels_stand_where_the_cells_are(adata):
    found = adata.obs["cell_type"].where(np.arange(90) % 5 != 0)
    fig = plots.plot_labels(adata, {"truth": "cell_type", "model": found}, basis="X_umap")
    assert names_of(fig) == [*POPS, *POPS, "unclassified"]
    xy = adata.obsm["X_umap"]
    np.testing.assert_allclose(np.column_stack([fig.data[1].x, fig.data[1].y]), xy[1::3], rtol=1e-5)
    np.testing.assert_allclose(np.column_stack([fig.data[-1].x, fig.data[-1].y]), xy[::5], rtol=1e-5)
    assert fig.data[0].marker.color == fig.data[3].marker.color
    assert fig.data[-1].marker.color == _figures.GREY
    assert [t.showlegend for t in fig.data] == [True] * 3 + [False] * 3 + [True]
    assert "20.0% unclassified" in alt(fig)
    assert fig.layout.xaxis.title.text == "UMAP 1"


def test_labels_without_a_basis_lie_on_components_of_the_markers(adata):
    fig = plots.plot_labels(adata, "cell_type")
    x = adata.X.astype(np.float64) - adata.X.mean(axis=0)
    scores = x @ np.linalg.svd(x, full_matrices=False)[2][:2].T
    drawn = np.column_stack([fig.data[0].x, fig.data[0].y])
    np.testing.assert_allclose(np.abs(drawn), np.abs(scores[::3]), atol=1e-4)
    assert fig.layout.xaxis.title.text == "PC 1"


def test_many_labels_differ_in_colour_or_symbol():
    names = [f"P{i:02d}" for i in range(30)]
    fig = plots.plot_labels(np.zeros((60, 2)), names * 2)
    styles = {(t.marker.color, t.marker.symbol) for t in fig.data}
    assert len(styles) == 30


def test_probabilities_keep_their_cells_and_order(adata):
    proba = probabilities(adata)
    fig = plots.plot_probabilities(proba, truth=adata.obs["cell_type"], n_cells=30)
    heat, rings = fig.data
    assert list(fig.layout.yaxis.ticktext) == [*POPS, "unclassified"]
    cells = list(fig.layout.xaxis.ticktext)
    assert len(cells) == len(set(cells)) == 30
    np.testing.assert_allclose(heat.z.T, proba.loc[cells].to_numpy(), rtol=1e-6)
    best = heat.z.argmax(axis=0)
    assert (np.diff(best) >= 0).all()
    assert (np.diff(heat.z.max(axis=0))[np.diff(best) == 0] <= 0).all()
    true = adata.obs["cell_type"].loc[cells].cat.codes.to_numpy()
    np.testing.assert_array_equal(rings.y, true)
    share = np.mean(best == true)
    assert f"most probable population of {share:.0%}" in alt(fig)
    other = plots.plot_probabilities(proba, n_cells=30, seed=1)
    assert set(other.layout.xaxis.ticktext) != set(cells)
    assert "ringed" not in alt(other)


# latent


def test_latent_density_is_the_prior_of_the_model(adata):
    model = make_model(adata)
    fig = plots.plot_latent(model, x="CD3", y="CD<b>", labels=adata.obs["cell_type"])
    contour = fig.data[0]
    axis = contour.x.astype(np.float64)
    grid = np.stack(np.meshgrid(axis, axis), axis=-1).reshape(-1, 2)
    prior = PriorDistribution(
        torch.tensor(make_table().to_numpy()[:, :2]), torch.zeros(2, dtype=bool), 0.25, 2
    )
    log = prior.log_prob(torch.tensor(grid)) + model.module.log_pi
    density = log.logsumexp(1).detach().exp().numpy().reshape(len(axis), -1)
    decades = -np.log10(np.maximum(1 - higher_share(density), 1e-4))
    # the axis is in single precision, so nearly equal densities may change places
    np.testing.assert_allclose(contour.z / 1000, decades, atol=0.03)
    assert contour.contours.start == pytest.approx(1000 * np.log10(2))
    points = np.column_stack([fig.data[2].x, fig.data[2].y])
    np.testing.assert_array_equal(points, adata.X[1::3, :2])
    assert "standard deviation 0.25; 2 of 3 populations know both" in alt(fig)


def test_latent_of_arrays_equals_that_of_the_model(adata):
    model = make_model(adata)
    pi = pd.Series([0.2, 0.5, 0.3], index=[POPS[2], POPS[0], POPS[1]])
    one = plots.plot_latent(model, x="CD3", y="HLA-DR")
    two = plots.plot_latent(model.latent(), make_table(), "CD3", "HLA-DR", prior_std=0.25, pi=pi)
    np.testing.assert_array_equal(one.data[0].z, two.data[0].z)
    np.testing.assert_array_equal(one.data[1].x, two.data[1].x)


def test_latent_density_follows_the_settings_of_the_model(adata):
    model = make_model(adata)
    one = plots.plot_latent(model, x="CD3", y="HLA-DR").data[0].z
    model.settings["continuum_markers"] = ["CD3"]
    squeezed = plots.plot_latent(model, x="CD3", y="HLA-DR").data[0].z
    smaller = make_table().assign(CD3=make_table()["CD3"] / 5)
    model.settings["continuum_markers"] = []
    np.testing.assert_array_equal(squeezed, plots.plot_latent(model, smaller, "CD3", "HLA-DR").data[0].z)
    assert (squeezed != one).any()
    model.module.prior.fill_rho(torch.full((3, 3), 0.25, dtype=torch.float64))
    filled = plots.plot_latent(model, x="CD3", y="HLA-DR").data[0].z
    np.testing.assert_array_equal(
        filled, plots.plot_latent(model, make_table().fillna(0.25), "CD3", "HLA-DR").data[0].z
    )
    assert (filled != one).any()
    rho = torch.tensor(make_table().to_numpy())
    model.module.prior = PriorDistribution(rho, torch.zeros(3, dtype=bool), 0.25, 3, nan_density="plateau")
    assert (plots.plot_latent(model, x="CD3", y="HLA-DR").data[0].z != one).any()


def test_share_above_a_density_counts_the_denser_places():
    density = np.array([[1.0, 4.0], [2.0, 3.0]])
    np.testing.assert_allclose(higher_share(density), [[0.9, 0.0], [0.7, 0.4]])


# barcodes


def test_barcodes_tell_the_area_under_the_curve_and_what_is_kept():
    score = np.array([0.9, 0.8, 0.4, 0.5, 0.1, 0.4])
    kind = ["singlet", "singlet", "dimmed", "doublet", "doublet", "debris"]
    fig = plots.plot_barcodes({"gap": score}, kind, threshold={"gap": 0.45}, n_bins=10)
    assert names_of(fig) == ["debris", "dimmed", "doublet", "singlet"]
    # 3 singlets x 2 doublets: five pairs in order; x 1 debris: two in order and a tie
    assert "debris 0.833, doublet 0.833" in alt(fig)
    assert "kept: debris 0.0%, dimmed 0.0%, doublet 50.0%, singlet 100.0%" in alt(fig)
    assert fig.layout.shapes[0].x0 == 0.45
    line = fig.data[3]
    area = np.histogram([0.9, 0.8], np.histogram_bin_edges(score, 10), density=True)[0]
    top = line.y[1:-1][area > 0]
    np.testing.assert_allclose(top, area[area > 0], rtol=1e-5)
    np.testing.assert_allclose(line.y[1:-1][area == 0], line.y.min())


def test_signals_are_medians_in_the_order_of_the_table(adata):
    labels = adata.obs["cell_type"].where(np.arange(90) % 5 != 0)
    frame = pd.DataFrame(adata.X[:, ::-1], columns=MARKERS[::-1])
    fig = plots.plot_signals(frame, labels.to_numpy(), make_table())
    assert list(fig.layout.yaxis.ticktext) == [*POPS, "unclassified"]
    expected = [np.median(adata.X[(labels == p).to_numpy()], axis=0) for p in POPS]
    np.testing.assert_allclose(fig.data[0].z[:3], expected, rtol=1e-6)
    np.testing.assert_allclose(fig.data[0].z[3], np.median(adata.X[::5], axis=0), rtol=1e-6)
    assert fig.data[0].text[0].tolist() == ["+", "−", ""]


# refusals


@pytest.mark.parametrize(
    ("call", "error", "text"),
    [
        (lambda a: plots.plot_markers(a, "CD4"), _checks.MissingKeyError, r"names 'CD4'.*Did you mean 'CD3'"),
        (lambda a: plots.plot_markers(a, []), ValueError, "`markers` is empty"),
        (lambda a: plots.plot_markers(a, groupby="donor"), KeyError, "donor"),
        (lambda a: plots.plot_markers(a, n_bins=1), ValueError, "`n_bins` is 1"),
        (lambda a: plots.plot_transform(a, "CD3"), KeyError, "scyan_transform"),
        (lambda a: plots.plot_transform(a, "CD3", layer="counts"), KeyError, "counts"),
        (lambda a: plots.plot_correction(a.X, a.X, a.obs["batch"]), ValueError, "columns need names.*model.markers"),
        (lambda a: plots.plot_correction(a.X, a.X[:, :2], a.obs["batch"], MARKERS), ValueError,
         r"`after` has shape \(90, 2\), but must be \(cells, 3 markers\)"),
        (lambda a: plots.plot_correction(a.X, a.X[:5], a.obs["batch"], MARKERS), ValueError, "90 cells and `after` 5"),
        (lambda a: plots.plot_correction(a.X, a.X, ["b1"], MARKERS), ValueError, "1 labels, but there are 90 cells"),
        (lambda a: plots.plot_correction(a.X, a.X, a.obs["batch"], MARKERS, score=(1, 2, 3)), ValueError,
         "must be 2 numbers"),
        (lambda a: plots.plot_correction_map(a.X[:, :1], a.X[:, :1], a.obs["batch"], ["CD3"]), ValueError,
         "needs two markers"),
        (lambda a: plots.plot_correction_map(a.X * np.nan, a.X, a.obs["batch"], MARKERS), ValueError, "NaN"),
        (lambda a: plots.plot_labels(a, "celltype"), KeyError, "Did you mean 'cell_type'"),
        (lambda a: plots.plot_labels(a.obsm["X_umap"], "cell_type"), ValueError, "`embedding` is no AnnData"),
        (lambda a: plots.plot_labels(a, a.obs["cell_type"][::-1]), ValueError, r"labels.loc\[adata.obs_names\]"),
        (lambda a: plots.plot_labels(a, "cell_type", basis="X_tsne"), KeyError, "X_tsne"),
        (lambda a: plots.plot_labels(np.zeros((3, 1)), list("abc")), ValueError, "at least two columns"),
        (lambda a: plots.plot_labels(a, {}), ValueError, "`labels` is empty"),
        (lambda a: plots.plot_probabilities(probabilities(a) * 2), ValueError, "sum to 2 to 2, but must sum to 1"),
        (lambda a: plots.plot_probabilities(np.ones((2, 1))), TypeError, r"model.predict_proba\(\)"),
        (lambda a: plots.plot_probabilities(probabilities(a), n_cells=200), ValueError, "at most 80"),
        (lambda a: plots.plot_latent(a.X, x="CD3", y="CD<b>"), ValueError, "`table` is missing"),
        (lambda a: plots.plot_latent(a.X, make_table(), "CD3", "CD33"), KeyError, "names 'CD33'"),
        (lambda a: plots.plot_latent(a.X, make_table(), "CD3", "CD3"), ValueError, "are both 'CD3'"),
        (lambda a: plots.plot_latent(a.X[:, :2], make_table()), ValueError, r"\(cells, 3 markers of the table\)"),
        (lambda a: plots.plot_latent(a.X, make_table(), pi={"18": 1.0}), KeyError, "`pi` names 'CD4/CD8'"),
        (lambda a: plots.plot_latent(a.X, make_table(), pi=[1, -1, 1]), ValueError, "not negative"),
        (lambda a: plots.plot_latent(a.X, make_table(), continuum_markers=["CD9"]), KeyError,
         "`continuum_markers` names 'CD9'"),
        (lambda a: plots.plot_latent(make_model(a), labels=a.obs["cell_type"][::-1]), ValueError, "index of `labels`"),
        (lambda a: plots.plot_barcodes({}, []), ValueError, "`score` is empty"),
        (lambda a: plots.plot_barcodes([0.1], ["doublet"]), ValueError, r"No event is of the kinds \['singlet'"),
        (lambda a: plots.plot_barcodes({"a": [0.1, 1.0], "b": [0.1]}, ["singlet"] * 2), ValueError, "has 1 events"),
        (lambda a: plots.plot_signals(a.X, ["x"] * 90, make_table()), KeyError, "`labels` names 'x'"),
        (lambda a: plots.plot_signals(a.X[:, :2], a.obs["cell_type"], make_table()), ValueError, r"shape \(90, 2\)"),
    ],
)  # fmt: skip
def test_refusals_say_what_to_do(adata, call, error, text):
    with pytest.raises(error, match=text):
        call(adata)
