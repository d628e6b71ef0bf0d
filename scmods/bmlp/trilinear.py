r"""A product of three linear maps and its strongest rank-one parts, as an exercise; torch alone.

.. math:: f_o(x) = \sum_h P_{oh}\,(l_h \cdot x)(r_h \cdot x)(u_h \cdot x) = T_o(x, x, x)

with the symmetric tensor :math:`T_o = \sum_h P_{oh}\,\mathrm{sym}(l_h \otimes r_h \otimes u_h)` of triples of
genes. It has genes³ entries and is never formed: it acts within the span of the 3 hidden weight vectors.

Source: the layer continues the bilinear one of arXiv 2410.08417. A symmetric tensor has no
eigendecomposition; its best rank-one part is found by the symmetric higher-order power method with a shift
that makes every step go up: Kolda and Mayo, "Shifted power method for computing tensor eigenpairs", SIAM J.
Matrix Anal. Appl. 32, 2011, doi:10.1137/100801482.
"""

from __future__ import annotations

from itertools import permutations

import torch
from jaxtyping import Float
from torch import Tensor

from scmods.linalg import fix_signs

__all__ = ["contract", "power_iteration", "tensor_reference", "trilinear", "value"]

Weights = tuple[Tensor, Tensor, Tensor, Tensor]  # L, R, U (hidden, genes) and P (outputs, hidden)


def trilinear(
    x: Float[Tensor, "cells genes"],
    w_l: Float[Tensor, "hidden genes"],
    w_r: Float[Tensor, "hidden genes"],
    w_u: Float[Tensor, "hidden genes"],
    w_p: Float[Tensor, "outputs hidden"],
) -> Float[Tensor, "cells outputs"]:
    r"""The layer: :math:`f(x) = P\,(Lx \circ Rx \circ Ux)`, exactly cubic; f(-x) = -f(x).

    L is `w_l`, R is `w_r`, U is `w_u` and P is `w_p`. O(cells genes hidden) time.
    """
    return ((x @ w_l.T) * (x @ w_r.T) * (x @ w_u.T)) @ w_p.T


def contract(
    v: Float[Tensor, "*batch genes"], weights: Weights, output: int
) -> Float[Tensor, "*batch genes"]:
    r"""T(., v, v): the gradient of :math:`f_o` at v divided by three, without T.

    With a = Lv, b = Rv, c = Uv and p one row of P it is
    :math:`\tfrac13[L^\top(p \circ b \circ c) + R^\top(p \circ a \circ c) + U^\top(p \circ a \circ b)]`.

    Parameters
    ----------
    v
        One vector of genes, or one per row.
    weights
        ``(w_l, w_r, w_u, w_p)``.
    output
        Row of P.

    Returns
    -------
    A vector for every v. O(genes hidden) time each.
    """
    w_l, w_r, w_u, w_p = weights
    a, b, c = v @ w_l.T, v @ w_r.T, v @ w_u.T
    p = w_p[output]
    return ((p * b * c) @ w_l + (p * a * c) @ w_r + (p * a * b) @ w_u) / 3


def value(v: Float[Tensor, "*batch genes"], weights: Weights, output: int) -> Float[Tensor, "*batch"]:
    r"""T(v, v, v), which is :math:`f_o(v)`, for one `v` or one per row; `weights` and `output` as for `contract`."""
    w_l, w_r, w_u, w_p = weights
    return ((v @ w_l.T) * (v @ w_r.T) * (v @ w_u.T)) @ w_p[output]


def tensor_reference(weights: Weights, output: int) -> Float[Tensor, "genes genes genes"]:
    """The symmetric tensor of one `output` of the layer `weights`: genes³ memory. Oracle of the tests."""
    w_l, w_r, w_u, w_p = weights
    tensor = torch.einsum("h,hi,hj,hk->ijk", w_p[output], w_l, w_r, w_u)
    return sum(tensor.permute(order) for order in permutations(range(3))) / 6


def _climb(v: Tensor, weights: Weights, output: int, n_iter: int) -> tuple[Tensor, Tensor]:
    """Shifted power steps from every row of `v`, none of which goes down; end values and vectors.

    The shift of a start grows until its step goes up and shrinks again after each step that did.
    """
    shift = v.new_zeros(len(v))
    height = value(v, weights, output)
    for _ in range(n_iter):
        image = contract(v, weights, output)
        size = torch.linalg.vector_norm(image, dim=1)
        step = image + shift[:, None] * v
        norm = torch.linalg.vector_norm(step, dim=1, keepdim=True)
        candidate = step / torch.where(norm > 0, norm, torch.ones_like(norm))
        reached = value(candidate, weights, output)
        up = reached >= height
        moved = torch.where(up[:, None], candidate - v, torch.zeros_like(v)).abs().amax()
        v, height = torch.where(up[:, None], candidate, v), torch.where(up, reached, height)
        shift = torch.where(up, shift / 2, 2 * shift + size / 2)
        if up.all() and moved < 4 * torch.finfo(v.dtype).eps:
            break
    return height, v


def _polish(v: Tensor, weights: Weights, output: int, n_iter: int = 8) -> Tensor:
    """Newton steps on T(., v, v) = T(v, v, v) v for a unit vector near its end, as long as they help.

    The power steps close in by a constant factor each, Newton's double the digits. The unknowns are v and
    the value; the last row keeps v on the sphere.
    """
    w_l, w_r, w_u, w_p = weights
    height = value(v, weights, output)
    left = torch.linalg.vector_norm(contract(v, weights, output) - height * v)
    for _ in range(n_iter):
        a, b, c = (w_p[output] * (w @ v) for w in (w_l, w_r, w_u))
        half = (w_r.T * a) @ w_u + (w_l.T * b) @ w_u + (w_l.T * c) @ w_r
        slope = (half + half.T) / 3 - height * torch.eye(len(v), dtype=v.dtype, device=v.device)
        bordered = torch.cat([torch.cat([slope, -v[:, None]], dim=1), torch.cat([v, v.new_zeros(1)])[None]])
        wanted = torch.cat([height * v - contract(v, weights, output), v.new_zeros(1)])
        step, failed = torch.linalg.solve_ex(bordered, wanted)
        trial = torch.nn.functional.normalize(v + step[:-1], dim=0)
        reached = value(trial, weights, output)
        rest = torch.linalg.vector_norm(contract(trial, weights, output) - reached * trial)
        # near the end the height is flat, so it may lose its last digits but no more
        lowest = height * (1 - 8 * torch.finfo(v.dtype).eps)
        if failed or not (rest < left and reached >= lowest):
            break
        v, height, left = trial, reached, rest
    return v


def power_iteration(
    weights: Weights, output: int, *, n_starts: int = 10, n_iter: int = 200, seed: int = 0
) -> tuple[Float[Tensor, ""], Float[Tensor, " genes"]]:
    r"""The rank-one part :math:`\lambda\, v \otimes v \otimes v` of largest size that the starts find.

    Parameters
    ----------
    weights
        ``(w_l, w_r, w_u, w_p)``, the first three (hidden, genes), the last (outputs, hidden).
    output
        Row of P.
    n_starts
        Random starts; the best end is returned.
    n_iter
        Most steps per start.
    seed
        Of a generator of its own; the global one is not touched.

    Returns
    -------
    value, vector
        :math:`\lambda` and the unit vector v, with :math:`T(\cdot, v, v) = \lambda v`. Only
        :math:`\lambda v \otimes v \otimes v` is determined, as (-λ, -v) gives the same; the sign rule is that
        of the modes: the entry of v of largest size is positive. Then λ tells whether the output rises (> 0)
        or falls with these genes.

    Notes
    -----
    Every end is a local maximum of the size of f on the unit sphere, and the best of a few starts need not be the
    global one: that problem is hard in general. Newton steps finish the best start. Work is in the span of the
    weight vectors, by one QR of genes x 3 hidden: O(genes hidden² + n_starts n_iter hidden² + hidden³) time.
    """
    w_l, w_r, w_u, w_p = weights
    q, t = torch.linalg.qr(torch.cat([w_l, w_r, w_u]).T)
    small = (*(part.T for part in t.split(len(w_l), dim=1)), w_p)
    generator = torch.Generator().manual_seed(seed)
    start = torch.randn(n_starts, q.shape[1], generator=generator, dtype=torch.float64).to(q)
    start = start / torch.linalg.vector_norm(start, dim=1, keepdim=True)
    # the form is odd: starts below zero are turned round, so that going up makes |f| larger
    down = value(start, small, output) < 0
    height, ends = _climb(torch.where(down[:, None], -start, start), small, output, n_iter)
    vector = q @ _polish(ends[height.argmax()], small, output)
    signed = fix_signs(vector[:, None])[:, 0]
    return value(signed, weights, output), signed
