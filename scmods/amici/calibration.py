"""Are the p-values what they claim to be: on data without interactions, families of nulls, and smooth fields."""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from scmods import _checks, stats
from scmods.amici.permutations import Pair, gathered, mapped_statistics, order_blocks
from scmods.amici.spatial_nulls import EDGES, shift_maps, smooth_fields, square_blocks

if TYPE_CHECKING:
    import pandas as pd

__all__ = ["family_calibration", "field_calibration", "null_calibration"]

LEVEL = 0.05


def null_calibration(
    n_data: int = 6,
    *,
    n_cells: int = 1500,
    n_genes: int = 80,
    cells: Sequence[str] = ("held_out", "train"),
    method: str = "permutation",
    null: str = "free",
    n_permutations: int = 999,
    width: float = 0.1,
    seed: int = 0,
    fit: dict[str, Any] | None = None,
    **options: Any,
) -> pd.DataFrame:
    """Fit models to simulated tissues in which nobody reacts to anybody, and test every head.

    Parameters
    ----------
    n_data
        Tissues, each with a model of its own.
    n_cells, n_genes
        Size of each tissue.
    cells
        Cells to test on, see `ExplainedVariance.compute`.
    method, null, n_permutations
        See there.
    width
        Share of the width of the tissue that is held out, in its middle.
    seed
        Of the first tissue and model; the next ones count up.
    fit
        Arguments of `AMICI.fit`.
    **options
        Arguments of `AMICI`.

    Returns
    -------
    DataFrame, one row per tissue, cells and head and type: ``data``, ``cells``, ``head``, ``ct_name``,
    ``expl_var_head``, ``p_value_head``, ``p_value_adj_head`` (within the tissue). A share of 5 % of ``p_value_head``
    below 0.05 is what they claim. `calibration_summary` counts.

    Notes
    -----
    Cost: one fit per tissue, about 6 CPU s for 1,500 cells x 80 genes. Measured on 16 tissues (256 tests each, 60
    epochs): held-out cells 5.1 % of p at most 0.05, nothing called in any tissue; training cells 25 %, and calls in
    7 of the 16 tissues.

    Examples
    --------
    >>> from scmods import amici
    >>> fit = {"max_epochs": 1}
    >>> table = amici.null_calibration(1, n_cells=300, n_genes=30, cells=("held_out",), n_permutations=19, fit=fit)
    >>> {"head", "p_value_head"} <= set(table)
    True
    """
    import pandas as pd

    from scmods.amici.explained import ExplainedVariance
    from scmods.amici.model import AMICI, strip
    from scmods.amici.simulate import semisynthetic

    _checks.integer("n_data", n_data)
    rows = []
    for i in range(n_data):
        adata = semisynthetic(n_cells, n_genes, mode="null", seed=seed + i)
        held_out = strip(adata, low=0.5 - width / 2, high=0.5 + width / 2)
        model = AMICI(adata, held_out=held_out, seed=seed + i, **options).fit(**(fit or {}))
        for which in cells:
            with warnings.catch_warnings():
                # that tests on training cells mean nothing is what is shown here
                warnings.simplefilter("ignore", _checks.NumericalWarning)
                found = ExplainedVariance.compute(
                    model, cells=which, method=method, null=null, n_permutations=n_permutations, seed=seed + i,
                    per_gene=False,
                )  # fmt: skip
            table = found.summary()[
                ["head", "ct_name", "n_cells", "expl_var_head", "p_value_head", "p_value_adj_head"]
            ]
            rows.append(table.assign(data=i, cells=which))
    return pd.concat(rows, ignore_index=True)


def calibration_summary(table: pd.DataFrame, level: float = LEVEL) -> pd.DataFrame:
    """Share of small p, and of tissues in which anything survives the adjustment.

    Parameters
    ----------
    table
        Of `null_calibration`.
    level
        Of the tests.

    Returns
    -------
    DataFrame, one row per kind of cells: ``tests``, ``small`` (share of p of at most `level`), ``smallest`` p,
    ``called`` (tests whose adjusted p is at most `level`), ``families`` (tissues) and ``families_called``.

    Examples
    --------
    >>> import pandas as pd
    >>> from scmods import amici
    >>> table = pd.DataFrame({"data": 0, "cells": "held_out", "p_value_head": [0.01, 0.5]})
    >>> table["p_value_adj_head"] = 2 * table["p_value_head"]
    >>> amici.calibration_summary(table)["small"].tolist()
    [0.5]
    """
    import pandas as pd

    rows = []
    for which, part in table.dropna(subset="p_value_head").groupby("cells", sort=False):
        called = part["p_value_adj_head"] <= level
        families = called.groupby(part["data"]).any()
        rows.append(
            {"cells": which, "tests": len(part), "small": float((part["p_value_head"] <= level).mean()),
             "smallest": float(part["p_value_head"].min()), "called": int(called.sum()), "families": len(families),
             "families_called": int(families.sum())}
        )  # fmt: skip
    return pd.DataFrame(rows)


def family_calibration(
    n_families: int = 2000,
    *,
    n_heads: int = 4,
    n_types: int = 4,
    n_cells: int = 40,
    n_permutations: int | None = None,
    alpha: float = LEVEL,
    seed: int = 0,
) -> pd.DataFrame:
    """How often a family of tests in which nothing is true has any that survives the adjustment.

    Heads of one type share their orders, as in `ExplainedVariance`.

    Parameters
    ----------
    n_families
        Families of ``n_heads * n_types`` tests.
    n_heads, n_types, n_cells
        Size of a family, and cells of a type.
    n_permutations
        Orders; None takes the default of `ExplainedVariance`.
    alpha
        Level of the adjustment.
    seed
        Of everything.

    Returns
    -------
    DataFrame with two rows, ``p``: ``"count / orders"`` (the published one, which can be 0) and
    ``"(count + 1) / (orders + 1)"``; columns ``families``, ``called`` (share with any call), ``zero`` (share of
    p that are 0), ``small`` (share of p of at most `alpha`).

    Notes
    -----
    Measured on 2,000 families of 16 tests: with the fewest orders, 320, the published p calls something in 9.5 % of
    the families and (count + 1) / (orders + 1) in 4.4 %; with the default of 3,200 in 5.5 % and 4.8 %.

    Examples
    --------
    >>> from scmods import amici
    >>> table = amici.family_calibration(5, n_permutations=320)
    >>> table["p"].tolist()
    ['count / orders', '(count + 1) / (orders + 1)']
    """
    import pandas as pd

    from scmods.amici._explained_options import n_orders

    _checks.integer("n_families", n_families)
    orders = n_orders(n_permutations, n_heads * n_types, alpha)
    rng = np.random.default_rng(_checks.integer("seed", seed, 0))
    counts = np.empty((n_families, n_types, n_heads))
    for family in counts:
        for of_type in family:
            a, b = rng.normal(size=(n_heads, n_cells, 1)), rng.normal(size=(n_cells, 1))
            pairs = [Pair(one - one.mean(), b - b.mean()) for one in a]
            maps = next(order_blocks(n_cells, orders, rng))
            of_type[:] = gathered(pairs, mapped_statistics(pairs, maps)).count
    rows = []
    for name, p in (
        ("count / orders", counts / orders),
        ("(count + 1) / (orders + 1)", (counts + 1) / (orders + 1)),
    ):
        adjusted = stats.benjamini_hochberg(p.reshape(n_families, -1), axis=1)
        rows.append(
            {"p": name, "families": n_families, "called": float((adjusted <= alpha).any(axis=1).mean()),
             "zero": float((p == 0).mean()), "small": float((p <= alpha).mean())}
        )  # fmt: skip
    return pd.DataFrame(rows)


def field_calibration(
    n_pairs: int = 1000,
    *,
    wavelengths: Sequence[float] = (0.0, 10.0, 40.0, 100.0),
    nulls: Sequence[str] = ("free", "block", "toroidal", "mirror"),
    n_cells: int = 300,
    side: float = 173.0,
    aspect: float = 1.0,
    n_permutations: int = 199,
    per_tissue: int = 10,
    seed: int = 0,
) -> pd.DataFrame:
    """Share of independent pairs of smooth fields that each null calls at 0.05.

    Parameters
    ----------
    n_pairs
        Pairs for each wavelength.
    wavelengths
        Of `scmods.amici.spatial_nulls.smooth_fields`, in the unit of `side`.
    nulls
        Which.
    n_cells
        Cells at random places.
    side, aspect
        Root of the area of the frame, and width over height.
    n_permutations
        Orders or shifts.
    per_tissue
        Pairs that share the places of the cells.
    seed
        Of everything.

    Returns
    -------
    DataFrame, one row per wavelength: ``wavelength``, ``n_pairs`` and a column for each null.

    Examples
    --------
    >>> from scmods import amici
    >>> table = amici.field_calibration(4, wavelengths=(0.0, 40.0), nulls=("free",), n_cells=50, n_permutations=19)
    >>> table["wavelength"].tolist(), "free" in table
    ([0.0, 40.0], True)
    """
    import pandas as pd

    frame = side * np.array([aspect**0.5, aspect**-0.5])
    rows = []
    for number, wavelength in enumerate(wavelengths):
        rng = np.random.default_rng([_checks.integer("seed", seed, 0), number])
        called = {name: 0 for name in nulls}
        for start in range(0, n_pairs, per_tissue):
            coords = rng.uniform(size=(n_cells, 2)) * frame
            n = min(per_tissue, n_pairs - start)
            fields = smooth_fields(coords, wavelength, 2 * n, rng)
            pairs = [Pair(fields[:, [i]], fields[:, [n + i]]) for i in range(n)]
            for name in nulls:
                called[name] += int((_field_pvalues(pairs, coords, name, n_permutations, rng) <= LEVEL).sum())
        rows.append(
            {"wavelength": wavelength, "n_pairs": n_pairs} | {k: v / n_pairs for k, v in called.items()}
        )
    return pd.DataFrame(rows)


def _field_pvalues(
    pairs: list[Pair], coords: np.ndarray, null: str, n: int, rng: np.random.Generator
) -> np.ndarray:
    if null in EDGES:
        draws = mapped_statistics(pairs, shift_maps(coords, n, rng, edges=null), normalise=True)
    else:
        blocks = square_blocks(coords) if null == "block" else None
        draws = mapped_statistics(pairs, next(order_blocks(len(coords), n, rng, blocks)))
    return gathered(pairs, draws).pvalue
