"""Rules of the public API, read off the package itself: a rule that is not here does not survive."""

from __future__ import annotations

import ast
import importlib
import inspect
import re
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pytest

import scmods

if TYPE_CHECKING:
    from anndata import AnnData

ROOT = Path(__file__).resolve().parents[1]
PACKAGE = ROOT / "scmods"
SOURCES = sorted(PACKAGE.rglob("*.py"))
MODULES = [
    name
    for name in scmods._MODULES
    if (PACKAGE / name / "__init__.py").exists() or (PACKAGE / f"{name}.py").exists()
]

# imported only when a method is used
HEAVY = (
    "lightning",
    "scanpy",
    "plotly",
    "umap",
    "torch",
    "anndata",
    "pandas",
    "sklearn",
    "gseapy",
    "matplotlib",
)

# names and argument lists kept from the original packages, so that code written for them runs here
ORIGINALS = {
    "calc_corr_decay_stats", "compare_approaches", "compute_jacobian_elements", "compute_jacobian_stats",
    "compute_jacobians", "compute_rotational_part", "extract_gene_modules", "get_classification_datasets", "get_freqs",
    "get_regression_datasets", "kl_loss", "kl_loss_scipy", "load_jacobians", "plot_freq_scatter", "print_marker_genes",
    "quadratic_loss", "run_enrichment_analysis", "save_jacobians", "sparse_quadratic_loss",
}  # fmt: skip

# of these, the ones whose flags have a place in the original's argument list
POSITIONAL_FLAGS = {
    "AMICIExplainedVarianceModule.compute", "ExplainedVariance.compute", "explained_variance_barplot",
    "explained_variance_heatmaps", "plot_explained_variance_barplot", "plot_featurewise_explained_variance_heatmap",
    "ScyanModule.compute_probabilities", "ScyanModule.sample", "calc_corr_decay_stats", "compute_jacobian_elements",
    "compute_jacobian_stats", "compute_jacobians", "compute_rotational_part", "load_jacobians", "quadratic_loss",
    "sparse_quadratic_loss",
}  # fmt: skip

# hooks that Lightning and torch prescribe; their docstrings are those of the frameworks
HOOKS = {"forward", "training_step", "validation_step", "configure_optimizers"}


def public(module: str) -> Iterator[tuple[str, object]]:
    """Name and object of everything in ``__all__`` of a public module."""
    loaded = importlib.import_module(f"scmods.{module}")
    for name in loaded.__all__:
        yield f"scmods.{module}.{name}", getattr(loaded, name)


def functions(module: str) -> Iterator[tuple[str, object]]:
    """The public functions of a module and the public methods that its public classes define."""
    for name, thing in public(module):
        if inspect.isfunction(thing):
            yield name, thing
        elif inspect.isclass(thing) and thing.__module__.startswith("scmods"):
            for key, value in vars(thing).items():
                method = value.__func__ if isinstance(value, classmethod | staticmethod) else value
                if inspect.isfunction(method) and not key.startswith("_") and key not in HOOKS:
                    yield f"{name}.{key}", method


def parameters(thing: object) -> list[inspect.Parameter]:
    """Public parameters of a function or of a class's own constructor (an exception class has none)."""
    if inspect.isclass(thing):
        makers = [c for c in thing.__mro__ if "__init__" in vars(c)]
        if not makers[0].__module__.startswith("scmods"):
            return []
    found = inspect.signature(thing).parameters.values()
    return [p for p in found if p.name not in ("self", "cls") and not p.name.startswith("_")]


def takes_adata(function: object) -> bool:
    """Whether the first parameter is an AnnData."""
    return next(iter(inspect.signature(function).parameters), "") == "adata"


def unnamed(thing: object) -> list[str]:
    """Parameters that the docstring does not name."""
    text = inspect.getdoc(thing) or ""
    if inspect.isclass(thing):
        text += getattr(vars(thing).get("__init__"), "__doc__", "") or ""
    return [p.name for p in parameters(thing) if not re.search(rf"\b{p.name}\b", text)]


def test_import_is_light() -> None:
    code = f"import sys, scmods; print([m for m in {HEAVY!r} if m in sys.modules])"
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd=ROOT)
    assert run.stdout.strip() == "[]"


@pytest.mark.parametrize("name", scmods.__all__)
def test_every_promised_name_resolves(name: str) -> None:
    assert getattr(scmods, name) is not None
    assert name in dir(scmods)


def test_unknown_name_lists_what_exists() -> None:
    with pytest.raises(AttributeError, match="has no attribute 'bmpl'. Available: .*bmlp"):
        scmods.bmpl  # noqa: B018


@pytest.mark.parametrize("module", MODULES)
def test_every_public_name_is_documented_with_its_parameters(module: str) -> None:
    bare = []
    for name, thing in [*public(module), *functions(module)]:
        if inspect.isclass(thing) or inspect.isfunction(thing):
            own = vars(thing).get("__doc__") if inspect.isclass(thing) else thing.__doc__
            if not own or own.startswith(
                f"{getattr(thing, '__name__', '')}("
            ):  # what a dataclass writes itself
                bare.append(f"{name}: no docstring")
            elif missing := unnamed(thing):
                bare.append(f"{name}: docstring does not name {missing}")
    assert bare == []


@pytest.mark.parametrize("module", MODULES)
def test_every_public_name_is_annotated(module: str) -> None:
    bare = []
    for name, function in functions(module):
        missing = [p.name for p in parameters(function) if p.annotation is inspect.Parameter.empty]
        if inspect.signature(function).return_annotation is inspect.Signature.empty:
            missing.append("return")
        bare += [f"{name}: {missing}"] if missing else []
    assert bare == []


@pytest.mark.parametrize("module", MODULES)
def test_functions_of_adata_have_few_positions_and_a_safe_copy(module: str) -> None:
    wrong = []
    for name, function in functions(module):
        if not takes_adata(function):
            continue
        found = inspect.signature(function).parameters
        positions = [p for p in found.values() if p.kind is inspect.Parameter.POSITIONAL_OR_KEYWORD]
        if len(positions) > 3 and name.rsplit(".", 1)[-1] not in ORIGINALS:
            wrong.append(f"{name}: {len(positions)} positional parameters; make all but three keyword-only")
        copy = found.get("copy")
        late = name.rsplit(".", 1)[-1] in POSITIONAL_FLAGS or (copy and copy.kind is copy.KEYWORD_ONLY)
        if copy and (not late or copy.default is not False):
            wrong.append(f"{name}: `copy` must be keyword-only and False by default")
    assert wrong == []


@pytest.mark.parametrize("module", MODULES)
def test_flags_are_keyword_only(module: str) -> None:
    wrong = []
    for name, function in functions(module):
        if any(name.endswith(f".{kept}") for kept in POSITIONAL_FLAGS):
            continue
        for p in parameters(function):
            if isinstance(p.default, bool) and p.kind is not inspect.Parameter.KEYWORD_ONLY:
                wrong.append(f"{name}({p.name}={p.default})")
    assert wrong == []


def test_import_contracts_are_kept() -> None:
    code = "import sys; from importlinter.cli import lint_imports; sys.exit(lint_imports(no_cache=True))"
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False, cwd=ROOT)
    assert run.returncode == 0, run.stdout + run.stderr


@pytest.mark.parametrize("command", [["check"], ["format", "--check"]], ids=" ".join)
def test_style(command: list[str]) -> None:
    call = [sys.executable, "-m", "ruff", *command, "--no-cache", "."]
    run = subprocess.run(call, capture_output=True, text=True, check=False, cwd=ROOT)
    assert run.returncode == 0, run.stdout + run.stderr


def findings(tree: ast.AST, *, may_print: bool) -> list[tuple[int, str]]:
    """Line and kind of what library code must not hold."""
    out = []
    for node in ast.walk(tree):
        if isinstance(node, ast.Assert):
            out.append((node.lineno, "assert"))
        elif isinstance(node, ast.Call) and getattr(node.func, "id", "") == "print" and not may_print:
            out.append((node.lineno, "print"))
        elif isinstance(node, ast.ExceptHandler):
            kinds = node.type.elts if isinstance(node.type, ast.Tuple) else [node.type]
            last = node.body[-1]
            hides = not (
                isinstance(last, ast.Raise) and last.exc is None
            )  # tidying up and raising again is fine
            if hides and any(
                k is None or getattr(k, "id", "") in ("Exception", "BaseException") for k in kinds
            ):
                out.append((node.lineno, "broad except"))
        elif isinstance(node, ast.Import | ast.ImportFrom):
            names = [a.name for a in node.names] + [getattr(node, "module", None) or ""]
            if any(n.split(".")[0] in ("pickle", "joblib", "dill") for n in names):
                out.append((node.lineno, "pickle"))
    return out


@pytest.mark.parametrize("path", SOURCES, ids=lambda p: p.relative_to(ROOT).as_posix())
def test_library_code_is_quiet_and_strict(path: Path) -> None:
    tree = ast.parse(path.read_text(encoding="utf-8"))
    may_print = "_book" in path.parts or path.name == "__main__.py"
    assert findings(tree, may_print=may_print) == []


def test_the_strict_rules_can_fail() -> None:
    code = (
        "import pickle\nassert 1\nprint(2)\ntry:\n    pass\nexcept (KeyError, Exception):\n    pass\n"
        "try:\n    pass\nexcept:\n    pass\n"
    )
    code += "try:\n    pass\nexcept BaseException:\n    x = 1\n    raise\n"
    found = sorted(findings(ast.parse(code), may_print=False))
    assert found == [(1, "pickle"), (2, "assert"), (3, "print"), (6, "broad except"), (10, "broad except")]
    assert (3, "print") not in findings(ast.parse(code), may_print=True)


@pytest.mark.parametrize("path", [*SOURCES, ROOT / "tasks.py"], ids=lambda p: p.relative_to(ROOT).as_posix())
def test_files_stay_short(path: Path) -> None:
    assert len(path.read_text(encoding="utf-8").splitlines()) <= 400, "one subject, or several? Split it"


def test_methods_do_not_import_each_other() -> None:
    methods = {"amici", "bmlp", "hopfield", "scyan", "smoother"}
    wrong = []
    for path in SOURCES:
        own = path.relative_to(PACKAGE).parts[0]
        if own in methods:
            text = path.read_text(encoding="utf-8")
            others = "|".join(sorted(methods - {own}))
            wrong += [
                f"{path.name}: {m}"
                for m in re.findall(rf"^.*import.*\b(?:{others})\b.*$", text, re.MULTILINE)
            ]
    assert wrong == []


def test_the_small_anndata_is_the_same_in_every_form(
    tiny: AnnData, tiny_as: Callable[[str], AnnData]
) -> None:
    dense = tiny_as("dense")
    x = tiny.X.toarray() if hasattr(tiny.X, "toarray") else tiny.X
    np.testing.assert_array_equal(x, dense.X)
    np.testing.assert_array_equal(tiny.obsm["X_pca"], dense.obsm["X_pca"])
    assert list(tiny.obs_names) == list(dense.obs_names)
    assert list(tiny.obs["cell_type"]) == list(dense.obs["cell_type"])
    assert (tiny_as("view").is_view, dense.is_view) == (True, False)


@pytest.mark.parametrize("chapter", ["amici", "hopfield", "scyan", "smoother"])
def test_every_public_name_of_a_chapter_has_a_place_in_the_reference(chapter: str) -> None:
    text = "".join(p.read_text(encoding="utf-8") for p in (ROOT / "book" / "api").glob(f"{chapter}*.md"))
    listed = re.findall(
        rf"^\.\. (?:autofunction|autoclass|py:data):: scmods\.{chapter}\.(\w+)$", text, re.MULTILINE
    )
    assert sorted(listed) == sorted(getattr(scmods, chapter)._NAMES), f"each once, in book/api/{chapter}*.md"
