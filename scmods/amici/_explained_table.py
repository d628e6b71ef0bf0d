"""The table of explained variances: from results per type to rows per head, type and gene, and to a file and back."""

from __future__ import annotations

import io as text_io
import json
import os
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from scmods import _checks, io, stats
from scmods.amici._type_tests import TypeResult

if TYPE_CHECKING:
    import pandas as pd

__all__ = ["gene_table", "head_table", "read_table", "write_table"]

MARK = "# scmods explained variance "
TEXT = ("ct_name", "gene")
WHOLE = ("head", "n_cells")
PER_HEAD = (
    "n_cells", "expl_var_head", "r2_head", "slope_head", "p_value_head", "p_value_adj_head", "p_value_max_head",
)  # fmt: skip


def adjusted(p: np.ndarray) -> np.ndarray:
    """Benjamini-Hochberg over what is not NaN; NaN stays.

    Parameters
    ----------
    p
        p-values, one family.
    """
    out, there = np.full(p.shape, np.nan), np.isfinite(p)
    if there.any():
        out[there] = stats.benjamini_hochberg(p[there])
    return out


def gene_table(
    results: Sequence[TypeResult], heads: Sequence[int], genes: Sequence[str], *, tested: bool, per_gene: bool
) -> pd.DataFrame:
    """One row per head, type and gene, heads outermost.

    Parameters
    ----------
    results
        One per type.
    heads
        Their numbers.
    genes
        Names.
    tested, per_gene
        Whether there are p-values, and of genes.
    """
    import pandas as pd

    t, h, g = len(results), len(heads), len(genes)
    shape = (h, t, g)

    def spread(name: str) -> np.ndarray:
        values = np.stack([np.asarray(getattr(r, name)) for r in results], axis=1)
        return np.broadcast_to(values if values.ndim == 3 else values[:, :, None], shape).ravel()

    def repeated(values: Any) -> np.ndarray:
        return np.broadcast_to(values, shape).ravel()

    columns = {
        "head": repeated(np.array(heads)[:, None, None]),
        "ct_name": repeated(np.array([r.name for r in results], dtype=object)[:, None]),
        "gene": repeated(np.array(genes, dtype=object)),
        "n_cells": repeated(np.array([r.n_cells for r in results])[:, None]),
        "expl_var_head_gene": spread("gene"), "expl_var_head": spread("total"), "r2_head": spread("r2"),
        "slope_head": spread("slope"),
    }  # fmt: skip
    if tested:
        p = np.stack([r.p for r in results], axis=1)
        columns |= {
            "p_value_head": spread("p"), "p_value_adj_head": repeated(adjusted(p)[:, :, None]),
            "p_value_max_head": spread("p_max"),
        }  # fmt: skip
    if tested and per_gene:
        each = np.stack([r.p_gene for r in results], axis=1)
        within = np.array([adjusted(row) for row in each.reshape(-1, g)])
        columns |= {"p_value_gene": each.ravel(), "p_value_adj_gene": within.ravel()}
    return pd.DataFrame(columns)


def head_table(table: pd.DataFrame, skipped: dict[str, str], alpha: float) -> pd.DataFrame:
    """One row per head and type.

    Parameters
    ----------
    table
        Of `gene_table`.
    skipped
        Types of which nothing is said, and why.
    alpha
        Level for the number of genes.
    """
    groups = table.groupby(["head", "ct_name"], sort=False, observed=True)
    out = groups[[c for c in PER_HEAD if c in table]].first().reset_index()
    best = (
        table["expl_var_head_gene"]
        .fillna(-np.inf)
        .groupby([table["head"], table["ct_name"]], sort=False)
        .idxmax()
    )
    out["best_gene"] = table["gene"].to_numpy()[best.to_numpy()]
    out["expl_var_best_gene"] = table["expl_var_head_gene"].to_numpy()[best.to_numpy()]
    if "p_value_adj_gene" in table:
        called = table["p_value_adj_gene"] <= alpha
        out["n_genes"] = called.groupby([table["head"], table["ct_name"]], sort=False).sum().to_numpy()
    out["reason"] = [skipped.get(t, "") for t in out["ct_name"]]
    out.loc[out["reason"] != "", "best_gene"] = ""
    return out


def write_table(path: str | os.PathLike[str], table: pd.DataFrame, meta: dict[str, Any]) -> Path:
    """CSV with the settings in a first line that starts with ``#``; replaced in one step.

    Parameters
    ----------
    path
        The file.
    table
        Of `gene_table`.
    meta
        Settings, plain values.
    """
    path = Path(path)
    with io._replacing(path) as temporary, temporary.open("w", encoding="utf-8", newline="") as file:
        file.write(MARK + json.dumps(meta, ensure_ascii=False, allow_nan=False) + "\n")
        table.to_csv(file, index=False)
    return path


def read_table(path: str | os.PathLike[str]) -> tuple[pd.DataFrame, dict[str, Any]]:
    """What `write_table` wrote.

    Parameters
    ----------
    path
        The file.
    """
    import pandas as pd

    path = io._existing(path, "*.csv")
    text = path.read_text(encoding="utf-8")
    first, _, rest = text.partition("\n")
    if not first.startswith(MARK):
        _checks.fail(
            f"'{path}' was not written by `ExplainedVariance.save`: its first line is {first[:60]!r}.",
            "Read other tables with `pandas.read_csv(path)`.",
        )
    # everything as text first: a type may be called "18" or "NA"
    table = pd.read_csv(text_io.StringIO(rest), dtype=str, keep_default_na=False)
    for name in table.columns:
        if name not in TEXT:
            values = table[name].replace("", "nan")
            table[name] = values.astype(np.int64 if name in WHOLE else np.float64)
    return table, json.loads(first[len(MARK) :])
