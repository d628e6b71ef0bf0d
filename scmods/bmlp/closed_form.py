r"""The quadratic model without training: kernel ridge on all products of two genes, solved exactly; torch alone.

Ridge regression on a constant, all genes and all products of two genes is kernel ridge regression with
:math:`k(x, z) = (c + x \cdot z / g)^2 = c^2 + 2c\,x \cdot z/g + (x \cdot z/g)^2`: three kernels, for intercept,
linear part and interactions. One eigendecomposition of the kernel matrix gives every ridge strength, every
leave-one-out prediction and the fit itself: no seed, no epochs.

Ridge shrinks linear and interaction part alike and, with few cells and many genes, far too much. The *refit*
undoes it with three numbers per output: least squares of the target on the leave-one-out linear part and the
leave-one-out interaction part. Both come in closed form from the same inverse, so no cell is set aside.

Source: kernel ridge and its leave-one-out residuals are textbook results (Hastie, Tibshirani, Friedman, "The
Elements of Statistical Learning", 2nd ed., section 7.10); the split of the leave-one-out prediction by kernel
and the refit are derived in the chapter and tested against n separate fits.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import torch
from jaxtyping import Float
from torch import Tensor

from scmods.linalg import fix_signs, low_rank_eigh

__all__ = [
    "OFFSETS",
    "RIDGES",
    "QuadraticModel",
    "fit_quadratic",
    "least_squares",
    "leave_one_out",
    "refit_low_rank",
]

OFFSETS = (0.03, 0.1, 0.3, 1.0)
OFFSET_CELLS = 1000  # c is chosen on at most that many cells; it matters little
RIDGES = tuple(10.0 ** (k / 3) for k in range(-12, 7))


@dataclass(frozen=True)
class QuadraticModel:
    r"""A fitted :math:`f_o(x) = b_o + w_o \cdot x + x^\top B_o x` with :math:`B_o = F^\top C_o F`.

    Attributes
    ----------
    intercept, linear
        b (outputs) and w (outputs, genes).
    factor
        F: the training cells (cells, genes), or the loadings of the principal components (comps, genes).
    core
        C: one weight per training cell (outputs, cells), or a symmetric matrix (outputs, comps, comps).
    offset, ridge
        The c and the ridge strength of every output, chosen by leave-one-out error.
    loo
        Leave-one-out predictions of the training cells (cells, outputs), refit included.
    scalars
        Refit numbers per output: added constant, factor of the linear part, factor of the interactions;
        (0, 1, 1) without a refit.

    Examples
    --------
    >>> import torch
    >>> from scmods import bmlp
    >>> x = torch.randn(50, 3, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    >>> model = bmlp.fit_quadratic(x, (x[:, :1] * x[:, 1:2]))
    >>> model.predict(x).shape, model.interaction_matrix(torch.ones(1, dtype=torch.float64)).shape
    (torch.Size([50, 1]), torch.Size([3, 3]))
    """

    intercept: Float[Tensor, " outputs"]
    linear: Float[Tensor, "outputs genes"]
    factor: Float[Tensor, "rank genes"]
    core: Tensor
    offset: Float[Tensor, " outputs"]
    ridge: Float[Tensor, " outputs"]
    loo: Float[Tensor, "cells outputs"]
    scalars: Float[Tensor, "outputs 3"]

    def parts(
        self, x: Float[Tensor, "cells genes"]
    ) -> tuple[Float[Tensor, "cells outputs"], Float[Tensor, "cells outputs"]]:
        """Linear part w.x and interaction part x'Bx of every cell, without B.

        Parameters
        ----------
        x
            Cells, scaled as those of the fit.

        Returns
        -------
        The two parts, in the unit of the targets; with the intercept they add up to `predict`.
        """
        inner = x @ self.factor.T
        if self.core.ndim == 2:
            return x @ self.linear.T, inner**2 @ self.core.T
        return x @ self.linear.T, torch.einsum("nq,oqp,np->no", inner, self.core, inner)

    def predict(self, x: Float[Tensor, "cells genes"]) -> Float[Tensor, "cells outputs"]:
        """Outputs of every cell, in the unit of the targets.

        Parameters
        ----------
        x
            Cells, scaled as those of the fit.
        """
        linear, quadratic = self.parts(x)
        return self.intercept + linear + quadratic

    def interaction_matrix(self, direction: Float[Tensor, " outputs"]) -> Float[Tensor, "genes genes"]:
        """The symmetric B of one combination of outputs. O(genes²) memory.

        Parameters
        ----------
        direction
            Weight of every output; a unit vector picks one output.
        """
        core = torch.tensordot(direction, self.core, dims=1)
        middle = core[:, None] * self.factor if core.ndim == 1 else core @ self.factor
        return self.factor.T @ middle

    def eigenmodes(self, n_modes: int | None = None) -> tuple[Tensor, Tensor]:
        """Eigenvalues (outputs, modes) and eigenvectors (outputs, genes, modes) of every B.

        Sorted by descending SIZE of the eigenvalue, because both signs act; at most `n_modes` per
        output. A genes x genes matrix is formed only when there are fewer genes than cells.
        """
        found = [self._modes(self.core[o : o + 1]) for o in range(len(self.core))]
        values = torch.cat([f[0] for f in found])
        vectors = torch.cat([f[1] for f in found])
        order = values.abs().argsort(dim=1, descending=True, stable=True)[:, :n_modes]
        return values.gather(1, order), vectors.gather(2, order[:, None].expand(-1, vectors.shape[1], -1))

    def _modes(self, core: Tensor) -> tuple[Tensor, Tensor]:
        rank, genes = self.factor.shape
        if core.ndim == 3 or rank <= genes:
            return low_rank_eigh(self.factor.T, core if core.ndim == 3 else torch.diag_embed(core))
        values, vectors = torch.linalg.eigh((self.factor.T * core) @ self.factor)
        return values.flip(-1)[None], fix_signs(vectors.flip(-1))[None]

    def gene_shares(self, x: Float[Tensor, "cells genes"], output: int) -> Float[Tensor, "cells genes"]:
        """What every gene adds to the interaction part: x_i (Bx)_i; rows sum to x'Bx.

        Parameters
        ----------
        x
            Cells, scaled as those of the fit.
        output
            Number of the output, from 0.
        """
        inner, core = x @ self.factor.T, self.core[output]
        return x * ((inner * core if core.ndim == 1 else inner @ core) @ self.factor)


def least_squares(
    features: Float[Tensor, "cells terms"], y: Float[Tensor, " cells"]
) -> tuple[Float[Tensor, " terms"], Float[Tensor, " cells"]]:
    """Least-squares weights and exact leave-one-out residuals (a cell that decides a weight alone gets its raw one)."""
    q, _ = torch.linalg.qr(features)
    weights = torch.linalg.lstsq(features, y[:, None], driver="gelsd").solution[:, 0]
    slack = 1 - (q**2).sum(dim=1)
    return weights, (y - features @ weights) / torch.where(slack > 1e-9, slack, torch.ones_like(slack))


def leave_one_out(
    values: Float[Tensor, " cells"],
    vectors: Float[Tensor, "cells cells"],
    y: Float[Tensor, "cells outputs"],
    ridges: Float[Tensor, " ridges"],
) -> tuple[Float[Tensor, "ridges outputs"], Float[Tensor, "ridges cells outputs"]]:
    r"""Mean squared leave-one-out error and dual weights of kernel ridge for every ridge strength.

    With :math:`K = V \Lambda V^\top`, :math:`G = (K + \rho I)^{-1}` and :math:`a = Gy`, the residual of
    cell i when it is left out is :math:`a_i / G_{ii}`. `y` is centred once, with all cells.
    """
    rotated, square = vectors.T @ y, vectors**2
    errors, duals = [], []
    for ridge in ridges:
        inverse = 1 / (values + ridge)
        dual = vectors @ (inverse[:, None] * rotated)
        errors.append(((dual / (square @ inverse)[:, None]) ** 2).mean(dim=0))
        duals.append(dual)
    return torch.stack(errors), torch.stack(duals)


def fit_quadratic(
    x: Float[Tensor, "cells genes"],
    y: Float[Tensor, "cells outputs"],
    *,
    offsets: tuple[float, ...] = OFFSETS,
    ridges: tuple[float, ...] = RIDGES,
    refit: bool = True,
) -> QuadraticModel:
    r"""Fit every output by kernel ridge with the c and the ridge of smallest leave-one-out error.

    Parameters
    ----------
    x
        Cells, usually z-scores; the kernel divides inner products by the number of genes.
    y
        Targets, any scale; their means over the cells are taken off first and added back.
    offsets, ridges
        Grids of c and of the ridge strength. One value each switches the choice off. One c serves all outputs
        and is chosen by leave-one-out error, above 1,000 cells on every second, third, ... cell; the ridge is
        chosen per output with all cells.
    refit
        Undo the shrinkage by the three leave-one-out numbers per output (see the module's text).

    Returns
    -------
    The model in dual form: ``factor`` is `x` and ``core`` the dual weights over genes², refit included.

    Notes
    -----
    O(cells³ + cells² genes); memory O(cells²). Above about 5,000 cells use
    `scmods.bmlp.primal.fit_quadratic_pcs`, the same model in principal components.

    Examples
    --------
    A product of two genes is found as their interaction, one half on either side:

    >>> import torch
    >>> from scmods import bmlp
    >>> x = torch.randn(50, 3, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    >>> model = bmlp.fit_quadratic(x, x[:, :1] * x[:, 1:2])
    >>> found = model.interaction_matrix(torch.ones(1, dtype=torch.float64))
    >>> round(found[0, 1].item(), 2), round(found[1, 0].item(), 2)
    (0.5, 0.5)
    """
    genes, mean = x.shape[1], y.mean(dim=0)
    centred, inner = y - mean, x @ x.T / genes
    grid = torch.tensor(ridges, dtype=x.dtype, device=x.device)
    c = choose_offset(x, centred, genes, offsets, grid)
    values, vectors = torch.linalg.eigh((c + inner) ** 2)
    errors, duals = leave_one_out(values, vectors, centred, grid)
    pick = errors.argmin(dim=0)
    offset, ridge = torch.full_like(mean, c), grid[pick]
    dual = duals[pick, :, torch.arange(y.shape[1])].T
    parts = loo_parts(values, vectors, inner, c, ridge, dual)
    constant, linear, quadratic = parts
    if refit:
        scalars, loo = _refit(linear, quadratic, centred)
    else:
        scalars = torch.stack(
            [offset**2 * dual.sum(dim=0), torch.ones_like(mean), torch.ones_like(mean)], dim=1
        )
        loo = offset**2 * constant + linear + quadratic
    return QuadraticModel(
        intercept=mean + scalars[:, 0],
        linear=(scalars[:, 1] * 2 * offset / genes)[:, None] * (dual.T @ x),
        factor=x,
        core=(scalars[:, 2] / genes**2)[:, None] * dual.T,
        offset=offset,
        ridge=ridge,
        loo=mean + loo,
        scalars=scalars,
    )


def choose_offset(
    x: Float[Tensor, "cells coords"],
    y: Float[Tensor, "cells outputs"],
    n_genes: int,
    offsets: tuple[float, ...],
    ridges: Float[Tensor, " ridges"],
) -> float:
    """The c whose leave-one-out errors, relative to the outputs' variances and averaged, are smallest.

    `x` holds cells, or their principal components; `y` centred targets. Every second, third, ... cell is used
    where there are more than `OFFSET_CELLS`.
    """
    if len(offsets) == 1:
        return float(offsets[0])
    step = -(-len(y) // OFFSET_CELLS)
    x, y = x[::step], y[::step]
    inner = x @ x.T / n_genes
    variance = (y**2).mean(dim=0).clamp_min(torch.finfo(y.dtype).tiny)
    errors = []
    for c in offsets:
        found, _ = leave_one_out(*torch.linalg.eigh((c + inner) ** 2), y, ridges)
        errors.append(float((found.amin(dim=0) / variance).mean()))
    return float(offsets[errors.index(min(errors))])


def loo_parts(
    values: Float[Tensor, " cells"],
    vectors: Float[Tensor, "cells cells"],
    inner: Float[Tensor, "cells cells"],
    offset: float,
    ridge: Float[Tensor, " outputs"],
    dual: Float[Tensor, "cells outputs"],
) -> Float[Tensor, "3 cells outputs"]:
    r"""Leave-one-out prediction of every cell, split into its constant, linear and interaction kernels.

    Leaving cell i out changes the dual weights to :math:`a - G_{:i}\, a_i / G_{ii}`, so part p of its
    prediction is :math:`(K_p a)_i - (K_p G)_{ii}\, a_i / G_{ii}`. The constant is per unit of c²:
    the three rows times (c², 1, 1) add up to the ordinary leave-one-out prediction.
    """
    kernels = (torch.ones_like(inner[:1]), 2 * offset * inner, inner**2)
    rotated = [k @ vectors for k in kernels]  # the constant kernel has equal rows: one is enough
    inverse = 1 / (values[:, None] + ridge)
    left_out = dual / (vectors**2 @ inverse)
    return torch.stack(
        [k @ dual - (vectors * r) @ inverse * left_out for k, r in zip(kernels, rotated, strict=True)]
    )


def _refit(
    linear: Float[Tensor, "cells outputs"],
    quadratic: Float[Tensor, "cells outputs"],
    y: Float[Tensor, "cells outputs"],
) -> tuple[Float[Tensor, "outputs 3"], Float[Tensor, "cells outputs"]]:
    """Least squares of every target on 1 and its two leave-one-out parts; the weights and the fitted values."""
    features = torch.stack([torch.ones_like(y), linear, quadratic], dim=2)
    scalars = torch.stack([least_squares(features[:, o], y[:, o])[0] for o in range(y.shape[1])])
    return scalars, torch.einsum("not,ot->no", features, scalars)


def refit_low_rank(
    model: QuadraticModel,
    x: Float[Tensor, "cells genes"],
    y: Float[Tensor, "cells outputs"],
    rank: int,
    *,
    modes: Tensor | None = None,
) -> tuple[QuadraticModel, Float[Tensor, "cells outputs"]]:
    r"""Keep w.x and the `rank` modes of largest size, and refit their rank + 2 numbers per output.

    .. math:: f_o(x) = b_o + s_o\, w_o \cdot x + \sum_{k \le r} t_{ok} (v_{ok} \cdot x)^2

    Parameters
    ----------
    model
        A fit to OTHER cells: on its own training cells the modes look better than they are.
    x, y
        The cells to refit on, more than rank + 2 of them.
    rank
        Number of modes r; 0 leaves the linear part.
    modes
        Eigenvectors (outputs, genes, at least `rank`) from ``model.eigenmodes``, where several ranks are tried.

    Returns
    -------
    The refitted model (its ``loo`` holds leave-one-out predictions of the cells in `x`) and those predictions.

    Examples
    --------
    >>> import torch
    >>> from scmods import bmlp
    >>> x = torch.randn(80, 3, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    >>> y = x[:, :1] * x[:, 1:2]
    >>> model = bmlp.fit_quadratic(x[:40], y[:40])
    >>> low, loo = bmlp.refit_low_rank(model, x[40:], y[40:], rank=2)
    >>> low.factor.shape, loo.shape
    (torch.Size([2, 3]), torch.Size([40, 1]))
    """
    vectors = (model.eigenmodes(rank)[1] if modes is None else modes)[:, :, :rank]
    linear = x @ model.linear.T
    rows, left = [], []
    for o in range(y.shape[1]):
        features = torch.cat([torch.ones_like(x[:, :1]), linear[:, o : o + 1], (x @ vectors[o]) ** 2], dim=1)
        weights, residual = least_squares(features, y[:, o])
        rows.append(weights)
        left.append(y[:, o] - residual)
    weights, loo = torch.stack(rows), torch.stack(left, dim=1)
    factor = vectors.permute(0, 2, 1).reshape(-1, x.shape[1])
    core = x.new_zeros(len(rows), len(factor))
    for o in range(len(rows)):
        core[o, o * rank : (o + 1) * rank] = weights[o, 2:]
    scalars = torch.stack([weights[:, 0], weights[:, 1], torch.ones_like(weights[:, 0])], dim=1)
    refitted = replace(
        model,
        intercept=weights[:, 0],
        linear=weights[:, 1:2] * model.linear,
        factor=factor,
        core=core,
        loo=loo,
        scalars=scalars,
    )
    return refitted, loo
