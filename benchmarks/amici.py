"""Explained variance, its permutation test and a training step of scmods.amici against the plain forms, one thread.

    python benchmarks/amici.py [--only compute permutation training memory] [--cells 1000000] [--small] [--json FILE]

The baseline is `scmods.amici.reference`: one forward pass per head and type in which every neighbour of every cell is
embedded anew, permutations by gathering blocks of 32 x cells x genes in single precision, and a training step that
embeds all pairs of the batch. Both sides have the same weights. "compute" is everything from the fitted network to the
table with adjusted p, p per gene included on the fast side; the orders are as many as the published default,
ceil(heads x types / 0.05), and ten times as many, our default. "permutation" starts from predictions and targets as
arrays: those of a head, which have low rank and are recognised as such, and noise of full rank, which has no bar.
Times are CPU seconds, the best of several repeats taken in turn. Memory is the peak of a process of its own, at the end
of each step. Ends with exit status 1 if a ratio or the memory misses its bar, or if the two forms differ.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import warnings
from pathlib import Path

os.environ.setdefault("OMP_NUM_THREADS", "1")

import numpy as np
import torch
from _measure import in_turn, peak_gigabytes, seconds, write_json

from scmods.amici import reference
from scmods.amici._explained_options import min_n_permutations
from scmods.amici._trainee import Trainee
from scmods.amici.explained import ExplainedVariance
from scmods.amici.model import AMICI
from scmods.amici.permutations import gathered, mapped_statistics

MEMORY_BAR = 4.0  # GB in all, data of 0.6 GB among them; measured 3.1
TYPES, GENES = 4, 150
# cells and neighbours; cells, genes and orders; cells and neighbours
SIZES = {"compute": (600, 30), "permutation": (2000, 500, 1000), "training": (3000, 50)}
SMALL = {"compute": (60, 5), "permutation": (50, 30, 20), "training": (100, 5)}


def tissue(n: int, genes: int = GENES):
    """Random cells: nothing here depends on the values."""
    from anndata import AnnData

    rng = np.random.default_rng(0)
    adata = AnnData(rng.standard_exponential((n, genes), dtype=np.float32))
    adata.obs["cell_type"] = [f"type {i % TYPES}" for i in range(n)]
    adata.obs["cell_type"] = adata.obs["cell_type"].astype("category")
    adata.obsm["spatial"] = rng.uniform(size=(n, 2)) * 10 * np.sqrt(n)
    return adata


def fitted(n: int, n_neighbors: int, **options) -> AMICI:
    model = AMICI(tissue(n), n_neighbors=n_neighbors, preset="original", **options)
    return model.fit(max_epochs=1, patience=None)


def tensors(model: AMICI) -> tuple[torch.Tensor, ...]:
    cells = model._cells
    x = torch.from_numpy(cells.read(np.arange(len(cells)), np.float32))
    types, near = torch.from_numpy(cells.codes), torch.from_numpy(cells.neighbors)
    return x, types, near, torch.from_numpy(cells.distances).float()


def row(what: str, size: str, fast: float, slow: float, bar: float, difference: float) -> dict[str, object]:
    return {"what": what, "size": size, "fast_s": fast, "plain_s": slow, "ratio": slow / fast, "bar": bar,
            "difference": difference}  # fmt: skip


def compute(repeats: int, cells: int, n_neighbors: int) -> list[dict[str, object]]:
    model, rows = fitted(cells, n_neighbors), []
    n_heads = model.recipe.n_heads
    least = min_n_permutations(n_heads, TYPES, 0.05)
    for n in (least, 10 * least):
        fast_s, slow_s, fast, slow = in_turn(
            lambda n=n: ExplainedVariance.compute(model, cells="all", n_permutations=n),
            lambda n=n: reference.compute_reference(model.network, *tensors(model), n), repeats,
        )  # fmt: skip
        gene = fast.explained_variance_df["expl_var_head_gene"].to_numpy().reshape(n_heads, TYPES, GENES)
        difference = float(np.abs(gene - slow["gene"]).max())
        size = f"{cells} cells x {GENES} genes, {n_heads} heads, {TYPES} types, {n:,} orders"
        rows.append(row("compute", size, fast_s, slow_s, 40.0, difference))
    return rows


def permutation(repeats: int, n: int, genes: int, n_orders: int) -> list[dict[str, object]]:
    rng, rows = np.random.default_rng(0), []
    y = rng.normal(size=(n, genes))
    low = rng.normal(size=(n, 17)) @ rng.normal(size=(17, genes)) / 5
    for what, p in (("of one head", low), ("full rank", rng.normal(size=(n, genes)))):
        single = p.astype(np.float32), y.astype(np.float32)
        fast_s, slow_s, fast, _ = in_turn(
            lambda p=p: ExplainedVariance.from_predictions(p, y, n_permutations=n_orders, per_gene=False),
            lambda both=single: reference.count_by_gathering(*both, n_orders, np.random.default_rng(0)), repeats,
        )  # fmt: skip
        # the same orders on both sides must give the same count
        orders = np.stack([rng.permutation(n) for _ in range(200)])
        pairs = [pair_of(p, y)]
        count = gathered(pairs, mapped_statistics(pairs, orders)).count[0]
        error = [((p[o] - y) ** 2).sum() for o in orders]
        difference = float(count - (np.array(error) <= ((p - y) ** 2).sum()).sum())
        size = f"{n:,} cells x {genes} genes, {n_orders:,} orders, {what}"
        rows.append(row("permutation", size, fast_s, slow_s, 25.0 if p is low else 0.0, abs(difference)))
    return rows


def pair_of(p: np.ndarray, y: np.ndarray):
    from scmods.amici._type_tests import Field, _pair

    return _pair(Field(p - p.mean(0)), y - y.mean(0), None)


def training(repeats: int, n: int, n_neighbors: int) -> list[dict[str, object]]:
    model, rows = fitted(n, n_neighbors), []
    x, types, near, far = tensors(model)
    recipe = model.recipe
    generator = torch.Generator().manual_seed(0)
    for size, bar in ((128, 2.0), (512, 5.0)):
        trainee = Trainee(model.network, x, types, near, far, recipe)
        trainee.epoch = recipe.entropy_stop
        cells = torch.randperm(len(x), generator=generator)[:size]
        weights = {"entropy_weight": recipe.entropy_weight, "value_weight": recipe.value_weight}

        def plain(seen=None, cells=cells, weights=weights):
            at = types[cells], near[cells], far[cells]
            return reference.loss_pairs(model.network, x, cells, *at, seen=seen, **weights)

        model.network.eval()
        with torch.no_grad():
            difference = float((trainee.loss((cells,)) - plain()).abs() / plain().abs())
        model.network.train()
        optimizer = torch.optim.Adam(model.network.parameters(), lr=0.0)

        def step(loss, optimizer=optimizer) -> None:
            optimizer.zero_grad()
            loss().backward()
            optimizer.step()

        def hidden(cells=cells):
            return torch.rand(len(cells), near.shape[1], generator=generator) >= recipe.drop

        fast_s, slow_s, *_ = in_turn(
            lambda trainee=trainee, cells=cells: step(lambda: trainee.loss((cells,))),
            lambda plain=plain, hidden=hidden: step(lambda: plain(hidden())),
            repeats,
        )
        rows.append(
            row(
                "training step",
                f"batch {len(cells)}, {n_neighbors} neighbours",
                fast_s,
                slow_s,
                bar,
                difference,
            )
        )
    return rows


def memory(n: int) -> None:
    """Run in a process of its own: prints CPU seconds and peak of each step."""
    torch.set_num_threads(1)
    adata = tissue(n)
    out = {"cells": n, "input_gb": adata.X.nbytes / 1e9, "before_gb": peak_gigabytes()}

    def done(name: str, spent: float) -> None:
        out[f"{name}_s"], out[f"{name}_gb"] = spent, peak_gigabytes()
        print(json.dumps(out), file=sys.stderr, flush=True)

    small = AMICI(tissue(3000)).fit(max_epochs=1, patience=None)
    spent, model = seconds(lambda: AMICI(adata, held_out=np.arange(10)))
    done("neighbours", spent)
    model.runs = small.runs
    # blocks of cells that lie together share their neighbours, and each neighbour is embedded once per block
    parts = np.array_split(np.argsort(adata.obsm["spatial"][:, 0]), 10)
    spent = sum(seconds(lambda part=part: model.predict(cells=part).sum())[0] for part in parts)
    done("prediction", spent)
    spent, result = seconds(lambda: ExplainedVariance.compute(model, cells="all", method="pearson3"))
    done("explained", spent)
    out["rows"] = len(result.explained_variance_df)
    print(json.dumps(out))


def measure(cells: int) -> dict[str, float]:
    call = [sys.executable, __file__, "--one", str(cells)]
    run = subprocess.run(call, capture_output=True, text=True, check=True)
    return json.loads(run.stdout.splitlines()[-1])


def main() -> None:
    parts = {"compute": compute, "permutation": permutation, "training": training}
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--only", nargs="*", choices=[*parts, "memory"], default=[*parts, "memory"])
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--cells", type=int, default=1_000_000)
    parser.add_argument("--small", action="store_true", help="sizes that only show that it runs, and no bars")
    parser.add_argument("--json", type=Path)
    parser.add_argument("--one", type=int, help=argparse.SUPPRESS)
    options = parser.parse_args()
    warnings.simplefilter("ignore")  # of tests on training cells, which is what is timed here
    torch.set_num_threads(1)
    if options.one:
        memory(options.one)
        return
    # first, while this process is small: a child starts with the peak of its parent
    used = [measure(options.cells)] if "memory" in options.only else []
    sizes = SMALL if options.small else SIZES
    chosen = [(part, sizes[name]) for name, part in parts.items() if name in options.only]
    rows = [r for part, size in chosen for r in part(options.repeats, *size)]
    if options.small:
        rows = [r | {"bar": 0.0} for r in rows]
    print("| what | size | plain s | fast s | ratio | bar | difference |\n|---|---|---|---|---|---|---|")
    for r in rows:
        print(f"| {r['what']} | {r['size']} | {r['plain_s']:.3f} | {r['fast_s']:.3f} | {r['ratio']:.1f} | "
              f"{r['bar']:.0f} | {r['difference']:.0e} |")  # fmt: skip
    for m in used:
        print(
            f"\n{m['cells']} cells x {GENES} genes: {m['input_gb']:.2f} GB of input, {m['before_gb']:.2f} GB at start"
        )
        for name in ("neighbours", "prediction", "explained"):
            print(f"{name}: {m[name + '_s']:.0f} CPU s, peak {m[name + '_gb']:.2f} GB")
    if options.json:
        write_json(options.json, {"rows": rows, "memory": used})
    missed = [f"{r['what']}, {r['size']}" for r in rows if r["ratio"] < r["bar"] or r["difference"] > 1e-5]
    missed += [f"memory at {m['cells']} cells" for m in used if m["explained_gb"] > MEMORY_BAR]
    if missed:
        sys.exit(f"below the bar: {'; '.join(missed)}")


if __name__ == "__main__":
    main()
