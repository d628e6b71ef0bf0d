"""Cells in chunks, so that a million of them needs no array of cells x markers beside the result."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from anndata import AnnData

__all__ = ["CHUNK", "chunks"]

CHUNK = 131_072  # a multiple of the blocks in which the flow is computed, so that chunks change no bit


def chunks(adata: AnnData) -> Iterator[tuple[slice, AnnData]]:
    """Yield the rows and the cells of chunks of at most `CHUNK` cells: dense, sparse, backed and views alike.

    Parameters
    ----------
    adata
        Cells. Few cells come as they are, without a view; so does any part of a file, which anndata cannot index again.
    """
    whole = adata.n_obs <= CHUNK or (adata.isbacked and adata.is_view)
    size = max(adata.n_obs, 1) if whole else CHUNK
    for start in range(0, adata.n_obs, size):
        rows = slice(start, min(start + size, adata.n_obs))
        yield rows, adata if whole else adata[rows]
