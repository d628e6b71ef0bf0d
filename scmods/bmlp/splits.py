"""Which cells a model learns from, stops by and is judged on."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from scmods import _checks
from scmods.bmlp.keys import Keys

if TYPE_CHECKING:
    from anndata import AnnData

__all__ = ["parts", "split"]


def split(
    adata: AnnData,
    *,
    fractions: tuple[float, float, float] = (0.7, 0.15, 0.15),
    cluster_key: str | None = None,
    seed: int = 0,
    key_added: str = "bmlp",
    copy: bool = False,
) -> AnnData | None:
    """Divide the cells at random into train, val and test: ``obs["bmlp_split"]``.

    Parameters
    ----------
    adata
        Annotated data; only its number of cells and, where given, ``obs[cluster_key]`` are read.
    fractions
        Shares of train, val and test, adding up to 1; each set gets at least one cell.
    cluster_key
        Column of labels to divide each class alike; classes need three cells.
    seed
        Seed of the order.
    key_added, copy
        Prefix of the key; return a changed copy instead.

    Returns
    -------
    ``None`` or the copy, with the categorical column.

    Raises
    ------
    ValueError
        Fractions that are not positive or do not add up to 1; too few cells; classes that are too small.

    Examples
    --------
    >>> from scmods import bmlp
    >>> adata = bmlp.planted(100, 40, n_module=5)
    >>> bmlp.split(adata)
    >>> adata.obs["bmlp_split"].value_counts().loc[["train", "val", "test"]].tolist()
    [70, 15, 15]
    """
    shares = np.atleast_1d(np.asarray(fractions, dtype=object))
    wrong = [
        s for s in shares if isinstance(s, bool) or not isinstance(s, int | float | np.number) or not s > 0
    ]
    if len(shares) != 3 or wrong or not abs(sum(shares) - 1) <= 1e-9:
        _checks.fail(f"`fractions` is {fractions}, but must be three positive shares that add up to 1.",
                     "Write fractions=(0.7, 0.15, 0.15).")  # fmt: skip
    if adata.n_obs < 3:
        _checks.fail(f"There are {adata.n_obs} cells, but a split into three sets needs at least 3.")
    adata = adata.copy() if copy else adata
    rng = np.random.default_rng(_checks.integer("seed", seed, 0))
    groups = np.zeros(adata.n_obs) if cluster_key is None else _checks.labels(adata, cluster_key, 3)
    out = np.empty(adata.n_obs, dtype=object)
    for group in np.unique(groups.astype(str)):
        rows = rng.permutation(np.flatnonzero(groups.astype(str) == group))
        val = min(max(1, round(fractions[1] * len(rows))), len(rows) - 2)
        test = min(max(1, round(fractions[2] * len(rows))), len(rows) - val - 1)
        out[rows[:val]], out[rows[val : val + test]], out[rows[val + test :]] = "val", "test", "train"
    import pandas as pd

    adata.obs[Keys(key_added).split] = pd.Categorical(out, ["train", "val", "test"])
    return adata if copy else None


def parts(adata: AnnData, split_key: str) -> dict[str, np.ndarray]:
    """Row numbers of train, val and test; refuses a missing column, other names and empty sets."""
    _checks.key(adata, "obs", split_key, "Run `bmlp.split(adata)` first.")
    missing = int(adata.obs[split_key].isna().sum())
    if missing:
        _checks.fail(
            f"`adata.obs[{split_key!r}]` has {missing} of {adata.n_obs} values missing. Every cell needs one.",
            "Split anew: bmlp.split(adata).",
        )
    column = adata.obs[split_key].astype(str).to_numpy()
    for value in np.unique(column):
        _checks.one_of(f"adata.obs[{split_key!r}]", value, ("train", "val", "test"))
    rows = {name: np.flatnonzero(column == name) for name in ("train", "val", "test")}
    for name, found in rows.items():
        if len(found) == 0:
            _checks.fail(
                f"`adata.obs[{split_key!r}]` has no {name!r} cells; all three sets are needed.",
                "Split anew: bmlp.split(adata, fractions=(0.7, 0.15, 0.15)).",
            )
    return rows
