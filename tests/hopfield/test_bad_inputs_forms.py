"""Unusual but sound input gives the same numbers: storage, order, names, unused categories, files."""

import anndata
import numpy as np
import pandas as pd
import pytest
from scipy import sparse

from scmods import NumericalWarning, hopfield
from scmods.hopfield import Field

CALLS = ["jacobians", "rotational", "elements", "energies", "knock_outs", "nonnormality", "reconstruct"]
LAYERS = ("spliced", "unspliced", "Ms", "Mu")
FORMS = ["csr", "csc", "int64", "float16", "view"]


@pytest.fixture(scope="module")
def expected(cases):
    """What every call gives for the plain data; rows are cells, or clusters for the fit."""
    return {name: getattr(cases, name)(cases.make()) for name in [*CALLS, "fit", "hill"]}


def stored_as(adata, form):
    """The same whole numbers in another storage."""
    if form == "view":
        more = anndata.concat([adata, adata[:5]], index_unique="-", merge="same", uns_merge="same")
        more.obs["cell_type"] = more.obs["cell_type"].astype("category")
        part = more[: adata.n_obs, adata.var_names]
        assert part.is_view
        return part
    for name in LAYERS:
        x = adata.layers[name]
        if form in ("csr", "csc"):
            adata.layers[name] = getattr(sparse, f"{form}_matrix")(x)
        else:
            adata.layers[name] = x.astype(form)
    return adata


def same(found, wanted):
    np.testing.assert_allclose(found, wanted, rtol=1e-10, atol=1e-12)


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("call", [*CALLS, "fit", "hill"])
@pytest.mark.filterwarnings(
    "ignore:Setting element:UserWarning", "ignore::anndata.ImplicitModificationWarning"
)
def test_storage_does_not_matter(cases, expected, call, form):
    same(getattr(cases, call)(stored_as(cases.make(), form)), expected[call])


@pytest.mark.parametrize("call", CALLS)
def test_backed_files_are_read_in_blocks(cases, expected, call, tmp_path):
    cases.make().write_h5ad(tmp_path / "a.h5ad")
    same(getattr(cases, call)(anndata.read_h5ad(tmp_path / "a.h5ad", backed="r")), expected[call])


@pytest.mark.parametrize("form", ["csr", "csc", "int64", "float32"])
@pytest.mark.parametrize("function", [hopfield.moments, hopfield.velocity], ids=lambda f: f.__name__)
def test_storage_does_not_matter_before_the_fit(cases, function, form):
    options = {"n_neighbors": 5} if function is hopfield.moments else {}
    plain, other = cases.make(), stored_as(cases.make(), form)
    function(plain, **options)
    function(other, **options)
    for name in ("Ms", "Mu") if function is hopfield.moments else ("velocity",):
        found = other.layers[name]
        assert isinstance(found, np.ndarray)
        np.testing.assert_allclose(found, plain.layers[name], rtol=1e-6)


@pytest.mark.parametrize("call", CALLS)
def test_cells_and_genes_in_another_order(cases, expected, call):
    rng = np.random.default_rng(4)
    cells, genes = rng.permutation(42), rng.permutation(7)
    assert (np.sort(cells) != cells).any()
    same(getattr(cases, call)(cases.make()[cells][:, genes].copy()), expected[call][cells])


@pytest.mark.parametrize("call", ["ranking", "sensitivity", "elasticities", "response"])
def test_tables_do_not_depend_on_order_and_storage(cases, call):
    wanted = getattr(cases, call)(cases.make())
    assert len(wanted) > 3
    order = np.random.default_rng(4).permutation(42)
    same(getattr(cases, call)(stored_as(cases.make()[order].copy(), "csr")), wanted)


def test_the_fit_does_not_depend_on_the_order_of_cells(cases, expected):
    cells = np.random.default_rng(4).permutation(42)
    same(cases.fit(cases.make()[cells].copy()), expected["fit"])
    genes = np.random.default_rng(4).permutation(7)
    adata = cases.make()[:, genes].copy()
    cases.fit(adata)
    other = cases.make()
    cases.fit(other)
    mine, theirs = Field.of(adata), Field.of(other)
    assert sorted(mine.genes) == sorted(theirs.genes)
    for cluster in theirs.clusters:
        wanted = theirs.matrix(cluster)
        same(mine.matrix(cluster).loc[wanted.index, wanted.columns], wanted)


@pytest.mark.parametrize("call", CALLS)
def test_one_cluster_alone(cases, expected, call):
    """Clusters of the field without cells, and unused categories, are no reason to stop."""
    adata = cases.make()
    on = (adata.obs["cell_type"] == "18").to_numpy()
    part = adata[on].copy()
    part.obs["cell_type"] = part.obs["cell_type"].cat.set_categories(["nobody", "18", "CD4/CD8"])
    same(getattr(cases, call)(part), expected[call][on])


def test_unused_categories_get_no_field(cases):
    adata = cases.make()
    assert "nobody" in adata.obs["cell_type"].cat.categories
    cases.fit(adata)
    assert sorted(Field.of(adata).clusters) == sorted(cases.LABELS)


@pytest.mark.parametrize("kind", ["text", "object", "number"])
def test_labels_of_any_type(cases, kind):
    adata, plain = cases.make(labels=("18", "7")), cases.make(labels=("18", "7"))
    labels = adata.obs["cell_type"].astype(str)
    adata.obs["cell_type"] = {"text": labels.astype("string"), "object": labels.to_numpy(dtype=object)}.get(
        kind, labels.astype(int)
    )
    for call in ("jacobians", "energies", "fit"):
        same(getattr(cases, call)(adata), getattr(cases, call)(plain))


@pytest.mark.parametrize("suffix", ["h5ad", "zarr"])
def test_everything_written_survives_a_file(cases, expected, suffix, tmp_path):
    """Labels and genes with a slash, digits and accents: after the round trip all is there and still works."""
    adata = cases.make()
    field = hopfield.fit(adata, regulators=list(cases.REGULATORS), ridge=0.3)
    for call in [*CALLS, "hill"]:
        getattr(cases, call)(adata)
    hopfield.compute_jacobians(adata, compute_eigenvectors=True, n_vectors=2)
    path = tmp_path / f"a.{suffix}"
    getattr(adata, f"write_{suffix}")(path)
    back = getattr(anndata, f"read_{suffix}")(path)
    assert Field.of(back).fingerprint == field.fingerprint
    assert list(back.obs["cell_type"]) == list(adata.obs["cell_type"])
    for slot in ("obs", "var", "obsm", "layers", "uns"):
        assert set(getattr(back, slot)) == set(getattr(adata, slot)), slot
    numbers = adata.obs.select_dtypes("number").columns
    np.testing.assert_array_equal(back.obs[numbers], adata.obs[numbers])
    np.testing.assert_array_equal(back.obsm["jacobian_eigenvalues"], adata.obsm["jacobian_eigenvalues"])
    for call in CALLS:
        same(getattr(cases, call)(back), getattr(cases, call)(adata))


def test_files_of_the_original_survive_where_they_can(cases, tmp_path):
    adata = cases.make_original()
    adata = adata[adata.obs["cell_type"] != "CD4/CD8"].copy()
    for slot in (adata.var, adata.varp):
        for key in [k for k in slot if str(k).endswith("CD4/CD8")]:
            del slot[key]
    adata.write_h5ad(tmp_path / "a.h5ad")
    back = anndata.read_h5ad(tmp_path / "a.h5ad")
    same(cases.jacobians(back), cases.jacobians(adata))


@pytest.mark.parametrize("suffix", ["h5", "zarr"])
def test_jacobian_files_with_such_names(cases, suffix, tmp_path):
    adata = cases.make()
    path = tmp_path / f"j.{suffix}"
    hopfield.compute_jacobians(adata, compute_eigenvectors=True, filename=path)
    fresh = cases.make()[::-1].copy()
    vectors = hopfield.load_jacobians(fresh, path, load_eigenvectors=True)
    np.testing.assert_array_equal(
        fresh.obsm["jacobian_eigenvalues"], adata.obsm["jacobian_eigenvalues"][::-1]
    )
    assert vectors.shape == (42, 6, 6)
    assert [p.name for p in tmp_path.iterdir()] == [path.name]


def test_a_call_that_fails_changes_nothing(cases):
    adata = cases.make()
    adata.layers["Ms"][40, 2] = np.nan
    before = {s: set(getattr(adata, s)) for s in ("obs", "var", "obsm", "uns", "layers")}
    mark = Field.of(adata).fingerprint
    for call in [*CALLS, "fit", "hill"]:
        with pytest.raises(ValueError, match="NaN"):
            getattr(cases, call)(adata)
    assert {s: set(getattr(adata, s)) for s in before} == before
    assert Field.of(adata).fingerprint == mark


COPIES = ["compute_jacobians", "compute_rotational_part", "energies", "nonnormality", "fit_hill", "velocity"]


@pytest.mark.parametrize("name", COPIES)
def test_a_copy_gets_what_the_data_would(cases, name):
    adata, changed = cases.make(), cases.make()
    getattr(hopfield, name)(changed)
    copy = getattr(hopfield, name)(adata, copy=True)
    for slot in ("obs", "var", "obsm", "layers", "uns"):
        mine = getattr(adata, slot)
        assert set(mine) == set(getattr(cases.make(), slot)), slot
        assert set(getattr(copy, slot)) == set(getattr(changed, slot)), slot
    pd.testing.assert_frame_equal(copy.obs, changed.obs)
    pd.testing.assert_frame_equal(copy.var, changed.var)
    pd.testing.assert_frame_equal(adata.var, cases.make().var)
    assert not changed.var.equals(adata.var) or set(changed.obs) > set(adata.obs)


def test_the_few_cells_of_a_cluster_are_told_but_fitted(cases):
    adata = cases.make()
    few = np.flatnonzero(adata.obs["cell_type"] == "18")[3:]
    adata = adata[np.setdiff1d(np.arange(42), few)].copy()
    with pytest.warns(NumericalWarning, match="'18'"):
        assert np.isfinite(cases.fit(adata)).all()
