"""Sizes of the network and numbers of the training: the small preset for lessons and the published one."""

from __future__ import annotations

from dataclasses import dataclass, fields, replace
from typing import Any

from scmods import _checks

__all__ = ["PRESETS", "Recipe", "make_recipe"]


@dataclass(frozen=True)
class Recipe:
    """Every number of a fit except its seed; the defaults are the small preset.

    They differ from the published ones in size, in a smaller `eps`, with which the optimiser leaves the mean of the
    types sooner, in a smaller `coefficient_offset`, so that farther neighbours are seen from the start, and in a
    larger `value_weight`, which silences neighbours that change nothing.

    Parameters
    ----------
    n_heads, head_size, label_size, query_size, query_width, cell_size, cell_width, kv_size, kv_width
        Sizes, see `scmods.amici.network.AttentionNetwork`.
    coefficient_width
        Width of the block of distance coefficients.
    empty_logit, coefficient_offset, drop
        See there.
    lr, batch_size, schedule
        Learning rate, cells per step, ``"constant"`` or ``"cosine"``.
    weight_decay, eps
        Of the optimiser Adam; `eps` is added to the root of the second moment.
    entropy_weight
        Weight of the entropy of attention at the end of the ramp.
    entropy_start, entropy_stop
        Epochs between which it grows linearly; it is 0 before.
    value_weight
        Weight of the absolute values of neighbours.
    max_epochs, patience
        Of `AMICI.fit` where it is not given others.

    Examples
    --------
    >>> from dataclasses import replace
    >>> from scmods import amici
    >>> replace(amici.Recipe(), n_heads=2).n_heads
    2
    """

    n_heads: int = 4
    head_size: int = 8
    label_size: int = 32
    query_size: int = 32
    query_width: int = 64
    cell_size: int = 64
    cell_width: int = 128
    kv_size: int = 32
    kv_width: int = 32
    coefficient_width: int = 64
    empty_logit: float = 3.0
    coefficient_offset: float = -3.0
    drop: float = 0.1
    lr: float = 3e-3
    batch_size: int = 256
    schedule: str = "constant"
    weight_decay: float = 1e-6
    eps: float = 1e-4
    entropy_weight: float = 1e-3
    entropy_start: int = 10
    entropy_stop: int = 30
    value_weight: float = 1e-3
    max_epochs: int = 75
    patience: int = 40

    def sizes(self) -> dict[str, Any]:
        """Arguments of `AttentionNetwork`, without unit and means."""
        return {f.name: getattr(self, f.name) for f in fields(self)[:13]}

    def entropy_at(self, epoch: int) -> float:
        """Weight of the entropy in an epoch, counted from 0.

        Parameters
        ----------
        epoch
            Number of the pass.
        """
        if epoch < self.entropy_start or self.entropy_weight == 0:
            return 0.0
        low = min(1e-6, self.entropy_weight)
        done = (epoch - self.entropy_start) / max(self.entropy_stop - self.entropy_start, 1)
        return low + (self.entropy_weight - low) * min(done, 1.0)


PRESETS = {
    "small": Recipe(),
    "original": Recipe(
        n_heads=8, head_size=16, query_size=64, query_width=512, cell_size=256, cell_width=1024, kv_size=256,
        kv_width=256, coefficient_width=512, lr=1e-3, batch_size=128, eps=1e-2, coefficient_offset=-2.0,
        value_weight=1e-5, max_epochs=400, patience=20,
    ),
}  # fmt: skip


def make_recipe(preset: str, changes: dict[str, Any]) -> Recipe:
    """A preset with some numbers changed.

    Parameters
    ----------
    preset
        ``"small"`` or ``"original"``.
    changes
        Fields of `Recipe`.
    """
    _checks.one_of("preset", preset, tuple(PRESETS))
    names = [f.name for f in fields(Recipe)]
    for name, value in changes.items():
        _checks.one_of("option", name, names)
        _check(name, value)
    recipe = replace(PRESETS[preset], **changes)
    if recipe.entropy_stop < recipe.entropy_start:
        _checks.fail(
            f"`entropy_stop` is {recipe.entropy_stop}, but must not be before entropy_start={recipe.entropy_start}."
        )
    return recipe


def _check(name: str, value: Any) -> None:
    kind = type(getattr(PRESETS["small"], name))
    if name == "schedule":
        _checks.one_of(name, value, ("constant", "cosine"))
    elif kind is int:
        _checks.integer(name, value, 0 if name.startswith("entropy") else 1)
    elif name in ("empty_logit", "coefficient_offset"):
        _checks.number(name, value)
    else:
        _checks.number(name, value, 0.0, 0.99 if name == "drop" else float("inf"))
