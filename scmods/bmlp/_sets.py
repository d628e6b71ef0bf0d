"""Cells and targets handed to the estimators: any kind of data set in, checked tensors out."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from scmods import _checks

if TYPE_CHECKING:
    from torch.utils.data import Dataset

__all__ = ["classes", "outputs", "tensors"]


def _pair(what: str, data: Dataset | tuple[Tensor, Tensor]) -> tuple[Any, Any]:
    """Inputs and targets of a data set: gathered at once from a TensorDataset, row by row from another one."""
    from torch.utils.data import Subset, TensorDataset

    rows = data.tensors if isinstance(data, TensorDataset) else data
    if isinstance(data, Subset) and isinstance(data.dataset, TensorDataset):
        rows = data.dataset[torch.as_tensor(data.indices, dtype=torch.long)]
    if isinstance(rows, tuple) and len(rows) == 2:
        return rows
    if isinstance(rows, tuple) or not hasattr(data, "__len__") or not hasattr(data, "__getitem__"):
        held = f" of {len(rows)}" if isinstance(rows, tuple) else ""
        _checks.fail(
            f"The {what} set is a {type(data).__name__}{held}, but must be a pair of tensors or a torch data set",
            f"with a length. Write {what}=(x, y), with shapes (cells, genes) and (cells, outputs).",
            kind=ValueError if held else TypeError,
        )
    if not len(data):
        return torch.zeros(0, 1), torch.zeros(0, 1)
    found = [data[i] for i in range(len(data))]
    return tuple(torch.stack([torch.as_tensor(row[k]) for row in found]) for k in (0, 1))


def tensors(
    what: str, data: Dataset | tuple[Tensor, Tensor], d_input: int, dtype: torch.dtype
) -> tuple[Tensor, Tensor]:
    """Checked inputs in the type of the weights, and checked targets."""
    x, y = (
        v if isinstance(v, Tensor) else torch.as_tensor(_checks.numeric(f"The {what} {name}", v))
        for v, name in zip(_pair(what, data), ("cells", "targets"), strict=True)
    )
    if len(x) == 0:
        _checks.fail(
            f"The {what} set has no cells.",
            "Both sets need at least one: split by bmlp.split(adata, fractions=(0.7, 0.15, 0.15)).",
        )
    if x.ndim != 2 or x.shape[1] != d_input:
        _checks.fail(
            f"The {what} cells have shape {tuple(x.shape)}, but Config(d_input={d_input}) expects (cells, {d_input}).",
            f"Write Config(d_input={x.shape[-1]}), or give the genes that the model was made for, in their order.",
        )
    if len(y) != len(x):
        _checks.fail(
            f"The {what} set has {len(x)} cells, but {len(y)} targets; each cell needs one.",
            f"Select both with the same rows: {what}=(x[rows], y[rows]).",
        )
    for name, values in (("cells", x), ("targets", y)):
        bad = int((~torch.isfinite(values)).sum())
        if bad:
            _checks.fail(
                f"The {what} {name} hold {bad} values that are NaN or infinite. Expected finite numbers.",
                "Drop those cells, x[keep] and y[keep], or fill them before the call.",
            )
    return x.to(dtype), y


def outputs(what: str, y: Tensor, d_output: int, dtype: torch.dtype) -> Tensor:
    """Targets as (cells, outputs) in the type of the weights."""
    y = y[:, None] if y.ndim == 1 else y
    if y.ndim != 2 or y.shape[1] != d_output:
        _checks.fail(
            f"The {what} targets have {y.shape[-1]} columns, but Config(d_output={d_output}).",
            f"Write Config(d_output={y.shape[-1]}).",
        )
    return y.to(dtype)


def classes(what: str, y: Tensor) -> Tensor:
    """Class numbers as a vector of whole numbers."""
    if y.ndim > 2 or (y.ndim == 2 and y.shape[1] != 1):
        _checks.fail(
            f"The {what} labels have shape {tuple(y.shape)}, but must be one class number per cell.",
            "From one column per class: y.argmax(dim=1).",
        )
    if bool((y != y.round()).any() if y.is_floating_point() else False):
        _checks.fail(
            f"The {what} labels hold {float(y[y != y.round()][0]):g}, but must be whole numbers 0, 1, ...",
            "From names of classes: torch.as_tensor(adata.obs['cell_type'].cat.codes.to_numpy(copy=True)).",
        )
    return y.long().reshape(-1)
