"""First part of `Scyan`: read and check everything, make the network, train it."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING, Any, Self

import numpy as np
import torch
from torch import Tensor

from scmods import _checks
from scmods.scyan._settings import checked_settings, known_markers, list_of
from scmods.scyan._state import TransformState
from scmods.scyan.covariates import Encoding
from scmods.scyan.network import AnnotationNetwork
from scmods.scyan.start import affine_start
from scmods.scyan.table import check_table, lint_table, population_names
from scmods.scyan.unlisted import Contamination, estimate_contamination
from scmods.scyan.values import marker_values
from scmods.training import History, TrainingPlan, stream, train

if TYPE_CHECKING:
    import pandas as pd
    from anndata import AnnData

__all__ = ["BLOCK", "Trained"]

FEW_CELLS, SMALL_BATCH, BATCH = 500, 32, 512
BLOCK = 8192


class Trained:
    """What `Scyan` is made of: data, table, settings and network; see there for the arguments."""

    def __init__(
        self,
        adata: AnnData,
        table: pd.DataFrame | None = None,
        *,
        continuous_covariates: Iterable[str] = (),
        categorical_covariates: Iterable[str] = (),
        batch_key: str | None = None,
        layer: str | None = None,
        continuum_markers: Iterable[str] = (),
        hidden_size: int = 32,
        n_hidden_layers: int = 1,
        n_layers: int = 6,
        prior_std: float = 0.3,
        lr: float = 2e-3,
        batch_size: int | None = None,
        temperature: float | None = None,
        modulo_temp: int = 3,
        background: float = 0.02,
        penalty: float = 0.5,
        contamination: float | None = None,
        align: bool = True,
        running_weights: bool = True,
        zero_last: bool = True,
        cov_scale: float = 1.0,
        nan_density: str = "exact",
        max_cells: int = 200_000,
        seed: int = 0,
        lint: bool = True,
    ) -> None:
        if table is None:
            _checks.key(adata, "uns", "table", "Give one: `Scyan(adata, scyan.read_table('table.csv'))`.")
            table = adata.uns["table"]
        self.table = check_table(table, adata.var_names, warn=False)
        if lint:
            warn_of_weak_spots(self.table)
        self.names, self.markers = population_names(self.table), [str(c) for c in self.table.columns]
        self.adata, self.layer = adata, layer
        self.encoding = Encoding.learn(
            adata, batch_key, list_of(categorical_covariates), list_of(continuous_covariates)
        )
        self.transform_state = TransformState.of(adata)
        self.settings = checked_settings({
            "continuum_markers": known_markers(continuum_markers, self.markers), "hidden_size": hidden_size,
            "n_hidden_layers": n_hidden_layers, "n_layers": n_layers, "prior_std": prior_std, "lr": lr,
            "batch_size": batch_size, "temperature": temperature, "modulo_temp": modulo_temp, "background": background,
            "penalty": penalty, "contamination": contamination, "align": align, "running_weights": running_weights,
            "zero_last": zero_last, "cov_scale": cov_scale, "nan_density": nan_density, "max_cells": max_cells,
            "seed": seed, "layer": layer,
        })  # fmt: skip
        self.history: History | None = None
        self.contamination = Contamination(0.0, 0.0)
        self.module = self._network(*self._start())

    def _start(self) -> tuple[int, np.ndarray, np.ndarray]:
        """Number of cells, and the affine map that training starts from: slope and shift, batches x markers."""
        x, _, batch = self._read(self.adata, training=True)
        if self.settings["align"]:
            where = np.isin(self.markers, self.settings["continuum_markers"])
            return len(x), *affine_start(x, batch, continuum=where, seed=self.settings["seed"])
        # one row per batch in either case, since cells pick theirs by its number
        slope = np.ones((max(len(self.encoding.batches), 1), len(self.markers)))
        return len(x), slope, np.zeros_like(slope)

    def _network(self, n_cells: int, slope: Any, shift: Any) -> AnnotationNetwork:
        s = self.settings
        flags = torch.tensor([m in s["continuum_markers"] for m in self.markers])
        return AnnotationNetwork(
            torch.tensor(self.table.to_numpy()), self.encoding.n_columns, flags, s["hidden_size"],
            s["n_hidden_layers"], s["n_layers"], s["prior_std"], s["temperature"],
            slope=torch.as_tensor(slope), shift=torch.as_tensor(shift), background=s["background"],
            penalty=s["penalty"], running=s["running_weights"], n_cells=n_cells,
            zero_last=s["zero_last"], cov_scale=s["cov_scale"], nan_density=s["nan_density"], names=self.names,
            seed=s["seed"],
        )  # fmt: skip

    def _read(self, adata: AnnData, *, training: bool = False) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Values (float64), covariates and batch numbers of cells, in the order of the table's markers.

        Cells of the training are looked at here; others must have passed `check_values` as a whole, since a chunk of
        them is no sample of all.
        """
        smallest = len(self.names) if training else 1
        x = marker_values(
            adata, self.markers, layer=self.layer, smallest=smallest, allow_constant=not training,
            transformed=training,
        )  # fmt: skip
        return x, self.encoding.columns(adata), self.encoding.numbers(adata)

    @property
    def batches(self) -> list[str] | None:
        """Batches, the largest first; None without."""
        return list(self.encoding.batches) or None

    def fit(
        self,
        *,
        max_epochs: int = 100,
        patience: int | None = None,
        min_delta: float | None = None,
        progress: bool = False,
        accelerator: str = "cpu",
        devices: int | str | list[int] = 1,
        strategy: Any = "auto",
    ) -> Self:
        """Train; a second call goes on from where the first ended.

        Parameters
        ----------
        max_epochs
            Most passes over the cells.
        patience, min_delta
            Stop after `patience` epochs in which the mean loss has not fallen by `min_delta` nats; 3 and 0.1 by
            default, 4 and 1 for the original's recipe.
        progress
            Log one line a second.
        accelerator, devices, strategy
            As in `scmods.training.TrainingPlan`.

        Returns
        -------
        The model itself; ``history`` and ``contamination`` are set.

        Raises
        ------
        FloatingPointError
            If a loss is NaN or infinite; the weights are then those from before.
        """
        stop = {"patience": 3, "min_delta": 0.1} | {
            k: v for k, v in self.settings["fit"].items() if k != "drop_last"
        }
        if patience is not None:
            stop["patience"] = patience
        if min_delta is not None:
            stop["min_delta"] = min_delta
        tensors, size = self._training_tensors()
        plan = TrainingPlan(
            max_epochs, self.settings["lr"], size, seed=self.settings["seed"], optimizer="adam",
            schedule="constant", watch="training", progress=progress, accelerator=accelerator, devices=devices,
            strategy=strategy, **stop,
        )  # fmt: skip
        before = {k: v.clone() for k, v in self.module.state_dict().items()}
        self._temper(-1)
        try:
            self.history = train(
                self.module, tensors, plan=plan, on_epoch=lambda epoch, *_: self._temper(epoch),
                drop_last=bool(self.settings["fit"].get("drop_last")),
            )  # fmt: skip
        except FloatingPointError as error:
            self.module.load_state_dict(before)
            raise FloatingPointError(self._diverged(str(error), tensors[0])) from error
        finally:
            self.module.tempered = False
        u = torch.from_numpy(self._latent(*(t.double().numpy() for t in tensors[:2]), tensors[2].numpy()))
        self.contamination = estimate_contamination(
            self.module, u, entries=self.settings["contamination"], seed=self.settings["seed"]
        )
        return self

    def _diverged(self, text: str, x: Tensor) -> str:
        """The message of the training, with the marker of the largest value and what to do here."""
        largest, at = x.abs().max(dim=0).values.max(dim=0)
        return (
            f"{text.split(' Expected')[0]} The weights are those from before. Largest value: {float(largest):.3g},"
            f" marker {self.markers[int(at)]!r}. Scale the cells, `scyan.scale(adata)`, or take smaller steps,"
            f" `Scyan(adata, table, lr={self.settings['lr'] / 10:.3g})`."
        )

    def _temper(self, epoch: int) -> None:
        tempered = self.settings["temperature"] is not None
        self.module.tempered = tempered and (epoch + 1) % self.settings["modulo_temp"] > 0

    def _training_tensors(self) -> tuple[tuple[Tensor, ...], int]:
        x, c, batch = self._read(self.adata, training=True)
        most = self.settings["max_cells"]
        if len(x) > most:
            rng = np.random.default_rng(stream(self.settings["seed"], most))
            rows = np.sort(rng.choice(len(x), most, replace=False))
            x, c, batch = x[rows], c[rows], batch[rows]
        size = self.settings["batch_size"] or (SMALL_BATCH if len(x) < FEW_CELLS else BATCH)
        self.module.n_cells = len(x)
        return (
            torch.from_numpy(x).float(), torch.from_numpy(c).float(), torch.from_numpy(batch),
        ), min(size, len(x))  # fmt: skip

    @torch.no_grad()
    def _aligned(self, x: np.ndarray, batch: np.ndarray) -> np.ndarray:
        device = self.module.pi_logit.device
        v = self.module.aligned(torch.from_numpy(x).to(device), torch.from_numpy(batch).to(device))
        return v.cpu().numpy()

    @torch.no_grad()
    def _latent(self, x: np.ndarray, c: np.ndarray, batch: np.ndarray) -> np.ndarray:
        out, device = np.empty_like(x), self.module.pi_logit.device
        for start in range(0, len(x), BLOCK):
            rows = slice(start, start + BLOCK)
            v = self.module.aligned(
                torch.from_numpy(x[rows]).to(device), torch.from_numpy(batch[rows]).to(device)
            )
            out[rows] = self.module(v, torch.from_numpy(c[rows]).to(device))[0].cpu().numpy()
        return out


def warn_of_weak_spots(table: pd.DataFrame) -> None:
    """One line if the table has faults that training survives."""
    weak = lint_table(table).query("severity == 'warning'")
    if len(weak):
        kinds = ", ".join(f"{n} {k}" for k, n in weak["fault"].value_counts().items())
        _checks.warn(
            f"The table has {len(weak)} weak spots ({kinds}). `scyan.lint_table(table)` lists them with advice.",
            level=4,
        )
