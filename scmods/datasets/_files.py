"""Files of the user: AnnData in ``.h5ad``, gene sets in ``.gmt``."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING

from scmods import _checks
from scmods.datasets import _registry

if TYPE_CHECKING:
    from anndata import AnnData

__all__ = ["gene_sets", "looks_like_a_path", "read_h5ad"]

_GENE_SETS = {"hallmark": "hallmark_v7.0.gmt", "go_bp_2021": "go_bp_2021.gmt"}
_CONVERT = "Save it first: `adata.write_h5ad('my.h5ad')`, then dataset='my.h5ad'."
_READERS = {
    ".loom": "anndata.io.read_loom",
    ".csv": "anndata.io.read_csv",
    ".h5": "scanpy.read_10x_h5",
    ".mtx": "scanpy.read_10x_mtx",
    ".zarr": "anndata.io.read_zarr",
}


def looks_like_a_path(name: str | os.PathLike[str]) -> bool:
    """Whether this is meant as a file and not as the name of a data set."""
    text = os.fspath(name)
    kind = Path(text).suffix[1:2]  # "v0.2" is a name
    return isinstance(name, os.PathLike) or "/" in text or "\\" in text or kind.isalpha()


def read_h5ad(path: str | os.PathLike[str], *, backed: bool = False) -> AnnData:
    """Read an AnnData; refuse with a reason what is none.

    Parameters
    ----------
    path
        The ``.h5ad`` file.
    backed
        Leave the matrix on disk and read it in blocks.

    Raises
    ------
    FileNotFoundError
        If there is no such file.
    ValueError
        If it is another kind of file, or is damaged.
    """
    path = Path(path).expanduser()
    if not path.is_file():
        here = sorted(p.name for p in path.parent.glob("*.h5ad")) if path.parent.is_dir() else []
        found = (
            f"Its folder has {_checks.listing(here)}."
            if here
            else f"Its folder {path.parent} has no .h5ad file."
        )
        _checks.fail(
            f"The file '{path}' does not exist (working folder: {Path.cwd()}).",
            found,
            _checks.nearest(path.name, here),
            kind=FileNotFoundError,
        )
    if path.suffix.lower() != ".h5ad":
        reader = _READERS.get(path.suffix.lower())
        how = f"Read it with `adata = {reader}(...)`." if reader else ""
        _checks.fail(f"'{path}' is no .h5ad file (its name ends in {path.suffix!r}).", how, _CONVERT)
    return _open(path, backed=backed)


def _open(path: Path, *, backed: bool) -> AnnData:
    import anndata
    import h5py

    if not h5py.is_hdf5(path):
        _checks.fail(
            f"'{path}' is named .h5ad but is no HDF5 file ({path.stat().st_size:,} bytes).",
            "It may be a broken download or a renamed file.",
            _CONVERT,
        )
    try:
        with h5py.File(path, "r") as file:
            have = list(file)
    except OSError as error:
        message = f"'{path}' is damaged and cannot be opened: {error}. Copy or download it again."
        raise ValueError(message) from error
    missing = [part for part in ("obs", "var") if part not in have]
    if missing:
        _checks.fail(
            f"'{path}' is an HDF5 file but holds no AnnData: {_checks.listing(missing)} missing.",
            f"It has {_checks.listing(have)}.",
            _CONVERT,
        )
    return anndata.read_h5ad(path, backed="r" if backed else None)


def gene_sets(name: str | os.PathLike[str]) -> dict[str, list[str]]:
    r"""Gene sets by name, for enrichment without a server.

    Parameters
    ----------
    name
        ``"hallmark"`` (50 sets), ``"go_bp_2021"`` (6,036 sets; both with human symbols), or the path of a
        ``.gmt`` file: one set per line, name, description and genes separated by tabs.

    Returns
    -------
    The genes of each set, in the order of the file, each gene once.

    Raises
    ------
    MissingKeyError
        If `name` is neither a path nor one of the two names.
    FileNotFoundError, ValueError
        If the file does not exist or is no ``.gmt`` file.
    DataUnavailableError
        If a named file cannot be had.

    Examples
    --------
    >>> from pathlib import Path
    >>> from scmods import datasets
    >>> row = ["ribosome", "from me", "RPL3", "RPS6"]
    >>> _ = Path("mine.gmt").write_text("\t".join(row))
    >>> datasets.gene_sets("mine.gmt")
    {'ribosome': ['RPL3', 'RPS6']}
    """
    if name in _GENE_SETS:
        return _read_gmt(_registry.fetch(_GENE_SETS[name]))
    if not looks_like_a_path(name):
        _checks.fail(
            f"There are no gene sets named {name!r}. Available: {_checks.listing(_GENE_SETS)}.",
            _checks.nearest(str(name), _GENE_SETS),
            "A file of your own: gene_sets('my_sets.gmt').",
            kind=_checks.MissingKeyError,
        )
    path = Path(name).expanduser()
    if not path.is_file():
        _checks.fail(f"The file '{path}' does not exist.", "Expected a .gmt file.", kind=FileNotFoundError)
    return _read_gmt(path)


def _read_gmt(path: Path) -> dict[str, list[str]]:
    sets: dict[str, list[str]] = {}
    for number, line in enumerate(path.read_text(encoding="utf-8-sig").splitlines(), 1):
        if not line.strip():
            continue
        name, *rest = line.split("\t")
        genes = list(dict.fromkeys(g.strip() for g in rest[1:] if g.strip()))
        if not genes:
            _checks.fail(
                f"Line {number} of '{path}' is no gene set: {line[:40]!r}.",
                "Expected name, description and at least one gene, separated by tabs.",
            )
        if name in sets:
            _checks.fail(f"'{path}' has two sets named {name!r} (the second in line {number}).")
        sets[name] = genes
    if not sets:
        _checks.fail(f"'{path}' holds no gene set. Expected one per line, separated by tabs.")
    return sets
