"""The AnnData face of the chapter: fit a model, read its modules, write what was found."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from scmods import _arrays, _checks, stats
from scmods.bmlp import core
from scmods.bmlp.closed_form import QuadraticModel, fit_quadratic
from scmods.bmlp.estimators import Config, ScBMLPRegressor
from scmods.bmlp.frequency import options_of_scaling, parts, refuse_counts
from scmods.bmlp.keys import Keys
from scmods.bmlp.primal import fit_quadratic_pcs
from scmods.graph import pca

if TYPE_CHECKING:
    import pandas as pd
    from anndata import AnnData

__all__ = ["fit", "modules", "top_genes"]

GRID = ("offsets", "ridges", "refit")
DUAL_CELLS = 5000  # up to here the cells x cells kernel is cheaper than the products of the components


def target_matrix(adata: AnnData, target: str) -> np.ndarray:
    """``obsm[target]`` as (cells, outputs) float64; refuses text and NaN."""
    _checks.key(adata, "obsm", target, "Run `bmlp.frequencies(adata)` first, or name your own coordinates.")
    what = f"`adata.obsm[{target!r}]`"
    values = _checks.numeric(what, adata.obsm[target])
    values = values[:, None] if values.ndim == 1 else values
    if values.ndim != 2 or values.shape[1] == 0:
        _checks.fail(
            f"{what} has shape {values.shape}, but must be (cells, outputs) with at least one output.",
            f"Name another of {_checks.listing(adata.obsm)}: target='...'.",
        )
    _checks.finite(what, values, adata.obs_names)
    return values


def scaled(
    adata: AnnData, layer: str | None, rows: np.ndarray | None, clip: float | None = None
) -> tuple[np.ndarray, _arrays.Moments]:
    """Dense z-scores of all cells with the moments of `rows` (all by default), and those moments."""
    found = refuse_counts(adata, layer)
    x = _arrays.matrix(adata, layer)
    found = found if rows is None else _arrays.moments(x, rows)
    return found.scale(_arrays.dense(x), clip), found


def _closed_form(
    adata: AnnData,
    layer: str | None,
    clip: float | None,
    n_pcs: int | None,
    rows: np.ndarray,
    y: np.ndarray,
    **grid: Any,
) -> tuple[QuadraticModel, np.ndarray | None, _arrays.Moments]:
    """Dual form, or primal form in components; z-scores of all cells where they were needed."""
    targets = torch.as_tensor(y[rows])
    if n_pcs is None and len(rows) <= DUAL_CELLS:
        z, found = scaled(adata, layer, rows, clip)
        return fit_quadratic(torch.as_tensor(z[rows]), targets, **grid), z, found
    refuse_counts(adata, layer)
    x = _arrays.matrix(adata, layer)
    found = _arrays.moments(x, rows)
    _, loadings, _ = pca(x, n_pcs or 50, clip=clip, rows=rows, moments=found)
    # not the scores of pca: after clipping those are centred again, which new cells are not
    blocks = _arrays.blocks(x, rows)
    scores = np.concatenate([found.scale(block, clip) @ loadings for _, block in blocks])
    model = fit_quadratic_pcs(
        torch.as_tensor(scores), targets, torch.as_tensor(loadings.copy()), n_genes=adata.n_vars, **grid
    )
    return model, None, found


def _blocks(
    adata: AnnData, layer: str | None, found: _arrays.Moments, clip: float | None, z: np.ndarray | None
) -> Any:
    if z is not None:
        yield slice(0, len(z)), torch.as_tensor(z)
        return
    for part, block in _arrays.blocks(_arrays.matrix(adata, layer)):
        yield part, torch.as_tensor(found.scale(block, clip))


class Bilinear:
    """A trained regressor seen as quadratic model: the same reading tools for both."""

    def __init__(self, model: ScBMLPRegressor) -> None:
        self.model = model
        self.intercept, self.linear = (t.double() for t in model.affine_on_genes())
        self.weights = tuple(t.double() for t in (model.w_l, model.w_r, model.w_p))

    def parts(self, x: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        return x @ self.linear.T, core.bilinear(x, *self.weights)

    def eigenmodes(self, n_modes: int | None = None) -> tuple[torch.Tensor, torch.Tensor]:
        values, vectors = core.eigenmodes(*self.weights)
        order = values.abs().argsort(dim=1, descending=True, stable=True)[:, :n_modes]
        return values.gather(1, order), vectors.gather(2, order[:, None].expand(-1, vectors.shape[1], -1))

    def gene_shares(self, x: torch.Tensor, output: int) -> torch.Tensor:
        return core.gene_shares(x, *self.weights[:2], self.weights[2][output])

    def interaction_matrix(self, direction: torch.Tensor) -> torch.Tensor:
        return core.interaction_matrix(*self.weights[:2], direction @ self.weights[2])


def readable(model: QuadraticModel | ScBMLPRegressor) -> QuadraticModel | Bilinear:
    """Either kind of model with the same reading methods."""
    if isinstance(model, ScBMLPRegressor):
        if model.cfg.input_scale == "unit" or model.cfg.bias:
            _checks.fail(
                "The model has input_scale='unit' or bias=True, so its weights are not a quadratic form of the cells.",
                "Train with Config.repaired(...), which scales all cells alike.",
            )
        return Bilinear(model)
    if not isinstance(model, QuadraticModel):
        _checks.fail(
            f"`model` is a {type(model).__name__}, but must be what `fit` returned.",
            "Write model = bmlp.fit(adata) and pass it on.",
            kind=TypeError,
        )
    return model


def _options(method: str, config: object, grid: dict[str, Any]) -> None:
    """Refuse options that `fit` does not know, or that belong to the other method."""
    for name in grid:
        if name not in GRID:
            _checks.fail(
                f"bmlp.fit has no argument {name!r}. Further options of the closed form: {_checks.listing(GRID)}.",
                _checks.nearest(name, GRID),
                kind=TypeError,
            )
        if method == "bilinear":
            _checks.fail(
                f"{name!r} is an option of the closed form, but method='bilinear' was asked for.",
                "Its recipe is given as config=Config.repaired(n_genes, n_outputs, ...).",
                kind=TypeError,
            )
    if config is not None and not isinstance(config, Config):
        _checks.fail(
            f"`config` is a {type(config).__name__}, but must be a Config.",
            "Write config=bmlp.Config.repaired(adata.n_vars, n_outputs, n_epochs=60).",
            kind=TypeError,
        )


def fit(
    adata: AnnData,
    *,
    target: str = "X_freq",
    method: str = "closed_form",
    layer: str | None = None,
    split_key: str | None = "bmlp_split",
    n_modes: int = 10,
    n_pcs: int | None = None,
    clip: float | None = None,
    config: Config | None = None,
    loss_fn: str = "mse",
    key_added: str = "bmlp",
    **grid: Any,
) -> QuadraticModel | ScBMLPRegressor:
    """Fit coordinates of the cells as an exactly quadratic function of their z-scored genes.

    Parameters
    ----------
    adata
        Annotated data; ``X`` or `layer`, ``obsm[target]`` and, unless None, ``obs[split_key]`` are read.
    target
        Key of ``obsm``: (cells, outputs), such as the frequencies.
    method
        ``"closed_form"``: kernel ridge with leave-one-out, on the train and val cells (it needs no
        validation cells); no seed. ``"bilinear"``: the layer trained by gradient on train, stopped on val.
    layer
        Logged expression, ``adata.X`` by default; raw counts are refused.
    split_key
        Column of `split`. ``None`` fits on all cells (closed form only); then R² is leave-one-out.
    n_modes
        Modes kept per output, by size of the eigenvalue.
    n_pcs
        Closed form in that many principal components; automatic (50) above 5,000 cells.
    clip
        Cut z-scores at this size.
    config
        Recipe of the bilinear layer, `Config.repaired` by default; holds the seed.
    loss_fn
        Loss of the bilinear layer: ``"mse"``, ``"l1"`` or ``"huber"``.
    key_added
        Prefix of the keys.
    grid
        ``offsets``, ``ridges``, ``refit`` of the closed form.

    Returns
    -------
    The fitted model; `adata` gets (default keys) ``obsm["bmlp_prediction"]``, ``varm["bmlp_modes"]`` (genes,
    modes, outputs), ``varm["bmlp_linear"]`` (genes, outputs), ``var["bmlp_mean"]``, ``var["bmlp_std"]`` and
    ``uns["bmlp"]``: ``eigenvalues`` and ``contribution`` (outputs, modes), ``r2``, ``r2_linear`` (outputs),
    ``intercept``, ``evaluated_on`` and the settings.

    Raises
    ------
    MissingKeyError, ValueError, TypeError
        Missing slots, raw counts, NaN, empty sets, an unknown method.

    Notes
    -----
    ``contribution`` is the rise of the mean squared error on the evaluated cells, over their variance, when the
    term of the mode is taken out: negative where the mode does harm. Means and scales of the genes come
    from the fitted cells only.
    """
    _checks.one_of("method", method, ("closed_form", "bilinear"))
    _checks.integer("n_modes", n_modes)
    _options(method, config, grid)
    y = target_matrix(adata, target)
    rows = {"train": np.arange(adata.n_obs)} if split_key is None else parts(adata, split_key)
    fitted = sum(len(rows[k]) for k in ("train", "val") if k in rows)
    options_of_scaling(n_pcs, clip, fitted, adata.n_vars)
    if method == "bilinear":
        if split_key is None:
            _checks.fail(
                "method='bilinear' stops by validation cells, so it needs a split.",
                "Run `bmlp.split(adata)`.",
            )
        model, z, found = _train(adata, layer, clip, rows, y, config, loss_fn)
    else:
        known = np.sort(np.concatenate([rows[k] for k in ("train", "val") if k in rows]))
        model, z, found = _closed_form(adata, layer, clip, n_pcs, known, y, **grid)
    keys, reader = Keys(key_added), readable(model)
    values, vectors = reader.eigenmodes(n_modes)
    linear, quadratic = np.empty_like(y), np.empty_like(y)
    terms = np.empty((adata.n_obs, *values.shape))
    for part, block in _blocks(adata, layer, found, clip, z):
        linear[part], quadratic[part] = (t.numpy() for t in reader.parts(block))
        terms[part] = (values * torch.einsum("ng,ogk->nok", block, vectors) ** 2).numpy()
    intercept = reader.intercept.numpy()
    adata.obsm[keys.prediction] = intercept + linear + quadratic
    adata.varm[keys.modes] = vectors.permute(1, 2, 0).contiguous().numpy()
    adata.varm[keys.linear] = reader.linear.T.contiguous().numpy()
    adata.var[keys.mean], adata.var[keys.std] = found.mean, found.std
    test = rows.get("test")
    shown = adata.obsm[keys.prediction] if test is not None else model.loo.numpy()
    adata.uns[keys.info] = {
        "method": method, "target": target, "layer": layer or "", "clip": clip or 0.0, "split_key": split_key or "",
        "eigenvalues": values.numpy(), "intercept": intercept,
        "evaluated_on": "leave-one-out" if test is None else "test",
    } | _quality(y, shown, linear, terms, intercept, test)  # fmt: skip
    return model


def _quality(
    y: np.ndarray,
    shown: np.ndarray,
    linear: np.ndarray,
    terms: np.ndarray,
    intercept: np.ndarray,
    test: np.ndarray | None,
) -> dict[str, np.ndarray]:
    rows = slice(None) if test is None else test
    residual, variance = y[rows] - shown[rows], ((y[rows] - y[rows].mean(axis=0)) ** 2).mean(axis=0)
    without = residual[:, :, None] + terms[rows]
    worse = (without**2).mean(axis=0) - (residual**2).mean(axis=0)[:, None]
    # a linear reading of the same model: the interactions at their mean over the evaluated cells
    flat = linear[rows] - linear[rows].mean(axis=0) + y[rows].mean(axis=0)
    safe = np.where(variance > 0, variance, 1.0)
    return {
        "r2": stats.r2(y[rows], shown[rows]),
        "r2_linear": stats.r2(y[rows], flat),
        "contribution": worse / safe[:, None],
    }


def _train(
    adata: AnnData,
    layer: str | None,
    clip: float | None,
    rows: dict[str, np.ndarray],
    y: np.ndarray,
    config: Config | None,
    loss_fn: str,
) -> tuple[ScBMLPRegressor, np.ndarray, _arrays.Moments]:
    z, found = scaled(adata, layer, rows["train"], clip)
    config = config or Config.repaired(adata.n_vars, y.shape[1])
    model = ScBMLPRegressor(config, loss_fn)
    pairs = [
        tuple(torch.as_tensor(a[rows[name]], dtype=torch.float32) for a in (z, y))
        for name in ("train", "val")
    ]
    model.fit(*pairs)
    return model, z, found


def info_of(adata: AnnData, key_added: str) -> dict[str, Any]:
    """What `fit` stored in ``uns``; refuses data that were not fitted."""
    _checks.key(adata, "uns", Keys(key_added).info, "Run `bmlp.fit(adata)` first.")
    return adata.uns[Keys(key_added).info]


def output_of(info: dict[str, Any], output: int) -> int:
    """The number of an output, checked against those that were fitted."""
    return _checks.integer("output", output, 0, len(info["intercept"]) - 1)


def modules(adata: AnnData, *, n_genes: int = 50, n_modes: int = 1, key_added: str = "bmlp") -> pd.DataFrame:
    """Gene modules: both ends of the modes that matter most on held-out cells.

    The output is a sum of ``eigenvalue * (v . x)²``, so the sign of v is void: genes at its positive and its
    negative end work against each other, and cells far out at EITHER end are raised when the eigenvalue is
    positive and lowered when it is negative.

    Parameters
    ----------
    adata
        Annotated data after `fit`; ``uns["bmlp"]``, ``varm["bmlp_modes"]`` and, where stored,
        ``varm["bmlp_stability"]`` are read.
    n_genes
        Genes per end; fewer where fewer have that sign.
    n_modes
        Modes per output, in order of their held-out contribution.
    key_added
        Prefix given to `fit`.

    Returns
    -------
    One row per gene with ``output``, ``mode`` (by size of its eigenvalue), ``eigenvalue``, ``contribution``,
    ``end`` (``"positive"``, ``"negative"``), ``rank``, ``gene``, ``loading``, and, after
    `module_stability`, ``stability``.

    Examples
    --------
    >>> from scmods import bmlp
    >>> adata = bmlp.planted(120, 40, n_module=5)
    >>> bmlp.split(adata)
    >>> model = bmlp.fit(adata, target="targets")
    >>> table = bmlp.modules(adata, n_genes=3)
    >>> list(table.columns)
    ['output', 'mode', 'eigenvalue', 'contribution', 'end', 'rank', 'gene', 'loading']
    """
    import pandas as pd

    info, keys = info_of(adata, key_added), Keys(key_added)
    _checks.integer("n_genes", n_genes, 1, adata.n_vars)
    _checks.integer("n_modes", n_modes, 1, info["eigenvalues"].shape[1])
    stability = adata.varm[keys.stability] if keys.stability in adata.varm else None
    found = []
    for o, contribution in enumerate(info["contribution"]):
        for mode in np.argsort(-contribution, kind="stable")[:n_modes]:
            loading = adata.varm[keys.modes][:, mode, o]
            for end, side in (("positive", 1.0), ("negative", -1.0)):
                order = np.argsort(-side * loading, kind="stable")[:n_genes]
                keep = order[side * loading[order] > 0]
                table = {
                    "output": o, "mode": int(mode), "eigenvalue": info["eigenvalues"][o, mode],
                    "contribution": contribution[mode], "end": end, "rank": np.arange(1, len(keep) + 1),
                    "gene": adata.var_names[keep], "loading": loading[keep],
                }  # fmt: skip
                if stability is not None:
                    table["stability"] = stability[keep, o]
                found.append(pd.DataFrame(table))
    return pd.concat(found, ignore_index=True)


def top_genes(
    adata: AnnData, output: int, *, n_genes: int = 50, part: str = "mode", key_added: str = "bmlp"
) -> list[str]:
    """Genes of largest absolute weight, both ends together.

    Parameters
    ----------
    adata
        Annotated data after `fit`; ``uns["bmlp"]`` and ``varm["bmlp_modes"]`` or ``varm["bmlp_linear"]`` are read.
    output
        Number of the output, from 0.
    n_genes
        How many.
    part
        ``"mode"``: the mode that contributes most on held-out cells; ``"linear"``: the linear part.
    key_added
        Prefix given to `fit`.

    Returns
    -------
    Gene names, largest first.
    """
    info, keys = info_of(adata, key_added), Keys(key_added)
    _checks.one_of("part", part, ("mode", "linear"))
    o = output_of(info, output)
    _checks.integer("n_genes", n_genes, 1, adata.n_vars)
    weight = (
        adata.varm[keys.linear][:, o]
        if part == "linear"
        else adata.varm[keys.modes][:, int(np.argmax(info["contribution"][o])), o]
    )
    return list(adata.var_names[np.argsort(-np.abs(weight), kind="stable")[:n_genes]])
