"""From an AnnData to its frequencies: the same numbers from every storage, clear words for every trap."""

import warnings

import anndata
import numpy as np
import pandas as pd
import pytest
from anndata import AnnData
from scipy import sparse

from scmods import NumericalWarning, bmlp, graph
from scmods.bmlp import FreqKeys, Keys

pytestmark = pytest.mark.filterwarnings("ignore:The graph has", "ignore::anndata.ImplicitModificationWarning")
SLOTS = ("obs", "var", "obsm", "varm", "obsp", "varp", "layers", "uns")


def curve(n=120, genes=12, seed=0):
    """Cells along an arc, logged values: one component, well separated frequencies."""
    rng = np.random.default_rng(seed)
    t = np.sort(rng.uniform(0, 1, n))
    centre = np.linspace(0, 1, genes)
    x = 3 * np.exp(-((t[:, None] - centre) ** 2) / 0.05) + 0.05 * np.abs(rng.normal(size=(n, genes)))
    adata = AnnData(x)
    adata.obs_names, adata.var_names = [f"c{i}" for i in range(n)], [f"g{j}" for j in range(genes)]
    adata.obs["t"] = t
    return adata


def blobs(sizes=(40, 20), genes=6, seed=0):
    """Groups of cells far apart: the graph falls into as many components."""
    rng = np.random.default_rng(seed)
    group = np.repeat(np.arange(len(sizes)), sizes)
    high = np.arange(genes) % len(sizes) == group[:, None]
    return AnnData(8.0 * high + np.abs(rng.normal(size=(len(group), genes))))


def filled(adata):
    """Every key of every slot."""
    return {slot: set(getattr(adata, slot).keys()) for slot in SLOTS}


def stored(adata, form, path):
    """The same cells in another storage."""
    x = adata.X
    if form == "backed":
        adata.write_h5ad(path / "a.h5ad")
        return anndata.read_h5ad(path / "a.h5ad", backed="r")
    if form == "view":
        order = np.random.default_rng(0).permutation(adata.n_obs)
        return adata[order].copy()[np.argsort(order)]
    made = adata.copy()
    made.X = {"csr": sparse.csr_matrix, "csc": sparse.csc_matrix, "float32": np.float32, "float16": np.float16,
              "fortran": np.asfortranarray}[form](x)  # fmt: skip
    return made


@pytest.mark.parametrize("form", ["csr", "csc", "fortran", "view", "backed", "float32", "float16"])
@pytest.mark.parametrize("n_pcs", [None, 5])
def test_storage_does_not_matter(form, n_pcs, tmp_path):
    plain = curve()
    other = stored(plain, form, tmp_path)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", anndata.ImplicitModificationWarning)
        for adata in (plain, other):
            bmlp.frequencies(adata, n_comps=3, n_pcs=n_pcs)
    # coarser numbers may move a neighbour or two; the same numbers may not
    near = {"float16": 0.05, "float32": 0.01}.get(form, 1e-9)
    np.testing.assert_allclose(other.obsm["X_freq"], plain.obsm["X_freq"], atol=near)
    assert other.obsm["X_freq"].dtype == np.float64
    if form == "backed":
        other.file.close()


@pytest.mark.parametrize("options", [{}, {"metric": "euclidean"}, {"kind": "symmetric"}, {"n_pcs": 4}])
def test_order_of_cells_and_genes_does_not_matter(options):
    adata = curve()
    rng = np.random.default_rng(3)
    cells, genes = rng.permutation(adata.n_obs), rng.permutation(adata.n_vars)
    mixed = adata[cells][:, genes].copy()
    for a in (adata, mixed):
        bmlp.frequencies(a, n_comps=3, **options)
    np.testing.assert_allclose(mixed.obsm["X_freq"], adata.obsm["X_freq"][cells], atol=1e-7)
    np.testing.assert_allclose(mixed.uns["freq_vals"], adata.uns["freq_vals"], rtol=1e-9)
    assert (mixed.obsp["freq_connectivities"] != adata.obsp["freq_connectivities"][cells][:, cells]).nnz == 0


def test_frequencies_solve_the_eigenvalue_equation():
    adata = curve()
    bmlp.frequencies(adata, n_comps=4)
    a = adata.obsp["freq_connectivities"].toarray()
    lap = np.diag(a.sum(axis=1)) - a
    u, values = adata.obsm["X_freq"], adata.uns["freq_vals"]
    np.testing.assert_allclose(lap @ u, u * values, atol=1e-8)
    np.testing.assert_allclose(values, np.linalg.eigvalsh(lap)[1:5], atol=1e-9)
    np.testing.assert_allclose(u.T @ u, np.eye(4), atol=1e-9)
    assert (u[np.abs(u).argmax(axis=0), range(4)] > 0).all()
    assert abs(np.corrcoef(u[:, 0], adata.obs["t"])[0, 1]) > 0.95  # the first one runs along the arc


@pytest.mark.parametrize("name", ["freq", "other"])
def test_writes_exactly_its_slots(name):
    adata = curve()
    x, before = adata.X.copy(), filled(adata)
    bmlp.frequencies(adata, n_comps=3, key_added=name)
    keys = FreqKeys(name)
    new = {slot: have - before[slot] for slot, have in filled(adata).items()}
    assert new.pop("obsm") == {keys.vectors}
    assert new.pop("obsp") == {keys.adjacency}
    assert new.pop("uns") == {keys.values, keys.info}
    assert not any(new.values())
    np.testing.assert_array_equal(adata.X, x)
    assert adata.obsm[keys.vectors].shape == (120, 3)
    info = adata.uns[keys.info]
    assert [len(info[k]) for k in ("gaps", "participation", "residuals")] == [3, 3, 3]
    assert np.max(info["residuals"]) <= 1e-5
    assert info["component_sizes"].tolist() == [120]


def test_other_slots_are_exactly_as_documented(tiny):
    before = filled(tiny)
    bmlp.split(tiny)
    bmlp.preprocess(tiny, layer="counts")
    new = {slot: have - before[slot] for slot, have in filled(tiny).items()}
    assert new["obs"] == {Keys().split}
    assert new["layers"] == new["uns"] == {"lognorm"}
    bmlp.frequencies(tiny, layer="lognorm", n_comps=2)
    before = filled(tiny)
    bmlp.inductive_frequencies(tiny)
    new = {slot: have - before[slot] for slot, have in filled(tiny).items()}
    assert new.pop("obsm") == {"X_freq_inductive"}
    assert new.pop("uns") == {"freq_inductive"}
    assert not any(new.values())


def test_copy_leaves_the_original(tiny):
    before = filled(tiny)
    for call in (
        lambda a: bmlp.frequencies(a, n_comps=2, copy=True),
        lambda a: bmlp.preprocess(a, layer="counts", copy=True),
        lambda a: bmlp.split(a, copy=True),
    ):
        made = call(tiny)
        assert filled(tiny) == before
        assert filled(made) != before
    bmlp.split(tiny)
    assert bmlp.frequencies(tiny, n_comps=2) is None
    before = filled(tiny)
    assert "X_freq_inductive" in bmlp.inductive_frequencies(tiny, copy=True).obsm
    assert filled(tiny) == before


def test_round_trip_through_a_file_with_odd_labels(tiny_as, tmp_path):
    adata = tiny_as("csr")  # labels "CD4/CD8", "18", "T cell (naïve)"
    bmlp.preprocess(adata, layer="counts")
    bmlp.frequencies(adata, layer="lognorm", n_comps=3, clip=5.0)
    bmlp.split(adata, cluster_key="cell_type")
    bmlp.inductive_frequencies(adata)
    adata.write_h5ad(tmp_path / "a.h5ad")
    again = anndata.read_h5ad(tmp_path / "a.h5ad")
    for slot, names in filled(adata).items():
        assert set(getattr(again, slot)) == names
    np.testing.assert_array_equal(again.obsm["X_freq"], adata.obsm["X_freq"])
    assert again.obs["bmlp_split"].tolist() == adata.obs["bmlp_split"].tolist()
    assert again.obs["cell_type"].cat.categories.tolist() == ["18", "CD4/CD8", "T cell (naïve)"]
    for key, value in adata.uns["freq"].items():
        np.testing.assert_array_equal(again.uns["freq"][key], value)
    bmlp.inductive_frequencies(again)  # settings read back from a file still serve
    np.testing.assert_array_equal(again.obsm["X_freq_inductive"], adata.obsm["X_freq_inductive"])


def test_disconnected_graph_is_told_and_its_zero_vectors_dropped():
    adata = blobs((40, 20))
    with pytest.warns(
        NumericalWarning, match=r"2 components, the largest of 40, 20 cells.*largest_component"
    ) as caught:
        bmlp.frequencies(adata, n_comps=3, n_neighbors=5)
    k = int(str(caught[0].message).split("n_neighbors=")[1].split(".")[0])
    assert caught[0].filename == __file__
    assert (adata.uns["freq_vals"] > 1e-3).all()
    assert adata.uns["freq"]["component_sizes"].tolist() == [40, 20]
    for u in adata.obsm["X_freq"].T:  # each lives on one part and is orthogonal to the constant there
        assert min(np.abs(u[:40]).max(), np.abs(u[40:]).max()) < 1e-9
        assert abs(u.sum()) < 1e-8
    with warnings.catch_warnings():
        warnings.filterwarnings("error", message="The graph has")
        bmlp.frequencies(adata, n_comps=3, n_neighbors=k)  # the k that the warning named
    with pytest.warns(NumericalWarning, match="2 components"):
        bmlp.frequencies(adata, n_comps=3, n_neighbors=k - 1)


def test_largest_component_starts_anew_on_its_cells():
    adata = blobs((40, 20))
    with pytest.warns(NumericalWarning, match="components"):
        bmlp.frequencies(adata, n_comps=2, n_neighbors=6, metric="euclidean", key_added="f")
    kept = bmlp.largest_component(adata, key_added="f")
    assert kept.obs_names.tolist() == adata.obs_names[:40].tolist()
    assert kept.uns["f"]["component_sizes"].tolist() == [40]
    expected = adata[:40].copy()
    bmlp.frequencies(expected, n_comps=2, n_neighbors=6, metric="euclidean", key_added="f")
    np.testing.assert_allclose(kept.obsm["X_f"], expected.obsm["X_f"], atol=1e-9)
    assert adata.n_obs == 60


def test_nearly_equal_eigenvalues_are_told():
    angle = 2 * np.pi * np.arange(60) / 60
    adata = AnnData(np.zeros((60, 1)), obsm={"X_ring": np.c_[np.cos(angle), np.sin(angle)]})
    with pytest.warns(NumericalWarning, match=r"Frequencies 0 and 1, 2 and 3 have nearly equal") as caught:
        bmlp.frequencies(adata, n_comps=4, n_neighbors=4, use_rep="X_ring")
    assert caught[0].filename == __file__
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        bmlp.frequencies(curve(), n_comps=3)


def test_use_rep_is_the_graph_of_that_array(tiny):
    bmlp.frequencies(tiny, use_rep="X_pca", n_comps=2, n_neighbors=30, metric="euclidean")
    indices, _ = graph.knn(np.asarray(tiny.obsm["X_pca"]), 30, metric="euclidean")
    assert (tiny.obsp["freq_connectivities"] != graph.adjacency(indices)).nnz == 0


def test_use_rep_takes_sparse_and_frames(tiny_as):
    plain, framed, thin = tiny_as("dense"), tiny_as("dense"), tiny_as("dense")
    rep = plain.obsm["X_pca"]
    framed.obsm["X_pca"] = pd.DataFrame(rep, index=framed.obs_names)
    thin.obsm["X_pca"] = sparse.csr_matrix(rep)
    for adata in (plain, framed, thin):
        bmlp.frequencies(adata, use_rep="X_pca", n_comps=2, n_neighbors=30)
        np.testing.assert_allclose(adata.obsm["X_freq"], plain.obsm["X_freq"], atol=1e-9)


def test_constant_genes_change_nothing():
    adata = curve()
    more = AnnData(np.c_[adata.X, np.full((120, 2), 1.7)])
    for a in (adata, more):
        bmlp.frequencies(a, n_comps=3)
    np.testing.assert_allclose(more.obsm["X_freq"], adata.obsm["X_freq"], atol=1e-9)


def test_clip_cuts_the_scores():
    adata = curve()
    adata.X[7, 2] = 50.0
    clipped = AnnData(np.clip((adata.X - adata.X.mean(0)) / adata.X.std(0, ddof=1), -2, 2))
    clipped.obsm["X_z"] = clipped.X
    bmlp.frequencies(adata, n_comps=3, clip=2.0)
    bmlp.frequencies(clipped, n_comps=3, use_rep="X_z")
    np.testing.assert_allclose(adata.obsm["X_freq"], clipped.obsm["X_freq"], atol=1e-9)


@pytest.mark.parametrize("form", ["dense", "csr", "view"])
def test_preprocess_normalises_counts(tiny_as, form):
    adata = tiny_as(form)
    counts = tiny_as("dense").layers["counts"]
    kept = adata.layers["counts"].copy()
    bmlp.preprocess(adata, layer="counts")
    total = counts.sum(axis=1, keepdims=True)
    made = adata.layers["lognorm"]
    assert sparse.issparse(made) == (form == "csr")
    made = made.toarray() if sparse.issparse(made) else made
    np.testing.assert_allclose(made, np.log1p(counts / total * np.median(total)), rtol=2e-5)
    assert adata.uns["lognorm"] == {"detected": "counts", "taken_as": "counts", "layer": "counts"}
    now = adata.layers["counts"]
    assert np.abs(now - kept).max() == 0
    bmlp.preprocess(adata, layer="counts", target_sum=100.0)
    made = adata.layers["lognorm"]
    made = made.toarray() if sparse.issparse(made) else made
    np.testing.assert_allclose(np.expm1(made).sum(axis=1), 100.0, rtol=1e-5)


@pytest.mark.parametrize("dtype", [np.int32, np.uint16, np.float16, np.float64])
def test_preprocess_takes_counts_of_every_type(tiny_as, dtype):
    adata, other = tiny_as("dense"), tiny_as("dense")
    other.layers["counts"] = other.layers["counts"].astype(dtype)
    for a in (adata, other):
        bmlp.preprocess(a, layer="counts")
    np.testing.assert_allclose(other.layers["lognorm"], adata.layers["lognorm"], rtol=1e-6)
    assert other.layers["lognorm"].dtype.kind == "f"


def test_preprocess_keeps_what_is_logged_or_scaled(tiny):
    bmlp.preprocess(tiny)
    x = tiny.layers["lognorm"]
    assert tiny.uns["lognorm"]["taken_as"] == "log"
    assert np.abs(x - tiny.X).max() == 0
    scaled = AnnData(np.random.default_rng(0).normal(size=(9, 4)))
    with pytest.warns(NumericalWarning, match=r"negative values.*layer='counts'") as caught:
        bmlp.preprocess(scaled)
    assert caught[0].filename == __file__
    np.testing.assert_array_equal(scaled.layers["lognorm"], scaled.X)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        bmlp.preprocess(scaled, data="scaled")  # said by the caller: nothing to warn of


def test_preprocess_from_a_file_that_stays_closed(tiny_as, tmp_path):
    for form in ("dense", "csr"):
        adata = tiny_as(form)
        adata.X = adata.layers["counts"]
        adata.write_h5ad(tmp_path / f"{form}.h5ad")
        backed = anndata.read_h5ad(tmp_path / f"{form}.h5ad", backed="r")
        bmlp.preprocess(backed)
        bmlp.preprocess(adata)
        assert np.abs(backed.layers["lognorm"] - adata.layers["lognorm"]).max() < 1e-6
        backed.file.close()


def test_counts_must_be_normalised_first(tiny):
    with pytest.raises(ValueError, match=r"`adata\.layers\['counts'\]` holds raw counts.*bmlp\.preprocess"):
        bmlp.frequencies(tiny, layer="counts")
    binary = AnnData(np.random.default_rng(0).integers(0, 2, (30, 8)).astype(float))
    binary.X[:, 0] = 1 - binary.X[:, 1]
    bmlp.frequencies(binary, n_comps=1)  # 0 and 1 alone are no counts of molecules


def test_split_shares_sets_and_seeds():
    adata = AnnData(np.zeros((200, 1)))
    bmlp.split(adata, fractions=(0.6, 0.3, 0.1))
    assert adata.obs["bmlp_split"].value_counts().to_dict() == {"train": 120, "val": 60, "test": 20}
    assert adata.obs["bmlp_split"].cat.categories.tolist() == ["train", "val", "test"]
    draws = []
    for seed in (0, 0, 1):
        bmlp.split(adata, seed=seed, key_added="s")
        draws.append(adata.obs["s_split"].tolist())
    assert draws[0] == draws[1] != draws[2]


@pytest.mark.parametrize("n", [3, 4, 5, 7, 11])
@pytest.mark.parametrize(
    "fractions", [(0.7, 0.15, 0.15), (0.98, 0.01, 0.01), (0.01, 0.98, 0.01), (0.01, 0.01, 0.98)]
)
def test_every_set_has_a_cell(n, fractions):
    adata = AnnData(np.zeros((n, 1)))
    bmlp.split(adata, fractions=fractions)
    assert (adata.obs["bmlp_split"].value_counts() >= 1).all()


def test_stratified_split_divides_every_class_alike():
    adata = AnnData(np.zeros((140, 1)))
    adata.obs["type"] = np.repeat(["CD4/CD8", "18", "T cell (naïve)"], [100, 37, 3])
    bmlp.split(adata, cluster_key="type")
    table = pd.crosstab(adata.obs["type"], adata.obs["bmlp_split"])
    assert table.loc["CD4/CD8"].tolist() == [70, 15, 15]
    assert (table >= 1).all().all()
    assert abs(table.loc["18", "train"] - 0.7 * 37) <= 1


@pytest.mark.parametrize(
    "options", [{}, {"n_pcs": 5}, {"use_rep": "X_rep"}, {"kind": "symmetric"}, {"clip": 2.0, "n_pcs": 5}]
)
def test_inductive_frequencies_agree_with_transductive_ones(options):
    adata = curve(300)
    adata.obsm["X_rep"] = np.asarray(adata.X)[:, :8] + 0.1
    bmlp.frequencies(adata, n_comps=3, **options)
    bmlp.split(adata)
    bmlp.inductive_frequencies(adata)
    test = (adata.obs["bmlp_split"] == "test").to_numpy()
    new, old = adata.obsm["X_freq_inductive"], adata.obsm["X_freq"]
    for k in range(2):
        assert abs(np.corrcoef(new[test, k], old[test, k])[0, 1]) > 0.95
    np.testing.assert_allclose(np.linalg.norm(new[~test], axis=0), 1.0)
    assert 0 <= adata.uns["freq_inductive"]["mean_of_neighbors"] <= test.sum() * 3


def test_inductive_frequencies_do_not_see_the_test_cells():
    adata = curve(150)
    bmlp.split(adata)
    test = np.flatnonzero(adata.obs["bmlp_split"] == "test")
    other = adata.copy()
    other.X[test] = other.X[test[::-1]] * 1.5 + 0.2
    for a in (adata, other):
        bmlp.frequencies(a, n_comps=2)
        bmlp.inductive_frequencies(a)
    known = np.setdiff1d(np.arange(150), test)
    np.testing.assert_allclose(
        other.obsm["X_freq_inductive"][known], adata.obsm["X_freq_inductive"][known], atol=1e-10
    )
    assert np.abs(other.obsm["X_freq"][known] - adata.obsm["X_freq"][known]).max() > 1e-4


def test_global_generators_are_left_alone(tiny):
    np.random.seed(5)
    before = np.random.get_state()[1].copy()
    bmlp.frequencies(tiny, n_comps=2)
    bmlp.split(tiny)
    bmlp.planted(30, 80)
    np.testing.assert_array_equal(np.random.get_state()[1], before)
