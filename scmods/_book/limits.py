"""What a parameter of a chapter may be, beyond its type: choices, bounds, files, names of data sets.

Everything here can be told without data, so that a wrong value is refused before a kernel starts. What depends on the
data is refused by the checks cell of the notebook.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from scmods import _checks
from scmods._book.params import Parameter, ParameterError

__all__ = ["LIMITS", "Bounds", "check_values", "in_words"]


@dataclass(frozen=True)
class Bounds:
    """Least and largest value, both allowed; None leaves a side open."""

    low: float | None = None
    high: float | None = None

    def __str__(self) -> str:
        if self.high is None:
            return f"at least {self.low:g}"
        return f"from {self.low:g} to {self.high:g}"


SOME = Bounds(1)
GMT = "a .gmt file"  # told among the choices, but no value
DEVICES = ("cpu", "cuda", "mps", "auto")
# tuple: one of these; "data": names of data sets; "file": a file or empty; "name": not empty
LIMITS: dict[str, dict[str, Any]] = {
    "amici": {
        "cluster_key": "name",
        "spatial_key": "name",
        "unit": Bounds(0),
        "n_neighbors": SOME,
        "restarts": SOME,
        "max_epochs": SOME,
        "n_folds": Bounds(2),
        "n_perms": SOME,
        "null_data": Bounds(0),
        "n_pairs": Bounds(0),
    },
    "bmlp": {
        "cluster_key": "name",
        "n_comps": SOME,
        "n_neighbors": SOME,
        "n_genes": SOME,
        "gene_sets": ("markers", "hallmark", "go_bp_2021", GMT),
        "n_splits": SOME,
        "n_seeds": Bounds(2),
        "original_epochs": SOME,
        "n_perms": SOME,
        "n_planted": SOME,
        "planted_cells": Bounds(100),
        "device": DEVICES,
    },
    "hopfield": {
        "spliced_layer": "name",
        "n_genes": Bounds(2),
        "n_neighbors": SOME,
        "ridge": Bounds(0),
        "circuits": "data",
        "n_resamples": Bounds(2),
        "n_splits": SOME,
        "device": DEVICES[:3],
    },
    "scyan": {
        "table": "file",
        "coding": ("signed", "symbols", "binary"),
        "transform": ("none", "asinh", "logicle"),
        "cofactor": Bounds(1e-6),
        "background": Bounds(0, 1),
        "penalty": Bounds(0),
        "contamination": Bounds(-1, 0.5),
        "min_delta": Bounds(1e-6),
        "n_seeds": SOME,
    },
    "smoother": {
        "spatial_key": "name",
        "noise": Bounds(0),
        "n_neighbors": SOME,
        "prior": ("icar", "car", "sar", "isar"),
        "rho": Bounds(-1, 1),
        "smoothing": Bounds(0),
        "n_genes": SOME,
        "n_comps": SOME,
        "n_seeds": SOME,
        "n_pairs": SOME,
        "epochs": SOME,
    },
}
SEED = Bounds(0, 2**32 - 1)


def _limit(chapter: str, name: str) -> Any:
    return SEED if name == "seed" else LIMITS.get(chapter, {}).get(name)


def in_words(chapter: str, name: str) -> str:
    """The limits of a parameter as words for a list, or an empty string."""
    limit = _limit(chapter, name)
    if isinstance(limit, tuple):
        return "one of " + ", ".join(limit)
    return "" if limit in (None, "data", "file", "name", SEED) else str(limit)


def _refuse(name: str, value: object, must: str, *hints: str) -> None:
    words = [f"Parameter `{name}` is {value!r}, but must be {must}.", *hints]
    raise ParameterError(" ".join(w for w in words if w))


def _is_choice(name: str, value: str, limit: tuple[str, ...]) -> bool:
    if value in limit:
        return value != GMT
    kind, _, number = value.partition(":")
    numbered = name == "device" and number.isdecimal() and kind in limit and kind != "auto"  # cuda:1
    return numbered or (GMT in limit and value.endswith(".gmt"))


def _check_one(parameter: Parameter, value: Any, limit: Any) -> None:
    from scmods import datasets

    name = parameter.name
    if isinstance(limit, Bounds):
        below = limit.low is not None and not value >= limit.low
        above = limit.high is not None and not value <= limit.high
        if below or above:
            _refuse(name, value, str(limit), f"Its default: -p {name}={parameter.default}.")
    elif isinstance(limit, tuple):
        if not _is_choice(name, value, limit):
            nearest = _checks.nearest(value, [one for one in limit if one != GMT])
            _refuse(
                name, value, f"one of {', '.join(limit)}", nearest, f"Write -p {name}={parameter.default}."
            )
    elif limit == "file":
        if value and not Path(value).is_file():
            _refuse(name, value, "a file that exists, or empty", f"Working folder: {Path.cwd()}.")
    elif limit == "name":
        if not value.strip():
            _refuse(name, value, "a name, not empty", f"Its default: -p {name}={parameter.default}.")
    elif limit == "data":
        for one in filter(None, (v.strip() for v in value.split(","))):
            if one not in datasets.names():
                known = datasets.names()
                _refuse(name, one, f"one of {', '.join(known)}", _checks.nearest(one, known))


def check_values(chapter: str, known: Mapping[str, Parameter], given: Mapping[str, Any]) -> None:
    """Refuse values outside their limits.

    Parameters
    ----------
    chapter
        Name of the chapter; a notebook of another name has no limits but those of the seed.
    known
        Its parameters.
    given
        Values of the declared types.

    Raises
    ------
    ParameterError
        With the name, the value, what is allowed, and the nearest or the default.
    """
    for name, value in given.items():
        limit = _limit(chapter, name)
        if limit is not None:
            _check_one(known[name], value, limit)
