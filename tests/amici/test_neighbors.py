"""Neighbours of other types against brute force, sections, ties, radii, and the guard of the unit."""

from __future__ import annotations

import warnings

import numpy as np
import pandas as pd
import pytest
from anndata import AnnData

from scmods._checks import MissingKeyError, NumericalWarning
from scmods.amici import neighbors as module
from scmods.amici.inputs import Tissue
from scmods.amici.keys import Keys
from scmods.amici.neighbors import check_unit, nearest_others, spatial_neighbors

TYPES = np.array(["L2/3 IT", "CD4/CD8", "T cell (naïve)"], dtype=object)


def tissue(n: int = 120, dims: int = 2, seed: int = 0, sections: int = 1) -> Tissue:
    rng = np.random.default_rng(seed)
    names = [str(i) for i in range(sections)]
    coords = rng.uniform(0, 100, (n, dims))
    return Tissue(coords, TYPES[rng.integers(3, size=n)], rng.integers(sections, size=n), names, None)


def brute(t: Tissue, k: int, among: np.ndarray | None = None) -> np.ndarray:
    gap = np.linalg.norm(t.coords[:, None] - t.coords[None], axis=-1)
    gap[t.labels[:, None] == t.labels[None]] = np.inf
    gap[t.sections[:, None] != t.sections[None]] = np.inf
    if among is not None:
        gap[:, ~among] = np.inf
    order = np.argsort(gap, axis=1, kind="stable")[:, :k]
    return np.where(np.isfinite(np.take_along_axis(gap, order, 1)), order, -1)


def tissue_adata(n: int = 90) -> AnnData:
    t = tissue(n)
    adata = AnnData(np.random.default_rng(1).random((n, 4), dtype=np.float32))
    adata.obs["cell_type"] = pd.Categorical(t.labels)
    adata.obsm["spatial"] = t.coords
    return adata


@pytest.mark.parametrize(("dims", "sections"), [(2, 1), (3, 1), (2, 3)])
def test_neighbours_equal_brute_force(dims, sections):
    t = tissue(dims=dims, sections=sections)
    near, far = nearest_others(t, 7)
    np.testing.assert_array_equal(near, brute(t, 7))
    np.testing.assert_allclose(far, np.linalg.norm(t.coords[:, None] - t.coords[near], axis=-1), rtol=1e-12)
    assert (np.diff(far, axis=1) >= 0).all()


def test_only_cells_that_may_be_neighbours_are(monkeypatch):
    monkeypatch.setattr(module, "BLOCK", 11)
    t, among = tissue(), np.random.default_rng(3).random(120) < 0.5
    np.testing.assert_array_equal(nearest_others(t, 5, among=among)[0], brute(t, 5, among))


def test_ties_on_a_grid_are_broken_by_position():
    side = np.arange(9.0)
    coords = np.stack(np.meshgrid(side, side), -1).reshape(-1, 2)
    labels = TYPES[(np.arange(81) * 7 // 3) % 3]
    t = Tissue(coords, labels, np.zeros(81, dtype=int), [""], None)
    for k in (1, 3, 6, 30):
        np.testing.assert_array_equal(nearest_others(t, k)[0], brute(t, k))


def test_places_without_a_cell_are_empty():
    t = tissue(8)
    near, far = nearest_others(t, 8)
    np.testing.assert_array_equal(near, brute(t, 8))
    assert np.isnan(far[near < 0]).all()
    assert np.isfinite(far[near >= 0]).all()
    assert (near < 0).any()


def test_radii_are_taken_off_down_to_zero():
    t = tissue()
    radius = np.random.default_rng(2).uniform(0, 20, 120)
    near, far = nearest_others(t, 4)
    same, shorter = nearest_others(Tissue(t.coords, t.labels, t.sections, [""], radius), 4)
    np.testing.assert_array_equal(near, same)
    np.testing.assert_allclose(shorter, np.maximum(far - radius[:, None] - radius[near], 0))
    assert (shorter == 0).any()


def test_what_is_written_survives_a_file(tmp_path):
    import anndata

    adata, keys = tissue_adata(), Keys("near")
    adata.obs["r"] = 0.5
    assert spatial_neighbors(adata, n_neighbors=6, radius_key="r", key_added="near") is None
    adata.write_h5ad(tmp_path / "a.h5ad")
    again = anndata.read_h5ad(tmp_path / "a.h5ad")
    np.testing.assert_array_equal(again.obsm[keys.neighbors], adata.obsm[keys.neighbors])
    np.testing.assert_array_equal(again.obsm[keys.distances], adata.obsm[keys.distances])
    assert adata.obsm[keys.neighbors].dtype == np.int64
    assert again.uns[keys.settings]["n_neighbors"] == 6
    assert again.uns[keys.settings]["median_distance"] == np.median(adata.obsm[keys.distances][:, 0])


def test_a_copy_leaves_the_input_alone():
    adata = tissue_adata()
    out = spatial_neighbors(adata, copy=True)
    assert "amici_neighbors" in out.obsm
    assert "amici_neighbors" not in adata.obsm


def test_a_table_of_positions_and_integer_labels_are_read():
    adata = tissue_adata()
    plain = spatial_neighbors(adata, n_neighbors=4, copy=True)
    adata.obsm["spatial"] = pd.DataFrame(adata.obsm["spatial"], index=adata.obs_names, columns=["x", "y"])
    adata.obs["cell_type"] = adata.obs["cell_type"].cat.codes.to_numpy()
    coded = spatial_neighbors(adata, n_neighbors=4, copy=True)
    np.testing.assert_array_equal(plain.obsm["amici_neighbors"], coded.obsm["amici_neighbors"])


# --- bad input


def test_too_many_neighbours_say_how_many_there_are():
    adata = tissue_adata(30)
    most = 30 - adata.obs["cell_type"].value_counts().iloc[0]
    with pytest.raises(
        ValueError, match=rf"type .* have {most} cells of other types.* valid .*n_neighbors={most}"
    ):
        spatial_neighbors(adata, n_neighbors=25)
    spatial_neighbors(adata, n_neighbors=int(most))


def test_a_small_section_is_warned_of_and_padded():
    adata = tissue_adata()
    adata.obs["slice"] = ["small"] * 12 + ["large"] * 78
    with pytest.warns(NumericalWarning, match="12 cells have fewer than 15 .*section 'small'"):
        spatial_neighbors(adata, library_key="slice", n_neighbors=15)
    near = adata.obsm["amici_neighbors"]
    assert (near[:12] < 12).all()
    assert (near[12:] >= 12).all()


def test_a_section_of_one_type_everywhere_is_refused():
    adata = tissue_adata()
    with pytest.raises(ValueError, match=r"have 0 cells of other types in any section.*library_key"):
        spatial_neighbors(adata, library_key="cell_type")


@pytest.mark.parametrize("slot", ["cell_type", "spatial", "library", "radius"])
def test_a_missing_key_lists_those_present(slot):
    adata = tissue_adata()
    adata.obs["radius_um"] = 1.0
    name = {"cell_type": "cluster_key", "radius": "radius_key"}.get(slot, f"{slot}_key")
    what = "cell_type" if slot != "spatial" else "spatial"
    with pytest.raises(MissingKeyError, match=f"'no such'.*Available.*{what}"):
        spatial_neighbors(adata, **{name: "no such"})


def test_one_type_and_missing_labels_are_refused():
    adata = tissue_adata()
    adata.obs["one"] = "T"
    with pytest.raises(
        ValueError, match=r"one type, 'T'.*at least two types: neighbours are cells of another type"
    ):
        spatial_neighbors(adata, cluster_key="one")
    adata.obs["some"] = adata.obs["cell_type"].astype(object).where(np.arange(90) > 2)
    with pytest.raises(ValueError, match=r"3 missing labels of 90.*notna"):
        spatial_neighbors(adata, cluster_key="some")


def test_bad_positions_and_radii_are_refused():
    adata = tissue_adata()
    adata.obsm["flat"] = adata.obsm["spatial"][:, :1]
    with pytest.raises(ValueError, match=r"'flat'.*shape \(90, 1\).*cells x 2"):
        spatial_neighbors(adata, spatial_key="flat")
    adata.obsm["spatial"][[4, 7], 0] = np.nan
    with pytest.raises(ValueError, match=r"positions for 2 cells; first: \['4', '7'\]"):
        spatial_neighbors(adata)
    adata = tissue_adata()
    adata.obs["r"] = np.where(np.arange(90) == 5, -1.0, 1.0)
    with pytest.raises(ValueError, match=r"obs\['r'\].*1 radii.*-1 in cell '5'"):
        spatial_neighbors(adata, radius_key="r")
    adata.obs["s"] = pd.Series(["a"] * 89 + [None], index=adata.obs_names)
    with pytest.raises(ValueError, match=r"obs\['s'\].*1 missing sections of 90"):
        spatial_neighbors(adata, library_key="s")


def test_stacked_sections_are_warned_of():
    adata = tissue_adata()
    adata.obs["sample"] = np.where(np.arange(90) % 2, "a", "b")
    with pytest.warns(
        NumericalWarning, match="2 classes of .*'sample'.* lie on each other.*library_key='sample'"
    ):
        spatial_neighbors(adata)
    adata.obsm["spatial"][adata.obs["sample"] == "a"] += 500
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        spatial_neighbors(adata)
    adata.obsm["spatial"][2] = adata.obsm["spatial"][0]
    with pytest.warns(NumericalWarning, match=r"2 cells share their position.*\['0', '2'\].*library_key"):
        spatial_neighbors(adata)


# --- the unit of length


def test_a_unit_in_range_is_left_alone():
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert check_unit(np.array([[7.0], [30.0], [np.nan]])) == 1.0
        assert check_unit(np.array([[160.0]]), 16) == 16.0


@pytest.mark.parametrize("median", [0.02, 277.0, 4e5])
def test_pixels_get_a_unit_and_a_warning(median):
    with pytest.warns(NumericalWarning, match="expected 5 to 50: the positions may be pixels. Set unit="):
        unit = check_unit(np.full((3, 2), median))
    assert 5 <= median / unit <= 50


def test_a_given_unit_is_kept_with_a_warning():
    with pytest.warns(NumericalWarning, match=r"is 200 units.*Try unit=20"):
        assert check_unit(np.array([[200.0]]), 1.0) == 1.0
    with pytest.raises(ValueError, match="`unit` is 0"):
        check_unit(np.array([[20.0]]), 0.0)


def test_no_distance_gives_no_unit():
    with pytest.raises(ValueError, match="median distance .* is 0, so no unit"):
        check_unit(np.zeros((3, 1)))
