"""The original's functions on AnnData: values, forms of input, slots, refusals, and that nothing ends the process."""

import subprocess
import sys
from pathlib import Path

import anndata as ad
import numpy as np
import pytest
from scipy import sparse

from scmods import hopfield
from scmods._checks import MissingKeyError, PerformanceWarning
from scmods.hopfield import stream
from scmods.hopfield.field import Field

DATA = Path(__file__).parents[1] / "data" / "hopfield_small.npz"
REFERENCE = dict(np.load(DATA))
CLUSTERS = ("CD4/CD8", "T cell (naïve)")
GENES = [*REFERENCE["gene_names"][:-1].tolist(), "HLA-A/B"]
PAIRS = [(GENES[i], GENES[j]) for i, j in REFERENCE["pairs"]]


def field():
    regs = np.flatnonzero((REFERENCE["W"] != 0).any((0, 1)))
    rest = (REFERENCE[k] for k in ("gamma", "bias", "threshold", "exponent"))
    return Field(tuple(GENES), CLUSTERS, regs, REFERENCE["W"][:, :, regs], *rest)


def small(form=np.asarray, *, extra=True):
    """The reference cells, two genes more that are not modelled, genes in another order than the field's."""
    x = np.hstack([REFERENCE["X"], np.full((5, 2), 7.0)]) if extra else REFERENCE["X"]
    names = [*GENES, "Other1", "Other2"] if extra else GENES
    order = np.random.default_rng(0).permutation(len(names))
    adata = ad.AnnData(np.zeros_like(x), layers={"Ms": form(x[:, order])})
    adata.var_names = [names[i] for i in order]
    adata.obs_names = [f"cell{i}" for i in range(5)]
    adata.obs["cell_type"] = np.array(CLUSTERS, dtype=object)[REFERENCE["cluster"]]
    adata.uns["hopfield"] = field().to_uns()
    return adata


def check_columns(obs):
    close = {"rtol": 0, "atol": 1e-10}
    np.testing.assert_allclose(obs["jacobian_eig1_real"], REFERENCE["leading"].real, **close)
    np.testing.assert_allclose(obs["jacobian_eig1_imag"], abs(REFERENCE["leading"].imag), **close)
    np.testing.assert_allclose(obs["jacobian_trace"], REFERENCE["trace"], **close)
    assert obs["jacobian_positive_evals"].tolist() == REFERENCE["positive_evals"].tolist()
    assert obs["jacobian_negative_evals"].tolist() == REFERENCE["negative_evals"].tolist()


@pytest.mark.parametrize("form", [np.asarray, np.asfortranarray, sparse.csr_matrix, sparse.csc_matrix])
def test_every_reference_value_in_every_form(form):
    adata = small(form)
    assert hopfield.compute_jacobians(adata) is None
    values = adata.obsm["jacobian_eigenvalues"]
    assert values.dtype == np.complex128
    np.testing.assert_allclose(values, REFERENCE["eigenvalues"], rtol=0, atol=1e-10)
    check_columns(adata.obs)
    norm = np.linalg.norm(REFERENCE["J"], axis=(1, 2))
    np.testing.assert_allclose(adata.obs["hopfield_jacobian_norm"], norm, rtol=1e-12)
    hopfield.compute_rotational_part(adata)
    np.testing.assert_allclose(adata.obs["jacobian_rotational"], REFERENCE["rotational"], rtol=0, atol=1e-10)
    hopfield.compute_jacobian_elements(adata, PAIRS)
    for (i, j), truth in zip(PAIRS, REFERENCE["elements"].T, strict=True):
        np.testing.assert_allclose(adata.obs[f"jacobian_df_{i}_dx_{j}"], truth, rtol=0, atol=1e-10)


def test_views_float32_and_blocks_give_the_same():
    big = ad.concat([small(), small()], index_unique="-")
    big.uns["hopfield"] = field().to_uns()
    view = big[5:]
    hopfield.compute_jacobians(view, block_size=2)
    np.testing.assert_allclose(
        view.obsm["jacobian_eigenvalues"], REFERENCE["eigenvalues"], rtol=0, atol=1e-10
    )
    hopfield.compute_rotational_part(big, block_size=3)
    np.testing.assert_allclose(
        big.obs["jacobian_rotational"], np.tile(REFERENCE["rotational"], 2), rtol=0, atol=1e-10
    )
    single = small(lambda x: x.astype(np.float32))
    hopfield.compute_jacobians(single)
    np.testing.assert_allclose(
        single.obsm["jacobian_eigenvalues"], REFERENCE["eigenvalues"], rtol=1e-5, atol=1e-5
    )


def test_copy_leaves_the_original_alone():
    adata = small()
    before = set(adata.obs), set(adata.obsm), set(adata.uns)
    for out in (
        hopfield.compute_jacobians(adata, copy=True),
        hopfield.compute_rotational_part(adata, copy=True),
        hopfield.compute_jacobian_elements(adata, PAIRS, copy=True),
    ):
        assert set(out.obs) > before[0]
    assert (set(adata.obs), set(adata.obsm), set(adata.uns)) == before


def test_keep_bounds_what_is_stored():
    adata = small()
    hopfield.compute_jacobians(adata, keep=3)
    np.testing.assert_allclose(
        adata.obsm["jacobian_eigenvalues"], REFERENCE["eigenvalues"][:, :3], rtol=0, atol=1e-10
    )
    with pytest.raises(ValueError, match="holds 3 leading eigenvalues of 12"):
        hopfield.compute_jacobian_stats(adata)
    hopfield.compute_jacobians(adata, keep="leading")
    assert "jacobian_eigenvalues" not in adata.obsm
    check_columns(adata.obs)
    with pytest.raises(ValueError, match="`keep` is 'al', but must be one of .* Did you mean 'all'"):
        hopfield.compute_jacobians(adata, keep="al")
    with pytest.raises(ValueError, match="`keep` is 13, but must be at least 1 and at most 12"):
        hopfield.compute_jacobians(adata, keep=13)


def test_vectors_in_memory_solve_the_eigenvalue_equation():
    adata = small()
    hopfield.compute_jacobians(adata, compute_eigenvectors=True)
    vectors, values = adata.uns["jacobian_eigenvectors_temp"]["data"], adata.obsm["jacobian_eigenvalues"]
    np.testing.assert_allclose(values, REFERENCE["eigenvalues"], rtol=0, atol=1e-10)
    np.testing.assert_allclose(REFERENCE["J"] @ vectors, vectors * values[:, None], rtol=0, atol=1e-10)
    few = hopfield.compute_jacobians(adata, compute_eigenvectors=True, n_vectors=2, copy=True)
    np.testing.assert_allclose(few.uns["jacobian_eigenvectors_temp"]["data"], vectors[:, :, :2], atol=1e-12)
    with pytest.raises(ValueError, match="no eigenvectors were asked for. Add compute_eigenvectors=True"):
        hopfield.compute_jacobians(adata, n_vectors=2)
    hopfield.compute_jacobians(adata)  # none asked for: those of the earlier call would not be its own
    assert "jacobian_eigenvectors_temp" not in adata.uns


def test_large_vectors_are_announced(monkeypatch):
    monkeypatch.setattr(stream, "BIG", 1000.0)
    with pytest.warns(PerformanceWarning, match=r"5 cells, 12 x 12 .* take 0.0 GB. Stream them: filename="):
        hopfield.compute_jacobians(small(), compute_eigenvectors=True)


def test_stats_come_from_obsm_with_rotation():
    adata = small()
    hopfield.compute_jacobians(adata)
    table = hopfield.compute_jacobian_stats(adata, store_in_obs=False)
    check_columns(table)
    np.testing.assert_allclose(table["jacobian_rotational"], REFERENCE["rotational"], rtol=0, atol=1e-10)
    out = hopfield.compute_jacobian_stats(adata, copy=True)
    assert "jacobian_rotational" in out.obs
    assert "jacobian_rotational" not in adata.obs
    changed = field().to_uns()
    changed["interactions"] = changed["interactions"] * 2
    adata.uns["hopfield"] = changed  # the rotation of another field would not belong to these eigenvalues
    assert "jacobian_rotational" not in hopfield.compute_jacobian_stats(adata, store_in_obs=False)


def test_stats_of_the_original_s_unordered_values():
    adata = small()
    mixed = np.random.default_rng(1).permuted(REFERENCE["eigenvalues"], axis=1).astype(np.complex64)
    adata.obsm["jacobian_eigenvalues"] = mixed
    table = hopfield.compute_jacobian_stats(adata, store_in_obs=False)
    np.testing.assert_allclose(table["jacobian_eig1_real"], REFERENCE["leading"].real, rtol=1e-6)
    assert table["jacobian_positive_evals"].tolist() == REFERENCE["positive_evals"].tolist()


def test_stats_without_anything_to_read():
    with pytest.raises(MissingKeyError, match=r"obsm\['jacobian_eigenvalues'\].* or name a file: filename="):
        hopfield.compute_jacobian_stats(small())


def test_elements_as_table_with_the_diagonal_and_genes_that_do_not_regulate():
    adata = small()
    pairs = [(i, j) for i in GENES for j in GENES]
    table = hopfield.compute_jacobian_elements(adata, pairs, store_in_obs=False)
    assert table.columns.names == ["target", "regulator"]
    np.testing.assert_allclose(table.to_numpy().reshape(5, 12, 12), REFERENCE["J"], rtol=0, atol=1e-10)
    assert not [c for c in adata.obs if c.startswith("jacobian")]


def test_elements_survive_names_with_a_slash(tmp_path):
    adata = small()
    hopfield.compute_jacobian_elements(adata, [("HLA-A/B", GENES[7])])
    column = f"jacobian_df_HLA-A|B_dx_{GENES[7]}"
    np.testing.assert_allclose(adata.obs[column], REFERENCE["J"][:, 11, 7], rtol=0, atol=1e-10)
    adata.write_h5ad(tmp_path / "a.h5ad")
    np.testing.assert_array_equal(ad.read_h5ad(tmp_path / "a.h5ad").obs[column], adata.obs[column])


@pytest.mark.parametrize(
    ("pairs", "kind", "message"),
    [
        ([], ValueError, "`gene_pairs` is empty"),
        ("ab", TypeError, "holds 'ab', but each entry must be a pair of two names"),
        ((GENES[0], GENES[1]), TypeError, "each entry must be a pair of two names"),
        ([(GENES[0], GENES[1], GENES[2])], TypeError, "must be a pair of two names"),
        ([(GENES[0], GENES[1] + "x")], MissingKeyError, f"Did you mean '{GENES[1]}'"),
        (
            [(GENES[0], "Other1")],
            MissingKeyError,
            "is in `adata.var_names`, but not among the 12 modelled genes",
        ),
    ],
)
def test_pairs_that_are_not_pairs_of_modelled_genes(pairs, kind, message):
    with pytest.raises(kind, match=message):
        hopfield.compute_jacobian_elements(small(), pairs)


def test_pairs_that_would_share_a_column():
    adata = small(extra=False)
    other = field().to_uns()
    other["genes"][0] = "HLA-A|B"
    adata.var_names = [{GENES[0]: "HLA-A|B"}.get(n, n) for n in adata.var_names]
    adata.uns["hopfield"] = other
    pairs = [("HLA-A/B", GENES[2]), ("HLA-A|B", GENES[2])]
    with pytest.raises(
        ValueError, match="would share the column 'jacobian_df_HLA-A.B_dx_.* store_in_obs=False"
    ):
        hopfield.compute_jacobian_elements(adata, pairs)
    assert hopfield.compute_jacobian_elements(adata, pairs, store_in_obs=False).shape == (5, 2)


def test_many_pairs_do_not_fragment_the_table(recwarn):
    adata = small()
    hopfield.compute_jacobian_elements(adata, [(i, j) for i in GENES for j in GENES])
    assert len([c for c in adata.obs if c.startswith("jacobian_df")]) == 144
    assert not [w for w in recwarn if "fragmented" in str(w.message)]


def test_h5ad_round_trip(tmp_path):
    adata = small()
    hopfield.compute_jacobians(adata, compute_eigenvectors=True, n_vectors=1)
    hopfield.compute_rotational_part(adata)
    adata.write_h5ad(tmp_path / "a.h5ad")
    back = ad.read_h5ad(tmp_path / "a.h5ad")
    np.testing.assert_array_equal(back.obsm["jacobian_eigenvalues"], adata.obsm["jacobian_eigenvalues"])
    vectors = back.uns["jacobian_eigenvectors_temp"]["data"]
    np.testing.assert_array_equal(vectors, adata.uns["jacobian_eigenvectors_temp"]["data"])
    del back.obs["jacobian_rotational"]
    hopfield.compute_jacobian_stats(back)
    check_columns(back.obs)
    np.testing.assert_allclose(back.obs["jacobian_rotational"], REFERENCE["rotational"], rtol=0, atol=1e-10)


def test_a_field_without_clusters_needs_no_labels(tmp_path):
    adata = small()
    one = field().to_uns()
    for name in ("interactions", "degradation", "bias"):
        one[name] = one[name][:1]
    one["clusters"] = one["clusters"][:1]
    adata.uns["hopfield"] = one
    hopfield.compute_jacobians(adata, cluster_key=None)
    first = REFERENCE["cluster"] == 0
    np.testing.assert_allclose(
        adata.obsm["jacobian_eigenvalues"][first], REFERENCE["eigenvalues"][first], rtol=0, atol=1e-10
    )
    hopfield.compute_jacobian_stats(adata)
    np.testing.assert_allclose(
        adata.obs["jacobian_rotational"][first], REFERENCE["rotational"][first], rtol=0, atol=1e-10
    )
    adata.write_h5ad(tmp_path / "a.h5ad")


def test_exponents_below_one_need_a_floor():
    adata, steep = small(), field().to_uns()
    steep["exponent"][steep["regulators"]] = 0.5
    adata.uns["hopfield"] = steep
    with pytest.raises(ValueError, match="exponent below 1 are 0 in some cells"):
        hopfield.compute_jacobians(adata)
    hopfield.compute_jacobians(adata, x_floor=1e-3)
    assert np.isfinite(adata.obsm["jacobian_eigenvalues"]).all()


def test_a_missing_device_is_said_and_the_cpu_used():
    import torch

    if torch.cuda.is_available():
        pytest.skip("this machine has the device")
    adata = small()
    with pytest.warns(UserWarning, match="no device 'cuda'"):
        hopfield.compute_rotational_part(adata, device="cuda")
    np.testing.assert_allclose(adata.obs["jacobian_rotational"], REFERENCE["rotational"], rtol=0, atol=1e-10)


def test_block_size_is_checked():
    for call in (hopfield.compute_jacobians, hopfield.compute_rotational_part):
        with pytest.raises(ValueError, match="`block_size` is 0, but must be at least 1"):
            call(small(), block_size=0)


PROCESS = """
import sys
import numpy as np
sys.path.insert(0, {folder!r})
from test_jacobians import small
from scmods import hopfield
for bad, word in ((np.nan, "NaN"), (np.inf, "NaN"), (-1.0, "negative")):
    adata = small()
    adata.layers["Ms"][2, 3] = bad
    for vectors in (False, True):
        try:
            hopfield.compute_jacobians(adata, compute_eigenvectors=vectors)
        except ValueError as error:
            print("refused", word in str(error))
print("alive")
"""


def test_bad_expression_does_not_end_the_process():
    code = PROCESS.format(folder=str(Path(__file__).parent))
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert run.returncode == 0, run.stderr
    assert run.stdout.split("\n")[:-1] == ["refused True"] * 6 + ["alive"]
