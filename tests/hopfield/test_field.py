"""The field as an object: what it refuses, how it is stored, and how cells are read for it."""

import os
from dataclasses import replace

import anndata
import numpy as np
import pandas as pd
import pytest
import torch
from scipy import sparse

from scmods import MissingKeyError, NumericalWarning, hopfield, io
from scmods.hopfield import Field, checks, core

LABELS = ("CD4/CD8", "18", "T cell (naïve)")
GENES = ("Neurog3", "H2-K1/K2", "Sox9", "Gcg", "Ins1")


def make(labels=LABELS, seed=0):
    """Field on five genes, of which the fourth and the second regulate, in this order."""
    rng = np.random.default_rng(seed)
    c = len(labels)
    return Field(
        genes=GENES,
        clusters=labels,
        regulators=[3, 1],
        interactions=rng.normal(size=(c, 5, 2)),
        degradation=rng.uniform(0.1, 1, (c, 5)),
        bias=rng.normal(size=(c, 5)),
        threshold=rng.uniform(0.5, 2, 5),
        exponent=rng.uniform(1.2, 4, 5),
    )


def cells(n=23, labels=LABELS, seed=1):
    """Cells of all clusters, mixed, with two more genes than the field and other order."""
    rng = np.random.default_rng(seed)
    names = ["extra", *GENES[::-1], "other"]
    adata = anndata.AnnData(
        np.zeros((n, 7), np.float32),
        obs=pd.DataFrame(
            {"cell_type": pd.Categorical(np.resize(labels, n))}, index=[f"c{i}" for i in range(n)]
        ),
        var=pd.DataFrame(index=names),
    )
    adata.layers["Ms"] = rng.gamma(2.0, 1.0, (n, 7))
    return adata


def changed(name, index, value):
    """The field with one number of one array changed."""
    field = make()
    array = getattr(field, name).clone()
    array[index] = value
    return lambda: replace(field, **{name: array})


# construction


REFUSED = {
    "genes twice": (
        lambda: replace(make(), genes=("a", "a", "b", "c", "d")),
        r"1 duplicated names: \['a'\]",
    ),
    "clusters twice": (
        lambda: replace(make(), clusters=("18", 18, "x")),
        r"equal as text: \['18'\].*rename_categories",
    ),
    "W transposed": (
        lambda: replace(make(), interactions=make().interactions.transpose(1, 2)),
        r"`interactions` has shape \(3, 2, 5\), but must be \(3, 5, 2\) for 3 clusters, 5 genes, 2 regulators",
    ),
    "one gamma for all": (
        lambda: replace(make(), degradation=make().degradation[0]),
        r"`degradation` has shape \(5,\), but must be \(3, 5\)",
    ),
    "threshold of other genes": (
        lambda: replace(make(), threshold=torch.ones(4)),
        r"`threshold` has shape \(4,\), but must be \(5,\)",
    ),
    "regulator outside": (
        lambda: replace(make(), regulators=[3, 5]),
        r"`regulators` must be different positions in 0\.\.4, but is \[3, 5\]",
    ),
    "regulator twice": (lambda: replace(make(), regulators=[3, 3]), r"must be different positions.*\[3, 3\]"),
    "W NaN": (
        changed("interactions", (1, 2, 0), torch.nan),
        r"`interactions` of the field holds 1 values that are NaN or infinite; genes: \['Sox9'\].*Drop",
    ),
    "bias infinite": (changed("bias", (0, 4), torch.inf), r"`bias` of the field holds 1 values.*\['Ins1'\]"),
    "threshold NaN": (
        changed("threshold", 1, torch.nan),
        r"`threshold` of the field holds 1.*\['H2-K1/K2'\]",
    ),
    "threshold 0": (
        changed("threshold", 1, 0.0),
        r"`threshold` must be positive.*1 genes: \['H2-K1/K2'\].*fit_hill",
    ),
    "exponent negative": (changed("exponent", 0, -2.0), r"`exponent` must be positive.*\['Neurog3'\]"),
    "gamma negative": (
        changed("degradation", (2, 3), -0.1),
        r"`degradation` must be not negative.*\['Gcg'\]",
    ),
}


@pytest.mark.parametrize("case", REFUSED)
def test_a_field_that_cannot_be_is_refused(case):
    build, text = REFUSED[case]
    with pytest.raises(ValueError, match=text):
        build()


def test_arrays_become_double_and_names_text():
    field = replace(make(), genes=np.arange(5), threshold=np.ones(5, np.float32), clusters=(1, 2, 3))
    assert field.genes == ("0", "1", "2", "3", "4")
    assert field.clusters == ("1", "2", "3")
    assert {getattr(field, n).dtype for n in ("interactions", "threshold", "bias")} == {torch.float64}
    assert repr(field) == "Field(3 clusters, 5 genes, 2 regulators)"


def test_rows_are_targets_and_columns_regulators():
    field = make()
    table = field.matrix("18")
    assert (table.index.name, table.columns.name) == ("target", "regulator")
    assert list(table.columns) == field.regulator_names == ["Gcg", "H2-K1/K2"]
    assert table.loc["Ins1", "Gcg"] == field.interactions[1, field.gene("Ins1"), 0]
    one = field.cluster("18")
    full = core.square(one.w, one.regs)
    x = torch.rand(4, 5, dtype=torch.float64, generator=torch.Generator().manual_seed(0)) + 0.1
    phi = core.activation(x, field.threshold, field.exponent)
    torch.testing.assert_close(one.velocity(x), phi @ full.T - one.gamma * x + one.bias)
    assert one.jacobian(x).shape == (4, 5, 5)


def test_names_are_asked_for_and_helped():
    field = make()
    with pytest.raises(
        MissingKeyError, match=r"'neurog3' is not among the 5 modelled genes.*mean 'Neurog3'\?"
    ):
        field.gene("neurog3")
    with pytest.raises(MissingKeyError, match=r"no cluster 'CD4'. Fitted: \['CD4/CD8', '18'.*"):
        field.cluster("CD4")
    with pytest.raises(MissingKeyError, match=r"no cluster 'T cell \(naive\)'.*mean 'T cell \(naïve\)'\?"):
        field.matrix("T cell (naive)")


# storage


def by_uns(field, folder):
    return Field.from_uns(field.to_uns())


def by_h5ad(field, folder):
    adata = anndata.AnnData(np.zeros((2, 3)), uns={"hopfield": field.to_uns()})
    adata.write_h5ad(folder / "a.h5ad")
    return Field.of(anndata.read_h5ad(folder / "a.h5ad"))


def by_zarr(field, folder):
    adata = anndata.AnnData(np.zeros((2, 3)), uns={"hopfield": field.to_uns()})
    adata.write_zarr(folder / "a.zarr")
    return Field.of(anndata.read_zarr(folder / "a.zarr"))


def by_safetensors(field, folder):
    return Field.load(field.save(folder / "field.safetensors"))


@pytest.mark.parametrize("labels", [LABELS, ("one",)], ids=len)
@pytest.mark.parametrize("way", [by_uns, by_h5ad, by_zarr, by_safetensors])
def test_a_field_comes_back_as_it_was(tmp_path, way, labels):
    field = make(labels)
    back = way(field, tmp_path)
    assert (back.genes, back.clusters) == (field.genes, field.clusters)
    for name in ("regulators", "interactions", "degradation", "bias", "threshold", "exponent"):
        assert torch.equal(getattr(back, name), getattr(field, name)), name
    assert back.fingerprint == field.fingerprint


def test_storing_copies_and_leaves_no_temporary_file(tmp_path):
    field = make()
    stored = field.to_uns()
    before = field.fingerprint
    stored["interactions"][:] = 0
    assert field.fingerprint == before
    back = Field.from_uns(stored)
    stored["bias"][:] = 0
    assert torch.equal(back.bias, field.bias)
    field.save(tmp_path / "field.safetensors")
    assert os.listdir(tmp_path) == ["field.safetensors"]


@pytest.mark.parametrize("name", ["interactions", "degradation", "bias", "threshold", "exponent"])
def test_the_fingerprint_sees_one_number(name):
    field = make()
    array = getattr(field, name).clone()
    array.view(-1)[-1] *= 1 + 1e-15
    assert array.view(-1)[-1] != getattr(field, name).view(-1)[-1]
    assert replace(field, **{name: array}).fingerprint != field.fingerprint


def test_the_fingerprint_sees_names_and_order():
    field = make()
    others = [
        replace(field, genes=(*GENES[:4], "Ins2")),
        replace(field, clusters=("18", "CD4/CD8", LABELS[2])),
        replace(field, regulators=[1, 3]),
    ]
    assert len({f.fingerprint for f in [field, *others]}) == 4
    assert replace(field).fingerprint == field.fingerprint


def test_what_is_not_a_field_is_refused(tmp_path):
    stored = make().to_uns()
    del stored["bias"], stored["threshold"]
    with pytest.raises(
        MissingKeyError, match=r"lacks \['bias', 'threshold'\]. Present: \['genes'.*hopfield\.fit\(adata\)"
    ):
        Field.from_uns(stored)
    path = io.save_state(tmp_path / "other.safetensors", {"x": np.ones(2)}, {"kind": "bmlp"})
    with pytest.raises(
        ValueError, match=r"other\.safetensors' holds 'bmlp', not a field. Write one with `field\.save"
    ):
        Field.load(path)
    with pytest.raises(
        MissingKeyError, match=r"`adata\.uns\['hopfield'\]` does not exist.*hopfield\.fit\(adata\)"
    ):
        Field.of(cells())


# reading of cells


@pytest.mark.parametrize("size", [1, 3, 100, None])
def test_blocks_cover_every_cell_once(size):
    adata, field = cells(), make()
    read = checks.read(adata, field)
    seen = np.full((len(adata), 5), np.nan)
    rows = []
    for block in read.blocks(size):
        assert size is None or len(block.rows) <= size
        assert set(adata.obs["cell_type"].iloc[block.rows]) == {block.cluster}
        assert block.field.w is not None
        torch.testing.assert_close(block.field.w, field.cluster(block.cluster).w)
        seen[block.rows] = block.x
        rows += block.rows.tolist()
    assert sorted(rows) == list(range(len(adata)))
    assert len(read) == len(adata)
    np.testing.assert_array_equal(seen, adata[:, list(GENES)].layers["Ms"])


def stored_as(adata, form, folder):
    if form == "csr":
        adata.layers["Ms"] = sparse.csr_matrix(adata.layers["Ms"])
    elif form == "csc":
        adata.layers["Ms"] = sparse.csc_matrix(adata.layers["Ms"])
    elif form in ("float16", "int32", "float32"):
        adata.layers["Ms"] = adata.layers["Ms"].astype(form)
    elif form == "view":
        order = np.argsort(np.arange(len(adata)) % 5, kind="stable")
        adata = adata[order].copy()[np.argsort(order)]
    elif form == "backed":
        adata.write_h5ad(folder / "cells.h5ad")
        adata = anndata.read_h5ad(folder / "cells.h5ad", backed="r")
    return adata


@pytest.mark.parametrize("form", ["csr", "csc", "float16", "float32", "int32", "view", "backed"])
def test_the_storage_of_expression_does_not_matter(tmp_path, form):
    adata = cells()
    adata.layers["Ms"] = np.round(adata.layers["Ms"])  # whole numbers are the same in every type
    adata.X = adata.layers["Ms"].copy()
    expected = [b.x for b in checks.read(adata, make()).blocks(4)]
    found = [b.x for b in checks.read(stored_as(adata, form, tmp_path), make()).blocks(4)]
    assert {x.dtype for x in found} == {torch.float64}
    for one, other in zip(expected, found, strict=True):
        assert torch.equal(one, other)


def test_one_field_for_all_cells():
    adata, field = cells(), make(("all",))
    del adata.obs["cell_type"]
    blocks = list(checks.read(adata, field, cluster_key=None).blocks())
    assert [b.cluster for b in blocks] == ["all"]
    assert blocks[0].rows.tolist() == list(range(len(adata)))
    with pytest.raises(
        ValueError, match=r"`cluster_key` is None, but the field has 3 clusters:.*cluster_key="
    ):
        checks.read(adata, make(), cluster_key=None)


def test_expression_is_raised_to_the_floor():
    adata, field = cells(), make()
    adata.layers["Ms"][:, 1] = 0.0
    x = torch.cat([b.x for b in checks.read(adata, field, x_floor=0.25).blocks()])
    assert x.min() == 0.25
    assert (x > 0.25).any()
    assert adata.layers["Ms"].min() == 0  # the data stay as they are
    for floor, text in ((-1.0, "must be a finite number"), ("1e-3", "must be a number")):
        with pytest.raises((ValueError, TypeError), match=f"`x_floor` is .*{text}"):
            checks.read(adata, field, x_floor=floor)


def test_an_infinite_slope_is_refused_where_it_would_be_met():
    adata = cells()
    field = replace(make(), exponent=[0.5, 2.0, 2.0, 0.5, 2.0])  # Neurog3 does not regulate, Gcg does
    at = adata.var_names.get_loc
    adata.layers["Ms"][2, at("Neurog3")] = 0.0
    assert len(checks.read(adata, field)) == 23
    adata.layers["Ms"][2, at("Gcg")] = 0.0
    with pytest.raises(ValueError, match=r"exponent below 1 are 0 in some cells.*\['Gcg'\].*x_floor=1e-3"):
        checks.read(adata, field)
    assert len(checks.read(adata, field, x_floor=1e-3)) == 23


def test_genes_are_found_by_name():
    adata, field = cells(), make()
    assert adata.var_names[checks.gene_positions(adata, field)].tolist() == list(GENES)
    text = (
        r"2 of 5 genes of the field are not in `adata\.var_names`: \['Sox9', 'Ins1'\].*hopfield\.fit\(adata\)"
    )
    with pytest.raises(MissingKeyError, match=text):
        checks.gene_positions(adata[:, ["extra", "Neurog3", "H2-K1/K2", "Gcg"]], field)
    adata.var_names = ["Gcg", *adata.var_names[1:]]
    with pytest.raises(ValueError, match=r"1 duplicated names: \['Gcg'\]"):
        checks.gene_positions(adata, field)


def test_values_that_are_not_modelled_do_not_matter():
    adata = cells()
    adata.layers["Ms"][3, 0] = np.nan
    adata.layers["Ms"][4, 6] = -5.0
    assert len(checks.read(adata, make())) == 23


def test_a_missing_device_is_told_once_and_an_unknown_one_refused(monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    with pytest.warns(NumericalWarning, match="no device 'cuda:1' on this machine; computing on the CPU"):
        assert checks.pick_device("cuda:1") == torch.device("cpu")
    assert checks.pick_device("cpu") == torch.device("cpu")
    for wrong in ("gpu", 3.5):
        with pytest.raises(ValueError, match=r"`device` is .*must be one of 'cpu', 'cuda', 'cuda:0', 'mps'"):
            checks.pick_device(wrong)


def test_not_finite_is_counted():
    values = torch.tensor([[1.0, torch.nan], [torch.inf, 2.0]])
    with pytest.raises(
        ValueError, match=r"The Jacobian holds 2 values that are NaN or infinite.*x_floor=1e-3"
    ):
        checks.refuse_not_finite("The Jacobian", values)
    checks.refuse_not_finite("The Jacobian", values[:1, :1])


def test_every_promised_name_of_the_chapter_is_listed():
    assert set(hopfield.__all__) <= set(dir(hopfield))
    with pytest.raises(AttributeError, match="no attribute 'fitt'. Available: .*fit"):
        hopfield.fitt  # noqa: B018
