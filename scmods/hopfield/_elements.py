"""Single elements of the Jacobians: the direct effect of one gene on another in every cell."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np
import torch

from scmods import _checks
from scmods.hopfield import core
from scmods.hopfield._passes import asked_size, device_of, on_device, read_cells, write_obs
from scmods.hopfield.field import ClusterField, Field

if TYPE_CHECKING:
    import pandas as pd
    from anndata import AnnData

__all__ = ["compute_jacobian_elements", "element_key"]


def element_key(target: str, regulator: str) -> str:
    """Column of ``obs`` with one element of the Jacobian; ``/`` becomes ``|``, because h5ad reads ``/`` as a folder.

    Parameters
    ----------
    target
        Gene whose velocity changes.
    regulator
        Gene whose expression is varied.

    Examples
    --------
    >>> element_key("Neurog3", "HLA-A/B")
    'jacobian_df_Neurog3_dx_HLA-A|B'
    """
    return f"jacobian_df_{target}_dx_{regulator}".replace("/", "|")


def compute_jacobian_elements(
    adata: AnnData,
    gene_pairs: Sequence[tuple[str, str]],
    spliced_key: str = "Ms",
    degradation_key: str = "gamma",
    cluster_key: str | None = "cell_type",
    device: str = "cpu",
    store_in_obs: bool = True,  # noqa: FBT001, FBT002 - the original's order
    copy: bool = False,  # noqa: FBT001, FBT002
    *,
    key_added: str = "hopfield",
    x_floor: float = 0.0,
    block_size: int | None = None,
) -> AnnData | pd.DataFrame | None:
    r"""Direct effect of one gene on the velocity of another in every cell, in closed form.

    :math:`J_{ij} = W_{ij}\varphi'_j(x_j) - \gamma_i[i=j]`, i the target, j the regulator.

    Parameters
    ----------
    adata
        Cells with a fitted field.
    gene_pairs
        Pairs (target, regulator); both may be the same gene.
    spliced_key, degradation_key, cluster_key
        As in `compute_jacobians`.
    device
        Where the slopes are computed.
    store_in_obs
        Write the columns; otherwise they are returned as a table.
    copy
        Return a changed copy instead of changing `adata`.
    key_added
        Prefix given to `fit`.
    x_floor
        Expression is raised to this value.
    block_size
        Cells per block.

    Returns
    -------
    ``None``, the copy, or with ``store_in_obs=False`` a table with column index (target, regulator). Columns of
    ``obs``: ``jacobian_df_<target>_dx_<regulator>``, float64, 1 / time; ``/`` in a name is written ``|``.

    Raises
    ------
    MissingKeyError
        For a gene that does not exist, with the closest name, or that is not modelled.
    TypeError, ValueError
        For pairs that are not two names, and pairs that would share a column.

    Examples
    --------
    >>> from scmods import hopfield
    >>> adata = hopfield.toggle(5, 8)
    >>> field = hopfield.fit(adata)
    >>> hopfield.compute_jacobian_elements(adata, [("A", "B")])
    >>> "jacobian_df_A_dx_B" in adata.obs
    True
    """
    import pandas as pd

    pairs = _pairs(gene_pairs)
    cells = read_cells(adata, spliced_key, cluster_key, degradation_key, key_added, x_floor)
    at = torch.tensor([[_gene(adata, cells.field, name) for name in pair] for pair in pairs])
    names = [element_key(*pair) for pair in pairs]
    if store_in_obs:
        _refuse_shared(pairs, names)
    out, where = np.empty((len(cells), len(pairs))), device_of(device)
    for block in cells.blocks(asked_size(block_size)):
        x, field = on_device(block, where)
        out[block.rows] = _elements(x, field, at.to(where)).cpu().numpy()
    if not store_in_obs:
        columns = pd.MultiIndex.from_tuples(pairs, names=["target", "regulator"])
        return pd.DataFrame(out, index=adata.obs_names, columns=columns)
    adata = adata.copy() if copy else adata
    write_obs(adata, dict(zip(names, out.T, strict=True)))
    return adata if copy else None


def _elements(x: torch.Tensor, field: ClusterField, at: torch.Tensor) -> torch.Tensor:
    """Elements at positions (target, regulator); the slope of a gene that does not regulate is not needed."""
    i, j = at.T
    column = torch.full((len(field.w),), -1, device=x.device)
    column[field.regs] = torch.arange(len(field.regs), device=x.device)
    on = column[j] >= 0
    weight = torch.zeros(len(at), dtype=x.dtype, device=x.device)
    weight[on] = field.w[i[on], column[j[on]]]
    slope = torch.zeros(len(x), len(at), dtype=x.dtype, device=x.device)
    reg = j[on]
    slope[:, on] = core.activation_derivative(x[:, reg], field.threshold[reg], field.exponent[reg])
    return core.elements(slope, weight, field.gamma[i], i == j)


def _pairs(gene_pairs: Sequence[tuple[str, str]]) -> list[tuple[str, str]]:
    pairs = [gene_pairs] if isinstance(gene_pairs, str) else list(gene_pairs)
    if not pairs:
        _checks.fail("`gene_pairs` is empty. Write gene_pairs=[('target', 'regulator')].")
    for pair in pairs:
        if isinstance(pair, str) or not isinstance(pair, Sequence) or len(pair) != 2:
            _checks.fail(
                f"`gene_pairs` holds {pair!r}, but each entry must be a pair of two names (target, regulator).",
                "Write gene_pairs=[('target', 'regulator')].",
                kind=TypeError,
            )
    return list(dict.fromkeys((str(i), str(j)) for i, j in pairs))


def _gene(adata: AnnData, field: Field, name: str) -> int:
    if name in adata.var_names and name not in field.genes:
        _checks.fail(
            f"{name!r} is in `adata.var_names`, but not among the {len(field.genes)} modelled genes.",
            f"Modelled: {_checks.listing(field.genes)}.",
            f"Fit again with it: `hopfield.select_genes(adata, keep=[{name!r}])`, then `hopfield.fit(adata)`.",
            kind=_checks.MissingKeyError,
        )
    return field.gene(name)


def _refuse_shared(pairs: Sequence[tuple[str, str]], names: Sequence[str]) -> None:
    for name, count in Counter(names).items():
        if count > 1:
            same = [pair for pair, other in zip(pairs, names, strict=True) if other == name]
            _checks.fail(
                f"The pairs {_checks.listing(same)} would share the column {name!r} of `adata.obs`.",
                "Take the table instead: store_in_obs=False.",
            )
