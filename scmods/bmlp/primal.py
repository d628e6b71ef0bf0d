r"""The quadratic model for many cells: the fit of `closed_form` in principal components; torch alone.

When the genes are :math:`x = Vz` with orthonormal loadings V, inner products of cells are inner products of
their scores z, and the kernel :math:`(c + z \cdot z'/g)^2` is the inner product of

.. math:: \phi(z) = \bigl[\,c,\ \sqrt{2c/g}\; z_i,\ z_i^2/g,\ \sqrt2\, z_i z_j/g\ (i < j)\,\bigr].

With q components these are p = (q + 1)(q + 2)/2 features, however many cells there are, so ridge regression
on them (the primal form) gives the numbers of kernel ridge (the dual form) from a p x p matrix summed over
blocks of cells. Another c only rescales the features: the sum is made once.

Source: derived in the chapter; the tests compare every number with `closed_form.fit_quadratic`.
"""

from __future__ import annotations

import math
from collections.abc import Iterator

import torch
from jaxtyping import Float
from torch import Tensor

from scmods.bmlp.closed_form import OFFSETS, RIDGES, QuadraticModel, _refit, choose_offset

__all__ = ["fit_quadratic_pcs", "offset_scale", "quadratic_features"]


def quadratic_features(
    scores: Float[Tensor, "cells comps"], n_genes: int, offset: float = 1.0
) -> Float[Tensor, "cells features"]:
    r"""The map :math:`\phi` with :math:`\phi(z) \cdot \phi(z') = (c + z \cdot z'/g)^2`.

    Parameters
    ----------
    scores
        Cells z, one per row.
    n_genes
        The g that divides inner products.
    offset
        The c of the kernel.

    Returns
    -------
    One constant column, one per component, one per pair of components (row by row of the upper triangle,
    squares included): (comps + 1)(comps + 2)/2 columns. O(cells comps²) time and memory.
    """
    comps = scores.shape[1]
    out = scores.new_empty(len(scores), (comps + 1) * (comps + 2) // 2)
    out[:, 0] = offset
    out[:, 1 : comps + 1] = math.sqrt(2 * offset / n_genes) * scores
    start = comps + 1
    for i in range(comps):
        pairs = out[:, start : start + comps - i]
        torch.mul(scores[:, i:], scores[:, i : i + 1] * (math.sqrt(2) / n_genes), out=pairs)
        pairs[:, 0] /= math.sqrt(2)
        start += comps - i
    return out


def offset_scale(offset: float, comps: int) -> Float[Tensor, " features"]:
    """Factors, float64, that turn the features of c = 1 into those of c = `offset`, for `comps` components.

    c for the constant, sqrt(c) for the components, 1 for the pairs.
    """
    scale = torch.ones((comps + 1) * (comps + 2) // 2, dtype=torch.float64)
    scale[0], scale[1 : comps + 1] = offset, math.sqrt(offset)
    return scale


class _Blocks:
    """Features at c = 1 and centred targets of the cells, in float64, one block at a time."""

    def __init__(self, scores: Tensor, y: Tensor, n_genes: int, size: int) -> None:
        self.scores, self.y, self.n_genes, self.size = scores, y, n_genes, size
        self.mean = y.double().mean(dim=0)

    def __iter__(self) -> Iterator[tuple[slice, Tensor, Tensor]]:
        for start in range(0, len(self.scores), self.size):
            part = slice(start, start + self.size)
            phi = quadratic_features(self.scores[part].double(), self.n_genes)
            yield part, phi, self.y[part].double() - self.mean

    def normal(self) -> tuple[Tensor, Tensor]:
        """Sums over the cells of features times features and of features times targets."""
        comps = self.scores.shape[1]
        features = (comps + 1) * (comps + 2) // 2
        gram = self.mean.new_zeros(features, features)
        moment = self.mean.new_zeros(features, self.y.shape[1])
        for _, phi, y in self:
            gram.addmm_(phi.T, phi)
            moment.addmm_(phi.T, y)
        return gram, moment


class _Ridge:
    """All ridge fits with one c, from one eigendecomposition of the scaled normal matrix."""

    def __init__(self, gram: Tensor, moment: Tensor, offset: float, comps: int, cells: int) -> None:
        self.offset, self.comps = offset, comps
        self.scale = offset_scale(offset, comps).to(gram.device)[:, None]
        values, vectors = torch.linalg.eigh(gram * self.scale * self.scale.T)
        # the rank is at most the number of cells; what rounding left beyond it would be divided by the ridge
        resolved = slice(max(0, len(gram) - cells), None)
        self.values, self.vectors = values[resolved].clamp(min=0.0), vectors[:, resolved]
        self.rotated = self.vectors.T @ (self.scale * moment)
        # features at c = 1 times this are features at c in the eigenbasis
        self.basis = self.scale * self.vectors

    def errors(self, blocks: _Blocks, ridges: Tensor) -> tuple[Tensor, Tensor]:
        """Mean squared leave-one-out errors (ridges, outputs), and the leverages (cells, ridges) behind them.

        The residual without a cell is its residual over one minus its leverage.
        """
        inverse = 1 / (self.values[:, None] + ridges)
        weights = (inverse[:, :, None] * self.rotated[:, None]).flatten(1)
        total = self.values.new_zeros(len(ridges), self.rotated.shape[1])
        leverage = self.values.new_empty(len(blocks.y), len(ridges))
        for part, phi, y in blocks:
            u = phi @ self.basis
            fitted = (u @ weights).view(len(u), *total.shape)
            leverage[part] = u.square_() @ inverse
            total += (((y[:, None] - fitted) / (1 - leverage[part, :, None])) ** 2).sum(dim=0)
        return total / len(blocks.y), leverage

    def weights(self, ridge: Tensor, outputs: Tensor) -> Tensor:
        """Weights of the features at this c (features, outputs)."""
        return self.vectors @ (self.rotated[:, outputs] / (self.values[:, None] + ridge))

    def loo_parts(self, blocks: _Blocks, outputs: Tensor, ridge: Tensor, leverage: Tensor) -> Tensor:
        r"""Leave-one-out predictions (3, cells, outputs), as `closed_form.loo_parts` splits them.

        Leaving cell i out changes the weights to :math:`w - M \phi_i r_i` with its leave-one-out residual r
        and :math:`M = (\Phi^\top\Phi + \rho I)^{-1}`; part p of its prediction is their product with the
        features of that part. The leverages of the parts sum to the known whole, so only the constant and
        linear columns of M are needed.
        """
        q = self.comps + 1
        weights = self.scale * self.weights(ridge, outputs)
        # columns of M for features at c = 1, for each ridge that is in use
        affine = {r: self.basis @ (self.basis[:q] / (self.values + r)).T for r in ridge.unique().tolist()}
        out = weights.new_empty(3, len(blocks.y), len(outputs))
        for part, phi, y in blocks:
            plain = torch.stack([phi[:, s] @ weights[s] for s in (slice(1), slice(1, q), slice(q, None))])
            share = torch.zeros_like(plain)
            for r, columns in affine.items():
                rows, same = phi @ columns * phi[:, :q], ridge == r
                share[0, :, same] = rows[:, :1]
                share[1, :, same] = rows[:, 1:].sum(dim=1, keepdim=True)
            share[2] = leverage[part] - share[0] - share[1]
            residual = (y[:, outputs] - plain.sum(dim=0)) / (1 - leverage[part])
            out[:, part] = plain - share * residual
        out[0] /= self.offset**2
        return out


def _symmetric(pairs: Float[Tensor, "outputs pairs"], comps: int) -> Float[Tensor, "outputs comps comps"]:
    """Symmetric C with z'Cz = the products of components times their weights, at g = 1."""
    row, column = torch.triu_indices(comps, comps, device=pairs.device)
    core = pairs.new_zeros(len(pairs), comps, comps)
    core[:, row, column] = pairs / math.sqrt(2)
    core.diagonal(dim1=1, dim2=2).mul_(math.sqrt(2))
    return core + core.triu(1).mT


def fit_quadratic_pcs(
    scores: Float[Tensor, "cells comps"],
    y: Float[Tensor, "cells outputs"],
    loadings: Float[Tensor, "genes comps"],
    *,
    n_genes: int,
    offsets: tuple[float, ...] = OFFSETS,
    ridges: tuple[float, ...] = RIDGES,
    refit: bool = True,
    block: int = 4096,
) -> QuadraticModel:
    r"""The model of `fit_quadratic` for ``x = scores @ loadings.T``, without a cells x cells matrix.

    Parameters
    ----------
    scores
        Principal components of the cells.
    y
        Targets, any scale; their means over the cells are taken off first and added back.
    loadings
        Orthonormal columns that lead from components to genes.
    n_genes
        The number that divides inner products in the kernel: of the genes the components stand for.
    offsets, ridges
        Positive grids of c and of the ridge strength, chosen as `fit_quadratic` does: one c for all outputs, one
        ridge for each.
    refit
        Undo the shrinkage by three leave-one-out numbers per output, as in `fit_quadratic`.
    block
        Cells per block; the result does not depend on it.

    Returns
    -------
    The model with ``factor = loadings.T`` and symmetric ``core`` (outputs, comps, comps), refit included; in
    the type of `scores`.

    Notes
    -----
    Sums are float64 whatever the type of `scores`. With p = (comps + 1)(comps + 2)/2 features (1,326 for 50
    components): O(cells p²) time for the sum and for the leverages, and O(p³) for the eigenvectors; memory
    O(block p + p²) beside one number per cell for every ridge and output. Components leave out the
    genes' variance beyond them, so the model equals that on the genes only when none was left out.

    Examples
    --------
    >>> import torch
    >>> from scmods import bmlp
    >>> scores = torch.randn(50, 2, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    >>> loadings = torch.eye(4, 2, dtype=torch.float64)
    >>> model = bmlp.fit_quadratic_pcs(scores, scores[:, :1] ** 2, loadings, n_genes=4)
    >>> model.core.shape, model.linear.shape
    (torch.Size([1, 2, 2]), torch.Size([1, 4]))
    """
    genes, comps = loadings.shape
    blocks = _Blocks(scores, y, n_genes, block)
    grid = blocks.mean.new_tensor(ridges)
    every = torch.arange(y.shape[1], device=y.device)
    c = choose_offset(scores.double(), y.double() - blocks.mean, n_genes, offsets, grid)
    fit = _Ridge(*blocks.normal(), c, comps, len(scores))
    errors, leverage = fit.errors(blocks, grid)
    pick = errors.argmin(dim=0)
    offset, ridge = torch.full_like(blocks.mean, c), grid[pick]
    weights = fit.weights(ridge, every)
    parts = fit.loo_parts(blocks, every, ridge, leverage[:, pick])
    constant, linear, quadratic = parts
    if refit:
        scalars, loo = _refit(linear, quadratic, y.double() - blocks.mean)
    else:
        ones = torch.ones_like(offset)
        scalars = torch.stack([offset * weights[0], ones, ones], dim=1)
        loo = offset**2 * constant + linear + quadratic
    slope = (scalars[:, 1] * (2 * offset / n_genes).sqrt())[:, None] * weights[1 : comps + 1].T
    core = _symmetric(weights[comps + 1 :].T, comps) * (scalars[:, 2] / n_genes)[:, None, None]
    return QuadraticModel(
        intercept=(blocks.mean + scalars[:, 0]).to(scores),
        linear=slope.to(scores) @ loadings.T,
        factor=loadings.T,
        core=core.to(scores),
        offset=offset.to(scores),
        ridge=ridge.to(scores),
        loo=(blocks.mean + loo).to(scores),
        scalars=scalars.to(scores),
    )
