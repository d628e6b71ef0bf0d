"""Files: own FCS files of every odd kind the standard allows, byte by byte, and round trips."""

from __future__ import annotations

import struct
from pathlib import Path

import anndata
import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import sparse

from scmods._checks import MissingKeyError
from scmods.scyan._fcs import _keywords, _text
from scmods.scyan.compensation import compensate
from scmods.scyan.reading import read_csv, read_fcs, read_h5ad, write_csv, write_fcs

EVENTS = np.array([[1, 200, 30], [70000, 5, 0], [2, 65535, 77]], dtype=float)
CHANNELS = ["Y89Di", "FITC-A", "Time"]


def fcs(
    path: Path, data: bytes, *, header_offsets: bool = True, mark: str = "|", **change: str | None
) -> Path:
    """A file with the given events; `change` overrides keywords (names without "$"), None drops one."""
    keys = {"BYTEORD": "1,2,3,4", "DATATYPE": "F", "MODE": "L", "PAR": "3", "TOT": "3", "NEXTDATA": "0"}
    for i, c in enumerate(CHANNELS, start=1):
        keys |= {f"P{i}N": c, f"P{i}B": "32", f"P{i}R": "1048576", f"P{i}E": "0,0"}
    keys |= {"P1S": "CD45", "P2S": "CD4/CD8"}
    keys |= {"BEGINDATA": "%08d", "ENDDATA": "%08d"}
    keys = {k: v for k, v in {**keys, **change}.items() if v is not None}
    text = mark + mark.join(f"${k}{mark}{v}" for k, v in keys.items()) + mark
    begin = 58 + len(text.encode())  # "%08d" becomes eight digits, four more than now, twice
    begin += 8 if "BEGINDATA" in keys else 0
    end = begin + len(data) - 1
    text = text.replace("%08d", f"{begin:08d}", 1).replace("%08d", f"{end:08d}", 1)
    places = (58, begin - 1, *((begin, end) if header_offsets else (0, 0)), 0, 0)
    head = b"FCS3.0    " + b"".join(b"%8d" % p for p in places)
    path.write_bytes(head + text.encode() + data)
    return path


def floats(order: str = "<", kind: str = "f4") -> bytes:
    return EVENTS.astype(f"{order}{kind}").tobytes()


def check(adata: anndata.AnnData) -> None:
    np.testing.assert_array_equal(adata.X, EVENTS[:, :2])
    np.testing.assert_array_equal(adata.obs["Time"], EVENTS[:, 2])


def test_plain_file(tmp_path: Path) -> None:
    adata = read_fcs(fcs(tmp_path / "a.fcs", floats()))
    check(adata)
    assert adata.var_names.tolist() == ["CD45", "CD4/CD8"]
    assert adata.var["channel"].tolist() == ["Y89Di", "FITC-A"]
    assert adata.uns["fcs"]["$TOT"] == "3"
    assert adata.X.dtype == np.float32
    adata.write_h5ad(tmp_path / "a.h5ad")
    check(read_h5ad(tmp_path / "a.h5ad"))


@pytest.mark.parametrize("order", ["<", ">"])
@pytest.mark.parametrize("kind", ["f4", "f8"])
def test_byte_orders_and_doubles(tmp_path: Path, order: str, kind: str) -> None:
    change = {} if kind == "f4" else {"DATATYPE": "D", **{f"P{i}B": "64" for i in (1, 2, 3)}}
    byteord = "1,2,3,4" if order == "<" else "4,3,2,1"
    check(read_fcs(fcs(tmp_path / "a.fcs", floats(order, kind), BYTEORD=byteord, **change)))


@pytest.mark.parametrize("order", ["<", ">"])
def test_mixed_widths(tmp_path: Path, order: str) -> None:
    """32, 16 and 8 bits side by side; and 24 bits, which no numpy type has."""
    byteord = "1,2,3,4" if order == "<" else "4,3,2,1"
    data = b"".join(struct.pack(f"{order}IHB", *map(int, e)) for e in EVENTS)
    widths = {"DATATYPE": "I", "P2B": "16", "P3B": "8", "P2R": "65536", "P3R": "256", "BYTEORD": byteord}
    check(read_fcs(fcs(tmp_path / "a.fcs", data, **widths)))
    name = {"<": "little", ">": "big"}[order]
    data = b"".join(int(v).to_bytes(3, name) for v in EVENTS.ravel())
    three = {"DATATYPE": "I", **{f"P{i}B": "24" for i in (1, 2, 3)}, "BYTEORD": byteord}
    check(read_fcs(fcs(tmp_path / "b.fcs", data, **three)))


def test_bits_above_the_range_are_cleared(tmp_path: Path) -> None:
    data = b"".join(struct.pack("<III", int(a) | 1 << 30, int(b), int(c)) for a, b, c in EVENTS)
    check(read_fcs(fcs(tmp_path / "a.fcs", data, DATATYPE="I", P1R="100000")))


def test_offsets_from_the_keywords(tmp_path: Path) -> None:
    check(read_fcs(fcs(tmp_path / "a.fcs", floats(), header_offsets=False)))
    path = fcs(tmp_path / "b.fcs", floats(), header_offsets=False, BEGINDATA=None)
    with pytest.raises(ValueError, match=r"lacks the keyword \$BEGINDATA"):
        read_fcs(path)


def test_missing_and_doubled_markers(tmp_path: Path) -> None:
    assert read_fcs(fcs(tmp_path / "a.fcs", floats(), P1S=None)).var_names.tolist() == ["Y89Di", "CD4/CD8"]
    both = read_fcs(fcs(tmp_path / "b.fcs", floats(), P1S="CD3", P2S="CD3"))
    assert both.var_names.tolist() == ["Y89Di", "FITC-A"]
    assert both.var["marker"].tolist() == ["CD3", "CD3"]
    one = read_fcs(fcs(tmp_path / "c.fcs", floats()), markers=["CD4/CD8"])
    assert one.var_names.tolist() == ["CD4/CD8"]
    assert one.obs.columns.tolist() == ["CD45", "Time"]
    with pytest.raises(MissingKeyError, match="not in the file: \\['CD46'\\].*Did you mean 'CD45'"):
        read_fcs(tmp_path / "c.fcs", markers=["CD46"])
    with pytest.raises(ValueError, match="No column is a marker"):
        read_fcs(fcs(tmp_path / "d.fcs", floats(), P1S="DNA1", P2S="Event_length"))


def test_empty_values_and_doubled_delimiters(tmp_path: Path) -> None:
    """The standard forbids empty values, and programs write them."""
    adata = read_fcs(fcs(tmp_path / "a.fcs", floats(), OP="", P2S=""))
    check(adata)
    assert adata.var_names.tolist() == ["CD45", "FITC-A"]
    assert read_fcs(fcs(tmp_path / "b.fcs", floats(), P2S="CD4||8")).var_names.tolist() == ["CD45", "CD4|8"]
    path = fcs(tmp_path / "c.fcs", floats(), P2S="TCR gd1")
    path.write_bytes(path.read_bytes().replace(b"gd1", "\xb5".encode("latin-1") + b"d1"))
    assert read_fcs(path).var_names[1] == "TCR \xb5d1"


def test_spillover(tmp_path: Path) -> None:
    path = fcs(tmp_path / "a.fcs", floats(), SPILLOVER="2,FITC-A,Y89Di,1,0.25,0.1,1")
    adata = read_fcs(path)
    # rows and columns follow the markers: FITC-A is the second
    np.testing.assert_array_equal(adata.varp["spillover"], [[1, 0.1], [0.25, 1]])
    true = adata.X.copy()
    adata.X = (true @ adata.varp["spillover"]).astype(np.float32)
    mixed = adata.copy()
    compensate(adata)
    np.testing.assert_allclose(adata.X, true, rtol=1e-4, atol=0.05)
    with pytest.raises(ValueError, match="compensated before"):
        compensate(adata)
    again = compensate(
        mixed,
        spillover=pd.DataFrame(mixed.varp["spillover"], mixed.var_names, mixed.var_names).iloc[::-1],
        copy=True,
    )
    np.testing.assert_array_equal(again.X, adata.X)
    assert "scyan_compensated" not in mixed.uns
    by_number = read_fcs(fcs(tmp_path / "b.fcs", floats(), SPILLOVER="2,2,1,1,0.25,0.1,1"))
    np.testing.assert_array_equal(by_number.varp["spillover"], adata.varp["spillover"])
    with pytest.raises(ValueError, match="n, n names and n x n numbers"):
        read_fcs(fcs(tmp_path / "c.fcs", floats(), SPILLOVER="2,FITC-A,Y89Di,1,0.25"))


def test_spillover_refusals() -> None:
    adata = anndata.AnnData(np.ones((2, 2), dtype=np.float32), var=pd.DataFrame(index=["PE", "FITC"]))
    table = pd.DataFrame(np.ones((2, 2)), index=["PE", "FITC"], columns=["PE", "FITC"])
    with pytest.raises(MissingKeyError, match="varp.*Give a matrix"):
        compensate(adata)
    with pytest.raises(ValueError, match="singular"):
        compensate(adata, spillover=table)
    with pytest.raises(ValueError, match="rows .* but columns"):
        compensate(adata, spillover=table.rename(index={"PE": "PE-A"}))
    with pytest.raises(MissingKeyError, match="Did you mean 'PE'"):
        compensate(adata, spillover=table.rename(index={"PE": "PEA"}, columns={"PE": "PEA"}))
    table.loc["FITC", "PE"] = np.nan
    with pytest.raises(ValueError, match="`spillover` is nan for 'FITC' in 'PE'"):
        compensate(adata, spillover=table)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"MODE": "C"}, r"\$MODE=C, one correlated histogram: it holds no single events.*\$MODE=L"),
        ({"MODE": "U"}, r"\$MODE=U, uncorrelated histograms"),
        ({"MODE": None}, r"lacks the keyword \$MODE"),
        ({"TOT": None}, r"lacks the keyword \$TOT"),
        ({"PAR": "three"}, r"\$PAR='three', but it must be a whole number"),
        ({"TOT": "4"}, r"cut short: \$TOT=4 events need 48 bytes, but it has 36"),
        ({"DATATYPE": "A"}, r"\$DATATYPE='A', but only F, D and I"),
        ({"BYTEORD": "3,4,1,2"}, r"\$BYTEORD='3,4,1,2', but only"),
        ({"P2B": "16"}, r"32 bits, but \$PnB of \['16', '32'\]"),
        ({"DATATYPE": "I", "P2B": "10"}, r"no whole number of bytes: \['\$P2B=10'\]"),
        ({"P2E": "4,1"}, r"'FITC-A' with logarithmic amplification \(\$PnE=4,1\)"),
        ({"P2N": None}, r"lacks the keyword \$P2N"),
        ({"P2N": "Y89Di", "P1S": None, "P2S": None}, "duplicated names"),
    ],
)
def test_files_that_cannot_be_read(tmp_path: Path, change: dict[str, str | None], message: str) -> None:
    path = fcs(tmp_path / "a.fcs", floats(), **change)
    with pytest.raises(ValueError, match=message):
        read_fcs(path)


def test_other_files(tmp_path: Path) -> None:
    (tmp_path / "a.fcs").write_text("CD3,CD4\n1,2\n" * 20)
    with pytest.raises(ValueError, match=r"starts with b'CD3,CD'.*read_csv"):
        read_fcs(tmp_path / "a.fcs")
    with pytest.raises(FileNotFoundError, match=r"Did you mean 'a.fcs'"):
        read_fcs(tmp_path / "b.fcs")


@given(st.dictionaries(st.text("AB$|/ x", min_size=1, max_size=5), st.text("ab|/é1", max_size=6), max_size=5))
def test_keywords_survive(pairs: dict[str, str]) -> None:
    # the standard allows no delimiter at the start of a word, where it could not be told from an empty one
    plain = {
        k.strip().upper(): v for k, v in pairs.items() if "|" not in k and k.strip() and not v.startswith("|")
    }
    assert _keywords(_text(plain)) == {k: v or " " for k, v in plain.items()}


def simulated(form: str = "dense") -> anndata.AnnData:
    rng = np.random.default_rng(0)
    x = rng.normal(100, 40, (50, 3)).astype(np.float32)
    adata = anndata.AnnData(sparse.csr_matrix(x) if form == "csr" else x)
    adata.obs_names = [f"event{i}" for i in range(50)]
    adata.var_names = ["CD3", "HLA-DR", "CD4/CD8"]
    adata.var["channel"] = ["Y89Di", "Nd142Di", "Nd143Di"]
    adata.varp["spillover"] = np.eye(3) + 0.01 * rng.random((3, 3))
    adata.obs["label"] = pd.Categorical(rng.choice(["18", "T cell (naïve)"], 50))
    adata.obs["Time"] = np.arange(50) * 0.5
    return adata


@pytest.mark.parametrize("form", ["dense", "csr"])
def test_fcs_round_trip(tmp_path: Path, form: str) -> None:
    adata = simulated(form)
    read = read_fcs(write_fcs(adata, tmp_path / "a.fcs"))
    np.testing.assert_array_equal(read.X, simulated().X)
    assert read.var_names.tolist() == adata.var_names.tolist()
    assert read.var["channel"].tolist() == adata.var["channel"].tolist()
    np.testing.assert_allclose(read.varp["spillover"], adata.varp["spillover"], atol=1e-9)
    np.testing.assert_array_equal(read.obs["Time"], adata.obs["Time"])
    assert [p.name for p in tmp_path.iterdir()] == ["a.fcs"]
    empty = read_fcs(write_fcs(adata[:0].copy(), tmp_path / "b.fcs"))
    assert empty.shape == (0, 3)
    with pytest.raises(FileNotFoundError, match="folder"):
        write_fcs(adata, tmp_path / "no" / "a.fcs")


def test_csv_round_trip(tmp_path: Path) -> None:
    adata = simulated()
    read = read_csv(write_csv(adata, tmp_path / "a.csv"))
    np.testing.assert_array_equal(read.X, adata.X)
    assert read.var_names.tolist() == adata.var_names.tolist()
    assert read.obs["label"].tolist() == adata.obs["label"].tolist()
    np.testing.assert_array_equal(read.obs["Time"], adata.obs["Time"])


def test_csv_columns(tmp_path: Path) -> None:
    path = tmp_path / "a.csv"
    path.write_text("CD3;Time;cluster;name\n1.5;0;18;a\n2;1;7;b\n", encoding="utf-8-sig")
    assert read_csv(path).var_names.tolist() == ["CD3", "cluster"]
    labelled = read_csv(path, labels=["cluster"])
    assert labelled.var_names.tolist() == ["CD3"]
    assert labelled.obs["cluster"].tolist() == ["18", "7"]
    with pytest.raises(MissingKeyError, match="Did you mean 'cluster'"):
        read_csv(path, labels=["clusters"])
    with pytest.raises(ValueError, match="hold text: \\['name'\\]"):
        read_csv(path, markers=["CD3", "name"])
    path.write_text("CD3,CD3\n1,2\n")
    with pytest.raises(ValueError, match="1 duplicated names"):
        read_csv(path)
    with pytest.raises(FileNotFoundError, match=r"Did you mean 'a.csv'"):
        read_csv(tmp_path / "b.csv")


def test_h5ad(tmp_path: Path) -> None:
    simulated("csr").write_h5ad(tmp_path / "a.h5ad")
    read = read_h5ad(tmp_path / "a.h5ad")
    np.testing.assert_array_equal(read.X, simulated().X)
    assert isinstance(read.X, np.ndarray)
    with pytest.raises(FileNotFoundError, match=r"Did you mean 'a.h5ad'"):
        read_h5ad(tmp_path / "b.h5ad")
