"""What the functions on AnnData read, checked before anything is computed.

`read` looks at every value once: with the pinned torch a NaN that reaches LAPACK ends the whole process.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from scmods import _arrays, _checks
from scmods.hopfield.field import ClusterField, Field

if TYPE_CHECKING:
    from anndata import AnnData

__all__ = ["CellBlock", "Cells", "expression", "gene_positions", "pick_device", "read", "refuse_not_finite"]


@dataclass(frozen=True)
class CellBlock:
    """Some cells of one cluster.

    Attributes
    ----------
    cluster
        Name of the cluster.
    rows
        Their positions in the AnnData.
    x
        (cells, genes) float64 expression of the modelled genes.
    field
        The field of the cluster.
    """

    cluster: str
    rows: np.ndarray
    x: torch.Tensor
    field: ClusterField


@dataclass(frozen=True)
class Cells:
    """Checked input of everything that looks at single cells.

    Attributes
    ----------
    field
        The field.
    labels
        (cells,) cluster of each cell, as text.
    genes
        Positions of the modelled genes among the variables of the AnnData.
    matrix
        The expression, as it is stored.
    x_floor
        Expression is raised to this value; 0 leaves it as it is.
    """

    field: Field
    labels: np.ndarray
    genes: np.ndarray
    matrix: Any
    x_floor: float

    def __len__(self) -> int:
        return len(self.labels)

    def blocks(self, size: int | None = None) -> Iterator[CellBlock]:
        """Yield the cells cluster by cluster, in blocks of at most `size` (default: about 32 MB of expression)."""
        size = size or max(1, 2**22 // max(1, len(self.genes)))
        for cluster in self.field.clusters:
            rows = np.flatnonzero(self.labels == cluster)
            for start in range(0, len(rows), size):
                part = rows[start : start + size]
                x = _arrays.read_rows(self.matrix, part)[:, self.genes]
                x = torch.as_tensor(np.maximum(x, self.x_floor) if self.x_floor else x)
                yield CellBlock(cluster, part, x, self.field.cluster(cluster))


def gene_positions(adata: AnnData, field: Field) -> np.ndarray:
    """Positions of the modelled genes among the variables; refuses missing and doubled names.

    Parameters
    ----------
    adata
        Cells.
    field
        The field.
    """
    _checks.unique_names("adata.var_names", adata.var_names)
    at = adata.var_names.get_indexer(list(field.genes))
    if (at < 0).any():
        missing = [g for g, i in zip(field.genes, at, strict=True) if i < 0]
        _checks.fail(
            f"{len(missing)} of {len(at)} genes of the field are not in `adata.var_names`:",
            f"{_checks.listing(missing, 3)}.",
            _checks.nearest(missing[0], adata.var_names),
            "Use the AnnData the field was fitted on, or fit again: `hopfield.fit(adata)`.",
            kind=_checks.MissingKeyError,
        )
    return at


def expression(adata: AnnData, layer: str | None, genes: np.ndarray | None = None) -> Any:
    """The matrix of a layer, every value of the given genes looked at: finite and not negative.

    Parameters
    ----------
    adata
        Cells.
    layer
        Name of the layer; None for ``X``.
    genes
        Positions of the genes to look at; all by default.
    """
    if adata.n_obs == 0:
        _checks.fail("`adata` has no cells.", "Look at the filter before this call: it left nothing.")
    x = _arrays.matrix(adata, layer)
    where = "adata.X" if layer is None else f"adata.layers[{layer!r}]"
    names = np.asarray(adata.var_names.astype(str))[slice(None) if genes is None else genes]
    cells = np.asarray(adata.obs_names.astype(str))
    lowest, lowest_gene, n_negative, n_bad = 0.0, "", 0, 0
    first: tuple[str, str] | None = None
    for part, block in _arrays.blocks(x):
        block = block if genes is None else block[:, genes]
        bad = ~np.isfinite(block)
        if bad.any():
            i, j = np.argwhere(bad)[0]
            first = first or (names[j], cells[part][i])
            n_bad += int(bad.sum())
        elif block.size and block.min() < 0:
            n_negative += int((block < 0).sum())
            j = int(block.min(axis=0).argmin())
            if block[:, j].min() < lowest:
                lowest, lowest_gene = float(block[:, j].min()), names[j]
    if first:
        _checks.fail(
            f"`{where}` holds {n_bad} values that are NaN or infinite; first: gene {first[0]!r}, cell {first[1]!r}.",
            "Expected finite expression. Drop these cells or genes, or smooth the counts again:",
            "`hopfield.moments(adata)`.",
        )
    if n_negative:
        _checks.fail(
            f"`{where}` holds {n_negative} negative values; the lowest is {lowest:.4g}, gene {lowest_gene!r}.",
            "The Hill function needs expression that is not negative: do not centre or z-score.",
            "Use smoothed counts: `hopfield.moments(adata)` writes layers['Ms'].",
        )
    return x


def _labels(adata: AnnData, cluster_key: str | None, field: Field) -> np.ndarray:
    if cluster_key is None:
        if len(field.clusters) > 1:
            _checks.fail(
                f"`cluster_key` is None, but the field has {len(field.clusters)} clusters:",
                f"{_checks.listing(field.clusters)}.",
                "Name the column of `adata.obs` it was fitted with: cluster_key='...'.",
            )
        return np.full(adata.n_obs, field.clusters[0])
    _checks.key(adata, "obs", cluster_key, "Name the column the field was fitted with: cluster_key='...'.")
    column = adata.obs[cluster_key]
    if column.isna().any():
        where = adata.obs_names[column.isna().to_numpy()]
        _checks.fail(
            f"`adata.obs[{cluster_key!r}]` is missing for {len(where)} cells; first: {_checks.listing(where, 3)}.",
            f"Keep the labelled ones: `adata = adata[adata.obs[{cluster_key!r}].notna()].copy()`.",
        )
    values = column.astype(str).to_numpy(dtype=str)
    unknown = [c for c in np.unique(values) if c not in field.clusters]
    if unknown:
        _checks.fail(
            f"Clusters without a fitted field: {_checks.listing(unknown)}.",
            f"Fitted: {_checks.listing(field.clusters, 20)}.",
            _checks.nearest(unknown[0], field.clusters),
            f"Drop their cells or fit again: `hopfield.fit(adata, cluster_key={cluster_key!r})`.",
        )
    return values


def _steep_at_zero(adata: AnnData, cells: Cells) -> None:
    """Refuse exact zeros where the exponent is below 1: the slope is infinite there."""
    field = cells.field
    regs = field.regulators[field.exponent[field.regulators] < 1].numpy()
    if not len(regs) or cells.x_floor > 0:
        return
    zeros = np.zeros(len(regs), dtype=int)
    for _, block in _arrays.blocks(cells.matrix):
        zeros += (block[:, cells.genes[regs]] == 0).sum(axis=0)
    if zeros.any():
        names = [field.genes[regs[i]] for i in np.flatnonzero(zeros)]
        _checks.fail(
            "Regulators with an exponent below 1 are 0 in some cells, where their slope is infinite:",
            f"{_checks.listing(names, 3)}.",
            "Fit exponents above 1, `hopfield.fit_hill(adata)`, or keep expression away from 0: x_floor=1e-3.",
        )


def read(
    adata: AnnData,
    field: Field | str = "hopfield",
    layer: str | None = "Ms",
    *,
    cluster_key: str | None = "cell_type",
    x_floor: float = 0.0,
) -> Cells:
    """Check everything that a function of single cells reads, and hold it ready in blocks.

    Parameters
    ----------
    adata
        Cells; sparse, dense, integer, half precision, views and backed files are all right.
    field
        The field, or its key in ``uns``.
    layer
        Expression the field was fitted on.
    cluster_key
        Column of ``obs`` that says which matrix belongs to a cell; None where one matrix serves all cells.
    x_floor
        Expression is raised to this value; 0 leaves it as it is.

    Raises
    ------
    MissingKeyError, ValueError
        With the slot, the first gene and cell, what exists and what to call.

    Examples
    --------
    >>> from scmods import hopfield
    >>> adata = hopfield.toggle(5, 8)
    >>> field = hopfield.fit(adata)
    >>> cells = hopfield.read(adata)
    >>> len(cells), cells.field.genes
    (40, ('A', 'B'))
    """
    field = field if isinstance(field, Field) else Field.of(adata, field)
    floor = _checks.number("x_floor", x_floor, 0.0)
    genes = gene_positions(adata, field)
    labels = _labels(adata, cluster_key, field)
    cells = Cells(field, labels, genes, expression(adata, layer, genes), floor)
    _steep_at_zero(adata, cells)
    return cells


def pick_device(device: str | torch.device) -> torch.device:
    """The device asked for; where there is none of that kind, the CPU with a warning.

    Parameters
    ----------
    device
        ``"cpu"``, ``"cuda"``, ``"cuda:1"`` or ``"mps"``.
    """
    try:
        wanted = torch.device(device)
    except (RuntimeError, TypeError):
        _checks.fail(f"`device` is {device!r}, but must be one of 'cpu', 'cuda', 'cuda:0', 'mps'.")
    have = {"cpu": True, "cuda": torch.cuda.is_available(), "mps": torch.backends.mps.is_available()}
    if not have.get(wanted.type, False):
        _checks.warn(f"There is no device {str(device)!r} on this machine; computing on the CPU.", level=4)
        return torch.device("cpu")
    return wanted


def refuse_not_finite(what: str, values: torch.Tensor) -> None:
    """Refuse values that are not finite before they reach a decomposition, which would end the process.

    Parameters
    ----------
    what
        Name for the message.
    values
        Any tensor.
    """
    bad = int((~torch.isfinite(values)).sum())
    if bad:
        _checks.fail(
            f"{what} holds {bad} values that are NaN or infinite, so its eigenvalues are not defined.",
            "Look for extreme values: expression close to 0 with an exponent below 1 needs x_floor=1e-3.",
        )
