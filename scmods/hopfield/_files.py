"""HDF5 and zarr behind the same few calls; the ending of the file name decides which."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np

from scmods import _checks
from scmods.io import _replacing

HDF5, ZARR = (".h5", ".hdf5"), (".zarr",)
CHUNK_BYTES = 2**20  # of one chunk: fast to read for a single cell, few enough for a whole file
COMPRESSIONS = (None, "gzip", "lzf")


def checked(filename: str | os.PathLike[str], *, existing: bool = False) -> Path:
    """The path; refuses endings that say neither HDF5 nor zarr, and files that are not there."""
    path = Path(filename)
    if path.suffix.lower() not in HDF5 + ZARR:
        _checks.fail(
            f"The file name '{path.name}' ends in {path.suffix!r}, but must end in one of {[*HDF5, *ZARR]}.",
            f"Write filename={path.with_suffix('.h5').name!r}.",
        )
    if existing and not path.exists():
        here = sorted(p.name for p in path.parent.iterdir()) if path.parent.is_dir() else []
        here = [name for name in here if name.lower().endswith(HDF5 + ZARR)]
        _checks.fail(
            f"The file '{path}' does not exist. Its folder has {_checks.listing(here)}.",
            _checks.nearest(path.name, here),
            kind=FileNotFoundError,
        )
    return path


def is_zarr(path: Path) -> bool:
    """Whether the ending says zarr."""
    return path.suffix.lower() in ZARR


@contextmanager
def writing(path: Path) -> Iterator[Any]:
    """An empty group that appears under its name when all went well."""
    if not is_zarr(path):
        import h5py

        with _replacing(path) as temporary, h5py.File(temporary, "w") as file:
            yield file
        return
    import zarr

    _refuse_other_folder(path)
    temporary, old = (path.with_name(f".{path.name}.{os.getpid()}.{end}") for end in ("tmp", "old"))
    try:
        yield zarr.open_group(temporary, mode="w")
        if path.exists():
            os.replace(path, old)
        os.replace(temporary, path)
    finally:
        for left in (temporary, old):
            shutil.rmtree(left, ignore_errors=True)


def _refuse_other_folder(path: Path) -> None:
    """A folder is replaced as a whole, so it must be a zarr group."""
    if path.exists() and not any((path / name).is_file() for name in ("zarr.json", ".zgroup")):
        _checks.fail(f"'{path}' exists and is no zarr group; it is not replaced. Choose another name.")
    if not path.parent.is_dir():
        _checks.fail(
            f"The folder '{path.parent}' does not exist.",
            f"Make it first: `pathlib.Path({str(path.parent)!r}).mkdir(parents=True)`.",
            kind=FileNotFoundError,
        )


@contextmanager
def reading(path: Path) -> Iterator[Any]:
    """The group of an existing file."""
    if is_zarr(path):
        import zarr

        yield zarr.open_group(path, mode="r")
        return
    import h5py

    try:
        file = h5py.File(path, "r")
    except OSError as error:
        message = f"'{path}' is damaged or no HDF5 file: {error}. Write it again with `save_jacobians`."
        raise ValueError(message) from error
    with file:
        yield file


def create(
    group: Any, name: str, shape: tuple[int, ...], dtype: Any = np.float64, compression: str | None = None
) -> Any:
    """An array of known shape, in chunks of about a megabyte of whole cells."""
    per_cell = int(np.prod(shape[1:])) * np.dtype(dtype).itemsize
    rows = max(1, min(shape[0], CHUNK_BYTES // max(1, per_cell)))
    chunks = (rows, *(max(1, n) for n in shape[1:]))
    if hasattr(group, "create_array"):
        from zarr.codecs import GzipCodec

        return group.create_array(
            name,
            shape=shape,
            dtype=np.dtype(dtype),
            chunks=chunks,
            compressors=[GzipCodec()] if compression else None,
        )
    empty = 0 in shape
    return group.create_dataset(
        name, shape, dtype, chunks=None if empty else chunks, compression=None if empty else compression
    )


def put(group: Any, name: str, values: np.ndarray, compression: str | None = None) -> None:
    """Write a whole array."""
    out = create(group, name, values.shape, values.dtype, compression)
    if values.size:
        out[...] = values


def put_json(group: Any, name: str, value: Mapping[str, Any]) -> None:
    """Text of any length and any letters, as bytes: attributes of HDF5 end at 64 kB."""
    put(group, name, np.frombuffer(json.dumps(value, ensure_ascii=False).encode(), dtype=np.uint8))


def get_json(group: Any, name: str) -> dict[str, Any]:
    """What `put_json` wrote."""
    return json.loads(np.asarray(group[name][...]).tobytes())
