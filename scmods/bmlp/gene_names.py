"""Names of measured genes in the spelling of the gene sets: as written, in upper case, or through a table.

A gene set file that uses other names than the data does not fail, it finds nothing. So the share of names that
match is counted first, and a share that is too small is an error with examples of both sides.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from scmods import _checks

if TYPE_CHECKING:
    import pandas as pd

__all__ = ["Match", "match_genes", "read_gene_sets"]

LEAST_SHARE = 0.2
_ENSEMBL = re.compile(r"ENS[A-Z]{0,6}[GTP]\d{6,}(\.\d+)?")
_ENTREZ = re.compile(r"\d+")


@dataclass(frozen=True)
class Match:
    """Measured genes in the spelling of the gene sets.

    Parameters
    ----------
    names
        For every measured gene, in the given order, its name in the spelling of the sets; genes that are in no
        set are there too, because they belong to the background.
    measured
        The measured genes as given.
    share
        Share of the measured genes that occur in at least one set.
    how
        ``"as written"``, ``"upper case"`` or ``"table"``.
    duplicates
        Names that several measured genes turn into, with those genes; each counts as one gene in a test.
    ambiguous
        Genes with several partners in the table, with all of them; the first one that is in a set was taken.
    found
        The names that occur in at least one set.
    """

    names: tuple[str, ...]
    measured: tuple[str, ...]
    share: float
    how: str
    duplicates: dict[str, tuple[str, ...]] = field(default_factory=dict)
    ambiguous: dict[str, tuple[str, ...]] = field(default_factory=dict)
    found: frozenset[str] = frozenset()

    def __str__(self) -> str:
        text = f"{self.share:.1%} of {len(self.measured)} measured genes are in the gene sets ({self.how})"
        if self.duplicates:
            text += f"; {len(self.duplicates)} names stand for several genes"
        return text


def read_gene_sets(gene_sets: Mapping[str, Iterable[str]] | str | Path) -> dict[str, tuple[str, ...]]:
    """Gene sets from a dictionary, a ``.gmt`` file, or the name of a collection that the data sets know.

    Parameters
    ----------
    gene_sets
        ``{term: genes}``, a path, or ``"hallmark"`` or ``"go_bp_2021"``.

    Returns
    -------
    The distinct genes of each set, in the given order.

    Raises
    ------
    ValueError, TypeError
        If there is no set, a set has no gene, or a set is no list of names.
    MissingKeyError, FileNotFoundError, DataUnavailableError
        If the name or the file does not exist or cannot be had.
    """
    if isinstance(gene_sets, str | Path):
        from scmods import datasets

        gene_sets = datasets.gene_sets(gene_sets)
    if not isinstance(gene_sets, Mapping):
        _checks.fail(
            f"`gene_sets` is of type {type(gene_sets).__name__}, but must be a dictionary of gene lists,",
            "the path of a .gmt file, or 'hallmark' or 'go_bp_2021'. Write gene_sets={'my set': ['CD3D', 'CD3E']}.",
            kind=TypeError,
        )
    if not gene_sets:
        _checks.fail("`gene_sets` holds no set. Write gene_sets={'my set': ['CD3D', 'CD3E']}.")
    sets = {str(term): distinct_names(f"gene set {term!r}", genes) for term, genes in gene_sets.items()}
    if empty := [term for term, genes in sets.items() if not genes]:
        _checks.fail(
            f"{len(empty)} of {len(sets)} gene sets hold no gene: {_checks.listing(empty, 3)}. Expected one or more.",
            "Leave them out: `{term: genes for term, genes in gene_sets.items() if genes}`.",
        )
    return sets


def distinct_names(what: str, genes: Any) -> tuple[str, ...]:
    """Distinct names of a list, in order; refuse a bare string and things that are no names."""
    if isinstance(genes, str) or not isinstance(genes, Iterable):
        _checks.fail(
            f"The {what} is {genes!r} of type {type(genes).__name__}, but must be a list of gene names.",
            "Write ['CD3D', 'CD3E'].",
            kind=TypeError,
        )
    genes = list(genes)
    if odd := [g for g in genes if not isinstance(g, str)]:
        _checks.fail(
            f"The {what} holds {odd[0]!r} of type {type(odd[0]).__name__}; every gene must be given by name.",
            "From positions: `list(adata.var_names[positions])`.",
            kind=TypeError,
        )
    return tuple(dict.fromkeys(genes))


def match_genes(
    var_names: Sequence[str],
    gene_sets: Mapping[str, Iterable[str]] | str | Path,
    *,
    table: pd.DataFrame | Mapping[str, str] | None = None,
) -> Match:
    """Find the measured genes in the gene sets, and say how many were found and how.

    Parameters
    ----------
    var_names
        All measured genes.
    gene_sets
        Dictionary of gene lists, path of a ``.gmt`` file, or ``"hallmark"`` or ``"go_bp_2021"``.
    table
        Orthologs: a dictionary, or a table of two columns, from measured name to the name in the sets. Genes
        that are not in it keep their name. With None the names are tried as written and in upper case, and the
        spelling that finds more genes is taken (as written when both find equally many).

    Returns
    -------
    Match

    Raises
    ------
    ValueError
        If fewer than 20 % of the measured genes are in the sets and fewer than 20 % of the genes of the sets are
        measured (a few small sets of one's own cover few genes, which is no fault); if names occur twice.
    TypeError
        If `table` is neither a dictionary nor a table of two columns, or a name is no text.

    Notes
    -----
    Upper-casing brings mouse spelling to human spelling. It is not orthology: a gene whose human partner has
    another name (Atp5a1, Car2) stays unmatched. `table` is the remedy.

    Examples
    --------
    >>> match_genes(["Cd3d", "Cd3e", "Actb"], {"t cell": ["CD3D", "CD3E"]}).names
    ('CD3D', 'CD3E', 'ACTB')
    """
    sets = read_gene_sets(gene_sets)
    universe = {gene for genes in sets.values() for gene in genes}
    measured = tuple(var_names) if not isinstance(var_names, str) else var_names
    if len(distinct_names("list of measured genes", measured)) < len(measured):
        _checks.unique_names("adata.var_names", measured)
    if not measured:
        _checks.fail("There is no measured gene. Expected all of them: `list(adata.var_names)`.")
    ambiguous: dict[str, tuple[str, ...]] = {}
    if table is None:
        upper = tuple(g.upper() for g in measured)
        more = sum(g in universe for g in upper) > sum(g in universe for g in measured)
        names, how = (upper, "upper case") if more else (measured, "as written")
    else:
        partners = _partners(table)
        ambiguous = {g: partners[g] for g in measured if len(partners.get(g, ())) > 1}
        names = tuple(_pick(partners.get(g, (g,)), universe) for g in measured)
        how = "table"
    n_found = sum(name in universe for name in names)
    found = frozenset(universe.intersection(names))
    if n_found < LEAST_SHARE * len(measured) and len(found) < LEAST_SHARE * len(universe):
        _refuse(measured, universe, n_found, how)
    return Match(
        names, measured, n_found / len(measured), how, _collisions(names, measured), ambiguous, found
    )


def _pick(partners: tuple[str, ...], universe: set[str]) -> str:
    return next((p for p in partners if p in universe), partners[0])


def _partners(table: pd.DataFrame | Mapping[str, str]) -> dict[str, tuple[str, ...]]:
    """Names in the sets per measured name; rows without one of the two are no pair."""
    if isinstance(table, Mapping):
        pairs = list(table.items())
    elif getattr(table, "ndim", 0) == 2 and table.shape[1] == 2:
        pairs = table.dropna().itertuples(index=False, name=None)
    else:
        shape = f" of shape {table.shape}" if hasattr(table, "shape") else ""
        _checks.fail(
            f"`table` is a {type(table).__name__}{shape}, but must be a dictionary or a table of two columns:",
            "measured gene, name in the gene sets. Write table=orthologs[['mouse', 'human']].",
            kind=TypeError,
        )
    out: dict[str, tuple[str, ...]] = {}
    for gene, partner in pairs:
        out[str(gene)] = tuple(dict.fromkeys((*out.get(str(gene), ()), str(partner))))
    return out


def _collisions(names: tuple[str, ...], measured: tuple[str, ...]) -> dict[str, tuple[str, ...]]:
    groups: dict[str, tuple[str, ...]] = {}
    for name, gene in zip(names, measured, strict=True):
        groups[name] = (*groups.get(name, ()), gene)
    return {name: genes for name, genes in groups.items() if len(genes) > 1}


def _kind(names: Iterable[str]) -> str:
    """What most of the names are: "Ensembl ids", "numbers (Entrez ids?)" or ""."""
    some = list(names)[:200]
    for pattern, word in ((_ENSEMBL, "Ensembl ids"), (_ENTREZ, "numbers, as Entrez ids are")):
        if 2 * sum(bool(pattern.fullmatch(n)) for n in some) > len(some):
            return word
    return ""


def _refuse(measured: tuple[str, ...], universe: set[str], n_found: int, how: str) -> None:
    tried = "through `table`" if how == "table" else "as written or in upper case"
    ids = [
        f"The names {side} are {kind}."
        for side, kind in (("of the data", _kind(measured)), ("in the sets", _kind(sorted(universe))))
        if kind
    ]
    if ids:
        fix = "Use the same kind on both sides, for instance `adata.var_names = adata.var['gene_symbol']`."
    else:
        fix = (
            "Upper-casing is not orthology: for another species pass a table of two columns, measured gene and "
            "name in the sets: `match_genes(adata.var_names, gene_sets, table=orthologs)`."
        )
    _checks.fail(
        f"Only {n_found} of {len(measured)} measured genes ({n_found / len(measured):.1%}) are in the gene sets,",
        f"{tried}; expected at least {LEAST_SHARE:.0%}.",
        f"Measured: {_checks.listing(measured[:3], 3)}; in the sets: {_checks.listing(sorted(universe)[:3], 3)}.",
        *ids,
        fix,
    )
