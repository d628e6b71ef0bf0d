"""Recovery of planted modules: what `planted` hid, and how much of it a model or correlation finds."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from scmods import _checks
from scmods.bmlp import tools
from scmods.bmlp.frequency import INPUT, preprocess
from scmods.bmlp.keys import Keys
from scmods.bmlp.simulate import planted
from scmods.bmlp.versus import correlations

if TYPE_CHECKING:
    import pandas as pd
    from anndata import AnnData

__all__ = ["planted_precision", "planted_study"]

PLANTED_OFFSETS = (0.03, 0.1)  # leave-one-out takes the small ones here; the whole grid costs twice the time


def planted_precision(adata: AnnData, *, key_added: str = "bmlp") -> pd.DataFrame:
    """Share of planted genes among the top genes, for data of `planted` fitted with ``target="targets"``.

    Parameters
    ----------
    adata
        Annotated data after `fit`; ``uns["truth"]["module"]``, ``uns["bmlp"]``, ``varm["bmlp_modes"]``,
        ``varm["bmlp_linear"]``, ``obsm["targets"]`` and the matrix that was fitted are read.
    key_added
        Prefix given to `fit`.

    Returns
    -------
    Rows, named in the column ``target``: ``"square"`` (module 1), ``"product"`` (modules 2 and 3, both signs of
    eigenvalue: it takes one positive and one negative mode), ``"product, top mode"``, ``"mixed, quadratic"``
    (module 1), ``"mixed, linear"`` (module 4); columns ``model`` and ``correlation``, each counted over as many
    genes as are planted, and ``chance``.

    Raises
    ------
    MissingKeyError
        The data holds no planted modules, or was not fitted under this prefix.

    Examples
    --------
    >>> from scmods import bmlp
    >>> adata = bmlp.planted(120, 40, n_module=5)
    >>> model = bmlp.fit(adata, target="targets", split_key=None)
    >>> bmlp.planted_precision(adata)["target"].tolist()
    ['square', 'product', 'product, top mode', 'mixed, quadratic', 'mixed, linear']
    """
    import pandas as pd

    if "truth" not in adata.uns or "module" not in adata.uns["truth"]:
        _checks.fail(
            "`adata.uns['truth']` holds no planted modules.",
            "Simulate some: adata = datasets.load('planted').",
            kind=_checks.MissingKeyError,
        )
    info, keys = tools.info_of(adata, key_added), Keys(key_added)
    module = np.asarray(adata.uns["truth"]["module"])
    values, vectors = info["eigenvalues"], adata.varm[keys.modes]
    found = correlations(adata, target=info["target"], layer=info["layer"] or None)

    def both(o: int) -> np.ndarray:
        pair = [int(np.argmax(values[o])), int(np.argmin(values[o]))]
        return (vectors[:, pair, o] ** 2) @ np.abs(values[o][pair])

    cases = {
        "square": (vectors[:, 0, 0], found[:, 0], (1,)),
        "product": (both(1), found[:, 1], (2, 3)),
        "product, top mode": (vectors[:, 0, 1], found[:, 1], (2, 3)),
        "mixed, quadratic": (vectors[:, 0, 2], found[:, 2], (1,)),
        "mixed, linear": (adata.varm[keys.linear][:, 2], found[:, 2], (4,)),
    }
    rows = []
    for name, (weight, correlation, wanted) in cases.items():
        truth = np.isin(module, wanted)
        k = int(truth.sum())
        hits = [truth[np.argsort(-np.abs(w), kind="stable")[:k]].mean() for w in (weight, correlation)]
        rows.append({"target": name, "model": hits[0], "correlation": hits[1], "chance": k / len(truth)})
    return pd.DataFrame(rows)


def planted_study(
    n_seeds: int = 5, *, n_obs: int = 1500, counts: bool = False, seed: int = 0, **options: Any
) -> pd.DataFrame:
    """Precision on `n_seeds` simulations with planted modules, closed form against correlation.

    Parameters
    ----------
    n_seeds, seed
        Simulations, with seeds ``seed, seed + 1, ...``.
    n_obs, counts, options
        Arguments of `planted`; counts are normalised by `preprocess`.

    Returns
    -------
    The tables of `planted_precision` one below the other, with a column ``seed``.

    Examples
    --------
    >>> from scmods import bmlp
    >>> table = bmlp.planted_study(1, n_obs=120, n_vars=100)
    >>> len(table), "correlation" in table
    (5, True)
    """
    import pandas as pd

    found = []
    for one in range(seed, seed + _checks.integer("n_seeds", n_seeds)):
        adata = planted(n_obs, counts=counts, seed=one, **options)
        if counts:
            preprocess(adata)
        tools.fit(
            adata, target="targets", layer=INPUT if counts else None, split_key=None, offsets=PLANTED_OFFSETS
        )
        found.append(planted_precision(adata).assign(seed=one))
    return pd.concat(found, ignore_index=True)
