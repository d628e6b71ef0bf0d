"""The page on own data: every command, parameter, file of runs and block of code on it is one that works."""

from __future__ import annotations

import ast
import re
import shlex
from pathlib import Path

import pytest
import yaml

import scmods
import scmods.__main__ as cli
from scmods._book import limits
from scmods._book.content_key import HOME
from scmods._book.own_data import chapters, find_chapter
from scmods._book.params import assignments, parameters, resolve
from scmods._book.sweep import FIELDS

PAGE = HOME / "book" / "own_data.md"


def text() -> str:
    return PAGE.read_text(encoding="utf-8")


def blocks(language: str) -> list[str]:
    return re.findall(rf"^```{language}\n(.*?)^```", text(), flags=re.M | re.S)


def commands() -> list[str]:
    found = [line.split("  #")[0].strip() for block in blocks("bash") for line in block.splitlines()]
    return [line for line in found if line]


def test_there_are_commands_of_every_kind() -> None:
    kinds = {shlex.split(command)[3] for command in commands()}
    assert kinds == {"check", "run", "list", "sweep"}
    assert "python -m scmods check" in commands()
    for ending in (".h5ad", ".fcs"):
        assert any(
            command.startswith("python -m scmods check ") and ending in command for command in commands()
        )


@pytest.mark.parametrize("command", commands())
def test_every_command_is_one_that_the_program_takes(command: str) -> None:
    words = shlex.split(command)
    assert words[:3] == ["python", "-m", "scmods"]
    args = cli._parser().parse_args(words[3:])
    if args.command == "run":
        known = resolve(chapters()[args.chapter], assignments(args.parameter))
        limits.check_values(args.chapter, parameters(chapters()[args.chapter]), _without_files(known))
    if args.command == "list" and args.chapter:
        assert find_chapter(args.chapter)


def _without_files(known: dict) -> dict:
    return {name: value for name, value in known.items() if not str(value).endswith(".csv")}


def test_every_parameter_named_on_the_page_exists() -> None:
    everywhere = {name for path in chapters().values() for name in parameters(path)}
    page = text()
    named = set(re.findall(r"-p (\w+)=", page)) - {"name"}
    assert len(named) > 10
    assert named <= everywhere
    files = page.split("## What your file must hold")[1].split("## What you get")[0]
    sections = re.split(r"^For `(\w+)`:$", files, flags=re.M)
    assert len(sections[1::2]) >= 4
    for chapter, body in zip(sections[1::2], sections[2::2], strict=True):
        here = set(re.findall(r"-p (\w+)=", body))
        assert here <= set(parameters(chapters()[chapter])), chapter


def test_options_named_on_the_page_exist() -> None:
    for option in set(re.findall(r"`(--[a-z-]+)`", text())):
        for command in ("run bmlp", "sweep x.csv"):
            cli._parser().parse_args([*command.split(), option, "3"])


def test_both_lists_of_runs_name_chapters_and_parameters_that_exist() -> None:
    (table,) = [block for block in blocks("text") if block.startswith("chapter,")]
    head, *rows = [line.split(",") for line in table.splitlines()]
    (listed,) = [yaml.safe_load(block) for block in blocks("yaml")]
    for row in rows:
        given = {n: v for n, v in zip(head, row, strict=True) if v and n not in FIELDS}
        resolve(chapters()[row[0]], given)
    shared = listed["defaults"]
    for run in listed["runs"]:
        assert set(run) <= set(FIELDS)
        resolve(chapters()[shared["chapter"]], shared["parameters"] | run["parameters"])


@pytest.mark.parametrize("code", blocks("python"))
def test_code_on_the_page_names_what_exists(code: str) -> None:
    tree = ast.parse(code)
    methods = set(chapters())
    for node in ast.walk(tree):
        if isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name) and node.value.id in methods:
            assert hasattr(getattr(scmods, node.value.id), node.attr), node.attr


def test_the_files_of_a_run_are_those_that_the_page_names() -> None:
    source = (HOME / "scmods" / "_book" / "own_data.py").read_text() + (
        HOME / "scmods/_book/run_folder.py"
    ).read_text()
    table = text().split("| file | content |")[1].split("\n\n")[0]
    for name in re.findall(r"`([\w.]+?)/?`", table):
        assert name in source or name in Path(HOME / "scmods/_book/claims.py").read_text(), name
