"""What is to be explained, type by type: from a fitted model or from plain arrays, checked."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from scmods import _checks
from scmods.amici._type_tests import Field, TypeCells, head_fields
from scmods.amici.heads import check_heads

if TYPE_CHECKING:
    from anndata import AnnData

    from scmods.amici.heads import HeadOutputs

__all__ = ["Source", "from_arrays", "from_model"]

CHOICES = ("held_out", "train", "all")
AT_ONCE = 200_000  # cells up to which one forward pass serves all types; beyond, each type has its own


@dataclass(frozen=True)
class Source:
    """Types with their cells.

    Attributes
    ----------
    names
        Of the types.
    load
        Function from the number of a type to its cells.
    heads, genes
        Numbers and names.
    kind
        Which cells: ``"held_out"``, ``"train"``, ``"all"`` or ``"given"``.
    """

    names: list[str]
    load: Callable[[int], TypeCells]
    heads: list[int]
    genes: list[str]
    kind: str


def _known(model: Any, adata: AnnData | None) -> np.ndarray:
    """(cells,) mask of the cells that were not trained on."""
    if adata is None:
        return np.asarray(model.held_out, dtype=bool)
    from scmods.amici._cells import digest

    if digest(np.asarray(adata.obs_names)) == getattr(model, "cell_digest", None):
        return np.asarray(model.held_out, dtype=bool)
    return np.ones(adata.n_obs, dtype=bool)


def _chosen(model: Any, adata: AnnData | None, cells: Any) -> tuple[str, Any]:
    """Kind of the cells, and what `heads` is to be asked for."""
    if not isinstance(cells, str):
        return "given", cells
    _checks.one_of("cells", cells, CHOICES)
    held_out = _known(model, adata)
    if cells == "all":
        return ("held_out" if held_out.all() else "all"), np.arange(len(held_out))
    chosen = np.flatnonzero(held_out if cells == "held_out" else ~held_out)
    if not len(chosen) and cells == "held_out":
        _checks.fail(
            "The model was fitted to all its cells, so there are none left to test on.",
            "Hold some out, `AMICI(adata, held_out=amici.strip(adata))`, pass other cells as `adata`,",
            'or describe the fit with cells="train".',
        )
    if not len(chosen):
        _checks.fail('None of these cells was trained on. Use cells="held_out".')
    return cells, chosen


def _places(model: Any, adata: AnnData | None, *, need: bool) -> tuple[np.ndarray | None, np.ndarray | None]:
    """Positions and sections of all cells, or two times None."""
    tissue = getattr(getattr(model, "_cells", None), "tissue", None)
    if adata is None and tissue is not None:
        return tissue.coords, tissue.sections
    slots = getattr(model, "slots", None)
    if adata is None or slots is None:
        if need:
            _checks.fail(
                "This model has no positions of its cells, which a spatial null needs.", 'Use null="free".'
            )
        return None, None
    from scmods.amici.inputs import coordinates, sections

    return coordinates(adata, slots.spatial_key), sections(adata, slots.library_key)[0]


def from_model(
    model: Any,
    adata: AnnData | None,
    cells: Any,
    heads: Sequence[int] | None,
    types: Sequence[str] | None,
    *,
    need_coords: bool,
    unseen: str = "refuse",
) -> Source:
    """Cells of a fitted model, through one forward pass.

    Parameters
    ----------
    model
        With ``heads(adata, cells)``, ``types``, ``genes`` and ``held_out``, as `AMICI`.
    adata, cells, heads, types, unseen
        As in `ExplainedVariance.compute`.
    need_coords
        Refuse models without positions.
    """
    _checks.unique_names("The list of genes", model.genes)
    names = list(model.types) if types is None else _listed("types", types)
    for name in names:
        _checks.one_of("types", name, list(model.types))
    kind, rows = _chosen(model, adata, cells)
    coords, sections = _places(model, adata, need=need_coords)
    if isinstance(rows, np.ndarray) and kind != "given" and adata is None and len(rows) > AT_ONCE:
        own = np.asarray(model.labels)[rows]

        def outputs_of(name: str) -> HeadOutputs:
            return model.heads(None, cells=rows[own == list(model.types).index(name)])

        which = check_heads(heads, int(model.recipe.n_heads))
    else:
        strange = {} if unseen == "refuse" else {"unseen": unseen}
        whole = model.heads(adata, cells=rows, **strange)

        def outputs_of(name: str) -> HeadOutputs:
            return whole.subset(np.flatnonzero(whole.types == list(whole.type_names).index(name)))

        which = whole.check_heads(heads)

    def load(number: int) -> TypeCells:
        return _type_cells(names[number], outputs_of(names[number]), which, coords, sections)

    return Source(names, load, which, list(map(str, model.genes)), kind)


def _type_cells(
    name: str, part: HeadOutputs, heads: list[int], coords: np.ndarray | None, sections: np.ndarray | None
) -> TypeCells:
    n, at = len(part), part.cells
    y = np.asarray(part.observed, dtype=np.float64).reshape(n, len(part.genes))
    _checks.finite(f"The expression of type {name!r}", y)
    fields = head_fields(part, heads) if n else [Field(np.empty((0, 1)))] * len(heads)
    return TypeCells(
        name, fields, y, None if coords is None else coords[at], None if sections is None else sections[at]
    )


def _listed(argument: str, values: Sequence[str]) -> list[str]:
    if isinstance(values, str):
        _checks.fail(
            f"`{argument}` is the text {values!r}, but must be a list of names.",
            f"Write {argument}=[{values!r}].",
            kind=TypeError,
        )
    return list(values)


def _given(predictions: Any, targets: Any) -> tuple[np.ndarray, np.ndarray]:
    p, y = _checks.numeric("`predictions`", predictions), _checks.numeric("`targets`", targets)
    p = p[None] if p.ndim == 2 else p
    if y.ndim != 2 or p.ndim != 3 or p.shape[1:] != y.shape or not p.size:
        _checks.fail(
            f"`predictions` has shape {np.shape(predictions)} and `targets` {y.shape}, but expected are",
            "(heads, cells, genes), or (cells, genes) for one head, and (cells, genes).",
        )
    _checks.finite("`targets`", y)
    _checks.finite("`predictions`", p.reshape(-1, y.shape[1]))
    return p, y


def _per_cell(argument: str, values: Any, n: int) -> np.ndarray:
    array = np.asarray(values)
    if array.shape[:1] != (n,):
        _checks.fail(f"`{argument}` has shape {array.shape}, but there are {n} cells.")
    return array


def from_arrays(
    predictions: Any,
    targets: Any,
    labels: Any,
    genes: Sequence[str] | None,
    coords: Any,
    sections: Any,
    *,
    need_coords: bool,
) -> Source:
    """Cells as arrays; types in the order in which they first appear.

    Parameters
    ----------
    predictions, targets, labels, genes, coords, sections
        As in `ExplainedVariance.from_predictions`.
    need_coords
        Refuse a call without positions.
    """
    p, y = _given(predictions, targets)
    n, g = y.shape
    names = [str(i) for i in range(g)] if genes is None else [str(x) for x in _listed("genes", genes)]
    _checks.unique_names("`genes`", names)
    if len(names) != g:
        _checks.fail(f"`genes` has {len(names)} names, but `targets` {g} columns.")
    if coords is None and need_coords:
        _checks.fail('A spatial null needs positions: coords=adata.obsm["spatial"].')
    kind = np.full(n, "all") if labels is None else _per_cell("labels", labels, n).astype(str)
    places = None if coords is None else _checks.numeric("`coords`", _per_cell("coords", coords, n))
    if places is not None:
        if places.ndim != 2:
            _checks.fail(f"`coords` has shape {places.shape}, but must be cells x 2 (or x 3).")
        _checks.finite("`coords`", places)
    codes = (
        None if sections is None else np.unique(_per_cell("sections", sections, n), return_inverse=True)[1]
    )
    types = list(dict.fromkeys(kind.tolist()))

    def load(number: int) -> TypeCells:
        own = np.flatnonzero(kind == types[number]) if len(types) > 1 else slice(None)
        return TypeCells(
            types[number], [Field(one[own]) for one in p], y[own], None if places is None else places[own],
            None if codes is None else codes[own],
        )  # fmt: skip

    return Source(types, load, list(range(len(p))), names, "given")
