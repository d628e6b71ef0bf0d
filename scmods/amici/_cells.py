"""An AnnData as the model sees it: its genes in the model's order, codes of types, neighbours."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from scmods import _arrays, _checks
from scmods.amici.inputs import Tissue, expression, read_tissue

if TYPE_CHECKING:
    from anndata import AnnData

__all__ = ["Cells", "Slots", "digest", "read_cells"]


@dataclass(frozen=True)
class Slots:
    """Where the model finds its input.

    Attributes
    ----------
    cluster_key, spatial_key, library_key, radius_key, layer
        As in `AMICI`.
    """

    cluster_key: str
    spatial_key: str
    library_key: str | None
    radius_key: str | None
    layer: str | None


@dataclass(frozen=True)
class Cells:
    """Checked cells, expression still in the AnnData.

    Attributes
    ----------
    matrix
        Expression as stored.
    columns
        Columns of the model's genes in it; None where they are all, in order.
    tissue
        Positions and labels.
    codes
        (cells,) types in the model's order; -1 for a type it does not know.
    names
        (cells,) names of the cells.
    neighbors, distances
        (cells, k).
    """

    matrix: Any
    columns: np.ndarray | None
    tissue: Tissue
    codes: np.ndarray
    names: np.ndarray
    neighbors: np.ndarray
    distances: np.ndarray

    def __len__(self) -> int:
        return len(self.codes)

    def gaps(self) -> np.ndarray:
        """(cells, 1) distance to the nearest other cell between centres, by which the unit is judged."""
        coords, near = self.tissue.coords, self.neighbors[:, :1]
        gap = np.linalg.norm(coords - coords[near[:, 0]], axis=1)[:, None]
        return np.where(near >= 0, gap, np.nan)

    def read(self, rows: np.ndarray, dtype: type = np.float64) -> np.ndarray:
        """Dense expression of some cells, genes in the model's order.

        Parameters
        ----------
        rows
            Positions.
        dtype
            Of the result.
        """
        block = _arrays.read_rows(self.matrix, rows, dtype)
        return block if self.columns is None else block[:, self.columns]


def digest(names: np.ndarray) -> str:
    """Fingerprint of the names of cells, by which a loaded model knows its own again.

    Parameters
    ----------
    names
        In order.
    """
    return hashlib.sha256("\n".join(map(str, names)).encode()).hexdigest()


def _columns(adata: AnnData, genes: list[str]) -> np.ndarray | None:
    at = adata.var_names.get_indexer(genes)
    if (at < 0).any():
        missing = [g for g, i in zip(genes, at, strict=True) if i < 0]
        extra = sorted(set(adata.var_names) - set(genes))
        _checks.fail(
            f"`adata.var_names` lacks {len(missing)} of the {len(genes)} genes of the model:",
            f"{_checks.listing(missing, 3)}; genes that only `adata` has: {_checks.listing(extra, 3)}.",
            "Genes are matched by name, in any order; give cells with all genes the model was made with.",
        )
    return None if np.array_equal(at, np.arange(adata.n_vars)) else at


def read_cells(
    adata: AnnData, slots: Slots, genes: list[str] | None, types: list[str] | None
) -> tuple[Cells, list[str]]:
    """Check an AnnData; neighbours are still to be filled in.

    Parameters
    ----------
    adata
        Cells.
    slots
        Where to find what.
    genes, types
        Of the model; None takes all genes, and the types found in alphabetical order.

    Returns
    -------
    The cells, with empty neighbours, and the types.
    """
    matrix = expression(adata, slots.layer)
    tissue = read_tissue(
        adata, cluster_key=slots.cluster_key, spatial_key=slots.spatial_key,
        library_key=slots.library_key, radius_key=slots.radius_key,
    )  # fmt: skip
    found, codes = np.unique(tissue.labels.astype(str), return_inverse=True)
    known = [str(t) for t in found] if types is None else types
    position = {t: i for i, t in enumerate(known)}
    codes = np.array([position.get(str(t), -1) for t in found], dtype=np.int64)[codes]
    empty = np.empty((len(codes), 0))
    columns = None if genes is None else _columns(adata, genes)
    names = np.asarray(adata.obs_names)
    return Cells(matrix, columns, tissue, codes, names, empty.astype(np.int64), empty), known
