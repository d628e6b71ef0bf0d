"""Evidence for edges from unsmoothed counts, as penalty factors of the field."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from scmods import _checks
from scmods.hopfield.edge_effects import association

if TYPE_CHECKING:
    import pandas as pd
    from anndata import AnnData

__all__ = ["penalty_factors"]


def penalty_factors(
    adata: AnnData,
    *,
    spliced_layer: str | None = "spliced",
    unspliced_layer: str | None = "unspliced",
    regulators: Sequence[str] | str | None = None,
    power: float = 1.0,
    largest: float = 1000.0,
    **options: Any,
) -> pd.DataFrame:
    r"""Penalty of every edge from its `association` in single cells, for ``fit(edge_weights=...)``.

    With a the association of a target and a regulator, :math:`p_{ij} = (\bar{|a_i|} / |a_{ij}|)^{power}`: an edge of
    average evidence keeps the penalty of the fit, an edge of ten times the evidence gets a tenth of it. The field is
    still fitted to the smoothed velocity; only the freedom that smoothing leaves is settled by the counts. This is the
    adaptive ridge, with a first estimate from other values of the same cells.

    Parameters
    ----------
    adata
        Cells with counts.
    spliced_layer, unspliced_layer
        Layers of counts, not smoothed.
    regulators
        As in `fit`.
    power
        0 ignores the evidence, 1 is proportional.
    largest
        Bound of the factors; edges without any evidence get it.
    options
        Further arguments of `association`.

    Returns
    -------
    Table of factors, rows: targets, columns: regulators, positive; ones where a target has no evidence at all.

    Notes
    -----
    No truth enters: the penalty of the association is chosen by generalised cross-validation. Where counts are very
    sparse the evidence is mostly noise, and edges agree less between two halves of the cells than without it.

    Examples
    --------
    >>> from scmods import hopfield
    >>> adata = hopfield.random_circuit(120, 12, n_regulators=4, n_clusters=1)
    >>> hopfield.moments(adata, n_neighbors=10)
    >>> hopfield.velocity(adata)
    >>> hopfield.fit_hill(adata)
    >>> hopfield.penalty_factors(adata, regulators=list(adata.var_names[:4])).shape
    (12, 4)
    """
    power = _checks.number("power", power, 0.0, 4.0)
    largest = _checks.number("largest", largest, 1.0)
    size = association(
        adata, source_layer=spliced_layer, target_layer=unspliced_layer, regulators=regulators, **options
    ).abs()
    relative = size.div(size.mean(axis=1).where(lambda m: m > 0, 1.0), axis=0)
    relative[size.max(axis=1) == 0] = 1.0
    return relative.clip(lower=largest ** (-1 / power) if power else 1.0).pow(-power).clip(upper=largest)
