"""Figures of the tables that ask whether it is true: scores, ranks, nulls, overlaps, stability, planted modules."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

import numpy as np

from scmods import _checks, _figures
from scmods.bmlp import plots_common as common

if TYPE_CHECKING:
    import pandas as pd
    from plotly.graph_objects import Figure

__all__ = [
    "plot_comparison",
    "plot_null",
    "plot_precision",
    "plot_rank_curve",
    "plot_scores",
    "plot_stability",
]

SYMBOLS = ("circle", "diamond", "square", "triangle-up", "x", "cross")


def _ticks(table: pd.DataFrame) -> list[str]:
    return [f"Output {o}" for o in table["output"]]


def plot_scores(
    table: pd.DataFrame,
    *,
    title: str = "Test R² of several models",
    by_output: bool = False,
    low: float = -1.0,
) -> Figure:
    """Test R² per model: a bar for the mean, a dot for every seed.

    Parameters
    ----------
    table
        Table of `baselines`: ``model``, ``seed``, ``output``, ``r2``.
    title
        Title of the figure.
    by_output
        One bar per output instead of the mean over outputs.
    low
        The axis ends there, because R² has no lower bound; the number above each bar is always the true mean.

    Returns
    -------
    Figure. 0 is what predicting the mean of the test cells gives.

    Raises
    ------
    MissingKeyError, TypeError, ValueError
        If `table` is not such a table.

    Examples
    --------
    >>> import pandas as pd
    >>> from scmods import bmlp
    >>> table = pd.DataFrame({"model": ["mean", "ridge"], "seed": 0, "output": 0, "r2": [0.0, 0.5]})
    >>> fig = bmlp.plot_scores(table)
    >>> fig.layout.title.text
    'Test R² of several models'
    """
    import plotly.graph_objects as go

    common.require(table, ["model", "seed", "output", "r2"], "Pass the table of `bmlp.baselines(adata)`.")
    _checks.number("low", low, high=0.0)
    models = list(dict.fromkeys(table["model"]))
    groups = [f"output {o}" for o in sorted(set(table["output"]))] if by_output else ["mean over outputs"]
    split = (
        table["output"].map(lambda o: f"output {o}")
        if by_output
        else table["output"].map(lambda _: groups[0])
    )
    seeds = table.assign(group=split).groupby(["group", "model", "seed"], sort=False)["r2"].mean()
    dots_of = {key: part.to_numpy() for key, part in seeds.groupby(["group", "model"], sort=False)}
    means = seeds.groupby(["group", "model"], sort=False).mean()
    overall = {m: means.xs(m, level="model").mean() for m in models}
    fig = _figures.figure(
        title=title, x="Model", y="R² on test cells",
        alt=f"{common.sentence(title)} Bar chart of {len(models)} models over {table['seed'].nunique()} seeds, "
        + ("one bar per output. " if by_output else "mean over the outputs. ")
        + "; ".join(f"{m} {v:.2f}" for m, v in sorted(overall.items(), key=lambda kv: -kv[1])) + ".",
    )  # fmt: skip
    heights = {g: np.array([means.get((g, m), np.nan) for m in models]) for g in groups}
    centres, width = common.add_bars(fig, heights, [common.wrapped(m, 16) for m in models], "R²")
    for i, group in enumerate(groups):
        dots = [(centres[i, j], v) for j, m in enumerate(models) for v in dots_of.get((group, m), ())]
        x, y = np.array(dots, dtype=np.float32).T
        style = {"size": 6, "color": common.GREY, "line": {"width": 1, "color": "#FFFFFF"}}
        fig.add_trace(
            go.Scatter(x=x + width * np.float32(0.2), y=y, mode="markers", marker=style, name="one seed",
                       showlegend=i == 0, hovertemplate="one seed: %{y:.3f}<extra></extra>")
        )  # fmt: skip
        if len(groups) * len(models) <= 15:
            above = [
                max(0.0, v, *dots_of.get((group, m), (v,)))
                for m, v in zip(models, heights[group], strict=True)
            ]
            fig.add_trace(
                go.Scatter(x=centres[i].astype(np.float32), y=np.array(above, np.float32), mode="text",
                           text=[f"{v:.2f}" for v in heights[group]], textposition="top center", hoverinfo="skip",
                           showlegend=False)
            )  # fmt: skip
    floor = float(np.nanmin(seeds))
    fig.update_yaxes(range=[max(low, floor * 1.05 if floor < 0 else 0.0), 1.08], zeroline=True)
    return common.legend_on_top(fig)


def plot_rank_curve(table: pd.DataFrame, *, title: str = "Modes that an output needs") -> Figure:
    """Test R² against the number of modes; the number that the validation cells choose is ringed.

    Parameters
    ----------
    table
        Table of `rank_curve`: ``output``, ``rank``, ``r2``, ``r2_val``.
    title
        Title of the figure.

    Returns
    -------
    Figure with one line per output; the ranks are evenly spaced.

    Raises
    ------
    MissingKeyError, TypeError, ValueError
        If `table` is not such a table.

    Examples
    --------
    >>> from scmods import bmlp
    >>> adata = bmlp.planted(120, 40, n_module=5)
    >>> bmlp.split(adata)
    >>> fig = bmlp.plot_rank_curve(bmlp.rank_curve(adata, target="targets", ranks=(0, 1, 2)))
    >>> fig.layout.title.text
    'Modes that an output needs'
    """
    import plotly.graph_objects as go

    common.require(table, ["output", "rank", "r2", "r2_val"], "Pass the table of `bmlp.rank_curve(adata)`.")
    ranks = sorted(set(table["rank"]))
    place = {r: i for i, r in enumerate(ranks)}
    fig = _figures.figure(title=title, alt="", x="Number of modes", y="R² on test cells")
    told, rings = [], []
    for i, (output, part) in enumerate(table.sort_values("rank").groupby("output")):
        r2, val = common.column(part, "r2"), common.column(part, "r2_val")
        x = np.array([place[r] for r in part["rank"]], dtype=np.float32)
        best = int(np.argmax(val))
        rings.append((x[best], r2[best]))
        told.append(
            f"output {output} from {r2[0]:.2f} to {r2[-1]:.2f}, {part['rank'].iloc[best]} modes chosen"
        )
        style = {"color": _figures.CATEGORICAL[i % 12], "symbol": SYMBOLS[i % len(SYMBOLS)], "size": 8}
        fig.add_trace(
            go.Scatter(x=x, y=r2.astype(np.float32), customdata=part["rank"].tolist(), mode="lines+markers",
                       name=f"output {output}", marker=style, line={"color": style["color"]}, showlegend=True,
                       hovertemplate="%{customdata} modes: R² %{y:.3f}<extra>%{fullData.name}</extra>")
        )  # fmt: skip
    x, y = np.array(rings, dtype=np.float32).T
    style = {"symbol": "circle-open", "size": 16, "color": common.GREY, "line": {"width": 2}}
    fig.add_trace(
        go.Scatter(x=x, y=y, mode="markers", marker=style, name="chosen on val cells", hoverinfo="skip")
    )
    span = f"{ranks[0]} to {ranks[-1]} modes"
    fig.update_layout(
        meta={"alt": f"{common.sentence(title)} Lines of test R² over {span}: {'; '.join(told)}."}
    )
    fig.update_xaxes(tickvals=list(range(len(ranks))), ticktext=[str(r) for r in ranks])
    return common.legend_on_top(fig)


def plot_null(table: pd.DataFrame, *, title: str = "Test R² against shuffled targets") -> Figure:
    """Observed test R² of every output beside what shuffled targets give.

    Parameters
    ----------
    table
        Table of `permuted_null`: ``output``, ``r2``, ``null_r2_mean``, ``null_r2_max``, ``p_value``.
    title
        Title of the figure.

    Returns
    -------
    Figure with a dot for the observed value, a ring for the mean of the null with a line up to its maximum, and the
    p-value under every output.

    Raises
    ------
    MissingKeyError, TypeError, ValueError
        If `table` is not such a table.

    Examples
    --------
    >>> from scmods import bmlp
    >>> adata = bmlp.planted(120, 40, n_module=5)
    >>> bmlp.split(adata)
    >>> fig = bmlp.plot_null(bmlp.permuted_null(adata, target="targets", n_perms=2))
    >>> fig.layout.title.text
    'Test R² against shuffled targets'
    """
    import plotly.graph_objects as go

    needed = ["output", "r2", "null_r2_mean", "null_r2_max", "p_value"]
    common.require(table, needed, "Pass the table of `bmlp.permuted_null(adata)`.")
    seen, mean, most, p = (common.column(table, name) for name in needed[1:])
    told = "; ".join(
        f"output {o} {s:.2f} against at most {m:.2f}, p = {q:.2g}"
        for o, s, m, q in zip(table["output"], seen, most, p, strict=True)
    )
    fig = _figures.figure(
        title=title, alt=f"{common.sentence(title)} Observed R² and the largest of the shuffles: {told}.",
        x="Output", y="R² on test cells",
    )  # fmt: skip
    x, line = np.arange(len(seen), dtype=np.float32), {"color": _figures.CATEGORICAL[1]}
    fig.add_trace(
        go.Scatter(x=x, y=mean.astype(np.float32), mode="markers", name="shuffled targets, mean and maximum",
                   marker={"size": 11, "symbol": "circle-open", **line, "line": {"width": 2}},
                   error_y={"type": "data", "symmetric": False, "array": most - mean, "arrayminus": 0 * mean, **line},
                   hovertemplate="mean of the shuffles %{y:.3f}<extra></extra>")
    )  # fmt: skip
    fig.add_trace(
        go.Scatter(x=x, y=seen.astype(np.float32), mode="markers", name="observed",
                   marker={"size": 11, "color": _figures.CATEGORICAL[0]},
                   hovertemplate="observed %{y:.3f}<extra></extra>")
    )  # fmt: skip
    ticks = [f"{t}<br>p = {q:.2g}" for t, q in zip(_ticks(table), p, strict=True)]
    fig.update_xaxes(tickvals=x.tolist(), ticktext=ticks, range=[-0.5, len(x) - 0.5], automargin=True)
    fig.update_yaxes(zeroline=True)
    return common.legend_on_top(fig)


def plot_comparison(table: pd.DataFrame, *, title: str = "Overlap with the most correlated genes") -> Figure:
    """Overlap of the model's genes with the correlated ones, beside an untrained layer and chance.

    Parameters
    ----------
    table
        Table of `compare_with_correlation`: ``output``, ``mode``, ``linear``, ``untrained``, ``chance``.
    title
        Title of the figure.

    Returns
    -------
    Figure with three bars per output and the chance level as dotted line.

    Raises
    ------
    MissingKeyError, TypeError, ValueError
        If `table` is not such a table.

    Examples
    --------
    >>> from scmods import bmlp
    >>> adata = bmlp.planted(120, 40, n_module=5)
    >>> bmlp.split(adata)
    >>> model = bmlp.fit(adata, target="targets")
    >>> fig = bmlp.plot_comparison(bmlp.compare_with_correlation(adata, n_genes=5))
    >>> fig.layout.title.text
    'Overlap with the most correlated genes'
    """
    names = {"mode": "interaction mode", "linear": "linear part", "untrained": "untrained layer"}
    needed = ["output", *names, "chance"]
    common.require(table, needed, "Pass the table of `bmlp.compare_with_correlation(adata)`.")
    bars = {name: common.column(table, key) for key, name in names.items()}
    return _bars(bars, common.column(table, "chance"), _ticks(table), title, "Output", "Jaccard index")


def plot_precision(table: pd.DataFrame, *, title: str = "Planted genes that are found") -> Figure:
    """Share of planted genes among the top genes: model, correlation and chance.

    Parameters
    ----------
    table
        Table of `planted_precision`: ``target``, ``model``, ``correlation``, ``chance``.
    title
        Title of the figure.

    Returns
    -------
    Figure with two bars per target and the chance level as dotted line.

    Raises
    ------
    MissingKeyError, TypeError, ValueError
        If `table` is not such a table.

    Examples
    --------
    >>> import pandas as pd
    >>> from scmods import bmlp
    >>> table = pd.DataFrame({"target": ["square"], "model": [1.0], "correlation": [0.2], "chance": [0.1]})
    >>> fig = bmlp.plot_precision(table)
    >>> fig.layout.title.text
    'Planted genes that are found'
    """
    common.require(
        table,
        ["target", "model", "correlation", "chance"],
        "Pass the table of `bmlp.planted_precision(adata)`.",
    )
    bars = {name: common.column(table, name) for name in ("model", "correlation")}
    ticks = [common.wrapped(t, 16) for t in table["target"]]
    return _bars(bars, common.column(table, "chance"), ticks, title, "Target", "Share of planted genes")


def plot_stability(
    table: pd.DataFrame | Mapping[str, pd.DataFrame], *, title: str = "Do modules repeat?"
) -> Figure:
    """Jaccard index of the modules over repeats, per output, against chance.

    Parameters
    ----------
    table
        Table of `seed_stability` or `module_stability` (``output``, ``jaccard``, ``chance``), or several by name, such
        as ``{"repaired": ..., "original": ...}``; all over the same outputs.
    title
        Title of the figure.

    Returns
    -------
    Figure with one bar per output and table, each with its chance level as dotted line.

    Raises
    ------
    MissingKeyError, TypeError, ValueError
        If a table is not of that kind, there is none, or the outputs differ.

    Examples
    --------
    >>> import pandas as pd
    >>> from scmods import bmlp
    >>> fig = bmlp.plot_stability(pd.DataFrame({"output": [0, 1], "jaccard": [0.8, 0.6], "chance": [0.1, 0.1]}))
    >>> fig.layout.title.text
    'Do modules repeat?'
    """
    tables = dict(table) if isinstance(table, Mapping) else {"modules": table}
    fix = "Pass the table of `bmlp.seed_stability(adata)` or `bmlp.module_stability(adata, model)`."
    if not tables:
        _checks.fail("`table` holds no tables; there is nothing to draw.", fix)
    for name, one in tables.items():
        common.require(
            one, ["output", "jaccard", "chance"], fix, f"table[{name!r}]" if len(tables) > 1 else "table"
        )
    first = next(iter(tables.values()))
    for name, one in tables.items():
        if list(one["output"]) != list(first["output"]):
            _checks.fail(
                f"`table[{name!r}]` holds the outputs {_checks.listing(one['output'])}, "
                f"but the first table {_checks.listing(first['output'])}.",
                "Make all of them with the same target.",
            )
    bars = {str(name): common.column(one, "jaccard") for name, one in tables.items()}
    chance = np.stack([common.column(one, "chance") for one in tables.values()])
    return _bars(bars, chance, _ticks(first), title, "Output", "Jaccard index, mean over pairs")


def _bars(
    bars: Mapping[str, np.ndarray], chance: np.ndarray, ticks: list[str], title: str, x: str, y: str
) -> Figure:
    """Grouped bars between 0 and 1; `chance` is (places,) for one line per group or (groups, places)."""
    told = "; ".join(f"{name} " + ", ".join(f"{v:.2f}" for v in values) for name, values in bars.items())
    level = sorted({f"{c:.3f}" for c in np.ravel(chance)})
    around = level[0] if len(level) == 1 else f"{level[0]} to {level[-1]}"
    places = common.listed(t.replace("<br>", " ") for t in ticks)
    fig = _figures.figure(
        title=title, x=x, y=y, showlegend=True,
        alt=f"{common.sentence(title)} Bar chart for {places}; {y}: {told}. Chance level {around}, a dotted line.",
    )  # fmt: skip
    centres, width = common.add_bars(fig, bars, ticks, y)
    if chance.ndim == 1:
        common.add_chance(fig, np.arange(len(ticks)), width * len(bars), chance, "chance")
    else:
        common.add_chance(fig, centres, width, chance, "chance")
    fig.update_yaxes(range=[0, 1.02])
    return common.legend_on_top(fig)
