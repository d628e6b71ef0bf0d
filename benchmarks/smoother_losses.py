"""Spatial losses with gradient against plain references, in one run and one thread.

    python benchmarks/smoother_losses.py [--sizes 1000 5000 20000] [--big 100000] [--json FILE]

References, all forward and backward in float64: the quadratic form by torch's own sparse product; the contrastive
loss with 10 random permutations of the field; the divergence as a matrix of all pairs (up to 5,000 spots); the bars by
gudhi's simplex tree, built once, its values set and its pairs read in every step. Prints CPU milliseconds (best of
several, in turn), their ratio, the difference of the values, and the peak memory of the big case, which runs first.
"sd" is the spread of the reference over its own random numbers.
"""

from __future__ import annotations

import argparse
import os
from collections.abc import Callable
from pathlib import Path

os.environ.setdefault("OMP_NUM_THREADS", "1")

import gudhi
import numpy as np
import psutil
import torch
from _measure import in_turn, peak_gigabytes, seconds, write_json
from scipy import sparse
from scipy.spatial import cKDTree

from scmods.smoother import losses
from scmods.smoother.contrastive import ContrastiveSpatialLoss
from scmods.smoother.spatial_loss import SpatialLoss
from scmods.smoother.top_loss import TopLoss


def tissue(n: int) -> tuple[np.ndarray, sparse.csr_array]:
    """About n spots of a hexagonal slide and their mutual neighbours."""
    side = round(n**0.5)
    row, column = np.divmod(np.arange(side * side), side)
    coords = np.stack([row * 3**0.5 / 2, column + (row % 2) / 2], axis=1)
    pairs = cKDTree(coords).query_pairs(1.1, output_type="ndarray")
    w = sparse.coo_array((np.ones(len(pairs)), pairs.T), shape=(side * side,) * 2)
    return coords, sparse.csr_array(w + w.T)


def field(n: int, groups: int, seed: int = 0) -> torch.Tensor:
    x = torch.randn(groups, n, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)
    return x.requires_grad_()


def step(loss: Callable, x: torch.Tensor) -> Callable:
    """One forward and backward pass as a call; its result is the value."""

    def run() -> float:
        x.grad = None
        value = loss(x)
        value.backward()
        return float(value.detach())

    return run


def big(n: int, groups: int) -> dict[str, float]:
    made, loss = seconds(lambda: SpatialLoss("icar", tissue(n)[1], 0.99))
    before = psutil.Process().memory_info().rss / 1e9
    run = step(loss, field(loss.form.n, groups))
    run()  # compiles
    out = {"spots": loss.form.n, "groups": groups, "make_s": made, "ms": 1e3 * seconds(run, 5)[0]}
    return out | {"before_gb": before, "peak_gb": peak_gigabytes()}


def plain_forms(q: torch.Tensor, x: torch.Tensor) -> torch.Tensor:
    return (x * torch.sparse.mm(q, x.T).T).sum() / x.numel()


def quadratic(n: int, repeats: int) -> dict[str, float]:
    loss = SpatialLoss("icar", tissue(n)[1], 0.99)
    q = loss.inv_cov_2d_sp.to_sparse_coo().coalesce()
    x = field(loss.form.n, 6)
    return compare(step(loss, x), step(lambda x: plain_forms(q, x), x), repeats)


def contrastive(n: int, repeats: int) -> dict[str, float]:
    loss = ContrastiveSpatialLoss("icar", tissue(n)[1], 0.99, lower_bound=None)
    q = loss.inv_cov_2d_sp.to_sparse_coo().coalesce()
    g = torch.Generator().manual_seed(1)

    def plain(x: torch.Tensor) -> torch.Tensor:
        orders = [torch.randperm(x.shape[1], generator=g) for _ in range(10)]
        return plain_forms(q, x) - 0.5 * sum(plain_forms(q, x[:, o]) for o in orders) / 10

    x = field(loss.form.n, 10)
    row = compare(step(loss, x), step(plain, x), repeats)
    with torch.no_grad():
        row["sd"] = float(torch.stack([plain(x) for _ in range(10)]).std())
        row["sd_ours"] = float(torch.stack([loss(x) for _ in range(10)]).std())
    return row


def divergence(n: int, repeats: int, *, weighted: bool) -> dict[str, float]:
    w = tissue(n)[1]
    dense = torch.tensor(w.toarray())
    given = SpatialLoss("kl", w).form.matrix() if weighted else None

    def plain(x: torch.Tensor) -> torch.Tensor:
        p = x.softmax(0)
        log_p = (p + 1e-20).log()
        pairs = (p * log_p).sum(0)[:, None] - p.T @ log_p
        return (pairs * dense).sum() / (dense != 0).sum() if weighted else pairs.mean()

    x = field(w.shape[0], 6)
    return compare(step(lambda x: losses.kl_loss(x.softmax(0), given), x), step(plain, x), repeats)


def topological(n: int, repeats: int) -> dict[str, float]:
    coords, _ = tissue(n)
    loss = TopLoss({0: {0: 1, 1: 0}}, coords)
    tree = gudhi.SimplexTree()
    for simplices in (np.arange(loss.complex.n)[:, None], loss.complex.edges, loss.complex.triangles):
        tree.insert_batch(simplices.T, np.zeros(len(simplices)))

    def plain(x: torch.Tensor) -> torch.Tensor:
        tree.reset_filtration(-np.inf)
        for spot, value in enumerate((-x[0]).tolist()):
            tree.assign_filtration([spot], value)
        tree.make_filtration_non_decreasing()
        tree.compute_persistence(homology_coeff_field=2, persistence_dim_max=True)
        finite, _ = tree.lower_star_persistence_generators()
        total = x.sum() * 0
        for dimension, skip in ((0, 1), (1, 0)):
            ends = torch.as_tensor(finite[dimension], dtype=torch.long).reshape(-1, 2)
            length = (x[0, ends[:, 0]] - x[0, ends[:, 1]]).sort(descending=True).values
            total = total + length[skip:].sum()
        return total / len(coords) ** 0.5

    x = field(len(coords), 1)
    return compare(step(loss, x), step(plain, x), repeats)


def compare(ours: Callable, plain: Callable, repeats: int) -> dict[str, float]:
    turns = max(2, repeats // 4)
    fast, slow, a, b = in_turn(ours, plain, turns, calls=repeats // turns)
    return {"ms": 1e3 * fast, "plain_ms": 1e3 * slow, "ratio": slow / fast, "difference": abs(a - b)}


CASES = {
    "quadratic, 6 groups": quadratic,
    "contrastive, 10 groups": contrastive,
    "divergence of all pairs, 6 groups": lambda n, r: divergence(n, r, weighted=False),
    "divergence of neighbours, 6 groups": lambda n, r: divergence(n, r, weighted=True),
    "topological, 1 group": topological,
}


BARS = {"contrastive, 10 groups": 10.0, "topological, 1 group": 4.0}
MOST_GB = 4.0


def missed(rows: list[dict], large: dict) -> list[str]:
    """What fell short, for the exit status."""
    out = [
        f"{r['case']}, {r['spots']} spots: {r['ratio']:.1f} < {r['bar']:g}"
        for r in rows
        if r["ratio"] < r["bar"]
    ]
    if large["peak_gb"] > MOST_GB:
        out.append(f"{large['spots']} spots: {large['peak_gb']:.2f} GB > {MOST_GB:g}")
    return out


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--sizes", type=int, nargs="*", default=[1000, 5000, 20000])
    parser.add_argument("--big", type=int, default=100_000)
    parser.add_argument("--repeats", type=int, default=20)
    parser.add_argument("--json", type=Path)
    options = parser.parse_args()
    torch.set_num_threads(1)
    large = big(options.big, 6)
    print(
        f"quadratic, 6 groups, {large['spots']} spots: made in {large['make_s']:.1f} s, {large['ms']:.0f} ms a step, "
        f"process at most {large['peak_gb']:.2f} GB ({large['before_gb']:.2f} GB before the field)"
    )
    rows = []
    for name, case in CASES.items():
        for n in options.sizes:
            if name.startswith("divergence") and n > 5000:
                continue
            row = {"case": name, "spots": n, "bar": BARS.get(name, 0.0)} | case(n, options.repeats)
            rows.append(row)
            spread = f", sd {row['sd']:.1e} against {row['sd_ours']:.1e}" if "sd" in row else ""
            print(
                f"{name}, {n} spots: {row['ms']:.2f} ms against {row['plain_ms']:.1f} ms, ratio {row['ratio']:.1f}, "
                f"difference {row['difference']:.1e}{spread}",
                flush=True,
            )
    if options.json:
        write_json(options.json, {"big": large, "rows": rows})
    short = missed(rows, large)
    if short:
        raise SystemExit("below the bars: " + "; ".join(short))


if __name__ == "__main__":
    main()
