"""Which genes, and which pairs of genes, move an output, cell by cell."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import torch

from scmods import _checks
from scmods.bmlp import core
from scmods.bmlp.checks import z_scores
from scmods.bmlp.closed_form import QuadraticModel
from scmods.bmlp.estimators import ScBMLPRegressor
from scmods.bmlp.keys import Keys
from scmods.bmlp.tools import Bilinear, info_of, output_of, readable

if TYPE_CHECKING:
    import pandas as pd
    from anndata import AnnData

__all__ = ["gene_pairs", "gene_shares"]


def _reader(adata: AnnData, model: QuadraticModel | ScBMLPRegressor) -> QuadraticModel | Bilinear:
    """The model with its reading methods; refuses one that was made for other genes."""
    reader = readable(model)
    genes = reader.linear.shape[1]
    if genes != adata.n_vars:
        _checks.fail(
            f"`adata` has {adata.n_vars} genes, but the model was made for {genes}.",
            "Give the same genes in the same order: adata[:, gene_names].",
        )
    return reader


def gene_shares(
    adata: AnnData, model: QuadraticModel | ScBMLPRegressor, output: int = 0, *, key_added: str = "bmlp"
) -> np.ndarray:
    """What every gene adds to the interaction part of every cell: ``x_i (Bx)_i``.

    Parameters
    ----------
    adata
        Annotated data after `fit`; the matrix that was fitted, ``uns["bmlp"]``, ``var["bmlp_mean"]`` and
        ``var["bmlp_std"]`` are read.
    model
        What `fit` returned.
    output
        Number of the output, from 0.
    key_added
        Prefix given to `fit`.

    Returns
    -------
    (cells, genes) float64; a row adds up to the cell's interaction part, so prediction minus intercept and
    linear part. Positive: the gene, with its partners, raises the output of that cell.

    Raises
    ------
    MissingKeyError, TypeError, ValueError
        No fit under this prefix; something else than a model, or a model of other genes; no such output.

    Examples
    --------
    >>> from scmods import bmlp
    >>> adata = bmlp.planted(120, 40, n_module=5)
    >>> bmlp.split(adata)
    >>> model = bmlp.fit(adata, target="targets")
    >>> bmlp.gene_shares(adata, model, output=0).shape
    (120, 40)
    """
    info = info_of(adata, key_added)
    reader, o = _reader(adata, model), output_of(info, output)
    return reader.gene_shares(torch.as_tensor(z_scores(adata, key_added=key_added)), o).numpy()


def gene_pairs(
    adata: AnnData, model: QuadraticModel | ScBMLPRegressor, output: int = 0, *, n_pairs: int = 20,
    n_genes: int = 300, key_added: str = "bmlp",
) -> pd.DataFrame:  # fmt: skip
    """Pairs of genes whose product moves an output most.

    Parameters
    ----------
    adata
        Annotated data after `fit`; what `gene_shares` reads, and ``varm["bmlp_modes"]``.
    model
        What `fit` returned.
    output
        Number of the output, from 0.
    n_pairs
        Rows of the table.
    n_genes
        Pairs are looked for among that many genes with the largest weight in the kept modes, so that no
        genes x genes matrix is needed.
    key_added
        Prefix given to `fit`.

    Returns
    -------
    ``gene_a``, ``gene_b``, ``weight`` (2 B_ab, change of the output per unit of the product of their z-scores),
    ``effect`` (weight times the standard deviation of the product over the cells), ``correlation`` (mean product
    over the cells, between -1 and 1); largest effect in size first.

    Raises
    ------
    MissingKeyError, TypeError, ValueError
        As for `gene_shares`; also fewer than one pair or two genes.

    Examples
    --------
    >>> from scmods import bmlp
    >>> adata = bmlp.planted(120, 40, n_module=5)
    >>> bmlp.split(adata)
    >>> model = bmlp.fit(adata, target="targets")
    >>> table = bmlp.gene_pairs(adata, model, output=0, n_pairs=4)
    >>> list(table.columns), len(table)
    (['gene_a', 'gene_b', 'weight', 'effect', 'correlation'], 4)
    """
    import pandas as pd

    info, keys = info_of(adata, key_added), Keys(key_added)
    o = output_of(info, output)
    _checks.integer("n_pairs", n_pairs)
    _checks.integer("n_genes", n_genes, 2)
    reader = _reader(adata, model)
    size = (adata.varm[keys.modes][:, :, o] ** 2) @ np.abs(info["eigenvalues"][o])
    chosen = np.sort(np.argsort(-size, kind="stable")[: min(n_genes, adata.n_vars)])
    x = z_scores(adata, key_added=key_added)[:, chosen]
    weight = 2 * _submatrix(reader, o, chosen)
    second = x**2
    mean = x.T @ x / len(x)
    spread = np.sqrt(np.maximum(second.T @ second / len(x) - mean**2, 0.0))
    effect = weight * spread
    a, b = np.triu_indices(len(chosen), 1)
    best = np.argsort(-np.abs(effect[a, b]), kind="stable")[:n_pairs]
    a, b = a[best], b[best]
    norm = np.sqrt(np.diag(mean))
    norm[norm == 0] = 1.0
    names = adata.var_names[chosen]
    return pd.DataFrame(
        {"gene_a": names[a], "gene_b": names[b], "weight": weight[a, b], "effect": effect[a, b],
         "correlation": mean[a, b] / norm[a] / norm[b]}
    )  # fmt: skip


def _submatrix(reader: QuadraticModel | Bilinear, output: int, genes: np.ndarray) -> np.ndarray:
    """B of one output on some genes."""
    if isinstance(reader, Bilinear):
        w_l, w_r, w_p = reader.weights
        return core.interaction_matrix(w_l[:, genes], w_r[:, genes], w_p[output]).numpy()
    factor, weight = reader.factor[:, genes], reader.core[output]
    return (factor.T @ (weight[:, None] * factor if weight.ndim == 1 else weight @ factor)).numpy()
