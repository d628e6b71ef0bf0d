"""Simulated circuits: the cells obey the field that is told to be the truth."""

from __future__ import annotations

from pathlib import Path

import anndata
import numpy as np
import pytest
import torch

from scmods import hopfield
from scmods._checks import MissingKeyError
from scmods.hopfield.circuits import true_field


@pytest.mark.parametrize("make", [hopfield.toggle, hopfield.repressilator])
def test_velocity_is_the_time_derivative_of_expression(make) -> None:
    adata = make(4, 201, seed=3, t_end=0.4)
    x = adata.layers["Ms"].reshape(4, 201, -1)
    v = adata.layers["velocity"].reshape(4, 201, -1)
    time = adata.obs["time"].to_numpy().reshape(4, 201)
    slope = (x[:, 2:] - x[:, :-2]) / (time[:, 2:] - time[:, :-2])[..., None]
    np.testing.assert_allclose(v[:, 1:-1], slope, atol=2e-3 * np.abs(v).max())


def test_toggle_is_the_published_circuit() -> None:
    adata = hopfield.toggle(3, 4)
    x, phi = adata.layers["Ms"], adata.layers["Ms"] ** 4 / (1 + adata.layers["Ms"] ** 4)
    np.testing.assert_allclose(adata.layers["velocity"], 5 * phi - 4 * phi[:, ::-1] - 3 * x + 4, rtol=1e-12)
    assert adata.var["hopfield_used"].all()
    assert list(adata.obs["cell_type"].unique()) == ["toggle"]


def test_repressilator_is_the_published_circuit() -> None:
    adata = hopfield.repressilator(3, 4)
    x = adata.layers["Ms"]
    before = x[:, [2, 0, 1]] ** 4
    np.testing.assert_allclose(adata.layers["velocity"], 10 / (1 + before) - x, rtol=1e-9, atol=1e-12)


def test_noise_has_the_size_asked_for_and_leaves_expression_positive() -> None:
    clean, noisy = hopfield.toggle(seed=1), hopfield.toggle(seed=1, noise=0.25)
    difference = noisy.layers["velocity"] - clean.layers["velocity"]
    assert difference.std() == pytest.approx(0.25, rel=0.05)
    assert noisy.layers["Ms"].min() == 0
    inside = noisy.layers["Ms"] > 0
    assert np.median(np.abs((noisy.layers["Ms"] - clean.layers["Ms"])[inside])) == pytest.approx(
        0.25 * 0.6745, rel=0.1
    )


@pytest.mark.parametrize("counts", [True, False])
def test_random_circuit_obeys_its_truth(counts: bool) -> None:
    adata = hopfield.random_circuit(101, 20, n_regulators=5, n_clusters=3, counts=counts, seed=2)
    field = true_field(adata)
    x, v = adata.layers["true_spliced"], adata.layers["true_velocity"]
    gamma = adata.var["gamma"].to_numpy()
    production = v + gamma * x
    for name in field.clusters:
        at = (adata.obs["cell_type"] == name).to_numpy()
        np.testing.assert_allclose(field.cluster(name).velocity(torch.as_tensor(x[at])).numpy(), v[at])
    assert adata.shape == (101, 20)
    assert production.min() > 0
    if counts:
        assert np.array_equal(adata.layers["spliced"], np.round(adata.layers["spliced"]))
        for layer, mean in (("spliced", x), ("unspliced", production)):
            z = (adata.layers[layer] - mean) / np.sqrt(mean)
            assert abs(z.mean()) < 0.1
            assert z.std() == pytest.approx(1, abs=0.1)
    else:
        np.testing.assert_array_equal(adata.layers["spliced"], x)
        np.testing.assert_allclose(adata.layers["unspliced"], production)
    assert x.sum(axis=1).mean() == pytest.approx(3000)


def test_clusters_share_most_edges_and_the_switch() -> None:
    adata = hopfield.random_circuit(40, 60, seed=0)
    first, second = adata.uns["truth"]["interactions"] != 0
    both, either = (first & second).sum(), (first | second).sum()
    assert 0.5 < both / either < 0.9
    np.testing.assert_array_equal(*adata.uns["truth"]["interactions"][:, :2])
    np.testing.assert_allclose(
        adata.varp["true_interactions"], adata.uns["truth"]["interactions"].mean(axis=0)
    )
    assert not adata.varp["true_interactions"][:, ~adata.var["transcription_factor"]].any()


def test_random_circuit_goes_from_a_tipping_point_to_two_ends() -> None:
    adata = hopfield.random_circuit(400, 30, n_regulators=8, seed=0)
    field = true_field(adata)
    lead = np.empty(adata.n_obs)
    for name in field.clusters:
        at = (adata.obs["cell_type"] == name).to_numpy()
        x = torch.as_tensor(adata.layers["true_spliced"][at])
        lead[at] = torch.linalg.eigvals(field.cluster(name).jacobian(x)).real.amax(1).numpy()
        kinds = hopfield.fixed_points(field, name)["kind"]
        assert (kinds.str.startswith("stable")).sum() == 2
    early, late = adata.obs["time"] < 1, adata.obs["time"] > 4
    assert (lead[early] > 0).mean() > 0.8
    assert (lead[late] < 0).mean() > 0.8
    share = adata.obs["fate"].value_counts(normalize=True)
    assert share.min() > 0.2
    ahead = adata.layers["true_spliced"][late, 0] > adata.layers["true_spliced"][late, 1]
    assert (ahead == (adata.obs["fate"][late] == "tf_0 high").to_numpy()).mean() > 0.95


def test_the_seed_decides_everything() -> None:
    one, same, other = (hopfield.random_circuit(60, 15, n_regulators=4, seed=s) for s in (5, 5, 6))
    np.testing.assert_array_equal(one.layers["unspliced"], same.layers["unspliced"])
    assert not np.array_equal(one.layers["unspliced"], other.layers["unspliced"])


@pytest.mark.parametrize("n_clusters", [1, 2])
def test_truth_survives_a_file(tmp_path: Path, n_clusters: int) -> None:
    adata = hopfield.random_circuit(60, 15, n_regulators=4, n_clusters=n_clusters)
    adata.write_h5ad(tmp_path / "cells.h5ad")
    back = anndata.read_h5ad(tmp_path / "cells.h5ad")
    assert true_field(back).fingerprint == true_field(adata).fingerprint


def test_embedding_is_the_projection_with_most_variance() -> None:
    adata = hopfield.random_circuit(80, 15, n_regulators=4)
    x = adata.layers["true_spliced"] - adata.layers["true_spliced"].mean(axis=0)
    top = np.linalg.eigvalsh(x.T @ x)[::-1][:2]
    np.testing.assert_allclose(np.square(adata.obsm["X_pca"]).sum(axis=0), top)


@pytest.mark.parametrize(
    ("call", "kind", "text"),
    [
        (lambda: hopfield.random_circuit(15), ValueError, "`n_obs` is 15.*at least ten cells"),
        (lambda: hopfield.random_circuit(n_vars=5), ValueError, "`n_vars` is 5.*12 genes regulate"),
        (lambda: hopfield.random_circuit(n_regulators=1), ValueError, "form the switch"),
        (lambda: hopfield.random_circuit(density=2.0), ValueError, "`density` is 2"),
        (lambda: hopfield.toggle(0), ValueError, "`n_trajectories` is 0"),
        (lambda: hopfield.toggle(noise=-1.0), ValueError, "`noise` is -1"),
        (lambda: hopfield.repressilator(n_points=2.5), TypeError, "`n_points` is 2.5"),
        (lambda: true_field(anndata.AnnData(np.ones((2, 2)))), MissingKeyError, "uns\\['truth'\\].*random_circuit"),
    ],
)  # fmt: skip
def test_bad_arguments(call, kind, text) -> None:
    with pytest.raises(kind, match=text):
        call()
