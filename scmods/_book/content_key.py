"""What the result of a run depends on, as one key: code, parameters, data, modules, versions."""

from __future__ import annotations

import ast
import csv
import hashlib
import importlib.metadata
import json
import re
import sys
from collections.abc import Mapping, Sequence
from functools import cache
from pathlib import Path
from typing import Any

import scmods
from scmods._book import notebook_file
from scmods._book.params import parameters

__all__ = ["PACKAGES", "content_key", "file_hash", "imported_files", "registry_rows", "versions"]

PACKAGES = (
    "torch",
    "numpy",
    "scipy",
    "pandas",
    "anndata",
    "scanpy",
    "scikit-learn",
    "plotly",
    "gseapy",
    "lightning",
    "ipykernel",
)
HOME = Path(scmods.__file__).resolve().parent.parent


def file_hash(path: str | Path) -> str:
    """SHA-256 of the content of a file, read in blocks."""
    digest = hashlib.sha256()
    with open(path, "rb") as file:
        while block := file.read(1 << 20):
            digest.update(block)
    return digest.hexdigest()


def versions() -> dict[str, str]:
    """Versions of Python and of the packages that can change a result; ``absent`` where not installed."""
    found = {"python": ".".join(map(str, sys.version_info[:3])), "scmods": scmods.__version__}
    for name in PACKAGES:
        try:
            found[name] = importlib.metadata.version(name)
        except importlib.metadata.PackageNotFoundError:
            found[name] = "absent"
    return found


def registry_rows(names: Sequence[str], registry: Path | None = None) -> list[dict[str, str]]:
    """Rows of the data registry that belong to the named data sets.

    Parameters
    ----------
    names
        Data set names such as ``"paul15_240"``, or file keys. A row belongs to a name when its column
        ``dataset`` says so, or when its key is the name, optionally followed by ``_``, ``.`` and more.
    registry
        The CSV; by default the one of the package. An absent file has no rows.
    """
    registry = registry or HOME / "scmods" / "datasets" / "registry.csv"
    if not registry.is_file():
        return []
    with open(registry, encoding="utf-8", newline="") as file:
        rows = list(csv.DictReader(file))
    return [r for r in rows if any(_belongs(r, name) for name in names)]


def _belongs(row: Mapping[str, str], name: str) -> bool:
    if row.get("dataset"):
        return name in (row["dataset"], row["key"])
    return row["key"] == name or row["key"].startswith((f"{name}_", f"{name}."))


def _module_file(name: str, bases: Sequence[Path]) -> Path | None:
    """File of a module below one of the folders, or None for everything installed elsewhere."""
    for base in bases:
        stem = base.joinpath(*name.split("."))
        for path in (stem / "__init__.py", stem.with_suffix(".py")):
            if path.is_file():
                return path
    return None


@cache
def _parsed(text: str) -> ast.Module:
    """Syntax tree of a module or of the code of a notebook; the runs of a matrix share most of them."""
    return ast.parse(re.sub(r"^\s*[%!].*$", "", text, flags=re.M))


@cache
def _lazy_names(text: str) -> dict[str, str]:
    """The table ``_NAMES`` of a package that imports on first use: public name -> module."""
    for node in _parsed(text).body:
        if isinstance(node, ast.Assign) and any(
            isinstance(t, ast.Name) and t.id == "_NAMES" for t in node.targets
        ):
            return dict(ast.literal_eval(node.value))
    return {}


@cache
def _mentioned(text: str, package: str) -> frozenset[str]:
    """Dotted names that the code imports or reaches by attribute, at any depth of nesting."""
    tree = _parsed(text)
    names: set[str] = set()
    aliases: dict[str, str] = {}
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            names |= {a.name for a in node.names}
            for a in node.names:
                top = a.name.split(".")[0]
                aliases[a.asname or top] = a.name if a.asname else top
        elif isinstance(node, ast.ImportFrom):
            up = package.split(".")[: len(package.split(".")) - node.level + 1] if node.level else []
            base = ".".join([*up, *([node.module] if node.module else [])])
            names |= {base} | {f"{base}.{a.name}" for a in node.names}
        elif isinstance(node, ast.Call) and "import_module" in ast.unparse(node.func):
            names |= {a.value for a in node.args if isinstance(a, ast.Constant) and isinstance(a.value, str)}
    for node in ast.walk(tree):
        if isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name) and node.value.id in aliases:
            names.add(f"{aliases[node.value.id]}.{node.attr}")
    return frozenset(n for n in names if n)


def _loads_on_use(text: str) -> bool:
    return any(isinstance(n, ast.FunctionDef) and n.name == "__getattr__" for n in _parsed(text).body)


def _files_of(name: str, bases: Sequence[Path]) -> list[tuple[Path, str]]:
    """Files that importing the dotted name runs, with the package each one belongs to."""
    found = []
    parts = name.split(".")
    for end in range(1, len(parts) + 1):
        module = ".".join(parts[:end])
        path = _module_file(module, bases)
        if path is None:
            parent = _module_file(".".join(parts[: end - 1]), bases) if end > 1 else None
            if parent is not None and parent.name == "__init__.py":
                lazy = _lazy_names(parent.read_text(encoding="utf-8")).get(parts[end - 1])
                if lazy and lazy != name:
                    found += _files_of(lazy, bases)
            break
        found.append((path, module if path.name == "__init__.py" else module.rpartition(".")[0]))
    return found


def imported_files(source: str, bases: Sequence[Path], package: str = "") -> set[Path]:
    """Files of local modules that some code imports, transitively.

    Imports inside functions count, and so do names that a package loads on first use: those of the table
    ``_NAMES`` in its ``__init__`` one by one, and for a sub-package with ``__getattr__`` all its modules.

    Parameters
    ----------
    source
        Python code; lines that start with ``%`` or ``!`` are ignored.
    bases
        Folders below which a module counts as local.
    package
        Package of the code, for relative imports.

    Returns
    -------
    Absolute paths. O(size of the files read), each file is parsed once.
    """
    seen: set[Path] = set()
    todo = [(source, package)]
    while todo:
        text, inside = todo.pop()
        reached = [pair for name in _mentioned(text, inside) for pair in _files_of(name, bases)]
        for path, owner in reached:
            if path in seen:
                continue
            seen.add(path)
            text = path.read_text(encoding="utf-8")
            todo.append((text, owner))
            if path.name == "__init__.py" and "." in owner and _loads_on_use(text):
                todo += [(f"import {owner}.{p.stem}", "") for p in path.parent.glob("*.py") if p != path]
    return seen


def content_key(
    notebook: dict[str, Any],
    given: Mapping[str, Any],
    *,
    root: Path,
    data: Sequence[str] = (),
    registry: Path | None = None,
) -> str:
    """Key of a run: equal keys mean that running again would change nothing but time stamps.

    Parameters
    ----------
    notebook
        JSON of the notebook; only its code cells count, not its prose.
    given
        Parameters of the run, of their declared types; defaults are added here.
    root
        Folder of the project: modules below it count, and file parameters are relative to it.
    data
        Names of the data sets that the run reads from the registry.
    registry
        Registry to use instead of the package's.

    Returns
    -------
    24 hexadecimal digits of a SHA-256.
    """
    code = [c["source"] for c in notebook_file.code(notebook)]
    values = {p.name: p.default for p in parameters(notebook).values()} | dict(given)
    texts = [v for v in values.values() if isinstance(v, str)]
    named = sorted({*data, *texts})
    parts = {
        "code": code,
        "parameters": values,
        "files": {t: file_hash(root / t) for t in texts if t and (root / t).is_file()},
        "data": {r["key"]: r["sha256"] for r in registry_rows(named, registry)},
        "modules": _module_hashes("\n".join(code), root.resolve()),
        "versions": {n: v for n, v in versions().items() if n not in ("python", "scmods")},
        "python": sys.version_info[:2],
    }
    text = json.dumps(parts, sort_keys=True, ensure_ascii=False)
    return hashlib.sha256(text.encode()).hexdigest()[:24]


def _module_hashes(source: str, root: Path) -> dict[str, str]:
    bases = [root] if root == HOME else [root, HOME]
    found = {}
    for path in sorted(imported_files(source, bases)):
        base = next(b for b in bases if path.is_relative_to(b))
        found[path.relative_to(base).as_posix()] = file_hash(path)
    return found
