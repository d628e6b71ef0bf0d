"""R data files: the few classes met in the data sets, with the names that plain conversion drops."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    import pandas as pd
    from scipy import sparse

__all__ = ["Table", "counts", "read", "table"]


class Table(SimpleNamespace):
    """A matrix with the names of its rows and columns: ``values``, ``rows``, ``columns``."""


def _namespace(_: Any, attrs: Any) -> SimpleNamespace:
    return SimpleNamespace(**attrs)


def _column_sparse(_: Any, attrs: Any) -> Table:
    from scipy import sparse

    shape = tuple(int(n) for n in attrs["Dim"])
    values = sparse.csc_matrix((attrs["x"], attrs["i"], attrs["p"]), shape=shape)
    rows, columns = (np.asarray(names, dtype=object) for names in attrs["Dimnames"])
    return Table(values=values, rows=rows, columns=columns)


def _factor(codes: Any, attrs: Any) -> pd.Series | pd.Categorical:
    """A factor; with its names as index where it has some, which plain conversion drops."""
    import pandas as pd

    codes = np.ma.filled(np.ma.asarray(codes), 0).astype(int)
    # R writes a missing value as the smallest integer
    values = pd.Categorical.from_codes(np.where(codes < 1, -1, codes - 1), [str(v) for v in attrs["levels"]])
    names = attrs.get("names")
    return values if names is None else pd.Series(values, index=[str(n) for n in names])


def read(path: Path) -> Any:
    """The one object of an ``.rda`` file: lists become dicts, factors named Series, sparse `Table`."""
    import rdata
    from rdata.conversion import DEFAULT_CLASS_MAP

    own = {"dgCMatrix": _column_sparse, "factor": _factor, "AsIs": lambda value, _: value}
    plain = dict.fromkeys(("flowFrame", "AnnotatedDataFrame", "Versions"), _namespace)
    objects = rdata.read_rda(path, constructor_dict={**DEFAULT_CLASS_MAP, **plain, **own})
    (value,) = objects.values()
    return {str(k): v for k, v in value.items()} if isinstance(value, dict) else value


def table(matrix: Any) -> Table:
    """Dense R matrix with names (an xarray) as a `Table`; a missing name list is None."""
    names = [
        np.array(matrix.coords[dim].values, dtype=object) if dim in matrix.coords else None
        for dim in matrix.dims
    ]
    return Table(values=np.asarray(matrix.values), rows=names[0], columns=names[1])


def counts(one: Table) -> sparse.csr_matrix:
    """Genes x cells of R as cells x genes, CSR, float32."""
    from scipy import sparse

    return sparse.csr_matrix(one.values.T, dtype=np.float32)
