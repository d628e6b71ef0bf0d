"""The AnnData face: what is written rebuilds the model, by both methods, through files and under other names."""

import anndata
import numpy as np
import pandas as pd
import pytest
import torch
from scipy import sparse

from scmods import bmlp, stats
from scmods.bmlp import Config, Keys

SLOTS = ("obs", "var", "obsm", "varm", "obsp", "varp", "layers", "uns")
METHODS = ("closed_form", "bilinear")


def cells(n=220, seed=0):
    """Planted cells, split, with one constant gene."""
    adata = bmlp.planted(n, 40, n_module=4, seed=seed)
    adata.X[:, 7] = 2.5
    bmlp.split(adata, seed=seed)
    return adata


def fitted(adata, method="closed_form", **options):
    if method == "bilinear":
        options = {"config": Config.repaired(adata.n_vars, 3, n_epochs=8, d_hidden=6)} | options
    return bmlp.fit(adata, target="targets", method=method, **options)


@pytest.fixture(params=METHODS)
def method(request):
    return request.param


def filled(adata):
    return {slot: set(getattr(adata, slot).keys()) for slot in SLOTS}


def z_scores(adata, key="bmlp"):
    """Z-scores by the stored moments, written out."""
    mean, std = adata.var[f"{key}_mean"].to_numpy(), adata.var[f"{key}_std"].to_numpy()
    return (np.asarray(adata.X, dtype=np.float64) - mean) / np.where(std > 0, std, 1.0)


def matrix(model, o):
    """Dense interaction matrix of one output, from the definition."""
    if isinstance(model, bmlp.QuadraticModel):
        f, c = model.factor.numpy(), model.core[o].numpy()
        return f.T @ (np.diag(c) if c.ndim == 1 else c) @ f
    w_l, w_r, w_p = (w.double().numpy() for w in (model.w_l, model.w_r, model.w_p))
    b = np.einsum("h,hi,hj->ij", w_p[o], w_l, w_r)
    return (b + b.T) / 2


def quadratic(adata, model, o):
    z = z_scores(adata)
    return np.einsum("ni,ij,nj->n", z, matrix(model, o), z)


@pytest.mark.parametrize("name", ["bmlp", "mine"])
def test_writes_exactly_its_slots(method, name):
    adata = cells()
    before, x = filled(adata), adata.X.copy()
    fitted(adata, method, n_modes=4, key_added=name)
    keys = Keys(name)
    new = {slot: have - before[slot] for slot, have in filled(adata).items()}
    assert new.pop("obsm") == {keys.prediction}
    assert new.pop("varm") == {keys.modes, keys.linear}
    assert new.pop("var") == {keys.mean, keys.std}
    assert new.pop("uns") == {keys.info}
    assert not any(new.values())
    np.testing.assert_array_equal(adata.X, x)
    assert adata.obsm[keys.prediction].shape == (220, 3)
    assert adata.varm[keys.modes].shape == (40, 4, 3)
    assert adata.varm[keys.linear].shape == (40, 3)
    info = adata.uns[keys.info]
    assert info["eigenvalues"].shape == info["contribution"].shape == (3, 4)
    assert info["r2"].shape == info["r2_linear"].shape == info["intercept"].shape == (3,)
    assert (np.diff(np.abs(info["eigenvalues"])) <= 1e-12).all()


def test_prediction_is_intercept_linear_and_quadratic_part(method):
    adata = cells()
    model = fitted(adata, method)
    z = z_scores(adata)
    for o in range(3):
        rebuilt = adata.uns["bmlp"]["intercept"][o] + z @ adata.varm["bmlp_linear"][:, o]
        rebuilt = rebuilt + quadratic(adata, model, o)
        np.testing.assert_allclose(adata.obsm["bmlp_prediction"][:, o], rebuilt, atol=1e-6)
    if method == "bilinear":
        with torch.no_grad():
            own = model(torch.as_tensor(z, dtype=torch.float32)).numpy()
        np.testing.assert_allclose(adata.obsm["bmlp_prediction"], own, atol=1e-4)


def test_all_modes_together_are_the_quadratic_part(method):
    adata = cells()
    model = fitted(adata, method, n_modes=40)
    z, values = z_scores(adata), adata.uns["bmlp"]["eigenvalues"]
    for o in range(3):
        v = adata.varm["bmlp_modes"][:, :, o]
        np.testing.assert_allclose(((z @ v) ** 2) @ values[o], quadratic(adata, model, o), atol=1e-6)
        np.testing.assert_allclose((v * values[o]) @ v.T, matrix(model, o), atol=1e-7)


def test_moments_come_from_the_fitted_cells_and_constant_genes_get_nothing(method):
    adata = cells()
    model = fitted(adata, method)
    use = adata.obs["bmlp_split"].isin(["train", "val"] if method == "closed_form" else ["train"]).to_numpy()
    np.testing.assert_allclose(adata.var["bmlp_mean"], adata.X[use].mean(axis=0, dtype=np.float64), atol=1e-6)
    np.testing.assert_allclose(
        adata.var["bmlp_std"], adata.X[use].std(axis=0, ddof=1, dtype=np.float64), atol=1e-6
    )
    assert adata.var["bmlp_std"].iloc[7] == 0
    if method == "closed_form":
        assert np.abs(adata.varm["bmlp_linear"][7]).max() == 0
        values = adata.uns["bmlp"]["eigenvalues"]
        assert np.abs(adata.varm["bmlp_modes"][7] * values.T).max() < 1e-12
    assert np.abs(bmlp.gene_shares(adata, model, 0)[:, 7]).max() == 0


def test_r2_and_contribution_are_what_they_say(method):
    adata = cells()
    fitted(adata, method, n_modes=5)
    info, y, test = adata.uns["bmlp"], adata.obsm["targets"], (adata.obs["bmlp_split"] == "test").to_numpy()
    assert info["evaluated_on"] == "test"
    prediction = adata.obsm["bmlp_prediction"]
    np.testing.assert_allclose(info["r2"], stats.r2(y[test], prediction[test]), atol=1e-9)
    z, variance = z_scores(adata)[test], y[test].var(axis=0)
    for o in range(3):
        whole = ((y[test, o] - prediction[test, o]) ** 2).mean()
        for k in range(5):
            term = info["eigenvalues"][o, k] * (z @ adata.varm["bmlp_modes"][:, k, o]) ** 2
            without = ((y[test, o] - (prediction[test, o] - term)) ** 2).mean()
            expected = (without - whole) / variance[o]
            np.testing.assert_allclose(info["contribution"][o, k], expected, atol=1e-6)


def test_linear_r2_keeps_the_interactions_at_their_mean():
    adata = cells()
    fitted(adata)
    test = (adata.obs["bmlp_split"] == "test").to_numpy()
    y = adata.obsm["targets"][test]
    flat = z_scores(adata)[test] @ adata.varm["bmlp_linear"]
    flat = flat - flat.mean(axis=0) + y.mean(axis=0)
    np.testing.assert_allclose(adata.uns["bmlp"]["r2_linear"], stats.r2(y, flat), atol=1e-9)


def test_without_a_split_r2_is_leave_one_out():
    adata = cells(90)
    model = fitted(adata, split_key=None)
    info = adata.uns["bmlp"]
    assert info["evaluated_on"] == "leave-one-out"
    np.testing.assert_allclose(info["r2"], stats.r2(adata.obsm["targets"], model.loo.numpy()))
    seen = stats.r2(adata.obsm["targets"], adata.obsm["bmlp_prediction"])
    assert (info["r2"] < seen).all()  # fitted values flatter the model


def test_gene_shares_add_up_to_the_interaction_part(method):
    adata = cells()
    model = fitted(adata, method)
    for o in range(3):
        shares = bmlp.gene_shares(adata, model, o)
        assert shares.shape == adata.shape
        linear = z_scores(adata) @ adata.varm["bmlp_linear"][:, o]
        part = adata.obsm["bmlp_prediction"][:, o] - adata.uns["bmlp"]["intercept"][o] - linear
        np.testing.assert_allclose(shares.sum(axis=1), part, atol=1e-6)
        z = z_scores(adata)
        np.testing.assert_allclose(shares, z * (z @ matrix(model, o)), atol=1e-6)


def test_gene_pairs_read_the_dense_matrix(method):
    adata = cells()
    model = fitted(adata, method)
    table = bmlp.gene_pairs(adata, model, 1, n_pairs=15)
    b, z = matrix(model, 1), z_scores(adata)
    effect = np.zeros((40, 40))
    for i in range(40):
        for j in range(i + 1, 40):
            effect[i, j] = 2 * b[i, j] * (z[:, i] * z[:, j]).std()
    best = np.sort(np.abs(effect).ravel())[::-1][:15]
    np.testing.assert_allclose(np.abs(table["effect"]), best, atol=1e-7)
    index = {g: i for i, g in enumerate(adata.var_names)}
    for row in table.itertuples():
        i, j = index[row.gene_a], index[row.gene_b]
        assert row.weight == pytest.approx(2 * b[i, j], abs=1e-7)
        assert row.effect == pytest.approx(effect[min(i, j), max(i, j)], abs=1e-7)
        assert row.correlation == pytest.approx(np.corrcoef(z[:, i], z[:, j])[0, 1], abs=0.02)


def test_gene_pairs_know_the_planted_product():
    adata = bmlp.planted(500, 40, n_module=1, ceiling=1.0, rho=0.0, seed=2)
    module = adata.uns["truth"]["module"]
    # one c: how it is chosen is not the subject
    model = bmlp.fit(adata, target="targets", split_key=None, offsets=(0.03,))
    table = bmlp.gene_pairs(adata, model, 1, n_pairs=1)
    found = {table["gene_a"].iloc[0], table["gene_b"].iloc[0]}
    assert found == set(adata.var_names[np.isin(module, (2, 3))])
    sign = np.prod(adata.uns["truth"]["sign"][np.isin(module, (2, 3))])
    assert np.sign(table["weight"].iloc[0]) == sign


def test_few_genes_restrict_the_pairs():
    adata = cells()
    model = fitted(adata)
    table = bmlp.gene_pairs(adata, model, 0, n_pairs=100, n_genes=3)
    assert len(set(table["gene_a"]) | set(table["gene_b"])) <= 3
    assert len(table) == 3
    assert (table["gene_a"] != table["gene_b"]).all()


def test_modules_list_both_ends_in_order():
    adata = cells()
    fitted(adata, n_modes=6)
    table = bmlp.modules(adata, n_genes=8, n_modes=2)
    info = adata.uns["bmlp"]
    assert set(table["end"]) == {"positive", "negative"}
    assert table.equals(bmlp.modules(adata, n_genes=8, n_modes=2))
    for (o, mode, end), part in table.groupby(["output", "mode", "end"]):
        loading = pd.Series(adata.varm["bmlp_modes"][:, mode, o], adata.var_names)
        side = 1 if end == "positive" else -1
        assert (side * part["loading"] > 0).all()
        assert part["rank"].tolist() == list(range(1, len(part) + 1))
        assert (side * part["loading"]).is_monotonic_decreasing
        np.testing.assert_array_equal(loading[part["gene"]], part["loading"])
        assert len(part) == min(8, (side * loading > 0).sum())
        assert part["eigenvalue"].eq(info["eigenvalues"][o, mode]).all()
        assert mode in np.argsort(-info["contribution"][o])[:2]
    assert "stability" not in table


def test_top_genes_take_both_ends():
    adata = cells()
    fitted(adata)
    best = int(np.argmax(adata.uns["bmlp"]["contribution"][1]))
    for part, weight in (
        ("mode", adata.varm["bmlp_modes"][:, best, 1]),
        ("linear", adata.varm["bmlp_linear"][:, 1]),
    ):
        genes = bmlp.top_genes(adata, 1, n_genes=5, part=part)
        assert genes == adata.var_names[np.argsort(-np.abs(weight), kind="stable")[:5]].tolist()


@pytest.mark.parametrize("clip", [None, 1.5])
def test_primal_path_equals_dual_when_all_components_are_kept(clip):
    dual, primal = cells(), cells()
    grid = {"offsets": (0.3, 1.0), "ridges": (1e-2, 1e-1), "clip": clip}
    first = fitted(dual, **grid)
    second = fitted(primal, n_pcs=39, **grid)  # one of the 40 genes is constant
    assert second.core.ndim == 3 > first.core.ndim
    np.testing.assert_allclose(primal.obsm["bmlp_prediction"], dual.obsm["bmlp_prediction"], atol=1e-6)
    np.testing.assert_allclose(primal.varm["bmlp_linear"], dual.varm["bmlp_linear"], atol=1e-6)
    np.testing.assert_allclose(primal.uns["bmlp"]["eigenvalues"], dual.uns["bmlp"]["eigenvalues"], atol=1e-7)
    np.testing.assert_allclose(
        bmlp.gene_shares(primal, second, 1), bmlp.gene_shares(dual, first, 1), atol=1e-6
    )


@pytest.mark.parametrize("form", ["csr", "view", "reordered"])
def test_storage_and_order_of_cells_do_not_matter(form):
    plain, other = cells(), cells()
    order = np.arange(220)
    if form == "csr":
        other.X = sparse.csr_matrix(other.X)
    else:
        order = np.random.default_rng(0).permutation(220)
        other = other[order].copy()
    if form == "view":
        other = other[np.argsort(order)]
        order = np.arange(220)
    for adata in (plain, other):
        fitted(adata, n_modes=2)
    near = {"rtol": 0, "atol": 1e-8}
    np.testing.assert_allclose(other.obsm["bmlp_prediction"], plain.obsm["bmlp_prediction"][order], **near)
    np.testing.assert_allclose(other.varm["bmlp_modes"], plain.varm["bmlp_modes"], atol=1e-5)
    np.testing.assert_allclose(
        other.uns["bmlp"]["contribution"], plain.uns["bmlp"]["contribution"], atol=1e-7
    )


def test_backed_file(tmp_path):
    adata = cells()
    adata.write_h5ad(tmp_path / "a.h5ad")
    backed = anndata.read_h5ad(tmp_path / "a.h5ad", backed="r")
    for a in (adata, backed):
        fitted(a, n_modes=2)
        fitted(a, n_modes=2, n_pcs=10, key_added="pcs")
    for key in ("bmlp_prediction", "pcs_prediction"):
        np.testing.assert_allclose(backed.obsm[key], adata.obsm[key], atol=1e-9)
    backed.file.close()


def test_results_survive_a_file(method, tmp_path):
    adata = cells()
    adata.obs["cell_type"] = np.array(["CD4/CD8", "18", "T cell (naïve)"])[np.arange(220) % 3]
    model = fitted(adata, method, clip=4.0)
    if method == "closed_form":
        bmlp.module_stability(adata, model, n_subsamples=2, n_genes=5)
    adata.write_h5ad(tmp_path / "a.h5ad")
    again = anndata.read_h5ad(tmp_path / "a.h5ad")
    assert filled(again) == filled(adata)
    for key, value in adata.uns["bmlp"].items():
        np.testing.assert_array_equal(again.uns["bmlp"][key], value)
    options = {"n_genes": 6, "n_modes": 3}
    pd.testing.assert_frame_equal(bmlp.modules(again, **options), bmlp.modules(adata, **options))
    np.testing.assert_array_equal(bmlp.gene_shares(again, model, 2), bmlp.gene_shares(adata, model, 2))
    assert ("stability" in bmlp.modules(again, **options)) == (method == "closed_form")


def test_same_seed_same_result_and_no_global_generator_moves(method):
    first, second = cells(), cells()
    np.random.seed(3)
    torch.manual_seed(3)
    before = np.random.get_state()[1].copy(), torch.get_rng_state().clone()
    for adata in (first, second):
        fitted(adata, method)
        torch.rand(2, generator=torch.Generator().manual_seed(1))
    np.testing.assert_array_equal(np.random.get_state()[1], before[0])
    assert torch.equal(torch.get_rng_state(), before[1])
    assert torch.is_grad_enabled()
    np.testing.assert_array_equal(first.obsm["bmlp_prediction"], second.obsm["bmlp_prediction"])
    np.testing.assert_array_equal(first.varm["bmlp_modes"], second.varm["bmlp_modes"])


def test_single_output_and_frames_as_targets():
    adata, other = cells(), cells()
    adata.obsm["one"] = adata.obsm["targets"][:, :1]
    other.obsm["one"] = pd.DataFrame({"y": other.obsm["targets"][:, 0]}, index=other.obs_names)
    for a in (adata, other):
        bmlp.fit(a, target="one")
    np.testing.assert_array_equal(adata.obsm["bmlp_prediction"], other.obsm["bmlp_prediction"])
    assert adata.obsm["bmlp_prediction"].shape == (220, 1)


def test_two_results_live_side_by_side():
    adata = cells()
    fitted(adata, key_added="a", offsets=(0.1,))
    kept = adata.obsm["a_prediction"].copy()
    fitted(adata, key_added="b", offsets=(3.0,))
    np.testing.assert_array_equal(adata.obsm["a_prediction"], kept)
    assert not bmlp.modules(adata, n_genes=9, key_added="a").equals(
        bmlp.modules(adata, n_genes=9, key_added="b")
    )
