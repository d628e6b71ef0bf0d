"""Gates: events whose kind is known, and limits that follow from the definition."""

from __future__ import annotations

import anndata
import numpy as np
import pandas as pd
import pytest

from scmods._checks import MissingKeyError, NumericalWarning
from scmods.scyan.gates import gate_dna, gate_live, gate_singlets
from scmods.scyan.simulate import cytometry


def events(**columns: np.ndarray) -> anndata.AnnData:
    frame = pd.DataFrame(columns)
    return anndata.AnnData(obs=frame.set_axis([f"e{i}" for i in range(len(frame))]))


@pytest.mark.parametrize("unit", [1.0, 730.0])
@pytest.mark.parametrize("share", [0.05, 0.3])
def test_dna_finds_one_cell(unit: float, share: float) -> None:
    rng = np.random.default_rng(0)
    kind = rng.choice(3, 4000, p=[0.95 - share, share, 0.05])  # single, doublet, debris
    dna = unit * np.array([1.0, 2.0, 0.05])[kind] * np.exp(0.08 * rng.normal(size=4000))
    dna[:5] = 0
    keep = gate_dna(events(DNA1=dna))
    assert keep.index[0] == "e0"
    assert not keep[:5].any()
    assert keep[(kind == 0) & (dna > 0)].mean() > 0.99
    assert keep[kind == 1].mean() < 0.01
    assert not keep[kind == 2].any()
    # the gate ends half way to two cells, whatever its width; a wider one keeps no fewer
    wide = gate_dna(events(DNA1=dna), n_mads=50.0)
    assert wide[keep].all()
    assert dna[wide.to_numpy()].max() <= 1.5 * 1.05 * unit


def test_dna_of_simulated_doublets_and_of_a_marker() -> None:
    adata = cytometry(2000, 6, 8, doublets=0.15, raw=True, seed=1)
    two = (adata.obs["cell_type"] == "doublet").to_numpy()
    keep = gate_dna(adata, "dna").to_numpy()
    assert keep[~two].mean() > 0.98
    assert keep[two].mean() < 0.05
    as_marker = anndata.AnnData(
        adata.obs[["dna"]].to_numpy(), obs=adata.obs[[]], var=pd.DataFrame(index=["DNA2"])
    )
    np.testing.assert_array_equal(gate_dna(as_marker, "DNA2"), keep)


def test_pulse_shape() -> None:
    rng = np.random.default_rng(1)
    height = rng.lognormal(10, 0.4, 3000)
    two = rng.random(3000) < 0.1
    area = height * np.where(two, 1.8, 1.0) * np.exp(0.05 * rng.normal(size=3000))
    adata = events(**{"FSC-A": area, "FSC-H": height})
    keep = gate_singlets(adata)
    assert keep[~two].mean() > 0.99
    assert keep[two].mean() < 0.01
    # only the ratio counts
    scaled = gate_singlets(events(a=7 * area, h=3 * height), "a", "h")
    np.testing.assert_array_equal(scaled, keep)
    # the limits by hand
    log = np.log(area / height)
    mad = 1.4826 * np.median(np.abs(log - np.median(log)))
    np.testing.assert_array_equal(gate_singlets(adata, n_mads=2.0), np.abs(log - np.median(log)) <= 2 * mad)
    adata.obs.iloc[0, 0] = -5.0
    assert not gate_singlets(adata).iloc[0]


def test_living_cells() -> None:
    rng = np.random.default_rng(2)
    dead = rng.random(3000) < 0.12
    stain = np.where(dead, rng.lognormal(5.5, 0.4, 3000), rng.gamma(2, 1.5, 3000))
    keep = gate_live(events(viability=stain))
    assert keep[~dead].mean() > 0.98
    assert keep[dead].mean() < 0.02
    kept = stain[keep.to_numpy()]
    assert kept.max() < stain[~keep.to_numpy()].min()  # one threshold
    with pytest.warns(NumericalWarning, match=r"'viability' shows no two groups \(means 1\.\d"):
        assert gate_live(events(viability=5 * np.sinh(rng.normal(3, 0.3, 3000)))).all()


def test_refusals() -> None:
    x = np.arange(1.0, 9.0)
    with pytest.raises(MissingKeyError, match="`dna` is 'DNA1', neither .*Did you mean 'DNA2'"):
        gate_dna(events(DNA2=x))
    with pytest.raises(ValueError, match="The column 'DNA1' holds 1 values that are NaN"):
        gate_dna(events(DNA1=np.r_[x, np.nan]))
    with pytest.raises(ValueError, match="has 0 values above 0"):
        gate_dna(events(DNA1=-x))
    with pytest.raises(ValueError, match="has 3 cells, but a gate needs"):
        gate_dna(events(DNA1=x[:3]))
    with pytest.raises(TypeError, match=r"adata.obs\['DNA1'\]` has type"):
        gate_dna(events(DNA1=np.array(list("abcdefgh"))))
    with pytest.raises(ValueError, match="`n_mads` is 0"):
        gate_singlets(events(**{"FSC-A": x, "FSC-H": x}), n_mads=0.0)
    with pytest.raises(ValueError, match="No event has both 'FSC-A' and 'FSC-H' above 0"):
        gate_singlets(events(**{"FSC-A": -x, "FSC-H": x}))
    with pytest.raises(ValueError, match="value 2 in every cell"):
        gate_live(events(viability=np.full(9, 2.0)))
    with pytest.raises(ValueError, match="`cofactor`"):
        gate_live(events(viability=x), cofactor=0.0)
