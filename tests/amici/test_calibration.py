"""The studies of calibration, small."""

from __future__ import annotations

import numpy as np
import pytest

from scmods.amici.calibration import (
    calibration_summary,
    family_calibration,
    field_calibration,
    null_calibration,
)


def test_null_calibration_tests_every_head_on_both_kinds_of_cells():
    table = null_calibration(
        2, n_cells=250, n_genes=30, n_permutations=99, width=0.4, fit={"max_epochs": 2, "patience": None},
        n_neighbors=4, n_heads=2, head_size=3, cell_width=16,
    )  # fmt: skip
    assert len(table) == 2 * 2 * 2 * 4
    assert table.groupby(["data", "cells"]).size().tolist() == [8] * 4
    p = table["p_value_head"].dropna()
    assert p.between(0.01, 1).all()
    summary = calibration_summary(table).set_index("cells")
    for which in ("held_out", "train"):
        rows = table[table["cells"] == which]
        assert summary.loc[which, "small"] == pytest.approx((rows["p_value_head"] <= 0.05).mean())
        assert summary.loc[which, "families"] == 2
        assert summary.loc[which, "called"] == (rows["p_value_adj_head"] <= 0.05).sum()


def test_family_calibration_is_seeded():
    one, two = (
        family_calibration(20, n_heads=2, n_types=2, n_cells=10, n_permutations=99, seed=3) for _ in "ab"
    )
    assert one.equals(two)
    assert one["families"].tolist() == [20, 20]
    assert (one["zero"] >= 0).all()


def test_field_calibration_has_a_column_per_null():
    table = field_calibration(30, wavelengths=(0.0, 60.0), n_cells=60, n_permutations=39)
    assert list(table.columns) == ["wavelength", "n_pairs", "free", "block", "toroidal", "mirror"]
    rates = table.drop(columns=["wavelength", "n_pairs"]).to_numpy()
    assert ((rates >= 0) & (rates <= 1)).all()
    assert table["free"][1] > table["free"][0]
    np.testing.assert_allclose(rates * 30, np.round(rates * 30))
