"""Derivatives against finite differences and automatic differentiation; responses against dense solves."""

from __future__ import annotations

from dataclasses import replace

import anndata
import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from scmods import hopfield
from scmods._checks import NumericalWarning
from scmods.hopfield.sensitivity import leading_vectors


def setup(seed: int = 0, n: int = 6, n_regs: int = 4, n_cells: int = 12, size: float = 2.0):
    g = torch.Generator().manual_seed(seed)
    w = size * torch.randn(2, n, n_regs, generator=g, dtype=torch.float64)
    w[0, 1, 0] = 0
    field = hopfield.Field(
        tuple(f"g{i}" for i in range(n)), ("CD4/CD8", "18"), torch.randperm(n, generator=g)[:n_regs], w,
        torch.rand(2, n, generator=g) + 3.0, 1 - w.clamp_max(0).sum(2), torch.rand(n, generator=g) + 0.5,
        1 + 2 * torch.rand(n, generator=g),
    )  # fmt: skip
    adata = anndata.AnnData(np.zeros((n_cells, n), dtype=np.float32))
    adata.var_names = list(field.genes)
    adata.layers["Ms"] = (2 * torch.rand(n_cells, n, generator=g, dtype=torch.float64) + 0.05).numpy()
    adata.obs["cell_type"] = np.array(field.clusters)[np.arange(n_cells) % 2]
    adata.uns["hopfield"] = field.to_uns()
    return adata, field


def expression(adata: anndata.AnnData, cluster: str) -> torch.Tensor:
    return torch.as_tensor(adata.layers["Ms"][(adata.obs["cell_type"] == cluster).to_numpy()])


def leading_mean(field: hopfield.Field, adata: anndata.AnnData, cluster: str) -> float:
    f = field.cluster(cluster)
    return float(torch.linalg.eigvals(f.jacobian(expression(adata, cluster))).real.amax(1).mean())


@settings(max_examples=8)
@given(seed=st.integers(0, 10**6))
def test_sensitivity_is_the_finite_difference_of_the_leading_eigenvalue(seed: int) -> None:
    adata, field = setup(seed)
    table = hopfield.edge_sensitivity(adata, absent=True)
    assert len(table) == 2 * 4 * 4
    h = 1e-6
    for row in table.sample(5, random_state=0).itertuples():
        c, i = field.clusters.index(row.cluster), field.gene(row.target)
        j = field.regulator_names.index(row.regulator)
        both = []
        for step in (h, -h):
            w = field.interactions.clone()
            w[c, i, j] += step
            both.append(leading_mean(replace(field, interactions=w), adata, row.cluster))
        assert row.sensitivity == pytest.approx((both[0] - both[1]) / (2 * h), rel=1e-4, abs=1e-6)
        assert row.weight == field.interactions[c, i, j]
        assert row.removal == pytest.approx(-row.weight * row.sensitivity)


def test_sensitivity_is_the_gradient_by_autograd() -> None:
    adata, field = setup(3)
    f, x = field.cluster("18"), expression(adata, "18")
    w = f.w.clone().requires_grad_()
    leading = torch.linalg.eigvals(f._replace(w=w).jacobian(x))
    leading.real.amax(1).mean().backward()
    table = hopfield.edge_sensitivity(adata, absent=True).query("cluster == '18'")
    for row in table.itertuples():
        want = w.grad[field.gene(row.target), field.regulator_names.index(row.regulator)]
        assert row.sensitivity == pytest.approx(float(want), rel=1e-8, abs=1e-10)
    outside = torch.ones(6, dtype=torch.bool)
    outside[field.regulators] = False
    assert w.grad[outside].abs().max() < 1e-12  # edges to genes that do not regulate are rightly not listed


def test_only_edges_that_exist_are_listed_strongest_first() -> None:
    adata, field = setup(0)
    table = hopfield.edge_sensitivity(adata)
    inner = field.interactions[:, field.regulators]
    assert len(table) == int((inner != 0).sum())
    for _, part in table.groupby("cluster"):
        assert (part["removal"].abs().diff().dropna() <= 0).all()


def test_where_slow_decay_leads_no_edge_matters() -> None:
    adata, field = setup(0, size=0.01)
    gamma = field.degradation.clone()
    outside = [i for i in range(6) if i not in field.regulators.tolist()]
    gamma[:, outside[0]] = 0.001
    adata.uns["hopfield"] = replace(field, degradation=gamma).to_uns()
    assert (hopfield.edge_sensitivity(adata)["sensitivity"] == 0).all()


def test_leading_vectors_are_left_and_right() -> None:
    g = torch.Generator().manual_seed(1)
    a = torch.randn(20, 5, 5, generator=g, dtype=torch.float64)
    value, u, v, condition = leading_vectors(a)
    z = a.to(torch.complex128)
    torch.testing.assert_close(torch.einsum("cij,cj->ci", z, v), value[:, None] * v)
    torch.testing.assert_close(torch.einsum("ci,cij->cj", u.conj(), z), value[:, None] * u.conj())
    torch.testing.assert_close((u.conj() * v).sum(1), torch.ones(20, dtype=torch.complex128))
    assert (condition >= 1 - 1e-12).all()
    torch.testing.assert_close(value.real, torch.linalg.eigvals(a).real.amax(1))


def test_an_eigenvalue_without_derivative_is_told() -> None:
    # a chain with equal decay: one eigenvalue, one eigenvector
    w = torch.zeros(1, 2, 2, dtype=torch.float64)
    w[0, 1, 0] = 1.0
    rest = [[1.0, 1.0]], [[1.0, 1.0]], [1.0, 1.0], [2.0, 2.0]
    field = hopfield.Field(("a", "b"), ("c",), [0, 1], w, *rest)
    adata = anndata.AnnData(np.ones((3, 2)))
    adata.var_names = ["a", "b"]
    with pytest.warns(NumericalWarning, match="3 of 3 cells has no reliable derivative"):
        table = hopfield.edge_sensitivity(adata, field=field, spliced_layer=None, cluster_key=None)
    assert table["sensitivity"].isna().all()


@settings(max_examples=8)
@given(seed=st.integers(0, 10**6))
def test_elasticity_is_the_derivative_of_log_production_in_log_expression(seed: int) -> None:
    adata, field = setup(seed)
    table = hopfield.elasticities(adata)
    assert (table["share_of_cells"] == 1).all()
    for cluster in field.clusters:
        f, log_x = field.cluster(cluster), expression(adata, cluster).log()
        made = lambda at: (f.activation(at.exp()) @ f.w.T + f.bias).log().sum(0)  # noqa: B023, E731
        want = torch.autograd.functional.jacobian(made, log_x).mean(1)  # (targets, genes), mean over cells
        for row in table[table["cluster"] == cluster].itertuples():
            value = float(want[field.gene(row.target), field.gene(row.regulator)])
            assert row.elasticity == pytest.approx(value, rel=1e-9)


def test_elasticity_does_not_depend_on_the_unit_of_expression() -> None:
    adata, field = setup(1)
    one = hopfield.elasticities(adata)
    scaled = replace(
        field, interactions=7 * field.interactions, bias=7 * field.bias, threshold=7 * field.threshold
    )
    adata.layers["Ms"] = 7 * adata.layers["Ms"]
    other = hopfield.elasticities(adata, field=scaled)
    np.testing.assert_allclose(one["elasticity"], other["elasticity"])


def test_production_that_cancels_is_left_out_and_counted() -> None:
    adata, field = setup(2)
    adata.uns["hopfield"] = replace(field, bias=field.bias - 1e6).to_uns()
    table = hopfield.elasticities(adata)
    assert (table["share_of_cells"] == 0).all()
    assert table["elasticity"].isna().all()


@settings(max_examples=8)
@given(seed=st.integers(0, 10**6))
def test_response_is_the_dense_solve(seed: int) -> None:
    adata, field = setup(seed)
    table = hopfield.steady_state_response(adata, stable_only=False)
    for cluster in field.clusters:
        dense = -torch.linalg.inv(field.cluster(cluster).jacobian(expression(adata, cluster))).mean(0)
        want = dense[:, field.regulators].numpy()
        part = table.loc[cluster]
        np.testing.assert_allclose(part.to_numpy(), want, rtol=1e-7, atol=1e-9)
        assert list(part.columns) == field.regulator_names


def test_response_is_where_a_stimulated_cell_settles() -> None:
    field = hopfield.Field(
        ("A", "B"), ("toggle",), [0, 1], [[[3.0, -2.4], [-2.4, 3.0]]], [[3.0] * 2], [[2.7] * 2], [1.0] * 2, [4.0] * 2,
    )  # fmt: skip
    rest = hopfield.fixed_points(field, starts=40)[["A", "B"]].to_numpy()[-1:]
    adata = anndata.AnnData(rest)
    adata.var_names = ["A", "B"]
    table = hopfield.steady_state_response(adata, field=field, spliced_layer=None, cluster_key=None)
    more = replace(field, bias=field.bias + torch.tensor([[0.0, 1e-4]]))
    new = hopfield.fixed_points(more, starts=40)[["A", "B"]].to_numpy()[-1]
    np.testing.assert_allclose(table["B"].to_numpy(), (new - rest[0]) / 1e-4, rtol=1e-2)


def test_unstable_cells_are_left_out_and_told() -> None:
    adata, field = setup(0)
    adata.uns["hopfield"] = replace(field, degradation=0.01 * field.degradation).to_uns()
    f = hopfield.Field.of(adata).cluster("18")
    assert (torch.linalg.eigvals(f.jacobian(expression(adata, "18"))).real.amax(1) > 0).all()
    with pytest.warns(NumericalWarning, match="'18'.*is stable.*stable_only=False"):
        table = hopfield.steady_state_response(adata)
    assert table.loc["18"].isna().all(axis=None)


def test_singular_jacobians_are_left_out_and_told() -> None:
    adata, field = setup(0)
    adata.layers["Ms"][::2, field.regulators[0]] = 0.0
    gamma = field.degradation.clone()
    gamma[:, field.regulators[0]] = 0
    w = field.interactions.clone()
    w[:, field.regulators[0]] = 0  # its row of the Jacobian is zero
    adata.uns["hopfield"] = replace(field, degradation=gamma, interactions=w).to_uns()
    with pytest.warns(NumericalWarning) as found:
        table = hopfield.steady_state_response(adata)
    assert any("12 of 12 cells is nearly singular" in str(w.message) for w in found)
    assert table.isna().all(axis=None)


@pytest.mark.parametrize("name", ["edge_sensitivity", "elasticities", "steady_state_response"])
def test_missing_layer_is_named(name: str) -> None:
    adata, _ = setup(0)
    with pytest.raises(KeyError, match=r"layers\['Mss'\].*Did you mean 'Ms'"):
        getattr(hopfield, name)(adata, spliced_layer="Mss")
