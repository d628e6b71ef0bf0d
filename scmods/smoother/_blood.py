"""Blood cells that simulated tissues are made of: counts, types, markers, two halves."""

from __future__ import annotations

import numpy as np

from scmods import _checks

__all__ = ["blood_cells", "halves", "marker_genes"]


def marker_genes(x: np.ndarray, codes: np.ndarray, n_types: int, most: int) -> np.ndarray:
    """Genes that tell each type from all others, by the t of their log rates; equal shares per type."""
    x = np.log1p(x / x.sum(axis=1, keepdims=True) * 1e4)
    ranks = np.empty((n_types, x.shape[1]))
    for t in range(n_types):
        a, b = x[codes == t], x[codes != t]
        spread = np.sqrt(a.var(axis=0) / len(a) + b.var(axis=0) / len(b)) + 0.05
        ranks[t] = np.argsort(np.argsort(-(a.mean(axis=0) - b.mean(axis=0)) / spread))
    return np.sort(np.argsort(ranks.min(axis=0), kind="stable")[:most])


def blood_cells(n_types: int) -> tuple[np.ndarray, np.ndarray, list[str], np.ndarray]:
    """Counts of the cells of the most frequent types, their codes, the names, the genes."""
    from scmods import datasets

    source = datasets.load("pbmc68k")
    frequent = source.obs["cell_type"].astype(str).value_counts()
    _checks.integer("n_types", n_types, 2, len(frequent), "The blood cells come in that many types.")
    names = sorted(frequent.sort_index().sort_values(ascending=False, kind="stable").index[:n_types])
    label = source.obs["cell_type"].astype(str).to_numpy()
    keep = np.isin(label, names)
    counts = source.layers["counts"][keep].toarray().astype(np.float64)
    return counts, np.searchsorted(names, label[keep]), names, source.var_names.to_numpy(dtype=str)


def halves(rng: np.random.Generator, codes: np.ndarray) -> np.ndarray:
    """True for the half of each type that makes the tissue; the other half is the reference."""
    half = np.zeros(len(codes), dtype=bool)
    for t in np.unique(codes):
        one = rng.permutation(np.flatnonzero(codes == t))
        half[one[: len(one) // 2]] = True
    return half
