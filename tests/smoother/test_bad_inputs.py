"""What users do wrong, asked through the public functions: each error says what, what was expected, and what to do."""

from __future__ import annotations

import re
from pathlib import Path

import anndata
import numpy as np
import pytest
import torch

from scmods import MissingKeyError, NumericalWarning, smoother


@pytest.fixture
def adata(cases):
    return cases.make()


def placed(adata, coords):
    adata.obsm["spatial"] = coords
    return adata


def with_nan(coords):
    out = coords.copy()
    out[4, 1] = np.nan
    return out


# ---------------------------------------------------------------- coordinates and the graph


@pytest.mark.parametrize(
    ("change", "error", "text"),
    [
        (
            lambda xy: np.hstack([xy, xy]),
            ValueError,
            r"obsm\['spatial'\]` has shape \(36, 4\).*spots x 2 \(or x 3\)",
        ),
        (lambda xy: xy[:, :1], ValueError, r"shape \(36, 1\), but must be spots x 2"),
        (with_nan, ValueError, r"NaN or infinite values for 1 spots; first: \['4'\].*Drop these spots"),
        (lambda xy: xy.astype(str), TypeError, "has type <U32, but must be numeric"),
        (np.zeros_like, ValueError, "All 36 spots have the same coordinates"),
    ],
    ids=["four axes", "one axis", "NaN", "text", "one place"],
)
@pytest.mark.filterwarnings("ignore:36 spots share")
def test_coordinates(adata, change, error, text):
    with pytest.raises(error, match=text):
        smoother.spatial_weights(placed(adata, change(adata.obsm["spatial"])))


def test_transposed_coordinates(adata):
    xy = adata.obsm["spatial"]
    with pytest.raises(ValueError, match=r"shape \(2, 36\).*Transpose it: `coords.T`"):
        smoother.knn_weights(xy.T)
    with pytest.raises(ValueError, match=r"shape \(36,\), but must be spots x 2"):
        smoother.distance_weights(xy[:, 0])
    with pytest.raises(ValueError, match=r"shape \(0, 2\)"):
        smoother.SpatialWeightMatrix().calc_weights_knn(xy[:0])


def test_too_few_spots(adata):
    with pytest.raises(ValueError, match="n_neighbors=36 needs at least 37 spots.*largest .* is 35"):
        smoother.spatial_weights(adata, n_neighbors=36)
    with pytest.raises(ValueError, match=r"n_neighbors=6 needs at least 7 spots\. There are 1 spots"):
        smoother.spatial_weights(adata[:1].copy())
    with pytest.raises(ValueError, match="`n_neighbors` is 40, but must be at least 1 and at most 35"):
        smoother.check_input(adata, n_neighbors=40)


@pytest.mark.parametrize("value", ["6", True, 2.5])
def test_neighbours_are_whole_numbers(adata, value):
    with pytest.raises(TypeError, match=f"`n_neighbors` is {value!r} .*whole number"):
        smoother.spatial_weights(adata, n_neighbors=value)


@pytest.mark.parametrize("options", [{"n_neighbors": 4}, {"radius": 1.5}], ids=["knn", "band"])
def test_coincident_spots_are_told_and_kept(adata, options):
    xy = adata.obsm["spatial"]
    xy[3] = xy[9]
    with pytest.warns(
        NumericalWarning, match=r"2 spots share their position .*first: \['3', '9'\].*library_key"
    ):
        smoother.spatial_weights(adata, **options)
    w = adata.obsp["spatial_connectivities"]
    assert w[3, 9] > 0
    assert not w.diagonal().any()


def test_radius_in_another_unit(adata):
    pixels = placed(adata, 137.0 * adata.obsm["spatial"])
    with pytest.raises(ValueError, match="radius=1 reaches no pair.*nearest one is 137.*radius=205.5"):
        smoother.spatial_weights(pixels, radius=1.0)
    with pytest.raises(ValueError, match="`radius` is -1, but must be above 0"):
        smoother.spatial_weights(pixels, radius=-1.0)


def test_missing_coordinates(adata):
    with pytest.raises(MissingKeyError, match=r"obsm\['spacial'\]` does not exist.*Did you mean 'spatial'"):
        smoother.spatial_weights(adata, spatial_key="spacial")
    with pytest.raises(MissingKeyError, match=r"obsm\['spatial'\]` does not exist.*obs\[\['x', 'y'\]\]"):
        smoother.check_input(anndata.AnnData(adata.X))


def test_several_sections(adata):
    adata.obs["library_id"] = np.where(np.arange(adata.n_obs) < 18, "1", "a/b")
    with pytest.warns(
        NumericalWarning, match="has 2 values. If these are sections, pass library_key='library_id'"
    ):
        smoother.spatial_weights(adata, n_neighbors=4)
    adata.uns["spatial"] = {"1": {}, "a/b": {}}
    with pytest.raises(ValueError, match=r"lists 2 sections, \['1', 'a/b'\].*library_key='library_id'"):
        smoother.spatial_weights(adata, n_neighbors=4)
    smoother.spatial_weights(adata, n_neighbors=4, library_key="library_id")
    assert adata.uns["spatial_neighbors"]["params"]["n_components"] == 2


# ---------------------------------------------------------------- labels


def test_labels(adata):
    with pytest.raises(MissingKeyError, match=r"obs\['regoin'\]` does not exist.*Did you mean 'region'"):
        smoother.spatial_weights(adata, cluster_key="regoin")
    w = smoother.knn_weights(adata.obsm["spatial"], 4)
    with pytest.raises(ValueError, match="`labels` has 3 values, but there are 36 spots"):
        smoother.scale_by_labels(w, ["a", "b", "c"])
    adata.obs["region"] = adata.obs["region"].where(np.arange(adata.n_obs) > 1)
    with pytest.raises(ValueError, match=r"`labels` is missing for 2 of 36 spots; first: \['0', '1'\]"):
        smoother.spatial_weights(adata, cluster_key="region")
    with pytest.raises(ValueError, match=r"obs\['region'\]` is missing for 2 of 36 spots.*notna"):
        smoother.check_input(adata, label_key="region")
    with pytest.raises(ValueError, match="is missing for 2 of 36 spots"):
        smoother.check_input(adata, library_key="region")
    with pytest.raises(ValueError, match=r"obs\['region'\]` has 2 missing labels of 36"):
        smoother.reference_profiles(adata, "region")


# ---------------------------------------------------------------- weights and rho


@pytest.mark.parametrize("prior", ["icar", "car"])
def test_asymmetric_weights(cases, adata, prior):
    smoother.spatial_weights(adata, n_neighbors=4, row_scale=True)
    text = r"needs symmetric weights, but entries \(0, 1\) = 0.5 and \(1, 0\) = 0.*`smoother.symmetrize"
    with pytest.raises(ValueError, match=text):
        smoother.deconvolve(adata, cases.profiles(), smoothing=0.1, prior=prior, rho=0.1)
    with pytest.raises(ValueError, match=text):
        smoother.SpatialLoss(prior, adata.obsp["spatial_connectivities"], rho=0.1)
    even = smoother.symmetrize(adata.obsp["spatial_connectivities"])
    assert smoother.SpatialLoss(prior, even, rho=0.1)(torch.ones(2, 36)) > 0


@pytest.mark.parametrize("prior", ["icar", "car", "sar", "isar", "sma"])
def test_negative_and_missing_weights(adata, prior):
    w = adata.obsp["spatial_connectivities"].copy()
    w.data[0] = -1.0
    with pytest.raises(ValueError, match=r"1 negative entries; first: \(0, 1\) = -1.*Cut them"):
        smoother.SpatialLoss(prior, w, rho=0.1)
    w.data[0] = np.nan
    with pytest.raises(ValueError, match="holds 1 values that are NaN or infinite"):
        smoother.SpatialLoss(prior, w, rho=0.1)


@pytest.mark.parametrize(
    ("prior", "rho", "text"),
    [
        (
            "icar",
            1.5,
            r"rho=1.5 is outside the range of prior='icar' on this graph: \(-1.0\d+, 1\) \(rho=1 is allowed",
        ),
        ("icar", -1.5, "rho=-1.5 is outside"),
        ("car", 1, r"rho=1 is outside the range of prior='car' on this graph: \(-0.27\d+, 0.27\d+\)"),
        ("isar", -1.5, "rho=-1.5 is outside .*can be singular"),
    ],
)
def test_rho_outside_the_range(cases, adata, prior, rho, text):
    with pytest.raises(ValueError, match=text):
        smoother.SpatialLoss(prior, adata.obsp["spatial_connectivities"], rho=rho)
    for call in (
        lambda: smoother.deconvolve(adata, cases.profiles(), smoothing=0.1, prior=prior, rho=rho),
        lambda: smoother.impute(adata, "measured", prior=prior, rho=rho),
        lambda: smoother.spatial_pca(adata, n_comps=2, prior=prior, rho=rho),
    ):
        with pytest.raises(ValueError, match=text):
            call()


@pytest.mark.parametrize("prior", ["sar", "sma"])
def test_rho_without_meaning_is_told(adata, prior):
    with pytest.warns(NumericalWarning, match=rf"rho=1 is outside \(.*range of prior='{prior}'"):
        smoother.SpatialLoss(prior, adata.obsp["spatial_connectivities"], rho=1)


def test_an_improper_prior_has_no_decay_and_no_samples(adata):
    w, xy = adata.obsp["spatial_connectivities"], adata.obsm["spatial"]
    for prior in ("icar", "isar"):
        with pytest.raises(RuntimeError, match="rho=1 is improper: its variance is infinite.*rho=0.99"):
            smoother.SpatialLoss(prior, w, rho=1).calc_corr_decay_stats(xy, max_k=5)
    q = smoother.precision(w, "icar", 1)
    for call in (
        lambda: smoother.corr_decay(q, xy, max_k=5),
        lambda: smoother.sample(q),
        lambda: smoother.marginal_variance(q),
    ):
        with pytest.raises(ValueError, match="singular .improper.*component of 36 of 36 spots.*rho=0.99"):
            call()
    with pytest.raises(ValueError, match="`max_k` is 50.*the largest max_k is 35"):
        smoother.SpatialLoss("icar", w, rho=0.9).calc_corr_decay_stats(xy)


# ---------------------------------------------------------------- the field of a loss


@pytest.mark.parametrize("kind", ["spatial", "contrastive", "topological"])
def test_fields(adata, kind):
    w = adata.obsp["spatial_connectivities"]
    loss = {
        "spatial": lambda: smoother.SpatialLoss("icar", w, rho=0.99),
        "contrastive": lambda: smoother.ContrastiveSpatialLoss("icar", w, rho=0.99, lower_bound=None),
        "topological": lambda: smoother.TopLoss({0: {0: 0}}, adata.obsm["spatial"]),
    }[kind]()
    x = torch.rand(3, 36, generator=torch.Generator().manual_seed(0))
    assert torch.isfinite(loss(x))
    hole = x.clone()
    hole[1, 2] = torch.nan
    for bad, error, text in (
        (
            x.T,
            ValueError,
            r"`coefs` has shape \(36, 3\).*\(groups, spots\) with 36.*It looks transposed: pass coefs.T",
        ),
        (x[:, 1:], ValueError, r"`coefs` has shape \(3, 35\), but must be \(groups, spots\) with 36 spots"),
        (x[0], ValueError, r"`coefs` has shape \(36,\).*coefs\[None, :\]"),
        (hole, ValueError, "1 values that are NaN or infinite; first at group 1, spot 2"),
        (x.numpy(), TypeError, "`coefs` is a ndarray, but must be a floating-point tensor"),
        (x.long(), TypeError, "`coefs` is a tensor of torch.int64"),
    ):
        with pytest.raises(error, match=text):
            loss(bad)


def test_matrices_per_group(adata):
    w = adata.obsp["spatial_connectivities"]
    with pytest.raises(ValueError, match="2 spatial weight matrices for 3 groups"):
        smoother.SpatialLoss("icar", [w, w], rho=0.9)(torch.zeros(3, 36))
    with pytest.raises(ValueError, match=r"different sizes, \[35, 36\]"):
        smoother.SpatialLoss("icar", [w, w[1:, 1:]], rho=0.9)
    q = torch.as_tensor(smoother.precision(w, "icar").toarray())
    with pytest.raises(ValueError, match="2 precision matrices for 1 groups"):
        smoother.quadratic_loss(torch.zeros(1, 36).double(), torch.stack([q, q]))
    with pytest.raises(
        ValueError, match=r"group_scales has shape \(2,\), but must be one number or one per group, 3"
    ):
        smoother.sparse_quadratic_loss(torch.zeros(3, 36).double(), q.to_sparse(), torch.ones(2))


def test_proportions_of_the_divergence(adata):
    w = adata.obsp["spatial_connectivities"]
    p = torch.full((2, 36), 0.5, dtype=torch.float64)
    p[:, 7] = 2.5
    with pytest.raises(ValueError, match="Column 7 of p sums to 5, but every column"):
        smoother.kl_loss(p)
    with pytest.raises(ValueError, match="Column 7 of p sums to 5"):
        smoother.SpatialLoss("kl", w, kl_input="proportions")(p)
    p[:, 7] = torch.tensor([1.5, -0.5])
    with pytest.raises(ValueError, match=r"p\[1, 7\] is -0.5, but proportions"):
        smoother.kl_loss(p)
    with pytest.raises(ValueError, match=r"p\[1, 7\] is -0.5"):
        smoother.kl_loss_scipy(p.numpy())


@pytest.mark.parametrize("loss", [smoother.SpatialLoss, smoother.ContrastiveSpatialLoss])
def test_priors_and_graphs_of_a_loss(adata, loss):
    with pytest.raises(ValueError, match="prior='icar' needs `spatial_weights`, but there are none"):
        loss("icar")
    with pytest.raises(
        NotImplementedError, match="`prior` is 'ICAR', but must be one of.*Did you mean 'icar'"
    ):
        loss("ICAR", adata.obsp["spatial_connectivities"])
    with pytest.raises(ValueError, match=r"`spatial_weights` has shape \(36, 2\), but must be square"):
        loss("icar", adata.obsm["spatial"])
    with pytest.raises(ValueError, match="SpatialWeightMatrix is empty.*calc_weights_knn"):
        loss("icar", smoother.SpatialWeightMatrix())


# ---------------------------------------------------------------- topology


@pytest.mark.parametrize(
    ("priors", "change", "text"),
    [
        ({0: {2: 0}}, lambda xy: xy, "names dimension 2, but a field in the plane has dimensions 0 .* and 1"),
        ({-1: {0: 0}}, lambda xy: xy, "`group index` is -1, but must be at least 0"),
        (
            {0: {0: 0}},
            lambda xy: np.arange(36.0)[:, None] * [1, 2],
            "The 36 positions in `coords` lie on one line",
        ),
        ({0: {0: 0}}, lambda xy: np.hstack([xy, xy[:, :1]]), r"shape \(36, 3\), but must be \(spots, 2\)"),
        (
            {0: {0: 0}},
            lambda xy: np.vstack([xy[:1], xy[:-1]]),
            r"1 duplicated positions; 2 spots share \[0.0, 0.0\]",
        ),
        ({0: {0: 0}}, with_nan, "NaN or infinite"),
    ],
    ids=["dimension", "group", "line", "3-D", "duplicates", "NaN"],
)
def test_topological_priors(adata, priors, change, text):
    with pytest.raises(ValueError, match=text):
        smoother.TopLoss(priors, change(adata.obsm["spatial"]))


def test_topological_group_beyond_the_field(adata):
    loss = smoother.TopLoss({5: {0: 0}}, adata.obsm["spatial"])
    with pytest.raises(ValueError, match="A prior names group 5, but `coefs` has 3 rows: 0 to 2"):
        loss(torch.zeros(3, 36))


def test_every_call_that_an_error_names_exists():
    folder = Path(smoother.__file__).parent
    named = {
        (path.name, name)
        for path in folder.glob("*.py")
        for name in re.findall(r"(?<![\w.])smoother\.(\w+)", path.read_text(encoding="utf-8"))
    }
    assert len(named) > 20
    assert sorted((file, name) for file, name in named if name not in smoother.__all__) == []
