"""Figures of the knowledge: the table with its faults, distances between rows, densities, weights of populations."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import numpy as np

from scmods import _checks, _figures
from scmods.scyan import plots_common as common

if TYPE_CHECKING:
    import pandas as pd
    from plotly.graph_objects import Figure

__all__ = ["log_densities", "plot_densities", "plot_distances", "plot_table", "plot_weights"]

READ = "Pass `scyan.read_table('table.csv')`, populations x markers."
LINT = "Pass `scyan.lint_table(table, adata.var_names)`."
DISTANCES = "Pass `scyan.population_distances(table)`."
MARKS = {"error": "x", "warning": "triangle-up", "note": "circle"}
MOST_TEXTS = 5
DEEPEST = -32  # nats: below it a density is nothing for any cell
WRITTEN = 24  # rows up to which the numbers stand in the places


def plot_table(
    table: pd.DataFrame, faults: pd.DataFrame | None = None, *, title: str = "What the table says"
) -> Figure:
    """The table as a heat map, with marks where something is wrong with it.

    Parameters
    ----------
    table
        Populations x markers: -1 negative, 1 positive, between them low and mid, NaN unknown.
    faults
        What `lint_table` returned for it: ``severity``, ``population``, ``marker``, ``text``.
    title
        Title of the figure.

    Returns
    -------
    Figure with red for positive, blue for negative, and open places where nothing is known. A fault of one entry is
    marked on it, one of a row right of it, one of a marker below its column; a fault of two rows is marked at both.
    Crosses are errors, triangles warnings, circles notes; the texts appear under the pointer. Faults that concern the
    whole table are told in the alt text alone.

    Raises
    ------
    MissingKeyError, TypeError, ValueError
        If one of the two is not such a table.

    Examples
    --------
    >>> import pandas as pd
    >>> table = pd.DataFrame({"CD3": [1.0, -1.0], "CD19": [-1.0, float("nan")]}, index=["T", "other"])
    >>> plot_table(table).data[0].type
    'heatmap'
    """
    shown = common.matrix(table, "table", READ)
    known = np.isfinite(shown.to_numpy())
    fig = _figures.figure(
        title=title, alt="", x="Marker", y="Population", height=max(320, 170 + 20 * len(shown)),
        coloraxis=_figures.color_axis(1.0, "Expression"),
    )  # fmt: skip
    ticks = {"tickvals": [-1, 0, 1], "ticktext": ["negative", "mid", "positive"]}
    fig.update_layout(coloraxis={"colorbar": {**ticks, "title": {"text": ""}}})
    common.heat(fig, shown, "population %{y}, marker %{x}: %{z:.2g}")
    told = ""
    if faults is not None:
        if len(faults):
            _figures.require(faults, ["severity", "population", "marker", "text"], LINT, "faults")
        told = _add_marks(fig, faults, list(shown.index), list(shown.columns))
    at = shown.to_numpy()
    alt = (
        f"{_figures.plain(title)}: heat map of {len(shown)} populations by {shown.shape[1]} markers; "
        f"{known.mean():.0%} of the entries are known, {(at > 0).sum()} of them positive, {(at < 0).sum()} negative "
        f"and {(at == 0).sum()} in the middle.{told}"
    )
    fig.update_layout(meta={"alt": alt})
    return _figures.legend_on_top(fig) if len(fig.data) > 1 else fig


def _rows_of(text: str, names: list[str]) -> list[int]:
    """Rows that a fault names: one, or two joined by a comma."""
    if text in names:
        return [i for i, n in enumerate(names) if n == text]
    ends = [i for i, n in enumerate(names) if text.startswith(f"{n}, ")]
    pairs = [[i, j] for i in ends for j, n in enumerate(names) if text == f"{names[i]}, {n}"]
    return pairs[0] if pairs else []


def _add_marks(fig: Figure, faults: pd.DataFrame, rows: list[str], columns: list[str]) -> str:
    """Draw the faults by severity, and return the sentence for the alt text."""
    import plotly.graph_objects as go

    if not len(faults):
        return " No fault was found."
    n_rows, n_columns, told = len(rows), len(columns), []
    for severity in dict.fromkeys(faults["severity"].astype(str)):
        _checks.one_of("severity", severity, tuple(MARKS))
    for severity, symbol in MARKS.items():
        part = faults[faults["severity"] == severity]
        if not len(part):
            continue
        at: dict[tuple[int, int], list[str]] = {}
        for population, marker, text in zip(part["population"], part["marker"], part["text"], strict=True):
            named = [j for j, c in enumerate(columns) if c == str(marker)] or [n_columns]
            for i in _rows_of(str(population), rows) or ([n_rows] if named[0] < n_columns else []):
                for j in named:
                    at.setdefault((i, j), []).append(str(text))
        told.append(f"{len(part)} {severity}{'s' if len(part) > 1 else ''}, first: {part['text'].iloc[0]}")
        style = {"size": 9, "symbol": symbol, "color": "#1A1A1A", "line": {"color": "#FFFFFF", "width": 1.5}}
        # marks of several severities at one row or column stand side by side
        shift = 0.5 * list(MARKS).index(severity)
        x = [j + (shift if j == n_columns else 0) for _, j in at]
        y = [i + (shift if i == n_rows else 0) for i, _ in at]
        fig.add_trace(
            go.Scatter(x=_figures.small(x), y=_figures.small(y), mode="markers", marker=style, name=severity,
                       showlegend=True, text=[_shown(t) for t in at.values()],
                       hovertemplate="%{text}<extra>" + severity + "</extra>")
        )  # fmt: skip
    fig.update_xaxes(range=[-0.5, n_columns + 1.4])
    fig.update_yaxes(range=[n_rows + 1.4, -0.5])
    return " Faults: " + " ".join(t if t.endswith(".") else t + "." for t in told)


def _shown(texts: list[str]) -> str:
    more = f"<br>and {len(texts) - MOST_TEXTS} more" if len(texts) > MOST_TEXTS else ""
    return "<br>".join(_figures.escaped(t, 60) for t in texts[:MOST_TEXTS]) + more


def plot_distances(
    distances: pd.DataFrame, *, title: str = "Markers that separate two populations"
) -> Figure:
    """How far apart the populations are in the table.

    Parameters
    ----------
    distances
        What `population_distances` returned: populations x populations, NaN where no marker is known to both.
    title
        Title of the figure.

    Returns
    -------
    Figure with the distances as a heat map, the diagonal left open; up to 24 populations the numbers stand in it.

    Raises
    ------
    TypeError, ValueError
        If it is not a square table with equal names of rows and columns.

    Examples
    --------
    >>> import pandas as pd
    >>> apart = pd.DataFrame([[0.0, 2.0], [2.0, 0.0]], index=["T", "B"], columns=["T", "B"])
    >>> plot_distances(apart).layout.meta["alt"].split(". ")[-1]
    'The two nearest are T and B, 2 apart.'
    """
    table = common.matrix(distances, "distances", DISTANCES)
    if list(table.index) != list(table.columns):
        _checks.fail(
            f"`distances` has {len(table)} rows and {table.shape[1]} columns whose names are not the same.",
            DISTANCES,
        )
    array = table.to_numpy(copy=True)
    np.fill_diagonal(array, np.nan)
    shown = type(table)(array, index=table.index, columns=table.columns)
    text = None
    if len(table) <= WRITTEN:
        text = np.array([["" if np.isnan(v) else f"{v:.2g}" for v in row] for row in array])
    high = _figures.limit(array) if np.isfinite(array).any() else 1.0
    fig = _figures.figure(
        title=title, alt="", x="Population", y="Population", height=max(380, 190 + 22 * len(table)),
        coloraxis=_figures.color_axis(high, "Distance", low=0.0),
    )  # fmt: skip
    common.heat(fig, shown, "%{y} and %{x}: %{z:.3g}", text=text)
    told = f"{_figures.plain(title)}: heat map of the distances between {len(table)} populations."
    if np.isfinite(array).any():
        i, j = np.unravel_index(np.nanargmin(array), array.shape)
        told += f" The two nearest are {table.index[i]} and {table.index[j]}, {_figures.number(array[i, j])} apart."
    return fig.update_layout(meta={"alt": told})


def log_densities(u: np.ndarray, prior_std: float) -> dict[str, np.ndarray]:
    """Log-densities of an unknown entry: the exact marginal, and the plateau of the original.

    Parameters
    ----------
    u
        Latent values.
    prior_std
        Width of the normal part, below 1.
    """
    from scipy.special import log_ndtr

    size, r = np.abs(u), 1 - prior_std
    upper, lower = (log_ndtr((edge - size) / prior_std) for edge in (1, -1))
    exact = upper + np.log1p(-np.exp(lower - upper)) - np.log(2)
    top = -np.log1p(r / prior_std * np.sqrt(2 / np.pi)) - np.log(prior_std) - np.log(2 * np.pi) / 2
    return {"exact": exact, "plateau": top - 0.5 * (np.maximum(size - r, 0) / prior_std) ** 2}


def plot_densities(
    prior_std: float = 0.3, *, end: float = 2.5, title: str = "Density of a latent value"
) -> Figure:
    """What the table says as a density: a known entry, an unknown one, and the original's form of the latter.

    Parameters
    ----------
    prior_std
        Width of the normal part, in (0, 1).
    end
        Largest absolute latent value shown.
    title
        Title of the figure.

    Returns
    -------
    Figure with the densities on the left and their logarithms (nats) on the right: normal around -1 and 1 for known
    entries, uniform plus normal for an unknown one (exact), and the plateau with normal flanks that stands for it in
    the original. The axis of the logarithms ends at -32.

    Raises
    ------
    TypeError, ValueError
        If a number is outside its range.

    Examples
    --------
    >>> [t.name for t in plot_densities(0.3).data[:4]]
    ['known, negative', 'known, positive', 'unknown, exact', 'unknown, plateau']
    """
    import plotly.graph_objects as go

    _checks.number("prior_std", prior_std, 1e-3, 0.999)
    _checks.number("end", end, 0.5, 10.0)
    u = np.linspace(-end, end, 121)
    known = {
        f"known, {word}": -0.5 * ((u - mode) / prior_std) ** 2 - np.log(prior_std * np.sqrt(2 * np.pi))
        for word, mode in (("negative", -1.0), ("positive", 1.0))
    }
    unknown = {f"unknown, {name}": y for name, y in log_densities(u, prior_std).items()}
    fig = _figures.figure(title=title, alt="", height=430)
    where = _figures.panels(fig, 2, 2, titles=["", ""], x="Latent value", y="", horizontal_spacing=0.12)
    for place, log in zip(where, (False, True), strict=True):
        row, col = place
        for i, (name, y) in enumerate((known | unknown).items()):
            tone = (common.AGAINST, common.FOR, _figures.color(2), _figures.GREY)[i]
            line = {"color": tone, "width": 2, "dash": ("solid", "solid", "solid", "dash")[i]}
            fig.add_trace(
                go.Scatter(x=_figures.small(u), y=_figures.small(y if log else np.exp(y)), mode="lines", name=name,
                           legendgroup=name, line=line, showlegend=not log,
                           hovertemplate="%{y:.3g} at %{x:.2f}<extra>" + name + "</extra>"), row=row, col=col
            )  # fmt: skip
        fig.update_yaxes(title={"text": "Log-density (nats)" if log else "Density"}, row=row, col=col)
    fig.update_yaxes(range=[DEEPEST, 4], row=1, col=2)
    at = log_densities(np.array([0.0, 1.0, 2.0]), prior_std)
    gap = ", ".join(f"{g:+.2f} at {p}" for g, p in zip(at["plateau"] - at["exact"], (0, 1, 2), strict=True))
    peak = -np.log(prior_std * np.sqrt(2 * np.pi))
    alt = (
        f"{_figures.plain(title)}, standard deviation {prior_std:g}: normal curves around -1 and 1 for known entries, "
        f"a flat one between them for an unknown entry; on the right their logarithms. At its mode a known entry is "
        f"worth {peak - at['exact'][1]:.2f} nats more than an unknown one. The plateau "
        f"differs from the exact density by {gap} nats."
    )
    fig.update_layout(meta={"alt": alt})
    return _figures.legend_on_top(fig)


def _shares(given: Any, argument: str) -> dict[str, float]:
    """Shares by population; all finite and not negative."""
    fix = "Pass a Series or a dictionary with one share per population."
    if not isinstance(given, Mapping) and not hasattr(given, "items"):
        _checks.fail(
            f"`{argument}` is a {type(given).__name__}, but must name its populations.", fix, kind=TypeError
        )
    names = [str(name) for name, _ in given.items()]
    _checks.unique_names(argument, names)
    array = common.values(f"`{argument}`", [v for _, v in given.items()])
    if (array < 0).any():
        _checks.fail(f"`{argument}` holds {array.min():.3g}, but a share is not negative.", fix)
    return dict(zip(names, array.tolist(), strict=True))


def plot_weights(
    pi: Mapping[str, float] | pd.Series,
    truth: Mapping[str, float] | pd.Series,
    *,
    title: str = "Weights of the populations",
) -> Figure:
    """The weights that the model learnt beside the true frequencies.

    Parameters
    ----------
    pi
        Weight by population.
    truth
        True frequency by population; populations that `pi` lacks are left out.
    title
        Title of the figure.

    Returns
    -------
    Figure with one row per population, the most frequent first: a circle for the truth, a diamond for the weight, and
    a line between them, on a logarithmic axis of percents. Zeros are drawn at the left end.

    Raises
    ------
    MissingKeyError, TypeError, ValueError
        If they are not named, not shares, or a population has no truth.

    Examples
    --------
    >>> fig = plot_weights({"T": 0.72, "B": 0.28}, {"B": 0.3, "T": 0.7})
    >>> list(fig.layout.yaxis.ticktext)
    ['T', 'B']
    """
    import plotly.graph_objects as go

    weight, true = _shares(pi, "pi"), _shares(truth, "truth")
    names = sorted(common.chosen(list(weight), list(true), "pi"), key=lambda n: -true[n])
    pair = np.array([[true[n], weight[n]] for n in names]) * 100
    if not (pair > 0).any():
        _checks.fail("All weights and frequencies are 0; there is nothing to draw.")
    least = pair[pair > 0].min() / 2
    x, y = np.maximum(pair, least), np.arange(len(names))
    path = np.full((len(names), 3), np.nan)
    path[:, :2] = x
    fig = _figures.figure(title=title, alt="", x="Share of the cells (%, logarithmic)", y="Population",
                          height=max(320, 150 + 20 * len(names)))  # fmt: skip
    line = {"color": _figures.GREY, "width": 1.5}
    fig.add_trace(go.Scatter(x=_figures.small(path.ravel()), y=_figures.small(np.repeat(y, 3)), mode="lines", line=line,
                             showlegend=False, hoverinfo="skip"))  # fmt: skip
    for j, (name, symbol) in enumerate((("truth", "circle"), ("weight", "diamond"))):
        style = {"size": 9, "symbol": symbol, "color": _figures.color(j)}
        fig.add_trace(
            go.Scatter(x=_figures.small(x[:, j]), y=_figures.small(y), mode="markers", name=name, marker=style,
                       hovertemplate="%{x:.3g} %<extra>" + name + "</extra>")
        )  # fmt: skip
    _figures.name_places(fig, "y", names)
    fig.update_xaxes(type="log", dtick=1 if np.log10(x.max() / x.min()) > 1.5 else "D2")
    gap = np.abs(np.log(x[:, 1] / x[:, 0]))
    worst = int(gap.argmax())
    alt = (
        f"{_figures.plain(title)}: true frequency and weight of {len(names)} populations on a logarithmic axis. Their "
        f"ratio is furthest from 1 for {names[worst]}: weight {_figures.number(pair[worst, 1])} %, truth "
        f"{_figures.number(pair[worst, 0])} %. The median factor between them is {np.exp(np.median(gap)):.2f}."
    )
    fig.update_layout(meta={"alt": alt})
    return _figures.legend_on_top(fig)
