"""Reading what the original package leaves in an AnnData: every slot, every refusal, and its gaps."""

import warnings

import anndata
import numpy as np
import pandas as pd
import pytest
import torch
from scipy import sparse

from scmods import MissingKeyError, NumericalWarning, hopfield
from scmods.hopfield import checks, original

LABELS = ("CD4/CD8", "18", "T cell (naïve)")
GENES = ["Neurog3", "H2-K1/K2", "unused A", "Sox9", "Gcg", "unused B"]
USED = np.array([True, True, False, True, True, False])


def put(adata, slot, key, value):
    """One entry of a slot; `obs` and `var` take columns."""
    getattr(adata, slot)[key] = value


def fitted(labels=LABELS[:2], n=12):
    """Cells with the slots of the original; genes 2 and 5 are not modelled and hold the original's filler, 0."""
    rng = np.random.default_rng(3)
    adata = anndata.AnnData(
        np.zeros((n, 6), np.float32),
        obs=pd.DataFrame(index=[f"c{i}" for i in range(n)]),
        var=pd.DataFrame(index=GENES),
    )
    adata.layers["Ms"] = rng.gamma(2.0, 1.0, (n, 6))
    adata.obs["cell_type"] = pd.Categorical(np.resize(labels, n), categories=[*labels, "gone"])
    adata.var["scHopfield_used"] = USED
    adata.var["sigmoid_threshold"] = np.where(USED, rng.uniform(0.5, 2.0, 6), 0.0)
    adata.var["sigmoid_exponent"] = np.where(USED, rng.uniform(1.5, 4.0, 6), 0.0)
    adata.var["gamma"] = rng.uniform(0.1, 1.0, 6)
    for label in labels:
        w = rng.normal(size=(6, 6)).astype(np.float32)
        w[:, 3] = 0.0  # Sox9 does not regulate
        adata.varp[f"W_{label}"] = np.where(np.outer(USED, USED), w, 0.0)
    return adata


def square(field, cluster):
    """(genes, genes) numpy matrix of one cluster."""
    table = field.matrix(cluster)
    return table.reindex(columns=list(field.genes), fill_value=0.0).to_numpy()


def test_every_slot_arrives_in_its_place():
    adata = fitted()
    adata.var["I_18"] = np.arange(6.0)
    adata.var["gamma_18"] = np.arange(6.0) / 10
    field = hopfield.from_original(adata)
    assert field.genes == ("Neurog3", "H2-K1/K2", "Sox9", "Gcg")
    assert field.clusters == ("18", "CD4/CD8")
    assert field.regulator_names == ["Neurog3", "H2-K1/K2", "Gcg"]
    for cluster in field.clusters:
        expected = adata.varp[f"W_{cluster}"][np.ix_(USED, USED)]
        np.testing.assert_array_equal(square(field, cluster), expected)
        assert (expected != expected.T).any()  # a transposed matrix would not pass
    np.testing.assert_array_equal(field.bias, [[0, 1, 3, 4], [0, 0, 0, 0]])
    np.testing.assert_allclose(field.degradation, [[0, 0.1, 0.3, 0.4], adata.var["gamma"][USED]])
    np.testing.assert_array_equal(field.threshold, adata.var["sigmoid_threshold"][USED])
    np.testing.assert_array_equal(field.exponent, adata.var["sigmoid_exponent"][USED])


def test_velocity_is_that_of_the_slots():
    adata = fitted()
    adata.var["I_18"] = np.linspace(-1, 1, 6)
    field = hopfield.from_original(adata)
    block = next(checks.read(adata, field).blocks())
    assert block.cluster == "18"
    x, var = adata.layers["Ms"][block.rows], adata.var
    k, n = (np.where(USED, var[f"sigmoid_{name}"], 1.0) for name in ("threshold", "exponent"))
    expected = (x**n / (x**n + k**n)) @ adata.varp["W_18"].T - var["gamma"].values * x + var["I_18"].values
    np.testing.assert_allclose(block.field.velocity(block.x), expected[:, USED], rtol=1e-12)


def drop_unused(adata):
    """The same matrices among the modelled genes alone, as the original has them in memory, kept in uns."""
    for label in LABELS[:2]:
        adata.uns[f"W_{label}"] = adata.varp.pop(f"W_{label}")[np.ix_(USED, USED)]


def as_tables(adata):
    """Tables in another order of genes."""
    names = np.array(GENES)[USED]
    drop_unused(adata)
    for label in LABELS[:2]:
        table = pd.DataFrame(adata.uns[f"W_{label}"], names, names)
        adata.uns[f"W_{label}"] = table.loc[names[::-1], names[[2, 0, 3, 1]]]


def as_sparse(adata):
    for label in LABELS[:2]:
        adata.varp[f"W_{label}"] = sparse.csr_matrix(adata.varp[f"W_{label}"])


@pytest.mark.parametrize("store", [drop_unused, as_tables, as_sparse])
def test_the_storage_of_w_does_not_matter(store):
    adata, same = fitted(), fitted()
    store(same)
    assert hopfield.from_original(same).fingerprint == hopfield.from_original(adata).fingerprint


def test_labels_survive_a_file(tmp_path):
    adata = fitted(LABELS)
    field = hopfield.from_original(adata)
    # a slash is a folder inside the file: the original's own keys do not come back, the field does
    for label in LABELS:
        del adata.varp[f"W_{label}"]
    adata.uns["hopfield"] = field.to_uns()
    adata.write_h5ad(tmp_path / "field.h5ad")
    back = anndata.read_h5ad(tmp_path / "field.h5ad")
    assert original.field_of(back).fingerprint == field.fingerprint
    assert original.field_of(back).clusters == tuple(sorted(LABELS))


def test_number_labels_and_named_clusters():
    adata = fitted(("18", "7"))
    adata.obs["leiden"] = adata.obs["cell_type"].astype(str).astype(int)
    assert hopfield.from_original(adata, cluster_key="leiden").clusters == ("18", "7")
    assert hopfield.from_original(adata, clusters=["7"]).clusters == ("7",)


def test_one_field_for_all_cells():
    adata = fitted(("a",))
    adata.varp["W_all"] = 2 * adata.varp["W_a"]
    field = hopfield.from_original(adata, cluster_key=None)
    assert field.clusters == ("all",)
    del adata.varp["W_all"]
    half = hopfield.from_original(adata, cluster_key=None)
    assert half.clusters == ("a",)
    torch.testing.assert_close(field.interactions, 2 * half.interactions)
    with pytest.raises(
        MissingKeyError, match=r"`cluster_key` is None.*2 clusters: \['18', 'CD4/CD8'\].*clusters="
    ):
        hopfield.from_original(fitted(), cluster_key=None)


def test_a_field_without_interactions_keeps_one_regulator():
    adata = fitted(("a",))
    adata.varp["W_a"] = np.zeros((6, 6))
    field = hopfield.from_original(adata)
    assert field.regulator_names == ["Neurog3"]
    assert not field.interactions.any()


def test_a_second_component_is_told_only_where_there_is_one():
    adata = fitted()
    adata.var["sigmoid_threshold2"] = adata.var["sigmoid_threshold"]
    adata.var["sigmoid_mix"] = np.where(USED, 1.0, 0.0)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        one = hopfield.from_original(adata)
    adata.var.loc["Gcg", ["sigmoid_threshold2", "sigmoid_mix"]] = [9.0, 0.4]
    adata.var.loc["unused B", ["sigmoid_threshold2", "sigmoid_mix"]] = [9.0, 0.4]
    with pytest.warns(
        NumericalWarning, match=r"1 of 4 genes have a second Hill component.*\['Gcg'\].*first"
    ) as seen:
        two = hopfield.from_original(adata)
    assert seen[0].filename == __file__
    assert two.fingerprint == one.fingerprint


# refusals


def labels_equal_as_text(adata):
    adata.obs["cell_type"] = np.resize(np.array(["18", 18], dtype=object), adata.n_obs)


def one_nan_label(adata):
    adata.obs.loc["c4", "cell_type"] = np.nan


def one_bad_w(adata):
    adata.varp["W_18"][4, 1] = np.inf


def other_shape(adata):
    adata.uns["W_18"] = np.ones((5, 4))
    del adata.varp["W_18"]


def table_without_a_gene(adata):
    as_tables(adata)
    adata.uns["W_18"] = adata.uns["W_18"].drop(index="Gcg")


def twice(adata):
    adata.var_names = [*GENES[:5], "Gcg"]


def without(slot, key):
    return lambda adata: getattr(adata, slot).__delitem__(key)


def with_column(key, value):
    return lambda adata: put(adata, "var", key, value)


REFUSED = {
    "no threshold": (
        without("var", "sigmoid_threshold"),
        MissingKeyError,
        r"`adata\.var\['sigmoid_threshold'\]` does not exist.*fit_all_sigmoids.*hopfield\.fit\(adata\)",
    ),
    "no used": (without("var", "scHopfield_used"), MissingKeyError, r"'scHopfield_used'\]` does not exist"),
    "used is not a mask": (
        with_column("scHopfield_used", np.arange(6)),
        ValueError,
        r"'scHopfield_used'\]` must be True.*\['0.0', '1.0', '2.0', .*isin\(genes\)",
    ),
    "nothing used": (with_column("scHopfield_used", False), ValueError, r"must be True.*holds \['0\.0'\]"),
    "no such column": (
        lambda a: a.obs.rename(columns={"cell_type": "celltype"}, inplace=True),
        MissingKeyError,
        r"`adata\.obs\['cell_type'\]` does not exist.*Did you mean 'celltype'\?.*cluster_key=",
    ),
    "NaN label": (
        one_nan_label,
        ValueError,
        r"`adata\.obs\['cell_type'\]` is missing for 1 cells; first: \['c4'\].*notna\(\)\]\.copy\(\)",
    ),
    "labels equal as text": (
        labels_equal_as_text,
        ValueError,
        r"equal as text: \['18'\].*\.astype\(str\)",
    ),
    "no W": (
        without("varp", "W_18"),
        MissingKeyError,
        r"Cluster '18' has no matrix `adata\.varp\['W_18'\]`\. Clusters with one: \['CD4/CD8'\].*hopfield\.fit",
    ),
    "W of another shape": (
        other_shape,
        ValueError,
        r"`adata\.uns\['W_18'\]` has shape \(5, 4\), but must be \(6, 6\), all genes, or \(4, 4\)",
    ),
    "table without a gene": (
        table_without_a_gene,
        ValueError,
        r"`adata\.uns\['W_18'\]` has no row and column for 1 modelled genes: \['Gcg'\].*\(3, 4\); 4 genes",
    ),
    "W infinite": (
        one_bad_w,
        ValueError,
        r"'W_18'\]` holds 1 values that are NaN or infinite; first: target 'Gcg', regulator 'H2-K1/K2'",
    ),
    "no gamma": (
        without("var", "gamma"),
        MissingKeyError,
        r"cluster '18': looked for `adata\.var\['gamma_18'\]`, then `adata\.var\['gamma'\]`.*hopfield\.velocity",
    ),
    "gamma all zero": (with_column("gamma", 0.0), ValueError, r"'gamma'\]` is 0 for all 4 modelled genes"),
    "gamma of a cluster negative": (
        with_column("gamma_18", [0.1, -0.1, 1, 1, 1, 1]),
        ValueError,
        r"`adata\.var\['gamma_18'\]` is negative for 1 genes: \['H2-K1/K2'\]",
    ),
    "gamma NaN": (
        with_column("gamma", [1, 1, np.nan, np.nan, 1, 1]),
        ValueError,
        r"'gamma'\]` holds 1 values.*\['Sox9'\]",
    ),
    "bias NaN": (with_column("I_18", [np.nan] + [0.0] * 5), ValueError, r"'I_18'\]` holds 1.*\['Neurog3'\]"),
    "threshold 0": (
        with_column("sigmoid_threshold", [1, 0, 0, 1, 1, 0]),
        ValueError,
        r"`threshold` must be positive, but is not for 1 genes: \['H2-K1/K2'\]",
    ),
    "exponent negative": (
        with_column("sigmoid_exponent", [1, 1, 0, -1, 1, 0]),
        ValueError,
        r"`exponent` must be positive, but is not for 1 genes: \['Sox9'\]",
    ),
    "threshold is text": (
        with_column("sigmoid_threshold", "high"),
        TypeError,
        r"`adata\.var\['sigmoid_threshold'\]` has type object, but must be numeric",
    ),
    "doubled genes": (twice, ValueError, r"adata\.var_names has 1 duplicated names: \['Gcg'\].*make_unique"),
}


@pytest.mark.parametrize("case", REFUSED)
def test_refusals(case):
    change, kind, text = REFUSED[case]
    adata = fitted()
    change(adata)
    with pytest.raises(kind, match=text):
        hopfield.from_original(adata)


def test_no_clusters_named():
    with pytest.raises(ValueError, match="`clusters` is empty"):
        hopfield.from_original(fitted(), clusters=[])


def test_field_of_prefers_what_was_fitted_here():
    adata = fitted()
    theirs = original.field_of(adata)
    assert theirs.fingerprint == hopfield.from_original(adata).fingerprint
    adata.uns["mine"] = hopfield.from_original(adata, clusters=["18"]).to_uns()
    assert original.field_of(adata, "mine").clusters == ("18",)
    assert original.field_of(adata).fingerprint == theirs.fingerprint


def test_field_of_names_both_ways():
    adata = fitted()
    bare = anndata.AnnData(adata.X, obs=adata.obs, uns={"pca": {}})
    text = (
        r"neither `adata\.uns\['hopfield'\]`, nor.*'sigmoid_threshold'.*W_<cluster>.*\['pca'\].*hopfield\.fit"
    )
    with pytest.raises(MissingKeyError, match=text):
        original.field_of(bare)
    bare.var["sigmoid_threshold"] = 1.0  # half of the original's slots: the rest is asked for by name
    with pytest.raises(MissingKeyError, match="'scHopfield_used'"):
        original.field_of(bare)
