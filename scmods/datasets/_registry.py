"""The files of the real data sets: where they come from, what they must be, where they lie.

A file is used only with the checksum of the registry. Nothing that exists is ever overwritten.
"""

from __future__ import annotations

import csv
import hashlib
import os
import tempfile
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from scmods import _checks

__all__ = ["DataUnavailableError", "Entry", "entries", "fetch", "folder", "locate"]


@dataclass(frozen=True)
class Entry:
    """One file of the registry."""

    key: str
    url: str
    sha256: str
    bytes: int
    license: str
    content: str
    dataset: str
    used_by: str
    citation: str


class DataUnavailableError(RuntimeError):
    """A file of a data set cannot be had; the text says why, and how to get it by hand.

    Parameters
    ----------
    text
        The message.
    key, url
        Name and address of the file.
    path
        Where it should lie.

    Examples
    --------
    >>> from scmods import datasets
    >>> try:
    ...     raise datasets.DataUnavailableError("The file is not at hand.", key="hallmark")
    ... except datasets.DataUnavailableError as error:
    ...     error.key, str(error)
    ('hallmark', 'The file is not at hand.')
    """

    def __init__(self, text: str, *, key: str = "", url: str = "", path: Path | None = None) -> None:
        super().__init__(text)
        self.key, self.url, self.path = key, url, path


@cache
def entries() -> dict[str, Entry]:
    """All files of the registry by key."""
    with Path(__file__).with_name("registry.csv").open(encoding="utf-8", newline="") as file:
        rows = [Entry(**{**row, "bytes": int(row["bytes"])}) for row in csv.DictReader(file)]
    return {row.key: row for row in rows}


def _default_folder() -> Path:
    import pooch

    return Path(pooch.os_cache("scmods"))


def folder() -> Path:
    """The folder of the data files: ``SCMODS_DATA`` if set, else the user's cache folder."""
    named = os.environ.get("SCMODS_DATA", "").strip()
    return Path(named).expanduser().resolve() if named else _default_folder()


def locate(entry: Entry) -> Path | None:
    """The file if it is at hand, in `folder` or in the user's cache folder; its content is not looked at."""
    for place in (folder(), _default_folder()):
        if (place / entry.key).is_file():
            return place / entry.key
    return None


@cache
def _sha256(path: Path, size: int, changed: int) -> str:
    # size and time of change are part of the cache key, so that a replaced file is read again
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _writable(place: Path) -> bool:
    try:
        place.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=place):
            return True
    except OSError:
        return False


def _by_hand(entry: Entry, path: Path) -> str:
    return (
        f"By hand: download {entry.url} with a browser, save it as {path}"
        f" ({entry.bytes:,} bytes, SHA-256 {entry.sha256}), and call again."
        " Or set SCMODS_DATA to a folder that holds it."
    )


def _refuse(entry: Entry, path: Path, *parts: str) -> None:
    text = " ".join([*parts, _by_hand(entry, path)])
    raise DataUnavailableError(text, key=entry.key, url=entry.url, path=path)


def _check(entry: Entry, path: Path) -> Path:
    state = path.stat()
    found = _sha256(path, state.st_size, state.st_mtime_ns)
    if found != entry.sha256:
        _refuse(
            entry,
            path,
            f"`{path}` is not the file it should be: it has SHA-256 {found} and {state.st_size:,} bytes,",
            f"but {entry.sha256} and {entry.bytes:,} bytes were expected.",
            "It was left as it is. Delete it and call again to download it anew.",
        )
    return path


def _download(entry: Entry, place: Path) -> Path:
    import pooch

    path = place / entry.key
    try:
        pooch.retrieve(
            entry.url,
            f"sha256:{entry.sha256}",
            fname=entry.key,
            path=place,
            downloader=pooch.HTTPDownloader(timeout=30),
        )
    except ValueError as error:
        # pooch compares before it moves the download into place, so nothing was left behind
        _refuse(entry, path, f"The download of `{entry.key}` is corrupt or was changed: {error}")
    except OSError as error:
        cause = str(error) or type(error).__name__
        _refuse(entry, path, f"`{entry.key}` is not at hand and its download failed: {cause}.")
    return path


def fetch(key: str) -> Path:
    """A file of the registry, downloaded when it is not at hand, its checksum verified.

    Parameters
    ----------
    key
        Name of the file in the registry, for instance ``"hallmark_v7.0.gmt"``.

    Returns
    -------
    Its path: in the folder named by the environment variable ``SCMODS_DATA``, else in the user's cache
    folder. A folder that cannot be written to is only read; missing files then go to the user's cache folder.

    Raises
    ------
    MissingKeyError
        If the registry has no such file.
    DataUnavailableError
        If the download fails, or a file has another checksum than the registry.

    Examples
    --------
    >>> from scmods import datasets
    >>> datasets.fetch("hallmark_v7.0.gmt").name  # doctest: +SKIP
    'hallmark_v7.0.gmt'
    """
    known = entries()
    if key not in known:
        _checks.fail(
            f"The registry has no file {key!r}. Available: {_checks.listing(known)}.",
            _checks.nearest(key, known),
            "See `datasets.table()`.",
            kind=_checks.MissingKeyError,
        )
    entry = known[key]
    path = locate(entry)
    if path is None:
        places = [place for place in (folder(), _default_folder()) if _writable(place)]
        if not places:
            _refuse(entry, folder() / key, f"`{key}` is not at hand, and no folder can be written to.")
        path = _download(entry, places[0])
    return _check(entry, path)
