"""What the authors of the original report on its six simulated circuits, for tables that set it beside a run.

These are the only numbers of the chapter that no run computes. They are quoted from
``reproducibility/benchmark_summary.json`` of the original's repository (version 1.0.1), rounded to three decimals.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import pandas as pd

__all__ = ["published", "published_agreement"]

# circuit: (AUROC, AUPRC) without scaffold, with regulators known, with all edges known, and of GENIE3
_REPORTED = {
    "linear": ((0.637, 0.017), (0.836, 0.056), (0.933, 0.083), (0.788, 0.043)),
    "bifurcating": ((0.577, 0.012), (0.814, 0.037), (0.938, 0.077), (0.839, 0.048)),
    "trifurcating": ((0.615, 0.014), (0.776, 0.023), (0.922, 0.060), (0.816, 0.043)),
    "cycle": ((0.600, 0.015), (0.838, 0.052), (0.938, 0.083), (0.822, 0.044)),
    "converging": ((0.626, 0.019), (0.849, 0.075), (0.944, 0.110), (0.792, 0.057)),
    "binary_tree": ((0.587, 0.013), (0.812, 0.038), (0.928, 0.074), (0.800, 0.045)),
}
_KNOWN = ("nothing", "regulators", "all edges", "regulators, by GENIE3")


def published(circuit: str | None = None) -> pd.DataFrame:
    """AUROC and AUPRC over all ordered pairs of genes, as the original's authors report them.

    Parameters
    ----------
    circuit
        ``"linear"``, ``"bifurcating"``, ``"trifurcating"``, ``"cycle"``, ``"converging"``, ``"binary_tree"``, with or
        without ``"dyngen_"`` in front; None for all six. A circuit that was not reported gives an empty table.

    Returns
    -------
    Columns `circuit`, `known` (what the method was told: nothing, the regulators, or all true edges), `auroc`, `auprc`.

    Examples
    --------
    >>> published("dyngen_cycle").query("known == 'regulators'")["auroc"].item()
    0.838
    """
    import pandas as pd

    rows = [
        {"circuit": name, "known": known, "auroc": auroc, "auprc": auprc}
        for name, values in _REPORTED.items()
        for known, (auroc, auprc) in zip(_KNOWN, values, strict=True)
    ]
    table = pd.DataFrame(rows)
    if circuit is None:
        return table
    return table[table["circuit"] == str(circuit).removeprefix("dyngen_")].reset_index(drop=True)


# data set: correlation of unconstrained interactions of two halves of the cells, 100 genes, same repository
_AGREEMENT = {"pancreas": 0.017, "hematopoiesis": 0.019, "neural crest": 0.060, "limb": 0.039}


def published_agreement(dataset: str) -> float | None:
    """Correlation of the interactions of two halves of the cells, as the original's authors report it.

    None for other data sets.

    Parameters
    ----------
    dataset
        ``"pancreas"``, ``"hematopoiesis"``, ``"neural crest"`` or ``"limb"``. Their pancreas has more cells than the
        one of this package.

    Examples
    --------
    >>> published_agreement("pancreas")
    0.017
    """
    return _AGREEMENT.get(str(dataset))
