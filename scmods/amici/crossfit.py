"""The sender-receiver test of the chapter: every cell is judged by a model that never saw it."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np

from scmods import _checks
from scmods.amici import inputs
from scmods.amici._pair_test import PairResult, compare_receiver, receiver_folds
from scmods.amici.folds import FOLD, sender_markers, stripes
from scmods.amici.heads import HeadOutputs
from scmods.amici.model import AMICI
from scmods.stats import benjamini_hochberg

if TYPE_CHECKING:
    import pandas as pd
    from anndata import AnnData

__all__ = ["CrossFit", "cross_fit"]

NULLS = ("free", "mirror", "toroidal")
# A test needs prediction, not attention that reads well: without penalties, with an empty slot that starts out weak and
# with more steps, weak pairs are learned from two thirds of the cells as well.
PREDICTIVE = {"batch_size": 64, "empty_logit": 0.0, "entropy_weight": 0.0, "value_weight": 0.0}
EPOCHS = 45


@dataclass(frozen=True)
class CrossFit:
    """Cross-fitted models and the test of every pair of types.

    Parameters
    ----------
    table
        One row per receiver and sender:

        - ``statistic``: sum over held-out cells and genes of what the sender adds to the prediction times what was
          measured, both centred within the fold and beyond the other senders; ``z``: in standard deviations of its
          null;
        - ``pvalue``: one-sided, (count + 1) / (permutations + 1); ``pvalue_adj``: adjusted over all pairs for the false
          discovery rate (Benjamini-Hochberg); ``pvalue_family``: for the chance of any false call (Holm);
        - ``share``: variance in held-out cells explained by what the sender adds, as a share of the receivers';
          negative where it does harm;
        - ``n_cells``, ``n_exposed``: receivers, and those with such a neighbour; ``n_genes`` that count.

        Pairs that cannot be tested, for want of cells or of exposed cells or of genes, have NaN.
    models
        One fitted `AMICI` per fold.
    folds
        (cells,) number of the fold in which the cell is held out.
    types
        Names.
    null
        (pairs, permutations) the statistic under permutation, rows as in `table`; NaN where not tested.
    settings
        Options of the test.

    Examples
    --------
    >>> from scmods import amici
    >>> adata = amici.semisynthetic(300, 30)
    >>> test = amici.cross_fit(adata, n_neighbors=5, max_epochs=1)
    >>> len(test.models), test.folds.shape, len(test.table)
    (3, (300,), 12)
    """

    table: pd.DataFrame
    models: list[AMICI]
    folds: np.ndarray
    types: list[str]
    null: np.ndarray = field(repr=False)
    settings: dict[str, Any]
    _adata: AnnData = field(repr=False)

    def passed(self, alpha: float = 0.05, *, by: str = "pvalue_adj", improving: bool = True) -> pd.DataFrame:
        """Rows with an adjusted p-value of at most `alpha`, the smallest first.

        Parameters
        ----------
        alpha
            Share of false calls among the calls, or chance of any.
        by
            ``"pvalue_adj"`` or ``"pvalue_family"``. With k true calls the first lets about k false ones per 20 through.
        improving
            Ask as well that listening improves the prediction of held-out cells, ``share > 0``. A sender that lives
            where the true one lives can go with the receivers' expression, and predict it worse than nothing does.
        """
        _checks.one_of("by", by, ("pvalue_adj", "pvalue_family"))
        keep = self.table[by] <= _checks.number("alpha", alpha, 0.0, 1.0)
        if improving:
            keep &= self.table["share"] > 0
        return self.table[keep].sort_values([by, "z"], ascending=[True, False], ignore_index=True)

    def matrix(self, value: str = "z") -> pd.DataFrame:
        """Senders (rows) x receivers (columns) of one column of the table; NaN on the diagonal.

        Parameters
        ----------
        value
            Column of `table`.
        """
        _checks.one_of("value", value, [c for c in self.table.columns if c not in ("receiver", "sender")])
        return self.table.pivot(index="sender", columns="receiver", values=value).reindex(
            index=self.types, columns=self.types
        )

    def outputs(self, fold: int, *, restart: int = 0) -> HeadOutputs:
        """Outputs of the model of a fold for the cells that it never saw.

        Parameters
        ----------
        fold
            Number of the fold.
        restart
            Network of that model, 0 for the best.
        """
        _checks.integer("fold", fold, 0, len(self.models) - 1)
        return self.models[fold].heads(cells=self.folds == fold, restart=restart)

    def retest(self, **options: Any) -> CrossFit:
        """Test again with other options, without fitting.

        Parameters
        ----------
        **options
            ``n_permutations``, ``null``, ``without_markers``, ``fold``, ``seed`` of `cross_fit`.

        Examples
        --------
        >>> from scmods.amici.simulate import semisynthetic
        >>> test = cross_fit(semisynthetic(300, 30), n_neighbors=5, max_epochs=1)
        >>> bool((test.retest(without_markers=True).table["n_genes"] < 30).all())
        True
        """
        settings = {**self.settings, **options}
        _check_settings(settings, list(self.settings))
        return _test(self._adata, self.models, self.folds, settings)


def cross_fit(
    adata: AnnData,
    *,
    n_folds: int = 3,
    n_permutations: int | None = None,
    null: str = "free",
    without_markers: bool = False,
    fold: float = FOLD,
    restarts: int = 1,
    max_epochs: int | None = None,
    patience: int | None = None,
    validation: float = 0.1,
    seed: int = 0,
    **model_options: Any,
) -> CrossFit:
    r"""Test which types of senders change which types of receivers, on cells the model never saw.

    The tissue is cut into stripes. For each a model is fitted to the others; in the stripe, receivers are predicted
    without neighbours, and with those of one sender type alone. If the difference :math:`D` means something, it goes
    with what was measured:

    .. math:: T_{rs} = \sum_{\mathrm{folds}} \sum_{i \in r} \sum_g D_{ig} Y_{ig}

    centred within fold, compared with its values when receivers are permuted within the fold. From both :math:`D` and
    :math:`Y` the two leading axes, over the cells, of what each OTHER sender type adds are taken first, so that a type
    that merely lives where the true sender lives drops out.

    Parameters
    ----------
    adata
        As for `AMICI`.
    n_folds
        Stripes, at least 2; one fit each.
    n_permutations
        Permutations; the smallest possible p-value is one over this plus one. None takes 2000, or 40 for every pair of
        types if that is more, because a lone small p-value must survive the adjustment over all pairs.
    null
        ``"free"``: cells change places; or shifts of the whole field, which keep its smoothness, with ``"mirror"`` or
        ``"toroidal"`` edges. Take a shift where receivers differ from place to place for reasons of their own.
    without_markers
        Leave out, pair by pair, the genes that the sender has more of than the receiver. What remains cannot come from
        molecules of the sender that ended up in the receiver.
    fold
        A marker's mean in the sender exceeds that in the receiver by more than this, in units of the logged matrix.
    restarts
        Networks per fold; what the sender adds is averaged over them.
    max_epochs, patience, validation
        As in `AMICI.fit`; None takes 45 epochs without an early stop, because learning often begins late.
    seed
        Seed of fits and permutations.
    **model_options
        Handed to `AMICI`, as ``cluster_key`` or ``n_neighbors``. Unless they say otherwise, fits differ from the
        preset: no penalties, batches of 64, logit 0 of the empty slot. These predict better; attention reads better
        from a model fitted with the preset.

    Returns
    -------
    `CrossFit` with the table of all pairs and the models.

    Raises
    ------
    TypeError, ValueError
        As `AMICI`; too few permutations for a call after adjustment.

    Notes
    -----
    Types of senders mean the same in every fold, heads do not: that is why pairs of types are tested and not heads. An
    association is what is tested. Layers of a tissue, and molecules that leak between touching cells, give one too: see
    `null` and `without_markers`.

    Examples
    --------
    >>> from scmods.amici.simulate import semisynthetic
    >>> test = cross_fit(semisynthetic(300, 30), n_neighbors=5, max_epochs=1)
    >>> test.table.shape[0], len(test.models)
    (12, 3)
    """
    if "held_out" in model_options:
        _checks.fail(
            "`held_out` is set by `cross_fit` itself, stripe by stripe.",
            "To keep cells apart from all folds, drop them first: `amici.cross_fit(adata[~mask])`.",
            kind=TypeError,
        )
    settings = {
        "n_permutations": n_permutations,
        "null": null,
        "without_markers": without_markers,
        "fold": fold,
        "seed": _checks.integer("seed", seed, 0),
    }
    _check_settings(settings, list(settings))
    keys = {k: model_options[k] for k in ("spatial_key", "library_key") if k in model_options}
    folds = stripes(adata, n_folds, **keys)
    epochs = EPOCHS if max_epochs is None else max_epochs
    patience = epochs if patience is None else patience
    models = []
    for f in range(n_folds):
        model = AMICI(adata, held_out=folds == f, seed=seed + f, **{**PREDICTIVE, **model_options})
        models.append(
            model.fit(max_epochs=epochs, patience=patience, validation=validation, restarts=restarts)
        )
    return _test(adata, models, folds, settings)


def _check_settings(settings: dict[str, Any], known: list[str]) -> None:
    for name in settings:
        _checks.one_of("option", name, known)
    if settings["n_permutations"] is not None:
        _checks.integer("n_permutations", settings["n_permutations"], 19, why="Fewer cannot reach p = 0.05.")
    _checks.one_of("null", settings["null"], NULLS)
    _checks.number("fold", settings["fold"], 0.0)
    _checks.integer("seed", settings["seed"], 0)


def _enough(n_permutations: int | None, n_types: int) -> int:
    n_pairs = n_types * (n_types - 1)
    if n_permutations is None:
        return max(2000, 40 * n_pairs)
    if n_permutations + 1 < 20 * n_pairs:
        _checks.warn(
            f"`n_permutations` is {n_permutations}, so no p-value is below {1 / (n_permutations + 1):.2g}, and after "
            f"adjustment over {n_pairs} pairs none alone can be 0.05 or less. Write n_permutations={20 * n_pairs}.",
            level=4,
        )
    return n_permutations


def _receivers(models: list[AMICI], folds: np.ndarray) -> Iterator[tuple[int, list[list[HeadOutputs]]]]:
    """Outputs of the held-out cells of every type: per type a list of folds of restarts."""
    every = [
        [model.heads(cells=folds == f, restart=r) for r in range(len(model.runs))]
        for f, model in enumerate(models)
    ]
    for t in range(len(models[0].types)):
        yield t, [[one.subset(one.types == t) for one in restarts] for restarts in every]


def _test(adata: AnnData, models: list[AMICI], folds: np.ndarray, settings: dict[str, Any]) -> CrossFit:
    slots, types = models[0].slots, models[0].types
    settings = {**settings, "n_permutations": _enough(settings["n_permutations"], len(types))}
    coords = inputs.coordinates(adata, slots.spatial_key)
    n_types, n_genes = len(types), adata.n_vars
    keep = np.ones((n_types, n_types, n_genes), dtype=bool)
    if settings["without_markers"]:
        keep = ~sender_markers(adata, cluster_key=slots.cluster_key, layer=slots.layer, fold=settings["fold"])
    rng = np.random.default_rng(settings["seed"])
    parts, nulls = [], []
    for t, per_fold in _receivers(models, folds):
        senders = [s for s in range(n_types) if s != t]
        ready = [
            receiver_folds(restarts, coords[restarts[0].cells], senders, keep[t, senders])
            for restarts in per_fold
            if len(restarts[0])
        ]
        result = compare_receiver(
            ready, n_permutations=settings["n_permutations"], null=settings["null"], rng=rng
        )
        n_kept = keep[t, senders].sum(axis=1)
        parts.append(_rows(types[t], [types[s] for s in senders], result, n_kept))
        tested = parts[-1]["pvalue"].notna().to_numpy()[:, None]
        draws = np.zeros((len(senders), settings["n_permutations"])) if result is None else result.null
        nulls.append(np.where(tested, draws, np.nan))
    table = _adjusted(parts)
    return CrossFit(table, models, folds, types, np.concatenate(nulls), settings, adata)


def _rows(receiver: str, senders: list[str], result: PairResult | None, n_genes: np.ndarray) -> pd.DataFrame:
    import pandas as pd

    frame = pd.DataFrame({"receiver": receiver, "sender": senders})
    for name in ("statistic", "z", "pvalue", "share"):
        frame[name] = np.nan if result is None else getattr(result, name)
    frame["pvalue_adj"] = frame["pvalue_family"] = np.nan
    frame["n_cells"] = 0 if result is None else result.n_cells
    frame["n_exposed"] = 0 if result is None else result.n_exposed
    frame["n_genes"] = n_genes
    untested = (frame["n_exposed"] == 0) | (frame["n_genes"] == 0)
    frame.loc[untested, ["statistic", "z", "pvalue", "share"]] = np.nan
    return frame


def _adjusted(parts: list[pd.DataFrame]) -> pd.DataFrame:
    import pandas as pd

    table = pd.concat(parts, ignore_index=True)
    tested = table["pvalue"].notna()
    p = table.loc[tested, "pvalue"].to_numpy()
    table.loc[tested, "pvalue_adj"] = benjamini_hochberg(p)
    table.loc[tested, "pvalue_family"] = _holm(p)
    return table


def _holm(p: np.ndarray) -> np.ndarray:
    order = np.argsort(p)
    steps = np.maximum.accumulate(p[order] * np.arange(len(p), 0, -1))
    out = np.empty_like(p)
    out[order] = np.minimum(steps, 1.0)
    return out
