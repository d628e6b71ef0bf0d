"""What every neighbour adds to the prediction, through which head, in which gene: parts that sum to the whole."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from scmods import _checks
from scmods.amici.heads import HeadOutputs

if TYPE_CHECKING:
    import pandas as pd

__all__ = ["Contributions", "frozen_contributions", "neighbor_table", "sender_contributions"]

LARGEST = 2**31  # bytes of the array with one entry per cell, neighbour, head and gene
BLOCK = 2**22  # entries of a temporary array


@dataclass(frozen=True)
class Contributions:
    r"""The prediction of some cells, cut into parts.

    Parameters
    ----------
    base
        (cells, genes) prediction without any neighbour, under the scale of the full one.
    values
        (cells, neighbours, heads, genes) what the neighbour adds through the head.
    genes
        Names of the last axis.
    neighbors
        (cells, neighbours) positions of the neighbours; -1 where there is none, and then the values are 0.

    Notes
    -----
    ``base + values.sum((1, 2))`` is the prediction with all heads, up to rounding.

    Examples
    --------
    >>> from scmods.amici._example import example_outputs
    >>> outputs = example_outputs()
    >>> from scmods import amici
    >>> parts = amici.frozen_contributions(outputs)
    >>> len(parts.genes), parts.base.shape[0] == len(outputs)
    (5, True)
    """

    base: np.ndarray
    values: np.ndarray
    genes: list[str]
    neighbors: np.ndarray

    @property
    def prediction(self) -> np.ndarray:
        """(cells, genes) sum of all parts."""
        return self.base + self.values.sum(axis=(1, 2))


def gene_rows(outputs: HeadOutputs, genes: Sequence[str] | None) -> np.ndarray:
    """Positions of genes by name; all by default."""
    if genes is None:
        return np.arange(len(outputs.genes))
    if isinstance(genes, str):
        _checks.fail(
            f"`genes` is the text {genes!r}, but must be a list of names.",
            f"Write genes=[{genes!r}].",
            kind=TypeError,
        )
    at = {name: i for i, name in enumerate(outputs.genes)}
    missing = [str(g) for g in genes if g not in at]
    if missing:
        _checks.fail(
            f"The model has no gene {missing[0]!r}, nor {len(missing) - 1} more that were asked for.",
            f"Available: {_checks.listing(outputs.genes)}.",
            _checks.nearest(missing[0], outputs.genes),
            kind=_checks.MissingKeyError,
        )
    return np.array([at[g] for g in genes], dtype=np.intp)


def type_code(outputs: HeadOutputs, argument: str, name: str) -> int:
    """Code of a type by name."""
    _checks.one_of(argument, name, outputs.type_names)
    return outputs.type_names.index(name)


def base_of(outputs: HeadOutputs, genes: np.ndarray) -> np.ndarray:
    """(cells, genes) prediction by the query alone, with the divisor of the full prediction."""
    readout, query = outputs.readout, outputs.query
    centred = (query - query.mean(axis=1, keepdims=True)) / outputs.sigma()[:, None]
    shift = (centred * readout.norm_weight + readout.norm_bias) @ readout.gene_out[genes].T
    return readout.type_means[:, genes][outputs.types] + shift


def _moved(outputs: HeadOutputs, part: slice, heads: list[int]) -> np.ndarray:
    """(cells, neighbours, heads, size) attention times value over the divisor of the norm; 0 without a neighbour."""
    rows, weight = outputs.rows[part], outputs.attention[part][:, heads, :-1].transpose(0, 2, 1)
    weight = np.where((rows >= 0)[..., None], weight, 0.0) / outputs.sigma()[part, None, None]
    return weight[..., None] * outputs.tables.value[:, heads][rows]


def frozen_contributions(
    outputs: HeadOutputs, *, genes: Sequence[str] | None = None, heads: Iterable[int] | None = None
) -> Contributions:
    r"""Cut the prediction into what each neighbour adds through each head to each gene.

    Up to the layer norm everything is a sum over heads and neighbours. With the divisor :math:`\sigma_i` of the norm
    kept at its value in the full prediction the rest is linear too:

    .. math:: y_i = b_i + \sum_h \sum_j \frac{A_{ihj}}{\sigma_i} W \,\mathrm{diag}(\gamma)\, C W^o_h v_{jh}

    where :math:`C` centres and :math:`b_i = \mu_t + W(\gamma C q_t / \sigma_i + \beta)`.

    Parameters
    ----------
    outputs
        From `AMICI.heads`, best of a handful of cells: ``outputs.subset(rows)``.
    genes
        Names of the genes; None for all.
    heads
        Heads to list; None for all. Those left out are missing from the sum.

    Returns
    -------
    `Contributions`: ``base`` (cells, genes) and ``values`` (cells, neighbours, heads, genes), expression units.

    Raises
    ------
    MissingKeyError, ValueError
        Unknown genes or heads, or more than 2 GB of values.

    Notes
    -----
    An ablation does not add up: it renews the divisor, so that the sum of single ablations misses the whole. The
    parts say what the MODEL does; whether a pair of types interacts is for a test on held-out cells.

    Examples
    --------
    >>> import numpy as np
    >>> from scmods.amici._example import example_outputs
    >>> outputs = example_outputs()
    >>> parts = frozen_contributions(outputs)
    >>> np.abs(parts.prediction - outputs.predict()).max() < 1e-12
    np.True_
    """
    at, which = gene_rows(outputs, genes), outputs.check_heads(heads)
    n, k = outputs.neighbors.shape
    size = 8 * n * k * len(which) * len(at)
    if size > LARGEST:
        _checks.fail(
            f"{n} cells x {k} neighbours x {len(which)} heads x {len(at)} genes take {size / 1e9:.1f} GB.",
            "Ask for some cells or genes: `frozen_contributions(outputs.subset(rows), genes=[...])`,",
            "or for sums over senders: `sender_contributions(outputs)`.",
        )
    effect = outputs.readout.linear()[at][:, which]
    values = np.einsum("nkhs,ghs->nkhg", _moved(outputs, slice(None), which), effect, optimize=True)
    return Contributions(base_of(outputs, at), values, [outputs.genes[g] for g in at], outputs.neighbors)


def sender_contributions(
    outputs: HeadOutputs, *, genes: Sequence[str] | None = None, heads: Iterable[int] | None = None
) -> np.ndarray:
    """Sum of the frozen contributions over the neighbours of each type.

    Parameters
    ----------
    outputs
        From `AMICI.heads`.
    genes
        Names of the genes; None for all.
    heads
        Heads to sum over; None for all.

    Returns
    -------
    (cells, sender types, genes); summed over types it is the prediction minus the base of `frozen_contributions`.

    Raises
    ------
    MissingKeyError, ValueError
        Unknown genes or heads.

    Notes
    -----
    No array with one entry per neighbour and gene is made: O(cells * (neighbours + types * genes) * heads * size).

    Examples
    --------
    >>> from scmods.amici._example import example_outputs
    >>> sender_contributions(example_outputs(), genes=["gene1"]).shape
    (30, 3, 1)
    """
    at, which = gene_rows(outputs, genes), outputs.check_heads(heads)
    sums = sender_sums(outputs, which) / outputs.sigma()[:, None, None, None]
    return np.einsum("nths,ghs->ntg", sums, outputs.readout.linear()[at][:, which], optimize=True)


def sender_sums(outputs: HeadOutputs, heads: list[int]) -> np.ndarray:
    """(cells, types, heads, size) part of z that comes from neighbours of each type."""
    n, k = outputs.neighbors.shape
    kinds, n_types = outputs.neighbor_types, len(outputs.type_names)
    value = outputs.tables.value[:, heads]
    out = np.zeros((n, n_types, *value.shape[1:]))
    size = max(1, BLOCK // max(1, k * value[:1].size))
    for start in range(0, n, size):
        part = slice(start, start + size)
        weight = outputs.attention[part][:, heads, :-1]
        one_hot = (kinds[part][..., None] == np.arange(n_types)).astype(np.float64)
        gathered = value[outputs.rows[part]]
        out[part] = np.einsum("nhk,nkt,nkhs->nths", weight, one_hot, gathered, optimize=True)
    return out


def head_norms(outputs: HeadOutputs) -> np.ndarray:
    """(cells, neighbours, heads) norm over genes of what a neighbour adds through one head alone."""
    effect = outputs.readout.linear()
    gram = np.einsum("ghs,ghr->hsr", effect, effect)
    value = outputs.tables.value
    squared = np.einsum("mhs,hsr,mhr->mh", value, gram, value, optimize=True)
    # rounding may leave a tiny negative square
    norms = np.sqrt(np.maximum(squared, 0.0))[outputs.rows]
    weight = outputs.attention[:, :, :-1].transpose(0, 2, 1) / outputs.sigma()[:, None, None]
    return np.where((outputs.rows >= 0)[..., None], weight * norms, 0.0)


def neighbor_table(outputs: HeadOutputs, cell: int, gene: str) -> pd.DataFrame:
    """Which neighbour moved this gene in this cell, and through which head.

    Parameters
    ----------
    outputs
        From `AMICI.heads`.
    cell
        Row of `outputs`.
    gene
        Name of the gene.

    Returns
    -------
    One row per neighbour and head, the largest absolute contribution first: ``neighbor`` (position of the cell),
    ``sender`` (its type), ``distance``, ``head``, ``attention``, ``contribution``. ``attrs`` holds ``base``,
    ``prediction`` and ``observed`` of the gene in the cell; base plus all contributions is the prediction.

    Raises
    ------
    MissingKeyError, ValueError
        Unknown gene, row out of range.

    Examples
    --------
    >>> from scmods.amici._example import example_outputs
    >>> table = neighbor_table(example_outputs(), 0, "gene2")
    >>> bool(abs(table["contribution"].sum() + table.attrs["base"] - table.attrs["prediction"]) < 1e-12)
    True
    """
    import pandas as pd

    _checks.integer("cell", cell, 0, len(outputs) - 1, "Rows of `outputs`, not positions in the AnnData.")
    one = outputs.subset(np.array([cell]))
    parts = frozen_contributions(one, genes=[gene])
    k, h = parts.values.shape[1:3]
    kinds = one.neighbor_types[0].repeat(h)
    names = np.array([*one.type_names, "not seen"], dtype=object)
    table = pd.DataFrame(
        {
            "neighbor": one.neighbors[0].repeat(h),
            "sender": names[kinds],
            "distance": one.distances[0].repeat(h),
            "head": np.tile(np.arange(h), k),
            "attention": one.attention[0, :, :-1].T.ravel(),
            "contribution": parts.values[0, :, :, 0].ravel(),
        }
    )
    table = table[table["neighbor"] >= 0]
    order = np.argsort(-np.abs(table["contribution"].to_numpy()), kind="stable")
    table = table.iloc[order].reset_index(drop=True)
    at = one.genes.index(gene)
    table.attrs.update(
        base=float(parts.base[0, 0]),
        prediction=float(one.predict()[0, at]),
        observed=float(one.observed[0, at]),
    )
    return table
