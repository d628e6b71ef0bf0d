"""Lints of the lessons: what a teacher and a learner find at fixed places on every page.

Each lint returns the faults of one notebook as sentences; the second half breaks a sound lesson in one place
at a time, so that every lint is known to find what it is for.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import pytest

from scmods._book import notebook_file
from scmods._book.notebook_file import tags
from scmods._book.participant import leaks, participant
from scmods._book.prose import glossary, linked_terms, minutes, used_terms

ROOT = Path(__file__).resolve().parents[1]
NOTEBOOKS = sorted((ROOT / "notebooks").glob("*.ipynb"))
TERMS = list(glossary((ROOT / "book" / "glossary.md").read_text(encoding="utf-8")))
VERBS = frozenset(
    "choose compare compute correct derive expose find fit judge make name read set show solve take test train turn "
    "write".split()
)
VAGUE = re.compile(r"\b(?:understand|know|learn|appreciate|grasp|be aware|be familiar)\b", re.I)
PRACTISES = re.compile(r"^\*Practises objectives? (\d+(?:(?:, \d+)* and \d+)?)\.\* \S", re.M)
SECTION = re.compile(r"\(section \*([^*]+)\*\)\.$")
DRAWS = re.compile(r"\b(?:plots?|draw|figure)\b", re.I)
HINT = re.compile(r"^```\{admonition\} Hint\n:class: dropdown\n\S", re.M)
LEAST_TERMS = 8

# Words of the glossary that every page uses in their everyday sense, too.
COMMON = {
    "cell": "on every line of the book; every reader knows it",
    "claim": "explained where the first chapter makes its first one",
    "end": "in the end, at the end",
}
# Words that mean something else on the page than in the glossary.
OTHER_SENSE = {
    "bmlp": {"marker": "a gene of a cell type", "target": "what a model is trained on"},
    "hopfield": {
        "batch": "a block of matrices",
        "component": "strongly connected ones, of a directed graph",
        "stability": "of a state, not of a result",
    },
    "smoother": {"module": "a part of a network"},
    "scyan": {"background": "the background component, which is linked"},
    "amici": {"gate": "a condition on a number", "target": "what is predicted"},
}


def markdown(notebook: dict, *, solutions: bool = True) -> str:
    cells = (c for c in notebook["cells"] if c["cell_type"] == "markdown")
    return "\n\n".join(c["source"] for c in cells if solutions or "solution" not in tags(c))


def items(text: str, name: str) -> list[str] | None:
    """List items below a heading or bold line, up to the next one; None where there is no such line."""
    mark = re.compile(rf"^(?:#+ |\*\*){name}(?:\*\*)?\s*$", re.I | re.M)
    found = mark.search(text)
    if found is None:
        return None
    below = re.split(r"^(?:#|\*\*|[`:]{3,})", text[found.end() :], maxsplit=1, flags=re.M)[0]
    return re.findall(r"^(?:[-*]|\d+\.) +(.+(?:\n(?![-*] |\d+\. |\s*$).+)*)", below, flags=re.M)


@dataclass
class Exercise:
    """One exercise as it stands in the notebook."""

    label: str
    text: str

    @property
    def objectives(self) -> list[int]:
        found = PRACTISES.search(self.text)
        return [int(n) for n in re.findall(r"\d+", found[1])] if found else []


def exercises(notebook: dict) -> list[Exercise]:
    pattern = r"^```\{exercise-start\}[^\n]*\n:label: (\S+)\n```\n(.*?)^```\{exercise-end\}"
    found = re.findall(pattern, markdown(notebook, solutions=False), flags=re.M | re.S)
    return [Exercise(label, text) for label, text in found]


# ---- the lints ------------------------------------------------------------------------------------


def lint_frame(notebook: dict) -> list[str]:
    text, faults = markdown(notebook), []
    for name, low, high in (("questions", 1, 3), ("objectives", 5, 7), ("key points", 5, 7)):
        found = items(text, name)
        if found is None:
            faults.append(f"there is no heading or bold line {name!r}")
        elif not low <= len(found) <= high:
            faults.append(f"{len(found)} items below {name!r}, expected {low} to {high}")
    if not re.search(r"^\*\*Prerequisites\*\*\n\n\S", text, flags=re.M):
        faults.append("there is no bold line 'Prerequisites' with a paragraph below it")
    if minutes(notebook) is None:
        faults.append("the time is missing: **Time** 60 minutes taught, 30 minutes of exercises")
    return faults


def lint_objectives(notebook: dict) -> list[str]:
    found = items(markdown(notebook), "objectives") or []
    numbers = re.findall(r"^(\d+)\. ", markdown(notebook).split("**Objectives**")[-1], flags=re.M)
    faults = []
    if numbers[: len(found)] != [str(i + 1) for i in range(len(found))]:
        faults.append("objectives must be numbered 1, 2, 3, ...: exercises refer to the numbers")
    for text in found:
        verb = text.split()[0].lower()
        if verb not in VERBS:
            faults.append(f"objective begins with {verb!r}, not with what a reader will do: {text!r}")
        if VAGUE.search(text):
            faults.append(f"nobody can see whether this objective was reached: {text!r}")
    return faults


def lint_exercises(notebook: dict) -> list[str]:
    found = exercises(notebook)
    count = len(items(markdown(notebook), "objectives") or [])
    faults = [] if len(found) >= 3 else [f"{len(found)} exercises, but at least three are needed"]
    for one in found:
        if not one.objectives or not one.text.startswith("*Practises"):
            faults.append(f"exercise {one.label} must begin with *Practises objective 3.*")
        many = "objectives" in one.text.split(".")[0]
        if one.objectives and many != (len(one.objectives) > 1):
            faults.append(f"exercise {one.label} says objective for objectives")
        wrong = [n for n in one.objectives if not 1 <= n <= count]
        faults += [f"exercise {one.label} practises objective {n}, which does not exist" for n in wrong]
    return faults


def lint_practice(notebook: dict) -> list[str]:
    """Every objective has an exercise, or says which section reaches it; at least half have an exercise."""
    text = markdown(notebook)
    goals = items(text, "objectives") or []
    practised = {n for one in exercises(notebook) for n in one.objectives}
    heads = {head.strip() for head in re.findall(r"^##+ (.+)$", text, flags=re.M)}
    faults = []
    for number, goal in enumerate(goals, 1):
        section = SECTION.search(re.sub(r"\s+", " ", goal))
        if section and section[1] not in heads:
            faults.append(f"objective {number} names a section that does not exist: {section[1]!r}")
        if number not in practised and not section:
            faults.append(f"objective {number} has no exercise and no (section *Name*)")
        if number in practised and section:
            faults.append(f"objective {number} has an exercise: leave out its section")
    half = sum(n in practised for n in range(1, len(goals) + 1)) >= len(goals) / 2
    return faults if half else [*faults, "fewer than half of the objectives have an exercise"]


def lint_solutions(notebook: dict) -> list[str]:
    faults, solved, open_ = leaks(notebook, participant(notebook)), {}, None
    for cell in notebook["cells"]:
        begin = re.match(r"```\{solution-start\} (\S+)\n(:class: dropdown\n)?", cell["source"])
        if begin:
            open_ = begin[1]
            solved[open_] = 0
            faults += [] if begin[2] else [f"solution of {open_} is not folded: add :class: dropdown"]
        if open_ and "solution" not in tags(cell):
            faults.append(f"solution of {open_} holds a cell without the tag `solution`, or never ends")
            open_ = None
        if open_ and cell["cell_type"] == "code":
            solved[open_] += 1
        if "{solution-end}" in cell["source"]:
            open_ = None
    labels = [one.label for one in exercises(notebook)]
    faults += [f"exercise {label} has no solution" for label in labels if label not in solved]
    faults += [f"solution of {label}, which is no exercise here" for label in solved if label not in labels]
    return faults + [f"solution of {label} has no code to run" for label, n in solved.items() if n == 0]


def lint_hints(notebook: dict) -> list[str]:
    """Who is asked to draw gets a folded hint: what the figure looks like, in words, without the code."""
    found = exercises(notebook)
    faults = [
        f"exercise {one.label} asks for a figure and has no folded hint: ```{{admonition}} Hint"
        for one in found
        if DRAWS.search(HINT.split(one.text)[0]) and not HINT.search(one.text)
    ]
    return faults if any(HINT.search(one.text) for one in found) else [*faults, "no exercise has a hint"]


def lint_terms(notebook: dict, page: str = "") -> list[str]:
    text = markdown(notebook)
    linked = linked_terms(text)
    known = {term.casefold() for term in TERMS}
    faults = [f"{term!r} is not in the glossary" for term in linked if term.casefold() not in known]
    if len(set(linked)) < LEAST_TERMS:
        faults.append(
            f"{len(set(linked))} words of the glossary are linked, at least {LEAST_TERMS} are needed"
        )
    have = {term.casefold() for term in linked}
    other = OTHER_SENSE.get(page, {})
    missing = [t for t in used_terms(text, TERMS) if t.casefold() not in have and t not in COMMON | other]
    return faults + [f"{term!r} is used but nowhere linked: {{term}}`{term}`" for term in missing]


LINTS: list[Callable[[dict], list[str]]] = [
    lint_frame,
    lint_objectives,
    lint_exercises,
    lint_practice,
    lint_solutions,
    lint_hints,
]


# ---- the lessons ----------------------------------------------------------------------------------


@pytest.mark.parametrize("lint", LINTS, ids=lambda f: f.__name__)
@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda p: p.stem)
def test_lesson(path: Path, lint: Callable[[dict], list[str]]) -> None:
    faults = lint(notebook_file.read(path))
    assert not faults, f"{path.name}:\n" + "\n".join(faults)


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda p: p.stem)
def test_words_of_the_glossary_are_linked(path: Path) -> None:
    faults = lint_terms(notebook_file.read(path), path.stem)
    assert not faults, f"{path.name}:\n" + "\n".join(faults)


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda p: p.stem)
def test_participants_get_every_hint(path: Path) -> None:
    notebook = notebook_file.read(path)
    hints = HINT.findall(markdown(notebook))
    copied = markdown(participant(notebook))
    assert len(hints) >= 1
    assert len(re.findall(r"^\*\*Hint\*\*\n\n\S", copied, flags=re.M)) == len(hints)
    assert "{" not in "".join(re.findall(r"^\*\*Hint.*?(?=\n\n|$)", copied, flags=re.M))


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda p: p.stem)
def test_no_exception_is_idle(path: Path) -> None:
    text = markdown(notebook_file.read(path))
    used = used_terms(text, TERMS)
    have = {term.casefold() for term in linked_terms(text)}
    idle = [t for t in OTHER_SENSE.get(path.stem, {}) if t not in used or t.casefold() in have]
    assert not idle, f"{path.name} needs no exception for {idle}"


# ---- every lint finds what it is for ----------------------------------------------------------------

GOALS = "1. Compute one.\n2. Show two.\n3. Fit three.\n"
GOALS += "4. Read four (section *The idea*).\n5. Test five (section *The idea*)."
EXERCISE = "```{{exercise-start}} Task\n:label: ex-{0}\n```\n"
EXERCISE += "*Practises objective {1}.* Do it.\n{2}```{{exercise-end}}\n```"
FOLDED = "\n```{admonition} Hint\n:class: dropdown\nA valley.\n```\n"


def md(source: str, *names: str) -> dict:
    return {"cell_type": "markdown", "metadata": {"tags": list(names)}, "source": source}


def code(source: str, *names: str) -> dict:
    made = {"cell_type": "code", "metadata": {"tags": list(names)}, "source": source}
    return made | {"outputs": [], "execution_count": None}


def sound() -> dict:
    points = "\n".join(f"- point {i}" for i in range(5))
    terms = " ".join(f"{{term}}`{term}`" for term in TERMS[:9])
    head = f"# Title\n\n**Questions**\n\n- why?\n\n**Objectives**\n\n{GOALS}\n\n**Prerequisites**\n\nNone."
    cells = [
        md(f"{head}\n\n**Time** 60 minutes taught, 30 minutes of exercises"),
        md(f"## The idea\n\n{terms}"),
    ]
    for i, name in enumerate("abc", 1):
        cells += [
            md(EXERCISE.format(name, i, FOLDED if name == "a" else "")),
            md(f"```{{solution-start}} ex-{name}\n:class: dropdown\n```", "solution"),
            code(f"answer_{name} = 'of {name}'", "solution"),
            md("```{solution-end}\n```", "solution"),
        ]
    return {"cells": [*cells, md(f"## Key points\n\n{points}")], "metadata": {}, "nbformat": 4}


@pytest.mark.parametrize("lint", [*LINTS, lint_terms], ids=lambda f: f.__name__)
def test_a_sound_lesson_has_no_fault(lint: Callable[[dict], list[str]]) -> None:
    assert lint(sound()) == []


def swap(where: int, old: str, new: str) -> Callable[[dict], None]:
    def change(notebook: dict) -> None:
        source = notebook["cells"][where]["source"]
        assert old in source
        notebook["cells"][where]["source"] = source.replace(old, new)

    return change


@pytest.mark.parametrize(
    ("lint", "breakage", "text"),
    [
        (lint_frame, swap(0, "**Questions**", "**Riddles**"), "no heading or bold line 'questions'"),
        (lint_frame, swap(0, "4. Read four (section *The idea*).\n", ""), "4 items below 'objectives'"),
        (lint_frame, swap(-1, "- point 0\n", ""), "4 items below 'key points', expected 5 to 7"),
        (lint_frame, swap(0, "**Prerequisites**", "Needed"), "no bold line 'Prerequisites'"),
        (lint_frame, swap(0, "60 minutes taught", "an hour taught"), "the time is missing"),
        (lint_objectives, swap(0, "2. Show", "3. Show"), "must be numbered"),
        (lint_objectives, swap(0, "2. Show", "2. Understand"), "begins with 'understand'"),
        (lint_objectives, swap(0, "Show two", "Show and know two"), "nobody can see"),
        (lint_exercises, lambda n: n["cells"].__delitem__(slice(2, 6)), "2 exercises"),
        (lint_exercises, swap(2, "*Practises objective 1.*", "Objective 1."), "must begin with"),
        (lint_exercises, swap(2, "objective 1", "objective 1 and 2"), "says objective for objectives"),
        (lint_exercises, swap(2, "objective 1", "objective 8"), "objective 8, which does not exist"),
        (lint_practice, swap(0, " (section *The idea*).\n5", ".\n5"), "objective 4 has no exercise"),
        (lint_practice, swap(0, "Read four (section *The idea*)", "Read four (section *X*)"), "'X'"),
        (lint_practice, swap(0, "Compute one.", "Compute one (section *The idea*)."), "leave out its section"),
        (lint_practice, swap(2, "objective 1", "objective 2"), "objective 1 has no exercise"),
        (lint_practice, swap(2, "objective 1", "objective 2"), "fewer than half"),
        (lint_solutions, lambda n: n["cells"].__delitem__(slice(3, 6)), "exercise ex-a has no solution"),
        (lint_solutions, lambda n: n["cells"].pop(4), "solution of ex-a has no code to run"),
        (lint_solutions, swap(3, ":class: dropdown\n", ""), "solution of ex-a is not folded"),
        (lint_solutions, swap(3, "ex-a", "ex-z"), "which is no exercise here"),
        (lint_solutions, lambda n: n["cells"][3]["metadata"].clear(), "without the tag `solution`"),
        (lint_solutions, lambda n: n["cells"][4]["metadata"].clear(), "without the tag `solution`, or never"),
        (lint_hints, swap(2, ":class: dropdown\n", ""), "no exercise has a hint"),
        (lint_hints, swap(6, "Do it.", "Plot it."), "ex-b asks for a figure"),
        (lint_terms, swap(1, f"{{term}}`{TERMS[0]}`", "{term}`Unheard of`"), "'Unheard of' is not in"),
        (lint_terms, swap(1, "{term}", ""), "0 words of the glossary are linked"),
        (lint_terms, swap(0, "why?", f"why a {TERMS[20]}?"), f"{TERMS[20]!r} is used but nowhere linked"),
    ],
)  # fmt: skip
def test_each_lint_finds_its_fault(lint: Callable, breakage: Callable, text: str) -> None:
    lesson = sound()
    breakage(lesson)
    assert any(text in fault for fault in lint(lesson)), lint(lesson)
