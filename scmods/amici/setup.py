"""What a page does before the model: check its parameters, say what the data allow."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from scmods import _arrays, _checks
from scmods.amici.inputs import expression, read_tissue
from scmods.amici.neighbors import check_counts, check_unit, nearest_others

if TYPE_CHECKING:
    import pandas as pd
    from anndata import AnnData

__all__ = ["check_input", "log_normalized", "merge_types"]


def log_normalized(adata: AnnData, layer: str | None = None) -> AnnData:
    """A copy with logged expression: counts are scaled to the median total and logged, other values stay.

    Parameters
    ----------
    adata
        Cells.
    layer
        Layer with the values; None for ``X``.

    Returns
    -------
    AnnData with ``X`` float32, dense. Cells without a count keep zeros.

    Examples
    --------
    >>> import anndata
    >>> adata = anndata.AnnData(np.array([[1.0, 3.0], [2.0, 6.0]], dtype=np.float32))
    >>> log_normalized(adata).X.round(2).tolist()
    [[0.9200000166893005, 1.7000000476837158], [0.9200000166893005, 1.7000000476837158]]
    """
    out = adata.to_memory() if adata.isbacked else adata.copy()
    x = _arrays.dense(_arrays.matrix(out, layer))
    _checks.finite("The matrix", x, out.obs_names)
    out.X = _arrays.log_normalized(x).astype(np.float32)
    return out


def merge_types(labels: Any, rules: str, *, cluster_key: str = "") -> pd.Series:
    """Join fine labels into broad types by parts of their names.

    Parameters
    ----------
    labels
        One label per cell, or an AnnData whose column `cluster_key` holds them.
    rules
        ``"Broad = part, other part; Second = part"``: a label goes to the first type of which it contains a part, case
        ignored; labels without a rule stay as they are, and so do missing ones. Empty: nothing changes.
    cluster_key
        Column of ``labels.obs``, where `labels` is an AnnData.

    Returns
    -------
    Categorical Series with the index of `labels`.

    Raises
    ------
    ValueError
        If a rule has no ``=``, or none of its parts occurs.
    KeyError
        If the AnnData has no such column.

    Examples
    --------
    >>> import pandas as pd
    >>> merge_types(pd.Series(["Inhibitory Vip", "L2/3 IT"]), "Inhibitory = inhib").tolist()
    ['Inhibitory', 'L2/3 IT']
    """
    import pandas as pd

    if hasattr(labels, "obs"):
        _checks.key(labels, "obs", cluster_key)
        labels = labels.obs[cluster_key]
    series = pd.Series(labels)
    lower, out = series.astype(str).str.lower(), series.astype(str).astype(object)
    free = series.notna().to_numpy()
    out[~free] = np.nan
    for rule in (r for r in rules.split(";") if r.strip()):
        name, sign, parts = rule.partition("=")
        words = [p.strip().lower() for p in parts.split(",") if p.strip()]
        if not sign or not words or not name.strip():
            _checks.fail(f"The rule {rule.strip()!r} is not of the form 'Broad = part, other part'.")
        hit = free & lower.map(lambda label, words=words: any(w in label for w in words)).to_numpy()
        if not hit.any():
            _checks.fail(
                f"The rule {rule.strip()!r} meets no label. Labels: {_checks.listing(sorted(set(out.dropna())), 8)}."
            )
        out[hit], free = name.strip(), free & ~hit
    return out.astype("category")


def check_input(
    adata: AnnData,
    *,
    cluster_key: str = "cell_type",
    spatial_key: str = "spatial",
    library_key: str = "",
    layer: str = "",
    n_neighbors: int = 20,
) -> pd.DataFrame:
    """Refuse parameters that the data cannot serve, all before anything slow; say what was found.

    Parameters
    ----------
    adata
        Annotated data; expression, positions, names and columns are read. Nothing is written.
    cluster_key
        Column of ``obs`` with the types.
    spatial_key
        Key of ``obsm`` with the positions.
    library_key
        Column with the section of each cell; empty for one section.
    layer
        Layer with logged expression; empty for ``X``.
    n_neighbors
        Neighbours of a cell.

    Returns
    -------
    Table with one row per fact.

    Raises
    ------
    MissingKeyError, ValueError, TypeError
        With the value, what was expected, what exists and what to do.

    Warns
    -----
    NumericalWarning
        Values that look like counts; a unit of length in which nothing could be learned; overlapping sections.

    Examples
    --------
    >>> from scmods import amici
    >>> adata = amici.semisynthetic(300, 30)
    >>> amici.check_input(adata, n_neighbors=5).loc["cells", "found"]
    '300'
    """
    import pandas as pd

    _checks.unique_names("adata.var_names", adata.var_names)
    _checks.unique_names("adata.obs_names", adata.obs_names)
    tissue = read_tissue(
        adata,
        cluster_key=cluster_key,
        spatial_key=spatial_key,
        library_key=library_key or None,
        radius_key=None,
    )
    expression(adata, layer or None)
    check_counts(tissue, _checks.integer("n_neighbors", n_neighbors))
    _, distances = nearest_others(tissue, 1)
    found, sizes = np.unique(tissue.labels.astype(str), return_counts=True)
    nearest = distances[:, 0][np.isfinite(distances[:, 0])]
    facts = {
        "cells": adata.n_obs,
        "genes": adata.n_vars,
        "types": len(found),
        "smallest type": f"{found[sizes.argmin()]}, {sizes.min()} cells",
        "sections": len(tissue.section_names),
        "extent": " x ".join(f"{v:.4g}" for v in np.ptp(tissue.coords, axis=0)),
        "nearest cell of another type": f"{np.median(nearest):.3g} (median)",
        "unit of length": f"{check_unit(distances):g}",
        "truth known": "yes" if "interactions" in adata.uns else "no",
    }
    return pd.DataFrame({"found": [str(v) for v in facts.values()]}, index=pd.Index(facts, name="fact"))
