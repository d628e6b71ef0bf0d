"""Figures of explained variance: what they show, and the files they write."""

from __future__ import annotations

import importlib.util
from pathlib import Path

import numpy as np
import pytest

from scmods.amici.explained import ExplainedVariance
from scmods.amici.plots_explained import null_histogram, safe_names, stars, write_figure

NAMES = ["L2/3 IT", "CD4/CD8", "<18>"]


@pytest.fixture(scope="module")
def result() -> ExplainedVariance:
    rng = np.random.default_rng(0)
    y = rng.normal(size=(92, 6))
    p = np.stack([0.5 * y, rng.normal(size=y.shape) / 10])
    labels = np.append(np.repeat(NAMES, 30), ["few", "few"])
    return ExplainedVariance.from_predictions(
        p, y, labels, genes=[f"g<{i}>" for i in range(6)], n_permutations=400
    )


def test_bars_show_the_best_gene_and_stars(result):
    fig = result.plot_explained_variance_barplot()
    assert [t.name for t in fig.data] == ["L2/3 IT", "CD4/CD8", "&lt;18&gt;"]
    table = result.summary()
    for trace, name in zip(fig.data, NAMES, strict=True):
        rows = table[table["ct_name"] == name]
        np.testing.assert_allclose(trace.y, rows["expl_var_best_gene"])
        assert list(trace.text) == [stars(p) for p in rows["p_value_adj_head"]]
        assert trace.text[0] != ""
    assert "L2/3 IT: head 0" in fig.layout.meta["alt"]
    aggregate = result.plot_explained_variance_barplot(
        by="aggregate", cell_type_sub=["<18>"], palette={"<18>": "#123456"}
    )
    np.testing.assert_allclose(aggregate.data[0].y, table[table["ct_name"] == "<18>"]["expl_var_head"])
    assert aggregate.data[0].marker.color == "#123456"


def test_heat_maps_rank_genes(result):
    figures = result.plot_featurewise_explained_variance_heatmap(n_top_genes=4)
    assert list(figures) == NAMES
    table = result.explained_variance_df.query("ct_name == 'CD4/CD8'")
    mean = table.groupby("gene")["expl_var_head_gene"].mean().sort_values(ascending=False)
    heat = figures["CD4/CD8"].data[0]
    assert list(heat.y) == [g.replace("<", "&lt;").replace(">", "&gt;") for g in mean.index[:4]]
    np.testing.assert_allclose(np.mean(heat.z, axis=1), mean[:4], rtol=1e-5)
    assert heat.text[0][0].startswith("*")
    axis = figures["CD4/CD8"].layout.coloraxis
    assert axis.cmin == -axis.cmax
    by_max = result.plot_featurewise_explained_variance_heatmap(["CD4/CD8"], rank_by="max")["CD4/CD8"]
    assert len(by_max.data[0].y) == 6


def test_files_have_safe_names(result, tmp_path):
    folder = tmp_path / "new" / "figures"
    result.plot_featurewise_explained_variance_heatmap(save_html=True, save_dir=folder)
    result.plot_explained_variance_barplot(save_html=True, save_dir=folder)
    assert sorted(p.name for p in folder.iterdir()) == [
        "expl_variance_barplot_per_head.html", "expl_variance_heatmap_CD4_CD8.html",
        "expl_variance_heatmap_L2_3_IT.html", "expl_variance_heatmap__18_.html",
    ]  # fmt: skip
    assert safe_names(["a/b", "a b", "A_B", "..", "naïve"]) == ["a_b", "a_b_2", "A_B_3", "_", "naïve"]


def test_pictures_need_kaleido(result, tmp_path, monkeypatch):
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    with pytest.raises(ImportError, match="'kaleido', which is not installed. Install it.*save_html=True"):
        result.plot_explained_variance_barplot(save_png=True, save_dir=tmp_path)
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: True)
    written = []

    class Figure:
        def write_image(self, path: Path) -> None:
            written.append(path.name)
            path.write_bytes(b"")

    paths = write_figure(Figure(), "expl", tmp_path, ["png", "svg"])
    assert [p.name for p in paths] == ["expl.png", "expl.svg"]
    assert all(p.is_file() for p in paths)
    assert [Path(name).suffix for name in written] == [".png", ".svg"]


def test_callback_gets_the_figures(result):
    seen = {}
    result.plot_explained_variance_barplot(log=seen.update)
    figures = result.plot_featurewise_explained_variance_heatmap(["L2/3 IT"], log=seen.update)
    assert list(seen) == ["expl_variance_barplot_per_head", "expl_variance_heatmap_L2_3_IT"]
    assert seen["expl_variance_heatmap_L2_3_IT"] is figures["L2/3 IT"]


def test_show_opens_the_figure(result, monkeypatch):
    import plotly.graph_objects as go

    shown = []
    monkeypatch.setattr(go.Figure, "show", lambda self: shown.append(self))
    fig = result.plot_explained_variance_barplot(show=True)
    assert shown == [fig]


def test_histogram_shows_draws_and_observation(result):
    fig = null_histogram(result, "L2/3 IT", 0)
    assert sum(fig.data[0].y) == 400
    null = result.null["L2/3 IT"]
    assert fig.layout.shapes[0].x0 == pytest.approx(null.observed[0] / 29)
    assert "p = 0.00249" in fig.layout.annotations[0].text
    with pytest.raises(ValueError, match="`head` is 7"):
        null_histogram(result, "L2/3 IT", 7)


def test_types_are_checked(result):
    with pytest.raises(ValueError, match="`cell_type_sub` is 'L2', but must be one of"):
        result.plot_explained_variance_barplot(cell_type_sub=["L2"])
    with pytest.raises(TypeError, match=r"Write cell_type_sub=\['CD4/CD8'\]"):
        result.plot_featurewise_explained_variance_heatmap("CD4/CD8")
    with pytest.raises(ValueError, match="`by` is 'mean'"):
        result.plot_explained_variance_barplot(by="mean")
