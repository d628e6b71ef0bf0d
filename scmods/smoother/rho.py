"""What a spatial prior asks of its graph: weights that fit, and an autocorrelation inside the range of the graph."""

from __future__ import annotations

from typing import Any

import numpy as np
from scipy import sparse

from scmods import _checks
from scmods.smoother.factor import asymmetry, square

__all__ = ["PRIORS", "check_rho", "check_weights", "is_improper", "rho_range", "symmetrize"]

PRIORS = ("icar", "car", "sar", "isar", "sma")
SYMMETRIC = ("icar", "car")
SMALL = 400  # up to here all eigenvalues are computed


def symmetrize(w: Any) -> sparse.csr_array:
    """Mean of a weight matrix and its transpose.

    Parameters
    ----------
    w
        Weights, spots x spots.

    Returns
    -------
    CSR; an edge listed in one direction keeps half its weight.

    Examples
    --------
    >>> import numpy as np
    >>> symmetrize(np.array([[0.0, 1.0], [0.0, 0.0]])).toarray().tolist()
    [[0.0, 0.5], [0.5, 0.0]]
    """
    matrix = square("The weight matrix", getattr(w, "swm_scaled", w))
    return ((matrix + matrix.T) / 2).tocsr()


def check_weights(w: Any, prior: str) -> sparse.csr_array:
    """Weights that fit a prior, as float64 CSR.

    Parameters
    ----------
    w
        Weights, spots x spots: scipy sparse, dense numpy, or an object with the attribute ``swm_scaled``.
    prior
        One of ``"icar"``, ``"car"``, ``"sar"``, ``"isar"``, ``"sma"``.

    Raises
    ------
    ValueError
        Unknown prior; negative or non-finite weights; for icar and car asymmetric ones; for icar and isar spots
        whose weights sum to 0.
    """
    _checks.one_of("prior", prior, PRIORS)
    matrix = square("The weight matrix", getattr(w, "swm_scaled", w))
    negative = np.flatnonzero(matrix.data < 0)
    if len(negative):
        rows = np.repeat(np.arange(matrix.shape[0]), np.diff(matrix.indptr))[negative[:3]]
        entries = zip(rows, matrix.indices[negative[:3]], matrix.data[negative[:3]], strict=True)
        _checks.fail(
            f"The weight matrix has {len(negative)} negative entries; first:",
            ", ".join(f"({i}, {j}) = {v:.3g}" for i, j, v in entries) + ".",
            "Expected weights of at least 0: a negative one rewards differences between neighbours.",
            "Cut them: `w.data.clip(0, out=w.data)`.",
        )
    if prior in SYMMETRIC:
        row, column, gap = asymmetry(matrix)
        if gap > 1e-10 * matrix.data.max(initial=0.0):
            _checks.fail(
                f"prior={prior!r} needs symmetric weights, but entries ({row}, {column}) = {matrix[row, column]:.4g}",
                f"and ({column}, {row}) = {matrix[column, row]:.4g} differ.",
                "Row-scaled and directed graphs are asymmetric.",
                "Use `smoother.symmetrize(w)`, make the graph with row_scale=False, or use prior='isar'.",
            )
    degrees = matrix.sum(axis=1)
    if prior in ("icar", "isar") and (degrees <= 0).any():
        empty = np.flatnonzero(degrees <= 0)
        _checks.fail(
            f"{len(empty)} spots have no weight at all; first: {_checks.listing(empty, 3)}.",
            f"prior={prior!r} divides by the sum of the weights of a spot.",
            "Make the graph with `smoother.knn_weights`, which gives an isolated spot a weight with itself.",
        )
    return matrix


def is_improper(prior: str, rho: float) -> bool:
    """Whether the prior has no covariance whatever the graph: icar and isar with rho = 1.

    Parameters
    ----------
    prior
        Name of the prior.
    rho
        Autocorrelation.
    """
    return prior in ("icar", "isar") and rho == 1


def _extremes(matrix: sparse.csr_array) -> tuple[float, float]:
    """Smallest and largest eigenvalue of a symmetric matrix; Lanczos above SMALL rows."""
    n = matrix.shape[0]
    if n <= SMALL:
        values = np.linalg.eigvalsh(matrix.toarray())
        return float(values[0]), float(values[-1])
    from scipy.sparse.linalg import eigsh

    # fixed starts, so that the range is the same at every call; the error of an eigenvalue is of the order of the
    # square of the tolerance
    generator = np.random.default_rng(0)
    how = {"k": 1, "tol": 1e-7, "ncv": 60, "return_eigenvectors": False}
    high = eigsh(matrix, which="LA", v0=generator.uniform(0.5, 1.5, n), **how)
    low = eigsh(matrix, which="SA", v0=generator.normal(size=n), **how)
    return float(low[0]), float(high[0])


def _radius(matrix: sparse.csr_array) -> float:
    """Largest absolute eigenvalue of a non-negative matrix, which is itself an eigenvalue (Perron, Frobenius)."""
    if matrix.shape[0] <= SMALL:
        return float(np.abs(np.linalg.eigvals(matrix.toarray())).max())
    from scipy.sparse.linalg import eigs

    start = np.random.default_rng(0).uniform(0.5, 1.5, matrix.shape[0])
    return float(eigs(matrix, k=1, which="LR", v0=start, return_eigenvectors=False)[0].real)


def _normalised(matrix: sparse.csr_array) -> sparse.csr_array:
    root = sparse.diags_array(1 / np.sqrt(matrix.sum(axis=1)))
    return (root @ matrix @ root).tocsr()


def rho_range(w: Any, prior: str) -> tuple[float, float]:
    r"""Open interval of the autocorrelation in which a prior is a proper, meaningful one on this graph.

    Parameters
    ----------
    w
        Weights, spots x spots (symmetric for icar and car).
    prior
        One of ``"icar"``, ``"car"``, ``"sar"``, ``"isar"``, ``"sma"``.

    Returns
    -------
    low, high
        Ends of the interval around 0; infinite where nothing limits it. For icar and car the precision is positive
        definite exactly inside. For isar, sar and sma it is the largest interval in which the sparse factor
        (:math:`I - \rho W` or :math:`I + \rho W`) stays invertible; for an asymmetric graph the part of it within the
        spectral radius.

    Raises
    ------
    ValueError
        Unknown prior; weights that do not fit it, as for :func:`scmods.smoother.precision`.

    Notes
    -----
    Extreme eigenvalues by Lanczos (Arnoldi for asymmetric graphs), ten digits or more. icar: 1 / eigenvalues of
    D^-1/2 W D^-1/2, whose largest is 1; car: 1 / eigenvalues of W.

    Examples
    --------
    >>> import numpy as np
    >>> low, high = rho_range(np.array([[0.0, 1.0, 0.0], [1.0, 0.0, 1.0], [0.0, 1.0, 0.0]]), "car")
    >>> round(low, 4), round(high, 4)
    (-0.7071, 0.7071)
    """
    matrix = check_weights(w, prior)
    scale = np.abs(matrix.data).max(initial=0.0)
    symmetric = asymmetry(matrix)[2] <= 1e-10 * scale
    if prior in ("icar", "isar"):
        low, high = (_extremes(_normalised(matrix))[0] if symmetric else -1.0), 1.0
    elif symmetric:
        low, high = _extremes(matrix)
    else:
        high = _radius(matrix)
        low = -high
    tiny = 1e-14 * max(scale, 1e-300)
    lower = 1 / low if low < -tiny else -np.inf
    upper = 1 / high if high > tiny else np.inf
    return (-upper, -lower) if prior == "sma" else (lower, upper)


def check_rho(w: sparse.csr_array, prior: str, rho: float) -> float:
    """The autocorrelation as float, refused where the prior would be no prior.

    Parameters
    ----------
    w
        Checked weights.
    prior
        Name of the prior.
    rho
        Autocorrelation.

    Raises
    ------
    ValueError
        Outside `rho_range` for icar, car and isar (1 is allowed for icar and isar: improper).

    Warns
    -----
    NumericalWarning
        Outside `rho_range` for sar and sma.
    """
    value = _checks.number("rho", rho)
    bound = 1.0 if prior in ("icar", "isar") else max(w.sum(axis=1).max(), 0.0)
    # the largest row sum bounds every eigenvalue, so that the usual values need no Lanczos
    if abs(value) * bound < 1 or is_improper(prior, value):
        return value
    low, high = rho_range(w, prior)
    if low < value < high:
        return value
    interval = f"({low:.4g}, {high:.4g})"
    if prior in ("sar", "sma"):
        _checks.warn(
            f"rho={value:g} is outside {interval}, the range of prior={prior!r} on this graph: neighbours no longer "
            "enter with falling weight. Choose a value inside, or use prior='isar' (row-scaled weights).",
            level=4,
        )
        return value
    closed = " (rho=1 is allowed, but improper: it has no covariance)" if prior != "car" else ""
    _checks.fail(
        f"rho={value:g} is outside the range of prior={prior!r} on this graph: {interval}{closed}.",
        "There the precision matrix is not positive definite, and the loss has no minimum."
        if prior != "isar"
        else "There the precision matrix can be singular.",
        "Choose a value inside; `smoother.rho_range(w, prior)` gives the ends.",
    )
    return value
