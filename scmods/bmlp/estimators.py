"""The original's two estimators under their own names, with the repaired recipe as a choice of `Config`.

``Config(...)`` keeps the original's fields and defaults and switches the four repairs on; ``Config.repaired``
adds the optimiser settings the chapter measures; ``Config.original`` switches the repairs off, to see why.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, fields
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn
from torch.nn import functional

from scmods import _checks
from scmods.bmlp import _sets
from scmods.bmlp.core import BilinearMLP, unit_rows
from scmods.training import History, TrainingPlan, train

if TYPE_CHECKING:
    from torch.utils.data import Dataset

__all__ = ["Config", "ScBMLPClassifier", "ScBMLPRegressor"]

LOSSES = {"mse": functional.mse_loss, "l1": functional.l1_loss, "huber": functional.huber_loss}


@dataclass(frozen=True)
class Config:
    """Sizes, optimiser and repairs of `ScBMLPRegressor` and `ScBMLPClassifier`.

    Parameters
    ----------
    d_input, d_hidden, d_output
        Numbers of genes, hidden products and outputs.
    bias
        Biases in all three maps (the original's switch; the interaction matrices do not show them).
    n_epochs, batch_size, lr, weight_decay, dropout_rate
        Optimiser settings; the rate falls to 0 along a cosine.
    seed
        Seed of initial weights, cell order, noise and dropout. The original had the field but did not use it.
    device
        ``None`` or ``"cpu"``, ``"cuda"``, ``"mps"``, ``"auto"``: handed to the trainer as accelerator.
    constant
        Repair 1: value of a constant input feature, 0 for none; gives the layer an intercept and a linear part.
    input_scale
        Repair 2: ``"common"`` divides all cells by the root mean square length of the training cells, so that
        the products have a size that the optimiser can work with; ``"unit"`` divides every cell by its own
        length (then f is quadratic in the direction of a cell only); ``"none"`` leaves them as they are.
    zero_head
        Repair 3: start at f = 0 instead of a random quadratic form that training never removes.
    scale_targets
        Repair 4: z-score the targets on the training cells (regression; predictions come back in their unit).
    input_noise
        Standard deviation of Gaussian noise on the inputs while training, in units of 1/sqrt(d_input).
    optimizer
        ``"adam"`` (weight decay added to the gradient, as the original) or ``"adamw"``.
    n_pcs
        Train on this many principal directions of the training cells and lift the weights back to genes: the
        same layer with L and R restricted to their span. ``None`` trains on all genes.

    Examples
    --------
    >>> from scmods import bmlp
    >>> config = bmlp.Config.repaired(40, 3, n_epochs=5)
    >>> config.d_input, config.d_output, config.n_epochs
    (40, 3, 5)
    """

    d_input: int = 1000
    d_hidden: int = 64
    d_output: int = 10
    bias: bool = False
    n_epochs: int = 100
    batch_size: int = 32
    lr: float = 1e-3
    seed: int = 0
    device: str | None = None
    dropout_rate: float = 0.0
    weight_decay: float = 1e-4
    constant: float = 1.0
    input_scale: str = "common"
    zero_head: bool = True
    scale_targets: bool = True
    input_noise: float = 0.0
    optimizer: str = "adam"
    n_pcs: int | None = None

    def __post_init__(self) -> None:
        for name in ("d_input", "d_hidden", "d_output", "n_epochs", "batch_size"):
            _checks.integer(name, getattr(self, name))
        _checks.integer("seed", self.seed, 0)
        _checks.number("lr", self.lr, 0.0)
        _checks.number("weight_decay", self.weight_decay, 0.0)
        _checks.number("dropout_rate", self.dropout_rate, 0.0, 0.99)
        _checks.number("input_noise", self.input_noise, 0.0)
        _checks.number("constant", self.constant)
        _checks.one_of("optimizer", self.optimizer, ("adam", "adamw"))
        _checks.one_of("input_scale", self.input_scale, ("common", "unit", "none"))
        if self.n_pcs is not None:
            _checks.integer("n_pcs", self.n_pcs, 1, self.d_input)

    @classmethod
    def repaired(cls, d_input: int, d_output: int, **changes: Any) -> Config:
        """The recipe the chapter measures: the four repairs, AdamW, strong weight decay, a little input noise.

        Above 1,000 genes it trains on 100 principal directions with a larger step. Step and decay were chosen on the
        validation cells of the chapter's data sets and by the overlap of modules over seeds.

        Parameters
        ----------
        d_input, d_output
            Numbers of genes and outputs.
        changes
            Other fields of `Config`, which replace those of the recipe.

        Raises
        ------
        TypeError, ValueError
            A field that does not exist, or a value outside its range.
        """
        recipe = {
            "d_hidden": 32, "n_epochs": 60, "batch_size": 64, "lr": 1e-2 if d_input > 1000 else 2e-3,
            "weight_decay": 0.3, "input_noise": 0.5, "optimizer": "adamw", "n_pcs": 100 if d_input > 1000 else None,
        }  # fmt: skip
        return cls(**_known({"d_input": d_input, "d_output": d_output} | recipe | changes))

    @classmethod
    def original(cls, d_input: int, d_output: int, **changes: Any) -> Config:
        """The original as its notebook ran it: no repair, 128 hidden, 500 epochs, rate 1e-4, batch 32.

        Parameters
        ----------
        d_input, d_output
            Numbers of genes and outputs.
        changes
            Other fields of `Config`, which replace those of the recipe.

        Raises
        ------
        TypeError, ValueError
            A field that does not exist, or a value outside its range.
        """
        recipe = {
            "d_hidden": 128, "n_epochs": 500, "lr": 1e-4, "constant": 0.0, "input_scale": "none",
            "zero_head": False, "scale_targets": False,
        }  # fmt: skip
        return cls(**_known({"d_input": d_input, "d_output": d_output} | recipe | changes))


def _known(values: dict[str, Any]) -> dict[str, Any]:
    names = [f.name for f in fields(Config)]
    for name in values:
        if name not in names:
            _checks.fail(
                f"Config has no field {name!r}.",
                f"It takes {_checks.listing(names, 30)}.",
                _checks.nearest(name, names),
                kind=TypeError,
            )
    return values


class _ScBMLP(BilinearMLP):
    """What both estimators share: inputs, noise, training, weights on genes."""

    def __init__(self, cfg: Config | None = None) -> None:
        cfg = cfg or Config()
        inner = cfg.n_pcs or cfg.d_input
        super().__init__(
            inner, cfg.d_hidden, cfg.d_output, constant=cfg.constant, zero_head=cfg.zero_head, bias=cfg.bias,
            generator=torch.Generator().manual_seed(cfg.seed),
        )  # fmt: skip
        self.cfg = cfg
        self.generator: torch.Generator | None = None
        self.history: History | None = None
        self.register_buffer("target_mean", torch.zeros(cfg.d_output))
        self.register_buffer("target_std", torch.ones(cfg.d_output))
        self.register_buffer("input_length", torch.ones(()))
        self.register_buffer("directions", torch.eye(inner, cfg.d_input) if cfg.n_pcs else torch.zeros(0, 0))

    def _inputs(self, x: Tensor) -> Tensor:
        if x.shape[-1] != self.cfg.d_input:
            _checks.fail(
                f"The cells have {x.shape[-1]} genes, but the model was made for {self.cfg.d_input}.",
                "Give the same genes in the same order: adata[:, gene_names].",
            )
        x = self._rows(x)
        return x @ self.directions.T if self.cfg.n_pcs else x

    def _rows(self, x: Tensor) -> Tensor:
        return unit_rows(x) if self.cfg.input_scale == "unit" else x / self.input_length

    def _scaled(self, inputs: Tensor) -> Tensor:
        """Outputs in the unit of the scaled targets, with noise and dropout while training."""
        if self.training and self.generator is not None:
            if self.cfg.input_noise:
                scale = self.cfg.input_noise / math.sqrt(self.cfg.d_input)
                noise = torch.empty_like(inputs).normal_(generator=self.generator)
                inputs = inputs + scale * noise
            hidden = self.hidden(inputs)
            if self.cfg.dropout_rate:
                keep = torch.empty_like(hidden).uniform_(generator=self.generator) >= self.cfg.dropout_rate
                hidden = hidden * keep / (1 - self.cfg.dropout_rate)
            return self.head(hidden)
        return super().forward(inputs)

    def forward(self, x: Tensor) -> Tensor:
        """Outputs (cells, outputs) for cells (cells, genes), in the unit of the targets or as class scores."""
        return self._scaled(self._inputs(x)) * self.target_std + self.target_mean

    @property
    def w_l(self) -> Tensor:
        """L on genes, (hidden, genes), without the constant's column; acts on the cells as given to `forward`.

        With ``input_scale="unit"`` it acts on cells of length 1 instead.
        """
        return self._on_genes(self.left)

    @property
    def w_r(self) -> Tensor:
        """R on genes, (hidden, genes), without the constant's column."""
        return self._on_genes(self.right)

    @property
    def w_p(self) -> Tensor:
        """P in the unit of the targets, (outputs, hidden): the quadratic part is P (Lx * Rx)."""
        return self.head.weight.detach() * self.target_std[:, None]

    def _on_genes(self, layer: nn.Linear) -> Tensor:
        weight = layer.weight.detach()[:, : layer.in_features - (self.constant != 0)]
        weight = weight @ self.directions if self.cfg.n_pcs else weight
        return weight / self.input_length

    def affine_on_genes(self) -> tuple[Tensor, Tensor]:
        """Intercept (outputs) and linear weights (outputs, genes), in the unit of the targets."""
        intercept, linear = self.affine()
        linear = (linear @ self.directions if self.cfg.n_pcs else linear) / self.input_length
        return intercept * self.target_std + self.target_mean, linear * self.target_std[:, None]

    def loss(self, batch: tuple[Tensor, Tensor]) -> Tensor:
        """Mean loss per cell of a batch of prepared inputs and scaled targets."""
        return self._loss(self._scaled(batch[0]), batch[1])

    def _checked(self, train: Any, val: Any) -> list[tuple[Tensor, Tensor]]:
        dtype = self.head.weight.dtype
        return [_sets.tensors(w, d, self.cfg.d_input, dtype) for w, d in (("train", train), ("val", val))]

    def _fit(self, x: Tensor, y: Tensor, val_x: Tensor, val_y: Tensor) -> History:
        with torch.no_grad():
            if self.cfg.input_scale == "common":
                length = (x**2).sum(dim=1).mean().sqrt()
                self.input_length = torch.where(length > 0, length, torch.ones_like(length)).to(
                    self.input_length
                )
            if self.cfg.n_pcs:
                found = torch.linalg.svd(self._rows(x).double(), full_matrices=False).Vh[: self.cfg.n_pcs]
                self.directions = self.directions.new_zeros(self.directions.shape)
                self.directions[: len(found)] = found.to(self.directions)
            inputs, val_inputs = self._inputs(x), self._inputs(val_x)
        plan = TrainingPlan(
            max_epochs=self.cfg.n_epochs, lr=self.cfg.lr, batch_size=self.cfg.batch_size, seed=self.cfg.seed,
            accelerator=self.cfg.device or "cpu", optimizer=self.cfg.optimizer, weight_decay=self.cfg.weight_decay,
        )  # fmt: skip
        self.history = train(self, (inputs, y), plan=plan, validation=(val_inputs, val_y))
        return self.history


class ScBMLPRegressor(_ScBMLP):
    """Bilinear regression of cell coordinates, such as graph frequencies, on expression.

    Parameters
    ----------
    cfg
        Sizes and recipe, see `Config`.
    loss_fn
        ``"mse"``, ``"l1"`` or ``"huber"``.

    Notes
    -----
    Differences from the original: the seed acts, best-validation weights are kept, gradients stay enabled for
    the caller, a small training set or last batch works, and the validation loss is the mean over cells.

    Examples
    --------
    >>> x = torch.randn(80, 6, generator=torch.Generator().manual_seed(0))
    >>> y = (x[:, :1] * x[:, 1:2]) / 6
    >>> model = ScBMLPRegressor(Config.repaired(6, 1, n_epochs=5))
    >>> train_losses, val_losses = model.fit((x[:60], y[:60]), (x[60:], y[60:]))
    >>> len(val_losses), model.w_l.shape
    (5, torch.Size([32, 6]))
    """

    def __init__(self, cfg: Config | None = None, loss_fn: str = "mse") -> None:
        _checks.one_of("loss_fn", loss_fn, tuple(LOSSES))
        super().__init__(cfg)
        self._loss = LOSSES[loss_fn]

    def fit(self, train: Dataset | tuple[Tensor, Tensor], val: Dataset | tuple[Tensor, Tensor]) -> History:
        """Train on cells and targets; keep the weights of the best validation epoch.

        Parameters
        ----------
        train, val
            Torch data sets of (cell, target) pairs, or ``(x, y)`` with shapes (cells, genes), (cells, outputs).

        Returns
        -------
        History; ``train_losses, val_losses = model.fit(...)``. Losses are in units of the scaled targets.

        Raises
        ------
        ValueError
            Empty sets, wrong numbers of genes or outputs, NaN in the inputs.
        FloatingPointError
            The loss became infinite or NaN.
        """
        (x, y), (val_x, val_y) = self._checked(train, val)
        y, val_y = (
            _sets.outputs(w, t, self.cfg.d_output, x.dtype) for w, t in (("train", y), ("val", val_y))
        )
        if self.cfg.scale_targets:
            std = y.std(dim=0) if len(y) > 1 else torch.ones_like(y[0])
            self.target_mean, self.target_std = y.mean(dim=0), torch.where(std > 0, std, torch.ones_like(std))
        y, val_y = ((t - self.target_mean) / self.target_std for t in (y, val_y))
        return self._fit(x, y, val_x, val_y)


class ScBMLPClassifier(_ScBMLP):
    """Bilinear classification of cells by cross entropy; ``forward`` gives one score (logit) per class.

    Parameters
    ----------
    cfg
        Sizes and recipe; ``d_output`` is the number of classes.

    Examples
    --------
    >>> import numpy as np
    >>> from anndata import AnnData
    >>> from scmods import bmlp
    >>> adata = AnnData(np.random.default_rng(0).normal(size=(60, 4)))
    >>> adata.obs["cell_type"] = np.where(adata.X[:, 0] > 0, "A", "B")
    >>> train, val, test = bmlp.get_classification_datasets(adata, "cell_type")
    >>> model = bmlp.ScBMLPClassifier(bmlp.Config(4, 8, 2, n_epochs=2))
    >>> history = model.fit(train, val)
    >>> len(history.train_losses)
    2
    """

    def __init__(self, cfg: Config | None = None) -> None:
        super().__init__(cfg)
        self._loss = functional.cross_entropy

    def fit(self, train: Dataset | tuple[Tensor, Tensor], val: Dataset | tuple[Tensor, Tensor]) -> History:
        """Train on cells and class numbers; keep the weights of the best validation epoch.

        Parameters
        ----------
        train, val
            Torch data sets of (cell, class number) pairs, or ``(x, y)`` with x (cells, genes) and class numbers
            0, 1, ... below ``d_output``.

        Returns
        -------
        History; ``train_losses, val_losses = model.fit(...)``. Losses are cross entropies in nats.

        Raises
        ------
        ValueError
            Empty sets, another number of genes, class numbers outside the range, NaN in the inputs.
        FloatingPointError
            The loss became infinite or NaN.
        """
        (x, y), (val_x, val_y) = self._checked(train, val)
        y, val_y = _sets.classes("train", y), _sets.classes("val", val_y)
        low, high = int(min(y.min(), val_y.min())), int(max(y.max(), val_y.max()))
        if low < 0 or high >= self.cfg.d_output:
            _checks.fail(
                f"Class numbers run from {low} to {high}, but Config(d_output={self.cfg.d_output})",
                f"allows 0 to {self.cfg.d_output - 1}. Write Config(d_output={high + 1}) and number classes from 0.",
            )
        return self._fit(x, y, val_x, val_y)

    @torch.no_grad()
    def predict(self, x: Tensor) -> Tensor:
        """Number of the best class of every cell.

        Parameters
        ----------
        x
            Cells (cells, genes), in the unit and order of genes of the training cells.

        Returns
        -------
        Class numbers (cells,), int64.
        """
        return self(x).argmax(dim=1)
