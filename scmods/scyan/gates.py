"""Gates before labelling: single cells by DNA or pulse shape, living cells by a stain; masks, nothing is written."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from scmods import _arrays, _checks
from scmods.scyan.mixture import two_components

if TYPE_CHECKING:
    import pandas as pd
    from anndata import AnnData

__all__ = ["gate_dna", "gate_live", "gate_singlets"]

MAD = 1.4826  # makes the median absolute deviation a standard deviation of Gaussian values
BINS = 256
APART = 2.0  # distance of two means in pooled standard deviations from which they are two groups


def _column(adata: AnnData, name: str, argument: str) -> np.ndarray:
    """A numeric column of obs, or a marker of X, as float64; finite."""
    if adata.n_obs < 4:
        _checks.fail(
            f"`adata` has {adata.n_obs} cells, but a gate needs at least 4. Look at the filter before."
        )
    if name in adata.obs:
        values = _checks.numeric(f"`adata.obs[{name!r}]`", adata.obs[name].to_numpy())
    elif name in adata.var_names:
        matrix = _arrays.matrix(adata)
        at = adata.var_names.get_loc(name)
        values = np.concatenate([block[:, at] for _, block in _arrays.blocks(matrix)])
    else:
        have = [*map(str, adata.obs.columns), *map(str, adata.var_names)]
        _checks.fail(
            f"`{argument}` is {name!r}, neither a column of `adata.obs` nor a marker.",
            f"Available: {_checks.listing(have, 30)}.",
            _checks.nearest(name, have),
            kind=_checks.MissingKeyError,
        )
    _checks.finite(f"The column {name!r}", values, list(adata.obs_names))
    return values


def _mask(adata: AnnData, keep: np.ndarray, name: str) -> pd.Series:
    import pandas as pd

    return pd.Series(keep, index=adata.obs_names, name=name)


def _mode(x: np.ndarray) -> float:
    """Where the values are densest: a histogram smoothed by the rule of Silverman."""
    low, high = np.quantile(x, [0.001, 0.999])
    if high <= low:
        return float(np.median(x))
    counts, edges = np.histogram(x, bins=BINS, range=(low, high))
    q1, q3 = np.quantile(x, [0.25, 0.75])
    spread = min(x.std(), (q3 - q1) / 1.34) or x.std()
    width = 0.9 * spread * len(x) ** -0.2 / (edges[1] - edges[0])
    steps = np.arange(-BINS, BINS + 1)
    kernel = np.exp(-0.5 * (steps / max(width, 0.5)) ** 2)
    smooth = np.convolve(counts, kernel)[BINS : 2 * BINS]
    return float(0.5 * (edges[:-1] + edges[1:])[smooth.argmax()])


def gate_dna(adata: AnnData, dna: str = "DNA1", *, n_mads: float = 4.0) -> pd.Series:
    """Keep events with the DNA content of one cell; for mass cytometry.

    The densest content is that of one cell. Its spread is measured on the side of lower content within half a
    doubling, where no doublets are; events further than `n_mads` spreads from it are left out, on the upper side at
    most a factor of 1.5, half way to two cells.

    Parameters
    ----------
    adata
        Events.
    dna
        Column of ``obs``, or marker, with the intensity of the DNA intercalator, not transformed.
    n_mads
        Width of the gate in robust standard deviations of the logarithm.

    Returns
    -------
    Boolean Series, True for single cells. Apply it with ``adata[mask].copy()``.

    Raises
    ------
    MissingKeyError, ValueError
        No such column; values that are not finite; no value above 0; too few cells.

    Examples
    --------
    >>> from scmods.scyan.simulate import cytometry
    >>> adata = cytometry(1000, 6, 8, doublets=0.1, raw=True)
    >>> two = (adata.obs["cell_type"] == "doublet").to_numpy()
    >>> keep = gate_dna(adata, "dna").to_numpy()
    >>> bool(keep[~two].mean() > 0.98), bool(keep[two].mean() < 0.1)
    (True, True)
    """
    _checks.number("n_mads", n_mads, 0.1)
    values = _column(adata, dna, "dna")
    lit = values > 0
    if lit.sum() < 4:
        _checks.fail(f"The column {dna!r} has {int(lit.sum())} values above 0, so it holds no DNA signal.")
    log = np.log(np.where(lit, values, 1.0))
    mode = _mode(log[lit])
    below = log[lit & (log <= mode) & (log > mode - 0.5 * np.log(2))]
    spread = MAD * float(np.median(mode - below)) if len(below) else 0.0
    upper = min(n_mads * spread, np.log(1.5))
    keep = lit & (log >= mode - n_mads * spread) & (log <= mode + upper)
    return _mask(adata, keep, "single_cell")


def gate_singlets(
    adata: AnnData, area: str = "FSC-A", height: str = "FSC-H", *, n_mads: float = 4.0
) -> pd.Series:
    """Keep events whose pulse has the shape of one cell; for flow cytometry.

    Two cells that pass together make a longer pulse: more area at the same height. Events are kept while the
    logarithm of area / height is within `n_mads` robust standard deviations of its median.

    Parameters
    ----------
    adata
        Events.
    area, height
        Columns of ``obs``, or markers, not transformed.
    n_mads
        Width of the gate.

    Returns
    -------
    Boolean Series, True for single cells; False where area or height is not above 0.

    Raises
    ------
    MissingKeyError, ValueError
        No such column; values that are not finite; no event with both above 0; too few cells.

    Examples
    --------
    >>> import anndata, pandas as pd
    >>> pulse = pd.DataFrame({"FSC-A": [10.0, 21.0, 31.0, 42.0, 40.0], "FSC-H": [10.0, 20.0, 30.0, 40.0, 20.0]})
    >>> gate_singlets(anndata.AnnData(obs=pulse.set_axis(list("abcde")))).tolist()
    [True, True, True, True, False]
    """
    _checks.number("n_mads", n_mads, 0.1)
    a, h = _column(adata, area, "area"), _column(adata, height, "height")
    lit = (a > 0) & (h > 0)
    if not lit.any():
        _checks.fail(
            f"No event has both {area!r} and {height!r} above 0; are they transformed? Use raw intensities."
        )
    ratio = np.log(np.where(lit, a, 1.0) / np.where(lit, h, 1.0))
    middle = float(np.median(ratio[lit]))
    spread = MAD * float(np.median(np.abs(ratio[lit] - middle)))
    return _mask(adata, lit & (np.abs(ratio - middle) <= n_mads * spread + 1e-12), "single_cell")


def gate_live(adata: AnnData, stain: str = "viability", *, cofactor: float = 5.0) -> pd.Series:
    """Keep events that a stain of dead cells left dark.

    The threshold lies where the two components of a mixture of ``arcsinh(x / cofactor)`` are equally probable.

    Parameters
    ----------
    adata
        Events.
    stain
        Column of ``obs``, or marker, not transformed; bright means dead.
    cofactor
        5 for mass cytometry, about 150 for flow cytometry.

    Returns
    -------
    Boolean Series, True for living cells.

    Raises
    ------
    MissingKeyError, ValueError
        No such column; values that are constant or not finite; too few cells.

    Warns
    -----
    NumericalWarning
        If there are no two groups (means closer than two standard deviations); all cells are kept then.

    Examples
    --------
    >>> import anndata, pandas as pd
    >>> stain = pd.DataFrame({"viability": [1.0, 2.0, 1.5, 0.5, 300.0, 400.0]}, index=list("abcdef"))
    >>> gate_live(anndata.AnnData(obs=stain)).tolist()
    [True, True, True, True, False, False]
    """
    _checks.number("cofactor", cofactor, 1e-12)
    values = _column(adata, stain, "stain")
    if values.min() == values.max():
        _checks.fail(
            f"The column {stain!r} has the value {values[0]:g} in every cell, so it tells nothing apart."
        )
    y = np.arcsinh(values / cofactor)[:, None]
    fitted = two_components(y)
    apart = (fitted.mean[1, 0] - fitted.mean[0, 0]) / np.sqrt((fitted.std[:, 0] ** 2).mean())
    if apart < APART:
        _checks.warn(
            f"The stain {stain!r} shows no two groups (means {apart:.1f} standard deviations apart); all are kept."
        )
        return _mask(adata, np.ones(len(y), dtype=bool), "live")
    return _mask(adata, y[:, 0] <= fitted.thresholds()[0], "live")
