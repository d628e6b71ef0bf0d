"""Figures of cells and fits: what is drawn is what is stored, labelled, and told to those who cannot see it."""

from __future__ import annotations

import json
import subprocess
import sys

import numpy as np
import pandas as pd
import pytest
from anndata import AnnData
from plotly.utils import PlotlyJSONEncoder

from scmods import _checks, _figures
from scmods.hopfield import Field, plots

N, GENES, REGS = 90, 6, 3
LABELS = ["CD4/CD8", "18", "T cell (naïve)"]
NAMES = ["Sox9", "H2-K1/K2", "A<b>", "Gcg", "Ins1", "a_dx_b"]
ELEMENTS = [("Gcg", "Sox9"), ("A<b>", "A<b>")]


def make_field() -> Field:
    """Every value different, so that a transposed picture is a wrong one."""
    w = np.linspace(-2, 3, 3 * GENES * REGS).reshape(3, GENES, REGS) ** 3
    w[0, 5] = 0
    one = np.ones(GENES)
    return Field(NAMES, LABELS, [0, 1, 2], w, np.ones((3, GENES)), np.zeros((3, GENES)), one, 2 * one)


def make_cells(n: int = N, n_values: int = GENES) -> AnnData:
    """Cells with every slot that the figures read, written by hand."""
    rng = np.random.default_rng(0)
    adata = AnnData(rng.gamma(2.0, size=(n, GENES)).astype(np.float32))
    adata.var_names = NAMES
    adata.obs["cell_type"] = pd.Categorical(np.array(LABELS)[np.arange(n) % 3], LABELS)
    adata.obsm["X_umap"], adata.obsm["X_pca"] = rng.normal(size=(n, 2)), rng.normal(size=(n, 4))
    made = rng.normal(size=(n, GENES)) * 10.0 ** np.arange(GENES)
    adata.layers["velocity"] = made + 0.5 * made.std(0) * rng.normal(size=made.shape)
    made[:, 5] = np.nan
    adata.layers["hopfield_velocity"] = made
    values = rng.normal(size=(n, n_values)) + 1j * rng.normal(size=(n, n_values))
    values[:, -1] = -1.25
    adata.obsm["jacobian_eigenvalues"] = values.astype(np.complex64)
    adata.obs["jacobian_eig1_real"] = values.real.max(1)
    adata.obs["jacobian_positive_evals"] = (values.real > 0).sum(1)
    adata.obs["jacobian_trace"] = values.sum(1).real
    adata.obs["jacobian_rotational"] = 1 + rng.random(n)
    for i, j in ELEMENTS:
        adata.obs[f"jacobian_df_{i}_dx_{j}"] = rng.normal(size=n).astype(np.float32)
    for part in ("", "_interaction", "_degradation", "_bias"):
        adata.obs[f"hopfield_energy{part}"] = rng.normal(size=n)
    adata.obs["pseudotime"] = np.linspace(0, 1, n)
    return adata


@pytest.fixture
def adata() -> AnnData:
    return make_cells()


def hill_table() -> pd.DataFrame:
    x = np.linspace(0.1, 9, 300)
    rows = [
        {"gene": g, "expression": x, "share": x / 9, "fitted": x**2 / (x**2 + k**2), "threshold": k}
        for k, g in enumerate(NAMES + ["seventh"], start=1)
    ]
    return pd.concat([pd.DataFrame(r) for r in rows]).sample(frac=1.0, random_state=0)


def arrows_table() -> pd.DataFrame:
    x, y = np.meshgrid(np.linspace(-2, 2, 30), np.linspace(-2, 2, 30))
    return pd.DataFrame({"x": x.ravel(), "y": y.ravel(), "u": 1.0, "v": -0.5 * x.ravel() - 1})


def every(adata: AnnData) -> dict:
    """One figure of each function in this file, and of its important variants."""
    by = {"groupby": "cell_type"}
    return {
        "plot_eigenvalues": plots.plot_eigenvalues(adata, **by),
        "plot_stability": plots.plot_stability(adata, **by),
        "plot_energies": plots.plot_energies(adata, **by),
        "plot_energies over time": plots.plot_energies(adata, **by, time="pseudotime"),
        "plot_stability_map": plots.plot_stability_map(adata),
        "plot_elements": plots.plot_elements(adata),
        "plot_embedding_velocity": plots.plot_embedding_velocity(adata, arrows_table(), **by),
        "plot_hill": plots.plot_hill(hill_table()),
        "plot_interactions": plots.plot_interactions(make_field(), "CD4/CD8"),
        "plot_velocity": plots.plot_velocity(adata, **by),
    }


def alt(fig) -> str:
    return fig.layout.meta["alt"]


def axis_titles(fig, axis: str) -> list[str]:
    layout = fig.to_dict()["layout"]
    return [v.get("title", {}).get("text", "") for k, v in layout.items() if k.startswith(axis)]


def kilobytes(fig) -> float:
    return len(json.dumps(fig.to_plotly_json(), cls=PlotlyJSONEncoder)) / 1000


def dots(fig) -> list:
    return [t for t in fig.data if t.type == "scatter" and t.mode == "markers"]


# laws of all figures


@pytest.fixture(scope="module")
def figures() -> dict:
    """Drawn once; to be looked at only."""
    return every(make_cells())


def test_every_figure_has_title_axis_titles_and_its_own_alt_text(figures):
    assert len({alt(f) for f in figures.values()}) == len(figures)
    for name, fig in figures.items():
        assert fig.layout.title.text, name
        assert len(alt(fig)) > 60, name
        assert alt(fig).rstrip().endswith("."), name
        assert any(axis_titles(fig, "xaxis")), name
        assert any(axis_titles(fig, "yaxis")), name


def test_every_figure_of_these_files_is_drawn(figures):
    ours = ("cells", "maps", "fit")
    wanted = [n for n in plots.__all__ if getattr(plots, n).__module__.rsplit("_", 1)[-1] in ours]
    assert sorted({name.split(" ")[0] for name in figures}) == wanted


def test_no_figure_of_many_cells_is_heavy_and_no_array_is_wide():
    for name, fig in every(make_cells(5000)).items():
        assert kilobytes(fig) < 25, name
        for trace in fig.data:
            for values in (trace.x, trace.y, getattr(trace, "z", None)):
                assert not (isinstance(values, np.ndarray) and values.dtype == np.float64), name


def test_labels_survive_in_every_figure_of_groups(adata, figures):
    for name in ("plot_eigenvalues", "plot_velocity", "plot_energies over time", "plot_embedding_velocity"):
        fig = figures[name]
        shown = [t.name for t in fig.data if t.showlegend]
        for label in LABELS:
            assert any(s.startswith(label) for s in shown), name
    for fig in (
        plots.plot_stability(adata, groupby="cell_type"),
        plots.plot_energies(adata, groupby="cell_type"),
    ):
        assert list(fig.layout.yaxis.ticktext) == [f"{label} (30)" for label in LABELS]


def test_plots_do_not_load_torch():
    heavy = ("torch", "plotly", "pandas", "anndata", "scmods.hopfield.core", "scmods.hopfield.field")
    code = f"import sys, scmods.hopfield.plots; print([m for m in {heavy!r} if m in sys.modules])"
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert run.stdout.strip() == "[]"


# eigenvalues and stability


def test_eigenvalues_show_the_leading_one_of_every_cell(adata):
    fig = plots.plot_eigenvalues(adata, groupby="cell_type")
    values = adata.obsm["jacobian_eigenvalues"]
    lead = values[np.arange(N), values.real.argmax(1)]
    strong = [t for t in fig.data if t.showlegend]
    for trace, label in zip(strong, LABELS, strict=True):
        mine = lead[(adata.obs["cell_type"] == label).to_numpy()]
        np.testing.assert_array_equal(trace.x + 1j * trace.y, mine)
    pale = np.concatenate([t.x + 1j * t.y for t in fig.data if not t.showlegend])
    assert np.isin(pale, values).all()
    assert not np.isin(pale, lead).any()
    assert fig.layout.shapes[0].x0 == fig.layout.shapes[0].x1 == 0
    assert f"above 0 in {np.mean(lead[::3].real > 0):.0%}" in alt(fig)


def test_only_varying_eigenvalues_leave_out_those_of_all_cells(adata, monkeypatch):
    monkeypatch.setattr(_figures, "MAX_POINTS", 1000)  # room for every eigenvalue

    def pale(only_varying):
        fig = plots.plot_eigenvalues(adata, groupby="cell_type", only_varying=only_varying)
        return np.concatenate([t.x + 1j * t.y for t in fig.data if not t.showlegend])

    assert (pale(False) == -1.25).sum() == N
    assert (pale(True) == -1.25).sum() == 0
    assert len(pale(True)) == len(pale(False)) - N
    one = adata[:1].copy()
    assert len(plots.plot_eigenvalues(one, only_varying=True).data[0].x) == GENES - 1


def test_many_cells_are_thinned_to_the_limit():
    fig = plots.plot_eigenvalues(make_cells(5000), groupby="cell_type")
    assert sum(len(t.x) for t in dots(fig)) <= _figures.MAX_POINTS
    for fig in (plots.plot_stability_map(make_cells(5000)), plots.plot_elements(make_cells(5000))):
        assert sum(len(t.x) for t in dots(fig)) == _figures.MAX_POINTS
        assert "of the 5000 cells are drawn" in alt(fig)


def test_boxes_are_the_quantiles_of_their_group(adata):
    fig = plots.plot_stability(adata, groupby="cell_type", keys=["jacobian_trace"])
    for box, label in zip(fig.data, LABELS, strict=True):
        mine = adata.obs["jacobian_trace"][adata.obs["cell_type"] == label]
        got = [box[k][0] for k in ("lowerfence", "q1", "median", "q3", "upperfence")]
        np.testing.assert_allclose(got, np.quantile(mine, [0.05, 0.25, 0.5, 0.75, 0.95]), rtol=1e-5)
    medians = adata.obs.groupby("cell_type", observed=True)["jacobian_trace"].median()
    assert f"highest median in {medians.idxmax()} ({medians.max():.3g})" in alt(fig)
    whole = plots.plot_stability(adata, groupby=None)
    assert list(whole.layout.yaxis.ticktext) == ["all cells (90)"]
    assert len(whole.data) == 4


def test_many_groups_share_one_trace_with_the_same_numbers(adata):
    adata.obs["fine"] = [f"group {i % 30:02d}" for i in range(N)]
    fig = plots.plot_stability(adata, groupby="fine", keys=["jacobian_trace"])
    assert len(fig.data) == 1
    medians = adata.obs.groupby("fine")["jacobian_trace"].median()
    np.testing.assert_allclose(fig.data[0].median, medians, rtol=1e-5)
    assert kilobytes(plots.plot_stability(adata, groupby="fine")) < 25


def test_energies_over_time_are_points_and_keep_the_prefix(adata):
    fig = plots.plot_energies(adata, time="pseudotime")
    np.testing.assert_allclose(fig.data[1].y, adata.obs["hopfield_energy_interaction"], rtol=1e-6)
    assert [a.text for a in fig.layout.annotations][:2] == ["Total", "Interactions"]
    with pytest.raises(KeyError, match=r"Run `hopfield.energies\(adata, key_added='b'\)` first"):
        plots.plot_energies(adata, key_added="b")


# maps


def test_map_is_symmetric_for_signed_values_and_sequential_for_others(adata):
    fig = plots.plot_stability_map(adata, quantile=1.0)
    most = np.abs(adata.obs["jacobian_eig1_real"]).max()
    axis = fig.layout.coloraxis
    assert (axis.cmin, axis.cmid, axis.cmax) == pytest.approx((-most, 0, most))
    np.testing.assert_allclose(fig.data[0].marker.color, adata.obs["jacobian_eig1_real"], rtol=1e-6)
    axis = plots.plot_stability_map(adata, color="jacobian_rotational", quantile=1.0).layout.coloraxis
    assert axis.cmid is None
    assert axis.cmin == pytest.approx(adata.obs["jacobian_rotational"].min())
    assert plots.plot_stability_map(adata, basis="X_pca").layout.xaxis.title.text == "PC 1"


def test_elements_name_target_and_regulator_and_are_symmetric(adata):
    fig = plots.plot_elements(adata, quantile=1.0)
    texts = [a.text for a in fig.layout.annotations]
    assert texts[0].startswith("target Gcg, regulator Sox9<br>scale ±")
    assert texts[1].startswith("target A&lt;b&gt;, regulator A&lt;b&gt;<br>")
    assert "target Gcg, regulator Sox9" in alt(fig)
    assert (fig.layout.coloraxis.cmin, fig.layout.coloraxis.cmax) == (-1.0, 1.0)
    raw = adata.obs["jacobian_df_Gcg_dx_Sox9"]
    np.testing.assert_allclose(fig.data[0].marker.color, raw / raw.abs().max(), rtol=1e-5)
    shared = plots.plot_elements(adata, [("A<b>", "A<b>")], shared_scale=True, quantile=1.0)
    raw = adata.obs["jacobian_df_A<b>_dx_A<b>"]
    assert shared.layout.coloraxis.cmax == pytest.approx(raw.abs().max())
    np.testing.assert_allclose(shared.data[0].marker.color, raw, rtol=1e-6)


def test_arrows_start_where_the_table_says_and_keep_their_direction(adata):
    table = arrows_table()[::9]
    path = plots.plot_embedding_velocity(adata, table).data[-1]
    xy = np.stack([path.x, path.y], 1).reshape(-1, 3, 2)
    np.testing.assert_allclose(xy[:, 0], table[["x", "y"]], rtol=1e-5)
    step = xy[:, 1] - xy[:, 0]
    np.testing.assert_allclose(step[:, 1] / step[:, 0], table["v"] / table["u"], rtol=1e-3, atol=1e-4)
    assert np.isnan(xy[:, 2]).all()
    assert set(path.marker.size[::3]) == {0}


# fits


def test_hill_draws_six_genes_in_order_with_their_thresholds():
    fig = plots.plot_hill(hill_table(), genes=["Gcg", "A<b>"])
    cells, curve, threshold = fig.data[:3]
    assert (cells.mode, curve.mode) == ("markers", "lines")
    np.testing.assert_allclose(cells.y, cells.x / 9, rtol=1e-5)
    np.testing.assert_allclose(curve.y, curve.x**2 / (curve.x**2 + 16), rtol=1e-4)
    assert (np.diff(curve.x) > 0).all()
    assert threshold.x == (4.0, 4.0)
    assert fig.layout.annotations[1].text == "A&lt;b&gt;<br>k = 3"
    assert len(plots.plot_hill(hill_table()).data) == 18
    assert len(plots.plot_hill(hill_table().drop(columns="threshold")).data) == 12


def test_heat_map_has_targets_as_rows_and_regulators_as_columns():
    field = make_field()
    fig = plots.plot_interactions(field, "CD4/CD8", var_names=["Ins1", "Sox9"], quantile=1.0)
    assert (fig.layout.xaxis.title.text, fig.layout.yaxis.title.text) == ("Regulator", "Target")
    table = field.matrix("CD4/CD8")
    regs = list(fig.layout.xaxis.ticktext)
    assert sorted(regs) == sorted(["Sox9", "H2-K1/K2", "A&lt;b&gt;"])
    order = [r.replace("&lt;", "<").replace("&gt;", ">") for r in regs]
    np.testing.assert_allclose(fig.data[0].z, table.loc[["Ins1", "Sox9"], order], rtol=1e-6)
    assert fig.layout.coloraxis.cmax == -fig.layout.coloraxis.cmin
    assert fig.layout.coloraxis.cmax == pytest.approx(np.abs(table.loc[["Ins1", "Sox9"]]).max().max())
    small = plots.plot_interactions(field, "18", n_genes=2)
    assert small.data[0].z.shape == (2, 2)


def test_heat_map_of_effects_takes_the_cluster_asked_for():
    effects = pd.DataFrame(
        {"cluster": ["18", "18", "CD4/CD8"], "regulator": ["A<b>", "Sox9", "Sox9"], "target": ["Gcg"] * 3,
         "effect": [0.5, -0.25, 9.0]}
    )  # fmt: skip
    fig = plots.plot_interactions(make_field(), "18", effects=effects, var_names=["Gcg"])
    shown = dict(zip(fig.layout.xaxis.ticktext, fig.data[0].z[0], strict=True))
    assert shown == {"A&lt;b&gt;": 0.5, "Sox9": -0.25, "H2-K1/K2": 0.0}
    assert fig.layout.coloraxis.colorbar.title.text == "Standardised effect"
    assert "A<b> raises Gcg (0.5)" in alt(fig)


def test_velocity_shows_points_of_modelled_genes_and_pooled_r2(adata):
    fig = plots.plot_velocity(adata)
    seen, made = adata.layers["velocity"][:, :5], adata.layers["hopfield_velocity"][:, :5]
    z, guess = seen / seen.std(0), made / seen.std(0)
    r2 = 1 - ((z - guess) ** 2).sum() / ((z - z.mean(0)) ** 2).sum()
    assert fig.data[0].name == f"all cells, R² = {r2:.2f}"
    np.testing.assert_allclose(np.sort(fig.data[0].x), np.sort(z.ravel()), rtol=1e-5)
    pair = {(round(float(a), 4), round(float(b), 4)) for a, b in zip(z.ravel(), guess.ravel(), strict=True)}
    assert {
        (round(float(a), 4), round(float(b), 4)) for a, b in zip(fig.data[0].x, fig.data[0].y, strict=True)
    } == pair
    line = fig.data[-1]
    assert line.x == line.y
    assert "5 genes in 90 cells" in alt(fig)


def test_pooled_r2_is_that_of_the_reconstruction(adata):
    from scmods.hopfield import reconstruct_velocity

    adata.layers["Ms"] = np.asarray(adata.X, dtype=np.float64)
    adata.layers["velocity"] = adata.layers["velocity"] / 10.0 ** np.arange(GENES)
    table = reconstruct_velocity(adata, field=make_field())
    names = [t.name for t in plots.plot_velocity(adata, groupby="cell_type").data[:-1]]
    assert names == [f"{c}, R² = {table.loc[c, 'r2_pooled']:.2f}" for c in LABELS]


# refusals


@pytest.mark.parametrize(
    ("slot", "name", "call", "text"),
    [
        ("obsm", "jacobian_eigenvalues", plots.plot_eigenvalues, r"Run `hopfield.compute_jacobians\(adata\)` first"),
        ("obs", "jacobian_trace", lambda a: plots.plot_stability(a, groupby=None),
         r"Run `hopfield.compute_jacobian_stats\(adata\)` first"),
        ("obs", "jacobian_rotational", lambda a: plots.plot_stability(a, groupby=None),
         r"Run `hopfield.compute_rotational_part\(adata\)` first"),
        ("obs", "jacobian_eig1_real", plots.plot_stability_map,
         r"Run `hopfield.compute_jacobian_stats\(adata\)` first"),
        ("obs", "hopfield_energy_bias", plots.plot_energies, r"Run `hopfield.energies\(adata\)` first"),
        ("layers", "hopfield_velocity", plots.plot_velocity,
         r"Run `hopfield.reconstruct_velocity\(adata\)` first"),
        ("layers", "velocity", plots.plot_velocity, r"Run `hopfield.velocity\(adata\)` first"),
        ("obs", "jacobian_df_Gcg_dx_Sox9", lambda a: plots.plot_elements(a, ELEMENTS),
         r"Run `hopfield.compute_jacobian_elements\(adata, \[\('Gcg', 'Sox9'\)\]\)` first"),
    ],
)  # fmt: skip
def test_missing_slots_name_the_call_that_makes_them(adata, slot, name, call, text):
    del getattr(adata, slot)[name]
    with pytest.raises(_checks.MissingKeyError, match=text):
        call(adata)


@pytest.mark.parametrize(
    ("call", "error", "text"),
    [
        (lambda a: plots.plot_eigenvalues(a, groupby="cell_typ"), KeyError, "Did you mean 'cell_type'"),
        (lambda a: plots.plot_stability(a, groupby=None, keys=[]), ValueError, "`keys` is empty"),
        (lambda a: plots.plot_stability(a, groupby=None, keys=["cell_type"]), TypeError, "must be numeric"),
        (lambda a: plots.plot_stability_map(a, basis="X_umpa"), KeyError, "Did you mean 'X_umap'"),
        (lambda a: plots.plot_stability_map(a, quantile=2.0), ValueError, "`quantile` is 2"),
        (lambda a: plots.plot_elements(a, ["ab"]), ValueError, "'ab' is not a pair"),
        (lambda a: plots.plot_elements(a, []), ValueError, "must hold 1 to 12 pairs"),
        (lambda a: plots.plot_embedding_velocity(a, arrows_table().drop(columns="u")), KeyError, "no column 'u'"),
        (lambda a: plots.plot_energies(a, time="time"), KeyError, "Name a numeric column"),
        (lambda a: plots.plot_hill(hill_table(), genes=["Sox"]), KeyError, "no gene 'Sox'.*Did you mean 'Sox9'"),
        (lambda a: plots.plot_hill([1.0]), TypeError, "must be a table with the columns"),
        (lambda a: plots.plot_interactions(make_field(), "CD4"), KeyError, "no cluster 'CD4'"),
        (lambda a: plots.plot_interactions(make_field(), "18", var_names=["Gc"]), KeyError, "Did you mean 'Gcg'"),
        (lambda a: plots.plot_interactions(make_field(), "18", n_genes=0), ValueError, "`n_genes` is 0"),
    ],
)  # fmt: skip
def test_refusals_say_what_to_do(adata, call, error, text):
    with pytest.raises(error, match=text):
        call(adata)


def test_elements_that_were_never_computed_are_refused(adata):
    adata.obs = adata.obs[["cell_type"]]
    with pytest.raises(_checks.MissingKeyError, match="holds no elements.*compute_jacobian_elements"):
        plots.plot_elements(adata)


def test_values_that_are_not_finite_are_refused(adata):
    adata.obsm["jacobian_eigenvalues"][3, 2] = np.nan
    with pytest.raises(ValueError, match="1 values that are NaN or infinite.*first rows: \\['3'\\]"):
        plots.plot_eigenvalues(adata)
    adata.obs["jacobian_trace"] = np.inf
    with pytest.raises(ValueError, match="jacobian_trace.*NaN or infinite"):
        plots.plot_stability_map(adata, color="jacobian_trace")


def test_effects_of_another_field_are_refused():
    effects = pd.DataFrame({"cluster": ["18"], "regulator": ["Pdx1"], "target": ["Gcg"], "effect": [1.0]})
    with pytest.raises(ValueError, match="`effects` names 'Pdx1', which the field does not"):
        plots.plot_interactions(make_field(), "18", effects=effects)
