"""Whole studies of the chapter: recovery of known edges on one circuit, and on several."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from scmods import _checks
from scmods.hopfield._published import published
from scmods.hopfield.edge_effects import association, effects
from scmods.hopfield.evidence import penalty_factors
from scmods.hopfield.infer import fit
from scmods.hopfield.recovery import edge_recovery, recovery_curve

if TYPE_CHECKING:
    from collections.abc import Iterator

    import pandas as pd
    from anndata import AnnData

    from scmods.hopfield.field import Field

__all__ = ["circuit_study", "edge_scores", "independent_halves", "recovery_study", "true_edges"]

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

    Examples
    --------
    >>> from scmods import hopfield
    >>> hopfield.true_edges(hopfield.toggle(2, 3)).loc["A", "B"].item()
    -4.0
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

    Examples
    --------
    >>> from scmods import hopfield
    >>> adata = hopfield.random_circuit(120, 12, n_regulators=4, n_clusters=1)
    >>> hopfield.moments(adata, n_neighbors=10)
    >>> hopfield.velocity(adata)
    >>> hopfield.fit_hill(adata)
    >>> names = list(adata.var_names[adata.var["transcription_factor"]])
    >>> field = hopfield.fit(adata, regulators=names)
    >>> len(hopfield.edge_scores(adata, field, cluster_key="cell_type")) > 1
    True
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

    Examples
    --------
    >>> from scmods import hopfield
    >>> adata = hopfield.random_circuit(120, 12, n_regulators=4, n_clusters=1)
    >>> hopfield.moments(adata, n_neighbors=10)
    >>> hopfield.velocity(adata)
    >>> hopfield.fit_hill(adata)
    >>> names = list(adata.var_names[adata.var["transcription_factor"]])
    >>> scores = hopfield.edge_scores(adata, hopfield.fit(adata, regulators=names), cluster_key="cell_type")
    >>> table, curves = hopfield.recovery_study(scores, hopfield.true_edges(adata), names)
    >>> table.loc["regulators alone", "tf_auroc"].item()
    0.5
    """
    import pandas as pd

    rows, curves = {}, {}
    for name, score in scores.items():
        found = edge_recovery(score, truth, regulators=list(regulators))
        rows[name] = found.loc["score"]
        curves[name] = recovery_curve(score, truth, regulators=list(regulators), within=True, n_points=40)
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

    Examples
    --------
    >>> import warnings
    >>> from scmods import NumericalWarning, hopfield
    >>> warnings.simplefilter("ignore", NumericalWarning)  # a few Hill fits do not converge
    >>> table = hopfield.circuit_study(["dyngen_cycle"], evidence=False)  # doctest: +SKIP
    >>> list(table.columns[:2])  # doctest: +SKIP
    ['circuit', 'score']
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


def _halves(labels: np.ndarray, n_splits: int, seed: int) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """Positions of the cells of both halves; every cluster is halved on its own."""
    rng = np.random.default_rng(seed)
    for _ in range(n_splits):
        first = np.zeros(len(labels), dtype=bool)
        for name in np.unique(labels):
            rows = rng.permutation(np.flatnonzero(labels == name))
            first[rows[: (len(rows) + 1) // 2]] = True
        yield np.flatnonzero(first), np.flatnonzero(~first)


def independent_halves(
    adata: AnnData,
    modelled: AnnData,
    *,
    cluster_key: str | None = "cell_type",
    counts: tuple[str, str] = ("spliced", "unspliced"),
    n_neighbors: int = 30,
    n_splits: int = 3,
    seed: int = 0,
    **fit_options: Any,
) -> pd.DataFrame:
    """Agreement of two fits whose cells share nothing: each half is smoothed over its own neighbours.

    `split_half` divides cells that were smoothed together, so its halves share counts. Here they do not; the activation
    of every gene and its rate of degradation are those of all cells.

    Parameters
    ----------
    adata
        All genes, with counts.
    modelled
        The same cells and the genes of the field, with Hill functions and rates.
    cluster_key
        Column of labels; None for one field.
    counts
        Layers of spliced and unspliced counts.
    n_neighbors
        Cells averaged by the smoothing, within each half.
    n_splits, seed
        Random divisions, every cluster on its own.
    fit_options
        As for `fit`.

    Returns
    -------
    Columns ``split``, ``cluster``, ``correlation`` of the weights, ``correlation_effect`` of the effects.

    Examples
    --------
    >>> from scmods import hopfield
    >>> adata = hopfield.random_circuit(120, 12, n_regulators=4, n_clusters=1)
    >>> hopfield.moments(adata, n_neighbors=10)
    >>> hopfield.velocity(adata)
    >>> hopfield.fit_hill(adata)
    >>> table = hopfield.independent_halves(adata, adata, n_neighbors=10, n_splits=1)
    >>> list(table.columns)
    ['split', 'cluster', 'correlation', 'correlation_effect']
    """
    import pandas as pd

    from scmods.hopfield.fit_input import cluster_labels

    names, rows = cluster_labels(adata, cluster_key)
    labels = np.empty(adata.n_obs, dtype=object)
    for name, which in zip(names, rows, strict=True):
        labels[which] = name
    out = []
    for split, parts in enumerate(_halves(labels.astype(str), n_splits, seed)):
        found = [
            _half(adata, modelled, part, counts, n_neighbors, cluster_key=cluster_key, **fit_options)
            for part in parts
        ]
        both = found[0].merge(found[1], on=["cluster", "regulator", "target"], suffixes=("_a", "_b"))
        for name, table in both.groupby("cluster", observed=True):
            pair = {k: table[f"{k}_a"].corr(table[f"{k}_b"]) for k in ("weight", "effect")}
            out.append((split, name, pair["weight"], pair["effect"]))
    return pd.DataFrame(out, columns=["split", "cluster", "correlation", "correlation_effect"])


def _half(
    adata: AnnData,
    modelled: AnnData,
    rows: np.ndarray,
    counts: tuple[str, str],
    n_neighbors: int,
    **options: Any,
) -> pd.DataFrame:
    """Effects of the field of some cells, smoothed among themselves."""
    from scmods.hopfield.velocities import moments

    part = adata[rows].copy()
    moments(
        part, spliced_layer=counts[0], unspliced_layer=counts[1], n_neighbors=min(n_neighbors, len(rows) - 1)
    )
    part = part[:, modelled.var_names].copy()
    part.var = modelled.var.copy()
    rates = part.var[options.get("degradation_key", "gamma")].to_numpy()
    smoothed = np.asarray(part.layers["Ms"], dtype=np.float64)
    part.layers["velocity"] = part.layers["Mu"] - rates * smoothed
    options = {**options, "spliced_layer": "Ms", "velocity_layer": "velocity"}
    field = fit(part, **options)
    return effects(field, part, cluster_key=options["cluster_key"], zeros=True)
