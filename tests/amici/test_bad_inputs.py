"""Unusual and unusable inputs, all the way: what is refused by name, and what must work."""

from __future__ import annotations

import warnings

import numpy as np
import pandas as pd
import pytest
from anndata import AnnData

from scmods import amici
from scmods._checks import MissingKeyError, NumericalWarning

SIZES = {
    "n_neighbors": 5, "n_heads": 2, "head_size": 3, "label_size": 4, "query_size": 4, "query_width": 5,
    "cell_size": 6, "cell_width": 8, "kv_size": 4, "kv_width": 4, "coefficient_width": 5,
}  # fmt: skip
NAMES = np.array(["L2/3 IT", "CON", "T cell (naïve)"])


def tissue(genes: int = 6, n: int = 120) -> AnnData:
    rng = np.random.default_rng(0)
    adata = AnnData(rng.random((n, genes), dtype=np.float32))
    adata.obs_names, adata.var_names = [f"c{i}" for i in range(n)], [f"g{i}" for i in range(genes)]
    adata.obs["cell_type"] = NAMES[rng.integers(3, size=n)]
    adata.obsm["spatial"] = rng.uniform(0, 110, (n, 2))
    return adata


def fit(adata: AnnData) -> amici.AMICI:
    held_out = np.arange(adata.n_obs) % 3 == 0
    return amici.AMICI(adata, held_out=held_out, **SIZES).fit(max_epochs=1)


@pytest.fixture(scope="module")
def fitted() -> amici.AMICI:
    return fit(tissue())


# --- refused


@pytest.mark.parametrize(
    "call",
    [
        lambda a: amici.AMICI(a, **SIZES),
        lambda a: amici.check_input(a),
        lambda a: amici.cross_fit(a, **SIZES),
    ],
    ids=["model", "check", "cross-fit"],
)
def test_nothing_is_refused_with_its_shape(call):
    with pytest.raises(ValueError, match="`adata` has 120 cells and 0 genes; at least one of each is needed"):
        call(tissue()[:, :0].copy())
    with pytest.raises(ValueError, match="`adata` has 0 cells and 6 genes"):
        call(tissue()[:0].copy())


def test_other_cells_are_checked_as_those_of_the_model(fitted):
    adata = tissue()
    adata.X[3, 2] = np.nan
    with pytest.raises(ValueError, match="holds 1 values that are NaN.*first: cell 'c3', gene 'g2'"):
        fitted.heads(adata, cells=[0, 1])  # it may be a neighbour
    adata = tissue()
    del adata.obsm["spatial"]
    with pytest.raises(MissingKeyError, match=r"obsm\['spatial'\].*spatial_key"):
        fitted.predict(adata)
    with pytest.raises(ValueError, match="have 2 cells of other types.*n_neighbors=2"):
        fitted.heads(
            tissue()[[0, *np.flatnonzero(tissue().obs["cell_type"] != tissue().obs["cell_type"].iloc[0])[:2]]]
        )


def test_a_matrix_that_is_not_there_or_no_numbers_is_refused():
    adata = tissue()
    adata.layers["log"], adata.X = adata.X.copy(), None
    with pytest.raises(MissingKeyError, match=r"`adata.X` is empty. Available layers: \['log'\]"):
        amici.check_input(adata)
    adata = tissue()
    adata.obsm["spatial"] = adata.obsm["spatial"].astype(str)
    with pytest.raises(TypeError, match=r"obsm\['spatial'\]` has type <U\d+, but must be numeric"):
        amici.AMICI(adata, **SIZES)


def test_all_cells_on_one_spot_are_refused():
    adata = tissue()
    adata.obsm["spatial"][:] = 3.0
    with (
        pytest.warns(NumericalWarning, match="120 cells share their position"),
        pytest.raises(ValueError, match="median distance .* is 0, so no unit of length can be set"),
    ):
        amici.AMICI(adata, **SIZES)


# --- must work


def test_one_gene_is_enough():
    model = fit(tissue(genes=1))
    out = model.heads(cells=model.held_out)
    assert out.predict([0]).shape == (40, 1)
    summary = amici.ExplainedVariance.compute(model, n_permutations=1200).summary()
    assert len(summary) == 6
    assert summary["p_value_head"].between(0, 1).all()
    assert set(amici.ablation_table(out)["gene"]) == {"g0"}


def test_cells_without_any_expression_explain_nothing():
    adata = tissue()
    adata.X[:] = 0
    result = amici.ExplainedVariance.compute(fit(adata))
    assert result.summary()["expl_var_head"].isna().all()
    assert set(result.skipped.values()) == {"no gene varies between the cells tested"}


def test_a_type_for_every_cell_is_listed_not_tested():
    adata = tissue(n=30)
    adata.obs["cell_type"] = [f"type {i}" for i in range(30)]
    adata.obsm["spatial"] *= 3
    model = amici.AMICI(adata, **SIZES).fit(max_epochs=1)
    with pytest.warns(NumericalWarning, match="cells='all'"):
        result = amici.ExplainedVariance.compute(model, cells="all")
    assert len(result.skipped) == 30
    assert all("at least 3 are n" in reason for reason in result.skipped.values())
    assert result.summary()["p_value_head"].isna().all()


@pytest.mark.parametrize("form", ["view", "integers", "column order", "unused category", "float64"])
def test_unusual_forms_give_the_same(fitted, form):
    adata = tissue()
    expected = fitted.heads(adata).z
    if form == "view":
        adata = adata[:, ::-1]
    elif form == "integers":
        adata.obsm["spatial"] = adata.obsm["spatial"].astype(np.float32).astype(np.float64)
        expected = fitted.heads(adata).z
        adata.obs["cell_type"] = adata.obs["cell_type"].astype(object)
    elif form == "column order":
        adata.X = np.asfortranarray(adata.X)
    elif form == "unused category":
        adata.obs["cell_type"] = pd.Categorical(
            adata.obs["cell_type"], categories=[*np.unique(NAMES), "ghost"]
        )
    else:
        adata.X = adata.X.astype(np.float64)
    np.testing.assert_allclose(fitted.heads(adata).z, expected, rtol=1e-10, atol=1e-12)


def test_results_with_unusual_names_survive_a_file(fitted, tmp_path):
    adata = tissue()
    result = amici.ExplainedVariance.compute(fitted, n_permutations=1200, null="block")
    table = amici.ablation_table(fitted.heads())
    adata.uns["amici_explained"], adata.uns["amici_ablation"] = result.summary(), table
    amici.spatial_neighbors(adata, n_neighbors=5)
    adata.write_h5ad(tmp_path / "a.h5ad")
    import anndata

    back = anndata.read_h5ad(tmp_path / "a.h5ad")
    assert set(back.uns["amici_explained"]["ct_name"]) == set(NAMES)
    assert set(back.uns["amici_ablation"]["sender"]) == set(NAMES)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        result.plot_featurewise_explained_variance_heatmap(save_html=True, save_dir=tmp_path / "figures")
    written = [p.name for p in (tmp_path / "figures").iterdir()]
    assert len(written) == 3
    assert not any("/" in name.removesuffix(".html") for name in written)
