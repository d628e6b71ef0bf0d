"""Whole studies of the chapter: several simulated samples, several methods, each with its seed."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import numpy as np

from scmods import _checks
from scmods.scyan.baselines import marker_mixture, nearest_row, threshold_gating
from scmods.scyan.detection import flag_recall
from scmods.scyan.evaluation import annotation_scores, population_scores
from scmods.scyan.mixing import marker_shift, mixing_index
from scmods.scyan.model import Scyan
from scmods.scyan.simulate import UNLISTED, cytometry
from scmods.scyan.table import population_names

if TYPE_CHECKING:
    import pandas as pd
    from anndata import AnnData

__all__ = ["batch_study", "compare_methods", "cytometry_study"]

BASELINES: dict[str, Callable[[AnnData], Any]] = {
    "thresholds": lambda a: threshold_gating(a).labels,
    "nearest row": lambda a: nearest_row(a).labels,
    "marker mixture, split": lambda a: marker_mixture(a, refine=False).labels,
    "marker mixture": lambda a: marker_mixture(a).labels,
}


@contextmanager
def _once() -> Iterator[None]:
    """Weak spots of a table are told when it is read, not again for every seed."""
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="The table has")
        yield


def compare_methods(
    adata: AnnData,
    seeds: Sequence[int],
    *,
    label_key: str = "cell_type",
    original: bool = True,
    fit: dict[str, Any] | None = None,
    **options: Any,
) -> tuple[pd.DataFrame, Scyan]:
    """Label the same cells by every method of the chapter, trained ones once per seed.

    Parameters
    ----------
    adata
        Cells with a table in ``uns["table"]``.
    seeds
        Model seeds.
    label_key
        Column with the true populations; cells of populations that the table lacks do not count.
    original
        Also train the original's recipe.
    fit
        Arguments of `Scyan.fit`, for the recipe of this package only.
    **options
        Arguments of `Scyan`, for the recipe of this package only.

    Returns
    -------
    Columns ``method``, ``seed``, ``macro_f1``, ``kappa``, ``accuracy``; every cell is given a label, none is left
    unclassified, except where thresholds leave no row. And the model of the first seed, for further questions.

    Examples
    --------
    >>> from scmods import scyan
    >>> adata = scyan.cytometry(300, 5, 6)
    >>> table, model = scyan.compare_methods(adata, [0], original=False, fit={"max_epochs": 1})
    >>> list(table.columns)
    ['method', 'seed', 'macro_f1', 'kappa', 'accuracy']
    """
    import pandas as pd

    if not len(seeds):
        _checks.fail("`seeds` is empty. Write seeds=range(5).")
    names, rows, first = population_names(adata.uns["table"]), [], None

    def note(method: str, seed: int, labels: Any) -> None:
        scores = annotation_scores(adata.obs[label_key], labels, populations=names)
        rows.append({"method": method, "seed": seed, **scores[["macro_f1", "kappa", "accuracy"]]})

    with _once():
        for method, label in BASELINES.items():
            note(method, int(seeds[0]), label(adata))
        for seed in seeds:
            if original:
                rival = Scyan.original(adata, seed=int(seed)).fit()
                note(
                    "original's recipe",
                    seed,
                    rival.predict(key_added=None, threshold=1.0),
                )
            model = Scyan(adata, seed=int(seed), **options).fit(**(fit or {}))
            note("scyan", seed, model.predict(key_added=None, threshold=1.0))
            first = first or model
    return pd.DataFrame(rows), first


def cytometry_study(
    seeds: Sequence[int], *, false_flags: float = 0.03, original: bool = True, **options: Any
) -> pd.DataFrame:
    """Simulated samples, one model each: labels, the unlisted population, and the rare one.

    Parameters
    ----------
    seeds
        One sample each; the models have seed 0.
    false_flags
        Share of listed cells that may be flagged where the recall of unlisted ones is read off. This threshold is
        set with the truth at hand; the columns at one half are not.
    original
        Also train the original's recipe.
    **options
        Further arguments of `cytometry`.

    Returns
    -------
    One row per sample and method (``"scyan, before the flow"`` labels cells behind the affine start): ``seed``,
    ``method``, ``macro_f1`` (all cells labelled), ``unlisted_found`` (at `false_flags`), ``found_at_half``,
    ``flagged_at_half`` (unlisted cells, and listed ones, whose probability of being unlisted is above one half),
    ``rare_recall``, ``rare_low``, ``rare_high``, ``rare_precision``, ``distance`` (fewest
    known entries of a row that the unlisted population contradicts).

    Examples
    --------
    >>> from scmods import scyan
    >>> table = scyan.cytometry_study([0], original=False, n_cells=600, n_pops=5, n_markers=6)
    >>> "unlisted_found" in table
    True
    """
    import pandas as pd

    rows = []
    for seed in seeds:
        adata = cytometry(seed=int(seed), **options)
        names, truth = population_names(adata.uns["table"]), adata.obs["cell_type"]
        rare, absent = adata.uns["truth"]["rare"], (truth == UNLISTED).to_numpy()
        with _once():
            models = {"scyan": Scyan(adata).fit()}
            if original:
                models["original's recipe"] = Scyan.original(adata).fit()
        labels = {m: one.predict(key_added=None, threshold=1.0) for m, one in models.items()}
        before = models["scyan"].joint_log_prob(flow=False).argmax(axis=1)
        labels["scyan, before the flow"] = np.array(names, dtype=object)[before]
        labels |= {name: label(adata) for name, label in BASELINES.items()}
        for method, found in labels.items():
            row = {"seed": seed, "method": method}
            row["macro_f1"] = annotation_scores(truth, found, populations=names)["macro_f1"]
            score = _outsider_score(models.get(method))
            if score is not None and absent.any():
                row["unlisted_found"] = flag_recall(score, absent, false_flags=false_flags)["recall"]
            if method == "scyan":
                flagged = models[method].log_odds_unlisted() > 0
                row["flagged_at_half"] = flagged[~absent].mean()
                if absent.any():
                    row["found_at_half"] = flagged[absent].mean()
            if rare:
                one = population_scores(truth, found, populations=names).loc[rare]
                columns = {
                    "recall": "recall",
                    "low": "recall_low",
                    "high": "recall_high",
                    "precision": "precision",
                }
                row |= {f"rare_{k}": one[v] for k, v in columns.items()}
            rows.append({**row, "distance": adata.uns["truth"]["unlisted_distance"]})
    return pd.DataFrame(rows)


def _outsider_score(model: Scyan | None) -> np.ndarray | None:
    """Larger where a cell fits no row: the log-odds, or minus the log-density of the label without a background."""
    if model is None:
        return None
    if model.contamination.cells:
        return model.log_odds_unlisted()
    joint = model.joint_log_prob()
    log_pi = model.module.log_pi.detach().double().numpy()
    return -(joint.max(axis=1) - log_pi[joint.argmax(axis=1)])


def batch_study(
    seeds: Sequence[int], *, n_cells: int = 10_000, n_batches: int = 2, **options: Any
) -> tuple[pd.DataFrame, dict[str, Any]]:
    """Simulated batches, before and after correction.

    Parameters
    ----------
    seeds
        One sample each.
    n_cells, n_batches
        Size of a sample.
    **options
        Further arguments of `cytometry`.

    Returns
    -------
    One row per sample: ``seed``, ``shift_before``, ``shift_after`` (mean over populations and markers of the distance
    between the means of two batches), ``mixing_before``, ``mixing_after`` (effective number of batches among the
    neighbours of a cell, within populations). And of the first sample a dict for a figure: ``before``, ``after``,
    ``batch``, ``markers``.

    Examples
    --------
    >>> from scmods import scyan
    >>> table, example = scyan.batch_study([0], n_cells=600, n_pops=4, n_markers=6)
    >>> len(table), "shift_after" in table
    (1, True)
    """
    import pandas as pd

    rows, shown = [], {}
    for seed in seeds:
        adata = cytometry(n_cells, n_batches=n_batches, seed=int(seed), **options)
        with _once():
            model = Scyan(adata, batch_key="batch").fit()
        batch, labels = adata.obs["batch"], adata.obs["cell_type"]
        values = {"before": adata[:, model.markers].X, "after": model.batch_effect_correction()}
        row: dict[str, Any] = {"seed": seed}
        for when, x in values.items():
            row[f"shift_{when}"] = marker_shift(x, batch, labels)
            row[f"mixing_{when}"] = mixing_index(x, batch, labels=labels)
        rows.append(row)
        shown = shown or {**values, "batch": batch, "markers": model.markers}
    return pd.DataFrame(rows), shown
