"""Training and annotation with the regrouped flow and the prior as a product, against the plain forms, one thread.

    python benchmarks/scyan.py [--cells 8192] [--memory 100000 1000000] [--json FILE]

The baseline is `scmods.scyan.reference`: masked couplings of full width, a prior that goes through an array of cells x
populations x markers, and batches collated cell by cell by a DataLoader. Both sides start from the same weights and the
same density of unknown entries. The bars hold for "published", whose prior takes the steps of the published
implementation (entries overwritten by index, one multivariate normal); "plateau" and "exact" are the same array
computed as directly as it can be, for the density of the original and for the default. Times are CPU seconds, the best
of several repeats taken in turn. Memory is the peak of a process of its own, above what it held before the call and
above the output. Ends with exit status 1 if a ratio or the memory misses its bar, or if the two forms differ.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import subprocess
import sys
import time
from pathlib import Path

os.environ.setdefault("OMP_NUM_THREADS", "1")

import torch
from torch import nn

from scmods import training
from scmods.scyan import reference
from scmods.scyan.module import ScyanModule

SIZES = {"16 x 20": (16, 20, 0), "30 x 30": (30, 30, 2)}  # populations, markers, covariates
BARS = {
    ("training step", "16 x 20"): 1.8, ("training step", "30 x 30"): 2.8, ("annotation", "16 x 20"): 3.0,
    ("annotation", "30 x 30"): 6.0, ("loader", "30 x 30"): 30.0,
}  # fmt: skip
MEMORY_BAR = 0.5  # GB beyond input and output
HIDDEN, N_HIDDEN, N_LAYERS, SIGMA = 16, 6, 7, 0.3


class Plain(nn.Module):
    """The model without any regrouping."""

    def __init__(self, rho: torch.Tensor, n_covariates: int, density: str) -> None:
        super().__init__()
        m = rho.shape[1]
        self.rho, self.density, self.pi_logit = rho, density, nn.Parameter(torch.zeros(len(rho)))
        self.continuum = torch.zeros(m, dtype=torch.bool)
        self.flow = reference.RealNVPReference(m + n_covariates, HIDDEN, m, N_HIDDEN, N_LAYERS)

    def joint(self, x: torch.Tensor, c: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        u, logdet = self.flow(x, c)
        if self.density == "published":
            log_prob = reference.log_prob_published(u, self.rho, SIGMA)
        else:
            log_prob = reference.log_prob_reference(
                u, self.rho, self.continuum, SIGMA, nan_density=self.density
            )
        return log_prob + torch.log_softmax(100 * self.pi_logit, 0), logdet

    def loss(self, batch: tuple[torch.Tensor, ...]) -> torch.Tensor:
        joint, logdet = self.joint(*batch)
        return -(torch.logsumexp(joint, 1) + logdet).mean()

    @torch.no_grad()
    def posterior(self, x: torch.Tensor, c: torch.Tensor) -> torch.Tensor:
        return torch.softmax(self.joint(x, c)[0], 1)


def make(size: str, cells: int, density: str) -> tuple[Plain, ScyanModule, tuple[torch.Tensor, ...]]:
    pops, markers, covariates = SIZES[size]
    g = torch.Generator().manual_seed(pops)
    rho = torch.where(torch.rand(pops, markers, generator=g) < 0.4, 1.0, -1.0)
    rho[torch.rand(pops, markers, generator=g) < 0.4] = torch.nan
    plain = Plain(rho, covariates, density)
    fast = ScyanModule(
        rho, covariates, plain.continuum, HIDDEN, N_HIDDEN, N_LAYERS, SIGMA, None,
        nan_density="exact" if density == "exact" else "plateau",
    )  # fmt: skip
    fast.real_nvp = plain.flow.regroup()
    x = torch.randn(cells, markers, generator=g)
    return plain, fast, (x, torch.ones(cells, covariates) / 100)


def seconds(function, repeats: int) -> tuple[float, object]:
    best, out = float("inf"), None
    for _ in range(repeats):
        start = time.process_time()
        out = function()
        best = min(best, time.process_time() - start)
    return best, out


def in_turn(fast, slow, repeats: int) -> tuple[float, float]:
    fast_s = slow_s = float("inf")
    fast(), slow()
    for _ in range(repeats):  # in turn, so that both meet the same load of the machine
        fast_s, slow_s = min(fast_s, seconds(fast, 1)[0]), min(slow_s, seconds(slow, 1)[0])
    return fast_s, slow_s


def stepper(module: nn.Module, batch: tuple[torch.Tensor, ...]):
    optimizer = torch.optim.Adam(module.parameters(), lr=5e-4)

    def step() -> None:
        optimizer.zero_grad()
        module.loss(batch).backward()
        optimizer.step()

    return step


def compare(size: str, cells: int, density: str, repeats: int) -> list[dict[str, object]]:
    plain, fast, batch = make(size, cells, density)
    truth = plain.posterior(*batch)
    difference = float((fast.posterior(*batch) - truth).abs().max())
    rows = []
    for what in ("training step", "annotation"):
        if what == "annotation":
            pair = (lambda: fast.posterior(*batch)), (lambda: plain.posterior(*batch))
        else:
            pair = stepper(fast, batch), stepper(plain, batch)
        fast_s, slow_s = in_turn(*pair, repeats)
        rows.append(
            {"what": what, "size": size, "density": density, "cells": cells, "fast_s": fast_s, "plain_s": slow_s,
             "ratio": slow_s / fast_s, "bar": BARS[what, size] if density == "published" else 1.0,
             "difference": difference}
        )  # fmt: skip
    return rows


def loader(cells: int, repeats: int) -> dict[str, object]:
    _, _, tensors = make("30 x 30", cells, "exact")
    data = torch.utils.data.TensorDataset(*tensors)

    def plain() -> float:
        loader = torch.utils.data.DataLoader(
            data, batch_size=8192, shuffle=True, generator=torch.Generator().manual_seed(0)
        )
        return sum(float(x[0, 0]) for x, _ in loader)

    def fast() -> float:
        return sum(float(x[0, 0]) for x, _ in training.batches(tensors, 8192, seed=0))

    fast_s, slow_s = in_turn(fast, plain, repeats)
    return {
        "what": "loader", "size": "30 x 30", "density": "", "cells": cells, "fast_s": fast_s, "plain_s": slow_s,
        "ratio": slow_s / fast_s, "bar": BARS["loader", "30 x 30"], "difference": 0.0,
    }  # fmt: skip


def peak() -> float:
    """Highest resident memory of this process so far, GB."""
    try:
        import resource

        unit = 1 if platform.system() == "Darwin" else 1024
        return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit / 1e9
    except ImportError:  # Windows
        import psutil

        return psutil.Process().memory_info().peak_wset / 1e9


def memory(cells: int) -> None:
    """Run in a process of its own: prints the memory beyond input and output, and the CPU seconds."""
    torch.set_num_threads(1)
    _, module, (x, c) = make("30 x 30", 1, "exact")
    x = torch.randn(cells, x.shape[1], generator=torch.Generator().manual_seed(0))
    c = c.expand(cells, -1).contiguous()
    module.posterior(x[:10], c[:10])  # everything imported and warm
    before = peak()
    spent, out = seconds(lambda: module.posterior(x, c), 1)
    output = out.numel() * out.element_size() / 1e9
    print(json.dumps({"cells": cells, "input_gb": (x.numel() + c.numel()) * 4 / 1e9, "output_gb": output,
                      "added_gb": peak() - before - output, "s": spent}))  # fmt: skip


def measure(cells: int) -> dict[str, float]:
    call = [sys.executable, __file__, "--one", str(cells)]
    run = subprocess.run(call, capture_output=True, text=True, check=True)
    return json.loads(run.stdout.splitlines()[-1])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--cells", type=int, default=8192)
    parser.add_argument("--repeats", type=int, default=7)
    parser.add_argument("--memory", type=int, nargs="*", default=[100_000, 1_000_000])
    parser.add_argument("--json", type=Path)
    parser.add_argument("--one", type=int, help=argparse.SUPPRESS)
    options = parser.parse_args()
    torch.set_num_threads(1)
    if options.one:
        memory(options.one)
        return
    # first, while this process is small: a child starts with the peak of its parent
    added = [measure(n) for n in options.memory]
    rows = []
    for size in SIZES:
        for density in ("published", "plateau", "exact"):
            rows += compare(size, options.cells, density, options.repeats)
    rows.append(loader(100_000, 3))
    print("| what | populations x markers | plain prior | plain ms | fast ms | ratio | bar | difference |")
    print("|---|---|---|---|---|---|---|---|")
    for r in rows:
        print(f"| {r['what']} | {r['size']} | {r['density']} | {1e3 * r['plain_s']:.0f} | {1e3 * r['fast_s']:.1f} | "
              f"{r['ratio']:.1f} | {r['bar']:.1f} | {r['difference']:.0e} |")  # fmt: skip
    if added:
        print("\n| cells | input GB | output GB | beyond both GB | CPU s |\n|---|---|---|---|---|")
    for m in added:
        print(
            f"| {m['cells']} | {m['input_gb']:.3f} | {m['output_gb']:.3f} | {m['added_gb']:.3f} | {m['s']:.1f} |"
        )
    if options.json:
        out = {"torch": torch.__version__, "machine": platform.machine(), "rows": rows, "memory": added}
        temporary = options.json.with_suffix(".part")
        temporary.write_text(json.dumps(out, indent=1), encoding="utf-8")
        os.replace(temporary, options.json)
    failed = [r for r in rows if r["ratio"] < r["bar"] or r["difference"] > 1e-3]
    missed = [f"{r['what']} {r['size']} {r['density']}" for r in failed]
    missed += [f"memory at {m['cells']} cells" for m in added if m["added_gb"] > MEMORY_BAR]
    if missed:
        sys.exit(f"below the bar: {', '.join(missed)}")


if __name__ == "__main__":
    main()
