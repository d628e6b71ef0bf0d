"""What stands for what in a file of a stranger: candidates for each role, the best guess first.

Names decide first, the kind of the numbers second; nothing here opens a file.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from scmods._book.file_facts import FileFacts

__all__ = ["candidates", "places"]

LABELS = (
    "cell_type",
    "celltype",
    "cell_types",
    "bulk_labels",
    "annotation",
    "cluster",
    "clusters",
    "leiden",
    "louvain",
)
SECTIONS = ("library_id", "library", "section", "slide", "sample", "sample_id", "batch")
BATCHES = ("batch", "sample", "sample_id", "donor", "donor_id", "patient", "library", "replicate")
VELOCITIES = ("velocity", "velocity_S")
COUNTS = ("counts", "raw_counts", "raw", "umis", "umi")
# parts of names, tried after the full names
LABEL_WORDS = ("type", "typ", "class", "cluster", "label", "annot", "leiden", "louvain", "gate", "population")
BATCH_WORDS = ("batch", "donor", "patient", "sample", "replicate", "library", "plate")
SECTION_WORDS = ("library", "section", "slide", "sample", "batch", "fov")
PLACE_WORDS = ("spatial", "coord", "xy", "position", "centroid", "location")
EMBEDDINGS = re.compile(r"^x_|umap|tsne|pca|diffmap|draw_graph|phate|mds|lsi|velocity|freq|latent", re.I)
SPLICED = ("spliced", "mature", "exonic", "exon", "exons", "cytoplasmic")
UNSPLICED = ("unspliced", "nascent", "intronic", "intron", "introns", "nuclear", "premature")
REGULATORS = ("tf", "transcription", "regulator")
RAW = 100.0  # a largest value above this belongs to intensities, not to a compressed scale


def _plain(name: object) -> str:
    return re.sub(r"[^0-9a-z]+", "_", str(name).lower()).strip("_")


def _named(wanted: Iterable[str], have: Iterable[str], words: Iterable[str] = ()) -> list[str]:
    """Names among `have` that are wanted, in the order of the wish; then those that contain a word."""
    names = list(have)
    exact = [n for w in wanted for n in names if _plain(n) == _plain(w)]
    parts = [n for w in words for n in names if w in _plain(n)]
    return list(dict.fromkeys([*exact, *parts]))


def _labels(found: FileFacts, *, only_own: bool) -> list[str]:
    """Columns of labels; those that name a batch or a section come last, or not at all."""
    other = [*_named(BATCHES, found.labels, BATCH_WORDS), *_named(SECTIONS, found.labels, SECTION_WORDS)]
    named = _named(LABELS, found.labels)
    own = [n for n in found.labels if n in named or n not in other]
    best = _named(LABELS, own, LABEL_WORDS)
    rest = [n for n in found.labels if n not in own]
    return list(dict.fromkeys([*best, *own, *([] if only_own else rest)]))


def _spliced(found: FileFacts, role: str) -> list[str]:
    smooth = "Ms" if role == "spliced" else "Mu"
    words = SPLICED if role == "spliced" else UNSPLICED
    names = _named(words, found.matrices)
    more = [n for n in found.matrices if role in _plain(n).split("_") and n not in names]
    smoothed = _named((smooth,), found.matrices)
    both = [*smoothed, *names, *more] if candidates(found, "velocity") else [*names, *more, *smoothed]
    return [n for n in both if n != "X"]


def _of_kind(found: FileFacts, kinds: Iterable[str], wanted: Iterable[str] = ()) -> list[str]:
    """Matrices whose numbers are of a kind, X first; layers of one kind of transcript are none of them."""
    taken = {n.lower() for n in (*SPLICED, *UNSPLICED)}
    fit = [n for kind in kinds for n, k in found.matrices.items() if k == kind and _plain(n) not in taken]
    return list(dict.fromkeys([*(["X"] if "X" in fit else []), *_named(wanted, fit), *fit]))


def _velocity(found: FileFacts) -> list[str]:
    # counts of both kinds are worth more than a velocity of another tool
    counted = _named(UNSPLICED, found.matrices)
    return [] if counted else _named(VELOCITIES, found.matrices)


def _table(found: FileFacts, role: str) -> list[str]:
    if role == "table":
        stored = ["uns['table']"] if found.table and not found.table_file else []
        return [found.table_file] if found.table_file else stored
    if found.table_file:
        return [found.table_file]
    return [] if found.table else ["table.csv"]


def _transform(found: FileFacts) -> list[str]:
    name = next(iter(candidates(found, "values")), "")
    if found.largest.get(name, 0.0) <= RAW:
        return []
    return ["logicle"] if found.matrices[name] == "scaled" else ["asinh"]


def candidates(found: FileFacts, role: str) -> list[str]:
    """Names in the file that may play a role, the best guess first; empty where nothing fits.

    Parameters
    ----------
    found
        What the file holds.
    role
        labels, types, regions, populations, batch, sections, spatial, spliced, unspliced, velocity, counts, logged,
        expression, values, table, table file, coding, transform or regulators.
    """
    if role in ("labels", "types", "regions"):
        return _labels(found, only_own=role != "labels")
    if role in ("spliced", "unspliced"):
        return _spliced(found, role)
    if role in ("table", "table file"):
        return _table(found, role)
    good = [name for name, kind in found.matrices.items() if kind not in ("NaN", "empty")]
    rules = {
        "batch": lambda: _named(BATCHES, found.labels, BATCH_WORDS),
        "sections": lambda: _named(SECTIONS, found.labels, SECTION_WORDS),
        "spatial": lambda: found.spatial,
        "populations": lambda: [found.populations] if found.populations else [],
        "velocity": lambda: _velocity(found),
        "counts": lambda: _of_kind(found, ("counts",), COUNTS),
        "logged": lambda: _of_kind(found, ("log", "counts")),
        "coding": lambda: [found.coding] if found.coding != "signed" else [],
        "transform": lambda: _transform(found),
        "regulators": lambda: [n for n in found.flags if any(w in _plain(n) for w in REGULATORS)],
    }
    return rules.get(role, lambda: good)()


def places(names: Iterable[str]) -> list[str]:
    """Slots of ``obsm`` that could be positions: those called so, then those that are called like nothing known."""
    names = list(names)
    called = [n for n in names if any(w in n.lower() for w in PLACE_WORDS)]
    return [*called, *(n for n in names if n not in called and not EMBEDDINGS.search(n))]
