r"""Spatial losses as functions of a field: quadratic form, Kullback-Leibler divergence, Geary's C; torch alone.

A field ``beta`` has one row per group (cell type, gene, latent factor) and one column per spot. Letters of the
chapter and names here: X ``beta`` (groups, spots), Q ``inv_cov`` (spots, spots), c ``group_scales`` (groups),
W ``weights`` (spots, spots), p proportions (groups, spots).

Sparse matrices are torch CSR or COO tensors; no gradient flows into them. Everything is a sum over their non-zero
entries: no array of spots x spots values is made unless the caller brings one.
"""

from __future__ import annotations

import torch
from jaxtyping import Float
from torch import Tensor

from scmods.smoother._divergence import kl_logits_loss, kl_loss, kl_loss_scipy
from scmods.smoother._sparse import Forms, Product, as_csr, entries, is_symmetric, refuse

__all__ = [
    "geary_c",
    "kl_logits_loss",
    "kl_loss",
    "kl_loss_scipy",
    "permutation_expectation",
    "quadratic_loss",
    "sparse_quadratic_loss",
]


def _scales(group_scales: float | Tensor, beta: Tensor) -> Tensor:
    scales = torch.as_tensor(group_scales, dtype=beta.dtype, device=beta.device)
    if scales.numel() not in (1, len(beta)) or scales.ndim > 1:
        refuse(
            f"group_scales has shape {tuple(scales.shape)}, but must be one number or one per group, {len(beta)}."
        )
    return scales


def _check_field(beta: Tensor, spots: int, matrices: int = 1) -> None:
    shape = tuple(beta.shape)
    if beta.ndim != 2 or shape[1] != spots:
        hint = " It looks transposed: pass beta.T." if beta.ndim == 2 and shape[0] == spots else ""
        refuse(f"beta has shape {shape}, but must be (groups, spots) with {spots} spots.{hint}")
    if matrices not in (1, shape[0]):
        refuse(f"{matrices} precision matrices for {shape[0]} groups; pass one matrix, or one per group.")


def quadratic_loss(
    beta: Float[Tensor, "*groups spots"],
    inv_cov: Float[Tensor, "*matrices rows columns"],
    group_scales: float | Float[Tensor, "*scales"] = 1.0,
    normalize: bool = True,  # noqa: FBT001, FBT002 - the original's signature
) -> Float[Tensor, ""]:
    r"""Quadratic spatial loss with a dense precision matrix: :math:`L = \sum_g c_g\, x_g^\top Q_g\, x_g`.

    Twice the negative log-density of a Gaussian field with precision Q, up to a constant.

    Parameters
    ----------
    beta
        The field, (groups, spots), in any unit.
    inv_cov
        Precision, (spots, spots) or (1, spots, spots) for all groups, or (groups, spots, spots); 1 / unit².
    group_scales
        Confidence c of the groups: a number, or one per group.
    normalize
        Divide by groups x spots.

    Returns
    -------
    The loss, a scalar; no factor 1/2 and no log-determinant.

    Raises
    ------
    ValueError
        When the shapes of field, precision and scales do not belong together.

    See Also
    --------
    sparse_quadratic_loss : the same with a sparse precision, for more than a few thousand spots.

    Notes
    -----
    O(groups spots²). Su et al., Smoother, Genome Biology 24:291 (2023), 10.1186/s13059-023-03138-x.

    Examples
    --------
    >>> chain = torch.tensor([[1.0, -1.0, 0.0], [-1.0, 2.0, -1.0], [0.0, -1.0, 1.0]])
    >>> quadratic_loss(torch.tensor([[0.0, 1.0, 3.0]]), chain, 1.0, normalize=False)
    tensor(5.)
    """
    stack = inv_cov if inv_cov.ndim == 3 else inv_cov[None]
    if stack.ndim != 3 or stack.shape[1] != stack.shape[2]:
        refuse(f"inv_cov has shape {tuple(inv_cov.shape)}, but must be (matrices, spots, spots).")
    _check_field(beta, stack.shape[1], len(stack))
    scales = _scales(group_scales, beta)
    product = beta @ stack[0].T if len(stack) == 1 else torch.einsum("gij,gj->gi", stack, beta)
    loss = (scales * (beta * product).sum(1)).sum()
    return loss / beta.numel() if normalize else loss


def sparse_quadratic_loss(
    beta: Float[Tensor, "*groups spots"],
    inv_cov_2d_sp: Tensor,
    group_scales: float | Float[Tensor, "*scales"] = 1.0,
    normalize: bool = True,  # noqa: FBT001, FBT002 - the original's signature
    *,
    symmetric: bool | None = None,
) -> Float[Tensor, ""]:
    r"""Quadratic spatial loss with a sparse precision matrix: :math:`L = \sum_g c_g\, x_g^\top Q_g\, x_g`.

    Parameters
    ----------
    beta
        The field, (groups, spots).
    inv_cov_2d_sp
        Precision, sparse CSR or COO: (spots, spots) for all groups, or block diagonal with one block per group,
        (groups spots, groups spots). No gradient flows into it.
    group_scales
        Confidence c of the groups: a number, or one per group.
    normalize
        Divide by groups x spots.
    symmetric
        Whether the precision is symmetric. None compares :math:`u^\top Q v` with :math:`v^\top Q u` for two fixed
        vectors at the cost of one more product. For an asymmetric Q the gradient is :math:`c (Q + Q^\top) x`.

    Returns
    -------
    The loss, a scalar.

    Raises
    ------
    ValueError
        When the shapes of field, precision and scales do not belong together.

    Notes
    -----
    One sparse product per call, O(groups non-zeros): the gradient :math:`2 c\,Qx` reuses it.

    Examples
    --------
    >>> chain = torch.tensor([[1.0, -1.0, 0.0], [-1.0, 2.0, -1.0], [0.0, -1.0, 1.0]])
    >>> sparse_quadratic_loss(torch.tensor([[0.0, 1.0, 3.0]]), chain.to_sparse(), 1.0, normalize=False)
    tensor(5.)
    """
    forms = _quadratic_forms(beta, inv_cov_2d_sp, symmetric)
    loss = (_scales(group_scales, beta) * forms).sum()
    return loss / beta.numel() if normalize else loss


def _quadratic_forms(beta: Tensor, matrix: Tensor, symmetric: bool | None) -> Tensor:  # noqa: FBT001
    rows = matrix.shape[0]
    shared = beta.ndim == 2 and rows == beta.shape[1]
    if matrix.ndim != 2 or rows != matrix.shape[1]:
        refuse(f"inv_cov_2d_sp has shape {tuple(matrix.shape)}, but must be square.")
    if beta.ndim != 2 or rows not in (beta.shape[1], beta.numel()):
        groups, spots = (tuple(beta.shape) + (0, 0))[:2]
        refuse(
            f"beta has shape {tuple(beta.shape)} and inv_cov_2d_sp {tuple(matrix.shape)}, but beta must be "
            f"(groups, spots) and the matrix {spots} x {spots} or block diagonal, {groups * spots} x {groups * spots}."
        )
    matrix = as_csr(matrix)
    symmetric = is_symmetric(matrix) if symmetric is None else symmetric
    if shared:
        return Forms.apply(beta, matrix, symmetric)
    # blocks: one long vector; its form must stay apart by group for the scales
    product = Product.apply(beta.reshape(-1, 1), matrix, symmetric).reshape(beta.shape)
    return (beta * product).sum(1)


def permutation_expectation(inv_cov: Tensor) -> tuple[Tensor, Tensor]:
    r"""The two numbers of the expected precision under random permutations of the spots.

    .. math:: \mathbb{E}[P^\top Q P] = (a - b) I + b\,\mathbf{1}\mathbf{1}^\top, \qquad
              a = \frac{\mathrm{tr}\,Q}{n}, \quad b = \frac{\mathbf{1}^\top Q \mathbf{1} - \mathrm{tr}\,Q}{n (n-1)},

    because a random permutation sends a diagonal entry to every diagonal place, and an off-diagonal entry to every
    off-diagonal place, with the same probability.

    Parameters
    ----------
    inv_cov
        Precision, (spots, spots), dense or sparse, at least two spots.

    Returns
    -------
    a and b, two scalars: :math:`\mathbb{E}[x^\top P^\top Q P x] = (a - b) \lVert x \rVert^2 + b (\mathbf{1}^\top x)^2`.

    Examples
    --------
    >>> a, b = permutation_expectation(torch.tensor([[2.0, -1.0], [-1.0, 4.0]]))
    >>> print(float(a), float(b))
    3.0 -1.0
    """
    n = inv_cov.shape[0]
    if n < 2:
        refuse(f"inv_cov has {n} spot, but a permutation needs at least 2.")
    rows, cols, values = entries(inv_cov)
    trace = values[rows == cols].sum()
    return trace / n, (values.sum() - trace) / (n * (n - 1))


def geary_c(beta: Float[Tensor, "*groups spots"], weights: Tensor) -> Float[Tensor, " groups"]:
    r"""Geary's C of every group: squared differences of neighbours relative to those of all spots.

    .. math:: C = \frac{n - 1}{2 S} \frac{\sum_{ij} W_{ij} (x_i - x_j)^2}{\sum_i (x_i - \bar{x})^2},
              \qquad S = \sum_{i \ne j} W_{ij}

    Parameters
    ----------
    beta
        The field, (groups, spots).
    weights
        Spatial weights, (spots, spots), dense or sparse, not all zero; the diagonal is ignored.

    Returns
    -------
    One number per group: about 1 without spatial structure, towards 0 for a smooth field, above 1 for a checkered
    one; NaN for a constant field, which has no C.

    Examples
    --------
    >>> chain = torch.tensor([[0.0, 1.0, 0.0], [1.0, 0.0, 1.0], [0.0, 1.0, 0.0]])
    >>> geary_c(torch.tensor([[0.0, 1.0, 2.0], [0.0, 1.0, 0.0]]), chain)
    tensor([0.5000, 1.5000])
    """
    _check_field(beta, weights.shape[0])
    rows, cols, values = entries(weights)
    values = values.to(beta.dtype).where(rows != cols, 0)
    differences = ((beta[:, rows] - beta[:, cols]) ** 2 * values).sum(1)
    spread = ((beta - beta.mean(1, keepdim=True)) ** 2).sum(1)
    return (beta.shape[1] - 1) * differences / (2 * values.sum() * spread)
