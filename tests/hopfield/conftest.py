"""Small fitted data and the list of public calls that look at single cells, for the tests of malformed input."""

from __future__ import annotations

import sys
from types import ModuleType
from typing import Any

import anndata
import numpy as np
import pandas as pd
import pytest
import torch

from scmods import hopfield
from scmods.hopfield import Field

LABELS = ("CD4/CD8", "18", "T cell (naïve)")
GENES = ("Neurog3", "H2-K1/K2", "Sox9", "Gcg", "Ins1", "Pdx1")
REGULATORS = ("Sox9", "H2-K1/K2", "Pdx1")
PAIRS = [("Ins1", "Sox9"), ("H2-K1/K2", "H2-K1/K2"), ("Gcg", "Ins1")]


def make_field(labels: tuple[str, ...] = LABELS, exponent: float | None = None) -> Field:
    """Three regulators of six genes, one matrix per label."""
    rng = np.random.default_rng(5)
    c, g = len(labels), len(GENES)
    return Field(
        genes=GENES,
        clusters=labels,
        regulators=[GENES.index(r) for r in REGULATORS],
        interactions=rng.normal(size=(c, g, 3)),
        degradation=rng.uniform(0.2, 1, (c, g)),
        bias=rng.uniform(0, 1, (c, g)),
        threshold=rng.uniform(1, 4, g),
        exponent=rng.uniform(1.2, 4, g) if exponent is None else np.full(g, exponent),
    )


def make(n: int = 42, labels: tuple[str, ...] = LABELS) -> anndata.AnnData:
    """Cells in mixed order with counts, smoothed counts (whole numbers), velocity, rates, Hill functions, a field."""
    rng = np.random.default_rng(7)
    names = ["extra", *GENES[::-1]]
    adata = anndata.AnnData(
        np.zeros((n, 7), np.float32),
        obs=pd.DataFrame(
            {"cell_type": pd.Categorical(np.resize(labels, n), categories=[*labels, "nobody"])},
            index=[f"cell{i}" for i in range(n)],
        ),
        var=pd.DataFrame(index=names),
    )
    adata.layers["spliced"] = rng.poisson(20, (n, 7)).astype(np.float64)
    adata.layers["unspliced"] = rng.poisson(10, (n, 7)).astype(np.float64)
    adata.layers["Ms"] = rng.integers(1, 40, (n, 7)).astype(np.float64)
    adata.layers["Mu"] = rng.integers(1, 20, (n, 7)).astype(np.float64)
    adata.var["gamma"] = np.arange(1, 8) / 8
    adata.layers["velocity"] = adata.layers["Mu"] - adata.var["gamma"].to_numpy() * adata.layers["Ms"]
    adata.var["hopfield_used"] = [False, *[True] * 6]
    adata.var["hopfield_threshold"] = rng.uniform(5, 20, 7)
    adata.var["hopfield_exponent"] = rng.uniform(1.2, 4, 7)
    adata.uns["hopfield"] = make_field(labels).to_uns()
    return adata


def make_original(n: int = 42) -> anndata.AnnData:
    """The same with the original's slots in place of the stored field."""
    adata = make(n)
    field = Field.of(adata)
    del adata.uns["hopfield"]
    at = adata.var_names.get_indexer(list(GENES))
    adata.var["scHopfield_used"] = adata.var_names.isin(GENES)
    for name, values in (("sigmoid_threshold", field.threshold), ("sigmoid_exponent", field.exponent)):
        adata.var[name] = 0.0
        adata.var.loc[list(GENES), name] = values.numpy()
    for c, label in enumerate(LABELS):
        square = np.zeros((7, 7))
        square[np.ix_(at, at[field.regulators.numpy()])] = field.interactions[c].numpy()
        adata.varp[f"W_{label}"] = square
        for name, values in (("gamma", field.degradation), ("I", field.bias)):
            adata.var[f"{name}_{label}"] = 1.0
            adata.var.loc[list(GENES), f"{name}_{label}"] = values[c].numpy()
    return adata


def jacobians(adata: anndata.AnnData, **options: Any) -> np.ndarray:
    """Eigenvalues and the summary columns, one row per cell."""
    hopfield.compute_jacobians(adata, **options)
    columns = ["jacobian_eig1_real", "jacobian_eig1_imag", "jacobian_positive_evals", "jacobian_trace"]
    return np.hstack([adata.obsm["jacobian_eigenvalues"], adata.obs[columns].to_numpy()])


def rotational(adata: anndata.AnnData, **options: Any) -> np.ndarray:
    """The rotation, one row per cell."""
    hopfield.compute_rotational_part(adata, **options)
    return adata.obs[["jacobian_rotational"]].to_numpy()


def elements(adata: anndata.AnnData, **options: Any) -> np.ndarray:
    """Single elements, one row per cell."""
    hopfield.compute_jacobian_elements(adata, PAIRS, **options)
    return adata.obs[[c for c in adata.obs if c.startswith("jacobian_df_")]].to_numpy()


def energies(adata: anndata.AnnData, **options: Any) -> np.ndarray:
    """The energies, one row per cell."""
    hopfield.energies(adata, **options)
    return adata.obs[[c for c in adata.obs if c.startswith("hopfield_energy")]].to_numpy()


def knock_outs(adata: anndata.AnnData, **options: Any) -> np.ndarray:
    """Sizes of the responses, one row per cell."""
    hopfield.knock_outs(adata, **options)
    return adata.obsm["hopfield_knock_outs"]


def nonnormality(adata: anndata.AnnData, **options: Any) -> np.ndarray:
    """Reactivity and departure, one row per cell."""
    hopfield.nonnormality(adata, **options)
    return adata.obs[["hopfield_reactivity", "hopfield_departure"]].to_numpy()


def reconstruct(adata: anndata.AnnData, **options: Any) -> np.ndarray:
    """The field's velocity, one row per cell, genes in the order of the field."""
    hopfield.reconstruct_velocity(adata, **options)
    return adata[:, list(GENES)].layers["hopfield_velocity"]


def _numbers(table: pd.DataFrame) -> np.ndarray:
    """The numbers of a table, rows ordered by its words."""
    words = list(table.select_dtypes(exclude="number"))
    return table.sort_values(words).select_dtypes("number").to_numpy()


def ranking(adata: anndata.AnnData, **options: Any) -> np.ndarray:
    """Mean responses to the loss of each regulator."""
    return _numbers(hopfield.knock_out_ranking(adata, **options).reset_index())


def sensitivity(adata: anndata.AnnData, **options: Any) -> np.ndarray:
    """Derivatives of the leading eigenvalue."""
    return _numbers(hopfield.edge_sensitivity(adata, **options).reset_index())


def elasticities(adata: anndata.AnnData, **options: Any) -> np.ndarray:
    """Effects without a unit; not defined where nothing is produced."""
    return _numbers(hopfield.elasticities(adata, **options).reset_index().fillna(0.0))


def response(adata: anndata.AnnData, **options: Any) -> np.ndarray:
    """Shifts of the steady state."""
    return _numbers(hopfield.steady_state_response(adata, stable_only=False, **options).reset_index())


def fit(adata: anndata.AnnData, **options: Any) -> np.ndarray:
    """Interactions, biases and rates of the fitted field, one row per cluster."""
    options = {"regulators": list(REGULATORS), "ridge": 0.3} | options
    field = hopfield.fit(adata, **options)
    parts = (field.interactions.flatten(1), field.bias, field.degradation)
    return torch.cat(parts, 1).numpy()


def hill(adata: anndata.AnnData, **options: Any) -> np.ndarray:
    """Thresholds and exponents of the modelled genes."""
    hopfield.fit_hill(adata, **options)
    return adata.var.loc[list(GENES), ["hopfield_threshold", "hopfield_exponent"]].to_numpy()


def intervals(adata: anndata.AnnData, **options: Any) -> np.ndarray:
    """Intervals of the effects from few resamples."""
    options = {"regulators": list(REGULATORS), "ridge": 0.3} | options
    return _numbers(hopfield.edge_intervals(adata, n_resamples=3, **options).reset_index())


def halves(adata: anndata.AnnData, **options: Any) -> np.ndarray:
    """Agreement of two halves."""
    options = {"regulators": list(REGULATORS), "ridge": 0.3} | options
    return _numbers(hopfield.split_half(adata, n_splits=1, **options).reset_index())


@pytest.fixture(scope="session")
def cases() -> ModuleType:
    """This file: makers of data and the calls."""
    return sys.modules[__name__]
