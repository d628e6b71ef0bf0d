"""Do modules return: over seeds of the trained layer, over subsamples of the cells for the closed form."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import combinations
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from scmods import _checks, stats
from scmods.bmlp import tools
from scmods.bmlp.closed_form import QuadraticModel
from scmods.bmlp.estimators import Config, ScBMLPRegressor
from scmods.bmlp.frequency import parts
from scmods.bmlp.keys import Keys

if TYPE_CHECKING:
    import pandas as pd
    from anndata import AnnData

__all__ = ["module_stability", "seed_stability"]


def top_sets(weight: np.ndarray, n_genes: int) -> list[set[int]]:
    """Genes of largest absolute weight, one set per column."""
    return [set(np.argsort(-np.abs(w), kind="stable")[:n_genes].tolist()) for w in weight.T]


def _jaccards(runs: list[np.ndarray], n_genes: int) -> np.ndarray:
    """Mean pairwise Jaccard index of the top genes over runs, per output."""
    tops = [top_sets(w, n_genes) for w in runs]
    return np.array(
        [[stats.jaccard(a, b) for a, b in zip(s, t, strict=True)] for s, t in combinations(tops, 2)]
    ).mean(axis=0)


def seed_stability(
    adata: AnnData, *, target: str = "X_freq", layer: str | None = None, seeds: Sequence[int] = range(5),
    n_genes: int = 50, split_key: str = "bmlp_split", recipe: str = "repaired", device: str = "cpu", **changes: Any,
) -> pd.DataFrame:  # fmt: skip
    """Do the modules of the trained layer repeat when only the seed changes?

    Parameters
    ----------
    adata
        Annotated data after `split`; ``X`` or `layer`, ``obsm[target]`` and ``obs[split_key]`` are read.
    target
        Key of ``obsm``: (cells, outputs), the frequencies by default.
    layer
        Logged expression, ``adata.X`` by default; z-scored with the moments of the train cells.
    seeds
        Seeds of start and training, at least two.
    n_genes
        Size of a module: largest absolute loadings of the mode with the largest absolute eigenvalue.
    split_key
        Column of `split`: layers learn from train, stop by val and are judged on test, the same for every seed.
    recipe
        ``"repaired"``, ``"original"``, or ``"untrained"`` (the original's random start, a control).
    device
        Where the layers train, see `Config`.
    changes
        Fields of `Config` to change.

    Returns
    -------
    One row per output: ``jaccard`` (mean over pairs of seeds), ``chance`` (two random lists of that size),
    ``r2`` (test, mean over seeds).

    Raises
    ------
    MissingKeyError, TypeError, ValueError
        Missing slots, raw counts, fewer than two seeds, an unknown recipe or field of `Config`.

    Examples
    --------
    >>> from scmods import bmlp
    >>> adata = bmlp.planted(120, 40, n_module=5)
    >>> bmlp.split(adata)
    >>> table = bmlp.seed_stability(adata, target="targets", seeds=(0, 1), n_genes=5, n_epochs=2, d_hidden=4)
    >>> list(table.columns)
    ['output', 'jaccard', 'chance', 'r2']
    """
    import pandas as pd

    _checks.one_of("recipe", recipe, ("repaired", "original", "untrained"))
    if len(seeds) < 2:
        _checks.fail(f"`seeds` is {list(seeds)}, but comparing needs at least two.", "Write seeds=range(5).")
    _checks.integer("n_genes", n_genes, 1, adata.n_vars)
    rows, y = parts(adata, split_key), tools.target_matrix(adata, target)
    z, _ = tools.scaled(adata, layer, rows["train"])
    x, t = (torch.as_tensor(a, dtype=torch.float32) for a in (z, y))
    make = Config.repaired if recipe == "repaired" else Config.original
    loss = "mse" if recipe == "repaired" else "l1"
    loadings, r2 = [], []
    for seed in seeds:
        model = ScBMLPRegressor(
            make(z.shape[1], y.shape[1], **(changes | {"seed": int(seed), "device": device})), loss
        )
        if recipe != "untrained":
            model.fit(*((x[rows[k]], t[rows[k]]) for k in ("train", "val")))
        with torch.no_grad():
            r2.append(stats.r2(y[rows["test"]], model(x[rows["test"]]).double().numpy()))
        reader = tools.readable(model)
        loadings.append(reader.eigenmodes(1)[1][:, :, 0].T.numpy())
    chance = stats.chance_jaccard(n_genes, n_genes, adata.n_vars)
    return pd.DataFrame(
        {"output": np.arange(y.shape[1]), "jaccard": _jaccards(loadings, n_genes), "chance": chance,
         "r2": np.mean(r2, axis=0)}
    )  # fmt: skip


def module_stability(
    adata: AnnData, model: QuadraticModel, *, layer: str | None = None, n_subsamples: int = 10, fraction: float = 0.8,
    n_genes: int = 50, seed: int = 0, key_added: str = "bmlp",
) -> pd.DataFrame:  # fmt: skip
    """How often every gene returns to its module when the closed form is fitted on part of the cells.

    The mode followed is the one of the full fit that contributes most on held-out cells; in a subsample it is
    the mode whose loadings agree best with it. Ridge and c are kept.

    Parameters
    ----------
    adata
        Annotated data after `fit`; ``X`` or the layer, the fitted target in ``obsm``, ``uns["bmlp"]`` and
        ``varm["bmlp_modes"]`` are read.
    model
        Closed-form model from `fit`.
    layer
        Logged expression; by default the matrix that `fit` read. Z-scored over all cells.
    n_subsamples, fraction
        Number of subsamples and their share of the cells.
    n_genes
        Size of a module by absolute loading, both ends together.
    seed
        Seed of the draws, of a generator of its own.
    key_added
        Prefix given to `fit`, also that of the key that is written.

    Returns
    -------
    One row per output: ``jaccard`` (mean over pairs of subsamples), ``chance``, ``cosine`` (mean agreement with the
    full fit's mode). ``varm["bmlp_stability"]`` gets the share of subsamples that hold the gene, (genes, outputs);
    chance is n_genes / genes.

    Raises
    ------
    MissingKeyError, TypeError, ValueError
        No fit under this prefix, a model that is not the closed form, numbers outside their range.

    Examples
    --------
    >>> from scmods import bmlp
    >>> adata = bmlp.planted(120, 40, n_module=5)
    >>> bmlp.split(adata)
    >>> model = bmlp.fit(adata, target="targets")
    >>> bmlp.module_stability(adata, model, n_subsamples=2, n_genes=5).shape
    (3, 4)
    """
    import pandas as pd

    if not isinstance(model, QuadraticModel):
        _checks.fail(
            f"`model` is a {type(model).__name__}, but must be the closed-form model of `bmlp.fit(adata)`.",
            "For a trained layer use bmlp.seed_stability(adata).",
            kind=TypeError,
        )
    _checks.integer("n_subsamples", n_subsamples, 2)
    _checks.integer("n_genes", n_genes, 1, adata.n_vars)
    _checks.number("fraction", fraction, 0.05, 0.99)
    info, keys = tools.info_of(adata, key_added), Keys(key_added)
    y = tools.target_matrix(adata, info["target"])
    z, _ = tools.scaled(adata, layer or info["layer"] or None, None)
    best = np.argmax(info["contribution"], axis=1)
    full = np.stack([adata.varm[keys.modes][:, k, o] for o, k in enumerate(best)], axis=1)
    rng = np.random.default_rng(seed)
    runs, cosines = [], []
    for _ in range(n_subsamples):
        rows = np.sort(rng.permutation(len(z))[: round(fraction * len(z))])
        loading, cosine = _matched_modes(z[rows], y[rows], model, full)
        runs.append(loading)
        cosines.append(cosine)
    share = np.zeros_like(full)
    for weight in runs:
        for o, top in enumerate(top_sets(weight, n_genes)):
            share[list(top), o] += 1 / n_subsamples
    adata.varm[keys.stability] = share
    chance = stats.chance_jaccard(n_genes, n_genes, adata.n_vars)
    return pd.DataFrame(
        {"output": np.arange(y.shape[1]), "jaccard": _jaccards(runs, n_genes), "chance": chance,
         "cosine": np.mean(cosines, axis=0)}
    )  # fmt: skip


def _matched_modes(
    z: np.ndarray, y: np.ndarray, model: QuadraticModel, full: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """The mode of a refit (same c and ridge) closest to a given one, among its six largest, per output."""
    from scipy.sparse.linalg import LinearOperator, eigsh

    inner, centred = z @ z.T / z.shape[1], y - y.mean(axis=0)
    out, cosines, solved = np.empty_like(full), np.empty(full.shape[1]), {}
    for o in range(full.shape[1]):
        setting = (float(model.offset[o]), float(model.ridge[o]))
        if setting not in solved:
            kernel = torch.as_tensor((setting[0] + inner) ** 2)
            kernel.diagonal().add_(setting[1])
            solved[setting] = torch.linalg.cholesky(kernel)
        dual = torch.cholesky_solve(torch.as_tensor(centred[:, o : o + 1]), solved[setting])[:, 0].numpy()
        operator = LinearOperator(
            (z.shape[1],) * 2, matvec=lambda v, a=dual: z.T @ (a * (z @ v.ravel())), dtype=np.float64
        )
        k = min(6, z.shape[1] - 1)
        _, vectors = eigsh(operator, k=k, which="LM", v0=full[:, o] + 1e-3, tol=1e-6)
        agreement = np.abs(vectors.T @ full[:, o])
        cosines[o] = agreement.max()
        out[:, o] = vectors[:, agreement.argmax()]
    return out, cosines
