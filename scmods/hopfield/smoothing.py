"""From counts to smoothed counts: size normalisation, neighbours, means over neighbours."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

import numpy as np

from scmods import _arrays, _checks, graph
from scmods.hopfield import checks
from scmods.hopfield.keys import Keys

if TYPE_CHECKING:
    from anndata import AnnData
    from scipy import sparse

__all__ = ["columns", "counts", "mean_and_variance", "moments", "neighbors", "positions", "size_normalised"]

MOST_GENES = 2000  # for the principal components; the others vary less


def counts(adata: AnnData, layer: str | None, argument: str) -> sparse.csr_array:
    """Counts as float64 CSR; refuses NaN and negative values, warns of values that look logged.

    Parameters
    ----------
    adata
        Cells.
    layer
        Name of the layer; None for ``X``.
    argument
        Name of the argument that holds the name, for the message.
    """
    from scipy import sparse

    if layer is not None:
        _checks.key(adata, "layers", layer, f"Name the layer of counts: {argument}='...'.")
    x = checks.expression(adata, layer)
    parts = [sparse.csr_array(block) for _, block in _arrays.blocks(x)]
    out = sparse.csr_array(sparse.vstack(parts, format="csr"))
    where = "adata.X" if layer is None else f"adata.layers[{layer!r}]"
    top = float(out.data.max(initial=0.0))
    if top == 0:
        _checks.fail(f"`{where}` holds nothing but zeros. Name the layer of counts: {argument}='...'.")
    if top < 15 and (out.data != np.rint(out.data)).any():
        _checks.warn(
            f"`{where}` looks logged: its values are not whole numbers and the largest is {top:.3g}. "
            f"Smoothing needs counts. Name their layer: {argument}='...'.",
            level=4,
        )
    return out


def size_normalised(x: sparse.csr_array, names: Any, what: str, *, strict: bool) -> sparse.csr_array:
    """Every cell scaled to the median total of the cells with counts.

    Parameters
    ----------
    x
        (cells, genes) counts.
    names
        Names of the cells.
    what
        The matrix, for the message.
    strict
        Refuse cells without counts; otherwise warn and leave them at 0.
    """
    total = np.asarray(x.sum(axis=1)).ravel()
    empty = total == 0
    if empty.any():
        first = _checks.listing(np.asarray(names)[empty], 3)
        text = f"{what} has {int(empty.sum())} cells without any count; first: {first}."
        if strict:
            _checks.fail(
                text,
                "Every cell needs a total above 0. Drop them:",
                f"`adata = adata[np.ravel({what.strip('`')}.sum(axis=1)) > 0].copy()`.",
            )
        _checks.warn(f"{text} They enter the means over neighbours as zeros.", level=4)
    factor = np.median(total[~empty]) / np.where(empty, 1.0, total)
    out = x.copy()
    out.data *= np.repeat(factor, np.diff(x.indptr))
    return out


def positions(x: sparse.csr_array, n_pcs: int) -> np.ndarray:
    """Principal components of ln(1 + x), centred and not scaled, of the 2,000 most varying genes.

    Parameters
    ----------
    x
        (cells, genes) size-normalised expression.
    n_pcs
        Components; fewer where there are fewer genes or cells.
    """
    logged = x.copy()
    np.log1p(logged.data, out=logged.data)
    if x.shape[1] > MOST_GENES:
        order = np.argsort(-mean_and_variance(logged)[1], kind="stable")[:MOST_GENES]
        logged = logged[:, np.sort(order)]
    n_pcs = min(_checks.integer("n_pcs", n_pcs), logged.shape[0] - 1, logged.shape[1])
    return graph.pca(logged, n_pcs, scale=False).scores


def mean_and_variance(x: sparse.csr_array) -> tuple[np.ndarray, np.ndarray]:
    """Mean and variance (divisor n) of every gene.

    Parameters
    ----------
    x
        (cells, genes).
    """
    n = x.shape[0]
    mean = np.asarray(x.sum(axis=0)).ravel() / n
    square = np.asarray(x.multiply(x).sum(axis=0)).ravel() / n
    return mean, np.maximum(square - mean**2, 0.0)


def neighbors(
    adata: AnnData, x: sparse.csr_array | None, n_neighbors: int, n_pcs: int, use_rep: str | None
) -> tuple[np.ndarray, np.ndarray]:
    """Nearest cells of every cell, without itself: indices and Euclidean distances.

    Parameters
    ----------
    adata
        Cells.
    x
        Size-normalised expression, for the principal components; not read where `use_rep` is given.
    n_neighbors
        Number of neighbours.
    n_pcs
        Number of components.
    use_rep
        Key of ``obsm`` to use instead.
    """
    most = adata.n_obs - 1
    n_neighbors = _checks.integer(
        "n_neighbors",
        n_neighbors,
        1,
        most,
        f"There are {adata.n_obs} cells: write n_neighbors={min(30, most)}.",
    )
    if use_rep is None:
        return graph.knn(positions(x, n_pcs), n_neighbors, metric="euclidean")
    _checks.key(adata, "obsm", use_rep, "Use use_rep=None for principal components of the counts.")
    what = f"`adata.obsm[{use_rep!r}]`"
    values = _checks.numeric(what, adata.obsm[use_rep])
    _checks.finite(what, values, adata.obs_names)
    return graph.knn(values.reshape(len(values), -1), n_neighbors, metric="euclidean")


def columns(x: Any) -> Iterator[tuple[slice, np.ndarray]]:
    """Yield ``(slice, dense float64 block of genes)`` of any matrix, 32 MiB at a time.

    Parameters
    ----------
    x
        numpy array, sparse matrix or backed array.
    """
    n, genes = x.shape
    size = max(1, 2**22 // max(1, n))
    x = x.tocsc() if hasattr(x, "tocsc") else x
    for start in range(0, genes, size):
        part = slice(start, min(start + size, genes))
        block = x[:, part]
        block = block.toarray() if hasattr(block, "toarray") else np.asarray(block)
        # one memory order, so that sums do not depend on the storage
        yield part, np.array(block, dtype=np.float64, order="C")


def _means(x: sparse.csr_array, indices: np.ndarray) -> np.ndarray:
    """Mean of every cell and its neighbours, float32; genes in blocks, so nothing of cells x cells is made."""
    from scipy import sparse

    n, k = indices.shape
    own = np.arange(n)[:, None]
    members = np.hstack([own, indices])
    ones = np.full(members.size, 1.0 / (k + 1))
    average = sparse.csr_array((ones, members.ravel(), np.arange(0, members.size + 1, k + 1)), shape=(n, n))
    out = np.empty(x.shape, dtype=np.float32)
    for part, block in columns(x):
        out[:, part] = average @ block
    return out


def _warn_of_size(n: int, genes: int, layers: int) -> None:
    gigabytes = 4e-9 * n * genes * layers
    if gigabytes > 4:
        _checks.warn(
            f"Smoothed counts of {n} cells x {genes} genes take {gigabytes:.1f} GB. Keep fewer genes: "
            "`hopfield.select_genes(adata)`, then `adata = adata[:, adata.var['hopfield_used']].copy()`.",
            _checks.PerformanceWarning,
            level=4,
        )


def moments(
    adata: AnnData,
    *,
    spliced_layer: str | None = "spliced",
    unspliced_layer: str | None = "unspliced",
    n_neighbors: int = 30,
    n_pcs: int = 30,
    use_rep: str | None = None,
    copy: bool = False,
) -> AnnData | None:
    """Smooth the counts: mean over every cell and its nearest neighbours of size-normalised counts.

    Every cell of each matrix is scaled to the median total of that matrix, over all genes of `adata`; select
    genes afterwards. Neighbours are found once, on the spliced counts, and serve both matrices.

    Parameters
    ----------
    adata
        Cells; sparse, dense, integer, half precision, views and backed layers are all right.
    spliced_layer
        Layer of spliced counts, not logged; None for ``X``.
    unspliced_layer
        Layer of unspliced counts; None where there are none, then only the spliced counts are smoothed and
        `pseudotime_velocity` gives a velocity.
    n_neighbors
        Neighbours per cell; the mean is over that many cells and the cell itself.
    n_pcs
        Principal components of ln(1 + spliced) that neighbours are searched in, of the 2,000 genes that vary
        most; at most the number of genes and of cells - 1.
    use_rep
        Key of ``obsm`` with coordinates to search in instead, for instance ``"X_pca"``.
    copy
        Return a changed copy instead of changing `adata`.

    Returns
    -------
    ``None`` or the copy, with

    ``layers["Ms"]``, ``layers["Mu"]``
        (cells, genes) float32, dense: smoothed spliced and unspliced counts.

    Raises
    ------
    MissingKeyError
        A layer or the coordinates do not exist.
    ValueError
        NaN, infinite or negative values, nothing but zeros, cells without spliced counts, too many neighbours.

    Warns
    -----
    NumericalWarning
        Values that look logged; cells without unspliced counts.
    PerformanceWarning
        Results above 4 GB.

    Notes
    -----
    O(cells * neighbours * genes) for the means, and an exact search of neighbours. No random part. The layers have
    the names that scvelo gives them: what its ``pp.moments`` wrote can be used instead.

    Examples
    --------
    >>> import anndata, numpy as np
    >>> spliced = np.array([[4.0, 4], [4, 4], [2, 6]])
    >>> layers = {"spliced": spliced, "unspliced": np.ones((3, 2))}
    >>> adata = anndata.AnnData(spliced, layers=layers)
    >>> moments(adata, n_neighbors=1)
    >>> adata.layers["Ms"].tolist()
    [[4.0, 4.0], [4.0, 4.0], [3.0, 5.0]]
    """
    layers = {Keys.spliced: (spliced_layer, "spliced_layer")}
    if unspliced_layer is not None:
        layers[Keys.unspliced] = (unspliced_layer, "unspliced_layer")
    scaled = {}
    for key, (layer, argument) in layers.items():
        where = "`adata.X`" if layer is None else f"`adata.layers[{layer!r}]`"
        found = counts(adata, layer, argument)
        scaled[key] = size_normalised(found, adata.obs_names, where, strict=key == Keys.spliced)
    indices, _ = neighbors(adata, scaled[Keys.spliced], n_neighbors, n_pcs, use_rep)
    _warn_of_size(adata.n_obs, adata.n_vars, len(layers))
    adata = adata.copy() if copy else adata
    for key, x in scaled.items():
        adata.layers[key] = _means(x, indices)
    return adata if copy else None
