"""Fill spots that were not measured, and smooth those that were: one sparse solve, with posterior variances."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from scmods import _checks
from scmods.smoother import _models, _solve
from scmods.smoother.factor import square
from scmods.smoother.keys import Keys
from scmods.smoother.selected import marginal_variance

if TYPE_CHECKING:
    from anndata import AnnData

    from scmods.smoother.factor import Factor

__all__ = ["denoise", "impute", "solve_denoise", "solve_impute"]


def solve_impute(y: Any, q: Any, observed: np.ndarray) -> np.ndarray:
    r"""Most probable values of missing spots given the others.

    The smallest :math:`\mathrm{tr}(X^\top Q X)` with :math:`X_o = Y_o` solves :math:`Q_{mm} X_m = -Q_{mo} Y_o`.

    Parameters
    ----------
    y
        (spots, genes), dense or scipy sparse; rows of missing spots are not read.
    q
        Precision, spots x spots.
    observed
        (spots,), True where `y` holds data.

    Returns
    -------
    (missing spots, genes), in the order of the spots.

    Raises
    ------
    ValueError
        A component without observed spot under an improper prior: size and spots are named.

    Notes
    -----
    One sparse factorisation of the missing block for all genes. With rho < 1 values are pulled towards 0: subtract the
    mean of every gene first, as `impute` does.

    Examples
    --------
    >>> chain = np.array([[1.0, -1.0, 0.0], [-1.0, 2.0, -1.0], [0.0, -1.0, 1.0]])
    >>> solve_impute(np.array([[1.0], [0.0], [5.0]]), chain, np.array([True, False, True])).tolist()
    [[3.0]]
    """
    factor, joint = _solve.impute_factor(square("The precision matrix", q), observed)
    return _filled(y, factor, joint, observed, np.zeros(y.shape[1]))


def _filled(y: Any, factor: Factor, joint: Any, observed: np.ndarray, level: np.ndarray) -> np.ndarray:
    rows = np.flatnonzero(observed)
    out = np.empty((factor.n, y.shape[1]))
    for part in _solve.column_blocks(len(observed), y.shape[1]):
        known = _solve.dense_rows(y, rows, part) - level[part]
        out[:, part] = factor.solve(-(joint @ known)) + level[part]
    return out


def solve_denoise(y: Any, q: Any, observed: np.ndarray, *, smoothing: float) -> np.ndarray:
    r"""Smoothed values of all spots, missing ones included.

    The smallest :math:`\lVert Z_o - Y_o\rVert^2 / n_o + \lambda\,\mathrm{tr}(Z^\top Q Z) / n` (each divided by genes)
    solves :math:`(I_o + \lambda (n_o / n) Q) Z = I_o Y`.

    Parameters
    ----------
    y
        (spots, genes), dense or scipy sparse.
    q
        Precision, spots x spots.
    observed
        (spots,), True where `y` holds data.
    smoothing
        :math:`\lambda`, above 0 when spots are missing.

    Returns
    -------
    (spots, genes).

    Raises
    ------
    ValueError
        As for `solve_impute`; a strength of 0 with missing spots.

    Examples
    --------
    >>> pair = np.array([[1.0, -1.0], [-1.0, 1.0]])
    >>> solve_denoise(np.array([[0.0], [3.0]]), pair, np.array([True, True]), smoothing=1.0).round(6).tolist()
    [[1.0], [2.0]]
    """
    _strength(smoothing, observed)
    factor = _solve.denoise_factor(square("The precision matrix", q), observed, smoothing)
    return _smoothed(y, factor, observed, np.zeros(y.shape[1]))


def _strength(smoothing: float, observed: np.ndarray) -> float:
    value = _checks.number("smoothing", smoothing, 0.0, why="0 is no smoothing.")
    if value == 0 and not observed.all():
        _checks.fail(
            f"smoothing=0 leaves {int((~observed).sum())} missing spots undetermined.",
            "Write smoothing=0.1, or use `smoother.impute`.",
        )
    return value


def _smoothed(y: Any, factor: Factor, observed: np.ndarray, level: np.ndarray) -> np.ndarray:
    rows = np.flatnonzero(observed)
    out = np.empty((factor.n, y.shape[1]))
    for part in _solve.column_blocks(factor.n, y.shape[1]):
        known = np.zeros((factor.n, part.stop - part.start))
        known[rows] = _solve.dense_rows(y, rows, part) - level[part]
        out[:, part] = factor.solve(known) + level[part]
    return out


def _level(y: Any, observed: np.ndarray, *, center: bool) -> np.ndarray:
    if not center:
        return np.zeros(y.shape[1])
    return np.asarray(y[np.flatnonzero(observed)].mean(axis=0)).ravel()


def impute(
    adata: AnnData,
    observed: Any,
    *,
    layer: str | None = None,
    center: bool = True,
    variance: bool = True,
    prior: str = "icar",
    rho: float = 0.99,
    connectivity_key: str = "spatial_connectivities",
    key_added: str = "smoother",
    copy: bool = False,
) -> AnnData | None:
    r"""Fill the expression of spots that were not measured, from their neighbours.

    Parameters
    ----------
    adata
        Spots x genes, on a scale where means make sense (log-normalised), with a graph in ``obsp``.
    observed
        (spots,) bool, or the name of such a column of ``obs``: True where a spot was measured. Or (spots, genes) bool
        for single values; then every pattern of missing spots costs a factorisation of its own.
    layer
        Layer to read; None for `X`.
    center
        Let values tend to the mean of their gene over the observed spots instead of 0.
    variance
        Add posterior standard deviations.
    prior, rho
        Spatial prior and its autocorrelation, see `precision`.
    connectivity_key
        Graph in ``obsp``.
    key_added
        Prefix of what is written.
    copy
        Return a changed copy instead of writing to `adata`.

    Returns
    -------
    None, or the copy. Written, with the default prefix:

    - ``layers["smoother_imputed"]``: float64 (spots, genes);
    - ``obs["smoother_uncertainty"]``: square root of the diagonal of :math:`Q_{mm}^{-1}`, 0 at observed spots; for
      single values ``layers["smoother_uncertainty"]``;
    - ``var["smoother_scale"]``: scale of a gene, by maximum likelihood :math:`(x^\top Q x / n_o)^{1/2}` at the filled
      field x. Uncertainty times scale is the posterior standard deviation of a value;
    - ``uns["smoother_imputation"]``: settings.

    Raises
    ------
    MissingKeyError
        No graph, no such layer or column.
    ValueError
        Nothing observed; a component without observed spot under an improper prior (size and spots named).

    Notes
    -----
    Dense output: spots x genes x 8 bytes. All genes share one factorisation.

    Examples
    --------
    >>> from scmods import smoother
    >>> adata = smoother.tissue(6, 6)
    >>> smoother.spatial_weights(adata, n_neighbors=4)
    >>> adata.obs["measured"] = [i % 5 > 0 for i in range(adata.n_obs)]
    >>> smoother.impute(adata, "measured")
    >>> adata.layers["smoother_imputed"].shape == adata.shape
    True
    """
    y = _models.values(adata, layer)
    q = _models.graph_precision(adata, connectivity_key=connectivity_key, prior=prior, rho=rho)
    single = np.ndim(observed) == 2
    if single:
        mask = _models.observed_values(adata, observed)
        parts = _by_pattern(y, q, mask, center=center, variance=variance)
    else:
        mask = _models.observed_spots(adata, observed)
        parts = _impute(y, q, mask, center=center, variance=variance)
    out, keys = _models.target(adata, copy=copy), Keys(key_added)
    out.layers[keys.imputed], spread, scale = parts
    if variance:
        (out.layers if single else out.obs)[keys.uncertainty] = spread
        out.var[keys.scale] = scale
    out.uns[keys.imputation] = _info("impute", prior, rho, center=center, observed=int(mask.sum()))
    return out if copy else None


def _impute(y: Any, q: Any, mask: np.ndarray, *, center: bool, variance: bool) -> tuple[np.ndarray, ...]:
    """Filled values, standard deviation of every spot, scale of every gene."""
    level, full, spread = _level(y, mask, center=center), np.empty(y.shape), np.zeros(len(mask))
    full[mask] = _solve.dense_rows(y, np.flatnonzero(mask), slice(None))
    if not mask.all():
        factor, joint = _solve.impute_factor(q, mask)
        full[~mask] = _filled(y, factor, joint, mask, level)
        if variance:
            spread[~mask] = np.sqrt(marginal_variance(factor))
    return full, spread, _scale(full, q, level, int(mask.sum())) if variance else np.empty(0)


def _by_pattern(y: Any, q: Any, mask: np.ndarray, *, center: bool, variance: bool) -> tuple[np.ndarray, ...]:
    """The same for single values: genes that miss the same spots are solved together."""
    full, spread, scale = np.empty(y.shape), np.zeros(y.shape), np.empty(y.shape[1])
    _, kind = np.unique(np.packbits(mask, axis=0), axis=1, return_inverse=True)
    for k in range(int(kind.max()) + 1):
        genes = np.flatnonzero(kind.ravel() == k)
        parts = _impute(y[:, genes], q, mask[:, genes[0]], center=center, variance=variance)
        full[:, genes] = parts[0]
        if variance:
            spread[:, genes], scale[genes] = parts[1][:, None], parts[2]
    return full, spread, scale


def _scale(full: np.ndarray, q: Any, level: np.ndarray, n_observed: int) -> np.ndarray:
    # the smallest x^T Q x with the observed values fixed is their own quadratic form
    squares = np.empty(full.shape[1])
    for part in _solve.column_blocks(*full.shape):
        x = full[:, part] - level[part]
        squares[part] = np.einsum("ij,ij->j", x, q @ x)
    return np.sqrt(np.maximum(squares, 0.0) / n_observed)


def _info(task: str, prior: str, rho: float, *, center: bool, observed: int) -> dict[str, Any]:
    return {"task": task, "prior": prior, "rho": float(rho), "center": bool(center), "observed": observed}


def denoise(
    adata: AnnData,
    *,
    smoothing: float,
    observed: Any = None,
    layer: str | None = None,
    center: bool = True,
    variance: bool = True,
    prior: str = "icar",
    rho: float = 0.99,
    connectivity_key: str = "spatial_connectivities",
    key_added: str = "smoother",
    copy: bool = False,
) -> AnnData | None:
    r"""Smooth expression over the tissue; spots that were not measured are filled on the way.

    Parameters
    ----------
    adata
        Spots x genes, log-normalised, with a graph in ``obsp``.
    smoothing
        Strength, see `solve_denoise`; ``tune_smoothing(adata, layer="counts").recommended`` chooses it.
    observed
        (spots,) bool, or a column of ``obs``; None when all spots were measured.
    layer, center, variance, prior, rho, connectivity_key, key_added, copy
        As in `impute`.

    Returns
    -------
    None, or the copy. Written, with the default prefix:

    - ``layers["smoother_denoised"]``: float64 (spots, genes), the posterior mean;
    - ``obs["smoother_uncertainty"]``: square root of the diagonal of :math:`(I_o + \lambda (n_o/n) Q)^{-1}`;
    - ``var["smoother_scale"]``: noise of a gene, by maximum likelihood :math:`(y_o^\top (y_o - z_o) / n_o)^{1/2}`.
      The product is the posterior standard deviation of the smooth value, given the strength;
    - ``uns["smoother_imputation"]``: settings.

    Raises
    ------
    MissingKeyError, ValueError
        As for `impute`; a strength of 0 with missing spots.

    Examples
    --------
    >>> from scmods import smoother
    >>> adata = smoother.tissue(6, 6)
    >>> smoother.spatial_weights(adata, n_neighbors=4)
    >>> smoother.denoise(adata, smoothing=0.3)
    >>> adata.layers["smoother_denoised"].shape == adata.shape
    True
    """
    mask = np.ones(adata.n_obs, dtype=bool) if observed is None else _models.observed_spots(adata, observed)
    _strength(smoothing, mask)
    y = _models.values(adata, layer)
    q = _models.graph_precision(adata, connectivity_key=connectivity_key, prior=prior, rho=rho)
    level = _level(y, mask, center=center)
    factor = _solve.denoise_factor(q, mask, smoothing)
    full = _smoothed(y, factor, mask, level)
    out, keys = _models.target(adata, copy=copy), Keys(key_added)
    out.layers[keys.denoised] = full
    if variance:
        out.obs[keys.uncertainty] = np.sqrt(marginal_variance(factor))
        out.var[keys.scale] = _noise(y, full, mask, level)
    info = _info("denoise", prior, rho, center=center, observed=int(mask.sum()))
    out.uns[keys.imputation] = info | {"smoothing": float(smoothing)}
    return out if copy else None


def _noise(y: Any, full: np.ndarray, observed: np.ndarray, level: np.ndarray) -> np.ndarray:
    rows, out = np.flatnonzero(observed), np.empty(full.shape[1])
    for part in _solve.column_blocks(*full.shape):
        known = _solve.dense_rows(y, rows, part)
        out[part] = np.einsum("ij,ij->j", known - level[part], known - full[rows][:, part])
    return np.sqrt(np.maximum(out, 0.0) / len(rows))
