"""The teacher's page: plans add up, agree with the notebooks, and name only what exists."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from scmods._book import notebook_file
from scmods._book.prose import minutes
from scmods._book.run_list import read_runs
from scmods._book.setup_check import decode

ROOT = Path(__file__).resolve().parents[1]
PAGE = (ROOT / "book" / "workshop.md").read_text(encoding="utf-8")
BOOK = ("bmlp", "hopfield", "smoother", "scyan", "amici")  # a teacher finds each of these on the page
RUNS = list(dict.fromkeys(run.chapter for run in read_runs(ROOT)))
KINDS = ("taught", "exercises", "break", "own data", "frame")
LAST = "Differences from the original"


def part(page: str, heading: str) -> str:
    """Text below a heading, up to the next one of its level or a higher one."""
    level = heading.split(" ")[0]
    below = page.split(f"\n{heading}\n", 1)[1] if f"\n{heading}\n" in page else ""
    return re.split(rf"^#{{1,{len(level)}}} ", below, maxsplit=1, flags=re.M)[0]


def rows(text: str) -> list[list[str]]:
    """Rows of the first table, without its head."""
    lines = re.search(r"^\|.*\n\|[-:| ]+\|\n((?:\|.*\n)+)", text, flags=re.M)
    cells = lines[1].splitlines() if lines else []
    return [[cell.strip() for cell in line.strip("|").split("|")] for line in cells]


CHAPTERS = re.findall(r"^### (\S+)$", part(PAGE, "## The chapters"), flags=re.M)


def chapter_minutes() -> dict[str, tuple[int, int]]:
    return {name: minutes(notebook_file.read(path)) or (0, 0) for name, path in notebooks().items()}


def notebooks() -> dict[str, Path]:
    return {name: ROOT / "notebooks" / f"{name}.ipynb" for name in CHAPTERS}


def sections(path: Path) -> list[str]:
    cells = (c["source"] for c in notebook_file.read(path)["cells"] if c["cell_type"] == "markdown")
    return [head.strip() for text in cells for head in re.findall(r"^## (.+)$", text, flags=re.M)]


def lint_plan(page: str, start: str, n_chapters: int, stated: dict[str, tuple[int, int]]) -> list[str]:
    """Faults of one plan: its sum, its kinds, and its minutes beside those of the chapters."""
    heading = re.search(rf"^### {start}: .*, (\d+) minutes$", page, flags=re.M)
    if heading is None:
        return [f"there is no plan '### {start}: ..., NN minutes'"]
    table = rows(part(page, heading[0]))
    faults = [f"unknown kind {kind!r}" for _, kind, _ in table if kind not in KINDS]
    total = sum(int(row[0]) for row in table)
    if total != int(heading[1]):
        faults.append(f"{start}: the rows add up to {total}, the heading says {heading[1]}")
    for i, kind in enumerate(("taught", "exercises")):
        planned = sum(int(row[0]) for row in table if row[1] == kind)
        needed = n_chapters * max(pair[i] for pair in stated.values())
        if planned != needed:
            faults.append(f"{start}: {planned} minutes {kind}, the chapters need {needed}")
    return faults


def lint_chapter(page: str, name: str, heads: list[str], taught: int) -> list[str]:
    """Faults of the part about one chapter."""
    text = part(page, f"### {name}")
    table = rows(text)
    expected = heads[: heads.index(LAST)]
    faults = [] if [row[1] for row in table] == expected else [f"{name}: sections must be {expected}"]
    total = sum(int(row[0]) for row in table)
    if total != taught:
        faults.append(f"{name}: the sections take {total} minutes, the notebook says {taught}")
    if "*first to go*" not in text:
        faults.append(f"{name}: nothing is marked *first to go*")
    for bold in ("Hard spots", "Common faults, and what to say", "Checkpoints"):
        below = text.split(f"**{bold}**")[-1].split("**")[0] if f"**{bold}**" in text else ""
        if len(re.findall(r"^- ", below, flags=re.M)) < 3:
            faults.append(f"{name}: fewer than three items below {bold!r}")
    return faults


@pytest.mark.parametrize(("start", "n_chapters"), [("Half a day", 1), ("One day", 2)])
def test_plans_add_up(start: str, n_chapters: int) -> None:
    assert lint_plan(PAGE, start, n_chapters, chapter_minutes()) == []


def test_the_chapters_of_the_page_are_those_of_the_book() -> None:
    assert [name for name in BOOK if name not in CHAPTERS] == []
    assert [name for name in CHAPTERS if name not in RUNS] == [], (
        "no run of notebooks/runs.yml has this chapter"
    )
    assert len(CHAPTERS) == len(set(CHAPTERS))


@pytest.mark.parametrize("name", RUNS)
def test_a_chapter_without_lesson_is_told(name: str) -> None:
    if name not in CHAPTERS:
        pytest.skip(f"{name} has no lesson: book/workshop.md has no '### {name}' below 'The chapters'")
    assert part(PAGE, f"### {name}")


@pytest.mark.parametrize("name", CHAPTERS)
def test_every_chapter_has_its_minutes(name: str) -> None:
    path = notebooks()[name]
    assert lint_chapter(PAGE, name, sections(path), chapter_minutes()[name][0]) == []


def test_the_range_of_minutes_is_that_of_the_chapters() -> None:
    taught, exercises = zip(*chapter_minutes().values(), strict=True)
    assert len(set(exercises)) == 1
    said = f"{min(taught)} to {max(taught)} minutes taught, {exercises[0]} minutes of exercises"
    assert said in PAGE.replace("\n", " ")


def test_the_own_data_hour_is_an_hour() -> None:
    planned = [int(n) for n in re.findall(r"^\| (\d+) \| own data \|", PAGE, flags=re.M)]
    hour = sum(int(row[0]) for row in rows(part(PAGE, "## The own-data hour")))
    assert planned == [hour] * 2 == [60] * 2


def test_the_example_of_a_late_start_is_a_section() -> None:
    name, number, slug = re.findall(r"start_at/([a-z]+)_(\d\d)_([a-z0-9-]+)\.ipynb", PAGE)[0]
    head = sections(notebooks()[name])[int(number) - 1]
    assert slug == re.sub(r"[^a-z0-9]+", "-", head.lower()).strip("-")
    assert f"start_at/{name}.h5" in PAGE


def test_the_example_of_a_code_can_be_read() -> None:
    code = re.findall(r"--decode (\S+)", PAGE)[0]
    assert [line for line in decode(code) if line.startswith("NO")]


@pytest.mark.parametrize(
    "needed",
    [
        "{download}`check_setup.py <participant/check_setup.py>`",
        "{download}`scmods-workshop.zip <participant/scmods-workshop.zip>`",
        "python check_setup.py",
        "python -m scmods check",
        "pip download -c package/constraints.txt -d wheels",
        "pip install --no-index --find-links wheels",
        "?open=all",
    ],
)
def test_nothing_a_teacher_needs_is_missing(needed: str) -> None:
    assert needed in PAGE


# ---- every lint finds what it is for ----------------------------------------------------------------


@pytest.mark.parametrize(
    ("old", "new", "fault"),
    [
        ("one chapter, 250 minutes", "one chapter, 240 minutes", "the rows add up to 250, the heading says 240"),
        ("| 20 | exercises | the first, in pairs |", "| 25 | exercises | x |", "65 minutes exercises, the chap"),
        ("| 10 | frame | key points, feedback form |", "| 10 | coda | x |", "unknown kind 'coda'"),
        ("### Half a day:", "### Half-time:", "there is no plan"),
    ],
)  # fmt: skip
def test_a_plan_that_does_not_add_up_is_found(old: str, new: str, fault: str) -> None:
    assert old in PAGE
    found = lint_plan(PAGE.replace(old, new, 1), "Half a day", 1, chapter_minutes())
    assert any(fault in text for text in found), found


@pytest.mark.parametrize(
    ("old", "new", "fault"),
    [
        ("| 5 | Two genes one can draw |", "| 6 | Two genes one can draw |", "take 81 minutes, the notebook says 80"),
        ("| 5 | Two genes one can draw |", "| 5 | Two genes |", "sections must be"),
        ("- After the field:", "After the field:", "fewer than three items below 'Checkpoints'"),
    ],
)  # fmt: skip
def test_faults_of_a_chapter_are_found(old: str, new: str, fault: str) -> None:
    assert old in PAGE
    found = lint_chapter(PAGE.replace(old, new, 1), "hopfield", sections(notebooks()["hopfield"]), 80)
    assert any(fault in text for text in found), found
