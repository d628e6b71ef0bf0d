"""Communities of a graph by the algorithm of Leiden, so that a subpopulation can be looked for without more packages.

Source: Traag, Waltman and van Eck, Scientific Reports 9, 5233 (2019); the refinement takes the best merge instead of a
random one. Quality: modularity with a resolution, as `scanpy.tl.leiden` has it.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numba
import numpy as np

if TYPE_CHECKING:
    from scipy import sparse

__all__ = ["leiden", "modularity"]

LEAST = 1e-12  # a smaller gain is rounding
ROUNDS = 20


@numba.njit(cache=True)
def _move(
    indptr: np.ndarray,
    indices: np.ndarray,
    data: np.ndarray,
    degree: np.ndarray,
    community: np.ndarray,
    order: np.ndarray,
    rate: float,
) -> None:
    """Move nodes to the community of largest gain until no node gains; only neighbours of a moved one are revisited."""
    n = len(degree)
    total, size, link = np.zeros(n), np.zeros(n, np.int64), np.zeros(n)
    for v in range(n):
        total[community[v]] += degree[v]
        size[community[v]] += 1
    touched = np.empty(n, np.int64)
    queue, waiting = order.copy(), np.ones(n, np.bool_)
    head, count = 0, n
    while count > 0:
        v = queue[head]
        head, count = (head + 1) % n, count - 1
        waiting[v] = False
        own, n_touched = community[v], 0
        for j in range(indptr[v], indptr[v + 1]):
            if indices[j] != v:
                c = community[indices[j]]
                if link[c] == 0:
                    touched[n_touched] = c
                    n_touched += 1
                link[c] += data[j]
        best, gain = own, link[own] - rate * degree[v] * (total[own] - degree[v])
        for t in range(n_touched):
            c = touched[t]
            g = link[c] - rate * degree[v] * total[c]
            if c != own and g > gain + LEAST:
                best, gain = c, g
            link[c] = 0.0
        link[own] = 0.0
        if best == own:
            continue
        total[own] -= degree[v]
        total[best] += degree[v]
        community[v] = best
        for j in range(indptr[v], indptr[v + 1]):
            u = indices[j]
            if community[u] != best and not waiting[u]:
                waiting[u] = True
                queue[(head + count) % n] = u
                count += 1


@numba.njit(cache=True)
def _refine(
    indptr: np.ndarray,
    indices: np.ndarray,
    data: np.ndarray,
    degree: np.ndarray,
    community: np.ndarray,
    order: np.ndarray,
    rate: float,
) -> np.ndarray:
    """Parts of each community that hang together: single nodes merged into well connected parts of their community."""
    n = len(degree)
    whole = np.zeros(n)
    for v in range(n):
        whole[community[v]] += degree[v]
    part, total, link = np.arange(n), degree.copy(), np.zeros(n)
    outward = np.zeros(n)  # weight between a part and the rest of its community
    for v in range(n):
        for j in range(indptr[v], indptr[v + 1]):
            if indices[j] != v and community[indices[j]] == community[v]:
                outward[v] += data[j]
    own = outward.copy()
    size = np.ones(n, np.int64)
    touched = np.empty(n, np.int64)
    for v in order:
        rest = whole[community[v]] - degree[v]
        if size[part[v]] > 1 or own[v] < rate * degree[v] * rest:
            continue
        n_touched = 0
        for j in range(indptr[v], indptr[v + 1]):
            u = indices[j]
            if u != v and community[u] == community[v]:
                if link[part[u]] == 0:
                    touched[n_touched] = part[u]
                    n_touched += 1
                link[part[u]] += data[j]
        best, gain, tie = -1, 0.0, 0.0
        for t in range(n_touched):
            c = touched[t]
            g = link[c] - rate * degree[v] * total[c]
            if g > gain + LEAST and outward[c] >= rate * total[c] * (whole[community[v]] - total[c]) - LEAST:
                best, gain, tie = c, g, link[c]
        for t in range(n_touched):
            link[touched[t]] = 0.0
        if best >= 0:
            outward[best] += own[v] - 2 * tie
            total[best] += degree[v]
            size[best] += 1
            size[part[v]] = 0
            part[v] = best
    return part


def modularity(graph: sparse.csr_array, labels: np.ndarray, resolution: float = 1.0) -> float:
    r"""Quality of a partition, :math:`\frac{1}{2m}\sum_{ij} (A_{ij} - \gamma k_i k_j / 2m)\,[c_i = c_j]`.

    Parameters
    ----------
    graph
        Symmetric, without negative weights.
    labels
        Community of each node.
    resolution
        :math:`\gamma`; larger for more communities.
    """
    degree = np.asarray(graph.sum(axis=1)).ravel()
    edges = graph.tocoo()
    inside = edges.data[labels[edges.row] == labels[edges.col]].sum()
    total = np.bincount(np.unique(labels, return_inverse=True)[1], weights=degree)
    return float(inside / degree.sum() - resolution * np.square(total / degree.sum()).sum())


def leiden(graph: sparse.csr_array, *, resolution: float = 1.0, seed: int = 0) -> np.ndarray:
    """Community of each node, 0 for the largest.

    Parameters
    ----------
    graph
        Symmetric, without negative weights or a diagonal.
    resolution
        As in `modularity`.
    seed
        Seed of the order in which nodes are visited.
    """
    rng = np.random.default_rng(seed)
    labels = np.arange(graph.shape[0])
    for _ in range(ROUNDS):
        found = _round(graph, labels, resolution, rng)
        if (found == labels).all():
            break
        labels = found
    number, counts = np.unique(labels, return_inverse=True, return_counts=True)[1:]
    rank = np.empty(len(counts), dtype=int)
    rank[np.argsort(-counts, kind="stable")] = np.arange(len(counts))
    return rank[number]


def _round(
    graph: sparse.csr_array, labels: np.ndarray, resolution: float, rng: np.random.Generator
) -> np.ndarray:
    """Move, refine and aggregate until nothing moves, from a given partition; labels from 0."""
    from scipy import sparse

    node = np.arange(graph.shape[0])  # aggregate that each node of the input belongs to
    community = np.unique(labels, return_inverse=True)[1].astype(np.int64)
    total = graph.sum()
    while True:
        degree = np.asarray(graph.sum(axis=1)).ravel().astype(np.float64)
        order = rng.permutation(len(degree)).astype(np.int64)
        csr = graph.tocsr()
        arrays = (
            csr.indptr.astype(np.int64),
            csr.indices.astype(np.int64),
            csr.data.astype(np.float64),
            degree,
        )
        _move(*arrays, community, order, resolution / total)
        part = np.unique(_refine(*arrays, community, order, resolution / total), return_inverse=True)[1]
        n_parts = int(part.max()) + 1
        if n_parts == len(degree):
            return np.unique(community[node], return_inverse=True)[1]
        of_part = np.zeros(n_parts, dtype=np.int64)
        of_part[part] = community
        collect = sparse.csr_array(
            (np.ones(len(part)), (part, np.arange(len(part)))), shape=(n_parts, len(part))
        )
        graph, node, community = (
            (collect @ csr @ collect.T).tocsr(),
            part[node],
            np.unique(of_part, return_inverse=True)[1],
        )
