"""Components of spatial PCA: on the tissue, and against each other by layer."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

from scmods import _checks, _figures
from scmods.smoother import plots_spots as maps
from scmods.smoother.keys import Keys
from scmods.smoother.plots_tissue import in_groups, relative

if TYPE_CHECKING:
    from anndata import AnnData
    from plotly.graph_objects import Figure

__all__ = ["plot_embedding_layers"]

SYMBOLS = ("circle", "diamond", "square", "triangle-up")


def plot_embedding_layers(
    adata: AnnData,
    *,
    groupby: str,
    basis: str | None = None,
    components: Sequence[int] = (0, 1),
    spatial_key: str = "spatial",
    y_down: bool = False,
    title: str | None = None,
) -> Figure:
    """Components on the tissue, and the first two of them against each other, coloured by layer.

    Parameters
    ----------
    adata
        Annotated data after `spatial_pca`.
    groupby
        Column of ``obs`` with the layers.
    basis
        Key of ``obsm``; by default the scores of `spatial_pca`.
    components
        Two to five components, counted from 0: each has a map, the first two also a scatter.
    spatial_key
        Key of the coordinates in ``obsm``.
    y_down
        The second coordinate grows downwards.
    title
        Title of the figure.

    Returns
    -------
    Figure with a map per component, symmetric about 0 on the scale of that component, and one scatter. The alt text
    says which share of the variance of a component lies between the layers.

    Raises
    ------
    MissingKeyError, TypeError, ValueError
        If the scores, the layers or a component do not exist, or values are not finite.

    Examples
    --------
    >>> from scmods import smoother
    >>> adata = smoother.tissue(6, 6)
    >>> smoother.spatial_weights(adata, n_neighbors=4)
    >>> smoother.spatial_pca(adata, n_comps=2, smoothing=0.1)
    >>> fig = smoother.plot_embedding_layers(adata, groupby="zone")
    >>> len(fig.data) > 2
    True
    """
    name = basis or Keys().pca
    fix = (
        "Run `smoother.spatial_pca(adata)` first."
        if basis is None
        else "Name a key of `adata.obsm`: basis='X_pca'."
    )
    _checks.key(adata, "obsm", name, fix)
    _checks.key(adata, "obs", groupby, "Name the column of layers: groupby='...'.")
    scores = _checks.numeric(f"`adata.obsm[{name!r}]`", adata.obsm[name])
    wanted = _wanted(components, scores.shape[1], name)
    _checks.finite(f"`adata.obsm[{name!r}]`", scores[:, wanted], adata.obs_names)
    spots, _ = maps.read_spots(adata, spatial_key, y_down=y_down)
    names, labels = in_groups(adata.obs[groupby], spots.n, "`groupby`")
    values = {f"component {c + 1}": scores[:, c] for c in wanted}
    shares = {k: _between(v, labels) for k, v in values.items()}
    drawn, titles, _, _ = relative(values, diverging=True, quantile=0.99)
    scale = maps.scale_of(
        list(drawn.values()), "Score / scale of its map", diverging=True, quantile=0.99, exact=False
    )
    title = title or f"Components and {groupby}"
    axis = scale.axis()
    axis["colorbar"] |= {"len": 0.8}
    fig = _figures.figure(title=title, alt="", coloraxis=axis)
    n = len(values)
    where, keep, style = maps.map_panels(
        fig, spots, n, 2 if n == 3 else 3, titles=[*titles, ""], value_bytes=1, extra=1
    )
    for (label, array), (row, col) in zip(drawn.items(), where[:n], strict=True):
        maps.add_map(fig, spots, array, scale, keep, style, label, row=row, col=col)
    few = _figures.thin(spots.n, 700)
    _scatter(fig, scores[:, wanted[:2]][few], labels[few], names, where[n])
    first, second = list(values)[:2]
    row, col = where[n]
    fig.update_xaxes(title={"text": first, "standoff": 4}, showticklabels=False, row=row, col=col)
    fig.update_yaxes(title={"text": second, "standoff": 4}, showticklabels=False, row=row, col=col)
    told = "; ".join(f"{k} {v:.0%}" for k, v in shares.items())
    alt = (
        f"{title}. Maps of {n} components for {spots.n} spots, blue below 0, red above 0, and a scatter of the first "
        f"two in {len(names)} layers. Share of the variance that lies between layers: {told}.{maps.drawn(spots, keep)}"
    )
    fig.update_layout(meta={"alt": alt})
    return _figures.legend_on_top(fig, 1 + sum(len(c) + 6 for c in names) // 90, above=36)


def _wanted(components: Sequence[int], total: int, name: str) -> list[int]:
    given = [components] if np.ndim(components) == 0 else list(components)
    if not 2 <= len(given) <= 5:
        _checks.fail(
            f"`components` is {components!r}, but must name 2 to 5 components.", "Write components=(0, 1)."
        )
    why = f"`adata.obsm[{name!r}]` has {total} components, counted from 0."
    return [_checks.integer("components", c, 0, total - 1, why) for c in given]


def _between(values: np.ndarray, labels: np.ndarray) -> float:
    """Share of the variance that the means of the groups explain."""
    _, code = np.unique(labels, return_inverse=True)
    count = np.bincount(code)
    mean = np.bincount(code, values) / count
    total = ((values - values.mean()) ** 2).sum()
    return float((count * (mean - values.mean()) ** 2).sum() / total) if total > 0 else 0.0


def _scatter(
    fig: Figure, xy: np.ndarray, labels: np.ndarray, names: Sequence[str], place: tuple[int, int]
) -> None:
    import plotly.graph_objects as go

    for i, name in enumerate(names):
        rows = labels == name
        style = {"size": 4, "opacity": 0.8, "color": _figures.color(i), "symbol": SYMBOLS[i // 12 % 4]}
        fig.add_trace(
            go.Scatter(x=_figures.small(xy[rows, 0]), y=_figures.small(xy[rows, 1]), mode="markers", marker=style,
                       name=_figures.escaped(name), hovertemplate="%{fullData.name}<extra></extra>"),
            row=place[0], col=place[1],
        )  # fmt: skip
