"""The layout of a file of Jacobians: a header, the field, and arrays with one row per cell."""

from __future__ import annotations

from importlib import metadata
from typing import Any

import numpy as np

from scmods.hopfield import _files
from scmods.hopfield.field import Field

FORMAT, VERSION = "scmods jacobians", 1


class JacobianWriter:
    """Write the Jacobians of some cells after the others; used by `compute_jacobians` and `save_jacobians`.

    Parameters
    ----------
    group
        The open, empty HDF5 or zarr group.
    field
        The field.
    cells
        Names of all cells.
    settings
        Entries of the header: cluster_key, layer, x_floor.
    compression
        None, ``"gzip"`` or ``"lzf"`` (HDF5 alone).
    """

    def __init__(
        self, group: Any, field: Field, cells: Any, settings: dict[str, Any], compression: str | None = None
    ) -> None:
        self.group, self.n_cells, self.compression = group, len(cells), compression
        header = {
            "cells": [str(c) for c in cells],
            "genes": list(field.genes),
            "clusters": list(field.clusters),
            "fingerprint": field.fingerprint,
            "package_version": metadata.version("scmods"),
            **settings,
        }
        _files.put_json(group, "header", header)
        for name, value in field._arrays().items():
            _files.put(group, f"field_{name}", value)
        # n_cells, n_genes and cluster_key are attributes that the original's files have too
        group.attrs.update(
            {"format": FORMAT, "version": VERSION, "n_cells": len(cells), "n_genes": len(field.genes)}
        )
        group.attrs["cluster_key"] = str(settings.get("cluster_key"))

    def write(self, rows: slice, **arrays: np.ndarray) -> None:
        """Write some cells; complex arrays become two, ``<name>_real`` and ``<name>_imag``.

        Parameters
        ----------
        rows
            Positions of the cells.
        arrays
            Arrays with these cells as first axis; the same names in every call.
        """
        for name, values in arrays.items():
            if np.iscomplexobj(values):
                self.write(rows, **{f"{name}_real": values.real, f"{name}_imag": values.imag})
                continue
            if name not in self.group:
                _files.create(
                    self.group, name, (self.n_cells, *values.shape[1:]), values.dtype, self.compression
                )
            if values.size:
                self.group[name][rows] = values
