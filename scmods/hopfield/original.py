"""Fields fitted with the original package, read from the slots in which it leaves them.

``var["sigmoid_threshold"]``, ``var["sigmoid_exponent"]``, ``var["scHopfield_used"]``, one matrix ``W_<cluster>``, bias
``I_<cluster>`` and degradation ``gamma_<cluster>`` or ``gamma`` become one `Field`, looked at in full.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from scmods import _checks
from scmods.hopfield.field import Field
from scmods.hopfield.keys import Keys

if TYPE_CHECKING:
    from anndata import AnnData

__all__ = ["field_of", "from_original"]

USED, THRESHOLD, EXPONENT = "scHopfield_used", "sigmoid_threshold", "sigmoid_exponent"
SECOND, MIX = "sigmoid_threshold2", "sigmoid_mix"
WHOLE = "all"  # name of the one field where no column of labels is given


def from_original(
    adata: AnnData,
    *,
    cluster_key: str | None = "cell_type",
    degradation_key: str = "gamma",
    clusters: Sequence[str] | None = None,
) -> Field:
    """The field that the original package left in an AnnData.

    Parameters
    ----------
    adata
        Reads ``var["scHopfield_used"]`` (bool, the modelled genes), ``var["sigmoid_threshold"]`` and
        ``var["sigmoid_exponent"]``; for every cluster ``W_<cluster>`` from ``varp`` (genes x genes of the whole
        AnnData, of which the modelled ones are taken) or from ``uns`` (modelled genes x modelled genes, in their
        order in ``var``, or a table with their names); ``var["I_<cluster>"]``, 0 where there is none; and
        ``var["gamma_<cluster>"]`` or else ``var[degradation_key]``. Rows of W are targets, columns regulators.
    cluster_key
        Column of ``obs`` with the labels. None: one field for all cells, ``W_all`` or the only W there is.
    degradation_key
        Column of ``var`` with rates that all clusters share, 1 / time.
    clusters
        Read these clusters instead of those of the labels.

    Returns
    -------
    Field of all clusters that have cells; unused categories are skipped. Regulators are the genes with a value
    that is not zero in their column of any cluster.

    Raises
    ------
    MissingKeyError
        A slot that is not there; the message names it and what exists.
    ValueError
        Missing labels, labels that are equal as text, matrices of another shape, values that are not finite,
        thresholds or exponents that are not positive, rates that are negative or all zero, doubled gene names.

    Warns
    -----
    NumericalWarning
        Genes whose activation was fitted with two components: the first one is used, as in the original's
        Jacobian, although its velocity uses both.

    Notes
    -----
    Memory: clusters x genes x regulators numbers.

    Examples
    --------
    >>> import anndata, numpy as np
    >>> from scmods import hopfield
    >>> adata = anndata.AnnData(np.ones((4, 2)), layers={"Ms": np.ones((4, 2))})
    >>> adata.obs["cell_type"] = "T"
    >>> adata.var["scHopfield_used"] = True
    >>> for name in ("sigmoid_threshold", "sigmoid_exponent", "gamma_T", "I_T"):
    ...     adata.var[name] = 1.0
    >>> adata.varp["W_T"] = np.array([[0.0, 2.0], [-1.0, 0.0]])
    >>> hopfield.from_original(adata, cluster_key="cell_type").interactions.tolist()
    [[[0.0, 2.0], [-1.0, 0.0]]]
    """
    _checks.unique_names("adata.var_names", adata.var_names)
    used = _used(adata)
    names = list(map(str, clusters)) if clusters is not None else _clusters(adata, cluster_key)
    if not names:
        _checks.fail("`clusters` is empty. Name at least one, or leave it out.")
    columns = {name: _column(adata, name)[used] for name in (THRESHOLD, EXPONENT)}
    _second_component(adata, used)
    matrices = np.stack([_interactions(adata, c, used) for c in names])
    regs = np.flatnonzero((matrices != 0).any(axis=(0, 1)))
    regs = regs if len(regs) else np.array([0])  # a field without any interaction still has a Jacobian
    return Field(
        genes=tuple(adata.var_names[used].astype(str)),
        clusters=tuple(names),
        regulators=torch.as_tensor(regs),
        interactions=torch.as_tensor(matrices[:, :, regs]),
        degradation=torch.as_tensor(np.stack([_degradation(adata, c, used, degradation_key) for c in names])),
        bias=torch.as_tensor(np.stack([_bias(adata, c, used) for c in names])),
        threshold=torch.as_tensor(columns[THRESHOLD]),
        exponent=torch.as_tensor(columns[EXPONENT]),
    )


def field_of(
    adata: AnnData,
    key_added: str = "hopfield",
    *,
    cluster_key: str | None = "cell_type",
    degradation_key: str = "gamma",
) -> Field:
    """The field of an AnnData: the one `fit` stored, or else the one the original package left.

    Parameters
    ----------
    adata
        Cells with ``uns[key_added]``, or with the slots that `from_original` reads.
    key_added
        Prefix given to `fit`.
    cluster_key, degradation_key
        As in `from_original`; not used when ``uns[key_added]`` is there.

    Raises
    ------
    MissingKeyError
        When there is neither; the message names both ways to a field.
    """
    if Keys(key_added).info in adata.uns:
        return Field.of(adata, key_added)
    if THRESHOLD not in adata.var and not _matrices(adata):
        _checks.fail(
            f"There is no field: neither `adata.uns[{Keys(key_added).info!r}]`, nor the original's",
            f"`adata.var[{THRESHOLD!r}]` and `adata.varp['W_<cluster>']`.",
            f"Available in uns: {_checks.listing(adata.uns)}.",
            "Fit one, `hopfield.fit(adata)`, or read the original's file with all its slots.",
            kind=_checks.MissingKeyError,
        )
    return from_original(adata, cluster_key=cluster_key, degradation_key=degradation_key)


def _column(adata: AnnData, name: str) -> np.ndarray:
    _checks.key(
        adata, "var", name, "The original's `pp.fit_all_sigmoids` writes it; here: `hopfield.fit(adata)`."
    )
    return _checks.numeric(f"`adata.var[{name!r}]`", adata.var[name])


def _used(adata: AnnData) -> np.ndarray:
    values = _column(adata, USED)
    if not np.isin(values, (0, 1)).all() or not values.any():
        _checks.fail(
            f"`adata.var[{USED!r}]` must be True for the modelled genes and False for the others, but holds",
            f"{_checks.listing(np.unique(values))}.",
            f"Write it anew: `adata.var[{USED!r}] = adata.var_names.isin(genes)`.",
        )
    return np.flatnonzero(values)


def _matrices(adata: AnnData) -> list[str]:
    """Clusters that have a matrix."""
    stored = [k for slot in (adata.varp, adata.uns) for k in slot if str(k).startswith("W_")]
    return sorted({str(k)[2:] for k in stored})


def _clusters(adata: AnnData, cluster_key: str | None) -> list[str]:
    if cluster_key is None:
        return _only(adata)
    _checks.key(adata, "obs", cluster_key, "Name the column the field was fitted with: cluster_key='...'.")
    column = adata.obs[cluster_key]
    if column.isna().any():
        where = adata.obs_names[column.isna().to_numpy()]
        _checks.fail(
            f"`adata.obs[{cluster_key!r}]` is missing for {len(where)} cells; first: {_checks.listing(where, 3)}.",
            f"Keep the labelled ones: `adata = adata[adata.obs[{cluster_key!r}].notna()].copy()`.",
        )
    texts = [str(v) for v in column.unique()]  # of the cells: unused categories are not among them
    again = sorted({t for t in texts if texts.count(t) > 1})
    if again:
        _checks.fail(
            f"Labels of `adata.obs[{cluster_key!r}]` are equal as text: {_checks.listing(again)}.",
            f"Make them text first: `adata.obs[{cluster_key!r}] = adata.obs[{cluster_key!r}].astype(str)`.",
        )
    return sorted(texts)


def _only(adata: AnnData) -> list[str]:
    have = _matrices(adata)
    if WHOLE in have or len(have) == 1:
        return [WHOLE if WHOLE in have else have[0]]
    _checks.fail(
        f"`cluster_key` is None, but there are matrices W for {len(have)} clusters: {_checks.listing(have, 20)}.",
        "Name the column of labels, cluster_key='cell_type', or one cluster: clusters=['...'].",
        kind=_checks.MissingKeyError,
    )


def _interactions(adata: AnnData, cluster: str, used: np.ndarray) -> np.ndarray:
    """(modelled genes, modelled genes) W of one cluster."""
    key = f"W_{cluster}"
    slot = "varp" if key in adata.varp else "uns"
    if key not in getattr(adata, slot):
        have = _matrices(adata)
        _checks.fail(
            f"Cluster {cluster!r} has no matrix `adata.varp[{key!r}]`. Clusters with one: "
            f"{_checks.listing(have, 20)}.",
            _checks.nearest(cluster, have),
            "Drop its cells, or fit again: `hopfield.fit(adata)`.",
            kind=_checks.MissingKeyError,
        )
    what = f"`adata.{slot}[{key!r}]`"
    w = _checks.numeric(what, _by_name(adata, getattr(adata, slot)[key], used, what))
    g, n = len(used), adata.n_vars
    if w.shape == (n, n):
        w = w[np.ix_(used, used)]
    elif w.shape != (g, g):
        _checks.fail(
            f"{what} has shape {w.shape}, but must be ({n}, {n}), all genes, or ({g}, {g}), the modelled ones.",
            f"Rows are targets, columns regulators, both in the order of `adata.var_names[adata.var[{USED!r}]]`.",
        )
    bad = ~np.isfinite(w)
    if bad.any():
        target, regulator = adata.var_names[used[np.argwhere(bad)[0]]]
        _checks.fail(
            f"{what} holds {int(bad.sum())} values that are NaN or infinite; first: target {target!r},",
            f"regulator {regulator!r}. Expected finite numbers. Fit again: `hopfield.fit(adata)`.",
        )
    return w


def _by_name(adata: AnnData, w: Any, used: np.ndarray, what: str) -> Any:
    """A table is put into the order of the genes by its names; anything else is taken as it is."""
    if not (hasattr(w, "index") and hasattr(w, "columns")):
        return w
    genes = adata.var_names[used]
    missing = [g for g in genes if g not in w.index or g not in w.columns]
    if missing:
        _checks.fail(
            f"{what} has no row and column for {len(missing)} modelled genes: {_checks.listing(missing, 3)}.",
            f"Its shape is {w.shape}; {len(genes)} genes are modelled. Rows are targets, columns regulators.",
        )
    return w.loc[genes, genes]


def _bias(adata: AnnData, cluster: str, used: np.ndarray) -> np.ndarray:
    key = f"I_{cluster}"
    if key not in adata.var:
        return np.zeros(len(used))
    return _finite(adata, key, used)


def _finite(adata: AnnData, key: str, used: np.ndarray) -> np.ndarray:
    values = _checks.numeric(f"`adata.var[{key!r}]`", adata.var[key])[used]
    _checks.finite(f"`adata.var[{key!r}]`", values, list(adata.var_names[used]))
    return values


def _degradation(adata: AnnData, cluster: str, used: np.ndarray, degradation_key: str) -> np.ndarray:
    own = f"gamma_{cluster}"
    key = own if own in adata.var else degradation_key
    if key not in adata.var:
        _checks.fail(
            f"There are no degradation rates for cluster {cluster!r}: looked for `adata.var[{own!r}]`, then",
            f"`adata.var[{degradation_key!r}]`. Available: {_checks.listing(adata.var.columns)}.",
            "Name the column, degradation_key='...', or estimate it: `hopfield.velocity(adata)`.",
            kind=_checks.MissingKeyError,
        )
    values = _finite(adata, key, used)
    if (values < 0).any():
        genes = adata.var_names[used[values < 0]]
        _checks.fail(
            f"`adata.var[{key!r}]` is negative for {len(genes)} genes: {_checks.listing(genes, 3)}.",
            "Degradation rates are >= 0, 1 / time. Estimate them again: `hopfield.velocity(adata)`.",
        )
    if not values.any():
        _checks.fail(
            f"`adata.var[{key!r}]` is 0 for all {len(used)} modelled genes; expected rates of degradation.",
            "Estimate them: `hopfield.velocity(adata)`.",
        )
    return values


def _second_component(adata: AnnData, used: np.ndarray) -> None:
    """Say which genes have two components; the original writes the columns for all genes, equal where there is one."""
    if SECOND not in adata.var:
        return
    second = _column(adata, SECOND)[used]
    two = np.isfinite(second) & (second != _column(adata, THRESHOLD)[used])
    if MIX in adata.var:
        two &= _column(adata, MIX)[used] < 1
    if two.any():
        _checks.warn(
            f"{int(two.sum())} of {len(used)} genes have a second Hill component (`adata.var[{SECOND!r}]`), first: "
            f"{_checks.listing(adata.var_names[used[two]], 3)}. The first component is used, as the original's "
            "Jacobian does. For one curve per gene: `hopfield.fit_hill(adata)`, then `hopfield.fit(adata)`.",
            level=4,
        )
