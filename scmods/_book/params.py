"""Parameters of a notebook: what they are, and whether what was given fits.

The parameters cell is parsed, never executed, so that a wrong call ends before anything is imported.
"""

from __future__ import annotations

import ast
import io
import re
import tokenize
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from scmods import _checks
from scmods._book import notebook_file

__all__ = ["Parameter", "ParameterError", "assignments", "parameters", "resolve"]

SCALARS = {"str": str, "int": int, "float": float, "bool": bool}
WORDS = {"true": True, "false": False}


class ParameterError(ValueError):
    """A parameter that does not exist, has the wrong type, or is written wrongly."""


@dataclass(frozen=True)
class Parameter:
    """One line of a parameters cell: ``name: type = default  # help``."""

    name: str
    type: str
    default: Any
    help: str


def _comments(source: str) -> dict[int, str]:
    """Comment of each line, by line number from 1."""
    tokens = tokenize.generate_tokens(io.StringIO(source).readline)
    return {t.start[0]: t.string.lstrip("# ").strip() for t in tokens if t.type == tokenize.COMMENT}


def _line(node: ast.stmt, comments: Mapping[int, str], where: str) -> Parameter:
    """One statement of the cell as a parameter, or a refusal that shows how to write it."""
    if not isinstance(node, ast.AnnAssign) or not isinstance(node.target, ast.Name) or node.value is None:
        msg = f"{where}, line {node.lineno}: `{ast.unparse(node)}` is no parameter. "
        msg += "Write one per line: `name: int = 10  # what it is`."
        raise ParameterError(msg)
    kind = ast.unparse(node.annotation)
    if not re.fullmatch(r"(?:list\[)?(?:str|int|float|bool)\]?", kind) or kind.count("[") != kind.count("]"):
        msg = f"{where}, line {node.lineno}: the type `{kind}` of `{node.target.id}` is not supported. "
        msg += "Use str, int, float, bool or a list of one of these, for instance list[str]."
        raise ParameterError(msg)
    try:
        default = ast.literal_eval(node.value)
    except ValueError as error:
        msg = f"{where}, line {node.lineno}: the default of `{node.target.id}` must be a plain value, "
        msg += f"not `{ast.unparse(node.value)}`."
        raise ParameterError(msg) from error
    name = node.target.id
    default = _convert(name, kind, default)
    return Parameter(name, kind, default, comments.get(node.end_lineno or node.lineno, ""))


def parameters(notebook: str | Path | dict[str, Any], name: str = "") -> dict[str, Parameter]:
    """Parameters of a notebook, in the order of its cell.

    Parameters
    ----------
    notebook
        Path of the notebook, or its JSON from :func:`notebook_file.read`.
    name
        Name used in messages when `notebook` is JSON.

    Returns
    -------
    Name -> :class:`Parameter`; empty when no cell is tagged ``parameters``.

    Raises
    ------
    ParameterError
        If a line of the cell is not ``name: type = plain value``.
    """
    where = name or (str(notebook) if not isinstance(notebook, dict) else "notebook")
    cells = notebook if isinstance(notebook, dict) else notebook_file.read(notebook)
    source = next((c["source"] for c in cells["cells"] if "parameters" in notebook_file.tags(c)), "")
    try:
        body = ast.parse(source).body
    except SyntaxError as error:
        msg = f"{where}: the parameters cell is not Python: {error}."
        raise ParameterError(msg) from error
    found = [_line(node, _comments(source), f"{where}, parameters cell") for node in body]
    return {p.name: p for p in found}


def _scalar(name: str, kind: str, value: Any) -> Any:
    """`value` as the declared scalar type; digits stay text where text is declared."""
    if kind == "str" and isinstance(value, str):
        return value
    if kind == "bool":
        word = value if isinstance(value, bool) else WORDS.get(str(value).strip().lower())
        if word is not None:
            return word
    elif kind in {"int", "float"} and not isinstance(value, bool):
        number = _number(value)
        if number is not None and kind == "float":
            return float(number)
        if number is not None and (isinstance(number, int) or number.is_integer()):
            return int(number)
    example = {"str": "'text'", "int": "10", "float": "0.5", "bool": "true or false"}[kind]
    msg = f"Parameter `{name}` is {value!r}, but must be {kind}, for instance {example}."
    raise ParameterError(msg)


def _number(value: Any) -> int | float | None:
    """The value, or the number a text spells, or None; big whole numbers stay exact."""
    if isinstance(value, int | float):
        return value
    for read in (int, float):
        try:
            return read(str(value).strip())
        except ValueError:
            continue
    return None


def _convert(name: str, kind: str, value: Any) -> Any:
    """`value` as the declared type; a list may be written ``a,b,c`` or as a literal."""
    if not kind.startswith("list["):
        return _scalar(name, kind, value)
    inner = kind[5:-1]
    if isinstance(value, str):
        text = value.strip()
        try:
            value = (
                ast.literal_eval(text)
                if text.startswith("[")
                else [v.strip() for v in text.split(",") if v.strip()]
            )
        except (ValueError, SyntaxError):
            value = None
    if not isinstance(value, list | tuple):
        msg = f"Parameter `{name}` must be {kind}: write it as a,b,c or as [...]."
        raise ParameterError(msg)
    return [_scalar(name, inner, v) for v in value]


def resolve(
    notebook: str | Path | dict[str, Any], given: Mapping[str, Any], name: str = ""
) -> dict[str, Any]:
    """The given parameters, checked and converted to their declared types.

    Parameters
    ----------
    notebook
        Path of the notebook, or its JSON.
    given
        Name -> value, as text from the command line or as values from a file.
    name
        Name used in messages when `notebook` is JSON.

    Returns
    -------
    The same names with values of the declared types; defaults are not added.

    Raises
    ------
    ParameterError
        If a name does not exist (the nearest and all names are listed) or a value has the wrong type.
    """
    known = parameters(notebook, name)
    where = name or (Path(notebook).name if not isinstance(notebook, dict) else "the notebook")
    for wrong in (n for n in given if n not in known):
        parts = [f"{where} has no parameter {wrong!r}.", _checks.nearest(wrong, known)]
        parts.append(f"It takes: {', '.join(known) or 'none'}.")
        raise ParameterError(" ".join(p for p in parts if p))
    return {n: _convert(n, known[n].type, v) for n, v in given.items()}


def assignments(groups: Sequence[Sequence[str]]) -> dict[str, str]:
    """``-p`` arguments as a dict; each group is ``["name=value", ...]`` or ``["name", "value"]``.

    Raises
    ------
    ParameterError
        If a group is neither form, or a name is given twice.
    """
    found: dict[str, str] = {}
    for group in groups:
        if len(group) == 2 and "=" not in group[0]:
            pairs = [(group[0], group[1])]
        else:
            for item in group:
                if not re.match(r"[^\W\d]\w*=", item):
                    msg = f"`-p {' '.join(group)}` is not understood at {item!r}. "
                    msg += "Write -p name=value, once for each."
                    raise ParameterError(msg)
            pairs = [(item.split("=", 1)[0], item.split("=", 1)[1]) for item in group]
        for key, value in pairs:
            if key in found:
                msg = f"Parameter `{key}` is given twice: {found[key]!r} and {value!r}. Keep one of them."
                raise ParameterError(msg)
            found[key] = value
    return found
