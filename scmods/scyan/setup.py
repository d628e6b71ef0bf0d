"""What a page does before the model: read, transform and check, say what the data allow."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Any

import numpy as np

from scmods import _arrays, _checks
from scmods.scyan._state import TransformState
from scmods.scyan.covariates import Encoding
from scmods.scyan.table import check_table, population_names, read_table
from scmods.scyan.values import marker_values

if TYPE_CHECKING:
    import pandas as pd
    from anndata import AnnData

__all__ = ["check_input", "prepare"]

TRANSFORMS = ("none", "asinh", "logicle")


def prepare(
    adata: AnnData,
    table: Any = None,
    *,
    transform: str = "none",
    cofactor: float = 5.0,
    coding: str = "signed",
    layer: str | None = None,
) -> AnnData:
    """A copy of the cells with the table beside them, transformed and scaled if they are raw.

    Parameters
    ----------
    adata
        Cells.
    table
        DataFrame or path of a CSV file; empty or None for ``adata.uns["table"]``.
    transform
        ``"none"`` for values that are ready; ``"asinh"`` (mass cytometry) or ``"logicle"`` (flow cytometry) for raw
        intensities, which are then scaled as well. Negative intensities count as 0 before asinh.
    cofactor
        Of asinh.
    coding
        How the table is written, see `read_table`.
    layer
        Layer with the values; None for ``X``.

    Returns
    -------
    AnnData: the markers of the table only where something is transformed; ``X`` float32; ``uns["table"]``.

    Raises
    ------
    MissingKeyError, FileNotFoundError, ValueError
        No table, or one with faults (all of them are named); unknown transform; what `marker_values` refuses.

    Examples
    --------
    >>> from scmods import scyan
    >>> adata = scyan.cytometry(100, 5, 6, raw=True)
    >>> ready = scyan.prepare(adata, adata.uns["table"], transform="asinh")
    >>> ready.shape, ready.X.dtype.name
    ((100, 6), 'float32')
    """
    from scmods.scyan.transform import asinh_transform, logicle_transform, scale

    _checks.one_of("transform", transform, TRANSFORMS)
    if table is None or (isinstance(table, str | os.PathLike) and str(table) == ""):
        _checks.key(adata, "uns", "table", "Give a file: table='table.csv', populations x markers.")
        table = adata.uns["table"]
    known = check_table(read_table(table, coding=coding), adata.var_names, warn=False)
    markers = [str(c) for c in known.columns]
    if transform == "none":
        out = adata.copy() if not adata.isbacked else adata.to_memory()
    else:
        # checked on all of it: a marker that is constant, or a value that is missing, has no place on the scale
        marker_values(adata, markers, layer=layer, transformed=False)
        out = (adata.to_memory() if adata.isbacked else adata)[:, markers].copy()
        out.X = _arrays.dense(_arrays.matrix(out, layer), dtype=np.float32)
        if transform == "asinh":
            out.X = np.clip(out.X, 0, None)
            asinh_transform(out, cofactor=cofactor)
        else:
            logicle_transform(out)
        scale(out)
    out.uns["table"] = known
    return out


def check_input(
    adata: AnnData,
    *,
    label_key: str = "",
    batch_key: str = "",
    layer: str = "",
    n_cells: int = 0,
) -> pd.DataFrame:
    """Refuse parameters that the data cannot serve, all before anything slow; say what was found.

    Parameters
    ----------
    adata
        Cells with a table in ``uns["table"]``, see `prepare`. Nothing is written.
    label_key
        Column of ``obs`` with the true populations; empty for none.
    batch_key
        Column with the batch; empty for none.
    layer
        Layer with the values; empty for ``X``.
    n_cells
        Least number of cells; the number of populations by default.

    Returns
    -------
    Table with one row per fact.

    Raises
    ------
    MissingKeyError, ValueError, TypeError
        With the value, what was expected, what exists and what to do.

    Examples
    --------
    >>> from scmods import scyan
    >>> adata = scyan.cytometry(300, 5, 6)
    >>> scyan.check_input(adata, label_key="cell_type").loc["cells", "found"]
    '300'
    """
    import pandas as pd

    _checks.key(adata, "uns", "table", "Write `adata = scyan.prepare(adata, 'table.csv')`.")
    _checks.unique_names("adata.obs_names", adata.obs_names)
    table = check_table(adata.uns["table"], adata.var_names, warn=False)
    names = population_names(table)
    marker_values(
        adata, [str(c) for c in table.columns], layer=layer or None, smallest=max(n_cells, len(names), 4)
    )
    encoding = Encoding.learn(adata, batch_key or None, (), ())
    facts: dict[str, Any] = {
        "cells": adata.n_obs,
        "markers in the table": f"{table.shape[1]} of {adata.n_vars}",
        "populations": len(names),
        "entries known": f"{int(table.notna().to_numpy().sum())} of {table.size}",
        "batches": len(encoding.batches) or "not given",
    }
    state = TransformState.of(adata)
    facts["transform recorded"] = "none" if state is None else state.method + (", scaled" * state.is_scaled)
    facts["true labels"] = _found_labels(adata, label_key, names) if label_key else "not given"
    return pd.DataFrame({"found": [str(v) for v in facts.values()]}, index=pd.Index(facts, name="fact"))


def _found_labels(adata: AnnData, label_key: str, names: list[str]) -> str:
    _checks.key(adata, "obs", label_key, "Leave the parameter empty if there is none.")
    found = set(adata.obs[label_key].dropna().astype(str))
    shared = [n for n in names if n in found]
    if not shared:
        _checks.fail(
            f"No label of `adata.obs[{label_key!r}]` is a population of the table.",
            f"Labels: {_checks.listing(sorted(found), 6)}. Populations: {_checks.listing(names, 6)}.",
            "Rename one of the two, or leave label_key empty.",
        )
    others = sorted(found - set(names))
    text = f"{len(shared)} of {len(names)} populations"
    return text + (f"; not in the table: {_checks.listing(others, 4)}" if others else "")
