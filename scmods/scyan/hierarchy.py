"""Labels as fine as the evidence allows: posteriors of groups of populations, summed over their children."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from scmods import _checks
from scmods.scyan._faults import population_names
from scmods.scyan.subtables import level_values

if TYPE_CHECKING:
    import pandas as pd

__all__ = ["finest_label", "level_proba"]

UNCLASSIFIED = "unclassified"


def _proba(proba: pd.DataFrame, table: pd.DataFrame) -> np.ndarray:
    """(cells, populations) posteriors in the order of the table."""
    names = population_names(table)
    columns = [str(c) for c in proba.columns]
    missing = [n for n in names if n not in columns]
    extra = [c for c in columns if c not in (*names, UNCLASSIFIED)]
    if missing or extra:
        _checks.fail(
            "The columns of `proba` are not the populations of the table:",
            f"missing {_checks.listing(missing)}, unknown {_checks.listing(extra)}.",
            "Write `proba = model.predict_proba(adata)` and `table = model.table`.",
        )
    values = _checks.numeric("`proba`", proba)
    _checks.finite("`proba`", values, list(proba.index))
    if values.min(initial=0.0) < 0 or values.sum(axis=1).max(initial=0.0) > 1 + 1e-6:
        _checks.fail("`proba` holds no probabilities: they lie in [0, 1] and sum to at most 1 in a row.")
    return values[:, [columns.index(n) for n in names]]


def level_proba(proba: pd.DataFrame, table: pd.DataFrame, level: int | str) -> pd.DataFrame:
    """Posterior of every group of a coarser level: the sum over its populations.

    Parameters
    ----------
    proba
        Cells x populations, and "unclassified" if it is there, as `Scyan.predict_proba` returns it.
    table
        The table, with levels in its index.
    level
        Name or number of the level, 0 for the populations themselves. Where a level is missing for a population, it
        keeps the name it has at the next finer one.

    Returns
    -------
    DataFrame, cells x groups in the order in which the table names them, and "unclassified" last if it was there. Row
    sums are unchanged.

    Raises
    ------
    MissingKeyError, TypeError, ValueError
        No such level; columns that are not the populations; values that are no probabilities.

    Examples
    --------
    >>> import pandas as pd
    >>> index = pd.MultiIndex.from_tuples([("CD4", "T"), ("CD8", "T"), ("B", "B")], names=["population", "level"])
    >>> table = pd.DataFrame({"CD3": [1.0, 1, -1]}, index=index)
    >>> level_proba(pd.DataFrame({"CD4": [0.5], "CD8": [0.375], "B": [0.125]}), table, "level")
           T      B
    0  0.875  0.125
    """
    import pandas as pd

    values = _proba(proba, table)
    groups = level_values(table, level)
    names = list(dict.fromkeys(groups))
    member = np.equal.outer(np.asarray(groups, dtype=object), np.asarray(names, dtype=object))
    out = pd.DataFrame(values @ member.astype(float), index=proba.index, columns=names)
    if UNCLASSIFIED in proba.columns:
        out[UNCLASSIFIED] = proba[UNCLASSIFIED].to_numpy(dtype=np.float64)
    return out


def finest_label(proba: pd.DataFrame, table: pd.DataFrame, *, threshold: float = 0.9) -> pd.DataFrame:
    """For every cell the finest level at which one group is probable enough, and that group.

    A cell between CD4 and CD8 T cells is surely a T cell: instead of a guess or of no label it gets the label of the
    coarser level.

    Parameters
    ----------
    proba, table
        As in `level_proba`.
    threshold
        The posterior must be larger, in [0.5, 1), so that at most one group of a level can be.

    Returns
    -------
    DataFrame, one row per cell: ``label`` (categorical, NaN if no level is sure), ``level`` (number, 0 the finest; NaN)
    and ``probability`` (of the label; of the best group of the coarsest level where there is no label).

    Raises
    ------
    TypeError, ValueError
        As in `level_proba`; a threshold outside [0.5, 1).

    Notes
    -----
    A name that occurs at two levels stands for the group of the level given in the row.

    Examples
    --------
    >>> import pandas as pd
    >>> index = pd.MultiIndex.from_tuples([("CD4", "T"), ("CD8", "T"), ("B", "B")], names=["population", "level"])
    >>> table = pd.DataFrame({"CD3": [1.0, 1, -1]}, index=index)
    >>> finest_label(pd.DataFrame({"CD4": [0.5, 1], "CD8": [0.45, 0], "B": [0.05, 0]}), table)["label"].tolist()
    ['T', 'CD4']
    """
    import pandas as pd

    if not 0.5 <= _checks.number("threshold", threshold, 0.5, 1.0) < 1:
        _checks.fail("`threshold` is 1, but no posterior is larger. Write threshold=0.9.")
    n = len(proba)
    label = np.full(n, None, dtype=object)
    level, probability = np.full(n, np.nan), np.zeros(n)
    for k in range(table.index.nlevels):
        groups = level_proba(proba, table, k).drop(columns=UNCLASSIFIED, errors="ignore")
        values = groups.to_numpy()
        best = values.argmax(axis=1)
        top = values[np.arange(n), best]
        open_ = np.isnan(level)
        probability[open_] = top[open_]
        sure = open_ & (top > threshold)
        label[sure] = groups.columns.to_numpy(dtype=object)[best[sure]]
        level[sure] = k
    names = list(dict.fromkeys(v for k in range(table.index.nlevels) for v in level_values(table, k)))
    return pd.DataFrame(
        {"label": pd.Categorical(label, categories=names), "level": level, "probability": probability},
        index=proba.index,
    )
