"""Precision matrices as modules that evaluate x^T Q x: sparse, dense, or by the sparse factor of their inverse.

All keep their numbers in buffers of indices and values, so that `.to`, `.double`, `state_dict` and `copy.deepcopy`
work as for any module. One matrix serves all groups, or there is one per group: then the sparse ones are stored as
blocks of one matrix against the row-major flattened field.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.autograd import Function

from scmods import _checks
from scmods.smoother._sparse import csr_tensor
from scmods.smoother.losses import permutation_expectation, quadratic_loss, sparse_quadratic_loss

__all__ = ["DenseForm", "FactorForm", "SparseForm"]


class SparseForm(nn.Module):
    """Sparse matrices in CSR form.

    Parameters
    ----------
    matrices
        Scipy sparse matrices of one size, (spots, spots).
    """

    def __init__(self, matrices: Sequence[Any]) -> None:
        from scipy.sparse import block_diag

        super().__init__()
        self.n, self.count = matrices[0].shape[0], len(matrices)
        whole = matrices[0].tocsr() if len(matrices) == 1 else block_diag(matrices, format="csr")
        index = np.int32 if whole.nnz < 2**31 else np.int64
        self.register_buffer("crow", torch.tensor(whole.indptr.astype(index)))
        self.register_buffer("col", torch.tensor(whole.indices.astype(index)))
        self.register_buffer("values", torch.tensor(whole.data.astype(np.float64)))

    @property
    def dtype(self) -> torch.dtype:
        """Type of the stored values, in which the loss is computed."""
        return self.values.dtype

    def matrix(self) -> Tensor:
        """All blocks as one CSR tensor that shares the buffers."""
        size = self.n * self.count
        return csr_tensor(self.crow, self.col, self.values, (size, size))

    def scipy(self) -> list[Any]:
        """The blocks as scipy CSR arrays, in float64."""
        from scipy.sparse import csr_array

        parts = (self.values.double().cpu().numpy(), self.col.cpu().numpy(), self.crow.cpu().numpy())
        whole = csr_array(parts, shape=(self.n * self.count,) * 2)
        starts = range(0, self.n * self.count, self.n)
        return [whole[i : i + self.n, i : i + self.n] for i in starts]

    def dense(self) -> Tensor:
        """All matrices, (matrices, spots, spots)."""
        return torch.stack([torch.as_tensor(m.toarray()) for m in self.scipy()]).to(self.values)

    def loss(self, x: Tensor, scales: Tensor, *, normalize: bool) -> Tensor:
        """Sum over groups of scale times form."""
        return sparse_quadratic_loss(x, self.matrix(), scales, normalize, symmetric=True)

    def expectation(self) -> list[tuple[Tensor, Tensor]]:
        """The two numbers of `permutation_expectation` for every matrix."""
        return [permutation_expectation(_tensor(m)) for m in self.scipy()]

    def proper(self, which: int) -> Any:
        """What `scmods.smoother.selected` takes for one of the matrices."""
        return self.scipy()[which]

    def solvers(self, shift: float = 0.0) -> list[Callable[[np.ndarray], np.ndarray]]:
        """For every matrix the map y -> (Q + shift I)^{-1} y."""
        from scipy.sparse import eye_array

        from scmods.smoother.factor import factorize

        return [factorize(m + shift * eye_array(self.n)).solve for m in self.scipy()]


def _tensor(matrix: Any) -> Tensor:
    parts = (torch.as_tensor(a) for a in (matrix.indptr, matrix.indices, matrix.data))
    return csr_tensor(*parts, matrix.shape)


class DenseForm(nn.Module):
    """Dense matrices: the reference for small tissues, O(spots²) per loss.

    Parameters
    ----------
    matrices
        Symmetric arrays of one size, (spots, spots).
    """

    def __init__(self, matrices: Sequence[np.ndarray]) -> None:
        super().__init__()
        self.n, self.count = len(matrices[0]), len(matrices)
        self.register_buffer("values", torch.tensor(np.stack(matrices), dtype=torch.float64))

    @property
    def dtype(self) -> torch.dtype:
        """Type of the stored values."""
        return self.values.dtype

    def scipy(self) -> list[Any]:
        """The matrices as scipy CSR arrays, in float64."""
        from scipy.sparse import csr_array

        return [csr_array(m) for m in self.values.double().cpu().numpy()]

    def proper(self, which: int) -> Any:
        """What `scmods.smoother.selected` takes for one of the matrices."""
        return self.scipy()[which]

    def dense(self) -> Tensor:
        """All matrices, (matrices, spots, spots)."""
        return self.values

    def loss(self, x: Tensor, scales: Tensor, *, normalize: bool) -> Tensor:
        """Sum over groups of scale times form."""
        return quadratic_loss(x, self.values, scales, normalize)

    def expectation(self) -> list[tuple[Tensor, Tensor]]:
        """The two numbers of `permutation_expectation` for every matrix."""
        return [permutation_expectation(m.double()) for m in self.values]

    def solvers(self, shift: float = 0.0) -> list[Callable[[np.ndarray], np.ndarray]]:
        """For every matrix the map y -> (Q + shift I)^{-1} y."""
        from scipy.linalg import cho_factor, cho_solve

        made = [
            cho_factor(m + shift * np.eye(self.n), lower=True) for m in self.values.double().cpu().numpy()
        ]
        return [lambda y, c=c: cho_solve(c, y) for c in made]


class _Solve(Function):
    """Columns x -> M^{-1} x, or with the transpose, by sparse factors on the CPU."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, factors: Any, mode: str) -> Tensor:
        ctx.factors, ctx.mode = factors, mode
        solved = factors.solve(np.ascontiguousarray(x.detach().cpu().numpy(), np.float64), mode)
        return torch.as_tensor(solved).to(x)

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor, None, None]:
        return _Solve.apply(grad, ctx.factors, "N" if ctx.mode == "T" else "T"), None, None


class FactorForm(SparseForm):
    """The moving-average prior: Q = A^{-T} A^{-1} with a sparse A, that of `Sma`.

    Q is dense but its form is ||A^{-1} x||²: one sparse solve, and one with the transpose for the gradient. The factors
    live on the CPU in float64, whatever the buffers do.

    Parameters
    ----------
    weights
        The weights W, scipy sparse matrices of one size, (spots, spots).
    rho
        Autocorrelation.
    standardize
        Divide the rows of A by their norms, which gives every spot the variance 1.
    """

    def __init__(self, weights: Sequence[Any], rho: float, *, standardize: bool) -> None:
        self.sources = [(w, rho, standardize) for w in weights]
        made = [self.proper(i) for i in range(len(weights))]
        super().__init__([sma.factor for sma in made])
        self._factors: list[Any] | None = [sma._lu for sma in made]

    def proper(self, which: int) -> Any:
        """What `scmods.smoother.selected` takes for one of the matrices."""
        from scmods.smoother.sma import Sma

        w, rho, standardize = self.sources[which]
        return Sma(w, rho, standardize=standardize)

    def __getstate__(self) -> dict[str, Any]:
        """Without the factors, which cannot be copied; they are made again when needed."""
        return self.__dict__ | {"_factors": None}

    def _load_from_state_dict(self, *args: Any) -> None:
        super()._load_from_state_dict(*args)
        self._factors = None

    def _lu(self) -> list[Any]:
        if self._factors is None:
            from scipy.sparse.linalg import splu

            self._factors = [splu(m.tocsc()) for m in self.scipy()]
        return self._factors

    def dense(self) -> Tensor:
        """All precision matrices, (matrices, spots, spots)."""
        roots = [torch.as_tensor(lu.solve(np.eye(self.n))) for lu in self._lu()]
        return torch.stack([root.T @ root for root in roots]).to(self.values)

    def loss(self, x: Tensor, scales: Tensor, *, normalize: bool) -> Tensor:
        """Sum over groups of scale times form."""
        if self.count == 1:
            solved = _Solve.apply(x.T, self._lu()[0], "N").T
        else:
            rows = zip(x, self._lu(), strict=True)
            solved = torch.stack([_Solve.apply(row[:, None], lu, "N")[:, 0] for row, lu in rows])
        loss = (scales * (solved**2).sum(1)).sum()
        return loss / x.numel() if normalize else loss

    def expectation(self) -> list[tuple[Tensor, Tensor]]:
        """The two numbers of `permutation_expectation`; the trace by the selected inverse of A A^T."""
        from scmods.smoother.selected import marginal_variance

        out = []
        for lu, a in zip(self._lu(), self.scipy(), strict=True):
            trace = float(marginal_variance((a @ a.T).tocsr()).sum())
            total = float((lu.solve(np.ones(self.n)) ** 2).sum())
            ab = trace / self.n, (total - trace) / (self.n * (self.n - 1))
            out.append(tuple(torch.tensor(v, dtype=torch.float64) for v in ab))
        return out

    def solvers(self, shift: float = 0.0) -> list[Callable[[np.ndarray], np.ndarray]]:
        """For every matrix the map y -> Q^{-1} y, two sparse products; Q is never singular, so no shift."""
        if shift:
            _checks.fail("The moving-average precision is regular and takes no shift.")
        return [lambda y, a=a: a @ (a.T @ y) for a in self.scipy()]
