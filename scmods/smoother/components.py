"""Principal components that are smooth over the tissue: eigenvectors, plain and with a contrastive term."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from scipy import sparse

from scmods import _checks
from scmods.smoother import _models
from scmods.smoother.factor import square
from scmods.smoother.keys import Keys

if TYPE_CHECKING:
    from anndata import AnnData

__all__ = ["SpatialComponents", "effective_smoothing", "solve_spatial_pca", "spatial_pca"]

DENSE = 1500  # genes (or spots) up to which all eigenvectors are computed


@dataclass(frozen=True)
class SpatialComponents:
    """Components of a spatial PCA.

    Attributes
    ----------
    loadings
        (genes, comps), orthonormal; the largest entry of each is positive.
    scores
        (spots, comps): centred data times loadings.
    eigenvalues
        Variance minus strength times roughness of every component, descending.
    variance
        Mean squared score.
    roughness
        Score^T Q score / spots.
    smoothing
        The effective strength.
    """

    loadings: np.ndarray
    scores: np.ndarray
    eigenvalues: np.ndarray
    variance: np.ndarray
    roughness: np.ndarray
    smoothing: float


def effective_smoothing(q: Any, smoothing: float, contrast: float) -> float:
    r"""Strength of the plain problem that a contrastive one is equal to.

    The contrastive loss subtracts `contrast` times the expected roughness of randomly permuted spots. For centred data
    that expectation is :math:`(a - b)` times the variance, with :math:`a = \mathrm{tr}\,Q / n` and b the mean
    off-diagonal entry of Q, so only the strength changes:

    .. math:: \lambda_\text{eff} = \frac{\lambda}{1 + \lambda r (a - b)} < \frac{1}{r (a - b)}

    Parameters
    ----------
    q
        Precision, spots x spots.
    smoothing
        :math:`\lambda`.
    contrast
        r, at least 0.

    Examples
    --------
    >>> effective_smoothing(np.array([[1.0, -1.0], [-1.0, 1.0]]), 1.0, 0.5)
    0.5
    """
    q = square("The precision matrix", q)
    n, trace = q.shape[0], float(q.diagonal().sum())
    b = (float(q.sum()) - trace) / (n * (n - 1)) if n > 1 else 0.0
    return float(smoothing / (1 + smoothing * contrast * (trace / n - b)))


class _Centred:
    """Centred spots x genes data that stay sparse: products only."""

    def __init__(self, y: Any) -> None:
        self.y, self.mean = y, np.asarray(y.mean(axis=0)).ravel()
        self.shape = y.shape

    def times(self, u: np.ndarray) -> np.ndarray:
        """Y u, spots first."""
        return np.asarray(self.y @ u) - self.mean @ u

    def back(self, h: np.ndarray) -> np.ndarray:
        """Y^T h, genes first."""
        return np.asarray(self.y.T @ h) - np.multiply.outer(self.mean, h.sum(axis=0))

    def dense(self) -> np.ndarray:
        return (self.y.toarray() if sparse.issparse(self.y) else self.y) - self.mean


def solve_spatial_pca(
    y: Any, q: Any, *, n_comps: int, smoothing: float, contrast: float = 0.0
) -> SpatialComponents:
    r"""Orthonormal U that minimises :math:`-\lVert YU \rVert^2 + \lambda\,\mathrm{tr}(U^\top Y^\top Q Y U)`, Y centred.

    U holds the leading eigenvectors of :math:`Y^\top (I - \lambda Q) Y`.

    Parameters
    ----------
    y
        (spots, genes), dense or scipy sparse; genes are centred here.
    q
        Precision, spots x spots.
    n_comps
        Number of components, below the number of spots and of genes.
    smoothing, contrast
        Strength and contrastive ratio, see `effective_smoothing`.

    Returns
    -------
    See `SpatialComponents`.

    Raises
    ------
    ValueError
        Too many components, a negative strength, shapes that do not fit.

    Warns
    -----
    NumericalWarning
        Components with a negative eigenvalue: rougher than they are strong.

    Notes
    -----
    All eigenvectors of a genes x genes matrix up to 1,500 genes; of a spots x spots one when there are fewer spots
    than genes and at most 1,500; Lanczos with products of the (sparse) data otherwise.

    Examples
    --------
    >>> y = np.array([[0.0, 1.0], [1.0, 0.0], [2.0, 1.0], [3.0, 0.0]])
    >>> chain = np.diag([1.0, 2.0, 2.0, 1.0]) - np.eye(4, k=1) - np.eye(4, k=-1)
    >>> solve_spatial_pca(y, chain, n_comps=1, smoothing=0.1).loadings.round(3).ravel().tolist()
    [0.978, -0.21]
    """
    q = square("The precision matrix", q)
    if y.ndim != 2 or q.shape[0] != y.shape[0]:
        _checks.fail(
            f"`y` has shape {tuple(y.shape)} and the precision matrix {q.shape}, but both must have a row per spot."
        )
    most = min(y.shape[0] - 1, y.shape[1])
    _checks.integer("n_comps", n_comps, 1, most, f"There are {y.shape[0]} spots and {y.shape[1]} genes.")
    _checks.number("smoothing", smoothing, 0.0, why="0 is ordinary PCA.")
    _checks.number("contrast", contrast, 0.0, why="0 is no contrast.")
    strength = effective_smoothing(q, smoothing, contrast)
    data = _Centred(y)
    u = _fixed(_leading(data, q, n_comps, strength))
    h = data.times(u)
    variance, roughness = (h**2).mean(axis=0), np.einsum("ij,ij->j", h, q @ h) / len(h)
    values = variance - strength * roughness
    if (values <= 0).any():
        _checks.warn(
            f"{int((values <= 0).sum())} of {n_comps} components are rougher than they are strong at a strength of "
            f"{strength:.3g}. Use fewer components, n_comps={max(1, int((values > 0).sum()))}, or less smoothing.",
            level=4,
        )
    return SpatialComponents(u, h, values, variance, roughness, strength)


def _leading(data: _Centred, q: sparse.csr_array, k: int, strength: float) -> np.ndarray:
    n, genes = data.shape
    if genes <= DENSE:
        y = data.dense()
        return _top(y.T @ (y - strength * (q @ y)), k)
    if n <= DENSE:
        # Y = P S V^T: the eigenvectors with non-zero eigenvalue lie in the span of V
        p, s, vt = np.linalg.svd(data.dense(), full_matrices=False)
        keep = s > 1e-12 * s[0]
        p, s, vt = p[:, keep], s[keep], vt[keep]
        small = (p.T @ (p - strength * (q @ p))) * np.outer(s, s)
        return vt.T @ _top(small, k)
    from scipy.sparse.linalg import LinearOperator, eigsh

    def product(u: np.ndarray) -> np.ndarray:
        h = data.times(u.reshape(genes, -1))
        return data.back(h - strength * (q @ h))

    operator = LinearOperator((genes, genes), matvec=product, matmat=product, dtype=np.float64)
    start = np.random.default_rng(0).normal(size=genes)
    values, vectors = eigsh(operator, k=k, which="LA", v0=start, tol=1e-12)
    return vectors[:, np.argsort(-values)]


def _top(m: np.ndarray, k: int) -> np.ndarray:
    from scipy.linalg import eigh

    size = len(m)
    if k > size:
        _checks.fail(f"The data have rank {size}, too low for {k} components. Use n_comps={size}.")
    return eigh((m + m.T) / 2, subset_by_index=(size - k, size - 1))[1][:, ::-1]


def _fixed(u: np.ndarray) -> np.ndarray:
    largest = np.abs(u).argmax(axis=0)
    return u * np.where(u[largest, np.arange(u.shape[1])] < 0, -1.0, 1.0)


def spatial_pca(
    adata: AnnData,
    *,
    n_comps: int = 10,
    smoothing: float = 0.1,
    contrast: float = 0.0,
    layer: str | None = None,
    use_highly_variable: bool = False,
    scale: bool = False,
    prior: str = "icar",
    rho: float = 0.99,
    standardize: bool = False,
    connectivity_key: str = "spatial_connectivities",
    key_added: str = "smoother",
    copy: bool = False,
) -> AnnData | None:
    """Components with much variance and little roughness over the tissue.

    Parameters
    ----------
    adata
        Spots x genes, log-normalised, with a graph in ``obsp``.
    n_comps
        Number of components.
    smoothing
        Strength: what one unit of roughness costs in units of variance.
    contrast
        Ratio of the contrastive term: the expected roughness of permuted spots is subtracted. For centred data that
        only lowers the strength, to the one reported.
    layer
        Layer to read; None for `X`.
    use_highly_variable
        Only genes with ``var["highly_variable"]``.
    scale
        Divide genes by their standard deviation first (makes sparse data dense); constant genes are left as they are.
    prior, rho, standardize
        Spatial prior, see `precision`.
    connectivity_key
        Graph in ``obsp``.
    key_added
        Prefix of what is written.
    copy
        Return a changed copy instead of writing to `adata`.

    Returns
    -------
    None, or the copy. Written, with the default prefix:

    - ``obsm["X_smoother_pca"]``: scores, float64 (spots, comps);
    - ``varm["smoother_PCs"]``: loadings, float64 (genes, comps), 0 for genes left out;
    - ``uns["smoother_pca"]``: ``variance``, ``roughness``, ``eigenvalues`` per component, ``smoothing``, ``contrast``,
      ``effective_smoothing``, settings.

    Raises
    ------
    MissingKeyError, ValueError
        No graph, no such layer or column, too many components.

    Warns
    -----
    NumericalWarning
        Components that are rougher than they are strong.

    Examples
    --------
    >>> from scmods import smoother
    >>> adata = smoother.tissue(6, 6)
    >>> smoother.spatial_weights(adata, n_neighbors=4)
    >>> smoother.spatial_pca(adata, n_comps=2, smoothing=0.1)
    >>> adata.obsm["X_smoother_pca"].shape
    (36, 2)
    """
    y = _models.values(adata, layer)
    genes = np.ones(adata.n_vars, dtype=bool)
    if use_highly_variable:
        _checks.key(
            adata, "var", "highly_variable", "Mark genes first: `scanpy.pp.highly_variable_genes(adata)`."
        )
        genes = adata.var["highly_variable"].to_numpy(dtype=bool)
        y = y[:, np.flatnonzero(genes)]
    if scale:
        y = y.toarray() if sparse.issparse(y) else y
        spread = y.std(axis=0, ddof=1)
        y = (y - y.mean(axis=0)) / np.where(spread > 0, spread, 1.0)
    how = {"prior": prior, "rho": rho, "standardize": standardize}
    q = _models.graph_precision(adata, connectivity_key=connectivity_key, **how)
    found = solve_spatial_pca(y, q, n_comps=n_comps, smoothing=smoothing, contrast=contrast)
    out, keys = _models.target(adata, copy=copy), Keys(key_added)
    loadings = np.zeros((adata.n_vars, n_comps))
    loadings[genes] = found.loadings
    out.obsm[keys.pca], out.varm[keys.loadings] = found.scores, loadings
    out.uns[keys.pca_info] = {
        "variance": found.variance,
        "roughness": found.roughness,
        "eigenvalues": found.eigenvalues,
        "smoothing": float(smoothing),
        "contrast": float(contrast),
        "effective_smoothing": found.smoothing,
        "prior": prior,
        "rho": float(rho),
        "scale": bool(scale),
    }
    return out if copy else None
