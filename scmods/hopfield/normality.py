r"""Reactivity and departure from normality of the Jacobians, without building them.

With the T regulators first, the Jacobian of a cell is

.. math:: J = \begin{pmatrix} A & 0 \\ B & -\Gamma_R \end{pmatrix}, \qquad
          A = W_{TT} D - \Gamma_T, \quad B = W_{RT} D,

D the slopes. Its eigenvalues are those of A and :math:`-\Gamma_R`. Torch alone; nothing is checked.
"""

from __future__ import annotations

import torch
from jaxtyping import Bool, Complex128, Float, Int
from torch import Tensor

__all__ = ["departure", "reactivity", "regulator_block"]

MAX_STEPS = 200


def regulator_block(
    slope: Float[Tensor, "cells regs"],
    w: Float[Tensor, "genes regs"],
    regs: Int[Tensor, " regs"],
    gamma: Float[Tensor, " genes"],
) -> Float[Tensor, "cells regs regs"]:
    """The block A of the regulators of every Jacobian; row: target, column: regulator.

    Parameters
    ----------
    slope, w, regs, gamma
        As in `scmods.hopfield.core.jacobian`.
    """
    out = w[regs] * slope[:, None, :]
    out.diagonal(dim1=1, dim2=2).sub_(gamma[regs])
    return out


def others(w: Float[Tensor, "genes regs"], regs: Int[Tensor, " regs"]) -> Bool[Tensor, " genes"]:
    """Whether each gene is not a regulator."""
    out = torch.ones(len(w), dtype=torch.bool, device=w.device)
    out[regs] = False
    return out


def departure(
    values: Complex128[Tensor, "cells genes"], norm: Float[Tensor, " cells"]
) -> Float[Tensor, " cells"]:
    r"""Henrici's departure from normality, :math:`\sqrt{\|J\|_F^2 - \sum|\lambda|^2}`, 1 / time.

    A difference of squares: below about :math:`10^{-8}\|J\|_F` it is rounding.

    Parameters
    ----------
    values
        All eigenvalues of each Jacobian, double precision, as from `scmods.hopfield.spectrum.eigenvalues`.
    norm
        :math:`\|J\|_F`.
    """
    return (norm.square() - values.abs().square().sum(1)).clamp_min(0).sqrt()


def reactivity(
    slope: Float[Tensor, "cells regs"],
    w: Float[Tensor, "genes regs"],
    regs: Int[Tensor, " regs"],
    gamma: Float[Tensor, " genes"],
) -> Float[Tensor, " cells"]:
    r"""Largest eigenvalue of :math:`(J + J^T)/2`, 1 / time.

    Eliminating the genes that do not regulate leaves a T x T problem that is exact:

    .. math:: \lambda = \lambda_{\max}\big[\tfrac12(A + A^T) + \tfrac14 B^T(\lambda + \Gamma_R)^{-1} B\big].

    The right-hand side f is convex and falls with lambda, so Newton's method (the Rayleigh quotient of the
    lifted eigenvector) approaches the root from below; a bracket catches steps that leave it.

    Parameters
    ----------
    slope, w, regs, gamma
        As in `scmods.hopfield.core.jacobian`.

    Notes
    -----
    O(T^3 + R T^2) per cell and step, about five to ten steps; memory cells * R * T.
    """
    rest = others(w, regs)
    coupled = rest & (w != 0).any(1)
    alone = gamma[rest & ~coupled]
    floor = -alone.min() if len(alone) else torch.tensor(-torch.inf, dtype=slope.dtype)
    if not len(regs):
        return floor.expand(len(slope)).clone()
    block = regulator_block(slope, w, regs, gamma)
    block = (block + block.transpose(1, 2)) / 2
    own = torch.linalg.eigvalsh(block)[:, -1]
    if not coupled.any():
        return torch.maximum(own, floor)
    half = w[coupled] * slope[:, None, :] / 2
    return torch.maximum(_secular_root(block, half, gamma[coupled], own), floor)


def _secular_root(block: Tensor, half: Tensor, gamma: Tensor, own: Tensor) -> Tensor:
    """Largest eigenvalue of [[block, half^T], [half, -gamma]] for every cell, `own` being that of the block."""
    # measured from the pole -min gamma, so that the distance to it is never a difference
    pole = -gamma.min()
    above, block = gamma + pole, block - pole * torch.eye(block.shape[1], dtype=block.dtype)
    reach = half.square().sum((1, 2)).sqrt()
    low = (own - pole).clamp_min(0)
    high = low + reach
    tol = 1e-13 * (high + block.abs().amax((1, 2)) + pole.abs())
    at, todo = high.clone(), torch.arange(len(own))[reach > tol]
    for _ in range(MAX_STEPS):
        if not len(todo):
            break
        t = at[todo]
        weight = 1 / (t[:, None] + above)
        values, vectors = torch.linalg.eigh(
            block[todo] + torch.einsum("crt,cr,crs->cts", half[todo], weight, half[todo])
        )
        gap = values[:, -1] - t
        lifted = weight * torch.einsum("crt,ct->cr", half[todo], vectors[:, :, -1])
        low[todo] = torch.where(gap > 0, torch.maximum(low[todo], t), low[todo])
        high[todo] = torch.where(gap < 0, torch.minimum(high[todo], t), high[todo])
        new = t + gap / (1 + lifted.square().sum(1))
        outside = (new <= low[todo]) | (new >= high[todo])
        far = torch.minimum((new - t).abs(), high[todo] - low[todo]) > tol[todo]
        middle = (low[todo] + high[todo]) / 2
        at[todo] = torch.where(outside & far, middle, new.clamp(low[todo], high[todo]))
        todo = todo[far]
    return at + pole
