"""The values of the markers, looked at once before anything is computed from them."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from scmods import _arrays, _checks
from scmods.scyan._chunks import CHUNK, chunks

if TYPE_CHECKING:
    from anndata import AnnData

__all__ = ["check_values", "marker_positions", "marker_values", "refuse_raw"]

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


class _Seen:
    """What must be known of every marker before values are used, gathered block by block."""

    def __init__(self, names: Sequence[str]) -> None:
        self.names, self.n, self.bad = list(names), 0, np.zeros(len(names), dtype=np.intp)
        self.low, self.high = np.full(len(names), np.inf), np.full(len(names), -np.inf)
        self.mean, self.spread = np.zeros(len(names)), np.zeros(len(names))

    def add(self, block: np.ndarray) -> None:
        """Take a block of cells into account; the moments by Chan's update."""
        self.bad += (~np.isfinite(block)).sum(axis=0)
        if not len(block) or self.bad.any():
            return
        self.low = np.minimum(self.low, block.min(axis=0))
        self.high = np.maximum(self.high, block.max(axis=0))
        total, delta = self.n + len(block), block.mean(axis=0) - self.mean
        self.spread += len(block) * (block.var(axis=0) + delta**2 * (self.n / total))
        self.mean += delta * (len(block) / total)
        self.n = total

    @property
    def largest(self) -> np.ndarray:
        """Largest absolute value of every marker."""
        return np.maximum(np.maximum(-self.low, self.high), 0.0)

    def refuse_not_finite(self) -> None:
        """Refuse NaN and infinite values, with their number by marker."""
        if self.bad.any():
            where = [f"{self.names[j]} ({self.bad[j]})" for j in np.flatnonzero(self.bad)]
            _checks.fail(
                f"The markers hold {self.bad.sum()} values that are NaN or infinite: {_checks.listing(where, 5)}.",
                "Expected finite numbers. Drop these cells:",
                "`adata = adata[numpy.isfinite(adata.X).all(axis=1)].copy()`.",
            )

    def refuse_constant(self) -> None:
        """Refuse markers with one value."""
        constant = [self.names[j] for j in np.flatnonzero(self.low == self.high)] if self.n > 1 else []
        if constant:
            _checks.fail(
                f"{len(constant)} markers have the same value in every cell: {_checks.listing(constant)}.",
                "They carry no information and cannot be scaled. Drop them from the table and from the data:",
                "`adata = adata[:, numpy.ptp(adata.X, axis=0) > 0].copy()`.",
            )

    def warn_of_scale(self) -> None:
        """Warn of markers that look unscaled."""
        std = np.sqrt(self.spread / max(self.n, 1))
        odd = np.flatnonzero((std < UNSCALED[0]) | (std > UNSCALED[1])) if self.n > 1 else ()
        if len(odd):
            shown = [f"{self.names[j]} ({std[j]:.3g})" for j in odd]
            _checks.warn(
                f"Standard deviations far from 1: {_checks.listing(shown, 5)}. Scale first: `scyan.scale(adata)`.",
                level=4,
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
    _refuse_large(np.abs(values).max(axis=0, initial=0.0), names)


def _refuse_large(largest: np.ndarray, names: Sequence[str]) -> None:
    j = int(largest.argmax())
    if largest[j] > RAW:
        _checks.fail(
            f"The largest value is {largest[j]:.4g}, marker {names[j]!r}: these look like raw intensities.",
            "Expected transformed and scaled values. Mass cytometry: `scyan.asinh_transform(adata, cofactor=5)`;",
            "flow cytometry: `scyan.logicle_transform(adata)`; then `scyan.scale(adata)`.",
        )


def _refuse_few(adata: AnnData, smallest: int) -> None:
    if adata.n_obs < smallest or adata.n_obs == 0:
        _checks.fail(
            f"`adata` has {adata.n_obs} cells, but at least {max(1, smallest)} are needed.",
            "Look at the filter before this call.",
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
    _refuse_few(adata, smallest)
    names = [str(v) for v in (adata.var_names if markers is None else markers)]
    at, seen = marker_positions(adata, names), _Seen(names)
    values = np.empty((adata.n_obs, len(names)))
    for rows, block in _blocks(_arrays.matrix(adata, layer)):
        values[rows] = block[:, at]
        seen.add(values[rows])
    seen.refuse_not_finite()
    if not allow_constant:
        seen.refuse_constant()
    if transformed:
        _refuse_large(seen.largest, names)
        seen.warn_of_scale()
    return values


def check_values(adata: AnnData, markers: Sequence[str], *, layer: str | None = None) -> None:
    """Refuse and warn as `marker_values` with ``allow_constant``, chunk by chunk, and keep nothing.

    Parameters
    ----------
    adata, markers, layer
        As there.
    """
    _refuse_few(adata, 1)
    at, seen = marker_positions(adata, markers), _Seen(markers)
    for _, part in chunks(adata):
        for _, block in _blocks(_arrays.matrix(part, layer)):
            seen.add(block[:, at])
    seen.refuse_not_finite()
    _refuse_large(seen.largest, markers)
    seen.warn_of_scale()


def _blocks(matrix: Any) -> Iterator[tuple[slice, np.ndarray]]:
    most = max(1, _arrays.BLOCK_BYTES // (8 * max(1, matrix.shape[1])))
    return _arrays.blocks(matrix, size=min(CHUNK, most))
