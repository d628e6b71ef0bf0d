"""What a model finds of a known answer beside its rivals, and the slow way to one head."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from scmods import _checks
from scmods.amici.ablation import ablation_table
from scmods.amici.baselines import indicator_regression, minus_distance
from scmods.amici.recovery import gene_recovery, pair_recovery

if TYPE_CHECKING:
    import pandas as pd
    from anndata import AnnData

    from scmods.amici.model import AMICI

__all__ = ["recovery_table", "single_head_prediction"]

KINDS = ("attention", "contribution", "alone")
RIVALS = ("indicator regression", "minus distance")


def recovery_table(
    model: AMICI, adata: AnnData, *, shape: str = "indicator"
) -> tuple[pd.DataFrame, dict[str, np.ndarray]]:
    """Average precision of the model and of its rivals on a tissue whose interactions are known.

    Parameters
    ----------
    model
        A fitted model of `adata`; all cells are scored, with the mean over its networks.
    adata
        What `semisynthetic` returned, with at least one planted interaction.
    shape
        Of the terms of `indicator_regression`.

    Returns
    -------
    A table and the scores behind it, (cells, neighbours) by name, for `recovery_curves`. One row per score:
    ``"attention"`` (the largest over heads), ``"contribution"`` (what the neighbour adds among the others), ``"alone"``
    (what it would add alone), ``"indicator regression"``, ``"minus distance"``, and ``"chance"``. Columns ``sender``,
    ``receiver``, ``gene``: which neighbour sends, which cell receives, which gene responds.
    Genes are ranked by the ablation of the first network for all three scores of the model.

    Raises
    ------
    MissingKeyError, ValueError
        If `adata` has no truth.

    Examples
    --------
    >>> from scmods import amici
    >>> adata = amici.semisynthetic(300, 30)
    >>> model = amici.AMICI(adata, n_neighbors=5).fit(max_epochs=1)
    >>> table, scores = amici.recovery_table(model, adata)
    >>> "attention" in scores
    True
    """
    import pandas as pd

    _checks.key(adata, "uns", "interactions", "Simulate a tissue: `adata = amici.semisynthetic()`.")
    outputs = model.heads(adata)
    genes = {"model": gene_recovery(adata, ablation_table(outputs))["mean"]}
    rule = indicator_regression(
        adata, cluster_key=model.slots.cluster_key, spatial_key=model.slots.spatial_key, shape=shape
    )
    genes["indicator regression"] = gene_recovery(adata, rule.gene_scores())["mean"]
    scores: dict[str, Any] = {kind: model.pair_scores(adata, by=kind) for kind in KINDS}
    scores["indicator regression"] = rule.pair_scores(outputs.neighbors)
    scores["minus distance"] = minus_distance(outputs.distances)
    rows = {}
    for name, score in scores.items():
        found = pair_recovery(adata, outputs.neighbors, score)
        gene = genes.get("model" if name in KINDS else name, np.nan)
        rows[name] = {"sender": found["sender"], "receiver": found["receiver"], "gene": gene}
    rows["chance"] = {
        "sender": found["sender_base"],
        "receiver": found["receiver_base"],
        "gene": _share_of_genes(adata),
    }
    return pd.DataFrame(rows).T.rename_axis("score"), scores


def _share_of_genes(adata: AnnData) -> float:
    truth = adata.varm["responds"]
    return float(np.mean([truth[r].mean() for r in adata.uns["interactions"]["receiver"]]))


def single_head_prediction(model: AMICI, cells: Any, head: int) -> np.ndarray:
    """Prediction with one head on, the slow way: neighbours embedded once per pair, other heads' attention set to zero.

    It is what `HeadOutputs.predict` must equal, written as the equations are.

    Parameters
    ----------
    model
        A fitted model.
    cells
        Positions of the cells.
    head
        The head that stays on.

    Returns
    -------
    (cells, genes) float64.

    Raises
    ------
    TypeError, ValueError
        If there is no such head.

    Examples
    --------
    >>> from scmods import amici
    >>> adata = amici.semisynthetic(300, 30)
    >>> model = amici.AMICI(adata, n_neighbors=5).fit(max_epochs=1)
    >>> amici.single_head_prediction(model, np.arange(4), head=0).shape
    (4, 30)
    """
    import torch

    from scmods.amici import _forward
    from scmods.amici.reference import predict_pairs

    _checks.integer("head", head, 0, model.recipe.n_heads - 1)
    out = model.heads(cells=cells)
    network = _forward.double(model.network)
    x = torch.from_numpy(np.asarray(out.read(np.arange(len(model.labels))), dtype=np.float64))
    arrays = (out.types, out.neighbors, out.distances)
    types, near, far = (torch.from_numpy(np.ascontiguousarray(a)) for a in arrays)
    with torch.no_grad():
        return predict_pairs(network, x, types, near, far, keep=[head]).numpy()
