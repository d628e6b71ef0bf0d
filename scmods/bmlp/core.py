r"""The bilinear layer and what can be read off its weights, in the order of the chapter; torch alone.

Letters of the chapter and names here: x ``x`` (cells, genes), L ``w_l`` and R ``w_r`` (hidden, genes),
P ``w_p`` (outputs, hidden), B ``interaction`` (genes, genes), u ``direction`` (outputs).

Source: Pearce, Dooms, Rigg, Oramas, Sharkey, "Bilinear MLPs enable weight-based mechanistic
interpretability", ICLR 2025, arXiv 2410.08417, for the layer and its interaction matrix; the low-rank
route and the shares follow from them and are derived in the chapter.
"""

from __future__ import annotations

import math

import torch
from jaxtyping import Float
from torch import Tensor, nn

from scmods.linalg import fix_signs, low_rank_eigh

__all__ = [
    "BilinearMLP",
    "affine_parts",
    "bilinear",
    "eigenmodes",
    "eigenmodes_reference",
    "gene_shares",
    "interaction_cosine",
    "interaction_matrix",
    "unit_rows",
]


def bilinear(
    x: Float[Tensor, "cells genes"],
    w_l: Float[Tensor, "hidden genes"],
    w_r: Float[Tensor, "hidden genes"],
    w_p: Float[Tensor, "outputs hidden"],
) -> Float[Tensor, "cells outputs"]:
    r"""The layer: :math:`f(x) = P\,(Lx \circ Rx)`, a product of two linear maps, hence exactly quadratic.

    Parameters
    ----------
    x
        Cells.
    w_l, w_r
        L and R: one row of gene weights per hidden product.
    w_p
        P: the weight of every product in every output.

    Examples
    --------
    Two genes, one hidden unit that multiplies them, one output that takes it three times:

    >>> x = torch.tensor([[1.0, 2.0], [-1.0, 4.0]])
    >>> w_l, w_r = torch.tensor([[1.0, 0.0]]), torch.tensor([[0.0, 1.0]])
    >>> bilinear(x, w_l, w_r, torch.tensor([[3.0]]))
    tensor([[  6.],
            [-12.]])
    """
    return ((x @ w_l.T) * (x @ w_r.T)) @ w_p.T


def interaction_matrix(
    w_l: Float[Tensor, "hidden genes"], w_r: Float[Tensor, "hidden genes"], p: Float[Tensor, " hidden"]
) -> Float[Tensor, "genes genes"]:
    r"""The symmetric B with :math:`x^\top B x = \sum_h p_h (l_h \cdot x)(r_h \cdot x)` for every x.

    .. math:: B = \tfrac12 \sum_h p_h\,(l_h r_h^\top + r_h l_h^\top)

    One matrix at a time: O(genes²) memory. For spectra use `eigenmodes`, which never forms it.

    Parameters
    ----------
    w_l, w_r
        L and R, rows :math:`l_h` and :math:`r_h`.
    p
        One row of P, or ``direction @ w_p`` for a combination of outputs.

    Examples
    --------
    The product of two genes, three times, is shared by the entries (0, 1) and (1, 0):

    >>> w_l, w_r = torch.tensor([[1.0, 0.0]]), torch.tensor([[0.0, 1.0]])
    >>> interaction_matrix(w_l, w_r, torch.tensor([3.0]))
    tensor([[0.0000, 1.5000],
            [1.5000, 0.0000]])
    """
    half = (w_l * p[:, None]).T @ w_r
    return (half + half.T) / 2


def eigenmodes(
    w_l: Float[Tensor, "hidden genes"],
    w_r: Float[Tensor, "hidden genes"],
    w_p: Float[Tensor, "outputs hidden"],
) -> tuple[Float[Tensor, "outputs comps"], Float[Tensor, "outputs genes comps"]]:
    r"""All eigenpairs of every interaction matrix that can differ from zero, without forming one.

    With :math:`M = [L^\top R^\top]` and :math:`D_o = \mathrm{diag}(P_o)`,

    .. math:: B_o = M\,\tfrac12\begin{pmatrix}0 & D_o\\ D_o & 0\end{pmatrix} M^\top,

    so one thin QR of M and one small eigenproblem per output give all of them (`low_rank_eigh`).

    Returns
    -------
    Eigenvalues, descending, and eigenvectors in the columns (unit norm, entry of largest size
    positive); ``comps = min(genes, 2 hidden)``. When 2 hidden <= genes and the weights are generic,
    exactly `hidden` values are positive and `hidden` negative, whatever was learned.

    Notes
    -----
    O(genes hidden² + outputs hidden³) time. `eigenmodes_reference` is the dense oracle.
    """
    hidden = w_l.shape[0]
    core = w_p.new_zeros(w_p.shape[0], 2 * hidden, 2 * hidden)
    core[:, :hidden, hidden:] = torch.diag_embed(w_p) / 2
    core[:, hidden:, :hidden] = torch.diag_embed(w_p) / 2
    return low_rank_eigh(torch.cat([w_l, w_r]).T, core)


def eigenmodes_reference(
    w_l: Float[Tensor, "hidden genes"],
    w_r: Float[Tensor, "hidden genes"],
    w_p: Float[Tensor, "outputs hidden"],
) -> tuple[Float[Tensor, "outputs genes"], Float[Tensor, "outputs genes genes"]]:
    """The same by a dense decomposition of every interaction matrix: O(outputs genes³). Oracle of the tests."""
    tensor = torch.einsum("oh,hi,hj->oij", w_p, w_l, w_r)
    values, vectors = torch.linalg.eigh((tensor + tensor.mT) / 2)
    return values.flip(-1), fix_signs(vectors.flip(-1))


def interaction_cosine(
    first: tuple[Tensor, Tensor, Tensor], second: tuple[Tensor, Tensor, Tensor]
) -> Float[Tensor, " outputs"]:
    r"""Cosine :math:`\langle B, B'\rangle_F / (\lVert B\rVert\lVert B'\rVert)` of two models' matrices, per output.

    Each model is ``(w_l, w_r, w_p)``. Interpret B, never L or R: rescaling, swapping and permuting
    hidden units change the weights and leave B alone. O(genes hidden²): only products of weights.
    """

    def inner(a: tuple[Tensor, Tensor, Tensor], b: tuple[Tensor, Tensor, Tensor]) -> Tensor:
        straight = (a[0] @ b[0].T) * (a[1] @ b[1].T)
        crossed = (a[0] @ b[1].T) * (a[1] @ b[0].T)
        return torch.einsum("oh,hk,ok->o", a[2], straight + crossed, b[2]) / 2

    return inner(first, second) / (inner(first, first) * inner(second, second)).sqrt()


def gene_shares(
    x: Float[Tensor, "cells genes"],
    w_l: Float[Tensor, "hidden genes"],
    w_r: Float[Tensor, "hidden genes"],
    p: Float[Tensor, " hidden"],
) -> Float[Tensor, "cells genes"]:
    r"""What every gene adds to the quadratic output of every cell: :math:`x_i (Bx)_i`, rows sum to :math:`x^\top B x`.

    :math:`Bx = \tfrac12 L^\top(p \circ Rx) + \tfrac12 R^\top(p \circ Lx)`: O(cells genes hidden), B is not formed.
    """
    left, right = (x @ w_l.T) * p, (x @ w_r.T) * p
    return x * (right @ w_l + left @ w_r) / 2


def affine_parts(
    l0: Float[Tensor, " hidden"],
    r0: Float[Tensor, " hidden"],
    w_l: Float[Tensor, "hidden genes"],
    w_r: Float[Tensor, "hidden genes"],
    w_p: Float[Tensor, "outputs hidden"],
    constant: float = 1.0,
) -> tuple[Float[Tensor, " outputs"], Float[Tensor, "outputs genes"]]:
    r"""Intercept and linear weights that a constant input feature c adds to the layer.

    With :math:`\tilde x = [x, c]` the layer is :math:`x^\top B x + w \cdot x + b`,

    .. math:: w_o = c \sum_h P_{oh}(l_{0h} r_h + r_{0h} l_h), \qquad b_o = c^2 \sum_h P_{oh} l_{0h} r_{0h}.

    The monotone part of the signal goes to w, and B keeps the interactions.
    """
    linear = constant * ((w_p * l0) @ w_r + (w_p * r0) @ w_l)
    return constant**2 * (w_p @ (l0 * r0)), linear


def unit_rows(x: Float[Tensor, "cells genes"]) -> Float[Tensor, "cells genes"]:
    """Every cell divided by its length; a zero row stays zero.

    Parameters
    ----------
    x
        Cells.

    Examples
    --------
    >>> unit_rows(torch.tensor([[3.0, 4.0], [0.0, 0.0]]))
    tensor([[0.6000, 0.8000],
            [0.0000, 0.0000]])
    """
    norm = torch.linalg.vector_norm(x, dim=1, keepdim=True)
    return x / torch.where(norm > 0, norm, torch.ones_like(norm))


class BilinearMLP(nn.Module):
    r"""The bilinear layer as a module: ``head(left(x) * right(x))``.

    Parameters
    ----------
    n_genes, n_hidden, n_outputs
        Sizes.
    constant
        Value of a constant input feature appended to every cell; 0 leaves it out. Without it
        f(-x) = f(x) and f(0) = 0: the layer cannot follow a gene up and down.
    zero_head
        Start with P = 0, hence with f = 0. With the usual random head the start is a random quadratic
        form that training removes only where there are training cells.
    bias
        Biases in all three maps, as the original's ``Config(bias=True)``; then the layer has linear
        terms which its interaction matrices do not show.
    generator
        Source of the initial weights, U(-1/sqrt(n), 1/sqrt(n)) with n inputs; the global one is not touched.

    Examples
    --------
    >>> import torch
    >>> from scmods import bmlp
    >>> layer = bmlp.BilinearMLP(n_genes=4, n_hidden=8, n_outputs=2)
    >>> layer(torch.ones(3, 4)).shape
    torch.Size([3, 2])
    """

    def __init__(
        self,
        n_genes: int,
        n_hidden: int,
        n_outputs: int,
        *,
        constant: float = 1.0,
        zero_head: bool = True,
        bias: bool = False,
        generator: torch.Generator | None = None,
    ) -> None:
        super().__init__()
        self.constant = constant
        n_inputs = n_genes + (constant != 0)
        # nn.Linear draws its weights from the global generator; skip_init does not
        self.left = nn.utils.skip_init(nn.Linear, n_inputs, n_hidden, bias=bias)
        self.right = nn.utils.skip_init(nn.Linear, n_inputs, n_hidden, bias=bias)
        self.head = nn.utils.skip_init(nn.Linear, n_hidden, n_outputs, bias=bias)
        generator = generator or torch.Generator().manual_seed(0)
        with torch.no_grad():
            for layer in (self.left, self.right, self.head):
                bound = 1 / math.sqrt(layer.in_features)
                for parameter in layer.parameters():
                    parameter.copy_((torch.rand(parameter.shape, generator=generator) * 2 - 1) * bound)
            if zero_head:
                for parameter in self.head.parameters():
                    parameter.zero_()

    def hidden(self, x: Float[Tensor, "cells genes"]) -> Float[Tensor, "cells hidden"]:
        """The products of the two linear maps, before the head.

        Parameters
        ----------
        x
            Cells, without the constant feature: it is appended here.
        """
        if self.constant:
            x = torch.cat([x, x.new_full((len(x), 1), self.constant)], dim=1)
        return self.left(x) * self.right(x)

    def forward(self, x: Float[Tensor, "cells genes"]) -> Float[Tensor, "cells outputs"]:
        """Outputs of every cell."""
        return self.head(self.hidden(x))

    def weights(self) -> tuple[Tensor, Tensor, Tensor]:
        """L, R (hidden, genes) without the constant's column, and P (outputs, hidden); detached."""
        genes = self.left.in_features - (self.constant != 0)
        w_l, w_r = self.left.weight.detach(), self.right.weight.detach()
        return w_l[:, :genes], w_r[:, :genes], self.head.weight.detach()

    def affine(self) -> tuple[Tensor, Tensor]:
        """Intercept (outputs) and linear weights (outputs, genes) of the constant feature; zeros without one."""
        w_l, w_r, w_p = self.weights()
        if not self.constant:
            return w_p.new_zeros(len(w_p)), w_p.new_zeros(len(w_p), w_l.shape[1])
        l0, r0 = self.left.weight.detach()[:, -1], self.right.weight.detach()[:, -1]
        return affine_parts(l0, r0, w_l, w_r, w_p, self.constant)
