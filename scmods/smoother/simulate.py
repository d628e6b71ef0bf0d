"""Tissues with a known answer: cells of blood in smooth zones, with or without sharp boundaries."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from scmods import _checks
from scmods.smoother._blood import blood_cells, halves, marker_genes

if TYPE_CHECKING:
    import pandas as pd
    from anndata import AnnData

__all__ = ["layered", "reference", "smooth_fields", "tissue"]

MARKER_COUNTS = 210.0  # mean counts of the markers in a spot at depth 1, as in a sparse Visium section
MARKERS = 145
CELLS = 9  # mean cells of a spot, beyond the first
PLATFORM = 0.5  # sd of the log efficiency of a gene: reference and tissue come from different machines
LEAD = 0.7  # share of the leading type of a zone, beyond what it gets by chance
ZONE = 0.6  # share of a spot that its zone decides; smooth fields of the types decide the rest
EFFICIENCY = 5.0  # shape of the gamma distributed efficiency of a spot


def smooth_fields(
    n_rows: int, n_cols: int, n_fields: int, *, length: float, generator: np.random.Generator
) -> np.ndarray:
    r"""Independent Gaussian random fields on a grid, with covariance :math:`\exp(-d^2 / 2 \ell^2)`.

    Parameters
    ----------
    n_rows, n_cols
        Size of the grid.
    n_fields
        Number of fields.
    length
        :math:`\ell`, in steps of the grid.
    generator
        Source of the random numbers.

    Returns
    -------
    (spots, fields), the spots row by row; every value has mean 0 and variance 1.

    Notes
    -----
    The kernel is a product of a kernel of rows and one of columns, so that two small eigen-factors make the fields:
    O(rows^3 + columns^3) instead of O(spots^3).

    Examples
    --------
    >>> smooth_fields(4, 5, 2, length=2.0, generator=np.random.default_rng(0)).shape
    (20, 2)
    """
    factors = [_kernel_factor(n, length) for n in (n_rows, n_cols)]
    white = generator.normal(size=(n_fields, n_rows, n_cols))
    return (factors[0] @ white @ factors[1].T).reshape(n_fields, -1).T


def _kernel_factor(n: int, length: float) -> np.ndarray:
    d = np.arange(n)[:, None] - np.arange(n)[None, :]
    values, vectors = np.linalg.eigh(np.exp(-(d**2) / (2 * length**2)))
    return vectors * np.sqrt(np.maximum(values, 0.0))


def _lattice(n_rows: int, n_cols: int, lattice: str) -> np.ndarray:
    row, col = (axis.ravel().astype(np.float64) for axis in np.mgrid[:n_rows, :n_cols])
    if lattice == "square":
        return np.column_stack([col, row])
    return np.column_stack([col + 0.5 * (row % 2), row * np.sqrt(3) / 2])


def _softmax(x: np.ndarray) -> np.ndarray:
    x = np.exp(x - x.max(axis=1, keepdims=True))
    return x / x.sum(axis=1, keepdims=True)


def _expected(
    rng: np.random.Generator, grid: tuple[int, int], n_types: int, n_zones: int, length: float, *, sharp: bool
) -> tuple[np.ndarray, np.ndarray]:
    """Expected proportions (spots, types) and zone of every spot."""
    zones = smooth_fields(*grid, n_zones, length=length, generator=rng)
    zone = zones.argmax(axis=1)
    own = _softmax(4.0 * smooth_fields(*grid, n_types, length=length, generator=rng))
    # every zone has a composition of its own, led by one type and a second one
    mix = rng.dirichlet(np.full(n_types, 0.5), n_zones)
    lead = np.arange(n_zones) % n_types
    mix = (1 - LEAD) * mix
    mix[np.arange(n_zones), lead] += LEAD
    member = np.eye(n_zones)[zone] if sharp else _softmax(6.0 * zones)
    return ZONE * (member @ mix) + (1 - ZONE) * own, zone


def _spots(
    rng: np.random.Generator, expected: np.ndarray, counts: np.ndarray, codes: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Number of cells (spots, types), and the sum of the counts of the cells drawn for every spot."""
    from scipy import sparse

    n, n_types = expected.shape
    per_spot = 1 + rng.poisson(CELLS, n)
    cells = rng.multinomial(per_spot, expected)
    rows, picked = [], []
    for t in range(n_types):
        rows.append(np.repeat(np.arange(n), cells[:, t]))
        picked.append(rng.choice(np.flatnonzero(codes == t), len(rows[-1])))
    rows, picked = np.concatenate(rows), np.concatenate(picked)
    member = sparse.csr_array((np.ones(len(rows)), (rows, picked)), shape=(n, len(codes)))
    return cells, member @ counts


def tissue(
    n_rows: int = 30,
    n_cols: int = 30,
    *,
    n_types: int = 6,
    n_zones: int = 4,
    boundaries: bool = False,
    depth: float = 1.0,
    length: float = 5.0,
    lattice: str = "square",
    seed: int = 0,
) -> AnnData:
    """Simulate an array of spots, each a handful of real blood cells of known types.

    Zones are where one of `n_zones` smooth random fields is the largest; each has a composition of its own; two
    fifths of every spot follow smooth fields of the types instead. The cells of a spot are drawn from one half of the
    cells of the data set ``pbmc68k``; the other half makes the reference profiles.

    Parameters
    ----------
    n_rows, n_cols
        Size of the lattice.
    n_types
        Cell types: the most frequent of the data set, 2 to 10.
    n_zones
        Zones, at least 1.
    boundaries
        Compositions change abruptly from zone to zone instead of gradually.
    depth
        Scale of the counts: about 210 of all markers in a spot at depth 1.
    length
        Correlation length of all fields in steps of the lattice, before the zones are cut.
    lattice
        ``"square"``, or ``"hex"`` with every second row shifted by half a step; neighbours are at distance 1.
    seed
        Seed of everything.

    Returns
    -------
    AnnData, spots x about 145 marker genes:

    - ``X`` and ``layers["counts"]``: counts, float32 CSR;
    - ``obsm["spatial"]``: positions in steps; ``obsm["truth"]``: share of every type among the cells of a spot,
      float64 (spots, types);
    - ``obs["zone"]``, categorical; ``obs["row"]``, ``obs["column"]``, ``obs["n_cells"]``;
    - ``uns["truth"]``: ``types`` (names, the columns of the shares), ``expected`` (spots, types: the shares before
      single cells were drawn), ``reference`` (genes, types: mean counts of the other half of the cells), ``zone``,
      ``depth``. `reference` makes a table of the profiles.

    Raises
    ------
    TypeError, ValueError
        Values of the wrong kind or outside their range.

    Notes
    -----
    On the way from cells to counts every gene gets a log-normal efficiency (sd 0.5), every spot a gamma distributed
    one (coefficient of variation 0.45), and then Poisson noise.

    Examples
    --------
    >>> adata = tissue(8, 9, seed=1)
    >>> adata.shape[0], adata.obsm["truth"].shape
    (72, (72, 6))
    """
    _checks.integer("n_rows", n_rows, 2)
    _checks.integer("n_cols", n_cols, 2)
    _checks.integer("n_zones", n_zones, 1)
    _checks.number("depth", depth, 1e-6)
    _checks.number("length", length, 1e-3)
    _checks.one_of("lattice", lattice, ("square", "hex"))
    rng = np.random.default_rng(_checks.integer("seed", seed, 0))
    counts, codes, names, genes = blood_cells(n_types)
    half = halves(rng, codes)
    markers = marker_genes(counts[~half], codes[~half], n_types, MARKERS)
    counts, genes = counts[:, markers], genes[markers]
    expected, zone = _expected(rng, (n_rows, n_cols), n_types, n_zones, length, sharp=boundaries)
    cells, rate = _spots(rng, expected, counts[half], codes[half])
    rate *= np.exp(PLATFORM * rng.normal(size=rate.shape[1]))
    rate *= MARKER_COUNTS * depth / rate.sum(axis=1).mean()
    rate *= rng.gamma(EFFICIENCY, 1 / EFFICIENCY, (len(rate), 1))
    profiles = np.stack([counts[~half][codes[~half] == t].mean(axis=0) for t in range(n_types)], axis=1)
    adata = _assemble(rng.poisson(rate), genes, _lattice(n_rows, n_cols, lattice), zone)
    adata.obs["row"], adata.obs["column"] = (a.ravel() for a in np.mgrid[:n_rows, :n_cols])
    adata.obs["n_cells"] = cells.sum(axis=1)
    adata.obsm["truth"] = cells / cells.sum(axis=1, keepdims=True)
    adata.uns["truth"] = {
        "types": np.array(names, dtype=object),
        "expected": expected,
        "reference": profiles,
        "zone": zone,
        "depth": float(depth),
    }
    note = f"seed {seed}; X holds counts of spots made of cells of pbmc68k (Zheng et al., 2017)."
    adata.uns["source"] = _source("tissue", note)
    return adata


def _assemble(counts: np.ndarray, genes: np.ndarray, coords: np.ndarray, zone: np.ndarray) -> AnnData:
    import anndata
    import pandas as pd
    from scipy import sparse

    adata = anndata.AnnData(
        sparse.csr_matrix(counts.astype(np.float32)),
        obs=pd.DataFrame(index=[f"spot_{i}" for i in range(len(counts))]),
        var=pd.DataFrame(index=genes),
    )
    adata.layers["counts"] = adata.X.copy()
    adata.obsm["spatial"] = coords
    adata.obs["zone"] = pd.Categorical([f"zone {z + 1}" for z in zone])
    return adata


def _source(name: str, note: str) -> dict[str, str]:
    return {
        "dataset": name,
        "citation": f"Simulated by scmods.smoother.{name}",
        "licence": "MIT",
        "url": "",
        "note": note,
    }


def reference(adata: AnnData) -> pd.DataFrame:
    """Reference profiles of a simulated tissue as a table.

    Parameters
    ----------
    adata
        What `tissue` or `layered` returned; genes may have been dropped since.

    Returns
    -------
    DataFrame, genes x types: mean counts of a cell (`tissue`), or log-normalised means (`layered`).

    Raises
    ------
    MissingKeyError
        If there is no ``uns["truth"]``.

    Examples
    --------
    >>> reference(tissue(4, 4)).shape[1]
    6
    """
    import pandas as pd

    _checks.key(adata, "uns", "truth", "Profiles come with `smoother.tissue()`; for cells of your own see")
    truth: dict[str, Any] = adata.uns["truth"]
    profiles = np.asarray(truth["reference"])
    names = truth.get("genes", adata.var_names.to_numpy())
    if len(names) != len(profiles):
        _checks.fail(
            f"`adata` has {adata.n_vars} genes, but its profiles have {len(profiles)}.",
            "Make the table before genes are dropped: `profiles = smoother.reference(adata)`.",
        )
    return pd.DataFrame(profiles, index=names, columns=list(map(str, truth["types"])))


def layered(coords: Any, layers: Any, *, noise: float = 4.5, n_genes: int = 145, seed: int = 0) -> AnnData:
    """Expression for spots that have positions and layers, but no expression: one blood cell type per layer.

    Parameters
    ----------
    coords
        (spots, 2) positions in any unit.
    layers
        (spots,) layer of every spot, 2 to 10 different ones.
    noise
        Standard deviation of the Gaussian noise, in units of log(1 + counts per 10,000).
    n_genes
        Genes of the profiles: those that tell the types apart best.
    seed
        Seed of the noise.

    Returns
    -------
    AnnData, spots x genes: ``X`` float32, log-normalised mean of the layer plus noise (may be negative);
    ``obsm["spatial"]``; ``obs["layer"]``; ``obsm["truth"]``: 1 for the layer of the spot; ``uns["truth"]``:
    ``types`` (the layers), ``reference`` (genes, layers), ``cell_types`` (the type that stands for each layer).

    Raises
    ------
    TypeError, ValueError
        Lengths that differ, missing layers, numbers outside their range.

    Examples
    --------
    >>> layered([[0, 0], [1, 0], [2, 0]], ["L1", "L1", "WM"], noise=0.0).obsm["truth"].argmax(1).tolist()
    [0, 0, 1]
    """
    import anndata
    import pandas as pd

    from scmods.smoother.coords import check_coords, check_labels

    coords = check_coords(coords)
    label = check_labels("layers", layers, len(coords))
    names, code = np.unique(label, return_inverse=True)
    _checks.number("noise", noise, 0.0)
    counts, codes, types, genes = blood_cells(len(names))
    _checks.integer("n_genes", n_genes, len(names), counts.shape[1])
    markers = marker_genes(counts, codes, len(names), n_genes)
    logged = np.log1p(counts / counts.sum(axis=1, keepdims=True) * 1e4)[:, markers]
    profiles = np.stack([logged[codes == t].mean(axis=0) for t in range(len(names))], axis=1)
    rng = np.random.default_rng(_checks.integer("seed", seed, 0))
    x = profiles.T[code] + noise * rng.normal(size=(len(code), len(markers)))
    adata = anndata.AnnData(
        x.astype(np.float32),
        obs=pd.DataFrame({"layer": pd.Categorical(label)}, index=[f"spot_{i}" for i in range(len(x))]),
        var=pd.DataFrame(index=genes[markers]),
    )
    adata.obsm["spatial"] = coords
    adata.obsm["truth"] = np.eye(len(names))[code]
    adata.uns["truth"] = {
        "types": names.astype(object),
        "reference": profiles,
        "cell_types": np.array(types, dtype=object),
    }
    adata.uns["source"] = _source("layered", f"seed {seed}; X holds log expression with noise {noise:g}.")
    return adata
