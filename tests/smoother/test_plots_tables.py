"""Figures of tables: decay, ratio, strengths, controls, optimisers and persistence bars."""

from __future__ import annotations

import json

import numpy as np
import pandas as pd
import pytest
from plotly.utils import PlotlyJSONEncoder

from scmods import _figures
from scmods.smoother import plots
from scmods.smoother.topology import persistence, triangulate
from scmods.smoother.tuning import Tuning

VERMILION, BLUE = _figures.CATEGORICAL[5], _figures.CATEGORICAL[0]


def decay(start: float = 0.5, last: int = 20) -> pd.DataFrame:
    k = np.arange(last + 1)
    table = pd.DataFrame({f"Q{q}": start**k * q / 100 for q in (10, 25, 50, 75, 90)})
    return table.assign(k=k)


def curve() -> pd.DataFrame:
    """Rows out of order, as after a join."""
    table = pd.DataFrame({"smoothing": [0.1, 0.0, 1.0, 10.0, 0.01], "score": [0.5, 1.0, 0.75, 2.0, 0.9]})
    return table.assign(gain=1 - table["score"], se=0.02, oversmoothed=table["smoothing"] > 0.5)


def ratios() -> pd.DataFrame:
    r = np.linspace(0, 1, 11)
    parts = [
        pd.DataFrame({"ratio": r, "loss": 3 * (c - r), "field": f, "geary": c})
        for f, c in (("A<b>", 0.25), ("noise", 1.02))
    ]
    return pd.concat(parts).sample(frac=1.0, random_state=0)


def field() -> tuple[np.ndarray, np.ndarray, pd.DataFrame]:
    """Two hills and a little noise on a grid."""
    y, x = (a.ravel().astype(float) for a in np.mgrid[:12, :15])
    values = np.exp(-((x - 3) ** 2 + (y - 3) ** 2) / 8) + 0.7 * np.exp(-((x - 11) ** 2 + (y - 8) ** 2) / 8)
    values += 0.02 * np.random.default_rng(0).normal(size=len(x))
    xy = np.column_stack([x, y])
    return values, xy, persistence(values, triangulate(xy))


def every() -> dict:
    values, xy, bars = field()
    rng = np.random.default_rng(0)
    epochs = np.arange(1, 4001)
    return {
        "plot_decay": plots.plot_decay({"icar 0.9": decay(), "isar A<b>": decay(0.9, 200)}),
        "plot_ratio": plots.plot_ratio(ratios(), max_ratio=0.1),
        "plot_tuning": plots.plot_tuning(Tuning(curve(), 0.1), truth=[0.3, 0.4, 0.5, 0.6, 0.35]),
        "plot_null": plots.plot_null({"permutation": rng.random(5000) ** 3, "spectral": rng.random(300)}),
        "plot_losses": plots.plot_losses(
            {"rate 0.1": 2 + np.exp(-epochs / 50), "rate 0.01": 2 + 1 / epochs}, 2.0
        ),
        "plot_persistence": plots.plot_persistence(bars, components=2, holes=0),
        "plot_field_with_bars": plots.plot_field_with_bars(values, xy, bars, components=2),
    }


def alt(fig) -> str:
    return fig.layout.meta["alt"]


def named(fig, name: str):
    return next(t for t in fig.data if t.name and t.name.startswith(name))


def test_every_figure_is_labelled_told_and_light():
    figures = every()
    ours = ("controls", "priors", "topology")
    wanted = [n for n in plots.__all__ if getattr(plots, n).__module__.rsplit("_", 1)[-1] in ours]
    assert sorted(figures) == wanted
    assert len({alt(f) for f in figures.values()}) == len(figures)
    for name, fig in figures.items():
        layout = fig.to_dict()["layout"]
        axes = [v.get("title", {}).get("text") for k, v in layout.items() if k[1:].startswith("axis")]
        assert fig.layout.title.text, name
        assert len(alt(fig)) > 60, name
        assert alt(fig).endswith("."), name
        assert len([a for a in axes if a]) >= 2, name
        assert len(json.dumps(fig.to_plotly_json(), cls=PlotlyJSONEncoder)) < 25_000, name


# priors


def test_decay_draws_median_and_bands_of_every_prior():
    fig = plots.plot_decay({"icar 0.9": decay().iloc[::-1], "isar A<b>": decay(0.9)})
    assert [a.text for a in fig.layout.annotations] == ["icar 0.9", "isar A&lt;b&gt;"]
    outer, inner, median = fig.data[:3]
    np.testing.assert_allclose(median.x, np.arange(21))
    np.testing.assert_allclose(median.y, decay()["Q50"], rtol=1e-6)
    np.testing.assert_allclose(outer.y[:21], decay()["Q10"], rtol=1e-6)
    np.testing.assert_allclose(outer.y[21:], decay()["Q90"][::-1], rtol=1e-6)
    np.testing.assert_allclose(inner.y[:21], decay()["Q25"], rtol=1e-6)
    assert "icar 0.9: median 0.25 for the nearest neighbour, falls below 0.1 at rank 3" in alt(fig)
    assert "1 panel. median 0.25" in alt(plots.plot_decay(decay()))


def test_ratio_marks_gearys_c_where_the_loss_is_zero():
    fig = plots.plot_ratio(ratios(), max_ratio=0.1)
    line, mark = named(fig, "A&lt;b&gt;"), named(fig, "Geary's C")
    assert (np.diff(line.x) > 0).all()
    assert mark.x == (0.25,)
    assert mark.y[0] == pytest.approx(0.0, abs=1e-9)
    assert "A<b> falls below 0 at a ratio of 0.25 (Geary's C 0.25)" in alt(fig)
    assert "noise stays at or above 0" in alt(fig)
    assert "Beyond the ratio 0.1 the loss has no lower bound." in alt(fig)
    shade = next(s for s in fig.layout.shapes if s.type == "rect")
    assert (shade.x0, shade.x1) == (0.1, 1.0)
    assert sum(t.name == "Geary's C" for t in fig.data) == 1
    assert "lower bound" not in alt(plots.plot_ratio(ratios()))
    below = pd.DataFrame({"ratio": [0.1, 0.2], "loss": [-1.0, -2.0]})
    assert "below 0 from the smallest ratio on" in alt(plots.plot_ratio(below))


# strengths


def test_tuning_orders_strengths_and_marks_the_recommended_one():
    fig = plots.plot_tuning(Tuning(curve(), 0.1), truth=[0.3, 0.4, 0.5, 0.6, 0.25])
    assert list(fig.layout.xaxis.ticktext) == ["0", "0.01", "0.1", "1", "10"]
    np.testing.assert_allclose(fig.layout.xaxis.tickvals, [-3, -2, -1, 0, 1])
    line = fig.data[0]
    np.testing.assert_allclose(line.y, [1.0, 0.9, 0.5, 0.75, 2.0])
    np.testing.assert_allclose(line.error_y.array, 0.02, rtol=1e-6)
    assert (named(fig, "recommended").x, named(fig, "recommended").y) == ((-1.0,), (0.5,))
    np.testing.assert_allclose(named(fig, "too strong").x, [0, 1])
    assert named(fig, "too strong").marker.symbol == "x"
    truth = next(t for t in fig.data if t.yaxis == "y2" and t.mode == "lines")
    np.testing.assert_allclose(truth.y, [0.4, 0.25, 0.3, 0.5, 0.6])
    assert "0.1 is recommended" in alt(fig)
    assert "RMSE of the proportions is smallest, 0.25, at 0.01" in alt(fig)
    assert "Too strong from 1 on" in alt(fig)
    plain = plots.plot_tuning(curve()[["smoothing", "score"]])
    assert named(plain, "recommended, 0.1").x == (-1.0,)
    assert "yaxis2" not in plain.layout
    assert named(plots.plot_tuning(curve(), recommended=0), "recommended, 0").x == (-3.0,)


# controls


def test_calibration_compares_sorted_values_with_uniform_quantiles():
    p = np.array([0.8, 0.02, np.nan, 0.4, 0.01])
    table = pd.DataFrame({"null": "permutation", "pvalue": p})
    fig = plots.plot_null(pd.concat([table, pd.DataFrame({"null": "spectral", "pvalue": [0.5]})]))
    trace = named(fig, "permutation")
    np.testing.assert_allclose(trace.x, [0.125, 0.375, 0.625, 0.875])
    np.testing.assert_allclose(trace.y, [0.01, 0.02, 0.4, 0.8], rtol=1e-6)
    assert trace.name == "permutation: 50.0% at or below 0.05"
    assert "permutation 50.0% of 4; spectral 0.0% of 1" in alt(fig)
    assert named(fig, "calibrated").x == named(fig, "calibrated").y
    tables = plots.plot_null({"a": table, "b": p}, level=0.01)
    np.testing.assert_array_equal(tables.data[0].y, tables.data[1].y)
    assert "a 25.0% of 4" in alt(tables)
    zero = plots.plot_null({"a": [0.0, 0.5]})
    assert (zero.data[0].y > 0).all()


def test_losses_are_percent_above_the_optimum_and_never_rise():
    fig = plots.plot_losses({"Adam": [4.0, 3.0, 3.5, 2.0]}, -2.0)
    np.testing.assert_allclose(fig.data[0].y, [300, 250, 250, 200], rtol=1e-6)
    assert fig.data[0].name == "Adam: 200 %"
    assert "Adam ends 200 % above it after 4 epochs" in alt(fig)
    long = plots.plot_losses(1 + 1 / np.arange(1, 5001), 1.0).data[0]
    assert (long.x[0], long.x[-1]) == (1, 5000)
    assert len(long.x) <= 120
    assert plots.plot_losses([1.0 - 1e-9], 1.0).data[0].y[0] == np.float32(1e-6)


# topology


def test_bars_run_from_birth_to_death_and_the_longest_are_allowed():
    _, _, bars = field()
    fig = plots.plot_persistence(bars, components=2, holes=0)
    parts = bars[bars["dimension"] == 0]
    allowed = named(fig, "bar, allowed")
    np.testing.assert_allclose(allowed.x[:2], parts[["birth", "death"]].iloc[0], rtol=1e-6)
    assert len(allowed.x) == 3
    assert allowed.line.color == BLUE
    counted = next(t for t in fig.data if t.name == "bar, in the loss" and t.xaxis == "x")
    np.testing.assert_allclose(counted.x[::3], parts["birth"][1:41], rtol=1e-6)
    assert counted.line.color == VERMILION
    rest = parts["length"][1:].sum()
    assert f"1 allowed, the other {len(parts) - 1} sum to {rest:.3g}" in alt(fig)
    assert "0 allowed" in alt(fig)
    assert "allowed" not in alt(plots.plot_persistence(bars))


def test_endless_component_is_the_expected_one():
    values, xy, _ = field()
    bars = persistence(values, triangulate(xy), essential=True)
    fig = plots.plot_persistence(bars, components=2)
    assert len(named(fig, "bar, allowed").x) == 6
    assert "the longest endless, " in alt(fig)
    assert np.nanmin(named(fig, "bar, allowed").x) > -1


def test_peaks_stand_where_their_bars_begin():
    values, xy, bars = field()
    fig = plots.plot_field_with_bars(values, xy, bars, components=2)
    top, peak = named(fig, "highest spot"), named(fig, "peak, allowed")
    assert (top.x[0], top.y[0]) == tuple(xy[values.argmax()])
    assert (peak.x[0], peak.y[0]) == tuple(xy[bars["birth_spot"][0]])
    assert np.hypot(peak.x[0] - 11, peak.y[0] - 8) < 2
    n = int((bars["dimension"] == 0).sum())
    assert len(named(fig, "peak, in the loss").x) == min(n, 40) - 1


# refusals


@pytest.mark.parametrize(
    ("call", "error", "text"),
    [
        (lambda b: plots.plot_decay([1.0]), TypeError, "`tables` is a list, but must be a table with the columns"),
        (lambda b: plots.plot_decay({}), ValueError, r"`tables` is empty.*corr_decay\(q, coords\)"),
        (lambda b: plots.plot_decay({"a": decay().drop(columns="Q75")}), KeyError, "no column 'Q75'"),
        (lambda b: plots.plot_ratio(ratios().drop(columns="loss")), KeyError, "no column 'loss'"),
        (lambda b: plots.plot_ratio(ratios(), max_ratio=-1), ValueError, "`max_ratio` is -1"),
        (lambda b: plots.plot_tuning(curve()[:0]), ValueError, "`tuning` has no rows"),
        (lambda b: plots.plot_tuning(0.1), TypeError, r"smoother.tune_smoothing\(adata"),
        (lambda b: plots.plot_tuning(curve(), truth=[1.0]), ValueError, r"shape \(1,\), but there are 5 strengths"),
        (lambda b: plots.plot_null({}), ValueError, "`table` is empty"),
        (lambda b: plots.plot_null(pd.DataFrame({"null": ["a"]})), KeyError, "no column 'pvalue'"),
        (lambda b: plots.plot_null({"a": [0.5, 1.5]}), ValueError, r"lie in \[0.5, 1.5\], but must lie in"),
        (lambda b: plots.plot_null({"a": [np.nan]}), ValueError, "'a' hold no number"),
        (lambda b: plots.plot_losses({}, 1.0), ValueError, "`curves` is empty"),
        (lambda b: plots.plot_losses({"a": []}, 1.0), ValueError, "'a' is empty"),
        (lambda b: plots.plot_losses({"a": [2.0, np.nan]}, 1.0), ValueError, "'a' holds 1 values that are NaN"),
        (lambda b: plots.plot_losses({"a": [2.0, 0.9]}, 1.0), ValueError, "0.9, below the optimum 1.*same objective"),
        (lambda b: plots.plot_persistence(b.drop(columns="death")), KeyError, "no column 'death'"),
        (lambda b: plots.plot_persistence(b.assign(death=9.0)), ValueError, "death is above their birth"),
        (lambda b: plots.plot_persistence(b.assign(dimension=2)), ValueError, "no bars of dimension 0 or 1"),
        (lambda b: plots.plot_persistence(b, components=0), ValueError, "`components` is 0, but must be at least 1"),
        (lambda b: plots.plot_persistence(b, holes=-1), ValueError, "`holes` is -1"),
        (lambda b: plots.plot_field_with_bars(np.ones(3), [[0, 0], [1, 0], [0, 1]], b), ValueError,
         "names spots from .*, but there are 3"),
        (lambda b: plots.plot_field_with_bars(np.ones(4), [[0, 0], [1, 0], [0, 1]], b), ValueError, "are 3 spots"),
    ],
)  # fmt: skip
def test_refusals_say_what_to_do(call, error, text):
    with pytest.raises(error, match=text):
        call(field()[2])
