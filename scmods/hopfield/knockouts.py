"""First-order response of the cells to the loss of regulators, and who moves whom most."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import Tensor

from scmods import _checks
from scmods.hopfield import checks
from scmods.hopfield.keys import Keys

if TYPE_CHECKING:
    import pandas as pd
    from anndata import AnnData

    from scmods.hopfield.field import Field

__all__ = ["knock_out_ranking", "knock_outs"]


def _columns(field: Field, regulators: Sequence[str] | None) -> list[int]:
    """Columns of the interactions that belong to the named regulators; all by default."""
    if regulators is None:
        return list(range(len(field.regulators)))
    names = [regulators] if isinstance(regulators, str) else list(regulators)
    have = {name: c for c, name in enumerate(field.regulator_names)}
    for name in names:
        field.gene(name)
        if str(name) not in have:
            _checks.fail(
                f"{name!r} is modelled, but does not regulate, so its loss moves no other gene.",
                f"Regulators: {_checks.listing(have)}.",
            )
    return [have[str(name)] for name in names]


def _off_diagonal(w: Tensor, regs: Tensor) -> Tensor:
    w = w.clone()
    w[regs, torch.arange(len(regs))] = 0
    return w


def knock_outs(
    adata: AnnData,
    *,
    regulators: Sequence[str] | None = None,
    field: Field | None = None,
    spliced_layer: str | None = "Ms",
    cluster_key: str | None = "cell_type",
    x_floor: float = 0.0,
    include_self: bool = False,
    key_added: str = "hopfield",
) -> pd.DataFrame:
    r"""First-order response of every cell to the loss of each regulator, all of them in one product.

    Removing regulator g changes its expression by :math:`-x_g`, hence the velocity of gene i by
    :math:`r_i = -J_{ig} x_g`: negative where g activates i, positive where it represses it.

    Parameters
    ----------
    adata
        Cells with a fitted field.
    regulators
        Names of the regulators to remove, in this order; all by default.
    field
        The field; that of ``uns[key_added]`` by default.
    spliced_layer
        Expression the field was fitted on; None for ``X``.
    cluster_key
        Column of ``obs`` with the cluster of each cell; None where one field serves all.
    x_floor
        Expression is raised to this value first.
    include_self
        Count the change of the removed gene itself, :math:`-J_{gg} x_g`, which holds its degradation. Without it a
        gene with many copies and no target does not rank high; in the table the entry is 0 then.
    key_added
        Prefix of the keys.

    Returns
    -------
    Mean signed response, rows: (cluster, target), columns: regulator removed; unit of the velocity. Written (default
    keys): ``obsm["hopfield_knock_outs"]`` (cells, regulators) float64, the length of the response over all targets,
    and ``uns["hopfield_knock_outs"]`` with the names ``regulators`` of its columns.

    Raises
    ------
    MissingKeyError, ValueError
        Missing slots, unknown genes, genes that do not regulate.

    Notes
    -----
    First order: where expression is far above the threshold the slope is near 0 and so is the response, though the
    loss of all molecules would matter; `simulate` with ``fixed={"gene": 0.0}`` follows it in full.
    O(cells * genes + genes * regulators); no Jacobian is built.

    Examples
    --------
    >>> from scmods import hopfield
    >>> adata = hopfield.toggle(5, 8)
    >>> field = hopfield.fit(adata)
    >>> hopfield.knock_outs(adata).shape, adata.obsm["hopfield_knock_outs"].shape
    ((2, 2), (40, 2))
    """
    import pandas as pd

    cells = checks.read(adata, field or key_added, spliced_layer, cluster_key=cluster_key, x_floor=x_floor)
    columns = _columns(cells.field, regulators)
    names = [cells.field.regulator_names[c] for c in columns]
    sizes = np.zeros((len(cells), len(columns)))
    total = {c: torch.zeros(2, len(columns), dtype=torch.float64) for c in cells.field.clusters}
    for block in cells.blocks():
        f, dose = block.field, block.x[:, block.field.regs[columns]]
        moved = block.field.slope(block.x)[:, columns] * dose
        squares = _off_diagonal(f.w, f.regs)[:, columns].square().sum(0)
        own = f.w[f.regs[columns], columns] * moved - f.gamma[f.regs[columns]] * dose
        size2 = moved.square() * squares + (own.square() if include_self else 0)
        sizes[block.rows] = size2.sqrt().numpy()
        total[block.cluster] += torch.stack([moved.sum(0), dose.sum(0)])
    tables = {}
    for cluster, (moved, dose) in total.items():
        n = int((cells.labels == cluster).sum())
        if n:
            f = cells.field.cluster(cluster)
            mean = -_off_diagonal(f.w, f.regs)[:, columns] * moved / n
            at = f.regs[columns]
            if include_self:
                mean[at, range(len(at))] = (-f.w[at, columns] * moved + f.gamma[at] * dose) / n
            tables[cluster] = pd.DataFrame(mean.numpy(), index=list(cells.field.genes), columns=names)
    key = Keys(key_added).knock_outs
    adata.obsm[key] = sizes
    adata.uns[key] = {"regulators": np.array(names, dtype=object)}
    return pd.concat(tables, names=["cluster", "target"]).rename_axis(columns="regulator") + 0.0


def knock_out_ranking(
    adata: AnnData,
    by: str = "regulator",
    *,
    field: Field | None = None,
    spliced_layer: str | None = "Ms",
    cluster_key: str | None = "cell_type",
    x_floor: float = 0.0,
    key_added: str = "hopfield",
) -> pd.DataFrame:
    """Who moves the others most when lost, or who is moved most by losses.

    Parameters
    ----------
    adata
        Cells with a fitted field.
    by
        ``"regulator"``: length of the response over all other genes (a column of the Jacobian times expression);
        ``"target"``: length over the losses of all other regulators (a row).
    field
        The field; that of ``uns[key_added]`` by default.
    spliced_layer
        Expression the field was fitted on; None for ``X``.
    cluster_key
        Column of ``obs`` with the cluster of each cell; None where one field serves all.
    x_floor
        Expression is raised to this value first.
    key_added
        Prefix under which the field lies.

    Returns
    -------
    Columns ``cluster``, then ``regulator`` or ``target``, ``size`` (mean over the cells of the cluster, unit of the
    velocity), ``rank`` (1 is the largest); sorted by cluster and rank. Nothing is written.

    Raises
    ------
    MissingKeyError, ValueError
        Missing slots; `by` is neither of the two.

    Examples
    --------
    >>> from scmods import hopfield
    >>> adata = hopfield.toggle(5, 8)
    >>> field = hopfield.fit(adata)
    >>> list(hopfield.knock_out_ranking(adata).columns)
    ['cluster', 'regulator', 'size', 'rank']
    """
    import pandas as pd

    _checks.one_of("by", by, ("regulator", "target"))
    cells = checks.read(adata, field or key_added, spliced_layer, cluster_key=cluster_key, x_floor=x_floor)
    names = cells.field.regulator_names if by == "regulator" else list(cells.field.genes)
    total = {c: torch.zeros(len(names), dtype=torch.float64) for c in cells.field.clusters}
    for block in cells.blocks():
        f = block.field
        moved2 = (f.slope(block.x) * block.x[:, f.regs]).square()
        w2 = _off_diagonal(f.w, f.regs).square()
        size2 = moved2 * w2.sum(0) if by == "regulator" else moved2 @ w2.T
        total[block.cluster] += size2.sqrt().sum(0)
    tables = []
    for cluster, values in total.items():
        n = int((cells.labels == cluster).sum())
        if n:
            table = pd.DataFrame({"cluster": cluster, by: names, "size": (values / n).numpy()})
            table = table.sort_values("size", ascending=False, kind="stable")
            tables.append(table.assign(rank=np.arange(1, len(table) + 1)))
    return pd.concat(tables, ignore_index=True)
