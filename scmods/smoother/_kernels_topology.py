"""Union-find over the edges of a planar complex, in compiled loops; the only topology module that needs numba.

Vertices are named by their rank: 0 is the highest value of the field, ties by index. In super-level order a vertex
enters at its rank, an edge at the larger rank of its ends, a triangle at the largest rank of its corners.
"""

from __future__ import annotations

import numpy as np
from numba import njit

__all__ = ["dual_bars", "enter", "primal_bars"]


@njit(cache=True)
def enter(rank: np.ndarray, edges: np.ndarray) -> tuple:
    """Ranks of both ends and of the entry of every edge, and the edges by increasing entry, ties by index.

    Counting sort, linear in the number of edges.
    """
    u, v, entry = rank[edges[:, 0]], rank[edges[:, 1]], np.empty(len(edges), np.int64)
    start = np.zeros(len(rank) + 1, np.int64)
    for i in range(len(edges)):
        entry[i] = max(u[i], v[i])
        start[entry[i] + 1] += 1
    for i in range(len(rank)):
        start[i + 1] += start[i]
    order = np.empty(len(edges), np.int64)
    for i in range(len(edges)):
        order[start[entry[i]]] = i
        start[entry[i]] += 1
    return u, v, entry, order


@njit(cache=True)
def _root(parent: np.ndarray, i: int) -> int:
    while parent[i] != i:
        parent[i] = parent[parent[i]]  # path halving
        i = parent[i]
    return i


@njit(cache=True)
def primal_bars(u: np.ndarray, v: np.ndarray, order: np.ndarray, n: int) -> tuple:
    """Dimension 0 by the elder rule: ranks of birth and death of every component that merges later than it is born.

    Also the roots that are left, one per piece of the complex: these components never die.
    """
    parent = np.arange(n)
    birth, death = np.empty(n, np.int64), np.empty(n, np.int64)
    bars = 0
    for e in order:
        a, b = _root(parent, u[e]), _root(parent, v[e])
        if a == b:
            continue
        elder, younger = min(a, b), max(a, b)
        parent[younger] = elder
        now = max(u[e], v[e])
        if younger < now:
            birth[bars], death[bars] = younger, now
            bars += 1
    roots = np.array([i for i in range(n) if parent[i] == i])
    return birth[:bars], death[:bars], roots


@njit(cache=True)
def dual_bars(
    rank: np.ndarray, entry: np.ndarray, order: np.ndarray, sides: np.ndarray, triangles: np.ndarray
) -> tuple:
    """Dimension 1 as dimension 0 of the dual graph, backwards.

    Going down from the full complex, every triangle that leaves opens a hole, and an edge that leaves joins the holes
    on its two sides. Nodes are the triangles, as old as the rank at which they enter, and the outside of the complex,
    which is older than all. A hole that joins an older one at an edge is a bar: born with that edge, dead
    with its own triangle.
    """
    outside = len(triangles)
    parent = np.arange(outside + 1)
    age = np.empty(outside + 1, np.int64)
    for t in range(outside):
        age[t] = max(rank[triangles[t, 0]], rank[triangles[t, 1]], rank[triangles[t, 2]])
    age[outside] = len(rank)
    birth, death = np.empty(outside, np.int64), np.empty(outside, np.int64)
    bars = 0
    for k in range(len(order) - 1, -1, -1):
        e = order[k]
        a, b = _root(parent, sides[e, 0]), _root(parent, sides[e, 1])
        if a == b:
            continue
        # the outside has the last index, so it wins the ties too
        if age[a] < age[b] or (age[a] == age[b] and a < b):
            a, b = b, a
        parent[b] = a
        if entry[e] < age[b]:
            birth[bars], death[bars] = entry[e], age[b]
            bars += 1
    return birth[:bars], death[:bars]
