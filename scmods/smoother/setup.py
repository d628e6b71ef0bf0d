"""What a page does before the model: check its parameters, say what the data allow."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from scmods import _arrays, _checks
from scmods.smoother.coords import check_coords

if TYPE_CHECKING:
    import pandas as pd
    from anndata import AnnData

__all__ = ["check_input", "rmse", "top_genes"]


def _kind(adata: AnnData, layer: str) -> str:
    if adata.n_vars == 0:
        return "none"
    found = _arrays.moments(_arrays.matrix(adata, layer or None), names=adata.obs_names)
    if found.negative:
        return "normalised, with negative values"
    return "counts" if found.integers else "normalised"


def check_input(
    adata: AnnData,
    *,
    spatial_key: str = "spatial",
    library_key: str = "",
    label_key: str = "",
    layer: str = "",
    n_neighbors: int = 6,
    n_genes: int = 100,
) -> pd.DataFrame:
    """Refuse parameters that the data cannot serve, all before anything slow; say what was found.

    Parameters
    ----------
    adata
        Annotated data; coordinates, expression, names and the two columns are read. Nothing is written.
    spatial_key
        Key of ``obsm`` with the positions.
    library_key
        Column of ``obs`` with the section of each spot; empty for one section.
    label_key
        Column of regions, whose borders the prior may respect; empty for none.
    layer
        Matrix of counts; empty for ``adata.X``.
    n_neighbors
        Neighbours of a spot.
    n_genes
        Genes to fill in.

    Returns
    -------
    Table with one row per fact.

    Raises
    ------
    MissingKeyError, ValueError, TypeError
        With the value, what was expected, what exists and what to do.

    Examples
    --------
    >>> from scmods import smoother
    >>> adata = smoother.tissue(6, 6)
    >>> smoother.check_input(adata, n_neighbors=4).loc["spots", "found"]
    '36'
    """
    import pandas as pd

    _checks.unique_names("adata.var_names", adata.var_names)
    _checks.unique_names("adata.obs_names", adata.obs_names)
    _checks.key(
        adata, "obsm", spatial_key, "Positions: `adata.obsm['spatial'] = adata.obs[['x', 'y']].to_numpy()`."
    )
    xy = check_coords(adata.obsm[spatial_key])
    _checks.integer("n_neighbors", n_neighbors, 1, adata.n_obs - 1)
    _checks.integer("n_genes", n_genes, 1)
    labels = {}
    for name, column in (("sections", library_key), ("regions", label_key)):
        if column:
            _checks.key(adata, "obs", column, "Leave the parameter empty if there is none.")
            missing = int(adata.obs[column].isna().sum())
            if missing:
                _checks.fail(
                    f"`adata.obs[{column!r}]` is missing for {missing} of {adata.n_obs} spots.",
                    f"Keep the labelled ones: `adata = adata[adata.obs[{column!r}].notna()].copy()`.",
                )
            labels[name] = adata.obs[column].astype(str).nunique()
    facts = {
        "spots": adata.n_obs,
        "genes": adata.n_vars,
        "values": _kind(adata, layer),
        "extent": " x ".join(f"{v:.4g}" for v in np.ptp(xy, axis=0)),
        "sections": labels.get("sections", 1),
        "regions": labels.get("regions", "not given"),
        "truth known": "yes" if "truth" in adata.obsm else "no",
    }
    return pd.DataFrame({"found": [str(v) for v in facts.values()]}, index=pd.Index(facts, name="fact"))


def top_genes(adata: AnnData, n_genes: int, layer: str | None = None) -> list[str]:
    """Names of the genes whose logged, size-normalised expression varies most.

    Parameters
    ----------
    adata
        Spots.
    n_genes
        How many; all where there are fewer.
    layer
        Counts, or values that are normalised already (these are taken as they are); None for ``X``.

    Returns
    -------
    Names, in the order of the data.

    Examples
    --------
    >>> from scmods import smoother
    >>> adata = smoother.tissue(6, 6)
    >>> len(smoother.top_genes(adata, 5))
    5
    """
    x = _arrays.dense(_arrays.matrix(adata, layer))
    _checks.finite("The matrix", x, adata.obs_names)
    order = np.argsort(-_arrays.log_normalized(x).var(axis=0), kind="stable")[
        : _checks.integer("n_genes", n_genes, 1)
    ]
    return list(adata.var_names[np.sort(order)])


def rmse(estimate: np.ndarray, truth: np.ndarray) -> float:
    """Root of the mean squared difference of two arrays of one shape.

    Parameters
    ----------
    estimate, truth
        Numbers.

    Examples
    --------
    >>> rmse([1.0, 2.0], [1.0, 4.0])
    1.4142135623730951
    """
    a, b = np.asarray(estimate, dtype=np.float64), np.asarray(truth, dtype=np.float64)
    if a.shape != b.shape:
        _checks.fail(f"`estimate` has shape {a.shape}, but `truth` has shape {b.shape}.")
    return float(np.sqrt(((a - b) ** 2).mean()))
