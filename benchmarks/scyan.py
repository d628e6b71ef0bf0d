"""Training and annotation with the regrouped flow and the prior as a product, against the plain forms, one thread.

    python benchmarks/scyan.py [--cells 8192] [--memory 100000 1000000] [--json FILE]

The baseline is `scmods.scyan.reference`: masked couplings of full width, a prior that goes through an array of cells x
populations x markers, and batches collated cell by cell by a DataLoader. Both sides start from the same weights and the
same density of unknown entries. The bars hold for "published", whose prior takes the steps of the published
implementation (entries overwritten by index, one multivariate normal); "plateau" and "exact" are the same array
computed as directly as it can be, for the density of the original and for the default. Times are CPU seconds, the best
of several repeats taken in turn. Memory is the peak of a process of its own, above what it held before the call and
above the output: of the module on tensors, and of `Scyan` on annotated data of two batches. Ends with exit status 1 if
a ratio or the memory misses its bar, or if the two forms differ.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

os.environ.setdefault("OMP_NUM_THREADS", "1")

import numpy as np
import psutil
import torch
from _measure import in_turn, peak_gigabytes, seconds, write_json
from torch import nn

from scmods import training
from scmods.scyan import reference
from scmods.scyan.module import ScyanModule

if TYPE_CHECKING:
    from anndata import AnnData

SIZES = {"16 x 20": (16, 20, 0), "30 x 30": (30, 30, 2)}  # populations, markers, covariates
BARS = {
    ("training step", "16 x 20"): 1.8, ("training step", "30 x 30"): 2.8, ("annotation", "16 x 20"): 3.0,
    ("annotation", "30 x 30"): 6.0, ("loader", "30 x 30"): 30.0,
}  # fmt: skip
MEMORY_BAR = 0.5  # GB beyond input and output
MODULE = "ScyanModule.posterior"
CALLS = ("predict", "predict_proba", "latent", "batch_effect_correction")  # methods of `Scyan`
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
        fast_s, slow_s, _, _ = in_turn(*pair, repeats)
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

    fast_s, slow_s, _, _ = in_turn(fast, plain, repeats)
    return {
        "what": "loader", "size": "30 x 30", "density": "", "cells": cells, "fast_s": fast_s, "plain_s": slow_s,
        "ratio": slow_s / fast_s, "bar": BARS["loader", "30 x 30"], "difference": 0.0,
    }  # fmt: skip


def of_module(cells: int) -> dict[str, float]:
    """Probabilities from tensors, by the module alone."""
    _, module, (x, c) = make("30 x 30", 1, "exact")
    x = torch.randn(cells, x.shape[1], generator=torch.Generator().manual_seed(0))
    c = c.expand(cells, -1).contiguous()
    module.posterior(x[:10], c[:10])  # everything imported and warm
    return beyond(lambda: module.posterior(x, c).nbytes, x.nbytes + c.nbytes)


def annotated(cells: int, rho: np.ndarray) -> AnnData:
    """Cells of two batches, each near the known entries of its row."""
    import anndata
    import pandas as pd

    rng = np.random.default_rng(0)
    x = rng.standard_normal((cells, rho.shape[1]), dtype=np.float32)
    names = [f"marker {i}" for i in range(rho.shape[1])]
    batch = pd.Categorical.from_codes(np.arange(cells) % 2, ["a", "b"])
    obs = pd.DataFrame({"batch": batch}, index=pd.RangeIndex(cells).astype(str))
    adata = anndata.AnnData(x, obs, pd.DataFrame(index=names))
    for start in range(0, cells, 10_000):  # no second array of this size
        part = x[start : start + 10_000]
        rows = np.nan_to_num(rho[rng.integers(len(rho), size=len(part))])
        part *= 0.5
        part += rows.astype(np.float32)
    return adata


def of_model(call: str, cells: int) -> dict[str, float]:
    """One method of `Scyan`, from annotated data to labels, probabilities, latent or corrected cells."""
    import pandas as pd

    from scmods.scyan import Scyan

    rho = make("30 x 30", 1, "exact")[0].rho.numpy()
    adata = annotated(cells, rho)
    table = pd.DataFrame(rho, [f"population {i}" for i in range(len(rho))], adata.var_names)
    model = Scyan(adata[:2000].copy(), table, batch_key="batch", lint=False).fit(max_epochs=1)
    getattr(model, call)()  # everything imported and warm

    def ask() -> int:
        before = set(adata.obs)
        found = getattr(model, call)(adata=adata)
        written = adata.obs[[c for c in adata.obs if c not in before]]
        if call == "predict":  # what it returns is what it wrote
            return int(written.memory_usage(index=False).sum())
        return found.nbytes if isinstance(found, np.ndarray) else found.to_numpy().nbytes

    return beyond(ask, adata.X.nbytes)


def beyond(call: Callable[[], int], given: int) -> dict[str, float]:
    """Peak of a call that returns the bytes of its output, above what the process holds now and above the output."""
    before = psutil.Process().memory_info().rss / 1e9
    spent, output = seconds(call, 1)
    return {"input_gb": given / 1e9, "output_gb": output / 1e9,
            "added_gb": peak_gigabytes() - before - output / 1e9, "s": spent}  # fmt: skip


def memory(call: str, cells: int) -> None:
    """Run in a process of its own: prints the memory beyond input and output, and the CPU seconds."""
    found = of_module(cells) if call == MODULE else of_model(call, cells)
    print(json.dumps({"call": call, "cells": cells, **found}))


def measure(call: str, cells: int) -> dict[str, Any]:
    command = [sys.executable, __file__, "--one", call, str(cells)]
    run = subprocess.run(command, capture_output=True, text=True, check=True)
    return json.loads(run.stdout.splitlines()[-1])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--cells", type=int, default=8192)
    parser.add_argument("--repeats", type=int, default=7)
    parser.add_argument("--memory", type=int, nargs="*", default=[100_000, 1_000_000])
    parser.add_argument("--json", type=Path)
    parser.add_argument("--one", nargs=2, help=argparse.SUPPRESS)
    options = parser.parse_args()
    torch.set_num_threads(1)
    if options.one:
        memory(options.one[0], int(options.one[1]))
        return
    # first, while this process is small: a child starts with the peak of its parent
    added = [measure(call, n) for call in (MODULE, *CALLS) for n in options.memory]
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
        print(
            "\n| call | cells | input GB | output GB | beyond both GB | bar | CPU s |\n|---|---|---|---|---|---|---|"
        )
    for m in added:
        print(f"| {m['call']} | {m['cells']} | {m['input_gb']:.3f} | {m['output_gb']:.3f} | {m['added_gb']:.3f} | "
              f"{MEMORY_BAR} | {m['s']:.1f} |")  # fmt: skip
    if options.json:
        write_json(options.json, {"torch": torch.__version__, "rows": rows, "memory": added})
    failed = [r for r in rows if r["ratio"] < r["bar"] or r["difference"] > 1e-3]
    missed = [f"{r['what']} {r['size']} {r['density']}" for r in failed]
    missed += [f"memory of {m['call']} at {m['cells']} cells" for m in added if m["added_gb"] > MEMORY_BAR]
    if missed:
        sys.exit(f"below the bar: {', '.join(missed)}")


if __name__ == "__main__":
    main()
