"""Passes over all cells in blocks: what is read, on which device, and what is written per cell."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING

import numpy as np
import torch

from scmods import _arrays, _checks
from scmods.hopfield import core
from scmods.hopfield.checks import CellBlock, Cells, pick_device, read
from scmods.hopfield.field import ClusterField
from scmods.hopfield.original import field_of
from scmods.hopfield.spectrum import Blocks, eigenvalues
from scmods.hopfield.vectors import all_values, decompose, leading_vectors, pack

if TYPE_CHECKING:
    from anndata import AnnData

BLOCK_VALUES = 2**19  # entries of one block of cells x genes
VECTOR_BYTES = 2**26  # of the eigenvectors of one block of cells


def device_of(device: str | torch.device) -> torch.device:
    """The device asked for, the CPU with a warning where it is missing or has no float64."""
    wanted = pick_device(device)
    if wanted.type == "mps":
        _checks.warn("'mps' has no float64; computing on the CPU.", level=4)
        return torch.device("cpu")
    return wanted


def on_device(block: CellBlock, device: torch.device) -> tuple[torch.Tensor, ClusterField]:
    """Expression and field of a block on the device."""
    return block.x.to(device), ClusterField(*(t.to(device) for t in block.field))


def read_cells(
    adata: AnnData,
    layer: str,
    cluster_key: str | None,
    degradation_key: str,
    key_added: str,
    x_floor: float,
) -> Cells:
    """The checked input, with the field of `fit` or of the original's slots."""
    field = field_of(adata, key_added, cluster_key=cluster_key, degradation_key=degradation_key)
    return read(adata, field, layer, cluster_key=cluster_key, x_floor=x_floor)


def _pieces(cells: Cells, size: int) -> Iterator[tuple[slice, list[CellBlock]]]:
    """Cells in the order of the AnnData, so that files are written from start to end; each piece by cluster."""
    for start in range(0, len(cells), size):
        part = slice(start, min(start + size, len(cells)))
        x = _arrays.read_rows(cells.matrix, part)[:, cells.genes]
        x = torch.as_tensor(np.maximum(x, cells.x_floor) if cells.x_floor else x)
        labels = cells.labels[part]
        found = [(c, np.flatnonzero(labels == c)) for c in cells.field.clusters]
        yield part, [CellBlock(c, on, x[on], cells.field.cluster(c)) for c, on in found if len(on)]


def block_size(genes: int, regs: int, n_columns: int) -> int:
    """Cells per block, so that neither expression nor eigenvectors of a block take much memory."""
    size = BLOCK_VALUES // max(1, genes)
    if n_columns:
        size = min(size, VECTOR_BYTES // (16 * (6 * regs**2 + 3 * genes * n_columns)))
    return max(1, size)


def spectra(
    cells: Cells, size: int, device: torch.device, n_columns: int, *, packed: bool
) -> Iterator[tuple[slice, dict[str, np.ndarray]]]:
    """Yield the rows of each block and what is known of them, as arrays in the order of the cells."""
    plans = {c: Blocks.of(cells.field.cluster(c)) for c in cells.field.clusters}
    for rows, parts in _pieces(cells, size):
        found = [_one_block(b, plans[b.cluster], device, n_columns, packed=packed) for b in parts]
        back = np.argsort(np.concatenate([b.rows for b in parts]))
        arrays = {k: torch.cat([f[k] for f in found]).numpy()[back] for k in found[0]}
        label = np.concatenate([np.full(len(b.rows), cells.field.clusters.index(b.cluster)) for b in parts])
        yield rows, {"label": label[back].astype(np.int32), **arrays}


def _one_block(
    block: CellBlock, plan: Blocks, device: torch.device, n_columns: int, *, packed: bool
) -> dict[str, torch.Tensor]:
    x, moved = on_device(block, device)
    slope, field = moved.slope(x).cpu(), block.field
    trace = core.trace(slope, field.w, field.regs, field.gamma)
    if not n_columns:
        values, norm = eigenvalues(plan, slope)
        return {"eigenvalues": values, "norm": norm, "trace": trace, "slopes": slope}
    pairs = decompose(field, slope)
    out = {"eigenvalues": all_values(field, pairs)[0], "norm": pairs.norm, "trace": trace, "slopes": slope}
    if packed:
        return out | {"block": pairs.values, "vectors": pack(pairs)}
    return out | {"eigenvectors": leading_vectors(field, slope, pairs, n_columns)}


def write_obs(adata: AnnData, columns: Mapping[str, np.ndarray]) -> None:
    """Write columns of ``obs``, in place of those of the same names."""
    import pandas as pd

    new = pd.DataFrame(dict(columns), index=adata.obs_names)
    # one step: thousands of pairs one by one would fragment the table
    adata.obs = pd.concat([adata.obs.drop(columns=new.columns, errors="ignore"), new], axis=1)


def asked_size(size: int | None) -> int | None:
    """The number of cells per block that was asked for, checked."""
    return None if size is None else _checks.integer("block_size", size)
