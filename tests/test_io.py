"""State on disk: what goes in comes out, what cannot is refused, a half-written file is never seen."""

from __future__ import annotations

import json
import pickle

import h5py
import numpy as np
import pytest
import torch

from scmods import MissingKeyError, io

LABELS = ["CD4/CD8", "18", "T cell (naïve)", "", "a\tb"]


@pytest.fixture
def path(tmp_path):
    return tmp_path / "state.safetensors"


def test_round_trip(path):
    rng = np.random.default_rng(0)
    arrays = {
        "CD4/CD8": rng.normal(size=(3, 4)),
        "18": np.arange(6, dtype=np.int32).reshape(2, 3).T,
        "T cell (naïve)": np.array([True, False]),
        "half": np.float16([1.5]),
        "one": np.array(2.5),
        "none": np.zeros((0, 3), np.float32),
        "big endian": np.array([1, 2], ">f8"),
        "bytes": np.array([0, 255], np.uint8),
    }
    meta = {"labels": LABELS, "deep": {"a": [1, 2.5, None, True, {"b": []}]}, "n": 2**60}
    assert io.save_state(path, arrays, meta) == path
    back, back_meta = io.load_state(path)
    assert back_meta == meta
    assert sorted(back) == sorted(arrays)
    for name, value in arrays.items():
        np.testing.assert_array_equal(back[name], value)
        assert back[name].shape == value.shape
        assert back[name].dtype == value.dtype.newbyteorder("=")


def test_module_round_trip(path):
    module = torch.nn.Linear(3, 2, dtype=torch.float64)
    io.save_state(path, module.state_dict(), {})
    again = torch.nn.Linear(3, 2, dtype=torch.float64)
    again.load_state_dict(io.load_state(path, tensors=True)[0])
    assert torch.equal(again.weight, module.weight)
    assert torch.equal(again.bias, module.bias)


@pytest.mark.parametrize(
    ("meta", "text"),
    [
        ({"a": {"b": np.float32(1)}}, r"`meta`\['a'\]\['b'\] is of type float32.*Use .item\(\)"),
        ({"a": [1, (2, 3)]}, r"`meta`\['a'\]\[1\] is of type tuple.*Use list"),
        ({"a": {3: 1}}, r"`meta`\['a'\] has the key 3 of type int.*Write '3'"),
        ({"p": torch.ones(2)}, r"`meta`\['p'\] is of type Tensor"),
        ({"x": np.int64(3)}, r"`meta`\['x'\] is of type int64"),
    ],
)
def test_meta_names_the_offender(path, meta, text):
    with pytest.raises(TypeError, match=text):
        io.save_state(path, {}, meta)
    assert not path.exists()


def test_more_refusals(path):
    with pytest.raises(ValueError, match=r"`meta`\['x'\] is nan, which JSON cannot hold"):
        io.save_state(path, {}, {"x": float("nan")})
    with pytest.raises(TypeError, match=r"`arrays\['names'\]` has type <U2.*belong in `meta`"):
        io.save_state(path, {"names": np.array(["ab"])}, {})
    with pytest.raises(TypeError, match=r"`arrays\['z'\]` has type complex128"):
        io.save_state(path, {"z": np.ones(2, complex)}, {})
    with pytest.raises(TypeError, match="is bfloat16"):
        io.save_state(path, {"b": torch.ones(2, dtype=torch.bfloat16)}, {})
    with pytest.raises(TypeError, match="`arrays` has the name 3"):
        io.save_state(path, {3: np.ones(2)}, {})
    with pytest.raises(FileNotFoundError, match="The folder .* does not exist. Make it first"):
        io.save_state(path.parent / "none" / "x.safetensors", {}, {})


def test_missing_file_names_the_nearest(path):
    io.save_state(path, {}, {})
    with pytest.raises(FileNotFoundError, match="Did you mean 'state.safetensors'"):
        io.load_state(path.with_name("stat.safetensors"))


def test_pickles_are_refused(path):
    path.write_bytes(pickle.dumps({"a": 1}))
    with pytest.raises(ValueError, match="is a pickle.*because they can run code"):
        io.load_state(path)
    torch.save({"a": torch.ones(2)}, path)
    with pytest.raises(ValueError, match=r"is a torch.save file.*weights_only=True"):
        io.load_state(path)
    with path.open("wb") as file:
        np.savez(file, a=np.ones(2))
    with pytest.raises(ValueError, match=r"is a zip archive.*numpy.load"):
        io.load_state(path)


def test_every_damaged_byte_is_noticed(path):
    io.save_state(path, {"a": np.arange(4.0)}, {"k": "v"})
    good = path.read_bytes()
    for cut in (0, 5, 40, len(good) - 1):
        path.write_bytes(good[:cut])
        with pytest.raises(ValueError, match="damaged"):
            io.load_state(path)
    for at in (len(good) - 1, len(good) - 20, good.index(b'\\"v\\"') + 2):
        path.write_bytes(good[:at] + bytes([good[at] ^ 1]) + good[at + 1 :])
        with pytest.raises(ValueError, match="checksum differs"):
            io.load_state(path)


def test_other_files_and_later_versions(path, monkeypatch):
    from safetensors.numpy import save_file

    save_file({"a": np.ones(2)}, path, metadata={"who": "else"})
    with pytest.raises(ValueError, match=r"not written by `save_state`: its header has \['who'\]"):
        io.load_state(path)
    monkeypatch.setattr(io, "VERSION", 2)
    io.save_state(path, {}, {})
    monkeypatch.setattr(io, "VERSION", 1)
    with pytest.raises(ValueError, match="has version 2, this package reads up to 1"):
        io.load_state(path)


def test_a_failed_write_keeps_the_old_file(path, monkeypatch):
    io.save_state(path, {"a": np.ones(2)}, {})
    import safetensors.numpy

    def fail(_, target, **__):
        target.write_bytes(b"half")
        raise OSError("disk full")

    monkeypatch.setattr(safetensors.numpy, "save_file", fail)
    with pytest.raises(OSError, match="disk full"):
        io.save_state(path, {"a": np.zeros(2)}, {})
    assert io.load_state(path)[0]["a"].tolist() == [1, 1]
    assert [p.name for p in path.parent.iterdir()] == ["state.safetensors"]


def test_loaded_file_can_be_replaced(path):
    io.save_state(path, {"a": np.ones(2)}, {})
    arrays, _ = io.load_state(path)
    io.save_state(path, {"a": arrays["a"] + 1}, {})
    assert arrays["a"].tolist() == [1, 1]
    assert io.load_state(path)[0]["a"].tolist() == [2, 2]


def test_stream_round_trip(tmp_path):
    path = tmp_path / "x.h5"
    x = np.random.default_rng(0).normal(size=(25, 3, 2)).astype(np.float32)
    with io.H5Writer(path, meta={"labels": LABELS}) as out:
        for start in range(0, 25, 7):
            out.append("x", x[start : start + 7])
        order = out.create("order", (25,), np.int64)
        order[10:] = np.arange(10, 25)
        order[:10] = np.arange(10)
        out.append("t", torch.ones(2, 2))
        assert not path.exists(), "the name must mean a finished file"
    with io.open_h5(path) as file:
        assert file.meta == {"labels": LABELS}
        assert file.names == ["order", "t", "x"]
        assert np.array_equal(file["x"][:], x)
        assert np.array_equal(file["order"][:], np.arange(25))
        parts = list(file.blocks("x", 10))
        assert [p for p, _ in parts] == [slice(0, 10), slice(10, 20), slice(20, 25)]
        assert np.array_equal(np.concatenate([b for _, b in parts]), x)
        assert len(list(file.blocks("x"))) == 1
        with pytest.raises(MissingKeyError, match="has no array 'order_'.*Did you mean 'order'"):
            file["order_"]
    assert [p.name for p in tmp_path.iterdir()] == ["x.h5"]


def test_interrupted_stream_keeps_the_old_file(tmp_path):
    path = tmp_path / "x.h5"
    for value in (1.0, 2.0):
        try:
            with io.H5Writer(path) as out:
                out.append("x", np.full(3, value))
                if value == 2.0:
                    raise KeyboardInterrupt
        except KeyboardInterrupt:
            pass
    with io.open_h5(path) as file:
        assert file["x"][:].tolist() == [1, 1, 1]
    assert [p.name for p in tmp_path.iterdir()] == ["x.h5"]


def test_stream_refusals(tmp_path):
    path = tmp_path / "x.h5"
    with pytest.raises(ValueError, match="is not open. Write `with H5Writer"):
        io.H5Writer(path).append("x", np.ones(2))
    with pytest.raises(TypeError, match=r"`meta`\['g'\] is of type ndarray"):
        io.H5Writer(path, meta={"g": np.ones(2)})
    with io.H5Writer(path) as out:
        out.append("x", np.ones((2, 3)))
        with pytest.raises(
            ValueError, match=r"has shape \(2, 4\) and type float64, but the array so far has \(2, 3\)"
        ):
            out.append("x", np.ones((2, 4)))
        with pytest.raises(ValueError, match="type float32, but the array so far has .* float64"):
            out.append("x", np.ones((2, 3), np.float32))
        with pytest.raises(ValueError, match="'CD4/CD8' cannot be the name.*put the labels in `meta`"):
            out.append("CD4/CD8", np.ones(2))
        with pytest.raises(ValueError, match="is a single number"):
            out.append("y", np.float64(1))


def test_open_h5_refuses(tmp_path, monkeypatch):
    path = tmp_path / "x.h5"
    with pytest.raises(FileNotFoundError, match="does not exist"), io.open_h5(path):
        pass
    path.write_bytes(b"no")
    with pytest.raises(ValueError, match="is damaged or no HDF5 file"), io.open_h5(path):
        pass
    path.write_bytes(pickle.dumps([1]))
    with pytest.raises(ValueError, match="is a pickle"), io.open_h5(path):
        pass
    with h5py.File(path, "w") as file:
        file["a"] = 1
    with (
        pytest.raises(ValueError, match=r"not written by `H5Writer`: its header has \[\]"),
        io.open_h5(path),
    ):
        pass
    monkeypatch.setattr(io, "VERSION", 2)
    with io.H5Writer(path) as out:
        out.append("x", np.ones(1))
    monkeypatch.setattr(io, "VERSION", 1)
    with pytest.raises(ValueError, match="has version 2"), io.open_h5(path):
        pass


def test_meta_is_readable_by_others(path):
    from safetensors import safe_open

    io.save_state(path, {"a": np.ones(1)}, {"labels": LABELS})
    with safe_open(path, framework="np") as file:
        assert json.loads(file.metadata()["meta"])["labels"] == LABELS
