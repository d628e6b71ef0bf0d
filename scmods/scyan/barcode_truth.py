"""Barcoded events whose kind is known by construction, made from measured ones."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from scmods import _checks
from scmods.scyan.baselines import barcode_signal
from scmods.scyan.table import population_names

if TYPE_CHECKING:
    import pandas as pd
    from anndata import AnnData

__all__ = ["labelled_barcodes"]

CLEAR_GAP = 0.5
ON = 0.5
DIM = (0.05, 0.3)
BACKGROUND = 1.0  # mean count added to every channel of a dimmed event


def labelled_barcodes(
    adata: AnnData,
    table: pd.DataFrame | None = None,
    *,
    n_singlets: int = 8000,
    n_doublets: int = 2860,
    dimmed: float = 0.25,
    seed: int = 0,
) -> AnnData:
    """Make a set of barcoded events whose kind is known: clear singlets, dimmed ones, doublets and debris.

    Singlets are measured events with exactly as many bright channels as a code has, in one of the codes, and a gap of
    at least 0.5 to the next channel. Some are dimmed to 5-30 % of their signal, with a Poisson background of one count
    in every channel. Doublets are sums of two singlets with different codes; debris are the measured events without a
    bright channel.

    Parameters
    ----------
    adata
        Events with ion counts, not transformed.
    table
        Codes x channels, -1 and 1; ``uns["table"]`` by default.
    n_singlets
        Singlets to draw, without repetition; all where there are fewer.
    n_doublets
        Doublets to make.
    dimmed
        Share of the singlets to dim.
    seed
        Seed of the draws.

    Returns
    -------
    AnnData, events x channels, in random order: ``X`` ion counts, float32; ``obs["kind"]``: "singlet", "dimmed",
    "doublet" or "debris"; ``obs["cell_type"]``: the code of the first two kinds, otherwise the kind; ``uns["table"]``.

    Raises
    ------
    MissingKeyError, TypeError, ValueError
        What `debarcode` refuses; fewer than two codes among the clear events.

    Notes
    -----
    Bright means above 0.5 on the scale of `debarcode`: ``arcsinh(x / 10)`` over the 95th percentile of the channel.
    The set is easier than measured events for every rule of that kind, since events between the classes are left out.
    The background matters: with values measured in channels that are off in place of the Poisson counts, the gap rule
    tells debris from singlets with an area under the curve of .964 instead of .994.

    Examples
    --------
    >>> from scmods import datasets, scyan
    >>> adata = datasets.load("debarcoding")  # doctest: +SKIP
    >>> "singlet" in set(scyan.labelled_barcodes(adata).obs["kind"])  # doctest: +SKIP
    True
    """
    _checks.integer("n_singlets", n_singlets, 2)
    _checks.integer("n_doublets", n_doublets, 0)
    _checks.number("dimmed", dimmed, 0.0, 1.0)
    rng = np.random.default_rng(_checks.integer("seed", seed, 0))
    x, y, table = barcode_signal(adata, table)
    code, dark = _clear_code(y, table.to_numpy() > 0), np.flatnonzero((y <= ON).all(axis=1))
    clear = np.flatnonzero(code >= 0)
    if len(np.unique(code[clear])) < 2:
        _checks.fail(
            f"`adata` has {len(clear)} clear events in {len(np.unique(code[clear]))} codes, but at least two codes are",
            "needed. Are the channels of the table those of the codes?",
        )
    singles = rng.choice(clear, min(n_singlets, len(clear)), replace=False)
    dim = np.arange(len(singles)) < round(dimmed * len(singles))
    values = x[singles]
    factor = rng.uniform(*DIM, (int(dim.sum()), 1))
    values[dim] = factor * values[dim] + rng.poisson(BACKGROUND, (len(factor), x.shape[1]))
    first, second = _pairs(code[singles], n_doublets, rng)
    doubles = x[singles[first]] + x[singles[second]]
    names = np.array(population_names(table), dtype=object)
    kinds = np.repeat(
        np.array(["singlet", "doublet", "debris"], dtype=object), [len(dim), n_doublets, len(dark)]
    )
    labels = kinds.copy()
    labels[: len(dim)] = names[code[singles]]
    kinds[: len(dim)][dim] = "dimmed"
    return _assemble(np.concatenate([values, doubles, x[dark]]), kinds, labels, table, rng)


def _clear_code(y: np.ndarray, on: np.ndarray) -> np.ndarray:
    """Index of the code of every clear event, -1 for all others."""
    bright = y > ON
    match = (bright[:, None] == on[None]).all(axis=2)
    k = int(on[0].sum())
    ordered = np.sort(y, axis=1)[:, ::-1]
    clear = match.any(axis=1) & (ordered[:, k - 1] - ordered[:, k] > CLEAR_GAP)
    return np.where(clear, match.argmax(axis=1), -1)


def _pairs(code: np.ndarray, n: int, rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
    """`n` pairs of events whose codes differ."""
    pairs = np.empty((0, 2), dtype=np.intp)
    if len(np.unique(code)) < 2 and n:
        _checks.fail(
            "The singlets drawn have one code only, so there are no doublets. Draw more: n_singlets=1000."
        )
    while len(pairs) < n:
        more = rng.integers(len(code), size=(2 * n, 2))
        pairs = np.concatenate([pairs, more[code[more[:, 0]] != code[more[:, 1]]]])[:n]
    return pairs[:, 0], pairs[:, 1]


def _assemble(
    x: np.ndarray, kinds: np.ndarray, labels: np.ndarray, table: pd.DataFrame, rng: np.random.Generator
) -> AnnData:
    import anndata
    import pandas as pd

    order = rng.permutation(len(x))
    obs = pd.DataFrame(
        {"kind": pd.Categorical(kinds[order]), "cell_type": pd.Categorical(labels[order])},
        index=[f"event{i}" for i in range(len(x))],
    )
    var = pd.DataFrame(index=[str(c) for c in table.columns])
    adata = anndata.AnnData(x[order].astype(np.float32), obs=obs, var=var)
    adata.uns["table"] = table.copy()
    return adata
