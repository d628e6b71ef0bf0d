"""`AMICI`: the model on an AnnData, from set-up to the outputs of every head."""

from __future__ import annotations

import os
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np

from scmods import _checks
from scmods.amici._cells import Cells, Slots, digest, read_cells
from scmods.amici._fit import Run, train_networks, training_cells
from scmods.amici.heads import HeadOutputs
from scmods.amici.held_out import held_out_mask, positions, strip
from scmods.amici.neighbors import check_counts, check_unit, nearest_others
from scmods.amici.recipe import make_recipe

if TYPE_CHECKING:
    from pathlib import Path

    from anndata import AnnData

    from scmods.amici.network import AttentionNetwork
    from scmods.training import History

__all__ = ["AMICI", "strip"]


class AMICI:
    r"""Expression of cells from their types and their neighbours of other types, through attention heads.

    Setting up reads and checks everything and finds the neighbours; `fit` trains; `heads` gives, in one forward pass,
    what every test and figure of the chapter is made of. A cell's own expression is never an input.

    Parameters
    ----------
    adata
        Cells, log-normalised; sparse, dense and backed are all right. It is not changed, and must not be changed.
    cluster_key
        Column of ``obs`` with the types, at least two.
    spatial_key
        Key of ``obsm`` with the positions, in two or three dimensions.
    library_key
        Column of ``obs`` with the section; neighbours never cross sections.
    layer
        Layer to model, None for ``X``.
    n_neighbors
        Neighbours per cell.
    radius_key
        Column of ``obs`` with the radius of each cell, taken off the distances.
    unit
        Length of one unit, in the unit of the positions; None checks that the median distance to the nearest cell of
        another type is 5 to 50 units, and otherwise sets the unit and says so.
    preset
        ``"small"`` (4 heads of size 8, for lessons and thousands of cells) or ``"original"`` (the published sizes).
    held_out
        Cells that `fit` must never see: (cells,) bool, or positions; `strip` makes one. They are not even neighbours
        in training. None holds out none.
    seed
        Seed of everything random.
    **options
        Fields of `scmods.amici.recipe.Recipe` that differ from the preset, such as ``n_heads=8`` or ``lr=1e-3``.

    Attributes
    ----------
    genes, types
        Names of the genes and of the types, in the order of columns and codes.
    labels
        (cells,) code of each cell's type.
    neighbors, distances
        (cells, k) positions of the nearest cells of other types, -1 where there is none, and distances to them.
    held_out
        (cells,) bool.
    unit
        Length of one unit.
    recipe
        Sizes and rates.
    runs
        What `fit` trained, best held-out reconstruction first; empty before.

    Raises
    ------
    MissingKeyError, ValueError, TypeError
        With what is wrong, what exists and what to do.

    Examples
    --------
    >>> from scmods.amici.simulate import semisynthetic
    >>> adata = semisynthetic(300, 30)
    >>> model = AMICI(adata, n_neighbors=5, held_out=strip(adata)).fit(max_epochs=2)
    >>> out = model.heads(cells=model.held_out)
    >>> out.attention.shape == (len(out), 4, 6)
    True

    References
    ----------
    Hong et al., "AMICI: Attention Mechanism Interpretation of Cell-cell Interactions", bioRxiv 2025,
    doi 10.1101/2025.09.22.677860.
    """

    def __init__(
        self,
        adata: AnnData,
        *,
        cluster_key: str = "cell_type",
        spatial_key: str = "spatial",
        library_key: str | None = None,
        layer: str | None = None,
        n_neighbors: int = 20,
        radius_key: str | None = None,
        unit: float | None = None,
        preset: str = "small",
        held_out: Any = None,
        seed: int = 0,
        **options: Any,
    ) -> None:
        self.slots = Slots(cluster_key, spatial_key, library_key, radius_key, layer)
        self.n_neighbors = _checks.integer("n_neighbors", n_neighbors)
        self.seed = _checks.integer("seed", seed, 0)
        self.preset, self.recipe = preset, make_recipe(preset, options)
        self.runs: list[Run] = []
        self.genes: list[str] = [str(g) for g in adata.var_names]
        self._cells, self.types = self._bind(adata, None)
        self.cell_digest = digest(self._cells.names)
        self.held_out = held_out_mask(held_out, self._cells.codes, self.types)
        self.unit = check_unit(self._cells.gaps(), unit)

    # --- set-up

    def _bind(self, adata: AnnData, types: list[str] | None) -> tuple[Cells, list[str]]:
        cells, types = read_cells(adata, self.slots, None if types is None else self.genes, types)
        check_counts(cells.tissue, self.n_neighbors)
        neighbors, distances = nearest_others(cells.tissue, self.n_neighbors)
        return replace(cells, neighbors=neighbors, distances=distances), types

    @property
    def labels(self) -> np.ndarray:
        """(cells,) code of each cell's type."""
        return self._own().codes

    @property
    def neighbors(self) -> np.ndarray:
        """(cells, k) positions of the nearest cells of other types; -1 where there is none."""
        return self._own().neighbors

    @property
    def distances(self) -> np.ndarray:
        """(cells, k) distances to them, in the unit of the positions; NaN where there is none."""
        return self._own().distances

    def _own(self) -> Cells:
        if self._cells is None:
            _checks.fail(
                "The model was loaded without cells.",
                "Pass the cells to the call, `model.heads(adata)`, or load it with them: AMICI.load(path, adata).",
            )
        return self._cells

    def __repr__(self) -> str:
        state = f"fitted, {len(self.runs)} networks" if self.runs else "not fitted"
        return (
            f"AMICI({len(self.genes)} genes, {len(self.types)} types, {self.recipe.n_heads} heads, {state})"
        )

    # --- training

    def fit(
        self,
        *,
        max_epochs: int | None = None,
        patience: int | None = None,
        validation: float = 0.1,
        restarts: int = 1,
        accelerator: str = "cpu",
        devices: int | str | list[int] = 1,
        strategy: Any = "auto",
        progress: bool = False,
    ) -> AMICI:
        """Train, and keep of every restart the weights of its best epoch.

        Parameters
        ----------
        max_epochs
            Passes over the training cells; None takes those of the recipe.
        patience
            Stop after so many epochs without a better reconstruction of the validation cells; None takes that of the
            recipe, and a number above `max_epochs` never stops early. Reconstruction alone is watched: the objective
            changes while the entropy is ramped up.
        validation
            Share of the training cells on which epochs and restarts are compared, drawn at random.
        restarts
            Networks from different first weights. The one that reconstructs the validation cells best is `network`;
            `pair_scores` averages over all.
        accelerator, devices, strategy
            Handed to `scmods.training.TrainingPlan`.
        progress
            Log the losses.

        Returns
        -------
        The model itself.

        Raises
        ------
        ValueError, TypeError, FloatingPointError
            Values out of range; a loss that is not finite.

        Notes
        -----
        Holds the training cells as a dense float32 matrix. A fit again starts anew.
        """
        _checks.integer("restarts", restarts)
        _checks.number("validation", validation, 0.0, 1.0)
        max_epochs = self.recipe.max_epochs if max_epochs is None else max_epochs
        patience = self.recipe.patience if patience is None else patience
        data = training_cells(self._own(), self.held_out, len(self.types))
        self.runs = train_networks(
            data, self.recipe, unit=self.unit, restarts=restarts, validation=validation, max_epochs=max_epochs,
            patience=patience, seed=self.seed, accelerator=accelerator, devices=devices, strategy=strategy,
            progress=progress,
        )  # fmt: skip
        return self

    def _fitted(self) -> list[Run]:
        if not self.runs:
            _checks.fail(
                "The model is not fitted, so its heads mean nothing.",
                "Train it first: `model.fit()`.",
                kind=RuntimeError,
            )
        return self.runs

    @property
    def network(self) -> AttentionNetwork:
        """The network with the best held-out reconstruction."""
        return self._fitted()[0].network

    @property
    def history(self) -> History:
        """Losses of that network."""
        return self._fitted()[0].history

    # --- use

    def heads(
        self,
        adata: AnnData | None = None,
        cells: Any = None,
        *,
        restart: int = 0,
        unseen: str = "refuse",
        batch_size: int = 8192,
    ) -> HeadOutputs:
        """Attention and output of every head: one forward pass, from which all else follows.

        Parameters
        ----------
        adata
            Other cells with the same genes; None for those of the model.
        cells
            Which of them: (cells,) bool or positions; None for all. Neighbours are looked for among all.
        restart
            Which network, 0 for the best.
        unseen
            Cells of a type that the model has not seen: ``"refuse"``, or ``"exclude"`` them from the result. They
            stay neighbours.
        batch_size
            Cells at a time.

        Returns
        -------
        `scmods.amici.heads.HeadOutputs`; always in evaluation mode, so that it is the same at every call.

        Raises
        ------
        RuntimeError
            If the model is not fitted.
        MissingKeyError, ValueError, TypeError
            Missing genes, unknown types, positions out of range.

        Notes
        -----
        Per cell about 8 (heads (k + 1 + 2 size) + 3 k) bytes, and per neighbour cell 8 heads (size + 2 types): a
        million cells with the small preset and ten types take 2.4 GB. Ask for parts of the cells to need less.
        """
        from scmods.amici import _forward

        runs, size = self._fitted(), _checks.integer("batch_size", batch_size)
        run = runs[_checks.integer("restart", restart, 0, len(runs) - 1)]
        source = self._own() if adata is None else self._bind(adata, self.types)[0]
        rows = self._known(positions("cells", cells, len(source)), source, unseen)
        network = _forward.double(run.network)
        near, far = source.neighbors[rows], source.distances[rows]
        others, place = np.unique(near, return_inverse=True)
        place = place.reshape(near.shape)
        if len(others) and others[0] < 0:
            others, place = others[1:], place - 1
        tables = _forward.neighbor_tables(network, source, others, size)
        types = source.codes[rows]
        attention, z, query = _forward.pass_heads(network, types, place, far, tables, size)
        return HeadOutputs(
            rows, types, near, far, place, attention, z, query, tables, _forward.readout(network), self.genes,
            self.types, self.unit, self.recipe.empty_logit, source.read,
        )  # fmt: skip

    def _known(self, rows: np.ndarray, source: Cells, unseen: str) -> np.ndarray:
        _checks.one_of("unseen", unseen, ("refuse", "exclude"))
        strange = source.codes[rows] < 0
        if strange.any() and unseen == "refuse":
            names = sorted({str(t) for t in source.tissue.labels[rows[strange]]})
            _checks.fail(
                f"{int(strange.sum())} cells are of types that the model has not seen: {_checks.listing(names)}.",
                f"It knows {_checks.listing(self.types, 20)}.",
                'Rename them, or leave these cells out: unseen="exclude".',
            )
        return rows[~strange]

    def predict(
        self, adata: AnnData | None = None, cells: Any = None, *, heads: Any = None, batch_size: int = 8192
    ) -> np.ndarray:
        """Predicted expression, (cells, genes) float64.

        Parameters
        ----------
        adata, cells, batch_size
            As in `heads`.
        heads
            Which heads count: None for all, a list for only those, an empty list for none.
        """
        return self.heads(adata, cells, batch_size=batch_size).predict(heads)

    def pair_scores(
        self,
        adata: AnnData | None = None,
        cells: Any = None,
        *,
        by: str = "alone",
        batch_size: int = 8192,
    ) -> np.ndarray:
        """(cells, k) how much each neighbour matters to each cell, mean over all restarts.

        Parameters
        ----------
        adata, cells, batch_size
            As in `heads`.
        by
            As in `HeadOutputs.pair_scores`.
        """
        scores = 0.0
        for restart in range(len(self._fitted())):
            out = self.heads(adata, cells, restart=restart, batch_size=batch_size)
            scores = scores + out.pair_scores(by) / len(self.runs)
        return scores

    # --- files

    def save(self, path: str | os.PathLike[str]) -> Path:
        """Write the model, without cells, to one ``.safetensors`` file.

        Parameters
        ----------
        path
            The file; replaced in one step.
        """
        from scmods.amici import _model_file

        return _model_file.write(path, self, self._fitted())

    @classmethod
    def load(cls, path: str | os.PathLike[str], adata: AnnData | None = None) -> AMICI:
        """Read what `save` wrote.

        Parameters
        ----------
        path
            The file.
        adata
            Cells to work on. If they have the names of the training data, the cells held out then are held out now;
            of other cells all count as held out, for none was trained on. None: pass cells to each call.

        Raises
        ------
        FileNotFoundError, ValueError
            No such file, or not one of `save`.
        """
        from scmods.amici import _model_file

        model = cls.__new__(cls)
        return _model_file.read(path, model, adata)
