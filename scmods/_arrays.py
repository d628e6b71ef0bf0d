"""AnnData slot <-> array: sparse, dense, backed, views and half precision, in blocks of cells.

Callers work on dense float blocks of a few thousand cells and never need a dense copy of the whole matrix.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from scmods import _checks

if TYPE_CHECKING:
    import torch
    from anndata import AnnData

__all__ = [
    "Moments",
    "blocks",
    "dense",
    "log_normalized",
    "matrix",
    "moments",
    "read_rows",
    "to_numpy",
    "to_tensor",
]

BLOCK_BYTES = (
    64 * 2**20
)  # one dense block of cells; small enough for a laptop's cache hierarchy and a crowded class


def matrix(adata: AnnData, layer: str | None = None) -> Any:
    """``X``, or the layer of that name: a numpy array, a scipy sparse matrix or a backed array, not copied."""
    if layer is None:
        if adata.X is None:
            _checks.fail(
                "`adata.X` is empty.",
                f"Available layers: {_checks.listing(adata.layers.keys())}.",
                "Name one with layer='...'.",
                kind=_checks.MissingKeyError,
            )
        return adata.X
    _checks.key(adata, "layers", layer, "Use layer=None for adata.X.")
    return adata.layers[layer]


def _dense(block: Any, dtype: np.dtype | type) -> np.ndarray:
    block = block.toarray() if hasattr(block, "toarray") else np.asarray(block)
    if block.dtype.kind not in "biuf":
        _checks.fail(f"The matrix has type {block.dtype}, but must be numeric.", kind=TypeError)
    return np.ascontiguousarray(block, dtype=dtype)


def read_rows(x: Any, rows: np.ndarray | slice, dtype: np.dtype | type = np.float64) -> np.ndarray:
    """Dense copy of some rows of any matrix that `matrix` returns, in the order asked for.

    Backed arrays accept only increasing indices without repeats; the rows are read so and put back.
    """
    if isinstance(rows, slice) or isinstance(x, np.ndarray):
        return _dense(x[rows], dtype)
    once, back = np.unique(np.asarray(rows, dtype=np.intp), return_inverse=True)
    return _dense(x[once], dtype)[back]


def blocks(
    x: Any, rows: np.ndarray | None = None, *, dtype: np.dtype | type = np.float64, size: int | None = None
) -> Iterator[tuple[slice, np.ndarray]]:
    """Yield ``(slice of the output rows, dense block)`` over all rows of `x`, or over the given `rows`.

    Memory: one block of at most 64 MiB unless `size` (rows per block) says otherwise.
    """
    n = x.shape[0] if rows is None else len(rows)
    width = max(1, int(x.shape[1])) * np.dtype(dtype).itemsize
    size = size or max(1, BLOCK_BYTES // width)
    for start in range(0, n, size):
        part = slice(start, min(start + size, n))
        yield part, read_rows(x, part if rows is None else np.asarray(rows)[part], dtype)


def dense(x: Any, rows: np.ndarray | None = None, *, dtype: np.dtype | type = np.float64) -> np.ndarray:
    """Dense copy of the whole matrix (or of `rows`), with a warning above 4 GB."""
    n = x.shape[0] if rows is None else len(rows)
    gigabytes = n * x.shape[1] * np.dtype(dtype).itemsize / 1e9
    if gigabytes > 4:
        _checks.warn(
            f"A dense copy of {n} x {x.shape[1]} values takes {gigabytes:.1f} GB. "
            "Keep highly variable genes, or use the primal form: n_pcs=50.",
            _checks.PerformanceWarning,
        )
    return read_rows(x, slice(None) if rows is None else rows, dtype)


@dataclass(frozen=True)
class Moments:
    """Mean and standard deviation of every column, the scale used for z-scores, and what was seen on the way."""

    mean: np.ndarray
    std: np.ndarray
    n_constant: int
    integers: bool
    negative: bool
    largest: float

    def scale(self, block: np.ndarray, clip: float | None = None) -> np.ndarray:
        """Z-scores of a dense block; constant columns become 0."""
        std = np.where(self.std > 0, self.std, 1.0)
        out = (block - self.mean.astype(block.dtype)) / std.astype(block.dtype)
        return out if clip is None else np.clip(out, -clip, clip)


def moments(x: Any, rows: np.ndarray | None = None, names: Any = None) -> Moments:
    """Column moments (n - 1) in blocks; refuses NaN and infinity, naming the first rows.

    Two passes are avoided by Chan's update, so a backed file is read once. Time O(n g), memory one block.
    """
    total, mean, spread = 0, 0.0, 0.0
    integers, negative, largest = True, False, 0.0
    for part, block in blocks(x, rows):
        index = np.arange(part.start, part.stop) if rows is None else np.asarray(rows)[part]
        _checks.finite("The matrix", block, None if names is None else np.asarray(names)[index])
        integers = integers and bool((block == np.rint(block)).all())
        negative = negative or bool((block < 0).any())
        largest = max(largest, float(np.abs(block).max(initial=0.0)))
        n, m = len(block), block.mean(axis=0)
        delta = m - mean
        spread = spread + ((block - m) ** 2).sum(axis=0) + delta**2 * (total * n / (total + n))
        mean = mean + delta * (n / (total + n))
        total += n
    variance = np.atleast_1d(spread) / max(total - 1, 1)
    # rounding leaves a constant column a variance of about (eps * mean)^2
    variance[variance <= (1e-12 * np.maximum(1.0, np.abs(mean))) ** 2] = 0.0
    return Moments(
        np.atleast_1d(mean), np.sqrt(variance), int((variance == 0).sum()), integers, negative, largest
    )


def to_tensor(
    x: Any, dtype: torch.dtype | None = None, device: str | torch.device | None = None
) -> torch.Tensor:
    """Dense tensor of a numpy, sparse or backed array; float64 by default."""
    import torch

    array = x.toarray() if hasattr(x, "toarray") else np.asarray(x)
    if array.dtype == np.float16:
        array = array.astype(np.float32)
    # a view or a backed read may be read-only; torch wants to own its memory
    return torch.tensor(array, dtype=dtype or torch.float64, device=device)


def to_numpy(x: Any, dtype: np.dtype | type | None = None) -> np.ndarray:
    """Numpy copy of a tensor (any device, with or without gradient) or array."""
    array = x.detach().cpu().numpy() if hasattr(x, "detach") else np.asarray(x)
    return array.astype(dtype, copy=True) if dtype is not None else np.array(array)


def log_normalized(x: np.ndarray) -> np.ndarray:
    """Counts scaled to their median total and logged, cells x genes; what is no counts is returned as it is.

    Rows without a count stay zero. No count at all is refused.
    """
    if (x < 0).any() or (x != np.rint(x)).any():
        return x
    total = x.sum(axis=1, keepdims=True)
    if not total.any():
        _checks.fail(
            "The matrix has no count at all, so there is nothing to normalise.",
            "Name the layer that holds the values: layer='...'.",
        )
    return np.log1p(x / np.where(total > 0, total, 1.0) * np.median(total[total > 0]))
