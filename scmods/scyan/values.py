"""The values of the markers, looked at once before anything is computed from them."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING

import numpy as np

from scmods import _arrays, _checks

if TYPE_CHECKING:
    from anndata import AnnData

__all__ = ["marker_positions", "marker_values", "refuse_raw"]

RAW = 100.0  # a largest value above this belongs to intensities, not to values on a compressed scale
UNSCALED = (0.2, 5.0)  # standard deviations outside this range belong to values that were not scaled


def marker_positions(adata: AnnData, markers: Iterable[str]) -> np.ndarray:
    """Positions of markers among the variables.

    Parameters
    ----------
    adata
        Cells.
    markers
        Names.

    Returns
    -------
    (markers,) integers.

    Raises
    ------
    MissingKeyError
        If a marker is not in ``var_names``; with the closest name.
    ValueError
        If ``var_names`` or `markers` holds a name twice.
    """
    _checks.unique_names("adata.var_names", adata.var_names)
    wanted = [str(m) for m in markers]
    _checks.unique_names("markers", wanted)
    at = adata.var_names.astype(str).get_indexer(wanted)
    missing = [m for m, i in zip(wanted, at, strict=True) if i < 0]
    if missing:
        _checks.fail(
            f"{len(missing)} markers are not in `adata.var_names`: {_checks.listing(missing, 5)}.",
            f"Available: {_checks.listing(adata.var_names, 12)}.",
            _checks.nearest(missing[0], adata.var_names),
            "`scyan.lint_table(table, adata.var_names)` proposes a name for each.",
            kind=_checks.MissingKeyError,
        )
    return at


def _refuse_not_finite(values: np.ndarray, names: Sequence[str]) -> None:
    bad = ~np.isfinite(values)
    if bad.any():
        each = bad.sum(axis=0)
        where = [f"{names[j]} ({each[j]})" for j in np.flatnonzero(each)]
        _checks.fail(
            f"The markers hold {int(bad.sum())} values that are NaN or infinite: {_checks.listing(where, 5)}.",
            "Expected finite numbers. Drop these cells:",
            "`adata = adata[numpy.isfinite(adata.X).all(axis=1)].copy()`.",
        )


def refuse_raw(values: np.ndarray, names: Sequence[str]) -> None:
    """Refuse values that look like raw intensities.

    Parameters
    ----------
    values
        (cells, markers).
    names
        Names of the markers.
    """
    largest = np.abs(values).max(axis=0, initial=0.0)
    j = int(largest.argmax())
    if largest[j] > RAW:
        _checks.fail(
            f"The largest value is {largest[j]:.4g}, marker {names[j]!r}: these look like raw intensities.",
            "Expected transformed and scaled values. Mass cytometry: `scyan.asinh_transform(adata, cofactor=5)`;",
            "flow cytometry: `scyan.logicle_transform(adata)`; then `scyan.scale(adata)`.",
        )


def _refuse_constant(values: np.ndarray, names: Sequence[str]) -> None:
    if len(values) < 2:
        return
    constant = [names[j] for j in np.flatnonzero(values.min(axis=0) == values.max(axis=0))]
    if constant:
        _checks.fail(
            f"{len(constant)} markers have the same value in every cell: {_checks.listing(constant)}.",
            "They carry no information and cannot be scaled. Drop them from the table and from the data:",
            "`adata = adata[:, numpy.ptp(adata.X, axis=0) > 0].copy()`.",
        )


def marker_values(
    adata: AnnData,
    markers: Iterable[str] | None = None,
    *,
    layer: str | None = None,
    transformed: bool = True,
    allow_constant: bool = False,
    smallest: int = 1,
) -> np.ndarray:
    """The values of some markers as a dense float64 array, after every value was looked at.

    Parameters
    ----------
    adata
        Cells; sparse, integer, half precision, views and backed files are all right.
    markers
        Names; all variables by default.
    layer
        Name of the layer; None for ``X``.
    transformed
        Refuse values that look like raw intensities, and warn about a scale far from 1.
    allow_constant
        Accept markers with one value in every cell.
    smallest
        Fewest cells that make sense, for instance the number of populations.

    Returns
    -------
    (cells, markers) float64, the markers in the order asked for.

    Raises
    ------
    MissingKeyError
        If there is no such layer or marker.
    TypeError
        If the values are no numbers.
    ValueError
        Fewer cells than `smallest`; NaN or infinite values, raw intensities, constant markers (each by name).

    Warns
    -----
    NumericalWarning
        If markers have a standard deviation outside [0.2, 5].

    Examples
    --------
    >>> import anndata, numpy as np, pandas as pd
    >>> adata = anndata.AnnData(np.array([[-1, 1], [1, -1]]), var=pd.DataFrame(index=["CD3", "CD19"]))
    >>> marker_values(adata, ["CD19", "CD3"])
    array([[ 1., -1.],
           [-1.,  1.]])
    """
    if adata.n_obs < smallest or adata.n_obs == 0:
        _checks.fail(
            f"`adata` has {adata.n_obs} cells, but at least {max(1, smallest)} are needed.",
            "Look at the filter before this call.",
        )
    names = [str(v) for v in (adata.var_names if markers is None else markers)]
    at = marker_positions(adata, names)
    matrix = _arrays.matrix(adata, layer)
    values = np.concatenate([block[:, at] for _, block in _arrays.blocks(matrix)])
    _refuse_not_finite(values, names)
    if not allow_constant:
        _refuse_constant(values, names)
    if transformed:
        refuse_raw(values, names)
        _warn_scale(values, names)
    return values


def _warn_scale(values: np.ndarray, names: Sequence[str]) -> None:
    std = values.std(axis=0)
    odd = np.flatnonzero((std < UNSCALED[0]) | (std > UNSCALED[1])) if len(values) > 1 else np.array([], int)
    if len(odd):
        shown = [f"{names[j]} ({std[j]:.3g})" for j in odd]
        _checks.warn(
            f"Standard deviations far from 1: {_checks.listing(shown, 5)}. Scale first: `scyan.scale(adata)`.",
            level=4,
        )
