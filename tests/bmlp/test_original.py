"""The original's functions: same keys and shapes, working seeds and splits, every refusal."""

from types import SimpleNamespace

import anndata
import numpy as np
import pytest
import scanpy
import torch
from scipy import sparse
from torch.utils.data import Subset

from scmods import _checks, datasets
from scmods.bmlp import closed_form, core, estimators, original


def blobs(n=60, genes=12, groups=3, seed=0, strength=2):
    """Counts of three groups along a line, with labels and total counts that differ between cells."""
    rng = np.random.default_rng(seed)
    group = np.sort(rng.integers(0, groups, n))
    rate = 2 + strength * (np.arange(genes)[None] % groups == group[:, None])
    counts = rng.poisson(rate * rng.uniform(0.5, 2, (n, 1))).astype(np.float32)
    counts[:, 0] += 1
    adata = anndata.AnnData(counts)
    adata.obs_names = [f"cell{i}" for i in range(n)]
    adata.var_names = [f"gene{i}" for i in range(genes)]
    adata.obs["cell_type"] = np.array(["B", "C", "A"], dtype=object)[group]
    return adata


def scaled(**options):
    """Z-scores that are not whole numbers."""
    adata = blobs(**options)
    scanpy.pp.log1p(adata)
    scanpy.pp.scale(adata)
    return adata


@pytest.fixture
def loads_blobs(monkeypatch):
    """Every data set is the same 60 cells, as a sparse matrix."""

    def load(name, **options):
        adata = blobs()
        adata.X = sparse.csr_matrix(adata.X)
        return adata

    monkeypatch.setattr(datasets, "load", load)


def rows(part):
    return np.array(part.indices)


def assert_partition(parts, n):
    assert sorted(np.concatenate([rows(p) for p in parts]).tolist()) == list(range(n))


# myeloid_dev_freq, myeloid_dev_type


def test_dev_freq_scales_writes_frequencies_and_splits(loads_blobs):
    adata, train, val, test = original.myeloid_dev_freq(k_neighbors=8, n_freq_comps=4)
    expected = blobs()
    scanpy.pp.normalize_total(expected)
    scanpy.pp.log1p(expected)
    scanpy.pp.scale(expected)
    np.testing.assert_allclose(adata.X, expected.X, rtol=1e-6)
    assert adata.obsm["X_freq"].shape == (60, 4)
    assert adata.obsm["X_freq"].dtype == np.float32
    np.testing.assert_allclose(np.linalg.norm(adata.obsm["X_freq"], axis=0), 1, rtol=1e-6)
    assert (np.diff(adata.uns["freq_vals"]) > 0).all()
    assert adata.uns["freq_vals"][0] > 0
    assert "neighbors" not in adata.obs  # lists there cannot be saved
    assert [len(p) for p in (train, val, test)] == [42, 9, 9]
    assert_partition((train, val, test), 60)
    for part in (train, val, test):
        x, y = part[3]
        np.testing.assert_array_equal(x, adata.X[rows(part)[3]])
        np.testing.assert_array_equal(y, adata.obsm["X_freq"][rows(part)[3]])


def test_dev_freq_result_can_be_saved(loads_blobs, tmp_path):
    adata, *_ = original.myeloid_dev_freq(8, 3)
    adata.write_h5ad(tmp_path / "a.h5ad")
    again = anndata.read_h5ad(tmp_path / "a.h5ad")
    np.testing.assert_array_equal(again.obsm["X_freq"], adata.obsm["X_freq"])


def test_random_state_decides_the_split_and_nothing_else(loads_blobs):
    a, b, c = (original.myeloid_dev_freq(8, 3, random_state=s) for s in (1, 1, 2))
    np.testing.assert_array_equal(a[0].obsm["X_freq"], c[0].obsm["X_freq"])
    assert a[1].indices == b[1].indices
    assert a[3].indices == b[3].indices
    assert a[1].indices != c[1].indices


def test_dev_type_takes_the_labels_of_the_data(loads_blobs):
    adata, train, val, test = original.myeloid_dev_type()
    assert_partition((train, val, test), 60)
    whole = train.dataset.tensors[1]
    assert whole.dtype == torch.int64
    names = np.unique(adata.obs["cell_type"].astype(str))
    np.testing.assert_array_equal(names[whole], adata.obs["cell_type"].astype(str))
    assert "X_pca" not in adata.obsm


def test_dev_type_makes_clusters_where_there_are_no_labels(monkeypatch):
    monkeypatch.setattr(datasets, "load", lambda name: blobs(strength=8))
    adata, train, _, _ = original.myeloid_dev_type(n_cell_types=3, class_key="kmeans")
    assert adata.obsm["X_pca"].shape == (60, 12)
    assert sorted(adata.obs["kmeans"].cat.categories) == ["0", "1", "2"]
    assert set(train.dataset.tensors[1].tolist()) == {0, 1, 2}
    # three groups of genes and of cells: clusters are the groups, up to names
    pairs = set(zip(adata.obs["kmeans"], adata.obs["cell_type"], strict=True))
    assert len(pairs) == 3


def test_nothing_global_changes(loads_blobs):
    torch_state, numpy_state = torch.random.get_rng_state(), np.random.get_state()[1].copy()
    original.myeloid_dev_freq(8, 3)
    original.myeloid_dev_type(class_key="kmeans")
    original.extract_gene_modules(blobs(), np.stack([np.eye(12)]), 0, 3)
    assert torch.equal(torch_state, torch.random.get_rng_state())
    np.testing.assert_array_equal(numpy_state, np.random.get_state()[1])
    assert torch.is_grad_enabled()


def test_the_loaded_data_are_not_changed(monkeypatch):
    source = blobs()
    source.layers["counts"] = source.X.copy()
    source.X = np.log1p(source.X)
    before = source.X.copy()
    monkeypatch.setattr(datasets, "load", lambda name: source)
    adata, *_ = original.myeloid_dev_freq(8, 3)  # counts come from the layer
    np.testing.assert_array_equal(source.X, before)
    assert list(source.obsm) == []
    assert adata.obsm["X_freq"].shape == (60, 3)


@pytest.mark.parametrize(("change", "seen"), [(np.log1p, "fractions"), (lambda x: x - 5, "negative values")])
def test_scaled_data_are_refused_with_a_way_out(monkeypatch, change, seen):
    source = blobs()
    source.X = change(source.X)
    monkeypatch.setattr(datasets, "load", lambda name: source)
    with pytest.raises(ValueError, match=f"(?s)'mine' holds {seen}.*Expected counts.*get_freqs"):
        original.myeloid_dev_freq(dataset="mine")


def test_full_data_set_without_network_says_how_to_get_it(monkeypatch):
    def offline():
        msg = "name resolution failed"
        raise OSError(msg)

    monkeypatch.setattr(scanpy.datasets, "paul15", offline)
    with pytest.raises(
        datasets.DataUnavailableError, match=r"name resolution failed.*paul15\.h5.*dataset='paul15_240'"
    ) as error:
        original.myeloid_dev_freq(dataset="paul15")
    assert error.value.url.endswith("paul15.h5")
    assert error.value.path.name == "paul15.h5"


def test_full_data_set_is_scanpys_and_may_hold_corrected_counts(monkeypatch):
    source = blobs()
    source.X = source.X * 1.5
    monkeypatch.setattr(scanpy.datasets, "paul15", lambda: source)
    adata, *_ = original.myeloid_dev_freq(8, 3, dataset="paul15")
    assert adata.shape == (60, 12)


@pytest.mark.data
def test_default_data_set_is_the_240_gene_subset(data_folder):
    adata, train, val, test = original.myeloid_dev_type()
    assert adata.shape == (2660, 240)
    assert len(np.unique(train.dataset.tensors[1])) == 7
    assert abs(len(val) / 2660 - 0.15) < 0.01
    assert abs(len(test) / 2660 - 0.15) < 0.01


# get_freqs


def frequencies(x, **options):
    adata = x if isinstance(x, anndata.AnnData) else anndata.AnnData(x)
    original.get_freqs(adata, 8, 5, **options)
    return adata.obsm["X_freq"]


def test_frequencies_are_eigenvectors_of_the_plain_laplacian():
    adata = scaled()
    original.get_freqs(adata, k=8, n_freqs=5)
    x = adata.X / np.linalg.norm(adata.X, axis=1, keepdims=True)
    near = np.argsort(-(x @ x.T) + 9 * np.eye(60), axis=1)[:, :8]
    a = np.zeros((60, 60))
    np.put_along_axis(a, near, 1, axis=1)
    a = np.maximum(a, a.T)
    lap = np.diag(a.sum(1)) - a
    np.testing.assert_allclose(adata.uns["freq_vals"], np.linalg.eigvalsh(lap)[1:6], atol=1e-8)
    u = adata.obsm["X_freq"].astype(float)
    np.testing.assert_allclose(lap @ u, u * adata.uns["freq_vals"], atol=1e-5)


def test_sparse_half_view_and_backed_work(tmp_path):
    adata = scaled()
    adata.X = np.round(adata.X * 64) / 64  # numbers that half precision holds
    expected = frequencies(adata.X.copy())
    np.testing.assert_array_equal(frequencies(sparse.csr_matrix(adata.X)), expected)
    np.testing.assert_array_equal(frequencies(adata.X.astype(np.float16)), expected)
    double = anndata.concat([adata, adata], index_unique="-")
    np.testing.assert_array_equal(frequencies(double[:60].copy()), expected)
    adata.write_h5ad(tmp_path / "a.h5ad")
    backed = anndata.read_h5ad(tmp_path / "a.h5ad", backed="r")
    np.testing.assert_array_equal(frequencies(backed), expected)
    backed.file.close()


def test_all_component_indicators_are_left_out_with_a_warning():
    rng = np.random.default_rng(0)
    centres = 20 * np.eye(3)[np.repeat([0, 1, 2], [20, 15, 10])]
    adata = anndata.AnnData(centres + 0.3 * rng.normal(size=(45, 3)))
    with pytest.warns(_checks.NumericalWarning, match=r"3 components, of \['20', '15', '10'\].*k=\d+ joins"):
        original.get_freqs(adata, k=4, n_freqs=6)
    assert (adata.uns["freq_vals"] > 1e-3).all()  # an indicator has eigenvalue 0
    for cells in (slice(0, 20), slice(20, 35), slice(35, 45)):
        np.testing.assert_allclose(adata.obsm["X_freq"][cells].sum(0), 0, atol=1e-5)


def test_too_many_neighbours_or_frequencies_name_the_limit():
    with pytest.raises(ValueError, match=r"`k` is 60, but must be at least 1 and at most 59.*pass k=15"):
        original.get_freqs(scaled(), k=60)
    with pytest.raises(
        ValueError, match=r"`n_freqs` is 59.*at most 58.*60 cells in 1 components.*n_freqs=58"
    ):
        original.get_freqs(scaled(), k=30, n_freqs=59)


def test_bad_cells_are_named():
    adata = scaled()
    adata.X[7] = 0
    with pytest.raises(ValueError, match=r"1 all-zero rows; first: \['cell7'\]"):
        original.get_freqs(adata)
    adata.X[9, 2] = np.nan
    with pytest.raises(ValueError, match=r"1 values that are NaN.*\['cell9'\]"):
        original.get_freqs(adata)


# data sets


def test_subsets_share_one_matrix_and_feed_the_estimator():
    adata = scaled()
    adata.obsm["y"] = adata.X[:, :2] * adata.X[:, 2:4]
    parts = original.get_regression_datasets(adata, "y", random_state=3)
    assert all(isinstance(p, Subset) for p in parts)
    assert len({p.dataset.tensors[0].data_ptr() for p in parts}) == 1
    assert parts[0].dataset.tensors[0].dtype == torch.float32
    model = estimators.ScBMLPRegressor(estimators.Config.repaired(12, 2, n_epochs=2, batch_size=16))
    train_losses, val_losses = model.fit(*parts[:2])
    assert len(train_losses) == len(val_losses) == 2


def test_one_number_per_cell_and_sparse_targets():
    adata = scaled()
    adata.obsm["sparse"] = sparse.csr_matrix(adata.X[:, :2])
    train, *_ = original.get_regression_datasets(adata, "sparse")
    np.testing.assert_array_equal(train.dataset.tensors[1], adata.X[:, :2])


def test_classes_keep_their_shares():
    adata = scaled(n=200)
    parts = original.get_classification_datasets(adata, "cell_type", val_split=0.2)
    assert_partition(parts, 200)
    y = parts[0].dataset.tensors[1].numpy()
    for number in range(3):
        size = (y == number).sum()
        held = [(y[rows(p)] == number).sum() for p in parts[1:]]
        assert held == [round(0.2 * size)] * 2


def test_smallest_class_is_in_every_set():
    adata = scaled()
    adata.obs["rare"] = ["x"] * 57 + ["y"] * 3
    for share in (0.05, 0.45):
        for part in original.get_classification_datasets(adata, "rare", val_split=share):
            assert {int(y) for _, y in part} == {0, 1}


def test_numbers_as_labels_sort_as_numbers():
    adata = scaled()
    adata.obs["n"] = np.tile([10, 2, 1], 20)
    for column in (adata.obs["n"], adata.obs["n"].astype("category")):
        adata.obs["n"] = column
        train, *_ = original.get_classification_datasets(adata, "n")
        assert train.dataset.tensors[1][:3].tolist() == [2, 1, 0]


def test_missing_keys_are_listed():
    adata = scaled()
    adata.obsm["X_freqs"] = adata.X
    with pytest.raises(
        _checks.MissingKeyError, match=r"obsm\['X_freq'\]` does not exist.*Did you mean 'X_freqs'"
    ):
        original.get_regression_datasets(adata, "X_freq")
    with pytest.raises(_checks.MissingKeyError, match=r"obs\['celltype'\]` does not exist.*'cell_type'"):
        original.get_classification_datasets(adata, "celltype")


def test_bad_targets_and_labels_are_refused():
    adata = scaled()
    adata.obsm["y"] = adata.X[:, :2].copy()
    adata.obsm["y"][4, 1] = np.inf
    with pytest.raises(ValueError, match=r"obsm\['y'\]` holds 1 values.*\['cell4'\]"):
        original.get_regression_datasets(adata, "y")
    adata.obsm["words"] = np.full((60, 1), "a")
    with pytest.raises(TypeError, match=r"obsm\['words'\]` has type <U1, but must be numeric"):
        original.get_regression_datasets(adata, "words")
    adata.obs["some"] = ["a"] * 30 + ["b"] * 28 + ["c"] * 2
    with pytest.raises(ValueError, match="fewer than 3 cells: .*'c'.*: 2"):
        original.get_classification_datasets(adata, "some")
    adata.obs["some"] = [None] * 5 + ["a"] * 30 + ["b"] * 25
    with pytest.raises(ValueError, match="5 missing labels of 60"):
        original.get_classification_datasets(adata, "some")
    adata.obs["some"] = "a"
    with pytest.raises(ValueError, match="holds one class"):
        original.get_classification_datasets(adata, "some")
    adata.X[3, 3] = np.nan
    with pytest.raises(ValueError, match=r"adata\.X` holds 1 values that are NaN.*\['cell3'\]"):
        original.get_classification_datasets(adata, "cell_type")


def test_splits_without_cells_are_refused():
    adata = scaled()
    adata.obsm["y"] = adata.X[:, :1]
    for share in (0.0, 0.5):
        with pytest.raises(ValueError, match=rf"val_split={share:g} of 60 cells leaves.*empty"):
            original.get_regression_datasets(adata, "y", val_split=share)
    with pytest.raises(ValueError, match=r"val_split=0.15 of 2 cells leaves"):
        original.get_regression_datasets(adata[:2].copy(), "y")
    with pytest.raises(ValueError, match=r"`val_split` is 0.7.*in \[0, 0.5\]. Both validation and test"):
        original.get_regression_datasets(adata, "y", val_split=0.7)
    with pytest.raises(ValueError, match="`random_state` is -1"):
        original.get_regression_datasets(adata, "y", random_state=-1)


# extract_gene_modules


def planted(genes=12):
    """Two outputs: one mode up with both ends, two modes of which the stronger is negative."""
    v = np.zeros((3, genes))
    v[0, [2, 5, 7]] = 0.8, -0.5, 0.3
    v[1, [1, 4]] = 0.9, -0.2
    v[2, [8, 9]] = 0.7, -0.6
    return np.stack([3 * np.outer(v[0], v[0]), np.outer(v[1], v[1]) - 5 * np.outer(v[2], v[2])])


def test_modules_are_the_ends_of_the_most_positive_mode():
    adata, b = blobs(), planted()
    assert original.extract_gene_modules(adata, b, 0, 1) == (["gene2"], ["gene5"])
    top, _ = original.extract_gene_modules(adata, b, 0, 2)
    assert top == ["gene2", "gene7"]
    assert original.extract_gene_modules(adata, torch.tensor(b), 1, 1) == (["gene1"], ["gene4"])
    skew = b + np.triu(np.ones((12, 12)), 1) - np.tril(np.ones((12, 12)), -1)
    assert original.extract_gene_modules(adata, skew, 0, 1) == (["gene2"], ["gene5"])


def test_models_and_their_dense_matrices_give_the_same_modules():
    adata = scaled()
    x = torch.tensor(adata.X, dtype=torch.float64)
    y = torch.stack([x[:, 0] * x[:, 1], x[:, 2] ** 2 - x[:, 3] * x[:, 4]], dim=1)
    quadratic = closed_form.fit_quadratic(x, y)
    layer = core.BilinearMLP(12, 8, 2, constant=0.0, zero_head=False)
    weights = dict(zip(("w_l", "w_r", "w_p"), layer.weights(), strict=True))
    matrices = [quadratic.interaction_matrix(o) for o in torch.eye(2, dtype=torch.float64)]
    of_layer = [core.interaction_matrix(weights["w_l"], weights["w_r"], p) for p in weights["w_p"]]
    whole = SimpleNamespace(eigenmodes=quadratic.eigenmodes)
    for o in range(2):
        expected = original.extract_gene_modules(adata, torch.stack(matrices), o, 4)
        assert original.extract_gene_modules(adata, quadratic, o, 4) == expected
        assert original.extract_gene_modules(adata, whole, o, 4) == expected
        found = original.extract_gene_modules(adata, SimpleNamespace(**weights), o, 4)
        assert found == original.extract_gene_modules(adata, torch.stack(of_layer), o, 4)


def test_modules_refuse_what_does_not_fit():
    adata, b = blobs(), planted()
    extract = original.extract_gene_modules
    with pytest.raises(ValueError, match=r"`b` is for 12 genes, but `adata` has 5"):
        extract(adata[:, :5].copy(), b, 0)
    with pytest.raises(ValueError, match=r"`freq_idx` is 2.*at most 1. The model has 2 outputs"):
        extract(adata, b, 2)
    with pytest.raises(ValueError, match=r"`n_genes` is 7.*at most 6.*must not overlap"):
        extract(adata, b, 0, 7)
    with pytest.raises(ValueError, match=r"Output 0 has no positive mode: its eigenvalues run from -"):
        extract(adata, -planted()[:1], 0, 3)
    with pytest.raises(ValueError, match=r"`b` is a ndarray of shape \(12, 12\), but must be a fitted model"):
        extract(adata, b[0], 0)
    with pytest.raises(TypeError, match=r"`b` is a str, but must be a fitted model"):
        extract(adata, "model", 0)
    adata.var_names = ["same"] * 12
    with pytest.raises(ValueError, match="duplicated names"):
        extract(adata, b, 0)
