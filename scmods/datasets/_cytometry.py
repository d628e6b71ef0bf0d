"""Mass cytometry: cells x markers, dense."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from scmods.datasets import _clean, _rdata, _registry

if TYPE_CHECKING:
    from anndata import AnnData

__all__ = ["aml_short", "debarcoding"]


def aml_short() -> AnnData:
    """Bone marrow by mass cytometry: 280 cells x 32 markers, 20 cells of each of 14 gated populations.

    Returns
    -------
    - ``X``: float32, dense; arcsinh-transformed and standardised marker values.
    - ``obs["cell_type"]``: the gated population; ``obs["subject"]``.
    - ``var["mean"]``, ``var["std"]``: what was subtracted and divided by.
    - ``obsm["X_umap"]``: as stored in the file.
    - ``uns["table"]``: populations x 14 markers; 1 positive, -1 negative, NaN unknown.

    Examples
    --------
    >>> from scmods import datasets
    >>> adata = datasets.aml_short()  # doctest: +SKIP
    >>> adata.shape, adata.uns["table"].shape  # doctest: +SKIP
    ((280, 32), (14, 14))
    """
    import anndata
    import pandas as pd

    adata = anndata.read_h5ad(_registry.fetch("aml_short.h5ad"))
    known = pd.read_csv(_registry.fetch("aml_table.csv")).set_index("Populations").astype(np.float32)
    known.index.name = None
    adata.X = np.asarray(adata.X, dtype=np.float32)
    adata.obs["cell_type"] = _clean.labels(adata.obs["cell_type"])
    adata.obs["subject"] = _clean.labels(adata.obs["subject"])
    adata.uns = {"table": known}
    return _clean.finish(
        adata, "aml_short", "X is arcsinh-transformed and standardised; 20 cells per population."
    )


def debarcoding() -> AnnData:
    """Barcoded samples by mass cytometry: 20,000 events x 6 palladium channels, without labels.

    Returns
    -------
    - ``X``: float32, dense; ion counts as measured, some just below zero, not transformed.
    - ``var["channel"]``: name of the detector.
    - ``uns["table"]``: 20 barcodes x 6 channels; 1 for the three channels that are on, -1 for the others.

    Examples
    --------
    >>> from scmods import datasets
    >>> datasets.debarcoding().shape  # doctest: +SKIP
    (20000, 6)
    """
    import anndata
    import pandas as pd

    frame = _rdata.read(_registry.fetch("debarcoding_events.rda"))
    code = _rdata.read(_registry.fetch("debarcoding_key.rda"))
    events = _rdata.table(frame.exprs)
    described = frame.parameters.data
    name_of = dict(zip(described["name"].astype(str), described["desc"].astype(str), strict=True))
    adata = anndata.AnnData(events.values.astype(np.float32))
    adata.obs_names = [f"event{i}" for i in range(adata.n_obs)]
    adata.var_names = [name_of[str(c)] for c in events.columns]
    adata.var["channel"] = [str(c) for c in events.columns]
    on = code.to_numpy(dtype=np.float32)
    masses = [f"BC{c}" for c in code.columns]
    adata.uns["table"] = pd.DataFrame(2 * on - 1, index=[str(i) for i in code.index], columns=masses)
    return _clean.finish(
        adata, "debarcoding", "X is not transformed: clip at 0 and take arcsinh(x / 5) or so first."
    )
