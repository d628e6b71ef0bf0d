"""Files of Jacobians: same values as in memory, aligned by name, refused where they do not belong."""

from pathlib import Path

import anndata as ad
import h5py
import numpy as np
import pytest

from scmods import hopfield
from scmods._checks import MissingKeyError, NumericalWarning, PerformanceWarning
from scmods.hopfield import stream
from scmods.hopfield.field import Field

REFERENCE = dict(np.load(Path(__file__).parents[1] / "data" / "hopfield_small.npz"))
CLUSTERS = ("CD4/CD8", "T cell (naïve)")
GENES = REFERENCE["gene_names"].tolist()
ENDINGS = ["h5", "zarr"]


def field(scale=1.0):
    regs = np.flatnonzero((REFERENCE["W"] != 0).any((0, 1)))
    rest = (REFERENCE[k] for k in ("gamma", "bias", "threshold", "exponent"))
    return Field(tuple(GENES), CLUSTERS, regs, scale * REFERENCE["W"][:, :, regs], *rest)


def small():
    adata = ad.AnnData(np.zeros((5, 12)), layers={"Ms": REFERENCE["X"].copy()})
    adata.var_names, adata.obs_names = GENES, [f"cell{i}" for i in range(5)]
    adata.obs["cell_type"] = np.array(CLUSTERS, dtype=object)[REFERENCE["cluster"]]
    adata.uns["hopfield"] = field().to_uns()
    return adata


def in_memory():
    adata = small()
    hopfield.compute_jacobians(adata, compute_eigenvectors=True)
    return adata, adata.obsm["jacobian_eigenvalues"], adata.uns["jacobian_eigenvectors_temp"]["data"]


def streamed(path, **options):
    adata = small()
    hopfield.compute_jacobians(
        adata, compute_eigenvectors=True, filename=path, keep="leading", block_size=2, **options
    )
    return adata


@pytest.mark.parametrize("ending", ENDINGS)
def test_streaming_equals_memory(tmp_path, ending):
    _, values, vectors = in_memory()
    path = tmp_path / f"a.{ending}"
    adata = streamed(path)
    assert "jacobian_eigenvalues" not in adata.obsm
    assert "jacobian_eigenvectors_temp" not in adata.uns
    found = hopfield.load_jacobians(adata, path, load_eigenvectors=True)
    np.testing.assert_array_equal(adata.obsm["jacobian_eigenvalues"], values)
    np.testing.assert_allclose(found, vectors, rtol=0, atol=1e-14)
    assert hopfield.load_jacobians(adata, path) is None
    assert [p.name for p in tmp_path.iterdir()] == [path.name]


@pytest.mark.parametrize("ending", ENDINGS)
@pytest.mark.parametrize("compression", ["gzip", None])
def test_saving_equals_memory_and_frees_it(tmp_path, ending, compression):
    adata, values, vectors = in_memory()
    path = tmp_path / f"a.{ending}"
    hopfield.save_jacobians(adata, path, compression=compression)
    assert "jacobian_eigenvectors_temp" not in adata.uns
    fresh = small()
    np.testing.assert_array_equal(hopfield.load_jacobians(fresh, path, load_eigenvectors=True), vectors)
    np.testing.assert_array_equal(fresh.obsm["jacobian_eigenvalues"], values)
    hopfield.compute_jacobian_stats(fresh)
    hopfield.compute_jacobian_stats(adata)
    assert fresh.obs.equals(adata.obs[fresh.obs.columns])


def test_compression_of_the_original_is_honoured(tmp_path):
    for compression in ("gzip", "lzf", None):
        adata, _, _ = in_memory()
        hopfield.save_jacobians(adata, tmp_path / "a.h5", "cell_type", compression)
        with h5py.File(tmp_path / "a.h5") as file:
            assert file["eigenvectors_real"].compression == compression
            assert (file.attrs["n_cells"], file.attrs["n_genes"]) == (5, 12)
            assert file.attrs["cluster_key"] == "cell_type"
    adata, _, _ = in_memory()
    with pytest.raises(ValueError, match="`compression` is 'zip', but must be one of"):
        hopfield.save_jacobians(adata, tmp_path / "a.h5", compression="zip")
    with pytest.raises(ValueError, match="'lzf', which zarr does not have"):
        hopfield.save_jacobians(adata, tmp_path / "a.zarr", compression="lzf")


@pytest.mark.parametrize("ending", ENDINGS)
def test_cells_in_another_order_are_aligned(tmp_path, ending):
    _, values, vectors = in_memory()
    streamed(tmp_path / f"a.{ending}")
    turned = small()[::-1].copy()
    found = hopfield.load_jacobians(turned, tmp_path / f"a.{ending}", load_eigenvectors=True)
    np.testing.assert_array_equal(turned.obsm["jacobian_eigenvalues"], values[::-1])
    np.testing.assert_allclose(found, vectors[::-1], rtol=0, atol=1e-14)
    table = hopfield.compute_jacobian_stats(turned, tmp_path / f"a.{ending}", store_in_obs=False)
    np.testing.assert_allclose(
        table["jacobian_rotational"], REFERENCE["rotational"][::-1], rtol=0, atol=1e-10
    )


def test_genes_in_another_order_are_aligned(tmp_path):
    _, _, vectors = in_memory()
    streamed(tmp_path / "a.h5")
    turned, f = small(), field()
    turned.uns["hopfield"] = Field(
        f.genes[::-1], f.clusters[::-1], (11 - f.regulators).flip(0), f.interactions.flip(0, 1, 2),
        f.degradation.flip(0, 1), f.bias.flip(0, 1), f.threshold.flip(0), f.exponent.flip(0),
    ).to_uns()  # fmt: skip
    found = hopfield.load_jacobians(turned, tmp_path / "a.h5", load_eigenvectors=True)
    np.testing.assert_allclose(found, vectors[:, ::-1], rtol=0, atol=1e-14)


def test_other_cells_genes_and_fields_are_refused(tmp_path):
    path = tmp_path / "a.h5"
    streamed(path)
    with pytest.raises(
        ValueError, match=r"'a.h5' has 5 cells, `adata` has 3; .*2 of the file are not in .*'cell3'"
    ):
        hopfield.load_jacobians(small()[:3].copy(), path)
    renamed = small()
    renamed.obs_names = ["cell0", "cell1", "cell2", "cell3", "new"]
    with pytest.raises(ValueError, match=r"1 of `adata` are not in the file: \['new'\]"):
        hopfield.load_jacobians(renamed, path)
    with pytest.raises(ValueError, match="are not in `adata`"):
        hopfield.compute_jacobian_stats(small()[:3].copy(), path)
    other = small()
    other.uns["hopfield"] = field(2.0).to_uns()
    with pytest.raises(
        ValueError, match=r"was computed with the field .* Compute again, `hopfield.compute_jac"
    ):
        hopfield.load_jacobians(other, path)
    fewer = small()
    stored = field()
    fewer.uns["hopfield"] = Field(
        (*GENES[:-1], "Xist"), CLUSTERS, stored.regulators, *list(stored._arrays().values())[1:]
    ).to_uns()
    with pytest.raises(
        ValueError, match=r"has 12 genes, `adata` has 12; 1 of `adata` are not in the file: \['Xist'\]"
    ):
        hopfield.load_jacobians(fewer, path)
    assert "jacobian_eigenvalues" not in fewer.obsm


def test_an_anndata_without_field_takes_the_file_if_it_has_the_genes(tmp_path):
    _, values, _ = in_memory()
    streamed(tmp_path / "a.h5")
    bare = small()
    del bare.uns["hopfield"]
    hopfield.load_jacobians(bare, tmp_path / "a.h5")
    np.testing.assert_array_equal(bare.obsm["jacobian_eigenvalues"], values)
    table = hopfield.compute_jacobian_stats(bare, tmp_path / "a.h5", store_in_obs=False)
    np.testing.assert_allclose(table["jacobian_rotational"], REFERENCE["rotational"], rtol=0, atol=1e-10)
    with pytest.raises(ValueError, match="9 of 12 genes of 'a.h5' are not in `adata.var_names`"):
        hopfield.load_jacobians(bare[:, :3].copy(), tmp_path / "a.h5")


def test_stats_of_a_file_win_over_what_is_in_memory(tmp_path):
    adata = streamed(tmp_path / "a.zarr")
    adata.obsm["jacobian_eigenvalues"] = np.zeros((5, 12), dtype=complex)
    hopfield.compute_jacobian_stats(adata, tmp_path / "a.zarr")
    np.testing.assert_allclose(adata.obs["jacobian_trace"], REFERENCE["trace"], rtol=0, atol=1e-10)
    np.testing.assert_allclose(adata.obs["jacobian_eig1_real"], REFERENCE["leading"].real, rtol=0, atol=1e-10)
    np.testing.assert_allclose(adata.obs["jacobian_rotational"], REFERENCE["rotational"], rtol=0, atol=1e-10)
    assert adata.obs["jacobian_positive_evals"].tolist() == REFERENCE["positive_evals"].tolist()


def test_a_file_of_the_original_is_read_in_its_order_with_a_warning(tmp_path):
    path = tmp_path / "old.h5"
    adata, values, vectors = in_memory()
    mixed = np.random.default_rng(0).permuted(np.tile(np.arange(12), (5, 1)), axis=1)
    stored = np.take_along_axis(values, mixed, 1).astype(np.complex64)
    columns = np.take_along_axis(vectors, mixed[:, None, :], 2).astype(np.complex64)
    with h5py.File(path, "w") as file:
        for name, array in (("eigenvalues", stored), ("eigenvectors", columns)):
            file[f"{name}_real"], file[f"{name}_imag"] = array.real, array.imag
        file.attrs.update(n_cells=5, n_genes=12, cluster_key="cell_type")
    with pytest.warns(NumericalWarning, match="'old.h5' holds no names of cells and genes"):
        found = hopfield.load_jacobians(adata, path, load_eigenvectors=True)
    np.testing.assert_allclose(adata.obsm["jacobian_eigenvalues"], values, rtol=0, atol=1e-6)
    np.testing.assert_allclose(found, vectors, rtol=0, atol=1e-6)
    with pytest.raises(ValueError, match="has 5 cells without names, `adata` has 3"):
        hopfield.load_jacobians(adata[:3].copy(), path)
    with h5py.File(path, "r+") as file:
        for part in ("real", "imag"):
            short = file[f"eigenvalues_{part}"][:, :7]
            del file[f"eigenvalues_{part}"]
            file[f"eigenvalues_{part}"] = short
    with (
        pytest.warns(NumericalWarning, match="no names"),
        pytest.raises(ValueError, match="has 7 genes without names, the field of `adata` has 12"),
    ):
        hopfield.load_jacobians(adata, path)


@pytest.mark.parametrize("ending", ENDINGS)
def test_single_cells_are_read_by_name_and_position(tmp_path, ending):
    _, values, vectors = in_memory()
    streamed(tmp_path / f"a.{ending}")
    with stream.open_jacobians(tmp_path / f"a.{ending}") as file:
        assert file.cells == [f"cell{i}" for i in range(5)]
        assert file.field.fingerprint == field().fingerprint
        for cell in (3, "cell3", np.int64(3)):
            one, columns = file.vectors(cell)
            np.testing.assert_array_equal(one, values[3])
            np.testing.assert_allclose(columns, vectors[3], rtol=0, atol=1e-14)
        assert file.group["vectors"].dtype == np.float64
        assert file.group["vectors"].shape == (5, 6, 6)
        with pytest.raises(MissingKeyError, match="no cell 'cell9'.* Did you mean"):
            file.vectors("cell9")
        with pytest.raises(ValueError, match="`cell` is 5, but must be at least 0 and at most 4"):
            file.vectors(5)


def test_leading_vectors_only(tmp_path):
    _, values, vectors = in_memory()
    streamed(tmp_path / "a.h5", n_vectors=2)
    with stream.open_jacobians(tmp_path / "a.h5") as file:
        one, columns = file.vectors("cell1")
    np.testing.assert_array_equal(one, values[1, :2])
    np.testing.assert_allclose(columns, vectors[1, :, :2], rtol=0, atol=1e-14)
    hopfield.compute_jacobians(adata := small(), filename=tmp_path / "b.h5")
    with pytest.raises(ValueError, match="'b.h5' holds no eigenvectors. Write them: `compute_jacobians"):
        hopfield.load_jacobians(adata, tmp_path / "b.h5", load_eigenvectors=True)


def test_stats_of_leading_values_that_were_loaded_are_refused(tmp_path):
    adata = small()
    hopfield.compute_jacobians(adata, keep=3)
    hopfield.save_jacobians(adata, tmp_path / "a.h5")
    fresh = small()
    hopfield.load_jacobians(fresh, tmp_path / "a.h5")
    assert fresh.obsm["jacobian_eigenvalues"].shape == (5, 3)
    for filename in (None, tmp_path / "a.h5"):
        with pytest.raises(ValueError, match="holds 3 leading eigenvalues of 12, which do not give counts"):
            hopfield.compute_jacobian_stats(fresh, filename)


def test_vectors_in_memory_follow_their_cells_into_the_file(tmp_path):
    adata, _, vectors = in_memory()
    fewer = adata[[3, 1]].copy()
    hopfield.save_jacobians(fewer, tmp_path / "a.h5")
    found = hopfield.load_jacobians(fewer, tmp_path / "a.h5", load_eigenvectors=True)
    np.testing.assert_array_equal(found, vectors[[3, 1]])
    adata.obs_names = ["cell0", "cell1", "cell2", "cell3", "new"]
    with pytest.raises(
        ValueError, match=r"holds vectors of 5 cells, `adata` has 5; without vectors: \['new'\]"
    ):
        hopfield.save_jacobians(adata, tmp_path / "b.h5")


def test_large_vectors_are_announced_when_loading(tmp_path, monkeypatch):
    streamed(tmp_path / "a.h5")
    monkeypatch.setattr(stream, "BIG", 100.0)
    with pytest.warns(PerformanceWarning, match="Read single cells: `hopfield.stream.open_jacobians`"):
        hopfield.load_jacobians(small(), tmp_path / "a.h5", load_eigenvectors=True)


def test_saving_before_computing_and_after_changing_the_field(tmp_path):
    with pytest.raises(
        MissingKeyError, match=r"jacobian_eigenvalues.* Compute them first: `hopfield.compute_jac"
    ):
        hopfield.save_jacobians(small(), tmp_path / "a.h5")
    adata, _, _ = in_memory()
    adata.uns["hopfield"] = field(2.0).to_uns()
    with pytest.raises(ValueError, match="The Jacobians belong to the field .* Compute them again"):
        hopfield.save_jacobians(adata, tmp_path / "a.h5")
    del adata.uns["hopfield"]
    with pytest.raises(MissingKeyError, match="Fit the field first"):
        hopfield.save_jacobians(adata, tmp_path / "a.h5")
    assert list(tmp_path.iterdir()) == []


def test_names_of_files(tmp_path):
    adata, _, _ = in_memory()
    with pytest.raises(
        ValueError, match=r"'a.csv' ends in '.csv', but must end in one of .* filename='a.h5'"
    ):
        hopfield.save_jacobians(adata, tmp_path / "a.csv")
    with pytest.raises(FileNotFoundError, match="The folder '.*' does not exist"):
        hopfield.save_jacobians(adata, tmp_path / "none" / "a.zarr")
    hopfield.save_jacobians(adata, tmp_path / "a.h5")
    with pytest.raises(
        FileNotFoundError, match=r"does not exist. Its folder has \['a.h5'\]. Did you mean 'a.h5'"
    ):
        hopfield.load_jacobians(adata, tmp_path / "a1.h5")
    (tmp_path / "b.h5").write_bytes(b"nothing")
    with pytest.raises(ValueError, match="is damaged or no HDF5 file"):
        hopfield.load_jacobians(adata, tmp_path / "b.h5")
    with h5py.File(tmp_path / "c.h5", "w") as file:
        file["x"] = [1]
    with pytest.raises(ValueError, match=r"'c.h5' holds no Jacobians: .* Arrays: \['x'\]"):
        hopfield.load_jacobians(adata, tmp_path / "c.h5")
    with h5py.File(tmp_path / "a.h5", "r+") as file:
        file.attrs["version"] = 99
    with pytest.raises(ValueError, match="has version 99, this package reads up to 1. Update it"):
        hopfield.load_jacobians(adata, tmp_path / "a.h5")


@pytest.mark.parametrize("ending", ENDINGS)
def test_an_error_leaves_the_earlier_file_as_it_was(tmp_path, ending, monkeypatch):
    path = tmp_path / f"a.{ending}"
    streamed(path)

    def broken(*_, **__):
        msg = "no space left"
        raise OSError(msg)

    monkeypatch.setattr(stream.JacobianWriter, "write", broken)
    with pytest.raises(OSError, match="no space left"):
        streamed(path)
    assert [p.name for p in tmp_path.iterdir()] == [path.name]
    with stream.open_jacobians(path) as file:
        assert file.n_cells == 5


def test_a_folder_that_is_no_zarr_group_is_not_replaced(tmp_path):
    (tmp_path / "a.zarr").mkdir()
    (tmp_path / "a.zarr" / "thesis.txt").write_text("years of work")
    with pytest.raises(ValueError, match="exists and is no zarr group; it is not replaced"):
        streamed(tmp_path / "a.zarr")
    assert (tmp_path / "a.zarr" / "thesis.txt").exists()


def test_the_header_keeps_labels_of_every_kind(tmp_path):
    """The header keeps names that HDF5 attributes and paths would not."""
    streamed(tmp_path / "a.h5")
    with stream.open_jacobians(tmp_path / "a.h5") as file:
        assert file.header["clusters"] == list(CLUSTERS)
        assert file.header["cluster_key"] == "cell_type"
        assert file.header["layer"] == "Ms"
