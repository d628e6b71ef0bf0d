"""How probable it is that a cell belongs to no row of the table.

Labels come from the plain densities. This probability does not: there, one marker on the wrong side costs twenty nats,
which would make an outsider of every cell that a channel has misread.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch
from jaxtyping import Float
from torch import Tensor

if TYPE_CHECKING:
    from scmods.scyan.network import AnnotationNetwork

__all__ = ["Contamination", "estimate_contamination", "log_odds_unlisted"]

STEPS = 30
MOST_CELLS = 5000
LEAST = 1e-4
START = 0.01


@dataclass(frozen=True)
class Contamination:
    """What the model does not foresee.

    Attributes
    ----------
    entries
        Share of the known entries that cells contradict.
    cells
        Share of cells of no row.

    Examples
    --------
    >>> from scmods import scyan
    >>> scyan.Contamination(entries=0.02, cells=0.01).cells
    0.01
    """

    entries: float
    cells: float


def log_odds_unlisted(
    network: AnnotationNetwork, u: Float[Tensor, "cells markers"], shares: Contamination
) -> Float[Tensor, " cells"]:
    r"""Logarithm of the odds that a cell belongs to no row.

    .. math:: \log \frac{w\, N(u; 0, I)}{(1 - w) \sum_z \pi_z\, p_\epsilon(u \mid z)}

    Parameters
    ----------
    network
        The trained network; its prior and weights are used.
    u
        Latent cells.
    shares
        :math:`\epsilon` and w.

    Returns
    -------
    Log-odds; minus infinity if w is 0.

    Examples
    --------
    >>> import torch
    >>> from scmods import scyan
    >>> rho = torch.tensor([[-1.0, 1.0, 1.0], [1.0, -1.0, torch.nan]])
    >>> continuum = torch.zeros(3, dtype=bool)
    >>> network = scyan.AnnotationNetwork(rho, 0, continuum, 16, 1, 3, 0.3, None, n_cells=10)
    >>> cells = torch.tensor([[-1.0, 1.0, 1.0], [9.0, 9.0, 9.0]])
    >>> odds = scyan.log_odds_unlisted(network, network(cells, None)[0], scyan.Contamination(0.02, 0.02))
    >>> (odds > 0).tolist()
    [False, True]
    """
    if shares.cells <= 0:
        return u.new_full((len(u),), -math.inf)
    rows = network.prior.log_prob_robust(u, shares.entries) + network.log_pi.to(u.dtype)
    prior_odds = math.log(shares.cells) - math.log1p(-shares.cells)
    return network.log_background(u) + prior_odds - rows.logsumexp(1)


@torch.no_grad()
def estimate_contamination(
    network: AnnotationNetwork,
    u: Float[Tensor, "cells markers"],
    *,
    entries: float | None = None,
    seed: int = 0,
) -> Contamination:
    r"""Fit the two shares by expectation maximisation, the flow being fixed.

    Parameters
    ----------
    network
        The trained network.
    u
        Latent training cells, float64.
    entries
        The share of contradicted entries, if it is known; only that of unlisted cells is then fitted.
    seed
        Of the 5,000 cells that are used where there are more.

    Returns
    -------
    The shares; zeros for a network without background.

    Notes
    -----
    E step: the posterior of every row and of the background, and of each known entry that the cell contradicts it. M
    step: their means. Thirty steps in blocks of cells; O(cells populations markers) time, one block in memory.

    Examples
    --------
    >>> import torch
    >>> from scmods import scyan
    >>> rho = torch.tensor([[-1.0, 1.0, 1.0], [1.0, -1.0, torch.nan]])
    >>> continuum = torch.zeros(3, dtype=bool)
    >>> network = scyan.AnnotationNetwork(rho, 0, continuum, 16, 1, 3, 0.3, None, n_cells=10)
    >>> cells = torch.tensor([[-1.0, 1.0, 1.0], [9.0, 9.0, 9.0]])
    >>> shares = scyan.estimate_contamination(network, network(cells, None)[0])
    >>> type(shares).__name__
    'Contamination'
    """
    if not network.background:
        return Contamination(0.0, 0.0)
    if len(u) > MOST_CELLS:
        order = torch.randperm(len(u), generator=torch.Generator().manual_seed(seed))
        u = u[order[:MOST_CELLS].sort().values]
    shares = Contamination(START if entries is None else entries, network.background)
    known = network.prior.known.to(u.dtype)
    for _ in range(STEPS):
        broken = possible = outside = 0.0
        for block in u.split(1000):
            joint = network.prior.log_prob_robust(block, shares.entries) + network.log_pi.to(u.dtype)
            out = torch.sigmoid(log_odds_unlisted(network, block, shares))
            outside += float(out.sum())
            if entries is None:
                share = torch.softmax(joint, 1) * (1 - out)[:, None]
                broken += float((share[:, :, None] * _contradicts(network, block, shares.entries)).sum())
                possible += float((share @ known).sum())
        shares = Contamination(
            max(broken / max(possible, 1.0), LEAST) if entries is None else entries,
            min(max(outside / len(u), LEAST), 0.5),
        )
    return shares


def _contradicts(network: AnnotationNetwork, u: Tensor, entries: float) -> Tensor:
    """Posterior of each known entry that the cell does not follow it, (cells, populations, markers)."""
    prior = network.prior
    own = prior.log_prob_per_marker(u) + math.log1p(-entries)
    other = (prior._log_unknown(u) + math.log(entries))[:, None, :]
    return torch.where(prior.known, torch.sigmoid(other - own), 0.0)
