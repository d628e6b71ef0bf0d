"""State on disk: named arrays and plain values in one file, written whole or not at all, never a pickle.

Small state (weights, settings, labels) goes through `save_state` and `load_state`; arrays too large for
memory are streamed with `H5Writer` and read back in blocks with `open_h5`.
"""

from __future__ import annotations

import hashlib
import json
import math
import os
import zipfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from scmods import _checks

if TYPE_CHECKING:
    import h5py

__all__ = ["H5Reader", "H5Writer", "load_state", "open_h5", "save_state"]

FORMAT, VERSION = "scmods state", 1
_BLOCK_BYTES = 64 * 2**20


@contextmanager
def _replacing(path: Path) -> Iterator[Path]:
    """A temporary name beside `path`, which takes its place when all went well and is removed otherwise."""
    if not path.parent.is_dir():
        _checks.fail(
            f"The folder '{path.parent}' does not exist.",
            f"Make it first: `pathlib.Path({str(path.parent)!r}).mkdir(parents=True)`.",
            kind=FileNotFoundError,
        )
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    try:
        yield temporary
        os.replace(temporary, path)
    finally:
        temporary.unlink(missing_ok=True)


def _plain(value: Any, where: str) -> None:
    """Refuse what JSON would lose or change, naming the place."""
    if isinstance(value, dict):
        for key, one in value.items():
            if not isinstance(key, str):
                _checks.fail(
                    f"{where} has the key {key!r} of type {type(key).__name__}, but keys must be text.",
                    f"Write {str(key)!r}, or store a list of pairs.",
                    kind=TypeError,
                )
            _plain(one, f"{where}[{key!r}]")
    elif isinstance(value, list):
        for index, one in enumerate(value):
            _plain(one, f"{where}[{index}]")
    elif isinstance(value, float) and not math.isfinite(value):
        _checks.fail(f"{where} is {value}, which JSON cannot hold. Write None, or put it in an array.")
    elif not (value is None or type(value) in (str, int, float, bool)):
        advice = "list(...)" if isinstance(value, tuple | set) else ".item() or an entry of `arrays`"
        _checks.fail(
            f"{where} is of type {type(value).__name__}, but must be text, number, bool, None, list or dict.",
            f"Use {advice}.",
            kind=TypeError,
        )


def _array(name: Any, value: Any) -> np.ndarray:
    if not isinstance(name, str) or not name or name == "__metadata__":
        _checks.fail(f"`arrays` has the name {name!r}, but names must be text and not empty.", kind=TypeError)
    if str(getattr(value, "dtype", "")) == "torch.bfloat16":
        _checks.fail(f"`arrays[{name!r}]` is bfloat16. Save `.float()` instead.", kind=TypeError)
    if hasattr(value, "detach"):
        value = value.detach().cpu().numpy()
    array = np.asarray(value)
    if array.dtype.kind not in "biuf":
        _checks.fail(
            f"`arrays[{name!r}]` has type {array.dtype}, but must be bool, integer or real.",
            "Text and labels belong in `meta` as a list; complex numbers as `.real` and `.imag`.",
            kind=TypeError,
        )
    # ascontiguousarray would turn a single number into one axis
    return np.array(array, dtype=array.dtype.newbyteorder("="), order="C")


def _digest(arrays: Mapping[str, np.ndarray], meta: str) -> str:
    digest = hashlib.sha256(meta.encode())
    for name in sorted(arrays):
        one = arrays[name]
        digest.update(f"{name}\0{one.dtype.str}\0{one.shape}\0".encode())
        digest.update(np.ascontiguousarray(one).reshape(-1).view(np.uint8).data)
    return digest.hexdigest()


def save_state(path: str | os.PathLike[str], arrays: Mapping[str, Any], meta: Mapping[str, Any]) -> Path:
    """Write named arrays and plain values to one ``.safetensors`` file, in which nothing can run code.

    Parameters
    ----------
    path
        The file; its folder must exist. An existing file is replaced at the end, in one step.
    arrays
        Tensors (any device) or numpy arrays: bool, integer or real; any text as name, ``"CD4/CD8"`` too.
    meta
        Settings and labels: text, finite numbers, bool, None, lists and dicts of these; JSON in the header.

    Returns
    -------
    The path.

    Raises
    ------
    TypeError, ValueError
        If something cannot be stored without change; the text names the entry.
    FileNotFoundError
        If the folder does not exist.
    """
    from safetensors.numpy import save_file

    path = Path(path)
    _plain(dict(meta), "`meta`")
    ready = {name: _array(name, value) for name, value in arrays.items()}
    text = json.dumps(dict(meta), ensure_ascii=False, allow_nan=False)
    header = {"format": FORMAT, "version": str(VERSION), "meta": text, "sha256": _digest(ready, text)}
    with _replacing(path) as temporary:
        save_file(ready, temporary, metadata=header)
    return path


def _existing(path: str | os.PathLike[str], pattern: str) -> Path:
    path = Path(path)
    if not path.is_file():
        here = sorted(p.name for p in path.parent.glob(pattern)) if path.parent.is_dir() else []
        _checks.fail(
            f"The file '{path}' does not exist.",
            f"Its folder has {_checks.listing(here)}.",
            _checks.nearest(path.name, here),
            kind=FileNotFoundError,
        )
    return path


def _check_header(path: Path, header: Mapping[str, Any], writer: str) -> None:
    if header.get("format") != FORMAT:
        _checks.fail(f"'{path}' was not written by `{writer}`: its header has {_checks.listing(header)}.")
    if int(header["version"]) > VERSION:
        _checks.fail(
            f"'{path}' has version {header['version']}, this package reads up to {VERSION}.", "Update it."
        )


def _refuse_pickles(path: Path) -> None:
    with path.open("rb") as file:
        start = file.read(4)
    if start[:2] == b"PK" and zipfile.is_zipfile(path):
        with zipfile.ZipFile(path) as archive:
            pickled = any(name.endswith(".pkl") for name in archive.namelist())
        how = "torch.load(path, weights_only=True)" if pickled else "numpy.load(path)"
        kind = "a torch.save file, which is a pickle" if pickled else "a zip archive"
    elif start[:1] == b"\x80" and start[1:2] in (b"\x02", b"\x03", b"\x04", b"\x05"):
        kind, how = "a pickle", "the program that wrote it"
    else:
        return
    _checks.fail(
        f"'{path}' is {kind}, not a file of `save_state`.",
        "Pickles are not read, because they can run code." if "pickle" in kind else "",
        f"If you trust it, read it with {how} and write it anew with `save_state(path, arrays, meta)`.",
    )


def load_state(
    path: str | os.PathLike[str], *, tensors: bool = False
) -> tuple[dict[str, np.ndarray], dict[str, Any]]:
    """Read what `save_state` wrote, after checking all of it.

    Parameters
    ----------
    path
        The file.
    tensors
        Return torch tensors on the CPU instead of numpy arrays.

    Returns
    -------
    The arrays by name, and `meta`.

    Raises
    ------
    FileNotFoundError
        If there is no such file.
    ValueError
        If the file is a pickle, is damaged, is of another kind or of a later version.
    """
    from safetensors import SafetensorError, safe_open

    path = _existing(path, "*.safetensors")
    _refuse_pickles(path)
    try:
        with safe_open(path, framework="np") as file:
            header = file.metadata() or {}
            # reads the whole file into arrays of their own, so that it can be replaced afterwards
            arrays = {name: np.array(file.get_tensor(name)) for name in file.keys()}
    except SafetensorError as error:
        message = f"'{path}' is damaged or no .safetensors file: {error}. Write it again with `save_state`."
        raise ValueError(message) from error
    _check_header(path, header, "save_state")
    if _digest(arrays, header["meta"]) != header["sha256"]:
        _checks.fail(f"'{path}' is damaged: its checksum differs from the one in its header. Copy it again.")
    if tensors:
        import torch

        arrays = {name: torch.from_numpy(one) for name, one in arrays.items()}
    return arrays, json.loads(header["meta"])


def _dataset_name(name: str) -> None:
    if not isinstance(name, str) or not name or "/" in name or name == ".":
        _checks.fail(
            f"{name!r} cannot be the name of a data set: HDF5 reads '/' as a folder.",
            "Use a fixed name and put the labels in `meta`, as a list in the order of an axis.",
        )


class H5Writer:
    """Write arrays that do not fit in memory, block by block, to an HDF5 file.

    The file appears under its name when the ``with`` block ends well; until then, and after an error or a
    killed process, a file that was there before stays as it was.

    Parameters
    ----------
    path
        The file; its folder must exist.
    meta
        Settings and labels, as in `save_state`.

    Examples
    --------
    >>> with H5Writer("new.h5", meta={"genes": ["A", "B"]}) as out:
    ...     out.append("jacobian", np.zeros((3, 2, 2)))
    """

    def __init__(self, path: str | os.PathLike[str], *, meta: Mapping[str, Any] | None = None) -> None:
        self.path, self.meta = Path(path), dict(meta or {})
        _plain(self.meta, "`meta`")
        self.file: h5py.File | None = None

    def __enter__(self) -> H5Writer:
        import h5py

        self._replacing = _replacing(self.path)
        self.file = h5py.File(self._replacing.__enter__(), "w")
        header = {"format": FORMAT, "version": VERSION, "meta": json.dumps(self.meta, ensure_ascii=False)}
        self.file.attrs.update(header)
        return self

    def __exit__(self, *error: Any) -> None:
        self._opened().close()
        self.file = None
        self._replacing.__exit__(*error)

    def _opened(self) -> h5py.File:
        if self.file is None:
            _checks.fail(f"'{self.path}' is not open. Write `with H5Writer({str(self.path)!r}) as out:`.")
        return self.file

    def append(self, name: str, block: Any) -> None:
        """Add rows at the end of an array, which is made by the first call.

        Parameters
        ----------
        name
            Name of the array, without ``/``.
        block
            Rows; a block whose further axes or type differ from the first one is refused.
        """
        file, block = self._opened(), _array(name, block)
        _dataset_name(name)
        if block.ndim == 0:
            _checks.fail(f"A block of {name!r} is a single number, but must have rows.")
        if name not in file:
            # about a megabyte per chunk; HDF5 takes no chunk of 4 GiB
            rows = max(1, min(4096, 2**20 // max(1, block[:1].nbytes)))
            chunks = (rows, *(max(1, n) for n in block.shape[1:]))
            file.create_dataset(name, data=block, maxshape=(None, *block.shape[1:]), chunks=chunks)
            return
        have = file[name]
        if have.shape[1:] != block.shape[1:] or have.dtype != block.dtype:
            _checks.fail(
                f"A block of {name!r} has shape {block.shape} and type {block.dtype},",
                f"but the array so far has {have.shape} and {have.dtype}.",
            )
        start = have.shape[0]
        have.resize(start + len(block), axis=0)
        have[start:] = block

    def create(self, name: str, shape: tuple[int, ...], dtype: Any = np.float32) -> h5py.Dataset:
        """Make an array of known shape, to be filled in any order: ``out.create("x", (n, g))[rows] = block``.

        Parameters
        ----------
        name
            Name of the array, without ``/``.
        shape
            Sizes of all axes.
        dtype
            Type of the values.
        """
        _dataset_name(name)
        kind = np.dtype(dtype)
        return self._opened().create_dataset(name, shape, kind, chunks=True if np.prod(shape) > 0 else None)


class H5Reader:
    """An open file of `H5Writer`, as `open_h5` gives it; arrays are read by slices: ``file["x"][:100]``.

    Parameters
    ----------
    file
        The open HDF5 file.

    Attributes
    ----------
    meta
        The settings and labels.
    names
        Names of the arrays.
    """

    def __init__(self, file: h5py.File) -> None:
        self._file = file
        self.meta: dict[str, Any] = json.loads(file.attrs["meta"])
        self.names: list[str] = list(file)

    def __getitem__(self, name: str) -> h5py.Dataset:
        if name not in self.names:
            _checks.fail(
                f"'{self._file.filename}' has no array {name!r}. Available: {_checks.listing(self.names)}.",
                _checks.nearest(name, self.names),
                kind=_checks.MissingKeyError,
            )
        return self._file[name]

    def blocks(self, name: str, size: int | None = None) -> Iterator[tuple[slice, np.ndarray]]:
        """Yield ``(slice of the rows, block)`` of an array.

        Parameters
        ----------
        name
            One of `names`.
        size
            Rows per block; None takes as many as fit in 64 MiB.
        """
        data = self[name]
        size = size or max(1, _BLOCK_BYTES // max(1, data[:1].nbytes))
        for start in range(0, data.shape[0], size):
            part = slice(start, min(start + size, data.shape[0]))
            yield part, data[part]


@contextmanager
def open_h5(path: str | os.PathLike[str]) -> Iterator[H5Reader]:
    """Open a file of `H5Writer` for reading.

    Parameters
    ----------
    path
        The file.

    Yields
    ------
    An `H5Reader`.

    Raises
    ------
    FileNotFoundError
        If there is no such file.
    ValueError
        If it is damaged, of another kind or of a later version.
    """
    import h5py

    path = _existing(path, "*.h5")
    _refuse_pickles(path)
    try:
        file = h5py.File(path, "r")
    except OSError as error:
        message = f"'{path}' is damaged or no HDF5 file: {error}. Write it again with `H5Writer`."
        raise ValueError(message) from error
    with file:
        _check_header(path, dict(file.attrs), "H5Writer")
        yield H5Reader(file)
