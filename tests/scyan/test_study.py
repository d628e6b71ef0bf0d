"""Studies of the chapter: every row is what its function computes alone, and the order of methods holds."""

from __future__ import annotations

import warnings

import numpy as np
import pytest

from scmods import scyan
from scmods.scyan import model as model_module
from scmods.scyan.study import batch_study, compare_methods, cytometry_study

SMALL = {"n_cells": 600, "n_pops": 5, "n_markers": 8, "separation": 1.8}


@pytest.fixture(autouse=True)
def _silent() -> object:
    """Weak spots of the small tables are told elsewhere; a study tells them to nobody."""
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        yield


def test_methods_are_compared_on_the_same_cells() -> None:
    adata = scyan.cytometry(**SMALL, rare=0.0, unlisted=0.02, seed=3)
    names, before = list(adata.uns["table"].index), list(adata.obs)
    found, model = compare_methods(adata, [0, 1], original=False, fit={"max_epochs": 3})
    assert list(adata.obs) == before
    assert found["method"].tolist() == [
        "thresholds", "nearest row", "marker mixture, split", "marker mixture", "scyan", "scyan",
    ]  # fmt: skip
    alone = scyan.annotation_scores(
        adata.obs["cell_type"], scyan.nearest_row(adata).labels, populations=names
    )
    row = found.set_index("method").loc["nearest row"]
    assert (
        row[["macro_f1", "kappa", "accuracy"]].tolist() == alone[["macro_f1", "kappa", "accuracy"]].tolist()
    )
    assert model.settings["seed"] == 0
    ours = scyan.annotation_scores(
        adata.obs["cell_type"], model.predict(key_added=None, threshold=1.0), populations=names
    )
    assert found["macro_f1"].iloc[4] == ours["macro_f1"]
    assert found["macro_f1"].iloc[4:].min() > row["macro_f1"]
    with pytest.raises(ValueError, match=r"`seeds` is empty. Write seeds=range\(5\)"):
        compare_methods(adata, [])


def test_samples_with_outsiders_and_a_rare_population(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(model_module.ORIGINAL_FIT, "min_delta", 1e3)  # its hundred epochs are not the subject
    found = cytometry_study([5], original=True, rare=0.02, unlisted=0.05, **SMALL)
    methods = found.set_index("method")
    ours, original, mixture = (methods.loc[m] for m in ("scyan", "original's recipe", "marker mixture"))
    assert ours["macro_f1"] > mixture["macro_f1"] - 0.05
    assert ours["found_at_half"] > 0.4
    assert ours["unlisted_found"] > 0.3
    assert ours["flagged_at_half"] < 0.15
    for row in (ours, original):
        assert 0 <= row["unlisted_found"] <= 1
    assert np.isnan(mixture["unlisted_found"]), "a mixture of two modes a marker has no outsiders"
    for _, row in found.iterrows():
        assert row["rare_low"] <= row["rare_recall"] <= row["rare_high"]
    assert (found["distance"] == found["distance"].iloc[0]).all()


def test_batches_come_together() -> None:
    found, shown = batch_study([3], **{**SMALL, "n_cells": 800, "rare": 0.0})
    (row,) = found.to_dict("records")
    assert row["shift_after"] < 0.7 * row["shift_before"]
    assert row["mixing_after"] > row["mixing_before"]
    assert shown["before"].shape == shown["after"].shape == (800, 8)
    assert row["shift_before"] == scyan.marker_shift(
        shown["before"],
        shown["batch"],
        scyan.cytometry(n_batches=2, seed=3, rare=0.0, **{**SMALL, "n_cells": 800}).obs["cell_type"],
    )
