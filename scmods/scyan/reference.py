r"""The same model written as one reads it: what the fast forms are tested and timed against.

Nothing here is clever and nothing is slow on purpose. A coupling multiplies all columns by its mask, lets its nets
return all columns, and masks again:

.. math:: y = m x + (1 - m)\,(x\,e^{s} + t), \qquad \log|\det| = \sum_j (1 - m_j)\,s_j,

and the prior is an array of cells x populations x markers, summed over the last axis.
"""

from __future__ import annotations

import math

import torch
from jaxtyping import Bool, Float
from torch import Tensor, nn
from torch.nn import functional

from scmods.scyan.flow import MLP, RealNVP, third
from scmods.scyan.prior import CONTINUUM

__all__ = ["CouplingLayerReference", "RealNVPReference", "log_prob_published", "log_prob_reference"]


def _net(net: MLP, h: Float[Tensor, "cells inputs"]) -> Float[Tensor, "cells outputs"]:
    """The net with cells in rows."""
    for i, linear in enumerate(net.maps):
        h = functional.linear(h.relu() if i else h, linear.weight, linear.bias)
    return h


class CouplingLayerReference(nn.Module):
    """One masked coupling of full width.

    Parameters
    ----------
    input_size, hidden_size, output_size, mask, n_hidden_layers
        As in `scmods.scyan.flow.CouplingLayer`.
    cov_scale
        Factor of the covariates where they enter the nets.
    generator
        Source of the initial weights; a fresh one of seed 0 by default.
    """

    def __init__(
        self,
        input_size: int,
        hidden_size: int,
        output_size: int,
        mask: Bool[Tensor, " markers"],
        n_hidden_layers: int,
        *,
        cov_scale: float = 100.0,
        generator: torch.Generator | None = None,
    ) -> None:
        super().__init__()
        generator = generator or torch.Generator().manual_seed(0)
        self.cov_scale = cov_scale
        self.register_buffer("mask", mask.float())
        sizes = [input_size] + [hidden_size] * (n_hidden_layers + 1) + [output_size]
        self.scale = MLP(sizes, generator, fan_in=input_size)
        self.shift = MLP(sizes, generator, fan_in=input_size)

    def _coefficients(self, x: Tensor, covariates: Tensor) -> tuple[Tensor, Tensor]:
        inputs = torch.cat([x * self.mask, self.cov_scale * covariates], 1)
        return _net(self.scale, inputs).tanh(), _net(self.shift, inputs)

    def forward(
        self, x: Float[Tensor, "cells markers"], covariates: Float[Tensor, "cells covariates"]
    ) -> tuple[Float[Tensor, "cells markers"], Float[Tensor, " cells"]]:
        """The moved cells and their log-determinants.

        Parameters
        ----------
        x, covariates
            Cells and covariates, one row per cell.
        """
        s, t = self._coefficients(x, covariates)
        moved = 1 - self.mask
        return x * self.mask + moved * (x * s.exp() + t), (moved * s).sum(1)

    def inverse(
        self, y: Float[Tensor, "cells markers"], covariates: Float[Tensor, "cells covariates"]
    ) -> Float[Tensor, "cells markers"]:
        """The cells that `forward` moves to `y`.

        Parameters
        ----------
        y, covariates
            Moved cells and covariates, one row per cell.
        """
        s, t = self._coefficients(y, covariates)
        return y * self.mask + (1 - self.mask) * (y - t) * (-s).exp()


class RealNVPReference(nn.Module):
    """A stack of masked couplings of full width.

    Parameters
    ----------
    input_size, hidden_size, output_size, n_hidden_layers, n_layers
        As in `scmods.scyan.flow.RealNVP`.
    cov_scale
        Factor of the covariates where they enter the nets.
    generator
        Source of the initial weights; a fresh one of seed 0 by default.
    """

    def __init__(
        self,
        input_size: int,
        hidden_size: int,
        output_size: int,
        n_hidden_layers: int,
        n_layers: int,
        *,
        cov_scale: float = 100.0,
        generator: torch.Generator | None = None,
    ) -> None:
        super().__init__()
        generator = generator or torch.Generator().manual_seed(0)
        self.sizes = (input_size, hidden_size, output_size, n_hidden_layers, n_layers)
        self.cov_scale = cov_scale
        self.layers = nn.ModuleList(
            CouplingLayerReference(
                input_size, hidden_size, output_size, third(output_size, i), n_hidden_layers,
                cov_scale=cov_scale, generator=generator,
            )
            for i in range(n_layers)
        )  # fmt: skip

    def forward(
        self, x: Float[Tensor, "cells markers"], covariates: Float[Tensor, "cells covariates"]
    ) -> tuple[Float[Tensor, "cells markers"], Float[Tensor, " cells"]]:
        """Latent cells and their log-determinants.

        Parameters
        ----------
        x, covariates
            Cells and covariates, one row per cell.
        """
        logdet = x.new_zeros(len(x))
        for layer in self.layers:
            x, one = layer(x, covariates)
            logdet = logdet + one
        return x, logdet

    def inverse(
        self, u: Float[Tensor, "cells markers"], covariates: Float[Tensor, "cells covariates"]
    ) -> Float[Tensor, "cells markers"]:
        """The cells whose latent image is `u`.

        Parameters
        ----------
        u, covariates
            Latent cells and covariates, one row per cell.
        """
        for layer in reversed(self.layers):
            u = layer.inverse(u, covariates)
        return u

    @torch.no_grad()
    def regroup(self) -> RealNVP:
        """The same map in the fast form: the weights of columns that are masked are left out."""
        flow = RealNVP(*self.sizes, cov_scale=self.cov_scale).to(self.layers[0].mask.dtype)
        covariates = torch.arange(self.sizes[2], self.sizes[0])
        for slow, fast in zip(self.layers, flow.layers, strict=True):
            columns = torch.cat([fast.kept, covariates])
            for full, part in ((slow.scale, fast.scale), (slow.shift, fast.shift)):
                last = len(full.maps) - 1
                for i, (a, b) in enumerate(zip(full.maps, part.maps, strict=True)):
                    weight = a.weight[:, columns] if i == 0 else a.weight
                    b.weight.copy_(weight[fast.moved] if i == last else weight)
                    b.bias.copy_(a.bias[fast.moved] if i == last else a.bias)
        return flow


def log_prob_reference(
    u: Float[Tensor, "cells markers"],
    rho: Float[Tensor, "pops markers"],
    is_continuum_marker: Bool[Tensor, " markers"],
    prior_std: float,
    *,
    nan_density: str = "exact",
) -> Float[Tensor, "cells pops"]:
    """Log-density of every cell under every population, through cells x populations x markers.

    Parameters
    ----------
    u
        Latent cells.
    rho, is_continuum_marker, prior_std, nan_density
        As in `scmods.scyan.prior.PriorDistribution`.

    Examples
    --------
    >>> u, rho = torch.tensor([[1.0, -1.0]]), torch.tensor([[1.0, -1.0], [-1.0, -1.0]])
    >>> log_prob_reference(u, rho, torch.tensor([False, False]), 0.5)
    tensor([[-0.4516, -8.4516]])
    """
    known = ~rho.isnan()
    modes = rho.nan_to_num(0.0) / torch.where(is_continuum_marker, CONTINUUM, 1.0).to(u.dtype)
    difference = u[:, None, :] - modes
    constant = torch.full_like(modes, -math.log(prior_std * math.sqrt(2 * math.pi)))
    if nan_density == "plateau":
        r = 1 - prior_std
        difference = torch.where(known, difference, (difference.abs() - r).clamp_min(0))
        plateau = math.log1p(r / prior_std * math.sqrt(2 / math.pi))
        constant = torch.where(known, constant, constant - plateau)
        return (-0.5 * (difference / prior_std) ** 2 + constant).sum(2)
    a, b = (torch.special.log_ndtr((end - u.abs()) / prior_std) for end in (1, -1))
    unknown = a + torch.log1p(-(b - a).exp()) - math.log(2)
    terms = -0.5 * (difference / prior_std) ** 2 + constant
    return torch.where(known, terms, unknown[:, None, :]).sum(2)


def log_prob_published(
    u: Float[Tensor, "cells markers"], rho: Float[Tensor, "pops markers"], prior_std: float
) -> Float[Tensor, "cells pops"]:
    """The plateau density in the steps of the published implementation, which cost more than `log_prob_reference`.

    The differences of unknown entries are overwritten one index at a time, and the sum over markers is a multivariate
    normal, whose covariance is factorised at every call and solved for every cell and population.

    Parameters
    ----------
    u
        Latent cells.
    rho, prior_std
        As in `scmods.scyan.prior.PriorDistribution`; no continuum markers.
    """
    unknown, radius = rho.isnan(), 1 - prior_std
    difference = u[:, None, :] - rho.nan_to_num(0.0)
    pops, markers = unknown.nonzero(as_tuple=True)
    difference[:, pops, markers] = (u[:, markers].abs() - radius).clamp_min(0)
    m = rho.shape[1]
    normal = torch.distributions.MultivariateNormal(
        u.new_zeros(m), prior_std**2 * torch.eye(m, dtype=u.dtype), validate_args=False
    )
    constant = math.log1p(radius / prior_std * math.sqrt(2 / math.pi))
    return normal.log_prob(difference) - constant * unknown.to(u.dtype).sum(1)
