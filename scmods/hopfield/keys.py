"""Names of everything the chapter writes into an AnnData, in one place."""

from __future__ import annotations

from dataclasses import dataclass

__all__ = ["Keys"]


@dataclass(frozen=True)
class Keys:
    """Slots written by `scmods.hopfield`.

    The names of the second group are those of the original package, so that code which reads them goes on working.

    Parameters
    ----------
    key_added
        Prefix of the names of the first group, ``"hopfield"`` by default.

    Examples
    --------
    >>> from scmods import hopfield
    >>> hopfield.Keys("mine").used
    'mine_used'
    """

    key_added: str = "hopfield"

    # smoothed counts and velocity, the names scvelo uses
    spliced = "Ms"
    unspliced = "Mu"
    velocity = "velocity"
    degradation = "gamma"

    # names of the original, see `compute_jacobians`, `compute_jacobian_stats`, `compute_rotational_part`
    eigenvalues = "jacobian_eigenvalues"
    leading_real = "jacobian_eig1_real"
    leading_imag = "jacobian_eig1_imag"
    positive = "jacobian_positive_evals"
    negative = "jacobian_negative_evals"
    trace = "jacobian_trace"
    rotational = "jacobian_rotational"

    @property
    def used(self) -> str:
        """var, bool: the genes that the field models."""
        return f"{self.key_added}_used"

    @property
    def threshold(self) -> str:
        """var, float64: k of the Hill function, in the unit of the expression; NaN for genes not fitted."""
        return f"{self.key_added}_threshold"

    @property
    def exponent(self) -> str:
        """var, float64: n of the Hill function."""
        return f"{self.key_added}_exponent"

    @property
    def hill_mse(self) -> str:
        """var, float64: mean squared distance of the Hill function and the empirical distribution."""
        return f"{self.key_added}_hill_mse"

    @property
    def info(self) -> str:
        """uns, dict: the fitted field (see `Field.to_uns`) and the settings of the fit."""
        return self.key_added

    @property
    def reconstructed(self) -> str:
        """layers, float64: velocity of the field at every cell, NaN for genes that are not modelled."""
        return f"{self.key_added}_velocity"

    @property
    def r2(self) -> str:
        """obs, float64: share of the velocity of each cell that the field reproduces."""
        return f"{self.key_added}_r2"

    @property
    def energy(self) -> str:
        """obs, float64: the sum of the three energies."""
        return f"{self.key_added}_energy"

    @property
    def energy_interaction(self) -> str:
        """obs, float64: energy of the interactions."""
        return f"{self.key_added}_energy_interaction"

    @property
    def energy_degradation(self) -> str:
        """obs, float64: energy of the degradation."""
        return f"{self.key_added}_energy_degradation"

    @property
    def energy_bias(self) -> str:
        """obs, float64: energy of the constant production."""
        return f"{self.key_added}_energy_bias"

    @property
    def rotational_fraction(self) -> str:
        """obs, float64: norm of the antisymmetric part over the norm of the Jacobian, in [0, 1]."""
        return f"{self.key_added}_rotational_fraction"

    @property
    def reactivity(self) -> str:
        """obs, float64: largest eigenvalue of the symmetric part of the Jacobian."""
        return f"{self.key_added}_reactivity"

    @property
    def departure(self) -> str:
        """obs, float64: Henrici's departure from normality of the Jacobian."""
        return f"{self.key_added}_departure"

    @property
    def knock_outs(self) -> str:
        """obsm, float64, (cells, regulators): size of the first-order response to removing each regulator."""
        return f"{self.key_added}_knock_outs"
