"""Sparse matrix times dense columns under autograd; torch alone.

Matrices are constants: no gradient flows into them. Both functions can be differentiated twice.
"""

from __future__ import annotations

import warnings
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor
from torch.autograd import Function

__all__ = ["Forms", "Product", "adjoint", "as_csr", "csr_tensor", "entries", "is_symmetric", "refuse"]


def _hush() -> None:
    """Make torch say once, unheard, that CSR tensors are young: it would be said in the middle of a user's loss."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        one = torch.tensor([0])
        torch.sparse_csr_tensor(torch.tensor([0, 1]), one, one, size=(1, 1), check_invariants=False)


_hush()


def csr_tensor(
    crow: Tensor, col: Tensor, values: Tensor, size: tuple[int, int]
) -> Float[Tensor, "rows columns"]:
    """CSR tensor of three arrays, not copied.

    Parameters
    ----------
    crow, col, values
        Row pointers, column indices and entries, as in ``scipy.sparse.csr_matrix``.
    size
        Rows and columns.

    Examples
    --------
    >>> i = torch.tensor
    >>> csr_tensor(i([0, 1, 2]), i([1, 0]), i([3.0, 4.0]), (2, 2)).to_dense()
    tensor([[0., 3.],
            [4., 0.]])
    """
    return torch.sparse_csr_tensor(crow, col, values, size=size, check_invariants=False)


def as_csr(matrix: Tensor) -> Tensor:
    """The matrix as CSR tensor, detached; dense and COO tensors are converted."""
    return matrix if matrix.layout == torch.sparse_csr else matrix.detach().to_sparse_csr()


def adjoint(matrix: Tensor) -> Tensor:
    """The transpose, as CSR: the columns of a CSC tensor are the rows of its transpose."""
    by_column = matrix.to_sparse_csc()
    parts = by_column.ccol_indices(), by_column.row_indices(), by_column.values()
    return csr_tensor(*parts, (matrix.shape[1], matrix.shape[0]))


def entries(matrix: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Row, column and value of every stored entry."""
    matrix = as_csr(matrix)
    crow = matrix.crow_indices().long()
    rows = torch.repeat_interleave(torch.arange(len(crow) - 1, device=crow.device), crow.diff())
    return rows, matrix.col_indices().long(), matrix.values()


class Product(Function):
    """A sparse matrix times dense columns; the derivative is the product with the transpose."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, matrix: Tensor, symmetric: bool) -> Tensor:  # noqa: FBT001
        ctx.matrix, ctx.symmetric = matrix, symmetric
        return matrix @ x

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor, None, None]:
        matrix = ctx.matrix if ctx.symmetric else adjoint(ctx.matrix)
        return Product.apply(grad, matrix, ctx.symmetric), None, None


class Forms(Function):
    """x^T Q x of every row x; the product Q x of the forward pass is kept, so the gradient costs nothing more."""

    @staticmethod
    def forward(ctx: Any, beta: Tensor, matrix: Tensor, symmetric: bool) -> Tensor:  # noqa: FBT001
        product = (matrix @ beta.T).T
        ctx.matrix, ctx.symmetric = matrix, symmetric
        ctx.save_for_backward(beta, product)
        return (beta * product).sum(1)

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor, None, None]:
        beta, product = ctx.saved_tensors
        if torch.is_grad_enabled():  # somebody will differentiate this gradient: it must depend on beta
            product = Product.apply(beta.T, ctx.matrix, ctx.symmetric).T
        if not ctx.symmetric:
            other = Product.apply(beta.T, adjoint(ctx.matrix), ctx.symmetric).T
            product = (product + other) / 2
        return 2 * grad[:, None] * product, None, None


def is_symmetric(matrix: Tensor) -> bool:
    """Compare u^T Q v with v^T Q u for two fixed random vectors: one product instead of a transpose."""
    generator = torch.Generator().manual_seed(0)
    u, v = torch.rand(2, len(matrix), generator=generator, dtype=torch.float64).to(matrix.values())
    qu, qv = (matrix @ torch.stack([u, v], 1)).T
    scale = (u * qu).abs().sum() + (v * qv).abs().sum()
    return bool((u @ qv - v @ qu).abs() <= 100 * torch.finfo(scale.dtype).eps * scale)


def refuse(text: str, kind: type[Exception] = ValueError) -> None:
    """Raise `kind` with this text."""
    raise kind(text)
