"""The steps behind `scmods.bmlp.original`: loading, scaling, clusters, splits, modes of one output."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from scmods import _arrays, _checks, datasets, graph
from scmods.bmlp import closed_form, core
from scmods.linalg import fix_signs

if TYPE_CHECKING:
    import os

    from anndata import AnnData
    from torch import Tensor
    from torch.utils.data import Subset

__all__ = ["cluster", "load", "modes_of", "scaled", "subsets"]

PAUL15_URL = "https://falexwolf.de/data/paul15.h5"


def load(dataset: str | os.PathLike[str]) -> AnnData:
    """A data set by name, scanpy's full Paul et al. (2015) among them."""
    if dataset != "paul15":
        return datasets.load(dataset)
    import scanpy

    path = scanpy.settings.datasetdir / "paul15" / "paul15.h5"
    try:
        return scanpy.datasets.paul15()
    except OSError as error:  # no network, a refused download, or a damaged file
        cause = str(error) or type(error).__name__
        text = (
            f"The full Paul et al. (2015) data set is not at hand: {cause}. scanpy expects the file {path}. "
            f"By hand: download {PAUL15_URL} with a browser, save it there and call again. "
            "Or take its 240-gene subset: dataset='paul15_240'."
        )
        raise datasets.DataUnavailableError(text, key="paul15.h5", url=PAUL15_URL, path=path) from error


def scaled(adata: AnnData, dataset: object) -> AnnData:
    """A dense copy of the counts, normalised per cell, logged and z-scored over all cells."""
    import anndata
    import scanpy

    counts = _arrays.dense(
        _arrays.matrix(adata, "counts" if "counts" in adata.layers else None), dtype=np.float32
    )
    _checks.finite("The matrix", counts, adata.obs_names)
    negative = bool((counts < 0).any())
    # the full data set was corrected for batches, so its counts need not be whole numbers
    if negative or (dataset != "paul15" and (counts != np.rint(counts)).any()):
        seen = "negative values: it is scaled already" if negative else "fractions: it is normalised already"
        _checks.fail(
            f"The matrix of {str(dataset)!r} holds {seen}. Expected counts in X or in layers['counts'],",
            "because total counts, logarithm and z-scores are taken here.",
            "With a matrix of your own scale call get_freqs(adata) and get_regression_datasets(adata, 'X_freq').",
        )
    out = anndata.AnnData(counts, obs=adata.obs.copy(), var=adata.var.copy())
    if "source" in adata.uns:
        out.uns["source"] = dict(adata.uns["source"])
    scanpy.pp.normalize_total(out)
    scanpy.pp.log1p(out)
    scanpy.pp.scale(out)
    return out


def cluster(adata: AnnData, n_clusters: int, class_key: str) -> None:
    """K-means labels of 50 principal components, as the original makes cell types."""
    import pandas as pd
    from sklearn.cluster import KMeans

    # columns have mean 0 already, so centred and uncentred components agree
    scores, *_ = graph.pca(adata.X, min(50, adata.n_obs - 1, adata.n_vars), scale=False)
    adata.obsm["X_pca"] = scores.astype(np.float32)
    numbers = KMeans(n_clusters, random_state=0).fit_predict(scores)
    adata.obs[class_key] = pd.Categorical(numbers.astype(str))


def subsets(
    adata: AnnData,
    y: np.ndarray,
    classes: np.ndarray | None,
    val_split: float,
    random_state: int,
    device: str,
) -> tuple[Subset, Subset, Subset]:
    """Training, validation and test rows of one pair of tensors; split by `classes` if there are any."""
    from torch.utils.data import Subset, TensorDataset

    parts = _split(adata.n_obs, classes, val_split, _checks.integer("random_state", random_state, 0))
    x = _arrays.dense(_arrays.matrix(adata), dtype=np.float32)
    _checks.finite("`adata.X`", x, adata.obs_names)
    whole = TensorDataset(torch.tensor(x, device=device), torch.tensor(y, device=device))
    return tuple(Subset(whole, part.tolist()) for part in parts)


def _split(n: int, classes: np.ndarray | None, share: float, seed: int) -> list[np.ndarray]:
    """Row numbers for training, validation and test, each in ascending order; by class if there are any."""
    share = _checks.number(
        "val_split", share, 0.0, 0.5, "Both validation and test take this share: val_split=0.15."
    )
    if share in (0.0, 0.5) or n < 3:
        _checks.fail(
            f"val_split={share:g} of {n} cells leaves the training, validation or test set empty.",
            "Expected a share above 0 and below 0.5 of at least 3 cells: val_split=0.15.",
        )
    if classes is None:
        classes = np.zeros(n, dtype=int)
    rng = np.random.default_rng(seed)
    parts: list[list[np.ndarray]] = [[], [], []]
    for number in np.unique(classes):
        rows = rng.permutation(np.flatnonzero(classes == number))
        held = min(max(1, round(share * len(rows))), (len(rows) - 1) // 2)
        cut = len(rows) - 2 * held, len(rows) - held
        for part, some in zip(parts, np.split(rows, cut), strict=True):
            part.append(some)
    return [np.sort(np.concatenate(part)) for part in parts]


def modes_of(b: Any) -> tuple[int, int, Callable[[int], tuple[Tensor, Tensor]]]:
    """Numbers of outputs and genes, and a function: output -> eigenvalues, eigenvectors in columns."""
    if isinstance(b, closed_form.QuadraticModel):

        def of_quadratic(o: int) -> tuple[Tensor, Tensor]:
            values, vectors = replace(b, core=b.core[o : o + 1]).eigenmodes()
            return values[0], vectors[0]

        return len(b.core), b.factor.shape[1], of_quadratic
    if all(hasattr(b, name) for name in ("w_l", "w_r", "w_p")):

        def of_layer(o: int) -> tuple[Tensor, Tensor]:
            values, vectors = core.eigenmodes(b.w_l, b.w_r, b.w_p[o : o + 1])
            return values[0], vectors[0]

        return len(b.w_p), b.w_l.shape[1], of_layer
    if hasattr(b, "eigenmodes"):
        values, vectors = b.eigenmodes()
        return len(values), vectors.shape[1], lambda o: (values[o], vectors[o])
    shape = tuple(getattr(b, "shape", ()))
    if len(shape) != 3 or shape[1] != shape[2]:
        _checks.fail(
            f"`b` is a {type(b).__name__}{f' of shape {shape}' if shape else ''}, but must be a fitted model or",
            "an array (outputs, genes, genes).",
            "Pass the model itself: extract_gene_modules(adata, model, 0).",
            kind=ValueError if shape else TypeError,
        )

    def of_matrix(o: int) -> tuple[Tensor, Tensor]:
        matrix = torch.as_tensor(b[o]).double()
        values, vectors = torch.linalg.eigh((matrix + matrix.T) / 2)
        return values, fix_signs(vectors)

    return shape[0], shape[1], of_matrix
