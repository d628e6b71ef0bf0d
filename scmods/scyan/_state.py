"""What was done to the intensities of every marker, so that it can be repeated on other cells and undone."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np

from scmods import _checks
from scmods.scyan._logicle import Logicle

if TYPE_CHECKING:
    from anndata import AnnData

__all__ = ["KEY", "TransformState"]

KEY = "scyan_transform"


@dataclass(frozen=True)
class TransformState:
    """Parameters of a transform and of the scaling after it, marker by marker.

    Attributes
    ----------
    method
        ``"asinh"``, ``"logicle"`` or ``"none"``.
    markers
        Names of the markers.
    first, second
        (markers,) cofactor and translation, or top and width in decades; 1 and 0 for ``"none"``.
    decades
        Decades of the logicle scale.
    center, std
        (markers,) what scaling subtracts and divides by; None before `scaled`.
    max_value
        Scaled values are cut at this absolute value.

    Examples
    --------
    >>> from scmods import scyan
    >>> adata = scyan.cytometry(100, 5, 6, raw=True)
    >>> scyan.asinh_transform(adata, cofactor=5)
    >>> state = scyan.TransformState.of(adata)
    >>> state.method, len(state.markers)
    ('asinh', 6)
    """

    method: str
    markers: tuple[str, ...]
    first: np.ndarray
    second: np.ndarray
    decades: float = 4.5
    center: np.ndarray | None = None
    std: np.ndarray | None = None
    max_value: float = 10.0

    @property
    def is_scaled(self) -> bool:
        """Whether scaling is part of it."""
        return self.std is not None

    def at(self, markers: Sequence[str]) -> np.ndarray:
        """Positions of markers; refuses names that the state does not hold.

        Parameters
        ----------
        markers
            Names.
        """
        place = {m: i for i, m in enumerate(self.markers)}
        missing = [m for m in markers if m not in place]
        if missing:
            _checks.fail(
                f"{len(missing)} markers have no recorded transform: {_checks.listing(missing, 5)}.",
                f"Recorded: {_checks.listing(self.markers, 5)}.",
                _checks.nearest(missing[0], self.markers),
                "Transform all markers of the table in one call.",
                kind=_checks.MissingKeyError,
            )
        return np.array([place[m] for m in markers], dtype=np.intp)

    def forward(self, x: np.ndarray, markers: Sequence[str]) -> np.ndarray:
        """Transformed intensities, not scaled.

        Parameters
        ----------
        x
            (cells, markers) intensities.
        markers
            Names of the columns.
        """
        at = self.at(markers)
        if self.method == "asinh":
            return np.arcsinh((x - self.second[at]) / self.first[at])
        if self.method == "none":
            return np.array(x, dtype=np.float64)
        columns = [self._logicle(i).forward(x[:, j]) for j, i in enumerate(at)]
        return np.stack(columns, axis=1) if columns else np.empty(x.shape)

    def backward(self, y: np.ndarray, markers: Sequence[str]) -> np.ndarray:
        """Intensities of transformed values that are not scaled.

        Parameters
        ----------
        y
            (cells, markers) transformed values.
        markers
            Names of the columns.
        """
        at = self.at(markers)
        if self.method == "asinh":
            return np.sinh(y) * self.first[at] + self.second[at]
        if self.method == "none":
            return np.array(y, dtype=np.float64)
        columns = [self._logicle(i).inverse(y[:, j]) for j, i in enumerate(at)]
        return np.stack(columns, axis=1) if columns else np.empty(y.shape)

    def _logicle(self, i: int) -> Logicle:
        return Logicle(float(self.first[i]), float(self.second[i]), self.decades)

    def scale(self, y: np.ndarray, markers: Sequence[str]) -> np.ndarray:
        """Scaled values of transformed ones.

        Parameters
        ----------
        y
            (cells, markers) transformed values.
        markers
            Names of the columns.
        """
        at = self.at(markers)
        scaled = (y - self._center()[at]) / self._std()[at]
        return np.clip(scaled, -self.max_value, self.max_value)

    def unscale(self, z: np.ndarray, markers: Sequence[str]) -> np.ndarray:
        """Transformed values of scaled ones (those that were cut stay cut).

        Parameters
        ----------
        z
            (cells, markers) scaled values.
        markers
            Names of the columns.
        """
        at = self.at(markers)
        return z * self._std()[at] + self._center()[at]

    def _center(self) -> np.ndarray:
        if self.center is None:
            _checks.fail("The values were not scaled. Scale them first: `scyan.scale(adata)`.")
        return self.center

    def _std(self) -> np.ndarray:
        if self.std is None:
            _checks.fail("The values were not scaled. Scale them first: `scyan.scale(adata)`.")
        return self.std

    def with_scale(self, center: np.ndarray, std: np.ndarray, max_value: float) -> TransformState:
        """The same with scaling.

        Parameters
        ----------
        center, std, max_value
            See the attributes.
        """
        return replace(self, center=center, std=std, max_value=max_value)

    def without_scale(self) -> TransformState:
        """The same before scaling."""
        return replace(self, center=None, std=None)

    def to_uns(self) -> dict[str, Any]:
        """Plain values and arrays for ``uns``, which survive a file."""
        out: dict[str, Any] = {
            "method": self.method,
            "markers": np.array(self.markers, dtype=object),
            "first": self.first,
            "second": self.second,
            "decades": float(self.decades),
            "max_value": float(self.max_value),
        }
        return out if self.std is None else {**out, "center": self._center(), "std": self.std}

    @classmethod
    def from_uns(cls, stored: dict[str, Any]) -> TransformState:
        """Read what `to_uns` returned, also after a file.

        Parameters
        ----------
        stored
            The dict.
        """
        arrays = {
            k: np.asarray(stored[k], dtype=np.float64)
            for k in ("first", "second", "center", "std")
            if k in stored
        }
        markers = tuple(str(m) for m in stored["markers"])
        numbers = {k: float(stored[k]) for k in ("decades", "max_value")}
        return cls(method=str(stored["method"]), markers=markers, **arrays, **numbers)

    @classmethod
    def of(cls, adata: AnnData, key: str = KEY) -> TransformState | None:
        """The state recorded in an AnnData, or None.

        Parameters
        ----------
        adata
            Cells.
        key
            Name in ``uns``.
        """
        return cls.from_uns(adata.uns[key]) if key in adata.uns else None
