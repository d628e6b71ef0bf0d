"""What the reading functions ask of a model: latent cells, terms per marker, labels; for every cell or for some."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from scmods import _checks

if TYPE_CHECKING:
    import pandas as pd
    from anndata import AnnData

    from scmods.scyan.model import Scyan

__all__ = [
    "BLOCK", "UNCLASSIFIED", "background_weight", "codes_of", "label_codes", "log_weights", "own_columns", "picked",
    "row_weights",
    "cells_of", "terms",
]  # fmt: skip

BLOCK = 4096  # cells per array of cells x populations x markers: 29 MB at 30 x 30
UNCLASSIFIED = "unclassified"


def log_weights(model: Scyan) -> np.ndarray:
    """(populations,) logarithm of the weights, as the joint log-density has them.

    Parameters
    ----------
    model
        A `Scyan`.
    """
    return model.module.log_pi.detach().cpu().double().numpy()


def background_weight(model: Scyan) -> float:
    """Weight of the component of cells that no row describes; 0 where a model has none.

    Parameters
    ----------
    model
        A `Scyan`.
    """
    return float(getattr(model.module, "background", 0.0))


def terms(model: Scyan, u: np.ndarray) -> Iterator[tuple[slice, np.ndarray]]:
    """Blocks of cells x rows x markers: log-densities whose sum over markers is that of a cell under a row.

    The rows are the populations and, if the model has one, the background last.

    Parameters
    ----------
    model
        A `Scyan`.
    u
        Latent cells, float64.
    """
    prior, outside = model.module.prior, background_weight(model) > 0
    for start in range(0, len(u), BLOCK):
        rows = slice(start, min(start + BLOCK, len(u)))
        block = torch.as_tensor(u[rows], dtype=torch.float64, device=prior.known.device)
        with torch.no_grad():
            each = prior.log_prob_per_marker(block).cpu().numpy()
        if outside:
            normal = -0.5 * u[rows] ** 2 - 0.5 * math.log(2 * math.pi)
            each = np.concatenate([each, normal[:, None]], axis=1)
        yield rows, each


def row_weights(model: Scyan) -> np.ndarray:
    """(rows,) log-weights that go with `terms`; they sum to one.

    Parameters
    ----------
    model
        A `Scyan`.
    """
    outside = background_weight(model)
    if not outside:
        return log_weights(model)
    return np.append(log_weights(model) + math.log1p(-outside), math.log(outside))


def cells_of(model: Scyan, adata: AnnData | None) -> AnnData:
    """The cells meant: those given, or those the model was trained on.

    Parameters
    ----------
    model
        A `Scyan`.
    adata
        Cells, or None.
    """
    cells = model.adata if adata is None else adata
    if cells is None or not cells.n_obs:
        _checks.fail(
            "The model holds no cells, and `adata` is None." if adata is None else "`adata` has no cells.",
            "A model that was loaded from a file needs them: pass adata=adata."
            if adata is None
            else "Look at the filter before this call.",
        )
    return cells


def picked(cells: Any, names: pd.Index) -> np.ndarray:
    """Positions of the cells asked for.

    Parameters
    ----------
    cells
        None for all; names, positions, or one True or False per cell.
    names
        Names of all cells.

    Raises
    ------
    MissingKeyError, TypeError, ValueError
        Names or positions that do not exist; a mask of another length; none at all.
    """
    n = len(names)
    if cells is None:
        return np.arange(n)
    if isinstance(cells, str) or np.ndim(cells) == 0:
        cells = [cells]
    wanted = np.asarray(cells)
    if wanted.dtype == bool:
        if wanted.shape != (n,):
            _checks.fail(f"`cells` is a mask of shape {wanted.shape}, but there are {n} cells.")
        wanted = np.flatnonzero(wanted)
    elif wanted.dtype.kind in "iu":
        out = wanted[(wanted < 0) | (wanted >= n)]
        if len(out):
            _checks.fail(f"`cells` holds {_checks.listing(out, 3)}, but positions lie in [0, {n - 1}].")
    elif wanted.size:
        wanted = _positions(wanted, names)
    if not wanted.size:
        _checks.fail("`cells` holds no cell. Expected at least one, or None for all.")
    return wanted.astype(np.intp)


def _positions(wanted: np.ndarray, names: pd.Index) -> np.ndarray:
    if wanted.dtype.kind not in "OUST":
        _checks.fail(
            f"`cells` is of type {wanted.dtype}, but must hold names, whole numbers, or True and False.",
            kind=TypeError,
        )
    _checks.unique_names("adata.obs_names", names)
    at = names.get_indexer([str(w) for w in wanted])
    if (at < 0).any():
        unknown = wanted[at < 0]
        _checks.fail(
            f"`cells` names {len(unknown)} cells that do not exist: {_checks.listing(unknown, 3)}.",
            f"Available: {_checks.listing(names, 3)}.",
            kind=_checks.MissingKeyError,
        )
    return at


def codes_of(labels: Any, names: Sequence[str], what: str) -> np.ndarray:
    """Labels as numbers of populations; -1 for a missing label and for "unclassified".

    Parameters
    ----------
    labels
        One per cell.
    names
        The populations.
    what
        What the labels are, for the error text.

    Raises
    ------
    ValueError
        If a label is neither missing, nor "unclassified", nor a population.
    """
    import pandas as pd

    series = pd.Series(labels).reset_index(drop=True)
    values = series.astype(object).where(series.notna(), None)
    values = values.map(lambda v: None if v is None or str(v) == UNCLASSIFIED else str(v))
    code = pd.Index(list(names)).get_indexer(values)
    unknown = values[(code < 0) & values.notna().to_numpy()]
    if len(unknown):
        found = list(dict.fromkeys(unknown))
        _checks.fail(
            f"{what} holds {len(found)} labels that the table does not know: {_checks.listing(found, 3)}.",
            f"Its populations are {_checks.listing(names)}.",
            _checks.nearest(found[0], names),
        )
    return code.astype(np.intp)


def label_codes(model: Scyan, adata: AnnData, label_key: str | None) -> np.ndarray:
    """Population of every cell as a number, -1 where it has none.

    Parameters
    ----------
    model
        A `Scyan`.
    adata
        Cells.
    label_key
        Column of ``obs``; None for the most probable row of `Scyan.predict_proba`, "unclassified" being one.
    """
    if label_key is None:
        proba = model.predict_proba(adata)
        return codes_of(proba.columns[proba.to_numpy().argmax(axis=1)], model.names, "`predict_proba`")
    _checks.key(adata, "obs", label_key, f"Write it first: `model.predict(adata, key_added={label_key!r})`.")
    return codes_of(adata.obs[label_key], model.names, f"`adata.obs[{label_key!r}]`")


def own_columns(model: Scyan, columns: Sequence[str]) -> None:
    """Refuse markers that have the name of another column of a result.

    Parameters
    ----------
    model
        A `Scyan`.
    columns
        The other columns.
    """
    taken = [m for m in model.markers if m in columns]
    if taken:
        _checks.fail(
            f"The markers {_checks.listing(taken)} have the names of columns of the result.",
            "Rename them in the table and in `adata.var_names`, for instance by an upper-case first letter.",
        )
