"""Files of Jacobians: written block by block, with the names of cells and genes, and read back by name.

A file holds the eigenvalues of every cell and, if asked for, the eigenvectors: those of the regulator block, packed
(see `scmods.hopfield.vectors`), from which the ones of the whole Jacobian are lifted when a cell is read.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from scmods import _checks
from scmods.hopfield import _files
from scmods.hopfield._align import align, align_genes, stored_field
from scmods.hopfield._writer import FORMAT, VERSION, JacobianWriter
from scmods.hopfield.field import Field
from scmods.hopfield.keys import Keys
from scmods.hopfield.spectrum import order
from scmods.hopfield.vectors import Pairs, leading_vectors, unpack

if TYPE_CHECKING:
    from anndata import AnnData

__all__ = ["JacobianFile", "JacobianWriter", "load_jacobians", "open_jacobians", "save_jacobians"]

VECTORS = "jacobian_eigenvectors_temp"  # uns, the name of the original
BIG = 2e9  # bytes of eigenvectors in memory above which a warning names the alternative


def info_key(key_added: str) -> str:
    """uns, dict: which field, layer and clusters the stored Jacobians were computed with."""
    return f"{key_added}_jacobians"


def norm_key(key_added: str) -> str:
    """obs, float64: Frobenius norm of the Jacobian, 1 / time."""
    return f"{key_added}_jacobian_norm"


def warn_of_size(n_cells: int, n_genes: int, k: int, advice: str, *, level: int = 4) -> None:
    """Say so before complex eigenvectors of more than 2 GB are allocated."""
    size = 16.0 * n_cells * n_genes * k
    if size > BIG:
        each = f"{n_genes} x {k} complex numbers each"
        _checks.warn(
            f"Eigenvectors of {n_cells} cells, {each}, take {size / 1e9:.1f} GB. {advice}",
            _checks.PerformanceWarning,
            level=level,
        )


class JacobianFile:
    """An open file of Jacobians, as `open_jacobians` gives it; reads only what is asked for.

    Parameters
    ----------
    group
        The open HDF5 or zarr group.
    name
        Name of the file, for messages.

    Attributes
    ----------
    cells, genes
        Names; None in files of the original package, which have none.
    field
        The field, None in files of the original package.
    header
        The settings: cluster_key, layer, x_floor, fingerprint, package_version.
    n_cells, n_values
        Numbers of cells, and of eigenvalues per cell.
    """

    def __init__(self, group: Any, name: str) -> None:
        if "eigenvalues_real" not in group:
            _checks.fail(
                f"'{name}' holds no Jacobians: it has no array 'eigenvalues_real'. Arrays: {_checks.listing(group)}.",
                "Write one: `hopfield.compute_jacobians(adata, filename='jacobians.h5')`.",
            )
        if group.attrs.get("format") == FORMAT and int(group.attrs["version"]) > VERSION:
            _checks.fail(
                f"'{name}' has version {group.attrs['version']}, this package reads up to {VERSION}. Update it."
            )
        self.group, self.name = group, name
        self.n_cells, self.n_values = group["eigenvalues_real"].shape
        self.header: dict[str, Any] = _files.get_json(group, "header") if "header" in group else {}
        self.cells: list[str] | None = self.header.get("cells")
        self.genes: list[str] | None = self.header.get("genes")
        self.field = self._field() if "field_interactions" in group else None

    def _field(self) -> Field:
        prefix = "field_"
        arrays = {n[len(prefix) :]: self.group[n][...] for n in self.group if n.startswith(prefix)}
        return Field.from_uns({"genes": self.genes, "clusters": self.header["clusters"], **arrays})

    @property
    def has_vectors(self) -> bool:
        """Whether eigenvectors are stored."""
        return "vectors" in self.group or "eigenvectors_real" in self.group

    def _complex(self, name: str, rows: slice) -> np.ndarray:
        real, imag = (np.asarray(self.group[f"{name}_{part}"][rows], np.float64) for part in ("real", "imag"))
        return real + 1j * imag

    def norm(self, rows: slice) -> np.ndarray:
        """Frobenius norms of the Jacobians; for files without, the lower bound that the eigenvalues give.

        Parameters
        ----------
        rows
            Cells, in the order of the file.
        """
        if "norm" in self.group:
            return np.asarray(self.group["norm"][rows])
        return np.sqrt((np.abs(self._complex("eigenvalues", rows)) ** 2).sum(axis=1))

    def eigenvalues(self, rows: slice = slice(None)) -> np.ndarray:
        """Eigenvalues of some cells, sorted: real part descending, then imaginary part descending.

        Parameters
        ----------
        rows
            Cells, in the order of the file.
        """
        values = self._complex("eigenvalues", rows)
        return values if self.header else np.take_along_axis(values, self._order(values), axis=1)

    def _order(self, values: np.ndarray) -> np.ndarray:
        norm = np.sqrt((np.abs(values) ** 2).sum(axis=1))
        return order(torch.as_tensor(values), torch.as_tensor(norm)).numpy()

    def vectors(self, rows: slice | int | str) -> tuple[np.ndarray, np.ndarray]:
        """Eigenvalues and right eigenvectors of the whole Jacobian, of one cell or of a range of cells.

        Parameters
        ----------
        rows
            Name of a cell, its position, or a slice of positions, in the order of the file.

        Returns
        -------
        values
            (k,) or (cells, k) complex128, 1 / time.
        vectors
            (genes, k) or (cells, genes, k) complex128, column i belongs to value i, norm 1.
        """
        if not self.has_vectors:
            _checks.fail(
                f"'{self.name}' holds no eigenvectors.",
                f"Write them: `compute_jacobians(adata, compute_eigenvectors=True, filename={self.name!r})`.",
            )
        one = not isinstance(rows, slice)
        if one:
            at = self._cell(rows)
            rows = slice(at, at + 1)
        values = self.eigenvalues(rows)
        vectors = self._lifted(rows) if "vectors" in self.group else self._complex("eigenvectors", rows)
        if not self.header:
            raw = self._order(self._complex("eigenvalues", rows))
            vectors = np.take_along_axis(vectors, raw[:, None, :], axis=2)
        values = values[:, : vectors.shape[2]]
        return (values[0], vectors[0]) if one else (values, vectors)

    def _cell(self, cell: int | str) -> int:
        if isinstance(cell, str):
            names = self.cells or []
            if cell not in names:
                _checks.fail(
                    f"'{self.name}' has no cell {cell!r}. Cells: {_checks.listing(names, 3)}.",
                    _checks.nearest(cell, names),
                    kind=_checks.MissingKeyError,
                )
            return names.index(cell)
        return _checks.integer("cell", cell, 0, self.n_cells - 1)

    def _lifted(self, rows: slice) -> np.ndarray:
        slope, packed, norm = (torch.as_tensor(self.group[n][rows]) for n in ("slopes", "vectors", "norm"))
        values = torch.as_tensor(self._complex("block", rows))
        out = np.empty((len(norm), len(self.genes), len(self.genes)), dtype=np.complex128)
        label = np.asarray(self.group["label"][rows])
        for c in np.unique(label):
            on = np.flatnonzero(label == c)
            pairs = Pairs(values[on], unpack(values[on], packed[on]), norm[on])
            out[on] = leading_vectors(self.field.cluster(self.field.clusters[c]), slope[on], pairs).numpy()
        return out


@contextmanager
def open_jacobians(filename: str | os.PathLike[str]) -> Iterator[JacobianFile]:
    """Open a file of Jacobians for reading, without loading it.

    Parameters
    ----------
    filename
        ``.h5``, ``.hdf5`` or ``.zarr``; files that the original package wrote too.

    Yields
    ------
    A `JacobianFile`.

    Examples
    --------
    >>> from scmods import hopfield
    >>> adata = hopfield.toggle(2, 3)
    >>> field = hopfield.fit(adata)
    >>> hopfield.compute_jacobians(adata)
    >>> hopfield.save_jacobians(adata, "jacobians.h5")
    >>> with hopfield.open_jacobians("jacobians.h5") as file:
    ...     type(file).__name__
    'JacobianFile'
    """
    path = _files.checked(filename, existing=True)
    with _files.reading(path) as group:
        yield JacobianFile(group, path.name)


def save_jacobians(
    adata: AnnData,
    filename: str | os.PathLike[str],
    cluster_key: str | None = "cell_type",
    compression: str | None = "gzip",
    *,
    key_added: str = "hopfield",
) -> None:
    """Write the eigenvalues in ``obsm``, and the eigenvectors in ``uns`` if there are any, to a file.

    To write eigenvectors without holding them in memory use ``compute_jacobians(adata, ..., filename=...)``.

    Parameters
    ----------
    adata
        Cells with ``obsm['jacobian_eigenvalues']`` of `compute_jacobians`.
    filename
        ``.h5``, ``.hdf5`` or ``.zarr``; replaced in one step.
    cluster_key
        Column of ``obs``, written into the header.
    compression
        ``"gzip"``, ``"lzf"`` (HDF5 alone) or None. Of numbers like these gzip takes much time and saves little.
    key_added
        Prefix given to `fit`.

    Returns
    -------
    ``None``. ``uns['jacobian_eigenvectors_temp']`` is removed once it is in the file, as the original does.

    Raises
    ------
    MissingKeyError
        If nothing was computed yet.
    ValueError
        If the field was changed since, or for an unknown compression.

    Examples
    --------
    >>> from pathlib import Path
    >>> from scmods import hopfield
    >>> adata = hopfield.toggle(5, 8)
    >>> field = hopfield.fit(adata)
    >>> hopfield.compute_jacobians(adata)
    >>> hopfield.save_jacobians(adata, "jacobians.h5")
    >>> Path("jacobians.h5").is_file()
    True
    """
    path = _files.checked(filename)
    _checks.one_of("compression", compression, _files.COMPRESSIONS)
    if compression == "lzf" and _files.is_zarr(path):
        _checks.fail("`compression` is 'lzf', which zarr does not have. Use compression='gzip' or None.")
    _checks.key(adata, "obsm", Keys.eigenvalues, "Compute them first: `hopfield.compute_jacobians(adata)`.")
    info = dict(adata.uns.get(info_key(key_added), {}))
    field = stored_field(adata, key_added, cluster_key)
    if field is None:
        _checks.key(adata, "uns", key_added, "Fit the field first: `hopfield.fit(adata)`.")
    if info.get("fingerprint", field.fingerprint) != field.fingerprint:
        _checks.fail(
            f"The Jacobians belong to the field {info['fingerprint']}, `adata` now has {field.fingerprint}.",
            "Compute them again: `hopfield.compute_jacobians(adata)`.",
        )
    settings = {k: info[k] for k in ("layer", "x_floor") if k in info} | {"cluster_key": cluster_key}
    arrays = {"eigenvalues": np.asarray(adata.obsm[Keys.eigenvalues])}
    if norm_key(key_added) in adata.obs:
        arrays["norm"] = adata.obs[norm_key(key_added)].to_numpy(np.float64)
    if VECTORS in adata.uns:
        arrays["eigenvectors"] = _held_vectors(adata)
    with _files.writing(path) as group:
        out = JacobianWriter(group, field, adata.obs_names, settings, compression)
        out.write(slice(0, adata.n_obs), **arrays)
    adata.uns.pop(VECTORS, None)


def _held_vectors(adata: AnnData) -> np.ndarray:
    """Eigenvectors in ``uns`` for the cells of `adata`, which may be fewer than when they were computed."""
    held = adata.uns[VECTORS]
    names = [str(c) for c in held["cells"]] if "cells" in held else list(adata.obs_names)
    index = {name: i for i, name in enumerate(names)}
    missing = [name for name in adata.obs_names if name not in index]
    if missing or len(held["data"]) != len(names):
        _checks.fail(
            f"`adata.uns[{VECTORS!r}]` holds vectors of {len(held['data'])} cells, `adata` has {adata.n_obs};",
            f"without vectors: {_checks.listing(missing, 3)}.",
            "Compute again: `hopfield.compute_jacobians(adata, compute_eigenvectors=True)`.",
        )
    return np.asarray(held["data"])[[index[name] for name in adata.obs_names]]


def load_jacobians(
    adata: AnnData,
    filename: str | os.PathLike[str],
    load_eigenvectors: bool = False,  # noqa: FBT001, FBT002 - the original's order
    *,
    key_added: str = "hopfield",
) -> np.ndarray | None:
    """Read Jacobians from a file into ``obsm``, cell by name.

    Parameters
    ----------
    adata
        The cells of the file, in any order.
    filename
        What `save_jacobians` or ``compute_jacobians(filename=...)`` wrote. Files of the original package hold no
        names: they are read in the order they have, with a warning, if the counts agree.
    load_eigenvectors
        Whether to return the eigenvectors too; `open_jacobians` reads those of single cells.
    key_added
        Prefix given to `fit`.

    Returns
    -------
    The eigenvectors, (cells, genes, k) complex128, or ``None``. Written: ``obsm['jacobian_eigenvalues']`` (cells,
    values) complex128, ``obs['hopfield_jacobian_norm']`` and ``uns['hopfield_jacobians']``, the settings.

    Raises
    ------
    ValueError
        If cells, genes or field differ, with counts and the first names.

    Examples
    --------
    >>> from scmods import hopfield
    >>> adata = hopfield.toggle(5, 8)
    >>> field = hopfield.fit(adata)
    >>> hopfield.compute_jacobians(adata)
    >>> hopfield.save_jacobians(adata, "jacobians.h5")
    >>> del adata.obsm["jacobian_eigenvalues"]
    >>> hopfield.load_jacobians(adata, "jacobians.h5")
    >>> adata.obsm["jacobian_eigenvalues"].shape
    (40, 2)
    """
    with open_jacobians(filename) as file:
        rows = align(file, adata)
        genes = align_genes(file, adata, key_added)
        out = None
        if load_eigenvectors:
            warn_of_size(
                len(rows),
                file.n_values,
                file.n_values,
                "Read single cells: `hopfield.stream.open_jacobians`.",
            )
            out = file.vectors(slice(0, file.n_cells))[1][rows]
            out = out if genes is None else out[:, genes]
        values, norm = file.eigenvalues()[rows], file.norm(slice(0, file.n_cells))[rows]
        names = ("cells", "genes", "clusters")
        header = {k: v for k, v in file.header.items() if k not in names and v is not None}
        header |= {"n_genes": len(file.genes)} if file.genes else {}
    adata.obs = adata.obs.assign(**{norm_key(key_added): norm})
    adata.obsm[Keys.eigenvalues] = values
    adata.uns[info_key(key_added)] = header
    return out
