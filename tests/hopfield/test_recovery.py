"""Recovery of edges: against counting by hand, sklearn, and what the mask alone scores."""

import numpy as np
import pandas as pd
import pytest
from sklearn import metrics

from scmods.hopfield import recovery

GENES = ["a", "b", "c", "d", "e", "f"]


def truth():
    """Regulators a, b, c; d starts an edge too, but is not in the list of regulators; one self-edge."""
    t = np.zeros((6, 6))
    t[1, 0], t[2, 0], t[3, 1], t[0, 2], t[4, 2], t[5, 3], t[0, 0] = 1, -1, 1, 1, -1, 1, 1
    return pd.DataFrame(t, index=GENES, columns=GENES)


def scores(seed=0):
    return pd.DataFrame(np.random.default_rng(seed).normal(size=(6, 6)), index=GENES, columns=GENES)


def test_areas_are_those_of_sklearn_over_pairs_of_different_genes():
    s, t = scores().to_numpy(), truth().to_numpy()
    pairs = [(i, j) for i in range(6) for j in range(6) if i != j]
    inner = [(i, j) for i, j in pairs if j < 3]
    row = recovery.edge_recovery(s, t, regulators=[0, 1, 2]).loc["score"]
    for names, where in ((("auroc", "auprc"), pairs), (("tf_auroc", "tf_auprc"), inner)):
        label, size = [t[p] != 0 for p in where], [abs(s[p]) for p in where]
        assert row[names[0]] == pytest.approx(metrics.roc_auc_score(label, size))
        assert row[names[1]] == pytest.approx(metrics.average_precision_score(label, size))
    assert (row["n_pairs"], row["n_edges"], row["tf_n_pairs"], row["tf_n_edges"]) == (30, 6, 15, 5)
    right = [np.sign(s[p]) == t[p] for p in pairs if t[p]]
    assert row["sign_accuracy"] == pytest.approx(np.mean(right))


def test_true_scores_are_perfect_and_their_size_and_the_diagonal_do_not_matter():
    t = truth()
    score = t * 7.0
    np.fill_diagonal(score.values, 1e9)
    row = recovery.edge_recovery(score, t).loc["score"]
    assert (
        row[["auroc", "auprc", "tf_auroc", "tf_auprc", "sign_accuracy", "tf_sign_accuracy"]].tolist()
        == [1.0] * 6
    )
    wrong = recovery.edge_recovery(-score, t).loc["score"]
    assert wrong["auroc"] == 1
    assert wrong["sign_accuracy"] == 0


def test_rows_of_the_mask_and_of_a_perfect_masked_method():
    found = recovery.edge_recovery(scores(), truth(), regulators=["a", "b", "c"])
    mask, best = found.loc["mask"], found.loc["perfect masked"]
    # 5 of 6 edges and 10 of 24 other pairs are inside the mask; ties count half
    inside, outside = 5 / 6, 10 / 24
    assert mask["auroc"] == pytest.approx(0.5 + (inside - outside) / 2)
    assert mask["auprc"] == pytest.approx(inside * 5 / 15 + (1 - inside) * 6 / 30)
    assert mask["tf_auroc"] == 0.5
    assert mask["sign_accuracy"] == pytest.approx(3 / 6)  # 3 of 5 are positive, the sixth is outside: 0
    assert mask["tf_sign_accuracy"] == pytest.approx(3 / 5)
    assert best["auroc"] == pytest.approx(0.5 + inside / 2)
    assert best["tf_auroc"] == 1
    assert best["sign_accuracy"] == pytest.approx(5 / 6)
    assert recovery.mask_scores(truth(), regulators=["a", "b", "c"]) == pytest.approx(mask.to_dict())


def test_regulators_as_names_flags_or_positions_and_by_default_those_with_edges():
    t, s = truth(), scores()
    named = recovery.edge_recovery(s, t, regulators=["c", "a", "b"])
    for other in (np.array([True] * 3 + [False] * 3), [2, 0, 1]):
        pd.testing.assert_frame_equal(named, recovery.edge_recovery(s, t, regulators=other))
    four = recovery.edge_recovery(s, t)
    assert four.loc["mask", "tf_n_pairs"] == 20
    assert four.loc["perfect masked", "auroc"] == 1


def test_tables_are_put_in_order_and_missing_pairs_score_nothing():
    t, s = truth(), scores()
    mixed = s.sample(frac=1, random_state=0)[["f", "a", "c", "b", "e", "d"]]
    pd.testing.assert_frame_equal(recovery.edge_recovery(mixed, t), recovery.edge_recovery(s, t))
    few = s[["b", "a"]]
    whole = s.copy()
    whole[["c", "d", "e", "f"]] = 0.0
    pd.testing.assert_frame_equal(recovery.edge_recovery(few, t), recovery.edge_recovery(whole, t))
    pd.testing.assert_frame_equal(recovery.edge_recovery(few, t.to_numpy()), recovery.edge_recovery(whole, t))


def test_scores_without_information_are_at_chance():
    rng = np.random.default_rng(1)
    t = (rng.random((60, 60)) < 0.1).astype(float)
    row = recovery.edge_recovery(rng.normal(size=(60, 60)), t).loc["score"]
    assert abs(row["auroc"] - 0.5) < 0.05
    assert abs(row["auprc"] - row["n_edges"] / row["n_pairs"]) < 0.03
    assert abs(row["sign_accuracy"] - 0.5) < 0.1


def test_a_truth_without_edges_gives_nan_and_no_curve():
    none = truth() * 0
    assert np.isnan(recovery.edge_recovery(scores(), none).loc["score", "auroc"])
    with pytest.raises(ValueError, match="Of 30 pairs 0 are true edges"):
        recovery.recovery_curve(scores(), none)


@pytest.mark.parametrize("within", [False, True])
def test_curves_enclose_the_areas(within):
    rng = np.random.default_rng(0)
    t = (rng.random((30, 30)) < 0.2).astype(float)
    s = t + rng.normal(size=(30, 30))
    regs = np.arange(30) < 12
    row = recovery.edge_recovery(s, t, regulators=regs).loc["score"]
    curve = recovery.recovery_curve(s, t, regulators=regs, within=within, n_points=2000)
    roc, pr = (curve[curve["curve"] == k] for k in ("roc", "pr"))
    prefix = "tf_" if within else ""
    assert metrics.auc(roc["x"], roc["y"]) == pytest.approx(row[prefix + "auroc"])
    step = np.diff(pr["x"]) @ pr["y"].to_numpy()[1:]
    assert step == pytest.approx(row[prefix + "auprc"])
    thin = recovery.recovery_curve(s, t, n_points=20)
    assert (thin["curve"].value_counts() <= 20).all()
    ends = thin[thin["curve"] == "roc"][["x", "y"]].iloc[[0, -1]].to_numpy()
    np.testing.assert_array_equal(ends, [[0, 0], [1, 1]])


def test_refuses_what_does_not_belong_together():
    t, s = truth(), scores()
    with pytest.raises(ValueError, match=r"shape \(6, 3\), but must be square"):
        recovery.edge_recovery(s.to_numpy()[:, :3], t)
    with pytest.raises(KeyError, match=r"names 1 genes that the truth does not know: \['A2'\]"):
        recovery.edge_recovery(s.rename(index={"a": "A2"}), t)
    with pytest.raises(KeyError, match=r"holds 1 names that are not genes of the truth: \['x'\]"):
        recovery.edge_recovery(s, t, regulators=["a", "x"])
    with pytest.raises(ValueError, match=r"`regulators` has shape \(3,\), but must be \(6,\)"):
        recovery.edge_recovery(s, t, regulators=np.array([True, False, True]))
    with pytest.raises(ValueError, match="6 targets, but the truth has 5 genes"):
        recovery.edge_recovery(s, t.to_numpy()[:5, :5])
    with pytest.raises(ValueError, match=r"`score` has shape \(6, 6\), but `truth` has shape \(5, 5\)"):
        recovery.edge_recovery(s.to_numpy(), t.to_numpy()[:5, :5])
    s.iloc[2, 3] = np.nan
    with pytest.raises(ValueError, match=r"`score` holds 1 values that are NaN.*'c'"):
        recovery.edge_recovery(s, t)
