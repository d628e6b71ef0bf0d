"""Interaction spectra: the low-rank route against a dense decomposition, in one run and one thread.

    python benchmarks/bmlp.py [--genes 1000 3451] [--hidden 128] [--big 20000] [--json FILE]

The dense reference forms one interaction matrix and decomposes it; it is not run above 5,000 genes.
Prints CPU seconds, their ratio, the largest difference of the eigenvalues relative to the largest one, and the
peak memory that the low-rank route adds at the size of `--big`.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import time
from pathlib import Path

os.environ.setdefault("OMP_NUM_THREADS", "1")

import psutil
import torch

from scmods.bmlp import core


def weights(genes: int, hidden: int, outputs: int) -> tuple[torch.Tensor, ...]:
    g = torch.Generator().manual_seed(genes)
    shapes = ((hidden, genes), (hidden, genes), (outputs, hidden))
    return tuple(torch.randn(s, generator=g, dtype=torch.float64) for s in shapes)


def seconds(function, repeats: int) -> tuple[float, object]:
    best, out = float("inf"), None
    for _ in range(repeats):
        start = time.process_time()
        out = function()
        best = min(best, time.process_time() - start)
    return best, out


def compare(genes: int, hidden: int, outputs: int) -> dict[str, float]:
    w = weights(genes, hidden, outputs)
    fast, (values, _) = seconds(lambda: core.eigenmodes(*w), 3)
    per_output, dense = seconds(lambda: torch.linalg.eigh(core.interaction_matrix(*w[:2], w[2][0]))[0], 1)
    dense = dense.flip(0)
    top = dense[dense.abs().argsort(descending=True)[: 2 * hidden]].sort(descending=True).values
    return {
        "genes": genes,
        "hidden": hidden,
        "outputs": outputs,
        "low_rank_s": fast,
        "dense_s": per_output * outputs,
        "ratio": per_output * outputs / fast,
        "difference": float((values[0] - top).abs().max() / top.abs().max()),
    }


def big(genes: int, hidden: int, outputs: int) -> dict[str, float]:
    w = weights(genes, hidden, outputs)
    before = psutil.Process().memory_info().rss
    spent, _ = seconds(lambda: core.eigenmodes(*w), 1)
    try:
        import resource

        peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * (
            1 if platform.system() == "Darwin" else 1024
        )
    except ImportError:  # Windows
        peak = psutil.Process().memory_info().peak_wset
    return {"genes": genes, "low_rank_s": spent, "process_peak_gb": peak / 1e9, "before_gb": before / 1e9}


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
            f"outputs, ratio {row['ratio']:.0f}, largest relative difference {row['difference']:.1e}"
        )
    if options.json:
        out = {"torch": torch.__version__, "machine": platform.machine(), "big": large, "rows": rows}
        part = options.json.with_suffix(".part")
        part.write_text(json.dumps(out, indent=1), encoding="utf-8")
        os.replace(part, options.json)


if __name__ == "__main__":
    main()
