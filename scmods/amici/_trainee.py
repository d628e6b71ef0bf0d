"""The network together with its cells, so that a batch is a handful of positions."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from scmods.amici.network import AttentionNetwork, Penalty
from scmods.amici.recipe import Recipe

__all__ = ["Trainee"]

ADAM_EPS = 1e-8  # torch's own


class Trainee(nn.Module):
    """What `scmods.training.train` trains: batches are ``(positions,)``.

    Parameters
    ----------
    network
        To train.
    x
        (cells, genes) expression of receivers and neighbours.
    types
        (cells,) codes.
    neighbors, distances
        (cells, k) positions, -1 where there is none, and distances.
    recipe
        Weights of the penalties, and eps of the optimiser.

    Attributes
    ----------
    epoch
        Number of the pass, which the weight of the entropy depends on; set it after each one.
    generator
        Source of the masks.
    """

    x: Tensor
    types: Tensor
    neighbors: Tensor
    distances: Tensor

    def __init__(
        self,
        network: AttentionNetwork,
        x: Tensor,
        types: Tensor,
        neighbors: Tensor,
        distances: Tensor,
        recipe: Recipe,
    ) -> None:
        super().__init__()
        self.network, self.recipe = network, recipe
        self.epoch, self.generator = 0, torch.Generator()
        # not part of the state: they move to the device, but are not copied with the best weights
        for name, tensor in (("x", x), ("types", types), ("neighbors", neighbors), ("distances", distances)):
            self.register_buffer(name, tensor, persistent=False)

    def parts(self, cells: Tensor) -> Penalty:
        """Parts of the loss of some cells; their neighbours are embedded once each.

        Parameters
        ----------
        cells
            Positions.
        """
        near = self.neighbors[cells]
        others, rows = torch.unique(near, return_inverse=True)
        rows = rows.masked_fill(near < 0, -1)
        x = self.x[others.clamp(min=0)]
        return self.network.parts(
            self.x[cells], self.types[cells], rows, self.distances[cells], x, self.generator
        )

    def loss(self, batch: tuple[Tensor, ...]) -> Tensor:
        """Objective of the epoch, mean per cell.

        Parameters
        ----------
        batch
            ``(positions,)``.
        """
        parts, recipe = self.parts(batch[0]), self.recipe
        total = parts.reconstruction + recipe.value_weight * parts.value
        total = total + recipe.entropy_at(self.epoch) * parts.entropy
        # Adam does not feel a factor on the gradient except next to its eps: this is Adam with recipe.eps
        small = total * self.shrink
        return small + (total - small).detach()

    @property
    def shrink(self) -> float:
        """Factor on gradients, and on the weight decay added to them, that turns torch's eps into the recipe's."""
        return ADAM_EPS / max(self.recipe.eps, ADAM_EPS)

    def end_epoch(self, epoch: int, train_loss: float, val_loss: float | None) -> None:
        """Count the epochs; the callback of `scmods.training.train`.

        Parameters
        ----------
        epoch
            The one that ended.
        train_loss, val_loss
            Not used.
        """
        self.epoch = epoch + 1

    def reconstruction(self, batch: tuple[Tensor, ...]) -> Tensor:
        """Half the squared error per cell, without penalties: what tells epochs and restarts apart.

        Parameters
        ----------
        batch
            ``(positions,)``.
        """
        return self.parts(batch[0]).reconstruction
