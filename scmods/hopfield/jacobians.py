"""The original's functions of the Jacobians of every cell, with its names, arguments and slots.

Rows of a Jacobian are targets, columns are regulators. Nothing of the size cells x genes x genes is held, unless all
eigenvectors are asked for in memory.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from contextlib import nullcontext
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from scmods import _checks
from scmods.hopfield import _files, core
from scmods.hopfield._align import align, stored_field
from scmods.hopfield._elements import compute_jacobian_elements
from scmods.hopfield._passes import asked_size, device_of, on_device, read_cells, spectra, write_obs
from scmods.hopfield._passes import block_size as cells_per_block
from scmods.hopfield.checks import Cells, read
from scmods.hopfield.keys import Keys
from scmods.hopfield.spectrum import order, summary
from scmods.hopfield.stream import (
    VECTORS,
    JacobianFile,
    JacobianWriter,
    info_key,
    norm_key,
    open_jacobians,
    warn_of_size,
)

if TYPE_CHECKING:
    import pandas as pd
    from anndata import AnnData

__all__ = [
    "compute_jacobian_elements",
    "compute_jacobian_stats",
    "compute_jacobians",
    "compute_rotational_part",
]


def _summary_columns(key_added: str, n: int) -> dict[str, np.ndarray]:
    keys = Keys(key_added)
    kinds = {
        keys.leading_real: np.float64,
        keys.leading_imag: np.float64,
        keys.positive: np.int64,
        keys.negative: np.int64,
        keys.trace: np.float64,
        norm_key(key_added): np.float64,
    }
    return {name: np.empty(n, dtype=kind) for name, kind in kinds.items()}


def _keep(keep: str | int, n_genes: int) -> int:
    """Number of eigenvalues per cell to store."""
    if isinstance(keep, str) or keep is None:
        _checks.one_of("keep", keep, ["all", "leading"])
        return n_genes if keep == "all" else 0
    return _checks.integer("keep", keep, 1, n_genes, f"The field has {n_genes} genes.")


def _vector_options(compute: bool, n_vectors: int | None, n_genes: int) -> int:  # noqa: FBT001
    """Number of eigenvectors per cell to keep."""
    if n_vectors is not None and not compute:
        _checks.fail(
            f"`n_vectors` is {n_vectors}, but no eigenvectors were asked for. Add compute_eigenvectors=True."
        )
    if not compute:
        return 0
    return n_genes if n_vectors is None else _checks.integer("n_vectors", n_vectors, 1, n_genes)


def compute_jacobians(
    adata: AnnData,
    spliced_key: str = "Ms",
    degradation_key: str = "gamma",
    cluster_key: str | None = "cell_type",
    compute_eigenvectors: bool = False,  # noqa: FBT001, FBT002 - the original's order
    device: str = "cpu",
    copy: bool = False,  # noqa: FBT001, FBT002
    *,
    key_added: str = "hopfield",
    x_floor: float = 0.0,
    n_vectors: int | None = None,
    filename: str | os.PathLike[str] | None = None,
    block_size: int | None = None,
    keep: str | int = "all",
) -> AnnData | None:
    r"""Eigenvalues of the Jacobian of every cell, exactly, and the numbers that summarise them.

    :math:`J_{ij} = \partial v_i/\partial x_j = W_{ij}\varphi'_j(x_j) - \gamma_i\delta_{ij}`, row: target, column:
    regulator. A positive leading real part means that a small disturbance grows, an imaginary part that it oscillates
    with period :math:`2\pi/|\mathrm{Im}|`.

    Parameters
    ----------
    adata
        Cells with a fitted field (`fit`), or with the slots of the original package.
    spliced_key
        Layer the field was fitted on; not negative, not centred.
    degradation_key
        Column of ``var`` with gamma, read only where the field comes from the original's slots: one that `fit`
        stored holds its rates.
    cluster_key
        Column of ``obs`` that says which matrix belongs to a cell; None where one matrix serves all.
    compute_eigenvectors
        Also right eigenvectors: into `filename` if given, else into memory.
    device
        Where slopes are computed. Decompositions run on the CPU, which is where they are fastest.
    copy
        Return a changed copy instead of changing `adata`.
    key_added
        Prefix given to `fit`.
    x_floor
        Expression is raised to this value, for exponents below 1, whose slope at 0 is infinite.
    n_vectors
        Only the vectors of so many leading eigenvalues.
    filename
        Stream everything to this ``.h5`` or ``.zarr`` file while it is computed; see `load_jacobians` and
        ``stream.open_jacobians``.
    block_size
        Cells per block; bounds the working memory, the results do not depend on it.
    keep
        Eigenvalues to store per cell: ``"all"``, a number of leading ones, or ``"leading"``, which stores none but
        the columns of ``obs``.

    Returns
    -------
    ``None`` or the copy, with

    - ``obsm['jacobian_eigenvalues']``: (cells, values) complex128, one per modelled gene, real part descending, then
      imaginary part descending (the original's were complex64 in no order); removed for ``keep="leading"``;
    - ``obs['jacobian_eig1_real']``, ``obs['jacobian_eig1_imag']``: float64, leading real part and its absolute
      imaginary part, 1 / time;
    - ``obs['jacobian_positive_evals']``, ``obs['jacobian_negative_evals']``: int64;
    - ``obs['jacobian_trace']``, ``obs['hopfield_jacobian_norm']``: float64, 1 / time;
    - ``uns['hopfield_jacobians']``: settings and the fingerprint of the field;
    - ``uns['jacobian_eigenvectors_temp']['data']``: (cells, genes, k) complex128, columns of norm 1 in the order of
      the eigenvalues, and ``['cells']``, their names; only with `compute_eigenvectors` and without `filename`.

    Raises
    ------
    MissingKeyError, ValueError
        For NaN, infinite or negative expression and everything else that must not reach a decomposition.

    Notes
    -----
    Exact division in blocks, see `scmods.hopfield.spectrum`; working memory does not grow with the cells.

    Examples
    --------
    >>> from scmods import hopfield
    >>> adata = hopfield.toggle(5, 8)
    >>> field = hopfield.fit(adata)
    >>> hopfield.compute_jacobians(adata)
    >>> adata.obsm["jacobian_eigenvalues"].shape
    (40, 2)
    """
    cells = read_cells(adata, spliced_key, cluster_key, degradation_key, key_added, x_floor)
    n, g = len(cells), len(cells.field.genes)
    n_values, n_columns = _keep(keep, g), _vector_options(compute_eigenvectors, n_vectors, g)
    where = device_of(device)
    if block_size is not None:
        _checks.integer("block_size", block_size)
    settings = {"cluster_key": cluster_key, "layer": spliced_key, "x_floor": float(x_floor)}
    out: dict[str, Any] = _summary_columns(key_added, n)
    kept = np.empty((n, n_values), dtype=np.complex128)
    held = None
    if n_columns and filename is None:
        warn_of_size(n, g, n_columns, "Stream them: filename='jacobians.h5', or keep few: n_vectors=2.")
        held = np.empty((n, g, n_columns), dtype=np.complex128)
    size = block_size or cells_per_block(g, len(cells.field.regulators), n_columns)
    with nullcontext() if filename is None else _files.writing(_files.checked(filename)) as group:
        sink = None if group is None else JacobianWriter(group, cells.field, adata.obs_names, settings)
        for rows, arrays in spectra(
            cells, size, where, n_columns, packed=sink is not None and n_columns == g
        ):
            _into(out, key_added, rows, arrays)
            kept[rows] = arrays["eigenvalues"][:, :n_values]
            if held is not None:
                held[rows] = arrays.pop("eigenvectors")
            if sink is not None:
                sink.write(rows, **arrays)
    adata = adata.copy() if copy else adata
    _store(
        adata, key_added, out, kept, held, settings | {"fingerprint": cells.field.fingerprint, "n_genes": g}
    )
    return adata if copy else None


def _into(out: dict[str, np.ndarray], key_added: str, rows: slice, arrays: Mapping[str, np.ndarray]) -> None:
    values, norm = torch.as_tensor(arrays["eigenvalues"]), torch.as_tensor(arrays["norm"])
    columns = [*summary(values, norm), arrays["trace"], arrays["norm"]]
    for name, column in zip(_summary_columns(key_added, 0), columns, strict=True):
        out[name][rows] = column


def _store(
    adata: AnnData,
    key_added: str,
    columns: Mapping[str, np.ndarray],
    values: np.ndarray,
    vectors: np.ndarray | None,
    info: Mapping[str, Any],
) -> None:
    write_obs(adata, columns)
    for slot, name in ((adata.obsm, Keys.eigenvalues), (adata.uns, VECTORS)):
        if name in slot:  # of an earlier call, perhaps with another field
            del slot[name]
    if values.shape[1]:
        adata.obsm[Keys.eigenvalues] = values
    if vectors is not None:
        names = np.asarray(adata.obs_names.astype(str), dtype=object)
        adata.uns[VECTORS] = {"data": vectors, "cells": names}  # uns does not follow when cells are taken out
    adata.uns[info_key(key_added)] = {k: v for k, v in info.items() if v is not None}


def compute_jacobian_stats(
    adata: AnnData,
    filename: str | os.PathLike[str] | None = None,
    store_in_obs: bool = True,  # noqa: FBT001, FBT002 - the original's order
    copy: bool = False,  # noqa: FBT001, FBT002
    *,
    key_added: str = "hopfield",
) -> AnnData | pd.DataFrame | None:
    """Leading eigenvalue, counts, trace and rotation of every cell, from a file or from ``obsm``.

    Parameters
    ----------
    adata
        Cells.
    filename
        File of `save_jacobians` or ``compute_jacobians(filename=...)``, aligned by the names of the cells. Where it is
        given, ``obsm`` is not looked at.
    store_in_obs
        Write the columns; otherwise they are returned as a table.
    copy
        Return a changed copy instead of changing `adata`.
    key_added
        Prefix given to `fit`.

    Returns
    -------
    ``None``, the copy, or with ``store_in_obs=False`` the table. Columns ``jacobian_eig1_real``,
    ``jacobian_eig1_imag`` (absolute), ``jacobian_trace``: float64, 1 / time; ``jacobian_positive_evals``,
    ``jacobian_negative_evals``: int64; ``jacobian_rotational``: float64, 1 / time, where the file holds slopes or
    `adata` the field the eigenvalues were computed with.

    Raises
    ------
    MissingKeyError, ValueError
        If there is nothing to read, cells differ, or only some leading eigenvalues are stored.

    Examples
    --------
    >>> from scmods import hopfield
    >>> adata = hopfield.toggle(5, 8)
    >>> field = hopfield.fit(adata)
    >>> hopfield.compute_jacobians(adata)
    >>> hopfield.compute_jacobian_stats(adata, store_in_obs=False).columns[0]
    'jacobian_eig1_real'
    """
    import pandas as pd

    if filename is not None:
        with open_jacobians(filename) as file:
            settings, columns = file.header, _stats_of_file(file, adata)
    else:
        fix = "Compute them, `hopfield.compute_jacobians(adata)`, or name a file: filename='jacobians.h5'."
        _checks.key(adata, "obsm", Keys.eigenvalues, fix)
        settings = adata.uns.get(info_key(key_added), {})
        columns = _stats_of_obsm(adata, settings, key_added)
    if Keys.rotational not in columns and "x_floor" in settings:
        label = settings.get("cluster_key")
        field = stored_field(adata, key_added, label)
        if field is not None and field.fingerprint == settings["fingerprint"]:
            layer, floor = settings.get("layer"), float(settings["x_floor"])
            cells = read(adata, field, layer, cluster_key=label, x_floor=floor)
            columns[Keys.rotational] = _rotation(cells, torch.device("cpu"))
    if not store_in_obs:
        return pd.DataFrame(columns, index=adata.obs_names)
    adata = adata.copy() if copy else adata
    write_obs(adata, columns)
    return adata if copy else None


def _refuse_leading_only(n_values: int, n_genes: int, where: str) -> None:
    if n_values != n_genes:
        _checks.fail(
            f"{where} holds {n_values} leading eigenvalues of {n_genes}, which do not give counts and trace.",
            "`compute_jacobians` wrote both to `adata.obs`; or compute all again: keep='all'.",
        )


def _columns(values: np.ndarray, norm: np.ndarray) -> dict[str, np.ndarray]:
    found = summary(torch.as_tensor(values), torch.as_tensor(norm))
    names = (Keys.leading_real, Keys.leading_imag, Keys.positive, Keys.negative)
    out = {name: column.numpy() for name, column in zip(names, found, strict=True)}
    return out | {Keys.trace: values.real.sum(axis=1)}


def _stats_of_obsm(adata: AnnData, settings: Mapping[str, Any], key_added: str) -> dict[str, np.ndarray]:
    values = np.asarray(adata.obsm[Keys.eigenvalues]).astype(np.complex128)
    what = f"`adata.obsm[{Keys.eigenvalues!r}]`"
    _refuse_leading_only(values.shape[1], int(settings.get("n_genes", values.shape[1])), what)
    _checks.finite(what, np.abs(values), adata.obs_names)
    norm = np.sqrt((np.abs(values) ** 2).sum(axis=1))
    if norm_key(key_added) in adata.obs:
        norm = adata.obs[norm_key(key_added)].to_numpy(np.float64)
    index = order(torch.as_tensor(values), torch.as_tensor(norm)).numpy()
    return _columns(np.take_along_axis(values, index, axis=1), norm)


def _stats_of_file(file: JacobianFile, adata: AnnData) -> dict[str, np.ndarray]:
    rows = align(file, adata)
    _refuse_leading_only(file.n_values, len(file.genes or range(file.n_values)), f"'{file.name}'")
    size = max(1, 2**20 // max(1, file.n_values))
    found = []
    for start in range(0, file.n_cells, size):
        part = slice(start, min(start + size, file.n_cells))
        columns = _columns(file.eigenvalues(part), file.norm(part))
        found.append(columns | _rotation_of_file(file, part))
    return {name: np.concatenate([f[name] for f in found])[rows] for name in found[0]} if found else {}


def _rotation_of_file(file: JacobianFile, part: slice) -> dict[str, np.ndarray]:
    """Rotation from the slopes in the file; nothing where it holds none."""
    if "slopes" not in file.group or file.field is None:
        return {}
    slope, label = (np.asarray(file.group[name][part]) for name in ("slopes", "label"))
    out = np.empty(len(slope))
    for c in np.unique(label):
        one, on = file.field.cluster(file.field.clusters[c]), label == c
        out[on] = core.rotation(torch.as_tensor(slope[on]), one.w, one.regs).numpy()
    return {Keys.rotational: out}


def compute_rotational_part(
    adata: AnnData,
    spliced_key: str = "Ms",
    degradation_key: str = "gamma",
    cluster_key: str | None = "cell_type",
    device: str = "cpu",
    copy: bool = False,  # noqa: FBT001, FBT002 - the original's order
    *,
    key_added: str = "hopfield",
    x_floor: float = 0.0,
    block_size: int | None = None,
) -> AnnData | None:
    r"""Strength of local rotation, :math:`\|(J - J^T)/2\|_F`, of every cell, without any Jacobian.

    Parameters
    ----------
    adata
        Cells with a fitted field.
    spliced_key, degradation_key, cluster_key
        As in `compute_jacobians`.
    device
        Where the products are computed.
    copy
        Return a changed copy instead of changing `adata`.
    key_added
        Prefix given to `fit`.
    x_floor
        Expression is raised to this value.
    block_size
        Cells per block.

    Returns
    -------
    ``None`` or the copy, with ``obs['jacobian_rotational']``: float64, 1 / time, 0 if and only if the Jacobian of the
    cell is symmetric. It grows with the scale of the slopes; compare fractions of ``obs['hopfield_jacobian_norm']``.

    Notes
    -----
    O(cells * regulators^2), see `scmods.hopfield.core.rotation`.
    """
    cells = read_cells(adata, spliced_key, cluster_key, degradation_key, key_added, x_floor)
    found = _rotation(cells, device_of(device), block_size)
    adata = adata.copy() if copy else adata
    write_obs(adata, {Keys.rotational: found})
    return adata if copy else None


def _rotation(cells: Cells, device: torch.device, size: int | None = None) -> np.ndarray:
    out = np.empty(len(cells))
    for block in cells.blocks(asked_size(size)):
        x, field = on_device(block, device)
        out[block.rows] = core.rotation(field.slope(x), field.w, field.regs).cpu().numpy()
    return out
