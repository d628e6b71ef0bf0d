"""Cells with planted gene modules: the answer comes with the data."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from scmods import _checks

if TYPE_CHECKING:
    from anndata import AnnData

__all__ = ["planted"]


def _expression(
    rng: np.random.Generator, n_obs: int, module: np.ndarray, sign: np.ndarray, rho: float
) -> tuple[np.ndarray, np.ndarray]:
    """Gaussian expression with one factor per module, and the standardised signed mean of every module."""
    factors = rng.normal(size=(n_obs, 4))
    x = rng.normal(size=(n_obs, len(module)))
    inside = module > 0
    x[:, inside] = (
        np.sqrt(1 - rho) * x[:, inside] + np.sqrt(rho) * sign[inside] * factors[:, module[inside] - 1]
    )
    scores = np.stack([(x * sign)[:, module == k].mean(axis=1) for k in range(1, 5)], axis=1)
    return x, (scores - scores.mean(axis=0)) / scores.std(axis=0)


def _counts(rng: np.random.Generator, x: np.ndarray, depth: int) -> np.ndarray:
    """Poisson counts whose log rates follow `x`, genes of different abundance, cells of different depth."""
    base = rng.gamma(1.0, 1.0, x.shape[1]) + 0.05
    rate = base * np.exp(x - x.var(axis=0) / 2)
    rate *= depth / rate.sum(axis=1, keepdims=True) * rng.lognormal(0, 0.2, (len(x), 1))
    return rng.poisson(rate).astype(np.float64)


def planted(
    n_obs: int = 1500,
    n_vars: int = 500,
    *,
    n_module: int = 20,
    rho: float = 0.5,
    ceiling: float = 0.8,
    counts: bool = False,
    depth: int = 3000,
    seed: int = 0,
) -> AnnData:
    r"""Simulate cells whose three targets are known functions of four gene modules.

    Genes of a module share a factor, with random signs and correlation `rho` in size. With
    :math:`s_k` the signed mean of module k, standardised, the targets are a square, a product and a mix:

    .. math:: y_0 = s_1^2, \qquad y_1 = s_2 s_3, \qquad y_2 = s_4 + s_1^2 / 2,

    each centred, scaled to variance 1, with noise added so that no model can explain more than `ceiling`.
    Correlation with single genes is blind to the first two.

    Parameters
    ----------
    n_obs, n_vars
        Cells and genes; at least four modules must fit.
    n_module
        Genes per module.
    rho
        Correlation of two genes of a module, sign aside, in [0, 1).
    ceiling
        Share of the variance of every target that the modules explain, in (0, 1].
    counts
        Poisson counts with about `depth` molecules a cell instead of Gaussian expression. The factors then
        shift log expression.
    depth
        Mean number of molecules of a cell.
    seed
        Seed of everything.

    Returns
    -------
    AnnData with

    - ``X``: float32 expression (unit variance), or counts with a copy in ``layers["counts"]``;
    - ``obsm["targets"]``: (cells, 3) float64;
    - ``obs["cell_type"]``: quartile of :math:`s_4`, as a stand-in for labels;
    - ``uns["truth"]``: ``module`` (genes, 0 for none, 1 to 4), ``sign`` (genes), ``targets`` (text), ``ceiling``.

    Raises
    ------
    TypeError, ValueError
        Values of the wrong kind or outside their range.

    Examples
    --------
    >>> from scmods import bmlp
    >>> adata = bmlp.planted(100, 40, n_module=5)
    >>> adata.shape, adata.obsm["targets"].shape, sorted(set(adata.uns["truth"]["module"].tolist()))
    ((100, 40), (100, 3), [0, 1, 2, 3, 4])
    """
    import anndata
    import pandas as pd

    _checks.integer("n_obs", n_obs, 20)
    _checks.integer("n_module", n_module, 1)
    _checks.integer("n_vars", n_vars, 4 * n_module, why=f"Four modules of {n_module} genes must fit.")
    _checks.number("rho", rho, 0.0, 0.999)
    _checks.number("ceiling", ceiling, 0.01, 1.0)
    rng = np.random.default_rng(_checks.integer("seed", seed, 0))
    module = np.zeros(n_vars, dtype=np.int64)
    module[rng.permutation(n_vars)[: 4 * n_module]] = np.repeat(np.arange(1, 5), n_module)
    sign = rng.choice([-1.0, 1.0], n_vars)
    x, scores = _expression(rng, n_obs, module, sign, rho)
    y = np.stack(
        [scores[:, 0] ** 2, scores[:, 1] * scores[:, 2], scores[:, 3] + scores[:, 0] ** 2 / 2], axis=1
    )
    y = (y - y.mean(axis=0)) / y.std(axis=0)
    y = np.sqrt(ceiling) * y + np.sqrt(1 - ceiling) * rng.normal(size=y.shape)
    if counts:
        x = _counts(rng, x, depth)
    quartile = np.searchsorted(np.quantile(scores[:, 3], [0.25, 0.5, 0.75]), scores[:, 3])
    adata = anndata.AnnData(
        x.astype(np.float32),
        obs=pd.DataFrame(
            {
                "cell_type": pd.Categorical.from_codes(
                    quartile, ["low", "lower middle", "upper middle", "high"]
                )
            },
            index=[f"cell_{i}" for i in range(n_obs)],
        ),
        var=pd.DataFrame(index=[f"gene_{j}" for j in range(n_vars)]),
    )
    if counts:
        adata.layers["counts"] = adata.X.copy()
    adata.obsm["targets"] = y
    adata.uns["truth"] = {
        "module": module,
        "sign": sign,
        "targets": ["s1 squared", "s2 times s3", "s4 plus half s1 squared"],
        "ceiling": float(ceiling),
    }
    adata.uns["source"] = {
        "dataset": "planted",
        "citation": "Simulated by scmods.bmlp.planted",
        "licence": "MIT",
        "url": "",
        "note": f"seed {seed}; X holds {'counts' if counts else 'Gaussian expression of unit variance'}.",
    }
    return adata
