r"""The invertible map from markers to the latent space: affine couplings that move a third of the markers each.

Layer i = 0, 1, ... moves the markers j with j mod 3 = i mod 3; the others pass, and together with the covariates c
decide how far:

.. math:: k = (x_\text{kept},\ a\,c), \qquad s = \tanh(\mathrm{MLP}_s(k)), \quad t = \mathrm{MLP}_t(k), \qquad
          y_\text{moved} = x_\text{moved}\, e^{s} + t .

Because k is the same on both sides, :math:`x_\text{moved} = (y_\text{moved} - t)\,e^{-s}`, and the logarithm of the
determinant of the Jacobian is the sum of s. Since :math:`|s| < 1`, seven layers scale no marker by more than
:math:`e^3`. The nets see the kept columns only and return the moved columns only, which is the masked form on all
columns without its multiplications by zero; `scmods.scyan.reference` has that form.

Source: Blampey et al., "A biology-driven deep generative model for cell-type annotation in cytometry", Briefings in
Bioinformatics 24(5), 2023, DOI 10.1093/bib/bbad260; the couplings are those of Dinh, Sohl-Dickstein, Bengio, "Density
estimation using Real NVP", ICLR 2017. Torch alone.
"""

from __future__ import annotations

import torch
from jaxtyping import Bool, Float
from torch import Tensor, nn

__all__ = ["CouplingLayer", "RealNVP"]

N_GROUPS = 3


def third(n_markers: int, layer: int) -> Bool[Tensor, " markers"]:
    """Which markers layer number `layer` keeps: all but every third one.

    Parameters
    ----------
    n_markers
        Number of markers.
    layer
        Number of the layer, from 0; the markers j with j mod 3 = layer mod 3 are moved.

    Examples
    --------
    >>> third(5, 1)
    tensor([ True, False,  True,  True, False])
    """
    return torch.arange(n_markers) % N_GROUPS != layer % N_GROUPS


class _Affine(nn.Module):
    """Weights of one map; unlike those of ``nn.Linear`` they draw nothing and may have an empty side."""

    def __init__(self, n_inputs: int, n_outputs: int) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.zeros(n_outputs, n_inputs))
        self.bias = nn.Parameter(torch.zeros(n_outputs))


class MLP(nn.Module):
    """Linear maps with ReLU between them, on cells in columns; computes in the precision of its input.

    Parameters
    ----------
    sizes
        Widths of input, hidden layers and output.
    generator
        Source of the initial weights, U(-1/sqrt(n), 1/sqrt(n)) with n inputs.
    fan_in
        Number n for the first map; the width of the full input, so that leaving out columns changes nothing else.
    zero_last
        Start with zeros in the last map, hence with output 0.
    """

    def __init__(
        self, sizes: list[int], generator: torch.Generator, *, fan_in: int, zero_last: bool = False
    ) -> None:
        super().__init__()
        self.maps = nn.ModuleList(_Affine(a, b) for a, b in zip(sizes[:-1], sizes[1:], strict=True))
        with torch.no_grad():
            for i, linear in enumerate(self.maps):
                bound = (fan_in if i == 0 else sizes[i]) ** -0.5
                if zero_last and i == len(self.maps) - 1:
                    continue
                for weights in linear.parameters():
                    weights.copy_((torch.rand(weights.shape, generator=generator) * 2 - 1) * bound)

    def forward(self, h: Float[Tensor, "inputs cells"]) -> Float[Tensor, "outputs cells"]:
        """The output of the net.

        Parameters
        ----------
        h
            Input; its dtype is that of the result.
        """
        for i, linear in enumerate(self.maps):
            if i:
                h = h.relu_()  # the product before it does not need its own result for the gradient
            h = torch.addmm(linear.bias.to(h.dtype)[:, None], linear.weight.to(h.dtype), h)
        return h


def _side_by_side(one: MLP, two: MLP, h: Tensor) -> Float[Tensor, "nets outputs cells"]:
    """Both nets in one product per map, about a quarter faster; slower where gradients are wanted."""
    last = len(one.maps) - 1
    for i, (a, b) in enumerate(zip(one.maps, two.maps, strict=True)):
        weight = torch.stack([a.weight, b.weight]).to(h.dtype)
        bias = torch.stack([a.bias, b.bias]).to(h.dtype)
        if i == 0:
            h = torch.addmm(bias.flatten()[:, None], weight.flatten(0, 1), h).unflatten(0, bias.shape)
        else:
            h = torch.baddbmm(bias[:, :, None], weight, h)
        if i < last:
            h = h.relu_()
    return h


class CouplingLayer(nn.Module):
    r"""One affine coupling: kept markers pass, the others are scaled by :math:`e^s` and shifted by t.

    Parameters
    ----------
    input_size
        Markers and covariates together.
    hidden_size
        Width of the hidden layers of both nets.
    output_size
        Markers.
    mask
        True (or 1) for each marker that is kept.
    n_hidden_layers
        Hidden maps beyond the first; a net has ``n_hidden_layers + 2`` linear maps.
    zero_last
        Start with zeros in the last map of both nets, so that the layer starts as the identity.
    cov_scale
        a, factor of the covariates where they enter the nets.
    generator
        Source of the initial weights; a fresh one of seed 0 by default. The global generator is not touched.

    Raises
    ------
    ValueError
        If the sizes do not fit together.

    Examples
    --------
    >>> layer = CouplingLayer(2, 4, 2, torch.tensor([True, False]), 1, zero_last=True)
    >>> layer(torch.tensor([[0.5, -1.0]]), torch.zeros(1, 0))[0]
    tensor([[ 0.5000, -1.0000]], grad_fn=<IndexCopyBackward0>)
    """

    def __init__(
        self,
        input_size: int,
        hidden_size: int,
        output_size: int,
        mask: Bool[Tensor, " markers"],
        n_hidden_layers: int,
        *,
        zero_last: bool = False,
        cov_scale: float = 100.0,
        generator: torch.Generator | None = None,
    ) -> None:
        super().__init__()
        if len(mask) != output_size or input_size < output_size:
            text = (
                f"mask of {len(mask)} markers, output_size {output_size}, input_size {input_size} do not fit"
            )
            raise ValueError(text)
        generator = generator or torch.Generator().manual_seed(0)
        self.cov_scale = float(cov_scale)
        index = torch.arange(output_size)
        keep = mask.bool().cpu()
        # in groups j mod 3, the order in which `RealNVP` holds the markers
        kept = index[keep][torch.argsort(index[keep] % N_GROUPS, stable=True)]
        self.register_buffer("kept", kept, persistent=False)
        self.register_buffer("moved", index[~keep], persistent=False)
        n_inputs, n_outputs = len(kept) + input_size - output_size, len(self.moved)
        sizes = [n_inputs] + [hidden_size] * (n_hidden_layers + 1) + [n_outputs]
        self.scale = MLP(sizes, generator, fan_in=input_size, zero_last=zero_last)
        self.shift = MLP(sizes, generator, fan_in=input_size, zero_last=zero_last)

    def coefficients(
        self, inputs: Float[Tensor, "inputs cells"]
    ) -> tuple[Float[Tensor, "moved cells"], Float[Tensor, "moved cells"]]:
        """The logarithm of the scale, s, and the shift, t, of the moved markers, cells in columns.

        Parameters
        ----------
        inputs
            Kept markers in the order of ``self.kept``, then covariates times ``self.cov_scale``.
        """
        if torch.is_grad_enabled():
            return self.scale(inputs).tanh_(), self.shift(inputs)
        s, t = _side_by_side(self.scale, self.shift, inputs)
        return s.tanh_(), t

    def _inputs(self, x: Tensor, covariates: Tensor) -> Tensor:
        return torch.cat([x.T[self.kept], self.cov_scale * covariates.to(x.dtype).T])

    def forward(
        self, x: Float[Tensor, "cells markers"], covariates: Float[Tensor, "cells covariates"]
    ) -> tuple[Float[Tensor, "cells markers"], Float[Tensor, " cells"]]:
        """The moved cells, and the logarithm of the absolute determinant of the Jacobian.

        Parameters
        ----------
        x
            Cells.
        covariates
            One row per cell; no columns if there are none.
        """
        s, t = self.coefficients(self._inputs(x, covariates))
        return x.index_copy(1, self.moved, x[:, self.moved] * s.exp().T + t.T), s.sum(0)

    def inverse(
        self, y: Float[Tensor, "cells markers"], covariates: Float[Tensor, "cells covariates"]
    ) -> Float[Tensor, "cells markers"]:
        """The cells that `forward` moves to `y`.

        Parameters
        ----------
        y
            Moved cells.
        covariates
            As in `forward`.
        """
        s, t = self.coefficients(self._inputs(y, covariates))
        return y.index_copy(1, self.moved, (y[:, self.moved] - t.T) * (-s).exp().T)


class RealNVP(nn.Module):
    r"""A stack of couplings: u = f(x; c), its inverse and its log-determinant.

    Parameters
    ----------
    input_size
        Markers and covariates together.
    hidden_size
        Width of the hidden layers.
    output_size
        Markers.
    n_hidden_layers
        Hidden maps beyond the first in each net.
    n_layers
        Couplings; layer i moves the markers j with j mod 3 = i mod 3, so at least 3 move them all.
    zero_last
        Start as the identity: what a table says holds from the first step. False starts with random maps.
    cov_scale
        Factor of the covariates where they enter the nets.
    generator
        Source of the initial weights; a fresh one of seed 0 by default. The global generator is not touched.

    Raises
    ------
    ValueError
        If `input_size` is smaller than `output_size`.

    Notes
    -----
    Everything is computed in the precision of the input, whatever that of the weights. The inverse is exact up to
    rounding, which the largest factor :math:`e^{\sum s}` of a cell multiplies. Time per cell
    O(layers * hidden * (markers + covariates + hidden * hidden layers)).

    Examples
    --------
    >>> flow = RealNVP(4, 8, 3, 1, 3)  # three markers, one covariate
    >>> x, c = torch.tensor([[1.0, -1.0, 0.0]]), torch.tensor([[1.0]])
    >>> u, logdet = flow(x, c)
    >>> bool((u == x).all()), float(logdet.detach())
    (True, 0.0)
    """

    def __init__(
        self,
        input_size: int,
        hidden_size: int,
        output_size: int,
        n_hidden_layers: int,
        n_layers: int,
        *,
        zero_last: bool = True,
        cov_scale: float = 100.0,
        generator: torch.Generator | None = None,
    ) -> None:
        super().__init__()
        generator = generator or torch.Generator().manual_seed(0)
        self.n_markers, self.n_covariates = output_size, input_size - output_size
        self.cov_scale = float(cov_scale)
        self.layers = nn.ModuleList(
            CouplingLayer(
                input_size, hidden_size, output_size, third(output_size, i), n_hidden_layers,
                zero_last=zero_last, cov_scale=cov_scale, generator=generator,
            )
            for i in range(n_layers)
        )  # fmt: skip
        grouped = torch.argsort(torch.arange(output_size) % N_GROUPS, stable=True)
        self.register_buffer("_back", torch.argsort(grouped), persistent=False)

    def _groups(self, x: Tensor, covariates: Tensor) -> tuple[list[Tensor], list[Tensor]]:
        """The markers in three groups, and the covariates as the nets see them, cells in columns."""
        rest = [self.cov_scale * covariates.to(x.dtype).T] if self.n_covariates else []
        return [x.T[g::N_GROUPS].contiguous() for g in range(N_GROUPS)], rest

    def forward(
        self, x: Float[Tensor, "cells markers"], covariates: Float[Tensor, "cells covariates"]
    ) -> tuple[Float[Tensor, "cells markers"], Float[Tensor, " cells"]]:
        """Latent cells u, and the logarithm of the absolute determinant of du/dx.

        Parameters
        ----------
        x
            Cells.
        covariates
            One row per cell; no columns if there are none.
        """
        groups, rest = self._groups(x, covariates)
        logdet = x.new_zeros(len(x))
        for i, layer in enumerate(self.layers):
            moved = i % N_GROUPS
            kept = [g for j, g in enumerate(groups) if j != moved]
            s, t = layer.coefficients(torch.cat(kept + rest))
            groups[moved] = torch.addcmul(t, groups[moved], s.exp())
            logdet = logdet + s.sum(0)
        return torch.cat(groups).index_select(0, self._back).T, logdet

    def inverse(
        self, u: Float[Tensor, "cells markers"], covariates: Float[Tensor, "cells covariates"]
    ) -> Float[Tensor, "cells markers"]:
        """The cells whose latent image is `u`.

        Parameters
        ----------
        u
            Latent cells.
        covariates
            One row per cell. Other ones than those of the forward map give the cell as it would have been
            under them, which is how batches are corrected.
        """
        groups, rest = self._groups(u, covariates)
        for i in reversed(range(len(self.layers))):
            moved = i % N_GROUPS
            kept = [g for j, g in enumerate(groups) if j != moved]
            s, t = self.layers[i].coefficients(torch.cat(kept + rest))
            groups[moved] = (groups[moved] - t) * (-s).exp()
        return torch.cat(groups).index_select(0, self._back).T
