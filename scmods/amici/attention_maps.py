"""Where attention goes: over distance by type of sender, and the mixes of senders that some cells listen to."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from scmods import _checks
from scmods.amici.contributions import head_norms
from scmods.amici.heads import HeadOutputs

if TYPE_CHECKING:
    import pandas as pd

__all__ = ["Hubs", "attention_by_distance", "attention_hubs", "neighbor_weights"]

WEIGHTS = ("attention", "value", "contribution")


def neighbor_weights(outputs: HeadOutputs, by: str = "attention") -> np.ndarray:
    """Weight of every neighbour in every head, without the empty slot.

    Parameters
    ----------
    outputs
        From `AMICI.heads`.
    by
        ``"attention"``; ``"value"``: attention times the norm of the neighbour's value; ``"contribution"``: norm over
        genes of what it adds through that head. Only the last is in units of expression, and 0 for idle heads.

    Returns
    -------
    (cells, neighbours, heads), 0 where there is no neighbour.

    Raises
    ------
    ValueError
        Unknown `by`.

    Examples
    --------
    >>> from scmods.amici._example import example_outputs
    >>> neighbor_weights(example_outputs(), "value").shape
    (30, 4, 2)
    """
    _checks.one_of("by", by, WEIGHTS)
    if by == "contribution":
        return head_norms(outputs)
    weight = outputs.attention[:, :, :-1].transpose(0, 2, 1)
    if by == "value":
        weight = weight * np.linalg.norm(outputs.tables.value, axis=2)[outputs.rows]
    return np.where((outputs.rows >= 0)[..., None], weight, 0.0)


def attention_by_distance(
    outputs: HeadOutputs, *, bins: int | Sequence[float] = 20, by: str = "attention"
) -> pd.DataFrame:
    """Mean weight of neighbours in bins of distance, for each pair of types and each head.

    Parameters
    ----------
    outputs
        From `AMICI.heads`.
    bins
        Number of bins of equal width from 0 to the largest distance, or their edges, in units of the positions.
    by
        As in `neighbor_weights`.

    Returns
    -------
    Columns ``receiver``, ``sender``, ``head``, ``low``, ``high`` (edges of the bin; a distance equal to an edge belongs
    to the bin above, the last edge to the last bin), ``weight`` (mean), ``total`` (sum), ``n_pairs``; bins without a
    pair are left out.

    Raises
    ------
    TypeError, ValueError
        Edges that do not ascend, unknown `by`.

    Notes
    -----
    What is seen here is attention among rivals: a far sender may be ignored because a nearer one is there. The
    counterfactual of `counterfactual_attention` has no rival but the empty slot.

    Examples
    --------
    >>> from scmods.amici._example import example_outputs
    >>> table = attention_by_distance(example_outputs(), bins=[0, 5, 100])
    >>> int(table.loc[table["head"] == 0, "n_pairs"].sum())
    115
    """
    import pandas as pd

    weight = neighbor_weights(outputs, by)
    i, j = np.nonzero(outputs.rows >= 0)
    edges = _edges(bins, outputs.distances[i, j])
    bin_ = np.searchsorted(edges, outputs.distances[i, j], side="right") - 1
    bin_[outputs.distances[i, j] == edges[-1]] = len(edges) - 2
    inside = (bin_ >= 0) & (bin_ < len(edges) - 1)
    i, j, bin_ = i[inside], j[inside], bin_[inside]
    names = np.array([*outputs.type_names, "not seen"], dtype=object)
    frame = pd.DataFrame(
        {
            "receiver": names[outputs.types[i]],
            "sender": names[outputs.neighbor_types[i, j]],
            "low": edges[bin_],
            "high": edges[bin_ + 1],
        }
    )
    keys = ["receiver", "sender", "head", "low", "high"]
    parts = [frame.assign(head=h, value=weight[i, j, h]) for h in range(outputs.n_heads)]
    grouped = pd.concat(parts, ignore_index=True).groupby(keys)["value"]
    return grouped.agg(weight="mean", total="sum", n_pairs="size").reset_index()


def _edges(bins: int | Sequence[float], distances: np.ndarray) -> np.ndarray:
    if isinstance(bins, int | np.integer):
        _checks.integer("bins", bins, 1)
        return np.linspace(0.0, distances.max(initial=0.0) or 1.0, int(bins) + 1)
    edges = _checks.numeric("`bins`", list(bins))
    if edges.ndim != 1 or len(edges) < 2 or not np.isfinite(edges).all() or (np.diff(edges) <= 0).any():
        _checks.fail(
            f"`bins` is {bins!r}, but must be a number of bins or ascending edges.",
            "Write bins=[0, 10, 20, 40].",
        )
    return edges


@dataclass(frozen=True)
class Hubs:
    """Groups of receivers by the mix of sender types they listen to.

    Parameters
    ----------
    labels
        (cells,) number of the hub, 0 the largest; -1 for cells that listen to nobody above the quantile.
    composition
        Table, hubs x sender types: mean share of each type among the neighbours listened to.
    silhouette
        Mean silhouette for each number of hubs tried; higher is a clearer division.

    Notes
    -----
    Below a silhouette of about 0.5 the division is a convention, not a finding.

    Examples
    --------
    >>> from scmods import amici
    >>> from scmods.amici._example import example_outputs
    >>> hubs = amici.attention_hubs(example_outputs(60), quantile=0.5, n_hubs=2)
    >>> hubs.composition.shape, hubs.labels.shape
    ((2, 3), (60,))
    """

    labels: np.ndarray
    composition: pd.DataFrame
    silhouette: dict[int, float]


def attention_hubs(
    outputs: HeadOutputs,
    *,
    by: str = "contribution",
    quantile: float = 0.9,
    n_hubs: int | Sequence[int] = range(2, 13),
    seed: int = 0,
) -> Hubs:
    """Group cells by the types of those neighbours that they listen to most.

    A neighbour counts where its weight, summed over heads, is positive and at least the quantile of all pairs of the
    receiver's type. The shares of the sender types among those that count are grouped by k-means.

    Parameters
    ----------
    outputs
        From `AMICI.heads`.
    by
        As in `neighbor_weights`.
    quantile
        In [0, 1): how high a weight must be among the pairs of its receiver type.
    n_hubs
        Number of hubs, or numbers to choose from by the silhouette.
    seed
        Seed of k-means and of the cells, at most 2000, on which the silhouette is taken.

    Returns
    -------
    `Hubs`.

    Raises
    ------
    TypeError, ValueError
        Numbers outside their range, fewer different mixes than hubs.

    Examples
    --------
    >>> from scmods.amici._example import example_outputs
    >>> hubs = attention_hubs(example_outputs(60), quantile=0.5, n_hubs=2)
    >>> hubs.composition.shape
    (2, 3)
    """
    import pandas as pd

    _checks.number("quantile", quantile, 0.0, 1 - 1e-9)
    _checks.integer("seed", seed, 0)
    shares, listens = _mix(outputs, neighbor_weights(outputs, by).sum(axis=2), quantile)
    different = len(np.unique(shares[listens], axis=0))
    tried = _numbers(n_hubs, different)
    fits = {k: _k_means(shares[listens], k, seed) for k in tried}
    silhouette = {k: _silhouette(shares[listens], fit, seed) for k, fit in fits.items()}
    best = fits[max(tried, key=lambda k: (silhouette[k], -k))]
    # the largest first
    sizes = np.bincount(best)
    rank = np.argsort(np.argsort(-sizes, kind="stable"), kind="stable")
    labels = np.full(len(outputs), -1)
    labels[listens] = rank[best]
    means = [shares[labels == k].mean(axis=0) for k in range(len(sizes))]
    return Hubs(labels, pd.DataFrame(means, columns=outputs.type_names), silhouette)


def _mix(outputs: HeadOutputs, weight: np.ndarray, quantile: float) -> tuple[np.ndarray, np.ndarray]:
    """(cells, types) shares among the neighbours that count, and which cells have any."""
    kinds = outputs.neighbor_types
    counts = np.zeros((len(outputs), len(outputs.type_names)))
    for t in np.unique(outputs.types):
        own = outputs.types == t
        there = kinds[own] >= 0
        if there.any():
            high = there & (weight[own] >= np.quantile(weight[own][there], quantile)) & (weight[own] > 0)
            counts[own] = ((kinds[own][..., None] == np.arange(counts.shape[1])) & high[..., None]).sum(
                axis=1
            )
    total = counts.sum(axis=1)
    return counts / np.maximum(total, 1)[:, None], total > 0


def _numbers(n_hubs: Any, different: int) -> list[int]:
    single = isinstance(n_hubs, int | np.integer)
    wanted = [_checks.integer("n_hubs", k, 2) for k in ([n_hubs] if single else n_hubs)]
    possible = [k for k in wanted if k <= different]
    if not possible:
        _checks.fail(
            f"`n_hubs` asks for {_checks.listing(wanted, 3)} hubs, but {different} different mixes of senders exist.",
            "Lower `quantile`, so that more neighbours count."
            if different < 2
            else f"Write n_hubs={different}.",
        )
    return possible


def _k_means(shares: np.ndarray, k: int, seed: int) -> np.ndarray:
    from sklearn.cluster import KMeans

    return KMeans(k, n_init=5, random_state=seed).fit_predict(shares)


def _silhouette(shares: np.ndarray, labels: np.ndarray, seed: int) -> float:
    from sklearn.metrics import silhouette_score

    most = 2000
    if len(shares) <= len(np.unique(labels)):
        return -1.0
    # a sample can miss a small hub altogether; then every cell counts
    some = np.random.default_rng(seed).permutation(len(shares))[:most]
    if len(np.unique(labels[some])) < len(np.unique(labels)):
        some = np.arange(len(shares))
    return float(silhouette_score(shares[some], labels[some]))
