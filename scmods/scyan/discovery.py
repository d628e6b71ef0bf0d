"""What a table lacks: which entries argue against cells, how populations look in latent space, groups within them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from scmods import _checks
from scmods.scyan import _readout

if TYPE_CHECKING:
    import pandas as pd
    from anndata import AnnData

    from scmods.scyan.model import Scyan

__all__ = ["pops_expressions", "probs_per_marker", "subcluster"]


def probs_per_marker(model: Scyan, adata: AnnData | None = None, *, cells: Any = None) -> pd.DataFrame:
    """Mean log-density of a group of cells under every entry of the table: low where the entry argues against them.

    Rows of the table whose sum is high fit the group; in the best of them the lowest entries say what is different
    about the group, such as a population that the table lacks.

    Parameters
    ----------
    model
        A trained `Scyan`.
    adata
        Cells; those the model was trained on by default.
    cells
        Which of them: names, positions, or one True or False per cell; all by default.

    Returns
    -------
    DataFrame, populations x markers, in nats. The sum of a row is the mean log-density of the cells under it, without
    the weight of the population.

    Raises
    ------
    MissingKeyError, TypeError, ValueError
        Cells that do not exist, or none.

    Notes
    -----
    O(cells populations markers) time, in blocks of 4,096 cells.

    Examples
    --------
    >>> from scmods import scyan
    >>> adata = scyan.cytometry(300, 5, 6)
    >>> model = scyan.Scyan(adata).fit(max_epochs=1)
    >>> scyan.probs_per_marker(model, cells=adata.obs_names[:3]).shape
    (5, 6)
    """
    import pandas as pd

    data = _readout.cells_of(model, adata)
    at = _readout.picked(cells, data.obs_names)
    total = np.zeros((len(model.names), len(model.markers)))
    for _, each in _readout.terms(model, model.latent(data)[at]):
        total += each[:, : len(model.names)].sum(axis=0)
    return pd.DataFrame(total / len(at), index=pd.Index(model.names), columns=list(model.markers))


def pops_expressions(
    model: Scyan, adata: AnnData | None = None, *, groupby: str | None = None, min_cells: int = 1
) -> pd.DataFrame:
    """Mean latent value of every marker in every population: -1 negative, 1 positive, known to the table or not.

    Parameters
    ----------
    model
        A trained `Scyan`.
    adata
        Cells; those the model was trained on by default.
    groupby
        Column of ``obs`` with labels of any kind, such as those of `subcluster`; by default the most probable
        population, where none is more probable than being unclassified.
    min_cells
        Groups with fewer cells get NaN.

    Returns
    -------
    DataFrame, groups x markers: the populations in the order of the table, or the labels of the column in order; cells
    without a label are left out.

    Raises
    ------
    MissingKeyError, TypeError, ValueError
        No such column; `min_cells` below 1.

    Examples
    --------
    >>> from scmods import scyan
    >>> adata = scyan.cytometry(300, 5, 6)
    >>> model = scyan.Scyan(adata).fit(max_epochs=1)
    >>> scyan.pops_expressions(model).shape
    (5, 6)
    """
    import pandas as pd

    _checks.integer("min_cells", min_cells)
    data = _readout.cells_of(model, adata)
    if groupby is None:
        code, names = _readout.label_codes(model, data, None), list(model.names)
    else:
        _checks.key(data, "obs", groupby, "Write it first: `model.predict(adata)`.")
        column = data.obs[groupby].astype("category").cat.remove_unused_categories()
        code, names = column.cat.codes.to_numpy(), [str(v) for v in column.cat.categories]
    has = code >= 0
    n = np.bincount(code[has], minlength=len(names))
    total = np.zeros((len(names), len(model.markers)))
    np.add.at(total, code[has], model.latent(data)[has])
    mean = np.where((n >= min_cells)[:, None], total / np.maximum(n, 1)[:, None], np.nan)
    return pd.DataFrame(mean, index=pd.Index(names), columns=list(model.markers))


def subcluster(
    model: Scyan,
    population: str,
    adata: AnnData | None = None,
    *,
    label_key: str | None = None,
    resolution: float = 0.2,
    n_neighbors: int = 15,
    var_names: Sequence[str] | None = None,
    min_share: float = 0.02,
    min_cells: int = 200,
    seed: int = 0,
    key_added: str = "scyan_subcluster",
) -> pd.Series:
    """Look for groups of cells within one population.

    A graph of nearest neighbours is divided by the method of Louvain (the original: Leiden). Groups that are too
    small are dropped, not merged. What separates the others is shown by
    ``pops_expressions(model, adata, groupby="scyan_subcluster")``; a group worth a row of its own goes into the
    table with `split_population`.

    Parameters
    ----------
    model
        A trained `Scyan`.
    population
        Name of the population to divide.
    adata
        Cells; those the model was trained on by default. A column of ``obs`` is written.
    label_key
        Column of ``obs`` with the populations; by default the most probable one.
    resolution
        Larger for more groups, as in ``networkx.community.louvain_communities``.
    n_neighbors
        Neighbours per cell, Euclidean.
    var_names
        Measured markers to divide by, of the table or not, as ``X`` has them; the latent values by default.
    min_share, min_cells
        Groups with less than this share of the population, or with fewer cells, are dropped.
    seed
        Seed of the order in which cells are visited.
    key_added
        Column to write: the labels returned.

    Returns
    -------
    Series, categorical, one entry per cell: "<population> 1" for the largest group, and so on; NaN for cells outside
    the population and of groups that were dropped.

    Raises
    ------
    MissingKeyError, TypeError, ValueError
        No such population, column or marker; fewer cells in the population than `min_cells`; numbers outside their
        range.

    Notes
    -----
    Time and memory grow with the number of neighbouring pairs. Same seed, same groups.

    Examples
    --------
    >>> from scmods import scyan
    >>> adata = scyan.cytometry(300, 5, 6)
    >>> model = scyan.Scyan(adata).fit(max_epochs=1)
    >>> name = model.predict().value_counts().index[0]
    >>> groups = scyan.subcluster(model, name, min_cells=5)
    >>> len(groups) == adata.n_obs, groups.cat.categories[0] == f"{name} 1"
    (True, True)
    """
    import pandas as pd

    _checks.one_of("population", population, list(model.names))
    _checks.number("resolution", resolution, 1e-6)
    _checks.number("min_share", min_share, 0.0, 1.0)
    _checks.integer("min_cells", min_cells)
    _checks.integer("seed", seed, 0)
    data = _readout.cells_of(model, adata)
    at = np.flatnonzero(_readout.label_codes(model, data, label_key) == model.names.index(population))
    least = max(min_share * len(at), min_cells)
    if len(at) < least:
        _checks.fail(
            f"{population!r} has {len(at)} cells, fewer than the smallest group, min_cells={min_cells}.",
            f"Write min_cells={max(1, len(at) // 10)}.",
        )
    _checks.integer("n_neighbors", n_neighbors, 1, len(at) - 1, f"{population!r} has {len(at)} cells.")
    group = _communities(_coordinates(model, data, var_names, at), n_neighbors, resolution, seed)
    large = np.flatnonzero(np.bincount(group) >= least)  # the largest comes first
    rank = np.full(group.max() + 1, -1)
    rank[large] = np.arange(len(large))
    code = np.full(data.n_obs, -1)
    code[at] = rank[group]
    names = [f"{population} {g + 1}" for g in range(len(large))]
    labels = pd.Series(pd.Categorical.from_codes(code, names), index=data.obs_names, name=key_added)
    data.obs[key_added] = labels
    return labels


def _coordinates(model: Scyan, adata: AnnData, var_names: Sequence[str] | None, at: np.ndarray) -> np.ndarray:
    if var_names is None:
        return model.latent(adata)[at]
    from scmods.scyan.values import marker_values

    names = [var_names] if isinstance(var_names, str) else list(var_names)
    return marker_values(adata, names, transformed=True)[at]


def _communities(x: np.ndarray, n_neighbors: int, resolution: float, seed: int) -> np.ndarray:
    """Number of the community of every cell, the largest first."""
    import networkx as nx

    from scmods.graph import adjacency, knn

    index, distance = knn(x, n_neighbors, metric="euclidean")
    graph = (
        adjacency(index, weights="gaussian", distances=distance)
        if distance[:, -1].all()
        else adjacency(index)
    )
    parts = nx.community.louvain_communities(
        nx.from_scipy_sparse_array(graph), resolution=resolution, seed=seed
    )
    out = np.empty(len(x), dtype=np.intp)
    for i, part in enumerate(sorted(parts, key=lambda one: (-len(one), min(one)))):
        out[list(part)] = i
    return out
