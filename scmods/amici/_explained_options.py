"""Checks of the options of explained variance, and what a reader must be warned of."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np

from scmods import _checks
from scmods.amici import _explained_table as tables
from scmods.amici._type_tests import Plan, TypeResult
from scmods.amici.spatial_nulls import EDGES, NULLS

__all__ = ["check_options", "min_n_permutations", "n_orders", "warn_of"]

METHODS = ("permutation", "pearson3")
MARGIN = 10  # default orders, in multiples of the fewest with which one test can survive the adjustment
SMOOTH = 1.2  # inflation of the variance from which free permutation deserves a warning


def min_n_permutations(n_heads: int, n_types: int, alpha: float) -> int:
    """Orders below which not even the smallest possible p survives the adjustment over all heads and types.

    Parameters
    ----------
    n_heads, n_types
        Whose product is the number of tests.
    alpha
        Level.
    """
    return math.ceil(n_heads * n_types / alpha)


def check_options(alpha: float, seed: int, method: str, null: str) -> None:
    """Refuse values out of range.

    Parameters
    ----------
    alpha, seed, method, null
        As in `ExplainedVariance.compute`.
    """
    _checks.integer("seed", seed, 0)
    _checks.one_of("method", method, METHODS)
    _checks.one_of("null", null, NULLS)
    if not 0 < _checks.number("alpha", alpha) < 1:
        _checks.fail(f"`alpha` is {alpha:g}, but must lie between 0 and 1, both excluded: alpha=0.05.")
    if method == "pearson3" and null in EDGES:
        _checks.fail(
            f"method='pearson3' has no closed form for null={null!r}.",
            'Use method="permutation", or null="free" or "block".',
        )


def n_orders(n: int | None, n_tests: int, alpha: float) -> int:
    """Orders to draw; warns of too few.

    Parameters
    ----------
    n
        As asked for, or None.
    n_tests
        Heads times types.
    alpha
        Level.
    """
    least = min_n_permutations(n_tests, 1, alpha)
    if n is None:
        return MARGIN * least
    _checks.integer("n_permutations", n, 1, why=f"{n_tests} tests at alpha={alpha:g} need at least {least}.")
    if n + 1 < least:
        _checks.warn(
            f"With n_permutations={n} no p is below {1 / (n + 1):.2g}, so none of the {n_tests} tests can survive "
            f"the adjustment at alpha={alpha:g}. That needs at least n_permutations={least}; "
            f"{MARGIN * least} is the default.",
            level=5,
        )
    return n


def warn_of(results: Sequence[TypeResult], heads: Sequence[int], plan: Plan) -> None:
    """Warn of what a reader could misread: negative but significant, or smooth fields under free permutation.

    Parameters
    ----------
    results
        One per type.
    heads
        Their numbers.
    plan
        How was tested.
    """
    if not plan.run_permutation_test:
        return
    adjusted = tables.adjusted(np.stack([r.p for r in results], axis=1))
    odd = [
        f"head {h} in {r.name!r} ({r.total[i]:.2g})"
        for t, r in enumerate(results) for i, h in enumerate(heads) if r.total[i] < 0 and adjusted[i, t] <= 0.05
    ]  # fmt: skip
    if odd and not plan.scaled:  # scaled, it is another sum over genes that was called
        _checks.warn(
            f"Negative explained variance although the test calls it: {_checks.listing(odd, 4)}. The direction is "
            "right and the size too large; read r2_head and slope_head.",
            level=5,
        )
    smooth = [r.name for r in results if r.smooth is not None and np.nanmax(r.smooth, initial=0) > SMOOTH]
    if plan.null == "free" and smooth:
        _checks.warn(
            f"Predictions and genes are smooth over the tissue in {_checks.listing(smooth, 4)}, so free "
            'permutation calls too often. Use null="mirror".',
            level=5,
        )
