"""The plain forms: one forward per head and type, every pair embedded anew, permutations by gathering whole blocks.

For tests and benchmarks. Everything here follows the definitions as directly as it can, and is slow.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

from scmods import stats

if TYPE_CHECKING:
    from scmods.amici.network import AttentionNetwork

__all__ = [
    "PairHeads",
    "attend_pairs",
    "compute_reference",
    "count_by_gathering",
    "loss_pairs",
    "predict_pairs",
]


class PairHeads(NamedTuple):
    """Attention of some cells, with the values of every pair.

    Attributes
    ----------
    attention
        (cells, heads, neighbours + 1), the empty slot last.
    value
        (cells, neighbours, heads, size).
    query
        (cells, heads * size).
    """

    attention: Tensor
    value: Tensor
    query: Tensor


def attend_pairs(
    network: AttentionNetwork,
    x: Tensor,
    types: Tensor,
    neighbors: Tensor,
    distances: Tensor,
    *,
    keep: Sequence[int] | None = None,
    seen: Tensor | None = None,
) -> PairHeads:
    """Attention with every neighbour of every cell embedded for itself.

    Parameters
    ----------
    network
        The network.
    x
        (all cells, genes).
    types, neighbors, distances
        (cells,), (cells, k), (cells, k); every cell has k neighbours.
    keep
        Heads that stay on; the attention of the others becomes 0, the empty slot too. None for all.
    seen
        (cells, k) mask; False hides a neighbour before the softmax.
    """
    (n, k), h = neighbors.shape, network.n_heads
    kind = types.repeat_interleave(k)
    embedding, key, value = network.embed(x[neighbors.flatten()])
    query = network.to_query(network.query_block(network.type_embedding(types)).view(n, h, -1))
    score = torch.einsum("nhs,nkhs->nkh", query, key.view(n, k, h, -1)) / network.head_size**0.5
    far = distances.flatten()[:, None] / network.unit
    logit = score - (network.coefficients(embedding, kind) * far).view(n, k, h)
    if seen is not None:
        logit = logit.masked_fill(~seen[:, :, None], -torch.inf)
    attention = torch.softmax(functional.pad(logit.transpose(1, 2), (0, 1), value=network.empty_logit), -1)
    if keep is not None:
        on = torch.zeros(h, dtype=attention.dtype)
        on[list(keep)] = 1.0
        attention = attention * on[:, None]
    return PairHeads(attention, value.view(n, k, h, -1), query.flatten(1))


def predict_pairs(
    network: AttentionNetwork,
    x: Tensor,
    types: Tensor,
    neighbors: Tensor,
    distances: Tensor,
    *,
    keep: Sequence[int] | None = None,
) -> Tensor:
    """Predicted expression, (cells, genes), with some heads on.

    Parameters
    ----------
    network, x, types, neighbors, distances, keep
        As in `attend_pairs`.
    """
    found = attend_pairs(network, x, types, neighbors, distances, keep=keep)
    return _decoded(network, types, found)


def _decoded(network: AttentionNetwork, types: Tensor, found: PairHeads) -> Tensor:
    z = torch.einsum("nhk,nkhs->nhs", found.attention[..., :-1], found.value)
    return network.decode(types, found.query + torch.einsum("nhs,ehs->ne", z, network.head_out))


def loss_pairs(
    network: AttentionNetwork,
    x: Tensor,
    cells: Tensor,
    types: Tensor,
    neighbors: Tensor,
    distances: Tensor,
    *,
    entropy_weight: float,
    value_weight: float,
    seen: Tensor | None = None,
) -> Tensor:
    """Training objective of a batch, mean per cell.

    Parameters
    ----------
    network, x
        As in `attend_pairs`.
    cells
        (cells,) rows of `x` of the receivers.
    types, neighbors, distances, seen
        Of these cells.
    entropy_weight, value_weight
        Weights of the two penalties.
    """
    found = attend_pairs(network, x, types, neighbors, distances, seen=seen)
    error = 0.5 * (_decoded(network, types, found) - x[cells]).square().sum(1)
    a, tiny = found.attention, torch.finfo(x.dtype).eps
    entropy = -(a * a.clamp(tiny, 1 - tiny).log()).sum(-1).mean(-1)
    size = found.value.abs().sum((2, 3)).mean(1)
    return (error + entropy_weight * entropy + value_weight * size).mean()


def count_by_gathering(
    predictions: np.ndarray,
    targets: np.ndarray,
    n_permutations: int,
    rng: np.random.Generator,
    batch: int = 32,
) -> int:
    """Permutations of the cells under which the squared error is at most that observed.

    Parameters
    ----------
    predictions, targets
        (cells, genes).
    n_permutations
        How many.
    rng
        Local generator.
    batch
        Permutations whose predictions are held at once: batch x cells x genes.
    """
    n = len(targets)
    observed = ((predictions - targets) ** 2).mean()
    count = 0
    for start in range(0, n_permutations, batch):
        orders = np.stack([rng.permutation(n) for _ in range(min(batch, n_permutations - start))])
        error = ((predictions[orders] - targets[None]) ** 2).mean(axis=(1, 2))
        count += int((error <= observed).sum())
    return count


@torch.no_grad()
def compute_reference(
    network: AttentionNetwork,
    x: Tensor,
    types: Tensor,
    neighbors: Tensor,
    distances: Tensor,
    n_permutations: int,
    *,
    seed: int = 0,
    batch_size: int = 128,
) -> dict[str, Any]:
    """Explained variance and p-values head by head and type by type, each with a forward pass of its own.

    Parameters
    ----------
    network, x, types, neighbors, distances
        As in `attend_pairs`, for all cells.
    n_permutations
        Per head and type; 0 leaves the test out.
    seed
        Of the permutations.
    batch_size
        Cells per forward pass.

    Returns
    -------
    ``gene`` (heads, types, genes), ``total`` (heads, types), ``p`` and ``p_adj`` (heads, types).
    """
    rng = np.random.default_rng(seed)
    h, t = network.n_heads, network.n_types
    gene, total, p = np.zeros((h, t, x.shape[1])), np.zeros((h, t)), np.ones((h, t))
    for head in range(h):
        for kind in range(t):
            rows = torch.nonzero(types == kind).flatten()
            parts = [
                predict_pairs(network, x, types[r], neighbors[r], distances[r], keep=[head])
                for r in rows.split(batch_size)
            ]
            predicted, observed = torch.cat(parts).numpy(), x[rows].numpy()
            left = (predicted - observed).var(axis=0, ddof=1, dtype=np.float64)
            spread = observed.var(axis=0, ddof=1, dtype=np.float64)
            gene[head, kind] = np.where(spread > 0, 1 - left / np.where(spread > 0, spread, 1.0), 0.0)
            total[head, kind] = 1 - left.sum() / spread.sum()
            if n_permutations:
                count = count_by_gathering(predicted, observed, n_permutations, rng)
                p[head, kind] = (count + 1) / (n_permutations + 1)
    return {"gene": gene, "total": total, "p": p, "p_adj": stats.benjamini_hochberg(p)}
