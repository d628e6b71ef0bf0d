"""Where training starts: negative cells on -1, positive ones on 1, batch by batch."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from scmods import _checks
from scmods.scyan.start import affine_start


def two_groups(n: int = 400, n_markers: int = 3, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """Cells, and the sign of each; every marker has its own modes."""
    rng = np.random.default_rng(seed)
    sign = np.where(rng.random((n, n_markers)) < 0.4, 1.0, -1.0)
    low, gap = rng.uniform(-1, 1, n_markers), rng.uniform(2, 4, n_markers)
    return low + gap * (sign > 0) + 0.1 * rng.normal(size=sign.shape), sign


def test_the_two_groups_land_on_the_table() -> None:
    x, sign = two_groups()
    a, d = affine_start(x, np.zeros(len(x), int))
    assert a.shape == d.shape == (1, 3)
    v = a * x + d
    for s in (-1, 1):
        np.testing.assert_allclose([v[sign[:, m] == s, m].mean() for m in range(3)], s, atol=1e-3)


def test_every_batch_has_its_own_map() -> None:
    x, sign = two_groups(800)
    batch = np.arange(len(x)) % 2
    x = np.where(batch[:, None] == 1, 1.7 * x + 0.8, x)
    a, d = affine_start(x, batch)
    v = a[batch] * x + d[batch]
    for b in (0, 1):
        for s in (-1, 1):
            here = [v[(sign[:, m] == s) & (batch == b), m].mean() for m in range(3)]
            np.testing.assert_allclose(here, s, atol=1e-2)
    pooled = affine_start(x, np.zeros(len(x), int))
    assert np.abs(a - pooled[0]).max() > 0.1, "one map for all cannot do that"


@given(scale=st.floats(0.1, 10.0), offset=st.floats(-20.0, 20.0))
def test_unit_and_offset_of_a_marker_do_not_matter(scale: float, offset: float) -> None:
    x, _ = two_groups(120)
    zero = np.zeros(len(x), int)
    a, d = affine_start(x, zero)
    b, e = affine_start(scale * x + offset, zero)
    np.testing.assert_allclose(b * (scale * x + offset) + e, a * x + d, atol=1e-6)


def test_continuum_markers_are_standardised() -> None:
    x, _ = two_groups()
    where = np.array([False, True, False])
    a, d = affine_start(x, np.zeros(len(x), int), continuum=where)
    plain, _ = affine_start(x, np.zeros(len(x), int))
    v = a[0] * x + d[0]
    assert v[:, 1].mean() == pytest.approx(0, abs=1e-12)
    assert v[:, 1].std() == pytest.approx(1, rel=1e-12)
    np.testing.assert_array_equal(a[0, ~where], plain[0, ~where])


def test_one_mode_does_not_blow_up() -> None:
    # a mixture may put both components into one place; the plain split then says where the sides are
    x = np.random.default_rng(1).normal(size=(2000, 5))
    a, d = affine_start(x, np.zeros(len(x), int))
    assert np.isfinite(d).all()
    assert (a > 0).all()
    assert (2 / a >= x.std(axis=0)).all(), "the two sides are a standard deviation apart at least"


@pytest.mark.parametrize("case", ["few", "constant"])
def test_batches_that_say_too_little_take_the_map_of_all_cells(case: str) -> None:
    x, _ = two_groups(600)
    batch = np.where(np.arange(600) < (20 if case == "few" else 100), 2, np.arange(600) % 2)
    if case == "constant":
        x[batch == 2, 1] = 0.0
    with pytest.warns(
        _checks.NumericalWarning, match="1 of 3 batches have fewer than 50 cells or a constant"
    ):
        a, d = affine_start(x, batch)
    pooled = affine_start(x, np.zeros(600, int))
    np.testing.assert_array_equal(a[2], pooled[0][0])
    np.testing.assert_array_equal(d[2], pooled[1][0])
    alone = affine_start(x[batch == 1], np.zeros(int((batch == 1).sum()), int))
    np.testing.assert_array_equal(a[1], alone[0][0])
