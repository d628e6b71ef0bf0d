"""Trajectories against closed forms, fixed points against algebra, phase portraits against the field."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from scmods import hopfield
from scmods._checks import MissingKeyError, NumericalWarning
from scmods.hopfield.dynamics import slice_field


def toggle(a: float = 5.0, b: float = 4.0, gamma: float = 3.0, bias: float = 4.0) -> hopfield.Field:
    rest = [[gamma] * 2], [[bias] * 2], [1.0, 1.0], [4.0, 4.0]
    return hopfield.Field(("A", "B"), ("toggle",), [0, 1], [[[a, -b], [-b, a]]], *rest)


def repressilator(alpha: float = 10.0) -> hopfield.Field:
    w = -alpha * torch.eye(3).roll(-1, 1)
    rest = [[1.0] * 3], [[alpha] * 3], [1.0] * 3, [4.0] * 3
    return hopfield.Field(("A", "B", "C"), ("r",), [0, 1, 2], w[None], *rest)


def random_field(seed: int, n: int = 6, n_regs: int = 3) -> hopfield.Field:
    g = torch.Generator().manual_seed(seed)
    w = torch.randn(2, n, n_regs, generator=g, dtype=torch.float64)
    return hopfield.Field(
        tuple(f"g{i}" for i in range(n)), ("one", "two"), torch.randperm(n, generator=g)[:n_regs], w,
        torch.rand(2, n, generator=g) + 0.5, 0.1 - w.clamp_max(0).sum(2), torch.rand(n, generator=g) + 0.5,
        1 + 3 * torch.rand(n, generator=g),
    )  # fmt: skip


def decay() -> hopfield.Field:
    """One gene that only decays towards 2, at rate 0.5."""
    return hopfield.Field(("g",), ("c",), [0], [[[0.0]]], [[0.5]], [[1.0]], [1.0], [2.0])


@pytest.mark.parametrize(("method", "order"), [("euler", 1), ("rk4", 4)])
def test_error_shrinks_with_the_order_of_the_method(method: str, order: int) -> None:
    errors = []
    for n_steps in (8, 16):
        times, path = hopfield.simulate(decay(), [[5.0], [0.0]], t_end=4.0, n_steps=n_steps, method=method)
        want = 2 + torch.tensor([3.0, -2.0]) * torch.exp(-0.5 * times)[:, None]
        errors.append(float((path[..., 0] - want).abs().max()))
    assert np.log2(errors[0] / errors[1]) == pytest.approx(order, abs=0.35)


def test_cells_do_not_see_each_other() -> None:
    x = torch.rand(4, 3, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    _, together = hopfield.simulate(repressilator(), x, t_end=1.0, n_steps=10)
    _, alone = hopfield.simulate(repressilator(), x[2], t_end=1.0, n_steps=10)
    torch.testing.assert_close(together[:, 2], alone[:, 0], rtol=1e-12, atol=0)


def test_fixed_genes_stay_and_expression_stays_in_bounds() -> None:
    x = [[1.0, 2.0], [2.5, 0.1]]
    _, path = hopfield.simulate(toggle(), x, t_end=5.0, n_steps=50, fixed={"B": 0.0})
    assert (path[..., 1] == 0).all()
    torch.testing.assert_close(path[-1, 0, 0], path[-1, 1, 0], rtol=1e-3, atol=0)  # without B, A always wins
    _, path = hopfield.simulate(toggle(), x, t_end=5.0, n_steps=50, upper=[1.5, 9.0])
    assert path[..., 0].max() == 1.5
    assert path[..., 1].max() > 1.5
    _, path = hopfield.simulate(toggle(bias=0.0), x, t_end=5.0, n_steps=50)
    assert path.min() == 0


def test_euler_is_one_step_of_the_field() -> None:
    field = random_field(0)
    x = torch.rand(3, 6, generator=torch.Generator().manual_seed(1), dtype=torch.float64) + 1
    _, path = hopfield.simulate(field, x, cluster="two", t_end=1e-3, n_steps=1, method="euler")
    torch.testing.assert_close(path[1], x + 1e-3 * field.cluster("two").velocity(x))


def test_toggle_has_three_stable_states_and_two_saddles() -> None:
    found = hopfield.fixed_points(toggle(), starts=60)
    assert list(found["kind"]) == ["stable", "saddle", "stable", "saddle", "stable"]
    assert list(found["n_unstable"]) == [0, 1, 0, 1, 0]
    np.testing.assert_allclose(found[["A", "B"]].to_numpy(), found[["B", "A"]].to_numpy()[::-1], atol=1e-8)
    # on the diagonal phi = 3 x - 4; one root of 1 / (1 + x^4) = 5 - 3 x
    roots = np.roots([-3, 5, 0, 0, -3, 4])
    middle = roots[(abs(roots.imag) < 1e-9) & (roots.real > 0)].real
    np.testing.assert_allclose(found["A"][2], middle)


def test_a_wider_switch_has_one_saddle_between_two_stable_states() -> None:
    found = hopfield.fixed_points(toggle(3.0, 2.4, 3.0, 2.7), starts=60)
    assert list(found["kind"]) == ["stable", "saddle", "stable"]
    # at (1, 1) phi = 1/2 and its slope is 1: the antisymmetric direction grows with a + b - gamma
    np.testing.assert_allclose(found.loc[1, ["A", "B"]].to_numpy(float), [1, 1])
    assert found["leading_real"][1] == pytest.approx(3 + 2.4 - 3)


def test_repressilator_has_one_unstable_spiral() -> None:
    found = hopfield.fixed_points(repressilator(), starts=40)
    assert list(found["kind"]) == ["unstable spiral"]
    x = found["A"][0]
    assert x == pytest.approx(10 / (1 + x**4))
    d = 10 * 4 * x**3 / (1 + x**4) ** 2  # circulant: -1 - d times the cube roots of unity
    assert found["leading_real"][0] == pytest.approx(-1 + d / 2)
    assert found["leading_imag"][0] == pytest.approx(d * np.sqrt(3) / 2)
    assert found["n_unstable"][0] == 2


def test_a_weak_repressilator_comes_to_rest_in_a_stable_spiral() -> None:
    found = hopfield.fixed_points(repressilator(1.5), starts=40)
    assert list(found["kind"]) == ["stable spiral"]


@settings(max_examples=8)
@given(seed=st.integers(0, 10**6))
def test_fixed_points_are_at_rest_and_are_reached(seed: int) -> None:
    field = random_field(seed)
    found = hopfield.fixed_points(field, "two", starts=30, seed=seed)
    x = torch.as_tensor(found[list(field.genes)].to_numpy())
    f = field.cluster("two")
    assert len(x) > 0  # production is positive and bounded, so there is at least one
    assert f.velocity(x).abs().max() < 1e-7
    lead = torch.linalg.eigvals(f.jacobian(x)).real.amax(1)
    np.testing.assert_allclose(found["leading_real"], lead.numpy(), atol=1e-6)
    stable = x[lead.numpy() < -0.05]
    _, path = hopfield.simulate(field, stable * 1.001, cluster="two", t_end=2.0, n_steps=20)
    assert (path[-1] - stable).abs().max() <= 2e-3 * x.abs().max()


def test_slice_agrees_with_the_whole_field_at_the_held_state() -> None:
    field = random_field(4)
    x = torch.rand(1, 6, generator=torch.Generator().manual_seed(2), dtype=torch.float64) + 0.2
    names = list(field.genes)
    pair = (field.regulator_names[1], next(n for n in names if n not in field.regulator_names))
    held = {n: float(x[0, i]) for i, n in enumerate(names) if n not in pair}
    part = slice_field(field, "one", pair, held)
    at = [field.gene(g) for g in pair]
    torch.testing.assert_close(
        part.cluster("one").velocity(x[:, at]), field.cluster("one").velocity(x)[:, at]
    )
    portrait = hopfield.phase_portrait(field, "one", pair, held=held, n_grid=4, n_trajectories=1, bounds=2.0)
    grid = x.repeat(16, 1)
    grid[:, at[0]] = torch.as_tensor(np.tile(portrait["x"], 4))  # columns of the grid are values of x
    grid[:, at[1]] = torch.as_tensor(np.repeat(portrait["y"], 4))
    v = field.cluster("one").velocity(grid)[:, at].reshape(4, 4, 2).numpy()
    np.testing.assert_allclose(portrait["dx"], v[..., 0])
    np.testing.assert_allclose(portrait["dy"], v[..., 1])


def test_portrait_of_the_toggle() -> None:
    portrait = hopfield.phase_portrait(toggle(), n_grid=9, n_trajectories=6)
    assert portrait["genes"] == ("A", "B")
    assert len(portrait["fixed_points"]) == 5
    np.testing.assert_allclose(portrait["dx"], portrait["dy"].T)  # the two genes are alike
    table = portrait["trajectories"]
    assert table.groupby("trajectory").size().tolist() == [201] * 6
    last = table.groupby("trajectory").last()[["x", "y"]].to_numpy()
    rest = portrait["fixed_points"].query("kind == 'stable'")[["A", "B"]].to_numpy()
    distance = np.linalg.norm(last[:, None] - rest[None], axis=2).min(axis=1)
    assert distance.max() < 0.05


def test_steps_longer_than_decay_are_told() -> None:
    with pytest.warns(NumericalWarning, match="'g' decays at rate 0.5. Take more: n_steps=100"):
        hopfield.simulate(decay(), [1.0], t_end=20.0, n_steps=5)


@pytest.mark.parametrize(
    ("call", "kind", "text"),
    [
        (lambda: hopfield.simulate(toggle(), [[1.0, 2.0, 3.0]]), ValueError, r"`x0` has shape \(1, 3\).*\(cells, 2\)"),
        (lambda: hopfield.simulate(toggle(), [[-1.0, 2.0]]), ValueError, "`x0` must be finite and not negative"),
        (lambda: hopfield.simulate(toggle(), [1.0, 2.0], method="rk5"), ValueError, "`method`.*Did you mean 'rk4'"),
        (lambda: hopfield.simulate(toggle(), [1.0, 2.0], fixed={"a": 0.0}), MissingKeyError, "Did you mean 'A'"),
        (lambda: hopfield.simulate(toggle(), [1.0, 2.0], upper=0.0), ValueError, "upper bound must be one positive"),
        (lambda: hopfield.simulate(random_field(0), torch.ones(6)), ValueError, "2 clusters.*cluster='one'"),
        (lambda: hopfield.fixed_points(toggle(gamma=0.0)), ValueError, "'A' does not decay.*bounds="),
        (lambda: hopfield.fixed_points(random_field(0), "three"), MissingKeyError, "no cluster 'three'"),
        (lambda: hopfield.phase_portrait(repressilator()), ValueError, "two genes, but 3.*genes=\\('A', 'C'\\)"),
        (lambda: hopfield.phase_portrait(repressilator(), genes=("A", "B")), ValueError, "\\['C'\\].*held={'C': 1.0"),
    ],
)  # fmt: skip
def test_bad_arguments(call, kind, text) -> None:
    with pytest.raises(kind, match=text):
        call()
