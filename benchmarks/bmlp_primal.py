"""The quadratic model in principal components: time and memory from 3,000 to 100,000 cells.

    python benchmarks/bmlp_primal.py                         # 3k, 20k, 100k cells, 50 components, 5 outputs
    python benchmarks/bmlp_primal.py --sizes 3000 --json primal.json

Every case runs in a process of its own, so that its peak memory is its own. Each is run twice: with the whole
grid of c and ridge (what the default call costs), and with one c and one ridge. At sizes up to 3,000 the dual
form is timed beside it, in turn. CPU seconds are of one thread unless OMP_NUM_THREADS says otherwise.
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
GENES, OUTPUTS, DUAL_CELLS, DUAL_TURNS = 1000, 5, 3000, 2


def problem(cells: int, comps: int):
    import torch

    g = torch.Generator().manual_seed(0)
    loadings, _ = torch.linalg.qr(torch.randn(GENES, comps, generator=g, dtype=torch.float64))
    spread = torch.linspace(8, 2, comps, dtype=torch.float64)
    scores = spread * torch.randn(cells, comps, generator=g, dtype=torch.float64)
    y = scores[:, :OUTPUTS] / 8 + scores[:, 5 : 5 + OUTPUTS] * scores[:, 10 : 10 + OUTPUTS] / 40
    return scores, loadings, y + 0.5 * torch.randn(cells, OUTPUTS, generator=g, dtype=torch.float64)


def one(cells: int, comps: int) -> dict:
    from scmods.bmlp.closed_form import fit_quadratic
    from scmods.bmlp.primal import fit_quadratic_pcs

    scores, loadings, y = problem(cells, comps)
    row = {"cells": cells, "comps": comps, "base_gb": peak_gigabytes()}
    for name, grid in (("single", {"offsets": (1.0,), "ridges": (0.1,)}), ("grid", {})):
        start, wall = time.process_time(), time.perf_counter()
        model = fit_quadratic_pcs(scores, y, loadings, n_genes=GENES, **grid)
        row[f"{name}_s"], row[f"{name}_wall_s"] = time.process_time() - start, time.perf_counter() - wall
    row["peak_gb"] = peak_gigabytes()
    row["loo_r2"] = (1 - ((model.loo - y) ** 2).mean(0) / y.var(0, correction=0)).tolist()
    if cells <= DUAL_CELLS:
        x = scores @ loadings.T
        row["grid_s"], row["dual_s"], model, dual = in_turn(
            lambda: fit_quadratic_pcs(scores, y, loadings, n_genes=GENES),
            lambda: fit_quadratic(x, y),
            DUAL_TURNS,
        )
        row["dual_peak_gb"] = peak_gigabytes()
        row["loo_difference"] = float((dual.loo - model.loo).abs().max())
    return row


def child(cells: int, comps: int) -> dict:
    command = [sys.executable, __file__, "--one", str(cells), str(comps)]
    done = subprocess.run(command, check=True, capture_output=True, text=True)
    return json.loads(done.stdout.splitlines()[-1])


def show(rows: list[dict]) -> None:
    print("cells     comps  one c, ridge s  whole grid s  peak GB  before the fit GB  mean R2 (loo)")
    for row in rows:
        r2 = sum(row["loo_r2"]) / len(row["loo_r2"])
        print(
            f"{row['cells']:<9} {row['comps']:<6} {row['single_s']:14.2f} {row['grid_s']:13.2f}"
            f" {row['peak_gb']:8.2f} {row['base_gb']:18.2f} {r2:14.3f}"
        )
    for row in rows:
        if "dual_s" in row:
            print(
                f"dual form, {row['cells']} cells: {row['dual_s']:.1f} s, peak {row['dual_peak_gb']:.2f} GB;"
                f" largest difference {row['loo_difference']:.0e}"
            )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--sizes", type=int, nargs="+", default=[3000, 20000, 100000])
    parser.add_argument("--comps", type=int, default=50)
    parser.add_argument("--json", type=Path, help="also write the rows to this file")
    parser.add_argument("--one", type=int, nargs=2, metavar=("CELLS", "COMPS"), help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.one:
        print(json.dumps(one(*args.one)))
        return
    rows = [child(cells, args.comps) for cells in args.sizes]
    show(rows)
    if args.json:
        write_json(args.json, {"genes": GENES, "outputs": OUTPUTS, "rows": rows})


if __name__ == "__main__":
    main()
