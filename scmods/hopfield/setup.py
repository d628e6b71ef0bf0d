"""What a page does before the model: check its parameters, say what the data allow."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from scmods import _arrays, _checks
from scmods.hopfield.checks import expression

if TYPE_CHECKING:
    import pandas as pd
    from anndata import AnnData

__all__ = ["check_input", "regulator_names"]


def regulator_names(adata: AnnData, regulators: str = "") -> list[str]:
    """Names of the genes that may regulate, from the one text a notebook parameter can hold.

    Parameters
    ----------
    adata
        Cells.
    regulators
        Names separated by commas; or the name of a column of ``var`` with True and False; empty for
        ``var["transcription_factor"]``, and for all genes where there is no such column.

    Raises
    ------
    MissingKeyError
        If a name is neither a gene nor a column.
    ValueError
        If the column holds other values than True and False, or no True.

    Examples
    --------
    >>> from scmods import hopfield
    >>> adata = hopfield.toggle(2, 3)
    >>> hopfield.regulator_names(adata, "A, B")
    ['A', 'B']
    """
    column = regulators.strip() or "transcription_factor"
    names = adata.var_names.astype(str)
    if column in adata.var.columns:
        values = adata.var[column]
        if values.dtype.kind != "b":
            _checks.fail(
                f"`adata.var[{column!r}]` has type {values.dtype}, but must hold True and False.",
                f"Convert it: `adata.var[{column!r}] = adata.var[{column!r}].astype(bool)`.",
            )
        if not values.any():
            _checks.fail(
                f"`adata.var[{column!r}]` marks no gene as regulator.", "Name some: regulators='Pax4, Pdx1'."
            )
        return list(names[values.to_numpy()])
    if not regulators.strip():
        return list(names)
    wanted = [name.strip() for name in regulators.split(",") if name.strip()]
    missing = [name for name in wanted if name not in names]
    if missing:
        _checks.fail(
            f"{len(missing)} of {len(wanted)} regulators are not in `adata.var_names`: {_checks.listing(missing, 5)}.",
            _checks.nearest(missing[0], names),
            f"Genes of this file look like {_checks.listing(names[:3])}; "
            "names are separated by commas: regulators='Pax4, Pdx1'.",
            kind=_checks.MissingKeyError,
        )
    return list(dict.fromkeys(wanted))


def _smallest_label(adata: AnnData, cluster_key: str) -> str:
    if not cluster_key:
        return "one field for all cells"
    _checks.key(adata, "obs", cluster_key, "Name a column of labels, or leave it empty for one field.")
    column = adata.obs[cluster_key]
    if column.isna().any():
        _checks.fail(
            f"`adata.obs[{cluster_key!r}]` is missing for {int(column.isna().sum())} of {len(column)} cells.",
            f"Keep the labelled ones: `adata = adata[adata.obs[{cluster_key!r}].notna()].copy()`.",
        )
    counts = column.astype(str).value_counts()
    return f"{counts.index[-1]}: {counts.iloc[-1]} cells"


def check_input(
    adata: AnnData,
    *,
    cluster_key: str = "",
    spliced_layer: str = "spliced",
    unspliced_layer: str = "unspliced",
    velocity_layer: str = "",
    regulators: str = "",
    n_genes: int = 500,
    n_neighbors: int = 30,
) -> pd.DataFrame:
    """Refuse parameters that the data cannot serve, all before anything slow; say what was found.

    Parameters
    ----------
    adata
        Annotated data; both layers, ``obs[cluster_key]`` and the names are read. Nothing is written.
    cluster_key
        Column of labels, one field for each; empty for one field.
    spliced_layer, unspliced_layer
        Counts, or smoothed counts where `velocity_layer` is given.
    velocity_layer
        A velocity computed elsewhere; empty to compute one here.
    regulators
        See `regulator_names`.
    n_genes
        Genes to model.
    n_neighbors
        Cells averaged by the smoothing.

    Returns
    -------
    Table with one row per fact.

    Raises
    ------
    MissingKeyError, ValueError, TypeError
        With the value, what was expected, what exists and what to do.

    Examples
    --------
    >>> from scmods import hopfield
    >>> adata = hopfield.random_circuit(120, 12, n_regulators=4)
    >>> hopfield.check_input(adata, n_genes=10, n_neighbors=10).loc["cells", "found"]
    '120'
    """
    import pandas as pd

    _checks.unique_names("adata.var_names", adata.var_names)
    _checks.unique_names("adata.obs_names", adata.obs_names)
    smallest = _smallest_label(adata, cluster_key)
    n_regulators = len(regulator_names(adata, regulators))
    _checks.integer("n_neighbors", n_neighbors, 1, adata.n_obs - 1)
    _checks.integer("n_genes", n_genes, 2)
    expression(adata, spliced_layer)
    if velocity_layer:
        _checks.key(adata, "layers", velocity_layer, "Leave it empty to compute a velocity here.")
        _finite(adata, velocity_layer)
    else:
        expression(adata, unspliced_layer)
    clusters = adata.obs[cluster_key].astype(str).nunique() if cluster_key else 1
    facts = {
        "cells": adata.n_obs,
        "genes": adata.n_vars,
        "regulators": n_regulators,
        "clusters": clusters,
        "smallest cluster": smallest,
        "velocity": f"layers[{velocity_layer!r}]" if velocity_layer else "computed here",
        "truth known": "yes" if "true_interactions" in adata.varp else "no",
    }
    return pd.DataFrame({"found": [str(v) for v in facts.values()]}, index=pd.Index(facts, name="fact"))


def _finite(adata: AnnData, layer: str) -> None:
    moving = False
    for _, block in _arrays.blocks(_arrays.matrix(adata, layer)):
        # scvelo leaves NaN where a gene has no velocity; such genes are dropped, not refused
        block = block[:, ~np.isnan(block).all(axis=0)]
        _checks.finite(f"`adata.layers[{layer!r}]`", block)
        moving = moving or bool((block != 0).any())
    if not moving:
        _checks.fail(
            f"`adata.layers[{layer!r}]` is zero everywhere, so there is no field to fit.",
            "Compute one from counts: `hopfield.moments(adata)`, then `hopfield.velocity(adata)`.",
        )
