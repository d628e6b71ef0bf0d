"""Rivals that need no attention: type means, minus the distance, and a regression on who is within a radius."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np

from scmods import _checks
from scmods.amici import _surroundings, inputs
from scmods.amici._terms import choose_terms, least_squares

if TYPE_CHECKING:
    import pandas as pd
    from anndata import AnnData

__all__ = ["IndicatorRegression", "indicator_regression", "minus_distance", "type_means"]

GRID = (5.0, 7.5, 10.0, 12.5, 15.0, 20.0, 25.0, 30.0, 40.0)


def type_means(
    adata: AnnData, *, cluster_key: str = "cell_type", layer: str | None = None, train: Any = None
) -> np.ndarray:
    """Prediction of a cell by the mean of its type: what is known without any neighbour.

    Parameters
    ----------
    adata
        Cells with labels.
    cluster_key
        Column of ``obs`` with the types.
    layer
        Matrix to read, None for ``X``.
    train
        (cells,) bool, the cells to average; None for all.

    Returns
    -------
    (cells, genes) float64.

    Raises
    ------
    MissingKeyError, ValueError
        Missing slots, NaN, a type without a training cell.

    Examples
    --------
    >>> from scmods.amici.simulate import semisynthetic
    >>> type_means(semisynthetic(100, 30)).shape
    (100, 30)
    """
    codes, types = _surroundings.labelled(adata, cluster_key)
    x, mask = _surroundings.dense_expression(adata, layer), _surroundings.train_mask(adata, train)
    return np.stack([_mean_of(x, mask, codes == t, name) for t, name in enumerate(types)])[codes]


def _mean_of(x: np.ndarray, mask: np.ndarray, own: np.ndarray, name: str) -> np.ndarray:
    if not (mask & own).any():
        _checks.fail(
            f"Type {name!r} has {int(own.sum())} cells, but none of them is in `train`.",
            "Keep training cells of every type, or drop that type.",
        )
    return x[mask & own].mean(axis=0)


def minus_distance(distances: Any) -> np.ndarray:
    """Score of pairs that knows nothing but nearness.

    Parameters
    ----------
    distances
        (cells, k) distances of the neighbours, as ``obsm["amici_distances"]``; NaN or infinite where there is none.

    Returns
    -------
    (cells, k) minus the distance; -inf where there is no neighbour.

    Examples
    --------
    >>> minus_distance([[3.0, float("nan")]])
    array([[ -3., -inf]])
    """
    values = _checks.numeric("`distances`", distances)
    return np.where(np.isfinite(values), -values, -np.inf)


@dataclass(frozen=True)
class IndicatorRegression:
    """Linear regression of expression on who is near, one model per receiver type.

    Parameters
    ----------
    table
        One row per chosen term: ``receiver``, ``sender``, ``reach`` (radius or length), ``gain`` (share of the
        receivers' variance that the term explains in the training cells), ``pvalue``.
    types, genes
        Names.
    shape
        ``"indicator"`` or ``"exponential"``.
    effects
        (terms, genes) change of expression per unit of the term.
    errors
        (terms, genes) standard errors of the effects.
    prediction
        (cells, genes) fitted or predicted expression of all cells.

    Examples
    --------
    >>> from scmods.amici.simulate import semisynthetic
    >>> fit = indicator_regression(semisynthetic(600, 60), grid=(10.0, 20.0))
    >>> list(fit.table["sender"] + " -> " + fit.table["receiver"])
    ['B -> DC', 'Mono -> T']
    """

    table: pd.DataFrame
    types: list[str]
    genes: list[str]
    shape: str
    effects: np.ndarray
    errors: np.ndarray
    prediction: np.ndarray
    _codes: np.ndarray = field(repr=False)
    _coords: np.ndarray = field(repr=False)

    def pair_scores(self, neighbors: Any) -> np.ndarray:
        """Norm over genes of what the neighbour alone contributes, by the term of its type.

        Parameters
        ----------
        neighbors
            (cells, k) positions of cells, -1 where there is none.

        Returns
        -------
        (cells, k), 0 where no term links the two types, or the sender is out of reach.
        """
        near = np.asarray(neighbors)
        if near.ndim != 2 or len(near) != len(self._codes) or near.dtype.kind not in "iu":
            _checks.fail(
                f"`neighbors` has shape {near.shape} and type {near.dtype}, but must be {len(self._codes)} rows of",
                "positions of cells: `adata.obsm['amici_neighbors']`.",
            )
        distance = np.linalg.norm(self._coords[:, None] - self._coords[near], axis=2)
        out = np.zeros(near.shape)
        for row, effect in zip(self.table.itertuples(index=False), self.effects, strict=True):
            pair = (self._codes == self.types.index(row.receiver))[:, None]
            pair = pair & (self._codes[near] == self.types.index(row.sender)) & (near >= 0)
            decay = distance <= row.reach if self.shape == "indicator" else np.exp(-distance / row.reach)
            out += pair * decay * np.linalg.norm(effect)
        return out

    def gene_scores(self) -> pd.DataFrame:
        """Student's t of every gene in every pair of types, 0 where it is negative or there is no term.

        Returns
        -------
        Columns ``receiver``, ``sender``, ``gene``, ``score``; all ordered pairs of different types.
        """
        import pandas as pd

        with np.errstate(divide="ignore", invalid="ignore"):
            t = np.where(self.errors > 0, np.maximum(self.effects, 0.0) / self.errors, 0.0)
        have = {(r.receiver, r.sender): score for r, score in zip(self.table.itertuples(), t, strict=True)}
        none = np.zeros(len(self.genes))
        parts = [
            pd.DataFrame({"receiver": r, "sender": s, "gene": self.genes, "score": have.get((r, s), none)})
            for r in self.types
            for s in self.types
            if r != s
        ]
        return pd.concat(parts, ignore_index=True)


def indicator_regression(
    adata: AnnData,
    *,
    cluster_key: str = "cell_type",
    spatial_key: str = "spatial",
    library_key: str | None = None,
    layer: str | None = None,
    grid: Sequence[float] = GRID,
    shape: str = "indicator",
    train: Any = None,
    alpha: float = 0.05,
    n_perms: int = 199,
    seed: int = 0,
) -> IndicatorRegression:
    r"""Regress expression on "a cell of type s is within radius r": the rival that attention has to beat.

    For every receiver type the term (sender type, radius) that explains most is added, again and again with one radius
    per sender type, as long as it explains more than the best term does after the cells were permuted.

    Parameters
    ----------
    adata
        Cells with labels and positions.
    cluster_key, spatial_key
        Column of ``obs`` with the types, slot of ``obsm`` with the positions.
    library_key
        Column of ``obs`` with the tissue section; cells of different sections are never near each other.
    layer
        Matrix to read, None for ``X``.
    grid
        Radii to try, in units of the positions.
    shape
        ``"indicator"``: 1 with any sender within the radius; ``"exponential"``: sum of :math:`\exp(-d / r)` over the
        senders within 4 r.
    train
        (cells,) bool, the cells to fit on; None for all.
    alpha
        A term needs a p-value of at most `alpha` divided by the number of types.
    n_perms
        Permutations of the cells per step.
    seed
        Seed of the permutations.

    Returns
    -------
    `IndicatorRegression` with the chosen terms, their effects and the prediction for all cells.

    Raises
    ------
    TypeError, ValueError
        Missing slots, NaN, an empty grid, too few permutations for `alpha`.

    Notes
    -----
    O(permutations x cells x grid x genes) per step. The p-value compares the best of all terms with the best of all
    under permutation; it takes cells as exchangeable, which real tissue is not: use it as a rival, not as a test.

    Examples
    --------
    >>> from scmods.amici.simulate import semisynthetic
    >>> fit = indicator_regression(semisynthetic(600, 60, mode="null"), grid=(10.0, 20.0))
    >>> len(fit.table)
    0
    """
    radii = _grid(grid)
    _checks.one_of("shape", shape, ("indicator", "exponential"))
    codes, types = _surroundings.labelled(adata, cluster_key)
    level = _checks.number("alpha", alpha, 1e-6, 1.0) / len(types)
    _checks.integer("n_perms", n_perms, int(np.ceil(1 / level)) - 1, why="Fewer cannot reach alpha per type.")
    rng = np.random.default_rng(_checks.integer("seed", seed, 0))
    coords = inputs.coordinates(adata, spatial_key)
    x, mask = _surroundings.dense_expression(adata, layer), _surroundings.train_mask(adata, train)
    parts = _surroundings.section_cells(adata, library_key)
    around = _surroundings.surroundings(coords, codes, parts, len(types), radii, shape)
    prediction, rows, effects, errors = (
        type_means(adata, cluster_key=cluster_key, layer=layer, train=mask),
        [],
        [],
        [],
    )
    for t, receiver in enumerate(types):
        own = codes == t
        if (mask & own).sum() < 2 * len(types):
            continue
        steps = choose_terms(x[mask & own], around[mask & own], t, level, n_perms, rng)
        if steps:
            terms = np.stack([around[own, s, r] for s, r, _, _ in steps], axis=1)
            fit = least_squares(terms[mask[own]], x[mask & own])
            prediction[own] = np.column_stack([np.ones(own.sum()), terms]) @ fit[0]
            effects.append(fit[0][1:])
            errors.append(fit[1][1:])
            rows += [(receiver, types[s], float(radii[r]), gain, p) for s, r, gain, p in steps]
    return IndicatorRegression(
        table=_table(rows),
        types=types,
        genes=[str(g) for g in adata.var_names],
        shape=shape,
        effects=np.concatenate([*effects, np.zeros((0, x.shape[1]))]),
        errors=np.concatenate([*errors, np.zeros((0, x.shape[1]))]),
        prediction=prediction,
        _codes=codes,
        _coords=coords,
    )


def _grid(grid: Sequence[float]) -> np.ndarray:
    radii = _checks.numeric("`grid`", list(grid))
    if radii.ndim != 1 or not len(radii) or not (np.isfinite(radii) & (radii > 0)).all():
        _checks.fail(f"`grid` is {grid!r}, but must be radii above 0.", f"Write grid={GRID}.")
    return radii


def _table(rows: list[tuple[str, str, float, float, float]]) -> pd.DataFrame:
    import pandas as pd

    table = pd.DataFrame(rows, columns=["receiver", "sender", "reach", "gain", "pvalue"])
    return table.astype({"receiver": str, "sender": str, "reach": float, "gain": float, "pvalue": float})
