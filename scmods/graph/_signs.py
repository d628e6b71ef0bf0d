"""One rule for the sign of a vector that has none."""

from __future__ import annotations

import numpy as np

__all__ = ["fix_signs"]


def fix_signs(vectors: np.ndarray) -> np.ndarray:
    """Columns turned so that the largest absolute entry is positive.

    Of entries within 1e-10 (relative) of the largest the first one decides, so that rounding cannot flip a
    symmetric vector.
    """
    size = np.abs(vectors)
    first = np.argmax(size >= size.max(axis=0) * (1 - 1e-10), axis=0)
    signs = np.sign(vectors[first, np.arange(vectors.shape[1])])
    return vectors * np.where(signs == 0, 1.0, signs)
