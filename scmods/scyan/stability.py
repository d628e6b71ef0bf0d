"""Do labels return when only the seed changes?"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import combinations
from typing import TYPE_CHECKING, Any

import numpy as np

from scmods import _checks

if TYPE_CHECKING:
    import pandas as pd
    from anndata import AnnData

__all__ = ["SeedAgreement", "seed_agreement"]

UNCLASSIFIED = "unclassified"


class SeedAgreement:
    """How far several annotations of the same cells agree.

    Parameters
    ----------
    cells
        See the attribute.
    pairs
        See the attribute.

    Attributes
    ----------
    cells
        DataFrame, one row per cell: ``label`` (the most frequent one; of two, the one that comes first among the
        populations), ``votes`` (share of the annotations that give it), ``agreement`` (share of the pairs of
        annotations that agree), ``unstable`` (bool). "unclassified" is a label of its own.
    pairs
        DataFrame, annotations x annotations: share of the cells that have the same label in both.

    Examples
    --------
    >>> import pandas as pd
    >>> from scmods import scyan
    >>> found = scyan.seed_agreement([pd.Series(["B", "T"]), pd.Series(["B", "B"])])
    >>> found.cells["agreement"].tolist(), found.pairs.shape
    ([1.0, 0.0], (2, 2))
    """

    def __init__(self, cells: pd.DataFrame, pairs: pd.DataFrame) -> None:
        self.cells, self.pairs = cells, pairs

    @property
    def mean(self) -> float:
        """Mean agreement over all pairs of annotations."""
        return float(self.cells["agreement"].mean())

    def by_population(self) -> pd.DataFrame:
        """One row per label: ``cells``, mean ``agreement``, share of ``unstable`` cells; the least stable first."""
        grouped = self.cells.groupby("label", observed=True)
        out = grouped.agg(
            cells=("votes", "size"), agreement=("agreement", "mean"), unstable=("unstable", "mean")
        )
        return out.sort_values("agreement", kind="stable")

    def __repr__(self) -> str:
        share = float(self.cells["unstable"].mean())
        return (
            f"SeedAgreement({len(self.cells)} cells, {len(self.pairs)} annotations, "
            f"agreement {self.mean:.3f}, unstable {share:.1%})"
        )


def seed_agreement(
    annotations: Sequence[Any] | Mapping[str, Any], adata: AnnData | None = None, *, least: float = 0.8
) -> SeedAgreement:
    """Compare annotations of the same cells, such as those of models that differ by their seed.

    An annotation that changes with the seed is not in the data. Populations with few cells, or that one marker
    separates, are the first to change.

    Parameters
    ----------
    annotations
        At least two: labels (one per cell, missing or "unclassified" for none), or trained models, whose most probable
        label is taken. A mapping gives them names; numbers by default.
    adata
        Cells that the models annotate; by default those of their training, which must be the same.
    least
        Cells in which a smaller share of the pairs agrees are called unstable.

    Returns
    -------
    `SeedAgreement`.

    Raises
    ------
    TypeError, ValueError
        Fewer than two annotations; different cells; a share outside [0, 1].

    Examples
    --------
    >>> found = seed_agreement([["T", "B", "B"], ["T", "B", "T"], ["T", "B", None]])
    >>> found.cells["agreement"].tolist(), found.cells["unstable"].tolist()
    ([1.0, 1.0, 0.0], [False, False, True])
    """
    import pandas as pd

    if isinstance(annotations, str | pd.Series | pd.DataFrame) or not isinstance(
        annotations, Mapping | Sequence
    ):
        _checks.fail(
            f"`annotations` is of type {type(annotations).__name__}, but must be a list of labels or of models.",
            "Write `seed_agreement([model_0, model_1, model_2])`.",
            kind=TypeError,
        )
    _checks.number("least", least, 0.0, 1.0)
    named = annotations if isinstance(annotations, Mapping) else dict(enumerate(annotations))
    if len(named) < 2:
        _checks.fail(f"`annotations` holds {len(named)}, but at least two are needed to compare.")
    columns = {str(name): _series(str(name), given, adata) for name, given in named.items()}
    _same_cells(columns)
    frame = pd.DataFrame({name: s.to_numpy() for name, s in columns.items()})
    code, names = pd.factorize(frame.to_numpy(dtype=object).ravel())
    order = _order(names, list(named.values()))
    code = np.argsort(order)[code].reshape(frame.shape)
    names = np.asarray(names, dtype=object)[order]
    return _compare(code, list(names), next(iter(columns.values())).index, list(columns), least)


def _series(name: str, given: Any, adata: AnnData | None) -> pd.Series:
    """Labels as strings, "unclassified" where there is none."""
    import pandas as pd

    if hasattr(given, "predict_proba"):
        proba = given.predict_proba(adata)
        best = proba.columns.to_numpy(dtype=object)[proba.to_numpy().argmax(axis=1)]
        return pd.Series(best, index=proba.index).astype(str)
    if isinstance(given, str) or np.ndim(given) != 1:
        _checks.fail(
            f"Annotation {name} must hold one label per cell, or be a trained model; "
            f"it is of type {type(given).__name__}.",
            kind=TypeError,
        )
    series = pd.Series(given).astype(object)
    return series.astype(str).where(series.notna(), UNCLASSIFIED)


def _same_cells(columns: Mapping[str, pd.Series]) -> None:
    (first, reference), *others = columns.items()
    if not len(reference):
        _checks.fail(f"Annotation {first} has no cells.")
    for name, series in others:
        if not series.index.equals(reference.index):
            _checks.fail(
                f"Annotations {first} and {name} are of different cells: {len(reference)} and {len(series)},",
                f"the first ones {_checks.listing(reference.index, 2)} and {_checks.listing(series.index, 2)}.",
                "Give models the same `adata`, or labels in the same order.",
            )


def _order(names: Any, annotations: Sequence[Any]) -> np.ndarray:
    """Order of the labels: as the first model or categorical has them, then by name, unclassified last."""
    known: list[str] = []
    for given in annotations:
        known += (
            [str(v) for v in getattr(given, "names", None) or ()] if hasattr(given, "predict_proba") else []
        )
        known += [str(v) for v in given.cat.categories] if hasattr(given, "cat") else []
    rank = {v: i for i, v in enumerate(dict.fromkeys(known))}
    keys = [(v == UNCLASSIFIED, rank.get(v, len(rank)), v) for v in map(str, names)]
    return np.array(sorted(range(len(keys)), key=keys.__getitem__))


def _compare(
    code: np.ndarray, names: list[str], index: pd.Index, annotations: list[str], least: float
) -> SeedAgreement:
    import pandas as pd

    n, k = code.shape
    votes = np.zeros((n, len(names)), dtype=np.int32)
    np.add.at(votes, (np.arange(n)[:, None], code), 1)
    agreement = (votes * (votes - 1)).sum(axis=1) / (k * (k - 1))
    best = votes.argmax(axis=1)
    cells = pd.DataFrame(
        {
            "label": pd.Categorical.from_codes(best, names),
            "votes": votes[np.arange(n), best] / k,
            "agreement": agreement,
            "unstable": agreement < least,
        },
        index=index,
    )
    pairs = np.eye(k)
    for i, j in combinations(range(k), 2):
        pairs[i, j] = pairs[j, i] = (code[:, i] == code[:, j]).mean()
    return SeedAgreement(cells, pd.DataFrame(pairs, index=annotations, columns=annotations))
