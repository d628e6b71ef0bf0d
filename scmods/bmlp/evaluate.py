"""Is it true? Baselines, number of modes, shuffled targets, and what test cells in the graph are worth."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from scmods import _checks, stats
from scmods.bmlp import tools
from scmods.bmlp.closed_form import OFFSETS, RIDGES, choose_offset, fit_quadratic, refit_low_rank
from scmods.bmlp.estimators import Config, ScBMLPRegressor
from scmods.bmlp.frequency import inductive_frequencies, parts, split
from scmods.bmlp.keys import FreqKeys
from scmods.training import TrainingPlan, train

if TYPE_CHECKING:
    import pandas as pd
    from anndata import AnnData

__all__ = [
    "baselines",
    "leakage",
    "permuted_null",
    "rank_curve",
]

MODELS = ("mean", "ridge", "kNN", "MLP", "closed form", "closed form, rank 4", "bilinear", "original")


def _predict(
    name: str,
    z: np.ndarray,
    y: np.ndarray,
    rows: dict[str, np.ndarray],
    seed: int,
    config: Config | None,
    device: str,
) -> np.ndarray:
    """Test predictions of one model. Models without early stopping use train and val cells to fit."""
    fitted, val, test = (rows[k] for k in ("train", "val", "test"))
    known = np.concatenate([fitted, val])
    if name == "mean":
        return np.broadcast_to(y[known].mean(axis=0), (len(test), y.shape[1]))
    if name.startswith("closed form"):
        fitted_on = known if name == "closed form" else fitted
        model = fit_quadratic(torch.as_tensor(z[fitted_on]), torch.as_tensor(y[fitted_on]))
        if name != "closed form":
            model, _ = refit_low_rank(model, torch.as_tensor(z[val]), torch.as_tensor(y[val]), 4)
        return model.predict(torch.as_tensor(z[test])).numpy()
    if name in ("bilinear", "original"):
        make = Config.repaired if name == "bilinear" else Config.original
        use = config if name == "bilinear" and config else make(z.shape[1], y.shape[1])
        model = ScBMLPRegressor(replace(use, seed=seed, device=device), "mse" if name == "bilinear" else "l1")
        pairs = [tuple(torch.as_tensor(a[r], dtype=torch.float32) for a in (z, y)) for r in (fitted, val)]
        model.fit(*pairs)
        with torch.no_grad():
            return model(torch.as_tensor(z[test], dtype=torch.float32)).double().numpy()
    if name == "MLP":
        return _mlp(z, y, rows, seed, device)
    return _sklearn(name).fit(z[known], y[known]).predict(z[test])


def _sklearn(name: str) -> Any:
    if name == "ridge":
        from sklearn.linear_model import RidgeCV

        return RidgeCV(np.logspace(-1, 6, 22))
    from sklearn.neighbors import KNeighborsRegressor

    return KNeighborsRegressor(10, metric="cosine")


class _MLP(torch.nn.Module):
    """One hidden layer of 64 ReLU, on the input scale and with the training of the repaired layer."""

    def __init__(self, n_inputs: int, n_outputs: int, seed: int) -> None:
        super().__init__()
        generator = torch.Generator().manual_seed(seed)
        self.first = torch.nn.utils.skip_init(torch.nn.Linear, n_inputs, 64)
        self.second = torch.nn.utils.skip_init(torch.nn.Linear, 64, n_outputs)
        with torch.no_grad():
            for layer in (self.first, self.second):
                for weight in layer.parameters():
                    weight.uniform_(-1, 1, generator=generator).div_(layer.in_features**0.5)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.second(torch.relu(self.first(x)))

    def loss(self, batch: tuple[torch.Tensor, torch.Tensor]) -> torch.Tensor:
        return ((self(batch[0]) - batch[1]) ** 2).mean()


def _mlp(z: np.ndarray, y: np.ndarray, rows: dict[str, np.ndarray], seed: int, device: str) -> np.ndarray:
    length = np.sqrt((z[rows["train"]] ** 2).sum(axis=1).mean())
    mean, std = y[rows["train"]].mean(axis=0), y[rows["train"]].std(axis=0)
    x, t = (
        torch.as_tensor(a, dtype=torch.float32) for a in (z / length, (y - mean) / np.where(std > 0, std, 1))
    )
    model = _MLP(z.shape[1], y.shape[1], seed)
    plan = TrainingPlan(
        max_epochs=60, lr=3e-3, batch_size=64, seed=seed, weight_decay=0.1, accelerator=device
    )
    pairs = [(x[rows[k]], t[rows[k]]) for k in ("train", "val")]
    train(model, pairs[0], plan=plan, validation=pairs[1])
    with torch.no_grad():
        return mean + std * model(x[rows["test"]]).double().numpy()


def baselines(
    adata: AnnData,
    *,
    target: str = "X_freq",
    layer: str | None = None,
    models: Sequence[str] = ("mean", "ridge", "kNN", "closed form", "bilinear"),
    seeds: Sequence[int] = (0, 1, 2),
    clip: float | None = None,
    config: Config | None = None,
    device: str = "cpu",
) -> pd.DataFrame:
    """Test R² of several models on the same random splits (70/15/15).

    Parameters
    ----------
    adata
        Annotated data; ``X`` or `layer` and ``obsm[target]`` are read; stored splits are not.
    target, layer, clip
        As for `fit`.
    models
        Some of ``"mean"``, ``"ridge"`` (linear, ridge by leave-one-out), ``"kNN"`` (10 neighbours by cosine; an
        upper reference, because the targets ARE graph coordinates), ``"MLP"`` (64 ReLU), ``"closed form"``,
        ``"closed form, rank 4"`` (fitted on train, refitted on val), ``"bilinear"`` (repaired), ``"original"``.
    seeds
        One split per seed; the seed also starts the networks.
    config
        Recipe of ``"bilinear"``, `Config.repaired` by default.
    device
        Where networks train, see `Config`.

    Returns
    -------
    Tidy table: ``model``, ``seed``, ``output``, ``r2`` (against the mean of the test cells).

    Notes
    -----
    Models that stop early use val to stop; all others fit on train and val. Genes are scaled by the moments of
    train and val. Cost: about one fit per model and seed.

    Examples
    --------
    >>> from scmods import bmlp
    >>> adata = bmlp.planted(120, 40, n_module=5)
    >>> bmlp.split(adata)
    >>> table = bmlp.baselines(adata, target="targets", models=("mean", "closed form"), seeds=(0,))
    >>> list(table.columns), len(table)
    (['model', 'seed', 'output', 'r2'], 6)
    """
    import pandas as pd

    if isinstance(models, str):
        _checks.fail(
            f"`models` is {models!r}, but must be a list of names.",
            f"Write models=({models!r},).",
            kind=TypeError,
        )
    for name in models:
        _checks.one_of("models", name, MODELS)
    y = tools.target_matrix(adata, target)
    found = []
    for seed in seeds:
        holder = type(adata)(obs=adata.obs[[]].copy())
        split(holder, seed=seed)
        rows = parts(holder, "bmlp_split")
        z, _ = tools.scaled(adata, layer, np.concatenate([rows["train"], rows["val"]]), clip)
        for name in models:
            r2 = stats.r2(y[rows["test"]], _predict(name, z, y, rows, seed, config, device))
            found.append(
                pd.DataFrame({"model": name, "seed": seed, "output": np.arange(y.shape[1]), "r2": r2})
            )
    return pd.concat(found, ignore_index=True)


def rank_curve(
    adata: AnnData, *, target: str = "X_freq", layer: str | None = None, ranks: Sequence[int] = (0, 1, 2, 4, 8, 16),
    split_key: str = "bmlp_split",
) -> pd.DataFrame:  # fmt: skip
    """How many modes an output needs: test R² of the closed form with its r largest modes, refitted on val.

    Parameters
    ----------
    adata
        Annotated data after `split`; ``X`` or `layer`, ``obsm[target]`` and ``obs[split_key]`` are read.
    target
        Key of ``obsm``: (cells, outputs), the frequencies by default.
    layer
        Logged expression, ``adata.X`` by default; raw counts are refused.
    ranks
        Numbers of modes to keep; 0 leaves the linear part. At most as many as there are genes or train cells, and 3
        fewer than val cells.
    split_key
        Column of `split`: fitted on train, refitted on val, judged on test.

    Returns
    -------
    ``output``, ``rank``, ``r2`` (test) and ``r2_val`` (leave-one-out on the val cells: choose the rank by it).

    Raises
    ------
    MissingKeyError, TypeError, ValueError
        Missing slots, raw counts, NaN, or a rank that is too large.

    Examples
    --------
    >>> from scmods import bmlp
    >>> adata = bmlp.planted(120, 40, n_module=5)
    >>> bmlp.split(adata)
    >>> table = bmlp.rank_curve(adata, target="targets", ranks=(0, 1, 2))
    >>> table.shape
    (9, 4)
    """
    import pandas as pd

    rows, y = parts(adata, split_key), tools.target_matrix(adata, target)
    z, _ = tools.scaled(adata, layer, rows["train"])
    x = {k: (torch.as_tensor(z[r]), torch.as_tensor(y[r])) for k, r in rows.items()}
    model = fit_quadratic(*x["train"])
    _, modes = model.eigenmodes(max(ranks))
    found = []
    for rank in ranks:
        _checks.integer("ranks", rank, 0, min(len(rows["val"]) - 3, len(rows["train"]), adata.n_vars))
        small, loo = refit_low_rank(model, *x["val"], rank, modes=modes)
        r2 = stats.r2(y[rows["test"]], small.predict(x["test"][0]).numpy())
        val = stats.r2(y[rows["val"]], loo.numpy())
        found.append(pd.DataFrame({"output": np.arange(y.shape[1]), "rank": rank, "r2": r2, "r2_val": val}))
    return pd.concat(found, ignore_index=True)


def permuted_null(
    adata: AnnData, *, target: str = "X_freq", layer: str | None = None, n_perms: int = 20, seed: int = 0,
    split_key: str = "bmlp_split",
) -> pd.DataFrame:  # fmt: skip
    """The closed form (dual) on targets whose cells were shuffled: ridge and refit chosen anew for each.

    Parameters
    ----------
    adata
        Annotated data after `split`; ``X`` or `layer`, ``obsm[target]`` and ``obs[split_key]`` are read.
    target
        Key of ``obsm``: (cells, outputs), the frequencies by default.
    layer
        Logged expression, ``adata.X`` by default; raw counts are refused.
    n_perms
        Number of shuffles; all outputs of a cell move together.
    seed
        Seed of the shuffles, of a generator of its own.
    split_key
        Column of `split`: fitted on train and val, judged on test.

    Returns
    -------
    One row per output: ``r2`` (test), ``null_r2_mean``, ``null_r2_max`` over the permutations; ``gain``: R² of the
    whole model minus R² of its linear part; ``p_value`` of r2 and ``p_interaction`` of gain by the +1 rule, so
    at least 1 / (n_perms + 1).

    Raises
    ------
    MissingKeyError, TypeError, ValueError
        Missing slots, raw counts, NaN, or no permutation.

    Notes
    -----
    All permutations share one eigendecomposition: c is the one that the observed targets choose.

    Examples
    --------
    >>> from scmods import bmlp
    >>> adata = bmlp.planted(120, 40, n_module=5)
    >>> bmlp.split(adata)
    >>> list(bmlp.permuted_null(adata, target="targets", n_perms=2).columns)
    ['output', 'r2', 'null_r2_mean', 'null_r2_max', 'p_value', 'gain', 'p_interaction']
    """
    import pandas as pd

    _checks.integer("n_perms", n_perms)
    rows, y = parts(adata, split_key), tools.target_matrix(adata, target)
    rng, outputs = np.random.default_rng(seed), y.shape[1]
    stacked = np.concatenate([y] + [y[rng.permutation(len(y))] for _ in range(n_perms)], axis=1)
    known = np.concatenate([rows["train"], rows["val"]])
    z, _ = tools.scaled(adata, layer, known)
    x = torch.as_tensor(z)
    observed = torch.as_tensor(y[known])
    grid = torch.tensor(RIDGES, dtype=torch.float64)
    c = choose_offset(x[known], observed - observed.mean(dim=0), adata.n_vars, OFFSETS, grid)
    model = fit_quadratic(x[known], torch.as_tensor(stacked[known]), offsets=(c,))
    linear, quadratic = (t.numpy() for t in model.parts(x[rows["test"]]))
    truth = stacked[rows["test"]]
    whole = stats.r2(truth, model.intercept.numpy() + linear + quadratic)
    flat = stats.r2(truth, model.intercept.numpy() + linear + quadratic.mean(axis=0))
    r2, gain = (v.reshape(n_perms + 1, outputs) for v in (whole, whole - flat))
    return pd.DataFrame(
        {
            "output": np.arange(outputs),
            "r2": r2[0],
            "null_r2_mean": r2[1:].mean(axis=0),
            "null_r2_max": r2[1:].max(axis=0),
            "p_value": stats.permutation_pvalue(r2[0], r2[1:]),
            "gain": gain[0],
            "p_interaction": stats.permutation_pvalue(gain[0], gain[1:]),
        }
    )


def leakage(
    adata: AnnData, *, key_added: str = "freq", split_key: str = "bmlp_split", fit_key: str = "bmlp"
) -> pd.DataFrame:
    """How much of the test R² of `fit` is owed to test cells having been in the graph.

    The closed form is fitted again to frequencies made without the test cells (`inductive_frequencies`), and
    its predictions are carried to the frequencies of all cells by a linear map, fitted on the train and val cells
    between the two sets of coordinates: they differ by a rotation.

    Parameters
    ----------
    adata
        Annotated data after `frequencies`, `split` and `fit`; what these three wrote, and the matrix or embedding
        they used, are read. Nothing is written.
    key_added
        Frequencies that were fitted.
    split_key
        Column of `split`.
    fit_key
        Prefix given to `fit`, which must have fitted these frequencies with this split.

    Returns
    -------
    One row per frequency: ``transductive`` and ``inductive`` test R², both against the frequencies of all cells.

    Examples
    --------
    >>> from scmods import bmlp
    >>> adata = bmlp.planted(120, 40, n_module=5)
    >>> bmlp.frequencies(adata, n_comps=2)
    >>> bmlp.split(adata)
    >>> model = bmlp.fit(adata)
    >>> list(bmlp.leakage(adata).columns)
    ['output', 'transductive', 'inductive']
    """
    import pandas as pd

    info, rows, keys = tools.info_of(adata, fit_key), parts(adata, split_key), FreqKeys(key_added)
    if info["target"] != keys.vectors or info["split_key"] != split_key:
        _checks.fail(
            f"`bmlp.fit` was run with target={info['target']!r} and split_key={info['split_key']!r}.",
            f"Run bmlp.fit(adata, target={keys.vectors!r}, split_key={split_key!r}) first.",
        )
    known, test = np.concatenate([rows["train"], rows["val"]]), rows["test"]
    y = tools.target_matrix(adata, keys.vectors)
    z, _ = tools.scaled(adata, info["layer"] or None, known, info["clip"] or None)
    x = torch.as_tensor(z)
    holder = inductive_frequencies(adata, key_added=key_added, split_key=split_key, copy=True)
    other = holder.obsm[f"{keys.vectors}_inductive"]
    found = fit_quadratic(x[known], torch.as_tensor(other[known])).predict(x[test]).numpy()
    turn = np.linalg.lstsq(np.c_[np.ones(len(known)), other[known]], y[known], rcond=None)[0]
    r2 = stats.r2(y[test], np.c_[np.ones(len(test)), found] @ turn)
    return pd.DataFrame({"output": np.arange(y.shape[1]), "transductive": info["r2"], "inductive": r2})
