"""Persistence bars against gudhi and their definition; the topological loss against the number of hills and rings."""

import copy
from pathlib import Path

import gudhi
import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components

from scmods.smoother.top_loss import TopLoss
from scmods.smoother.topology import Complex, persistence, triangulate

REFERENCE = dict(np.load(Path(__file__).parents[1] / "data" / "smoother_losses.npz"))
seeds = st.integers(0, 10_000)


def grid(rows, columns):
    return np.stack(np.divmod(np.arange(rows * columns), columns), axis=1)


def staggered(rows, columns):
    """Array indices of a hexagonal slide: odd rows hold odd columns."""
    at = grid(rows, columns)
    return np.stack([at[:, 0], 2 * at[:, 1] + at[:, 0] % 2], axis=1)


def hexagons(rows, columns):
    return staggered(rows, columns) * [np.sqrt(3) / 2, 0.5]


def holey(seed):
    at = grid(7, 9)
    return at[np.random.default_rng(seed).random(len(at)) < 0.75]


def complexes(seed):
    rng = np.random.default_rng(seed)
    return {
        "square": triangulate(grid(6, 6)),
        "non-square": triangulate(grid(4, 9)),
        "hexagonal": triangulate(hexagons(6, 7)),
        "delaunay": triangulate(rng.random((40, 2)), max_edge=np.inf),
    }


def lengths(table, dimension):
    return table.length[table.dimension == dimension].to_numpy()


def by_gudhi(field, complex_):
    tree = gudhi.SimplexTree()
    for spot, value in enumerate(field):
        tree.insert([spot], -value)
    for simplex in (*complex_.edges, *complex_.triangles):
        tree.insert(list(simplex), max(-field[simplex]))
    tree.compute_persistence(homology_coeff_field=2, persistence_dim_max=True)
    out = []
    for dimension in (0, 1):
        bars = tree.persistence_intervals_in_dimension(dimension).reshape(-1, 2)
        bars = bars[np.isfinite(bars[:, 1])]
        out.append(np.sort(bars[:, 1] - bars[:, 0])[::-1])
    return out


def betti_integrals(field, complex_):
    """Integrals over thresholds of beta_0 - 1 and beta_1, by counting in every super-level set."""
    values = np.unique(field)[::-1]
    total = np.zeros(2)
    for above, below in zip(values[:-1], values[1:], strict=True):
        inside = field >= above
        edges = complex_.edges[inside[complex_.edges].all(axis=1)]
        faces = inside[complex_.triangles].all(axis=1).sum()
        graph = coo_array((np.ones(len(edges)), edges.T), shape=(complex_.n,) * 2)
        pieces = connected_components(graph, directed=False)[0] - (~inside).sum()
        euler = inside.sum() - len(edges) + faces
        total += (above - below) * np.array([pieces - 1, pieces - euler])
    return total


def bumps(coords, centres, heights):
    """A sum of hills; any two of these differ in every pair of spots used here."""
    d2 = ((coords[None] - np.asarray(centres, float)[:, None]) ** 2).sum(2)
    return (np.asarray(heights)[:, None] * np.exp(-d2 / 3)).sum(0)


def test_bars_match_reference():
    lattice = triangulate(grid(*REFERENCE["C_shape"]))
    assert sorted(map(sorted, lattice.triangles.tolist())) == sorted(
        map(sorted, REFERENCE["C_triangles"].tolist())
    )
    for name, complex_ in (
        ("C", lattice),
        ("C", None),
        ("B", None),
        ("B", triangulate(REFERENCE["B_coords"], max_edge=np.inf)),
    ):
        table = persistence(
            REFERENCE[f"{name}_f"], complex_ or REFERENCE[f"{name}_triangles"].astype(np.int64)
        )
        for dimension in (0, 1):
            expected = REFERENCE[f"{name}_bars_h{dimension}"]
            np.testing.assert_allclose(lengths(table, dimension), expected, rtol=0, atol=1e-9)


@settings(max_examples=8)
@given(seeds, st.booleans())
def test_bars_equal_gudhi_and_the_betti_integrals(seed, ties):
    rng = np.random.default_rng(seed)
    for name, complex_ in complexes(seed).items():
        field = rng.integers(0, 4, complex_.n) * 1.0 if ties else rng.normal(size=complex_.n)
        table = persistence(field, complex_)
        expected = by_gudhi(field, complex_)
        for dimension in (0, 1):
            found = lengths(table, dimension)
            np.testing.assert_allclose(found, expected[dimension][: len(found)], atol=1e-12, err_msg=name)
            assert not expected[dimension][len(found) :].any()
        sums = [lengths(table, d).sum() for d in (0, 1)]
        np.testing.assert_allclose(sums, betti_integrals(field, complex_), atol=1e-9, err_msg=name)


@settings(max_examples=8)
@given(seeds)
def test_bars_equal_gudhi_with_gaps_pieces_and_dangling_edges(seed):
    rng = np.random.default_rng(seed)
    for complex_ in (
        triangulate(holey(seed), triangulation="lattice"),
        triangulate(rng.random((40, 2)), max_edge=0.2),
    ):
        field = rng.normal(size=complex_.n)
        table = persistence(field, complex_)
        for dimension, expected in enumerate(by_gudhi(field, complex_)):
            np.testing.assert_allclose(lengths(table, dimension), expected, atol=1e-12)
        forever = persistence(field, complex_, essential=True)
        assert (forever.death_spot == -1).sum() == complex_.pieces
        assert field.max() in forever.birth[forever.death_spot == -1].to_numpy()


@given(seeds)
@settings(max_examples=5)
def test_bars_name_their_spots_and_ignore_rigid_motion(seed):
    rng = np.random.default_rng(seed)
    coords, field = rng.random((30, 2)), rng.normal(size=30)
    table = persistence(field, triangulate(coords))
    assert (field[table.birth_spot] - field[table.death_spot] == table.length).all()
    turn = np.array([[np.cos(seed), -np.sin(seed)], [np.sin(seed), np.cos(seed)]])
    for moved in (coords @ turn + 1e4, coords * [-1, 1], coords * 2500):
        np.testing.assert_array_equal(persistence(field, triangulate(moved)).birth_spot, table.birth_spot)
    # adding a constant moves both ends; a factor scales the length
    np.testing.assert_allclose(persistence(2 * field + 5, triangulate(coords)).length, 2 * table.length)


@pytest.mark.parametrize(("dimension", "skip"), [(d, s) for d in (0, 1) for s in (0, 1, 2)])
def test_loss_matches_reference(dimension, skip):
    loss = TopLoss({0: {dimension: skip}}, grid(*REFERENCE["C_shape"]))
    value = float(loss(torch.tensor(REFERENCE["C_f"])[None]))
    assert value == pytest.approx(float(REFERENCE[f"C_toploss_h{dimension}_skip{skip}"]), abs=1e-9)


def test_loss_and_gradient_of_both_dimensions_match_reference():
    field = torch.tensor(REFERENCE["C_f"])[None].requires_grad_()
    value = TopLoss({0: {0: 1, 1: 0}}, torch.tensor(grid(*REFERENCE["C_shape"])))(field)
    value.backward()
    assert value.item() == pytest.approx(float(REFERENCE["C_toploss_h0skip1_h1skip0"]), abs=1e-9)
    np.testing.assert_allclose(field.grad[0], REFERENCE["C_toploss_grad"], rtol=0, atol=1e-9)


def test_loss_derivatives():
    field = torch.tensor(np.random.default_rng(0).permutation(24) / 7.0).reshape(2, 12).requires_grad_()
    loss = TopLoss({0: {0: 1}, 1: {0: 0, 1: 0}}, grid(3, 4))
    assert loss(field) > 0
    assert torch.autograd.gradcheck(loss, field)
    assert torch.autograd.gradgradcheck(loss, field)  # piecewise linear: zero, not an error


@pytest.mark.parametrize("place", [grid(9, 14), hexagons(9, 14), staggered(9, 14)[:, ::-1]])
@pytest.mark.parametrize("hills", [1, 2, 3])
def test_loss_is_zero_if_and_only_if_the_hills_are_allowed(place, hills):
    scale = place.max(axis=0) / [1, 1]
    centres = scale * np.array([[0.15, 0.2], [0.85, 0.8], [0.15, 0.85]])[:hills]
    field = torch.tensor(bumps(place * 1.0, centres, [3.0, 2.0, 1.5][:hills]))[None]
    # far from the hills a sum of exponentials is flat to rounding: cut that off
    field = field.clamp(min=1e-3)
    for allowed in (1, 2, 3):
        value = float(TopLoss(coords_xy=place, components={0: allowed})(field))
        assert (value == 0) == (allowed >= hills)
        assert value == float(TopLoss({0: {0: allowed - 1}}, place)(field))


def test_ring_counts_as_one_hole():
    place = hexagons(15, 15)
    radius = np.linalg.norm(place - place.mean(axis=0), axis=1)
    field = torch.tensor(np.exp(-((radius - 4) ** 2)).clip(1e-3))[None]
    assert float(TopLoss(coords_xy=place, holes={0: 0})(field)) > 0
    assert float(TopLoss(coords_xy=place, holes={0: 1})(field)) == 0


def test_loss_adds_up_over_groups():
    field = torch.tensor(np.random.default_rng(1).normal(size=(3, 20)))
    alone = [TopLoss({0: {0: 0, 1: 1}}, grid(4, 5))(field[[g]]) for g in (0, 2)]
    both = TopLoss({0: {0: 0}, 2: {0: 0}}, grid(4, 5), holes={0: 1, 2: 1})(field)
    torch.testing.assert_close(both, sum(alone) / 2)


def test_descent_removes_the_surplus_hill_and_leaves_the_rest():
    place = grid(8, 8)
    field = torch.tensor(bumps(place * 1.0, [[1, 1], [6, 6]], [3.0, 1.0]))[None].requires_grad_()
    before = field.detach().clone()
    loss = TopLoss(coords_xy=place, components={0: 1})
    for _ in range(300):
        value = loss(field)
        if not value > 0:
            break
        (grad,) = torch.autograd.grad(value, field)
        field.data -= 0.05 * grad
    assert value < 0.01
    # the tall hill kept its top and its sides; only the low one and the pass between them moved
    near = np.linalg.norm(place - [1, 1], axis=1) < 2
    torch.testing.assert_close(field.detach()[0, near], before[0, near])
    assert (field.detach()[0] - before[0]).abs().max() > 0.3


def test_components_count_the_pieces_of_the_tissue():
    place = np.concatenate([grid(4, 4), grid(4, 4) + [0, 50]])
    field = torch.zeros(1, 32)
    field[0, [5, 21]] = 1.0
    loss = TopLoss(coords_xy=place, components={0: 2})
    assert loss.complex.pieces == 2
    assert loss.betti_priors == {0: {0: 0}}
    assert float(loss(field)) == 0
    with pytest.raises(
        ValueError, match=r"`components\[0\]` is 1, but the triangulation has 2 separate pieces"
    ):
        TopLoss(coords_xy=place, components={0: 1})
    assert TopLoss(coords_xy=place * 1.5, components={0: 1}, max_edge=np.inf).complex.pieces == 1


def test_loss_moves_copies_and_saves():
    field = torch.tensor(REFERENCE["C_f"])[None]
    loss = TopLoss({0: {0: 0}}, grid(4, 6))
    value = loss(field)
    twin = copy.deepcopy(loss).to(torch.float32)
    twin.load_state_dict(loss.state_dict())
    assert twin(field.float()).dtype == torch.float32
    torch.testing.assert_close(twin(field.float()).double(), value, rtol=1e-6, atol=0)
    torch.testing.assert_close(loss.topfn[0][0](loss.pdfn(field[0])[0]) / 24**0.5, value)
    assert "spots=24" in repr(loss)


def test_without_prior_the_loss_is_zero_and_can_be_differentiated():
    x = torch.ones(2, 3, requires_grad=True)
    value = TopLoss()(x)
    value.backward()
    assert value == 0
    assert not x.grad.any()


def test_reshape_makes_an_image_with_padding():
    place = grid(2, 3)[[0, 1, 2, 4]]
    loss = TopLoss(coords_xy=place)
    beta = torch.tensor([[1.0, 2.0, 3.0, 4.0], [9.0, 8.0, 7.0, 6.0]])
    image = loss.reshape_coefs(beta)
    assert image.shape == (2, 3, 2)
    assert image[1, 0].tolist() == [1.0, 1.0]
    assert image[1, 1].tolist() == [4.0, 6.0]
    assert loss.reshape_coefs(beta, pad_value=-5)[1, 2].tolist() == [-5.0, -5.0]
    with pytest.raises(ValueError, match="are no grid indices, so there is no image"):
        TopLoss(coords_xy=place * 0.5).reshape_coefs(beta)
    with pytest.raises(ValueError, match="There are no positions"):
        TopLoss().reshape_coefs(beta)


SQUARE = grid(4, 4)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"betti_priors": {0: {2: 1}}}, r"dimension 2, but a field in the plane has dimensions 0 .* and 1"),
        ({"betti_priors": {-1: {0: 1}}}, "`group index` is -1"),
        ({"betti_priors": {0: {0: -1}}}, r"`betti_priors\[0\]\[0\]` is -1, but must be at least 0"),
        ({"components": {0: 0}}, r"`components\[0\]` is 0, but must be at least 1"),
        ({"betti_priors": {0: {1: 0}}, "holes": {0: 1}}, "is given twice"),
        ({"betti_priors": {0: {0: 0}}, "components": {0: 1}}, "is given twice"),
        ({"holes": {0: 1}, "coords_xy": None}, "`coords_xy` is missing"),
        ({"coords_xy": SQUARE[:, :1]}, r"`coords` has shape \(16, 1\), but must be \(spots, 2\)"),
        ({"coords_xy": SQUARE[[0, 0, 1, 4, 5]]}, r"1 duplicated positions; 2 spots share \[0.0, 0.0\]"),
        ({"coords_xy": SQUARE[:4]}, "The 4 positions in `coords` lie on one line"),
        ({"coords_xy": np.where(SQUARE == 3, np.nan, SQUARE)}, "NaN or infinite, in 7 rows"),
        ({"coords_xy": SQUARE / 2, "triangulation": "lattice"}, "needs whole-number grid indices"),
        ({"coords_xy": 2 * SQUARE, "triangulation": "lattice"}, "The lattice has no triangle"),
        ({"triangulation": "gabriel"}, "`triangulation` is 'gabriel', but must be one of"),
        (
            {"triangulation": "delaunay", "max_edge": 0.5},
            r"max_edge=0.5 drops all edges: their lengths are 1 to",
        ),
    ],
)
def test_malformed_arguments(arguments, message):
    with pytest.raises(ValueError, match=message):
        TopLoss(**{"coords_xy": SQUARE, **arguments})


def test_malformed_types_and_fields():
    with pytest.raises(TypeError, match=r"`components` is a list, but must be a dictionary by group index"):
        TopLoss(coords_xy=SQUARE, components=[1])
    loss = TopLoss({2: {0: 0}}, SQUARE)
    with pytest.raises(ValueError, match="A prior names group 2, but `coefs` has 2 rows: 0 to 1"):
        loss(torch.zeros(2, 16))
    with pytest.raises(ValueError, match=r"`coefs` has shape \(16, 3\), .* It looks transposed"):
        loss(torch.zeros(16, 3))
    bad = torch.zeros(3, 16)
    bad[1, 4] = torch.nan
    with pytest.raises(ValueError, match="1 values that are NaN or infinite; first at group 1, spot 4"):
        loss(bad)


def test_auto_takes_the_lattice_only_where_spots_are_neighbours():
    lattice = triangulate(SQUARE, triangulation="lattice")
    np.testing.assert_array_equal(triangulate(SQUARE + [-50, 7]).edges, lattice.edges)
    for other in (staggered(4, 5), 10**10 * SQUARE, SQUARE * 0.3):
        by_delaunay = triangulate(other, triangulation="delaunay")
        np.testing.assert_array_equal(triangulate(other).triangles, by_delaunay.triangles)
        assert by_delaunay.pieces == 1


def test_malformed_complexes():
    flat = np.array([[0, 1, 2], [0, 1, 3], [0, 1, 4]])
    with pytest.raises(ValueError, match="The edge between spots 0 and 1 belongs to 3 triangles"):
        persistence(np.zeros(5), flat)
    with pytest.raises(ValueError, match="names spot 2, but the field has spots 0 to 1"):
        persistence(np.zeros(2), flat[:1])
    with pytest.raises(ValueError, match="Row 0 of `triangles` repeats a spot"):
        Complex.of(3, np.array([[0, 1, 1]]))
    with pytest.raises(ValueError, match=r"`triangles` has shape \(1, 2\)"):
        Complex.of(3, np.array([[0, 1]]))
    with pytest.raises(ValueError, match=r"`field` has shape \(2, 3\)"):
        persistence(np.zeros((2, 3)), flat[:1])
    with pytest.raises(ValueError, match="`field` holds 1 values that are NaN"):
        persistence(np.array([0, np.nan, 1]), flat[:1])
    with pytest.raises(ValueError, match="`field` has 3 values, but the complex has 16 spots"):
        persistence(np.zeros(3), triangulate(SQUARE))
