"""Smoothed counts: the definition written out, storage, refusals."""

import anndata
import numpy as np
import pytest
from scipy import sparse

from scmods import graph, hopfield
from scmods._checks import NumericalWarning, PerformanceWarning
from scmods.hopfield import smoothing

pytestmark = pytest.mark.filterwarnings("ignore::anndata.ImplicitModificationWarning")


def cells(n_cells=60, n_genes=12, seed=0):
    """Counts in which the state of a cell on a line moves the genes; gene 0 expressed in every cell."""
    rng = np.random.default_rng(seed)
    state = rng.uniform(0, 3, n_cells)
    rate = 12 * np.exp(-((state[:, None] - np.linspace(0, 3, n_genes)) ** 2)) + 0.5
    spliced, unspliced = rng.poisson(3 * rate), rng.poisson(rate)
    spliced[:, 0] += 1
    unspliced[:, 0] += 1
    adata = anndata.AnnData(spliced.astype(np.float32))
    adata.layers["spliced"], adata.layers["unspliced"] = spliced.astype(float), unspliced.astype(float)
    adata.obs_names = [f"cell{i}" for i in range(n_cells)]
    adata.var_names = [f"g{i}" for i in range(n_genes)]
    adata.obs["time"] = state
    adata.obsm["line"] = state[:, None]
    return adata


def test_the_means_are_those_of_the_definition():
    adata = cells()
    hopfield.moments(adata, n_neighbors=7, use_rep="line")
    line = adata.obsm["line"].ravel()
    for layer, key in (("spliced", "Ms"), ("unspliced", "Mu")):
        x = adata.layers[layer]
        x = x * (np.median(x.sum(axis=1)) / x.sum(axis=1))[:, None]
        for i in range(adata.n_obs):
            near = np.argsort(np.abs(line - line[i]))[:8]  # the cell itself comes first
            np.testing.assert_allclose(adata.layers[key][i], x[near].mean(axis=0), rtol=1e-5)
        assert adata.layers[key].dtype == np.float32


def test_neighbours_are_those_of_our_components_of_the_spliced_counts():
    adata = cells()
    other = cells()
    x = adata.layers["spliced"]
    x = x * (np.median(x.sum(axis=1)) / x.sum(axis=1))[:, None]
    other.obsm["own"] = graph.pca(np.log1p(x), 5, scale=False).scores
    hopfield.moments(adata, n_neighbors=9, n_pcs=5)
    hopfield.moments(other, n_neighbors=9, use_rep="own")
    np.testing.assert_array_equal(adata.layers["Mu"], other.layers["Mu"])
    hopfield.moments(other, n_neighbors=9, n_pcs=1)
    assert np.abs(adata.layers["Mu"] - other.layers["Mu"]).max() > 0.1


def test_components_are_those_of_the_most_varying_genes(monkeypatch):
    adata = cells()
    x = sparse.csr_array(adata.layers["spliced"])
    logged = np.log1p(x.toarray())
    keep = np.sort(np.argsort(-logged.var(axis=0))[:5])
    monkeypatch.setattr(smoothing, "MOST_GENES", 5)
    np.testing.assert_allclose(
        smoothing.positions(x, 3), graph.pca(logged[:, keep], 3, scale=False).scores, atol=1e-9
    )


def test_the_size_of_a_cell_does_not_matter():
    adata, other = cells(), cells()
    factor = np.where(np.arange(60) < 20, 3.0, 1.0)
    other.layers["unspliced"] *= factor[:, None]
    hopfield.moments(adata, n_neighbors=5)
    hopfield.moments(other, n_neighbors=5)
    np.testing.assert_array_equal(adata.layers["Ms"], other.layers["Ms"])
    ratio = other.layers["Mu"][adata.layers["Mu"] > 0] / adata.layers["Mu"][adata.layers["Mu"] > 0]
    np.testing.assert_allclose(ratio, ratio[0], rtol=1e-5)


def test_a_backed_matrix_is_read(tmp_path):
    adata = cells()
    adata.write_h5ad(tmp_path / "a.h5ad")
    backed = anndata.read_h5ad(tmp_path / "a.h5ad", backed="r")
    hopfield.moments(backed, spliced_layer=None, n_neighbors=6)
    hopfield.moments(adata, n_neighbors=6)
    np.testing.assert_array_equal(backed.layers["Ms"], adata.layers["Ms"])


def changed(layer="spliced", at=(4, 2), value=np.nan):
    adata = cells()
    adata.layers[layer][at] = value
    return adata


@pytest.mark.parametrize(
    ("adata", "options", "kind", "text"),
    [
        (
            cells(),
            {"spliced_layer": "Spliced"},
            KeyError,
            r"Available: \['spliced', 'unspliced'\]. Did you mean 'spliced'\? .*spliced_layer='...'",
        ),
        (
            cells(),
            {"unspliced_layer": "u"},
            KeyError,
            r"layers\['u'\]` does not exist.*unspliced_layer='...'",
        ),
        (changed(), {}, ValueError, r"layers\['spliced'\]` holds 1 values that are NaN .*'g2', cell 'cell4'"),
        (
            changed("unspliced", value=-2),
            {},
            ValueError,
            r"'unspliced'\]` holds 1 negative values; the lowest is -2",
        ),
        (changed(at=slice(None), value=0), {}, ValueError, r"holds nothing but zeros.*spliced_layer='...'"),
        (
            changed(at=slice(5, 7), value=0),
            {},
            ValueError,
            r"2 cells without any count; first: \['cell5', 'cell6'\].*np.ravel\(adata.layers\['spliced'\]",
        ),
        (
            cells(),
            {"n_neighbors": 60},
            ValueError,
            r"`n_neighbors` is 60, .*at most 59.*write n_neighbors=30",
        ),
        (cells(), {"n_pcs": 0}, ValueError, r"`n_pcs` is 0, but must be at least 1"),
        (cells(), {"use_rep": "lines"}, KeyError, r"obsm\['lines'\]` does not exist.*Did you mean 'line'"),
    ],
)
def test_moments_refuse_by_name(adata, options, kind, text):
    with pytest.raises(kind, match=text):
        hopfield.moments(adata, **options)
    assert "Ms" not in adata.layers


def test_coordinates_with_nan_are_refused():
    adata = cells()
    adata.obsm["line"][3] = np.nan
    with pytest.raises(ValueError, match=r"obsm\['line'\]` holds 1 values that are NaN .*'cell3'"):
        hopfield.moments(adata, use_rep="line")


def test_logged_values_are_noticed():
    adata = cells()
    adata.layers["logged"] = np.log1p(adata.layers["spliced"])
    with pytest.warns(NumericalWarning, match=r"layers\['logged'\]` looks logged.*largest is \d\.\d+"):
        hopfield.moments(adata, spliced_layer="logged", n_neighbors=5)


def test_counts_that_are_not_whole_pass_silently(recwarn):
    adata = cells()
    adata.layers["spliced"] *= 1.37  # corrected counts
    hopfield.moments(adata, n_neighbors=5)
    assert not [w for w in recwarn if issubclass(w.category, NumericalWarning)]


def test_cells_without_unspliced_counts_are_noticed():
    with pytest.warns(NumericalWarning, match=r"1 cells without any count; first: \['cell4'\].*as zeros"):
        hopfield.moments(changed("unspliced", at=4, value=0), n_neighbors=5)


def test_large_results_are_announced(monkeypatch):
    with pytest.warns(PerformanceWarning, match=r"100000 cells x 20000 genes take 16.0 GB.*select_genes"):
        smoothing._warn_of_size(100000, 20000, 2)
