"""What a file of a stranger holds: names, shapes and the kind of its numbers.

An .h5ad file is never loaded: names and shapes are read, and the first numbers of each matrix.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from scmods._book import roles
from scmods._book.file_keys import open_h5ad
from scmods._book.own_data import OwnDataError

if TYPE_CHECKING:
    import h5py
    import pandas as pd
    from anndata import AnnData

__all__ = ["FileFacts", "facts", "kind_of"]

ENTRIES = 100_000
TABLE_BYTES = 1_000_000
SYMBOLS = (
    "symbol",
    "gene_symbol",
    "gene_symbols",
    "gene_name",
    "gene_names",
    "feature_name",
    "gene_short_name",
)
PAIRS = (
    ("x", "y"),
    ("x_centroid", "y_centroid"),
    ("center_x", "center_y"),
    ("x_um", "y_um"),
    ("array_col", "array_row"),
    ("col", "row"),
    ("column", "row"),
)


@dataclass
class FileFacts:
    """What is in the file.

    Attributes
    ----------
    cells, genes
        Shape.
    matrices
        ``"X"`` and each layer -> "counts", "log", "normalised", "scaled", "NaN" or "empty".
    labels
        Columns of ``obs`` that could be labels -> number of classes.
    spatial
        Slots of ``obsm`` that could be positions, the likeliest first.
    doubled_genes, doubled_cells
        Whether names occur twice.
    ensembl
        Whether most gene names are Ensembl identifiers.
    missing_labels
        Columns among `labels` with missing values.
    largest
        ``"X"`` and each layer -> largest absolute value seen.
    table
        Populations of the table of markers, if there is one in ``uns`` or beside the file.
    table_file
        The CSV file that holds this table; empty where it is in ``uns``.
    coding
        How that file writes its entries: signed, symbols or binary.
    populations
        Column among `labels` whose values are populations of that table, or an empty string.
    flags
        Columns of ``var`` with True and False.
    symbols
        Column of ``var`` that looks like gene symbols, or an empty string.
    xy
        Two columns of ``obs`` that look like positions, or nothing.
    """

    cells: int
    genes: int
    matrices: dict[str, str]
    labels: dict[str, int]
    spatial: list[str]
    doubled_genes: bool = False
    doubled_cells: bool = False
    ensembl: bool = False
    missing_labels: list[str] = field(default_factory=list)
    largest: dict[str, float] = field(default_factory=dict)
    table: list[str] = field(default_factory=list)
    table_file: str = ""
    coding: str = "signed"
    populations: str = ""
    flags: list[str] = field(default_factory=list)
    symbols: str = ""
    xy: tuple[str, ...] = ()

    def guess(self, role: str) -> str:
        """Best guess for a role, or an empty string."""
        return next(iter(roles.candidates(self, role)), "")


def _values(item: h5py.Dataset | h5py.Group) -> np.ndarray:
    """The first numbers of a dense or sparse matrix."""
    if hasattr(item, "keys"):
        return np.asarray(item["data"][:ENTRIES], dtype=float)
    rows = max(1, ENTRIES // max(1, item.shape[1] if item.ndim > 1 else 1))
    return np.asarray(item[:rows], dtype=float).ravel()


def kind_of(values: np.ndarray) -> str:
    """What numbers look like: "counts", "log", "normalised", "scaled", "NaN" or "empty"."""
    if not values.size or not np.any(values):
        return "empty"
    if not np.isfinite(values).all():
        return "NaN"
    if (values < 0).any():
        return "scaled"
    if np.array_equal(values, np.round(values)):
        return "counts"
    return "log" if values.max() < 20 else "normalised"


def _populations(file: h5py.File) -> list[str]:
    """Rows of the table of markers, if the file has one."""
    from anndata.io import read_elem

    stored = file.get("uns", {}).get("table")
    if stored is None or stored.attrs.get("encoding-type") != "dataframe":
        return []
    return [str(name) for name in read_elem(stored).index]


def _label_columns(obs: pd.DataFrame) -> dict[str, int]:
    """Columns of text, categories, truth values or few whole numbers, with 2 to 200 classes."""
    found = {}
    for name in obs.columns:
        column = obs[name]
        classes = int(column.nunique())
        text = column.dtype.name == "category" or column.dtype.kind in "OUSb"
        if 2 <= classes <= min(200, len(obs) // 2) and (
            text or (column.dtype.kind in "iu" and classes <= 50)
        ):
            found[str(name)] = classes
    return found


def _coding(values: np.ndarray) -> str:
    """How the entries of a table are written."""
    entries = {str(v).strip() for v in values.ravel()} - {"", "nan"}
    try:
        numbers = {float(v) for v in entries}
    except ValueError:
        return "symbols"
    return "binary" if numbers == {0.0, 1.0} else "signed"


def _add_table_beside(found: FileFacts, path: Path, markers: pd.Index, obs: pd.DataFrame) -> None:
    """A small CSV file in the same folder whose columns are markers of this file is taken for its table."""
    import pandas as pd

    names = set(markers.astype(str))
    for one in sorted(path.parent.glob("*.csv")):
        if one == path or one.stat().st_size > TABLE_BYTES:
            continue
        try:
            frame = pd.read_csv(one, index_col=0, sep=None, engine="python", encoding="utf-8-sig")
        except (ValueError, UnicodeDecodeError, pd.errors.ParserError):
            continue  # another kind of file
        shared = [c for c in frame.columns if str(c).strip() in names]
        if len(shared) >= 2 and 2 * len(shared) >= frame.shape[1] and 2 <= len(frame) <= 200:
            found.table, found.table_file = [str(n) for n in frame.index], str(one)
            found.coding = _coding(frame[shared].astype(object).to_numpy())
            break
    rows = set(found.table)
    found.populations = next((n for n in found.labels if set(obs[n].astype(str)) & rows), "")


def _events_facts(path: Path) -> FileFacts:
    """Facts of a file of a cytometer or a table of events, which is read whole."""
    from scmods.scyan.reading import read_csv, read_fcs

    read = read_fcs if path.suffix.lower() == ".fcs" else read_csv
    try:
        adata: AnnData = read(path)
    except (ValueError, KeyError, UnicodeDecodeError) as error:
        msg = f"{path} cannot be read as cells x markers: {error}"
        raise OwnDataError(msg) from error
    values = np.asarray(adata.X, dtype=float)
    found = FileFacts(
        *adata.shape,
        {"X": kind_of(values)},
        _label_columns(adata.obs),
        [],
        largest={"X": float(np.nanmax(np.abs(values), initial=0.0))},
    )
    found.missing_labels = [n for n in found.labels if adata.obs[n].isna().any()]
    _add_table_beside(found, path, adata.var_names, adata.obs)
    return found


def _h5ad_facts(path: Path) -> FileFacts:
    from anndata.io import read_elem

    with open_h5ad(path) as file:
        if "obs" not in file or "var" not in file:
            msg = f"{path} holds no AnnData: `obs` or `var` is missing. "
            msg += "Write it with adata.write_h5ad('my.h5ad')."
            raise OwnDataError(msg)
        obs, var = read_elem(file["obs"]), read_elem(file["var"])
        seen = {"X": _values(file["X"])} if "X" in file else {"X": np.zeros(0)}
        seen |= {name: _values(item) for name, item in file.get("layers", {}).items()}
        table = _populations(file)
        shapes = {name: getattr(item, "shape", ()) for name, item in file.get("obsm", {}).items()}
    names = var.index.astype(str)
    by_lower = {str(c).lower(): str(c) for c in obs.columns}
    found = FileFacts(
        cells=len(obs),
        genes=len(var),
        matrices={name: kind_of(values) for name, values in seen.items()},
        labels=_label_columns(obs),
        spatial=roles.places(n for n, s in shapes.items() if len(s) == 2 and s[1] in (2, 3)),
        doubled_genes=not names.is_unique,
        doubled_cells=not obs.index.is_unique,
        ensembl=bool(len(names)) and float(np.mean(names.str.match(r"ENS[A-Z]*G\d{6,}"))) > 0.5,
        largest={name: float(np.abs(values).max(initial=0.0)) for name, values in seen.items()},
        table=table,
        flags=[str(n) for n in var.columns if var[n].dtype.kind == "b"],
        symbols=next((str(n) for n in var.columns if str(n).lower() in SYMBOLS), ""),
        xy=next((tuple(by_lower[n] for n in pair) for pair in PAIRS if set(pair) <= set(by_lower)), ()),
    )
    found.missing_labels = [n for n in found.labels if obs[n].isna().any()]
    if table:
        found.populations = next((n for n in found.labels if set(obs[n].astype(str)) & set(table)), "")
    else:
        _add_table_beside(found, path, names, obs)
    return found


def facts(path: Path) -> FileFacts:
    """Read what :class:`FileFacts` holds.

    Parameters
    ----------
    path
        An .h5ad file, of which only ``obs``, ``var``, shapes and the first 100,000 numbers of each matrix are read; or
        a file of events (.fcs, .csv), which is read whole.

    Raises
    ------
    OwnDataError
        If the file does not exist, is a folder, is no file of these kinds or is damaged.
    """
    if path.is_dir():
        zarr = path.suffix.lower() == ".zarr"
        how = f"adata = anndata.read_zarr({path.name!r})" if zarr else "the scanpy reader of its format"
        msg = f"{path} is a folder, not a file. Read it with {how}, then adata.write_h5ad('my.h5ad')."
        raise OwnDataError(msg)
    if not path.is_file():
        msg = f"The file {path} does not exist in {Path.cwd()}."
        raise OwnDataError(msg)
    if path.suffix.lower() in (".fcs", ".csv"):
        return _events_facts(path)
    return _h5ad_facts(path)
