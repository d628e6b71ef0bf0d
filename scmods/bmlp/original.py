"""The original's data-set functions under their own names, each bringing what its notebook needs.

``myeloid_dev_freq`` and ``myeloid_dev_type`` load, normalise and split in one call; ``get_freqs``,
``get_regression_datasets``, ``get_classification_datasets`` and ``extract_gene_modules`` are their steps.

Differences from the original: ``random_state`` acts, and no global generator is reset; class splits keep the
proportions of the classes; all exact zeros of a disconnected graph are left out, not one; sparse, half precision
and backed matrices work; no column of lists is written, so the AnnData can be saved; gene modules come from the
model that is handed over. As there, scaling, graph and targets see all cells, the held-out ones too: the
chapter measures what that is worth.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from scmods import _arrays, _checks, graph
from scmods.bmlp._original_steps import cluster, load, modes_of, scaled, subsets

if TYPE_CHECKING:
    import os

    from anndata import AnnData
    from torch.utils.data import Subset

__all__ = [
    "extract_gene_modules",
    "get_classification_datasets",
    "get_freqs",
    "get_regression_datasets",
    "myeloid_dev_freq",
    "myeloid_dev_type",
]


def myeloid_dev_freq(
    k_neighbors: int = 15,
    n_freq_comps: int = 10,
    val_split: float = 0.15,
    random_state: int = 0,
    device: str = "cpu",
    *,
    dataset: str | os.PathLike[str] = "paul15_240",
) -> tuple[AnnData, Subset, Subset, Subset]:
    """Developing blood cells with their graph frequencies as regression targets.

    Parameters
    ----------
    k_neighbors
        Neighbours per cell in the graph.
    n_freq_comps
        Frequencies m, coarse to fine.
    val_split
        Share of the cells for validation, and again for the test; the rest is for training.
    random_state
        Seed of the split.
    device
        Where the tensors of the three sets live.
    dataset
        Anything `scmods.datasets.load` takes that holds counts, or ``"paul15"``: all 2,730 cells and 3,451 genes,
        which scanpy downloads. The default has 2,660 of the cells and 240 of the genes.

    Returns
    -------
    adata
        Counts normalised per cell, logged, z-scored over all cells (``X``, dense float32), with
        ``obsm["X_freq"]`` and ``uns["freq_vals"]`` of `get_freqs`.
    train, val, test
        Torch data sets of (genes, frequencies) pairs.

    Raises
    ------
    DataUnavailableError
        The data set is not at hand and cannot be downloaded.
    ValueError
        No counts, too many neighbours or frequencies, a split that leaves a set empty.

    Examples
    --------
    >>> from scmods import bmlp
    >>> adata, train, val, test = bmlp.myeloid_dev_freq(n_freq_comps=2)  # doctest: +SKIP
    >>> adata.obsm["X_freq"].shape  # doctest: +SKIP
    (2660, 2)
    """
    adata = scaled(load(dataset), dataset)
    get_freqs(adata, k_neighbors, n_freq_comps, device)
    return adata, *get_regression_datasets(adata, "X_freq", val_split, random_state, device)


def myeloid_dev_type(
    n_cell_types: int = 3,
    class_key: str = "cell_type",
    val_split: float = 0.15,
    random_state: int = 0,
    device: str = "cpu",
    *,
    dataset: str | os.PathLike[str] = "paul15_240",
) -> tuple[AnnData, Subset, Subset, Subset]:
    """Developing blood cells with their types as classes.

    Parameters
    ----------
    n_cell_types
        Number of clusters when the data has no labels under `class_key`; unused when it has.
    class_key
        Column of ``obs``. When the data has it, as the default data set has ``cell_type`` (seven types), its
        labels are taken. Otherwise, as in the original, k-means on 50 principal components of all genes (seed 0)
        makes them and they are written there: ``class_key="kmeans"`` asks for that. Such labels are a function
        of the genes that the classifier sees.
    val_split, random_state, device, dataset
        As for `myeloid_dev_freq`.

    Returns
    -------
    adata
        As for `myeloid_dev_freq`, with ``obs[class_key]`` and, with k-means, ``obsm["X_pca"]`` (float32).
    train, val, test
        Torch data sets of (genes, class number) pairs, every class in the same shares; class numbers follow the
        sorted labels.

    Raises
    ------
    DataUnavailableError, ValueError
        As for `myeloid_dev_freq`; also missing labels and classes with fewer than 3 cells.

    Examples
    --------
    >>> from scmods import bmlp
    >>> adata, train, val, test = bmlp.myeloid_dev_type()  # doctest: +SKIP
    >>> len(train) + len(val) + len(test)  # doctest: +SKIP
    2660
    """
    adata = scaled(load(dataset), dataset)
    if class_key not in adata.obs:
        cluster(adata, _checks.integer("n_cell_types", n_cell_types, 2, adata.n_obs), class_key)
    return adata, *get_classification_datasets(adata, class_key, val_split, random_state, device)


def get_freqs(adata: AnnData, k: int = 15, n_freqs: int = 50, device: str = "cpu") -> None:
    """Lowest non-zero eigenvectors of the cell graph: smooth coordinates of the cells, coarse to fine.

    Parameters
    ----------
    adata
        Cells with z-scored genes in ``X``; dense, sparse, half precision or backed.
    k
        Neighbours per cell by the cosine of their rows. Two cells share an edge when one lists the other; the
        Laplacian is degrees minus adjacency.
    n_freqs
        Number of frequencies, at most cells - components - 1.
    device
        Kept for the original's call; the graph is made on the CPU.

    Returns
    -------
    Nothing. Writes ``obsm["X_freq"]``, cells x n_freqs, float32, columns of unit norm with the entry of largest
    size positive, and ``uns["freq_vals"]``, their eigenvalues, ascending.

    Raises
    ------
    ValueError
        NaN or infinity, all-zero cells, too many neighbours or frequencies.

    Warns
    -----
    NumericalWarning
        The graph falls into pieces; the frequencies then live on single pieces. Names the `k` that joins them.

    Notes
    -----
    Neighbour search O(cells² genes) in blocks; eigenvectors by `scmods.graph.eigenpairs`, sparse and checked.
    Of two close eigenvalues only the plane of their vectors is defined: see ``graph.eigenpairs(...).gaps``.

    Examples
    --------
    >>> from scmods import bmlp
    >>> adata = bmlp.planted(100, 40, n_module=5)
    >>> bmlp.get_freqs(adata, k=10, n_freqs=2)
    >>> adata.obsm["X_freq"].shape
    (100, 2)
    """
    n = adata.n_obs
    k = _checks.integer("k", k, 1, n - 1, f"There are {n} cells: pass k={max(1, min(15, n - 1))} or fewer.")
    x = _arrays.dense(_arrays.matrix(adata))
    _checks.finite("`adata.X`", x, adata.obs_names)
    _checks.positive_rows("`adata.X`", np.linalg.norm(x, axis=1), adata.obs_names)
    net = graph.adjacency(graph.knn(x, k, metric="cosine")[0], mode="union")
    count, labels = graph.components(net)
    if count > 1:
        joins = graph.joining_k(x)
        cure = f"k={joins} joins them." if joins else "No k up to 200 joins them."
        _checks.warn(
            f"The graph of {k} neighbours has {count} components, of {_checks.listing(np.bincount(labels))} cells. "
            f"Their indicators are no frequencies and are left out; the rest live on single components. {cure} "
            "Or keep the largest: `bmlp.frequencies(adata)`, then `adata = bmlp.largest_component(adata)`."
        )
    most = max(1, n - count - 1)
    why = f"{n} cells in {count} components have {most} frequencies: pass n_freqs={most} or fewer."
    n_freqs = _checks.integer("n_freqs", n_freqs, 1, most, why)
    found = graph.eigenpairs(graph.laplacian(net), n_freqs)
    adata.obsm["X_freq"] = found.vectors.astype(np.float32)
    adata.uns["freq_vals"] = found.values


def get_regression_datasets(
    adata: AnnData,
    target_key: str = "X_freq",
    val_split: float = 0.15,
    random_state: int = 0,
    device: str = "cpu",
) -> tuple[Subset, Subset, Subset]:
    """Train, validation and test set of cells and their numeric targets, split at random.

    Parameters
    ----------
    adata
        Cells; ``X`` is read as it is.
    target_key
        Entry of ``obsm``: cells x outputs, or one number per cell.
    val_split
        Share of the cells for validation, and again for the test, above 0 and below 0.5.
    random_state
        Seed of the split, of a generator of its own.
    device
        Where the tensors live.

    Returns
    -------
    Three ``torch.utils.data.Subset`` of one ``TensorDataset``: they share one dense float32 matrix, and
    ``train.indices`` are row numbers of `adata`. Items are (genes,) and (outputs,) tensors.

    Raises
    ------
    MissingKeyError
        No such entry.
    TypeError, ValueError
        Targets that are not numbers or not finite, a split that leaves a set empty.

    Examples
    --------
    >>> from scmods import bmlp
    >>> adata = bmlp.planted(100, 40, n_module=5)
    >>> train, val, test = bmlp.get_regression_datasets(adata, "targets")
    >>> len(train) + len(val) + len(test), train[0][1].shape
    (100, torch.Size([3]))
    """
    _checks.key(adata, "obsm", target_key, "Make the frequencies first: `get_freqs(adata)`.")
    what = f"`adata.obsm[{target_key!r}]`"
    values = adata.obsm[target_key]
    y = _checks.numeric(what, values.toarray() if hasattr(values, "toarray") else values)
    y = y[:, None] if y.ndim == 1 else y
    _checks.finite(what, y, adata.obs_names)
    return subsets(adata, y.astype(np.float32), None, val_split, random_state, device)


def get_classification_datasets(
    adata: AnnData, class_key: str, val_split: float = 0.15, random_state: int = 0, device: str = "cpu"
) -> tuple[Subset, Subset, Subset]:
    """Train, validation and test set of cells and their class numbers, every class in the same shares.

    Parameters
    ----------
    adata, val_split, random_state, device
        As for `get_regression_datasets`.
    class_key
        Column of ``obs``. Class number = place among the sorted labels, ``numpy.unique(adata.obs[class_key])``.

    Returns
    -------
    As for `get_regression_datasets`; items are a (genes,) tensor and a whole number. Every class has at least
    one cell in each set.

    Raises
    ------
    MissingKeyError
        No such column.
    ValueError
        Missing labels, one class, or classes with fewer than 3 cells.

    Examples
    --------
    >>> from scmods import bmlp
    >>> adata = bmlp.planted(100, 40, n_module=5)
    >>> train, val, test = bmlp.get_classification_datasets(adata, "cell_type")
    >>> len(train) + len(val) + len(test), train[0][0].shape
    (100, torch.Size([40]))
    """
    labels = _checks.labels(adata, class_key, smallest=3)
    raw = np.asarray(adata.obs[class_key])
    # numbers sort as numbers: 2 before 10
    _, y = np.unique(raw if raw.dtype.kind in "biuf" else labels.astype(str), return_inverse=True)
    return subsets(adata, y.astype(np.int64), y, val_split, random_state, device)


def extract_gene_modules(
    adata: AnnData, b: Any, freq_idx: int, n_genes: int = 50
) -> tuple[list[str], list[str]]:
    """Genes at the two ends of the most positive mode of one output.

    Parameters
    ----------
    adata
        Gives the names of the genes, in the order the model was fitted on.
    b
        A fitted model (``QuadraticModel``, or anything with ``w_l``, ``w_r`` and ``w_p``), whose modes are found
        without a genes x genes matrix, or the dense interaction matrices (outputs, genes, genes).
    freq_idx
        Output, from 0.
    n_genes
        Genes per end, at most half of the genes.

    Returns
    -------
    top, bottom
        Names of the genes with the most positive and the most negative entries, strongest first. The sign of a
        mode is void: the entry of largest size is made positive, and either end raises the output, because
        the mode acts by (v.x)².

    Raises
    ------
    TypeError
        `b` is neither a model nor such an array.
    ValueError
        Other number of genes, no such output, too many genes per end, or no positive mode.

    Examples
    --------
    >>> import torch
    >>> from scmods import bmlp
    >>> adata = bmlp.planted(120, 40, n_module=5)
    >>> bmlp.split(adata)
    >>> model = bmlp.fit(adata, target="targets")
    >>> b = model.interaction_matrix(torch.eye(3, dtype=torch.float64)[0])
    >>> top, bottom = bmlp.extract_gene_modules(adata, b[None], freq_idx=0, n_genes=3)
    >>> len(top), len(bottom)
    (3, 3)
    """
    import torch

    _checks.unique_names("adata.var_names", adata.var_names)
    with torch.no_grad():
        n_outputs, genes, modes = modes_of(b)
        if genes != adata.n_vars:
            _checks.fail(
                f"`b` is for {genes} genes, but `adata` has {adata.n_vars}.",
                "Give the genes of the fit in their order: adata[:, gene_names].",
            )
        freq_idx = _checks.integer(
            "freq_idx", freq_idx, 0, n_outputs - 1, f"The model has {n_outputs} outputs."
        )
        why = f"There are {genes} genes, and the two ends must not overlap."
        n_genes = _checks.integer("n_genes", n_genes, 1, genes // 2, why)
        values, vectors = modes(freq_idx)
    best = int(values.argmax())
    size = float(values.abs().max())
    if float(values[best]) <= 1e-10 * size:
        _checks.fail(
            f"Output {freq_idx} has no positive mode: its eigenvalues run from {float(values.min()):.3g} to",
            f"{float(values[best]):.3g}. Expected at least one above zero.",
            "Negative modes lower the output; read them from the eigenmodes of the model.",
        )
    order = vectors[:, best].argsort(stable=True).tolist()
    names = adata.var_names.astype(str)
    return [names[i] for i in order[::-1][:n_genes]], [names[i] for i in order[:n_genes]]
