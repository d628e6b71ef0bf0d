r"""Eigenvalues of all Jacobians of a cluster, by dividing each Jacobian into blocks that have a spectrum of their own.

Genes that do not regulate have columns that are zero but for the degradation, so with the regulators T first,

.. math:: J = \begin{pmatrix} W_{TT}D_T - \Gamma_T & 0 \\ W_{RT}D_T & -\Gamma_R \end{pmatrix},
          \qquad \mathrm{spec}\,J = \mathrm{spec}(W_{TT}D_T - \Gamma_T) \cup \{-\gamma_r\}.

Among the regulators, the strongly connected components of the graph of non-zero W divide the block further: ordered
along the acyclic graph of the components it is block triangular. All of this is exact and depends on W alone, so the
division, `Blocks`, is made once per cluster. Vectors are in `scmods.hopfield.vectors`.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

import torch
from jaxtyping import Complex128, Float, Int
from torch import Tensor

from scmods import _checks
from scmods.hopfield import core
from scmods.hopfield.checks import refuse_not_finite
from scmods.hopfield.field import ClusterField

__all__ = ["Blocks", "Summary", "eigenvalues", "leading_only", "order", "summary"]

TIE = 1e-9  # real parts closer than this times the norm of the Jacobian count as equal when sorting
CHUNK_BYTES = 4 * 2**20  # one stack of small matrices on its way to LAPACK


@dataclass(frozen=True)
class Blocks:
    """Division of the Jacobians of one cluster; depends on where W is not zero, not on the cell.

    Parameters
    ----------
    field
        The field of the cluster, on the CPU.
    single
        (singles,) positions among the regulators of those that are in no feedback loop with another one.
    groups
        For each size of loop a (loops, size) table of positions among the regulators.
    others
        (rest,) positions among the genes of those that do not regulate.

    Examples
    --------
    Two genes that regulate each other, and a third that is only regulated:

    >>> import torch
    >>> from scmods.hopfield.field import ClusterField
    >>> w = torch.tensor([[0.0, 1.0], [2.0, 0.0], [3.0, 0.0]], dtype=torch.float64)
    >>> one = torch.ones(3, dtype=torch.float64)
    >>> Blocks.of(ClusterField(w, torch.tensor([0, 1]), one, one, one, one))
    Blocks(0 single, loops of sizes [2], 1 genes that do not regulate)
    """

    field: ClusterField
    single: Int[Tensor, " singles"]
    groups: tuple[Tensor, ...]
    others: Int[Tensor, " rest"]

    @classmethod
    def of(cls, field: ClusterField) -> Blocks:
        """Divide: strongly connected components of the regulators, and the genes that do not regulate.

        Parameters
        ----------
        field
            The field of the cluster.
        """
        from scipy import sparse
        from scipy.sparse.csgraph import connected_components

        rest = torch.ones(len(field.w), dtype=torch.bool)
        rest[field.regs] = False
        label = torch.zeros(0, dtype=torch.int64)
        if len(field.regs):
            graph = sparse.csr_matrix((field.w[field.regs] != 0).numpy())
            label = torch.as_tensor(connected_components(graph, connection="strong")[1]).long()
        by_size: dict[int, list[Tensor]] = {}
        for one in label.unique().tolist():
            members = torch.nonzero(label == one)[:, 0]
            by_size.setdefault(len(members), []).append(members)
        single = torch.stack(by_size.pop(1))[:, 0] if 1 in by_size else torch.zeros(0, dtype=torch.int64)
        groups = tuple(torch.stack(by_size[size]) for size in sorted(by_size))
        return cls(field, single, groups, torch.nonzero(rest)[:, 0])

    def __repr__(self) -> str:
        sizes = [g.shape[1] for g in self.groups for _ in range(len(g))]
        return (
            f"Blocks({len(self.single)} single, loops of sizes {sizes}, "
            f"{len(self.others)} genes that do not regulate)"
        )


def order(values: Complex128[Tensor, "cells n"], norm: Float[Tensor, " cells"]) -> Int[Tensor, "cells n"]:
    r"""Positions that sort the eigenvalues of each cell: real part descending, then imaginary part descending.

    Neighbours whose real parts differ by at most :math:`10^{-9}\|J\|_F` count as equal, so that the last digit of a
    real part does not decide in which order members of different conjugate pairs follow each other. Stable.

    Parameters
    ----------
    values
        Eigenvalues, one row per cell.
    norm
        Frobenius norm of the Jacobians, 1 / time.
    """
    index = values.real.argsort(dim=1, descending=True, stable=True)
    if values.shape[1] < 2:
        return index
    sorted_ = values.gather(1, index)
    apart = sorted_.real[:, :-1] - sorted_.real[:, 1:] > TIE * norm[:, None]
    # nearly always the first sort is enough; the other two are paid by the rows that need them
    wrong = (~apart & (sorted_.imag[:, :-1] < sorted_.imag[:, 1:])).any(1)
    if wrong.any():
        group = torch.nn.functional.pad(apart[wrong].long().cumsum(1), (1, 0))
        by_imag = sorted_[wrong].imag.argsort(dim=1, descending=True, stable=True)
        back = group.gather(1, by_imag).argsort(dim=1, stable=True)
        index[wrong] = index[wrong].gather(1, by_imag.gather(1, back))
    return index


def eigenvalues(
    blocks: Blocks, slope: Float[Tensor, "cells regs"]
) -> tuple[Complex128[Tensor, "cells genes"], Float[Tensor, " cells"]]:
    r"""All eigenvalues of the Jacobians of a block of cells, sorted as in `order`, and the norms of the Jacobians.

    Parameters
    ----------
    blocks
        ``Blocks.of(field)``.
    slope
        ``field.slope(x)``, float64, on the CPU.

    Returns
    -------
    values
        1 / time; for a cell, as many as there are genes, each as often as its multiplicity.
    norm
        :math:`\|J\|_F`, 1 / time.

    Raises
    ------
    ValueError
        If a slope or an entry is not finite: LAPACK would end the process.

    Notes
    -----
    O(cells * sum of the cubes of the sizes of the loops); working memory is the result and one stack of at most
    4 MiB, or of one matrix where that is larger.
    """
    field = blocks.field
    refuse_not_finite("The slopes of the activation", slope)
    out = torch.empty(len(slope), len(field.w), dtype=torch.complex128)
    inner = field.w[field.regs]
    one = field.regs[blocks.single]
    out[:, one] = (inner.diagonal()[blocks.single] * slope[:, blocks.single] - field.gamma[one]).to(out.dtype)
    out[:, blocks.others] = (-field.gamma[blocks.others]).to(out.dtype)
    for group in blocks.groups:
        out[:, field.regs[group].reshape(-1)] = _of_group(field, group, slope).flatten(1)
    refuse_not_finite("A Jacobian", out)
    norm = core.frobenius(slope, field.w, field.regs, field.gamma)
    return out.gather(1, order(out, norm)), norm


def _of_group(
    field: ClusterField, group: Int[Tensor, "loops size"], slope: Float[Tensor, "cells regs"]
) -> Complex128[Tensor, "cells loops size"]:
    """Eigenvalues of all loops of one size, in stacks of bounded memory."""
    w = field.w[field.regs][group[:, :, None], group[:, None, :]]
    gamma = field.gamma[field.regs[group]]
    step = max(1, CHUNK_BYTES // (8 * w.numel()))
    parts = []
    for d in slope[:, group].split(step):
        matrix = w * d[:, :, None, :]
        matrix.diagonal(dim1=-2, dim2=-1).sub_(gamma)
        refuse_not_finite("A Jacobian", matrix)
        parts.append(torch.linalg.eigvals(matrix))
    return torch.cat(parts) if parts else slope.new_zeros(0, *group.shape, dtype=torch.complex128)


class Summary(NamedTuple):
    """What is said about the spectrum of each cell.

    Attributes
    ----------
    real, imag
        (cells,) real part and absolute imaginary part of the leading eigenvalue, 1 / time.
    positive, negative
        (cells,) int64, number of eigenvalues whose real part is above or below zero.
    """

    real: Tensor
    imag: Tensor
    positive: Tensor
    negative: Tensor


def summary(values: Complex128[Tensor, "cells genes"], norm: Float[Tensor, " cells"]) -> Summary:
    r"""Leading eigenvalue and counts of the signs of the real parts.

    Parameters
    ----------
    values
        All eigenvalues of each cell, sorted as `eigenvalues` does.
    norm
        :math:`\|J\|_F`; real parts within genes * eps * norm of zero count as neither positive nor negative.
    """
    limit = (values.shape[1] * torch.finfo(torch.float64).eps * norm)[:, None]
    positive, negative = (values.real > limit).sum(1), (values.real < -limit).sum(1)
    return Summary(values.real[:, 0].clone(), values.imag[:, 0].abs(), positive, negative)


def leading_only(
    field: ClusterField,
    slope: Float[Tensor, "cells regs"],
    *,
    n_candidates: int = 4,
    tol: float = 1e-8,
    seed: int = 0,
) -> Complex128[Tensor, " cells"]:
    r"""Only the leading eigenvalue of each cell, by Arnoldi's iteration with products instead of matrices.

    Worth it for one large loop, about 500 regulators or more: then O(cells * regs^2 * iterations) replaces regs^3.
    Of a conjugate pair the member with positive imaginary part.

    Parameters
    ----------
    field
        The field of the cluster, on the CPU.
    slope
        ``field.slope(x)``.
    n_candidates
        Eigenvalues of largest real part that are sought; more make a wrong leader less likely.
    tol
        Relative precision asked of the iteration.
    seed
        Of the start vector.

    Returns
    -------
    1 / time. The value is taken only if :math:`\|Jv-\lambda v\| \le 10^{3}\,tol\,\|J\|_F`; where not, or where the
    iteration does not converge, the cell is decomposed in full and a `NumericalWarning` counts such cells.

    Notes
    -----
    Matrices of fewer than ``n_candidates + 2`` regulators are decomposed in full. No bound proves that an iteration
    saw the largest real part; `eigenvalues` does.
    """
    refuse_not_finite("The slopes of the activation", slope)
    _checks.integer("n_candidates", n_candidates)
    inner, gamma = field.w[field.regs], field.gamma[field.regs]
    norm = core.frobenius(slope, field.w, field.regs, field.gamma)
    start = torch.rand(len(gamma), generator=torch.Generator().manual_seed(seed), dtype=torch.float64)
    found = torch.full((len(slope),), torch.nan, dtype=torch.complex128)
    if len(gamma) >= n_candidates + 2:
        for cell in range(len(slope)):
            found[cell] = _arnoldi(inner, gamma, slope[cell], start, n_candidates, tol, float(norm[cell]))
        missed = int(found.real.isnan().sum())
        if missed:
            _checks.warn(
                f"Arnoldi's iteration failed for {missed} of {len(slope)} cells; they were decomposed in full. "
                "Raise n_candidates, or use `eigenvalues`."
            )
    todo = found.real.isnan()
    blocks = Blocks.of(field)
    if todo.any():
        found[todo] = eigenvalues(blocks, slope[todo])[0][:, 0]
    top = -field.gamma[blocks.others].min() if len(blocks.others) else -torch.inf
    return torch.where(found.real >= top, found, torch.full_like(found, top))


def _arnoldi(
    w: Tensor, gamma: Tensor, d: Tensor, start: Tensor, n_candidates: int, tol: float, norm: float
) -> complex:
    """Eigenvalue of largest real part of the regulator block of one cell, NaN where it fails its check."""
    from scipy.sparse.linalg import ArpackNoConvergence, LinearOperator, eigs

    def product(v: object) -> object:
        v = torch.as_tensor(v).reshape(-1)
        return (w @ (d * v) - gamma * v).numpy()

    refuse_not_finite("A Jacobian", w * d)
    operator = LinearOperator(w.shape, matvec=product, dtype=float)
    try:
        values, vectors = eigs(operator, k=n_candidates, which="LR", tol=tol, v0=start.numpy())
    except ArpackNoConvergence:
        return complex(torch.nan)
    values, vectors = torch.as_tensor(values), torch.as_tensor(vectors)
    best = int(order(values[None], torch.tensor([norm], dtype=torch.float64))[0, 0])
    v = vectors[:, best]
    image = torch.complex(w @ (d * v.real) - gamma * v.real, w @ (d * v.imag) - gamma * v.imag)
    good = (image - values[best] * v).norm() <= 1e3 * tol * norm
    return complex(values[best]) if good else complex(torch.nan)
