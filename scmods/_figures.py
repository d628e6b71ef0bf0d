"""One look for every figure: colours that a colour-blind reader can tell apart, sizes, alt text.

Plotly is imported inside the functions, so that importing a method does not load it.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from plotly.graph_objects import Figure

__all__ = ["CATEGORICAL", "DIVERGING", "MAX_POINTS", "SEQUENTIAL", "figure", "thin"]

# Okabe-Ito order, black replaced by a grey that is visible on both backgrounds, then lighter tints for many classes
CATEGORICAL = (
    "#0072B2", "#E69F00", "#009E73", "#CC79A7", "#56B4E9", "#D55E00", "#8C8C8C", "#B8A800",
    "#7A5195", "#5F9EA0", "#A0522D", "#6B8E23",
)  # fmt: skip
DIVERGING = (
    (0.0, "#2166AC"), (0.25, "#92C5DE"), (0.5, "#E6E6E6"), (0.75, "#F4A582"), (1.0, "#B2182B"),
)  # fmt: skip
SEQUENTIAL = "Cividis"
MAX_POINTS = 1000  # keeps a page with its maps below 300 KB; `thin` draws a reproducible sample


def figure(*, title: str, alt: str, x: str = "", y: str = "", height: int = 450, **layout: Any) -> Figure:
    """An empty figure with the house layout.

    Parameters
    ----------
    title, x, y
        Title and axis titles, with units where there are any.
    alt
        What a reader who cannot see the figure should know; becomes the label of the figure in the book.
    height
        Pixels.
    layout
        Passed on to plotly's ``Layout``.
    """
    import plotly.graph_objects as go

    return go.Figure(
        layout={
            "title": {"text": title, "font": {"size": 16}},
            "meta": {"alt": alt},
            "xaxis": {"title": {"text": x}, "zeroline": False},
            "yaxis": {"title": {"text": y}, "zeroline": False},
            "height": height,
            "margin": {"l": 60, "r": 20, "t": 60, "b": 50},
            "colorway": list(CATEGORICAL),
            "legend": {"itemsizing": "constant"},
            "template": "none",
            **layout,
        }
    )


def thin(n: int, most: int = MAX_POINTS, seed: int = 0) -> np.ndarray:
    """Sorted indices of at most `most` of `n` points, the same for the same `seed`."""
    if n <= most:
        return np.arange(n)
    return np.sort(np.random.default_rng(seed).choice(n, most, replace=False))
