"""Checks of a field of groups x spots, shared by the loss modules."""

from __future__ import annotations

import torch
from torch import Tensor

from scmods import _checks

__all__ = ["check_field", "refuse_not_finite"]


def check_field(coefs: Tensor, spots: int | None = None, matrices: int = 1) -> Tensor:
    """The field, or an error that names the expected shape; `spots` None accepts any number."""
    if not isinstance(coefs, Tensor) or not coefs.is_floating_point():
        kind = f"a tensor of {coefs.dtype}" if isinstance(coefs, Tensor) else f"a {type(coefs).__name__}"
        _checks.fail(
            f"`coefs` is {kind}, but must be a floating-point tensor of shape (groups, spots).",
            "Convert it: torch.as_tensor(coefs, dtype=torch.float64).",
            kind=TypeError,
        )
    shape = tuple(coefs.shape)
    expected = "(groups, spots)" if spots is None else f"(groups, spots) with {spots} spots"
    if len(shape) != 2:
        fix = "For one group write coefs[None, :]." if len(shape) == 1 else ""
        _checks.fail(f"`coefs` has shape {shape}, but must be {expected}.", fix)
    if spots is not None and shape[1] != spots:
        turned = "It looks transposed: pass coefs.T." if shape[0] == spots else ""
        _checks.fail(f"`coefs` has shape {shape}, but must be {expected}.", turned)
    if matrices not in (1, shape[0]):
        _checks.fail(
            f"There are {matrices} spatial weight matrices for {shape[0]} groups.",
            "Pass one matrix for all groups, or a list of one per row of `coefs`.",
        )
    return coefs


def refuse_not_finite(loss: Tensor, coefs: Tensor) -> Tensor:
    """The loss, or an error that names the first entry of `coefs` that spoilt it."""
    if not torch.isfinite(loss):
        bad = (~torch.isfinite(coefs.detach())).nonzero()
        if len(bad):
            _checks.fail(
                f"`coefs` holds {len(bad)} values that are NaN or infinite; first at group {int(bad[0, 0])}, "
                f"spot {int(bad[0, 1])}.",
                "Lower the learning rate, or drop that spot before the model.",
            )
        largest = float(coefs.detach().abs().max())
        _checks.fail(f"The loss is {float(loss.detach()):g}: entries of `coefs` up to {largest:g} overflow.")
    return loss
