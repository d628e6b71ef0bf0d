"""Names of everything the chapter writes into an AnnData, in one place."""

from __future__ import annotations

from dataclasses import dataclass

__all__ = ["FreqKeys", "Keys"]


@dataclass(frozen=True)
class FreqKeys:
    """Slots written by `scmods.bmlp.frequencies`.

    Parameters
    ----------
    key_added
        Prefix given to `frequencies`, ``"freq"`` by default.

    Examples
    --------
    >>> from scmods import bmlp
    >>> bmlp.FreqKeys("mine").vectors
    'X_mine'
    """

    key_added: str = "freq"

    @property
    def vectors(self) -> str:
        """obsm, (cells, freqs), float64: eigenvectors of unit norm; 0 outside the graph."""
        return f"X_{self.key_added}"

    @property
    def values(self) -> str:
        """uns, (freqs,), float64: eigenvalues, ascending."""
        return f"{self.key_added}_vals"

    @property
    def info(self) -> str:
        """uns, dict: settings, gaps, participation ratios, residuals, component sizes."""
        return self.key_added

    @property
    def adjacency(self) -> str:
        """obsp, CSR (cells, cells), float64: the graph."""
        return f"{self.key_added}_connectivities"


@dataclass(frozen=True)
class Keys:
    """Slots written by `scmods.bmlp.fit` and what follows it.

    Parameters
    ----------
    key_added
        Prefix given to `fit`, ``"bmlp"`` by default.

    Examples
    --------
    >>> from scmods import bmlp
    >>> bmlp.Keys("mine").prediction
    'mine_prediction'
    """

    key_added: str = "bmlp"

    @property
    def split(self) -> str:
        """obs, categorical: train, val, test."""
        return f"{self.key_added}_split"

    @property
    def prediction(self) -> str:
        """obsm, (cells, outputs), float64: fitted values, in the unit of the target."""
        return f"{self.key_added}_prediction"

    @property
    def modes(self) -> str:
        """varm, (genes, modes, outputs), float64: eigenvectors of every interaction matrix."""
        return f"{self.key_added}_modes"

    @property
    def linear(self) -> str:
        """varm, (genes, outputs), float64: weights of the linear part."""
        return f"{self.key_added}_linear"

    @property
    def stability(self) -> str:
        """varm, (genes, outputs), float64: share of subsamples in which the gene is among the top genes."""
        return f"{self.key_added}_stability"

    @property
    def mean(self) -> str:
        """var, float64: mean of every gene that the z-scores use."""
        return f"{self.key_added}_mean"

    @property
    def std(self) -> str:
        """var, float64: standard deviation of every gene; 0 marks a constant gene."""
        return f"{self.key_added}_std"

    @property
    def info(self) -> str:
        """uns, dict: settings, eigenvalues, intercepts, R², contributions of the modes."""
        return self.key_added
