"""Comparison of two sets of frequencies, only defined up to sign and, when close, up to rotation."""

from __future__ import annotations

import numpy as np

from scmods import _checks

__all__ = ["align", "canonical_correlations"]


def _two(a: np.ndarray, b: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    a, b = _checks.numeric("`a`", a), _checks.numeric("`b`", b)
    if a.ndim != 2 or b.ndim != 2 or len(a) != len(b):
        _checks.fail(
            f"`a` has shape {a.shape} and `b` has shape {b.shape}, but both must be cells x columns of the",
            "same cells.",
            "Keep the cells that both share, in the same order.",
        )
    _checks.finite("`a`", a)
    _checks.finite("`b`", b)
    return a, b


def align(a: np.ndarray, b: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Rotate (and reflect) the columns of `a` onto those of `b`: orthogonal Procrustes.

    Parameters
    ----------
    a, b
        Same cells x same number of columns.

    Returns
    -------
    aligned
        ``a @ rotation``, the closest to `b` in the sum of squares.
    rotation
        Orthogonal matrix, columns of `a` x columns of `b`.

    Raises
    ------
    ValueError
        Different shapes, NaN or infinity.

    Examples
    --------
    A rotation by a right angle is undone:

    >>> import numpy as np
    >>> from scmods import graph
    >>> a, turn = np.array([[1.0, 0.0], [0.0, 2.0], [3.0, 1.0]]), np.array([[0.0, 1.0], [-1.0, 0.0]])
    >>> aligned, rotation = graph.align(a @ turn, a)
    >>> bool(np.allclose(aligned, a)), bool(np.allclose(rotation, turn.T))
    (True, True)
    """
    a, b = _two(a, b)
    if a.shape != b.shape:
        _checks.fail(
            f"`a` has {a.shape[1]} columns and `b` has {b.shape[1]}, but an alignment needs the same number.",
            "Take the first columns of the longer one, or use canonical_correlations(a, b).",
        )
    left, _, right = np.linalg.svd(a.T @ b)
    rotation = left @ right
    return a @ rotation, rotation


def _basis(x: np.ndarray) -> np.ndarray:
    """Orthonormal basis of the columns, dependent ones dropped."""
    left, size, _ = np.linalg.svd(x, full_matrices=False)
    return left[:, size > 1e-12 * size.max(initial=0.0)]


def canonical_correlations(a: np.ndarray, b: np.ndarray, *, center: bool = True) -> np.ndarray:
    """Canonical correlations of two sets of columns, descending.

    They are the cosines of the angles between the two column spaces, so signs, order, scale and mixing of the
    columns do not matter: all ones means the same space.

    Parameters
    ----------
    a, b
        Same cells x any number of columns.
    center
        Subtract column means first (correlations); ``False`` compares the spaces as they are.

    Returns
    -------
    As many values as the smaller of the two ranks, in [0, 1].

    Raises
    ------
    ValueError
        Different cells, NaN or infinity.

    Examples
    --------
    The first column is shared, the second is not:

    >>> import numpy as np
    >>> from scmods import graph
    >>> a = np.array([[1.0, 1.0], [-1.0, 1.0], [1.0, -1.0], [-1.0, -1.0]])
    >>> b = np.column_stack([3 * a[:, 0], a[:, 0] * a[:, 1]])
    >>> graph.canonical_correlations(a, b).round(6).tolist()
    [1.0, 0.0]
    """
    a, b = _two(a, b)
    if center:
        a, b = a - a.mean(axis=0), b - b.mean(axis=0)
    return np.clip(np.linalg.svd(_basis(a).T @ _basis(b), compute_uv=False), 0.0, 1.0)
