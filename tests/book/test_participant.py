"""Participant copies: no solution, no MyST mark."""

from __future__ import annotations

import copy

import pytest

from scmods._book.participant import BLANK, leaks, participant, plain


def cell(kind: str, source: str, *tags: str) -> dict:
    made = {
        "cell_type": kind,
        "id": str(abs(hash(source)))[:8],
        "metadata": {"tags": list(tags)},
        "source": source,
    }
    return made | ({"outputs": [{"x": 1}], "execution_count": 3} if kind == "code" else {})


def notebook() -> dict:
    cells = [
        cell("markdown", "(top)=\n# Title"),
        cell("code", "public_value = 12345"),
        cell(
            "markdown", "```{exercise-start} Third axis\n:label: ex-a\n```\nPlot it.\n```{exercise-end}\n```"
        ),
        cell(
            "markdown",
            "```{solution-start} ex-a\n:class: dropdown\n```\nBecause it is the third one.",
            "solution",
        ),
        cell("code", "secret_answer = 42 + 1\npublic_value = 12345", "solution"),
        cell("code", "another_secret_line()", "solution"),
        cell("markdown", "```{solution-end}\n```", "solution"),
        cell("code", "assert secret_answer", "remove-cell"),
        cell("code", "print('after')"),
    ]
    return {"cells": cells, "nbformat": 4, "nbformat_minor": 5, "metadata": {}}


def test_solutions_go_and_leave_one_blank_cell() -> None:
    source = notebook()
    kept = copy.deepcopy(source)
    made = participant(source)
    texts = [c["source"] for c in made["cells"]]
    assert texts == [
        "# Title",
        "public_value = 12345",
        "**Exercise. Third axis**\nPlot it.",
        BLANK,
        "print('after')",
    ]
    assert all(c["outputs"] == [] for c in made["cells"] if c["cell_type"] == "code")
    assert source == kept
    assert leaks(source, made) == []


def test_a_leak_is_found() -> None:
    source = notebook()
    made = participant(source)
    made["cells"][-1]["source"] += "\nsecret_answer = 42 + 1"
    assert leaks(source, made) == ["secret_answer = 42 + 1"]


def test_exercise_and_solution_in_one_cell_is_a_leak() -> None:
    source = notebook()
    source["cells"][2]["source"] += "\n```{solution-start} ex-a\n```\nBecause."
    assert "without the tag `solution`" in leaks(source, participant(source))[0]


def test_copies_are_the_same_each_time() -> None:
    assert participant(notebook()) == participant(notebook())


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("(a-label)=\n## Head", "## Head"),
        (
            "See {func}`~scmods.graph.knn` and {ref}`the part <a-label>`.",
            "See `scmods.graph.knn` and the part.",
        ),
        ("By {cite:t}`someone2020`.", "By someone2020."),
        ("[this](#a-label) one", "[this] one"),
        ("$$\nx = 1\n$$ (eq-one)", "$$\nx = 1\n$$"),
        ("$$ x $$\n", "$$ x $$"),
        ("```{admonition} Note well\n:class: tip\nText.\n```", "**Note well**\n\nText."),
        ("```python\nx: int = 1\n```\nend", "```python\nx: int = 1\n```\nend"),
        ("```{code-block} shell\nls\n```", "```shell\nls\n```"),
        ("```{math}\n:label: eq-x\nx = 1\n```", "$$\nx = 1\n$$"),
        (":::{note}\nText.\n:::", "Text."),
        ("```\nplain fence\n```", "```\nplain fence\n```"),
        ("# A\n\n\n\nb", "# A\n\nb"),
    ],
)
def test_marks_become_markdown(text: str, expected: str) -> None:
    assert plain(text) == expected
