"""The model on disk: weights and settings in one file, without cells and without pickles."""

from __future__ import annotations

import os
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from scmods import _checks
from scmods.amici._cells import Slots, digest
from scmods.amici._fit import Run
from scmods.amici.network import AttentionNetwork
from scmods.amici.recipe import Recipe
from scmods.io import load_state, save_state
from scmods.training import History

if TYPE_CHECKING:
    from anndata import AnnData

    from scmods.amici.model import AMICI

__all__ = ["read", "write"]

KIND = "amici model"


def write(path: str | os.PathLike[str], model: AMICI, runs: list[Run]) -> Path:
    """Write a fitted model.

    Parameters
    ----------
    path
        The file.
    model
        The model.
    runs
        Its networks.
    """
    arrays: dict[str, Any] = {"held_out": model.held_out}
    histories = []
    for i, run in enumerate(runs):
        arrays |= {f"{i}.{name}": weight for name, weight in run.network.state_dict().items()}
        arrays |= {
            f"{i}/train": np.array(run.history.train_losses),
            f"{i}/val": np.array(run.history.val_losses),
        }
        histories.append({"best_epoch": run.history.best_epoch, "seconds": run.history.seconds})
    meta = {
        "kind": KIND, "genes": model.genes, "types": model.types, "slots": asdict(model.slots),
        "recipe": asdict(model.recipe), "preset": model.preset, "n_neighbors": model.n_neighbors,
        "unit": model.unit, "seed": model.seed, "cell_names": model.cell_digest, "runs": histories,
    }  # fmt: skip
    return save_state(path, arrays, meta)


def _run(i: int, arrays: dict[str, torch.Tensor], meta: dict[str, Any], recipe: Recipe) -> Run:
    weights = {k.split(".", 1)[1]: v for k, v in arrays.items() if k.startswith(f"{i}.")}
    network = AttentionNetwork(weights["type_means"], **recipe.sizes(), unit=meta["unit"])
    network.load_state_dict(weights)
    losses = [arrays[f"{i}/{name}"].tolist() for name in ("train", "val")]
    one = meta["runs"][i]
    history = History(*losses, one["best_epoch"], one["seconds"])
    return Run(network.eval(), history, history.val_losses[history.best_epoch])


def read(path: str | os.PathLike[str], model: AMICI, adata: AnnData | None) -> AMICI:
    """Fill an empty model from a file.

    Parameters
    ----------
    path
        The file.
    model
        Made without its constructor.
    adata
        Cells to bind, or None.
    """
    arrays, meta = load_state(path, tensors=True)
    if meta.get("kind") != KIND:
        _checks.fail(f"'{path}' holds {meta.get('kind', 'something else')!r}, not a model of `AMICI.save`.")
    model.slots, model.recipe, model.preset = Slots(**meta["slots"]), Recipe(**meta["recipe"]), meta["preset"]
    model.genes, model.types = meta["genes"], meta["types"]
    model.n_neighbors, model.unit, model.seed = meta["n_neighbors"], meta["unit"], meta["seed"]
    model.runs = [_run(i, arrays, meta, model.recipe) for i in range(len(meta["runs"]))]
    model.held_out, model.cell_digest = arrays["held_out"].numpy(), meta["cell_names"]
    model._cells = None
    if adata is not None:
        model._cells = model._bind(adata, model.types)[0]
        now = digest(model._cells.names)
        if now != model.cell_digest:
            model.held_out, model.cell_digest = np.ones(adata.n_obs, dtype=bool), now
    return model
