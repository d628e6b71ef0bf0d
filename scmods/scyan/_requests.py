"""What a caller may write for populations and covariates, brought to one form or refused by name."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from jaxtyping import Float, Int
from torch import Tensor

from scmods import _checks

__all__ = ["covariate_rows", "populations"]


def covariate_rows(
    covariates: Tensor | None, like: Float[Tensor, "cells markers"], width: int
) -> Float[Tensor, "cells covariates"]:
    """Covariates with one row per cell; a single row is repeated.

    Parameters
    ----------
    covariates
        One row per cell, one row for all, or None if there are no covariates.
    like
        The cells, for their number, device and dtype.
    width
        Number of covariates.

    Raises
    ------
    ValueError
        If the shape is another one.
    """
    n = len(like)
    if covariates is None:
        if width:
            _checks.fail(
                f"`covariates` is None, but the module was made for {width} covariates.",
                f"Pass a tensor of shape ({n}, {width}), or one row for all cells.",
            )
        return like.new_zeros(n, 0)
    shape = tuple(covariates.shape)
    if covariates.ndim == 1:
        covariates = covariates[None]
    if covariates.ndim != 2 or covariates.shape[1] != width or covariates.shape[0] not in (1, n):
        _checks.fail(
            f"`covariates` has shape {shape}, but must have shape ({n}, {width}): one row per cell,",
            f"or ({width},): one row for all.",
        )
    return covariates.to(like.device, like.dtype).expand(n, width)


def _position(z: Any, n_pops: int, names: Sequence[str] | None) -> int:
    """Row of the table of one population, given by number or name."""
    valid = f"whole numbers from 0 to {n_pops - 1}"
    if isinstance(z, str):
        if names is None:
            _checks.fail(
                f"`z` is {z!r}, but this module has no names of populations.",
                f"Use {valid}, or make it with names=[...].",
            )
        if z not in names:
            _checks.fail(
                f"`z` names the population {z!r}, which is not in the table.",
                f"Available: {_checks.listing(names)}.",
                _checks.nearest(z, names),
            )
        return list(names).index(z)
    if getattr(z, "ndim", None) == 0:
        z = z.item()
    if isinstance(z, bool) or not hasattr(z, "__index__"):
        _checks.fail(
            f"`z` holds {z!r} of type {type(z).__name__}, but must hold {valid}.",
            "Convert an array or tensor with `z.astype(int)` or `z.long()`.",
            kind=TypeError,
        )
    if not 0 <= z < n_pops:
        _checks.fail(f"`z` holds {z}, but must hold {valid}, the rows of the table.")
    return int(z)


def populations(z: Any, n: int, n_pops: int, names: Sequence[str] | None = None) -> Int[Tensor, " cells"]:
    """Row of the table of each of `n` cells.

    Parameters
    ----------
    z
        One number or name for all cells, or a list, array or tensor with one per cell.
    n
        Number of cells.
    n_pops
        Number of rows of the table.
    names
        Names of the rows, if there are any.

    Raises
    ------
    TypeError, ValueError
        If something is no row of the table, or the number of entries is not `n`.

    Examples
    --------
    >>> populations("T", 2, 3, ["B", "T", "NK"])
    tensor([1, 1])
    >>> populations([0, 2], 2, 3)
    tensor([0, 2])
    """
    if isinstance(z, str) or getattr(z, "ndim", None) == 0 or not hasattr(z, "__len__"):
        return torch.full((n,), _position(z, n_pops, names))
    if getattr(z, "ndim", 1) != 1:
        _checks.fail(f"`z` has shape {tuple(z.shape)}, but must have one entry per cell, shape ({n},).")
    entries = z.tolist() if hasattr(z, "tolist") else list(z)
    if len(entries) != n:
        _checks.fail(
            f"`z` has {len(entries)} entries, but {n} cells are asked for.",
            f"Pass one population for all, or n_samples={len(entries)}.",
        )
    return torch.tensor([_position(one, n_pops, names) for one in entries], dtype=torch.int64)
