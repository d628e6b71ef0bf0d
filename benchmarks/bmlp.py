"""Interaction spectra: the low-rank route against a dense decomposition, in one run and one thread.

    python benchmarks/bmlp.py [--genes 1000 3451] [--hidden 128] [--big 20000] [--json FILE]

The dense reference forms one interaction matrix and decomposes it; its time is that of one output times their number.
Prints CPU seconds, the best of several taken in turn, their ratio, the largest difference of the eigenvalues relative
to the largest one, and the peak memory of a process that takes the low-rank route at the size of `--big`.
"""

from __future__ import annotations

import argparse
import os
from pathlib import Path

os.environ.setdefault("OMP_NUM_THREADS", "1")

import torch
from _measure import in_turn, peak_gigabytes, seconds, write_json

from scmods.bmlp import core

BARS = {3451: 100.0}  # by number of genes


def weights(genes: int, hidden: int, outputs: int) -> tuple[torch.Tensor, ...]:
    g = torch.Generator().manual_seed(genes)
    shapes = ((hidden, genes), (hidden, genes), (outputs, hidden))
    return tuple(torch.randn(s, generator=g, dtype=torch.float64) for s in shapes)


def compare(genes: int, hidden: int, outputs: int) -> dict[str, float]:
    w = weights(genes, hidden, outputs)

    def plain() -> torch.Tensor:
        return torch.linalg.eigh(core.interaction_matrix(*w[:2], w[2][0]))[0]

    fast, per_output, (values, _), dense = in_turn(lambda: core.eigenmodes(*w), plain, 3, calls=3)
    dense = dense.flip(0)
    top = dense[dense.abs().argsort(descending=True)[: 2 * hidden]].sort(descending=True).values
    return {
        "genes": genes,
        "hidden": hidden,
        "outputs": outputs,
        "low_rank_s": fast,
        "dense_s": per_output * outputs,
        "ratio": per_output * outputs / fast,
        "bar": BARS.get(genes, 0.0),
        "difference": float((values[0] - top).abs().max() / top.abs().max()),
    }


def big(genes: int, hidden: int, outputs: int) -> dict[str, float]:
    w = weights(genes, hidden, outputs)
    before = peak_gigabytes()
    spent, _ = seconds(lambda: core.eigenmodes(*w))
    out = {"genes": genes, "hidden": hidden, "outputs": outputs, "low_rank_s": spent}
    return out | {"process_peak_gb": peak_gigabytes(), "before_gb": before}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--genes", type=int, nargs="*", default=[1000, 3451])
    parser.add_argument("--hidden", type=int, default=128)
    parser.add_argument("--outputs", type=int, default=5)
    parser.add_argument("--big", type=int, default=20000)
    parser.add_argument("--json", type=Path)
    options = parser.parse_args()
    torch.set_num_threads(1)
    # first, so that the peak is that of the low-rank route alone
    large = big(options.big, options.hidden, options.outputs)
    peak = large["process_peak_gb"]
    print(f"{large['genes']:>7} genes: {large['low_rank_s']:.2f} s, whole process at most {peak:.2f} GB")
    rows = []
    for genes in options.genes:
        row = compare(genes, options.hidden, options.outputs)
        rows.append(row)
        print(
            f"{genes:>7} genes: low rank {row['low_rank_s']:.3f} s, dense {row['dense_s']:.2f} s for {row['outputs']} "
            f"outputs, ratio {row['ratio']:.0f} (bar {row['bar']:.0f}), relative difference {row['difference']:.1e}"
        )
    if options.json:
        write_json(options.json, {"big": large, "rows": rows})


if __name__ == "__main__":
    main()
