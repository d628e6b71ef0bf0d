"""Sparse linear systems behind imputation and denoising, in blocks of genes; errors that name the lost component."""

from __future__ import annotations

from typing import Any

import numpy as np
from scipy import sparse

from scmods import _checks
from scmods.smoother._models import components_of
from scmods.smoother.factor import Factor, factorize

__all__ = ["column_blocks", "denoise_factor", "impute_factor", "refuse_unseen"]

BLOCK = 2**24  # numbers of one block of right-hand sides


def column_blocks(n_rows: int, n_cols: int) -> list[slice]:
    """Blocks of genes of at most BLOCK numbers."""
    step = max(1, BLOCK // max(n_rows, 1))
    return [slice(s, min(s + step, n_cols)) for s in range(0, n_cols, step)]


def refuse_unseen(q: sparse.csr_array, observed: np.ndarray) -> None:
    """Refuse a component without observed spot under a prior that leaves its level open."""
    count, label = components_of(q)
    seen = np.bincount(label, weights=observed, minlength=count) > 0
    open_level = np.abs(q.sum(axis=1)) <= 1e-12 * np.maximum(q.diagonal(), 1e-300)
    lost = [c for c in np.flatnonzero(~seen) if open_level[label == c].all()]
    if lost:
        size = np.bincount(label, minlength=count)
        spots = np.flatnonzero(label == lost[0])
        _checks.fail(
            f"{len(lost)} of {count} components of the graph have no observed spot,",
            "and with rho=1 nothing sets their level.",
            f"The first has {size[lost[0]]} spots: {_checks.listing(spots)}.",
            "Use rho=0.99, join it by more neighbours (`smoother.spatial_weights(adata, n_neighbors=...)`),",
            "or drop these spots.",
        )


def impute_factor(q: sparse.csr_array, observed: np.ndarray) -> tuple[Factor, sparse.csr_array]:
    """Factor of the block of missing spots, and the block that joins them to the observed ones."""
    refuse_unseen(q, observed)
    rows = q[np.flatnonzero(~observed)]
    return factorize(rows[:, np.flatnonzero(~observed)]), rows[:, np.flatnonzero(observed)]


def denoise_factor(q: sparse.csr_array, observed: np.ndarray, smoothing: float) -> Factor:
    """Factor of I_observed + smoothing (observed / spots) Q."""
    refuse_unseen(q, observed)
    share = smoothing * observed.sum() / len(observed)
    return factorize(share * q + sparse.diags_array(observed.astype(np.float64)))


def dense_rows(x: Any, rows: np.ndarray, columns: slice) -> np.ndarray:
    """Dense float64 block of a dense or CSR matrix."""
    block = x[rows][:, columns]
    return np.ascontiguousarray(block.toarray() if sparse.issparse(block) else block, dtype=np.float64)
