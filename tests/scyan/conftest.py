"""A trained model, and models that need no training: signs by a mixture per marker, a flow as it starts."""

from __future__ import annotations

import warnings
from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest
import torch
from anndata import AnnData

from scmods.scyan.mixture import two_components
from scmods.scyan.model import Scyan
from scmods.scyan.network import AnnotationNetwork
from scmods.scyan.simulate import cytometry
from scmods.scyan.unlisted import Contamination, log_odds_unlisted


class Ready:
    """What the reading functions ask of `Scyan`, for a network that was never trained."""

    def __init__(self, adata: AnnData, table: pd.DataFrame, *, background: float = 0.02, bend: bool = False):
        self.adata, self.table = adata, table
        self.names, self.markers = [str(n) for n in table.index], list(table.columns)
        self.layer, self.encoding = (
            None,
            SimpleNamespace(numbers=lambda data: np.zeros(data.n_obs, dtype=int)),
        )
        self.contamination = Contamination(0.03, background)
        x = adata[:, self.markers].X.astype(np.float64)
        mixture = two_components(x, refine=False)
        slope = 2 / (mixture.mean[1] - mixture.mean[0])
        shift = -1 - slope * mixture.mean[0]
        n_pops, n_markers = table.shape
        self.module = AnnotationNetwork(
            torch.tensor(table.to_numpy()), 0, torch.zeros(n_markers, dtype=bool), 8, 1, 3, 0.3, None,
            zero_last=not bend, background=background, slope=torch.tensor(slope)[None],
            shift=torch.tensor(shift)[None],
        ).double()  # fmt: skip
        with torch.no_grad():
            self.module.pi_logit.copy_(torch.linspace(0, 0.02, n_pops))

    def latent(self, adata: AnnData | None = None) -> np.ndarray:
        x = torch.tensor((self.adata if adata is None else adata)[:, self.markers].X.astype(np.float64))
        with torch.no_grad():
            return self.module(self.module.aligned(x), None)[0].numpy()

    def joint_log_prob(self, adata: AnnData | None = None) -> np.ndarray:
        x = torch.tensor((self.adata if adata is None else adata)[:, self.markers].X.astype(np.float64))
        with torch.no_grad():
            return self.module.joint_log_prob(self.module.aligned(x), None).numpy()

    def log_odds_unlisted(self, adata: AnnData | None = None) -> np.ndarray:
        with torch.no_grad():
            u = torch.tensor(self.latent(adata))
            return log_odds_unlisted(self.module, u, self.contamination).numpy()

    def predict_proba(self, adata: AnnData | None = None) -> pd.DataFrame:
        joint = self.joint_log_prob(adata)
        rows = np.exp(joint - joint.max(axis=1, keepdims=True))
        out = 1 / (1 + np.exp(-self.log_odds_unlisted(adata)))
        values = np.c_[rows / rows.sum(axis=1, keepdims=True) * (1 - out)[:, None], out]
        index = (self.adata if adata is None else adata).obs_names
        return pd.DataFrame(values, index=index, columns=[*self.names, "unclassified"])


@pytest.fixture(scope="session")
def cells() -> AnnData:
    """1,200 cells of 6 populations x 10 markers, well separated; treat as read-only."""
    return cytometry(1200, 6, 10, rare=0.0, unlisted=0.02, separation=1.8, seed=3)


@pytest.fixture(scope="session")
def make_ready() -> type[Ready]:
    """The class, to make a model of another table."""
    return Ready


@pytest.fixture(scope="session")
def ready(cells: AnnData) -> Ready:
    """A model of the true table with a background component; its flow is no identity."""
    return Ready(cells, cells.uns["table"], bend=True)


@pytest.fixture(scope="session")
def plain(cells: AnnData) -> Ready:
    """The same with the identity as its flow."""
    return Ready(cells, cells.uns["table"])


@pytest.fixture(scope="session")
def trained(cells: AnnData) -> Scyan:
    """`Scyan`, trained for a moment."""
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "The table has")  # siblings of which one knows more
        return Scyan(cells.copy()).fit(max_epochs=2)


@pytest.fixture(params=["ready", "trained"])
def model(request: pytest.FixtureRequest) -> Ready | Scyan:
    """Both kinds of models."""
    return request.getfixturevalue(request.param)
