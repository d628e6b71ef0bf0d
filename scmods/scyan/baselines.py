"""What a reader would try before training anything: nearest row, a mixture per marker, thresholds, a debarcoder."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from scmods import _checks
from scmods.scyan.mixture import two_components
from scmods.scyan.table import check_table, population_names
from scmods.scyan.values import marker_values

if TYPE_CHECKING:
    import pandas as pd
    from anndata import AnnData

__all__ = ["Assignment", "barcode_signal", "debarcode", "marker_mixture", "nearest_row", "threshold_gating"]

SURE = 1e-3  # no marker alone decides: probabilities of a sign stay within [0.001, 0.999]


@dataclass(frozen=True)
class Assignment:
    """Labels that need no training.

    Attributes
    ----------
    labels
        Series, one label per cell, NaN where the method gives none; categories are the populations.
    scores
        DataFrame, cells x populations; larger is better. What it holds depends on the method.

    Examples
    --------
    >>> from scmods import scyan
    >>> adata = scyan.cytometry(300, 5, 6)
    >>> found = scyan.nearest_row(adata)
    >>> found.labels.shape, found.scores.shape
    ((300,), (300, 5))
    """

    labels: pd.Series
    scores: pd.DataFrame


def _read(
    adata: AnnData, table: pd.DataFrame | None, layer: str | None, *, transformed: bool = True
) -> tuple[np.ndarray, pd.DataFrame]:
    """Values of the markers of the table, and the table."""
    if table is None:
        _checks.key(adata, "uns", "table", "Give one: table=scyan.read_table('table.csv').")
        table = adata.uns["table"]
    table = check_table(table, adata.var_names, warn=False)
    x = marker_values(adata, [str(c) for c in table.columns], layer=layer, transformed=transformed)
    return x, table


def _assignment(
    adata: AnnData, table: pd.DataFrame, scores: np.ndarray, keep: np.ndarray | None = None
) -> Assignment:
    import pandas as pd

    names = population_names(table)
    code = scores.argmax(axis=1)
    code = code if keep is None else np.where(keep, code, -1)
    labels = pd.Series(pd.Categorical.from_codes(code, names), index=adata.obs_names)
    return Assignment(labels, pd.DataFrame(scores, index=adata.obs_names, columns=names))


def nearest_row(adata: AnnData, table: pd.DataFrame | None = None, *, layer: str | None = None) -> Assignment:
    r"""Label every cell by the row of the table that is nearest on the row's known markers.

    .. math:: s_{ip} = -\frac{1}{n_p} \sum_{m \text{ known}} (x_{im} - \rho_{pm})^2

    Parameters
    ----------
    adata
        Transformed and scaled cells.
    table
        Populations x markers; ``uns["table"]`` by default.
    layer
        Layer to read; None for ``X``.

    Returns
    -------
    `Assignment`; the scores are minus the mean squared distances. Every cell gets a label.

    Raises
    ------
    MissingKeyError, TypeError, ValueError
        What `check_table` and `marker_values` refuse.

    Notes
    -----
    Two matrix products: O(cells markers populations) time, no array of three axes.

    Examples
    --------
    >>> from scmods.scyan.simulate import cytometry
    >>> adata = cytometry(500, 6, 8, unlisted=0.0, separation=2.0)
    >>> float((nearest_row(adata).labels == adata.obs["cell_type"]).mean()) > 0.4
    True
    """
    x, table = _read(adata, table, layer)
    rho = table.to_numpy()
    known = ~np.isnan(rho)
    filled = np.where(known, rho, 0.0)
    squared = x**2 @ known.T.astype(float) - 2 * x @ filled.T + (filled**2).sum(axis=1)
    n_known = known.sum(axis=1)
    scores = np.where(n_known > 0, -squared / np.maximum(n_known, 1), -np.inf)
    return _assignment(adata, table, scores)


def marker_mixture(
    adata: AnnData,
    table: pd.DataFrame | None = None,
    *,
    layer: str | None = None,
    refine: bool = True,
    seed: int = 0,
) -> Assignment:
    r"""Label every cell by a two-component Gaussian mixture per marker and the signs of the table.

    With :math:`q_{im}` the probability that marker m of cell i is positive, kept within [0.001, 0.999], and
    :math:`t_{pm} = (1 + \rho_{pm}) / 2`, a row scores
    :math:`\sum_m \log(t_{pm} q_{im} + (1 - t_{pm})(1 - q_{im}))` over its known markers and :math:`\log 1/2` for every
    unknown one.

    Parameters
    ----------
    adata
        Transformed and scaled cells.
    table
        Populations x markers; ``uns["table"]`` by default.
    layer
        Layer to read; None for ``X``.
    refine
        Fit the mixtures by expectation maximisation. False takes one Gaussian for each side of the best split of a
        marker in two groups, often the better choice where many cells have an intensity of 0.
    seed
        Seed of the 5,000 cells the mixtures are fitted on, where there are more.

    Returns
    -------
    `Assignment`; the scores are log-probabilities up to a constant per cell. Every cell gets a label.

    Raises
    ------
    MissingKeyError, TypeError, ValueError
        What `check_table` and `marker_values` refuse.

    Examples
    --------
    >>> from scmods.scyan.simulate import cytometry
    >>> adata = cytometry(500, 6, 8, unlisted=0.0, separation=2.0)
    >>> float((marker_mixture(adata).labels == adata.obs["cell_type"]).mean()) > 0.7
    True
    """
    x, table = _read(adata, table, layer)
    q = np.clip(two_components(x, refine=refine, seed=seed).positive(x), SURE, 1 - SURE)
    return _assignment(adata, table, _sign_scores(q, table.to_numpy()))


def _sign_scores(q: np.ndarray, rho: np.ndarray) -> np.ndarray:
    """(cells, populations) sums of log-probabilities, one matrix product per distinct value of the table."""
    scores = np.log(0.5) * np.isnan(rho).sum(axis=1)[None] + np.zeros((len(q), 1))
    for value in np.unique(rho[~np.isnan(rho)]):
        t = (1 + value) / 2
        scores += np.log(t * q + (1 - t) * (1 - q)) @ (rho == value).T.astype(float)
    return scores


def threshold_gating(
    adata: AnnData, table: pd.DataFrame | None = None, *, layer: str | None = None, seed: int = 0
) -> Assignment:
    """Label the cells that lie on the right side of the threshold of every known marker, as gating by hand does.

    The threshold of a marker is where the two components of its mixture are equally probable. A cell that fits
    several rows goes to the one that knows most; it gets no label where two of them know equally much.

    Parameters
    ----------
    adata
        Transformed and scaled cells.
    table
        Populations x markers; ``uns["table"]`` by default. In-between entries other than 0 count by their sign, 0 as
        unknown.
    layer
        Layer to read; None for ``X``.
    seed
        Seed of the 5,000 cells the mixtures are fitted on, where there are more.

    Returns
    -------
    `Assignment`; the scores are minus the number of markers on the wrong side.

    Raises
    ------
    MissingKeyError, TypeError, ValueError
        What `check_table` and `marker_values` refuse.

    Examples
    --------
    >>> from scmods.scyan.simulate import cytometry
    >>> adata = cytometry(500, 6, 8, unlisted=0.0, separation=2.0)
    >>> labels = threshold_gating(adata).labels
    >>> 0.2 < float(labels.notna().mean()) < 1.0
    True
    """
    x, table = _read(adata, table, layer)
    sign = np.sign(np.nan_to_num(table.to_numpy()))
    above = x > two_components(x, seed=seed).thresholds()
    wrong = above @ (sign < 0).T.astype(float) + ~above @ (sign > 0).T.astype(float)
    n_known = np.abs(sign).sum(axis=1)
    fits = np.where((wrong == 0) & (n_known > 0), n_known, -1.0)
    best = fits.max(axis=1, keepdims=True)
    keep = (best[:, 0] > 0) & ((fits == best).sum(axis=1) == 1)
    found = _assignment(adata, table, fits, keep)
    return Assignment(found.labels, _assignment(adata, table, -wrong).scores)


def barcode_signal(
    adata: AnnData, table: pd.DataFrame | None = None, *, layer: str | None = None, cofactor: float = 10.0
) -> tuple[np.ndarray, np.ndarray, pd.DataFrame]:
    """The channels of a key: ion counts, and the same on a scale on which 1 is bright in every channel.

    Parameters
    ----------
    adata, table, layer, cofactor
        As in `debarcode`.

    Returns
    -------
    (events, channels) counts, none below 0; ``arcsinh(counts / cofactor)`` over the 95th percentile of its channel;
    the key, checked.

    Raises
    ------
    MissingKeyError, TypeError, ValueError
        As in `debarcode`.

    Examples
    --------
    >>> import anndata, numpy as np, pandas as pd
    >>> from scmods import scyan
    >>> code = pd.DataFrame([[1.0, -1.0], [-1.0, 1.0]], index=["A1", "A2"], columns=["102", "104"])
    >>> x = np.array([[90.0, 2.0], [3.0, 70.0]], dtype=np.float32)
    >>> counts, scaled, key = scyan.barcode_signal(anndata.AnnData(x, var=pd.DataFrame(index=["102", "104"])), code)
    >>> counts.shape, scaled.shape, key.shape
    ((2, 2), (2, 2), (2, 2))
    """
    _checks.number("cofactor", cofactor, 1e-12)
    x, table = _read(adata, table, layer, transformed=False)
    _check_codes(table.to_numpy())
    x = np.maximum(x, 0)
    y = np.arcsinh(x / cofactor)
    top = np.quantile(y, 0.95, axis=0)
    if (top == 0).any():
        dark = [str(c) for c, t in zip(table.columns, top, strict=True) if t == 0]
        _checks.fail(f"Channels without signal in 95 % of the events: {_checks.listing(dark)}. Drop them.")
    return x, y / top, table


def debarcode(
    adata: AnnData,
    table: pd.DataFrame | None = None,
    *,
    layer: str | None = None,
    cofactor: float = 10.0,
    gap: float = 0.3,
) -> Assignment:
    """Assign barcodes by the gap rule: the k brightest channels name the code, if the next one is clearly darker.

    Parameters
    ----------
    adata
        Events with ion counts, not transformed; values below 0 count as 0.
    table
        Codes x channels, -1 and 1 without gaps, the same number k of 1 in every row; ``uns["table"]`` by default.
    layer
        Layer to read; None for ``X``.
    cofactor
        Intensities become ``arcsinh(x / cofactor)``, divided by the 95th percentile of the channel.
    gap
        Least difference between the k-th and the next channel on that scale.

    Returns
    -------
    `Assignment`; the score of a code is the lowest of its channels less the highest of the others, so that the label
    is given where the best score reaches `gap`.

    Raises
    ------
    MissingKeyError, TypeError, ValueError
        What `check_table` and `marker_values` refuse; entries other than -1 and 1, rows with different numbers of 1;
        a channel that is 0 in 95 % of the events; `gap` or `cofactor` outside their range.

    Examples
    --------
    >>> import anndata, pandas as pd
    >>> code = pd.DataFrame([[1.0, -1.0], [-1.0, 1.0]], index=["A1", "A2"], columns=["102", "104"])
    >>> x = np.array([[90.0, 2.0], [3.0, 70.0], [80.0, 75.0]], dtype=np.float32)
    >>> debarcode(anndata.AnnData(x, var=pd.DataFrame(index=["102", "104"])), code).labels.tolist()
    ['A1', 'A2', nan]
    """
    _checks.number("gap", gap, 0.0, 10.0)
    _, y, table = barcode_signal(adata, table, layer=layer, cofactor=cofactor)
    on = table.to_numpy() > 0
    # cells x codes, one code at a time: there are few codes and the three-axis array would be large
    scores = np.stack([y[:, row].min(axis=1) - y[:, ~row].max(axis=1) for row in on], axis=1)
    return _assignment(adata, table, scores, scores.max(axis=1) >= gap)


def _check_codes(rho: np.ndarray) -> None:
    if not np.isin(rho, (-1, 1)).all():
        _checks.fail(
            "A key of barcodes must hold -1 and 1 only, without gaps.",
            "A key of 0 and 1 is read with `scyan.read_table(key, coding='binary')`.",
        )
    n_on = (rho > 0).sum(axis=1)
    if len(set(n_on)) > 1 or not 0 < n_on[0] < rho.shape[1]:
        _checks.fail(
            f"The codes have {_checks.listing(sorted(set(n_on)))} channels that are on,",
            f"but all must have the same number between 1 and {rho.shape[1] - 1}.",
            "Use `scyan.marker_mixture(adata, table)` for codes of unequal weight.",
        )
