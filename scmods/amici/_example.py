"""A small `HeadOutputs` of random numbers, for examples and tests that need no trained model."""

from __future__ import annotations

import numpy as np

from scmods.amici.heads import HeadOutputs, NeighborTables, Readout

__all__ = ["example_outputs"]


def example_outputs(
    n_cells: int = 30,
    *,
    n_neighbors: int = 4,
    n_heads: int = 2,
    size: int = 3,
    n_genes: int = 5,
    n_types: int = 3,
    seed: int = 0,
) -> HeadOutputs:
    """Cells at random places with random weights; every seventh lacks its last neighbour.

    Parameters
    ----------
    n_cells, n_neighbors, n_heads, size, n_genes, n_types
        Sizes.
    seed
        Seed of all numbers.
    """
    rng = np.random.default_rng(seed)
    total = n_heads * size
    types = np.arange(n_cells) % n_types
    coords = rng.uniform(0, 6 * np.sqrt(n_cells), (n_cells, 2))
    away = np.linalg.norm(coords[:, None] - coords, axis=2)
    away[types[:, None] == types] = np.inf
    neighbors = np.argsort(away, axis=1, kind="stable")[:, :n_neighbors]
    neighbors[::7, -1] = -1
    there = neighbors >= 0
    distances = np.where(there, np.take_along_axis(away, np.maximum(neighbors, 0), 1), np.nan)
    score = 2 * rng.normal(size=(n_cells, n_types, n_heads))
    coefficient = rng.uniform(0.05, 0.4, (n_cells, n_types, n_heads))
    value = rng.normal(size=(n_cells, n_heads, size))
    logit = score[neighbors, types[:, None]] - coefficient[neighbors, types[:, None]] * distances[..., None]
    logit = np.where(there[..., None], logit, -np.inf).transpose(0, 2, 1)
    logit = np.concatenate([logit, np.full((n_cells, n_heads, 1), 1.0)], axis=2)
    attention = np.exp(logit - logit.max(axis=2, keepdims=True))
    attention /= attention.sum(axis=2, keepdims=True)
    z = np.einsum("nhk,nkhs->nhs", attention[..., :-1], value[neighbors])
    readout = Readout(
        head_out=rng.normal(size=(total, n_heads, size)),
        norm_weight=rng.uniform(0.5, 1.5, total),
        norm_bias=0.3 * rng.normal(size=total),
        norm_eps=1e-5,
        gene_out=rng.normal(size=(n_genes, total)) / np.sqrt(total),
        type_means=rng.uniform(0, 3, (n_types, n_genes)),
    )
    query = rng.normal(size=(n_types, total))[types]
    observed = readout.type_means[types] + rng.normal(size=(n_cells, n_genes))
    return HeadOutputs(
        cells=np.arange(n_cells),
        types=types,
        neighbors=neighbors,
        distances=distances,
        rows=neighbors,
        attention=attention,
        z=z,
        query=query,
        tables=NeighborTables(np.arange(n_cells), types, value, score, coefficient),
        readout=readout,
        genes=[f"gene{g}" for g in range(n_genes)],
        type_names=["CD4/CD8", "L2/3 IT", "naïve"][:n_types] + [f"type{t}" for t in range(3, n_types)],
        unit=1.0,
        empty_logit=1.0,
        read=lambda rows: observed[rows],
    )
