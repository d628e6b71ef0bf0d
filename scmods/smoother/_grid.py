"""Complete lattices of spots, square or hexagonal, and the shifts that map them onto themselves."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from scmods import _checks
from scmods.smoother.coords import check_coords

__all__ = ["Lattice", "lattice_of"]

SAME = 0.2  # positions closer than this share of the smallest common step are one row


@dataclass(frozen=True)
class Lattice:
    """Rows and columns of every spot of a complete lattice.

    Attributes
    ----------
    n_rows, n_cols
        Size.
    index
        (spots,) row times n_cols plus column of every spot.
    staggered
        Every second row is offset by half a step: only even numbers of rows can be shifted.

    Examples
    --------
    >>> from scmods import smoother
    >>> lattice = smoother.lattice_of([[0, 0], [1, 0], [0, 1], [1, 1], [0, 2], [1, 2]])
    >>> lattice.n_rows, lattice.n_cols, lattice.staggered
    (3, 2, False)
    """

    n_rows: int
    n_cols: int
    index: np.ndarray
    staggered: bool

    def fold(self, values: np.ndarray) -> np.ndarray:
        """(spots, fields) as (fields, rows, columns).

        Parameters
        ----------
        values
            One row per spot.
        """
        out = np.empty((values.shape[1], self.n_rows * self.n_cols))
        out[:, self.index] = values.T
        return out.reshape(-1, self.n_rows, self.n_cols)

    @property
    def shifts(self) -> tuple[np.ndarray, np.ndarray]:
        """Rows and columns of all shifts but the one that changes nothing."""
        step = 2 if self.staggered else 1
        rows, cols = np.mgrid[0 : self.n_rows : step, : self.n_cols]
        return rows.ravel()[1:], cols.ravel()[1:]

    @property
    def n_shifts(self) -> int:
        """Number of shifts."""
        return len(self.shifts[0])


def _levels(values: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Distinct values up to small jitter, and the number of the one each belongs to."""
    order = np.argsort(values, kind="stable")
    gaps = np.diff(values[order])
    step = float(np.max(gaps, initial=0.0))
    code = np.empty(len(values), dtype=np.int64)
    code[order] = np.concatenate([[0], np.cumsum(gaps > SAME * step)])
    return np.bincount(code, values) / np.bincount(code), code


def lattice_of(coords: Any) -> Lattice:
    """Rows and columns of spots on a complete square or hexagonal lattice; rows run along the first coordinate.

    Parameters
    ----------
    coords
        (spots, 2) positions in any unit.

    Returns
    -------
    The lattice.

    Raises
    ------
    ValueError
        A lattice with holes or ragged edges, or no lattice at all; a hexagonal one with an odd number of rows.

    Examples
    --------
    >>> lattice_of([[0, 0], [1, 0], [0, 1], [1, 1], [0, 2], [1, 2]]).n_rows
    3
    """
    coords = check_coords(coords)
    if coords.shape[1] != 2:
        _checks.fail(f"`coords` has {coords.shape[1]} axes, but a lattice has two.", "Use null='spectral'.")
    _, row = _levels(coords[:, 1])
    counts = np.bincount(row)
    if len(counts) < 2 or counts.min() < 2 or counts.min() != counts.max():
        _checks.fail(
            f"The {len(coords)} spots make no complete lattice: {len(counts)} rows with {counts.min()} to",
            f"{counts.max()} spots.",
            "Shifts around the edges need a full rectangle.",
            "Cut one out, or use null='spectral', which takes any graph.",
        )
    order = np.lexsort((coords[:, 0], row))
    col = np.empty(len(coords), dtype=np.int64)
    col[order] = np.tile(np.arange(counts[0]), len(counts))
    x = coords[order, 0].reshape(len(counts), -1)
    step = float(np.median(np.diff(x, axis=1)))
    offset = (x - x[0]).mean(axis=1) / step
    staggered = bool(np.abs(offset[1::2] - offset[0]).min() > 0.25)
    if np.abs(x - x[0] - (offset * step)[:, None]).max() > 0.3 * step or np.abs(offset).max() > 0.75:
        _checks.fail(
            "The rows of spots are not aligned, so that they make no lattice.",
            "Use null='spectral', which takes any graph.",
        )
    if staggered and len(counts) % 2:
        _checks.fail(
            f"A hexagonal lattice with {len(counts)} rows cannot be wrapped around: the number must be even.",
            "Leave out the last row, or use null='spectral'.",
        )
    return Lattice(len(counts), int(counts[0]), row * int(counts[0]) + col, staggered)
