"""Gene circuits whose field is known: the answer comes with the data."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import torch

from scmods import _checks
from scmods.hopfield import core
from scmods.hopfield.dynamics import simulate
from scmods.hopfield.field import Field
from scmods.hopfield.keys import Keys
from scmods.hopfield.wiring import cells_of, random_field, scaled

if TYPE_CHECKING:
    from anndata import AnnData

__all__ = ["random_circuit", "repressilator", "toggle", "true_field"]


def true_field(adata: AnnData) -> Field:
    """The field that made the cells of a simulated circuit.

    Parameters
    ----------
    adata
        What `toggle`, `repressilator` or `random_circuit` returned.

    Returns
    -------
    The field, in the unit of the simulated expression (for counts: molecules).

    Raises
    ------
    MissingKeyError
        If ``uns["truth"]`` is not there.

    Examples
    --------
    >>> from scmods import hopfield
    >>> field = hopfield.true_field(hopfield.toggle(2, 3))
    >>> field.interactions.tolist()
    [[[5.0, -4.0], [-4.0, 5.0]]]
    """
    _checks.key(adata, "uns", "truth", "Simulate cells with a known field: `hopfield.random_circuit()`.")
    truth = adata.uns["truth"]
    regulators = np.asarray(truth["regulators"])
    return Field(
        tuple(truth["genes"]),
        tuple(np.atleast_1d(truth["clusters"])),
        torch.as_tensor(regulators),
        torch.as_tensor(np.asarray(truth["interactions"])[:, :, regulators]),
        torch.as_tensor(np.tile(truth["gamma"], (len(np.atleast_1d(truth["clusters"])), 1))),
        torch.as_tensor(np.asarray(truth["bias"])),
        torch.as_tensor(np.asarray(truth["threshold"])),
        torch.as_tensor(np.asarray(truth["exponent"])),
    )


def _truth(field: Field) -> dict[str, np.ndarray]:
    square = torch.stack([core.square(w, field.regulators) for w in field.interactions]).numpy()
    return {
        "interactions": square,
        "clusters": np.array(field.clusters, dtype=object),
        "genes": np.array(field.genes, dtype=object),
        "regulators": field.regulators.numpy().copy(),
        "gamma": field.degradation[0].numpy().copy(),
        "bias": field.bias.numpy().copy(),
        "threshold": field.threshold.numpy().copy(),
        "exponent": field.exponent.numpy().copy(),
    }


def _annotated(adata: AnnData, field: Field, note: str, name: str) -> AnnData:
    """Add what every circuit has: rates of the genes, regulators, truth."""
    adata.var["gamma"] = field.degradation[0].numpy().copy()
    regulator = np.zeros(adata.n_vars, dtype=bool)
    regulator[field.regulators.numpy()] = True
    adata.var["transcription_factor"] = regulator
    adata.uns["truth"] = _truth(field)
    adata.varp["true_interactions"] = adata.uns["truth"]["interactions"].mean(axis=0)
    adata.uns["source"] = {
        "dataset": name,
        "citation": f"Simulated by scmods.hopfield.{name}",
        "licence": "MIT",
        "url": "",
        "note": note,
    }
    return adata


def _analytic(
    name: str, field: Field, start: np.ndarray, n_points: int, t_end: float, noise: float, seed: int
) -> AnnData:
    """Cells on a time grid along trajectories of a small field, with the exact velocity and the Hill functions."""
    import anndata
    import pandas as pd

    per_point = max(2, -(-200 // (n_points - 1)))
    times, path = simulate(field, start, t_end=t_end, n_steps=per_point * (n_points - 1))
    times, path = times[::per_point], path[::per_point]
    x = path.transpose(0, 1).reshape(-1, len(field.genes))
    v = field.cluster(name).velocity(x).numpy()
    rng = np.random.default_rng([seed, 1])
    x = np.maximum(x.numpy() + noise * rng.normal(size=x.shape), 0)
    v = v + noise * rng.normal(size=v.shape)
    n = len(start)
    obs = pd.DataFrame(
        {
            "trajectory": np.repeat(np.arange(n), n_points),
            "time": np.tile(times.numpy(), n),
            "cell_type": pd.Categorical([name] * len(x)),
        },
        index=[f"cell_{i}" for i in range(len(x))],
    )
    adata = anndata.AnnData(x.astype(np.float32), obs=obs, var=pd.DataFrame(index=list(field.genes)))
    keys = Keys()
    adata.layers[keys.spliced] = x
    adata.layers[keys.velocity] = v
    adata.var[keys.threshold] = field.threshold.numpy().copy()
    adata.var[keys.exponent] = field.exponent.numpy().copy()
    adata.var[keys.used] = True
    return _annotated(adata, field, f"seed {seed}; noise {noise:g} on expression and velocity.", name)


def _checked(n_trajectories: int, n_points: int, t_end: float, noise: float, seed: int) -> None:
    _checks.integer("n_trajectories", n_trajectories, 1)
    _checks.integer("n_points", n_points, 2)
    _checks.number("t_end", t_end, 1e-6)
    _checks.number("noise", noise, 0.0)
    _checks.integer("seed", seed, 0)


def toggle(
    n_trajectories: int = 50,
    n_points: int = 40,
    *,
    a: float = 5.0,
    b: float = 4.0,
    k: float = 1.0,
    n: float = 4.0,
    gamma: float = 3.0,
    bias: float = 4.0,
    t_end: float = 2.0,
    noise: float = 0.0,
    seed: int = 0,
) -> AnnData:
    r"""Two genes that activate themselves and repress each other: a switch.

    .. math:: \dot x_i = a\,\varphi(x_i) - b\,\varphi(x_j) - \gamma x_i + I

    With the default values there are five fixed points: one gene high or the other, an undecided state that is
    stable too, and two saddles between them. With ``a=3, b=2.4, bias=2.7`` there are three, and the undecided state
    is the saddle.

    Parameters
    ----------
    n_trajectories
        Trajectories; they start uniformly below the largest expression.
    n_points
        Cells per trajectory, at equal distances in time from 0 to `t_end`.
    a, b
        Strength of the activation of the own gene and of the repression of the other.
    k, n
        Threshold and exponent of both Hill functions.
    gamma
        Degradation rate.
    bias
        Constant production I.
    t_end
        Last time.
    noise
        Standard deviation of Gaussian noise added to expression (then cut at 0) and to the velocity.
    seed
        Seed of everything.

    Returns
    -------
    AnnData, trajectory by trajectory, with

    - ``X`` (float32) and ``layers["Ms"]`` (float64): expression; ``layers["velocity"]``: its exact derivative;
    - ``var``: ``gamma``, ``hopfield_threshold``, ``hopfield_exponent``, ``hopfield_used``, ``transcription_factor``;
    - ``obs``: ``trajectory``, ``time``, ``cell_type`` (one);
    - ``varp["true_interactions"]``: row target, column regulator; ``uns["truth"]``: the field, see `true_field`.

    Raises
    ------
    TypeError, ValueError
        Values of the wrong kind or outside their range.

    Examples
    --------
    >>> toggle(3, 5).varp["true_interactions"].tolist()
    [[5.0, -4.0], [-4.0, 5.0]]
    """
    _checked(n_trajectories, n_points, t_end, noise, seed)
    w = torch.tensor([[a, -b], [-b, a]], dtype=torch.float64)
    field = _small("toggle", ("A", "B"), w, gamma, bias, k, n)
    top = max((max(a, 0) + max(-b, 0) + bias) / gamma, 1e-6)
    start = top * np.random.default_rng(seed).uniform(size=(n_trajectories, 2))
    return _analytic("toggle", field, start, n_points, t_end, noise, seed)


def repressilator(
    n_trajectories: int = 50,
    n_points: int = 40,
    *,
    alpha: float = 10.0,
    k: float = 1.0,
    n: float = 4.0,
    gamma: float = 1.0,
    t_end: float = 10.0,
    noise: float = 0.0,
    seed: int = 0,
) -> AnnData:
    r"""Three genes, each repressing the next: an oscillator.

    .. math:: \dot x_i = \alpha\,(1 - \varphi(x_{i-1})) - \gamma x_i

    Parameters
    ----------
    n_trajectories
        Trajectories; they start uniformly below half of the largest expression.
    n_points
        Cells per trajectory, at equal distances in time from 0 to `t_end`.
    alpha
        Production without repression: the bias is `alpha`, the interactions are -`alpha`.
    k, n
        Threshold and exponent of all Hill functions.
    gamma
        Degradation rate.
    t_end
        Last time; one turn takes about 5.
    noise
        Standard deviation of Gaussian noise added to expression (then cut at 0) and to the velocity.
    seed
        Seed of everything.

    Returns
    -------
    AnnData as from `toggle`.

    Raises
    ------
    TypeError, ValueError
        Values of the wrong kind or outside their range.

    Examples
    --------
    >>> from scmods import hopfield
    >>> hopfield.repressilator(3, 5).varp["true_interactions"].tolist()
    [[0.0, 0.0, -10.0], [-10.0, 0.0, 0.0], [0.0, -10.0, 0.0]]
    """
    _checked(n_trajectories, n_points, t_end, noise, seed)
    w = torch.zeros(3, 3, dtype=torch.float64)
    for i in range(3):
        w[i, i - 1] = -alpha
    field = _small("repressilator", ("A", "B", "C"), w, gamma, alpha, k, n)
    start = alpha / gamma / 2 * np.random.default_rng(seed).uniform(size=(n_trajectories, 3))
    return _analytic("repressilator", field, start, n_points, t_end, noise, seed)


def _small(
    name: str, genes: tuple[str, ...], w: torch.Tensor, gamma: float, bias: float, k: float, n: float
) -> Field:
    g = len(genes)
    one = torch.ones(1, g, dtype=torch.float64)
    _checks.number("gamma", gamma, 1e-9)
    return Field(genes, (name,), torch.arange(g), w[None], gamma * one, bias * one, k * one[0], n * one[0])


def random_circuit(
    n_obs: int = 1000,
    n_vars: int = 60,
    *,
    n_regulators: int = 12,
    density: float = 0.15,
    n_clusters: int = 2,
    counts: bool = True,
    depth: int = 3000,
    seed: int = 0,
) -> AnnData:
    """Simulate cells of a random signed circuit around a switch, with spliced and unspliced molecules.

    The first two regulators form a switch with one saddle; trajectories start near it, so that early cells are
    unstable and late ones settle in one of two fates. All other genes are driven by random regulators. The clusters
    have circuits of their own, which share most edges.

    Parameters
    ----------
    n_obs
        Cells, in equal parts from every cluster.
    n_vars
        Genes, the regulators first.
    n_regulators
        Genes that regulate.
    density
        Chance that a regulator acts on a gene, in [0, 1]; every gene has at least one regulator.
    n_clusters
        Clusters.
    counts
        Poisson counts with the exact molecules as mean; otherwise the exact molecules, which are not whole numbers.
    depth
        Mean number of spliced molecules of a cell.
    seed
        Seed of everything.

    Returns
    -------
    AnnData with

    - ``layers["spliced"]``, ``layers["unspliced"]`` (float32 counts, or float64): the unspliced mean is the production
      W phi(x) + I, always positive, for splicing rate 1; ``X``: spliced, float32;
    - ``layers["true_spliced"]``, ``layers["true_velocity"]``: expression and velocity without noise, float64;
    - ``obs``: ``cell_type`` (cluster), ``fate`` (which gene of the switch wins), ``trajectory``, ``time``;
    - ``var``: ``gamma``, ``transcription_factor``; ``obsm["X_pca"]``: two components of the true expression;
    - ``varp["true_interactions"]``: mean over the clusters, row target, column regulator;
    - ``uns["truth"]``: ``interactions`` (clusters, genes, genes), ``clusters``, ``genes``, ``regulators``, ``gamma``,
      ``bias``, ``threshold``, ``exponent``, all in molecules; `true_field` makes a field of it.

    Raises
    ------
    TypeError, ValueError
        Values of the wrong kind or outside their range.

    Examples
    --------
    >>> random_circuit(100, 20, n_regulators=5).obs["fate"].nunique()
    2
    """
    _checks.integer("n_clusters", n_clusters, 1)
    _checks.integer("n_obs", n_obs, 10 * n_clusters, why="Every cluster needs at least ten cells.")
    _checks.integer("n_regulators", n_regulators, 2, why="Two regulators form the switch.")
    _checks.integer("n_vars", n_vars, n_regulators, why=f"{n_regulators} genes regulate.")
    _checks.number("density", density, 0.0, 1.0)
    _checks.integer("depth", depth, 1)
    rng = np.random.default_rng(_checks.integer("seed", seed, 0))
    field = random_field(rng, n_vars, n_regulators, density, n_clusters)
    parts = [len(p) for p in np.array_split(np.arange(n_obs), n_clusters)]
    found = [cells_of(rng, field, c, many) for c, many in zip(field.clusters, parts, strict=True)]
    x = np.concatenate([f[0] for f in found])
    factor = depth / x.sum(axis=1).mean()
    field, x = scaled(field, factor), x * factor
    label = np.repeat(np.arange(n_clusters), parts)
    v = np.empty_like(x)
    for c, name in enumerate(field.clusters):
        v[label == c] = field.cluster(name).velocity(torch.as_tensor(x[label == c])).numpy()
    return _random_cells(rng, field, x, v, label, found, counts=counts, seed=seed)


def _random_cells(
    rng: np.random.Generator, field: Field, x: np.ndarray, v: np.ndarray, label: np.ndarray, found: list,
    *, counts: bool, seed: int,
) -> AnnData:  # fmt: skip
    import anndata
    import pandas as pd

    unspliced = v + field.degradation[0].numpy() * x
    pair = [x, unspliced]
    if counts:
        pair = [rng.poisson(m).astype(np.float32) for m in pair]
    shift = np.cumsum([0, *(f[1].max() + 1 for f in found[:-1])])
    obs = pd.DataFrame(
        {
            "cell_type": pd.Categorical.from_codes(label, list(field.clusters)),
            "fate": pd.Categorical.from_codes(
                np.concatenate([f[3] for f in found]), [f"{g} high" for g in field.genes[:2]]
            ),
            "trajectory": np.concatenate([f[1] + s for f, s in zip(found, shift, strict=True)]),
            "time": np.concatenate([f[2] for f in found]),
        },
        index=[f"cell_{i}" for i in range(len(x))],
    )
    adata = anndata.AnnData(pair[0].astype(np.float32), obs=obs, var=pd.DataFrame(index=list(field.genes)))
    adata.layers["spliced"], adata.layers["unspliced"] = pair
    adata.layers["true_spliced"], adata.layers["true_velocity"] = x, v
    centred = x - x.mean(axis=0)
    u, s, vt = np.linalg.svd(centred, full_matrices=False)
    adata.obsm["X_pca"] = u[:, :2] * s[:2] * np.sign(vt[:2, :1].T + (vt[:2, :1].T == 0))
    kind = "Poisson counts" if counts else "exact molecules"
    return _annotated(adata, field, f"seed {seed}; {kind}.", "random_circuit")
