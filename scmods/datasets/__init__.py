"""Data sets: real ones with checksum and citation, simulators with the truth, and files of your own.

>>> from scmods import datasets
>>> datasets.load("pbmc68k").shape
(700, 765)

A file of your own is read by ``datasets.load("my.h5ad")``.

Every real data set says in ``adata.uns["source"]`` where it comes from and under which licence. Files are
looked for in the folder named by the environment variable ``SCMODS_DATA`` (default: the user's cache folder),
downloaded when they are not there, and refused when their checksum differs from the registry.
"""

from __future__ import annotations

import importlib
import inspect
import os
from typing import TYPE_CHECKING, Any

from scmods import _checks
from scmods.datasets import _files, _registry
from scmods.datasets._files import gene_sets
from scmods.datasets._registry import DataUnavailableError, fetch

if TYPE_CHECKING:
    import pandas as pd
    from anndata import AnnData

_REAL = {
    "pbmc68k": "scmods.datasets._sequencing:pbmc68k",
    "paul15_240": "scmods.datasets._sequencing:paul15_240",
    "pancreas": "scmods.datasets._sequencing:pancreas",
    "aml_short": "scmods.datasets._cytometry:aml_short",
    "debarcoding": "scmods.datasets._cytometry:debarcoding",
    "mob": "scmods.datasets._spatial:mob",
    "dlpfc_151673": "scmods.datasets._spatial:dlpfc_151673",
    "osmfish": "scmods.datasets._spatial:osmfish",
    "dyngen_bifurcating": "scmods.datasets._circuits:dyngen_bifurcating",
    "dyngen_binary_tree": "scmods.datasets._circuits:dyngen_binary_tree",
    "dyngen_cycle": "scmods.datasets._circuits:dyngen_cycle",
    "dyngen_linear": "scmods.datasets._circuits:dyngen_linear",
}
# strings, not imports: the data sets know no method
_SIMULATORS = {
    "cytometry": "scmods.scyan.simulate:cytometry",
    "planted": "scmods.bmlp.simulate:planted",
    "random_circuit": "scmods.hopfield.circuits:random_circuit",
    "repressilator": "scmods.hopfield.circuits:repressilator",
    "semisynthetic": "scmods.amici.simulate:semisynthetic",
    "tissue": "scmods.smoother.simulate:tissue",
    "toggle": "scmods.hopfield.circuits:toggle",
}

_OF_BLOOD = ("semisynthetic", "tissue")  # simulated tissues of cells measured by Zheng et al.

__all__ = [
    "DataUnavailableError",
    "available",
    "fetch",
    "gene_sets",
    "load",
    "names",
    "table",
    *_REAL,
    *_SIMULATORS,
]


def _loader(name: str) -> Any:
    module, _, function = {**_REAL, **_SIMULATORS}[name].partition(":")
    return getattr(importlib.import_module(module), function)


def __getattr__(name: str) -> Any:
    if name in _REAL or name in _SIMULATORS:
        return _loader(name)
    msg = f"module {__name__!r} has no attribute {name!r}. Available: {', '.join(__all__)}"
    raise AttributeError(msg)


def __dir__() -> list[str]:
    return sorted(__all__)


def names() -> list[str]:
    """Names that `load` knows: real data sets, then simulators.

    Examples
    --------
    >>> from scmods import datasets
    >>> "planted" in datasets.names(), "mob" in datasets.names()
    (True, True)
    """
    return [*_REAL, *_SIMULATORS]


def _known(name: str) -> None:
    if name not in names():
        _checks.fail(
            f"There is no data set named {name!r}. Available: {_checks.listing(names(), 20)}.",
            _checks.nearest(name, names()),
            "A file of your own: load('my.h5ad').",
            kind=_checks.MissingKeyError,
        )


def load(name: str | os.PathLike[str], *, backed: bool = False, **options: Any) -> AnnData:
    """One data set as AnnData, by name or from a file.

    Parameters
    ----------
    name
        A name of `names`, or the path of an ``.h5ad`` file.
    backed
        For a path: leave the matrix on disk.
    options
        Arguments of that loader or simulator, for instance ``load("planted", n_obs=500, seed=1)``; a name it
        does not have is refused.

    Returns
    -------
    Cells x genes. Real data sets: names are unique text, labels are categories, ``uns["source"]`` has
    citation, licence, addresses, name and a note on `X`. Simulators: ``uns["truth"]``. A file: as it is.

    Raises
    ------
    MissingKeyError
        If the name is unknown.
    DataUnavailableError
        If a file of the data set cannot be had.
    FileNotFoundError, ValueError
        If the path has no file or another kind of file.
    TypeError
        If an option is unknown.

    Examples
    --------
    >>> from scmods import datasets
    >>> adata = datasets.load("planted", n_obs=100, n_vars=80)
    >>> adata.shape, sorted(adata.uns)
    ((100, 80), ['source', 'truth'])
    """
    if str(name) not in names() and _files.looks_like_a_path(name):
        _options("read_h5ad", (), options)
        return _files.read_h5ad(name, backed=backed)
    _known(str(name))
    if backed:
        _checks.fail(f"`backed` is for files, but {name!r} is made in memory. Write load({str(name)!r}).")
    loader = _loader(str(name))
    _options(str(name), tuple(inspect.signature(loader).parameters), options)
    return loader(**options)


def _options(name: str, allowed: tuple[str, ...], given: dict[str, Any]) -> None:
    for option in given:
        if option not in allowed:
            _checks.fail(
                f"{name!r} takes no option {option!r}.",
                f"Available: {_checks.listing(allowed)}.",
                _checks.nearest(option, allowed),
                kind=TypeError,
            )


def available(name: str | os.PathLike[str]) -> bool:
    """Whether `load` can do without the network: the files are at hand, or none is needed. Downloads nothing.

    Parameters
    ----------
    name
        A name of `names`, or a path.

    Raises
    ------
    MissingKeyError
        If the name is unknown.

    Notes
    -----
    Files are not opened: a damaged one counts as at hand, and `load` says what is wrong with it.

    Examples
    --------
    >>> from scmods import datasets
    >>> datasets.available("planted"), datasets.available("no_such_file.h5ad")
    (True, False)
    """
    if str(name) not in names() and _files.looks_like_a_path(name):
        return os.path.isfile(os.path.expanduser(name))
    _known(str(name))
    files = [entry for entry in _registry.entries().values() if entry.dataset == name]
    return all(_registry.locate(entry) is not None for entry in files)


def table() -> pd.DataFrame:
    """One row per data set or collection of gene sets, nothing being loaded.

    Returns
    -------
    Columns `name`, `kind` ("real", "simulator", "gene sets"), `files`, `bytes`, `licence`, `citation`,
    `used_by` (chapters), `content`, `embedded` (needs no file), `at_hand` (needs no download).

    Examples
    --------
    >>> from scmods import datasets
    >>> table = datasets.table().set_index("name")
    >>> table.loc["planted", ["kind", "licence", "used_by"]].tolist()
    ['simulator', 'MIT', 'bmlp']
    """
    import pandas as pd

    files: dict[str, list[_registry.Entry]] = {}
    for entry in _registry.entries().values():
        files.setdefault(entry.dataset, []).append(entry)
    rows = [_row(name, files.get(name, [])) for name in dict.fromkeys([*names(), *files])]
    return pd.DataFrame(rows)


_PBMC = {
    "licence": "CC-BY-4.0",
    "citation": "Zheng et al., Nature Communications 8, 2017, doi:10.1038/ncomms14049",
    "used_by": "bmlp",
    "content": "scRNA-seq, human blood: 700 cells x 765 genes, bundled with scanpy",
}


def _row(name: str, files: list[_registry.Entry]) -> dict[str, Any]:
    kind = "real" if name in _REAL else "simulator" if name in _SIMULATORS else "gene sets"
    if files:
        one = files[0]
        texts = {
            "licence": one.license,
            "citation": one.citation,
            "used_by": one.used_by,
            "content": one.content,
        }
    elif kind == "real":
        texts = _PBMC
    else:
        chapter = _SIMULATORS[name].split(".")[1]
        texts = {
            "licence": "MIT; cells: CC-BY-4.0" if name in _OF_BLOOD else "MIT",
            "citation": f"scmods; cells: {_PBMC['citation']}" if name in _OF_BLOOD else "scmods",
            "used_by": chapter,
            "content": "simulated, with its truth",
        }
    return {
        "name": name,
        "kind": kind,
        "files": len(files),
        "bytes": sum(entry.bytes for entry in files),
        **texts,
        "embedded": not files,
        "at_hand": all(_registry.locate(entry) is not None for entry in files),
    }
