"""Which genes to model."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

from scmods import _checks
from scmods.hopfield.keys import Keys
from scmods.hopfield.smoothing import counts, mean_and_variance, size_normalised

if TYPE_CHECKING:
    from anndata import AnnData
    from scipy import sparse

__all__ = ["select_genes"]


def _shared(spliced: sparse.csr_array, unspliced: sparse.csr_array | None) -> np.ndarray:
    """Counts of every gene in the cells that have both kinds; all its counts where there is one kind."""
    if unspliced is None:
        return np.asarray(spliced.sum(axis=0)).ravel()
    both = (spliced > 0).multiply(unspliced > 0)
    return np.asarray(both.multiply(spliced).sum(axis=0) + both.multiply(unspliced).sum(axis=0)).ravel()


def _dispersion(spliced: sparse.csr_array, names: object, what: str) -> np.ndarray:
    """Variance / mean of ln(1 + size-normalised counts); 0 for genes without counts."""
    logged = size_normalised(spliced, names, what, strict=True)
    np.log1p(logged.data, out=logged.data)
    mean, variance = mean_and_variance(logged)
    return variance / np.where(mean > 0, mean, 1.0)


def _sloped(adata: AnnData, degradation_key: str) -> np.ndarray:
    """Genes with a finite positive rate; all where there is no such column."""
    if degradation_key not in adata.var:
        return np.ones(adata.n_vars, dtype=bool)
    gamma = _checks.numeric(f"`adata.var[{degradation_key!r}]`", adata.var[degradation_key])
    return np.isfinite(gamma) & (gamma > 0)


def _kept(adata: AnnData, keep: Sequence[str], n_genes: int, sloped: np.ndarray, key: str) -> np.ndarray:
    """Positions of the genes to keep, refused by name where they cannot be."""
    if isinstance(keep, str):
        _checks.fail(f"`keep` is {keep!r}, but must be a list of genes: keep=[{keep!r}].", kind=TypeError)
    keep = list(dict.fromkeys(str(name) for name in keep))
    _checks.unique_names("adata.var_names", adata.var_names)
    at = adata.var_names.get_indexer(keep)
    missing = [name for name, i in zip(keep, at, strict=True) if i < 0]
    if missing:
        _checks.fail(
            f"{len(missing)} of {len(keep)} genes of `keep` are not in `adata.var_names`: {_checks.listing(missing)}.",
            _checks.nearest(missing[0], adata.var_names),
            "Pass those that exist: keep=[g for g in genes if g in adata.var_names].",
        )
    if len(keep) > n_genes:
        _checks.fail(
            f"`keep` names {len(keep)} genes, but n_genes={n_genes}. Write n_genes={len(keep)} or more."
        )
    flat = [name for name, i in zip(keep, at, strict=True) if not sloped[i]]
    if flat:
        _checks.fail(
            f"{len(flat)} genes of `keep` have no positive degradation in `adata.var[{key!r}]`:",
            f"{_checks.listing(flat)}. A field cannot model them. Pass the others:",
            f"keep=[g for g in genes if adata.var.loc[g, {key!r}] > 0].",
        )
    return at


def select_genes(
    adata: AnnData,
    *,
    n_genes: int = 500,
    min_shared_counts: int = 20,
    keep: Sequence[str] = (),
    spliced_layer: str | None = "spliced",
    unspliced_layer: str | None = "unspliced",
    degradation_key: str = "gamma",
    key_added: str = "hopfield",
    copy: bool = False,
) -> AnnData | None:
    """Mark the genes to model: enough counts, a degradation rate, and then those that vary most.

    Among the genes with `min_shared_counts` and, where ``var[degradation_key]`` exists, a finite positive rate, the
    genes of highest variance / mean of ln(1 + size-normalised spliced counts) are taken until, together with `keep`,
    there are `n_genes`; all of them where there are fewer.

    Parameters
    ----------
    adata
        Cells.
    n_genes
        Most genes to mark, `keep` included.
    min_shared_counts
        Fewest spliced and unspliced counts of a gene, summed over the cells that have both.
    keep
        Genes that are marked whatever their counts, for instance transcription factors.
    spliced_layer
        Layer of spliced counts, not logged; None for ``X``.
    unspliced_layer
        Layer of unspliced counts; None where there are none, then all spliced counts of a gene are summed.
    degradation_key
        Column of ``var`` with the rates; ``"velocity_gamma"`` after scvelo. Not needed to exist.
    key_added
        Prefix of what is written.
    copy
        Return a changed copy instead of changing `adata`.

    Returns
    -------
    ``None`` or the copy, with ``var["hopfield_used"]``, bool.

    Raises
    ------
    MissingKeyError
        A layer does not exist.
    ValueError
        Genes of `keep` that do not exist or have no rate, no gene with enough counts, and what `moments` refuses.

    Notes
    -----
    O(counts). Genes that vary alike are taken in the order of ``var_names``.

    Examples
    --------
    >>> import anndata, numpy as np
    >>> counts = np.array([[9.0, 5, 0], [0, 5, 7], [9, 5, 0]])
    >>> adata = anndata.AnnData(counts, layers={"spliced": counts, "unspliced": counts})
    >>> select_genes(adata, n_genes=2, min_shared_counts=10)
    >>> adata.var["hopfield_used"].tolist()
    [True, False, True]
    """
    n_genes = _checks.integer("n_genes", n_genes)
    least = _checks.integer("min_shared_counts", min_shared_counts, 0)
    sloped = _sloped(adata, degradation_key)
    kept = _kept(adata, keep, n_genes, sloped, degradation_key)
    spliced = counts(adata, spliced_layer, "spliced_layer")
    unspliced = None if unspliced_layer is None else counts(adata, unspliced_layer, "unspliced_layer")
    shared = _shared(spliced, unspliced)
    where = "`adata.X`" if spliced_layer is None else f"`adata.layers[{spliced_layer!r}]`"
    score = _dispersion(spliced, adata.obs_names, where)
    enough = (shared >= least) & (score > 0)
    fit = enough & sloped
    if not fit.any() and not len(kept):
        _checks.fail(
            f"No gene is left: {int(enough.sum())} of {adata.n_vars} have {least} shared counts and vary,",
            f"{int(sloped.sum())} have a positive rate. Write min_shared_counts={least // 2} or less.",
        )
    used = np.zeros(adata.n_vars, dtype=bool)
    used[kept] = True
    order = np.argsort(-np.where(fit & ~used, score, -np.inf), kind="stable")
    order = order[: min(n_genes - int(used.sum()), int((fit & ~used).sum()))]
    used[order] = True
    adata = adata.copy() if copy else adata
    adata.var[Keys(key_added).used] = used
    return adata if copy else None
