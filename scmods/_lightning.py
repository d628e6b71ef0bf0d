"""Lightning's side of `scmods.training`; imported when a training starts, and by nothing else."""

from __future__ import annotations

import logging
import signal
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import lightning
import torch

from scmods import training

__all__ = ["fit"]


class Loader:
    """An iterable of ready batches that knows the epoch; not a DataLoader, which would fetch row by row."""

    def __init__(self, job: training.Job, rank: int, world_size: int) -> None:
        self.job, self.rank, self.world_size = job, rank, world_size

    def __len__(self) -> int:
        n, size = len(self.job.tensors[0]), self.job.plan.batch_size
        return n // size if self.job.drop_last and n >= size else -(-n // size)

    def __iter__(self) -> Iterator[tuple[torch.Tensor, ...]]:
        plan = self.job.plan
        return training.batches(
            self.job.tensors, plan.batch_size, seed=plan.seed, epoch=len(self.job.train_losses),
            drop_last=self.job.drop_last, rank=self.rank, world_size=self.world_size,
        )  # fmt: skip


class Adapter(lightning.LightningModule):
    """Lightning's view of a job."""

    def __init__(self, job: training.Job) -> None:
        super().__init__()
        self.module, self.job = job.module, job

    def train_dataloader(self) -> Loader:
        return Loader(self.job, self.trainer.global_rank, self.trainer.world_size)

    def configure_optimizers(self) -> Any:
        plan, kinds = self.job.plan, {"adamw": torch.optim.AdamW, "adam": torch.optim.Adam}
        weights = [p for p in self.module.parameters() if p.requires_grad]
        # small layers: all weights in a few calls, the same numbers bit by bit
        optimizer = kinds[plan.optimizer](weights, lr=plan.lr, weight_decay=plan.weight_decay, foreach=True)
        if plan.schedule == "constant":
            return optimizer
        cosine = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, T_max=plan.max_epochs)
        return {"optimizer": optimizer, "lr_scheduler": {"scheduler": cosine, "interval": "epoch"}}

    def on_fit_start(self) -> None:
        if hasattr(self.module, "generator"):
            seed = training.stream(self.job.plan.seed, training.NOISE, self.global_rank)
            self.module.generator = torch.Generator(device=self.device).manual_seed(seed)

    def on_train_epoch_start(self) -> None:
        self.module.train()
        self.sums: list[tuple[torch.Tensor, int]] = []

    def training_step(self, batch: tuple[torch.Tensor, ...], _: int) -> torch.Tensor:
        loss = self.job.loss(batch, self.trainer.optimizers[0].param_groups[0]["lr"])
        self.sums.append((loss.detach(), len(batch[0])))
        return loss

    def mean(self, parts: list[tuple[torch.Tensor, int]]) -> float:
        """Mean per cell over all batches of all devices."""
        total = torch.zeros(2, dtype=torch.float64)
        for value, n in parts:
            total += torch.tensor([float(value) * n, n], dtype=torch.float64)
        if self.trainer.world_size > 1:
            kind = torch.float32 if self.device.type == "mps" else torch.float64
            total = self.trainer.strategy.reduce(total.to(self.device, kind), reduce_op="sum").cpu()
        return float(total[0] / total[1])

    def validate(self) -> float:
        job, rank, world = self.job, self.trainer.global_rank, self.trainer.world_size
        mine, parts = tuple(t[rank::world] for t in job.validation), []
        self.module.eval()
        with torch.no_grad():
            for batch in training.batches(mine, max(job.plan.batch_size, 1024)):
                moved = tuple(t.to(self.device) for t in batch)
                parts.append((job.validation_loss(moved), len(moved[0])))
        self.module.train()
        return self.mean(parts)

    def on_train_epoch_end(self) -> None:
        job, last = self.job, len(self.job.train_losses) + 1 == self.job.plan.max_epochs
        done = job.end_epoch(self.mean(self.sums), None if job.validation is None else self.validate())
        if self.trainer.is_global_zero:
            job.report(last=last or done)
        self.trainer.should_stop = self.trainer.should_stop or done

    def on_train_end(self) -> None:
        if self.job.best_state is not None:
            self.module.load_state_dict(self.job.best_state)

    def get_extra_state(self) -> dict[str, Any]:
        # how the history comes back from strategies that train in other processes
        return {k: getattr(self.job, k) for k in ("train_losses", "val_losses", "best_epoch")}

    def set_extra_state(self, state: dict[str, Any]) -> None:
        for name, value in state.items():
            setattr(self.job, name, value)


@contextmanager
def _quiet() -> Iterator[None]:
    """Lightning's notices off, only while training lasts."""
    loggers = [logging.getLogger(name) for name in ("lightning.pytorch", "lightning.fabric")]
    levels = [one.level for one in loggers]
    for one in loggers:
        one.setLevel(logging.ERROR)
    try:
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", module=r"lightning\.")
            yield
    finally:
        for one, level in zip(loggers, levels, strict=True):
            one.setLevel(level)


def fit(job: training.Job) -> None:
    """Run the job: losses and best weights end in it, the caller's gradient mode and Ctrl-C are as before."""
    plan, on_interrupt = job.plan, signal.getsignal(signal.SIGINT)
    try:
        with _quiet(), torch.enable_grad():
            trainer = lightning.Trainer(
                max_epochs=plan.max_epochs,
                accelerator=plan.accelerator,
                devices=plan.devices,
                strategy=plan.strategy,
                logger=False,
                enable_checkpointing=False,
                enable_progress_bar=False,
                enable_model_summary=False,
                num_sanity_val_steps=0,
                limit_val_batches=0,
                use_distributed_sampler=False,
            )
            trainer.fit(Adapter(job))
    except SystemExit as stop:
        # Lightning turns Ctrl-C into the end of the process; in a notebook it should end the cell
        if not isinstance(stop.__context__, KeyboardInterrupt):
            raise
        signal.signal(signal.SIGINT, on_interrupt)
        raise KeyboardInterrupt from stop
