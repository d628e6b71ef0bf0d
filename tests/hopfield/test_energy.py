"""Energies: closed forms against quadrature, laws of the rate, own cluster."""

from __future__ import annotations

from itertools import pairwise
from pathlib import Path

import anndata
import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import integrate

from scmods import hopfield
from scmods.hopfield import core
from scmods.hopfield.energy import degradation_integral, energy_parts, energy_rate


def tensor(*values: float) -> torch.Tensor:
    return torch.tensor(values, dtype=torch.float64)


def random_field(seed: int, n: int = 5, n_regs: int = 3, n_clusters: int = 1, *, symmetric: bool = False):
    g = torch.Generator().manual_seed(seed)
    w = torch.randn(n_clusters, n, n_regs, generator=g, dtype=torch.float64)
    if symmetric:
        w = w + w.transpose(1, 2)
    return hopfield.Field(
        tuple(f"g{i}" for i in range(n)), tuple("ABC"[:n_clusters]), torch.randperm(n, generator=g)[:n_regs].sort()[0],
        w, torch.rand(n_clusters, n, generator=g) + 0.2, torch.rand(n_clusters, n, generator=g),
        torch.rand(n, generator=g) + 0.5, 1 + 3 * torch.rand(n, generator=g),
    )  # fmt: skip


def toggle() -> hopfield.Field:
    pair = [[3.0, 3.0]], [[4.0, 4.0]], [1.0, 1.0], [4.0, 4.0]
    return hopfield.Field(("A", "B"), ("toggle",), [0, 1], [[[5.0, -4.0], [-4.0, 5.0]]], *pair)


def repressilator() -> hopfield.Field:
    w = -10 * torch.eye(3).roll(-1, 1)
    return hopfield.Field(
        ("A", "B", "C"), ("r",), [0, 1, 2], w[None], [[1.0] * 3], [[10.0] * 3], [1.0] * 3, [4.0] * 3
    )


def states(seed: int, cells: int, genes: int) -> torch.Tensor:
    g = torch.Generator().manual_seed(seed)
    return 3 * torch.rand(cells, genes, generator=g, dtype=torch.float64) + 0.01


@given(n=st.floats(0.3, 8.0), u=st.floats(1e-3, 1e3), k=st.floats(0.1, 10.0))
def test_integral_is_that_of_the_inverse_hill_function(n: float, u: float, k: float) -> None:
    got = degradation_integral(tensor(k * u)[None], tensor(k), tensor(n)).item()

    # the same area in the logarithm w of the odds of phi, where the integrand is smooth
    def density(w: float) -> float:
        e = np.exp(-abs(w))
        return k * np.exp(w / n) * e / (1 + e) ** 2

    top = n * np.log(u)
    ends = sorted({top, *(w for w in (-15.0, 0.0, 15.0, top - 8, top - 60) if w < top)})
    want = sum(integrate.quad(density, a, b, epsabs=0)[0] for a, b in pairwise(ends))
    assert got == pytest.approx(want, rel=1e-7)


def test_integral_at_exponent_one_is_elementary_from_both_sides() -> None:
    x, k = tensor(0.0, 1e-9, 0.3, 1.0, 40.0, 1e12)[None], torch.full((6,), 2.0, dtype=torch.float64)
    s = x / (x + k)
    want = k * (-s + torch.log1p(x / k))
    got = degradation_integral(x, k, torch.ones(6, dtype=torch.float64))
    torch.testing.assert_close(got[:, 2:], want[:, 2:], rtol=1e-13, atol=0)
    assert got[0, 0] == 0
    assert got[0, 1].item() == pytest.approx(0.5 * 2.0 * (1e-9 / 2) ** 2, rel=1e-8)
    for n in (1 - 1e-7, 1 + 1e-7):
        near = degradation_integral(x, k, torch.full((6,), n, dtype=torch.float64))
        torch.testing.assert_close(near, got, rtol=1e-4, atol=0)


@settings(max_examples=20)
@given(seed=st.integers(0, 10**6))
def test_slope_of_the_integral_is_expression_times_the_slope_of_the_activation(seed: int) -> None:
    field, x, h = random_field(seed).cluster("A"), states(seed, 4, 5), 1e-6
    integral = lambda at: degradation_integral(at, field.threshold, field.exponent)  # noqa: E731
    slope = (integral(x + h) - integral(x - h)) / (2 * h)
    want = x * core.activation_derivative(x, field.threshold, field.exponent)
    torch.testing.assert_close(slope, want, rtol=1e-6, atol=1e-8)


@settings(max_examples=20)
@given(seed=st.integers(0, 10**6))
def test_rate_of_the_energy_is_its_derivative_along_the_field(seed: int) -> None:
    field, x, h = random_field(seed).cluster("A"), states(seed, 6, 5), 1e-6
    v = field.velocity(x)
    energy = lambda at: sum(energy_parts(field, at))  # noqa: E731
    along = (energy(x + h * v) - energy((x - h * v).clamp_min(0))) / (2 * h)
    inside = (x - h * v > 0).all(1)
    torch.testing.assert_close(energy_rate(field, x)[inside], along[inside], rtol=1e-5, atol=1e-6)


@settings(max_examples=20)
@given(seed=st.integers(0, 10**6))
def test_a_symmetric_circuit_never_climbs(seed: int) -> None:
    field = random_field(seed, 4, 4, symmetric=True).cluster("A")
    assert (energy_rate(field, states(seed, 20, 4)) <= 1e-12).all()


def test_the_toggle_descends_and_the_repressilator_turns() -> None:
    falls = toggle()
    _, path = hopfield.simulate(falls, states(0, 8, 2), t_end=5.0, n_steps=80)
    energy = torch.stack([sum(energy_parts(falls.cluster("toggle"), x)) for x in path])
    assert (energy.diff(dim=0) < 1e-9).all()
    turns = repressilator().cluster("r")
    rate = energy_rate(turns, states(0, 200, 3))
    assert (rate > 0).any()
    assert (rate < 0).any()


def test_interaction_and_bias_by_hand() -> None:
    field = toggle().cluster("toggle")
    interaction, degradation, bias = energy_parts(field, tensor(1.0, 1.0)[None])  # phi is 1/2 for both
    assert interaction.item() == pytest.approx(-0.5 * (5 + 5 - 4 - 4) / 4)
    assert bias.item() == pytest.approx(-4.0)
    want = 3 * 2 * integrate.quad(lambda z: (z / (1 - z)) ** 0.25, 0, 0.5)[0]
    assert degradation.item() == pytest.approx(want)


def cells(n_clusters: int = 2) -> tuple[anndata.AnnData, hopfield.Field]:
    field = random_field(1, n_clusters=n_clusters)
    x = states(2, 30, 5).numpy()
    adata = anndata.AnnData(np.zeros((30, 6), dtype=np.float32))
    adata.var_names = ["extra", *field.genes]
    adata.layers["Ms"] = np.c_[np.ones(30), x]
    adata.obs["cell_type"] = np.array(list("AB"))[np.arange(30) % 2]
    adata.uns["hopfield"] = field.to_uns()
    return adata, field


def test_every_cell_has_the_energy_of_its_own_cluster(tmp_path: Path) -> None:
    adata, field = cells()
    assert hopfield.energies(adata) is None
    for name in "AB":
        at = (adata.obs["cell_type"] == name).to_numpy()
        parts = energy_parts(field.cluster(name), torch.as_tensor(adata.layers["Ms"][at, 1:]))
        for key, want in zip(("interaction", "degradation", "bias"), parts, strict=True):
            np.testing.assert_allclose(adata.obs[f"hopfield_energy_{key}"][at], want.numpy())
        np.testing.assert_allclose(adata.obs["hopfield_energy"][at], sum(parts).numpy())
    adata.write_h5ad(tmp_path / "cells.h5ad")
    back = anndata.read_h5ad(tmp_path / "cells.h5ad")
    np.testing.assert_array_equal(back.obs["hopfield_energy"], adata.obs["hopfield_energy"])


def test_a_copy_leaves_the_cells_alone_and_a_field_can_be_given() -> None:
    adata, field = cells()
    del adata.uns["hopfield"]
    other = hopfield.energies(adata, field=field, key_added="mine", copy=True)
    assert "mine_energy" in other.obs
    assert not [c for c in adata.obs if "energy" in c]


def test_missing_field_and_negative_expression() -> None:
    adata, _ = cells()
    with pytest.raises(KeyError, match=r"uns\['other'\].*hopfield.fit\(adata\)"):
        hopfield.energies(adata, key_added="other")
    adata.layers["Ms"][3, 2] = -1
    with pytest.raises(ValueError, match="negative.*'g1'"):
        hopfield.energies(adata)
