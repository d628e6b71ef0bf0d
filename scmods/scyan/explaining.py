"""Why a cell has its label: what every marker says for it, for and against its rival."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from scmods import _checks
from scmods.scyan import _readout

if TYPE_CHECKING:
    import pandas as pd
    from anndata import AnnData

    from scmods.scyan.model import Scyan

__all__ = ["explain", "population_evidence"]

RUNNER_UP = "runner_up"
EXTRA = ("chosen", "rival", "difference", "weights", "cells")


Parts = tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray, np.ndarray]


def _rivals(model: Scyan, joint: np.ndarray, chosen: np.ndarray, against: str) -> np.ndarray:
    """Row of the rival of every cell."""
    if against != RUNNER_UP:
        _checks.one_of("against", against, [RUNNER_UP, _readout.UNCLASSIFIED, *model.names])
        return np.full(len(joint), model.names.index(against))
    if len(model.names) < 2:
        _checks.fail(
            f"The table has one population, {model.names[0]!r}, so no cell has a runner-up.",
            "Write against='unclassified'.",
        )
    joint = joint.copy()
    np.put_along_axis(joint, chosen[:, None], -np.inf, axis=1)
    return joint.argmax(axis=1)


def _contributions(model: Scyan, u: np.ndarray, chosen: np.ndarray | None, against: str) -> Parts:
    """Chosen row, rival, (cells, markers) differences of their terms, of their weights, and of the joint density."""
    n_pops, none = len(model.names), against == _readout.UNCLASSIFIED
    if none and not model.contamination.cells:
        _checks.fail(
            "against='unclassified' compares with cells of no row, but the model knows none.",
            "Train it with a background: `Scyan(adata, table, background=0.02).fit()`.",
        )
    weights, parts = _readout.row_weights(model)[:n_pops], []
    for rows, each in _readout.terms(model, u):
        each = each[:, :n_pops]
        # the sum as the model takes it, so that the difference is checked against the parts and not made of them
        joint = each.sum(axis=2) + weights
        best = joint.argmax(axis=1) if chosen is None else chosen[rows]
        at = np.arange(len(joint))
        if none:
            parts.append(
                (best, np.full(len(at), n_pops), *_against_none(model, u[rows], each[at, best], best))
            )
            continue
        rival = _rivals(model, joint, best, against)
        parts.append(
            (best, rival, each[at, best] - each[at, rival], weights[best] - weights[rival],
             joint[at, best] - joint[at, rival])
        )  # fmt: skip
    return tuple(np.concatenate(p) for p in zip(*parts, strict=True))


def _against_none(
    model: Scyan, u: np.ndarray, own: np.ndarray, row: np.ndarray
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Terms, weights and sum of the log-odds that a cell belongs to a row at all."""
    from scmods.scyan.unlisted import log_odds_unlisted

    prior, shares = model.module.prior, model.contamination
    cells = torch.as_tensor(u, dtype=torch.float64, device=prior.known.device)
    with torch.no_grad():
        unknown = prior._log_unknown(cells).cpu().numpy()
        rows = prior.log_prob_robust(cells, shares.entries) + model.module.log_pi.double()
        total = rows.logsumexp(1).cpu().numpy()
        odds = log_odds_unlisted(model.module, cells, shares).cpu().numpy()
    rate = shares.entries
    if rate > 0:
        robust = np.logaddexp(own + np.log1p(-rate), unknown + np.log(rate))
        own = np.where(prior.known.cpu().numpy()[row], robust, own)
    listed = np.log1p(-shares.cells) - np.log(shares.cells)
    return own + 0.5 * u**2 + 0.5 * np.log(2 * np.pi), total - own.sum(axis=1) + listed, -odds


def explain(
    model: Scyan, adata: AnnData | None = None, *, cells: Any = None, against: str = RUNNER_UP
) -> pd.DataFrame:
    r"""What every marker contributes to the label of a cell.

    For the row z that is most probable for a cell with latent image u, and a rival r,

    .. math::

        \log\frac{p(z \mid u)}{p(r \mid u)} = \sum_m \big[\log p(u_m \mid z) - \log p(u_m \mid r)\big]
        + \log\frac{\pi_z}{\pi_r}

    The terms of the sum are returned: positive where a marker speaks for the label, negative where it speaks for the
    rival, in nats. Nothing is approximated, as the density of a row is a product over markers.

    Parameters
    ----------
    model
        A trained `Scyan`.
    adata
        Cells; those the model was trained on by default.
    cells
        Which of them: names, positions, or one True or False per cell; all by default.
    against
        ``"runner_up"``: the second most probable row, cell by cell; the name of a population; or ``"unclassified"``:
        what spoke for and against the cell belonging to the table at all. There the sum is minus
        `Scyan.log_odds_unlisted`, the terms are those of its density, in which a marker may err, and ``weights`` also
        holds what other rows add.

    Returns
    -------
    DataFrame, one row per cell: ``chosen`` and ``rival`` (names), ``difference`` (of the joint log-probabilities, which
    is the log-ratio of the two posteriors), one column per marker, and ``weights`` (difference of the log-weights).
    Markers and weights add up to the difference. Cells whose label is the population given in `against` have zeros.

    Raises
    ------
    MissingKeyError, TypeError, ValueError
        Cells or a rival that do not exist; no background to compare with; a marker with the name of another column.

    Notes
    -----
    `chosen` is the best row of the table, for cells that are left unclassified, too. O(cells populations markers)
    time, in blocks of 4,096 cells.

    Examples
    --------
    >>> from scmods import scyan
    >>> adata = scyan.cytometry(300, 5, 6)
    >>> model = scyan.Scyan(adata).fit(max_epochs=1)
    >>> table = scyan.explain(model, cells=adata.obs_names[:3])
    >>> parts = table[[*adata.uns["table"].columns, "weights"]].sum(axis=1)
    >>> bool((parts - table["difference"]).abs().max() < 1e-3)
    True
    """
    import pandas as pd

    _readout.own_columns(model, EXTRA)
    data = _readout.cells_of(model, adata)
    at = _readout.picked(cells, data.obs_names)
    chosen, rival, each, weights, total = _contributions(model, model.latent(data)[at], None, against)
    names = [*model.names, _readout.UNCLASSIFIED]
    out = pd.DataFrame(each, index=data.obs_names[at], columns=list(model.markers))
    out.insert(0, "chosen", pd.Categorical.from_codes(chosen, names))
    out.insert(1, "rival", pd.Categorical.from_codes(rival, names))
    out.insert(2, "difference", total)
    out["weights"] = weights
    return out


def population_evidence(
    model: Scyan, adata: AnnData | None = None, *, against: str = RUNNER_UP, label_key: str | None = None
) -> pd.DataFrame:
    """Which markers carry a population: the mean contributions of its cells, see `explain`.

    Parameters
    ----------
    model
        A trained `Scyan`.
    adata
        Cells; those the model was trained on by default.
    against
        As in `explain`.
    label_key
        Column of ``obs`` with the populations of the cells, missing or "unclassified" for none; by default the most
        probable one, where none is more probable than being unclassified.

    Returns
    -------
    DataFrame, one row per population: ``cells`` (number), ``rival`` (the most frequent one), ``difference``, one column
    per marker and ``weights`` (means over the cells, nats; NaN without cells).

    Raises
    ------
    MissingKeyError, ValueError
        As in `explain`; no such column, labels that are no population.

    Examples
    --------
    >>> from scmods import scyan
    >>> adata = scyan.cytometry(300, 5, 6)
    >>> model = scyan.Scyan(adata).fit(max_epochs=1)
    >>> list(scyan.population_evidence(model).columns[:3])
    ['cells', 'rival', 'difference']
    """
    import pandas as pd

    _readout.own_columns(model, EXTRA)
    data = _readout.cells_of(model, adata)
    code = _readout.label_codes(model, data, label_key)
    has = code >= 0
    if not has.any():
        _checks.fail(
            f"None of {data.n_obs} cells has a population.",
            "Look at `model.predict_proba(adata)`: are the cells scaled as those of the training?",
        )
    chosen, rival, each, weights, total = _contributions(model, model.latent(data)[has], code[has], against)
    frame = pd.DataFrame(each, columns=list(model.markers))
    frame.insert(0, "difference", total)
    frame["weights"] = weights
    mean = frame.groupby(chosen).mean().reindex(range(len(model.names)))
    counts = np.zeros((len(model.names), len(model.names) + 1), dtype=int)
    np.add.at(counts, (chosen, rival), 1)
    n = counts.sum(axis=1)
    usual = np.asarray([*model.names, _readout.UNCLASSIFIED], dtype=object)[counts.argmax(axis=1)]
    mean.index = pd.Index(model.names)
    mean.insert(0, "cells", n)
    mean.insert(1, "rival", np.where(n > 0, usual, None))
    return mean
