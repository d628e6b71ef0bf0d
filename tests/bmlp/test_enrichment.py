"""Enrichment: scipy one test at a time, the library on the same lists, blind draws, and every refusal."""

from __future__ import annotations

import socket
import warnings
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from scipy.stats import fisher_exact, hypergeom

from scmods import _checks
from scmods.bmlp import _enrichr
from scmods.bmlp import enrichment as en
from scmods.bmlp.gene_names import read_gene_sets

GENES = [f"G{i}" for i in range(60)]
SETS = {
    "first ten": GENES[:10],
    "odd": GENES[1::2],
    "far": GENES[40:48],
    "half outside": [*GENES[20:26], "X1", "X2", "X3"],
    "pair": GENES[58:60],
}
MODULES = {"a": GENES[:8], "b": GENES[5:25], "c": [GENES[i] for i in (3, 41, 43, 45, 47, 59)]}


def plain_bh(p: list[float]) -> list[float]:
    """The definition: the smallest m p / rank over all p-values that are at least as large."""
    p = np.array(p)
    return [min(1.0, min(len(p) * q / (p <= q).sum() for q in p[p >= x])) for x in p]


@pytest.fixture(scope="module")
def result() -> pd.DataFrame:
    return en.enrich(MODULES, SETS, background=GENES)


# ---------------------------------------------------------------- the test itself


def test_every_row_equals_scipy_one_at_a_time(result: pd.DataFrame) -> None:
    assert len(result) == 3 * 4  # "pair" has two genes and is not tested
    for row in result.itertuples():
        module, term = set(MODULES[row.module]), set(SETS[row.term]) & set(GENES)
        k = len(module & term)
        assert (row.overlap, row.n_module, row.n_term, row.n_background) == (k, len(module), len(term), 60)
        assert row.p_value == pytest.approx(hypergeom.sf(k - 1, 60, len(term), len(module)), rel=1e-12)
        assert row.expected == pytest.approx(len(module) * len(term) / 60)
        cells = [[k, len(term) - k], [len(module) - k, 60 - len(module) - len(term) + k]]
        assert row.p_value == pytest.approx(fisher_exact(cells, "greater").pvalue, rel=1e-9)
        (a, b), (c, d) = np.array(cells) + 0.5
        assert row.odds_ratio == pytest.approx(a * d / (b * c))
        assert row.genes == ";".join(g for g in GENES if g in module & term)


def test_adjusts_over_all_modules_and_terms_and_within_modules(result: pd.DataFrame) -> None:
    np.testing.assert_allclose(result["p_adj"], plain_bh(result["p_value"]), rtol=1e-12)
    for _, rows in result.groupby("module"):
        np.testing.assert_allclose(rows["p_adj_module"], plain_bh(rows["p_value"]), rtol=1e-12)
    assert (result["significant"] == (result["p_adj"] <= 0.05)).all()
    assert 0 < result["significant"].sum() < len(result)


def test_terms_without_a_shared_gene_are_tests(result: pd.DataFrame) -> None:
    none = result[result["overlap"] == 0]
    assert len(none) >= 2
    assert (none["p_value"] == 1).all()
    assert (none["genes"] == "").all()


def test_order_is_modules_as_given_then_p(result: pd.DataFrame) -> None:
    assert list(dict.fromkeys(result["module"])) == ["a", "b", "c"]
    assert all(rows["p_value"].is_monotonic_increasing for _, rows in result.groupby("module"))


def test_order_and_repeats_of_genes_do_not_matter(result: pd.DataFrame) -> None:
    turned = {m: [*reversed(g), g[0]] for m, g in MODULES.items()}
    again = en.enrich(turned, {t: [*reversed(g), g[0]] for t, g in SETS.items()}, background=GENES[::-1])
    columns = ["module", "term", "overlap", "p_value", "p_adj"]
    both = [t[columns].sort_values(columns[:2]).reset_index(drop=True) for t in (result, again)]
    pd.testing.assert_frame_equal(*both)


def test_size_limits_count_measured_genes() -> None:
    def tested(**limits: int) -> set[str]:
        return set(en.enrich(MODULES, SETS, background=GENES, **limits)["term"])

    assert tested(min_size=1) == set(SETS)
    assert tested(min_size=7) == {"first ten", "odd", "far"}  # "half outside" has 9 genes, 6 measured
    assert tested(max_size=10) == {"first ten", "far", "half outside"}


def test_attrs_tell_what_was_matched_and_left_out(result: pd.DataFrame) -> None:
    assert result.attrs["n_terms_tested"] == 4
    assert result.attrs["n_terms_left_out"] == 1
    assert result.attrs["matched_how"] == "as written"
    assert result.attrs["share_matched"] == pytest.approx(len(set().union(*SETS.values()) & set(GENES)) / 60)


def test_genes_come_back_as_measured() -> None:
    mouse = [g.lower() for g in GENES]
    found = en.enrich({m: [g.lower() for g in v] for m, v in MODULES.items()}, SETS, background=mouse)
    expected = en.enrich(MODULES, SETS, background=GENES)
    np.testing.assert_allclose(found["p_adj"], expected["p_adj"])
    assert list(found["genes"]) == [g.lower() for g in expected["genes"]]
    assert found.attrs["matched_how"] == "upper case"


def test_reads_a_gmt_file(tmp_path: Path, result: pd.DataFrame) -> None:
    path = tmp_path / "own.gmt"
    path.write_text("\n".join("\t".join([t, "text", *g]) for t, g in SETS.items()), encoding="utf-8")
    for given in (path, str(path)):
        pd.testing.assert_frame_equal(en.enrich(MODULES, given, background=GENES), result)


# ---------------------------------------------------------------- the library


def test_equals_the_library_where_it_has_a_row() -> None:
    own = en.enrich(MODULES, SETS, background=GENES, min_size=1)
    library = en.enrich_gseapy(MODULES, SETS, GENES)
    both = library.merge(own, on=["module", "term"], suffixes=("", "_own"), validate="one_to_one")
    assert len(both) == len(library) == (own["overlap"] > 0).sum()
    for column in ("p_value", "odds_ratio", "overlap", "n_term", "n_module", "n_background", "expected"):
        np.testing.assert_allclose(both[column], both[f"{column}_own"], rtol=1e-12)
    assert all(set(r.genes.split(";")) == set(r.genes_own.split(";")) for r in both.itertuples())


def test_the_library_adjusts_over_fewer_tests() -> None:
    own = en.enrich(MODULES, SETS, background=GENES, min_size=1)
    library = en.enrich_gseapy(MODULES, SETS, GENES)
    for module, rows in library.groupby("module"):
        np.testing.assert_allclose(rows["p_adj_module"], plain_bh(rows["p_value"]), rtol=1e-12)
        mine = own[(own["module"] == module) & (own["overlap"] > 0)].set_index("term")["p_adj_module"]
        assert (rows.set_index("term")["p_adj_module"] <= mine + 1e-12).all()
    assert (library["module"] == "a").sum() < 5
    assert "p_adj" not in library


def test_library_modules_without_a_shared_gene_have_no_row() -> None:
    # no set has a gene of the module within reach of the library: its `.results` is an empty list
    import gseapy

    answer = gseapy.enrich(GENES[26:30], {"far": SETS["far"]}, background=GENES, outdir=None, no_plot=True)
    assert list(answer.results) == []
    empty = en._counting.stack([])
    assert list(empty.columns) == list(en.enrich_gseapy(MODULES, SETS, GENES).columns)


# ---------------------------------------------------------------- names


def test_as_written_is_kept_on_a_tie() -> None:
    match = en.match_genes(GENES, SETS)
    assert (match.how, match.names, match.measured) == ("as written", tuple(GENES), tuple(GENES))
    assert match.found == set(GENES) & set().union(*SETS.values())
    assert str(match) == f"{match.share:.1%} of 60 measured genes are in the gene sets (as written)"


def test_upper_case_when_it_finds_more() -> None:
    match = en.match_genes(["Cd3d", "Actb", "CD3E"], {"t": ["CD3D", "CD3E", "CD8A"]})
    assert (match.how, match.names) == ("upper case", ("CD3D", "ACTB", "CD3E"))
    assert match.share == pytest.approx(2 / 3)


@pytest.mark.parametrize("form", ["dict", "frame"])
def test_table_of_orthologs(form: str) -> None:
    pairs = {"Car2": "CA2", "Atp5a1": "ATP5F1A"}
    table = (
        pairs
        if form == "dict"
        else pd.DataFrame({"mouse": [*pairs, "Gm1"], "human": [*pairs.values(), None]})
    )
    match = en.match_genes(["Car2", "Gm1", "Atp5a1"], {"s": ["CA2", "ATP5F1A"]}, table=table)
    assert (match.how, match.names) == ("table", ("CA2", "Gm1", "ATP5F1A"))
    plain = en.match_genes(["Car2", "Gm1", "Atp5a1", "Ca2"], {"s": ["CA2", "ATP5F1A"]})
    assert plain.share == 0.25  # upper-casing finds neither of the renamed genes


def test_several_partners_take_the_one_in_the_sets_and_are_told() -> None:
    table = pd.DataFrame({"a": ["Cd24a", "Cd24a", "Ly6"], "b": ["CD24P4", "CD24", "LY6"]})
    match = en.match_genes(["Cd24a", "Ly6"], {"s": ["CD24", "LY6"]}, table=table)
    assert match.names == ("CD24", "LY6")
    assert match.ambiguous == {"Cd24a": ("CD24P4", "CD24")}


def test_collisions_are_reported_and_count_once() -> None:
    genes = [g.lower() for g in GENES] + ["G0"]
    match = en.match_genes(genes, SETS)
    assert match.duplicates == {"G0": ("g0", "G0")}
    assert "1 names stand for several genes" in str(match)
    with pytest.warns(
        _checks.NumericalWarning, match=r"1 names in .*\(upper case\).*'G0' for \['g0', 'G0'\]"
    ):
        found = en.enrich({"m": ["g0", "G0", "g1", "g2"]}, SETS, background=genes)
    assert set(found["n_module"]) == {3}
    assert set(found["n_background"]) == {60}
    assert found.loc[found["term"] == "first ten", "genes"].item() == "g0;g1;g2"


def test_few_small_sets_are_no_mismatch() -> None:
    many = [f"A{i}" for i in range(1000)]
    assert en.match_genes(many, {"own": many[:5]}).share == 0.005


def test_mismatch_shows_the_share_and_both_sides() -> None:
    with pytest.raises(ValueError) as error:
        en.match_genes([f"q{i}" for i in range(99)] + ["G1"], SETS)
    text = str(error.value)
    assert "Only 1 of 100 measured genes (1.0%)" in text
    assert "expected at least 20%" in text
    assert "Measured: ['q0', 'q1', 'q2']; in the sets: ['G0', 'G1', 'G11']" in text
    assert "not orthology" in text
    assert "table=orthologs" in text


@pytest.mark.parametrize(
    ("names", "word"),
    [
        ([f"ENSMUSG{i:011d}" for i in range(9)], "of the data are Ensembl ids"),
        ([f"ENSG{i:011d}.3" for i in range(9)], "of the data are Ensembl ids"),
        ([str(i) for i in range(900, 909)], "of the data are numbers, as Entrez ids are"),
    ],
)
def test_kinds_of_ids_are_recognised(names: list[str], word: str) -> None:
    with pytest.raises(ValueError, match=f"The names {word}.*adata.var_names = adata.var"):
        en.match_genes(names, SETS)
    with pytest.raises(ValueError, match=f"The names {word.replace('of the data', 'in the sets')}"):
        en.match_genes(GENES, {"s": names})


@pytest.mark.parametrize(
    ("table", "text"),
    [(pd.DataFrame({"a": ["x"]}), r"DataFrame of shape \(1, 1\)"), (["x"], "is a list, but must be")],
)
def test_table_of_another_form_is_refused(table: object, text: str) -> None:
    with pytest.raises(TypeError, match=text + r".*table=orthologs\[\["):
        en.match_genes(GENES, SETS, table=table)


def test_unknown_names_and_files(tmp_path: Path) -> None:
    with pytest.raises(
        _checks.MissingKeyError, match="no gene sets named 'halmark'.*Did you mean 'hallmark'"
    ):
        en.enrich(MODULES, "halmark", background=GENES)
    with pytest.raises(FileNotFoundError, match="does not exist"):
        en.enrich(MODULES, tmp_path / "none.gmt", background=GENES)


@pytest.mark.parametrize(
    ("sets", "kind", "text"),
    [
        ({}, ValueError, "holds no set"),
        (
            {"ok": ["G1"], "bare": []},
            ValueError,
            r"1 of 2 gene sets hold no gene: \['bare'\].*Leave them out",
        ),
        ({"s": "G1"}, TypeError, "gene set 's' is 'G1' of type str, but must be a list"),
        ({"s": [3]}, TypeError, "gene set 's' holds 3 of type int.*by name"),
        (["G1"], TypeError, "`gene_sets` is of type list, but must be a dictionary"),
    ],
)
def test_gene_sets_of_another_form_are_refused(sets: object, kind: type[Exception], text: str) -> None:
    with pytest.raises(kind, match=text):
        read_gene_sets(sets)


# ---------------------------------------------------------------- refusals of the test


@pytest.mark.parametrize("call", ["enrich", "enrich_gseapy"])
@pytest.mark.parametrize(
    ("modules", "background", "kind", "text"),
    [
        ({}, GENES, ValueError, "`modules` is empty"),
        (GENES[:5], GENES, TypeError, "`modules` is of type list, but must be a dictionary"),
        ({"m": "G1"}, GENES, TypeError, "module 'm' is 'G1' of type str"),
        ({"m": [1, 2, 3]}, GENES, TypeError, "module 'm' holds 1 of type int"),
        ({"m": ["G1", "G2", "G1"]}, GENES, ValueError, r"'m' has 2 distinct genes.*modules.pop\('m'\)"),
        ({"m": GENES[28:40:2]}, GENES, ValueError, "6 distinct genes, and 0 of them occur in the gene sets"),
        ({"m": GENES[:20]}, GENES[:15], ValueError, "15 genes, fewer than the 20 of module 'm'"),
        (
            {"m": ["G1", "G2", "g3"]},
            GENES,
            ValueError,
            r"'m' has 1 of 3 genes .* \['g3'\].*mean 'G3'.*var_names",
        ),
        (MODULES, [*GENES, "G1"], ValueError, "1 duplicated names"),
    ],
)
def test_bad_modules_and_backgrounds(
    call: str, modules: object, background: list[str], kind: type[Exception], text: str
) -> None:
    with pytest.raises(kind, match=text):
        getattr(en, call)(modules, SETS, background=background)


@pytest.mark.parametrize(
    ("given", "text"),
    [
        ({"alpha": 1.5}, r"`alpha` is 1.5.*\[0, 1\]"),
        ({"min_size": 0}, "`min_size` is 0"),
        ({"max_size": 2}, "`max_size` is 2, but must be at least 3"),
        (
            {"min_size": 40},
            r"None of the 5 gene sets has at least 40 measured genes \(they have 2 to 30 of the 60",
        ),
    ],
)
def test_bad_options(given: dict[str, float], text: str) -> None:
    with pytest.raises(ValueError, match=text):
        en.enrich(MODULES, SETS, background=GENES, **given)


# ---------------------------------------------------------------- the null


@pytest.fixture(scope="module")
def panel() -> tuple[list[str], dict[str, list[str]]]:
    """A panel of 400 genes of one theme: the sets of the theme are measured nearly whole."""
    rng = np.random.default_rng(1)
    genes = [f"G{i}" for i in range(400)]
    theme = {f"theme {i}": list(rng.choice(genes, 40, replace=False)) for i in range(40)}
    others = {f"other {i}": [f"X{i}_{j}" for j in range(30)] + list(rng.choice(genes, 4)) for i in range(40)}
    return genes, {**theme, **others}


def test_random_lists_keep_the_rate_only_with_measured_genes(panel: tuple) -> None:
    null = en.random_list_null(*panel, list_size=30, n_lists=400).set_index(["background", "counted"])
    assert list(null.index) == [
        (b, c) for b in ("measured", "nominal") for c in ("all terms", "terms with a hit")
    ]
    assert null.loc[("measured", "all terms"), "share"] <= 0.05
    assert null.loc[("nominal", "all terms"), "share"] > 0.5
    assert (null["n_lists"] == 400).all()
    assert (null["share"] == null["n_with_hit"] / 400).all()
    assert ((null["low"] < null["share"]) & (null["share"] <= null["high"])).loc[("nominal",)].all()
    for b in ("measured", "nominal"):
        assert null.loc[(b, "terms with a hit"), "share"] >= null.loc[(b, "all terms"), "share"]


def test_null_is_enrich_on_the_drawn_lists(panel: tuple) -> None:
    """The lists drawn from the seed, tested one by one by `enrich` and by the library."""
    genes, sets = panel
    null = en.random_list_null(genes, sets, list_size=30, n_lists=20, seed=3, alpha=0.9, min_size=1)
    drawn = np.argsort(np.random.default_rng(3).random((20, 400)), axis=1)[:, :30]
    lists = {f"l{i}": [genes[j] for j in row] for i, row in enumerate(drawn)}
    own = en.enrich(lists, sets, background=genes, min_size=1)
    hits = (own["p_adj_module"] <= 0.9).groupby(own["module"]).sum()
    library = en.enrich_gseapy(lists, sets, genes, alpha=0.9).groupby("module")["significant"].sum()
    assert 0 < (hits > 0).sum() < 20
    for row, expected in ((0, hits), (1, library)):
        assert null.loc[row, "n_with_hit"] == (expected > 0).sum()
        assert null.loc[row, "mean_hits"] == pytest.approx(expected.sum() / 20)


def test_nominal_rows_use_whole_sets_and_the_genome(panel: tuple) -> None:
    genes, sets = panel
    null = en.random_list_null(genes, sets, list_size=30, n_lists=15, seed=5, compare_background=5000)
    drawn = np.argsort(np.random.default_rng(5).random((15, 400)), axis=1)[:, :30]
    tested = [set(s) for s in sets.values() if len(set(s) & set(genes)) >= 3]
    hit = []
    for row in drawn:
        shared = [len({genes[j] for j in row} & s) for s in tested]
        p = [hypergeom.sf(k - 1, 5000, len(s), 30) for k, s in zip(shared, tested, strict=True)]
        hit.append(sum(np.array(plain_bh(p)) <= 0.05))
    assert null.loc[2, "n_background"] == 5000
    assert null.loc[2, "mean_hits"] == pytest.approx(np.mean(hit))


def test_null_repeats_and_leaves_the_global_generator_alone(panel: tuple) -> None:
    state = np.random.get_state()[1].copy()
    runs = [en.random_list_null(*panel, list_size=20, n_lists=150, seed=s) for s in (0, 0, 1)]
    pd.testing.assert_frame_equal(runs[0], runs[1])
    assert not runs[0].equals(runs[2])
    np.testing.assert_array_equal(np.random.get_state()[1], state)


def test_interval_is_exact() -> None:
    found = en._counting.share(np.array([0, 0, 2, 0, 0, 0, 0, 0, 0, 1]))
    assert (found["n_with_hit"], found["share"], found["mean_hits"]) == (2, 0.2, 0.3)
    # Clopper-Pearson for 2 of 10: each tail of the binomial is 2.5 % at the limits
    from scipy.stats import binom

    assert binom.sf(1, 10, found["low"]) == pytest.approx(0.025, abs=1e-6)
    assert binom.cdf(2, 10, found["high"]) == pytest.approx(0.025, abs=1e-6)


@pytest.mark.parametrize(
    ("given", "text"),
    [
        ({"list_size": 61}, "`list_size` is 61, but must be at least 3 and at most 60. A list is drawn"),
        ({"list_size": 5, "compare_background": 50}, "`compare_background` is 50.*60 genes were measured"),
        ({"list_size": 5, "n_lists": 0}, "`n_lists` is 0"),
    ],
)
def test_bad_null_options(given: dict[str, int], text: str) -> None:
    with pytest.raises(ValueError, match=text):
        en.random_list_null(GENES, SETS, **given)


@pytest.mark.data
@pytest.mark.parametrize("sets", ["hallmark", "go_bp_2021"])
@pytest.mark.parametrize("size", [25, 50])
def test_rate_on_real_genes(sets: str, size: int, data_folder: Path) -> None:
    from scmods import datasets

    genes = list(datasets.load("pbmc68k").var_names)
    null = en.random_list_null(genes, sets, list_size=size, n_lists=400)
    assert null.loc[0, "share"] <= 0.05
    assert null.loc[2, "share"] > 4 * null.loc[0, "share"]


# ---------------------------------------------------------------- the heat map


def test_heatmap_fills_every_tested_value(result: pd.DataFrame) -> None:
    values, marks = en.heatmap_table(result, top=1)
    assert list(values.index) == ["a", "b", "c"]
    assert set(values.columns) == set(result.loc[result.groupby("module")["p_value"].idxmin(), "term"])
    assert len(values.columns) < 4
    cells = result.set_index(["module", "term"])
    for module in values.index:
        for term in values.columns:
            expected = -np.log10(cells.loc[(module, term), "p_adj"])
            assert values.loc[module, term] == pytest.approx(expected, abs=1e-12)
            assert marks.loc[module, term] == cells.loc[(module, term), "significant"]
    assert marks.dtypes.eq(bool).all()
    assert marks.index.equals(values.index)
    assert marks.columns.equals(values.columns)


def test_heatmap_keeps_significant_values_outside_the_top() -> None:
    modules = {"a": GENES[:10], "b": [*GENES[:9], *GENES[40:48]]}
    result = en.enrich(modules, SETS, background=GENES)
    values, marks = en.heatmap_table(result, top=1)
    assert set(values.columns) == {"first ten", "far"}
    assert marks.loc["b"].all()
    assert (values.loc["b"] > 1).all()


def test_heatmap_keeps_long_names_apart_and_is_finite() -> None:
    names = ["x" * 60 + end for end in ("1", "2")]
    many = [f"A{i}" for i in range(4000)]
    sets = {names[0]: many[:400], names[1]: many[400:2000]}
    result = en.enrich({"m": many[:400], "n": many[400:800]}, sets, background=many)
    values, _ = en.heatmap_table(result)
    assert list(values.columns) == names
    assert values.loc["m", names[0]] == 300
    assert np.isfinite(values).all(axis=None)


def test_heatmap_of_the_library_has_gaps_not_zeros() -> None:
    library = en.enrich_gseapy(MODULES, SETS, GENES)
    values, marks = en.heatmap_table(library, value="p_adj_module")
    rows = library.set_index(["module", "term"]).index
    gaps = [(m, t) for m in values.index for t in values.columns if (m, t) not in rows]
    assert gaps
    assert all(np.isnan(values.loc[m, t]) and not marks.loc[m, t] for m, t in gaps)


def test_heatmap_refusals(result: pd.DataFrame) -> None:
    with pytest.raises(_checks.MissingKeyError, match="no column 'p_adj'.*value='p_adj_module'"):
        en.heatmap_table(result.drop(columns="p_adj"))
    with pytest.raises(ValueError, match=r"12 rows twice, first \('a', "):
        en.heatmap_table(pd.concat([result, result]))
    with pytest.raises(ValueError, match="`top` is 0"):
        en.heatmap_table(result, top=0)
    with pytest.raises(ValueError, match="`value` is 'p'"):
        en.heatmap_table(result, value="p")
    with pytest.raises(ValueError, match="No gene of the 3 modules is in a set"):
        en.heatmap_table(result.assign(overlap=0))


# ---------------------------------------------------------------- the server, without one


class Client:
    """Stands for the library's client: two libraries, one answer."""

    base_url = "https://enrichr.invalid/Enrichr"
    db_map = {"human": "Enrichr", "mouse": "Enrichr", "hsapiens": "Enrichr"}
    answer: object = None

    def __init__(self, genes: list[str], library: str, *, organism: str, outdir: None, no_plot: bool) -> None:
        self.genes, self.organism, self._session = genes, organism, None

    def get_libraries(self) -> list[str]:
        return ["GO_Biological_Process_2023", "KEGG_2016"]

    def run(self) -> None:
        if isinstance(self.answer, Exception):
            raise self.answer
        self.results = self.answer if self.answer is not None else self.table()

    def table(self) -> pd.DataFrame:
        return pd.DataFrame(
            {
                "Term": ["far", "near"],
                "Overlap": ["1/8", "3/10"],
                "P-value": [0.2, 0.001],
                "Adjusted P-value": [0.2, 0.002],
                "Odds Ratio": [1.5, 20.0],
                "Genes": ["G41", ";".join(self.genes[:3])],
            }
        )


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch) -> type[Client]:
    """A server that accepts connections; the addresses asked for are kept in `Client.asked`."""

    class Own(Client):
        asked: list[tuple] = []
        sessions: list[object] = []

        def run(self) -> None:
            self.sessions.append(self._session)
            super().run()

    def connect(address: tuple[str, int], timeout: float) -> socket.socket:
        Own.asked.append((address, timeout))
        return socket.socket()

    monkeypatch.setattr("gseapy.Enrichr", Own)
    monkeypatch.setattr(_enrichr.urllib.request, "getproxies", dict)
    monkeypatch.setattr(_enrichr.socket, "create_connection", connect)
    return Own


def quiet_online(*args: object, **kwargs: object) -> pd.DataFrame:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)
        return en.enrich_online(*args, **kwargs)


def test_online_table_and_warning(server: type[Client]) -> None:
    with pytest.warns(UserWarning, match="sends no background.*background=adata.var_names"):
        found = en.enrich_online(MODULES, organism="Human")
    assert list(found["module"]) == ["a", "a", "b", "b", "c", "c"]
    assert list(found["term"][:2]) == ["near", "far"]
    assert list(found["overlap"][:2]) == [3, 1]
    assert list(found["n_term"][:2]) == [10, 8]
    assert list(found["significant"][:2]) == [True, False]
    assert found["genes"][0] == "G0;G1;G2"
    assert "p_adj" not in found
    assert server.asked == [(("enrichr.invalid", 443), 3.0)]


def test_online_calls_try_once_and_have_a_limit(server: type[Client]) -> None:
    import requests

    quiet_online({"a": MODULES["a"]}, timeout=0.5)
    (session,) = server.sessions
    assert isinstance(session, requests.Session)
    assert session.get_adapter("https://x").max_retries.total == 0
    assert session.request.keywords == {"timeout": 5.0}


def test_real_client_opens_no_connection_and_names_its_host(monkeypatch: pytest.MonkeyPatch) -> None:
    """The address comes from the installed library; an unreachable one is an error at once, tried once."""
    asked = []

    def refuse(address: tuple[str, int], timeout: float) -> socket.socket:
        asked.append(address)
        raise ConnectionRefusedError(111, "refused")

    monkeypatch.setattr(_enrichr.urllib.request, "getproxies", dict)
    monkeypatch.setattr(_enrichr.socket, "create_connection", refuse)
    with pytest.raises(ConnectionError) as error:
        quiet_online(MODULES, "KEGG_2016", organism="Mouse")
    text = str(error.value)
    assert "'KEGG_2016' cannot be had" in text
    assert "within 3 s" in text
    assert "refused" in text
    assert "enrich(modules, 'KEGG_2016.gmt', background=adata.var_names)" in text
    assert "enrich(modules, 'go_bp_2021'" in text
    assert len(asked) == 1
    assert asked[0][0] in text
    assert asked[0][1] == 443


def test_a_look_up_that_hangs_is_left_behind(server: type[Client], monkeypatch: pytest.MonkeyPatch) -> None:
    import threading

    released = threading.Event()

    def hang(address: tuple[str, int], timeout: float) -> None:
        released.wait(30)
        raise OSError

    monkeypatch.setattr(_enrichr.socket, "create_connection", hang)
    with pytest.raises(ConnectionError, match="no answer to the look-up"):
        quiet_online(MODULES, timeout=0.01)
    released.set()


def test_a_proxy_is_probed_instead(server: type[Client], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(_enrichr.urllib.request, "getproxies", lambda: {"https": "http://gate.invalid:8080"})
    monkeypatch.setattr(_enrichr.urllib.request, "proxy_bypass", lambda host: False)
    quiet_online({"a": MODULES["a"]})
    assert server.asked[0][0] == ("gate.invalid", 8080)


def test_failures_after_the_connection_are_one_kind(server: type[Client]) -> None:
    import requests

    for failure in (requests.ConnectionError("reset"), ValueError("no JSON"), TimeoutError("slow")):
        server.answer = failure
        with pytest.raises(
            ConnectionError, match="was reached but failed on the library 'KEGG_2016'.*Without"
        ):
            quiet_online(MODULES, "KEGG_2016")


def test_an_empty_answer_is_an_error(server: type[Client]) -> None:
    server.answer = []
    with pytest.raises(
        ValueError, match="no set of 'KEGG_2016' for module 'a'.*'G0', 'G1', 'G2'.*match_genes"
    ):
        quiet_online(MODULES, "KEGG_2016")


def test_online_refusals(server: type[Client]) -> None:
    with pytest.raises(_checks.MissingKeyError, match="no library 'KEGG_2061'.*Did you mean 'KEGG_2016'"):
        quiet_online(MODULES, "KEGG_2061")
    with pytest.raises(ValueError, match="`organism` is 'mose', but must be one of .*Did you mean 'mouse'"):
        quiet_online(MODULES, organism="mose")
    with pytest.raises(ValueError, match="'m' has 2 distinct genes; at least 3"):
        quiet_online({"m": ["G1", "G2"]})
    with pytest.raises(ValueError, match="`timeout` is 0"):
        quiet_online(MODULES, timeout=0)


def test_import_is_light() -> None:
    import subprocess
    import sys

    code = (
        "import sys, scmods.bmlp.enrichment; heavy = ('gseapy', 'scipy.stats', 'pandas', 'torch');"
        "sys.exit(str([m for m in heavy if m in sys.modules] or ''))"
    )
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert run.stderr.strip() == ""
