"""Which genes may regulate, and which edges may exist: names to positions, checked.

Nothing here guesses: a name that is not there is refused with the closest one that is.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from scmods import _checks

if TYPE_CHECKING:
    import pandas as pd
    from anndata import AnnData

__all__ = ["FACTORS", "EdgeSet", "edge_set", "regulator_positions", "weight_matrix"]

FACTORS = "transcription_factor"


@dataclass(frozen=True)
class EdgeSet:
    """Edges of a scaffold on the modelled genes.

    Attributes
    ----------
    allowed
        (genes, regs) True for edges of the scaffold, row: target, column: regulator.
    sign
        (genes, regs) 1 activates, -1 represses, 0 not known.
    weight
        (genes, regs) evidence for the edge, 1 where none was given.
    """

    allowed: np.ndarray
    sign: np.ndarray
    weight: np.ndarray


def _refuse_repeats(what: str, names: Sequence[str]) -> None:
    seen: set[str] = set()
    again = [n for n in names if n in seen or seen.add(n)]
    if again:
        _checks.fail(
            f"`{what}` names {len(set(again))} genes more than once: {_checks.listing(sorted(set(again)), 3)}.",
            f"Keep one of each: {what}=list(dict.fromkeys({what})).",
        )


def _positions(what: str, names: Sequence[str], genes: Sequence[str], known: Iterable[str]) -> np.ndarray:
    """Positions of `names` among the modelled `genes`; `known` are all variables, for a better message."""
    index = {g: i for i, g in enumerate(genes)}
    missing = [n for n in names if n not in index]
    if missing:
        known = set(known)
        first = missing[0]
        if first in known:
            reason = f"{first!r} is in the data, but not among the {len(genes)} modelled genes."
            advice = (
                "Add it: `adata.var.loc[names, 'hopfield_used'] = True`, then `hopfield.fit_hill(adata)`."
            )
        else:
            reason = f"{first!r} is not in `adata.var_names`. {_checks.nearest(first, known)}".rstrip()
            advice = f"Modelled genes: {_checks.listing(genes, 5)}."
        _checks.fail(
            f"`{what}` holds {len(missing)} names that cannot be used: {_checks.listing(missing, 3)}.",
            reason,
            advice,
            kind=_checks.MissingKeyError,
        )
    return np.array([index[n] for n in names], dtype=np.int64)


def _of_column(adata: AnnData, name: str, genes: Sequence[str]) -> np.ndarray:
    _checks.key(
        adata, "var", name, "Give the names of the regulators as a list: regulators=['Neurog3', ...]."
    )
    values = adata.var[name]
    if values.dtype != bool:
        _checks.fail(
            f"`adata.var[{name!r}]` has type {values.dtype}, but must be bool: True for regulators.",
            f"Convert it: `adata.var[{name!r}] = adata.var[{name!r}].astype(bool)`.",
            kind=TypeError,
        )
    flags = values.loc[list(genes)].to_numpy()
    if not flags.any():
        _checks.fail(
            f"`adata.var[{name!r}]` is True for {int(values.sum())} genes, none of them modelled.",
            "Keep the regulators when genes are selected: `hopfield.select_genes(adata, keep=names)`.",
        )
    return np.flatnonzero(flags)


def regulator_positions(
    adata: AnnData, genes: Sequence[str], regulators: Sequence[str] | str | None = None
) -> np.ndarray:
    """Positions of the regulators among the modelled genes.

    Parameters
    ----------
    adata
        Cells; ``var`` is read.
    genes
        Names of the modelled genes.
    regulators
        Names; or the name of a bool column of ``var``, of which the modelled genes are taken; or None:
        ``var["transcription_factor"]`` where it exists, else every modelled gene regulates.

    Raises
    ------
    MissingKeyError, ValueError, TypeError
        For names that are not modelled, repeats, a column that is not bool or marks no modelled gene.
    """
    if regulators is None:
        if FACTORS in adata.var:
            return _of_column(adata, FACTORS, genes)
        return np.arange(len(genes))
    if isinstance(regulators, str):
        return _of_column(adata, regulators, genes)
    names = [str(r) for r in regulators]
    if not names:
        _checks.fail("`regulators` is empty. Name at least one gene, or None for the default.")
    _refuse_repeats("regulators", names)
    return np.sort(_positions("regulators", names, genes, adata.var_names.astype(str)))


def _as_table(edges: Any) -> pd.DataFrame:
    import pandas as pd

    if isinstance(edges, pd.DataFrame):
        for column in ("regulator", "target"):
            if column not in edges:
                _checks.fail(
                    f"`edges` has no column {column!r}. Columns: {_checks.listing(edges.columns)}.",
                    _checks.nearest(column, edges.columns),
                    "Expected regulator, target and, if known, sign and weight.",
                    kind=_checks.MissingKeyError,
                )
        return edges.reset_index(drop=True)
    pairs = list(edges)
    for i, pair in enumerate(pairs):
        if isinstance(pair, str) or not isinstance(pair, Sequence) or len(pair) != 2:
            _checks.fail(
                f"`edges[{i}]` is {pair!r}, but must be a pair (regulator, target).",
                "Write edges=[('Neurog3', 'Neurod1'), ...].",
            )
    return pd.DataFrame(pairs, columns=["regulator", "target"])


def _numbers(table: pd.DataFrame, column: str, ok: Any, wanted: str) -> np.ndarray:
    values = _checks.numeric(f"edges[{column!r}]", table[column].to_numpy())
    bad = ~ok(values)
    if bad.any():
        row = int(np.flatnonzero(bad)[0])
        _checks.fail(
            f"`edges[{column!r}]` must be {wanted}, but is {values[row]:g} in row {row} ({int(bad.sum())} such rows)."
        )
    return values


def edge_set(adata: AnnData, genes: Sequence[str], edges: Any) -> tuple[np.ndarray, EdgeSet]:
    """The regulators that a list of edges names, and the edges as matrices.

    Parameters
    ----------
    adata
        Cells; ``var_names`` tells a gene that is not modelled from one that does not exist.
    genes
        Names of the modelled genes.
    edges
        Pairs (regulator, target), or a table with columns ``regulator``, ``target`` and, if known, ``sign`` (1, -1, 0)
        and ``weight`` (evidence, positive). A gene may regulate itself.

    Returns
    -------
    Positions of the genes with at least one edge, sorted, and the edges with a column for each of them.

    Raises
    ------
    MissingKeyError, ValueError
        For names that do not exist (with the closest), repeated pairs, other signs or weights, no edge left.

    Warns
    -----
    NumericalWarning
        Edges whose genes are in the data but not modelled, which are left out.
    """
    table = _as_table(edges)
    pairs = table[["regulator", "target"]].astype(str)
    known = set(adata.var_names.astype(str))
    unknown = [n for n in dict.fromkeys(pairs.to_numpy().ravel()) if n not in known]
    if unknown:
        _checks.fail(
            f"`edges` names {len(unknown)} genes that are not in `adata.var_names`: {_checks.listing(unknown, 3)}.",
            _checks.nearest(unknown[0], known),
            "Keep the others: `edges[edges[['regulator', 'target']].isin(adata.var_names).all(axis=1)]`.",
            kind=_checks.MissingKeyError,
        )
    if pairs.duplicated().any():
        again = pairs[pairs.duplicated()].iloc[0].tolist()
        _checks.fail(
            f"`edges` holds {int(pairs.duplicated().sum())} repeated pairs; first: {tuple(again)}.",
            "Keep one of each: `edges.drop_duplicates(['regulator', 'target'])`.",
        )
    modelled = pairs.isin(set(genes)).all(axis=1).to_numpy()
    if not modelled.any():
        _checks.fail(
            f"None of the {len(pairs)} edges joins two of the {len(genes)} modelled genes.",
            f"Modelled: {_checks.listing(genes, 5)}. Select other genes, or give other edges.",
        )
    if not modelled.all():
        _checks.warn(
            f"{int((~modelled).sum())} of {len(pairs)} edges join genes that are not modelled; they are left out."
        )
    return _matrices(table[modelled], genes)


def _matrices(table: pd.DataFrame, genes: Sequence[str]) -> tuple[np.ndarray, EdgeSet]:
    index = {g: i for i, g in enumerate(genes)}
    source = table["regulator"].astype(str).map(index).to_numpy()
    target = table["target"].astype(str).map(index).to_numpy()
    regs, column = np.unique(source, return_inverse=True)
    shape = (len(genes), len(regs))
    out = EdgeSet(np.zeros(shape, dtype=bool), np.zeros(shape), np.ones(shape))
    out.allowed[target, column] = True
    if "sign" in table:
        sign = _numbers(table, "sign", lambda v: np.isin(v, (-1, 0, 1)), "1, -1 or 0")
        out.sign[target, column] = sign
    if "weight" in table:
        weight = _numbers(table, "weight", lambda v: np.isfinite(v) & (v > 0), "positive and finite")
        out.weight[target, column] = weight
    return regs, out


def _named_weights(table: pd.DataFrame, genes: Sequence[str], names: Sequence[str]) -> np.ndarray:
    table = table.rename(index=str, columns=str)
    for axis, wanted, found in (("rows", genes, table.index), ("columns", names, table.columns)):
        _refuse_repeats(f"edge_weights.{axis}", list(found))
        missing = [n for n in wanted if n not in set(found)]
        if missing:
            _checks.fail(
                f"`edge_weights` lacks {len(missing)} {axis}: {_checks.listing(missing, 3)}.",
                "Rows are targets and columns regulators; fill the others:",
                "`edge_weights.reindex(index=genes, columns=regulators, fill_value=1.0)`.",
                kind=_checks.MissingKeyError,
            )
    return table.loc[list(genes), list(names)].to_numpy()


def weight_matrix(values: Any, genes: Sequence[str], regs: np.ndarray) -> np.ndarray:
    """Penalty factors of the edges as (genes, regs) matrix.

    Parameters
    ----------
    values
        Table with the targets as rows and the regulators as columns, by name; or an array of exactly that shape.
    genes
        Names of the modelled genes.
    regs
        Positions of the regulators.

    Raises
    ------
    MissingKeyError, ValueError
        For missing names, another shape, factors that are not positive; ``inf`` is allowed.
    """
    import pandas as pd

    names = [genes[i] for i in regs]
    if isinstance(values, pd.DataFrame):
        values = _named_weights(values, genes, names)
    out = _checks.numeric("edge_weights", values)
    if out.shape != (len(genes), len(regs)):
        _checks.fail(
            f"`edge_weights` has shape {out.shape}, but must be ({len(genes)}, {len(regs)}):",
            "modelled genes x regulators. A DataFrame with names is put in order for you.",
        )
    if not (out > 0).all():
        _checks.fail(
            f"`edge_weights` holds {int((~(out > 0)).sum())} factors that are not positive.",
            "1 leaves an edge as it is, below 1 favours it, inf removes it.",
        )
    return out
