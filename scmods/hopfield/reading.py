"""What the fitted field says about every cell: its velocity, the effect of losing a regulator, non-normality."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from scmods import _arrays, _checks
from scmods.hopfield import checks, core
from scmods.hopfield.keys import Keys
from scmods.hopfield.knockouts import knock_out_ranking, knock_outs
from scmods.hopfield.normality import departure, reactivity
from scmods.hopfield.spectrum import Blocks, eigenvalues

if TYPE_CHECKING:
    import pandas as pd
    from anndata import AnnData

    from scmods.hopfield.field import Field

__all__ = ["knock_out_ranking", "knock_outs", "leading_period", "nonnormality", "reconstruct_velocity"]

ALL = "all cells"


def _velocity(adata: AnnData, layer: str, cells: checks.Cells) -> np.ndarray:
    """(cells, genes) velocity of the modelled genes, every value finite."""
    values = _arrays.read_rows(_arrays.matrix(adata, layer), slice(None))[:, cells.genes]
    bad = ~np.isfinite(values)
    if bad.any():
        i, j = np.argwhere(bad)[0]
        _checks.fail(
            f"`adata.layers[{layer!r}]` holds {int(bad.sum())} values that are NaN or infinite among the modelled",
            f"genes; first: gene {cells.field.genes[j]!r}, cell {str(adata.obs_names[i])!r}.",
            "Write it again, `hopfield.velocity(adata)`, or leave these genes out of the fit.",
        )
    return values


def _r2_table(
    v: np.ndarray, guess: np.ndarray, scale: np.ndarray, groups: dict[str, np.ndarray]
) -> pd.DataFrame:
    import pandas as pd

    rows = []
    for name, at in groups.items():
        if not len(at):
            continue
        error = np.square((v[at] - guess[at]) / scale).sum(axis=0)
        spread = np.square((v[at] - v[at].mean(axis=0)) / scale).sum(axis=0)
        moving = spread > 0
        pooled = 1 - error.sum() / spread.sum() if moving.any() else np.nan
        median = np.median(1 - error[moving] / spread[moving]) if moving.any() else np.nan
        rows.append((name, len(at), pooled, median))
    return pd.DataFrame(rows, columns=["cluster", "n_cells", "r2_pooled", "r2_median"]).set_index("cluster")


def reconstruct_velocity(
    adata: AnnData,
    *,
    field: Field | None = None,
    spliced_layer: str | None = "Ms",
    velocity_layer: str = "velocity",
    cluster_key: str | None = "cell_type",
    x_floor: float = 0.0,
    key_added: str = "hopfield",
) -> pd.DataFrame:
    r"""Velocity of the field at every cell, and how much of the given velocity it reproduces.

    Velocities are divided by the standard deviation of their gene over all cells first, so that strongly expressed
    genes count no more than others; genes of constant velocity are left out. With z the given and
    :math:`\hat z` the reproduced velocity so scaled:

    - ``r2_pooled`` :math:`= 1 - \sum_{cg}(z - \hat z)^2 / \sum_{cg}(z - \bar z_g)^2`, means over the cluster;
    - ``r2_median``: the same for every gene alone, median over the genes that vary in the cluster;
    - of one cell: :math:`1 - \sum_g (z - \hat z)^2 / \sum_g z^2`, against standing still.

    Parameters
    ----------
    adata
        Cells with a fitted field.
    field
        The field; that of ``uns[key_added]`` by default.
    spliced_layer
        Expression the field was fitted on; None for ``X``.
    velocity_layer
        Layer with the velocity to compare with.
    cluster_key
        Column of ``obs`` with the cluster of each cell; None where one field serves all.
    x_floor
        Expression is raised to this value first.
    key_added
        Prefix of the keys.

    Returns
    -------
    Table indexed by cluster, first row ``"all cells"``: ``n_cells``, ``r2_pooled``, ``r2_median``. 1 is perfect, 0 no
    better than the mean of the cluster, negative worse. Written (default keys): ``layers["hopfield_velocity"]``
    (cells, genes) float64, NaN for genes that are not modelled, and ``obs["hopfield_r2"]``, NaN where the given
    velocity is zero.

    Raises
    ------
    MissingKeyError, ValueError
        Missing slots, values that are not finite, no gene whose velocity varies.

    Notes
    -----
    Measured on the cells of the fit, so it rises with the number of regulators whatever they are.

    Examples
    --------
    >>> from scmods import hopfield
    >>> adata = hopfield.toggle(5, 8)
    >>> field = hopfield.fit(adata)
    >>> hopfield.reconstruct_velocity(adata)["r2_pooled"].round(3).tolist()
    [1.0, 1.0]
    """
    cells = checks.read(adata, field or key_added, spliced_layer, cluster_key=cluster_key, x_floor=x_floor)
    v = _velocity(adata, velocity_layer, cells)
    guess = np.full(v.shape, np.nan)
    for block in cells.blocks():
        guess[block.rows] = block.field.velocity(block.x).numpy()
    scale = v.std(axis=0)
    moving = scale > 0
    if not moving.any():
        _checks.fail(
            f"`adata.layers[{velocity_layer!r}]` is constant for all {len(scale)} modelled genes,",
            "so there is nothing to reproduce. Write it again: `hopfield.velocity(adata)`.",
        )
    groups = {ALL: np.arange(len(cells))}
    groups |= {c: np.flatnonzero(cells.labels == c) for c in cells.field.clusters}
    table = _r2_table(v[:, moving], guess[:, moving], scale[moving], groups)
    keys = Keys(key_added)
    full = np.full(adata.shape, np.nan)
    full[:, cells.genes] = guess
    adata.layers[keys.reconstructed] = full
    still = np.square(v[:, moving] / scale[moving]).sum(axis=1)
    error = np.square((v - guess)[:, moving] / scale[moving]).sum(axis=1)
    adata.obs[keys.r2] = 1 - np.divide(error, still, out=np.full(len(v), np.nan), where=still > 0)
    return table


def nonnormality(
    adata: AnnData,
    *,
    field: Field | None = None,
    spliced_layer: str | None = "Ms",
    cluster_key: str | None = "cell_type",
    x_floor: float = 0.0,
    key_added: str = "hopfield",
    copy: bool = False,
) -> AnnData | None:
    r"""How far every Jacobian is from a symmetric one, and what its eigenvalues hide.

    Parameters
    ----------
    adata
        Cells with a fitted field.
    field
        The field; that of ``uns[key_added]`` by default.
    spliced_layer
        Expression the field was fitted on; None for ``X``.
    cluster_key
        Column of ``obs`` with the cluster of each cell; None where one field serves all.
    x_floor
        Expression is raised to this value first.
    key_added
        Prefix of the keys.
    copy
        Return a changed copy and leave `adata` alone.

    Returns
    -------
    None, or the copy. Written to ``obs`` (default keys), float64:

    - ``hopfield_rotational_fraction``: :math:`\|(J - J^T)/2\|_F / \|J\|_F`, in [0, 1]; unlike the norm alone it can be
      compared between data sets;
    - ``hopfield_reactivity``: largest eigenvalue of :math:`(J + J^T)/2`, 1 / time: the fastest growth of any small
      change at this instant. Above 0 while all eigenvalues of J are below: changes grow before they decay;
    - ``hopfield_departure``: Henrici's :math:`\sqrt{\|J\|_F^2 - \sum|\lambda|^2}`, 1 / time; 0 only if J is normal.

    Raises
    ------
    MissingKeyError, ValueError
        Missing slots, values that are not finite.

    Notes
    -----
    Exact, without the genes x genes Jacobian: see `scmods.hopfield.normality`. With T regulators and R other genes,
    O(T^3 + R T^2) per cell and step of the reactivity, of which it takes about five to ten.

    Examples
    --------
    >>> from scmods import hopfield
    >>> adata = hopfield.toggle(5, 8)
    >>> field = hopfield.fit(adata)
    >>> hopfield.nonnormality(adata)
    >>> bool(adata.obs["hopfield_rotational_fraction"].between(0, 1).all())
    True
    """
    adata = adata.copy() if copy else adata
    cells = checks.read(adata, field or key_added, spliced_layer, cluster_key=cluster_key, x_floor=x_floor)
    out, division = np.zeros((3, len(cells))), {}
    width = max(1, len(cells.genes)) * max(1, len(cells.field.regulators))
    for block in cells.blocks(max(1, 2**23 // width)):
        f, slope = block.field, block.field.slope(block.x)
        if block.cluster not in division:
            division[block.cluster] = Blocks.of(f)
        values, size = eigenvalues(division[block.cluster], slope)
        turning = core.rotation(slope, f.w, f.regs)
        out[0, block.rows] = torch.where(size > 0, turning / size, 0.0).numpy()
        out[1, block.rows] = reactivity(slope, f.w, f.regs, f.gamma).numpy()
        out[2, block.rows] = departure(values, size).numpy()
    keys = Keys(key_added)
    for name, values in zip((keys.rotational_fraction, keys.reactivity, keys.departure), out, strict=True):
        adata.obs[name] = values
    return adata if copy else None


def leading_period(adata: AnnData, imag_key: str = "jacobian_eig1_imag") -> pd.Series:
    r"""Time of one turn of the leading eigenvalue of every cell, :math:`2\pi/|\mathrm{Im}\,\lambda|`.

    Parameters
    ----------
    adata
        Cells with the statistics of their Jacobians.
    imag_key
        Column of ``obs`` with the imaginary part.

    Returns
    -------
    One value per cell, in the time unit of the velocity; infinite where the leading eigenvalue is real.

    Raises
    ------
    MissingKeyError
        If the column is not there.

    Examples
    --------
    >>> from scmods import hopfield
    >>> adata = hopfield.toggle(5, 8)
    >>> field = hopfield.fit(adata)
    >>> hopfield.compute_jacobians(adata)
    >>> len(hopfield.leading_period(adata))
    40
    """
    _checks.key(adata, "obs", imag_key, "Compute it: `hopfield.compute_jacobian_stats(adata)`.")
    import pandas as pd

    imag = np.abs(_checks.numeric(f"`adata.obs[{imag_key!r}]`", adata.obs[imag_key].to_numpy()))
    turns: Any = np.divide(2 * np.pi, imag, out=np.full(len(imag), np.inf), where=imag > 0)
    return pd.Series(turns, index=adata.obs_names, name="period")
