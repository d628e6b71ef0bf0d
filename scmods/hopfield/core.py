r"""The velocity field, its Jacobian, and what can be said about the Jacobian without building it.

The field of one cluster is

.. math:: v_i(x) = \sum_j W_{ij}\,\varphi_j(x_j) - \gamma_i x_i + I_i, \qquad
          \varphi_j(x) = \frac{x^{n_j}}{x^{n_j} + k_j^{n_j}},

rows of W are targets, columns are regulators. Only genes with a column in W regulate; `w` holds these columns
and `regs` their positions among the genes, so that ``w[:, t]`` is column ``regs[t]`` of the square matrix.
Everything works on a block of cells at once. Torch alone; no function checks the values, see `scmods.hopfield.checks`.
"""

from __future__ import annotations

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

__all__ = [
    "activation",
    "activation_derivative",
    "bias_energy",
    "elements",
    "frobenius",
    "interaction_energy",
    "jacobian",
    "rotation",
    "square",
    "trace",
    "velocity",
]


def _log_ratio(
    x: Float[Tensor, "cells genes"], threshold: Float[Tensor, " genes"], exponent: Float[Tensor, " genes"]
) -> Float[Tensor, "cells genes"]:
    return exponent * (x.log() - threshold.log())


def activation(
    x: Float[Tensor, "cells genes"], threshold: Float[Tensor, " genes"], exponent: Float[Tensor, " genes"]
) -> Float[Tensor, "cells genes"]:
    r"""Hill function of every gene: :math:`\varphi(x) = x^n / (x^n + k^n)`, in [0, 1].

    Computed as the logistic function of :math:`n(\ln x - \ln k)`, which cannot overflow; 0 at x = 0.

    Parameters
    ----------
    x
        Expression, not negative.
    threshold
        k, expression at which a gene is half active; positive, in the unit of `x`.
    exponent
        n, steepness; positive.
    """
    return _log_ratio(x, threshold, exponent).sigmoid()


def activation_derivative(
    x: Float[Tensor, "cells genes"], threshold: Float[Tensor, " genes"], exponent: Float[Tensor, " genes"]
) -> Float[Tensor, "cells genes"]:
    r"""Slope of the Hill function, :math:`\varphi'(x) = (n/x)\, e/(1+e)^2` with :math:`e = \exp(-|n \ln(x/k)|)`.

    At x = 0 the one-sided limit: 0 for n > 1, 1/k for n = 1, infinite for n < 1.

    Parameters
    ----------
    x, threshold, exponent
        As in `activation`.

    Returns
    -------
    1 / unit of `x`; not negative.

    Notes
    -----
    The form :math:`\varphi(1-\varphi)` loses every digit where :math:`\varphi` rounds to 1; this one loses none.
    Written out because automatic differentiation through the logarithm gives NaN at x = 0.
    """
    e = (-_log_ratio(x, threshold, exponent).abs()).exp()
    slope = exponent / x * e / (1 + e) ** 2
    limit = torch.where(exponent > 1, 0.0, torch.where(exponent == 1, 1 / threshold, torch.inf))
    return torch.where(x > 0, slope, limit.to(x.dtype))


def velocity(
    x: Float[Tensor, "cells genes"],
    phi: Float[Tensor, "cells regs"],
    w: Float[Tensor, "genes regs"],
    gamma: Float[Tensor, " genes"],
    bias: Float[Tensor, " genes"],
) -> Float[Tensor, "cells genes"]:
    r"""The field: :math:`v = W \varphi(x) - \gamma x + I`.

    Parameters
    ----------
    x
        Expression.
    phi
        Activation of the regulators, ``activation(x[:, regs], ...)``.
    w
        Interactions, row: target, column: regulator.
    gamma
        Degradation rates, 1 / time.
    bias
        Constant production, unit of `x` / time.
    """
    return phi @ w.T - gamma * x + bias


def square(w: Float[Tensor, "genes regs"], regs: Int[Tensor, " regs"]) -> Float[Tensor, "genes genes"]:
    """The interactions as square matrix: column ``regs[t]`` is ``w[:, t]``, all others are zero."""
    full = w.new_zeros(len(w), len(w))
    full[:, regs] = w
    return full


def jacobian(
    slope: Float[Tensor, "cells regs"],
    w: Float[Tensor, "genes regs"],
    regs: Int[Tensor, " regs"],
    gamma: Float[Tensor, " genes"],
) -> Float[Tensor, "cells genes genes"]:
    r"""All Jacobians of a block of cells, :math:`J_{ij} = W_{ij}\varphi'_j(x_j) - \gamma_i\delta_{ij}`.

    This is :math:`\partial v_i/\partial x_j`: the slope of the regulator scales its COLUMN.

    Parameters
    ----------
    slope
        ``activation_derivative(x[:, regs], ...)``.
    w, regs, gamma
        The field.

    Returns
    -------
    1 / time; row: target, column: regulator. Memory 8 cells * genes^2 bytes; everything below does without.
    """
    out = slope.new_zeros(len(slope), len(w), len(w))
    out[:, :, regs] = w * slope[:, None, :]
    out.diagonal(dim1=1, dim2=2).sub_(gamma)
    return out


def trace(
    slope: Float[Tensor, "cells regs"],
    w: Float[Tensor, "genes regs"],
    regs: Int[Tensor, " regs"],
    gamma: Float[Tensor, " genes"],
) -> Float[Tensor, " cells"]:
    r"""Divergence of the field, :math:`\mathrm{tr} J = \sum_j W_{jj}\varphi'_j - \sum_i\gamma_i`, in 1 / time.

    Parameters
    ----------
    slope, w, regs, gamma
        As in `jacobian`.
    """
    return slope @ w[regs].diagonal() - gamma.sum()


def frobenius(
    slope: Float[Tensor, "cells regs"],
    w: Float[Tensor, "genes regs"],
    regs: Int[Tensor, " regs"],
    gamma: Float[Tensor, " genes"],
) -> Float[Tensor, " cells"]:
    r"""Norm of the Jacobian: :math:`\|J\|_F^2 = \sum_j \varphi_j'^2 c_j + \sum_i J_{ii}^2`.

    :math:`c_j` is the sum of the squares of column j of W off the diagonal.

    Parameters
    ----------
    slope, w, regs, gamma
        As in `jacobian`.
    """
    own = w[regs].diagonal()
    diagonal = (-gamma).repeat(len(slope), 1)
    diagonal[:, regs] += slope * own
    return (slope.square() @ _without_diagonal(w, regs).square().sum(0) + diagonal.square().sum(1)).sqrt()


def _without_diagonal(
    w: Float[Tensor, "genes regs"], regs: Int[Tensor, " regs"]
) -> Float[Tensor, "genes regs"]:
    w = w.clone()
    w[regs, torch.arange(len(regs), device=w.device)] = 0
    return w


def rotation(
    slope: Float[Tensor, "cells regs"], w: Float[Tensor, "genes regs"], regs: Int[Tensor, " regs"]
) -> Float[Tensor, " cells"]:
    r"""Norm of the antisymmetric part of the Jacobian, :math:`\|(J - J^T)/2\|_F`, without the Jacobian.

    Degradation cancels. Rows that do not regulate contribute half their square; among the regulators, with
    :math:`S = (W + W^T)/2`, :math:`K = (W - W^T)/2`, slope d and :math:`e = d - \bar d`,

    .. math:: A_{ij} = \tfrac12 [S_{ij}(e_j - e_i) + K_{ij}(d_i + d_j)],

    whose square is expanded into matrix products.

    Parameters
    ----------
    slope, w, regs
        As in `jacobian`.

    Returns
    -------
    1 / time, not negative; 0 if and only if the Jacobian is symmetric.

    Notes
    -----
    O(cells * regs^2). The shorter expansion :math:`\sum d_j^2 c_j - d^T(W \circ W^T)d` cancels where W is nearly
    symmetric and the slopes nearly equal; in this one each term is small when the result is.
    """
    inner = w[regs]
    outer = torch.ones(len(w), dtype=torch.bool, device=w.device)
    outer[regs] = False
    s, k = (inner + inner.T) / 2, (inner - inner.T) / 2
    s2, k2, d2 = s.square(), k.square(), slope.square()
    e = slope - slope.mean(1, keepdim=True)
    symmetric = e.square() @ s2.sum(1) - ((e @ s2) * e).sum(1)
    antisymmetric = d2 @ k2.sum(1) + ((slope @ k2) * slope).sum(1)
    mean = slope.mean(1, keepdim=True)
    # d_j^2 - d_i^2 through e: the columns of S o K sum to what the common part of all slopes leaves
    mixed = 2 * (e.square() + 2 * mean * e) @ (s * k).sum(0)
    among = (symmetric + antisymmetric + mixed) / 2
    return (among + d2 @ w[outer].square().sum(0) / 2).clamp_min(0).sqrt()


def elements(
    slope: Float[Tensor, "cells pairs"],
    weight: Float[Tensor, " pairs"],
    gamma: Float[Tensor, " pairs"],
    same: Bool[Tensor, " pairs"],
) -> Float[Tensor, "cells pairs"]:
    r"""Single entries of the Jacobian, :math:`W_{ij}\varphi'_j - \gamma_i\,[i = j]`.

    Parameters
    ----------
    slope
        Slope of the regulator j of each pair.
    weight
        :math:`W_{ij}`; 0 where j does not regulate.
    gamma
        Degradation of the target i.
    same
        Whether i = j.
    """
    return weight * slope - gamma * same


def interaction_energy(
    phi: Float[Tensor, "cells regs"],
    w: Float[Tensor, "genes regs"],
    regs: Int[Tensor, " regs"],
    phi_all: Float[Tensor, "cells genes"],
) -> Float[Tensor, " cells"]:
    r"""Energy of the interactions, :math:`-\tfrac12 s^T W s` with :math:`s = \varphi(x)`.

    Parameters
    ----------
    phi
        Activation of the regulators.
    w, regs
        The field.
    phi_all
        Activation of all genes.
    """
    return -0.5 * ((phi @ w.T) * phi_all).sum(1)


def bias_energy(
    phi_all: Float[Tensor, "cells genes"], bias: Float[Tensor, " genes"]
) -> Float[Tensor, " cells"]:
    r"""Energy of the constant production, :math:`-I^T s`.

    Parameters
    ----------
    phi_all
        Activation of all genes.
    bias
        Constant production.
    """
    return -(phi_all @ bias)
