"""Planar complexes of spots: from triangles, from a lattice, from a Delaunay triangulation without its long edges."""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import cached_property

import numpy as np

from scmods import _checks

__all__ = ["Complex", "triangulate"]


@dataclass(frozen=True)
class Complex:
    """A planar complex of spots, edges and triangles.

    Parameters
    ----------
    n
        Number of spots; a spot without edges is a piece of its own.
    edges
        Pairs of spots, (edges, 2), smaller index first, each once; all sides of triangles are among them.
    triangles
        Triples of spots, (triangles, 3).
    sides
        For every edge the triangles on its two sides, (edges, 2); ``len(triangles)`` stands for the outside.
    """

    n: int
    edges: np.ndarray
    triangles: np.ndarray
    sides: np.ndarray

    @classmethod
    def of(cls, n: int, triangles: np.ndarray, edges: np.ndarray | None = None) -> Complex:
        """Build from triangles and, where there are some beside their sides, more edges.

        Parameters
        ----------
        n
            Number of spots.
        triangles
            Triples of spots, (triangles, 3).
        edges
            Further pairs of spots, (edges, 2).

        Raises
        ------
        ValueError
            An index outside 0 .. n - 1, a repeated corner, or an edge with more than two triangles.
        """
        triangles = _indices("triangles", triangles, 3, n)
        extra = np.empty((0, 2), np.int64) if edges is None else _indices("edges", edges, 2, n)
        pairs = np.concatenate([triangles[:, [0, 1]], triangles[:, [1, 2]], triangles[:, [0, 2]], extra])
        pairs.sort(axis=1)
        keys, edge = np.unique(pairs[:, 0] * n + pairs[:, 1], return_inverse=True)
        edge = edge[: 3 * len(triangles)]
        count = np.bincount(edge, minlength=len(keys))
        if len(keys) and count.max() > 2:
            u, v = divmod(int(keys[count.argmax()]), n)
            _checks.fail(
                f"The edge between spots {u} and {v} belongs to {int(count.max())} triangles.",
                "A planar triangulation has at most two on an edge; make one with `triangulate(coords)`.",
            )
        return cls(n, np.stack(np.divmod(keys, n), axis=1), triangles, _sides(edge, count, len(triangles)))

    @cached_property
    def pieces(self) -> int:
        """Number of connected pieces, spots without edges included."""
        from scipy.sparse import coo_array
        from scipy.sparse.csgraph import connected_components

        ones = np.ones(len(self.edges))
        graph = coo_array((ones, (self.edges[:, 0], self.edges[:, 1])), shape=(self.n, self.n))
        return int(connected_components(graph, directed=False, return_labels=False))


def _indices(what: str, values: np.ndarray, width: int, n: int) -> np.ndarray:
    array = np.asarray(values)
    if array.ndim != 2 or array.shape[1] != width or array.dtype.kind not in "iu":
        _checks.fail(
            f"`{what}` has shape {array.shape} and type {array.dtype}, but must be integers of shape "
            f"({what}, {width})."
        )
    array = array.astype(np.int64)
    if array.size and (array.min() < 0 or array.max() >= n):
        worst = int(array.max()) if array.max() >= n else int(array.min())
        _checks.fail(f"`{what}` names spot {worst}, but the field has spots 0 to {n - 1}.")
    ordered = np.sort(array, axis=1)
    again = (ordered[:, 1:] == ordered[:, :-1]).any(axis=1)
    if again.any():
        first = int(again.argmax())
        _checks.fail(f"Row {first} of `{what}` repeats a spot: {array[first].tolist()}.")
    return array


def _sides(edge: np.ndarray, count: np.ndarray, outside: int) -> np.ndarray:
    """Triangles left and right of every edge; `edge` holds the first sides of all triangles, then the second ..."""
    sides = np.full((len(count), 2), outside, np.int64)
    by_edge = np.argsort(edge, kind="stable")
    ordered = edge[by_edge]
    second = np.zeros(len(edge), np.int64)
    second[1:] = ordered[1:] == ordered[:-1]
    sides[ordered, second] = by_edge % max(outside, 1)
    return sides


def triangulate(coords: np.ndarray, *, triangulation: str = "auto", max_edge: float | None = None) -> Complex:
    """Connect spots to a planar complex whose topology stands for that of the tissue.

    Parameters
    ----------
    coords
        Positions, (spots, 2), all different, not on one line.
    triangulation
        "lattice": whole-number grid indices; neighbours along rows, columns and the (i, j)-(i+1, j+1) diagonal, and
        the triangles between them, where all corners are spots. "delaunay": any positions. "auto": the lattice when
        the positions are whole numbers with at least as many row and column neighbours as spots, else Delaunay (the
        staggered array indices of a hexagonal slide are such a case).
    max_edge
        Delaunay edges longer than this, and their triangles, are dropped, so that gaps and concave outlines stay
        open; in the unit of `coords`. None takes three times the median edge; ``math.inf`` keeps all.

    Returns
    -------
    The complex.

    Raises
    ------
    ValueError
        Coordinates of another shape, missing, duplicated, on a line; no whole numbers for "lattice".

    Notes
    -----
    O(spots log spots). On a full grid the lattice is the Freudenthal triangulation.

    Examples
    --------
    >>> square = np.array([[0, 0], [0, 1], [1, 0], [1, 1]])
    >>> triangulate(square).triangles.tolist()
    [[0, 2, 3], [0, 1, 3]]
    """
    _checks.one_of("triangulation", triangulation, ("auto", "lattice", "delaunay"))
    coords = _positions(coords)
    # a lattice cell is named by one integer, which must not overflow
    whole = bool((coords == np.rint(coords)).all()) and np.ptp(coords) < 2**31
    if triangulation == "lattice" and not whole:
        _checks.fail(
            f"triangulation='lattice' needs whole-number grid indices, but the first position is {coords[0].tolist()}.",
            "Pass array indices, or triangulation='delaunay' for positions in any unit.",
        )
    if whole and triangulation != "delaunay":
        found = _lattice(coords)
        rook = int((np.abs(coords[found.edges[:, 0]] - coords[found.edges[:, 1]]).sum(axis=1) == 1).sum())
        if triangulation == "lattice" and not len(found.triangles):
            _checks.fail(
                "The lattice has no triangle: no three spots are neighbours in row, column and diagonal.",
                "Staggered or spaced indices have gaps between all spots; pass triangulation='delaunay'.",
            )
        if triangulation == "lattice" or rook >= len(coords):
            return found
    return _delaunay(coords, max_edge)


def _positions(coords: np.ndarray) -> np.ndarray:
    coords = _checks.numeric("`coords`", coords)
    if coords.ndim != 2 or coords.shape[1] != 2 or len(coords) < 3:
        _checks.fail(f"`coords` has shape {coords.shape}, but must be (spots, 2) with at least 3 spots.")
    _checks.finite("`coords`", coords)
    _, first, count = np.unique(coords, axis=0, return_index=True, return_counts=True)
    if (count > 1).any():
        spot = coords[first[count.argmax()]].tolist()
        _checks.fail(
            f"`coords` has {int((count - 1).sum())} duplicated positions; {int(count.max())} spots share {spot}.",
            "Every spot needs a place of its own. Average or drop the duplicates.",
        )
    centred = coords - coords.mean(axis=0)
    singular = np.linalg.svd(centred, compute_uv=False)
    if singular[1] <= 1e-9 * singular[0]:
        _checks.fail(
            f"The {len(coords)} positions in `coords` lie on one line, so there is no triangle between them.",
            "Components and holes need positions in the plane.",
        )
    return coords


def _lattice(coords: np.ndarray) -> Complex:
    grid = (coords - coords.min(axis=0)).astype(np.int64)
    step = int(grid[:, 1].max()) + 2
    keys = grid[:, 0] * step + grid[:, 1]
    order = np.argsort(keys)

    def at(shift: int) -> np.ndarray:
        """Index of the spot that lies `shift` keys further, or -1."""
        place = np.minimum(np.searchsorted(keys[order], keys + shift), len(keys) - 1)
        return np.where(keys[order[place]] == keys + shift, order[place], -1)

    here, down, right, both = np.arange(len(keys)), at(step), at(1), at(step + 1)
    edges = [np.stack([here, other], 1)[other >= 0] for other in (down, right, both)]
    halves = [np.stack([here, other, both], 1)[(other >= 0) & (both >= 0)] for other in (down, right)]
    return Complex.of(len(keys), np.concatenate(halves), np.concatenate(edges))


def _delaunay(coords: np.ndarray, max_edge: float | None) -> Complex:
    from scipy.spatial import Delaunay

    centred = coords - coords.mean(axis=0)  # the hull code loses digits far from the origin
    triangles = Delaunay(centred / np.abs(centred).max()).simplices.astype(np.int64)
    full = Complex.of(len(coords), triangles)
    length = np.linalg.norm(coords[full.edges[:, 0]] - coords[full.edges[:, 1]], axis=1)
    if max_edge is None:
        max_edge = 3 * float(np.median(length))
    elif math.isnan(max_edge) or max_edge < length.min():
        _checks.fail(
            f"max_edge={max_edge:g} drops all edges: their lengths are {length.min():.4g} to {length.max():.4g}, "
            f"median {np.median(length):.4g}.",
            f"Write max_edge={3 * np.median(length):.4g}.",
        )
    sides = np.stack([triangles[:, [0, 1]], triangles[:, [1, 2]], triangles[:, [0, 2]]], axis=1)
    longest = np.linalg.norm(np.diff(coords[sides], axis=2)[:, :, 0], axis=2).max(axis=1)
    return Complex.of(len(coords), triangles[longest <= max_edge], full.edges[length <= max_edge])
