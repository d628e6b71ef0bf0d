"""Gradient training: the one place that knows Lightning, and with it several devices and machines.

What is trained is an ordinary ``nn.Module`` with a method ``loss(batch) -> scalar tensor``; a ten-line loop
over `batches` trains it to the same weights. Lightning itself is met in ``scmods._lightning`` only.
"""

from __future__ import annotations

import logging
import math
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np

from scmods import _checks

if TYPE_CHECKING:
    import torch

__all__ = ["History", "TrainingPlan", "batches", "train"]

logger = logging.getLogger("scmods")
_LINE_SECONDS = 1.0  # at most one progress line in this time
ORDER, NOISE = 1, 2  # separate streams of one seed


@dataclass(frozen=True)
class TrainingPlan:
    """How to train; the same for every method.

    Parameters
    ----------
    max_epochs
        Passes over the training cells.
    lr
        Learning rate at the start.
    batch_size
        Cells per step, all devices together.
    seed
        Seed of the cell order and of ``module.generator``; no global generator is used.
    accelerator, devices, strategy
        Handed to ``lightning.Trainer``, for instance ``accelerator="gpu", devices=4, strategy="ddp"``;
        ``accelerator="auto"`` takes what is there. The default is one CPU, where runs repeat bit by bit.
    optimizer
        ``"adamw"`` (decoupled weight decay) or ``"adam"`` (weight decay added to the gradient).
    weight_decay
        Strength of the decay.
    schedule
        ``"cosine"``: the rate falls to 0 over `max_epochs`, one step per epoch; or ``"constant"``.
    patience
        Stop after so many epochs without a better loss, `watch`; None never stops early.
    min_delta
        By how much a loss must be smaller to count as better.
    watch
        Which loss: ``"validation"`` or ``"training"``, where there are too few cells to hold some out.
    progress
        Log one line a second at most, on the logger ``"scmods"``.

    Raises
    ------
    TypeError, ValueError
        If a field has the wrong type or a value outside its range.

    Examples
    --------
    >>> from scmods import training
    >>> plan = training.TrainingPlan(max_epochs=20, patience=5)
    >>> plan.max_epochs, plan.batch_size, plan.accelerator
    (20, 128, 'cpu')
    """

    max_epochs: int = 100
    lr: float = 1e-3
    batch_size: int = 128
    seed: int = 0
    accelerator: str = "cpu"
    devices: int | str | list[int] = 1
    strategy: Any = "auto"
    optimizer: str = "adamw"
    weight_decay: float = 0.0
    schedule: str = "cosine"
    patience: int | None = None
    min_delta: float = 0.0
    watch: str = "validation"
    progress: bool = False

    def __post_init__(self) -> None:
        _checks.integer("max_epochs", self.max_epochs)
        _checks.number("lr", self.lr, 0.0)
        _checks.integer("batch_size", self.batch_size)
        _checks.integer("seed", self.seed, 0)
        _checks.one_of("optimizer", self.optimizer, ("adamw", "adam"))
        _checks.number("weight_decay", self.weight_decay, 0.0)
        _checks.one_of("schedule", self.schedule, ("cosine", "constant"))
        _checks.number("min_delta", self.min_delta, 0.0)
        _checks.one_of("watch", self.watch, ("validation", "training"))
        if self.patience is not None:
            _checks.integer("patience", self.patience)


@dataclass(frozen=True)
class History:
    """What happened in each epoch; unpacks to the two lists: ``train_losses, val_losses = history``.

    Attributes
    ----------
    train_losses
        Mean loss per cell of each epoch, as seen while training (weights change during the epoch).
    val_losses
        Exact mean loss per validation cell after each epoch; empty without validation cells.
    best_epoch
        Epoch, counted from 0, whose weights the module holds.
    seconds
        Wall time of the whole training.

    Examples
    --------
    >>> from scmods import training
    >>> history = training.History([2.0, 1.0, 0.5], [2.0, 0.9, 1.1], best_epoch=1, seconds=0.1)
    >>> train_losses, val_losses = history
    >>> val_losses[history.best_epoch]
    0.9
    """

    train_losses: list[float]
    val_losses: list[float]
    best_epoch: int
    seconds: float

    def __iter__(self) -> Iterator[list[float]]:
        return iter((self.train_losses, self.val_losses))


def stream(*entropy: int) -> int:
    """Seed of one of several independent streams of a seed."""
    # SeedSequence keeps (seed 0, epoch 1) and (seed 1, epoch 0) apart, which adding them would not
    return int(np.random.SeedSequence(entropy).generate_state(1, np.uint64)[0]) >> 1


def batches(
    tensors: tuple[torch.Tensor, ...],
    batch_size: int,
    *,
    seed: int | None = None,
    epoch: int = 0,
    drop_last: bool = False,
    rank: int = 0,
    world_size: int = 1,
) -> Iterator[tuple[torch.Tensor, ...]]:
    """Batches of the rows of several tensors, sliced whole; what `train` itself runs on.

    Parameters
    ----------
    tensors
        Tensors with the same number of rows, one row per cell.
    batch_size
        Rows per batch over all devices; fewer rows than that make one smaller batch.
    seed
        Shuffle with a local generator made of `seed` and `epoch`; None keeps the order of the rows.
    epoch
        Number of the pass, so that each has its own order.
    drop_last
        Leave out a last, smaller batch when there is at least one full one.
    rank, world_size
        Number of this device and of all devices; each gets its part of every batch. A batch that cannot be
        shared evenly is filled up with rows from the start of the pass, so that all take as many steps.

    Yields
    ------
    One tuple per batch, in the order of `tensors`.

    Examples
    --------
    >>> import torch
    >>> from scmods import training
    >>> x = torch.arange(5)[:, None]
    >>> [len(rows) for (rows,) in training.batches((x,), 2, seed=0)]
    [2, 2, 1]
    """
    import torch

    n = len(tensors[0])
    order = torch.arange(n)
    if seed is not None:
        order = torch.randperm(n, generator=torch.Generator().manual_seed(stream(seed, ORDER, epoch)))
    stop = n - n % batch_size if drop_last and n >= batch_size else n
    for start in range(0, stop, batch_size):
        rows = order[start : start + batch_size]
        if world_size > 1:
            short = -len(rows) % world_size
            rows = torch.cat([rows, order.repeat(-(-short // n))[:short]])[rank::world_size]
        yield tuple(t.index_select(0, rows.to(t.device)) for t in tensors)


def _check_tensors(what: str, tensors: Any) -> None:
    import torch

    if not isinstance(tensors, tuple) or not all(isinstance(t, torch.Tensor) for t in tensors) or not tensors:
        _checks.fail(
            f"`{what}` is of type {type(tensors).__name__}, but must be a tuple of tensors.",
            f"Write {what}=(x, y), one row per cell.",
            kind=TypeError,
        )
    rows = [len(t) if t.ndim else 0 for t in tensors]
    if len(set(rows)) > 1:
        _checks.fail(
            f"The tensors of `{what}` have {rows} rows, but must have the same number, one per cell."
        )
    if rows[0] == 0:
        _checks.fail(
            f"`{what}` has no cells.",
            "Hold out at least one cell, or pass validation=None." if what == "validation" else "",
        )


@dataclass
class Job:
    """Everything one training needs and keeps, free of Lightning."""

    module: torch.nn.Module
    tensors: tuple[torch.Tensor, ...]
    plan: TrainingPlan
    validation: tuple[torch.Tensor, ...] | None
    validation_loss: Callable[[tuple[torch.Tensor, ...]], torch.Tensor]
    on_epoch: Callable[[int, float, float | None], None] | None
    drop_last: bool
    train_losses: list[float] = field(default_factory=list)
    val_losses: list[float] = field(default_factory=list)
    best_epoch: int = 0
    best_state: dict[str, torch.Tensor] | None = None
    better: tuple[int, float] = (0, math.inf)  # the last epoch whose loss was clearly better, and that loss
    last_line: float = -math.inf

    def loss(self, batch: tuple[torch.Tensor, ...], lr: float) -> torch.Tensor:
        value = self.module.loss(batch)
        if not math.isfinite(value.item()):
            self.fail_on(value.item(), batch, lr)
        return value

    def fail_on(self, value: float, batch: tuple[torch.Tensor, ...], lr: float) -> None:
        largest = max(
            (float(t.detach().abs().max()) for t in batch if t.is_floating_point() and t.numel()),
            default=math.nan,
        )
        if math.isfinite(largest):
            what = f"largest absolute input {largest:.3g}"
            fix = (
                "Scale the input or clip it, `x.clip(-10, 10)`,"
                f" or take smaller steps, TrainingPlan(lr={self.plan.lr / 10:.3g})."
            )
        else:
            what, fix = "and its batch holds NaN or infinity", "Drop or fill those cells before training."
        _checks.fail(
            f"The loss became {value} in epoch {len(self.train_losses)} (learning rate {lr:.3g}, {what}).",
            "Expected a finite number.",
            fix,
            kind=FloatingPointError,
        )

    def end_epoch(self, train_loss: float, val_loss: float | None) -> bool:
        """Store the losses and, when they are the best so far, the weights; True when it is time to stop."""
        epoch = len(self.train_losses)
        self.train_losses.append(train_loss)
        if val_loss is None:
            self.best_epoch = epoch
        else:
            self.val_losses.append(val_loss)
            if self.best_state is None or val_loss < self.val_losses[self.best_epoch]:
                self.best_epoch = epoch
                self.best_state = {k: v.detach().clone() for k, v in self.module.state_dict().items()}
        if self.on_epoch is not None:
            self.on_epoch(epoch, train_loss, val_loss)
        seen = val_loss if self.plan.watch == "validation" else train_loss
        if self.plan.patience is None or seen is None:
            return False
        if seen < self.better[1] - self.plan.min_delta:
            self.better = (epoch, seen)
        return epoch - self.better[0] >= self.plan.patience

    def report(self, *, last: bool) -> None:
        now = time.monotonic()
        if not self.plan.progress or (now - self.last_line < _LINE_SECONDS and not last):
            return
        self.last_line = now
        tail = f", validation {self.val_losses[-1]:.4g}" if self.val_losses else ""
        logger.info("epoch %d of %d: loss %.4g%s", len(self.train_losses), self.plan.max_epochs,
                    self.train_losses[-1], tail)  # fmt: skip


@contextmanager
def _visible(plan: TrainingPlan) -> Iterator[None]:
    """Make the progress lines appear where the caller has not configured logging, and undo that."""
    level, handler = logger.level, None
    if plan.progress and not logger.isEnabledFor(logging.INFO):
        logger.setLevel(logging.INFO)
    if plan.progress and not logger.hasHandlers():
        handler = logging.StreamHandler(sys.stderr)
        logger.addHandler(handler)
    try:
        yield
    finally:
        logger.setLevel(level)
        if handler is not None:
            logger.removeHandler(handler)


def train(
    module: torch.nn.Module,
    tensors: tuple[torch.Tensor, ...],
    *,
    plan: TrainingPlan,
    validation: tuple[torch.Tensor, ...] | None = None,
    validation_loss: Callable[[tuple[torch.Tensor, ...]], torch.Tensor] | None = None,
    on_epoch: Callable[[int, float, float | None], None] | None = None,
    drop_last: bool = False,
) -> History:
    """Train a module in place and leave it in ``eval()`` mode on the device it came from.

    Parameters
    ----------
    module
        Has ``loss(batch) -> scalar tensor``, the mean loss per cell. While training lasts, its attribute
        ``generator``, if it has one, is a seeded generator on the training device, to draw noise from.
    tensors
        Training tensors, one row per cell; a batch is the tuple of their rows.
    plan
        How to train.
    validation
        The same tensors for held-out cells. The weights of the epoch with the smallest loss on them are kept.
    validation_loss
        Called with a batch, the module being in ``eval()`` mode without gradients, returns a mean per cell;
        by default ``module.loss``.
    on_epoch
        Called after each epoch with its number, the training loss and the validation loss (or None).
    drop_last
        Leave out a last, smaller batch.

    Returns
    -------
    The losses of each epoch, the epoch kept, and the seconds taken.

    Raises
    ------
    FloatingPointError
        If a loss is NaN or infinite; the text has the epoch, the learning rate and the largest input.
    ValueError, TypeError
        If the tensors or the plan do not fit together.

    Notes
    -----
    The same seed gives the same weights bit by bit on one CPU. The generators of torch, numpy and Python are
    not touched. With several devices each gets its part of every batch: the number of steps does not change.
    Memory: the tensors, one batch, and one more copy of the weights when there are validation cells.

    Examples
    --------
    A module brings its own loss:

    >>> import torch
    >>> from scmods import training
    >>> class Line(torch.nn.Linear):
    ...     def loss(self, batch):
    ...         return ((self(batch[0]) - batch[1]) ** 2).mean()
    >>> x = torch.linspace(-1, 1, 32)[:, None]
    >>> plan = training.TrainingPlan(max_epochs=3, batch_size=8)
    >>> history = training.train(Line(1, 1), (x, 2 * x), plan=plan)
    >>> len(history.train_losses), history.train_losses[-1] < history.train_losses[0]
    (3, True)
    """
    _check_tensors("tensors", tensors)
    if validation is not None:
        _check_tensors("validation", validation)
    elif plan.patience is not None and plan.watch == "validation":
        _checks.fail(
            f"`patience` is {plan.patience}, but there are no validation cells to watch.",
            "Pass validation=(x, y), TrainingPlan(patience=None), or watch='training'.",
        )
    weights = [p for p in module.parameters() if p.requires_grad]
    if not weights:
        _checks.fail("`module` has no parameter that requires a gradient, so there is nothing to train.")
    home, noise = weights[0].device, getattr(module, "generator", None)
    job = Job(module, tensors, plan, validation, validation_loss or module.loss, on_epoch, drop_last)
    start = time.perf_counter()
    from scmods import _lightning  # seconds of import, so not before the input is known to be right

    try:
        with _visible(plan):
            _lightning.fit(job)
    finally:
        if hasattr(module, "generator"):
            module.generator = noise
        module.to(home).eval()
    return History(job.train_losses, job.val_losses, job.best_epoch, time.perf_counter() - start)
