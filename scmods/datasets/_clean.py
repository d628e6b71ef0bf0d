"""What every loader does last: text names, categories, and where the data come from."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from anndata import AnnData

__all__ = ["finish", "labels"]


def labels(values: Any) -> Any:
    """A categorical of strings whose categories are those that occur; missing stays missing."""
    import pandas as pd

    column = pd.Series(np.asarray(values, dtype=object))
    text = column.where(column.isna(), column.astype(str))
    return pd.Categorical(text, categories=sorted(set(text.dropna())))


def finish(adata: AnnData, dataset: str, note: str) -> AnnData:
    """Write ``uns["source"]`` from the registry and refuse names that occur twice."""
    from scmods import _checks
    from scmods.datasets import _registry

    files = [e for e in _registry.entries().values() if e.dataset == dataset]
    adata.obs_names, adata.var_names = adata.obs_names.astype(str), adata.var_names.astype(str)
    adata.obs_names.name = adata.var_names.name = None
    _checks.unique_names("adata.obs_names", adata.obs_names)
    _checks.unique_names("adata.var_names", adata.var_names)
    adata.uns["source"] = {
        "dataset": dataset,
        "citation": files[0].citation,
        "licence": files[0].license,
        "url": " ".join(e.url for e in files),
        "note": note,
    }
    return adata
