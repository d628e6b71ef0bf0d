"""How far a sender is heard: attention on one lone neighbour as a function of its distance."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from scmods import _checks
from scmods.amici.contributions import sender_sums, type_code
from scmods.amici.heads import HeadOutputs
from scmods.stats import bootstrap_interval

if TYPE_CHECKING:
    import pandas as pd

__all__ = ["carrying_head", "counterfactual_attention", "length_scales", "sender_lengths"]

RAREST = 0.02  # share of receivers that must have such a sender within the median length


def _lone(
    outputs: HeadOutputs, receiver: str, sender: str, head: int
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Rows of the tables, logit over the empty slot at distance 0, and loss per unit of length."""
    r, s = type_code(outputs, "receiver", receiver), type_code(outputs, "sender", sender)
    _checks.integer("head", head, 0, outputs.n_heads - 1, f"The model has {outputs.n_heads} heads.")
    if r == s:
        _checks.fail(
            f"`receiver` and `sender` are both {receiver!r}, but cells of one type are never neighbours."
        )
    near = np.unique(outputs.rows[(outputs.types == r)[:, None] & (outputs.neighbor_types == s)])
    tables = outputs.tables
    return (
        near,
        tables.score[near, r, head] - outputs.empty_logit,
        tables.coefficient[near, r, head] / outputs.unit,
    )


def counterfactual_attention(
    outputs: HeadOutputs, distances: Any, *, receiver: str, sender: str, head: int
) -> np.ndarray:
    r"""Attention that a receiver would pay to a sender if it were its only neighbour, at each distance.

    .. math:: a_j(d) = \frac{1}{1 + \exp(\mathrm{empty} - s_j + c_j\, d / \mathrm{unit})}

    Parameters
    ----------
    outputs
        From `AMICI.heads`.
    distances
        (m,) distances, in units of the positions.
    receiver, sender
        Names of types.
    head
        Head.

    Returns
    -------
    (senders, m): one row for every cell of the sender type that is a neighbour of a receiver in `outputs`.

    Raises
    ------
    TypeError, ValueError
        Unknown types or head, distances that are negative or not finite.

    Examples
    --------
    >>> from scmods.amici._example import example_outputs
    >>> a = counterfactual_attention(example_outputs(), [0.0, 10.0], receiver="naïve", sender="CD4/CD8", head=0)
    >>> bool((a[:, 0] > a[:, 1]).all())
    True
    """
    from scipy.special import expit

    at = _checks.numeric("`distances`", distances)
    if at.ndim != 1 or not (np.isfinite(at) & (at >= 0)).all():
        _checks.fail(
            f"`distances` has shape {at.shape}, but must be a list of finite distances of at least 0."
        )
    _, logit, slope = _lone(outputs, receiver, sender, head)
    return expit(logit[:, None] - slope[:, None] * at)


def sender_lengths(
    outputs: HeadOutputs, *, receiver: str, sender: str, head: int, threshold: float = 0.5
) -> np.ndarray:
    """Distance at which the attention on each lone sender falls to the threshold.

    Parameters
    ----------
    outputs
        From `AMICI.heads`.
    receiver, sender
        Names of types.
    head
        Head.
    threshold
        Attention, in (0, 1).

    Returns
    -------
    (senders,) in units of the positions; 0 where even a touching sender stays below, infinite where distance does not
    count.

    Raises
    ------
    TypeError, ValueError
        As `counterfactual_attention`; a threshold outside (0, 1).

    Examples
    --------
    >>> from scmods.amici._example import example_outputs
    >>> outputs = example_outputs()
    >>> pair = {"receiver": "naïve", "sender": "CD4/CD8", "head": 0}
    >>> lengths = sender_lengths(outputs, **pair)
    >>> a = counterfactual_attention(outputs, lengths, **pair)
    >>> bool(np.allclose(np.diag(a)[lengths > 0], 0.5))
    True
    """
    _checks.number("threshold", threshold, 1e-9, 1 - 1e-9)
    _, logit, slope = _lone(outputs, receiver, sender, head)
    above = logit + np.log((1 - threshold) / threshold)
    with np.errstate(divide="ignore"):
        return np.where(
            above > 0, np.where(slope > 0, np.maximum(above, 0) / np.where(slope > 0, slope, 1), np.inf), 0.0
        )


def carrying_head(outputs: HeadOutputs, receiver: str, sender: str) -> int:
    """The head through which senders of a type change receivers of a type most.

    Parameters
    ----------
    outputs
        From `AMICI.heads`.
    receiver, sender
        Names of types.

    Returns
    -------
    The head with the largest variance over receivers, summed over genes, of what these senders add through it. What
    they add to every receiver alike is no reaction to them.

    Examples
    --------
    >>> from scmods.amici._example import example_outputs
    >>> carrying_head(example_outputs(), "naïve", "CD4/CD8") in (0, 1)
    True
    """
    r, s = type_code(outputs, "receiver", receiver), type_code(outputs, "sender", sender)
    one = outputs.subset(outputs.types == r)
    every = list(range(outputs.n_heads))
    added = sender_sums(one, every)[:, s] / one.sigma()[:, None, None]
    added = added - added.mean(axis=0)
    effect = outputs.readout.linear()
    squares = np.einsum("nhs,nhr,ghs,ghr->h", added, added, effect, effect, optimize=True)
    return int(squares.argmax())


def _pairs(outputs: HeadOutputs, pairs: Any) -> list[tuple[str, str]]:
    """(receiver, sender) of every pair asked for: a table with these columns, or a list of (sender, receiver)."""
    if hasattr(pairs, "columns"):
        missing = [c for c in ("receiver", "sender") if c not in pairs.columns]
        if missing:
            _checks.fail(
                f"`pairs` lacks the columns {missing}. Available: {_checks.listing(pairs.columns)}.",
                "Pass the rows of a test that pass: `test.table[test.table['pvalue_adj'] <= 0.05]`.",
                kind=_checks.MissingKeyError,
            )
        found = list(zip(pairs["receiver"], pairs["sender"], strict=True))
    else:
        if any(isinstance(p, str) or len(p) != 2 for p in pairs):
            _checks.fail(
                f"`pairs` is {pairs!r}, but must hold (receiver, sender).", "Write pairs=[('T', 'Mono')]."
            )
        found = [(str(r), str(s)) for r, s in pairs]
    for r, s in found:
        type_code(outputs, "receiver", r), type_code(outputs, "sender", s)
    return found


def length_scales(
    outputs: HeadOutputs,
    pairs: Any,
    *,
    head: int | None = None,
    threshold: float = 0.5,
    n_boot: int = 500,
    level: float = 0.95,
    seed: int = 0,
) -> pd.DataFrame:
    """Length scale of pairs of types that passed a test, with an interval over the sender cells.

    Parameters
    ----------
    outputs
        From `AMICI.heads`, of held-out cells if the interval is to count.
    pairs
        Table with columns ``receiver`` and ``sender``, or list of (receiver, sender): those that PASSED, as from
        `cross_fit`. A head that does nothing has a length too, and it means nothing.
    head
        Head to read; None takes the `carrying_head` of each pair.
    threshold
        Attention on a lone sender at which its reach ends, in (0, 1).
    n_boot
        Draws of sender cells.
    level
        Coverage of the interval.
    seed
        Seed of the draws.

    Returns
    -------
    One row per pair: ``receiver``, ``sender``, ``head``; ``median``, ``low``, ``high`` of the lengths in units of the
    positions; ``n_senders``; ``exposed``, the share of receivers with such a sender within the median length. With less
    than 2 % exposed the three lengths are 0; without a single sender they are NaN.

    Raises
    ------
    TypeError, ValueError
        Unknown types, a head out of range, a threshold outside (0, 1).

    Notes
    -----
    The interval covers the spread of sender cells under ONE fitted model; another fit may give another length.

    Examples
    --------
    >>> from scmods.amici._example import example_outputs
    >>> length_scales(example_outputs(), [("naïve", "CD4/CD8")], n_boot=20)["n_senders"].item() > 2
    True
    """
    import pandas as pd

    rows = []
    for receiver, sender in _pairs(outputs, pairs):
        which = carrying_head(outputs, receiver, sender) if head is None else head
        lengths = sender_lengths(outputs, receiver=receiver, sender=sender, head=which, threshold=threshold)
        summary = _summary(lengths, n_boot=n_boot, level=level, seed=seed)
        exposed = _exposed(outputs, receiver, sender, summary[0])
        if exposed < RAREST and len(lengths):
            summary = (0.0, 0.0, 0.0)
        rows.append((receiver, sender, which, *summary, len(lengths), exposed))
    columns = ["receiver", "sender", "head", "median", "low", "high", "n_senders", "exposed"]
    return pd.DataFrame(rows, columns=columns)


def _summary(lengths: np.ndarray, **options: Any) -> tuple[float, float, float]:
    if len(lengths) < 2:
        middle = float(lengths[0]) if len(lengths) else np.nan
        return middle, np.nan, np.nan
    finite = np.isfinite(lengths)
    # a median that is one of the values needs ranks alone, so that any number above all others may stand for infinity
    top = 2 * lengths[finite].max(initial=1.0) + 1
    values = np.where(finite, lengths, top)
    found = (float(_median(values)), *bootstrap_interval(values, _median, **options))
    return tuple(np.inf if v == top else v for v in found)


def _median(values: np.ndarray, axis: int = 0) -> np.ndarray:
    return np.quantile(values, 0.5, axis=axis, method="inverted_cdf")


def _exposed(outputs: HeadOutputs, receiver: str, sender: str, length: float) -> float:
    own = outputs.types == outputs.type_names.index(receiver)
    kinds = outputs.neighbor_types[own] == outputs.type_names.index(sender)
    with np.errstate(invalid="ignore"):
        return float((kinds & (outputs.distances[own] <= length)).any(axis=1).mean()) if own.any() else 0.0
