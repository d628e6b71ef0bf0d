"""The zip for participants: notebooks, states to start from, example data, the package; the same bytes each time."""

from __future__ import annotations

import io
import json
import os
import zipfile
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from scmods._book import notebook_file

__all__ = ["Handout", "write_zip"]

FOLDER = "scmods-workshop"
DATE = (2020, 1, 1, 0, 0, 0)
PACKAGE = ("pyproject.toml", "constraints.txt", "README.md", "LICENSE")
TEXT = (".py", ".txt", ".md", ".toml", ".csv", ".css", ".js", ".ipynb", ".typed", "")
SKIPPED = ("__pycache__", ".ipynb_checkpoints")

README = """Workshop: five interpretable single-cell models

What is in this folder
    check_setup.py   tells whether everything works on this computer
    notebooks/       the chapters, with empty cells where an exercise asks for your answer
    start_at/        the same chapters from a later section on, with the results of everything before
    data/            an example file for each chapter
    package/         the Python package that the notebooks use

Three steps
 1. Check. Needs Python 3.11 or newer and nothing else:
        python check_setup.py
    Each line that starts with NO is followed by what mends it. Send the last line to your teacher.
 2. Install, once, in this folder:
        python -m venv env
        source env/bin/activate            (Windows: env\\Scripts\\activate)
        pip install -c package/constraints.txt -e "package[book]" jupyterlab
    Then check again: python check_setup.py
    Where all packages are there already:
        pip install --no-deps --no-build-isolation -e package
    Where nothing may be installed, tell Python where the package lies and start Jupyter from the same window:
        export PYTHONPATH="$PWD/package"   (Windows: set PYTHONPATH=%CD%\\package)
 3. Open:
        jupyter lab
    and there a chapter in notebooks/.

Late, or a section did not work?
    {late}

Your own data
    python -m scmods check data/bmlp.h5ad
    python -m scmods run notebooks/bmlp.ipynb -p dataset=data/bmlp.h5ad
    The same with your own .h5ad file. For scyan a table of markers is given as well:
    python -m scmods run notebooks/scyan.ipynb -p dataset=data/scyan.h5ad -p table=data/scyan_table.csv

Without a network
    Only step 2 needs one. A teacher can prepare it, with the network on, for computers of the same kind:
        pip download -c package/constraints.txt -d wheels "./package[book]" jupyterlab setuptools wheel
    and participants then install from that folder:
        pip install --no-index --find-links wheels -c package/constraints.txt -e "package[book]" jupyterlab
    The notebooks themselves load nothing with their default parameters.
"""
LATE = """Open the notebook in start_at/ whose name has the number of the section, and run it from its top.
    It takes what the sections before have made from the .h5 file beside it."""
NO_STATES = "Ask your teacher for a zip with the folder start_at/; this one was packed without."


@dataclass(frozen=True)
class Handout:
    """What participants get of one chapter.

    Attributes
    ----------
    chapter
        Its name.
    copied
        JSON of the participant copy.
    starts
        Slug of a section -> JSON of the notebook that starts there.
    files
        The states (.h5) and the example data (.h5ad, .csv).
    """

    chapter: str
    copied: dict[str, Any]
    starts: dict[str, dict[str, Any]]
    files: Sequence[Path]


def _json(notebook: dict[str, Any]) -> bytes:
    return (json.dumps(notebook, indent=1, ensure_ascii=False, sort_keys=True) + "\n").encode()


def _content(path: Path) -> bytes:
    """Content of a file; texts with the line ends of every system made one."""
    content = path.read_bytes()
    return content.replace(b"\r\n", b"\n") if path.suffix in TEXT else content


def _package(root: Path) -> Iterator[tuple[str, bytes]]:
    """What pip needs to install the package of a project."""
    for name in PACKAGE:
        if (root / name).is_file():
            yield name, _content(root / name)
    for path in (root / "scmods").rglob("*"):
        parts = path.relative_to(root).parts
        if path.is_file() and not set(parts) & set(SKIPPED) and path.suffix not in (".pyc", ".part"):
            yield "/".join(parts), _content(path)


def members(handouts: Sequence[Handout], root: Path) -> dict[str, bytes]:
    """Files of the zip: name inside the folder -> content."""
    started = any(h.starts for h in handouts)
    found = {"README.txt": README.replace("{late}", LATE if started else NO_STATES).encode()}
    found["check_setup.py"] = _content(root / "scmods" / "_book" / "setup_check.py")
    for one in handouts:
        found[f"notebooks/{one.chapter}.ipynb"] = _json(one.copied)
        for slug, notebook in one.starts.items():
            found[f"start_at/{one.chapter}_{slug}.ipynb"] = _json(notebook)
        for path in one.files:
            found[f"{'start_at' if path.suffix == '.h5' else 'data'}/{path.name}"] = _content(path)
    return found | {f"package/{name}": content for name, content in _package(root)}


def packed(files: dict[str, bytes]) -> bytes:
    """Bytes of a zip with these files: sorted, with fixed dates and rights, so equal files give equal bytes."""
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w", zipfile.ZIP_DEFLATED, compresslevel=9) as archive:
        for name in sorted(files):
            entry = zipfile.ZipInfo(f"{FOLDER}/{name}", DATE)
            entry.compress_type = zipfile.ZIP_DEFLATED
            entry.create_system = 3
            entry.external_attr = 0o100644 << 16
            archive.writestr(entry, files[name])
    return out.getvalue()


def write_zip(handouts: Sequence[Handout], root: Path, target: Path) -> Path:
    """Write ``scmods-workshop.zip`` and, beside it, the single file of the set-up check.

    Parameters
    ----------
    handouts
        One per chapter.
    root
        Folder of the project; its package goes into the zip.
    target
        Folder that takes the files.
    """
    target.mkdir(parents=True, exist_ok=True)
    files = members(handouts, root)
    notebook_file.write_if_changed(target / "check_setup.py", files["check_setup.py"].decode())
    path = target / f"{FOLDER}.zip"
    content = packed(files)
    if not path.is_file() or path.read_bytes() != content:
        part = path.with_name(f"{path.name}.{os.getpid()}.part")
        part.write_bytes(content)
        os.replace(part, path)
    return path
