"""Sums over cells that a regression needs in place of the cells, and what a regression returns.

Torch alone, float64; sums of blocks of cells merge exactly.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, replace
from functools import reduce
from typing import NamedTuple

import torch
from jaxtyping import Float
from torch import Tensor

__all__ = ["FieldSums", "GramSums", "Solution", "total"]


@dataclass(frozen=True)
class GramSums:
    """What a regression with intercept needs to know of its cells; moments divide by the weight of the cells.

    Attributes
    ----------
    n
        Sum of the weights of the cells.
    mean_phi, mean_y
        (regs,), (genes,) means.
    phi_phi, phi_y
        (regs, regs) covariance of the design; (regs, genes) covariance of design and targets.
    y_y
        (genes,) variance of the targets.
    """

    n: float
    mean_phi: Tensor
    mean_y: Tensor
    phi_phi: Tensor
    phi_y: Tensor
    y_y: Tensor

    @classmethod
    def of(
        cls,
        phi: Float[Tensor, "cells regs"],
        y: Float[Tensor, "cells genes"],
        weight: Float[Tensor, " cells"] | None = None,
    ) -> GramSums:
        """Sums of some cells.

        Parameters
        ----------
        phi
            Design without the column of ones.
        y
            Targets.
        weight
            Not negative; one each by default.
        """
        return FieldSums.of(phi, y, y.new_zeros(1, 1).expand_as(y), weight).targets(y.new_zeros(y.shape[1]))

    def mean_square(
        self, w: Float[Tensor, "genes regs"], bias: Float[Tensor, " genes"]
    ) -> Float[Tensor, " genes"]:
        """Mean squared residual of each target under weights and intercept.

        Parameters
        ----------
        w
            Weights.
        bias
            Intercepts.
        """
        spread = self.y_y - 2 * (w * self.phi_y.T).sum(1) + ((w @ self.phi_phi) * w).sum(1)
        return spread.clamp_min(0) + (self.mean_y - w @ self.mean_phi - bias).square()


@dataclass(frozen=True)
class FieldSums:
    r"""Sums with velocity and expression kept apart, so that :math:`y = v + \gamma x` can be had for any gamma.

    Attributes
    ----------
    n
        Sum of the weights of the cells.
    mean_phi, mean_v, mean_x
        Means: activation (regs,), velocity and expression (genes,).
    phi_phi, phi_v, phi_x
        Covariances with the activation, (regs, regs) and twice (regs, genes).
    v_v, v_x, x_x
        (genes,) variances and covariance of velocity and expression of the same gene.
    """

    n: float
    mean_phi: Tensor
    mean_v: Tensor
    mean_x: Tensor
    phi_phi: Tensor
    phi_v: Tensor
    phi_x: Tensor
    v_v: Tensor
    v_x: Tensor
    x_x: Tensor

    @classmethod
    def of(
        cls,
        phi: Float[Tensor, "cells regs"],
        v: Float[Tensor, "cells genes"],
        x: Float[Tensor, "cells genes"],
        weight: Float[Tensor, " cells"] | None = None,
    ) -> FieldSums:
        """Sums of a block of cells; O(cells * regs * (regs + genes)).

        Parameters
        ----------
        phi, v, x
            Activation of the regulators, velocity and expression of the genes.
        weight
            Not negative, for instance how often a resample holds each cell; one each by default.
        """
        weight = torch.ones(len(phi), dtype=phi.dtype) if weight is None else weight
        n = float(weight.sum())
        p = (weight / (n or 1.0))[:, None]
        means = [(p * a).sum(0) for a in (phi, v, x)]
        phi, v, x = (a - m for a, m in zip((phi, v, x), means, strict=True))
        weighted = (p * phi).T
        products = ((p * a * b).sum(0) for a, b in ((v, v), (v, x), (x, x)))
        return cls(n, *means, weighted @ phi, weighted @ v, weighted @ x, *products)

    def merge(self, other: FieldSums) -> FieldSums:
        """Sums of both sets of cells; exact, and stable where means are large (the update of Chan et al., 1983).

        Parameters
        ----------
        other
            Sums of other cells, same genes.
        """
        if not (self.n and other.n):
            return self if self.n else other
        n = self.n + other.n
        a, b = self.n / n, other.n / n
        dp, dv, dx = (getattr(other, m) - getattr(self, m) for m in ("mean_phi", "mean_v", "mean_x"))
        between = {
            "phi_phi": torch.outer(dp, dp), "phi_v": torch.outer(dp, dv), "phi_x": torch.outer(dp, dx),
            "v_v": dv * dv, "v_x": dv * dx, "x_x": dx * dx,
        }  # fmt: skip
        mixed = {k: a * getattr(self, k) + b * getattr(other, k) + a * b * d for k, d in between.items()}
        means = {m: a * getattr(self, m) + b * getattr(other, m) for m in ("mean_phi", "mean_v", "mean_x")}
        return FieldSums(n=n, **means, **mixed)

    def targets(self, gamma: Float[Tensor, " genes"]) -> GramSums:
        r"""Sums of the regression of :math:`v + \gamma x` on the activations.

        Parameters
        ----------
        gamma
            Degradation rates.
        """
        return GramSums(
            self.n,
            self.mean_phi,
            self.mean_v + gamma * self.mean_x,
            self.phi_phi,
            self.phi_v + gamma * self.phi_x,
            (self.v_v + 2 * gamma * self.v_x + gamma.square() * self.x_x).clamp_min(0),
        )

    def expression(self) -> GramSums:
        """Sums of the regression of the expression itself."""
        return GramSums(self.n, self.mean_phi, self.mean_x, self.phi_phi, self.phi_x, self.x_x)

    def minus(self, w: Float[Tensor, "genes regs"]) -> FieldSums:
        r"""Sums after :math:`W\varphi` is taken off the velocity: a fit of these is the deviation from W.

        Parameters
        ----------
        w
            Weights.
        """
        return replace(
            self,
            mean_v=self.mean_v - w @ self.mean_phi,
            phi_v=self.phi_v - self.phi_phi @ w.T,
            v_v=self.v_v - 2 * (w * self.phi_v.T).sum(1) + ((w @ self.phi_phi) * w).sum(1),
            v_x=self.v_x - (w * self.phi_x.T).sum(1),
        )


def total(blocks: Iterable[FieldSums]) -> FieldSums:
    """Sums of all blocks.

    Parameters
    ----------
    blocks
        Sums of disjoint sets of cells.
    """
    return reduce(FieldSums.merge, blocks)


class Solution(NamedTuple):
    """A fit of all targets.

    Attributes
    ----------
    w
        (genes, regs) weights in the units of the data, row: target, column: regulator.
    bias
        (genes,) intercepts.
    penalty
        (genes,) penalty of the standardised ridge; 0 where there is none.
    df
        (genes,) effective degrees of freedom, the intercept included; NaN where not defined.
    mean_square
        (genes,) mean squared residual.
    n
        Weight of the cells.
    gamma
        (genes,) degradation rates where they were refitted.
    residual
        How far the solver is from its fixed point, relative; 0 for closed forms.
    """

    w: Tensor
    bias: Tensor
    penalty: Tensor
    df: Tensor
    mean_square: Tensor
    n: float
    gamma: Tensor | None = None
    residual: float = 0.0

    @property
    def residual_variance(self) -> Tensor:
        """(genes,) residual sum of squares over (cells - degrees of freedom); infinite where none are left."""
        left = self.n - self.df
        return torch.where(left > 0, self.n * self.mean_square / left.clamp_min(1e-300), torch.inf)
