"""Coordinates of spots: checks, exact nearest neighbours with a stable rule for ties, pairs within a radius."""

from __future__ import annotations

from typing import Any

import numpy as np

from scmods import _checks

__all__ = ["check_coords", "duplicated", "nearest", "nearest_distance", "pairs_within", "sections"]

TIE = 1e-12  # squared distances closer than this, relative to the largest squared norm, are tied
PACKED = 4_000_000  # up to this many spots a step of distance and an index fit into 64 bits
BLOCK = 2**19  # candidates looked at together
MINKOWSKI = {"euclidean": 2.0, "l2": 2.0, "manhattan": 1.0, "cityblock": 1.0, "l1": 1.0, "chebyshev": np.inf}


def check_coords(coords: Any, what: str = "`coords`") -> np.ndarray:
    """The coordinates as spots x 2 or 3 float64; refuses other shapes and values that are not finite.

    Parameters
    ----------
    coords
        Array, table or tensor of coordinates.
    what
        Name for the messages.
    """
    out = _checks.numeric(what, coords)
    if out.ndim != 2 or out.shape[1] not in (2, 3) or len(out) == 0:
        flipped = out.ndim == 2 and out.shape[0] in (2, 3)
        _checks.fail(
            f"{what} has shape {out.shape}, but must be spots x 2 (or x 3).",
            "Transpose it: `coords.T`." if flipped else "Pass adata.obsm['spatial'].",
        )
    bad = ~np.isfinite(out).all(axis=1)
    if bad.any():
        _checks.fail(
            f"{what} holds NaN or infinite values for {int(bad.sum())} spots;",
            f"first: {_checks.listing(np.flatnonzero(bad), 3)}.",
            "Every spot needs a position. Drop these spots: `adata = adata[keep].copy()`.",
        )
    return out


def duplicated(coords: np.ndarray) -> np.ndarray:
    """Indices of all spots that share their position with another one.

    Parameters
    ----------
    coords
        Checked coordinates.
    """
    _, inverse, counts = np.unique(coords, axis=0, return_inverse=True, return_counts=True)
    return np.flatnonzero(counts[inverse.ravel()] > 1)


def report_duplicates(coords: np.ndarray, *, sectioned: bool) -> None:
    """Warn of coincident spots, with what may be behind them."""
    twice = duplicated(coords)
    if len(twice):
        _checks.warn(
            f"{len(twice)} spots share their position with another spot; first: {_checks.listing(twice, 4)}. "
            "They are treated as neighbours at distance 0, ties by index. "
            + (
                ""
                if sectioned
                else "If several sections are stacked, name the section: library=... (library_key=...)."
            ),
            level=4,
        )


def sections(library: Any, n: int) -> list[np.ndarray]:
    """Indices of the spots of every section; one section when `library` is None.

    Parameters
    ----------
    library
        (spots,) section of every spot, or None.
    n
        Number of spots.
    """
    if library is None:
        return [np.arange(n)]
    names = check_labels("library", library, n)
    _, first, inverse = np.unique(names, return_index=True, return_inverse=True)
    return [np.flatnonzero(inverse == s) for s in np.argsort(first, kind="stable")]


def check_labels(what: str, values: Any, n: int) -> np.ndarray:
    """Labels of all spots as text; refuses another length and missing values.

    Parameters
    ----------
    what
        Name for the messages.
    values
        Array, list, tensor, categorical or column of a table.
    n
        Number of spots.
    """
    import pandas as pd

    column = pd.Series(
        np.asarray(values.detach().cpu() if hasattr(values, "detach") else values, dtype=object)
    )
    if len(column) != n:
        _checks.fail(
            f"`{what}` has {len(column)} values, but there are {n} spots.",
            "Give one label for each spot, in the order of the spots.",
        )
    missing = column.isna().to_numpy()
    if missing.any():
        _checks.fail(
            f"`{what}` is missing for {int(missing.sum())} of {n} spots;",
            f"first: {_checks.listing(np.flatnonzero(missing), 3)}.",
            "Every spot needs a label. Drop these spots, or give them a label of their own: `.fillna('unlabelled')`.",
        )
    return column.astype(str).to_numpy(dtype=str)


def _ranked(
    points: np.ndarray, rows: np.ndarray, found: np.ndarray, k: int, tie: float
) -> tuple[np.ndarray, np.ndarray]:
    """The k nearest of the candidates by (distance in steps of the tie width, index), and whether that is certain."""
    d2 = np.zeros(found.shape)
    for axis in range(points.shape[1]):
        d2 += (points[rows, axis][:, None] - points[found, axis]) ** 2
    # every spot nearer than the farthest candidate is a candidate, so that only a tie with that one is open
    farthest = d2.max(axis=1)
    steps = np.round(d2 / tie)
    steps[found == rows[:, None]] = np.inf
    best = _by_steps(steps, found, k, len(points))
    last = points[rows] - points[best[:, -1]]
    certain = ((last**2).sum(axis=1) + 2 * tie < farthest) | (found.shape[1] == len(points))
    return best, certain


def _by_steps(steps: np.ndarray, found: np.ndarray, k: int, n: int) -> np.ndarray:
    """The k candidates of every row that come first by (step of distance, index)."""
    if n > PACKED:
        order = np.lexsort((found, steps), axis=1)[:, :k]
        return np.take_along_axis(found, order, 1)
    # both in one number, at most 4e12 steps times n: sorting whole numbers is several times faster
    steps[np.isinf(steps)] = 4.1e12
    packed = steps.astype(np.uint64) * np.uint64(n) + found.astype(np.uint64)
    packed.sort(axis=1)
    return (packed[:, :k] % np.uint64(n)).astype(np.int64)


def nearest(coords: Any, n_neighbors: int, *, duplicates: str = "warn") -> tuple[np.ndarray, np.ndarray]:
    """Exact nearest neighbours of every spot, the spot itself left out by its index.

    Parameters
    ----------
    coords
        spots x 2 or 3 coordinates in any unit.
    n_neighbors
        Neighbours of each spot, at most spots - 1.
    duplicates
        ``"warn"`` of coincident spots, or ``"keep"`` quiet about them.

    Returns
    -------
    indices
        spots x neighbours, int64, nearest first; spots at the same distance in order of their index.
    distances
        spots x neighbours, float64, in the unit of the coordinates.

    Raises
    ------
    ValueError
        Bad coordinates, too many neighbours, all spots at one position.

    Notes
    -----
    Same rule as :func:`scmods.graph.knn` (squared distances that round to the same multiple of 1e-12 of the largest
    squared norm are tied). On a lattice a whole ring of spots may be tied with the last neighbour: rows where that is
    open are searched again with more candidates, all together.

    Examples
    --------
    >>> import numpy as np
    >>> nearest(np.array([[0.0, 0.0], [1.0, 0.0], [3.0, 0.0]]), 1)[0].ravel().tolist()
    [1, 0, 1]
    """
    from scipy.spatial import cKDTree

    points = check_coords(coords)
    n = len(points)
    most = f"There are {n} spots: the largest number of neighbours is {n - 1}."
    k = _checks.integer("n_neighbors", n_neighbors, 1, n - 1, most)
    points = points - points.mean(axis=0)
    largest = float((points**2).sum(axis=1).max())
    if not largest > 0:
        _checks.fail(
            f"All {n} spots have the same coordinates, so that no graph can be made.", "Check the columns."
        )
    if duplicates == "warn":
        report_duplicates(points, sectioned=False)
    tree, tie = cKDTree(points), TIE * largest
    index = np.empty((n, k), dtype=np.int64)
    # the neighbours, the spot itself, and a spare ring; where that leaves a tie open, twice as many, and so on
    waiting = [(np.arange(n), min(n, k + 1 + max(4, k // 4)))]
    while waiting:
        rows, count = waiting.pop()
        for part in np.array_split(rows, 1 + len(rows) * count // BLOCK):
            found = tree.query(points[part], k=count)[1].reshape(len(part), count)
            index[part], certain = _ranked(points, part, found, k, tie)
            if not certain.all():
                waiting.append((part[~certain], min(n, 2 * count)))
    away = np.zeros((n, k))
    for axis in range(points.shape[1]):
        away += (points[:, axis][:, None] - points[index, axis]) ** 2
    return index, np.sqrt(away)


def nearest_distance(coords: np.ndarray) -> float:
    """Median distance of a spot to its nearest other position; NaN for a single spot.

    Parameters
    ----------
    coords
        Checked coordinates.
    """
    from scipy.spatial import cKDTree

    places = np.unique(coords, axis=0)
    if len(places) < 2:
        return float("nan")
    return float(np.median(cKDTree(places).query(places, k=2)[0][:, 1]))


def pairs_within(
    coords: np.ndarray, radius: float, metric: str = "euclidean"
) -> tuple[np.ndarray, np.ndarray]:
    """All pairs i < j at most `radius` apart, and their distances.

    Parameters
    ----------
    coords
        Checked coordinates.
    radius
        Largest distance, in the unit of the coordinates.
    metric
        ``"euclidean"``, ``"manhattan"`` or ``"chebyshev"``.
    """
    from scipy.spatial import cKDTree

    _checks.one_of("dist_metric", metric, list(MINKOWSKI))
    p = MINKOWSKI[metric]
    # a little wider, then cut by our own distance: the same rule for pairs that lie exactly on the radius
    pairs = cKDTree(coords).query_pairs(radius * (1 + 1e-9), p=p, output_type="ndarray")
    distance = np.linalg.norm(coords[pairs[:, 0]] - coords[pairs[:, 1]], ord=p, axis=1)
    keep = distance <= radius * (1 + 1e-12)
    return pairs[keep], distance[keep]
