"""Weight matrices from coordinates: mutual or directed nearest neighbours, and the distance band."""

from __future__ import annotations

from typing import Any

import numpy as np
from scipy import sparse

from scmods import _checks, graph
from scmods.smoother.coords import (
    check_coords,
    nearest,
    nearest_distance,
    pairs_within,
    report_duplicates,
    sections,
)
from scmods.smoother.scaling import finish

__all__ = ["distance_weights", "knn_weights"]


def _blocks(parts: list[np.ndarray], pieces: list[sparse.sparray], n: int) -> sparse.csr_array:
    """One matrix of all spots from the matrices of the sections; no edge joins two sections."""
    rows, columns, data = [], [], []
    for part, piece in zip(parts, pieces, strict=True):
        coo = piece.tocoo()
        rows.append(part[coo.coords[0]])
        columns.append(part[coo.coords[1]])
        data.append(coo.data)
    at = (np.concatenate(rows), np.concatenate(columns))
    return sparse.csr_array(sparse.coo_array((np.concatenate(data), at), shape=(n, n)))


def _largest_k(parts: list[np.ndarray], k: int, library: Any) -> None:
    short = [p for p in parts if len(p) <= k]
    if short:
        smallest = min(len(p) for p in parts)
        where = "There are" if library is None else f"{len(short)} sections are too small: the smallest has"
        _checks.fail(
            f"n_neighbors={k} needs at least {k + 1} spots. {where} {smallest} spots.",
            f"The largest number of neighbours is {smallest - 1}."
            if smallest > 1
            else "A single spot has no neighbour: drop that section.",
        )


def knn_weights(
    coords: Any, n_neighbors: int = 6, *, mutual: bool = True, row_scale: bool = False, library: Any = None
) -> sparse.csr_array:
    """Weights of 1 between nearest neighbours.

    Parameters
    ----------
    coords
        spots x 2 or 3 coordinates in any unit. 4 neighbours suit a square lattice, 6 a hexagonal one.
    n_neighbors
        Neighbours of each spot.
    mutual
        Keep an edge only when each spot is among the neighbours of the other (symmetric); otherwise W_ij = 1 when j
        is a neighbour of i (asymmetric: not for icar and car).
    row_scale
        Divide by the row sums (asymmetric).
    library
        (spots,) section of every spot: neighbours are searched within sections only.

    Returns
    -------
    CSR, spots x spots, zero diagonal except 1 for a spot without any neighbour.

    Raises
    ------
    ValueError
        Bad coordinates (shape, the spots with NaN), more neighbours than a section allows, labels that do not fit.

    Warns
    -----
    NumericalWarning
        Coincident spots; spots without neighbour.

    Notes
    -----
    Ties of distance go to the lower index, which on a lattice decides which of several equally near spots counts.
    n log n time. Moving, turning or scaling the coordinates changes nothing.

    Examples
    --------
    >>> import numpy as np
    >>> line = np.array([[0.0, 0.0], [1.0, 0.0], [2.5, 0.0]])
    >>> knn_weights(line, 1, mutual=False).toarray().astype(int).tolist()
    [[0, 1, 0], [1, 0, 0], [0, 1, 0]]
    """
    points = check_coords(coords)
    k = _checks.integer("n_neighbors", n_neighbors)
    parts = sections(library, len(points))
    _largest_k(parts, k, library)
    pieces = []
    for part in parts:
        report_duplicates(points[part], sectioned=library is not None)
        index = nearest(points[part], k, duplicates="keep")[0]
        pieces.append(graph.adjacency(index, mode="mutual" if mutual else "directed"))
    return finish(_blocks(parts, pieces, len(points)), row_scale=row_scale)


def distance_weights(
    coords: Any,
    radius: float = 1.0,
    *,
    bandwidth: float = 0.1,
    scale_coords: bool = True,
    dist_metric: str = "euclidean",
    row_scale: bool = False,
    library: Any = None,
) -> sparse.csr_array:
    r"""Gaussian weights between all spots within a radius, :math:`\exp(-d^2 / 2h^2)`.

    Parameters
    ----------
    coords
        spots x 2 or 3 coordinates.
    radius
        Largest distance of neighbours, in the unit of the coordinates.
    bandwidth
        Width h of the kernel: a share of the largest extent with `scale_coords`, otherwise in their unit.
    scale_coords
        Measure the kernel in units of the largest extent (one factor for all axes, for each section its
        own). With ``False`` the kernel is the same in all sections.
    dist_metric
        ``"euclidean"``, ``"manhattan"`` or ``"chebyshev"``.
    row_scale
        Divide by the row sums (asymmetric: not for icar and car).
    library
        (spots,) section of every spot: edges within sections only.

    Returns
    -------
    CSR, spots x spots, zero diagonal except 1 for a spot without any neighbour.

    Raises
    ------
    ValueError
        Bad coordinates, a radius that reaches no pair (the median nearest distance is named), labels that do not fit.

    Warns
    -----
    NumericalWarning
        Coincident spots; spots without neighbour.

    Examples
    --------
    >>> import numpy as np
    >>> line = np.array([[0.0, 0.0], [1.0, 0.0], [2.0, 0.0]])
    >>> distance_weights(line, 1.0, bandwidth=1.0, scale_coords=False).toarray().round(3).tolist()
    [[0.0, 0.607, 0.0], [0.607, 0.0, 0.607], [0.0, 0.607, 0.0]]
    """
    points = check_coords(coords)
    reach = _positive("radius", radius)
    width = _positive("bandwidth", bandwidth)
    parts = sections(library, len(points))
    pieces = []
    for part in parts:
        own = points[part]
        report_duplicates(own, sectioned=library is not None)
        extent = float(np.ptp(own, axis=0).max()) if scale_coords else 1.0
        pairs, distance = pairs_within(own, reach, dist_metric)
        if not len(pairs):
            _no_pairs(own, reach)
        value = np.exp(-((distance / (extent or 1.0)) ** 2) / (2 * width**2))
        half = sparse.coo_array((value, (pairs[:, 0], pairs[:, 1])), shape=(len(part), len(part)))
        pieces.append(half + half.T)
    return finish(_blocks(parts, pieces, len(points)), row_scale=row_scale)


def _positive(name: str, value: object) -> float:
    out = _checks.number(name, value)
    if not out > 0:
        _checks.fail(f"`{name}` is {out:g}, but must be above 0.")
    return out


def _no_pairs(points: np.ndarray, radius: float) -> None:
    near = nearest_distance(points)
    if not np.isfinite(near):
        _checks.fail(
            "A section has a single position, so that it has no pair of spots.",
            "Drop it, or check the labels of the sections.",
        )
    _checks.fail(
        f"radius={radius:g} reaches no pair of spots: the median distance to the nearest one is {near:.4g}.",
        "The radius is in the unit of the coordinates (pixels, micrometres, grid steps).",
        f"Use for instance radius={1.5 * near:.4g}.",
    )
