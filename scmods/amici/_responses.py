"""What a receiver does when a sender is near: the modes of the simulated tissue."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from scmods.amici._blood import TYPES, Blood
from scmods.amici._tissue import DENSITY, within

__all__ = ["INTERACTIONS", "Tissue", "graded", "leak", "null", "subcluster", "transplant"]

# receiver, sender, donor: expression comes from a third type, so that a response does not look like spill-over
INTERACTIONS = (("T", "Mono", "B"), ("DC", "B", "T"))
N_RESPONDING = 15
GAIN = 2.0  # sum of strengths to dose: one competent sender at distance 0 gives 0.86 of the full response
FADE = 2.0  # a graded effect ends at this many lengths
SPILL_WIDTH = 4.0  # sd of the cloud of molecules that a cell loses, in units of length


@dataclass
class Tissue:
    """Cells of a tissue while it is being made, and what is true of them.

    Parameters
    ----------
    coords
        (cells, 2) positions.
    codes
        (cells,) types.
    source
        (cells,) real cell that each cell copies.
    x
        (cells, genes) expression.
    dose
        (cells,) share of the full response, in [0, 1].
    responds
        (genes, types) genes that a receiver of the type changes.
    pairs
        Receiver, sender and strength of every true pair.
    """

    coords: np.ndarray
    codes: np.ndarray
    source: np.ndarray
    x: np.ndarray
    dose: np.ndarray
    responds: np.ndarray
    pairs: list[tuple[np.ndarray, np.ndarray, np.ndarray]]

    def of(self, kind: str) -> np.ndarray:
        """Positions of the cells of a type."""
        return np.flatnonzero(self.codes == TYPES.index(kind))

    def touch(self, receiver: str, sender: str, reach: float) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Receiver, sender and distance of all pairs of these types within reach."""
        return within(self.coords, self.of(receiver), self.of(sender), reach)


def _genes_of_donor(blood: Blood, receiver: str, donor: str) -> np.ndarray:
    """Genes with the largest mean in the donor type minus that in the receiver type."""
    shift = blood.x[blood.of(donor)].mean(axis=0) - blood.x[blood.of(receiver)].mean(axis=0)
    return np.argsort(-shift, kind="stable")[:N_RESPONDING]


def null(tissue: Tissue, blood: Blood, reach: tuple[float, float], rng: np.random.Generator) -> None:
    """Nobody sends: every cell is a copy of a real cell of its type."""


def transplant(tissue: Tissue, blood: Blood, reach: tuple[float, float], rng: np.random.Generator) -> None:
    """A receiver in reach takes the values of the responding genes from one real cell of the donor type."""
    for (receiver, sender, donor), radius in zip(INTERACTIONS, reach, strict=True):
        i, j, _ = tissue.touch(receiver, sender, radius)
        cells, genes = np.unique(i), _genes_of_donor(blood, receiver, donor)
        picked = rng.choice(blood.of(donor), len(cells))
        tissue.x[np.ix_(cells, genes)] = blood.x[np.ix_(picked, genes)]
        tissue.dose[cells] = 1.0
        tissue.responds[genes, TYPES.index(receiver)] = True
        tissue.pairs.append((i, j, np.ones(len(i))))


def subcluster(tissue: Tissue, blood: Blood, reach: tuple[float, float], rng: np.random.Generator) -> None:
    """A receiver in reach copies a real cell of the smaller state of its type, one out of reach of the larger."""
    for (receiver, sender, _), radius in zip(INTERACTIONS, reach, strict=True):
        i, j, _ = tissue.touch(receiver, sender, radius)
        rest, state = blood.two_states(receiver)
        inside, everyone = np.unique(i), tissue.of(receiver)
        tissue.source[everyone] = rng.choice(rest, len(everyone))
        tissue.source[inside] = rng.choice(state, len(inside))
        tissue.x[everyone] = blood.x[tissue.source[everyone]]
        tissue.dose[inside] = 1.0
        tissue.responds[:, TYPES.index(receiver)] = _raised(blood.x[rest], blood.x[state])
        tissue.pairs.append((i, j, np.ones(len(i))))


def _raised(rest: np.ndarray, state: np.ndarray) -> np.ndarray:
    """Genes higher in the state: log-fold change above 0.2 and adjusted p of Welch's t at most .05."""
    from scipy.stats import ttest_ind

    from scmods.stats import benjamini_hochberg

    varies = np.maximum(rest.var(axis=0), state.var(axis=0)) > 0
    p = np.ones(rest.shape[1])
    p[varies] = ttest_ind(state[:, varies], rest[:, varies], equal_var=False).pvalue
    return (benjamini_hochberg(p) <= 0.05) & (state.mean(axis=0) - rest.mean(axis=0) > 0.2)


def graded(tissue: Tissue, blood: Blood, reach: tuple[float, float], rng: np.random.Generator) -> None:
    r"""The response grows with the sum of :math:`\exp(-d / L)` over the competent senders within two lengths.

    The dose is :math:`1 - \exp(-2 s)` of that sum `s`; responding genes are mixed, on the logged scale, out of the
    cell's own values and those of one real cell of the donor type.
    """
    competent = blood.competent()[tissue.source]
    for (receiver, sender, donor), length in zip(INTERACTIONS, reach, strict=True):
        i, j, d = tissue.touch(receiver, sender, FADE * length)
        i, j, strength = i[competent[j]], j[competent[j]], np.exp(-d[competent[j]] / length)
        dose = 1 - np.exp(-GAIN * np.bincount(i, strength, len(tissue.codes)))
        cells, genes = np.unique(i), _genes_of_donor(blood, receiver, donor)
        picked, share = rng.choice(blood.of(donor), len(cells)), dose[cells][:, None]
        mixed = (1 - share) * tissue.x[np.ix_(cells, genes)] + share * blood.x[np.ix_(picked, genes)]
        tissue.x[np.ix_(cells, genes)] = mixed
        tissue.dose[cells] = dose[cells]
        tissue.responds[genes, TYPES.index(receiver)] = True
        tissue.pairs.append((i, j, strength))


def leak(tissue: Tissue, blood: Blood, share: float, rng: np.random.Generator) -> None:
    """Molecules of every cell turn up in the cells around it: Poisson counts with the mean of a Gaussian cloud.

    A cell loses the `share` of its molecules at the density of the tissue; where it has few neighbours, more is lost
    to the gaps. All types leak into all types, so that a receiver seems to express markers of whoever is near.
    """
    from scipy import sparse

    n = len(tissue.codes)
    i, j, d = within(tissue.coords, np.arange(n), np.arange(n), 3 * SPILL_WIDTH)
    cloud = np.exp(-0.5 * (d / SPILL_WIDTH) ** 2) / (2 * np.pi * SPILL_WIDTH**2 * DENSITY)
    totals = blood.totals[tissue.source]
    molecules = np.expm1(tissue.x) * totals[:, None] / 1e4
    into = sparse.csr_array((share * cloud, (i, j)), shape=(n, n))
    # genes that are not among those kept leak too, and count in the total of the cell
    molecules += rng.poisson(into @ molecules)
    tissue.x = np.log1p(1e4 * molecules / (totals + into @ totals)[:, None])
