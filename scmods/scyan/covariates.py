"""Conditions of the cells as numbers: one column per level of a category, and standardised measurements."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np

from scmods import _checks

if TYPE_CHECKING:
    from anndata import AnnData

__all__ = ["Encoding"]


def _levels(adata: AnnData, name: str) -> np.ndarray:
    """The column as text; refuse a missing column or missing values."""
    _checks.key(adata, "obs", name, "Name a column of `adata.obs`, or leave the argument out.")
    column = adata.obs[name]
    missing = int(column.isna().sum())
    if missing:
        _checks.fail(
            f"`adata.obs[{name!r}]` is missing for {missing} of {adata.n_obs} cells.",
            f"Keep the others: `adata = adata[adata.obs[{name!r}].notna()].copy()`.",
        )
    return column.astype(str).to_numpy(dtype=object)


def _measured(adata: AnnData, name: str) -> np.ndarray:
    _checks.key(adata, "obs", name, "Name a numeric column of `adata.obs`, or leave the argument out.")
    values = _checks.numeric(f"`adata.obs[{name!r}]`", adata.obs[name].to_numpy())
    bad = int((~np.isfinite(values)).sum())
    if bad:
        _checks.fail(
            f"`adata.obs[{name!r}]` is NaN or infinite for {bad} of {adata.n_obs} cells.",
            f"Keep the others: `adata = adata[numpy.isfinite(adata.obs[{name!r}])].copy()`.",
        )
    return values


@dataclass(frozen=True)
class Encoding:
    """How covariates become columns; kept with the model, so that new cells are read the same way.

    Attributes
    ----------
    batch_key
        Column of ``obs`` with the batch, or None.
    batches
        Its levels, the largest batch first.
    categorical
        Levels of each further categorical covariate.
    continuous
        Mean and standard deviation of each continuous covariate.

    Examples
    --------
    >>> from scmods import scyan
    >>> adata = scyan.cytometry(100, 5, 6, n_batches=2)
    >>> encoding = scyan.Encoding.learn(adata, "batch", [], [])
    >>> len(encoding.batches), encoding.columns(adata).shape
    (2, (100, 2))
    """

    batch_key: str | None = None
    batches: tuple[str, ...] = ()
    categorical: dict[str, tuple[str, ...]] = field(default_factory=dict)
    continuous: dict[str, tuple[float, float]] = field(default_factory=dict)

    @classmethod
    def learn(
        cls, adata: AnnData, batch_key: str | None, categorical: Iterable[str], continuous: Iterable[str]
    ) -> Encoding:
        """Read the levels and scales of the training cells.

        Parameters
        ----------
        adata
            Training cells.
        batch_key
            Column with the batch, or None.
        categorical, continuous
            Columns of further covariates.

        Raises
        ------
        MissingKeyError, TypeError, ValueError
            A column is missing, is incomplete, has one level or value only, or is named twice.
        """
        names = [*([batch_key] if batch_key else []), *categorical, *continuous]
        for what, given in (("categorical", categorical), ("continuous", continuous)):
            if isinstance(given, str):
                _checks.fail(
                    f"`{what}_covariates` is the text {given!r}, but must be a list of columns.",
                    f"Write {what}_covariates=[{given!r}].",
                    kind=TypeError,
                )
        _checks.unique_names("The covariates", names)
        batches: tuple[str, ...] = ()
        if batch_key:
            found, counts = np.unique(_levels(adata, batch_key).astype(str), return_counts=True)
            batches = tuple(str(f) for f in found[np.argsort(-counts, kind="stable")])
        levels = {n: tuple(np.unique(_levels(adata, n).astype(str)).tolist()) for n in categorical}
        for name, found_levels in ({batch_key: batches} if batch_key else {}).items() | levels.items():
            if len(found_levels) < 2:
                _checks.fail(
                    f"`adata.obs[{name!r}]` has one level only, {found_levels[0]!r}, so it tells no cells apart.",
                    "Leave it out of the covariates.",
                )
        scales = {}
        for name in continuous:
            values = _measured(adata, name)
            if values.min() == values.max():  # the deviation of equal values may round to above 0
                _checks.fail(f"`adata.obs[{name!r}]` is {values[0]:g} in every cell. Leave it out.")
            scales[name] = (float(values.mean()), float(values.std()))
        return cls(batch_key or None, batches, levels, scales)

    @property
    def n_columns(self) -> int:
        """Columns of `columns`."""
        batches = len(self.batches)
        return batches + sum(len(v) for v in self.categorical.values()) + len(self.continuous)

    def numbers(self, adata: AnnData) -> np.ndarray:
        """Number of the batch of every cell, 0 without batches.

        Parameters
        ----------
        adata
            Cells.
        """
        if self.batch_key is None:
            return np.zeros(adata.n_obs, dtype=np.int64)
        return self._codes(adata, self.batch_key, self.batches)

    def columns(self, adata: AnnData) -> np.ndarray:
        """(cells, columns) float64: batches, then further categories, then standardised measurements.

        Parameters
        ----------
        adata
            Cells.

        Raises
        ------
        MissingKeyError, ValueError
            A column is missing or incomplete, or holds a level that the training cells did not have.
        """
        parts = [np.zeros((adata.n_obs, 0))]
        if self.batch_key is not None:
            parts.append(np.eye(len(self.batches))[self.numbers(adata)])
        parts += [np.eye(len(v))[self._codes(adata, n, v)] for n, v in self.categorical.items()]
        parts += [((_measured(adata, n) - m) / s)[:, None] for n, (m, s) in self.continuous.items()]
        return np.concatenate(parts, axis=1)

    def check(self, adata: AnnData) -> None:
        """Refuse the cells that `columns` refuses, without making the columns.

        Parameters
        ----------
        adata
            Cells.
        """
        levels = {} if self.batch_key is None else {self.batch_key: self.batches}
        for name, known in (levels | self.categorical).items():
            self._codes(adata, name, known)
        for name in self.continuous:
            _measured(adata, name)

    def batch_number(self, batch: Any) -> int:
        """Number of a batch given by name.

        Parameters
        ----------
        batch
            Name of a batch; None for the largest.

        Raises
        ------
        ValueError
            If the model has no batches, or none of this name.
        """
        if self.batch_key is None:
            _checks.fail(
                "The model was made without batches, so there is nothing to correct.",
                "Give the column with the batches: `Scyan(adata, table, batch_key='batch')`.",
            )
        if batch is None:
            return 0
        if str(batch) not in self.batches:
            _checks.fail(
                f"There is no batch {str(batch)!r} in `obs[{self.batch_key!r}]`.",
                f"Batches: {_checks.listing(self.batches, 12)}.",
                _checks.nearest(str(batch), self.batches),
            )
        return self.batches.index(str(batch))

    def to_meta(self) -> dict[str, Any]:
        """Plain values for a file."""
        return {
            "batch_key": self.batch_key,
            "batches": list(self.batches),
            "categorical": {k: list(v) for k, v in self.categorical.items()},
            "continuous": {k: list(v) for k, v in self.continuous.items()},
        }

    @classmethod
    def from_meta(cls, meta: dict[str, Any]) -> Encoding:
        """Read what `to_meta` returned.

        Parameters
        ----------
        meta
            The values.
        """
        return cls(
            meta["batch_key"],
            tuple(meta["batches"]),
            {k: tuple(v) for k, v in meta["categorical"].items()},
            {k: (v[0], v[1]) for k, v in meta["continuous"].items()},
        )

    @staticmethod
    def _codes(adata: AnnData, name: str, levels: tuple[str, ...]) -> np.ndarray:
        import pandas as pd

        at = {level: i for i, level in enumerate(levels)}
        inverse, found = pd.factorize(_levels(adata, name), sort=True)
        unseen = [str(f) for f in found if f not in at]
        if unseen:
            _checks.fail(
                f"`adata.obs[{name!r}]` has levels that the training cells did not have:",
                f"{_checks.listing(unseen, 5)}. Known levels: {_checks.listing(levels, 8)}.",
                f"Keep the cells of known levels: `adata[adata.obs[{name!r}].isin({list(levels)[:3]})]`.",
            )
        return np.array([at[str(f)] for f in found], dtype=np.int64)[inverse]
