"""The choice of genes: the rule written out, refusals."""

import anndata
import numpy as np
import pytest

from scmods import hopfield

pytestmark = pytest.mark.filterwarnings("ignore::anndata.ImplicitModificationWarning")


def cells(n_cells=60, n_genes=12, seed=0):
    """Counts in which the state of a cell on a line moves the genes; gene 0 expressed in every cell."""
    rng = np.random.default_rng(seed)
    state = rng.uniform(0, 3, n_cells)
    rate = 12 * np.exp(-((state[:, None] - np.linspace(0, 3, n_genes)) ** 2)) + 0.5
    spliced, unspliced = rng.poisson(3 * rate), rng.poisson(rate)
    spliced[:, 0] += 1
    unspliced[:, 0] += 1
    adata = anndata.AnnData(spliced.astype(np.float32))
    adata.layers["spliced"], adata.layers["unspliced"] = spliced.astype(float), unspliced.astype(float)
    adata.obs_names = [f"cell{i}" for i in range(n_cells)]
    adata.var_names = [f"g{i}" for i in range(n_genes)]
    adata.obs["time"] = state
    adata.obsm["line"] = state[:, None]
    return adata


def test_genes_are_chosen_by_shared_counts_then_by_dispersion():
    adata = cells()
    s, u = adata.layers["spliced"], adata.layers["unspliced"]
    u[:, 3] = 0  # never shared
    adata.var["gamma"] = 1.0
    adata.var.loc["g5", "gamma"] = np.nan
    adata.var.loc["g6", "gamma"] = 0.0
    hopfield.select_genes(adata, n_genes=4)
    logged = np.log1p(s * (np.median(s.sum(axis=1)) / s.sum(axis=1))[:, None])
    score = logged.var(axis=0) / logged.mean(axis=0)
    score[[3, 5, 6]] = -1
    assert set(np.flatnonzero(adata.var["hopfield_used"])) == set(np.argsort(-score)[:4])
    assert adata.var["hopfield_used"].dtype == bool
    shared = ((s + u) * ((s > 0) & (u > 0))).sum(axis=0)
    limit = int(np.median(shared))
    hopfield.select_genes(adata, min_shared_counts=limit, key_added="many")
    assert (adata.var["many_used"].to_numpy() == ((shared >= limit) & (score > 0))).all()
    adata.var["velocity_gamma"] = 1.0  # the column scvelo writes
    hopfield.select_genes(adata, degradation_key="velocity_gamma")
    assert adata.var["hopfield_used"].sum() == 11


def test_kept_genes_are_marked_whatever_their_counts():
    adata = cells()
    adata.layers["unspliced"][:, 3] = 0
    hopfield.select_genes(adata, n_genes=3, keep=["g3", "g1", "g3"])
    used = adata.var["hopfield_used"]
    assert (used.sum(), used["g3"], used["g1"]) == (3, True, True)
    hopfield.select_genes(adata, n_genes=2, keep=["g3", "g1"])
    assert list(adata.var_names[adata.var["hopfield_used"]]) == ["g1", "g3"]


def flat(name="g3"):
    adata = cells()
    adata.var["gamma"] = 1.0
    adata.var.loc[name, "gamma"] = np.nan
    return adata


def doubled():
    adata = cells()
    adata.var_names = ["g0", *adata.var_names[:-1]]
    return adata


@pytest.mark.parametrize(
    ("adata", "options", "kind", "text"),
    [
        (
            cells(),
            {"keep": ["g1", "G33"]},
            ValueError,
            r"1 of 2 genes of `keep` are not in .*\['G33'\].*Did you mean",
        ),
        (cells(), {"keep": "g1"}, TypeError, r"`keep` is 'g1', but must be a list of genes: keep=\['g1'\]"),
        (cells(), {"keep": ["g1", "g2"], "n_genes": 1}, ValueError, r"names 2 genes, but n_genes=1"),
        (
            flat(),
            {"keep": ["g1", "g3"]},
            ValueError,
            r"1 genes of `keep` have no positive degradation .*\['g3'\]",
        ),
        (doubled(), {"keep": ["g0"]}, ValueError, r"adata.var_names has 1 duplicated names: \['g0'\]"),
        (
            cells(),
            {"min_shared_counts": 10**6},
            ValueError,
            r"No gene is left: 0 of 12 .*min_shared_counts=500000",
        ),
        (cells(), {"n_genes": 0}, ValueError, r"`n_genes` is 0"),
        (cells(), {"spliced_layer": "s"}, KeyError, r"layers\['s'\]` does not exist"),
    ],
)
def test_the_choice_of_genes_refuses_by_name(adata, options, kind, text):
    with pytest.raises(kind, match=text):
        hopfield.select_genes(adata, **options)
    assert "hopfield_used" not in adata.var
