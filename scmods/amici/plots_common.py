"""Pieces that the figures of the chapter share: heat maps with stars, named places, bars that add up."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import partial
from typing import TYPE_CHECKING, Any

import numpy as np

from scmods import _checks, _figures

if TYPE_CHECKING:
    import pandas as pd
    from plotly.graph_objects import Figure

__all__ = [
    "DASHES",
    "HIGHER",
    "LOWER",
    "MARK",
    "bare",
    "heat",
    "name_places",
    "one_pair",
    "positions",
    "tones",
    "values",
]

LOWER, HIGHER = _figures.CATEGORICAL[0], _figures.CATEGORICAL[5]  # blue and vermilion
MARK = _figures.CATEGORICAL[5]
DASHES = ("solid", "dash", "dot", "dashdot", "longdash")
PLACES = "Pass the cells that the model was made with: `amici.plot_attention(outputs, cell, adata=adata)`."

name_places = partial(_figures.name_places, width=40, angle=-40)


def values(what: str, given: Any, *, nan: bool = False) -> np.ndarray:
    """A list of numbers as float64, at least one.

    Parameters
    ----------
    what
        Name in the messages.
    given
        The numbers.
    nan
        Let NaN and infinite values pass.
    """
    array = _checks.numeric(what, given)
    if array.ndim != 1 or len(array) == 0:
        _checks.fail(f"{what} has shape {array.shape}, but must be a list of numbers with at least one.")
    if not nan:
        _checks.finite(what, array)
    return array


def positions(given: Any, spatial_key: str) -> np.ndarray:
    """(cells, 2) places on the tissue, from annotated data or an array; a third coordinate is not drawn.

    Parameters
    ----------
    given
        Annotated data, or an array.
    spatial_key
        Key of ``obsm``.
    """
    if hasattr(given, "obsm"):
        _checks.key(given, "obsm", spatial_key, "Name the positions: spatial_key='...'.")
        given = given.obsm[spatial_key]
    if given is None:
        _checks.fail("The positions of the cells are needed to draw them.", PLACES, kind=TypeError)
    xy = _checks.numeric("The positions", given.to_numpy() if hasattr(given, "to_numpy") else given)
    if xy.ndim != 2 or xy.shape[1] not in (2, 3) or len(xy) == 0:
        _checks.fail(f"The positions have shape {xy.shape}, but must be (cells, 2) or (cells, 3).")
    _checks.finite("The positions", xy)
    return xy[:, :2]


def tones(names: Sequence[str], palette: Mapping[str, str] | None = None) -> dict[str, str]:
    """A colour for every name.

    Parameters
    ----------
    names
        In their order.
    palette
        Colours that are given; the others take the next of the house.
    """
    return {n: (palette or {}).get(n, _figures.color(i)) for i, n in enumerate(names)}


def heat(fig: Figure, table: pd.DataFrame, hover: str, text: np.ndarray | None = None) -> None:
    """Draw a table as coloured places, NaN left open; the colours are those of the layout's ``coloraxis``.

    Parameters
    ----------
    fig
        The figure.
    table
        Rows x columns.
    hover
        Template; ``%{x}``, ``%{y}`` and ``%{z}``.
    text
        Written into the places, of the same shape.
    """
    import plotly.graph_objects as go

    more = {} if text is None else {"text": text, "texttemplate": "%{text}"}
    fig.add_trace(
        go.Heatmap(z=_figures.small(table.to_numpy(dtype=np.float64)), coloraxis="coloraxis", xgap=1, ygap=1,
                   hoverongaps=False, hovertemplate=hover + "<extra></extra>", **more)
    )  # fmt: skip
    name_places(fig, "x", list(table.columns))
    name_places(fig, "y", list(table.index))


def bare(fig: Figure, *, equal: bool = True) -> Figure:
    """Take ticks and lines off both axes, for maps; one unit is as long across as upwards.

    Parameters
    ----------
    fig
        The figure.
    equal
        Same scale for both axes.
    """
    quiet = {"showgrid": False, "zeroline": False}
    fig.update_xaxes(**quiet)
    fig.update_yaxes(**quiet)
    for axis in fig.select_yaxes() if equal else ():
        axis.update(scaleanchor=axis.anchor or "x", constrain="domain")
    return fig


def one_pair(table: Any, receiver: str | None, sender: str | None, fix: str) -> pd.DataFrame:
    """Rows of one receiver and sender; without names the table must hold one pair only.

    Parameters
    ----------
    table
        Columns ``receiver`` and ``sender``.
    receiver, sender
        Names, or None.
    fix
        The call that makes the table.
    """
    for column, name in (("receiver", receiver), ("sender", sender)):
        there = list(dict.fromkeys(table[column].astype(str)))
        if name is None and len(there) > 1:
            _checks.fail(
                f"`table` holds {len(there)} values of {column!r}: {_checks.listing(there)}.",
                f"Choose one: {column}={there[0]!r}.",
            )
        if name is not None:
            _checks.one_of(column, name, there)
            table = table[table[column].astype(str) == name]
        if len(table) == 0:
            _checks.fail(f"`table` has no row of {receiver!r} and {sender!r}; there is nothing to draw.", fix)
    return table
