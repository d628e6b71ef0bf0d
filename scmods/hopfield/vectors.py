r"""Eigenvectors of the Jacobians: decomposed among the regulators, lifted exactly to all genes.

If u is a vector of the block of the regulators T with eigenvalue :math:`\lambda`, the vector of the whole Jacobian is

.. math:: v = \begin{pmatrix} u \\ (\lambda + \Gamma_R)^{-1} W_{RT} D_T u \end{pmatrix},

and :math:`-\gamma_r` of a gene that does not regulate belongs to the unit vector of that gene. So the vectors of the
block, the slopes and the field are all there is to store.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
from jaxtyping import Complex128, Float, Int
from torch import Tensor

from scmods.hopfield import core
from scmods.hopfield.checks import refuse_not_finite
from scmods.hopfield.field import ClusterField
from scmods.hopfield.spectrum import order

__all__ = [
    "LeadingPair",
    "Pairs",
    "all_values",
    "decompose",
    "leading_pair",
    "leading_vectors",
    "lift",
    "pack",
    "unpack",
]


class Pairs(NamedTuple):
    """Eigenvalues and right eigenvectors of the regulator blocks of some cells.

    Attributes
    ----------
    values
        (cells, regs) complex128, sorted as `scmods.hopfield.spectrum.order` does, 1 / time.
    vectors
        (cells, regs, regs) complex128, column k belongs to value k; norm 1 within the block.
    norm
        (cells,) Frobenius norm of the whole Jacobian.
    """

    values: Tensor
    vectors: Tensor
    norm: Tensor


def _block(field: ClusterField, slope: Tensor) -> Tensor:
    """(cells, regs, regs) block of the regulators, finite."""
    matrix = field.w[field.regs] * slope[:, None, :]
    matrix.diagonal(dim1=1, dim2=2).sub_(field.gamma[field.regs])
    refuse_not_finite("A Jacobian", matrix)
    return matrix


def _others(field: ClusterField) -> Tensor:
    rest = torch.ones(len(field.w), dtype=torch.bool)
    rest[field.regs] = False
    return torch.nonzero(rest)[:, 0]


def _unit(vectors: Tensor) -> Tensor:
    """Columns of norm 1 whose largest entry is real and positive."""
    top = vectors.gather(1, vectors.abs().argmax(1, keepdim=True))
    return vectors * (top.conj() / top.abs()) / vectors.norm(dim=1, keepdim=True)


def decompose(field: ClusterField, slope: Float[Tensor, "cells regs"]) -> Pairs:
    """Eigenvalues and vectors of the regulator block of every cell.

    Parameters
    ----------
    field
        The field of the cluster, on the CPU.
    slope
        ``field.slope(x)``, float64.

    Raises
    ------
    ValueError
        If an entry is not finite: LAPACK would end the process.

    Notes
    -----
    O(cells * regs^3) time, about 40 cells * regs^2 bytes; the caller chooses the block of cells.
    """
    norm = core.frobenius(slope, field.w, field.regs, field.gamma)
    matrix = _block(field, slope)
    if not matrix.numel():
        return Pairs(
            matrix.new_zeros(matrix.shape[:2], dtype=torch.complex128), matrix.to(torch.complex128), norm
        )
    values, vectors = torch.linalg.eig(matrix)
    index = order(values, norm)
    vectors = vectors.gather(2, index[:, None, :].expand_as(vectors))
    return Pairs(values.gather(1, index), _unit(vectors), norm)


def lift(
    field: ClusterField,
    slope: Float[Tensor, "cells regs"],
    values: Complex128[Tensor, "cells k"],
    vectors: Complex128[Tensor, "cells regs k"],
) -> Complex128[Tensor, "cells genes k"]:
    r"""Eigenvectors of the whole Jacobian from those of the regulator block.

    Parameters
    ----------
    field, slope
        As in `decompose`.
    values, vectors
        Some of the pairs that `decompose` found.

    Returns
    -------
    Columns of norm 1 whose largest entry is real and positive.

    Notes
    -----
    Where :math:`\lambda + \gamma_r` is smaller than eps * norm of the Jacobian it is replaced by that number, as
    LAPACK does: the residual stays at rounding error, and where the pair is defective the vector leans to the
    unit vector of gene r, which is its limit.
    """
    rest = _others(field)
    norm = core.frobenius(slope, field.w, field.regs, field.gamma)
    floor = (norm * torch.finfo(torch.float64).eps).clamp_min(torch.finfo(torch.float64).tiny)
    gap = values[:, None, :] + field.gamma[rest][None, :, None]
    gap = torch.where(gap.abs() < floor[:, None, None], floor[:, None, None].to(gap.dtype), gap)
    out = vectors.new_zeros(len(slope), len(field.w), values.shape[1])
    out[:, field.regs] = vectors
    out[:, rest] = field.w[rest].to(vectors.dtype) @ (slope[:, :, None] * vectors) / gap
    return _unit(out)


def all_values(
    field: ClusterField, pairs: Pairs
) -> tuple[Complex128[Tensor, "cells genes"], Int[Tensor, "cells genes"]]:
    """Every eigenvalue of the whole Jacobian, sorted, and where each comes from.

    Parameters
    ----------
    field
        The field of the cluster.
    pairs
        What `decompose` returned.

    Returns
    -------
    Values, 1 / time, and for each the position in `pairs`, or the number of regulators plus the position among the
    genes that do not regulate.
    """
    rest = (-field.gamma[_others(field)]).to(torch.complex128)
    values = torch.cat([pairs.values, rest.expand(len(pairs.values), -1)], dim=1)
    index = order(values, pairs.norm)
    return values.gather(1, index), index


def leading_vectors(
    field: ClusterField, slope: Float[Tensor, "cells regs"], pairs: Pairs, k: int | None = None
) -> Complex128[Tensor, "cells genes k"]:
    """Eigenvectors of the k leading eigenvalues of the whole Jacobian.

    Parameters
    ----------
    field, slope
        As in `decompose`.
    pairs
        What `decompose` returned for these cells.
    k
        How many; all by default.

    Returns
    -------
    Columns of norm 1 in the order of `all_values`; 16 cells * genes * k bytes.
    """
    rest, n_regs = _others(field), len(field.regs)
    index = all_values(field, pairs)[1][:, :k]
    out = pairs.vectors.new_zeros(len(slope), len(field.w), index.shape[1])
    if n_regs:
        at = index.clamp_max(n_regs - 1)
        inner = pairs.vectors.gather(2, at[:, None, :].expand(-1, n_regs, -1))
        out = lift(field, slope, pairs.values.gather(1, at), inner)
    cell, column = torch.nonzero(index >= n_regs, as_tuple=True)
    out[cell, :, column] = 0
    out[cell, rest[index[cell, column] - n_regs], column] = 1
    return out


def pack(pairs: Pairs) -> Float[Tensor, "cells regs regs"]:
    """Vectors in half the room and without loss: a conjugate pair needs one real and one imaginary part.

    Column k holds the real part where value k is real or has a positive imaginary part, and the imaginary part of
    its partner where the imaginary part is negative.

    Parameters
    ----------
    pairs
        What `decompose` returned.
    """
    return torch.where(pairs.values.imag[:, None, :] >= 0, pairs.vectors.real, -pairs.vectors.imag)


def unpack(
    values: Complex128[Tensor, "cells regs"], packed: Float[Tensor, "cells regs regs"]
) -> Complex128[Tensor, "cells regs regs"]:
    """The vectors that `pack` stored.

    Parameters
    ----------
    values
        Eigenvalues of the block, in the order of the columns.
    packed
        The stored columns.
    """
    imag, zero = values.imag, torch.zeros_like(packed)
    other = packed.gather(2, _partners(values)[:, None, :].expand_as(packed))
    sign = imag[:, None, :].expand_as(packed)
    real = torch.where(sign >= 0, packed, other)
    return torch.complex(real, torch.where(sign > 0, other, torch.where(sign < 0, -packed, zero)))


def _partners(values: Tensor) -> Tensor:
    """(cells, regs) position of the complex conjugate of each value; its own for real ones."""
    imag = values.imag
    # equal values follow each other in the order of LAPACK on both sides, so the i-th matches are partners
    above, below = (_by_value(values, members) for members in (imag > 0, imag < 0))
    partner = torch.arange(imag.shape[1]).repeat(len(imag), 1)
    cell, i = torch.nonzero(torch.arange(imag.shape[1]) < (imag > 0).sum(1, keepdim=True), as_tuple=True)
    partner[cell, above[cell, i]] = below[cell, i]
    partner[cell, below[cell, i]] = above[cell, i]
    return partner


def _by_value(values: Tensor, members: Tensor) -> Tensor:
    """Positions sorted by real part, then size of the imaginary part, stable; members first."""
    index = values.imag.abs().argsort(dim=1, stable=True)
    real = torch.where(members, values.real, torch.inf)
    return index.gather(1, real.gather(1, index).argsort(dim=1, stable=True))


class LeadingPair(NamedTuple):
    r"""Leading eigenvalue of each cell with its vectors.

    Attributes
    ----------
    value
        (cells,) complex128, 1 / time; of a conjugate pair the member with positive imaginary part.
    right, left
        (cells, genes) complex128 of norm 1: :math:`Jv = \lambda v`, :math:`u^H J = \lambda u^H`.
    condition
        (cells,) :math:`1/|u^H v| \ge 1`: by how much a small change of J can be magnified in the value; infinite,
        with a left vector of zeros, where the value has no left vector of its own (a defective pair).
    """

    value: Tensor
    right: Tensor
    left: Tensor
    condition: Tensor


def leading_pair(field: ClusterField, slope: Float[Tensor, "cells regs"]) -> LeadingPair:
    """Leading eigenvalue of every cell, its right and left vector, and how well it is determined.

    Parameters
    ----------
    field
        The field of the cluster, on the CPU.
    slope
        ``field.slope(x)``, float64.

    Notes
    -----
    One decomposition of the regulator block and one solve per cell.
    """
    pairs = decompose(field, slope)
    rest, genes = _others(field), len(field.w)
    value = torch.full((len(slope),), -torch.inf, dtype=torch.complex128)
    right, left = (value.new_zeros(len(slope), genes) for _ in range(2))
    inside = torch.zeros(len(slope), dtype=torch.bool)
    if len(field.regs):
        top = -field.gamma[rest].min() if len(rest) else torch.tensor(-torch.inf)
        inside = pairs.values.real[:, 0] >= top
        value[inside] = pairs.values[inside, 0]
        right[inside] = lift(field, slope[inside], pairs.values[inside, :1], pairs.vectors[inside, :, :1])[
            ..., 0
        ]
        first = torch.zeros(len(field.regs), 1, dtype=torch.complex128)
        first[0] = 1
        left[inside] = _embed(field, _solve(pairs.vectors[inside].mH, first))
    if not inside.all():
        r = rest[field.gamma[rest].argmin()]
        value[~inside] = -field.gamma[r].to(value.dtype)
        right[~inside, r] = 1
        left[~inside] = _left_of_other(field, slope[~inside], r)
    left = left / left.norm(dim=1, keepdim=True).clamp_min(torch.finfo(torch.float64).tiny)
    return LeadingPair(value, right, left, 1 / (left.conj() * right).sum(1).abs())


def _left_of_other(field: ClusterField, slope: Tensor, r: Tensor) -> Tensor:
    """Left vector of -gamma_r: the entry of r is 1, those of the regulators solve a small system."""
    shifted = _block(field, slope)
    shifted.diagonal(dim1=1, dim2=2).add_(field.gamma[r])
    target = -field.w[r] * slope
    w = _solve(shifted.mT, target[:, :, None])
    left = _embed(field, w.to(torch.complex128))
    left[:, r] = 1
    left[(w == 0).all(1) & (target != 0).any(1)] = 0  # singular: a defective pair
    return left


def _solve(matrix: Tensor, right: Tensor) -> Tensor:
    """Solution per cell, zeros where the matrix is singular."""
    if not matrix.numel():
        return matrix.new_zeros(matrix.shape[:2])
    refuse_not_finite("The system of a left vector", matrix)
    out, info = torch.linalg.solve_ex(matrix, right.expand(len(matrix), -1, -1))
    out = out[..., 0]
    bad = (info != 0) | ~torch.isfinite(out.abs()).all(1)
    return torch.where(bad[:, None], torch.zeros_like(out), out)


def _embed(field: ClusterField, block: Tensor) -> Tensor:
    out = block.new_zeros(len(block), len(field.w))
    out[:, field.regs] = block
    return out
