"""Names in the API pages: links to other projects without network, short type names, prose returns."""

from __future__ import annotations

import re
import zlib
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from sphinx.application import Sphinx

__all__ = ["ALIASES", "connect", "prose_returns", "read_names", "write_inventory"]

# Annotations that the documentation sees as written, because the import is for type checkers only
ALIASES = {
    "AnnData": "anndata.AnnData",
    "Array": "numpy.ndarray",
    "ArrayLike": "numpy.typing.ArrayLike",
    "Callable": "collections.abc.Callable",
    "Collection": "collections.abc.Collection",
    "DataFrame": "pandas.DataFrame",
    "Dataset": "torch.utils.data.Dataset",
    "Figure": "plotly.graph_objects.Figure",
    "Generator": "torch.Generator",
    "Hashable": "collections.abc.Hashable",
    "Iterable": "collections.abc.Iterable",
    "Iterator": "collections.abc.Iterator",
    "Mapping": "collections.abc.Mapping",
    "Path": "pathlib.Path",
    "Sequence": "collections.abc.Sequence",
    "Series": "pandas.Series",
    "Tensor": "torch.Tensor",
    "csr_array": "scipy.sparse.csr_array",
    "csr_matrix": "scipy.sparse.csr_matrix",
    "sparray": "scipy.sparse.sparray",
    "nn.Module": "torch.nn.Module",
    "torch.nn.modules.module.Module": "torch.nn.Module",
    "pandas.core.frame.DataFrame": "pandas.DataFrame",
    "pandas.core.series.Series": "pandas.Series",
    "anndata._core.anndata.AnnData": "anndata.AnnData",
    "plotly.graph_objs._figure.Figure": "plotly.graph_objects.Figure",
    "plotly.graph_objs.Figure": "plotly.graph_objects.Figure",
}
PREFIXES = {
    "np": "numpy",
    "pd": "pandas",
    "go": "plotly.graph_objects",
    "sp": "scipy.sparse",
    "sparse": "scipy.sparse",
}
SECTION = re.compile(r"^(Returns|Yields)\n-+\n((?:(?!^\S[^\n]*\n-{3,}$).*\n?)*)", re.M)


def read_names(path: Path) -> dict[str, tuple[str, list[tuple[str, str, str]]]]:
    """Project -> (base URL, [(role, name, page)]) from the text file beside the book.

    A line ``[project] URL`` opens a project; ``role name page`` adds a name, ``$`` in the page
    standing for it.
    """
    out: dict[str, tuple[str, list[tuple[str, str, str]]]] = {}
    rows: list[tuple[str, str, str]] = []
    for raw in path.read_text(encoding="utf-8").splitlines():
        line = raw.split("  #")[0].strip()
        if not line or line.startswith("#"):
            continue
        if line.startswith("["):
            project, url = line[1:].split("]", 1)
            rows = []
            out[project.strip()] = (url.strip(), rows)
        else:
            role, name, page = line.split()
            rows.append((role, name, page.replace("$", name)))
    return out


def write_inventory(path: Path, project: str, rows: list[tuple[str, str, str]]) -> None:
    """An intersphinx inventory (version 2) holding just these Python names."""
    head = f"# Sphinx inventory version 2\n# Project: {project}\n# Version: \n"
    head += "# The remainder is compressed using zlib.\n"
    body = "".join(f"{name} py:{role} 1 {page} -\n" for role, name, page in sorted(rows))
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(head.encode() + zlib.compress(body.encode(), 9))


def _inventories(app: Sphinx, config: Any) -> None:
    names = Path(app.srcdir) / "_inv" / "names.txt"
    if not names.is_file():
        return
    mapping = dict(config.intersphinx_mapping or {})
    for project, (url, rows) in read_names(names).items():
        inventory = Path(app.doctreedir) / "_inv" / f"{project}.inv"
        write_inventory(inventory, project, rows)
        mapping[project] = (url, str(inventory))
    config.intersphinx_mapping = mapping


def full_name(target: str) -> str | None:
    """The documented name of a short or private type name, or None when it is not known.

    Private folders are left out: ``scipy.sparse._base.sparray`` is documented as ``scipy.sparse.sparray``.
    """
    if target in ALIASES:
        return ALIASES[target]
    head, *rest = target.split(".")
    public = ".".join(
        [PREFIXES.get(head, head), *(r for r in rest[:-1] if not r.startswith("_")), *rest[-1:]]
    )
    return public if public != target else None


def _own_object(env: Any, target: str) -> str | None:
    """Full name of the one documented object of this package that ends in `target`."""
    ends = "." + target.rsplit(".", 1)[-1]
    found = [
        name for name in env.get_domain("py").objects if name.startswith("scmods.") and name.endswith(ends)
    ]
    return found[0] if len(found) == 1 else None


def _resolve(app: Sphinx, env: Any, node: Any, contnode: Any) -> Any:
    if node.get("refdomain") != "py":
        return None
    target = node.get("reftarget", "")
    # axis names of jaxtyping shapes: text inside quotes, never the name of an object
    if target[:1] in ("'", '"') or target.startswith("jaxtyping."):
        return contnode
    own = _own_object(env, target)
    if own is not None:
        domain = env.get_domain("py")
        return domain.resolve_xref(env, node["refdoc"], app.builder, "obj", own, node, contnode)
    found = _elsewhere(app, env, node, contnode, full_name(target) or target)
    # A type that a signature names is right by the code itself; without a page to link to it is plain text.
    # A name that prose refers to by a role has to exist.
    return contnode if found is None and node.get("refspecific") else found


def _elsewhere(app: Sphinx, env: Any, node: Any, contnode: Any, name: str) -> Any:
    from sphinx.ext import intersphinx

    node["reftarget"] = name
    for role in dict.fromkeys((node["reftype"], "class", "data", "obj")):
        node["reftype"] = role
        found = intersphinx.missing_reference(app, env, node, contnode)
        if found is not None:
            return found
    return None


def prose_returns(text: str) -> str:
    """Docstring in which prose under ``Returns`` cannot be taken for the name of a type.

    Types stand in the signature here, so a section may hold plain sentences; numpydoc would read their first
    line as a type and look it up. A section with an indented line is left as it is.
    """

    def fix(match: re.Match[str]) -> str:
        lines = match[2].rstrip().splitlines()
        filled = [line for line in lines if line.strip()]
        if not filled or any(line.startswith(" ") for line in filled):
            return match[0]
        body = "\n".join(f"    {line}" if line.strip() else "" for line in lines)
        return f"{match[1]}\n{'-' * len(match[1])}\n:\n{body}\n\n"

    return SECTION.sub(fix, text)


def _process_docstring(app: Sphinx, what: str, name: str, obj: Any, options: Any, lines: list[str]) -> None:
    # "slot: what it holds" under a property would be read as "type: text"; an empty type stops that
    if what in ("attribute", "data", "property") and lines and ":" in lines[0]:
        lines[0] = f": {lines[0]}"
    lines[:] = prose_returns("\n".join(lines) + "\n").splitlines()


def connect(app: Sphinx) -> None:
    """Register the hooks; napoleon reads docstrings at priority 500, intersphinx its mapping at 800."""
    app.connect("config-inited", _inventories, priority=400)
    app.connect("autodoc-process-docstring", _process_docstring, priority=400)
    app.connect("missing-reference", _resolve, priority=900)
