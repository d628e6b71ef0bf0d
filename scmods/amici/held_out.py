"""Choosing cells: a strip of the tissue to hold out, masks and lists of positions."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from scmods import _checks
from scmods.amici.inputs import coordinates

if TYPE_CHECKING:
    from anndata import AnnData

__all__ = ["held_out_mask", "positions", "strip"]


def strip(
    adata: AnnData, *, spatial_key: str = "spatial", low: float = 0.45, high: float = 0.55
) -> np.ndarray:
    """Mask of a vertical strip of the tissue, to be held out.

    Parameters
    ----------
    adata
        Cells.
    spatial_key
        Key of ``obsm``.
    low, high
        Edges of the strip as shares of the width, in [0, 1].

    Returns
    -------
    (cells,) bool.

    Raises
    ------
    MissingKeyError, ValueError
        No positions, edges out of order, or a strip without or with all cells.

    Examples
    --------
    >>> from scmods.amici.simulate import semisynthetic
    >>> int(strip(semisynthetic(1000, 30)).sum()) > 50
    True
    """
    _checks.number("low", low, 0.0, 1.0)
    _checks.number("high", high, 0.0, 1.0)
    if low >= high:
        _checks.fail(
            f"`low` is {low:g} and `high` {high:g}, but low must be below high: low=0.45, high=0.55."
        )
    x = coordinates(adata, spatial_key)[:, 0]
    left, width = x.min(), np.ptp(x)
    mask = (x >= left + low * width) & (x <= left + high * width)
    if mask.all() or not mask.any():
        _checks.fail(
            f"The strip from {low:g} to {high:g} of the width holds {int(mask.sum())} of {len(x)} cells,",
            "but must hold some and not all. Choose other edges.",
        )
    return mask


def positions(name: str, cells: Any, n: int) -> np.ndarray:
    """Positions of a mask, a list of positions, or None for all; refuses the rest.

    Parameters
    ----------
    name
        Of the argument, for the message.
    cells
        What was given.
    n
        Number of cells.
    """
    if cells is None:
        return np.arange(n)
    at = np.asarray(cells)
    if at.dtype == bool and at.shape == (n,):
        return np.flatnonzero(at)
    if at.ndim != 1 or (at.size and at.dtype.kind not in "iu"):
        _checks.fail(
            f"`{name}` has type {at.dtype} and shape {at.shape}, but must be a mask of {n} cells,",
            "or a list of positions.",
            kind=TypeError,
        )
    if at.size and (at.min() < 0 or at.max() >= n):
        _checks.fail(
            f"`{name}` holds positions {at.min()} to {at.max()}, but cells are counted from 0 to {n - 1}."
        )
    return at.astype(np.int64)


def held_out_mask(held_out: Any, codes: np.ndarray, types: list[str]) -> np.ndarray:
    """(cells,) bool of the cells held out; refuses to leave a type without cells to learn from.

    Parameters
    ----------
    held_out
        (cells,) bool, positions, or None for no cell.
    codes
        (cells,) types.
    types
        Their names.
    """
    mask = np.zeros(len(codes), dtype=bool)
    if held_out is not None:
        mask[positions("held_out", held_out, len(codes))] = True
    seen = np.bincount(codes[~mask], minlength=len(types))
    if (seen == 0).any():
        lost = [t for t, n in zip(types, seen, strict=True) if n == 0]
        _checks.fail(
            f"All cells of the types {_checks.listing(lost)} are held out, so nothing can be learned of them.",
            "Hold out fewer cells, or drop these types before the call.",
        )
    return mask
