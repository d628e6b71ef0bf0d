"""Average precision against the definition, and the count of pairs, cells and genes."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from anndata import AnnData
from hypothesis import given
from hypothesis import strategies as st
from sklearn.metrics import average_precision_score

from scmods._checks import MissingKeyError
from scmods.amici.recovery import average_precision, gene_recovery, pair_recovery, recovery_curve, true_pairs
from scmods.amici.simulate import semisynthetic


@pytest.fixture(scope="module")
def tissue() -> AnnData:
    return semisynthetic(300, 30, seed=1)


@pytest.fixture(scope="module")
def near(tissue: AnnData) -> np.ndarray:
    d = np.linalg.norm(tissue.obsm["spatial"][:, None] - tissue.obsm["spatial"], axis=2)
    near = np.argsort(d, axis=1)[:, 1:9]
    near[::7, -1] = -1
    return near


@given(st.lists(st.tuples(st.integers(0, 5), st.booleans()), min_size=1, max_size=40))
def test_average_precision_is_that_of_scikit_learn(rows: list[tuple[int, bool]]) -> None:
    scores, truth = (np.array(column) for column in zip(*rows, strict=True))
    if not truth.any():
        return
    assert average_precision(scores, truth) == pytest.approx(
        average_precision_score(truth, scores), abs=1e-12
    )
    # order of the rows and any increasing map change nothing
    assert average_precision(np.exp(scores[::-1]), truth[::-1]) == pytest.approx(
        average_precision(scores, truth), abs=1e-12
    )
    recall, precision = recovery_curve(scores, truth)
    assert recall[-1] == 1
    assert precision[-1] == pytest.approx(truth.mean())


def test_constant_scores_reach_the_base_rate() -> None:
    truth = np.arange(50) % 5 == 0
    assert average_precision(np.zeros(50), truth) == pytest.approx(0.2)


def test_true_pairs_are_the_entries_of_the_matrix(tissue: AnnData, near: np.ndarray) -> None:
    dense = tissue.obsp["sends"].toarray() > 0
    truth = true_pairs(tissue, near)
    for i in range(0, 300, 7):
        expected = [bool(j >= 0 and dense[i, j]) for j in near[i]]
        assert list(truth[i]) == expected
    assert truth.any()


def test_pair_recovery_of_the_truth_and_of_noise(tissue: AnnData, near: np.ndarray) -> None:
    truth = true_pairs(tissue, near)
    perfect = pair_recovery(tissue, near, truth * 2.0)
    assert perfect["sender"] == 1
    assert perfect["sender_base"] == pytest.approx(truth[near >= 0].mean())
    receives = tissue.obs["receives"].to_numpy()
    assert perfect["receiver_base"] == pytest.approx(receives.mean())
    # listed senders are all that can be found; the other receivers tie with the rest
    assert perfect["receiver"] == pytest.approx(average_precision_score(receives, truth.any(axis=1)))
    scores = np.random.default_rng(0).normal(size=near.shape)
    noise = pair_recovery(tissue, near, scores)
    assert noise["sender"] < 3 * noise["sender_base"]
    # what stands where there is no neighbour counts for nothing
    scores[near < 0] = 1e9
    assert pair_recovery(tissue, near, scores) == noise


def test_only_the_chosen_cells_count(tissue: AnnData, near: np.ndarray) -> None:
    half = np.arange(300) < 150
    scores = np.where(
        half[:, None], true_pairs(tissue, near), np.random.default_rng(0).normal(size=near.shape)
    )
    assert pair_recovery(tissue, near, scores, cells=half)["sender"] == 1
    assert pair_recovery(tissue, near, scores)["sender"] < 1


def test_gene_recovery_follows_names_not_positions(tissue: AnnData) -> None:
    truth = tissue.varm["responds"]
    rng = np.random.default_rng(0)
    parts = []
    for receiver, sender in (("T", "Mono"), ("DC", "B"), ("B", "T")):
        order = rng.permutation(len(truth))
        score = truth[receiver].to_numpy()[order] + 0.5 * rng.random(len(truth))
        parts.append(
            pd.DataFrame({"receiver": receiver, "sender": sender, "gene": truth.index[order], "score": score})
        )
    found = gene_recovery(tissue, pd.concat(parts))
    assert found == {"Mono -> T": 1.0, "B -> DC": 1.0, "mean": 1.0}
    parts[0]["score"] *= -1
    assert gene_recovery(tissue, pd.concat(parts))["Mono -> T"] < 0.6


def test_refusals(tissue: AnnData, near: np.ndarray, tiny: AnnData) -> None:
    with pytest.raises(ValueError, match="`scores` holds 1 values that are NaN"):
        average_precision([np.nan, 1], [0, 1])
    with pytest.raises(ValueError, match="nothing that is real"):
        average_precision([1, 2], [0, 0])
    with pytest.raises(ValueError, match="`scores` has 3 values and `truth` 2"):
        average_precision([1, 2, 3], [0, 1])
    with pytest.raises(ValueError, match="other values than 0 and 1"):
        average_precision([1, 2], [0, 2])
    with pytest.raises(MissingKeyError, match="'sends'.*amici.semisynthetic"):
        true_pairs(tiny, np.zeros((60, 2), dtype=int))
    with pytest.raises(ValueError, match="`neighbors` has shape"):
        true_pairs(tissue, near[:10])
    with pytest.raises(ValueError, match=r"holds 300, but `adata` has cells 0 to 299.*spatial_neighbors"):
        true_pairs(tissue, np.full((300, 1), 300))
    with pytest.raises(ValueError, match="`scores` has shape"):
        pair_recovery(tissue, near, near[:, :2].astype(float))
    with pytest.raises(ValueError, match=r"`cells` has shape \(3,\).*amici.strip"):
        pair_recovery(tissue, near, near * 1.0, cells=[1, 2, 3])
    with pytest.raises(ValueError, match=r"no true pair.*amici.cross_fit"):
        pair_recovery(semisynthetic(60, 30, mode="null"), near, near)
    with pytest.raises(MissingKeyError, match="lacks the columns"):
        gene_recovery(tissue, pd.DataFrame({"gene": []}))
    empty = pd.DataFrame({"receiver": [], "sender": [], "gene": [], "score": []})
    with pytest.raises(ValueError, match="has 0 rows for sender 'Mono' and receiver 'T'"):
        gene_recovery(tissue, empty)
