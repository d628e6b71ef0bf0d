"""Shifts and blocks: what they keep, and how often they call independent smooth fields."""

from __future__ import annotations

import numpy as np
import pytest

from scmods.amici.calibration import field_calibration
from scmods.amici.spatial_nulls import (
    inflation,
    nearest_cells,
    shift_maps,
    smooth_fields,
    square_blocks,
)


def grid(n: int = 8) -> np.ndarray:
    return np.stack(np.meshgrid(np.arange(n), np.arange(n), indexing="ij"), -1).reshape(-1, 2).astype(float)


class Fixed:
    """A generator that draws one number."""

    def __init__(self, share: float) -> None:
        self.share = share

    def uniform(self, size):
        return np.full(size, self.share)


@pytest.mark.parametrize("edges", ["toroidal", "mirror"])
def test_no_shift_is_the_identity(edges):
    coords = np.random.default_rng(0).uniform(size=(40, 2))
    maps = shift_maps(coords, 1, Fixed(0.0), edges=edges)
    np.testing.assert_array_equal(maps[0], np.arange(40))


def test_toroidal_shift_of_a_line_is_a_rotation():
    x = np.arange(10.0)[:, None] * [1.0, 0.0]
    maps = shift_maps(x, 1, Fixed(0.3), edges="toroidal")  # 0.3 of a frame of 9.9
    np.testing.assert_array_equal(maps[0][:7], np.arange(3, 10))
    assert maps[0][8:].tolist() == [1, 2]


def test_mirror_shift_of_a_line_turns_back_at_the_edge():
    x = np.arange(10.0)[:, None] * [1.0, 0.0]
    maps = shift_maps(x, 1, Fixed(0.15), edges="mirror")  # 0.15 of twice 9.9
    assert maps[0].tolist() == [3, 4, 5, 6, 7, 8, 9, 9, 9, 8]
    # no jump: neighbours come from neighbours, wherever the shift leads
    many = shift_maps(x, 50, np.random.default_rng(0), edges="mirror")
    assert np.abs(np.diff(many, axis=1)).max() <= 2
    torn = shift_maps(x, 50, np.random.default_rng(0), edges="toroidal")
    assert np.abs(np.diff(torn, axis=1)).max() > 5


def test_sections_are_shifted_in_themselves():
    rng = np.random.default_rng(1)
    coords, sections = rng.uniform(size=(30, 2)), np.arange(30) % 3
    maps = shift_maps(coords, 20, rng, sections=sections)
    np.testing.assert_array_equal(sections[maps], np.tile(sections, (20, 1)))


def test_shifts_work_in_three_dimensions_and_on_a_point():
    rng = np.random.default_rng(2)
    assert shift_maps(rng.uniform(size=(9, 3)), 4, rng).shape == (4, 9)
    for edges in ("mirror", "toroidal"):
        assert shift_maps(np.ones((3, 2)), 2, rng, edges=edges).max() < 3


def test_blocks_are_squares_of_the_side_asked_for():
    codes = square_blocks(grid(8), size=4.0)
    assert len(np.unique(codes)) == 4
    first = grid(8)[codes == codes[0]]
    assert np.ptp(first, axis=0).tolist() == [3.0, 3.0]
    assert np.bincount(codes).tolist() == [16] * 4


def test_blocks_hold_the_number_of_cells_asked_for():
    coords = np.random.default_rng(3).uniform(size=(2000, 2)) * [300, 50]
    sizes = np.bincount(square_blocks(coords, per_block=20))
    assert 12 < sizes.mean() < 28
    sections = (coords[:, 0] > 150).astype(int)
    codes = square_blocks(coords, sections=sections)
    assert all(len(np.unique(sections[codes == c])) == 1 for c in np.unique(codes))


def test_inflation_needs_both_fields_to_be_smooth():
    rng = np.random.default_rng(4)
    coords = rng.uniform(size=(400, 2)) * 173
    near = nearest_cells(coords)
    smooth, noise = smooth_fields(coords, 60.0, 2, rng), smooth_fields(coords, 0.0, 2, rng)
    assert inflation(smooth[:, :1], smooth[:, 1:], near) > 3
    assert inflation(smooth[:, :1], noise[:, 1:], near) == pytest.approx(1, abs=0.3)
    assert inflation(noise[:, :1], noise[:, 1:], near) == pytest.approx(1, abs=0.1)
    assert nearest_cells(coords[:7]) is None
    assert np.isnan(inflation(smooth[:7], smooth[:7], None))


def test_neighbours_of_the_inflation_do_not_cross_sections():
    coords = np.tile(np.random.default_rng(5).uniform(size=(20, 2)), (2, 1))
    sections = np.repeat([0, 1], 20)
    near = nearest_cells(coords, sections)
    assert (sections[near] == sections[:, None]).all()
    assert (sections[nearest_cells(coords)] != sections[:, None]).any()


def test_fields_have_the_length_asked_for():
    x = np.stack([np.arange(2000) / 4, np.zeros(2000)], 1)
    fields = smooth_fields(x, 50.0, 20, np.random.default_rng(6))
    assert fields.shape == (2000, 20)
    near = (fields[:-8] * fields[8:]).sum() / (fields**2).sum()  # 2 units apart
    assert near > 0.95
    white = smooth_fields(x, 0.0, 20, np.random.default_rng(6))
    assert abs((white[:-8] * white[8:]).sum() / (white**2).sum()) < 0.05


def test_shifts_hold_their_level_on_smooth_fields_where_free_orders_do_not():
    table = field_calibration(
        400, wavelengths=(40.0,), nulls=("free", "mirror", "toroidal"), n_permutations=59, per_tissue=40
    )
    rates = table.iloc[0]
    assert rates["free"] > 0.15
    assert 0.02 <= rates["mirror"] <= 0.1
    assert 0.02 <= rates["toroidal"] <= 0.1


def test_refusals():
    with pytest.raises(ValueError, match="`edges` is 'open', but must be one of"):
        shift_maps(grid(), 1, np.random.default_rng(0), edges="open")
    with pytest.raises(ValueError, match="`size` is 0, but the side of a block must be positive"):
        square_blocks(grid(), size=0.0)
    with pytest.raises(ValueError, match="`wavelength`"):
        smooth_fields(grid(), -1.0, 1, np.random.default_rng(0))
