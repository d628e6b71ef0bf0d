"""Whole studies of the chapter: recovery of known edges on one circuit, and on several."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

from scmods import _checks
from scmods.hopfield.edge_effects import association, effects
from scmods.hopfield.evidence import penalty_factors
from scmods.hopfield.infer import fit
from scmods.hopfield._published import published
from scmods.hopfield.recovery import edge_recovery, recovery_curve

if TYPE_CHECKING:
    import pandas as pd
    from anndata import AnnData

    from scmods.hopfield.field import Field

__all__ = ["circuit_study", "edge_scores", "recovery_study", "true_edges"]

TRUTH = "true_interactions"
SHOWN = ["auroc", "auprc", "tf_auroc", "tf_auprc", "tf_sign_accuracy"]


def true_edges(adata: AnnData, key: str = TRUTH) -> pd.DataFrame:
    """Known interactions by name, rows: targets, columns: regulators.

    Parameters
    ----------
    adata
        Simulated cells.
    key
        Slot of ``varp``.

    Returns
    -------
    Square table of all genes; 0 where there is no edge.
    """
    import pandas as pd

    _checks.key(adata, "varp", key, "Only simulated data come with it: `datasets.load('random_circuit')`.")
    values = _checks.numeric(f"`adata.varp[{key!r}]`", adata.varp[key])
    names = adata.var_names.astype(str)
    return pd.DataFrame(values, index=names, columns=names)


def _matrix(table: pd.DataFrame, value: str) -> pd.DataFrame:
    """Mean over the clusters of one column of an edge table, targets x regulators."""
    return table.pivot_table(value, "target", "regulator", "mean", fill_value=0.0, observed=True)


def edge_scores(
    adata: AnnData,
    field: Field,
    *,
    cluster_key: str | None = None,
    spliced_layer: str = "Ms",
    velocity_layer: str = "velocity",
    counts: tuple[str, str] | None = ("spliced", "unspliced"),
) -> dict[str, pd.DataFrame]:
    """Several scores of every edge from a regulator: of the field, of the original's objective, of the counts.

    Parameters
    ----------
    adata
        Cells with Hill functions and velocity.
    field
        The fitted field.
    cluster_key, spliced_layer, velocity_layer
        As in `fit`; scores of several clusters are averaged.
    counts
        Layers of spliced and unspliced counts for `association`; None leaves it out.

    Returns
    -------
    Tables, targets x regulators, by name of the score.
    """
    layers = {"spliced_layer": spliced_layer, "velocity_layer": velocity_layer}
    own = effects(field, adata, cluster_key=cluster_key, zeros=True, **layers)
    scores = {"effects of the field": _matrix(own, "effect"), "its raw weights": _matrix(own, "weight")}
    regs = field.regulator_names
    scratch = adata.copy()
    # the original's pipeline opens every column of a regulator, so nothing but the bias is penalised
    old = fit(
        scratch,
        method="penalised",
        cluster_key=cluster_key,
        regulators=regs,
        scaffold_regularization=0.0,
        genes=field.genes,
        key_added="hopfield",
        **layers,
    )
    raw = effects(old, adata, cluster_key=cluster_key, zeros=True, **layers)
    scores["the original's objective"] = _matrix(raw, "weight")
    if counts is not None:
        source, target = counts
        scores["association"] = association(
            adata, source_layer=source, target_layer=target, regulators=regs, genes=field.genes
        )
    return scores


def recovery_study(
    scores: dict[str, pd.DataFrame], truth: pd.DataFrame, regulators: Sequence[str]
) -> tuple[pd.DataFrame, pd.DataFrame]:
    """How well several scores find the known edges, with the mask alone and a perfect masked method beside them.

    Parameters
    ----------
    scores
        Tables of `edge_scores`; genes that are missing score 0.
    truth
        Table of `true_edges`.
    regulators
        Names of the genes that may regulate.

    Returns
    -------
    Table with a row per score and the columns ``auroc``, ``auprc``, ``tf_auroc``, ``tf_auprc``,
    ``tf_sign_accuracy`` of `edge_recovery`; and points of the curves within the regulators, for `plot_recovery`.
    """
    import pandas as pd

    rows, curves = {}, {}
    for name, score in scores.items():
        found = edge_recovery(score, truth, regulators=list(regulators))
        rows[name] = found.loc["score"]
        curves[name] = recovery_curve(score, truth, regulators=list(regulators), within=True, n_points=60)
    rows |= {"regulators alone": found.loc["mask"], "perfect within regulators": found.loc["perfect masked"]}
    points = pd.concat({n: c for n, c in curves.items()}, names=["scorer"]).reset_index("scorer")
    return pd.DataFrame(rows).T[SHOWN].rename_axis("score"), points.reset_index(drop=True)


def _prepared(adata: AnnData, names: list[str], n_neighbors: int) -> AnnData:
    from scmods.hopfield.choice import select_genes
    from scmods.hopfield.hill import fit_hill
    from scmods.hopfield.velocities import moments, velocity

    moments(adata, n_neighbors=n_neighbors)
    velocity(adata)
    slopes = adata.var["gamma"].notna()
    select_genes(adata, n_genes=adata.n_vars, keep=[n for n in names if slopes[n]])
    adata = adata[:, adata.var["hopfield_used"]].copy()
    fit_hill(adata)
    return adata


def circuit_study(
    names: Sequence[str], *, ridge: float | str = 0.3, n_neighbors: int = 30, evidence: bool = True
) -> pd.DataFrame:
    """The recovery study on several simulated circuits, one field for all cells, and what was published beside it.

    Parameters
    ----------
    names
        Data sets with known edges: ``"dyngen_cycle"``, ... or paths of files with the same slots.
    ridge
        Penalty of the field.
    n_neighbors
        Cells averaged by the smoothing.
    evidence
        Weight the penalty of every edge by the counts, see `penalty_factors`.

    Returns
    -------
    Columns ``circuit``, ``score`` and those of `recovery_study`; rows named "published" have the two overall values
    that the original's authors report when the regulators are known, and NaN elsewhere.
    """
    import pandas as pd

    from scmods import datasets
    from scmods.hopfield.setup import regulator_names

    parts = []
    for name in names:
        adata = datasets.load(name)
        truth, regs = true_edges(adata), regulator_names(adata)
        adata = _prepared(adata, regs, n_neighbors)
        inside = [r for r in regs if r in adata.var_names]
        weights = penalty_factors(adata, regulators=inside) if evidence else None
        field = fit(adata, cluster_key=None, regulators=inside, ridge=ridge, edge_weights=weights)
        table, _ = recovery_study(edge_scores(adata, field), truth, regs)
        for _, row in published(name).query("known == 'regulators'").iterrows():
            table.loc["published"] = [row["auroc"], row["auprc"], np.nan, np.nan, np.nan]
        parts.append(table.reset_index().assign(circuit=str(name)))
    out = pd.concat(parts, ignore_index=True)
    return out[["circuit", *[c for c in out.columns if c != "circuit"]]]
