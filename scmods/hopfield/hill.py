"""Hill functions of the genes of an AnnData, and the points that a figure of them needs."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np
import torch

from scmods import _arrays, _checks
from scmods.hopfield import checks, core, hill_curves
from scmods.hopfield.keys import Keys

if TYPE_CHECKING:
    import pandas as pd
    from anndata import AnnData

COLUMNS = ("gene", "expression", "share", "fitted", "threshold", "exponent")

__all__ = ["fit_hill", "hill_table"]

BLOCK_BYTES = 64 * 2**20
MOMENTS_FIX = "Smooth the counts first: `hopfield.moments(adata)`, or name a layer: layer='...'."


def _genes(adata: AnnData, keys: Keys) -> np.ndarray:
    """Positions of the genes marked as used, all where nothing is marked."""
    if keys.used not in adata.var:
        return np.arange(adata.n_vars)
    column = adata.var[keys.used]
    if column.dtype != bool:
        _checks.fail(
            f"`adata.var[{keys.used!r}]` has type {column.dtype}, but must be bool without missing values.",
            f"Mark the genes again: `hopfield.select_genes(adata, key_added={keys.key_added!r})`.",
            kind=TypeError,
        )
    genes = np.flatnonzero(column.to_numpy())
    if not len(genes):
        _checks.fail(
            f"`adata.var[{keys.used!r}]` marks no gene.",
            "Mark some: `hopfield.select_genes(adata)`, or delete the column to use all genes.",
        )
    return genes


def _read(adata: AnnData, layer: str | None, genes: np.ndarray) -> torch.Tensor:
    """(cells, genes) float64 expression of the genes."""
    x = _arrays.matrix(adata, layer)
    return torch.as_tensor(np.concatenate([block[:, genes] for _, block in _arrays.blocks(x)]))


def _checked(adata: AnnData, layer: str | None, genes: np.ndarray) -> None:
    if layer is not None:
        _checks.key(adata, "layers", layer, MOMENTS_FIX)
    checks.expression(adata, layer, genes)


def fit_hill(
    adata: AnnData,
    *,
    layer: str | None = "Ms",
    max_exponent: float = 8.0,
    key_added: str = "hopfield",
    copy: bool = False,
) -> AnnData | None:
    r"""Fit the activation of every gene, :math:`\varphi(x) = x^n / (x^n + k^n)`, to the distribution of its values.

    :math:`\varphi(x)` is read as the share of the expressing cells that express less than x; cells with exact zeros do
    not enter, see `scmods.hopfield.hill_curves`.

    Parameters
    ----------
    adata
        Cells. Only the genes that ``var["hopfield_used"]`` marks are fitted where that column exists.
    layer
        Expression that the field will be fitted on, not logged, not negative; None for ``X``.
    max_exponent
        Largest n, above 1.001.
    key_added
        Prefix of the columns.
    copy
        Return a changed copy instead of changing `adata`.

    Returns
    -------
    ``None`` or the copy, with the float64 columns of ``var``, NaN for genes that are not fitted,

    ``hopfield_threshold``
        k in (0, largest value], unit of `layer`; 1 for a gene that no cell expresses.
    ``hopfield_exponent``
        n in [1.001, `max_exponent`]; 2 where fewer than 5 cells express the gene, or all alike (k is then
        their median).
    ``hopfield_hill_mse``
        Mean squared distance of curve and distribution; NaN for a gene that no cell expresses.

    Raises
    ------
    MissingKeyError
        The layer does not exist.
    ValueError
        NaN, infinite or negative values, no gene marked.

    Warns
    -----
    NumericalWarning
        Genes whose fit has not converged after 100 steps.

    Notes
    -----
    Levenberg-Marquardt for all genes at once, about 10 passes over the values of a gene. No random part.

    Examples
    --------
    >>> import anndata, numpy as np
    >>> share = (np.arange(200) + 0.5) / 200
    >>> x = 3.0 * (share / (1 - share)) ** (1 / 2)
    >>> adata = anndata.AnnData(x[:, None], layers={"Ms": x[:, None]})
    >>> fit_hill(adata)
    >>> adata.var[["hopfield_threshold", "hopfield_exponent"]].round(3).to_numpy().tolist()
    [[3.0, 2.0]]
    """
    keys = Keys(key_added)
    max_exponent = _checks.number("max_exponent", max_exponent, 1.01, why="Write max_exponent=8.0.")
    genes = _genes(adata, keys)
    _checked(adata, layer, genes)
    size = max(1, BLOCK_BYTES // (8 * max(1, adata.n_obs)))
    parts = [
        hill_curves.fit_curves(_read(adata, layer, genes[i : i + size]), max_exponent=max_exponent)
        for i in range(0, len(genes), size)
    ]
    found = hill_curves.HillFit(*(torch.cat(p) for p in zip(*parts, strict=True)))
    open_ends = np.flatnonzero(~found.converged.numpy())
    if len(open_ends):
        names = adata.var_names[genes[open_ends]]
        _checks.warn(f"The Hill fit of {len(names)} genes has not converged: {_checks.listing(names, 3)}.")
    adata = adata.copy() if copy else adata
    for name, values in zip((keys.threshold, keys.exponent, keys.hill_mse), found, strict=False):
        column = np.full(adata.n_vars, np.nan)
        column[genes] = values.numpy()
        adata.var[name] = column
    return adata if copy else None


def _fitted(adata: AnnData, var_names: Sequence[str] | str, keys: Keys) -> tuple[list[str], np.ndarray]:
    """Names and positions of genes that have a Hill function."""
    for name in (keys.threshold, keys.exponent):
        _checks.key(
            adata, "var", name, f"Fit first: `hopfield.fit_hill(adata, key_added={keys.key_added!r})`."
        )
    names = [var_names] if isinstance(var_names, str) else [str(v) for v in var_names]
    _checks.unique_names("adata.var_names", adata.var_names)
    at = adata.var_names.get_indexer(names)
    missing = [name for name, i in zip(names, at, strict=True) if i < 0]
    if missing:
        _checks.fail(
            f"Genes that are not in `adata.var_names`: {_checks.listing(missing, 3)}.",
            _checks.nearest(missing[0], adata.var_names),
            kind=_checks.MissingKeyError,
        )
    bare = [v for v, k in zip(names, adata.var[keys.threshold].to_numpy()[at], strict=True) if np.isnan(k)]
    if bare:
        _checks.fail(
            f"Genes without a Hill function: {_checks.listing(bare, 3)}. Only those were fitted that",
            f"`adata.var[{keys.used!r}]` marks. Keep them: `hopfield.select_genes(adata, keep={bare[:3]!r})`.",
        )
    return names, at


def hill_table(
    adata: AnnData,
    var_names: Sequence[str] | str,
    *,
    layer: str | None = "Ms",
    n_points: int = 200,
    key_added: str = "hopfield",
) -> pd.DataFrame:
    """Distribution and fitted curve of some genes, as a table for a figure.

    Parameters
    ----------
    adata
        Cells, after `fit_hill`.
    var_names
        Genes to show.
    layer
        Expression the curves were fitted on.
    n_points
        Most points per gene, spread evenly over the expressing cells in the order of their expression; the first
        and the last are among them.
    key_added
        Prefix that `fit_hill` was given.

    Returns
    -------
    One row per point: ``gene``, ``expression``, ``share`` (of the expressing cells at or below it, ties at their mean
    rank), ``fitted`` (the curve there), ``threshold``, ``exponent``. A gene that no cell expresses has no row.

    Raises
    ------
    MissingKeyError
        Genes, layer or columns do not exist.
    ValueError
        Genes that were not fitted; values that `fit_hill` refuses.

    Examples
    --------
    >>> from scmods import hopfield
    >>> adata = hopfield.toggle(5, 8)
    >>> hopfield.fit_hill(adata)
    >>> sorted(set(hopfield.hill_table(adata, ["A"])["gene"]))
    ['A']
    """
    import pandas as pd

    keys = Keys(key_added)
    n_points = _checks.integer("n_points", n_points, 2)
    names, at = _fitted(adata, var_names, keys)
    _checked(adata, layer, at)
    x, share = hill_curves.distribution(_read(adata, layer, at))
    k, n = (torch.as_tensor(adata.var[c].to_numpy(float)[at]) for c in (keys.threshold, keys.exponent))
    curve = core.activation(x, k, n)
    parts = []
    for i, name in enumerate(names):
        rows = _spread(np.flatnonzero(x[:, i].numpy() > 0), n_points)
        values = {"expression": x[rows, i], "share": share[rows, i], "fitted": curve[rows, i]}
        table = pd.DataFrame({c: v.numpy() for c, v in values.items()})
        parts.append(table.assign(gene=name, threshold=float(k[i]), exponent=float(n[i])))
    if not parts:
        _checks.fail("`var_names` is empty. Name genes to show: var_names=['...'].")
    return pd.concat(parts, ignore_index=True)[list(COLUMNS)]


def _spread(rows: np.ndarray, n_points: int) -> np.ndarray:
    """At most that many of the rows, evenly, the first and the last among them."""
    if len(rows) <= n_points:
        return rows
    return rows[np.linspace(0, len(rows) - 1, n_points).round().astype(int)]
