"""Two builds are compared claim by claim."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from scmods._book import same_claims
from scmods._book.same_claims import differences

CLAIM = {"name": "test R2", "value": 0.5, "low": 0.4, "high": None}


def folder(place: Path, **runs: list[dict]) -> Path:
    place.mkdir()
    for key, claims in runs.items():
        (place / f"{key}.json").write_text(json.dumps({"key": key, "claims": claims}), encoding="utf-8")
    (place / "x.failed.json").write_text("{}", encoding="utf-8")
    return place


def test_equal_folders_are_equal(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    one = folder(tmp_path / "a", k1=[CLAIM, CLAIM], k2=[])
    other = folder(tmp_path / "b", k1=[CLAIM, CLAIM], k3=[CLAIM])
    assert same_claims.main([str(one), str(other)]) == 0
    assert capsys.readouterr().out == "1 runs with 2 claims compared, 0 differ; only in one: 1 + 1\n"


@pytest.mark.parametrize(
    ("changed", "text"),
    [
        ([CLAIM | {"value": 0.5000001}], "k: claim 'test R2': 0.5, in the second 0.5000001"),
        ([CLAIM | {"low": 0.3}], "k: claim 'test R2': low is 0.4, in the second 0.3"),
        ([CLAIM | {"high": 1}], "k: claim 'test R2': high is None, in the second 1"),
        ([CLAIM | {"name": "other"}], "k: claim 'test R2' stands where the second has 'other'"),
        ([], "k: claim 'test R2' is only in the first"),
        ([CLAIM, CLAIM], "k: claim 'test R2' is only in the second"),
    ],
)
def test_every_difference_is_listed(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], changed: list[dict], text: str
) -> None:
    one, other = folder(tmp_path / "a", k=[CLAIM]), folder(tmp_path / "b", k=changed)
    assert same_claims.main([str(one), str(other)]) == 1
    lines = capsys.readouterr().out.splitlines()
    assert lines[0] == text
    assert "1 differ" in lines[-1]


def test_a_tolerance_may_be_given(tmp_path: Path) -> None:
    one, other = folder(tmp_path / "a", k=[CLAIM]), folder(tmp_path / "b", k=[CLAIM | {"value": 0.5000001}])
    assert same_claims.main([str(one), str(other), "--rtol", "1e-6"]) == 0
    tiny = {"k": [CLAIM | {"value": 1e-12}]}
    assert differences(tiny, {"k": [CLAIM | {"value": 3e-12}]}, rtol=1e-6) == []
    assert differences(tiny, {"k": [CLAIM | {"value": 3e-8}]}, rtol=1e-6) != []


def test_wrong_folders_are_told(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    one, other = folder(tmp_path / "a", k=[CLAIM]), folder(tmp_path / "b", other=[CLAIM])
    assert same_claims.main([str(one), str(tmp_path / "none")]) == 2
    assert "none holds no finished run. Give two folders like .cache/runs" in capsys.readouterr().err
    assert same_claims.main([str(one), str(other)]) == 2
    assert "share no content key" in capsys.readouterr().err
