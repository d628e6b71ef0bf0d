"""Velocity, knock-outs and non-normality against dense Jacobians and circuits with a known answer."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import anndata
import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from scmods import hopfield
from scmods._checks import MissingKeyError
from scmods.hopfield.normality import reactivity
from scmods.hopfield.reading import leading_period

CLUSTERS = ("CD4/CD8", "18")


def setup(seed: int = 0, n: int = 7, n_regs: int = 3, n_cells: int = 16):
    """Cells with one gene more than the field has, first among the variables, and their dense Jacobians."""
    g = torch.Generator().manual_seed(seed)
    w = 2 * torch.randn(2, n, n_regs, generator=g, dtype=torch.float64)
    w[:, 2] = 0
    field = hopfield.Field(
        tuple(f"g{i}" for i in range(n)), CLUSTERS, torch.randperm(n, generator=g)[:n_regs], w,
        torch.rand(2, n, generator=g) + 0.2, torch.randn(2, n, generator=g), torch.rand(n, generator=g) + 0.5,
        1 + 3 * torch.rand(n, generator=g),
    )  # fmt: skip
    adata = anndata.AnnData(np.zeros((n_cells, n + 1), dtype=np.float32))
    adata.var_names = ["extra", *field.genes]
    x = 2 * torch.rand(n_cells, n, generator=g, dtype=torch.float64)
    label = np.arange(n_cells) % 2
    adata.layers["Ms"] = np.c_[np.full(n_cells, np.e), x.numpy()]
    adata.obs["cell_type"] = np.array(CLUSTERS)[label]
    adata.uns["hopfield"] = field.to_uns()
    fields = [field.cluster(c) for c in CLUSTERS]
    v = torch.stack([fields[c].velocity(x[i : i + 1])[0] for i, c in enumerate(label)])
    adata.layers["velocity"] = np.c_[np.full(n_cells, np.nan), v.numpy()]
    j = torch.stack([fields[c].jacobian(x[i : i + 1])[0] for i, c in enumerate(label)])
    return adata, field, x, j


def test_a_field_reproduces_its_own_velocity() -> None:
    adata, _, _, _ = setup()
    table = hopfield.reconstruct_velocity(adata)
    assert list(table.index) == ["all cells", *CLUSTERS]
    assert list(table["n_cells"]) == [16, 8, 8]
    np.testing.assert_allclose(table[["r2_pooled", "r2_median"]], 1)
    np.testing.assert_allclose(adata.obs["hopfield_r2"], 1)
    np.testing.assert_allclose(adata.layers["hopfield_velocity"], adata.layers["velocity"])


def test_r2_by_its_definition() -> None:
    adata, _, _, _ = setup()
    rng = np.random.default_rng(0)
    exact = adata.layers["velocity"][:, 1:].copy()
    noisy = exact + rng.normal(size=exact.shape)
    adata.layers["velocity"][:, 1:] = noisy
    table = hopfield.reconstruct_velocity(adata)
    sd = noisy.std(axis=0)
    for name, at in [("all cells", np.full(16, True))] + [
        (c, (adata.obs["cell_type"] == c).to_numpy()) for c in CLUSTERS
    ]:
        z, guess = noisy[at] / sd, exact[at] / sd
        error, spread = np.square(z - guess).sum(0), np.square(z - z.mean(0)).sum(0)
        assert table["r2_pooled"][name] == pytest.approx(1 - error.sum() / spread.sum())
        assert table["r2_median"][name] == pytest.approx(np.median(1 - error / spread))
    z, guess = noisy / sd, exact / sd
    np.testing.assert_allclose(
        adata.obs["hopfield_r2"], 1 - np.square(z - guess).sum(1) / np.square(z).sum(1)
    )


def test_r2_does_not_depend_on_the_unit_of_a_gene() -> None:
    adata, field, _, _ = setup()
    adata.layers["velocity"][:, 1:] += np.random.default_rng(0).normal(size=(16, 7))
    one = hopfield.reconstruct_velocity(adata)
    at = next(i for i in range(7) if i not in field.regulators.tolist())
    w, bias = field.interactions.clone(), field.bias.clone()
    w[:, at] *= 1000
    bias[:, at] *= 1000
    for layer in ("Ms", "velocity"):
        adata.layers[layer][:, 1 + at] *= 1000
    other = hopfield.reconstruct_velocity(adata, field=replace(field, interactions=w, bias=bias))
    np.testing.assert_allclose(one, other)


def test_velocity_that_cannot_be_compared_is_refused() -> None:
    adata, _, _, _ = setup()
    adata.layers["velocity"][3, 2] = np.inf
    with pytest.raises(
        ValueError, match=r"layers\['velocity'\].*1 values.*'g1', cell '3'.*hopfield.velocity"
    ):
        hopfield.reconstruct_velocity(adata)
    adata.layers["velocity"] = np.ones(adata.shape)
    with pytest.raises(ValueError, match="constant for all 7 modelled genes"):
        hopfield.reconstruct_velocity(adata)


@settings(max_examples=10)
@given(seed=st.integers(0, 10**6), include_self=st.booleans())
def test_knock_outs_are_columns_of_the_jacobian(seed: int, include_self: bool) -> None:
    adata, field, x, j = setup(seed)
    table = hopfield.knock_outs(adata, include_self=include_self)
    regs = field.regulators
    response = -j[:, :, regs] * x[:, None, regs]
    if not include_self:
        response[:, regs, range(3)] = 0
    np.testing.assert_allclose(adata.obsm["hopfield_knock_outs"], response.norm(dim=1).numpy(), rtol=1e-10)
    assert list(adata.uns["hopfield_knock_outs"]["regulators"]) == field.regulator_names
    for c, name in enumerate(CLUSTERS):
        np.testing.assert_allclose(table.loc[name], response[c::2].mean(0).numpy(), rtol=1e-9, atol=1e-12)
    assert table.index.names == ["cluster", "target"]


def test_knock_outs_of_chosen_regulators_and_their_file(tmp_path: Path) -> None:
    adata, field, _, _ = setup()
    whole = hopfield.knock_outs(adata)
    sizes = adata.obsm["hopfield_knock_outs"]
    names = field.regulator_names[::-1][:2]
    part = hopfield.knock_outs(adata, regulators=names, key_added="hopfield")
    np.testing.assert_allclose(part, whole[names])
    np.testing.assert_allclose(adata.obsm["hopfield_knock_outs"], sizes[:, [2, 1]])
    adata.write_h5ad(tmp_path / "cells.h5ad")
    back = anndata.read_h5ad(tmp_path / "cells.h5ad")
    assert list(back.uns["hopfield_knock_outs"]["regulators"]) == names


def test_a_response_is_the_first_order_change_of_velocity() -> None:
    adata, field, x, _ = setup()
    table, h = hopfield.knock_outs(adata, include_self=True), 1e-5
    f, at = field.cluster("18"), int(field.regulators[1])
    less = x[1::2].clone()
    less[:, at] *= 1 - h
    change = (f.velocity(less) - f.velocity(x[1::2])).mean(0) / h
    np.testing.assert_allclose(table.loc["18"][field.genes[at]], change.numpy(), rtol=1e-3, atol=1e-4)


def test_unknown_and_idle_genes_are_named() -> None:
    adata, field, _, _ = setup()
    idle = next(g for g in field.genes if g not in field.regulator_names)
    with pytest.raises(ValueError, match=f"'{idle}' is modelled, but does not regulate.*Regulators"):
        hopfield.knock_outs(adata, regulators=[idle])
    with pytest.raises(MissingKeyError, match="'G1' is not among the 7 modelled genes.*Did you mean 'g1'"):
        hopfield.knock_outs(adata, regulators="G1")
    with pytest.raises(ValueError, match="`by` is 'regulators'.*Did you mean 'regulator'"):
        hopfield.knock_out_ranking(adata, "regulators")


def test_rankings_find_the_master_and_its_most_driven_target() -> None:
    w = torch.zeros(1, 5, 2, dtype=torch.float64)
    w[0, 2:, 0] = torch.tensor([1.0, 3.0, 2.0])  # gene 0 is the master of 2, 3, 4
    w[0, 3, 1] = 0.5  # gene 1 has one weak target
    w[0, 1, 1] = 100.0  # and a strong loop on itself, which moves no other gene
    rest = [[1.0] * 5], [[1.0] * 5], [1.0] * 5, [2.0] * 5
    field = hopfield.Field(("master", "weak", "a", "b", "c"), ("c",), [0, 1], w, *rest)
    adata = anndata.AnnData(np.ones((3, 5)))
    adata.var_names = list(field.genes)
    call = {"field": field, "spliced_layer": None, "cluster_key": None}
    senders = hopfield.knock_out_ranking(adata, **call)
    assert list(senders["regulator"]) == ["master", "weak"]
    # x = k: slope is n / 4 = 1 / 2
    np.testing.assert_allclose(senders["size"], [0.5 * np.sqrt(1 + 9 + 4), 0.5 * 0.5])
    receivers = hopfield.knock_out_ranking(adata, by="target", **call)
    assert list(receivers["target"][:3]) == ["b", "c", "a"]
    np.testing.assert_allclose(receivers["size"], [0.5 * np.sqrt(9 + 0.25), 1.0, 0.5, 0, 0])
    assert list(receivers["rank"]) == [1, 2, 3, 4, 5]


@settings(max_examples=8)
@given(seed=st.integers(0, 10**6), n_regs=st.sampled_from([1, 3, 7]))
def test_nonnormality_is_that_of_the_dense_jacobian(seed: int, n_regs: int) -> None:
    adata, _, _, j = setup(seed, n_regs=n_regs)
    hopfield.nonnormality(adata)
    norm = j.norm(dim=(1, 2))
    fraction = ((j - j.transpose(1, 2)) / 2).norm(dim=(1, 2)) / norm
    top = torch.linalg.eigvalsh((j + j.transpose(1, 2)) / 2)[:, -1]
    departure2 = norm.square() - torch.linalg.eigvals(j).abs().square().sum(1)
    np.testing.assert_allclose(adata.obs["hopfield_rotational_fraction"], fraction.numpy(), rtol=1e-10)
    np.testing.assert_allclose(adata.obs["hopfield_reactivity"], top.numpy(), rtol=1e-9, atol=1e-10)
    np.testing.assert_allclose(
        np.square(adata.obs["hopfield_departure"]), departure2.clamp_min(0).numpy(), rtol=1e-8, atol=1e-8
    )


@pytest.mark.parametrize("scale", [0.0, 1e-14, 1e-9, 1e-4, 0.1, 1.0, 1e5])
def test_reactivity_close_to_the_poles(scale: float) -> None:
    g = torch.Generator().manual_seed(0)
    w = torch.randn(9, 2, generator=g, dtype=torch.float64)
    w[2:] *= scale
    gamma = torch.rand(9, generator=g, dtype=torch.float64)
    gamma[:2] += 5  # the regulators decay fast, so that the slowest other gene leads
    regs, slope = torch.tensor([0, 1]), torch.rand(6, 2, generator=g, dtype=torch.float64)
    slope[0] = 0
    j = torch.zeros(6, 9, 9, dtype=torch.float64)
    j[:, :, :2] = w * slope[:, None]
    j -= torch.diag(gamma)
    want = torch.linalg.eigvalsh((j + j.transpose(1, 2)) / 2)[:, -1]
    torch.testing.assert_close(reactivity(slope, w, regs, gamma), want, rtol=1e-11, atol=1e-11 * (1 + scale))


def test_a_symmetric_circuit_is_normal_and_a_chain_hides_growth() -> None:
    one, four = [1.0, 1.0], [4.0, 4.0]
    x = anndata.AnnData(np.ones((2, 2)))
    x.var_names = ["a", "b"]
    call = {"spliced_layer": None, "cluster_key": None}
    symmetric = hopfield.Field(
        ("a", "b"), ("c",), [0, 1], [[[5.0, -4.0], [-4.0, 5.0]]], [one], [one], one, four
    )
    hopfield.nonnormality(x, field=symmetric, **call)
    assert x.obs["hopfield_rotational_fraction"].max() < 1e-12
    assert x.obs["hopfield_departure"].max() < 1e-6
    assert x.obs["hopfield_reactivity"].iloc[0] == pytest.approx(
        5 + 4 - 1
    )  # slope n / 4 = 1; equals the eigenvalue
    chain = hopfield.Field(("a", "b"), ("c",), [0, 1], [[[0.0, 0.0], [6.0, 0.0]]], [one], [one], one, four)
    hopfield.nonnormality(x, field=chain, **call)
    assert x.obs["hopfield_reactivity"].iloc[0] == pytest.approx(
        -1 + 3
    )  # both eigenvalues are -1, yet changes grow first
    assert x.obs["hopfield_departure"].iloc[0] == pytest.approx(6)


def test_the_copy_alone_is_changed_and_survives_a_file(tmp_path: Path) -> None:
    adata, _, _, _ = setup()
    other = hopfield.nonnormality(adata, copy=True, key_added="hopfield")
    assert not [c for c in adata.obs if "reactivity" in c]
    other.write_h5ad(tmp_path / "cells.h5ad")
    back = anndata.read_h5ad(tmp_path / "cells.h5ad")
    np.testing.assert_array_equal(back.obs["hopfield_reactivity"], other.obs["hopfield_reactivity"])


def test_period_of_the_leading_eigenvalue() -> None:
    adata, _, _, _ = setup()
    with pytest.raises(MissingKeyError, match="jacobian_eig1_imag.*compute_jacobian_stats"):
        leading_period(adata)
    adata.obs["jacobian_eig1_imag"] = np.r_[0.0, -np.pi, np.full(14, 2.0)]
    period = leading_period(adata)
    assert period.iloc[0] == np.inf
    assert period.iloc[1] == pytest.approx(2.0)
    assert period.iloc[2] == pytest.approx(np.pi)
