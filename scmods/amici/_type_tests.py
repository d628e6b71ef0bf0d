r"""Explained variance and its tests for the cells of one type, all heads at once, without a prediction per head.

With one head on, :math:`y = \mu + W(\gamma \circ \mathrm{centre}(q + W^o_h z)/\sigma + \beta)` is a constant plus
L a, where :math:`a = (1, z)/\sigma` has one entry more than the head has, and
:math:`L = W \mathrm{diag}(\gamma)[Cq, C W^o_h]`. So sums over cells have size + 1
columns, whatever the number of genes.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING

import numpy as np

from scmods.amici import spatial_nulls
from scmods.amici.pearson import column_moments, pearson_tail, permutation_moments, permutation_variance
from scmods.amici.permutations import NullDraws, Pair, gathered, mapped_statistics, permutation_draws

if TYPE_CHECKING:
    from scmods.amici.heads import HeadOutputs

__all__ = ["Field", "Plan", "TypeCells", "TypeResult", "explain_type", "head_fields"]

FEWEST = 3  # cells of a type, below which nothing is said
BLOCK = 2**22  # entries of a block of cells x genes
GENE_MAPS = 999  # shifts for the p-values of single genes, which have no shorter form
SKETCH = 32  # rank up to which predictions given as an array are recognised as low rank
TINY = 1e-12  # variation that counts as none, relative to the level


@dataclass(frozen=True)
class Field:
    """Predictions of one head for the cells of one type, up to a constant: coordinates @ loadings.T.

    Attributes
    ----------
    coordinates
        (cells, r), or the predictions themselves.
    loadings
        (genes, r), or None for predictions as they are.
    """

    coordinates: np.ndarray
    loadings: np.ndarray | None = None


@dataclass(frozen=True)
class TypeCells:
    """What is known of the cells of one type.

    Attributes
    ----------
    name
        Of the type.
    fields
        One per head.
    targets
        (cells, genes) as measured.
    coords, sections
        (cells, 2 or 3) positions and (cells,) codes of sections, or None.
    """

    name: str
    fields: list[Field]
    targets: np.ndarray
    coords: np.ndarray | None = None
    sections: np.ndarray | None = None


@dataclass(frozen=True)
class Plan:
    """How to test; the fields are those of `ExplainedVariance.compute`."""

    run_permutation_test: bool = True
    n_permutations: int = 999
    seed: int = 0
    method: str = "permutation"
    null: str = "free"
    block_size: float | None = None
    scaled: bool = False
    per_gene: bool = True


@dataclass(frozen=True)
class TypeResult:
    """Results of one type; NaN with a reason where it has too few cells.

    Attributes
    ----------
    name, n_cells, reason
        Type, its cells, and why nothing is said of it ("" where something is).
    gene, total, r2, slope
        (heads, genes) and (heads,) explained variance; (heads,) squared correlation and best factor.
    p, p_max, p_gene
        (heads,), (heads,) and (heads, genes).
    null
        Draws of the statistic, if any were made.
    smooth
        (heads,) inflation by the smoothness of both fields between neighbouring cells; NaN without positions.
    """

    name: str
    n_cells: int
    reason: str
    gene: np.ndarray
    total: np.ndarray
    r2: np.ndarray
    slope: np.ndarray
    p: np.ndarray
    p_max: np.ndarray
    p_gene: np.ndarray
    null: NullDraws | None = field(default=None, repr=False)
    smooth: np.ndarray | None = None


def head_fields(outputs: HeadOutputs, heads: Sequence[int]) -> list[Field]:
    """Exact predictions of every head alone, in coordinates.

    Parameters
    ----------
    outputs
        Of cells of ONE type.
    heads
        Heads to keep on, one at a time.

    Returns
    -------
    One field per head, of rank at most head size + 1; ``coordinates @ loadings.T`` plus the mean of the type and
    ``gene_out @ norm_bias`` is ``outputs.predict([head])``.
    """
    out = outputs.readout
    query = outputs.query[:1].T
    fields = []
    for head in heads:
        basis = np.concatenate([query, out.head_out[:, head]], axis=1)
        basis = basis - basis.mean(axis=0)
        x = np.concatenate([np.ones((len(outputs), 1)), outputs.z[:, head]], axis=1)
        gram = basis.T @ basis / len(basis)
        sigma = np.sqrt(np.einsum("ni,ni->n", x @ gram, x) + out.norm_eps)
        fields.append(Field(x / sigma[:, None], out.gene_out @ (out.norm_weight[:, None] * basis)))
    return fields


def _centred(field: Field) -> tuple[Field, np.ndarray]:
    """The field with columns of mean zero, and (genes,) variation that counts as rounding."""
    level = np.abs(field.coordinates).max(axis=0)
    if field.loadings is not None:
        level = np.abs(field.loadings) @ level
    return replace(field, coordinates=field.coordinates - field.coordinates.mean(axis=0)), TINY * level


def _sums(field: Field, y: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """(genes,) sums over cells of prediction times observation, and of squared predictions."""
    a, w = field.coordinates, field.loadings
    if w is None:
        return np.einsum("ng,ng->g", a, y), np.einsum("ng,ng->g", a, a)
    return np.einsum("gr,rg->g", w, a.T @ y), np.einsum("gr,gr->g", w @ (a.T @ a), w)


def _pair(field: Field, y: np.ndarray, weight: np.ndarray | None) -> Pair:
    """Both in orthonormal coordinates of the predictions, genes multiplied by `weight`."""
    a, w = field.coordinates, field.loadings
    if w is None:
        a, y = (a, y) if weight is None else (a * weight, y * weight)
        thin = _thin(a)
        return Pair(a, y) if thin is None else Pair(thin[0], y @ thin[1])
    q, r = np.linalg.qr(w if weight is None else w * weight[:, None])
    return Pair(a @ r.T, y @ (q if weight is None else q * weight[:, None]))


def _thin(a: np.ndarray) -> tuple[np.ndarray, np.ndarray] | None:
    """Coordinates and orthonormal basis of predictions of low rank, as those of one head are; None of others."""
    if min(a.shape) <= 4 * SKETCH:
        return None
    rng = np.random.default_rng(0)
    size, right = np.linalg.svd(rng.normal(size=(SKETCH, len(a))) @ a, full_matrices=False)[1:]
    basis = right[size > 1e-13 * size[0]].T
    inner = a @ basis
    # what is left must be rounding, in eight random directions: nothing is approximated
    probe = rng.normal(size=(a.shape[1], 8))
    left = a @ probe - inner @ (basis.T @ probe)
    return (inner, basis) if np.linalg.norm(left) <= 1e-12 * np.linalg.norm(inner) else None


def _gene_blocks(field: Field, n_genes: int) -> Iterator[tuple[slice, np.ndarray]]:
    """Centred predictions of some genes at a time."""
    a, w = field.coordinates, field.loadings
    size = max(1, BLOCK // max(1, len(a)))
    for start in range(0, n_genes, size):
        part = slice(start, start + size)
        yield part, a[:, part] if w is None else a @ w[part].T


def _within(x: np.ndarray, blocks: np.ndarray | None) -> np.ndarray:
    """Columns of mean zero within blocks; as they are without."""
    if blocks is None:
        return x
    sums = np.zeros((blocks.max() + 1, x.shape[1]))
    np.add.at(sums, blocks, x)
    return x - (sums / np.bincount(blocks)[:, None])[blocks]


def _shifts(cells: TypeCells, plan: Plan, n_maps: int, rng: np.random.Generator) -> Iterator[np.ndarray]:
    size = max(1, 2**24 // len(cells.targets))
    for start in range(0, n_maps, size):
        yield spatial_nulls.shift_maps(
            cells.coords, min(size, n_maps - start), rng, edges=plan.null, sections=cells.sections
        )


def _test_heads(
    pairs: list[Pair], cells: TypeCells, plan: Plan, blocks: np.ndarray | None, rng: np.random.Generator
) -> tuple[np.ndarray, np.ndarray, NullDraws | None]:
    n = len(cells.targets)
    if plan.null in spatial_nulls.EDGES:
        sets = _shifts(cells, plan, plan.n_permutations, rng)
        null = gathered(pairs, np.concatenate([mapped_statistics(pairs, m, normalise=True) for m in sets], 1))
        return null.pvalue, null.max_pvalue(null.draws.std(axis=1)), null
    # centred within blocks, the part that no order changes is gone, and p is the same
    pairs = [Pair(_within(p.a, blocks), _within(p.b, blocks)) for p in pairs]
    if plan.method == "pearson3":
        moments = [permutation_moments(p.a, p.b, blocks) for p in pairs]
        p = [pearson_tail(pair.observed, m, n).item() for pair, m in zip(pairs, moments, strict=True)]
        return np.array(p), np.full(len(pairs), np.nan), None
    null = permutation_draws(pairs, plan.n_permutations, rng, blocks)
    sd = np.sqrt([permutation_variance(p.a, p.b, blocks) for p in pairs])
    return null.pvalue, null.max_pvalue(sd), null


def _test_genes(one: Field, y: np.ndarray, blocks: np.ndarray | None, maps: np.ndarray | None) -> np.ndarray:
    p = np.empty(y.shape[1])
    for part, x in _gene_blocks(one, y.shape[1]):
        if maps is None:
            a, b = _within(x, blocks), _within(y[:, part], blocks)
            p[part] = pearson_tail(np.einsum("ng,ng->g", a, b), column_moments(a, b, blocks), len(a))
            continue
        observed, count = np.einsum("ng,ng->g", x, y[:, part]), 0
        rounding = 1e-13 * np.linalg.norm(x, axis=0) * np.linalg.norm(y[:, part], axis=0)
        for order in maps:
            count = count + (np.einsum("ng,ng->g", x[order], y[:, part]) >= observed - rounding)
        p[part] = (count + 1) / (len(maps) + 1)
    return p


def _nothing(cells: TypeCells, reason: str) -> TypeResult:
    h, g = len(cells.fields), cells.targets.shape[1]
    one, each = np.full(h, np.nan), np.full((h, g), np.nan)
    return TypeResult(cells.name, len(cells.targets), reason, each, one, one, one, one, one, each)


def _ratio(top: np.ndarray, bottom: np.ndarray) -> np.ndarray:
    return np.where(bottom > 0, top / np.where(bottom > 0, bottom, 1.0), 0.0)


def explain_type(cells: TypeCells, plan: Plan, stream: int) -> TypeResult:
    """Explained variance, r2 and p-values of all heads for the cells of one type.

    Parameters
    ----------
    cells
        Of one type.
    plan
        How to test.
    stream
        Number of the type, so that each has its own orders under one seed.
    """
    n = len(cells.targets)
    if n < FEWEST:
        return _nothing(cells, f"{n} of the cells tested, at least {FEWEST} are needed")
    mean = cells.targets.mean(axis=0)
    y = cells.targets - mean
    squares = np.einsum("ng,ng->g", y, y)
    flat = squares <= n * (TINY * np.abs(mean)) ** 2
    if flat.all():
        return _nothing(cells, "no gene varies between the cells tested")
    squares[flat], y[:, flat] = 0.0, 0.0
    fields, both, own = [], [], []
    for one in cells.fields:
        centred, rounding = _centred(one)
        cross, power = _sums(centred, y)
        power = np.where(power > n * rounding**2, power, 0.0)
        dead = power.sum() == 0
        fields.append(replace(centred, coordinates=0 * centred.coordinates) if dead else centred)
        both.append(np.where(power > 0, cross, 0.0))
        own.append(power)
    cross, power = np.array(both), np.array(own)
    cov, var_p, var_y = cross.sum(axis=1), power.sum(axis=1), squares.sum()
    result = _nothing(cells, "")
    result = replace(
        result, gene=_ratio(2 * cross - power, squares[None]), total=(2 * cov - var_p) / var_y,
        r2=_ratio(cov**2, var_p * var_y), slope=_ratio(cov, var_p),
    )  # fmt: skip
    if not plan.run_permutation_test:
        return result
    return _with_pvalues(result, cells, fields, y, squares, power, plan, stream)


def _with_pvalues(
    result: TypeResult, cells: TypeCells, fields: list[Field], y: np.ndarray, squares: np.ndarray,
    power: np.ndarray, plan: Plan, stream: int,
) -> TypeResult:  # fmt: skip
    blocks = maps = None
    if plan.null == "block":
        blocks = spatial_nulls.square_blocks(cells.coords, size=plan.block_size, sections=cells.sections)
    weight = np.sqrt(_ratio(np.ones_like(squares), squares)) * np.sqrt(len(y) - 1) if plan.scaled else None
    pairs = [_pair(one, y, weight) for one in fields]
    p, p_max, null = _test_heads(pairs, cells, plan, blocks, np.random.default_rng([plan.seed, stream, 0]))
    smooth = None
    if cells.coords is not None and plan.null == "free":
        near = spatial_nulls.nearest_cells(cells.coords, cells.sections)
        smooth = np.array([spatial_nulls.inflation(pair.a, pair.b, near) for pair in pairs])
    p_gene = result.p_gene
    if plan.per_gene:
        if plan.null in spatial_nulls.EDGES:
            rng = np.random.default_rng([plan.seed, stream, 1])
            maps = np.concatenate(list(_shifts(cells, plan, min(plan.n_permutations, GENE_MAPS), rng)))
        p_gene = np.array([_test_genes(one, y, blocks, maps) for one in fields])
        # a gene whose prediction does not vary has nothing but rounding to compare
        p_gene = np.where(power > 0, p_gene, 1.0)
    return replace(result, p=p, p_max=p_max, p_gene=p_gene, null=null, smooth=smooth)
