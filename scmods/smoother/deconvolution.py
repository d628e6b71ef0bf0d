"""Cell types of spots: non-negative least squares with a spatial prior, solved to a certified optimum."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from scipy import sparse

from scmods import _checks
from scmods.smoother import _models, _nnls
from scmods.smoother._profiles import aligned, check_profiles, dwls_weights, on_one_scale, reference_profiles
from scmods.smoother.factor import square
from scmods.smoother.keys import Keys

if TYPE_CHECKING:
    import pandas as pd
    from anndata import AnnData

__all__ = ["NnlsFit", "deconvolve", "nnls", "proportions", "reference_profiles"]


@dataclass(frozen=True)
class NnlsFit:
    """Abundances of all spots and how good they are.

    Attributes
    ----------
    abundances
        (spots, types), at least 0.
    bias
        (spots,) offset shared by all genes; 0 without bias.
    objective
        Value reached.
    gap
        The smallest possible value is at least ``objective - gap``: a bound from strong convexity, not an estimate.
    distance
        Bound on the Frobenius distance to the optimal abundances, same source.
    residual
        Largest step that a projected gradient would still take, relative to the largest abundance.
    iterations, converged
        Steps taken, and whether the residual fell below the tolerance.

    Examples
    --------
    >>> import numpy as np
    >>> from scmods import smoother
    >>> profiles = np.array([[0.0, 1.0], [1.0, 0.0], [0.0, 0.0]])
    >>> fit = smoother.nnls(np.array([[1.0, 3.0, 2.0], [3.0, 1.0, 2.0]]), profiles, np.eye(2), smoothing=0.0)
    >>> fit.converged, fit.abundances.round(6).tolist()
    (True, [[1.5, 0.0], [0.0, 1.5]])
    """

    abundances: np.ndarray
    bias: np.ndarray
    objective: float
    gap: float
    distance: float
    residual: float
    iterations: int
    converged: bool

    @property
    def proportions(self) -> np.ndarray:
        """Abundances divided by their sum over types."""
        return proportions(self.abundances)


def proportions(abundances: np.ndarray) -> np.ndarray:
    """Abundances divided by their sum over types.

    Parameters
    ----------
    abundances
        (spots, types), at least 0.

    Returns
    -------
    (spots, types); rows sum to 1, except that a row of zeros stays one.

    Examples
    --------
    >>> proportions(np.array([[1.0, 3.0], [0.0, 0.0]])).tolist()
    [[0.25, 0.75], [0.0, 0.0]]
    """
    total = abundances.sum(axis=1, keepdims=True)
    return np.divide(abundances, total, out=np.zeros_like(abundances), where=total > 0)


def nnls(
    y: Any,
    profiles: np.ndarray,
    q: Any,
    *,
    smoothing: float,
    weights: np.ndarray | None = None,
    bias: bool = True,
    start: np.ndarray | None = None,
    tol: float = 1e-8,
    max_iter: int = 20_000,
) -> NnlsFit:
    r"""Abundances of all spots under a quadratic spatial prior, as one convex problem.

    .. math:: \min_{X \ge 0,\, v} \frac{\lVert Y - X R^\top - v \mathbf{1}^\top\rVert^2}{\text{genes}\cdot\text{spots}}
              + \lambda \frac{\mathrm{tr}(X^\top Q X)}{\text{types}\cdot\text{spots}}

    Parameters
    ----------
    y
        Y, (spots, genes), dense or scipy sparse; on the scale of the profiles.
    profiles
        R, (genes, types), linearly independent columns.
    q
        Q, spots x spots, symmetric and positive semi-definite; see `precision`.
    smoothing
        :math:`\lambda`, at least 0.
    weights
        (spots, genes), positive: the squares are weighted, as in damped weighted least squares.
    bias
        A free offset v per spot; it takes up what is common to all genes.
    start
        (spots, types) where to begin.
    tol
        Stop when the relative residual is below this.
    max_iter
        Most steps.

    Returns
    -------
    Abundances with a certificate, see `NnlsFit`.

    Raises
    ------
    ValueError
        Shapes that do not fit, dependent profiles, a negative strength.

    Warns
    -----
    NumericalWarning
        When `max_iter` steps were not enough; the gap says what is missing at most.

    Notes
    -----
    Genes enter only through two small products, so a step costs O(spots types^2 + edges types) whatever their number.
    No learning rate, no seed. The bound of the gap: h is convex with a known modulus, which gives a quadratic below it.

    Examples
    --------
    >>> y = np.array([[1.0, 3.0, 2.0], [3.0, 1.0, 2.0]])
    >>> r = np.array([[0.0, 1.0], [1.0, 0.0], [0.0, 0.0]])
    >>> nnls(y, r, np.eye(2), smoothing=0.0).abundances.round(6).tolist()
    [[1.5, 0.0], [0.0, 1.5]]
    """
    y = y if sparse.issparse(y) else _checks.numeric("`y`", y)
    profiles = check_profiles(profiles, bias=bias)
    q = square("The precision matrix", q)
    _check_shapes(y, profiles, q, weights, start)
    _checks.number("smoothing", smoothing, 0.0, why="0 is no smoothing.")
    g = _nnls.gram(y, profiles, weights, bias=bias)
    kappa = smoothing / profiles.shape[1]
    x, iterations, converged = _nnls.minimise(g, q, kappa, start=start, tol=tol, max_iter=max_iter)
    found = _nnls.certificate(g, q, kappa, x)
    if not converged:
        _checks.warn(
            f"{max_iter} steps left a residual of {found.residual:.2g}, above tol={tol:g}; the objective "
            f"{found.objective:.6g} is within {found.gap:.2g} of the optimum. Raise max_iter, or drop similar types.",
            level=3,
        )
    offset = _bias(y, profiles, weights, x) if bias else np.zeros(len(x))
    return NnlsFit(
        x, offset, found.objective, found.gap, found.distance, found.residual, iterations, converged
    )


def _check_shapes(y: Any, profiles: np.ndarray, q: Any, weights: Any, start: Any) -> None:
    genes, types = profiles.shape
    if y.ndim != 2 or y.shape[1] != genes:
        turned = "It looks transposed: pass y.T." if y.ndim == 2 and y.shape[0] == genes else ""
        _checks.fail(
            f"`y` has shape {tuple(y.shape)}, but must be (spots, genes) with {genes} genes.", turned
        )
    n = y.shape[0]
    if q.shape != (n, n):
        _checks.fail(f"The precision matrix has shape {q.shape}, but `y` has {n} spots.")
    for name, array, shape in (("weights", weights, (n, genes)), ("start", start, (n, types))):
        if array is not None and np.shape(array) != shape:
            _checks.fail(f"`{name}` has shape {np.shape(array)}, but must be {shape}.")
    if weights is not None and not (np.isfinite(weights).all() and np.min(weights) > 0):
        _checks.fail("`weights` must be positive and finite. Drop genes that should not count instead.")


def _bias(y: Any, profiles: np.ndarray, weights: np.ndarray | None, x: np.ndarray) -> np.ndarray:
    if weights is None:
        return np.asarray(y.mean(axis=1)).ravel() - x @ profiles.mean(axis=0)
    share = weights / weights.sum(axis=1, keepdims=True)
    mean = y.multiply(share).sum(axis=1) if sparse.issparse(y) else (y * share).sum(axis=1)
    return np.asarray(mean).ravel() - np.einsum("nt,nt->n", share @ profiles, x)


def deconvolve(
    adata: AnnData,
    reference: pd.DataFrame,
    *,
    smoothing: float | str = "auto",
    model: str = "nnls",
    weights: str | np.ndarray | None = None,
    log: bool = True,
    match_depth: bool = True,
    bias: bool = True,
    prior: str = "icar",
    rho: float = 0.99,
    layer: str | None = None,
    connectivity_key: str = "spatial_connectivities",
    tol: float = 1e-8,
    max_iter: int = 20_000,
    seed: int = 0,
    key_added: str = "smoother",
    copy: bool = False,
) -> AnnData | None:
    """Share of every cell type in every spot.

    Parameters
    ----------
    adata
        Spots x genes with counts and a graph in ``obsp`` (`spatial_weights`). Every spot is kept, empty ones too.
    reference
        Genes x types: mean counts of the cells of a type, see `reference_profiles`. Aligned by gene name.
    smoothing
        Strength of the prior, at least 0, or ``"auto"``: chosen by count thinning (`tune_smoothing`; needs counts;
        always with ``"nnls"`` and without weights).
    model
        ``"nnls"``, convex and certified; or ``"log_normal"``: squared differences of log(1 + .) of observed counts and
        of the mixture, amounts and bias at least 0, which is not convex (`log_normal`).
    weights
        For ``"nnls"``: None, ``"dwls"`` (genes weigh 1 / squared value, capped; `dwls_weights`), or (spots, genes).
    log
        For ``"nnls"``: fit log(1 + counts) on log(1 + profiles).
    match_depth
        Scale all profiles by one number, so that their mean total is that of the spots. It decides where the logarithm
        bends, and abundances then add up to about 1.
    bias
        A free offset per spot.
    prior, rho
        Spatial prior and its autocorrelation, see `precision`.
    layer
        Layer with the counts; None for `X`.
    connectivity_key
        Graph in ``obsp``.
    tol, max_iter
        Accuracy and the most steps, see `nnls`.
    seed
        Seed of the thinning.
    key_added
        Prefix of what is written.
    copy
        Return a changed copy instead of writing to `adata`.

    Returns
    -------
    None, or the copy. Written, with the default prefix:

    - ``obsm["smoother_proportions"]``, ``obsm["smoother_abundances"]``: float64 (spots, types);
    - ``obs["smoother_bias"]``;
    - ``uns["smoother_deconvolution"]``: ``types`` (the columns), ``genes`` used, ``smoothing``, ``objective``, ``gap``,
      ``distance``, ``residual``, ``iterations``, ``converged``, ``empty_spots``, settings, and ``curve`` with
      ``"auto"``.

    Raises
    ------
    MissingKeyError
        No graph, no such layer.
    ValueError
        Genes that do not overlap, dependent profiles, negative values, values that are no counts with ``"auto"``.

    Warns
    -----
    NumericalWarning
        Not converged; few shared genes; nothing found in some spots.

    Examples
    --------
    >>> from scmods import smoother
    >>> from scmods import smoother
    >>> adata = smoother.tissue(6, 6)
    >>> smoother.spatial_weights(adata, n_neighbors=4)
    >>> smoother.deconvolve(adata, smoother.reference(adata), smoothing=0.1)
    >>> adata.obsm["smoother_proportions"].shape == adata.obsm["truth"].shape
    True
    """
    _checks.one_of("model", model, ("nnls", "log_normal"))
    if model == "log_normal" and weights is not None:
        _checks.fail("model='log_normal' takes no weights.", "Leave `weights` out, or use model='nnls'.")
    q = _models.graph_precision(adata, connectivity_key=connectivity_key, prior=prior, rho=rho)
    counts, profiles, genes = aligned(adata, reference, layer)
    settings = {"model": model, "prior": prior, "rho": float(rho), "log": bool(log), "bias": bool(bias)}
    settings |= {"match_depth": bool(match_depth), "weights": weights if isinstance(weights, str) else ""}
    curve = None
    if isinstance(smoothing, str):
        from scmods.smoother.tuning import tune_deconvolution

        _checks.one_of("smoothing", smoothing, ("auto",))
        tuned = tune_deconvolution(
            counts, profiles, q, log=log, match_depth=match_depth, bias=bias, seed=seed
        )
        smoothing, curve = tuned.recommended, tuned.curve
    scaled = on_one_scale(counts, profiles) if match_depth else profiles
    if model == "nnls":
        y, r = (_log1p(counts), np.log1p(scaled)) if log else (counts, scaled)
        w = _weights(weights, y)
        fit = nnls(y, r, q, smoothing=smoothing, weights=w, bias=bias, tol=tol, max_iter=max_iter)
    else:
        from scmods.smoother._log_normal import log_normal

        fit = log_normal(counts, scaled, q, smoothing=smoothing, bias=bias, tol=tol, max_iter=max_iter)
    out = _models.target(adata, copy=copy)
    _write(out, fit, Keys(key_added))
    info = settings | {"types": np.array(list(map(str, reference.columns)), dtype=object), "genes": genes}
    info |= {"smoothing": float(smoothing), "empty_spots": int((fit.abundances.sum(axis=1) == 0).sum())}
    info |= {
        k: getattr(fit, k) for k in ("objective", "gap", "distance", "residual", "iterations", "converged")
    }
    if curve is not None:
        info["curve"] = curve
    out.uns[Keys(key_added).deconvolution] = info
    return out if copy else None


def _log1p(x: Any) -> Any:
    return x.log1p() if sparse.issparse(x) else np.log1p(x)


def _weights(weights: Any, y: Any) -> np.ndarray | None:
    if isinstance(weights, str):
        _checks.one_of("weights", weights, ("dwls",))
        return dwls_weights(y)
    return weights


def _write(adata: AnnData, fit: NnlsFit, keys: Keys) -> None:
    adata.obsm[keys.abundances] = fit.abundances
    adata.obsm[keys.proportions] = fit.proportions
    adata.obs[keys.bias] = fit.bias
    empty = np.flatnonzero(fit.abundances.sum(axis=1) == 0)
    if len(empty):
        names = _checks.listing(adata.obs_names.to_numpy()[empty], 3)
        _checks.warn(
            f"No type was found in {len(empty)} spots; first: {names}. Their proportions are 0. "
            "With smoothing above 0 the neighbours fill them.",
            level=4,
        )
