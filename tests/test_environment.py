"""pyproject.toml is the one list of needs; pins, conda file, citation and this environment must follow it."""

from __future__ import annotations

import importlib.metadata as metadata
import os
import re
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest
import yaml
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name
from packaging.version import Version

ROOT = Path(__file__).resolve().parents[1]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
EXTRAS = PROJECT["optional-dependencies"]
REQUIREMENTS = [
    Requirement(text) for text in PROJECT["dependencies"] + [r for e in EXTRAS.values() for r in e]
]
PINS = {
    canonicalize_name(name): Version(version)
    for name, version in re.findall(
        r"^([\w.-]+)==(\S+)$", (ROOT / "constraints.txt").read_text(encoding="utf-8"), re.MULTILINE
    )
}
PLATFORMS = {
    "linux": {"sys_platform": "linux", "platform_system": "Linux", "os_name": "posix"},
    "macos": {"sys_platform": "darwin", "platform_system": "Darwin", "os_name": "posix"},
    "windows": {"sys_platform": "win32", "platform_system": "Windows", "os_name": "nt"},
}
unpinned = pytest.mark.skipif(
    os.environ.get("SCMODS_UNPINNED") == "1", reason="SCMODS_UNPINNED=1: newest versions on purpose"
)


def needs(name: str, extras: frozenset[str], marker: dict[str, str]) -> list[Requirement]:
    """Requirements of an installed package that hold on that platform with the extras asked for."""
    found = [Requirement(text) for text in metadata.requires(name) or []]
    asked = extras or {""}
    return [
        r for r in found if r.marker is None or any(r.marker.evaluate({**marker, "extra": e}) for e in asked)
    ]


def closure(marker: dict[str, str]) -> set[str]:
    """Names of everything the project needs, through every requirement of a requirement and its extras."""
    todo = [(canonicalize_name(r.name), frozenset(r.extras)) for r in REQUIREMENTS]
    seen: set[tuple[str, frozenset[str]]] = set()
    while todo:
        name, extras = todo.pop()
        if (name, extras) in seen:
            continue
        seen.add((name, extras))
        if (
            name == "torch"
        ):  # its GPU libraries, pinned exactly by the build itself, differ from build to build
            extras, skip = frozenset(), re.compile("nvidia|cuda|triton")
        else:
            skip = re.compile("$^")
        try:
            more = needs(name, extras, marker) + (needs(name, frozenset(), marker) if extras else [])
        except metadata.PackageNotFoundError:  # of another platform
            continue
        todo += [(canonicalize_name(r.name), frozenset(r.extras)) for r in more if not skip.match(r.name)]
    return {name for name, _ in seen}


def tracked() -> list[Path]:
    """The files under version control, or all files of a downloaded copy."""
    try:
        out = subprocess.run(["git", "ls-files", "-z"], cwd=ROOT, capture_output=True, check=True).stdout
        names = out.decode("utf-8").split("\0")
    except (OSError, subprocess.CalledProcessError):
        skip = {".git", ".venv", ".cache", "_build", "results"}
        names = [
            str(p.relative_to(ROOT)) for p in ROOT.rglob("*") if not skip & set(p.relative_to(ROOT).parts[:1])
        ]
    return [ROOT / name for name in names if name and (ROOT / name).is_file()]


def lines_with(pattern: str) -> list[str]:
    """``file:line: match`` of every tracked text file."""
    out = []
    for path in tracked():
        text = path.read_bytes().decode("utf-8", errors="ignore")
        for number, line in enumerate(text.splitlines(), 1):
            if hit := re.search(pattern, line):
                out.append(f"{path.relative_to(ROOT).as_posix()}:{number}: {hit[0]}")
    return out


@pytest.mark.parametrize("requirement", REQUIREMENTS, ids=lambda r: r.name)
def test_every_requirement_is_pinned_inside_its_range(requirement: Requirement) -> None:
    name = canonicalize_name(requirement.name)
    assert name in PINS, f"add {name}==... to constraints.txt"
    assert PINS[name] in requirement.specifier


@unpinned
@pytest.mark.parametrize("platform", PLATFORMS)
def test_the_whole_closure_is_pinned(platform: str) -> None:
    missing = closure(PLATFORMS[platform]) - set(PINS)
    assert sorted(missing) == [], "add these to constraints.txt, each with the version tested"


def test_closure_follows_extras_and_markers() -> None:
    linux, windows = closure(PLATFORMS["linux"]), closure(PLATFORMS["windows"])
    assert {"pexpect", "fsspec"} <= linux  # a platform's own; needed by an extra or a requirement only
    assert "colorama" in windows
    assert "colorama" not in linux


@unpinned
def test_installed_versions_are_the_pins() -> None:
    here = next(name for name, env in PLATFORMS.items() if env["sys_platform"] == sys.platform)
    wrong = []
    for name in sorted(closure(PLATFORMS[here]) & set(PINS)):
        try:
            have = Version(metadata.version(name))
        except metadata.PackageNotFoundError:
            wrong.append(f"{name} is not installed")
            continue
        if Version(have.public) != PINS[name]:  # the torch build for the CPU calls itself 2.x.y+cpu
            wrong.append(f"{name} {have}, pinned {PINS[name]}")
    assert wrong == [], "pip install -c constraints.txt -e '.[book,test]' brings them back"


def test_pins_are_sorted_out() -> None:
    text = (ROOT / "constraints.txt").read_text(encoding="utf-8")
    lines = [line for line in text.splitlines() if line and not line.startswith("#")]
    assert len(lines) == len(PINS), "one name==version a line, no name twice"
    assert not [line for line in lines if "+" in line], (
        "no build tags such as +cpu: they exist in one index only"
    )


def test_conda_file_points_at_both_lists() -> None:
    conda = yaml.safe_load((ROOT / "environment.yml").read_text(encoding="utf-8"))
    pip = next(item["pip"] for item in conda["dependencies"] if isinstance(item, dict))
    assert pip == ["-c constraints.txt", "-e .[book,test]"]
    assert sorted(EXTRAS) == ["book", "test"]
    python = next(item for item in conda["dependencies"] if str(item).startswith("python="))
    assert Version(python.split("=")[1]) in Requirement("python" + PROJECT["requires-python"]).specifier


def test_one_version_everywhere() -> None:
    import scmods

    citation = yaml.safe_load((ROOT / "CITATION.cff").read_text(encoding="utf-8"))
    assert citation["version"] == PROJECT["version"] == scmods.__version__
    assert citation["license"] == PROJECT["license"]
    assert citation["title"].startswith("scmods")
    changes = (ROOT / "CHANGELOG.md").read_text(encoding="utf-8")
    assert "## [Unreleased]" in changes or f"## [{PROJECT['version']}]" in changes


def test_theme_and_book_stay_on_the_tried_line() -> None:
    # 1.3 of the theme shows a second search box in an empty bar; Jupyter Book 2 ignores _config.yml
    assert PINS["sphinx-book-theme"].release[:2] == (1, 2)
    assert PINS["jupyter-book"].major == 1


def test_hooks_use_the_pinned_tools() -> None:
    config = yaml.safe_load((ROOT / ".pre-commit-config.yaml").read_text(encoding="utf-8"))
    hooks = [hook for repo in config["repos"] for hook in repo["hooks"]]
    wanted = [Requirement(text) for hook in hooks for text in hook.get("additional_dependencies", [])]
    assert {"ruff", "nbstripout"} <= {r.name for r in wanted}
    for requirement in wanted:
        pin = PINS.get(canonicalize_name(requirement.name))
        assert pin is None or pin in requirement.specifier, (
            f"{requirement} in the hooks, {pin} in constraints.txt"
        )


def test_no_registry_is_named() -> None:
    hosts = ["py" + "pi.org", "python" + "hosted.org", "download.py" + "torch.org", "conda." + "anaconda.org"]
    hosts += ["repo." + "anaconda.com", "registry.npm" + "js.org", "crates" + ".io", "conda." + "prefix.dev"]
    assert lines_with("|".join(map(re.escape, hosts))) == [], (
        "pip's own configuration decides where packages come from"
    )


def test_no_path_of_one_machine() -> None:
    pattern = r"(?<![\w.])/(?:wo" + r"rk|ro" + r"ot|ho" + r"me/\w|Us" + r"ers/\w)/?|C:\\\\?Us" + "ers"
    assert lines_with(pattern) == []
    beside = [hit for hit in lines_with(re.escape("../sha" + "red")) if not hit.startswith(".ci/run:")]
    assert beside == [], "only .ci/run may look beside the checkout"


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("open('/ro" + "ot/x')", True),
        ("cd /wo" + "rk/main", True),
        ("a/wo" + "rk/b", False),
        ("./ho" + "me/x", False),
    ],
)
def test_the_path_pattern_can_fail(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, text: str, found: bool
) -> None:
    (tmp_path / "file.txt").write_text(text, encoding="utf-8")
    monkeypatch.setattr(sys.modules[__name__], "tracked", lambda: [tmp_path / "file.txt"])
    monkeypatch.setattr(sys.modules[__name__], "ROOT", tmp_path)
    if found:
        with pytest.raises(AssertionError):
            test_no_path_of_one_machine()
    else:
        test_no_path_of_one_machine()
