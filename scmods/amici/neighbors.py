"""Nearest cells of OTHER types, section by section, and a guard against coordinates in a wrong unit."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from scmods import _checks
from scmods.amici.inputs import Tissue, read_tissue
from scmods.amici.keys import Keys

if TYPE_CHECKING:
    from anndata import AnnData

__all__ = ["check_unit", "nearest_others", "spatial_neighbors"]

SPARE = 4  # candidates beyond those asked for, so that most ties are settled at once
TIE = 1e-12  # distances closer than this, relative to the largest one, are tied
BLOCK = 2**16
RANGE = (
    5.0,
    50.0,
)  # median distance to the nearest other type, in units of length, in which the model can learn
AIM = 10.0


def _nearest(tree, rows: np.ndarray, members: np.ndarray, k: int) -> tuple[np.ndarray, np.ndarray]:
    """The k nearest members of each row in order of (distance, position); ties at the edge are looked into."""
    count = min(len(members), k + SPARE)
    distance, found = (a.reshape(len(rows), count) for a in tree.query(rows, k=count))
    step = TIE * max(float(distance.max(initial=0.0)), np.finfo(float).tiny / TIE)
    position = members[found]
    order = np.lexsort((position, np.round(distance / step)), axis=1)
    position, distance = (np.take_along_axis(a, order, 1) for a in (position, distance))
    open_ = (distance[:, k - 1] + 2 * step >= distance[:, -1]) & (count < len(members))
    out = position[:, :k], distance[:, :k]
    if open_.any():  # a tie may go on beyond the candidates: ask these rows for twice as many
        again = _nearest(tree, rows[open_], members, min(max(2 * k, count), len(members)))
        for mine, theirs in zip(out, again, strict=True):
            mine[open_] = theirs[:, :k]
    return out


def nearest_others(
    tissue: Tissue, n_neighbors: int, *, among: np.ndarray | None = None
) -> tuple[np.ndarray, np.ndarray]:
    """The nearest cells of other types within the section, nearest first, ties by position.

    Parameters
    ----------
    tissue
        Checked positions and labels.
    n_neighbors
        Neighbours per cell.
    among
        (cells,) bool: only these cells may be neighbours; None lets all.

    Returns
    -------
    (cells, k) int64 positions, -1 where there are no more, and (cells, k) float64 distances, NaN there; radii are
    taken off the distances, down to 0, but do not change who is near.

    Notes
    -----
    A k-d tree per section and type, queried in blocks: O(types * n log n).
    """
    from scipy.spatial import cKDTree

    n = len(tissue.labels)
    _, types = np.unique(tissue.labels.astype(str), return_inverse=True)
    neighbors = np.full((n, n_neighbors), -1, dtype=np.int64)
    distances = np.full((n, n_neighbors), np.nan)
    allowed = np.ones(n, dtype=bool) if among is None else among
    for section in range(len(tissue.section_names)):
        here = tissue.sections == section
        for code in np.unique(types[here]):
            rows = np.flatnonzero(here & (types == code))
            members = np.flatnonzero(here & allowed & (types != code))
            k = min(n_neighbors, len(members))
            if not k:
                continue
            tree = cKDTree(tissue.coords[members])
            for start in range(0, len(rows), BLOCK):
                part = rows[start : start + BLOCK]
                neighbors[part, :k], distances[part, :k] = _nearest(tree, tissue.coords[part], members, k)
    if tissue.radius is not None:
        taken = tissue.radius[:, None] + tissue.radius[neighbors]
        distances = np.where(neighbors >= 0, np.maximum(distances - taken, 0.0), np.nan)
    return neighbors, distances


def check_counts(tissue: Tissue, n_neighbors: int) -> None:
    """Refuse a type without enough cells of other types; warn where only some sections have too few.

    Parameters
    ----------
    tissue
        Checked positions and labels.
    n_neighbors
        Neighbours asked for.
    """
    names, types = np.unique(tissue.labels.astype(str), return_inverse=True)
    table = np.zeros((len(tissue.section_names), len(names)), dtype=np.int64)
    np.add.at(table, (tissue.sections, types), 1)
    others = np.where(table > 0, table.sum(axis=1, keepdims=True) - table, -1)
    most = others.max(axis=0)
    worst = int(most.argmin())
    if most[worst] < n_neighbors:
        where = "" if len(table) == 1 else " in any section"
        advice = f"The largest valid value is n_neighbors={most[worst]}." if most[worst] else ""
        _checks.fail(
            f"Cells of type {str(names[worst])!r} have {most[worst]} cells of other types{where},",
            f"but n_neighbors={n_neighbors} are asked for.",
            advice or "Drop this type, or correct `library_key`.",
        )
    short = (others >= 0) & (others < n_neighbors)
    if short.any():
        section, kind = np.argwhere(short)[0]
        _checks.warn(
            f"{int(table[short].sum())} cells have fewer than {n_neighbors} cells of other types in their section; "
            f"first: type {str(names[kind])!r} in section {tissue.section_names[section]!r} with "
            f"{others[section, kind]}. The places left over stay empty.",
            level=4,
        )


def check_unit(distances: np.ndarray, unit: float | None = None) -> float:
    """The unit of length in which the model can learn; warns when it had to be set, or looks wrong.

    The median distance to the nearest cell of another type must be between 5 and 50 units: with positions in pixels
    of a fraction of a micrometre, say, all neighbours are out of reach and nothing is learned, in silence.

    Parameters
    ----------
    distances
        (cells, k) distances to cells of other types, nearest first; NaN where there is none.
    unit
        Length of one unit in the unit of the positions; None takes 1 if that is in range, and otherwise sets it.

    Returns
    -------
    The unit.

    Examples
    --------
    >>> check_unit(np.array([[12.0], [20.0]]))
    1.0
    """
    near = distances[:, 0]
    median = float(np.median(near[np.isfinite(near)])) if np.isfinite(near).any() else 0.0
    if not median > 0:
        _checks.fail(
            f"The median distance to the nearest cell of another type is {median:g}, so no unit of length can be set.",
            "Look for positions that repeat, radii that are too large, or sections that lie on each other.",
        )
    low, high = RANGE
    if unit is not None:
        unit = _checks.number("unit", unit, np.finfo(float).tiny)
    elif low <= median <= high:
        return 1.0
    given, ratio = unit, median / (unit or 1.0)
    good = float(f"{median / AIM:.2g}")
    if low <= ratio <= high:
        return float(unit)
    _checks.warn(
        f"The median distance to the nearest cell of another type is {ratio:.3g} units, expected {low:g} to {high:g}: "
        + (
            f"the positions may be pixels. Set unit={good:g} here; pass unit=... to choose another, in the unit of "
            "the positions; micrometres are a good one."
            if given is None
            else f"attention hardly reaches or never ends with unit={given:g}. Try unit={good:g}, or unit=None."
        ),
        level=4,
    )
    return good if given is None else float(given)


def spatial_neighbors(
    adata: AnnData,
    *,
    cluster_key: str = "cell_type",
    spatial_key: str = "spatial",
    library_key: str | None = None,
    n_neighbors: int = 20,
    radius_key: str | None = None,
    key_added: str = "amici",
    copy: bool = False,
) -> AnnData | None:
    """Find the nearest cells of OTHER types, within the section.

    Cells of one's own type are never neighbours: the model explains what others do to a cell.

    Parameters
    ----------
    adata
        Cells.
    cluster_key
        Column of ``obs`` with the types.
    spatial_key
        Key of ``obsm`` with positions in two or three dimensions.
    library_key
        Column of ``obs`` with the section; neighbours never cross sections. None for one section.
    n_neighbors
        Neighbours per cell.
    radius_key
        Column of ``obs`` with the radius of each cell, taken off the distances down to 0.
    key_added
        Prefix of what is written, see `scmods.amici.keys.Keys`.
    copy
        Return a copy instead of writing into `adata`.

    Returns
    -------
    The copy or None. Written: ``obsm["amici_neighbors"]``, int64 positions, -1 where a small section has no more
    cells; ``obsm["amici_distances"]``, in the unit of the positions, NaN there; ``uns["amici"]``: the settings, with
    the median distance to the nearest neighbour.

    Raises
    ------
    MissingKeyError, ValueError, TypeError
        With the slot, what exists and what to do.

    Notes
    -----
    O(types * n log n) time, memory of the result.

    Examples
    --------
    >>> from scmods.amici.simulate import semisynthetic
    >>> adata = semisynthetic(300, 30)
    >>> spatial_neighbors(adata, n_neighbors=5)
    >>> adata.obsm["amici_neighbors"].shape
    (300, 5)
    """
    _checks.integer("n_neighbors", n_neighbors)
    adata = adata.copy() if copy else adata
    tissue = read_tissue(
        adata,
        cluster_key=cluster_key,
        spatial_key=spatial_key,
        library_key=library_key,
        radius_key=radius_key,
    )
    check_counts(tissue, n_neighbors)
    neighbors, distances = nearest_others(tissue, n_neighbors)
    keys, near = Keys(key_added), distances[:, 0]
    adata.obsm[keys.neighbors], adata.obsm[keys.distances] = neighbors, distances
    settings = {"cluster_key": cluster_key, "spatial_key": spatial_key, "n_neighbors": n_neighbors}
    settings |= {k: v for k, v in (("library_key", library_key), ("radius_key", radius_key)) if v is not None}
    adata.uns[keys.settings] = settings | {"median_distance": float(np.nanmedian(near))}
    return adata if copy else None
