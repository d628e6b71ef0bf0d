"""Cell graphs: exact neighbours, Laplacians, their lowest eigenpairs, and what follows from them.

The path is ``knn`` -> ``adjacency`` -> ``laplacian`` -> ``eigenpairs``; ``extension_weights`` and ``extend``
carry the result to new cells, ``align`` and ``canonical_correlations`` compare two results, ``pca`` makes the
coordinates that ``knn`` starts from. Everything is float64 and deterministic.
"""

from scmods.graph._compare import align, canonical_correlations
from scmods.graph._eigen import Eigenpairs, eigenpairs, participation_ratio
from scmods.graph._extension import extend, extension_weights
from scmods.graph._matrices import adjacency, components, joining_k, laplacian
from scmods.graph._neighbors import knn, knn_query
from scmods.graph._pca import Pca, pca

__all__ = [
    "Eigenpairs",
    "Pca",
    "adjacency",
    "align",
    "canonical_correlations",
    "components",
    "eigenpairs",
    "extend",
    "extension_weights",
    "joining_k",
    "knn",
    "knn_query",
    "laplacian",
    "participation_ratio",
    "pca",
]
