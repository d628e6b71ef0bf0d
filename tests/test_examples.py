"""Every example of the package and of the book runs, and every public name has one.

Examples run quietly (a warning is an error), without network, in an empty folder. Those that need files of real
data carry ``+SKIP``; they run where ``SCMODS_DATA`` names a folder with the files.
"""

from __future__ import annotations

import doctest
import importlib
import inspect
import re
import socket
import warnings
from pathlib import Path
from typing import Any, NoReturn

import pytest

import scmods

ROOT = Path(__file__).resolve().parents[1]
PACKAGE = ROOT / "scmods"
FLAGS = doctest.ELLIPSIS | doctest.NORMALIZE_WHITESPACE
NEEDS_FILES = "# doctest: +SKIP"


def name_of(path: Path) -> str:
    """Name of the module in a file of the package."""
    parts = path.relative_to(ROOT).with_suffix("").parts
    return ".".join(p for p in parts if p != "__init__")


def holding(text: str, paths: list[Path]) -> list[Path]:
    return [p for p in paths if text in p.read_text(encoding="utf-8")]


SOURCES = holding(">>> ", [p for p in sorted(PACKAGE.rglob("*.py")) if "_book" not in p.parts])
MODULES = [name_of(p) for p in SOURCES]
WITH_FILES = [name_of(p) for p in holding(NEEDS_FILES, SOURCES)]
PAGES = holding("\n>>> ", sorted(ROOT.glob("book/*.md")) + sorted(ROOT.glob("book/api/*.md")))
FENCE = re.compile(r"^(`{3,})python\n(>>> .*?)^\1$", re.M | re.S)

PUBLIC = {
    f"{module}.{name}".removeprefix("."): getattr(owner, name)
    for module in ("", *scmods._MODULES)
    for owner in [importlib.import_module(f"scmods.{module}") if module else scmods]
    for name in owner.__all__
}
CALLABLE = {
    name: thing for name, thing in PUBLIC.items() if inspect.isfunction(thing) or inspect.isclass(thing)
}

# shown on the page of the reference: the file has no room for more lines, or the call belongs to a notebook
ON_PAGE = {
    "bmlp.enrich": "bmlp_sets",
    "bmlp.enrich_gseapy": "bmlp_sets",
    "bmlp.fit": "bmlp",
    "bmlp.heatmap_table": "bmlp_sets",
    "bmlp.preprocess": "bmlp",
    "bmlp.random_list_null": "bmlp_sets",
    "bmlp.top_genes": "bmlp",
    "hopfield.compute_rotational_part": "hopfield_reading",
    "io.H5Reader": "shared",
    "io.load_state": "shared",
    "io.open_h5": "shared",
    "io.save_state": "shared",
    "save_result": "index",
    "save_table": "index",
}
EXEMPT = {"bmlp.enrich_online": "it sends gene names to a server"}


def examples_of_page(path: Path) -> str:
    """The examples of a page, in order, as one text: they share what they define."""
    return "\n".join(match[2] for match in FENCE.finditer(path.read_text(encoding="utf-8")))


def own_examples(thing: object) -> list[doctest.Example]:
    """Examples of a docstring that is the object's own."""
    text = vars(thing).get("__doc__") if inspect.isclass(thing) else getattr(thing, "__doc__", "")
    return doctest.DocTestParser().get_examples(inspect.cleandoc(text or ""))


def examples_of(module: str) -> list[doctest.DocTest]:
    loaded = importlib.import_module(module)
    return [t for t in doctest.DocTestFinder(exclude_empty=True).find(loaded, module) if t.examples]


def faults(tests: list[doctest.DocTest], *, with_files: bool = False) -> list[str]:
    """What does not come out as written. Only examples with the mark for files are run `with_files`."""
    out: list[str] = []
    runner = doctest.DocTestRunner(optionflags=FLAGS, verbose=False)
    for test in tests:
        if with_files:
            if not any(doctest.SKIP in e.options for e in test.examples):
                continue
            for example in test.examples:
                example.options.pop(doctest.SKIP, None)
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            runner.run(test, out=out.append)
    return out


@pytest.fixture(autouse=True)
def alone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """An empty working folder, and no way out of this machine."""

    def refuse(*_: Any, **__: Any) -> NoReturn:
        msg = "an example asks for the network"
        raise OSError(msg)

    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(socket.socket, "connect", refuse)
    monkeypatch.setattr(socket, "getaddrinfo", refuse)


@pytest.mark.parametrize("module", MODULES)
def test_examples_of_a_module(module: str) -> None:
    tests = examples_of(module)
    assert tests, "the text has examples, but doctest finds none"
    found = faults(tests)
    assert not found, "\n".join(found)


@pytest.mark.data
@pytest.mark.parametrize("module", WITH_FILES)
def test_examples_that_need_files(module: str, data_folder: Path) -> None:
    found = faults(examples_of(module), with_files=True)
    assert not found, "\n".join(found)


@pytest.mark.parametrize("page", PAGES, ids=lambda p: p.relative_to(ROOT / "book").as_posix())
def test_examples_of_a_page(page: Path) -> None:
    text = page.read_text(encoding="utf-8")
    code = re.sub(r"^(`{3,})\{code-block\}.*?^\1$", "", text, flags=re.M | re.S)  # files, tested elsewhere
    examples = examples_of_page(page)
    assert len(re.findall(r"^>>> ", code, re.M)) == len(re.findall(r"^>>> ", examples, re.M)), "a lost fence"
    if not examples:
        return
    found = faults([doctest.DocTestParser().get_doctest(examples, {}, page.stem, str(page), 0)])
    assert not found, "\n".join(found)


@pytest.mark.parametrize("name", CALLABLE)
def test_every_public_name_has_an_example(name: str) -> None:
    if name in EXEMPT:
        pytest.skip(EXEMPT[name])
    if name in ON_PAGE:
        page = examples_of_page(ROOT / "book" / "api" / f"{ON_PAGE[name]}.md")
        short = name.split(".")[-1]
        assert re.search(rf"\b{short}\b", page), f"no example of {name} on its page"
        return
    examples = own_examples(CALLABLE[name])
    assert examples, f"scmods.{name} has no section 'Examples'"
    calls = "".join(e.source for e in examples)
    assert re.search(r"[(.\[]", calls.replace("import", "")), "an example that does nothing"
    only_marked = all(doctest.SKIP in e.options for e in examples if "import" not in e.source)
    needs = name.startswith(("datasets.", "bmlp.myeloid")) or name in {
        "scyan.labelled_barcodes",
        "hopfield.circuit_study",
    }
    assert needs or not only_marked, f"the example of scmods.{name} never runs"


def test_exemptions_are_public_names_without_an_example_of_their_own() -> None:
    for name in (*ON_PAGE, *EXEMPT):
        assert name in CALLABLE
        assert not own_examples(CALLABLE[name]), f"take {name} off the list"


@pytest.mark.parametrize(
    ("text", "told"),
    [
        (">>> 1 + 1\n3\n", "Got:\n    2"),
        (">>> import warnings; warnings.warn('late')\n", "UserWarning: late"),
        (">>> import urllib.request; urllib.request.urlopen('http://example.org')\n", "asks for the network"),
    ],
)
def test_a_wrong_example_is_found(text: str, told: str) -> None:
    test = doctest.DocTestParser().get_doctest(text, {}, "wrong", None, 0)
    assert told in "".join(faults([test]))


def test_marked_examples_run_with_files_only() -> None:
    test = doctest.DocTestParser().get_doctest(f">>> 1 + 1  {NEEDS_FILES}\n3\n", {}, "marked", None, 0)
    assert faults([test]) == []
    assert "Got:\n    2" in "".join(faults([test], with_files=True))
