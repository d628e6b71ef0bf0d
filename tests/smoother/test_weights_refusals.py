"""The text of every refusal of the graph functions."""

from __future__ import annotations

import numpy as np
import pytest

from scmods._checks import NumericalWarning
from scmods.smoother import coords as places
from scmods.smoother.weights import (
    SpatialWeightMatrix,
    distance_weights,
    knn_weights,
    scale_by_expression,
    scale_by_labels,
    scale_by_similarity,
)


def hexagons(side: int) -> np.ndarray:
    row, column = np.divmod(np.arange(side * side), side)
    return np.c_[column + 0.5 * (row % 2), row * np.sqrt(3) / 2]


def squares(side: int) -> np.ndarray:
    return np.argwhere(np.ones((side, side))).astype(float)


def scatter(n: int = 60, seed: int = 0, dims: int = 2) -> np.ndarray:
    return np.random.default_rng(seed).uniform(size=(n, dims))


BAD_COORDS = [
    (lambda: np.zeros((5, 4)), r"shape \(5, 4\), but must be spots x 2"),
    (lambda: scatter(8).T, r"shape \(2, 8\).*Transpose it"),
    (lambda: np.arange(5.0), r"shape \(5,\)"),
    (
        lambda: np.where(np.arange(16).reshape(8, 2) == 7, np.nan, squares(4)[:8]),
        r"NaN.*for 1 spots; first: \['3'\]",
    ),
    (lambda: np.ones((5, 2)), "All 5 spots have the same coordinates"),
    (
        lambda: scatter(4),
        "n_neighbors=4 needs at least 5 spots. There are 4 spots.*largest number of neighbours is 3",
    ),
]


@pytest.mark.parametrize(("make", "text"), BAD_COORDS)
@pytest.mark.filterwarnings("ignore::scmods._checks.NumericalWarning")
def test_bad_coordinates(make, text):
    with pytest.raises(ValueError, match=text):
        knn_weights(make(), 4)


def test_bad_numbers_and_types():
    x = scatter(20)
    with pytest.raises(TypeError, match="must be numeric"):
        knn_weights(np.full((5, 2), "a"))
    with pytest.raises(TypeError, match="`n_neighbors` is 2.5"):
        knn_weights(x, 2.5)
    with pytest.raises(ValueError, match="There are 20 spots: the largest number of neighbours is 19"):
        places.nearest(x, 20)
    with pytest.raises(ValueError, match="`bandwidth` is 0, but must be above 0"):
        distance_weights(x, 1.0, bandwidth=0)
    with pytest.raises(ValueError, match="`dist_metric` is 'cosine', but must be one of"):
        distance_weights(x, 1.0, dist_metric="cosine")
    with pytest.raises(
        ValueError, match=r"radius=1 reaches no pair .* nearest one is 137.*unit.*radius=205.5"
    ):
        distance_weights(137.0 * squares(4), 1.0)
    with pytest.raises(ValueError, match="A section has a single position"):
        distance_weights(np.vstack([squares(2), [[9.0, 9.0]]]), 1.0, library=[0, 0, 0, 0, 1])


def test_bad_sections_and_labels():
    x = scatter(20)
    with pytest.raises(ValueError, match="1 sections are too small: the smallest has 3 spots.*is 2"):
        knn_weights(x, 4, library=np.repeat(["a", "b"], [17, 3]))
    with pytest.raises(ValueError, match="single spot has no neighbour: drop that section"):
        knn_weights(x, 4, library=np.repeat(["a", "b"], [19, 1]))
    with pytest.raises(ValueError, match="`library` has 19 values, but there are 20 spots"):
        knn_weights(x, 4, library=np.zeros(19))
    w = knn_weights(squares(4), 4)
    with pytest.raises(ValueError, match="`labels` has 3 values, but there are 16 spots"):
        scale_by_labels(w, ["a", "b", "c"])
    missing = np.array(["a"] * 14 + [None, np.nan], dtype=object)
    with pytest.raises(ValueError, match=r"`labels` is missing for 2 of 16 spots; first: \['14', '15'\]"):
        scale_by_labels(w, missing)
    with pytest.raises(ValueError, match=r"`boundary` is 1.5, .*\[0, 1\]"):
        scale_by_labels(w, np.zeros(16), boundary=1.5)


def test_bad_similarity_and_expression():
    w = knn_weights(squares(4), 4)
    good = np.ones((16, 16))
    with pytest.raises(ValueError, match=r"`similarity` has shape \(3, 3\), but must be 16 x 16"):
        scale_by_similarity(w, np.ones((3, 3)))
    bad = good.copy()
    bad[0, 1] = bad[1, 0] = -2.0
    with pytest.raises(ValueError, match=r"negative, NaN or infinite on 2 edges; first: \(0, 1\) = -2"):
        scale_by_similarity(w, bad)
    bad[1, 0], bad[0, 1] = 1.0, 3.0
    with pytest.raises(ValueError, match=r"not symmetric: entries \((0, 1|1, 0)\).* differ by 2"):
        scale_by_similarity(w, bad)
    scale_by_similarity(
        knn_weights(squares(4), 4, mutual=False), bad
    )  # a directed graph may have directed factors
    with pytest.raises(ValueError, match=r"shape \(5, 16\).*16 spots. Transpose it"):
        scale_by_expression(w, np.ones((5, 16)))
    with pytest.raises(ValueError, match="All 5 genes are constant"):
        scale_by_expression(w, np.ones((16, 5)))
    with pytest.raises(ValueError, match="`expression` holds 1 values that are NaN"):
        scale_by_expression(w, np.where(np.arange(80).reshape(16, 5) == 4, np.nan, 1.0), reduce="none")
    with pytest.raises(ValueError, match="`reduce` is 'mean', but must be one of"):
        scale_by_expression(w, np.ones((16, 5)), reduce="mean")
    profile = np.ones((16, 5))
    profile[3] = 0
    with (
        pytest.warns(NumericalWarning, match=r"1 spots have an all-zero profile.*\['3'\]"),
        pytest.warns(NumericalWarning, match="1 of 16 spots have no neighbour"),
    ):
        scale_by_expression(w, profile, reduce="none")
    with pytest.raises(ValueError, match=r"`expr` has shape \(16, 5\), but must be genes x spots with 16"):
        SpatialWeightMatrix(w).scale_by_expr(profile)
    with pytest.raises(ValueError, match="holds no weights yet. Call `w.calc_weights_knn"):
        SpatialWeightMatrix().get_inv_cov("icar")
