"""Cells along a branching tree, the graph of benchmarks and tests: thin or thick by the noise."""

import numpy as np

BRANCHES = ((-1, 0), (0, 1), (0, 2), (1, 3), (1, 4), (2, 5), (2, 6))  # (parent, own) of a binary tree of 7


def tree(n, dims=10, noise=0.6, seed=0, length=10.0):
    """Coordinates (n x dims) of cells spread evenly over 7 branches of one length, and the branch of each."""
    rng = np.random.default_rng(seed)
    directions = rng.standard_normal((7, dims))
    directions /= np.linalg.norm(directions, axis=1)[:, None] / length
    starts = np.zeros((7, dims))
    for parent, own in BRANCHES[1:]:
        starts[own] = starts[parent] + directions[parent]
    branch = rng.integers(0, 7, n)
    along = rng.random(n)
    cells = starts[branch] + along[:, None] * directions[branch] + noise * rng.standard_normal((n, dims))
    return cells, branch
