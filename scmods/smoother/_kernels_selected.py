"""Compiled loops over a sparse LDL^T factor: factorisation, solves, and entries of the inverse.

The factor is kept by columns: ``lp`` (column starts), ``li`` (row indices, ascending), ``lx`` (values below the unit
diagonal) and ``d`` (pivots). ``parent`` is the elimination tree: the first row below the diagonal of each column.
The pattern is the full symbolic one, zeros by cancellation included, because the recursions walk along it.
"""

from __future__ import annotations

import numba
import numpy as np

__all__ = ["backward", "forward", "gather", "ldl", "paths", "permute", "preorder", "symbolic", "takahashi"]

WIDTH = 8  # columns of the inverse that share one walk along the tree


@numba.njit(cache=True, error_model="numpy")
def permute(indptr, indices, data, order):
    """Lower triangle, by rows, of the symmetric matrix in the new order; rows are not sorted."""
    n = len(order)
    rank = np.empty(n, np.int32)
    for k in range(n):
        rank[order[k]] = k
    start = np.zeros(n + 1, np.int64)
    new = np.empty(len(indices), np.int32)
    values = np.empty(len(data))
    filled = 0
    for k in range(n):
        for p in range(indptr[order[k]], indptr[order[k] + 1]):
            if rank[indices[p]] <= k:
                new[filled] = rank[indices[p]]
                values[filled] = data[p]
                filled += 1
        start[k + 1] = filled
    return rank, start, new[:filled], values[:filled]


@numba.njit(cache=True, error_model="numpy")
def symbolic(indptr, indices):
    """Elimination tree and number of entries below the diagonal of every column."""
    n = len(indptr) - 1
    parent = np.full(n, -1, np.int32)
    flag = np.full(n, -1, np.int32)
    counts = np.zeros(n, np.int64)
    for k in range(n):
        flag[k] = k
        for p in range(indptr[k], indptr[k + 1]):
            i = indices[p]
            while i < k and flag[i] != k:
                if parent[i] == -1:
                    parent[i] = k
                counts[i] += 1
                flag[i] = k
                i = parent[i]
    return parent, counts


@numba.njit(cache=True, error_model="numpy")
def ldl(indptr, indices, data, parent, lp, smallest):
    """Row by row factorisation; stops at the first pivot below `smallest` times the diagonal and returns its row."""
    n = len(indptr) - 1
    li = np.empty(lp[n], np.int32)
    lx = np.empty(lp[n])
    d = np.zeros(n)
    y = np.zeros(n)
    filled = lp[:n].copy()
    flag = np.full(n, -1, np.int32)
    pattern = np.empty(n, np.int32)
    for k in range(n):
        top, flag[k], diagonal = n, k, 0.0
        for p in range(indptr[k], indptr[k + 1]):
            i, length = indices[p], 0
            if i == k:
                diagonal = data[p]
            elif i < k:
                y[i] = data[p]
                while flag[i] != k:
                    pattern[length] = i
                    length += 1
                    flag[i] = k
                    i = parent[i]
                while length > 0:
                    top -= 1
                    length -= 1
                    pattern[top] = pattern[length]
        pivot = diagonal
        for s in range(top, n):
            i = pattern[s]
            value = y[i]
            y[i] = 0.0
            for p in range(lp[i], filled[i]):
                y[li[p]] -= lx[p] * value
            low = value / d[i]
            pivot -= low * value
            li[filled[i]] = k
            lx[filled[i]] = low
            filled[i] += 1
        if not pivot > smallest * abs(diagonal):
            d[k] = pivot
            return li, lx, d, k
        d[k] = pivot
    return li, lx, d, -1


@numba.njit(cache=True, error_model="numpy")
def takahashi(lp, li, lx, d):
    """Diagonal of the inverse and its entries on the pattern of the factor."""
    n = len(d)
    zx = np.empty(len(lx))
    zd = np.empty(n)
    acc = np.empty(n)
    for j in range(n - 1, -1, -1):
        rows, lows = li[lp[j] : lp[j + 1]], lx[lp[j] : lp[j + 1]]
        m = len(rows)
        acc[:m] = 0.0
        own = 1.0 / d[j]
        for s in range(m):
            k, low = rows[s], lows[s]
            below, z = li[lp[k] : lp[k + 1]], zx[lp[k] : lp[k + 1]]
            total = acc[s] + low * zd[k]
            q = 0
            for t in range(s + 1, m):
                # the rows below k of column j are all rows of column k, so that the walk always arrives
                while below[q] != rows[t]:
                    q += 1
                acc[t] += low * z[q]
                total += lows[t] * z[q]
                q += 1
            zx[lp[j] + s] = -total
            own += low * total
        zd[j] = own
    return zd, zx


@numba.njit(cache=True, error_model="numpy")
def gather(lp, li, zx, zd, rows, columns):
    """Entries (row, column) of the inverse, each of them on the pattern of the factor."""
    out = np.empty(len(rows))
    for e in range(len(rows)):
        i, j = max(rows[e], columns[e]), min(rows[e], columns[e])
        if i == j:
            out[e] = zd[i]
        else:
            out[e] = zx[lp[j] + np.searchsorted(li[lp[j] : lp[j + 1]], i)]
    return out


@numba.njit(cache=True, error_model="numpy")
def forward(lp, li, lx, x):
    """Overwrite the columns of `x` with L^-1 x."""
    for j in range(len(lp) - 1):
        for p in range(lp[j], lp[j + 1]):
            for c in range(x.shape[1]):
                x[li[p], c] -= lx[p] * x[j, c]


@numba.njit(cache=True, error_model="numpy")
def backward(lp, li, lx, x):
    """Overwrite the columns of `x` with L^-T x."""
    for j in range(len(lp) - 2, -1, -1):
        for p in range(lp[j], lp[j + 1]):
            for c in range(x.shape[1]):
                x[j, c] -= lx[p] * x[li[p], c]


@numba.njit(cache=True, error_model="numpy")
def preorder(parent):
    """Position of every node when each subtree is visited without a break, ancestors first."""
    n = len(parent)
    size = np.ones(n, np.int64)
    for v in range(n):  # children come before their parent
        if parent[v] != -1:
            size[parent[v]] += size[v]
    position = np.empty(n, np.int64)
    free = np.empty(n, np.int64)
    roots = 0
    for v in range(n - 1, -1, -1):
        if parent[v] == -1:
            position[v] = roots
            roots += size[v]
        else:
            position[v] = free[parent[v]]
            free[parent[v]] += size[v]
        free[v] = position[v] + 1
    return position


@numba.njit(cache=True, error_model="numpy")
def _climb(parent, seen, order, size, v, mark):
    """Append the unseen part of the path from `v` to its root, ancestors first; return the new size."""
    end, u = size, v
    while u != -1 and seen[u] != mark:
        seen[u] = mark
        end += 1
        u = parent[u]
    u = v
    for t in range(end - 1, size - 1, -1):
        order[t] = u
        u = parent[u]
    return end


@numba.njit(cache=True, error_model="numpy")
def paths(parent, lp, li, lx, d, spots, wanted):
    """Entries (wanted[s, c], spots[s]) of the inverse.

    Columns are solved WIDTH at a time, and only over the paths from their spots and from the wanted rows to the root
    of the tree: no other row can influence them. Spots that follow each other should be close in the tree.
    """
    x = np.zeros((len(d), WIDTH))
    seen = np.full(len(d), -1, np.int64)
    order = np.empty(len(d), np.int32)
    out = np.empty(wanted.shape)
    for first in range(0, len(spots), WIDTH):
        last, size = min(first + WIDTH, len(spots)), 0
        for s in range(first, last):
            size = _climb(parent, seen, order, size, spots[s], first)
            x[spots[s], s - first] = 1.0
        base = size
        for s in range(first, last):
            for c in range(wanted.shape[1]):
                size = _climb(parent, seen, order, size, wanted[s, c], first)
        for t in range(base - 1, -1, -1):  # descendants first: L y = e
            v = order[t]
            for p in range(lp[v], lp[v + 1]):
                i, low = li[p], lx[p]
                for c in range(WIDTH):
                    x[i, c] -= low * x[v, c]
            for c in range(WIDTH):
                x[v, c] /= d[v]
        for t in range(size):  # ancestors first: L^T z = D^-1 y
            v = order[t]
            for p in range(lp[v], lp[v + 1]):
                i, low = li[p], lx[p]
                for c in range(WIDTH):
                    x[v, c] -= low * x[i, c]
        for s in range(first, last):
            for c in range(wanted.shape[1]):
                out[s, c] = x[wanted[s, c], s - first]
        for t in range(size):
            x[order[t], :] = 0.0
    return out
