"""Simulated regulatory circuits whose true interactions are known (dyngen)."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from scmods.datasets import _clean, _registry

if TYPE_CHECKING:
    from anndata import AnnData
    from scipy import sparse

__all__ = ["dyngen_bifurcating", "dyngen_binary_tree", "dyngen_cycle", "dyngen_linear"]


def _counts(path: Path) -> sparse.csr_matrix:
    from scipy import io, sparse

    return sparse.csr_matrix(io.mmread(path), dtype=np.float32)


def _circuit(name: str) -> AnnData:
    import anndata
    import pandas as pd

    dataset = f"dyngen_{name}"
    parts = "spliced.mtx unspliced.mtx W_true.npy tf_mask.npy cell_info.csv genes.txt cells.txt".split()
    path = {part: _registry.fetch(f"{dataset}_{part}") for part in parts}
    info = pd.read_csv(path["cell_info.csv"]).set_index("cell_id")
    adata = anndata.AnnData(_counts(path["spliced.mtx"]))
    adata.obs_names = path["cells.txt"].read_text(encoding="utf-8").split()
    adata.var_names = path["genes.txt"].read_text(encoding="utf-8").split()
    info = info.loc[adata.obs_names]
    adata.layers["spliced"] = adata.X.copy()
    adata.layers["unspliced"] = _counts(path["unspliced.mtx"])
    adata.obs["simulation"] = _clean.labels(info["simulation_i"].astype(str))
    adata.obs["sim_time"] = info["sim_time"].to_numpy(dtype=np.float64)
    adata.obs["sim_step"] = info["step_ix"].to_numpy(dtype=np.int64)
    adata.var["transcription_factor"] = np.load(path["tf_mask.npy"], allow_pickle=False)
    adata.varp["true_interactions"] = np.load(path["W_true.npy"], allow_pickle=False).astype(np.float32)
    adata.uns["truth"] = {
        "interactions": "varp['true_interactions']",
        "axes": "row: target, column: regulator",
    }
    return _clean.finish(adata, dataset, "Simulated; X holds spliced molecule counts, not logged.")


def dyngen_bifurcating() -> AnnData:
    """Simulated circuit with one lineage that splits in two; see `dyngen_linear` for the slots.

    Examples
    --------
    >>> from scmods import datasets
    >>> datasets.dyngen_bifurcating().n_obs  # doctest: +SKIP
    500
    """
    return _circuit("bifurcating")


def dyngen_binary_tree() -> AnnData:
    """Simulated circuit with a lineage that splits twice; see `dyngen_linear` for the slots.

    Examples
    --------
    >>> from scmods import datasets
    >>> datasets.dyngen_binary_tree().n_obs  # doctest: +SKIP
    500
    """
    return _circuit("binary_tree")


def dyngen_cycle() -> AnnData:
    """Simulated circuit with a closed cycle; see `dyngen_linear` for the slots.

    Examples
    --------
    >>> from scmods import datasets
    >>> datasets.dyngen_cycle().n_obs  # doctest: +SKIP
    500
    """
    return _circuit("cycle")


def dyngen_linear() -> AnnData:
    """Simulated circuit with one lineage without a branch: 500 cells x about 110 genes, and the truth.

    Returns
    -------
    - ``X`` and ``layers["spliced"]``, ``layers["unspliced"]``: float32 CSR, molecule counts.
    - ``obs["simulation"]`` (category), ``obs["sim_time"]``: which run and when; ``obs["sim_step"]``.
    - ``var["transcription_factor"]``: True for the factors of the circuit.
    - ``varp["true_interactions"]``: row: target, column: regulator; 1 activates, -1 represses.
    - ``uns["truth"]``: where the truth is and how to read it.

    Examples
    --------
    >>> from scmods import datasets
    >>> adata = datasets.dyngen_linear()  # doctest: +SKIP
    >>> adata.n_obs, "true_interactions" in adata.varp  # doctest: +SKIP
    (500, True)
    """
    return _circuit("linear")
