"""Which annotated gene sets a module is rich in, counted against the genes that were measured.

The test is the hypergeometric tail: a module of n genes is compared with n genes drawn blindly from the measured
ones. With the genome as background a blind draw from a panel of blood genes is "enriched" for blood: see
`random_list_null`. Nothing here needs a network except `enrich_online`.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from scmods import _checks
from scmods.bmlp import _counting, _enrichr
from scmods.bmlp.gene_names import Match, match_genes, read_gene_sets
from scmods.stats import benjamini_hochberg

if TYPE_CHECKING:
    import pandas as pd

    GeneSets = Mapping[str, Iterable[str]] | str | Path
    Modules = Mapping[str, Sequence[str]]
    Table = pd.DataFrame | Mapping[str, str]

__all__ = [
    "Match",
    "enrich",
    "enrich_gseapy",
    "enrich_online",
    "heatmap_table",
    "match_genes",
    "random_list_null",
]

_BLOCK = 100  # random lists at a time, so that lists x terms stays small


def enrich(
    modules: Modules,
    gene_sets: GeneSets,
    *,
    background: Sequence[str],
    alpha: float = 0.05,
    min_size: int = 3,
    max_size: int | None = None,
    table: Table | None = None,
) -> pd.DataFrame:
    r"""Over-representation of gene sets in modules, with the measured genes as background.

    .. math:: p = P(X \ge k), \quad X \sim \mathrm{Hypergeometric}(N, K, n)

    k genes shared by a module of n genes and a set with K measured genes, N measured genes in all.

    Parameters
    ----------
    modules
        Genes of each module, in the spelling of `background`.
    gene_sets
        Dictionary of gene lists, path of a ``.gmt`` file, or ``"hallmark"`` or ``"go_bp_2021"``.
    background
        ALL genes that could have entered a module: ``adata.var_names`` of the data the model saw.
    alpha
        False discovery rate for the column ``significant``.
    min_size, max_size
        Sets with fewer or more MEASURED genes are not tested. The choice does not look at the modules, so it
        needs no correction.
    table
        Orthologs, see `match_genes`.

    Returns
    -------
    One row per module and tested set, sets without a shared gene included (p = 1); modules in the given order,
    smallest p first. Columns: ``module``, ``term``, ``overlap`` (k), ``n_module`` (n), ``n_term`` (K),
    ``n_background`` (N), ``expected`` (n K / N), ``odds_ratio`` (with 1/2 added to each of the four counts),
    ``p_value``, ``p_adj`` (Benjamini-Hochberg over all modules and sets together), ``p_adj_module`` (within the
    module), ``genes`` (shared, as spelt in `background`, joined by ";"), ``significant`` (``p_adj <= alpha``).
    ``attrs`` says the share of genes matched, how, and how many sets were tested and left out.

    Raises
    ------
    ValueError
        If a module has genes outside the background or fewer than 3 genes that are in a set, if the background
        is smaller than a module, if fewer than 20 % of the names match, or if no set is left to test.
    MissingKeyError, FileNotFoundError
        If `gene_sets` names nothing that exists.

    Notes
    -----
    Sets without a shared gene count as tests. ``gseapy.enrich`` leaves them out before it adjusts: same p,
    smaller adjusted p, because which tests are counted then depends on the data. On a panel of a few hundred
    genes few sets have a chance to reach significance; no hit is then no evidence of no biology.
    One sparse product for all modules; 10 modules against 6,000 sets take well under a second.

    References
    ----------
    Benjamini and Hochberg, Journal of the Royal Statistical Society B 57, 1995.
    """
    import pandas as pd

    _checks.number("alpha", alpha, 0.0, 1.0)
    sets, match, lists = _counting.prepare(modules, gene_sets, background, table)
    universe, terms, members = _counting.membership(sets, match, min_size, max_size)
    where = {name: i for i, name in enumerate(universe)}
    inside = np.zeros((len(lists), len(universe)), dtype=np.int32)
    for row, genes in enumerate(lists.values()):
        inside[row, [where[g] for g in genes]] = 1
    overlap = np.asarray((members @ inside.T).T)
    n_module, n_term, n_all = inside.sum(axis=1), _counting.sizes(members), len(universe)
    p = np.stack([_counting.tail(k, n_term, n, n_all) for k, n in zip(overlap, n_module, strict=True)])
    p_adj = benjamini_hochberg(p)
    row, term = (i.ravel() for i in np.indices(p.shape))
    spelt = dict(zip(reversed(match.names), reversed(match.measured), strict=True))
    out = pd.DataFrame(
        {
            "module": np.array(list(lists), dtype=object)[row],
            "term": np.array(terms, dtype=object)[term],
            "overlap": overlap.ravel(),
            "n_module": n_module[row],
            "n_term": n_term[term],
            "n_background": n_all,
            "expected": (n_module[:, None] * n_term / n_all).ravel(),
            "odds_ratio": _counting.odds(overlap, n_module[:, None], n_term, n_all).ravel(),
            "p_value": p.ravel(),
            "p_adj": p_adj.ravel(),
            "p_adj_module": benjamini_hochberg(p, axis=1).ravel(),
            "genes": _counting.shared_genes(members, inside, [spelt[name] for name in universe]),
            "significant": (p_adj <= alpha).ravel(),
        }
    )
    out = out.iloc[np.lexsort((out["p_value"], row))].reset_index(drop=True)
    out.attrs = {
        "share_matched": match.share,
        "matched_how": match.how,
        "n_terms_tested": len(terms),
        "n_terms_left_out": len(sets) - len(terms),
    }
    return out


def enrich_gseapy(
    modules: Modules,
    gene_sets: GeneSets,
    background: Sequence[str],
    *,
    alpha: float = 0.05,
    table: Table | None = None,
) -> pd.DataFrame:
    """Call ``gseapy.enrich`` on the same modules and background, offline, and tidy its own table.

    Parameters
    ----------
    modules, gene_sets, background, table
        As for `enrich`; names are brought to the spelling of the sets before the library sees them.
    alpha
        Rate for the column ``significant``.

    Returns
    -------
    The columns of `enrich` without ``p_adj``: the library adjusts within one module and over the sets that share
    a gene only (``p_adj_module``), and returns those sets only. ``genes`` are in the spelling of the sets. A
    module that shares no gene with any set has no row (its ``.results`` is an empty list).

    Raises
    ------
    ValueError, TypeError, MissingKeyError, FileNotFoundError
        As for `enrich`.
    """
    import gseapy

    _checks.number("alpha", alpha, 0.0, 1.0)
    sets, match, lists = _counting.prepare(modules, gene_sets, background, table)
    universe = list(dict.fromkeys(match.names))
    plain = {term: list(genes) for term, genes in sets.items()}
    rows = []
    for module, genes in lists.items():
        answer = gseapy.enrich(list(genes), plain, background=universe, outdir=None, no_plot=True).results
        if len(answer):
            rows.append(_counting.tidy(answer, module, len(genes), alpha, n_background=len(universe)))
    return _counting.stack(rows)


def enrich_online(
    modules: Modules,
    library: str = "GO_Biological_Process_2023",
    *,
    organism: str = "human",
    timeout: float = 3.0,
    alpha: float = 0.05,
) -> pd.DataFrame:
    """Ask the Enrichr server about modules, on request only: the gene lists leave this computer.

    Parameters
    ----------
    modules
        Genes of each module, in the spelling of the library.
    library
        Name of a library on the server.
    organism
        "human", "mouse", "fly", "yeast", "worm" or "fish"; human and mouse are answered by the same server.
    timeout
        Seconds to wait for the first connection; an answer may take ten times as long.
    alpha
        Rate for the column ``significant``.

    Returns
    -------
    One row per module and set with a shared gene: the columns of `enrich` without ``n_background``, ``expected``
    and ``p_adj``.

    Raises
    ------
    ConnectionError
        At once, with the offline way, if the server cannot be reached or fails.
    MissingKeyError
        If the server has no such library.
    ValueError
        If the organism is unknown, a module has fewer than 3 genes, or the server returns no set for a module.

    Warns
    -----
    UserWarning
        Always: this call sends no background, so that random lists from a panel come out as enriched.
    """
    _checks.number("timeout", timeout, 0.001, 600.0)
    _checks.number("alpha", alpha, 0.0, 1.0)
    lists = _counting.checked_lists(modules)
    for module, genes in lists.items():
        _counting.enough(module, len(genes))
    _checks.warn(
        "enrich_online sends no background: the server counts against its own genes, not the measured ones, and "
        "random lists from a panel come out as enriched. For a test use "
        "`enrich(modules, 'my_sets.gmt', background=adata.var_names)`.",
        UserWarning,
    )
    answers = _enrichr.ask(lists, library, organism, timeout)
    return _counting.stack([_counting.tidy(frame, m, len(lists[m]), alpha) for m, frame in answers.items()])


def random_list_null(
    background: Sequence[str],
    gene_sets: GeneSets,
    *,
    list_size: int,
    n_lists: int = 1000,
    alpha: float = 0.05,
    seed: int = 0,
    compare_background: int = 20000,
    min_size: int = 3,
    max_size: int | None = None,
    table: Table | None = None,
) -> pd.DataFrame:
    """How often a blind draw of measured genes has at least one "significant" set.

    Parameters
    ----------
    background
        All measured genes; the lists are drawn from them, without replacement.
    gene_sets, min_size, max_size, table
        As for `enrich`.
    list_size
        Genes per random list.
    n_lists
        Number of lists.
    alpha
        False discovery rate within each list.
    seed
        Seed of the draws; the global generator is left alone.
    compare_background
        Nominal number of genes of a genome: what is used when nobody says what was measured.

    Returns
    -------
    Four rows, the first being what `enrich` does for one module. Columns: ``background`` ("measured" or
    "nominal"), ``counted`` ("all terms", or "terms with a hit": sets without a shared gene left out before
    adjusting), ``list_size``, ``n_background``, ``n_lists``, ``n_with_hit``, ``share``, ``low`` and ``high``
    (exact 95 % interval of the share), ``mean_hits`` (significant sets per list), ``alpha``.

    Raises
    ------
    ValueError
        If the list is larger than the background, or `compare_background` smaller than the background.

    Notes
    -----
    All lists are true nulls, so the share is the false positive rate per list; it should be at most `alpha`.
    Every row tests the same sets; the nominal rows take each with all its genes, measured or not.
    Blocks of 100 lists; 1,000 lists against 6,000 sets take a few seconds.
    """
    import pandas as pd

    _checks.number("alpha", alpha, 0.0, 1.0)
    _checks.integer("n_lists", n_lists)
    sets = read_gene_sets(gene_sets)
    match = match_genes(background, sets, table=table)
    universe, terms, members = _counting.membership(sets, match, min_size, max_size)
    n_all = len(universe)
    _checks.integer(
        "list_size", list_size, _counting.LEAST_GENES, n_all, "A list is drawn from the background."
    )
    why = f"It stands for a genome, and {n_all} genes were measured."
    _checks.integer("compare_background", compare_background, n_all, None, why)
    sizes = {
        ("measured", n_all): _counting.sizes(members),
        ("nominal", compare_background): np.array([len(sets[term]) for term in terms]),
    }
    if sizes["nominal", compare_background].max() > compare_background:
        _checks.fail(f"`compare_background` is {compare_background}, smaller than a gene set.", why)
    hits = {
        (name, size, counted): [] for name, size in sizes for counted in ("all terms", "terms with a hit")
    }
    rng = np.random.default_rng(seed)
    for overlap in _counting.random_overlaps(members, list_size, n_lists, _BLOCK, rng):
        for (name, size), n_term in sizes.items():
            p = _counting.tail(overlap, n_term, list_size, size)
            hits[name, size, "all terms"].append((benjamini_hochberg(p, axis=1) <= alpha).sum(axis=1))
            hits[name, size, "terms with a hit"].append(_counting.hits_among(p, overlap > 0, alpha))
    common = {"list_size": list_size, "alpha": alpha}
    return pd.DataFrame(
        [
            {
                "background": name,
                "counted": counted,
                "n_background": size,
                **_counting.share(np.concatenate(n)),
                **common,
            }
            for (name, size, counted), n in hits.items()
        ]
    )


def heatmap_table(
    result: pd.DataFrame, *, top: int = 3, value: str = "p_adj"
) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Arrange an enrichment table as modules x terms, with every tested value filled in.

    Parameters
    ----------
    result
        Table of `enrich` (or of another function here, with its own `value`).
    top
        The columns are the union of the `top` sets of each module, by p-value, among those that share a gene.
    value
        Column to show: ``"p_adj"``, ``"p_adj_module"`` or ``"p_value"``.

    Returns
    -------
    -log10 of `value`, modules x terms with full names, and whether ``significant``. A set that is not among the
    top of a module keeps the value it has there; NaN only where `result` has no row. Values below 1e-300 are
    shown as 300.

    Raises
    ------
    MissingKeyError
        If `result` lacks a column.
    ValueError
        If `top` is no positive whole number, a row occurs twice, or no module shares a gene with a set.
    """
    _checks.integer("top", top)
    _checks.one_of("value", value, ("p_adj", "p_adj_module", "p_value"))
    for column in ("module", "term", "overlap", "p_value", "significant", value):
        if column not in result.columns:
            _checks.fail(
                f"`result` has no column {column!r}. Available: {_checks.listing(result.columns, 20)}.",
                "Pass the table of `enrich`, or name another column: value='p_adj_module'.",
                kind=_checks.MissingKeyError,
            )
    twice = result.duplicated(["module", "term"])
    if twice.any():
        first = tuple(result.loc[twice, ["module", "term"]].iloc[0])
        _checks.fail(
            f"`result` has {int(twice.sum())} rows twice, first {first}. Give one library at a time."
        )
    best = result[result["overlap"] > 0].sort_values("p_value", kind="stable").groupby("module").head(top)
    modules = list(dict.fromkeys(result["module"]))
    terms = [t for m in modules for t in best.loc[best["module"] == m, "term"]]
    if not terms:
        _checks.fail(
            f"No gene of the {len(modules)} modules is in a set of `result`; there is nothing to show."
        )
    terms = list(dict.fromkeys(terms))
    chosen = result[result["term"].isin(terms)]
    wide = chosen.pivot(index="module", columns="term", values=value).reindex(index=modules, columns=terms)
    marks = (
        chosen[chosen["significant"].astype(bool)].groupby(["module", "term"]).size().unstack(fill_value=0)
    )
    marks = marks.reindex(index=modules, columns=terms, fill_value=0) > 0
    return -np.log10(wide.astype(float).clip(lower=1e-300)) + 0.0, marks
