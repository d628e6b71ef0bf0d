"""The contrastive spatial loss: smoother than the same values in random places."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from torch import Tensor

from scmods import _checks
from scmods.smoother.spatial_loss import SpatialLoss

__all__ = ["ContrastiveSpatialLoss"]


class ContrastiveSpatialLoss(SpatialLoss):
    r"""Spatial loss minus a share of its mean over all permutations of the spots, in closed form.

    .. math:: L(X) = \frac{1}{Gn}\sum_g c_g \left( x_g^\top Q x_g - r\, x_g^\top E\, x_g \right), \qquad
              E = \mathbb{E}[P^\top Q P] = (a - b) I + b\,\mathbf{1}\mathbf{1}^\top

    with a the mean diagonal and b the mean off-diagonal entry of Q. A constant field is no longer the cheapest one. For
    "icar" with rho=1, not standardised, the two terms are in the ratio of Geary's C, so the loss of a group is negative
    if and only if its C is below r.

    Parameters
    ----------
    prior
        As in `SpatialLoss`, but not "kl".
    spatial_weights, rho, use_sparse, standardize_cov
        As in `SpatialLoss`.
    num_perm
        Accepted for the signature of the original and unused: the mean over all permutations is exact.
    neg2pos_ratio
        r, the share of the permuted term, not negative. Above `max_ratio` the loss is not bounded below.
    lower_bound
        A loss below this bound (times groups x spots when not normalised) raises a `NumericalWarning`. The original
        clips there, which sets the gradient to zero and stops the model; here nothing is clipped. None: never warn.
    check_positive_definite
        Call `check_positive_definite` at once.

    Attributes
    ----------
    max_ratio
        The largest r that keeps the loss bounded below.
    expectation
        a and b of every matrix, a buffer (matrices, 2).

    Raises
    ------
    ValueError
        prior="kl", a negative ratio, and as `SpatialLoss`.

    Notes
    -----
    Deterministic; costs one more pass over the field than `SpatialLoss`. After Zhu, Sun, Koniusz, Contrastive
    Laplacian Eigenmaps, 2021, arXiv 2201.05493.

    Examples
    --------
    A chain of three spots, rho=1: 5 for the field, and twice its squared deviations of 42 / 9 for the mean over
    permutations (a = 4/3, b = -2/3).

    >>> chain = np.array([[0.0, 1.0, 0.0], [1.0, 0.0, 1.0], [0.0, 1.0, 0.0]])
    >>> loss = ContrastiveSpatialLoss("icar", chain, standardize_cov=False)
    >>> print(f"{float(loss(torch.tensor([[0.0, 1.0, 3.0]]), normalize=False)):.4f}")
    0.3333
    """

    def __init__(
        self,
        prior: str = "icar",
        spatial_weights: Any = None,
        rho: float = 1,
        use_sparse: bool = True,  # noqa: FBT001, FBT002 - the original's signature
        standardize_cov: bool = True,  # noqa: FBT001, FBT002
        num_perm: int = 10,
        neg2pos_ratio: float = 0.5,
        lower_bound: float | None = -1,
        check_positive_definite: bool = False,  # noqa: FBT001, FBT002
    ) -> None:
        if prior == "kl":
            _checks.fail(
                "prior='kl' has no precision matrix to permute.", "Use prior='icar', or SpatialLoss('kl')."
            )
        super().__init__(prior, spatial_weights, rho, use_sparse, standardize_cov)
        self.num_perm = _checks.integer("num_perm", num_perm, 0)
        self.neg2pos_ratio = _checks.number("neg2pos_ratio", neg2pos_ratio, 0.0)
        self.lower_bound = None if lower_bound is None else _checks.number("lower_bound", lower_bound)
        pairs = torch.stack([torch.stack(ab) for ab in self.form.expectation()])
        self.register_buffer("expectation", pairs)
        self._max_ratio: float | None = None
        if check_positive_definite:
            self.check_positive_definite()

    def extra_repr(self) -> str:
        """What ``print(loss)`` shows."""
        return f"{super().extra_repr()}, neg2pos_ratio={self.neg2pos_ratio:g}"

    def _load_from_state_dict(self, *args: Any) -> None:
        super()._load_from_state_dict(*args)
        self._max_ratio = None

    @property
    def max_ratio(self) -> float:
        """The largest r with Q - r E positive semi-definite, for the matrix where it is smallest.

        The smallest generalised eigenvalue of (Q, E), by Lanczos on the inverse; computed once. 0 for an improper prior
        whose free direction is not the constant field: a standardised one, or a tissue in several pieces.
        """
        if self._max_ratio is None:
            from scmods.smoother.priors import is_improper

            improper = is_improper(self.prior, self.rho)
            pairs = self.expectation.double().cpu().numpy()
            self._max_ratio = _largest_ratio(self.form, pairs, improper=improper)
        return self._max_ratio

    def check_positive_definite(self, n_tests: int = 10) -> bool:
        """Whether the loss is bounded below; warns when it is not.

        Parameters
        ----------
        n_tests
            Accepted for the signature of the original and unused: the answer is exact.

        Returns
        -------
        True when `neg2pos_ratio` is at most `max_ratio`.
        """
        _checks.integer("n_tests", n_tests)
        if self.neg2pos_ratio <= self.max_ratio:
            return True
        _checks.warn(
            f"neg2pos_ratio={self.neg2pos_ratio:g} is above max_ratio={self.max_ratio:.3g}: Q - r E is not positive "
            "semi-definite, so that smooth fields of large amplitude make the loss as negative as they like. "
            "Use a smaller ratio, or fix the scale of the field (for instance orthonormal loadings)."
        )
        return False

    def _quadratic(self, x: Tensor, *, normalize: bool) -> Tensor:
        positive = super()._quadratic(x, normalize=normalize)
        a, b = self.expectation.unbind(1)
        mean = x.mean(1, keepdim=True)
        n = x.shape[1]
        # centred, because a and b nearly cancel on constants
        spread = ((x - mean) ** 2).sum(1)
        negative = (a - b) * spread + (a + (n - 1) * b) * n * mean[:, 0] ** 2
        size = x.numel()
        loss = positive - self.neg2pos_ratio * (self.confidences * negative).sum() / (
            size if normalize else 1
        )
        self._warn_below(float(loss.detach()), 1 if normalize else size)
        return loss

    def _warn_below(self, loss: float, size: int) -> None:
        if self.lower_bound is not None and loss < self.lower_bound * size:
            _checks.warn(
                f"The contrastive loss is {loss:.4g}, below its bound of {self.lower_bound * size:g}: the permuted "
                "term dominates. It is not clipped. Lower neg2pos_ratio or the weight of this loss, or pass "
                "lower_bound=None.",
                level=7,
            )


def _largest_ratio(form: Any, pairs: np.ndarray, *, improper: bool) -> float:
    n = form.n
    if not improper:
        roots = [(math.sqrt(a - b), math.sqrt(max(a + (n - 1) * b, 0.0))) for a, b in pairs]
        tops = [_top(_between(solve, *root), n) for solve, root in zip(form.solvers(), roots, strict=True)]
        return min(1 / top for top in tops)
    matrices = form.scipy()
    if any(not _only_constants_free(m, a) for m, (a, _) in zip(matrices, pairs, strict=True)):
        return 0.0
    # on fields of mean 0 the expectation is a - b times the identity; a shift makes Q regular and is taken off again
    shift = 1e-6 * float(pairs[:, 0].min())
    tops = [_top(_between(solve, 1.0, 0.0), n) for solve in form.solvers(shift)]
    return min((1 / top - shift) / (a - b) for top, (a, b) in zip(tops, pairs, strict=True))


def _only_constants_free(matrix: Any, scale: float) -> bool:
    from scipy.sparse.csgraph import connected_components

    constant = np.abs(matrix @ np.ones(matrix.shape[0])).max() <= 1e-9 * scale
    return constant and connected_components(matrix, directed=False, return_labels=False) == 1


def _between(solve: Callable, on_spread: float, on_mean: float) -> Callable[[np.ndarray], np.ndarray]:
    """The map y -> E^{1/2} Q^{-1} E^{1/2} y, where E^{1/2} scales the mean and the deviations from it."""

    def root(y: np.ndarray) -> np.ndarray:
        return on_spread * (y - y.mean()) + on_mean * y.mean()

    return lambda y: root(solve(root(np.ravel(y))))


def _top(apply: Callable, n: int) -> float:
    """Largest eigenvalue of a symmetric map; the start is fixed, so that the result is."""
    from scipy.sparse.linalg import LinearOperator, eigsh

    if n < 3:
        return float(np.linalg.eigvalsh(np.stack([apply(e) for e in np.eye(n)])).max())
    start = np.random.default_rng(0).standard_normal(n)
    operator = LinearOperator((n, n), matvec=apply, dtype=np.float64)
    return float(eigsh(operator, k=1, which="LA", v0=start, return_eigenvectors=False)[0])
