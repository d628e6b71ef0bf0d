"""Files of flow cytometry, FCS 2.0 to 3.1: keywords and events of one data set, list mode.

Written from the public standard: Spidlen et al., Cytometry A 2010, 77A, 97-100, https://doi.org/10.1002/cyto.a.20825.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np

from scmods import _checks

__all__ = ["FcsFile", "compose", "parse"]

HEADER = 58
VERSIONS = (b"FCS2.0", b"FCS3.0", b"FCS3.1")


@dataclass(frozen=True)
class FcsFile:
    """What one file holds.

    Attributes
    ----------
    keywords
        Names (upper case, with ``$``) and values of the text segments.
    events
        (events, channels) float64 as stored, without the logarithmic amplification of old files undone.
    channels
        ``$PnN``, one per column.
    """

    keywords: dict[str, str]
    events: np.ndarray
    channels: list[str]

    def of_channels(self, letter: str) -> list[str]:
        """``$Pn<letter>`` of every channel, an empty text where it is missing.

        Parameters
        ----------
        letter
            ``"N"``, ``"S"``, ``"R"``, ``"E"``, ...
        """
        return [self.keywords.get(f"$P{i + 1}{letter}", "").strip() for i in range(len(self.channels))]


def _decoded(segment: bytes) -> str:
    try:
        return segment.decode("utf-8")
    except UnicodeDecodeError:
        return segment.decode("latin-1")  # as programs on Windows write µ and ß


def _paired(parts: list[str]) -> dict[str, str]:
    return {k.strip().upper(): v for k, v in zip(parts[::2], parts[1::2], strict=False)}


def _keywords(segment: bytes) -> dict[str, str]:
    """Keywords of a text segment; a doubled delimiter stands for itself within a value.

    The standard allows no empty values. Some programs write them nevertheless, which shifts all that follows; where
    only the reading with empty values finds the number of channels and of events, that one is right.
    """
    if not segment:
        return {}
    text = _decoded(segment)
    mark, rest = text[0], text[1:].rstrip("\0\r\n ")
    parts, word, i = [], [], 0
    while i < len(rest):
        doubled = rest[i] == mark and rest[i + 1 : i + 2] == mark
        if rest[i] == mark and not doubled:
            parts.append("".join(word))
            word = []
        else:
            word.append(rest[i])
        i += 2 if doubled else 1
    if word:
        parts.append("".join(word))
    strict = _paired(parts)
    loose = _paired(rest.split(mark))
    return loose if _complete(loose) and not _complete(strict) else strict


def _complete(keywords: dict[str, str]) -> bool:
    """Whether all channels that are promised are named."""
    count = keywords.get("$PAR", "").strip()
    return count.isdigit() and all(f"$P{i + 1}{k}" in keywords for i in range(int(count)) for k in "NBR")


def _offset(field: bytes) -> int:
    text = field.strip()
    return int(text) if text.lstrip(b"-").isdigit() else 0


def _need(keywords: dict[str, str], name: str, path: Path) -> str:
    if name not in keywords:
        _checks.fail(
            f"'{path}' lacks the keyword {name}, without which its events cannot be read.",
            f"It has {_checks.listing(keywords, 6)}.",
            "Export the file again from the program that wrote it.",
        )
    return keywords[name].strip()


def _whole(keywords: dict[str, str], name: str, path: Path) -> int:
    value = _need(keywords, name, path)
    if not value.lstrip("-").isdigit():
        _checks.fail(f"'{path}' has {name}={value!r}, but it must be a whole number.")
    return int(value)


def _bounds(header: bytes, keywords: dict[str, str], path: Path) -> tuple[int, int]:
    """First and last byte of the events; a header of zeros refers to the keywords."""
    first, last = _offset(header[26:34]), _offset(header[34:42])
    if first <= 0 or last <= 0:
        first, last = _whole(keywords, "$BEGINDATA", path), _whole(keywords, "$ENDDATA", path)
    return first, last


def _order(keywords: dict[str, str], path: Path) -> str:
    order = _need(keywords, "$BYTEORD", path).replace(" ", "")
    if order in ("1,2,3,4", "1,2"):
        return "<"
    if order in ("4,3,2,1", "2,1"):
        return ">"
    _checks.fail(
        f"'{path}' has $BYTEORD={order!r}, but only 1,2,3,4 (little) and 4,3,2,1 (big endian) are read."
    )
    return ""


def _integers(raw: np.ndarray, widths: list[int], order: str) -> np.ndarray:
    """(events, channels) from the bytes of every event, any whole number of bytes per channel."""
    out, at = np.zeros((len(raw), len(widths))), 0
    for j, bits in enumerate(widths):
        size = bits // 8
        field = raw[:, at : at + size].astype(np.uint64)
        shifts = np.arange(size, dtype=np.uint64) * np.uint64(8)
        field = field << (shifts if order == "<" else shifts[::-1])
        out[:, j] = field.sum(axis=1, dtype=np.uint64)
        at += size
    return out


def _masked(events: np.ndarray, widths: list[int], ranges: list[str]) -> np.ndarray:
    """Bits above the range of a channel carry no data and are cleared."""
    for j, (bits, text) in enumerate(zip(widths, ranges, strict=True)):
        top = int(float(text)) if text else 0
        if top > 0 and bits <= 48:  # wider ones pass through float64, and no instrument fills them
            mask = (1 << max(1, (top - 1).bit_length())) - 1
            events[:, j] = (events[:, j].astype(np.uint64) & np.uint64(mask)).astype(np.float64)
    return events


def _events(data: bytes, keywords: dict[str, str], n_channels: int, path: Path) -> np.ndarray:
    kind, order = _need(keywords, "$DATATYPE", path).upper(), _order(keywords, path)
    total = _whole(keywords, "$TOT", path)
    widths = [_whole(keywords, f"$P{i + 1}B", path) for i in range(n_channels)]
    if kind in ("F", "D"):
        size = 4 if kind == "F" else 8
        if set(widths) != {8 * size}:
            _checks.fail(
                f"'{path}' has $DATATYPE={kind}, which means {8 * size} bits, but $PnB of"
                f" {_checks.listing(sorted(set(widths)))}.",
            )
        width = size * n_channels
    elif kind == "I":
        odd = [f"$P{i + 1}B={w}" for i, w in enumerate(widths) if w % 8 or not 8 <= w <= 64]
        if odd:
            _checks.fail(
                f"'{path}' has channels whose width is no whole number of bytes: {_checks.listing(odd, 4)}.",
                "Export the file again as floating point ($DATATYPE=F).",
            )
        width = sum(widths) // 8
    else:
        _checks.fail(f"'{path}' has $DATATYPE={kind!r}, but only F, D and I are read.")
    if len(data) < total * width:
        _checks.fail(
            f"'{path}' is cut short: $TOT={total} events need {total * width} bytes, but it has {len(data)}.",
            "Copy or download it again.",
        )
    if kind == "I":
        raw = np.frombuffer(data, dtype=np.uint8, count=total * width).reshape(total, width)
        events = _integers(raw, widths, order)
        return _masked(events, widths, [keywords.get(f"$P{i + 1}R", "").strip() for i in range(n_channels)])
    flat = np.frombuffer(data, dtype=f"{order}f{size}", count=total * n_channels)
    return flat.reshape(total, n_channels).astype(np.float64)


def parse(path: Path) -> FcsFile:
    """Read the first data set of a file.

    Parameters
    ----------
    path
        The file.

    Raises
    ------
    ValueError
        If it is no FCS file of list mode, lacks a keyword or is cut short; with the keyword.
    """
    raw = path.read_bytes()
    if raw[:6] not in VERSIONS or len(raw) < HEADER:
        _checks.fail(
            f"'{path}' starts with {raw[:6]!r}, but an FCS file starts with FCS2.0, FCS3.0 or FCS3.1.",
            "Tables are read with `scyan.read_csv(path)`.",
        )
    header = raw[:HEADER]
    first, last = _offset(header[10:18]), _offset(header[18:26])
    keywords = _keywords(raw[first : last + 1])
    more = [_offset(keywords.get(k, "0").encode()) for k in ("$BEGINSTEXT", "$ENDSTEXT")]
    if 0 < more[0] < more[1] and more[0] != first:
        keywords = {**_keywords(raw[more[0] : more[1] + 1]), **keywords}
    mode = _need(keywords, "$MODE", path).upper()
    if mode != "L":
        kinds = {"C": "one correlated histogram", "U": "uncorrelated histograms"}
        _checks.fail(
            f"'{path}' has $MODE={mode}, {kinds.get(mode, 'an unknown mode')}: it holds no single events.",
            "Export it in list mode ($MODE=L).",
        )
    n_channels = _whole(keywords, "$PAR", path)
    begin, end = _bounds(header, keywords, path)
    events = _events(raw[begin : end + 1], keywords, n_channels, path)
    channels = [_need(keywords, f"$P{i + 1}N", path) for i in range(n_channels)]
    return FcsFile(keywords, events, channels)


def _text(keywords: dict[str, str], mark: str = "|") -> bytes:
    parts = (f"{k}{mark}{v.replace(mark, mark * 2) or ' '}" for k, v in keywords.items())
    return (mark + mark.join(parts) + mark).encode()


def compose(events: np.ndarray, channels: list[str], markers: list[str], more: dict[str, str]) -> bytes:
    """The bytes of an FCS 3.1 file of 32-bit floats, little endian.

    Parameters
    ----------
    events
        (events, channels).
    channels, markers
        ``$PnN`` and ``$PnS``.
    more
        Further keywords.
    """
    data = np.ascontiguousarray(events, dtype="<f4").tobytes()
    keywords = {"$MODE": "L", "$DATATYPE": "F", "$BYTEORD": "1,2,3,4", "$NEXTDATA": "0"}
    keywords |= {"$PAR": str(len(channels)), "$TOT": str(len(events))}
    keywords |= dict.fromkeys(("$BEGINSTEXT", "$ENDSTEXT", "$BEGINANALYSIS", "$ENDANALYSIS"), "0")
    tops = events.max(axis=0, initial=1.0) if len(events) else np.ones(len(channels))
    for i, (channel, marker, top) in enumerate(zip(channels, markers, tops, strict=True), start=1):
        keywords |= {f"$P{i}N": channel, f"$P{i}S": marker, f"$P{i}B": "32", f"$P{i}E": "0,0"}
        keywords[f"$P{i}R"] = str(int(np.ceil(top)) + 1)
    keywords |= more
    # offsets are written with a fixed number of digits, so that they do not move what they point to
    keywords |= {"$BEGINDATA": "0" * 12, "$ENDDATA": "0" * 12}
    begin = HEADER + len(_text(keywords))
    end = begin + len(data) - 1
    keywords |= {"$BEGINDATA": f"{begin:012d}", "$ENDDATA": f"{end:012d}"}
    # positions beyond eight digits do not fit in the header: zeros refer to the keywords
    places = [HEADER, begin - 1, *((begin, end) if end < 10**8 else (0, 0)), 0, 0]
    header = b"FCS3.1    " + b"".join(f"{p:8d}".encode() for p in places)
    return header + _text(keywords) + data
