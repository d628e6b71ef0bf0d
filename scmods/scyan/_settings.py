"""The settings of `Scyan`, looked at before anything is trained."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

from scmods import _checks

__all__ = ["checked_settings", "current", "known_markers", "list_of"]

GONE = ("drop_last",)  # settings that older files hold and that nothing reads


def checked_settings(given: dict[str, Any]) -> dict[str, Any]:
    """The settings as plain values that can be stored.

    Parameters
    ----------
    given
        Arguments of `Scyan` by name.

    Raises
    ------
    TypeError, ValueError
        If one has the wrong type or lies outside its range.
    """
    out = dict(given)
    for name in ("hidden_size", "n_layers", "modulo_temp", "max_cells"):
        out[name] = _checks.integer(name, given[name])
    for name in ("n_hidden_layers", "seed"):
        out[name] = _checks.integer(name, given[name], 0)
    for name in ("prior_std", "background", "cov_scale"):
        out[name] = _checks.number(name, given[name])
    for name in ("lr", "penalty"):
        out[name] = _checks.number(name, given[name], 0.0)
    for name in ("align", "running_weights", "zero_last"):
        out[name] = bool(given[name])
    if given["temperature"] is not None:
        out["temperature"] = _checks.number("temperature", given["temperature"])
    if given["batch_size"] is not None:
        out["batch_size"] = _checks.integer("batch_size", given["batch_size"])
    out["contamination"] = _share(given["contamination"])
    return out | {"log_prob_th": None, "fit": {}}


def _share(contamination: float | None) -> float | None:
    if contamination is None or 0 <= _checks.number("contamination", contamination) < 1:
        return None if contamination is None else float(contamination)
    return _checks.fail(
        f"`contamination` is {contamination:g}, but must be at least 0 and below 1, or None to estimate it."
    )


def current(stored: dict[str, Any]) -> dict[str, Any]:
    """Settings of a file without those that nothing reads any more.

    Parameters
    ----------
    stored
        The settings as they were written.
    """
    return {name: value for name, value in stored.items() if name not in GONE}


def list_of(names: Iterable[str]) -> list[str]:
    """A list of names; one text is left as it is, for the check that follows."""
    return names if isinstance(names, str) else [str(n) for n in names]  # type: ignore[return-value]


def known_markers(markers: Iterable[str], have: Sequence[str]) -> list[str]:
    """Markers of the table by name.

    Parameters
    ----------
    markers
        The continuum markers asked for.
    have
        Markers of the table.

    Raises
    ------
    TypeError, ValueError
        If `markers` is one text, or names what is not in the table.
    """
    wanted = list_of(markers)
    if isinstance(wanted, str):
        _checks.fail(
            f"`continuum_markers` is the text {wanted!r}, but must be a list of markers.",
            f"Write continuum_markers=[{wanted!r}].",
            kind=TypeError,
        )
    unknown = [m for m in wanted if m not in have]
    if unknown:
        _checks.fail(
            f"`continuum_markers` has {_checks.listing(unknown)}, not in the table.",
            f"Markers of the table: {_checks.listing(have, 12)}.",
            _checks.nearest(unknown[0], have),
        )
    return wanted
