"""Jacobians of every cell: the exact fast forms against one matrix per cell, in one run and one thread.

    python benchmarks/hopfield.py [--cells 500] [--genes 200 500] [--memory 1000 10000 100000] [--json FILE]

The baseline is `scmods.hopfield.reference`: float64, one square Jacobian and one decomposition per cell, timed on the
first `--baseline` cells and scaled to all. Times are CPU seconds, the best of several repeats in turn; the bars of the
ratios are those of 500 genes. Memory is the peak of a process of its own, above what it held before the call (input and
imports); with keep="leading" the output is a few numbers per cell. Ends with exit status 1 if a ratio or the memory
misses its bar.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
from itertools import product
from pathlib import Path

os.environ.setdefault("OMP_NUM_THREADS", "1")

import numpy as np
import torch
from _measure import in_turn, peak_gigabytes, seconds, write_json

from scmods.hopfield import core, reference, spectrum
from scmods.hopfield.field import ClusterField, Field

BARS = {"rotation": 20.0, "elements": 300.0, "eigenvalues": 5.0}
MEMORY_BAR = 0.3  # GB above the input, whatever the number of cells: blocks of the input checks, results
PAIRS = [(0, 1), (1, 0), (2, 2)]


def make(cells: int, genes: int, regs: int) -> tuple[ClusterField, torch.Tensor]:
    g = torch.Generator().manual_seed(genes + regs)

    def uniform(low: float, high: float, *shape: int) -> torch.Tensor:
        return low + (high - low) * torch.rand(*shape, generator=g, dtype=torch.float64)

    w = torch.randn(genes, regs, generator=g, dtype=torch.float64)
    rest = (uniform(*r, genes) for r in ((0.1, 2), (-1, 1), (0.3, 3), (1.5, 6)))
    return ClusterField(w, torch.arange(regs), *rest), uniform(0.05, 4, cells, genes)


def fast_elements(field: ClusterField, x: torch.Tensor) -> torch.Tensor:
    i, j = torch.tensor(PAIRS).T
    slope = core.activation_derivative(x[:, j], field.threshold[j], field.exponent[j])
    return core.elements(slope, field.w[i, j], field.gamma[i], i == j)


def fast_eigenvalues(field: ClusterField, x: torch.Tensor) -> torch.Tensor:
    return spectrum.eigenvalues(spectrum.Blocks.of(field), field.slope(x))[0]


def compare(name: str, genes: int, regs: int, cells: int, baseline: int) -> dict[str, object]:
    field, x = make(cells, genes, regs)
    args = (core.square(field.w, field.regs), field.gamma, field.threshold, field.exponent)
    part = x[:baseline]
    fast, slow = {
        "rotation": (
            lambda: core.rotation(field.slope(x), field.w, field.regs),
            lambda: reference.rotation_reference(part, *args),
        ),
        "elements": (
            lambda: fast_elements(field, x),
            lambda: reference.elements_reference(part, *args, PAIRS),
        ),
        "eigenvalues": (
            lambda: fast_eigenvalues(field, x),
            lambda: reference.eigenvalues_reference(part, *args),
        ),
    }[name]
    fast_s, slow_s, found, truth = in_turn(fast, slow, 5, calls=2)
    slow_s *= cells / len(part)
    found = found[: len(part)]
    if name == "eigenvalues":  # sums of powers do not depend on the order
        found, truth = ((v**2).sum(1).real for v in (found, truth))
    difference = float(((found - truth).abs() / truth.abs().clamp_min(1e-9)).max())
    return {
        "what": name, "cells": cells, "genes": genes, "regulators": regs, "fast_s": fast_s, "per_cell_s": slow_s,
        "ratio": slow_s / fast_s, "bar": BARS[name] if genes == 500 else 0.0, "difference": difference,
    }  # fmt: skip


def memory(cells: int, genes: int, regs: int) -> None:
    """Run in a process of its own: prints the peak before and after, and the CPU seconds."""
    from anndata import AnnData

    from scmods import hopfield

    torch.set_num_threads(1)
    one, _ = make(1, genes, regs)
    field = Field(
        tuple(f"g{i}" for i in range(genes)), ("A", "B"), one.regs, torch.stack([one.w, one.w / 2]),
        one.gamma.repeat(2, 1), one.bias.repeat(2, 1), one.threshold, one.exponent,
    )  # fmt: skip

    def data(n: int) -> AnnData:
        rng = np.random.default_rng(0)
        x = rng.random((n, genes), dtype=np.float32)
        adata = AnnData(layers={"Ms": x}, shape=x.shape)
        adata.var_names = field.genes
        adata.obs["cell_type"] = np.array(["A", "B"], dtype=object)[np.arange(n) % 2]
        adata.uns["hopfield"] = field.to_uns()
        return adata

    hopfield.compute_jacobians(data(10), keep="leading")  # everything imported and warm
    adata = data(cells)
    before = peak_gigabytes()
    spent, _ = seconds(lambda: hopfield.compute_jacobians(adata, keep="leading"), 1)
    print(
        json.dumps({"cells": cells, "genes": genes, "before": before, "after": peak_gigabytes(), "s": spent})
    )


def measure(cells: int) -> dict[str, float]:
    call = [sys.executable, __file__, "--one", str(cells)]
    run = subprocess.run(call, capture_output=True, text=True, check=True)
    row = json.loads(run.stdout.splitlines()[-1])
    return {
        "cells": cells, "genes": row["genes"], "input_gb": cells * row["genes"] * 4 / 1e9, "s": row["s"],
        "added_gb": row["after"] - row["before"], "all_jacobians_gb": cells * row["genes"] ** 2 * 8 / 1e9,
    }  # fmt: skip


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--cells", type=int, default=500)
    parser.add_argument("--genes", type=int, nargs="+", default=[200, 500])
    parser.add_argument("--baseline", type=int, default=25)
    parser.add_argument("--memory", type=int, nargs="*", default=[1000, 10000, 100000])
    parser.add_argument("--json", type=Path)
    parser.add_argument("--one", type=int, help=argparse.SUPPRESS)
    options = parser.parse_args()
    torch.set_num_threads(1)
    if options.one:
        memory(options.one, 200, 20)
        return
    # first, while this process is small: a child starts with the peak of its parent
    added = [measure(n) for n in options.memory]
    rows = []
    print("| what | cells x genes (regulators) | per cell s | fast s | ratio | bar | difference |")
    print("|---|---|---|---|---|---|---|")
    for genes, name in product(options.genes, BARS):
        regs = genes if name == "elements" else genes // 10
        row = compare(name, genes, regs, options.cells, min(options.baseline, options.cells))
        rows.append(row)
        print(
            f"| {name} | {row['cells']} x {row['genes']} ({regs}) | {row['per_cell_s']:.3f} | {row['fast_s']:.5f} | "
            f"{row['ratio']:.0f} | {row['bar']:.0f} | {row['difference']:.1e} |"
        )
    if added:
        print(
            "\n| cells | input GB | memory added GB | all Jacobians would be GB | CPU s |\n|---|---|---|---|---|"
        )
    for m in added:
        print(
            f"| {m['cells']} | {m['input_gb']:.3f} | {m['added_gb']:.3f} | {m['all_jacobians_gb']:.2f} | {m['s']:.1f} |"
        )
    if options.json:
        write_json(options.json, {"rows": rows, "memory": added})
    missed = [r["what"] for r in rows if r["ratio"] < r["bar"] or r["difference"] > 1e-8]
    missed += [f"memory at {m['cells']} cells" for m in added if m["added_gb"] > MEMORY_BAR]
    if missed:
        sys.exit(f"below the bar: {', '.join(missed)}")


if __name__ == "__main__":
    main()
