r"""The logicle scale: linear around zero, logarithmic far from it, with a rule for its width.

The scale is the inverse of :math:`S(y) = a e^{b y} - c e^{-d y} - f`, with the coefficients of Moore and Parks,
Cytometry A 2012, 81A, 273-277, https://doi.org/10.1002/cyto.a.22030.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

__all__ = ["Logicle", "automatic"]

NODES = 2048
NEWTON = 12


@dataclass(frozen=True)
class Logicle:
    """One logicle scale.

    Attributes
    ----------
    top
        Intensity that is sent to 1.
    width
        Decades of the linear part around zero; 0 makes it an inverse hyperbolic sine.
    decades
        Decades of the whole scale.
    """

    top: float
    width: float
    decades: float = 4.5

    def _coefficients(self) -> tuple[float, float, float, float, float]:
        b = self.decades * np.log(10)
        w = self.width / self.decades
        d = _second_rate(b, w)
        low = np.exp(2 * w * (b + d))  # makes the second derivative vanish at zero intensity
        at_zero = np.exp(b * w) - low * np.exp(-d * w)
        a = self.top / (np.exp(b) - low * np.exp(-d) - at_zero)
        return a, b, low * a, d, at_zero * a

    def inverse(self, y: np.ndarray) -> np.ndarray:
        """Intensities of the given values of the scale.

        Parameters
        ----------
        y
            Values; 0 to 1 covers the scale, values outside continue it.
        """
        a, b, c, d, f = self._coefficients()
        return a * np.exp(b * y) - c * np.exp(-d * y) - f

    def forward(self, x: np.ndarray) -> np.ndarray:
        """Values of the scale at the given intensities, by Newton's method from a table of starts.

        Parameters
        ----------
        x
            Intensities of any sign.
        """
        a, b, c, d, f = self._coefficients()
        x = np.asarray(x, dtype=np.float64)
        low, high = -0.5, 1.0
        while self.inverse(np.array(low)) > x.min(initial=0.0):
            low -= 0.5
        while self.inverse(np.array(high)) < x.max(initial=0.0):
            high += 0.5
        nodes = np.linspace(low, high, NODES)
        at = self.inverse(nodes)
        y = np.interp(x, at, nodes)
        for _ in range(NEWTON):
            up, down = a * np.exp(b * y), c * np.exp(-d * y)
            step = (up - down - f - x) / (b * up + d * down)
            y = y - step
            if np.abs(step).max(initial=0.0) < 1e-14:
                break
        return y


def _second_rate(b: float, w: float) -> float:
    """The rate d of the negative branch, root of 2 (ln d - ln b) + w (b + d) = 0 in (0, b]."""
    low, high = 1e-300, b
    for _ in range(200):
        middle = np.sqrt(low * high) if high / low > 4 else 0.5 * (low + high)
        if 2 * (np.log(middle) - np.log(b)) + w * (b + middle) > 0:
            high = middle
        else:
            low = middle
    return 0.5 * (low + high)


def automatic(x: np.ndarray, *, quantile: float = 0.05, decades: float = 4.5) -> Logicle:
    """Choose a scale from the values of one marker.

    The top is the largest value. The linear part reaches to the `quantile` of the negative values, after those
    further down than 1.5 interquartile ranges below their lower quartile are left out; without negative values it
    is half a decade wide.

    Parameters
    ----------
    x
        Intensities of one marker, at least one above 0.
    quantile
        Quantile of the negative values, 0 to 1.
    decades
        Decades of the whole scale.
    """
    top = float(x.max())
    negative = x[x < 0]
    if not len(negative):
        return Logicle(top, 0.5, decades)
    q1, q3 = np.quantile(negative, [0.25, 0.75])
    kept = negative[negative >= q1 - 1.5 * (q3 - q1)]
    reach = abs(float(np.quantile(kept, quantile)))
    width = 0.5 * (decades - np.log10(top / reach))
    # beyond two decades the scale is nearly linear, and below zero it is not defined
    return Logicle(top, float(np.clip(width, 0.0, min(2.0, decades / 2.5))), decades)
