"""Tissues with a known answer: real blood cells at simulated positions, two planted interactions or none."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

from scmods import _checks
from scmods.amici import _responses
from scmods.amici._blood import TYPES, Blood, blood_cells
from scmods.amici._tissue import positions, types_by_field

if TYPE_CHECKING:
    import pandas as pd
    from anndata import AnnData

__all__ = ["semisynthetic"]

MODES = {
    "transplant": _responses.transplant,
    "subcluster": _responses.subcluster,
    "graded": _responses.graded,
    "null": _responses.null,
}
RADII = (10.0, 20.0)
LENGTHS = (8.0, 14.0)
SPILL = 0.05


def semisynthetic(
    n_cells: int = 3000,
    n_genes: int = 150,
    *,
    mode: str = "transplant",
    reach: Sequence[float] | None = None,
    spill: float | None = None,
    seed: int = 0,
) -> AnnData:
    r"""Simulate a tissue of real blood cells in which two types of cells react to another type near them.

    Four types, B, DC, Mono and T, share the plane by smooth random fields. T cells react to Mono, DC react to B; B and
    Mono react to nobody. All values of the modes ``"transplant"``, ``"subcluster"`` and ``"null"`` are measured ones.

    Parameters
    ----------
    n_cells
        Cells, at least 50; 0.01 per square unit of length, in a rectangle twice as wide as high.
    n_genes
        Genes: the most variable ones, 30 to 765.
    mode
        What a receiver does:

        - ``"transplant"``: with a sender within the radius, it takes the values of 15 genes from one real cell of a
          third type (the donor: B for T cells, T for DC);
        - ``"subcluster"``: with a sender within the radius, it copies a cell of the smaller of two k-means states of
          its type, otherwise one of the larger;
        - ``"graded"``: only senders in one expression state (half of them) are competent; the dose
          :math:`1 - \exp(-2 \sum_j \exp(-d_j / L))` of the competent senders within 2 L sets how far the 15 genes
          move towards a donor cell; and molecules of all cells leak to the cells around them;
        - ``"null"``: nothing.
    reach
        Radius of the two interactions, in units of length, or length L with ``"graded"``; by default 10 and 20, or
        8 and 14. The first is that of Mono on T cells.
    spill
        Share of its molecules that a cell loses to its surroundings, Poisson counts with the mean of a Gaussian cloud
        of sd 4; in [0, 0.5]. By default 0.05 with ``"graded"``, otherwise 0.
    seed
        Seed of everything.

    Returns
    -------
    AnnData, cells x genes:

    - ``X``: float32, log(1 + 10000 count / total); ``obsm["spatial"]``: positions;
    - ``obs["cell_type"]``, categorical; ``obs["source"]``: the real cell that was copied; ``obs["competent"]``:
      whether it is in the upper half of its type along the leading axis of variation; ``obs["receives"]``: has a true
      sender; ``obs["dose"]``: share of the full response, 0 to 1;
    - ``obsp["sends"]``: CSR, row: receiver, column: sender, value: strength of the pair, 1 or :math:`\exp(-d / L)`;
    - ``varm["responds"]``: table of bool, genes x receiver types; ``var["responds"]``: in any of them;
    - ``uns["interactions"]``: table of receiver, sender, donor, reach, one row per planted interaction;
      ``uns["truth"]``: mode, spill, seed.

    Raises
    ------
    TypeError, ValueError
        Numbers of the wrong kind or outside their range, an unknown mode.

    Notes
    -----
    A hard radius is trivial for `indicator_regression`; ``"graded"`` is the mode in which a model has something to win.
    ``"null"`` has the types in smooth fields as well, so a test that calls a pair there is wrong.

    Examples
    --------
    >>> adata = semisynthetic(200, 40, seed=1)
    >>> adata.shape, list(adata.uns["interactions"]["sender"])
    ((200, 40), ['Mono', 'B'])
    """
    _checks.integer("n_cells", n_cells, 50)
    _checks.one_of("mode", mode, list(MODES))
    lengths = _reach(mode, reach)
    spill = _checks.number(
        "spill", (SPILL if mode == "graded" else 0.0) if spill is None else spill, 0.0, 0.5
    )
    rng = np.random.default_rng(_checks.integer("seed", seed, 0))
    blood = blood_cells(n_genes)
    tissue = _unmoved(n_cells, blood, rng)
    MODES[mode](tissue, blood, lengths, rng)
    if spill > 0:
        _responses.leak(tissue, blood, spill, rng)
    adata = _assemble(tissue, blood)
    adata.uns["interactions"] = _interactions(mode, lengths)
    adata.uns["truth"] = {"mode": mode, "spill": float(spill), "seed": int(seed)}
    adata.uns["source"] = {
        "dataset": "semisynthetic",
        "citation": "Simulated by scmods.amici.semisynthetic from cells of Zheng et al., Nature Communications 8, 2017",
        "licence": "MIT; cells: CC-BY-4.0",
        "url": "",
        "note": f"mode {mode}, seed {seed}; positions are simulated, expression is that of dissociated blood cells.",
    }
    return adata


def _reach(mode: str, reach: Sequence[float] | None) -> tuple[float, float]:
    if reach is None:
        return LENGTHS if mode == "graded" else RADII
    if np.shape(reach) != (2,):
        _checks.fail(
            f"`reach` is {reach!r}, but must be two numbers: of Mono on T cells, and of B on DC.",
            f"Write reach={RADII}.",
        )
    first, second = (_checks.number("reach", value, 1.0, 100.0) for value in reach)
    return first, second


def _unmoved(n_cells: int, blood: Blood, rng: np.random.Generator) -> _responses.Tissue:
    """Cells that copy real cells of their type, before anybody reacts."""
    coords = positions(n_cells, rng)
    codes = types_by_field(coords, len(TYPES), rng)
    source = np.empty(n_cells, dtype=np.intp)
    for t, kind in enumerate(TYPES):
        source[codes == t] = rng.choice(blood.of(kind), int((codes == t).sum()))
    return _responses.Tissue(
        coords=coords,
        codes=codes,
        source=source,
        x=blood.x[source].copy(),
        dose=np.zeros(n_cells),
        responds=np.zeros((blood.x.shape[1], len(TYPES)), dtype=bool),
        pairs=[],
    )


def _interactions(mode: str, reach: tuple[float, float]) -> pd.DataFrame:
    import pandas as pd

    planted = [] if mode == "null" else _responses.INTERACTIONS
    rows = [(r, s, d, float(length)) for (r, s, d), length in zip(planted, reach, strict=False)]
    table = pd.DataFrame(rows, columns=["receiver", "sender", "donor", "reach"])
    if mode == "subcluster":
        table["donor"] = table["receiver"]
    return table.astype({"receiver": str, "sender": str, "donor": str, "reach": np.float64})


def _assemble(tissue: _responses.Tissue, blood: Blood) -> AnnData:
    import anndata
    import pandas as pd
    from scipy import sparse

    n = len(tissue.codes)
    i, j, strength = (np.concatenate([p[k] for p in tissue.pairs] or [np.empty(0)]) for k in range(3))
    obs = pd.DataFrame(
        {
            "cell_type": pd.Categorical(np.array(TYPES)[tissue.codes], categories=list(TYPES)),
            "source": blood.names[tissue.source].astype(object),
            "competent": blood.competent()[tissue.source],
            "receives": tissue.dose > 0,
            "dose": tissue.dose,
        },
        index=[f"cell{c}" for c in range(n)],
    )
    adata = anndata.AnnData(tissue.x.astype(np.float32), obs=obs, var=pd.DataFrame(index=blood.genes))
    adata.obsm["spatial"] = tissue.coords
    adata.obsp["sends"] = sparse.csr_matrix(
        (strength.astype(np.float64), (i.astype(np.intp), j.astype(np.intp))), shape=(n, n)
    )
    adata.varm["responds"] = pd.DataFrame(tissue.responds, index=blood.genes, columns=list(TYPES))
    adata.var["responds"] = tissue.responds.any(axis=1)
    return adata
