r"""How much of the variance of each gene each head explains alone, and whether that is more than chance.

The prediction of a head is that of the model with the attention of all other heads set to 0. With unbiased variances
over the cells of one type,

.. math:: \mathrm{EV}_g = 1 - \frac{\mathrm{Var}(P - Y)_g}{\mathrm{Var}(Y)_g}, \qquad
    \mathrm{EV} = 1 - \frac{\sum_g \mathrm{Var}(P - Y)_g}{\sum_g \mathrm{Var}(Y)_g}.

p-values come from reordering the predictions among the cells, on cells that the model was not trained on.
Source of the quantities: Hong et al., bioRxiv 2025, doi 10.1101/2025.09.22.677860.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

from scmods import _checks
from scmods.amici import _explained_cells as inputs
from scmods.amici import _explained_table as tables
from scmods.amici._explained_options import check_options, n_orders, warn_of
from scmods.amici._type_tests import Plan, explain_type

if TYPE_CHECKING:
    from pathlib import Path

    import pandas as pd
    from anndata import AnnData
    from plotly.graph_objects import Figure

    from scmods.amici.permutations import NullDraws

__all__ = ["AMICIExplainedVarianceModule", "ExplainedVariance", "explained_variance_table"]


@dataclass
class ExplainedVariance:
    """Explained variance of every head, type and gene, with tests; made by `compute` or `from_predictions`.

    Attributes
    ----------
    explained_variance_df
        One row per head, type and gene: ``head``, ``ct_name``, ``gene``, ``n_cells``, ``expl_var_head_gene``,
        ``expl_var_head`` (aggregate over genes, repeated), ``r2_head`` (squared correlation, which no scale changes),
        ``slope_head`` (factor by which the prediction should be multiplied); with tests ``p_value_head``,
        ``p_value_adj_head`` (Benjamini-Hochberg over all heads and types), ``p_value_max_head`` (adjusted for the best
        of all heads of the type; NaN with ``method="pearson3"``), ``p_value_gene`` and ``p_value_adj_gene``
        (Benjamini-Hochberg over the genes of one head and type).
    compute_kwargs
        How it was computed: plain values, the cells used among them.
    n_permutations
        Orders drawn; None without permutations.
    adata
        What was passed to `compute`.
    skipped
        Types of which nothing is said (NaN in the table), and why.
    null
        For each type the statistic of every head under the orders drawn, `scmods.amici.permutations.NullDraws`.
        Not saved.

    Examples
    --------
    >>> import numpy as np
    >>> rng = np.random.default_rng(1)
    >>> targets = rng.normal(size=(200, 5))
    >>> predictions = np.stack([0.5 * targets, rng.normal(size=(200, 5))])  # two heads
    >>> result = ExplainedVariance.from_predictions(predictions, targets)
    >>> result.summary()[["head", "expl_var_head", "p_value_head"]].round(3).values.tolist()[0]
    [0.0, 0.75, 0.002]
    """

    explained_variance_df: pd.DataFrame
    compute_kwargs: dict[str, Any]
    n_permutations: int | None = None
    adata: AnnData | None = field(default=None, repr=False)
    skipped: dict[str, str] = field(default_factory=dict)
    null: dict[str, NullDraws] = field(default_factory=dict, repr=False)

    @classmethod
    def compute(
        cls,
        model: Any,
        adata: AnnData | None = None,
        alpha: float = 0.05,
        run_permutation_test: bool = True,  # noqa: FBT001, FBT002 - the position is part of a published interface
        n_permutations: int | None = None,
        *,
        cells: Any = "held_out",
        seed: int = 0,
        method: str = "permutation",
        null: str = "free",
        block_size: float | None = None,
        scaled: bool = False,
        heads: Sequence[int] | None = None,
        types: Sequence[str] | None = None,
        per_gene: bool = True,
        unseen: str = "refuse",
        epoch: int | None = None,
    ) -> ExplainedVariance:
        """Explained variance of every head of a fitted model, from one forward pass.

        Parameters
        ----------
        model
            A fitted `AMICI`.
        adata
            Cells; None for those of the model.
        alpha
            Level for which the number of orders is chosen, and at which `summary` counts genes.
        run_permutation_test
            False leaves out all p-values.
        n_permutations
            Random orders; None takes ten times as many as one test needs to survive the adjustment,
            ``10 * ceil(heads * types / alpha)``. All orders are tried instead when they are not more.
        cells
            ``"held_out"``: those that `fit` never saw; of other cells than the training data, all. ``"train"`` and
            ``"all"`` describe the fit; their p-values are far too small and warned of. Or a mask, or positions.
        seed
            Seed of the orders; they are the same for all heads.
        method
            ``"permutation"``, or ``"pearson3"``: a gamma tail with the exact first three moments, no orders; at its
            best from about 100 cells.
        null
            ``"free"``: any cell may take any place. ``"block"``: within squares of the tissue. ``"mirror"``,
            ``"toroidal"``: the field of predictions is shifted as a whole, see
            `scmods.amici.spatial_nulls.shift_maps`; for predictions and genes that are smooth over the tissue.
        block_size
            Side of the squares, in the unit of the positions; None lets them hold 20 cells of the type.
        scaled
            Every gene counts alike in the p-value of a head; otherwise one of large variance can drown all others.
            The explained variances do not change.
        heads, types
            Some of them; None for all.
        per_gene
            Also a p-value per gene: from the gamma tail, or from at most 999 shifts of cells * genes steps each.
        unseen
            ``"exclude"`` leaves out cells of `adata` whose type the model has not seen; they stay neighbours.
        epoch
            Stored in the settings, for callbacks.

        Returns
        -------
        ExplainedVariance.

        Raises
        ------
        MissingKeyError, ValueError, TypeError
            No held-out cells, unknown heads or types, NaN, values out of range.

        Notes
        -----
        Cost beyond the forward pass O(cells (size + 1) genes) per head, and orders * cells per head.
        A test on the cells of the fit is no test: on data without any interaction it calls half of all heads.
        """
        check_options(alpha, seed, method, null)
        source = inputs.from_model(
            model, adata, cells, heads, types, need_coords=null != "free", unseen=unseen
        )
        settings = {
            "alpha": alpha, "cells": source.kind, "method": method, "null": null, "seed": seed, "scaled": scaled,
            "block_size": block_size, "heads": source.heads, "types": source.names, "epoch": epoch,
        }  # fmt: skip
        plan = Plan(run_permutation_test, 0, seed, method, null, block_size, scaled, per_gene)
        if run_permutation_test and source.kind in ("train", "all"):
            _checks.warn(
                f"cells={source.kind!r}: the model was fitted to these cells, so the p-values are far too small. "
                'Hold cells out, `AMICI(adata, held_out=strip(adata))`, and use cells="held_out".'
            )
        return cls._of(source, plan, alpha, n_permutations, settings, adata)

    @classmethod
    def from_predictions(
        cls,
        predictions: Any,
        targets: Any,
        labels: Sequence[str] | None = None,
        *,
        genes: Sequence[str] | None = None,
        coords: Any = None,
        sections: Sequence[Any] | None = None,
        alpha: float = 0.05,
        run_permutation_test: bool = True,
        n_permutations: int | None = None,
        seed: int = 0,
        method: str = "permutation",
        null: str = "free",
        block_size: float | None = None,
        scaled: bool = False,
        per_gene: bool = True,
    ) -> ExplainedVariance:
        """The same for predictions of any model.

        Parameters
        ----------
        predictions
            (heads, cells, genes), or (cells, genes) for a single head.
        targets
            (cells, genes) as measured.
        labels
            (cells,) types; None takes all cells as one type, ``"all"``.
        genes
            Names of the columns; numbers by default.
        coords, sections
            (cells, 2 or 3) positions and (cells,) sections, which the spatial nulls need.
        alpha, run_permutation_test, n_permutations, seed, method, null, block_size, scaled, per_gene
            As in `compute`.

        Returns
        -------
        ExplainedVariance.

        Raises
        ------
        ValueError, TypeError
            Shapes that do not fit, NaN, repeated genes, values out of range.
        """
        check_options(alpha, seed, method, null)
        source = inputs.from_arrays(
            predictions, targets, labels, genes, coords, sections, need_coords=null != "free"
        )
        settings = {
            "alpha": alpha, "cells": "given", "method": method, "null": null, "seed": seed, "scaled": scaled,
            "block_size": block_size, "heads": source.heads, "types": source.names, "epoch": None,
        }  # fmt: skip
        plan = Plan(run_permutation_test, 0, seed, method, null, block_size, scaled, per_gene)
        return cls._of(source, plan, alpha, n_permutations, settings, None)

    @classmethod
    def _of(
        cls, source: inputs.Source, plan: Plan, alpha: float, n_permutations: int | None, settings: dict[str, Any],
        adata: AnnData | None,
    ) -> ExplainedVariance:  # fmt: skip
        n_tests = len(source.heads) * len(source.names)
        drawn = plan.run_permutation_test and plan.method == "permutation"
        n = n_orders(n_permutations, n_tests, alpha) if drawn else None
        plan = replace(plan, n_permutations=n or 0)
        results = [explain_type(source.load(i), plan, i) for i in range(len(source.names))]
        table = tables.gene_table(
            results, source.heads, source.genes, tested=plan.run_permutation_test, per_gene=plan.per_gene
        )
        warn_of(results, source.heads, plan)
        skipped = {r.name: r.reason for r in results if r.reason}
        null = {r.name: r.null for r in results if r.null is not None}
        settings |= {
            "run_permutation_test": plan.run_permutation_test,
            "n_permutations": n,
            "n_tests": n_tests,
        }
        return cls(table, settings, n, adata, skipped, null)

    def summary(self) -> pd.DataFrame:
        """One row per head and type: the columns that do not differ between genes, and the best gene.

        Returns
        -------
        DataFrame, in addition with ``best_gene`` and ``expl_var_best_gene``; ``n_genes`` (adjusted p of at most
        `alpha`); ``reason`` (why a type has NaN, otherwise empty).
        """
        return tables.head_table(self.explained_variance_df, self.skipped, self.compute_kwargs["alpha"])

    def compute_max_explained_variance_head(self, cell_type: str, by: str = "aggregate") -> int:
        """The head that explains most in one type.

        Parameters
        ----------
        cell_type
            Name of the type.
        by
            ``"aggregate"``: over all genes; ``"max_gene"``: in its best gene, as the original does, which rewards
            noise the more genes there are.

        Returns
        -------
        Number of the head.

        Raises
        ------
        ValueError
            If the type is unknown or has too few cells.
        """
        _checks.one_of("by", by, ("aggregate", "max_gene"))
        table = self.summary()
        _checks.one_of("cell_type", cell_type, table["ct_name"].unique().tolist())
        rows = table[table["ct_name"] == cell_type]
        if cell_type in self.skipped:
            _checks.fail(f"No head explains {cell_type!r}: {self.skipped[cell_type]}.")
        column = "expl_var_head" if by == "aggregate" else "expl_var_best_gene"
        return int(rows["head"].to_numpy()[rows[column].to_numpy().argmax()])

    def save(self, path: str | os.PathLike[str]) -> Path:
        """Write the table as CSV, the settings in a first line that starts with ``#``.

        Parameters
        ----------
        path
            The file; replaced in one step. Read it elsewhere with ``pandas.read_csv(path, skiprows=1)``.
        """
        return tables.write_table(
            path, self.explained_variance_df, {"settings": self.compute_kwargs, "skipped": self.skipped}
        )

    @classmethod
    def load(cls, path: str | os.PathLike[str]) -> ExplainedVariance:
        """Read what `save` wrote: all but the cells and the draws.

        Parameters
        ----------
        path
            The file.

        Raises
        ------
        FileNotFoundError, ValueError
            No such file, or another kind.
        """
        table, meta = tables.read_table(path)
        return cls(table, meta["settings"], meta["settings"]["n_permutations"], None, meta["skipped"])

    def plot_explained_variance_barplot(
        self,
        palette: dict[str, str] | None = None,
        cell_type_sub: Sequence[str] | None = None,
        log: Callable[..., Any] | None = None,
        show: bool = False,  # noqa: FBT001, FBT002
        save_png: bool = False,  # noqa: FBT001, FBT002
        save_svg: bool = False,  # noqa: FBT001, FBT002
        save_dir: str | os.PathLike[str] = "./figures",
        **more: Any,
    ) -> Figure:
        """Bars per head and type; see `scmods.amici.plots_explained.explained_variance_barplot`.

        Parameters
        ----------
        palette, cell_type_sub, log, show, save_png, save_svg, save_dir, **more
            See there.
        """
        from scmods.amici import plots_explained

        return plots_explained.explained_variance_barplot(
            self, palette, cell_type_sub, log, show, save_png, save_svg, save_dir, **more
        )

    def plot_featurewise_explained_variance_heatmap(
        self,
        cell_type_sub: Sequence[str] | None = None,
        n_top_genes: int = 20,
        log: Callable[..., Any] | None = None,
        show: bool = False,  # noqa: FBT001, FBT002
        save_png: bool = False,  # noqa: FBT001, FBT002
        save_svg: bool = False,  # noqa: FBT001, FBT002
        save_dir: str | os.PathLike[str] = "./figures",
        **more: Any,
    ) -> dict[str, Figure]:
        """Genes by heads, a figure per type; see `scmods.amici.plots_explained.explained_variance_heatmaps`.

        Parameters
        ----------
        cell_type_sub, n_top_genes, log, show, save_png, save_svg, save_dir, **more
            See there.
        """
        from scmods.amici import plots_explained

        return plots_explained.explained_variance_heatmaps(
            self, cell_type_sub, n_top_genes, log, show, save_png, save_svg, save_dir, **more
        )


AMICIExplainedVarianceModule = ExplainedVariance


def explained_variance_table(
    predictions: Any, targets: Any, labels: Any = None, **options: Any
) -> pd.DataFrame:
    """Explained variance and p-values of predictions of any model, as a table.

    Parameters
    ----------
    predictions, targets, labels, **options
        As in `ExplainedVariance.from_predictions`.

    Returns
    -------
    Its ``explained_variance_df``.

    Examples
    --------
    >>> import numpy as np
    >>> y = np.random.default_rng(0).normal(size=(50, 3))
    >>> table = explained_variance_table(y / 2, y, genes=["a", "b", "c"], method="pearson3")
    >>> table["expl_var_head_gene"].round(6).tolist()
    [0.75, 0.75, 0.75]
    """
    return ExplainedVariance.from_predictions(predictions, targets, labels, **options).explained_variance_df
