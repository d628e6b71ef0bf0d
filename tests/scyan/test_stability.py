"""Agreement against counting pairs by hand, on labels and on models."""

from __future__ import annotations

from itertools import combinations

import numpy as np
import pandas as pd
import pytest

from scmods.scyan.stability import seed_agreement

NAMES = ["T", "B", "unclassified"]


def draw(k=4, n=200, noise=0.2, seed=0):
    rng = np.random.default_rng(seed)
    truth = rng.choice(NAMES, n, p=[0.5, 0.4, 0.1])
    return truth, [np.where(rng.random(n) < noise, rng.choice(NAMES, n), truth) for _ in range(k)]


def test_agreement_is_the_share_of_pairs():
    _, runs = draw()
    found = seed_agreement(runs)
    pairs = list(combinations(range(4), 2))
    share = np.mean([runs[i] == runs[j] for i, j in pairs], axis=0)
    np.testing.assert_allclose(found.cells["agreement"], share)
    np.testing.assert_array_equal(found.cells["unstable"], share < 0.8)
    for i, j in pairs:
        assert found.pairs.iloc[i, j] == found.pairs.iloc[j, i] == (runs[i] == runs[j]).mean()
    assert np.diag(found.pairs).tolist() == [1.0] * 4
    assert found.mean == pytest.approx(np.mean([found.pairs.iloc[i, j] for i, j in pairs]))
    for label, votes, *row in zip(found.cells["label"], found.cells["votes"], *runs, strict=True):
        assert votes == row.count(label) / 4 == max(row.count(v) for v in NAMES) / 4


def test_order_of_runs_and_missing_labels():
    _, runs = draw()
    one, other = seed_agreement(runs), seed_agreement(runs[::-1])
    pd.testing.assert_frame_equal(one.cells, other.cells)
    np.testing.assert_array_equal(one.pairs, other.pairs.iloc[::-1, ::-1])
    missing = [np.where(r == "unclassified", None, r) for r in runs]
    pd.testing.assert_frame_equal(seed_agreement(missing).cells, one.cells)


def test_the_vote_is_better_than_a_run_and_agreement_tells_where():
    truth, runs = draw(k=7, n=2000, noise=0.4)
    found = seed_agreement(runs, least=0.5)
    right = (found.cells["label"].astype(str) == truth).to_numpy()
    assert right.mean() > max((r == truth).mean() for r in runs) + 0.1
    assert right[~found.cells["unstable"]].mean() > right[found.cells["unstable"]].mean()


def test_equal_runs_agree_and_ties_go_to_the_first_population():
    truth, _ = draw()
    found = seed_agreement({"seed 0": truth, "seed 1": truth})
    assert found.mean == 1
    assert not found.cells["unstable"].any()
    assert list(found.pairs.index) == ["seed 0", "seed 1"]
    assert "2 annotations, agreement 1.000, unstable 0.0%" in repr(found)
    kind = pd.CategoricalDtype(["T", "B"])
    a, b = pd.Series(["B", "T"], dtype=kind), pd.Series(["T", "B"], dtype=kind)
    assert seed_agreement([a, b]).cells["label"].tolist() == ["T", "T"]
    assert list(seed_agreement([a, b]).cells["label"].cat.categories) == ["T", "B"]


def test_populations_in_order_of_their_stability():
    found = seed_agreement([list("TTTTBB"), list("TTTTBN"), list("TTTTNB")])
    each = found.by_population()
    assert list(each.index) == ["B", "T"]
    assert each["cells"].tolist() == [2, 4]
    np.testing.assert_allclose(each["agreement"], [1 / 3, 1])
    np.testing.assert_allclose(each["unstable"], [1, 0])


def test_models_vote_by_their_most_probable_label(ready, plain):
    found = seed_agreement([ready, plain, ready])
    labels = [m.predict_proba().idxmax(axis=1) for m in (ready, plain)]
    assert found.pairs.iloc[0, 2] == 1
    assert found.pairs.iloc[0, 1] == (labels[0] == labels[1]).mean() < 1
    assert list(found.cells.index) == list(ready.adata.obs_names)
    order = [*ready.names, "unclassified"]  # of the table
    categories = [c for c in order if c in set(labels[0]) | set(labels[1])]
    assert list(found.cells["label"].cat.categories) == categories
    part = ready.adata[:100].copy()
    assert len(seed_agreement([ready, labels[0].iloc[:100]], part).cells) == 100


@pytest.mark.parametrize(
    ("given", "kind", "text"),
    [
        ("TB", TypeError, "is of type str, but must be a list of labels or of models"),
        (pd.Series(["T"]), TypeError, "of type Series"),
        ([["T"]], ValueError, "holds 1, but at least two are needed"),
        ([["T"], "B"], TypeError, "Annotation 1 must hold one label per cell.*type str"),
        ([["T"], 3], TypeError, "Annotation 1 must hold one label per cell.*type int"),
        ([["T"], ["T", "B"]], ValueError, "Annotations 0 and 1 are of different cells: 1 and 2"),
        ([[], []], ValueError, "Annotation 0 has no cells"),
    ],
)
def test_refusals(given, kind, text):
    with pytest.raises(kind, match=text):
        seed_agreement(given)


def test_a_share_is_a_share():
    with pytest.raises(ValueError, match="`least` is 80"):
        seed_agreement([["T"], ["T"]], least=80)
