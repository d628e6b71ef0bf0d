"""The generative model on tensors: mixture weights, prior and flow in one module, as `scmods.training` trains it.

The names, arguments and shapes are those of the original's module (Blampey et al., Briefings in Bioinformatics 24(5),
2023, DOI 10.1093/bib/bbad260); what stands after a ``*`` and `posterior`, `joint_log_prob` and `loss` are additions.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from jaxtyping import Bool, Float
from torch import Tensor, nn

from scmods import _checks
from scmods.scyan._requests import covariate_rows, populations
from scmods.scyan.flow import RealNVP
from scmods.scyan.prior import PriorDistribution

__all__ = ["ScyanModule"]


class ScyanModule(nn.Module):
    r"""Cells x from populations z: z drawn by weight, latent u from the table, :math:`x = f^{-1}(u; c)`.

    Parameters
    ----------
    rho
        Table, populations x markers: -1 negative, +1 positive, NaN unknown. It is copied, not edited.
    n_covariates
        Columns of the covariates, 0 for none.
    is_continuum_marker
        True for markers without two clear modes.
    hidden_size
        Width of the hidden layers of the flow.
    n_hidden_layers
        Hidden maps beyond the first in each net of the flow.
    n_layers
        Couplings of the flow.
    prior_std
        Standard deviation of the latent normal.
    temperature
        Of the tempered weights that `kl` takes with `use_temp`: they are proportional to the power
        -1 / temperature of the weights, so that small populations are favoured, and more so by a smaller
        temperature. None for no tempering.
    zero_last
        Start with the flow as the identity; False starts with random maps, as the original does.
    cov_scale
        Factor of the covariates where they enter the nets; the original has 100, and 1 suits one-hot columns.
    nan_density
        ``"exact"`` or ``"plateau"``, see `PriorDistribution`.
    names
        Names of the populations, to ask for one by name in `sample`.
    seed
        Of the initial weights and of `sample`. No global generator is used.

    Attributes
    ----------
    n_pops, n_markers, n_covariates
        Sizes.
    real_nvp, prior
        The flow and the latent densities.
    pi_logit
        Weights of the mixture before `pi_logit_ratio` and softmax, one per population.
    generator
        Source of the draws of `sample`.
    tempered
        Whether `loss` uses the tempered weights; False at the start.
    hparams
        The numbers given, as a dict; neither table nor data.

    Raises
    ------
    TypeError, ValueError
        If an argument has the wrong type or a value outside its range.

    Examples
    --------
    >>> rho = torch.tensor([[-1.0, 1.0, 1.0], [1.0, -1.0, torch.nan]])
    >>> module = ScyanModule(rho, 0, torch.zeros(3, dtype=bool), 16, 1, 3, 0.3, 0.5, names=["B", "T"])
    >>> x = module.sample(4, None, z="T")
    >>> module.posterior(x, None).argmax(1)
    tensor([1, 1, 1, 1])
    """

    pi_logit_ratio = 100

    def __init__(
        self,
        rho: Float[Tensor, "pops markers"],
        n_covariates: int,
        is_continuum_marker: Bool[Tensor, " markers"],
        hidden_size: int,
        n_hidden_layers: int,
        n_layers: int,
        prior_std: float,
        temperature: float | None,
        *,
        zero_last: bool = True,
        cov_scale: float = 100.0,
        nan_density: str = "exact",
        names: Sequence[str] | None = None,
        seed: int = 0,
    ) -> None:
        super().__init__()
        if rho.ndim != 2 or not rho.numel():
            _checks.fail(
                f"`rho` has shape {tuple(rho.shape)}, but must have shape (populations, markers),",
                "with at least one of each.",
            )
        self.n_pops, self.n_markers = rho.shape
        self.n_covariates = _checks.integer("n_covariates", n_covariates, 0)
        self.hparams = {
            "hidden_size": _checks.integer("hidden_size", hidden_size),
            "n_hidden_layers": _checks.integer("n_hidden_layers", n_hidden_layers, 0),
            "n_layers": _checks.integer("n_layers", n_layers),
            "prior_std": _checks.number("prior_std", prior_std),
            "temperature": _temperature(temperature),
            "zero_last": bool(zero_last),
            "cov_scale": _checks.number("cov_scale", cov_scale),
            "nan_density": nan_density,
            "seed": _checks.integer("seed", seed, 0),
        }
        self.names = None if names is None else [str(name) for name in names]
        if self.names is not None and len(self.names) != self.n_pops:
            _checks.fail(f"`names` has {len(self.names)} entries, but `rho` has {self.n_pops} populations.")
        self.generator = torch.Generator().manual_seed(seed)
        self.tempered = False
        self.pi_logit = nn.Parameter(torch.zeros(self.n_pops))
        self.real_nvp = RealNVP(
            self.n_markers + n_covariates, hidden_size, self.n_markers, n_hidden_layers, n_layers,
            zero_last=zero_last, cov_scale=cov_scale, generator=torch.Generator().manual_seed(seed),
        )  # fmt: skip
        self.prior = PriorDistribution(
            rho, is_continuum_marker, prior_std, self.n_markers, nan_density=nan_density
        )

    def _covariates(self, covariates: Tensor | None, like: Tensor) -> Float[Tensor, "cells covariates"]:
        return covariate_rows(covariates, like, self.n_covariates)

    def _cells(self, what: str, x: Tensor) -> Float[Tensor, "cells markers"]:
        if x.ndim != 2 or x.shape[1] != self.n_markers:
            _checks.fail(
                f"`{what}` has shape {tuple(x.shape)}, but must have shape (cells, {self.n_markers}):",
                "one column per marker of the table, in its order.",
            )
        return x if x.is_floating_point() else x.to(self.pi_logit.dtype)

    # --- the flow

    def forward(
        self, x: Tensor, covariates: Tensor | None
    ) -> tuple[Float[Tensor, "cells markers"], Tensor | None, Float[Tensor, " cells"]]:
        """Latent cells, the covariates as given, and the log-determinant of each cell.

        Parameters
        ----------
        x
            Cells, transformed and scaled; computed in their precision.
        covariates
            One row per cell, one row for all, or None if there are none.
        """
        x = self._cells("x", x)
        u, logdet = self.real_nvp(x, self._covariates(covariates, x))
        return u, covariates, logdet

    @torch.no_grad()
    def inverse(self, u: Tensor, covariates: Tensor | None) -> Float[Tensor, "cells markers"]:
        """Cells of given latent images; no gradient.

        Parameters
        ----------
        u
            Latent cells.
        covariates
            As in `forward`; others than there give the cell under other conditions.
        """
        u = self._cells("u", u)
        return self.real_nvp.inverse(u, self._covariates(covariates, u))

    # --- weights of the mixture

    @property
    def log_pi(self) -> Float[Tensor, " pops"]:
        """Logarithm of the weights; adding a constant to all logits changes nothing."""
        return torch.log_softmax(self.pi_logit_ratio * self.pi_logit, 0)

    @property
    def pi(self) -> Float[Tensor, " pops"]:
        """Weights of the populations, which sum to one."""
        return self.log_pi.exp()

    @property
    def prior_z(self) -> torch.distributions.Categorical:
        """Distribution of the population of a cell before it is seen."""
        return torch.distributions.Categorical(self.pi)

    def log_pi_temperature(self, T: float) -> Float[Tensor, " pops"]:
        """Logarithm of the weights to the power 1 / T, normalised; no gradient.

        Parameters
        ----------
        T
            Temperature; a negative one, as in `kl`, favours small populations.

        Raises
        ------
        ValueError
            If `T` is 0 or not finite.
        """
        if _checks.number("T", T) == 0:
            _checks.fail("`T` is 0, but the weights are raised to the power 1 / T. Expected another number.")
        return torch.log_softmax(self.pi_logit_ratio * self.pi_logit / T, 0).detach()

    # --- what the model says of cells

    def joint_log_prob(self, x: Tensor, covariates: Tensor | None) -> Float[Tensor, "cells pops"]:
        """Log-density of each cell's latent image together with each population, log p(u | z) + log pi.

        Parameters
        ----------
        x, covariates
            As in `forward`.
        """
        return self.compute_probabilities(x, covariates)[0]

    def compute_probabilities(
        self,
        x: Tensor,
        covariates: Tensor | None,
        use_temp: bool = False,  # noqa: FBT001, FBT002 - the original's argument
    ) -> tuple[Float[Tensor, "cells pops"], Float[Tensor, " cells"], Float[Tensor, "cells markers"]]:
        """Joint LOG-densities, log-determinants and latent cells; see `posterior` for probabilities.

        Parameters
        ----------
        x, covariates
            As in `forward`.
        use_temp
            Take the tempered weights instead of the weights; no difference if `temperature` is None.
        """
        u, _, logdet = self(x, covariates)
        logits, temperature = self.pi_logit_ratio * self.pi_logit.to(u.dtype), self.hparams["temperature"]
        if use_temp and temperature is not None:
            logits = -logits.detach() / temperature
        return self.prior.log_prob(u) + torch.log_softmax(logits, 0), logdet, u

    @torch.no_grad()
    def posterior(
        self,
        x: Tensor,
        covariates: Tensor | None,
        *,
        batch_size: int = 8192,
    ) -> Float[Tensor, "cells pops"]:
        """Probability of each population given the cell; rows sum to one. No gradient.

        Parameters
        ----------
        x, covariates
            As in `forward`.
        batch_size
            Cells at a time.

        Notes
        -----
        Memory beyond input and output: one block of cells.
        """
        x = self._cells("x", x)
        covariates = self._covariates(covariates, x)
        size = _checks.integer("batch_size", batch_size)
        out = x.new_empty(len(x), self.n_pops)
        for start in range(0, len(x), size):
            rows = slice(start, start + size)
            torch.softmax(self.joint_log_prob(x[rows], covariates[rows]), 1, out=out[rows])
        return out

    def kl(
        self,
        x: Tensor,
        covariates: Tensor | None,
        use_temp: bool,  # noqa: FBT001 - the original's argument
    ) -> Float[Tensor, ""]:
        """Mean negative log-likelihood of the cells, in nats.

        It differs from a Kullback-Leibler divergence by the entropy of the data, which no weight changes.

        Parameters
        ----------
        x, covariates
            As in `forward`; at least one cell.
        use_temp
            Take the tempered weights; the logits of the weights then get no gradient.
        """
        joint, logdet, _ = self.compute_probabilities(x, covariates, use_temp)
        return -(joint.logsumexp(1) + logdet).mean()

    def loss(self, batch: tuple[Tensor, ...]) -> Float[Tensor, ""]:
        """What `scmods.training` minimises: `kl`, tempered while ``self.tempered`` is True.

        Parameters
        ----------
        batch
            Cells and covariates; cells alone if there are no covariates.
        """
        return self.kl(batch[0], batch[1] if len(batch) > 1 else None, self.tempered)

    @torch.no_grad()
    def sample(
        self,
        n_samples: int,
        covariates: Tensor | None,
        z: Any = None,
        return_z: bool = False,  # noqa: FBT001, FBT002 - the original's argument
        *,
        generator: torch.Generator | None = None,
    ) -> Any:
        """Cells drawn from the model.

        Parameters
        ----------
        n_samples
            Number of cells; 0 gives none.
        covariates
            One row per cell, one row for all, or None if there are none.
        z
            Populations: None draws them by weight; a number or name takes one for all; a list, array or tensor of
            numbers or names has one entry per cell.
        return_z
            Return the populations too.
        generator
            Source of the draw; ``self.generator`` by default, so that calls differ.

        Returns
        -------
        Cells in the precision of the weights, and with `return_z` their populations, int64.

        Raises
        ------
        TypeError, ValueError
            If `z` holds what is no row of the table, has another length, or the covariates have another shape.
        """
        n = _checks.integer("n_samples", n_samples, 0)
        generator = generator or self.generator
        if z is None:
            # the sum of the weights rounds to below one, so the last row takes what lies above it
            steps = self.pi.detach().to(generator.device, torch.float64).cumsum(0)[:-1]
            draw = torch.rand(n, generator=generator, device=generator.device, dtype=torch.float64)
            z = torch.searchsorted(steps, draw, right=True)
        else:
            z = populations(z, n, self.n_pops, self.names)
        z = z.to(self.pi_logit.device)
        u = self.prior.sample(z, generator=generator, dtype=self.pi_logit.dtype)
        x = self.inverse(u, covariates)
        return (x, z) if return_z else x


def _temperature(value: float | None) -> float | None:
    if value is None:
        return None
    if _checks.number("temperature", value) <= 0:
        _checks.fail(
            f"`temperature` is {value:g}, but must be above 0.", "Use temperature=None for no tempering."
        )
    return float(value)
