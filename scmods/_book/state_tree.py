"""Values as a tree of JSON nodes, and back: what a notebook may hold between two of its sections.

No pickle: a tree is data. Reading it imports modules of a fixed list only and calls nothing that the tree names.
Every value other than a number, a text, True, False or None is numbered, so that what was one object before
is one object again. The memory of arrays is the exception: a view of an array becomes an array of its own.
"""

from __future__ import annotations

import base64
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from typing import Any

import numpy as np

__all__ = ["Kind", "Reader", "StateError", "Writer", "of_type", "type_name"]

PLAIN = (type(None), bool, int, float, str)
SMALL = 256  # bytes up to which an array stands in the tree itself


class StateError(ValueError):
    """A value that cannot be stored, or a file that cannot be read."""


@dataclass(frozen=True)
class Kind:
    """How the values of one kind are written and read.

    Attributes
    ----------
    tag
        Name of the kind in a node.
    fits
        Whether a value is of this kind.
    write
        ``(writer, value, place) -> fields of the node``.
    read
        ``(reader, node) -> value``. A kind that is `early` calls ``reader.keep`` before it reads its parts,
        so that a value may hold itself.
    early
        See `read`.
    """

    tag: str
    fits: Callable[[Any], bool]
    write: Callable[[Writer, Any, str], dict[str, Any]]
    read: Callable[[Reader, dict[str, Any]], Any]
    early: bool = False


def type_name(value: Any) -> str:
    """Type of a value as one would import it."""
    kind = type(value)
    return kind.__qualname__ if kind.__module__ == "builtins" else f"{kind.__module__}.{kind.__qualname__}"


def of_type(*names: str) -> Callable[[Any], bool]:
    """Test whether the type of a value, or a base class of it, has one of these full names."""

    def fits(value: Any) -> bool:
        return any(f"{k.__module__}.{k.__qualname__}" in names for k in type(value).__mro__)

    return fits


@cache
def _kinds() -> tuple[Kind, ...]:
    # each of these modules needs what stands here
    from scmods._book.state_arrays import ARRAY_KINDS
    from scmods._book.state_objects import CONTAINERS, OBJECTS
    from scmods._book.state_tables import TABLE_KINDS

    return (*CONTAINERS, *ARRAY_KINDS, *TABLE_KINDS, *OBJECTS)


class Writer:
    """Values to nodes.

    Parameters
    ----------
    put
        Stores a one-dimensional array and returns the name by which it is found again.
    """

    def __init__(self, put: Callable[[np.ndarray], str]) -> None:
        self.put = put
        self.numbers: dict[int, int] = {}
        self.kept: list[Any] = []  # keeps every value alive: numbers are looked up by address
        self.open: set[int] = set()

    def node(self, value: Any, place: str) -> Any:
        """Node of a value.

        Raises
        ------
        StateError
            If the value or a part of it is of no known kind; the text names the place and the type.
        """
        if type(value) in PLAIN:
            return value
        number = self.numbers.get(id(value))
        if number is not None:
            if number in self.open:
                msg = f"{place}: a {type_name(value)} that holds itself cannot be stored."
                raise StateError(msg)
            return {"t": "again", "n": number}
        kind = next((k for k in _kinds() if k.fits(value)), None)
        if kind is None:
            msg = f"{place}: a {type_name(value)} cannot be stored. Keep arrays, tables, texts or numbers, "
            msg += "or make the value anew in the section that needs it."
            raise StateError(msg)
        number = len(self.kept)
        self.numbers[id(value)] = number
        self.kept.append(value)
        if not kind.early:
            self.open.add(number)
        made = {"t": kind.tag, "n": number, **kind.write(self, value, place)}
        self.open.discard(number)
        return made

    def array(self, values: np.ndarray) -> dict[str, Any]:
        """Fields of a one-dimensional array of bytes or whole numbers: small ones inline, others by name."""
        if values.nbytes <= SMALL:
            text = base64.b64encode(values.tobytes()).decode("ascii")
            return {"bytes": text, "as": values.dtype.str}
        return {"array": self.put(values)}


class Reader:
    """Nodes to values; the reverse of :class:`Writer`.

    Parameters
    ----------
    get
        Array of a name.
    """

    def __init__(self, get: Callable[[str], np.ndarray]) -> None:
        self.get = get
        self.values: dict[int, Any] = {}

    def keep(self, node: dict[str, Any], value: Any) -> Any:
        """Remember the value of a node for later references, and return it."""
        self.values[node["n"]] = value
        return value

    def value(self, node: Any) -> Any:
        """Value of a node."""
        if not isinstance(node, dict):
            return node
        if node["t"] == "again":
            return self.values[node["n"]]
        kind = next((k for k in _kinds() if k.tag == node["t"]), None)
        if kind is None:
            msg = f"The state holds the unknown kind {node['t']!r}. Make the file again with this version."
            raise StateError(msg)
        return self.keep(node, kind.read(self, node))

    def array(self, node: dict[str, Any]) -> np.ndarray:
        """Array of the fields that :meth:`Writer.array` made, writable."""
        if "bytes" in node:
            return np.frombuffer(base64.b64decode(node["bytes"]), dtype=node["as"]).copy()
        return self.get(node["array"])
