"""Unusual but sound input gives the same numbers: storage, order, names, labels, files."""

from __future__ import annotations

import anndata
import numpy as np
import pandas as pd
import pytest
import torch
from scipy import sparse

from scmods import smoother

CALLS = [
    "deconvolve",
    "dwls",
    "impute",
    "denoise",
    "spatial_pca",
    "association",
    "tune",
    "tune_types",
    "cell_means",
]
PER_SPOT = ["deconvolve", "dwls", "log_normal", "impute", "denoise", "spatial_pca"]
FORMS = ["csr", "csc", "csr_array", "int32", "int64", "float16", "float64", "view"]
FILES = ["backed", "backed csr"]


@pytest.fixture(scope="module")
def expected():
    """What each call gives for the plain data, computed once."""
    return {}


def stored_as(adata, form, folder=None):
    """The same whole numbers in another storage."""
    if form == "view":
        more = anndata.concat(
            [adata, adata[:5]], index_unique="-", merge="same", uns_merge="same", pairwise=True
        )
        part = more[: adata.n_obs, adata.var_names]
        assert part.is_view
        return part
    if form.startswith("backed"):
        adata.X = sparse.csr_matrix(adata.X) if "csr" in form else adata.X
        adata.write_h5ad(folder / "a.h5ad")
        return anndata.read_h5ad(folder / "a.h5ad", backed="r")
    adata.X = (
        getattr(sparse, form if form == "csr_array" else f"{form}_matrix")(adata.X)
        if "cs" in form
        else (adata.X.astype(form))
    )
    return adata


def wanted(cases, expected, call):
    if call not in expected:
        expected[call] = getattr(cases, call)(cases.make())
    return expected[call]


def same(found, other, atol=1e-9):
    np.testing.assert_allclose(found, other, rtol=1e-8, atol=atol)


@pytest.mark.parametrize("form", FORMS + FILES)
@pytest.mark.parametrize("call", [*CALLS, "weights"])
@pytest.mark.filterwarnings("ignore::anndata.ImplicitModificationWarning")
def test_storage_does_not_matter(cases, expected, call, form, tmp_path):
    same(getattr(cases, call)(stored_as(cases.make(), form, tmp_path)), wanted(cases, expected, call))


@pytest.mark.parametrize("form", ["csr", "int64", "view"])
@pytest.mark.filterwarnings("ignore::anndata.ImplicitModificationWarning")
def test_storage_does_not_matter_for_the_log_normal_model(cases, expected, form):
    found = cases.log_normal(stored_as(cases.make(), form))
    same(found, wanted(cases, expected, "log_normal"), atol=1e-4)  # it stops near the optimum


@pytest.mark.parametrize("call", PER_SPOT)
def test_spots_and_genes_in_another_order(cases, expected, call):
    """The graph travels with the spots; no result may depend on the order of the rows."""
    rng = np.random.default_rng(4)
    spots, genes = rng.permutation(36), rng.permutation(30)
    found = getattr(cases, call)(cases.make()[spots][:, genes].copy())
    right = wanted(cases, expected, call)[spots]
    if call in ("impute", "denoise"):
        right = right[:, [*genes, 30]]
    atol = 1e-4 if call == "log_normal" else 1e-8
    same(np.abs(found), np.abs(right), atol=atol)  # the sign of a component follows its largest loading


def test_a_graph_made_from_spots_in_another_order(cases):
    spots = np.random.default_rng(4).permutation(36)
    plain, other = cases.make(graph=False), cases.make(graph=False)[spots].copy()
    for adata in (plain, other):  # a radius has no ties
        smoother.spatial_weights(adata, radius=1.5, cluster_key="region", boundary=0.3)
    for key in ("spatial_connectivities", "spatial_distances"):
        same(other.obsp[key].toarray(), plain.obsp[key].toarray()[np.ix_(spots, spots)])


def test_genes_of_the_reference_in_another_order(cases, expected):
    """Genes meet by name, never by position; types keep the order of the table."""
    shuffled = cases.profiles().sample(frac=1, random_state=3)
    assert list(shuffled.index) != list(cases.profiles().index)
    more = pd.concat([shuffled, pd.DataFrame(7.0, index=["elsewhere"], columns=cases.TYPES)])
    for table in (shuffled, more, more[cases.TYPES[::-1]]):
        adata = cases.make()
        smoother.deconvolve(adata, table, smoothing=0.1)
        types = adata.uns["smoother_deconvolution"]["types"]
        assert list(types) == list(table.columns)
        order = [list(types).index(t) for t in cases.TYPES]
        same(adata.obsm["smoother_abundances"][:, order], wanted(cases, expected, "deconvolve"), atol=1e-6)
        assert list(adata.uns["smoother_deconvolution"]["genes"]) == list(adata.var_names)


@pytest.mark.parametrize("kind", ["text", "object", "number", "boolean"])
def test_labels_of_any_type(cases, kind):
    column = pd.Series(np.arange(36) % 3 == 0)
    forms = {
        "text": column.map({True: "18", False: "7"}).astype("string"),
        "object": column.map({True: "18", False: "7"}).astype(object),
        "number": column.map({True: 18, False: 7}),
        "boolean": column,
    }
    found = []
    for name in ("object", kind):
        adata = cases.make(graph=False)
        adata.obs["label"] = forms[name].to_numpy()
        smoother.spatial_weights(adata, n_neighbors=4, cluster_key="label", boundary=0.25)
        found.append(adata.obsp["spatial_connectivities"].toarray())
    same(found[1], found[0])
    assert 0.25 in found[0]


def test_a_graph_in_any_storage_gives_the_same_loss(cases):
    w = cases.make().obsp["spatial_connectivities"]
    x = torch.rand(3, 36, dtype=torch.float64, generator=torch.Generator().manual_seed(1))
    right = smoother.SpatialLoss("icar", w, rho=0.9)(x)
    given = smoother.SpatialWeightMatrix(w)
    for other in (
        w.tocsc(),
        w.tocoo(),
        sparse.csr_array(w),
        w.toarray(),
        w.astype("float32"),
        w.astype(int),
        given,
    ):
        same(smoother.SpatialLoss("icar", other, rho=0.9)(x), right, atol=1e-12)


@pytest.mark.parametrize("suffix", ["h5ad", "zarr"])
@pytest.mark.filterwarnings("ignore:Writing zarr v2:UserWarning")
def test_everything_written_survives_a_file(cases, suffix, tmp_path):
    """Names with slashes, digits and accents: after the round trip all is there, and everything still works."""
    adata = cases.make()
    smoother.deconvolve(adata, cases.profiles())  # chooses its strength: the curve is stored too
    smoother.impute(adata, "measured")
    smoother.denoise(adata, smoothing=0.3, key_added="smooth")
    smoother.spatial_pca(adata, n_comps=3, smoothing=0.05)
    cases.weights(adata)
    path = tmp_path / f"a.{suffix}"
    getattr(adata, f"write_{suffix}")(path)
    back = getattr(anndata, f"read_{suffix}")(path)
    for slot in ("obs", "var", "obsm", "varm", "obsp", "layers", "uns"):
        assert set(getattr(back, slot)) == set(getattr(adata, slot)), slot
    for slot in ("obsm", "varm", "layers"):
        for key in getattr(adata, slot):
            np.testing.assert_array_equal(getattr(back, slot)[key], getattr(adata, slot)[key])
    info, before = back.uns["smoother_deconvolution"], adata.uns["smoother_deconvolution"]
    assert list(info["types"]) == cases.TYPES
    assert list(info["genes"]) == list(adata.var_names)
    pd.testing.assert_frame_equal(info["curve"], before["curve"], check_dtype=False)
    assert back.uns["spatial_neighbors"]["params"]["boundary"] == 0.5
    assert list(back.obs["region"]) == list(adata.obs["region"])
    for call in ("deconvolve", "impute", "denoise", "spatial_pca", "weights"):
        same(getattr(cases, call)(back), getattr(cases, call)(adata), atol=1e-12)


def test_simulated_tissues_survive_a_file(tmp_path):
    adata = smoother.tissue(5, 5, boundaries=True, lattice="hex")
    adata.write_h5ad(tmp_path / "a.h5ad")
    back = anndata.read_h5ad(tmp_path / "a.h5ad")
    pd.testing.assert_frame_equal(smoother.reference(back), smoother.reference(adata))
    for key in ("expected", "zone", "reference"):
        np.testing.assert_array_equal(back.uns["truth"][key], adata.uns["truth"][key])
    assert list(back.uns["truth"]["types"]) == list(adata.uns["truth"]["types"])


@pytest.mark.parametrize("function", ["spatial_weights", "deconvolve", "impute", "denoise", "spatial_pca"])
def test_a_copy_gets_what_the_data_would(cases, function):
    given = {"deconvolve": [cases.profiles()], "impute": ["measured"]}.get(function, [])
    options = {"deconvolve": {"smoothing": 0.1}, "denoise": {"smoothing": 0.1}, "spatial_pca": {"n_comps": 2}}
    graph = function != "spatial_weights"
    adata, changed = cases.make(graph=graph), cases.make(graph=graph)
    call = getattr(smoother, function)
    assert call(changed, *given, **options.get(function, {})) is None
    copy = call(adata, *given, copy=True, **options.get(function, {}))
    grown = 0
    for slot in ("obs", "var", "obsm", "varm", "obsp", "layers", "uns"):
        assert set(getattr(adata, slot)) == set(getattr(cases.make(graph=graph), slot)), slot
        assert set(getattr(copy, slot)) == set(getattr(changed, slot)), slot
        grown += len(getattr(copy, slot)) - len(getattr(adata, slot))
    assert grown > 0
    pd.testing.assert_frame_equal(copy.obs, changed.obs)
