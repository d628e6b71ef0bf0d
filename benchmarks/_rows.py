"""Rows of all benchmarks in one form: what each file writes with --json, turned into lines of one table.

A row says what was computed, at which size, against what; `ratio` is CPU seconds of the plain reference over ours and
`difference` that of the two results, which must not exceed `tolerance`. A row of memory has no ratio but `peak_gb`
and its bar `most_gb`. `missed` says whether the row falls short of any of its bars.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

Raw = Any  # what a benchmark wrote
Row = dict[str, Any]


def compared(
    chapter: str,
    what: str,
    size: str,
    against: str,
    seconds: tuple[float, float],
    *,
    difference: float | None,
    tolerance: float | None,
    bar: float | None = None,
) -> Row:
    """One row of a ratio; `seconds` are ours and those of the plain reference."""
    return {
        "chapter": chapter, "what": what, "size": size, "against": against, "ratio": seconds[1] / seconds[0],
        "bar": bar or None, "difference": difference, "tolerance": tolerance, "unit": "CPU s",
        "seconds": list(seconds),
    }  # fmt: skip


def memory(
    chapter: str, what: str, size: str, against: str, peak: float, seconds: float, *, most: float | None
) -> Row:
    """One row of peak memory in GB, with the CPU seconds that it took."""
    return {
        "chapter": chapter, "what": what, "size": size, "against": against, "ratio": None, "bar": None,
        "difference": None, "tolerance": None, "unit": "GB", "seconds": [seconds], "peak_gb": peak, "most_gb": most,
    }  # fmt: skip


def falls_short(row: Row) -> bool:
    """Whether a row misses a bar, or its two results differ by more than it allows."""
    pairs = (
        (row["bar"], row["ratio"]),
        (row["difference"], row["tolerance"]),
        (row.get("peak_gb"), row.get("most_gb")),
    )
    # a NaN is a miss, so ask for what is right
    return not all(low <= high for low, high in pairs if low is not None and high is not None)


WHOLE = "whole process"
BEYOND = "beyond input and output"


def bmlp(raw: Raw) -> list[Row]:
    rows = [
        compared(
            "bmlp", "interaction spectrum", f"{r['genes']:,} genes x {r['hidden']} units, {r['outputs']} outputs",
            "dense eigendecomposition", (r["low_rank_s"], r["dense_s"]),
            difference=r["difference"], tolerance=1e-8, bar=r["bar"],
        )
        for r in raw["rows"]
    ]  # fmt: skip
    big = raw["big"]
    size = f"{big['genes']:,} genes x {big['hidden']} units, {big['outputs']} outputs"
    used = big["process_peak_gb"]
    return [*rows, memory("bmlp", "interaction spectrum", size, WHOLE, used, big["low_rank_s"], most=1.0)]


def bmlp_primal(raw: Raw) -> list[Row]:
    rows = []
    for r in raw["rows"]:
        size = f"{r['cells']:,} cells x {r['comps']} components"
        if "dual_s" in r:
            rows.append(
                compared(
                    "bmlp", "quadratic model, whole grid", f"{size}, {raw['genes']:,} genes", "cells x cells form",
                    (r["grid_s"], r["dual_s"]), difference=r["loo_difference"], tolerance=1e-6,
                )
            )  # fmt: skip
        else:
            spent = r["single_s"] + r["grid_s"]
            rows.append(
                memory("bmlp", "quadratic model, whole grid", size, WHOLE, r["peak_gb"], spent, most=None)
            )
    return rows


def graph(raw: Raw) -> list[Row]:
    rows = []
    for r in raw["rows"]:
        what, size = f"{raw['pairs']} frequencies of a {r['variant']} graph", f"{r['cells']:,} cells"
        if "dense_s" in r:
            both = r["eigen_s"], r["dense_s"]
            apart = max(1 - r["subspace_cosine"], r["value_difference"])
            against = "dense eigendecomposition"
            rows.append(compared("bmlp", what, size, against, both, difference=apart, tolerance=1e-6))
        else:
            most = 3.0 if r["cells"] >= 1_000_000 else None
            rows.append(memory("bmlp", what, size, WHOLE, r["peak_gb"], r["eigen_s"], most=most))
    return rows


HOPFIELD = {
    "rotation": "rotation of every cell",
    "elements": "three entries of every Jacobian",
    "eigenvalues": "all eigenvalues of every Jacobian",
}


def hopfield(raw: Raw) -> list[Row]:
    rows = [
        compared(
            "hopfield", HOPFIELD[r["what"]],
            f"{r['cells']:,} cells x {r['genes']} genes, {r['regulators']} regulators",
            "one square matrix per cell", (r["fast_s"], r["per_cell_s"]),
            difference=r["difference"], tolerance=1e-8, bar=r["bar"],
        )
        for r in raw["rows"]
    ]  # fmt: skip
    rows += [
        memory(
            "hopfield", "Jacobians of every cell, leading modes kept", f"{m['cells']:,} cells x {m['genes']} genes",
            f"beyond the input; all matrices: {m['all_jacobians_gb']:,.2g} GB", m["added_gb"], m["s"], most=0.3,
        )
        for m in raw["memory"]
    ]  # fmt: skip
    return rows


PRIORS = {"standardisation": "standardised prior", "decay": "decay of correlation by neighbour"}


def smoother_priors(raw: Raw) -> list[Row]:
    rows = [
        compared(
            "smoother", PRIORS[r["part"]], f"{r['spots']:,} spots", "dense inverse", (r["fast_s"], r["dense_s"]),
            difference=r["difference"], tolerance=1e-9, bar=r["bar"],
        )
        for r in raw["rows"]
    ]  # fmt: skip
    big = raw["big"]
    spent = big["standardisation_s"] + big["decay_s"]
    size = f"{big['spots']:,} spots"
    return [*rows, memory("smoother", "prior and its decay", size, WHOLE, big["peak_gb"], spent, most=2.0)]


LOSSES = {
    "quadratic": ("quadratic loss and gradient", "sparse product of the library"),
    "contrastive": ("contrastive loss and gradient", "10 random permutations"),
    "divergence of all pairs": ("divergence of all pairs and gradient", "matrix of all pairs"),
    "divergence of neighbours": ("divergence of neighbours and gradient", "matrix of all pairs"),
    "topological": ("topological loss and gradient", "simplex tree"),
}


def smoother_losses(raw: Raw) -> list[Row]:
    rows = []
    for r in raw["rows"]:
        case, groups = r["case"].split(", ")
        what, against = LOSSES[case]
        # the reference draws permutations: it may lie five of its own standard deviations from their mean
        near = 5 * r["sd"] if "sd" in r else 1e-8
        both = r["ms"] / 1e3, r["plain_ms"] / 1e3
        size = f"{r['spots']:,} spots, {groups}"
        rows.append(
            compared(
                "smoother",
                what,
                size,
                against,
                both,
                difference=r["difference"],
                tolerance=near,
                bar=r["bar"],
            )
        )
    big = raw["big"]
    size, spent = f"{big['spots']:,} spots, {big['groups']} groups", big["ms"] / 1e3
    what = "quadratic loss and gradient"
    return [*rows, memory("smoother", what, size, WHOLE, big["peak_gb"], spent, most=4.0)]


LARGE = {
    "deconvolve": "deconvolution", "auto": "deconvolution, strength chosen", "impute": "imputation",
    "denoise": "denoising",
}  # fmt: skip


def smoother_models(raw: Raw) -> list[Row]:
    rows = []
    for r in raw.get("adam", []):
        # the exact solver must end at least as low: what counts is by how much it ends higher, nothing here
        higher = max(0.0, (r["exact"] - r["adam"]) / abs(r["adam"]))
        rows.append(
            compared(
                "smoother", "deconvolution to the minimum",
                f"{r['spots']:,} spots, strength {r['smoothing']:g}, tissue {r['seed'] + 1}",
                f"{r['epochs']:,} steps of gradient descent (Adam)", (r["exact_s"], r["adam_s"]),
                difference=higher, tolerance=1e-12, bar=r["bar"],
            )
        )  # fmt: skip
    for r in raw.get("large", []):
        what, size = LARGE[r["task"]], f"{r['spots']:,} spots"
        rows.append(memory("smoother", what, size, WHOLE, r["peak_gb"], r["cpu_s"], most=4.0))
    return rows


DENSITIES = {"published": "as published", "plateau": "as one array", "exact": "as one array, exact density"}


def scyan(raw: Raw) -> list[Row]:
    rows = []
    for r in raw["rows"]:
        populations, markers = r["size"].split(" x ")
        size = f"{r['cells']:,} cells x {markers} markers, {populations} populations"
        against = (
            "full-width layers, prior " + DENSITIES[r["density"]] if r["density"] else "batches cell by cell"
        )
        both = r["fast_s"], r["plain_s"]
        how = {"difference": r["difference"], "tolerance": 1e-3, "bar": r["bar"]}
        rows.append(compared("scyan", r["what"], size, against, both, **how))
    for m in raw["memory"]:
        size = f"{m['cells']:,} cells x 30 markers, 30 populations"
        rows.append(memory("scyan", m["call"], size, BEYOND, m["added_gb"], m["s"], most=0.5))
    return rows


AMICI = {
    "compute": ("explained variance, whole table", "one pass per head and type"),
    "permutation": ("permutation test", "gathering of whole blocks"),
    "training step": ("training step", "every pair embedded anew"),
}


def amici(raw: Raw) -> list[Row]:
    rows = []
    for r in raw["rows"]:
        what, against = AMICI[r["what"]]
        both = r["fast_s"], r["plain_s"]
        how = {"difference": r["difference"], "tolerance": 1e-5, "bar": r["bar"]}
        rows.append(compared("amici", what, r["size"], against, both, **how))
    for m in raw["memory"]:
        spent = sum(m[f"{name}_s"] for name in ("neighbours", "prediction", "explained"))
        size = f"{m['cells']:,} cells"
        what = "neighbours, prediction, explained variance"
        rows.append(memory("amici", what, size, WHOLE, m["explained_gb"], spent, most=4.0))
    return rows


ADAPTERS: dict[str, Callable[[Raw], list[Row]]] = {
    f"{f.__name__}.py": f
    for f in (
        bmlp,
        bmlp_primal,
        graph,
        hopfield,
        smoother_priors,
        smoother_losses,
        smoother_models,
        scyan,
        amici,
    )
}


def common(benchmark: str, raw: Raw, date: str, *, bars: bool = True) -> list[Row]:
    """Rows of one benchmark file; without `bars` time and memory are free (sizes that only show that it runs)."""
    rows = []
    for row in ADAPTERS[benchmark](raw):
        if not bars:
            row |= {"bar": None} | ({"most_gb": None} if "most_gb" in row else {})
        rows.append(row | {"missed": falls_short(row), "benchmark": f"benchmarks/{benchmark}", "date": date})
    return rows
