"""Baselines against brute force, and on cells whose answer is known."""

from __future__ import annotations

import anndata
import numpy as np
import pandas as pd
import pytest
from scipy.stats import norm, rankdata

from scmods import datasets
from scmods._checks import MissingKeyError
from scmods.scyan.barcode_truth import labelled_barcodes
from scmods.scyan.baselines import (
    Assignment,
    barcode_signal,
    debarcode,
    marker_mixture,
    nearest_row,
    threshold_gating,
)
from scmods.scyan.mixture import two_components
from scmods.scyan.simulate import cytometry

NAN = np.nan


def macro_f1(truth: np.ndarray, found: Assignment) -> float:
    label = found.labels.astype(object).to_numpy()
    scores = []
    for name in found.scores.columns:
        hit = ((truth == name) & (label == name)).sum()
        scores.append(2 * hit / max(1, (truth == name).sum() + (label == name).sum()))
    return float(np.mean(scores))


def small() -> tuple[anndata.AnnData, pd.DataFrame]:
    rng = np.random.default_rng(0)
    table = pd.DataFrame(
        [[1, -1, NAN], [-1, 1, 0.5], [-1, NAN, -1], [1, 1, -1]],
        index=["CD4/CD8", "18", "T (naïve)", "B"],
        columns=["CD3", "CD19", "CD38"],
    )
    x = rng.choice([-1.0, 1.0], (80, 4)) + 0.3 * rng.normal(size=(80, 4))
    adata = anndata.AnnData(x.astype(np.float32), var=pd.DataFrame(index=["CD38", "other", "CD19", "CD3"]))
    adata.uns["table"] = table
    return adata, table


def test_nearest_row_by_hand() -> None:
    adata, table = small()
    found = nearest_row(adata)
    x = adata.X[:, [3, 2, 0]].astype(float)
    for p, row in enumerate(table.to_numpy()):
        np.testing.assert_allclose(found.scores.iloc[:, p], -np.nanmean((x - row) ** 2, axis=1), atol=1e-9)
    assert (found.labels == found.scores.idxmax(axis=1)).all()
    assert found.labels.index.equals(adata.obs_names)


def test_marker_mixture_by_hand() -> None:
    adata, table = small()
    found = marker_mixture(adata)
    x = adata.X[:, [3, 2, 0]].astype(float)
    q = np.clip(two_components(x).positive(x), 1e-3, 1 - 1e-3)
    for p, row in enumerate(table.to_numpy()):
        t = (1 + row) / 2
        each = np.where(np.isnan(row), np.log(0.5), np.log(t * q + (1 - t) * (1 - q)))
        np.testing.assert_allclose(found.scores.iloc[:, p], each.sum(axis=1), atol=1e-9)


def test_threshold_gating_by_hand() -> None:
    adata, _ = small()
    adata.X[:3] = np.array([[1, 0, -1, 1], [-1, 0, 1, 1], [-1, 0, 1, -1]])  # CD38, other, CD19, CD3
    found = threshold_gating(adata)
    assert found.labels.iloc[:3].tolist() == ["CD4/CD8", "B", "T (naïve)"]
    assert found.scores.iloc[2].tolist() == [-2, -1, 0, -1]
    # two rows that know equally much fit the same cell: no label
    table = pd.DataFrame(
        [[1, NAN], [NAN, 1], [-1, -1]], index=list("abc"), columns=["CD3", "CD19"], dtype=float
    )
    found = threshold_gating(adata, table)
    assert found.labels.isna().iloc[1]
    assert found.labels.iloc[0] == "a"


def test_best_split_is_the_best() -> None:
    rng = np.random.default_rng(1)
    x = np.concatenate([rng.normal(-1, 0.4, (15, 5)), rng.normal(1.5, 0.7, (9, 5))])
    fitted = two_components(x, refine=False)
    for j in range(5):
        ordered = np.sort(x[:, j])
        within = [ordered[:k].var() * k + ordered[k:].var() * (24 - k) for k in range(1, 24)]
        k = 1 + int(np.argmin(within))
        np.testing.assert_allclose(fitted.mean[:, j], [ordered[:k].mean(), ordered[k:].mean()])
        np.testing.assert_allclose(fitted.std[:, j], [ordered[:k].std(), ordered[k:].std()])
        np.testing.assert_allclose(fitted.weight[:, j], [k / 24, 1 - k / 24])


def test_mixture_finds_what_was_mixed() -> None:
    rng = np.random.default_rng(2)
    on = rng.random((4000, 2)) < [0.5, 0.15]
    x = np.where(on, rng.normal([3.0, 3.0], [0.8, 0.5], on.shape), rng.normal(0, 0.5, on.shape)) + 1e4
    fitted = two_components(x)
    np.testing.assert_allclose(fitted.mean - 1e4, [[0, 0], [3, 3]], atol=0.1)
    np.testing.assert_allclose(fitted.std, [[0.5, 0.5], [0.8, 0.5]], atol=0.1)
    np.testing.assert_allclose(fitted.weight[1], [0.5, 0.15], atol=0.04)
    # the density is the one of scipy, and refinement can only raise it
    density = np.exp(fitted.log_density(x)).sum(axis=0)
    by_hand = sum(fitted.weight[k] * norm.pdf(x, fitted.mean[k], fitted.std[k]) for k in (0, 1))
    np.testing.assert_allclose(density, by_hand, rtol=1e-9)
    start = np.exp(two_components(x, refine=False).log_density(x)).sum(axis=0)
    assert (np.log(density).mean(axis=0) >= np.log(start).mean(axis=0)).all()
    at = fitted.thresholds()
    np.testing.assert_allclose(fitted.positive(at[None]), 0.5, atol=1e-6)
    grid = np.linspace(x.min(), x.max(), 300)[:, None] * np.ones((1, 2))
    assert (np.diff(fitted.positive(grid), axis=0) >= -1e-12).all()  # brighter is never less positive


def test_subset_of_cells_is_reproducible() -> None:
    x = np.random.default_rng(3).normal(size=(300, 3))
    a, b, c = (two_components(x, max_cells=100, seed=s) for s in (0, 0, 1))
    np.testing.assert_array_equal(a.mean, b.mean)
    assert (a.mean != c.mean).any()
    with pytest.raises(ValueError, match="at least 4"):
        two_components(x[:3])


@pytest.mark.parametrize("seed", [0, 1])
def test_order_on_simulated_cells(seed: int) -> None:
    adata = cytometry(4000, seed=seed)
    truth = adata.obs["cell_type"].to_numpy().astype(object)
    near, mixture, gates = (
        macro_f1(truth, f(adata)) for f in (nearest_row, marker_mixture, threshold_gating)
    )
    assert mixture > 0.83
    assert mixture > near + 0.05
    assert near > gates
    labelled = threshold_gating(adata).labels.notna().to_numpy()
    right = threshold_gating(adata).labels.astype(object).to_numpy() == truth
    assert 0.2 < labelled.mean() < 0.9  # gating leaves cells aside, but those it takes are mostly right
    assert right[labelled].mean() > 0.75


def barcodes() -> anndata.AnnData:
    rng = np.random.default_rng(0)
    table = pd.DataFrame(
        [[1, 1, -1, -1], [1, -1, 1, -1], [-1, 1, -1, 1]],
        index=["A1", "A2", "B1"],
        columns=["a", "b", "c", "d"],
        dtype=float,
    )
    code = rng.integers(3, size=300)
    x = np.where(table.to_numpy()[code] > 0, rng.normal(200, 30, (300, 4)), rng.normal(2, 2, (300, 4)))
    adata = anndata.AnnData(x.astype(np.float32), var=pd.DataFrame(index=table.columns))
    adata.obs["code"] = table.index[code]
    adata.uns["table"] = table
    return adata


def test_debarcoding() -> None:
    adata = barcodes()
    found = debarcode(adata)
    assert (found.labels.astype(str).to_numpy() == adata.obs["code"]).all()
    # sums of two codes have no gap, and neither has an event without signal
    adata.X[:50] = adata.X[:50] + adata.X[np.arange(1, 51)]
    adata.X[50] = 1
    again = debarcode(adata)
    mixed = (adata.obs["code"].iloc[:50].to_numpy() != adata.obs["code"].iloc[1:51].to_numpy()).nonzero()[0]
    assert again.labels.iloc[mixed].isna().all()
    assert again.labels.isna().iloc[50]
    assert debarcode(adata, gap=0.0).labels.notna().sum() > again.labels.notna().sum()


def test_debarcoding_refusals() -> None:
    adata = barcodes()
    table = adata.uns["table"]
    with pytest.raises(ValueError, match=r"looks like 0/1 coding.*coding='binary'"):
        debarcode(adata, (table + 1) / 2)
    with pytest.raises(ValueError, match="-1 and 1 only, without gaps"):
        debarcode(adata, table.replace({"a": {1.0: NAN}}).assign(b=table["b"] * -1, c=table["c"] * 0.5))
    with pytest.raises(ValueError, match=r"\['1', '2'\] channels that are on"):
        debarcode(adata, table.assign(a=[1.0, -1.0, -1.0]))
    adata.X[:, 3] = np.where(np.arange(300) < 4, 5, 0)
    with pytest.raises(ValueError, match=r"95 % of the events: \['d'\]"):
        debarcode(adata)


def auc(inside: np.ndarray, outside: np.ndarray) -> float:
    """Probability that a singlet scores higher than an event of the other kind."""
    ranks = rankdata(np.concatenate([inside, outside]))[: len(inside)]
    return float((ranks.sum() - len(inside) * (len(inside) + 1) / 2) / (len(inside) * len(outside)))


def test_labelled_barcodes() -> None:
    adata = barcodes()
    adata.X[:20] = np.random.default_rng(1).normal(2, 1, (20, 4))  # debris
    made = labelled_barcodes(adata, n_singlets=150, n_doublets=60, seed=1)
    assert made.obs["kind"].value_counts().to_dict() == {
        "singlet": 112,
        "doublet": 60,
        "dimmed": 38,
        "debris": 20,
    }
    x, y, table = barcode_signal(adata)
    kind = made.obs["kind"].to_numpy().astype(object)
    for i in np.flatnonzero(kind == "singlet"):  # a measured event, with its own code
        source = np.flatnonzero((x.astype(np.float32) == made.X[i]).all(axis=1))
        assert (table.to_numpy()[table.index == made.obs["cell_type"].iloc[i]] > 0).tolist() == [
            (y[source[0]] > 0.5).tolist()
        ]
    twice = [(b[0] + b[1:]).astype(np.float32) for b in (x[k:] for k in range(len(x) - 1))]
    sums = {tuple(row) for part in twice for row in part}
    assert all(tuple(row) in sums for row in made.X[kind == "doublet"])
    bright = np.median(made.X[kind == "singlet"].max(axis=1))
    assert np.median(made.X[kind == "dimmed"].max(axis=1)) < 0.35 * bright
    again = labelled_barcodes(adata, n_singlets=150, n_doublets=60, seed=1)
    np.testing.assert_array_equal(made.X, again.X)


def test_labelled_barcodes_refusals() -> None:
    adata = barcodes()
    one = adata[adata.obs["code"] == "A1"].copy()
    one.X += np.random.default_rng(0).random(one.shape).astype(np.float32)
    with pytest.raises(ValueError, match="but at least two codes are"):
        labelled_barcodes(one)
    with pytest.raises(ValueError, match="`dimmed` is 2"):
        labelled_barcodes(adata, dimmed=2.0)


def test_inputs_are_refused() -> None:
    adata, table = small()
    del adata.uns["table"]
    with pytest.raises(MissingKeyError, match=r"adata.uns\['table'\].*read_table"):
        nearest_row(adata)
    with pytest.raises(ValueError, match="'CD3e' is not in the data. Did you mean 'CD3'"):
        marker_mixture(adata, table.rename(columns={"CD3": "CD3e"}))
    adata.X *= 500
    with pytest.raises(ValueError, match="look like raw intensities"):
        threshold_gating(adata, table)


@pytest.mark.data
def test_real_cells() -> None:
    adata = datasets.load("aml_short")
    truth = adata.obs["cell_type"].to_numpy().astype(object)
    assert macro_f1(truth, nearest_row(adata)) == pytest.approx(0.655, abs=0.005)
    assert macro_f1(truth, marker_mixture(adata)) > 0.8
    assert macro_f1(truth, marker_mixture(adata, refine=False)) > 0.92
    events = datasets.load("debarcoding")
    assert debarcode(events).labels.notna().mean() == pytest.approx(0.714, abs=0.003)
    made = labelled_barcodes(events)
    found = debarcode(made)
    kind, score = made.obs["kind"].to_numpy().astype(object), found.scores.max(axis=1).to_numpy()
    single = np.isin(kind, ["singlet", "dimmed"])
    right = found.scores.idxmax(axis=1).to_numpy() == made.obs["cell_type"].astype(str).to_numpy()
    assert right[single].mean() > 0.999
    assert auc(score[single], score[kind == "doublet"]) > 0.99
    assert auc(score[single], score[kind == "debris"]) > 0.98
