"""Fits on AnnData: known truth, the slots written, storage forms, pooling, and every refusal."""

import warnings

import anndata
import numpy as np
import pandas as pd
import pytest
import torch
from scipy import sparse
from sklearn.linear_model import Ridge

from scmods._checks import NumericalWarning
from scmods.hopfield import infer, masks
from scmods.hopfield.field import Field

LABELS = ["CD4/CD8", "18", "T cell (naïve)"]
GENES = [f"g{i}" for i in range(6)]
GAMMA = np.array([1.0, 0.5, 2.0, 1.5, 0.8, 1.2])


def truth():
    """(clusters, targets, regulators) on regulators g0, g2, g3."""
    w = np.random.default_rng(7).normal(size=(3, 6, 3)) * 4
    return np.where(np.abs(w) < 1.5, 0.0, w)


def hill(x):
    return x**2 / (1 + x**2)


def cells(n=240, noise=0.0, seed=0):
    """Exact velocities of known fields; one gene that is not modelled."""
    rng = np.random.default_rng(seed)
    x = rng.gamma(2.0, 0.6, size=(n, 7))
    group = np.arange(n) % 3
    phi = hill(x[:, [0, 2, 3]])
    v = np.einsum("nt,ngt->ng", phi, truth()[group]) - GAMMA * x[:, :6] + 1.5 + group[:, None]
    v = np.column_stack([v + noise * rng.normal(size=v.shape), np.full(n, np.nan)])
    adata = anndata.AnnData(np.zeros((n, 7)), layers={"Ms": x, "velocity": v})
    adata.obs_names, adata.var_names = [f"c{i}" for i in range(n)], [*GENES, "other"]
    adata.obs["cell_type"] = pd.Categorical(np.array(LABELS)[group], categories=[*LABELS, "empty"])
    adata.var["gamma"] = [*GAMMA, np.nan]
    adata.var["hopfield_threshold"], adata.var["hopfield_exponent"] = 1.0, 2.0
    adata.var["hopfield_used"] = [True] * 6 + [False]
    adata.var["transcription_factor"] = [True, False, True, True, False, False, True]
    return adata


def by_label(field):
    return torch.stack([field.cluster(name).w for name in LABELS]).numpy()


@pytest.mark.parametrize("method", ["ridge", "penalised", "least_squares"])
def test_every_method_finds_exact_fields(method):
    adata = cells()
    options = {"ridge": 1e-10, "scaffold_regularization": 1e-9, "bias_regularization": 0.0}
    field = infer.fit(adata, method=method, **options)
    assert field.clusters == tuple(sorted(LABELS))
    assert field.regulator_names == ["g0", "g2", "g3"]
    np.testing.assert_allclose(by_label(field), truth(), atol=1e-5)
    for c, name in enumerate(LABELS):
        np.testing.assert_allclose(field.cluster(name).bias, 1.5 + c, atol=1e-5)
        np.testing.assert_array_equal(field.cluster(name).gamma, GAMMA)
        rows = (adata.obs["cell_type"] == name).to_numpy()
        x, v = (torch.as_tensor(adata.layers[k][rows][:, :6]) for k in ("Ms", "velocity"))
        torch.testing.assert_close(field.cluster(name).velocity(x), v, atol=1e-4, rtol=0)
    np.testing.assert_allclose(adata.uns["hopfield"]["fit"]["r2"], 1.0, atol=1e-8)


def test_ridge_of_a_cluster_is_that_of_sklearn_on_its_cells():
    adata = cells(noise=2.0)
    field = infer.fit(adata, ridge=0.4)
    rows = (adata.obs["cell_type"] == "18").to_numpy()
    x, v = adata.layers["Ms"][rows], adata.layers["velocity"][rows]
    phi, y = hill(x[:, [0, 2, 3]]), v[:, :6] + GAMMA * x[:, :6]
    sd = phi.std(axis=0)
    wanted = Ridge(alpha=0.4 * rows.sum()).fit(phi / sd, y)
    np.testing.assert_allclose(field.cluster("18").w, wanted.coef_ / sd, atol=1e-8)
    np.testing.assert_allclose(field.cluster("18").bias, wanted.intercept_, atol=1e-8)
    table = adata.uns["hopfield"]["fit"].set_index("cluster")
    error = ((y - wanted.predict(phi / sd)) ** 2).sum()
    assert table.loc["18", "r2"] == pytest.approx(1 - error / (rows.sum() * v[:, :6].var(axis=0).sum()))
    assert table.loc["18", "n_cells"] == 80


def test_what_is_written_survives_a_file_and_rebuilds_the_field(tmp_path):
    adata = cells(noise=1.0)
    before = set(adata.uns)
    field = infer.fit(adata, cluster_key=None, edges=[("g0", "g1"), ("g2", "g2")], key_added="hopfield")
    assert set(adata.uns) - before == {"hopfield"}
    adata.write_h5ad(tmp_path / "a.h5ad")
    again = anndata.read_h5ad(tmp_path / "a.h5ad")
    assert Field.of(again, "hopfield").fingerprint == field.fingerprint
    assert again.uns["hopfield"]["settings"]["method"] == "ridge"
    assert list(again.uns["hopfield"]["fit"]["cluster"]) == ["all"]
    assert again.uns["hopfield"]["residual_variance"].shape == (1, 6)


@pytest.mark.parametrize(
    "form", [sparse.csr_matrix, sparse.csc_matrix, np.float32, "view", "order", "integer labels"]
)
def test_storage_and_order_of_cells_change_nothing(form):
    adata = cells(noise=1.0)
    wanted, tol = by_label(infer.fit(adata, ridge=0.1)), 1e-9
    other = adata.copy()
    if form == "view":
        other = adata[:, :]
        with pytest.warns(UserWarning, match="Trying to modify"):  # anndata's word on writing to a view
            infer.fit(other, ridge=0.1)
    elif form == "order":
        other = adata[np.random.default_rng(0).permutation(adata.n_obs)][:, ::-1].copy()
    elif form == "integer labels":
        other.obs["cell_type"] = [10 * LABELS.index(c) for c in other.obs["cell_type"]]
        field = infer.fit(other, ridge=0.1)
        found = torch.stack([field.cluster(str(10 * i)).w for i in range(3)])
        np.testing.assert_allclose(found, wanted, atol=1e-9)
        return
    else:
        for layer in ("Ms", "velocity"):
            other.layers[layer] = form(other.layers[layer])
        tol = 1e-4 if form is np.float32 else 1e-9
    field = infer.fit(other, ridge=0.1)
    order = [field.gene(g) for g in GENES]
    regs = [field.regulator_names.index(g) for g in ("g0", "g2", "g3")]
    np.testing.assert_allclose(by_label(field)[:, order][:, :, regs], wanted, atol=tol)


def test_blocks_of_cells_give_the_same_fit(monkeypatch):
    adata = cells(noise=1.0)
    whole = infer.fit(adata, ridge=0.1)
    monkeypatch.setattr("scmods.hopfield.fit_input.BLOCK", 6 * 7)
    torch.testing.assert_close(
        infer.fit(adata, ridge=0.1).interactions, whole.interactions, atol=1e-9, rtol=1e-9
    )


def test_scaffolds_hard_and_soft():
    adata = cells(noise=1.0)
    edges = pd.DataFrame({"regulator": ["g0", "g0", "g2"], "target": ["g1", "g0", "g5"], "sign": [1, -1, 0]})
    hard = infer.fit(adata, edges=edges, ridge=0.1)
    assert hard.regulator_names == ["g0", "g2"]
    allowed = np.zeros((6, 2), dtype=bool)
    allowed[[1, 0, 5], [0, 0, 1]] = True
    assert ((hard.interactions.numpy() != 0) == allowed).all()
    sign = np.array([1, -1])
    known = hard.interactions[:, [1, 0], [0, 0]].numpy()
    agreement = adata.uns["hopfield"]["fit"]["sign_agreement"].to_numpy()
    np.testing.assert_allclose(agreement, (np.sign(known) == sign).mean(axis=1))
    free = infer.fit(adata, regulators=["g0", "g2"], ridge=0.1)
    sizes = []
    for strength in (0.0, 10.0, 1e9):
        soft = infer.fit(adata, edges=edges, hard_mask=False, scaffold_regularization=strength, ridge=0.1)
        sizes.append(float(soft.interactions[:, ~allowed].abs().sum()))
        if not strength:
            torch.testing.assert_close(soft.interactions, free.interactions)
    torch.testing.assert_close(soft.interactions, hard.interactions, atol=1e-6, rtol=1e-6)
    assert sizes[0] > sizes[1] > sizes[2]
    lasso = infer.fit(adata, method="penalised", edges=edges, scaffold_regularization=1e6)
    assert ((lasso.interactions.numpy() != 0) == allowed).all()


def test_evidence_divides_the_penalty_and_regulators_may_be_wider_than_the_edges():
    adata = cells(noise=1.0)
    edges = pd.DataFrame({"regulator": ["g0", "g3"], "target": ["g1", "g1"], "weight": [4.0, 0.5]})
    field = infer.fit(adata, edges=edges, regulators=["g3", "g0", "g2"], ridge=0.2)
    assert field.regulator_names == ["g0", "g2", "g3"]
    factors = pd.DataFrame(np.inf, index=GENES, columns=["g0", "g2", "g3"])
    factors.loc["g1", ["g0", "g3"]] = [0.25, 2.0]
    other = infer.fit(adata, edge_weights=factors.iloc[::-1, ::-1], ridge=0.2)
    torch.testing.assert_close(field.interactions, other.interactions)


def test_pooling_is_a_ridge_towards_both_zero_and_the_fit_of_all_cells():
    adata = cells(noise=1.0)
    lam, rho = 0.7, 0.6
    whole = infer.fit(adata, cluster_key=None, ridge=lam, key_added="hopfield").cluster("all").w
    field = infer.fit(adata, ridge=lam, pooled=rho)
    rows = (adata.obs["cell_type"] == "18").to_numpy()
    x, v = (torch.as_tensor(adata.layers[k][rows][:, :6]) for k in ("Ms", "velocity"))
    phi, y = hill(x[:, [0, 2, 3]]), v + torch.as_tensor(GAMMA) * x
    w = field.cluster("18").w.clone().requires_grad_()
    rest = y - phi @ w.T - field.cluster("18").bias
    var = phi.var(0, correction=0)
    penalty = (var * ((1 - rho) * w.square() + rho * (w - whole).square())).sum()
    (rest.square().mean(0).sum() + lam * penalty).backward()
    assert float(w.grad.abs().max()) < 1e-9
    assert float(rest.detach().mean(0).abs().max()) < 1e-9
    far = infer.fit(adata, ridge=1e8, pooled=rho).cluster("18").w
    torch.testing.assert_close(
        far, rho * infer.fit(adata, cluster_key=None, ridge=1e8).cluster("all").w, atol=1e-6, rtol=1e-6
    )


def test_refitted_degradation_is_found():
    adata = cells()
    adata.var["gamma"] = 1.0
    for method, tol in (("least_squares", 1e-6), ("penalised", 1e-4)):
        field = infer.fit(
            adata, method=method, refit_gamma=True, scaffold_regularization=1e-9, bias_regularization=0
        )
        np.testing.assert_allclose(field.degradation, np.tile(GAMMA, (3, 1)), atol=tol)


def test_gcv_shrinks_noise_and_not_signal():
    clean, noisy = cells(), cells(noise=6.0)
    infer.fit(clean)
    infer.fit(noisy)
    assert (clean.uns["hopfield"]["fit"]["penalty"] < 1e-3).all()
    assert (noisy.uns["hopfield"]["fit"]["penalty"] > 0.02).all()
    infer.fit(noisy, ridge="gcv_target")


def test_tables_of_edges():
    adata = cells(noise=1.0)
    field = infer.fit(adata, edges=[("g0", "g1"), ("g2", "g5"), ("g2", "g0")], ridge=0.1)
    table = infer.edge_table(field)
    assert len(table) == 9
    for row in table.itertuples():
        assert row.weight == field.matrix(row.cluster).loc[row.target, row.regulator]
    effects = infer.effects(field, adata)
    assert (effects.groupby("cluster")["effect"].apply(lambda e: (e.abs().diff().dropna() <= 0).all())).all()
    one = effects.query("cluster == '18' and regulator == 'g2' and target == 'g5'").iloc[0]
    rows = (adata.obs["cell_type"] == "18").to_numpy()
    x, v = adata.layers["Ms"][rows], adata.layers["velocity"][rows]
    assert one["effect"] == pytest.approx(
        one["weight"] * hill(x[:, 2]).std() / (v[:, 5] + GAMMA[5] * x[:, 5]).std()
    )
    assert len(infer.effects(field, adata, zeros=True)) == 3 * 6 * 2
    with pytest.raises(ValueError, match="Clusters of the field without cells"):
        infer.effects(field, adata, cluster_key=None)


def test_association_is_a_ridge_of_logs():
    adata = cells(n=60)
    rng = np.random.default_rng(0)
    for layer in ("spliced", "unspliced"):
        adata.layers[layer] = sparse.csr_matrix(rng.poisson(3.0, size=(60, 7)).astype(np.float32))
    found = infer.association(adata, ridge=0.5)
    x, y = (np.log1p(adata.layers[k].toarray()[:, :6].astype(float)) for k in ("spliced", "unspliced"))
    z = lambda a: (a - a.mean(axis=0)) / a.std(axis=0)  # noqa: E731
    wanted = Ridge(alpha=0.5 * 60).fit(z(x[:, [0, 2, 3]]), z(y)).coef_
    np.testing.assert_allclose(found, wanted, atol=1e-8)
    assert list(found.columns) == ["g0", "g2", "g3"]
    alone = infer.association(adata, ridge=0.5, self_edges=False)
    assert alone.loc["g2", "g2"] == 0
    np.testing.assert_allclose(alone.loc["g1"], found.loc["g1"], atol=1e-9)
    split = infer.association(adata, cluster_key="cell_type", ridge=0.5, log=False)
    part = infer.association(adata[adata.obs["cell_type"] == "18"], ridge=0.5, log=False)
    np.testing.assert_allclose(split.loc["18"], part, atol=1e-9)


def test_regulators_as_names_column_and_default():
    adata = cells(noise=1.0)
    assert infer.fit(adata, regulators=["g5", "g1"]).regulator_names == ["g1", "g5"]
    adata.var["mine"] = adata.var_names.isin(["g4", "other"])
    assert infer.fit(adata, regulators="mine").regulator_names == ["g4"]
    del adata.var["transcription_factor"]
    assert infer.fit(adata).regulator_names == GENES
    assert infer.fit(adata, genes=["g4", "g1"]).genes == ("g4", "g1")


def broken(name):
    """An AnnData or options with one fault."""
    adata, options = cells(), {}
    if name in ("nan", "zero", "constant"):
        adata.layers["velocity"][:, :6] = {
            "nan": adata.layers["velocity"][:, :6],
            "zero": 0.0,
            "constant": 2.0,
        }[name]
        if name == "nan":
            adata.layers["velocity"][3, 1] = np.nan
    elif name == "missing label":
        adata.obs["cell_type"] = adata.obs["cell_type"].astype(object).where(adata.obs_names != "c5")
    elif name == "one cell":
        adata.obs["cell_type"] = ["a"] + ["b"] * 239
    elif name.startswith("gamma"):
        adata.var["gamma"] = {"gamma nan": np.nan, "gamma zero": 0.0, "gamma negative": -1.0}[name]
    elif name == "hill":
        adata.var.loc["g1", "hopfield_threshold"] = 0.0
    elif name == "negative":
        adata.layers["Ms"][2, 1] = -0.5
    elif name == "unused":
        adata.var["hopfield_used"] = False
    elif name == "column":
        adata.var["mine"] = ["yes"] * 7
        options["regulators"] = "mine"
    elif name == "none modelled":
        adata.var["mine"] = adata.var_names == "other"
        options["regulators"] = "mine"
    return adata, options


@pytest.mark.parametrize(
    ("fault", "text"),
    [
        ("nan", r"velocity'\]` holds 1 values that are NaN.*gene 'g1', cell 'c3'"),
        ("zero", "is 0 for each of the 6 modelled genes, so there is nothing to fit"),
        ("constant", "is the same in every cell for each of the 6"),
        ("missing label", r"is missing for 1 cells; first: \['c5'\]"),
        ("one cell", r"Clusters with a single cell cannot be fitted: \['a'\]"),
        ("gamma nan", r"gamma'\]` is NaN or infinite for 6 of 6 modelled genes"),
        ("gamma zero", "is 0 for every modelled gene"),
        ("gamma negative", "is negative for 6 modelled genes"),
        ("hill", r"hopfield_threshold'\]` is not positive for 1 modelled genes: \['g1'\]"),
        ("negative", "the lowest is -0.5, gene 'g1'"),
        ("unused", "is False for every gene"),
        ("none modelled", "is True for 1 genes, none of them modelled"),
    ],
)
def test_refuses_cells_that_cannot_be_fitted(fault, text):
    adata, options = broken(fault)
    with pytest.raises(ValueError, match=text):
        infer.fit(adata, **options)


@pytest.mark.parametrize(
    ("options", "kind", "text"),
    [
        ({"method": "rigde"}, ValueError, "Did you mean 'ridge'"),
        ({"ridge": "cv"}, ValueError, "'gcv'"),
        ({"ridge": 0.0}, ValueError, "method='least_squares'"),
        ({"ridge": -1.0}, ValueError, "`ridge` is -1"),
        ({"pooled": 1.0}, ValueError, "must be below 1"),
        ({"pooled": 0.5, "method": "least_squares"}, ValueError, "no penalty to pool"),
        ({"method": "least_squares", "hard_mask": False}, ValueError, "hard_mask=False has no meaning"),
        ({"bias_penalty": "l3"}, ValueError, "`bias_penalty` is 'l3'"),
        ({"cluster_key": "celltype"}, KeyError, "Did you mean 'cell_type'"),
        ({"spliced_layer": "ms"}, KeyError, "Did you mean 'Ms'.*hopfield.moments"),
        ({"velocity_layer": "v"}, KeyError, r"hopfield\.velocity"),
        ({"degradation_key": "rate"}, KeyError, r"'rate'\]` does not exist"),
        ({"key_added": "mine"}, KeyError, r"mine_threshold'\]` does not exist.*fit_hill"),
        ({"genes": ["g1", "G2"]}, KeyError, r"\['G2'\].*Did you mean 'g2'"),
        ({"regulators": ["g0", "G3"]}, KeyError, "Did you mean 'g3'"),
        ({"regulators": ["g0", "other"]}, KeyError, "is in the data, but not among the 6 modelled genes"),
        ({"regulators": ["g0", "g0"]}, ValueError, r"names 1 genes more than once: \['g0'\]"),
        ({"regulators": []}, ValueError, "`regulators` is empty"),
        ({"regulators": "factors"}, KeyError, r"var\['factors'\]` does not exist"),
        ({"edges": [("g0", "x1")]}, KeyError, r"names 1 genes that are not in `adata.var_names`: \['x1'\]"),
        ({"edges": [("g0", "g1"), ("g0", "g1")]}, ValueError, r"1 repeated pairs; first: \('g0', 'g1'\)"),
        ({"edges": ["g0"]}, ValueError, r"`edges\[0\]` is 'g0', but must be a pair"),
        ({"edges": [("g0", "other")]}, ValueError, "None of the 1 edges joins"),
        ({"edges": [("g0", "g1")], "regulators": ["g2"]}, ValueError, r"not in `regulators`: \['g0'\]"),
        ({"edges": pd.DataFrame({"source": ["g0"], "target": ["g1"]})}, KeyError, "no column 'regulator'"),
        (
            {"edges": pd.DataFrame({"regulator": ["g0"], "target": ["g1"], "sign": [2]})},
            ValueError,
            "must be 1, -1 or 0, but is 2 in row 0",
        ),
        (
            {"edges": pd.DataFrame({"regulator": ["g0"], "target": ["g1"], "weight": [-1.0]})},
            ValueError,
            "must be positive and finite, but is -1",
        ),
        ({"edge_weights": np.ones((2, 3))}, ValueError, r"shape \(2, 3\), but must be \(6, 3\)"),
        ({"edge_weights": np.zeros((6, 3))}, ValueError, "holds 18 factors that are not positive"),
        ({"edge_weights": pd.DataFrame(np.ones((6, 1)), GENES, ["g0"])}, KeyError, r"lacks 2 columns: \['g2', 'g3'\]"),
        ({"edge_weights": np.full((6, 3), 2.0), "method": "penalised"}, ValueError, "factors of the ridge penalty"),
    ],
)  # fmt: skip
def test_refuses_options_that_do_not_belong_together(options, kind, text):
    with pytest.raises(kind, match=text):
        infer.fit(cells(n=30), **options)


def test_refuses_a_column_that_is_not_bool():
    adata, options = broken("column")
    with pytest.raises(TypeError, match="must be bool: True for regulators"):
        infer.fit(adata, **options)


def test_few_cells_are_told_and_least_squares_refuses_them():
    adata = cells(n=9)
    with pytest.warns(NumericalWarning, match=r"no more cells than the 3 regulators: '18': 3"):
        infer.fit(adata)
    with pytest.raises(ValueError, match="3 cells for 3 regulators"):
        infer.fit(adata, method="least_squares")


def test_edges_that_are_not_modelled_are_left_out_with_a_warning():
    with pytest.warns(NumericalWarning, match="1 of 2 edges join genes that are not modelled"):
        field = infer.fit(cells(n=60), edges=[("g0", "g1"), ("other", "g1")])
    assert field.regulator_names == ["g0"]


def test_logged_expression_beside_velocity_of_counts_is_told():
    adata = cells()
    adata.layers["Ms"] = adata.layers["Ms"] * 300
    adata.layers["velocity"] = adata.layers["velocity"] * 300
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        infer.fit(adata)
    adata.layers["Ms"] = np.log1p(adata.layers["Ms"])
    with pytest.warns(NumericalWarning, match="looks logged.*belongs to counts"):
        infer.fit(adata)


def test_default_regulators_name_their_column():
    assert masks.FACTORS in masks.regulator_positions.__doc__
