"""What several files of these tests use: what every figure must have, small tissues, networks of a few weights."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from anndata import AnnData
from plotly.utils import PlotlyJSONEncoder

from scmods.amici import plots
from scmods.amici._example import example_outputs
from scmods.amici.heads import HeadOutputs
from scmods.amici.model import AMICI

TYPES = np.array(["L2/3 IT", "CD4/CD8", "T cell (naïve)"])
SIZES = {
    "n_neighbors": 5, "n_heads": 2, "head_size": 3, "label_size": 4, "query_size": 4, "query_width": 5,
    "cell_size": 6, "cell_width": 8, "kv_size": 4, "kv_width": 4, "coefficient_width": 5,
}  # fmt: skip
REFERENCE = Path(__file__).parent.parent / "data" / "amici_statistics.npz"


# --- figures


@pytest.fixture(scope="module")
def outputs() -> HeadOutputs:
    """Outputs of 60 made-up cells."""
    return example_outputs(60)


def _alt(fig: Any) -> str:
    return fig.layout.meta["alt"]


@pytest.fixture(scope="session")
def alt() -> Callable[[Any], str]:
    """The alt text of a figure."""
    return _alt


@pytest.fixture(scope="session")
def ticks() -> Callable[..., list[str]]:
    """The names of the places of an axis."""
    return lambda fig, axis="yaxis": list(fig.layout[axis].ticktext)


@pytest.fixture(scope="session")
def check() -> Callable[..., None]:
    """Title, axis titles, an alt text of its own, few points of single precision: what every figure has."""

    def look(figures: dict[str, Any], wanted: set[str], most: float) -> None:
        assert {n.split(" ")[0] for n in figures} == wanted
        assert len({_alt(f) for f in figures.values()}) == len(figures)
        for name, fig in figures.items():
            axes = [v.get("title", {}).get("text") for k, v in fig.to_dict()["layout"].items() if "axis" in k]
            assert fig.layout.title.text, name
            assert len(_alt(fig)) > 60, name
            assert _alt(fig).endswith("."), name
            assert any(axes) or name == "plot_network", name
            assert len(json.dumps(fig.to_plotly_json(), cls=PlotlyJSONEncoder)) < 1000 * most, name
            assert sum(len(t.x) for t in fig.data if t.x is not None) <= 700, name
            for trace in fig.data:
                for values in (trace.x, trace.y, getattr(trace, "z", None)):
                    assert not (isinstance(values, np.ndarray) and values.dtype == np.float64), name

    return look


@pytest.fixture(scope="session")
def drawn_in() -> Callable[..., set[str]]:
    """Names of the figures of some files."""

    def names(*modules: str) -> set[str]:
        files = {n: getattr(plots, n).__module__.rsplit(".plots_", 1)[-1] for n in plots.__all__}
        return {n for n, file in files.items() if file in modules}

    return names


# --- tissues and models


@pytest.fixture(scope="session")
def types() -> np.ndarray:
    """Labels as people write them."""
    return TYPES


@pytest.fixture(scope="session")
def sizes() -> dict[str, int]:
    """Options of a network of a few weights."""
    return dict(SIZES)


def _tissue(n: int = 90, genes: int = 10, seed: int = 0) -> AnnData:
    rng = np.random.default_rng(seed)
    adata = AnnData(rng.random((n, genes), dtype=np.float32))
    adata.obs_names, adata.var_names = [f"c{i}" for i in range(n)], [f"g{i}" for i in range(genes)]
    adata.obs["cell_type"] = TYPES[rng.integers(3, size=n)]
    adata.obsm["spatial"] = rng.uniform(0, 95, (n, 2))
    return adata


@pytest.fixture(scope="session")
def tissue() -> Callable[..., AnnData]:
    """Cells of three types at random places, the same at every call: ``tissue(n, genes, seed)``."""
    return _tissue


@pytest.fixture(scope="session")
def make() -> Callable[..., AMICI]:
    """A small model of the cells given, or of `tissue`: ``make(adata, **options)``."""
    return lambda adata=None, **options: AMICI(_tissue() if adata is None else adata, **{**SIZES, **options})


# --- statistics


@pytest.fixture(scope="module")
def ref() -> dict[str, np.ndarray]:
    """Reference values of the permutation tests."""
    with np.load(REFERENCE) as file:
        return {k: file[k] for k in file}
