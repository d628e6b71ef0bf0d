"""The spatial moving average prior through its sparse factor: covariance A A^T with A = I + rho W."""

from __future__ import annotations

from functools import cached_property
from typing import Any

import numpy as np
from scipy import sparse

from scmods import _checks
from scmods.smoother.rho import check_rho, check_weights

__all__ = ["Sma"]

DENSE = 5000  # above this many spots the explicit precision is refused: it has no zeros


class Sma:
    r"""Moving average prior, x = A e with independent e and :math:`A = I + \rho W`.

    Its precision :math:`Q = (A A^\top)^{-1}` has no zeros, but the factor is sparse: the quadratic form
    :math:`x^\top Q x = \lVert A^{-1} x \rVert^2` is one sparse solve.

    Parameters
    ----------
    w
        Weights, spots x spots: scipy sparse, dense numpy, or an object with the attribute ``swm_scaled``. Not negative;
        it may be asymmetric.
    rho
        Autocorrelation. -1 / rho must be no eigenvalue of `w`.
    standardize
        Divide the rows of A by their norms, which makes the covariance a correlation matrix.

    Attributes
    ----------
    factor
        A, CSR.
    rho, standardize
        As given.

    Raises
    ------
    ValueError
        Bad weights (see :func:`scmods.smoother.precision`), or a singular I + rho W.

    Warns
    -----
    NumericalWarning
        `rho` outside ``rho_range(w, "sma")``: the factor is invertible, but a field is no longer a smoothed one.

    Examples
    --------
    >>> import numpy as np
    >>> a = Sma(np.array([[0.0, 1.0], [1.0, 0.0]]), 0.5)
    >>> a.solve(np.array([1.5, 1.5])).round(6).tolist()
    [1.0, 1.0]
    """

    def __init__(self, w: Any, rho: float = 0.5, *, standardize: bool = False) -> None:
        weights = check_weights(w, "sma")
        self.rho = check_rho(weights, "sma", rho)
        self.standardize = standardize
        a = (sparse.eye_array(weights.shape[0]) + self.rho * weights).tocsr()
        if standardize:
            norm = np.sqrt(a.multiply(a).sum(axis=1))
            a = (sparse.diags_array(1 / norm) @ a).tocsr()
        self.factor = a
        self._lu  # noqa: B018 - a singular factor is refused here and not at the first solve

    @property
    def n(self) -> int:
        """Number of spots."""
        return self.factor.shape[0]

    @cached_property
    def _lu(self) -> Any:
        from scipy.sparse.linalg import splu

        try:
            lu = splu(self.factor.tocsc())
        except RuntimeError as error:
            if "singular" not in str(error):
                raise
            pivots = np.zeros(1)
        else:
            pivots = np.abs(lu.U.diagonal())
        if not pivots.min() > 1e-12 * np.abs(self.factor.data).max():
            _checks.fail(
                f"I + rho W is singular at rho={self.rho:g}: -1/rho = {-1 / self.rho:g} is an eigenvalue of the",
                "weights, so the moving average has no precision.",
                "Choose rho inside `smoother.rho_range(w, 'sma')`.",
            )
        return lu

    def _rows(self, values: np.ndarray) -> np.ndarray:
        array = _checks.numeric("`x`", values)
        if array.ndim not in (1, 2) or len(array) != self.n:
            _checks.fail(
                f"`x` has shape {array.shape}, but must be ({self.n},) or ({self.n}, columns): one row for each spot.",
                "Transpose it when it is groups x spots: `x.T`.",
            )
        return array

    def solve(self, x: np.ndarray) -> np.ndarray:
        """A^-1 x.

        Parameters
        ----------
        x
            (spots,) or (spots, columns).
        """
        return self._lu.solve(self._rows(x))

    def solve_transpose(self, x: np.ndarray) -> np.ndarray:
        """A^-T x.

        Parameters
        ----------
        x
            (spots,) or (spots, columns).
        """
        return self._lu.solve(self._rows(x), trans="T")

    def apply(self, x: np.ndarray) -> np.ndarray:
        """A x: turns independent standard normal values into a field of this prior.

        Parameters
        ----------
        x
            (spots,) or (spots, columns).
        """
        return self.factor @ self._rows(x)

    def quadratic(self, x: np.ndarray) -> np.ndarray:
        """x^T Q x for every column.

        Parameters
        ----------
        x
            (spots,) or (spots, columns).
        """
        return (self.solve(x) ** 2).sum(axis=0)

    def covariance(self) -> sparse.csr_array:
        """A A^T, sparse: zero beyond two steps of the graph."""
        return (self.factor @ self.factor.T).tocsr()

    def variance(self) -> np.ndarray:
        """Prior variance of every spot, (spots,)."""
        return np.asarray(self.factor.multiply(self.factor).sum(axis=1))

    def precision(self) -> np.ndarray:
        """The dense precision matrix, for at most 5,000 spots."""
        if self.n > DENSE:
            _checks.fail(
                f"The precision of the moving average has no zeros: {self.n} x {self.n} values take"
                f" {self.n**2 * 8e-9:.1f} GB.",
                f"Expected at most {DENSE} spots.",
                "Use the sparse factor: `smoother.Sma(w, rho).quadratic(x)`.",
            )
        inverse = self.solve(np.eye(self.n))
        return inverse.T @ inverse
