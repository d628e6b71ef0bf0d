"""Arrays of numpy and tensors of torch as nodes of :mod:`scmods._book.state_tree`."""

from __future__ import annotations

import json
from typing import Any

import numpy as np

from scmods._book.state_tree import PLAIN, Kind, Reader, StateError, Writer, of_type

__all__ = ["ARRAY_KINDS"]


# ---- numpy --------------------------------------------------------------------------------------------

# how each kind of number lies in the file: as whole numbers of its size, which compress well when shuffled
WIDTHS = {1: "u1", 2: "u2", 4: "u4", 8: "u8"}


def _flat(values: np.ndarray, place: str) -> np.ndarray:
    """Bytes of an array in its order, as whole numbers."""
    kind, size = values.dtype.kind, values.dtype.itemsize
    if kind not in "biufcUSmM" or (kind == "f" and size > 8) or (kind == "c" and size > 16):
        msg = f"{place}: a numpy array of type {values.dtype} cannot be stored."
        raise StateError(msg)
    unit = {"c": size // 2, "U": 4, "S": 1}.get(kind, size)
    if not values.size or not size:
        return np.zeros(0, "u1")
    return np.frombuffer(values.tobytes(order="A"), dtype=WIDTHS[unit])


def _write_objects(writer: Writer, values: np.ndarray, place: str) -> dict[str, Any]:
    """An array of Python objects: texts and numbers as one text, anything else value by value."""
    items = values.ravel().tolist()
    if all(type(v) in PLAIN for v in items):
        text = json.dumps(items, separators=(",", ":"))
        return {"text": writer.array(np.frombuffer(text.encode("ascii"), "u1"))}
    return {"items": [writer.node(v, f"{place}[{i}]") for i, v in enumerate(items)]}


def _write_array(writer: Writer, value: np.ndarray, place: str) -> dict[str, Any]:
    fields: dict[str, Any] = {"shape": list(value.shape), "dtype": value.dtype.str}
    if value.dtype.kind == "O":
        return fields | _write_objects(writer, value, place)
    fortran = value.flags.f_contiguous and not value.flags.c_contiguous
    return fields | writer.array(_flat(value, place)) | ({"fortran": True} if fortran else {})


def _read_array(reader: Reader, node: dict[str, Any]) -> np.ndarray:
    shape = tuple(node["shape"])
    if node["dtype"] == "|O":
        made = np.empty(int(np.prod(shape)), dtype=object)
        if "text" in node:
            items = json.loads(reader.array(node["text"]).tobytes().decode("ascii"))
        else:
            items = [reader.value(v) for v in node["items"]]
        for i, item in enumerate(items):  # slices would take apart items that are arrays themselves
            made[i] = item
        return made.reshape(shape)
    dtype = np.dtype(node["dtype"])
    flat = reader.array(node)
    if not flat.size:
        return np.zeros(shape, dtype)
    order = "F" if node.get("fortran") else "C"
    return np.frombuffer(flat.tobytes(), dtype).reshape(shape, order=order).copy(order=order)


def _write_scalar(writer: Writer, value: np.generic, place: str) -> dict[str, Any]:
    return _write_array(writer, np.array(value), place)


def _write_generator(writer: Writer, value: np.random.Generator, place: str) -> dict[str, Any]:
    return {"v": writer.node(value.bit_generator.state, f"{place}.bit_generator.state")}


def _read_generator(reader: Reader, node: dict[str, Any]) -> np.random.Generator:
    state = reader.value(node["v"])
    kinds = {k.__name__: k for k in (np.random.PCG64, np.random.MT19937, np.random.Philox, np.random.SFC64)}
    bits = kinds[state["bit_generator"]]()
    bits.state = state
    return np.random.Generator(bits)


# ---- torch --------------------------------------------------------------------------------------------


def _write_tensor(writer: Writer, value: Any, place: str) -> dict[str, Any]:
    import torch

    if not value.is_leaf and value.requires_grad:
        msg = f"{place}: a tensor with a history of gradients cannot be stored. Detach it: `.detach()`."
        raise StateError(msg)
    fields = {"grad": bool(value.requires_grad), "parameter": isinstance(value, torch.nn.Parameter)}
    plain = value.detach().cpu()
    if plain.layout == torch.sparse_coo:
        parts = {"indices": plain._indices().numpy(), "values": plain._values().numpy()}
        nodes = {n: writer.node(v, f"{place}.{n}") for n, v in parts.items()}
        return fields | nodes | {"size": list(plain.shape), "coalesced": plain.is_coalesced()}
    if plain.layout != torch.strided or plain.dtype == torch.bfloat16:
        msg = f"{place}: a torch tensor of layout {plain.layout} and type {plain.dtype} cannot be stored."
        raise StateError(msg)
    return fields | {"v": writer.node(plain.numpy(), place)}


def _read_tensor(reader: Reader, node: dict[str, Any]) -> Any:
    import torch

    if "size" in node:
        made = torch.sparse_coo_tensor(
            torch.from_numpy(reader.value(node["indices"])),
            torch.from_numpy(reader.value(node["values"])),
            node["size"],
            is_coalesced=node["coalesced"],
            check_invariants=True,
        )
    else:
        made = torch.from_numpy(np.asarray(reader.value(node["v"])))
    if node["parameter"]:
        return torch.nn.Parameter(made, requires_grad=node["grad"])
    return made.requires_grad_(node["grad"])


def _read_torch_generator(reader: Reader, node: dict[str, Any]) -> Any:
    import torch

    made = torch.Generator()
    made.set_state(torch.from_numpy(reader.value(node["v"])))
    return made


def _write_word(writer: Writer, value: Any, place: str) -> dict[str, Any]:
    return {"v": str(value)}


def _read_device(reader: Reader, node: dict[str, Any]) -> Any:
    import torch

    return torch.device(node["v"])


def _read_torch_dtype(reader: Reader, node: dict[str, Any]) -> Any:
    import torch

    made = getattr(torch, node["v"].removeprefix("torch."), None)
    if not isinstance(made, torch.dtype):
        msg = f"The state names {node['v']!r} as a number type of torch; it is none."
        raise StateError(msg)
    return made


def _read_size(reader: Reader, node: dict[str, Any]) -> Any:
    import torch

    return torch.Size(node["v"])


ARRAY_KINDS = (
    Kind("array", lambda v: type(v) is np.ndarray, _write_array, _read_array),
    Kind(
        "scalar",
        lambda v: isinstance(v, np.generic) and v.dtype.kind != "V",
        _write_scalar,
        lambda r, n: _read_array(r, n)[()],
    ),
    Kind(
        "dtype",
        lambda v: isinstance(v, np.dtype) and v.names is None,
        lambda w, v, p: {"v": v.str},
        lambda r, n: np.dtype(n["v"]),
    ),
    Kind("generator", lambda v: type(v) is np.random.Generator, _write_generator, _read_generator),
    Kind(
        "tensor",
        lambda v: type(v).__module__ in ("torch", "torch.nn.parameter") and hasattr(v, "is_leaf"),
        _write_tensor,
        _read_tensor,
    ),
    Kind(
        "torch generator",
        of_type("torch._C.Generator"),
        lambda w, v, p: {"v": w.node(v.get_state().numpy(), p)},
        _read_torch_generator,
    ),
    Kind("device", of_type("torch.device"), _write_word, _read_device),
    Kind("torch dtype", of_type("torch.dtype"), _write_word, _read_torch_dtype),
    Kind("size", of_type("torch.Size"), lambda w, v, p: {"v": list(v)}, _read_size),
)
