"""The zip as a participant has it: unpacked into an empty folder, without a network, without the repository."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

from scmods._book import handout
from scmods._book.content_key import HOME
from scmods._book.handout import Handout, members, packed
from scmods._book.rehearsal import make, prepare
from scmods._book.sections import start_notebook

CHAPTER = "hopfield"  # the chapter that runs fastest
START = "09_two-genes-one-can-draw"
NO_NETWORK = """
import socket

LOCAL = ("127.0.0.1", "::1", "localhost", "", None)


def guarded(real):
    def connect(self, address):
        if self.family in (socket.AF_INET, socket.AF_INET6) and address[0] not in LOCAL:
            raise OSError(f"the network is off: {address[0]}")
        return real(self, address)
    return connect


def local_only(host, *args, real=socket.getaddrinfo, **kwargs):
    if host not in LOCAL:
        raise OSError(f"the network is off: {host}")
    return real(host, *args, **kwargs)


socket.socket.connect = guarded(socket.socket.connect)
socket.socket.connect_ex = guarded(socket.socket.connect_ex)
socket.getaddrinfo = local_only
"""


class Participant:
    """A folder with the unpacked zip, and a Python that sees nothing else of the project."""

    def __init__(self, place: Path) -> None:
        self.folder = place / handout.FOLDER
        (place / "off").mkdir()
        (place / "off" / "sitecustomize.py").write_text(NO_NETWORK, encoding="utf-8")
        away = ("SCMODS_DATA", "SCMODS_RUN_DIR", "PYTHONHOME")
        self.env = {k: v for k, v in os.environ.items() if k not in away}
        paths = [str(place / "off"), str(self.folder / "package")]
        home = {name: str(place / "home") for name in ("HOME", "USERPROFILE", "IPYTHONDIR", "XDG_CACHE_HOME")}
        (place / "home").mkdir()
        self.env |= home | {"PYTHONPATH": os.pathsep.join(paths), "JUPYTER_PREFER_ENV_PATH": "1"}

    def run(self, *call: str) -> str:
        """Output of Python with these arguments, called in the unpacked folder; it must end well."""
        made = subprocess.run(
            [sys.executable, *call],
            cwd=self.folder,
            env=self.env,
            capture_output=True,
            text=True,
            check=False,
        )
        assert made.returncode == 0, made.stdout[-3000:] + made.stderr[-3000:]
        return made.stdout

    def open(self, name: str) -> None:
        """Run a notebook in its own folder from top to bottom; it must use the package of the zip."""
        path = self.folder / name
        notebook = json.loads(path.read_text(encoding="utf-8"))
        inside = f"import scmods\nassert scmods.__file__.startswith({str(self.folder / 'package')!r}), scmods.__file__"
        last = {"cell_type": "code", "id": "where", "metadata": {}, "outputs": [], "execution_count": None}
        notebook["cells"].append(last | {"source": inside})
        asked = path.with_name("asked.ipynb")
        asked.write_text(json.dumps(notebook), encoding="utf-8")
        self.run(
            "-m",
            "papermill",
            str(asked),
            str(asked),
            "--cwd",
            str(path.parent),
            "-k",
            "python3",
            "--no-progress-bar",
        )


@pytest.fixture(scope="module")
def participant(tmp_path_factory: pytest.TempPathFactory) -> Participant:
    """The unpacked zip of one chapter.

    Its states are those of the project's cache; where there are none yet they are made and kept, so that building
    the book does not make them again.
    """
    chapter = prepare(HOME / "notebooks" / f"{CHAPTER}.ipynb", HOME)
    if chapter.record is None:
        make(chapter, threads=1)
    started = {s.section.slug: start_notebook(chapter.copied, s, CHAPTER) for s in chapter.starts if s.names}
    files = sorted(p for p in chapter.folder.iterdir() if p.suffix in (".h5", ".h5ad"))
    content = packed(members([Handout(CHAPTER, chapter.copied, started, files)], HOME))
    place = tmp_path_factory.mktemp("participant")
    (place / "one.zip").write_bytes(content)
    with zipfile.ZipFile(place / "one.zip") as archive:
        archive.extractall(place)
    return Participant(place)


def test_the_folder_alone_is_enough(participant: Participant) -> None:
    where = participant.run("-c", "import scmods; print(scmods.__file__)").strip()
    assert Path(where).is_relative_to(participant.folder / "package")
    off = "import urllib.request as u\ntry:\n    u.urlopen('http://192.0.2.1', timeout=5)\n"
    off += "except OSError as e:\n    print(e)"
    assert "the network is off" in participant.run("-c", off)
    # a busy machine may import slowly and have little memory left; neither is what is tried here
    slow = "import check_setup as c, sys\nc.IMPORT_SECONDS, c.MEMORY_GB = 300, 0.1\nsys.exit(c.main([]))"
    out = participant.run("-c", slow)
    assert "code for your teacher: OK-3" in out
    assert f"ok  chapters: {CHAPTER}\n" in out
    assert "ok  versions: those of constraints.txt" in out
    participant.open(f"notebooks/{CHAPTER}.ipynb")
    participant.open(f"start_at/{CHAPTER}_{START}.ipynb")
    told = participant.run("-m", "scmods", "check", f"data/{CHAPTER}.h5ad")
    assert f"python -m scmods run {CHAPTER}" in told
    assert "-p cluster_key=" in participant.run("-m", "scmods", "list", CHAPTER)


def test_nothing_of_this_machine_is_in_the_zip(participant: Participant) -> None:
    for path in participant.folder.rglob("*"):
        if path.suffix in (".py", ".txt", ".md", ".toml", ".ipynb", ".h5") and path.name != "asked.ipynb":
            assert str(HOME).encode() not in path.read_bytes(), path.name
