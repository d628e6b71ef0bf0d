"""What one forward pass says of every head: enough for every ablation, test and contribution, without the network.

Arrays are float64 numpy. With z kept per head, the prediction of any subset of heads is one small product.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass, field, replace

import numpy as np

from scmods import _checks

__all__ = ["HeadOutputs", "NeighborTables", "Readout"]

BLOCK = 2**22  # entries of the largest temporary array
REACH = 50.0  # units of length beyond which no neighbour is expected to act


@dataclass(frozen=True)
class Readout:
    r"""The map from head outputs to genes, :math:`y = \mu_t + W(\gamma \circ \mathrm{centre}(u)/\sigma + \beta)`.

    Attributes
    ----------
    head_out
        (E, heads, size) with E = heads * size: W^o, what each head adds to the query.
    norm_weight, norm_bias
        (E,) gamma and beta of the norm.
    norm_eps
        Added to the variance under the root: sigma = sqrt(var(u) + eps), var with divisor E.
    gene_out
        (genes, E) W.
    type_means
        (types, genes) mu.

    Examples
    --------
    >>> from scmods.amici._example import example_outputs
    >>> outputs = example_outputs()
    >>> outputs.readout.gene_out.shape, outputs.readout.type_means.shape
    ((5, 6), (3, 5))
    """

    head_out: np.ndarray
    norm_weight: np.ndarray
    norm_bias: np.ndarray
    norm_eps: float
    gene_out: np.ndarray
    type_means: np.ndarray

    def outputs(self, z: np.ndarray) -> np.ndarray:
        """What each head adds to the query: (cells, heads, E).

        Parameters
        ----------
        z
            (cells, heads, size).
        """
        return np.einsum("nhs,ehs->nhe", z, self.head_out, optimize=True)

    def sigma(self, u: np.ndarray) -> np.ndarray:
        """Divisor of the norm of each row.

        Parameters
        ----------
        u
            (cells, E) query plus head outputs.
        """
        return np.sqrt(u.var(axis=-1) + self.norm_eps)

    def normed(self, u: np.ndarray) -> np.ndarray:
        """Rows centred and divided by sigma; gamma and beta are still to come.

        Parameters
        ----------
        u
            (..., E) query plus head outputs.
        """
        return (u - u.mean(axis=-1, keepdims=True)) / self.sigma(u)[..., None]

    def decode(self, types: np.ndarray, u: np.ndarray) -> np.ndarray:
        """Predicted expression, (cells, genes).

        Parameters
        ----------
        types
            (cells,) codes.
        u
            (cells, E) query plus head outputs.
        """
        return self.type_means[types] + (self.normed(u) * self.norm_weight + self.norm_bias) @ self.gene_out.T

    def linear(self) -> np.ndarray:
        """(genes, heads, size): gene effect of z once the norm is frozen, W diag(gamma) centre(W^o), before 1/sigma."""
        centred = self.head_out - self.head_out.mean(axis=0)
        return np.einsum("ge,ehs->ghs", self.gene_out * self.norm_weight, centred, optimize=True)


@dataclass(frozen=True)
class NeighborTables:
    """Rows for those cells that are neighbours of the cells asked for.

    Attributes
    ----------
    cells
        (m,) positions in the AnnData.
    types
        (m,) codes of their own types; -1 for a type that the model has not seen.
    value
        (m, heads, size).
    score
        (m, types, heads) logit at distance 0 for a receiver of each type.
    coefficient
        (m, types, heads) loss of logit per unit of distance.

    Examples
    --------
    >>> from scmods.amici._example import example_outputs
    >>> outputs = example_outputs()
    >>> outputs.tables.cells.shape, outputs.tables.value.shape
    ((30,), (30, 2, 3))
    """

    cells: np.ndarray
    types: np.ndarray
    value: np.ndarray
    score: np.ndarray
    coefficient: np.ndarray


@dataclass(frozen=True)
class HeadOutputs:
    """Attention and output of every head for some cells, as `AMICI.heads` returns it.

    Attributes
    ----------
    cells
        (n,) positions in the AnnData, in the order asked for.
    types
        (n,) codes into `type_names`.
    neighbors
        (n, k) positions of the neighbours; -1 where there is none.
    distances
        (n, k) in units of length; NaN where there is no neighbour.
    rows
        (n, k) rows of `tables`; -1 where there is none.
    attention
        (n, heads, k + 1), the empty slot last.
    z
        (n, heads, size).
    query
        (n, heads * size).
    tables
        Of the neighbour cells.
    readout
        From heads to genes.
    genes, type_names
        Names, in the order of the columns and of the codes.
    unit, empty_logit
        Length by which distances are divided, and logit of the empty slot.
    read
        Function from positions to observed expression.

    Examples
    --------
    >>> from scmods.amici._example import example_outputs
    >>> outputs = example_outputs()
    >>> outputs.attention.shape, outputs.predict().shape
    ((30, 2, 5), (30, 5))
    """

    cells: np.ndarray
    types: np.ndarray
    neighbors: np.ndarray
    distances: np.ndarray
    rows: np.ndarray
    attention: np.ndarray
    z: np.ndarray
    query: np.ndarray
    tables: NeighborTables
    readout: Readout
    genes: list[str]
    type_names: list[str]
    unit: float
    empty_logit: float
    read: Callable[[np.ndarray], np.ndarray] = field(repr=False)

    def __len__(self) -> int:
        return len(self.cells)

    @property
    def n_heads(self) -> int:
        """Number of heads."""
        return self.z.shape[1]

    @property
    def observed(self) -> np.ndarray:
        """(n, genes) expression as measured; read anew at each call."""
        return self.read(self.cells)

    @property
    def neighbor_types(self) -> np.ndarray:
        """(n, k) codes of the neighbours' types; -1 where there is none."""
        return np.where(self.rows >= 0, self.tables.types[self.rows], -1)

    def subset(self, which: np.ndarray) -> HeadOutputs:
        """The same for some of the cells; nothing is computed again.

        Parameters
        ----------
        which
            Mask or indices, of rows of this object.
        """
        names = ("cells", "types", "neighbors", "distances", "rows", "attention", "z", "query")
        return replace(self, **{name: getattr(self, name)[which] for name in names})

    def check_heads(self, heads: Iterable[int] | None) -> list[int]:
        """The heads as a list; refuses numbers that are out of range.

        Parameters
        ----------
        heads
            None for all; an empty list for none.
        """
        return check_heads(heads, self.n_heads)

    def u(self, heads: Iterable[int] | None = None) -> np.ndarray:
        """(n, E) query plus the outputs of the heads that count.

        Parameters
        ----------
        heads
            None for all; an empty list for none.
        """
        which = self.check_heads(heads)
        out = self.readout.head_out[:, which]
        return self.query + np.einsum("nhs,ehs->ne", self.z[:, which], out, optimize=True)

    def predict(self, heads: Iterable[int] | None = None) -> np.ndarray:
        """(n, genes) predicted expression with only some heads.

        Parameters
        ----------
        heads
            None for all; a list for only those; an empty list for none, which is NOT the mean of the type.
        """
        return self.readout.decode(self.types, self.u(heads))

    def sigma(self) -> np.ndarray:
        """(n,) divisor of the norm with all heads on, by which frozen contributions are scaled."""
        return self.readout.sigma(self.u())

    def pair_scores(self, by: str = "alone") -> np.ndarray:
        """(n, k) how much each neighbour matters to each cell; 0 where there is none.

        Parameters
        ----------
        by
            ``"alone"``: the neighbour is the only one; norm over genes of the difference between the prediction with
            it where it is and with it out of reach, so that a second sender beside it takes nothing away, and what
            any cell of its type does at any distance does not count; ``"contribution"``:
            norm over genes of what the neighbour adds among the others, the norm of the network being frozen; or
            ``"attention"``: the largest attention over heads, as the original ranks, which also counts heads that
            change nothing.
        """
        _checks.one_of("by", by, ("alone", "contribution", "attention"))
        if by == "attention":
            return np.where(self.rows >= 0, self.attention[..., :-1].max(axis=1), 0.0)
        score = self._alone if by == "alone" else self._contribution
        # a norm over genes needs only the triangle of the read-out: no (n, k, genes) array
        root = np.linalg.qr(self.readout.gene_out * self.readout.norm_weight, mode="r").T
        n, k = self.neighbors.shape
        out, size = np.zeros((n, k)), max(1, BLOCK // max(1, k * self.query.shape[1]))
        for start in range(0, n, size):
            part = slice(start, start + size)
            out[part] = np.linalg.norm(score(part) @ root, axis=-1)
        return np.where(self.rows >= 0, out, 0.0)

    def _moved(self, part: slice, attention: np.ndarray) -> np.ndarray:
        """(n, k, E) what each neighbour adds to the query with the given (n, k, heads) attention."""
        z = attention[..., None] * self.tables.value[self.rows[part]]
        return z.reshape(*z.shape[:2], -1) @ self.readout.head_out.reshape(z.shape[-1] * z.shape[-2], -1).T

    def _contribution(self, part: slice) -> np.ndarray:
        moved = self._moved(part, self.attention[part, :, :-1].transpose(0, 2, 1))
        sigma = self.readout.sigma(self.subset(part).u())
        return (moved - moved.mean(axis=-1, keepdims=True)) / sigma[:, None, None]

    def _alone(self, part: slice) -> np.ndarray:
        from scipy.special import expit

        rows, kind = self.rows[part], self.types[part][:, None]
        near = np.nan_to_num(self.distances[part]) / self.unit
        # out of reach: twice as far as the farthest neighbour listed
        far = np.maximum(2 * near.max(axis=1, keepdims=True, initial=0.0), REACH)
        score, coefficient = (
            self.tables.score[rows, kind] - self.empty_logit,
            self.tables.coefficient[rows, kind],
        )
        query = self.query[part][:, None]
        here, there = (
            self.readout.normed(query + self._moved(part, expit(score - coefficient * d[..., None])))
            for d in (near, far)
        )
        return here - there


def check_heads(heads: Iterable[int] | None, n_heads: int) -> list[int]:
    """The heads as a list; refuses numbers that are out of range.

    Parameters
    ----------
    heads
        None for all.
    n_heads
        How many there are.
    """
    if heads is None:
        return list(range(n_heads))
    if isinstance(heads, int | np.integer):
        _checks.fail(
            f"`heads` is {heads}, but must be a list of heads.", f"Write heads=[{heads}].", kind=TypeError
        )
    return [
        _checks.integer("heads", head, 0, n_heads - 1, f"The model has {n_heads} heads.") for head in heads
    ]
