"""Spillover between detectors: read it from a file, and remove it."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from scmods import _arrays, _checks

if TYPE_CHECKING:
    import pandas as pd
    from anndata import AnnData

    from scmods.scyan._fcs import FcsFile

__all__ = ["SPILLOVER", "compensate", "stored_spillover"]

SPILLOVER = "spillover"
SPILL_KEYWORDS = ("$SPILLOVER", "SPILL", "SPILLOVER")


def stored_spillover(adata: AnnData, file: FcsFile, path: Path) -> None:
    """Put the matrix of a file, if it has one, into ``varp["spillover"]``, in the order of the markers.

    Parameters
    ----------
    adata
        The events of the file; ``var["channel"]`` names the detectors.
    file
        What was read.
    path
        The file, for messages.

    Examples
    --------
    >>> import anndata, numpy as np, pandas as pd
    >>> from types import SimpleNamespace
    >>> from scmods import scyan
    >>> names = ["FITC-A", "PE-A"]
    >>> adata = anndata.AnnData(np.ones((1, 2)), var=pd.DataFrame({"channel": names}, index=["CD3", "CD19"]))
    >>> file = SimpleNamespace(keywords={"$SPILLOVER": "2,FITC-A,PE-A,1,0.2,0,1"}, channels=names)
    >>> scyan.stored_spillover(adata, file, "my.fcs")
    >>> adata.varp["spillover"].tolist()
    [[1.0, 0.2], [0.0, 1.0]]
    """
    text = next((file.keywords[k] for k in SPILL_KEYWORDS if file.keywords.get(k, "").strip()), None)
    if text is None:
        return
    parts = [p.strip() for p in text.split(",")]
    n = int(parts[0]) if parts[0].isdigit() else -1
    if n < 1 or len(parts) != 1 + n + n * n:
        _checks.fail(
            f"'{path}' has a $SPILLOVER that starts with {parts[0]!r} and has {len(parts)} parts,",
            "but n, n names and n x n numbers are expected.",
        )
    at = {c: i for i, c in enumerate(adata.var["channel"])}
    names, small = parts[1 : 1 + n], np.array(parts[1 + n :], dtype=np.float64).reshape(n, n)
    # a name may be the number of the channel
    names = [file.channels[int(c) - 1] if c not in file.channels and c.isdigit() else c for c in names]
    held = [i for i, c in enumerate(names) if c in at]
    matrix = np.eye(adata.n_vars)
    place = [at[names[i]] for i in held]
    matrix[np.ix_(place, place)] = small[np.ix_(held, held)]
    adata.varp[SPILLOVER] = matrix


def compensate(
    adata: AnnData, *, spillover: pd.DataFrame | None = None, copy: bool = False
) -> AnnData | None:
    r"""Remove spillover: solve :math:`x = y S` for the signal y of every event.

    Parameters
    ----------
    adata
        Events with intensities in ``X``, not transformed.
    spillover
        DataFrame, markers x markers: row i says which share of the signal of marker i is seen in every column. By
        default ``varp["spillover"]``. Markers it lacks stay as they are.
    copy
        Return a changed copy and leave `adata` alone.

    Returns
    -------
    None, or the copy. Written: ``X`` (float32, dense), ``uns["scyan_compensated"]`` (True).

    Raises
    ------
    MissingKeyError, ValueError
        No matrix; a matrix whose names are not those of markers, whose rows and columns differ, that is not finite or
        singular; events that were compensated or transformed before.

    Examples
    --------
    >>> import anndata, pandas as pd
    >>> names = ["FITC", "PE"]
    >>> adata = anndata.AnnData(np.array([[100.0, 20.0]], dtype=np.float32), var=pd.DataFrame(index=names))
    >>> compensate(adata, spillover=pd.DataFrame([[1, 0.2], [0, 1]], index=names, columns=names))
    >>> adata.X.round(3).tolist()
    [[100.0, 0.0]]
    """
    import pandas as pd

    for key, what in (("scyan_compensated", "compensated"), ("scyan_transform", "transformed")):
        if key in adata.uns:
            _checks.fail(f"`adata` was {what} before (`adata.uns[{key!r}]`). Read the file again first.")
    if spillover is None:
        _checks.key(adata, "varp", SPILLOVER, "Give a matrix: spillover=DataFrame(...).")
        spillover = pd.DataFrame(adata.varp[SPILLOVER], index=adata.var_names, columns=adata.var_names)
    names, s = _spill_matrix(adata, spillover)
    adata = adata.copy() if copy else adata
    x = _arrays.dense(_arrays.matrix(adata))
    at = adata.var_names.get_indexer(names)
    x[:, at] = np.linalg.solve(s.T, x[:, at].T).T
    adata.X = x.astype(np.float32)
    adata.uns["scyan_compensated"] = True
    return adata if copy else None


def _spill_matrix(adata: AnnData, spillover: pd.DataFrame) -> tuple[list[str], np.ndarray]:
    rows, columns = ([str(n) for n in axis] for axis in (spillover.index, spillover.columns))
    if sorted(rows) != sorted(columns):
        _checks.fail(
            f"`spillover` has rows {_checks.listing(rows, 5)}, but columns {_checks.listing(columns, 5)}."
        )
    missing = [n for n in rows if n not in adata.var_names]
    if missing:
        _checks.fail(
            f"{len(missing)} names of `spillover` are not in `adata.var_names`: {_checks.listing(missing, 5)}.",
            _checks.nearest(missing[0], adata.var_names),
            "Rename them to the markers: `spillover.rename(index=names, columns=names)`.",
            kind=_checks.MissingKeyError,
        )
    named = spillover.set_axis(rows, axis=0).set_axis(columns, axis=1)
    s = named.loc[rows, rows].to_numpy(dtype=np.float64)
    if not np.isfinite(s).all():
        i, j = np.argwhere(~np.isfinite(s))[0]
        _checks.fail(
            f"`spillover` is {s[i, j]:g} for {rows[i]!r} in {rows[j]!r}, but must be finite. Write 0 for none."
        )
    if np.linalg.cond(s) > 1e8:
        _checks.fail(
            "`spillover` is singular or nearly so: two markers have the same pattern. Check its rows."
        )
    return rows, s
