"""Maps of the cells: frequencies, classes, and any value per cell."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from scmods import _checks, _figures
from scmods.bmlp import plots_common as common
from scmods.bmlp.keys import FreqKeys

if TYPE_CHECKING:
    from anndata import AnnData
    from plotly.graph_objects import Figure

__all__ = ["plot_cells", "plot_clusters", "plot_freq_scatter", "plot_frequencies"]

SYMBOLS = ("circle", "diamond", "square", "triangle-up")
MOST_CLASSES = len(SYMBOLS) * len(_figures.CATEGORICAL)


def _frequencies(adata: AnnData, key_added: str) -> tuple[np.ndarray, np.ndarray]:
    """Stored vectors (cells, freqs) and eigenvalues (freqs,)."""
    keys = FreqKeys(key_added)
    added = "" if key_added == "freq" else f", key_added={key_added!r}"
    fix = f"Run `bmlp.frequencies(adata{added})` first."
    _checks.key(adata, "obsm", keys.vectors, fix)
    _checks.key(adata, "uns", keys.values, fix)
    vectors = _checks.numeric(f"`adata.obsm[{keys.vectors!r}]`", adata.obsm[keys.vectors])
    return vectors, _checks.numeric(f"`adata.uns[{keys.values!r}]`", adata.uns[keys.values])


def _told(values: np.ndarray) -> str:
    low, high = common.number(values.min()), common.number(values.max())
    return f"from {low} to {high}, above 0 in {np.mean(values > 0):.0%} of the cells"


def _limit(values: np.ndarray, quantile: float = 1.0) -> float:
    """Largest size to colour; never 0, so that a constant map has a valid scale."""
    size = np.abs(values)
    return float(np.quantile(size, quantile)) or float(size.max()) or 1.0


def _map(fig: Figure, xy: np.ndarray, color: np.ndarray, raw: np.ndarray, label: str, **place: Any) -> None:
    """Add one coloured map that uses the colour axis of the layout."""
    import plotly.graph_objects as go

    fig.add_trace(
        go.Scatter(
            x=xy[:, 0], y=xy[:, 1], mode="markers", showlegend=False, customdata=raw.astype(np.float32),
            marker=common.marker(len(xy), color=color.astype(np.float32), coloraxis="coloraxis"),
            hovertemplate=f"{label} " + "%{customdata:.3g}<extra></extra>",
        ),
        **place,
    )  # fmt: skip


def plot_frequencies(
    adata: AnnData,
    *,
    outputs: int | Sequence[int] | None = None,
    basis: str | None = None,
    key_added: str = "freq",
    ncols: int = 3,
) -> Figure:
    """Small maps of the frequencies, coarse to fine.

    Parameters
    ----------
    adata
        Annotated data after `frequencies`.
    outputs
        Numbers of the frequencies, from 0; all by default.
    basis
        Key of ``obsm`` whose first two columns place the cells; by default ``"X_umap"`` if it is stored, else
        ``"X_pca"``, else the first two frequencies.
    key_added
        Prefix given to `frequencies`.
    ncols
        Panels per row.

    Returns
    -------
    Figure with one panel per frequency and its eigenvalue above. Colours are the value over the largest absolute
    value of the panel, so that 0 is grey and all panels share one scale; the sign of a frequency is arbitrary.
    At most 5,000 points in all panels together.

    Raises
    ------
    MissingKeyError
        If the frequencies or `basis` are not stored.
    ValueError, TypeError
        If a frequency does not exist, or `basis` has fewer than two columns.

    Examples
    --------
    >>> from scmods import bmlp
    >>> adata = bmlp.planted(120, 40, n_module=5)
    >>> bmlp.frequencies(adata, n_comps=2)
    >>> fig = bmlp.plot_frequencies(adata, basis="X_freq")
    >>> len(fig.data)
    2
    """
    vectors, values = _frequencies(adata, key_added)
    which = common.chosen(outputs, vectors.shape[1])
    _checks.integer("ncols", ncols)
    xy, axes = common.points(adata, basis, key_added)
    rows = common.grid(len(which), ncols)[0]
    keep = _figures.thin(adata.n_obs, _figures.MAX_POINTS // len(which))
    told = "; ".join(
        f"frequency {o}, eigenvalue {common.number(values[o])}, {_told(vectors[:, o])}" for o in which
    )
    fig = _figures.figure(
        title="Frequencies of the cell graph",
        alt=f"Maps of {len(which)} frequencies, each for {adata.n_obs} cells over "
        f"{common.listed(axes)}, blue below 0, red above 0: {told}." + common.drawn(adata.n_obs, len(keep)),
        height=90 + 260 * rows,
        coloraxis=common.color_axis(1.0, "Value / largest |value| of the panel"),
    )
    titles = [f"Frequency {o}, λ = {common.number(values[o])}" for o in which]
    where = common.panels(fig, len(which), ncols, titles, *axes)
    for o, (row, col) in zip(which, where, strict=True):
        raw = vectors[keep, o]
        _map(fig, xy[keep], raw / _limit(vectors[:, o]), raw, f"Frequency {o}:", row=row, col=col)
    fig.update_xaxes(showticklabels=False, showgrid=False)
    fig.update_yaxes(showticklabels=False, showgrid=False)
    return fig


def plot_freq_scatter(
    adata: AnnData, freq_idx: int = 0, *, basis: str | None = None, key_added: str = "freq"
) -> Figure:
    """One frequency over a map of the cells, its eigenvalue in the title.

    Parameters
    ----------
    adata
        Annotated data after `frequencies`.
    freq_idx
        Number of the frequency, from 0.
    basis, key_added
        As for `plot_frequencies`.

    Returns
    -------
    Figure with one point per cell (at most 5,000) and a scale that is symmetric about 0.

    Raises
    ------
    MissingKeyError, ValueError, TypeError
        As for `plot_frequencies`.

    Examples
    --------
    >>> from scmods import bmlp
    >>> adata = bmlp.planted(120, 40, n_module=5)
    >>> bmlp.frequencies(adata, n_comps=2)
    >>> fig = bmlp.plot_freq_scatter(adata, 0, basis="X_freq")
    >>> len(fig.data)
    1
    """
    vectors, values = _frequencies(adata, key_added)
    (which,) = common.chosen(freq_idx, vectors.shape[1], "freq_idx")
    title = f"Frequency {which}, λ = {common.number(values[which])}"
    label = f"Frequency {which} (unit norm)"
    return _one_map(adata, vectors[:, which], title, label, basis, key_added=key_added)


def plot_cells(
    adata: AnnData,
    values: Any,
    *,
    title: str,
    label: str,
    basis: str | None = None,
    diverging: bool = True,
    quantile: float = 1.0,
) -> Figure:
    """Any value per cell over a map of the cells, such as the share of a gene or the score of a module.

    Parameters
    ----------
    adata
        Annotated data with a basis.
    values
        (cells,) numbers in the order of the cells; a pandas Series must carry the names of the cells.
    title, label
        Title of the figure, and of the colour bar with the unit.
    basis
        As for `plot_frequencies`.
    diverging
        Scale symmetric about 0. ``False``: from the smallest to the largest value.
    quantile
        Colours end at this quantile of the absolute values (of the values if not `diverging`), so that a few
        extreme cells do not leave the others grey; values beyond have the last colour.

    Returns
    -------
    Figure with one point per cell (at most 5,000).

    Raises
    ------
    MissingKeyError, ValueError, TypeError
        Missing basis; values that are no numbers, not finite, too few or too many, or of other cells.

    Examples
    --------
    >>> from scmods import bmlp
    >>> adata = bmlp.planted(120, 40, n_module=5)
    >>> bmlp.frequencies(adata, n_comps=2)
    >>> fig = bmlp.plot_cells(adata, adata.X[:, 0], title="One gene", label="expression", basis="X_freq")
    >>> fig.layout.title.text
    'One gene'
    """
    _checks.number("quantile", quantile, 0.5, 1.0)
    index = getattr(values, "index", None)
    if index is not None and not callable(index) and list(index) != list(adata.obs_names):
        _checks.fail(
            "`values` carries other names than the cells, or another order.",
            "Bring it into order first: values.reindex(adata.obs_names).",
        )
    array = _checks.numeric("`values`", values)
    if array.shape != (adata.n_obs,):
        _checks.fail(
            f"`values` has shape {array.shape}, but must hold one number for each of the {adata.n_obs} cells.",
            "Take one column: values[:, 0].",
        )
    _checks.finite("`values`", array, adata.obs_names)
    return _one_map(adata, array, title, label, basis, diverging=diverging, quantile=quantile)


def _one_map(
    adata: AnnData, values: np.ndarray, title: str, label: str, basis: str | None, *, key_added: str = "freq",
    diverging: bool = True, quantile: float = 1.0,
) -> Figure:  # fmt: skip
    xy, axes = common.points(adata, basis, key_added)
    keep = _figures.thin(adata.n_obs)
    if diverging:
        scale, how = common.color_axis(_limit(values, quantile), label), "blue below 0, red above 0"
    else:
        low, high = float(values.min()), float(np.quantile(values, quantile))
        scale, how = common.color_axis(max(high, low + 1e-12), label, low), "dark is low, bright is high"
    cut = f" Colours end at the {quantile:.0%} quantile." if quantile < 1 else ""
    fig = _figures.figure(
        title=title,
        alt=f"{common.sentence(title)} Scatter of {adata.n_obs} cells over {common.listed(axes)}. Colour is {label}, "
        f"{_told(values)}; {how}.{cut}{common.drawn(adata.n_obs, len(keep))}",
        x=axes[0], y=axes[1], coloraxis=scale,
    )  # fmt: skip
    _map(fig, xy[keep], values[keep], values[keep], f"{label}:")
    return fig


def _classes(adata: AnnData, cluster_key: str) -> tuple[list[str], np.ndarray]:
    """Names in their own order and the class of every cell; the smallest beyond what can be told apart are joined."""
    _checks.key(adata, "obs", cluster_key, "Name the column of cell labels.")
    column = adata.obs[cluster_key]
    labels = np.where(column.isna(), "no label", column.astype(str))
    names = [str(c) for c in column.cat.categories] if hasattr(column, "cat") else sorted(set(labels))
    names = [n for n in dict.fromkeys([*names, "no label"]) if (labels == n).any()]
    if len(names) > MOST_CLASSES:
        sizes = np.array([(labels == n).sum() for n in names])
        small = {names[i] for i in np.argsort(-sizes, kind="stable")[MOST_CLASSES - 1 :]}
        rest = f"{len(small)} smaller classes"
        labels = np.array([rest if v in small else v for v in labels])
        names = [n for n in names if n not in small] + [rest]
    return names, labels


def plot_clusters(adata: AnnData, *, cluster_key: str, basis: str | None = None) -> Figure:
    """Map of the classes of the cells, such as cell types.

    Parameters
    ----------
    adata
        Annotated data with a basis.
    cluster_key
        Column of ``obs`` with the labels; cells without one are shown as "no label".
    basis
        As for `plot_frequencies`.

    Returns
    -------
    Figure with one trace per class in the order of the categories, the number of cells in the legend. Twelve
    colours times four symbols; beyond 48 classes the smallest are joined to one.

    Raises
    ------
    MissingKeyError
        If the column or the basis does not exist.

    Examples
    --------
    >>> from scmods import bmlp
    >>> adata = bmlp.planted(120, 40, n_module=5)
    >>> bmlp.frequencies(adata, n_comps=2)
    >>> fig = bmlp.plot_clusters(adata, cluster_key="cell_type", basis="X_freq")
    >>> len(fig.data)
    4
    """
    import plotly.graph_objects as go

    names, labels = _classes(adata, cluster_key)
    xy, axes = common.points(adata, basis)
    keep = _figures.thin(adata.n_obs)
    counts = {n: int((labels == n).sum()) for n in names}
    order = sorted(names, key=lambda n: -counts[n])
    told = common.listed(f"{n} ({counts[n]})" for n in order[:10])
    more = f", and {len(names) - 10} more classes" if len(names) > 10 else ""
    fig = _figures.figure(
        title=f"Cells by {cluster_key}",
        alt=f"Scatter of {adata.n_obs} cells over {common.listed(axes)}. Colour and symbol show the {len(names)} "
        f"classes of {cluster_key}, largest first: {told}{more}.{common.drawn(adata.n_obs, len(keep))}",
        x=axes[0], y=axes[1], height=max(450, min(900, 22 * len(names) + 120)),
    )  # fmt: skip
    for i, name in enumerate(names):
        rows = keep[labels[keep] == name]
        style = {"color": _figures.CATEGORICAL[i % 12], "symbol": SYMBOLS[i // 12 % len(SYMBOLS)]}
        fig.add_trace(
            go.Scatter(
                x=xy[rows, 0], y=xy[rows, 1], mode="markers", name=f"{common.wrapped(name, 28)} ({counts[name]})",
                marker=common.marker(len(keep), **style), hovertemplate="%{fullData.name}<extra></extra>",
                showlegend=True,
            )
        )  # fmt: skip
    return fig
