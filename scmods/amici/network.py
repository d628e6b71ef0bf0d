"""The attention network on tensors: tables of neighbour cells, attention with an empty slot, prediction, loss.

Everything that depends on a neighbour cell alone, or on it and the TYPE of a receiver, is computed once per
cell and then gathered by position; a cell that is the neighbour of fifty others is embedded once.
Source of the model: Hong et al., bioRxiv 2025, doi 10.1101/2025.09.22.677860.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor, nn
from torch.nn import functional

from scmods.amici._residual import HeadMap, Residual

__all__ = ["AttentionNetwork", "Heads", "Penalty", "Tables"]


class Tables(NamedTuple):
    """What attention needs of neighbour cells, one row per cell.

    Attributes
    ----------
    key, value
        (cells, heads, head size).
    score
        (cells, types, heads): query of the receiver's type times key, divided by the root of the head size.
    coefficient
        (cells, types, heads): loss of logit per unit of distance, not negative.

    Examples
    --------
    >>> import torch
    >>> from scmods import amici
    >>> network = amici.AttentionNetwork(torch.zeros(3, 10), n_heads=2, head_size=4)
    >>> tables = network.tables(torch.rand(6, 10))
    >>> tables.value.shape, tables.score.shape
    (torch.Size([6, 2, 4]), torch.Size([6, 3, 2]))
    """

    key: Tensor
    value: Tensor
    score: Tensor
    coefficient: Tensor


class Heads(NamedTuple):
    """One forward pass for all heads.

    Attributes
    ----------
    query
        (cells, heads * head size) query of the cell's type, all heads side by side.
    z
        (cells, heads, head size) attention-weighted values.
    attention
        (cells, heads, neighbours + 1), the empty slot LAST; a row sums to one.

    Examples
    --------
    >>> import torch
    >>> from scmods import amici
    >>> network = amici.AttentionNetwork(torch.zeros(3, 10), n_heads=2, head_size=4)
    >>> neighbors, distances = torch.tensor([[1, 2], [3, -1]]), torch.ones(2, 2)
    >>> heads = network.attend(torch.tensor([0, 2]), neighbors, distances, network.tables(torch.rand(6, 10)))
    >>> heads.query.shape, heads.z.shape
    (torch.Size([2, 8]), torch.Size([2, 2, 4]))
    """

    query: Tensor
    z: Tensor
    attention: Tensor


class Penalty(NamedTuple):
    """Mean loss per cell in its parts; the two penalties are not yet weighted.

    Attributes
    ----------
    reconstruction
        Half the squared error, summed over genes.
    entropy
        Entropy of the attention, mean over heads, empty slot included.
    value
        Sum of absolute values of a neighbour, mean over neighbours.
    """

    reconstruction: Tensor
    entropy: Tensor
    value: Tensor


class AttentionNetwork(nn.Module):
    r"""Expression of a cell from its type and its neighbours of other types.

    With :math:`l_{ihj} = q_{t_i h} \cdot k_{jh} / \sqrt{S} - c_{j t_i h}\, d_{ij} / \mathrm{unit}` and the constant
    logit of an empty slot, attention is the softmax over neighbours and slot, :math:`z_{ih} = \sum_j A_{ihj} v_{jh}`,
    :math:`u_i = q_{t_i} + \sum_h W^o_h z_{ih}` and the prediction :math:`\mu_{t_i} + W \mathrm{LN}(u_i)`.
    A cell's own expression is never an input.

    Parameters
    ----------
    type_means
        (types, genes) mean expression of each type, from which the prediction starts.
    n_heads, head_size
        Heads, and size of query, key and value in each.
    label_size
        Size of the embedding of types.
    query_size, query_width
        Size per head of the source of queries, and width of its block.
    cell_size, cell_width
        Size of the embedding of neighbour cells, and width of its block.
    kv_size, kv_width
        Size per head of the source of keys and values, and width of its block.
    coefficient_width
        Width of the block of distance coefficients.
    empty_logit
        Logit of the empty slot.
    coefficient_offset
        Added before softplus: -2 starts at about 0.13 per unit.
    unit
        Length by which distances are divided.
    drop
        Probability that a neighbour is hidden while training.
    generator
        Source of the initial weights; None takes the seed 0. No global generator is used.

    Attributes
    ----------
    n_genes, n_types, n_heads, head_size
        Sizes.
    type_means
        As given, a buffer.

    Examples
    --------
    >>> network = AttentionNetwork(torch.zeros(3, 10), n_heads=2, head_size=4)
    >>> tables = network.tables(torch.rand(6, 10))
    >>> types, neighbors = torch.tensor([0, 2]), torch.tensor([[1, 2], [3, -1]])
    >>> heads = network.attend(types, neighbors, torch.ones(2, 2), tables)
    >>> heads.attention.shape, heads.attention[1, 0, 1].item()
    (torch.Size([2, 2, 3]), 0.0)
    """

    type_means: Tensor

    def __init__(
        self,
        type_means: Float[Tensor, "types genes"],
        *,
        n_heads: int = 4,
        head_size: int = 8,
        label_size: int = 32,
        query_size: int = 32,
        query_width: int = 64,
        cell_size: int = 64,
        cell_width: int = 128,
        kv_size: int = 32,
        kv_width: int = 32,
        coefficient_width: int = 64,
        empty_logit: float = 3.0,
        coefficient_offset: float = -2.0,
        unit: float = 1.0,
        drop: float = 0.1,
        generator: torch.Generator | None = None,
    ) -> None:
        super().__init__()
        self.n_types, self.n_genes = type_means.shape
        self.n_heads, self.head_size = n_heads, head_size
        self.empty_logit, self.coefficient_offset = empty_logit, coefficient_offset
        self.unit, self.drop = unit, drop
        size = n_heads * head_size
        generator = generator or torch.Generator().manual_seed(0)
        with torch.random.fork_rng(devices=[]):  # layers draw from the global generator, which is put back
            torch.manual_seed(int(torch.randint(2**62, (1,), generator=generator)))
            self.type_embedding = nn.Embedding(self.n_types, label_size)
            self.query_block = Residual(label_size, n_heads * query_size, query_width)
            self.cell_block = Residual(self.n_genes, cell_size, cell_width)
            self.kv_block = Residual(cell_size, n_heads * kv_size, kv_width)
            self.coefficient_block = Residual(
                cell_size + label_size, n_heads, coefficient_width, final_norm=False
            )
            self.to_query = HeadMap(n_heads, query_size, head_size)
            self.to_key = HeadMap(n_heads, kv_size, head_size)
            self.to_value = HeadMap(n_heads, kv_size, head_size)
            bound = size**-0.5
            self.head_out = nn.Parameter(torch.empty(size, n_heads, head_size).uniform_(-bound, bound))
            self.norm_out = nn.LayerNorm(size)
            self.gene_out = nn.Linear(size, self.n_genes, bias=False)
        self.register_buffer("type_means", type_means.detach().clone())

    # --- per cell

    def queries(self) -> Float[Tensor, "types heads size"]:
        """Query of every type and head."""
        source = self.query_block(self.type_embedding.weight)
        return self.to_query(source.view(self.n_types, self.n_heads, -1))

    def embed(self, x: Float[Tensor, "cells genes"]) -> tuple[Tensor, Tensor, Tensor]:
        """Embedding (cells, cell size), keys and values (cells, heads, head size) of neighbour cells.

        Parameters
        ----------
        x
            Their expression.
        """
        embedding = self.cell_block(x)
        source = self.kv_block(embedding).view(len(x), self.n_heads, -1)
        return embedding, self.to_key(source), self.to_value(source)

    def coefficients(
        self, embedding: Float[Tensor, "pairs size"], types: Int[Tensor, " pairs"]
    ) -> Float[Tensor, "pairs heads"]:
        """Distance coefficient of pairs of a neighbour cell and the type of a receiver.

        Parameters
        ----------
        embedding
            Of the neighbour cells, from `embed`.
        types
            Codes of the receivers' types.
        """
        joined = torch.cat([embedding, self.type_embedding(types)], 1)
        return functional.softplus(self.coefficient_block(joined) + self.coefficient_offset)

    def tables(self, x: Float[Tensor, "cells genes"]) -> Tables:
        """All that attention needs of neighbour cells, for receivers of every type.

        Parameters
        ----------
        x
            Expression of the neighbour cells.
        """
        embedding, key, value = self.embed(x)
        score = torch.einsum("ths,nhs->nth", self.queries(), key) * self.head_size**-0.5
        types = torch.arange(self.n_types, device=x.device).repeat(len(x))
        coefficient = self.coefficients(embedding.repeat_interleave(self.n_types, 0), types)
        return Tables(key, value, score, coefficient.view(len(x), self.n_types, self.n_heads))

    # --- per pair

    def _attention(
        self,
        score: Float[Tensor, "cells neighbors heads"],
        coefficient: Float[Tensor, "cells neighbors heads"],
        distances: Float[Tensor, "cells neighbors"],
        seen: Bool[Tensor, "cells neighbors"],
    ) -> Float[Tensor, "cells heads slots"]:
        far = torch.where(seen, distances, 0.0)[..., None] / self.unit
        logit = torch.where(seen[..., None], score - coefficient * far, -torch.inf)
        return torch.softmax(functional.pad(logit.transpose(1, 2), (0, 1), value=self.empty_logit), -1)

    def attend(
        self,
        types: Int[Tensor, " cells"],
        neighbors: Int[Tensor, "cells neighbors"],
        distances: Float[Tensor, "cells neighbors"],
        tables: Tables,
        mask: Bool[Tensor, "cells neighbors"] | None = None,
    ) -> Heads:
        """Attention and head outputs of receivers.

        Parameters
        ----------
        types
            Codes of their types.
        neighbors
            Rows of `tables`; -1 where there is none.
        distances
            To the neighbours, in units of length.
        tables
            Of the neighbour cells.
        mask
            False hides a neighbour before the softmax; the empty slot cannot be hidden.
        """
        seen = neighbors >= 0 if mask is None else (neighbors >= 0) & mask
        rows = neighbors.clamp(min=0)
        at = rows * self.n_types + types[:, None]
        attention = self._attention(
            tables.score.flatten(0, 1)[at], tables.coefficient.flatten(0, 1)[at], distances, seen
        )
        z = torch.einsum("bhk,bkhs->bhs", attention[..., :-1], tables.value[rows])
        return Heads(self.queries()[types].flatten(1), z, attention)

    def outputs(self, z: Float[Tensor, "cells heads size"]) -> Float[Tensor, "cells heads total"]:
        """What each head adds to the query, before the norm.

        Parameters
        ----------
        z
            Attention-weighted values.
        """
        return torch.einsum("bhs,ehs->bhe", z, self.head_out)

    def decode(self, types: Int[Tensor, " cells"], u: Float[Tensor, "cells total"]) -> Tensor:
        """Predicted expression, (cells, genes).

        Parameters
        ----------
        types
            Codes of the types, which give the mean.
        u
            Query plus the outputs of those heads that are to count.
        """
        return self.type_means[types] + self.gene_out(self.norm_out(u))

    # --- training

    def _hide(self, seen: Tensor, generator: torch.Generator | None) -> Tensor:
        if not self.training or self.drop == 0:
            return seen
        # the same for all heads
        return seen & (torch.rand(seen.shape, generator=generator, device=seen.device) >= self.drop)

    def parts(
        self,
        observed: Float[Tensor, "cells genes"],
        types: Int[Tensor, " cells"],
        neighbors: Int[Tensor, "cells neighbors"],
        distances: Float[Tensor, "cells neighbors"],
        x: Float[Tensor, "others genes"],
        generator: torch.Generator | None = None,
    ) -> Penalty:
        """Parts of the loss, means per cell; in training mode neighbours are hidden at random.

        Parameters
        ----------
        observed
            Expression of the receivers.
        types, distances
            As in `attend`.
        neighbors
            Rows of `x`; -1 where there is none.
        x
            Expression of the neighbour cells, each once.
        generator
            Source of the random mask.
        """
        present = neighbors >= 0
        rows = neighbors.clamp(min=0)
        embedding, key, value = self.embed(x)
        queries = self.queries()
        # each pair of cell and type once: never more than cells x types, nor than the links of the batch
        pairs, at = torch.unique(rows * self.n_types + types[:, None], return_inverse=True)
        cell, kind = pairs // self.n_types, pairs % self.n_types
        score = (queries[kind] * key[cell]).sum(-1) * self.head_size**-0.5
        coefficient = self.coefficients(embedding[cell], kind)
        attention = self._attention(score[at], coefficient[at], distances, self._hide(present, generator))
        z = torch.einsum("bhk,bkhs->bhs", attention[..., :-1], value[rows])
        u = queries[types].flatten(1) + torch.einsum("bhs,ehs->be", z, self.head_out)
        error = self.decode(types, u) - observed
        return Penalty(
            0.5 * error.square().sum(1).mean(),
            entropy(attention).mean(),
            _mean_present(value.abs().sum((1, 2))[rows], present).mean(),
        )


def entropy(attention: Float[Tensor, "cells heads slots"]) -> Float[Tensor, " cells"]:
    """Entropy of the attention in nats, mean over heads.

    Parameters
    ----------
    attention
        Rows that sum to one.
    """
    tiny = torch.finfo(attention.dtype).eps
    return -(attention * attention.clamp(tiny, 1 - tiny).log()).sum(-1).mean(-1)


def _mean_present(values: Tensor, present: Tensor) -> Tensor:
    kept = torch.where(present, values, 0.0)
    return kept.sum(1) / present.sum(1).clamp(min=1)
