"""Reference profiles of cell types: from cells, aligned with the spots, on their scale, checked."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
from scipy import sparse

from scmods import _checks
from scmods.smoother import _models

if TYPE_CHECKING:
    import pandas as pd
    from anndata import AnnData

__all__ = ["aligned", "check_profiles", "dwls_weights", "on_one_scale", "reference_profiles"]

DEPENDENT = 1e-9  # smallest singular value, relative to the largest, below which profiles count as dependent
FEW = 0.5  # share of the genes of the reference below which the overlap is worth a warning


def reference_profiles(adata: AnnData, groupby: str, *, layer: str | None = None) -> pd.DataFrame:
    """Mean counts of the cells of every type.

    Parameters
    ----------
    adata
        Cells x genes.
    groupby
        Column of ``obs`` with the types.
    layer
        Layer with counts; None for `X`.

    Returns
    -------
    DataFrame, genes x types, types in alphabetical order.

    Raises
    ------
    MissingKeyError, ValueError
        Missing column or labels, a single type, values that are negative or not finite.

    Examples
    --------
    >>> import anndata, pandas as pd
    >>> obs = pd.DataFrame({"type": ["a", "a", "b"]}, index=list("123"))
    >>> cells = anndata.AnnData(np.array([[1.0, 0.0], [3.0, 0.0], [0.0, 5.0]]), obs=obs)
    >>> reference_profiles(cells, "type").to_numpy().tolist()
    [[2.0, 0.0], [0.0, 5.0]]
    """
    import pandas as pd

    label = _checks.labels(adata, groupby).astype(str)
    x = _models.values(adata, layer)
    refuse_negative(x, "the reference cells")
    types, codes = np.unique(label, return_inverse=True)
    member = sparse.csr_array((np.ones(len(codes)), (codes, np.arange(len(codes)))))
    means = member @ x
    means = (means.toarray() if sparse.issparse(means) else means) / np.bincount(codes)[:, None]
    return pd.DataFrame(means.T, index=adata.var_names.to_numpy(), columns=types)


def refuse_negative(x: Any, what: str) -> None:
    """Refuse negative values: no counts, and no logarithm."""
    data = x.data if sparse.issparse(x) else x
    low = float(np.min(data, initial=0.0))
    if low < 0:
        _checks.fail(
            f"The matrix of {what} holds negative values, down to {low:.3g}. Expected counts.",
            "Name the layer that has them: layer='counts'.",
        )


def _table(reference: Any) -> None:
    import pandas as pd

    if not isinstance(reference, pd.DataFrame):
        _checks.fail(
            f"`reference` is a {type(reference).__name__}, but must be a DataFrame, genes x types.",
            "From single cells: `smoother.reference_profiles(cells, 'cell_type', layer='counts')`.",
            kind=TypeError,
        )
    _checks.unique_names("reference.index", list(map(str, reference.index)))
    _checks.unique_names("reference.columns", list(map(str, reference.columns)))


def aligned(
    adata: AnnData, reference: Any, layer: str | None
) -> tuple[sparse.csr_array | np.ndarray, np.ndarray, np.ndarray]:
    """Counts (spots, shared genes), profiles (shared genes, types), shared names in the order of `adata`."""
    _table(reference)
    _checks.unique_names("adata.var_names", list(adata.var_names))
    shared = adata.var_names.isin(reference.index.astype(str))
    genes = adata.var_names.to_numpy(dtype=str)[shared]
    types = reference.shape[1]
    if len(genes) <= types:
        _checks.fail(
            f"`reference` ({len(reference)} genes) and `adata` ({adata.n_vars} genes) share {len(genes)} genes,",
            f"but {types} types need more than {types}.",
            f"Genes of the reference: {_checks.listing(reference.index, 3)};",
            f"of the spots: {_checks.listing(adata.var_names, 3)}.",
            "It looks transposed: pass reference.T." if adata.var_names.isin(reference.columns).any() else "",
            "Use the same kind of names on both sides, symbols or identifiers, in the same case.",
        )
    if len(genes) < FEW * len(reference):
        _checks.warn(
            f"Only {len(genes)} of the {len(reference)} genes of the reference are among the {adata.n_vars} genes of "
            "the spots; the others are left out.",
            level=4,
        )
    counts = _models.values(adata, layer)[:, np.flatnonzero(shared)]
    refuse_negative(counts, "the spots")
    table = reference.set_axis(reference.index.astype(str)).loc[genes]
    profiles = _checks.numeric("`reference`", table.to_numpy())
    _checks.finite("`reference`", profiles, genes)
    refuse_negative(profiles, "the reference")
    check_profiles(profiles, bias=True, names=list(map(str, reference.columns)))
    return counts, profiles, genes


def check_profiles(profiles: Any, *, bias: bool, names: list[str] | None = None) -> np.ndarray:
    """Profiles as float64 (genes, types); refuses zero columns and dependent ones, naming the type."""
    r = _checks.numeric("`profiles`", profiles)
    if r.ndim != 2 or min(r.shape) == 0:
        _checks.fail(f"`profiles` has shape {r.shape}, but must be (genes, types).")
    _checks.finite("`profiles`", r)
    names = names or [str(t) for t in range(r.shape[1])]
    empty = [n for n, zero in zip(names, (r == 0).all(axis=0), strict=True) if zero]
    if empty:
        _checks.fail(
            f"The profiles of {_checks.listing(empty)} are zero in all {len(r)} genes, so their amount is undefined.",
            "Drop these types, or add genes that they express.",
        )
    _refuse_dependent(r - r.mean(axis=0) if bias else r, names)
    return r


def _refuse_dependent(r: np.ndarray, names: list[str]) -> None:
    from scipy.linalg import qr

    upper, order = qr(r, mode="r", pivoting=True)
    size = np.abs(np.diag(upper))
    if len(r) < r.shape[1] or size[-1] <= DEPENDENT * max(size[0], 1e-300):
        worst = names[order[min(len(size), r.shape[1]) - 1]]
        _checks.fail(
            f"The profile of {worst!r} is a combination of those of the other types (and, with a bias, of a constant)",
            f"in the {len(r)} genes used: their amounts cannot be told apart.",
            "Merge or drop that type, or use more genes.",
        )


def on_one_scale(counts: Any, profiles: np.ndarray) -> np.ndarray:
    """Profiles times one number, so that their mean total is the mean total of the spots."""
    total = float(counts.sum()) / counts.shape[0]
    if total <= 0:
        _checks.fail("The spots hold no counts of any shared gene, so there is nothing to deconvolve.")
    return profiles * (total / profiles.sum(axis=0).mean())


def dwls_weights(y: Any, *, most: float = 8.0) -> np.ndarray:
    """Weights of damped weighted least squares: 1 / squared value, capped.

    Parameters
    ----------
    y
        (spots, genes) values on the scale of the fit, at least 0.
    most
        Largest ratio of two weights of a spot.

    Returns
    -------
    (spots, genes) dense; 1 for the gene of a spot with the largest value.

    Examples
    --------
    >>> dwls_weights(np.array([[0.0, 1.0, 2.0]])).tolist()
    [[8.0, 4.0, 1.0]]
    """
    y = y.toarray() if sparse.issparse(y) else np.asarray(y, dtype=np.float64)
    with np.errstate(divide="ignore"):
        w = np.minimum(y**-2.0, 64.0)
    return np.minimum(w / w.min(axis=1, keepdims=True), most)
