"""Files of states are not trusted: absent, foreign, damaged and forged ones are refused."""

from __future__ import annotations

import json
from pathlib import Path

import h5py
import numpy as np
import pytest

from scmods._book import state_objects, state_store
from scmods._book.state_store import StateError, read_state, restore, sections, write_state


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return tmp_path / "a.h5"


def test_sections_and_restore(file: Path, capsys: pytest.CaptureFixture[str]) -> None:
    write_state(file, "01_a", {"x": 1})
    write_state(file, "02_b", {"x": 2, "y": [3]})
    write_state(file, "01_a", {"x": 5})
    assert sections(file) == ["01_a", "02_b"]
    space: dict = {}
    restore(space, file, "02_b")
    assert space == {"x": 2, "y": [3]}
    assert capsys.readouterr().out == "taken from a.h5: x, y\n"
    assert read_state(file, "01_a") == {"x": 5}
    assert [place for place, _ in state_store.largest(file)][:1] != []
    with pytest.raises(StateError, match=r"a.h5 has no section '02_c'. .*02_b.* There are: 01_a, 02_b"):
        read_state(file, "02_c")


def test_absent_foreign_and_other_versions_are_refused(file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(
        StateError, match=r"a.h5 does not exist in .*Open the notebook in the folder start_at/"
    ):
        read_state(file, "one")
    file.write_bytes(b"no file of this kind")
    with pytest.raises(StateError, match=r"a.h5 is damaged or is no HDF5 file. Take the file anew"):
        read_state(file, "one")
    file.unlink()
    write_state(file, "one", {"x": 1})
    monkeypatch.setattr(state_store, "__version__", "9.9")
    with pytest.raises(StateError, match=r"made by scmods .*; this is scmods 9.9 with"):
        read_state(file, "one")


def test_damage_is_found(file: Path) -> None:
    write_state(file, "one", {"x": np.arange(3000)})
    with h5py.File(file, "a") as opened:
        (name,) = opened["arrays"]
        values = opened["arrays"][name][...]
        values[7] += 1
        opened["arrays"][name][...] = values
    with pytest.raises(StateError, match=r"a.h5 is damaged: the part \w+ is not what was written"):
        read_state(file, "one")
    with h5py.File(file, "a") as opened:
        del opened["arrays"][name]
    with pytest.raises(StateError, match=r"a.h5 is damaged: the part \w+ cannot be read"):
        read_state(file, "one")


@pytest.mark.parametrize(
    ("node", "text"),
    [
        ({"t": "name", "n": 0, "module": "os", "name": "system"}, r"names os.system, but only scmods, numpy"),
        (
            {"t": "object", "n": 0, "module": "numpy", "name": "ndarray", "v": []},
            r"but only scmods, torch.nn",
        ),
        ({"t": "object", "n": 0, "module": "scmods.io", "name": "h5py", "v": []}, r"scmods.io.h5py"),
        ({"t": "name", "n": 0, "module": "torch", "name": "os"}, r"names the module torch.os"),
        (
            {"t": "name", "n": 0, "module": "numpy", "name": "gone"},
            r"numpy.gone, which this version does not have",
        ),
        (
            {"t": "object", "n": 0, "module": "scmods._book.claims", "name": "Path", "v": []},
            r"comes from pathlib",
        ),
        ({"t": "name", "n": 0, "module": "torch", "name": "os.system"}, r"names the module torch.os.system"),
        ({"t": "object", "n": 0, "module": "scmods._book.claims", "name": "claim", "v": []}, r"it is none"),
        (
            {
                "t": "method",
                "n": 1,
                "name": "gone",
                "of": {"t": "object", "n": 0, "module": "torch.nn", "name": "Linear", "v": []},
            },
            r"'gone' as a method of a torch.nn.modules.linear.Linear; it has none",
        ),
        ({"t": "pickle", "n": 0}, r"the unknown kind 'pickle'"),
        ({"t": "torch dtype", "n": 0, "v": "torch.load"}, r"'torch.load' as a number type"),
    ],
)
def test_a_forged_tree_imports_and_makes_nothing(file: Path, node: dict, text: str) -> None:
    write_state(file, "one", {})
    tree = np.frombuffer(json.dumps({"x": node}).encode(), "u1")
    with h5py.File(file, "a") as opened:
        del opened["states"]["one"]
        made = opened["states"].create_dataset("one", data=tree)
        made.attrs["sha256"] = state_store._hash(tree)
    with pytest.raises(StateError, match=text):
        read_state(file, "one")


def test_names_reach_no_further_than_their_modules(file: Path) -> None:
    """A name of a module of the list that is only imported there from elsewhere is refused, too."""
    with pytest.raises(StateError, match=r"`v`: a function cannot be stored"):
        write_state(file, "one", {"v": state_objects.importlib.import_module})
