"""Deconvolution, imputation and spatial PCA of scmods.smoother: accuracy on known truth, speed, memory.

    python benchmarks/smoother_models.py                              # everything
    python benchmarks/smoother_models.py --only deconvolution adam large --json models.json

Parts: deconvolution (simulated tissues, strength chosen by thinning), layers (DLPFC coordinates and layers, simulated
expression), imputation (olfactory bulb and osmFISH, a fifth of the spots hidden), values (osmFISH, a fifth of
the single values hidden), adam (exact solver against 1,000
epochs of the original's recipe), nulls (rates of false rejections), large (100,000 spots, peak memory in a process of
its own). Real data: set SCMODS_DATA. CPU seconds are of one thread unless OMP_NUM_THREADS says otherwise.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import time
import warnings
from functools import partial
from pathlib import Path

os.environ.setdefault("OMP_NUM_THREADS", "1")

import numpy as np
from _measure import in_turn, peak_gigabytes, write_json

ADAM_BAR = 15.0


def rmse(a, b) -> float:
    return float(np.sqrt(np.mean((np.asarray(a) - np.asarray(b)) ** 2)))


def deconvolution() -> list[dict]:
    from scmods.smoother.deconvolution import deconvolve
    from scmods.smoother.simulate import reference, tissue
    from scmods.smoother.weights import spatial_weights

    rows = []
    for boundaries in (False, True):
        for depth in (1.0, 0.1):
            for seed in range(3):
                adata = tissue(depth=depth, boundaries=boundaries, seed=seed)
                spatial_weights(adata, n_neighbors=4)
                error = {}
                for name, smoothing in (("none", 0.0), ("auto", "auto")):
                    fit = deconvolve(adata, reference(adata), smoothing=smoothing, copy=True)
                    error[name] = rmse(fit.obsm["smoother_proportions"], fit.obsm["truth"])
                info = fit.uns["smoother_deconvolution"]
                rows.append(
                    {"boundaries": boundaries, "depth": depth, "seed": seed, **error}
                    | {k: info[k] for k in ("smoothing", "gap", "iterations")}
                )
    return rows


def layers() -> list[dict]:
    """Argmax accuracy without and with smoothing, and agreement of clusters of spatial PCA with the layers."""
    from sklearn.cluster import KMeans
    from sklearn.metrics import adjusted_rand_score

    from scmods import datasets
    from scmods.smoother.components import spatial_pca
    from scmods.smoother.deconvolution import deconvolve
    from scmods.smoother.imputation import impute
    from scmods.smoother.simulate import layered, reference
    from scmods.smoother.weights import spatial_weights

    real = datasets.load("dlpfc_151673")
    place, layer = real.obsm["spatial"], real.obs["layer"].astype(str).to_numpy()
    rows = []

    def accuracy(adata, smoothing: float) -> float:
        x = adata.copy()
        # noise makes negative values; a shift of a whole spot is what the bias takes up
        shift = float(-x.X.min()) + 1e-6
        x.X = x.X + shift
        how = {"log": False, "match_depth": False, "tol": 1e-5}
        deconvolve(x, reference(adata), smoothing=smoothing, **how)
        return float((x.obsm["smoother_abundances"].argmax(1) == x.obsm["truth"].argmax(1)).mean())

    for seed in range(3):
        adata = layered(place, layer, seed=seed)
        spatial_weights(adata, n_neighbors=6)
        row = {"seed": seed, "none": accuracy(adata, 0.0), "icar": accuracy(adata, 3.0)}
        spatial_weights(adata, n_neighbors=6, cluster_key="layer", boundary=0.0)
        row["boundaries"] = accuracy(adata, 3.0)
        adata = layered(place, layer, noise=1.5, seed=seed)
        spatial_weights(adata, n_neighbors=6)
        for name, smoothing, contrast in (("pca", 0.0, 0.0), ("spatial", 0.2, 0.0), ("contrast", 0.3, 0.5)):
            spatial_pca(adata, n_comps=7, smoothing=smoothing, contrast=contrast)
            found = KMeans(7, n_init=10, random_state=0).fit_predict(adata.obsm["X_smoother_pca"])
            row[f"ari_{name}"] = float(adjusted_rand_score(layer, found))
        row["effective"] = adata.uns["smoother_pca"]["effective_smoothing"]
        adata = layered(place, layer, noise=0.5, seed=seed)
        spatial_weights(adata, n_neighbors=6)
        seen = np.random.default_rng(seed).permutation(adata.n_obs) >= adata.n_obs // 5
        impute(adata, seen, variance=False)
        mean = adata.X[seen].mean(0)
        row["hidden_mean"] = rmse(adata.X[~seen], mean[None])
        row["hidden_imputed"] = rmse(adata.X[~seen], adata.layers["smoother_imputed"][~seen])
        rows.append(row)
    return rows


def _noise_floor(adata, genes, hidden) -> float:
    """Expected RMSE of a perfect forecast: half the distance of two halves of the molecules of the same spots.

    Halves are rescaled to the depth of the whole; each has twice its noise, so their difference has four times its
    variance.
    """
    from scmods.smoother._thinning import thin_counts

    counts = adata.layers["counts"]
    total = np.asarray(counts.sum(1)).ravel()
    one, two = thin_counts(counts[:, genes], np.random.default_rng(0))
    size = (total / np.median(total))[:, None]
    a, b = (np.log1p(2 * h.toarray() / size)[hidden] for h in (one, two))
    return rmse(a, b) / 2


def imputation() -> list[dict]:
    import scanpy as sc

    from scmods import datasets
    from scmods.smoother.baselines import impute_reference
    from scmods.smoother.graphs import knn_weights
    from scmods.smoother.imputation import denoise, impute
    from scmods.smoother.priors import precision
    from scmods.smoother.weights import spatial_weights

    rows = []
    for name in ("mob", "osmfish"):
        full = datasets.load(name)
        full = full[np.asarray(full.X.sum(1)).ravel() > 0].copy()
        if name == "mob":
            sc.pp.filter_genes(full, min_cells=30)
        sc.pp.normalize_total(full)
        sc.pp.log1p(full)
        for seed in range(3):
            seen = np.random.default_rng(seed).permutation(full.n_obs) >= full.n_obs // 5
            sets = {"all": np.arange(full.n_vars)}
            if name == "mob":
                x = full.X.toarray()[seen].astype(float)
                z = x - x.mean(0)
                w = knn_weights(full.obsm["spatial"][seen], 6)
                moran = np.einsum("ij,ij->j", z, w @ z) / w.sum() / (z**2).mean(0)
                sets = {"100 most variable": np.argsort(-z.var(0))[:100]}
                sets |= {f"{n} most spatial": np.argsort(-moran)[:n] for n in (100, 30)}
            for label, genes in sets.items():
                adata = full[:, genes].copy()
                adata.X = adata.X.toarray().astype(float)
                spatial_weights(adata, n_neighbors=6)
                impute(adata, seen, variance=False)
                denoise(adata, smoothing=0.2, observed=seen, variance=False)
                truth, mean = adata.X[~seen], adata.X[seen].mean(0)[None]
                row = {"data": name, "seed": seed, "genes": label, "mean": rmse(truth, mean)}
                row["exact"] = rmse(truth, adata.layers["smoother_imputed"][~seen])
                row["denoise"] = rmse(truth, adata.layers["smoother_denoised"][~seen])
                row["floor"] = _noise_floor(full, genes, ~seen)
                q = precision(adata.obsp["spatial_connectivities"], "icar", 0.99)
                row["adam"] = rmse(truth, impute_reference(adata.X, q, seen).values)
                rows.append(row)
    return rows


def values() -> list[dict]:
    """A fifth of all single values of osmFISH hidden; edges weighted by the likeness of the values that are left.

    Two rounds: the second takes the likeness from the filled values. Settings were chosen on seed 0.
    """
    import scanpy as sc

    from scmods import datasets
    from scmods.smoother.graphs import knn_weights
    from scmods.smoother.imputation import impute
    from scmods.smoother.scaling import scale_by_expression

    adata = datasets.load("osmfish")
    adata = adata[np.asarray(adata.X.sum(1)).ravel() > 0].copy()
    sc.pp.normalize_total(adata)
    sc.pp.log1p(adata)
    adata.X = adata.X.toarray().astype(float)
    rows = []
    for seed in range(3):
        seen = np.random.default_rng(seed).uniform(size=adata.shape) >= 0.2
        mean = np.array([adata.X[s, g].mean() for g, s in enumerate(seen.T)])
        filled = np.where(seen, adata.X, mean)
        row = {"seed": seed, "mean": rmse(adata.X[~seen], np.broadcast_to(mean, adata.shape)[~seen])}
        plain = knn_weights(adata.obsm["spatial"], 6)
        wide = knn_weights(adata.obsm["spatial"], 200)
        for name in ("plain", "likeness", "second"):
            w = plain
            if name != "plain":
                w = scale_by_expression(wide, filled, n_comps=adata.n_vars)
                w.data = w.data**6 + 1e-4  # a sixth power: six factors of the same likeness
            adata.obsp["spatial_connectivities"] = (w + w.T) / 2
            impute(adata, seen, variance=False)
            row[name] = rmse(adata.X[~seen], adata.layers["smoother_imputed"][~seen])
            filled = adata.layers["smoother_imputed"] if name != "plain" else filled
        rows.append(row | {"drop": 1 - row["second"] / row["mean"]})
    return rows


def adam(sides: tuple[int, ...] = (30, 60), seeds: int = 3, epochs: int = 1000) -> list[dict]:
    """The exact solver against gradient descent on the same problem; a tissue has side x side spots."""
    import torch

    from scmods.smoother._profiles import on_one_scale
    from scmods.smoother.baselines import deconvolve_reference
    from scmods.smoother.deconvolution import nnls
    from scmods.smoother.graphs import knn_weights
    from scmods.smoother.priors import precision
    from scmods.smoother.simulate import tissue

    torch.set_num_threads(1)
    rows = []
    for side in sides:
        for seed in range(seeds if side <= 30 else 1):
            adata = tissue(side, side, seed=seed)
            q = precision(knn_weights(adata.obsm["spatial"], 4), "icar", 0.99)
            y = adata.X.log1p().astype(float)
            r = np.log1p(on_one_scale(adata.X, adata.uns["truth"]["reference"]))
            for smoothing in (0.1, 1.0):
                exact = partial(nnls, y, r, q, smoothing=smoothing)
                descent = partial(
                    deconvolve_reference, y, r, q, smoothing=smoothing, epochs=epochs, lr=3e-3, seed=seed
                )
                exact_s, adam_s, fast, slow = in_turn(exact, descent, 2)
                rows.append(
                    {
                        "spots": side**2,
                        "seed": seed,
                        "smoothing": smoothing,
                        "epochs": epochs,
                        "exact_s": exact_s,
                        "adam_s": adam_s,
                        "ratio": adam_s / exact_s,
                        "bar": ADAM_BAR,
                        "exact": fast.objective,
                        "adam": slow.objective,
                        "gap": fast.gap,
                        "iterations": fast.iterations,
                    }
                )
    return rows


def nulls() -> list[dict]:
    from scmods.smoother._grid import lattice_of
    from scmods.smoother.graphs import knn_weights
    from scmods.smoother.nulls import field_test, spectral_basis
    from scmods.smoother.simulate import smooth_fields, tissue

    rows = []
    coords = tissue(30, 30).obsm["spatial"]
    basis, lattice = spectral_basis(knn_weights(coords, 4)), lattice_of(coords)
    for length in (2.0, 4.0, 6.0):
        fields = smooth_fields(30, 30, 2000, length=length, generator=np.random.default_rng(1))
        for null, pairs in (("spectral", 1000), ("toroidal", 1000), ("permutation", 200)):
            p = []
            for i in range(pairs):
                label = np.array(["a", "b", "c"])[np.digitize(fields[:, 1000 + i], [-0.5, 0.5])]
                how = {"null": null, "basis": basis, "lattice": lattice, "n_perms": 199, "seed": i}
                p.append([field_test(fields[:, i], y, **how).pvalue[0] for y in (fields[:, 1000 + i], label)])
            rate = (np.array(p) <= 0.05).mean(0)
            rows.append({"length": length, "null": null, "correlation": rate[0], "label": rate[1]})
    return rows


def one_large(task: str, spots: int) -> dict:
    from scmods.smoother.deconvolution import deconvolve
    from scmods.smoother.imputation import denoise, impute
    from scmods.smoother.simulate import reference, tissue
    from scmods.smoother.weights import spatial_weights

    side = int(np.ceil(np.sqrt(spots)))
    adata = tissue(side, side, depth=0.5, length=12)[:spots].copy()
    spatial_weights(adata, n_neighbors=4)
    row = {"task": task, "spots": adata.n_obs, "before_gb": peak_gigabytes()}
    start, cpu = time.perf_counter(), time.process_time()
    if task == "impute":
        impute(adata, np.random.default_rng(0).uniform(size=spots) > 0.2, layer="counts")
    elif task == "denoise":
        denoise(adata, smoothing=0.3, layer="counts")
    else:
        free = deconvolve(adata, reference(adata), smoothing=0.0, copy=True) if task == "auto" else adata
        deconvolve(adata, reference(adata), smoothing="auto" if task == "auto" else 0.1)
        info = adata.uns["smoother_deconvolution"]
        row |= {k: info[k] for k in ("smoothing", "iterations", "gap")}
        row["rmse"] = rmse(adata.obsm["smoother_proportions"], adata.obsm["truth"])
        if task == "auto":
            row["rmse_none"] = rmse(free.obsm["smoother_proportions"], adata.obsm["truth"])
    row |= {
        "wall_s": time.perf_counter() - start,
        "cpu_s": time.process_time() - cpu,
        "peak_gb": peak_gigabytes(),
    }
    return row


def large(spots: int = 100_000) -> list[dict]:
    rows = []
    for task in ("deconvolve", "auto", "impute", "denoise"):
        command = [sys.executable, __file__, "--one", task, str(spots)]
        done = subprocess.run(command, check=True, capture_output=True, text=True)
        rows.append(json.loads(done.stdout.splitlines()[-1]))
    return rows


PARTS = {f.__name__: f for f in (deconvolution, layers, imputation, values, adam, nulls, large)}


def show(rows: list[dict]) -> None:
    for row in rows:
        cells = (f"{k} {v:.4g}" if isinstance(v, float) else f"{k} {v}" for k, v in row.items())
        print("  " + "  ".join(cells), flush=True)


def missed(results: dict[str, list[dict]]) -> list[str]:
    """Bars that a run fell short of, for the exit status."""
    out = [
        f"adam, {r['spots']} spots, seed {r['seed']}: {r['ratio']:.1f} x, {r['exact']:.6g} against {r['adam']:.6g}"
        for r in results.get("adam", [])
        if r["ratio"] < r["bar"] or r["exact"] > r["adam"] + 1e-12
    ]
    out += [f"{r['task']}: {r['peak_gb']:.2f} GB" for r in results.get("large", []) if r["peak_gb"] > 4]
    return out


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--only", nargs="*", choices=list(PARTS), default=list(PARTS))
    parser.add_argument("--sides", type=int, nargs="+", default=[30, 60], help="tissues of the part adam")
    parser.add_argument("--seeds", type=int, default=3, help="of the smaller tissues of the part adam")
    parser.add_argument("--epochs", type=int, default=1000, help="of the part adam")
    parser.add_argument("--spots", type=int, default=100_000, help="of the part large")
    parser.add_argument("--json", type=Path)
    parser.add_argument("--one", nargs=2, help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.one:
        print(json.dumps(one_large(args.one[0], int(args.one[1]))))
        return
    results = {}
    for name in args.only:
        print(name)
        given = {"adam": (args.sides, args.seeds, args.epochs), "large": (args.spots,)}
        results[name] = PARTS[name](*given.get(name, ()))
        show(results[name])
    if args.json:
        write_json(args.json, results)
    if missed(results):
        raise SystemExit("below the bars: " + "; ".join(missed(results)))


if __name__ == "__main__":
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        main()
