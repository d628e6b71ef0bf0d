"""Principal components by exact eigendecomposition of a Gram matrix, reading the cells in blocks."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, NamedTuple

import numpy as np

from scmods import _arrays, _checks
from scmods.graph._signs import fix_signs

__all__ = ["Pca", "pca"]

GRAM_BYTES = 4e9  # above this, warn


class Pca(NamedTuple):
    """Result of :func:`pca`; unpacks to ``scores, loadings, variance``.

    Examples
    --------
    >>> import numpy as np
    >>> from scmods import graph
    >>> scores, loadings, variance = graph.pca(np.random.default_rng(0).normal(size=(20, 5)), 2)
    >>> scores.shape, loadings.shape, variance.shape
    ((20, 2), (5, 2), (2,))
    """

    scores: np.ndarray  # cells x components
    loadings: np.ndarray  # genes x components, orthonormal columns
    variance: np.ndarray  # components, descending, divisor n - 1


class _Scaled:
    """Centred, scaled and clipped blocks of cells of any matrix."""

    def __init__(
        self, x: Any, rows: np.ndarray | None, moments: _arrays.Moments, clip: float | None, *, scale: bool
    ) -> None:
        self.x, self.rows, self.moments, self.clip, self.scale = x, rows, moments, clip, scale
        self.shape = (x.shape[0] if rows is None else len(rows), x.shape[1])
        self.mean = np.zeros(self.shape[1])
        if self.clip is not None or rows is not None:  # clipping, or moments of other cells, moves the mean
            self.mean = sum(block.sum(axis=0) for _, block in self) / self.shape[0]

    def __iter__(self) -> Iterator[tuple[slice, np.ndarray]]:
        for part, block in _arrays.blocks(self.x, self.rows):
            if self.scale:
                out = self.moments.scale(block, self.clip)
            else:
                out = block - self.moments.mean
            yield part, out - self.mean


def _by_genes(data: _Scaled, m: int) -> Pca:
    from scipy.linalg import eigh

    n, g = data.shape
    gram = np.zeros((g, g))
    for _, block in data:
        gram += block.T @ block
    values, vectors = eigh(gram, subset_by_index=[g - m, g - 1], overwrite_a=True)
    loadings = fix_signs(vectors[:, ::-1])
    scores = np.empty((n, m))
    for part, block in data:
        scores[part] = block @ loadings
    return Pca(scores, loadings, np.maximum(values[::-1], 0.0) / (n - 1))


def _by_cells(data: _Scaled, m: int) -> Pca:
    from scipy.linalg import eigh

    n, g = data.shape
    gram = np.empty((n, n))
    for part, block in data:
        for other, second in data:
            if other.start > part.start:
                break
            gram[part, other] = block @ second.T
            gram[other, part] = gram[part, other].T
    values, vectors = eigh(gram, subset_by_index=[n - m, n - 1], overwrite_a=True)
    values, vectors = np.maximum(values[::-1], 0.0), vectors[:, ::-1]
    loadings = np.zeros((g, m))
    for part, block in data:
        loadings += block.T @ vectors[part]
    # the singular value is the norm of the column, also where the eigenvalue has lost it to rounding
    loadings, _ = np.linalg.qr(loadings)
    loadings = fix_signs(loadings)
    scores = np.empty((n, m))
    for part, block in data:
        scores[part] = block @ loadings
    return Pca(scores, loadings, values / (n - 1))


def pca(
    x: Any,
    n_comps: int,
    *,
    scale: bool = True,
    clip: float | None = None,
    moments: _arrays.Moments | None = None,
    rows: np.ndarray | None = None,
) -> Pca:
    """Exact principal components of a dense, sparse or backed matrix, without a dense copy of it.

    Parameters
    ----------
    x
        cells x genes: numpy array, scipy sparse matrix or backed array.
    n_comps
        Components, at most min(cells - 1, genes).
    scale
        Divide every gene by its standard deviation (constant genes become 0); ``False`` only centres.
    clip
        Largest absolute z-score; larger ones are cut. Only with `scale`.
    moments
        Means and standard deviations to scale with, from ``scmods._arrays.moments``; by default those of the
        rows used.
    rows
        Indices of the cells to use, all by default.

    Returns
    -------
    scores
        cells used x components, in the order of `rows`; columns have mean 0.
    loadings
        genes x components, orthonormal columns; the largest absolute entry of a column is positive.
    variance
        Variance of every score, descending.

    Raises
    ------
    ValueError
        Too many components, NaN or infinity, `clip` without `scale`.

    Notes
    -----
    No random part. With g genes and n cells the smaller of the g x g and n x n Gram matrices is built in
    blocks and decomposed: O(n g min(n, g)) time, memory of that matrix and one block. Blocks are centred
    again after clipping.

    Examples
    --------
    >>> import numpy as np
    >>> from scmods import graph
    >>> x = np.outer([-1.0, 0.0, 1.0], [1.0, 2.0])  # two genes that vary together
    >>> scores, _, variance = graph.pca(x, 1)
    >>> scores.shape, variance.round(6).tolist()
    ((3, 1), [2.0])
    """
    n, g = (x.shape[0] if rows is None else len(rows)), x.shape[1]
    m = _checks.integer("n_comps", n_comps, 1, min(n - 1, g), f"There are {n} cells and {g} genes.")
    if clip is not None:
        clip = _checks.number("clip", clip, 0.0)
        if not scale:
            _checks.fail(
                f"clip={clip:g} is a bound on z-scores, but scale=False makes none. Drop one of the two."
            )
    if moments is None:
        moments = _arrays.moments(x, rows)
    small = min(n, g)
    if small**2 * 8 > GRAM_BYTES:
        _checks.warn(
            f"The Gram matrix of {small} x {small} values takes {small**2 * 8e-9:.1f} GB. "
            "Keep highly variable genes: `scanpy.pp.highly_variable_genes(adata)`.",
            _checks.PerformanceWarning,
        )
    data = _Scaled(x, rows, moments, clip, scale=scale)
    return _by_genes(data, m) if g <= n else _by_cells(data, m)
