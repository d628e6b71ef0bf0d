"""How well scores of pairs, cells and genes find the planted ones."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from scmods import _checks

if TYPE_CHECKING:
    import pandas as pd
    from anndata import AnnData

__all__ = ["average_precision", "gene_recovery", "pair_recovery", "recovery_curve", "true_pairs"]


def _ranked(scores: Any, truth: Any) -> tuple[np.ndarray, np.ndarray]:
    """True positives and number called at every distinct score, the highest first; refuse what cannot be ranked."""
    s, t = np.asarray(scores, dtype=np.float64).ravel(), np.asarray(truth).ravel()
    if s.shape != t.shape:
        _checks.fail(f"`scores` has {s.size} values and `truth` {t.size}, but there must be one each.")
    if t.dtype.kind not in "biuf" or not np.isin(t, (0, 1)).all():
        _checks.fail("`truth` holds other values than 0 and 1, but must be True for what is real.")
    if np.isnan(s).any():
        _checks.fail(
            f"`scores` holds {int(np.isnan(s).sum())} values that are NaN, which have no rank.",
            "Give what was never scored the lowest score: `np.nan_to_num(scores, nan=-np.inf)`.",
        )
    if not t.any():
        _checks.fail(
            "`truth` holds nothing that is real, so there is nothing to find.",
            'Simulate an interaction: `amici.semisynthetic(mode="transplant")`.',
        )
    order = np.argsort(-s, kind="stable")
    s, t = s[order], t[order].astype(np.float64)
    # tied scores are called together: their order would be luck
    last = np.append(s[1:] != s[:-1], True)
    return np.cumsum(t)[last], np.flatnonzero(last) + 1.0


def average_precision(scores: Any, truth: Any) -> float:
    r"""Area under the precision-recall steps: mean precision at the ranks of what is real.

    .. math:: \mathrm{AP} = \sum_k (R_k - R_{k-1}) P_k

    over the distinct scores, the highest first; tied scores are called together.

    Parameters
    ----------
    scores
        Any shape; higher is more likely real. Infinite scores are ranked like others.
    truth
        The same shape: True or 1 for what is real.

    Returns
    -------
    In (0, 1]; the share of what is real is what random scores give on average, up to a term that vanishes with size.

    Raises
    ------
    ValueError
        If shapes differ, a score is NaN, or nothing is real.

    Examples
    --------
    >>> average_precision([3, 2, 1, 0], [1, 0, 1, 0])
    0.8333333333333333
    """
    hits, called = _ranked(scores, truth)
    return float((np.diff(hits, prepend=0.0) * hits / called).sum() / hits[-1])


def recovery_curve(scores: Any, truth: Any) -> tuple[np.ndarray, np.ndarray]:
    """Recall and precision at every distinct score, for a figure.

    Parameters
    ----------
    scores
        Any shape; higher is more likely real.
    truth
        The same shape: True or 1 for what is real.

    Returns
    -------
    Recall, ascending to 1, and precision; one entry per distinct score, the highest score first.

    Raises
    ------
    ValueError
        As `average_precision`.

    Examples
    --------
    >>> recovery_curve([3, 2, 1], [1, 0, 1])[0]
    array([0.5, 0.5, 1. ])
    """
    hits, called = _ranked(scores, truth)
    return hits / hits[-1], hits / called


def _neighbors(adata: AnnData, neighbors: Any) -> np.ndarray:
    array = np.asarray(neighbors)
    if array.ndim != 2 or len(array) != adata.n_obs or array.dtype.kind not in "iu":
        _checks.fail(
            f"`neighbors` has shape {array.shape} and type {array.dtype}, but must be {adata.n_obs} rows of positions",
            "of cells, with -1 where there is none: `adata.obsm['amici_neighbors']`.",
        )
    if array.size and (array.min() < -1 or array.max() >= adata.n_obs):
        _checks.fail(
            f"`neighbors` holds {int(array.max())}, but `adata` has cells 0 to {adata.n_obs - 1}.",
            "Compute them on this object: `amici.spatial_neighbors(adata)`.",
        )
    return array.astype(np.intp)


def _planted(adata: AnnData) -> None:
    _checks.key(adata, "obsp", "sends", "The truth comes with `amici.semisynthetic()`.")
    if not adata.obsp["sends"].nnz:
        _checks.fail(
            "`adata` has no true pair, so there is nothing to find.",
            'On a null tissue count calls instead: `amici.cross_fit(adata).table["pvalue_adj"] <= 0.05`.',
        )


def true_pairs(adata: AnnData, neighbors: Any) -> np.ndarray:
    """Which of the listed neighbours of every cell truly act on it.

    Parameters
    ----------
    adata
        What `semisynthetic` returned: ``obsp["sends"]``, row: receiver, column: sender.
    neighbors
        (cells, k) positions of cells, -1 where there is none.

    Returns
    -------
    Bool of the shape of `neighbors`.

    Raises
    ------
    MissingKeyError, ValueError
        No truth, or neighbours of another object.

    Examples
    --------
    >>> from scmods.amici.simulate import semisynthetic
    >>> adata = semisynthetic(100, 30, mode="null")
    >>> bool(true_pairs(adata, np.zeros((100, 1), dtype=int)).any())
    False
    """
    _checks.key(adata, "obsp", "sends", "The truth comes with `amici.semisynthetic()`.")
    near = _neighbors(adata, neighbors)
    rows = np.repeat(np.arange(len(near)), near.shape[1])
    truth = np.asarray(adata.obsp["sends"].tocsr()[rows, near.ravel()]).reshape(near.shape) > 0
    return truth & (near >= 0)


def pair_recovery(adata: AnnData, neighbors: Any, scores: Any, *, cells: Any = None) -> dict[str, float]:
    """Average precision of scores of pairs: which neighbour sends, and which cell receives.

    Parameters
    ----------
    adata
        What `semisynthetic` returned.
    neighbors
        (cells, k) positions of cells, -1 where there is none; true senders that are not listed cannot be found and do
        not count.
    scores
        (cells, k), higher where the neighbour is more likely to act on the cell: attention, the norm of a
        contribution, minus the distance. Entries without a neighbour are left out.
    cells
        (cells,) bool: those to count, as the held-out ones; None for all.

    Returns
    -------
    ``sender``: over all pairs; ``receiver``: over cells, by the highest score among the neighbours of the cell;
    ``sender_base``, ``receiver_base``: the share that is real, which is what random scores reach.

    Raises
    ------
    MissingKeyError, ValueError
        No truth or none in these cells, shapes that differ, NaN.

    Notes
    -----
    Cells of all types count, also those that never receive: a score that is high there is wrong.

    Examples
    --------
    >>> from scmods.amici.simulate import semisynthetic
    >>> adata = semisynthetic(100, 30)
    >>> near = np.arange(100)[:, None] + np.array([1, -1])
    >>> near[-1, 0] = -1
    >>> pair_recovery(adata, near, true_pairs(adata, near))["sender"]
    1.0
    """
    _planted(adata)
    near = _neighbors(adata, neighbors)
    values = np.asarray(scores, dtype=np.float64)
    if values.shape != near.shape:
        _checks.fail(f"`scores` has shape {values.shape}, but `neighbors` has {near.shape}.")
    keep = _mask(adata, cells)
    there = (near >= 0) & keep[:, None]
    truth = true_pairs(adata, near)
    best = np.where(near >= 0, values, -np.inf).max(axis=1, initial=-np.inf)
    receives = adata.obs["receives"].to_numpy(dtype=bool)
    return {
        "sender": average_precision(values[there], truth[there]),
        "receiver": average_precision(best[keep], receives[keep]),
        "sender_base": float(truth[there].mean()),
        "receiver_base": float(receives[keep].mean()),
    }


def _mask(adata: AnnData, cells: Any) -> np.ndarray:
    if cells is None:
        return np.ones(adata.n_obs, dtype=bool)
    mask = np.asarray(cells)
    if mask.dtype != bool or mask.shape != (adata.n_obs,):
        _checks.fail(
            f"`cells` has shape {mask.shape} and type {mask.dtype}, but must be ({adata.n_obs},) bool.",
            "A strip of the tissue: `amici.strip(adata)`.",
        )
    return mask


def gene_recovery(adata: AnnData, scores: pd.DataFrame) -> dict[str, float]:
    """Average precision of the scores of genes: which genes of a receiver type respond to a sender type.

    Parameters
    ----------
    adata
        What `semisynthetic` returned.
    scores
        Columns ``receiver``, ``sender``, ``gene`` and ``score``, as from `ablation_table`; rows of pairs of types that
        were not planted are ignored.

    Returns
    -------
    ``"sender -> receiver"`` of every planted pair, and ``mean`` over them; 1 if the genes that respond come first.

    Raises
    ------
    MissingKeyError, ValueError
        No truth, a column or a planted pair that is missing, genes listed twice.

    Examples
    --------
    >>> import pandas as pd
    >>> from scmods.amici.simulate import semisynthetic
    >>> adata = semisynthetic(100, 30)
    >>> truth = adata.varm["responds"]
    >>> parts = [("T", "Mono"), ("DC", "B")]
    >>> scores = pd.concat([pd.DataFrame({"receiver": r, "sender": s, "gene": truth.index, "score": 1.0 * truth[r]})
    ...                     for r, s in parts])
    >>> gene_recovery(adata, scores)["mean"]
    1.0
    """
    _planted(adata)
    missing = [c for c in ("receiver", "sender", "gene", "score") if c not in scores.columns]
    if missing:
        _checks.fail(
            f"`scores` lacks the columns {missing}. Available: {_checks.listing(scores.columns)}.",
            "Name them receiver, sender, gene, score.",
            kind=_checks.MissingKeyError,
        )
    truth = adata.varm["responds"]
    out = {}
    for receiver, sender in adata.uns["interactions"][["receiver", "sender"]].itertuples(index=False):
        one = scores[(scores["receiver"] == receiver) & (scores["sender"] == sender)]
        if set(one["gene"]) != set(truth.index) or len(one) != len(truth):
            _checks.fail(
                f"`scores` has {len(one)} rows for sender {sender!r} and receiver {receiver!r},",
                f"but must have one for each of the {len(truth)} genes.",
            )
        real = truth[receiver].to_numpy()[truth.index.get_indexer(one["gene"])]
        out[f"{sender} -> {receiver}"] = average_precision(one["score"], real)
    return {**out, "mean": float(np.mean(list(out.values())))}
