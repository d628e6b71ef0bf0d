"""Example files for the own-data part of a workshop: the data that each chapter starts from, as files."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from anndata import AnnData

__all__ = ["write_example"]


def _h5ad(adata: AnnData, path: Path) -> Path:
    part = path.with_suffix(".part")
    adata.write_h5ad(part, compression="gzip")
    os.replace(part, path)
    return path


def write_example(chapter: str, dataset: str, folder: str | Path) -> list[Path]:
    """Write the example of a chapter; for ``scyan`` its marker table as well.

    Parameters
    ----------
    chapter
        Name of the chapter and of the file.
    dataset
        Data set that the file holds.
    folder
        Folder that takes it.

    Returns
    -------
    The files written.
    """
    from scmods import datasets

    folder = Path(folder)
    adata = datasets.load(dataset)
    files = []
    if chapter == "scyan":
        table = folder / "scyan_table.csv"
        adata.uns.pop("table").to_csv(table)
        files.append(table)
    return [_h5ad(adata, folder / f"{chapter}.h5ad"), *files]
