"""Files of cytometry into AnnData and back: FCS, CSV and h5ad, with markers, detectors and spillover."""

from __future__ import annotations

import os
import re
from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from scmods import _arrays, _checks
from scmods.io import _replacing
from scmods.scyan import _fcs
from scmods.scyan.compensation import SPILLOVER, stored_spillover

if TYPE_CHECKING:
    from anndata import AnnData

__all__ = ["read_csv", "read_fcs", "read_h5ad", "write_csv", "write_fcs"]

NOT_MARKERS = re.compile(
    r"^(time|event.?length|width|center|offset|residual|(fsc|ssc)\b.*|.*\bdna\b.*|dna\d*)$", re.I
)


def _file(path: str | os.PathLike[str], pattern: str) -> Path:
    path = Path(path)
    if not path.is_file():
        here = sorted(p.name for p in path.parent.glob(pattern)) if path.parent.is_dir() else []
        _checks.fail(
            f"The file '{path}' does not exist. Its folder has {_checks.listing(here)}.",
            _checks.nearest(path.name, here),
            kind=FileNotFoundError,
        )
    return path


def _unique(names: list[str], spare: list[str]) -> list[str]:
    """The names, with the spare one where a name is missing or used twice."""
    twice = {n for n in names if names.count(n) > 1}
    return [s if not n or n in twice else n for n, s in zip(names, spare, strict=True)]


def _split(names: list[str], channels: list[str], markers: Iterable[str] | None) -> np.ndarray:
    """Which columns are markers (X); the others describe the event (obs)."""
    if markers is None:
        return np.array(
            [
                not NOT_MARKERS.match(n) and not NOT_MARKERS.match(c)
                for n, c in zip(names, channels, strict=True)
            ]
        )
    wanted = [str(m) for m in markers]
    missing = [m for m in wanted if m not in names]
    if missing:
        _checks.fail(
            f"{len(missing)} markers are not in the file: {_checks.listing(missing, 5)}.",
            f"It has {_checks.listing(names, 30)}.",
            _checks.nearest(missing[0], names),
            kind=_checks.MissingKeyError,
        )
    return np.isin(names, wanted)


def _assemble(values: np.ndarray, names: list[str], is_marker: np.ndarray) -> AnnData:
    import anndata
    import pandas as pd

    if not is_marker.any():
        _checks.fail(
            f"No column is a marker; there are {_checks.listing(names, 30)}. Name them: markers=[...]."
        )
    events = [f"event{i}" for i in range(len(values))]
    other = {n: values[:, j] for j, n in enumerate(names) if not is_marker[j]}
    return anndata.AnnData(
        values[:, is_marker].astype(np.float32),
        obs=pd.DataFrame(other, index=events),
        var=pd.DataFrame(index=[n for n, m in zip(names, is_marker, strict=True) if m]),
    )


def read_fcs(path: str | os.PathLike[str], *, markers: Iterable[str] | None = None) -> AnnData:
    """Read a file of a flow or mass cytometer (FCS 2.0, 3.0, 3.1; list mode).

    Parameters
    ----------
    path
        The file.
    markers
        Names of the columns that become ``X``. By default all but time, event length, scatter, Gaussian parameters and
        DNA.

    Returns
    -------
    AnnData, events x markers:

    - ``X``: float32, dense, as stored: neither compensated nor transformed;
    - ``obs``: all other columns, float64;
    - ``var_names``: the marker (``$PnS``), or the detector (``$PnN``) where that is missing or used twice;
      ``var["channel"]``: the detector; ``var["marker"]``: ``$PnS`` as it is;
    - ``varp["spillover"]``: float64, row i says which share of the signal of marker i is seen in every other; only
      where the file has a matrix (see `compensate`);
    - ``uns["fcs"]``: keywords of the file, without those of single channels.

    Raises
    ------
    FileNotFoundError
        If there is no such file.
    MissingKeyError
        If a marker asked for is not in the file.
    ValueError
        If the file is of another kind, holds histograms, lacks a keyword (named), is cut short, uses widths that are no
        whole bytes, or was stored with logarithmic amplification.

    Notes
    -----
    Byte order, 8 to 64 bit integers of mixed widths, floats and doubles are read as the keywords say; where the
    header gives no place of the events, ``$BEGINDATA`` does. Of several data sets in one file the first is read.

    Examples
    --------
    >>> from scmods import scyan
    >>> path = scyan.write_fcs(scyan.cytometry(50, 5, 6, raw=True), "sample.fcs")
    >>> adata = scyan.read_fcs(path)
    >>> adata.n_obs
    50
    """
    path = _file(path, "*.fcs")
    file = _fcs.parse(path)
    _refuse_logarithms(file, path)
    described = file.of_channels("S")
    names = _unique(described, file.channels)
    _checks.unique_names("The channels of the file", names)
    keep = _split(names, file.channels, markers)
    adata = _assemble(file.events, names, keep)
    adata.var["channel"] = [c for c, k in zip(file.channels, keep, strict=True) if k]
    adata.var["marker"] = [d for d, k in zip(described, keep, strict=True) if k]
    plain = re.compile(r"^\$P\d+[A-Z]$")
    # '/' would be read as a folder in a file
    adata.uns["fcs"] = {k.replace("/", "_"): v for k, v in file.keywords.items() if k and not plain.match(k)}
    stored_spillover(adata, file, path)
    return adata


def _refuse_logarithms(file: _fcs.FcsFile, path: Path) -> None:
    for name, text in zip(file.channels, file.of_channels("E"), strict=True):
        if text and float(text.split(",")[0]) > 0:
            _checks.fail(
                f"'{path}' stores {name!r} with logarithmic amplification ($PnE={text}), which is not read.",
                "Export the file again with linear values ($PnE=0,0).",
            )


def write_fcs(adata: AnnData, path: str | os.PathLike[str], *, layer: str | None = None) -> Path:
    """Write markers and the numeric columns of ``obs`` as FCS 3.1 (32-bit floats, list mode).

    Parameters
    ----------
    adata
        Events; ``var["channel"]`` names the detectors where it exists, ``varp["spillover"]`` is kept.
    path
        The file; replaced in one step.
    layer
        Layer to write; None for ``X``.

    Returns
    -------
    The path.

    Raises
    ------
    FileNotFoundError, MissingKeyError
        If the folder or the layer does not exist.

    Examples
    --------
    >>> from scmods import scyan
    >>> adata = scyan.cytometry(50, 5, 6, raw=True)
    >>> path = scyan.write_fcs(adata, "sample.fcs")
    >>> path.name, scyan.read_fcs(path).n_obs
    ('sample.fcs', 50)
    """
    path = Path(path)
    x = _arrays.dense(_arrays.matrix(adata, layer))
    other = adata.obs.select_dtypes(include=["number", "bool"])
    markers = [str(v) for v in adata.var_names]
    channels = [str(c) for c in adata.var["channel"]] if "channel" in adata.var else markers
    more = {}
    if SPILLOVER in adata.varp:
        numbers = ",".join(f"{v:.10g}" for v in np.asarray(adata.varp[SPILLOVER]).ravel())
        more["$SPILLOVER"] = ",".join([str(len(channels)), *channels, numbers])
    extra = [str(c) for c in other.columns]
    events = np.column_stack([x, other.to_numpy(dtype=np.float64)])
    content = _fcs.compose(events, [*channels, *extra], [*markers, *extra], more)
    with _replacing(path) as temporary:
        temporary.write_bytes(content)
    return path


def read_csv(
    path: str | os.PathLike[str], *, markers: Iterable[str] | None = None, labels: Iterable[str] = ()
) -> AnnData:
    """Read a table of events x columns.

    Parameters
    ----------
    path
        A file with one row per event and a first line of names; comma, semicolon or tab.
    markers
        Names of the columns that become ``X``. By default all numeric ones but time, event length, scatter, Gaussian
        parameters and DNA.
    labels
        Names of numeric columns that are labels, such as cluster numbers: text in ``obs``.

    Returns
    -------
    AnnData: ``X`` float32, dense; all other columns in ``obs``, text as categories.

    Raises
    ------
    FileNotFoundError
        If there is no such file.
    MissingKeyError
        If a name is not among the columns.
    ValueError
        If a marker is not numeric, or names are used twice.

    Examples
    --------
    >>> from scmods import scyan
    >>> path = scyan.write_csv(scyan.cytometry(50, 5, 6), "events.csv")
    >>> adata = scyan.read_csv(path, labels=["cell_type", "batch"])
    >>> adata.n_obs, "cell_type" in adata.obs
    (50, True)
    """
    import pandas as pd

    path = _file(path, "*.csv")
    with path.open(encoding="utf-8-sig") as file:
        head = file.readline()
    separator = max(",;\t", key=head.count)
    _checks.unique_names("The columns of the file", [h.strip().strip('"') for h in head.split(separator)])
    as_text = dict.fromkeys(map(str, labels), str)
    frame = pd.read_csv(path, sep=separator, encoding="utf-8-sig", dtype=as_text)
    frame.columns = [str(c).strip() for c in frame.columns]
    names = list(frame.columns)
    _split(names, names, as_text)
    numeric = np.array([pd.api.types.is_numeric_dtype(frame[c]) for c in names])
    keep = _split(names, names, markers) & (numeric if markers is None else True)
    words = [n for n, k, is_number in zip(names, keep, numeric, strict=True) if k and not is_number]
    if words:
        _checks.fail(
            f"Columns asked for as markers hold text: {_checks.listing(words, 5)}. Leave them out of `markers`."
        )
    columns = [n for n, k in zip(names, keep, strict=True) if k]
    adata = _assemble(frame[columns].to_numpy(dtype=np.float64), columns, np.ones(len(columns), dtype=bool))
    for n in (n for n, k in zip(names, keep, strict=True) if not k):
        column = frame[n]
        adata.obs[n] = column.to_numpy() if pd.api.types.is_numeric_dtype(column) else pd.Categorical(column)
    return adata


def write_csv(adata: AnnData, path: str | os.PathLike[str], *, layer: str | None = None) -> Path:
    """Write markers and all columns of ``obs`` as comma separated text.

    Parameters
    ----------
    adata
        Events.
    path
        The file; replaced in one step.
    layer
        Layer to write; None for ``X``.

    Returns
    -------
    The path.

    Raises
    ------
    FileNotFoundError, MissingKeyError
        If the folder or the layer does not exist.

    Examples
    --------
    >>> from scmods import scyan
    >>> path = scyan.write_csv(scyan.cytometry(50, 5, 6), "labelled.csv")
    >>> len(path.read_text().splitlines())  # a row of names, and the cells
    51
    """
    import pandas as pd

    path = Path(path)
    x = _arrays.dense(_arrays.matrix(adata, layer), dtype=np.float32)
    frame = pd.DataFrame(x, columns=[str(v) for v in adata.var_names])
    frame = pd.concat([frame, adata.obs.reset_index(drop=True)], axis=1)
    with _replacing(path) as temporary:
        frame.to_csv(temporary, index=False)
    return path


def read_h5ad(path: str | os.PathLike[str]) -> AnnData:
    """Read a file of AnnData and give it what the chapter expects: unique text names, dense float32 ``X``.

    Parameters
    ----------
    path
        The file.

    Returns
    -------
    AnnData; everything else is as stored.

    Raises
    ------
    FileNotFoundError
        If there is no such file.
    ValueError
        If names of markers are used twice, or ``X`` is missing.

    Examples
    --------
    >>> from scmods import scyan
    >>> scyan.cytometry(50, 5, 6).write_h5ad("cells.h5ad")
    >>> scyan.read_h5ad("cells.h5ad").shape
    (50, 6)
    """
    import anndata

    adata = anndata.read_h5ad(_file(path, "*.h5ad"))
    _checks.unique_names("adata.var_names", adata.var_names)
    adata.X = _arrays.dense(_arrays.matrix(adata), dtype=np.float32)
    return adata
