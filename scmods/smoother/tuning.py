"""Strength of the smoothing by count thinning: fit on half of the molecules, score on the other half."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from scipy import sparse

from scmods import _checks
from scmods.smoother import _models
from scmods.smoother._profiles import aligned, on_one_scale
from scmods.smoother._thinning import thin_counts

if TYPE_CHECKING:
    import pandas as pd
    from anndata import AnnData

    from scmods.smoother.deconvolution import NnlsFit

__all__ = ["GRID", "Tuning", "thin_counts", "tune_deconvolution", "tune_denoising", "tune_smoothing"]

GRID = (0.0, 0.003, 0.01, 0.03, 0.1, 0.3, 1.0, 3.0, 10.0)


@dataclass(frozen=True)
class Tuning:
    """Curve of the strengths tried, and the one to use.

    Attributes
    ----------
    curve
        DataFrame, a row per strength: ``smoothing``, ``score`` (mean squared distance to the half left out, averaged
        over thinnings), ``gain`` (how much lower than without smoothing, as a share of the score without), ``se``
        (standard error of the gain over thinnings), ``oversmoothed`` (worse than without smoothing, or beyond the
        recommended strength with a score that is worse than at it by more than half of the possible gain).
    recommended
        The strength with the smallest score; 0 when smoothing does not help.

    Examples
    --------
    >>> import pandas as pd
    >>> from scmods import smoother
    >>> curve = pd.DataFrame({"smoothing": [0.0, 0.1, 1.0], "score": [0.5, 0.3, 0.4]})
    >>> smoother.Tuning(curve, 0.1).recommended
    0.1
    """

    curve: pd.DataFrame
    recommended: float

    def oversmooths(self, smoothing: float) -> bool:
        """Whether a strength, on the grid or between its points, costs more than it gives.

        Parameters
        ----------
        smoothing
            Strength to judge.
        """
        grid, flag = self.curve["smoothing"].to_numpy(), self.curve["oversmoothed"].to_numpy()
        above = np.searchsorted(grid, smoothing)
        return bool(flag[min(above, len(grid) - 1)]) if smoothing > self.recommended else False


def _curve(grid: np.ndarray, scores: np.ndarray) -> Tuning:
    """Table of mean scores (splits, grid); the gain is paired within a split."""
    import pandas as pd

    mean = scores.mean(axis=0)
    base = scores[:, :1]
    gain = (base - scores) / base
    se = gain.std(axis=0, ddof=1) / np.sqrt(len(gain)) if len(gain) > 1 else np.full(len(grid), np.nan)
    best = int(mean.argmin())
    lost = (mean - mean[best]) > 0.5 * (mean[0] - mean[best])
    over = (np.arange(len(grid)) > best) & (lost | (mean > mean[0]))
    table = pd.DataFrame(
        {"smoothing": grid, "score": mean, "gain": gain.mean(axis=0), "se": se, "oversmoothed": over}
    )
    if best == len(grid) - 1:
        _checks.warn(
            f"The largest strength of the grid, {grid[-1]:g}, scores best. Try larger ones: "
            f"grid=(0, ..., {10 * grid[-1]:g}). "
            "When that goes on, the values do not vary over the tissue.",
            level=5,
        )
    return Tuning(table, float(grid[best]))


def _grid(grid: Sequence[float]) -> np.ndarray:
    array = np.unique(_checks.numeric("`grid`", np.asarray(grid)).ravel())
    if len(array) < 2 or array[0] < 0 or not np.isfinite(array).all():
        _checks.fail(
            f"`grid` is {list(grid)}, but must hold at least two finite strengths, none negative.",
            f"Leave it out for {_checks.listing(GRID, 12)}.",
        )
    # without smoothing is what every other strength is compared with
    return array if array[0] == 0 else np.concatenate([[0.0], array])


def _splits(
    counts: Any, grid: np.ndarray, n_splits: int, seed: int, score: Callable[[Any, Any], list[float]]
) -> Tuning:
    generator = np.random.default_rng(_checks.integer("seed", seed, 0))
    _checks.integer("n_splits", n_splits, 1)
    scores = []
    for _ in range(n_splits):
        halves = thin_counts(counts, generator)
        # each half is fitted once and scored once
        scores += [score(*halves), score(*halves[::-1])]
    return _curve(grid, np.array(scores))


def tune_deconvolution(
    counts: Any,
    profiles: np.ndarray,
    q: Any,
    *,
    grid: Sequence[float] = GRID,
    n_splits: int = 2,
    log: bool = True,
    match_depth: bool = True,
    bias: bool = True,
    seed: int = 0,
) -> Tuning:
    """Strength for `nnls`, from arrays.

    Parameters
    ----------
    counts
        (spots, genes), whole numbers.
    profiles
        (genes, types), mean counts.
    q
        Precision matrix, spots x spots.
    grid
        Strengths to try; 0 is added.
    n_splits
        Thinnings; each is used both ways round.
    log, match_depth, bias
        As in `deconvolve`.
    seed
        Seed of the thinning.

    Returns
    -------
    See `Tuning`. The score is the mean squared difference of two proportions: fitted to one half with smoothing, and to
    the other half without. The second are noisy, but their noise knows nothing of the first, so it adds the same to
    every strength. Comparing proportions, not counts, keeps the efficiency of single spots out of the choice: it is
    rough over the tissue, and a strength chosen for the counts is about three times too small.

    Notes
    -----
    About 40 solutions of the problem with the default grid, each started from the one before.

    Examples
    --------
    >>> from scmods import smoother
    >>> adata = smoother.tissue(6, 6)
    >>> smoother.spatial_weights(adata, n_neighbors=4)
    >>> q = smoother.precision(adata.obsp["spatial_connectivities"], "icar", 0.9)
    >>> profiles = smoother.reference(adata).loc[adata.var_names].to_numpy()
    >>> tuning = smoother.tune_deconvolution(adata.X, profiles, q, grid=(0.0, 0.1, 100.0), n_splits=1)
    >>> len(tuning.curve), tuning.recommended < 100
    (3, True)
    """
    from scmods.smoother.deconvolution import nnls

    strengths = _grid(grid)

    def fit(half: Any, strength: float, start: np.ndarray | None = None) -> NnlsFit:
        r = on_one_scale(half, profiles) if match_depth else profiles
        y, r = (_log1p(half), np.log1p(r)) if log else (half, r)
        return nnls(y, r, q, smoothing=strength, bias=bias, start=start, tol=1e-5)

    def score(one: Any, other: Any) -> list[float]:
        free, start, out = fit(other, 0.0).proportions, None, []
        for strength in strengths:
            fitted = fit(one, strength, start)
            start = fitted.abundances
            out.append(float(((fitted.proportions - free) ** 2).mean()))
        return out

    return _splits(counts, strengths, n_splits, seed, score)


def _log1p(x: Any) -> Any:
    return x.log1p() if sparse.issparse(x) else np.log1p(x)


def tune_denoising(
    counts: Any,
    q: Any,
    *,
    grid: Sequence[float] = GRID,
    n_splits: int = 2,
    log: bool = True,
    seed: int = 0,
) -> Tuning:
    """Strength for `denoise`, from arrays.

    Parameters
    ----------
    counts
        (spots, genes), whole numbers.
    q
        Precision matrix, spots x spots.
    grid, n_splits, seed
        As in `tune_deconvolution`.
    log
        Denoise log(1 + counts per median total); else the counts.

    Returns
    -------
    See `Tuning`. The halves are doubled, so that their means are those of the whole. Their noise then has twice the
    variance, and they are smoothed with twice the strength that is reported: the one for all counts.

    Examples
    --------
    >>> import numpy as np
    >>> from scmods import smoother
    >>> rate = 20 + 15 * np.sin(np.arange(40) / 3)[:, None]
    >>> counts = np.random.default_rng(0).poisson(np.repeat(rate, 5, axis=1))
    >>> q = smoother.precision(np.eye(40, k=1) + np.eye(40, k=-1), "icar", 0.99)
    >>> tuning = smoother.tune_denoising(counts, q, grid=(0.0, 0.3, 100.0), n_splits=1)
    >>> len(tuning.curve), tuning.recommended
    (3, 0.3)
    """
    from scmods.smoother.imputation import solve_denoise

    strengths = _grid(grid)
    totals = np.asarray(counts.sum(axis=1)).ravel()
    size = np.maximum(totals, 1) / max(float(np.median(totals)), 1.0)
    seen = np.ones(counts.shape[0], dtype=bool)

    def logged(x: Any) -> np.ndarray:
        x = 2 * (x.toarray() if sparse.issparse(x) else x)
        return np.log1p(x / size[:, None]) if log else x

    def score(one: Any, other: Any) -> list[float]:
        a, b = logged(one), logged(other)
        return [
            float(((solve_denoise(a, q, seen, smoothing=2 * s) - b) ** 2).mean())
            if s
            else float(((a - b) ** 2).mean())
            for s in strengths
        ]

    return _splits(counts, strengths, n_splits, seed, score)


def tune_smoothing(
    adata: AnnData,
    reference: pd.DataFrame | None = None,
    *,
    given: float | None = None,
    grid: Sequence[float] = GRID,
    n_splits: int = 2,
    log: bool = True,
    match_depth: bool = True,
    bias: bool = True,
    prior: str = "icar",
    rho: float = 0.99,
    layer: str | None = None,
    connectivity_key: str = "spatial_connectivities",
    seed: int = 0,
) -> Tuning:
    """Strength of the smoothing that agrees best with molecules left out.

    The molecules are split at random in two halves. The model is fitted on one, with every strength, and compared with
    the unsmoothed other one; noise of the two is independent, so a strength can only win by what both halves share:
    the tissue.

    Parameters
    ----------
    adata
        Spots x genes with counts and a graph in ``obsp``.
    reference
        Genes x types: tune `deconvolve`. None: tune `denoise`.
    given
        A strength you mean to use; it joins the grid, and a warning says when it smooths too much.
    grid
        Strengths to try; 0 is added.
    n_splits
        Thinnings; each is used both ways round.
    log, match_depth, bias, prior, rho, layer, connectivity_key
        As in `deconvolve` and `denoise`.
    seed
        Seed of the thinning.

    Returns
    -------
    The curve and the recommended strength, see `Tuning`.

    Raises
    ------
    ValueError
        Values that are no counts; a bad grid.

    Warns
    -----
    NumericalWarning
        The given strength over-smooths; the best strength is the end of the grid.

    Notes
    -----
    A half has twice the relative noise of the whole, so the recommended strength errs towards smoothing, by less than
    one step of the default grid in simulated tissues.

    Examples
    --------
    >>> from scmods import smoother
    >>> adata = smoother.tissue(6, 6)
    >>> smoother.spatial_weights(adata, n_neighbors=4)
    >>> tuned = smoother.tune_smoothing(adata, smoother.reference(adata), grid=(0.0, 0.1, 100.0), n_splits=1)
    >>> tuned.recommended < 100
    True
    """
    q = _models.graph_precision(adata, connectivity_key=connectivity_key, prior=prior, rho=rho)
    if given is not None:
        grid = [*grid, _checks.number("given", given, 0.0)]
    if reference is None:
        tuned = tune_denoising(
            _models.values(adata, layer), q, grid=grid, n_splits=n_splits, log=log, seed=seed
        )
    else:
        counts, profiles, _ = aligned(adata, reference, layer)
        how = {"log": log, "match_depth": match_depth, "bias": bias}
        tuned = tune_deconvolution(counts, profiles, q, grid=grid, n_splits=n_splits, seed=seed, **how)
    if given is not None and tuned.oversmooths(given):
        warn_oversmoothed(tuned, given)
    return tuned


def warn_oversmoothed(tuned: Tuning, given: float) -> None:
    """Say that a strength is too large, with the better one."""
    table = tuned.curve.set_index("smoothing")["gain"]
    _checks.warn(
        f"smoothing={given:g} over-smooths: it changes the error on the half left out by {-table[given]:+.1%} of that "
        f"without smoothing, smoothing={tuned.recommended:g} by {-table[tuned.recommended]:+.1%}. "
        f"Use smoothing={tuned.recommended:g}.",
        level=4,
    )
