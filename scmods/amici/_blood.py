"""Real blood cells of four types that simulated tissues are made of: values, codes, states."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from scmods import _checks

__all__ = ["TYPES", "Blood", "blood_cells"]

TYPES = ("B", "DC", "Mono", "T")
MEMBERS = {
    "CD14+ Monocyte": "Mono",
    "CD19+ B": "B",
    "Dendritic": "DC",
    "CD4+/CD25 T Reg": "T",
    "CD4+/CD45RA+/CD25- Naive T": "T",
    "CD4+/CD45RO+ Memory": "T",
    "CD8+ Cytotoxic T": "T",
    "CD8+/CD45RA+ Naive Cytotoxic": "T",
}


@dataclass(frozen=True)
class Blood:
    """Logged expression of real cells, the most variable genes only.

    Parameters
    ----------
    x
        (cells, genes) log(1 + 10000 count / total), float64.
    totals
        (cells,) molecules of the cell, all genes.
    codes
        (cells,) position of the type in `TYPES`.
    genes
        (genes,) names.
    names
        (cells,) names of the cells.
    """

    x: np.ndarray
    totals: np.ndarray
    codes: np.ndarray
    genes: np.ndarray
    names: np.ndarray

    def of(self, kind: str) -> np.ndarray:
        """Positions of the cells of a type."""
        return np.flatnonzero(self.codes == TYPES.index(kind))

    def competent(self) -> np.ndarray:
        """True for the half of every type that is higher on the type's leading axis of variation."""
        out = np.zeros(len(self.x), dtype=bool)
        for kind in TYPES:
            rows = self.of(kind)
            score = _leading_scores(self.x[rows])
            out[rows] = score > np.median(score)
        return out

    def two_states(self, kind: str) -> tuple[np.ndarray, np.ndarray]:
        """Positions of the cells of a type in its larger and in its smaller k-means state."""
        rows = self.of(kind)
        state = _two_means(self.x[rows])
        if state.sum() * 2 > len(state):
            state = ~state
        return rows[~state], rows[state]


def _leading_scores(x: np.ndarray) -> np.ndarray:
    """Scores on the first principal axis, its sign fixed by the largest loading."""
    centred = x - x.mean(axis=0)
    u, s, vt = np.linalg.svd(centred, full_matrices=False)
    return u[:, 0] * s[0] * np.sign(vt[0, np.abs(vt[0]).argmax()])


def _two_means(x: np.ndarray) -> np.ndarray:
    """Two groups of least spread; starts from the halves along the first axis, so that no luck is involved."""
    high = _leading_scores(x) > 0
    for _ in range(100):
        centres = np.stack([x[~high].mean(axis=0), x[high].mean(axis=0)])
        now = ((x[:, None] - centres) ** 2).sum(axis=2).argmin(axis=1) == 1
        if (now == high).all():
            break
        high = now
    return high


def blood_cells(n_genes: int) -> Blood:
    """The 656 cells of the four types with their `n_genes` most variable genes, in alphabetical order of the types."""
    from scmods import datasets

    source = datasets.load("pbmc68k")
    label = source.obs["cell_type"].astype(str).to_numpy()
    rows = np.flatnonzero(np.isin(label, list(MEMBERS)))
    _checks.integer("n_genes", n_genes, 30, source.n_vars, "The blood cells have no more genes.")
    x = source.X[rows].toarray().astype(np.float64)
    most = np.sort(np.argsort(-x.var(axis=0), kind="stable")[:n_genes])
    return Blood(
        x=x[:, most],
        totals=source.obs["n_counts"].to_numpy(dtype=np.float64)[rows],
        codes=np.array([TYPES.index(MEMBERS[name]) for name in label[rows]]),
        genes=source.var_names.to_numpy(dtype=str)[most],
        names=source.obs_names.to_numpy(dtype=str)[rows],
    )
