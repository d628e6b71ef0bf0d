"""Names of what `spatial_neighbors` writes into an AnnData, in one place."""

from __future__ import annotations

from dataclasses import dataclass

__all__ = ["Keys"]


@dataclass(frozen=True)
class Keys:
    """Slots written by `scmods.amici.spatial_neighbors`.

    Parameters
    ----------
    key_added
        Prefix of all names.

    Examples
    --------
    >>> from scmods import amici
    >>> amici.Keys("mine").neighbors
    'mine_neighbors'
    """

    key_added: str = "amici"

    @property
    def neighbors(self) -> str:
        """obsm, (cells, k) int64: positions of the nearest cells of other types; -1 where there is none."""
        return f"{self.key_added}_neighbors"

    @property
    def distances(self) -> str:
        """obsm, (cells, k) float64: distances to them, radii taken off; NaN where there is none."""
        return f"{self.key_added}_distances"

    @property
    def settings(self) -> str:
        """uns, dict: how the neighbours were found."""
        return self.key_added
