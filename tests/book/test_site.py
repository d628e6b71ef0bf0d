"""The site as a whole: weight, repository buttons, launch files, what the search finds, the status page."""

from __future__ import annotations

import json
import re
import types
from pathlib import Path

import pytest
import yaml

from scmods._book import page_weight, repository, search_check, site_check
from scmods._book.run_list import Run
from scmods._book.status import status_page

ROOT = Path(__file__).resolve().parents[2]
URL = "https://github.com/someone/scmods"


def figure(**trace) -> str:
    text = json.dumps({"data": [trace], "layout": {}}, separators=(",", ":"))
    return f'<div class="fig-plotly"><script type="application/json">{text}</script></div>'


# ---- weight


def restored(page: str) -> list[dict]:
    """Figures of a page as figures.js reads them."""
    pool = re.search(r'id="fig-arrays">(.*?)</script>', page, re.S)
    arrays = json.loads(pool[1]) if pool else []

    def back(value: dict) -> object:
        return arrays[value["shared-array"]] if "shared-array" in value else value

    texts = re.findall(r'<script type="application/json">(.*?)</script>', page, re.S)
    return [json.loads(text, object_hook=back) for text in texts]


def test_arrays_of_several_figures_are_stored_once_and_come_back():
    x = list(range(100))
    code = {"dtype": "f4", "bdata": "A" * 200 + "</"}
    page = figure(x=x, y=code) + figure(x=x, y=code, name="b") + figure(x=[1, 2], text="t")
    light = page_weight.share_arrays(page)
    assert light.count("A" * 200) == 1
    assert len(light) < 0.75 * len(page)
    assert "</</script>" not in light
    want = [{"x": x, "y": code}, {"x": x, "y": code, "name": "b"}, {"x": [1, 2], "text": "t"}]
    assert [found["data"][0] for found in restored(light)] == want


def test_figures_without_common_arrays_are_left_alone():
    page = figure(x=list(range(50))) + figure(x=list(range(1, 51)))
    assert page_weight.share_arrays(page) == page
    broken = '<script type="application/json">{"data":</script>'
    assert page_weight.share_arrays(broken) == broken


def test_indentation_goes_but_not_where_it_counts():
    kept = "<pre>a\n\n    b</pre>", "<script>  x\n\n  y</script>", "<textarea>\n  z</textarea>"
    page = "<div>\n\n    <b>1</b>\n      <b>2</b>  \n" + "\n   ".join(kept) + "\n\n</div>"
    light = page_weight.squeezed(page)
    assert light == "<div>\n<b>1</b>\n<b>2</b>\n" + "\n".join(kept) + "\n</div>"


# ---- repository


@pytest.mark.parametrize(
    ("page", "file"),
    [
        ("compared", "book/compared.md"),
        ("api/bmlp", "book/api/bmlp.md"),
        ("runs/bmlp", "notebooks/bmlp.ipynb"),
        ("runs/bmlp-paul15", "notebooks/bmlp.ipynb"),
        ("status", None),
        ("genindex", None),
        ("search", None),
    ],
)
def test_every_page_is_edited_where_it_is_made(page, file):
    assert repository.source_file(page) == file
    assert file is None or (ROOT / file).is_file()


def test_launch_links_lead_to_the_notebook_and_not_to_its_page():
    links = repository.launch_links(URL, "main", "bmlp.ipynb")
    assert links == {
        "Binder": "https://mybinder.org/v2/gh/someone/scmods/main?urlpath=lab/tree/notebooks/bmlp.ipynb",
        "Colab": "https://colab.research.google.com/github/someone/scmods/blob/main/notebooks/bmlp.ipynb",
    }
    gitlab = repository.launch_links("https://gitlab.com/a/b.git", "main", "bmlp.ipynb")
    assert gitlab == {"Binder": "https://mybinder.org/v2/gl/a%2Fb/main?urlpath=lab/tree/notebooks/bmlp.ipynb"}
    assert repository.launch_links("https://git.example.org/a/b", "main", "bmlp.ipynb") == {}


def test_edit_links():
    assert repository.edit_link(URL, "main", "book/data.md") == f"{URL}/edit/main/book/data.md"
    gitlab = repository.edit_link("https://gitlab.com/a/b", "main", "book/data.md")
    assert gitlab == "https://gitlab.com/a/b/-/edit/main/book/data.md"


def options(url: str) -> types.SimpleNamespace:
    return types.SimpleNamespace(html_theme_options={"repository_url": url, "repository_branch": "main"})


@pytest.mark.parametrize("url", ["", URL])
def test_one_value_switches_the_buttons(url):
    config = options(url)
    repository._switch(None, config)
    assert config.html_theme_options["use_repository_button"] is bool(url)
    assert config.html_theme_options["use_issues_button"] is bool(url)
    assert config.html_theme_options["use_edit_page_button"] is False
    context = {"header_buttons": [{"label": "source-buttons", "buttons": []}]}
    repository._edit_button(types.SimpleNamespace(config=config), "data", "", context, object())
    assert len(context["header_buttons"][0]["buttons"]) == bool(url)


@pytest.mark.parametrize("url", ["", URL])
def test_launch_directive_without_address_is_nothing(url):
    env = types.SimpleNamespace(config=options(url))
    state = types.SimpleNamespace(document=types.SimpleNamespace(settings=types.SimpleNamespace(env=env)))
    directive = types.SimpleNamespace(state=state, arguments=["bmlp.ipynb"])
    made = repository.Launch.run(directive)
    assert [n.astext() for n in made] == (
        [
            f"Without installing anything: open in Binder, open in Colab. In Colab, first run !pip install git+{URL}."
        ]
        if url
        else []
    )


def test_the_configuration_names_no_address_and_no_button():
    config = yaml.safe_load((ROOT / "_config.yml").read_text(encoding="utf-8"))
    assert config["repository"]["url"] == ""
    assert "launch_buttons" not in config
    assert not any(value for name, value in config["html"].items() if name.startswith("use_"))


# ---- Binder


def test_binder_names_no_version_of_its_own():
    files = {p.name: p.read_text(encoding="utf-8") for p in (ROOT / ".binder").iterdir()}
    conda = yaml.safe_load((ROOT / "environment.yml").read_text(encoding="utf-8"))
    python = next(d for d in conda["dependencies"] if str(d).startswith("python="))
    assert files.pop("runtime.txt").strip() == python.replace("=", "-")
    assert '-c constraints.txt -e ".[book]"' in files["postBuild"]
    for name, text in files.items():
        assert not re.search(r"[=<>~!]=|\d+\.\d+", text), f"{name} names a version"
        assert not re.search(r"https?://", text), f"{name} names an index"


# ---- search


def index(**more) -> dict:
    objects = {"scmods": [[0, 0, 1, "-", "claim"]], "scmods.bmlp": [[0, 0, 1, "-", "fit"]]}
    return {"objects": objects, "terms": {"graph": 0}, "titleterms": {}, "indexentries": {}} | more


def test_names_that_the_search_does_not_offer_are_told():
    names = ["scmods.claim", "scmods.bmlp.fit", "scmods.amici.fit", "scmods.bmlp.gone"]
    assert search_check.missing_names(index(), names) == ["scmods.amici.fit", "scmods.bmlp.gone"]


def test_an_object_documented_under_its_module_counts():
    found = index(objects={"scmods.bmlp.core": [[0, 0, 1, "-", "bilinear"]]})
    assert search_check.missing_names(found, ["scmods.bmlp.bilinear"]) == []


def test_terms_are_looked_up_word_by_word():
    terms = ["graphs", "graph of nothing", "R²"]
    assert search_check.unfound_terms(index(), terms) == ["graph of nothing", "R²"]
    assert search_check.unfound_terms(index(indexentries={"r²": []}), ["R²"]) == []


def test_public_names_are_those_of_the_packages_and_load_nothing_heavy():
    names = search_check.public_names()
    assert {"scmods.claim", "scmods.amici.AMICI", "scmods.datasets.load"} <= set(names)
    assert "scmods.bmlp.core" not in names
    assert not any("__" in name for name in names)


def test_the_site_check_asks_the_search_of_a_book(tmp_path, capsys):
    term = '<dt id="term-x">Frobnication<a class="headerlink" href="#term-x">#</a></dt>'
    page = f"<html><body><dl>{term}</dl></body></html>"
    (tmp_path / "glossary.html").write_text(page, encoding="utf-8")
    assert site_check.main([str(tmp_path)]) == 1
    assert "searchindex.js: missing" in capsys.readouterr().out
    (tmp_path / "searchindex.js").write_text(f"Search.setIndex({json.dumps(index())})", encoding="utf-8")
    assert site_check.main([str(tmp_path)]) == 1
    told = capsys.readouterr().out
    assert "does not find the term 'Frobnication'" in told
    assert "does not find scmods.bmlp.ScBMLPRegressor" in told
    assert "1 terms" in told


# ---- status


def run(name: str, state: str = "done", **more) -> Run:
    fields = {
        "notebook": "toy.ipynb",
        "parameters": {"k": 5},
        "label": "l",
        "data": [],
        "main": name == "toy",
    }
    fields |= {
        "timeout": 1,
        "run_timeout": 1,
        "memory_mb": 1,
        "weight": 1,
        "source": {"cells": []},
        "key": name,
    }
    record = {"seconds": 10.4, "cpu_seconds": 8.0, "peak_mb": 300, "date": "2026-01-01", "commit": "c"}
    record |= {
        "versions": {"torch": "2.0"},
        "claims": [{"name": "a|b", "value": 0.5, "low": 0.1, "high": None}],
    }
    return Run(id=name, **fields, state=state, record=record if state == "done" else {}, **more)


def test_status_page_tells_cost_claims_settings_and_what_is_missing():
    text = status_page([run("toy"), run("toy-b"), run("toy-c", "left out", reason="No data.")])
    assert "2 of 3 runs have results; 2 claims held" in text
    assert "| {doc}`toy <runs/toy>` | 10 | 8 | 300 | 1 |" in text
    assert "| **all** | 21 | 16 | ≤ 300 | 2 |" in text
    assert "left out: No data." in text
    assert "::::{dropdown} toy: 2 values" in text
    assert "| {doc}`toy-b <runs/toy-b>` | a\\|b | 0.5 | [0.1, ...] |" in text
    assert "Data: comes with the software. Parameters: `k=5`. Executed 2026-01-01, version c." in text
    assert "| torch | 2.0 |" in text


def test_tables_of_the_status_page_are_narrow():
    text = status_page([run("toy")])
    assert (
        max(line.count("|") - 1 for line in text.replace("\\|", "").splitlines() if line.startswith("|")) <= 5
    )
