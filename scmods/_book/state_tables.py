"""Tables, sparse matrices, cells and figures as nodes of :mod:`scmods._book.state_tree`.

A library is recognised by the name of a value's type, so that a state without figures needs no plotly.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from scmods._book.state_tree import Kind, Reader, StateError, Writer, of_type

__all__ = ["TABLE_KINDS"]


def _parts(writer: Writer, value: Any, place: str, *names: str) -> dict[str, Any]:
    return {n: writer.node(getattr(value, n), f"{place}.{n}") for n in names}


# ---- pandas -------------------------------------------------------------------------------------------

NULLABLE = ("Int8", "Int16", "Int32", "Int64", "UInt8", "UInt16", "UInt32", "UInt64", "Float32", "Float64")
TEXT_LIKE = ("boolean", "string", *NULLABLE)


def _column(writer: Writer, values: Any, place: str) -> dict[str, Any]:
    """Values of a column or an index: numpy's own types, categories, intervals, types with missing values."""
    import pandas as pd

    dtype = values.dtype
    values = values if isinstance(dtype, np.dtype) else getattr(values, "array", values)
    if isinstance(dtype, np.dtype):
        return {"v": writer.node(np.asarray(values), place)}
    if isinstance(dtype, pd.CategoricalDtype):
        codes = writer.node(np.asarray(values.codes), place)
        categories = writer.node(dtype.categories, f"{place}.categories")
        return {"codes": codes, "categories": categories, "ordered": bool(dtype.ordered)}
    if isinstance(dtype, pd.IntervalDtype):
        ends = {n: writer.node(getattr(values, n), f"{place}.{n}") for n in ("left", "right")}
        return ends | {"closed": dtype.closed}
    if str(dtype) in TEXT_LIKE:
        items = [None if v is pd.NA else v for v in values.astype(object)]
        return {"v": writer.node(np.array([*items, None], dtype=object)[:-1], place), "as": str(dtype)}
    msg = f"{place}: a column of type {dtype} cannot be stored."
    raise StateError(msg)


def _read_column(reader: Reader, node: dict[str, Any]) -> Any:
    import pandas as pd

    if "codes" in node:
        categories = reader.value(node["categories"])
        return pd.Categorical.from_codes(reader.value(node["codes"]), categories, ordered=node["ordered"])
    if "closed" in node:
        left, right = reader.value(node["left"]), reader.value(node["right"])
        return pd.arrays.IntervalArray.from_arrays(left, right, closed=node["closed"])
    values = reader.value(node["v"])
    return pd.array(values, dtype=node["as"]) if "as" in node else values


def _write_index(writer: Writer, value: Any, place: str) -> dict[str, Any]:
    import pandas as pd

    if isinstance(value, pd.RangeIndex):
        return {"range": [value.start, value.stop, value.step], "name": writer.node(value.name, place)}
    if isinstance(value, pd.MultiIndex):
        levels = [writer.node(v, f"{place}.levels") for v in value.levels]
        codes = [writer.node(np.asarray(v), f"{place}.codes") for v in value.codes]
        names = [writer.node(v, f"{place}.names") for v in value.names]
        return {"levels": levels, "codes": codes, "names": names}
    return {"column": _column(writer, value, place), "name": writer.node(value.name, place)}


def _read_index(reader: Reader, node: dict[str, Any]) -> Any:
    import pandas as pd

    if "range" in node:
        return pd.RangeIndex(*node["range"], name=reader.value(node["name"]))
    if "levels" in node:
        names = ("levels", "codes", "names")
        levels, codes, words = ([reader.value(v) for v in node[n]] for n in names)
        return pd.MultiIndex(levels, codes, names=words, verify_integrity=False)
    return pd.Index(_read_column(reader, node["column"]), name=reader.value(node["name"]), copy=False)


def _write_series(writer: Writer, value: Any, place: str) -> dict[str, Any]:
    column = _column(writer, value, place)
    rest = _parts(writer, value, place, "index", "name")
    return {**rest, "column": column, "attrs": writer.node(dict(value.attrs), f"{place}.attrs")}


def _read_series(reader: Reader, node: dict[str, Any]) -> Any:
    import pandas as pd

    index, name = reader.value(node["index"]), reader.value(node["name"])
    made = pd.Series(_read_column(reader, node["column"]), index=index, name=name, copy=False)
    made.attrs.update(reader.value(node["attrs"]))
    return made


def _write_frame(writer: Writer, value: Any, place: str) -> dict[str, Any]:
    columns = []
    for i, name in enumerate(value.columns):
        columns.append(_column(writer, value.iloc[:, i], f"{place}[{name!r}]"))
    head = {n: writer.node(getattr(value, n), f"{place}.{n}") for n in ("index", "columns")}
    return {**head, "v": columns, "attrs": writer.node(dict(value.attrs), f"{place}.attrs")}


def _read_frame(reader: Reader, node: dict[str, Any]) -> Any:
    import pandas as pd

    index, columns = reader.value(node["index"]), reader.value(node["columns"])
    made = pd.DataFrame({i: _read_column(reader, v) for i, v in enumerate(node["v"])}, index=index)
    made.columns = columns
    made.attrs.update(reader.value(node["attrs"]))
    return made


def _read_categorical(reader: Reader, node: dict[str, Any]) -> Any:
    return _read_column(reader, node)


# ---- scipy, anndata, plotly ---------------------------------------------------------------------------


def _write_sparse(writer: Writer, value: Any, place: str) -> dict[str, Any]:
    names = {"csr": ("data", "indices", "indptr"), "csc": ("data", "indices", "indptr")}
    names |= {"coo": ("data", "row", "col"), "dia": ("data", "offsets")}
    if value.format not in names:
        msg = (
            f"{place}: a sparse matrix of format {value.format!r} cannot be stored. Make it csr: `.tocsr()`."
        )
        raise StateError(msg)
    fields = _parts(writer, value, place, *names[value.format])
    return {"kind": type(value).__name__, "shape": list(value.shape), "v": list(fields.values())}


def _read_sparse(reader: Reader, node: dict[str, Any]) -> Any:
    from scipy import sparse

    kinds = {
        f"{f}_{k}": getattr(sparse, f"{f}_{k}")
        for f in ("csr", "csc", "coo", "dia")
        for k in ("matrix", "array")
    }
    data, *places = (reader.value(v) for v in node["v"])
    where: Any = tuple(places)
    if node["kind"].startswith("coo"):
        return kinds[node["kind"]]((data, where), shape=node["shape"])
    return kinds[node["kind"]]((data, *where), shape=node["shape"])


SLOTS = ("layers", "obsm", "varm", "obsp", "varp")


def _write_cells(writer: Writer, value: Any, place: str) -> dict[str, Any]:
    if value.isbacked:
        msg = f"{place}: an AnnData on disk cannot be stored. Read it into memory: `.to_memory()`."
        raise StateError(msg)
    whole = value.copy() if value.is_view else value
    fields = _parts(writer, whole, place, "X", "obs", "var")
    fields |= {n: writer.node(dict(getattr(whole, n)), f"{place}.{n}") for n in SLOTS}
    fields["uns"] = writer.node(dict(whole.uns), f"{place}.uns")
    if whole.raw is not None:
        raw = {"X": whole.raw.X, "var": whole.raw.var, "varm": dict(whole.raw.varm)}
        fields["raw"] = writer.node(raw, f"{place}.raw")
    return fields


def _read_cells(reader: Reader, node: dict[str, Any]) -> Any:
    import anndata

    parts = {n: reader.value(node[n]) for n in ("X", "obs", "var", *SLOTS, "uns")}
    made = anndata.AnnData(parts["X"], obs=parts["obs"], var=parts["var"])
    for name in SLOTS:
        for key, value in parts[name].items():
            getattr(made, name)[key] = value
    for key, value in parts["uns"].items():
        made.uns[key] = value
    if "raw" in node:
        raw = reader.value(node["raw"])
        made.raw = anndata.AnnData(raw["X"], obs=made.obs[[]], var=raw["var"], varm=raw["varm"])
    return made


def _read_figure(reader: Reader, node: dict[str, Any]) -> Any:
    import plotly.io

    return plotly.io.from_json(node["v"])


def _is_sparse(value: Any) -> bool:
    return type(value).__module__.startswith("scipy.sparse") and hasattr(value, "format")


TABLE_KINDS = (
    Kind("series", of_type("pandas.core.series.Series"), _write_series, _read_series),
    Kind("frame", of_type("pandas.core.frame.DataFrame"), _write_frame, _read_frame),
    Kind("index", of_type("pandas.core.indexes.base.Index"), _write_index, _read_index),
    Kind("categorical", of_type("pandas.core.arrays.categorical.Categorical"), _column, _read_categorical),
    Kind("sparse", _is_sparse, _write_sparse, _read_sparse),
    Kind("cells", of_type("anndata._core.anndata.AnnData"), _write_cells, _read_cells),
    Kind(
        "figure", of_type("plotly.basedatatypes.BaseFigure"), lambda w, v, p: {"v": v.to_json()}, _read_figure
    ),
)
