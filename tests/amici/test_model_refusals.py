"""Everything that `AMICI` refuses or warns of, with the words it does it in."""

from __future__ import annotations

import warnings

import numpy as np
import pytest

from scmods._checks import MissingKeyError, PerformanceWarning
from scmods.amici.model import AMICI


@pytest.fixture(scope="module")
def fitted(make) -> AMICI:
    return make().fit(max_epochs=1)


def test_a_model_that_is_not_fitted_refuses(make):
    model = make()
    for call in (
        model.heads,
        model.predict,
        model.pair_scores,
        lambda: model.network,
        lambda: model.save("x"),
    ):
        with pytest.raises(RuntimeError, match=r"not fitted.*model.fit\(\)"):
            call()


def test_values_that_are_not_finite_name_cell_and_gene(tissue, make):
    adata = tissue()
    adata.X[[7, 9], [3, 4]] = np.nan, np.inf
    with pytest.raises(ValueError, match=r"X` holds 2 values.*first: cell 'c7', gene 'g3'"):
        make(adata)


def test_counts_are_warned_of(tissue, make):
    adata = tissue()
    adata.X = np.rint(adata.X * 20).astype(np.float32)
    with pytest.warns(
        UserWarning, match=r"`adata.X` looks like counts: whole numbers up to 20.*log1p.*layer"
    ):
        make(adata)


def test_large_matrices_are_stated(monkeypatch, make):
    monkeypatch.setattr("scmods.amici.inputs.LARGE", 100)
    with pytest.warns(PerformanceWarning, match=r"90 x 10 matrix in dense form"):
        make()


@pytest.mark.parametrize("what", ["var_names", "obs_names"])
def test_names_that_repeat_are_refused(what, tissue, make):
    adata = tissue()
    names = list(getattr(adata, what))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        setattr(adata, what, [names[0], *names[:-1]])
        with pytest.raises(ValueError, match=rf"adata.{what} has 1 duplicated names: \['{names[0]}'\]"):
            make(adata)


def test_genes_of_other_cells_are_matched_by_name(fitted, tissue):
    adata = tissue(genes=9)
    adata.var_names = [f"g{i}" for i in range(8)] + ["new"]
    with pytest.raises(
        ValueError, match=r"lacks 2 of the 10 genes.*\['g8', 'g9'\]; genes that only .*\['new'\]"
    ):
        fitted.heads(adata)


def test_a_missing_layer_and_key_list_what_there_is(tissue, make):
    adata = tissue()
    adata.layers["log"] = adata.X
    with pytest.raises(MissingKeyError, match=r"layers\['lgo'\].*Available: \['log'\].*Did you mean 'log'"):
        make(adata, layer="lgo")
    with pytest.raises(MissingKeyError, match=r"obs\['kind'\].*Available: \['cell_type'\]"):
        make(adata, cluster_key="kind")


def test_types_that_are_all_held_out_are_named(tissue, make):
    adata = tissue()
    with pytest.raises(ValueError, match=r"All cells of the types \['CD4/CD8'\] are held out"):
        make(adata, held_out=(adata.obs["cell_type"] == "CD4/CD8").to_numpy())


@pytest.mark.parametrize(
    ("cells", "kind", "text"),
    [
        (np.ones(80, dtype=bool), TypeError, r"type bool and shape \(80,\), but must be a mask of 90 cells"),
        ([1.5], TypeError, "type float64"),
        ([[1]], TypeError, r"shape \(1, 1\)"),
        ([3, 90], ValueError, "positions 3 to 90, but cells are counted from 0 to 89"),
        ([-1], ValueError, "positions -1 to -1"),
    ],
)
def test_cells_that_are_not_there_are_refused(fitted, cells, kind, text, make):
    with pytest.raises(kind, match=text):
        fitted.heads(cells=cells)
    with pytest.raises(kind, match="`held_out`"):
        make(held_out=cells)


@pytest.mark.parametrize(
    ("options", "text"),
    [
        ({"preset": "tiny"}, "`preset` is 'tiny', but must be one of .*small.*original"),
        ({"heads": 3}, "`option` is 'heads', but must be one of .*n_heads"),
        ({"n_heads": 0}, "`n_heads` is 0, but must be at least 1"),
        ({"drop": 1.0}, "`drop` is 1, but must be a finite number"),
        ({"schedule": "linear"}, "`schedule` is 'linear'"),
        ({"entropy_start": 50}, "`entropy_stop` is .* must not be before entropy_start=50"),
        ({"unit": -1.0}, "`unit` is -1"),
        ({"n_neighbors": 80}, "are asked for"),
    ],
)
def test_bad_options_are_refused(options, text, make):
    with pytest.raises(ValueError, match=text):
        make(**options)


def test_a_bad_split_is_refused(make):
    with pytest.raises(ValueError, match="`validation` is 0.001, which holds out 0 of 90 cells"):
        make().fit(validation=0.001)
    with pytest.raises(ValueError, match="`restarts` is 0"):
        make().fit(restarts=0)
