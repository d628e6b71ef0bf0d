"""Transforms: exact inverses, per marker, recorded, never applied twice; and the values looked at before."""

from __future__ import annotations

from pathlib import Path

import anndata
import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import sparse

from scmods._checks import MissingKeyError, NumericalWarning
from scmods.scyan._logicle import Logicle, automatic
from scmods.scyan._state import KEY, TransformState
from scmods.scyan.transform import (
    apply_transform,
    asinh_transform,
    inverse_transform,
    logicle_transform,
    scale,
    unscale,
)
from scmods.scyan.values import marker_positions, marker_values

NAMES = ["CD3", "HLA-DR", "CD4/CD8", "18"]


def cells(x: object = None, names: list[str] | None = None) -> anndata.AnnData:
    if x is None:
        rng = np.random.default_rng(0)
        x = rng.normal(0, 4, (300, 4)) + rng.choice([0.0, 60.0], (300, 4))
    adata = anndata.AnnData(np.asarray(x, dtype=np.float32) if not sparse.issparse(x) else x)
    adata.var_names = names or NAMES[: adata.n_vars]
    return adata


@given(
    st.floats(1e2, 1e6),
    st.floats(0, 1.8),
    st.floats(4.5, 6),
    st.lists(st.floats(-2, 2), min_size=1, max_size=9),
)
def test_logicle_is_inverted(top: float, width: float, decades: float, at: list[float]) -> None:
    one = Logicle(top, width, decades)
    x = np.array(at) * top
    np.testing.assert_allclose(one.inverse(one.forward(x)), x, rtol=1e-9, atol=1e-9 * top)
    assert one.inverse(np.array(1.0)) == pytest.approx(top, rel=1e-9)
    zero = width / decades
    np.testing.assert_allclose(one.inverse(np.array(zero)), 0, atol=1e-9 * top)
    # no curvature at zero intensity: the scale treats both signs alike there
    up, down = one.inverse(np.array(zero + 1e-3)), one.inverse(np.array(zero - 1e-3))
    assert abs(up + down) < 5e-6 * (up - down)


def test_logicle_of_width_zero_is_asinh() -> None:
    x, b = np.linspace(-50, 1000, 40), 4.5 * np.log(10)
    a = 1000 / (2 * np.sinh(b))
    np.testing.assert_allclose(Logicle(1000.0, 0.0).forward(x), np.arcsinh(x / (2 * a)) / b, atol=1e-12)


def test_automatic_width() -> None:
    negative = -np.arange(1.0, 101.0)
    x = np.concatenate([negative, [1e4, -1e9]])  # the outlier is left out
    reach = abs(np.quantile(negative, 0.05))
    assert automatic(x).width == pytest.approx((4.5 - np.log10(1e4 / reach)) / 2, rel=1e-6)
    assert automatic(np.array([0.0, 1.0, 5.0])) == Logicle(5.0, 0.5)
    assert automatic(np.array([-4.0, -5.0, 1.0])).width == pytest.approx(1.8)  # nearly all negative


def test_asinh_by_hand_and_back() -> None:
    adata = cells()
    raw = adata.X.copy()
    asinh_transform(adata, cofactor=3.0, translation=1.0)
    np.testing.assert_allclose(adata.X, np.arcsinh((raw - 1) / 3), rtol=1e-6, atol=1e-6)
    np.testing.assert_allclose(inverse_transform(adata), raw, rtol=1e-5, atol=1e-5)
    scale(adata)
    assert adata.X.dtype == np.float32
    np.testing.assert_allclose(adata.X.std(axis=0), 1, rtol=1e-5)
    np.testing.assert_allclose(unscale(adata), np.arcsinh((raw - 1) / 3), rtol=1e-5, atol=1e-5)
    np.testing.assert_allclose(inverse_transform(adata), raw, rtol=1e-4, atol=1e-4)


def test_zero_intensity_is_minus_one() -> None:
    adata = cells([[0, 0], [10, 50], [30, 5]])
    asinh_transform(adata)
    scale(adata)
    np.testing.assert_array_equal(adata.X[0], [-1, -1])
    flow = cells()
    logicle_transform(flow)
    scale(flow)
    np.testing.assert_allclose(flow.X.mean(axis=0), 0, atol=1e-5)
    forced = cells()
    asinh_transform(forced)
    scale(forced, center=True)
    np.testing.assert_allclose(forced.X.mean(axis=0), 0, atol=1e-5)


@pytest.mark.parametrize("first", [asinh_transform, logicle_transform])
def test_subsets_are_undone_marker_by_marker(first: object) -> None:
    adata = cells()
    raw = adata.X.copy()
    first(adata)  # type: ignore[operator]
    scale(adata)
    part = adata[10:60, ["18", "CD3"]].copy()
    np.testing.assert_allclose(inverse_transform(part), raw[10:60][:, [3, 0]], rtol=1e-3, atol=1e-3)
    other = inverse_transform(adata, adata.X[:5, [2]], markers=["CD4/CD8"])
    np.testing.assert_allclose(other, raw[:5, [2]], rtol=1e-3, atol=1e-3)


def test_largest_is_cut() -> None:
    adata = cells(np.r_[np.zeros((5000, 1)), [[90.0]]])
    scale(adata, max_value=4.0)
    assert adata.X.max() == 4


@pytest.mark.parametrize("first", [asinh_transform, logicle_transform])
def test_new_cells_get_the_same_scale(first: object, tmp_path: Path) -> None:
    adata = cells()
    new = adata[5:9, ["18", "CD3", "HLA-DR", "CD4/CD8"]].copy()
    first(adata)  # type: ignore[operator]
    scale(adata)
    adata.write_h5ad(tmp_path / "a.h5ad")
    stored = anndata.read_h5ad(tmp_path / "a.h5ad")
    apply_transform(new, stored)
    np.testing.assert_array_equal(new.X, adata.X[5:9][:, [3, 0, 1, 2]])
    assert TransformState.of(new) is not None
    with pytest.raises(MissingKeyError, match="1 markers are not in .*'CD4/CD8'"):
        apply_transform(cells(np.ones((2, 3))), stored)


def test_some_markers_only() -> None:
    adata = cells()
    before = adata.X.copy()
    asinh_transform(adata, markers=["18", "CD3"])
    scale(adata)
    np.testing.assert_array_equal(adata.X[:, 1:3], before[:, 1:3])
    assert adata.X[:, [0, 3]].std(axis=0) == pytest.approx([1, 1], rel=1e-5)
    assert inverse_transform(adata).shape == (300, 2)
    with pytest.raises(MissingKeyError, match="no recorded transform: \\['HLA-DR'\\]"):
        unscale(adata, before[:, [1]], markers=["HLA-DR"])


def test_forms_agree() -> None:
    x = np.random.default_rng(1).poisson(8, (50, 4))
    wanted = asinh_transform(cells(x), copy=True).X
    forms = [sparse.csr_matrix(x.astype(np.float32)), sparse.csr_matrix(x), x.astype(np.int32)]
    for form in forms:
        adata = anndata.AnnData(form)
        adata.var_names = NAMES
        copied = asinh_transform(adata, copy=True)
        np.testing.assert_array_equal(copied.X, wanted)
        assert KEY not in adata.uns


def test_nothing_is_applied_twice() -> None:
    adata = cells()
    asinh_transform(adata)
    for again in (asinh_transform, logicle_transform):
        with pytest.raises(ValueError, match=r"transformed before \(asinh, see"):
            again(adata)
    with pytest.raises(ValueError, match=r"transformed before"):
        apply_transform(adata, adata)
    scale(adata)
    with pytest.raises(ValueError, match="scaled before"):
        scale(adata)


def test_refusals_of_transforms() -> None:
    with pytest.raises(ValueError, match="`cofactor` is 0"):
        asinh_transform(cells(), cofactor=0.0)
    with pytest.raises(ValueError, match="no positive value: \\['CD3'\\]"):
        logicle_transform(cells([[-1.0, 2.0], [0.0, 5.0]]))
    with pytest.raises(ValueError, match="look like raw intensities"):
        scale(cells(np.array([[0.0], [500.0]])))
    with pytest.raises(ValueError, match="same value in every cell: \\['HLA-DR'\\]"):
        scale(cells([[0.0, 1.0], [2.0, 1.0]]))
    with pytest.raises(MissingKeyError, match="nothing is known of a transform"):
        inverse_transform(cells())
    adata = cells()
    asinh_transform(adata)
    with pytest.raises(ValueError, match="were not scaled"):
        unscale(adata)
    with pytest.raises(ValueError, match=r"shape \(3, 2\), but 4 markers"):
        inverse_transform(adata, np.ones((3, 2)))


def test_values_are_looked_at() -> None:
    x = cells([[1.0, -1.0], [-1.0, 1.0], [1.0, 2.0]])
    np.testing.assert_array_equal(marker_values(x, ["HLA-DR"]), [[-1], [1], [2]])
    with pytest.raises(
        MissingKeyError, match="not in `adata.var_names`: \\['HLADR'\\].*Did you mean 'HLA-DR'"
    ):
        marker_values(x, ["HLADR"])
    with pytest.raises(ValueError, match="markers has 1 duplicated"):
        marker_positions(x, ["CD3", "CD3"])
    with pytest.raises(ValueError, match=r"2 values that are NaN or infinite: \['HLA-DR \(2\)'\]"):
        marker_values(cells([[1.0, np.nan], [-1.0, np.inf], [0.0, 0.0]]))
    with pytest.raises(ValueError, match="350, marker 'HLA-DR': these look like raw.*cofactor=5.*logicle"):
        marker_values(cells([[1.0, 350.0], [-1.0, 2.0]]))
    with pytest.raises(ValueError, match="has 3 cells, but at least 5"):
        marker_values(x, smallest=5)
    with pytest.raises(ValueError, match="has 0 cells"):
        marker_values(x[:0])
    with pytest.raises(ValueError, match="same value in every cell: \\['CD3'\\]"):
        marker_values(cells([[1.0, 3.0], [1.0, 2.0]]))
    with pytest.warns(NumericalWarning, match=r"far from 1: \['CD3 \(20\)'\]"):
        marker_values(cells([[-20.0, 1.0], [20.0, -1.0]]))
    with pytest.raises(MissingKeyError, match="layers"):
        marker_values(x, layer="raw")
    words = anndata.AnnData(obs=pd.DataFrame(index=["a"]), var=pd.DataFrame(index=["CD3"]))
    with pytest.raises(MissingKeyError, match="`adata.X` is empty"):
        marker_values(words)
