"""Whether the columns and layers that parameters name are in the reader's file: looked up before a kernel starts.

Of an .h5ad file only the names of its slots are read, of a .csv file the first line.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from scmods import _checks
from scmods._book.params import ParameterError
from scmods._book.run_folder import OwnDataError

if TYPE_CHECKING:
    import h5py

__all__ = ["check_keys", "names_in", "open_h5ad"]

SLOTS = {
    "cluster_key": "obs",
    "label_key": "obs",
    "library_key": "obs",
    "batch_key": "obs",
    "spatial_key": "obsm",
    "target": "obsm",
    "layer": "layers",
    "spliced_layer": "layers",
    "unspliced_layer": "layers",
    "velocity_layer": "layers",
}
NEEDED = {"amici": ("cluster_key", "spatial_key"), "bmlp": ("cluster_key",), "smoother": ("spatial_key",)}
NEEDED |= {"hopfield": ("spliced_layer",)}


@contextmanager
def open_h5ad(path: Path) -> Iterator[h5py.File]:
    """Open a file to read.

    Parameters
    ----------
    path
        The file.

    Raises
    ------
    OwnDataError
        If it is empty, of another kind, cut short or damaged; also where the damage shows only in what is read.
    """
    import h5py

    if not h5py.is_hdf5(path):
        msg = f"{path} is empty. Copy it again."
        if path.stat().st_size:
            msg = f"{path} is not an .h5ad file. "
            msg += "Read it with the scanpy reader of its format, then adata.write_h5ad('my.h5ad')."
        raise OwnDataError(msg)
    try:
        with h5py.File(path, "r") as file:
            yield file
    except OSError as error:
        msg = f"{path} is cut short or damaged. Copy it again. What HDF5 says: {error}"
        raise OwnDataError(msg) from error


def names_in(path: Path) -> dict[str, list[str]]:
    """Slot -> names in the file; empty for a file of another kind, about which the reader has the last word."""
    if path.suffix.lower() == ".csv":
        import csv

        with path.open(encoding="utf-8-sig", errors="replace", newline="") as file:
            head = file.readline()
        names = next(csv.reader([head], delimiter=max(",;\t", key=head.count)), [])
        return {"obs": [n.strip() for n in names], "obsm": [], "layers": []}
    if path.suffix.lower() != ".h5ad":
        return {}
    with open_h5ad(path) as file:
        if not {"obs", "var"} <= set(file) or not hasattr(file["obs"], "keys"):
            return {}
        columns = [str(c) for c in file["obs"].attrs.get("column-order", [])]
        rest = {slot: list(file[slot]) if slot in file else [] for slot in ("obsm", "layers")}
    return {"obs": columns, **rest}


def check_keys(chapter: str, path: Path, values: Mapping[str, Any]) -> None:
    """Refuse a column, a layer or positions that the file does not have.

    Parameters
    ----------
    chapter
        Name of the chapter.
    path
        The reader's file.
    values
        All parameters, defaults included.

    Raises
    ------
    ParameterError
        With the parameter, its value, the nearest name, the names that are there and the call that lists the rest.
    OwnDataError
        If an .h5ad file cannot be read.
    """
    have = names_in(path)
    made_here = str(values.get("velocity_layer", "")) == ""
    for name, slot in SLOTS.items():
        value = values.get(name)
        if value is None or slot not in have or (name == "unspliced_layer" and not made_here):
            continue
        if value not in have[slot] and (value or name in NEEDED.get(chapter, ())):
            optional = name not in NEEDED.get(chapter, ()) and name != "unspliced_layer"
            empty = f"Leave it out with -p {name}= if there is none." if optional else ""
            parts = [
                f"Parameter `{name}` is {value!r}, but `adata.{slot}` of {path.name} has no such name.",
                _checks.nearest(str(value), have[slot]),
                f"It has: {_checks.listing(have[slot], 12)}.",
                empty,
                f'See what the file allows: python -m scmods check "{path}"',
            ]
            raise ParameterError(" ".join(p for p in parts if p))
