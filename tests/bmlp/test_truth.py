"""Planted modules come back: by both signs of a product, from counts too, and where correlation is blind."""

import numpy as np
import pytest

from scmods import bmlp

TARGETS = ["square", "product", "product, top mode", "mixed, quadratic", "mixed, linear"]
# One c saves three fourths of the time. It was fixed with the truth at hand; the chapter, and the test from counts,
# let leave-one-out choose.
C = (0.03,)


def study(seed, *, counts):
    adata = bmlp.planted(1500, 500, counts=counts, seed=seed)
    if counts:
        bmlp.preprocess(adata)
    layer = "lognorm" if counts else None
    bmlp.fit(adata, target="targets", layer=layer, split_key=None, offsets=C)
    return adata, bmlp.planted_precision(adata).set_index("target")


@pytest.mark.parametrize("seed", [0, 1])
def test_modules_are_recovered_exactly_where_correlation_is_blind(seed):
    adata, table = study(seed, counts=False)
    assert table.index.tolist() == TARGETS
    assert (table["model"] == 1.0).all()
    blind = table.drop("mixed, linear")
    assert blind["correlation"].between(0, 0.25).all()
    assert table.loc["mixed, linear", "correlation"] == 1.0
    np.testing.assert_allclose(table["chance"], [0.04, 0.08, 0.08, 0.04, 0.04])
    product = adata.uns["bmlp"]["eigenvalues"][1]
    assert product[:2].min() < 0 < product[:2].max()  # a product is one mode of either sign
    assert (adata.uns["bmlp"]["r2"] > 0.6).all()


def test_signs_of_the_modules_are_recovered():
    adata, _ = study(2, counts=False)
    truth = adata.uns["truth"]
    for mode, output, module in ((0, 0, 1), (0, 2, 1)):
        inside = truth["module"] == module
        agreement = np.sign(adata.varm["bmlp_modes"][inside, mode, output]) * truth["sign"][inside]
        assert abs(agreement.sum()) == inside.sum()  # one common sign is void, relative ones are not
        assert adata.uns["bmlp"]["eigenvalues"][output, mode] > 0
    inside = truth["module"] == 4
    np.testing.assert_array_equal(np.sign(adata.varm["bmlp_linear"][inside, 2]), truth["sign"][inside])


def test_modules_are_recovered_from_counts():
    table = bmlp.planted_study(3, counts=True)
    mean = table.groupby("target")["model"].mean()
    assert mean[["square", "mixed, quadratic"]].min() == 1.0
    assert mean.min() >= 0.95
    correlation = table.set_index("target")["correlation"]
    # the logarithm bends, so that single genes do correlate with the square of their module
    assert correlation[["product", "mixed, quadratic"]].between(0, 0.25).all()
    assert (correlation["square"] < 0.9).all()


def test_independent_genes_are_out_of_reach():
    adata = bmlp.planted(300, 400, rho=0.0, seed=0)
    bmlp.fit(adata, target="targets", split_key=None, offsets=C)
    table = bmlp.planted_precision(adata).set_index("target")
    assert table.loc["square", "model"] < 0.6


def test_simulator_keeps_its_word():
    adata = bmlp.planted(4000, 120, ceiling=0.6, seed=1)
    truth, x, y = adata.uns["truth"], np.asarray(adata.X, dtype=np.float64), adata.obsm["targets"]
    np.testing.assert_allclose(x.std(axis=0), 1.0, atol=0.06)
    s = np.stack([(x * truth["sign"])[:, truth["module"] == k].mean(axis=1) for k in range(1, 5)], axis=1)
    s = (s - s.mean(axis=0)) / s.std(axis=0)
    clean = np.stack([s[:, 0] ** 2, s[:, 1] * s[:, 2], s[:, 3] + s[:, 0] ** 2 / 2], axis=1)
    for o in range(3):
        assert np.corrcoef(clean[:, o], y[:, o])[0, 1] ** 2 == pytest.approx(0.6, abs=0.04)
        assert y[:, o].std() == pytest.approx(1.0, abs=0.05)
    one = np.flatnonzero(truth["module"] == 1)
    signed = np.corrcoef((x * truth["sign"])[:, one].T)[np.triu_indices(20, 1)]
    assert signed.mean() == pytest.approx(0.5, abs=0.04)
    assert [(truth["module"] == k).sum() for k in range(5)] == [40, 20, 20, 20, 20]
    assert adata.obs["cell_type"].value_counts().tolist() == [1000] * 4


def test_simulator_counts_and_seeds():
    adata = bmlp.planted(300, 80, counts=True, depth=2000, seed=0)
    x = np.asarray(adata.X)
    np.testing.assert_array_equal(x, np.rint(x))
    assert x.sum(axis=1).mean() == pytest.approx(2000, rel=0.05)
    np.testing.assert_array_equal(adata.layers["counts"], x)
    again, other = bmlp.planted(300, 80, counts=True, depth=2000, seed=0), bmlp.planted(300, 80, seed=1)
    np.testing.assert_array_equal(again.X, x)
    assert not np.array_equal(other.uns["truth"]["module"], adata.uns["truth"]["module"])
