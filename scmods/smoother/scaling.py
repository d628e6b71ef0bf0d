"""What weakens the edges of a spatial graph: labels, expression, any similarity. Factors multiply and commute."""

from __future__ import annotations

from typing import Any

import numpy as np
from scipy import sparse

from scmods import _checks
from scmods.smoother.coords import check_labels
from scmods.smoother.factor import asymmetry, square

__all__ = [
    "finish",
    "isolated_spots",
    "row_scaled",
    "scale_by_expression",
    "scale_by_labels",
    "scale_by_similarity",
]

GAUSSIAN = 0.1  # bandwidth of the Gaussian kernel on features scaled to a largest absolute value of 1
BLOCK = 2**22  # feature values of edges held at once


def isolated_spots(w: sparse.csr_array) -> np.ndarray:
    """Indices of the spots without an edge to any other spot, in either direction.

    Parameters
    ----------
    w
        Weights, spots x spots.

    Examples
    --------
    >>> import numpy as np
    >>> from scmods import smoother
    >>> from scipy import sparse
    >>> smoother.isolated_spots(sparse.csr_array(np.array([[0, 1, 0], [1, 0, 0], [0, 0, 0]]))).tolist()
    [2]
    """
    coo = sparse.coo_array(w)
    rows, columns = coo.coords
    keep = (rows != columns) & (coo.data > 0)
    linked = np.zeros(w.shape[0], dtype=bool)
    linked[rows[keep]] = linked[columns[keep]] = True
    return np.flatnonzero(~linked)


def row_scaled(w: sparse.csr_array) -> sparse.csr_array:
    """Weights divided by the sum of their row.

    Parameters
    ----------
    w
        Weights, spots x spots, no row of sum 0.

    Examples
    --------
    >>> import numpy as np
    >>> from scmods import smoother
    >>> from scipy import sparse
    >>> w = sparse.csr_array(np.array([[0.0, 2.0, 2.0], [1.0, 0.0, 0.0], [3.0, 1.0, 0.0]]))
    >>> smoother.row_scaled(w).toarray().tolist()
    [[0.0, 0.5, 0.5], [1.0, 0.0, 0.0], [0.75, 0.25, 0.0]]
    """
    out = w.copy()
    out.data = out.data / np.repeat(w.sum(axis=1), np.diff(w.indptr))
    return out


def finish(w: sparse.csr_array, *, row_scale: bool, level: int = 4) -> sparse.csr_array:
    """Drop zero weights, give spots without any weight one with themselves (reported), scale rows if asked.

    Parameters
    ----------
    w
        Weights, spots x spots.
    row_scale
        Divide by the row sums.
    level
        Frames between the warning and the caller to name.
    """
    w = sparse.csr_array(w)
    w.eliminate_zeros()
    alone = w.sum(axis=1) <= 0
    if alone.any():
        w = (w + sparse.diags_array(alone.astype(float))).tocsr()
        w.eliminate_zeros()
    w.sort_indices()
    cut = isolated_spots(w)
    if len(cut):
        _checks.warn(
            f"{len(cut)} of {w.shape[0]} spots have no neighbour; first: {_checks.listing(cut, 4)}. "
            "Each keeps a weight of 1 with itself and is not smoothed. More neighbours, mutual=False, or a boundary "
            "weight above 0 would join them.",
            level=level,
        )
    return row_scaled(w) if row_scale else w


def _weights(w: Any) -> sparse.csr_array:
    return square("The weight matrix", getattr(w, "swm_scaled", w))


def _edges(w: sparse.csr_array) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Row and column of every stored entry, and whether it lies off the diagonal."""
    rows = np.repeat(np.arange(w.shape[0]), np.diff(w.indptr))
    return rows, w.indices, rows != w.indices


def _multiplied(w: sparse.csr_array, factor: np.ndarray, *, row_scale: bool) -> sparse.csr_array:
    """Multiply the entries off the diagonal; a weight of a spot with itself is kept."""
    scaled = sparse.csr_array((w.data * factor, w.indices.copy(), w.indptr.copy()), shape=w.shape)
    return finish(scaled, row_scale=row_scale, level=5)


def scale_by_labels(
    w: Any, labels: Any, *, boundary: float = 0.0, row_scale: bool = False
) -> sparse.csr_array:
    """Weaken the edges between spots of different labels.

    Parameters
    ----------
    w
        Weights, spots x spots.
    labels
        (spots,) label of every spot; text, numbers or categories.
    boundary
        Factor in [0, 1] for edges that join different labels; 0 cuts them.
    row_scale
        Divide by the row sums at the end (the result is asymmetric).

    Returns
    -------
    CSR. Edges within a label are unchanged; the factor multiplies what is there.

    Raises
    ------
    ValueError
        Another number of labels, missing labels, a factor outside [0, 1].

    Warns
    -----
    NumericalWarning
        Spots that lose their last neighbour.

    Examples
    --------
    >>> import numpy as np
    >>> w = np.array([[0.0, 2.0, 2.0], [2.0, 0.0, 2.0], [2.0, 2.0, 0.0]])
    >>> scale_by_labels(w, ["a", "a", "b"], boundary=0.25).toarray().tolist()
    [[0.0, 2.0, 0.5], [2.0, 0.0, 0.5], [0.5, 0.5, 0.0]]
    """
    matrix = _weights(w)
    names = check_labels("labels", labels, matrix.shape[0])
    factor = _checks.number("boundary", boundary, 0.0, 1.0, "0 cuts the edges, 1 leaves them.")
    rows, columns, _ = _edges(matrix)
    return _multiplied(matrix, np.where(names[rows] == names[columns], 1.0, factor), row_scale=row_scale)


def scale_by_similarity(w: Any, similarity: Any, *, row_scale: bool = False) -> sparse.csr_array:
    """Multiply the edges by a similarity of their two spots.

    Parameters
    ----------
    w
        Weights, spots x spots.
    similarity
        spots x spots, dense or sparse, symmetric and not negative; read only where `w` has an edge.
    row_scale
        Divide by the row sums at the end (the result is asymmetric).

    Returns
    -------
    CSR; weights of a spot with itself are left alone.

    Raises
    ------
    ValueError
        Another shape; on the edges: negative, missing or asymmetric similarities.

    Warns
    -----
    NumericalWarning
        Spots that lose their last neighbour.

    Examples
    --------
    >>> import numpy as np
    >>> from scmods import smoother
    >>> pair = np.array([[0.0, 1.0], [1.0, 0.0]])
    >>> smoother.scale_by_similarity(pair, np.array([[1.0, 0.5], [0.5, 1.0]])).toarray().tolist()
    [[0.0, 0.5], [0.5, 0.0]]
    """
    matrix = _weights(w)
    n = matrix.shape[0]
    if hasattr(similarity, "detach"):
        similarity = similarity.detach().cpu()
        similarity = (similarity.to_dense() if similarity.is_sparse else similarity).numpy()
    values = similarity if sparse.issparse(similarity) else _checks.numeric("`similarity`", similarity)
    if values.shape != (n, n):
        _checks.fail(
            f"`similarity` has shape {tuple(values.shape)}, but must be {n} x {n}: spots x spots.",
            "Pass the similarity of every pair of spots, in the order of the spots.",
        )
    rows, columns, off = _edges(matrix)
    picked = sparse.csr_array(values) if sparse.issparse(values) else values
    factor = np.ones(len(rows))
    factor[off] = np.asarray(picked[rows[off], columns[off]], dtype=np.float64).ravel()
    _check_factor(matrix, factor)
    return _multiplied(matrix, factor, row_scale=row_scale)


def _check_factor(w: sparse.csr_array, factor: np.ndarray) -> None:
    """Refuse similarities that would make no weights."""
    rows, columns, _ = _edges(w)
    bad = np.flatnonzero(~np.isfinite(factor) | (factor < 0))
    if len(bad):
        at = ", ".join(f"({rows[e]}, {columns[e]}) = {factor[e]:.3g}" for e in bad[:3])
        _checks.fail(
            f"`similarity` is negative, NaN or infinite on {len(bad)} edges; first: {at}.",
            "Expected finite numbers of at least 0: weights must not be negative.",
            "Cut it at 0: `similarity.clip(0)`.",
        )
    row, column, gap = asymmetry(sparse.csr_array((factor, w.indices, w.indptr), shape=w.shape))
    if asymmetry(_ones(w))[2] == 0 and gap > 1e-10 * factor.max(initial=0.0):
        _checks.fail(
            f"`similarity` is not symmetric: entries ({row}, {column}) and ({column}, {row}) differ by {gap:.3g}.",
            "Use the mean with its transpose: `(similarity + similarity.T) / 2`.",
        )


def _ones(w: sparse.csr_array) -> sparse.csr_array:
    return sparse.csr_array((np.ones(w.nnz), w.indices, w.indptr), shape=w.shape)


def _features(expression: Any, n: int, reduce: str, n_comps: int) -> np.ndarray:
    """Dense features of every spot: scores of the z-scored genes, or the profile itself."""
    shape = np.shape(expression)
    if len(shape) != 2 or shape[0] != n:
        flipped = len(shape) == 2 and shape[1] == n
        _checks.fail(
            f"`expression` has shape {shape}, but must be spots x genes with {n} spots.",
            "Transpose it: `expression.T`." if flipped else "Pass the rows of the same spots as the graph.",
        )
    if reduce == "none":
        values = _checks.numeric("`expression`", expression)
        _checks.finite("`expression`", values)
        return values
    from scmods import _arrays
    from scmods.graph import pca

    found = _arrays.moments(expression)
    kept = int((found.std > 0).sum())
    if not kept:
        _checks.fail(
            f"All {shape[1]} genes are constant, so that spots cannot be compared.",
            "Pass expression that varies, for instance highly variable genes.",
        )
    return np.asarray(pca(expression, min(n_comps, kept, n - 1), moments=found).scores)


def scale_by_expression(
    w: Any,
    expression: Any,
    *,
    dist_metric: str = "cosine",
    reduce: str = "pca",
    n_comps: int = 10,
    row_scale: bool = False,
) -> sparse.csr_array:
    """Weaken the edges between spots whose expression differs.

    Parameters
    ----------
    w
        Weights, spots x spots.
    expression
        spots x genes, dense or sparse; log-normalised values.
    dist_metric
        ``"cosine"``: the factor is the cosine of the two feature vectors, 0 where it is negative. ``"euclidean"``:
        features divided by their largest absolute value, then exp(-d^2 / (2 0.1^2)).
    reduce
        ``"pca"``: features are the principal component scores of the z-scored genes; ``"none"``: the profile itself.
    n_comps
        Components, cut to what the data allow (genes that vary, spots - 1).
    row_scale
        Divide by the row sums at the end (the result is asymmetric).

    Returns
    -------
    CSR; only existing edges are looked at, in blocks, and nothing is random.

    Raises
    ------
    ValueError
        Another number of spots, missing values, genes that are all constant, unknown options.

    Warns
    -----
    NumericalWarning
        Spots with an all-zero feature vector, and spots that lose their last neighbour.

    Examples
    --------
    >>> import numpy as np
    >>> from scmods import smoother
    >>> pair = np.array([[0.0, 1.0], [1.0, 0.0]])
    >>> y = np.array([[1.0, 2.0], [2.0, 4.0]])  # the same direction: nothing is weakened
    >>> smoother.scale_by_expression(pair, y, reduce="none").toarray().round(6).tolist()
    [[0.0, 1.0], [1.0, 0.0]]
    """
    matrix = _weights(w)
    metric, how = str(dist_metric).lower(), str(reduce).lower()
    metric = {"cos": "cosine", "eu": "euclidean"}.get(metric, metric)
    _checks.one_of("dist_metric", metric, ("cosine", "euclidean"))
    _checks.one_of("reduce", how, ("pca", "none"))
    z = _features(expression, matrix.shape[0], how, _checks.integer("n_comps", n_comps))
    if metric == "cosine":
        norm = np.linalg.norm(z, axis=1)
        if (norm == 0).any():
            zero = np.flatnonzero(norm == 0)
            _checks.warn(
                f"{len(zero)} spots have an all-zero profile, hence cosine 0 with every neighbour; "
                f"first: {_checks.listing(zero, 4)}.",
            )
        z = z / np.where(norm > 0, norm, 1.0)[:, None]
    else:
        z = z / max(np.abs(z).max(initial=0.0), np.finfo(float).tiny)
    rows, columns, off = _edges(matrix)
    factor = np.ones(len(rows))
    edges = np.flatnonzero(off)
    for part in np.array_split(edges, 1 + len(edges) * z.shape[1] // BLOCK):
        a, b = z[rows[part]], z[columns[part]]
        if metric == "cosine":
            factor[part] = np.maximum(np.einsum("ij,ij->i", a, b), 0.0)
        else:
            factor[part] = np.exp(-((a - b) ** 2).sum(axis=1) / (2 * GAUSSIAN**2))
    return _multiplied(matrix, factor, row_scale=row_scale)
