r"""The density a table of knowledge puts on the latent space.

A population says of each marker "negative" (-1), "positive" (+1), something between, or nothing (NaN). Its latent
cells are u = e + h, where e is what the table says, or uniform on [-1, 1] where it says nothing, and h is normal with
standard deviation sigma. The markers are independent, so the log-density of a cell under a population is a sum over
markers of terms that depend on the cell's value and on one of few levels only:

* known: :math:`\log N(u; \text{mode}, \sigma)`;
* unknown: the uniform and the normal convolved,
  :math:`\log\{[\Phi((1-|u|)/\sigma) - \Phi((-1-|u|)/\sigma)] / 2\}` ("exact"), or the approximation of the
  original ("plateau"), flat up to :math:`1-\sigma` with half a normal density on either side.

So the terms are computed once per cell, marker and level, and one product with a table of zeros and ones adds them up
for all populations; no array of cells x populations x markers exists. Torch alone.

Source: Blampey et al., Briefings in Bioinformatics 24(5), 2023, DOI 10.1093/bib/bbad260, for the model and the
plateau; the closed form of the convolution is elementary.
"""

from __future__ import annotations

import math

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor, nn

__all__ = ["PriorDistribution", "log_uniform_normal", "log_uniform_plateau"]

CONTINUUM = 5.0  # markers without two clear modes: the modes are drawn together by this factor
MOST_LEVELS = 6  # above so many distinct modes, squares are expanded instead
_LOG_ROOT_2PI = math.log(2 * math.pi) / 2
# erfc has underflown, or lost digits, beyond these arguments
_ERFC_LIMIT = {torch.float64: 25.0, torch.float32: 8.5}


class _LogUniformNormal(torch.autograd.Function):
    """Both the value and its slope are free of cancellation, in the tails too."""

    @staticmethod
    def forward(ctx, u: Tensor, sigma: float) -> Tensor:
        unit = 1 / (sigma * math.sqrt(2))
        near, far = (u.abs() - 1) * unit, (u.abs() + 1) * unit
        out = (torch.erfc(near) - torch.erfc(far)).log_().sub_(math.log(4))
        tail = near > _ERFC_LIMIT.get(u.dtype, 2.0)
        if bool(tail.any()):
            a, b = (torch.special.log_ndtr(-math.sqrt(2) * z[tail]) for z in (near, far))
            out[tail] = a + torch.log1p(-(b - a).exp()) - math.log(2)
        ctx.save_for_backward(u, out)
        ctx.sigma = sigma
        return out

    @staticmethod
    def backward(ctx, grad: Tensor) -> tuple[Tensor, None]:
        u, out = ctx.saved_tensors
        unit = 1 / (ctx.sigma * math.sqrt(2))
        size = u.abs()
        near, far = (size - 1) * unit, (size + 1) * unit
        slope = (-near.square() - out).exp() - (-far.square() - out).exp()
        tail = near > 3
        if bool(tail.any()):  # two large exponents would cancel
            gap = -4 * unit**2 * size[tail]  # near^2 - far^2
            scaled = torch.special.erfcx(near[tail]) - torch.special.erfcx(far[tail]) * gap.exp()
            slope[tail] = -4 * torch.expm1(gap) / scaled
        return -grad * u.sign() * slope / (2 * ctx.sigma * math.sqrt(2 * math.pi)), None


def log_uniform_normal(u: Float[Tensor, "*shape"], sigma: float) -> Float[Tensor, "*shape"]:
    r"""Log-density of a uniform on [-1, 1] plus a normal: what a table's NaN means.

    .. math:: \log\{[\Phi((1-|u|)/\sigma) - \Phi((-1-|u|)/\sigma)] / 2\}

    Parameters
    ----------
    u
        Latent values.
    sigma
        Standard deviation of the normal, positive.

    Notes
    -----
    Relative error of the order of the precision, in the tails too: the complementary error function is replaced by
    its logarithm before it underflows.

    Examples
    --------
    >>> log_uniform_normal(torch.tensor([0.0, 3.0]), 0.3)
    tensor([ -0.6940, -25.7528])
    """
    return _LogUniformNormal.apply(u, sigma)


def log_uniform_plateau(u: Float[Tensor, "*shape"], sigma: float) -> Float[Tensor, "*shape"]:
    r"""The original's stand-in for `log_uniform_normal`: a plateau of half-width r = 1 - sigma, then half a normal.

    .. math:: -\log\big(1 + (r/\sigma)\sqrt{2/\pi}\big) + \log N(\max(|u| - r, 0); 0, \sigma)

    It integrates to one, and differs from the convolution by -0.07 at u = 0, 0.12 at 1 and -1.7 at 2 for sigma = 0.3.

    Parameters
    ----------
    u
        Latent values.
    sigma
        Standard deviation of the flanks, in (0, 1).

    Examples
    --------
    >>> log_uniform_plateau(torch.tensor([0.0, 3.0]), 0.3)
    tensor([ -0.7664, -30.1553])
    """
    r = 1 - sigma
    constant = -math.log1p(r / sigma * math.sqrt(2 / math.pi)) - math.log(sigma) - _LOG_ROOT_2PI
    return (u.abs() - r).clamp_min(0).square() * (-0.5 / sigma**2) + constant


class PriorDistribution(nn.Module):
    """Latent density of every population of a table.

    Parameters
    ----------
    rho
        The table: -1 negative, +1 positive, between them low or mid, NaN unknown. It is copied, not edited.
    is_continuum_marker
        True for markers without two clear modes: their entries are divided by five, a weak preference for a side.
    prior_std
        sigma, standard deviation of the normal part: positive, and below 1 for the plateau.
    n_markers
        Number of markers, the columns of `rho`.
    nan_density
        ``"exact"``: the convolution of uniform and normal; ``"plateau"``: the original's approximation of it.
        Densities and samples both follow it.

    Attributes
    ----------
    rho
        A copy of the table, with what `fill_rho` has filled in.
    prior_std
        sigma; can be set.

    Raises
    ------
    ValueError
        If shapes, `prior_std` or `nan_density` are not as described.

    Notes
    -----
    Everything is computed in the precision of the cells given. The table is not part of ``state_dict``.

    Examples
    --------
    >>> rho = torch.tensor([[-1.0, 1.0], [1.0, torch.nan]])
    >>> prior = PriorDistribution(rho, torch.tensor([False, False]), 0.3, 2)
    >>> prior.log_prob(torch.tensor([[-1.0, 1.0], [1.0, 0.0]]))
    tensor([[  0.5701, -23.3235],
            [-27.2077,  -0.4090]])
    """

    def __init__(
        self,
        rho: Float[Tensor, "pops markers"],
        is_continuum_marker: Bool[Tensor, " flags"],
        prior_std: float,
        n_markers: int,
        *,
        nan_density: str = "exact",
    ) -> None:
        super().__init__()
        if rho.ndim != 2 or rho.shape[1] != n_markers or len(is_continuum_marker) != n_markers:
            text = (
                f"`rho` has shape {tuple(rho.shape)} and `is_continuum_marker` {len(is_continuum_marker)} entries, "
                f"but must have n_markers = {n_markers} columns and entries."
            )
            raise ValueError(text)
        if torch.isinf(rho).any():
            text = "`rho` holds infinite entries. Expected numbers in [-1, 1], or NaN for unknown."
            raise ValueError(text)
        if nan_density not in ("exact", "plateau"):
            text = f"`nan_density` is {nan_density!r}, but must be one of ['exact', 'plateau']."
            raise ValueError(text)
        self.n_pops, self.n_markers, self.nan_density = len(rho), n_markers, nan_density
        self.prior_std = prior_std
        self._rho = rho.detach().to("cpu", torch.float64).clone()
        modes = self._rho.clone()
        self._divisor = torch.where(is_continuum_marker.bool().cpu(), CONTINUUM, 1.0).double()
        self._set_modes(modes / self._divisor)

    def _set_modes(self, modes: Float[Tensor, "pops markers"]) -> None:
        """Keep the modes as exact levels, so that no change of precision rounds them twice."""
        self._modes = modes
        known = ~modes.isnan()
        levels, index = torch.unique(modes[known], return_inverse=True)
        self._levels = levels.tolist()
        level_of = torch.full(modes.shape, -1)
        level_of[known] = index
        device = self.known.device if hasattr(self, "known") else "cpu"
        for name, value in {
            "known": known,
            "level_of": level_of,
            "free": torch.nonzero((~known).any(0))[:, 0],  # markers somebody says nothing of
        }.items():
            self.register_buffer(name, value.to(device), persistent=False)

    @property
    def rho(self) -> Float[Tensor, "pops markers"]:
        """A copy of the table."""
        return self._rho.clone()

    @property
    def prior_std(self) -> float:
        """Standard deviation of the normal part."""
        return self._prior_std

    @prior_std.setter
    def prior_std(self, value: float) -> None:
        top = 1.0 if self.nan_density == "plateau" else math.inf
        if not 0 < value < top:
            text = f"`prior_std` is {value}, but must be above 0 and below {top:g} for the {self.nan_density} density."
            raise ValueError(text)
        self._prior_std = float(value)

    def _modes_like(self, u: Tensor) -> Float[Tensor, "pops markers"]:
        """The modes in the precision of `u`; 0 where unknown."""
        return self._modes.nan_to_num(0.0).to(u.device, u.dtype)

    def _log_unknown(self, u: Tensor) -> Tensor:
        function = log_uniform_normal if self.nan_density == "exact" else log_uniform_plateau
        return function(u, self.prior_std)

    def _features(self, u: Float[Tensor, "markers cells"]) -> tuple[list[Tensor], list[Tensor], Tensor]:
        """What depends on the cells, the weight of each in every population, and what depends on neither."""
        precision = 0.5 / self.prior_std**2
        known = self.known.to(u.dtype)
        constant = (-math.log(self.prior_std) - _LOG_ROOT_2PI) * known.sum(1)
        if len(self._levels) <= MOST_LEVELS:
            levels = u.new_tensor(self._levels)
            features = [(u - levels[:, None, None]).square().flatten(0, 1)]
            shares = [(self.level_of == v).to(u.dtype) for v in range(len(levels))]
            weights = [-precision * torch.cat(shares, 1)] if shares else [known[:, :0]]
        else:
            modes = self._modes_like(u)
            features = [u.square(), u]
            weights = [-precision * known, 2 * precision * modes]
            constant = constant - precision * modes.square().sum(1)
        unknown = 1 - known
        features.append(self._log_unknown(u.index_select(0, self.free)))
        weights.append(unknown[:, self.free])
        return features, weights, constant

    def log_prob(self, u: Float[Tensor, "cells markers"]) -> Float[Tensor, "cells pops"]:
        """Log-density of every cell under every population.

        Parameters
        ----------
        u
            Latent cells.

        Notes
        -----
        Matrix products of (cells) x (levels + 1) markers with the table. Differences are squared before they
        are summed, so nothing cancels; a table with more than six distinct modes (after `fill_rho`) expands the
        squares, which costs digits where ``abs(u)`` is much larger than sigma.
        """
        features, weights, constant = self._features(u.T)
        total = constant[:, None]
        for feature, weight in zip(features, weights, strict=True):
            total = torch.addmm(total, weight, feature)
        return total.T

    def log_prob_robust(
        self, u: Float[Tensor, "cells markers"], contamination: float
    ) -> Float[Tensor, "cells pops"]:
        r"""Log-density in which a cell may contradict any known entry, once in a while.

        Every known entry becomes :math:`(1 - \epsilon) N(u; \rho, \sigma) + \epsilon\, q(u)`, q being the density of an
        unknown entry: one marker can then cost at most about :math:`\log \epsilon`.

        Parameters
        ----------
        u
            Latent cells.
        contamination
            :math:`\epsilon`, share of contradictions, in [0, 1).
        """
        if not 0 <= contamination < 1:
            text = (
                f"`contamination` is {contamination}, but must be at least 0 and below 1, a share of entries."
            )
            raise ValueError(text)
        if contamination == 0:
            return self.log_prob(u)
        v, unknown = u.T, self._log_unknown(u.T)
        other, keep = unknown + math.log(contamination), math.log1p(-contamination)
        free = (~self.known).to(u.dtype)
        total = free[:, self.free] @ unknown.index_select(0, self.free)
        for i, level in enumerate(self._levels):
            z = (v - level) / self.prior_std
            own = keep - 0.5 * z.square() - math.log(self.prior_std) - _LOG_ROOT_2PI
            total = torch.addmm(total, (self.level_of == i).to(u.dtype), torch.logaddexp(own, other))
        return total.T

    def difference_to_modes(self, u: Float[Tensor, "cells markers"]) -> Float[Tensor, "cells pops markers"]:
        """Distance of every cell from what each population says of each marker.

        Parameters
        ----------
        u
            Latent cells.

        Returns
        -------
        ``u - mode`` where the table speaks (with sign); where it does not, how far the absolute value lies beyond
        the flat part of the density, that is beyond 1, or beyond 1 - sigma for the plateau (not negative).
        """
        flat = 1.0 if self.nan_density == "exact" else 1 - self.prior_std
        outside = (u.abs() - flat).clamp_min(0)
        return torch.where(self.known, u[:, None, :] - self._modes_like(u), outside[:, None, :])

    def log_prob_per_marker(self, u: Float[Tensor, "cells markers"]) -> Float[Tensor, "cells pops markers"]:
        """The terms whose sum over markers is `log_prob`.

        Parameters
        ----------
        u
            Latent cells; take a block of them, the result is an array of cells x populations x markers.
        """
        sigma = self.prior_std
        scaled = (u[:, None, :] - self._modes_like(u)) / sigma
        known = -0.5 * scaled.square() - math.log(sigma) - _LOG_ROOT_2PI
        return torch.where(self.known, known, self._log_unknown(u)[:, None, :])

    def sample(
        self,
        z: Int[Tensor, " cells"],
        *,
        generator: torch.Generator | None = None,
        dtype: torch.dtype | None = None,
    ) -> Float[Tensor, "cells markers"]:
        """Latent cells of the populations `z`, drawn from the density that `log_prob` gives.

        Parameters
        ----------
        z
            Row of the table of each cell.
        generator
            Source of the draw; a fresh one of seed 0 by default.
        dtype
            Precision of the cells; torch's default otherwise.
        """
        generator, device = generator or torch.Generator().manual_seed(0), self.known.device
        sigma, shape = self.prior_std, (len(z), self.n_markers)
        options = {
            "generator": generator, "device": generator.device, "dtype": dtype or torch.get_default_dtype()
        }  # fmt: skip
        noise = (torch.randn(shape, **options) * sigma).to(device)
        even = (torch.rand(shape, **options) * 2 - 1).to(device)
        if self.nan_density == "exact":
            unknown = even + noise
        else:
            r = 1 - sigma
            flat = torch.rand(shape, **options).to(device) >= 1 / (1 + r / sigma * math.sqrt(2 / math.pi))
            unknown = torch.where(flat, even * r, noise + noise.sign() * r)
        return torch.where(self.known[z], self._modes_like(noise)[z] + noise, unknown)

    def fill_rho(self, means: Tensor) -> None:
        """Replace what the table does not say by latent means; what it says stays.

        Parameters
        ----------
        means
            One latent value per population and marker, read where the table is unknown; NaN leaves it unknown.
            It becomes the mode itself, for continuum markers too.

        Raises
        ------
        ValueError
            If the shape is not that of the table.
        """
        if means.shape != self._modes.shape:
            shape = tuple(self._modes.shape)
            text = f"`means` has shape {tuple(means.shape)}, but must have that of the table, {shape}."
            raise ValueError(text)
        means = means.detach().to("cpu", torch.float64)
        unknown = self._modes.isnan()
        self._rho = torch.where(unknown, means * self._divisor, self._rho)
        self._set_modes(torch.where(unknown, means, self._modes))
