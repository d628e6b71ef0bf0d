r"""Hill curves fitted to the distribution of expression, all genes of a block at once.

The activation of the field, :math:`\varphi(x) = x^n / (x^n + k^n)`, is read as the share of the expressing cells that
express less than x: at k half of them do, and n says how alike they are. It is the distribution function of the
log-logistic law, so k and n are the least-squares fit of that law.

Which cells count. :math:`\varphi(0) = 0` whatever k and n are. A distribution function over all cells would jump at 0
to the share of cells without expression, which no Hill curve can follow; the fit would bend k and n to the number of
dropouts. So only cells with positive expression enter, each with the same weight, and no cut above 0 is made: a cut at
a share of the maximum removes the lower part of a heavy-tailed gene and biases both numbers.

Torch alone; no function checks the values, see `scmods.hopfield.hill`.
"""

from __future__ import annotations

import math
from typing import NamedTuple

import torch
from jaxtyping import Bool, Float
from torch import Tensor

__all__ = ["LOWEST_EXPONENT", "HillFit", "distribution", "fit_curves", "mean_squared_error"]

LOWEST_EXPONENT = 1.001  # at 1 and below the slope at x = 0 is 1/k or infinite
FEWEST_CELLS = 5  # with fewer expressing cells k is their median and n the exponent below
FALLBACK_EXPONENT = 2.0
BLOCK = 2**19  # values of one block of genes, 4 MiB each array: it stays in the cache


class HillFit(NamedTuple):
    """Result of `fit_curves`, one entry per gene."""

    threshold: Tensor  # k, in the unit of the expression
    exponent: Tensor  # n
    mse: Tensor  # mean squared distance of curve and distribution over the expressing cells; NaN without any
    converged: Tensor  # bool; also True where nothing had to be iterated


class _Block(NamedTuple):
    """Sorted genes, ready for the iteration; genes are rows so that sums run along memory."""

    log_x: Tensor  # 0 where not expressed
    share: Tensor  # distribution function, 0 where not expressed
    weight: Tensor  # 1 / expressing cells, 0 where not expressed
    top: Tensor  # logarithm of the largest value

    def take(self, rows: Tensor) -> _Block:
        return _Block(*(part[rows] for part in self))


def distribution(
    x: Float[Tensor, "cells genes"],
) -> tuple[Float[Tensor, "cells genes"], Float[Tensor, "cells genes"]]:
    r"""Distribution function of the positive values of every gene.

    With m positive values, the value of rank r has the share :math:`(r - 1/2)/m`, which is never 0 or 1; equal values
    share the mean of their ranks.

    Parameters
    ----------
    x
        Expression, finite and not negative.

    Returns
    -------
    values
        Every column of `x` sorted, smallest first.
    shares
        Share that belongs to each value, in (0, 1); 0 for values that are 0.

    Notes
    -----
    O(cells log(cells)) per gene.

    Examples
    --------
    >>> distribution(torch.tensor([[3.0], [0.0], [1.0], [1.0]]))[1].ravel()
    tensor([0.0000, 0.3333, 0.3333, 0.8333])
    """
    values, shares = _sorted_shares(x.T)
    return values.T, shares.T


def _sorted_shares(
    rows: Float[Tensor, "genes cells"],
) -> tuple[Float[Tensor, "genes cells"], Float[Tensor, "genes cells"]]:
    values = rows.sort(dim=1).values
    n = values.shape[1]
    place = torch.arange(n, device=values.device).expand_as(values)
    new = torch.ones_like(values, dtype=torch.bool)
    new[:, 1:] = values[:, 1:] > values[:, :-1]
    first = torch.where(new, place, 0).cummax(1).values
    closes = torch.ones_like(new)
    closes[:, :-1] = new[:, 1:]
    last = torch.where(closes, place, n).flip(1).cummin(1).values.flip(1)
    zeros = (values <= 0).sum(1, keepdim=True)
    rank = (first + last).to(values.dtype) / 2 + 1 - zeros
    shares = (rank - 0.5) / (n - zeros).clamp_min(1)
    return values, torch.where(values > 0, shares, 0.0)


def _prepare(values: Float[Tensor, "genes cells"], shares: Float[Tensor, "genes cells"]) -> _Block:
    positive = values > 0
    log_x = torch.where(positive, values, 1.0).log()
    # a bool divided by an integer would be float32
    weight = positive.to(values.dtype) / positive.sum(1, keepdim=True).clamp_min(1)
    return _Block(log_x, shares, weight, log_x[:, -1])


def _curve(data: _Block, a: Float[Tensor, " genes"], b: Float[Tensor, " genes"]) -> tuple[Tensor, ...]:
    """Residual, its derivatives in a = ln k and b = ln n, and the mean square."""
    n = b.exp()[:, None]
    z = n * (data.log_x - a[:, None])
    p = z.sigmoid()
    r = p - data.share
    slope = p * (1 - p)
    return r, -n * slope, slope * z, (data.weight * r.square()).sum(1)


def _mse(data: _Block, a: Float[Tensor, " genes"], b: Float[Tensor, " genes"]) -> Float[Tensor, " genes"]:
    p = (b.exp()[:, None] * (data.log_x - a[:, None])).sigmoid()
    return (data.weight * (p - data.share).square()).sum(1)


def _start(data: _Block) -> tuple[Float[Tensor, " genes"], Float[Tensor, " genes"]]:
    """Start (ln k, n): the regression of logit(share) on ln x; n = 2 at the mean where all values are equal."""
    logit = torch.where(data.weight > 0, data.share, 0.5).logit()
    x_mean, y_mean = (data.weight * data.log_x).sum(1), (data.weight * logit).sum(1)
    dx = data.log_x - x_mean[:, None]
    spread = (data.weight * dx.square()).sum(1)
    covariance = (data.weight * dx * logit).sum(1)
    varies = spread > 1e-20 * (1 + x_mean.square())
    n = torch.where(varies, covariance / torch.where(varies, spread, 1.0), FALLBACK_EXPONENT)
    n = n.clamp_min(LOWEST_EXPONENT)
    return x_mean - y_mean / n, n


def _step(
    r: Tensor, ja: Tensor, jb: Tensor, weight: Tensor, damping: Tensor, blocked: tuple[Tensor, ...]
) -> tuple[Tensor, Tensor, Tensor]:
    """Damped Gauss-Newton step of both parameters and the size of the gradient, from 2 x 2 normal equations."""
    low_a, high_a, low_b, high_b = blocked
    wa, wb = weight * ja, weight * jb
    ga, gb = (wa * r).sum(1), (wb * r).sum(1)
    # a parameter on its bound stays there while the gradient pushes outwards
    free_a = ~((high_a & (ga < 0)) | (low_a & (ga > 0)))
    free_b = ~((high_b & (gb < 0)) | (low_b & (gb > 0)))
    ga, gb = ga * free_a, gb * free_b
    tiny = torch.finfo(r.dtype).tiny ** 0.5
    haa = (wa * ja).sum(1) * (1 + damping) + tiny
    hbb = (wb * jb).sum(1) * (1 + damping) + tiny
    hab = (wa * jb).sum(1) * (free_a & free_b)
    det = haa * hbb - hab.square()
    # damping keeps the determinant positive; where it rounds to 0 the diagonal alone decides
    safe = det > 1e-14 * haa * hbb
    det, hab = torch.where(safe, det, haa * hbb), torch.where(safe, hab, 0.0)
    return -(hbb * ga - hab * gb) / det, -(haa * gb - hab * ga) / det, torch.maximum(ga.abs(), gb.abs())


def _levenberg(
    data: _Block, a: Tensor, b: Tensor, bounds: tuple[float, float], max_iter: int
) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Minimise the mean square inside the bounds, gene by gene, dropping the genes that are done."""
    low, high = (math.log(v) for v in bounds)
    a, b = torch.minimum(a, data.top), b.clamp(low, high)
    best_a, best_b, best = a.clone(), b.clone(), _mse(data, a, b)
    done = torch.zeros_like(best, dtype=torch.bool)
    rows = torch.arange(len(a), device=a.device)
    damping = torch.full_like(a, 1e-3)
    for _ in range(max_iter):
        r, ja, jb, mse = _curve(data, a, b)
        never = torch.zeros_like(a, dtype=torch.bool)
        da, db, gradient = _step(r, ja, jb, data.weight, damping, (never, a >= data.top, b <= low, b >= high))
        # no step may leave the region in which the curve of the data is anything but flat
        new_a = torch.minimum(a + da.clamp(-2, 2), data.top)
        new_b = (b + db.clamp(-1, 1)).clamp(low, high)
        new = _mse(data, new_a, new_b)
        better = new < mse
        moved = torch.maximum((new_a - a).abs(), (new_b - b).abs())
        a, b = torch.where(better, new_a, a), torch.where(better, new_b, b)
        damping = torch.where(better, damping / 10, damping * 10).clamp(1e-12, 1e12)
        best_a[rows], best_b[rows], best[rows] = a, b, torch.minimum(new, mse)
        finished = (gradient < 1e-15) | (moved < 1e-9)
        done[rows] = finished
        if finished.all():
            break
        if finished.any():
            keep = ~finished
            data, rows, a, b, damping = data.take(keep), rows[keep], a[keep], b[keep], damping[keep]
    return best_a, best_b, best, done


def _fit_block(rows: Float[Tensor, "genes cells"], max_exponent: float, max_iter: int) -> HillFit:
    values, shares = _sorted_shares(rows)
    data = _prepare(values, shares)
    found = (values > 0).sum(1)
    a0, n0 = _start(data)
    bounds = (LOWEST_EXPONENT, max_exponent)
    a, b, mse, done = _levenberg(data, a0, n0.log(), bounds, max_iter)
    # the doubled start of k and n finds the minimum that a heavy lower tail hides from the first
    second = _levenberg(data, a0 + math.log(2), (2 * n0).log(), bounds, max_iter)
    better = second[2] < mse
    a, b, mse, done = (
        torch.where(better, new, old) for new, old in zip(second, (a, b, mse, done), strict=True)
    )
    distinct = ((values[:, 1:] > values[:, :-1]) & (values[:, :-1] > 0)).any(1)
    few = (found < FEWEST_CELLS) | ~distinct
    a = torch.where(few, _log_median(values, found), a)
    b = torch.where(few, math.log(FALLBACK_EXPONENT), b)
    mse = torch.where(few, _mse(data, a, b), mse)
    # exp(log(8)) is not 8: what lies on a bound is given the bound
    k = torch.where((a < data.top) | (found == 0), a.exp(), values[:, -1])
    n = torch.where(b < math.log(max_exponent), b.exp(), max_exponent)
    n = torch.where(b > math.log(LOWEST_EXPONENT), n, LOWEST_EXPONENT)
    return HillFit(k, n, torch.where(found > 0, mse, torch.nan), done | few)


def _log_median(values: Float[Tensor, "genes cells"], found: Tensor) -> Float[Tensor, " genes"]:
    """Logarithm of the median of the positive values; 0 (k = 1) where there is none."""
    n = values.shape[1]
    start = n - found
    middle = torch.stack([start + (found - 1).clamp_min(0) // 2, start + found // 2]).clamp(0, n - 1)
    median = values.gather(1, middle.T).mean(1)
    return torch.where(found > 0, median, 1.0).log()


def fit_curves(x: Float[Tensor, "cells genes"], *, max_exponent: float = 8.0, max_iter: int = 100) -> HillFit:
    r"""Hill curve of every gene: least squares of :math:`\varphi(x)` on the distribution of the positive values.

    Minimises, over k in (0, largest value] and n in [1.001, `max_exponent`],

    .. math:: \frac1m \sum_{x_i > 0} \Bigl[\frac{x_i^n}{x_i^n + k^n} - F(x_i)\Bigr]^2

    with F of `distribution`, by Levenberg-Marquardt in (ln k, ln n), from two starts: the regression of
    :math:`\operatorname{logit} F` on :math:`\ln x`, whose slope is n and whose zero is k, and both numbers doubled.
    The lower minimum is kept.

    Parameters
    ----------
    x
        Expression, finite and not negative; float64.
    max_exponent
        Largest exponent. Steeper curves cannot be told from a step with some hundred cells.
    max_iter
        Steps per start.

    Returns
    -------
    ``threshold``, ``exponent``, ``mse``, ``converged``, one entry per gene. A gene without expression gets
    k = 1, n = 2 and mse NaN; one with fewer than 5 expressing cells, or with one
    value in all of them, the median of these values and n = 2.

    Notes
    -----
    Genes are independent, so they are solved together: about 10 passes over the values, genes that are done leave.
    Memory: a dozen arrays of one block of genes, 4 MiB each or one gene.

    Examples
    --------
    >>> share = (torch.arange(1000, dtype=torch.float64) + 0.5) / 1000
    >>> x = 2.0 * (share / (1 - share)) ** (1 / 3)  # quantiles of k = 2, n = 3
    >>> found = fit_curves(x[:, None])
    >>> round(float(found.threshold), 6), round(float(found.exponent), 6)
    (2.0, 3.0)
    """
    size = max(1, BLOCK // max(1, len(x)))
    parts = [_fit_block(part.T.contiguous(), max_exponent, max_iter) for part in x.split(size, dim=1)]
    return HillFit(*(torch.cat(p) for p in zip(*parts, strict=True)))


def mean_squared_error(
    x: Float[Tensor, "cells genes"],
    threshold: Float[Tensor, " genes"],
    exponent: Float[Tensor, " genes"],
) -> Float[Tensor, " genes"]:
    """Mean squared distance of given Hill curves and the distribution of the positive values.

    Parameters
    ----------
    x
        Expression, finite and not negative; float64.
    threshold, exponent
        k and n of every gene, positive.

    Returns
    -------
    One number per gene; NaN for genes without expression.
    """
    values, shares = _sorted_shares(x.T)
    data = _prepare(values, shares)
    mse = _mse(data, threshold.log(), exponent.log())
    return torch.where(_expressed(values), mse, torch.nan)


def _expressed(values: Float[Tensor, "genes cells"]) -> Bool[Tensor, " genes"]:
    return (values > 0).any(1)
