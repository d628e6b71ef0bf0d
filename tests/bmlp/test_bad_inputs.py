"""Malformed input: each case is refused with the value, what was expected, what exists, and a call to copy."""

import numpy as np
import pandas as pd
import pytest
import torch
from anndata import AnnData

from scmods import MissingKeyError, bmlp
from scmods.bmlp import Config, ScBMLPRegressor


@pytest.fixture
def cells():
    """90 planted cells with a split, a layer of counts, labels and coordinates."""
    adata = bmlp.planted(90, 24, n_module=3)
    adata.layers["counts"] = np.random.default_rng(0).poisson(3.0, adata.shape).astype(np.float32)
    adata.obsm["X_pca"] = adata.X[:, :4].astype(np.float64)
    bmlp.split(adata)
    return adata


def put(slot, key, value):
    """Change of one entry, as a function."""
    return lambda a: getattr(a, slot).__setitem__(key, value(a) if callable(value) else value)


def entry(slot, where, value, key=None):
    """Change of single values of X, a layer or an obsm array."""

    def change(a):
        array = a.X if slot == "X" else getattr(a, slot)[key]
        array[where] = value

    return change


def nothing(a):
    """Leave the data as they are."""


def attribute(name, value):
    return lambda a: setattr(a, name, value)


def twice(a):
    a.var_names = ["same", "same", *a.var_names[2:]]


def frequencies(**options):
    return lambda a: bmlp.frequencies(a, **options)


def fit(**options):
    return lambda a: bmlp.fit(a, **({"target": "targets"} | options))


def split(**options):
    return lambda a: bmlp.split(a, **options)


def fitted(call):
    """The call after a closed-form fit."""

    def run(a):
        model = bmlp.fit(a, target="targets")
        return call(a, model)

    return run


def one_cell(call):
    return lambda a: call(a[:1].copy())


CASES = {
    # values
    "raw counts": (
        nothing,
        frequencies(layer="counts"),
        ValueError,
        r"`adata\.layers\['counts'\]` holds raw counts \(whole numbers.*bmlp\.preprocess\(adata\).*'lognorm'",
    ),
    "raw counts, fit": (nothing, fit(layer="counts"), ValueError, r"holds raw counts.*bmlp\.preprocess"),
    "NaN in X": (
        entry("X", (3, 2), np.nan),
        frequencies(),
        ValueError,
        r"The matrix holds 1 values that are NaN or infinite, in 1 rows; first rows: \['cell_3'\].*adata\[keep\]\.copy",
    ),
    "inf in X": (
        entry("X", (3, 2), np.inf),
        fit(),
        ValueError,
        r"NaN or infinite, in 1 rows; first rows: \['cell_3'\]",
    ),
    "NaN, preprocess": (
        entry("X", (3, 2), np.nan),
        lambda a: bmlp.preprocess(a),
        ValueError,
        r"first rows: \['cell_3'\]",
    ),
    "empty cells": (
        entry("layers", 5, 0.0, "counts"),
        lambda a: bmlp.preprocess(a, layer="counts"),
        ValueError,
        r"has 1 all-zero rows; first: \['cell_5'\].*filter_cells",
    ),
    "zero row under cosine": (
        entry("obsm", 5, 0.0, "X_pca"),
        frequencies(use_rep="X_pca"),
        ValueError,
        r"`adata\.obsm\['X_pca'\]` has 1 all-zero rows; first: \['cell_5'\].*metric='euclidean'",
    ),
    "NaN in use_rep": (
        entry("obsm", (5, 1), np.nan, "X_pca"),
        frequencies(use_rep="X_pca"),
        ValueError,
        r"`adata\.obsm\['X_pca'\]` holds 1 values.*\['cell_5'\]",
    ),
    "negative counts": (
        nothing,
        lambda a: bmlp.preprocess(a, data="counts"),
        ValueError,
        r"`data` is 'counts', but the matrix holds negative values.*data='scaled'",
    ),
    "text in X": (
        lambda a: a.obsm.__setitem__("X_pca", pd.DataFrame({"a": ["x"] * 90}, index=a.obs_names)),
        frequencies(use_rep="X_pca"),
        TypeError,
        r"`adata\.obsm\['X_pca'\]` has type object, but must be numeric",
    ),
    "no X": (
        attribute("X", None),
        fit(),
        MissingKeyError,
        r"`adata\.X` is empty\. Available layers: \['counts'\].*layer=",
    ),
    "all genes constant": (
        entry("X", slice(None), 1.0),
        frequencies(),
        ValueError,
        "every gene is constant|all-zero rows",
    ),
    "all genes constant, fit": (entry("X", slice(None), 1.5), fit(), ValueError, "constant"),
    "duplicated genes": (
        twice,
        frequencies(),
        ValueError,
        r"adata\.var_names has 1 duplicated names: \['same'\].*adata\.var_names_make_unique\(\)",
    ),
    "single cell": (nothing, one_cell(frequencies()), ValueError, "1 cells?"),
    "single cell, fit": (nothing, one_cell(fit(split_key=None)), ValueError, "1 cells?.*at least"),
    "single cell, split": (
        nothing,
        one_cell(split()),
        ValueError,
        "There are 1 cells, but a split into three sets needs",
    ),
    # sizes
    "too many neighbours": (
        nothing,
        frequencies(n_neighbors=90),
        ValueError,
        "`n_neighbors` is 90, but must be at least 1 and at most 89.*There are 90 cells: pass n_neighbors=15",
    ),
    "no neighbours": (
        nothing,
        frequencies(n_neighbors=0),
        ValueError,
        "`n_neighbors` is 0, but must be at least 1",
    ),
    "neighbours as float": (
        nothing,
        frequencies(n_neighbors=10.0),
        TypeError,
        "`n_neighbors` is 10.0 of type float, but must be a whole number.*n_neighbors=10",
    ),
    "neighbours as bool": (
        nothing,
        frequencies(n_neighbors=True),
        TypeError,
        "`n_neighbors` is True of type bool",
    ),
    "neighbours as text": (
        nothing,
        frequencies(n_neighbors="10"),
        TypeError,
        "`n_neighbors` is '10' of type str",
    ),
    "too many frequencies": (
        nothing,
        frequencies(n_comps=89),
        ValueError,
        "`n_comps` is 89, but must be at least 1 and at most 88.*90 cells in 1 components",
    ),
    "frequencies as float": (nothing, frequencies(n_comps=2.0), TypeError, "`n_comps` is 2.0 of type float"),
    "too many components": (
        nothing,
        frequencies(n_pcs=25),
        ValueError,
        "`n_pcs` is 25, but must be at least 1 and at most 24",
    ),
    "too many components, fit": (
        nothing,
        fit(n_pcs=25),
        ValueError,
        "`n_pcs` is 25, but must be at least 1 and at most 24",
    ),
    "components as text": (nothing, fit(n_pcs="all"), TypeError, "`n_pcs` is 'all' of type str"),
    "negative clip": (
        nothing,
        frequencies(clip=-1.0),
        ValueError,
        "`clip` is -1, but must be a finite number",
    ),
    "clip as text": (nothing, fit(clip="3"), TypeError, "`clip` is '3' of type str, but must be a number"),
    "clip is NaN": (nothing, fit(clip=float("nan")), ValueError, "`clip` is nan"),
    # choices
    "unknown metric": (
        nothing,
        frequencies(metric="cosin"),
        ValueError,
        r"`metric` is 'cosin'.*Did you mean 'cosine'\?",
    ),
    "unknown mode": (
        nothing,
        frequencies(mode="mutal"),
        ValueError,
        r"`mode` is 'mutal'.*Did you mean 'mutual'\?",
    ),
    "directed mode": (
        nothing,
        frequencies(mode="directed"),
        ValueError,
        r"`mode` is 'directed', but must be one of \['union', 'mutual'\]",
    ),
    "unknown kind": (
        nothing,
        frequencies(kind="symetric"),
        ValueError,
        r"`kind` is 'symetric'.*Did you mean 'symmetric'\?",
    ),
    "unknown method": (
        nothing,
        fit(method="closed form"),
        ValueError,
        r"`method` is 'closed form'.*Did you mean 'closed_form'\?",
    ),
    "unknown data": (
        nothing,
        lambda a: bmlp.preprocess(a, data="raw"),
        ValueError,
        r"`data` is 'raw', but must be one of \['auto'",
    ),
    "unknown models": (
        nothing,
        lambda a: bmlp.baselines(a, target="targets", models=("rige",)),
        ValueError,
        r"`models` is 'rige'.*Did you mean 'ridge'\?",
    ),
    "models as text": (
        nothing,
        lambda a: bmlp.baselines(a, target="targets", models="ridge"),
        TypeError,
        r"`models` is 'ridge'.*models=\('ridge',\)",
    ),
    "unknown recipe": (
        nothing,
        lambda a: bmlp.seed_stability(a, target="targets", recipe="repair"),
        ValueError,
        r"`recipe` is 'repair'.*Did you mean 'repaired'\?",
    ),
    "unknown loss": (
        nothing,
        lambda a: ScBMLPRegressor(Config(), "mae"),
        ValueError,
        r"`loss_fn` is 'mae'.*\['mse', 'l1', 'huber'\]",
    ),
    "unknown part": (
        nothing,
        fitted(lambda a, m: bmlp.top_genes(a, 0, n_genes=5, part="modes")),
        ValueError,
        r"`part` is 'modes'.*Did you mean 'mode'\?",
    ),
    "unknown option of fit": (nothing, fit(ridge=(1.0,)), TypeError, r"'ridge'.*Did you mean 'ridges'\?"),
    "closed-form options for the layer": (
        nothing,
        fit(method="bilinear", ridges=(1.0,)),
        TypeError,
        r"'ridges'.*method='bilinear'.*config=",
    ),
    # keys
    "missing target": (
        nothing,
        fit(target="X_freq"),
        MissingKeyError,
        r"`adata\.obsm\['X_freq'\]` does not exist\. Available: \['targets', 'X_pca'\].*bmlp\.frequencies\(adata\)",
    ),
    "misspelt target": (nothing, fit(target="target"), MissingKeyError, r"Did you mean 'targets'\?"),
    "misspelt use_rep": (
        nothing,
        frequencies(use_rep="X_PCA"),
        MissingKeyError,
        r"Did you mean 'X_pca'\? .*use_rep=None",
    ),
    "missing layer": (
        nothing,
        fit(layer="lognorm"),
        MissingKeyError,
        r"`adata\.layers\['lognorm'\]` does not exist\. Available: \['counts'\].*layer=None",
    ),
    "missing split": (
        lambda a: a.obs.pop("bmlp_split"),
        fit(),
        MissingKeyError,
        r"`adata\.obs\['bmlp_split'\]`.*bmlp\.split\(adata\)",
    ),
    "frequencies first": (
        nothing,
        lambda a: bmlp.largest_component(a),
        MissingKeyError,
        r"Run `bmlp\.frequencies\(adata\)` first",
    ),
    "inductive before frequencies": (
        nothing,
        lambda a: bmlp.inductive_frequencies(a),
        MissingKeyError,
        r"bmlp\.frequencies\(adata\)",
    ),
    "modules before fit": (
        nothing,
        lambda a: bmlp.modules(a),
        MissingKeyError,
        r"`adata\.uns\['bmlp'\]`.*Run `bmlp\.fit\(adata\)` first",
    ),
    "shares before fit": (
        nothing,
        lambda a: bmlp.gene_shares(a, None),
        MissingKeyError,
        r"Run `bmlp\.fit\(adata\)` first",
    ),
    "truth of real data": (
        lambda a: a.uns.pop("truth"),
        lambda a: bmlp.planted_precision(a),
        MissingKeyError,
        r"`adata\.uns\['truth'\]` holds no planted modules.*datasets\.load\('planted'\)",
    ),
    # targets
    "NaN target": (
        entry("obsm", (4, 1), np.nan, "targets"),
        fit(),
        ValueError,
        r"`adata\.obsm\['targets'\]` holds 1 values.*\['cell_4'\]",
    ),
    "text target": (
        lambda a: a.obsm.__setitem__("t", np.full((90, 2), "x")),
        fit(target="t"),
        TypeError,
        r"`adata\.obsm\['t'\]` has type <U1, but must be numeric.*pandas\.to_numeric",
    ),
    "too many axes": (
        lambda a: a.obsm.__setitem__("t", np.zeros((90, 2, 2))),
        fit(target="t"),
        ValueError,
        r"`adata\.obsm\['t'\]` has shape \(90, 2, 2\), but must be \(cells, outputs\)",
    ),
    "no outputs": (
        lambda a: a.obsm.__setitem__("t", np.zeros((90, 0))),
        fit(target="t"),
        ValueError,
        r"`adata\.obsm\['t'\]` has shape \(90, 0\)",
    ),
    # splits and labels
    "misspelt set": (
        put("obs", "bmlp_split", lambda a: ["training", "val", "test"] * 30),
        fit(),
        ValueError,
        r"`adata\.obs\['bmlp_split'\]` is 'training', but must be one of \['train', 'val', .*Did you mean 'train'",
    ),
    "missing set": (
        put("obs", "bmlp_split", lambda a: ["train", "test"] * 45),
        fit(),
        ValueError,
        r"has no 'val' cells; all three sets are needed\. .*bmlp\.split\(adata, fractions=",
    ),
    "NaN in split": (
        put("obs", "bmlp_split", lambda a: [None, "val", "test"] * 30),
        fit(),
        ValueError,
        r"has 30 of 90 values missing",
    ),
    "fractions": (
        nothing,
        split(fractions=(0.7, 0.2, 0.2)),
        ValueError,
        r"`fractions` is \(0\.7, 0\.2, 0\.2\).*fractions=\(0\.7, 0\.15, 0\.15\)",
    ),
    "two fractions": (nothing, split(fractions=(0.7, 0.3)), ValueError, "must be three positive shares"),
    "fraction as number": (
        nothing,
        split(fractions=0.7),
        ValueError,
        "`fractions` is 0.7, but must be three positive shares",
    ),
    "NaN fraction": (
        nothing,
        split(fractions=(0.7, 0.3, float("nan"))),
        ValueError,
        "must be three positive shares",
    ),
    "negative seed": (nothing, split(seed=-1), ValueError, "`seed` is -1, but must be at least 0"),
    "missing labels": (
        put("obs", "type", lambda a: ["a", "b", None] * 30),
        split(cluster_key="type"),
        ValueError,
        r"has 30 missing labels of 90.*notna\(\)",
    ),
    "one class": (
        put("obs", "type", "only"),
        split(cluster_key="type"),
        ValueError,
        r"holds one class, \['only'\]",
    ),
    "small class": (
        put("obs", "type", lambda a: ["b", "b"] + ["a"] * 88),
        split(cluster_key="type"),
        ValueError,
        r"classes with fewer than 3 cells: 'b': 2\. Merge",
    ),
    "misspelt labels": (
        nothing,
        split(cluster_key="celltype"),
        MissingKeyError,
        r"Did you mean 'cell_type'\?",
    ),
    "layer without split": (
        nothing,
        fit(method="bilinear", split_key=None),
        ValueError,
        r"method='bilinear'.*bmlp\.split\(adata\)",
    ),
    # models and readings
    "other number of genes": (
        nothing,
        fit(method="bilinear", config=Config.repaired(20, 3)),
        ValueError,
        r"cells have shape \(\d+, 24\), but Config\(d_input=20\).*Config\(d_input=24\)",
    ),
    "config as dict": (
        nothing,
        fit(method="bilinear", config={"n_epochs": 3}),
        TypeError,
        r"`config` is .*dict.*Config\.repaired\(",
    ),
    "more modes than none": (nothing, fit(n_modes=0), ValueError, "`n_modes` is 0, but must be at least 1"),
    "more genes than there are": (
        nothing,
        fitted(lambda a, m: bmlp.modules(a, n_genes=25)),
        ValueError,
        "`n_genes` is 25, but must be at least 1 and at most 24",
    ),
    "more modes than kept": (
        nothing,
        fitted(lambda a, m: bmlp.modules(a, n_genes=5, n_modes=11)),
        ValueError,
        "`n_modes` is 11, but must be at least 1 and at most 10",
    ),
    "output out of range": (
        nothing,
        fitted(lambda a, m: bmlp.top_genes(a, 3, n_genes=5)),
        ValueError,
        "`output` is 3, but must be at least 0 and at most 2",
    ),
    "model of other genes": (
        nothing,
        fitted(lambda a, m: bmlp.gene_shares(a[:, :20].copy(), m)),
        ValueError,
        r"20 genes, but the model was made for 24",
    ),
    "no model": (
        nothing,
        fitted(lambda a, m: bmlp.gene_pairs(a, None)),
        TypeError,
        r"`model` is a NoneType.*bmlp\.fit\(adata",
    ),
    "layer as stability model": (
        nothing,
        fitted(lambda a, m: bmlp.module_stability(a, ScBMLPRegressor(Config(24, 4, 3)))),
        TypeError,
        r"`model` is a ScBMLPRegressor, but must be the closed-form model.*bmlp\.seed_stability",
    ),
    "unit scale": (
        nothing,
        lambda a: bmlp.fit(
            a,
            target="targets",
            method="bilinear",
            config=Config.repaired(24, 3, n_epochs=1, input_scale="unit"),
        ),
        ValueError,
        r"input_scale='unit'.*Config\.repaired\(",
    ),
    "fraction of stability": (
        nothing,
        fitted(lambda a, m: bmlp.module_stability(a, m, n_genes=5, fraction=1.5)),
        ValueError,
        r"`fraction` is 1\.5, but must be a finite number in \[0\.05, 0\.99\]",
    ),
    "one seed": (
        nothing,
        lambda a: bmlp.seed_stability(a, target="targets", seeds=[0]),
        ValueError,
        r"`seeds` is \[0\].*seeds=range\(5\)",
    ),
    "no permutation": (
        nothing,
        lambda a: bmlp.permuted_null(a, target="targets", n_perms=0),
        ValueError,
        "`n_perms` is 0",
    ),
    "rank too large": (
        nothing,
        lambda a: bmlp.rank_curve(a, target="targets", ranks=(99,)),
        ValueError,
        "`ranks` is 99, but must be at least 0 and at most",
    ),
    "module that does not fit": (
        nothing,
        lambda a: bmlp.planted(50, 60),
        ValueError,
        "`n_vars` is 60, but must be at least 80. Four modules of 20 genes must fit",
    ),
    "rho of one": (
        nothing,
        lambda a: bmlp.planted(rho=1.0),
        ValueError,
        "`rho` is 1, but must be a finite number",
    ),
}


@pytest.mark.parametrize("case", CASES)
def test_refused_with_a_useful_message(cells, case):
    change, call, kind, text = CASES[case]
    change(cells)
    with pytest.raises(kind, match=text) as caught:
        call(cells)
    message = str(caught.value)
    assert message[-1] in ".?"
    assert len(message) < 600


def test_a_refusal_writes_nothing(cells):
    slots = ("obs", "var", "obsm", "varm", "obsp", "layers", "uns")
    before = {s: set(getattr(cells, s).keys()) for s in slots}
    for call in (
        frequencies(n_comps=89),
        fit(n_pcs=25),
        fit(n_modes=0),
        split(seed=-1),
        frequencies(layer="counts"),
    ):
        with pytest.raises(ValueError):
            call(cells)
        assert {s: set(getattr(cells, s).keys()) for s in slots} == before


def test_what_only_looks_wrong_works(cells):
    cells.X[:, 3] = 0.25  # constant gene
    cells.X[1] = cells.X[0]  # duplicated cell
    cells.obs["cluster"] = np.arange(90) % 3  # numbers as labels
    bmlp.split(cells, cluster_key="cluster")
    bmlp.frequencies(cells, n_comps=2, n_neighbors=89 - 60)
    bmlp.fit(cells)
    assert np.isfinite(cells.obsm["bmlp_prediction"]).all()
    assert np.abs(cells.varm["bmlp_linear"][3]).max() == 0
    assert torch.is_grad_enabled()
    few = AnnData(np.asarray(cells.X)[:, :24].astype(np.float64))
    bmlp.frequencies(few, n_neighbors=np.int64(29), n_comps=np.int32(2))
