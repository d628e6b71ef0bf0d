"""Whole studies of the chapter: smoothing against the truth, hidden spots, and tests on unrelated fields."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from scmods import _arrays, _checks
from scmods.smoother.baselines import impute_reference
from scmods.smoother.deconvolution import deconvolve
from scmods.smoother.graphs import knn_weights
from scmods.smoother.imputation import solve_denoise, solve_impute
from scmods.smoother.nulls import field_test, spectral_basis
from scmods.smoother.setup import rmse
from scmods.smoother.simulate import reference, smooth_fields, tissue
from scmods.smoother.weights import spatial_weights

if TYPE_CHECKING:
    import pandas as pd
    from anndata import AnnData

__all__ = ["hidden_spots", "lognorm", "null_study", "tissue_study"]


def tissue_study(
    seeds: Sequence[int], *, depths: Sequence[float] = (1.0, 0.1), n_neighbors: int = 4, **options: Any
) -> pd.DataFrame:
    """Error of the proportions of simulated tissues, without a prior and with the strength that the counts choose.

    Parameters
    ----------
    seeds
        One tissue each, per depth.
    depths
        Depths of `tissue`; 1 is about 210 molecules a spot.
    n_neighbors
        Of the graph.
    options
        Further arguments of `tissue`.

    Returns
    -------
    Columns ``depth``, ``seed``, ``smoothing`` (chosen without the truth), ``none`` and ``chosen``: root mean squared
    errors of the proportions.

    Examples
    --------
    >>> from scmods import smoother
    >>> table = smoother.tissue_study([0], depths=(1.0,), n_rows=6, n_cols=6)
    >>> list(table.columns)
    ['depth', 'seed', 'smoothing', 'none', 'chosen']
    """
    import pandas as pd

    rows = []
    for depth in depths:
        for seed in seeds:
            adata = tissue(depth=depth, seed=seed, **options)
            spatial_weights(adata, n_neighbors=n_neighbors)
            row = {"depth": depth, "seed": seed}
            for name, strength in (("none", 0.0), ("chosen", "auto")):
                deconvolve(adata, reference(adata), smoothing=strength, seed=seed)
                row[name] = rmse(adata.obsm["smoother_proportions"], adata.obsm["truth"])
            row["smoothing"] = float(adata.uns["smoother_deconvolution"]["smoothing"])
            rows.append(row)
    return pd.DataFrame(rows)[["depth", "seed", "smoothing", "none", "chosen"]]


def lognorm(adata: AnnData, layer: str | None = None) -> np.ndarray:
    """Logged expression: counts are scaled to the median total and logged, other values are taken as they are.

    Parameters
    ----------
    adata
        Spots.
    layer
        Matrix; None for ``X``.

    Returns
    -------
    (spots, genes) float64.

    Examples
    --------
    >>> from scmods import smoother
    >>> adata = smoother.tissue(6, 6)
    >>> smoother.lognorm(adata).shape == adata.shape
    True
    """
    x = _arrays.dense(_arrays.matrix(adata, layer))
    _checks.finite("The matrix", x, adata.obs_names)
    return _arrays.log_normalized(x)


def hidden_spots(
    y: np.ndarray, q: Any, *, share: float = 0.2, smoothing: float = 0.3, epochs: int = 1000, seed: int = 0
) -> tuple[pd.DataFrame, np.ndarray]:
    """Hide some spots, fill them in several ways, and compare with what was hidden.

    Parameters
    ----------
    y
        (spots, genes) logged expression.
    q
        Precision matrix of the prior.
    share
        Share of the spots that is hidden, in (0, 1).
    smoothing
        Strength of the denoised row, which does not trust the observed spots fully.
    epochs
        Epochs of the original's recipe; 0 leaves it out.
    seed
        Which spots.

    Returns
    -------
    Table with a row per method (mean of the gene, exact imputation, denoising, the original's recipe) and the columns
    ``rmse`` and ``below_mean``, the share by which the error is below that of the mean; and the observed spots, bool.

    Examples
    --------
    >>> import numpy as np
    >>> from scmods import smoother
    >>> y = np.random.default_rng(0).normal(size=(16, 3))
    >>> q = smoother.precision(np.eye(16, k=1) + np.eye(16, k=-1), "icar", 0.9)
    >>> table, observed = smoother.hidden_spots(y, q, epochs=5)
    >>> list(table.columns), observed.shape
    (['rmse', 'below_mean'], (16,))
    """
    import pandas as pd

    _checks.number("share", share, 0.01, 0.99)
    n_hidden = max(1, round(share * len(y)))
    observed = np.ones(len(y), dtype=bool)
    observed[np.random.default_rng(seed).choice(len(y), n_hidden, replace=False)] = False
    mean = y[observed].mean(axis=0)
    centred = np.where(observed[:, None], y - mean, 0.0)
    hidden = y[~observed] - mean
    errors = {
        "mean of the gene": rmse(np.zeros_like(hidden), hidden),
        "exact imputation": rmse(solve_impute(centred, q, observed), hidden),
        "denoising": rmse(solve_denoise(centred, q, observed, smoothing=smoothing)[~observed], hidden),
    }
    if epochs:
        found = impute_reference(centred, q, observed, epochs=epochs)
        errors["original's recipe"] = rmse(found.values, hidden)
    table = pd.DataFrame({"rmse": errors}).rename_axis("method")
    table["below_mean"] = 1 - table["rmse"] / table.loc["mean of the gene", "rmse"]
    return table, observed


def null_study(
    n_pairs: int = 1000, *, size: int = 30, length: float = 4.0, n_perms: int = 199, seed: int = 0
) -> pd.DataFrame:
    """Tests of pairs of independent smooth fields, which have nothing to do with each other.

    Parameters
    ----------
    n_pairs
        Pairs; rounded up to a multiple of 25, since 25 fields are tested against one.
    size
        Rows and columns of the array of spots.
    length
        Correlation length of the fields, in steps.
    n_perms
        Draws of each test.
    seed
        Seed of fields and draws.

    Returns
    -------
    Columns ``null`` (the test: spectral, which keeps the smoothness, or permutation, which does not) and ``pvalue``.

    Examples
    --------
    >>> from scmods import smoother
    >>> table = smoother.null_study(3, size=6, length=2.0, n_perms=19)
    >>> sorted(set(table["null"])), len(table)
    (['permutation', 'spectral'], 50)
    """
    import pandas as pd

    rng = np.random.default_rng(seed)
    grid = np.stack(np.meshgrid(np.arange(size), np.arange(size), indexing="ij"), axis=-1).reshape(-1, 2)
    basis = spectral_basis(knn_weights(grid.astype(float), 4))
    parts = []
    for block in range(-(-_checks.integer("n_pairs", n_pairs, 1) // 25)):
        fields = smooth_fields(size, size, 26, length=length, generator=rng)
        for null in ("spectral", "permutation"):
            extra = {"basis": basis} if null == "spectral" else {}
            found = field_test(
                fields[:, 1:], fields[:, 0], null=null, n_perms=n_perms, seed=seed + block, **extra
            )
            parts.append(pd.DataFrame({"null": null, "pvalue": found.pvalue}))
    return pd.concat(parts, ignore_index=True)
