"""Entries of a table that the cells deny."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from scmods import _checks
from scmods.scyan import _readout

if TYPE_CHECKING:
    import pandas as pd
    from anndata import AnnData

    from scmods.scyan.model import Scyan

__all__ = ["contradictions"]


def contradictions(
    model: Scyan,
    adata: AnnData | None = None,
    *,
    share: float = 0.5,
    certainty: float = 0.9,
    min_cells: int = 10,
) -> pd.DataFrame:
    """Entries of the table that the cells deny: typing errors, markers that failed, wrong knowledge.

    Every marker is left out in turn. The cells that the OTHER markers assign to a row with certainty, and those that
    all markers do, are looked up in the measured intensities of the marker left out, batches being standardised. The
    border between negative and positive lies half way between what the OTHER rows with known entries show there. So a
    wrong entry neither keeps its cells away from the row, nor moves the border, and a flow that bends cells to fit it
    cannot hide it.

    Parameters
    ----------
    model
        A trained `Scyan`.
    adata
        Cells; those the model was trained on by default.
    share
        Entries are listed if more than this share of the cells is on the other side; 0 lists what any cell denies.
    certainty
        Least posterior of a row without the marker.
    min_cells
        Entries with fewer such cells are not judged, and tell nothing about others.

    Returns
    -------
    DataFrame, the worst first: ``population``, ``marker``, ``entry`` (of the table), ``wrong`` (share of the cells on
    the other side), ``latent`` (mean latent value of the marker), ``cells`` (number), ``border`` ("rows", or "mixture"
    where no other row is known to be positive, or none to be negative: then two Gaussians give the border, a weaker
    evidence) and ``separated`` (False where no other marker tells the population from another one: then the cells of
    both are mixed, and the share says little). Entries of doubtful kinds come last. Empty for a table that no cell
    contradicts. Entries of 0 have no side and are not judged.

    Raises
    ------
    MissingKeyError, TypeError, ValueError
        Numbers outside their range; cells that the model cannot read.

    Notes
    -----
    O(cells populations markers) time, in blocks.

    Examples
    --------
    >>> from scmods import scyan
    >>> adata = scyan.cytometry(300, 5, 6)
    >>> model = scyan.Scyan(adata).fit(max_epochs=1)
    >>> list(scyan.contradictions(model).columns)
    ['population', 'marker', 'entry', 'wrong', 'latent', 'cells', 'border', 'separated']
    """
    import pandas as pd

    _checks.number("share", share, 0.0, 1.0)
    _checks.number("certainty", certainty, 0.0, 1.0)
    _checks.integer("min_cells", min_cells)
    data = _readout.cells_of(model, adata)
    u, x = model.latent(data), _intensities(model, data)
    winner, with_all = _without_each(model, u, certainty)
    rho = model.table.to_numpy(dtype=np.float64)
    rest, rows = _mixture_borders(x), []
    separated = _separated(rho)
    for m, marker in enumerate(model.markers):
        members = [np.flatnonzero((winner[:, m] == p) | (with_all == p)) for p in range(len(rho))]
        level = np.array([np.median(x[at, m]) if len(at) >= min_cells else np.nan for at in members])
        for p, at in enumerate(members):
            entry = rho[p, m]
            if np.isnan(entry) or entry == 0 or len(at) < min_cells:
                continue
            border = _border(level, rho[:, m], p)
            above = x[at, m] > (rest[m] if np.isnan(border) else border)
            wrong = float((above if entry < 0 else ~above).mean())
            kind = "mixture" if np.isnan(border) else "rows"
            latent = float(u[at, m].mean())
            rows.append((model.names[p], marker, entry, wrong, latent, len(at), kind, bool(separated[p, m])))
    columns = ["population", "marker", "entry", "wrong", "latent", "cells", "border", "separated"]
    out = pd.DataFrame(rows, columns=columns)
    out = out[out["wrong"] > share]
    order = ["separated", "border", "wrong", "cells"]  # "rows" sorts behind "mixture"
    return out.sort_values(order, ascending=False, kind="stable", ignore_index=True)


def _border(level: np.ndarray, entries: np.ndarray, p: int) -> float:
    """Half way between the levels of the other rows that are negative and positive; NaN where a side is missing."""
    other = (np.arange(len(level)) != p) & ~np.isnan(level)
    low, high = level[other & (entries < 0)], level[other & (entries > 0)]
    if not len(low) or not len(high) or np.median(high) <= np.median(low):
        return float("nan")
    return float(np.median(low) + np.median(high)) / 2


def _mixture_borders(x: np.ndarray) -> np.ndarray:
    from scmods.scyan.mixture import two_components

    return two_components(x, refine=False).thresholds()


def _intensities(model: Scyan, adata: AnnData) -> np.ndarray:
    """(cells, markers) measured intensities, standardised in every batch."""
    from scmods.scyan.values import marker_values

    x = marker_values(adata, list(model.markers), layer=model.layer, transformed=True)
    number = model.encoding.numbers(adata)
    for b in np.unique(number):
        rows = number == b
        std = x[rows].std(axis=0)
        x[rows] = (x[rows] - x[rows].mean(axis=0)) / np.where(std > 0, std, 1.0)
    return x


def _without_each(model: Scyan, u: np.ndarray, certainty: float) -> tuple[np.ndarray, np.ndarray]:
    """(cells, markers) row that the other markers choose with certainty, and (cells,) that all choose; -1 for none."""
    weights = _readout.row_weights(model)
    out, with_all = np.empty(u.shape, dtype=np.int32), np.empty(len(u), dtype=np.int32)
    for rows, each in _readout.terms(model, u):
        joint = each.sum(axis=2) + weights
        out[rows] = _certain(joint[:, :, None] - each, certainty, len(model.names))
        with_all[rows] = _certain(joint, certainty, len(model.names))
    return out, with_all


def _certain(joint: np.ndarray, certainty: float, n_pops: int) -> np.ndarray:
    """Row of largest joint density (axis 1) if its posterior is large enough and it is a population; -1 otherwise."""
    best, top = joint.argmax(axis=1), joint.max(axis=1)
    sure = 1 / np.exp(joint - top[:, None]).sum(axis=1) >= certainty
    return np.where(sure & (best < n_pops), best, -1)


def _separated(rho: np.ndarray) -> np.ndarray:
    """(populations, markers) whether the other markers still tell the row from every other one."""
    differ = np.abs(rho[:, None] - rho[None]) > 0.5  # NaN compares as False
    count = differ.sum(axis=2)
    np.fill_diagonal(count, rho.shape[1] + 1)
    return (count[:, :, None] - differ).min(axis=1) > 0
