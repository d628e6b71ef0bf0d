"""Figures of tables and simulations: networks, recovery, controls, intervals, phase portraits, time courses."""

from __future__ import annotations

import json

import numpy as np
import pandas as pd
import pytest
from plotly.utils import PlotlyJSONEncoder

from scmods import _figures, hopfield
from scmods.hopfield import Field, plots
from scmods.hopfield.recovery import edge_recovery, recovery_curve

EDGES = pd.DataFrame(
    [
        ("Sox9", "Gcg", 1.5),
        ("Gcg", "Sox9", -3.0),
        ("Sox9", "Sox9", -1.0),
        ("Gcg", "A<b>", 0.5),
        ("Gcg", "Ins1", 0.0),
    ],
    columns=["regulator", "target", "effect"],
)
POSITIVE, NEGATIVE = _figures.CATEGORICAL[5], _figures.CATEGORICAL[0]


def toggle() -> Field:
    """Two genes that switch each other off: three fixed points."""
    return Field(
        ("Gata1", "Pu.1"), ("18",), [0, 1], [[[0.0, -4], [-4, 0]]], [[1.0, 1]], [[4.0, 4]], [1.0, 1], [3.0, 3]
    )


@pytest.fixture(scope="module")
def portrait() -> dict:
    return hopfield.phase_portrait(toggle(), n_grid=41)


def knock_outs() -> pd.DataFrame:
    rows = [
        (c, g, v) for c, vs in (("CD4/CD8", (1, 3)), ("18", (2, 2))) for g, v in zip("ab", vs, strict=True)
    ]
    return pd.DataFrame(rows, columns=["cluster", "regulator", "size"])


def intervals() -> pd.DataFrame:
    table = EDGES.assign(cluster="CD4/CD8", low=EDGES["effect"] - 0.75, high=EDGES["effect"] + 0.75)
    return pd.concat([table, table.assign(cluster="18")], ignore_index=True)


def halves() -> pd.DataFrame:
    rows = [(s, c, 0.1 * s + 0.3 * i) for s in range(3) for i, c in enumerate(["CD4/CD8", "18"])]
    return pd.DataFrame(rows, columns=["split", "cluster", "correlation"])


def null(level: float) -> pd.DataFrame:
    fits = ["data", "shuffle 0", "shuffle 1"]
    rows = [(f, c, 0.8 if f == "data" else level + 0.1 * i) for i, f in enumerate(fits) for c in "xy"]
    return pd.DataFrame(rows, columns=["fit", "cluster", "r2_adjusted"])


def scores() -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(0)
    truth = np.zeros((40, 40))
    truth[:, :8] = rng.choice([-1, 0, 0, 0, 1], size=(40, 8))
    return truth + 0.5 * rng.normal(size=truth.shape), truth


def every(portrait: dict) -> dict:
    score, truth = scores()
    curves = {"ridge": recovery_curve(score, truth), "mask only": recovery_curve((truth != 2) * 1.0, truth)}
    times, path = hopfield.simulate(toggle(), [[2.0, 1.0], [1.0, 2.0]], n_steps=400)
    return {
        "plot_network": plots.plot_network(EDGES),
        "plot_phase_portrait": plots.plot_phase_portrait(portrait),
        "plot_recovery": plots.plot_recovery(curves),
        "plot_knock_outs": plots.plot_knock_outs(knock_outs()),
        "plot_intervals": plots.plot_intervals(intervals(), cluster="18"),
        "plot_split_half": plots.plot_split_half(halves()),
        "plot_null": plots.plot_null({"shuffled regulators": null(0.1), "shuffled velocity": null(-0.2)}),
        "plot_trajectory": plots.plot_trajectory(times, path, genes=toggle().genes),
    }


def alt(fig) -> str:
    return fig.layout.meta["alt"]


def named(fig, name: str):
    return next(t for t in fig.data if t.name and t.name.startswith(name))


@pytest.fixture(scope="module")
def figures(portrait) -> dict:
    """Drawn once; to be looked at only."""
    return every(portrait)


def test_every_figure_is_labelled_told_and_light(figures):
    assert len({alt(f) for f in figures.values()}) == len(figures)
    for name, fig in figures.items():
        assert fig.layout.title.text, name
        assert len(alt(fig)) > 60, name
        assert alt(fig).rstrip().endswith("."), name
        assert len(json.dumps(fig.to_plotly_json(), cls=PlotlyJSONEncoder)) < 25_000, name
        layout = fig.to_dict()["layout"]
        titles = [v.get("title", {}).get("text") for k, v in layout.items() if k[1:].startswith("axis")]
        assert name == "plot_network" or any(titles), name


def test_every_figure_of_these_files_is_drawn(figures):
    ours = ("network", "dynamics", "evidence", "recovery")
    wanted = [n for n in plots.__all__ if getattr(plots, n).__module__.rsplit("_", 1)[-1] in ours]
    assert sorted(figures) == wanted


# network


def test_network_colours_by_sign_and_places_receivers_outside():
    fig = plots.plot_network(EDGES)
    assert {t.line.color for t in fig.data if t.name == "regulator raises target"} == {POSITIVE}
    assert {t.line.color for t in fig.data if t.name == "regulator lowers target"} == {NEGATIVE}
    assert named(fig, "regulator raises").marker.symbol == "arrow"
    assert named(fig, "regulator lowers").marker.symbol == "line-ew"
    assert sorted(named(fig, "edges").text) == [
        "Gcg lowers Sox9: -3", "Gcg raises A&lt;b&gt;: 0.5", "Sox9 raises Gcg: 1.5"
    ]  # fmt: skip
    far = np.hypot(named(fig, "target only").x, named(fig, "target only").y)
    near = next(np.hypot(t.x, t.y) for t in fig.data if t.name == "regulator")
    assert far.min() > near.max()
    assert [a.text for a in fig.layout.annotations] == ["Gcg", "Sox9"]
    assert "2 positive and 2 negative edges, 1 of a gene on itself" in alt(fig)
    assert "Gcg lowers Sox9 (-3)" in alt(fig)


def test_network_edges_run_from_the_regulator_to_the_target():
    fig = plots.plot_network(EDGES)
    place = {a.text: np.array([a.x, a.y]) for a in fig.layout.annotations}
    lowers = next(t for t in fig.data if t.name == "regulator lowers target")
    ends = np.array([[lowers.x[0], lowers.y[0]], [lowers.x[-2], lowers.y[-2]]])
    gaps = {g: np.linalg.norm(ends - p, axis=1) for g, p in place.items()}
    assert gaps["Gcg"][0] < gaps["Gcg"][1]
    assert gaps["Sox9"][1] < gaps["Sox9"][0]
    assert list(lowers.marker.size[-2:]) == [12, 0]  # the head stands at the end


def test_wide_edges_are_the_large_ones_and_a_loop_is_a_ring():
    fig = plots.plot_network(EDGES)
    widths = {t.marker.size.max(): t.line.width for t in fig.data if t.mode == "lines+markers"}
    assert widths == {12: 4.0, 10: 2.2, 8: 1.0}
    ring = named(fig, "lowers itself")
    assert (ring.marker.symbol, ring.marker.color) == ("circle-open", NEGATIVE)
    assert ring.text == ("Sox9 lowers itself: -1",)


def test_network_keeps_the_strongest_and_is_the_same_each_time():
    fig = plots.plot_network(EDGES, n_edges=1)
    assert "The 1 strongest" in fig.layout.title.text
    assert list(named(fig, "edges").text) == ["Gcg lowers Sox9: -3"]
    assert plots.plot_network(EDGES).to_json() == plots.plot_network(EDGES.copy()).to_json()
    both = pd.concat([EDGES.assign(cluster="CD4/CD8"), EDGES[:1].assign(cluster="18")])
    assert "CD4/CD8" in plots.plot_network(both, cluster="CD4/CD8").layout.title.text
    assert "edges, 0 of a gene on itself" in alt(plots.plot_network(both, cluster="18"))


# dynamics


def test_portrait_marks_every_fixed_point_with_kind_and_place(portrait):
    fig = plots.plot_phase_portrait(portrait)
    points = portrait["fixed_points"]
    assert sorted(points["kind"]) == ["saddle", "stable", "stable"]
    stable, saddle = named(fig, "stable"), named(fig, "saddle")
    assert (len(stable.x), len(saddle.x)) == (2, 1)
    assert stable.marker.symbol != saddle.marker.symbol
    assert (np.asarray(stable.marker.color) < 0).all()
    assert saddle.marker.color[0] > 0
    np.testing.assert_allclose(saddle.x, points["Gata1"][points["kind"] == "saddle"], rtol=1e-6)
    assert fig.layout.coloraxis.cmax == pytest.approx(points["leading_real"].abs().max())
    assert fig.layout.coloraxis.cmin == -fig.layout.coloraxis.cmax
    assert "3 fixed points" in alt(fig)
    assert fig.layout.xaxis.title.text == "Expression of Gata1"


def test_a_plane_without_fixed_points_or_trajectories_is_drawn(portrait):
    nothing = {"fixed_points": pd.DataFrame([], columns=["kind", "leading_real", "Gata1", "Pu.1"])}
    fig = plots.plot_phase_portrait(portrait | nothing | {"trajectories": portrait["trajectories"][:0]})
    assert len(fig.data) == 3
    assert "0 trajectories. 0 fixed points." in alt(fig)


def test_portrait_arrows_follow_the_field_and_nullclines_are_its_zeros(portrait):
    fig = plots.plot_phase_portrait(portrait)
    flow = fig.data[0]
    start, end = (np.stack([flow.x[i::3], flow.y[i::3]], 1).astype(float) for i in (0, 1))
    f = toggle().cluster("18")
    import torch

    v = f.velocity(torch.as_tensor((start + end) / 2).clamp_min(0)).numpy()
    cosine = ((end - start) * v).sum(1) / np.linalg.norm(end - start, axis=1) / np.linalg.norm(v, axis=1)
    moving = np.linalg.norm(v, axis=1) > 1e-3
    assert cosine[moving].min() > 0.999
    for name, rate in (("nullcline of Gata1", "dx"), ("nullcline of Pu.1", "dy")):
        curve = named(fig, name)
        assert (curve.contours.start, curve.contours.end) == (0, 0)
        np.testing.assert_allclose(curve.z / 32767 * np.abs(portrait[rate]).max(), portrait[rate], atol=1e-3)


def test_trajectories_keep_start_and_end(portrait):
    line = named(plots.plot_phase_portrait(portrait), "trajectories")
    first = portrait["trajectories"].groupby("trajectory").first()
    starts = np.r_[0, np.flatnonzero(np.isnan(line.x))[:-1] + 1]
    np.testing.assert_allclose(line.x[starts], first["x"], rtol=1e-6)
    np.testing.assert_allclose(line.y[starts], first["y"], rtol=1e-6)


def test_time_courses_have_a_line_per_start():
    times = np.linspace(0, 1, 11)
    path = times[:, None, None] * np.array([[1.0, 0, 5], [2.0, 0, 4]])
    fig = plots.plot_trajectory(times, path, genes=["a", "b", "c"], var_names=["c", "a"])
    assert [t.name for t in fig.data] == ["c", "a"]
    np.testing.assert_allclose(fig.data[1].y[:11], times, rtol=1e-6)
    np.testing.assert_allclose(fig.data[1].y[12:23], 2 * times, rtol=1e-6)
    assert np.isnan(fig.data[1].y[11])
    assert "c from 0 to 4.5" in alt(fig)
    with pytest.raises(ValueError, match=r"`path` has shape \(11, 2, 3\), but must be \(11, cells, 2\)"):
        plots.plot_trajectory(times, path, genes=["a", "b"])
    with pytest.raises(KeyError, match="'d' is not among the 3 genes"):
        plots.plot_trajectory(times, path, genes=["a", "b", "c"], var_names=["d"])


# evidence


def test_recovery_shows_the_areas_of_the_curves():
    score, truth = scores()
    want = edge_recovery(score, truth).loc["score"]
    fine = recovery_curve(score, truth, n_points=10_000)
    fig = plots.plot_recovery({"ridge": fine})
    assert named(fig, "ridge").name == f"ridge ({want['auroc']:.2f} / {want['auprc']:.2f})"
    roc, pr = (t for t in fig.data if t.name.startswith("ridge"))
    assert (roc.line.shape, pr.line.shape) == ("linear", "vh")
    assert (roc.x[-1], roc.y[-1], pr.x[-1]) == (1, 1, 1)
    assert len(roc.x) <= _figures.MAX_POINTS
    chance = [t for t in fig.data if t.name == "chance"]
    assert tuple(chance[0].y) == (0, 1)
    off = ~np.eye(len(truth), dtype=bool)
    assert chance[1].y[0] == pytest.approx((truth[off] != 0).mean())
    assert [fig.layout.yaxis.title.text, fig.layout.xaxis2.title.text] == ["True positive rate", "Recall"]


def test_recovery_takes_a_stacked_table_and_exact_areas():
    score, truth = scores()
    curve = recovery_curve(score, truth)
    both = pd.concat([curve.assign(scorer="ridge", area=0.123), curve.assign(scorer="chance", area=0.5)])
    fig = plots.plot_recovery(both)
    assert [t.name for t in fig.data].count("ridge (0.12 / 0.12)") == 2
    assert [t.line.dash for t in fig.data if t.name == "chance"] == ["dot", "dot"]
    assert "0.123" in alt(fig)


def test_null_sets_the_data_beside_each_control():
    fig = every_null()
    data, regs, velocity = fig.data
    np.testing.assert_allclose(data.x, [0.8], rtol=1e-6)
    np.testing.assert_allclose(regs.x, [0.2, 0.3], rtol=1e-6)
    np.testing.assert_allclose(velocity.x, [-0.1, 0.0], atol=1e-7)
    assert list(fig.layout.yaxis.ticktext) == ["data", "regulators", "velocity"]
    assert fig.layout.shapes[0].x0 == pytest.approx(0.8)
    assert "data 0.8, regulators 0.2 to 0.3 in 2 fits" in alt(fig)


def every_null():
    return plots.plot_null({"regulators": null(0.1), "velocity": null(-0.2)})


def test_knock_outs_are_ranked_by_the_mean_over_clusters():
    fig = plots.plot_knock_outs(knock_outs())
    bar = next(t for t in fig.data if t.type == "bar")
    np.testing.assert_allclose(bar.x, [2.5, 1.5])
    assert list(fig.layout.yaxis.ticktext) == ["b", "a"]
    np.testing.assert_allclose(named(fig, "CD4/CD8").x, [3, 1])
    one = plots.plot_knock_outs(knock_outs(), cluster="CD4/CD8")
    assert len(one.data) == 1
    np.testing.assert_allclose(one.data[0].x, [3, 1])
    assert "CD4/CD8" in one.layout.title.text
    rows = knock_outs().rename(columns={"regulator": "target"})
    assert plots.plot_knock_outs(rows).layout.yaxis.title.text == "Target"


def test_intervals_are_sorted_and_filled_where_they_leave_out_zero():
    fig = plots.plot_intervals(intervals(), cluster="CD4/CD8")
    assert list(fig.layout.yaxis.ticktext) == [
        "Sox9 → Gcg", "Gcg → A&lt;b&gt;", "Gcg → Ins1", "Sox9 → Sox9", "Gcg → Sox9"
    ]  # fmt: skip
    sure, unsure = named(fig, "interval without 0"), named(fig, "interval with 0")
    np.testing.assert_allclose(sure.x, [1.5, -1, -3])
    np.testing.assert_allclose(unsure.x, [0.5, 0])
    np.testing.assert_allclose(sure.error_x.array, 0.75)
    assert (sure.marker.symbol, unsure.marker.symbol) == ("circle", "circle-open")
    assert "3 of them leave out 0" in alt(fig)


def test_split_half_shows_every_split_the_mean_and_the_baseline():
    fig = plots.plot_split_half(halves(), baseline=-0.5)
    points = named(fig, "fit, mean 0.25")
    np.testing.assert_allclose(points.x, [0, 0.1, 0.2, 0.3, 0.4, 0.5], atol=1e-7)
    np.testing.assert_allclose(named(fig, "mean").x, [0.1, 0.4], rtol=1e-6)
    assert fig.layout.shapes[0].x0 == -0.5
    assert fig.layout.xaxis.range[0] < -0.5
    two = pd.concat([halves().assign(method="ridge"), halves().assign(method="least squares")])
    assert {t.name.split(",")[0] for t in plots.plot_split_half(two).data} == {
        "ridge",
        "least squares",
        "mean",
    }


@pytest.mark.parametrize(
    ("call", "error", "text"),
    [
        (lambda: plots.plot_network(EDGES.drop(columns="effect")), KeyError, "no column 'weight'"),
        (lambda: plots.plot_network(EDGES.iloc[-1:]), ValueError, "Column 'effect' of `edges` is 0 everywhere"),
        (lambda: plots.plot_network(EDGES.assign(cluster=list("aabbb"))), ValueError, "Choose one: cluster='a'"),
        (lambda: plots.plot_network(EDGES, n_edges=0), ValueError, "`n_edges` is 0"),
        (lambda: plots.plot_phase_portrait([1]), TypeError, r"Pass `hopfield.phase_portrait\(field\)`"),
        (lambda: plots.plot_phase_portrait({"genes": ("a", "b")}), KeyError, "has no 'x'"),
        (lambda: plots.plot_recovery({}), ValueError, "`curves` is empty"),
        (lambda: plots.plot_recovery(EDGES), KeyError, "no column 'scorer'"),
        (lambda: plots.plot_recovery({"a": pd.DataFrame({"curve": ["prc"], "x": [0], "y": [0]})}), ValueError,
         "must be one of"),
        (lambda: plots.plot_null(null(0.1)[:2]), ValueError, "rows of the fit 'data' and of shuffles"),
        (lambda: plots.plot_null(null(0.1), keys=["auroc"]), KeyError, "no column 'auroc'"),
        (lambda: plots.plot_null({}), ValueError, "`table` is empty"),
        (lambda: plots.plot_null(null(0.1).rename(columns={"r2_adjusted": "r"})), KeyError, "none of the columns"),
        (lambda: plots.plot_knock_outs(EDGES), KeyError, r"Pass the table of `hopfield.knock_out_ranking"),
        (lambda: plots.plot_knock_outs(knock_outs(), cluster="CD8"), KeyError, "no cluster 'CD8'"),
        (lambda: plots.plot_intervals(EDGES), KeyError, r"Pass the table of `hopfield.edge_intervals\(adata\)`"),
        (lambda: plots.plot_intervals(intervals()), ValueError, "holds 2 clusters"),
        (lambda: plots.plot_split_half(halves()[:0]), ValueError, "has no rows"),
        (lambda: plots.plot_split_half(halves(), value="same_sign"), KeyError, "no column 'same_sign'"),
    ],
)  # fmt: skip
def test_refusals_say_what_to_pass(call, error, text):
    with pytest.raises(error, match=text):
        call()
