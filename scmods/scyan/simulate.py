"""Mass cytometry with a known answer: populations, partial knowledge, batches, a rare and an unlisted population."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from scmods import _checks
from scmods.scyan._true_table import hide_entries, true_signs

if TYPE_CHECKING:
    from anndata import AnnData

__all__ = ["UNLISTED", "cytometry"]

UNLISTED = "unlisted"
COFACTOR = 5.0
MIXED = 0.6  # share of the unknown entries where the population really is a mixture of both signs
FLIPPED = 0.02  # rate at which a cell contradicts a known entry
SPILL = 0.03  # share of the signal that leaks into each neighbouring channel
EFFICIENCY = 0.25  # sd of the log signal of a cell
FLOOR = 0.01  # least frequency of the populations that are neither rare nor unlisted
GAIN = 0.35  # sd of the log gain of a marker in a batch
DRIFT = 0.5  # sd of the log frequency of a population in a batch


@dataclass(frozen=True)
class _Model:
    """What cells are drawn from; rows are the populations, the unlisted one last."""

    table: np.ndarray  # (populations, markers) signs, NaN unknown; no row for the unlisted one
    signs: np.ndarray  # (populations + 1, markers)
    rate: np.ndarray  # (populations + 1, markers) probability that a cell is positive
    low: np.ndarray  # (2, markers) mean and sd of negative cells, asinh scale
    high: np.ndarray  # (2, markers) of positive ones
    jitter: np.ndarray  # (populations + 1, markers)
    frequency: np.ndarray  # (populations + 1,)


def _frequencies(n_pops: int, rare: float, unlisted: float, rng: np.random.Generator) -> np.ndarray:
    """Frequencies of the populations, the rare one second to last, the unlisted one last."""
    n_common = n_pops - (rare > 0)
    common = np.maximum(rng.dirichlet(np.ones(n_common)), min(FLOOR, 0.5 / n_common))
    common *= (1 - rare - unlisted) / common.sum()
    return np.concatenate([common, [rare] if rare > 0 else [], [unlisted]])


def _model(
    sizes: tuple[int, int],
    known: tuple[float, float],
    shares: tuple[float, float],
    separation: float,
    rng: Any,
) -> _Model:
    n_pops, n_markers = sizes
    unknown, positive = known
    signs = true_signs(n_pops, n_markers, positive, rng)
    table = hide_entries(signs, unknown, rng)
    outsider = np.where(rng.random((1, n_markers)) < positive, 1.0, -1.0)
    signs = np.concatenate([signs, outsider])
    rate = np.where(signs > 0, 1 - FLIPPED, FLIPPED)
    mixed = np.isnan(table) & (rng.random(table.shape) < MIXED)
    fixed = np.isnan(table) & ~mixed
    rate[:-1][fixed] = signs[:-1][fixed] > 0
    rate[:-1][mixed] = rng.uniform(0.15, 0.85, int(mixed.sum()))
    low = np.stack([rng.uniform(0.2, 1.0, n_markers), rng.uniform(0.25, 0.5, n_markers)])
    shift, sd = separation * rng.uniform(1.2, 3.2, n_markers), rng.uniform(0.35, 0.7, n_markers)
    jitter = rng.normal(0, 0.3, signs.shape)
    return _Model(
        table, signs, rate, low, np.stack([low[0] + shift, sd]), jitter, _frequencies(n_pops, *shares, rng)
    )


def _counts(n_cells: int, frequency: np.ndarray) -> np.ndarray:
    """Whole numbers of cells that add up to `n_cells`, at least one wherever the frequency is positive."""
    exact = n_cells * frequency / frequency.sum()
    counts = np.floor(exact).astype(int)
    counts[(counts == 0) & (frequency > 0)] = 1
    while counts.sum() < n_cells:
        counts[(exact - counts).argmax()] += 1
    while counts.sum() > n_cells:
        counts[counts.argmax()] -= 1
    return counts


def _signal(model: _Model, pop: np.ndarray, rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
    """Expected ion counts of every cell before spill and gain, and which markers are on."""
    on = rng.random((len(pop), model.low.shape[1])) < model.rate[pop]
    mean = np.where(on, model.high[0] + model.jitter[pop], model.low[0] + 0.3 * model.jitter[pop])
    y = mean + np.where(on, model.high[1], model.low[1]) * rng.normal(size=on.shape)
    signal = COFACTOR * np.sinh(np.maximum(y, 0.0))
    return signal * np.exp(EFFICIENCY * rng.normal(size=(len(pop), 1))), on


def _spilled(signal: np.ndarray) -> np.ndarray:
    out = signal.copy()
    out[:, 1:] += SPILL * signal[:, :-1]
    out[:, :-1] += SPILL * signal[:, 1:]
    return out


def _check(**given: Any) -> None:
    _checks.integer("n_cells", given["n_cells"], 50)
    _checks.integer("n_pops", given["n_pops"], 3)
    _checks.integer("n_markers", given["n_markers"], 4)
    _checks.integer("n_batches", given["n_batches"], 1)
    _checks.number("unknown", given["unknown"], 0.0, 0.9)
    _checks.number("positive", given["positive"], 0.05, 0.95)
    _checks.number("separation", given["separation"], 0.0, 5.0)
    for name in ("rare", "unlisted", "doublets"):
        _checks.number(name, given[name], 0.0, 0.3)
    if 2 * given["n_batches"] * (given["n_pops"] + 1) > given["n_cells"]:
        _checks.fail(
            f"`n_cells` is {given['n_cells']}, too few for {given['n_pops']} populations in",
            f"{given['n_batches']} batches. Write n_cells={20 * given['n_batches'] * (given['n_pops'] + 1)}.",
        )


def cytometry(
    n_cells: int = 20_000,
    n_pops: int = 16,
    n_markers: int = 20,
    *,
    n_batches: int = 1,
    unknown: float = 0.4,
    positive: float = 0.4,
    rare: float = 0.001,
    unlisted: float = 0.02,
    doublets: float = 0.0,
    separation: float = 1.0,
    raw: bool = False,
    seed: int = 0,
) -> AnnData:
    """Simulate cells of a mass cytometer together with the partial table that an expert would have.

    Populations come in pairs of siblings that differ in two markers. The table leaves entries empty; in three fifths
    of those the population truly holds cells of both signs. A cell contradicts a known entry with probability 0.02.

    Parameters
    ----------
    n_cells
        Cells, doublets not counted.
    n_pops
        Populations in the table.
    n_markers
        Markers.
    n_batches
        Batches of equal size. With two or more every batch has a gain per marker (log-normal, sd 0.35) and frequencies
        of its own (log-normal, sd 0.5).
    unknown
        Share of the entries of the table that are empty; any two rows still differ in a marker both know.
    positive
        Probability of a positive sign.
    rare
        Frequency of the last population; 0 for a frequency like the others.
    unlisted
        Frequency of a population that the table lacks; 0 for none.
    doublets
        Doublets to add, as a share of the cells: sums of the signals of two cells of different populations.
    separation
        Scale of the distance between negative and positive cells.
    raw
        Leave ``X`` as counts instead of ``arcsinh(counts / 5) / std - 1``.
    seed
        Seed of everything.

    Returns
    -------
    AnnData, cells x markers, in random order:

    - ``X``: float32, transformed and scaled (recorded in ``uns["scyan_transform"]``), or counts with `raw`;
    - ``layers["counts"]``: ion counts, float32; ``layers["positive"]``: whether the marker is truly on, uint8;
    - ``obs["cell_type"]``: the population, "unlisted", or "doublet"; ``obs["batch"]``; ``obs["dna"]``: DNA content,
      about 1 for one cell and 2 for a doublet;
    - ``uns["table"]``: populations x markers, -1, 1 and NaN;
    - ``uns["truth"]``: ``table`` (populations + unlisted x markers: signs without gaps), ``positive_rate``,
      ``frequency``, ``rare`` (name), ``gain`` (batches, markers), ``unlisted_distance`` (fewest known entries of a
      row that the unlisted population contradicts; at 0 it cannot be told from that row).

    Raises
    ------
    TypeError, ValueError
        Numbers of the wrong kind or outside their range; too few cells for the populations.

    Notes
    -----
    Negative cells lie at N(U(.2, 1), sd U(.25, .5)) on the scale of arcsinh(x / 5), positive ones U(1.2, 3.2) higher
    with sd U(.35, .7); every population has an offset of its own (sd 0.3). Signals get a log-normal factor per cell
    (sd 0.25), leak 3 % into each neighbouring channel and become Poisson counts.

    Examples
    --------
    >>> adata = cytometry(500, 6, 8, seed=1)
    >>> adata.shape, adata.uns["table"].shape, int((adata.obs["cell_type"] == "unlisted").sum())
    ((500, 8), (6, 8), 10)
    """
    _check(**locals())
    rng = np.random.default_rng(_checks.integer("seed", seed, 0))
    model = _model((n_pops, n_markers), (unknown, positive), (rare, unlisted), separation, rng)
    batch = np.arange(n_cells) * n_batches // n_cells
    drift = (
        np.exp(DRIFT * rng.normal(size=(n_batches, n_pops + 1)))
        if n_batches > 1
        else np.ones((1, n_pops + 1))
    )
    drift[:, -1] = 1.0
    if rare > 0:
        drift[:, -2] = 1.0
    parts = [_counts(int((batch == b).sum()), model.frequency * drift[b]) for b in range(n_batches)]
    pop = np.concatenate([np.repeat(np.arange(n_pops + 1), part) for part in parts])
    signal, on = _signal(model, pop, rng)
    pop, batch, signal, on = _with_doublets(pop, batch, signal, on, round(doublets * n_cells), rng)
    gain = (
        np.exp(GAIN * rng.normal(size=(n_batches, n_markers))) if n_batches > 1 else np.ones((1, n_markers))
    )
    counts = rng.poisson(_spilled(signal) * gain[batch])
    order = rng.permutation(len(pop))
    dna = np.where(pop > n_pops, 2.0, 1.0) * np.exp(0.1 * rng.normal(size=len(pop)))
    adata = _assemble(counts[order], on[order], pop[order], batch[order], dna[order], model)
    adata.uns["truth"].update(gain=gain, rare=adata.uns["table"].index[-1] if rare > 0 else "")
    adata.uns["source"] = {
        "dataset": "cytometry",
        "citation": "Simulated by scmods.scyan.cytometry",
        "licence": "MIT",
        "url": "",
        "note": f"seed {seed}; 'unlisted' cells are not in the table.",
    }
    if not raw:
        from scmods.scyan.transform import asinh_transform, scale

        asinh_transform(adata, cofactor=COFACTOR)
        scale(adata)
    return adata


def _with_doublets(
    pop: np.ndarray, batch: np.ndarray, signal: np.ndarray, on: np.ndarray, n: int, rng: np.random.Generator
) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """Append sums of two cells of one batch and of different populations; their population is one past the last."""
    if n == 0:
        return pop, batch, signal, on
    pairs = np.empty((0, 2), dtype=np.intp)
    while len(pairs) < n:
        more = rng.integers(len(pop), size=(4 * n, 2))
        fits = (pop[more[:, 0]] != pop[more[:, 1]]) & (batch[more[:, 0]] == batch[more[:, 1]])
        pairs = np.concatenate([pairs, more[fits]])[:n]
    a, b = pairs.T
    return (
        np.concatenate([pop, np.full(n, pop.max() + 1)]),
        np.concatenate([batch, batch[a]]),
        np.concatenate([signal, signal[a] + signal[b]]),
        np.concatenate([on, on[a] | on[b]]),
    )


def _assemble(
    counts: np.ndarray, on: np.ndarray, pop: np.ndarray, batch: np.ndarray, dna: np.ndarray, model: _Model
) -> AnnData:
    import anndata
    import pandas as pd

    n_pops, n_markers = model.table.shape
    names = [f"P{p + 1:02d}" for p in range(n_pops)]
    markers = [f"M{m + 1:02d}" for m in range(n_markers)]
    label = np.array([*names, UNLISTED, "doublet"], dtype=object)[pop]
    obs = pd.DataFrame(
        {
            "cell_type": pd.Categorical(label),
            "batch": pd.Categorical([f"batch {b + 1}" for b in batch]),
            "dna": dna,
        },
        index=[f"cell{i}" for i in range(len(pop))],
    )
    adata = anndata.AnnData(counts.astype(np.float32), obs=obs, var=pd.DataFrame(index=markers))
    adata.layers["counts"] = adata.X.copy()
    adata.layers["positive"] = on.astype(np.uint8)
    adata.uns["table"] = pd.DataFrame(model.table, index=names, columns=markers)
    rows = [*names, UNLISTED]
    adata.uns["truth"] = {
        "table": pd.DataFrame(model.signs, index=rows, columns=markers),
        "positive_rate": pd.DataFrame(model.rate, index=rows, columns=markers),
        "frequency": model.frequency,
        "unlisted_distance": int((model.table * model.signs[-1] < 0).sum(axis=1).min()),
    }
    return adata
