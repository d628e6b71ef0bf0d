"""`Scyan`: from cells and a table to labels, corrected batches and new cells."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from scmods import _checks, io
from scmods.scyan._settings import current
from scmods.scyan._state import KEY, TransformState
from scmods.scyan.covariates import Encoding
from scmods.scyan.fitting import BLOCK
from scmods.scyan.labelling import Labelling
from scmods.scyan.table import population_names
from scmods.scyan.unlisted import Contamination
from scmods.training import History

if TYPE_CHECKING:
    import pandas as pd
    from anndata import AnnData

__all__ = ["Scyan"]

KIND = "scyan model"
COMMON, RARER = 0.1, 10.0  # a population with this share of a batch, so many times rarer in another
ENOUGH = 200  # cells of a batch, to compare compositions
ORIGINAL: dict[str, Any] = {
    "hidden_size": 16, "n_hidden_layers": 6, "n_layers": 7, "lr": 5e-4, "temperature": 0.5, "background": 0.0,
    "penalty": 0.0, "align": False, "running_weights": False, "zero_last": False, "cov_scale": 100.0,
    "nan_density": "plateau", "batch_size": 8192,
}  # fmt: skip
ORIGINAL_FIT = {"min_delta": 1.0, "patience": 4, "drop_last": True}


class Scyan(Labelling):
    """Annotation of cytometry from a table of populations x markers.

    Parameters
    ----------
    adata
        Transformed and scaled cells; ``X`` dense, sparse or integer. Kept by reference, never edited by the fit.
    table
        Populations x markers: -1 negative, 1 positive, values between for low and mid, NaN where nothing is known
        (see `read_table`); ``adata.uns["table"]`` by default. Further levels of its index name coarser populations.
    continuous_covariates, categorical_covariates
        Columns of ``obs``. Measurements are standardised, categories get one column per level.
    batch_key
        Column of ``obs`` with the batch; needed by `batch_effect_correction`.
    layer
        Layer to read; None for ``X``.
    continuum_markers
        Markers without two clear modes: the table then says only which side is preferred.
    hidden_size, n_hidden_layers, n_layers
        Width and depth of the nets, and number of couplings.
    prior_std
        Standard deviation of the latent normal, in units of the table.
    lr
        Learning rate of Adam.
    batch_size
        Cells per step; None for 512, or 32 below 500 cells.
    temperature
        Favour small populations while training, more so at smaller values; None for no tempering.
    modulo_temp
        With a temperature: one epoch in so many goes without.
    background
        Weight, while training, of cells that no row describes. It keeps doublets, debris and unlisted populations
        from bending the flow. 0 for none; then no cell is ever unclassified by its probability.
    penalty
        Factor of the mean squared displacement of the flow, beyond the affine start.
    contamination
        Share of known entries that cells may contradict, where it is judged whether a cell is listed at all; labels do
        not depend on it. None estimates it after the fit; 0 suits codes, which admit no exception.
    align
        Start from an affine map per marker and batch that puts the two groups of cells on -1 and 1.
    running_weights
        Follow the mean posterior for the weights of the populations; False trains them by gradient.
    zero_last, cov_scale, nan_density
        See `ScyanModule`.
    max_cells
        Most cells to train on; a random subset where there are more.
    seed
        Of the weights, the order of the cells and the samples. No global generator is used.
    lint
        Warn if the table has weak spots; faults are refused either way.

    Attributes
    ----------
    names, markers
        Populations (rows) and markers (columns) of the table.
    table
        The checked table, float64.
    module
        The network, `AnnotationNetwork`.
    history
        Losses of the last fit, None before.
    contamination
        Shares of contradicted entries and of unlisted cells, estimated after the fit.
    batches
        Batches, the largest first; None without.

    Raises
    ------
    MissingKeyError, TypeError, ValueError
        Everything that is wrong with the table (all faults at once), the cells, the covariates or the settings, before
        any training.

    Warns
    -----
    NumericalWarning
        Weak spots of the table; markers that look unscaled; batches too small for a map of their own.

    Notes
    -----
    The model is that of Blampey et al. 2023, https://doi.org/10.1093/bib/bbad260; the affine start, the background, the
    penalty, the running weights, the exact density of unknown entries and the calibrated unlisted class are not.
    `Scyan.original` has none of them. Time of a step O(batch (markers + hidden) hidden layers + batch populations
    markers), in matrix products; memory O(cells markers).

    Examples
    --------
    >>> from scmods import scyan
    >>> adata = scyan.cytometry(300, 5, 6)
    >>> model = scyan.Scyan(adata).fit(max_epochs=1)
    >>> len(model.predict()), model.predict_proba().shape
    (300, (300, 6))
    """

    @classmethod
    def original(cls, adata: AnnData, table: pd.DataFrame | None = None, **options: Any) -> Scyan:
        """The original's recipe: its sizes, random start, tempering, weights by gradient, plateau density.

        `fit` then stops as the original does (1 nat, 4 epochs, last partial batch dropped), and `predict` takes its
        threshold: NaN where log p(u | label) is below -50. Its warm-up of the prior, which never takes effect there,
        is left out, and so is the factor 100 on raw measurements: they are standardised here.

        Parameters
        ----------
        adata, table
            As in the class.
        **options
            Arguments of the class that shall differ.
        """
        model = cls(adata, table, **{**ORIGINAL, **options})
        model.settings |= {"log_prob_th": -50.0, "fit": dict(ORIGINAL_FIT)}
        return model

    @torch.no_grad()
    def batch_effect_correction(
        self, batch_ref: str | None = None, *, adata: AnnData | None = None
    ) -> np.ndarray:
        """The cells as they would have been in a reference batch; all other covariates stay their own.

        Parameters
        ----------
        batch_ref
            Name of the batch; the largest by default. Its own cells come back unchanged, up to rounding.
        adata
            As in `latent`.

        Returns
        -------
        (cells, markers of the table) float64, on the scale of the input.

        Raises
        ------
        ValueError
            If the model has no batches, or none of this name.

        Warns
        -----
        NumericalWarning
            If a population that makes up a tenth of a batch is ten times rarer in the reference, or the other way
            round: the batches then differ by more than the measurement, and no model can tell the two apart.
        """
        reference = self.encoding.batch_number(batch_ref)
        adata = self._cells(adata)
        n, own = len(self.encoding.batches), np.eye(len(self.encoding.batches))[reference]
        out, found = np.empty((adata.n_obs, len(self.markers))), np.zeros((n, len(self.names)))
        for rows, x, c, batch in self._streamed(adata):
            u = self._latent(x, c, batch)
            np.add.at(found, (batch, self._codes(u)), 1)
            c[:, :n] = own
            out[rows] = self._back(u, c, np.full(len(u), reference))
        self._warn_of_confounding(found, reference)
        return out

    def _codes(self, u: np.ndarray) -> np.ndarray:
        blocks = torch.from_numpy(u).split(BLOCK)
        return np.concatenate([self.module.prior.log_prob(b).argmax(1) for b in blocks])

    def _warn_of_confounding(self, n: np.ndarray, reference: int) -> None:
        """Look at the number of cells by batch and population."""
        here = n.sum(axis=1) >= ENOUGH
        if not here[reference]:
            return
        share = n[here] / n[here].sum(axis=1, keepdims=True)
        own = n[reference] / n[reference].sum()
        high, low = np.maximum(share, own), np.minimum(share, own)
        apart = (high >= COMMON) & (RARER * low <= high)
        if apart.any():
            only = [self.names[p] for p in np.flatnonzero(apart.any(axis=0))]
            _checks.warn(
                f"{len(only)} populations are common in one batch and ten times rarer in another:"
                f" {_checks.listing(only, 5)}. What belongs to the batch and what to the population cannot be told"
                f" apart. Look at `scyan.cell_type_ratios(adata, groupby={self.encoding.batch_key!r})`, or correct"
                " batches of like composition only."
            )

    @torch.no_grad()
    def _back(self, u: np.ndarray, c: np.ndarray, batch: np.ndarray) -> np.ndarray:
        out, device = np.empty_like(u), self.module.pi_logit.device
        for start in range(0, len(u), BLOCK):
            rows = slice(start, start + BLOCK)
            parts = (torch.from_numpy(a[rows]).to(device) for a in (u, c, batch))
            latent, covariates, number = parts
            out[rows] = self.module.unaligned(self.module.inverse(latent, covariates), number).cpu().numpy()
        return out

    @torch.no_grad()
    def sample(
        self,
        n_samples: int,
        *,
        z: Any = None,
        like: AnnData | None = None,
        seed: int = 0,
        return_z: bool = False,
    ) -> Any:
        """Cells drawn from the model, under conditions taken from real cells.

        Parameters
        ----------
        n_samples
            Number of cells; 0 gives none.
        z
            Populations: None draws them by weight; a name or number takes one for all; a list has one per cell.
        like
            Cells whose covariates are drawn, with repetition; the training cells by default. To sample one batch, pass
            the cells of that batch.
        seed
            Of the draw.
        return_z
            Also return the names of the populations.

        Returns
        -------
        (n_samples, markers) float64 on the scale of the input, and with `return_z` an array of names.

        Raises
        ------
        TypeError, ValueError
            If `z` holds what is no row of the table or has another length; if `like` has no cells.
        """
        n = _checks.integer("n_samples", n_samples, 0)
        like = self._cells(like)
        if not like.n_obs:
            _checks.fail(
                "`like` has no cells to take the covariates from. Look at the filter before this call."
            )
        generator = torch.Generator().manual_seed(_checks.integer("seed", seed, 0))
        rows = torch.randint(like.n_obs, (n,), generator=generator).numpy()
        _, codes = self.module.sample(
            n, torch.zeros(self.encoding.n_columns), z, return_z=True, generator=generator
        )
        u = self.module.prior.sample(codes, generator=generator, dtype=torch.float64)
        x = self._back(u.numpy(), self.encoding.columns(like)[rows], self.encoding.numbers(like)[rows])
        return (x, np.array(self.names, dtype=object)[codes.numpy()]) if return_z else x

    def save(self, path: str | os.PathLike[str]) -> Path:
        """Write the model to one ``.safetensors`` file: table, weights, covariates, transform; no cells.

        Parameters
        ----------
        path
            The file; replaced in one step.
        """
        self._ready()
        arrays = {f"module/{k}": v for k, v in self.module.state_dict().items()}
        arrays["table"] = self.table.to_numpy()
        state = self.transform_state
        stored = {} if state is None else state.to_uns()
        arrays |= {
            f"transform/{k}": v for k, v in stored.items() if isinstance(v, np.ndarray) and k != "markers"
        }
        index = self.table.index
        meta = {
            "kind": KIND, "markers": self.markers, "levels": [str(n or "") for n in index.names],
            "index": [[str(v) for v in index.get_level_values(i)] for i in range(index.nlevels)],
            "settings": self.settings, "encoding": self.encoding.to_meta(),
            "n_cells": self.module.n_cells,
            "contamination": [self.contamination.entries, self.contamination.cells],
            "history": [self.history.train_losses, self.history.best_epoch, self.history.seconds],
            "transform": {k: v for k, v in stored.items() if not isinstance(v, np.ndarray)}
            | ({"markers": [str(m) for m in stored["markers"]]} if stored else {}),
        }  # fmt: skip
        return io.save_state(path, arrays, meta)

    @classmethod
    def load(cls, path: str | os.PathLike[str], adata: AnnData | None = None) -> Scyan:
        """Read a model that `save` wrote; nothing in the file is executed.

        Parameters
        ----------
        path
            The file.
        adata
            Cells to work on by default; any cells with the markers and covariates of the model will do.

        Raises
        ------
        FileNotFoundError, ValueError
            No such file, or not a model.
        """
        import pandas as pd

        arrays, meta = io.load_state(path, tensors=True)
        if meta.get("kind") != KIND:
            _checks.fail(
                f"'{path}' holds {meta.get('kind')!r}, not a model. Write one with `model.save(path)`."
            )
        model = cls.__new__(cls)
        levels = meta["index"]
        names = [n or None for n in meta["levels"]]
        index = pd.Index(levels[0], name=names[0])
        if len(levels) > 1:
            index = pd.MultiIndex.from_arrays(levels, names=names)
        model.table = pd.DataFrame(arrays["table"].numpy(), index=index, columns=meta["markers"])
        model.names, model.markers = population_names(model.table), list(meta["markers"])
        model.settings, model.layer = current(meta["settings"]), meta["settings"]["layer"]
        model.encoding = Encoding.from_meta(meta["encoding"])
        model.contamination = Contamination(*meta["contamination"])
        losses, best, seconds = meta["history"]
        model.history = History(losses, [], best, seconds)
        kept = {
            k.removeprefix("transform/"): v.numpy() for k, v in arrays.items() if k.startswith("transform/")
        }
        model.transform_state = (
            TransformState.from_uns(meta["transform"] | kept) if meta["transform"] else None
        )
        weights = {k.removeprefix("module/"): v for k, v in arrays.items() if k.startswith("module/")}
        model.module = model._network(meta["n_cells"], weights["slope"], weights["shift"])
        model.module.load_state_dict(weights)
        model.module.eval()
        model.adata = adata if adata is not None else _no_cells(model)
        return model

    def apply_transform(self, adata: AnnData) -> None:
        """Transform and scale the raw values of new cells exactly as those of the training cells.

        Parameters
        ----------
        adata
            Cells with raw intensities; changed in place.

        Raises
        ------
        ValueError
            If the training cells had no record of a transform, or `adata` was transformed before.
        """
        from scmods.scyan.transform import apply_transform

        if self.transform_state is None:
            _checks.fail(
                "The training cells had no record of a transform.",
                "Transform them with `scyan.asinh_transform(adata)` and `scyan.scale(adata)` before the fit.",
            )
        reference = _no_cells(self)
        reference.uns[KEY] = self.transform_state.to_uns()
        apply_transform(adata, reference)


def _no_cells(model: Scyan) -> AnnData:
    import anndata
    import pandas as pd

    return anndata.AnnData(
        np.zeros((0, len(model.markers)), dtype=np.float32), var=pd.DataFrame(index=model.markers)
    )
