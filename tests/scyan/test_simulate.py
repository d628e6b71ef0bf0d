"""The simulator: what it says is true of what it draws."""

from __future__ import annotations

from pathlib import Path

import anndata
import numpy as np
import pandas as pd
import pytest

from scmods.scyan.simulate import _spilled, cytometry
from scmods.scyan.table import lint_table, population_distances
from scmods.scyan.transform import inverse_transform


@pytest.mark.parametrize("seed", [0, 1, 2])
def test_table_is_partial_truth(seed: int) -> None:
    adata = cytometry(1000, seed=seed)
    table, truth = adata.uns["table"], adata.uns["truth"]
    known = table.notna()
    assert known.shape == (16, 20)
    assert (~known).to_numpy().mean() == pytest.approx(0.4, abs=0.003)
    assert (table == truth["table"].iloc[:-1])[known].equals(known.where(known))
    distance = population_distances(truth["table"].iloc[:-1]).to_numpy()
    assert (np.diag(distance[::2, 1::2]) == 2).all()  # siblings
    found = lint_table(table, adata.var_names)
    assert not set(found["fault"]) & {
        "identical_rows",
        "overlapping_rows",
        "one_sided_marker",
        "empty_marker",
    }
    contradicted = [(table.loc[p] * truth["table"].loc["unlisted"] < 0).sum() for p in table.index]
    assert truth["unlisted_distance"] == min(contradicted)


def test_cells_follow_their_rows() -> None:
    adata = cytometry(20_000, seed=3)
    truth = adata.uns["truth"]
    on = pd.DataFrame(adata.layers["positive"], columns=adata.var_names).groupby(
        adata.obs["cell_type"].to_numpy()
    )
    rate, n = on.mean(), on.size()
    for name in rate.index:
        expected = truth["positive_rate"].loc[name]
        sd = np.sqrt(expected * (1 - expected) / n[name])
        assert (np.abs(rate.loc[name] - expected) <= 5 * sd + 1e-12).all(), name
    known = adata.uns["table"].notna()
    assert set(truth["positive_rate"].iloc[:-1].to_numpy()[known.to_numpy()]) == {0.02, 0.98}
    hidden = truth["positive_rate"].iloc[:-1].to_numpy()[~known.to_numpy()]
    assert ((hidden > 0) & (hidden < 1)).mean() == pytest.approx(0.6, abs=0.12)


def test_frequencies() -> None:
    adata = cytometry(20_000, seed=0)
    counts = adata.obs["cell_type"].value_counts()
    assert counts["P16"] == 20
    assert counts["unlisted"] == 400
    assert adata.uns["truth"]["rare"] == "P16"
    assert counts.drop("P16").min() >= 0.008 * 20_000
    np.testing.assert_allclose(
        counts.reindex([*adata.uns["table"].index, "unlisted"]) / 20_000,
        adata.uns["truth"]["frequency"],
        atol=1e-4,
    )
    none = cytometry(500, 5, 8, rare=0.0, unlisted=0.0)
    assert "unlisted" not in set(none.obs["cell_type"])
    assert none.uns["truth"]["rare"] == ""
    assert none.obs["cell_type"].nunique() == 5


def test_positive_cells_are_brighter() -> None:
    near, far = (cytometry(3000, seed=1, separation=s) for s in (0.0, 1.0))
    gap = {}
    for name, adata in (("near", near), ("far", far)):
        y, on = np.arcsinh(adata.layers["counts"] / 5), adata.layers["positive"] > 0
        gap[name] = np.array([y[on[:, j], j].mean() - y[~on[:, j], j].mean() for j in range(20)])
    assert np.abs(gap["near"]).max() < 0.6
    assert gap["far"].min() > 0.8


def test_scale_is_recorded_and_optional() -> None:
    adata, raw = cytometry(600, 6, 8, seed=2), cytometry(600, 6, 8, seed=2, raw=True)
    np.testing.assert_array_equal(raw.X, adata.layers["counts"])
    assert (raw.X == np.rint(raw.X)).all()
    assert "scyan_transform" not in raw.uns
    np.testing.assert_allclose(inverse_transform(adata), raw.X, rtol=1e-4, atol=1e-3)
    assert adata.X.min() == -1  # a count of zero


def test_spill_reaches_both_neighbours() -> None:
    signal = np.array([[100.0, 0, 0, 0], [0, 0, 200.0, 100.0]])
    np.testing.assert_allclose(_spilled(signal), [[100, 3, 0, 0], [0, 6, 203, 106]])


def test_batches_differ() -> None:
    adata = cytometry(6000, 8, 10, n_batches=2, seed=0, raw=True)
    assert adata.obs["batch"].value_counts().tolist() == [3000, 3000]
    first = (adata.obs["batch"] == "batch 1").to_numpy()
    gain = adata.uns["truth"]["gain"]
    measured = []
    for marker in range(10):
        on = adata.layers["positive"][:, marker] > 0
        per_pop = [
            np.log(adata.X[s & on & first, marker].mean() / adata.X[s & on & ~first, marker].mean())
            for p in adata.uns["table"].index
            if ((s := (adata.obs["cell_type"] == p).to_numpy()) & on & first).sum() > 40
            and (s & on & ~first).sum() > 40
        ]
        measured.append(np.mean(per_pop))
    np.testing.assert_allclose(measured, np.log(gain[0] / gain[1]), atol=0.15)
    share = pd.crosstab(adata.obs["cell_type"], adata.obs["batch"])
    assert (np.abs(np.log(share["batch 1"] / share["batch 2"])) > 0.3).sum() >= 2
    assert (cytometry(600, 6, 8).uns["truth"]["gain"] == 1).all()


def test_doublets() -> None:
    adata = cytometry(1000, 6, 8, doublets=0.1, seed=1, raw=True)
    two = (adata.obs["cell_type"] == "doublet").to_numpy()
    assert two.sum() == 100
    assert adata.n_obs == 1100
    assert np.median(adata.obs["dna"][two]) > 1.8 * np.median(adata.obs["dna"][~two])
    assert adata.X[two].sum(axis=1).mean() == pytest.approx(2 * adata.X[~two].sum(axis=1).mean(), rel=0.15)


def test_same_seed_same_cells_and_files(tmp_path: Path) -> None:
    state = np.random.get_state()[1].copy()
    a, b, c = (cytometry(400, 5, 8, n_batches=2, seed=s) for s in (4, 4, 5))
    np.testing.assert_array_equal(a.X, b.X)
    assert (a.X != c.X).any()
    assert (np.random.get_state()[1] == state).all()
    a.write_h5ad(tmp_path / "a.h5ad")
    read = anndata.read_h5ad(tmp_path / "a.h5ad")
    pd.testing.assert_frame_equal(read.uns["table"], a.uns["table"], check_index_type=False)
    pd.testing.assert_frame_equal(read.uns["truth"]["table"], a.uns["truth"]["table"], check_index_type=False)


def test_refusals() -> None:
    with pytest.raises(ValueError, match=r"too few for 16 populations in 3 batches. Write n_cells=1020"):
        cytometry(100, n_batches=3)
    with pytest.raises(ValueError, match="`rare` is 0.5"):
        cytometry(rare=0.5)
    with pytest.raises(TypeError, match="`n_cells` is 1000.0"):
        cytometry(1000.0)  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="No table of 3 populations x 40 markers"):
        cytometry(500, 3, 40, positive=0.05)
