"""Slots to arrays: every storage gives the same numbers, in blocks, without changing its source."""

import warnings

import anndata
import numpy as np
import pytest
import torch
from anndata import AnnData
from hypothesis import given
from hypothesis import strategies as st
from scipy import sparse

from scmods import _arrays, _checks

FORMS = ["dense", "fortran", "float16", "int", "csr", "csc", "csr_array", "view", "backed", "backed_sparse"]


def values(n=17, g=6):
    return np.random.default_rng(0).integers(0, 5, (n, g)).astype(np.float64)  # exact in every type below


def stored(form, path):
    """The same numbers in one of the forms AnnData can hold."""
    x = values()
    make = {
        "dense": lambda: x, "fortran": lambda: np.asfortranarray(x), "float16": lambda: x.astype(np.float16),
        "int": lambda: x.astype(np.int32), "csr": lambda: sparse.csr_matrix(x), "csc": lambda: sparse.csc_matrix(x),
        "csr_array": lambda: sparse.csr_array(x), "backed_sparse": lambda: sparse.csr_matrix(x),
    }  # fmt: skip
    adata = AnnData(make.get(form, make["dense"])())
    if form == "view":
        order = np.random.default_rng(1).permutation(len(x))
        return adata[order].copy()[np.argsort(order)]
    if not form.startswith("backed"):
        return adata
    adata.write_h5ad(path / "x.h5ad")
    return anndata.read_h5ad(path / "x.h5ad", backed="r")


@pytest.fixture(params=FORMS)
def any_x(request, tmp_path):
    adata = stored(request.param, tmp_path)
    yield _arrays.matrix(adata)
    if adata.isbacked:
        adata.file.close()


def test_every_form_gives_the_same_dense_array(any_x):
    out = _arrays.dense(any_x)
    assert out.dtype == np.float64
    assert out.flags.c_contiguous
    np.testing.assert_array_equal(out, values())
    assert _arrays.dense(any_x, dtype=np.float32).dtype == np.float32


@pytest.mark.parametrize("rows", [[3, 0, 16], [5, 5, 2], [], slice(2, 9)])
def test_rows_come_in_the_order_asked_for(any_x, rows):
    rows = rows if isinstance(rows, slice) else np.array(rows, dtype=int)
    np.testing.assert_array_equal(_arrays.read_rows(any_x, rows), values()[rows])


@pytest.mark.parametrize("size", [1, 4, 17, 100])
def test_blocks_cover_all_rows_once_in_order(any_x, size):
    rows = np.array([9, 1, 16, 0, 3])
    for chosen, expected in ((None, values()), (rows, values()[rows])):
        parts = list(_arrays.blocks(any_x, chosen, size=size))
        np.testing.assert_array_equal(np.concatenate([b for _, b in parts]), expected)
        assert [p.start for p, _ in parts] == list(range(0, len(expected), size))
        assert all(len(b) == p.stop - p.start <= size for p, b in parts)


def test_moments_equal_numpy_in_every_form(any_x, monkeypatch):
    monkeypatch.setattr(_arrays, "BLOCK_BYTES", 4 * 6 * 8)  # four cells a block
    rows = np.array([0, 4, 7, 8, 11, 13])
    for chosen, x in ((None, values()), (rows, values()[rows])):
        found = _arrays.moments(any_x, chosen)
        np.testing.assert_allclose(found.mean, x.mean(axis=0), rtol=1e-12)
        np.testing.assert_allclose(found.std, x.std(axis=0, ddof=1), rtol=1e-12)
        assert (found.integers, found.negative, found.largest) == (True, False, x.max())


@given(st.integers(2, 30), st.integers(1, 7), st.integers(0, 1000), st.sampled_from([0.0, 1e3, 1e6]))
def test_moments_are_stable_far_from_zero(n, size, seed, shift):
    x = np.random.default_rng(seed).normal(size=(n, 3)) + shift
    total = _arrays.moments(x)
    np.testing.assert_allclose(total.std, x.std(axis=0, ddof=1), rtol=1e-7)
    z = total.scale(x)
    np.testing.assert_allclose(z.std(axis=0, ddof=1), 1.0, rtol=1e-7)


@pytest.mark.parametrize("value", [0.0, 0.1, 1e8 / 3, 1e-9])
def test_constant_genes_have_deviation_exactly_zero_and_score_zero(value):
    x = np.column_stack([np.full(31, value), np.arange(31.0)])
    found = _arrays.moments(x)
    assert found.std[0] == 0.0
    assert found.n_constant == 1
    assert found.std[1] > 0
    assert np.abs(found.scale(x)[:, 0]).max() <= 1e-7 * max(1, value)


def test_genes_of_tiny_spread_are_not_taken_for_constant():
    x = np.random.default_rng(0).normal(size=(40, 2)) * [1e-6, 1.0]
    assert _arrays.moments(x).n_constant == 0


def test_moments_see_signs_fractions_and_sizes():
    found = _arrays.moments(np.array([[0.5, -3.0], [1.0, 2.0]]))
    assert (found.integers, found.negative, found.largest) == (False, True, 3.0)


def test_scale_clips_and_leaves_its_input():
    x = np.array([[0.0], [0.0], [0.0], [9.0]])
    kept = x.copy()
    out = _arrays.moments(x).scale(x, clip=1.0)
    assert out.max() == 1.0
    np.testing.assert_array_equal(x, kept)


def test_single_cell_has_no_spread():
    found = _arrays.moments(np.array([[1.0, 2.0]]))
    np.testing.assert_array_equal(found.std, 0.0)
    np.testing.assert_array_equal(found.mean, [1.0, 2.0])


def test_not_finite_is_refused_with_names_across_blocks(monkeypatch):
    monkeypatch.setattr(_arrays, "BLOCK_BYTES", 2 * 3 * 8)
    x = np.ones((6, 3))
    x[4, 1] = np.nan
    with pytest.raises(ValueError, match=r"The matrix holds 1 values .*first rows: \['c4'\]"):
        _arrays.moments(x, names=[f"c{i}" for i in range(6)])
    with pytest.raises(ValueError, match=r"first rows: \['c4'\]"):
        _arrays.moments(sparse.csr_matrix(x), np.array([0, 4]), names=np.array([f"c{i}" for i in range(6)]))


def test_matrix_picks_the_slot():
    adata = AnnData(values(), layers={"counts": 2 * values()})
    assert _arrays.matrix(adata) is adata.X
    np.testing.assert_array_equal(_arrays.matrix(adata, "counts"), 2 * values())
    with pytest.raises(_checks.MissingKeyError, match=r"Did you mean 'counts'\? Use layer=None"):
        _arrays.matrix(adata, "count")
    adata.X = None
    with pytest.raises(
        _checks.MissingKeyError, match=r"`adata\.X` is empty\. Available layers: \['counts'\]"
    ):
        _arrays.matrix(adata)


def test_text_is_refused():
    with pytest.raises(TypeError, match="The matrix has type .*, but must be numeric"):
        _arrays.dense(np.array([["a"]]))


class Huge:
    """Claims a shape; reading it gives one number."""

    shape = (40_000, 20_000)

    def __getitem__(self, rows):
        return np.zeros((1 if isinstance(rows, slice) else len(rows), 1))


def test_large_dense_copies_are_announced():
    with pytest.warns(_checks.PerformanceWarning, match=r"40000 x 20000 values takes 6\.4 GB.*n_pcs=50"):
        _arrays.dense(Huge())
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        _arrays.dense(Huge(), np.arange(10))


def test_tensors_own_their_memory():
    x = values()
    x.setflags(write=False)
    out = _arrays.to_tensor(x)
    assert out.dtype == torch.float64
    out += 1
    np.testing.assert_array_equal(x, values())
    np.testing.assert_array_equal(_arrays.to_tensor(sparse.csr_matrix(x)).numpy(), x)
    assert _arrays.to_tensor(x.astype(np.float16), torch.float32).dtype == torch.float32
    assert _arrays.to_tensor(x, device="cpu").device.type == "cpu"


def test_arrays_from_tensors_own_theirs():
    t = torch.ones(2, 3, requires_grad=True)
    out = _arrays.to_numpy(t, np.float64)
    assert out.dtype == np.float64
    out[:] = 5
    assert t.detach().max() == 1
    source = np.ones(3)
    copied = _arrays.to_numpy(source)
    copied[0] = 2
    assert source[0] == 1


def test_counts_are_scaled_to_their_median_and_logged():
    x = np.array([[1.0, 3.0], [0.0, 0.0], [4.0, 4.0], [1.0, 1.0]])
    scaled = np.array([[1.0, 3.0], [0.0, 0.0], [2.0, 2.0], [2.0, 2.0]])  # totals 4, 0, 8, 2: the median is 4
    np.testing.assert_allclose(_arrays.log_normalized(x), np.log1p(scaled))


@pytest.mark.parametrize("x", [[[0.5, 1.0]], [[-1.0, 2.0]]])
def test_what_is_no_counts_is_not_normalised(x):
    np.testing.assert_array_equal(_arrays.log_normalized(np.array(x)), x)


def test_a_matrix_without_counts_cannot_be_normalised():
    with pytest.raises(ValueError, match="no count at all, so there is nothing to normalise"):
        _arrays.log_normalized(np.zeros((2, 3)))
