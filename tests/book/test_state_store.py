"""States of notebooks: every value comes back as it was, nothing else is stored, and no file is trusted."""

from __future__ import annotations

import json
import threading
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

import anndata
import h5py
import numpy as np
import pandas as pd
import plotly.graph_objects as go
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from scipy import sparse

from scmods import NumericalWarning, amici, bmlp, datasets, hopfield, scyan, smoother
from scmods._book.state_store import StateError, read_state, write_state


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return tmp_path / "a.h5"


def back(file: Path, **values: object) -> dict:
    write_state(file, "one", values)
    return read_state(file, "one")


def same(a: object, b: object) -> bool:
    """Equal in type and content, NaN equal to NaN."""
    if type(a) is not type(b):
        return False
    if isinstance(a, np.ndarray):
        equal = np.array_equal(a, b, equal_nan=a.dtype.kind in "fc")
        return a.dtype == b.dtype and a.shape == b.shape and equal
    if isinstance(a, dict):
        pairs = zip(a.items(), b.items(), strict=True)
        return len(a) == len(b) and all(same(k, q) and same(v, w) for (k, v), (q, w) in pairs)
    if isinstance(a, list | tuple):
        return len(a) == len(b) and all(same(v, w) for v, w in zip(a, b, strict=True))
    if isinstance(a, float | complex | np.generic) and a != a:
        return b != b
    return a == b


plain = st.one_of(
    st.none(), st.booleans(), st.integers(), st.floats(), st.text(), st.binary(), st.complex_numbers()
)
hashable = st.one_of(st.none(), st.integers(), st.text(), st.tuples(st.integers(), st.text()))
trees = st.recursive(
    plain,
    lambda inner: st.one_of(
        st.lists(inner, max_size=4),
        st.lists(inner, max_size=4).map(tuple),
        st.dictionaries(hashable, inner, max_size=4),
        st.sets(st.text(), max_size=4),
    ),
    max_leaves=12,
)
kinds = st.one_of(
    hnp.integer_dtypes(), hnp.floating_dtypes(sizes=(16, 32, 64)), hnp.complex_number_dtypes(sizes=(64, 128)),
    hnp.boolean_dtypes(), hnp.unicode_string_dtypes(min_len=1, max_len=5), hnp.datetime64_dtypes(),
)  # fmt: skip
arrays = kinds.flatmap(
    lambda d: hnp.arrays(d, hnp.array_shapes(min_dims=0, max_dims=3, min_side=0, max_side=5))
)


@pytest.fixture(scope="module")
def shelf(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("shelf") / "h.h5"


@given(trees)
@settings(max_examples=100)
def test_trees_come_back(shelf: Path, value: object) -> None:
    write_state(shelf, "one", {"v": value})
    assert same(read_state(shelf, "one")["v"], value)


@given(arrays)
def test_arrays_come_back_in_their_order(shelf: Path, value: np.ndarray) -> None:
    found = back(shelf, v=value, turned=value.T)
    same_nat = value.dtype.kind == "M" and np.array_equal(found["v"], value, equal_nan=True)
    assert same_nat or same(found["v"], value)
    assert found["turned"].flags.f_contiguous == value.T.flags.f_contiguous
    assert found["v"].flags.writeable


def test_other_plain_values(file: Path) -> None:
    values = {
        "r": range(3, 9, 2), "s": slice(None, 4), "p": Path("a") / "b", "pure": PurePosixPath("c/d"),
        "f": frozenset({1, 2}), "d": np.dtype("f4"), "x": np.float32(1.5), "i": np.int8(3), "w": np.str_("ö"),
        "o": np.array(["a", None, np.nan, 3], dtype=object), "n": np.array([[], []], dtype=object),
        "mixed": np.array([(1, "a"), None, np.arange(3)], dtype=object), "b": np.bool_(True),
    }  # fmt: skip
    found = back(file, **values)
    for name in ("r", "s", "p", "f", "d", "x", "i", "w", "b"):
        assert type(found[name]) is type(values[name])
        assert found[name] == values[name]
    assert found["pure"] == Path("c/d")
    assert str(found["o"].tolist()) == "['a', None, nan, 3]"
    assert found["n"].shape == (2, 0)
    assert found["mixed"][0] == (1, "a")
    np.testing.assert_array_equal(found["mixed"][2], np.arange(3))


def test_one_object_stays_one_object(file: Path) -> None:
    array, table = np.arange(500.0), pd.DataFrame({"a": [1]})
    ring: list = [1]
    ring.append(ring)
    found = back(file, a=array, again=[array, {"k": table}], t=table, ring=ring, copy=array.copy())
    assert found["a"] is found["again"][0]
    assert found["t"] is found["again"][1]["k"]
    assert found["ring"][1] is found["ring"]
    assert found["copy"] is not found["a"]
    with h5py.File(file) as opened:
        assert len(opened["arrays"]) == 1, "equal arrays are stored once"


def test_generators_go_on_where_they_were(file: Path) -> None:
    for kind in (np.random.PCG64, np.random.MT19937, np.random.Philox, np.random.SFC64):
        rng = np.random.Generator(kind(3))
        rng.normal(size=5)
        found = back(file, rng=rng)["rng"]
        assert (found.normal(size=4) == rng.normal(size=4)).all()
    g = torch.Generator().manual_seed(4)
    torch.rand(3, generator=g)
    found = back(file, g=g)["g"]
    assert (torch.rand(3, generator=found) == torch.rand(3, generator=g)).all()


def test_tensors(file: Path) -> None:
    weights = torch.nn.Parameter(torch.arange(6.0).reshape(2, 3))
    coo = torch.sparse_coo_tensor(
        torch.tensor([[0, 1], [1, 0]]), torch.tensor([1.0, 2.0]), (2, 2), check_invariants=True
    )
    leaf = torch.ones(3, requires_grad=True)
    found = back(file, w=weights, tied=[weights], coo=coo, leaf=leaf, t=torch.tensor(3), d=torch.float64,
                 device=torch.device("cpu"), size=torch.Size([2, 3]), none=torch.zeros(0, 4))  # fmt: skip
    assert isinstance(found["w"], torch.nn.Parameter)
    assert found["tied"][0] is found["w"]
    assert torch.equal(found["coo"].to_dense(), coo.to_dense())
    assert found["leaf"].requires_grad
    assert found["t"].shape == ()
    assert (found["d"], found["device"], found["size"]) == (torch.float64, torch.device("cpu"), (2, 3))
    assert found["none"].shape == (0, 4)
    with pytest.raises(StateError, match=r"`loss`: a tensor with a history of gradients .*\.detach\(\)"):
        write_state(file, "two", {"loss": (leaf * 2).sum()})
    with pytest.raises(
        StateError, match=r"`h`: a torch tensor of layout torch.strided and type torch.bfloat16"
    ):
        write_state(file, "two", {"h": torch.ones(2, dtype=torch.bfloat16)})


def tables() -> dict[str, pd.DataFrame | pd.Series | pd.Index]:
    frame = pd.DataFrame(
        {
            "n": [1.5, np.nan, 3], "i": pd.array([1, None, 3], dtype="Int64"), "t": ["a", None, "ö"],
            "c": pd.Categorical(["x", None, "y"], categories=["y", "unused", "x"], ordered=True),
            "b": [True, False, True], "s": pd.array(["p", None, "q"], dtype="string"),
            "d": pd.to_datetime(["2020-01-01", None, "2021-01-01"]), "cut": pd.cut([1, 5, 9], [0, 4, 10]),
            ("odd", 1): [1, 2, 3],
        },
        index=pd.Index(["u", "v", "w"], name="cell"),
    )  # fmt: skip
    frame.attrs["note"] = "kept"
    levels = pd.MultiIndex.from_product([["a", "b"], [1, 2]], names=["one", None])
    twice = pd.DataFrame(np.eye(2), columns=["same", "same"])
    return {
        "frame": frame, "empty": frame.iloc[:0], "bare": pd.DataFrame(index=frame.index), "twice": twice,
        "levels": pd.DataFrame({"v": range(4)}, index=levels), "across": pd.DataFrame(np.eye(4), columns=levels),
        "series": frame["c"].rename("z"), "numbers": pd.Series([1, 2], index=[3.5, 4.5]),
        "range": pd.RangeIndex(2, 9, 3, name="r"), "labels": pd.CategoricalIndex(["a", "b", "a"]),
    }  # fmt: skip


def test_tables(file: Path) -> None:
    values = tables()
    found = back(file, **values)
    for name, value in values.items():
        check = getattr(
            pd.testing,
            f"assert_{ {'D': 'frame', 'S': 'series'}.get(type(value).__name__[0], 'index') }_equal",
        )
        check(found[name], value)
    assert found["frame"].attrs == {"note": "kept"}
    with pytest.raises(StateError, match=r"`t`\['when'\]: a column of type datetime64\[ns, UTC\]"):
        write_state(file, "two", {"t": pd.DataFrame({"when": pd.to_datetime(["2020-01-01"], utc=True)})})


def test_sparse_and_figures(file: Path) -> None:
    matrix = sparse.random(6, 4, 0.4, random_state=0)
    values = {f"{f}_{k.__name__}": k(matrix) for f in ("csr", "csc", "coo", "dia")
              for k in (getattr(sparse, f"{f}_matrix"), getattr(sparse, f"{f}_array"))}  # fmt: skip
    found = back(file, figure=go.Figure(go.Scatter(x=[1, 2], y=[3, None])), **values)
    for name, value in values.items():
        assert type(found[name]) is type(value)
        np.testing.assert_array_equal(found[name].toarray(), value.toarray())
    assert found["figure"].data[0].x == (1, 2)
    with pytest.raises(StateError, match=r"`m`: a sparse matrix of format 'lil' .*\.tocsr\(\)"):
        write_state(file, "two", {"m": matrix.tolil()})


def test_cells_with_all_slots(file: Path, tiny_as) -> None:
    adata = tiny_as("csr")
    adata.raw = adata[:, :15].copy()
    adata.varm["load"] = np.ones((20, 2), dtype=np.float32)
    adata.obsm["frame"] = pd.DataFrame({"a": range(60)}, index=adata.obs_names)
    adata.obsp["net"] = sparse.eye(60, format="csr")
    adata.varp["corr"] = np.eye(20)
    adata.uns["deep"] = {"table": tables()["levels"], "list": [1, {"x": None}]}
    table = adata.uns["deep"]["table"]
    found = back(file, net=adata.obsp["net"], adata=adata, table=table, view=adata[::2])
    made = found["adata"]
    assert found["net"] is made.obsp["net"]
    assert found["table"] is made.uns["deep"]["table"]
    pd.testing.assert_frame_equal(made.obs, adata.obs)
    pd.testing.assert_frame_equal(made.var, adata.var)
    assert type(made.X) is type(adata.X)
    assert made.X.dtype == adata.X.dtype
    np.testing.assert_array_equal(made.X.toarray(), adata.X.toarray())
    np.testing.assert_array_equal(made.layers["counts"].toarray(), adata.layers["counts"].toarray())
    np.testing.assert_array_equal(made.obsm["X_pca"], adata.obsm["X_pca"])
    pd.testing.assert_frame_equal(made.obsm["frame"], adata.obsm["frame"])
    assert made.raw.shape == (60, 15)
    assert found["view"].n_obs == 30
    assert not found["view"].is_view
    empty = back(file, e=anndata.AnnData(obs=pd.DataFrame(index=["a", "b"])))["e"]
    assert empty.X is None
    assert empty.n_obs == 2


def test_backed_cells_are_refused(file: Path, tiny_as, tmp_path: Path) -> None:
    tiny_as("dense").write_h5ad(tmp_path / "b.h5ad")
    backed = anndata.read_h5ad(tmp_path / "b.h5ad", backed="r")
    with pytest.raises(StateError, match=r"`x`: an AnnData on disk .*\.to_memory\(\)"):
        write_state(file, "one", {"x": backed})


def test_names_of_known_modules(file: Path) -> None:
    values = {
        "a": np.log1p,
        "b": torch.nn.functional.mse_loss,
        "c": datasets.load,
        "d": pd.DataFrame,
        "e": torch.nn.Linear,
    }
    found = back(file, **values)
    assert all(found[name] is value for name, value in values.items())


def test_methods_stay_with_their_object(file: Path) -> None:
    config = bmlp.ScBMLPRegressor(bmlp.Config.repaired(5, 2, n_epochs=2))
    config.again = config.forward
    found = back(file, forward=config.forward, config=config)
    assert found["forward"].__self__ is found["config"]
    assert found["config"].again.__func__ is type(config).forward


def test_objects_of_every_chapter(file: Path) -> None:
    """What the notebooks hold between sections, small: models answer as before."""
    cells = datasets.load("random_circuit")
    toggle = hopfield.toggle(seed=0)
    field = hopfield.fit(toggle, method="least_squares", cluster_key=None)
    grid = np.stack(np.divmod(np.arange(36), 6), axis=1).astype(float)
    loss = smoother.SpatialLoss("icar", smoother.knn_weights(grid, 4), rho=0.9)
    config = bmlp.Config.repaired(5, 2, n_epochs=2)
    net = bmlp.ScBMLPRegressor(config)
    flow = scyan.RealNVP(7, 16, 7, 1, 6, zero_last=False)
    sample = datasets.load("cytometry")[:400].copy()
    with pytest.warns(NumericalWarning, match="weak spots"):
        labeller = scyan.Scyan(scyan.prepare(sample), seed=0)
    tissue = datasets.load("semisynthetic")[:300].copy()
    model = amici.AMICI(tissue, n_neighbors=5, seed=0)
    found = back(file, cells=cells, field=field, loss=loss, config=config, net=net, flow=flow,
                 labeller=labeller, sample=sample, model=model)  # fmt: skip
    points = hopfield.fixed_points(field, seed=0)
    pd.testing.assert_frame_equal(hopfield.fixed_points(found["field"], seed=0), points)
    x = torch.randn((2, 36), dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    assert torch.equal(found["loss"](x), loss(x))
    assert found["config"] == config
    z = torch.randn((4, 5), generator=torch.Generator().manual_seed(1))
    assert torch.equal(found["net"](z), net(z))
    u = x[:, :7]
    assert torch.equal(found["flow"](u, u[:, :0])[0], flow(u, u[:, :0])[0])
    weights, again = (m.module.state_dict() for m in (labeller, found["labeller"]))
    assert all(torch.equal(again[name], value) for name, value in weights.items())
    assert list(vars(found["labeller"])) == list(vars(labeller))
    assert type(found["model"]) is amici.AMICI
    assert list(vars(found["model"])) == list(vars(model))


@dataclass
class Stranger:
    value: int


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (
            {"deep": [1, threading.Lock()]},
            r"`v`\['deep'\]\[1\]: a _thread.lock cannot be stored. Keep arrays",
        ),
        (lambda x: x, r"`v`: a function cannot be stored"),
        (Stranger(1), r"`v`: a .*Stranger cannot be stored"),
        ({("a", threading.Lock()): 1}, r"key \('a', .*\) of `v`\[1\]: a _thread.lock"),
        (np.zeros(2, dtype=[("a", "f4")]), r"`v`: a numpy array of type \[\('a', '<f4'\)\] cannot be stored"),
        (pytest, r"`v`: a module cannot be stored"),
        (json.dumps, r"`v`: a function cannot be stored"),
    ],
)
def test_anything_else_is_refused_with_its_place(file: Path, value: object, text: str) -> None:
    with pytest.raises(StateError, match=text):
        write_state(file, "one", {"v": value})
    assert not file.exists(), "nothing is written when a value is refused"


def test_a_tuple_that_holds_itself_is_refused(file: Path) -> None:
    ring: list = []
    ring.append((1, ring, ring))
    assert back(file, ring=ring)["ring"][0][1][0][0] == 1
    pair = ([],)
    pair[0].append(pair)
    with pytest.raises(StateError, match=r"`p`\[0\]\[0\]: a tuple that holds itself"):
        write_state(file, "one", {"p": pair})
