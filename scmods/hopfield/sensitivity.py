r"""What a small change of the field does to the cells: to their stability, their production, their steady state.

Per-cell results are averaged per cluster into tables of edges; no cells x genes x genes array is built, only
cells x regulators x regulators in blocks.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import Tensor

from scmods import _checks
from scmods.hopfield import checks
from scmods.hopfield.normality import others, regulator_block

if TYPE_CHECKING:
    from collections.abc import Iterator

    import pandas as pd
    from anndata import AnnData

    from scmods.hopfield.field import ClusterField, Field

__all__ = ["edge_sensitivity", "elasticities", "leading_vectors", "steady_state_response"]

SINGULAR = 1e8  # condition number from which half of the digits are gone
REST = 0.01  # production below this share of its terms is what cancellation left


def _blocks(cells: checks.Cells) -> Iterator[checks.CellBlock]:
    """Blocks of cells so small that their regulator blocks fit in about 64 MB."""
    return cells.blocks(max(1, 2**23 // max(1, len(cells.field.regulators)) ** 2))


def leading_vectors(block: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    r"""Leading eigenvalue of every matrix with its right and left vector.

    Parameters
    ----------
    block
        (cells, regs, regs) finite matrices, row: target.

    Returns
    -------
    values
        (cells,) complex eigenvalue of largest real part; of a conjugate pair either member.
    left, right
        (cells, regs) u and v with :math:`u^H A = \lambda u^H`, :math:`A v = \lambda v`, :math:`u^H v = 1`,
        :math:`\|v\| = 1`.
    condition
        (cells,) :math:`\|u\|\,\|v\|`, at least 1: how many times its own size a change of A can move the eigenvalue;
        infinite where the matrix has no basis of eigenvectors.
    """
    checks.refuse_not_finite("A Jacobian", block)
    values, vectors = torch.linalg.eig(block)
    lead = values.real.argmax(1)
    rows = torch.arange(len(block))
    right = vectors[rows, :, lead]
    unit = torch.zeros_like(right)
    unit[rows, lead] = 1
    # row `lead` of the inverse of the matrix of right vectors is u^H with u^H v = 1
    solved, info = torch.linalg.solve_ex(vectors.transpose(1, 2), unit[..., None])
    left = torch.where((info == 0)[:, None], solved[..., 0], torch.nan).conj().resolve_conj()
    condition = left.abs().square().sum(1).sqrt().nan_to_num(torch.inf)
    return values[rows, lead], left, right, condition


def _edge_table(
    f: ClusterField, field: Field, cluster: str, rows: Tensor, columns: Tensor, **values: Tensor
) -> pd.DataFrame:
    """One row per (target, regulator column) with its weight and the entries of `values`, (genes, regs) each."""
    import pandas as pd

    names, regulators = np.array(field.genes, dtype=object), np.array(field.regulator_names, dtype=object)
    return pd.DataFrame(
        {
            "regulator": regulators[columns.numpy()],
            "target": names[rows.numpy()],
            "cluster": cluster,
            "weight": f.w[rows, columns].numpy(),
            **{name: value[rows, columns].numpy() for name, value in values.items()},
        }
    )


def edge_sensitivity(
    adata: AnnData,
    *,
    field: Field | None = None,
    spliced_layer: str | None = "Ms",
    cluster_key: str | None = "cell_type",
    x_floor: float = 0.0,
    absent: bool = False,
    key_added: str = "hopfield",
) -> pd.DataFrame:
    r"""How each edge moves the leading eigenvalue: which interaction destabilises the cells of a cluster.

    With right and left vector v, u of the leading eigenvalue and slope d of the regulator

    .. math:: \frac{\partial\lambda}{\partial W_{ij}} = \frac{\bar u_i\, d_j\, v_j}{u^H v} .

    Parameters
    ----------
    adata
        Cells with a fitted field.
    field
        The field; that of ``uns[key_added]`` by default.
    spliced_layer
        Expression the field was fitted on; None for ``X``.
    cluster_key
        Column of ``obs`` with the cluster of each cell; None where one field serves all.
    x_floor
        Expression is raised to this value first.
    absent
        List pairs of regulators without an edge too: what a new edge would do.
    key_added
        Prefix under which the field lies.

    Returns
    -------
    One row per edge among the regulators and cluster, largest effect first within a cluster: ``regulator``,
    ``target``, ``cluster``, ``weight``; ``sensitivity``, the mean over the cells of the real part of the derivative,
    in 1 / expression: positive where a more positive weight makes the cells less stable; ``removal`` = -weight *
    sensitivity, 1 / time: change of the leading real part, to first order, if the edge were cut. Edges to genes
    that do not regulate are not listed: they never touch the eigenvalues. Nothing is written.

    Raises
    ------
    MissingKeyError, ValueError
        Missing slots, values that are not finite.

    Warns
    -----
    NumericalWarning
        Where the eigenvalue is so ill-conditioned (above 1e8) that its derivative means nothing; those cells are left
        out of the mean.

    Notes
    -----
    Where the slowest degradation of a gene that does not regulate is the leading eigenvalue, no edge matters and the
    cell counts as 0. O(regs^3) per cell.

    Examples
    --------
    >>> from scmods import hopfield
    >>> adata = hopfield.toggle(5, 8)
    >>> field = hopfield.fit(adata)
    >>> table = hopfield.edge_sensitivity(adata)
    >>> list(table.columns)
    ['regulator', 'target', 'cluster', 'weight', 'sensitivity', 'removal']
    """
    import pandas as pd

    cells = checks.read(adata, field or key_added, spliced_layer, cluster_key=cluster_key, x_floor=x_floor)
    n_regs = len(cells.field.regulators)
    total = {c: torch.zeros(n_regs, n_regs, dtype=torch.float64) for c in cells.field.clusters}
    counted, bad = dict.fromkeys(cells.field.clusters, 0), 0
    for block in _blocks(cells) if n_regs else ():
        f, slope = block.field, block.field.slope(block.x)
        checks.refuse_not_finite("The slope of the activation", slope)
        values, left, right, condition = leading_vectors(regulator_block(slope, f.w, f.regs, f.gamma))
        good = condition < SINGULAR
        bad += int((~good).sum())
        counted[block.cluster] += int(good.sum())
        rest = f.gamma[others(f.w, f.regs)]
        moved = good & (values.real >= -rest.min()) if len(rest) else good
        total[block.cluster] += (left[moved].conj().T @ (slope * right)[moved]).real
    if bad:
        _checks.warn(
            f"The leading eigenvalue of {bad} of {len(cells)} cells has no reliable derivative "
            f"(condition number above {SINGULAR:g}); they are left out of the means."
        )
    tables = []
    for cluster, values in total.items():
        f = cells.field.cluster(cluster)
        if not (cells.labels == cluster).any():
            continue
        mean = torch.full((len(f.w), n_regs), torch.nan, dtype=torch.float64)
        mean[f.regs] = values / counted[cluster] if counted[cluster] else torch.nan
        inner = torch.zeros_like(f.w, dtype=torch.bool)
        inner[f.regs] = (f.w[f.regs] != 0) | absent
        at = torch.nonzero(inner)
        table = _edge_table(
            f, cells.field, cluster, at[:, 0], at[:, 1], sensitivity=mean, removal=-f.w * mean
        )
        by = "sensitivity" if absent else "removal"
        tables.append(table.sort_values(by, key=np.abs, ascending=False, kind="stable"))
    return pd.concat(tables, ignore_index=True)


def elasticities(
    adata: AnnData,
    *,
    field: Field | None = None,
    spliced_layer: str | None = "Ms",
    cluster_key: str | None = "cell_type",
    x_floor: float = 0.0,
    key_added: str = "hopfield",
) -> pd.DataFrame:
    r"""Effect of each edge without units: per cent of production gained per cent of regulator.

    .. math:: e_{ij} = \frac{\partial\ln P_i}{\partial\ln x_j} = \frac{W_{ij}\, n_j (1 - \varphi_j)\varphi_j}{P_i},
              \qquad P = W\varphi + I .

    Unlike the Jacobian it does not blow up where expression is near 0, and edges of different genes compare.

    Parameters
    ----------
    adata
        Cells with a fitted field.
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
    One row per edge and cluster: ``regulator``, ``target``, ``cluster``, ``weight``, ``elasticity`` (mean over the
    cells), ``share_of_cells`` that enter the mean; largest first within a cluster. Nothing is written.

    Raises
    ------
    MissingKeyError, ValueError
        Missing slots, values that are not finite.

    Notes
    -----
    A fitted production can be zero or negative, where the ratio has no meaning: cells in which it is below 1 % of
    the sum of the sizes of its terms are left out for that target, and ``share_of_cells`` says how many stayed.
    O(cells * genes * regulators).

    Examples
    --------
    >>> from scmods import hopfield
    >>> adata = hopfield.toggle(5, 8)
    >>> field = hopfield.fit(adata)
    >>> list(hopfield.elasticities(adata).columns)
    ['regulator', 'target', 'cluster', 'weight', 'elasticity', 'share_of_cells']
    """
    import pandas as pd

    cells = checks.read(adata, field or key_added, spliced_layer, cluster_key=cluster_key, x_floor=x_floor)
    shape = cells.field.interactions.shape[1:]
    total = {c: torch.zeros(shape, dtype=torch.float64) for c in cells.field.clusters}
    counted = {c: torch.zeros(shape[0], dtype=torch.float64) for c in cells.field.clusters}
    for block in cells.blocks():
        f, phi = block.field, block.field.activation(block.x)
        made = phi @ f.w.T + f.bias
        good = made > REST * (phi @ f.w.abs().T + f.bias.abs())
        inverse = torch.where(good, 1 / made, 0.0)
        total[block.cluster] += inverse.T @ (f.exponent[f.regs] * phi * (1 - phi))
        counted[block.cluster] += good.sum(0)
    tables = []
    for cluster, values in total.items():
        n = int((cells.labels == cluster).sum())
        if n:
            f = cells.field.cluster(cluster)
            mean = f.w * values / counted[cluster][:, None]  # 0 / 0 is NaN: no cell, no mean
            share = (counted[cluster] / n)[:, None].expand(shape)
            at = torch.nonzero(f.w)
            table = _edge_table(
                f, cells.field, cluster, at[:, 0], at[:, 1], elasticity=mean, share_of_cells=share
            )
            tables.append(table.sort_values("elasticity", key=np.abs, ascending=False, kind="stable"))
    return pd.concat(tables, ignore_index=True)


def steady_state_response(
    adata: AnnData,
    *,
    field: Field | None = None,
    spliced_layer: str | None = "Ms",
    cluster_key: str | None = "cell_type",
    x_floor: float = 0.0,
    stable_only: bool = True,
    key_added: str = "hopfield",
) -> pd.DataFrame:
    r"""Where the genes settle when the production of one regulator is raised by 1 and kept there.

    The state shifts by :math:`\delta = -J^{-1} e_g`. Among the regulators this is a solve with the block A; every other
    gene follows as :math:`\delta_R = \Gamma_R^{-1} W_{RT} D\,\delta_T`.

    Parameters
    ----------
    adata
        Cells with a fitted field.
    field
        The field; that of ``uns[key_added]`` by default.
    spliced_layer
        Expression the field was fitted on; None for ``X``.
    cluster_key
        Column of ``obs`` with the cluster of each cell; None where one field serves all.
    x_floor
        Expression is raised to this value first.
    stable_only
        Leave out cells with an eigenvalue whose real part is not negative: from there nothing settles.
    key_added
        Prefix under which the field lies.

    Returns
    -------
    Mean over the cells, rows: (cluster, target), columns: regulator whose production rises; unit: time (expression
    per production). NaN for clusters without a cell that counts, and for genes that do not decay. Nothing is written.

    Raises
    ------
    MissingKeyError, ValueError
        Missing slots, values that are not finite.

    Warns
    -----
    NumericalWarning
        For Jacobians that are nearly singular (condition number of A above 1e8), which are left out, and for
        clusters of which no cell is left.

    Notes
    -----
    First order, with the Jacobian of the cell in place of the steady state's: good near rest. O(regs^3) per cell.

    Examples
    --------
    >>> from scmods import hopfield
    >>> adata = hopfield.toggle(5, 8)
    >>> field = hopfield.fit(adata)
    >>> hopfield.steady_state_response(adata, stable_only=False).shape
    (2, 2)
    """
    import pandas as pd

    cells = checks.read(adata, field or key_added, spliced_layer, cluster_key=cluster_key, x_floor=x_floor)
    n_regs, singular = len(cells.field.regulators), 0
    names = cells.field.clusters
    inner = {c: torch.zeros(n_regs, n_regs, dtype=torch.float64) for c in names}
    driven, counted = {c: torch.zeros_like(inner[c]) for c in names}, dict.fromkeys(names, 0)
    for block in _blocks(cells) if n_regs else ():
        f, slope = block.field, block.field.slope(block.x)
        a = regulator_block(slope, f.w, f.regs, f.gamma)
        checks.refuse_not_finite("A Jacobian", a)
        good = torch.linalg.cond(a) < SINGULAR
        singular += int((~good).sum())
        if stable_only:
            good &= torch.linalg.eigvals(a).real.amax(1) < 0
        shift = -torch.linalg.inv(a[good])
        inner[block.cluster] += shift.sum(0)
        driven[block.cluster] += torch.einsum("ct,ctg->tg", slope[good], shift)
        counted[block.cluster] += int(good.sum())
    if singular:
        _checks.warn(
            f"The Jacobian of {singular} of {len(cells)} cells is nearly singular (condition number above "
            f"{SINGULAR:g}): they have no steady state nearby and are left out."
        )
    tables, empty = {}, []
    for cluster in names:
        if not (cells.labels == cluster).any():
            continue
        f, n = cells.field.cluster(cluster), counted[cluster]
        empty += [] if n else [cluster]
        mean = (f.w @ driven[cluster]) / f.gamma[:, None] / n if n else torch.full_like(f.w, torch.nan)
        mean[f.regs] = inner[cluster] / n if n else torch.nan
        mean = torch.where(torch.isfinite(mean), mean, torch.nan)
        tables[cluster] = pd.DataFrame(
            mean.numpy(), index=list(cells.field.genes), columns=cells.field.regulator_names
        )
    if empty:
        _checks.warn(
            f"No cell of {_checks.listing(empty)} is stable, so no steady state is near. "
            "With stable_only=False they are counted all the same."
        )
    return pd.concat(tables, names=["cluster", "target"]).rename_axis(columns="regulator")
