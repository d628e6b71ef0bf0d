"""The fitted field: one matrix per cluster, with its genes, stored and read back as a whole."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
import torch
from torch import Tensor

from scmods import _arrays, _checks, io
from scmods.hopfield import core
from scmods.hopfield.keys import Keys

if TYPE_CHECKING:
    import os

    import pandas as pd
    from anndata import AnnData

__all__ = ["ClusterField", "Field"]

KIND = "scmods hopfield field"


class ClusterField(NamedTuple):
    """Tensors of one cluster, in the order in which `scmods.hopfield.core` takes them.

    Attributes
    ----------
    w
        (genes, regs) interactions, row: target, column: regulator.
    regs
        (regs,) positions of the regulators among the genes.
    gamma, bias, threshold, exponent
        (genes,) each.

    Examples
    --------
    >>> from scmods import hopfield
    >>> field = hopfield.true_field(hopfield.toggle(2, 3))
    >>> one = field.cluster("toggle")
    >>> type(one).__name__, one.w.tolist()
    ('ClusterField', [[5.0, -4.0], [-4.0, 5.0]])
    """

    w: Tensor
    regs: Tensor
    gamma: Tensor
    bias: Tensor
    threshold: Tensor
    exponent: Tensor

    def activation(self, x: Tensor) -> Tensor:
        """(cells, regs) activation of the regulators at expression `x` (cells, genes).

        Parameters
        ----------
        x
            (cells, genes) expression.
        """
        return core.activation(x[:, self.regs], self.threshold[self.regs], self.exponent[self.regs])

    def slope(self, x: Tensor) -> Tensor:
        """(cells, regs) slope of the activation of the regulators.

        Parameters
        ----------
        x
            (cells, genes) expression.
        """
        return core.activation_derivative(
            x[:, self.regs], self.threshold[self.regs], self.exponent[self.regs]
        )

    def velocity(self, x: Tensor) -> Tensor:
        """(cells, genes) velocity of the field at expression `x`.

        Parameters
        ----------
        x
            (cells, genes) expression.
        """
        return core.velocity(x, self.activation(x), self.w, self.gamma, self.bias)

    def jacobian(self, x: Tensor) -> Tensor:
        """(cells, genes, genes) Jacobians, row: target, column: regulator; 8 cells * genes^2 bytes.

        Parameters
        ----------
        x
            (cells, genes) expression.
        """
        return core.jacobian(self.slope(x), self.w, self.regs, self.gamma)


@dataclass(frozen=True)
class Field:
    r"""Velocity fields :math:`v = W_c\varphi(x) - \gamma_c x + I_c`, one per cluster c, on the same genes.

    Parameters
    ----------
    genes
        Names of the modelled genes.
    clusters
        Names of the clusters; any text, ``"CD4/CD8"`` too.
    regulators
        (regs,) positions in `genes` of the genes with a column.
    interactions
        (clusters, genes, regs) W, row: target, column: regulator; unit of the velocity.
    degradation
        (clusters, genes) gamma, 1 / time, not negative.
    bias
        (clusters, genes) I, unit of the velocity.
    threshold, exponent
        (genes,) k and n of the Hill function, positive.

    Raises
    ------
    ValueError
        For shapes that do not belong together, values that are not finite, thresholds or exponents that are not
        positive, negative degradation, doubled names.

    Examples
    --------
    >>> from scmods import hopfield
    >>> field = hopfield.true_field(hopfield.toggle(2, 3))
    >>> field.genes, field.clusters, field.interactions.tolist()
    (('A', 'B'), ('toggle',), [[[5.0, -4.0], [-4.0, 5.0]]])
    """

    genes: tuple[str, ...]
    clusters: tuple[str, ...]
    regulators: Tensor
    interactions: Tensor
    degradation: Tensor
    bias: Tensor
    threshold: Tensor
    exponent: Tensor

    def __post_init__(self) -> None:
        set_ = object.__setattr__  # frozen: the constructor alone may tidy its arguments
        set_(self, "genes", tuple(map(str, self.genes)))
        set_(self, "clusters", tuple(map(str, self.clusters)))
        set_(self, "regulators", torch.as_tensor(self.regulators, dtype=torch.int64))
        for name in ("interactions", "degradation", "bias", "threshold", "exponent"):
            set_(self, name, torch.as_tensor(getattr(self, name), dtype=torch.float64))
        _shapes(self)
        _values(self)

    def __repr__(self) -> str:
        return f"Field({len(self.clusters)} clusters, {len(self.genes)} genes, {len(self.regulators)} regulators)"

    @property
    def regulator_names(self) -> list[str]:
        """Names of the regulators, in the order of the columns of `interactions`."""
        return [self.genes[i] for i in self.regulators.tolist()]

    @cached_property
    def _gene_index(self) -> dict[str, int]:
        return {name: i for i, name in enumerate(self.genes)}

    def gene(self, name: str) -> int:
        """Position of a gene among the modelled ones; refuses others by name, with the closest one.

        Parameters
        ----------
        name
            Name of the gene.
        """
        if str(name) not in self._gene_index:
            _checks.fail(
                f"{name!r} is not among the {len(self.genes)} modelled genes.",
                _checks.nearest(str(name), self.genes),
                f"Modelled: {_checks.listing(self.genes)}.",
                kind=_checks.MissingKeyError,
            )
        return self._gene_index[str(name)]

    def cluster(self, name: str) -> ClusterField:
        """The field of one cluster.

        Parameters
        ----------
        name
            Name of the cluster.
        """
        if str(name) not in self.clusters:
            _checks.fail(
                f"The field has no cluster {name!r}. Fitted: {_checks.listing(self.clusters, 20)}.",
                _checks.nearest(str(name), self.clusters),
                kind=_checks.MissingKeyError,
            )
        c = self.clusters.index(str(name))
        return ClusterField(
            self.interactions[c],
            self.regulators,
            self.degradation[c],
            self.bias[c],
            self.threshold,
            self.exponent,
        )

    def matrix(self, cluster: str) -> pd.DataFrame:
        """Interactions of one cluster as a table, rows: targets, columns: regulators.

        Parameters
        ----------
        cluster
            Name of the cluster.
        """
        import pandas as pd

        return pd.DataFrame(
            self.cluster(cluster).w.numpy().copy(),
            index=pd.Index(self.genes, name="target"),
            columns=pd.Index(self.regulator_names, name="regulator"),
        )

    @property
    def fingerprint(self) -> str:
        """Hash of all names and values: equal for equal fields, written into files of results."""
        digest = hashlib.sha256("\0".join((*self.genes, "", *self.clusters)).encode())
        for name, value in self._arrays().items():
            digest.update(f"{name}{value.shape}".encode())
            digest.update(np.ascontiguousarray(value).tobytes())
        return digest.hexdigest()[:16]

    def _arrays(self) -> dict[str, np.ndarray]:
        return {f.name: getattr(self, f.name).numpy() for f in fields(self)[2:]}

    def to_uns(self) -> dict[str, Any]:
        """Plain arrays for ``adata.uns``; survives h5ad and zarr whatever the names are."""
        return {
            "genes": np.asarray(self.genes, dtype=object),
            "clusters": np.asarray(self.clusters, dtype=object),
            **{name: value.copy() for name, value in self._arrays().items()},
        }

    @classmethod
    def from_uns(cls, stored: Mapping[str, Any]) -> Field:
        """The field that `to_uns` stored; other entries are ignored.

        Parameters
        ----------
        stored
            Entry of ``adata.uns``.
        """
        names = [f.name for f in fields(cls)]
        missing = [n for n in names if n not in stored]
        if missing:
            _checks.fail(
                f"The stored field lacks {_checks.listing(missing)}. Present: {_checks.listing(stored, 12)}.",
                "Fit it again: `hopfield.fit(adata)`.",
                kind=_checks.MissingKeyError,
            )
        texts = {n: tuple(str(v) for v in np.atleast_1d(stored[n])) for n in names[:2]}
        return cls(**texts, **{n: torch.as_tensor(np.array(stored[n])) for n in names[2:]})

    def save(self, path: str | os.PathLike[str]) -> Path:
        """Write the field to one ``.safetensors`` file.

        Parameters
        ----------
        path
            The file; replaced in one step.
        """
        meta = {"kind": KIND, "genes": list(self.genes), "clusters": list(self.clusters)}
        return io.save_state(path, self._arrays(), meta)

    @classmethod
    def load(cls, path: str | os.PathLike[str]) -> Field:
        """Read a field that `save` wrote.

        Parameters
        ----------
        path
            The file.
        """
        arrays, meta = io.load_state(path)
        if meta.get("kind") != KIND:
            _checks.fail(
                f"'{path}' holds {meta.get('kind')!r}, not a field. Write one with `field.save(path)`."
            )
        return cls(
            tuple(meta["genes"]), tuple(meta["clusters"]), **{k: _tensor(v) for k, v in arrays.items()}
        )

    @classmethod
    def of(cls, adata: AnnData, key_added: str = "hopfield") -> Field:
        """The field stored in ``adata.uns[key_added]``.

        Parameters
        ----------
        adata
            Cells with a fitted field.
        key_added
            Prefix given to `fit`.
        """
        _checks.key(adata, "uns", Keys(key_added).info, "Fit it first: `hopfield.fit(adata)`.")
        return cls.from_uns(adata.uns[Keys(key_added).info])


def _tensor(value: Any) -> Tensor:
    return torch.as_tensor(_arrays.to_numpy(value))


def _shapes(field: Field) -> None:
    c, g, t = len(field.clusters), len(field.genes), len(field.regulators)
    wanted = {
        "interactions": (c, g, t), "degradation": (c, g), "bias": (c, g), "threshold": (g,), "exponent": (g,),
    }  # fmt: skip
    for name, shape in wanted.items():
        found = tuple(getattr(field, name).shape)
        if found != shape:
            _checks.fail(
                f"`{name}` has shape {found}, but must be {shape} for {c} clusters, {g} genes, {t} regulators."
            )
    _checks.unique_names("field.var_names", field.genes)
    _doubled_clusters(field.clusters)
    regs = field.regulators
    if t and (regs.min() < 0 or regs.max() >= g or len(regs.unique()) < t):
        _checks.fail(f"`regulators` must be different positions in 0..{g - 1}, but is {regs.tolist()[:10]}.")


def _doubled_clusters(clusters: Sequence[str]) -> None:
    again = sorted({name for name in clusters if list(clusters).count(name) > 1})
    if again:
        _checks.fail(
            f"Cluster names are equal as text: {_checks.listing(again)}.",
            "Rename one: `adata.obs[key] = adata.obs[key].cat.rename_categories({...})`.",
        )


def _values(field: Field) -> None:
    for name in ("interactions", "degradation", "bias", "threshold", "exponent"):
        value = getattr(field, name).numpy()
        bad = ~np.isfinite(value)
        if bad.any():
            axis = value.ndim - 1 if name in ("threshold", "exponent") else 1
            gene = np.flatnonzero(bad.any(axis=tuple(i for i in range(value.ndim) if i != axis)))
            _checks.fail(
                f"`{name}` of the field holds {int(bad.sum())} values that are NaN or infinite; "
                f"genes: {_checks.listing([field.genes[i] for i in gene], 3)}.",
                "Expected finite numbers. Drop these genes from the fit.",
            )
    for name in ("threshold", "exponent"):
        _refuse_where(
            field, name, getattr(field, name) <= 0, "positive", "Fit the Hill functions: `fit_hill`."
        )
    _refuse_where(
        field, "degradation", (field.degradation < 0).any(0), "not negative", "Rates of decay are >= 0."
    )


def _refuse_where(field: Field, name: str, bad: Tensor, wanted: str, advice: str) -> None:
    if bad.any():
        names = [field.genes[i] for i in torch.nonzero(bad)[:, 0].tolist()]
        _checks.fail(
            f"`{name}` must be {wanted}, but is not for {len(names)} genes: {_checks.listing(names, 3)}.",
            advice,
        )
