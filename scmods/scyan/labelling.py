"""Second part of `Scyan`: what the trained model says of cells."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

import numpy as np
import torch

from scmods import _checks
from scmods.scyan._chunks import chunks
from scmods.scyan.fitting import BLOCK, Trained
from scmods.scyan.unlisted import log_odds_unlisted
from scmods.scyan.values import check_values

if TYPE_CHECKING:
    import pandas as pd
    from anndata import AnnData

__all__ = ["UNCLASSIFIED", "Labelling"]

UNCLASSIFIED = "unclassified"


def _logistic(odds: np.ndarray) -> np.ndarray:
    return 0.5 * (1 + np.tanh(odds / 2))  # no overflow


class Labelling(Trained):
    """The methods of `Scyan` that read cells."""

    def _ready(self) -> None:
        if self.history is None:
            _checks.fail("The model is not trained.", "Call `model.fit()` first.", kind=RuntimeError)

    def _cells(self, adata: AnnData | None) -> AnnData:
        """The cells given, or those of the training; refuse a model without either."""
        self._ready()
        if adata is None and not self.adata.n_obs:
            _checks.fail(
                "The model was loaded without cells.",
                "Pass some: `model.predict(adata)`, or `Scyan.load(path, adata)`.",
            )
        return self.adata if adata is None else adata

    def _streamed(self, adata: AnnData) -> Iterator[tuple[slice, np.ndarray, np.ndarray, np.ndarray]]:
        """Rows, values, covariates and batch numbers of chunks; all cells are looked at before the first is used."""
        check_values(adata, self.markers, layer=self.layer)
        self.encoding.check(adata)
        for rows, part in chunks(adata):
            yield rows, *self._read(part)

    def _latents(self, adata: AnnData, *, flow: bool = True) -> Iterator[tuple[slice, np.ndarray]]:
        for rows, x, covariates, batch in self._streamed(adata):
            yield rows, self._latent(x, covariates, batch) if flow else self._aligned(x, batch)

    def _scored(self, adata: AnnData, *, flow: bool = True) -> Iterator[tuple[slice, np.ndarray, np.ndarray]]:
        """Rows, joint log-densities and log-odds of being unlisted of chunks of cells."""
        for rows, u in self._latents(adata, flow=flow):
            yield rows, *self._scores(torch.from_numpy(u))

    def latent(self, adata: AnnData | None = None, *, flow: bool = True) -> np.ndarray:
        """Latent cells u, where the rows of the table are: -1 negative, 1 positive.

        Parameters
        ----------
        adata
            Cells with the markers and covariates of the model; the training cells by default.
        flow
            False returns the cells before the flow, behind the affine map only. The flow is trained by the many and
            may drag a few cells along; here they are where they were.

        Returns
        -------
        (cells, markers) float64.
        """
        adata = self._cells(adata)
        out = np.empty((adata.n_obs, len(self.markers)))
        for rows, u in self._latents(adata, flow=flow):
            out[rows] = u
        return out

    @torch.no_grad()
    def _scores(self, u: torch.Tensor) -> tuple[np.ndarray, np.ndarray]:
        """Joint log-densities and log-odds of being unlisted, in blocks of cells."""
        joint, odds = np.empty((len(u), len(self.names))), np.empty(len(u))
        weights = self.module.log_pi.double()
        for start in range(0, len(u), BLOCK):
            rows = slice(start, start + BLOCK)
            block = u[rows].to(weights.device)
            joint[rows] = (self.module.prior.log_prob(block) + weights).cpu().numpy()
            odds[rows] = log_odds_unlisted(self.module, block, self.contamination).cpu().numpy()
        return joint, odds

    def joint_log_prob(self, adata: AnnData | None = None, *, flow: bool = True) -> np.ndarray:
        """Joint log-densities, log p(u | population) + log weight, (cells, populations) float64, nats.

        Parameters
        ----------
        adata, flow
            As in `latent`.
        """
        adata = self._cells(adata)
        out = np.empty((adata.n_obs, len(self.names)))
        for rows, joint, _ in self._scored(adata, flow=flow):
            out[rows] = joint
        return out

    def log_odds_unlisted(self, adata: AnnData | None = None) -> np.ndarray:
        """Log-odds that a cell belongs to no row of the table, (cells,).

        Parameters
        ----------
        adata
            As in `latent`.
        """
        adata = self._cells(adata)
        out = np.empty(adata.n_obs)
        for rows, _, odds in self._scored(adata):
            out[rows] = odds
        return out

    def predict_proba(self, adata: AnnData | None = None) -> pd.DataFrame:
        """Probability of every population and of none of them.

        Parameters
        ----------
        adata
            As in `latent`.

        Returns
        -------
        Cells x (populations and ``"unclassified"``); rows sum to one.
        """
        import pandas as pd

        adata = self._cells(adata)
        values = np.empty((adata.n_obs, len(self.names) + 1))
        for rows, joint, odds in self._scored(adata):
            share = np.exp(joint - joint.max(axis=1, keepdims=True))
            out = _logistic(odds)
            values[rows, :-1] = share / share.sum(axis=1, keepdims=True) * (1 - out)[:, None]
            values[rows, -1] = out
        return pd.DataFrame(values, index=adata.obs_names, columns=[*self.names, UNCLASSIFIED])

    def predict(
        self,
        adata: AnnData | None = None,
        *,
        key_added: str = "scyan_pop",
        threshold: float = 0.5,
        log_prob_th: float | None = None,
        add_levels: bool = True,
    ) -> pd.Series:
        """Label every cell, or leave it unclassified.

        Parameters
        ----------
        adata
            As in `latent`; labels are written to it.
        key_added
            Column of ``obs`` to write; None writes nothing.
        threshold
            A cell is unclassified where its probability of belonging to no row is above this; 1 labels all, unless
            `log_prob_th` is given.
        log_prob_th
            Also leave out cells with log p(u | label) below this (the original's rule, and
            the default of its recipe: -50).
        add_levels
            Also write the coarser populations of the index of the table, one column each.

        Returns
        -------
        Categorical, NaN where unclassified. Written: ``obs[key_added]``, ``obs[key_added + "_probability"]`` (of the
        label, given that the cell is listed), ``obs[key_added + "_unknown"]`` (of being unlisted), one column a level.

        Raises
        ------
        RuntimeError
            If the model is not trained.
        ValueError
            If `threshold` is out of range.
        """
        import pandas as pd

        adata = self._cells(adata)
        share = _checks.number("threshold", threshold, 0.0, 1.0)
        least = self.settings["log_prob_th"] if log_prob_th is None and share < 1 else log_prob_th
        if least is not None:
            least = _checks.number("log_prob_th", least)
        code, probability, density, unknown = self._best(adata)
        keep = unknown <= share
        if least is not None:
            keep &= density >= least
        labels = pd.Series(
            pd.Categorical.from_codes(np.where(keep, code, -1), self.names), adata.obs_names, name=key_added
        )
        if key_added is not None:
            adata.obs[key_added] = labels
            adata.obs[f"{key_added}_probability"] = probability
            adata.obs[f"{key_added}_unknown"] = unknown
            if add_levels:
                self._write_levels(adata, key_added, labels.cat.codes.to_numpy())
        return labels

    def _best(self, adata: AnnData) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
        """The best row of every cell: number, probability given a row, log p(u | row); and that of no row."""
        log_pi = self.module.log_pi.detach().double().cpu().numpy()
        code = np.empty(adata.n_obs, dtype=np.intp)
        probability, density, unknown = np.empty((3, adata.n_obs))
        for rows, joint, odds in self._scored(adata):
            code[rows], top = joint.argmax(axis=1), joint.max(axis=1)
            probability[rows] = 1 / np.exp(joint - top[:, None]).sum(axis=1)
            density[rows] = top - log_pi[code[rows]]
            unknown[rows] = _logistic(odds)
        return code, probability, density, unknown

    def _write_levels(self, adata: AnnData, key: str, code: np.ndarray) -> None:
        import pandas as pd

        index = self.table.index
        for level in range(1, index.nlevels):
            coarse = index.get_level_values(level).astype(str)
            names = sorted(set(coarse))
            at = np.array([names.index(c) for c in coarse])
            name = index.names[level] or f"level{level}"
            values = pd.Categorical.from_codes(np.where(code < 0, -1, at[code]), names)
            adata.obs[f"{key}_{str(name).replace('/', '_')}"] = values
