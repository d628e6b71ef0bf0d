"""Lowest non-zero eigenpairs of a graph Laplacian, each one checked."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from scipy import sparse
from scipy.sparse.csgraph import reverse_cuthill_mckee

from scmods import _checks
from scmods.graph import _solvers
from scmods.graph._lobpcg import multigrid
from scmods.graph._matrices import _square, components
from scmods.graph._signs import fix_signs

__all__ = ["Eigenpairs", "eigenpairs", "participation_ratio"]

RESIDUAL = 1e-5  # no pair with a larger residual is ever returned
DENSE_CELLS = 1000  # up to here the dense decomposition is the fastest as well as the surest

Solver = Callable[[_solvers.Problem], tuple[np.ndarray | None, int]]
SOLVERS: dict[str, Solver] = {
    "dense": _solvers.dense,
    "multigrid": multigrid,
    "shift_invert": _solvers.shift_invert,
    "chebyshev": _solvers.chebyshev,
}


@dataclass(frozen=True)
class Eigenpairs:
    """Lowest non-zero eigenpairs of a graph Laplacian.

    Attributes
    ----------
    values
        Eigenvalues, ascending, all above zero.
    vectors
        cells x pairs, unit norm, orthogonal to the null space; largest absolute entry of a column positive.
    residuals
        ``||L u - value u||`` of every pair, computed after the solver has finished.
    gaps
        Distance of every eigenvalue to the next one; a vector is defined up to about residual / gap, and of
        two eigenvalues with a small gap only the plane of the two vectors is.
    next_value
        The eigenvalue after the last one.
    n_components
        Connected components of the graph = exact zero eigenvalues, which are left out.
    labels
        Component of every cell, 0 the largest.
    method
        The solver that delivered: ``"dense"``, ``"shift_invert"``, ``"chebyshev"`` or ``"multigrid"``.
    n_products
        Sparse products with one vector (or solves) that it took.

    Examples
    --------
    >>> from scipy import sparse
    >>> from scmods import graph
    >>> chain = sparse.csr_array([[0.0, 1.0, 0.0], [1.0, 0.0, 1.0], [0.0, 1.0, 0.0]])
    >>> found = graph.eigenpairs(graph.laplacian(chain), 1)
    >>> type(found).__name__, found.values.round(6).tolist(), found.n_components
    ('Eigenpairs', [1.0], 1)
    """

    values: np.ndarray
    vectors: np.ndarray
    residuals: np.ndarray
    gaps: np.ndarray
    next_value: float
    n_components: int
    labels: np.ndarray
    method: str
    n_products: int


def participation_ratio(vectors: np.ndarray) -> np.ndarray:
    """Share of the cells that carry a vector: 1 / (n sum u^4) for unit columns, in (0, 1].

    A plane wave has 2/3, a vector that lives on 3% of the cells about 0.03: a clique, not a scale.

    Parameters
    ----------
    vectors
        cells x vectors; columns are scaled to unit norm first.

    Returns
    -------
    One number per column.

    Examples
    --------
    >>> import numpy as np
    >>> from scmods import graph
    >>> graph.participation_ratio(np.array([[0.5, 1.0], [0.5, 0.0], [0.5, 0.0], [0.5, 0.0]])).tolist()
    [1.0, 0.25]
    """
    u = vectors / np.linalg.norm(vectors, axis=0)
    return 1 / (len(u) * np.einsum("ij,ij->j", u**2, u**2))


def _null_vector(lap: sparse.csr_array, adjacency: sparse.sparray | None) -> np.ndarray:
    """Positive vector in the null space: ones, or roots of the degrees for a symmetric Laplacian."""
    n = lap.shape[0]
    scale = max(1.0, float(np.abs(lap.diagonal()).max(initial=0.0)))
    ones = np.ones(n)
    if np.abs(lap @ ones).max(initial=0.0) <= 1e-9 * scale:
        return ones
    if adjacency is not None:
        root = np.sqrt(np.asarray(adjacency.sum(axis=1)).ravel())
    else:
        root = np.sqrt(np.maximum(np.diff(lap.indptr) - 1.0, 0.0))  # degrees, if the graph is binary
    if len(root) != n or np.abs(lap @ root).max() > 1e-9 * scale * root.max():
        _checks.fail(
            "The matrix is not a Laplacian: neither the constant nor the square root of the degrees is in",
            "its null space.",
            "Make it with scmods.graph.laplacian(adjacency, kind=...); a weighted symmetric one also needs",
            "eigenpairs(laplacian, n_comps, adjacency=adjacency).",
        )
    return root


def _order(method: str, lap: sparse.csr_array, m: int) -> list[str]:
    """Solvers to try, the fastest for this graph first."""
    if method != "auto":
        return [method]
    n = lap.shape[0]
    if n <= DENSE_CELLS or m > n // 10:
        return ["dense"]
    return ["multigrid", "shift_invert", "chebyshev"] if _solvers.thin(lap) else ["multigrid", "chebyshev"]


def _reordered(lap: sparse.csr_array) -> tuple[sparse.csr_array, np.ndarray]:
    """The matrix without isolated cells, neighbours close in memory, and the cells in that order."""
    order = reverse_cuthill_mckee(lap, symmetric_mode=True)
    order = order[lap.diagonal()[order] > 0]
    lap = lap[order][:, order]
    lap.sort_indices()
    return lap, order


def _solve(
    problem: _solvers.Problem, method: str, m: int
) -> tuple[str, int, np.ndarray, np.ndarray, np.ndarray]:
    """Name, products, values, vectors and residuals of the first solver whose result passes the check."""
    reached: list[str] = []
    for name in _order(method, problem.lap, m):
        vectors, products = SOLVERS[name](problem)
        if vectors is None:
            reached.append(f"{name}: does not apply to this graph")
            continue
        values, vectors, residuals = problem.checked(vectors)
        if (residuals[:m] <= problem.limits(values)[:m]).all():
            return name, products, values, vectors, residuals
        reached.append(f"{name}: {residuals[:m].max():.1e}")
    _checks.fail(
        f"No solver reached a residual of {RESIDUAL:g} and {problem.tol:g} of the eigenvalue for {m} pairs",
        f"(largest residual: {', '.join(reached)}).",
        "Take fewer pairs, or a larger tolerance: eigenpairs(laplacian, n_comps, tol=1e-4).",
        kind=RuntimeError,
    )


def eigenpairs(
    laplacian: sparse.sparray,
    n_comps: int,
    *,
    adjacency: sparse.sparray | None = None,
    seed: int = 0,
    tol: float = 1e-6,
    method: str = "auto",
) -> Eigenpairs:
    """Lowest non-zero eigenpairs of a graph Laplacian: its frequencies, coarse to fine.

    The null space is known exactly (one vector per connected component) and is taken out before anything is
    solved.

    Parameters
    ----------
    laplacian
        Sparse symmetric Laplacian of either kind, from :func:`laplacian`.
    n_comps
        Number of pairs; one more is computed for the gap, so at most cells - components - 1.
    adjacency
        The graph; only needed for a symmetric Laplacian with weights.
    seed
        Of the random start of the iterative solvers; the result depends on it only within the tolerance.
    tol
        Largest residual relative to the eigenvalue. In any case residuals are at most 1e-5.
    method
        ``"dense"`` (exact, n^3), ``"multigrid"`` (LOBPCG with a multigrid V-cycle, about linear in the
        cells), ``"shift_invert"`` (sparse factorisation, for thin graphs such as trajectories),
        ``"chebyshev"`` (products only), or ``"auto"``: dense up to 1,000 cells, else multigrid; a result
        that fails its check is dropped and the next method tried.

    Returns
    -------
    Eigenpairs

    Raises
    ------
    ValueError
        Not a Laplacian; more pairs than there are.
    RuntimeError
        No solver reached the residual. A loose result is never returned.

    Notes
    -----
    Lanczos on the flipped matrix ``c - L`` is not offered: its tolerance is relative to c, so on thin graphs
    it returns wrong vectors without an error.

    Examples
    --------
    A ring of four cells has the frequencies 2, 2 and 4:

    >>> from scipy import sparse
    >>> from scmods import graph
    >>> ring = sparse.csr_array([[0, 1, 0, 1], [1, 0, 1, 0], [0, 1, 0, 1], [1, 0, 1, 0]], dtype=float)
    >>> graph.eigenpairs(graph.laplacian(ring), 2).values.round(6).tolist()
    [2.0, 2.0]
    """
    _checks.one_of("method", method, ("auto", *SOLVERS))
    tol = _checks.number("tol", tol, 1e-14, 1e-2)
    lap = _square("The Laplacian", laplacian)
    n = lap.shape[0]
    root = _null_vector(lap, adjacency)
    count, labels = components(lap)
    sizes = _checks.listing(np.bincount(labels)[:8].tolist())
    why = f"The graph has {n} cells in {count} components of sizes {sizes}; each takes one pair away."
    if n - count - 1 < 1:
        _checks.fail("The graph has too few edges for a single frequency.", why)
    m = _checks.integer("n_comps", n_comps, 1, n - count - 1, why)
    inner, order = _reordered(lap)
    inner_count, inner_labels = components(inner)
    null = _solvers.NullSpace(root[order], inner_labels, inner_count)
    problem = _solvers.Problem(inner, null, m + 1, tol, RESIDUAL, np.random.default_rng(seed))
    name, products, values, vectors, residuals = _solve(problem, method, m)
    full = np.zeros((n, m))
    full[order] = vectors[:, :m]
    return Eigenpairs(
        values=values[:m],
        vectors=fix_signs(full),
        residuals=residuals[:m],
        gaps=np.diff(values),
        next_value=float(values[m]),
        n_components=count,
        labels=labels,
        method=name,
        n_products=products,
    )
