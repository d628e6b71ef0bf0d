r"""Persistent homology of a field on a triangulation of the spots.

The super-level set at threshold t is the part of the complex whose spots have a value of at least t. Lowering t,
components and holes appear (birth, at a higher value) and merge or fill (death, at a lower value); the length of a
bar is birth minus death. Both ends are values of spots, so a bar is a pair of spots and its length has an exact
gradient. Dimension 0 is union-find over edges; dimension 1 of a planar complex is union-find over its dual graph.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

import numpy as np

from scmods import _checks
from scmods.smoother._triangulation import Complex, triangulate

if TYPE_CHECKING:
    import pandas as pd

__all__ = ["Complex", "bar_spots", "persistence", "surplus", "triangulate"]


def bar_spots(
    field: np.ndarray, complex_: Complex, dimensions: tuple[int, ...] = (0, 1)
) -> dict[int, np.ndarray]:
    """Finite super-level bars as pairs of spots.

    Parameters
    ----------
    field
        One finite value per spot.
    complex_
        The triangulation.
    dimensions
        Which of 0 (components) and 1 (holes) to compute.

    Returns
    -------
    For every dimension integers (bars, 2): the spot whose value is the birth, and the one whose value is the death.
    Ties are broken by the index of the spot, so equal values can give a bar of length 0.

    Notes
    -----
    O(spots log spots). Bars that never end (one component per piece, holes of the complex itself) are not listed.
    """
    return {d: spots for d, (spots, _) in _bars(field, complex_, dimensions).items()}


def _bars(
    field: np.ndarray, complex_: Complex, dimensions: tuple[int, ...]
) -> dict[int, tuple[np.ndarray, np.ndarray]]:
    """As `bar_spots`, with the spots of birth of the bars that never end (dimension 0 only)."""
    from scmods.smoother import _kernels_topology as kernels

    order = np.argsort(-np.asarray(field, np.float64), kind="stable")
    rank = np.empty(complex_.n, np.int64)
    rank[order] = np.arange(complex_.n)
    u, v, entry, by_entry = kernels.enter(rank, complex_.edges)
    out = {}
    for dimension in dimensions:
        if dimension == 0:
            birth, death, roots = kernels.primal_bars(u, v, by_entry, complex_.n)
        else:
            birth, death = kernels.dual_bars(rank, entry, by_entry, complex_.sides, complex_.triangles)
            roots = np.empty(0, np.int64)
        out[dimension] = np.stack([order[birth], order[death]], axis=1), order[roots]
    return out


def surplus(field: np.ndarray, complex_: Complex, skip: Mapping[int, int]) -> np.ndarray:
    """The weights whose scalar product with the field is the length of its surplus bars: 1 at births, -1 at deaths.

    Parameters
    ----------
    field
        One finite value per spot.
    complex_
        The triangulation.
    skip
        For every dimension to count, how many of its longest finite bars are free.

    Returns
    -------
    Float64, (spots,): also the gradient of that length wherever no two spots are equal.
    """
    weights = np.zeros(complex_.n)
    for dimension, (spots, _) in _bars(field, complex_, tuple(skip)).items():
        length = field[spots[:, 0]] - field[spots[:, 1]]
        if skip[dimension]:
            kept = np.argsort(-length, kind="stable")[skip[dimension] :]
            spots, length = spots[kept], length[kept]
        spots = spots[length > 0]
        weights += np.bincount(spots[:, 0], minlength=complex_.n)
        weights -= np.bincount(spots[:, 1], minlength=complex_.n)
    return weights


def persistence(
    field: np.ndarray,
    triangles: np.ndarray | Complex,
    *,
    edges: np.ndarray | None = None,
    essential: bool = False,
) -> pd.DataFrame:
    """Super-level persistence bars of a field: its components and holes, each with its height.

    Parameters
    ----------
    field
        One finite value per spot.
    triangles
        Triples of spots, (triangles, 3), or a complex of `triangulate`.
    edges
        Further pairs of spots beside the sides of the triangles, (edges, 2); only with triangles as array.
    essential
        List also the components that never die, one per piece of the complex: death is minus infinity and
        ``death_spot`` is -1.

    Returns
    -------
    Table with columns ``dimension`` (0 components, 1 holes), ``birth``, ``death`` (values, birth at least death),
    ``length``, ``birth_spot``, ``death_spot``; longest bar first within a dimension, bars of length 0 left out.

    Raises
    ------
    ValueError
        A field that is not finite or not one value per spot; triangles that are not planar.

    Notes
    -----
    O(spots log spots). On a connected complex the bars of dimension 0 add up to the integral over thresholds of the
    number of components minus 1; on one without holes those of dimension 1 to that of the number of holes.

    Examples
    --------
    A ridge with two tops: the lower one, 2, joins the other at the pass, 1.

    >>> complex_ = triangulate(np.array([[0, 0], [1, 0], [2, 0], [0, 1], [1, 1], [2, 1]]))
    >>> persistence(np.array([3.0, 1.0, 2.0, 0.0, 0.0, 0.0]), complex_)[["dimension", "birth", "death"]]
       dimension  birth  death
    0          0    2.0    1.0
    """
    import pandas as pd

    field = _checks.numeric("`field`", field)
    if field.ndim != 1:
        _checks.fail(f"`field` has shape {field.shape}, but must be (spots,): one group at a time.")
    _checks.finite("`field`", field)
    complex_ = triangles if isinstance(triangles, Complex) else Complex.of(len(field), triangles, edges)
    if complex_.n != len(field):
        _checks.fail(f"`field` has {len(field)} values, but the complex has {complex_.n} spots.")
    tables = []
    for dimension, (spots, roots) in _bars(field, complex_, (0, 1)).items():
        table = pd.DataFrame({"birth_spot": spots[:, 0], "death_spot": spots[:, 1]})
        table["birth"], table["death"] = field[spots[:, 0]], field[spots[:, 1]]
        if essential and len(roots):
            forever = {"birth_spot": roots, "death_spot": -1, "birth": field[roots], "death": -np.inf}
            table = pd.concat([table, pd.DataFrame(forever)])
        table["length"] = table["birth"] - table["death"]
        table.insert(0, "dimension", dimension)
        tables.append(table[table["length"] > 0].sort_values("length", ascending=False, kind="stable"))
    columns = ["dimension", "birth", "death", "length", "birth_spot", "death_spot"]
    return pd.concat(tables, ignore_index=True)[columns]
