"""The residual block of the network, and linear maps with one matrix per head."""

from __future__ import annotations

import torch
from jaxtyping import Float
from torch import Tensor, nn

__all__ = ["HeadMap", "Residual"]


class Residual(nn.Module):
    r"""Two-layer residual block, :math:`h = \mathrm{ReLU}(x + \mathrm{LN}(B\,\mathrm{ReLU}(\mathrm{LN}(Ax))))`.

    Where sizes differ, ``LN(C h + c)`` follows.

    Parameters
    ----------
    size_in, size_out
        Sizes of input and output.
    width
        Size of the layer between.
    final_norm
        Normalise the output; False leaves out the norm after `C`, or, when the sizes agree, the one after `B`.
    """

    def __init__(self, size_in: int, size_out: int, width: int, *, final_norm: bool = True) -> None:
        super().__init__()
        same = size_in == size_out
        self.first, self.norm_first = nn.Linear(size_in, width), nn.LayerNorm(width)
        self.second = nn.Linear(width, size_in)
        self.norm_second = nn.Identity() if same and not final_norm else nn.LayerNorm(size_in)
        self.last = nn.Identity() if same else nn.Linear(size_in, size_out)
        self.norm_last = nn.Identity() if same or not final_norm else nn.LayerNorm(size_out)

    def _rest(self, x: Tensor, hidden: Tensor) -> Tensor:
        inner = self.second(torch.relu(self.norm_first(hidden)))
        return self.norm_last(self.last(torch.relu(x + self.norm_second(inner))))

    def forward(self, x: Float[Tensor, "*rows in"]) -> Float[Tensor, "*rows out"]:
        """The block applied to rows.

        Parameters
        ----------
        x
            Rows of size `size_in`.
        """
        return self._rest(x, self.first(x))


class HeadMap(nn.Module):
    """One linear map per head; weights start uniform within 1 / sqrt(heads * size_in), biases too.

    Parameters
    ----------
    n_heads, size_in, size_out
        Sizes.
    """

    def __init__(self, n_heads: int, size_in: int, size_out: int) -> None:
        super().__init__()
        # the bound counts the axis of heads, as the published model does: smaller than layer by layer
        bound = (n_heads * size_in) ** -0.5
        self.weight = nn.Parameter(torch.empty(n_heads, size_out, size_in).uniform_(-bound, bound))
        self.bias = nn.Parameter(torch.empty(n_heads, size_out).uniform_(-bound, bound))

    def forward(self, x: Float[Tensor, "rows heads in"]) -> Float[Tensor, "rows heads out"]:
        """Each head's map of its part of the rows.

        Parameters
        ----------
        x
            (rows, heads, size_in).
        """
        return torch.einsum("nhi,hsi->nhs", x, self.weight) + self.bias
