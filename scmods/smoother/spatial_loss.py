"""The spatial loss: a Gaussian prior on a field over spots, or a divergence between neighbours, as a module."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor, nn

from scmods import _checks
from scmods.smoother import losses
from scmods.smoother._fields import check_field, refuse_not_finite
from scmods.smoother._forms import DenseForm, FactorForm, SparseForm

if TYPE_CHECKING:
    import pandas as pd

__all__ = ["SpatialLoss"]

PRIORS = ("sma", "sar", "isar", "car", "icar", "kl")
KL_FIELDS = ("logits", "abundance", "proportions")


class SpatialLoss(nn.Module):
    r"""Negative log-density of a field under a spatial prior, to be added to the loss of any model.

    .. math:: L(X) = \frac{1}{Gn}\sum_g c_g\, x_g^\top Q_g\, x_g

    with Q the precision of the prior; for ``prior="kl"`` the mean Kullback-Leibler divergence of neighbours.

    Parameters
    ----------
    prior
        "icar" :math:`Q = D - \rho W`, "car" :math:`I - \rho W`, "sar" :math:`(I - \rho W)^\top (I - \rho W)`, "isar"
        the same with rows of W scaled to 1, "sma" :math:`[(I + \rho W)(I + \rho W)^\top]^{-1}`, or "kl".
    spatial_weights
        A `SpatialWeightMatrix` (its scaled weights are read), a scipy sparse matrix or array (spots, spots), or a
        list with one for all groups or one per group. Only "kl" works without: then all pairs are compared.
    rho
        Autocorrelation; the valid range depends on prior and graph and is checked. "icar" with 1 is improper: it
        does not see the mean of a connected piece of tissue.
    use_sparse
        Sparse storage. False keeps dense matrices: small tissues only.
    standardize_cov
        Scale Q so that every spot has the prior variance 1; for an improper prior the normalised Laplacian.
    kl_input
        What the field means to "kl": "logits" (softmax over groups, as in the original), "abundance" (columns are
        divided by their sum) or "proportions" (columns sum to 1).

    Attributes
    ----------
    prior, rho, use_sparse, standardize_cov
        As given.
    spatial_weights
        List of scipy CSR arrays.
    confidences
        Weight c of the groups, a buffer: ones until `estimate_confidence`.

    Raises
    ------
    NotImplementedError
        An unknown prior.
    ValueError
        No weights, weights of different sizes, rho or weights that give no valid precision.

    Notes
    -----
    One sparse product forward, none backward, O(groups non-zeros). Computed in the type of the buffers, float64
    unless the module is cast, and returned in that of the field. Su et al., Smoother, Genome Biology 24:291 (2023).

    Examples
    --------
    >>> chain = np.array([[0.0, 1.0, 0.0], [1.0, 0.0, 1.0], [0.0, 1.0, 0.0]])
    >>> loss = SpatialLoss("icar", chain, rho=1)
    >>> loss(torch.tensor([[0.0, 1.0, 3.0]], dtype=torch.float64), normalize=False)
    tensor(5., dtype=torch.float64)
    """

    def __init__(
        self,
        prior: str,
        spatial_weights: Any = None,
        rho: float = 1,
        use_sparse: bool = True,  # noqa: FBT001, FBT002 - the original's signature
        standardize_cov: bool = False,  # noqa: FBT001, FBT002
        *,
        kl_input: str = "logits",
    ) -> None:
        super().__init__()
        _checks.one_of("kl_input", kl_input, KL_FIELDS)
        self.prior, self.kl_input = prior, kl_input
        self.rho = _checks.number("rho", rho)
        self.use_sparse, self.standardize_cov = use_sparse, standardize_cov
        self.spatial_weights = _weights(spatial_weights)
        self._sanity_check()
        self.form = self._make_form()
        count = 1 if self.form is None else self.form.count
        self.register_buffer("confidences", torch.ones(count, dtype=torch.float64))

    def _sanity_check(self) -> None:
        """Refuse unknown priors and missing weights."""
        if self.prior not in PRIORS:
            _checks.fail(
                f"`prior` is {self.prior!r}, but must be one of {_checks.listing(PRIORS)}.",
                _checks.nearest(str(self.prior), PRIORS),
                kind=NotImplementedError,
            )
        if self.prior != "kl" and not self.spatial_weights:
            _checks.fail(
                f"prior={self.prior!r} needs `spatial_weights`, but there are none.",
                "Make them from positions: w = SpatialWeightMatrix(); w.calc_weights_knn(coords).",
            )
        if self.prior == "kl" and len(self.spatial_weights) > 1:
            _checks.fail(
                f"prior='kl' compares whole columns, so it takes one weight matrix, not {len(self.spatial_weights)}."
            )
        if self.prior == "kl" and any((w.data < 0).any() or not w.data.any() for w in self.spatial_weights):
            _checks.fail("`spatial_weights` must be positive for prior='kl', and not all zero.")

    def _make_form(self) -> SparseForm | DenseForm | None:
        if not self.spatial_weights:
            return None
        if self.prior == "kl":
            return SparseForm(self.spatial_weights)
        if self.prior == "sma":
            form = FactorForm(self.spatial_weights, self.rho, standardize=self.standardize_cov)
            return form if self.use_sparse else DenseForm(form.dense().numpy())
        from scmods.smoother.priors import precision

        made = [
            precision(w, self.prior, self.rho, standardize=self.standardize_cov) for w in self.spatial_weights
        ]
        return SparseForm(made) if self.use_sparse else DenseForm([m.toarray() for m in made])

    def _load_from_state_dict(self, state_dict: dict[str, Tensor], prefix: str, *args: Any) -> None:
        # estimated confidences have one entry per group, fresh ones have one in all
        saved = state_dict.get(prefix + "confidences")
        if saved is not None and saved.shape != self.confidences.shape:
            self.confidences = self.confidences.new_ones(saved.shape)
        super()._load_from_state_dict(state_dict, prefix, *args)

    def extra_repr(self) -> str:
        """What ``print(loss)`` shows."""
        size = "" if self.form is None else f", spots={self.form.n}, matrices={self.form.count}"
        return f"prior={self.prior!r}, rho={self.rho:g}{size}"

    @property
    def inv_cov(self) -> Float[Tensor, "matrices spots spots"] | None:
        """Dense precision matrices, (1 or groups, spots, spots); None for "kl". Built on each access."""
        if self.prior == "kl":
            return None
        gigabytes = self.form.count * self.form.n**2 * 8 / 1e9
        if gigabytes > 4:
            _checks.warn(
                f"`inv_cov` is dense and takes {gigabytes:.1f} GB; `inv_cov_2d_sp` is the sparse form.",
                _checks.PerformanceWarning,
            )
        return self.form.dense()

    @property
    def inv_cov_2d_sp(self) -> Tensor | None:
        """Precision as one sparse CSR tensor, blocks on the diagonal; None where it is stored dense or as factor."""
        plain = type(self.form) is SparseForm and self.prior != "kl"
        return self.form.matrix() if plain else None

    def forward(self, coefs: Float[Tensor, "groups spots"], normalize: bool = True) -> Float[Tensor, ""]:  # noqa: FBT001, FBT002
        """The loss of a field.

        Parameters
        ----------
        coefs
            The field, (groups, spots).
        normalize
            Divide by groups x spots; "kl" is a mean in any case.

        Returns
        -------
        The loss, a scalar of the type of `coefs`.

        Raises
        ------
        ValueError
            Another shape, NaN, and for "kl" columns that are no proportions.
        """
        form = self.form
        shared = form is None or self.prior == "kl"
        check_field(coefs, form.n if form is not None else None, 1 if shared else form.count)
        if len(self.confidences) not in (1, len(coefs)) and not shared:
            _checks.fail(
                f"There are {len(self.confidences)} confidences for {len(coefs)} groups.",
                "Call estimate_confidence with a reference of these groups.",
            )
        x = coefs.to(self.confidences.dtype)
        loss = self._kl(x) if self.prior == "kl" else self._quadratic(x, normalize=normalize)
        return refuse_not_finite(loss, coefs).to(coefs.dtype)

    def _quadratic(self, x: Tensor, *, normalize: bool) -> Tensor:
        return self.form.loss(x, self.confidences, normalize=normalize)

    def _kl(self, x: Tensor) -> Tensor:
        weights = None if self.form is None else self.form.matrix()
        if self.kl_input == "logits":
            return losses.kl_logits_loss(x, weights)
        if self.kl_input == "abundance":
            total = x.sum(0)
            if not (total > 0).all():
                spot = int((~(total > 0)).nonzero()[0])
                _checks.fail(
                    f"Column {spot} of `coefs` sums to {float(total[spot].detach()):g}, so it has no proportions.",
                    "Abundances are not negative and not all zero in a spot.",
                )
            x = x / total
        return losses.kl_loss(x, weights)

    @torch.no_grad()
    def estimate_confidence(self, ref_exp: Any, st_exp: Any, method: str = "lr") -> None:
        """Weigh groups by how much their abundance varies over spots; writes `confidences`, returns nothing.

        Parameters
        ----------
        ref_exp
            Reference profiles, (genes, groups).
        st_exp
            Spatial expression, (genes, spots), same genes in the same order.
        method
            "lr": abundances by unconstrained least squares; the confidence of a group is the standard deviation
            (n - 1) of its abundance over spots, divided by the largest one.

        Raises
        ------
        NotImplementedError
            Another method.
        ValueError
            Different genes, NaN, profiles that are linear combinations of each other, abundances that do not vary.
        """
        if method != "lr":
            _checks.fail(f"`method` is {method!r}, but must be 'lr'.", kind=NotImplementedError)
        spread = _abundance_spread(ref_exp, st_exp)
        self.confidences = torch.as_tensor(spread / spread.max()).to(self.confidences)

    def calc_corr_decay_stats(
        self,
        coords: Any,
        min_k: int = 0,
        max_k: int = 50,
        cov_ind: int = 0,
        return_var: bool = False,  # noqa: FBT001, FBT002 - the original's signature
    ) -> pd.DataFrame | tuple[pd.DataFrame, pd.DataFrame]:
        """How the prior correlation falls off with the order of neighbours.

        Parameters
        ----------
        coords
            Positions, (spots, 2) or (spots, 3).
        min_k, max_k
            First and last neighbour; 0 is the spot itself.
        cov_ind
            Which matrix, when there is one per group.
        return_var
            Return also the quantiles over spots of the prior variance, a table of one row.

        Returns
        -------
        Table with columns Q10, Q25, Q50, Q75, Q90 (quantiles over spots) and k.

        Raises
        ------
        ValueError
            prior="kl", which has no covariance.
        RuntimeError
            An improper prior.
        """
        from scmods.smoother.priors import is_improper
        from scmods.smoother.selected import corr_decay

        if self.prior == "kl":
            _checks.fail(
                "prior='kl' has no covariance, so there are no decay statistics.", "Use prior='icar'."
            )
        if is_improper(self.prior, self.rho):
            _checks.fail(
                f"prior={self.prior!r} with rho={self.rho:g} is improper: its variance is infinite.",
                "Correlations need a proper prior: rho=0.99.",
                kind=RuntimeError,
            )
        which = _checks.integer("cov_ind", cov_ind, 0, self.form.count - 1)
        return corr_decay(self.form.proper(which), coords, min_k, max_k, return_var=return_var)


def _weights(given: Any) -> list[Any]:
    """Every accepted form of weights as list of scipy CSR arrays of one size."""
    from scmods.smoother.factor import square

    if given is None:
        return []
    many = list(given) if isinstance(given, Sequence) and not isinstance(given, np.ndarray) else [given]
    out = []
    for w in many:
        w = getattr(w, "swm_scaled", w)
        if w is None:
            _checks.fail("The SpatialWeightMatrix is empty.", "Call its calc_weights_knn(coords) first.")
        if not (hasattr(w, "tocsr") or (isinstance(w, np.ndarray) and w.ndim == 2)):
            _checks.fail(
                f"`spatial_weights` holds a {type(w).__name__}, but must be a SpatialWeightMatrix, a scipy sparse "
                "matrix or an array (spots, spots), or a list of them.",
                kind=TypeError,
            )
        out.append(square("`spatial_weights`", w))
    sizes = sorted({w.shape[0] for w in out})
    if len(sizes) > 1:
        _checks.fail(
            f"`spatial_weights` are of different sizes, {sizes}, but all groups live on the same spots."
        )
    return out


def _abundance_spread(ref_exp: Any, st_exp: Any) -> np.ndarray:
    reference = _checks.numeric("`ref_exp`", _plain(ref_exp))
    spatial = _checks.numeric("`st_exp`", _plain(st_exp))
    for what, array in (("`ref_exp`", reference), ("`st_exp`", spatial)):
        if array.ndim != 2:
            _checks.fail(f"{what} has shape {array.shape}, but must have one row per gene.")
        _checks.finite(what, array)
    if len(reference) != len(spatial):
        _checks.fail(
            f"`ref_exp` has {len(reference)} genes and `st_exp` {len(spatial)}, but both need the same genes in rows.",
            "Align by name first: genes = reference.var_names.intersection(adata.var_names).",
        )
    abundance, _, rank, _ = np.linalg.lstsq(reference, spatial, rcond=None)
    if rank < reference.shape[1]:
        _checks.fail(
            f"`ref_exp` has rank {rank} for {reference.shape[1]} groups, so abundances are not unique.",
            "Drop empty groups, and groups whose profile is a mixture of others.",
        )
    spread = abundance.std(axis=1, ddof=1)
    if not spread.max() > 0:
        _checks.fail("The abundance of no group varies over spots, so there is nothing to weigh groups by.")
    return spread


def _plain(values: Any) -> Any:
    return values.detach().cpu().numpy() if isinstance(values, Tensor) else values
