"""Hill curves: the law of the distribution function, known k and n, an independent optimiser, and the AnnData face."""

import warnings

import anndata
import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from scipy import sparse
from scipy.optimize import least_squares
from scipy.stats import rankdata

from scmods import hopfield
from scmods.hopfield import core, hill_curves
from scmods.hopfield.hill import hill_table

pytestmark = pytest.mark.filterwarnings("ignore::anndata.ImplicitModificationWarning")
COLUMNS = ["hopfield_threshold", "hopfield_exponent", "hopfield_hill_mse"]


def log_logistic(n_cells, k, n, seed=0):
    u = np.random.default_rng(seed).uniform(size=(n_cells, len(k)))
    return k * (u / (1 - u)) ** (1 / n)


def cells(n_cells=80, seed=0):
    """Genes: 0-5 log-logistic, 6 never expressed, 7 in three cells, 8 half zeros."""
    rng = np.random.default_rng(seed)
    x = log_logistic(n_cells, np.full(9, 2.0), np.linspace(1.5, 6, 9), seed)
    x[:, 6] = 0
    x[:, 7] = 0
    x[[3, 9, 20], 7] = [1.0, 5.0, 2.0]
    x[rng.permutation(n_cells)[: n_cells // 2], 8] = 0
    adata = anndata.AnnData(x.astype(np.float32), layers={"Ms": x.copy()})
    adata.var_names = [f"g{i}" for i in range(9)]
    return adata


def by_scipy(x, max_exponent):
    """The same problem by a bounded trust region from the same two starts."""
    x = np.sort(x[x > 0])
    share = (rankdata(x) - 0.5) / len(x)
    slope, offset = np.polyfit(np.log(x), np.log(share / (1 - share)), 1)
    best = np.inf
    for k, n in ((np.exp(-offset / slope), slope), (2 * np.exp(-offset / slope), 2 * slope)):
        start = min(k, x[-1] * 0.999999), np.clip(n, 1.0011, max_exponent - 1e-4)
        found = least_squares(
            lambda p: 1 / (1 + (p[0] / x) ** p[1]) - share,
            start,
            bounds=((1e-12, 1.001), (x[-1], max_exponent)),
            xtol=1e-12,
            ftol=1e-12,
            gtol=1e-12,
        )
        best = min(best, np.mean(found.fun**2))
    return best


@given(st.lists(st.sampled_from([0.0, 0.5, 1.0, 1.0, 3.0, 7.0]), min_size=1, max_size=25))
def test_shares_are_the_mid_ranks_of_the_positive_values(values):
    x = torch.tensor(values, dtype=torch.float64)[:, None]
    got_values, got = (t[:, 0].numpy() for t in hill_curves.distribution(x))
    ordered = np.sort(values)
    positive = ordered[ordered > 0]
    wanted = (rankdata(positive) - 0.5) / max(len(positive), 1)
    np.testing.assert_array_equal(got_values, ordered)
    np.testing.assert_allclose(got[ordered > 0], wanted, atol=1e-15)
    assert (got[ordered == 0] == 0).all()
    if len(positive):
        # mid-ranks: the mean share is 1/2 whatever the ties
        assert got[ordered > 0].mean() == pytest.approx(0.5)


def test_known_k_and_n_come_back_from_samples():
    """As near as 500 cells allow: the best unbiased estimate of ln k has variance 3 / (n^2 cells)."""
    rng = np.random.default_rng(3)
    k, n = rng.uniform(0.2, 5, 300), rng.uniform(2, 8, 300)
    found = hill_curves.fit_curves(torch.as_tensor(log_logistic(500, k, n)), max_exponent=20.0)
    k_error, n_error = np.abs(found.threshold.numpy() / k - 1), np.abs(found.exponent.numpy() / n - 1)
    assert bool(found.converged.all())
    assert np.median(k_error) <= 0.012
    assert np.median(n_error) <= 0.041
    normal_median = 0.6745
    assert np.median(k_error * n * np.sqrt(500 / 3)) < 1.1 * normal_median
    assert abs(np.median(found.exponent.numpy() / n) - 1) < 0.01


def test_a_heavy_tail_is_not_cut():
    """Half of the cells lie below 5 % of the maximum; cut off, they move k and n by tens of percent."""
    k, n = np.full(100, 2.0), np.full(100, 1.5)
    x = log_logistic(500, k, n, seed=1)
    assert np.median((x < 0.05 * x.max(axis=0)).mean(axis=0)) > 0.5
    found = hill_curves.fit_curves(torch.as_tensor(x))
    cut = hill_curves.fit_curves(torch.as_tensor(np.where(x < 0.05 * x.max(axis=0), 0, x)))
    assert abs(float(found.threshold.median()) / 2 - 1) < 0.03
    assert abs(float(found.exponent.median()) / 1.5 - 1) < 0.03
    assert float(cut.threshold.median()) > 3


def test_zeros_do_not_move_the_curve():
    x = log_logistic(200, np.full(3, 2.0), np.full(3, 3.0))
    more = np.vstack([np.zeros((300, 3)), x])
    for a, b in zip(
        hill_curves.fit_curves(torch.as_tensor(x)),
        hill_curves.fit_curves(torch.as_tensor(more)),
        strict=True,
    ):
        np.testing.assert_allclose(a.numpy(), b.numpy(), rtol=1e-8)


def test_never_worse_than_a_bounded_trust_region():
    """Genes that fit, genes on the bounds of n, ties, two modes."""
    rng = np.random.default_rng(5)
    two = np.where(rng.random((150, 4)) < 0.4, rng.normal(1, 0.1, (150, 4)), rng.normal(6, 0.3, (150, 4)))
    x = np.hstack(
        [
            log_logistic(150, np.full(4, 1.0), np.linspace(1.2, 7, 4)),
            rng.lognormal(0, 2.5, (150, 4)),
            rng.poisson(1.5, (150, 4)),
            np.abs(two),
            rng.normal(10, 0.2, (150, 4)),
        ]
    )
    found = hill_curves.fit_curves(torch.as_tensor(x), max_exponent=8.0)
    wanted = np.array([by_scipy(gene, 8.0) for gene in x.T])
    assert bool(found.converged.all())
    assert (found.mse.numpy() - wanted).max() < 1e-9
    assert (found.threshold <= torch.as_tensor(x.max(axis=0))).all()
    assert (found.exponent[4:8] == 1.001).all()
    assert (found.exponent[16:] == 8.0).all()


def test_no_neighbouring_curve_is_better():
    x = torch.as_tensor(log_logistic(300, np.full(20, 2.0), np.linspace(1.5, 7, 20)))
    found = hill_curves.fit_curves(x)
    torch.testing.assert_close(
        found.mse, hill_curves.mean_squared_error(x, found.threshold, found.exponent), rtol=1e-12, atol=0
    )
    for dk, dn in ((1.001, 1), (0.999, 1), (1, 1.001), (1, 0.999)):
        assert (
            hill_curves.mean_squared_error(x, found.threshold * dk, found.exponent * dn) > found.mse
        ).all()


@pytest.fixture(scope="module")
def curves():
    """Expression of two genes and the curves fitted to it."""
    x = torch.as_tensor(log_logistic(60, np.full(2, 2.0), np.array([2.0, 4.0])))
    return x, hill_curves.fit_curves(x)


@given(unit=st.floats(1e-6, 1e6))
def test_the_unit_of_expression_scales_k_alone(curves, unit):
    x, a = curves
    b = hill_curves.fit_curves(unit * x)
    torch.testing.assert_close(b.threshold, unit * a.threshold, rtol=1e-6, atol=0)
    torch.testing.assert_close(b.exponent, a.exponent, rtol=1e-6, atol=0)


def test_blocks_of_genes_change_nothing(monkeypatch):
    x = torch.as_tensor(cells().layers["Ms"])
    whole = hill_curves.fit_curves(x)
    monkeypatch.setattr(hill_curves, "BLOCK", 160)  # two genes
    for a, b in zip(whole, hill_curves.fit_curves(x), strict=True):
        torch.testing.assert_close(a, b, rtol=1e-12, atol=0, equal_nan=True)


def test_rules_for_genes_without_a_distribution():
    x = np.zeros((6, 4))
    x[:3, 1] = [1.0, 9.0, 2.0]
    x[:4, 2] = [1.0, 2.0, 4.0, 9.0]
    x[:, 3] = 5.0  # one value: any curve through (5, 1/2)
    found = hill_curves.fit_curves(torch.as_tensor(x))
    np.testing.assert_allclose(found.threshold.numpy(), [1, 2, 3, 5])
    np.testing.assert_allclose(found.exponent.numpy(), 2)
    assert found.mse.isnan().tolist() == [True, False, False, False]
    assert float(found.mse[3]) == pytest.approx(0, abs=1e-30)
    assert bool(found.converged.all())


@pytest.mark.parametrize(
    "form", [np.asarray, sparse.csr_matrix, sparse.csc_matrix, lambda x: x.astype(np.float32)]
)
def test_storage_and_order_of_the_cells_do_not_matter(form):
    dense, other = cells(), cells()
    other.layers["Ms"] = form(other.layers["Ms"])
    order = np.random.default_rng(1).permutation(other.n_obs)
    other = other[order]
    hopfield.fit_hill(dense)
    hopfield.fit_hill(other)
    np.testing.assert_allclose(
        other.var[COLUMNS].to_numpy(float), dense.var[COLUMNS].to_numpy(float), rtol=1e-5
    )


def test_integers_and_half_precision_are_read():
    x = np.random.default_rng(0).poisson(3, (60, 4))
    found = []
    for dtype in (np.int32, np.float16, np.float64):
        adata = anndata.AnnData(x.astype(dtype))
        hopfield.fit_hill(adata, layer=None)
        found.append(adata.var[COLUMNS].to_numpy())
    np.testing.assert_array_equal(found[0], found[2])
    np.testing.assert_array_equal(found[1], found[2])


def test_only_marked_genes_are_fitted_and_the_rest_is_untouched():
    adata, whole = cells(), cells()
    adata.var["hopfield_used"] = np.arange(9) % 2 == 0
    adata.layers["Ms"][:, 1] = -1  # not modelled, so not looked at
    before = adata.layers["Ms"].copy()
    hopfield.fit_hill(adata)
    hopfield.fit_hill(whole)
    table = adata.var[COLUMNS]
    assert table.iloc[1::2].isna().all(axis=None)
    np.testing.assert_array_equal(table.iloc[::2].to_numpy(), whole.var[COLUMNS].iloc[::2].to_numpy())
    np.testing.assert_array_equal(adata.layers["Ms"], before)
    assert list(adata.layers) == ["Ms"]


def test_copy_key_and_file(tmp_path):
    adata = cells()
    other = hopfield.fit_hill(adata, key_added="late", copy=True)
    assert [c for c in adata.var if "threshold" in c] == []
    other.write_h5ad(tmp_path / "a.h5ad")
    back = anndata.read_h5ad(tmp_path / "a.h5ad").var
    for name in ("late_threshold", "late_exponent", "late_hill_mse"):
        assert back[name].dtype == np.float64
        np.testing.assert_array_equal(back[name], other.var[name])


def test_the_table_holds_points_of_the_curve():
    adata = cells()
    hopfield.fit_hill(adata)
    table = hill_table(adata, ["g8", "g2", "g6"], n_points=30)
    assert list(table.columns) == ["gene", "expression", "share", "fitted", "threshold", "exponent"]
    known = adata.var.loc[table["gene"]]
    np.testing.assert_array_equal(table["threshold"], known["hopfield_threshold"])
    np.testing.assert_array_equal(table["exponent"], known["hopfield_exponent"])
    assert table["gene"].value_counts().to_dict() == {"g8": 30, "g2": 30}
    for name, part in table.groupby("gene"):
        k, n = adata.var.loc[name, ["hopfield_threshold", "hopfield_exponent"]]
        x = part["expression"].to_numpy()
        own = adata.layers["Ms"][:, adata.var_names.get_loc(name)]
        np.testing.assert_allclose(part["fitted"], x**n / (x**n + k**n), rtol=1e-12)
        np.testing.assert_allclose(
            part["share"],
            [((own > 0) & (own < v)).sum() for v in x] / (own > 0).sum() + 0.5 / (own > 0).sum(),
        )
        assert (x[0], x[-1]) == (own[own > 0].min(), own.max())
    whole = hill_table(adata, "g2")
    assert len(whole) == 80
    assert np.mean((whole["fitted"] - whole["share"]) ** 2) == pytest.approx(
        adata.var.loc["g2", "hopfield_hill_mse"]
    )


def test_the_curve_is_the_activation_of_the_field():
    x = torch.as_tensor(log_logistic(400, np.array([2.0]), np.array([3.0])))
    found = hill_curves.fit_curves(x)
    values, share = hill_curves.distribution(x)
    phi = core.activation(values, found.threshold, found.exponent)
    assert float((phi - share).square().mean()) == pytest.approx(float(found.mse[0]))
    assert float((phi - share).abs().max()) < 0.08


def broken(value):
    adata = cells()
    adata.layers["Ms"][4, 2] = value
    return adata


def with_used(values):
    adata = cells()
    adata.var["hopfield_used"] = values
    return adata


@pytest.mark.parametrize(
    ("adata", "options", "kind", "text"),
    [
        (
            cells(),
            {"layer": "ms"},
            KeyError,
            r"layers\['ms'\]` does not exist.*Did you mean 'Ms'.*hopfield.moments",
        ),
        (broken(np.nan), {}, ValueError, r"1 values that are NaN or infinite; first: gene 'g2', cell '4'"),
        (broken(np.inf), {}, ValueError, r"NaN or infinite; first: gene 'g2'"),
        (broken(-0.5), {}, ValueError, r"1 negative values; the lowest is -0.5, gene 'g2'.*do not centre"),
        (cells(), {"max_exponent": 1.0}, ValueError, r"`max_exponent` is 1, .*Write max_exponent=8.0"),
        (cells(), {"max_exponent": "8"}, TypeError, r"`max_exponent` is '8' of type str"),
        (with_used(False), {}, ValueError, r"marks no gene.*select_genes"),
        (with_used(1.0), {}, TypeError, r"has type float64, but must be bool.*select_genes"),
    ],
)
def test_bad_input_is_refused_by_name(adata, options, kind, text):
    with pytest.raises(kind, match=text):
        hopfield.fit_hill(adata, **options)
    assert not any("threshold" in c for c in adata.var)


def test_the_table_refuses_by_name():
    adata = cells()
    with pytest.raises(KeyError, match=r"var\['hopfield_threshold'\]` does not exist.*fit_hill\(adata"):
        hill_table(adata, "g1")
    adata.var["hopfield_used"] = np.arange(9) < 5
    hopfield.fit_hill(adata)
    with pytest.raises(KeyError, match=r"not in `adata.var_names`: \['G2x'\].*Did you mean 'g2'"):
        hill_table(adata, ["G2x"])
    with pytest.raises(ValueError, match=r"without a Hill function: \['g7'\].*keep=\['g7'\]"):
        hill_table(adata, ["g1", "g7"])
    with pytest.raises(ValueError, match=r"`var_names` is empty"):
        hill_table(adata, [])
    with pytest.raises(ValueError, match=r"`n_points` is 1, but must be at least 2"):
        hill_table(adata, "g1", n_points=1)


def test_fits_that_do_not_converge_are_named(monkeypatch):
    adata = cells()
    original = hill_curves.fit_curves
    monkeypatch.setattr(hill_curves, "fit_curves", lambda x, **o: original(x, max_iter=1, **o))
    with pytest.warns(UserWarning, match=r"The Hill fit of \d genes has not converged: \['g0'"):
        hopfield.fit_hill(adata)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        monkeypatch.setattr(hill_curves, "fit_curves", original)
        hopfield.fit_hill(adata)
