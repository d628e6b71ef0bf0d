"""Whether a file of Jacobians belongs to an AnnData, and in which order."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from scmods import _checks
from scmods.hopfield.field import Field
from scmods.hopfield.keys import Keys
from scmods.hopfield.original import THRESHOLD, field_of

if TYPE_CHECKING:
    from anndata import AnnData

    from scmods.hopfield.stream import JacobianFile


def stored_field(
    adata: AnnData, key_added: str, cluster_key: str | None, degradation_key: str = "gamma"
) -> Field | None:
    """The field of the AnnData, None where it has none of either kind."""
    if Keys(key_added).info not in adata.uns and THRESHOLD not in adata.var:
        return None
    return field_of(adata, key_added, cluster_key=cluster_key, degradation_key=degradation_key)


def _positions(what: str, wanted: Sequence[str], found: Sequence[str], name: str) -> np.ndarray:
    """Where each wanted name is among those found; refuses sets that differ."""
    index = {n: i for i, n in enumerate(found)}
    missing = [n for n in wanted if n not in index]
    extra = sorted(set(found) - set(wanted))
    if missing or extra or len(found) != len(wanted):
        _checks.fail(
            f"'{name}' has {len(found)} {what}, `adata` has {len(wanted)};",
            f"{len(missing)} of `adata` are not in the file: {_checks.listing(missing, 3)};"
            if missing
            else "",
            f"{len(extra)} of the file are not in `adata`: {_checks.listing(extra, 3)}." if extra else "",
            "Load it into the AnnData it was made from, or compute again: `hopfield.compute_jacobians(adata)`.",
        )
    return np.array([index[n] for n in wanted], dtype=np.intp)


def align(file: JacobianFile, adata: AnnData) -> np.ndarray:
    """Row of the file for each cell; files without names are taken as they are, with a warning."""
    if file.cells is not None:
        _checks.unique_names("adata.obs_names", adata.obs_names)
        return _positions("cells", [str(c) for c in adata.obs_names], file.cells, file.name)
    if file.n_cells != adata.n_obs:
        _checks.fail(
            f"'{file.name}' has {file.n_cells} cells without names, `adata` has {adata.n_obs}.",
            "Load it into the AnnData it was made from, or compute again: `hopfield.compute_jacobians(adata)`.",
        )
    _checks.warn(
        f"'{file.name}' holds no names of cells and genes, so their order cannot be checked: row i is taken for "
        "cell i. Compute again to be sure: `hopfield.compute_jacobians(adata)`.",
        level=4,
    )
    return np.arange(adata.n_obs)


def align_genes(file: JacobianFile, adata: AnnData, key_added: str) -> np.ndarray | None:
    """Row of the stored vectors for each gene, None where the order is the same; refuses another field."""
    mine = stored_field(adata, key_added, file.header.get("cluster_key", "cell_type"))
    if file.genes is None:
        expected = None if mine is None else len(mine.genes)
        if expected is not None and expected != file.n_values:
            _checks.fail(
                f"'{file.name}' has {file.n_values} genes without names, the field of `adata` has {expected}.",
                "Compute again: `hopfield.compute_jacobians(adata)`.",
            )
        return None
    if mine is None:
        missing = sorted(set(file.genes) - set(adata.var_names))
        if missing:
            _checks.fail(
                f"{len(missing)} of {len(file.genes)} genes of '{file.name}' are not in `adata.var_names`:",
                f"{_checks.listing(missing, 3)}.",
                "Load it into the AnnData it was made from.",
            )
        return None
    at = _positions("genes", mine.genes, file.genes, file.name)
    if mine.fingerprint == file.header["fingerprint"]:
        return None
    if _canonical(mine) != _canonical(file.field):
        _checks.fail(
            f"'{file.name}' was computed with the field {file.header['fingerprint']}, but that of `adata` is "
            f"{mine.fingerprint}: the interactions, rates or Hill functions differ.",
            "Compute again, `hopfield.compute_jacobians(adata)`, or load the file into the AnnData it was made from.",
        )
    return at


def _canonical(field: Field) -> str:
    """Fingerprint that does not depend on the order of genes, clusters and regulators."""
    genes, clusters = (torch.as_tensor(np.argsort(names)) for names in (field.genes, field.clusters))
    rank = genes.argsort()[field.regulators]
    regs = rank.argsort()

    def per_cluster(values: torch.Tensor) -> Any:
        return values[clusters][:, genes]

    return Field(
        tuple(field.genes[i] for i in genes.tolist()),
        tuple(field.clusters[i] for i in clusters.tolist()),
        rank[regs],
        per_cluster(field.interactions)[:, :, regs],
        per_cluster(field.degradation),
        per_cluster(field.bias),
        field.threshold[genes],
        field.exponent[genes],
    ).fingerprint
