"""From intensities to the scale of the table: asinh or logicle, then scaling; recorded, repeatable, reversible."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING, Any

import numpy as np

from scmods import _arrays, _checks
from scmods.scyan._logicle import automatic
from scmods.scyan._state import KEY, TransformState
from scmods.scyan.values import marker_positions, marker_values, refuse_raw

if TYPE_CHECKING:
    from anndata import AnnData

__all__ = [
    "TransformState",
    "apply_transform",
    "asinh_transform",
    "inverse_transform",
    "logicle_transform",
    "scale",
    "unscale",
]


def _refuse_twice(adata: AnnData) -> None:
    state = TransformState.of(adata)
    if state is not None:
        how = state.method + (" and scaled" if state.is_scaled else "")
        _checks.fail(
            f"`adata` was transformed before ({how}, see `adata.uns[{KEY!r}]`); a second transform would distort it.",
            "Go back first: `adata.X = scyan.inverse_transform(adata)` and",
            f"`del adata.uns[{KEY!r}]`.",
        )


def _names(adata: AnnData, markers: Iterable[str] | None) -> list[str]:
    return [str(v) for v in (adata.var_names if markers is None else markers)]


def _write(adata: AnnData, values: np.ndarray, markers: list[str], state: TransformState) -> None:
    """Put the columns of the markers into a dense float32 X and record the state."""
    if markers == [str(v) for v in adata.var_names]:
        adata.X = values.astype(np.float32)
    else:
        x = _arrays.dense(adata.X, dtype=np.float32)
        x[:, marker_positions(adata, markers)] = values
        adata.X = x
    adata.uns[KEY] = state.to_uns()


def asinh_transform(
    adata: AnnData,
    *,
    cofactor: float = 5.0,
    translation: float = 0.0,
    markers: Iterable[str] | None = None,
    copy: bool = False,
) -> AnnData | None:
    r"""Inverse hyperbolic sine of the intensities, :math:`\operatorname{arcsinh}((x - t) / c)`.

    Parameters
    ----------
    adata
        Cells with intensities in ``X``.
    cofactor
        :math:`c`, where the scale turns from linear to logarithmic: 5 for mass cytometry, about 150 for flow.
    translation
        :math:`t`, subtracted first.
    markers
        Names of the markers to transform; all by default. Others keep their values.
    copy
        Return a changed copy and leave `adata` alone.

    Returns
    -------
    None, or the copy. Written: ``X`` (float32, dense), ``uns["scyan_transform"]`` (parameters per marker).

    Raises
    ------
    MissingKeyError, ValueError
        If a marker does not exist, is constant or not finite, if the values were transformed before, or if
        `cofactor` is not positive.

    Examples
    --------
    >>> import anndata, numpy as np
    >>> adata = anndata.AnnData(np.array([[0.0], [5.0]], dtype=np.float32))
    >>> asinh_transform(adata, copy=True).X.ravel().round(4).tolist()
    [0.0, 0.8813999891281128]
    """
    _checks.number("cofactor", cofactor, 1e-12, why="Mass cytometry uses 5, flow cytometry about 150.")
    _checks.number("translation", translation)
    _refuse_twice(adata)
    names = _names(adata, markers)
    adata = adata.copy() if copy else adata
    x = marker_values(adata, names, transformed=False)
    ones = np.ones(len(names))
    state = TransformState("asinh", tuple(names), cofactor * ones, translation * ones)
    _write(adata, state.forward(x, names), names, state)
    return adata if copy else None


def logicle_transform(
    adata: AnnData,
    *,
    quantile: float = 0.05,
    decades: float = 4.5,
    markers: Iterable[str] | None = None,
    copy: bool = False,
) -> AnnData | None:
    """Logicle scale with a width chosen per marker: linear around 0, logarithmic beyond; for flow and spectral data.

    Parameters
    ----------
    adata
        Cells with intensities in ``X``, compensated; negative values are expected.
    quantile
        The linear part reaches to this quantile of the negative values of the marker, outliers left out.
    decades
        Decades of the scale below the largest value.
    markers
        Names of the markers to transform; all by default. Others keep their values.
    copy
        Return a changed copy and leave `adata` alone.

    Returns
    -------
    None, or the copy. Written: ``X`` (float32, dense; the largest value of a marker is 1, zero intensity lies at
    width / decades), ``uns["scyan_transform"]`` (top and width per marker).

    Raises
    ------
    MissingKeyError, ValueError
        If a marker does not exist, is constant, not finite or never positive, if the values were transformed before,
        or if a number is outside its range.

    Notes
    -----
    Without negative values the linear part is half a decade wide; it never exceeds two decades.

    Examples
    --------
    >>> import anndata, numpy as np
    >>> x = np.random.default_rng(0).normal(0, 50, (100, 1)) + 1e4 * (np.arange(100)[:, None] % 2)
    >>> float(logicle_transform(anndata.AnnData(x), copy=True).X.max().round(3))
    1.0
    """
    _checks.number("quantile", quantile, 0.0, 1.0)
    _checks.number("decades", decades, 1.0, 10.0)
    _refuse_twice(adata)
    names = _names(adata, markers)
    adata = adata.copy() if copy else adata
    x = marker_values(adata, names, transformed=False)
    never = [n for n, top in zip(names, x.max(axis=0), strict=True) if top <= 0]
    if never:
        _checks.fail(
            f"{len(never)} markers have no positive value: {_checks.listing(never, 5)}.",
            "A logicle scale needs a top. Leave them out: markers=[...].",
        )
    chosen = [automatic(x[:, j], quantile=quantile, decades=decades) for j in range(len(names))]
    first, second = (np.array([getattr(c, n) for c in chosen]) for n in ("top", "width"))
    state = TransformState("logicle", tuple(names), first, second, float(decades))
    _write(adata, state.forward(x, names), names, state)
    return adata if copy else None


def scale(
    adata: AnnData, *, center: bool | None = None, max_value: float = 10.0, copy: bool = False
) -> AnnData | None:
    """Bring every marker to unit variance, with negative cells near -1.

    Parameters
    ----------
    adata
        Transformed cells.
    center
        True: ``(x - mean) / std``. False: ``x / std - 1``, which sends an intensity of 0 to -1. By default False
        after `asinh_transform` and True otherwise.
    max_value
        Cut at this absolute value.
    copy
        Return a changed copy and leave `adata` alone.

    Returns
    -------
    None, or the copy. Written: ``X`` (float32, dense), ``uns["scyan_transform"]`` (center and std per marker).
    Markers that were left out of the transform keep their values.

    Raises
    ------
    ValueError
        If the values were scaled before, look like raw intensities, are constant or not finite; `max_value` below 1.

    Examples
    --------
    >>> import anndata, numpy as np
    >>> adata = anndata.AnnData(np.array([[0.0], [5.0], [50.0]], dtype=np.float32))
    >>> asinh_transform(adata); scale(adata)
    >>> adata.X.ravel()[0].item(), adata.X.std().round(4).item()
    (-1.0, 1.0)
    """
    _checks.number("max_value", max_value, 1.0)
    state = TransformState.of(adata)
    if state is not None and state.is_scaled:
        _checks.fail(
            f"`adata` was scaled before (see `adata.uns[{KEY!r}]`); scaling twice would distort it.",
            "Go back first: `adata.X = scyan.inverse_transform(adata)` and",
            f"`del adata.uns[{KEY!r}]`.",
        )
    names = list(state.markers) if state is not None else _names(adata, None)
    state = state or TransformState("none", tuple(names), np.ones(len(names)), np.zeros(len(names)))
    adata = adata.copy() if copy else adata
    names = [n for n in names if n in adata.var_names]
    x = marker_values(adata, names, transformed=False)
    refuse_raw(x, names)
    kept = state.at(names)
    state = TransformState(state.method, tuple(names), state.first[kept], state.second[kept], state.decades)
    centered = state.method != "asinh" if center is None else center
    std = x.std(axis=0)
    state = state.with_scale(x.mean(axis=0) if centered else std, std, float(max_value))
    _write(adata, state.scale(x, names), names, state)
    return adata if copy else None


def _recorded(adata: AnnData) -> TransformState:
    state = TransformState.of(adata)
    if state is None:
        _checks.fail(
            f"`adata.uns[{KEY!r}]` does not exist, so nothing is known of a transform.",
            "Transform with `scyan.asinh_transform(adata)` or `scyan.logicle_transform(adata)` first.",
            kind=_checks.MissingKeyError,
        )
    return state


def _given(
    adata: AnnData, state: TransformState, values: Any, markers: Iterable[str] | None
) -> tuple[np.ndarray, list[str]]:
    """The values to undo and the names of their columns."""
    names = (
        [n for n in _names(adata, None) if n in state.markers] if markers is None else list(map(str, markers))
    )
    if values is None:
        return marker_values(adata, names, transformed=False, allow_constant=True), names
    array = _checks.numeric("`values`", values)
    if array.ndim != 2 or array.shape[1] != len(names):
        _checks.fail(
            f"`values` has shape {array.shape}, but {len(names)} markers: {_checks.listing(names, 5)}.",
            "Expected one column per marker. Name the columns: markers=[...].",
        )
    return array, names


def unscale(adata: AnnData, values: Any = None, *, markers: Iterable[str] | None = None) -> np.ndarray:
    """Undo `scale`.

    Parameters
    ----------
    adata
        Scaled cells; may be a subset of the cells and markers that were scaled.
    values
        (rows, markers) scaled values of anything else, for instance corrected ones; ``X`` by default.
    markers
        Names of the columns; by default all variables that were transformed.

    Returns
    -------
    (rows, markers) float64, transformed values; those that were cut stay cut.

    Raises
    ------
    MissingKeyError, ValueError
        If nothing was recorded or scaled, if a marker has no record, or if the widths differ.

    Examples
    --------
    >>> import anndata, numpy as np
    >>> adata = anndata.AnnData(np.array([[0.5], [1.0]], dtype=np.float32))
    >>> scale(adata)
    >>> unscale(adata).ravel().tolist()
    [0.5, 1.0]
    """
    state = _recorded(adata)
    array, names = _given(adata, state, values, markers)
    return state.unscale(array, names)


def inverse_transform(
    adata: AnnData, values: Any = None, *, markers: Iterable[str] | None = None
) -> np.ndarray:
    """Intensities of transformed (and scaled) values.

    Parameters
    ----------
    adata
        Transformed cells; may be a subset of the cells and markers that were transformed.
    values
        (rows, markers) values of anything else on the same scale; ``X`` by default.
    markers
        Names of the columns; by default all variables that were transformed.

    Returns
    -------
    (rows, markers) float64, intensities.

    Raises
    ------
    MissingKeyError, ValueError
        As in `unscale`.

    Examples
    --------
    >>> import anndata, numpy as np
    >>> adata = anndata.AnnData(np.array([[0.0], [5.0], [70.0]], dtype=np.float32))
    >>> asinh_transform(adata); scale(adata)
    >>> inverse_transform(adata).ravel().round(3).tolist()
    [0.0, 5.0, 70.0]
    """
    state = _recorded(adata)
    array, names = _given(adata, state, values, markers)
    return state.backward(state.unscale(array, names) if state.is_scaled else array, names)


def apply_transform(adata: AnnData, reference: AnnData, *, copy: bool = False) -> AnnData | None:
    """Transform and scale new cells exactly as those of a reference, nothing being estimated anew.

    Parameters
    ----------
    adata
        New cells with intensities in ``X``.
    reference
        Cells that were transformed; its record is used.
    copy
        Return a changed copy and leave `adata` alone.

    Returns
    -------
    None, or the copy. Written: ``X`` (float32, dense), ``uns["scyan_transform"]``. Markers that were not transformed in
    the reference keep their values.

    Raises
    ------
    MissingKeyError, ValueError
        If the reference has no record, if a recorded marker is missing here, if `adata` was transformed before or is
        not finite.

    Examples
    --------
    >>> import anndata, numpy as np
    >>> old, new = (anndata.AnnData(np.array(x, dtype=np.float32)) for x in ([[0.0], [9.0]], [[9.0], [18.0]]))
    >>> asinh_transform(old); scale(old); apply_transform(new, old)
    >>> bool(new.X[0, 0] == old.X[1, 0])
    True
    """
    state = _recorded(reference)
    _refuse_twice(adata)
    names = list(state.markers)
    adata = adata.copy() if copy else adata
    x = marker_values(adata, names, transformed=False, allow_constant=True)
    # rounded as in the reference, whose transformed values were float32 before they were scaled
    y = state.forward(x, names).astype(np.float32).astype(np.float64)
    _write(adata, state.scale(y, names) if state.is_scaled else y, names, state)
    return adata if copy else None
