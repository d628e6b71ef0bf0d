"""The model against plain correlation of genes with outputs."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from scmods import _checks, stats
from scmods.bmlp import tools
from scmods.bmlp.estimators import Config, ScBMLPRegressor
from scmods.bmlp.stability import top_sets

if TYPE_CHECKING:
    import pandas as pd
    from anndata import AnnData

__all__ = ["compare_with_correlation", "correlations"]


def correlations(adata: AnnData, *, target: str = "X_freq", layer: str | None = None) -> np.ndarray:
    """Pearson correlation of every gene with every output, (genes, outputs), by one matrix product.

    Constant genes and constant outputs get 0, not NaN.

    Parameters
    ----------
    adata
        Annotated data; ``X`` or `layer` and ``obsm[target]`` are read, over all cells.
    target
        Key of ``obsm``: (cells, outputs), the frequencies by default.
    layer
        Logged expression, ``adata.X`` by default; raw counts are refused.

    Returns
    -------
    float64 between -1 and 1, genes in the order of ``var_names``.

    Raises
    ------
    MissingKeyError, TypeError, ValueError
        Missing slots, raw counts, text or NaN.

    Examples
    --------
    >>> from scmods import bmlp
    >>> adata = bmlp.planted(120, 40, n_module=5)
    >>> bmlp.split(adata)
    >>> bmlp.correlations(adata, target="targets").shape
    (40, 3)
    """
    z, _ = tools.scaled(adata, layer, None)
    y = tools.target_matrix(adata, target)
    spread = y.std(axis=0, ddof=1)
    y = (y - y.mean(axis=0)) / np.where(spread > 0, spread, 1.0)
    return z.T @ y / (len(z) - 1)


def compare_with_correlation(
    adata: AnnData, *, n_genes: int = 25, control_seed: int = 0, key_added: str = "bmlp"
) -> pd.DataFrame:
    """Do the modules hold other genes than plain correlation would pick, and is that more than chance?

    Absolute loadings against absolute correlations, so both lists are two-sided; beside them the same
    statistic for the linear part, and for a layer with untrained random weights: a low overlap alone is
    what noise gives.

    Parameters
    ----------
    adata
        Annotated data after `fit`; ``uns["bmlp"]``, ``varm["bmlp_modes"]``, ``varm["bmlp_linear"]``, the fitted
        target in ``obsm`` and the matrix that was fitted are read. Correlations are over all cells.
    n_genes
        Genes per list, those of largest absolute value.
    control_seed
        Seed of the untrained layer.
    key_added
        Prefix given to `fit`.

    Returns
    -------
    One row per output: ``mode``, ``linear``, ``untrained`` (Jaccard index with the top correlated genes) and
    ``chance``.

    Raises
    ------
    MissingKeyError, TypeError, ValueError
        No fit under this prefix, a missing target, or more genes asked for than there are.

    Examples
    --------
    >>> from scmods import bmlp
    >>> adata = bmlp.planted(120, 40, n_module=5)
    >>> bmlp.split(adata)
    >>> model = bmlp.fit(adata, target="targets")
    >>> list(bmlp.compare_with_correlation(adata, n_genes=5).columns)
    ['output', 'mode', 'linear', 'untrained', 'chance']
    """
    import pandas as pd

    info = tools.info_of(adata, key_added)
    found = correlations(adata, target=info["target"], layer=info["layer"] or None)
    outputs = found.shape[1]
    _checks.integer("n_genes", n_genes, 1, adata.n_vars)
    best = top_sets(found, n_genes)
    index = {name: j for j, name in enumerate(adata.var_names)}
    untrained = ScBMLPRegressor(Config.original(adata.n_vars, outputs, seed=control_seed))
    random = tools.readable(untrained).eigenmodes(1)[1][:, :, 0].T.numpy()
    rows = []
    for o in range(outputs):
        row = {"output": o}
        for part in ("mode", "linear"):
            genes = tools.top_genes(adata, o, n_genes=n_genes, part=part, key_added=key_added)
            row[part] = stats.jaccard(best[o], {index[g] for g in genes})
        row["untrained"] = stats.jaccard(best[o], top_sets(random, n_genes)[o])
        rows.append(row | {"chance": stats.chance_jaccard(n_genes, n_genes, adata.n_vars)})
    return pd.DataFrame(rows)
