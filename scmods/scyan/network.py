"""The module as it is trained here: an affine start, a background component and weights that follow the cells.

Everything of the original's recipe is still there, by arguments: no affine start, no background, no penalty, weights by
gradient. See `Scyan.original`.
"""

from __future__ import annotations

import math
from typing import Any

import torch
from jaxtyping import Float, Int
from torch import Tensor

from scmods import _checks
from scmods.scyan.module import ScyanModule

__all__ = ["AnnotationNetwork"]

MOST_RATE = 0.1  # most that one batch of cells moves the running weights


class AnnotationNetwork(ScyanModule):
    r"""`ScyanModule` behind an affine map, with a component for cells that belong to no row.

    A cell x of batch b is moved to :math:`v = a_b x + d_b`, where negative cells of a marker lie about -1 and positive
    ones about 1, and then through the flow, u = f(v; c). Its density is that of u times the two Jacobians, with

    .. math:: p(u) = w\, N(u; 0, I) + (1 - w) \sum_z \pi_z\, p(u \mid z)

    Parameters
    ----------
    *args
        Positional arguments of `ScyanModule`.
    slope, shift
        a and d, batches x markers; None for the identity.
    background
        w, weight of cells that no row describes; 0 for none.
    penalty
        Factor of the mean squared displacement :math:`|u - v|^2` of the flow in the loss; 0 for none.
    running
        Weights as a running mean of the posteriors; False trains them by gradient.
    n_cells
        Number of training cells, which sets the rate of the running mean.
    **kwargs
        Keyword arguments of `ScyanModule`.

    Attributes
    ----------
    background, penalty, running
        As given.
    modulo
        Every so many epochs one is trained without tempering; only with a temperature.

    Examples
    --------
    >>> import torch
    >>> from scmods import scyan
    >>> rho = torch.tensor([[-1.0, 1.0, 1.0], [1.0, -1.0, torch.nan]])
    >>> continuum = torch.zeros(3, dtype=bool)
    >>> network = scyan.AnnotationNetwork(rho, 0, continuum, 16, 1, 3, 0.3, None, n_cells=10)
    >>> cells = torch.tensor([[-1.0, 1.0, 1.0], [9.0, 9.0, 9.0]])
    >>> network(cells, None)[0].shape
    torch.Size([2, 3])
    """

    def __init__(
        self,
        *args: Any,
        slope: Float[Tensor, "batches markers"] | None = None,
        shift: Float[Tensor, "batches markers"] | None = None,
        background: float = 0.02,
        penalty: float = 0.5,
        running: bool = True,
        n_cells: int = 1,
        **kwargs: Any,
    ) -> None:
        super().__init__(*args, **kwargs)
        if not 0 <= _checks.number("background", background, 0.0) < 1:
            _checks.fail(
                f"`background` is {background:g}, but must be at least 0 and below 1, a share of cells."
            )
        self.background, self.penalty = float(background), _checks.number("penalty", penalty, 0.0)
        self.running, self.n_cells = bool(running), _checks.integer("n_cells", n_cells)
        self.register_buffer("slope", torch.ones(1, self.n_markers) if slope is None else slope.float())
        self.register_buffer("shift", torch.zeros(1, self.n_markers) if shift is None else shift.float())
        self.pi_logit.requires_grad_(not running)
        self.register_buffer("weights", torch.full((self.n_pops,), 1.0 / self.n_pops))

    def aligned(
        self, x: Float[Tensor, "cells markers"], batch: Int[Tensor, " cells"] | None = None
    ) -> Float[Tensor, "cells markers"]:
        """The cells behind the affine map.

        Parameters
        ----------
        x
            Cells.
        batch
            Number of the batch of each; the first by default.
        """
        at = torch.zeros(len(x), dtype=torch.long, device=x.device) if batch is None else batch
        return torch.addcmul(self.shift.to(x.dtype)[at], self.slope.to(x.dtype)[at], x)

    def unaligned(
        self, v: Float[Tensor, "cells markers"], batch: Int[Tensor, " cells"] | None = None
    ) -> Float[Tensor, "cells markers"]:
        """Undo `aligned`.

        Parameters
        ----------
        v
            Cells behind the affine map.
        batch
            As there.
        """
        at = torch.zeros(len(v), dtype=torch.long, device=v.device) if batch is None else batch
        return (v - self.shift.to(v.dtype)[at]) / self.slope.to(v.dtype)[at]

    def log_background(self, u: Float[Tensor, "cells markers"]) -> Float[Tensor, " cells"]:
        """Log-density of latent cells under the background, without its weight.

        Parameters
        ----------
        u
            Latent cells.
        """
        return -0.5 * u.square().sum(1) - 0.5 * self.n_markers * math.log(2 * math.pi)

    def loss(self, batch: tuple[Tensor, ...]) -> Float[Tensor, ""]:
        """What training minimises: the negative log-likelihood, and the penalty of the displacement.

        Parameters
        ----------
        batch
            Cells, covariates, and the number of the batch of each cell.
        """
        x, covariates, number = batch
        v = self.aligned(x, number)
        joint, logdet, u = self.compute_probabilities(v, covariates, self.tempered)
        tempered = self.tempered and self.hparams["temperature"] is not None
        if self.running and self.training and not tempered:  # the posteriors of tempered weights are others
            self._follow(joint)
        total = joint.logsumexp(1)
        if self.background:
            outside = math.log(self.background) + self.log_background(u)
            total = torch.logaddexp(total + math.log1p(-self.background), outside)
        scale = self.slope.to(x.dtype).log().sum(1)[number]
        loss = -(total + logdet + scale).mean()
        if self.penalty:
            loss = loss + self.penalty * (u - v).square().sum(1).mean()
        return loss

    @torch.no_grad()
    def _follow(self, joint: Float[Tensor, "cells pops"]) -> None:
        rate = min(MOST_RATE, len(joint) / self.n_cells)
        self.weights.lerp_(torch.softmax(joint, 1).mean(0).to(self.weights.dtype), rate)
        # the logits stay the one place that the weights are read from
        self.pi_logit.copy_((self.weights.clamp_min(1e-12).log()) / self.pi_logit_ratio)
