"""Lints of everything that is written to be read: pages, notebooks, README; and of the glossary.

Each lint returns the faults of one text as sentences; the second half shows each the fault it is for.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Callable
from pathlib import Path

import pytest

from scmods._book import notebook_file
from scmods._book.prose import glossary, linked_terms, used_terms, words

ROOT = Path(__file__).resolve().parents[1]
BOOK = ROOT / "book"
GENERATED = ("status.md",)
PAGES = [p for p in sorted(BOOK.glob("*.md")) + sorted(BOOK.glob("api/*.md")) if p.name not in GENERATED]
NOTEBOOKS = sorted((ROOT / "notebooks").glob("*.ipynb"))
FILES = [*PAGES, ROOT / "README.md", *NOTEBOOKS]
GLOSSARY = glossary((BOOK / "glossary.md").read_text(encoding="utf-8"))

COUNTS = "two|three|four|five|six|seven|eight|nine|ten|twenty|fifty|hundred|thousand"
PARTS = "half|halves|thirds?|quarters?|fifths?|tenths?|hundredths?"
RESULTS = [
    r"(?<![\w.-])\d+\.\d+(?![\w.]*\w)",  # 0.87, but no version such as 1.0.4
    r"\b\d+(?:\.\d+)?\s?(?:%|per ?cent\b)",
    r"\b(?:\d+(?:\.\d+)?|two|three|four|five|ten)[- ]?fold\b",
    rf"\b(?:\d+(?:\.\d+)?|{COUNTS}) times (?:as (?!many)|faster|slower|smaller|less|more|fewer|better|worse)",
    rf"\babout (?:a|one|two|three) (?:{PARTS})\b|\babout one time in \w+",
    r"\b\d+(?:[.,]\d+)?\s*(?:ms|milliseconds?|seconds?|s|minutes?|min|hours?|h)\b",
]
# What looks like a result and is none; each entry must be needed.
ALLOWED = {
    "intro.md": {r"Python 3\.\d+": "a version"},
    "README.md": {
        r"Python 3\.\d+": "a version",
        r"arXiv \d+\.\d+": "the number of a paper",
        r"CC BY-NC-ND 4\.0": "a licence",
    },
    "compared.md": {
        r"CC BY-NC-ND 4\.0": "a licence",
        r"around 0\.2\b": "a constant of both models, see the row of the table",
    },
    "workshop.md": {r"\b\d+ minutes\b": "a plan, added up by tests/test_workshop.py"},
}
LESSON = {r"\*\*Time\*\* \d+ minutes taught, \d+ minutes of exercises": "a plan, the same"}
NAMES = "cluster|group|component|community|population|topic|factor|mode|head|frequency"
PATHS = r"(?<![\w.:/])/(?:home|work|tmp|Users|mnt|data|root|opt|scratch)/|\b[A-Z]:\\+(?!path\\to)\w"
HOSTS = r"pypi\.org|pythonhosted\.org|npmjs\.|anaconda\.(?:org|com)|crates\.io|rubygems\.|download\.pytorch\."


def around(text: str, found: re.Match[str]) -> str:
    return repr(re.sub(r"\s+", " ", text[max(0, found.start() - 30) : found.end() + 20]).strip())


def search(pattern: str, text: str, fault: str) -> list[str]:
    return [f"{fault}: {around(text, m)}" for m in re.finditer(pattern, text, flags=re.I)]


# ---- the lints ------------------------------------------------------------------------------------


def lint_results(text: str, allowed: tuple[str, ...] = ()) -> list[str]:
    """Numbers that a run should have written: decimals, percentages, ratios, durations."""
    prose = words(text)
    for pattern in allowed:
        prose = re.sub(pattern, "", prose)
    return [fault for p in RESULTS for fault in search(p, prose, "a result typed by hand")]


def lint_cluster_numbers(text: str) -> list[str]:
    """Numbers of clusters and heads differ from run to run, so no sentence may rest on one."""
    prose = words(text)
    found = search(rf"\b(?:{NAMES})s? (?:no\.? |number |#)?\d+\b", prose, "a cluster by its number")
    spelled = rf"\b(?:cluster|group|component|community|population) (?:one|{COUNTS})\b(?! of)"
    return found + search(spelled, prose, "a cluster by its number")


def lint_alt_texts(text: str) -> list[str]:
    faults = search(r"!\[\s*\](?:\(|\[)", text, "an image without a description")
    faults += search(r"<img(?![^>]*\balt=\"[^\"]+\")[^>]*>", text, "an image without a description")
    blocks = re.findall(r"^([`:]{3,})\{(?:image|figure)\} (\S+)\n(.*?)^\1\s*$", text, flags=re.M | re.S)
    bare = [name for _, name, body in blocks if not re.search(r"^:alt: +\S", body, flags=re.M)]
    return faults + [f"an image without a description: {name} needs :alt:" for name in bare]


def lint_filler(text: str) -> list[str]:
    """Words that tell a reader who does not see it at once that the fault is theirs."""
    return search(r"\b(?:clearly|obviously|simply|just|trivially|of course)\b", words(text), "filler")


def lint_paths(text: str) -> list[str]:
    return search(PATHS, text, "a path of one machine")


def lint_hosts(text: str) -> list[str]:
    return search(HOSTS, text, "the address of a package registry")


LINTS: list[Callable[[str], list[str]]] = [
    lint_cluster_numbers,
    lint_alt_texts,
    lint_filler,
    lint_paths,
    lint_hosts,
]


# ---- the texts --------------------------------------------------------------------------------------


def texts(path: Path) -> list[str]:
    """The file, or the cells of prose of a notebook: fences never run from one cell into the next."""
    if path.suffix != ".ipynb":
        return [path.read_text(encoding="utf-8")]
    cells = notebook_file.read(path)["cells"]
    return [cell["source"] for cell in cells if cell["cell_type"] == "markdown"]


def exceptions(path: Path) -> dict[str, str]:
    return LESSON if path.suffix == ".ipynb" else ALLOWED.get(path.name, {})


def name_of(path: Path) -> str:
    return path.relative_to(ROOT).as_posix()


@pytest.mark.parametrize("path", FILES, ids=name_of)
def test_prose(path: Path) -> None:
    faults = []
    for text in texts(path):
        faults += lint_results(text, tuple(exceptions(path)))
        faults += [fault for lint in LINTS for fault in lint(text)]
    assert not faults, f"{name_of(path)}:\n" + "\n".join(faults)


@pytest.mark.parametrize("path", FILES, ids=name_of)
def test_every_exception_is_needed(path: Path) -> None:
    prose = "\n".join(words(text) for text in texts(path))
    idle = [pattern for pattern in exceptions(path) if not re.search(pattern, prose)]
    assert not idle, f"{name_of(path)} needs no exception for {idle}"


# ---- the glossary -----------------------------------------------------------------------------------


def alphabetical(term: str) -> str:
    return unicodedata.normalize("NFKD", term).casefold()


def sentences(definition: str) -> int:
    plain = re.sub(r"\{[\w:]+\}`[^`]*`|\$[^$]*\$", "x", definition)
    return len(re.findall(r"[.!?](?=\s|$)", plain))


def lint_glossary(entries: dict[str, str]) -> list[str]:
    names = list(entries)
    pairs = zip(names, names[1:], strict=False)
    faults = [f"{b!r} stands behind {a!r}" for a, b in pairs if alphabetical(a) > alphabetical(b)]
    for name, text in entries.items():
        count = sentences(text)
        if not 1 <= count <= 2:
            faults.append(f"{name!r} is explained in {count} sentences, one or two are wanted")
        known = {alphabetical(n) for n in names}
        faults += [
            f"{name!r} links {t!r}, which is no entry"
            for t in linked_terms(text)
            if alphabetical(t) not in known
        ]
    return faults


def idle_terms(entries: dict[str, str], prose: list[str], code: str) -> list[str]:
    """Words that neither prose nor docstring uses, be it as a word, a link or a value in code."""
    idle = list(entries)
    for text in [*prose, code]:
        used = {alphabetical(t) for t in [*used_terms(text, idle), *linked_terms(text)]}
        used |= {value.casefold() for value in re.findall(r"[`\"](\w+)[`\"]", text)}
        idle = [name for name in idle if alphabetical(name) not in used]
    return idle


def test_the_glossary_is_in_order() -> None:
    assert len(GLOSSARY) > 50
    assert not lint_glossary(GLOSSARY)


def test_no_word_of_the_glossary_is_idle() -> None:
    prose = [text for path in FILES if path.name != "glossary.md" for text in texts(path)]
    modules = (p.read_text(encoding="utf-8") for p in sorted((ROOT / "scmods").rglob("*.py")))
    docs = "\n".join(part for text in modules for part in re.findall(r'"""(.*?)"""', text, flags=re.S))
    assert not idle_terms(GLOSSARY, prose, docs)


# ---- every lint finds what it is for ----------------------------------------------------------------


@pytest.mark.parametrize(
    "text",
    [
        "It reaches 0.87 here.",
        "In 30 % of the cells.",
        "In 30 per cent of the cells.",
        "This is 2.5-fold faster.",
        "It is a threefold gain.",
        "It is ten times faster.",
        "It gains about a tenth.",
        "It takes 12 seconds.",
        "It takes 3 min.",
        "```{note}\nIt reaches 0.87 here.\n```",
        "```{exercise-start} T\n:label: e\n```\nIt is 0.87.\n```{exercise-end}\n```",
    ],
)
def test_results_are_found(text: str) -> None:
    assert lint_results(text)


@pytest.mark.parametrize(
    "text",
    [
        "With `0.87` and $x = 0.3$.",
        "```python\nx = 0.87\n```",
        "$$\nx = 0.87\n$$ (eq-x)",
        "See https://x.org/1.5 or 10.1038/s41586-0.5.",
        "Use version 1.0.4 of 2023.",
        "[text](1.5)",
    ],
)
def test_what_is_no_result_passes(text: str) -> None:
    assert lint_results(text) == []


def test_an_exception_allows_its_own_words_only() -> None:
    allowed = (r"Python 3\.\d+",)
    assert lint_results("Python 3.11 is needed.", allowed) == []
    assert "0.87" in lint_results("Python 3.11 reaches 0.87.", allowed)[0]


@pytest.mark.parametrize(
    ("lint", "text", "fault"),
    [
        (lint_cluster_numbers, "Look at cluster 3.", "a cluster by its number: 'Look at cluster 3.'"),
        (lint_cluster_numbers, "Look at cluster three.", "a cluster by its number"),
        (lint_cluster_numbers, "Look at {term}`component` number 2.", "a cluster by its number"),
        (lint_cluster_numbers, "Heads 2 and 3 matter.", "a cluster by its number"),
        (lint_alt_texts, "![](figure.png)", "an image without a description"),
        (lint_alt_texts, '<img src="figure.png">', "an image without a description"),
        (lint_alt_texts, "```{image} figure.png\n:width: 50%\n```", "figure.png needs :alt:"),
        (lint_filler, "This is simply a sum.", "filler: 'This is simply a sum.'"),
        (lint_filler, "Just run it.", "filler"),
        (lint_paths, "Look into /ho" + "me/me/x.", "a path of one machine"),
        (lint_paths, "Look into `C:\\Us" + "ers`.", "a path of one machine"),
        (lint_hosts, "from https://py" + "pi.org/simple", "the address of a package registry"),
    ],
)
def test_each_lint_finds_its_fault(lint: Callable, text: str, fault: str) -> None:
    assert any(fault in found for found in lint(text)), lint(text)


@pytest.mark.parametrize(
    ("lint", "text"),
    [
        (lint_cluster_numbers, "Three clusters, one component, and one group of 20 cells."),
        (lint_alt_texts, '![A tree](tree.png) <img alt="a tree" src="x">'),
        (lint_alt_texts, "```{image} figure.png\n:alt: a tree\n```"),
        (lint_filler, "A justified sum, `just` in code."),
        (lint_paths, "/path/to/folder, C:\\path\\to\\folder, https://x.org/data/x and data/x"),
        (lint_hosts, "the index of your choice"),
    ],
)
def test_what_is_no_fault_passes(lint: Callable, text: str) -> None:
    assert lint(text) == []


@pytest.mark.parametrize(
    ("entries", "fault"),
    [
        ({"b": "One.", "a": "Two."}, "'a' stands behind 'b'"),
        ({"a": "One. Two. Three."}, "in 3 sentences"),
        ({"a": "no sentence"}, "in 0 sentences"),
        ({"a": "See {term}`z`."}, "links 'z', which is no entry"),
    ],
)
def test_faults_of_a_glossary_are_found(entries: dict[str, str], fault: str) -> None:
    assert any(fault in found for found in lint_glossary(entries))


def test_idle_words_are_found() -> None:
    entries = {"apple": "A.", "ICAR": "B.", "pear": "C.", "plum": "D."}
    prose = ["Two apples.", 'prior="icar"', "{term}`pears <pear>`"]
    assert idle_terms(entries, prose, "") == ["plum"]
    assert idle_terms(entries, [], "Two plums.") == ["apple", "ICAR", "pear"]
