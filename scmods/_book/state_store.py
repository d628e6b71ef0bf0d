"""States of a notebook on disk: one HDF5 file per chapter, one tree of values per section.

An array is stored once, under the hash of its content, however many sections hold it. A file is refused as a whole
when it was made by another version, and so is every part of it whose content is not what its hash says.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from scmods import __version__, _checks
from scmods._book.state_tree import Reader, StateError, Writer

__all__ = ["StateError", "largest", "read_state", "restore", "sections", "write_state"]

FORMAT = "scmods state 1"
WORTH = 512  # bytes from which an array is compressed
MADE_ANEW = "Take the file anew from the zip of the workshop"


def _packed(group: Any, name: str, values: np.ndarray) -> None:
    if name not in group:
        # one chunk: the smallest index and the best compression; a small array is larger with an index
        how = {"compression": "gzip", "compression_opts": 9, "shuffle": True, "chunks": values.shape}
        group.create_dataset(name, data=values, **(how if values.nbytes > WORTH else {}))


def _hash(values: np.ndarray) -> str:
    return hashlib.sha256(values.dtype.str.encode() + values.tobytes()).hexdigest()[:32]


def write_state(path: str | Path, section: str, values: Mapping[str, Any]) -> None:
    """Add the state of one section to a file; the file is made when absent.

    Parameters
    ----------
    path
        HDF5 file of the chapter.
    section
        Name of the section, unique in the file.
    values
        Names of the notebook and their values. Values that are one object stay one object.

    Raises
    ------
    StateError
        If a value cannot be stored, naming it, the place inside it and its type; nothing is written then.
    """
    import h5py

    arrays: dict[str, np.ndarray] = {}

    def put(flat: np.ndarray) -> str:
        name = _hash(flat)
        arrays[name] = flat
        return name

    writer = Writer(put)
    tree = {name: writer.node(value, f"`{name}`") for name, value in values.items()}
    text = np.frombuffer(json.dumps(tree, separators=(",", ":")).encode("ascii"), "u1")
    with h5py.File(path, "a", libver="v110") as file:
        file.attrs["format"], file.attrs["scmods"] = FORMAT, __version__
        for name, flat in arrays.items():
            _packed(file.require_group("arrays"), name, flat)
        states = file.require_group("states")
        if section in states:
            del states[section]
        _packed(states, section, text)
        states[section].attrs["sha256"] = _hash(text)


def _refused(path: Path, why: str) -> StateError:
    return StateError(f"{path.name} {why}. {MADE_ANEW}, or make it: `python -m scmods._book.classroom`.")


def _open(path: Path) -> Any:
    """The file, opened and of this version."""
    import h5py

    if not path.is_file():
        msg = f"{path.name} does not exist in {path.resolve().parent}. Open the notebook in the folder start_at/ "
        msg += f"of the unpacked zip: {path.name} lies beside it."
        raise StateError(msg)
    try:
        file = h5py.File(path, "r")
    except OSError as error:
        raise _refused(path, "is damaged or is no HDF5 file") from error
    made = file.attrs.get("format"), file.attrs.get("scmods")
    if made != (FORMAT, __version__):
        file.close()
        told = f"is of {made[0] or 'an unknown format'!r}, made by scmods {made[1] or 'unknown'}; this is scmods "
        raise _refused(path, f"{told}{__version__} with {FORMAT!r}")
    return file


def _checked(path: Path, group: Any, name: str, want: str) -> np.ndarray:
    """An array of the file whose content is what its hash says."""
    try:
        values = np.asarray(group[name][...])
    except (KeyError, OSError) as error:
        raise _refused(path, f"is damaged: the part {name} cannot be read") from error
    if _hash(values) != want:
        raise _refused(path, f"is damaged: the part {name} is not what was written")
    return values


def sections(path: str | Path) -> list[str]:
    """Names of the sections that a file holds."""
    with _open(Path(path)) as file:
        return list(file.get("states", {}))


def read_state(path: str | Path, section: str) -> dict[str, Any]:
    """State of one section.

    Parameters
    ----------
    path
        HDF5 file of the chapter.
    section
        Name of the section.

    Returns
    -------
    Name -> value; every call builds new objects.

    Raises
    ------
    StateError
        If the file is absent, damaged or of another version, or has no such section.
    """
    path = Path(path)
    with _open(path) as file:
        states = file.get("states", {})
        if section not in states:
            parts = [f"{path.name} has no section {section!r}.", _checks.nearest(section, states)]
            raise StateError(" ".join(p for p in (*parts, f"There are: {', '.join(states)}.") if p))
        text = _checked(path, states, section, str(states[section].attrs.get("sha256", "")))
        reader = Reader(lambda name: _checked(path, file.get("arrays", {}), name, name))
        return {name: reader.value(node) for name, node in json.loads(text.tobytes()).items()}


def restore(namespace: dict[str, Any], path: str | Path, section: str) -> None:
    """Put the state of a section into a namespace, usually ``globals()``, and say which names it brought.

    Parameters
    ----------
    namespace
        Dictionary that takes the names.
    path, section
        See :func:`read_state`.
    """
    state = read_state(path, section)
    namespace.update(state)
    print(f"taken from {Path(path).name}: {', '.join(state) or 'nothing'}")


def largest(path: str | Path, names: int = 5) -> list[tuple[str, int]]:
    """What fills a file: ``(places, bytes in the file)``, largest first.

    A place is ``section: variable``; an array that several of them hold is counted once, with the first.

    Parameters
    ----------
    path
        HDF5 file of the chapter.
    names
        How many to return.
    """
    found: dict[str, int] = {}
    counted: set[str] = set()
    with _open(Path(path)) as file:
        for section, dataset in file["states"].items():
            found[f"{section}: all names and texts"] = dataset.id.get_storage_size()
            for name, node in json.loads(dataset[...].tobytes()).items():
                new = set(_arrays_of(node)) - counted
                counted |= new
                size = sum(file["arrays"][n].id.get_storage_size() for n in new)
                found[f"{section}: {name}"] = size
    return sorted(found.items(), key=lambda pair: -pair[1])[:names]


def _arrays_of(node: Any) -> Iterable[str]:
    if isinstance(node, dict):
        if isinstance(node.get("array"), str):
            yield node["array"]
        for value in node.values():
            yield from _arrays_of(value)
    elif isinstance(node, list):
        for value in node:
            yield from _arrays_of(value)
