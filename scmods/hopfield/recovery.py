"""How well scores of edges find the true ones, beside the scores that need no data at all."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from scmods import _checks

if TYPE_CHECKING:
    import pandas as pd

__all__ = ["edge_recovery", "mask_scores", "recovery_curve"]


def _square(what: str, values: Any, genes: Sequence[str] | None) -> np.ndarray:
    """Targets x regulators as square matrix; a table is put in the order of `genes`, 0 where it has no entry."""
    import pandas as pd

    if not isinstance(values, pd.DataFrame):
        array = _checks.numeric(what, values)
        if array.ndim != 2 or array.shape[0] != array.shape[1]:
            _checks.fail(
                f"{what} has shape {array.shape}, but must be square: targets x regulators on the same genes.",
                "Give a DataFrame with names to pass fewer regulators.",
            )
        return array
    if genes is None:
        genes = list(values.index.astype(str))
    table = values.rename(index=str, columns=str)
    for names in (table.index, table.columns):
        _checks.unique_names(what, names)
        unknown = [n for n in names if n not in set(genes)]
        if unknown:
            _checks.fail(
                f"{what} names {len(unknown)} genes that the truth does not know: {_checks.listing(unknown, 3)}.",
                _checks.nearest(unknown[0], genes),
                kind=_checks.MissingKeyError,
            )
    return table.reindex(index=list(genes), columns=list(genes), fill_value=0.0).to_numpy(dtype=np.float64)


def _both(score: Any, truth: Any) -> tuple[np.ndarray, np.ndarray, list[str] | None]:
    import pandas as pd

    genes = None
    if isinstance(truth, pd.DataFrame):
        genes = list(truth.index.astype(str))
    elif isinstance(score, pd.DataFrame):
        if len(score.index) != np.asarray(truth).shape[0]:
            _checks.fail(
                f"The scores have {len(score.index)} targets, but the truth has {np.asarray(truth).shape[0]} genes.",
                "Give the truth as a DataFrame with names, and both are put in order.",
            )
        genes = list(score.index.astype(str))
    s, t = _square("`score`", score, genes), _square("`truth`", truth, genes)
    if s.shape != t.shape:
        _checks.fail(f"`score` has shape {s.shape}, but `truth` has shape {t.shape}.")
    _checks.finite("`score`", s, genes)
    _checks.finite("`truth`", t, genes)
    return s, t, genes


def _columns(regulators: Any, truth: np.ndarray, genes: list[str] | None) -> np.ndarray:
    """True for regulators; by default the genes with a true edge to another gene."""
    if regulators is None:
        off = truth != 0
        np.fill_diagonal(off, val=False)
        return off.any(axis=0)
    values = np.asarray(regulators)
    if values.dtype == bool:
        if values.shape != (len(truth),):
            _checks.fail(f"`regulators` has shape {values.shape}, but must be ({len(truth)},), one per gene.")
        return values
    if values.dtype.kind in "iu":
        return np.isin(np.arange(len(truth)), values)
    missing = [str(n) for n in values if genes is None or str(n) not in genes]
    if missing:
        _checks.fail(
            f"`regulators` holds {len(missing)} names that are not genes of the truth: {_checks.listing(missing, 3)}.",
            _checks.nearest(missing[0], genes or []),
            "Give the truth as a DataFrame with names, or the regulators as a bool array.",
            kind=_checks.MissingKeyError,
        )
    return np.isin(np.asarray(genes), values.astype(str))


def _areas(score: np.ndarray, label: np.ndarray) -> tuple[float, float]:
    """AUROC and average precision of sizes of scores; NaN where there is only one kind of pair."""
    from sklearn import metrics

    if label.all() or not label.any():
        return float("nan"), float("nan")
    size = np.abs(score)
    return float(metrics.roc_auc_score(label, size)), float(metrics.average_precision_score(label, size))


def _sign_agreement(score: np.ndarray, truth: np.ndarray, where: np.ndarray) -> float:
    edges = where & (truth != 0)
    return float((np.sign(score[edges]) == np.sign(truth[edges])).mean()) if edges.any() else float("nan")


def _row(score: np.ndarray, truth: np.ndarray, columns: np.ndarray) -> dict[str, float]:
    off = ~np.eye(len(truth), dtype=bool)
    within = off & columns[None, :]
    auroc, auprc = _areas(score[off], truth[off] != 0)
    tf_auroc, tf_auprc = _areas(score[within], truth[within] != 0)
    return {
        "auroc": auroc,
        "auprc": auprc,
        "tf_auroc": tf_auroc,
        "tf_auprc": tf_auprc,
        "sign_accuracy": _sign_agreement(score, truth, off),
        "tf_sign_accuracy": _sign_agreement(score, truth, within),
    }


def edge_recovery(score: Any, truth: Any, *, regulators: Any = None) -> pd.DataFrame:
    """Recovery of the true edges by the sizes of scores, over all ordered pairs of different genes.

    Parameters
    ----------
    score
        Scores, row: target, column: regulator: a square array, or a table by name (missing pairs score 0). Signed;
        ranked by size. Give standardised effects: raw weights mostly rank genes by scale.
    truth
        True interactions, same orientation; an edge is where they are not 0, their sign is the sign of the edge.
    regulators
        Who may regulate: names, positions or a bool array; by default the genes with a true edge to another gene.

    Returns
    -------
    One row per method: ``score``; ``mask``, which scores every pair that starts at a regulator alike and knows nothing
    else; ``perfect masked``, the truth restricted to the regulators. Columns:

    - ``auroc``, ``auprc`` (average precision) over all pairs: the protocol of the original;
    - ``tf_auroc``, ``tf_auprc`` over pairs that start at a regulator: what is left when the mask is taken away;
    - ``sign_accuracy``, ``tf_sign_accuracy``: share of all true edges, and of those from regulators, whose score has
      the true sign; a score of 0 is wrong. The mask calls everything positive;
    - ``n_pairs``, ``n_edges``, ``tf_n_pairs``, ``tf_n_edges``: the same for all rows. ``n_edges / n_pairs`` is the
      ``auprc`` of chance.

    Raises
    ------
    MissingKeyError, ValueError
        For shapes or names that do not belong together, NaN.

    Examples
    --------
    >>> import numpy as np
    >>> truth = np.array([[0, 0, 1], [-1, 0, 0], [0, 0, 0]])
    >>> edge_recovery(2.0 * truth, truth).loc["score", ["auroc", "auprc", "sign_accuracy"]].tolist()
    [1.0, 1.0, 1.0]
    """
    import pandas as pd

    s, t, genes = _both(score, truth)
    columns = _columns(regulators, t, genes)
    off = ~np.eye(len(t), dtype=bool)
    mask = np.broadcast_to(columns.astype(float), t.shape)
    rows = {"score": s, "mask": mask, "perfect masked": t * mask}
    table = pd.DataFrame([_row(m, t, columns) for m in rows.values()], index=pd.Index(rows, name="method"))
    within = off & columns
    for prefix, where in (("", off), ("tf_", within)):
        table[f"{prefix}n_pairs"] = int(where.sum())
        table[f"{prefix}n_edges"] = int((t[where] != 0).sum())
    return table


def mask_scores(truth: Any, *, regulators: Any = None) -> dict[str, float]:
    """What the list of regulators alone scores: every pair from a regulator alike, all signs positive.

    Parameters
    ----------
    truth, regulators
        As in `edge_recovery`.

    Returns
    -------
    The row ``mask`` of `edge_recovery`.

    Examples
    --------
    >>> import numpy as np
    >>> from scmods import hopfield
    >>> truth = np.array([[0, 0, 1], [-1, 0, 0], [0, 0, 0]])
    >>> hopfield.mask_scores(truth)["tf_auroc"]
    0.5
    """
    score = truth * 0
    return {k: float(v) for k, v in edge_recovery(score, truth, regulators=regulators).loc["mask"].items()}


def recovery_curve(
    score: Any, truth: Any, *, regulators: Any = None, within: bool = False, n_points: int = 200
) -> pd.DataFrame:
    """Points of the curves behind `edge_recovery`, thinned for a figure.

    Parameters
    ----------
    score, truth, regulators
        As in `edge_recovery`.
    within
        Only pairs that start at a regulator.
    n_points
        Points per curve at most, spread evenly over the thresholds; both ends are kept.

    Returns
    -------
    Columns ``curve`` (``"roc"``: false positive rate against true positive rate; ``"pr"``: recall against
    precision), ``x``, ``y``, ``area`` (AUROC or average precision of all pairs, not of the points kept).

    Examples
    --------
    >>> import numpy as np
    >>> from scmods import hopfield
    >>> truth = np.array([[0, 0, 1], [-1, 0, 0], [0, 0, 0]])
    >>> hopfield.recovery_curve(2.0 * truth, truth).groupby("curve")["area"].first().to_dict()
    {'pr': 1.0, 'roc': 1.0}
    """
    import pandas as pd
    from sklearn import metrics

    n_points = _checks.integer("n_points", n_points, 2)
    s, t, genes = _both(score, truth)
    where = ~np.eye(len(t), dtype=bool)
    if within:
        where &= _columns(regulators, t, genes)
    label, size = t[where] != 0, np.abs(s[where])
    if label.all() or not label.any():
        _checks.fail(
            f"Of {label.size} pairs {int(label.sum())} are true edges; a curve needs pairs of both kinds."
        )
    fpr, tpr, _ = metrics.roc_curve(label, size, drop_intermediate=False)
    precision, recall, _ = metrics.precision_recall_curve(label, size)
    parts = []
    areas = dict(zip(("roc", "pr"), _areas(s[where], label), strict=True))
    for name, x, y in (("roc", fpr, tpr), ("pr", recall[::-1], precision[::-1])):
        keep = np.unique(np.linspace(0, len(x) - 1, min(n_points, len(x))).round().astype(int))
        parts.append(pd.DataFrame({"curve": name, "x": x[keep], "y": y[keep], "area": areas[name]}))
    return pd.concat(parts, ignore_index=True)
