"""Nulls: the statistic of a test among its draws, p-values where nothing is true, false calls on smooth fields."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from scmods import _checks, _figures
from scmods.amici import plots_common as common

if TYPE_CHECKING:
    import pandas as pd
    from plotly.graph_objects import Figure

    from scmods.amici.crossfit import CrossFit

__all__ = ["plot_calibration", "plot_false_calls", "plot_null"]

TEST = "Pass what `amici.cross_fit(adata)` returned."
PVALUES = "Pass `amici.null_calibration()`, or p-values by name."
FIELDS = "Pass `amici.field_calibration()`."
QUANTILES = (0.025, 0.25, 0.5, 0.75, 0.975)


def plot_null(
    test: CrossFit,
    *,
    alpha: float = 0.05,
    by: str = "pvalue_adj",
    title: str = "Observed statistic and what chance gives",
) -> Figure:
    """The statistic of every tested pair among its values under permutation, in standard deviations of these.

    Parameters
    ----------
    test
        What `cross_fit` returned: ``table`` and ``null``.
    alpha
        Pairs whose p-value is at most this are marked.
    by
        Which p-value, as ``"pvalue_adj"`` or ``"pvalue_family"``.
    title
        Title of the figure.

    Returns
    -------
    Figure: a row per pair; thin bar the middle 95 % of the draws, thick bar the middle half, diamond the observed
    statistic, vermilion where it passes. Pairs that were not tested are left out.

    Raises
    ------
    TypeError, MissingKeyError, ValueError
        Not such a test; no pair was tested.

    Examples
    --------
    >>> from scmods import amici
    >>> adata = amici.semisynthetic(300, 30)
    >>> test = amici.cross_fit(adata, n_neighbors=5, max_epochs=1)
    >>> amici.plot_null(test).layout.title.text
    'Observed statistic and what chance gives'
    """
    import plotly.graph_objects as go

    if not hasattr(test, "null") or not hasattr(test, "table"):
        _checks.fail(f"`test` is a {type(test).__name__}, but must be a CrossFit.", TEST, kind=TypeError)
    table = test.table
    _figures.require(table, ["receiver", "sender", "statistic", by], TEST, "test.table")
    draws, observed = np.asarray(test.null, dtype=np.float64), _figures.column(table, "statistic")
    tested = np.flatnonzero(np.isfinite(observed) & np.isfinite(draws).all(axis=1))
    if not len(tested):
        _checks.fail("No pair of `test` was tested; there is nothing to draw.", TEST)
    draws, observed = draws[tested], observed[tested]
    passed = _figures.column(table, by)[tested] <= alpha
    middle, spread = draws.mean(axis=1), draws.std(axis=1)
    spread = np.where(spread > 0, spread, 1.0)
    z, q = (observed - middle) / spread, ((np.quantile(draws, QUANTILES, axis=1) - middle) / spread).T
    names = [f"{table['sender'].iloc[i]} to {table['receiver'].iloc[i]}" for i in tested]
    fig = _figures.figure(
        title=title, alt="", x="Statistic, in standard deviations of its null", height=150 + 26 * len(tested)
    )
    for width, low, high, name in ((2, 0, 4, "middle 95 % of draws"), (8, 1, 3, "middle half of draws")):
        ends = np.c_[q[:, low], q[:, high], np.full(len(q), np.nan)].ravel()
        at = np.repeat(np.arange(len(q)), 3)
        fig.add_trace(
            go.Scatter(x=_figures.small(ends), y=_figures.small(at), mode="lines", name=name, hoverinfo="skip",
                       line={"width": width, "color": _figures.GREY})
        )  # fmt: skip
    for which, tone, name in ((passed, common.HIGHER, f"observed, {by} at most {alpha:g}"),
                              (~passed, common.LOWER, "observed, others")):  # fmt: skip
        rows = np.flatnonzero(which)
        if len(rows):
            fig.add_trace(
                go.Scatter(x=_figures.small(z[rows]), y=_figures.small(rows), mode="markers", name=name,
                           marker={"size": 10, "symbol": "diamond", "color": tone},
                           hovertemplate="%{x:.2f}<extra></extra>")
            )  # fmt: skip
    common.name_places(fig, "y", names)
    best = int(z.argmax())
    alt = (
        f"{_figures.plain(title)}: {len(tested)} tested pairs, {draws.shape[1]} draws each. {int(passed.sum())} have "
        f"{by} of at most {alpha:g}; the largest statistic is that of {names[best]}, {_figures.number(z[best])} "
        f"standard deviations."
    )
    fig.update_layout(meta={"alt": alt})
    return _figures.legend_on_top(fig, 2)


def plot_calibration(
    pvalues: pd.DataFrame | Mapping[str, Any],
    *,
    column: str = "p_value_head",
    by: str = "cells",
    level: float = 0.05,
    title: str = "p-values where nothing is true",
) -> Figure:
    """Sorted p-values of a null against the share that should lie below them.

    Parameters
    ----------
    pvalues
        Table of `null_calibration`, a line per value of the column `by`; or p-values by name, such as
        ``{"free": ..., "toroidal": ...}``. NaN, where there was no test, is left out.
    column
        Column of the p-values.
    by
        Column that divides them.
    level
        The share of p-values of at most this is told, and marked by a line.
    title
        Title of the figure.

    Returns
    -------
    Figure: on the diagonal p-values are what they claim; below it they are too small.

    Raises
    ------
    MissingKeyError, TypeError, ValueError
        Not such a table, p-values outside [0, 1], none at all.

    Examples
    --------
    >>> fig = plot_calibration({"held out": [0.2, 0.6], "trained on": [0.01, 0.02]})
    >>> fig.data[1].x.tolist(), [round(float(p), 2) for p in fig.data[1].y]
    ([0.25, 0.75], [0.2, 0.6])
    """
    import plotly.graph_objects as go

    _checks.number("level", level, 0.0, 1.0)
    parts = _pvalues(pvalues, column, by)
    fig = _figures.figure(title=title, alt="", x="Expected p-value", y="Observed p-value", height=470)
    diagonal = {"color": _figures.GREY, "dash": "dot", "width": 1.5}
    fig.add_trace(
        go.Scatter(x=_figures.small([0, 1]), y=_figures.small([0, 1]), mode="lines", name="what they claim",
                   line=diagonal, hoverinfo="skip")
    )  # fmt: skip
    told = []
    for i, (name, p) in enumerate(parts.items()):
        expected = (np.arange(len(p)) + 0.5) / len(p)
        keep = _figures.some_rows(len(p), max(2, _figures.MAX_POINTS // len(parts)))
        small = float((p <= level).mean())
        told.append(f"{name} {small:.1%} of {len(p)}")
        fig.add_trace(
            go.Scatter(x=_figures.small(expected[keep]), y=_figures.small(p[keep]), mode="lines",
                       name=f"{_figures.escaped(name)}: {small:.1%} at most {level:g}",
                       line={"color": _figures.color(i), "width": 2, "dash": common.DASHES[i % 5]},
                       hovertemplate="%{y:.3g}<extra>%{fullData.name}</extra>")
        )  # fmt: skip
    fig.add_hline(y=level, line={"color": _figures.GREY, "width": 1})
    alt = (
        f"{_figures.plain(title)}: sorted p-values against their expected ranks, the diagonal is exact. "
        f"At most {level:g} are: {', '.join(told)}."
    )
    fig.update_layout(meta={"alt": alt})
    return _figures.legend_on_top(fig, 1 + len(parts) // 2)


def _pvalues(given: Any, column: str, by: str) -> dict[str, np.ndarray]:
    if hasattr(given, "columns"):
        _figures.require(given, [column, by], PVALUES, "pvalues")
        given = {str(n): part[column] for n, part in given.groupby(by, sort=False)}
    elif not isinstance(given, Mapping):
        kind = type(given).__name__
        _checks.fail(f"`pvalues` is a {kind}, but must be a table or a mapping.", PVALUES, kind=TypeError)
    if not given:
        _checks.fail("`pvalues` is empty; there is nothing to draw.", PVALUES)
    parts = {}
    for name, values in given.items():
        p = common.values(f"`pvalues[{str(name)!r}]`", values, nan=True)
        p = np.sort(p[~np.isnan(p)])
        if not len(p):
            _checks.fail(f"`pvalues[{str(name)!r}]` holds no p-value that is not NaN.", PVALUES)
        if p[0] < 0 or p[-1] > 1:
            _checks.fail(
                f"`pvalues[{str(name)!r}]` goes from {p[0]:.3g} to {p[-1]:.3g}, but must stay in [0, 1]."
            )
        parts[str(name)] = p
    return parts


def plot_false_calls(
    table: pd.DataFrame,
    *,
    nulls: Sequence[str] | None = None,
    level: float = 0.05,
    title: str = "False calls on independent smooth fields",
) -> Figure:
    """Share of pairs of independent fields that each null calls, over how smooth the fields are.

    Parameters
    ----------
    table
        From `field_calibration`: ``wavelength``, ``n_pairs``, a column per null.
    nulls
        Columns to draw; None for all.
    level
        Share that the tests claim.
    title
        Title of the figure.

    Returns
    -------
    Figure: a line per null, bars of two standard errors, a dotted line at `level`.

    Raises
    ------
    MissingKeyError, TypeError, ValueError
        Not such a table, unknown nulls, shares outside [0, 1].

    Examples
    --------
    >>> import pandas as pd
    >>> table = pd.DataFrame({"wavelength": [0.0, 40.0], "n_pairs": 100, "free": [0.05, 0.2], "block": [0.05, 0.1]})
    >>> [trace.name for trace in plot_false_calls(table).data]
    ['free', 'block']
    """
    import plotly.graph_objects as go

    _figures.require(table, ["wavelength", "n_pairs"], FIELDS)
    _checks.number("level", level, 0.0, 1.0)
    every = [c for c in table.columns if c not in ("wavelength", "n_pairs")]
    names = every if nulls is None else list(nulls)
    if not names:
        _checks.fail("`table` has no column of a null; there is nothing to draw.", FIELDS)
    for name in names:
        _checks.one_of("nulls", name, every)
    table = table.sort_values("wavelength")
    x, n = _figures.column(table, "wavelength"), _figures.column(table, "n_pairs")
    fig = _figures.figure(title=title, alt="", x="Wavelength of the fields", y="Share called")
    told = []
    for i, name in enumerate(names):
        share = common.values(f"Column {name!r}", table[name])
        if (share < 0).any() or (share > 1).any():
            _checks.fail(f"Column {name!r} of `table` leaves [0, 1].", FIELDS)
        error = 2 * np.sqrt(share * (1 - share) / n)
        fig.add_trace(
            go.Scatter(x=_figures.small(x), y=_figures.small(share), mode="lines+markers", name=_figures.escaped(name),
                       error_y={"array": _figures.small(error), "width": 3, "thickness": 1},
                       line={"color": _figures.color(i), "width": 2, "dash": common.DASHES[i % 5]}, marker={"size": 7},
                       hovertemplate="%{y:.3f} at %{x:.3g}<extra>%{fullData.name}</extra>")
        )  # fmt: skip
        told.append(f"{name} from {_figures.number(share[0])} to {_figures.number(share[-1])}")
    fig.add_hline(y=level, line={"color": _figures.GREY, "dash": "dot", "width": 1.5})
    fig.update_yaxes(rangemode="tozero")
    alt = (
        f"{_figures.plain(title)}: share called over the wavelength, from {_figures.number(x[0])} to "
        f"{_figures.number(x[-1])}; {'; '.join(told)}; {level:g} is claimed."
    )
    fig.update_layout(meta={"alt": alt})
    return _figures.legend_on_top(fig)
