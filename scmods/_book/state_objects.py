"""Containers of Python, and objects and names of known modules, as nodes of :mod:`scmods._book.state_tree`."""

from __future__ import annotations

import base64
import enum
import importlib
import types
from collections import OrderedDict
from collections.abc import Callable
from pathlib import Path, PurePath
from typing import Any

import numpy as np

from scmods._book.state_tree import Kind, Reader, StateError, Writer, type_name

__all__ = ["CONTAINERS", "OBJECTS"]

OWN = ("scmods", "torch.nn")  # classes whose objects are rebuilt from their attributes
NAMED = ("scmods", "numpy", "torch", "pandas")  # modules whose functions and classes are stored by name


# ---- containers ---------------------------------------------------------------------------------------


def _exactly(*kinds: type) -> Callable[[Any], bool]:
    return lambda value: type(value) in kinds


def _write_items(writer: Writer, value: Any, place: str) -> dict[str, Any]:
    return {"v": [writer.node(v, f"{place}[{i}]") for i, v in enumerate(value)]}


def _write_set(writer: Writer, value: Any, place: str) -> dict[str, Any]:
    # sets of texts come in another order in every process: sorted, equal sets give equal nodes
    return _write_items(writer, sorted(value, key=lambda v: (type_name(v), repr(v))), place)


def _read_list(reader: Reader, node: dict[str, Any]) -> list[Any]:
    made = reader.keep(node, [])
    made.extend(reader.value(v) for v in node["v"])
    return made


def _read_set(reader: Reader, node: dict[str, Any]) -> set[Any]:
    return {reader.value(v) for v in node["v"]}


def _write_dict(writer: Writer, value: Any, place: str) -> dict[str, Any]:
    pairs = [
        [writer.node(k, f"key {k!r} of {place}"), writer.node(v, f"{place}[{k!r}]")] for k, v in value.items()
    ]
    return {"v": pairs}


def _read_dict(kind: type) -> Callable[[Reader, dict[str, Any]], Any]:
    def read(reader: Reader, node: dict[str, Any]) -> Any:
        made = reader.keep(node, kind())
        for key, value in node["v"]:
            name = reader.value(key)
            made[name] = reader.value(value)
        return made

    return read


def _write_parts(*names: str) -> Callable[[Writer, Any, str], dict[str, Any]]:
    def write(writer: Writer, value: Any, place: str) -> dict[str, Any]:
        return {"v": [writer.node(getattr(value, n), f"{place}.{n}") for n in names]}

    return write


def _read_call(kind: Callable[..., Any]) -> Callable[[Reader, dict[str, Any]], Any]:
    return lambda reader, node: kind(*(reader.value(v) for v in node["v"]))


def _read_tuple(reader: Reader, node: dict[str, Any]) -> tuple[Any, ...]:
    return tuple(reader.value(v) for v in node["v"])


CONTAINERS = (
    Kind("list", _exactly(list), _write_items, _read_list, early=True),
    Kind("tuple", _exactly(tuple), _write_items, _read_tuple),
    Kind("dict", _exactly(dict), _write_dict, _read_dict(dict), early=True),
    Kind("ordered", _exactly(OrderedDict), _write_dict, _read_dict(OrderedDict), early=True),
    Kind("set", _exactly(set), _write_set, _read_set),
    Kind("frozenset", _exactly(frozenset), _write_set, lambda r, n: frozenset(_read_set(r, n))),
    Kind("slice", _exactly(slice), _write_parts("start", "stop", "step"), _read_call(slice)),
    Kind("range", _exactly(range), _write_parts("start", "stop", "step"), _read_call(range)),
    Kind("complex", _exactly(complex), _write_parts("real", "imag"), _read_call(complex)),
    Kind(
        "bytes",
        _exactly(bytes),
        lambda w, v, p: {"v": base64.b64encode(v).decode("ascii")},
        lambda r, n: base64.b64decode(n["v"]),
    ),
    Kind(
        "path",
        lambda v: isinstance(v, PurePath),
        lambda w, v, p: {"v": v.as_posix()},
        lambda r, n: Path(n["v"]),
    ),
)


# ---- names and objects of known modules ---------------------------------------------------------------


def _inside(module: str, tops: tuple[str, ...]) -> bool:
    """Whether a module is one of `tops` or lies below one of them."""
    return any(module == top or module.startswith(f"{top}.") for top in tops)


def _name_of(value: Any) -> tuple[str, str]:
    module = getattr(value, "__module__", None) or ("numpy" if isinstance(value, np.ufunc) else "")
    return module, getattr(value, "__qualname__", getattr(value, "__name__", ""))


def _look_up(module: str, name: str, tops: tuple[str, ...]) -> Any:
    """Object of a module of the list; nothing else is imported."""
    if not _inside(module, tops):
        msg = f"The state names {module}.{name}, but only {', '.join(tops)} may be imported."
        raise StateError(msg)
    try:
        found: Any = importlib.import_module(module)
        for part in name.split("."):
            found = getattr(found, part)
            if isinstance(found, types.ModuleType):  # a module of the list holds others that are not on it
                msg = f"The state names the module {module}.{name} where a function or class is expected."
                raise StateError(msg)
    except (ImportError, AttributeError) as error:
        msg = f"The state names {module}.{name}, which this version does not have. Make the file again."
        raise StateError(msg) from error
    if not _inside(getattr(found, "__module__", None) or tops[0], tops):
        msg = (
            f"The state names {module}.{name}, which comes from {found.__module__}; that is not on the list."
        )
        raise StateError(msg)
    return found


def _reachable(value: Any, tops: tuple[str, ...]) -> bool:
    module, name = _name_of(value)
    if not _inside(module, tops) or not name:
        return False
    try:
        return _look_up(module, name, tops) is value
    except StateError:
        return False


def _fits_name(value: Any) -> bool:
    routine = isinstance(value, type | types.FunctionType | types.BuiltinFunctionType | np.ufunc)
    return routine and _reachable(value, NAMED)


def _fits_object(value: Any) -> bool:
    return _inside(type(value).__module__, OWN) and _reachable(type(value), OWN)


def _class_fields(value: Any) -> dict[str, Any]:
    return {"module": type(value).__module__, "name": type(value).__qualname__}


def _class_of(node: dict[str, Any]) -> type:
    found = _look_up(node["module"], node["name"], OWN)
    if not isinstance(found, type) or not _inside(found.__module__, OWN):
        msg = f"The state names {node['module']}.{node['name']} as a class of scmods or torch.nn; it is none."
        raise StateError(msg)
    return found


def _slots(kind: type) -> list[str]:
    found: list[str] = []
    for base in kind.__mro__:
        names = base.__dict__.get("__slots__", ())
        found += [names] if isinstance(names, str) else list(names)
    return [n for n in found if n not in ("__dict__", "__weakref__")]


def _write_object(writer: Writer, value: Any, place: str) -> dict[str, Any]:
    attributes = dict(getattr(value, "__dict__", {}))
    attributes |= {n: getattr(value, n) for n in _slots(type(value)) if hasattr(value, n)}
    pairs = [[n, writer.node(v, f"{place}.{n}")] for n, v in attributes.items()]
    return {**_class_fields(value), "v": pairs}


def _read_object(reader: Reader, node: dict[str, Any]) -> Any:
    kind = _class_of(node)
    made = reader.keep(node, kind.__new__(kind))
    for name, value in node["v"]:
        # neither a frozen class nor a module of torch may refuse or reroute what was there before
        object.__setattr__(made, name, reader.value(value))
    return made


def _fits_method(value: Any) -> bool:
    return isinstance(value, types.MethodType) and _fits_object(value.__self__)


def _read_method(reader: Reader, node: dict[str, Any]) -> Any:
    owner = reader.value(node["of"])
    if not isinstance(getattr(type(owner), node["name"], None), types.FunctionType):
        msg = f"The state names {node['name']!r} as a method of a {type_name(owner)}; it has none. Make the file again."
        raise StateError(msg)
    return getattr(owner, node["name"])


OBJECTS = (
    Kind(
        "method",
        _fits_method,
        lambda w, v, p: {"of": w.node(v.__self__, p), "name": v.__func__.__name__},
        _read_method,
    ),
    Kind(
        "name",
        _fits_name,
        lambda w, v, p: dict(zip(("module", "name"), _name_of(v), strict=True)),
        lambda r, n: _look_up(n["module"], n["name"], NAMED),
    ),
    Kind(
        "enum",
        lambda v: isinstance(v, enum.Enum) and _fits_object(v),
        lambda w, v, p: {**_class_fields(v), "v": v.name},
        lambda r, n: _class_of(n)[n["v"]],  # type: ignore[index]
    ),
    Kind(
        "record",
        lambda v: isinstance(v, tuple) and _fits_object(v),
        lambda w, v, p: {**_class_fields(v), **_write_items(w, v, p)},
        lambda r, n: tuple.__new__(_class_of(n), _read_tuple(r, n)),
    ),
    Kind("object", _fits_object, _write_object, _read_object, early=True),
)
