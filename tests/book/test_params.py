"""Parameters cell: what is read, what is converted, what is refused."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from scmods._book.limits import check_values
from scmods._book.params import ParameterError, assignments, parameters, resolve

SOURCE = """\
dataset: str = "pbmc68k"  # name of the data
k: int = 10  # neighbours
alpha: float = 0.5  # share, in [0, 1]
flag: bool = False  # whether
keys: list[str] = ["a", "b"]  # names
sizes: list[int] = [1, 2]  # numbers
"""


def notebook(source: str = SOURCE, *, tag: str = "parameters") -> dict:
    cell = {"cell_type": "code", "metadata": {"tags": [tag]}, "source": source, "outputs": []}
    return {"nbformat": 4, "cells": [cell], "metadata": {}}


def test_every_line_is_read_with_type_default_and_help() -> None:
    found = parameters(notebook())
    assert list(found) == ["dataset", "k", "alpha", "flag", "keys", "sizes"]
    assert found["alpha"].type == "float"
    assert found["alpha"].help == "share, in [0, 1]"
    assert found["keys"].default == ["a", "b"]


def test_no_parameters_cell_means_no_parameters() -> None:
    assert parameters(notebook(tag="other")) == {}
    with pytest.raises(ParameterError, match="has no parameter 'k'. It takes: none"):
        resolve(notebook(tag="other"), {"k": 1})


@pytest.mark.parametrize(
    ("name", "given", "value"),
    [
        ("dataset", "2024", "2024"),
        ("dataset", "1e3", "1e3"),
        ("dataset", "", ""),
        ("k", "1e3", 1000),
        ("k", "12", 12),
        ("k", 12.0, 12),
        ("k", "-3", -3),
        ("k", "123456789012345678901", 123456789012345678901),
        ("alpha", "1", 1.0),
        ("alpha", "1e-3", 0.001),
        ("flag", "false", False),
        ("flag", "False", False),
        ("flag", "TRUE", True),
        ("flag", True, True),
        ("keys", "x", ["x"]),
        ("keys", "x, y", ["x", "y"]),
        ("keys", "['x,1', 'y']", ["x,1", "y"]),
        ("sizes", "1,2e1", [1, 20]),
        ("sizes", [3], [3]),
    ],
)
def test_values_take_the_declared_type(name: str, given: object, value: object) -> None:
    found = resolve(notebook(), {name: given})[name]
    assert found == value
    assert type(found) is type(value)


@pytest.mark.parametrize(
    ("name", "given", "text"),
    [
        ("k", "many", "`k` is 'many', but must be int, for instance 10"),
        ("k", "1.5", "`k` is '1.5', but must be int"),
        ("k", "nan", "`k` is 'nan', but must be int"),
        ("k", "inf", "`k` is 'inf', but must be int"),
        ("k", True, "`k` is True, but must be int"),
        ("alpha", "half", "`alpha` is 'half', but must be float, for instance 0.5"),
        ("flag", "1", "`flag` is '1', but must be bool, for instance true or false"),
        ("flag", "yes", "`flag` is 'yes', but must be bool"),
        ("dataset", 3, "`dataset` is 3, but must be str"),
        ("sizes", "1,b", "`sizes` is 'b', but must be int"),
        ("sizes", "[1", r"`sizes` must be list\[int\]: write it as a,b,c"),
        ("keys", 3, r"`keys` must be list\[str\]"),
        ("datset", "x", "has no parameter 'datset'. Did you mean 'dataset'\\? It takes: dataset, k, alpha"),
        ("K", "3", "has no parameter 'K'. Did you mean 'k'"),
        ("zzz", "3", "has no parameter 'zzz'. It takes"),
    ],
)
def test_wrong_names_and_types_are_refused(name: str, given: object, text: str) -> None:
    with pytest.raises(ParameterError, match=text):
        resolve(notebook(), {name: given})


@pytest.mark.parametrize(
    ("source", "text"),
    [
        ("k = 3", "`k = 3` is no parameter. Write one per line"),
        ("k: int", "`k: int` is no parameter"),
        ("k: int | None = None", r"the type `int \| None` of `k` is not supported"),
        ("d: dict = {}", "the type `dict` of `d` is not supported"),
        ("k: int = f(3)", "default of `k` must be a plain value"),
        ('k: int = "x"', "`k` is 'x', but must be int"),
        ("k: int = = 3", "is not Python"),
    ],
)
def test_malformed_cells_are_refused_with_the_line(source: str, text: str) -> None:
    with pytest.raises(ParameterError, match=text):
        parameters(notebook(source))


def test_a_file_is_named_in_the_message(tmp_path: Path) -> None:
    path = tmp_path / "chapter.ipynb"
    path.write_text(json.dumps(notebook()))
    with pytest.raises(ParameterError, match="chapter.ipynb has no parameter 'x'"):
        resolve(path, {"x": 1})


def test_both_forms_of_assignments() -> None:
    groups = [["a=1"], ["b", "2=3"], ["c=x y", "d="], ["e=f=g"]]
    assert assignments(groups) == {"a": "1", "b": "2=3", "c": "x y", "d": "", "e": "f=g"}


@pytest.mark.parametrize(
    ("groups", "text"),
    [
        ([["a"]], "`-p a` is not understood at 'a'. Write -p name=value"),
        ([["a=1", "bmlp"]], "not understood at 'bmlp'"),
        ([["a=1"], ["a=2"]], "`a` is given twice: '1' and '2'"),
        ([["1a=3"]], "not understood at '1a=3'"),
    ],
)
def test_malformed_assignments_are_refused(groups: list[list[str]], text: str) -> None:
    with pytest.raises(ParameterError, match=text):
        assignments(groups)


@pytest.mark.parametrize(
    ("chapter", "name", "value"),
    [
        ("scyan", "transform", "asinh:5"),
        ("smoother", "prior", "icar:x"),
        ("bmlp", "gene_sets", "a .gmt file"),
        ("bmlp", "gene_sets", "markers:2"),
        ("bmlp", "device", "cuda:x"),
        ("bmlp", "device", "auto:1"),
        ("bmlp", "device", "gpu:1"),
    ],
)
def test_no_other_word_than_the_choices_is_taken(chapter: str, name: str, value: str) -> None:
    known = parameters(notebook(f'{name}: str = "cpu"  # how'))
    with pytest.raises(ParameterError, match=f"`{name}` is '{value}', but must be one of"):
        check_values(chapter, known, {name: value})


@pytest.mark.parametrize(
    ("chapter", "name", "value"),
    [
        ("scyan", "transform", "asinh"),
        ("bmlp", "gene_sets", "own.gmt"),
        ("bmlp", "device", "cuda:1"),
        ("hopfield", "device", "mps"),
    ],
)
def test_choices_files_and_numbered_devices_are_taken(chapter: str, name: str, value: str) -> None:
    check_values(chapter, parameters(notebook(f'{name}: str = "cpu"  # how')), {name: value})
