r"""The same quantities, cell by cell and through the whole Jacobian: what the fast forms are tested and timed against.

Nothing here is clever and nothing is slow on purpose: one square matrix and one decomposition per cell. The slope is
the derivative of the Hill function as one would write it on paper,

.. math:: \varphi'(x) = \frac{n\,x^{n-1} k^n}{(x^n + k^n)^2}.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from jaxtyping import Complex128, Float
from torch import Tensor

from scmods.hopfield.checks import refuse_not_finite

__all__ = [
    "eigenvalues_reference",
    "elements_reference",
    "jacobian_reference",
    "rotation_reference",
    "trace_reference",
]


def jacobian_reference(
    x: Float[Tensor, " genes"],
    w: Float[Tensor, "genes genes"],
    gamma: Float[Tensor, " genes"],
    threshold: Float[Tensor, " genes"],
    exponent: Float[Tensor, " genes"],
) -> Float[Tensor, "genes genes"]:
    r"""The Jacobian of one cell, :math:`W\,\mathrm{diag}(\varphi') - \mathrm{diag}(\gamma)`.

    Parameters
    ----------
    x
        Expression, not negative.
    w
        Interactions, row: target, column: regulator.
    gamma
        Degradation rates, 1 / time.
    threshold, exponent
        k and n of the Hill functions.

    Examples
    --------
    >>> import torch
    >>> one = torch.ones(1, dtype=torch.float64)
    >>> jacobian_reference(one, torch.tensor([[8.0]], dtype=torch.float64), one, one, one)
    tensor([[1.]], dtype=torch.float64)
    """
    half = threshold**exponent
    slope = exponent * x ** (exponent - 1) * half / (x**exponent + half) ** 2
    return w * slope - torch.diag(gamma)


def eigenvalues_reference(
    x: Float[Tensor, "cells genes"],
    w: Float[Tensor, "genes genes"],
    gamma: Float[Tensor, " genes"],
    threshold: Float[Tensor, " genes"],
    exponent: Float[Tensor, " genes"],
) -> Complex128[Tensor, "cells genes"]:
    """All eigenvalues of every cell, in the order of LAPACK.

    Parameters
    ----------
    x
        Expression.
    w, gamma, threshold, exponent
        As in `jacobian_reference`.
    """
    out = []
    for cell in x:
        matrix = jacobian_reference(cell, w, gamma, threshold, exponent)
        refuse_not_finite("A Jacobian", matrix)
        out.append(torch.linalg.eigvals(matrix))
    return torch.stack(out)


def rotation_reference(
    x: Float[Tensor, "cells genes"],
    w: Float[Tensor, "genes genes"],
    gamma: Float[Tensor, " genes"],
    threshold: Float[Tensor, " genes"],
    exponent: Float[Tensor, " genes"],
) -> Float[Tensor, " cells"]:
    """Norm of the antisymmetric part of the Jacobian of every cell.

    Parameters
    ----------
    x
        Expression.
    w, gamma, threshold, exponent
        As in `jacobian_reference`.
    """
    out = []
    for cell in x:
        matrix = jacobian_reference(cell, w, gamma, threshold, exponent)
        out.append(torch.linalg.matrix_norm((matrix - matrix.T) / 2))
    return torch.stack(out)


def elements_reference(
    x: Float[Tensor, "cells genes"],
    w: Float[Tensor, "genes genes"],
    gamma: Float[Tensor, " genes"],
    threshold: Float[Tensor, " genes"],
    exponent: Float[Tensor, " genes"],
    pairs: Sequence[tuple[int, int]],
) -> Float[Tensor, "cells pairs"]:
    """Some entries of the Jacobian of every cell.

    Parameters
    ----------
    x
        Expression.
    w, gamma, threshold, exponent
        As in `jacobian_reference`.
    pairs
        Positions (target, regulator).
    """
    out = []
    for cell in x:
        matrix = jacobian_reference(cell, w, gamma, threshold, exponent)
        out.append(torch.stack([matrix[i, j] for i, j in pairs]))
    return torch.stack(out)


def trace_reference(
    x: Float[Tensor, "cells genes"],
    w: Float[Tensor, "genes genes"],
    gamma: Float[Tensor, " genes"],
    threshold: Float[Tensor, " genes"],
    exponent: Float[Tensor, " genes"],
) -> Float[Tensor, " cells"]:
    """Trace of the Jacobian of every cell.

    Parameters
    ----------
    x
        Expression.
    w, gamma, threshold, exponent
        As in `jacobian_reference`.
    """
    return torch.stack([jacobian_reference(cell, w, gamma, threshold, exponent).trace() for cell in x])
