"""Names of everything the models of the chapter write into an AnnData, in one place."""

from __future__ import annotations

from dataclasses import dataclass

__all__ = ["Keys"]


@dataclass(frozen=True)
class Keys:
    """Slots written by `deconvolve`, `impute`, `denoise`, `spatial_pca`.

    Parameters
    ----------
    key_added
        Prefix of the names, ``"smoother"`` by default.

    Examples
    --------
    >>> from scmods import smoother
    >>> smoother.Keys("mine").proportions
    'mine_proportions'
    """

    key_added: str = "smoother"

    @property
    def abundances(self) -> str:
        """obsm, (spots, types), float64: amounts X >= 0 in the scale of the reference."""
        return f"{self.key_added}_abundances"

    @property
    def proportions(self) -> str:
        """obsm, (spots, types), float64: abundances divided by their sum; rows of zeros where nothing was found."""
        return f"{self.key_added}_proportions"

    @property
    def bias(self) -> str:
        """obs, float64: offset of a spot, shared by all genes."""
        return f"{self.key_added}_bias"

    @property
    def deconvolution(self) -> str:
        """uns, dict: types (columns of the two arrays), genes, settings, objective, gap, curve of the tuning."""
        return f"{self.key_added}_deconvolution"

    @property
    def imputed(self) -> str:
        """layers, (spots, genes), float64: observed values as they are, missing ones filled."""
        return f"{self.key_added}_imputed"

    @property
    def denoised(self) -> str:
        """layers, (spots, genes), float64: the smoothed values."""
        return f"{self.key_added}_denoised"

    @property
    def uncertainty(self) -> str:
        """obs, float64: posterior standard deviation of a spot, for a gene of scale 1."""
        return f"{self.key_added}_uncertainty"

    @property
    def scale(self) -> str:
        """var, float64: scale of a gene; times the uncertainty of a spot it is a standard deviation."""
        return f"{self.key_added}_scale"

    @property
    def imputation(self) -> str:
        """uns, dict: what was computed (``"impute"`` or ``"denoise"``) and the settings."""
        return f"{self.key_added}_imputation"

    @property
    def pca(self) -> str:
        """obsm, (spots, comps), float64: scores of spatial PCA."""
        return f"X_{self.key_added}_pca"

    @property
    def loadings(self) -> str:
        """varm, (genes, comps), float64: orthonormal loadings; zeros for genes left out."""
        return f"{self.key_added}_PCs"

    @property
    def pca_info(self) -> str:
        """uns, dict: variance, roughness and eigenvalue of every component, effective smoothing, settings."""
        return f"{self.key_added}_pca"
