"""Gradient descent as in the original package, to compare with: Adam, a fixed number of epochs, a random start.

The exact solvers (`nnls`, `solve_impute`) solve the same problems; these are for benchmarks and for showing what a
learning rate costs.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from scipy import sparse
from torch import Tensor

from scmods.smoother._sparse import Product, csr_tensor
from scmods.smoother.factor import square

__all__ = ["Descent", "deconvolve_reference", "impute_reference"]


@dataclass(frozen=True)
class Descent:
    """Where a descent ended.

    Attributes
    ----------
    values
        (spots, types) abundances, or (missing spots, genes) values.
    objective
        Objective at the end.
    history
        Objective after every epoch.
    """

    values: np.ndarray
    objective: float
    history: np.ndarray


def _sparse_tensor(q: Any) -> Tensor:
    q = square("The precision matrix", q)
    parts = (
        torch.as_tensor(part) for part in (q.indptr.astype(np.int64), q.indices.astype(np.int64), q.data)
    )
    return csr_tensor(*parts, q.shape)


def _adam(parameters: list[Tensor], loss: Any, epochs: int, lr: float) -> np.ndarray:
    optimiser = torch.optim.Adam(parameters, lr=lr)
    history = []
    for _ in range(epochs):
        optimiser.zero_grad()
        value = loss()
        value.backward()
        optimiser.step()
        history.append(value.item())
    return np.array(history)


def deconvolve_reference(
    y: Any,
    profiles: np.ndarray,
    q: Any,
    *,
    smoothing: float,
    epochs: int = 1000,
    lr: float = 3e-3,
    seed: int = 0,
) -> Descent:
    """Deconvolution by the recipe of the original: Adam on signed weights whose absolute values are the abundances.

    Parameters
    ----------
    y, profiles, q, smoothing
        As in `nnls`; `y` is made dense.
    epochs
        Steps.
    lr
        Learning rate.
    seed
        Seed of the starting bias.

    Returns
    -------
    See `Descent`; the objective is that of `nnls`.

    Notes
    -----
    The start is the absolute value of ordinary least squares, negative amounts being mirrored, and a uniform random
    bias. Float64 here, float32 in the original.

    Examples
    --------
    >>> import numpy as np
    >>> from scmods import smoother
    >>> profiles = np.array([[0.0, 1.0], [1.0, 0.0], [0.0, 0.0]])
    >>> y = np.array([[1.0, 3.0, 2.0], [3.0, 1.0, 2.0]])
    >>> smoother.deconvolve_reference(y, profiles, np.eye(2), smoothing=0.1, epochs=5).values.shape
    (2, 2)
    """
    dense = torch.as_tensor(y.toarray() if sparse.issparse(y) else np.asarray(y), dtype=torch.float64)
    r = torch.as_tensor(np.asarray(profiles), dtype=torch.float64)
    matrix = _sparse_tensor(q)
    x = torch.linalg.lstsq(r, dense.T).solution.T.contiguous().requires_grad_()
    generator = torch.Generator().manual_seed(seed)
    limit = 1 / np.sqrt(r.shape[1])
    v = (torch.rand(len(dense), 1, generator=generator, dtype=torch.float64) * 2 - 1) * limit
    v.requires_grad_()

    def loss() -> Tensor:
        amounts = x.abs()
        fit = ((dense - amounts @ r.T - v) ** 2).mean()
        return fit + smoothing * (amounts * Product.apply(amounts, matrix, True)).mean()  # noqa: FBT003

    history = _adam([x, v], loss, epochs, lr)
    with torch.no_grad():
        return Descent(x.abs().numpy(), float(loss()), history)


def impute_reference(
    y: Any, q: Any, observed: np.ndarray, *, epochs: int = 1000, lr: float = 1e-3
) -> Descent:
    """Imputation by the recipe of the original: Adam on the missing values, from the mean of every gene.

    Parameters
    ----------
    y, q, observed
        As in `solve_impute`; `y` is made dense.
    epochs
        Steps.
    lr
        Learning rate.

    Returns
    -------
    See `Descent`; the objective is tr(X^T Q X) / (spots genes).

    Examples
    --------
    >>> import numpy as np
    >>> from scmods import smoother
    >>> chain = np.array([[1.0, -1.0, 0.0], [-1.0, 2.0, -1.0], [0.0, -1.0, 1.0]])
    >>> y, seen = np.array([[1.0], [0.0], [5.0]]), np.array([True, False, True])
    >>> smoother.impute_reference(y, chain, seen, epochs=5).values.shape
    (1, 1)
    """
    dense = y.toarray() if sparse.issparse(y) else np.asarray(y, dtype=np.float64)
    matrix = _sparse_tensor(q)
    seen = torch.as_tensor(observed)
    full = torch.as_tensor(dense, dtype=torch.float64).clone()
    x = full[seen].mean(0).repeat(int((~seen).sum()), 1).requires_grad_()

    def loss() -> Tensor:
        field = full.index_put(((~seen).nonzero()[:, 0],), x)
        return (field * Product.apply(field, matrix, True)).mean()  # noqa: FBT003

    history = _adam([x], loss, epochs, lr)
    with torch.no_grad():
        return Descent(x.detach().numpy().copy(), float(loss()), history)
