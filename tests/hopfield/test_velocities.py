"""Velocity by splicing and by time: closed forms, symmetries, refusals."""

import anndata
import numpy as np
import pytest
from scipy import sparse

from scmods import hopfield
from scmods._checks import NumericalWarning

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


def smoothed(s, u):
    """An AnnData of smoothed layers."""
    s, u = np.atleast_2d(s), np.atleast_2d(u)
    adata = anndata.AnnData(s.copy(), layers={"Ms": s.copy(), "Mu": u.copy()})
    adata.var_names = [f"g{i}" for i in range(s.shape[1])]
    return adata


def steady(n_cells=200, seed=0):
    """Two-step kinetics solved in time: du/dt = a - u, ds/dt = u - gamma s, switched on; exact velocity ds/dt."""
    rng = np.random.default_rng(seed)
    gamma = np.array([0.4, 0.7, 1.6, 2.5])
    t = np.sort(rng.uniform(0, 8, n_cells))[:, None]
    t[:20], t[-20:] = 0, 100.0
    u = 3 * (1 - np.exp(-t)) * np.ones(4)
    s = 3 * ((1 - np.exp(-gamma * t)) / gamma + (np.exp(-gamma * t) - np.exp(-t)) / (gamma - 1))
    return s, u, gamma


FORMS = {
    "csr": sparse.csr_matrix,
    "csc": sparse.csc_matrix,
    "int": lambda x: x.astype(np.int32),
    "half": lambda x: x.astype(np.float16),
}


@pytest.mark.parametrize("form", FORMS)
def test_storage_does_not_matter(form):
    dense, other = cells(), cells()
    for name in ("spliced", "unspliced"):
        other.layers[name] = FORMS[form](other.layers[name])
    for adata in (dense, other):
        hopfield.moments(adata, n_neighbors=6)
        hopfield.velocity(adata)
        hopfield.select_genes(adata, n_genes=5)
    np.testing.assert_array_equal(dense.layers["velocity"], other.layers["velocity"])
    np.testing.assert_array_equal(dense.var["hopfield_used"], other.var["hopfield_used"])
    sparse_layers = smoothed(dense.layers["Ms"], dense.layers["Mu"])
    for name in ("Ms", "Mu"):
        sparse_layers.layers[name] = sparse.csr_matrix(sparse_layers.layers[name])
    hopfield.velocity(sparse_layers)
    np.testing.assert_array_equal(dense.layers["velocity"], sparse_layers.layers["velocity"])


def test_the_order_of_the_cells_does_not_matter():
    adata = cells()
    order = np.random.default_rng(4).permutation(60)
    view = cells()[order]
    for a in (adata, view):
        hopfield.moments(a, n_neighbors=6)
        hopfield.velocity(a)
        hopfield.select_genes(a, n_genes=5)
    np.testing.assert_allclose(view.layers["Ms"], adata.layers["Ms"][order], rtol=1e-6)
    np.testing.assert_allclose(view.var["gamma"], adata.var["gamma"], rtol=1e-5)
    np.testing.assert_allclose(view.layers["velocity"], adata.layers["velocity"][order], atol=1e-4)
    np.testing.assert_array_equal(view.var["hopfield_used"], adata.var["hopfield_used"])
    for use_rep in (None, "line"):
        for a in (adata, view):
            hopfield.pseudotime_velocity(a, "time", layer="spliced", n_neighbors=8, use_rep=use_rep)
        np.testing.assert_allclose(view.layers["velocity"], adata.layers["velocity"][order], atol=1e-9)


def test_known_rates_and_velocities_come_back():
    s, u, gamma = steady()
    adata = smoothed(s, u)
    hopfield.velocity(adata)
    np.testing.assert_allclose(adata.var["gamma"], gamma, rtol=1e-9)
    np.testing.assert_allclose(adata.layers["velocity"], u - gamma * s, atol=1e-8)
    # the same by differences in time
    assert (adata.layers["velocity"][30:150] > 0).all()
    assert (adata.var["gamma_r2"] < 1).all()
    scaled = smoothed(s * 7, u / 3)  # units of the two layers enter the rate and nothing else
    hopfield.velocity(scaled)
    np.testing.assert_allclose(scaled.var["gamma"], gamma / 21, rtol=1e-9)


def test_the_slope_is_that_of_the_extreme_cells():
    rng = np.random.default_rng(2)
    s, u = rng.gamma(2, size=(90, 5)), rng.gamma(2, size=(90, 5))
    for quantile in (0.05, 0.2, 0.5):
        adata = smoothed(s, u)
        hopfield.velocity(adata, quantile=quantile)
        for j in range(5):
            level = s[:, j] / s[:, j].max() + u[:, j] / u[:, j].max()
            low, high = np.percentile(level, [100 * quantile, 100 - 100 * quantile])
            at = (level <= low) | (level >= high)
            slope = np.linalg.lstsq(s[at, j, None], u[at, j], rcond=None)[0][0]
            assert adata.var["gamma"].iloc[j] == pytest.approx(slope)
            r2 = 1 - ((u[:, j] - slope * s[:, j]) ** 2).sum() / ((u[:, j] - u[:, j].mean()) ** 2).sum()
            assert adata.var["gamma_r2"].iloc[j] == pytest.approx(r2)


def test_velocity_and_degradation_add_up_to_unspliced():
    adata = cells()
    hopfield.moments(adata, n_neighbors=6)
    hopfield.velocity(adata)
    v, x, gamma = adata.layers["velocity"], adata.layers["Ms"].astype(float), adata.var["gamma"].to_numpy()
    assert v.dtype == gamma.dtype == np.float64
    np.testing.assert_array_equal((v + gamma * x).astype(np.float32), adata.layers["Mu"])
    np.testing.assert_allclose(v + gamma * x, adata.layers["Mu"], rtol=1e-13)


def test_genes_without_one_of_the_two_have_no_rate():
    s, u, _ = steady()
    s[:, 0] = 0
    u[:, 1] = 0
    u[:, 2] = np.where(s[:, 2] > 0, 0, 1)  # never together
    adata = smoothed(s, u)
    hopfield.velocity(adata)
    assert np.isfinite(adata.var["gamma"]).tolist() == [False, False, False, True]
    assert np.isfinite(adata.layers["velocity"]).all(axis=0).tolist() == [False, False, False, True]
    assert np.isfinite(adata.var["gamma_r2"]).tolist() == [False, False, False, True]


def test_velocity_in_time_is_that_of_straight_motion():
    """x = a + b t: every weighted mean of differences has the ratio b; the last cell has nowhere to go."""
    t = np.random.default_rng(0).permutation(80) / 10.0
    b = np.array([1.0, -0.5, 2.0])
    x = 9 + t[:, None] * b
    adata = smoothed(x, x)
    adata.obs["t"] = t
    hopfield.pseudotime_velocity(adata, "t", n_neighbors=6, degradation=0.3)
    last = t.argmax()
    assert (adata.layers["velocity"][last] == 0).all()
    np.testing.assert_allclose(np.delete(adata.layers["velocity"], last, 0), np.tile(b, (79, 1)), rtol=1e-9)
    assert (adata.var["gamma"] == 0.3).all()
    adata.obs["t"] *= 60  # minutes in place of hours
    hopfield.pseudotime_velocity(adata, "t", n_neighbors=6)
    np.testing.assert_allclose(adata.layers["velocity"][t.argmin()], b / 60, rtol=1e-9)


def test_velocity_in_time_is_that_of_the_definition():
    adata = cells()
    hopfield.moments(adata, n_neighbors=5)
    hopfield.pseudotime_velocity(adata, "time", n_neighbors=9, use_rep="line")
    x, t = adata.layers["Ms"].astype(float), adata.obs["time"].to_numpy()
    dx, dt = np.zeros_like(x), np.zeros(60)
    for i in range(60):
        d = np.abs(t - t[i])
        near = np.argsort(d)[1:10]
        w = np.exp(-((d[near] / d[near[-1]]) ** 2)) * (t[near] > t[i])
        if w.sum():
            dx[i] = w @ (x[near] - x[i]) / w.sum()
            dt[i] = w @ (t[near] - t[i]) / w.sum()
    moving = dt > 0
    v = np.zeros_like(x)
    v[moving] = dx[moving] / np.maximum(dt[moving], 0.01 * np.median(dt[moving]))[:, None]
    size = np.linalg.norm(v, axis=1)
    top = np.quantile(size[moving], 0.99)
    assert (size > top).any()
    v[size > top] *= (top / size[size > top])[:, None]
    np.testing.assert_allclose(adata.layers["velocity"], v, atol=1e-9)


def test_cells_without_later_neighbours_are_reported():
    adata = cells()
    adata.layers["Ms"] = adata.layers["spliced"]
    adata.obs["stage"] = (adata.obs["time"] > 1.5).astype(int)
    with pytest.warns(NumericalWarning, match=r"of 60 cells have no later neighbour .*n_neighbors=10"):
        hopfield.pseudotime_velocity(adata, "stage", n_neighbors=5)


def test_without_unspliced_counts_the_whole_way():
    adata = cells()
    del adata.layers["unspliced"]
    hopfield.moments(adata, unspliced_layer=None, n_neighbors=6)
    assert "Mu" not in adata.layers
    hopfield.pseudotime_velocity(adata, "time", n_neighbors=10)
    hopfield.select_genes(adata, unspliced_layer=None, n_genes=4)
    hopfield.fit_hill(adata)
    assert adata.var["hopfield_used"].sum() == adata.var["hopfield_threshold"].notna().sum() == 4


def test_copies_leave_the_object_alone_and_all_survives_a_file(tmp_path):
    adata = cells()
    other = hopfield.moments(adata, n_neighbors=6, copy=True)
    assert list(adata.layers) == ["spliced", "unspliced"]
    final = hopfield.select_genes(hopfield.velocity(other, copy=True), n_genes=5, copy=True)
    timed = hopfield.pseudotime_velocity(other, "time", n_neighbors=6, copy=True)
    assert "velocity" not in other.layers
    assert "gamma" in timed.var
    final.write_h5ad(tmp_path / "a.h5ad")
    back = anndata.read_h5ad(tmp_path / "a.h5ad")
    np.testing.assert_array_equal(back.layers["velocity"], final.layers["velocity"])
    np.testing.assert_array_equal(back.var["gamma"], final.var["gamma"])
    assert back.var["hopfield_used"].dtype == bool


S, U, _ = steady()


@pytest.mark.parametrize(
    ("adata", "options", "kind", "text"),
    [
        (
            cells(),
            {},
            KeyError,
            r"layers\['Ms'\]` does not exist.*Smooth the counts first: `hopfield.moments",
        ),
        (smoothed(S, U - 1), {}, ValueError, r"'Mu'\]` holds \d+ negative values"),
        (smoothed(S * np.nan, U), {}, ValueError, r"'Ms'\]` holds 800 values that are NaN"),
        (smoothed(S, U), {"quantile": 0.7}, ValueError, r"`quantile` is 0.7, .*Write quantile=0.05"),
        (
            smoothed(S, U),
            {"unspliced_layer": "Ms"},
            ValueError,
            r"velocity is 0 in every cell .*the same layer",
        ),
        (smoothed(S, 0 * U), {}, ValueError, r"No gene has a slope of 'Mu' on 'Ms'"),
        (smoothed(0 * S + 2, 0 * U + 3), {}, ValueError, r"The velocity is 0 in every cell and gene"),
    ],
)
def test_velocity_refuses_by_name(adata, options, kind, text):
    with pytest.raises(kind, match=text):
        hopfield.velocity(adata, **options)
    assert "gamma" not in adata.var


def timed(time=None, x=None):
    x = S if x is None else x
    adata = smoothed(x, U)
    adata.obs["t"] = np.arange(200.0) if time is None else time
    return adata


@pytest.mark.parametrize(
    ("adata", "options", "kind", "text"),
    [
        (
            cells(),
            {"time_key": "time"},
            KeyError,
            r"'Ms'\]` does not exist.*moments\(adata, unspliced_layer=None\)",
        ),
        (timed(), {"time_key": "T"}, KeyError, r"obs\['T'\]` does not exist.*Did you mean 't'"),
        (
            timed(np.where(np.arange(200) == 7, np.nan, 1.0)),
            {},
            ValueError,
            r"obs\['t'\]` holds 1 values .*'7'",
        ),
        (timed(["early"] * 200), {}, TypeError, r"obs\['t'\]` has type .*must be numeric"),
        (timed(3.0), {}, ValueError, r"obs\['t'\]` is 3 in all cells, so that no cell is later"),
        (timed(), {"degradation": 0.0}, ValueError, r"`degradation` is 0, but must be"),
        (timed(x=0 * S + 2), {}, ValueError, r"The velocity is 0 in every cell .*do not differ in 'Ms'"),
    ],
)
@pytest.mark.filterwarnings("ignore:.*no later neighbour")
def test_velocity_in_time_refuses_by_name(adata, options, kind, text):
    with pytest.raises(kind, match=text):
        hopfield.pseudotime_velocity(adata, **{"time_key": "t", **options})
    assert "gamma" not in adata.var


def test_a_velocity_that_never_changes_is_refused():
    """The last cell moves like the others only if time has no end, as on a ring; seen by the rule itself."""
    with pytest.raises(ValueError, match=r"The velocity of every gene is the same in all cells. why"):
        hopfield.velocities._refuse_still(np.ones(3), np.zeros(3), np.ones(3), "why")


def test_a_time_without_neighbours_ahead_is_refused():
    adata = timed((np.arange(200) >= 180) * 1.0)
    adata.obsm["far"] = adata.obs[["t"]].to_numpy() * 100 + np.arange(200)[:, None] / 1000
    with (
        pytest.warns(NumericalWarning, match="200 of 200 cells"),
        pytest.raises(ValueError, match="No cell has a later"),
    ):
        hopfield.pseudotime_velocity(adata, "t", n_neighbors=4, use_rep="far")


@pytest.mark.data
def test_the_pancreas_goes_through(data_folder):
    from scmods import datasets

    adata = datasets.load("pancreas")[::3].copy()  # the chapter's pages take all cells
    hopfield.moments(adata, use_rep="X_pca")
    hopfield.velocity(adata)
    hopfield.select_genes(adata, n_genes=300)
    hopfield.fit_hill(adata)
    used = adata.var["hopfield_used"]
    assert used.sum() == 300
    assert (adata.var.loc[used, "hopfield_hill_mse"] < 0.05).all()
    assert np.isfinite(adata.layers["velocity"][:, used]).all()
