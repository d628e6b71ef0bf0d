"""Spatial priors without dense inverses: standardisation and correlation decay, in one run and one thread.

    python benchmarks/smoother_priors.py [--spots 1000 5000] [--big 20000] [--json FILE]

Hexagonal lattice, six neighbours, icar with rho = 0.99, float64 on both sides. The dense references are written as the
formulas read (inverse, products with diagonal matrices); the column "bare" is the leanest dense form, which scales by
broadcasting. Prints CPU seconds, the best of several taken in turn, their ratio and the largest difference; the big
size runs in a process of its own, which reports its peak memory.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
from pathlib import Path

os.environ.setdefault("OMP_NUM_THREADS", "1")

import numpy as np
from _measure import in_turn, peak_gigabytes, seconds, write_json
from scipy.spatial import cKDTree

from scmods.smoother.priors import precision, standardize
from scmods.smoother.selected import corr_decay
from scmods.smoother.weights import knn_weights

RHO, LAST = 0.99, 50
BARS = {"standardisation": {1000: 50, 5000: 150}, "decay": {1000: 8, 5000: 25}}


def hexagons(spots: int) -> np.ndarray:
    side = int(np.ceil(np.sqrt(spots)))
    row, column = np.divmod(np.arange(spots), side)
    return np.c_[column + 0.5 * (row % 2), row * np.sqrt(3) / 2]


def standardise_reference(q: np.ndarray) -> np.ndarray:
    """S Q S by the dense inverse and two products with the diagonal matrix S."""
    s = np.diag(np.sqrt(np.linalg.inv(q).diagonal()))
    return s @ q @ s


def standardise_bare_reference(q: np.ndarray) -> np.ndarray:
    """The same with broadcasting."""
    s = np.sqrt(np.linalg.inv(q).diagonal())
    return s[:, None] * q * s


def decay_reference(q: np.ndarray, coords: np.ndarray, last: int = LAST) -> np.ndarray:
    """Quantiles of the dense correlation matrix by rank of the neighbour."""
    covariance = np.linalg.inv(q)
    s = np.diag(1 / np.sqrt(covariance.diagonal()))
    return _quantiles(s @ covariance @ s, coords, last)


def decay_bare_reference(q: np.ndarray, coords: np.ndarray, last: int = LAST) -> np.ndarray:
    """The same with broadcasting."""
    covariance = np.linalg.inv(q)
    s = 1 / np.sqrt(covariance.diagonal())
    return _quantiles(s[:, None] * covariance * s, coords, last)


def _quantiles(correlation: np.ndarray, coords: np.ndarray, last: int) -> np.ndarray:
    # candidates well beyond the last rank, then the rule for ties: rounded distance, index
    found = cKDTree(coords).query(coords, k=min(len(coords), 2 * last))[1]
    distance = np.round(((coords[:, None] - coords[found]) ** 2).sum(axis=2), 8)
    distance[found == np.arange(len(coords))[:, None]] = -1
    ranked = np.take_along_axis(found, np.lexsort((found, distance), axis=1)[:, : last + 1], 1)
    values = np.take_along_axis(correlation, ranked, 1)
    return np.quantile(values, [0.1, 0.25, 0.5, 0.75, 0.9], axis=0).T


def compare(spots: int) -> list[dict[str, float | str]]:
    coords = hexagons(spots)
    w = knn_weights(coords, 6)
    q = precision(w, "icar", RHO)
    dense = q.toarray()
    turns, calls = (8, 12) if spots <= 2000 else (2, 3)
    rows = []
    parts = (
        (
            "standardisation",
            lambda: standardize(q),
            lambda: standardise_reference(dense),
            lambda: standardise_bare_reference(dense),
        ),
        (
            "decay",
            lambda: corr_decay(q, coords, 0, LAST),
            lambda: decay_reference(dense, coords),
            lambda: decay_bare_reference(dense, coords),
        ),
    )
    for name, fast, reference, bare in parts:
        fast_s, dense_s, got, expected = in_turn(fast, reference, turns, calls)
        bare_s, _ = seconds(bare, turns)
        got = got.toarray() if hasattr(got, "toarray") else got.iloc[:, :5].to_numpy()
        rows.append(
            {
                "part": name,
                "spots": spots,
                "fast_s": fast_s,
                "dense_s": dense_s,
                "ratio": dense_s / fast_s,
                "bare_ratio": bare_s / fast_s,
                "difference": float(np.abs(got - expected).max()),
                "bar": BARS[name].get(spots, 0),
            }
        )
    return rows


def big(spots: int) -> dict[str, float]:
    coords = hexagons(spots)
    graph_s, w = seconds(lambda: knn_weights(coords, 6), 1)
    q = precision(w, "icar", RHO)
    fast_s, _ = seconds(lambda: standardize(q), 1)
    decay_s, _ = seconds(lambda: corr_decay(q, coords, 0, LAST), 1)
    return {
        "spots": spots,
        "graph_s": graph_s,
        "standardisation_s": fast_s,
        "decay_s": decay_s,
        "peak_gb": peak_gigabytes(),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--spots", type=int, nargs="*", default=[1000, 5000])
    parser.add_argument("--big", type=int, default=20000)
    parser.add_argument("--json", type=Path)
    parser.add_argument("--one", action="store_true", help=argparse.SUPPRESS)
    options = parser.parse_args()
    compare(60)  # compile, or read the compiled kernels
    if options.one:
        print(json.dumps(big(options.big)))
        return
    # first: a child starts with the peak of its parent, and the dense references need gigabytes
    command = [sys.executable, __file__, "--one", "--big", str(options.big)]
    done = subprocess.run(command, check=True, capture_output=True, text=True)
    large = json.loads(done.stdout.splitlines()[-1])
    print(
        f"{'sparse alone':<16} {large['spots']:>6} spots: graph {large['graph_s']:.2f} s, standardisation "
        f"{large['standardisation_s']:.2f} s, decay {large['decay_s']:.2f} s, "
        f"whole process at most {large['peak_gb']:.2f} GB"
    )
    rows = []
    for spots in options.spots:
        for row in compare(spots):
            rows.append(row)
            print(
                f"{row['part']:<16} {spots:>6} spots: sparse {row['fast_s']:.4f} s, dense {row['dense_s']:.2f} s, "
                f"ratio {row['ratio']:.0f} (bar {row['bar']}; bare {row['bare_ratio']:.0f}), "
                f"largest difference {row['difference']:.1e}"
            )
    if options.json:
        write_json(options.json, {"big": large, "rows": rows})


if __name__ == "__main__":
    main()
