"""What a fit reads from an AnnData: genes, clusters, rates, edges, and cells in blocks. Checked before any sum."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor

from scmods import _arrays, _checks
from scmods.hopfield import core, masks
from scmods.hopfield.checks import expression
from scmods.hopfield.gram_sums import FieldSums, total
from scmods.hopfield.keys import Keys

if TYPE_CHECKING:
    from anndata import AnnData

__all__ = ["FitInput", "cluster_labels", "modelled_genes", "read_fit_input"]

BLOCK = 2**22  # values of expression per block, 32 MB


@dataclass(frozen=True)
class FitInput:
    """Checked input of a fit.

    Attributes
    ----------
    genes, clusters
        Names of the modelled genes and of the clusters.
    rows
        Positions of the cells of each cluster.
    columns
        Positions of the modelled genes among the variables.
    spliced, velocity
        The two layers, not copied.
    threshold, exponent, gamma
        (genes,) Hill functions and degradation rates.
    regs
        (regs,) positions of the regulators among the modelled genes.
    edges
        The scaffold, with one column per regulator, or None.
    """

    genes: tuple[str, ...]
    clusters: tuple[str, ...]
    rows: tuple[np.ndarray, ...]
    columns: np.ndarray
    spliced: Any
    velocity: Any
    threshold: Tensor
    exponent: Tensor
    gamma: Tensor
    regs: Tensor
    edges: masks.EdgeSet | None

    def block(self, rows: np.ndarray) -> tuple[Tensor, Tensor, Tensor]:
        """Activation of the regulators, velocity and expression of some cells.

        Parameters
        ----------
        rows
            Positions of the cells.
        """
        x = torch.as_tensor(_arrays.read_rows(self.spliced, rows)[:, self.columns])
        v = torch.as_tensor(_arrays.read_rows(self.velocity, rows)[:, self.columns])
        phi = core.activation(x[:, self.regs], self.threshold[self.regs], self.exponent[self.regs])
        return phi, v, x

    def blocks(self, rows: np.ndarray) -> Iterator[tuple[slice, tuple[Tensor, Tensor, Tensor]]]:
        """Yield positions in `rows` and what `block` gives there.

        Parameters
        ----------
        rows
            Positions of the cells.
        """
        size = max(1, BLOCK // max(1, len(self.genes)))
        for start in range(0, len(rows), size):
            part = slice(start, start + size)
            yield part, self.block(rows[part])

    def sums(self, rows: np.ndarray) -> FieldSums:
        """Sums over some cells, read in blocks.

        Parameters
        ----------
        rows
            Positions of the cells.
        """
        return total(FieldSums.of(*values) for _, values in self.blocks(rows))

    def weighted_sums(self, rows: np.ndarray, weights: Tensor) -> list[FieldSums]:
        """One set of sums for every row of `weights`, in one pass over the cells.

        Parameters
        ----------
        rows
            Positions of the cells.
        weights
            (resamples, cells) how often each resample holds each cell.
        """
        found: list[FieldSums] = []
        for part, values in self.blocks(rows):
            new = [FieldSums.of(*values, weight) for weight in weights[:, part]]
            found = [a.merge(b) for a, b in zip(found, new, strict=True)] if found else new
        return found


def modelled_genes(adata: AnnData, keys: Keys, genes: Sequence[str] | None) -> list[str]:
    """Names of the genes of a fit: those given, or those marked in ``var``, or all.

    Parameters
    ----------
    adata
        Cells.
    keys
        Names of the slots.
    genes
        Names, or None for the marked ones.
    """
    _checks.unique_names("adata.var_names", adata.var_names)
    if genes is not None:
        names = [str(g) for g in genes]
        _checks.unique_names("genes", names)
        known = set(adata.var_names.astype(str))
        missing = [n for n in names if n not in known]
        if missing:
            _checks.fail(
                f"`genes` holds {len(missing)} names that are not in `adata.var_names`:",
                f"{_checks.listing(missing, 3)}.",
                _checks.nearest(missing[0], known),
                kind=_checks.MissingKeyError,
            )
        return names
    if keys.used not in adata.var:
        return list(adata.var_names.astype(str))
    used = adata.var[keys.used].to_numpy().astype(bool)
    if not used.any():
        _checks.fail(
            f"`adata.var[{keys.used!r}]` is False for every gene. Select some: `hopfield.select_genes(adata)`."
        )
    return list(adata.var_names[used].astype(str))


def cluster_labels(adata: AnnData, cluster_key: str | None) -> tuple[tuple[str, ...], tuple[np.ndarray, ...]]:
    """Names of the clusters that have cells, and the positions of these cells.

    Parameters
    ----------
    adata
        Cells.
    cluster_key
        Column of ``obs``; None puts all cells into one cluster named ``"all"``.
    """
    if cluster_key is None:
        return ("all",), (np.arange(adata.n_obs),)
    _checks.key(adata, "obs", cluster_key, "Name the column of clusters, or fit one field: cluster_key=None.")
    column = adata.obs[cluster_key]
    if column.isna().any():
        where = adata.obs_names[column.isna().to_numpy()]
        _checks.fail(
            f"`adata.obs[{cluster_key!r}]` is missing for {len(where)} cells; first: {_checks.listing(where, 3)}.",
            f"Keep the labelled ones: `adata = adata[adata.obs[{cluster_key!r}].notna()].copy()`.",
        )
    text = column.astype(str).to_numpy(dtype=str)
    if len(np.unique(text)) < column.nunique():
        _checks.fail(
            f"`adata.obs[{cluster_key!r}]` holds {column.nunique()} labels, but as text only {len(np.unique(text))}",
            f"differ: {_checks.listing(np.unique(text))}. Rename the labels that look alike.",
        )
    names = tuple(np.unique(text).tolist())
    rows = tuple(np.flatnonzero(text == n) for n in names)
    single = [n for n, r in zip(names, rows, strict=True) if len(r) < 2]
    if single:
        _checks.fail(
            f"Clusters with a single cell cannot be fitted: {_checks.listing(single)}.",
            "Drop their cells, merge clusters, or fit one field for all: cluster_key=None.",
        )
    return names, rows


def _var_numbers(adata: AnnData, key: str, names: list[str], fix: str) -> np.ndarray:
    _checks.key(adata, "var", key, fix)
    values = _checks.numeric(f"`adata.var[{key!r}]`", adata.var.loc[names, key].to_numpy())
    bad = ~np.isfinite(values)
    if bad.any():
        _checks.fail(
            f"`adata.var[{key!r}]` is NaN or infinite for {int(bad.sum())} of {len(names)} modelled genes:",
            f"{_checks.listing(np.asarray(names)[bad], 3)}.",
            f"Leave these out, genes=adata.var_names[adata.var[{key!r}].notna()], or run {fix.rstrip('.')} again.",
        )
    return values


def _rates(adata: AnnData, key: str, names: list[str]) -> Tensor:
    gamma = _var_numbers(adata, key, names, "`hopfield.velocity(adata)`.")
    if (gamma < 0).any():
        bad = np.asarray(names)[gamma < 0]
        _checks.fail(
            f"`adata.var[{key!r}]` is negative for {len(bad)} modelled genes: {_checks.listing(bad, 3)}.",
            "Rates of degradation are >= 0; leave these genes out: genes=[...].",
        )
    if not gamma.any():
        _checks.fail(
            f"`adata.var[{key!r}]` is 0 for every modelled gene.",
            "Fit the rates, `hopfield.velocity(adata)`, or name their column: degradation_key='...'.",
        )
    return torch.as_tensor(gamma)


def _hill(adata: AnnData, keys: Keys, names: list[str]) -> tuple[Tensor, Tensor]:
    found = [
        _var_numbers(adata, key, names, "`hopfield.fit_hill(adata)`.")
        for key in (keys.threshold, keys.exponent)
    ]
    for key, values in zip((keys.threshold, keys.exponent), found, strict=True):
        if (values <= 0).any():
            bad = np.asarray(names)[values <= 0]
            _checks.fail(
                f"`adata.var[{key!r}]` is not positive for {len(bad)} modelled genes: {_checks.listing(bad, 3)}.",
                "Fit the Hill functions: `hopfield.fit_hill(adata)`.",
            )
    return torch.as_tensor(found[0]), torch.as_tensor(found[1])


def _velocity(adata: AnnData, layer: str, columns: np.ndarray, names: list[str]) -> tuple[Any, np.ndarray]:
    """The layer, and the largest size of the velocity of every gene; refuses NaN and what does not vary."""
    _checks.key(adata, "layers", layer, "Compute it: `hopfield.velocity(adata)`.")
    matrix = adata.layers[layer]
    low, high = np.full(len(names), np.inf), np.full(len(names), -np.inf)
    bad, first = 0, ("", "")
    for part, block in _arrays.blocks(matrix):
        block = block[:, columns]
        wrong = ~np.isfinite(block)
        if wrong.any():
            i, j = np.argwhere(wrong)[0]
            first = first if bad else (names[j], str(adata.obs_names[part.start + i]))
            bad += int(wrong.sum())
            continue
        low, high = np.minimum(low, block.min(axis=0)), np.maximum(high, block.max(axis=0))
    where = f"`adata.layers[{layer!r}]`"
    if bad:
        _checks.fail(
            f"{where} holds {bad} values that are NaN or infinite; first: gene {first[0]!r}, cell {first[1]!r}.",
            "Expected a finite velocity for every modelled gene. Leave these genes out: genes=[...].",
        )
    if (low == high).all():
        what = "0" if not low.any() else "the same in every cell"
        _checks.fail(
            f"{where} is {what} for each of the {len(names)} modelled genes, so there is nothing to fit.",
            "Compute velocities: `hopfield.velocity(adata)`.",
        )
    return matrix, np.maximum(np.abs(low), np.abs(high))


def _scales_disagree(
    x: Any, columns: np.ndarray, gamma: Tensor, fastest: np.ndarray, layers: tuple[str, str]
) -> None:
    """Warn of logged expression beside the velocity of counts."""
    most = np.zeros(len(columns))
    for _, block in _arrays.blocks(x):
        most = np.maximum(most, block[:, columns].max(axis=0))
    if most.max(initial=0.0) == 0:
        _checks.fail(
            f"`adata.layers[{layers[0]!r}]` is zero in all {len(columns)} modelled genes; nothing can regulate.",
            "Smooth the counts again: `hopfield.moments(adata)`.",
        )
    top = np.argsort(fastest)[-10:]
    ratio = np.median(fastest[top] / np.maximum(np.maximum(1.0, gamma.numpy()) * most, 1e-300)[top])
    if most.max() < 15 and ratio > 5:
        _checks.warn(
            f"`adata.layers[{layers[0]!r}]` looks logged (largest value {most.max():.3g}), but the velocity in "
            f"`adata.layers[{layers[1]!r}]` is {ratio:.3g} times as large: it belongs to counts. "
            "Use the layer the velocity was computed from: spliced_layer='Ms'.",
            level=5,
        )


def _edges(
    adata: AnnData, names: list[str], regulators: Any, edges: Any
) -> tuple[np.ndarray, masks.EdgeSet | None]:
    if edges is None:
        return masks.regulator_positions(adata, names, regulators), None
    own, found = masks.edge_set(adata, names, edges)
    if regulators is None:
        return own, found
    regs = masks.regulator_positions(adata, names, regulators)
    extra = np.setdiff1d(own, regs)
    if len(extra):
        _checks.fail(
            f"`edges` start at {len(extra)} genes that are not in `regulators`:",
            f"{_checks.listing([names[i] for i in extra], 3)}.",
            "Leave `regulators` out (the edges name them), or drop these edges.",
        )
    shape = (len(names), len(regs))
    wide = masks.EdgeSet(np.zeros(shape, dtype=bool), np.zeros(shape), np.ones(shape))
    at = np.searchsorted(regs, own)
    for whole, part in (
        (wide.allowed, found.allowed),
        (wide.sign, found.sign),
        (wide.weight, found.weight),
    ):
        whole[:, at] = part
    return regs, wide


def read_fit_input(
    adata: AnnData,
    *,
    cluster_key: str | None,
    spliced_layer: str,
    velocity_layer: str,
    degradation_key: str,
    regulators: Any,
    edges: Any,
    genes: Sequence[str] | None,
    key_added: str,
) -> FitInput:
    """Read and check everything that a fit needs.

    Parameters
    ----------
    adata
        Cells; sparse, dense, integer, half precision and views are all right.
    cluster_key, spliced_layer, velocity_layer, degradation_key, regulators, edges, genes, key_added
        As in `scmods.hopfield.fit`.
    """
    keys = Keys(key_added)
    names = modelled_genes(adata, keys, genes)
    columns = adata.var_names.get_indexer(names)
    clusters, rows = cluster_labels(adata, cluster_key)
    threshold, exponent = _hill(adata, keys, names)
    gamma = _rates(adata, degradation_key, names)
    regs, found = _edges(adata, names, regulators, edges)
    _checks.key(adata, "layers", spliced_layer, "Smooth the counts first: `hopfield.moments(adata)`.")
    x = expression(adata, spliced_layer, columns)
    v, fastest = _velocity(adata, velocity_layer, columns, names)
    _scales_disagree(x, columns, gamma, fastest, (spliced_layer, velocity_layer))
    return FitInput(
        tuple(names), clusters, rows, columns, x, v, threshold, exponent, gamma, torch.as_tensor(regs), found
    )
