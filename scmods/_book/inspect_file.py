"""What an .h5ad file allows: which chapters can run on it, with which keys, and what mends a gap.

The file is never loaded: names and shapes are read, and the first numbers of each matrix.
"""

from __future__ import annotations

import sys
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from scmods._book.own_data import OwnDataError, chapters
from scmods._book.params import parameters

if TYPE_CHECKING:
    import h5py
    import pandas as pd

__all__ = ["FileFacts", "check_file", "facts", "report"]

ENTRIES = 100_000
LABELS = (
    "cell_type",
    "celltype",
    "cell_types",
    "bulk_labels",
    "annotation",
    "cluster",
    "clusters",
    "leiden",
    "louvain",
)
VELOCITIES = ("velocity", "velocity_S")
SECTIONS = ("library_id", "library", "section", "slide", "sample", "sample_id", "batch")
BATCHES = ("batch", "sample", "sample_id", "donor", "donor_id", "patient", "library", "replicate")
NEEDS = {
    "bmlp": ("expression", "labels"),
    "hopfield": ("spliced", "unspliced"),
    "smoother": ("expression", "spatial"),
    "scyan": ("expression", "table"),
    "amici": ("expression", "types", "spatial"),
}
# one field for all cells where there are none; borders of regions that smoothing should not cross
OPTIONAL = {"hopfield": ("labels",), "smoother": ("labels",)}
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
}
# elsewhere a layer holds log-normalised values; a section is no region and no type; true labels are rows of the table
CHAPTER_ROLES = {
    "smoother": {"label_key": "regions", "layer": "counts"},
    "scyan": {"label_key": "populations", "layer": "values", "transform": "transform", "table": "table file"},
    "amici": {"cluster_key": "types", "layer": "logged"},
}
RAW = 100.0  # a largest value above this belongs to intensities, not to a compressed scale
TYPES = "sc.pp.neighbors(adata); sc.tl.leiden(adata)  # or add known labels to adata.obs"
MEND = {
    "expression": "adata.X holds no usable numbers; adata.X = adata.layers['counts'].copy()",
    "labels": TYPES,
    "types": TYPES,
    "spatial": "adata.obsm['spatial'] = adata.obs[['x', 'y']].to_numpy()  # your two columns",
    "table": "write table.csv: populations x markers, 1 positive, -1 negative, empty where nothing is known",
    "spliced": "they are counted from the reads, by velocyto or STARsolo; this file cannot give them",
    "unspliced": "they are counted from the reads, by velocyto or STARsolo; this file cannot give them",
    "scaled": "adata.layers[{layer!r}] holds negative numbers; take the values from before z-scoring",
    "NaN": "adata.layers[{layer!r}] holds NaN; drop those cells or genes",
    "empty": "adata.layers[{layer!r}] holds only zeros",
    "unique": "adata.var_names_make_unique()",
    "cells": "adata.obs_names_make_unique()",
}


@dataclass
class FileFacts:
    """What is in the file.

    Attributes
    ----------
    cells, genes
        Shape.
    matrices
        ``"X"`` and each layer -> "counts", "log", "normalised", "scaled", "NaN" or "empty".
    labels
        Columns of ``obs`` that could be labels -> number of classes.
    spatial
        Slots of ``obsm`` that could be positions.
    doubled_genes, doubled_cells
        Whether names occur twice.
    ensembl
        Whether most gene names are Ensembl identifiers.
    missing_labels
        Columns among `labels` with missing values.
    largest
        ``"X"`` and each layer -> largest absolute value seen.
    table
        Populations of the table in ``uns``, if there is one.
    populations
        Column among `labels` whose values are populations of that table, or an empty string.
    """

    cells: int
    genes: int
    matrices: dict[str, str]
    labels: dict[str, int]
    spatial: list[str]
    doubled_genes: bool = False
    doubled_cells: bool = False
    ensembl: bool = False
    missing_labels: list[str] = field(default_factory=list)
    largest: dict[str, float] = field(default_factory=dict)
    table: list[str] = field(default_factory=list)
    populations: str = ""

    def guess(self, role: str) -> str:
        """Best guess for a role, or an empty string."""
        if role == "labels":
            return _first(LABELS, self.labels) or next(iter(self.labels), "")
        if role == "batch":
            return _first(BATCHES, self.labels)
        if role == "sections":
            return _first(SECTIONS, self.labels)
        if role in ("regions", "types"):
            own = [n for n in self.labels if n.lower() not in SECTIONS]
            return _first(LABELS, own) or next(iter(own), "")
        if role == "counts":  # X needs no name
            raw = [
                n
                for n, kind in self.matrices.items()
                if kind == "counts" and not n.lower().endswith("spliced")
            ]
            return "" if "X" in raw else _first(("counts", "raw_counts", "raw"), raw) or next(iter(raw), "")
        if role == "logged":  # counts will do, they are logged on the page; X needs no name
            fit = [n for kind in ("log", "counts") for n, k in self.matrices.items() if k == kind]
            return "" if "X" in fit else next(iter(fit), "")
        if role == "spatial":
            return next(iter(self.spatial), "")
        if role == "populations":
            return self.populations
        if role == "table":
            return "uns['table']" if self.table else ""
        if role == "table file":
            return "" if self.table else "table.csv"
        if role in ("values", "transform"):
            name = self.guess("expression")
            if role == "values":  # X needs no name
                return "" if name == "X" else name
            if self.largest.get(name, 0.0) <= RAW:
                return ""
            return "logicle" if self.matrices[name] == "scaled" else "asinh"
        if role == "velocity":  # of another tool; counts of both kinds are worth more
            return "" if _first(("unspliced",), self.matrices) else _first(VELOCITIES, self.matrices)
        if role in ("spliced", "unspliced"):
            names = (role, "Ms" if role == "spliced" else "Mu")
            return _first(names[::-1] if self.guess("velocity") else names, self.matrices)
        good = [name for name, kind in self.matrices.items() if kind not in ("NaN", "empty")]
        return next(iter(good), "")


def _first(wanted: tuple[str, ...], have: Any) -> str:
    by_lower = {str(name).lower(): str(name) for name in have}
    return next((by_lower[w.lower()] for w in wanted if w.lower() in by_lower), "")


def _values(item: h5py.Dataset | h5py.Group) -> np.ndarray:
    """The first numbers of a dense or sparse matrix."""
    if hasattr(item, "keys"):
        return np.asarray(item["data"][:ENTRIES], dtype=float)
    rows = max(1, ENTRIES // max(1, item.shape[1] if item.ndim > 1 else 1))
    return np.asarray(item[:rows], dtype=float).ravel()


def kind_of(values: np.ndarray) -> str:
    """What numbers look like: "counts", "log", "normalised", "scaled", "NaN" or "empty"."""
    if not values.size or not np.any(values):
        return "empty"
    if not np.isfinite(values).all():
        return "NaN"
    if (values < 0).any():
        return "scaled"
    if np.array_equal(values, np.round(values)):
        return "counts"
    return "log" if values.max() < 20 else "normalised"


def _fcs_facts(path: Path) -> FileFacts:
    """The same of a file of a cytometer: intensities, no labels."""
    from scmods.scyan.reading import read_fcs

    try:
        adata = read_fcs(path)
    except (ValueError, KeyError) as error:
        raise OwnDataError(str(error)) from error
    values = adata.X.ravel()[:ENTRIES].astype(float)
    return FileFacts(
        *adata.shape, {"X": kind_of(values)}, {}, [], largest={"X": float(np.abs(values).max(initial=0.0))}
    )


def _populations(file: h5py.File) -> list[str]:
    """Rows of the table of markers, if the file has one."""
    from anndata.io import read_elem

    stored = file.get("uns", {}).get("table")
    if stored is None or stored.attrs.get("encoding-type") != "dataframe":
        return []
    return [str(name) for name in read_elem(stored).index]


def _label_columns(obs: pd.DataFrame) -> dict[str, int]:
    """Columns of text, categories, truth values or few whole numbers, with 2 to 200 classes."""
    found = {}
    for name in obs.columns:
        column = obs[name]
        classes = int(column.nunique())
        text = column.dtype.name == "category" or column.dtype.kind in "OUSb"
        if 2 <= classes <= min(200, len(obs) // 2) and (
            text or (column.dtype.kind in "iu" and classes <= 50)
        ):
            found[str(name)] = classes
    return found


def facts(path: Path) -> FileFacts:
    """Read what :class:`FileFacts` holds from an .h5ad file.

    Parameters
    ----------
    path
        The file; only ``obs``, ``var``, shapes and the first 100,000 numbers of each matrix are read. A file of a
        cytometer (.fcs) is read whole.

    Raises
    ------
    OwnDataError
        If the file does not exist or is no file of these kinds.
    """
    import h5py
    from anndata.io import read_elem

    if not path.is_file():
        msg = f"The file {path} does not exist in {Path.cwd()}."
        raise OwnDataError(msg)
    if path.suffix.lower() == ".fcs":
        return _fcs_facts(path)
    if not h5py.is_hdf5(path):
        msg = f"{path} is not an .h5ad file. "
        msg += "Read it with the scanpy reader of its format, then adata.write_h5ad('my.h5ad')."
        raise OwnDataError(msg)
    with h5py.File(path) as file:
        if "obs" not in file or "var" not in file:
            msg = f"{path} holds no AnnData: `obs` or `var` is missing. "
            msg += "Write it with adata.write_h5ad('my.h5ad')."
            raise OwnDataError(msg)
        obs, var = read_elem(file["obs"]), read_elem(file["var"])
        seen = {"X": _values(file["X"])} if "X" in file else {"X": np.zeros(0)}
        seen |= {name: _values(item) for name, item in file.get("layers", {}).items()}
        table = _populations(file)
        shapes = {name: getattr(item, "shape", ()) for name, item in file.get("obsm", {}).items()}
    labels = _label_columns(obs)
    names = var.index.astype(str)
    flat = [n for n, s in shapes.items() if len(s) == 2 and s[1] in (2, 3)]
    return FileFacts(
        cells=len(obs),
        genes=len(var),
        matrices={name: kind_of(values) for name, values in seen.items()},
        labels=labels,
        spatial=[n for n in flat if any(w in n.lower() for w in ("spatial", "coord", "xy", "position"))],
        doubled_genes=not names.is_unique,
        doubled_cells=not obs.index.is_unique,
        ensembl=bool(len(names)) and float(np.mean(names.str.match(r"ENS[A-Z]*G\d{6,}"))) > 0.5,
        missing_labels=[n for n in labels if obs[n].isna().any()],
        largest={name: float(np.abs(values).max(initial=0.0)) for name, values in seen.items()},
        table=table,
        populations=next((n for n in labels if set(obs[n].astype(str)) & set(table)), ""),
    )


def _command(chapter: str, notebook: Path, path: Path, found: FileFacts) -> str:
    """The call with the guessed keys of those parameters that the chapter has."""
    known = parameters(notebook)
    roles = ROLES | CHAPTER_ROLES.get(chapter, {})
    values = {"dataset": str(path)}
    for name, parameter in known.items():
        value = found.guess(roles[name]) if name in roles else ""
        # a label of the chapter's own data that this file does not have is switched off
        absent = roles.get(name) in ("populations", "regions") and parameter.default not in (
            "",
            *found.labels,
        )
        if (value or absent) and value != parameter.default:
            values[name] = value
    # double quotes work in every shell
    given = [f'-p "{k}={v}"' if " " in v else f"-p {k}={v}" for k, v in values.items()]
    return " ".join([f"python -m scmods run {chapter}", *given])


def _gaps(chapter: str, found: FileFacts) -> list[str]:
    instead = {"unspliced": "velocity"}
    roles = [
        role
        for role in NEEDS.get(chapter, ("expression",))
        if not (found.guess(role) or found.guess(instead.get(role, role)))
    ]
    gaps = [f"no {role}: {MEND[role]}" for role in roles]
    layers = {role: found.guess(role) for role in NEEDS.get(chapter, ()) if role in ("spliced", "unspliced")}
    for role, layer in layers.items():
        kind = found.matrices.get(layer, "")
        if kind in ("scaled", "NaN", "empty"):
            gaps.append(f"unusable {role}: {MEND[kind].format(layer=layer)}")
    if found.doubled_genes:
        gaps.append(f"gene names occur twice: {MEND['unique']}")
    if found.doubled_cells:
        gaps.append(f"cell names occur twice: {MEND['cells']}")
    wanted = NEEDS.get(chapter, ()) + OPTIONAL.get(chapter, ())
    label = found.guess("types" if "types" in wanted else "labels")
    if label in found.missing_labels and {"labels", "types"} & set(wanted):
        gaps.append(f"missing labels: adata = adata[adata.obs[{label!r}].notna()].copy()")
    return gaps


def report(path: Path, found: FileFacts, notebooks: dict[str, Path]) -> tuple[list[str], bool]:
    """Lines of the report, and whether at least one chapter can run."""
    kinds = ", ".join(f"{name}: {kind}" for name, kind in found.matrices.items())
    lines = [f"{path}: {found.cells} cells x {found.genes} genes", f"numbers: {kinds}"]
    for role in ("labels", "batch", "sections", "spatial", "spliced", "unspliced", "velocity", "table"):
        value = found.guess(role)
        others = [n for n in found.labels if n != value][:6] if role == "labels" else []
        more = f" ({found.labels[value]} classes)" if value in found.labels else ""
        more = f" ({len(found.table)} populations)" if role == "table" and value else more
        lines.append(
            f"{role}: {value or 'none found'}{more}" + (f"; also {', '.join(others)}" if others else "")
        )
    if found.ensembl:
        fix = "adata.var_names = adata.var['symbol'].astype(str)"
        lines.append(f"gene names are Ensembl identifiers, but gene sets need symbols: {fix}")
    usable = False
    if path.suffix.lower() == ".fcs":  # the other chapters do not read it
        notebooks = {name: notebook for name, notebook in notebooks.items() if name == "scyan"}
    for chapter, notebook in notebooks.items():
        gaps = _gaps(chapter, found)
        usable = usable or not gaps
        lines.append(f"{chapter}: {'can run' if not gaps else 'cannot run yet'}")
        lines += [f"    mend: {gap}" for gap in gaps]
        lines.append(f"    {_command(chapter, notebook, path, found)}")
    return lines, usable


def check_file(path: Path) -> int:
    """Print what the file allows; 0 when a chapter can run, 1 when none can, 2 when it cannot be read."""
    try:
        lines, usable = report(path, facts(path), chapters())
    except OwnDataError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    print("\n".join(lines))
    return 0 if usable else 1
