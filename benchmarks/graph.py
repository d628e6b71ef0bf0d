"""Frequencies of thick and thin trees of cells: time, memory and residuals from 3,000 to 1,000,000 cells.

    python benchmarks/graph.py                         # 3k, 20k, 100k
    python benchmarks/graph.py --sizes 3000 1000000 --json graph.json

Every case runs in a process of its own, so that its peak memory is its own. At the first size (at most 5,000
cells) the plain dense decomposition of the original is timed beside it, in turn.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import time
from pathlib import Path

from _measure import in_turn, peak_gigabytes, write_json

os.environ.setdefault("OMP_NUM_THREADS", "1")

DIMS, NEIGHBORS, PAIRS = 5, 10, 5
NOISE = {"thick": 0.6, "thin": 0.05}


def one(cells: int, variant: str, *, dense: bool) -> dict:
    import numpy as np
    from trees import tree

    from scmods import graph

    x, _ = tree(cells, DIMS, NOISE[variant])
    clock = [time.process_time()]
    wall = time.perf_counter()
    indices, _ = graph.knn(x, NEIGHBORS, metric="euclidean")
    clock.append(time.process_time())
    net = graph.adjacency(indices)
    del indices, x
    lap = graph.laplacian(net)
    del net
    clock.append(time.process_time())
    pairs = graph.eigenpairs(lap, PAIRS)
    clock.append(time.process_time())
    row = {
        "cells": cells,
        "variant": variant,
        "edges": (lap.nnz - cells) // 2,
        "components": pairs.n_components,
        "method": pairs.method,
        "knn_s": clock[1] - clock[0],
        "graph_s": clock[2] - clock[1],
        "eigen_s": clock[3] - clock[2],
        "wall_s": time.perf_counter() - wall,
        "peak_gb": peak_gigabytes(),
        "residual": float(pairs.residuals.max()),
        "relative_residual": float((pairs.residuals / pairs.values).max()),
        "values": pairs.values.tolist(),
        "next_value": pairs.next_value,
    }
    if dense:
        matrix = lap.toarray()
        ours, plain = (lambda: graph.eigenpairs(lap, PAIRS)), (lambda: np.linalg.eigh(matrix))
        row["eigen_s"], row["dense_s"], pairs, (values, vectors) = in_turn(ours, plain, 2)
        wanted = slice(pairs.n_components, pairs.n_components + PAIRS)
        found = graph.canonical_correlations(vectors[:, wanted], pairs.vectors, center=False)
        row["subspace_cosine"] = float(found.min())
        row["value_difference"] = float((abs(values[wanted] - pairs.values) / pairs.values).max())
    return row


def child(cells: int, variant: str, *, dense: bool) -> dict:
    command = [sys.executable, __file__, "--one", str(cells), variant] + (["--dense"] if dense else [])
    done = subprocess.run(command, check=True, capture_output=True, text=True)
    return json.loads(done.stdout.splitlines()[-1])


def show(rows: list[dict]) -> None:
    print("cells     graph  method        knn s  graph s  eigen s  growth  peak GB  residual  rel. res.")
    last: dict[str, dict] = {}
    for row in rows:
        before = last.get(row["variant"])
        growth = "" if before is None else f"{row['eigen_s'] / before['eigen_s']:.1f}x"
        print(
            f"{row['cells']:<9} {row['variant']:<6} {row['method']:<12} {row['knn_s']:6.1f}",
            f"{row['graph_s']:8.1f}"
            f" {row['eigen_s']:8.2f} {growth:>7} {row['peak_gb']:8.2f} {row['residual']:9.1e}"
            f" {row['relative_residual']:10.1e}",
        )
        last[row["variant"]] = row
    for row in rows:
        if "dense_s" in row:
            print(
                f"dense eigh at {row['cells']} {row['variant']}: {row['dense_s']:.1f} s,"
                f" {row['dense_s'] / row['eigen_s']:.0f} times as long; smallest canonical cosine"
                f" {row['subspace_cosine']:.9f}"
            )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--sizes", type=int, nargs="+", default=[3000, 20000, 100000])
    parser.add_argument("--variants", nargs="+", choices=list(NOISE), default=list(NOISE))
    parser.add_argument("--json", type=Path, help="also write the rows to this file")
    parser.add_argument("--one", nargs=2, metavar=("CELLS", "VARIANT"), help=argparse.SUPPRESS)
    parser.add_argument("--dense", action="store_true", help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.one:
        print(json.dumps(one(int(args.one[0]), args.one[1], dense=args.dense)))
        return
    rows = []
    for variant in args.variants:
        for size in sorted(args.sizes):
            print(f"running {size} {variant} ...", file=sys.stderr, flush=True)
            rows.append(child(size, variant, dense=size == min(args.sizes) and size <= 5000))
    show(rows)
    if args.json:
        write_json(args.json, {"pairs": PAIRS, "rows": rows})


if __name__ == "__main__":
    main()
