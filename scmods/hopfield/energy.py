r"""Energies of the cells: a quasi-potential of the field, exact for every exponent.

With :math:`s = \varphi(x)` the energy of a cell is

.. math:: E = -\tfrac12 s^T W s + \sum_i \gamma_i D_i(x_i) - I^T s, \qquad
          D_i(x) = \int_0^{\varphi_i(x)} \varphi_i^{-1}(z)\,dz .

It falls along every trajectory only where W is symmetric. With :math:`K = (W - W^T)/2` its rate is

.. math:: \dot E = -\sum_i \varphi_i' f_i\,(f_i - (K s)_i),

so an asymmetric circuit can climb: E is a quasi-potential, not a landscape that orders the cells in time.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import Tensor

from scmods.hopfield import checks, core
from scmods.hopfield.keys import Keys

if TYPE_CHECKING:
    from anndata import AnnData

    from scmods.hopfield.field import ClusterField, Field

__all__ = ["degradation_integral", "energies", "energy_parts", "energy_rate"]


def degradation_integral(x: Tensor, threshold: Tensor, exponent: Tensor) -> Tensor:
    r"""Integral of the inverse Hill function from 0 to :math:`\varphi(x)`, in closed form.

    With p = 1/n and :math:`s = \varphi(x)`:

    .. math:: D = k\,B_s(1 + p, 1 - p) \;(n > 1), \qquad D = k(-s - \ln(1 - s)) \;(n = 1), \qquad
              D = \frac{x s (1 - s)}{1 + p}\; {}_2F_1(1, 2; 2 + p; s) \;(\text{all } n).

    Parameters
    ----------
    x
        (cells, genes) expression, not negative.
    threshold, exponent
        (genes,) k and n of the Hill function, positive.

    Returns
    -------
    (cells, genes) float64, unit of `x`; finite for every finite `x`. For n <= 1 it grows without bound with `x`.

    Notes
    -----
    Above s = 1/2 the incomplete beta is taken from the other end, where :math:`1 - s` keeps its digits.

    Examples
    --------
    >>> one = torch.ones(1, dtype=torch.float64)
    >>> round(degradation_integral(one[None], one, one).item(), 6)  # -1/2 + ln 2
    0.193147
    """
    z = exponent * (x.log() - threshold.log())
    s, rest = z.sigmoid().numpy(), (-z).sigmoid().numpy()
    p = np.broadcast_to(1 / exponent.numpy(), s.shape)
    k = np.broadcast_to(threshold.numpy(), s.shape)
    values = x.double().numpy()
    out = np.empty(s.shape)
    beta, series = p < 1, (p > 1) | ((p == 1) & (s < 0.5))
    logarithm = ~(beta | series)
    out[beta] = k[beta] * _incomplete_beta(p[beta], s[beta], rest[beta])
    out[series] = _series(values[series], p[series], s[series], rest[series])
    out[logarithm] = k[logarithm] * (-s[logarithm] - np.log(rest[logarithm]))
    return torch.as_tensor(out)


def _incomplete_beta(p: np.ndarray, s: np.ndarray, rest: np.ndarray) -> np.ndarray:
    from scipy import special

    low = special.betainc(1 + p, 1 - p, np.minimum(s, 0.5))
    high = special.betaincc(1 - p, 1 + p, np.minimum(rest, 0.5))
    return special.beta(1 + p, 1 - p) * np.where(s <= 0.5, low, high)


def _series(x: np.ndarray, p: np.ndarray, s: np.ndarray, rest: np.ndarray) -> np.ndarray:
    from scipy import special

    return x * s * rest / (1 + p) * special.hyp2f1(1.0, 2.0, 2 + p, s)


def energy_parts(cluster_field: ClusterField, x: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Energy of the interactions, of the degradation and of the constant production of every cell.

    Parameters
    ----------
    cluster_field
        Field of the cluster of these cells, ``field.cluster(name)``.
    x
        (cells, genes) float64 expression.

    Returns
    -------
    Three (cells,) tensors, unit of expression^2 / time over the unit of expression; their sum is the energy.

    Examples
    --------
    >>> import torch
    >>> from scmods import hopfield
    >>> field = hopfield.true_field(hopfield.toggle(2, 3))
    >>> x = torch.ones(4, 2, dtype=torch.float64)
    >>> [part.shape[0] for part in hopfield.energy_parts(field.cluster("toggle"), x)]
    [4, 4, 4]
    """
    f = cluster_field
    phi = core.activation(x, f.threshold, f.exponent)
    degradation = degradation_integral(x, f.threshold, f.exponent) @ f.gamma
    return (
        core.interaction_energy(phi[:, f.regs], f.w, f.regs, phi),
        degradation,
        core.bias_energy(phi, f.bias),
    )


def energy_rate(cluster_field: ClusterField, x: Tensor) -> Tensor:
    r"""Rate of the energy along the field, :math:`-\sum_i \varphi_i' f_i (f_i - (K s)_i)`.

    Negative means downhill. Not positive everywhere if W is symmetric (K = 0), and otherwise of either sign.

    Parameters
    ----------
    cluster_field
        Field of the cluster of these cells.
    x
        (cells, genes) float64 expression.

    Returns
    -------
    (cells,) float64, energy / time.

    Examples
    --------
    Symmetric interactions: the energy can only fall.

    >>> import torch
    >>> from scmods import hopfield
    >>> field = hopfield.true_field(hopfield.toggle(2, 3))
    >>> x = torch.tensor([[1.0, 2.0], [0.5, 0.5]], dtype=torch.float64)
    >>> bool((hopfield.energy_rate(field.cluster("toggle"), x) <= 0).all())
    True
    """
    f = cluster_field
    phi = core.activation(x, f.threshold, f.exponent)
    slope = core.activation_derivative(x, f.threshold, f.exponent)
    v = f.velocity(x)
    turned = phi[:, f.regs] @ f.w.T / 2
    turned[:, f.regs] -= phi @ f.w / 2
    return -(slope * v * (v - turned)).sum(1)


def energies(
    adata: AnnData,
    *,
    field: Field | None = None,
    spliced_layer: str | None = "Ms",
    cluster_key: str | None = "cell_type",
    x_floor: float = 0.0,
    key_added: str = "hopfield",
    copy: bool = False,
) -> AnnData | None:
    """Energy of every cell under the field of its own cluster, with the degradation of that cluster.

    Parameters
    ----------
    adata
        Cells with a fitted field.
    field
        The field; that of ``uns[key_added]`` by default.
    spliced_layer
        Expression the field was fitted on; None for ``X``.
    cluster_key
        Column of ``obs`` with the cluster of each cell; None where one field serves all.
    x_floor
        Expression is raised to this value first; 0 leaves it as it is.
    key_added
        Prefix of the keys.
    copy
        Return a changed copy and leave `adata` alone.

    Returns
    -------
    None, or the copy. Written to ``obs`` (default keys), float64, one value per cell: ``hopfield_energy`` and its
    three parts ``hopfield_energy_interaction``, ``hopfield_energy_degradation``, ``hopfield_energy_bias``.

    Raises
    ------
    MissingKeyError, ValueError
        Missing slots, expression that is negative or not finite, clusters without a field.

    Notes
    -----
    A quasi-potential: it must fall along trajectories only where W is symmetric, see `energy_rate`. Energies of
    different clusters come from different fields and have no common zero, so compare them with care.
    O(cells * genes * regulators).

    Examples
    --------
    >>> from scmods import hopfield
    >>> adata = hopfield.toggle(5, 8)
    >>> field = hopfield.fit(adata)
    >>> hopfield.energies(adata)
    >>> [name for name in adata.obs if "energy" in name]
    ['hopfield_energy_interaction', 'hopfield_energy_degradation', 'hopfield_energy_bias', 'hopfield_energy']
    """
    adata = adata.copy() if copy else adata
    cells = checks.read(
        adata,
        key_added if field is None else field,
        spliced_layer,
        cluster_key=cluster_key,
        x_floor=x_floor,
    )
    parts = np.full((3, len(cells)), np.nan)
    for block in cells.blocks():
        parts[:, block.rows] = torch.stack(energy_parts(block.field, block.x)).numpy()
    keys = Keys(key_added)
    names = (keys.energy_interaction, keys.energy_degradation, keys.energy_bias)
    for name, values in zip(names, parts, strict=True):
        adata.obs[name] = values
    adata.obs[keys.energy] = parts.sum(axis=0)
    return adata if copy else None
