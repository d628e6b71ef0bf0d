"""scmods: five interpretable single-cell models, from the equation to the picture.

Names only: a submodule is imported when it is first used, so that ``import scmods`` stays light.
"""

from importlib import import_module
from typing import Any

__version__ = "0.1.0"

_MODULES = (
    "amici", "bmlp", "datasets", "graph", "hopfield", "io", "linalg", "scyan", "smoother", "stats", "training",
)  # fmt: skip
_NAMES = {
    "claim": "scmods._book.claims",
    "save_table": "scmods._book.claims",
    "save_result": "scmods._book.claims",
    "MissingKeyError": "scmods._checks",
    "NumericalWarning": "scmods._checks",
    "PerformanceWarning": "scmods._checks",
}

__all__ = ["__version__", *_MODULES, *_NAMES]


def __getattr__(name: str) -> Any:
    if name in _MODULES:
        return import_module(f"scmods.{name}")
    if name in _NAMES:
        return getattr(import_module(_NAMES[name]), name)
    msg = f"module 'scmods' has no attribute {name!r}. Available: {', '.join(__all__)}"
    raise AttributeError(msg)


def __dir__() -> list[str]:
    return sorted(__all__)
