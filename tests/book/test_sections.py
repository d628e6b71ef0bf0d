"""Sections of a notebook: where they begin, what each needs, and the notebook that starts there."""

from __future__ import annotations

import ast
import copy
from pathlib import Path

import pytest

from scmods._book import notebook_file
from scmods._book.alone import run_alone
from scmods._book.needs import bindings, loads
from scmods._book.participant import participant
from scmods._book.sections import MADE_AGAIN, head_and_sections, opening, sources, start_notebook, starts

NOTEBOOKS = sorted((Path(__file__).resolve().parents[2] / "notebooks").glob("*.ipynb"))


def needed(*code: str) -> set[str]:
    return loads((text, True) for text in code)


@pytest.mark.parametrize(
    ("code", "names"),
    [
        ("a = b", {"b"}),
        ("a = 1\nc = a", set()),
        ("a = a + 1", {"a"}),
        ("a += 1", {"a"}),
        ("x[i] = y", {"x", "i", "y"}),
        ("x.y = 1", {"x"}),
        ("if t:\n    a = 1\nprint(a)", {"t", "print", "a"}),
        ("if t:\n    a = 1\n    b = a", {"t"}),
        ("for i in v:\n    s = i\nprint(s)", {"v", "print", "s"}),
        ("for i in v:\n    pass\nelse:\n    w", {"v", "w"}),
        ("while q:\n    z", {"q", "z"}),
        ("with f() as g:\n    h = g\nh", {"f"}),
        ("[i for i in v if i > k]", {"v", "k"}),
        ("{k: v for k, v in d.items()}\nk", {"d", "k"}),
        ("[a for b in c for a in b]", {"c"}),
        ("lambda x, y=z: x + w", {"z", "w"}),
        ("def f(x, *a, k=d, **m):\n    y = x\n    return y + g + f(a)\nf(1)", {"d", "g"}),
        ("@deco\ndef f():\n    pass", {"deco"}),
        ("class A(B, metaclass=M):\n    c = d", {"B", "M", "d"}),
        ("import a.b as c, d.e\nfrom f import g as h\nc, d, h, a", {"a"}),
        ("t.query('x == @first and y > @best.z')", {"t", "first", "best"}),
        ("try:\n    a = f()\nexcept E as e:\n    print(e)\nfinally:\n    a", {"f", "E", "print", "a"}),
        ("(n := m)\nn", {"m"}),
        ("a: int = b\nc: int\nprint(f'{a} {d!r:>{w}}')", {"b", "print", "d", "w"}),
    ],
)
def test_names_that_are_read_before_they_are_written(code: str, names: set[str]) -> None:
    assert needed(code) == names


def test_optional_code_writes_nothing_for_certain() -> None:
    assert loads([("a = 1", False), ("b = a", True), ("c = b", True)]) == {"a"}


def test_bindings_tell_code_from_values() -> None:
    source = (
        "import numpy as np, os.path\nfrom a import b as c\nif t:\n    from d import e\n    v = 1\n"
        "@deco\ndef f(x):\n    inner = 1\n    return x\n[q for q in v]\nclass K:\n    z = 1\n"
    )
    found = bindings(source)
    assert found == {
        "np": "import numpy as np", "os": "import os.path", "c": "from a import b as c", "e": "from d import e",
        "v": "", "f": "@deco\ndef f(x):\n    inner = 1\n    return x", "K": "class K:\n    z = 1",
    }  # fmt: skip


def cell(kind: str, source: str, *tags: str) -> dict:
    made = {"cell_type": kind, "id": f"c{abs(hash(source)) % 10**6}", "metadata": {"tags": list(tags)}}
    return made | {"source": source} | ({"outputs": [], "execution_count": None} if kind == "code" else {})


def notebook() -> dict:
    cells = [
        cell("markdown", "# Title"),
        cell(
            "code",
            "size: int = 2  # how many\nlabel: str = 'a'  # word\ndataset: str = 'x'  # set",
            "parameters",
        ),
        cell("code", "import math"),
        cell("markdown", "(first)=\n## First `part`\nText.\n```\n## no heading\n```"),
        cell("code", "from json import dumps\nvalue = [size]\nlabel = 'b'\nunused = 3"),
        cell("code", "def twice(x):\n    return factor * x\nfactor = 2"),
        cell("markdown", "## Only prose"),
        cell("markdown", "## Second: a *long* title that goes on and on, and on"),
        cell("code", "value.append(twice(len(value)))\nshown = dumps(value)\nlabel"),
        cell("markdown", "Words.\n\n## Differences\nNone.\n\n(tasks)=\n## Exercises\nDo it."),
        cell("code", "answer = shown + str(math.pi) + str(unseen)\nunseen = 1", "solution"),
        cell("markdown", "## End"),
    ]
    return {"cells": cells, "nbformat": 4, "nbformat_minor": 5, "metadata": {}}


def test_sections_begin_at_their_headings() -> None:
    source = notebook()
    kept = copy.deepcopy(source)
    head, parts = head_and_sections(source)
    assert source == kept
    assert [c["source"].splitlines()[0][:9] for c in head] == ["# Title", "size: int", "import ma"]
    assert [p.title for p in parts] == [
        "First part", "Only prose", "Second: a *long* title that goes on and on, and on",
        "Differences", "Exercises", "End",
    ]  # fmt: skip
    assert [p.slug for p in parts][:3] == [
        "01_first-part",
        "02_only-prose",
        "03_second-a-long-title-that-goes-on-and-on",
    ]
    assert parts[2].cells[-1]["source"] == "Words."
    assert parts[4].cells[0]["source"] == "(tasks)=\n## Exercises\nDo it."
    ids = [c["id"] for c in head] + [c["id"] for p in parts for c in p.cells]
    assert len(set(ids)) == len(ids)


def test_starts_take_what_later_code_may_read() -> None:
    first, second, exercises = starts(notebook())
    assert (first.names, first.definitions) == ([], [])
    assert second.section.number == 3
    assert second.names == ["factor", "label", "value"]
    assert second.definitions == ["from json import dumps", "def twice(x):\n    return factor * x"]
    assert exercises.section.title == "Exercises"
    assert exercises.names == ["shown"], "solutions count, though participants do not get them"


def test_a_large_value_is_made_again() -> None:
    source = notebook()
    source["cells"][4]["source"] += "\nlarge = value * size"
    source["cells"][8]["source"] += "\nlarge"
    _, second, exercises = starts(source, ["large"])
    assert second.names == ["factor", "label", "value"]
    assert second.again == ["large = value * size"]
    head, _ = head_and_sections(source)
    assert opening(second, head, "demo")[-1]["source"].endswith('on-and-on")\nlarge = value * size')
    assert exercises.again == []


def test_the_start_notebook_goes_to_the_end() -> None:
    source = notebook()
    copied = participant(source)
    made = start_notebook(copied, starts(source)[1], "demo")
    texts = [c["source"] for c in made["cells"]]
    assert texts[0].startswith("# Title\n\n**Starts at “Second: a *long* title")
    assert "`demo.h5`" in texts[0]
    assert texts[3] == "from json import dumps\n\n\ndef twice(x):\n    return factor * x"
    assert texts[4].endswith('restore(globals(), "demo.h5", "03_second-a-long-title-that-goes-on-and-on")')
    assert texts[5].startswith("## Second")
    assert texts[-1] == "## End"
    assert "parameters" in notebook_file.tags(made["cells"][1])
    ids = [c["id"] for c in made["cells"]]
    assert len(set(ids)) == len(ids)


def test_a_section_runs_alone_from_its_state(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from scmods._book.state_store import write_state

    monkeypatch.chdir(tmp_path)
    source = notebook()
    second = starts(source)[1]
    write_state("demo.h5", second.section.slug, {"factor": 3, "label": "b", "value": [7]})
    head, parts = head_and_sections(source)
    code = [*sources(opening(second, head, "demo")), *parts[2].code]
    space = run_alone(second.section.slug, code)
    assert (space["shown"], space["label"], space["size"]) == ("[7, 3]", "b", 2)
    with pytest.raises(NameError, match="value"):
        run_alone("without", parts[2].code)


def test_an_error_alone_names_section_and_cell() -> None:
    with pytest.raises(ZeroDivisionError) as error:
        run_alone("07_x", ["a = 1", "b = 2\na / 0"])
    assert str(error.traceback[-1].path) == "<07_x, code cell 2>"
    assert error.traceback[-1].lineno == 1


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda p: p.stem)
def test_every_chapter_can_be_entered_anywhere(path: Path) -> None:
    """Each name that a section of a chapter reads comes from the section, the start cell or the state."""
    source = notebook_file.read(path)
    copied = participant(source)
    found = starts(source, MADE_AGAIN.get(path.stem, ()))
    assert len(found) >= 9
    assert found[0].names == []
    for start in found:
        made = start_notebook(copied, start, path.stem)
        code = sources(c for c in made["cells"])
        missing = (
            needed(*code)
            - set(start.names)
            - set(dir(__builtins__))
            - {"display"}
            - set(vars(__import__("builtins")))
        )
        assigned = {n for text in code for n in bindings(text)}
        assert missing <= assigned, f"{start.section.title}: {sorted(missing - assigned)}"
        for text in code:
            ast.parse(text)
    slugs = [s.section.slug for s in found]
    assert len(set(slugs)) == len(slugs)
