"""Counting behind `scmods.bmlp.enrichment`: checked lists, set-by-gene matrix, hypergeometric tails, tables."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from scmods import _checks
from scmods.bmlp.gene_names import Match, distinct_names, match_genes, read_gene_sets
from scmods.stats import benjamini_hochberg

if TYPE_CHECKING:
    import pandas as pd
    from scipy import sparse

LEAST_GENES = 3

# order of the columns in every table of this subject
COLUMNS = [
    "module", "term", "overlap", "n_module", "n_term", "n_background", "expected", "odds_ratio",
    "p_value", "p_adj", "p_adj_module", "genes", "significant",
]  # fmt: skip


def checked_lists(modules: Mapping[str, Sequence[str]]) -> dict[str, tuple[str, ...]]:
    """Distinct genes of each module; refuse what is no dictionary of lists."""
    if not isinstance(modules, Mapping):
        _checks.fail(
            f"`modules` is of type {type(modules).__name__}, but must be a dictionary of gene lists.",
            "Write modules={'my module': genes}.",
            kind=TypeError,
        )
    if not modules:
        _checks.fail("`modules` is empty. Write modules={'my module': genes}.")
    return {str(name): distinct_names(f"module {name!r}", genes) for name, genes in modules.items()}


def enough(module: str, n_genes: int, n_found: int | None = None) -> None:
    """Refuse a module with fewer than 3 genes, or fewer than 3 that occur in a set."""
    if (n_genes if n_found is None else n_found) < LEAST_GENES:
        known = "" if n_found is None else f", and {n_found} of them occur in the gene sets"
        _checks.fail(
            f"Module {module!r} has {n_genes} distinct genes{known}; at least {LEAST_GENES} are needed.",
            f"Take more genes per module, or leave it out: `modules.pop({module!r})`.",
        )


def prepare(
    modules: Mapping[str, Sequence[str]],
    gene_sets: Mapping[str, Iterable[str]] | str | Path,
    background: Sequence[str],
    table: pd.DataFrame | Mapping[str, str] | None,
) -> tuple[dict[str, tuple[str, ...]], Match, dict[str, tuple[str, ...]]]:
    """Gene sets, match of the background, and modules in the spelling of the sets; every refusal is here."""
    lists = checked_lists(modules)
    measured = distinct_names("background", background)
    known = set(measured)
    for module, genes in lists.items():
        if len(measured) < len(genes):
            _checks.fail(
                f"`background` has {len(measured)} genes, fewer than the {len(genes)} of module {module!r}.",
                "It must hold every measured gene: background=adata.var_names.",
            )
        if strange := [g for g in genes if g not in known]:
            _checks.fail(
                f"Module {module!r} has {len(strange)} of {len(genes)} genes that are not in the background:",
                f"{_checks.listing(strange, 3)}.",
                _checks.nearest(strange[0], measured),
                "It must hold every measured gene: background=adata.var_names.",
            )
    sets = read_gene_sets(gene_sets)
    match = match_genes(background, sets, table=table)
    if match.duplicates:
        name, genes = next(iter(match.duplicates.items()))
        _checks.warn(
            f"{len(match.duplicates)} names in the spelling of the gene sets ({match.how}) stand for several "
            f"measured genes, first {name!r} for {_checks.listing(genes)}; each counts as one gene.",
            level=4,
        )
    spelt = dict(zip(match.measured, match.names, strict=True))
    lists = {module: tuple(dict.fromkeys(spelt[g] for g in genes)) for module, genes in lists.items()}
    for module, genes in lists.items():
        enough(module, len(genes), len(match.found.intersection(genes)))
    return sets, match, lists


def membership(
    sets: Mapping[str, Sequence[str]], match: Match, min_size: int, max_size: int | None
) -> tuple[list[str], list[str], sparse.csr_matrix]:
    """Distinct measured names, sets of the wanted measured size, and the 0/1 matrix sets x names."""
    from scipy import sparse

    _checks.integer("min_size", min_size)
    if max_size is not None:
        _checks.integer("max_size", max_size, min_size, None, f"`min_size` is {min_size}.")
    universe = list(dict.fromkeys(match.names))
    column = {name: i for i, name in enumerate(universe)}
    hits = [[column[g] for g in genes if g in column] for genes in sets.values()]
    indptr = np.cumsum([0, *map(len, hits)])
    indices = np.array([i for row in hits for i in row], dtype=np.int32)
    shape = (len(sets), len(universe))
    members = sparse.csr_matrix((np.ones(len(indices), dtype=np.int32), indices, indptr), shape=shape)
    size = sizes(members)
    keep = (size >= min_size) & (size <= (size.max() if max_size is None else max_size))
    if not keep.any():
        most = "" if max_size is None else f" and at most {max_size}"
        _checks.fail(
            f"None of the {len(sets)} gene sets has at least {min_size}{most} measured genes",
            f"(they have {size.min()} to {size.max()} of the {len(universe)} measured).",
            "Widen the limits, for instance min_size=1, or use a collection that fits the panel.",
        )
    return universe, [t for t, k in zip(sets, keep, strict=True) if k], members[keep]


def sizes(members: sparse.csr_matrix) -> np.ndarray:
    """Measured genes per set."""
    return np.diff(members.indptr)


def tail(overlap: np.ndarray, n_term: np.ndarray, n_list: int, n_all: int) -> np.ndarray:
    """P(at least `overlap` shared), for overlaps (..., terms): looked up, since few pairs of numbers occur."""
    from scipy.stats import hypergeom

    size, which = np.unique(n_term, return_inverse=True)
    shared = np.arange(overlap.max(initial=0) + 1)
    table = hypergeom.sf(shared[:, None] - 1, n_all, size[None, :], n_list)
    # `sf` may exceed 1 by rounding
    return np.clip(table[overlap, which], 0.0, 1.0)


def odds(overlap: np.ndarray, n_list: np.ndarray, n_term: np.ndarray, n_all: int) -> np.ndarray:
    """Odds ratio of the 2 x 2 table with 1/2 added to each cell (Haldane and Anscombe): always finite."""
    both, neither = overlap + 0.5, n_all - n_term - n_list + overlap + 0.5
    return both * neither / ((n_term - overlap + 0.5) * (n_list - overlap + 0.5))


def shared_genes(members: sparse.csr_matrix, inside: np.ndarray, spelt: Sequence[str]) -> list[str]:
    """Names in both module and set, joined by ";", module by module over all sets; order of the background."""
    names = np.asarray(spelt, dtype=object)
    out = []
    for row in inside.astype(bool):
        both = members.multiply(row[None, :]).tocsr()
        both.eliminate_zeros()
        both.sort_indices()
        out += [
            ";".join(names[both.indices[a:b]]) for a, b in zip(both.indptr, both.indptr[1:], strict=False)
        ]
    return out


def random_overlaps(
    members: sparse.csr_matrix, list_size: int, n_lists: int, block: int, rng: np.random.Generator
) -> Iterator[np.ndarray]:
    """Genes shared by random lists and sets, `block` lists at a time: arrays (lists, terms)."""
    from scipy import sparse

    n_all = members.shape[1]
    for start in range(0, n_lists, block):
        n = min(block, n_lists - start)
        drawn = np.argsort(rng.random((n, n_all)), axis=1)[:, :list_size]
        indptr = np.arange(n + 1) * list_size
        lists = sparse.csr_matrix((np.ones(drawn.size, np.int32), drawn.ravel(), indptr), shape=(n, n_all))
        yield (lists @ members.T).toarray()


def hits_among(p: np.ndarray, counted: np.ndarray, alpha: float) -> np.ndarray:
    """Significant terms per list when only the `counted` terms of each list enter the adjustment."""
    return np.array(
        [(benjamini_hochberg(row[use]) <= alpha).sum() for row, use in zip(p, counted, strict=True)]
    )


def share(hits: np.ndarray) -> dict[str, float]:
    """Lists with a hit, their share with the exact 95 % interval, and the mean number of hits."""
    from scipy.stats import binomtest

    n, k = len(hits), int((hits > 0).sum())
    low, high = binomtest(k, n).proportion_ci(0.95, method="exact")
    return {
        "n_lists": n, "n_with_hit": k, "share": k / n, "low": float(low), "high": float(high),
        "mean_hits": float(hits.mean()),
    }  # fmt: skip


def tidy(
    answer: pd.DataFrame, module: str, n_module: int, alpha: float, n_background: int | None = None
) -> pd.DataFrame:
    """A table of the library with the columns of this subject; those it does not have are left out."""
    import pandas as pd

    counts = answer["Overlap"].str.split("/", expand=True).astype(int)
    out = pd.DataFrame(
        {
            "module": module,
            "term": answer["Term"],
            "overlap": counts[0],
            "n_module": n_module,
            "n_term": counts[1],
            "odds_ratio": answer["Odds Ratio"].astype(float),
            "p_value": answer["P-value"].astype(float),
            "p_adj_module": answer["Adjusted P-value"].astype(float),
            "genes": answer["Genes"],
            "significant": answer["Adjusted P-value"].astype(float) <= alpha,
        }
    )
    if n_background is not None:
        out["n_background"] = n_background
        out["expected"] = n_module * out["n_term"] / n_background
    return out.sort_values("p_value", kind="stable")[[c for c in COLUMNS if c in out]]


def stack(tables: Sequence[pd.DataFrame]) -> pd.DataFrame:
    """The tables of all modules below one another; an empty table with the right columns when there is none."""
    import pandas as pd

    if tables:
        return pd.concat(tables, ignore_index=True)
    return pd.DataFrame(columns=[c for c in COLUMNS if c != "p_adj"])
