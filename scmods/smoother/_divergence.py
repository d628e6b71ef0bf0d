r"""Kullback-Leibler divergence between the proportions of spots, all pairs or neighbours only; torch alone."""

from __future__ import annotations

from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor

from scmods.smoother._sparse import Product, as_csr, csr_tensor, is_symmetric, refuse

__all__ = ["kl_logits_loss", "kl_loss", "kl_loss_scipy"]

EPS = 1e-20  # smallest proportion whose logarithm is taken, as in the original


def _kl(p: Tensor, log_p: Tensor, weights: Tensor | None) -> Tensor:
    """Mean over pairs of sum_g p_gi (log p_gi - log p_gj), without the pairs."""
    own = (p * log_p).sum(0)
    if weights is None:
        return own.mean() - (p.mean(1) * log_p.mean(1)).sum()
    if weights.shape != (p.shape[1],) * 2:
        refuse(
            f"weights has shape {tuple(weights.shape)}, but must be (spots, spots) with {p.shape[1]} spots."
        )
    edges = as_csr(weights).detach()
    count = int((edges.values() != 0).sum())
    if not count:
        refuse("weights has no entry other than 0: there is no pair to compare.")
    degree = (edges @ torch.ones_like(p[:1]).T)[:, 0]
    cross = (p * Product.apply(log_p.T, edges, is_symmetric(edges)).T).sum()
    return (torch.dot(degree, own) - cross) / count


def kl_loss(p: Float[Tensor, "*groups spots"], weights: Tensor | None = None) -> Float[Tensor, ""]:
    r"""Mean Kullback-Leibler divergence between the proportions of pairs of spots.

    .. math:: K_{ij} = \sum_g p_{gi} \log(p_{gi} / p_{gj}), \qquad
              L = \frac{1}{n^2}\sum_{ij} K_{ij} \quad\text{or}\quad
              L = \frac{\sum_{ij} W_{ij} K_{ij}}{\#\{W_{ij} \ne 0\}}

    Parameters
    ----------
    p
        Proportions, (groups, spots): not negative, columns sum to 1. Entries below 1e-20 count as 1e-20 in the
        logarithm, and no gradient flows through the logarithm of those.
    weights
        Spatial weights, (spots, spots), dense or sparse; rows are i, columns are j. None compares all pairs.

    Returns
    -------
    The loss in nats, a scalar; not negative, and 0 when all compared spots are equal.

    Raises
    ------
    ValueError
        Negative proportions, columns that do not sum to 1 (within 1e-3), weights of another size.

    Notes
    -----
    O(groups (spots + non-zeros)): the mean over all pairs is
    :math:`\overline{h} - \sum_g \overline{p_g}\,\overline{\log p_g}`, h the negative entropy of a spot. The mean over
    edges is the rule of the original's torch function; its twin for numpy divides by n² also with weights.

    Examples
    --------
    >>> p = torch.tensor([[0.5, 0.25], [0.5, 0.75]], dtype=torch.float64)
    >>> print(f"{kl_loss(p):.4f} {kl_loss(p, torch.tensor([[0.0, 1.0], [1.0, 0.0]])):.4f}")
    0.0687 0.1373
    """
    if p.ndim != 2:
        refuse(f"p has shape {tuple(p.shape)}, but must be (groups, spots).")
    plain = p.detach()
    total = plain.sum(0)
    if not (plain >= 0).all():  # also true of NaN
        group, spot = (~(plain >= 0)).nonzero()[0].tolist()
        refuse(
            f"p[{group}, {spot}] is {float(plain[group, spot]):g}, but proportions are numbers from 0 to 1."
        )
    worst = int((total - 1).abs().argmax())
    if (total[worst] - 1).abs() > 1e-3:
        refuse(
            f"Column {worst} of p sums to {float(total[worst]):g}, but every column (spot) must sum to 1. "
            "Divide first: p / p.sum(0); for logits use kl_logits_loss."
        )
    if weights is not None:
        weights = weights.to(p.dtype)
    return _kl(p, p.clamp(min=EPS).log(), weights)


def kl_logits_loss(logits: Float[Tensor, "groups spots"], weights: Tensor | None = None) -> Float[Tensor, ""]:
    """`kl_loss` of the softmax over groups, through the logarithm of the softmax: finite for any finite logits.

    Parameters
    ----------
    logits
        Any real field, (groups, spots); a constant added to a column changes nothing.
    weights
        As in `kl_loss`.

    Returns
    -------
    The loss in nats, a scalar.

    Examples
    --------
    >>> print(kl_logits_loss(torch.tensor([[5.0, 7.0], [1.0, 3.0]])))
    tensor(0.)
    """
    log_p = logits.log_softmax(0)
    return _kl(log_p.exp(), log_p, weights if weights is None else weights.to(logits.dtype))


def kl_loss_scipy(p: Any, weights: Any = None) -> float:
    """`kl_loss` of arrays, in float64; columns are divided by their sum, as ``scipy.stats.entropy`` does.

    Parameters
    ----------
    p
        Array, (groups, spots): proportions or abundances, not negative, no empty column.
    weights
        Array or scipy sparse matrix, (spots, spots), or None for all pairs.

    Returns
    -------
    The loss in nats. With weights it is the mean over edges, the same rule as `kl_loss`; the original divides by
    the number of all pairs, which is this value times ``weights.nnz / spots**2``.

    Raises
    ------
    ValueError
        Negative or missing entries, a column of zeros, weights of another size.

    Examples
    --------
    >>> print(f"{kl_loss_scipy([[2.0, 1.0], [2.0, 3.0]]):.4f}")
    0.0687
    """
    p = torch.as_tensor(p, dtype=torch.float64)
    if p.ndim == 2 and not (p.sum(0) != 0).all():
        refuse(
            f"Column {int((p.sum(0) == 0).nonzero()[0])} of p is all zero, so it has no proportions. Drop it."
        )
    if hasattr(weights, "tocsr"):
        w = weights.tocsr()
        parts = (torch.as_tensor(a) for a in (w.indptr, w.indices, w.data.astype("float64")))
        weights = csr_tensor(*parts, w.shape)
    elif weights is not None:
        weights = torch.as_tensor(weights, dtype=torch.float64)
    return float(kl_loss(p / p.sum(0) if p.ndim == 2 else p, weights))
