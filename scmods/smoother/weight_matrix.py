"""The weight matrix as an object, with the methods of the original package."""

from __future__ import annotations

from typing import Any

import numpy as np
from scipy import sparse

from scmods import _arrays, _checks, graph
from scmods.smoother.factor import square
from scmods.smoother.graphs import distance_weights, knn_weights
from scmods.smoother.priors import precision, rho_range
from scmods.smoother.scaling import (
    isolated_spots,
    scale_by_expression,
    scale_by_labels,
    scale_by_similarity,
)

__all__ = ["SpatialWeightMatrix"]


class SpatialWeightMatrix:
    """Weights between spots, built from coordinates and then scaled, with the argument names of the original package.

    Every ``calc_weights_*`` starts anew; every ``scale_by_*`` multiplies what is there, so that scalings combine in any
    order.

    Parameters
    ----------
    swm
        Weights to start from, spots x spots (scipy sparse or dense); usually none.

    Attributes
    ----------
    swm
        Weights from the coordinates, CSR; None before ``calc_weights_*``.
    swm_scaled
        The weights after all scalings, CSR: those that priors use.
    config
        How they were made: ``config["weight"]`` and one entry for each scaling in ``config["scaling"]``.

    Examples
    --------
    >>> import numpy as np
    >>> w = SpatialWeightMatrix()
    >>> w.calc_weights_knn(np.array([[0.0, 0.0], [1.0, 0.0], [2.0, 0.1]]), k=2)
    >>> w.scale_by_identity(["a", "a", "b"], boundary_connectivity=0.5)
    >>> w.get_inv_cov("icar", rho=1).toarray().tolist()
    [[1.5, -1.0, -0.5], [-1.0, 1.5, -0.5], [-0.5, -0.5, 1.0]]
    """

    def __init__(self, swm: Any = None) -> None:
        self.swm: sparse.csr_array | None = None
        self.swm_scaled: sparse.csr_array | None = None
        self.config: dict[str, Any] = {}
        self._cache: dict[tuple[Any, ...], Any] = {}
        if swm is not None:
            self._start(square("The weight matrix", swm), {"method": "given"})

    def _start(self, w: sparse.csr_array, how: dict[str, Any]) -> None:
        self.swm, self.swm_scaled = w, w.copy()
        self.config = {"weight": how, "scaling": []}
        self._cache = {}

    def _scaled(self) -> sparse.csr_array:
        if self.swm_scaled is None:
            _checks.fail(
                "This SpatialWeightMatrix holds no weights yet.",
                "Call `w.calc_weights_knn(coords, k=6)` first.",
            )
        return self.swm_scaled

    def _scale(self, w: sparse.csr_array, how: dict[str, Any]) -> None:
        self.swm_scaled = w
        self.config["scaling"].append(how)
        self._cache = {}

    @property
    def components(self) -> np.ndarray:
        """(spots,) connected component of every spot; 0 is the largest."""
        return graph.components(self._scaled())[1]

    @property
    def n_components(self) -> int:
        """Number of connected components."""
        return graph.components(self._scaled())[0]

    @property
    def isolated(self) -> np.ndarray:
        """Indices of the spots without neighbour."""
        return isolated_spots(self._scaled())

    def __repr__(self) -> str:
        if self.swm_scaled is None:
            return "SpatialWeightMatrix(empty)"
        n, alone = self.swm_scaled.shape[0], self.isolated
        degree = (self.swm_scaled.nnz - len(alone)) / n
        return (
            f"SpatialWeightMatrix({n} spots, {degree:.2f} neighbours on average, "
            f"{self.n_components} components, {len(alone)} isolated spots)"
        )

    def calc_weights_knn(
        self, coords: Any, k: int = 6, *, symmetric: bool = True, row_scale: bool = False, library: Any = None
    ) -> None:
        """Weights of 1 between nearest neighbours, see :func:`knn_weights`.

        Parameters
        ----------
        coords
            spots x 2 or 3.
        k
            Neighbours of each spot.
        symmetric
            Keep mutual neighbours only.
        row_scale
            Divide by the row sums.
        library
            Section of every spot.
        """
        w = knn_weights(coords, k, mutual=symmetric, row_scale=row_scale, library=library)
        self._start(w, {"method": "knn", "k": k, "symmetric": symmetric, "row_scale": row_scale})

    def calc_weights_dist(
        self,
        coords: Any,
        *,
        scale_coords: bool = True,
        radius_cutoff: float = 1.0,
        band_width: float = 0.1,
        dist_metric: str = "euclidean",
        row_scale: bool = True,
        library: Any = None,
    ) -> None:
        """Gaussian weights within a radius, see :func:`distance_weights`.

        Parameters
        ----------
        coords
            spots x 2 or 3.
        scale_coords
            Measure the kernel in units of the largest extent.
        radius_cutoff
            Largest distance, in the unit of the coordinates.
        band_width
            Width of the kernel.
        dist_metric
            ``"euclidean"``, ``"manhattan"`` or ``"chebyshev"``.
        row_scale
            Divide by the row sums, as the original does; icar and car then refuse the matrix: set it to False for them.
        library
            Section of every spot.
        """
        w = distance_weights(
            coords,
            radius_cutoff,
            bandwidth=band_width,
            scale_coords=scale_coords,
            dist_metric=dist_metric,
            row_scale=row_scale,
            library=library,
        )
        how = {"scale_coords": scale_coords, "radius_cutoff": radius_cutoff, "band_width": band_width}
        self._start(w, {"method": "dist", **how, "dist_metric": dist_metric, "row_scale": row_scale})

    def scale_by_expr(
        self,
        expr: Any,
        dist_metric: str = "cosine",
        reduce: str = "pca",
        dim: int = 10,
        *,
        row_scale: bool = False,
    ) -> None:
        """Weaken edges between spots whose expression differs, see :func:`scale_by_expression`.

        Parameters
        ----------
        expr
            genes x spots (the orientation of the original), dense or sparse.
        dist_metric
            ``"cosine"`` or ``"euclidean"``.
        reduce
            ``"pca"`` or ``"none"``.
        dim
            Components.
        row_scale
            Divide by the row sums.
        """
        w = self._scaled()
        if hasattr(expr, "detach"):
            expr = _arrays.to_numpy(expr)
        shape = np.shape(expr)
        if len(shape) != 2 or shape[1] != w.shape[0]:
            _checks.fail(
                f"`expr` has shape {shape}, but must be genes x spots with {w.shape[0]} spots.",
                "Transpose an AnnData matrix: `w.scale_by_expr(adata.X.T)`.",
            )
        spots_first = expr.T.tocsr() if sparse.issparse(expr) else np.asarray(expr).T
        scaled = scale_by_expression(
            w, spots_first, dist_metric=dist_metric, reduce=reduce, n_comps=dim, row_scale=row_scale
        )
        self._scale(
            scaled, {"source": "expression", "dist_metric": dist_metric, "reduce": reduce, "dim": dim}
        )

    def scale_by_identity(
        self, ids: Any, boundary_connectivity: float = 0, *, row_scale: bool = False
    ) -> None:
        """Weaken edges between different labels, see :func:`scale_by_labels`.

        Parameters
        ----------
        ids
            (spots,) labels.
        boundary_connectivity
            Factor in [0, 1] that multiplies those edges; 0 cuts them.
        row_scale
            Divide by the row sums.
        """
        scaled = scale_by_labels(self._scaled(), ids, boundary=boundary_connectivity, row_scale=row_scale)
        self._scale(scaled, {"source": "identity", "boundary_connectivity": boundary_connectivity})

    def scale_by_similarity(self, pairwise: Any, *, row_scale: bool = False) -> None:
        """Multiply edges by a similarity, see the function of the same name.

        Parameters
        ----------
        pairwise
            spots x spots, symmetric, not negative.
        row_scale
            Divide by the row sums.
        """
        self._scale(
            scale_by_similarity(self._scaled(), pairwise, row_scale=row_scale), {"source": "similarity"}
        )

    def rho_range(self, model: str) -> tuple[float, float]:
        """Range of the autocorrelation for this graph, see :func:`scmods.smoother.rho_range`.

        Parameters
        ----------
        model
            Name of the prior.
        """
        return rho_range(self._scaled(), model)

    def get_inv_cov(
        self,
        model: str,
        rho: float = 1,
        *,
        cached: bool = True,
        standardize: bool = False,
        return_sparse: bool = True,
    ) -> sparse.csr_array | np.ndarray:
        """Precision matrix of a prior on these weights, see :func:`scmods.smoother.precision`.

        Parameters
        ----------
        model
            ``"icar"``, ``"car"``, ``"sar"``, ``"isar"`` or ``"sma"``.
        rho
            Autocorrelation.
        cached
            Keep the result and give it again for the same arguments until the weights change. Do not write into it.
        standardize
            Scale the covariance to a correlation matrix.
        return_sparse
            CSR; otherwise a dense array.
        """
        w = self._scaled()
        name = (model, rho, standardize)
        q = self._cache.get(name) if cached else None
        if q is None:
            q = precision(w, model, rho, standardize=standardize)
            if cached:
                self._cache[name] = q
        return q if return_sparse else q.toarray()
