"""What all models of the chapter read from an AnnData: values, observed spots, precision of the graph."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
from scipy import sparse

from scmods import _arrays, _checks
from scmods.smoother.priors import precision

if TYPE_CHECKING:
    from anndata import AnnData

__all__ = ["components_of", "graph_precision", "observed_spots", "observed_values", "target", "values"]

FIX = "Build the graph first: `smoother.spatial_weights(adata)`."


def target(adata: AnnData, *, copy: bool) -> AnnData:
    """The object to write to: `adata`, or a copy of it."""
    return adata.copy() if copy else adata


def graph_precision(
    adata: AnnData, *, connectivity_key: str, prior: str, rho: float, standardize: bool = False
) -> sparse.csr_array:
    """Precision matrix of the prior on the graph stored in ``obsp[connectivity_key]``."""
    _checks.key(adata, "obsp", connectivity_key, FIX)
    if prior == "sma":
        _checks.fail(
            "prior='sma' has a dense precision matrix, which no solver of this kind can use.",
            "Expected 'icar', 'car', 'sar' or 'isar'; for sma use `smoother.SpatialLoss('sma', w)`.",
        )
    return precision(adata.obsp[connectivity_key], prior, rho, standardize=standardize)


def values(adata: AnnData, layer: str | None) -> Any:
    """X or a layer as float64, dense or CSR; refuses values that are not finite."""
    x = _arrays.matrix(adata, layer)
    x = x.to_memory() if hasattr(x, "to_memory") else x
    name = "`adata.X`" if layer is None else f"`adata.layers[{layer!r}]`"
    if not sparse.issparse(x):
        x = _arrays.dense(x)
        _checks.finite(name, x, adata.obs_names)
        return x
    x = sparse.csr_array(x, dtype=np.float64)
    bad = ~np.isfinite(x.data)
    if bad.any():
        rows = np.repeat(np.arange(x.shape[0]), np.diff(x.indptr))[bad]
        first = adata.obs_names.to_numpy()[np.unique(rows)]
        _checks.fail(
            f"{name} holds {int(bad.sum())} values that are NaN or infinite; first rows: {_checks.listing(first, 3)}.",
            "Drop those rows, `adata = adata[keep].copy()`, or fill them before the call.",
        )
    return x


def observed_spots(adata: AnnData, observed: Any) -> np.ndarray:
    """Boolean per spot from an array or the name of a boolean column of obs; at least one must be True."""
    n = adata.n_obs
    if isinstance(observed, str):
        _checks.key(adata, "obs", observed, "Name a column that is True where a spot was measured.")
        observed = adata.obs[observed].to_numpy()
    mask = np.asarray(observed)
    if mask.dtype != bool or mask.shape != (n,):
        _checks.fail(
            f"`observed` has shape {mask.shape} and type {mask.dtype}, but must be ({n},) and bool:",
            "True for every spot that was measured.",
            "Write for instance observed=adata.obs['in_tissue'].to_numpy(bool).",
        )
    if not mask.any():
        _checks.fail("`observed` is False for every spot. Expected at least one measured spot to start from.")
    return mask


def observed_values(adata: AnnData, observed: np.ndarray) -> np.ndarray:
    """Boolean per spot and gene; every gene must have been measured somewhere."""
    mask = np.asarray(observed)
    if mask.dtype != bool or mask.shape != adata.shape:
        _checks.fail(
            f"`observed` has shape {mask.shape} and type {mask.dtype}, but must be {adata.shape} and bool:",
            "True for every value that was measured; or one value per spot.",
        )
    empty = ~mask.any(axis=0)
    if empty.any():
        names = _checks.listing(adata.var_names.to_numpy()[empty], 3)
        _checks.fail(
            f"{int(empty.sum())} genes have no observed value; first: {names}. Drop them before the call."
        )
    return mask


def components_of(q: sparse.csr_array) -> tuple[int, np.ndarray]:
    """Number of connected components of the graph of a precision matrix, and the component of every spot."""
    from scipy.sparse.csgraph import connected_components

    return connected_components(q, directed=False)
