"""The checks of a page, and what a notebook parameter can say about regulators."""

from __future__ import annotations

import numpy as np
import pytest

from scmods import MissingKeyError, hopfield


@pytest.fixture
def adata():
    return hopfield.random_circuit(100, 20, n_regulators=4, seed=1)


def test_regulators_come_from_a_column_a_list_or_all_genes(adata):
    marked = list(adata.var_names[adata.var["transcription_factor"]])
    assert hopfield.regulator_names(adata) == marked
    assert hopfield.regulator_names(adata, "transcription_factor") == marked
    first, last = adata.var_names[[0, -1]]
    assert hopfield.regulator_names(adata, f" {last} , {first},{last}") == [last, first]
    del adata.var["transcription_factor"]
    assert hopfield.regulator_names(adata) == list(adata.var_names)


def test_regulators_that_are_not_there_are_named(adata):
    with pytest.raises(MissingKeyError, match="1 of 2 regulators.*'tf_00'.*Did you mean 'tf_0'"):
        hopfield.regulator_names(adata, "tf_00, tf_1")
    adata.var["score"] = 1.0
    with pytest.raises(ValueError, match="has type float64, but must hold True and False"):
        hopfield.regulator_names(adata, "score")
    adata.var["none"] = False
    with pytest.raises(ValueError, match="marks no gene as regulator"):
        hopfield.regulator_names(adata, "none")


def test_facts_of_the_data(adata):
    facts = hopfield.check_input(adata, cluster_key="cell_type", n_neighbors=10)["found"]
    assert facts["regulators"] == "4"
    assert facts["truth known"] == "yes"
    assert facts["smallest cluster"] in ("type 0: 50 cells", "type 1: 50 cells")
    assert hopfield.check_input(adata, n_neighbors=10).loc["clusters", "found"] == "1"


def test_parameters_that_the_data_cannot_serve(adata):
    with pytest.raises(MissingKeyError, match="obs\\['leiden'\\].*does not exist"):
        hopfield.check_input(adata, cluster_key="leiden")
    with pytest.raises(ValueError, match="`n_neighbors` is 100"):
        hopfield.check_input(adata, n_neighbors=100)
    with pytest.raises(MissingKeyError, match="layers\\['velocity'\\].*does not exist"):
        hopfield.check_input(adata, velocity_layer="velocity", n_neighbors=10)
    adata.layers["velocity"] = np.zeros(adata.shape)
    with pytest.raises(ValueError, match="zero everywhere, so there is no field"):
        hopfield.check_input(adata, velocity_layer="velocity", n_neighbors=10)
    adata.obs["cell_type"] = adata.obs["cell_type"].astype(object)
    adata.obs.loc[adata.obs_names[:3], "cell_type"] = np.nan
    with pytest.raises(ValueError, match="missing for 3 of 100 cells"):
        hopfield.check_input(adata, cluster_key="cell_type", n_neighbors=10)


def test_genes_without_velocity_are_not_refused(adata):
    velocity = np.ones(adata.shape)
    velocity[:, 0] = np.nan
    adata.layers["velocity"] = velocity
    assert (
        "computed"
        not in hopfield.check_input(adata, velocity_layer="velocity", n_neighbors=10).loc["velocity", "found"]
    )
    velocity[3, 1] = np.inf
    with pytest.raises(ValueError, match="1 values that are NaN or infinite"):
        hopfield.check_input(adata, velocity_layer="velocity", n_neighbors=10)
