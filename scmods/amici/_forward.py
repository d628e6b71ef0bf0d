"""The one forward pass of a trained network over cells, in float64 and in blocks."""

from __future__ import annotations

import copy

import numpy as np
import torch

from scmods.amici._cells import Cells
from scmods.amici.heads import NeighborTables, Readout
from scmods.amici.network import AttentionNetwork, Tables

__all__ = ["neighbor_tables", "pass_heads", "readout"]

ENTRIES = 2**24  # of the largest temporary array, 128 MB


def double(network: AttentionNetwork) -> AttentionNetwork:
    """A copy in float64, in evaluation mode, on the CPU: blocks of any size give the same numbers.

    Parameters
    ----------
    network
        The trained one, which is left as it is.
    """
    return copy.deepcopy(network).cpu().double().eval()


def readout(network: AttentionNetwork) -> Readout:
    """The weights behind the heads.

    Parameters
    ----------
    network
        In float64.
    """
    norm = network.norm_out
    weights = (network.head_out, norm.weight, norm.bias, network.gene_out.weight, network.type_means)
    head_out, weight, bias, gene_out, means = (w.detach().numpy().copy() for w in weights)
    return Readout(head_out, weight, bias, float(norm.eps), gene_out, means)


@torch.no_grad()
def neighbor_tables(network: AttentionNetwork, cells: Cells, which: np.ndarray, size: int) -> NeighborTables:
    """Values, scores and coefficients of neighbour cells, each computed once.

    Parameters
    ----------
    network
        In float64.
    cells
        The tissue.
    which
        Positions of the neighbour cells.
    size
        Cells at a time.
    """
    h, s, t = network.n_heads, network.head_size, network.n_types
    value, score, coefficient = np.empty((len(which), h, s)), *(np.empty((len(which), t, h)) for _ in "ab")
    widest = max(
        t * network.coefficient_block.first.weight.shape[0], network.cell_block.first.weight.shape[0]
    )
    size = max(1, min(size, ENTRIES // widest))
    for start in range(0, len(which), size):
        part = slice(start, start + size)
        one = network.tables(torch.from_numpy(cells.read(which[part])))
        value[part], score[part], coefficient[part] = one.value, one.score, one.coefficient
    return NeighborTables(which, cells.codes[which], value, score, coefficient)


@torch.no_grad()
def pass_heads(
    network: AttentionNetwork,
    types: np.ndarray,
    rows: np.ndarray,
    distances: np.ndarray,
    tables: NeighborTables,
    size: int,
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Attention, z and query of cells, in blocks.

    Parameters
    ----------
    network
        In float64.
    types
        (cells,) codes.
    rows
        (cells, k) rows of the tables; -1 where there is none.
    distances
        (cells, k).
    tables
        Of the neighbour cells.
    size
        Cells at a time.
    """
    (n, k), h, s = rows.shape, network.n_heads, network.head_size
    attention, z, query = np.empty((n, h, k + 1)), np.empty((n, h, s)), np.empty((n, h * s))
    held = (torch.from_numpy(a) for a in (tables.value, tables.score, tables.coefficient))
    value, score, coefficient = held
    if not len(value):  # no cell has any neighbour: one row that nobody looks at
        value, score, coefficient = (torch.zeros(1, *a.shape[1:]) for a in (value, score, coefficient))
        value, score, coefficient = value.double(), score.double(), coefficient.double()
    shared = Tables(value, value, score, coefficient)  # keys have gone into the scores
    size = max(1, min(size, ENTRIES // max(1, k * h * s)))
    for start in range(0, n, size):
        part = slice(start, start + size)
        inputs = (torch.from_numpy(a[part]) for a in (types, rows, distances))
        out = network.attend(*inputs, shared)
        attention[part], z[part], query[part] = out.attention, out.z, out.query
    return attention, z, query
