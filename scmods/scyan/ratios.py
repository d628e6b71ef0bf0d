"""What samples are made of: shares of populations, expected numbers of cells, mean intensities."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from scmods import _checks

if TYPE_CHECKING:
    import pandas as pd
    from anndata import AnnData

__all__ = ["cell_type_ratios", "mean_intensities", "posterior_counts"]

UNCLASSIFIED = "unclassified"


def _rows(adata: AnnData, groupby: str | Sequence[str]) -> list[pd.Series]:
    keys = [groupby] if isinstance(groupby, str) else list(groupby)
    if not keys:
        _checks.fail("`groupby` is empty. Name a column of `adata.obs`, such as the samples.")
    for name in keys:
        _checks.key(adata, "obs", name, "Name the column of the samples.")
        missing = int(adata.obs[name].isna().sum())
        if missing:
            _checks.fail(
                f"`adata.obs[{name!r}]` has {missing} missing entries of {adata.n_obs}.",
                f"Keep the others: `adata = adata[adata.obs[{name!r}].notna()].copy()`.",
            )
    return [adata.obs[name] for name in keys]


def cell_type_ratios(
    adata: AnnData,
    groupby: str | Sequence[str],
    *,
    label_key: str = "scyan_pop",
    among: int | str | None = None,
    table: pd.DataFrame | None = None,
) -> pd.DataFrame:
    """Share of every population in every sample.

    Parameters
    ----------
    adata
        Cells with labels.
    groupby
        Column of ``obs`` with the samples, or several.
    label_key
        Column of ``obs`` with the populations; missing for none.
    among
        None: of all cells of the sample, those without a label included. The name or number of a coarser level of the
        table: of the cells with the same parent, such as CD4 T cells among T cells.
    table
        The table with levels, `Scyan.table`; only needed with `among`.

    Returns
    -------
    DataFrame, samples x populations; without `among` also "unclassified", if there are such cells, and rows sum to 1.
    NaN where a sample has no cell of the parent.

    Raises
    ------
    MissingKeyError, TypeError, ValueError
        No such column or level, samples missing, `among` without a table, labels that the table does not know.

    Examples
    --------
    >>> import anndata, pandas as pd
    >>> obs = pd.DataFrame({"sample": ["a", "a", "b", "b"], "scyan_pop": ["T", "B", "T", "T"]}, index=list("wxyz"))
    >>> cell_type_ratios(anndata.AnnData(obs=obs), "sample")["T"].to_dict()
    {'a': 0.5, 'b': 1.0}
    """
    import pandas as pd

    from scmods.scyan._faults import population_names
    from scmods.scyan._readout import codes_of
    from scmods.scyan.subtables import level_values

    rows = _rows(adata, groupby)
    _checks.key(adata, "obs", label_key, f"Write it first: `model.predict(adata, key_added={label_key!r})`.")
    column = adata.obs[label_key].astype("category")
    if among is not None and table is None:
        _checks.fail(f"among={among!r} needs the table, which knows the parents. Write table=model.table.")
    names = [str(c) for c in column.cat.categories if str(c) != UNCLASSIFIED]
    names = population_names(table) if table is not None else names
    code = codes_of(column, names, f"`adata.obs[{label_key!r}]`")
    label = pd.Categorical.from_codes(np.where(code < 0, len(names), code), [*names, UNCLASSIFIED])
    counts = pd.crosstab([r.astype(object).to_numpy() for r in rows], label, dropna=False)
    counts = counts.reindex(columns=[*names, UNCLASSIFIED], fill_value=0)
    counts = counts.loc[counts.sum(axis=1) > 0]
    counts.index.names, counts.columns.name = [str(r.name) for r in rows], None
    if among is None:
        if not counts[UNCLASSIFIED].any():
            counts = counts.drop(columns=UNCLASSIFIED)
        return counts.div(counts.sum(axis=1), axis=0)
    counts = counts[names]
    parent = counts.T.groupby(level_values(table, among)).transform("sum").T
    return counts / parent.where(parent > 0)


def mean_intensities(
    adata: AnnData,
    groupby: str | Sequence[str],
    *,
    var_names: Sequence[str] | None = None,
    layer: str | None = None,
) -> pd.DataFrame:
    """Mean intensity of every marker in every group of cells, such as population by sample.

    Parameters
    ----------
    adata
        Cells.
    groupby
        Column of ``obs``, or several; cells with a missing entry are left out.
    var_names
        Markers, of the table or not; all by default.
    layer
        Layer to read; None for ``X``.

    Returns
    -------
    DataFrame, groups that have cells x markers; several columns make an index of several levels.

    Raises
    ------
    MissingKeyError, TypeError, ValueError
        No such column, layer or marker, values that are not finite.

    Examples
    --------
    >>> import anndata, pandas as pd
    >>> obs = pd.DataFrame({"pop": ["T", "T", "B"]}, index=list("xyz"))
    >>> adata = anndata.AnnData(np.array([[1.0], [3.0], [5.0]]), obs=obs, var=pd.DataFrame(index=["pS6"]))
    >>> mean_intensities(adata, "pop")["pS6"].to_dict()
    {'B': 5.0, 'T': 2.0}
    """
    import pandas as pd

    from scmods.scyan.values import marker_values

    keys = [groupby] if isinstance(groupby, str) else list(groupby)
    if not keys:
        _checks.fail("`groupby` is empty. Name a column of `adata.obs`.")
    for name in keys:
        _checks.key(adata, "obs", name)
    names = None if var_names is None else ([var_names] if isinstance(var_names, str) else list(var_names))
    x = marker_values(adata, names, layer=layer, transformed=False, allow_constant=True)
    frame = pd.DataFrame(x, columns=list(adata.var_names if names is None else names))
    groups = [adata.obs[name].reset_index(drop=True) for name in keys]
    return frame.groupby(groups, observed=True).mean()


def posterior_counts(proba: pd.DataFrame, samples: Any) -> pd.DataFrame:
    """Expected number of cells of every population in every sample: sums of posteriors instead of labels.

    Parameters
    ----------
    proba
        Cells x populations, as `Scyan.predict_proba` returns it.
    samples
        Sample of every cell, in the order of `proba`.

    Returns
    -------
    DataFrame, samples x columns of `proba`.

    Raises
    ------
    ValueError
        Another number of cells, a sample missing, values that are not finite.

    Examples
    --------
    >>> import pandas as pd
    >>> posterior_counts(pd.DataFrame({"T": [0.75, 1.0], "B": [0.25, 0.0]}), ["a", "a"])
          T     B
    a  1.75  0.25
    """
    import pandas as pd

    if len(samples) != len(proba):
        _checks.fail(f"`samples` has {len(samples)} entries, but `proba` has {len(proba)} cells.")
    if isinstance(samples, pd.Series) and not samples.index.equals(proba.index):
        _checks.fail("`samples` and `proba` have different indices. Write `samples.loc[proba.index]`.")
    sample = pd.Series(samples).reset_index(drop=True)
    if sample.isna().any():
        _checks.fail(f"`samples` has {int(sample.isna().sum())} missing entries. Every cell needs one.")
    values = _checks.numeric("`proba`", proba)
    _checks.finite("`proba`", values, list(proba.index))
    frame = pd.DataFrame(values, columns=[str(c) for c in proba.columns])
    out = frame.groupby(sample.to_numpy(dtype=object)).sum()
    out.index = out.index.astype(str)
    return out
