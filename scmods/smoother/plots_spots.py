"""Maps of spots as light as they can be: whole steps for positions, tiles as large as the lattice, one scale."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from scmods import _checks, _figures
from scmods.smoother.coords import check_coords

if TYPE_CHECKING:
    from plotly.graph_objects import Figure

__all__ = [
    "Scale",
    "Spots",
    "add_groups",
    "add_map",
    "drawn",
    "map_panels",
    "of_spots",
    "read_spots",
    "scale_of",
]

BYTES = 41_500  # of the spots of all maps of a figure; as text they are a third longer
PER_MAP = 750  # what a map weighs without its spots
MOST = 4000  # spots of one map
WIDTH = 760  # pixels of a figure on a page, for the size of the marks
LARGEST_STEP = 255


@dataclass(frozen=True)
class Spots:
    """Positions of spots in whole steps, and the mark that tiles them.

    Attributes
    ----------
    x, y
        (spots,) unsigned integers, 0 at the lowest position.
    step
        Length of one step of x and of y, in the unit of the coordinates.
    low
        Lowest position on either axis.
    symbol
        ``"square"``, ``"diamond"``, ``"hexagon"``, ``"hexagon2"`` or ``"circle"``.
    spacing
        Distance of a spot to its nearest neighbour, in the unit of the coordinates.
    y_down
        Whether the second coordinate grows downwards, as in an image.
    """

    x: np.ndarray
    y: np.ndarray
    step: tuple[float, float]
    low: tuple[float, float]
    symbol: str
    spacing: float
    y_down: bool

    @property
    def n(self) -> int:
        """Number of spots."""
        return len(self.x)

    @property
    def extent(self) -> tuple[float, float]:
        """Width and height, a spacing added so that a row of spots has a height."""
        return (
            float(np.ptp(self.x)) * self.step[0] + self.spacing,
            float(np.ptp(self.y)) * self.step[1] + self.spacing,
        )

    def steps(self, xy: np.ndarray) -> np.ndarray:
        """Positions in the unit of the coordinates as float32 in steps, for what is drawn over the spots."""
        return _figures.small((np.asarray(xy)[:, :2] - self.low) / self.step)


def read_spots(data: Any, spatial_key: str, *, y_down: bool) -> tuple[Spots, np.ndarray]:
    """Spots of an AnnData or an array of positions, and their first two coordinates."""
    what = "`xy`"
    if hasattr(data, "obsm"):
        _checks.key(data, "obsm", spatial_key, "Name the coordinates: spatial_key='...'.")
        data, what = data.obsm[spatial_key], f"`adata.obsm[{spatial_key!r}]`"
    xy = check_coords(data, what)[:, :2]
    low, extent = xy.min(axis=0), float(np.ptp(xy, axis=0).max()) or 1.0
    on_lattice = [_whole_steps(axis) for axis in xy.T]
    if all(step is not None for step in on_lattice):
        steps, kind = np.array(on_lattice), np.uint8
    else:
        steps, kind = np.full(2, extent / 60_000), np.uint16
    whole = np.round((xy - low) / steps).astype(kind)
    symbol, spacing = _lattice(xy)
    return Spots(whole[:, 0], whole[:, 1], tuple(steps), tuple(low), symbol, spacing, y_down), xy


def _whole_steps(values: np.ndarray) -> float | None:
    """The step of which all values are multiples, if a byte can count them."""
    extent = float(np.ptp(values))
    if extent == 0:
        return 1.0
    away = (values - values.min()) / extent
    step = float(np.diff(np.unique(np.round(away, 6))).min())
    count = round(1 / step)
    if count > LARGEST_STEP or np.abs(away * count - np.round(away * count)).max() > 0.02:
        return None
    return extent / count


def _lattice(xy: np.ndarray) -> tuple[str, float]:
    """The mark that tiles the spots, from the directions to their nearest neighbours, and the spacing."""
    from scipy.spatial import cKDTree

    places = np.unique(xy, axis=0)
    if len(places) < 2:
        return "circle", 1.0
    distance, index = cKDTree(places).query(places, k=min(7, len(places)))
    spacing = float(np.median(distance[:, 1]))
    near = distance[:, 1:] < 1.25 * spacing
    step = (places[index[:, 1:]] - places[:, None])[near]
    turn = np.arctan2(step[:, 1], step[:, 0])
    # directions that repeat every 90 or every 60 degrees add up, others cancel
    for fold, marks in ((4, ("square", "diamond")), (6, ("hexagon", "hexagon2"))):
        order = np.exp(1j * fold * turn).mean() if len(turn) else 0.0
        if abs(order) > 0.8 and abs(order.real) > 0.8 * abs(order):
            return marks[0 if order.real > 0 else 1], spacing
    return "circle", spacing


@dataclass(frozen=True)
class Scale:
    """Colours of several maps: a value is drawn as a whole number of units, or as it is where `unit` is None."""

    low: float
    high: float
    unit: float | None
    diverging: bool
    label: str

    def levels(self, values: np.ndarray) -> np.ndarray:
        """What stands in the figure for the values: the smallest kind of number that holds them."""
        if self.unit is None:
            return _figures.small(values)
        # what lies beyond the scale has the colour of its end, and then a byte is enough
        whole = np.round(np.clip(values, self.low, self.high) / self.unit)
        for kind in (np.uint8, np.int8, np.int16):
            if whole.min() >= np.iinfo(kind).min and whole.max() <= np.iinfo(kind).max:
                return whole.astype(kind)
        return _figures.small(whole)

    def axis(self) -> dict[str, Any]:
        """Colour axis in units, its bar labelled with values."""
        unit = self.unit or 1.0
        low = None if self.diverging else self.low / unit
        axis = _figures.color_axis(self.high / unit, self.label, low)
        step = nice((self.high - self.low) / 5)
        ticks = np.arange(np.ceil(self.low / step - 1e-9), np.floor(self.high / step + 1e-9) + 1) * step
        texts = [f"{t:.4g}".replace("-", "\u2212") for t in ticks + 0.0]
        axis["colorbar"] |= {"tickvals": (ticks / unit).tolist(), "ticktext": texts}
        return axis

    def hover(self) -> str:
        """How one value is written."""
        if self.unit is None:
            return "%{marker.color:.3g}"
        return "%{marker.color} %" if self.unit == 0.01 else "%{marker.color} × " + f"{self.unit:g}"


def nice(size: float) -> float:
    """The smallest of 1, 2, 5 times a power of ten that is at least `size`."""
    power = 10.0 ** np.floor(np.log10(size))
    return float(next(m * power for m in (1, 2, 5, 10) if m * power >= size * (1 - 1e-9)))


def scale_of(
    values: Sequence[np.ndarray], label: str, *, diverging: bool | None, quantile: float, exact: bool
) -> Scale:
    """Scale for all values together; by default symmetric about 0 where they have both signs."""
    every = np.concatenate([v[np.isfinite(v)] for v in values])
    if diverging is None:
        diverging = bool(every.min() < 0 < every.max())
    if diverging:
        high = _figures.limit(every, quantile)
        low = -high
    else:
        low, high = (float(q) for q in np.quantile(every, [1 - quantile, quantile]))
        high = high if high > low else low + (abs(low) or 1.0)
    unit = None if exact else nice((high - low) / 250)
    return Scale(low, high, unit, diverging, label)


def of_spots(name: str, values: Any, n: int) -> np.ndarray:
    """One value per spot; refuses another number of them, and maps without any value."""
    array = np.asarray(values)
    if array.ndim != 1 or len(array) != n:
        _checks.fail(
            f"{name} has shape {array.shape}, but there are {n} spots.",
            "Give one value for each spot, in the order of the spots.",
        )
    array = _checks.numeric(name, array)
    if not np.isfinite(array).any():
        _checks.fail(f"{name} holds no finite value; there is nothing to draw.")
    return array


def map_panels(
    fig: Figure,
    spots: Spots,
    n: int,
    ncols: int,
    *,
    titles: Sequence[str],
    value_bytes: int = 4,
    extra: int = 0,
) -> tuple[list[tuple[int, int]], np.ndarray, dict[str, Any]]:
    """Divide the figure into `n` maps of equal scale; returns places, the spots to draw, and the style of a mark.

    `extra` panels of another kind follow the maps and get the same room.
    """
    cols = min(n + extra, ncols)
    rows = -(-(n + extra) // cols)
    wide = (WIDTH - 130) / cols - 14
    width, height = spots.extent
    tall = float(np.clip(wide * height / width, 190 if extra else 130, 430))
    lines = 1 + max((t.count("<br>") for t in titles), default=0)
    gap = 14 + 17 * lines
    inner = rows * tall + (rows - 1) * gap
    more = {"horizontal_spacing": min(0.08 if extra else 0.03, 0.5 / cols), "vertical_spacing": gap / inner}
    where = _figures.panels(fig, n + extra, cols, titles=titles, x="Position x", y="Position y", **more)
    fig.update_layout(height=int(inner + 110 + 17 * lines), margin={"t": 60 + 17 * lines, "l": 50})
    each = (2 * spots.x.itemsize + value_bytes) * max(n, 1)
    keep = spread(spots, max(50, min(MOST, (BYTES - n * PER_MAP) // each)))
    for place in where[:n]:
        _bare(fig, spots, *place)
    pixels = 0.94 * min(wide / width, tall / height)
    tile = 2 / np.sqrt(3) if spots.symbol.startswith("hexagon") else 1.0
    # what is left of a thinned lattice does not tile, so that larger marks have to close the gaps
    wider = 1.15 * np.sqrt(spots.n / len(keep)) if len(keep) < spots.n else 1.0
    size = float(np.clip(tile * spots.spacing * pixels * wider, 2.0, 22))
    return where, keep, {"symbol": spots.symbol, "size": round(size, 2), "line": {"width": 0}, "opacity": 1}


def spread(spots: Spots, most: int) -> np.ndarray:
    """Sorted indices of at most `most` spots that cover the tissue evenly: a random sample leaves holes."""
    if spots.n <= most:
        return np.arange(spots.n)
    width, height = spots.extent
    strips = max(1, round(np.sqrt(most * height / width)))
    strip = (spots.y / (spots.y.max() + 1e-9) * strips).astype(int).clip(0, strips - 1)
    # strip by strip, there and back
    x = spots.x.astype(np.int64)
    order = np.lexsort((np.where(strip % 2 == 0, x, -x), strip))
    return np.sort(order[_figures.some_rows(spots.n, most)])


def drawn(spots: Spots, keep: np.ndarray) -> str:
    """Sentence for the alt text when only some spots are drawn."""
    return "" if len(keep) == spots.n else f" {len(keep)} of the {spots.n} spots are drawn, evenly spread."


def _bare(fig: Figure, spots: Spots, row: int, col: int) -> None:
    """Steps have no unit: no numbers, no grid; one step of y as long as it is."""
    bare = {"showticklabels": False, "showgrid": False, "showline": False, "ticks": "", "constrain": "domain"}
    (right, up), pad = (float(spots.x.max()), float(spots.y.max())), 0.7 * spots.spacing
    across, along = pad / spots.step[0], pad / spots.step[1]
    fig.update_xaxes(range=[-across, right + across], row=row, col=col, **bare)
    anchor = fig.get_subplot(row, col).xaxis.plotly_name.replace("axis", "")
    height = [-along, up + along]
    fig.update_yaxes(scaleanchor=anchor, scaleratio=float(f"{spots.step[1] / spots.step[0]:.6g}"), row=row, col=col,
                     range=height[::-1] if spots.y_down else height, **bare)  # fmt: skip


def add_map(
    fig: Figure, spots: Spots, values: np.ndarray, scale: Scale, keep: np.ndarray, style: Mapping[str, Any], name: str,
    **place: int,
) -> None:  # fmt: skip
    """Draw one number per spot; spots without a value are small grey rings."""
    import plotly.graph_objects as go

    there = keep[np.isfinite(values[keep])]
    fig.add_trace(
        go.Scatter(x=spots.x[there], y=spots.y[there], mode="markers", showlegend=False, name=_figures.escaped(name),
                   marker={**style, "color": scale.levels(values[there]), "coloraxis": "coloraxis"},
                   hovertemplate=scale.hover() + "<extra>%{fullData.name}</extra>"), **place
    )  # fmt: skip
    lost = keep[~np.isfinite(values[keep])]
    if len(lost):
        ring = {
            "symbol": "circle-open",
            "size": 0.6 * style["size"],
            "color": _figures.GREY,
            "line": {"width": 1},
        }
        fig.add_trace(
            go.Scatter(x=spots.x[lost], y=spots.y[lost], mode="markers", showlegend=False, marker=ring,
                       hovertemplate="no value<extra></extra>"), **place
        )  # fmt: skip


def add_groups(
    fig: Figure, spots: Spots, labels: np.ndarray, names: Sequence[str], keep: np.ndarray, style: Mapping[str, Any],
    *, shown: set[str], **place: int,
) -> None:  # fmt: skip
    """Draw one label per spot; a name enters the legend once, `shown` remembers which."""
    import plotly.graph_objects as go

    for i, name in enumerate(names):
        rows = keep[labels[keep] == name]
        if len(rows):
            fig.add_trace(
                go.Scatter(x=spots.x[rows], y=spots.y[rows], mode="markers", name=_figures.escaped(name),
                           legendgroup=str(i), showlegend=name not in shown,
                           marker={**style, "color": _figures.color(i)},
                           hovertemplate="%{fullData.name}<extra></extra>"), **place
            )  # fmt: skip
            shown.add(name)
