"""Velocity and degradation, from splicing or from an order of the cells, and the genes to model.

Objects prepared by scvelo need nothing from here but `select_genes`: its layers ``Ms``, ``Mu`` and ``velocity`` have
the same names, and its rates are read with ``degradation_key="velocity_gamma"``.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from scmods import _arrays, _checks
from scmods.hopfield import checks
from scmods.hopfield.choice import select_genes
from scmods.hopfield.keys import Keys
from scmods.hopfield.smoothing import columns, moments, neighbors

if TYPE_CHECKING:
    from anndata import AnnData
    from scipy import sparse

__all__ = ["moments", "pseudotime_velocity", "select_genes", "velocity"]

MOMENTS_FIX = "Smooth the counts first: `hopfield.moments(adata)`."


def _layer(adata: AnnData, name: str, fix: str = MOMENTS_FIX) -> Any:
    """A layer of finite values that are not negative."""
    _checks.key(adata, "layers", name, fix)
    return checks.expression(adata, name)


def _slopes(s: np.ndarray, u: np.ndarray, quantile: float) -> tuple[np.ndarray, np.ndarray]:
    """Slope through the origin on the extreme cells, and R2 on all cells, for a block of genes."""
    top_s, top_u = s.max(axis=0), u.max(axis=0)
    present = (top_s > 0) & (top_u > 0)
    level = s / np.where(present, top_s, 1.0) + u / np.where(present, top_u, 1.0)
    low, high = np.quantile(level, [quantile, 1 - quantile], axis=0)
    extreme = (level <= low) | (level >= high)
    product, square = (extreme * u * s).sum(axis=0), (extreme * s * s).sum(axis=0)
    defined = present & (product > 0) & (square > 0)
    gamma = np.where(defined, product / np.where(defined, square, 1.0), np.nan)
    spread = ((u - u.mean(axis=0)) ** 2).sum(axis=0)
    rest = ((u - gamma * s) ** 2).sum(axis=0)
    return gamma, np.where(spread > 0, 1 - rest / np.where(spread > 0, spread, 1.0), np.nan)


def _refuse_still(size: np.ndarray, change: np.ndarray, scale: np.ndarray, why: str) -> None:
    """Refuse a velocity that is 0 everywhere, or the same in all cells: it determines no interaction.

    Per gene: largest absolute velocity, its range over the cells, and the size of what was subtracted, whose
    rounding (of float32) is no velocity.
    """
    known = ~np.isnan(size)
    if (size[known] <= 1e-6 * scale[known]).all():
        _checks.fail("The velocity is 0 in every cell and gene.", why)
    if (change[known] <= 1e-6 * scale[known]).all():
        _checks.fail("The velocity of every gene is the same in all cells.", why)


def velocity(
    adata: AnnData,
    *,
    spliced_layer: str = "Ms",
    unspliced_layer: str = "Mu",
    quantile: float = 0.05,
    copy: bool = False,
) -> AnnData | None:
    r"""Velocity of every gene from the steady state of splicing, :math:`v = u - \gamma s`.

    :math:`\gamma` is the slope through the origin of unspliced on spliced, over the cells with the least and the most
    of both (these are taken to be at steady state). The unit of time is that in which the splicing rate is 1, gene
    by gene.

    Parameters
    ----------
    adata
        Cells.
    spliced_layer, unspliced_layer
        Smoothed counts, see `moments`; not logged, not negative.
    quantile
        Share of the cells at either end that is used, in (0, 0.5]. Cells are ordered by spliced + unspliced, each
        divided by its maximum.
    copy
        Return a changed copy instead of changing `adata`.

    Returns
    -------
    ``None`` or the copy, with

    ``layers["velocity"]``
        (cells, genes) float64, counts per unit of time: ``Mu - gamma * Ms``, so that velocity + gamma * Ms is Mu to
        the rounding of float64. NaN for genes without gamma.
    ``var["gamma"]``
        float64, 1 / time, positive; NaN where a gene has no spliced or no unspliced counts among those cells.
    ``var["gamma_r2"]``
        float64: share of the variance of unspliced that the slope explains over all cells, at most 1; negative
        where the mean explains more.

    Raises
    ------
    MissingKeyError
        A layer does not exist.
    ValueError
        NaN, infinite or negative values; no gene with a slope; a velocity that is 0 or the same everywhere.

    Notes
    -----
    O(cells * genes), genes in blocks. No random part. Not needed where scvelo has been run: pass
    ``degradation_key="velocity_gamma"`` to what follows.

    References
    ----------
    La Manno et al., RNA velocity of single cells, Nature 560, 2018, doi:10.1038/s41586-018-0414-6.

    Examples
    --------
    >>> import anndata, numpy as np
    >>> s, u = np.array([[0.0], [2], [4]]), np.array([[0.0], [3], [2]])
    >>> adata = anndata.AnnData(s, layers={"Ms": s, "Mu": u})
    >>> velocity(adata)
    >>> float(adata.var["gamma"].iloc[0]), adata.layers["velocity"].ravel().tolist()
    (0.5, [0.0, 2.0, 0.0])
    """
    quantile = _checks.number("quantile", quantile, 0.0, 0.5, "Write quantile=0.05.")
    layers = _layer(adata, spliced_layer), _layer(adata, unspliced_layer)
    gamma, r2 = np.empty(adata.n_vars), np.empty(adata.n_vars)
    scale, out = np.empty(adata.n_vars), np.empty(adata.shape)
    for (part, s), (_, u) in zip(*map(columns, layers), strict=True):
        gamma[part], r2[part] = _slopes(s, u, quantile)
        out[:, part] = u - gamma[part] * s
        scale[part] = u.max(axis=0)
    if np.isnan(gamma).all():
        _checks.fail(
            f"No gene has a slope of {unspliced_layer!r} on {spliced_layer!r}: in none are both above 0 in the same",
            "extreme cells. Check the two layers, or use more cells: quantile=0.25.",
        )
    why = f"Are {spliced_layer!r} and {unspliced_layer!r} the same layer, or all cells alike?"
    why += " Smooth over fewer neighbours: `hopfield.moments(adata, n_neighbors=10)`."
    _refuse_still(np.abs(out).max(axis=0), np.ptp(out, axis=0), scale, why)
    adata = adata.copy() if copy else adata
    adata.var[Keys.degradation], adata.var["gamma_r2"] = gamma, r2
    adata.layers[Keys.velocity] = out
    return adata if copy else None


def _time(adata: AnnData, key: str) -> np.ndarray:
    _checks.key(adata, "obs", key, "Name the column with the order of the cells, such as a pseudotime.")
    time = _checks.numeric(f"`adata.obs[{key!r}]`", adata.obs[key])
    _checks.finite(f"`adata.obs[{key!r}]`", time, adata.obs_names)
    if np.ptp(time) == 0:
        _checks.fail(
            f"`adata.obs[{key!r}]` is {time[0]:g} in all cells, so that no cell is later than another.",
            "Name a column that orders the cells: time_key='...'.",
        )
    return time


def _later(
    time: np.ndarray, indices: np.ndarray, distances: np.ndarray
) -> tuple[sparse.csr_array, np.ndarray]:
    """Weights of the later neighbours of every cell (rows sum to 1, or to 0), and the mean time to them."""
    from scipy import sparse

    ahead = time[indices] - time[:, None]
    reach = distances[:, -1:]
    weight = np.exp(-((distances / np.where(reach > 0, reach, 1.0)) ** 2)) * (ahead > 0)
    total = weight.sum(axis=1, keepdims=True)
    weight = weight / np.where(total > 0, total, 1.0)
    n, k = indices.shape
    starts = np.arange(0, n * k + 1, k)
    matrix = sparse.csr_array((weight.ravel(), indices.ravel(), starts), shape=(n, n))
    return matrix, (weight * ahead).sum(axis=1)


def _capped(v: np.ndarray, moving: np.ndarray) -> np.ndarray:
    """Shorten the velocities of cells that are longer than the 99th percentile; directions stay."""
    length = np.linalg.norm(v, axis=1)
    limit = np.quantile(length[moving], 0.99)
    return v * np.where(length > limit, limit / np.where(length > 0, length, 1.0), 1.0)[:, None]


def pseudotime_velocity(
    adata: AnnData,
    time_key: str,
    *,
    layer: str = "Ms",
    n_neighbors: int = 30,
    n_pcs: int = 30,
    use_rep: str | None = None,
    degradation: float = 1.0,
    copy: bool = False,
) -> AnnData | None:
    r"""Velocity of data without unspliced counts, from an order of the cells in time.

    Over the neighbours j of cell i that are later, with weights :math:`w_{ij} = \exp(-d_{ij}^2/d_{ik}^2)` where
    :math:`d_{ik}` is the distance of the last neighbour,

    .. math:: v_i = \frac{\sum_j w_{ij}(x_j - x_i)}{\sum_j w_{ij}(t_j - t_i)}.

    The mean time difference is raised to at least 1 % of its median over the cells. Velocities longer than the
    99th percentile of the lengths are shortened to it. A cell without a later neighbour (an end) gets 0.

    Parameters
    ----------
    adata
        Cells.
    time_key
        Column of ``obs``: time or pseudotime, any unit, larger is later.
    layer
        Smoothed expression, not logged; ``moments(adata, unspliced_layer=None)`` makes it.
    n_neighbors
        Neighbours per cell, of which the later ones count.
    n_pcs
        Principal components of ln(1 + `layer`) that neighbours are searched in.
    use_rep
        Key of ``obsm`` with coordinates to search in instead.
    degradation
        Rate of all genes, 1 / unit of the time, positive. The data do not tell it: production is velocity +
        degradation * expression, so a small rate explains the velocity alone, a large one the expression. Choose
        about 1 / (duration of a typical change), so that both parts have a similar size.
    copy
        Return a changed copy instead of changing `adata`.

    Returns
    -------
    ``None`` or the copy, with

    ``layers["velocity"]``
        (cells, genes) float64, unit of `layer` / unit of the time.
    ``var["gamma"]``
        float64: `degradation` for every gene.

    Raises
    ------
    MissingKeyError
        The layer, the column or the coordinates do not exist.
    ValueError
        NaN, infinite or negative values, the same time everywhere, a velocity that is 0 everywhere.

    Warns
    -----
    NumericalWarning
        More than a tenth of the cells have no later neighbour.

    Notes
    -----
    O(cells * neighbours * genes), and an exact search of neighbours. No random part. Smoothing can make two cells
    equal; which of them is the last neighbour of a third is then decided by their order.

    Examples
    --------
    Two genes that change at the rates 2 and -1:

    >>> import anndata, numpy as np
    >>> from scmods import hopfield
    >>> t = np.linspace(0, 1, 40)
    >>> x = np.column_stack([1 + 2 * t, 4 - t])
    >>> adata = anndata.AnnData(x, layers={"Ms": x}, obsm={"line": t[:, None]})
    >>> adata.obs["time"] = t
    >>> hopfield.pseudotime_velocity(adata, "time", n_neighbors=5, use_rep="line")
    >>> adata.layers["velocity"][0].round(6).tolist()
    [2.0, -1.0]
    """
    from scipy import sparse

    degradation = _checks.number("degradation", degradation, np.finfo(float).tiny)
    time = _time(adata, time_key)
    x = _arrays.dense(
        _layer(adata, layer, "Smooth the counts: `hopfield.moments(adata, unspliced_layer=None)`.")
    )
    near = neighbors(adata, sparse.csr_array(x) if use_rep is None else None, n_neighbors, n_pcs, use_rep)
    weights, ahead = _later(time, *near)
    moving = ahead > 0
    if (~moving).mean() > 0.1:
        _checks.warn(
            f"{int((~moving).sum())} of {len(time)} cells have no later neighbour and get velocity 0. "
            f"Use more neighbours, n_neighbors={min(2 * n_neighbors, len(time) - 1)}, or a finer time."
        )
    if not moving.any():
        _checks.fail(
            f"No cell has a later neighbour: `adata.obs[{time_key!r}]` does not vary among neighbours.",
            "Use more neighbours, n_neighbors=100, or another column: time_key='...'.",
        )
    ahead = np.maximum(ahead, 0.01 * np.median(ahead[moving]))
    v = _capped((weights @ x - x) * (moving / ahead)[:, None], moving)
    why = f"Cells that differ in `adata.obs[{time_key!r}]` do not differ in {layer!r}."
    _refuse_still(np.abs(v).max(axis=0), np.ptp(v, axis=0), x.max(axis=0) / np.ptp(time), why)
    adata = adata.copy() if copy else adata
    adata.layers[Keys.velocity] = v
    adata.var[Keys.degradation] = np.full(adata.n_vars, degradation)
    return adata if copy else None
