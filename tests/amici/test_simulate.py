"""The simulated tissue is what it says: who reacts, with which genes, to whom; and it survives a file."""

from __future__ import annotations

from pathlib import Path

import anndata
import numpy as np
import pytest

from scmods import datasets
from scmods.amici._blood import TYPES, blood_cells
from scmods.amici._tissue import within
from scmods.amici.baselines import type_means
from scmods.amici.simulate import semisynthetic


def oracle_variance(adata: anndata.AnnData, kind: str) -> float:
    """Share of the variance of a type that the true dose explains."""
    own = (adata.obs["cell_type"] == kind).to_numpy()
    y = np.asarray(adata.X[own], dtype=float)
    design = np.column_stack([np.ones(own.sum()), adata.obs["dose"].to_numpy()[own]])
    left = y - design @ np.linalg.lstsq(design, y, rcond=None)[0]
    return float(1 - left.var(axis=0).sum() / y.var(axis=0).sum())


def brute_pairs(adata: anndata.AnnData, receiver: str, sender: str, reach: float) -> set[tuple[int, int]]:
    coords, label = adata.obsm["spatial"], adata.obs["cell_type"].astype(str).to_numpy()
    d = np.linalg.norm(coords[:, None] - coords, axis=2)
    near = (d <= reach) & (label == receiver)[:, None] & (label == sender)[None, :]
    return set(zip(*np.nonzero(near), strict=True))


@pytest.mark.parametrize("seed", [0, 3])
def test_transplant_has_the_planted_strength_at_full_size(seed: int) -> None:
    adata = semisynthetic(seed=seed)
    assert oracle_variance(adata, "T") == pytest.approx(0.12, abs=0.012)
    assert oracle_variance(adata, "DC") == pytest.approx(0.055, abs=0.015)
    assert abs(oracle_variance(adata, "Mono")) < 1e-12
    assert adata.obs["receives"].mean() == pytest.approx(0.27, abs=0.02)
    assert adata.obsp["sends"].nnz / 60_000 == pytest.approx(0.035, abs=0.004)
    assert adata.varm["responds"].mean().to_dict() == {"B": 0.0, "DC": 0.1, "Mono": 0.0, "T": 0.1}


def test_true_pairs_are_all_pairs_within_the_radius() -> None:
    adata = semisynthetic(400, 40, reach=(12, 17))
    expected = brute_pairs(adata, "T", "Mono", 12) | brute_pairs(adata, "DC", "B", 17)
    sends = adata.obsp["sends"].tocoo()
    assert set(zip(sends.row, sends.col, strict=True)) == expected
    assert (sends.data == 1).all()
    assert (adata.obs["receives"].to_numpy() == (np.diff(adata.obsp["sends"].tocsr().indptr) > 0)).all()


def test_transplanted_values_come_from_one_real_donor() -> None:
    adata = semisynthetic(400, 40)
    blood = blood_cells(40)
    x = np.asarray(adata.X)
    for receiver, donor in adata.uns["interactions"][["receiver", "donor"]].itertuples(index=False):
        genes = adata.varm["responds"][receiver].to_numpy()
        assert genes.sum() == 15
        real = {row.tobytes() for row in blood.x[blood.of(donor)][:, genes].astype(np.float32)}
        cells = (adata.obs["cell_type"] == receiver) & adata.obs["receives"]
        assert cells.any()
        assert all(row.tobytes() in real for row in x[cells.to_numpy()][:, genes])
    # every other value is that of the copied cell
    where = {name: i for i, name in enumerate(blood.names)}
    copied = blood.x[[where[name] for name in adata.obs["source"]]].astype(np.float32)
    untouched = np.ones(x.shape, dtype=bool)
    for receiver in ("T", "DC"):
        cells = ((adata.obs["cell_type"] == receiver) & adata.obs["receives"]).to_numpy()
        untouched[np.ix_(cells, adata.varm["responds"][receiver].to_numpy())] = False
    assert (x == copied)[untouched].all()


def test_null_copies_and_plants_nothing() -> None:
    adata = semisynthetic(300, 40, mode="null")
    blood = blood_cells(40)
    where = {name: i for i, name in enumerate(blood.names)}
    rows = [where[name] for name in adata.obs["source"]]
    np.testing.assert_array_equal(adata.X, blood.x[rows].astype(np.float32))
    assert [TYPES[c] for c in blood.codes[rows]] == list(adata.obs["cell_type"])
    assert not adata.obs["receives"].any()
    assert adata.obsp["sends"].nnz == 0
    assert not adata.var["responds"].any()
    assert len(adata.uns["interactions"]) == 0


def test_subcluster_receivers_are_whole_cells_of_the_smaller_state() -> None:
    adata = semisynthetic(500, 60, mode="subcluster")
    blood = blood_cells(60)
    for receiver in ("T", "DC"):
        rest, state = blood.two_states(receiver)
        assert 0 < len(state) <= len(rest)
        own = adata.obs[adata.obs["cell_type"] == receiver]
        assert set(own["source"][own["receives"]]) <= set(blood.names[state])
        assert set(own["source"][~own["receives"]]) <= set(blood.names[rest])
        raised = adata.varm["responds"][receiver].to_numpy()
        shift = blood.x[state].mean(axis=0) - blood.x[rest].mean(axis=0)
        assert 0 < raised.sum() < 60
        assert shift[raised].min() > 0.2


def test_graded_dose_counts_competent_senders_only() -> None:
    adata = semisynthetic(600, 60, mode="graded", reach=(8, 14), spill=0.0, seed=2)
    coords = adata.obsm["spatial"]
    strength = np.zeros(600)
    for receiver, sender, length in (("T", "Mono", 8.0), ("DC", "B", 14.0)):
        for i, j in brute_pairs(adata, receiver, sender, 2 * length):
            if adata.obs["competent"].iloc[j]:
                value = np.exp(-np.linalg.norm(coords[i] - coords[j]) / length)
                assert adata.obsp["sends"][i, j] == pytest.approx(value, rel=1e-12)
                strength[i] += value
            else:
                assert adata.obsp["sends"][i, j] == 0
    np.testing.assert_allclose(adata.obs["dose"], 1 - np.exp(-2 * strength), rtol=1e-12)
    # half of every type is competent, and the state can be read from its expression
    assert adata.obs["competent"].mean() == pytest.approx(0.5, abs=0.1)
    senders = adata[adata.obs["cell_type"] == "Mono"]
    means = [np.asarray(senders.X)[senders.obs["competent"] == c].mean(axis=0) for c in (True, False)]
    assert np.linalg.norm(means[0] - means[1]) > 1.5


def test_molecules_leak_in_the_expected_amount() -> None:
    clean, leaky = (semisynthetic(800, 60, mode="null", spill=s, seed=1) for s in (0.0, 0.2))
    source = datasets.load("pbmc68k").obs["n_counts"][clean.obs["source"]].to_numpy()
    before, after = np.expm1(np.asarray(clean.X, dtype=float)), np.expm1(np.asarray(leaky.X, dtype=float))
    inner = (np.abs(clean.obsm["spatial"] - clean.obsm["spatial"].mean(axis=0)) < 80).all(axis=1)
    # in the middle every cell receives, on average, what an average cell loses
    own = before * source[:, None] / 1e4
    coords, everyone = clean.obsm["spatial"], np.arange(800)
    i, j, d = within(coords, everyone, everyone, 12.0)
    weight = 0.2 * np.exp(-0.5 * (d / 4) ** 2) / (2 * np.pi * 16 * 0.01)
    incoming = np.zeros_like(own)
    np.add.at(incoming, i, weight[:, None] * own[j])
    totals = source + np.bincount(i, weight * source[j], 800)
    seen = after * totals[:, None] / 1e4 - own
    assert seen[inner].sum() == pytest.approx(incoming[inner].sum(), rel=0.03)
    assert np.corrcoef(seen.ravel(), incoming.ravel())[0, 1] > 0.8
    np.testing.assert_allclose(seen[seen < 0.5], 0, atol=1e-2)


@pytest.mark.parametrize("mode", ["transplant", "subcluster", "graded", "null"])
def test_same_seed_same_tissue_and_a_file_keeps_it(mode: str, tmp_path: Path) -> None:
    adata, again, other = (semisynthetic(150, 30, mode=mode, seed=s) for s in (4, 4, 5))
    np.testing.assert_array_equal(adata.X, again.X)
    assert not np.array_equal(adata.X, other.X)
    assert adata.X.dtype == np.float32
    adata.write_h5ad(tmp_path / "tissue.h5ad")
    back = anndata.read_h5ad(tmp_path / "tissue.h5ad")
    np.testing.assert_array_equal(back.X, adata.X)
    assert (back.obsp["sends"] != adata.obsp["sends"]).nnz == 0
    assert back.varm["responds"].equals(adata.varm["responds"])
    assert list(back.uns["interactions"]["sender"]) == list(adata.uns["interactions"]["sender"])
    assert back.uns["truth"]["mode"] == mode


def test_types_lie_in_smooth_fields() -> None:
    adata = semisynthetic(1500, 30, mode="null", seed=1)
    label = adata.obs["cell_type"].cat.codes.to_numpy()
    i, j, _ = within(adata.obsm["spatial"], np.arange(1500), np.arange(1500), 10.0)
    alike, chance = (label[i] == label[j]).mean(), (np.bincount(label) ** 2).sum() / 1500**2
    assert alike > chance + 0.1


def test_all_refusals_say_what_to_do() -> None:
    with pytest.raises(ValueError, match="`mode` is 'transplnt'.*Did you mean 'transplant'"):
        semisynthetic(100, 30, mode="transplnt")
    with pytest.raises(ValueError, match="`n_genes` is 900, but must be at least 30 and at most 765"):
        semisynthetic(100, 900)
    with pytest.raises(ValueError, match="`n_cells` is 5"):
        semisynthetic(5)
    with pytest.raises(ValueError, match=r"`reach` is 10.0, but must be two numbers.*reach=\(10.0, 20.0\)"):
        semisynthetic(100, 30, reach=10.0)
    with pytest.raises(ValueError, match="`spill` is 0.9"):
        semisynthetic(100, 30, spill=0.9)


def test_type_means_are_means_of_training_cells() -> None:
    adata = semisynthetic(200, 30, mode="null")
    train = np.arange(200) % 3 > 0
    means = type_means(adata, train=train)
    cells = (adata.obs["cell_type"] == "T").to_numpy()
    expected = np.asarray(adata.X, dtype=float)[cells & train].mean(axis=0)
    np.testing.assert_allclose(means[cells], np.tile(expected, (cells.sum(), 1)))
