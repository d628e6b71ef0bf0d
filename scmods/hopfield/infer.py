"""Fit the interactions of every cluster from expression, velocity and degradation."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import torch

from scmods import _checks
from scmods.hopfield.edge_effects import association, edge_table, effects
from scmods.hopfield.field import Field
from scmods.hopfield.fit_input import FitInput, read_fit_input
from scmods.hopfield.gram_sums import FieldSums, Solution
from scmods.hopfield.keys import Keys
from scmods.hopfield.recipes import make_recipe

if TYPE_CHECKING:
    import pandas as pd
    from anndata import AnnData

__all__ = ["association", "edge_table", "effects", "fit"]


def _few_cells(data: FitInput, method: str) -> None:
    few = [
        f"{name!r}: {len(rows)}"
        for name, rows in zip(data.clusters, data.rows, strict=True)
        if len(rows) <= len(data.regs)
    ]
    if few and method != "least_squares":
        _checks.warn(
            f"Clusters with no more cells than the {len(data.regs)} regulators: {', '.join(few)}. The penalty decides "
            "what the cells do not; merge clusters, name fewer regulators, or borrow strength: pooled=0.5.",
            level=4,
        )


def make_field(data: FitInput, found: Sequence[Solution]) -> Field:
    """The field of the solutions of all clusters.

    Parameters
    ----------
    data
        What was fitted.
    found
        One solution per cluster.
    """
    gamma = [data.gamma if s.gamma is None else s.gamma for s in found]
    return Field(
        data.genes,
        data.clusters,
        data.regs,
        torch.stack([s.w for s in found]),
        torch.stack(gamma),
        torch.stack([s.bias for s in found]),
        data.threshold,
        data.exponent,
    )


def r2_velocity(sums: FieldSums, found: Solution) -> tuple[float, float]:
    """Share of the variance of the velocity that the fit explains: of all genes together, and the median gene.

    Parameters
    ----------
    sums
        Sums of the cluster.
    found
        Its solution.
    """
    known = sums.v_v > 0
    if not known.any():
        return float("nan"), float("nan")
    whole = 1 - float(found.mean_square.sum() / sums.v_v.sum())
    return whole, float((1 - found.mean_square[known] / sums.v_v[known]).median())


def _fit_table(data: FitInput, sums: Sequence[FieldSums], found: Sequence[Solution]) -> pd.DataFrame:
    import pandas as pd

    r2 = [r2_velocity(s, f) for s, f in zip(sums, found, strict=True)]
    table = pd.DataFrame(
        {
            "cluster": list(data.clusters),
            "n_cells": [len(r) for r in data.rows],
            "penalty": [float(f.penalty.median()) for f in found],
            "df": [float(f.df.mean()) for f in found],
            "r2": [r[0] for r in r2],
            "r2_median": [r[1] for r in r2],
            "residual": [f.residual for f in found],
        }
    )
    if data.edges is not None and data.edges.sign.any():
        known = torch.as_tensor(data.edges.sign != 0)
        sign = torch.as_tensor(data.edges.sign)[known]
        table["sign_agreement"] = [float((f.w[known].sign() == sign).double().mean()) for f in found]
    table.index = table.index.astype(str)
    return table


def fit(
    adata: AnnData,
    *,
    method: str = "ridge",
    cluster_key: str | None = "cell_type",
    spliced_layer: str = "Ms",
    velocity_layer: str = "velocity",
    degradation_key: str = "gamma",
    regulators: Sequence[str] | str | None = None,
    edges: Any = None,
    hard_mask: bool | None = None,
    ridge: float | str = "gcv",
    scaffold_regularization: float = 1.0,
    bias_regularization: float = 1.0,
    bias_penalty: str = "l1",
    refit_gamma: bool = False,
    gamma_min: float = 0.01,
    pooled: float = 0.0,
    edge_weights: Any = None,
    genes: Sequence[str] | None = None,
    key_added: str = "hopfield",
) -> Field:
    r"""Fit :math:`v + \gamma x \approx W_c\varphi(x) + I_c` in every cluster c, without epochs.

    All targets of a cluster share the design, the activations of the regulators, so sums over the cells are all that
    is needed: one pass over the data, then a decomposition of a (regulators, regulators) matrix per cluster.

    Parameters
    ----------
    adata
        Cells, with Hill functions (`fit_hill`), velocities and rates.
    method
        - ``"ridge"``: minimises :math:`\tfrac1n\|y_i - \varphi W_i - I_i\|^2 + \lambda\sum_j p_{ij}\sigma_j^2
          W_{ij}^2` for each target i, with :math:`\sigma_j` the standard deviation of the activation j.
        - ``"penalised"``: the objective of the original, to its minimum, see `scmods.hopfield.penalised`.
        - ``"least_squares"``: no penalty; needs more cells than regulators.
    cluster_key
        Column of ``obs``; None fits one field, named ``"all"``, to all cells. Categories without cells are skipped.
    spliced_layer
        Layer with expression, not negative, not logged.
    velocity_layer
        Layer with the velocity in unit of the expression per time.
    degradation_key
        Column of ``var`` with gamma, 1 / time.
    regulators
        Names; or a bool column of ``var``; or None: the genes with an edge if `edges` is given, else
        ``var["transcription_factor"]`` if that exists, else every modelled gene.
    edges
        Scaffold: pairs (regulator, target), or a table with columns ``regulator``, ``target`` and, if known, ``sign``
        (only compared with the fit) and ``weight`` (evidence; the ridge penalty of the edge is divided by it).
    hard_mask
        Forbid the edges outside the scaffold, the default of ridge and least squares. When False, they are
        penalised: by `scaffold_regularization` in the penalised fit, by the factor 1 + that in the ridge.
    ridge
        :math:`\lambda`, for standardised activations: 0.3 to 1 shrinks strongly. ``"gcv"`` chooses one value per
        cluster, ``"gcv_target"`` one per target, by generalised cross-validation.
    scaffold_regularization
        :math:`\lambda_s` of the penalised fit. Without `edges` it falls on every edge.
    bias_regularization, bias_penalty
        :math:`\lambda_b` and form (``"l1"``, ``"l2"``, ``"elastic"``) of the penalty of I in the penalised fit.
    refit_gamma
        Fit gamma along with W, per cluster. The velocity alone then decides it; expect values far below those of
        the steady state.
    gamma_min
        Smallest refitted gamma.
    pooled
        Share :math:`\rho` in [0, 1) of the ridge that pulls towards the fit of all cells :math:`W_0` instead of
        towards 0: the penalty becomes :math:`\lambda[(1-\rho)\|W\|^2 + \rho\|W - W_0\|^2]`, which is a ridge
        around :math:`\rho W_0`. For clusters of few cells.
    edge_weights
        Penalty factors p (ridge), targets x regulators, by name as a DataFrame or as an array: where evidence of
        another kind enters. 1 changes nothing, below 1 favours an edge, ``inf`` removes it.
    genes
        Names of the genes to model; ``var["hopfield_used"]`` by default, all genes where that is missing.
    key_added
        Prefix of what is read and written.

    Returns
    -------
    The field. Written: ``uns[key_added]``, the field with ``settings``, ``residual_variance`` (clusters, genes), and
    ``fit``, a table with a row per cluster: ``n_cells``, ``penalty`` (median of the targets), ``df`` (mean effective
    degrees of freedom of a target), ``r2`` of the velocity (all genes together) and ``r2_median`` (median gene),
    ``residual`` of the solver, and ``sign_agreement`` where the edges have signs.

    Raises
    ------
    MissingKeyError, ValueError, TypeError
        For missing slots, NaN, velocities that do not vary, labels that are missing, options that do not belong
        together, least squares with too few cells: with the value, what exists and what to call.

    Warns
    -----
    NumericalWarning
        No more cells than regulators; logged expression beside velocity of counts; solver not converged.

    Notes
    -----
    O(cells * regulators * genes) time once; memory of one block of cells. Smoothed layers hide the noise of sampling,
    so ``"gcv"`` on them chooses a small penalty: good for the field, poor for finding edges (see `association`).
    Weights have the unit of the velocity and span orders of magnitude; compare edges by `effects`.

    Examples
    --------
    >>> from scmods import hopfield
    >>> adata = hopfield.toggle(5, 8)
    >>> field = hopfield.fit(adata)  # the velocities have no noise, so the circuit comes back
    >>> field.interactions.round().tolist()
    [[[5.0, -4.0], [-4.0, 5.0]]]
    """
    data = read_fit_input(
        adata,
        cluster_key=cluster_key,
        spliced_layer=spliced_layer,
        velocity_layer=velocity_layer,
        degradation_key=degradation_key,
        regulators=regulators,
        edges=edges,
        genes=genes,
        key_added=key_added,
    )
    options = {
        "method": method, "hard_mask": hard_mask, "ridge": ridge, "bias_penalty": bias_penalty,
        "scaffold_regularization": scaffold_regularization, "bias_regularization": bias_regularization,
        "refit_gamma": refit_gamma, "gamma_min": gamma_min, "pooled": pooled,
    }  # fmt: skip
    recipe = make_recipe(data, **options, edge_weights=edge_weights)
    _few_cells(data, method)
    sums = [data.sums(rows) for rows in data.rows]
    found = recipe.solve_all(sums, data.gamma)
    field = make_field(data, found)
    options["hard_mask"] = recipe.allowed is not None
    slots = {
        "cluster_key": cluster_key or "", "spliced_layer": spliced_layer, "velocity_layer": velocity_layer,
        "degradation_key": degradation_key, "scaffold": edges is not None, "weighted": edge_weights is not None,
    }  # fmt: skip
    adata.uns[Keys(key_added).info] = {
        **field.to_uns(),
        "settings": {**options, **slots},
        "fit": _fit_table(data, sums, found),
        "residual_variance": torch.stack([s.residual_variance for s in found]).numpy(),
    }
    return field
