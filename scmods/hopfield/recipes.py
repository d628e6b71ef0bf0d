"""The options of a fit, checked against each other, and how they solve one cluster."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

from scmods import _checks
from scmods.hopfield import gram, masks, penalised
from scmods.hopfield.fit_input import FitInput
from scmods.hopfield.gram_sums import FieldSums, GramSums, Solution

__all__ = ["Recipe", "make_recipe", "ridge_option"]

METHODS = ("ridge", "penalised", "least_squares")
RIDGES = ("gcv", "gcv_target")
BIASES = ("l1", "l2", "elastic")


@dataclass(frozen=True)
class Recipe:
    """How one cluster is solved, all choices made and checked; see `fit` for their meaning."""

    method: str
    ridge: float | None
    per_target: bool
    scaffold: float
    bias: float
    bias_penalty: str
    refit_gamma: bool
    gamma_min: float
    pooled: float
    allowed: Tensor | None
    penalised_edges: Tensor
    weights: Tensor | None

    def linear(self, sums: GramSums, penalty: Tensor | float | None) -> Solution:
        """Ridge or least squares, both linear in the targets.

        Parameters
        ----------
        sums
            Sums of one regression.
        penalty
            Of the ridge; None chooses it.
        """
        if self.method == "least_squares":
            return gram.least_squares(sums, allowed=self.allowed)
        return gram.ridge(sums, penalty, per_target=self.per_target, weights=self.weights)

    def solve(
        self,
        sums: FieldSums,
        gamma: Tensor,
        *,
        centre: Tensor | None = None,
        penalty: Tensor | None = None,
    ) -> Solution:
        """Solution of one cluster.

        Parameters
        ----------
        sums
            Sums over its cells.
        gamma
            (genes,) degradation rates.
        centre
            (genes, regs) weights that the ridge shrinks towards; 0 by default.
        penalty
            (genes,) penalties of the ridge, in place of choosing them.
        """
        if self.method == "penalised":
            return self._original(sums, gamma)
        shifted = sums if centre is None else sums.minus(centre)
        penalty = self.ridge if penalty is None else penalty
        found = self.linear(shifted.targets(gamma), penalty)
        if self.refit_gamma:
            found = gram.refit_degradation(shifted, lambda s: self.linear(s, found.penalty), self.gamma_min)
        return found if centre is None else found._replace(w=found.w + centre)

    def _original(self, sums: FieldSums, gamma: Tensor) -> Solution:
        options = {
            "scaffold": self.scaffold,
            "bias_regularization": self.bias,
            "bias_penalty": self.bias_penalty,
            "allowed": self.allowed,
        }
        if self.refit_gamma:
            return penalised.penalised_with_degradation(
                sums, gamma, self.penalised_edges, gamma_min=self.gamma_min, **options
            )
        return penalised.penalised(sums.targets(gamma), self.penalised_edges, **options)

    def solve_all(
        self,
        sums: Sequence[FieldSums],
        gamma: Tensor,
        penalties: Sequence[Tensor] | None = None,
    ) -> list[Solution]:
        """Solutions of all clusters, each shrunk towards the fit of all cells if `pooled` says so.

        Parameters
        ----------
        sums
            Sums of every cluster.
        gamma
            (genes,) degradation rates.
        penalties
            (genes,) penalties of the ridge for every cluster, in place of choosing them.
        """
        centre = None
        if self.pooled:
            centre = self.pooled * self.solve(gram.total(sums), gamma).w
        own = penalties or [None] * len(sums)
        return [self.solve(s, gamma, centre=centre, penalty=p) for s, p in zip(sums, own, strict=True)]


def ridge_option(ridge: object) -> tuple[float | None, bool]:
    """The penalty, None to choose it, and whether each target gets its own.

    Parameters
    ----------
    ridge
        A positive number, ``"gcv"`` or ``"gcv_target"``.
    """
    if isinstance(ridge, str):
        _checks.one_of("ridge", ridge, RIDGES)
        return None, ridge == "gcv_target"
    value = _checks.number("ridge", ridge, 0.0, why="Or let it be chosen: ridge='gcv'.")
    if value == 0:
        _checks.fail("`ridge` is 0, but must be positive.", "Without penalty use method='least_squares'.")
    return value, False


def _weights(data: FitInput, method: str, edge_weights: Any, *, hard: bool, scaffold: float) -> Tensor | None:
    """Penalty factors of the ridge from the scaffold, its evidence and `edge_weights`; None where all are 1."""
    factors = np.ones((len(data.genes), len(data.regs)))
    if data.edges is not None:
        factors = np.where(data.edges.allowed, 1 / data.edges.weight, np.inf if hard else 1.0 + scaffold)
    if edge_weights is not None:
        factors = factors * masks.weight_matrix(edge_weights, data.genes, data.regs.numpy())
    evidence = edge_weights is not None or (data.edges is not None and (data.edges.weight != 1).any())
    if evidence and method != "ridge":
        _checks.fail(
            f"Weights of edges are factors of the ridge penalty, but method is {method!r}.",
            "Use method='ridge', or leave the weights out.",
        )
    return None if (factors == 1).all() else torch.as_tensor(factors)


def make_recipe(
    data: FitInput,
    *,
    method: str = "ridge",
    hard_mask: bool | None = None,
    ridge: float | str = "gcv",
    scaffold_regularization: float = 1.0,
    bias_regularization: float = 1.0,
    bias_penalty: str = "l1",
    refit_gamma: bool = False,
    gamma_min: float = 0.01,
    pooled: float = 0.0,
    edge_weights: Any = None,
) -> Recipe:
    """The options of `fit`, checked against each other.

    Parameters
    ----------
    data
        What is fitted.
    method, hard_mask, ridge, scaffold_regularization, bias_regularization, bias_penalty, refit_gamma, gamma_min
        As in `fit`.
    pooled, edge_weights
        As in `fit`.

    Raises
    ------
    ValueError, TypeError, MissingKeyError
        For values out of range and options that do not belong together.
    """
    _checks.one_of("method", method, METHODS)
    _checks.one_of("bias_penalty", bias_penalty, BIASES)
    value, per_target = ridge_option(ridge)
    scaffold = _checks.number("scaffold_regularization", scaffold_regularization, 0.0)
    share = _checks.number("pooled", pooled, 0.0, 1.0)
    if share == 1:
        _checks.fail("`pooled` is 1, but must be below 1.", "One field for all cells: cluster_key=None.")
    if share and method != "ridge":
        _checks.fail(f"`pooled` is {share:g}, but method {method!r} has no penalty to pool: method='ridge'.")
    hard = method != "penalised" if hard_mask is None else hard_mask
    if method == "least_squares" and not hard:
        _checks.fail("Least squares has no penalty, so hard_mask=False has no meaning: method='ridge'.")
    inside = None if data.edges is None else torch.as_tensor(data.edges.allowed)
    outside = torch.ones(len(data.genes), len(data.regs), dtype=torch.bool) if inside is None else ~inside
    return Recipe(
        method,
        value,
        per_target,
        scaffold,
        _checks.number("bias_regularization", bias_regularization, 0.0),
        bias_penalty,
        refit_gamma,
        _checks.number("gamma_min", gamma_min, 0.0),
        share,
        inside if hard else None,
        outside,
        _weights(data, method, edge_weights, hard=hard, scaffold=scaffold),
    )
