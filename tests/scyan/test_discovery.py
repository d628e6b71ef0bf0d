"""Means per marker by hand; groups within a population that are there."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from scipy.stats import norm

from scmods._checks import MissingKeyError
from scmods.scyan.discovery import _communities, pops_expressions, probs_per_marker, subcluster


def test_communities_are_the_groups_that_are_there_the_largest_first():
    rng = np.random.default_rng(1)
    label = np.repeat([0, 1, 2], [30, 60, 45])
    x = rng.normal(size=(135, 4)) + 8.0 * label[:, None]
    found = _communities(x, 10, 0.2, 0)
    assert np.bincount(found).tolist() == [60, 45, 30]
    assert len(set(zip(found, label, strict=True))) == 3
    order = rng.permutation(135)
    np.testing.assert_array_equal(_communities(x[order], 10, 0.2, 0), found[order])
    # many equal cells have no scale to weigh their edges by
    assert _communities(np.repeat([[0.0], [9.0]], [40, 20], axis=0), 5, 0.2, 0).max() >= 1


def test_mean_densities_of_entries_by_hand(plain):
    u, rho = plain.latent(), plain.table.to_numpy()
    cells = np.arange(30, 90)
    found = probs_per_marker(plain, cells=cells)
    for p in range(len(rho)):
        for m in range(rho.shape[1]):
            v = u[cells, m]
            unknown = np.log((norm.cdf((1 - np.abs(v)) / 0.3) - norm.cdf((-1 - np.abs(v)) / 0.3)) / 2)
            own = unknown if np.isnan(rho[p, m]) else norm.logpdf(v, rho[p, m], 0.3)
            if np.isfinite(own).all():
                assert found.iloc[p, m] == pytest.approx(own.mean(), abs=1e-6)
    assert list(found.columns) == plain.markers


def test_row_sums_of_entries_are_log_densities_of_rows(ready):
    joint = ready.joint_log_prob() - ready.module.log_pi.detach().numpy()
    np.testing.assert_allclose(probs_per_marker(ready).sum(axis=1), joint.mean(axis=0), rtol=1e-9)
    name = ready.adata.obs_names[3]
    np.testing.assert_allclose(probs_per_marker(ready, cells=name).sum(axis=1), joint[3], rtol=1e-9)


def test_the_entry_that_argues_against_a_population_the_table_lacks(plain):
    own = (plain.adata.obs["cell_type"] == "P02").to_numpy()
    other = plain.table.drop(index="P02")
    rows = probs_per_marker(plain, cells=own).loc[other.index]
    best = rows.sum(axis=1).idxmax()
    truth = plain.table.loc["P02"]
    against = rows.loc[best].idxmin()
    assert not other.loc[best, against] == truth[against]


def test_latent_means_by_hand(plain):
    proba, u = plain.predict_proba(), plain.latent()
    label = proba.columns.to_numpy()[proba.to_numpy().argmax(axis=1)]
    found = pops_expressions(plain)
    assert list(found.index) == plain.names
    for name in plain.names:
        np.testing.assert_allclose(found.loc[name], u[label == name].mean(axis=0))
    data = plain.adata.copy()
    data.obs["any"] = np.where(
        np.arange(data.n_obs) < 5, "x", np.where(np.arange(data.n_obs) < 25, "y", None)
    )
    found = pops_expressions(plain, data, groupby="any", min_cells=6)
    assert found.loc["x"].isna().all()
    np.testing.assert_allclose(found.loc["y"], u[5:25].mean(axis=0))
    with pytest.raises(MissingKeyError, match="obs\\['nothing'\\]"):
        pops_expressions(plain, data, groupby="nothing")


def divided(plain):
    """The cells, with a marker outside the table that divides P06 into parts of 60, 35 and 5 %."""
    data = plain.adata.copy()
    rng = np.random.default_rng(0)
    data.obs["label"] = data.obs["cell_type"].astype(str).replace("unlisted", "unclassified")
    part = rng.choice([0, 1, 2], data.n_obs, p=[0.6, 0.35, 0.05])
    extra = pd.DataFrame(np.eye(3)[part] * 6 + 0.3 * rng.normal(size=(data.n_obs, 3)), index=data.obs_names)
    import anndata

    more = anndata.AnnData(extra.to_numpy(), obs=data.obs, var=pd.DataFrame(index=["N1", "N2", "N3"]))
    return anndata.concat([data, more], axis=1, merge="first"), part


def test_groups_that_are_there_are_found_and_small_ones_dropped(plain):
    data, part = divided(plain)
    own = (data.obs["label"] == "P06").to_numpy()
    options = {"label_key": "label", "var_names": ["N1", "N2", "N3"], "min_cells": 40}
    found = subcluster(plain, "P06", data, **options)
    assert found[~own].isna().all()
    assert list(found.cat.categories) == ["P06 1", "P06 2"]
    np.testing.assert_array_equal(found[own & (part == 0)].astype(str), "P06 1")
    np.testing.assert_array_equal(found[own & (part == 1)].astype(str), "P06 2")
    assert found[own & (part == 2)].isna().all()
    assert data.obs["scyan_subcluster"].equals(found)
    again = subcluster(plain, "P06", data, **(options | {"min_cells": 10, "key_added": "again"}))
    assert list(again.cat.categories) == ["P06 1", "P06 2", "P06 3"]
    assert subcluster(plain, "P06", data, **(options | {"min_share": 0.5})).cat.categories.tolist() == [
        "P06 1"
    ]
    pd.testing.assert_series_equal(subcluster(plain, "P06", data, **options), found)
    means = pops_expressions(plain, data, groupby="scyan_subcluster")
    assert list(means.index) == ["P06 1", "P06 2"]


def test_groups_survive_a_file(plain, tmp_path):
    import anndata

    data, _ = divided(plain)
    data.obs.loc[data.obs["label"] == "P06", "label"] = "P06"
    found = subcluster(plain, "P06", data, label_key="label", min_cells=40)
    data.write_h5ad(tmp_path / "x.h5ad")
    back = anndata.read_h5ad(tmp_path / "x.h5ad").obs["scyan_subcluster"]
    assert back.astype(object).where(back.notna(), None).tolist() == (
        found.astype(object).where(found.notna(), None).tolist()
    )


def test_cells_that_all_lie_in_one_place_are_divided_too(plain):
    data, _ = divided(plain)
    data.X = np.round(data.X)  # many identical cells in one marker
    found = subcluster(plain, "P06", data, label_key="label", var_names=["N1"], n_neighbors=5, min_cells=30)
    assert found.notna().any()


@pytest.mark.parametrize(
    ("population", "options", "kind", "text"),
    [
        ("P6", {}, ValueError, "`population` is 'P6'.*Did you mean 'P06'"),
        (
            "P05",
            {"label_key": "label"},
            ValueError,
            "'P05' has 25 cells, fewer than the smallest group, min_cells=200",
        ),
        ("P06", {"label_key": "label", "n_neighbors": 458}, ValueError, "at most 457. 'P06' has 458 cells"),
        ("P06", {"label_key": "labels"}, MissingKeyError, "obs\\['labels'\\].*Did you mean 'label'"),
        ("P06", {"resolution": 0.0}, ValueError, "`resolution` is 0"),
        ("P06", {"min_share": 2.0}, ValueError, "`min_share` is 2"),
        ("P06", {"label_key": "label", "var_names": ["N9"]}, MissingKeyError, "N9"),
    ],
)
def test_refusals(plain, population, options, kind, text):
    data, _ = divided(plain)
    with pytest.raises(kind, match=text):
        subcluster(plain, population, data, **options)
