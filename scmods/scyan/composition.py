"""Do groups of samples differ in what they are made of? A test on compositions."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterator
from itertools import product
from typing import TYPE_CHECKING, Any

import numpy as np

from scmods import _checks, stats

if TYPE_CHECKING:
    import pandas as pd

__all__ = ["centred_log_ratio", "composition_test"]


def centred_log_ratio(counts: Any, *, pseudocount: float = 0.5) -> np.ndarray:
    r"""Compositions on a scale on which only ratios matter: :math:`\log c_p - \frac1P \sum_q \log c_q`.

    Parameters
    ----------
    counts
        Samples x populations, not negative.
    pseudocount
        Added to every count, so that 0 has a logarithm; 0 if there is no 0 among them.

    Returns
    -------
    (samples, populations), rows sum to 0. Multiplying a sample by a number changes nothing but by the pseudocount.

    Raises
    ------
    ValueError
        Negative or infinite counts; a 0 without a pseudocount.

    Examples
    --------
    >>> centred_log_ratio([[1.0, 1.0, 4.0]], pseudocount=0).round(3).tolist()
    [[-0.462, -0.462, 0.924]]
    """
    values = _checks.numeric("`counts`", counts)
    if values.ndim != 2:
        _checks.fail(f"`counts` has shape {values.shape}, but must be samples x populations.")
    _checks.finite("`counts`", values)
    _checks.number("pseudocount", pseudocount, 0.0)
    if values.min(initial=0.0) < 0:
        _checks.fail(f"`counts` holds {values.min():g}, but counts are not negative.")
    values = values + pseudocount
    if (values == 0).any():
        _checks.fail("`counts` holds 0, which has no logarithm. Write pseudocount=0.5.")
    log = np.log(values)
    return log - log.mean(axis=1, keepdims=True)


def composition_test(
    counts: pd.DataFrame,
    groups: Any,
    *,
    blocks: Any = None,
    pseudocount: float = 0.5,
    n_perms: int = 9_999,
    seed: int = 0,
) -> pd.DataFrame:
    r"""Do groups of samples differ in their composition? A permutation test of samples, population by population.

    The samples are the independent units, not the cells: thousands of cells of three patients are three observations.
    On the centred log-ratios y the statistic is the variation between groups,
    :math:`\sum_g n_g (\bar y_g - \bar y)^2`, which orders arrangements as an analysis of variance does.

    Parameters
    ----------
    counts
        Samples x populations, as `posterior_counts` returns it; drop "unclassified" to compare the others only.
    groups
        Group of every sample: a Series that has the names of the samples in its index, or a list in their order.
    blocks
        Samples that belong together, such as the patient of a treated and an untreated sample: groups are exchanged
        within them only, and the mean of the block is taken away. None for independent samples.
    pseudocount
        See `centred_log_ratio`.
    n_perms
        Where there are at most so many other arrangements of the groups, all of them are taken and the p-value is
        exact; otherwise so many are drawn.
    seed
        Seed of the draw.

    Returns
    -------
    DataFrame, one row per population: ``share <group>`` (mean share of the cells, per group), ``effect`` (difference of
    the mean log-ratios, second less first group in order, or the largest difference of any two for more groups; nats),
    ``p`` and ``q`` (adjusted by Benjamini and Hochberg).

    Raises
    ------
    TypeError, ValueError
        Samples without a group or without cells, fewer than two groups, groups that no block mixes.

    Warns
    -----
    NumericalWarning
        If there are so few arrangements that no p-value can be below 0.05.

    Notes
    -----
    The log-ratios are relative: a population that grows makes all others smaller, by a little each. With B arrangements
    the smallest p-value is 1 / (B + 1); two groups of three samples have 20, of which two are equal.

    Examples
    --------
    >>> import pandas as pd
    >>> counts = pd.DataFrame({"T": [50, 60, 55, 52, 90, 99, 95, 92], "B": [50, 45, 52, 48, 50, 47, 51, 49]})
    >>> composition_test(counts, list("aaaabbbb"))["p"].round(3).tolist()
    [0.029, 0.029]
    """
    import pandas as pd

    code, names = _sample_codes("groups", groups, counts.index)
    if len(names) < 2:
        _checks.fail(f"All samples are of the group {names[0]!r}, but at least two groups are needed.")
    block = np.zeros(len(code), dtype=int)
    if blocks is not None:
        block = _sample_codes("blocks", blocks, counts.index)[0]
    _checks.integer("n_perms", n_perms)
    values = _checks.numeric("`counts`", counts)
    y = centred_log_ratio(values, pseudocount=pseudocount)
    size = values.sum(axis=1, keepdims=True)
    if (size == 0).any():
        empty = counts.index[size[:, 0] == 0]
        _checks.fail(
            f"The samples {_checks.listing(empty)} have no cells. Drop them: `counts.drop(index=...)`."
        )
    arrangements = _arrangements(code, block, n_perms, _checks.integer("seed", seed, 0))
    residual = y - _means(y, block)[block]
    observed = _between(residual, code[None], len(names))[0]
    null = _between(residual, arrangements, len(names))
    # mirror images tie with the observed order, up to rounding
    p = stats.permutation_pvalue(observed * (1 - 1e-9) - 1e-12, null)
    out = pd.DataFrame(_means(values / size, code).T, index=counts.columns.astype(str))
    out.columns = [f"share {g}" for g in names]
    mean = _means(residual, code)
    out["effect"] = mean[1] - mean[0] if len(names) == 2 else mean.max(axis=0) - mean.min(axis=0)
    out["p"], out["q"] = p, stats.benjamini_hochberg(p)
    return out


def _sample_codes(what: str, labels: Any, samples: pd.Index) -> tuple[np.ndarray, list[str]]:
    import pandas as pd

    if isinstance(labels, pd.Series):
        lost = [s for s in samples if s not in labels.index]
        if lost:
            _checks.fail(
                f"`{what}` has no entry for the samples {_checks.listing(lost, 4)}.",
                f"Its index has {_checks.listing(labels.index, 4)}; it must hold the names of the samples.",
            )
        labels = labels.loc[samples]
    if len(labels) != len(samples):
        _checks.fail(f"`{what}` has {len(labels)} entries, but `counts` has {len(samples)} samples.")
    column = pd.Series(labels).reset_index(drop=True).astype("category").cat.remove_unused_categories()
    if column.isna().any():
        _checks.fail(f"`{what}` has {int(column.isna().sum())} missing entries. Every sample needs one.")
    return column.cat.codes.to_numpy().astype(int), [str(v) for v in column.cat.categories]


def _means(values: np.ndarray, code: np.ndarray) -> np.ndarray:
    """(groups, columns) means of the rows of each group."""
    total = np.zeros((code.max() + 1, values.shape[1]))
    np.add.at(total, code, values)
    return total / np.bincount(code)[:, None]


def _between(y: np.ndarray, arrangements: np.ndarray, n_groups: int) -> np.ndarray:
    """(arrangements, populations) variation between groups."""
    out = np.zeros((len(arrangements), y.shape[1]))
    centre = y.mean(axis=0)
    for g in range(n_groups):
        member = (arrangements == g).astype(float)
        n = member.sum(axis=1, keepdims=True)
        out += n * (member @ y / n - centre) ** 2
    return out


def _orders(labels: tuple[int, ...]) -> Iterator[tuple[int, ...]]:
    """All different orders of labels that repeat."""
    if len(labels) <= 1:
        yield labels
        return
    for first in dict.fromkeys(labels):
        at = labels.index(first)
        for rest in _orders(labels[:at] + labels[at + 1 :]):
            yield (first, *rest)


def _arrangements(code: np.ndarray, block: np.ndarray, n_perms: int, seed: int) -> np.ndarray:
    """(arrangements, samples) groups exchanged within blocks, the given order left out."""
    members = [np.flatnonzero(block == b) for b in range(block.max() + 1)]
    count = 1
    for at in members:
        count *= math.factorial(len(at)) // math.prod(math.factorial(n) for n in Counter(code[at]).values())
    if count == 1:
        _checks.fail(
            "No block has samples of two groups, so there is nothing to exchange.",
            "Write blocks=None to compare independent samples.",
        )
    if count < 20:
        _checks.warn(
            f"The groups can be arranged in {count} ways, so no p-value is below {1 / count:.2g}. "
            "More samples are needed; more cells do not help."
        )
    if count - 1 <= n_perms:
        out = np.empty((count, len(code)), dtype=int)
        for row, parts in zip(out, product(*(list(_orders(tuple(code[at]))) for at in members)), strict=True):
            for at, part in zip(members, parts, strict=True):
                row[at] = part
        return out[(out != code).any(axis=1)]
    rng = np.random.default_rng(seed)
    out = np.tile(code, (n_perms, 1))
    for at in members:
        out[:, at] = rng.permuted(out[:, at], axis=1)
    return out
