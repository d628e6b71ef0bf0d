"""Spatial weights: one door to all constructors, and the graph of an AnnData written where squidpy would."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from scipy import sparse

from scmods import _arrays, _checks, graph
from scmods.smoother.coords import check_coords
from scmods.smoother.graphs import distance_weights, knn_weights
from scmods.smoother.priors import symmetrize
from scmods.smoother.scaling import (
    isolated_spots,
    row_scaled,
    scale_by_expression,
    scale_by_labels,
    scale_by_similarity,
)
from scmods.smoother.weight_matrix import SpatialWeightMatrix

if TYPE_CHECKING:
    from anndata import AnnData

__all__ = [
    "SpatialWeightMatrix",
    "distance_weights",
    "isolated_spots",
    "knn_weights",
    "row_scaled",
    "scale_by_expression",
    "scale_by_labels",
    "scale_by_similarity",
    "spatial_weights",
    "symmetrize",
]


def _library(adata: AnnData, library_key: str | None, coords: np.ndarray) -> np.ndarray | None:
    """Section of every spot; without a key, sections that are plainly there are refused or pointed at."""
    if library_key is not None:
        _checks.key(adata, "obs", library_key, "Name the column that holds the section of every spot.")
        return adata.obs[library_key].to_numpy(dtype=object)
    listed = adata.uns.get("spatial", {})
    known = [c for c in ("library_id", "library", "section", "slide", "sample", "batch") if c in adata.obs]
    several = [c for c in known if adata.obs[c].nunique() > 1]
    if isinstance(listed, dict) and len(listed) > 1 and coords.shape[1] == 2:
        _checks.fail(
            f"`adata.uns['spatial']` lists {len(listed)} sections, {_checks.listing(listed, 4)}, but `library_key` is",
            "None, so that spots of different sections would become neighbours.",
            f"Columns that may name the section: {_checks.listing(several or adata.obs.columns)}.",
            f"Call `smoother.spatial_weights(adata, library_key={(several or ['...'])[0]!r})`.",
        )
    if several and coords.shape[1] == 2:
        _checks.warn(
            f"`adata.obs[{several[0]!r}]` has {adata.obs[several[0]].nunique()} values. If these are sections, "
            f"pass library_key={several[0]!r}: otherwise spots of different sections become neighbours.",
            level=4,
        )
    return None


def _with_distances(w: sparse.csr_array, coords: np.ndarray) -> sparse.csr_matrix:
    rows = np.repeat(np.arange(w.shape[0]), np.diff(w.indptr))
    away = np.linalg.norm(coords[rows] - coords[w.indices], axis=1)
    return sparse.csr_matrix((away, w.indices.copy(), w.indptr.copy()), shape=w.shape)


def spatial_weights(
    adata: AnnData,
    *,
    spatial_key: str = "spatial",
    library_key: str | None = None,
    n_neighbors: int = 6,
    mutual: bool = True,
    radius: float | None = None,
    bandwidth: float = 0.1,
    cluster_key: str | None = None,
    boundary: float = 0.0,
    expression: bool = False,
    layer: str | None = None,
    n_comps: int = 10,
    row_scale: bool = False,
    key_added: str = "spatial",
    copy: bool = False,
) -> AnnData | None:
    """Make the graph of the spots and write it where squidpy would.

    Parameters
    ----------
    adata
        Spots x genes.
    spatial_key
        Key of the coordinates in ``obsm``.
    library_key
        Column of ``obs`` with the section of every spot; edges stay within sections.
    n_neighbors, mutual
        As for :func:`knn_weights`; unused when `radius` is given.
    radius, bandwidth
        Make the graph by :func:`distance_weights` instead.
    cluster_key, boundary
        Column of ``obs`` with labels; edges that join different ones are multiplied by `boundary`.
    expression
        Multiply by the similarity of expression, :func:`scale_by_expression`.
    layer
        Layer with the expression; None for ``X``. Only with `expression`.
    n_comps
        Principal components for it.
    row_scale
        Divide by the row sums (asymmetric).
    key_added
        Prefix of what is written.
    copy
        Return a changed copy instead.

    Returns
    -------
    None, or the copy. Written:

    - ``obsp["spatial_connectivities"]``: weights, CSR float64.
    - ``obsp["spatial_distances"]``: distances of the same edges, in the unit of the coordinates.
    - ``uns["spatial_neighbors"]``: the two keys and ``params`` (settings, numbers of components and isolated spots).

    Raises
    ------
    MissingKeyError, ValueError
        Missing slots; several sections without `library_key`; as for the functions named above.

    Warns
    -----
    NumericalWarning
        Coincident or isolated spots; a column that looks like sections.

    Examples
    --------
    >>> from scmods import smoother
    >>> adata = smoother.tissue(6, 6)
    >>> smoother.spatial_weights(adata, n_neighbors=4)
    >>> adata.obsp["spatial_connectivities"].shape
    (36, 36)
    """
    _checks.key(adata, "obsm", spatial_key, "Name the coordinates: spatial_key='...'.")
    what = f"`adata.obsm[{spatial_key!r}]`"
    coords = check_coords(adata.obsm[spatial_key], what)
    library = _library(adata, library_key, coords)
    if layer is not None and not expression:
        _checks.fail(f"layer={layer!r} is only read with expression=True.", "Add it, or leave `layer` out.")
    if radius is None:
        w = knn_weights(coords, n_neighbors, mutual=mutual, library=library)
    else:
        w = distance_weights(coords, radius, bandwidth=bandwidth, library=library)
    if cluster_key is not None:
        _checks.key(adata, "obs", cluster_key, "Name the column of labels.")
        w = scale_by_labels(w, adata.obs[cluster_key].to_numpy(dtype=object), boundary=boundary)
    if expression:
        w = scale_by_expression(w, _arrays.matrix(adata, layer), n_comps=n_comps)
    if row_scale:
        w = row_scaled(w)
    out = adata.copy() if copy else adata
    connectivities, distances = f"{key_added}_connectivities", f"{key_added}_distances"
    out.obsp[connectivities] = sparse.csr_matrix(w)
    out.obsp[distances] = _with_distances(w, coords)
    made = {"n_neighbors": int(n_neighbors), "mutual": mutual} if radius is None else {}
    band = {} if radius is None else {"radius": float(radius), "bandwidth": float(bandwidth)}
    params = {
        "method": "knn" if radius is None else "distance",
        "spatial_key": spatial_key,
        **({} if library_key is None else {"library_key": library_key}),
        **made,
        **band,
        **({} if cluster_key is None else {"cluster_key": cluster_key, "boundary": float(boundary)}),
        "expression": expression,
        "row_scale": row_scale,
        "n_components": graph.components(w)[0],
        "n_isolated": len(isolated_spots(w)),
    }
    out.uns[f"{key_added}_neighbors"] = {
        "connectivities_key": connectivities,
        "distances_key": distances,
        "params": params,
    }
    return out if copy else None
