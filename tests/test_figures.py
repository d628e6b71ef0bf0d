"""Pieces that figures of several methods share: names of places on an axis, columns and genes by name."""

import anndata
import numpy as np
import pandas as pd
import pytest
from scipy import sparse

from scmods import _checks, _figures

LONG = "a name of more than forty letters, <b> and more words after it"


def empty():
    return _figures.figure(title="t", alt="a")


@pytest.mark.parametrize(("more", "width", "angle"), [({}, 60, -50), ({"width": 40, "angle": -40}, 40, -40)])
def test_places_are_named_in_order_and_equal_names_keep_two(more, width, angle):
    fig = _figures.name_places(empty(), "x", ["B", LONG, "B"], **more)
    axis = fig.layout.xaxis
    assert list(axis.tickvals) == [0, 1, 2]
    assert list(axis.ticktext) == ["B", _figures.escaped(LONG, width), "B"]
    assert (axis.tickangle, list(axis.range)) == (angle, [-0.5, 2.5])
    assert fig.layout.yaxis.tickvals is None


def test_the_first_name_of_an_upright_axis_is_at_the_top():
    axis = _figures.name_places(empty(), "y", ["a", 18]).layout.yaxis
    assert list(axis.ticktext) == ["a", "18"]
    assert list(axis.range) == [1.5, -0.5]
    assert axis.tickangle is None


def test_places_of_one_panel_are_named():
    fig = empty()
    _figures.panels(fig, 2, 2, titles=["one", "two"])
    _figures.name_places(fig, "x", ["a"], row=1, col=2)
    assert fig.layout.xaxis.ticktext is None
    assert list(fig.layout.xaxis2.ticktext) == ["a"]


@pytest.fixture(params=["dense", "csr", "backed"])
def cells(request, tmp_path):
    adata = anndata.AnnData(np.arange(8.0).reshape(4, 2), var=pd.DataFrame(index=["Sox9", "CD4"]))
    adata.layers["log"] = adata.X + 100
    adata.obs["kind"] = pd.Categorical(list("abab"))
    adata.obs["Sox9 too"] = [1, 2, 3, 4]
    if request.param == "csr":
        adata.X, adata.layers["log"] = sparse.csr_matrix(adata.X), sparse.csr_matrix(adata.layers["log"])
    if request.param == "backed":
        adata.write_h5ad(tmp_path / "cells.h5ad")
        adata = anndata.read_h5ad(tmp_path / "cells.h5ad", backed="r")
    return adata


def test_a_column_is_looked_up_before_a_gene(cells):
    assert _figures.looked_up(cells, "kind").dtype == "category"
    np.testing.assert_array_equal(_figures.looked_up(cells, "CD4"), [1, 3, 5, 7])
    np.testing.assert_array_equal(_figures.looked_up(cells, "CD4", "log"), [101, 103, 105, 107])
    cells.obs["CD4"] = ["x", "y", "x", "y"]
    assert list(_figures.looked_up(cells, "CD4")) == ["x", "y", "x", "y"]


def test_a_name_that_does_not_exist_is_answered_by_the_nearest(cells):
    text = (
        r"^`color` names 'Sox8', which is neither a column of `adata.obs` nor a gene\. "
        r"Available: \['kind', 'Sox9 too', 'Sox9', 'CD4'\]\. Did you mean 'Sox9'\?$"
    )
    with pytest.raises(_checks.MissingKeyError, match=text):
        _figures.looked_up(cells, "Sox8")
    with pytest.raises(
        _checks.MissingKeyError, match=r"layers\['lgo'\].*Did you mean 'log'\? Name a layer: layer="
    ):
        _figures.looked_up(cells, "CD4", "lgo")
