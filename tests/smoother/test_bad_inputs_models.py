"""What users do wrong with the models: references, counts, missing values, unmeasured spots."""

from __future__ import annotations

import warnings

import numpy as np
import pandas as pd
import pytest
from scipy import sparse

from scmods import MissingKeyError, NumericalWarning, smoother


@pytest.fixture
def adata(cases):
    return cases.make()


def other_names(table):
    return table.set_axis([f"ENSG{i:011d}" for i in range(len(table))])


@pytest.mark.parametrize(
    ("change", "error", "text"),
    [
        (
            other_names,
            ValueError,
            r"30 genes\) and `adata` \(30 genes\) share 0 genes.*\['ENSG.*\['gene/0'.*same case",
        ),
        (lambda t: t.iloc[:3], ValueError, r"\(3 genes\).* share 3 genes, but 3 types need more than 3"),
        (lambda t: t.T, ValueError, "It looks transposed: pass reference.T"),
        (lambda t: t.to_numpy(), TypeError, "`reference` is a ndarray, but must be a DataFrame"),
        (
            lambda t: pd.concat([t, t.iloc[:2]]),
            ValueError,
            r"reference.index has 2 duplicated names: \['gene/0'",
        ),
        (
            lambda t: t.set_axis(["a", "a", "b"], axis=1),
            ValueError,
            "reference.columns has 1 duplicated names",
        ),
        (
            lambda t: t.assign(mix=t.sum(axis=1)),
            ValueError,
            "The profile of '.*' is a combination of those of the",
        ),
        (lambda t: t.assign(**{"B/T": 0.0}), ValueError, r"profiles of \['B/T'\] are zero in all 30 genes"),
        (lambda t: t.astype(str), TypeError, "`reference` has type object, but must be numeric"),
        (lambda t: t.mask(t == t.to_numpy().max()), ValueError, "`reference` holds 1 values that are NaN"),
        (lambda t: t - 5.0, ValueError, "reference holds negative values"),
    ],
    ids=["names", "few", "turned", "array", "genes", "types", "mixture", "empty", "text", "NaN", "negative"],
)
def test_reference(cases, adata, change, error, text):
    for call in (
        lambda: smoother.deconvolve(adata, change(cases.profiles()), smoothing=0.1),
        lambda: smoother.tune_smoothing(adata, change(cases.profiles())),
    ):
        with pytest.raises(error, match=text):
            call()
    assert list(adata.obsm) == ["spatial"]


def test_half_a_reference_is_told(cases, adata):
    table = pd.concat([cases.profiles().iloc[:10], other_names(cases.profiles())])
    with pytest.warns(NumericalWarning, match="Only 10 of the 40 genes of the reference are among the 30"):
        smoother.deconvolve(adata, table, smoothing=0.1)


def test_duplicated_genes_and_spots(cases, adata):
    adata.var_names = ["gene/0", "gene/0", *adata.var_names[2:]]
    with pytest.raises(ValueError, match=r"var_names has 1 duplicated names: \['gene/0'\]"):
        smoother.deconvolve(adata, cases.profiles(), smoothing=0.1)
    with pytest.raises(ValueError, match="var_names has 1 duplicated"):
        smoother.check_input(adata)
    adata = cases.make()
    adata.obs_names = ["spot", "spot", *adata.obs_names[2:]]
    with pytest.raises(ValueError, match=r"obs_names has 1 duplicated names: \['spot'\]"):
        smoother.check_input(adata)


@pytest.mark.parametrize(
    "options", [{}, {"model": "log_normal"}, {"weights": "dwls"}], ids=["nnls", "log", "dwls"]
)
def test_empty_spots_are_kept_and_filled(cases, adata, options):
    adata.X[[2, 7]] = 0
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        smoother.deconvolve(adata, cases.profiles(), smoothing=0.1, **options)
    np.testing.assert_allclose(adata.obsm["smoother_proportions"].sum(axis=1), 1)
    if not options:
        with pytest.warns(
            NumericalWarning, match=r"No type was found in 2 spots; first: \['spot/2', 'spot/7'\]"
        ):
            smoother.deconvolve(adata, cases.profiles(), smoothing=0.0)


def test_no_counts_at_all(cases, adata):
    adata.X[:] = 0
    with pytest.raises(ValueError, match="hold no counts of any shared gene"):
        smoother.deconvolve(adata, cases.profiles(), smoothing=0.1)
    with pytest.raises(ValueError, match="All 30 genes are constant"):
        smoother.spatial_weights(adata, expression=True)


def test_values_that_are_no_counts(cases, adata):
    adata.layers["log"] = np.log1p(adata.X)
    for call in (
        lambda: smoother.tune_smoothing(adata, layer="log"),
        lambda: smoother.deconvolve(adata, cases.profiles(), layer="log"),
    ):
        with pytest.raises(ValueError, match="no whole numbers, such as .*layer='counts'.*smoothing=0.1"):
            call()
    adata.layers["scaled"] = adata.X - adata.X.max()
    with pytest.raises(
        ValueError, match="matrix of the spots holds negative values, down to -.*layer='counts'"
    ):
        smoother.deconvolve(adata, cases.profiles(), layer="scaled", smoothing=0.1)


READERS = [
    "deconvolve",
    "impute",
    "denoise",
    "spatial_pca",
    "association",
    "tune",
    "tune_types",
    "cell_means",
]


@pytest.mark.parametrize("call", [*READERS, "weights"])
@pytest.mark.parametrize("storage", ["dense", "csr"])
def test_missing_values(cases, call, storage):
    adata = cases.make()
    adata.X[3, 3] = np.nan
    if storage == "csr":
        adata.X = sparse.csr_matrix(adata.X)
    slots = {s: set(getattr(adata, s)) for s in ("obs", "var", "obsm", "layers", "uns")}
    with pytest.raises(ValueError, match="1 values that are NaN or infinite"):
        getattr(cases, call)(adata)
    assert {s: set(getattr(adata, s)) for s in slots} == slots


@pytest.mark.parametrize("call", ["deconvolve", "impute", "denoise", "spatial_pca", "association", "tune"])
def test_no_graph(cases, call):
    with pytest.raises(MissingKeyError, match=r"spatial_connectivities.*`smoother.spatial_weights\(adata\)`"):
        getattr(cases, call)(cases.make(graph=False))


@pytest.mark.parametrize("value", ["0.1", None])
@pytest.mark.parametrize("call", ["deconvolve", "denoise", "spatial_pca"])
def test_strength(cases, adata, call, value):
    data = [adata, cases.profiles()] if call == "deconvolve" else [adata]
    function = getattr(smoother, call)
    for bad, error, text in (
        (value, (TypeError, ValueError), f"`smoothing` is {value!r}"),
        (np.nan, ValueError, "`smoothing` is nan"),
        (-0.1, ValueError, r"`smoothing` is -0.1, .*\[0, inf\]"),
    ):
        with pytest.raises(error, match=text):
            function(*data, smoothing=bad)


# ---------------------------------------------------------------- what was measured


def test_observed(adata):
    with pytest.raises(ValueError, match="`observed` is False for every spot"):
        smoother.impute(adata, np.zeros(36, bool))
    with pytest.raises(ValueError, match=r"shape \(36,\) and type int64, but must be \(36,\) and bool"):
        smoother.impute(adata, np.ones(36, int))
    with pytest.raises(ValueError, match=r"shape \(35,\) and type bool"):
        smoother.denoise(adata, observed=np.ones(35, bool), smoothing=0.1)
    with pytest.raises(MissingKeyError, match=r"obs\['mesured'\]` does not exist.*Did you mean 'measured'"):
        smoother.impute(adata, "mesured")
    with pytest.raises(ValueError, match="smoothing=0 leaves 7 missing spots undetermined.*smoother.impute"):
        smoother.denoise(adata, observed="measured", smoothing=0)
    with pytest.raises(MissingKeyError, match=r"layers\['lognorm'\]` does not exist"):
        smoother.impute(adata, "measured", layer="lognorm")


@pytest.mark.parametrize("prior", ["icar", "isar"])
def test_a_component_that_nobody_measured(adata, prior):
    smoother.spatial_weights(adata, n_neighbors=4, cluster_key="region")
    seen = (adata.obs["region"] != "18").to_numpy()
    text = r"1 of 3 components .* no observed spot.*12 spots: \['2', '3', '8'.*rho=0.99"
    with pytest.raises(ValueError, match=text):
        smoother.impute(adata, seen, prior=prior, rho=1)
    with pytest.raises(ValueError, match=text):
        smoother.denoise(adata, observed=seen, smoothing=0.1, prior=prior, rho=1)
    smoother.impute(adata, seen, prior=prior, rho=0.99)
    assert np.isfinite(adata.layers["smoother_imputed"]).all()
