"""Second part of `Scyan`: what the trained model says of cells."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import torch

from scmods import _checks
from scmods.scyan.fitting import BLOCK, Trained
from scmods.scyan.unlisted import log_odds_unlisted

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
        x, covariates, batch = self._read(self._cells(adata))
        return self._latent(x, covariates, batch) if flow else self._aligned(x, batch)

    @torch.no_grad()
    def _scores(self, adata: AnnData | None, *, flow: bool = True) -> tuple[np.ndarray, np.ndarray]:
        """Joint log-densities and log-odds of being unlisted, in blocks of cells."""
        u = torch.from_numpy(self.latent(adata, flow=flow))
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
        return self._scores(adata, flow=flow)[0]

    def log_odds_unlisted(self, adata: AnnData | None = None) -> np.ndarray:
        """Log-odds that a cell belongs to no row of the table, (cells,).

        Parameters
        ----------
        adata
            As in `latent`.
        """
        return self._scores(adata)[1]

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

        joint, odds = self._scores(adata)
        rows = np.exp(joint - joint.max(axis=1, keepdims=True))
        out = _logistic(odds)
        values = np.column_stack([rows / rows.sum(axis=1, keepdims=True) * (1 - out)[:, None], out])
        index = self._cells(adata).obs_names
        return pd.DataFrame(values, index=index, columns=[*self.names, UNCLASSIFIED])

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
        joint, odds = self._scores(adata)
        code, top = joint.argmax(axis=1), joint.max(axis=1)
        keep = _logistic(odds) <= share
        least = log_prob_th
        if least is None and share < 1:
            least = self.settings["log_prob_th"]
        if least is not None:
            log_pi = self.module.log_pi.detach().double().cpu().numpy()
            keep &= top - log_pi[code] >= _checks.number("log_prob_th", least)
        labels = pd.Series(
            pd.Categorical.from_codes(np.where(keep, code, -1), self.names), adata.obs_names, name=key_added
        )
        if key_added is not None:
            adata.obs[key_added] = labels
            adata.obs[f"{key_added}_probability"] = 1 / np.exp(joint - top[:, None]).sum(axis=1)
            adata.obs[f"{key_added}_unknown"] = _logistic(odds)
            if add_levels:
                self._write_levels(adata, key_added, labels.cat.codes.to_numpy())
        return labels

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
