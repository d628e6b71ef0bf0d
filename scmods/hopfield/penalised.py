r"""The objective of the original, minimised to the end.

The original takes steps of Adam on

.. math:: 100\,\overline{(v + \gamma x - W\varphi - I)^2}
          + \lambda_s(\|M \circ W\|_1 + \|M \circ W\|_F) + \lambda_b\,p(I),

where the mean is over cells and genes and M is 1 for edges outside the scaffold. It is convex, and its smooth part is a
quadratic form of sums over the cells, so the cells drop out and the minimum is found to any precision.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from scmods import _checks
from scmods.hopfield.gram import CHUNK
from scmods.hopfield.gram_sums import FieldSums, GramSums, Solution

__all__ = ["objective", "penalised", "penalised_with_degradation", "prox"]

ERROR = 100.0  # weight of the squared error in the original


def prox(
    w: Float[Tensor, "genes regs"], step: float, penalised: Bool[Tensor, "genes regs"]
) -> Float[Tensor, "genes regs"]:
    r"""Proximal map of :math:`s(\|M \circ W\|_1 + \|M \circ W\|_F)`.

    First the soft threshold of every entry, then the shrinkage of all as one group: for the sum of a norm of the
    entries and the Euclidean norm of the group, the proximal map is this composition (Yu, NeurIPS 2013).

    Parameters
    ----------
    w
        Weights.
    step
        s, not negative.
    penalised
        M; the other entries pass unchanged.
    """
    soft = torch.where(penalised, w.sign() * (w.abs() - step).clamp_min(0), 0.0)
    norm = soft.norm()
    shrunk = soft * (1 - step / norm.clamp_min(1e-300)).clamp_min(0)
    return torch.where(penalised, shrunk, w)


def _second_moments(sums: GramSums) -> tuple[Tensor, Tensor]:
    """Of the design with a column of ones, and of targets and that design."""
    mean = torch.cat([sums.mean_phi, sums.mean_phi.new_ones(1)])
    a, r = torch.outer(mean, mean), torch.outer(sums.mean_y, mean)
    a[:-1, :-1] += sums.phi_phi
    r[:, :-1] += sums.phi_y.T
    return a, r


@dataclass(frozen=True)
class _Problem:
    """Second moments of the design with a column of ones, (regs + 1)^2, and what is penalised how.

    `own` (genes, regs + 1) is taken off as ``outer(own, own)`` for each target: a further free column, eliminated.
    """

    a: Tensor
    own: Tensor
    r: Tensor
    y2: Tensor
    mask: Tensor
    fixed: Tensor
    scaffold: float
    l1: float
    l2: float

    @classmethod
    def of(
        cls,
        sums: GramSums,
        mask: Tensor,
        allowed: Tensor | None,
        scaffold: float,
        bias: float,
        bias_penalty: str,
    ) -> _Problem:
        a, r = _second_moments(sums)
        fixed = torch.zeros_like(mask) if allowed is None else ~allowed
        share = {"l1": 1.0, "l2": 0.0, "elastic": 0.5}[bias_penalty]
        y2 = sums.y_y + sums.mean_y.square()
        own = torch.zeros_like(r)
        return cls(a, own, r, y2, mask & ~fixed, fixed, scaffold, bias * share, bias * (1 - share))

    def product(self, z: Tensor) -> Tensor:
        return z @ self.a - self.own * (self.own * z).sum(1, keepdim=True)

    @property
    def scale(self) -> float:
        return 2 * ERROR / max(1, len(self.r))

    def gradient(self, z: Tensor) -> Tensor:
        g = self.scale * (self.product(z) - self.r)
        g[:, -1] += 2 * self.l2 * z[:, -1]
        return g

    def lipschitz(self) -> float:
        return max(self.scale * float(torch.linalg.eigvalsh(self.a)[-1]) + 2 * self.l2, 1e-300)

    def prox(self, z: Tensor, step: float) -> Tensor:
        w = prox(z[:, :-1].masked_fill(self.fixed, 0.0), step * self.scaffold, self.mask)
        bias = z[:, -1]
        bias = bias.sign() * (bias.abs() - step * self.l1).clamp_min(0)
        return torch.cat([w, bias[:, None]], 1)

    def value(self, z: Tensor) -> float:
        fit = ((self.product(z) - 2 * self.r) * z).sum() + self.y2.sum()
        w, bias = z[:, :-1] * self.mask, z[:, -1]
        rest = self.scaffold * (w.abs().sum() + w.norm())
        rest = rest + self.l1 * bias.abs().sum() + self.l2 * bias.square().sum()
        return float(self.scale / 2 * fit + rest)

    def residual(self, z: Tensor, lipschitz: float) -> float:
        """Length of a proximal gradient step, relative to the gradient at 0; 0 exactly at the minimum."""
        step = z - self.prox(z - self.gradient(z) / lipschitz, 1 / lipschitz)
        return lipschitz * float(step.norm()) / max(self.scale * float(self.r.norm()), 1e-300)

    def polish(self, z: Tensor, rounds: int = 8) -> Tensor:
        """Newton steps on the entries that are not zero or want to leave it, signs held; never worse than `z`.

        With the norm F of the group held too, each target is one linear system; F is iterated. Exact once the
        signs are the right ones.
        """
        size = torch.cat([self.scaffold * self.mask, torch.full_like(z[:, :1], self.l1)], 1)
        allowed = torch.ones_like(z, dtype=torch.bool)
        allowed[:, :-1] = ~self.fixed
        best, lowest = z, self.value(z)
        for _ in range(rounds):
            g = self.gradient(z)
            on = allowed & ((z != 0) | (g.abs() > size))
            pull = size * torch.where(z != 0, z.sign(), -g.sign())
            norm = float((z[:, :-1] * self.mask).norm())
            extra = torch.zeros_like(z)
            extra[:, :-1] = self.mask * (self.scaffold / norm if norm else 0.0)
            extra[:, -1] = 2 * self.l2
            z = self._linear(on, pull, extra)
            # entries that cross zero belong to zero
            z = torch.where((pull != 0) & (z.sign() != pull.sign()), 0.0, z)
            value = self.value(z)
            if value < lowest:
                best, lowest = z, value
        return best

    def _linear(self, on: Tensor, pull: Tensor, extra: Tensor) -> Tensor:
        out = torch.zeros_like(pull)
        eye = torch.eye(len(self.a), dtype=self.a.dtype)
        size = max(1, CHUNK // self.a.numel())
        for start in range(0, len(out), size):
            s = slice(start, start + size)
            keep = on[s].to(self.a.dtype)
            a = self.a - self.own[s, :, None] * self.own[s, None, :]
            m = self.scale * a * keep[:, :, None] * keep[:, None, :]
            m = m + torch.diag_embed(extra[s] * keep + 1 - keep)
            jitter = 1e-14 * m.diagonal(dim1=1, dim2=2).amax(1)[:, None, None] * eye
            right = (keep * (self.scale * self.r[s] - pull[s]))[:, :, None]
            out[s] = torch.linalg.solve(m + jitter, right)[:, :, 0]
        return out


def _minimise(problem: _Problem, z: Tensor, max_iter: int, tol: float) -> tuple[Tensor, float]:
    """Accelerated proximal gradient with restart, polished now and then; never above its start."""
    lip = problem.lipschitz()
    look, t = z, 1.0
    residual = problem.residual(z, lip)
    for i in range(max_iter):
        if i % 100 == 0 or i in (15, 30, 60):
            polished = problem.polish(z)
            if problem.value(polished) < problem.value(z):
                z, look, t = polished, polished, 1.0
            residual = problem.residual(z, lip)
            if residual <= tol:
                break
        new = problem.prox(look - problem.gradient(look) / lip, 1 / lip)
        if float(((look - new) * (new - z)).sum()) > 0:  # momentum points uphill: drop it
            t = 1.0
        t_new = (1 + (1 + 4 * t * t) ** 0.5) / 2
        look = new + (t - 1) / t_new * (new - z)
        z, t = new, t_new
    else:
        residual = problem.residual(z, lip)
    return z, residual


def objective(
    sums: GramSums,
    w: Float[Tensor, "genes regs"],
    bias: Float[Tensor, " genes"],
    penalised_edges: Bool[Tensor, "genes regs"],
    *,
    scaffold: float = 1.0,
    bias_regularization: float = 1.0,
    bias_penalty: str = "l1",
) -> float:
    """Value of the objective, comparable between any two sets of weights.

    Parameters
    ----------
    sums
        Sums of the cells.
    w, bias
        Weights and constant production.
    penalised_edges
        M, True outside the scaffold.
    scaffold, bias_regularization, bias_penalty
        As in `penalised`.
    """
    problem = _Problem.of(sums, penalised_edges, None, scaffold, bias_regularization, bias_penalty)
    return problem.value(torch.cat([w, bias[:, None]], 1))


def penalised(
    sums: GramSums,
    penalised_edges: Bool[Tensor, "genes regs"],
    *,
    scaffold: float = 1.0,
    bias_regularization: float = 1.0,
    bias_penalty: str = "l1",
    allowed: Bool[Tensor, "genes regs"] | None = None,
    start: Float[Tensor, "genes regs1"] | None = None,
    max_iter: int = 2000,
    tol: float = 1e-7,
) -> Solution:
    r"""Minimum of the objective of the original, by accelerated proximal gradient on the sums.

    Parameters
    ----------
    sums
        Sums of the cells.
    penalised_edges
        M, True for edges outside the scaffold; the others are free.
    scaffold
        :math:`\lambda_s`.
    bias_regularization
        :math:`\lambda_b`.
    bias_penalty
        p(I): ``"l1"`` sum of sizes, ``"l2"`` sum of squares, ``"elastic"`` half of each.
    allowed
        Edges that may exist at all; all by default.
    start
        (genes, regs + 1) weights and bias to start from; zeros by default.
    max_iter
        Steps at most.
    tol
        Largest proximal gradient at the end, relative to the gradient at zero.

    Returns
    -------
    The solution, with `residual` where it stopped; a NumericalWarning when that is above `tol`.

    Notes
    -----
    O(genes * regs^2) per step, whatever the number of cells. Now and then the entries that are not zero are
    solved for exactly. Effective degrees of freedom count the weights that are not zero.
    """
    problem = _Problem.of(sums, penalised_edges, allowed, scaffold, bias_regularization, bias_penalty)
    z = torch.zeros_like(problem.r) if start is None else start
    return _solution(sums, *_minimise(problem, z, max_iter, tol), (max_iter, tol))


def _solution(sums: GramSums, z: Tensor, residual: float, stop: tuple[int, float]) -> Solution:
    if residual > stop[1]:
        _checks.warn(
            f"The penalised fit stopped after {stop[0]} steps at a proximal gradient of {residual:.1e} of its size "
            f"at zero (wanted {stop[1]:.0e}). Raise max_iter, or use method='ridge'.",
            level=5,
        )
    w, bias = z[:, :-1], z[:, -1]
    df = (z != 0).sum(1).to(z.dtype)
    return Solution(w, bias, torch.zeros_like(bias), df, sums.mean_square(w, bias), sums.n, residual=residual)


def _eliminated(problem: _Problem, sums: FieldSums, free: Tensor) -> _Problem:
    """The problem after the best gamma of the `free` targets is put in: their expression is one more free column."""
    a_x = _second_moments(sums.expression())[1]
    x2 = sums.x_x + sums.mean_x.square()
    scale = torch.where(free, 1 / x2.clamp_min(1e-300).sqrt(), 0.0)
    xv = (sums.v_x + sums.mean_x * sums.mean_v) * scale
    own = a_x * scale[:, None]
    return replace(problem, own=own, r=problem.r - own * xv[:, None], y2=problem.y2 - xv.square())


def penalised_with_degradation(
    sums: FieldSums,
    gamma: Float[Tensor, " genes"],
    penalised_edges: Bool[Tensor, "genes regs"],
    *,
    gamma_min: float = 0.01,
    scaffold: float = 1.0,
    bias_regularization: float = 1.0,
    bias_penalty: str = "l1",
    allowed: Bool[Tensor, "genes regs"] | None = None,
    max_iter: int = 2000,
    tol: float = 1e-7,
) -> Solution:
    r"""Joint minimum over W, I and gamma >= `gamma_min` of the objective of the original.

    The objective is a parabola in each gamma, so gamma is eliminated; targets whose gamma falls below the limit are
    held at it and the rest solved again, until the two sets agree.

    Parameters
    ----------
    sums
        Sums of the cells.
    gamma
        Rates for genes without expression, whose rate cannot be told.
    penalised_edges, scaffold, bias_regularization, bias_penalty, allowed, max_iter, tol
        As in `penalised`.
    gamma_min
        Smallest rate.
    """
    x2 = sums.x_x + sums.mean_x.square()
    known = x2 > 0
    held, z = torch.zeros_like(known), None
    for _ in range(20):
        y = sums.targets(torch.where(held, gamma_min, 0.0).to(gamma.dtype))
        problem = _Problem.of(y, penalised_edges, allowed, scaffold, bias_regularization, bias_penalty)
        problem = _eliminated(problem, sums, known & ~held)
        z, residual = _minimise(problem, torch.zeros_like(problem.r) if z is None else z, max_iter, tol)
        w, bias = z[:, :-1], z[:, -1]
        product = (w * sums.phi_x.T).sum(1) - sums.v_x
        product = product + sums.mean_x * (w @ sums.mean_phi + bias - sums.mean_v)
        best = torch.where(known, product / x2.clamp_min(1e-300), gamma)
        if ((best < gamma_min) == held).all():
            break
        held = best < gamma_min
    rate = best.clamp_min(gamma_min)
    found = _solution(sums.targets(rate), z, residual, (max_iter, tol))
    return found._replace(gamma=rate, df=found.df + (~held).to(z.dtype))
