r"""Edges as tables: weights, standardised effects, and effects straight from two layers without a field."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor

from scmods import _arrays, _checks
from scmods.hopfield import gram, masks
from scmods.hopfield.checks import expression
from scmods.hopfield.field import Field
from scmods.hopfield.fit_input import FitInput, cluster_labels, modelled_genes
from scmods.hopfield.gram_sums import FieldSums
from scmods.hopfield.keys import Keys
from scmods.hopfield.recipes import ridge_option

if TYPE_CHECKING:
    import pandas as pd
    from anndata import AnnData

__all__ = ["association", "edge_table", "effects", "long_table", "standardised"]


def edge_table(field: Field, *, zeros: bool = False) -> pd.DataFrame:
    """The interactions as a table, strongest weights of each cluster first.

    Parameters
    ----------
    field
        The field.
    zeros
        Keep edges of weight 0.

    Returns
    -------
    Columns ``cluster``, ``regulator``, ``target``, ``weight`` (W, unit of the velocity).

    Examples
    --------
    >>> from scmods import hopfield
    >>> field = hopfield.true_field(hopfield.toggle(2, 3))
    >>> hopfield.edge_table(field)["weight"].tolist()
    [5.0, 5.0, -4.0, -4.0]
    """
    return long_table(field, {"weight": field.interactions.numpy()}, zeros=zeros)


def long_table(field: Field, values: dict[str, np.ndarray], *, zeros: bool) -> pd.DataFrame:
    """Matrices (clusters, genes, regs) as columns of a table, sorted by the size of the first within clusters.

    Parameters
    ----------
    field
        Gives the names, and says which edges are 0.
    values
        Columns by name.
    zeros
        Keep edges of weight 0.
    """
    import pandas as pd

    shape = tuple(field.interactions.shape)
    c, target, reg = (a.ravel() for a in np.indices(shape))
    table = pd.DataFrame(
        {
            "cluster": np.asarray(field.clusters, dtype=object)[c],
            "regulator": np.asarray(field.regulator_names, dtype=object)[reg],
            "target": np.asarray(field.genes, dtype=object)[target],
            **{name: value.ravel() for name, value in values.items()},
        }
    )
    size = np.abs(next(iter(values.values())).ravel())
    order = np.lexsort((-size, c))
    keep = order if zeros else order[(field.interactions.numpy().ravel() != 0)[order]]
    return table.iloc[keep].reset_index(drop=True)


def standardised(w: Tensor, sums: FieldSums, gamma: Tensor) -> Tensor:
    """Effect of one standard deviation of the activation in standard deviations of the target; 0 where constant.

    Parameters
    ----------
    w
        (genes, regs) weights.
    sums
        Sums of the cells.
    gamma
        (genes,) degradation rates.
    """
    y = sums.targets(gamma)
    sd_phi, sd_y = gram.spread(y.phi_phi.diagonal(), y.mean_phi), gram.spread(y.y_y, y.mean_y)
    return torch.where(sd_y > 0, 1 / sd_y.clamp_min(1e-300), 0.0)[:, None] * w * sd_phi


def effects(
    field: Field,
    adata: AnnData,
    *,
    cluster_key: str | None = "cell_type",
    spliced_layer: str = "Ms",
    velocity_layer: str = "velocity",
    zeros: bool = False,
) -> pd.DataFrame:
    r"""Standardised effects :math:`W_{ij}\,\mathrm{sd}(\varphi_j)/\mathrm{sd}(v_i + \gamma_i x_i)`.

    Weights carry the scale of the genes, effects do not: rank edges by these.

    Parameters
    ----------
    field
        A fitted field.
    adata
        The cells it was fitted on.
    cluster_key, spliced_layer, velocity_layer
        As in `fit`.
    zeros
        Keep edges of weight 0.

    Returns
    -------
    Columns ``cluster``, ``regulator``, ``target``, ``effect``, ``weight``; largest effects of each cluster first.

    Examples
    --------
    >>> from scmods import hopfield
    >>> adata = hopfield.toggle(5, 8)
    >>> field = hopfield.fit(adata)
    >>> list(hopfield.effects(field, adata).columns)
    ['cluster', 'regulator', 'target', 'effect', 'weight']
    """
    clusters, rows = cluster_labels(adata, cluster_key)
    missing = [c for c in field.clusters if c not in clusters]
    if missing:
        _checks.fail(
            f"Clusters of the field without cells: {_checks.listing(missing)}.",
            f"Present: {_checks.listing(clusters, 20)}. Name the column it was fitted with: cluster_key='...'.",
        )
    columns = adata.var_names.get_indexer(list(field.genes))
    if (columns < 0).any():
        _checks.fail(
            "The field models genes that are not in `adata.var_names`.", "Use the data it was fitted on."
        )
    data = FitInput(
        field.genes, clusters, rows, columns, expression(adata, spliced_layer, columns),
        _arrays.matrix(adata, velocity_layer), field.threshold, field.exponent, field.degradation[0],
        field.regulators, None,
    )  # fmt: skip
    found = [
        standardised(field.interactions[c], data.sums(rows[clusters.index(name)]), field.degradation[c])
        for c, name in enumerate(field.clusters)
    ]
    values = {"effect": torch.stack(found).numpy(), "weight": field.interactions.numpy()}
    return long_table(field, values, zeros=zeros)


def _layer_values(
    adata: AnnData, layer: str | None, rows: np.ndarray, columns: np.ndarray, *, log: bool
) -> Tensor:
    values = torch.as_tensor(_arrays.read_rows(_arrays.matrix(adata, layer), rows)[:, columns])
    return values.log1p() if log else values


def association(
    adata: AnnData,
    *,
    source_layer: str | None = "spliced",
    target_layer: str | None = "unspliced",
    log: bool = True,
    regulators: Sequence[str] | str | None = None,
    ridge: float | str = "gcv",
    cluster_key: str | None = None,
    genes: Sequence[str] | None = None,
    edge_weights: Any = None,
    self_edges: bool = True,
    key_added: str = "hopfield",
) -> pd.DataFrame:
    r"""Standardised effects of regulators on targets by ridge regression between two layers, without a field.

    Unspliced counts of the target on spliced counts of the regulators, in single cells: the noise of sampling is
    seen, so the penalty is chosen for finding edges. There is no Hill function, no velocity and no smoothing.

    Parameters
    ----------
    adata
        Cells with both layers.
    source_layer, target_layer
        Layers of the regulators and of the targets; None for ``X``.
    log
        Take log(1 + value) of both.
    regulators
        As in `fit`.
    ridge
        As in `fit`.
    cluster_key
        Regress within clusters; by default over all cells.
    genes
        Names of the genes; ``var["hopfield_used"]`` by default, all genes where that is missing.
    edge_weights
        Penalty factors, as in `fit`.
    self_edges
        Let a regulator explain itself. The two layers of one gene share its activity, so without this its effect
        goes to other regulators.
    key_added
        Prefix of the mark of the genes.

    Returns
    -------
    Rows: targets, columns: regulators, standard deviations of the target per standard deviation of the regulator;
    0 for genes that do not vary. With `cluster_key` the rows have two levels, cluster and target.

    Raises
    ------
    MissingKeyError, ValueError
        For missing layers, NaN, negative values, unknown genes.

    Examples
    --------
    >>> from scmods import hopfield
    >>> adata = hopfield.random_circuit(120, 12, n_regulators=4, n_clusters=1)
    >>> hopfield.moments(adata, n_neighbors=10)
    >>> hopfield.velocity(adata)
    >>> hopfield.fit_hill(adata)
    >>> hopfield.association(adata, regulators=list(adata.var_names[:4])).shape
    (12, 4)
    """
    import pandas as pd

    names = modelled_genes(adata, Keys(key_added), genes)
    columns = adata.var_names.get_indexer(names)
    regs = masks.regulator_positions(adata, names, regulators)
    penalty, per_target = ridge_option(ridge)
    for layer in (source_layer, target_layer):
        expression(adata, layer, columns)
    factors = np.ones((len(names), len(regs)))
    if edge_weights is not None:
        factors = masks.weight_matrix(edge_weights, names, regs).copy()
    if not self_edges:
        factors[regs, np.arange(len(regs))] = np.inf
    weights = None if (factors == 1).all() else torch.as_tensor(factors)
    tables = {}
    for cluster, rows in zip(*cluster_labels(adata, cluster_key), strict=True):
        x = _layer_values(adata, source_layer, rows, columns[regs], log=log)
        y = _layer_values(adata, target_layer, rows, columns, log=log)
        sums = FieldSums.of(x, y, y.new_zeros(1, 1).expand_as(y))
        zero = y.new_zeros(len(names))
        found = gram.ridge(sums.targets(zero), penalty, per_target=per_target, weights=weights)
        tables[cluster] = pd.DataFrame(
            standardised(found.w, sums, zero).numpy(),
            index=pd.Index(names, name="target"),
            columns=pd.Index([names[i] for i in regs], name="regulator"),
        )
    return tables["all"] if cluster_key is None else pd.concat(tables, names=["cluster"])
