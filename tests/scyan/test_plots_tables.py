"""Figures of tables: the knowledge and its faults, contributions, confusion, curves, runs."""

from __future__ import annotations

import json

import numpy as np
import pandas as pd
import pytest
import torch
from plotly.utils import PlotlyJSONEncoder

from scmods import _checks
from scmods.scyan import plots
from scmods.scyan.plots_table import log_densities
from scmods.scyan.prior import log_uniform_normal, log_uniform_plateau
from scmods.scyan.table import lint_table, population_distances
from scmods.training import History

POPS = ["CD4/CD8", "18", "T cell (naïve)", "A, B"]
MARKERS = ["CD3", "CD<b>", "HLA-DR"]
OURS = ("evidence", "explain", "runs", "table")


def make_table() -> pd.DataFrame:
    rho = [[1.0, -1.0, np.nan], [-1.0, 1.0, 1.0], [np.nan, 0.5, -1.0], [-1.0, np.nan, np.nan]]
    return pd.DataFrame(rho, index=POPS, columns=MARKERS)


def contributions(n: int = 3) -> pd.DataFrame:
    """As `explain` returns them: the parts add up."""
    parts = pd.DataFrame(
        np.random.default_rng(0).normal(size=(n, 3)) * 3,
        index=[f"cell{i}" for i in range(n)],
        columns=MARKERS,
    )
    parts["weights"] = 0.5
    total = parts.sum(axis=1)
    parts.insert(0, "chosen", pd.Categorical([POPS[i % 4] for i in range(n)]))
    parts.insert(1, "rival", pd.Categorical(["unclassified"] * n))
    parts.insert(2, "difference", total)
    return parts


def population_means() -> pd.DataFrame:
    """As `population_evidence` returns them; one population without cells."""
    out = pd.DataFrame(np.arange(12.0).reshape(4, 3) - 5, index=POPS, columns=MARKERS).assign(weights=0.1)
    out.insert(0, "cells", [5, 3, 0, 2])
    out.insert(1, "rival", ["18", "A, B", None, "18"])
    out.insert(2, "difference", 1.0)
    out.loc[POPS[2], [*MARKERS, "weights", "difference"]] = np.nan
    return out


def counts() -> pd.DataFrame:
    values = [[8, 1, 0, 0, 1], [0, 5, 0, 0, 0], [0, 0, 0, 0, 0], [3, 0, 0, 1, 0], [0, 0, 2, 0, 2]]
    return pd.DataFrame(values, index=[*POPS, "not in the table"], columns=[*POPS, "unclassified"])


def curve(n: int = 400) -> pd.DataFrame:
    """As `recall_curve` returns it: from the highest score to the lowest."""
    recall = np.minimum(np.arange(1, n + 1) / 50, 1)
    precision = recall * 50 / np.arange(1, n + 1)
    out = pd.DataFrame({"threshold": np.linspace(1, 0, n) ** 2, "called": np.arange(1, n + 1), "recall": recall,
                        "precision": precision})  # fmt: skip
    for name in ("recall", "precision"):
        out[f"{name}_low"], out[f"{name}_high"] = out[name] * 0.9, np.minimum(out[name] * 1.1, 1)
    return out


def bins() -> pd.DataFrame:
    p = np.array([0.05, np.nan, 0.55, 0.95])
    out = pd.DataFrame({"probability": p, "observed": [0.1, np.nan, 0.5, 0.9], "cells": [10, 0, 40, 100]})
    return out.assign(observed_low=out["observed"] - 0.05, observed_high=out["observed"] + 0.08)


def runs() -> pd.DataFrame:
    rows = [("A<b>", 0, 0.8), ("Scyan", 0, 0.92), ("A<b>", 1, 0.7), ("Scyan", 1, 0.94)]
    return pd.DataFrame(rows, columns=["method", "seed", "macro_f1"]).assign(data="x")


def every() -> dict:
    history = History(list(np.linspace(3, 1, 3000)), list(np.linspace(3, 2, 3000)), 2990, 1.0)
    shares = dict(zip(POPS, [0.5, 0.3, 0.199, 0.001], strict=True))
    table = make_table()
    return {
        "plot_calibration": plots.plot_calibration({"model": bins(), "other": bins()}),
        "plot_confusion": plots.plot_confusion(counts()),
        "plot_contributions": plots.plot_contributions(contributions(), cell="cell1"),
        "plot_densities": plots.plot_densities(0.25),
        "plot_distances": plots.plot_distances(population_distances(table)),
        "plot_rare": plots.plot_rare({"model": curve(9000), "other": curve()}),
        "plot_scores": plots.plot_scores(runs(), by="data"),
        "plot_table": plots.plot_table(table, lint_table(table, ["CD3", "CD<b>", "HLADR"])),
        "plot_training": plots.plot_training({"seed 0": history, "seed 1": [2.0, 1.0]}),
        "plot_weights": plots.plot_weights(shares, shares),
    }


def alt(fig) -> str:
    return fig.layout.meta["alt"]


def ticks(fig, axis: str = "yaxis") -> list[str]:
    return list(fig.layout[axis].ticktext)


def test_every_figure_is_labelled_told_and_light():
    figures = every()
    wanted = [n for n in plots.__all__ if getattr(plots, n).__module__.rsplit("_", 1)[-1] in OURS]
    assert sorted(figures) == wanted
    assert len({alt(f) for f in figures.values()}) == len(figures)
    for name, fig in figures.items():
        axes = {k: v.get("title", {}).get("text") for k, v in fig.to_dict()["layout"].items() if "axis" in k}
        assert fig.layout.title.text, name
        assert len(alt(fig)) > 60, name
        assert alt(fig).endswith("."), name
        assert any(v for k, v in axes.items() if k.startswith("x")), name
        assert len(json.dumps(fig.to_plotly_json(), cls=PlotlyJSONEncoder)) < 20_000, name
        for trace in fig.data:
            for values in (trace.x, trace.y, getattr(trace, "z", None)):
                assert not (isinstance(values, np.ndarray) and values.dtype == np.float64), name


# the table


def test_table_is_drawn_row_by_row_with_gaps():
    fig = plots.plot_table(make_table())
    assert ticks(fig) == POPS
    assert ticks(fig, "xaxis") == ["CD3", "CD&lt;b&gt;", "HLA-DR"]
    np.testing.assert_array_equal(fig.data[0].z, make_table().to_numpy())
    assert len(fig.data) == 1
    assert "67% of the entries are known, 4 of them positive, 4 negative and 0 in the middle" in alt(fig)
    assert "Faults" not in alt(fig)


def test_marks_stand_at_the_entry_row_column_or_pair_they_concern():
    rows = [
        ("error", "CD4/CD8", "HLA-DR", "entry"),
        ("error", "", "CD<b>", "column"),
        ("warning", "T cell (naïve)", "", "row"),
        ("note", "A, B, 18", "", "pair"),
        ("note", "A, B", "", "again"),
        ("warning", "", "", "everything"),
    ]
    faults = pd.DataFrame(rows, columns=["severity", "population", "marker", "text"])
    fig = plots.plot_table(make_table(), faults)
    marks = {t.name: (t.x.tolist(), t.y.tolist(), list(t.text)) for t in fig.data[1:]}
    assert marks["error"] == ([2, 1], [0, 4], ["entry", "column"])
    assert marks["warning"] == ([3.5], [2], ["row"])
    assert marks["note"] == ([4, 4], [3, 1], ["pair<br>again", "pair"])
    assert "2 errors, first: entry. 2 warnings, first: row. 2 notes, first: pair." in alt(fig)
    assert len({t.marker.symbol for t in fig.data[1:]}) == 3


def test_marks_of_the_linter_find_their_places():
    table = make_table().rename(columns={"HLA-DR": "HLADR"})
    faults = lint_table(table, ["CD3", "CD<b>", "HLA-DR"])
    fig = plots.plot_table(table, faults)
    error = next(t for t in fig.data if t.name == "error")
    assert (error.x[0], error.y[0]) == (2, 4)
    assert "HLADR" in error.text[0]
    named = [t for t in faults["population"] if t]
    assert named
    rows = {int(y) for t in fig.data[1:] for x, y in zip(t.x, t.y, strict=True) if x >= 3}
    assert rows == {i for i, p in enumerate(POPS) if any(p in t for t in named)}
    assert alt(plots.plot_table(table, faults[:0])).endswith("No fault was found.")


def test_a_row_with_many_faults_shows_the_first_five():
    faults = pd.DataFrame(
        {"severity": "note", "population": "18", "marker": "", "text": [f"<{i}>" for i in range(7)]}
    )
    text = plots.plot_table(make_table(), faults).data[1].text[0]
    assert text.startswith("&lt;0&gt;<br>")
    assert text.endswith("&lt;4&gt;<br>and 2 more")


def test_distances_are_those_given_with_an_open_diagonal():
    distances = population_distances(make_table())
    fig = plots.plot_distances(distances)
    off = ~np.eye(4, dtype=bool)
    np.testing.assert_allclose(fig.data[0].z[off], distances.to_numpy()[off])
    assert np.isnan(np.diag(fig.data[0].z)).all()
    assert fig.data[0].text[0, 1] == f"{distances.iloc[0, 1]:.2g}"
    i, j = 1, 3
    assert distances.iloc[i, j] == distances.to_numpy()[off].min()
    assert f"nearest are {POPS[i]} and {POPS[j]}, {distances.iloc[i, j]:.3g} apart" in alt(fig)
    assert fig.layout.coloraxis.cmax == distances.to_numpy().max()


@pytest.mark.parametrize("sigma", [0.1, 0.3, 0.6])
def test_densities_are_those_of_the_prior(sigma):
    u = np.linspace(-2.5, 2.5, 121)
    found = log_densities(u, sigma)
    np.testing.assert_allclose(found["exact"], log_uniform_normal(torch.tensor(u), sigma), rtol=1e-10)
    np.testing.assert_allclose(found["plateau"], log_uniform_plateau(torch.tensor(u), sigma), rtol=1e-12)
    fig = plots.plot_densities(sigma)
    for density, log in zip(fig.data[:4], fig.data[4:], strict=True):
        np.testing.assert_allclose(density.y, np.exp(log.y.astype(float)), rtol=1e-4, atol=1e-30)
        area = np.sum((density.y[1:] + density.y[:-1]) / 2 * np.diff(density.x))
        assert area == pytest.approx(1, abs=0.02)
    assert fig.data[0].x[fig.data[0].y.argmax()] == -1
    worth = -np.log(sigma * np.sqrt(2 * np.pi)) - log_densities(np.ones(1), sigma)["exact"][0]
    assert f"worth {worth:.2f} nats more" in alt(fig)


def test_weights_are_matched_by_name_and_sorted_by_truth():
    pi = pd.Series([0.0, 0.7, 0.3], index=["c", "a", "b"])
    truth = {"unlisted": 0.1, "a": 0.6, "b": 0.299, "c": 0.001}
    fig = plots.plot_weights(pi, truth)
    assert ticks(fig) == ["a", "b", "c"]
    true, weight = fig.data[1:]
    np.testing.assert_allclose(true.x, [60, 29.9, 0.1], rtol=1e-6)
    np.testing.assert_allclose(weight.x, [70, 30, 0.05], rtol=1e-6)
    np.testing.assert_allclose(fig.data[0].x[:2], [60, 70], rtol=1e-6)
    assert fig.layout.xaxis.type == "log"
    assert "furthest from 1 for c: weight 0 %, truth 0.1 %" in alt(fig)


# contributions


def test_bars_of_a_cell_add_up_to_the_difference():
    table = contributions()
    fig = plots.plot_contributions(table, cell="cell1")
    bars = fig.data[0]
    names, row = ticks(fig), table.loc["cell1"]
    assert names[-2:] == ["weight of the populations", "sum"]
    order = row[MARKERS].astype(float).abs().sort_values(ascending=False).index
    np.testing.assert_allclose(bars.x[:3], row[order].astype(float), rtol=1e-6)
    np.testing.assert_allclose(bars.base[1:-1], np.cumsum(bars.x[:-2]), rtol=1e-4)
    assert bars.base[-1] == 0
    assert bars.x[-1] == pytest.approx(row["difference"], rel=1e-6)
    assert bars.base[-2] + bars.x[-2] == pytest.approx(row["difference"], abs=1e-4)
    assert [c == bars.marker.color[0] for c in bars.marker.color[:-1]] == [
        (x >= 0) == (bars.x[0] >= 0) for x in bars.x[:-1]
    ]
    assert fig.layout.title.text == "Why 18 and not unclassified"
    other = table.copy()
    other[["difference", *MARKERS, "weights"]] *= -1
    assert plots.plot_contributions(other, cell="cell1").layout.title.text == "18 against unclassified"
    assert f"The sum is {row['difference']:+.2f}" in alt(fig)
    np.testing.assert_array_equal(plots.plot_contributions(table.iloc[1]).data[0].x, bars.x)
    np.testing.assert_array_equal(plots.plot_contributions(table.iloc[[1]]).data[0].x, bars.x)


def test_small_contributions_can_share_a_bar():
    table = contributions()
    fig = plots.plot_contributions(table, cell="cell1", n_markers=1)
    assert ticks(fig)[1] == "2 other markers"
    size = np.sort(np.abs(table.loc["cell1", MARKERS].astype(float)))
    assert abs(fig.data[0].x[0]) == pytest.approx(size[-1], rel=1e-6)
    assert fig.data[0].x.sum() == pytest.approx(2 * table.loc["cell1", "difference"], rel=1e-5)


def test_several_cells_and_populations_are_heat_maps():
    table = contributions()
    fig = plots.plot_contributions(table)
    np.testing.assert_allclose(fig.data[0].z, table[[*MARKERS, "weights"]], rtol=1e-6)
    assert ticks(fig)[0] == "cell0: CD4/CD8 against unclassified"
    means = population_means()
    fig = plots.plot_contributions(means, n_markers=2)
    assert ticks(fig) == ["CD4/CD8 against 18", "18 against A, B", "T cell (naïve)", "A, B against 18"]
    assert ticks(fig, "xaxis") == ["CD3", "CD&lt;b&gt;"]
    np.testing.assert_allclose(fig.data[0].z, means[["CD3", "CD<b>"]])
    assert "A, B against 18: most by CD<b> (+5.00)" in alt(fig)


# evidence


def test_confusion_is_drawn_in_percent_of_the_row():
    fig = plots.plot_confusion(counts())
    np.testing.assert_allclose(fig.data[0].z[0], [80, 10, 0, 0, 10])
    assert np.isnan(fig.data[0].z[2]).all()
    np.testing.assert_array_equal(fig.data[0].customdata, counts())
    assert fig.data[0].text[3].tolist() == ["75", "", "", "25", ""]
    assert "On average 68.3 % get their own label, least in A, B (25.0 %)" in alt(fig)
    shares = counts().div(counts().sum(axis=1), axis=0)
    np.testing.assert_allclose(plots.plot_confusion(shares).data[0].z, fig.data[0].z, rtol=1e-6)
    assert "cells" not in plots.plot_confusion(shares).data[0].hovertemplate


def test_rare_curve_has_its_interval_and_its_values_at_the_threshold():
    table = curve(60)
    fig = plots.plot_rare(table, threshold=0.25)
    recall, band, precision, _ = fig.data
    np.testing.assert_allclose(recall.x, table["threshold"][::-1], rtol=1e-6)
    np.testing.assert_allclose(recall.y, table["recall"][::-1], rtol=1e-6)
    np.testing.assert_allclose(precision.y, table["precision"][::-1], rtol=1e-6)
    np.testing.assert_allclose(band.y[:60], table["recall_high"][::-1], rtol=1e-6)
    np.testing.assert_allclose(band.y[60:], table["recall_low"], rtol=1e-6)
    assert fig.layout.shapes[0].x0 == 0.25
    last = table[table["threshold"] >= 0.25].iloc[-1]
    assert f"recall {last['recall']:.3g} (interval {last['recall_low']:.3g}" in alt(fig)
    assert f"precision {last['precision']:.3g}" in alt(fig)


def test_rare_curve_over_cells_called():
    table = curve(60)
    fig = plots.plot_rare(
        {"a<b>": table[["threshold", "called", "recall", "precision"]]}, over="called", threshold=0.25
    )
    assert len(fig.data) == 2
    assert set(fig.data[0].x) == set(table["called"])
    assert fig.layout.xaxis.type == "log"
    assert fig.layout.shapes[0].x0 == (table["threshold"] >= 0.25).sum()
    assert "no cell is called" in alt(plots.plot_rare(table, threshold=1.5))
    assert not plots.plot_rare(table, threshold=None).layout.shapes


def test_long_rare_curve_is_thinned_between_its_ends():
    table = curve(9000)
    x = plots.plot_rare(table).data[0].x
    assert (x[0], x[-1]) == (0, 1)
    assert len(x) <= 122
    assert np.isin(x, table["threshold"].to_numpy(np.float32)).all()


def test_calibration_leaves_out_empty_bins():
    fig = plots.plot_calibration(bins())
    line, points = fig.data
    assert line.x == line.y
    np.testing.assert_allclose(points.x, [0.05, 0.55, 0.95], rtol=1e-6)
    np.testing.assert_allclose(points.y, [0.1, 0.5, 0.9], rtol=1e-6)
    np.testing.assert_allclose(points.error_y.array, 0.08, rtol=1e-5)
    np.testing.assert_allclose(points.error_y.arrayminus, 0.05, rtol=1e-5)
    assert (np.diff(points.marker.size) > 0).all()
    assert "mean distance from it 0.050 in 3 bins" in alt(fig)


# runs


def test_training_marks_the_kept_epoch():
    history = History([3.0, 1.0, -0.5], [3.5, 2.0, 2.5], 1, 1.0)
    fig = plots.plot_training(history)
    assert [t.name for t in fig.data] == ["training", "training, kept", "validation", "validation, kept"]
    assert fig.data[0].y.tolist() == [3.0, 1.0, -0.5]
    assert (fig.data[3].x.tolist(), fig.data[3].y.tolist()) == ([1], [2.0])
    assert fig.data[2].line.dash == "dash"
    assert "validation from 3.5 to 2.5 in 3 epochs, 2 in epoch 1, whose weights are kept" in alt(fig)
    both = plots.plot_training({"A<b>": [2.0, 1.0], 1: [3.0]})
    assert [t.name for t in both.data] == ["A&lt;b&gt;, training", "1, training"]


def test_scores_show_every_run_and_the_mean():
    fig = plots.plot_scores(runs())
    assert ticks(fig) == ["A&lt;b&gt;", "Scyan"]
    dots, mean = fig.data[:2]
    np.testing.assert_allclose(dots.x, [0.8, 0.7], rtol=1e-6)
    np.testing.assert_allclose(mean.x, 0.75, rtol=1e-6)
    assert np.round(fig.data[2].y - 1, 5).tolist() == np.round(dots.y, 5).tolist()
    assert len(set(dots.y)) == 2
    assert "A<b> 0.75 (0.7 to 0.8 in 2 runs), Scyan 0.93 (0.92 to 0.94 in 2 runs)" in alt(fig)
    by = plots.plot_scores(runs().assign(data=["AML", "AML", "sim", "sim"]), by="data")
    assert [a.text for a in by.layout.annotations] == ["AML", "sim"]
    assert ticks(by, "yaxis2") == ticks(by)
    assert plots.plot_scores(runs(), value="seed").layout.xaxis.title.text == "seed"


# refusals


@pytest.mark.parametrize(
    ("call", "error", "text"),
    [
        (lambda: plots.plot_table([[1]]), TypeError, "`table` is a list, but must be a table.*read_table"),
        (lambda: plots.plot_table(make_table()[:0]), ValueError, "`table` has no rows"),
        (lambda: plots.plot_table(make_table()[[]]), ValueError, "`table` has no columns"),
        (lambda: plots.plot_table(make_table().astype(str)), TypeError, "must be numeric"),
        (lambda: plots.plot_table(make_table(), make_table()), KeyError, "no column 'severity'.*lint_table"),
        (lambda: plots.plot_table(make_table(), pd.DataFrame({"severity": ["bad"], "population": "", "marker": "",
         "text": ""})), ValueError, "`severity` is 'bad'"),
        (lambda: plots.plot_distances(make_table()), ValueError, "names are not the same.*population_distances"),
        (lambda: plots.plot_densities(1.5), ValueError, "`prior_std` is 1.5"),
        (lambda: plots.plot_densities(end=0), ValueError, "`end` is 0"),
        (lambda: plots.plot_weights([0.5], {"a": 1}), TypeError, "`pi` is a list, but must name its populations"),
        (lambda: plots.plot_weights({"a": -0.1}, {"a": 1}), ValueError, "share is not negative"),
        (lambda: plots.plot_weights({"a": 1.0}, {"b": 1.0}), _checks.MissingKeyError, "`pi` names 'a'"),
        (lambda: plots.plot_contributions(make_table()), KeyError, r"no column 'rival'.*scyan.explain\(model"),
        (lambda: plots.plot_contributions(contributions(), cell="cell9"), KeyError, "no row 'cell9'"),
        (lambda: plots.plot_contributions(contributions().assign(difference=99.0), cell="cell1"), ValueError,
         "`difference` is 99"),
        (lambda: plots.plot_contributions(contributions(), n_markers=0), ValueError, "`n_markers` is 0"),
        (lambda: plots.plot_confusion(-counts()), ValueError, "not negative"),
        (lambda: plots.plot_confusion([[1]]), TypeError, "scyan.confusion_table"),
        (lambda: plots.plot_rare(curve().drop(columns="precision")), KeyError, "no column 'precision'.*recall_curve"),
        (lambda: plots.plot_rare(curve().drop(columns="called"), over="called"), KeyError, "no column 'called'"),
        (lambda: plots.plot_rare(curve(), over="recall"), ValueError, "`over` is 'recall'"),
        (lambda: plots.plot_rare({}), ValueError, "`recall_curve` is empty"),
        (lambda: plots.plot_calibration(bins()[["cells"]]), KeyError, "no column 'probability'.*calibration_table"),
        (lambda: plots.plot_calibration(bins().iloc[[1]]), ValueError, "All bins"),
        (lambda: plots.plot_training(None), ValueError, r"`history` is empty.*model.fit\(\)"),
        (lambda: plots.plot_training([]), ValueError, r"training losses has shape \(0,\)"),
        (lambda: plots.plot_training([1.0, np.nan]), ValueError, "1 values that are NaN"),
        (lambda: plots.plot_scores(runs(), by="set"), KeyError, "no column 'set'"),
        (lambda: plots.plot_scores(runs().assign(macro_f1=np.nan)), ValueError, "NaN"),
        (lambda: plots.plot_scores(runs().rename(columns={"method": "model"})), KeyError, "no column 'method'"),
    ],
)  # fmt: skip
def test_refusals_say_what_to_do(call, error, text):
    with pytest.raises(error, match=text):
        call()
