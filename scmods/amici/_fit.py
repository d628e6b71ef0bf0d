"""Training of several networks from different seeds, and the choice among them on held-out reconstruction."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import torch

from scmods import _checks
from scmods.amici._cells import Cells
from scmods.amici._trainee import Trainee
from scmods.amici.neighbors import nearest_others
from scmods.amici.network import AttentionNetwork
from scmods.amici.recipe import Recipe
from scmods.training import History, TrainingPlan, stream, train

__all__ = ["Run", "TrainingCells", "train_networks", "training_cells"]

SPLIT, WEIGHTS, ORDER = 11, 12, 13  # streams of the seed


@dataclass(frozen=True)
class Run:
    """One trained network.

    Attributes
    ----------
    network
        With the weights of its best epoch.
    history
        Losses of each epoch; ``val_losses`` are held-out reconstructions.
    reconstruction
        The smallest held-out reconstruction.
    """

    network: AttentionNetwork
    history: History
    reconstruction: float


@dataclass(frozen=True)
class TrainingCells:
    """Dense tensors of the cells to train on, positions counted among these.

    Attributes
    ----------
    x, types, neighbors, distances
        As in `Trainee`.
    type_means
        (types, genes).
    """

    x: torch.Tensor
    types: torch.Tensor
    neighbors: torch.Tensor
    distances: torch.Tensor
    type_means: torch.Tensor


def training_cells(cells: Cells, held_out: np.ndarray, n_types: int) -> TrainingCells:
    """The cells that are not held out; these are not even neighbours, so nothing of them is seen in training.

    Parameters
    ----------
    cells
        The tissue, neighbours filled in.
    held_out
        (cells,) bool.
    n_types
        Number of types.
    """
    kept = np.flatnonzero(~held_out)
    neighbors, distances = cells.neighbors, cells.distances
    if held_out.any():
        neighbors, distances = nearest_others(cells.tissue, neighbors.shape[1], among=~held_out)
        position = np.cumsum(~held_out) - 1
        neighbors = np.where(neighbors >= 0, position[neighbors], -1)[kept]
        distances = distances[kept]
    x = torch.from_numpy(cells.read(kept, np.float32))
    types = torch.from_numpy(cells.codes[kept])
    sums = torch.zeros(n_types, x.shape[1], dtype=torch.float64)
    for start in range(0, len(x), 2**16):
        part = slice(start, start + 2**16)
        sums.index_add_(0, types[part], x[part].double())
    means = sums / torch.bincount(types, minlength=n_types).clamp(min=1)[:, None]
    far = torch.from_numpy(np.nan_to_num(distances)).float()
    return TrainingCells(x, types, torch.from_numpy(neighbors), far, means.float())


def split(n: int, validation: float, seed: int) -> tuple[torch.Tensor, torch.Tensor]:
    """Positions to train on and to validate on, drawn once for all restarts so that they can be compared.

    Parameters
    ----------
    n
        Number of cells.
    validation
        Share to validate on.
    seed
        Of the draw.
    """
    size = round(validation * n)
    if not 0 < size < n:
        _checks.fail(
            f"`validation` is {validation:g}, which holds out {size} of {n} cells for the choice of the epoch.",
            "Expected at least one cell, and one left to train on: validation=0.1 of more cells.",
        )
    order = np.random.default_rng([seed, SPLIT]).permutation(n)
    return tuple(torch.from_numpy(np.sort(part)) for part in (order[size:], order[:size]))


def train_networks(
    data: TrainingCells,
    recipe: Recipe,
    *,
    unit: float,
    restarts: int,
    validation: float,
    max_epochs: int,
    patience: int | None,
    seed: int,
    **trainer: Any,
) -> list[Run]:
    """Train `restarts` networks, best held-out reconstruction first.

    Parameters
    ----------
    data
        The cells.
    recipe
        Sizes and rates.
    unit
        Length of one unit.
    restarts
        Number of networks, each with its own first weights and cell order.
    validation
        Share of the cells to validate on.
    max_epochs, patience
        Of each network.
    seed
        Of everything.
    **trainer
        Handed to `TrainingPlan`.
    """
    rows = split(len(data.x), validation, seed)
    runs = []
    for restart in range(restarts):
        generator = torch.Generator().manual_seed(stream(seed, WEIGHTS, restart))
        network = AttentionNetwork(data.type_means, **recipe.sizes(), unit=unit, generator=generator)
        trainee = Trainee(network, data.x, data.types, data.neighbors, data.distances, recipe)
        plan = TrainingPlan(
            max_epochs=max_epochs, patience=patience, lr=recipe.lr, batch_size=recipe.batch_size,
            optimizer="adam", weight_decay=recipe.weight_decay * trainee.shrink, schedule=recipe.schedule,
            seed=stream(seed, ORDER, restart), **trainer,
        )  # fmt: skip
        history = train(
            trainee, (rows[0],), plan=plan, validation=(rows[1],),
            validation_loss=trainee.reconstruction, on_epoch=trainee.end_epoch,
        )  # fmt: skip
        runs.append(Run(network, history, history.val_losses[history.best_epoch]))
    return sorted(runs, key=lambda run: run.reconstruction)
