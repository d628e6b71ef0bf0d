"""What is lost when a receiver no longer listens to one type of sender, gene by gene."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from typing import TYPE_CHECKING

import numpy as np

from scmods import _checks
from scmods.amici.contributions import sender_sums
from scmods.amici.heads import HeadOutputs
from scmods.stats import benjamini_hochberg

if TYPE_CHECKING:
    import pandas as pd

__all__ = ["ablation_table", "interaction_matrix"]

FEWEST = 3  # cells of a receiver type below which a correlation says nothing


def without_senders(
    outputs: HeadOutputs, heads: list[int], senders: Sequence[int]
) -> Iterator[tuple[int, np.ndarray]]:
    """Yield (sender, u without it): what enters the norm when these heads lose that type after the softmax."""
    sums = sender_sums(outputs, heads)
    out, full = outputs.readout.head_out[:, heads], outputs.u()
    for s in senders:
        yield s, full - np.einsum("nhs,ehs->ne", sums[:, s], out, optimize=True)


def _codes(outputs: HeadOutputs, argument: str, names: Sequence[str] | None) -> list[int]:
    if names is None:
        return list(range(len(outputs.type_names)))
    if isinstance(names, str):
        _checks.fail(
            f"`{argument}` is the text {names!r}, but must be a list of types.",
            f"Write {argument}=[{names!r}].",
            kind=TypeError,
        )
    for name in names:
        _checks.one_of(argument, name, outputs.type_names)
    return [outputs.type_names.index(name) for name in names]


def correlation(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """Correlation of the columns of two arrays; 0 where a column is constant."""
    a, b = a - a.mean(axis=0), b - b.mean(axis=0)
    scale = np.sqrt((a**2).sum(axis=0) * (b**2).sum(axis=0))
    # what a constant column keeps after centring is rounding
    alive = scale > 1e-12 * len(a)
    return np.where(alive, (a * b).sum(axis=0) / np.where(alive, scale, 1.0), 0.0)


def _statistics(full: np.ndarray, without: np.ndarray, observed: np.ndarray) -> dict[str, np.ndarray]:
    from scipy.stats import norm

    diff = full - without
    n = len(diff)
    r = np.clip(correlation(np.abs(diff), observed), -1 + 1e-15, 1 - 1e-15)
    z = r * np.sqrt(n - 2) / np.sqrt(1 - r**2)
    p = norm.sf(z)
    mean = diff.mean(axis=0)
    gain = (without - observed).var(axis=0, ddof=1) - (full - observed).var(axis=0, ddof=1)
    return {
        "ablation": ((without - observed) ** 2 - (full - observed) ** 2).mean(axis=0),
        "gain": gain,
        "diff": mean,
        "z_value": z,
        "pvalue": p,
        "pvalue_adj": benjamini_hochberg(p),
        "score": np.where(mean > 0, z, 0.0),
        "gene_variance": observed.var(axis=0, ddof=1),
    }


def ablation_table(
    outputs: HeadOutputs,
    *,
    receivers: Sequence[str] | None = None,
    senders: Sequence[str] | None = None,
    heads: Iterable[int] | None = None,
) -> pd.DataFrame:
    r"""Silence one sender type after another and record what every gene of every receiver type loses.

    For a receiver type and a sender type, attention on neighbours of that sender type is set to 0 AFTER the softmax,
    so that nobody else gains what they lose.

    Parameters
    ----------
    outputs
        From `AMICI.heads`. Use held-out cells: ``model.heads(adata, cells=model.held_out)``.
    receivers, senders
        Names of types; None for all.
    heads
        Heads in which the senders are silenced; None for all. The other heads stay as they are.

    Returns
    -------
    One row per receiver, sender and gene:

    - ``ablation``: mean over cells of the squared error without the sender minus that with it; above 0 it helps;
    - ``gain``: the same of the variance of the error: a sender that is always there shifts the mean of the type, which
      counts in ``ablation`` and not here;
    - ``diff``: mean of the prediction with the sender minus that without it;
    - ``z_value``: :math:`r \sqrt{n - 2} / \sqrt{1 - r^2}`, r the correlation over cells of \|difference\| with the
      observed expression; ``pvalue``: one-sided, normal; ``pvalue_adj``: adjusted within the pair of types;
    - ``score``: z where ``diff`` is positive, else 0, by which genes are ranked;
    - ``gene_variance``, ``n_cells`` of the receivers.

    Receiver types with fewer than 3 cells have NaN in all of these.

    Raises
    ------
    TypeError, ValueError
        Unknown types or heads.

    Notes
    -----
    Exact under the layer norm, whose divisor is renewed: the losses of several senders do not add up to that of all;
    `sender_contributions` does. O(types^2 * cells * genes * heads * size).

    Examples
    --------
    >>> from scmods.amici._example import example_outputs
    >>> table = ablation_table(example_outputs(), receivers=["naïve"])
    >>> table.groupby("sender").size().to_dict()
    {'CD4/CD8': 5, 'L2/3 IT': 5}
    """
    import pandas as pd

    which = outputs.check_heads(heads)
    rows, columns = (
        _codes(outputs, "receivers", receivers),
        _codes(outputs, "senders", senders),
    )
    names, parts = outputs.type_names, []
    for r in rows:
        one = outputs.subset(outputs.types == r)
        full = one.predict() if len(one) >= FEWEST else None
        for s, u in without_senders(one, which, [s for s in columns if s != r]):
            head = {"receiver": names[r], "sender": names[s], "gene": outputs.genes}
            if full is None:
                body = dict.fromkeys(_COLUMNS, np.nan)
            else:
                body = _statistics(full, one.readout.decode(one.types, u), one.observed)
            parts.append(pd.DataFrame({**head, **body, "n_cells": len(one)}))
    if not parts:
        _checks.fail(
            "`receivers` and `senders` leave no pair of different types.",
            f"Available: {_checks.listing(names)}.",
        )
    return pd.concat(parts, ignore_index=True)


_ENTRY = {"ablation": "ablation", "share": "gain"}
_COLUMNS = ("ablation", "gain", "diff", "z_value", "pvalue", "pvalue_adj", "score", "gene_variance")


def interaction_matrix(table: pd.DataFrame, *, alpha: float = 0.05, value: str = "n_genes") -> pd.DataFrame:
    """Sender by receiver matrix of an ablation.

    Parameters
    ----------
    table
        From `ablation_table`.
    alpha
        Largest adjusted p-value of a gene that counts.
    value
        ``"n_genes"``: genes with an adjusted p-value of at most `alpha` that the sender raises; ``"ablation"``: squared
        error saved, summed over genes; ``"share"``: variance of the error saved, as a share of that of the receivers.

    Returns
    -------
    Senders (rows) x receivers (columns); 0 between a type and itself, which is never a neighbour; NaN where the
    receiver type had too few cells.

    Raises
    ------
    ValueError
        Unknown `value`, `alpha` outside [0, 1].

    Examples
    --------
    >>> from scmods.amici._example import example_outputs
    >>> interaction_matrix(ablation_table(example_outputs())).shape
    (3, 3)
    """
    _checks.one_of("value", value, ("n_genes", "ablation", "share"))
    _checks.number("alpha", alpha, 0.0, 1.0)
    missing = [c for c in ("receiver", "sender", *_COLUMNS) if c not in table.columns]
    if missing:
        _checks.fail(
            f"`table` lacks the columns {missing}. Expected what `amici.ablation_table(outputs)` returns.",
            f"Available: {_checks.listing(table.columns)}.",
            kind=_checks.MissingKeyError,
        )
    counted = (table["pvalue_adj"] <= alpha) & (table["diff"] > 0)
    entries = table.assign(entry=counted.astype(float) if value == "n_genes" else table[_ENTRY[value]])
    entries.loc[table["pvalue_adj"].isna(), "entry"] = np.nan
    cells = entries.groupby(["sender", "receiver"])
    sums = cells["entry"].sum(min_count=1)
    if value == "share":
        sums = sums / cells["gene_variance"].sum(min_count=1)
    names = sorted({*table["sender"], *table["receiver"]})
    matrix = sums.unstack("receiver").reindex(index=names, columns=names)
    for name in names:
        matrix.loc[name, name] = 0.0
    return matrix
