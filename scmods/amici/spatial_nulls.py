"""Reorderings that keep the smoothness of a field over the tissue: shifts with two kinds of edge, and blocks.

Neighbouring cells resemble each other. To exchange single cells destroys that, so two independent smooth fields look
associated. A shift moves the whole field; its values at the cells are those of the nearest cells there.
"""

from __future__ import annotations

import numpy as np

from scmods import _checks

__all__ = ["NULLS", "inflation", "nearest_cells", "shift_maps", "smooth_fields", "square_blocks"]

NULLS = ("free", "block", "toroidal", "mirror")
EDGES = ("toroidal", "mirror")
POINTS = 2**17  # shifted places that are looked up at once
NEAREST = 6  # neighbours from which smoothness is judged


def _window(coords: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Corner and sides of the frame, a little larger than the cells, so that none lies on its edge."""
    low, side = coords.min(axis=0), np.ptp(coords, axis=0)
    side = np.maximum(side, 1e-9 * max(float(side.max()), 1e-300)) * (1 + 1 / len(coords))
    return low, side


def _shifted(coords: np.ndarray, n_maps: int, rng: np.random.Generator, edges: str) -> np.ndarray:
    from scipy.spatial import cKDTree

    low, side = _window(coords)
    x = coords - low
    period = side if edges == "toroidal" else 2 * side
    tree = cKDTree(x, boxsize=side) if edges == "toroidal" else cKDTree(x)
    out = np.empty((n_maps, len(x)), dtype=np.int32)
    shifts, size = rng.uniform(size=(n_maps, x.shape[1])) * period, max(1, POINTS // len(x))
    for start in range(0, n_maps, size):
        some = shifts[start : start + size, None]
        moved = np.mod(x + some, period)
        if edges == "mirror":
            moved = np.where(moved > side, period - moved, moved)
        else:  # rounding can put a point on the upper edge, which is the lower one
            moved = np.where(moved >= side, 0.0, moved)
        out[start : start + size] = tree.query(moved.reshape(-1, x.shape[1]))[1].reshape(len(some), -1)
    return out


def shift_maps(
    coords: np.ndarray,
    n_maps: int,
    rng: np.random.Generator,
    *,
    edges: str = "mirror",
    sections: np.ndarray | None = None,
) -> np.ndarray:
    """Random shifts of a field over irregular points, as maps from cells to cells.

    Parameters
    ----------
    coords
        (cells, 2 or 3) positions.
    n_maps
        Shifts, uniform over the frame of the cells.
    rng
        Local generator.
    edges
        ``"mirror"``: the field goes on as its mirror image beyond an edge, so it has no jump anywhere;
        ``"toroidal"``: it goes on at the opposite edge, where it jumps.
    sections
        (cells,) codes; each section is shifted in itself. None for one section.

    Returns
    -------
    (n_maps, cells) int32: the cell whose value comes to each cell. A cell can come twice, so compare spreads.

    Notes
    -----
    Share of independent pairs of fields called at 0.05 (300 cells in a square of side 173, 1,500 pairs each), for
    waves of 10, 40, 60 and 100: free permutation 0.06, 0.22, 0.29, 0.33; within blocks of 20 cells the same; toroidal
    0.05, 0.08, 0.09, 0.06; mirror 0.04, 0.07, 0.07, 0.05. In a disc, an L and a strip of 16 to 1, mirror stays between
    0.05 and 0.08. `scmods.amici.calibration.field_calibration` measures.

    Examples
    --------
    >>> coords = np.random.default_rng(0).uniform(size=(50, 2))
    >>> shift_maps(coords, 3, np.random.default_rng(1)).shape
    (3, 50)
    """
    _checks.one_of("edges", edges, EDGES)
    out = np.empty((n_maps, len(coords)), dtype=np.int32)
    codes = np.zeros(len(coords), dtype=int) if sections is None else np.asarray(sections)
    for code in np.unique(codes):
        members = np.flatnonzero(codes == code).astype(np.int32)
        out[:, members] = members[_shifted(coords[members], n_maps, rng, edges)]
    return out


def square_blocks(
    coords: np.ndarray, *, size: float | None = None, per_block: int = 20, sections: np.ndarray | None = None
) -> np.ndarray:
    """Squares of a grid over the tissue, as codes of the cells.

    Parameters
    ----------
    coords
        (cells, 2 or 3) positions.
    size
        Side of a square, in the unit of the positions. None takes the side at which it holds `per_block` cells on
        average.
    per_block
        Cells wanted per square.
    sections
        (cells,) codes; squares do not cross sections.

    Returns
    -------
    (cells,) int codes, counted from 0.

    Notes
    -----
    Orders within blocks take out what differs between places farther apart than a block, the layers of a tissue for
    instance. They do not keep the smoothness inside a block: for that, take a shift.

    Examples
    --------
    >>> import numpy as np
    >>> from scmods import amici
    >>> amici.square_blocks(np.array([[0.0, 0.0], [1.0, 1.0], [12.0, 1.0]]), size=10.0).tolist()
    [0, 0, 1]
    """
    if size is None:
        _checks.integer("per_block", per_block)
        sides = _window(coords)[1]
        wide = sides[sides > 1e-6 * sides.max()]
        size = float((wide.prod() * per_block / len(coords)) ** (1 / len(wide)))
    else:
        size = _checks.number("size", size)
        if size <= 0:
            _checks.fail(f"`size` is {size:g}, but the side of a block must be positive.")
    grid = np.floor((coords - coords.min(axis=0)) / size).astype(np.int64)
    codes = np.zeros(len(coords), dtype=np.int64) if sections is None else np.asarray(sections)
    return np.unique(np.column_stack([codes, grid]), axis=0, return_inverse=True)[1].ravel()


def nearest_cells(coords: np.ndarray, sections: np.ndarray | None = None) -> np.ndarray | None:
    """Rows of the six nearest cells of each cell, (cells, 6), for `inflation`; None where there are too few cells.

    Parameters
    ----------
    coords
        (cells, 2 or 3) positions.
    sections
        (cells,) codes; neighbours do not cross sections of more than six cells.
    """
    from scipy.spatial import cKDTree

    x = np.asarray(coords, dtype=np.float64)
    if len(x) < NEAREST + 2:
        return None
    if sections is not None:  # one more axis keeps sections farther apart than anything in them
        far = 4.0 * float(np.ptp(x, axis=0).sum()) + 1.0
        x = np.column_stack([x, far * np.asarray(sections)])
    return cKDTree(x).query(x, k=NEAREST + 1)[1][:, 1:]


def inflation(a: np.ndarray, b: np.ndarray, near: np.ndarray | None) -> float:
    r"""By how much, at least, the variance of sum_i a_i . b_i exceeds that under free permutation.

    With covariances S within cells and N between nearest cells, it is
    :math:`1 + k \langle N_a, N_b \rangle / \langle S_a, S_b \rangle`: both fields must be smooth to exceed 1.

    Parameters
    ----------
    a, b
        (cells, r) columns of mean zero.
    near
        (cells, k) of `nearest_cells`, or None.

    Returns
    -------
    A lower bound, because only the nearest cells count; NaN without them.

    Examples
    --------
    >>> x = np.linspace(-1, 1, 50)[:, None]
    >>> round(inflation(x, x, nearest_cells(x)), 1)
    6.6
    """
    if near is None:
        return float("nan")
    k, between = near.shape[1], []
    for v in (a, b):
        total = np.zeros_like(v)
        for j in range(k):  # one neighbour at a time: no cells x neighbours x r array
            total += v[near[:, j]]
        between.append(v.T @ total / k)
    within = float(np.vdot(a.T @ a, b.T @ b))
    return 1 + k * float(np.vdot(*between)) / within if within > 0 else 1.0


def smooth_fields(
    coords: np.ndarray, wavelength: float, n_fields: int, rng: np.random.Generator, n_waves: int = 40
) -> np.ndarray:
    """Independent random fields: sums of plane waves of about one length; white noise for length 0.

    Parameters
    ----------
    coords
        (cells, 2) positions.
    wavelength
        Mean length; single waves are 0.7 to 1.5 times as long.
    n_fields
        Fields, independent of each other.
    rng
        Local generator.
    n_waves
        Waves per field.

    Returns
    -------
    (cells, n_fields), columns of mean zero.

    Examples
    --------
    >>> import numpy as np
    >>> from scmods import amici
    >>> rng = np.random.default_rng(0)
    >>> fields = amici.smooth_fields(rng.uniform(0, 100, (50, 2)), 40.0, 3, rng)
    >>> fields.shape, bool(np.allclose(fields.mean(axis=0), 0))
    ((50, 3), True)
    """
    if _checks.number("wavelength", wavelength, 0.0) == 0:
        out = rng.normal(size=(len(coords), n_fields))
    else:
        angle, phase = rng.uniform(0, 2 * np.pi, (2, n_fields, n_waves))
        rate = 2 * np.pi / (wavelength * rng.uniform(0.7, 1.5, (n_fields, n_waves)))
        steps = np.stack([np.cos(angle), np.sin(angle)]) * rate
        out = np.stack(
            [np.cos(coords @ s + p).sum(axis=1) for s, p in zip(steps.swapaxes(0, 1), phase, strict=True)], 1
        )
    return out - out.mean(axis=0)
