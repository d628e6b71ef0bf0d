"""What a file allows: what stands for what, which chapters can run on it, and what mends a gap."""

from __future__ import annotations

import os
import re
import shlex
import subprocess
import sys
import textwrap
from collections.abc import Iterable
from pathlib import Path

from scmods._book.file_facts import FileFacts, facts, kind_of
from scmods._book.own_data import OwnDataError, chapters
from scmods._book.params import parameters
from scmods._book.roles import candidates

__all__ = ["FileFacts", "check_file", "facts", "kind_of", "proposal", "report"]

WIDTH = 100
EVENTS = (".fcs", ".csv")  # one chapter reads them
NEEDS = {
    "bmlp": ("expression", "labels"),
    "hopfield": ("spliced", "unspliced"),
    "smoother": ("expression", "spatial"),
    "scyan": ("expression", "table"),
    "amici": ("expression", "types", "spatial"),
}
# one field for all cells where there are none; borders of regions that smoothing should not cross
OPTIONAL = {"hopfield": ("labels",), "smoother": ("regions",), "scyan": ("populations",)}
ROLES = {
    "cluster_key": "labels",
    "label_key": "labels",
    "labels_key": "labels",
    "groupby": "labels",
    "batch_key": "batch",
    "library_key": "sections",
    "spatial_key": "spatial",
    "spliced_layer": "spliced",
    "spliced_key": "spliced",
    "unspliced_layer": "unspliced",
    "unspliced_key": "unspliced",
    "velocity_layer": "velocity",
    "regulators": "regulators",
}
# a section is no region and no type; true labels are rows of the table
CHAPTER_ROLES = {
    "bmlp": {"layer": "logged"},
    "smoother": {"label_key": "regions", "layer": "counts"},
    "scyan": {
        "label_key": "populations",
        "layer": "values",
        "transform": "transform",
        "table": "table file",
        "coding": "coding",
    },
    "amici": {"cluster_key": "types", "layer": "logged"},
}
# X and the column of regulators of this name need no parameter
NAMELESS = {"logged": "X", "counts": "X", "values": "X", "regulators": "transcription_factor"}
SHOWN = {
    "labels": "cell labels",
    "batch": "batch",
    "sections": "section of tissue",
    "spatial": "positions",
    "spliced": "spliced counts",
    "unspliced": "unspliced counts",
    "velocity": "velocity",
    "counts": "raw counts",
    "logged": "logged or counts",
    "table": "marker table",
}
TYPES = "sc.pp.neighbors(adata); sc.tl.leiden(adata)  # or add known labels to adata.obs"
MEND = {
    "labels": TYPES,
    "types": TYPES,
    "spatial": "adata.obsm['spatial'] = adata.obs[['x', 'y']].to_numpy()  # your two columns",
    "table": "write table.csv: populations x markers, 1 positive, -1 negative, else empty",
    "spliced": "count it from the reads, with velocyto or STARsolo; not in this file",
    "unspliced": "count it from the reads, with velocyto or STARsolo; not in this file",
    "scaled": "adata.layers[{layer!r}] holds negative numbers; take the values from before z-scoring",
    "not finite": "NaN in {name}; adata = adata[np.isfinite(np.ravel(adata.{name}.sum(1)))].copy()",
    "only zeros": "the file holds only zeros; write it again with the values it was made from",
    "NaN": "adata.layers[{layer!r}] holds NaN; drop those cells or genes",
    "empty": "adata.layers[{layer!r}] holds only zeros",
    "unique": "adata.var_names_make_unique()",
    "cells": "adata.obs_names_make_unique()",
}


def proposal(chapter: str, notebook: Path, path: Path, found: FileFacts) -> dict[str, str]:
    """Parameters for a chapter on this file, as text: the data set and the guessed keys that differ from the defaults.

    Parameters
    ----------
    chapter
        Name of the chapter.
    notebook
        Its notebook; only parameters that it has are proposed.
    path
        The file.
    found
        What it holds.
    """
    roles = ROLES | CHAPTER_ROLES.get(chapter, {})
    needed = NEEDS.get(chapter, ())
    values = {"dataset": str(path)}
    for name, parameter in parameters(notebook).items():
        role = roles.get(name)
        if role is None:
            continue
        value = found.guess(role)
        value = "" if value == NAMELESS.get(role) else value
        # a label of the chapter's own data that this file does not have is switched off
        own = parameter.default not in ("", *found.labels)
        absent = own and name.endswith("_key") and role not in (*needed, "spatial")
        if (value or absent) and value != parameter.default:
            values[name] = value
    return values | _sizes(chapter, notebook, found)


def _sizes(chapter: str, notebook: Path, found: FileFacts) -> dict[str, str]:
    """Sizes that a small file does not allow: two ends of a module must fit into the genes."""
    known = parameters(notebook)
    if chapter == "bmlp" and "n_genes" in known and found.genes // 2 < known["n_genes"].default:
        return {"n_genes": str(max(1, found.genes // 4))}
    return {}


def _quoted(pair: str) -> str:
    """A word for the command line; double quotes work in every shell, unless it has a sign of its own."""
    if re.fullmatch(r"[\w./=+:,\\-]*", pair, re.ASCII):
        return pair
    if os.name == "nt":  # it knows no single quotes
        word = subprocess.list2cmdline([pair])
        return word if '"' in word else f'"{word}"'
    return shlex.quote(pair) if re.search(r"[\"$`!\\]", pair) else f'"{pair}"'


def _command(chapter: str, notebook: Path, path: Path, found: FileFacts) -> str:
    given = proposal(chapter, notebook, path, found)
    words = [f"-p {_quoted(f'{name}={value}')}" for name, value in given.items()]
    return " ".join([f"python -m scmods run {chapter}", *words])


def _mend(role: str, found: FileFacts) -> str:
    if role == "spatial" and found.xy:
        return f"adata.obsm['spatial'] = adata.obs[{list(found.xy)!r}].to_numpy()"
    return _mend_numbers(found) if role == "expression" else MEND[role]


def _mend_numbers(found: FileFacts) -> str:
    """What to do where X and every layer are empty or hold NaN."""
    names = [name for name, kind in found.matrices.items() if kind == "NaN"]
    if not names:
        return MEND["only zeros"]
    name = "X" if "X" in names else f"layers[{names[0]!r}]"
    return MEND["not finite"].format(name=name)


def _gaps(chapter: str, found: FileFacts) -> list[str]:
    instead = {"unspliced": "velocity"}
    needed = NEEDS.get(chapter, ("expression",))
    roles = [r for r in needed if not (found.guess(r) or found.guess(instead.get(r, r)))]
    gaps = [f"no {role}: {_mend(role, found)}" for role in roles]
    layers = {role: found.guess(role) for role in needed if role in ("spliced", "unspliced")}
    for role, layer in layers.items():
        kind = found.matrices.get(layer, "")
        if kind in ("scaled", "NaN", "empty"):
            gaps.append(f"unusable {role}: {MEND[kind].format(layer=layer)}")
    if found.doubled_genes:
        gaps.append(f"gene names occur twice: {MEND['unique']}")
    if found.doubled_cells:
        gaps.append(f"cell names occur twice: {MEND['cells']}")
    wanted = {*needed, *OPTIONAL.get(chapter, ())} & {"labels", "types", "regions"}
    for label in {found.guess(role) for role in wanted} & set(found.missing_labels):
        gaps.append(f"missing labels: adata = adata[adata.obs[{label!r}].notna()].copy()")
    return gaps


def _cut(text: str, width: int) -> str:
    return text if len(text) <= width else text[: width - 3] + "..."


def _aligned(rows: Iterable[tuple[str, ...]], widths: tuple[int, ...]) -> list[str]:
    return ["  ".join(_cut(c, w).ljust(w) for c, w in zip(row, widths, strict=True)).rstrip() for row in rows]


def _described(name: str, role: str, found: FileFacts) -> str:
    """A candidate with the one thing that helps to tell it from the others."""
    if name in found.labels:
        return f"{name} ({found.labels[name]} classes)"
    if role == "table":
        return f"{name} ({len(found.table)} populations)"
    return f"{name} ({found.matrices[name]})" if name in found.matrices else name


def _what_is_what(found: FileFacts) -> list[str]:
    """The table of roles: best guess and the other candidates."""
    widths = (18, 36, WIDTH - 18 - 36 - 4)
    rows = [("what", "best guess", "others"), tuple("-" * w for w in widths)]
    for role, title in SHOWN.items():
        names = candidates(found, role)
        best = _described(names[0], role, found) if names else "none found"
        rows.append((title, best, ", ".join(names[1:])))
    return _aligned(rows, widths)


def report(path: Path, found: FileFacts, notebooks: dict[str, Path]) -> tuple[list[str], bool]:
    """Lines of the report, and whether at least one chapter can run.

    Parameters
    ----------
    path
        The file; a chapter that does not read its kind is left out.
    found
        What it holds.
    notebooks
        Chapter -> notebook.
    """
    kinds = ", ".join(f"{name}: {kind}" for name, kind in found.matrices.items())
    lines = [f"{path}: {found.cells} cells x {found.genes} genes", f"numbers: {kinds}", ""]
    lines += [*_what_is_what(found), ""]
    if found.ensembl:
        fix = f"adata.var_names = adata.var[{found.symbols or 'symbol'!r}].astype(str)"
        lines += ["gene names are Ensembl identifiers, but gene sets need symbols:", f"    {fix}", ""]
    if path.suffix.lower() in EVENTS:
        notebooks = {name: notebook for name, notebook in notebooks.items() if name == "scyan"}
    usable = False
    lines += _aligned([("chapter", "state"), ("-" * 10, "-" * 8)], (10, 8))
    for chapter, notebook in notebooks.items():
        gaps = _gaps(chapter, found)
        usable = usable or not gaps
        lines += _aligned([(chapter, "not yet" if gaps else "runs")], (10, 8))
        lines += [f"    mend: {gap}" for gap in gaps]
        lines.append(f"    {_command(chapter, notebook, path, found)}")
    return lines, usable


def _narrow(line: str) -> list[str]:
    """A line in pieces of at most `WIDTH` letters; a command stays one that can be copied."""
    if len(line) <= WIDTH:
        return [line]
    if not line.lstrip().startswith("python "):
        whole = line.replace(" = ", "\N{NO-BREAK SPACE}=\N{NO-BREAK SPACE}")  # a line ends not at its sign
        pieces = textwrap.wrap(whole, WIDTH, subsequent_indent=" " * 10, break_on_hyphens=False)
        return [piece.replace("\N{NO-BREAK SPACE}", " ") for piece in pieces]
    if os.name == "nt":  # its shells have no common sign for a line that goes on
        return [line]
    head, *rest = line.split(" -p ")
    pieces = [head]
    for word in rest:
        if len(pieces[-1]) + len(word) + 6 <= WIDTH:
            pieces[-1] += f" -p {word}"
        else:
            pieces[-1] += " \\"
            pieces.append(f"        -p {word}")
    return pieces


def check_file(path: Path) -> int:
    """Print what the file allows; 0 when a chapter can run, 1 when none can, 2 when it cannot be read."""
    try:
        lines, usable = report(path, facts(path), chapters())
    except OwnDataError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    print("\n".join(piece for line in lines for piece in _narrow(line)))
    return 0 if usable else 1
