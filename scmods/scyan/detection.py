"""Probabilities against the truth: cells the table lacks, rare populations, calibration."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from scmods import _checks
from scmods.scyan.evaluation import wilson_interval

if TYPE_CHECKING:
    import pandas as pd

__all__ = ["calibration_error", "calibration_table", "flag_recall", "recall_curve"]


def _scores(what: str, score: Any, low: float = -np.inf, high: float = np.inf) -> np.ndarray:
    values = _checks.numeric(what, score)
    if values.ndim != 1 or not len(values):
        _checks.fail(f"{what} has shape {values.shape}, but must hold one number per cell.")
    _checks.finite(what, values)
    if values.min() < low or values.max() > high:
        _checks.fail(
            f"{what} lies in [{values.min():g}, {values.max():g}], but must lie in [{low:g}, {high:g}]."
        )
    return values


def _flags(what: str, values: Any, n: int) -> np.ndarray:
    flags = np.asarray(values)
    if flags.dtype != bool or flags.shape != (n,):
        _checks.fail(
            f"{what} has type {flags.dtype} and shape {flags.shape},",
            f"but must hold True or False for each of {n} cells.",
            "Write for instance `adata.obs['cell_type'] == 'unlisted'`.",
            kind=TypeError,
        )
    return flags


def flag_recall(score: Any, absent: Any, *, false_flags: float = 0.03, level: float = 0.95) -> pd.Series:
    """How many cells of a population that the table lacks are found, at a given rate of false alarms.

    Parameters
    ----------
    score
        One number per cell, larger where the cell fits no row: the posterior of being unclassified.
    absent
        True for cells of populations that the table lacks.
    false_flags
        Most of the other cells that may be flagged, a share. The threshold is the lowest one that keeps to it.
    level
        Coverage of the interval of Wilson.

    Returns
    -------
    Series: ``recall``, ``low``, ``high``, ``threshold`` (cells with a HIGHER score are flagged), ``false_flags`` (share
    really flagged, at most the one given), ``auc``, ``cells`` (absent ones).

    Raises
    ------
    TypeError, ValueError
        Scores that are not finite, flags that are not True or False, only one kind of cells, a rate outside [0, 1].

    Notes
    -----
    Cells with tied scores are flagged together or not at all, so the rate kept to may be lower than the one asked for.

    Examples
    --------
    >>> flag_recall([0.1, 0.2, 0.3, 0.9, 0.25], [False, False, False, True, True], false_flags=0.34)["recall"]
    np.float64(1.0)
    """
    import pandas as pd
    from sklearn.metrics import roc_auc_score

    score = _scores("`score`", score)
    absent = _flags("`absent`", absent, len(score))
    _checks.number("false_flags", false_flags, 0.0, 1.0)
    if absent.all() or not absent.any():
        _checks.fail(
            f"`absent` marks {int(absent.sum())} of {len(absent)} cells, but there must be cells of both kinds."
        )
    own = np.sort(score[~absent])[::-1]
    allowed = int(np.floor(false_flags * len(own) + 1e-9))
    threshold = own[allowed] if allowed < len(own) else -np.inf
    hits, n = int((score[absent] > threshold).sum()), int(absent.sum())
    low, high = wilson_interval(hits, n, level=level)
    return pd.Series(
        {"recall": hits / n, "low": low, "high": high, "threshold": threshold,
         "false_flags": float((own > threshold).mean()), "auc": roc_auc_score(absent, score), "cells": float(n)}
    )  # fmt: skip


def recall_curve(score: Any, member: Any, *, level: float = 0.95) -> pd.DataFrame:
    """Recall and precision of one population over all thresholds of its probability.

    Parameters
    ----------
    score
        One number per cell, larger where the cell belongs to the population: its column of `Scyan.predict_proba`.
    member
        True for cells that belong to it.
    level
        Coverage of the intervals of Wilson.

    Returns
    -------
    DataFrame, one row per distinct score from the highest to the lowest: ``threshold`` (cells with AT LEAST this score
    are called), ``called``, ``hits``, ``recall``, ``recall_low``, ``recall_high``, ``precision``, ``precision_low``,
    ``precision_high``.

    Raises
    ------
    TypeError, ValueError
        Scores that are not finite, flags that are not True or False, no member.

    Examples
    --------
    >>> recall_curve([0.9, 0.8, 0.4], [True, False, True])["recall"].tolist()
    [0.5, 0.5, 1.0]
    """
    import pandas as pd

    score = _scores("`score`", score)
    member = _flags("`member`", member, len(score))
    if not member.any():
        _checks.fail("`member` marks no cell. A recall needs at least one cell of the population.")
    order = np.argsort(-score, kind="stable")
    last = np.flatnonzero(np.append(np.diff(score[order]) != 0, True))
    hits, called = np.cumsum(member[order])[last], last + 1
    n = int(member.sum())
    ends = [[*wilson_interval(int(h), n, level=level), *wilson_interval(int(h), int(c), level=level)]
            for h, c in zip(hits, called, strict=True)]  # fmt: skip
    low, high, below, above = np.array(ends).T
    return pd.DataFrame(
        {"threshold": score[order][last], "called": called, "hits": hits, "recall": hits / n, "recall_low": low,
         "recall_high": high, "precision": hits / called, "precision_low": below, "precision_high": above}
    )  # fmt: skip


def calibration_table(
    probability: Any, correct: Any, *, n_bins: int = 10, level: float = 0.95
) -> pd.DataFrame:
    """Does an event that is given a probability of 0.8 happen in 80 % of the cells?

    Parameters
    ----------
    probability
        One per cell, in [0, 1]: of the label given, or of being unclassified.
    correct
        Whether it was so: the label is right, the cell is of none of the rows.
    n_bins
        Bins of equal width over [0, 1]; the last one contains 1.
    level
        Coverage of the intervals of Wilson.

    Returns
    -------
    DataFrame, one row per bin: ``low``, ``high`` (ends of the bin), ``cells``, ``probability`` (mean), ``observed``
    (share of cells where it was so), ``observed_low``, ``observed_high``; NaN in empty bins.

    Raises
    ------
    TypeError, ValueError
        Probabilities outside [0, 1], flags that are not True or False.

    Examples
    --------
    >>> calibration_table([0.1, 0.2, 0.9, 0.9], [False, False, True, False], n_bins=2)["observed"].tolist()
    [0.0, 0.5]
    """
    import pandas as pd

    p = _scores("`probability`", probability, 0.0, 1.0)
    correct = _flags("`correct`", correct, len(p))
    n_bins = _checks.integer("n_bins", n_bins)
    at = np.minimum((p * n_bins).astype(int), n_bins - 1)
    n = np.bincount(at, minlength=n_bins)
    hits = np.bincount(at, weights=correct, minlength=n_bins)
    total = np.bincount(at, weights=p, minlength=n_bins)
    ends = np.array([wilson_interval(int(h), int(k), level=level) for h, k in zip(hits, n, strict=True)])
    some = np.where(n > 0, n, np.nan)
    edges = np.arange(n_bins + 1) / n_bins
    return pd.DataFrame(
        {"low": edges[:-1], "high": edges[1:], "cells": n, "probability": total / some, "observed": hits / some,
         "observed_low": ends[:, 0], "observed_high": ends[:, 1]}
    )  # fmt: skip


def calibration_error(probability: Any, correct: Any, *, n_bins: int = 10) -> float:
    r"""Expected calibration error: mean gap between probability and truth over the bins, weighted by their cells.

    .. math:: \mathrm{ECE} = \sum_b \frac{n_b}{n} |\bar p_b - o_b|

    Parameters
    ----------
    probability, correct, n_bins
        As in `calibration_table`.

    Returns
    -------
    A number in [0, 1]; 0 for perfect calibration. Finite bins leave about :math:`\sqrt{p (1 - p) / n_b}` by chance.

    Raises
    ------
    TypeError, ValueError
        As in `calibration_table`.

    Examples
    --------
    >>> round(calibration_error([0.0, 1.0, 0.8, 0.8], [False, True, True, False]), 3)
    0.15
    """
    table = calibration_table(probability, correct, n_bins=n_bins)
    gap = (table["probability"] - table["observed"]).abs() * table["cells"]
    return float(gap.sum() / table["cells"].sum())
