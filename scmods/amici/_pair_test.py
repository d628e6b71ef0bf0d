"""Does what a sender type is said to add agree with what is measured, in cells that the model never saw?"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from scmods.amici.contributions import sender_sums
from scmods.amici.heads import HeadOutputs
from scmods.amici.permutations import Pair, mapped_statistics, order_blocks
from scmods.amici.spatial_nulls import shift_maps

__all__ = ["FEWEST", "Fold", "PairResult", "receiver_folds", "compare_receiver"]

FEWEST = 8  # receivers in a fold below which the fold adds nothing
BLOCK = 4096  # orders at a time
AXES = 2  # over the cells, of what each other sender type adds


@dataclass(frozen=True)
class Fold:
    """Receivers of one type in one fold, in coordinates in which the genes are gone.

    Parameters
    ----------
    pairs
        One per sender type: what it adds, and what was measured.
    coords
        (cells, 2 or 3) positions.
    gain
        (senders,) squared deviations explained by what the sender adds.
    variance
        Sum of squared deviations of what was measured.
    exposed
        (senders,) cells with such a neighbour.
    """

    pairs: list[Pair]
    coords: np.ndarray
    gain: np.ndarray
    variance: float
    exposed: np.ndarray

    @property
    def n_cells(self) -> int:
        """Number of receivers."""
        return len(self.coords)


@dataclass(frozen=True)
class PairResult:
    """Test of the sender types of one receiver type; arrays have one entry per sender.

    Parameters
    ----------
    statistic
        Sum over folds, cells and genes of what the sender adds times what was measured, both beyond the other senders.
    z
        Statistic in standard deviations of its null.
    pvalue
        One-sided, (count + 1) / (permutations + 1).
    share
        Variance explained by what the sender adds, as a share of the receivers'; negative where it does harm.
    n_cells, n_exposed
        Receivers, and those with such a neighbour.
    null
        (senders, permutations) the statistic after permutation.
    """

    statistic: np.ndarray
    z: np.ndarray
    pvalue: np.ndarray
    share: np.ndarray
    n_cells: int
    n_exposed: np.ndarray
    null: np.ndarray


def _scaled(outputs: HeadOutputs, u: np.ndarray) -> np.ndarray:
    return (u - u.mean(axis=1, keepdims=True)) / outputs.readout.sigma(u)[:, None]


def _alone(outputs: HeadOutputs, senders: Sequence[int]) -> Iterator[np.ndarray]:
    """Yield, per sender type, u of a receiver whose only neighbours are those of that type.

    The softmax over some of the slots is the full one divided by its sum over these. With all neighbours in place, what
    a sender adds would tell of the others too, because they compete for attention and share the norm.
    """
    sums = sender_sums(outputs, list(range(outputs.n_heads)))
    kinds, empty = outputs.neighbor_types, outputs.attention[:, :, -1]
    for s in senders:
        own = (outputs.attention[:, :, :-1] * (kinds == s)[:, None]).sum(axis=2)
        z = sums[:, s] / np.maximum(own + empty, 1e-300)[..., None]
        yield outputs.query + np.einsum("nhs,ehs->ne", z, outputs.readout.head_out, optimize=True)


def _leading(a: np.ndarray, weights: np.ndarray) -> np.ndarray:
    """(cells, at most AXES) unit axes over the cells along which what a sender adds varies most."""
    root = np.linalg.qr(weights, mode="r")
    u, s, _ = np.linalg.svd((a - a.mean(axis=0)) @ root.T, full_matrices=False)
    return u[:, :AXES][:, s[:AXES] > 1e-9]


def _orthogonal(axes: list[np.ndarray]) -> np.ndarray:
    """(axes, cells) orthonormal axes of all that is given."""
    if not sum(one.shape[1] for one in axes):
        return np.empty((0, 0))
    u, s, _ = np.linalg.svd(np.concatenate(axes, axis=1), full_matrices=False)
    return u[:, s > 1e-6].T


def receiver_folds(
    restarts: Sequence[HeadOutputs], coords: np.ndarray, senders: Sequence[int], keep: np.ndarray
) -> Fold:
    """One fold for receivers of one type: what each sender type adds alone, mean over restarts, and what was measured.

    From both sides the leading axes, over the cells, of what the OTHER sender types add are taken: a type that merely
    lives where the true sender lives has nothing left.

    Parameters
    ----------
    restarts
        One `HeadOutputs` per network, of the same cells, all of one type.
    coords
        (cells, 2 or 3) their positions.
    senders
        Codes of the sender types.
    keep
        (senders, genes) genes that count.
    """
    first = restarts[0]
    y = first.observed
    centred = y - y.mean(axis=0)
    moved, maps = [[] for _ in senders], []
    for one in restarts:
        maps.append(one.readout.gene_out * one.readout.norm_weight / len(restarts))
        nobody = _scaled(one, one.query)
        for place, u in zip(moved, _alone(one, senders), strict=True):
            place.append(_scaled(one, u) - nobody)
    weights = np.concatenate(maps, axis=1)
    pairs, gain = [], np.empty(len(senders))
    axes = [_leading(np.concatenate(place, axis=1), weights) for place in moved]
    for s, place in enumerate(moved):
        a, genes = np.concatenate(place, axis=1), keep[s]
        basis, root = np.linalg.qr(weights[genes])
        x, z = (a - a.mean(axis=0)) @ root.T, centred[:, genes] @ basis
        for axis in _orthogonal(axes[:s] + axes[s + 1 :]):
            x, z = x - np.outer(axis, axis @ x), z - np.outer(axis, axis @ z)
        pairs.append(Pair(x, z))
        gain[s] = 2 * pairs[-1].observed - (x**2).sum()
    kinds = first.neighbor_types
    exposed = np.array([(kinds == s).any(axis=1).sum() for s in senders])
    return Fold(pairs, coords, gain, float((centred**2).sum()), exposed)


def _maps(fold: Fold, n: int, null: str, rng: np.random.Generator) -> Iterator[np.ndarray]:
    if null == "free":
        yield from order_blocks(fold.n_cells, n, rng)
        return
    for start in range(0, n, BLOCK):
        yield shift_maps(fold.coords, min(BLOCK, n - start), rng, edges=null)


def compare_receiver(
    folds: Sequence[Fold], *, n_permutations: int, null: str, rng: np.random.Generator
) -> PairResult | None:
    """Sum the folds and compare with cells permuted, or fields shifted, within the folds.

    Parameters
    ----------
    folds
        From `receiver_folds`.
    n_permutations
        Permutations.
    null
        ``"free"``, or edges of a shift.
    rng
        Local generator.

    Returns
    -------
    None when no fold has enough cells.
    """
    used = [f for f in folds if f.n_cells >= FEWEST]
    if not used:
        return None
    observed = np.sum([[p.observed for p in f.pairs] for f in used], axis=0)
    rounding = np.sum([[p.rounding for p in f.pairs] for f in used], axis=0)
    draws = np.zeros((len(observed), n_permutations))
    for f in used:
        sets = _maps(f, n_permutations, null, rng)
        draws += np.concatenate(
            [mapped_statistics(f.pairs, m, normalise=null != "free") for m in sets], axis=1
        )
    count = (draws >= (observed - rounding)[:, None]).sum(axis=1)
    sd = draws.std(axis=1)
    alive = sd > rounding
    return PairResult(
        statistic=observed,
        z=np.where(alive, (observed - draws.mean(axis=1)) / np.where(alive, sd, 1.0), 0.0),
        pvalue=(count + 1) / (n_permutations + 1),
        share=np.sum([f.gain for f in used], axis=0) / sum(f.variance for f in used),
        n_cells=sum(f.n_cells for f in used),
        n_exposed=np.sum([f.exposed for f in used], axis=0),
        null=draws,
    )
