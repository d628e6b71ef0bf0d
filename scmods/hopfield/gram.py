r"""Least squares and ridge for many targets that share one design, from sums over the cells.

All targets of a cluster are regressed on the same activations, so means and covariances are all that is needed: the
cells drop out, and every fit, resample or choice of penalty costs as much as one decomposition of a
(regs, regs) matrix. Torch alone, float64. Rows of weights are targets, columns are regulators.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from scmods import _checks
from scmods.hopfield.gram_sums import FieldSums, GramSums, Solution, total

__all__ = ["FieldSums", "GramSums", "Solution", "least_squares", "refit_degradation", "ridge", "total"]

GRID = torch.logspace(-4, 3, 71, dtype=torch.float64)
RANK = 1e-12  # eigenvalues of a correlation matrix below this, relative to the largest, are rounding
CHUNK = 2**22  # entries of a batch of systems, 32 MB


def spread(variance: Tensor, mean: Tensor) -> Tensor:
    """Standard deviations, exactly 0 for columns that are constant up to rounding.

    Parameters
    ----------
    variance, mean
        Of the columns.
    """
    sd = variance.clamp_min(0).sqrt()
    return torch.where(sd > 1e-10 * mean.abs(), sd, 0.0)


def _standardised(sums: GramSums) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Correlations of the design, of design and targets, and the inverse scales; constant columns become 0."""
    sd_phi, sd_y = spread(sums.phi_phi.diagonal(), sums.mean_phi), spread(sums.y_y, sums.mean_y)
    a, b = (torch.where(sd > 0, 1 / sd.clamp_min(1e-300), 0.0) for sd in (sd_phi, sd_y))
    return a[:, None] * sums.phi_phi * a, a[:, None] * sums.phi_y * b, a, sd_y


def _systems(
    c: Tensor, rhs: Tensor, weights: Tensor | None
) -> Iterator[tuple[slice, Tensor, Tensor, Tensor]]:
    """One system for all targets, or blocks with one each after substituting b = q u with q = weights^(-1/2).

    Yields the targets, matrices (batch, regs, regs), right-hand sides (batch, regs, k) and q. An infinite weight
    gives q = 0, which takes the regulator out.
    """
    if weights is None:
        yield slice(None), c[None], rhs[None], c.new_ones(1, len(c), 1)
        return
    size = max(1, CHUNK // max(1, c.numel()))
    for start in range(0, len(weights), size):
        part = slice(start, start + size)
        q = weights[part].rsqrt()
        yield part, c * q[:, :, None] * q[:, None, :], (q * rhs.T[part])[:, :, None], q[:, :, None]


def _per_target(values: Tensor) -> Tensor:
    """(batch, regs, k) with batch = 1 or k = 1 as (targets, regs)."""
    return values.mT.flatten(0, 1)


def _gcv(sums: GramSums, c: Tensor, rhs: Tensor, weights: Tensor | None, sd_y: Tensor) -> Tensor:
    """Scores of generalised cross-validation in units of the variance of each target, (grid, genes)."""
    scores = []
    has_spread = (sd_y > 0).to(rhs.dtype)
    for part, matrix, right, _ in _systems(c, rhs, weights):
        s, u = torch.linalg.eigh(matrix)
        s, z2 = s.clamp_min(0), _per_target(u.mT @ right).square()
        rows = []
        for lam in GRID:
            df = 1 + (s / (s + lam)).sum(1)
            error = has_spread[part] - (z2 * (s + 2 * lam) / (s + lam).square()).sum(1)
            rows.append(error.clamp_min(0) / (1 - df / sums.n).clamp_min(1e-6).square())
        scores.append(torch.stack(rows))
    return torch.cat(scores, 1)


def _penalties(scores: Tensor, *, per_target: bool) -> Tensor:
    if per_target:
        return GRID[scores.argmin(0)]
    return GRID[scores.sum(1).argmin()].expand(scores.shape[1]).clone()


def _solution(sums: GramSums, b: Tensor, a: Tensor, sd_y: Tensor, penalty: Tensor, df: Tensor) -> Solution:
    w = sd_y[:, None] * b * a
    bias = sums.mean_y - w @ sums.mean_phi
    return Solution(w, bias, penalty, df, sums.mean_square(w, bias), sums.n)


def ridge(
    sums: GramSums,
    penalty: float | Float[Tensor, " genes"] | None = None,
    *,
    per_target: bool = False,
    weights: Float[Tensor, "genes regs"] | None = None,
) -> Solution:
    r"""Ridge regression of every target on the standardised design, intercept free.

    With :math:`\sigma_j` the standard deviation of column j, the weights of target i minimise

    .. math:: \tfrac1n\sum_c (y_{ci} - W_i\varphi_c - I_i)^2 + \lambda_i \sum_j p_{ij}\,\sigma_j^2 W_{ij}^2 .

    Parameters
    ----------
    sums
        Sums of the cells.
    penalty
        :math:`\lambda > 0`, for all targets or one each; None chooses it by generalised cross-validation,
        :math:`\tfrac1n RSS_i / (1 - df/n)^2`, on a grid of 10 values per decade from 1e-4 to 1e3.
    per_target
        Choose one value for each target; by default one for all, with targets scaled to unit variance.
    weights
        Penalty factors p, positive; ``inf`` removes the edge. All 1 by default.

    Returns
    -------
    The weights in the units of the data; constant columns of the design get 0.

    Notes
    -----
    Without `weights` one eigendecomposition, O(regs^3 + regs^2 genes); with them one Cholesky factor per target
    (to choose the penalty, one eigendecomposition per target).
    """
    c, rhs, a, sd_y = _standardised(sums)
    if penalty is None:
        lam = _penalties(_gcv(sums, c, rhs, weights, sd_y), per_target=per_target)
    else:
        lam = torch.as_tensor(penalty, dtype=c.dtype).expand(rhs.shape[1]).clone()
    bs, dfs = [], []
    for part, matrix, right, q in _systems(c, rhs, weights):
        if weights is None:
            s, u = torch.linalg.eigh(matrix)
            s, own = s.clamp_min(0), lam[None, None, :]
            bs.append(_per_target(u @ ((u.mT @ right) / (s[:, :, None] + own))))
            dfs.append(1 + (s[0] / (s[0] + lam[:, None])).sum(1))
            continue
        factor = torch.linalg.cholesky(matrix + torch.diag_embed(lam[part, None].expand(-1, len(c))))
        bs.append(_per_target(q * torch.cholesky_solve(right, factor)))
        # trace of S (S + lam)^-1, where edges that were taken out contribute nothing
        inverse = torch.cholesky_inverse(factor).diagonal(dim1=1, dim2=2).sum(1)
        dfs.append(1 + len(c) - lam[part] * inverse)
    return _solution(sums, torch.cat(bs), a, sd_y, lam, torch.cat(dfs))


def least_squares(sums: GramSums, *, allowed: Bool[Tensor, "genes regs"] | None = None) -> Solution:
    """Least squares of every target on the regulators it may have, with intercept.

    Parameters
    ----------
    sums
        Sums of the cells.
    allowed
        Edges of the fit; all by default.

    Returns
    -------
    Where columns are linearly dependent, the solution of smallest norm in standardised units.

    Raises
    ------
    ValueError
        Not more cells than regulators and intercept of some target.
    """
    c, rhs, a, sd_y = _standardised(sums)
    free = (a > 0) if allowed is None else allowed & (a > 0)
    most = int(free.sum(-1).max()) if free.numel() else 0
    if sums.n <= most + 1:
        _checks.fail(
            f"Least squares needs more cells than unknowns, but there are {sums.n:g} cells for {most} regulators",
            "and an intercept. Use method='ridge', fewer regulators, or larger clusters.",
        )
    weights = None if allowed is None else torch.where(allowed, 1.0, torch.inf).to(c.dtype)
    bs, ranks = [], []
    for _, matrix, right, q in _systems(c, rhs, weights):
        s, u = torch.linalg.eigh(matrix)
        inverse = torch.where(s > RANK * s.amax(1, keepdim=True), 1 / s, 0.0)
        bs.append(_per_target(q * (u @ (inverse[:, :, None] * (u.mT @ right)))))
        ranks.append((inverse > 0).sum(1).to(c.dtype))
    rank = torch.cat(ranks).expand(rhs.shape[1])
    short = int((rank < free.sum(-1)).sum())
    if short:
        _checks.warn(
            f"The regulators of {short} targets are linearly dependent; took the solution of smallest norm.",
            level=4,
        )
    return _solution(sums, torch.cat(bs), a, sd_y, torch.zeros_like(sd_y), 1 + rank)


def refit_degradation(
    sums: FieldSums, solve: Callable[[GramSums], Solution], gamma_min: float = 0.01
) -> Solution:
    r"""Weights and degradation together, for solvers that are linear in the targets.

    With the solutions for v and for x, :math:`W = W^v + \gamma W^x`, the objective is a parabola in gamma, with
    minimum at :math:`-\langle x, v - W^v\varphi\rangle / \langle x, x - W^x\varphi\rangle`.

    Parameters
    ----------
    sums
        Sums of the cells.
    solve
        Ridge of fixed penalty, or least squares.
    gamma_min
        Smallest rate; the parabola is convex, so clamping is exact.
    """
    zero = torch.zeros_like(sums.mean_x)
    of_v, of_x = solve(sums.targets(zero)), solve(sums.expression())
    top = sums.v_x - (of_v.w * sums.phi_x.T).sum(1)
    bottom = sums.x_x - (of_x.w * sums.phi_x.T).sum(1)
    known = bottom > 1e-12 * sums.x_x.clamp_min(1e-300)
    gamma = torch.where(known, -top / torch.where(known, bottom, 1.0), gamma_min).clamp_min(gamma_min)
    w, bias = of_v.w + gamma[:, None] * of_x.w, of_v.bias + gamma * of_x.bias
    mean_square = sums.targets(gamma).mean_square(w, bias)
    return Solution(w, bias, of_v.penalty, of_v.df + 1, mean_square, sums.n, gamma)
