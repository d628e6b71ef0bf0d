"""Positions and types of the cells of a simulated tissue, and who is within whose reach."""

from __future__ import annotations

import numpy as np

__all__ = ["DENSITY", "positions", "types_by_field", "within"]

DENSITY = (
    0.01  # cells per square unit: a nearest cell at about 5 units, as in a tissue measured in micrometres
)
ASPECT = 2.0
WAVES = 6
WAVELENGTH = 180.0
STRENGTH = 1.2


def positions(n_cells: int, rng: np.random.Generator) -> np.ndarray:
    """(cells, 2) uniform positions in a rectangle twice as wide as high."""
    height = np.sqrt(n_cells / DENSITY / ASPECT)
    return rng.uniform(size=(n_cells, 2)) * np.array([ASPECT * height, height])


def types_by_field(coords: np.ndarray, n_types: int, rng: np.random.Generator) -> np.ndarray:
    """Type of every cell, drawn from the softmax of one random smooth field per type."""
    logits = np.zeros((len(coords), n_types))
    for t in range(n_types):
        for _ in range(WAVES):
            angle, phase = rng.uniform(0, 2 * np.pi, 2)
            wave = 2 * np.pi / (WAVELENGTH * rng.uniform(0.7, 1.5)) * np.array([np.cos(angle), np.sin(angle)])
            logits[:, t] += np.cos(coords @ wave + phase)
    # Gumbel noise turns the largest logit into a draw from the softmax
    return (STRENGTH * np.sqrt(2 / WAVES) * logits + rng.gumbel(size=logits.shape)).argmax(axis=1)


def within(
    coords: np.ndarray, receivers: np.ndarray, senders: np.ndarray, reach: float
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Receiver, sender and distance of every pair at most `reach` apart; a cell is never its own sender."""
    from scipy.spatial import cKDTree

    near = cKDTree(coords[receivers]).sparse_distance_matrix(
        cKDTree(coords[senders]), reach, output_type="ndarray"
    )
    i, j, d = receivers[near["i"]], senders[near["j"]], near["v"]
    other = i != j
    order = np.lexsort((j[other], i[other]))
    return i[other][order], j[other][order], d[other][order]
