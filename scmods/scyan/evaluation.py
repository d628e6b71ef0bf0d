"""How good labels are where the truth is known: over all populations and in each."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from scmods import _checks

if TYPE_CHECKING:
    import pandas as pd

__all__ = ["annotation_scores", "confusion_table", "population_scores", "wilson_interval"]

UNCLASSIFIED = "unclassified"
OTHER = "not in the table"


def _labels(what: str, values: Any) -> np.ndarray:
    """Labels as strings, None where missing or "unclassified"."""
    import pandas as pd

    if isinstance(values, str) or np.ndim(values) != 1:
        _checks.fail(f"{what} must be one label per cell, but has {np.ndim(values)} axes.", kind=TypeError)
    series = pd.Series(values).reset_index(drop=True).astype(object)
    missing = series.isna() | (series.astype(str) == UNCLASSIFIED)
    return series.astype(str).mask(missing, None).to_numpy(dtype=object)


def _pair(
    truth: Any, labels: Any, populations: Sequence[str] | None
) -> tuple[np.ndarray, np.ndarray, list[str]]:
    """True labels, found labels and populations; the index of two Series must be the same."""
    import pandas as pd

    if (
        isinstance(truth, pd.Series)
        and isinstance(labels, pd.Series)
        and not truth.index.equals(labels.index)
    ):
        _checks.fail(
            "`truth` and `labels` have different indices, so their cells may not be the same.",
            "Write `labels.loc[truth.index]`, or pass arrays.",
        )
    t, found = _labels("`truth`", truth), _labels("`labels`", labels)
    if len(t) != len(found):
        _checks.fail(f"`truth` has {len(t)} cells, but `labels` has {len(found)}.")
    if populations is None:
        populations = sorted({v for v in (*t, *found) if v is not None})
    names = [str(p) for p in populations]
    _checks.unique_names("`populations`", names)
    if not np.isin(t, names).any():
        _checks.fail(
            f"No true label is one of the populations {_checks.listing(names)}.",
            f"The truth has {_checks.listing(dict.fromkeys(v for v in t if v is not None))}.",
        )
    return t, found, names


def wilson_interval(hits: int, n: int, *, level: float = 0.95) -> tuple[float, float]:
    r"""Interval of a share, usable near 0 and 1 and for few cells (Wilson, JASA 22, 1927).

    .. math:: \frac{\hat p + z^2/2n \pm z\sqrt{\hat p(1-\hat p)/n + z^2/4n^2}}{1 + z^2/n}

    Parameters
    ----------
    hits
        Cells with the property.
    n
        Cells in all; 0 gives (nan, nan).
    level
        Coverage aimed at, in (0, 1).

    Returns
    -------
    Lower and upper end, within [0, 1].

    Raises
    ------
    TypeError, ValueError
        Numbers that are not whole, more hits than cells, a level outside (0, 1).

    Examples
    --------
    >>> [round(v, 3) for v in wilson_interval(19, 20)]
    [0.764, 0.991]
    """
    from scipy.stats import norm

    n = _checks.integer("n", n, 0)
    hits = _checks.integer("hits", hits, 0, n, "There cannot be more hits than cells.")
    _checks.number("level", level, 1e-6, 1 - 1e-6)
    if n == 0:
        return float("nan"), float("nan")
    z, p = norm.ppf(0.5 + level / 2), hits / n
    middle = p + z**2 / (2 * n)
    half = z * np.sqrt(p * (1 - p) / n + z**2 / (4 * n**2))
    low, high = (middle - half) / (1 + z**2 / n), (middle + half) / (1 + z**2 / n)
    # at the ends the formula gives 0 and 1 up to rounding
    return (0.0 if hits == 0 else float(low)), (1.0 if hits == n else float(high))


def annotation_scores(truth: Any, labels: Any, *, populations: Sequence[str] | None = None) -> pd.Series:
    """Macro-F1 and relatives of labels against the truth, over the populations of the table.

    Parameters
    ----------
    truth
        True population of every cell. Cells whose population is not one of `populations` are left out.
    labels
        Labels found; missing or "unclassified" counts as a miss.
    populations
        Those of the table; all labels that occur by default.

    Returns
    -------
    Series: ``macro_f1`` (mean over populations that have true or labelled cells), ``balanced_accuracy`` (mean recall
    over those with true cells), ``kappa`` (Cohen's, unclassified being a label of its own), ``accuracy``,
    ``unclassified`` (share of the cells), ``cells`` (number).

    Raises
    ------
    TypeError, ValueError
        Not one label per cell, different cells, no cell of a population.

    Examples
    --------
    >>> annotation_scores(["B", "B", "T", "debris"], ["B", None, "T", "T"], populations=["B", "T"]).round(3).to_dict()
    {'macro_f1': 0.833, 'balanced_accuracy': 0.75, 'kappa': 0.5, 'accuracy': 0.667, 'unclassified': 0.333, 'cells': 3.0}
    """
    import pandas as pd
    from sklearn import metrics

    t, found, names = _pair(truth, labels, populations)
    keep = np.isin(t, names)
    missing = np.array([v is None for v in found])[keep]
    t, found = t[keep].astype(str), np.where(missing, UNCLASSIFIED, found[keep]).astype(str)
    recalls = metrics.recall_score(t, found, labels=names, average=None, zero_division=np.nan)
    # one label on both sides leaves nothing to agree by chance on
    only = len(np.union1d(t, found)) == 1
    return pd.Series(
        {
            "macro_f1": metrics.f1_score(t, found, labels=names, average="macro", zero_division=np.nan),
            "balanced_accuracy": float(np.nanmean(recalls)),
            "kappa": 1.0 if only else metrics.cohen_kappa_score(t, found),
            "accuracy": float((t == found).mean()),
            "unclassified": float(missing.mean()),
            "cells": float(len(t)),
        }
    )


def population_scores(
    truth: Any, labels: Any, *, populations: Sequence[str] | None = None, level: float = 0.95
) -> pd.DataFrame:
    """Recall and precision of every population with their intervals.

    Parameters
    ----------
    truth
        True population of every cell; cells of none of `populations` count against the precision.
    labels
        Labels found, missing or "unclassified" where there is none.
    populations
        Those of the table; all labels that occur by default.
    level
        Coverage of the intervals of Wilson.

    Returns
    -------
    DataFrame, one row per population: ``cells`` (true), ``called``, ``recall``, ``recall_low``, ``recall_high``,
    ``precision``, ``precision_low``, ``precision_high``, ``f1``; NaN where there are no cells.

    Raises
    ------
    TypeError, ValueError
        As in `annotation_scores`.

    Examples
    --------
    >>> population_scores(["B", "B", "T"], ["B", "T", "T"])[["recall", "precision"]]
       recall  precision
    B     0.5        1.0
    T     1.0        0.5
    """
    import pandas as pd

    t, found, names = _pair(truth, labels, populations)
    rows = []
    for name in names:
        real, called = t == name, found == name
        n, k, hits = int(real.sum()), int(called.sum()), int((real & called).sum())
        low, high = wilson_interval(hits, n, level=level)
        below, above = wilson_interval(hits, k, level=level)
        rows.append(
            (n, k, hits / n if n else np.nan, low, high, hits / k if k else np.nan, below, above,
             2 * hits / (n + k) if n + k else np.nan)
        )  # fmt: skip
    columns = ["cells", "called", "recall", "recall_low", "recall_high"]
    columns += ["precision", "precision_low", "precision_high", "f1"]
    return pd.DataFrame(rows, index=pd.Index(names), columns=columns)


def confusion_table(
    truth: Any, labels: Any, *, populations: Sequence[str] | None = None, normalize: bool = False
) -> pd.DataFrame:
    """Cells by true population (rows) and label (columns).

    Parameters
    ----------
    truth
        True population of every cell; what is none of `populations` is counted in a last row.
    labels
        Labels found; missing ones are counted in a last column, "unclassified".
    populations
        Those of the table, in their order; all labels that occur by default.
    normalize
        Divide each row by its sum; NaN where it is 0.

    Returns
    -------
    DataFrame, (populations + "not in the table") x (populations + "unclassified"), the additional row and column only
    if there are such cells. Whole numbers, or shares.

    Raises
    ------
    TypeError, ValueError
        As in `annotation_scores`; a label that is none of the populations.

    Examples
    --------
    >>> confusion_table(["B", "B", "T"], ["B", "T", None], populations=["B", "T"])
       B  T  unclassified
    B  1  1             0
    T  0  0             1
    """
    import pandas as pd

    t, found, names = _pair(truth, labels, populations)
    known = [v is None or v in set(names) for v in found]
    if not all(known):
        odd = dict.fromkeys(v for v, ok in zip(found, known, strict=True) if not ok)
        _checks.fail(
            f"`labels` holds {_checks.listing(odd)}, none of the populations {_checks.listing(names)}."
        )
    row = pd.Index(names).get_indexer(t)
    column = pd.Index(names).get_indexer(found)
    counts = np.zeros((len(names) + 1, len(names) + 1), dtype=int)
    np.add.at(counts, (row, column), 1)  # -1, for none, is the last one
    out = pd.DataFrame(counts, index=[*names, OTHER], columns=[*names, UNCLASSIFIED])
    out = out.iloc[: len(out) - (counts[-1].sum() == 0), : len(out) - (counts[:, -1].sum() == 0)]
    if not normalize:
        return out
    total = out.sum(axis=1)
    return out.div(total.where(total > 0), axis=0)
