"""The table of knowledge: every fault is found, all of them at once, and a good table is left alone."""

from __future__ import annotations

import warnings
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from scipy.integrate import quad
from scipy.stats import norm

from scmods import datasets
from scmods._checks import NumericalWarning
from scmods.scyan.table import check_table, evidence, lint_table, population_distances, read_table

NAN = np.nan
MARKERS = ["CD3", "CD4", "CD19", "HLA-DR"]


def good() -> pd.DataFrame:
    rows = [[1, 1, -1, -1], [1, -1, -1, 1], [-1, -1, 1, 1], [-1, 1, 1, -1]]
    return pd.DataFrame(rows, index=["CD4/CD8", "18", "T cell (naïve)", "B"], columns=MARKERS, dtype=float)


def faults(table: pd.DataFrame, var_names: list[str] | None = None) -> set[tuple[str, str]]:
    found = lint_table(table, var_names)
    return set(zip(found["severity"], found["fault"], strict=True))


def test_a_good_table_has_no_fault() -> None:
    table = good()
    assert lint_table(table, MARKERS).empty
    checked = check_table(table, MARKERS)
    pd.testing.assert_frame_equal(checked, table)
    checked.iloc[0, 0] = 0
    assert table.iloc[0, 0] == 1  # a copy


def change(row: int, column: int, value: object) -> pd.DataFrame:
    table = good().astype(object)
    table.iloc[row, column] = value
    return table


@pytest.mark.parametrize(
    ("table", "kind"),
    [
        (good().iloc[:0], ("error", "no_populations")),
        (good().iloc[:, :0], ("error", "no_markers")),
        (good().rename(columns={"CD4": "CD45RA"}), ("error", "missing_marker")),
        (good().rename(columns={"HLA-DR": "hladr"}), ("error", "wrong_case")),
        (good().rename(columns={"CD4": "CD3"}), ("error", "duplicated_marker")),
        (good().rename(index={"18": "B"}), ("error", "duplicated_population")),
        (good().rename(index={"18": " "}), ("error", "empty_population")),
        (good().set_axis(["a", NAN, "b", "c"]), ("error", "empty_population")),
        (change(1, 2, "+"), ("error", "text")),
        (change(1, 2, np.inf), ("error", "infinite")),
        (change(1, 2, -1.5), ("error", "out_of_range")),
        ((good() + 1) / 2, ("error", "binary_coding")),
        (pd.concat([good(), good().iloc[[0]].set_axis(["twin"])]), ("error", "identical_rows")),
        (pd.concat([good(), (good().iloc[[0]] * NAN).set_axis(["any"])]), ("warning", "empty_row")),
        (
            change(0, 0, NAN).assign(**{f"m{i}": [NAN, 1, -1, 1] for i in range(40)}),
            ("warning", "sparse_row"),
        ),
        (good().assign(CD8=NAN), ("warning", "empty_marker")),
        (good().assign(CD8=[1, NAN, 1, NAN]), ("warning", "one_sided_marker")),
        (good().assign(CD8=[-1, NAN, -1, NAN]), ("warning", "one_sided_marker")),
        (good().assign(CD8=[0.0, 0.5, -0.5, 0.0]), ("warning", "in_between")),
    ],
)
def test_every_fault_is_found(table: pd.DataFrame, kind: tuple[str, str]) -> None:
    assert kind in faults(table, [*MARKERS, "CD8", *(f"m{i}" for i in range(40))])


def test_pairs_of_rows() -> None:
    rows = [[1, 1, NAN, -1], [1, NAN, -1, -1], [1, -1, -1, -1], [-1, -1, 1, 1]]
    table = pd.DataFrame(rows, index=list("abcd"), columns=MARKERS)
    found = lint_table(table).set_index(["fault", "population"])
    assert {p for f, p in found.index if f == "overlapping_rows"} == {"a, b", "b, c"}
    assert {p for f, p in found.index if f == "single_marker"} == {"a, c"}
    wide = pd.DataFrame([[1, 1, NAN, NAN, NAN], [1, -1, 1, 1, 1], [-1, 1, -1, -1, -1]], index=list("xyz"))
    assert lint_table(wide).query("fault == 'unbalanced_siblings'")["population"].tolist() == ["x, y", "x, z"]


def test_all_faults_come_together() -> None:
    table = change(0, 0, "yes").rename(columns={"HLA-DR": "HLADR", "CD4": "CD4a"})
    table.iloc[2, 2] = 3
    with pytest.raises(ValueError, match="4 faults") as caught:
        check_table(table, MARKERS)
    text = str(caught.value)
    for part in (
        "'HLADR' is written 'HLA-DR'",
        "Did you mean 'CD4'",
        "'yes'",
        "is 3, outside",
        "lint_table(",
    ):
        assert part in text
    severities = lint_table(table, MARKERS)["severity"].tolist()
    assert severities == sorted(
        severities
    )  # error < note < warning only by luck of the alphabet; here no notes


def test_objects_become_numbers() -> None:
    table = change(0, 0, pd.NA).astype(object)
    table.iloc[1, 1] = "-1"
    np.testing.assert_array_equal(check_table(table)[MARKERS[:2]].iloc[:2], [[NAN, 1], [1, -1]])


def test_weak_spots_warn() -> None:
    with pytest.warns(NumericalWarning, match="no negative one") as seen:
        check_table(good().assign(CD8=[1, NAN, 1, NAN]))
    assert len(seen) == 1
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        check_table(good().assign(CD8=[1, NAN, 1, NAN]), warn=False)
    with pytest.raises(TypeError, match="must be a DataFrame"):
        lint_table(good().to_numpy())  # type: ignore[arg-type]


def test_symbols() -> None:
    words = pd.DataFrame([["+", "-", "low"], ["−", "", "mid"], ["Pos", "NEG", "0.3"]], index=list("abc"))
    read = read_table(words, coding="symbols")
    np.testing.assert_array_equal(read.to_numpy(), [[1, -1, -0.5], [-1, NAN, 0], [1, -1, 0.3]])
    assert read_table(words.replace("low", "Weak"), coding="symbols", symbols={"weak": 0.2}).iloc[0, 2] == 0.2
    with pytest.raises(ValueError, match=r"a, 0: '\+'.*coding='symbols'\)` reads"):
        read_table(words)
    with pytest.raises(ValueError, match=r"'Weak'.*symbols=\{...\}"):
        read_table(words.replace("low", "Weak"), coding="symbols")
    with pytest.raises(ValueError, match="reads no words"):
        read_table(words, symbols={"weak": 0.2})


def test_binary_key() -> None:
    key = pd.DataFrame([[1, 0], [0, 1]], index=["A1", "A2"], columns=["102", "104"])
    np.testing.assert_array_equal(read_table(key, coding="binary").to_numpy(), [[1, -1], [-1, 1]])
    with pytest.raises(ValueError, match="A1, 104: -1"):
        read_table(key.replace(0, -1), coding="binary")
    with pytest.raises(ValueError, match="Did you mean 'signed'"):
        read_table(key, coding="sign")


@pytest.mark.parametrize("separator", [",", ";", "\t"])
def test_files(tmp_path: Path, separator: str) -> None:
    path = tmp_path / "table.csv"
    lines = ["Populations,coarse level,CD3,HLA-DR", "NA,T,1,", "18,B,-1,0.5", "T cell (naïve),T,,-1"]
    path.write_text("\n".join(lines).replace(",", separator) + "\n", encoding="utf-8-sig")
    read = read_table(path)
    assert read.index.get_level_values(0).tolist() == ["NA", "18", "T cell (naïve)"]
    assert read.index.get_level_values("coarse level").tolist() == ["T", "B", "T"]
    np.testing.assert_array_equal(read.to_numpy(), [[1, NAN], [-1, 0.5], [NAN, -1]])
    assert population_distances(read).columns.tolist() == ["NA", "18", "T cell (naïve)"]
    with pytest.raises(FileNotFoundError, match="Did you mean 'table.csv'"):
        read_table(tmp_path / "tabel.csv")
    with pytest.raises(TypeError, match="path of a CSV file"):
        read_table(3)


def test_distances() -> None:
    rng = np.random.default_rng(0)
    values = rng.choice([-1, 1, NAN], size=(6, 9))
    table = pd.DataFrame(values, index=list("abcdef"))
    distance = population_distances(table).to_numpy()
    share = population_distances(table, normalize=True).to_numpy()
    for p in range(6):
        for q in range(6):
            both = [m for m in range(9) if values[p, m] == values[p, m] and values[q, m] == values[q, m]]
            assert distance[p, q] == sum(values[p, m] != values[q, m] for m in both)
            assert share[p, q] == pytest.approx(distance[p, q] / len(both), nan_ok=True)


@pytest.mark.parametrize("prior_std", [0.2, 0.3, 0.6])
def test_worth_of_an_entry(prior_std: float) -> None:
    unknown = quad(lambda e: norm.pdf(1 - e, scale=prior_std) / 2, -1, 1)[0]
    expected = norm.logpdf(0, scale=prior_std) - np.log(unknown)
    table = evidence(good().replace({"CD3": {1: NAN}}), prior_std=prior_std)
    np.testing.assert_allclose(table["evidence"], expected * np.array([3, 3, 4, 4]))


def test_evidence_names_the_nearest() -> None:
    table = evidence(good())
    assert table.loc["18", ["known", "positive", "negative", "between"]].tolist() == [4, 2, 2, 0]
    assert table["separating"].tolist() == [2, 2, 2, 2]
    assert table["nearest"].tolist() == ["18", "CD4/CD8", "18", "CD4/CD8"]
    assert "nearest" not in evidence(good().iloc[:1])
    with pytest.raises(ValueError, match="prior_std"):
        evidence(good(), prior_std=0.0)


@pytest.mark.data
def test_published_table_is_usable() -> None:
    adata = datasets.load("aml_short")
    found = lint_table(adata.uns["table"], adata.var_names)
    assert "error" not in set(found["severity"])
    assert {("note", "single_marker")} <= faults(adata.uns["table"])
