"""Linear algebra that several chapters share; torch alone."""

from __future__ import annotations

import torch
from jaxtyping import Float
from torch import Tensor

__all__ = ["fix_signs", "low_rank_eigh", "principal_angles"]


def fix_signs(vectors: Float[Tensor, "*batch rows comps"]) -> Float[Tensor, "*batch rows comps"]:
    """Flip every column so that its entry of largest size is positive (the first one on ties).

    The sign of an eigenvector is void; a rule makes two runs comparable. Sizes within 1e-10 of the
    largest count as ties, so that rounding does not decide.

    Parameters
    ----------
    vectors
        Vectors in the columns; a column of zeros stays as it is.

    Examples
    --------
    >>> import torch
    >>> from scmods import linalg
    >>> linalg.fix_signs(torch.tensor([[1.0, 2.0], [-3.0, 1.0]]))
    tensor([[-1.,  2.],
            [ 3.,  1.]])
    """
    if vectors.shape[-2] == 0:
        return vectors
    size = vectors.abs()
    tied = size >= size.amax(dim=-2, keepdim=True) * (1 - 1e-10)
    first = tied.to(torch.int8).argmax(dim=-2, keepdim=True)
    sign = torch.gather(vectors, -2, first).sign()
    return vectors * torch.where(sign == 0, torch.ones_like(sign), sign)


def low_rank_eigh(
    factor: Float[Tensor, "rows rank"], core: Float[Tensor, "*batch rank rank"]
) -> tuple[Float[Tensor, "*batch comps"], Float[Tensor, "*batch rows comps"]]:
    r"""Eigenpairs of the symmetric matrices :math:`F C F^\top` without forming them.

    With the thin decomposition :math:`F = QT` the matrix is :math:`Q (T C T^\top) Q^\top`, so its
    non-zero eigenvalues are those of the small :math:`T C T^\top` and its vectors are :math:`Q` times
    the small ones. Exact.

    Parameters
    ----------
    factor
        The tall factor F, shared by the whole batch.
    core
        Symmetric small matrices C.

    Returns
    -------
    Eigenvalues, descending, and eigenvectors in the columns with signs by `fix_signs`;
    ``comps = min(rows, rank)``. Eigenvalues that are zero by rank are included.

    Notes
    -----
    O(rows rank² + batch rank³) time, O(batch rows rank) memory; a dense decomposition needs
    O(batch rows³) and O(batch rows²).

    Examples
    --------
    >>> import torch
    >>> from scmods import linalg
    >>> factor, core = torch.tensor([[3.0], [4.0]], dtype=torch.float64), torch.tensor([[[2.0]]], dtype=torch.float64)
    >>> values, vectors = linalg.low_rank_eigh(factor, core)
    >>> values.round(decimals=6).tolist(), vectors[0, :, 0].round(decimals=6).tolist()
    ([[50.0]], [0.6, 0.8])
    """
    q, t = torch.linalg.qr(factor)
    small = t @ core @ t.T
    values, vectors = torch.linalg.eigh((small + small.mT) / 2)
    tall = q.new_empty(*vectors.shape[:-2], len(q), vectors.shape[-1])
    # one matrix at a time: the tall vectors are the memory of the call, and `fix_signs` makes copies
    for out, one in zip(tall.flatten(0, -3), vectors.flip(-1).flatten(0, -3), strict=True):
        out.copy_(fix_signs(q @ one))
    return values.flip(-1), tall


def principal_angles(
    a: Float[Tensor, "rows left"], b: Float[Tensor, "rows right"]
) -> Float[Tensor, " angles"]:
    """Cosines of the principal angles between two column spaces, descending: 1 means a shared direction.

    Parameters
    ----------
    a, b
        Matrices of full column rank with the same rows.

    Examples
    --------
    >>> import torch
    >>> from scmods import linalg
    >>> a, b = torch.eye(3)[:, :2], torch.eye(3)[:, 1:]
    >>> linalg.principal_angles(a, b).round(decimals=4).abs().tolist()
    [1.0, 0.0]
    """
    q, _ = torch.linalg.qr(a)
    p, _ = torch.linalg.qr(b)
    return torch.linalg.svdvals(q.T @ p).clamp(max=1.0)
