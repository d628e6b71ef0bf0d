"""Malformed input: every public call refuses it before any decomposition or fit, and says what to do."""

import subprocess
import sys
import warnings

import numpy as np
import pandas as pd
import pytest

from scmods import MissingKeyError, NumericalWarning, PerformanceWarning, hopfield
from scmods.hopfield import Field, stream

CALLS = ["jacobians", "rotational", "elements", "energies", "knock_outs", "nonnormality", "reconstruct"]
CALLS += ["ranking", "sensitivity", "elasticities", "response"]
FITS = ["fit", "intervals", "halves"]
READS_MS = [*CALLS, *FITS, "hill"]
MIXED = r"`adata\.layers\['Ms'\]`"


@pytest.fixture
def adata(cases):
    """Fitted cells."""
    return cases.make()


@pytest.fixture
def theirs(cases):
    """Cells with the slots of the original."""
    return cases.make_original()


def at(adata, gene):
    return adata.var_names.get_loc(gene)


# values of the layers


@pytest.mark.parametrize("value", [np.nan, np.inf], ids=str)
@pytest.mark.parametrize("call", READS_MS)
def test_a_value_that_is_not_finite(cases, adata, call, value):
    adata.layers["Ms"][[3, 9], [at(adata, "Sox9"), at(adata, "Gcg")]] = value
    text = (
        MIXED
        + r" holds 2 values that are NaN or infinite; first: gene 'Sox9', cell 'cell3'.*hopfield\.moments"
    )
    with pytest.raises(ValueError, match=text):
        getattr(cases, call)(adata)


@pytest.mark.parametrize("call", READS_MS)
def test_expression_that_was_centred(cases, adata, call):
    adata.layers["Ms"] -= 5.0
    adata.layers["Ms"][4, at(adata, "Gcg")] = -7.5
    text = (
        MIXED
        + r" holds \d+ negative values; the lowest is -7\.5, gene 'Gcg'.*do not centre.*hopfield\.moments"
    )
    with pytest.raises(ValueError, match=text):
        getattr(cases, call)(adata)


@pytest.mark.parametrize("value", [np.nan, -3.0], ids=str)
@pytest.mark.parametrize("function", [hopfield.moments, hopfield.velocity], ids=lambda f: f.__name__)
@pytest.mark.parametrize("which", ["spliced", "unspliced"])
def test_counts_that_cannot_be(adata, function, which, value):
    layer = which if function is hopfield.moments else {"spliced": "Ms", "unspliced": "Mu"}[which]
    adata.layers[layer][3, at(adata, "Sox9")] = value
    what = "NaN or infinite" if np.isnan(value) else "negative"
    with pytest.raises(ValueError, match=rf"`adata\.layers\['{layer}'\]` holds 1 .*{what}.*'Sox9'"):
        function(adata)


@pytest.mark.parametrize("call", READS_MS)
def test_a_layer_that_is_not_there(cases, adata, call):
    del adata.layers["Ms"]
    text = MIXED + r" does not exist\. Available: \['spliced', 'unspliced', 'Mu', 'velocity'\]"
    with pytest.raises(MissingKeyError, match=text):
        getattr(cases, call)(adata)


def test_a_velocity_that_is_not_finite(cases, adata):
    adata.layers["velocity"][5, at(adata, "Pdx1")] = np.nan
    text = r"`adata\.layers\['velocity'\]` holds 1 values that are NaN or infinite.*gene 'Pdx1', cell 'cell5'"
    for call in (cases.fit, cases.reconstruct):
        with pytest.raises(ValueError, match=text):
            call(adata)


def test_logged_expression_beside_the_velocity_of_counts(cases, adata):
    for layer in ("Ms", "velocity"):
        adata.layers[layer] *= 20
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        cases.fit(adata)
    adata.layers["Ms"] = np.log1p(adata.layers["Ms"])
    with pytest.warns(NumericalWarning, match=r"`adata\.layers\['Ms'\]` looks logged.*belongs to counts.*Ms"):
        cases.fit(adata)


def test_a_velocity_that_says_nothing(cases, adata):
    for value, text in (
        (0.0, "is 0 for each of the 6"),
        (2.5, "is the same in every cell for each of the 6"),
    ):
        adata.layers["velocity"][:] = value
        with pytest.raises(ValueError, match=text + r".*nothing to fit.*hopfield\.velocity"):
            cases.fit(adata)
    adata.layers["Mu"] = adata.layers["Ms"].copy()
    with pytest.raises(ValueError, match=r"The velocity is 0 in every cell and gene.*the same layer"):
        hopfield.velocity(adata)


def test_the_process_survives_values_that_would_end_it():
    code = """
import numpy as np, anndata
from scmods import hopfield
for value in (np.nan, -1.0, np.inf):
    x = np.random.default_rng(0).uniform(1, 2, (20, 3))
    adata = anndata.AnnData(x, layers={"Ms": x})
    one, row = np.ones(3), np.ones((1, 3))
    field = hopfield.Field(("0", "1", "2"), ("all",), [0, 1, 2], np.ones((1, 3, 3)), row, row, one, one)
    adata.uns["hopfield"] = field.to_uns()
    adata.layers["Ms"][7, 2] = value
    try:
        hopfield.compute_jacobians(adata, cluster_key=None)
    except ValueError as error:
        print("refused", error)
"""
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert run.returncode == 0, run.stderr
    assert run.stdout.count("refused") == 3


# Hill functions and rates


@pytest.mark.parametrize("name", ["threshold", "exponent"])
def test_hill_functions_that_cannot_be(cases, adata, theirs, name):
    adata.var.loc["Gcg", f"hopfield_{name}"] = 0.0
    text = rf"'hopfield_{name}'\]` is not positive for 1 modelled genes: \['Gcg'\].*hopfield\.fit_hill"
    with pytest.raises(ValueError, match=text):
        cases.fit(adata)
    adata.var.loc["Ins1", f"hopfield_{name}"] = np.nan
    with pytest.raises(
        ValueError, match=rf"'hopfield_{name}'\]` is NaN or infinite for 1 of 6.*\['Ins1'\].*fit_hill"
    ):
        cases.fit(adata)
    del adata.var[f"hopfield_{name}"]
    with pytest.raises(
        MissingKeyError, match=rf"'hopfield_{name}'\]` does not exist.*hopfield\.fit_hill\(adata\)"
    ):
        cases.fit(adata)
    theirs.var["scHopfield_used"] = True  # the original writes 0 for genes that are not modelled
    text = rf"`{name}` must be positive, but is not for 1 genes: \['extra'\]"
    if name == "threshold":
        with pytest.raises(ValueError, match=text):
            cases.jacobians(theirs)


@pytest.mark.parametrize("call", CALLS)
def test_an_infinite_slope(cases, adata, call):
    adata.uns["hopfield"] = cases.make_field(exponent=0.7).to_uns()
    function = getattr(cases, call)
    function(adata)
    adata.layers["Ms"][2, at(adata, "Gcg")] = 0.0  # does not regulate
    function(adata)
    adata.layers["Ms"][2, at(adata, "Sox9")] = 0.0
    with pytest.raises(ValueError, match=r"exponent below 1 are 0 in some cells.*\['Sox9'\].*x_floor=1e-3"):
        function(adata)
    assert np.isfinite(function(adata, x_floor=1e-3)).all()


def test_rates_that_cannot_be(cases, adata):
    good = adata.var["gamma"].copy()
    for value, text in (
        (0.0, r"'gamma'\]` is 0 for every modelled gene.*hopfield\.velocity"),
        (-good, r"'gamma'\]` is negative for 6 modelled genes: \['Pdx1', 'Ins1', 'Gcg', \.\.\. 3 more\]"),
        (good.where(good < 0.8), r"'gamma'\]` is NaN or infinite for 1 of 6 modelled genes: \['Neurog3'\]"),
    ):
        adata.var["gamma"] = value
        with pytest.raises(ValueError, match=text):
            cases.fit(adata)
    del adata.var["gamma"]
    with pytest.raises(
        MissingKeyError, match=r"`adata\.var\['gamma'\]` does not exist.*hopfield\.velocity\(adata\)"
    ):
        cases.fit(adata)


def test_rates_of_the_original(cases, theirs):
    theirs.var["gamma_18"] = 0.0
    with pytest.raises(ValueError, match=r"'gamma_18'\]` is 0 for all 6 modelled genes"):
        cases.jacobians(theirs)
    del theirs.var["gamma_18"], theirs.var["gamma"]
    text = r"cluster '18': looked for `adata\.var\['gamma_18'\]`, then `adata\.var\['gamma'\]`"
    for call in (cases.jacobians, cases.rotational, cases.elements):
        with pytest.raises(MissingKeyError, match=text):
            call(theirs)


# clusters


@pytest.mark.parametrize("call", [*CALLS, *FITS])
def test_labels_that_are_missing(cases, adata, call):
    adata.obs.loc[["cell3", "cell8"], "cell_type"] = np.nan
    text = r"`adata\.obs\['cell_type'\]` is missing for 2 cells; first: \['cell3', 'cell8'\].*notna\(\)\]\.copy\(\)"
    with pytest.raises(ValueError, match=text):
        getattr(cases, call)(adata)
    adata.obs.rename(columns={"cell_type": "celltype"}, inplace=True)
    text = r"`adata\.obs\['cell_type'\]` does not exist.*Did you mean 'celltype'\?.*cluster_key="
    with pytest.raises(MissingKeyError, match=text):
        getattr(cases, call)(adata)


@pytest.mark.parametrize("call", CALLS)
def test_a_cluster_without_a_field(cases, adata, call):
    adata.obs["cell_type"] = adata.obs["cell_type"].cat.rename_categories({"18": "Beta"})
    text = r"Clusters without a fitted field: \['Beta'\]\. Fitted: \['CD4/CD8', '18', 'T cell \(naïve\)'\].*cluster_key"
    with pytest.raises(ValueError, match=text):
        getattr(cases, call)(adata)


def test_a_cluster_without_a_matrix(cases, theirs):
    del theirs.varp["W_18"]
    text = r"Cluster '18' has no matrix `adata\.varp\['W_18'\]`\. Clusters with one: \['CD4/CD8', 'T cell \(naïve\)'\]"
    for call in (cases.jacobians, cases.rotational, cases.elements):
        with pytest.raises(MissingKeyError, match=text):
            call(theirs)


def test_labels_that_are_equal_as_text(cases, adata, theirs):
    for one in (adata, theirs):
        one.obs["cell_type"] = np.resize(np.array([18, "18"], dtype=object), one.n_obs)
    with pytest.raises(ValueError, match=r"holds 2 labels, but as text only 1 differ: \['18'\]. Rename"):
        cases.fit(adata)
    with pytest.raises(ValueError, match=r"equal as text: \['18'\]"):
        cases.jacobians(theirs)


def test_few_cells(cases, adata):
    few = np.flatnonzero(adata.obs["cell_type"] == "18")[2:]
    adata = adata[np.setdiff1d(np.arange(adata.n_obs), few)].copy()
    with pytest.warns(NumericalWarning, match=r"no more cells than the 3 regulators: .*18.*2.*pooled=0\.5"):
        cases.fit(adata)
    with pytest.raises(ValueError, match=r"[Ll]east squares.*(ridge|method)"):
        cases.fit(adata, method="least_squares")


# genes


@pytest.mark.parametrize("call", [*CALLS, *FITS])
def test_names_that_occur_twice(cases, adata, call):
    adata.var_names = ["Gcg", *adata.var_names[1:]]
    with pytest.raises(
        ValueError, match=r"adata\.var_names has 1 duplicated names: \['Gcg'\].*var_names_make_unique"
    ):
        getattr(cases, call)(adata)


@pytest.mark.parametrize("call", CALLS)
def test_genes_that_are_gone(cases, adata, call):
    adata = adata[:, ["extra", "Neurog3", "Gcg", "Ins1", "Pdx1"]].copy()
    text = r"2 of 6 genes of the field are not in `adata\.var_names`: \['H2-K1/K2', 'Sox9'\].*hopfield\.fit\(adata\)"
    with pytest.raises(MissingKeyError, match=text):
        getattr(cases, call)(adata)


def test_matrices_of_another_shape(cases, theirs):
    theirs.uns["W_18"] = theirs.varp.pop("W_18")[:5, :5]
    with pytest.raises(
        ValueError, match=r"has shape \(5, 5\), but must be \(7, 7\), all genes, or \(6, 6\), the modelled"
    ):
        cases.jacobians(theirs)


@pytest.mark.parametrize(
    ("pairs", "kind", "text"),
    [
        ([("Ins1", "sox9")], MissingKeyError, r"'sox9'.*Did you mean 'Sox9'\?"),
        (
            [("extra", "Sox9")],
            MissingKeyError,
            r"'extra' is in `adata\.var_names`, but not among the 6 modelled genes.*keep=",
        ),
        ([("Ins1", "Sox9", "Gcg")], (ValueError, TypeError), r"\('Ins1', 'Sox9', 'Gcg'\).*pair"),
        (["Ins1"], (ValueError, TypeError), r"'Ins1'.*pair"),
        ([], ValueError, r"`gene_pairs`.*empty|no pair"),
    ],
    ids=["misspelt", "not modelled", "three", "a name", "none"],
)
def test_pairs_that_cannot_be(adata, pairs, kind, text):
    with pytest.raises(kind, match=text):
        hopfield.compute_jacobian_elements(adata, pairs)


def test_regulators_and_edges_that_cannot_be(cases, adata):
    with pytest.raises(MissingKeyError, match=r"'sox9'.*Did you mean 'Sox9'\?"):
        cases.fit(adata, regulators=["sox9"])
    with pytest.raises((MissingKeyError, ValueError), match=r"'extra'.*modelled"):
        cases.fit(adata, regulators=["extra"])
    with pytest.raises(MissingKeyError, match=r"'sox9'.*Did you mean 'Sox9'\?"):
        cases.fit(adata, regulators=None, edges=[("sox9", "Gcg")])


# device, memory, files


@pytest.mark.parametrize("call", ["jacobians", "rotational", "elements"])
def test_a_device_that_is_not_there(cases, adata, call, monkeypatch):
    monkeypatch.setattr("torch.cuda.is_available", lambda: False)
    function = getattr(cases, call)
    with pytest.warns(
        NumericalWarning, match="no device 'cuda' on this machine; computing on the CPU"
    ) as seen:
        found = function(adata, device="cuda")
    assert len(seen) == 1
    np.testing.assert_array_equal(found, function(cases.make()))


def test_eigenvectors_that_need_much_memory(adata, monkeypatch):
    monkeypatch.setattr(stream, "BIG", 1000.0)
    with pytest.warns(PerformanceWarning, match=r"42 cells, 6 x 6 complex.*GB.*filename=.*n_vectors=2"):
        hopfield.compute_jacobians(adata, compute_eigenvectors=True)


def test_files_of_other_cells_and_genes(cases, adata, tmp_path):
    path = tmp_path / "j.h5"
    hopfield.compute_jacobians(adata)
    hopfield.save_jacobians(adata, path)
    expected = adata.obsm["jacobian_eigenvalues"].copy()
    order = np.random.default_rng(0).permutation(adata.n_obs)
    mixed = cases.make()[order].copy()
    hopfield.load_jacobians(mixed, path)
    np.testing.assert_array_equal(mixed.obsm["jacobian_eigenvalues"], expected[order])
    with pytest.raises(
        ValueError, match=r"'j\.h5' has 42 cells, `adata` has 40.*2 of the file.*'cell40', 'cell41'"
    ):
        hopfield.load_jacobians(cases.make()[:40].copy(), path)
    other = cases.make()
    other.obs_names = ["stranger", *other.obs_names[1:]]
    with pytest.raises(ValueError, match=r"1 of `adata` are not in the file: \['stranger'\].*compute again"):
        hopfield.load_jacobians(other, path)
    fewer = cases.make()
    del fewer.uns["hopfield"]
    with pytest.raises(ValueError, match=r"1 of 6 genes of 'j\.h5' are not in `adata\.var_names`: \['Gcg'\]"):
        hopfield.load_jacobians(fewer[:, fewer.var_names != "Gcg"].copy(), path)
    changed = cases.make()
    changed.uns["hopfield"]["interactions"][0, 0, 0] += 1
    with pytest.raises(
        ValueError, match=r"computed with the field .*the interactions, rates or Hill functions differ"
    ):
        hopfield.load_jacobians(changed, path)


def test_what_was_not_computed_yet(adata, tmp_path):
    for call in (
        lambda: hopfield.save_jacobians(adata, tmp_path / "j.h5"),
        lambda: hopfield.compute_jacobian_stats(adata),
    ):
        with pytest.raises(
            MissingKeyError, match=r"'jacobian_eigenvalues'\]` does not exist.*compute_jacobians\(adata\)"
        ):
            call()
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("call", CALLS)
def test_there_is_no_field(cases, adata, call):
    del adata.uns["hopfield"]
    with pytest.raises(MissingKeyError, match=r"adata\.uns\['hopfield'\]`.*hopfield\.fit\(adata\)"):
        getattr(cases, call)(adata)


def test_a_field_that_was_damaged(cases, adata):
    adata.uns["hopfield"]["interactions"][0, 2, 1] = np.nan
    for call in CALLS:
        with pytest.raises(ValueError, match=r"`interactions` of the field holds 1 values.*\['Sox9'\]"):
            getattr(cases, call)(adata)


def test_the_data_of_these_tests_are_sound(cases, adata, theirs):
    assert cases.make_field().fingerprint == Field.of(adata).fingerprint
    for call in CALLS:
        assert np.isfinite(getattr(cases, call)(cases.make())).all(), call
    for call in ("jacobians", "rotational", "elements"):
        np.testing.assert_allclose(getattr(cases, call)(theirs), getattr(cases, call)(adata), rtol=1e-12)
    assert isinstance(adata.obs, pd.DataFrame)
