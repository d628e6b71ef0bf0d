"""From an AnnData to its graph frequencies: check the values, build the graph, solve."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from scmods import _arrays, _checks, graph
from scmods.bmlp.keys import FreqKeys
from scmods.bmlp.splits import parts, split

if TYPE_CHECKING:
    from anndata import AnnData

__all__ = ["frequencies", "inductive_frequencies", "largest_component", "preprocess", "split"]

INPUT = "lognorm"  # layer written by preprocess
NEAR = 0.02  # eigenvalues closer than this, relatively, only define a plane together


def detect(adata: AnnData, layer: str | None = None) -> tuple[str, _arrays.Moments]:
    """What the matrix holds, ``"counts"``, ``"log"`` or ``"scaled"``, and its column moments."""
    found = _arrays.moments(_arrays.matrix(adata, layer), names=adata.obs_names)
    if found.negative:
        return "scaled", found
    return ("counts" if found.integers and found.largest > 1 else "log"), found


def refuse_counts(adata: AnnData, layer: str | None) -> _arrays.Moments:
    """Moments of the matrix; refuses raw counts, whose depth would rule the z-scores."""
    _checks.unique_names("adata.var_names", adata.var_names)
    kind, found = detect(adata, layer)
    if kind == "counts":
        slot = "adata.X" if layer is None else f"adata.layers[{layer!r}]"
        _checks.fail(
            f"`{slot}` holds raw counts (whole numbers up to {found.largest:g}), but logged values are needed.",
            "Normalise first: `bmlp.preprocess(adata)` divides every cell by its total and takes the logarithm;",
            f"then pass layer={INPUT!r}.",
        )
    if adata.n_obs < 3:
        _checks.fail(
            f"There are {adata.n_obs} cells, but at least 3 are needed.", "Check the filter of the cells."
        )
    if found.n_constant == adata.n_vars:
        _checks.fail(
            f"All {adata.n_vars} genes have the same value in every cell: every gene is constant.",
            f"Available layers: {_checks.listing(adata.layers)}. Name another matrix: layer='...'.",
        )
    return found


def options_of_scaling(n_pcs: object, clip: object, rows: int, genes: int) -> None:
    """Refuse numbers of components and bounds of z-scores that cannot be, under their names here."""
    if n_pcs is not None:
        why = f"There are {rows} cells and {genes} genes."
        _checks.integer("n_pcs", n_pcs, 1, max(1, min(rows - 1, genes)), why)
    if clip is not None and _checks.number("clip", clip, 0.0, why="Write clip=10.0, or clip=None.") == 0:
        _checks.fail("`clip` is 0, which would cut every z-score to 0.", "Write clip=10.0, or clip=None.")


def preprocess(
    adata: AnnData,
    *,
    layer: str | None = None,
    data: str = "auto",
    target_sum: float | None = None,
    copy: bool = False,
) -> AnnData | None:
    """Write ``layers["lognorm"]``: counts per median total, logged; values that are logged already are kept.

    Parameters
    ----------
    adata
        Annotated data; ``X`` or `layer` is read.
    layer
        Matrix to read, ``adata.X`` by default. It is not changed.
    data
        What it holds: ``"counts"``, ``"log"``, ``"scaled"`` (z-scores), or ``"auto"``: whole numbers are
        counts, negative values mean scaled, anything else is taken as logged.
    target_sum
        Total to scale every cell to; the median of the totals by default.
    copy
        Return a changed copy instead of changing `adata`.

    Returns
    -------
    ``None`` or the copy, with ``layers["lognorm"]`` (sparse stays sparse) and ``uns["lognorm"]`` (what was
    detected and done).

    Raises
    ------
    ValueError
        NaN, cells without a single count, or `data` that contradicts the values.
    """
    import scanpy

    _checks.one_of("data", data, ("auto", "counts", "log", "scaled"))
    adata = adata.copy() if copy else adata
    x = _arrays.matrix(adata, layer)
    found, seen = detect(adata, layer)
    if data == "counts" and seen.negative:
        _checks.fail("`data` is 'counts', but the matrix holds negative values.", "Pass data='scaled'.")
    kind = found if data == "auto" else data
    x = x[:] if not hasattr(x, "copy") else x.copy()
    if kind == "counts":
        _checks.positive_rows("The matrix", np.asarray(x.sum(axis=1)).ravel(), adata.obs_names)
        x = x.astype(np.float32) if x.dtype.kind != "f" or x.dtype == np.float16 else x
        work = type(adata)(x, obs=adata.obs[[]].copy(), var=adata.var[[]].copy())
        scanpy.pp.normalize_total(work, target_sum=target_sum)
        scanpy.pp.log1p(work)
        x = work.X
    elif kind == "scaled" and data == "auto":
        _checks.warn(
            "The matrix holds negative values, so it is taken as scaled already and used as it is. "
            "If that is wrong, name the layer of counts: bmlp.preprocess(adata, layer='counts')."
        )
    adata.layers[INPUT] = x.astype(np.float32) if x.dtype == np.float16 else x
    adata.uns[INPUT] = {"detected": found, "taken_as": kind, "layer": layer or "X"}
    return adata if copy else None


def coordinates(
    adata: AnnData, *, layer: str | None, use_rep: str | None, n_pcs: int | None, clip: float | None,
    rows: np.ndarray | None = None,
) -> np.ndarray:  # fmt: skip
    """What the graph is built on: an embedding, principal components, or the z-scores of all genes."""
    if use_rep is not None:
        _checks.key(adata, "obsm", use_rep, "Pass use_rep=None to use the genes.")
        rep = _checks.numeric(f"`adata.obsm[{use_rep!r}]`", adata.obsm[use_rep])
        rep = rep if rows is None else rep[rows]
        _checks.finite(
            f"`adata.obsm[{use_rep!r}]`", rep, adata.obs_names if rows is None else adata.obs_names[rows]
        )
        return rep
    refuse_counts(adata, layer)
    x = _arrays.matrix(adata, layer)
    if n_pcs is not None:
        return graph.pca(x, n_pcs, clip=clip, rows=rows).scores
    found = _arrays.moments(x, rows)
    return found.scale(_arrays.dense(x, rows), clip)


def _solve(x: np.ndarray, options: dict[str, Any]) -> tuple[graph.Eigenpairs, Any, np.ndarray]:
    """Eigenpairs, adjacency and the distance of every cell to its last neighbour."""
    indices, distances = graph.knn(x, options["n_neighbors"], metric=options["metric"])
    adjacency = graph.adjacency(indices, mode=options["mode"])
    lap = graph.laplacian(adjacency, kind=options["kind"])
    return graph.eigenpairs(lap, options["n_comps"], adjacency=adjacency), adjacency, distances[:, -1]


def _warn(pairs: graph.Eigenpairs, x: np.ndarray, options: dict[str, Any]) -> None:
    if pairs.n_components > 1:
        largest = ", ".join(map(str, np.bincount(pairs.labels)[:4]))
        k = (
            graph.joining_k(x, metric=options["metric"])
            if len(x) <= 3000 and options["mode"] == "union"
            else None
        )
        join = f"The graph becomes connected at n_neighbors={k}. " if k else ""
        _checks.warn(
            f"The graph has {pairs.n_components} components, the largest of {largest} cells. A frequency "
            f"lives on one of them and is 0 on the others. {join}"
            "Keep the largest part: adata = bmlp.largest_component(adata).",
            level=4,
        )
    close = [
        f"{i} and {i + 1}"
        for i, (v, g) in enumerate(zip(pairs.values, pairs.gaps, strict=True))
        if g < NEAR * v
    ]
    if close:
        _checks.warn(
            f"Frequencies {', '.join(close)} have nearly equal eigenvalues: each such pair is defined only as a "
            "plane, and its two vectors may mix between runs. Compare planes: graph.canonical_correlations.",
            level=4,
        )


def frequencies(
    adata: AnnData,
    *,
    n_comps: int = 5,
    n_neighbors: int = 10,
    layer: str | None = None,
    use_rep: str | None = None,
    n_pcs: int | None = None,
    metric: str = "cosine",
    mode: str = "union",
    kind: str = "combinatorial",
    clip: float | None = None,
    key_added: str = "freq",
    copy: bool = False,
) -> AnnData | None:
    r"""Lowest non-zero eigenvectors of the cell graph's Laplacian: coordinates of the cells, coarse to fine.

    .. math:: \mathcal{L}u = \lambda u, \qquad \mathcal{L} = \mathrm{diag}(A\mathbf{1}) - A

    Parameters
    ----------
    adata
        Annotated data; ``X`` or `layer`, or ``obsm[use_rep]`` instead, is read.
    n_comps
        Number of frequencies. The zero eigenvalues, one per component of the graph, are left out.
    n_neighbors
        Neighbours per cell.
    layer
        Logged expression to z-score, ``adata.X`` by default; raw counts are refused.
    use_rep
        Key of ``obsm`` to build the graph on instead, such as ``"X_pca"``.
    n_pcs
        Build the graph on that many principal components of the z-scores. ``None`` uses all genes, as the
        original does, and needs a dense copy of them.
    metric, mode, kind
        ``"cosine"`` or ``"euclidean"``; ``"union"`` or ``"mutual"``; ``"combinatorial"`` or ``"symmetric"``.
    clip
        Cut z-scores at this size; ``None`` does not.
    key_added
        Prefix of the keys.
    copy
        Return a changed copy instead of changing `adata`.

    Returns
    -------
    ``None`` or the copy, with (default keys)

    - ``obsm["X_freq"]``: (cells, n_comps) float64, unit norm, entry of largest size positive;
    - ``uns["freq_vals"]``: (n_comps,) eigenvalues, ascending;
    - ``uns["freq"]``: settings, ``gaps``, ``participation`` (share of the cells that carry the vector),
      ``residuals``, ``component_sizes``;
    - ``obsp["freq_connectivities"]``: the graph.

    Raises
    ------
    ValueError
        Raw counts, NaN, all-zero cells under cosine, too many neighbours or frequencies.

    Warns
    -----
    NumericalWarning
        The graph is not connected, or neighbouring eigenvalues are nearly equal.

    Notes
    -----
    Exact neighbours: O(cells² genes) in blocks. The eigenvectors are solved sparsely and every residual is
    checked, see `scmods.graph.eigenpairs`. Sparse, backed, half-precision and view matrices work.
    Source: Belkin & Niyogi, Neural Computation 15, 2003, doi:10.1162/089976603321780317.

    Examples
    --------
    >>> from scmods import bmlp
    >>> adata = bmlp.planted(120, 40, n_module=5)
    >>> bmlp.frequencies(adata, n_comps=2)
    >>> adata.obsm["X_freq"].shape, adata.uns["freq_vals"].shape
    ((120, 2), (2,))
    """
    adata = adata.copy() if copy else adata
    keys = FreqKeys(key_added)
    options = {
        "n_comps": n_comps, "n_neighbors": n_neighbors, "layer": layer or "", "use_rep": use_rep or "",
        "n_pcs": n_pcs or 0, "metric": metric, "mode": mode, "kind": kind, "clip": clip or 0.0,
    }  # fmt: skip
    _checks.one_of("mode", mode, ("union", "mutual"))
    options_of_scaling(n_pcs, clip, adata.n_obs, adata.n_vars)
    x = coordinates(adata, layer=layer, use_rep=use_rep, n_pcs=n_pcs, clip=clip)
    if metric == "cosine" and use_rep is not None:
        _checks.positive_rows(f"`adata.obsm[{use_rep!r}]`", np.linalg.norm(x, axis=1), adata.obs_names)
    pairs, adjacency, _ = _solve(x, options)
    _warn(pairs, x, options)
    from scipy import sparse

    adata.obsm[keys.vectors] = pairs.vectors
    adata.uns[keys.values] = pairs.values
    adata.obsp[keys.adjacency] = sparse.csr_matrix(adjacency)
    adata.uns[keys.info] = options | {
        "gaps": pairs.gaps,
        "participation": graph.participation_ratio(pairs.vectors),
        "residuals": pairs.residuals,
        "component_sizes": np.bincount(pairs.labels),
        "method": pairs.method,
    }
    return adata if copy else None


def _settings(adata: AnnData, key_added: str) -> dict[str, Any]:
    _checks.key(adata, "uns", FreqKeys(key_added).info, "Run `bmlp.frequencies(adata)` first.")
    kept = adata.uns[FreqKeys(key_added).info]
    out = {k: kept[k] for k in ("metric", "mode", "kind")}
    out |= {k: int(kept[k]) for k in ("n_comps", "n_neighbors")}
    out |= {k: str(kept[k]) or None for k in ("layer", "use_rep")}
    return out | {"n_pcs": int(kept["n_pcs"]) or None, "clip": float(kept["clip"]) or None}


def largest_component(adata: AnnData, *, key_added: str = "freq") -> AnnData:
    """Copy of the cells in the largest component of the graph, with their frequencies computed anew.

    Scaling, neighbours and frequencies are those of the kept cells alone; the copy can be disconnected again
    only if dropping cells has changed the neighbours, which `frequencies` would warn of.

    Parameters
    ----------
    adata
        Annotated data after `frequencies`; ``uns["freq"]``, ``obsp["freq_connectivities"]`` and the matrix or embedding
        that `frequencies` used are read. It is not changed.
    key_added
        Prefix given to `frequencies`; the copy gets the same keys.

    Returns
    -------
    The copy, with the slots that `frequencies` writes.

    Raises
    ------
    MissingKeyError
        `frequencies` was not run under this prefix.
    ValueError
        The component has too few cells for the same number of neighbours or frequencies.

    Examples
    --------
    >>> from scmods import bmlp
    >>> adata = bmlp.planted(120, 40, n_module=5)
    >>> bmlp.frequencies(adata, n_comps=2)
    >>> bmlp.largest_component(adata).n_obs
    120
    """
    options = _settings(adata, key_added)
    _, labels = graph.components(adata.obsp[FreqKeys(key_added).adjacency])
    kept = adata[labels == 0].copy()
    frequencies(kept, key_added=key_added, **options)
    return kept


def inductive_frequencies(
    adata: AnnData, *, key_added: str = "freq", split_key: str = "bmlp_split", copy: bool = False
) -> AnnData | None:
    """Frequencies in which the test cells had no part: ``obsm["X_freq_inductive"]``.

    Scaling, graph and eigenvectors are made from the train and val cells; the test cells are placed by the
    eigenvalue equation at their own neighbours (`scmods.graph.extend`). With the frequencies of all cells the
    targets of the test cells have leaked into the graph; this shows how much that matters.

    Parameters
    ----------
    adata
        Annotated data after `frequencies` and `split`; ``uns["freq"]``, ``obs[split_key]`` and the matrix or embedding
        that `frequencies` used are read.
    key_added
        Frequencies whose settings are used again.
    split_key
        Column of `split`.
    copy
        Return a changed copy instead of changing `adata`.

    Returns
    -------
    ``None`` or the copy, with the new coordinates (cells, n_comps), unit norm over the train and val cells,
    and ``uns["freq_inductive"]`` with their eigenvalues. Where a test cell has too few edges for the
    equation, the mean of its neighbours is used, and ``"mean_of_neighbors"`` says for how many entries.

    Examples
    --------
    >>> from scmods import bmlp
    >>> adata = bmlp.planted(120, 40, n_module=5)
    >>> bmlp.frequencies(adata, n_comps=2)
    >>> bmlp.split(adata)
    >>> bmlp.inductive_frequencies(adata)
    >>> adata.obsm["X_freq_inductive"].shape
    (120, 2)
    """
    adata = adata.copy() if copy else adata
    options, rows = _settings(adata, key_added), parts(adata, split_key)
    known, new = np.sort(np.r_[rows["train"], rows["val"]]), rows["test"]
    pcs, clip = options["n_pcs"], options["clip"]
    if options["use_rep"] is not None:
        rep = coordinates(adata, layer=None, use_rep=options["use_rep"], n_pcs=None, clip=None)
        near, far = rep[known], rep[new]
    else:
        x = _arrays.matrix(adata, options["layer"])
        scale = _arrays.moments(x, known)
        near, far = (scale.scale(_arrays.dense(x, r), clip) for r in (known, new))
        if pcs is not None:
            _, loadings, _ = graph.pca(x, pcs, clip=clip, rows=known, moments=scale)
            near, far = near @ loadings, far @ loadings
    pairs, adjacency, reach = _solve(near, options)
    weights = graph.extension_weights(
        near, far, options["n_neighbors"], metric=options["metric"], reach=reach
    )
    degrees = np.asarray(adjacency.sum(axis=1)).ravel() if options["kind"] == "symmetric" else None
    out = np.empty((adata.n_obs, options["n_comps"]))
    out[known] = pairs.vectors
    out[new] = graph.extend(pairs.vectors, pairs.values, weights, degrees=degrees, fallback="mean")
    small = np.asarray(weights.sum(axis=1)).ravel()[:, None] <= pairs.values
    adata.obsm[f"{FreqKeys(key_added).vectors}_inductive"] = out
    adata.uns[f"{key_added}_inductive"] = {"values": pairs.values, "mean_of_neighbors": int(small.sum())}
    return adata if copy else None
