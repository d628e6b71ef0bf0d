"""The topological loss: how many hills and rings a field may have."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor, nn

from scmods import _checks
from scmods.smoother._fields import check_field, refuse_not_finite
from scmods.smoother.topology import bar_spots, surplus, triangulate

__all__ = ["TopLoss"]


class SuperLevelBars(nn.Module):
    """Finite persistence bars of one field on a fixed complex, as pairs of values that carry the gradient.

    Parameters
    ----------
    complex_
        The triangulation.
    """

    def __init__(self, complex_: Any) -> None:
        super().__init__()
        self.complex = complex_

    def forward(
        self, field: Float[Tensor, " spots"], dimensions: tuple[int, ...] = (0, 1)
    ) -> dict[int, Float[Tensor, "bars 2"]]:
        """Birth and death values of every finite bar, for every dimension asked for.

        Parameters
        ----------
        field
            One value per spot.
        dimensions
            0 for components, 1 for holes.
        """
        spots = bar_spots(field.detach().cpu().numpy(), self.complex, dimensions)
        return {d: field[torch.as_tensor(pairs, device=field.device)] for d, pairs in spots.items()}


class PartialSum(nn.Module):
    """Sum of the lengths of all bars but the longest ones.

    Parameters
    ----------
    skip
        How many bars are free.
    """

    def __init__(self, skip: int) -> None:
        super().__init__()
        self.skip = skip

    def forward(self, bars: Float[Tensor, "bars 2"]) -> Float[Tensor, ""]:
        """Sum over bars of birth minus death, the `skip` longest left out.

        Parameters
        ----------
        bars
            Birth and death values.
        """
        length = bars[:, 0] - bars[:, 1]
        return length.sort(descending=True, stable=True).values[self.skip :].sum()


class TopLoss(nn.Module):
    r"""Penalty on surplus components and holes of a field, by persistent homology of its super-level sets.

    .. math:: L = \frac{1}{G' \sqrt{n}} \sum_{g}\sum_{d} \sum_{k > m_{gd}} \ell_{gdk}

    over the :math:`G'` listed groups and their listed dimensions d: the lengths of all finite bars except the
    :math:`m_{gd}` longest. Pushing the loss down flattens small hills and fills small dips, nothing else.

    Parameters
    ----------
    betti_priors
        ``{group: {dimension: bars exempt}}``, dimension 0 (components) or 1 (holes), as in the original. The tallest
        component never dies and is never counted, so ``{0: m}`` leaves m + 1 components free on a connected tissue.
    coords_xy
        Positions, (spots, 2): lattice indices or coordinates in any unit.
    components, holes
        ``{group: count}``: the true number of components or holes that are free; translated into `betti_priors`.
    triangulation, max_edge
        How spots are connected, see `scmods.smoother.topology.triangulate`.

    Attributes
    ----------
    complex
        The triangulation; ``complex.pieces`` is the number of connected pieces of the tissue.
    betti_priors
        What is exempt, after translation.
    pdfn, topfn
        The two steps: ``pdfn(field)`` gives the bars of one field, ``topfn[group][dimension](bars)`` its penalty.

    Raises
    ------
    ValueError
        A dimension other than 0 and 1, negative or contradicting counts, fewer components than pieces of the
        tissue, coordinates that cannot be triangulated.

    Notes
    -----
    O(groups spots log spots), no compiled dependency; the pairing runs on the CPU, the gradient is exact wherever
    no two spots have equal values. Without any prior the loss is 0. Su et al., Genome Biology 24:291 (2023);
    Brüel-Gabrielsson et al., A Topology Layer for Machine Learning, AISTATS 2020.

    Examples
    --------
    Two hills, 3 and 2, with a pass at 1 between them; one component is free, so the lower one costs its height of 1
    over the root of six spots:

    >>> coords = [[0, 0], [1, 0], [2, 0], [0, 1], [1, 1], [2, 1]]
    >>> field = torch.tensor([[3.0, 1.0, 2.0, 0.0, 0.0, 0.0]])
    >>> TopLoss(coords_xy=coords, components={0: 1})(field)
    tensor(0.4082)
    >>> TopLoss(coords_xy=coords, components={0: 2})(field)
    tensor(0.)
    """

    def __init__(
        self,
        betti_priors: Mapping[int, Mapping[int, int]] | None = None,
        coords_xy: Any = None,
        *,
        components: Mapping[int, int] | None = None,
        holes: Mapping[int, int] | None = None,
        triangulation: str = "auto",
        max_edge: float | None = None,
    ) -> None:
        super().__init__()
        listed = _listed(betti_priors, components, holes)
        self.complex = None
        if coords_xy is not None:
            if isinstance(coords_xy, Tensor):
                coords_xy = coords_xy.detach().cpu().numpy()
            coords = np.array(coords_xy)
            self.complex = triangulate(coords, triangulation=triangulation, max_edge=max_edge)
            self.register_buffer("coords_xy", torch.as_tensor(coords, dtype=torch.float64))
        elif listed:
            _checks.fail(
                "`coords_xy` is missing, but components and holes are counted on a triangulation of the spots.",
                "Pass positions of shape (spots, 2): coords_xy=adata.obsm['spatial'].",
            )
        self.betti_priors = _translate(listed, 1 if self.complex is None else self.complex.pieces)
        self._num_spot = 0 if self.complex is None else self.complex.n
        self.pdfn = None if self.complex is None else SuperLevelBars(self.complex)
        self.topfn = {
            group: {dimension: PartialSum(skip) for dimension, skip in priors.items()}
            for group, priors in self.betti_priors.items()
        }

    def extra_repr(self) -> str:
        """What ``print(loss)`` shows: spots and exempt bars."""
        return f"spots={self._num_spot}, betti_priors={self.betti_priors}"

    def forward(self, coefs: Float[Tensor, "groups spots"]) -> Float[Tensor, ""]:
        """Topological loss of the listed groups.

        Parameters
        ----------
        coefs
            The field, (groups, spots): the very variable that the other losses see.

        Returns
        -------
        The loss in units of `coefs`, a scalar; 0 if and only if no listed group has a surplus bar.

        Raises
        ------
        ValueError
            Another number of spots, NaN, or a listed group that is not a row.
        """
        coefs = check_field(coefs, self._num_spot if self.complex is not None else None)
        values = coefs.detach().cpu().numpy()
        if not np.isfinite(values).all():
            refuse_not_finite(coefs.detach().sum() * torch.nan, coefs)
        if not self.betti_priors:
            return (coefs * 0).sum()  # a zero that backward accepts
        beyond = [g for g in self.betti_priors if g >= len(coefs)]
        if beyond:
            _checks.fail(
                f"A prior names group {beyond[0]}, but `coefs` has {len(coefs)} rows: 0 to {len(coefs) - 1}.",
            )
        # the loss is linear around every field: the same sum as topfn(pdfn(.)), in one product
        weights = np.zeros(values.shape)
        for group, skip in self.betti_priors.items():
            weights[group] = surplus(values[group], self.complex, skip)
        weights /= self._num_spot**0.5 * len(self.betti_priors)
        return (coefs * torch.as_tensor(weights).to(coefs)).sum()

    def reshape_coefs(
        self, beta: Float[Tensor, "groups spots"], pad_value: float | None = None
    ) -> Float[Tensor, "x y groups"]:
        """The field as image, for lattice indices; the loss itself needs no image.

        Parameters
        ----------
        beta
            The field, (groups, spots).
        pad_value
            Value of cells without a spot; None takes the smallest value of all groups.

        Returns
        -------
        Array (largest x + 1, largest y + 1, groups).

        Raises
        ------
        ValueError
            Positions that are not grid indices from 0, or an image with over 100 cells per spot.
        """
        beta = check_field(beta, self._num_spot if self.complex is not None else None)
        if self.complex is None:
            _checks.fail("There are no positions to place the field at.", "Pass coords_xy to TopLoss.")
        place = self.coords_xy.round().long()
        width, height = (place.amax(0) + 1).tolist()
        if (place != self.coords_xy).any() or (place < 0).any() or width * height > 100 * self._num_spot:
            _checks.fail(
                f"The positions (largest {self.coords_xy.amax(0).tolist()}) are no grid indices, so there is no image.",
                "Pass array rows and columns, whole numbers from 0, as coords_xy.",
            )
        pad = beta.min() if pad_value is None else torch.as_tensor(pad_value, dtype=beta.dtype)
        image = pad.expand(width, height, len(beta)).clone()
        image[place[:, 0], place[:, 1]] = beta.T
        return image


def _listed(
    betti_priors: Mapping[int, Mapping[int, int]] | None,
    components: Mapping[int, int] | None,
    holes: Mapping[int, int] | None,
) -> dict[int, dict[Any, int]]:
    """All three arguments in one table: group -> {0, 1 or "components": count}, checked."""
    entries: list[tuple[str, Any, Any, int]] = []
    for name, table, kind in (("components", components, "components"), ("holes", holes, 1)):
        _mapping(name, table, "{0: 2}")
        entries += [(f"{name}[{g!r}]", g, kind, count) for g, count in (table or {}).items()]
    _mapping("betti_priors", betti_priors, "{0: {0: 1}}")
    for g, priors in (betti_priors or {}).items():
        _mapping(f"betti_priors[{g!r}]", priors, "{0: 1}")
        entries += [(f"betti_priors[{g!r}][{d!r}]", g, d, count) for d, count in priors.items()]
    listed: dict[int, dict[Any, int]] = {}
    for what, group, kind, count in entries:
        group = _checks.integer("group index", group, 0)
        if kind != "components" and kind not in (0, 1):
            _checks.fail(
                f"`{what}` names dimension {kind!r}, but a field in the plane has dimensions 0 (components) "
                "and 1 (holes)."
            )
        priors = listed.setdefault(group, {})
        if kind in priors or (kind == "components" and 0 in priors) or (kind == 0 and "components" in priors):
            _checks.fail(f"`{what}` is given twice.", "Use either betti_priors or components= and holes=.")
        priors[kind] = _checks.integer(what, count, 1 if kind == "components" else 0)
    return listed


def _mapping(name: str, value: object, example: str) -> None:
    if value is not None and not isinstance(value, Mapping):
        _checks.fail(
            f"`{name}` is a {type(value).__name__}, but must be a dictionary by group index.",
            f"For example {example}.",
            kind=TypeError,
        )


def _translate(listed: dict[int, dict[Any, int]], pieces: int) -> dict[int, dict[int, int]]:
    """True counts of components to exempt bars: every piece of the tissue has one component that never dies."""
    out: dict[int, dict[int, int]] = {}
    for group, priors in listed.items():
        out[group] = {}
        for kind, count in priors.items():
            if kind == "components" and count < pieces:
                _checks.fail(
                    f"`components[{group}]` is {count}, but the triangulation has {pieces} separate pieces, "
                    "each with a component of its own.",
                    f"Write components={{{group}: {pieces}}} or more, or join the pieces with a larger max_edge.",
                )
            out[group][0 if kind == "components" else kind] = (
                count - pieces if kind == "components" else count
            )
    return out
